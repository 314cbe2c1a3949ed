//! What the process tells its operators: `/live`, `/health`, `/ready` and `/metrics`.
//!
//! [`Ops`] is a board that the parts of the process write their facts on; pages are rendered
//! from it and from the counters of the data plane. Whoever reads a page disturbs nobody:
//! facts are atomics, or stand behind locks that only the cold side takes.

mod exposition;
mod journal;
mod metrics;
mod venues;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::StatusCode;
use parking_lot::RwLock;

pub use self::journal::JournalFacts;
use self::verdict::Finding;
use super::live::VenueFacts;
use crate::lpo::http::json::Json;
use crate::market::venue::VenueId;
use crate::shard::web::{OpsPage, OpsPages, WebCounters};
use crate::tables::counters::ShardCounters;
use crate::tables::misses::MissBoard;
use crate::tables::prices::PriceCopy;

/// The board.
#[derive(Debug)]
pub struct Ops {
    /// The process.
    pub process: ProcessFacts,
    /// The shards, in order.
    pub shards: Vec<ShardFacts>,
    /// The HTTP workers' counters, in order.
    pub web: Vec<Arc<WebCounters>>,
    /// Any copy of the prices, to count symbols by status.
    pub prices: PriceCopy,
    /// Where cores ask for prices that they miss; `None` if nobody fetches any.
    pub misses: Option<Arc<MissBoard>>,
    /// The market.
    pub market: MarketFacts,
    /// The ledger.
    pub ledger: LedgerFacts,
    /// The usage journals.
    pub journal: Arc<JournalFacts>,
    /// The keys.
    pub keys: KeysFacts,
    /// When the process began to stop, Unix nanoseconds; 0 while it serves.
    pub stopping_since_ns: Fact,
}

/// A number that several threads may write.
#[derive(Debug, Default)]
pub struct Fact(AtomicU64);

/// What never changes in the life of a process.
#[derive(Clone, Debug)]
pub struct ProcessFacts {
    /// When it started, Unix nanoseconds.
    pub started_ns: u64,
    /// The program's version.
    pub version: &'static str,
    /// The node's name.
    pub node: String,
    /// How shards wait (`epoll`, `glommio`).
    pub driver: String,
    /// Why so.
    pub driver_why: String,
}

/// One shard.
#[derive(Debug, Default)]
pub struct ShardFacts {
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// What it counts.
    pub counters: Arc<ShardCounters>,
    /// Receive buffer that the kernel granted, bytes.
    pub receive_buffer_bytes: Fact,
    /// Send buffer that the kernel granted, bytes.
    pub send_buffer_bytes: Fact,
}

/// Where prices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarketKind {
    /// The venues themselves.
    Live,
    /// A recording.
    Replay,
}

/// The market.
#[derive(Debug)]
pub struct MarketFacts {
    /// Live or replayed.
    pub kind: MarketKind,
    /// Where the prices come from, as answers say it; HTTP workers share it.
    pub source: Arc<ArcSwap<String>>,
    /// When the market task last took a round, Unix nanoseconds on this machine's clock. A
    /// recording that is over ticks no more. The market is live while this is younger than
    /// `MARKET_STALE_MS`.
    pub last_tick_ns: Fact,
    /// Quotes taken in.
    pub accepted: Fact,
    /// Quotes rejected, by reason; every reason once.
    pub rejected: RwLock<Vec<(String, u64)>>,
    /// Lines of a recording that were skipped.
    pub damaged_lines: Fact,
    /// Times a recording began anew.
    pub passes: Fact,
    /// The venues that are fed from, by id; none for a recording.
    pub venues: Vec<VenueFacts>,
    /// Why the symbols as the ledger has them cannot be used, if so; the last good ones are.
    pub symbols_problem: RwLock<Option<String>>,
}

/// The ledger.
#[derive(Debug)]
pub struct LedgerFacts {
    /// Its kind (`sqlite`).
    pub kind: &'static str,
    reads: RwLock<LedgerState>,
    writes: RwLock<LedgerState>,
    /// Calls that failed.
    pub failures: Fact,
    /// Usage pages it took.
    pub flushes: Fact,
    /// Usage rows it took.
    pub rows: Fact,
}

/// What is asked of the ledger: either may fail without the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LedgerSide {
    /// Keys, parameters and symbols.
    Reads,
    /// Usage.
    Writes,
}

/// Whether the ledger answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerState {
    /// Since when it does or does not, Unix nanoseconds; 0 before the first call.
    pub since_ns: u64,
    /// The last error, while it does not.
    pub error: Option<String>,
}

/// The keys.
#[derive(Debug, Default)]
pub struct KeysFacts {
    /// How many are known.
    pub count: Fact,
    /// When they were last read from the ledger, changed or not, Unix nanoseconds.
    pub last_sync_ns: Fact,
}

