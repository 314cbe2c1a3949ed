//! Binance and Binance.US: raw streams and combined streams (`{"stream":..,"data":..}`).
//!
//! | field | unit, form |
//! |---|---|
//! | prices, sizes | decimal strings |
//! | `E`, `T` | Unix milliseconds (developers.binance.com: the default of every connection; the option `timeUnit=MICROSECOND` must not be asked for) |
//! | quote sequence | `u` of `bookTicker`: order book update id, per symbol |
//! | trade sequence | `a` of `aggTrade`, `t` of `trade` |
//! | `m` of a trade | whether the buyer was the maker, so that the taker sold |
//!
//! Spot `bookTicker` has neither an event type nor a time; that of futures has both.

mod live;

pub(super) use live::{DIALECT, DIALECT_US, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let (Some(stream), Some(data)) = (frame.get_string("stream"), frame.get("data")) {
        return payload(data, Some(stream), sink);
    }
    // User data and WebSocket API connections wrap events so.
    if let Some(event) = frame.get("event").filter(|event| event.is_object()) {
        return payload(event, None, sink);
    }
    payload(frame, None, sink)
}

fn payload<'f>(data: Json<'f>, stream: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if !data.is_array() {
        return message(data, stream, sink);
    }
    // `!ticker@arr` and `!miniTicker@arr`: one message per symbol.
    if data.elements().left() == 0 {
        // In a moment without a change such an array is empty; without a stream it says nothing.
        let kind = stream.ok_or(Invalid::frame(Reason::UnknownShape))?;
        sink(Event::Ignored { kind });
        return Ok(());
    }
    if !data.elements().any(Json::is_object) {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    for element in data.elements() {
        if let Err(invalid) = message(element, stream, sink) {
            field::emit(sink, None, Err(invalid));
        }
    }
    Ok(())
}

fn message<'f>(data: Json<'f>, stream: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let Some(kind) = data.get_string("e") else {
        return untyped(data, stream, sink);
    };
    match kind {
        "bookTicker" => quote(data, sink, book_ticker),
        "24hrTicker" => quote(data, sink, day_ticker),
        "24hrMiniTicker" => quote(data, sink, mini_ticker),
        "aggTrade" => field::emit_of(sink, data, "s", |symbol| trade(data, symbol, "a")),
        "trade" => field::emit_of(sink, data, "s", |symbol| trade(data, symbol, "t")),
        "depthUpdate" => sink(Event::Book(Book {
            instrument: data.get_string("s"),
            snapshot: false,
        })),
        "serverShutdown" => sink(Event::Status { text: kind }),
        _ => sink(Event::Ignored { kind }),
    }
    Ok(())
}

/// Messages that are told apart by what is in them.
fn untyped<'f>(data: Json<'f>, stream: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if data.get("s").is_some() && (data.get("b").is_some() || data.get("a").is_some()) {
        quote(data, sink, book_ticker);
    } else if data.get("lastUpdateId").is_some() {
        // `<symbol>@depth<levels>`: the symbol stands in the name of the stream only.
        let symbol = stream.and_then(|stream| stream.split('@').next());
        let instrument = data.get_string("symbol").or(symbol);
        sink(Event::Book(Book {
            instrument,
            snapshot: true,
        }));
    } else if let Some(method) = data.get_string("method") {
        sink(Event::Request { method });
    } else if let Some(error) = data.get("error").filter(|error| error.is_object()) {
        sink(venue_error(error));
    } else if data.get("code").is_some() && data.get("msg").is_some() {
        sink(venue_error(data));
    } else if data.get("result").is_some() && data.get("id").is_some() {
        sink(Event::Ack(Ack {
            channel: None,
            instrument: None,
        }));
    } else if let Some(kind) = stream.filter(|_| data.is_object()) {
        sink(Event::Ignored { kind });
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

fn quote<'f>(
    data: Json<'f>,
    sink: &mut Sink<'_>,
    read: impl FnOnce(Json<'f>, &mut VenueQuote<'f>) -> Result<(), Invalid>,
) {
    field::emit_of(sink, data, "s", |symbol| {
        let mut quote = VenueQuote::new(symbol);
        read(data, &mut quote)?;
        quote.priced().map(Event::Quote)
    });
}

