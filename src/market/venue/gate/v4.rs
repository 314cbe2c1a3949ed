//! Gate.io WebSocket v4, of spot and of futures.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueQuote};
use super::{fault, taker_side};

/// An object with `channel`.
pub(super) fn channel<'f>(frame: Json<'f>, channel: &'f str, sink: &mut Sink<'_>) {
    let event = frame.get_string("event").unwrap_or_default();
    let (market, kind) = channel.split_once('.').unwrap_or((channel, ""));
    if let Some(fault) = fault(frame, only_pair(frame)) {
        return sink(fault);
    }
    let result = frame.get("result");
    match (kind, event, result) {
        ("pong", ..) => sink(Event::Heartbeat),
        ("ping", ..) => sink(Event::Request { method: channel }),
        (_, "subscribe" | "unsubscribe", None) => sink(Event::Request { method: event }),
        (_, "subscribe" | "unsubscribe", Some(_)) => acks(frame, channel, sink),
        (_, "update" | "all", Some(result)) if !result.is_null() => {
            let push = Push {
                frame,
                spot: market == "spot",
            };
            match kind {
                "book_ticker" => push.each(result, "s", channel, sink, Push::book_ticker),
                "tickers" => push.each(result, push.name_field(), channel, sink, Push::ticker),
                "trades" | "trades_v2" => push.each(result, push.name_field(), channel, sink, Push::trade),
                "order_book" | "order_book_update" | "obu" => sink(book(result, event)),
                _ => sink(Event::Ignored { kind: channel }),
            }
        }
        (_, "update" | "all", _) => {
            field::emit(sink, None, Err(Invalid::field("result", Reason::MissingField)));
        }
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// The `result` of a push without the message around it.
pub(super) fn bare(result: Json<'_>, sink: &mut Sink<'_>) {
    let levels = |name| result.get(name).is_some_and(Json::is_array);
    if levels("b") || levels("a") {
        sink(book(result, "update"));
    } else {
        let push = Push {
            frame: result,
            spot: true,
        };
        push.each(result, "s", "book_ticker", sink, Push::book_ticker);
    }
}

/// One ack for each pair of the request, where the answer repeats them.
fn acks<'f>(frame: Json<'f>, channel: &'f str, sink: &mut Sink<'_>) {
    let mut any = false;
    for instrument in pairs(frame) {
        any = true;
        sink(Event::Ack(Ack {
            channel: Some(channel),
            instrument: Some(instrument),
        }));
    }
    if !any {
        sink(Event::Ack(Ack {
            channel: Some(channel),
            instrument: None,
        }));
    }
}

/// The pairs of a request. Among them stand intervals and depths, which have no `_` in them.
fn pairs(frame: Json<'_>) -> impl Iterator<Item = &str> {
    frame
        .get("payload")
        .into_iter()
        .flat_map(Json::elements)
        .filter_map(Json::string)
        .filter(|text| text.contains('_'))
        .map(pair_of)
}

/// The pair of a request for one pair: an error fails the whole request, and says whose fault it
/// is in its text only.
fn only_pair(frame: Json<'_>) -> Option<&str> {
    let mut pairs = pairs(frame);
    let first = pairs.next()?;
    pairs.next().is_none().then_some(first)
}

/// `ob.BTC_USDT.50` and `futures.BTC_USD.20` name a pair and a depth.
fn pair_of(name: &str) -> &str {
    match name.split_once('.') {
        Some((_, rest)) => rest.split('.').next().unwrap_or(rest),
        None => name,
    }
}

fn book<'f>(result: Json<'f>, event: &str) -> Event<'f> {
    // Older futures send a list of levels, each with its contract.
    let first = result.elements().next();
    let text = |name| result.get_string(name);
    let instrument = text("s")
        .or_else(|| text("contract"))
        .or_else(|| text("currency_pair"))
        .or_else(|| first?.get_string("c"));
    Event::Book(Book {
        instrument: instrument.map(pair_of),
        snapshot: event == "all"
            || result.get("full").and_then(Json::boolean) == Some(true)
            || result.get("lastUpdateId").is_some(),
    })
}

/// A push: what its elements have from the message around them.
struct Push<'f> {
    frame: Json<'f>,
    /// Whether sizes are base units.
    spot: bool,
}

