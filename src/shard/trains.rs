//! Which replies of a batch go to one peer: such a train costs the kernel little more than a
//! single datagram (UDP_SEGMENT, udp(7)).

use crate::tables::groups::Groups;

/// A peer's address as the kernel wrote it: a `sockaddr_in6`, or a shorter one and what was
/// behind it. Two addresses that differ only behind their end are taken for two peers, which
/// costs a train and nothing else.
pub(super) type Peer = [u8; 28];

/// Replies in one train; the kernel's own limit was 64 when it came.
const TRAIN_MESSAGES: usize = 64;
/// Bytes of one train: what an IPv4 datagram can hold, with something to spare.
const TRAIN_BYTES: usize = 65_000;

/// Whether so many replies of this length may go in one train.
pub(super) fn fits(replies: usize, len: u16) -> bool {
    replies <= capacity(len)
}

/// Groups replies that go to one peer and are of one length.
pub(super) fn arrange(groups: &mut Groups, replies: &[(Peer, u16)]) {
    groups.arrange(
        replies,
        |(peer, len)| spread(peer, *len),
        |(_, len)| capacity(*len),
    );
}

fn capacity(len: u16) -> usize {
    TRAIN_MESSAGES.min(TRAIN_BYTES / usize::from(len).max(1))
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
    use super::*;
    use crate::limits::BATCH_MESSAGES;

    fn lengths(replies: &[(Peer, u16)]) -> Vec<usize> {
        let mut groups = Groups::default();
        arrange(&mut groups, replies);
        (0..groups.len()).map(|train| groups.get(train).len()).collect()
    }

    #[test]
    fn a_train_ends_where_the_kernel_takes_no_more() {
        assert_eq!(lengths(&[([7; 28], 1_040); BATCH_MESSAGES]), [62, 2]);
        assert_eq!(lengths(&[([7; 28], 80); BATCH_MESSAGES]), [BATCH_MESSAGES]);
    }

    #[test]
    fn a_train_has_one_peer_and_one_length() {
        let (here, there) = ([7; 28], [8; 28]);
        assert_eq!(
            lengths(&[(here, 80), (there, 80), (here, 80), (here, 48)]),
            [2, 1, 1]
        );
    }
}
