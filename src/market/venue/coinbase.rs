//! Coinbase: the Exchange feed (`wss://ws-feed.exchange.coinbase.com`) and the Advanced Trade
//! feed (`wss://advanced-trade-ws.coinbase.com`).
//!
//! | field | unit, form |
//! |---|---|
//! | prices, sizes | decimal strings |
//! | `time`, `timestamp` | RFC 3339, to the microsecond or nanosecond |
//! | quote sequence | Exchange: `sequence`, per product. Advanced: `sequence_num`, over all channels of a connection; tickers of one frame share it |
//! | `side` of a trade | the maker's (docs.cdp.coinbase.com: "maker order side"); turned round here |

mod live;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let Some(kind) = frame.get_string("type") {
        exchange(frame, kind, sink);
    } else if let Some(channel) = frame.get_string("channel") {
        advanced(frame, channel, sink);
    } else if frame.get("error").is_some() || frame.get("message").is_some() {
        // REST bodies and gateways answer in this shape, on the socket's address too.
        sink(error(frame, "error"));
    } else if frame.get("product_ids").is_some() {
        sink(Event::Request { method: "subscribe" });
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

fn exchange<'f>(frame: Json<'f>, kind: &'f str, sink: &mut Sink<'_>) {
    match kind {
        "ticker" => field::emit_of(sink, frame, "product_id", |product| {
            exchange_ticker(frame, product)
        }),
        // `last_match` is the latest trade before the subscription, however long ago.
        "match" | "last_match" => field::emit_of(sink, frame, "product_id", |product| {
            trade(frame, product, kind == "last_match")
        }),
        "snapshot" | "l2update" => {
            sink(book(frame, kind == "snapshot"));
        }
        "subscriptions" => exchange_subscriptions(frame, sink),
        "heartbeat" => sink(Event::Heartbeat),
        "status" => sink(Event::Status { text: kind }),
        // `{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}`
        "error" => sink(error(frame, "reason")),
        "subscribe" | "unsubscribe" => sink(Event::Request { method: kind }),
        _ => sink(Event::Ignored { kind }),
    }
}

