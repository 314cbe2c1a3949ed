//! `KuCoin`'s unified account: `{"T":"ticker.SPOT","P":..,"d":{..}}`, in binary frames of plain JSON.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Ack, Book, Event, Invalid, Sink, VenueError, VenueQuote};
use super::taker_side;

/// A push; `topic` is a channel and a market: `ticker.SPOT`, `obu.FUTURES`.
pub(super) fn push<'f>(frame: Json<'f>, topic: &'f str, data: Json<'f>, sink: &mut Sink<'_>) {
    let channel = topic.split_once('.').map_or(topic, |(channel, _)| channel);
    match channel {
        "ticker" => field::emit_of(sink, data, "s", |name| ticker(data, name)),
        "trade" => field::emit_of(sink, data, "s", |name| trade(data, name)),
        "obu" => {
            let snapshot = frame.get_string("t") != Some("delta");
            sink(Event::Book(Book {
                instrument: data.get_string("s"),
                snapshot,
            }));
            if snapshot && frame.get("dp").and_then(Json::text) == Some("1") {
                field::emit_of(sink, data, "s", |name| best(data, name));
            }
        }
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// What is said of the connection and of requests:
/// `{"sessionId":"..","message":"welcome","pingInterval":18000}`, `{"id":"..","result":true}`.
pub(super) fn answer(frame: Json<'_>) -> Option<Event<'_>> {
    let done = Event::Ack(Ack {
        channel: None,
        instrument: None,
    });
    if let Some(method) = frame.get_string("action") {
        return Some(Event::Request { method });
    }
    if frame.get("sessionId").is_some() && frame.get_string("message") == Some("welcome") {
        return Some(done);
    }
    // Documented as text, sent as a truth value.
    let result = frame.get("result")?;
    match (result.boolean(), result.string()) {
        (Some(true), _) | (_, Some("true")) => Some(done),
        (Some(false), _) | (_, Some("false")) => Some(Event::Error(VenueError {
            code: frame.get("code").and_then(Json::text),
            message: frame
                .get_string("message")
                .or_else(|| frame.get_string("reason"))
                .unwrap_or_default(),
            instrument: None,
        })),
        _ => None,
    }
}

fn ticker<'f>(data: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in data.members() {
        match name {
            "b" => quote.bid = field::price(value, "b")?,
            "B" => quote.bid_size = field::size(value, "B")?,
            "a" => quote.ask = field::price(value, "a")?,
            "A" => quote.ask_size = field::size(value, "A")?,
            "l" => quote.last = field::price(value, "l")?,
            "q" => quote.last_size = field::size(value, "q")?,
            "E" => quote.sequence = field::id(value),
            "M" => quote.venue_time_ns = field::unix_nanos(value, "M")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn best<'f>(data: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in data.members() {
        match name {
            "b" => (quote.bid, quote.bid_size) = field::best(value, "b")?,
            "a" => (quote.ask, quote.ask_size) = field::best(value, "a")?,
            "C" => quote.sequence = field::id(value),
            "M" => quote.venue_time_ns = field::unix_nanos(value, "M")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(data: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in data.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "q" => trade.size = field::size(value, "q")?,
            "ti" => trade.sequence = field::id(value),
            "M" => trade.venue_time_ns = field::unix_nanos(value, "M")?,
            "S" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(name, "p").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{WRONG_COUNTS, WRONG_PRICES, dec, events, is, refused};
    use super::super::super::{Parser, Reason, Side, VenueId, VenueTrade};
    use super::*;

    const VENUE: &str = "kucoin";

    const TICKER: &str = r#"{"T":"ticker.SPOT","P":1768206966101166007,"d":{"A":"0.97675941","B":"0.02052839","E":25958853459,
        "M":1768206966096000000,"S":"BUY","a":"90968.2","b":"90968.1","l":"90968.2","q":"0.00109929","s":"BTC-USDT"}}"#;

    #[test]
    fn a_ticker_is_a_quote_in_a_text_or_a_binary_frame() {
        let quote = Event::Quote(VenueQuote {
            bid: dec("90968.1"),
            ask: dec("90968.2"),
            last: dec("90968.2"),
            bid_size: dec("0.02052839"),
            ask_size: dec("0.97675941"),
            last_size: dec("0.00109929"),
            venue_time_ns: Some(1_768_206_966_096_000_000),
            sequence: Some(25_958_853_459),
            ..VenueQuote::new("BTC-USDT")
        });
        is(VENUE, TICKER, quote);
        let venue = VenueId::from_name(VENUE).expect("a venue of the table");
        let mut count = 0;
        let result = Parser::new().parse_binary(venue, TICKER.as_bytes(), &mut |event| {
            assert_eq!(event, quote);
            count += 1;
        });
        assert_eq!((result, count), (Ok(()), 1));
    }

    #[test]
    fn a_trade_has_its_own_id_and_the_takers_side() {
        is(
            VENUE,
            r#"{"T":"trade.SPOT","P":1768206966101166007,"d":{"s":"BTC-USDT","E":25958853459,"ti":11067996711960577,
                "p":"90968.2","q":"0.5","S":"SELL","M":1768206966096000000}}"#,
            Event::Trade(VenueTrade {
                instrument: "BTC-USDT",
                price: dec("90968.2").expect("a price"),
                size: dec("0.5"),
                side: Some(Side::Sell),
                venue_time_ns: Some(1_768_206_966_096_000_000),
                sequence: Some(11_067_996_711_960_577),
                snapshot: false,
            }),
        );
    }

    #[test]
    fn level_one_is_a_book_and_a_quote_and_other_depths_are_books() {
        let frame = |depth: &str, kind: &str| {
            format!(
                r#"{{"T":"obu.FUTURES","dp":"{depth}","t":"{kind}","P":2,"d":{{"s":"XBTUSDTM","O":7,"C":9,"M":1768206966096000000,
                    "a":[["86199","17"]],"b":[["86198","166"]]}}}}"#
            )
        };
        let book = |snapshot| {
            Event::Book(Book {
                instrument: Some("XBTUSDTM"),
                snapshot,
            })
        };
        let count = events(VENUE, &frame("1", "snapshot"), |i, event| match i {
            0 => assert_eq!(event, book(true)),
            _ => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid: dec("86198"),
                    ask: dec("86199"),
                    bid_size: dec("166"),
                    ask_size: dec("17"),
                    venue_time_ns: Some(1_768_206_966_096_000_000),
                    sequence: Some(9),
                    ..VenueQuote::new("XBTUSDTM")
                })
            ),
        });
        assert_eq!(count, Ok(2));
        is(VENUE, &frame("increment@10ms", "snapshot"), book(true));
        is(VENUE, &frame("increment@10ms", "delta"), book(false));
        is(VENUE, &frame("50", "snapshot"), book(true));
    }

    #[test]
    fn nothing_wrong_passes() {
        for (wrong, reason) in WRONG_PRICES {
            let trade = format!(r#"{{"T":"trade.SPOT","d":{{"s":"A-B","p":{wrong}}}}}"#);
            refused(VENUE, &trade, reason.unwrap_or(Reason::ZeroPrice), Some("p"));
            let ticker = format!(r#"{{"T":"ticker.SPOT","d":{{"s":"A-B","b":{wrong}}}}}"#);
            let (reason, field) = reason.map_or((Reason::NoPrice, None), |reason| (reason, Some("b")));
            refused(VENUE, &ticker, reason, field);
        }
        for (wrong, reason) in WRONG_COUNTS {
            let ticker = format!(r#"{{"T":"ticker.SPOT","d":{{"s":"A-B","b":"1","M":{wrong}}}}}"#);
            refused(VENUE, &ticker, reason, Some("M"));
        }
        refused(
            VENUE,
            r#"{"T":"ticker.SPOT","d":{"b":"1"}}"#,
            Reason::MissingField,
            Some("s"),
        );
    }

    #[test]
    fn answers_are_known_for_what_they_are() {
        let ack = Event::Ack(Ack {
            channel: None,
            instrument: None,
        });
        for frame in [
            r#"{"sessionId":"e8e46556-ae1d-4871-be0b-4efeaa5f2f6a","message":"welcome","pingInterval":18000}"#,
            r#"{"id":"p1","result":true}"#,
            r#"{"id":"p1","result":"true"}"#,
        ] {
            is(VENUE, frame, ack);
        }
        for (frame, message) in [
            (
                r#"{"id":"p18","result":false,"message":"invalid request data"}"#,
                "invalid request data",
            ),
            (
                r#"{"id":"p20","result":false,"reason":"topic not allowed"}"#,
                "topic not allowed",
            ),
            (r#"{"id":"p20","result":"false"}"#, ""),
        ] {
            is(
                VENUE,
                frame,
                Event::Error(VenueError {
                    code: None,
                    message,
                    instrument: None,
                }),
            );
        }
        is(
            VENUE,
            r#"{"type":"pong","id":"p32","ts":1790113111261396000}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"id":"p1","action":"SUBSCRIBE","channel":"obu","tradeType":"SPOT","symbol":"BTC-USDT","depth":"1"}"#,
            Event::Request { method: "SUBSCRIBE" },
        );
        is(
            VENUE,
            r#"{"T":"kline.SPOT","P":1,"d":{"s":"BTC-USDT"}}"#,
            Event::Ignored { kind: "kline" },
        );
    }
}
