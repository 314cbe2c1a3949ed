//! Comparing the ledger's keys with a table, page by page.

use std::collections::BTreeMap;
use std::sync::Arc;

use trinity_protocol::{KeyId, MacKeys};

use crate::store::{KeyPage, LoadedKey};
use crate::tables::keys::{Allowed, KeyEntry, KeyTable, KeyTableBuilder};
use crate::tables::limiter::{KeyState, Limits};

/// What was read so far.
pub(super) struct Scan {
    /// The table that it is compared with.
    table: Arc<KeyTable>,
    /// Where the keys go if that is empty, so that they are laid out once.
    builder: KeyTableBuilder,
    /// What differs from it.
    changed: Vec<KeyEntry>,
    /// Keys that are not in it.
    fresh: Vec<KeyId>,
    /// Every key that was read.
    listed: Vec<KeyId>,
    unusable: BTreeMap<KeyId, String>,
}

/// What came of it.
pub(super) struct Found {
    /// The next table, if it is another.
    pub(super) table: Option<KeyTable>,
    /// Rows that mean nothing.
    pub(super) unusable: BTreeMap<KeyId, String>,
    /// Those that mean something.
    pub(super) usable: Vec<KeyId>,
}

impl Scan {
    pub(super) fn new(table: Arc<KeyTable>) -> Self {
        Self {
            table,
            builder: KeyTableBuilder::default(),
            changed: Vec::new(),
            fresh: Vec::new(),
            listed: Vec::new(),
            unusable: BTreeMap::new(),
        }
    }

    /// Keys that the table does not have yet.
    pub(super) fn fresh(&self) -> &[KeyId] {
        &self.fresh
    }

    /// Compares one more page.
    pub(super) fn page(&mut self, page: KeyPage) {
        for key in page.keys {
            self.listed.push(key.key_id);
            let known = self.table.find(key.key_id);
            if known.is_none() {
                self.fresh.push(key.key_id);
            }
            match next_of(known, &key) {
                None => {}
                Some(entry) if self.table.is_empty() => self.builder.push(entry),
                Some(entry) => self.changed.push(entry),
            }
        }
        for row in page.unusable {
            self.listed.push(row.key_id);
            // One that is not known is refused anyway.
            if let Some(known) = self.table.find(row.key_id)
                && known.refused_from_ns != 0
            {
                self.changed.push(KeyEntry {
                    refused_from_ns: 0,
                    ..known.clone()
                });
            }
            self.unusable.insert(row.key_id, row.why);
        }
    }

    /// Makes the next table. `used` is what the ledger has for keys' months; `all` tells that a
    /// key which was not read is gone.
    pub(super) fn finish(mut self, used: &[(KeyId, u64)], all: bool) -> Found {
        self.listed.sort_unstable();
        let mut removed = Vec::new();
        if all && self.table.len() + self.fresh.len() + self.strange() > self.listed.len() {
            let is_gone = |key: &&KeyEntry| self.listed.binary_search(&key.key_id).is_err();
            removed.extend(self.table.iter().filter(is_gone).map(|key| key.key_id));
        }
        let table = if self.table.is_empty() {
            (!self.fresh.is_empty()).then(|| self.builder.build())
        } else {
            (!self.changed.is_empty() || !removed.is_empty())
                .then(|| self.table.with_changes(self.changed, &removed))
        };
        let next = table.as_ref().unwrap_or(&self.table);
        for (key_id, used) in used {
            if let Some(key) = next.find(*key_id) {
                key.state.raise_month_used(*used);
            }
        }
        let unusable = self.unusable;
        self.listed.retain(|key_id| !unusable.contains_key(key_id));
        Found {
            table,
            unusable,
            usable: self.listed,
        }
    }

    /// Unusable rows of keys that the table does not have.
    fn strange(&self) -> usize {
        let is_strange = |key_id: &&KeyId| self.table.find(**key_id).is_none();
        self.unusable.keys().filter(is_strange).count()
    }
}

/// The entry of a key as the ledger has it now; `None` if it is as it is known.
fn next_of(known: Option<&KeyEntry>, key: &LoadedKey) -> Option<KeyEntry> {
    let limits = Limits::new(
        key.limits.requests_per_second,
        key.limits.burst,
        key.limits.requests_per_month,
    );
    let refused_from_ns = key.refused_from_ns();
    let allowed = Allowed::new(key.protocols.udp, key.protocols.http, &key.networks);
    let mark = KeyEntry::mark_of(&key.verifier);
    let macs = match known {
        Some(known) if known.mark == mark => {
            let same = (&known.limits, known.refused_from_ns, &known.allowed);
            if same == (&limits, refused_from_ns, &allowed) {
                return None;
            }
            MacKeys {
                request: known.request.clone(),
                reply: known.reply.clone(),
            }
        }
        _ => MacKeys::from_verifier(&key.verifier),
    };
    let state = known.map_or_else(Arc::<KeyState>::default, |known| Arc::clone(&known.state));
    Some(KeyEntry {
        allowed,
        mark,
        ..KeyEntry::with_macs(key.key_id, macs, limits, refused_from_ns, state)
    })
}
