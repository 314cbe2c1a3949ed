//! Keeps the shards' key table in step with the ledger.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use trinity_protocol::{KeyId, Verifier};

use crate::store::{ChangeStamp, Ledger, LoadedKey, StoreError, month_start};
use crate::tables::keys::{KeyEntry, KeyTable};
use crate::tables::limiter::{KeyState, Limits};

/// Builds key tables from the ledger and swaps them in.
pub struct KeySync {
    ledger: Arc<dyn Ledger>,
    table: Arc<ArcSwap<KeyTable>>,
    stamp: Option<ChangeStamp>,
    states: HashMap<KeyId, Arc<KeyState>>,
    /// Which verifier each key of the table was derived from; see [`mark`].
    marks: HashMap<KeyId, u64>,
    /// Start of the month that the states count, Unix seconds.
    month: u64,
    /// Tables that a shard may still hold; dropped here, not on a shard.
    retired: Vec<Arc<KeyTable>>,
}

impl KeySync {
    /// An empty table until the first [`KeySync::reload`].
    pub fn new(ledger: Arc<dyn Ledger>) -> Self {
        let table = Arc::new(ArcSwap::from_pointee(KeyTable::default()));
        Self {
            ledger,
            table,
            stamp: None,
            states: HashMap::new(),
            marks: HashMap::new(),
            month: 0,
            retired: Vec::new(),
        }
    }

    /// The table that shards look keys up in.
    pub fn table(&self) -> Arc<ArcSwap<KeyTable>> {
        Arc::clone(&self.table)
    }

    /// Reloads if the ledger's stamp has moved; tells whether it did.
    pub async fn poll(&mut self, now_ns: u64) -> Result<bool, StoreError> {
        self.turn_month(now_ns);
        self.retired.retain(|table| Arc::strong_count(table) > 1);
        if self.stamp == Some(self.ledger.change_stamp().await?) {
            return Ok(false);
        }
        self.reload(now_ns).await?;
        Ok(true)
    }

    /// Reads every key and, if any changed, swaps a new table in that shares the others with the
    /// one before. What requests have used is kept; a key seen
    /// for the first time starts with what the ledger has for its month.
    pub async fn reload(&mut self, now_ns: u64) -> Result<(), StoreError> {
        self.turn_month(now_ns);
        let stamp = self.ledger.change_stamp().await?;
        let keys = self.all_keys().await?;
        if keys.iter().any(|key| !self.states.contains_key(&key.key_id)) {
            let used: HashMap<_, _> = self.ledger.month_usage(self.month).await?.into_iter().collect();
            for key in &keys {
                self.states.entry(key.key_id).or_insert_with(|| {
                    let state = KeyState::default();
                    state.set_month_used(used.get(&key.key_id).copied().unwrap_or(0));
                    Arc::new(state)
                });
            }
        }
        let table = self.table.load_full();
        let mut changed = Vec::new();
        for key in &keys {
            let limits = Limits::new(
                key.limits.requests_per_second,
                key.limits.burst,
                key.limits.requests_per_month,
            );
            let refused_from_ns = key.refused_from_ns();
            let mark = mark(&key.verifier);
            let is_as_it_was = table
                .find(key.key_id)
                .is_some_and(|known| known.limits == limits && known.refused_from_ns == refused_from_ns)
                && self.marks.get(&key.key_id) == Some(&mark);
            if !is_as_it_was {
                let state = self.states.get(&key.key_id).map(Arc::clone).unwrap_or_default();
                changed.push(KeyEntry::new(
                    key.key_id,
                    &key.verifier,
                    limits,
                    refused_from_ns,
                    state,
                ));
                self.marks.insert(key.key_id, mark);
            }
        }
        let listed: HashSet<_> = keys.iter().map(|key| key.key_id).collect();
        let removed: Vec<_> = table
            .iter()
            .map(|key| key.key_id)
            .filter(|id| !listed.contains(id))
            .collect();
        if !changed.is_empty() || !removed.is_empty() {
            for id in &removed {
                self.marks.remove(id);
            }
            let next = Arc::new(table.with_changes(changed, &removed));
            self.retired.push(self.table.swap(next));
        }
        self.stamp = Some(stamp);
        Ok(())
    }

    async fn all_keys(&self) -> Result<Vec<LoadedKey>, StoreError> {
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let page = self.ledger.load_keys(after, 10_000).await?;
            keys.extend(page.keys);
            after = page.next;
            if after.is_none() {
                return Ok(keys);
            }
        }
    }

    fn turn_month(&mut self, now_ns: u64) {
        let month = month_start(now_ns / 1_000_000_000);
        if month > self.month && self.month != 0 {
            self.states.values().for_each(|state| state.set_month_used(0));
        }
        self.month = self.month.max(month);
    }
}

/// Tells verifiers apart, without keeping them.
fn mark(verifier: &Verifier) -> u64 {
    let [first, ..] = verifier.as_bytes().as_chunks::<8>().0 else {
        return 0;
    };
    u64::from_le_bytes(*first)
}

impl std::fmt::Debug for KeySync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySync")
            .field("stamp", &self.stamp)
            .field("keys", &self.states.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{FlushId, KeySettings, NewAccount, Protocol, SqliteLedger, UsageRow, issue_key};

    const NOW: u64 = 1_700_000_000_000_000_000;

    #[test]
    fn keys_come_go_and_keep_what_they_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
            let mut sync = KeySync::new(Arc::clone(&ledger) as _);
            assert!(sync.poll(NOW).await.expect("readable"));
            assert!(!sync.poll(NOW).await.expect("readable"), "nothing changed");

            // Another process makes a key and bills two requests to it.
            let other = SqliteLedger::open_existing(dir.path()).await.expect("opened");
            let new = NewAccount {
                name: "a".into(),
                tier: "free".into(),
                created_at_ns: NOW,
            };
            let account = other.create_account(new).await.expect("made");
            let (key, _) = issue_key(&other, account.id, "k", NOW, None, &KeySettings::default())
                .await
                .expect("made");
            let row = UsageRow {
                key_id: key.key_id(),
                second: NOW / 1_000_000_000,
                protocol: Protocol::Udp,
                outcome: 0,
                count: 2,
                latency_sum_ns: 0,
                latency_max_ns: 0,
            };
            let id = FlushId {
                node: "n".into(),
                boot: 1,
                shard: 0,
                sequence: 0,
            };
            other.flush_usage(&id, &[row], &[]).await.expect("flushed");

            assert!(sync.poll(NOW).await.expect("readable"));
            let table = sync.table().load_full();
            let entry = table.find(key.key_id()).expect("loaded");
            assert!(entry.is_usable(NOW));
            assert_eq!(entry.state.month_used(), 2);
            assert!(entry.state.acquire(&entry.limits, NOW, 0).is_ok());

            other.revoke_key(key.key_id(), NOW).await.expect("revoked");
            assert!(sync.poll(NOW).await.expect("readable"));
            let table = sync.table().load_full();
            let entry = table.find(key.key_id()).expect("still there, refused");
            assert!(!entry.is_usable(NOW));
            assert_eq!(entry.state.month_used(), 3, "carried over");

            sync.poll(NOW + 40 * 86_400 * 1_000_000_000)
                .await
                .expect("readable");
            assert_eq!(entry.state.month_used(), 0, "a new month");
        });
    }
}
