//! The miss path over UDP: a request whose price is not at hand waits in its shard while somebody
//! fetches it, and is answered in time whatever comes of that.
//!
//! Most tests here take a shard's turns themselves, at times of their own: nothing depends on how
//! fast the machine is. The last one runs shards as they are run, and tells how long it took.

mod miss_support;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use miss_support::{Bench, MS, NOW, SYMBOLS, live};
use trinity_beast::limits::{MISS_AGAIN_MS, MISS_NOTHING_MS, MISS_WAIT_MS, PARKED_REQUESTS};
use trinity_beast::shard::driver::epoll::EpollDriver;
use trinity_beast::tables::keys::KeyTable;
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::misses::MissBoard;
use trinity_beast::tables::prices::SymbolIndex;
use trinity_protocol::{Code, PriceFlags, PriceStatus};

const A: SymbolIndex = SymbolIndex(0);
const LATER: u64 = NOW + MS;

#[test]
fn a_cold_request_waits_for_its_price_and_is_billed_once_when_it_is_answered() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(bench.sent(0), 0, "no answer yet");
    assert_eq!(bench.counters[0].misses.waiting.get(), 1);
    assert_eq!(bench.board.next(), Some(A));
    bench.turn(0, LATER);
    assert_eq!(bench.sent(0), 0, "still on its way");
    bench.writer.publish(A, live(NOW));
    bench.board.finish(A, true, LATER);
    bench.turn(0, LATER + MS);
    let reply = client.receive();
    assert_eq!((reply.code, reply.clock_ns), (Code::Ok, LATER + MS));
    assert_eq!(reply.statuses(), [PriceStatus::Live]);
    assert!(PriceFlags(reply.entries[0].flags).contains(PriceFlags::FETCHED));
    let misses = &bench.counters[0].misses;
    assert_eq!(
        (misses.waited.get(), misses.fresh.get(), misses.waiting.get()),
        (1, 1, 0)
    );
    assert_eq!(bench.billed(0), 1);
    assert_eq!(
        bench.counters[0].latency.buckets().iter().sum::<u64>(),
        1,
        "one latency"
    );
}

#[test]
fn a_price_that_comes_by_itself_ends_the_wait_before_the_fetch_does() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    bench.writer.publish(A, live(NOW));
    bench.turn(0, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
}

#[test]
fn what_the_venues_refuse_is_answered_at_once_and_not_waited_for_again() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    bench.board.finish(A, false, NOW);
    bench.turn(0, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
    let misses = &bench.counters[0].misses;
    assert_eq!(
        (misses.waited.get(), misses.nothing.get(), misses.remembered.get()),
        (1, 1, 1)
    );
    assert_eq!(bench.board.flights(), 1);
    let again = NOW + MISS_NOTHING_MS * MS;
    client.ask_at(&["S0-USD"], again);
    bench.turns(0, 1, again);
    assert_eq!(bench.board.flights(), 2, "its time is over");
}

#[test]
fn a_hanging_venue_costs_the_deadline_and_its_late_answer_warms_the_cache() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    let deadline = NOW + MISS_WAIT_MS * MS;
    bench.turn(0, deadline - 1);
    assert_eq!(bench.sent(0), 0);
    bench.turn(0, deadline + MS);
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
    assert_eq!(bench.counters[0].misses.deadline.get(), 1);
    bench.writer.publish(A, live(deadline));
    bench.board.finish(A, true, deadline);
    client.ask_at(&["S0-USD"], deadline + MS);
    bench.turns(0, 1, deadline + MS);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live], "at once");
    assert_eq!(bench.counters[0].misses.waited.get(), 1);
    assert_eq!(bench.billed(0), 2);
}

#[test]
fn a_stale_price_is_missed_by_its_callers_own_measure() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    bench.writer.publish(A, live(NOW - 3_000 * MS));
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live], "by the default");
    client.ask_aged(&["S0-USD"], 2_000, NOW);
    bench.turns(0, 1, NOW);
    assert_eq!(bench.counters[0].misses.waiting.get(), 1, "not by the caller's");
    bench.turn(0, NOW + MISS_WAIT_MS * MS);
    let reply = client.receive();
    assert_eq!(reply.statuses(), [PriceStatus::Stale]);
    assert_eq!(reply.entries[0].mantissa.get(), 7, "what there is is given");
}

