//! A cold symbol over UDP is answered within 50 ms, whether the venues answer in 20 to 40 ms, hang
//! or refuse: ten thousand tries on shards as they are run.
//!
//! What is asserted is that every try is answered once, with the right status, and billed. How long
//! it took is measured and told, for a machine may be late for reasons of its own.

mod miss_support;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use miss_support::{Client, cold_names, key_table, live};
use trinity_beast::clock;
use trinity_beast::shard::driver::{DriverKind, probe};
use trinity_beast::shard::socket::bind_group;
use trinity_beast::shard::{self, ShardParts, ShardShared};
use trinity_beast::tables::counters::{Counter, MissCounters, ShardCounters};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::misses::MissBoard;
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{Code, PriceStatus};

/// Each asks for a symbol of its own, so each is cold.
const TRIES: usize = 10_000;
/// Requests under way at once.
const WINDOW: usize = 100;
const SHARDS: usize = 2;
const PROMISE: Duration = Duration::from_millis(50);

/// What the venues do about a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Venue {
    Answers,
    Hangs,
    Refuses,
}

fn venue_of(symbol: usize) -> Venue {
    [Venue::Answers, Venue::Hangs, Venue::Refuses][symbol % 3]
}

/// 20 to 40 ms.
fn delay_of(symbol: usize) -> Duration {
    Duration::from_millis(20 + symbol as u64 * 7 % 21)
}

/// Stands in for the control plane: takes symbols off the board and does as the venues do.
fn fetch(board: &MissBoard, mut writer: PriceWriter, stop: &AtomicBool) {
    let mut due: BinaryHeap<Reverse<(Instant, u32)>> = BinaryHeap::new();
    while !stop.load(Ordering::Relaxed) {
        while let Some(SymbolIndex(symbol)) = board.next() {
            if venue_of(symbol as usize) != Venue::Hangs {
                due.push(Reverse((clock::monotonic() + delay_of(symbol as usize), symbol)));
            }
        }
        let now = clock::monotonic();
        while let Some(Reverse((at, symbol))) = due.peek().copied() {
            if at > now {
                break;
            }
            due.pop();
            let found = venue_of(symbol as usize) == Venue::Answers;
            if found {
                writer.publish(SymbolIndex(symbol), live(clock::unix_nanos()));
            }
            board.finish(SymbolIndex(symbol), found, clock::unix_nanos());
        }
        let next = due
            .peek()
            .map(|Reverse((at, _))| at.saturating_duration_since(now));
        thread::park_timeout(next.unwrap_or(Duration::from_millis(5)));
    }
}

