//! Stands for the control plane: publishes prices and takes usage pages.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use trinity_beast::clock;
use trinity_beast::limits::METER_CLOSE_MS;
use trinity_beast::tables::meter::MeterPages;
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex};
use trinity_protocol::Code;

use super::join;
use crate::population;

/// How often prices are published: a tenth of the symbols each time, so each symbol once a
/// second.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const PUBLISH_PARTS: usize = 10;

/// The thread of it: both once a second.
pub(crate) struct Control {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ledger>,
}

/// Usage as the ledger would add it up.
pub(crate) struct Ledger {
    pages: Vec<MeterPages>,
    pub(crate) requests: u64,
    pub(crate) entries: u64,
    pub(crate) published: u64,
}

impl Control {
    pub(crate) fn start(pages: Vec<MeterPages>, writer: PriceWriter, symbols: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || control(&stopped, Ledger::new(pages), writer, symbols))?;
        Ok(Self { stop, thread })
    }

    pub(crate) fn stop(self) -> anyhow::Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        join(self.thread)
    }
}

impl Ledger {
    pub(crate) const fn new(pages: Vec<MeterPages>) -> Self {
        Self {
            pages,
            requests: 0,
            entries: 0,
            published: 0,
        }
    }

    pub(crate) fn collect(&mut self) {
        for pages in &self.pages {
            while let Some(page) = pages.take() {
                let billed = page.requests().into_iter().filter(|row| row.outcome == Code::Ok);
                self.requests += billed.map(|row| row.count).sum::<u64>();
                self.entries += page.symbols().map(|row| row.entries).sum::<u64>();
                self.entries += page.lost_detail();
                pages.give_back(page);
            }
        }
    }
}

fn control(stop: &AtomicBool, mut ledger: Ledger, mut writer: PriceWriter, symbols: usize) -> Ledger {
    let flush_every = Duration::from_millis(METER_CLOSE_MS);
    let mut flush_due = clock::monotonic() + flush_every;
    let mut publish_due = clock::monotonic() + PUBLISH_EVERY;
    for tick in 0.. {
        while clock::monotonic() < publish_due && !stop.load(Ordering::Relaxed) {
            thread::park_timeout(publish_due.saturating_duration_since(clock::monotonic()));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        publish_due += PUBLISH_EVERY;
        let now_ns = clock::unix_nanos();
        let sequence = 2 + (tick / PUBLISH_PARTS) as u32;
        for symbol in (tick % PUBLISH_PARTS..symbols).step_by(PUBLISH_PARTS) {
            writer.publish(
                SymbolIndex(symbol as u32),
                population::record(symbol, sequence, now_ns),
            );
            ledger.published += 1;
        }
        if clock::monotonic() >= flush_due {
            flush_due += flush_every;
            ledger.collect();
        }
    }
    ledger
}
