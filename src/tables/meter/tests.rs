//! What a meter promises.

use std::collections::BTreeMap;

use super::*;

#[test]
fn equal_requests_share_a_row_and_different_ones_do_not() {
    let (mut meter, pages) = Meter::new();
    let mut expected = BTreeMap::new();
    for i in 0..5_000_u64 {
        let (key, second, outcome) = (
            KeyId(1 + i % 50),
            100 + (i % 3) as u32,
            Code::ALL[(i % 4) as usize],
        );
        let row = meter.request(key, second, Protocol::Udp, outcome).expect("room");
        meter.latency(row, i);
        *expected.entry((key, second, outcome)).or_insert(0_u64) += 1;
    }
    assert!(meter.close());
    let page = pages.take().expect("closed");
    let counted: BTreeMap<_, _> = page
        .requests()
        .iter()
        .map(|r| ((r.key_id, r.second, r.outcome), r.count))
        .collect();
    assert_eq!(counted, expected);
    assert_eq!(
        page.requests().iter().map(|r| r.latency_sum_ns).sum::<u64>(),
        (0..5_000).sum::<u64>()
    );
    assert_eq!(
        page.requests().iter().map(|r| r.latency_max_ns).max(),
        Some(4_999)
    );
}

#[test]
fn requests_counted_together_are_as_many_as_one_by_one() {
    let (mut meter, pages) = Meter::new();
    let row = meter
        .requests(KeyId(3), 9, Protocol::Udp, Code::Ok, 64)
        .expect("room");
    assert_eq!(meter.request(KeyId(3), 9, Protocol::Udp, Code::Ok), Some(row));
    meter.latencies(row, 10, 64);
    meter.latency(row, 30);
    assert!(meter.close());
    let page = pages.take().expect("closed");
    let [row] = page.requests()[..] else {
        panic!("one row, but {:?}", page.requests());
    };
    assert_eq!((row.count, row.latency_sum_ns, row.latency_max_ns), (65, 670, 30));
}

#[test]
fn nothing_is_lost_while_no_page_comes_back() {
    let (mut meter, pages) = Meter::new();
    let mut closed = 0;
    for second in 0..100 {
        meter
            .request(KeyId(1), second, Protocol::Http, Code::Ok)
            .expect("room");
        closed += u32::from(meter.close());
    }
    assert_eq!(closed as usize, METER_PAGES - 1);
    let mut total = 0;
    while let Some(page) = pages.take() {
        total += page.requests().iter().map(|r| r.count).sum::<u64>();
        pages.give_back(page);
        meter.close();
    }
    assert_eq!(total, 100);
}

#[test]
fn a_full_page_says_so_before_a_request_goes_uncounted() {
    let (mut meter, _pages) = Meter::new();
    for i in 0..METER_REQUEST_ROWS as u64 {
        assert!(meter.has_room(1));
        assert!(meter.request(KeyId(i + 1), 1, Protocol::Udp, Code::Ok).is_some());
    }
    assert!(!meter.has_room(1));
    assert!(
        meter
            .request(KeyId(u64::MAX), 1, Protocol::Udp, Code::Ok)
            .is_none()
    );
    assert!(
        meter.request(KeyId(1), 1, Protocol::Udp, Code::Ok).is_some(),
        "a known row still counts"
    );
}

#[test]
fn detail_that_does_not_fit_is_folded_and_its_number_kept() {
    let (mut meter, pages) = Meter::new();
    let entries = METER_SYMBOL_ROWS as u64 + 500;
    meter.symbol(KeyId(1), None, 1, PriceStatus::UnknownSymbol);
    for i in 0..entries {
        meter.symbol(
            KeyId(1),
            Some(SymbolIndex(i as u32)),
            1,
            PriceStatus::UnknownSymbol,
        );
    }
    meter.symbol(KeyId(2), Some(SymbolIndex(0)), 1, PriceStatus::Live);
    meter.close();
    let page = pages.take().expect("closed");
    let kept: u64 = page.symbols().map(|r| r.entries).sum();
    assert_eq!(kept + page.lost_detail(), entries + 2);
    assert_eq!(page.lost_detail(), 1, "key 2 had no row to fold into");
}