fn book_ticker(data: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<(), Invalid> {
    let mut event_time = None;
    for (name, value) in data.members() {
        match name {
            "b" => quote.bid = field::price(value, "b")?,
            "B" => quote.bid_size = field::size(value, "B")?,
            "a" => quote.ask = field::price(value, "a")?,
            "A" => quote.ask_size = field::size(value, "A")?,
            "u" => quote.sequence = field::id(value),
            // Futures: `T` is the matching engine's time, `E` that of sending.
            "T" => quote.venue_time_ns = field::unix_millis(value, "T")?,
            "E" => event_time = field::unix_millis(value, "E")?,
            _ => {}
        }
    }
    quote.venue_time_ns = quote.venue_time_ns.or(event_time);
    Ok(())
}

fn day_ticker(data: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<(), Invalid> {
    for (name, value) in data.members() {
        match name {
            "b" => quote.bid = field::price(value, "b")?,
            "B" => quote.bid_size = field::size(value, "B")?,
            "a" => quote.ask = field::price(value, "a")?,
            "A" => quote.ask_size = field::size(value, "A")?,
            "c" => quote.last = field::price(value, "c")?,
            "Q" => quote.last_size = field::size(value, "Q")?,
            "E" => quote.venue_time_ns = field::unix_millis(value, "E")?,
            _ => {}
        }
    }
    Ok(())
}

fn mini_ticker(data: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<(), Invalid> {
    for (name, value) in data.members() {
        match name {
            "c" => quote.last = field::price(value, "c")?,
            "E" => quote.venue_time_ns = field::unix_millis(value, "E")?,
            _ => {}
        }
    }
    Ok(())
}

fn trade<'f>(data: Json<'f>, symbol: &'f str, id: &str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in data.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "q" => trade.size = field::size(value, "q")?,
            "T" => trade.venue_time_ns = field::unix_millis(value, "T")?,
            "m" => {
                trade.side = value
                    .boolean()
                    .map(|maker| if maker { Side::Sell } else { Side::Buy });
            }
            name if name == id => trade.sequence = field::id(value),
            _ => {}
        }
    }
    trade.finish(symbol, "p").map(Event::Trade)
}

