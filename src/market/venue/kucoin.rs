//! `KuCoin`: WebSocket of spot and futures (`/market/ticker:BTC-USDT`), and of the unified account.
//!
//! | field | spot | futures | unified |
//! |---|---|---|---|
//! | message | `type`, `topic`, `subject`, `data` | the same | `T`, `P`, `d`, in binary frames of plain JSON |
//! | prices, sizes | decimal strings; the snapshot and some REST bodies have JSON numbers | the same; sizes are lots | decimal strings |
//! | time of a quote | `time`, of `level1` `timestamp`, of the snapshot `datetime`: Unix milliseconds | `ts`: Unix nanoseconds | `M`: Unix nanoseconds |
//! | time of a trade | `time`: Unix nanoseconds as a string | `ts`: Unix nanoseconds | `M`: Unix nanoseconds |
//! | quote sequence | `sequence` of the ticker: per instrument, leaves out many | the same | `E` of the ticker, `C` of a book |
//! | trade sequence | `sequence`, per instrument | the same | `ti` |
//! | `side` of a trade | the taker's: `buy`, `sell` | the same | the taker's: `BUY`, `SELL` |
//! | history | none | none | none |
//!
//! A ticker names its instrument in the topic, or after `/market/ticker:all` in the subject.
//! `/spotMarket/level1` and level 1 of the unified account are the best level and so quotes too.
//! A topic for an instrument that does not exist is confirmed like any other and stays silent.

mod live;
mod unified;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use crate::market::decimal::Decimal;
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let Some(kind) = frame.get_string("type") {
        typed(frame, kind, sink);
    } else if let (Some(topic), Some(data)) = (frame.get_string("T"), frame.get("d")) {
        unified::push(frame, topic, data, sink);
    } else if let Some(event) = unified::answer(frame) {
        sink(event);
    } else if frame.get("bids").is_some() && frame.get("asks").is_some() {
        sink(Event::Book(Book {
            instrument: None,
            snapshot: true,
        }));
    } else {
        return live::body(frame, None, sink);
    }
    Ok(())
}

fn typed<'f>(frame: Json<'f>, kind: &'f str, sink: &mut Sink<'_>) {
    match kind {
        "message" => push(frame, sink),
        "welcome" | "ack" => sink(Event::Ack(Ack {
            channel: None,
            instrument: None,
        })),
        "pong" => sink(Event::Heartbeat),
        "error" => sink(Event::Error(VenueError {
            code: frame.get("code").and_then(Json::text),
            message: frame.get_string("data").unwrap_or_default(),
            instrument: None,
        })),
        "ping" | "subscribe" | "unsubscribe" | "openTunnel" | "closeTunnel" => {
            sink(Event::Request { method: kind });
        }
        _ => sink(Event::Ignored { kind }),
    }
}

fn push(frame: Json<'_>, sink: &mut Sink<'_>) {
    let Some(topic) = frame.get_string("topic") else {
        return field::emit(sink, None, Err(Invalid::field("topic", Reason::MissingField)));
    };
    let Some(data) = frame.get("data") else {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField)));
    };
    let (path, named) = topic.split_once(':').unwrap_or((topic, ""));
    let subject = frame.get_string("subject");
    let message = Message {
        data,
        instrument: match named {
            "all" => subject,
            named => Some(named),
        }
        .filter(|name| !name.is_empty()),
    };
    match path {
        "/market/ticker" => message.one(sink, |name| ticker(data, name, spot_time)),
        "/contractMarket/ticker" | "/contractMarket/tickerV2" => {
            message.one(sink, |name| ticker(data, name, futures_time));
        }
        "/market/match" | "/contractMarket/execution" => {
            message.one(sink, |name| trade(data, name, false));
        }
        "/market/snapshot" => snapshot(data, sink),
        "/spotMarket/level1" => {
            message.book(true, sink);
            message.one(sink, |name| best(data, name));
        }
        _ => match path.rsplit('/').next() {
            // The best 5 or 50 levels are sent whole, all others as changes.
            Some(depth) if depth.starts_with("level2Depth") => message.book(true, sink),
            Some(depth) if depth.starts_with("level2") || depth.starts_with("level3") => {
                message.book(false, sink);
            }
            _ => sink(Event::Ignored { kind: path }),
        },
    }
}

struct Message<'f> {
    data: Json<'f>,
    /// As the topic or the subject has it.
    instrument: Option<&'f str>,
}

impl<'f> Message<'f> {
    /// Whose it is: what the data says, else the topic.
    fn owner(&self) -> Result<&'f str, Invalid> {
        match field::instrument(self.data, "symbol") {
            Err(invalid) if invalid.reason == Reason::MissingField => self.instrument.ok_or(invalid),
            known => known,
        }
    }

    fn book(&self, snapshot: bool, sink: &mut Sink<'_>) {
        sink(Event::Book(Book {
            instrument: self.owner().ok(),
            snapshot,
        }));
    }

    fn one(&self, sink: &mut Sink<'_>, read: impl FnOnce(&'f str) -> Result<Event<'f>, Invalid>) {
        match self.owner() {
            Ok(name) => field::emit(sink, Some(name), read(name)),
            Err(invalid) => field::emit(sink, None, Err(invalid)),
        }
    }
}

