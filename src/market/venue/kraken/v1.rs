//! Kraken WebSocket v1.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueQuote};
use super::{ack, refusal, taker_side};
use crate::market::decimal::Decimal;

/// `[channelID, payload.., channelName, pair]`; a book may have two payloads.
pub(super) fn channel(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let len = frame.elements().left();
    let unknown = Invalid::frame(Reason::UnknownShape);
    if len < 3 {
        return Err(unknown);
    }
    let mut tail = frame.elements().skip(len - 2);
    let name = tail.next().and_then(Json::string).ok_or(unknown)?;
    let pair = tail.next().and_then(Json::string).filter(|pair| !pair.is_empty());
    let payload = frame.elements().nth(1).filter(|_| len >= 4);
    let (Some(pair), Some(payload)) = (pair, payload) else {
        // Private channels end in `{"sequence":1}` and have no pair.
        sink(Event::Ignored { kind: name });
        return Ok(());
    };
    match name {
        "ticker" => field::emit(sink, Some(pair), ticker(payload, pair)),
        "spread" => field::emit(sink, Some(pair), spread(payload, pair)),
        "trade" => trades(payload, pair, sink),
        _ if name.starts_with("book") => {
            let snapshot = payload.get("as").is_some() || payload.get("bs").is_some();
            sink(Event::Book(Book {
                instrument: Some(pair),
                snapshot,
            }));
        }
        _ => sink(Event::Ignored { kind: name }),
    }
    Ok(())
}

/// An object with `event`, of v1 or of Futures.
pub(super) fn event<'f>(frame: Json<'f>, event: &'f str, sink: &mut Sink<'_>) {
    let pair = frame.get_string("pair");
    let complaint = || {
        frame
            .get_string("errorMessage")
            .or_else(|| frame.get_string("message"))
            .unwrap_or_default()
    };
    sink(match event {
        "heartbeat" | "pong" => Event::Heartbeat,
        "systemStatus" => Event::Status {
            text: frame.get_string("status").unwrap_or_default(),
        },
        "subscriptionStatus" if frame.get_string("status") == Some("error") => refusal(complaint(), pair),
        "subscriptionStatus" => {
            let name = frame
                .get("subscription")
                .and_then(|subscription| subscription.get_string("name"));
            ack(frame.get_string("channelName").or(name), pair)
        }
        "subscribed" | "unsubscribed" => ack(frame.get_string("feed"), None),
        "error" | "alert" | "subscribed_failed" | "unsubscribed_failed" => refusal(complaint(), pair),
        "info" => Event::Status { text: event },
        "subscribe" | "unsubscribe" | "ping" => Event::Request { method: event },
        _ => Event::Ignored { kind: event },
    });
}

/// `a` and `b` are `[price, whole lots, size]`, `c` is `[price, size]`.
pub(super) fn ticker<'f>(payload: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    if !payload.is_object() {
        return Err(Invalid::field("ticker", Reason::WrongType));
    }
    let mut quote = VenueQuote::new(pair);
    for (name, value) in payload.members() {
        match name {
            "a" => (quote.ask, quote.ask_size) = level(value, "a", 2)?,
            "b" => (quote.bid, quote.bid_size) = level(value, "b", 2)?,
            "c" => (quote.last, quote.last_size) = level(value, "c", 1)?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// `[bid, ask, time, bid size, ask size]`.
fn spread<'f>(payload: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let short = Invalid::field("spread", Reason::WrongType);
    let mut quote = VenueQuote::new(pair);
    let mut fields = payload.elements();
    quote.bid = field::price(fields.next().ok_or(short)?, "bid")?;
    quote.ask = field::price(fields.next().ok_or(short)?, "ask")?;
    quote.venue_time_ns = field::unix_seconds(fields.next().ok_or(short)?, "timestamp")?;
    if let Some(value) = fields.next() {
        quote.bid_size = field::size(value, "bidVolume")?;
    }
    if let Some(value) = fields.next() {
        quote.ask_size = field::size(value, "askVolume")?;
    }
    quote.priced().map(Event::Quote)
}

fn trades<'f>(payload: Json<'f>, pair: &'f str, sink: &mut Sink<'_>) {
    if !payload.is_array() {
        return field::emit(sink, Some(pair), Err(Invalid::field("trade", Reason::WrongType)));
    }
    for element in payload.elements() {
        field::emit(sink, Some(pair), trade(element, pair));
    }
    if payload.elements().left() == 0 {
        sink(Event::Ignored { kind: "trade" });
    }
}

