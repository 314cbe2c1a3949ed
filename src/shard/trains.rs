//! Which replies of a batch go to one peer: such a train costs the kernel little more than a
//! single datagram (UDP_SEGMENT, udp(7)).

use crate::limits::BATCH_MESSAGES;

/// A peer's address as the kernel wrote it: a `sockaddr_in6`, or a shorter one and what was
/// behind it. Two addresses that differ only behind their end are taken for two peers, which
/// costs a train and nothing else.
pub(super) type Peer = [u8; 28];

/// The batch's replies, grouped.
#[derive(Debug)]
pub(super) struct Trains {
    /// Positions of replies, train after train; within a train in the order they were given.
    order: [u8; BATCH_MESSAGES],
    /// Where each train ends in `order`.
    ends: [u8; BATCH_MESSAGES],
    len: usize,
}

#[derive(Clone, Copy, Default)]
struct Train {
    first: u8,
    last: u8,
    count: u8,
}

/// Replies in one train; the kernel's own limit was 64 when it came.
const TRAIN_MESSAGES: usize = 64;
/// Bytes of one train: what an IPv4 datagram can hold, with something to spare.
const TRAIN_BYTES: usize = 65_000;
/// Twice the trains there can be, so that a free place is always near.
const PLACES: usize = 2 * BATCH_MESSAGES;

const _: () = assert!(BATCH_MESSAGES < 255 && PLACES.is_power_of_two());

impl Trains {
    pub(super) const fn new() -> Self {
        Self {
            order: [0; BATCH_MESSAGES],
            ends: [0; BATCH_MESSAGES],
            len: 0,
        }
    }

    /// Groups replies that go to one peer and are of one length.
    pub(super) fn arrange(&mut self, replies: &[(Peer, u16)]) {
        let mut places = [0_u8; PLACES];
        let mut trains = [Train::default(); BATCH_MESSAGES];
        let mut next = [0_u8; BATCH_MESSAGES];
        self.len = 0;
        for (i, (peer, len)) in replies.iter().enumerate() {
            let mut place = spread(peer, *len) % PLACES;
            while let Some(train) = places[place].checked_sub(1) {
                let train = &mut trains[usize::from(train)];
                if replies[usize::from(train.first)] == (*peer, *len) {
                    let count = usize::from(train.count) + 1;
                    if count <= TRAIN_MESSAGES && count * usize::from(*len) <= TRAIN_BYTES {
                        next[usize::from(train.last)] = i as u8;
                        train.last = i as u8;
                        train.count += 1;
                        break;
                    }
                    // It is full: the peer's next train takes its place.
                    places[place] = 0;
                    break;
                }
                place = (place + 1) % PLACES;
            }
            if places[place] == 0 {
                trains[self.len] = Train {
                    first: i as u8,
                    last: i as u8,
                    count: 1,
                };
                self.len += 1;
                places[place] = self.len as u8;
            }
        }
        let mut end = 0;
        for (train, stop) in trains[..self.len].iter().zip(&mut self.ends) {
            let mut at = train.first;
            for place in &mut self.order[end..end + usize::from(train.count)] {
                *place = at;
                at = next[usize::from(at)];
            }
            end += usize::from(train.count);
            *stop = end as u8;
        }
    }

    /// Leaves every reply alone.
    pub(super) fn single(&mut self, count: usize) {
        self.len = count;
        for i in 0..count {
            self.order[i] = i as u8;
            self.ends[i] = i as u8 + 1;
        }
    }

    /// How many trains there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The positions of a train's replies.
    pub(super) fn get(&self, train: usize) -> &[u8] {
        let start = if train == 0 {
            0
        } else {
            usize::from(self.ends[train - 1])
        };
        &self.order[start..usize::from(self.ends[train])]
    }
}

fn spread(peer: &Peer, len: u16) -> usize {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&peer[at..at + 8]);
        u64::from_le_bytes(word)
    };
    // Family, port and IPv4 address, then the rest of an IPv6 address.
    let bits = word(0) ^ word(8).rotate_left(23) ^ word(16).rotate_left(41) ^ u64::from(len) << 48;
    (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arranged(replies: &[(Peer, u16)]) -> Vec<Vec<usize>> {
        let mut trains = Trains::new();
        trains.arrange(replies);
        let train = |i| trains.get(i).iter().map(|at| usize::from(*at)).collect();
        (0..trains.len()).map(train).collect()
    }

    #[test]
    fn a_train_ends_where_the_kernel_takes_no_more() {
        let replies = vec![([7; 28], 1_040); BATCH_MESSAGES];
        let lengths: Vec<_> = arranged(&replies).iter().map(Vec::len).collect();
        assert_eq!(lengths, [62, 2]);
        assert_eq!(arranged(&vec![([7; 28], 80); BATCH_MESSAGES]).len(), 1);
        assert!(arranged(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn every_reply_is_in_one_train_with_its_like_and_in_order(
            replies in proptest::collection::vec((0_u8..6, 0_u16..3), 0..=BATCH_MESSAGES),
        ) {
            let replies: Vec<_> = replies.into_iter().map(|(peer, len)| ([peer; 28], 48 + 32 * len)).collect();
            let trains = arranged(&replies);
            let mut seen: Vec<_> = trains.concat();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..replies.len()).collect::<Vec<_>>());
            for train in &trains {
                prop_assert!(train.is_sorted());
                prop_assert!(train.iter().all(|i| replies[*i] == replies[train[0]]));
            }
            let mut kinds = replies.clone();
            kinds.sort_unstable();
            kinds.dedup();
            prop_assert_eq!(trains.len(), kinds.len(), "nothing that fits one train is in two");
        }
    }
}
