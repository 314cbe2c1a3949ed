//! How Coinbase is conversed with live, and its REST answers.
//!
//! The stream is Advanced Trade's public feed; the REST ticker is the Exchange's, which has the
//! same products. Sources: docs.cdp.coinbase.com, "Advanced Trade WebSocket Channels", "Advanced
//! Trade WebSocket Rate Limits" and "Get product ticker".
//!
//! The venue streams the `-USDC` products as their `-USD` twins: they share one book.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueQuote, field};

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://advanced-trade-ws.coinbase.com",
    rest_url: "https://api.exchange.coinbase.com",
    instruments_per_connection: 100,
    // Eight connections and eight messages a second and address; half of it, for there may be
    // two connections.
    connect_gap: Duration::from_millis(250),
    // The first subscription must come within five seconds.
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(250),
    // Ten requests a second and address.
    rest_gap: Duration::from_millis(125),
    // The channel `heartbeats` sends one a second.
    ping_every: None,
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Connection {
        member: "sequence_num",
    },
    subscribe: |instruments, _, out| {
        if instruments.is_empty() {
            return;
        }
        out.push(request("subscribe", instruments));
        // Without it quiet channels are closed after 60 to 90 seconds.
        out.push(json!({"type": "subscribe", "channel": "heartbeats"}).to_string());
    },
    // The heartbeats belong to the connection and go on.
    unsubscribe: |instruments, _, out| {
        if !instruments.is_empty() {
            out.push(request("unsubscribe", instruments));
        }
    },
    ping: None,
    answer: dialect::no_answer,
    tickers_tell_trades_time: true,
    ticker_path: |instrument| format!("/products/{instrument}/ticker"),
    token: None,
};

fn request(kind: &str, instruments: &[&str]) -> String {
    json!({"type": kind, "channel": "ticker", "product_ids": instruments}).to_string()
}

/// Members that make an answer a list of something that is not used here.
const LISTS: [&str; 3] = ["products", "candles", "currencies"];

pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if body.is_array() {
        return list(body, asked, sink);
    }
    let has = |name| body.get(name).is_some();
    if let Some(kind) = LISTS.into_iter().find(|name| has(name)) {
        sink(Event::Ignored { kind });
    } else if has("base_increment") || has("base_currency") {
        sink(Event::Ignored { kind: "product" });
    } else if has("type") || has("channel") {
        return super::parse(body, sink);
    } else if let Some(book) = body.get("pricebook") {
        let instrument = book.get_string("product_id").or(asked);
        sink(whole_book(instrument));
    } else if let Some(books) = body.get("pricebooks").filter(|books| books.is_array()) {
        best_bids_and_asks(books, sink);
    } else if let Some(trades) = body.get("trades").filter(|trades| trades.is_array()) {
        market_trades(body, trades, asked, sink);
    } else if has("bids") && has("asks") {
        sink(whole_book(asked));
    } else if has("price") && (has("bid") || has("ask") || has("trade_id")) {
        field::emit(sink, asked, ticker(body, asked));
    } else if has("iso") && has("epoch") {
        sink(Event::Ignored { kind: "time" });
    } else if has("amount") || body.get("data").is_some_and(|data| data.get("amount").is_some()) {
        // Prices of the retail shop, fees included or not said.
        sink(Event::Ignored { kind: "amount" });
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
    if first.get("trade_id").is_some() {
        for element in body.elements() {
            field::emit(sink, asked, history(element, asked));
        }
    } else if first.get("base_currency").is_some() {
        sink(Event::Ignored { kind: "products" });
    } else if first.is_array() {
        sink(Event::Ignored { kind: "candles" });
    } else if first.get("id").is_some() {
        sink(Event::Ignored { kind: "currencies" });
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

/// `GET /products/<id>/ticker` of the Exchange. Its time is that of the last trade: bid and ask
/// may be newer, never older.
fn ticker<'f>(body: Json<'f>, asked: Option<&'f str>) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(field::named(asked)?);
    for (name, value) in body.members() {
        match name {
            "price" => quote.last = field::price(value, "price")?,
            "size" => quote.last_size = field::size(value, "size")?,
            "bid" => quote.bid = field::price(value, "bid")?,
            "ask" => quote.ask = field::price(value, "ask")?,
            "time" => quote.venue_time_ns = field::rfc3339(value, "time")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// `GET /market/products/<id>/ticker` of Advanced Trade: the last trades, newest first, and beside
/// them the best bid and ask.
fn market_trades<'f>(body: Json<'f>, trades: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) {
    let latest = trades.elements().next();
    let instrument = latest
        .and_then(|trade| trade.get_string("product_id"))
        .filter(|name| !name.is_empty())
        .or(asked);
    if body.get("best_bid").is_some() || body.get("best_ask").is_some() {
        let read = || {
            let mut quote = VenueQuote::new(field::named(instrument)?);
            for (name, value) in body.members() {
                match name {
                    "best_bid" => quote.bid = field::price(value, "best_bid")?,
                    "best_ask" => quote.ask = field::price(value, "best_ask")?,
                    _ => {}
                }
            }
            for (name, value) in latest.into_iter().flat_map(Json::members) {
                match name {
                    "price" => quote.last = field::price(value, "price")?,
                    "size" => quote.last_size = field::size(value, "size")?,
                    "time" => quote.venue_time_ns = field::rfc3339(value, "time")?,
                    _ => {}
                }
            }
            quote.priced().map(Event::Quote)
        };
        field::emit(sink, instrument, read());
    } else if latest.is_none() {
        sink(Event::Ignored { kind: "trades" });
    }
    for element in trades.elements() {
        let instrument = element.get_string("product_id").or(asked);
        field::emit(sink, instrument, history(element, instrument));
    }
}

/// `GET /best_bid_ask` of Advanced Trade: books of one level each.
fn best_bids_and_asks(books: Json<'_>, sink: &mut Sink<'_>) {
    for book in books.elements() {
        field::emit_of(sink, book, "product_id", |product| {
            let mut quote = VenueQuote::new(product);
            for (name, value) in book.members() {
                let best = value.elements().next().into_iter().flat_map(Json::members);
                match name {
                    "bids" => {
                        for (name, value) in best {
                            match name {
                                "price" => quote.bid = field::price(value, "bids")?,
                                "size" => quote.bid_size = field::size(value, "bids")?,
                                _ => {}
                            }
                        }
                    }
                    "asks" => {
                        for (name, value) in best {
                            match name {
                                "price" => quote.ask = field::price(value, "asks")?,
                                "size" => quote.ask_size = field::size(value, "asks")?,
                                _ => {}
                            }
                        }
                    }
                    "time" => quote.venue_time_ns = field::rfc3339(value, "time")?,
                    _ => {}
                }
            }
            quote.priced().map(Event::Quote)
        });
    }
    if books.elements().left() == 0 {
        sink(Event::Ignored { kind: "pricebooks" });
    }
}

/// A trade of a list: known for its time, not news.
fn history<'f>(element: Json<'f>, instrument: Option<&'f str>) -> Result<Event<'f>, Invalid> {
    super::trade(element, field::named(instrument)?, true)
}

fn whole_book(instrument: Option<&str>) -> Event<'_> {
    Event::Book(Book {
        instrument: instrument.filter(|name| !name.is_empty()),
        snapshot: true,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::live_testing::{messages, rest_events, rest_is, rest_refused};
    use super::super::super::testing::dec;
    use super::super::super::{Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "coinbase";

    #[test]
    fn tickers_are_subscribed_with_the_heartbeats_that_keep_them_open() {
        assert_eq!(
            messages(DIALECT.subscribe, &["BTC-USD", "ETH-USD"]),
            [
                json!({"type": "subscribe", "product_ids": ["BTC-USD", "ETH-USD"], "channel": "ticker"}),
                json!({"type": "subscribe", "channel": "heartbeats"}),
            ]
        );
        assert_eq!(
            messages(DIALECT.unsubscribe, &["BTC-USD"]),
            [json!({"type": "unsubscribe", "product_ids": ["BTC-USD"], "channel": "ticker"})]
        );
        for of in [DIALECT.subscribe, DIALECT.unsubscribe] {
            assert!(messages(of, &[]).is_empty());
        }
        assert_eq!((DIALECT.ticker_path)("BTC-USD"), "/products/BTC-USD/ticker");
    }

    #[test]
    fn what_is_sent_stays_below_eight_messages_a_second_on_two_connections() {
        assert!(2 * 1_000 / DIALECT.message_gap.as_millis() <= 8);
        assert!(1_000 / DIALECT.rest_gap.as_millis() < 10);
    }

    #[test]
    fn an_exchange_ticker_is_a_quote_of_the_product_asked_for() {
        let body = r#"{"ask":"6267.71","bid":"6265.15","volume":"53602.03940154","trade_id":86326522,"price":"6268.48",
            "size":"0.00698254","time":"2020-03-20T00:22:57.833Z"}"#;
        rest_is(
            VENUE,
            body,
            Some("BTC-USD"),
            Event::Quote(VenueQuote {
                bid: dec("6265.15"),
                ask: dec("6267.71"),
                last: dec("6268.48"),
                last_size: dec("0.00698254"),
                venue_time_ns: Some(1_584_663_777_833_000_000),
                ..VenueQuote::new("BTC-USD")
            }),
        );
        rest_refused(VENUE, body, None, Reason::MissingField, Some("instrument"));
        rest_refused(
            VENUE,
            r#"{"bid":"0.-1","ask":"1","price":"1","time":"2020-03-20T00:22:57.833Z"}"#,
            Some("BTC-USD"),
            Reason::BadNumber,
            Some("bid"),
        );
    }

    #[test]
    fn an_advanced_ticker_is_a_quote_and_its_trades_are_history() {
        let body = r#"{"trades":[{"trade_id":"34b080bf","product_id":"BTC-USD","price":"140.91","size":"4","time":"2021-05-31T09:59:59.000Z",
            "side":"BUY"}],"best_bid":"291.13","best_ask":"292.40"}"#;
        let time = Some(1_622_455_199_000_000_000);
        let count = rest_events(VENUE, body, None, |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid: dec("291.13"),
                    ask: dec("292.4"),
                    last: dec("140.91"),
                    last_size: dec("4"),
                    venue_time_ns: time,
                    ..VenueQuote::new("BTC-USD")
                })
            ),
            _ => assert_eq!(
                event,
                Event::Trade(VenueTrade {
                    instrument: "BTC-USD",
                    price: dec("140.91").expect("a price"),
                    size: dec("4"),
                    side: Some(Side::Sell),
                    venue_time_ns: time,
                    sequence: None,
                    snapshot: true,
                })
            ),
        });
        assert_eq!(count, Ok(2));
        rest_refused(
            VENUE,
            r#"{"trades":[],"best_bid":"1","best_ask":"2"}"#,
            None,
            Reason::MissingField,
            Some("instrument"),
        );
        rest_is(VENUE, r#"{"trades":[]}"#, None, Event::Ignored { kind: "trades" });
    }

    #[test]
    fn best_bids_and_asks_are_quotes_with_their_own_names() {
        let body = r#"{"pricebooks":[{"product_id":"BTC-USD","bids":[{"price":"21930.98","size":"0.013"}],
            "asks":[{"price":"21933.98","size":"0.1"}],"time":"2023-02-08T01:00:00.25Z"},{"product_id":"ETH-USD","bids":[],"asks":[]}]}"#;
        let count = rest_events(VENUE, body, Some("BTC-USD"), |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid: dec("21930.98"),
                    ask: dec("21933.98"),
                    bid_size: dec("0.013"),
                    ask_size: dec("0.1"),
                    venue_time_ns: Some(1_675_818_000_250_000_000),
                    ..VenueQuote::new("BTC-USD")
                })
            ),
            _ => assert_eq!(event.kind(), "invalid"),
        });
        assert_eq!(count, Ok(2));
    }

    #[test]
    fn lists_books_and_errors_are_known_for_what_they_are() {
        let book = |instrument| {
            Event::Book(Book {
                instrument,
                snapshot: true,
            })
        };
        rest_is(
            VENUE,
            r#"{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"1","size":"1"}],"asks":[],"time":"2026-04-07T00:28:59Z"},"last":"1"}"#,
            None,
            book(Some("BTC-USD")),
        );
        let levels = r#"{"sequence":13051505638,"bids":[["6247.58","6.35",2]],"asks":[["6251.52","2",1]],"auction_mode":false}"#;
        rest_is(VENUE, levels, Some("BTC-USD"), book(Some("BTC-USD")));
        rest_is(VENUE, levels, None, book(None));
        for (body, kind) in [
            (r#"[{"id":"BTC-USD","base_currency":"BTC"}]"#, "products"),
            (
                r#"{"products":[{"product_id":"BTC-USD","price":"1"}],"num_products":1}"#,
                "products",
            ),
            (
                r#"{"product_id":"BTC-USD","price":"140.21","base_increment":"0.00000001"}"#,
                "product",
            ),
            (
                r#"{"id":"BTC-USD","base_currency":"BTC","quote_currency":"USD"}"#,
                "product",
            ),
            (r"[[1517443740,10106,10120.21,10106.01,10120.21,2.85]]", "candles"),
            (r#"{"candles":[{"start":"1","low":"1"}]}"#, "candles"),
            (r#"[{"id":"BTC","name":"Bitcoin"}]"#, "currencies"),
            ("[]", "list"),
            (
                r#"{"iso":"2015-01-07T23:47:25.201Z","epoch":1420674445.201}"#,
                "time",
            ),
            (
                r#"{"data":{"base":"BTC","currency":"USD","amount":"755.96"}}"#,
                "amount",
            ),
        ] {
            rest_is(VENUE, body, Some("BTC-USD"), Event::Ignored { kind });
        }
        let error = |code, message| {
            Event::Error(VenueError {
                code,
                message,
                instrument: None,
            })
        };
        rest_is(
            VENUE,
            r#"{"message":"NotFound"}"#,
            Some("X-Y"),
            error(None, "NotFound"),
        );
        rest_is(
            VENUE,
            r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#,
            None,
            error(Some("NOT_FOUND"), "valid product_id is required"),
        );
        let trades = r#"[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00","size":"0.01","side":"buy"},{"trade_id":73}]"#;
        let kinds = ["trade", "invalid"];
        let count = rest_events(VENUE, trades, Some("A-B"), |i, event| {
            assert_eq!(event.kind(), kinds[i]);
        });
        assert_eq!(count, Ok(2));
        for body in ["[1]", "7", "{}", r#"{"price":"1"}"#] {
            let count = rest_events(VENUE, body, Some("A-B"), |_, event| panic!("{event:?}"));
            assert_eq!(count, Err(Invalid::frame(Reason::UnknownShape)), "{body}");
        }
        // A message of the stream is read as the stream's.
        rest_is(
            VENUE,
            r#"{"type":"heartbeat","sequence":90,"trade_id":2,"price":"1","product_id":"A-B"}"#,
            None,
            Event::Heartbeat,
        );
    }
}
