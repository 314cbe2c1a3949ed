//! How Gate.io is conversed with live, and its REST answers.

use std::time::Duration;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::wording;
use super::super::{Book, Event, Invalid, Sink};
use super::{fault, taker_side, v4};

/// Spot `book_ticker`: every change of the best bid or ask.
///
/// - One unknown pair makes Gate refuse the whole message, good pairs and all, so each pair has
///   a message of its own.
/// - No limit on subscriptions or messages; a connection that reads too slowly is cut, so it
///   carries a hundred pairs (the venue's word in gateio/gatews, issue 25).
/// - REST: 200 requests in 10 s for each endpoint (gate.com/docs/developers/apiv4, frequency
///   limit); half of that is used.
/// - `time` of a request belongs to its signature. Public requests do without one, and so does
///   `spot.ping`.
pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://api.gateio.ws/ws/v4/",
    rest_url: "https://api.gateio.ws",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(50),
    rest_gap: Duration::from_millis(100),
    ping_every: Some(Duration::from_secs(10)),
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| request("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| request("unsubscribe", instruments, id, out),
    ping: Some(|id| format!(r#"{{"id":{id},"channel":"spot.ping"}}"#)),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| {
        let pair = wording::url_part(instrument);
        format!("/api/v4/spot/tickers?currency_pair={pair}")
    },
    token: None,
};

fn request(event: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    out.extend((id..).zip(instruments).map(|(id, instrument)| {
        let pair = wording::json(instrument);
        format!(r#"{{"id":{id},"channel":"spot.book_ticker","event":"{event}","payload":[{pair}]}}"#)
    }));
}

/// Tickers, trades, books and lists of `/api/v4`, and of the retired version 2.
///
/// No ticker has a time.
pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    let has = |name| body.get(name).is_some();
    if body.is_array() {
        list(body, asked, "list", sink);
    } else if has("channel") || has("method") {
        // The stream's own messages keep their envelope.
        return super::parse(body, sink);
    } else if let Some(fault) = fault(body, None) {
        sink(fault);
    } else if has("asks") && has("bids") {
        sink(Event::Book(Book {
            instrument: asked,
            snapshot: true,
        }));
    } else if let Some(data) = body.get("data").filter(|data| data.is_array()) {
        list(data, asked, "data", sink);
    } else if element(body, asked, sink) {
        // It was one, alone.
    } else if has("pairs") || has("base") {
        sink(Event::Ignored { kind: "pairs" });
    } else {
        return super::parse(body, sink);
    }
    Ok(())
}

fn list<'f>(body: Json<'f>, asked: Option<&'f str>, kind: &'static str, sink: &mut Sink<'_>) {
    let mut any = false;
    for one in body.elements() {
        any |= element(one, asked, sink);
    }
    if !any {
        sink(Event::Ignored { kind });
    }
}

/// A ticker or a trade, if it is one.
fn element<'f>(one: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> bool {
    let has = |name| one.get(name).is_some();
    let name_field = if has("contract") {
        "contract"
    } else {
        "currency_pair"
    };
    let pair = field::asked(one, name_field, asked);
    let event = if has("last") {
        pair.and_then(|pair| v4::ticker(one, pair)?.priced())
            .map(Event::Quote)
    } else if has("price") && (has("create_time") || has("create_time_ms")) {
        pair.and_then(|pair| trade(one, pair))
    } else if has("rate") && has("tradeID") {
        pair.and_then(|pair| old_trade(one, pair))
    } else {
        return false;
    };
    field::emit(sink, pair.ok(), event);
    true
}

fn trade<'f>(one: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(true);
    for (name, value) in one.members() {
        match name {
            "size" => trade.side = value.text().and_then(v4::signed_side),
            _ => v4::read_trade(&mut trade, name, value)?,
        }
    }
    trade.venue_time_ns = v4::trade_time(one)?;
    trade.finish(pair, "price").map(Event::Trade)
}

