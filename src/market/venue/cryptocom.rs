//! Crypto.com Exchange: API v1 (`wss://stream.crypto.com/exchange/v1/market`) and, before it,
//! v2 (`wss://stream.crypto.com/v2/market`).
//!
//! | field | unit, form |
//! |---|---|
//! | message | `method`, `code`, `result`; a push is `"method":"subscribe"` with `result.channel` and `result.data[]` |
//! | prices, sizes | v1: decimal strings; v2: JSON numbers, read from their text |
//! | `t` | Unix milliseconds, of tickers and trades |
//! | ticker: `b`, `k`, `a`, `bs`, `ks` | best bid, best ask, last trade; sizes at bid and ask (v1 only). `c` is the day's change and no price |
//! | quote sequence | none (`u` numbers books only) |
//! | trade sequence | `d`; one taker's fills of a perpetual may share it |
//! | `s` of a trade | the taker's side: `BUY`, `SELL` |
//! | whole book | channel `book`; changes come as `book.update` |
//!
//! The first push after a subscription to `trade` holds the latest 100 trades, up to minutes old,
//! newest first, in the very form of every later push: nothing in the message tells them apart,
//! so none of a push is marked as history, and `t` must tell their age. Trades of a REST answer
//! are history.
//!
//! `public/heartbeat` comes every 30 s and must be answered within 5 s with its own id.
//! A last price may lie outside bid and ask, and `b`, `k`, `a` may be null.
//!
//! Documented at exchange-docs.crypto.com/exchange/v1/rest-ws (v2: /spot).

mod live;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    message(frame, None, sink)
}

/// A message of a socket, or a REST answer: both come in the same envelope. `asked` is the
/// instrument that a REST answer was asked for.
fn message<'f>(frame: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let method = frame.get_string("method");
    if method == Some("public/heartbeat") {
        // Without an id it cannot be answered, but it is a sign of life.
        sink(match frame.get("id").and_then(Json::text) {
            Some(text) => Event::Challenge { text },
            None => Event::Heartbeat,
        });
        return Ok(());
    }
    if let Some(fault) = fault(frame) {
        sink(fault);
        return Ok(());
    }
    let result = frame.get("result").filter(|result| !result.is_null());
    match (method, result) {
        (_, Some(result)) if result.get("channel").is_some() => push(result, sink),
        (Some(method), _) if method.starts_with("public/get-") => {
            answer(method, result, asked, sink);
        }
        (Some(method), None) if frame.get("code").is_none() => sink(Event::Request { method }),
        (Some(_), _) => {
            let channel = frame.get_string("channel");
            sink(Event::Ack(Ack {
                channel,
                instrument: channel.and_then(instrument_of),
            }));
        }
        (None, Some(_)) if frame.get("code").is_some() => sink(Event::Ignored { kind: "result" }),
        (None, _) => return Err(Invalid::frame(Reason::UnknownShape)),
    }
    Ok(())
}

