//! The short way's promise: once a connection is known, answering it allocates nothing.

use std::sync::Arc;

use trinity_beast::clock;
use trinity_beast::lpo::http::plain::{Moment, Plain, PlainDesk, Remembered};
use trinity_beast::lpo::http::{Answerer, Directory};
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{ApiKey, PriceFlags, PriceStatus, Symbol};

const ROUNDS: u32 = 2_000;

#[test]
fn no_plain_request_allocates() {
    let symbols: Vec<_> = (0..64)
        .map(|i| Symbol::new(&format!("S{i}-USD")).expect("a symbol"))
        .collect();
    let names = Arc::new(SymbolNames::new(symbols, &[]).expect("distinct"));
    let (mut writer, tables) = PriceWriter::new(&names, 1);
    let key = ApiKey::from_parts(1, [1; 32]).expect("in range");
    let limits = Limits::new(Some(1_000_000), Some(1_000_000), Some(u64::MAX - 1));
    let keys = KeyTable::new(vec![KeyEntry::new(
        key.key_id(),
        &key.verifier(),
        limits,
        u64::MAX,
        Arc::default(),
    )]);
    let (mut meter, pages) = Meter::new();
    let mut directory = Directory::new(&names);
    let (mut desk, mut remembered) = (PlainDesk::default(), Remembered::default());
    let mut out = Vec::with_capacity(4_096);
    let (mut answered, mut allocations) = (0, 0);
    for round in 0..ROUNDS {
        let now_ns = clock::unix_nanos();
        let record = PriceRecord {
            mantissa: i64::from(round),
            confidence: 1,
            publish_time_ns: now_ns,
            exponent: -8,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            venues: 3,
            flags: PriceFlags::REPLAYED,
            sequence: round,
            age_origin_ns: now_ns,
            max_age_ms: 10_000,
            hard_age_ms: 60_000,
        };
        // Every other request finds a new price.
        writer.publish(SymbolIndex(round / 2 % 64), record);
        let request = format!(
            "GET /price?asset=s{}-usd HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n\r\n",
            round / 2 % 64,
            key.expose()
        );
        let prices = tables[0].load_full();
        let counted = allocation_counter::measure(|| {
            out.clear();
            let mut answerer = Answerer {
                prices: &prices,
                keys: &keys,
                meter: &mut meter,
                directory: &mut directory,
                source: "replay:test",
                clock: &clock::unix_nanos,
                month_left_ms: 1_000,
                misses: None,
            };
            let moment = Moment {
                peer: None,
                arrived_ns: now_ns,
                now_ns,
                keys: 1,
            };
            let plain = answerer.plain(request.as_bytes(), moment, &mut remembered, &mut desk, &mut out);
            answered += u32::from(matches!(plain, Plain::Answered { .. }));
        });
        // The first round fills the buffers and remembers the head, the first of each symbol keeps
        // its text; a new second makes a new date.
        if round >= 128 {
            allocations += u64::from(counted.count_total > 0);
        }
    }
    assert_eq!(answered, ROUNDS);
    meter.close();
    let page = pages.take().expect("counted");
    let count: u64 = page.requests().iter().map(|row| row.count).sum();
    assert_eq!(count, u64::from(ROUNDS));
    let seconds = page.requests().len() as u64;
    assert!(
        allocations <= seconds,
        "{allocations} of {ROUNDS} requests allocated in {seconds} seconds"
    );
}
