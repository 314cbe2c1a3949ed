//! The byte layouts: plain structs that lie over a datagram without copying it.
//!
//! Every field is an unaligned little-endian integer, so a view may start at any address.

use zerocopy::little_endian::{I64, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Header of a request, 32 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RequestHeader {
    /// `TB`.
    pub magic: [u8; 2],
    /// Protocol version, 1.
    pub version: u8,
    /// What is asked, see [`crate::Kind`].
    pub kind: u8,
    /// Entries that follow, 0 to 31.
    pub count: u8,
    /// No request flag is defined: 0.
    pub flags: u8,
    /// Picks the server's core; any value.
    pub lane: u8,
    /// 0.
    pub reserved: u8,
    /// Which API key signs; 0 where none does.
    pub key_id: U64,
    /// Session (high 32 bits) and counter (low 32 bits), echoed in the reply.
    pub request_id: U64,
    /// Sender's clock, Unix nanoseconds.
    pub clock_ns: U64,
}

/// Header of a reply, 32 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct ReplyHeader {
    /// `TB`.
    pub magic: [u8; 2],
    /// Protocol version, 1.
    pub version: u8,
    /// What is answered: the request's kind with bit 7 set, or 0xFF.
    pub kind: u8,
    /// Entries that follow, 0 to 31.
    pub count: u8,
    /// No reply flag is defined: 0.
    pub flags: u8,
    /// Outcome, see [`crate::Code`].
    pub code: U16,
    /// Requests left in the key's current window; `u32::MAX` where nothing limits it.
    pub remaining: U32,
    /// In an answer: milliseconds until the window is full again. In a refusal by a limit: until
    /// the next request is granted.
    pub refill_ms: U32,
    /// The request's id as it came.
    pub request_id: U64,
    /// Server's clock, Unix nanoseconds.
    pub clock_ns: U64,
}

/// One asked symbol, 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct RequestEntry {
    /// ASCII upper case, NUL padded.
    pub symbol: [u8; 16],
    /// Oldest price that still counts as live, milliseconds; 0 is the symbol's default.
    pub max_age_ms: U32,
    /// 0.
    pub reserved: [u8; 12],
}

/// One price, 32 bytes: price = mantissa x 10^exponent.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct PriceEntry {
    /// Price in units of 10^exponent; 0 where the status gives none.
    pub mantissa: I64,
    /// Half-width of the band the venues agree on, same exponent.
    pub confidence: U64,
    /// When the price was formed, Unix nanoseconds.
    pub publish_time_ns: U64,
    /// Decimal exponent.
    pub exponent: i8,
    /// See [`crate::PriceStatus`].
    pub status: u8,
    /// Venues whose quotes formed the price.
    pub venues: u8,
    /// See [`crate::PriceFlags`].
    pub flags: u8,
    /// Rises by one per published change of this symbol, wraps after 2^32.
    pub sequence: U32,
}
