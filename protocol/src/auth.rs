//! Tags: who sent a datagram, and that nobody changed it.
//!
//! The ledger stores a [`Verifier`]; both directions' MAC keys are derived from it with
//! BLAKE3's key derivation (BLAKE3 specification, section 2.3 `derive_key`). A tag is the
//! first 16 bytes of BLAKE3's keyed hash over every byte before it.

use core::fmt;

use subtle::ConstantTimeEq;

use crate::{ENTRY_LEN, HEADER_LEN, MAX_DATAGRAM, TAG_LEN, datagram_len};

/// An authentication tag.
pub type Tag = [u8; TAG_LEN];

/// The tag of replies that no key signs: PING replies and UNAUTHENTICATED errors.
pub const UNSIGNED: Tag = [0; TAG_LEN];

const VERIFIER_CONTEXT: &str = "trinity-beast verifier v1";
const REQUEST_CONTEXT: &str = "trinity-beast request v1";
const REPLY_CONTEXT: &str = "trinity-beast reply v1";

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
    /// The tag over `signed`, every byte of a datagram before its tag.
    pub fn tag(&self, signed: &[u8]) -> Tag {
        let hash = blake3::keyed_hash(&self.0, signed);
        let mut tag = UNSIGNED;
        tag.copy_from_slice(&hash.as_bytes()[..TAG_LEN]);
        tag
    }

    /// Whether `tag` is the tag over `signed`, in time that does not depend on where they
    /// differ.
    pub fn verify(&self, signed: &[u8], tag: &Tag) -> bool {
        self.tag(signed).ct_eq(tag).into()
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

/// Writes the tag behind a header and `count` entries; without a key it is [`UNSIGNED`].
#[inline]
pub(crate) fn sign<'b>(buffer: &'b mut [u8; MAX_DATAGRAM], count: usize, key: Option<&MacKey>) -> &'b [u8] {
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