/// A ticker of the stream, whose sequence orders it.
fn ticker<'f>(
    data: Json<'f>,
    name: &'f str,
    time: impl FnOnce(Json<'f>) -> Result<Option<u64>, Invalid>,
) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    read_ticker(data, &mut quote)?;
    quote.sequence = data.get("sequence").and_then(field::id);
    quote.venue_time_ns = time(data)?;
    quote.priced().map(Event::Quote)
}

/// When a quote of spot was so.
fn spot_time(data: Json<'_>) -> Result<Option<u64>, Invalid> {
    data.get("time")
        .map_or(Ok(None), |time| field::unix_millis(time, "time"))
}

/// When a quote of futures was so; before 2021 the field had the name it has for spot.
fn futures_time(data: Json<'_>) -> Result<Option<u64>, Invalid> {
    match (data.get("ts"), data.get("time")) {
        (Some(time), _) => field::unix_nanos(time, "ts"),
        (None, Some(time)) => field::unix_nanos(time, "time"),
        (None, None) => Ok(None),
    }
}

/// The fields of a ticker as the stream and REST name them for spot, futures and unified.
fn read_ticker(data: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<(), Invalid> {
    for (name, value) in data.members() {
        match name {
            "bestBid" => quote.bid = field::price(value, "bestBid")?,
            "bestBidPrice" => quote.bid = field::price(value, "bestBidPrice")?,
            "bestBidSize" => quote.bid_size = field::size(value, "bestBidSize")?,
            "bestAsk" => quote.ask = field::price(value, "bestAsk")?,
            "bestAskPrice" => quote.ask = field::price(value, "bestAskPrice")?,
            "bestAskSize" => quote.ask_size = field::size(value, "bestAskSize")?,
            "price" => quote.last = field::price(value, "price")?,
            "lastPrice" => quote.last = field::price(value, "lastPrice")?,
            "size" => quote.last_size = field::size(value, "size")?,
            _ => {}
        }
    }
    Ok(())
}

/// `/market/snapshot`: the day's figures every two seconds. Its prices are those of the list of
/// all tickers at REST, so are their names; its own `sequence` counts something else.
fn snapshot(data: Json<'_>, sink: &mut Sink<'_>) {
    let Some(data) = data.get("data") else {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField)));
    };
    field::emit_of(sink, data, "symbol", |name| {
        let mut quote = VenueQuote::new(name);
        read_day(data, &mut quote)?;
        if let Some(time) = data.get("datetime") {
            quote.venue_time_ns = field::unix_millis(time, "datetime")?;
        }
        quote.priced().map(Event::Quote)
    });
}

/// The day's figures: `buy` is the best bid, `sell` the best ask.
fn read_day(data: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<(), Invalid> {
    for (name, value) in data.members() {
        match name {
            "buy" => quote.bid = field::price(value, "buy")?,
            "sell" => quote.ask = field::price(value, "sell")?,
            "last" => quote.last = field::price(value, "last")?,
            "lastTradedPrice" => quote.last = field::price(value, "lastTradedPrice")?,
            "bestBidSize" => quote.bid_size = field::size(value, "bestBidSize")?,
            "bestAskSize" => quote.ask_size = field::size(value, "bestAskSize")?,
            _ => {}
        }
    }
    Ok(())
}

/// `{"asks":["9989","8"],"bids":["9988","10"],"timestamp":1586948108193}`.
fn best<'f>(data: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in data.members() {
        match name {
            "bids" => (quote.bid, quote.bid_size) = single(value, "bids")?,
            "asks" => (quote.ask, quote.ask_size) = single(value, "asks")?,
            "timestamp" => quote.venue_time_ns = field::unix_millis(value, "timestamp")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// A level that stands alone; an empty side is null or an empty array.
fn single(value: Json<'_>, side: &'static str) -> Result<(Option<Decimal>, Option<Decimal>), Invalid> {
    if value.is_null() || (value.is_array() && value.elements().left() == 0) {
        return Ok((None, None));
    }
    field::level(value, side)
}

/// A trade counts nanoseconds: spot in `time`, futures in `ts`, before 2021 in `time`.
fn trade<'f>(data: Json<'f>, instrument: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in data.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "size" => trade.size = field::size(value, "size")?,
            "sequence" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            "time" => trade.venue_time_ns = field::unix_nanos(value, "time")?,
            "ts" => trade.venue_time_ns = field::unix_nanos(value, "ts")?,
            _ => {}
        }
    }
    trade.finish(instrument, "price").map(Event::Trade)
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "buy" | "BUY" => Some(Side::Buy),
        "sell" | "SELL" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
