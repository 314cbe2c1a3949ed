//! What a client hands its caller.

use std::time::Duration;
use std::vec::Vec;

use super::error::SignedRefusal;
use crate::{DecimalText, PriceEntry, PriceFlags, PriceQuery, PriceStatus, ReplyHead, ReplyView, Symbol};

/// A verified answer to a PRICE request.
#[derive(Clone, Debug)]
pub struct PriceReply {
    /// One entry per query, in the same order.
    pub prices: Vec<SymbolPrice>,
    /// Requests left in the key's current window; `None` where nothing limits it.
    pub remaining: Option<u32>,
    /// Milliseconds until the window is full again.
    pub refill_ms: u32,
    /// From the latest try's departure to the answer.
    pub round_trip: Duration,
    /// Server's clock when it answered, Unix nanoseconds.
    pub server_clock_ns: u64,
    /// Datagrams sent for this answer; 1 where nothing was lost.
    pub tries_used: u32,
}

/// One symbol's price, or why it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolPrice {
    /// The symbol as it was asked.
    pub symbol: Symbol,
    /// How far the price may be trusted.
    pub status: PriceStatus,
    /// Price in units of 10^exponent; 0 where the status gives none.
    pub mantissa: i64,
    /// Decimal exponent.
    pub exponent: i8,
    /// Half-width of the band the venues agree on, units of 10^exponent.
    pub confidence: u64,
    /// Venues whose quotes formed the price.
    pub venues: u8,
    /// How the price came to be.
    pub flags: PriceFlags,
    /// Rises by one per published change; starts anew with the server.
    pub sequence: u32,
    /// When the price was formed, Unix nanoseconds; a replayed market's own time.
    pub publish_time_ns: u64,
}

/// An answer to PING. Nobody signed it.
#[derive(Clone, Copy, Debug)]
pub struct Pong {
    /// Server's clock, Unix nanoseconds.
    pub server_clock_ns: u64,
    /// From the latest try's departure to the answer.
    pub round_trip: Duration,
    /// Datagrams sent for this answer.
    pub tries_used: u32,
}

impl SymbolPrice {
    /// The price as exact decimal text, if the status gives one.
    pub fn price(&self) -> Option<DecimalText> {
        self.status.has_value().then_some(DecimalText {
            mantissa: self.mantissa,
            exponent: self.exponent,
        })
    }

    /// The confidence as exact decimal text, if the status gives a price. A width beyond
    /// 2^63 - 1 units, which says nothing about a price anyway, is shown as that.
    pub fn confidence_text(&self) -> Option<DecimalText> {
        self.status.has_value().then_some(DecimalText {
            mantissa: i64::try_from(self.confidence).unwrap_or(i64::MAX),
            exponent: self.exponent,
        })
    }

    fn read(symbol: Symbol, entry: &PriceEntry) -> Option<Self> {
        Some(Self {
            symbol,
            status: PriceStatus::from_wire(entry.status)?,
            mantissa: entry.mantissa.get(),
            exponent: entry.exponent,
            confidence: entry.confidence.get(),
            venues: entry.venues,
            flags: PriceFlags(entry.flags),
            sequence: entry.sequence.get(),
            publish_time_ns: entry.publish_time_ns.get(),
        })
    }
}

/// A reply whose tag is the key's.
#[derive(Debug)]
pub(super) enum SignedPrices {
    Answered {
        prices: Vec<SymbolPrice>,
        head: ReplyHead,
    },
    Refused(SignedRefusal),
    Unreadable(&'static str),
}

impl SignedPrices {
    /// Reads a verified PRICE reply.
    pub(super) fn read(reply: &ReplyView<'_>, queries: &[PriceQuery]) -> Self {
        let pairs = queries.iter().zip(reply.entries());
        let prices: Option<Vec<_>> = pairs
            .map(|(query, entry)| SymbolPrice::read(query.symbol, entry))
            .collect();
        match prices {
            Some(prices) => Self::Answered {
                prices,
                head: reply.head(),
            },
            None => Self::Unreadable("a price has a status that TBP v1 does not define"),
        }
    }

    /// Reads a verified ERROR.
    pub(super) fn refused(reply: &ReplyView<'_>) -> Self {
        let head = reply.head();
        Self::Refused(SignedRefusal {
            code: head.code,
            remaining: head.limited(),
            refill_ms: head.refill_ms,
            server_clock_ns: head.clock_ns,
        })
    }
}