impl<'f> Push<'f> {
    fn name_field(&self) -> &'static str {
        if self.spot { "currency_pair" } else { "contract" }
    }

    /// `result` is one element or an array of them.
    fn each(
        &self,
        result: Json<'f>,
        name_field: &'static str,
        channel: &'f str,
        sink: &mut Sink<'_>,
        read: impl Fn(&Self, Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
    ) {
        if !result.is_array() {
            return field::emit_of(sink, result, name_field, |name| read(self, result, name));
        }
        for element in result.elements() {
            field::emit_of(sink, element, name_field, |name| read(self, element, name));
        }
        if result.elements().left() == 0 {
            sink(Event::Ignored { kind: channel });
        }
    }

    fn book_ticker(&self, element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
        let mut quote = VenueQuote::new(pair);
        for (name, value) in element.members() {
            match name {
                "b" => quote.bid = field::price(value, "b")?,
                "B" if self.spot => quote.bid_size = field::size(value, "B")?,
                "a" => quote.ask = field::price(value, "a")?,
                "A" if self.spot => quote.ask_size = field::size(value, "A")?,
                "t" => quote.venue_time_ns = field::unix_millis(value, "t")?,
                "u" => quote.sequence = field::id(value),
                _ => {}
            }
        }
        quote.priced().map(Event::Quote)
    }

    fn ticker(&self, element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
        let mut quote = ticker(element, pair)?;
        quote.venue_time_ns = self.time()?;
        quote.priced().map(Event::Quote)
    }

    fn trade(&self, element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
        let mut trade = TradeFields::new(false);
        for (name, value) in element.members() {
            match name {
                // A contract's side is the sign of its size.
                "size" if !self.spot => trade.side = value.text().and_then(signed_side),
                _ => read_trade(&mut trade, name, value)?,
            }
        }
        trade.venue_time_ns = trade_time(element)?;
        trade.finish(pair, "price").map(Event::Trade)
    }

    /// The time of the message.
    fn time(&self) -> Result<Option<u64>, Invalid> {
        if let Some(millis) = self.frame.get("time_ms") {
            return field::unix_millis(millis, "time_ms");
        }
        self.frame
            .get("time")
            .map_or(Ok(None), |seconds| field::unix_seconds(seconds, "time"))
    }
}

/// The prices of a ticker, of `tickers` or of REST.
pub(super) fn ticker<'f>(element: Json<'f>, pair: &'f str) -> Result<VenueQuote<'f>, Invalid> {
    let mut quote = VenueQuote::new(pair);
    for (name, value) in element.members() {
        match name {
            "last" => quote.last = field::price(value, "last")?,
            "lowest_ask" => quote.ask = field::price(value, "lowest_ask")?,
            "highest_bid" => quote.bid = field::price(value, "highest_bid")?,
            // Version 2 of REST.
            "lowestAsk" => quote.ask = field::price(value, "lowestAsk")?,
            "highestBid" => quote.bid = field::price(value, "highestBid")?,
            _ => {}
        }
    }
    Ok(quote)
}

/// One field of a spot trade, of a push or of REST.
pub(super) fn read_trade(trade: &mut TradeFields, name: &str, value: Json<'_>) -> Result<(), Invalid> {
    match name {
        "price" => trade.read_price(value, "price")?,
        "amount" => trade.size = field::size(value, "amount")?,
        "id" => trade.sequence = field::id(value),
        "side" => trade.side = value.string().and_then(taker_side),
        _ => {}
    }
    Ok(())
}

/// The time of a trade, the more exact of the two it has.
pub(super) fn trade_time(element: Json<'_>) -> Result<Option<u64>, Invalid> {
    if let Some(millis) = element.get("create_time_ms") {
        return field::unix_decimal_millis(millis, "create_time_ms");
    }
    element
        .get("create_time")
        .map_or(Ok(None), |seconds| field::unix_seconds(seconds, "create_time"))
}

/// The taker's side of a trade in contracts.
pub(super) fn signed_side(size: &str) -> Option<Side> {
    match size.as_bytes() {
        [b'-', ..] => Some(Side::Sell),
        [b'1'..=b'9', ..] => Some(Side::Buy),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