#[test]
fn every_entry_is_counted_in_its_own_row() {
    let (mut meter, pages) = Meter::new();
    let mut expected = BTreeMap::new();
    for i in 0..20_011_u64 {
        let (key, symbol) = (KeyId(1 + i % 37), SymbolIndex((i % 53) as u32));
        let (second, status) = (100 + (i % 3) as u32, PriceStatus::ALL[(i % 2) as usize]);
        meter.symbol(key, Some(symbol), second, status);
        *expected
            .entry((key, Some(symbol), second, status))
            .or_insert(0_u64) += 1;
    }
    assert!(meter.close());
    let page = pages.take().expect("closed");
    let rows = page.symbols();
    let counted: BTreeMap<_, _> = rows
        .map(|r| ((r.key_id, r.symbol, r.second, r.status), r.entries))
        .collect();
    assert_eq!(counted, expected);
    assert_eq!(page.symbols().len(), expected.len(), "one row each");
}

#[test]
fn a_page_that_comes_back_starts_from_nothing() {
    let (mut meter, pages) = Meter::new();
    for _ in 0..20 {
        meter.request(KeyId(9), 5, Protocol::Udp, Code::Ok).expect("room");
        meter.symbol(KeyId(9), Some(SymbolIndex(3)), 5, PriceStatus::Live);
        assert!(meter.close());
        let page = pages.take().expect("closed");
        assert_eq!((page.requests().len(), page.requests()[0].count), (1, 1));
        assert_eq!(
            (
                page.symbols().len(),
                page.symbols().map(|row| row.entries).sum::<u64>()
            ),
            (1, 1)
        );
        pages.give_back(page);
    }
}

/// What a journal's words hold that is not in the ledger yet, as another process would read it.
fn left_in(pages: &MeterPages) -> (SavedJournal, Vec<PageRows>) {
    let bytes: Vec<u8> = pages
        .words
        .iter()
        .flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes())
        .collect();
    let read = |range: std::ops::Range<u64>| {
        let (start, end) = (range.start as usize, range.end as usize);
        Ok::<_, ()>(bytes[start.min(bytes.len())..end.min(bytes.len())].to_vec())
    };
    let journal = SavedJournal::read(bytes.len() as u64, read)
        .expect("read")
        .expect("a journal");
    let rows = journal.pages().iter();
    let rows = rows.map(|page| journal.rows(page, read).expect("read")).collect();
    (journal, rows)
}

fn on_journal() -> (Meter, MeterPages) {
    let map = memmap2::MmapMut::map_anon(JOURNAL_BYTES).expect("maps");
    let name = JournalName {
        node: "main",
        boot: 7,
        meter: 1,
        made_ns: 5,
    };
    let names = crate::tables::prices::SymbolNames::new(vec![Symbol::new("BTC-USD").expect("a symbol")], &[]);
    let names = Arc::new(names.expect("one"));
    let prices = crate::tables::prices::PriceWriter::new(&names, 1).1.remove(0);
    Meter::on_journal(map.into(), name, prices).expect("made")
}

