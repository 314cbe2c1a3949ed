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

/// Replies between one trouble and the next, in the form of the tests that always runs.
const A_WHILE: Meanwhile = Meanwhile::Replies(20_000);
const HOUR: i64 = 3_600;

/// Whether the tests run in their long form, which takes a quarter of an hour in all: with
/// `TRINITY_LONG_TESTS=1`, and better with `--release`, on a machine with nothing else to do.
fn is_long() -> bool {
    std::env::var_os("TRINITY_LONG_TESTS").is_some_and(|set| set == "1")
}

#[test]
fn every_answer_is_billed_once_and_nothing_else_is() {
    let house = House::open(|_| ());
    play(house, None, &[], Meanwhile::Replies(100_000)).must_be_exact();
}

/// Each kill is an instant of its own: a hundred of them meet the server between most steps of
/// counting and the next.
#[test]
fn every_answer_is_billed_once_although_the_server_is_killed_again_and_again() {
    let house = House::open(|_| ());
    let kills = [Kill, KillAsItFlushes, KillAtOnce, KillAsItFlushes];
    let kills = kills.repeat(if is_long() { 25 } else { 2 });
    play(house, None, &kills, Meanwhile::Replies(5_000)).must_be_exact();
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
fn every_answer_is_billed_once_in_postgres_although_connections_to_it_break_at_the_worst_moments() {
    let house = House::open_on_postgres(|_| ());
    let troubles = [
        LoseAcknowledgements(3),
        CutFlushes(3),
        LoseAnAcknowledgementAndKill,
        LoseAcknowledgements(1),
    ];
    play(house, None, &troubles, A_WHILE).must_be_exact();
}

/// Twenty seconds without it, or ten minutes in the long form.
#[test]
fn nobody_is_refused_while_postgres_is_down_and_everything_is_billed_once_when_it_is_back() {
    let house = House::open_on_postgres(|_| ());
    let down = Meanwhile::Seconds(if is_long() { 600 } else { 20 });
    let outcome = play(
        house,
        None,
        &[DatabaseIsDown(down), DatabaseIsDown(A_WHILE)],
        A_WHILE,
    );
    let verdict = outcome.must_be_exact();
    assert_eq!(verdict.refused, 0, "{verdict}");
}

/// Five kills, crashes of the database, lost acknowledgements and a clock that steps: in one life of
/// one ledger, with more than a minute at full speed in the long form.
#[test]
fn every_answer_is_billed_once_whatever_happens() {
    let clock = SteppedClock::new();
    let house = House::open_on_postgres(clock.dress());
    let meanwhile = if is_long() { Meanwhile::Seconds(6) } else { A_WHILE };
    let troubles = [
        Kill,
        LoseAcknowledgements(3),
        Step(HOUR),
        Kill,
        DatabaseIsDown(meanwhile),
        LoseAnAcknowledgementAndKill,
        Step(0),
        CutFlushes(3),
        Kill,
        KillAtOnce,
        Step(-HOUR),
        Step(0),
    ];
    play(house, Some(&clock), &troubles, meanwhile).must_be_exact();
}