fn exchange_ticker<'f>(frame: Json<'f>, product: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(product);
    for (name, value) in frame.members() {
        match name {
            "price" => quote.last = field::price(value, "price")?,
            "last_size" => quote.last_size = field::size(value, "last_size")?,
            "best_bid" => quote.bid = field::price(value, "best_bid")?,
            "best_bid_size" => quote.bid_size = field::size(value, "best_bid_size")?,
            "best_ask" => quote.ask = field::price(value, "best_ask")?,
            "best_ask_size" => quote.ask_size = field::size(value, "best_ask_size")?,
            "time" => quote.venue_time_ns = field::rfc3339(value, "time")?,
            "sequence" => quote.sequence = field::id(value),
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn exchange_subscriptions(frame: Json<'_>, sink: &mut Sink<'_>) {
    let mut any = false;
    for channel in frame.get("channels").into_iter().flat_map(Json::elements) {
        // An entry is an object, or in old answers the bare name of a channel.
        let name = channel.get_string("name").or_else(|| channel.string());
        for product in channel.get("product_ids").into_iter().flat_map(Json::elements) {
            sink(Event::Ack(Ack {
                channel: name,
                instrument: product.string(),
            }));
            any = true;
        }
    }
    if !any {
        sink(Event::Ack(Ack {
            channel: None,
            instrument: None,
        }));
    }
}

fn advanced<'f>(frame: Json<'f>, channel: &'f str, sink: &mut Sink<'_>) {
    match channel {
        "ticker" | "ticker_batch" => advanced_tickers(frame, sink),
        "market_trades" => advanced_trades(frame, sink),
        "l2_data" => advanced_books(frame, sink),
        "subscriptions" => advanced_subscriptions(frame, sink),
        "heartbeats" => sink(Event::Heartbeat),
        "status" => sink(Event::Status { text: channel }),
        _ => sink(Event::Ignored { kind: channel }),
    }
}

fn advanced_books(frame: Json<'_>, sink: &mut Sink<'_>) {
    let mut any = false;
    for event in events(frame) {
        any = true;
        sink(book(event, event.get_string("type") == Some("snapshot")));
    }
    if !any {
        field::emit(sink, None, Err(Invalid::field("events", Reason::MissingField)));
    }
}

fn advanced_tickers(frame: Json<'_>, sink: &mut Sink<'_>) {
    // Tickers carry no time of their own; the frame's stands for all of them.
    let time = frame
        .get("timestamp")
        .map_or(Ok(None), |value| field::rfc3339(value, "timestamp"));
    let sequence = frame.get("sequence_num").and_then(field::id);
    let mut any = false;
    for ticker in events(frame)
        .filter_map(|event| event.get("tickers"))
        .flat_map(Json::elements)
    {
        any = true;
        field::emit_of(sink, ticker, "product_id", |product| {
            let mut quote = VenueQuote::new(product);
            quote.venue_time_ns = time?;
            quote.sequence = sequence;
            for (name, value) in ticker.members() {
                match name {
                    "price" => quote.last = field::price(value, "price")?,
                    "best_bid" => quote.bid = field::price(value, "best_bid")?,
                    "best_bid_quantity" => quote.bid_size = field::size(value, "best_bid_quantity")?,
                    "best_ask" => quote.ask = field::price(value, "best_ask")?,
                    "best_ask_quantity" => quote.ask_size = field::size(value, "best_ask_quantity")?,
                    _ => {}
                }
            }
            quote.priced().map(Event::Quote)
        });
    }
    if !any {
        field::emit(sink, None, Err(Invalid::field("tickers", Reason::MissingField)));
    }
}

fn advanced_trades(frame: Json<'_>, sink: &mut Sink<'_>) {
    let mut any = false;
    for event in events(frame) {
        let snapshot = event.get_string("type") == Some("snapshot");
        let Some(trades) = event.get("trades").filter(|trades| trades.is_array()) else {
            continue;
        };
        any = true;
        for element in trades.elements() {
            field::emit_of(sink, element, "product_id", |product| {
                trade(element, product, snapshot)
            });
        }
        if trades.elements().left() == 0 {
            // A product that never traded has an empty history.
            sink(Event::Ignored {
                kind: "market_trades",
            });
        }
    }
    if !any {
        field::emit(sink, None, Err(Invalid::field("trades", Reason::MissingField)));
    }
}

fn advanced_subscriptions(frame: Json<'_>, sink: &mut Sink<'_>) {
    let mut any = false;
    for (channel, products) in events(frame)
        .filter_map(|event| event.get("subscriptions"))
        .flat_map(Json::members)
    {
        for product in products.elements() {
            sink(Event::Ack(Ack {
                channel: Some(channel),
                instrument: product.string(),
            }));
            any = true;
        }
    }
    if !any {
        sink(Event::Ack(Ack {
            channel: None,
            instrument: None,
        }));
    }
}

/// A trade of either feed: the fields used here have the same names in both.
fn trade<'f>(message: Json<'f>, product: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in message.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "size" => trade.size = field::size(value, "size")?,
            "time" => trade.venue_time_ns = field::rfc3339(value, "time")?,
            "trade_id" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(maker_side).map(Side::opposite),
            _ => {}
        }
    }
    trade.finish(product, "price").map(Event::Trade)
}

fn maker_side(text: &str) -> Option<Side> {
    match text {
        "buy" | "BUY" => Some(Side::Buy),
        "sell" | "SELL" => Some(Side::Sell),
        _ => None,
    }
}