/// A refusal: `code` other than 0, or what the gateway in front of the venue says:
/// `{"timestamp":"..","status":404,"error":"Not Found","path":".."}`.
fn fault(frame: Json<'_>) -> Option<Event<'_>> {
    let code = frame.get("code").and_then(Json::text);
    if let Some(code) = code.filter(|code| *code != "0") {
        let text = |name| frame.get_string(name);
        return Some(Event::Error(VenueError {
            code: Some(code),
            message: text("message").or_else(|| text("msg")).unwrap_or_default(),
            instrument: text("channel").and_then(instrument_of),
        }));
    }
    let error = frame.get_string("error")?;
    Some(Event::Error(VenueError {
        code: frame.get("status").and_then(Json::text),
        message: frame
            .get_string("message")
            .filter(|message| !message.is_empty())
            .unwrap_or(error),
        instrument: None,
    }))
}

/// The instrument in a name of a channel: `ticker.X`, `trade.X`, `book.X.50`, `candlestick.1m.X`.
fn instrument_of(channel: &str) -> Option<&str> {
    let mut parts = channel.split('.');
    let kind = parts.next()?;
    if kind == "candlestick" {
        parts.next();
    }
    parts.next().filter(|instrument| !instrument.is_empty())
}

/// What a subscription brings.
fn push(result: Json<'_>, sink: &mut Sink<'_>) {
    let Some(channel) = result.get_string("channel") else {
        return field::emit(sink, None, Err(Invalid::field("channel", Reason::WrongType)));
    };
    let whose = result
        .get_string("instrument_name")
        .filter(|name| !name.is_empty());
    match channel {
        "ticker" => each(result, whose, channel, sink, |element, name| {
            ticker(element, name)
        }),
        "trade" => each(result, whose, channel, sink, |element, name| {
            trade(element, name, false)
        }),
        "book" | "book.update" => sink(Event::Book(Book {
            instrument: whose,
            snapshot: channel == "book",
        })),
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// The answer to a request for public data.
fn answer<'f>(method: &'f str, result: Option<Json<'f>>, asked: Option<&'f str>, sink: &mut Sink<'_>) {
    let Some(result) = result else {
        return sink(Event::Ignored { kind: method });
    };
    match method {
        "public/get-tickers" | "public/get-ticker" => {
            each(result, asked, method, sink, ticker);
        }
        "public/get-trades" => each(result, asked, method, sink, |element, name| {
            trade(element, name, true)
        }),
        "public/get-book" => {
            let own = result.get_string("instrument_name");
            sink(Event::Book(Book {
                instrument: own.filter(|own| !own.is_empty()).or(asked),
                snapshot: true,
            }));
        }
        _ => sink(Event::Ignored { kind: method }),
    }
}

/// Every element of `data`; `whose` names those that do not name themselves. A v2 answer about
/// one instrument has the element itself for `data`.
fn each<'f>(
    result: Json<'f>,
    whose: Option<&'f str>,
    kind: &'f str,
    sink: &mut Sink<'_>,
    read: impl Fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    let Some(data) = result.get("data") else {
        return field::emit(sink, whose, Err(Invalid::field("data", Reason::MissingField)));
    };
    let mut one = |element: Json<'f>| {
        let name = field::asked(element, "i", whose);
        field::emit(sink, name.ok(), name.and_then(|name| read(element, name)));
    };
    if data.is_object() {
        one(data);
    } else if !data.is_array() {
        field::emit(sink, whose, Err(Invalid::field("data", Reason::WrongType)));
    } else if data.elements().left() == 0 {
        // An instrument that never traded, or one that the venue does not have.
        sink(Event::Ignored { kind });
    } else {
        data.elements().for_each(one);
    }
}

