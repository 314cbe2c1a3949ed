//! API keys as people hold them: `tb_live_<key id>_<secret><check>`.
//!
//! The key id is a 64-bit number in 13 characters, the secret 32 bytes in 52, both in
//! Crockford base32. The check character is ISO/IEC 7064 MOD 37,36 over the 65 characters
//! before it (without the underscore): it catches every single wrong character and nearly
//! all swapped neighbours, so that a typing error is told from a refused key. It stays
//! within letters and digits, so that a key needs no quoting in a shell or a header.

use core::fmt;
use core::str::FromStr;

use crate::auth::Verifier;
use crate::base32::{self, BYTES32_LEN, U64_LEN};

/// What every key begins with.
pub const PREFIX: &str = "tb_live_";
/// Length of a key's text.
pub const TEXT_LEN: usize = PREFIX.len() + U64_LEN + 1 + BYTES32_LEN + 1;

/// A key's public name; prints and parses as Crockford base32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub u64);

/// An API key with its secret. Its `Debug` form shows the key id only.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    key_id: KeyId,
    secret: [u8; 32],
}

/// Why a text is no API key. No variant repeats any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiKeyError {
    /// It does not begin with `tb_live_`.
    Prefix,
    /// Its parts have the wrong length.
    Length,
    /// A character is not base32.
    Character,
    /// The check character does not fit: a typing error.
    Check,
    /// The key id is outside 1 to 2^63 - 1.
    KeyId,
}

impl KeyId {
    /// Whether ledgers can store it: 1 to 2^63 - 1 (SQL integers are signed).
    pub const fn is_valid(self) -> bool {
        self.0 != 0 && self.0 <= i64::MAX as u64
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = base32::encode_u64(self.0);
        f.pad(core::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl FromStr for KeyId {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = base32::decode_u64(text.as_bytes())
            .map(Self)
            .ok_or(ApiKeyError::Character)?;
        if id.is_valid() {
            Ok(id)
        } else {
            Err(ApiKeyError::KeyId)
        }
    }
}

impl ApiKey {
    /// Builds a key; the secret must come from a cryptographic random source.
    pub fn from_parts(key_id: u64, secret: [u8; 32]) -> Result<Self, ApiKeyError> {
        let key_id = KeyId(key_id);
        if key_id.is_valid() {
            Ok(Self { key_id, secret })
        } else {
            Err(ApiKeyError::KeyId)
        }
    }

    /// The key's public name.
    pub const fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// What the ledger stores.
    pub fn verifier(&self) -> Verifier {
        Verifier::from_secret(&self.secret)
    }

    /// The key's text, secret included: for its owner's eyes, once.
    pub fn expose(&self) -> KeyText {
        let mut text = [b'_'; TEXT_LEN];
        let (prefix, rest) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        rest[..U64_LEN].copy_from_slice(&base32::encode_u64(self.key_id.0));
        rest[U64_LEN + 1..][..BYTES32_LEN].copy_from_slice(&base32::encode_bytes32(&self.secret));
        let check = check_character(payload(rest));
        text[TEXT_LEN - 1] = check;
        KeyText(text)
    }
}

impl FromStr for ApiKey {
    type Err = ApiKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text
            .trim_ascii()
            .as_bytes()
            .strip_prefix(PREFIX.as_bytes())
            .ok_or(ApiKeyError::Prefix)?;
        if rest.len() != TEXT_LEN - PREFIX.len() || rest[U64_LEN] != b'_' {
            return Err(ApiKeyError::Length);
        }
        if payload(rest).any(|c| base32::digit(c).is_none()) {
            return Err(ApiKeyError::Character);
        }
        // The check character is not folded: it may be O or L itself, and if it passed for 0 or 1,
        // some wrong characters before it would pass as well.
        if check_character(payload(rest)) != rest[rest.len() - 1].to_ascii_uppercase() {
            return Err(ApiKeyError::Check);
        }
        let key_id = base32::decode_u64(&rest[..U64_LEN]).ok_or(ApiKeyError::KeyId)?;
        let secret =
            base32::decode_bytes32(&rest[U64_LEN + 1..][..BYTES32_LEN]).ok_or(ApiKeyError::Character)?;
        Self::from_parts(key_id, secret)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKey")
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ApiKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prefix => "an API key begins with tb_live_",
            Self::Length => "an API key is tb_live_, 13 characters, an underscore and 53 characters: some are missing or too many",
            Self::Character => "the API key has a character that keys never have: copy it again",
            Self::Check => "the API key has a typing error (its check character does not fit): copy it again",
            Self::KeyId => "the API key's key id is out of range",
        })
    }
}

