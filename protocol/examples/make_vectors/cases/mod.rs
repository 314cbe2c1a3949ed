//! The cases behind the test vectors: each says what must come of a datagram, by hand.

mod api_keys;
mod replies;
mod requests;
mod vector;

use std::path::PathBuf;

use serde::Serialize;
use trinity_protocol::{ApiKey, MacKeys};

/// The server's clock in every vector: 2023-11-14 22:13:20 UTC.
pub(crate) const NOW_NS: u64 = 1_700_000_000_000_000_000;
/// The vectors' session.
pub(crate) const SESSION: u32 = 0xC0FF_EE01;

/// The key that every vector knows.
pub(crate) fn key() -> ApiKey {
    ApiKey::from_parts(0x0123_4567_89AB_CDEF, core::array::from_fn(|i| i as u8)).expect("in range")
}

/// Another key, which the server does not know.
pub(crate) fn stranger() -> ApiKey {
    ApiKey::from_parts(99, [0x5A; 32]).expect("in range")
}

pub(crate) fn mac_keys(key: &ApiKey) -> MacKeys {
    MacKeys::from_verifier(&key.verifier())
}

/// Every generated file: its path from the repository's root, and its bytes.
pub(crate) fn files() -> Vec<(PathBuf, Vec<u8>)> {
    let (requests, replies, api_keys) = (requests::all(), replies::all(), api_keys::all());
    let mut files = vec![
        (PathBuf::from("protocol/vectors/requests.jsonl"), lines(&requests)),
        ("protocol/vectors/replies.jsonl".into(), lines(&replies)),
        ("protocol/vectors/api_keys.jsonl".into(), lines(&api_keys)),
    ];
    let corpus = |target: &str, name: &str| PathBuf::from("fuzz/corpus").join(target).join(name);
    files.extend(
        requests
            .iter()
            .map(|v| (corpus("request", v.name), v.hex.0.clone())),
    );
    files.extend(replies.iter().map(|v| (corpus("reply", v.name), v.hex.0.clone())));
    files.extend(
        api_keys
            .iter()
            .map(|v| (corpus("api_key", v.name), v.text.clone().into_bytes())),
    );
    files.extend(
        SYMBOLS
            .iter()
            .map(|(name, bytes)| (corpus("symbol", name), bytes.to_vec())),
    );
    files
}

/// Seeds for the symbol fuzzer.
const SYMBOLS: [(&str, &[u8]); 8] = [
    ("plain", b"BTC-USD\0\0\0\0\0\0\0\0\0"),
    ("sixteen_characters", b"ABCDEFGHIJKL-USD"),
    ("lower_case", b"btc-usd\0\0\0\0\0\0\0\0\0"),
    ("empty", &[0; 16]),
    ("nul_inside", b"BTC\0USD\0\0\0\0\0\0\0\0\0"),
    ("space_inside", b"BTC USD\0\0\0\0\0\0\0\0\0"),
    ("not_ascii", "\u{20BF}TC-USD\0\0\0\0\0\0\0".as_bytes()),
    ("seventeen_characters", b"ABCDEFGHIJKLM-USD"),
];

fn lines<T: Serialize>(vectors: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for vector in vectors {
        serde_json::to_writer(&mut bytes, vector).expect("plain data serialises");
        bytes.push(b'\n');
    }
    bytes
}
