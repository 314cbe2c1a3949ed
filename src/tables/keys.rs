//! The key table: from a key id to its MAC keys and limits.
//!
//! A table is never changed: the control plane builds a new one and swaps it in. What
//! requests change (see [`KeyState`]) is carried over from table to table.

use std::sync::Arc;

use trinity_protocol::{KeyId, MacKey, MacKeys, Verifier};

use super::limiter::{KeyState, Limits};

/// Everything a core needs to know of a key.
#[derive(Debug)]
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
    /// What requests change.
    pub state: Arc<KeyState>,
}

/// All keys, found by open addressing.
#[derive(Debug, Default)]
pub struct KeyTable {
    entries: Vec<KeyEntry>,
    /// Position in `entries` plus one; 0 is empty.
    places: Vec<u32>,
}

impl KeyEntry {
    /// Derives the MAC keys of a verifier.
    pub fn new(
        key_id: KeyId,
        verifier: &Verifier,
        limits: Limits,
        refused_from_ns: u64,
        state: Arc<KeyState>,
    ) -> Self {
        let MacKeys { request, reply } = MacKeys::from_verifier(verifier);
        Self {
            key_id,
            request,
            reply,
            limits,
            refused_from_ns,
            state,
        }
    }

    /// Whether the key may be used at `now_ns`: neither revoked nor expired.
    pub const fn is_usable(&self, now_ns: u64) -> bool {
        now_ns < self.refused_from_ns
    }
}

impl KeyTable {
    /// Builds a table; of two entries with one id the later one wins.
    pub fn new(entries: Vec<KeyEntry>) -> Self {
        let size = (entries.len() * 2).next_power_of_two().max(16);
        let mut table = Self {
            entries,
            places: vec![0; size],
        };
        for index in 0..table.entries.len() {
            let place = table.place(table.entries[index].key_id);
            table.places[place] = index as u32 + 1;
        }
        table
    }

    /// Finds a key.
    #[inline]
    pub fn find(&self, key_id: KeyId) -> Option<&KeyEntry> {
        if self.places.is_empty() {
            return None;
        }
        let index = self.places[self.place(key_id)].checked_sub(1)?;
        self.entries.get(index as usize)
    }

    /// Every key.
    pub fn entries(&self) -> &[KeyEntry] {
        &self.entries
    }

    /// The place of a key, or the empty place where it would go. At most half of the places
    /// are taken, so there always is one.
    fn place(&self, key_id: KeyId) -> usize {
        let mask = self.places.len() - 1;
        // Key ids are random, but the ledger's owner may have chosen them: spread them anyway.
        let mut place = (key_id.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize & mask;
        loop {
            match self.places[place].checked_sub(1) {
                Some(index) if self.entries[index as usize].key_id != key_id => place = (place + 1) & mask,
                _ => return place,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        for i in 1..=10_000 {
            assert_eq!(table.find(KeyId(i * 3)).map(|e| e.key_id), Some(KeyId(i * 3)));
            assert!(table.find(KeyId(i * 3 + 1)).is_none());
        }
        assert!(KeyTable::default().find(KeyId(1)).is_none());
        assert!(KeyTable::new(vec![]).find(KeyId(1)).is_none());
    }

    #[test]
    fn the_later_of_two_entries_wins() {
        let table = KeyTable::new(vec![entry(5, u64::MAX), entry(5, 0)]);
        assert!(!table.find(KeyId(5)).expect("there").is_usable(1));
    }

    #[test]
    fn a_key_is_usable_until_it_expires() {
        let key = entry(1, 100);
        assert!(key.is_usable(99));
        assert!(!key.is_usable(100));
        assert!(!entry(1, 0).is_usable(0), "revoked");
    }
}
