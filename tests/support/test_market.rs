//! An engine on the built-in table, fed in short words.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::sync::Arc;

use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{
    AggregatedPrice, Explanation, MarketEngine, MarketId, Quote, RejectReason, SymbolId, SymbolTable,
    VenueExplanation,
};

/// Start of the tests' time, Unix ms.
const EPOCH_MS: u64 = 1_700_000_000_000;

pub(crate) struct TestMarket {
    pub engine: MarketEngine,
}

impl TestMarket {
    pub(crate) fn new() -> Self {
        Self::on(SymbolTable::builtin())
    }

    pub(crate) fn on(table: SymbolTable) -> Self {
        Self {
            engine: MarketEngine::new(Arc::new(table)),
        }
    }

    pub(crate) fn symbol(&self, name: &str) -> SymbolId {
        self.engine
            .table()
            .resolve(name)
            .unwrap_or_else(|| panic!("{name} is in the table"))
    }

    pub(crate) fn market(&self, venue: &str, spelling: &str) -> MarketId {
        self.engine
            .table()
            .market_by_spelling(venue_id(venue), spelling)
            .unwrap_or_else(|| panic!("{spelling} of {venue} is in the table"))
    }

    /// A last price at a time.
    pub(crate) fn last(
        &mut self,
        ms: u64,
        venue: &str,
        spelling: &str,
        price: &str,
    ) -> Result<(), RejectReason> {
        let quote = Quote {
            last: Some(decimal(price)),
            ..self.blank(ms, venue, spelling)
        };
        self.engine.on_quote(&quote)
    }

    /// A book at a time.
    pub(crate) fn book(
        &mut self,
        ms: u64,
        venue: &str,
        spelling: &str,
        bid: &str,
        ask: &str,
    ) -> Result<(), RejectReason> {
        let quote = Quote {
            bid: Some(decimal(bid)),
            ask: Some(decimal(ask)),
            ..self.blank(ms, venue, spelling)
        };
        self.engine.on_quote(&quote)
    }

    pub(crate) fn blank(&self, ms: u64, venue: &str, spelling: &str) -> Quote {
        Quote {
            market: self.market(venue, spelling),
            bid: None,
            ask: None,
            last: None,
            confidence: None,
            venue_time_ns: None,
            receive_time_ns: ns(ms),
            sequence: None,
            fetched: false,
        }
    }

    /// Ticks and returns what was published.
    pub(crate) fn tick(&mut self, ms: u64) -> Vec<(SymbolId, AggregatedPrice)> {
        let mut published = Vec::new();
        self.engine
            .tick(ns(ms), &mut |symbol, price| published.push((symbol, *price)));
        published
    }

    /// Ticks and returns the price of one symbol.
    pub(crate) fn price_at(&mut self, ms: u64, symbol: &str) -> AggregatedPrice {
        self.tick(ms);
        *self.engine.price(self.symbol(symbol))
    }

    pub(crate) fn explain(&self, symbol: &str) -> Explanation {
        self.engine.explain(self.symbol(symbol))
    }

    pub(crate) fn explain_venue(&self, symbol: &str, venue: &str) -> VenueExplanation {
        let venue = venue_id(venue);
        let explanation = self.explain(symbol);
        *explanation
            .venues
            .iter()
            .find(|part| part.venue == venue)
            .expect("the venue has a market for the symbol")
    }
}

pub(crate) fn venue_id(name: &str) -> VenueId {
    VenueId::from_name(name).unwrap_or_else(|| panic!("{name} is a venue"))
}

pub(crate) fn decimal(text: &str) -> Decimal {
    Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn ns(ms: u64) -> u64 {
    (EPOCH_MS + ms) * 1_000_000
}
