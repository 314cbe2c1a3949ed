//! Requests that wait in their shard for prices that are being fetched.
//!
//! Memory for all of them is reserved once. Nobody is woken for a price that arrives: a shard in
//! which something waits looks every [`PARKED_LOOK_US`], and parks its thread for no longer than
//! [`PARK_WAITING_MS`].
//!
//! [`PARK_WAITING_MS`]: crate::limits::PARK_WAITING_MS

use trinity_protocol::MAX_DATAGRAM;

use super::socket::PeerAddress;
use crate::clock::is_due;
use crate::limits::{MISS_WAIT_MS, PARKED_LOOK_US, PARKED_REQUESTS};
use crate::lpo::udp::AwaitedList;
use crate::tables::counters::Waited;
use crate::tables::misses::{Arrival, MissBoard};
use crate::tables::prices::PriceTable;

/// All requests that wait in one shard, in no particular order.
#[derive(Debug)]
pub(super) struct Parked {
    /// The ids of `waiting`, side by side, so that a repeat is found at a glance.
    ids: Vec<u64>,
    waiting: Vec<Waiting>,
    look_due_ns: u64,
}

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Whom to answer.
    pub(super) peer: PeerAddress,
    /// When it came, Unix nanoseconds.
    pub(super) arrived_ns: u64,
    awaited: AwaitedList,
    len: u16,
    datagram: [u8; MAX_DATAGRAM],
}

const LOOK_NS: u64 = PARKED_LOOK_US * 1_000;
const WAIT_NS: u64 = MISS_WAIT_MS * 1_000_000;