/// Of version 2: `timestamp` in Unix seconds.
fn old_trade<'f>(one: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(true);
    for (name, value) in one.members() {
        match name {
            "rate" => trade.read_price(value, "rate")?,
            "amount" => trade.size = field::size(value, "amount")?,
            "timestamp" => trade.venue_time_ns = field::unix_seconds(value, "timestamp")?,
            "tradeID" => trade.sequence = field::id(value),
            "type" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(pair, "rate").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, is, rest};
    use super::super::super::{Reason, Side, VenueError, VenueQuote, VenueTrade};
    use super::*;

    const VENUE: &str = "gate";

    #[test]
    fn every_pair_is_subscribed_by_a_message_of_its_own() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["BTC_USDT", "ETH_USDT"], 7, &mut out);
        (DIALECT.unsubscribe)(&["A\"B"], 9, &mut out);
        assert_eq!(
            out,
            [
                r#"{"id":7,"channel":"spot.book_ticker","event":"subscribe","payload":["BTC_USDT"]}"#,
                r#"{"id":8,"channel":"spot.book_ticker","event":"subscribe","payload":["ETH_USDT"]}"#,
                r#"{"id":9,"channel":"spot.book_ticker","event":"unsubscribe","payload":["A\"B"]}"#,
            ]
        );
        is(VENUE, &out[0], Event::Request { method: "subscribe" });
        is(
            VENUE,
            &out[2],
            Event::Request {
                method: "unsubscribe",
            },
        );
        let ping = (DIALECT.ping.expect("it pings"))(5);
        assert_eq!(ping, r#"{"id":5,"channel":"spot.ping"}"#);
        is(VENUE, &ping, Event::Request { method: "spot.ping" });
    }

    #[test]
    fn an_instrument_cannot_leave_its_place_in_the_query() {
        assert_eq!(
            (DIALECT.ticker_path)("BTC_USDT"),
            "/api/v4/spot/tickers?currency_pair=BTC_USDT"
        );
        assert_eq!(
            (DIALECT.ticker_path)("A&b=c#"),
            "/api/v4/spot/tickers?currency_pair=A%26b%3Dc%23"
        );
    }

    #[test]
    fn tickers_are_quotes_with_their_own_names() {
        let ticker = |pair: &str, last: &str| {
            format!(
                r#"{{"currency_pair":"{pair}","last":"{last}","lowest_ask":"26026.8","highest_bid":"26026.7","change_percentage":"1.1"}}"#
            )
        };
        let quote = |instrument| {
            Event::Quote(VenueQuote {
                bid: dec("26026.7"),
                ask: dec("26026.8"),
                last: dec("26028.7"),
                ..VenueQuote::new(instrument)
            })
        };
        let (btc, eth) = (ticker("BTC_USDT", "26028.7"), ticker("ETH_USDT", "26028.7"));
        rest(VENUE, &format!("[{btc}]"), Some("BTC_USDT"), &[quote("BTC_USDT")]);
        rest(VENUE, &btc, None, &[quote("BTC_USDT")]);
        rest(VENUE, &format!("[{eth}]"), Some("BTC_USDT"), &[quote("ETH_USDT")]);
        rest(
            VENUE,
            &format!("[{btc},{},7,{{\"last\":\"1\"}},{eth}]", ticker("X_Y", "-1")),
            None,
            &[
                quote("BTC_USDT"),
                Event::Invalid {
                    instrument: Some("X_Y"),
                    invalid: Invalid::field("last", Reason::Negative),
                },
                Event::Invalid {
                    instrument: None,
                    invalid: Invalid::field("currency_pair", Reason::MissingField),
                },
                quote("ETH_USDT"),
            ],
        );
        rest(
            VENUE,
            r#"{"result":"true","last":26028.7,"lowestAsk":26026.8,"highestBid":26026.7,"percentChange":-1.4}"#,
            Some("btc_usdt"),
            &[quote("btc_usdt")],
        );
        rest(
            VENUE,
            r#"[{"currency_pair":"A_B","last":"0","lowest_ask":"","highest_bid":""}]"#,
            Some("A_B"),
            &[Event::Invalid {
                instrument: Some("A_B"),
                invalid: Invalid::frame(Reason::NoPrice),
            }],
        );
    }

    #[test]
    fn trades_of_every_version_are_history() {
        let trade = VenueTrade {
            instrument: "BTC_USDT",
            price: dec("0.03").expect("a price"),
            size: dec("0.15"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_548_000_000_123_456_000),
            sequence: Some(1_232_893_232),
            snapshot: true,
        };
        let one = r#"{"id":"1232893232","create_time":"1548000000","create_time_ms":"1548000000123.456","currency_pair":"BTC_USDT",
            "side":"buy","amount":"0.15","price":"0.03","sequence_id":"588018"}"#;
        rest(VENUE, &format!("[{one}]"), None, &[Event::Trade(trade)]);
        let unnamed = one.replace(r#""currency_pair":"BTC_USDT","#, "");
        rest(VENUE, &unnamed, Some("BTC_USDT"), &[Event::Trade(trade)]);
        rest(
            VENUE,
            r#"{"result":"true","data":[{"date":"2018-05-15 00:49:47","timestamp":"1526345387","rate":0.03,"amount":0.15,
                "tradeID":"1232893232","type":"buy"}],"elapsed":"0.634ms"}"#,
            Some("BTC_USDT"),
            &[Event::Trade(VenueTrade {
                venue_time_ns: Some(1_526_345_387_000_000_000),
                ..trade
            })],
        );
        rest(
            VENUE,
            r#"[{"id":1232893232,"create_time":1526345387.5,"contract":"BTC_USD","size":-100,"price":"0.03"}]"#,
            None,
            &[Event::Trade(VenueTrade {
                instrument: "BTC_USD",
                size: None,
                side: Some(Side::Sell),
                venue_time_ns: Some(1_526_345_387_500_000_000),
                ..trade
            })],
        );
    }

    #[test]
    fn books_lists_errors_and_the_streams_own_messages_are_known() {
        rest(
            VENUE,
            r#"{"id":123456,"current":1623898993123,"update":1623898993121,"asks":[["1.52","1.151"]],"bids":[]}"#,
            Some("BTC_USDT"),
            &[Event::Book(Book {
                instrument: Some("BTC_USDT"),
                snapshot: true,
            })],
        );
        for (body, kind) in [
            (
                r#"[{"id":"ETH_USDT","base":"ETH","quote":"USDT","fee":"0.2","trade_status":"tradable"}]"#,
                "list",
            ),
            (r#"{"id":"ETH_USDT","base":"ETH","quote":"USDT"}"#, "pairs"),
            (r#"["btc_cny","ltc_cny"]"#, "list"),
            (r#"[["1539852480","971519.677","0.0021724","0.0021922"]]"#, "list"),
            ("[]", "list"),
            (r#"{"result":"true","pairs":[{"btc_cny":{"fee":0}}]}"#, "pairs"),
            (r#"{"result":"true","data":[]}"#, "data"),
        ] {
            rest(VENUE, body, None, &[Event::Ignored { kind }]);
        }
        rest(
            VENUE,
            r#"{"label":"INVALID_CURRENCY_PAIR","message":"Invalid currency pair NOPE_USDT"}"#,
            Some("NOPE_USDT"),
            &[Event::Error(VenueError {
                code: Some("INVALID_CURRENCY_PAIR"),
                message: "Invalid currency pair NOPE_USDT",
                instrument: None,
            })],
        );
        rest(
            VENUE,
            r#"{"time":1,"channel":"spot.pong","event":"","result":null}"#,
            None,
            &[Event::Heartbeat],
        );
    }
}
