//! The key table: from a key id to its MAC keys and limits.
//!
//! A table is never changed: the control plane builds another one and swaps it in. What
//! requests change (see [`KeyState`]) is carried over from table to table.
//!
//! Keys lie in buckets of a few hundred, each an open-addressing table that successive tables
//! share until one of its keys changes. So a change among a million keys copies one bucket and a
//! list of pointers, and a lookup is one pointer and mostly one entry.

mod allowed;
mod builder;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use trinity_protocol::{KeyId, MacKey, MacKeys, Verifier};

pub use self::allowed::Allowed;
pub use self::builder::KeyTableBuilder;
use super::limiter::{KeyState, Limits};

/// Everything a core needs to know of a key. Two cache lines, shared with no other key.
#[derive(Clone, Debug)]
#[repr(align(128))]
pub struct KeyEntry {
    /// Public name.
    pub key_id: KeyId,
    /// Signs requests.
    pub request: MacKey,
    /// Signs replies.
    pub reply: MacKey,
    /// What it may do.
    pub limits: Limits,
    /// Refused from this time on, Unix nanoseconds; `u64::MAX` is never, 0 is revoked.
    pub refused_from_ns: u64,
    /// Over which protocols and from where it may be used.
    pub allowed: Allowed,
    /// Tells the verifiers that MAC keys were derived from apart, without keeping them; see
    /// [`KeyEntry::mark_of`].
    pub mark: u64,
    /// What requests change.
    pub state: Arc<KeyState>,
}

/// All keys.
#[derive(Clone, Debug, Default)]
pub struct KeyTable {
    /// A power of two of them, or none.
    buckets: Vec<Bucket>,
    len: usize,
}

/// Open addressing; at most [`FULL_NUMERATOR`] of [`FULL_DENOMINATOR`] places are taken, so there
/// always is an empty one.
type Bucket = Arc<[Option<KeyEntry>]>;

/// Keys of a bucket when a table is laid out; it may grow to twice as many.
const BUCKET_KEYS: usize = 256;
const FULL_NUMERATOR: usize = 3;
const FULL_DENOMINATOR: usize = 4;

impl KeyEntry {
    /// Derives the MAC keys of a verifier.
    pub fn new(
        key_id: KeyId,
        verifier: &Verifier,
        limits: Limits,
        refused_from_ns: u64,
        state: Arc<KeyState>,
    ) -> Self {
        let mut entry = Self::with_macs(
            key_id,
            MacKeys::from_verifier(verifier),
            limits,
            refused_from_ns,
            state,
        );
        entry.mark = Self::mark_of(verifier);
        entry
    }

    /// An entry whose MAC keys are at hand; its mark is that of no verifier.
    pub fn with_macs(
        key_id: KeyId,
        MacKeys { request, reply }: MacKeys,
        limits: Limits,
        refused_from_ns: u64,
        state: Arc<KeyState>,
    ) -> Self {
        Self {
            key_id,
            request,
            reply,
            limits,
            refused_from_ns,
            allowed: Allowed::default(),
            mark: 0,
            state,
        }
    }

    /// The mark of a verifier.
    pub fn mark_of(verifier: &Verifier) -> u64 {
        let [first, ..] = verifier.as_bytes().as_chunks::<8>().0 else {
            return 0;
        };
        u64::from_le_bytes(*first)
    }

    /// Whether the key may be used at `now_ns`: neither revoked nor expired.
    pub const fn is_usable(&self, now_ns: u64) -> bool {
        now_ns < self.refused_from_ns
    }
}

impl KeyTable {
    /// Builds a table; of two entries with one id the later one wins.
    pub fn new(entries: Vec<KeyEntry>) -> Self {
        Self::default().with_changes(entries, &[])
    }

    /// A table with some keys added or replaced and others removed. It shares with this one whatever
    /// did not change: the cost is that of the changes, and of a pointer for every few hundred keys.
    ///
    /// Of two entries with one id the later one wins; a key both in `entries` and in `removed` is in.
    #[must_use]
    pub fn with_changes(&self, entries: Vec<KeyEntry>, removed: &[KeyId]) -> Self {
        let most = self.len + entries.len();
        if self.buckets.is_empty() || most > self.buckets.len() * 2 * BUCKET_KEYS {
            // More than the buckets were laid out for: lay them out anew, with room to double.
            let removed: HashSet<_> = removed.iter().collect();
            let kept = self
                .iter()
                .filter(|entry| !removed.contains(&entry.key_id))
                .cloned();
            let mut builder = KeyTableBuilder::default();
            builder.extend(kept.chain(entries));
            return builder.build();
        }
        let bucket_of = |key_id: KeyId| place_of(key_id, self.buckets.len());
        let mut changes: Vec<Change> = removed.iter().copied().map(Change::Remove).collect();
        changes.extend(entries.into_iter().map(Change::Put));
        changes.sort_by_cached_key(|change| bucket_of(change.key_id()));
        let mut table = self.clone();
        let mut changes = changes.into_iter().peekable();
        while let Some(first) = changes.peek().map(Change::key_id) {
            let at = bucket_of(first);
            let own = std::iter::from_fn(|| changes.next_if(|change| bucket_of(change.key_id()) == at));
            let bucket = &mut table.buckets[at];
            let before = entries_of(bucket).count();
            *bucket = changed(bucket, own.collect());
            table.len = table.len - before + entries_of(bucket).count();
        }
        table
    }