impl core::error::Error for ApiKeyError {}

/// A key's text. It has no `Debug` form that shows the secret; `Display` does.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyText([u8; TEXT_LEN]);

impl KeyText {
    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(..)")
    }
}

/// The 65 characters that the check covers, in upper case, confusable ones folded.
fn payload(rest: &[u8]) -> impl Iterator<Item = u8> {
    let (id, secret) = (&rest[..U64_LEN], &rest[U64_LEN + 1..][..BYTES32_LEN]);
    id.iter().chain(secret).map(|c| fold(*c))
}

/// ISO/IEC 7064 MOD 37,36: alphabet 0-9 A-Z, modulus 36 with the hybrid step of 37.
fn check_character(payload: impl Iterator<Item = u8>) -> u8 {
    let mut product: u32 = 36;
    for character in payload {
        let value = u32::from(match character {
            c @ b'0'..=b'9' => c - b'0',
            c => c.wrapping_sub(b'A').wrapping_add(10),
        });
        let sum = match (product + value) % 36 {
            0 => 36,
            sum => sum,
        };
        product = sum * 2 % 37;
    }
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[((37 - product) % 36) as usize]
}

/// Upper case, with Crockford's confusable letters folded into their digits.
const fn fold(character: u8) -> u8 {
    match character.to_ascii_uppercase() {
        b'I' | b'L' => b'1',
        b'O' => b'0',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString};

    use super::*;

    fn key() -> ApiKey {
        ApiKey::from_parts(0x0123_4567_89AB_CDEF, core::array::from_fn(|i| (i * 7 + 3) as u8))
            .expect("in range")
    }

    #[test]
    fn a_key_reads_back_from_its_text_in_either_case() {
        let text = key().expose().to_string();
        assert_eq!(text.len(), TEXT_LEN);
        assert_eq!(text.parse(), Ok(key()));
        let lower = String::from(PREFIX) + &text[PREFIX.len()..].to_lowercase();
        assert_eq!(lower.parse(), Ok(key()));
        assert_eq!(
            std::format!(" {text}\n").parse(),
            Ok(key()),
            "white space around it is no error"
        );
    }

    #[test]
    fn every_single_wrong_character_is_caught() {
        for id in 1..40 {
            let key = ApiKey::from_parts(id, [id as u8; 32]).expect("in range");
            assert_every_wrong_character_is_caught(&key);
        }
    }

    fn assert_every_wrong_character_is_caught(key: &ApiKey) {
        let text = key.expose().to_string();
        for at in PREFIX.len()..text.len() {
            if at == PREFIX.len() + U64_LEN {
                continue;
            }
            for replacement in b"0123456789ABCDEFGHJKMNPQRSTVWXYZ" {
                let mut wrong = text.clone().into_bytes();
                if fold(wrong[at]) == *replacement {
                    continue;
                }
                wrong[at] = *replacement;
                let wrong = String::from_utf8(wrong).expect("ASCII");
                assert!(wrong.parse::<ApiKey>().is_err(), "{at} {replacement}");
            }
        }
    }

    #[test]
    fn truncated_empty_and_foreign_texts_are_refused() {
        let text = key().expose().to_string();
        for len in 0..text.len() {
            assert!(text[..len].parse::<ApiKey>().is_err());
        }
        assert_eq!("sk_live_x".parse::<ApiKey>(), Err(ApiKeyError::Prefix));
        assert_eq!(ApiKey::from_parts(0, [1; 32]), Err(ApiKeyError::KeyId));
        assert_eq!(ApiKey::from_parts(1 << 63, [1; 32]), Err(ApiKeyError::KeyId));
    }

    #[test]
    fn no_debug_form_shows_the_secret() {
        let shown = std::format!("{:?} {:?} {:?}", key(), key().expose(), key().verifier());
        let secret = &key().expose().to_string()[PREFIX.len() + U64_LEN + 1..];
        assert!(!shown.contains(&secret[..8]));
    }

    #[test]
    fn the_check_character_follows_the_published_example() {
        // ISO/IEC 7064 as the GRid standard uses it: A1-2425G-ABC1234002-M.
        assert_eq!(check_character(b"A12425GABC1234002".iter().copied()), b'M');
    }
}
