//! Carries usage from the meters to the ledger, each page exactly once.
//!
//! A page that the ledger did not take is kept and tried again under the same flush id, so a
//! lost answer can never count it twice. Until it is taken its meter goes without an empty
//! page and counts on in the one it has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use trinity_protocol::Symbol;

use crate::store::{self, FlushId, Ledger, StoreError, SymbolUsageRow, UsageRow};
use crate::tables::meter::{Meter, MeterPages, Protocol, RequestRow, SymbolRow, UsagePage};
use crate::tables::prices::{PriceCopy, SymbolNames};

/// Takes pages of all meters and flushes them.
pub struct UsageFlush {
    ledger: Arc<dyn Ledger>,
    prices: PriceCopy,
    node: String,
    boot: u64,
    meters: Vec<MeterState>,
}

struct MeterState {
    pages: MeterPages,
    sequence: u64,
    /// Taken from the ring, not yet in the ledger; oldest first.
    waiting: VecDeque<Waiting>,
}

/// A page and its rows as the ledger takes them. The page is held back until they are there,
/// which bounds what can wait.
struct Waiting {
    page: Box<UsagePage>,
    usage: Vec<UsageRow>,
    symbols: Vec<SymbolUsageRow>,
}

/// What one round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flushed {
    /// Pages that are in the ledger now.
    pub pages: u64,
    /// Their request rows.
    pub rows: u64,
    /// Requests in them.
    pub requests: u64,
    /// Pages that still wait.
    pub waiting: u64,
}

/// Between two tries to write the last usage.
const DRAIN_PAUSE: Duration = Duration::from_millis(100);

impl UsageFlush {
    /// `prices` must be the first copy: it is the first to have a new symbol, so its names
    /// know every index that any meter can hold. `boot` must be drawn anew at each start of the
    /// process.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        prices: PriceCopy,
        node: String,
        boot: u64,
        meters: Vec<MeterPages>,
    ) -> Self {
        let meters = meters
            .into_iter()
            .map(|pages| MeterState {
                pages,
                sequence: 0,
                waiting: VecDeque::new(),
            })
            .collect();
        // Flush ids are stored as signed integers.
        Self {
            ledger,
            prices,
            node,
            boot: boot >> 1,
            meters,
        }
    }

    /// Flushes everything that is closed. The first error ends the round; what waits is tried
    /// again in the next.
    pub async fn round(&mut self) -> (Flushed, Result<(), StoreError>) {
        let mut flushed = Flushed::default();
        let mut result = Ok(());
        for index in 0..self.meters.len() {
            while let Some(page) = self.meters[index].pages.take() {
                let names = Arc::clone(self.prices.load().names());
                let (usage, symbols) = (usage_rows(&page), symbol_rows(&page, &names));
                self.meters[index]
                    .waiting
                    .push_back(Waiting { page, usage, symbols });
            }
            while result.is_ok() && !self.meters[index].waiting.is_empty() {
                result = self.flush_oldest(index, &mut flushed).await;
            }
            flushed.waiting += self.meters[index].waiting.len() as u64;
        }
        (flushed, result)
    }

    /// Flushes everything that meters without an owner still hold, trying again while the ledger
    /// refuses; `note` is told the result of each round.
    pub async fn drain(&mut self, meters: &mut [Meter], mut note: impl FnMut(Result<(), StoreError>)) {
        loop {
            for meter in &mut *meters {
                // It stays open if no empty page is there; this round's flush brings one.
                meter.close();
            }
            let (flushed, result) = self.round().await;
            let failed = result.is_err();
            note(result);
            if flushed.waiting == 0 && meters.iter().all(|meter| meter.pending() == 0) {
                return;
            }
            if failed {
                tokio::time::sleep(DRAIN_PAUSE).await;
            }
        }
    }

    /// Requests that were taken from the meters but are not in the ledger.
    pub fn unflushed(&self) -> u64 {
        self.waiting_rows().map(|row| row.count).sum()
    }

    /// The second of the oldest request that was taken but is not in the ledger.
    pub fn oldest_unflushed(&self) -> Option<u64> {
        self.waiting_rows().map(|row| row.second).min()
    }

    fn waiting_rows(&self) -> impl Iterator<Item = &UsageRow> {
        self.meters
            .iter()
            .flat_map(|meter| &meter.waiting)
            .flat_map(|waiting| &waiting.usage)
    }

    async fn flush_oldest(&mut self, index: usize, flushed: &mut Flushed) -> Result<(), StoreError> {
        let meter = &mut self.meters[index];
        let id = FlushId {
            node: self.node.clone(),
            boot: self.boot,
            shard: index as u32,
            sequence: meter.sequence,
        };
        let Some(oldest) = meter.waiting.front_mut() else {
            return Ok(());
        };
        match self.ledger.flush_usage(&id, &oldest.usage, &oldest.symbols).await {
            Ok(_) => {}
            // Nothing of the flush was applied. One row must not hold up all others: it is
            // reported and set aside, and the rest goes under a new id.
            Err(StoreError::InvalidRow { index, why }) => {
                oldest.set_aside(index, why);
                meter.sequence += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        flushed.pages += 1;
        flushed.rows += oldest.usage.len() as u64;
        flushed.requests += oldest.usage.iter().map(|row| row.count).sum::<u64>();
        meter.sequence += 1;
        if let Some(done) = meter.waiting.pop_front() {
            meter.pages.give_back(done.page);
        }
        Ok(())
    }
}

impl Waiting {
    /// Takes a row out by the ledger's count: request rows first, then symbol rows.
    fn set_aside(&mut self, index: usize, why: &'static str) {
        if index < self.usage.len() {
            let row = self.usage.remove(index);
            tracing::error!(
                ?row,
                why,
                "the ledger cannot hold this usage row; it is not billed"
            );
        } else if index - self.usage.len() < self.symbols.len() {
            let row = self.symbols.remove(index - self.usage.len());
            tracing::error!(
                ?row,
                why,
                "the ledger cannot hold this symbol row; its detail is lost"
            );
        }
    }
}

impl std::fmt::Debug for UsageFlush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UsageFlush")
            .field("node", &self.node)
            .field("boot", &self.boot)
            .finish_non_exhaustive()
    }
}

