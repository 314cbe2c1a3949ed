//! Gemini's market data of version 1, of one symbol or of several.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Side, Sink};

/// `"type":"update"`. Changes of one book that follow each other are one event.
pub(super) fn update(frame: Json<'_>, sink: &mut Sink<'_>) {
    let Some(events) = frame.get("events").filter(|events| events.is_array()) else {
        return field::emit(sink, None, Err(Invalid::field("events", Reason::MissingField)));
    };
    let mut last_book = None;
    let mut any = false;
    for event in events.elements() {
        let symbol = event.get_string("symbol");
        let kind = event.get_string("type").unwrap_or("update");
        let book = (kind == "change").then(|| Book {
            instrument: symbol,
            snapshot: event.get_string("reason") == Some("initial"),
        });
        if let Some(book) = book {
            if last_book != Some(book) {
                sink(Event::Book(book));
            }
        } else if kind == "trade" && symbol.is_some() {
            field::emit_of(sink, event, "symbol", |symbol| trade(frame, event, symbol));
        } else {
            // Auctions; and trades of a connection for one symbol, which only its address names.
            sink(Event::Ignored { kind });
        }
        last_book = book;
        any = true;
    }
    if !any {
        sink(Event::Ignored { kind: "update" });
    }
}

fn trade<'f>(frame: Json<'f>, event: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in event.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "amount" => trade.size = field::size(value, "amount")?,
            "tid" => trade.sequence = field::id(value),
            "makerSide" => trade.side = value.string().and_then(maker_side).map(Side::opposite),
            _ => {}
        }
    }
    trade.venue_time_ns = time(frame)?;
    trade.finish(symbol, "price").map(Event::Trade)
}

/// The time of a message, or of an element of a REST answer: in milliseconds where it has them.
pub(super) fn time(message: Json<'_>) -> Result<Option<u64>, Invalid> {
    if let Some(millis) = message.get("timestampms") {
        return field::unix_millis(millis, "timestampms");
    }
    message
        .get("timestamp")
        .map_or(Ok(None), |seconds| field::unix_seconds(seconds, "timestamp"))
}

fn maker_side(text: &str) -> Option<Side> {
    match text {
        "bid" => Some(Side::Buy),
        "ask" => Some(Side::Sell),
        // `auction` has no maker.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::VenueTrade;
    use super::super::super::testing::{dec, events, is, refused};
    use super::*;

    const VENUE: &str = "gemini";

    #[test]
    fn changes_are_one_book_and_the_first_ones_the_whole_of_it() {
        for (reason, snapshot) in [("initial", true), ("place", false)] {
            is(
                VENUE,
                &format!(
                    r#"{{"type":"update","eventId":5375461993,"socket_sequence":0,"events":[
                        {{"type":"change","reason":"{reason}","price":"3641.61","delta":"0.8","remaining":"0.8","side":"bid"}},
                        {{"type":"change","reason":"{reason}","price":"3641.62","delta":"4","remaining":"4","side":"ask"}}]}}"#
                ),
                Event::Book(Book {
                    instrument: None,
                    snapshot,
                }),
            );
        }
    }

    #[test]
    fn a_trade_that_names_its_symbol_is_one_and_comes_in_its_place() {
        let frame = r#"{"type":"update","eventId":1,"timestamp":1547760288,"timestampms":1547760288001,"socket_sequence":15,"events":[
            {"type":"trade","tid":5375547515,"price":"3632.54","amount":"0.1362819142","makerSide":"ask","symbol":"BTCUSD"},
            {"type":"change","symbol":"BTCUSD","side":"ask","price":"3632.54","remaining":"0","delta":"-1","reason":"trade"},
            {"type":"change","symbol":"ETHUSD","side":"ask","price":"1","remaining":"0","delta":"-1","reason":"cancel"},
            {"type":"trade","symbol":"ETHUSD","price":"-1"}]}"#;
        let count = events(VENUE, frame, |i, event| match i {
            0 => assert_eq!(
                event,
                Event::Trade(VenueTrade {
                    instrument: "BTCUSD",
                    price: dec("3632.54").expect("a price"),
                    size: dec("0.1362819142"),
                    side: Some(Side::Buy),
                    venue_time_ns: Some(1_547_760_288_001_000_000),
                    sequence: Some(5_375_547_515),
                    snapshot: false,
                })
            ),
            1 | 2 => assert_eq!(
                event,
                Event::Book(Book {
                    instrument: Some(["BTCUSD", "ETHUSD"][i - 1]),
                    snapshot: false
                })
            ),
            _ => assert_eq!(
                event,
                Event::Invalid {
                    instrument: Some("ETHUSD"),
                    invalid: Invalid::field("price", Reason::Negative)
                }
            ),
        });
        assert_eq!(count, Ok(4));
    }

    #[test]
    fn seconds_serve_where_there_are_no_milliseconds() {
        let frame = |time: &str| {
            format!(
                r#"{{"type":"update",{time}"events":[{{"type":"trade","symbol":"AB","price":"1","makerSide":"auction"}}]}}"#
            )
        };
        let trade = |time| {
            Event::Trade(VenueTrade {
                instrument: "AB",
                price: dec("1").expect("a price"),
                size: None,
                side: None,
                venue_time_ns: time,
                sequence: None,
                snapshot: false,
            })
        };
        is(
            VENUE,
            &frame(r#""timestamp":1486501200,"#),
            trade(Some(1_486_501_200_000_000_000)),
        );
        is(VENUE, &frame(""), trade(None));
        refused(
            VENUE,
            &frame(r#""timestampms":"x","#),
            Reason::BadTime,
            Some("timestampms"),
        );
    }

    #[test]
    fn what_names_no_symbol_or_is_an_auction_is_ignored_by_its_kind() {
        for kind in [
            "trade",
            "auction_indicative",
            "auction_result",
            "auction_open",
            "block_trade",
        ] {
            is(
                VENUE,
                &format!(
                    r#"{{"type":"update","eventId":1,"events":[{{"type":"{kind}","price":"3632.54"}}]}}"#
                ),
                Event::Ignored { kind },
            );
        }
        is(
            VENUE,
            r#"{"type":"update","events":[]}"#,
            Event::Ignored { kind: "update" },
        );
        is(
            VENUE,
            r#"{"type":"update","events":[7]}"#,
            Event::Ignored { kind: "update" },
        );
        refused(
            VENUE,
            r#"{"type":"update"}"#,
            Reason::MissingField,
            Some("events"),
        );
    }
}