fn venue_error(error: Json<'_>) -> Event<'_> {
    Event::Error(VenueError {
        code: error.get("code").and_then(Json::text),
        message: error.get_string("msg").unwrap_or_default(),
        instrument: None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{dec, events, is, refused};
    use super::super::{VenueTrade, testing};
    use super::*;

    const VENUE: &str = "binance";

    const BOOK_TICKER: &str = r#"{"u":400900217,"s":"BNBUSDT","b":"25.35190000","B":"31.21000000","a":"25.36520000","A":"40.66000000"}"#;

    fn book_ticker() -> VenueQuote<'static> {
        VenueQuote {
            bid: dec("25.3519"),
            ask: dec("25.3652"),
            bid_size: dec("31.21"),
            ask_size: dec("40.66"),
            sequence: Some(400_900_217),
            ..VenueQuote::new("BNBUSDT")
        }
    }

    #[test]
    fn a_book_ticker_is_a_quote_raw_or_combined_at_either_venue() {
        for venue in [VENUE, "binance-us"] {
            is(venue, BOOK_TICKER, Event::Quote(book_ticker()));
            let combined = format!(r#"{{"stream":"bnbusdt@bookTicker","data":{BOOK_TICKER}}}"#);
            is(venue, &combined, Event::Quote(book_ticker()));
            let reversed = format!(r#"{{ "data" : {BOOK_TICKER} , "stream" : "!bookTicker" }}"#);
            is(venue, &reversed, Event::Quote(book_ticker()));
        }
    }

    #[test]
    fn a_futures_book_ticker_bears_the_engines_time() {
        is(
            VENUE,
            r#"{"e":"bookTicker","u":2286618712950,"s":"BTCUSDT","b":"16858.90","B":"13.692","a":"16859.00","A":"30.219",
                "T":1671621244670,"E":1671621244673}"#,
            Event::Quote(VenueQuote {
                bid: dec("16858.9"),
                ask: dec("16859"),
                bid_size: dec("13.692"),
                ask_size: dec("30.219"),
                venue_time_ns: Some(1_671_621_244_670_000_000),
                sequence: Some(2_286_618_712_950),
                ..VenueQuote::new("BTCUSDT")
            }),
        );
    }

    #[test]
    fn an_empty_or_bad_side_never_becomes_a_price() {
        let frame =
            |bid: &str, ask: &str| format!(r#"{{"u":1,"s":"AB","b":{bid},"B":"0","a":{ask},"A":"1"}}"#);
        is(
            VENUE,
            &frame("\"0.00000000\"", "\"2\""),
            Event::Quote(VenueQuote {
                ask: dec("2"),
                bid_size: dec("0"),
                ask_size: dec("1"),
                sequence: Some(1),
                ..VenueQuote::new("AB")
            }),
        );
        refused(VENUE, &frame("\"0.00000000\"", "\"0\""), Reason::NoPrice, None);
        refused(VENUE, &frame("\"\"", "null"), Reason::NoPrice, None);
        refused(VENUE, &frame("\"1\"", "\"-2\""), Reason::Negative, Some("a"));
        refused(VENUE, &frame("\"1\"", "\"nan\""), Reason::BadNumber, Some("a"));
        refused(VENUE, &frame("\"1\"", "[]"), Reason::WrongType, Some("a"));
        refused(
            VENUE,
            r#"{"e":"bookTicker","b":"1"}"#,
            Reason::MissingField,
            Some("s"),
        );
        refused(
            VENUE,
            r#"{"e":"24hrTicker","s":"AB","c":"1","E":"soon"}"#,
            Reason::BadTime,
            Some("E"),
        );
        refused(
            VENUE,
            r#"{"e":"24hrTicker","s":"AB","c":"1","E":1672515782136.5}"#,
            Reason::BadTime,
            Some("E"),
        );
    }

    #[test]
    fn day_tickers_are_quotes_one_by_one_or_in_an_array() {
        let ticker = r#"{"e":"24hrTicker","E":1672515782136,"s":"BNBBTC","p":"-0.0015","P":"250.00","w":"0.0018","x":"0.0009",
            "c":"0.0025","Q":"10","b":"0.0024","B":"10","a":"0.0026","A":"100","o":"0.0010","C":86400000,"n":18151}"#;
        let mini = r#"{"e":"24hrMiniTicker","E":1672515782136,"s":"BNBBTC","c":"0.0025","o":"0.0010","v":"10000","q":"18"}"#;
        let time = Some(1_672_515_782_136_000_000);
        let full = Event::Quote(VenueQuote {
            bid: dec("0.0024"),
            ask: dec("0.0026"),
            last: dec("0.0025"),
            bid_size: dec("10"),
            ask_size: dec("100"),
            last_size: dec("10"),
            venue_time_ns: time,
            ..VenueQuote::new("BNBBTC")
        });
        let short = Event::Quote(VenueQuote {
            last: dec("0.0025"),
            venue_time_ns: time,
            ..VenueQuote::new("BNBBTC")
        });
        is(VENUE, ticker, full);
        is(VENUE, mini, short);
        for array in [
            format!(
                r#"{{"stream":"!ticker@arr","data":[{ticker},{{"e":"24hrTicker","s":"X","c":"x"}},7,{mini}]}}"#
            ),
            format!(r#"[{ticker},{{"e":"24hrTicker","s":"X","c":"x"}},7,{mini}]"#),
        ] {
            let count = events(VENUE, &array, |i, event| match i {
                0 => assert_eq!(event, full),
                1 => assert_eq!(
                    event,
                    Event::Invalid {
                        instrument: Some("X"),
                        invalid: Invalid::field("c", Reason::BadNumber)
                    }
                ),
                2 if array.starts_with('[') => assert_eq!(
                    event,
                    Event::Invalid {
                        instrument: None,
                        invalid: Invalid::frame(Reason::UnknownShape)
                    }
                ),
                2 => assert_eq!(event.kind(), "invalid"),
                _ => assert_eq!(event, short),
            });
            assert_eq!(count, Ok(4), "{array}");
        }
        is(
            VENUE,
            r#"{"stream":"!ticker@arr","data":[]}"#,
            Event::Ignored { kind: "!ticker@arr" },
        );
    }

    #[test]
    fn trades_carry_the_takers_side_and_the_trades_own_time() {
        let trade = VenueTrade {
            instrument: "BTCUSDT",
            price: dec("58942.01").expect("a price"),
            size: dec("0.000356"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_616_176_861_893_000_000),
            sequence: Some(640_283_266),
            snapshot: false,
        };
        is(
            VENUE,
            r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","E":1616176861895,"s":"BTCUSDT","a":640283266,
                "p":"58942.01000000","q":"0.00035600","f":716849523,"l":716849523,"T":1616176861893,"m":false,"M":true}}"#,
            Event::Trade(trade),
        );
        is(
            VENUE,
            r#"{"e":"trade","E":1616176861895,"s":"BTCUSDT","t":640283266,"p":"58942.01","q":"0.000356","b":88,"a":50,
                "T":1616176861893,"m":true,"M":true}"#,
            Event::Trade(VenueTrade {
                side: Some(Side::Sell),
                ..trade
            }),
        );
        refused(
            VENUE,
            r#"{"e":"trade","s":"AB","p":"0","q":"0","X":"NA"}"#,
            Reason::ZeroPrice,
            Some("p"),
        );
        refused(
            VENUE,
            r#"{"e":"aggTrade","s":"AB","q":"0"}"#,
            Reason::MissingField,
            Some("p"),
        );
    }

    #[test]
    fn everything_else_is_known_for_what_it_is() {
        let book = |instrument, snapshot| Event::Book(Book { instrument, snapshot });
        is(
            VENUE,
            r#"{"e":"depthUpdate","E":1,"s":"AB","U":157,"u":160,"b":[],"a":[]}"#,
            book(Some("AB"), false),
        );
        is(
            VENUE,
            r#"{"stream":"btcusdt@depth5","data":{"lastUpdateId":160,"bids":[["1","2"]],"asks":[]}}"#,
            book(Some("btcusdt"), true),
        );
        is(
            VENUE,
            r#"{"lastUpdateId":160,"bids":[],"asks":[]}"#,
            book(None, true),
        );
        let ack = Event::Ack(Ack {
            channel: None,
            instrument: None,
        });
        for frame in [
            r#"{"result":null,"id":1}"#,
            r#"{"id":1,"result":null}"#,
            r#"{"result":[],"id":"a"}"#,
            r#"{"id":"x","status":200,"result":{"serverTime":1},"rateLimits":[]}"#,
        ] {
            is(VENUE, frame, ack);
        }
        is(
            VENUE,
            r#"{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}"#,
            Event::Request { method: "SUBSCRIBE" },
        );
        let error = |code, message| {
            Event::Error(VenueError {
                code: Some(code),
                message,
                instrument: None,
            })
        };
        is(
            VENUE,
            r#"{"code":-1000,"msg":"An unknown error occurred"}"#,
            error("-1000", "An unknown error occurred"),
        );
        is(
            VENUE,
            r#"{"error":{"code":2,"msg":"Invalid request: unknown variant"},"id":1}"#,
            error("2", "Invalid request: unknown variant"),
        );
        is(
            VENUE,
            r#"{"id":"x","status":400,"error":{"code":-1102,"msg":"bad"}}"#,
            error("-1102", "bad"),
        );
        let shutdown = Event::Status {
            text: "serverShutdown",
        };
        is(VENUE, r#"{"e":"serverShutdown","E":1770123456789}"#, shutdown);
        is(
            VENUE,
            r#"{"event":{"e":"serverShutdown","E":1770123456789}}"#,
            shutdown,
        );
        is(
            VENUE,
            r#"{"e":"kline","E":1,"s":"AB","k":{"t":1}}"#,
            Event::Ignored { kind: "kline" },
        );
        is(
            VENUE,
            r#"{"stream":"x@y","data":{"z":1}}"#,
            Event::Ignored { kind: "x@y" },
        );
        assert_eq!(
            testing::events(VENUE, r#"{"z":1}"#, |_, event| panic!("{event:?}")),
            Err(Invalid::frame(Reason::UnknownShape))
        );
    }
}
