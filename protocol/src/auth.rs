//! Tags: who sent a datagram, and that nobody changed it.
//!
//! The ledger stores a [`Verifier`]; both directions' MAC keys are derived from it with
//! BLAKE3's key derivation (BLAKE3 specification, section 2.3 `derive_key`). A tag is the
//! first 16 bytes of BLAKE3's keyed hash over every byte before it.

mod lanes;

use core::fmt;

use subtle::{Choice, ConstantTimeEq};

use crate::{ENTRY_LEN, HEADER_LEN, TAG_LEN, datagram_len};

/// An authentication tag.
pub type Tag = [u8; TAG_LEN];

/// The tag of replies that no key signs: PING replies and UNAUTHENTICATED errors.
pub const UNSIGNED: Tag = [0; TAG_LEN];

const VERIFIER_CONTEXT: &str = "trinity-beast verifier v1";
const REQUEST_CONTEXT: &str = "trinity-beast request v1";
const REPLY_CONTEXT: &str = "trinity-beast reply v1";

/// Most messages that [`MacKey::verify_train`] judges at once.
pub const MAX_TRAIN: usize = 64;

/// What a ledger stores of a key: enough to check tags, not enough to learn the secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier([u8; 32]);

impl Verifier {
    /// Derives the verifier of a secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key(VERIFIER_CONTEXT, secret))
    }

    /// Takes a stored verifier.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes to store.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

/// A key that makes and checks tags in one direction.
#[derive(Clone, PartialEq, Eq)]
pub struct MacKey([u8; 32]);

impl MacKey {
    /// The key of these bytes, as [`MacKey::as_bytes`] gave them.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes: whoever has them can sign.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The tag over `signed`, every byte of a datagram before its tag.
    #[inline]
    pub fn tag(&self, signed: &[u8]) -> Tag {
        if lanes::fits(signed.len()) {
            lanes::tag(&self.0, signed)
        } else {
            self.tag_of_any(signed)
        }
    }

    /// The tag over any bytes, the plain way.
    fn tag_of_any(&self, signed: &[u8]) -> Tag {
        let hash = blake3::keyed_hash(&self.0, signed);
        let mut tag = UNSIGNED;
        tag.copy_from_slice(&hash.as_bytes()[..TAG_LEN]);
        tag
    }

    /// Whether `tag` is the tag over `signed`, in time that does not depend on where they
    /// differ.
    pub fn verify(&self, signed: &[u8], tag: &Tag) -> bool {
        is_same(&self.tag(signed), tag).into()
    }

    /// The tags over the messages of a train, in their order: the same as [`MacKey::tag`] of each,
    /// at a fraction of its cost when they are of one length.
    ///
    /// # Panics
    ///
    /// If there are fewer `tags` than messages.
    pub fn tag_train(&self, messages: &[&[u8]], tags: &mut [Tag]) {
        let tags = &mut tags[..messages.len()];
        if is_train(messages) {
            lanes::tags(&self.0, messages, |i, tag| tags[i] = tag);
        } else {
            for (message, tag) in messages.iter().zip(tags) {
                *tag = self.tag(message);
            }
        }
    }

    /// Which of the messages of a train bear their tags: bit `i` of the answer is message `i`.
    /// Each is compared in constant time.
    ///
    /// # Panics
    ///
    /// If there are more than [`MAX_TRAIN`] messages, or not as many tags.
    pub fn verify_train(&self, messages: &[&[u8]], tags: &[&Tag]) -> u64 {
        assert!(messages.len() <= MAX_TRAIN && tags.len() == messages.len());
        let mut right = 0;
        if is_train(messages) {
            lanes::tags(&self.0, messages, |i, tag| {
                right |= u64::from(is_same(&tag, tags[i]).unwrap_u8()) << i;
            });
        } else {
            for (i, (message, tag)) in messages.iter().zip(tags).enumerate() {
                right |= u64::from(self.verify(message, tag)) << i;
            }
        }
        right
    }

    /// Whether two keys are the same, in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for MacKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MacKey(..)")
    }
}

/// Whether two tags are the same, in constant time: both are read whole.
#[inline]
fn is_same(a: &Tag, b: &Tag) -> Choice {
    let differs = u128::from_le_bytes(*a) ^ u128::from_le_bytes(*b);
    ((differs as u64) | (differs >> 64) as u64).ct_eq(&0)
}

/// Whether messages can be hashed side by side, and are better off so.
fn is_train(messages: &[&[u8]]) -> bool {
    match messages {
        [first, rest @ ..] => {
            !rest.is_empty()
                && lanes::fits(first.len())
                && rest.iter().all(|message| message.len() == first.len())
        }
        [] => false,
    }
}