fn usage_rows(page: &UsagePage) -> Vec<UsageRow> {
    let row = |row: &RequestRow| UsageRow {
        key_id: row.key_id,
        second: u64::from(row.second),
        protocol: match row.protocol {
            Protocol::Udp => store::Protocol::Udp,
            Protocol::Http => store::Protocol::Http,
        },
        outcome: row.outcome as u16,
        count: row.count,
        latency_sum_ns: row.latency_sum_ns,
        latency_max_ns: row.latency_max_ns,
    };
    page.requests().iter().map(row).collect()
}

/// What stands for unknown symbols, and for those that no row was left for.
const OTHER: &str = "*";

fn symbol_rows(page: &UsagePage, names: &SymbolNames) -> Vec<SymbolUsageRow> {
    let Ok(other) = Symbol::new(OTHER) else {
        return Vec::new();
    };
    let row = |row: SymbolRow| SymbolUsageRow {
        key_id: row.key_id,
        symbol: row.symbol.and_then(|index| names.name(index)).unwrap_or(other),
        second: u64::from(row.second),
        status: row.status as u8,
        entries: row.entries,
    };
    page.symbols().map(row).collect()
}

#[cfg(test)]
mod tests {
    use trinity_protocol::{Code, KeyId, PriceStatus};

    use super::*;
    use crate::store::{LEDGER_FILE, SqliteLedger};
    use crate::tables::prices::{PriceWriter, SymbolIndex};

    fn prices(names: SymbolNames) -> PriceCopy {
        PriceWriter::new(&Arc::new(names), 1).1.remove(0)
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
            let names = SymbolNames::new(vec![Symbol::new("BTC-USD").expect("a symbol")], &[]).expect("one");
            let (mut meter, pages) = Meter::new();
            let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
            let mut flush = UsageFlush::new(shared, prices(names), "main".into(), u64::MAX, vec![pages]);
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
            let names = SymbolNames::new(vec![], &[]).expect("none");
            let (mut meter, pages) = Meter::new();
            let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
            let mut flush = UsageFlush::new(shared, prices(names), "main".into(), 7, vec![pages]);
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
            let names = SymbolNames::new(vec![], &[]).expect("none");
            let (mut meter, pages) = Meter::new();
            let shared: Arc<dyn Ledger> = Arc::clone(&ledger) as _;
            let mut flush = UsageFlush::new(shared, prices(names), "main".into(), 7, vec![pages]);
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
            let (mut meter, pages) = Meter::new();
            let mut flush = UsageFlush::new(ledger, Arc::clone(&copies[0]), "main".into(), 7, vec![pages]);
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
}