fn ticker<'f>(element: Json<'f>, instrument: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(instrument);
    for (name, value) in element.members() {
        match name {
            "b" => quote.bid = field::price(value, "b")?,
            "bs" => quote.bid_size = field::size(value, "bs")?,
            "k" => quote.ask = field::price(value, "k")?,
            "ks" => quote.ask_size = field::size(value, "ks")?,
            "a" => quote.last = field::price(value, "a")?,
            "t" => quote.venue_time_ns = field::unix_millis(value, "t")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(element: Json<'f>, instrument: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in element.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "q" => trade.size = field::size(value, "q")?,
            "t" => trade.venue_time_ns = field::unix_millis(value, "t")?,
            "d" => trade.sequence = field::id(value),
            "s" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(instrument, "p").map(Event::Trade)
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "BUY" | "buy" => Some(Side::Buy),
        "SELL" | "sell" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::VenueTrade;
    use super::super::testing::{dec, events, is, refused};
    use super::*;

    const VENUE: &str = "cryptocom";

    fn pushed(channel: &str, data: &str) -> String {
        format!(
            r#"{{"id":-1,"method":"subscribe","code":0,"result":{{"instrument_name":"BTC_USD","subscription":"{channel}.BTC_USD","channel":"{channel}","data":{data}}}}}"#
        )
    }

    #[test]
    fn a_ticker_of_either_version_is_a_quote() {
        let quote = VenueQuote {
            bid: dec("51170"),
            ask: dec("51180"),
            last: dec("51174.5"),
            venue_time_ns: Some(1_613_580_710_768_000_000),
            ..VenueQuote::new("BTC_USD")
        };
        is(
            VENUE,
            &pushed(
                "ticker",
                r#"[{"h":"51790.00","l":"47895.50","a":"51174.500000","c":"0.03955106","b":"51170.000000","bs":"0.1000",
                    "k":"51180.000000","ks":"0.2000","i":"BTC_USD","v":"879.5024","vv":"26370000.12","oi":"12345.12","t":1613580710768}]"#,
            ),
            Event::Quote(VenueQuote {
                bid_size: dec("0.1"),
                ask_size: dec("0.2"),
                ..quote
            }),
        );
        // v2: numbers, no sizes, an envelope without an id.
        is(
            VENUE,
            r#"{"code":0,"method":"subscribe","result":{"instrument_name":"BTC_USD","subscription":"ticker.BTC_USD","channel":"ticker",
                "data":[{"i":"BTC_USD","b":51170.0,"k":5.118e4,"a":51174.50,"t":1613580710768,"v":879.5,"h":51790.00,"l":47895.5,"c":-0.0144}]}}"#,
            Event::Quote(quote),
        );
        // The message names an element that does not name itself.
        is(
            VENUE,
            &pushed(
                "ticker",
                r#"[{"b":"51170","k":"51180","a":"51174.5","t":1613580710768}]"#,
            ),
            Event::Quote(quote),
        );
    }

    #[test]
    fn an_empty_or_bad_side_never_becomes_a_price() {
        let frame = |bid: &str, ask: &str| pushed("ticker", &format!(r#"[{{"b":{bid},"k":{ask}}}]"#));
        for empty in ["null", "\"\"", "0", "\"0\"", "0.0000", "0e9"] {
            is(
                VENUE,
                &frame(empty, "2"),
                Event::Quote(VenueQuote {
                    ask: dec("2"),
                    ..VenueQuote::new("BTC_USD")
                }),
            );
            refused(VENUE, &frame(empty, empty), Reason::NoPrice, None);
        }
        for (bad, reason) in [
            ("-1", Reason::Negative),
            ("\"-0.0001\"", Reason::Negative),
            ("\"NaN\"", Reason::BadNumber),
            ("\"inf\"", Reason::BadNumber),
            ("\"1e999\"", Reason::BadNumber),
            ("\"0x10\"", Reason::BadNumber),
            ("false", Reason::WrongType),
            ("[1]", Reason::WrongType),
            ("{\"p\":1}", Reason::WrongType),
        ] {
            refused(VENUE, &frame("1", bad), reason, Some("k"));
        }
        is(
            VENUE,
            &frame("1.23456789012345678901234567890", "\"1E-8\""),
            Event::Quote(VenueQuote {
                bid: dec("1.23456789012345678"),
                ask: dec("0.00000001"),
                ..VenueQuote::new("BTC_USD")
            }),
        );
    }

    #[test]
    fn a_time_is_milliseconds_or_refused() {
        let frame = |time: &str| pushed("ticker", &format!(r#"[{{"b":1,"t":{time}}}]"#));
        for (time, nanos) in [
            ("0", None),
            ("null", None),
            ("\"1613580710768\"", Some(1_613_580_710_768_000_000)),
            ("4102444800000", Some(4_102_444_800_000_000_000)),
        ] {
            is(
                VENUE,
                &frame(time),
                Event::Quote(VenueQuote {
                    bid: dec("1"),
                    venue_time_ns: nanos,
                    ..VenueQuote::new("BTC_USD")
                }),
            );
        }
        for bad in [
            "-1",
            "1613580710768.5",
            "1.6e12",
            "\"\"",
            "\"2021-02-17T16:51:50Z\"",
            "18446744073709551615",
        ] {
            refused(VENUE, &frame(bad), Reason::BadTime, Some("t"));
        }
        refused(VENUE, &frame("{}"), Reason::WrongType, Some("t"));
    }

    #[test]
    fn every_trade_of_a_push_is_one_and_a_bad_one_spoils_no_other() {
        let trade = VenueTrade {
            instrument: "BTC_USD",
            price: dec("20432.51").expect("a price"),
            size: dec("0.01163"),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_667_320_314_770_000_000),
            sequence: Some(4_611_686_018_428_108_636),
            snapshot: false,
        };
        let frame = pushed(
            "trade",
            r#"[{"d":"4611686018428108636","t":1667320314770,"p":"20432.51","q":"0.01163","s":"SELL","i":"BTC_USD"},
                {"d":"1","p":"0","i":"BTC_USD"},7,{"d":"2","i":""},{"d":"3","i":9,"p":"1"},
                {"dataTime":1667320314771,"d":4611686018428108636,"s":"SELL","p":20432.51,"q":1.163e-2,"t":1667320314770,"i":"BTC_USD"}]"#,
        );
        let invalid = |instrument, field, reason| Event::Invalid {
            instrument,
            invalid: Invalid::field(field, reason),
        };
        let expected = [
            Event::Trade(trade),
            invalid(Some("BTC_USD"), "p", Reason::ZeroPrice),
            invalid(Some("BTC_USD"), "p", Reason::MissingField),
            invalid(None, "i", Reason::MissingField),
            invalid(None, "i", Reason::WrongType),
            Event::Trade(trade),
        ];
        let count = events(VENUE, &frame, |i, event| assert_eq!(event, expected[i]));
        assert_eq!(count, Ok(expected.len()));
    }

    #[test]
    fn books_whole_and_changed_are_told_apart() {
        for (channel, snapshot) in [("book", true), ("book.update", false)] {
            is(
                VENUE,
                &pushed(
                    channel,
                    r#"[{"update":{"asks":[["2750.20","0","0"]],"bids":[]},"t":1,"u":2,"pu":1}]"#,
                ),
                Event::Book(Book {
                    instrument: Some("BTC_USD"),
                    snapshot,
                }),
            );
        }
    }

    #[test]
    fn a_heartbeat_is_a_challenge_with_its_id() {
        for frame in [
            r#"{"id":1587523073344,"method":"public/heartbeat","code":0}"#,
            r#"{"id":1587523073344,"method":"public/heartbeat"}"#,
            r#"{"method":"public/heartbeat","id":"1587523073344"}"#,
        ] {
            is(
                VENUE,
                frame,
                Event::Challenge {
                    text: "1587523073344",
                },
            );
        }
        is(VENUE, r#"{"method":"public/heartbeat"}"#, Event::Heartbeat);
    }

    #[test]
    fn answers_are_acks_or_errors_with_the_instrument_of_their_channel() {
        for (frame, channel, instrument) in [
            (r#"{"id":1,"method":"subscribe","code":0}"#, None, None),
            (
                r#"{"id":1,"method":"subscribe","code":0,"channel":"ticker.BTC_USD"}"#,
                Some("ticker.BTC_USD"),
                Some("BTC_USD"),
            ),
            (
                r#"{"id":1,"method":"unsubscribe","code":0,"channel":"book.BTCUSD-PERP.50"}"#,
                Some("book.BTCUSD-PERP.50"),
                Some("BTCUSD-PERP"),
            ),
        ] {
            is(VENUE, frame, Event::Ack(Ack { channel, instrument }));
        }
        let error = |code, message, instrument| {
            Event::Error(VenueError {
                code: Some(code),
                message,
                instrument,
            })
        };
        is(
            VENUE,
            r#"{"id":11,"method":"subscribe","code":40003,"channel":"candlestick.1m.NOPE_USD","message":"Unknown symbol"}"#,
            error("40003", "Unknown symbol", Some("NOPE_USD")),
        );
        is(
            VENUE,
            r#"{"id":9,"method":"subscribe","code":"40107","message":"Maximum subscriptions exceeded"}"#,
            error("40107", "Maximum subscriptions exceeded", None),
        );
        is(
            VENUE,
            r#"{"id":9,"method":"subscribe","code":10003}"#,
            error("10003", "", None),
        );
    }

    #[test]
    fn everything_else_is_known_for_what_it_is() {
        for method in ["subscribe", "unsubscribe", "public/respond-heartbeat"] {
            is(
                VENUE,
                &format!(r#"{{"id":1,"method":"{method}","params":{{"channels":["ticker.BTC_USD"]}}}}"#),
                Event::Request { method },
            );
        }
        for kind in ["candlestick", "mark", "index", "funding", "settlement", "news"] {
            is(VENUE, &pushed(kind, "[{}]"), Event::Ignored { kind });
        }
        is(VENUE, &pushed("trade", "[]"), Event::Ignored { kind: "trade" });
        refused(VENUE, &pushed("ticker", "7"), Reason::WrongType, Some("data"));
        refused(
            VENUE,
            r#"{"method":"subscribe","code":0,"result":{"channel":"ticker","instrument_name":"A"}}"#,
            Reason::MissingField,
            Some("data"),
        );
        refused(
            VENUE,
            r#"{"method":"subscribe","code":0,"result":{"channel":7}}"#,
            Reason::WrongType,
            Some("channel"),
        );
    }

    #[test]
    fn a_push_of_ten_thousand_trades_is_read_to_its_end() {
        let one = r#"{"p":1,"q":2}"#;
        let data = format!("[{}{one}]", format!("{one},").repeat(9_999));
        assert_eq!(events(VENUE, &pushed("trade", &data), |_, _| ()), Ok(10_000));
    }
}
