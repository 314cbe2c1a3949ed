//! Kraken: WebSocket v1 (`wss://ws.kraken.com`) and v2 (`wss://ws.kraken.com/v2`).
//!
//! | field | v1 | v2 |
//! |---|---|---|
//! | message | array `[channelID, payload.., channelName, pair]`, or object with `event` | object with `channel`, or with `method` |
//! | prices, sizes | decimal strings; whole lots are integers beside them | JSON numbers, read from their text |
//! | time | `ticker`: none; `trade`, `spread`: Unix seconds with 6 decimals | `timestamp`: RFC 3339 |
//! | quote sequence | none | none |
//! | trade sequence | none | `trade_id` |
//! | side of a trade | the taker's: `b`, `s` | the taker's: `buy`, `sell` |
//! | history | the first `trade` message after a subscription, unmarked | `"type":"snapshot"` |
//!
//! Kraken Futures (`feed`) quotes derivatives only: its books are recognised, the rest is ignored.

mod live;

mod v1;
mod v2;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError};

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if frame.is_array() {
        v1::channel(frame, sink)
    } else if let Some(event) = frame.get_string("event") {
        v1::event(frame, event, sink);
        Ok(())
    } else if let Some(channel) = frame.get_string("channel") {
        v2::channel(frame, channel, sink);
        Ok(())
    } else if let Some(method) = frame.get_string("method") {
        v2::method(frame, method, sink);
        Ok(())
    } else if let Some(feed) = frame.get_string("feed") {
        sink(futures(frame, feed));
        Ok(())
    } else {
        rest(frame, sink)
    }
}

/// Kraken Futures.
fn futures<'f>(frame: Json<'f>, feed: &'f str) -> Event<'f> {
    let instrument = frame.get_string("product_id");
    match feed {
        "book_snapshot" => Event::Book(Book {
            instrument,
            snapshot: true,
        }),
        "book" => Event::Book(Book {
            instrument,
            snapshot: false,
        }),
        "heartbeat" => Event::Heartbeat,
        _ => Event::Ignored { kind: feed },
    }
}

/// A REST answer: `{"error":[..],"result":..}`, and of Futures `{"result":"error","error":".."}`.
///
/// Kraken marks an error by a leading `E` and a warning, with which the result stands, by `W`.
fn rest(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if !frame.is_object() {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    let Some(error) = frame.get("error") else {
        let kind = if frame.get("result").is_some() {
            "result"
        } else {
            ""
        };
        if kind.is_empty() {
            return Err(Invalid::frame(Reason::UnknownShape));
        }
        sink(Event::Ignored { kind });
        return Ok(());
    };
    let mut any = false;
    for text in error
        .string()
        .into_iter()
        .chain(error.elements().filter_map(Json::string))
    {
        any = true;
        sink(if text.starts_with('W') {
            Event::Status { text }
        } else {
            refusal(text, None)
        });
    }
    if !any {
        sink(Event::Ignored { kind: "result" });
    }
    Ok(())
}

fn refusal<'f>(message: &'f str, instrument: Option<&'f str>) -> Event<'f> {
    // `EQuery:Unknown asset pair` bears its class in front; plain sentences bear none.
    let class = message.split_once(':').map(|(class, _)| class);
    let code = class
        .filter(|class| class.starts_with('E') && class.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    Event::Error(VenueError {
        code,
        message,
        instrument,
    })
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "b" | "buy" => Some(Side::Buy),
        "s" | "sell" => Some(Side::Sell),
        _ => None,
    }
}

const fn ack<'f>(channel: Option<&'f str>, instrument: Option<&'f str>) -> Event<'f> {
    Event::Ack(Ack { channel, instrument })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{events, is};
    use super::*;

    const VENUE: &str = "kraken";

    #[test]
    fn futures_feeds_are_recognised_and_give_no_price() {
        let book = |snapshot| {
            Event::Book(Book {
                instrument: Some("PI_XBTUSD"),
                snapshot,
            })
        };
        is(
            VENUE,
            r#"{"feed":"book_snapshot","product_id":"PI_XBTUSD","timestamp":1646478671000,"bids":[{"price":39253.0,"qty":1.0}],"asks":[]}"#,
            book(true),
        );
        is(
            VENUE,
            r#"{"feed":"book","product_id":"PI_XBTUSD","side":"sell","seq":1,"price":34981,"qty":0}"#,
            book(false),
        );
        is(
            VENUE,
            r#"{"feed":"heartbeat","time":1534262350627}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"feed":"ticker","product_id":"PI_XBTUSD","bid":1.0,"ask":2.0}"#,
            Event::Ignored { kind: "ticker" },
        );
        is(
            VENUE,
            r#"{"event":"subscribed","feed":"ticker","product_ids":["PI_XBTUSD","FI_ETHUSD_220624"]}"#,
            ack(Some("ticker"), None),
        );
    }

    #[test]
    fn rest_bodies_tell_errors_from_warnings() {
        let error = |code, message| {
            Event::Error(VenueError {
                code,
                message,
                instrument: None,
            })
        };
        is(
            VENUE,
            r#"{"error":["EQuery:Unknown asset pair"],"result":{}}"#,
            error(Some("EQuery"), "EQuery:Unknown asset pair"),
        );
        is(
            VENUE,
            r#"{"error":["WGeneral:Danger"],"result":{}}"#,
            Event::Status {
                text: "WGeneral:Danger",
            },
        );
        is(
            VENUE,
            r#"{"error":"WGeneral:Unknown warning"}"#,
            Event::Status {
                text: "WGeneral:Unknown warning",
            },
        );
        is(
            VENUE,
            r#"{"result":"error","error":"invalid range"}"#,
            error(None, "invalid range"),
        );
        is(
            VENUE,
            r#"{"error":[],"result":{"XXBTZUSD":{}}}"#,
            Event::Ignored { kind: "result" },
        );
        is(
            VENUE,
            r#"{"result":"success","orderBook":{}}"#,
            Event::Ignored { kind: "result" },
        );
        let nothing = events(
            VENUE,
            r#"{"serverTime":"2022-06-04T06:30:03.653Z"}"#,
            |_, event| panic!("{event:?}"),
        );
        assert_eq!(nothing, Err(Invalid::frame(Reason::UnknownShape)));
    }
}
