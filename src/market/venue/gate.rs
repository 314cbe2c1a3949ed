//! Gate.io: spot WebSocket v4 (`wss://api.gateio.ws/ws/v4/`), futures WebSocket v4
//! (`wss://fx-ws.gateio.ws/v4/ws/..`), and the retired v3 (`wss://ws.gate.io/v3/`).
//!
//! | field | v4 | v3 |
//! |---|---|---|
//! | message | `channel`, `event`, `result` | `method`, `params` |
//! | prices, sizes | decimal strings; of futures also JSON numbers | decimal strings |
//! | time of a quote | `book_ticker`: `t`, Unix milliseconds; `tickers`: that of the message, `time_ms` (Unix milliseconds) or else `time` (Unix seconds) | none |
//! | time of a trade | `create_time_ms`, Unix milliseconds, as text with decimals; or else `create_time`, Unix seconds | `time`, Unix seconds with decimals |
//! | quote sequence | `u` of `book_ticker`: order book update id, per pair | none |
//! | trade sequence | `id` | `id` |
//! | side of a trade | the taker's: `side`; futures: the sign of `size` | the taker's: `type` |
//! | sizes of futures | numbers of contracts, not base units: left out here | no futures |
//! | history | none | the first `trades.update` after a subscription, newest first, unmarked: `time` must tell |
//! | whole book | `order_book` of spot, `event` `all` of futures, `"full":true` of `obu` | first of `params` |
//!
//! An error may stand beside `"result":{"status":"fail"}` with `event` still `subscribe`, and
//! fails every pair of the request; `"error":null` is none. `event` of a pong is empty.
//!
//! Documented at gate.com/docs/developers/apiv4/ws and /futures/ws.

mod live;
mod v3;
mod v4;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Book, Event, Invalid, Reason, Side, Sink, VenueError};

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if frame.get_string("type") == Some("service_upgrade") {
        // The connection will soon be closed; the channel is empty.
        sink(Event::Status {
            text: "service_upgrade",
        });
    } else if let Some(method) = frame.get_string("method") {
        v3::method(frame, method, sink);
    } else if let Some(channel) = frame.get_string("channel") {
        v4::channel(frame, channel, sink);
    } else if let Some(header) = frame.get("header") {
        api(frame, header, sink);
    } else if let Some(fault) = fault(frame, None) {
        sink(fault);
    } else if frame.get("asks").is_some() && frame.get("bids").is_some() {
        sink(Event::Book(Book {
            instrument: None,
            snapshot: true,
        }));
    } else if frame.get("u").is_some() && frame.get("s").is_some() {
        // A push without its envelope.
        v4::bare(frame, sink);
    } else if frame.get("result").is_some() && frame.get("id").is_some() {
        v3::answer(frame, sink);
    } else {
        return Err(Invalid::frame(Reason::UnknownShape));
    }
    Ok(())
}

/// The answer to a request by the WebSocket API: orders and accounts, of no use here.
fn api<'f>(frame: Json<'f>, header: Json<'f>, sink: &mut Sink<'_>) {
    let errs = frame.get("data").and_then(|data| data.get("errs"));
    sink(match errs {
        Some(errs) => Event::Error(VenueError {
            code: errs.get_string("label"),
            message: errs.get_string("message").unwrap_or_default(),
            instrument: None,
        }),
        None => Event::Ignored {
            kind: header.get_string("channel").unwrap_or("api"),
        },
    });
}

/// A refusal, in any of the shapes that Gate gives one, on sockets and by REST; `instrument` is
/// the one it is about.
fn fault<'f>(frame: Json<'f>, instrument: Option<&'f str>) -> Option<Event<'f>> {
    let refusal = |code, message: Option<&'f str>| {
        Some(Event::Error(VenueError {
            code,
            message: message.unwrap_or_default(),
            instrument,
        }))
    };
    // `{"error":{"code":2,"message":"unknown currency pair: NOPE_USD"},..}`
    if let Some(error) = frame.get("error").filter(|error| !error.is_null()) {
        let message = error.get_string("message").or_else(|| error.string());
        return refusal(error.get("code").and_then(Json::text), message);
    }
    // `{"label":"INVALID_CURRENCY_PAIR","message":".."}`; version 2 of REST: `"result":"false"`.
    let message = frame.get_string("message").or_else(|| frame.get_string("detail"));
    if let Some(label) = frame.get_string("label") {
        return refusal(Some(label), message);
    }
    let result = frame.get("result")?;
    if result.get_string("status") == Some("fail") {
        return refusal(None, message);
    }
    if result.string() == Some("false") || result.boolean() == Some(false) {
        return refusal(frame.get("code").and_then(Json::text), message);
    }
    None
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "buy" => Some(Side::Buy),
        "sell" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::is;
    use super::*;

    const VENUE: &str = "gate";

    #[test]
    fn errors_outside_any_channel_are_errors() {
        let error = |code, message| {
            Event::Error(VenueError {
                code,
                message,
                instrument: None,
            })
        };
        is(
            VENUE,
            r#"{"text":"t-742","label":"BALANCE_NOT_ENOUGH","message":"Not enough balance"}"#,
            error(Some("BALANCE_NOT_ENOUGH"), "Not enough balance"),
        );
        is(
            VENUE,
            r#"{"error":{"code":2,"message":"Alert sub ob.BTC_USDT.50"}}"#,
            error(Some("2"), "Alert sub ob.BTC_USDT.50"),
        );
        is(
            VENUE,
            r#"{"result":"false","code":5,"message":"Error: invalid pair"}"#,
            error(Some("5"), "Error: invalid pair"),
        );
        is(
            VENUE,
            r#"{"request_id":"1","header":{"response_time":"1681195484268","status":"401","channel":"spot.login","event":"api"},
                "data":{"errs":{"label":"INVALID_KEY","message":"Invalid key provided"}}}"#,
            error(Some("INVALID_KEY"), "Invalid key provided"),
        );
        is(
            VENUE,
            r#"{"request_id":"1","header":{"status":"200","channel":"spot.login","event":"api"},"data":{"result":{}}}"#,
            Event::Ignored { kind: "spot.login" },
        );
    }

    #[test]
    fn a_service_upgrade_is_the_venues_status_and_a_bare_book_a_book() {
        is(
            VENUE,
            r#"{"time":1545404023,"channel":"","type":"service_upgrade","msg":"The connection will soon be closed."}"#,
            Event::Status {
                text: "service_upgrade",
            },
        );
        is(
            VENUE,
            r#"{"current":1654249503.599,"asks":[{"s":564,"p":"30200.9"}],"bids":[],"update":1654249503.437}"#,
            Event::Book(Book {
                instrument: None,
                snapshot: true,
            }),
        );
    }
}
