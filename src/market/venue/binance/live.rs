//! How Binance and Binance.US are conversed with live, and their REST answers.
//!
//! Sources: developers.binance.com, "WebSocket Streams" and "Market Data endpoints", and
//! docs.binance.us, which has the same forms. Instruments are upper case at REST and in
//! messages, lower case in the names of streams.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Side, Sink, VenueError, VenueQuote};

/// Streams that one message subscribes; the venue documents no limit below the 1,024 streams of
/// a connection, others send 200.
const STREAMS_PER_MESSAGE: usize = 200;

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://stream.binance.com:9443/stream",
    rest_url: "https://api.binance.com",
    instruments_per_connection: 100,
    // 300 connections in five minutes and address.
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    // Five messages a second, pongs among them.
    message_gap: Duration::from_millis(300),
    // 6,000 units of weight a minute and address, of which a ticker costs two.
    rest_gap: Duration::from_millis(100),
    // The venue pings every 20 seconds.
    ping_every: None,
    // Cut off at 24 hours.
    max_life: Some(Duration::from_hours(23)),
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| requests("SUBSCRIBE", instruments, id, out),
    unsubscribe: |instruments, id, out| requests("UNSUBSCRIBE", instruments, id, out),
    ping: None,
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/api/v3/ticker/bookTicker?symbol={instrument}"),
    token: None,
};

pub(in super::super) static DIALECT_US: Dialect = Dialect {
    stream_url: "wss://stream.binance.us:9443/stream",
    rest_url: "https://api.binance.us",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(300),
    // 1,200 units of weight a minute and address.
    rest_gap: Duration::from_millis(200),
    // The venue pings every three minutes.
    ping_every: None,
    max_life: Some(Duration::from_hours(23)),
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| requests("SUBSCRIBE", instruments, id, out),
    unsubscribe: |instruments, id, out| requests("UNSUBSCRIBE", instruments, id, out),
    ping: None,
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/api/v3/ticker/bookTicker?symbol={instrument}"),
    token: None,
};

fn requests(method: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    for (instruments, id) in instruments.chunks(STREAMS_PER_MESSAGE).zip(id..) {
        let streams: Vec<_> = instruments
            .iter()
            .map(|instrument| format!("{}@bookTicker", instrument.to_ascii_lowercase()))
            .collect();
        out.push(json!({"method": method, "params": streams, "id": id}).to_string());
    }
}

/// Members that make an answer something that is not used here, and what it is.
const UNUSED: [(&str, &str); 3] = [
    ("symbols", "exchangeInfo"),
    ("mins", "avgPrice"),
    ("serverTime", "time"),
];

pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if body.is_array() {
        return list(body, asked, sink);
    }
    let has = |name| body.get(name).is_some();
    if has("e") || has("stream") || has("event") || has("id") && has("result") {
        return super::parse(body, sink);
    }
    if let Some((_, kind)) = UNUSED.iter().find(|(name, _)| has(name)) {
        sink(Event::Ignored { kind });
    } else if has("bids") && has("asks") {
        let instrument = body.get_string("symbol").or(asked);
        sink(Event::Book(Book {
            instrument: instrument.filter(|name| !name.is_empty()),
            snapshot: true,
        }));
    } else if let (Some(code), Some(message)) = (body.get("code"), body.get_string("message")) {
        // The gateway of the newer services; a code of zeros is success.
        let code = code.text();
        let success = code.is_some_and(|code| code.bytes().all(|digit| digit == b'0'));
        sink(if success {
            Event::Ignored { kind: "data" }
        } else {
            Event::Error(VenueError {
                code,
                message,
                instrument: None,
            })
        });
    } else if is_ticker(body) {
        field::emit(sink, body.get_string("symbol").or(asked), ticker(body, asked));
    } else if is_trade(body) {
        field::emit(sink, asked, trade(body, asked));
    } else {
        return super::parse(body, sink);
    }
    Ok(())
}

