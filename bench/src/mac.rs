//! Tags of many datagrams under one key: the one place where the load generator makes and
//! checks tags, so that what makes them fast is changed here alone.

use trinity_protocol::auth::UNSIGNED;
use trinity_protocol::{MacKey, TAG_LEN, Tag};

/// Most datagrams of one call.
pub(crate) const LANES: usize = 16;

/// The tags of up to [`LANES`] datagrams of one length under one key, each over the bytes
/// before its tag.
///
/// # Panics
///
/// If there are more than [`LANES`], or one is shorter than a tag.
pub(crate) fn tags(key: &MacKey, datagrams: &[&[u8]]) -> [Tag; LANES] {
    assert!(datagrams.len() <= LANES);
    let mut tags = [UNSIGNED; LANES];
    let mut signed = [&[][..]; LANES];
    for (signed, datagram) in signed.iter_mut().zip(datagrams) {
        *signed = &datagram[..datagram.len() - TAG_LEN];
    }
    key.tag_train(&signed[..datagrams.len()], &mut tags);
    tags
}

/// Which of them bear their right tags.
///
/// # Panics
///
/// As [`tags`].
pub(crate) fn verify(key: &MacKey, datagrams: &[&[u8]]) -> [bool; LANES] {
    let tags = tags(key, datagrams);
    let mut right = [false; LANES];
    for ((right, tag), datagram) in right.iter_mut().zip(&tags).zip(datagrams) {
        // Whoever could learn something from the time that this takes is this program itself.
        *right = datagram.ends_with(tag);
    }
    right
}

#[cfg(test)]
mod tests {
    use trinity_protocol::{MacKeys, Verifier};

    use super::*;

    #[test]
    fn tags_of_many_are_the_tags_of_each() {
        let keys = MacKeys::from_verifier(&Verifier::from_bytes([7; 32]));
        for entries in [0, 1, 2, 31] {
            let len = trinity_protocol::datagram_len(entries);
            let mut datagrams: Vec<Vec<u8>> = (0..LANES as u8).map(|i| vec![i; len]).collect();
            for count in [1, 2, 7, 8, 15, LANES] {
                let slices: Vec<_> = datagrams[..count].iter().map(|d| &d[..]).collect();
                let tags = tags(&keys.request, &slices);
                for (tag, datagram) in tags.iter().zip(&slices) {
                    assert_eq!(*tag, keys.request.tag(&datagram[..len - TAG_LEN]));
                }
                let tags = tags.to_vec();
                for (datagram, tag) in datagrams.iter_mut().zip(tags) {
                    datagram[len - TAG_LEN..].copy_from_slice(&tag);
                }
                let slices: Vec<_> = datagrams[..count].iter().map(|d| &d[..]).collect();
                assert_eq!(verify(&keys.request, &slices)[..count], vec![true; count]);
                assert_eq!(verify(&keys.reply, &slices)[..count], vec![false; count]);
            }
        }
    }

    #[test]
    fn one_wrong_tag_is_told_from_its_neighbours() {
        let keys = MacKeys::from_verifier(&Verifier::from_bytes([9; 32]));
        let mut datagrams: Vec<Vec<u8>> = (0..9).map(|i| vec![i; 80]).collect();
        for datagram in &mut datagrams {
            let tag = keys.reply.tag(&datagram[..64]);
            datagram[64..].copy_from_slice(&tag);
        }
        datagrams[4][3] ^= 1;
        let slices: Vec<_> = datagrams.iter().map(|d| &d[..]).collect();
        let right = verify(&keys.reply, &slices);
        assert!((0..9).all(|i| right[i] == (i != 4)), "{right:?}");
    }
}
