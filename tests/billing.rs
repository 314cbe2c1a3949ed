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
#[path = "billing/udp.rs"]
mod udp;
#[path = "billing/web.rs"]
mod web;

use clock::SteppedClock;
use crowd::Crowd;
use house::House;

/// Replies between one event and the next.
const A_WHILE: u64 = 20_000;

#[test]
fn every_answer_is_billed_once_and_nothing_else_is() {
    let mut house = House::open(|_| ());
    let crowd = Crowd::gather(house.udp, house.http, &house.keys);
    crowd.is_answered(5 * A_WHILE);
    let books = crowd.disperse();
    house.close();
    let verdict = books.against(&house.ledger());
    eprintln!("{verdict}");
    verdict.must_agree_exactly();
}

#[test]
fn every_answer_is_billed_once_although_the_server_is_killed_five_times() {
    let mut house = House::open(|_| ());
    let crowd = Crowd::gather(house.udp, house.http, &house.keys);
    for _ in 0..5 {
        crowd.is_answered(A_WHILE);
        house.kill();
        crowd.server_died();
        house.restart();
    }
    crowd.is_answered(A_WHILE);
    let books = crowd.disperse();
    house.close();
    let verdict = books.against(&house.ledger());
    eprintln!("{verdict}");
    verdict.must_agree();
}

#[test]
fn every_answer_is_billed_once_in_the_second_that_it_bears_although_the_clock_steps_by_an_hour() {
    const HOUR: i64 = 3_600;
    let clock = SteppedClock::new();
    let mut house = House::open(clock.dress());
    let crowd = Crowd::gather(house.udp, house.http, &house.keys);
    crowd.is_answered(A_WHILE);
    for ahead in [HOUR, 0, -HOUR, 0] {
        clock.step(ahead, &crowd);
        crowd.is_answered(A_WHILE);
    }
    let books = crowd.disperse();
    house.close();
    let verdict = books.against(&house.ledger());
    eprintln!("{verdict}");
    verdict.must_agree_exactly();
    assert!(
        verdict.refused > 0,
        "nobody met a clock that had stepped: {verdict}"
    );
}
