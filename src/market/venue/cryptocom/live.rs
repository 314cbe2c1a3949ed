//! How Crypto.com is conversed with live, and its REST answers.

use std::time::Duration;

use super::super::dialect::{Dialect, SequenceScope};
use super::super::json::Json;
use super::super::wording;
use super::super::{Invalid, Sink};

/// Most channels named in one message, to keep it well below any limit on a message's size.
const CHANNELS_PER_MESSAGE: usize = 50;

/// Channel `ticker.<instrument>`, which is acknowledged or refused channel by channel.
///
/// - 1 s after connecting before anything is sent (exchange-docs.crypto.com, rate limits: they
///   are counted by the calendar second the connection opens in).
/// - 400 subscriptions a connection are allowed, above which comes 40107; half of that are used.
/// - 100 requests a second on the market data socket, 100 a second and address by REST.
/// - The venue sends heartbeats, which [`Dialect::answer`] answers; no ping from this side.
pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://stream.crypto.com/exchange/v1/market",
    rest_url: "https://api.crypto.com",
    instruments_per_connection: 200,
    connect_gap: Duration::from_secs(1),
    settle: Duration::from_secs(1),
    message_gap: Duration::from_millis(50),
    rest_gap: Duration::from_millis(50),
    ping_every: None,
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| request("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| request("unsubscribe", instruments, id, out),
    ping: None,
    answer: respond,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| {
        let name = wording::url_part(instrument);
        format!("/exchange/v1/public/get-tickers?instrument_name={name}")
    },
    token: None,
};

