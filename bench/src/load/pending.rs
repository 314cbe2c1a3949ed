//! What was asked and not yet answered, found by counting instead of by hashing.
//!
//! Each key's requests are numbered, so the request of a reply lies at its key's ring, at its
//! counter modulo the ring's length.

use std::time::Duration;

/// A reply that takes longer counts as lost.
pub(super) const LOST_AFTER: Duration = Duration::from_millis(500);
/// A lost request's id is remembered for this long, so that its late reply is known as such.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);

/// The requests of all keys.
pub(super) struct Pending {
    places: Vec<Place>,
    /// The symbols that each place's request asked for.
    symbols: Vec<u16>,
    entries: usize,
    /// Places of each key: a power of two.
    ring: usize,
    /// Where [`Pending::expire`] goes on.
    looked_at: usize,
}

#[derive(Clone, Copy, Default)]
struct Place {
    /// From when its latency counts, nanoseconds since the start.
    since_ns: u64,
    counter: u32,
    flow: u16,
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Waiting,
    GivenUp,
    /// Answered; remembered until the place is needed, so that a second reply is known as such.
    Answered,
}

/// What a reply is an answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    /// A request that waits, and from when its latency counts.
    Waiting { place: usize, since_ns: u64 },
    /// A request that was given up as lost.
    Late { place: usize },
    /// A request that was answered before.
    Duplicate,
    /// Nothing that this flow asked.
    Unknown,
}

impl Pending {
    /// For `keys` keys with at least `each` requests on their way at a time.
    pub(super) fn new(keys: usize, each: usize, entries: usize) -> Self {
        let ring = each.next_power_of_two().max(4);
        Self {
            places: vec![Place::default(); keys * ring],
            symbols: vec![0; keys * ring * entries],
            entries,
            ring,
            looked_at: 0,
        }
    }

    /// Takes the place of a request that is about to be sent; `None` if it is still needed for
    /// an earlier one.
    #[inline]
    pub(super) fn take(
        &mut self,
        key: usize,
        counter: u32,
        flow: usize,
        since_ns: u64,
        now_ns: u64,
    ) -> Option<usize> {
        let index = self.index(key, counter);
        let place = &mut self.places[index];
        let is_needed = match place.state {
            State::Free | State::Answered => false,
            State::Waiting => true,
            State::GivenUp => now_ns.saturating_sub(place.since_ns) <= FORGOTTEN_AFTER.as_nanos() as u64,
        };
        if is_needed {
            return None;
        }
        *place = Place {
            since_ns,
            counter,
            flow: flow as u16,
            state: State::Waiting,
        };
        Some(index)
    }

    /// Forgets a request that was not sent.
    pub(super) fn cancel(&mut self, place: usize) {
        self.places[place] = Place::default();
    }

    /// The symbols of a place, to be written or read.
    #[inline]
    pub(super) fn symbols(&mut self, place: usize) -> &mut [u16] {
        &mut self.symbols[place * self.entries..][..self.entries]
    }

    /// Finds what a reply answers, and settles it.
    #[inline]
    pub(super) fn settle(&mut self, key: usize, counter: u32, flow: usize) -> Sighting {
        let index = self.index(key, counter);
        let Some(place) = self.places.get_mut(index) else {
            return Sighting::Unknown;
        };
        if place.counter != counter || usize::from(place.flow) != flow {
            return Sighting::Unknown;
        }
        let before = std::mem::replace(&mut place.state, State::Answered);
        match before {
            State::Waiting => Sighting::Waiting {
                place: index,
                since_ns: place.since_ns,
            },
            State::GivenUp => Sighting::Late { place: index },
            State::Answered => Sighting::Duplicate,
            State::Free => {
                place.state = State::Free;
                Sighting::Unknown
            }
        }
    }

