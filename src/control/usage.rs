//! Carries usage from the journals to the ledger, each page exactly once.
//!
//! A page is one flush: its id is its meter's place and its own sequence, and stays so over a
//! crash. A page that the ledger did not take is kept and tried again under the same id, so a
//! lost answer can never count it twice. Until it is taken its meter goes without an empty
//! page and counts on in the one it has.

mod rows;
mod task;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use trinity_protocol::{Code, KeyId};

use self::rows::FlushRows;
pub use self::task::UsageTask;
use super::journal::LeftJournal;
use super::ops::JournalFacts;
use crate::clock;
use crate::limits::{FLUSH_BACKOFF_MS, FLUSH_LEFT_PAGES};
use crate::store::{FlushId, FlushOutcome, Ledger, StoreError};
use crate::tables::meter::{Meter, MeterPages, UsagePage};

/// Takes pages of all meters and flushes them.
pub struct UsageFlush {
    ledger: Arc<dyn Ledger>,
    node: String,
    boot: u64,
    meters: Vec<MeterState>,
    /// What processes before this one left behind.
    left: VecDeque<LeftJournal>,
    facts: Arc<JournalFacts>,
    /// How long the next failure waits, and until when this one does.
    backoff: Duration,
    retry_at: Option<Instant>,
}

struct MeterState {
    pages: MeterPages,
    /// Taken from the ring, not yet in the ledger; oldest first.
    waiting: VecDeque<Box<UsagePage>>,
    /// The rows of the oldest, once it was tried.
    rows: Option<FlushRows>,
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
    /// Pages that still wait, those of processes before included.
    pub waiting: u64,
}

/// Between two tries to write the last usage.
const DRAIN_PAUSE: Duration = Duration::from_millis(100);
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MOST_BACKOFF: Duration = Duration::from_millis(FLUSH_BACKOFF_MS);

impl UsageFlush {
    /// `meters` in the order in which their journals are numbered, which `boot` made.
    pub fn new(
        ledger: Arc<dyn Ledger>,
        node: String,
        boot: u64,
        meters: Vec<MeterPages>,
        left: Vec<LeftJournal>,
        facts: Arc<JournalFacts>,
    ) -> Self {
        let mut flush = Self {
            ledger,
            node,
            boot,
            meters: Vec::new(),
            left: left.into(),
            facts,
            backoff: FIRST_BACKOFF,
            retry_at: None,
        };
        flush.take_meters(meters);
        flush
    }

    /// Takes over the meters of this process, which are made after what was left is looked at.
    pub fn take_meters(&mut self, meters: Vec<MeterPages>) {
        self.meters.extend(meters.into_iter().map(|pages| MeterState {
            pages,
            waiting: VecDeque::new(),
            rows: None,
        }));
    }

    /// What is known of the journals.
    pub fn facts(&self) -> Arc<JournalFacts> {
        Arc::clone(&self.facts)
    }

    /// Whether it is time for a round: after a failure the ledger is left alone for a while.
    pub fn is_due(&self) -> bool {
        self.retry_at.is_none_or(|at| clock::monotonic() >= at)
    }