fn list<'f>(body: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let Some(first) = body.elements().next() else {
        sink(Event::Ignored { kind: "list" });
        return Ok(());
    };
    if is_ticker(first) {
        for element in body.elements() {
            // Many tickers have names of their own.
            let own = element.get_string("symbol");
            field::emit(sink, own, ticker(element, None));
        }
    } else if is_trade(first) {
        for element in body.elements() {
            field::emit(sink, asked, trade(element, asked));
        }
    } else if first.is_array() {
        sink(Event::Ignored { kind: "klines" });
    } else {
        return super::parse(body, sink);
    }
    Ok(())
}

fn is_ticker(body: Json<'_>) -> bool {
    ["bidPrice", "askPrice", "lastPrice"]
        .iter()
        .any(|name| body.get(name).is_some())
        || body.get("symbol").is_some() && body.get("price").is_some() && body.get("qty").is_none()
}

/// `bookTicker`, the tickers of the last day and the last price; the day's has a time.
fn ticker<'f>(body: Json<'f>, asked: Option<&'f str>) -> Result<Event<'f>, Invalid> {
    let symbol = body.get_string("symbol").filter(|symbol| !symbol.is_empty());
    let mut quote = VenueQuote::new(field::named(symbol.or(asked))?);
    for (name, value) in body.members() {
        match name {
            "bidPrice" => quote.bid = field::price(value, "bidPrice")?,
            "bidQty" => quote.bid_size = field::size(value, "bidQty")?,
            "askPrice" => quote.ask = field::price(value, "askPrice")?,
            "askQty" => quote.ask_size = field::size(value, "askQty")?,
            "lastPrice" => quote.last = field::price(value, "lastPrice")?,
            "price" => quote.last = field::price(value, "price")?,
            "lastQty" => quote.last_size = field::size(value, "lastQty")?,
            // `time`: of the futures' tickers.
            "closeTime" => quote.venue_time_ns = field::unix_millis(value, "closeTime")?,
            "time" => quote.venue_time_ns = field::unix_millis(value, "time")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn is_trade(body: Json<'_>) -> bool {
    let has = |name| body.get(name).is_some();
    has("price") && has("qty") || has("p") && has("q") && has("T")
}

/// A trade of a list (`trades`, or `aggTrades` in its short names): known for its time, not news.
fn trade<'f>(element: Json<'f>, asked: Option<&'f str>) -> Result<Event<'f>, Invalid> {
    let instrument = field::named(asked)?;
    let mut trade = TradeFields::new(true);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "p" => trade.read_price(value, "p")?,
            "qty" => trade.size = field::size(value, "qty")?,
            "q" => trade.size = field::size(value, "q")?,
            "time" => trade.venue_time_ns = field::unix_millis(value, "time")?,
            "T" => trade.venue_time_ns = field::unix_millis(value, "T")?,
            "id" | "a" => trade.sequence = field::id(value),
            "isBuyerMaker" | "m" => {
                trade.side = value
                    .boolean()
                    .map(|maker| if maker { Side::Sell } else { Side::Buy });
            }
            _ => {}
        }
    }
    trade.finish(instrument, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::live_testing::{messages, rest_events, rest_is, rest_refused};
    use super::super::super::testing::dec;
    use super::super::super::{Reason, VenueTrade};
    use super::*;

    const VENUE: &str = "binance";

    #[test]
    fn book_tickers_are_subscribed_in_lower_case_two_hundred_a_message() {
        for dialect in [&DIALECT, &DIALECT_US] {
            assert_eq!(
                messages(dialect.subscribe, &["BTCUSDT", "ETHUSDT"]),
                [
                    json!({"method": "SUBSCRIBE", "params": ["btcusdt@bookTicker", "ethusdt@bookTicker"], "id": 7})
                ]
            );
            assert_eq!(
                messages(dialect.unsubscribe, &["BTCUSDT"]),
                [json!({"method": "UNSUBSCRIBE", "params": ["btcusdt@bookTicker"], "id": 7})]
            );
            let many: Vec<_> = (0..401).map(|i| format!("A{i}USDT")).collect();
            let many: Vec<_> = many.iter().map(String::as_str).collect();
            let sent = messages(dialect.subscribe, &many);
            let sizes: Vec<_> = sent
                .iter()
                .map(|message| (message["id"].as_u64(), message["params"].as_array().map(Vec::len)))
                .collect();
            assert_eq!(
                sizes,
                [(Some(7), Some(200)), (Some(8), Some(200)), (Some(9), Some(1))]
            );
            assert_eq!(
                (dialect.ticker_path)("BTCUSDT"),
                "/api/v3/ticker/bookTicker?symbol=BTCUSDT"
            );
        }
    }

    #[test]
    fn connections_end_before_the_venue_cuts_them_off_and_messages_stay_below_five_a_second() {
        for dialect in [&DIALECT, &DIALECT_US] {
            assert!(dialect.max_life.expect("it has one") < Duration::from_hours(24));
            assert!(dialect.message_gap > Duration::from_millis(200));
            assert!(dialect.instruments_per_connection <= 1_024);
        }
        assert_ne!(DIALECT.rest_url, DIALECT_US.rest_url);
        assert_ne!(DIALECT.stream_url, DIALECT_US.stream_url);
    }

    #[test]
    fn a_book_ticker_is_a_quote_alone_or_among_others() {
        let body = r#"{"symbol":"LTCBTC","bidPrice":"4.00000000","bidQty":"431.00000000","askPrice":"4.00000200","askQty":"9.00000000"}"#;
        let quote = VenueQuote {
            bid: dec("4"),
            ask: dec("4.000002"),
            bid_size: dec("431"),
            ask_size: dec("9"),
            ..VenueQuote::new("LTCBTC")
        };
        for venue in [VENUE, "binance-us"] {
            rest_is(venue, body, Some("LTCBTC"), Event::Quote(quote));
            rest_is(venue, body, None, Event::Quote(quote));
        }
        let nameless = body.replacen(r#""symbol":"LTCBTC","#, "", 1);
        rest_is(VENUE, &nameless, Some("LTCBTC"), Event::Quote(quote));
        rest_refused(VENUE, &nameless, None, Reason::MissingField, Some("instrument"));
        let list = format!(
            r#"[{body},{{"symbol":"X","bidPrice":"-1","askPrice":"1"}},{{"symbol":"Y","bidPrice":"0","askPrice":"0"}}]"#
        );
        let count = rest_events(VENUE, &list, Some("LTCBTC"), |i, event| match i {
            0 => assert_eq!(event, Event::Quote(quote)),
            1 => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("X"),
                    invalid: Invalid::field("bidPrice", Reason::Negative)
                }
            ),
            _ => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("Y"),
                    invalid: Invalid::frame(Reason::NoPrice)
                }
            ),
        });
        assert_eq!(count, Ok(3));
    }

    #[test]
    fn a_days_ticker_is_a_quote_with_its_time_and_a_price_alone_is_a_last_price() {
        rest_is(
            VENUE,
            r#"{"symbol":"BNBBTC","priceChange":"-94.99999800","lastPrice":"4.00000200","lastQty":"200.00000000","bidPrice":"4.00000000",
                "bidQty":"100.00000000","askPrice":"4.00000200","askQty":"100.00000000","openPrice":"99.00000000","openTime":1499783499040,
                "closeTime":1499869899040,"firstId":28385,"lastId":28460,"count":76}"#,
            None,
            Event::Quote(VenueQuote {
                bid: dec("4"),
                ask: dec("4.000002"),
                last: dec("4.000002"),
                bid_size: dec("100"),
                ask_size: dec("100"),
                last_size: dec("200"),
                venue_time_ns: Some(1_499_869_899_040_000_000),
                ..VenueQuote::new("BNBBTC")
            }),
        );
        rest_is(
            VENUE,
            r#"{"symbol":"LTCBTC","price":"4.00000200"}"#,
            None,
            Event::Quote(VenueQuote {
                last: dec("4.000002"),
                ..VenueQuote::new("LTCBTC")
            }),
        );
    }

    #[test]
    fn trades_are_history_of_the_symbol_asked_for() {
        let trade = VenueTrade {
            instrument: "BNBBTC",
            price: dec("4.000001").expect("a price"),
            size: dec("12"),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_499_865_549_590_000_000),
            sequence: Some(28_457),
            snapshot: true,
        };
        let one = r#"{"id":28457,"price":"4.00000100","qty":"12.00000000","quoteQty":"48.000012","time":1499865549590,"isBuyerMaker":true,"isBestMatch":true}"#;
        rest_is(VENUE, one, Some("BNBBTC"), Event::Trade(trade));
        rest_is(VENUE, &format!("[{one}]"), Some("BNBBTC"), Event::Trade(trade));
        rest_is(
            VENUE,
            r#"[{"a":28457,"p":"4.000001","q":"12","f":27781,"l":27781,"T":1499865549590,"m":true,"M":true}]"#,
            Some("BNBBTC"),
            Event::Trade(trade),
        );
        rest_refused(VENUE, one, None, Reason::MissingField, Some("instrument"));
    }

    #[test]
    fn lists_books_and_errors_are_known_for_what_they_are() {
        rest_is(
            VENUE,
            r#"{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[["4.00000200","12.00000000"]]}"#,
            Some("LTCBTC"),
            Event::Book(Book {
                instrument: Some("LTCBTC"),
                snapshot: true,
            }),
        );
        for (body, kind) in [
            (
                r#"{"timezone":"UTC","serverTime":1618677408299,"symbols":[{"symbol":"BTCUSD"}]}"#,
                "exchangeInfo",
            ),
            (
                r#"{"mins":5,"price":"9.35751834","closeTime":1694061154503}"#,
                "avgPrice",
            ),
            (r#"{"serverTime":1499827319559}"#, "time"),
            (r#"[[1499040000000,"0.01634790","0.80000000"]]"#, "klines"),
            ("[]", "list"),
            (
                r#"{"code":"000000","message":"success","data":[{"symbol":"BTCUSDT"}]}"#,
                "data",
            ),
        ] {
            rest_is(VENUE, body, Some("BTCUSD"), Event::Ignored { kind });
        }
        for (body, code, message) in [
            (
                r#"{"code":-1121,"msg":"Invalid symbol."}"#,
                "-1121",
                "Invalid symbol.",
            ),
            (
                r#"{"code":"100001","message":"system error"}"#,
                "100001",
                "system error",
            ),
        ] {
            rest_is(
                VENUE,
                body,
                Some("BTCUSD"),
                Event::Error(VenueError {
                    code: Some(code),
                    message,
                    instrument: None,
                }),
            );
        }
        for body in ["[1]", "7", "{}", r#"{"price":"1"}"#] {
            let count = rest_events(VENUE, body, Some("A"), |_, event| panic!("{event:?}"));
            assert_eq!(count, Err(Invalid::frame(Reason::UnknownShape)), "{body}");
        }
        // A message of the stream is read as the stream's.
        rest_is(
            VENUE,
            r#"{"u":400900217,"s":"BNBUSDT","b":"25.3519","B":"31.21","a":"25.3652","A":"40.66"}"#,
            None,
            Event::Quote(VenueQuote {
                bid: dec("25.3519"),
                ask: dec("25.3652"),
                bid_size: dec("31.21"),
                ask_size: dec("40.66"),
                sequence: Some(400_900_217),
                ..VenueQuote::new("BNBUSDT")
            }),
        );
    }
}
