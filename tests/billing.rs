//! Answered is billed: clients that verify every reply, and a ledger that must say the same to the
//! request, whatever happens to the server meanwhile.

mod support;

#[path = "billing/books.rs"]
mod books;
#[path = "billing/clock.rs"]
mod clock;
#[path = "billing/crowd.rs"]
mod crowd;
#[path = "billing/database.rs"]
mod database;
#[path = "billing/house.rs"]
mod house;
#[path = "billing/proxy.rs"]
mod proxy;
#[path = "billing/scene.rs"]
mod scene;
#[path = "billing/udp.rs"]
mod udp;
#[path = "billing/web.rs"]
mod web;

use clock::SteppedClock;
use house::House;
use scene::Trouble::{
    CutFlushes, DatabaseIsDown, Kill, KillAsItFlushes, KillAtOnce, LoseAcknowledgements,
    LoseAnAcknowledgementAndKill, Step,
};
use scene::{Meanwhile, play};

/// Replies between one event and the next, in the form of the tests that always runs.
const A_WHILE: Meanwhile = Meanwhile::Replies(20_000);
const HOUR: i64 = 3_600;
/// In the form of the test that always runs.
const SECONDS_WITHOUT_POSTGRES: u64 = 20;

#[test]
fn every_answer_is_billed_once_and_nothing_else_is() {
    let house = House::open(|_| ());
    play(house, None, &[], Meanwhile::Replies(100_000)).must_be_exact();
}

#[test]
fn every_answer_is_billed_once_although_the_server_is_killed_five_times() {
    let house = House::open(|_| ());
    let kills = [Kill, KillAsItFlushes, KillAtOnce, Kill, KillAsItFlushes];
    play(house, None, &kills, A_WHILE).must_be_exact();
}

#[test]
fn every_answer_is_billed_once_in_the_second_that_it_bears_although_the_clock_steps_by_an_hour() {
    let clock = SteppedClock::new();
    let house = House::open(clock.dress());
    let steps = [Step(HOUR), Step(0), Step(-HOUR), Step(0)];
    let outcome = play(house, Some(&clock), &steps, A_WHILE);
    let verdict = outcome.must_be_exact();
    assert!(
        verdict.refused > 0,
        "nobody met a clock that had stepped: {verdict}"
    );
}

#[test]
fn every_answer_is_billed_once_although_the_server_is_killed_while_its_clock_is_an_hour_off() {
    let clock = SteppedClock::new();
    let house = House::open(clock.dress());
    let troubles = [Kill, Step(HOUR), Kill, Step(-HOUR), Kill, Step(0), Kill];
    play(house, Some(&clock), &troubles, A_WHILE).must_be_exact();
}

#[test]
fn every_answer_is_billed_once_in_postgres_although_connections_to_it_break_at_the_worst_moments() {
    let house = House::open_on_postgres(|_| ());
    let troubles = [
        LoseAcknowledgements(3),
        CutFlushes(3),
        LoseAnAcknowledgementAndKill,
        Kill,
        LoseAnAcknowledgementAndKill,
        LoseAcknowledgements(1),
    ];
    play(house, None, &troubles, A_WHILE).must_be_exact();
}

#[test]
fn nobody_is_refused_while_postgres_is_down_and_everything_is_billed_once_when_it_is_back() {
    let house = House::open_on_postgres(|_| ());
    let down = DatabaseIsDown(Meanwhile::Seconds(SECONDS_WITHOUT_POSTGRES));
    let outcome = play(house, None, &[down, DatabaseIsDown(A_WHILE)], A_WHILE);
    let verdict = outcome.must_be_exact();
    assert_eq!(verdict.refused, 0, "{verdict}");
}

/// Each kill is an instant of its own: most of them meet the server between one step of counting and
/// the next.
#[test]
#[ignore = "a minute or two of kills: run it with --run-ignored"]
fn for_a_hundred_kills_every_answer_is_billed_once() {
    let house = House::open(|_| ());
    let kills = [Kill, KillAsItFlushes, KillAtOnce, KillAsItFlushes].repeat(25);
    play(house, None, &kills, Meanwhile::Replies(5_000)).must_be_exact();
}

/// As many minutes as `TRINITY_MINUTES_WITHOUT_POSTGRES` says, ten if it does not.
#[test]
#[ignore = "ten minutes at full speed: run it with --run-ignored"]
fn for_ten_minutes_without_postgres_nobody_is_refused_and_everything_is_billed_once_when_it_is_back() {
    let minutes = std::env::var("TRINITY_MINUTES_WITHOUT_POSTGRES");
    let minutes: u64 = minutes.map_or(10, |text| text.parse().expect("a number of minutes"));
    let house = House::open_on_postgres(|_| ());
    let down = DatabaseIsDown(Meanwhile::Seconds(60 * minutes));
    let outcome = play(house, None, &[down], A_WHILE);
    let verdict = outcome.must_be_exact();
    assert_eq!(verdict.refused, 0, "{verdict}");
}

/// `cargo nextest run --release --test billing --run-ignored only --no-capture`
#[test]
#[ignore = "a minute at full speed, for a quiet machine: run it with --run-ignored"]
fn for_a_minute_at_full_speed_every_answer_is_billed_once_whatever_happens() {
    let clock = SteppedClock::new();
    let house = House::open_on_postgres(clock.dress());
    let troubles = [
        Kill,
        LoseAcknowledgements(3),
        Step(HOUR),
        Kill,
        DatabaseIsDown(Meanwhile::Seconds(6)),
        LoseAnAcknowledgementAndKill,
        Step(0),
        CutFlushes(3),
        Kill,
        KillAtOnce,
        Step(-HOUR),
        Step(0),
    ];
    play(house, Some(&clock), &troubles, Meanwhile::Seconds(6)).must_be_exact();
}
