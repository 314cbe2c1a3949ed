//! Building a table of keys that come one after the other, however many.

use std::sync::Arc;

use super::{Bucket, Change, KeyEntry, KeyTable, changed, entries_of, place_of};

/// Collects keys, then lays a table out for as many as came.
///
/// Keys wait in groups, each of which becomes some of the table's buckets and is freed before the
/// next is taken apart: a million keys are not to be in memory twice.
#[derive(Debug)]
pub struct KeyTableBuilder {
    groups: Vec<Vec<KeyEntry>>,
    len: usize,
}

/// Groups that keys wait in; a power of two.
const GROUPS: usize = 256;

impl Default for KeyTableBuilder {
    fn default() -> Self {
        Self {
            groups: vec![Vec::new(); GROUPS],
            len: 0,
        }
    }
}

impl Extend<KeyEntry> for KeyTableBuilder {
    fn extend<T: IntoIterator<Item = KeyEntry>>(&mut self, entries: T) {
        for entry in entries {
            self.push(entry);
        }
    }
}

impl KeyTableBuilder {
    /// Adds a key; of two with one id the later one wins.
    pub fn push(&mut self, entry: KeyEntry) {
        self.groups[place_of(entry.key_id, GROUPS)].push(entry);
        self.len += 1;
    }

    /// Lays the table out.
    pub fn build(self) -> KeyTable {
        let count = self.len.div_ceil(super::BUCKET_KEYS).next_power_of_two();
        let none: Bucket = Arc::from(Vec::new());
        let mut buckets = vec![Arc::clone(&none); count];
        if count <= GROUPS {
            let mut owners: Vec<Vec<Change>> = Vec::new();
            owners.resize_with(count, Vec::new);
            for entry in self.groups.into_iter().flatten() {
                owners[place_of(entry.key_id, count)].push(Change::Put(entry));
            }
            for (bucket, own) in buckets.iter_mut().zip(owners) {
                *bucket = changed(&none, own);
            }
        } else {
            for mut group in self.groups {
                // Stably, so that the later of two stays behind the earlier.
                group.sort_by_cached_key(|entry| place_of(entry.key_id, count));
                let mut group = group.into_iter().peekable();
                while let Some(at) = group.peek().map(|entry| place_of(entry.key_id, count)) {
                    let own =
                        std::iter::from_fn(|| group.next_if(|entry| place_of(entry.key_id, count) == at));
                    buckets[at] = changed(&none, own.map(Change::Put).collect());
                }
            }
        }
        let len = buckets.iter().map(|bucket| entries_of(bucket).count()).sum();
        KeyTable { buckets, len }
    }
}
