//! Trinity Beast Protocol (TBP) v1: prices over UDP.
//!
//! `SPEC.md` beside this crate is the public form of the protocol; this crate is its
//! reference implementation. It does no I/O (but for the optional module `client`), never
//! allocates on the decode and encode paths, and needs no `std`.
//!
//! A datagram is a 32-byte header, 0 to 31 entries of 32 bytes and a 16-byte tag, all
//! little-endian. A reply is never longer than its request, so the service cannot be used
//! to amplify traffic.
//!
//! ```
//! use trinity_protocol::{ApiKey, MacKeys, PriceQuery, RequestHead, RequestId, RequestView, Symbol};
//!
//! let key = ApiKey::from_parts(7, [42; 32]).expect("key id 7 is in range");
//! let keys = MacKeys::from_verifier(&key.verifier());
//! let head = RequestHead { key_id: key.key_id(), request_id: RequestId::new(1, 1), lane: 1, clock_ns: 1 };
//! let mut buffer = [0; trinity_protocol::MAX_DATAGRAM];
//! let query = [PriceQuery::new(Symbol::new("BTC-USD").expect("seven ASCII characters"))];
//! let datagram = trinity_protocol::encode_price_request(&mut buffer, head, &query, &keys.request);
//! let view = RequestView::parse(datagram).expect("it was encoded by the same crate");
//! assert!(view.verify(&keys.request));
//! ```

#![cfg_attr(not(feature = "std"), no_std)]

pub mod api_key;
pub mod auth;
pub mod base32;
#[cfg(feature = "client")]
pub mod client;
pub mod code;
pub mod decimal;
pub mod kind;
pub mod price;
pub mod reply;
pub mod request;
pub mod symbol;
pub mod wire;

pub use api_key::{ApiKey, ApiKeyError, KeyId};
pub use auth::{MacKey, MacKeys, Tag, Verifier};
pub use code::Code;
pub use decimal::DecimalText;
pub use kind::Kind;
pub use price::{PriceFlags, PriceStatus};
pub use reply::{ReplyError, ReplyHead, ReplyView, encode_control_reply, encode_price_reply};
pub use request::{
    PriceQuery, Refusal, RequestHead, RequestId, RequestView, encode_control_request, encode_price_request,
};
pub use symbol::{Symbol, SymbolError};
pub use wire::{PriceEntry, ReplyHeader, RequestEntry, RequestHeader};

/// First two bytes of every datagram.
pub const MAGIC: [u8; 2] = *b"TB";
/// Protocol version of this crate.
pub const VERSION: u8 = 1;
/// Bytes of a request or reply header.
pub const HEADER_LEN: usize = 32;
/// Bytes of one request or price entry.
pub const ENTRY_LEN: usize = 32;
/// Bytes of the authentication tag at the end of every datagram.
pub const TAG_LEN: usize = 16;
/// Most entries one datagram carries.
pub const MAX_ENTRIES: usize = 31;
/// Bytes of the shortest datagram: a header and a tag.
pub const MIN_DATAGRAM: usize = HEADER_LEN + TAG_LEN;
/// Bytes of the longest datagram.
pub const MAX_DATAGRAM: usize = MIN_DATAGRAM + MAX_ENTRIES * ENTRY_LEN;
/// How far a sender's clock may be off, either way, before CODE 4, in nanoseconds.
pub const CLOCK_WINDOW_NS: u64 = 5_000_000_000;
/// How many counters of one session the server remembers for the retry rule.
pub const REPLAY_WINDOW: u32 = 2_048;

const _: () = {
    assert!(MAX_DATAGRAM == 1_040);
    assert!(
        HEADER_LEN + ENTRY_LEN == 64,
        "one symbol is one BLAKE3 block under the tag"
    );
    assert!(
        HEADER_LEN + MAX_ENTRIES * ENTRY_LEN == 1_024,
        "31 symbols are one BLAKE3 chunk"
    );
    assert!(size_of::<RequestHeader>() == HEADER_LEN && size_of::<ReplyHeader>() == HEADER_LEN);
    assert!(size_of::<RequestEntry>() == ENTRY_LEN && size_of::<PriceEntry>() == ENTRY_LEN);
};

/// Length of a datagram with `count` entries, in bytes.
pub const fn datagram_len(count: usize) -> usize {
    MIN_DATAGRAM + count * ENTRY_LEN
}