fn request(method: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    let messages = instruments.chunks(CHANNELS_PER_MESSAGE);
    out.extend((id..).zip(messages).map(|(id, instruments)| {
        let channels = instruments
            .iter()
            .map(|instrument| format!("ticker.{instrument}"));
        let channels = wording::json_list(channels);
        format!(r#"{{"id":{id},"method":"{method}","params":{{"channels":{channels}}}}}"#)
    }));
}

/// The heartbeat's id goes back as it came: a number as a number.
fn respond(challenge: &str) -> String {
    let id = if challenge.parse::<i64>().is_ok() {
        challenge.to_owned()
    } else {
        wording::json(challenge)
    };
    format!(r#"{{"id":{id},"method":"public/respond-heartbeat"}}"#)
}

/// Tickers, trades and books of `public/get-*`, in the envelope of the stream.
pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    super::message(body, asked, sink)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, is, rest};
    use super::super::super::{Book, Event, Reason, Side, VenueError, VenueQuote, VenueTrade};
    use super::*;

    const VENUE: &str = "cryptocom";

    #[test]
    fn fifty_channels_go_into_a_message_and_each_message_has_its_id() {
        let mut out = Vec::new();
        (DIALECT.subscribe)(&["BTC_USD", "ETH_USD"], 3, &mut out);
        (DIALECT.unsubscribe)(&["A\"B"], 4, &mut out);
        assert_eq!(
            out,
            [
                r#"{"id":3,"method":"subscribe","params":{"channels":["ticker.BTC_USD","ticker.ETH_USD"]}}"#,
                r#"{"id":4,"method":"unsubscribe","params":{"channels":["ticker.A\"B"]}}"#,
            ]
        );
        let full = vec!["BTC_USD"; DIALECT.instruments_per_connection];
        out.clear();
        (DIALECT.subscribe)(&full, 10, &mut out);
        let named: usize = out.iter().map(|message| message.matches("ticker.").count()).sum();
        assert_eq!((out.len(), named), (4, full.len()));
        for (i, message) in out.iter().enumerate() {
            assert!(
                message.starts_with(&format!(r#"{{"id":{},"#, 10 + i)),
                "{message}"
            );
            is(VENUE, message, Event::Request { method: "subscribe" });
        }
        out.clear();
        (DIALECT.subscribe)(&[], 1, &mut out);
        assert_eq!(out, [""; 0]);
    }

    #[test]
    fn a_heartbeat_is_answered_with_its_own_id() {
        let answer = DIALECT.answer;
        assert_eq!(
            answer("1587523073344"),
            r#"{"id":1587523073344,"method":"public/respond-heartbeat"}"#
        );
        assert_eq!(answer("-1"), r#"{"id":-1,"method":"public/respond-heartbeat"}"#);
        assert_eq!(
            answer("x\",\"y\":\""),
            r#"{"id":"x\",\"y\":\"","method":"public/respond-heartbeat"}"#
        );
    }

    #[test]
    fn an_instrument_cannot_leave_its_place_in_the_query() {
        assert_eq!(
            (DIALECT.ticker_path)("BTCUSD-PERP"),
            "/exchange/v1/public/get-tickers?instrument_name=BTCUSD-PERP"
        );
        assert_eq!(
            (DIALECT.ticker_path)("A&b=c"),
            "/exchange/v1/public/get-tickers?instrument_name=A%26b%3Dc"
        );
    }

    fn quote(instrument: &str, bid: &str) -> VenueQuote<'static> {
        VenueQuote {
            bid: dec(bid),
            ask: dec("51180"),
            last: dec("51174.5"),
            venue_time_ns: Some(1_613_580_710_768_000_000),
            ..VenueQuote::new(match instrument {
                "BTC_USD" => "BTC_USD",
                _ => "ETH_USD",
            })
        }
    }

    fn body(method: &str, data: &str) -> String {
        format!(r#"{{"id":-1,"method":"public/{method}","code":0,"result":{{"data":{data}}}}}"#)
    }

    #[test]
    fn tickers_are_quotes_with_their_own_names() {
        let ticker = |name: &str, bid: &str| {
            format!(
                r#"{{"h":"51790.00","a":"51174.500000","i":"{name}","c":"0.03955106","b":"{bid}","k":"51180.000000","t":1613580710768}}"#
            )
        };
        let one = ticker("BTC_USD", "51170");
        let two = format!("[{one},{},{}]", ticker("BTC_USD", "-1"), ticker("ETH_USD", "2"));
        let btc = Event::Quote(quote("BTC_USD", "51170"));
        rest(
            VENUE,
            &body("get-tickers", &format!("[{one}]")),
            Some("BTC_USD"),
            &[btc],
        );
        rest(VENUE, &body("get-ticker", &one), None, &[btc]);
        rest(
            VENUE,
            &body("get-tickers", &two),
            Some("ETH_USD"),
            &[
                btc,
                Event::Invalid {
                    instrument: Some("BTC_USD"),
                    invalid: Invalid::field("b", Reason::Negative),
                },
                Event::Quote(quote("ETH_USD", "2")),
            ],
        );
        let kind = "public/get-tickers";
        rest(
            VENUE,
            &body("get-tickers", "[]"),
            Some("BTC_USD"),
            &[Event::Ignored { kind }],
        );
        rest(
            VENUE,
            r#"{"id":-1,"method":"public/get-tickers","code":0,"result":null}"#,
            None,
            &[Event::Ignored { kind }],
        );
    }

    #[test]
    fn trades_are_history_and_books_are_whole() {
        rest(
            VENUE,
            &body(
                "get-trades",
                r#"[{"s":"sell","p":"26386.00","q":"0.00453","tn":1686643559014000000,"t":1686643559014,"d":"1248","i":"BTC_USD"}]"#,
            ),
            Some("BTC_USD"),
            &[Event::Trade(VenueTrade {
                instrument: "BTC_USD",
                price: dec("26386").expect("a price"),
                size: dec("0.00453"),
                side: Some(Side::Sell),
                venue_time_ns: Some(1_686_643_559_014_000_000),
                sequence: Some(1_248),
                snapshot: true,
            })],
        );
        let book = |instrument| {
            [Event::Book(Book {
                instrument,
                snapshot: true,
            })]
        };
        rest(
            VENUE,
            r#"{"id":-1,"method":"public/get-book","code":0,"result":{"depth":2,"data":[{"asks":[],"bids":[]}],"instrument_name":"BTCUSD-PERP"}}"#,
            None,
            &book(Some("BTCUSD-PERP")),
        );
        rest(
            VENUE,
            r#"{"code":0,"method":"public/get-book","result":{"bids":[[9668.44,0.006325,1]],"asks":[],"t":1591704180270}}"#,
            Some("BTC_USD"),
            &book(Some("BTC_USD")),
        );
    }

    #[test]
    fn errors_of_every_shape_are_errors_and_other_answers_are_ignored() {
        let error = |code, message| {
            [Event::Error(VenueError {
                code,
                message,
                instrument: None,
            })]
        };
        rest(
            VENUE,
            r#"{"code":40004,"message":"Invalid instrument_name"}"#,
            Some("X"),
            &error(Some("40004"), "Invalid instrument_name"),
        );
        rest(
            VENUE,
            r#"{"id":-1,"method":"public/get-tickers","code":42901,"message":"RATE_LIMIT","result":null}"#,
            Some("X"),
            &error(Some("42901"), "RATE_LIMIT"),
        );
        rest(
            VENUE,
            r#"{"timestamp":"2026-09-22T21:43:19.938+00:00","status":404,"error":"Not Found","path":"/v1/public/get-nope"}"#,
            None,
            &error(Some("404"), "Not Found"),
        );
        rest(
            VENUE,
            r#"{"timestamp":1,"status":500,"error":"Internal Server Error","message":"","path":"/x"}"#,
            None,
            &error(Some("500"), "Internal Server Error"),
        );
        for method in ["get-instruments", "get-candlestick", "get-valuations"] {
            rest(
                VENUE,
                &body(method, "[]"),
                None,
                &[Event::Ignored {
                    kind: &format!("public/{method}"),
                }],
            );
        }
        rest(
            VENUE,
            r#"{"code":0,"result":{"instruments":[]}}"#,
            None,
            &[Event::Ignored { kind: "result" }],
        );
    }
}
