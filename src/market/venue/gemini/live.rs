//! How Gemini is conversed with live, and its REST answers.

use std::time::Duration;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::wording;
use super::super::{Book, Event, Invalid, Sink, VenueQuote};
use super::{PING_ID, fault, v1, v2};

/// The WebSocket API's `<symbol>@bookTicker`.
///
/// - One unknown symbol makes Gemini refuse the whole message (-1013), so each symbol has one of
///   its own. No pace is documented; ten a second subscribe a full connection in ten seconds.
/// - Connections: 12 a minute (docs.gemini.com/websocket-api, rate limits).
/// - Streams per connection: no limit is documented; hundreds are known to work.
/// - REST: 120 requests a minute, and no more than 1 a second recommended
///   (docs.gemini.com/rest-api, rate limits); bursts are queued by the venue.
/// - Symbols are lower case in streams, and in all that comes back.
pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://ws.gemini.com",
    rest_url: "https://api.gemini.com",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(5),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(100),
    rest_gap: Duration::from_millis(600),
    ping_every: Some(Duration::from_secs(10)),
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| request("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| request("unsubscribe", instruments, id, out),
    ping: Some(|id| format!(r#"{{"id":"{PING_ID}-{id}","method":"ping"}}"#)),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| {
        let symbol = wording::url_part(&instrument.to_ascii_lowercase());
        format!("/v1/pubticker/{symbol}")
    },
    token: None,
};

fn request(method: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    out.extend((id..).zip(instruments).map(|(id, instrument)| {
        let stream = wording::json(&format!("{}@bookTicker", instrument.to_ascii_lowercase()));
        format!(r#"{{"id":{id},"method":"{method}","params":[{stream}]}}"#)
    }));
}

/// Tickers of versions 1 and 2, the price feed, books, trades, symbols.
///
/// A ticker has no time: `volume.timestamp` of version 1 is the end of the day that the volume
/// is counted over, minutes old, and not the time of its prices.
pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    let has = |name| body.get(name).is_some();
    if body.is_array() {
        list(body, asked, sink);
    } else if let Some(fault) = fault(body) {
        sink(fault);
    } else if has("base_currency") {
        sink(Event::Ignored { kind: "symbol" });
    } else if has("bids") && has("asks") && !has("lastUpdateId") {
        sink(Event::Book(Book {
            instrument: asked,
            snapshot: true,
        }));
    } else if has("bid") || has("ask") || has("last") || has("close") {
        ticker(body, "symbol", asked, sink);
    } else {
        return super::parse(body, sink);
    }
    Ok(())
}

/// Trades, the price feed (`pair`, `price`), names of symbols, or what is not used here.
fn list<'f>(body: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) {
    let mut any = false;
    for element in body.elements() {
        let has = |name| element.get(name).is_some();
        if has("tid") || has("timestampms") {
            let symbol = field::asked(element, "symbol", asked);
            let event = symbol.and_then(|symbol| trade(element, symbol));
            field::emit(sink, symbol.ok(), event);
        } else if has("pair") && has("price") {
            ticker(element, "pair", asked, sink);
        } else {
            continue;
        }
        any = true;
    }
    if !any {
        sink(Event::Ignored { kind: "list" });
    }
}

fn ticker<'f>(body: Json<'f>, name_field: &'static str, asked: Option<&'f str>, sink: &mut Sink<'_>) {
    let symbol = field::asked(body, name_field, asked);
    let event = symbol.and_then(|symbol| {
        let mut quote = VenueQuote::new(symbol);
        for (name, value) in body.members() {
            match name {
                "bid" => quote.bid = field::price(value, "bid")?,
                "ask" => quote.ask = field::price(value, "ask")?,
                "last" => quote.last = field::price(value, "last")?,
                "close" => quote.last = field::price(value, "close")?,
                "price" => quote.last = field::price(value, "price")?,
                _ => {}
            }
        }
        quote.priced().map(Event::Quote)
    });
    field::emit(sink, symbol.ok(), event);
}

