//! Where a feed shows every frame it receives, before anything is made of it.

use super::venue::VenueId;

/// A WebSocket message as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapFrame<'f> {
    /// A text message; UTF-8 unless the venue broke the protocol.
    Text(&'f [u8]),
    /// A binary message: compressed, or text that the venue sends as binary.
    Binary(&'f [u8]),
}

/// Sees what venues send. It must not wait: the feed goes on only when it returns.
pub trait FrameTap {
    /// A connection was made. `at_ns` is our clock, Unix nanoseconds; `connection` names it and
    /// is the same for all its frames (`kraken-1`).
    fn connected(&mut self, at_ns: u64, venue: VenueId, connection: &str);

    /// A message came. `at_ns` is our clock at its receipt, Unix nanoseconds.
    fn frame(&mut self, at_ns: u64, venue: VenueId, connection: &str, frame: TapFrame<'_>);
}

impl TapFrame<'_> {
    /// The message's bytes, whatever its kind.
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}
