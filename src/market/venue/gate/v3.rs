//! Gate.io WebSocket v3: retired, but recorded.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Ack, Book, Event, Invalid, Reason, Sink, VenueQuote};
use super::taker_side;

/// An object with `method`: `<channel>.update`, or a request.
pub(super) fn method<'f>(frame: Json<'f>, method: &'f str, sink: &mut Sink<'_>) {
    let Some(channel) = method.strip_suffix(".update") else {
        return sink(Event::Request { method });
    };
    let Some(params) = frame.get("params").filter(|params| params.is_array()) else {
        return field::emit(sink, None, Err(Invalid::field("params", Reason::MissingField)));
    };
    let mut params = params.elements();
    let (first, second, third) = (params.next(), params.next(), params.next());
    match channel {
        "ticker" => of_pair(first, second, sink, ticker),
        "trades" => trades(first, second, sink),
        "depth" => sink(Event::Book(Book {
            instrument: third.and_then(Json::string),
            snapshot: first.and_then(Json::boolean) == Some(true),
        })),
        _ => sink(Event::Ignored { kind: channel }),
    }
}

/// `{"error":null,"result":{"status":"success"},"id":1}`.
pub(super) fn answer(frame: Json<'_>, sink: &mut Sink<'_>) {
    let result = frame.get("result");
    let text = result.and_then(Json::string);
    let status = result.and_then(|result| result.get_string("status"));
    sink(if text == Some("pong") {
        Event::Heartbeat
    } else if status == Some("success") {
        Event::Ack(Ack {
            channel: None,
            instrument: None,
        })
    } else {
        Event::Ignored { kind: "result" }
    });
}

/// The second of the `params` read as that of the pair in the first.
fn of_pair<'f>(
    pair: Option<Json<'f>>,
    element: Option<Json<'f>>,
    sink: &mut Sink<'_>,
    read: impl FnOnce(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    let Some(pair) = pair.and_then(Json::string).filter(|pair| !pair.is_empty()) else {
        return field::emit(sink, None, Err(Invalid::field("params", Reason::MissingField)));
    };
    let event = element
        .filter(|element| element.is_object())
        .ok_or(Invalid::field("params", Reason::WrongType))
        .and_then(|element| read(element, pair));
    field::emit(sink, Some(pair), event);
}

fn trades<'f>(pair: Option<Json<'f>>, list: Option<Json<'f>>, sink: &mut Sink<'_>) {
    let Some(list) = list.filter(|list| list.is_array()) else {
        return of_pair(pair, None, sink, trade);
    };
    for element in list.elements() {
        of_pair(pair, Some(element), sink, trade);
    }
    if list.elements().left() == 0 {
        sink(Event::Ignored { kind: "trades" });
    }
}

fn ticker<'f>(element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(pair);
    if let Some(last) = element.get("last") {
        quote.last = field::price(last, "last")?;
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(element: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "amount" => trade.size = field::size(value, "amount")?,
            "time" => trade.venue_time_ns = field::unix_seconds(value, "time")?,
            "id" => trade.sequence = field::id(value),
            "type" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(pair, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "gate";

    fn update(channel: &str, params: &str) -> String {
        format!(r#"{{"method": "{channel}.update", "params": {params}, "id": null}}"#)
    }

    #[test]
    fn a_ticker_is_a_last_price() {
        is(
            VENUE,
            &update(
                "ticker",
                r#"["BTC_USDT", {"period": 86400, "open": "45366", "close": "44681", "last": "44681", "change": "-1.54"}]"#,
            ),
            Event::Quote(VenueQuote {
                last: dec("44681"),
                ..VenueQuote::new("BTC_USDT")
            }),
        );
        refused(
            VENUE,
            &update("ticker", r#"["A_B",{"last":"0"}]"#),
            Reason::NoPrice,
            None,
        );
        refused(VENUE, &update("ticker", r#"["A_B",{}]"#), Reason::NoPrice, None);
        refused(
            VENUE,
            &update("ticker", r#"["A_B",7]"#),
            Reason::WrongType,
            Some("params"),
        );
        refused(
            VENUE,
            &update("ticker", r#"[7,{"last":"1"}]"#),
            Reason::MissingField,
            Some("params"),
        );
        refused(
            VENUE,
            &update("ticker", "{}"),
            Reason::MissingField,
            Some("params"),
        );
    }

    #[test]
    fn every_trade_of_an_update_is_one_and_a_bad_one_spoils_no_other() {
        let frame = update(
            "trades",
            r#"["BTC_USDT", [{"id": 643716793, "time": 1616327474.6243241, "price": "56173.28", "amount": "0.0037", "type": "sell"},
                {"id": 1, "time": "soon", "price": "1"}, 7, {"id": 2, "price": "2", "type": "buy"}]]"#,
        );
        let trade = VenueTrade {
            instrument: "BTC_USDT",
            price: dec("56173.28").expect("a price"),
            size: dec("0.0037"),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_616_327_474_624_324_100),
            sequence: Some(643_716_793),
            snapshot: false,
        };
        let invalid = |field, reason| Event::Invalid {
            instrument: Some("BTC_USDT"),
            invalid: Invalid::field(field, reason),
        };
        let expected = [
            Event::Trade(trade),
            invalid("time", Reason::BadTime),
            invalid("params", Reason::WrongType),
            Event::Trade(VenueTrade {
                price: dec("2").expect("a price"),
                size: None,
                side: Some(Side::Buy),
                venue_time_ns: None,
                sequence: Some(2),
                ..trade
            }),
        ];
        let count = events(VENUE, &frame, |i, event| assert_eq!(event, expected[i]));
        assert_eq!(count, Ok(expected.len()));
        is(
            VENUE,
            &update("trades", r#"["A_B",[]]"#),
            Event::Ignored { kind: "trades" },
        );
        refused(
            VENUE,
            &update("trades", r#"["A_B",{}]"#),
            Reason::WrongType,
            Some("params"),
        );
    }

    #[test]
    fn books_whole_and_changed_are_told_apart() {
        for snapshot in [true, false] {
            is(
                VENUE,
                &update(
                    "depth",
                    &format!(r#"[{snapshot}, {{"asks": [["3.544", "20.73"]], "bids": []}}, "BTC_USDT"]"#),
                ),
                Event::Book(Book {
                    instrument: Some("BTC_USDT"),
                    snapshot,
                }),
            );
        }
    }

    #[test]
    fn answers_and_requests_are_known_for_what_they_are() {
        is(
            VENUE,
            r#"{"error": null, "result": {"status": "success"}, "id": 1}"#,
            Event::Ack(Ack {
                channel: None,
                instrument: None,
            }),
        );
        is(
            VENUE,
            r#"{"error": null, "result": "pong", "id": 1}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"error": null, "result": {"period": 86400, "last": "1"}, "id": 1}"#,
            Event::Ignored { kind: "result" },
        );
        is(
            VENUE,
            r#"{"error": {"code": 1, "message": "invalid argument"}, "result": null, "id": 1}"#,
            Event::Error(VenueError {
                code: Some("1"),
                message: "invalid argument",
                instrument: None,
            }),
        );
        for method in ["trades.subscribe", "server.ping"] {
            is(
                VENUE,
                &format!(r#"{{"id":12312,"method":"{method}","params":[]}}"#),
                Event::Request { method },
            );
        }
        is(
            VENUE,
            &update("kline", "[[1492358400]]"),
            Event::Ignored { kind: "kline" },
        );
    }
}
