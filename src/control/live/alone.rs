//! A live market that serves nobody: for recorders and benchmarks.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::{LiveParts, LiveSettings};
use crate::clock;
use crate::control::explain::ExplainDesk;
use crate::control::market::{Publisher, names};
use crate::control::ops::{Fact, KeysFacts, LedgerFacts, MarketFacts, Ops, ProcessFacts};
use crate::market::replay::Speed;
use crate::market::symbol::SymbolTable;
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceCopy, PriceWriter};

impl LiveParts {
    /// Parts of a market whose prices only the caller reads, from the copy that is given back.
    /// Nothing is fetched on demand, and nobody asks for explanations.
    pub fn alone(
        settings: LiveSettings,
        table: Arc<SymbolTable>,
        stop: Arc<AtomicBool>,
    ) -> anyhow::Result<(Self, PriceCopy)> {
        let names = Arc::new(names(&table)?);
        let (writer, mut copies) = PriceWriter::new(&names, 1);
        let prices = copies.remove(0);
        let publisher = Publisher::new(writer, &table, Speed::Times(NonZeroU32::MIN));
        let ops = Ops {
            process: ProcessFacts {
                started_ns: clock::unix_nanos(),
                version: env!("CARGO_PKG_VERSION"),
                node: "alone".to_owned(),
                driver: "none".to_owned(),
                driver_why: "nobody is served".to_owned(),
            },
            shards: Vec::new(),
            web: Vec::new(),
            prices: Arc::clone(&prices),
            misses: None,
            market: MarketFacts::live(settings.venues.iter().map(|address| address.venue)),
            ledger: LedgerFacts::new("none"),
            journal: Arc::default(),
            keys: KeysFacts::default(),
            stopping_since_ns: Fact::default(),
        };
        let parts = Self {
            settings,
            tables: watch::channel(table).1,
            publisher: Arc::new(Mutex::new(publisher)),
            ops: Arc::new(ops),
            misses: (
                Arc::new(MissBoard::with_room(1, 1, || {})),
                Arc::new(Notify::new()),
            ),
            explains: Arc::new(ExplainDesk::new()),
            tap: None,
            stop,
        };
        Ok((parts, prices))
    }
}