#[test]
fn one_missing_price_parks_a_batch_and_unknown_symbols_park_nothing() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    bench.writer.publish(SymbolIndex(1), live(NOW));
    client.ask(&["NOPE", "S1-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(
        client.receive().statuses(),
        [PriceStatus::UnknownSymbol, PriceStatus::Live]
    );
    client.ask(&["S2-USD", "NOPE", "S1-USD", "S3-USD", "S2-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(bench.board.flights(), 2);
    bench.writer.publish(SymbolIndex(2), live(NOW));
    bench.board.finish(SymbolIndex(2), true, NOW);
    bench.turn(0, LATER);
    assert_eq!(
        bench.counters[0].misses.waiting.get(),
        1,
        "half of it is not enough"
    );
    bench.board.finish(SymbolIndex(3), false, NOW);
    bench.turn(0, LATER + MS);
    let expected = [
        PriceStatus::Live,
        PriceStatus::UnknownSymbol,
        PriceStatus::Live,
        PriceStatus::NoPrice,
        PriceStatus::Live,
    ];
    assert_eq!(client.receive().statuses(), expected);
    assert_eq!(bench.billed(0), 2, "a batch is one request");
}

#[test]
fn a_retry_of_a_parked_request_is_neither_charged_nor_parked_again_and_gets_its_answer() {
    let mut bench = Bench::new(1, Limits::new(Some(1), Some(1), None));
    let mut client = bench.client();
    let datagram = client.ask(&["S0-USD"]);
    client.send(&datagram);
    bench.turns(0, 2, NOW);
    client.send(&datagram);
    bench.turns(0, 1, NOW);
    let misses = &bench.counters[0].misses;
    assert_eq!((misses.waited.get(), misses.waiting.get()), (1, 1));
    assert_eq!((bench.sent(0), bench.board.flights()), (0, 1));
    bench.writer.publish(A, live(NOW));
    bench.turn(0, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
    assert_eq!(bench.sent(0), 1, "one answer for all of them");
    // The answer was lost: the next retry is answered like any other.
    client.send(&datagram);
    bench.turns(0, 1, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
    assert_eq!(bench.billed(0), 1);
    assert_eq!(bench.counters[0].repeats.get(), 3);
}

#[test]
fn a_captured_request_sent_from_elsewhere_cannot_take_the_answer_away() {
    let mut bench = Bench::new(1, Limits::NONE);
    let (mut client, mut thief) = (bench.client(), bench.client());
    let datagram = client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    thief.send(&datagram);
    bench.turns(0, 1, NOW);
    assert_eq!(
        thief.receive().statuses(),
        [PriceStatus::NoPrice],
        "as any repeat"
    );
    bench.writer.publish(A, live(NOW));
    bench.turn(0, LATER);
    assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
    assert_eq!(bench.billed(0), 1);
}

#[test]
fn a_key_beyond_its_limit_starts_no_fetch() {
    let mut bench = Bench::new(1, Limits::new(Some(1), Some(1), None));
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    client.ask(&["S1-USD"]);
    bench.turns(0, 2, NOW);
    assert_eq!(client.receive().code, Code::RateLimited);
    assert_eq!(
        (bench.board.flights(), bench.counters[0].misses.waiting.get()),
        (1, 1)
    );
}

#[test]
fn beyond_the_parking_places_what_cannot_be_said_is_shed_without_charge() {
    let mut bench = Bench::new(1, Limits::new(None, None, Some(1_000_000)));
    let mut client = bench.client();
    bench.writer.publish(SymbolIndex(1), live(NOW - 11_000 * MS));
    // Many, so that no client's receive buffer has to hold all the answers.
    let mut clients: Vec<_> = (0..16).map(|_| bench.client()).collect();
    for i in 0..PARKED_REQUESTS {
        clients[i % 16].ask(&["S0-USD"]);
        bench.turns(0, 1, NOW);
    }
    let misses = &Arc::clone(&bench.counters[0]).misses;
    assert_eq!(misses.waiting.get(), PARKED_REQUESTS as u64);
    let shed = client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(client.receive().code, Code::Overloaded);
    let used = bench
        .keys
        .load()
        .iter()
        .next()
        .expect("one key")
        .state
        .month_used();
    assert_eq!(used, PARKED_REQUESTS as u64, "nothing was taken for it");
    client.ask(&["S1-USD"]);
    bench.turns(0, 1, NOW);
    let reply = client.receive();
    assert_eq!(
        (reply.code, reply.statuses()),
        (Code::Ok, vec![PriceStatus::Stale])
    );
    assert_eq!(bench.board.flights(), 2, "it is fetched for those who come after");
    assert_eq!(misses.overflow.get(), 2);
    bench.board.finish(A, false, NOW);
    bench.turn(0, LATER);
    for i in 0..PARKED_REQUESTS {
        assert_eq!(clients[i % 16].receive().statuses(), [PriceStatus::NoPrice]);
    }
    // What was shed is not remembered: sent again it is new.
    client.send(&shed);
    bench.turns(0, 1, LATER);
    assert_eq!(client.receive().code, Code::Ok);
    assert_eq!(bench.billed(0), PARKED_REQUESTS as u64 + 2);
    assert_eq!(bench.counters[0].repeats.get(), 0);
}

#[test]
fn cores_share_one_fetch() {
    let mut bench = Bench::new(3, Limits::NONE);
    let mut clients: Vec<_> = (0..3).map(|shard| bench.client_of(shard)).collect();
    for _ in 0..50 {
        for (shard, client) in clients.iter_mut().enumerate() {
            client.ask(&["S0-USD"]);
            bench.turns(shard, 1, NOW);
        }
    }
    assert_eq!(bench.board.flights(), 1);
    assert_eq!((bench.board.next(), bench.board.next()), (Some(A), None));
    bench.writer.publish(A, live(NOW));
    bench.board.finish(A, true, NOW);
    for (shard, client) in clients.iter_mut().enumerate() {
        bench.turn(shard, LATER);
        for _ in 0..50 {
            assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
        }
    }
}

#[test]
fn a_caller_who_accepts_no_age_does_not_turn_into_a_stream_of_fetches() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    for i in 0..MISS_AGAIN_MS {
        let now_ns = NOW + i * MS;
        client.ask_aged(&["S0-USD"], 1, now_ns);
        bench.turns(0, 1, now_ns);
        if let Some(symbol) = bench.board.next() {
            bench.writer.publish(symbol, live(now_ns));
            bench.board.finish(symbol, true, now_ns);
        }
        bench.turn(0, now_ns + MS);
        client.receive();
    }
    assert_eq!(bench.board.flights(), 1);
}

#[test]
fn a_clock_that_is_set_back_leaves_nobody_waiting() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    bench.turn(0, NOW - 3_600_000 * MS);
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
}

#[test]
fn a_key_revoked_while_its_request_waits_is_refused() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    bench.keys.store(Arc::new(KeyTable::default()));
    bench.turn(0, NOW + MISS_WAIT_MS * MS);
    assert_eq!(client.receive().code, Code::Unauthenticated);
    assert_eq!(bench.billed(0), 0);
}

#[test]
fn a_table_that_grows_meanwhile_changes_nothing_for_those_who_wait() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    bench.grow("NEW-USD");
    client.ask(&["NEW-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(bench.board.flights(), 2, "a new symbol can be missed, too");
    let new = SymbolIndex(SYMBOLS as u32);
    bench.writer.publish(A, live(NOW));
    bench.writer.publish(new, live(NOW));
    bench.turn(0, LATER);
    for _ in 0..2 {
        assert_eq!(client.receive().statuses(), [PriceStatus::Live]);
    }
}

#[test]
fn a_stopping_shard_answers_those_who_wait_with_what_is_there() {
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    let now_ns = trinity_beast::clock::unix_nanos();
    client.ask_at(&["S0-USD", "S1-USD"], now_ns);
    bench.turns(0, 1, now_ns);
    // A request that nobody has received yet is not parked any more.
    client.ask_at(&["S2-USD"], now_ns);
    bench.writer.publish(A, live(now_ns));
    bench.shared.stop.store(true, Ordering::Relaxed);
    let shard = &mut bench.shards[0];
    let mut driver = EpollDriver::new(0);
    EpollDriver::run(shard.serve(&mut driver));
    assert_eq!(
        client.receive().statuses(),
        [PriceStatus::Live, PriceStatus::NoPrice]
    );
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
    let misses = &bench.counters[0].misses;
    assert_eq!((misses.stopped.get(), misses.waiting.get()), (1, 0));
    assert_eq!(bench.billed(0), 2);
}

#[test]
fn without_a_board_nobody_waits() {
    let mut bench = Bench::without_board();
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    bench.turns(0, 1, NOW);
    assert_eq!(client.receive().statuses(), [PriceStatus::NoPrice]);
}

#[test]
fn a_board_without_room_lets_nobody_wait_for_what_will_not_be_fetched() {
    let mut bench = Bench::on(1, Limits::NONE, Arc::new(MissBoard::with_room(SYMBOLS, 1, || {})));
    let mut client = bench.client();
    client.ask(&["S0-USD"]);
    client.ask(&["S1-USD"]);
    bench.turns(0, 2, NOW);
    assert_eq!(
        client.receive().statuses(),
        [PriceStatus::NoPrice],
        "the second one"
    );
    assert_eq!(bench.counters[0].misses.waiting.get(), 1);
}