    /// Finds a key.
    #[inline]
    pub fn find(&self, key_id: KeyId) -> Option<&KeyEntry> {
        if self.buckets.is_empty() {
            return None;
        }
        let bucket = &self.buckets[place_of(key_id, self.buckets.len())];
        let mut place = start_of(key_id, bucket.len());
        loop {
            match bucket.get(place)? {
                Some(entry) if entry.key_id == key_id => return Some(entry),
                Some(_) => place = if place + 1 == bucket.len() { 0 } else { place + 1 },
                None => return None,
            }
        }
    }

    /// Every key, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &KeyEntry> {
        self.buckets.iter().flat_map(entries_of)
    }

    /// How many keys there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What becomes of a key.
enum Change {
    Put(KeyEntry),
    Remove(KeyId),
}

impl Change {
    const fn key_id(&self) -> KeyId {
        match self {
            Self::Put(entry) => entry.key_id,
            Self::Remove(key_id) => *key_id,
        }
    }
}

fn entries_of(bucket: &Bucket) -> impl Iterator<Item = &KeyEntry> {
    bucket.iter().flatten()
}

/// A bucket with some of its keys changed or removed, in this order.
fn changed(bucket: &Bucket, changes: Vec<Change>) -> Bucket {
    let most = entries_of(bucket).count() + changes.len();
    let mut entries: Vec<KeyEntry> = Vec::with_capacity(most);
    let mut places = Places::new(most);
    for entry in entries_of(bucket) {
        places.put(entry.clone(), &mut entries);
    }
    let mut removed = Vec::new();
    for change in changes {
        match change {
            Change::Put(entry) => {
                removed.retain(|removed| *removed != entry.key_id);
                places.put(entry, &mut entries);
            }
            Change::Remove(key_id) => removed.push(key_id),
        }
    }
    entries.retain(|entry| !removed.contains(&entry.key_id));
    let size = entries.len() * FULL_DENOMINATOR / FULL_NUMERATOR + 1;
    let mut slots: Vec<Option<KeyEntry>> = Vec::new();
    slots.resize_with(size, || None);
    for entry in entries {
        let mut place = start_of(entry.key_id, size);
        while slots[place].is_some() {
            place = if place + 1 == size { 0 } else { place + 1 };
        }
        slots[place] = Some(entry);
    }
    slots.into()
}

/// Where each of a growing list of entries is, so that a later one takes the place of an earlier.
struct Places(HashMap<KeyId, usize>);

impl Places {
    fn new(most: usize) -> Self {
        Self(HashMap::with_capacity(most))
    }

    fn put(&mut self, entry: KeyEntry, entries: &mut Vec<KeyEntry>) {
        match self.0.entry(entry.key_id) {
            Entry::Occupied(place) => entries[*place.get()] = entry,
            Entry::Vacant(place) => {
                place.insert(entries.len());
                entries.push(entry);
            }
        }
    }
}

