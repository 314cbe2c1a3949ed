//! Kraken WebSocket v2.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueQuote};
use super::{ack, refusal, taker_side};

/// An object with `channel`.
pub(super) fn channel<'f>(frame: Json<'f>, channel: &'f str, sink: &mut Sink<'_>) {
    if channel == "heartbeat" {
        return sink(Event::Heartbeat);
    }
    let Some(data) = frame.get("data") else {
        // Without data and type it is the `params` of a request, as documentation shows them.
        return match frame.get("type") {
            None => sink(Event::Request { method: channel }),
            Some(_) => field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField))),
        };
    };
    let snapshot = frame.get_string("type") == Some("snapshot");
    match channel {
        "ticker" => each(data, channel, sink, ticker),
        "trade" => each(data, channel, sink, |element, symbol| {
            trade(element, symbol, snapshot)
        }),
        "book" | "level3" => each(data, channel, sink, |_, symbol| {
            Ok(Event::Book(Book {
                instrument: Some(symbol),
                snapshot,
            }))
        }),
        "status" => {
            let system = data
                .elements()
                .next()
                .and_then(|status| status.get_string("system"));
            sink(Event::Status {
                text: system.unwrap_or(channel),
            });
        }
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// An object with `method`: the answer to a request, or the request itself.
pub(super) fn method<'f>(frame: Json<'f>, method: &'f str, sink: &mut Sink<'_>) {
    let result = frame.get("result");
    let symbol = frame
        .get_string("symbol")
        .or_else(|| result?.get_string("symbol"));
    if let Some(error) = frame.get_string("error") {
        sink(refusal(error, symbol));
    } else if frame.get("success").and_then(Json::boolean) == Some(false) {
        sink(refusal("", symbol));
    } else if method == "pong" {
        sink(Event::Heartbeat);
    } else if frame.get("success").is_some() {
        sink(ack(
            result.and_then(|result| result.get_string("channel")),
            symbol,
        ));
    } else {
        sink(Event::Request { method });
    }
}

fn each<'f>(
    data: Json<'f>,
    channel: &'f str,
    sink: &mut Sink<'_>,
    read: impl Fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    if !data.is_array() {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::WrongType)));
    }
    for element in data.elements() {
        field::emit_of(sink, element, "symbol", |symbol| read(element, symbol));
    }
    if data.elements().left() == 0 {
        sink(Event::Ignored { kind: channel });
    }
}

