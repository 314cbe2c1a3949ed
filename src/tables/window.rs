//! Retry and replay windows: which request ids of a session were already counted.
//!
//! Per session (a key's client process) a sliding window of 2,048 counters is kept as in
//! RFC 6479: a ring of 64-bit blocks, of which one is spare so that advancing clears whole
//! blocks. A repeated id is a retry: answered again, charged to nobody. Since a retry costs
//! nothing, a session has a bank of repeats that its counted requests fill; a client cannot
//! live on repeats.
//!
//! One shard owns one [`Windows`]; memory is taken once, at its start.

use trinity_protocol::{KeyId, REPLAY_WINDOW, RequestId};

use super::keys::KeyTable;
use super::limiter::KeyState;
use crate::limits::{
    KEY_SESSIONS, REPEATS_BANK_MAX, REPEATS_BANKED, REPEATS_PER_REQUEST, SESSION_IDLE_NS, SHARD_SESSIONS,
    SWEEP_SLOTS,
};

/// What a window says of a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// Never counted. Call [`Windows::count`] with the slot once it is granted.
    New(SessionSlot),
    /// Counted before and within its bank: answer, charge nothing.
    Repeat,
    /// Counted before, and the bank is empty.
    Spent,
    /// Behind the window: nobody knows whether it was counted.
    Behind,
    /// The key has as many active sessions as it may, or the shard has.
    TooManySessions,
}

/// A session's place; valid until the next call that may forget sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionSlot(u16);

/// The windows of one shard.
#[derive(Debug)]
pub struct Windows {
    sessions: Vec<Session>,
    free: Vec<u16>,
    /// Buckets of 16 places, one cache line each; a place is 0 or a hash tag (high 16 bits,
    /// never 0) and a session slot (low 16 bits). A session is in one of two buckets, the one that
    /// was emptier when it was opened, so that none is full long before the table is (Azar et al.,
    /// "Balanced Allocations", SIAM J. Comput. 1999).
    buckets: Box<[[u32; BUCKET]]>,
    seed: u64,
    sweep: usize,
}

const BLOCKS: usize = REPLAY_WINDOW as usize / 64 + 1;
const BUCKET: usize = 16;
const BUCKETS: usize = SHARD_SESSIONS * 2 / BUCKET;

#[derive(Debug)]
struct Session {
    /// 0 marks a free slot.
    key_id: u64,
    number: u32,
    /// Highest counter counted so far.
    top: u32,
    last_seen_ns: u64,
    bank: u16,
    /// Whether any counter was counted: before that, `top` means nothing.
    started: bool,
    blocks: [u64; BLOCKS],
}

impl Windows {
    /// Reserves memory for all sessions. `seed` must be unpredictable, so that nobody can
    /// aim sessions at one bucket.
    pub fn new(seed: u64) -> Self {
        Self {
            sessions: Vec::with_capacity(SHARD_SESSIONS),
            free: Vec::with_capacity(SHARD_SESSIONS),
            buckets: vec![[0; BUCKET]; BUCKETS].into_boxed_slice(),
            seed,
            sweep: 0,
        }
    }

    /// Looks up a request id, opening its session if it is new. Counts nothing.
    #[inline]
    pub fn look(&mut self, key_id: KeyId, key: &KeyState, id: RequestId, now_ns: u64) -> Sighting {
        let (buckets, tag) = self.hash(key_id, id.session);
        for bucket in buckets {
            for place in &self.buckets[bucket] {
                if place >> 16 != tag || *place == 0 {
                    continue;
                }
                let slot = *place as u16;
                let session = &mut self.sessions[usize::from(slot)];
                if session.key_id == key_id.0 && session.number == id.session {
                    session.last_seen_ns = now_ns;
                    return session.look(slot, id.counter);
                }
            }
        }
        self.open(buckets, tag, key_id, key, id, now_ns)
    }

    /// Whether a counter is beyond every one that was counted in a session that [`Windows::look`]
    /// found: then it is new, and so are all that rise from it.
    #[inline]
    pub fn is_beyond(&self, slot: SessionSlot, counter: u32) -> bool {
        self.sessions
            .get(usize::from(slot.0))
            .is_some_and(|session| !session.started || counter > session.top)
    }

    /// Counts a request that [`Windows::look`] found new.
    #[inline]
    pub fn count(&mut self, slot: SessionSlot, counter: u32) {
        if let Some(session) = self.sessions.get_mut(usize::from(slot.0)) {
            session.count(counter);
        }
    }

    /// Forgets idle sessions among the next few slots. To be called at leisure: it takes
    /// bounded time.
    pub fn sweep(&mut self, keys: &KeyTable, now_ns: u64) {
        for _ in 0..SWEEP_SLOTS.min(self.sessions.len()) {
            self.sweep = (self.sweep + 1) % self.sessions.len();
            let session = &self.sessions[self.sweep];
            if session.key_id != 0 && now_ns.saturating_sub(session.last_seen_ns) > SESSION_IDLE_NS {
                self.forget(self.sweep as u16, keys);
            }
        }
    }

