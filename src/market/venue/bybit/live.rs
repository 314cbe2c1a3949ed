//! How Bybit is conversed with live, and its REST answers.
//!
//! Figures of the documentation (bybit-exchange.github.io/docs/v5/ws/connect): at most 500 new
//! connections in 5 minutes and address; spot takes at most 10 topics in one message, and all
//! topics of a connection together 21,000 characters; a ping every 20 seconds. REST: 600 requests
//! in 5 seconds and address.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueError, VenueQuote};
use super::{old, read_ticker, taker_side};

/// Topics in one message. Spot takes ten, but refuses all of them for one symbol that it does not
/// know ("Invalid symbol :[orderbook.1.X]").
const TOPICS_PER_MESSAGE: usize = 1;

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://stream.bybit.com/v5/public/spot",
    rest_url: "https://api.bybit.com",
    instruments_per_connection: 200,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(50),
    rest_gap: Duration::from_millis(50),
    ping_every: Some(Duration::from_secs(20)),
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| messages("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| messages("unsubscribe", instruments, id, out),
    ping: Some(|id| json!({"req_id": id.to_string(), "op": "ping"}).to_string()),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/v5/market/tickers?category=spot&symbol={instrument}"),
    token: None,
};

fn messages(op: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    for (id, some) in (id..).zip(instruments.chunks(TOPICS_PER_MESSAGE)) {
        let args: Vec<_> = some
            .iter()
            .map(|symbol| format!("orderbook.1.{symbol}"))
            .collect();
        out.push(json!({"req_id": id.to_string(), "op": op, "args": args}).to_string());
    }
}

pub(in super::super) fn parse_rest<'f>(
    frame: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if code(frame).is_some() && frame.get("op").is_none() && frame.get("topic").is_none() {
        return body(frame, asked, sink);
    }
    super::parse(frame, sink)
}

/// v5 `retCode`, v2 `ret_code`, spot v1 `code`.
fn code(frame: Json<'_>) -> Option<&str> {
    ["retCode", "ret_code", "code"]
        .iter()
        .find_map(|name| frame.get(name))
        .and_then(Json::text)
}

/// `{"retCode":0,"retMsg":"OK","result":{..},"time":1673859087947}`.
///
/// An element that names its symbol keeps that name: it is the stream's spelling, and an answer
/// about another symbol than the one asked for must not pass for it. A quote bears no sequence,
/// so that an unchanged one still renews what is known.
pub(super) fn body<'f>(frame: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let code = code(frame).ok_or(Invalid::frame(Reason::UnknownShape))?;
    if code != "0" {
        let message = ["retMsg", "ret_msg", "msg", "desc"]
            .iter()
            .find_map(|name| frame.get_string(name));
        sink(Event::Error(VenueError {
            code: Some(code),
            message: message.unwrap_or_default(),
            instrument: None,
        }));
        return Ok(());
    }
    let Some(result) = frame.get("result") else {
        return Err(Invalid::frame(Reason::UnknownShape));
    };
    let answer = Answer { frame, asked };
    if (result.get("b").is_some() && result.get("a").is_some())
        || (result.get("bids").is_some() && result.get("asks").is_some())
    {
        sink(Event::Book(Book {
            instrument: result.get_string("s").or(asked),
            snapshot: true,
        }));
        return Ok(());
    }
    let list = result.get("list").unwrap_or(result);
    let mut silent = true;
    if result.is_array() && is_level(list.elements().next()) {
        // v2 sends a book as a flat list of its levels.
        let first = list.elements().next();
        sink(Event::Book(Book {
            instrument: first.and_then(|level| level.get_string("symbol")).or(asked),
            snapshot: true,
        }));
        silent = false;
    } else {
        for element in list.elements() {
            silent &= !answer.element(element, sink);
        }
    }
    if silent && !list.is_array() {
        silent = !answer.element(list, sink);
    }
    if silent {
        sink(Event::Ignored { kind: "result" });
    }
    Ok(())
}

/// A level of a v2 book: a price, a side and a size, but neither a time nor an id.
fn is_level(element: Option<Json<'_>>) -> bool {
    element.is_some_and(|element| {
        let has = |name| element.get(name).is_some();
        has("price") && has("side") && has("size") && !has("time") && !has("execId")
    })
}

struct Answer<'f> {
    frame: Json<'f>,
    asked: Option<&'f str>,
}

