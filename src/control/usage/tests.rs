//! What the flush promises.

use std::path::Path;

use trinity_protocol::{PriceStatus, Symbol};

use super::*;
use crate::control::journal::{JournalDir, Journals};
use crate::store::{LEDGER_FILE, SqliteLedger};
use crate::tables::meter::Protocol;
use crate::tables::prices::{PriceCopy, PriceWriter, SymbolIndex, SymbolNames};

fn prices(names: &[&str]) -> PriceCopy {
    let names = names
        .iter()
        .map(|name| Symbol::new(name).expect("a symbol"))
        .collect();
    let names = SymbolNames::new(names, &[]).expect("distinct");
    PriceWriter::new(&Arc::new(names), 1).1.remove(0)
}

fn flush_of(ledger: Arc<dyn Ledger>, pages: MeterPages) -> UsageFlush {
    UsageFlush::new(
        ledger,
        "main".into(),
        u64::MAX >> 1,
        vec![pages],
        Vec::new(),
        Arc::default(),
    )
}

/// A flush of what was left in a directory.
fn flush_left(ledger: &Arc<SqliteLedger>, dir: &Path) -> UsageFlush {
    let left = JournalDir::open(dir).expect("free").left(1).expect("readable");
    let shared: Arc<dyn Ledger> = Arc::clone(ledger) as _;
    let facts = Arc::<JournalFacts>::default();
    left.set_aside.into_iter().for_each(|text| facts.set_aside(text));
    UsageFlush::new(shared, "other".into(), 3, Vec::new(), left.journals, facts)
}

fn journal_names(dir: &Path) -> Vec<String> {
    let files = std::fs::read_dir(dir).expect("listed");
    let names = files.map(|file| file.expect("a file").file_name().into_string().expect("text"));
    let mut names: Vec<_> = names.filter(|name| name != "journal.lock").collect();
    names.sort();
    names
}

async fn charged(ledger: &SqliteLedger, key: u64) -> (u64, u64) {
    let total = ledger.usage_total(KeyId(key)).await.expect("readable");
    (total.charged, total.entries)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn every_counted_request_reaches_the_ledger_once() {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let (mut meter, pages) = Meter::new();
        let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
        let mut flush = flush_of(shared, pages);
        for round in 0..20_u32 {
            for _ in 0..=round {
                meter
                    .request(KeyId(5), 1_700_000_000 + round, Protocol::Udp, Code::Ok)
                    .expect("room");
                meter.symbol(
                    KeyId(5),
                    Some(SymbolIndex(0)),
                    1_700_000_000 + round,
                    PriceStatus::Live,
                );
                meter.symbol(KeyId(5), None, 1_700_000_000 + round, PriceStatus::UnknownSymbol);
            }
            meter.close();
            let (flushed, result) = flush.round().await;
            result.expect("the ledger takes it");
            assert_eq!(
                flushed,
                Flushed {
                    pages: 1,
                    rows: 1,
                    requests: u64::from(round) + 1,
                    waiting: 0
                }
            );
        }
        let total = ledger.usage_total(KeyId(5)).await.expect("readable");
        assert_eq!((total.charged, total.entries), (210, 420));
    });
}

#[test]
fn the_drain_takes_what_found_no_empty_page_too() {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let (mut meter, pages) = Meter::new();
        let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
        let mut flush = flush_of(shared, pages);
        // Nobody flushed for long: all pages are full but the one that is counted in.
        for second in 0..50 {
            meter
                .request(KeyId(5), 1_700_000_000 + second, Protocol::Udp, Code::Ok)
                .expect("room");
            meter.close();
        }
        let mut meters = [meter];
        flush
            .drain(&mut meters, |result| result.expect("the ledger takes it"))
            .await;
        assert_eq!(meters[0].pending(), 0);
        assert_eq!(ledger.usage_total(KeyId(5)).await.expect("readable").charged, 50);
    });
}