impl Parked {
    pub(super) fn new() -> Self {
        Self {
            ids: Vec::with_capacity(PARKED_REQUESTS),
            waiting: Vec::with_capacity(PARKED_REQUESTS),
            look_due_ns: 0,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Keeps a request; there must be room, and the datagram must be one that was answered with
    /// "wait", so it is no longer than a datagram can be. Otherwise it is dropped, as the
    /// network may do at any time.
    pub(super) fn park(&mut self, datagram: &[u8], peer: PeerAddress, now_ns: u64, awaited: &AwaitedList) {
        let mut waiting = Waiting {
            peer,
            arrived_ns: now_ns,
            awaited: *awaited,
            len: datagram.len() as u16,
            datagram: [0; MAX_DATAGRAM],
        };
        let place = waiting.datagram.get_mut(..datagram.len());
        let (Some(place), true) = (place, self.waiting.len() < PARKED_REQUESTS) else {
            debug_assert!(false, "neither too long nor too many");
            return;
        };
        place.copy_from_slice(datagram);
        if self.waiting.is_empty() {
            self.look_due_ns = now_ns + LOOK_NS;
        }
        self.ids.push(id_of(datagram));
        self.waiting.push(waiting);
    }

    /// Whether this very datagram of this very peer waits already: a retry, or a copy that the
    /// network made. One answer is for both. From elsewhere it may be somebody else's, whose
    /// answer must not take the way of the first one's.
    pub(super) fn holds(&self, datagram: &[u8], peer: &PeerAddress) -> bool {
        let id = id_of(datagram);
        // The first look goes over eight bytes a request; mostly that is the end of it.
        self.ids.contains(&id)
            && self
                .waiting
                .iter()
                .any(|waiting| waiting.datagram() == datagram && waiting.peer == *peer)
    }

    /// Whether it is time to look at all of them; the next time is then a while off.
    pub(super) fn look(&mut self, now_ns: u64) -> bool {
        let looks = !self.is_empty() && is_due(self.look_due_ns, LOOK_NS, now_ns);
        if looks {
            self.look_due_ns = now_ns + LOOK_NS;
        }
        looks
    }

    /// One of them, by its place from 0.
    pub(super) fn get(&self, at: usize) -> &Waiting {
        &self.waiting[at]
    }

    /// Lets one go; the last one takes its place.
    pub(super) fn remove(&mut self, at: usize) {
        self.ids.swap_remove(at);
        self.waiting.swap_remove(at);
    }
}

impl Waiting {
    /// The request as it came.
    pub(super) fn datagram(&self) -> &[u8] {
        &self.datagram[..usize::from(self.len)]
    }

    /// Why it is to be answered now; `None` if it goes on waiting.
    pub(super) fn is_over(&self, board: &MissBoard, prices: &PriceTable, now_ns: u64) -> Option<Waited> {
        match self.awaited.arrival(board, prices, now_ns) {
            Arrival::Fresh => Some(Waited::Fresh),
            Arrival::Nothing => Some(Waited::Nothing),
            Arrival::Pending if is_due(self.arrived_ns + WAIT_NS, WAIT_NS, now_ns) => Some(Waited::Deadline),
            Arrival::Pending => None,
        }
    }
}

/// Session and counter, as the wire has them.
fn id_of(datagram: &[u8]) -> u64 {
    let id = datagram.get(16..24).and_then(|bytes| bytes.try_into().ok());
    id.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trinity_protocol::Symbol;

    use super::*;
    use crate::tables::misses::{Awaited, Want};
    use crate::tables::prices::{PriceWriter, SymbolIndex, SymbolNames};

    const NOW: u64 = 1_700_000_000_000_000_000;

    fn peer(port: u8) -> PeerAddress {
        PeerAddress::for_tests([port; 28])
    }

    fn datagram(id: u8) -> [u8; 80] {
        let mut bytes = [7; 80];
        bytes[16] = id;
        bytes
    }

    #[test]
    fn only_the_same_bytes_from_the_same_peer_are_a_retry() {
        let mut parked = Parked::new();
        assert!(!parked.holds(&datagram(1), &peer(1)));
        for id in 1..=3 {
            parked.park(&datagram(id), peer(1), NOW, &AwaitedList::EMPTY);
        }
        assert!(parked.holds(&datagram(2), &peer(1)));
        assert!(!parked.holds(&datagram(2), &peer(2)), "another's");
        let mut forged = datagram(2);
        forged[79] ^= 1;
        assert!(!parked.holds(&forged, &peer(1)), "another tag");
        assert!(!parked.holds(&datagram(2)[..79], &peer(1)));
        assert!(!parked.holds(&[], &peer(1)));
        parked.remove(0);
        assert_eq!(parked.len(), 2);
        assert!(!parked.holds(&datagram(1), &peer(1)));
        assert!(parked.holds(&datagram(2), &peer(1)) && parked.holds(&datagram(3), &peer(1)));
    }

    #[test]
    fn looks_are_apart_and_survive_a_clock_that_is_set_back() {
        let mut parked = Parked::new();
        assert!(!parked.look(NOW), "nothing waits");
        parked.park(&datagram(1), peer(1), NOW, &AwaitedList::EMPTY);
        assert!(!parked.look(NOW));
        assert!(parked.look(NOW + LOOK_NS) && !parked.look(NOW + LOOK_NS));
        assert!(parked.look(NOW - 3_600_000_000_000));
    }

    #[test]
    fn a_wait_ends_with_its_deadline_even_if_the_clock_is_set_back() {
        let name = Symbol::new("A-USD").expect("a symbol");
        let names = Arc::new(SymbolNames::new(vec![name], &[]).expect("one"));
        let prices = PriceWriter::new(&names, 1).1[0].load_full();
        let board = MissBoard::with_room(1, 1, || {});
        let Want::Joined(ticket) = board.want(SymbolIndex(0), NOW) else {
            panic!("nothing stands");
        };
        let mut awaited = AwaitedList::EMPTY;
        awaited.push(Awaited {
            ticket,
            max_age_ms: 0,
        });
        let mut parked = Parked::new();
        parked.park(&datagram(1), peer(1), NOW, &awaited);
        let at = |now_ns| parked.get(0).is_over(&board, &prices, now_ns);
        assert_eq!(at(NOW), None);
        assert_eq!(at(NOW + WAIT_NS - 1), None);
        assert_eq!(at(NOW + WAIT_NS), Some(Waited::Deadline));
        assert_eq!(at(NOW - 3_600_000_000_000), Some(Waited::Deadline));
        board.finish(SymbolIndex(0), false, NOW);
        assert_eq!(at(NOW), Some(Waited::Nothing));
    }
}