/// `[price, volume, time, side, order type, misc]`.
fn trade<'f>(element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let short = Invalid::field("trade", Reason::WrongType);
    let mut fields = element.elements();
    let mut trade = TradeFields::new(false);
    trade.read_price(fields.next().ok_or(short)?, "price")?;
    trade.size = field::size(fields.next().ok_or(short)?, "volume")?;
    trade.venue_time_ns = field::unix_seconds(fields.next().ok_or(short)?, "time")?;
    trade.side = fields.next().and_then(Json::string).and_then(taker_side);
    trade.finish(pair, "price").map(Event::Trade)
}

/// A level's price and size, the size at index `size_at`.
fn level(
    value: Json<'_>,
    name: &'static str,
    size_at: usize,
) -> Result<(Option<Decimal>, Option<Decimal>), Invalid> {
    let short = Invalid::field(name, Reason::WrongType);
    let mut fields = value.elements();
    let price = field::price(fields.next().ok_or(short)?, name)?;
    let size = field::size(fields.nth(size_at - 1).ok_or(short)?, name)?;
    Ok((price, size))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "kraken";

    #[test]
    fn a_ticker_is_a_quote_with_lot_sizes_and_no_time() {
        is(
            VENUE,
            r#"[340,{"a":["29938.60000",12,"12.41074632"],"b":["29938.50000",0,"0.08410000"],"c":["29938.60000","0.10146338"],
                "v":["735.06931643","5243.60824494"],"t":[6120,30832],"o":["29790.00000","31614.50000"]},"ticker","XBT/USD"]"#,
            Event::Quote(VenueQuote {
                bid: dec("29938.5"),
                ask: dec("29938.6"),
                last: dec("29938.6"),
                bid_size: dec("0.0841"),
                ask_size: dec("12.41074632"),
                last_size: dec("0.10146338"),
                ..VenueQuote::new("XBT/USD")
            }),
        );
    }

    #[test]
    fn a_spread_is_a_quote_and_zero_is_no_price() {
        is(
            VENUE,
            r#"[1333337,["5698.40000","5700.00000","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"]"#,
            Event::Quote(VenueQuote {
                bid: dec("5698.4"),
                ask: dec("5700"),
                bid_size: dec("1.01234567"),
                ask_size: dec("0.98765432"),
                venue_time_ns: Some(1_542_057_299_545_897_000),
                ..VenueQuote::new("XBT/USD")
            }),
        );
        is(
            VENUE,
            r#"[1,["0.000000000","5700.00000","1542057299.545897","0","1"],"spread","A/B"]"#,
            Event::Quote(VenueQuote {
                ask: dec("5700"),
                bid_size: dec("0"),
                ask_size: dec("1"),
                venue_time_ns: Some(1_542_057_299_545_897_000),
                ..VenueQuote::new("A/B")
            }),
        );
        refused(
            VENUE,
            r#"[1,["0.000000000","0.000000000","1542057299.545897","0","0"],"spread","A/B"]"#,
            Reason::NoPrice,
            None,
        );
    }

    #[test]
    fn every_trade_of_a_message_is_one_and_a_bad_one_spoils_no_other() {
        let frame = r#"[133337,[["5541.20000","0.15850568","1534614057.321597","s","l",""],["-1","1","1534614057.3","b"],
            ["6060.00000","0.02455000","1534614057.324998","b","l",""],7],"trade","XBT/USD"]"#;
        let count = events(VENUE, frame, |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Trade(VenueTrade {
                    instrument: "XBT/USD",
                    price: dec("5541.2").expect("a price"),
                    size: dec("0.15850568"),
                    side: Some(Side::Sell),
                    venue_time_ns: Some(1_534_614_057_321_597_000),
                    sequence: None,
                    snapshot: false,
                })
            ),
            2 => assert!(matches!(event, Event::Trade(trade) if trade.side == Some(Side::Buy))),
            _ => {
                let invalid = [
                    Invalid::field("price", Reason::Negative),
                    Invalid::field("trade", Reason::WrongType),
                ][i / 2];
                assert_eq!(
                    event,
                    Event::Invalid {
                        instrument: Some("XBT/USD"),
                        invalid
                    }
                );
            }
        });
        assert_eq!(count, Ok(4));
    }

    #[test]
    fn bad_payloads_are_refused_by_name() {
        for (frame, reason, field) in [
            (
                r#"[1,{"a":["x",1,"1"]},"ticker","A/B"]"#,
                Reason::BadNumber,
                Some("a"),
            ),
            (r#"[1,{"a":["1"]},"ticker","A/B"]"#, Reason::WrongType, Some("a")),
            (r#"[1,{"a":"1"},"ticker","A/B"]"#, Reason::WrongType, Some("a")),
            (r#"[1,{},"ticker","A/B"]"#, Reason::NoPrice, None),
            (r#"[1,7,"ticker","A/B"]"#, Reason::WrongType, Some("ticker")),
            (
                r#"[1,["1","2"],"spread","A/B"]"#,
                Reason::WrongType,
                Some("spread"),
            ),
            (
                r#"[1,["1","2","soon"],"spread","A/B"]"#,
                Reason::BadTime,
                Some("timestamp"),
            ),
            (r#"[1,{},"trade","A/B"]"#, Reason::WrongType, Some("trade")),
            (
                r#"[1,[["0","1","1.5","b"]],"trade","A/B"]"#,
                Reason::ZeroPrice,
                Some("price"),
            ),
        ] {
            refused(VENUE, frame, reason, field);
        }
        for frame in [r#"[1,{},"ticker"]"#, r#"[[],"ownTrades",{"sequence":1}]"#] {
            let count = events(VENUE, frame, |_, event| {
                assert_eq!(event.kind(), "ignored", "{frame}");
            });
            assert_eq!(
                count,
                if frame.starts_with("[1") {
                    Err(Invalid::frame(Reason::UnknownShape))
                } else {
                    Ok(1)
                }
            );
        }
    }

    #[test]
    fn books_of_four_and_five_elements_are_recognised() {
        let book = |snapshot| {
            Event::Book(Book {
                instrument: Some("XBT/USD"),
                snapshot,
            })
        };
        is(
            VENUE,
            r#"[6304,{"as":[],"bs":[]},"book-25","XBT/USD"]"#,
            book(true),
        );
        is(
            VENUE,
            r#"[2304,{"a":[["0.07","0.0","1690246089.516119","r"]],"c":"2219685759"},"book-10","XBT/USD"]"#,
            book(false),
        );
        is(
            VENUE,
            r#"[320,{"a":[]},{"b":[["38800.00000","0.03017320","1622766170.577304"]],"c":"1"},"book-25","XBT/USD"]"#,
            book(false),
        );
        is(
            VENUE,
            r#"[42,["1542057314.748456"],"ohlc-5","XBT/USD"]"#,
            Event::Ignored { kind: "ohlc-5" },
        );
        is(
            VENUE,
            r#"[[{"x":{}}],"openOrders",{"sequence":59342}]"#,
            Event::Ignored { kind: "openOrders" },
        );
    }

    #[test]
    fn events_are_known_for_what_they_are() {
        is(
            VENUE,
            r#"{"connectionID":18239578009413566319,"event":"systemStatus","status":"online","version":"1.8.3"}"#,
            Event::Status { text: "online" },
        );
        is(
            VENUE,
            r#"{"connectionID":10003317158754670853281,"event":"systemStatus","status":"maintenance"}"#,
            Event::Status { text: "maintenance" },
        );
        is(
            VENUE,
            r#"{"channelID":2500,"channelName":"ticker","event":"subscriptionStatus","pair":"ALGO/XBT","status":"subscribed","subscription":{"name":"ticker"}}"#,
            ack(Some("ticker"), Some("ALGO/XBT")),
        );
        is(
            VENUE,
            r#"{"errorMessage":"Subscription name invalid","event":"subscriptionStatus","pair":"XBT/USD","status":"error","subscription":{"name":"trades"}}"#,
            Event::Error(VenueError {
                code: None,
                message: "Subscription name invalid",
                instrument: Some("XBT/USD"),
            }),
        );
        is(VENUE, r#"{"event":"heartbeat"}"#, Event::Heartbeat);
        is(VENUE, r#"{"event":"pong","reqid":42}"#, Event::Heartbeat);
        is(
            VENUE,
            r#"{"event":"ping","reqid":42}"#,
            Event::Request { method: "ping" },
        );
        is(
            VENUE,
            r#"{"event":"error","errorMessage":"Malformed request"}"#,
            Event::Error(VenueError {
                code: None,
                message: "Malformed request",
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"event":"addOrderStatus","status":"ok"}"#,
            Event::Ignored {
                kind: "addOrderStatus",
            },
        );
    }
}
