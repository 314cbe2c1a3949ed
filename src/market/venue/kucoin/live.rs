//! How `KuCoin` is conversed with live, and its REST answers.
//!
//! Figures of the documentation (kucoin.com/docs-new, "Websocket" and "Rate limit"): an address
//! and a token by POST, good for 24 hours; 30 new connections a minute; 100 messages in 10
//! seconds and connection; 100 instruments in a topic and 400 on a connection, of which so few
//! are used that a lost connection silences few; nothing before its welcome. A connection that
//! was sent nothing for a minute is cut; how often to ping is in the token's answer.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Admission, Dialect, SequenceScope, TokenRequest};
use super::super::field;
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueError, VenueQuote};
use super::{read_day, read_ticker, trade};

/// Instruments that a topic takes.
const INSTRUMENTS_PER_TOPIC: usize = 100;

/// A ping more often than once a second gets the connection cut, one after a minute is too late.
const PING_MILLIS: std::ops::RangeInclusive<u64> = 1_000..=30_000;

pub(in super::super) static DIALECT: Dialect = Dialect {
    // As the token's answer names it; it is that answer that counts.
    stream_url: "wss://ws-api-spot.kucoin.com/",
    rest_url: "https://api.kucoin.com",
    instruments_per_connection: 25,
    connect_gap: Duration::from_secs(2),
    settle: Duration::from_secs(1),
    message_gap: Duration::from_millis(200),
    rest_gap: Duration::from_millis(100),
    ping_every: Some(Duration::from_secs(10)),
    // The token ends after 24 hours and the stream with it.
    max_life: Some(Duration::from_hours(22)),
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| messages("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| messages("unsubscribe", instruments, id, out),
    ping: Some(|id| json!({"id": id.to_string(), "type": "ping"}).to_string()),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/api/v1/market/orderbook/level1?symbol={instrument}"),
    token: Some(TokenRequest {
        path: "/api/v1/bullet-public",
        read: admission,
    }),
};

fn messages(kind: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    for (id, some) in (id..).zip(instruments.chunks(INSTRUMENTS_PER_TOPIC)) {
        let message = json!({
            "id": id.to_string(),
            "type": kind,
            "topic": format!("/market/ticker:{}", some.join(",")),
            "privateChannel": false,
            "response": true,
        });
        out.push(message.to_string());
    }
}

/// `{"code":"200000","data":{"token":"..","instanceServers":[{"endpoint":"wss://..","pingInterval":18000}]}}`.
fn admission(answer: Json<'_>, id: u64) -> Result<Admission, Invalid> {
    let missing = |name| Invalid::field(name, Reason::MissingField);
    let data = answer.get("data").ok_or(missing("data"))?;
    let token = data.get_string("token").filter(|token| !token.is_empty());
    let token = token.ok_or(missing("token"))?;
    let server = data
        .get("instanceServers")
        .and_then(|servers| servers.elements().next())
        .ok_or(missing("instanceServers"))?;
    let endpoint = server.get_string("endpoint").ok_or(missing("endpoint"))?;
    if !(endpoint.starts_with("wss://") || endpoint.starts_with("ws://"))
        || endpoint.contains(['?', '#'])
        || !endpoint.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(Invalid::field("endpoint", Reason::WrongType));
    }
    let ping = server
        .get("pingInterval")
        .and_then(field::id)
        .ok_or(missing("pingInterval"))?;
    Ok(Admission {
        url: format!("{endpoint}?token={}&connectId={id}", escaped(token)),
        ping_every: Duration::from_millis(ping.clamp(*PING_MILLIS.start(), *PING_MILLIS.end())),
    })
}

/// A value of a query, by RFC 3986; `=` may stand in one.
fn escaped(value: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~=".contains(&byte) {
            out.push(byte.into());
        } else {
            let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
            out.push('%');
            out.extend(digits.map(char::from));
        }
    }
    out
}

pub(in super::super) fn parse_rest<'f>(
    frame: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if frame.get("code").is_some() && frame.get("type").is_none() {
        return body(frame, asked, sink);
    }
    super::parse(frame, sink)
}