    /// Flushes everything that is closed, and some of what was left behind. The first error ends the
    /// round; what waits is tried again in the next.
    pub async fn round(&mut self) -> (Flushed, Result<(), StoreError>) {
        let mut flushed = Flushed::default();
        let mut result = Ok(());
        for index in 0..self.meters.len() {
            let meter = &mut self.meters[index];
            while let Some(page) = meter.pages.take() {
                self.facts.folded.add(page.folded());
                meter.waiting.push_back(page);
            }
            while result.is_ok() && !self.meters[index].waiting.is_empty() {
                result = self.flush_oldest(index, &mut flushed).await;
            }
        }
        for _ in 0..FLUSH_LEFT_PAGES {
            if result.is_err() || self.left.is_empty() {
                break;
            }
            result = self.flush_left(&mut flushed).await;
        }
        let live: usize = self.meters.iter().map(|meter| meter.waiting.len()).sum();
        flushed.waiting = live as u64 + self.left_pages();
        self.facts.left_pages.set(self.left_pages());
        if result.is_err() {
            self.facts.retries.add(1);
            self.retry_at = Some(clock::monotonic() + self.backoff);
            self.backoff = (self.backoff * 2).min(MOST_BACKOFF);
        } else {
            self.retry_at = None;
            self.backoff = FIRST_BACKOFF;
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
        let pages = self.meters.iter().flat_map(|meter| &meter.waiting);
        let requests = pages.flat_map(|page| page.requests());
        requests.map(|row| row.count).sum()
    }

    /// Pages of processes before this one that are not in the ledger.
    pub fn left_pages(&self) -> u64 {
        self.left.iter().map(|left| left.pages_left().len() as u64).sum()
    }

    /// Charged requests by key since `month_start`, Unix seconds, in what processes before this one
    /// left behind and is not in the ledger. A page that cannot be read counts as none; its flush
    /// tells.
    pub async fn left_charged_since(&self, month_start: u64) -> HashMap<KeyId, u64> {
        let mut sums = HashMap::new();
        for left in &self.left {
            let journal = left.journal();
            let last = self
                .ledger
                .last_flush(journal.node(), journal.boot(), journal.meter());
            // A ledger that does not answer has none of it, as far as one can tell.
            let last = last.await.ok().flatten();
            for page in left.pages_left() {
                if last.is_some_and(|last| page.sequence <= last) {
                    continue;
                }
                let rows = match left.rows(page) {
                    Ok(rows) => rows.requests,
                    Err(error) => {
                        tracing::warn!(path = %left.path().display(), %error, "cannot read all of a usage journal");
                        continue;
                    }
                };
                for row in rows {
                    if row.outcome == Code::Ok && u64::from(row.second) >= month_start {
                        *sums.entry(row.key_id).or_default() += row.count;
                    }
                }
            }
        }
        sums
    }

    async fn flush_oldest(&mut self, index: usize, flushed: &mut Flushed) -> Result<(), StoreError> {
        let meter = &mut self.meters[index];
        let Some(page) = meter.waiting.front() else {
            return Ok(());
        };
        let id = FlushId {
            node: self.node.clone(),
            boot: self.boot,
            shard: index as u32,
            sequence: page.sequence(),
        };
        let rows = meter.rows.get_or_insert_with(|| FlushRows::of(&page.rows()));
        flush(&*self.ledger, &id, rows, &self.facts, flushed).await?;
        meter.rows = None;
        if let Some(done) = meter.waiting.pop_front() {
            meter.pages.give_back(done);
        }
        Ok(())
    }

    /// Flushes the next page that was left behind, or ends with a journal that has no more.
    async fn flush_left(&mut self, flushed: &mut Flushed) -> Result<(), StoreError> {
        let Some(left) = self.left.front_mut() else {
            return Ok(());
        };
        let journal = left.journal();
        let read = match left.pages_left().first() {
            None => None,
            Some(page) => {
                let id = FlushId {
                    node: journal.node().to_owned(),
                    boot: journal.boot(),
                    shard: journal.meter(),
                    sequence: page.sequence,
                };
                Some((id, left.rows(page)))
            }
        };
        match read {
            Some((id, Ok(rows))) => {
                let damaged = rows.damaged;
                let mut rows = FlushRows::of(&rows);
                flush(&*self.ledger, &id, &mut rows, &self.facts, flushed).await?;
                self.facts.recovered.add(rows.requests());
                left.page_is_flushed(damaged);
            }
            Some((_, Err(error))) => {
                tracing::error!(
                    path = %left.path().display(), %error,
                    "a page of a usage journal cannot be read; the file is set aside"
                );
                left.page_is_flushed(1);
            }
            None => {
                match left.end(clock::unix_nanos()) {
                    Ok(None) => {}
                    Ok(Some(text)) => self.facts.set_aside(text),
                    Err(error) => tracing::error!("{error:#}"),
                }
                self.left.pop_front();
            }
        }
        Ok(())
    }
}

/// Flushes rows under their id. A row that the ledger cannot hold must not hold up all others: it is
/// reported and set aside, and the rest goes under the same id, of which nothing was applied.
async fn flush(
    ledger: &dyn Ledger,
    id: &FlushId,
    rows: &mut FlushRows,
    facts: &JournalFacts,
    flushed: &mut Flushed,
) -> Result<(), StoreError> {
    loop {
        let began = clock::monotonic();
        match ledger.flush_usage(id, &rows.usage, &rows.symbols).await {
            Ok(outcome) => {
                facts.flush_took(began.elapsed());
                if outcome == FlushOutcome::Applied {
                    flushed.rows += rows.usage.len() as u64;
                    flushed.requests += rows.requests();
                }
                flushed.pages += 1;
                return Ok(());
            }
            Err(StoreError::InvalidRow { index, why }) => rows.set_aside(index, why),
            // What the ledger has stays; which of the two is right only people can tell.
            Err(error @ StoreError::FlushIdReused { .. }) => {
                tracing::error!(%error, "a usage page is in the ledger with other contents; it is left as it is there");
                facts.disputed.add(rows.requests());
                return Ok(());
            }
            Err(error) => return Err(error),
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
