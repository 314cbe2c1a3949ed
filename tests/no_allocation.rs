//! The hot path's promise: answering a datagram allocates nothing, nor does letting one wait.

mod miss_support;

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use miss_support::{Bench, MS, NOW, SYMBOLS, live};
use trinity_beast::clock;
use trinity_beast::limits::MISS_WAIT_MS;
use trinity_beast::shard::socket::bind_group;
use trinity_beast::shard::{Shard, ShardParts, ShardShared};
use trinity_beast::tables::counters::ShardCounters;
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{
    Code, KeyId, Kind, MAX_DATAGRAM, MacKeys, PriceFlags, PriceQuery, PriceStatus, ReplyView, RequestHead,
    RequestId, Symbol, Verifier, encode_control_request, encode_price_request,
};

const ROUNDS: u32 = 2_000;

#[test]
fn no_turn_of_a_shard_allocates() {
    let symbols: Vec<_> = (0..64)
        .map(|i| Symbol::new(&format!("S{i}-USD")).expect("a symbol"))
        .collect();
    let names = Arc::new(SymbolNames::new(symbols.clone(), &[]).expect("distinct"));
    let (mut writer, tables) = PriceWriter::new(&names, 1);
    let verifier = Verifier::from_bytes([9; 32]);
    let mac = MacKeys::from_verifier(&verifier);
    let limits = Limits::new(Some(1_000_000), Some(1_000_000), Some(u64::MAX - 1));
    let keys = (1..=100)
        .map(|id| KeyEntry::new(KeyId(id), &verifier, limits, u64::MAX, Arc::default()))
        .collect();
    let (mut sockets, address, _) = bind_group("127.0.0.1:0".parse().expect("an address"), 1).expect("bound");
    let (meter, pages) = Meter::new();
    let counters = Arc::new(ShardCounters::default());
    let shared = Arc::new(ShardShared::default());
    shared.month_end_ns.store(u64::MAX, Ordering::Relaxed);
    let mut shard = Shard::new(ShardParts {
        index: 0,
        cpu: None,
        socket: sockets.remove(0),
        prices: Arc::clone(&tables[0]),
        keys: Arc::new(ArcSwap::from_pointee(KeyTable::new(keys))),
        misses: None,
        meter,
        counters: Arc::clone(&counters),
        shared,
        seed: 5,
        spin: Duration::ZERO,
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
    client.connect(address).expect("connected");
    client
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("set");

    let mut buffer = [0; MAX_DATAGRAM];
    let mut reply = [0; MAX_DATAGRAM];
    let mut allocations = 0;
    let mut answered = 0;
    for round in 1..=ROUNDS {
        let now_ns = clock::unix_nanos();
        let record = PriceRecord {
            mantissa: i64::from(round),
            confidence: 1,
            publish_time_ns: now_ns,
            exponent: -8,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            venues: 3,
            flags: PriceFlags::NONE,
            sequence: round,
            age_origin_ns: now_ns,
            max_age_ms: 10_000,
            hard_age_ms: 60_000,
        };
        writer.publish(SymbolIndex(round % 64), record);
        let head = |id: u64, session, clock_ns| RequestHead {
            key_id: KeyId(id),
            request_id: RequestId::new(session, round),
            lane: 0,
            clock_ns,
        };
        let key = u64::from(round % 100) + 1;
        let one = [PriceQuery::new(symbols[(round % 64) as usize])];
        let many: Vec<_> = (0..31)
            .map(|i| PriceQuery::new(symbols[((round + i) % 64) as usize]))
            .collect();
        // A good one, its repeat, a batch, a ping, an unknown key, a wrong clock, garbage.
        let single = encode_price_request(&mut buffer, head(key, 1, now_ns), &one, &mac.request).to_vec();
        let batch = encode_price_request(&mut buffer, head(key, 2, now_ns), &many, &mac.request).to_vec();
        let ping = encode_control_request(&mut buffer, Kind::Ping, head(1, 0, 0), None).to_vec();
        let unknown = encode_price_request(&mut buffer, head(7_000, 1, now_ns), &one, &mac.request).to_vec();
        let late = encode_price_request(&mut buffer, head(key, 1, 1), &one, &mac.request).to_vec();
        let datagrams = [
            &single,
            &single,
            &batch,
            &ping,
            &unknown,
            &late,
            &b"no such protocol".to_vec(),
            &vec![0; 9_000],
        ];
        for datagram in datagrams {
            client.send(datagram).expect("sent");
        }
        let mut received = 0;
        while received < datagrams.len() {
            let mut came = 0;
            let counted = allocation_counter::measure(|| {
                let after_ns;
                (came, after_ns) = shard.turn(clock::unix_nanos(), clock::unix_nanos);
                shard.settle(after_ns);
            });
            // The first turns may still set up what the standard library keeps per thread.
            if round > 10 {
                allocations += counted.count_total;
            }
            received += came;
        }
        // Everything but the garbage and the oversized one is answered (that one by its form).
        for _ in 0..6 {
            let len = client.recv(&mut reply).expect("answered");
            let view = ReplyView::parse(&reply[..len]).expect("well-formed");
            answered += u32::from(view.head().code == Code::Ok);
        }
        if let Some(page) = pages.take() {
            pages.give_back(page);
        }
    }
    assert_eq!(allocations, 0, "allocations in {ROUNDS} rounds");
    assert_eq!(
        answered,
        4 * ROUNDS,
        "single, repeat, batch and ping are answered"
    );
    assert_eq!(counters.repeats.get(), u64::from(ROUNDS));
}

#[test]
fn no_request_that_waits_allocates_and_neither_does_a_table_that_grows() {
    const REQUESTS: usize = 20;
    let mut bench = Bench::new(1, Limits::NONE);
    let mut client = bench.client();
    let mut allocations = 0;
    for round in 0..u64::from(ROUNDS) / 4 {
        // Further apart than anything is remembered for.
        let now_ns = NOW + round * 70_000 * MS;
        if round % 50 == 0 {
            bench.grow(&format!("NEW{round}"));
        }
        let mut last = Vec::new();
        for i in 0..REQUESTS {
            let names: Vec<_> = (0..=i).map(|j| format!("S{}-USD", j % SYMBOLS)).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            last = client.ask_at(&names, now_ns);
        }
        // A retry, while the request waits.
        client.send(&last);
        let mut turns = |bench: &mut Bench, now_ns, datagrams| {
            let counted = allocation_counter::measure(|| bench.turns(0, datagrams, now_ns));
            if round > 10 {
                allocations += counted.count_total;
            }
        };
        turns(&mut bench, now_ns, REQUESTS + 1);
        assert_eq!(bench.counters[0].misses.waiting.get(), REQUESTS as u64);
        // Half of the rounds the venues answer.
        while let Some(symbol) = bench.board.next() {
            if round % 2 == 0 {
                bench.writer.publish(symbol, live(now_ns));
                bench.board.finish(symbol, true, now_ns);
            }
        }
        turns(&mut bench, now_ns + MISS_WAIT_MS * MS, 0);
        for _ in 0..REQUESTS {
            assert_eq!(client.receive().code, Code::Ok);
        }
        bench.take_pages();
    }
    assert_eq!(allocations, 0);
    let misses = &bench.counters[0].misses;
    let half = REQUESTS as u64 * u64::from(ROUNDS) / 8;
    assert_eq!((misses.fresh.get(), misses.deadline.get()), (half, half));
}