#[test]
fn whenever_the_process_dies_all_that_was_counted_is_read_and_nothing_else() {
    let (mut meter, pages) = on_journal();
    let mut taken = Vec::new();
    let (mut counted, mut entries, mut in_ledger) = (0_u64, 0_u64, 0_u64);
    for step in 0..400_u32 {
        let key = KeyId(1 + u64::from(step * 7 % 23));
        meter
            .requests(
                key,
                step / 10,
                Protocol::Udp,
                Code::ALL[step as usize % 3],
                u64::from(step),
            )
            .expect("room");
        meter.symbol(key, Some(SymbolIndex(0)), step / 10, PriceStatus::Live);
        meter.write_down();
        (counted, entries) = (counted + u64::from(step), entries + 1);
        if step % 9 == 0 {
            meter.close();
            taken.extend(pages.take());
        }
        if step % 31 == 0 && !taken.is_empty() {
            let page: Box<UsagePage> = taken.remove(0);
            in_ledger += page.requests().iter().map(|row| row.count).sum::<u64>();
            entries -= page.symbols().map(|row| row.entries).sum::<u64>();
            pages.give_back(page);
        }
        if step % 13 == 0 {
            let (journal, rows) = left_in(&pages);
            assert_eq!((journal.node(), journal.boot(), journal.meter()), ("main", 7, 1));
            let sequences: Vec<_> = journal.pages().iter().map(|page| page.sequence).collect();
            assert!(sequences.is_sorted(), "{sequences:?}");
            let all = rows.iter().flat_map(|rows| &rows.requests);
            assert_eq!(
                in_ledger + all.map(|row| row.count).sum::<u64>(),
                counted,
                "step {step}"
            );
            let symbols: Vec<_> = rows.iter().flat_map(|rows| &rows.symbols).collect();
            assert_eq!(symbols.iter().map(|row| row.entries).sum::<u64>(), entries);
            assert!(
                symbols
                    .iter()
                    .all(|row| row.name.is_some_and(|name| name.as_str() == "BTC-USD"))
            );
            assert!(rows.iter().all(|rows| rows.damaged == 0));
        }
    }
}

#[test]
fn a_full_page_folds_seconds_and_never_a_count() {
    let (mut meter, pages) = Meter::new();
    let rows = METER_REQUEST_ROWS as u32;
    // One key, so many seconds that they need a quarter more rows than there are.
    let seconds = rows + rows / 4;
    for second in 0..seconds {
        assert!(meter.request(KeyId(1), second, Protocol::Udp, Code::Ok).is_some());
        meter.symbol(KeyId(1), None, second, PriceStatus::Live);
    }
    // What has its own row still is counted there.
    assert!(meter.request(KeyId(1), 7, Protocol::Udp, Code::Ok).is_some());
    assert!(meter.has_room(rows as usize / 4), "folding left room");
    meter.close();
    let page = pages.take().expect("closed");
    let counted = page.requests();
    assert_eq!(
        counted.iter().map(|row| row.count).sum::<u64>(),
        u64::from(seconds) + 1
    );
    assert_eq!(
        counted.iter().find(|row| row.second == 7).map(|row| row.count),
        Some(2)
    );
    assert_eq!(page.folded(), u64::from(seconds - rows / 2));
    let last = counted.last().expect("a row");
    assert!(
        last.second.is_multiple_of(60) && last.second + 60 >= seconds,
        "a minute's first second"
    );
    let entries: u64 = page.symbols().map(|row| row.entries).sum();
    assert_eq!(entries + page.lost_detail(), u64::from(seconds));
}

#[test]
fn a_slow_ledger_gets_fewer_and_fuller_pages() {
    let (mut meter, pages) = Meter::new();
    let count = |meter: &mut Meter, second| {
        meter
            .request(KeyId(1), second, Protocol::Udp, Code::Ok)
            .expect("room");
    };
    count(&mut meter, 1);
    assert!(meter.close_in_time());
    let first = pages.take().expect("closed");
    for second in 2..100 {
        count(&mut meter, second);
        assert!(!meter.close_in_time(), "the ledger has not taken the first");
    }
    assert_eq!(pages.fill().oldest_second, Some(1));
    pages.give_back(first);
    assert_eq!(pages.fill().oldest_second, Some(2));
    assert_eq!(pages.fill().request_rows, 98);
    assert!(meter.close_in_time());
    assert_eq!(pages.take().expect("closed").requests().len(), 98);
}