#[test]
fn one_row_that_the_ledger_cannot_hold_does_not_hold_up_the_rest() {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let (mut meter, pages) = Meter::new();
        let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
        let mut flush = flush_of(shared, pages);
        // Key ids of 2^63 and more are not SQL integers.
        for key in [u64::MAX, 5] {
            meter
                .request(KeyId(key), 1_700_000_000, Protocol::Http, Code::Ok)
                .expect("room");
            meter.symbol(KeyId(key), None, 1_700_000_000, PriceStatus::Live);
        }
        meter.close();
        let (flushed, result) = flush.round().await;
        result.expect("the rest is taken");
        assert_eq!((flushed.requests, flushed.waiting, flush.unflushed()), (1, 0, 0));
        assert_eq!(ledger.usage_total(KeyId(5)).await.expect("readable").charged, 1);
    });
}

#[test]
fn a_symbol_that_was_added_later_is_written_under_its_own_name() {
    let dir = tempfile::tempdir().expect("a directory");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let symbol = |name: &&str| Symbol::new(name).expect("a symbol");
        let names = |list: &[&str], retired: &[SymbolIndex]| {
            let list = list.iter().map(symbol).collect();
            Arc::new(SymbolNames::with_retired(list, &[], retired).expect("distinct"))
        };
        let (mut writer, copies) = PriceWriter::new(&names(&["A-USD"], &[]), 1);
        let journal = tempfile::tempdir().expect("a directory");
        let mut journals = Journals::new(JournalDir::open(journal.path()).expect("free"), "main", 7);
        let (mut meter, pages) = journals.meter(&copies[0], 1).expect("made");
        let mut flush = flush_of(ledger, pages);
        writer
            .extend(&names(&["A-USD", "B-USD"], &[SymbolIndex(0)]))
            .expect("a continuation");
        for index in [0, 1, 1] {
            meter.symbol(
                KeyId(5),
                Some(SymbolIndex(index)),
                1_700_000_000,
                PriceStatus::Live,
            );
        }
        meter.close();
        flush.round().await.1.expect("the ledger takes it");
    });
    let ledger = rusqlite::Connection::open(dir.path().join(LEDGER_FILE)).expect("opened");
    let mut rows = ledger
        .prepare("SELECT symbol, entries FROM usage_symbols ORDER BY symbol")
        .expect("the schema fits");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Vec<(String, i64)> = rows.expect("readable").map(|row| row.expect("a row")).collect();
    assert_eq!(
        rows,
        [("A-USD".to_owned(), 1), ("B-USD".to_owned(), 2)],
        "a retired one too"
    );
}

#[test]
fn what_a_dead_process_counted_reaches_the_ledger_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let (journal, copy) = (dir.path().join("journal"), dir.path().join("copy"));
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let prices = prices(&["BTC-USD"]);
        {
            let mut journals = Journals::new(JournalDir::open(&journal).expect("free"), "main", 7);
            let (mut udp, pages) = journals.meter(&prices, 1).expect("made");
            let (mut http, _pages) = journals.meter(&prices, 1).expect("made");
            let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
            let mut flush =
                UsageFlush::new(shared, "main".into(), 7, vec![pages], Vec::new(), Arc::default());
            for (second, flushes) in [(1, true), (2, false), (3, false)] {
                for _ in 0..10 {
                    udp.request(KeyId(5), second, Protocol::Udp, Code::Ok)
                        .expect("room");
                    udp.symbol(KeyId(5), Some(SymbolIndex(0)), second, PriceStatus::Live);
                }
                http.request(KeyId(6), second, Protocol::Http, Code::Ok)
                    .expect("room");
                if second < 3 {
                    udp.close();
                } else {
                    udp.write_down();
                }
                if flushes {
                    flush.round().await.1.expect("taken");
                }
            }
            assert_eq!(charged(&ledger, 5).await, (10, 10));
            // Here the process dies: nothing is closed, nothing said.
        }
        std::fs::create_dir(&copy).expect("made");
        for name in journal_names(&journal) {
            std::fs::copy(journal.join(&name), copy.join(&name)).expect("copied");
        }
        let mut flush = flush_left(&ledger, &journal);
        assert_eq!(flush.left_pages(), 3, "one of UDP closed, one open, and HTTP's");
        assert_eq!(
            flush.left_charged_since(0).await,
            HashMap::from([(KeyId(5), 20), (KeyId(6), 3)])
        );
        assert_eq!(
            flush.left_charged_since(3).await[&KeyId(5)],
            10,
            "the month turned at 3"
        );
        let (flushed, result) = flush.round().await;
        result.expect("taken");
        assert_eq!((flushed.pages, flushed.requests, flushed.waiting), (3, 23, 0));
        assert_eq!(charged(&ledger, 5).await, (30, 30));
        assert_eq!(charged(&ledger, 6).await, (3, 0));
        assert!(journal_names(&journal).is_empty(), "nothing is left");

        // As if that process had died before it could remove them.
        let mut again = flush_left(&ledger, &copy);
        assert!(
            again.left_charged_since(0).await.is_empty(),
            "all of it is in the ledger"
        );
        let (flushed, result) = again.round().await;
        result.expect("taken");
        assert_eq!((flushed.requests, flushed.waiting), (0, 0));
        assert_eq!(
            (charged(&ledger, 5).await, charged(&ledger, 6).await),
            ((30, 30), (3, 0))
        );
        assert!(journal_names(&copy).is_empty());
    });
}

