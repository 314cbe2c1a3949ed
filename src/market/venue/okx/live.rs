//! How OKX is conversed with live, and its REST answers.
//!
//! Figures of the documentation (okx.com/docs-v5, "WebSocket"): 3 new connections a second and
//! address; 480 subscribe, unsubscribe and login messages an hour and connection; at most 64 KB
//! of channels in one; a connection without a message for 30 seconds is cut, so `ping` is sent
//! before. REST tickers: 20 requests in 2 seconds.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field;
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink};
use super::{refusal, ticker, trade, v3};

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://ws.okx.com:8443/ws/v5/public",
    rest_url: "https://www.okx.com",
    instruments_per_connection: 50,
    connect_gap: Duration::from_millis(500),
    settle: Duration::ZERO,
    message_gap: Duration::from_secs(3),
    // Those that run ahead of the pace included.
    rest_gap: Duration::from_millis(200),
    ping_every: Some(Duration::from_secs(20)),
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, _, out| out.extend(message("subscribe", instruments)),
    unsubscribe: |instruments, _, out| out.extend(message("unsubscribe", instruments)),
    ping: Some(|_| "ping".to_owned()),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/api/v5/market/ticker?instId={instrument}"),
    token: None,
};

/// One message for all: fifty instruments are some 2 KB.
fn message(op: &str, instruments: &[&str]) -> Option<String> {
    let args: Vec<_> = instruments
        .iter()
        .map(|instrument| json!({"channel": "tickers", "instId": instrument}))
        .collect();
    (!args.is_empty()).then(|| json!({"op": op, "args": args}).to_string())
}

pub(in super::super) fn parse_rest<'f>(
    frame: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    if frame.get("code").is_some() && frame.get("event").is_none() && frame.get("arg").is_none() {
        return answer(frame, asked, sink);
    }
    if frame.get("best_bid").is_some() && frame.get("instrument_id").is_some() {
        field::emit_of(sink, frame, "instrument_id", |name| v3::ticker(frame, name));
        return Ok(());
    }
    super::parse(frame, sink)
}

/// `{"code":"0","msg":"","data":[..]}`.
///
/// An element that names its instrument keeps that name: it is the stream's spelling, and an
/// answer about another instrument than the one asked for must not pass for it.
pub(super) fn answer<'f>(
    frame: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    let code = frame.get("code").and_then(Json::text);
    let data = frame.get("data");
    match code {
        Some("0") if data.is_some() || frame.get("msg").is_some() => {}
        Some("0") | None => return unnumbered(frame, sink),
        Some(_) => {
            sink(refusal(frame, None, ""));
            return Ok(());
        }
    }
    let mut silent = true;
    for element in data.into_iter().flat_map(Json::elements) {
        let has = |name| element.get(name).is_some();
        let name = || match field::instrument(element, "instId") {
            Err(invalid) if invalid.reason == Reason::MissingField => asked.ok_or(invalid),
            known => known,
        };
        let read: fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid> = if has("asks") && has("bids") {
            silent = false;
            sink(Event::Book(Book {
                instrument: name().ok(),
                snapshot: true,
            }));
            continue;
        } else if has("sprdId") {
            // A difference of two prices.
            continue;
        } else if has("bidPx") || has("askPx") || has("last") {
            ticker
        } else if has("tradeId") && has("px") {
            |element, name| trade(element, name, true)
        } else {
            continue;
        };
        silent = false;
        let name = name();
        field::emit(sink, name.ok(), name.and_then(|name| read(element, name)));
    }
    if silent {
        sink(Event::Ignored { kind: "data" });
    }
    Ok(())
}