fn ticker<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(symbol);
    for (name, value) in element.members() {
        match name {
            "bid" => quote.bid = field::price(value, "bid")?,
            "bid_qty" => quote.bid_size = field::size(value, "bid_qty")?,
            "ask" => quote.ask = field::price(value, "ask")?,
            "ask_qty" => quote.ask_size = field::size(value, "ask_qty")?,
            "last" => quote.last = field::price(value, "last")?,
            "timestamp" => quote.venue_time_ns = field::rfc3339(value, "timestamp")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(element: Json<'f>, symbol: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "qty" => trade.size = field::size(value, "qty")?,
            "timestamp" => trade.venue_time_ns = field::rfc3339(value, "timestamp")?,
            "trade_id" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(symbol, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "kraken";

    #[test]
    fn a_ticker_is_a_quote_in_the_digits_the_venue_wrote() {
        is(
            VENUE,
            r#"{"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,
                "ask_qty":301727260.79999999,"last":105899.40,"volume":163.28908096,"vwap":105904.39279,"change":-0.00017,
                "change_pct":-0.17,"timestamp":"2022-12-25T09:30:59.123456Z"}]}"#,
            Event::Quote(VenueQuote {
                bid: dec("105944.2"),
                ask: dec("105944.3"),
                last: dec("105899.4"),
                bid_size: dec("2.5"),
                ask_size: dec("301727260.79999999"),
                venue_time_ns: Some(1_671_960_659_123_456_000),
                ..VenueQuote::new("BTC/USD")
            }),
        );
    }

    #[test]
    fn a_halted_instrument_gives_no_price() {
        refused(
            VENUE,
            r#"{"channel":"ticker","type":"update","data":[{"symbol":"ANETx/USD","bid":0,"bid_qty":0,"ask":0,"ask_qty":0,"timestamp":"1970-01-01T00:00:00.000000Z"}]}"#,
            Reason::NoPrice,
            None,
        );
        is(
            VENUE,
            r#"{"channel":"ticker","type":"update","data":[{"symbol":"A/B","bid":0,"ask":0.0,"last":1.5e-5,"timestamp":"1970-01-01T00:00:00.000000Z"}]}"#,
            Event::Quote(VenueQuote {
                last: dec("0.000015"),
                ..VenueQuote::new("A/B")
            }),
        );
    }

    #[test]
    fn every_trade_of_a_message_is_one_and_knows_whether_it_is_history() {
        for (kind, snapshot) in [("snapshot", true), ("update", false)] {
            let frame = format!(
                r#"{{"channel":"trade","type":"{kind}","data":[
                    {{"symbol":"BTC/USD","side":"sell","price":68466.9,"qty":0.01919415,"ord_type":"market","trade_id":70635251,"timestamp":"2024-05-27T12:33:10.826003Z"}},
                    {{"symbol":"BTC/USD","side":"buy","price":"x","qty":1}},
                    {{"side":"buy","price":1}},
                    {{"timestamp":"2024-05-27T12:33:10.980704Z","qty":7.723E-5,"price":68471.2,"side":"buy","symbol":"BTC/USD"}}]}}"#
            );
            let trade = VenueTrade {
                instrument: "BTC/USD",
                price: dec("68466.9").expect("a price"),
                size: dec("0.01919415"),
                side: Some(Side::Sell),
                venue_time_ns: Some(1_716_813_190_826_003_000),
                sequence: Some(70_635_251),
                snapshot,
            };
            let count = events(VENUE, &frame, |i, event| match i {
                0 => assert_eq!(event, Event::Trade(trade)),
                1 => assert_eq!(
                    event,
                    Event::Invalid {
                        instrument: Some("BTC/USD"),
                        invalid: Invalid::field("price", Reason::BadNumber)
                    }
                ),
                2 => assert_eq!(
                    event,
                    Event::Invalid {
                        instrument: None,
                        invalid: Invalid::field("symbol", Reason::MissingField)
                    }
                ),
                _ => assert!(matches!(event, Event::Trade(trade) if trade.size == dec("0.00007723"))),
            });
            assert_eq!(count, Ok(4));
        }
    }

    #[test]
    fn answers_are_acks_or_errors_and_the_rest_is_known_for_what_it_is() {
        is(
            VENUE,
            r#"{"method":"subscribe","result":{"channel":"ticker","snapshot":true,"symbol":"BTC/USD","warnings":["x"]},"success":true,"time_in":"2023-09-25T09:04:31.742599Z"}"#,
            ack(Some("ticker"), Some("BTC/USD")),
        );
        is(
            VENUE,
            r#"{"method":"subscribe","req_id":1,"success":true}"#,
            ack(None, None),
        );
        is(
            VENUE,
            r#"{"error":"Currency pair not supported BTC/XYZ","method":"subscribe","req_id":1,"success":false,"symbol":"BTC/XYZ"}"#,
            Event::Error(VenueError {
                code: None,
                message: "Currency pair not supported BTC/XYZ",
                instrument: Some("BTC/XYZ"),
            }),
        );
        is(
            VENUE,
            r#"{"error":"EGeneral:Permission denied","method":"add_order","success":false}"#,
            Event::Error(VenueError {
                code: Some("EGeneral"),
                message: "EGeneral:Permission denied",
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"method":"pong","req_id":42,"time_in":"2023-09-25T09:05:00.123456Z"}"#,
            Event::Heartbeat,
        );
        is(VENUE, r#"{"channel":"heartbeat"}"#, Event::Heartbeat);
        is(
            VENUE,
            r#"{"method":"subscribe","params":0,"req_id":0}"#,
            Event::Request { method: "subscribe" },
        );
        is(
            VENUE,
            r#"{"channel":"trade","snapshot":true,"symbol":"ETH/USDT"}"#,
            Event::Request { method: "trade" },
        );
        is(
            VENUE,
            r#"{"channel":"status","data":[{"api_version":"v2","connection_id":12393906104898154338,"system":"online","version":"2.0.4"}],"type":"update"}"#,
            Event::Status { text: "online" },
        );
        let book = |snapshot| {
            Event::Book(Book {
                instrument: Some("BTC/USD"),
                snapshot,
            })
        };
        is(
            VENUE,
            r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}"#,
            book(true),
        );
        is(
            VENUE,
            r#"{"channel":"level3","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]}"#,
            book(false),
        );
        is(
            VENUE,
            r#"{"channel":"ohlc","type":"update","data":[{}]}"#,
            Event::Ignored { kind: "ohlc" },
        );
        is(
            VENUE,
            r#"{"channel":"instrument","type":"snapshot","data":{"pairs":[]}}"#,
            Event::Ignored { kind: "instrument" },
        );
        is(
            VENUE,
            r#"{"channel":"trade","type":"snapshot","data":[]}"#,
            Event::Ignored { kind: "trade" },
        );
        refused(
            VENUE,
            r#"{"channel":"ticker","type":"update"}"#,
            Reason::MissingField,
            Some("data"),
        );
        refused(
            VENUE,
            r#"{"channel":"ticker","type":"update","data":{}}"#,
            Reason::WrongType,
            Some("data"),
        );
    }
}