#[test]
fn a_file_that_is_no_journal_is_set_aside_and_the_others_are_billed() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        {
            let mut journals = Journals::new(JournalDir::open(&journal).expect("free"), "main", 7);
            let (mut meter, _pages) = journals.meter(&prices(&[]), 1).expect("made");
            meter.request(KeyId(5), 1, Protocol::Udp, Code::Ok).expect("room");
            // Of a process that served nobody.
            journals.meter(&prices(&[]), 1).expect("made");
        }
        let whole = std::fs::read(journal.join("0000000000000007-000.journal")).expect("read");
        let mut newer = whole.clone();
        newer[8] = 2;
        let random: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        for (name, bytes) in [
            ("empty.journal", &[][..]),
            ("newer.journal", &newer),
            ("random.journal", &random),
            ("short.journal", &whole[..100]),
        ] {
            std::fs::write(journal.join(name), bytes).expect("written");
        }
        let mut flush = flush_left(&ledger, &journal);
        flush.round().await.1.expect("taken");
        assert_eq!(charged(&ledger, 5).await, (1, 0));
        let aside = flush.facts().set_aside.read().clone();
        assert_eq!(aside.len(), 4, "{aside:?}");
        assert!(
            aside.iter().any(|text| text.contains("newer trinity-beast")),
            "{aside:?}"
        );
        let names = journal_names(&journal);
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(
            names.iter().all(|name| name.contains("set-aside")),
            "none deleted: {names:?}"
        );
        assert_eq!(std::fs::read(journal.join(&names[2])).expect("kept"), random);
    });
}

#[test]
fn of_a_damaged_journal_what_is_sound_is_billed_and_the_file_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let journal = dir.path().join("journal");
    runtime().block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        {
            let mut journals = Journals::new(JournalDir::open(&journal).expect("free"), "main", 7);
            let (mut meter, _pages) = journals.meter(&prices(&[]), 1).expect("made");
            for key in 1..=100 {
                meter
                    .requests(KeyId(key), 1, Protocol::Udp, Code::Ok, key)
                    .expect("room");
            }
        }
        let path = journal.join("0000000000000007-000.journal");
        let mut bytes = std::fs::read(&path).expect("read");
        // The count of key 50, in the first page's fiftieth row; and the end of the file is gone.
        bytes[4_096 + 4_096 + 49 * 64 + 3 * 8 + 2] ^= 4;
        bytes.truncate(bytes.len() / 2);
        std::fs::write(&path, &bytes).expect("written");
        let mut flush = flush_left(&ledger, &journal);
        flush.round().await.1.expect("taken");
        assert_eq!(charged(&ledger, 49).await, (49, 0));
        assert_eq!(charged(&ledger, 50).await, (0, 0), "nobody knows any more");
        let aside = flush.facts().set_aside.read().clone();
        assert!(
            aside[0].contains("1 rows") && aside[0].contains("bytes are missing"),
            "{aside:?}"
        );
        let names = journal_names(&journal);
        assert_eq!(std::fs::read(journal.join(&names[0])).expect("kept"), bytes);
    });
}

#[test]
fn a_second_server_on_one_journal_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = JournalDir::open(dir.path()).expect("free");
    let refused = JournalDir::open(dir.path()).expect_err("taken").to_string();
    assert!(
        refused.contains("another server") && refused.contains("--journal-dir"),
        "{refused}"
    );
    drop(first);
    JournalDir::open(dir.path()).expect("free again");
}
