//! Bitstamp WebSocket v2 (`wss://ws.bitstamp.net`).
//!
//! | field | unit, form |
//! |---|---|
//! | prices, sizes | `price_str`, `amount_str`: decimal strings; `price`, `amount`: the same as binary floats printed (`5112.8500000000004`), used only if the string is absent |
//! | `microtimestamp` | Unix microseconds as a string |
//! | `timestamp` | not used: seconds on spot, milliseconds on perpetuals |
//! | levels of a book | `[price, amount]`, strings, best first |
//! | trade sequence | `id` |
//! | `type` of a trade | what the taker did: 0 bought, 1 sold |
//!
//! Bitstamp has no ticker channel. The full book of `order_book_*` (top 100, sent on a change,
//! at most a few times a second) gives bid and ask; `live_trades_*` gives the last price.

mod live;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use crate::market::decimal::Decimal;
use field::TradeFields;

/// What a channel name begins with; the instrument follows. Longer names before their own endings.
const CHANNELS: [&str; 6] = [
    "live_trades_",
    "detail_order_book_",
    "diff_order_book_",
    "order_book_",
    "live_orders_",
    "funding_rate_",
];

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let Some(event) = frame.get_string("event") else {
        return rest(frame, sink);
    };
    let (channel, instrument) = split(frame.get_string("channel").unwrap_or_default());
    match event {
        "trade" => trade(frame, instrument, sink),
        "data" | "snapshot" if channel.ends_with("order_book_") || has_levels(frame.get("data")) => {
            // The full book of either kind has the best bid and ask in front; a change has not.
            let full = matches!(channel, "order_book_" | "detail_order_book_");
            sink(Event::Book(Book {
                instrument,
                snapshot: full || event == "snapshot",
            }));
            if full {
                top(frame, instrument, sink);
            }
        }
        "bts:subscription_succeeded" | "bts:unsubscription_succeeded" => {
            let channel = Some(channel.trim_end_matches('_')).filter(|channel| !channel.is_empty());
            sink(Event::Ack(Ack { channel, instrument }));
        }
        "bts:heartbeat" => sink(Event::Heartbeat),
        "bts:request_reconnect" => sink(Event::Status { text: event }),
        "bts:error" => sink(error(frame.get("data"))),
        "bts:subscribe" | "bts:unsubscribe" => sink(Event::Request { method: event }),
        _ => sink(Event::Ignored { kind: event }),
    }
    Ok(())
}

/// `live_trades_btcusd` to `live_trades_` and `btcusd`.
fn split(channel: &str) -> (&str, Option<&str>) {
    for prefix in CHANNELS {
        if let Some(instrument) = channel
            .strip_prefix(prefix)
            .filter(|instrument| !instrument.is_empty())
        {
            return (prefix, Some(instrument));
        }
    }
    (channel, None)
}

/// Whether this is a book even though no channel says so.
fn has_levels(data: Option<Json<'_>>) -> bool {
    data.is_some_and(|data| data.get("bids").is_some() && data.get("asks").is_some())
}