fn trade<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    if element.get("broken").and_then(Json::boolean) == Some(true) {
        return Ok(Event::Ignored { kind: "broken" });
    }
    let mut trade = TradeFields::new(true);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "amount" => trade.size = field::size(value, "amount")?,
            "tid" => trade.sequence = field::id(value),
            "type" => trade.side = value.string().and_then(v2::taker_side),
            _ => {}
        }
    }
    trade.venue_time_ns = v1::time(element)?;
    trade.finish(symbol, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, is, rest};
    use super::super::super::{Ack, Reason, Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "gemini";

    #[test]
    fn every_symbol_is_subscribed_by_a_message_of_its_own() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["btcusd", "ETHUSD"], 7, &mut out);
        (DIALECT.unsubscribe)(&["a\"b"], 9, &mut out);
        assert_eq!(
            out,
            [
                r#"{"id":7,"method":"subscribe","params":["btcusd@bookTicker"]}"#,
                r#"{"id":8,"method":"subscribe","params":["ethusd@bookTicker"]}"#,
                r#"{"id":9,"method":"unsubscribe","params":["a\"b@bookTicker"]}"#,
            ]
        );
        for message in &out {
            let method = if message.contains("unsub") {
                "unsubscribe"
            } else {
                "subscribe"
            };
            is(VENUE, message, Event::Request { method });
        }
    }

    #[test]
    fn the_answer_to_a_ping_is_a_sign_of_life_and_no_ack() {
        let ping = (DIALECT.ping.expect("it pings"))(5);
        assert_eq!(ping, r#"{"id":"ping-5","method":"ping"}"#);
        is(VENUE, &ping, Event::Request { method: "ping" });
        is(VENUE, r#"{"id":"ping-5","status":200}"#, Event::Heartbeat);
        is(
            VENUE,
            r#"{"id":5,"status":200}"#,
            Event::Ack(Ack {
                channel: None,
                instrument: None,
            }),
        );
    }

    #[test]
    fn an_instrument_cannot_leave_its_place_in_the_path() {
        assert_eq!((DIALECT.ticker_path)("BTCUSD"), "/v1/pubticker/btcusd");
        assert_eq!((DIALECT.ticker_path)("a/../b?c"), "/v1/pubticker/a%2F..%2Fb%3Fc");
    }

    #[test]
    fn tickers_of_both_versions_are_quotes_named_as_they_were_asked_for() {
        let quote = |instrument| VenueQuote {
            bid: dec("9345.7"),
            ask: dec("9347.67"),
            last: dec("9346.2"),
            ..VenueQuote::new(instrument)
        };
        let v1 = r#"{"bid":"9345.70","ask":"9347.67","last":"9346.20","volume":{"BTC":"2210.505328803","USD":"2135477.463379586263",
            "timestamp":1483018200000}}"#;
        rest(VENUE, v1, Some("btcusd"), &[Event::Quote(quote("btcusd"))]);
        let v2 = r#"{"symbol":"BTCUSD","open":"9121.76","high":"9440.66","low":"9106.51","close":"9346.20",
            "changes":["9365.1","9386.16"],"bid":"9345.70","ask":"9347.67"}"#;
        rest(VENUE, v2, Some("btcusd"), &[Event::Quote(quote("btcusd"))]);
        rest(VENUE, v2, None, &[Event::Quote(quote("BTCUSD"))]);
        // What was answered is not what was asked: it keeps its own name.
        rest(VENUE, v2, Some("ethusd"), &[Event::Quote(quote("BTCUSD"))]);
        rest(
            VENUE,
            v1,
            None,
            &[Event::Invalid {
                instrument: None,
                invalid: Invalid::field("symbol", Reason::MissingField),
            }],
        );
        rest(
            VENUE,
            r#"{"bid":"0","ask":"","last":null}"#,
            Some("x"),
            &[Event::Invalid {
                instrument: Some("x"),
                invalid: Invalid::frame(Reason::NoPrice),
            }],
        );
    }

    #[test]
    fn the_price_feed_is_a_quote_for_every_pair() {
        let last = |instrument, text| {
            Event::Quote(VenueQuote {
                last: dec(text),
                ..VenueQuote::new(instrument)
            })
        };
        rest(
            VENUE,
            r#"[{"pair":"BTCUSD","price":"9500.00","percentChange24h":"5.23"},{"pair":"X","price":"x"},{"pair":"ETHUSD","price":"257.54"}]"#,
            Some("ethusd"),
            &[
                last("BTCUSD", "9500"),
                Event::Invalid {
                    instrument: Some("X"),
                    invalid: Invalid::field("price", Reason::BadNumber),
                },
                last("ethusd", "257.54"),
            ],
        );
    }

    #[test]
    fn trades_are_history_and_books_are_whole() {
        let trade = VenueTrade {
            instrument: "btcusd",
            price: dec("3610.85").expect("a price"),
            size: dec("0.27413495"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_547_146_811_357_000_000),
            sequence: Some(5_335_307_668),
            snapshot: true,
        };
        rest(
            VENUE,
            r#"[{"timestamp":1547146811,"timestampms":1547146811357,"tid":5335307668,"price":"3610.85","amount":"0.27413495",
                "exchange":"gemini","type":"buy"},
                {"timestamp":1547146811,"tid":1,"price":"1","amount":"1","exchange":"gemini","type":"auction","broken":true}]"#,
            Some("btcusd"),
            &[Event::Trade(trade), Event::Ignored { kind: "broken" }],
        );
        rest(
            VENUE,
            r#"{"bids":[{"price":"3607.85","amount":"6.643373","timestamp":"1547147541"}],"asks":[]}"#,
            Some("btcusd"),
            &[Event::Book(Book {
                instrument: Some("btcusd"),
                snapshot: true,
            })],
        );
    }

    #[test]
    fn lists_of_symbols_errors_and_the_streams_own_messages_are_known() {
        let ignored = |kind| [Event::Ignored { kind }];
        rest(VENUE, r#"["btcusd","ethusd"]"#, None, &ignored("list"));
        rest(VENUE, "[]", Some("x"), &ignored("list"));
        rest(
            VENUE,
            r#"{"symbol":"BTCUSD","base_currency":"BTC","quote_currency":"USD","tick_size":1E-8,"status":"open"}"#,
            Some("btcusd"),
            &ignored("symbol"),
        );
        rest(
            VENUE,
            r#"{"result":"error","reason":"RateLimit","message":"Requests were made too frequently"}"#,
            Some("btcusd"),
            &[Event::Error(VenueError {
                code: Some("RateLimit"),
                message: "Requests were made too frequently",
                instrument: None,
            })],
        );
        rest(
            VENUE,
            r#"{"u":1,"s":"btcusd","b":"1","a":"2"}"#,
            None,
            &[Event::Quote(VenueQuote {
                bid: dec("1"),
                ask: dec("2"),
                sequence: Some(1),
                ..VenueQuote::new("btcusd")
            })],
        );
    }
}
