//! Gemini's market data of version 2: `l2_updates`, `trade`, `heartbeat`.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Ack, Book, Event, Invalid, Side, Sink};

/// An object with `type`, other than version 1's `update`.
pub(super) fn message<'f>(frame: Json<'f>, kind: &'f str, sink: &mut Sink<'_>) {
    match kind {
        "l2_updates" => l2_updates(frame, sink),
        "trade" => field::emit_of(sink, frame, "symbol", |symbol| trade(frame, symbol, false)),
        "heartbeat" => sink(Event::Heartbeat),
        "subscribe" | "unsubscribe" => sink(Event::Request { method: kind }),
        "subscription_ack" => sink(Event::Ack(Ack {
            channel: None,
            instrument: None,
        })),
        // Candles, auctions, marks and fundings of perpetuals, one's own orders.
        _ => sink(Event::Ignored { kind }),
    }
}

/// The first message of a symbol is its whole book, and brings its latest trades with it.
fn l2_updates(frame: Json<'_>, sink: &mut Sink<'_>) {
    let trades = frame.get("trades");
    sink(Event::Book(Book {
        instrument: frame.get_string("symbol"),
        snapshot: trades.is_some(),
    }));
    for element in trades.into_iter().flat_map(Json::elements) {
        field::emit_of(sink, element, "symbol", |symbol| trade(element, symbol, true));
    }
}

fn trade<'f>(message: Json<'f>, symbol: &'f str, snapshot: bool) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    let mut event_id = None;
    for (name, value) in message.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "quantity" => trade.size = field::size(value, "quantity")?,
            "timestamp" => trade.venue_time_ns = field::unix_millis(value, "timestamp")?,
            "side" => trade.side = value.string().and_then(taker_side),
            "tid" => trade.sequence = field::id(value),
            "event_id" => event_id = field::id(value),
            _ => {}
        }
    }
    trade.sequence = trade.sequence.or(event_id);
    trade.finish(symbol, "price").map(Event::Trade)
}