/// `{"code":"200000","data":{..}}`.
///
/// What names its symbol keeps that name: it is the stream's spelling, and an answer about
/// another symbol than the one asked for must not pass for it. A quote bears no sequence, so
/// that an unchanged one still renews what is known.
pub(super) fn body<'f>(frame: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let code = frame
        .get("code")
        .and_then(Json::text)
        .ok_or(Invalid::frame(Reason::UnknownShape))?;
    if code != "200000" {
        sink(Event::Error(VenueError {
            code: Some(code),
            message: frame.get_string("msg").unwrap_or_default(),
            instrument: None,
        }));
        return Ok(());
    }
    let Some(data) = frame.get("data") else {
        sink(Event::Ignored { kind: "code" });
        return Ok(());
    };
    let answer = Answer { data, asked };
    let list = ["ticker", "list"].iter().find_map(|name| data.get(name));
    let told = if data.get("bids").is_some() && data.get("asks").is_some() {
        sink(Event::Book(Book {
            instrument: data.get_string("symbol").or(asked),
            snapshot: true,
        }));
        true
    } else if let Some(list) = list.or(data.is_array().then_some(data)) {
        let mut told = false;
        for element in list.elements() {
            told |= answer.element(element, sink);
        }
        told
    } else {
        answer.element(data, sink)
    };
    if !told {
        sink(Event::Ignored { kind: "data" });
    }
    Ok(())
}

struct Answer<'f> {
    data: Json<'f>,
    asked: Option<&'f str>,
}

impl<'f> Answer<'f> {
    /// Reads a ticker or a trade; tells whether it was one.
    fn element(&self, element: Json<'f>, sink: &mut Sink<'_>) -> bool {
        let has = |name| element.get(name).is_some();
        let best = ["bestBid", "bestAsk", "bestBidPrice", "bestAskPrice"]
            .into_iter()
            .any(has);
        let day = has("buy") || has("sell") || has("last");
        let sold = has("price") && has("side") && has("sequence");
        if !(best || day || sold) {
            return false;
        }
        let name = match field::instrument(element, "symbol") {
            Err(invalid) if invalid.reason == Reason::MissingField => self.asked.ok_or(invalid),
            known => known,
        };
        let event = name.and_then(|name| {
            if sold && !best {
                return trade(element, name, true);
            }
            let mut quote = VenueQuote::new(name);
            if day {
                read_day(element, &mut quote)?;
            } else {
                read_ticker(element, &mut quote)?;
            }
            quote.venue_time_ns = self.time(element)?;
            quote.priced().map(Event::Quote)
        });
        field::emit(sink, name.ok(), event);
        true
    }

    /// Spot has `time`, futures `ts`; a list has its time once, in milliseconds by either name.
    fn time(&self, element: Json<'f>) -> Result<Option<u64>, Invalid> {
        if let Some(time) = element.get("time") {
            return field::unix_millis(time, "time");
        }
        if let Some(time) = element.get("ts") {
            return field::unix_nanos(time, "ts");
        }
        let list = ["time", "ts"]
            .into_iter()
            .find_map(|name| Some((name, self.data.get(name)?)));
        list.map_or(Ok(None), |(name, time)| field::unix_millis(time, name))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, rest, rest_events};
    use super::super::super::{Parser, Side, VenueId, VenueTrade};
    use super::*;

    const VENUE: &str = "kucoin";

    fn one(body: &str, expected: Event<'_>) {
        rest(VENUE, body, Some("BTC-USDT"), &[expected]);
    }