impl<'f> Answer<'f> {
    /// Reads a ticker or a trade; tells whether it was one.
    fn element(&self, element: Json<'f>, sink: &mut Sink<'_>) -> bool {
        let has = |name| element.get(name).is_some();
        let symbol = match field::instrument(element, if has("s") { "s" } else { "symbol" }) {
            Err(invalid) if invalid.reason == Reason::MissingField => self.asked.ok_or(invalid),
            known => known,
        };
        let event = symbol.and_then(|symbol| {
            if has("execId") || (has("price") && has("time") && has("side")) {
                trade(element, symbol).map(Some)
            } else if has("bidQty") || has("askQty") {
                old::book_ticker(element, symbol).map(Some)
            } else if has("bid1Price") || has("ask1Price") || has("bidPrice") || has("lastPrice") {
                self.ticker(element, symbol).map(Some)
            } else if has("bid_price") || has("ask_price") || has("last_price") {
                let time = match self.frame.get("time_now") {
                    Some(time) => field::unix_seconds(time, "time_now")?,
                    None => None,
                };
                old::rest_ticker(element, symbol, time).map(Some)
            } else {
                Ok(None)
            }
        });
        match event {
            Ok(None) => return false,
            Ok(Some(event)) => sink(event),
            // Lists of other things have elements without a symbol.
            Err(_) if symbol.is_err() && !has("lastPrice") && !has("price") => return false,
            Err(invalid) => field::emit(sink, symbol.ok(), Err(invalid)),
        }
        true
    }

    fn ticker(&self, element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
        let mut quote = VenueQuote::new(symbol);
        read_ticker(element, &mut quote)?;
        // A ticker of REST has no time of its own; this is when it was answered.
        if let Some(time) = self.frame.get("time") {
            quote.venue_time_ns = field::unix_millis(time, "time")?;
        }
        quote.priced().map(Event::Quote)
    }
}

