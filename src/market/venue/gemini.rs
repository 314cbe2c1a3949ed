//! Gemini: the WebSocket API (`wss://ws.gemini.com`), and before it the market data of version 2
//! (`wss://api.gemini.com/v2/marketdata`) and of version 1 (`/v1/marketdata/<symbol>`,
//! `/v1/multimarketdata`).
//!
//! | field | WebSocket API | v2 | v1 |
//! |---|---|---|---|
//! | message | object told by `e`, or by its fields where it has none; answers have `id` and `status` | object with `type` | `"type":"update"` with `events` |
//! | instrument | `s`, lower case | `symbol`, upper case | in the address; multi market data: `symbol` of each event |
//! | prices, sizes | decimal strings | decimal strings | decimal strings |
//! | time | `E`: Unix nanoseconds | `timestamp`: Unix milliseconds | `timestampms` of the message: Unix milliseconds; `timestamp`: Unix seconds |
//! | quote sequence | `u` of `bookTicker`: order book update id | no quotes | no quotes |
//! | trade sequence | `t` | `tid`, before it was there `event_id` | `tid` |
//! | side of a trade | `m`: whether the buyer was the maker | the taker's; `block` and auctions have none | `makerSide`, turned round here |
//! | history | none | `trades` of the first `l2_updates`, up to 50 and hours old | `"reason":"initial"` |
//! | whole book | the first `depthUpdate` if the address asked for it, unmarked | the first `l2_updates`: the one with `trades` | `"reason":"initial"` |
//!
//! `c` and `C` of `bookTicker` are price and size of the last trade (Gemini's own SDKs; the page
//! of streams leaves them out). The answer to `ping` is that to every other request, so the
//! dialect gives its pings an id of their own.
//!
//! Documented at developer.gemini.com/websocket (specs/asyncapi/websocket.yaml) and
//! docs.gemini.com/websocket/archived.

mod live;
mod socket;
mod v1;
mod v2;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Sink, VenueError};

/// What the ids of this side's pings begin with.
const PING_ID: &str = "ping";

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let Some(kind) = frame.get_string("type") {
        if kind == "update" {
            v1::update(frame, sink);
        } else {
            v2::message(frame, kind, sink);
        }
    } else if let Some(method) = frame.get_string("method") {
        sink(Event::Request { method });
    } else if let Some(fault) = fault(frame) {
        sink(fault);
    } else if frame.get("id").is_some() && frame.get("status").is_some() {
        sink(answer(frame));
    } else if let Some(kind) = private_events(frame) {
        sink(Event::Ignored { kind });
    } else {
        return socket::stream(frame, sink);
    }
    Ok(())
}

/// The answer to a request that was granted.
fn answer(frame: Json<'_>) -> Event<'_> {
    let is_ping = frame.get_string("id").is_some_and(|id| id.starts_with(PING_ID));
    let is_depth = frame
        .get("result")
        .is_some_and(|result| result.get("lastUpdateId").is_some());
    if is_ping {
        Event::Heartbeat
    } else if is_depth {
        Event::Book(Book {
            instrument: None,
            snapshot: true,
        })
    } else {
        Event::Ack(Ack {
            channel: None,
            instrument: None,
        })
    }
}

/// A refusal, in any of the shapes that Gemini gives one, on sockets and by REST.
fn fault(frame: Json<'_>) -> Option<Event<'_>> {
    // `{"id":4,"status":400,"error":{"code":-1013,"msg":"Invalid stream name: ..."}}`
    if let Some(error) = frame.get("error").filter(|error| !error.is_null()) {
        let text = |name| error.get_string(name);
        return Some(Event::Error(VenueError {
            code: error.get("code").and_then(Json::text),
            message: text("msg")
                .or_else(|| text("message"))
                .or_else(|| error.string())
                .or_else(|| frame.get_string("message"))
                .unwrap_or_default(),
            instrument: None,
        }));
    }
    // `{"result":"error","reason":"Bad Request","message":"..."}`
    if frame.get_string("result") == Some("error") {
        let reason = frame.get_string("reason");
        return Some(Event::Error(VenueError {
            code: reason,
            message: frame.get_string("message").or(reason).unwrap_or_default(),
            instrument: None,
        }));
    }
    // A refusal that gives no reason: `{"id":4,"status":500}`.
    frame.get("id")?;
    let status = frame.get("status")?;
    let code: u16 = status.text()?.parse().ok()?;
    (code >= 300).then_some(Event::Error(VenueError {
        code: status.text(),
        message: "",
        instrument: None,
    }))
}

/// The v1 stream of one's own orders: an array of events.
fn private_events(frame: Json<'_>) -> Option<&str> {
    frame.elements().next()?.get_string("type")
}

/// A frame that is nothing Gemini documents.
fn unknown() -> Result<(), Invalid> {
    Err(Invalid::frame(Reason::UnknownShape))
}

#[cfg(test)]
mod tests {
    use super::super::testing::is;
    use super::*;

    const VENUE: &str = "gemini";

    fn error<'f>(code: Option<&'f str>, message: &'f str) -> Event<'f> {
        Event::Error(VenueError {
            code,
            message,
            instrument: None,
        })
    }

    const ACK: Event<'static> = Event::Ack(Ack {
        channel: None,
        instrument: None,
    });

    #[test]
    fn answers_are_acks_pongs_or_errors() {
        is(VENUE, r#"{"id":1,"status":200}"#, ACK);
        is(
            VENUE,
            r#"{"id":"1","status":200,"result":{"subscriptions":["btcusd@trade"]}}"#,
            ACK,
        );
        is(VENUE, r#"{"id":"ping-7","status":200}"#, Event::Heartbeat);
        is(
            VENUE,
            r#"{"id":2,"status":200,"result":{"lastUpdateId":12345,"bids":[["45000.50","1.25"]],"asks":[]}}"#,
            Event::Book(Book {
                instrument: None,
                snapshot: true,
            }),
        );
        is(
            VENUE,
            r#"{"id":4,"status":400,"error":{"code":-1013,"msg":"Invalid stream name: x@bookTicker"}}"#,
            error(Some("-1013"), "Invalid stream name: x@bookTicker"),
        );
        is(VENUE, r#"{"id":4,"status":503}"#, error(Some("503"), ""));
    }

    #[test]
    fn old_errors_are_errors_and_requests_are_requests() {
        is(
            VENUE,
            r#"{"reason":"NoValidTradingPairs","result":"error"}"#,
            error(Some("NoValidTradingPairs"), "NoValidTradingPairs"),
        );
        is(
            VENUE,
            r#"{"result":"error","reason":"Bad Request","message":"Supplied value 'bla' is not a valid symbol."}"#,
            error(Some("Bad Request"), "Supplied value 'bla' is not a valid symbol."),
        );
        is(
            VENUE,
            r#"{"error":"missing_role","message":"x"}"#,
            error(None, "missing_role"),
        );
        for (frame, method) in [
            (
                r#"{"id":1,"method":"subscribe","params":["btcusd@bookTicker"]}"#,
                "subscribe",
            ),
            (r#"{"id":100,"method":"ping"}"#, "ping"),
            (
                r#"{"type":"subscribe","subscriptions":[{"name":"l2","symbols":["BTCUSD"]}]}"#,
                "subscribe",
            ),
        ] {
            is(VENUE, frame, Event::Request { method });
        }
        is(
            VENUE,
            r#"[{"type":"initial","order_id":"1"},{"type":"booked"}]"#,
            Event::Ignored { kind: "initial" },
        );
    }
}