/// Writes the tag behind a header and `count` entries; without a key it is [`UNSIGNED`].
#[inline]
pub(crate) fn sign<'b>(buffer: &'b mut [u8], count: usize, key: Option<&MacKey>) -> &'b [u8] {
    let (signed, tail) = buffer.split_at_mut(HEADER_LEN + count * ENTRY_LEN);
    let tag = key.map_or(UNSIGNED, |key| key.tag(signed));
    tail[..TAG_LEN].copy_from_slice(&tag);
    &buffer[..datagram_len(count)]
}

/// Both directions' keys of one API key.
#[derive(Clone, Debug)]
pub struct MacKeys {
    /// Signs requests.
    pub request: MacKey,
    /// Signs replies.
    pub reply: MacKey,
}

impl MacKeys {
    /// Derives both keys.
    pub fn from_verifier(verifier: &Verifier) -> Self {
        Self {
            request: MacKey(blake3::derive_key(REQUEST_CONTEXT, verifier.as_bytes())),
            reply: MacKey(blake3::derive_key(REPLY_CONTEXT, verifier.as_bytes())),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use super::*;
    use crate::MAX_ENTRIES;

    fn key(seed: u8) -> MacKey {
        MacKeys::from_verifier(&Verifier::from_bytes([seed; 32])).request
    }

    /// Messages that differ in every block.
    fn messages(count: usize, len: usize) -> Vec<Vec<u8>> {
        (0..count)
            .map(|i| (0..len).map(|at| (i * 31 + at * 7 + at / 64) as u8).collect())
            .collect()
    }

    #[test]
    fn the_tags_of_a_train_are_those_of_its_messages() {
        for entries in 0..=MAX_ENTRIES {
            for count in [0, 1, 2, 3, 7, 8, 15, 16, 17, 33, MAX_TRAIN] {
                let messages = messages(count, HEADER_LEN + entries * ENTRY_LEN);
                let messages: Vec<_> = messages.iter().map(|m| &m[..]).collect();
                let mut tags = [UNSIGNED; MAX_TRAIN];
                key(5).tag_train(&messages, &mut tags);
                for (message, tag) in messages.iter().zip(&tags) {
                    assert_eq!(
                        *tag,
                        key(5).tag_of_any(message),
                        "{entries} entries, {count} messages"
                    );
                    assert_eq!(*tag, key(5).tag(message), "{entries} entries alone");
                }
            }
        }
    }

    #[test]
    fn messages_of_different_or_odd_lengths_are_no_train_and_get_their_tags_all_the_same() {
        for lengths in [
            [64, 96, 64],
            [63, 63, 63],
            [2_048, 2_048, 2_048],
            [0, 0, 0],
            [31, 31, 31],
        ] {
            let messages: Vec<_> = lengths.iter().map(|len| messages(1, *len).remove(0)).collect();
            let messages: Vec<_> = messages.iter().map(|m| &m[..]).collect();
            let mut tags = [UNSIGNED; 3];
            key(6).tag_train(&messages, &mut tags);
            for (message, tag) in messages.iter().zip(&tags) {
                assert_eq!(*tag, key(6).tag_of_any(message), "{lengths:?}");
            }
            let tags: Vec<_> = tags.iter().collect();
            assert_eq!(key(6).verify_train(&messages, &tags), 0b111);
        }
    }

    #[test]
    fn a_tag_that_differs_in_any_one_bit_is_another() {
        let tag = key(9).tag(&[1; 64]);
        assert!(key(9).verify(&[1; 64], &tag));
        for bit in 0..TAG_LEN * 8 {
            let mut other = tag;
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!key(9).verify(&[1; 64], &other), "bit {bit}");
        }
    }

    #[test]
    fn in_a_train_every_forged_message_is_found_and_no_other() {
        for len in [64, 96, 1_024] {
            let messages = messages(MAX_TRAIN, len);
            let messages: Vec<_> = messages.iter().map(|m| &m[..]).collect();
            let mut tags: Vec<_> = messages.iter().map(|m| key(7).tag(m)).collect();
            let forged = 0x8421_0000_1248_8001_u64;
            for (i, tag) in tags.iter_mut().enumerate() {
                tag[i % TAG_LEN] ^= ((forged >> i & 1) as u8) << (i % 8);
            }
            let tags: Vec<_> = tags.iter().collect();
            assert_eq!(key(7).verify_train(&messages, &tags), !forged, "{len} bytes");
            assert_eq!(key(8).verify_train(&messages, &tags), 0, "another key's");
        }
    }
}
