//! The vectors' JSON form. Integers beyond 2^53 are decimal text: not every language's JSON
//! keeps them otherwise.

use std::fmt::Write as _;

use serde::Serialize;
use trinity_protocol::ApiKey;

#[derive(Clone, Serialize)]
pub(crate) struct RequestVector {
    pub(crate) name: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) key: KeyHex,
    pub(crate) server_clock_ns: String,
    pub(crate) hex: Hex,
    pub(crate) expect: RequestExpect,
}

#[derive(Clone, Serialize)]
pub(crate) struct RequestExpect {
    /// `ok`, or why the datagram is no request.
    pub(crate) form: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<RequestFields>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag_ok: Option<bool>,
    /// PRICE_REPLY, PING_REPLY, ERROR or SILENCE.
    pub(crate) answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signed: Option<bool>,
}

#[derive(Clone, Serialize)]
pub(crate) struct RequestFields {
    pub(crate) kind: &'static str,
    pub(crate) lane: u8,
    pub(crate) key_id: String,
    pub(crate) session: u32,
    pub(crate) counter: u32,
    pub(crate) clock_ns: String,
    pub(crate) entries: Vec<QueryFields>,
}

#[derive(Clone, Serialize)]
pub(crate) struct QueryFields {
    /// `null` where the bytes are no symbol: the entry's answer is UNKNOWN_SYMBOL.
    pub(crate) symbol: Option<String>,
    pub(crate) symbol_hex: String,
    pub(crate) max_age_ms: u32,
}

#[derive(Clone, Serialize)]
pub(crate) struct ReplyVector {
    pub(crate) name: &'static str,
    pub(crate) direction: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) key: KeyHex,
    pub(crate) waiting_for: Waiting,
    pub(crate) hex: Hex,
    pub(crate) expect: ReplyExpect,
}

/// The request whose reply the client awaits.
#[derive(Clone, Serialize)]
pub(crate) struct Waiting {
    pub(crate) kind: &'static str,
    pub(crate) session: u32,
    pub(crate) counter: u32,
    pub(crate) clock_ns: String,
    pub(crate) count: usize,
}

#[derive(Clone, Serialize)]
pub(crate) struct ReplyExpect {
    /// `ok`, `foreign` or `malformed`.
    pub(crate) form: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fields: Option<ReplyFields>,
    /// `valid`, `unsigned` or `wrong`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tag: Option<&'static str>,
    /// What the client does: `answer`, `refusal`, `hint` or `ignore`.
    pub(crate) client: &'static str,
}

#[derive(Clone, Serialize)]
pub(crate) struct ReplyFields {
    pub(crate) kind: &'static str,
    pub(crate) code: &'static str,
    pub(crate) remaining: u32,
    pub(crate) refill_ms: u32,
    pub(crate) session: u32,
    pub(crate) counter: u32,
    pub(crate) clock_ns: String,
    pub(crate) entries: Vec<PriceFields>,
}

#[derive(Clone, Serialize)]
pub(crate) struct PriceFields {
    pub(crate) status: &'static str,
    /// `null` where the status gives no price.
    pub(crate) price: Option<&'static str>,
    pub(crate) mantissa: String,
    pub(crate) exponent: i8,
    pub(crate) confidence: String,
    pub(crate) publish_time_ns: String,
    pub(crate) venues: u8,
    pub(crate) flags: Vec<&'static str>,
    pub(crate) sequence: u32,
}

#[derive(Clone, Serialize)]
pub(crate) struct ApiKeyVector {
    pub(crate) name: &'static str,
    pub(crate) meaning: &'static str,
    pub(crate) text: String,
    pub(crate) expect: ApiKeyExpect,
}

#[derive(Clone, Serialize)]
pub(crate) struct ApiKeyExpect {
    /// `ok`, `prefix`, `length`, `character`, `check` or `key_id`.
    pub(crate) form: &'static str,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<KeyHex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verifier: Option<String>,
}

#[derive(Clone, Serialize)]
pub(crate) struct KeyHex {
    pub(crate) key_id: String,
    pub(crate) secret: String,
}

/// Bytes that JSON shows as hex digits.
#[derive(Clone)]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl KeyHex {
    pub(crate) fn new(key: &ApiKey, secret: [u8; 32]) -> Self {
        Self {
            key_id: key.key_id().0.to_string(),
            secret: hex(&secret),
        }
    }

    /// The key that every datagram vector knows.
    pub(crate) fn known() -> Self {
        Self::new(&super::key(), core::array::from_fn(|i| i as u8))
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String");
        text
    })
}