/// A body without a code that counts.
fn unnumbered(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    // Requests for quotation between two parties.
    if frame.get("rfqId").is_some() || frame.get("clRfqId").is_some() {
        sink(Event::Ignored { kind: "rfq" });
        return Ok(());
    }
    Err(Invalid::frame(Reason::UnknownShape))
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, rest_events};
    use super::super::super::{Side, VenueError, VenueQuote, VenueTrade};
    use super::*;

    const VENUE: &str = "okx";

    #[test]
    fn the_messages_are_those_of_the_documentation() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["BTC-USDT", "ETH-USDT"], 7, &mut out);
        (DIALECT.unsubscribe)(&["BTC-USDT"], 8, &mut out);
        (DIALECT.subscribe)(&[], 9, &mut out);
        assert_eq!(
            out,
            [
                r#"{"args":[{"channel":"tickers","instId":"BTC-USDT"},{"channel":"tickers","instId":"ETH-USDT"}],"op":"subscribe"}"#,
                r#"{"args":[{"channel":"tickers","instId":"BTC-USDT"}],"op":"unsubscribe"}"#,
            ]
        );
        assert_eq!(DIALECT.ping.map(|ping| ping(1)).as_deref(), Some("ping"));
        assert_eq!(
            (DIALECT.ticker_path)("BTC-USDT"),
            "/api/v5/market/ticker?instId=BTC-USDT"
        );
    }

    #[test]
    fn a_full_connection_subscribes_within_the_64_kb_of_a_message() {
        let names: Vec<String> = (0..DIALECT.instruments_per_connection)
            .map(|i| format!("TWENTYLETTERSLONG{i:03}-USDT"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut out = Vec::new();
        (DIALECT.subscribe)(&names, 1, &mut out);
        assert_eq!(out.len(), 1);
        assert!(out[0].len() < 64 * 1024);
    }

    #[test]
    fn a_rest_ticker_is_a_quote_of_its_own_instrument() {
        let element = r#"{"instType":"SPOT","instId":"BTC-USDT","last":"9999.99","lastSz":"0.1","askPx":"9999.99","askSz":"11",
            "bidPx":"8888.88","bidSz":"5","ts":"1597026383085"}"#;
        let quote = VenueQuote {
            bid: dec("8888.88"),
            ask: dec("9999.99"),
            last: dec("9999.99"),
            bid_size: dec("5"),
            ask_size: dec("11"),
            last_size: dec("0.1"),
            venue_time_ns: Some(1_597_026_383_085_000_000),
            ..VenueQuote::new("BTC-USDT")
        };
        let body = format!(r#"{{"code":"0","msg":"","data":[{element}]}}"#);
        for asked in [Some("BTC-USDT"), Some("ETH-USDT"), None] {
            let count = rest_events(VENUE, &body, asked, |_, event| {
                assert_eq!(event, Event::Quote(quote));
            });
            assert_eq!(count, Ok(1));
        }
        // The list of all: one quote each, and a bad one spoils only itself.
        let body = format!(
            r#"{{"code":"0","msg":"","data":[{element},{{"instId":"X-Y","last":"-1"}},{{"last":"1"}},{element}]}}"#
        );
        let count = rest_events(VENUE, &body, None, |i, event| match i {
            1 | 2 => assert_eq!(event.kind(), "invalid"),
            _ => assert_eq!(event, Event::Quote(quote)),
        });
        assert_eq!(count, Ok(4));
    }

    #[test]
    fn other_bodies_are_known_for_what_they_are() {
        let one = |body: &str, expected: Event<'_>| {
            let count = rest_events(VENUE, body, Some("BTC-USDT"), |_, event| {
                assert_eq!(event, expected, "{body}");
            });
            assert_eq!(count, Ok(1), "{body}");
        };
        one(
            r#"{"code":"0","msg":"","data":[{"asks":[["41006.8","0.60038921","0","1"]],"bids":[],"ts":"1629966436396"}]}"#,
            Event::Book(Book {
                instrument: Some("BTC-USDT"),
                snapshot: true,
            }),
        );
        one(
            r#"{"code":"0","msg":"","data":[{"instId":"BTC-USDT","side":"sell","sz":"0.00001","px":"29963.2","tradeId":"242720720","ts":"1654161646974"}]}"#,
            Event::Trade(VenueTrade {
                instrument: "BTC-USDT",
                price: dec("29963.2").expect("a price"),
                size: dec("0.00001"),
                side: Some(Side::Sell),
                venue_time_ns: Some(1_654_161_646_974_000_000),
                sequence: Some(242_720_720),
                snapshot: true,
            }),
        );
        for ignored in [
            r#"{"code":"0","data":[{"instId":"BTC-USD","instType":"SPOT","lever":"","tickSz":"0.01"}],"msg":""}"#,
            r#"{"code":"0","msg":"","data":[["1597026383085","3.721","3.743","3.677","3.708","8422410","22698348.04","12698348.04","1"]]}"#,
            r#"{"code":"0","msg":"","data":[{"sprdId":"A_B","last":"-4","askPx":"19.7","bidPx":"-5.9","ts":"1715247061026"}]}"#,
            r#"{"code":"0","msg":"","data":[]}"#,
        ] {
            one(ignored, Event::Ignored { kind: "data" });
        }
        one(
            r#"{"code":"51001","data":[],"msg":"Instrument ID, Instrument ID code, or Spread ID doesn't exist."}"#,
            Event::Error(VenueError {
                code: Some("51001"),
                message: "Instrument ID, Instrument ID code, or Spread ID doesn't exist.",
                instrument: None,
            }),
        );
        one(
            r#"{"best_ask":"3.9385","best_bid":"3.9383","instrument_id":"EOS-USDT","last":"3.9382"}"#,
            Event::Quote(VenueQuote {
                bid: dec("3.9383"),
                ask: dec("3.9385"),
                last: dec("3.9382"),
                ..VenueQuote::new("EOS-USDT")
            }),
        );
        let nothing = rest_events(VENUE, r#"{"serverTime":1}"#, None, |_, event| panic!("{event:?}"));
        assert_eq!(nothing, Err(Invalid::frame(Reason::UnknownShape)));
    }
}
