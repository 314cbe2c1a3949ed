//! What a datagram asks or answers.

/// Kinds of datagrams. A reply's kind is its request's with bit 7 set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Asks for 1 to 31 prices.
    Price = 0x01,
    /// Asks for the server's clock; needs no key.
    Ping = 0x02,
    /// Reserved: asks for a lease of updates. Answered with FORBIDDEN today.
    Subscribe = 0x03,
    /// Reserved: asks for the caller's own usage. Answered with FORBIDDEN today.
    Usage = 0x05,
    /// Answers PRICE.
    PriceReply = 0x81,
    /// Answers PING.
    PingReply = 0x82,
    /// Answers any request that cannot be served.
    Error = 0xFF,
}

impl Kind {
    /// The request kind a byte names, if it names one.
    pub const fn request(byte: u8) -> Option<Self> {
        match byte {
            0x01 => Some(Self::Price),
            0x02 => Some(Self::Ping),
            0x03 => Some(Self::Subscribe),
            0x05 => Some(Self::Usage),
            _ => None,
        }
    }

    /// Whether a byte marks a reply: those are never answered, so that two servers cannot
    /// be made to talk to each other.
    pub const fn is_reply(byte: u8) -> bool {
        byte & 0x80 != 0
    }
}
