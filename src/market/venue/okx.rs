//! OKX: WebSocket v5 (`{"arg":..,"data":[..]}`), and v3 (`{"table":..}`) as old recordings have it.
//!
//! | field | v5 | v3 |
//! |---|---|---|
//! | prices, sizes | decimal strings; sizes of derivatives are contracts | the same; old books in JSON numbers |
//! | time | `ts`: Unix milliseconds as a string | `timestamp`: RFC 3339 |
//! | quote sequence | `seqId` of `bbo-tbt`: per instrument, 0 and above, may begin anew after maintenance; `tickers` has none | none |
//! | trade sequence | `tradeId`, per instrument | `trade_id` |
//! | `side` of a trade | the taker's: `buy`, `sell` | the same |
//! | levels of a book | `[price, size, "0", orders]`, best first | `[price, size, orders..]` |
//! | history | after a subscription the last trade there was, unmarked and as old as its `ts` says | the same |
//! | frame | text | binary: raw deflate without a header |
//!
//! `tickers` gives bid, ask and last price; `bbo-tbt` is the best level and so a quote as well.
//! The first `tickers` message after a subscription is the last one there was: its `ts` may be
//! a minute old. Indices, block trades and spreads (whose prices may be negative) are not the
//! market's price of an instrument and are ignored.

mod live;
mod v3;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let Some(event) = frame.get_string("event") {
        sink(said(frame, event));
    } else if let Some(arg) = frame.get("arg").filter(|arg| arg.is_object()) {
        let channel = arg
            .get_string("channel")
            .ok_or(Invalid::frame(Reason::UnknownShape))?;
        push(frame, arg, channel, sink);
    } else if let Some(table) = frame.get_string("table") {
        v3::table(frame, table, sink);
    } else if let Some(op) = frame.get_string("op") {
        sink(operation(frame, op));
    } else if frame.get_string("channel").is_some() {
        sink(v3::channel(frame));
    } else if frame
        .elements()
        .any(|element| element.get_string("channel").is_some())
    {
        // The first generation put every message into an array.
        for element in frame.elements() {
            sink(v3::channel(element));
        }
    } else {
        return live::answer(frame, None, sink);
    }
    Ok(())
}

/// An object with `event`: what the venue says of the connection and of requests.
fn said<'f>(frame: Json<'f>, event: &'f str) -> Event<'f> {
    let arg = frame.get("arg");
    let failed = frame
        .get("code")
        .and_then(Json::text)
        .is_some_and(|code| code != "0");
    match event {
        "error" | "channel-conn-count-error" => refusal(frame, arg, event),
        "notice" | "channel-conn-count" => Event::Status { text: event },
        _ if failed => refusal(frame, arg, event),
        // A request as it stands in documentation bears its `args` (v5) or, at first, `channel` alone.
        _ if frame.get("args").is_some() || event == "addChannel" || event == "removeChannel" => {
            Event::Request { method: event }
        }
        "subscribe" | "unsubscribe" | "login" => {
            let (channel, instrument) = match arg {
                Some(arg) => (arg.get_string("channel"), arg.get_string("instId")),
                // v3: `spot/ticker:BTC-USDT`.
                None => v3::split(frame.get_string("channel")),
            };
            Event::Ack(Ack { channel, instrument })
        }
        _ => Event::Ignored { kind: event },
    }
}

/// `code` and `msg` as v5 names them, `errorCode` and `message` as v3 does.
fn refusal<'f>(frame: Json<'f>, arg: Option<Json<'f>>, otherwise: &'f str) -> Event<'f> {
    let code = frame.get("code").or_else(|| frame.get("errorCode"));
    let message = ["msg", "message", "error_message"]
        .iter()
        .find_map(|name| frame.get_string(name));
    Event::Error(VenueError {
        code: code.and_then(Json::text),
        message: message.unwrap_or(otherwise),
        instrument: arg.and_then(|arg| arg.get_string("instId")),
    })
}

