//! What a venue told, as a quote for the engine.

use crate::market::quote::Quote;
use crate::market::symbol::MarketId;
use crate::market::venue::{VenueQuote, VenueTrade};

impl Quote {
    /// A ticker or the top of a book, received at `receive_time_ns` (Unix ns).
    pub fn from_ticker(told: &VenueQuote<'_>, market: MarketId, receive_time_ns: u64) -> Self {
        Self {
            market,
            bid: told.bid,
            ask: told.ask,
            last: told.last,
            confidence: None,
            venue_time_ns: told.venue_time_ns,
            receive_time_ns,
            sequence: told.sequence,
            fetched: false,
        }
    }

    /// A trade, received at `receive_time_ns` (Unix ns).
    pub fn from_trade(told: &VenueTrade<'_>, market: MarketId, receive_time_ns: u64) -> Self {
        Self {
            market,
            bid: None,
            ask: None,
            last: Some(told.price),
            confidence: None,
            venue_time_ns: told.venue_time_ns,
            receive_time_ns,
            sequence: told.sequence,
            fetched: false,
        }
    }

    /// Whether both give the same price: by their books where both have one, else by the last
    /// trade.
    pub fn prices_like(&self, other: &Self) -> bool {
        if self.has_book() && other.has_book() {
            self.bid == other.bid && self.ask == other.ask
        } else {
            self.last.is_some() && self.last == other.last
        }
    }
}