    #[test]
    fn the_messages_are_those_of_the_documentation() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["BTC-USDT", "ETH-USDT"], 7, &mut out);
        (DIALECT.unsubscribe)(&["BTC-USDT"], 8, &mut out);
        assert_eq!(
            out,
            [
                r#"{"id":"7","privateChannel":false,"response":true,"topic":"/market/ticker:BTC-USDT,ETH-USDT","type":"subscribe"}"#,
                r#"{"id":"8","privateChannel":false,"response":true,"topic":"/market/ticker:BTC-USDT","type":"unsubscribe"}"#,
            ]
        );
        out.clear();
        (DIALECT.subscribe)(&["A-B"; 201], 1, &mut out);
        assert_eq!(out.len(), 3);
        assert!(out[2].contains(r#""id":"3""#) && out[2].contains(r#""topic":"/market/ticker:A-B""#));
        assert_eq!(
            DIALECT.ping.map(|ping| ping(3)).as_deref(),
            Some(r#"{"id":"3","type":"ping"}"#)
        );
        assert_eq!(
            (DIALECT.ticker_path)("BTC-USDT"),
            "/api/v1/market/orderbook/level1?symbol=BTC-USDT"
        );
    }

    fn admit(body: &str) -> Result<Admission, Invalid> {
        let venue = VenueId::from_name(VENUE).expect("a venue of the table");
        Parser::new().parse_token(venue, body.as_bytes(), 42)
    }

    #[test]
    fn a_token_gives_an_address_and_how_often_to_ping() {
        let body = |token: &str, ping: &str| {
            format!(
                r#"{{"code":"200000","data":{{"token":"{token}","instanceServers":[{{"endpoint":"wss://ws-api-spot.kucoin.com/",
                    "encrypt":true,"protocol":"websocket","pingInterval":{ping},"pingTimeout":10000}}]}}}}"#
            )
        };
        assert_eq!(
            admit(&body("2neAiuYv-_A4=.WNQm==", "18000")),
            Ok(Admission {
                url: "wss://ws-api-spot.kucoin.com/?token=2neAiuYv-_A4=.WNQm==&connectId=42".to_owned(),
                ping_every: Duration::from_secs(18),
            })
        );
        // What could end the value of a query is escaped.
        let url = admit(&body("a&b#c d+é", "18000")).map(|admission| admission.url);
        assert_eq!(
            url.as_deref(),
            Ok("wss://ws-api-spot.kucoin.com/?token=a%26b%23c%20d%2B%C3%A9&connectId=42")
        );
        for (told, kept) in [
            ("0", 1),
            ("1", 1),
            ("1000", 1),
            ("50000", 30),
            ("18446744073709551615", 30),
        ] {
            let ping = admit(&body("t", told)).map(|admission| admission.ping_every);
            assert_eq!(ping, Ok(Duration::from_secs(kept)), "{told}");
        }
    }

    #[test]
    fn a_token_that_is_none_is_refused_by_name() {
        for (body, field, reason) in [
            (
                r#"{"code":"429000","msg":"too many request"}"#,
                "data",
                Reason::MissingField,
            ),
            (
                r#"{"code":"200000","data":{"instanceServers":[{"endpoint":"wss://a/","pingInterval":18000}]}}"#,
                "token",
                Reason::MissingField,
            ),
            (
                r#"{"data":{"token":"","instanceServers":[]}}"#,
                "token",
                Reason::MissingField,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[]}}"#,
                "instanceServers",
                Reason::MissingField,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[{"pingInterval":18000}]}}"#,
                "endpoint",
                Reason::MissingField,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[{"endpoint":"https://a/","pingInterval":18000}]}}"#,
                "endpoint",
                Reason::WrongType,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[{"endpoint":"wss://a b/","pingInterval":18000}]}}"#,
                "endpoint",
                Reason::WrongType,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[{"endpoint":"wss://a/?x=1","pingInterval":18000}]}}"#,
                "endpoint",
                Reason::WrongType,
            ),
            (
                r#"{"data":{"token":"t","instanceServers":[{"endpoint":"wss://a/"}]}}"#,
                "pingInterval",
                Reason::MissingField,
            ),
        ] {
            assert_eq!(admit(body), Err(Invalid::field(field, reason)), "{body}");
        }
        assert_eq!(admit("<html>"), Err(Invalid::frame(Reason::NotJson)));
    }

    #[test]
    fn a_rest_ticker_is_a_quote_of_what_was_asked_for() {
        let body = r#"{"code":"200000","data":{"time":1729172965609,"sequence":"14609309753","price":"67269","size":"0.000025",
            "bestBid":"67267.5","bestBidSize":"0.000025","bestAsk":"67267.6","bestAskSize":"1.24808993"}}"#;
        one(
            body,
            Event::Quote(VenueQuote {
                bid: dec("67267.5"),
                ask: dec("67267.6"),
                last: dec("67269"),
                bid_size: dec("0.000025"),
                ask_size: dec("1.24808993"),
                last_size: dec("0.000025"),
                venue_time_ns: Some(1_729_172_965_609_000_000),
                ..VenueQuote::new("BTC-USDT")
            }),
        );
        let count = rest_events(VENUE, body, None, |_, event| {
            assert_eq!(
                event,
                Event::Invalid {
                    instrument: None,
                    invalid: Invalid::field("symbol", Reason::MissingField)
                }
            );
        });
        assert_eq!(count, Ok(1));
        // An unknown symbol is answered so.
        one(
            r#"{"code":"200000","data":null}"#,
            Event::Ignored { kind: "data" },
        );
    }

    #[test]
    fn lists_of_tickers_are_quotes_under_their_own_names() {
        let quote = VenueQuote {
            bid: dec("11328.9"),
            ask: dec("11329"),
            last: dec("11328.9"),
            bid_size: dec("0.1"),
            ask_size: dec("1"),
            venue_time_ns: Some(1_602_832_092_060_000_000),
            ..VenueQuote::new("BTC-USDT")
        };
        let all = r#"{"code":"200000","data":{"time":1602832092060,"ticker":[{"symbol":"BTC-USDT","symbolName":"BTC-USDT",
            "buy":"11328.9","bestBidSize":"0.1","sell":"11329","bestAskSize":"1","changeRate":"-0.0055","changePrice":"-63.6",
            "last":"11328.9","averagePrice":"11360.66065903"},{"symbol":"OLD-BTC","buy":null,"sell":null,"last":null},
            {"symbol":"X-Y","buy":"-1"}]}}"#;
        let count = rest_events(VENUE, all, Some("ETH-USDT"), |i, event| match i {
            0 => assert_eq!(event, Event::Quote(quote)),
            _ => assert_eq!(event.kind(), "invalid"),
        });
        assert_eq!(count, Ok(3));
        one(
            r#"{"code":"200000","data":{"tradeType":"SPOT","ts":1602832092060,"list":[{"symbol":"BTC-USDT","bestBidSize":"0.1",
                "bestBidPrice":"11328.9","bestAskSize":"1","bestAskPrice":"11329","lastPrice":"11328.9","size":"0.5"}]}}"#,
            Event::Quote(VenueQuote {
                last_size: dec("0.5"),
                ..quote
            }),
        );
        one(
            r#"{"code":"200000","data":[{"sequence":1707992727046,"symbol":"XBTUSDTM","side":"sell","size":21,"price":"11328.9",
                "bestBidPrice":"11328.9","bestBidSize":0.1,"bestAskPrice":"11329","bestAskSize":1,"ts":1602832092060000000}]}"#,
            Event::Quote(VenueQuote {
                instrument: "XBTUSDTM",
                last_size: dec("21"),
                ..quote
            }),
        );
        one(
            r#"{"code":"200000","data":{"time":1602832092060,"symbol":"BTC-USDT","buy":"11328.9","sell":"11329","last":"11328.9"}}"#,
            Event::Quote(VenueQuote {
                bid_size: None,
                ask_size: None,
                ..quote
            }),
        );
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
            r#"{"code":"200000","data":{"time":1729176273859,"sequence":"14610502970","bids":[["66976.4","0.69"]],"asks":[]}}"#,
            book("BTC-USDT"),
        );
        one(
            r#"{"code":"200000","data":{"symbol":"XBTMM22","sequence":1,"asks":[[29680.0,1400]],"bids":[],"ts":1654325996914997044}}"#,
            book("XBTMM22"),
        );
        let trade = Event::Trade(VenueTrade {
            instrument: "BTC-USDT",
            price: dec("67122").expect("a price"),
            size: dec("0.01792257"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_729_177_117_877_000_000),
            sequence: Some(10_976_028_003_549_188),
            snapshot: true,
        });
        for time in ["time", "ts"] {
            one(
                &format!(
                    r#"{{"code":"200000","data":[{{"sequence":"10976028003549188","price":"67122","size":"0.01792257","side":"buy","{time}":1729177117877000000}}]}}"#
                ),
                trade,
            );
        }
        for ignored in [
            r#"{"code":"200000","data":[{"symbol":"REQ-ETH","priceIncrement":"0.0000001","enableTrading":true}]}"#,
            r#"{"code":"200000","data":[{"symbol":"USDT-BTC","timePoint":1729676522000,"value":1.504E-5}]}"#,
            r#"{"code":"200000","data":[["1566789720","10411.5","10401.9"]]}"#,
            r#"{"code":"200000","data":{"token":"abcd","instanceServers":[]}}"#,
            r#"{"code":"200000","data":[]}"#,
            r#"{"code":"200000","data":1546837113087}"#,
        ] {
            one(ignored, Event::Ignored { kind: "data" });
        }
        one(
            r#"{"code":"400100","msg":"symbol not exists"}"#,
            Event::Error(VenueError {
                code: Some("400100"),
                message: "symbol not exists",
                instrument: None,
            }),
        );
    }
}