fn ten_thousand_tries(driver: DriverKind) {
    let names = SymbolNames::new(cold_names(TRIES), &[]).expect("distinct");
    let (writer, copies) = PriceWriter::new(&Arc::new(names), SHARDS);
    let fetcher: Arc<OnceLock<Thread>> = Arc::default();
    let wake = Arc::clone(&fetcher);
    let board = Arc::new(MissBoard::new(move || {
        if let Some(thread) = wake.get() {
            thread.unpark();
        }
    }));
    let shared = Arc::new(ShardShared::default());
    shared.month_end_ns.store(u64::MAX, Ordering::Relaxed);
    let keys = Arc::new(ArcSwap::from_pointee(key_table(Limits::NONE)));
    let (sockets, address, _) =
        bind_group("127.0.0.1:0".parse().expect("an address"), SHARDS).expect("bound");
    let (mut shards, mut pages, mut counters) = (vec![], vec![], vec![]);
    for (index, (socket, prices)) in sockets.into_iter().zip(copies).enumerate() {
        let (meter, ends) = Meter::new();
        let own = Arc::new(ShardCounters::default());
        let parts = ShardParts {
            index,
            cpu: None,
            socket,
            prices,
            keys: Arc::clone(&keys),
            misses: Some(Arc::clone(&board)),
            meter,
            counters: Arc::clone(&own),
            shared: Arc::clone(&shared),
            seed: 5,
            spin: Duration::ZERO,
        };
        let (tell, started) = std::sync::mpsc::channel();
        shards.push(thread::spawn(move || {
            shard::run(parts, driver, |_| tell.send(()).expect("awaited"))
        }));
        started.recv().expect("the shard serves");
        pages.push(ends);
        counters.push(own);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let venues = thread::spawn({
        let (board, stop) = (Arc::clone(&board), Arc::clone(&stop));
        move || {
            fetcher.set(thread::current()).expect("the only one");
            fetch(&board, writer, &stop);
        }
    });

    let mut client = Client::connect(address, 1);
    let mut sent = Vec::with_capacity(TRIES);
    let mut waits = vec![None; TRIES];
    let mut live_prices = 0;
    for answered in 0..TRIES {
        while sent.len() < TRIES && sent.len() - answered < WINDOW {
            let name = format!("S{}-USD", sent.len());
            sent.push(clock::monotonic());
            client.ask_at(&[&name], clock::unix_nanos());
        }
        let reply = client.receive();
        // Counters start at 1.
        let try_ = reply.id.counter as usize - 1;
        assert_eq!(reply.code, Code::Ok);
        assert_eq!(waits[try_], None, "answered twice");
        waits[try_] = Some(sent[try_].elapsed());
        match (venue_of(try_), reply.statuses()[0]) {
            (Venue::Answers, PriceStatus::Live) => live_prices += 1,
            // The venue's answer came after the deadline.
            (_, PriceStatus::NoPrice) => {}
            unexpected => panic!("{unexpected:?}"),
        }
    }
    shared.stop.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    let meters = shards
        .into_iter()
        .map(|shard| shard.join().expect("no panic").expect("no error"));
    let pending: u64 = meters.map(|meter| meter.pending()).sum();
    venues.join().expect("no panic");

    let sum = |pick: fn(&MissCounters) -> &Counter| -> usize {
        counters.iter().map(|own| pick(&own.misses).get() as usize).sum()
    };
    assert_eq!(sum(|c| &c.waited), TRIES);
    assert_eq!(sum(|c| &c.fresh), live_prices);
    assert_eq!(
        sum(|c| &c.fresh) + sum(|c| &c.nothing) + sum(|c| &c.deadline),
        TRIES
    );
    assert_eq!(sum(|c| &c.waiting), 0);
    assert!(live_prices > 0, "no answer was ever in time");
    assert_eq!(board.flights(), TRIES as u64, "one flight for each symbol");
    let replies: u64 = counters.iter().map(|own| own.sent.get()).sum();
    assert_eq!(replies, TRIES as u64, "one reply for each request");
    let pages = pages.iter().flat_map(|pages| std::iter::from_fn(|| pages.take()));
    let billed: u64 = pages
        .flat_map(|page| page.requests())
        .filter(|row| row.outcome == Code::Ok)
        .map(|row| row.count)
        .sum();
    assert_eq!(billed + pending, TRIES as u64);

    let mut waits: Vec<_> = waits.into_iter().flatten().collect();
    waits.sort_unstable();
    let late = waits.iter().filter(|wait| **wait > PROMISE).count();
    eprintln!(
        "{driver}: {TRIES} cold tries, {live_prices} with a price; half within {:?}, 99 % within {:?}, all within \
         {:?}; {late} later than {PROMISE:?}",
        waits[TRIES / 2],
        waits[TRIES * 99 / 100],
        waits[TRIES - 1],
    );
}

/// One driver after the other: they must not be late because of each other.
#[test]
fn a_cold_symbol_is_answered_once_whatever_the_venues_do_on_every_driver() {
    ten_thousand_tries(DriverKind::Epoll);
    match probe::io_uring() {
        Ok(()) => ten_thousand_tries(DriverKind::Glommio),
        Err(refusal) => eprintln!("skipped: {refusal}"),
    }
}
