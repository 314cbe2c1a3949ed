//! Answered is billed: clients that verify every reply, and a ledger that must say the same to the
//! request, whatever happens to the server meanwhile.

mod support;

#[path = "billing/books.rs"]
mod books;
#[path = "billing/clock.rs"]
mod clock;
#[path = "billing/crowd.rs"]
mod crowd;
#[path = "billing/house.rs"]
mod house;
#[path = "billing/scene.rs"]
mod scene;
#[path = "billing/udp.rs"]
mod udp;
#[path = "billing/web.rs"]
mod web;

use clock::SteppedClock;
use house::House;
use scene::Trouble::{Kill, KillAsItFlushes, KillAtOnce, Step};
use scene::{Meanwhile, play};

/// Replies between one event and the next, in the form of the tests that always runs.
const A_WHILE: Meanwhile = Meanwhile::Replies(20_000);
const HOUR: i64 = 3_600;

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

/// Each kill is an instant of its own: most of them meet the server between one step of counting and
/// the next.
#[test]
#[ignore = "a minute or two of kills: run it with --run-ignored"]
fn for_a_hundred_kills_every_answer_is_billed_once() {
    let house = House::open(|_| ());
    let kills = [Kill, KillAsItFlushes, KillAtOnce, KillAsItFlushes].repeat(25);
    play(house, None, &kills, Meanwhile::Replies(5_000)).must_be_exact();
}

/// `cargo nextest run --release --test billing --run-ignored only --no-capture`
#[test]
#[ignore = "a minute at full speed, for a quiet machine: run it with --run-ignored"]
fn for_a_minute_at_full_speed_every_answer_is_billed_once_whatever_happens() {
    let clock = SteppedClock::new();
    let house = House::open(clock.dress());
    let troubles = [
        Kill,
        Step(HOUR),
        Kill,
        Kill,
        Step(0),
        Kill,
        Step(-HOUR),
        Kill,
        Step(0),
    ];
    play(house, Some(&clock), &troubles, Meanwhile::Seconds(6)).must_be_exact();
}