/// What came without an event: a book or an error as REST sends them.
fn rest(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if frame.get("bids").is_some() && frame.get("asks").is_some() {
        sink(Event::Book(Book {
            instrument: None,
            snapshot: true,
        }));
    } else if frame.get("reason").is_some() || frame.get("error").is_some() {
        sink(error(Some(frame)));
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

fn trade<'f>(frame: Json<'f>, instrument: Option<&'f str>, sink: &mut Sink<'_>) {
    let read = || {
        let instrument = instrument.ok_or(Invalid::field("channel", Reason::MissingField))?;
        let data = frame
            .get("data")
            .ok_or(Invalid::field("data", Reason::MissingField))?;
        let mut trade = TradeFields::new(false);
        let (mut exact_price, mut exact_size) = (None, None);
        for (name, value) in data.members() {
            match name {
                "price_str" => {
                    trade.read_price(value, "price_str")?;
                    exact_price = trade.price;
                }
                "amount_str" => exact_size = field::size(value, "amount_str")?,
                "price" => trade.read_price(value, "price")?,
                "amount" => trade.size = field::size(value, "amount")?,
                "microtimestamp" => trade.venue_time_ns = field::unix_micros(value, "microtimestamp")?,
                "id" => trade.sequence = field::id(value),
                "type" => {
                    trade.side = match value.text() {
                        Some("0") => Some(Side::Buy),
                        Some("1") => Some(Side::Sell),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        trade.price = exact_price.or(trade.price);
        trade.size = exact_size.or(trade.size);
        trade.finish(instrument, "price_str").map(Event::Trade)
    };
    field::emit(sink, instrument, read());
}

/// The best bid and ask of a full book.
fn top<'f>(frame: Json<'f>, instrument: Option<&'f str>, sink: &mut Sink<'_>) {
    let read = || {
        let name = instrument.ok_or(Invalid::field("channel", Reason::MissingField))?;
        let data = frame
            .get("data")
            .ok_or(Invalid::field("data", Reason::MissingField))?;
        let mut quote = VenueQuote::new(name);
        for (name, value) in data.members() {
            match name {
                "bids" => (quote.bid, quote.bid_size) = best(value, "bids")?,
                "asks" => (quote.ask, quote.ask_size) = best(value, "asks")?,
                "microtimestamp" => quote.venue_time_ns = field::unix_micros(value, "microtimestamp")?,
                _ => {}
            }
        }
        quote.priced().map(Event::Quote)
    };
    field::emit(sink, instrument, read());
}

/// Price and amount of the first level; both absent if the side is empty.
fn best(levels: Json<'_>, side: &'static str) -> Result<(Option<Decimal>, Option<Decimal>), Invalid> {
    if !levels.is_array() {
        return Err(Invalid::field(side, Reason::WrongType));
    }
    let Some(level) = levels.elements().next() else {
        return Ok((None, None));
    };
    let mut level = level.elements();
    let (Some(price), Some(amount)) = (level.next(), level.next()) else {
        return Err(Invalid::field(side, Reason::WrongType));
    };
    Ok((field::price(price, side)?, field::size(amount, side)?))
}

/// `{"code":null,"message":".."}` on the socket, `{"code":"..","reason":".."}` or `{"error":".."}` at REST.
fn error(data: Option<Json<'_>>) -> Event<'_> {
    let text = |name| data.and_then(|data| data.get_string(name));
    let message = text("message")
        .or_else(|| text("reason"))
        .or_else(|| text("error"));
    Event::Error(VenueError {
        code: data.and_then(|data| data.get("code")).and_then(Json::text),
        message: message.unwrap_or_default(),
        instrument: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::VenueTrade;
    use super::super::testing::{dec, events, is, refused};
    use super::*;

    const VENUE: &str = "bitstamp";

    fn trade(price: &str, size: &str) -> VenueTrade<'static> {
        VenueTrade {
            instrument: "btcusd",
            price: dec(price).expect("a price"),
            size: dec(size),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_555_135_143_665_724_000),
            sequence: Some(85_658_352),
            snapshot: false,
        }
    }

    #[test]
    fn a_trade_is_read_from_the_strings_not_the_floats() {
        is(
            VENUE,
            r#"{"data": {"microtimestamp": "1555135143665724", "amount": 0.0015847299999999999, "amount_str": "0.00158473",
                "price_str": "5112.85", "timestamp": "1555135143", "price": 5112.8500000000004, "type": 1, "id": 85658352},
                "event": "trade", "channel": "live_trades_btcusd"}"#,
            Event::Trade(trade("5112.85", "0.00158473")),
        );
        is(
            VENUE,
            r#"{"event":"trade","channel":"live_trades_btcusd","data":{"id":85658352,"amount_str":"1E-8","amount":1e-08,
                "price":57748.8,"type":1,"microtimestamp":"1555135143665724"}}"#,
            Event::Trade(trade("57748.8", "0.00000001")),
        );
    }

    #[test]
    fn a_full_book_is_a_book_and_a_quote_of_its_first_levels() {
        for channel in ["order_book", "detail_order_book"] {
            let frame = format!(
                r#"{{"data":{{"timestamp":"1653978373","microtimestamp":"1653978373164007",
                    "bids":[["31524.50","0.36400000","15"],["31521.05","0.2"]],"asks":[["31535.44","0.31708837","16"]]}},
                    "channel":"{channel}_btcusd-perp","event":"data"}}"#
            );
            let count = events(VENUE, &frame, |i, event| match i {
                0 => assert_eq!(
                    event,
                    Event::Book(Book {
                        instrument: Some("btcusd-perp"),
                        snapshot: true
                    })
                ),
                _ => assert_eq!(
                    event,
                    Event::Quote(VenueQuote {
                        bid: dec("31524.5"),
                        ask: dec("31535.44"),
                        bid_size: dec("0.364"),
                        ask_size: dec("0.31708837"),
                        venue_time_ns: Some(1_653_978_373_164_007_000),
                        ..VenueQuote::new("btcusd-perp")
                    })
                ),
            });
            assert_eq!(count, Ok(2));
        }
    }

    #[test]
    fn an_empty_or_bad_book_gives_no_price() {
        let second = |data: &str| {
            let frame = format!(r#"{{"event":"data","channel":"order_book_ab","data":{data}}}"#);
            let mut found = None;
            let count = events(VENUE, &frame, |i, event| {
                if let (
                    1,
                    Event::Invalid {
                        instrument: Some("ab"),
                        invalid,
                    },
                ) = (i, event)
                {
                    found = Some((invalid.reason, invalid.field));
                }
            });
            assert_eq!(count, Ok(2), "{frame}");
            found
        };
        assert_eq!(second(r#"{"bids":[],"asks":[]}"#), Some((Reason::NoPrice, None)));
        assert_eq!(second("7"), Some((Reason::NoPrice, None)));
        assert_eq!(
            second(r#"{"bids":[["0","1"]],"asks":[["0.00","1"]]}"#),
            Some((Reason::NoPrice, None))
        );
        assert_eq!(
            second(r#"{"bids":{},"asks":[]}"#),
            Some((Reason::WrongType, Some("bids")))
        );
        assert_eq!(
            second(r#"{"bids":[["1"]],"asks":[]}"#),
            Some((Reason::WrongType, Some("bids")))
        );
        assert_eq!(
            second(r#"{"bids":[["1","1"]],"asks":[["-1","1"]]}"#),
            Some((Reason::Negative, Some("asks")))
        );
        assert_eq!(
            second(r#"{"bids":[["1","0.-1"]],"asks":[]}"#),
            Some((Reason::BadNumber, Some("bids")))
        );
        assert_eq!(
            second(r#"{"bids":[["1","1"]],"asks":[],"microtimestamp":"x"}"#),
            Some((Reason::BadTime, Some("microtimestamp")))
        );
        // One empty side is a quote of the other.
        let frame = r#"{"event":"data","channel":"order_book_ab","data":{"bids":[["1","2"]],"asks":[]}}"#;
        let quote = VenueQuote {
            bid: dec("1"),
            bid_size: dec("2"),
            ..VenueQuote::new("ab")
        };
        let count = events(VENUE, frame, |i, event| {
            assert!(i == 0 || event == Event::Quote(quote));
        });
        assert_eq!(count, Ok(2));
    }

    #[test]
    fn a_bad_trade_is_refused_by_name() {
        let frame = |data: &str| format!(r#"{{"event":"trade","channel":"live_trades_ab","data":{data}}}"#);
        refused(
            VENUE,
            &frame(r#"{"price_str":"-1"}"#),
            Reason::Negative,
            Some("price_str"),
        );
        refused(
            VENUE,
            &frame(r#"{"price_str":"0.-1"}"#),
            Reason::BadNumber,
            Some("price_str"),
        );
        refused(
            VENUE,
            &frame(r#"{"price_str":"0","price":0}"#),
            Reason::ZeroPrice,
            Some("price_str"),
        );
        refused(
            VENUE,
            &frame(r#"{"amount_str":"1"}"#),
            Reason::MissingField,
            Some("price_str"),
        );
        refused(
            VENUE,
            r#"{"event":"trade","channel":"live_trades_ab"}"#,
            Reason::MissingField,
            Some("data"),
        );
        refused(
            VENUE,
            r#"{"event":"trade","channel":"","data":{"price":1}}"#,
            Reason::MissingField,
            Some("channel"),
        );
    }

    #[test]
    fn everything_else_is_known_for_what_it_is() {
        let book = |instrument, snapshot| Event::Book(Book { instrument, snapshot });
        is(
            VENUE,
            r#"{"data":{"timestamp":"1622520011","microtimestamp":"1622520011989838","bids":[["1","0"]],"asks":[]},
                "channel":"diff_order_book_btcusd","event":"data"}"#,
            book(Some("btcusd"), false),
        );
        is(
            VENUE,
            r#"{"event":"data","channel":"","data":{"bids":[["1","1"]],"asks":[]}}"#,
            book(None, false),
        );
        is(
            VENUE,
            r#"{"event":"snapshot","channel":"diff_order_book_bchusd","data":{}}"#,
            book(Some("bchusd"), true),
        );
        is(
            VENUE,
            r#"{"timestamp":"1574865238","bids":[],"asks":[]}"#,
            book(None, true),
        );
        let ack = |channel, instrument| Event::Ack(Ack { channel, instrument });
        is(
            VENUE,
            r#"{"event":"bts:subscription_succeeded","channel":"order_book_btcusd-perp","data":{}}"#,
            ack(Some("order_book"), Some("btcusd-perp")),
        );
        is(
            VENUE,
            r#"{"event":"bts:unsubscription_succeeded","channel":"","data":{}}"#,
            ack(None, None),
        );
        is(
            VENUE,
            r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"event":"bts:request_reconnect","channel":"","data":""}"#,
            Event::Status {
                text: "bts:request_reconnect",
            },
        );
        is(
            VENUE,
            r#"{"event":"bts:error","channel":"","data":{"code":null,"message":"Bad subscription string."}}"#,
            Event::Error(VenueError {
                code: None,
                message: "Bad subscription string.",
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"event":"bts:error","channel":"","data":{"code":4009,"message":"Connection is unauthorized."}}"#,
            Event::Error(VenueError {
                code: Some("4009"),
                message: "Connection is unauthorized.",
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"event":"bts:subscribe","data":{"channel":"live_trades_btcusd"}}"#,
            Event::Request {
                method: "bts:subscribe",
            },
        );
        is(
            VENUE,
            r#"{"event":"order_created","channel":"live_orders_btcusd","data":{"id":1}}"#,
            Event::Ignored {
                kind: "order_created",
            },
        );
        is(
            VENUE,
            r#"{"event":"data","channel":"funding_rate_btcusd-perp","data":{}}"#,
            Event::Ignored { kind: "data" },
        );
    }
}
