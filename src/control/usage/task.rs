//! The flush as a task of its own: a slow ledger must not hold up key sync.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::UsageFlush;
use crate::clock;
use crate::control::health::Health;
use crate::control::ops::{LedgerSide, Ops};
use crate::limits::{USAGE_KEEP_DAYS, USAGE_TEND_S};
use crate::store::Ledger;

/// How often closed pages are looked for.
const TICK: Duration = Duration::from_millis(200);

/// The running task.
#[derive(Debug)]
pub struct UsageTask {
    handle: JoinHandle<UsageFlush>,
    stop: Arc<Notify>,
}

impl UsageTask {
    /// Starts it on the current runtime.
    pub fn start(flush: UsageFlush, ops: Arc<Ops>) -> Self {
        let stop = Arc::new(Notify::new());
        let handle = tokio::spawn(run(flush, ops, Arc::clone(&stop)));
        Self { handle, stop }
    }

    /// Whether it ended although nobody told it to.
    pub fn has_fallen(&self) -> bool {
        self.handle.is_finished()
    }

    /// Ends it after the round it is in and gives the flush back; `None` if it panicked: the
    /// journals keep what it did not flush.
    pub async fn stop(self) -> Option<UsageFlush> {
        self.stop.notify_one();
        self.handle.await.ok()
    }
}

async fn run(mut flush: UsageFlush, ops: Arc<Ops>, stop: Arc<Notify>) -> UsageFlush {
    let mut health = Health::new("ledger (writing usage)");
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut tend_at = clock::monotonic();
    loop {
        tokio::select! {
            () = stop.notified() => return flush,
            _ = tick.tick() => {}
        }
        if !flush.is_due() {
            continue;
        }
        let (flushed, result) = flush.round().await;
        ops.ledger.flushes.add(flushed.pages);
        ops.ledger.rows.add(flushed.rows);
        let now_ns = clock::unix_nanos();
        match &result {
            Ok(()) => ops.ledger.succeeded(LedgerSide::Writes, now_ns),
            Err(error) => ops.ledger.failed(LedgerSide::Writes, now_ns, error.to_string()),
        }
        let works = health.note(
            result,
            "usage waits in the journal and is written when the ledger is back",
        );
        if works.is_some() && clock::monotonic() >= tend_at {
            tend_at = clock::monotonic() + tend(&*flush.ledger, now_ns).await;
        }
    }
}

/// Keeps the ledger's house; tells when to look again.
async fn tend(ledger: &dyn Ledger, now_ns: u64) -> Duration {
    match ledger.tend_usage(now_ns / 1_000_000_000, USAGE_KEEP_DAYS).await {
        Ok(tended) if tended.dropped > 0 => {
            tracing::info!(
                days = tended.dropped,
                "usage by the second was dropped, its sums are kept"
            );
            // There may be more.
            TICK
        }
        Ok(_) => Duration::from_secs(USAGE_TEND_S),
        Err(error) => {
            tracing::warn!(%error, "the ledger's usage could not be tended; tried again soon");
            Duration::from_mins(1)
        }
    }
}
