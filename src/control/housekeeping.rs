//! Keeps the ledger's house: room for the days ahead, and no seconds of days long past.

use std::sync::Arc;
use std::time::Duration;

use super::health::Health;
use crate::clock;
use crate::shard::ShardShared;
use crate::store::{Ledger, StoreError};

/// How often it is looked after.
const EVERY: Duration = Duration::from_hours(1);
/// And after a failure.
const AGAIN: Duration = Duration::from_mins(1);

/// Keeps house for as long as it is polled.
pub async fn keep(ledger: Arc<dyn Ledger>, shared: Arc<ShardShared>) {
    let mut health = Health::new("ledger (keeping house)");
    loop {
        let kept = round(&*ledger, &shared).await;
        let consequence = "usage by the second is kept for longer than it should be";
        let pause = if health.note(kept, consequence).is_some() {
            EVERY
        } else {
            AGAIN
        };
        tokio::time::sleep(pause).await;
    }
}

/// Does what there is to do, part after part.
async fn round(ledger: &dyn Ledger, shared: &ShardShared) -> Result<(), StoreError> {
    loop {
        let now = clock::unix_nanos() / 1_000_000_000;
        let keep_days = shared.parameters.usage_keep_days();
        let tended = ledger.tend_usage(now, keep_days).await?;
        if tended.made > 0 || tended.dropped > 0 {
            tracing::info!(
                days_made = tended.made,
                days_dropped = tended.dropped,
                keep_days,
                "kept the ledger's house"
            );
        }
        if tended.dropped == 0 {
            return Ok(());
        }
    }
}