    /// Sessions remembered now.
    pub fn len(&self) -> usize {
        self.sessions.len() - self.free.len()
    }

    /// Whether no session is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn open(
        &mut self,
        buckets: [usize; 2],
        tag: u32,
        key_id: KeyId,
        key: &KeyState,
        id: RequestId,
        now_ns: u64,
    ) -> Sighting {
        let free = |bucket: usize| self.buckets[bucket].iter().filter(|place| **place == 0).count();
        let bucket = if free(buckets[1]) > free(buckets[0]) {
            buckets[1]
        } else {
            buckets[0]
        };
        let Some(place) = self.buckets[bucket].iter().position(|place| *place == 0) else {
            return Sighting::TooManySessions;
        };
        if self.free.is_empty() && self.sessions.len() == SHARD_SESSIONS || !key.open_session(KEY_SESSIONS) {
            return Sighting::TooManySessions;
        }
        let session = Session {
            key_id: key_id.0,
            number: id.session,
            top: 0,
            last_seen_ns: now_ns,
            bank: REPEATS_BANKED - REPEATS_PER_REQUEST,
            started: false,
            blocks: [0; BLOCKS],
        };
        let slot = if let Some(slot) = self.free.pop() {
            self.sessions[usize::from(slot)] = session;
            slot
        } else {
            self.sessions.push(session);
            (self.sessions.len() - 1) as u16
        };
        self.buckets[bucket][place] = tag << 16 | u32::from(slot);
        Sighting::New(SessionSlot(slot))
    }

    fn forget(&mut self, slot: u16, keys: &KeyTable) {
        let session = &mut self.sessions[usize::from(slot)];
        let key_id = KeyId(session.key_id);
        let number = session.number;
        session.key_id = 0;
        let (buckets, tag) = self.hash(key_id, number);
        let wanted = tag << 16 | u32::from(slot);
        for bucket in buckets {
            for place in &mut self.buckets[bucket] {
                if *place == wanted {
                    *place = 0;
                }
            }
        }
        self.free.push(slot);
        if let Some(key) = keys.find(key_id) {
            key.state.close_session();
        }
    }

    /// The two buckets that a session may be in, and its tag.
    fn hash(&self, key_id: KeyId, session: u32) -> ([usize; 2], u32) {
        let mut bits = key_id.0 ^ self.seed ^ u64::from(session).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        // The finaliser of splitmix64 (Steele, Lea, Flood 2014).
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        let buckets = [bits as usize % BUCKETS, (bits >> 20) as usize % BUCKETS];
        (buckets, (bits >> 48) as u32 | 1)
    }
}

impl Session {
    fn look(&mut self, slot: u16, counter: u32) -> Sighting {
        if !self.started || counter > self.top {
            return Sighting::New(SessionSlot(slot));
        }
        if self.top - counter >= REPLAY_WINDOW {
            return Sighting::Behind;
        }
        let (block, bit) = place(counter);
        if self.blocks[block] & bit == 0 {
            return Sighting::New(SessionSlot(slot));
        }
        match self.bank.checked_sub(1) {
            Some(rest) => {
                self.bank = rest;
                Sighting::Repeat
            }
            None => Sighting::Spent,
        }
    }

    fn count(&mut self, counter: u32) {
        if !self.started {
            self.started = true;
            self.top = counter;
        } else if counter > self.top {
            let steps = ((counter >> 6) - (self.top >> 6)).min(BLOCKS as u32);
            for step in 1..=steps {
                self.blocks[((self.top >> 6) + step) as usize % BLOCKS] = 0;
            }
            self.top = counter;
        }
        let (block, bit) = place(counter);
        self.blocks[block] |= bit;
        self.bank = (self.bank + REPEATS_PER_REQUEST).min(REPEATS_BANK_MAX);
    }
}