    /// Looks at the next part of all places, `1/parts` of them, and gives up what has waited
    /// for too long: `lost` is told of which flow.
    pub(super) fn expire(&mut self, now_ns: u64, parts: usize, mut lost: impl FnMut(usize)) {
        let count = self.places.len().div_ceil(parts);
        let from = if self.looked_at < self.places.len() {
            self.looked_at
        } else {
            0
        };
        let to = (from + count).min(self.places.len());
        self.looked_at = to;
        for place in &mut self.places[from..to] {
            let waited_ns = now_ns.saturating_sub(place.since_ns);
            if place.state == State::Waiting && waited_ns > LOST_AFTER.as_nanos() as u64 {
                place.state = State::GivenUp;
                lost(usize::from(place.flow));
            }
        }
    }

    const fn index(&self, key: usize, counter: u32) -> usize {
        key * self.ring + (counter as usize & (self.ring - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_NS: u64 = LOST_AFTER.as_nanos() as u64;

    fn lost(pending: &mut Pending, now_ns: u64) -> Vec<usize> {
        let mut flows = Vec::new();
        pending.expire(now_ns, 1, |flow| flows.push(flow));
        flows
    }

    #[test]
    fn a_reply_is_counted_once_and_then_known_as_a_duplicate() {
        let mut pending = Pending::new(2, 4, 3);
        let place = pending.take(1, 7, 5, 100, 100).expect("free");
        pending.symbols(place).copy_from_slice(&[1, 2, 3]);
        assert_eq!(pending.settle(1, 7, 4), Sighting::Unknown, "another flow's");
        assert_eq!(pending.settle(0, 7, 5), Sighting::Unknown, "another key's");
        assert_eq!(pending.settle(9, 7, 5), Sighting::Unknown, "nobody's key");
        assert_eq!(
            pending.settle(1, 7, 5),
            Sighting::Waiting { place, since_ns: 100 }
        );
        assert_eq!(pending.symbols(place), [1, 2, 3]);
        assert_eq!(pending.settle(1, 7, 5), Sighting::Duplicate);
        assert_eq!(pending.settle(1, 7, 5), Sighting::Duplicate);
    }

    #[test]
    fn a_place_is_taken_until_its_request_is_answered_or_long_forgotten() {
        let mut pending = Pending::new(1, 4, 1);
        assert!(pending.take(0, 1, 0, 10, 10).is_some());
        assert!(pending.take(0, 5, 0, 20, 20).is_none(), "one ring further");
        assert_eq!(lost(&mut pending, 10 + LOST_NS), Vec::<usize>::new());
        assert_eq!(lost(&mut pending, 11 + LOST_NS), [0]);
        assert_eq!(lost(&mut pending, 12 + LOST_NS), Vec::<usize>::new(), "once");
        assert!(pending.take(0, 5, 0, 20, 12 + LOST_NS).is_none());
        assert!(matches!(pending.settle(0, 1, 0), Sighting::Late { .. }));
        assert_eq!(pending.settle(0, 1, 0), Sighting::Duplicate);
        assert!(pending.take(0, 5, 0, 20, 20).is_some());
    }

    #[test]
    fn what_was_not_sent_is_forgotten() {
        let mut pending = Pending::new(1, 4, 1);
        let place = pending.take(0, 1, 0, 10, 10).expect("free");
        pending.cancel(place);
        assert_eq!(pending.settle(0, 1, 0), Sighting::Unknown);
        assert!(lost(&mut pending, u64::MAX).is_empty());
    }

    #[test]
    fn every_place_is_looked_at_in_turn() {
        let mut pending = Pending::new(7, 4, 1);
        for key in 0..7 {
            assert!(pending.take(key, 1, key, 0, 0).is_some());
        }
        let mut flows = Vec::new();
        for _ in 0..10 {
            pending.expire(u64::MAX, 10, |flow| flows.push(flow));
        }
        assert_eq!(flows, [0, 1, 2, 3, 4, 5, 6]);
    }
}
