//! Keeps the shards' key table in step with the ledger.
//!
//! All keys are read once at the start and now and then afterwards; in between a change costs one
//! small query and one bucket of the table. Tables are built, and those that were replaced are
//! dropped, on a blocking thread: neither a shard nor the control plane waits for a million keys.

mod scan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::task::spawn_blocking;
use trinity_protocol::KeyId;

use self::scan::{Found, Scan};
use crate::store::{ChangeStamp, Ledger, StoreError, month_start};
use crate::tables::keys::KeyTable;

/// Keys that are read at once.
const PAGE: usize = 10_000;
/// Up to so many new keys the ledger is asked for their month alone, not for everybody's.
const FEW: usize = 1_000;
/// Most unusable rows that are logged one by one.
const LOGGED: usize = 10;

/// Builds key tables from the ledger and swaps them in.
pub struct KeySync {
    ledger: Arc<dyn Ledger>,
    table: Arc<ArcSwap<KeyTable>>,
    /// What the table is up to date with; `None` before all keys were read.
    stamp: Option<ChangeStamp>,
    /// Start of the month that the keys' states count, Unix seconds.
    month: u64,
    /// Rows that mean nothing, and why.
    unusable: BTreeMap<KeyId, String>,
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
            month: 0,
            unusable: BTreeMap::new(),
            retired: Vec::new(),
        }
    }

    /// The table that shards look keys up in.
    pub fn table(&self) -> Arc<ArcSwap<KeyTable>> {
        Arc::clone(&self.table)
    }

    /// Start of the UTC month that the keys' states count, Unix seconds; 0 before the first round.
    pub const fn month(&self) -> u64 {
        self.month
    }

    /// What the table is up to date with; `None` before all keys were read from the ledger.
    pub const fn stamp(&self) -> Option<ChangeStamp> {
        self.stamp
    }

    /// Rows of the ledger that no server can use, and why; their keys are refused.
    pub const fn unusable(&self) -> &BTreeMap<KeyId, String> {
        &self.unusable
    }

    /// Takes a table from elsewhere until the ledger can be read, with what its states count of
    /// the month that begins at `month` (Unix seconds).
    pub fn adopt(&mut self, table: KeyTable, month: u64) {
        self.month = month;
        self.swap_in(table);
    }

    /// Counts requests of this month that were answered and are not in the ledger yet; keys that
    /// are not known are left out. For the start, before requests are answered.
    pub fn add_unflushed(&self, requests: &HashMap<KeyId, u64>) {
        let table = self.table.load();
        for (key_id, requests) in requests {
            if let Some(key) = table.find(*key_id) {
                key.state.add_month_used(*requests);
            }
        }
    }

    /// Reads what has changed if the ledger's stamp has moved; tells whether it did.
    pub async fn poll(&mut self, now_ns: u64) -> Result<bool, StoreError> {
        self.turn(now_ns).await?;
        let stamp = self.ledger.change_stamp().await?;
        match self.stamp {
            Some(known) if known == stamp => Ok(false),
            Some(since) => {
                let scan = self.read(Some(since)).await?;
                self.take(scan, false).await?;
                self.stamp = Some(stamp);
                Ok(true)
            }
            None => self.reload(now_ns).await.map(|()| true),
        }
    }

    /// Reads every key and, if any changed, swaps a new table in that shares the others with the
    /// one before. What requests have used is kept, unless the ledger knows of more; a key seen
    /// for the first time starts with what the ledger has for its month.
    pub async fn reload(&mut self, now_ns: u64) -> Result<(), StoreError> {
        self.turn(now_ns).await?;
        // First: what changes while the pages are read has a later stamp.
        let stamp = self.ledger.change_stamp().await?;
        let scan = self.read(None).await?;
        self.take(scan, true).await?;
        self.stamp = Some(stamp);
        Ok(())
    }

    /// Reads keys page by page, all of them or those changed since; each page is compared with the
    /// table while the next one is read.
    async fn read(&self, since: Option<ChangeStamp>) -> Result<Scan, StoreError> {
        let mut scan = Scan::new(self.table.load_full());
        let mut page = self.page(since, None).await?;
        loop {
            let next = page.next;
            let work = spawn_blocking(move || {
                scan.page(page);
                scan
            });
            let following = match next {
                Some(after) => Some(self.page(since, Some(after)).await),
                None => None,
            };
            scan = work.await.map_err(|_| StoreError::Stopped)?;
            match following {
                Some(following) => page = following?,
                None => return Ok(scan),
            }
        }
    }

    async fn page(
        &self,
        since: Option<ChangeStamp>,
        after: Option<KeyId>,
    ) -> Result<crate::store::KeyPage, StoreError> {
        match since {
            Some(since) => self.ledger.load_changed_keys(since, after, PAGE).await,
            None => self.ledger.load_keys(after, PAGE).await,
        }
    }

    /// Swaps in what was read. `all` tells that a key which is not among it is gone.
    async fn take(&mut self, scan: Scan, all: bool) -> Result<(), StoreError> {
        let used = if all || scan.fresh().len() > FEW {
            self.ledger.month_usage(self.month).await?
        } else if scan.fresh().is_empty() {
            Vec::new()
        } else {
            self.ledger.month_usage_of(self.month, scan.fresh()).await?
        };
        let found = spawn_blocking(move || scan.finish(&used, all))
            .await
            .map_err(|_| StoreError::Stopped)?;
        let Found {
            table,
            unusable,
            usable,
        } = found;
        if let Some(table) = table {
            self.swap_in(table);
        }
        self.note_unusable(unusable, &usable, all);
        Ok(())
    }

    fn note_unusable(&mut self, found: BTreeMap<KeyId, String>, usable: &[KeyId], all: bool) {
        let is_new = |(key_id, why): &(&KeyId, &String)| self.unusable.get(key_id) != Some(*why);
        let news: Vec<_> = found.iter().filter(is_new).collect();
        for (key_id, why) in news.iter().take(LOGGED) {
            tracing::error!(key = %key_id, why, "a key's row in the ledger means nothing: the key is refused");
        }
        if news.len() > LOGGED {
            let more = news.len() - LOGGED;
            tracing::error!(
                more,
                "rows of more keys in the ledger mean nothing: they are refused"
            );
        }
        if all {
            self.unusable = found;
        } else {
            for key_id in usable {
                self.unusable.remove(key_id);
            }
            self.unusable.extend(found);
        }
    }

    fn swap_in(&mut self, table: KeyTable) {
        self.retired.push(self.table.swap(Arc::new(table)));
    }

    /// Begins a new month if it is time, and drops the tables that no shard holds any more.
    async fn turn(&mut self, now_ns: u64) -> Result<(), StoreError> {
        let is_free = |table: &mut Arc<KeyTable>| Arc::strong_count(table) == 1;
        let free: Vec<_> = self.retired.extract_if(.., is_free).collect();
        if !free.is_empty() {
            // Nobody waits for it.
            drop(spawn_blocking(move || drop(free)));
        }
        let month = month_start(now_ns / 1_000_000_000);
        if month > self.month {
            let table = self.table.load_full();
            if self.month != 0 {
                let turned = spawn_blocking(move || {
                    table.iter().for_each(|key| key.state.set_month_used(0));
                });
                turned.await.map_err(|_| StoreError::Stopped)?;
            }
            self.month = month;
        }
        Ok(())
    }
}

impl std::fmt::Debug for KeySync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeySync")
            .field("stamp", &self.stamp)
            .field("keys", &self.table.load().len())
            .field("unusable", &self.unusable.len())
            .finish_non_exhaustive()
    }
}