fn trade<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(true);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "size" => trade.size = field::size(value, "size")?,
            "qty" => trade.size = field::size(value, "qty")?,
            // v5 counts milliseconds, v2 writes a calendar time.
            "time" if value.text().is_some_and(|text| text.contains('T')) => {
                trade.venue_time_ns = field::rfc3339(value, "time")?;
            }
            "time" => trade.venue_time_ns = field::unix_millis(value, "time")?,
            "execId" | "id" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(symbol, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, rest, rest_events};
    use super::super::super::{Side, VenueTrade};
    use super::*;

    const VENUE: &str = "bybit";

    fn one(body: &str, expected: Event<'_>) {
        rest(VENUE, body, Some("BTCUSDT"), &[expected]);
    }

    #[test]
    fn the_messages_are_those_of_the_documentation() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["BTCUSDT", "ETHUSDT"], 7, &mut out);
        (DIALECT.unsubscribe)(&["BTCUSDT"], 9, &mut out);
        assert_eq!(
            out,
            [
                // Each alone: one unknown symbol has all of its message refused.
                r#"{"args":["orderbook.1.BTCUSDT"],"op":"subscribe","req_id":"7"}"#,
                r#"{"args":["orderbook.1.ETHUSDT"],"op":"subscribe","req_id":"8"}"#,
                r#"{"args":["orderbook.1.BTCUSDT"],"op":"unsubscribe","req_id":"9"}"#,
            ]
        );
        assert_eq!(
            DIALECT.ping.map(|ping| ping(3)).as_deref(),
            Some(r#"{"op":"ping","req_id":"3"}"#)
        );
        assert_eq!(
            (DIALECT.ticker_path)("BTCUSDT"),
            "/v5/market/tickers?category=spot&symbol=BTCUSDT"
        );
    }

    #[test]
    fn a_full_connection_stays_within_the_21000_characters_of_its_topics() {
        let longest = "1000000BABYDOGEUSDT1234567890";
        let topics = DIALECT.instruments_per_connection * format!("orderbook.1.{longest}").len();
        assert!(topics < 21_000);
    }

    #[test]
    fn a_rest_ticker_is_a_quote_as_of_the_answer() {
        let element = r#"{"symbol":"BTCUSDT","bid1Price":"20517.96","bid1Size":"2","ask1Price":"20527.77",
            "ask1Size":"1.862172","lastPrice":"20533.13","usdIndexPrice":"20784.12009279"}"#;
        let quote = Event::Quote(VenueQuote {
            bid: dec("20517.96"),
            ask: dec("20527.77"),
            last: dec("20533.13"),
            bid_size: dec("2"),
            ask_size: dec("1.862172"),
            venue_time_ns: Some(1_673_859_087_947_000_000),
            ..VenueQuote::new("BTCUSDT")
        });
        let body = |list: &str| {
            format!(
                r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{list}]}},"retExtInfo":{{}},"time":1673859087947}}"#
            )
        };
        for asked in [Some("BTCUSDT"), Some("ETHUSDT"), None] {
            let count = rest_events(VENUE, &body(element), asked, |_, event| assert_eq!(event, quote));
            assert_eq!(count, Ok(1));
        }
        let list = format!(r#"{element},{{"symbol":"X","lastPrice":"-1"}},{{"lastPrice":"1"}},{element}"#);
        let count = rest_events(VENUE, &body(&list), None, |i, event| match i {
            1 | 2 => assert_eq!(event.kind(), "invalid"),
            _ => assert_eq!(event, quote),
        });
        assert_eq!(count, Ok(4));
        let halted = r#"{"symbol":"BTCUSDT","bid1Price":"","ask1Price":"","lastPrice":"0"}"#;
        let count = rest_events(VENUE, &body(halted), None, |_, event| {
            assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("BTCUSDT"),
                    invalid: Invalid::frame(Reason::NoPrice)
                }
            );
        });
        assert_eq!(count, Ok(1));
    }

    #[test]
    fn other_bodies_are_known_for_what_they_are() {
        let book = |instrument| {
            Event::Book(Book {
                instrument: Some(instrument),
                snapshot: true,
            })
        };
        one(
            r#"{"retCode":0,"retMsg":"OK","result":{"s":"ETHUSDT","b":[["27450.50","1.500"]],"a":[],"ts":1709891679000,"u":1,"seq":9}}"#,
            book("ETHUSDT"),
        );
        one(
            r#"{"ret_code":0,"ret_msg":"OK","result":[{"symbol":"BTCUSD","price":"30440","size":31756,"side":"Buy"},
                {"symbol":"BTCUSD","price":"30440.5","size":666758,"side":"Sell"}],"time_now":"1654245002.615582"}"#,
            book("BTCUSD"),
        );
        let trade = VenueTrade {
            instrument: "BTCUSDT",
            price: dec("16618.49").expect("a price"),
            size: dec("0.00012"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_672_052_955_758_000_000),
            sequence: Some(2_100_000_000_007_764_263),
            snapshot: true,
        };
        one(
            r#"{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"execId":"2100000000007764263","symbol":"BTCUSDT",
                "price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758","isBlockTrade":false}]},"time":1}"#,
            Event::Trade(trade),
        );
        one(
            r#"{"ret_code":0,"result":[{"id":7724919,"symbol":"BTCUSD","price":9499.5,"qty":9500,"side":"Buy","time":"2019-11-19T08:03:04.077Z"}]}"#,
            Event::Trade(VenueTrade {
                instrument: "BTCUSD",
                price: dec("9499.5").expect("a price"),
                size: dec("9500"),
                venue_time_ns: Some(1_574_150_584_077_000_000),
                sequence: Some(7_724_919),
                ..trade
            }),
        );
        one(
            r#"{"ret_code":0,"ret_msg":"OK","result":[{"symbol":"BTCUSD","bid_price":"7230","ask_price":"7230.5","last_price":"7230.00"}],
                "time_now":"1577484619.817968"}"#,
            Event::Quote(VenueQuote {
                bid: dec("7230"),
                ask: dec("7230.5"),
                last: dec("7230"),
                venue_time_ns: Some(1_577_484_619_817_968_000),
                ..VenueQuote::new("BTCUSD")
            }),
        );
        for ignored in [
            r#"{"retCode":0,"result":{"category":"linear","symbol":"BTCUSDT","list":[["1709891679000","27450","27460"]]},"time":1}"#,
            r#"{"retCode":0,"result":{"category":"spot","list":[{"symbol":"BTCUSDT","baseCoin":"BTC","status":"Trading"}]}}"#,
            r#"{"retCode":0,"result":{"timeSecond":"1688639403","timeNano":"1688639403423213947"},"time":1688639403423}"#,
            r#"{"retCode":0,"result":{"list":[]}}"#,
            r#"{"ret_code":0,"result":null}"#,
        ] {
            one(ignored, Event::Ignored { kind: "result" });
        }
        for (body, code, message) in [
            (
                r#"{"retCode":10001,"retMsg":"Not supported symbols","result":{},"time":1672765319155}"#,
                "10001",
                "Not supported symbols",
            ),
            (
                r#"{"ret_code":10006,"ret_msg":"Too many visits!"}"#,
                "10006",
                "Too many visits!",
            ),
            (
                r#"{"code":"-100010","desc":"Invalid Symbols!"}"#,
                "-100010",
                "Invalid Symbols!",
            ),
        ] {
            one(
                body,
                Event::Error(VenueError {
                    code: Some(code),
                    message,
                    instrument: None,
                }),
            );
        }
    }
}
