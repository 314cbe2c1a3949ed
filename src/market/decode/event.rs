//! An event in the words of the command's output.

use jiff::Timestamp;
use serde::Serialize;

use crate::market::symbol::SymbolTable;
use crate::market::venue::{Event, Invalid, Side, VenueId};

/// What a frame says, field by field; numbers are exact decimals as text. A member that the
/// event has not is left out, but for `symbol`, which is null where the instrument is in no row
/// of the table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EventView {
    /// quote, trade, book, ack, heartbeat, status, error, request, ignored or invalid.
    pub kind: &'static str,
    /// Why it is invalid, or what it is that is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The field that is invalid, in the venue's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<&'static str>,
    /// The venue's own spelling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instrument: Option<String>,
    /// The canonical name of what the instrument prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Option<String>>,
    /// Best bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid: Option<String>,
    /// Best ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask: Option<String>,
    /// Last price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// A trade's price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub price: Option<String>,
    /// A trade's size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// What the taker did: buy or sell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub side: Option<&'static str>,
    /// Amount at the bid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bid_size: Option<String>,
    /// Amount at the ask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ask_size: Option<String>,
    /// Amount of the last trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_size: Option<String>,
    /// The venue's time, Unix nanoseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue_time_ns: Option<u64>,
    /// The same in RFC 3339, UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub venue_time: Option<String>,
    /// The venue's number of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// A trade of the past, or a whole book.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<bool>,
    /// The channel that is confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The venue's code of an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The venue's explanation of an error, its word for its state, or what it challenges with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
}

impl EventView {
    pub(super) fn of(event: &Event<'_>, venue: VenueId, table: &SymbolTable) -> Self {
        let mut view = Self {
            kind: event.kind(),
            ..Self::default()
        };
        let text = |text: &str| Some(text.to_owned());
        match *event {
            Event::Quote(quote) => {
                view.name(quote.instrument, venue, table);
                view.bid = quote.bid.map(|number| number.to_string());
                view.ask = quote.ask.map(|number| number.to_string());
                view.last = quote.last.map(|number| number.to_string());
                view.bid_size = quote.bid_size.map(|number| number.to_string());
                view.ask_size = quote.ask_size.map(|number| number.to_string());
                view.last_size = quote.last_size.map(|number| number.to_string());
                view.at(quote.venue_time_ns);
                view.sequence = quote.sequence;
            }
            Event::Trade(trade) => {
                view.name(trade.instrument, venue, table);
                view.price = text(&trade.price.to_string());
                view.size = trade.size.map(|number| number.to_string());
                view.side = trade.side.map(|side| match side {
                    Side::Buy => "buy",
                    Side::Sell => "sell",
                });
                view.at(trade.venue_time_ns);
                view.sequence = trade.sequence;
                view.snapshot = Some(trade.snapshot);
            }
            Event::Book(book) => {
                view.name(book.instrument.unwrap_or_default(), venue, table);
                view.snapshot = Some(book.snapshot);
            }
            Event::Ack(ack) => {
                view.channel = ack.channel.and_then(text);
                if let Some(instrument) = ack.instrument {
                    view.name(instrument, venue, table);
                }
            }
            Event::Heartbeat => {}
            Event::Challenge { text: words } | Event::Status { text: words } => view.message = text(words),
            Event::Error(error) => {
                view.code = error.code.and_then(text);
                view.message = text(error.message);
                if let Some(instrument) = error.instrument {
                    view.name(instrument, venue, table);
                }
            }
            Event::Request { method } => view.method = text(method),
            Event::Ignored { kind } => view.reason = text(kind),
            Event::Invalid { instrument, invalid } => {
                if let Some(instrument) = instrument {
                    view.name(instrument, venue, table);
                }
                view.reason = text(invalid.reason.name());
                view.field = invalid.field;
            }
        }
        view
    }

    pub(super) fn invalid(invalid: Invalid) -> Self {
        Self {
            kind: "invalid",
            reason: Some(invalid.reason.name().to_owned()),
            field: invalid.field,
            ..Self::default()
        }
    }

    pub(super) fn bad_base64(problem: &str) -> Self {
        Self {
            kind: "invalid",
            reason: Some("bad_base64".to_owned()),
            field: Some("b64"),
            message: Some(problem.to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn status(message: &str) -> Self {
        Self {
            kind: "status",
            message: Some(message.to_owned()),
            ..Self::default()
        }
    }

    pub(super) fn request(method: &str) -> Self {
        Self {
            kind: "request",
            method: Some(method.to_owned()),
            ..Self::default()
        }
    }

    /// Takes what a quote of the same frame says of prices.
    pub(super) fn take_prices(&mut self, quote: &Self) {
        self.bid.clone_from(&quote.bid);
        self.ask.clone_from(&quote.ask);
        self.last.clone_from(&quote.last);
        self.bid_size.clone_from(&quote.bid_size);
        self.ask_size.clone_from(&quote.ask_size);
        self.venue_time_ns = quote.venue_time_ns;
        self.venue_time.clone_from(&quote.venue_time);
        self.sequence = quote.sequence;
        if self.instrument.is_none() {
            self.instrument.clone_from(&quote.instrument);
            self.symbol.clone_from(&quote.symbol);
        }
    }

    fn name(&mut self, instrument: &str, venue: VenueId, table: &SymbolTable) {
        let market = table.market_by_spelling(venue, instrument);
        let symbol = market.map(|id| table.symbol(table.market(id).symbol).name.to_string());
        self.instrument = Some(instrument.to_owned()).filter(|name| !name.is_empty());
        self.symbol = Some(symbol);
    }

    fn at(&mut self, venue_time_ns: Option<u64>) {
        self.venue_time_ns = venue_time_ns;
        // Every u64 of nanoseconds lies within jiff's range.
        self.venue_time = venue_time_ns
            .and_then(|ns| Timestamp::from_nanosecond(i128::from(ns)).ok())
            .map(|time| time.to_string());
    }
}