/// Key ids are random, but the ledger's owner may have chosen them: they are spread anyway.
const fn spread(key_id: KeyId) -> u64 {
    let bits = (key_id.0 ^ key_id.0 >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits ^ bits >> 29
}

/// The bucket of a key, among a power of two of them.
#[inline]
const fn place_of(key_id: KeyId, buckets: usize) -> usize {
    spread(key_id) as usize & (buckets - 1)
}

/// Where in its bucket a key is looked for first.
#[inline]
const fn start_of(key_id: KeyId, size: usize) -> usize {
    // The high half, which did not choose the bucket, scaled to the bucket's size.
    (((spread(key_id) >> 32) * size as u64) >> 32) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// An entry that tells its version by its time.
    fn entry(id: u64, refused_from_ns: u64) -> KeyEntry {
        let verifier = Verifier::from_bytes([id as u8; 32]);
        KeyEntry::new(
            KeyId(id),
            &verifier,
            Limits::NONE,
            refused_from_ns,
            Arc::default(),
        )
    }

    #[test]
    fn every_key_is_found_and_no_other() {
        let table = KeyTable::new((1..=10_000).map(|i| entry(i * 3, u64::MAX)).collect());
        assert_eq!((table.len(), table.iter().count()), (10_000, 10_000));
        for i in 1..=10_000 {
            assert_eq!(table.find(KeyId(i * 3)).map(|e| e.key_id), Some(KeyId(i * 3)));
            assert!(table.find(KeyId(i * 3 + 1)).is_none());
        }
        assert!(KeyTable::default().find(KeyId(1)).is_none());
        assert!(KeyTable::new(vec![]).find(KeyId(1)).is_none());
    }

    #[test]
    fn an_empty_table_takes_changes_like_any_other() {
        let table = KeyTable::default().with_changes(vec![], &[KeyId(1)]);
        assert!(table.is_empty() && table.find(KeyId(1)).is_none());
        assert_eq!(table.with_changes(vec![entry(1, 7)], &[KeyId(1)]).len(), 1);
    }

    #[test]
    fn a_key_has_two_cache_lines_of_its_own_and_an_empty_place_costs_no_more() {
        assert_eq!((size_of::<KeyEntry>(), align_of::<KeyEntry>()), (128, 128));
        assert_eq!(size_of::<Option<KeyEntry>>(), 128);
    }

    #[test]
    fn the_later_of_two_entries_wins() {
        let table = KeyTable::new(vec![entry(5, u64::MAX), entry(5, 0)]);
        assert!(!table.find(KeyId(5)).expect("there").is_usable(1));
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_key_is_usable_until_it_expires() {
        let key = entry(1, 100);
        assert!(key.is_usable(99));
        assert!(!key.is_usable(100));
        assert!(!entry(1, 0).is_usable(0), "revoked");
    }

    #[test]
    fn a_change_shares_all_buckets_but_its_own() {
        let table = KeyTable::new((1..=50_000).map(|i| entry(i, 7)).collect());
        let next = table.with_changes(vec![entry(77, 8)], &[KeyId(99)]);
        let own = table
            .buckets
            .iter()
            .zip(&next.buckets)
            .filter(|(was, is)| !Arc::ptr_eq(was, is))
            .count();
        assert!((1..=2).contains(&own), "{own} of {} buckets", table.buckets.len());
        assert_eq!(next.find(KeyId(77)).map(|e| e.refused_from_ns), Some(8));
        assert!(next.find(KeyId(99)).is_none() && table.find(KeyId(99)).is_some());
        let state = |table: &KeyTable| Arc::as_ptr(&table.find(KeyId(1_234)).expect("there").state);
        assert_eq!(state(&table), state(&next), "what requests changed goes along");
    }

    #[test]
    fn a_million_keys_are_found_and_changed() {
        let state = Arc::<KeyState>::default();
        let seven = entry(7, 7);
        // Deriving two million MAC keys would take longer than it tells.
        let cheap = |id: u64| KeyEntry {
            key_id: KeyId(id),
            state: Arc::clone(&state),
            ..seven.clone()
        };
        let ids = || (0..1_000_000_u64).map(|i| i.wrapping_mul(0xD134_2543_DE82_EF95) >> 1 | 1 << 62);
        let mut table = KeyTable::new(ids().map(cheap).collect());
        let count = table.len();
        assert!(ids().all(|id| table.find(KeyId(id)).is_some()));
        for (i, id) in ids().step_by(1_000).enumerate() {
            let changed = KeyEntry {
                refused_from_ns: i as u64,
                ..cheap(id)
            };
            table = table.with_changes(vec![changed], &[]);
        }
        assert_eq!(table.len(), count);
        for (i, id) in ids().step_by(1_000).enumerate() {
            assert_eq!(table.find(KeyId(id)).map(|e| e.refused_from_ns), Some(i as u64));
        }
    }

    proptest! {
        #[test]
        fn changes_agree_with_a_model(
            steps in proptest::collection::vec(
                (
                    proptest::collection::vec((0_u64..2_000, 0_u64..9), 0..400),
                    proptest::collection::vec(0_u64..2_000, 0..200),
                ),
                1..8,
            ),
        ) {
            let (mut table, mut model) = (KeyTable::default(), BTreeMap::new());
            for (entries, removed) in steps {
                let removed: Vec<_> = removed.into_iter().map(KeyId).collect();
                table = table.with_changes(entries.iter().map(|(id, at)| entry(*id, *at)).collect(), &removed);
                for id in &removed {
                    model.remove(&id.0);
                }
                model.extend(entries);
                prop_assert_eq!(table.len(), model.len());
                let found: BTreeMap<_, _> = table.iter().map(|e| (e.key_id.0, e.refused_from_ns)).collect();
                prop_assert_eq!(&found, &model);
                for id in 0..2_000 {
                    prop_assert_eq!(table.find(KeyId(id)).map(|e| e.refused_from_ns), model.get(&id).copied());
                }
            }
        }
    }
}
