//! How Bitstamp is conversed with live, and its REST answers.
//!
//! Sources: www.bitstamp.net/websocket/v2/ and www.bitstamp.net/api/ (ticker, transactions, order
//! book, markets). REST times are Unix seconds, but for `microtimestamp`.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote};

/// What is subscribed of each instrument: bid and ask, and the last price beside them.
const CHANNELS: [&str; 2] = ["order_book", "live_trades"];

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://ws.bitstamp.net",
    rest_url: "https://www.bitstamp.net",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    // One channel a message, two messages an instrument: fifty instruments in five seconds.
    message_gap: Duration::from_millis(50),
    // 10,000 requests in ten minutes.
    rest_gap: Duration::from_millis(100),
    ping_every: Some(Duration::from_secs(10)),
    // Connections live for 90 days; before the end comes `bts:request_reconnect`.
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, _, out| requests("bts:subscribe", instruments, out),
    unsubscribe: |instruments, _, out| requests("bts:unsubscribe", instruments, out),
    ping: Some(|_| json!({"event": "bts:heartbeat"}).to_string()),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/api/v2/ticker/{instrument}/"),
    token: None,
};

fn requests(event: &str, instruments: &[&str], out: &mut Vec<String>) {
    for instrument in instruments {
        for channel in CHANNELS {
            let channel = format!("{channel}_{instrument}");
            out.push(json!({"event": event, "data": {"channel": channel}}).to_string());
        }
    }
}

pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if body.is_array() {
        return list(body, asked, sink);
    }
    let has = |name| body.get(name).is_some();
    if has("event") {
        return super::parse(body, sink);
    }
    if has("bids") && has("asks") {
        sink(Event::Book(Book {
            instrument: asked.filter(|name| !name.is_empty()),
            snapshot: true,
        }));
    } else if has("error") || has("reason") || has("errors") || body.get_string("status") == Some("error") {
        sink(refusal(body));
    } else if has("last") && (has("bid") || has("ask")) {
        ticker_of(body, asked, sink);
    } else if has("tid") || (has("price") && has("amount")) {
        field::emit(sink, asked, trade(body, asked));
    } else if body.get("data").is_some_and(|data| data.get("ohlc").is_some()) {
        sink(Event::Ignored { kind: "ohlc" });
    } else if has("buy") && has("sell") {
        sink(Event::Ignored { kind: "conversion" });
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
    let has = |name| first.get(name).is_some();
    if has("last") && (has("bid") || has("ask")) {
        for element in body.elements() {
            ticker_of(element, None, sink);
        }
    } else if has("tid") || (has("price") && has("amount")) {
        for element in body.elements() {
            field::emit(sink, asked, trade(element, asked));
        }
    } else if has("url_symbol") || has("market_symbol") || has("base_currency") {
        sink(Event::Ignored { kind: "pairs" });
    } else if has("currency") || has("symbol") {
        sink(Event::Ignored { kind: "currencies" });
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

/// A ticker: alone it has no name; in the list of all it says `"pair":"BTC/USD"`, which the
/// stream spells `btcusd`.
fn ticker_of<'f>(body: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) {
    let pair = body.get_string("pair").filter(|_| asked.is_none());
    let Some(pair) = pair else {
        return field::emit(
            sink,
            asked,
            field::named(asked).and_then(|name| ticker(body, name)),
        );
    };
    let mut name = pair.replace('/', "");
    name.make_ascii_lowercase();
    let named = field::named(Some(&name));
    field::emit(sink, named.ok(), named.and_then(|name| ticker(body, name)));
}

fn ticker<'f>(body: Json<'_>, instrument: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(instrument);
    for (name, value) in body.members() {
        match name {
            "bid" => quote.bid = field::price(value, "bid")?,
            "ask" => quote.ask = field::price(value, "ask")?,
            "last" => quote.last = field::price(value, "last")?,
            "timestamp" => quote.venue_time_ns = field::unix_seconds(value, "timestamp")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// A trade of a list: known for its time, not news. Its id is `tid`, formerly `id`.
fn trade<'f>(element: Json<'f>, asked: Option<&'f str>) -> Result<Event<'f>, Invalid> {
    let instrument = field::named(asked)?;
    let mut trade = TradeFields::new(true);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "amount" => trade.size = field::size(value, "amount")?,
            "date" => trade.venue_time_ns = field::unix_seconds(value, "date")?,
            "tid" | "id" => trade.sequence = field::id(value),
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
    trade.finish(instrument, "price").map(Event::Trade)
}

/// `{"error":..}`, `{"status":"error","reason":..,"code":..}` or `{"errors":[{"message":..,"code":..}]}`;
/// the explanation is text, or stands somewhere within.
fn refusal(body: Json<'_>) -> Event<'_> {
    let first = body.get("errors").and_then(|errors| errors.elements().next());
    let code = body.get("code").or_else(|| first?.get("code"));
    let message = ["reason", "error", "message"]
        .into_iter()
        .find_map(|name| first_text(body.get(name)?))
        .or_else(|| first?.get_string("message"));
    Event::Error(VenueError {
        code: code.and_then(Json::text),
        message: message.unwrap_or_default(),
        instrument: None,
    })
}

/// A text, or the first one of an object of lists of texts: `{"__all__":["Minimum order size is $1"]}`.
fn first_text(value: Json<'_>) -> Option<&str> {
    value.string().or_else(|| {
        let (_, inner) = value.members().next()?;
        inner
            .string()
            .or_else(|| inner.elements().next().and_then(Json::string))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::VenueTrade;
    use super::super::super::live_testing::{messages, rest_events, rest_is, rest_refused};
    use super::super::super::testing::dec;
    use super::*;

    const VENUE: &str = "bitstamp";

    #[test]
    fn book_and_trades_of_an_instrument_are_subscribed_one_channel_a_message() {
        let request = |event: &str, channel: &str| json!({"event": event, "data": {"channel": channel}});
        assert_eq!(
            messages(DIALECT.subscribe, &["btcusd", "ethusd"]),
            [
                "order_book_btcusd",
                "live_trades_btcusd",
                "order_book_ethusd",
                "live_trades_ethusd"
            ]
            .map(|channel| request("bts:subscribe", channel))
        );
        assert_eq!(
            messages(DIALECT.unsubscribe, &["btcusd"]),
            ["order_book_btcusd", "live_trades_btcusd"].map(|channel| request("bts:unsubscribe", channel))
        );
        let ping = DIALECT.ping.expect("it has one")(3);
        assert_eq!(ping, r#"{"event":"bts:heartbeat"}"#);
        assert_eq!((DIALECT.ticker_path)("btcusd"), "/api/v2/ticker/btcusd/");
    }

    #[test]
    fn a_ticker_is_a_quote_of_the_market_asked_for() {
        let body = r#"{"ask":"2211.00","bid":"2188.97","high":"2811.00","last":"2211.00","low":"2188.97","open":"2211.00",
            "open_24":"2211.00","percent_change_24":"13.57","side":"0","timestamp":"1643640186","volume":"213.26","vwap":"2189.80"}"#;
        let quote = Event::Quote(VenueQuote {
            bid: dec("2188.97"),
            ask: dec("2211"),
            last: dec("2211"),
            venue_time_ns: Some(1_643_640_186_000_000_000),
            ..VenueQuote::new("btcusd")
        });
        rest_is(VENUE, body, Some("btcusd"), quote);
        rest_refused(VENUE, body, None, Reason::MissingField, Some("instrument"));
        // The name that was asked for goes before the answer's own.
        let named = body.replacen('{', r#"{"pair":"BTC/USD","#, 1);
        rest_is(VENUE, &named, None, quote);
        rest_is(VENUE, &named, Some("btcusd"), quote);
        rest_refused(
            VENUE,
            r#"{"bid":"1","ask":"2","last":"1","timestamp":"soon"}"#,
            Some("btcusd"),
            Reason::BadTime,
            Some("timestamp"),
        );
    }

    #[test]
    fn tickers_of_all_markets_are_quotes_with_their_own_names() {
        let body = r#"[{"pair":"BTC/USD","bid":"1","ask":"2","last":"1.5"},{"pair":"ETH/EUR","bid":"x","last":"1"},{"bid":"1","last":"1"},{"pair":"/","bid":"1","last":"1"}]"#;
        let count = rest_events(VENUE, body, Some("btcusd"), |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid: dec("1"),
                    ask: dec("2"),
                    last: dec("1.5"),
                    ..VenueQuote::new("btcusd")
                })
            ),
            1 => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("etheur"),
                    invalid: Invalid::field("bid", Reason::BadNumber)
                }
            ),
            _ => assert_eq!(
                event,
                Event::Invalid {
                    instrument: None,
                    invalid: Invalid::field("instrument", Reason::MissingField)
                }
            ),
        });
        assert_eq!(count, Ok(4));
    }

    #[test]
    fn transactions_are_trades_and_history() {
        let trade = |side| {
            Event::Trade(VenueTrade {
                instrument: "btcusd",
                price: dec("8194.79").expect("a price"),
                size: dec("0.00288599"),
                side,
                venue_time_ns: Some(1_560_481_868_000_000_000),
                sequence: Some(90_574_283),
                snapshot: true,
            })
        };
        let body = r#"[{"date":"1560481868","tid":"90574283","price":"8194.79","type":"1","amount":"0.00288599"},
            {"date":"1560481868","id":90574283,"price":"8194.79","amount":"0.00288599"}]"#;
        let expected = [trade(Some(Side::Sell)), trade(None)];
        let count = rest_events(VENUE, body, Some("btcusd"), |i, event| {
            assert_eq!(event, expected[i]);
        });
        assert_eq!(count, Ok(2));
    }

    #[test]
    fn lists_books_and_errors_are_known_for_what_they_are() {
        rest_is(
            VENUE,
            r#"{"timestamp":"1617654355","microtimestamp":"1617654355388853","bids":[["0.42481","46803.03"]],"asks":[]}"#,
            Some("xlmeur"),
            Event::Book(Book {
                instrument: Some("xlmeur"),
                snapshot: true,
            }),
        );
        for (body, kind) in [
            (
                r#"[{"name":"BTC/USD","url_symbol":"btcusd","trading":"Enabled"}]"#,
                "pairs",
            ),
            (
                r#"[{"name":"BTC/USD","market_symbol":"btcusd","base_currency":"BTC"}]"#,
                "pairs",
            ),
            (
                r#"[{"name":"Bitcoin","currency":"BTC","type":"crypto"}]"#,
                "currencies",
            ),
            ("[]", "list"),
            (r#"{"data":{"pair":"BTC/USD","ohlc":[{"high":"1"}]}}"#, "ohlc"),
            (r#"{"buy":"1.1","sell":"1.0"}"#, "conversion"),
        ] {
            rest_is(VENUE, body, Some("btcusd"), Event::Ignored { kind });
        }
        for (body, code, message) in [
            (
                r#"{"error":"Invalid username and/or password"}"#,
                None,
                "Invalid username and/or password",
            ),
            (
                r#"{"error":{"__all__":["Minimum order size is $1"]}}"#,
                None,
                "Minimum order size is $1",
            ),
            (
                r#"{"status":"error","reason":"Missing key, signature and nonce parameters","code":"API0000"}"#,
                Some("API0000"),
                "Missing key, signature and nonce parameters",
            ),
            (
                r#"{"code":"400.002","errors":[{"field":"limit","message":"Ensure this value is less than 1000.","code":"400.003"}]}"#,
                Some("400.002"),
                "Ensure this value is less than 1000.",
            ),
            (r#"{"error":7}"#, None, ""),
        ] {
            rest_is(
                VENUE,
                body,
                Some("btcusd"),
                Event::Error(VenueError {
                    code,
                    message,
                    instrument: None,
                }),
            );
        }
        for body in ["[1]", "[[1]]", "7", "{}"] {
            let count = rest_events(VENUE, body, Some("btcusd"), |_, event| panic!("{event:?}"));
            assert_eq!(count, Err(Invalid::frame(Reason::UnknownShape)), "{body}");
        }
    }
}