const fn place(counter: u32) -> (usize, u64) {
    ((counter >> 6) as usize % BLOCKS, 1 << (counter & 63))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use proptest::prelude::*;
    use trinity_protocol::Verifier;

    use super::*;
    use crate::tables::keys::KeyEntry;
    use crate::tables::limiter::Limits;

    const KEY: KeyId = KeyId(7);

    struct Fixture {
        windows: Windows,
        keys: KeyTable,
    }

    impl Fixture {
        fn new() -> Self {
            let verifier = Verifier::from_bytes([1; 32]);
            let entry = KeyEntry::new(KEY, &verifier, Limits::NONE, u64::MAX, Arc::default());
            Self {
                windows: Windows::new(42),
                keys: KeyTable::new(vec![entry]),
            }
        }

        fn look(&mut self, session: u32, counter: u32, now_ns: u64) -> Sighting {
            let key = Arc::clone(&self.keys.find(KEY).expect("made above").state);
            self.windows
                .look(KEY, &key, RequestId::new(session, counter), now_ns)
        }

        /// Looks and, if new, counts; tells whether it was new.
        fn request(&mut self, session: u32, counter: u32) -> Sighting {
            let sighting = self.look(session, counter, 0);
            if let Sighting::New(slot) = sighting {
                self.windows.count(slot, counter);
            }
            sighting
        }
    }

    #[test]
    fn what_is_beyond_every_counter_is_new() {
        let mut f = Fixture::new();
        let Sighting::New(slot) = f.look(1, 70, 0) else {
            panic!("nothing was counted yet");
        };
        assert!(f.windows.is_beyond(slot, 0), "an empty session");
        f.windows.count(slot, 70);
        assert!(f.windows.is_beyond(slot, 71) && !f.windows.is_beyond(slot, 70));
        assert!(!f.windows.is_beyond(slot, 69), "new, but not beyond");
    }

    fn is_new(sighting: Sighting) -> bool {
        matches!(sighting, Sighting::New(_))
    }

    #[test]
    fn a_shard_opens_nearly_as_many_sessions_as_it_has_room_for() {
        // Of two keys, since one may have half of them only.
        let mut windows = Windows::new(42);
        let states = [KeyState::default(), KeyState::default()];
        let wanted = SHARD_SESSIONS * 9 / 10;
        for session in 0..wanted as u32 {
            let key = session % 2;
            let id = RequestId::new(session, 1);
            let sighting = windows.look(KeyId(u64::from(key)), &states[key as usize], id, 0);
            assert!(is_new(sighting), "session {session} of {wanted}: {sighting:?}");
        }
    }

    #[test]
    fn a_repeat_is_told_from_a_new_request() {
        let mut f = Fixture::new();
        assert!(is_new(f.request(1, 100)));
        assert_eq!(f.request(1, 100), Sighting::Repeat);
        assert!(is_new(f.request(1, 99)), "late but never counted");
        assert!(is_new(f.request(2, 100)), "another session");
        assert!(is_new(f.request(1, 100 + REPLAY_WINDOW)));
        assert_eq!(f.request(1, 100), Sighting::Behind);
        assert!(is_new(f.request(1, 101)), "the last one inside the window");
        assert!(is_new(f.request(1, u32::MAX)));
        assert_eq!(f.request(1, u32::MAX), Sighting::Repeat);
    }

    #[test]
    fn a_request_that_was_refused_stays_new() {
        let mut f = Fixture::new();
        assert!(is_new(f.look(1, 5, 0)));
        assert!(is_new(f.look(1, 5, 0)));
    }

    #[test]
    fn repeats_are_banked_by_counted_requests() {
        let mut f = Fixture::new();
        f.request(1, 1);
        for _ in 0..REPEATS_BANKED {
            assert_eq!(f.request(1, 1), Sighting::Repeat);
        }
        assert_eq!(f.request(1, 1), Sighting::Spent);
        f.request(1, 2);
        for _ in 0..REPEATS_PER_REQUEST {
            assert_eq!(f.request(1, 1), Sighting::Repeat);
        }
        assert_eq!(f.request(1, 1), Sighting::Spent);
    }

    #[test]
    fn idle_sessions_are_forgotten_and_active_ones_are_not() {
        let mut f = Fixture::new();
        f.look(1, 1, 0);
        f.look(2, 1, SESSION_IDLE_NS);
        f.windows.sweep(&f.keys, SESSION_IDLE_NS + 1);
        assert_eq!(f.windows.len(), 1);
        assert!(is_new(f.look(3, 1, SESSION_IDLE_NS)), "the slot is used again");
        assert_eq!(f.windows.sessions.len(), 2);
    }

    #[test]
    fn a_key_has_a_bounded_number_of_sessions() {
        let mut f = Fixture::new();
        let opened = (0..KEY_SESSIONS + 100)
            .filter(|s| is_new(f.look(*s, 1, 0)))
            .count();
        assert!(opened <= KEY_SESSIONS as usize, "{opened}");
        assert!(
            opened == KEY_SESSIONS as usize,
            "{opened}: buckets must not fill early"
        );
        for _ in 0..SHARD_SESSIONS / SWEEP_SLOTS {
            f.windows.sweep(&f.keys, SESSION_IDLE_NS + 1);
        }
        assert!(f.windows.is_empty());
        assert!(
            is_new(f.look(9, 1, 0)),
            "forgetting gives the key its sessions back"
        );
    }

    proptest! {
        /// The window agrees with a set of everything counted.
        #[test]
        fn agrees_with_a_model(counters in proptest::collection::vec(0_u32..9_000, 1..600)) {
            let mut f = Fixture::new();
            let mut counted = BTreeSet::new();
            for counter in counters {
                let top = counted.last().copied().unwrap_or(0);
                let sighting = f.request(1, counter);
                if counter + REPLAY_WINDOW <= top {
                    prop_assert_eq!(sighting, Sighting::Behind);
                } else {
                    prop_assert_eq!(is_new(sighting), counted.insert(counter));
                }
            }
        }
    }
}