fn book(message: Json<'_>, snapshot: bool) -> Event<'_> {
    Event::Book(Book {
        instrument: message.get_string("product_id"),
        snapshot,
    })
}

/// An error; `code` names the field with the venue's short word for it.
fn error<'f>(frame: Json<'f>, code: &str) -> Event<'f> {
    let message = frame
        .get_string("message")
        .or_else(|| frame.get_string("error_details"));
    let code = frame.get(code).and_then(Json::text);
    Event::Error(VenueError {
        code,
        message: message.unwrap_or_default(),
        instrument: None,
    })
}

fn events(frame: Json<'_>) -> impl Iterator<Item = Json<'_>> {
    frame.get("events").into_iter().flat_map(Json::elements)
}

#[cfg(test)]
mod tests {
    use super::super::VenueTrade;
    use super::super::testing::{dec, events, is, refused};
    use super::*;

    const VENUE: &str = "coinbase";

    #[test]
    fn an_exchange_ticker_is_a_quote() {
        let quote = Event::Quote(VenueQuote {
            bid: dec("17165.15"),
            ask: dec("17167.76"),
            last: dec("17165.16"),
            bid_size: dec("0.6154089"),
            ask_size: dec("0.18528568"),
            last_size: dec("0.05"),
            venue_time_ns: Some(1_669_852_800_122_581_000),
            sequence: Some(50_978_628_538),
            ..VenueQuote::new("BTC-USD")
        });
        is(
            VENUE,
            r#"{"type":"ticker","sequence":50978628538,"product_id":"BTC-USD","price":"17165.16","open_24h":"16437.94",
                "best_bid":"17165.15","best_bid_size":"0.61540890","best_ask":"17167.76","best_ask_size":"0.18528568",
                "side":"sell","time":"2022-12-01T00:00:00.122581Z","trade_id":463751434,"last_size":"0.05"}"#,
            quote,
        );
        // Another order of keys, numbers for strings, spaces.
        is(
            VENUE,
            r#" { "last_size" : 5e-2 , "time":"2022-12-01T00:00:00.122581Z","best_ask_size":0.18528568,"best_ask":17167.76,
                "best_bid_size":0.61540890,"best_bid":17165.15,"price":17165.16,"product_id":"BTC-USD",
                "sequence":"50978628538","type":"ticker" } "#,
            quote,
        );
    }

    #[test]
    fn an_empty_side_is_absent_and_never_zero() {
        for empty in ["\"0\"", "\"\"", "null", "0", "\"0.00000000\"", "0e5"] {
            is(
                VENUE,
                &format!(
                    r#"{{"type":"ticker","product_id":"A-B","price":"2","best_bid":{empty},"best_ask":"3"}}"#
                ),
                Event::Quote(VenueQuote {
                    ask: dec("3"),
                    last: dec("2"),
                    ..VenueQuote::new("A-B")
                }),
            );
            refused(
                VENUE,
                &format!(r#"{{"type":"ticker","product_id":"A-B","price":{empty},"best_bid":{empty}}}"#),
                Reason::NoPrice,
                None,
            );
        }
    }

    #[test]
    fn a_ticker_with_a_bad_field_is_refused_by_name() {
        for (value, reason) in [
            ("\"0.-10000\"", Reason::BadNumber),
            ("\"NaN\"", Reason::BadNumber),
            ("\"Infinity\"", Reason::BadNumber),
            ("\"1e999\"", Reason::BadNumber),
            ("\"-1\"", Reason::Negative),
            ("-0.5", Reason::Negative),
            ("true", Reason::WrongType),
            ("[1]", Reason::WrongType),
            ("{}", Reason::WrongType),
        ] {
            let frame = format!(r#"{{"type":"ticker","product_id":"A-B","price":"1","best_bid":{value}}}"#);
            refused(VENUE, &frame, reason, Some("best_bid"));
        }
        refused(
            VENUE,
            r#"{"type":"ticker","price":"1"}"#,
            Reason::MissingField,
            Some("product_id"),
        );
        refused(
            VENUE,
            r#"{"type":"ticker","product_id":"","price":"1"}"#,
            Reason::MissingField,
            Some("product_id"),
        );
        refused(
            VENUE,
            r#"{"type":"ticker","product_id":7,"price":"1"}"#,
            Reason::WrongType,
            Some("product_id"),
        );
        refused(
            VENUE,
            r#"{"type":"ticker","product_id":"A-B","price":"1","time":"now"}"#,
            Reason::BadTime,
            Some("time"),
        );
    }

    #[test]
    fn thirty_digits_are_cut_and_odd_ids_and_unset_times_are_absent() {
        is(
            VENUE,
            r#"{"type":"ticker","product_id":"A-B","price":"1.23456789012345678901234567890","sequence":10003317158754670853281,
                "time":"0001-01-01T00:00:00.000000Z"}"#,
            Event::Quote(VenueQuote {
                last: dec("1.23456789012345678"),
                ..VenueQuote::new("A-B")
            }),
        );
    }

    #[test]
    fn a_match_is_a_trade_with_the_takers_side_and_a_last_match_is_history() {
        let trade = VenueTrade {
            instrument: "BTC-USD",
            price: dec("57786.82").expect("a price"),
            size: dec("0.00031874"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_616_298_447_112_041_000),
            sequence: Some(147_587_438),
            snapshot: false,
        };
        let frame = |kind: &str| {
            format!(
                r#"{{"type":"{kind}","trade_id":147587438,"maker_order_id":"3dbaddb1","side":"sell","size":"0.00031874",
                    "price":"57786.82","product_id":"BTC-USD","sequence":22962703070,"time":"2021-03-21T03:47:27.112041Z"}}"#
            )
        };
        is(VENUE, &frame("match"), Event::Trade(trade));
        is(
            VENUE,
            &frame("last_match"),
            Event::Trade(VenueTrade {
                snapshot: true,
                ..trade
            }),
        );
        refused(
            VENUE,
            r#"{"type":"match","product_id":"A-B","price":"0"}"#,
            Reason::ZeroPrice,
            Some("price"),
        );
        refused(
            VENUE,
            r#"{"type":"match","product_id":"A-B"}"#,
            Reason::MissingField,
            Some("price"),
        );
    }

    #[test]
    fn every_ticker_of_an_advanced_frame_is_a_quote_and_a_bad_one_spoils_no_other() {
        let frame = r#"{"channel":"ticker","client_id":"","timestamp":"2026-08-09T21:05:48.229198328Z","sequence_num":6,"events":[
            {"type":"snapshot","tickers":[
                {"type":"ticker","product_id":"BTC-USD","price":"65086.18","best_bid":"65083.66","best_ask":"65083.67",
                 "best_bid_quantity":"0.20371215","best_ask_quantity":"0.24290402"},
                {"type":"ticker","product_id":"YFI-USD","price":"0.-10000"}]},
            {"type":"update","tickers":[{"product_id":"ETH-USD","price":"1919.41"}]}]}"#;
        let time = Some(1_786_309_548_229_198_328);
        let count = events(VENUE, frame, |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid: dec("65083.66"),
                    ask: dec("65083.67"),
                    last: dec("65086.18"),
                    bid_size: dec("0.20371215"),
                    ask_size: dec("0.24290402"),
                    venue_time_ns: time,
                    sequence: Some(6),
                    ..VenueQuote::new("BTC-USD")
                })
            ),
            1 => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("YFI-USD"),
                    invalid: Invalid::field("price", Reason::BadNumber)
                }
            ),
            _ => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    last: dec("1919.41"),
                    venue_time_ns: time,
                    sequence: Some(6),
                    ..VenueQuote::new("ETH-USD")
                })
            ),
        });
        assert_eq!(count, Ok(3));
    }

    #[test]
    fn advanced_trades_know_whether_they_are_history() {
        for (kind, snapshot) in [("snapshot", true), ("update", false)] {
            let frame = format!(
                r#"{{"channel":"market_trades","timestamp":"2026-08-09T21:05:48.228568804Z","sequence_num":0,"events":[
                    {{"type":"{kind}","trades":[{{"product_id":"BTC-USD","trade_id":"1068572090","price":"65083.67",
                    "size":"0.002186","time":"2026-08-09T21:05:42.514318Z","side":"BUY"}}]}}]}}"#
            );
            let trade = VenueTrade {
                instrument: "BTC-USD",
                price: dec("65083.67").expect("a price"),
                size: dec("0.002186"),
                side: Some(Side::Sell),
                venue_time_ns: Some(1_786_309_542_514_318_000),
                sequence: Some(1_068_572_090),
                snapshot,
            };
            is(VENUE, &frame, Event::Trade(trade));
        }
    }

    #[test]
    fn an_advanced_frame_without_its_elements_is_refused_by_name() {
        for (channel, field) in [
            ("ticker", "tickers"),
            ("market_trades", "trades"),
            ("l2_data", "events"),
        ] {
            for events in ["", r#","events":[]"#, r#","events":{}"#, r#","events":null"#] {
                let frame = format!(r#"{{"channel":"{channel}"{events}}}"#);
                refused(VENUE, &frame, Reason::MissingField, Some(field));
            }
        }
    }

    #[test]
    fn books_acks_heartbeats_and_errors_are_known_for_what_they_are() {
        let book = |snapshot| {
            Event::Book(Book {
                instrument: Some("BTC-USD"),
                snapshot,
            })
        };
        is(
            VENUE,
            r#"{"type":"snapshot","product_id":"BTC-USD","asks":[],"bids":[["1","0.-10000"]]}"#,
            book(true),
        );
        is(
            VENUE,
            r#"{"type":"l2update","product_id":"BTC-USD","changes":[["buy","1","2"]]}"#,
            book(false),
        );
        is(
            VENUE,
            r#"{"channel":"l2_data","events":[{"type":"snapshot","product_id":"BTC-USD","updates":[]}]}"#,
            book(true),
        );
        let ack = |channel, instrument| Event::Ack(Ack { channel, instrument });
        let frame =
            r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD","ETH-USD"]}]}"#;
        let count = events(VENUE, frame, |i, event| {
            assert_eq!(event, ack(Some("matches"), Some(["BTC-USD", "ETH-USD"][i])));
        });
        assert_eq!(count, Ok(2));
        is(
            VENUE,
            r#"{"type":"subscriptions","channels":[]}"#,
            ack(None, None),
        );
        is(
            VENUE,
            r#"{"channel":"subscriptions","events":[{"subscriptions":{"heartbeats":["heartbeats"]}}]}"#,
            ack(Some("heartbeats"), Some("heartbeats")),
        );
        is(
            VENUE,
            r#"{"channel":"subscriptions","events":[{"subscriptions":{}}]}"#,
            ack(None, None),
        );
        is(
            VENUE,
            r#"{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"channel":"heartbeats","events":[{"current_time":"2026-08-09 21:05:48.85 +0000 UTC m=+41691.26","heartbeat_counter":41691}]}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"channel":"candles","events":[]}"#,
            Event::Ignored { kind: "candles" },
        );
        is(
            VENUE,
            r#"{"type":"received","product_id":"BTC-USD"}"#,
            Event::Ignored { kind: "received" },
        );
        is(
            VENUE,
            r#"{"type":"subscribe","product_ids":["A-B"],"channel":"ticker"}"#,
            Event::Request { method: "subscribe" },
        );
        is(
            VENUE,
            r#"{"type":"error","message":"Failed to subscribe","reason":"ERN-USDT is delisted"}"#,
            Event::Error(VenueError {
                code: Some("ERN-USDT is delisted"),
                message: "Failed to subscribe",
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"error":"NOT_FOUND","error_details":"valid product_id is required","message":"valid product_id is required"}"#,
            Event::Error(VenueError {
                code: Some("NOT_FOUND"),
                message: "valid product_id is required",
                instrument: None,
            }),
        );
    }
}