/// An object with `op`: a request, or with `code` the answer to one.
fn operation<'f>(frame: Json<'f>, op: &'f str) -> Event<'f> {
    match frame.get("code").and_then(Json::text) {
        None => Event::Request { method: op },
        Some("0") => Event::Ack(Ack {
            channel: None,
            instrument: None,
        }),
        Some(_) => refusal(frame, None, op),
    }
}

fn push<'f>(frame: Json<'f>, arg: Json<'f>, channel: &'f str, sink: &mut Sink<'_>) {
    let Some(data) = frame.get("data") else {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField)));
    };
    if !data.is_array() {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::WrongType)));
    }
    if data.elements().left() == 0 {
        return sink(Event::Ignored { kind: channel });
    }
    match channel {
        "tickers" => each(data, arg, sink, ticker),
        "trades" | "trades-all" | "option-trades" => {
            each(data, arg, sink, |element, name| trade(element, name, false));
        }
        "bbo-tbt" => {
            for element in data.elements() {
                sink(Event::Book(Book {
                    instrument: owner(element, arg).ok(),
                    snapshot: true,
                }));
                one(element, arg, sink, best);
            }
        }
        _ if is_book(channel) => {
            // Channels that send no changes name no action.
            let snapshot = frame
                .get_string("action")
                .is_none_or(|action| action == "snapshot");
            for element in data.elements() {
                sink(Event::Book(Book {
                    instrument: owner(element, arg).ok(),
                    snapshot,
                }));
            }
        }
        "status" => {
            for element in data.elements() {
                sink(Event::Status {
                    text: element.get_string("state").unwrap_or(channel),
                });
            }
        }
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// `books`, `books5`, `books50-l2-tbt`, `books-l2-tbt`, and those of spreads.
fn is_book(channel: &str) -> bool {
    let channel = channel.strip_prefix("sprd-").unwrap_or(channel);
    channel.starts_with("books") || channel == "bbo-tbt"
}

/// Whose element it is: some channels say so in `arg` only.
fn owner<'f>(element: Json<'f>, arg: Json<'f>) -> Result<&'f str, Invalid> {
    match field::instrument(element, "instId") {
        Err(invalid) if invalid.reason == Reason::MissingField => field::instrument(arg, "instId"),
        known => known,
    }
}

fn each<'f>(
    data: Json<'f>,
    arg: Json<'f>,
    sink: &mut Sink<'_>,
    read: impl Fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    for element in data.elements() {
        one(element, arg, sink, &read);
    }
}

fn one<'f>(
    element: Json<'f>,
    arg: Json<'f>,
    sink: &mut Sink<'_>,
    read: impl Fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    match owner(element, arg) {
        Ok(name) => field::emit(sink, Some(name), read(element, name)),
        Err(invalid) => field::emit(sink, None, Err(invalid)),
    }
}

fn ticker<'f>(element: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in element.members() {
        match name {
            "bidPx" => quote.bid = field::price(value, "bidPx")?,
            "bidSz" => quote.bid_size = field::size(value, "bidSz")?,
            "askPx" => quote.ask = field::price(value, "askPx")?,
            "askSz" => quote.ask_size = field::size(value, "askSz")?,
            "last" => quote.last = field::price(value, "last")?,
            "lastSz" => quote.last_size = field::size(value, "lastSz")?,
            "ts" => quote.venue_time_ns = field::unix_millis(value, "ts")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// The best level of either side.
fn best<'f>(element: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in element.members() {
        match name {
            "bids" => (quote.bid, quote.bid_size) = field::best(value, "bids")?,
            "asks" => (quote.ask, quote.ask_size) = field::best(value, "asks")?,
            "ts" => quote.venue_time_ns = field::unix_millis(value, "ts")?,
            "seqId" => quote.sequence = field::id(value),
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(element: Json<'f>, name: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in element.members() {
        match name {
            "px" => trade.read_price(value, "px")?,
            "sz" => trade.size = field::size(value, "sz")?,
            "ts" => trade.venue_time_ns = field::unix_millis(value, "ts")?,
            "tradeId" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(name, "px").map(Event::Trade)
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