impl Fact {
    /// Replaces the number.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds to the number.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Reads the number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl MarketKind {
    /// The name as metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Replay => "replay",
        }
    }
}

impl MarketFacts {
    /// A market that has not ticked yet.
    pub fn new(kind: MarketKind, source: &str) -> Self {
        Self {
            kind,
            source: Arc::new(ArcSwap::from_pointee(source.to_owned())),
            last_tick_ns: Fact::default(),
            accepted: Fact::default(),
            rejected: RwLock::default(),
            damaged_lines: Fact::default(),
            passes: Fact::default(),
            venues: Vec::new(),
            symbols_problem: RwLock::default(),
        }
    }

    /// A live market that has not ticked yet.
    pub fn live(venues: impl IntoIterator<Item = VenueId>) -> Self {
        Self {
            venues: venues.into_iter().map(VenueFacts::new).collect(),
            ..Self::new(MarketKind::Live, "live")
        }
    }
}

impl LedgerFacts {
    /// A ledger that was not called yet.
    pub fn new(kind: &'static str) -> Self {
        Self {
            kind,
            reads: RwLock::default(),
            writes: RwLock::default(),
            failures: Fact::default(),
            flushes: Fact::default(),
            rows: Fact::default(),
        }
    }

    /// Notes a call that succeeded.
    pub fn succeeded(&self, side: LedgerSide, now_ns: u64) {
        let settled = {
            let state = self.side(side).read();
            state.error.is_none() && state.since_ns != 0
        };
        if !settled {
            *self.side(side).write() = LedgerState {
                since_ns: now_ns,
                error: None,
            };
        }
    }

    /// Notes a call that failed; `error` must name no secret.
    pub fn failed(&self, side: LedgerSide, now_ns: u64, error: String) {
        self.failures.add(1);
        let mut state = self.side(side).write();
        if state.error.is_none() {
            state.since_ns = now_ns;
        }
        state.error = Some(error);
    }

    /// Whether it answers, on both sides.
    pub fn state(&self) -> LedgerState {
        let (reads, writes) = (self.reads.read().clone(), self.writes.read().clone());
        match (&reads.error, &writes.error) {
            (Some(_), None) => reads,
            // The side that changed first tells since when it fails, the one that changed last since
            // when it answers.
            (Some(_), Some(_)) if reads.since_ns <= writes.since_ns => reads,
            (None, None) if reads.since_ns >= writes.since_ns => reads,
            _ => writes,
        }
    }

    const fn side(&self, side: LedgerSide) -> &RwLock<LedgerState> {
        match side {
            LedgerSide::Reads => &self.reads,
            LedgerSide::Writes => &self.writes,
        }
    }
}

impl Ops {
    /// Age of a stamp; what was never stamped is as old as the process.
    fn age_ns(&self, stamp_ns: u64, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.or_start(stamp_ns))
    }

    const fn or_start(&self, stamp_ns: u64) -> u64 {
        if stamp_ns == 0 {
            self.process.started_ns
        } else {
            stamp_ns
        }
    }

    fn live() -> OpsPage {
        json_page(StatusCode::OK, |json| {
            json.key("status").string("alive");
        })
    }

    fn health(&self, now_ns: u64) -> OpsPage {
        let reasons = verdict::health(self, now_ns);
        json_page(status(&reasons), |json| {
            let healthy = if reasons.is_empty() {
                "healthy"
            } else {
                "unhealthy"
            };
            json.key("status").string(healthy).key("reasons");
            verdict::write(json, &reasons);
        })
    }

    fn ready(&self, now_ns: u64) -> OpsPage {
        let (reasons, warnings) = verdict::readiness(self, now_ns);
        json_page(status(&reasons), |json| {
            json.key("ready").boolean(reasons.is_empty()).key("reasons");
            verdict::write(json, &reasons);
            json.key("warnings");
            verdict::write(json, &warnings);
        })
    }
}

impl OpsPages for Ops {
    fn page(&self, path: &str, now_ns: u64) -> Option<OpsPage> {
        match path {
            "/live" => Some(Self::live()),
            "/health" => Some(self.health(now_ns)),
            "/ready" => Some(self.ready(now_ns)),
            "/metrics" => Some(OpsPage {
                status: StatusCode::OK,
                content_type: exposition::CONTENT_TYPE,
                body: metrics::render(self, now_ns).into(),
            }),
            _ => None,
        }
    }
}

const fn status(reasons: &[Finding]) -> StatusCode {
    if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

fn json_page(status: StatusCode, members: impl FnOnce(&mut Json)) -> OpsPage {
    let mut json = Json::with_capacity(256);
    json.open_object();
    members(&mut json);
    json.close_object();
    OpsPage {
        status,
        content_type: "application/json",
        body: json.finish().into(),
    }
}

#[cfg(test)]
mod tests;