/// What an incoming order did to the book. Block trades and auctions have no taker.
pub(super) fn taker_side(text: &str) -> Option<Side> {
    match text {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Reason, VenueTrade};
    use super::*;

    const VENUE: &str = "gemini";

    fn trade_of(side: Option<Side>) -> VenueTrade<'static> {
        VenueTrade {
            instrument: "BTCUSD",
            price: dec("9122.04").expect("a price"),
            size: dec("0.0073173"),
            side,
            venue_time_ns: Some(1_560_976_400_428_000_000),
            sequence: Some(3_575_573_053),
            snapshot: false,
        }
    }

    #[test]
    fn a_trade_bears_the_takers_side_where_there_was_a_taker() {
        for (word, side) in [
            ("buy", Some(Side::Buy)),
            ("sell", Some(Side::Sell)),
            ("block", None),
            ("auction", None),
        ] {
            is(
                VENUE,
                &format!(
                    r#"{{"type":"trade","symbol":"BTCUSD","event_id":3575573053,"timestamp":1560976400428,
                        "price":"9122.04000000","quantity":"0.00731730","side":"{word}"}}"#
                ),
                Event::Trade(trade_of(side)),
            );
        }
        // Where a trade has an id of its own, it is not the event's.
        is(
            VENUE,
            r#"{"event_id":1764551741926942,"price":9122.04,"quantity":7.3173e-3,"side":"buy","symbol":"BTCUSD",
                "tid":3575573053,"timestamp":1560976400428,"type":"trade"}"#,
            Event::Trade(trade_of(Some(Side::Buy))),
        );
    }

    #[test]
    fn a_bad_trade_is_refused_by_the_name_of_its_field() {
        let frame = |price: &str, time: &str| {
            format!(r#"{{"type":"trade","symbol":"AB","price":{price},"timestamp":{time}}}"#)
        };
        for (price, reason) in [
            ("\"0\"", Reason::ZeroPrice),
            ("null", Reason::ZeroPrice),
            ("\"\"", Reason::ZeroPrice),
            ("\"-1\"", Reason::Negative),
            ("\"0.-10000\"", Reason::BadNumber),
            ("\"nan\"", Reason::BadNumber),
            ("[1]", Reason::WrongType),
        ] {
            refused(VENUE, &frame(price, "1"), reason, Some("price"));
        }
        for time in ["-5", "1560976400428.5", "\"now\"", "1e12", "99999999999999999999"] {
            refused(VENUE, &frame("1", time), Reason::BadTime, Some("timestamp"));
        }
        refused(
            VENUE,
            r#"{"type":"trade","price":"1"}"#,
            Reason::MissingField,
            Some("symbol"),
        );
        refused(
            VENUE,
            r#"{"type":"trade","symbol":7,"price":"1"}"#,
            Reason::WrongType,
            Some("symbol"),
        );
    }

    #[test]
    fn the_first_l2_updates_is_a_book_and_then_history() {
        let frame = r#"{"type":"l2_updates","symbol":"BTCUSD","changes":[["buy","9122.04","0.00121425"],["sell","9122.07","0.98942292"]],
            "trades":[
                {"type":"trade","symbol":"BTCUSD","event_id":3575573053,"timestamp":1560976400428,"price":"9122.04","quantity":"0.0073173","side":"sell"},
                {"type":"trade","symbol":"BTCUSD","event_id":1,"price":"x"},
                {"type":"trade","symbol":"BTCUSD","event_id":2,"price":"9122.05"}],
            "auction_events":[{"type":"auction_result","symbol":"BTCUSD","auction_price":"9145.00"}]}"#;
        let count = events(VENUE, frame, |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Book(Book {
                    instrument: Some("BTCUSD"),
                    snapshot: true
                })
            ),
            1 => assert_eq!(
                event,
                Event::Trade(VenueTrade {
                    snapshot: true,
                    ..trade_of(Some(Side::Sell))
                })
            ),
            2 => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("BTCUSD"),
                    invalid: Invalid::field("price", Reason::BadNumber)
                }
            ),
            _ => assert!(
                matches!(event, Event::Trade(trade) if trade.snapshot && trade.price == dec("9122.05").expect("a price"))
            ),
        });
        assert_eq!(count, Ok(4));
        // An instrument that was never traded has an empty history, and a whole book all the same.
        for (trades, snapshot) in [(r#","trades":[]"#, true), ("", false)] {
            is(
                VENUE,
                &format!(r#"{{"type":"l2_updates","symbol":"BTCUSD","changes":[["buy","1","0"]]{trades}}}"#),
                Event::Book(Book {
                    instrument: Some("BTCUSD"),
                    snapshot,
                }),
            );
        }
    }

    #[test]
    fn everything_else_is_known_for_what_it_is() {
        is(
            VENUE,
            r#"{"type":"heartbeat","timestamp":1618677942928}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"type":"subscription_ack","accountId":5365}"#,
            Event::Ack(Ack {
                channel: None,
                instrument: None,
            }),
        );
        for kind in [
            "candles_1m_updates",
            "mark_price_updates",
            "funding_amount_updates",
            "new",
        ] {
            is(
                VENUE,
                &format!(r#"{{"type":"{kind}","symbol":"BTCUSD","changes":[]}}"#),
                Event::Ignored { kind },
            );
        }
    }

    #[test]
    fn a_history_of_ten_thousand_trades_is_read_to_its_end() {
        let one = r#"{"symbol":"AB","price":"1","side":"buy"}"#;
        let frame = format!(
            r#"{{"type":"l2_updates","symbol":"AB","changes":[],"trades":[{}{one}]}}"#,
            format!("{one},").repeat(9_999)
        );
        assert_eq!(events(VENUE, &frame, |_, _| ()), Ok(10_001));
    }
}
