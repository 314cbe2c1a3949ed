//! How Kraken is conversed with live, and its REST answers.
//!
//! Sources: docs.kraken.com, "Spot WebSocket v2" (ticker, ping) and "Spot REST" (Ticker, Depth,
//! Trades, Spread); Futures answers are told by `result` being a word.
//!
//! The stream names pairs in today's names (`BTC/USD`, `DOGE/USD`); REST in names of its own
//! (`XXBTZUSD`, `XBTUSDT`), so the one pair of an answer takes the name it was asked by.

use std::time::Duration;

use serde_json::json;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueQuote};
use super::{taker_side, v1};

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://ws.kraken.com/v2",
    rest_url: "https://api.kraken.com",
    instruments_per_connection: 100,
    // 150 attempts in ten minutes and address, which backoff alone does not keep: two connections
    // that fail at once are tried every five seconds each.
    connect_gap: Duration::from_secs(4),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(200),
    // "Once per second or less" is what the venue asks of public calls.
    rest_gap: Duration::from_secs(1),
    // A connection without any subscription has no heartbeats and is closed after a minute.
    ping_every: Some(Duration::from_secs(30)),
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |instruments, id, out| request("subscribe", instruments, id, out),
    unsubscribe: |instruments, id, out| request("unsubscribe", instruments, id, out),
    ping: Some(|id| json!({"method": "ping", "req_id": id}).to_string()),
    answer: dialect::no_answer,
    tickers_tell_trades_time: false,
    ticker_path: |instrument| format!("/0/public/Ticker?pair={}", rest_pair(instrument)),
    token: None,
};

/// One message for all: `bbo` sends on every change of best bid or ask, the default only on
/// trades, which in quiet markets are minutes apart.
fn request(method: &str, instruments: &[&str], id: u64, out: &mut Vec<String>) {
    if instruments.is_empty() {
        return;
    }
    let mut params = json!({"channel": "ticker", "symbol": instruments, "event_trigger": "bbo"});
    if method == "subscribe" {
        params["snapshot"] = true.into();
    }
    out.push(json!({"method": method, "params": params, "req_id": id}).to_string());
}

/// `BTC/USD` to `XBTUSD`: REST keeps the old names of two assets.
fn rest_pair(instrument: &str) -> String {
    let old = |asset: &str| match asset {
        "BTC" => "XBT".to_owned(),
        "DOGE" => "XDG".to_owned(),
        other => other.to_owned(),
    };
    instrument.split('/').map(old).collect()
}

pub(in super::super) fn parse_rest<'f>(
    body: Json<'f>,
    asked: Option<&'f str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    let Some(result) = body.get("result") else {
        return super::parse(body, sink);
    };
    if result.string() == Some("success") {
        return futures(body, asked, sink);
    }
    let complaints = || {
        body.get("error")
            .into_iter()
            .flat_map(Json::elements)
            .filter_map(Json::string)
    };
    // With a warning, marked by a W, the result stands.
    let refused = complaints().any(|text| !text.starts_with('W'));
    if !result.is_object() || refused || body.get("method").is_some() {
        return super::parse(body, sink);
    }
    if result.members().next().is_none() {
        return super::rest(body, sink);
    }
    read(result, asked, sink)?;
    for text in complaints() {
        sink(Event::Status { text });
    }
    Ok(())
}

/// A result: members by pair, or of the system.
fn read<'f>(result: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if result.get("unixtime").is_some() {
        sink(Event::Ignored { kind: "time" });
        return Ok(());
    }
    if let Some(text) = result.get_string("status") {
        sink(Event::Status { text });
        return Ok(());
    }
    // `last` is where the next request goes on.
    let pairs = || {
        result
            .members()
            .filter(|(_, value)| value.is_object() || value.is_array())
    };
    let one = pairs().count() == 1;
    let mut any = false;
    for (own, value) in pairs() {
        let pair = match field::named(asked.filter(|_| one).or(Some(own))) {
            Ok(pair) => pair,
            Err(invalid) => {
                field::emit(sink, None, Err(invalid));
                any = true;
                continue;
            }
        };
        if value.get("altname").is_some() {
            // Assets and pairs come by the hundred.
            sink(Event::Ignored { kind: "pairs" });
            return Ok(());
        }
        if value.get("asks").is_some() && value.get("bids").is_some() {
            sink(Event::Book(Book {
                instrument: Some(pair),
                snapshot: true,
            }));
        } else if ["a", "b", "c"].iter().any(|name| value.get(name).is_some()) {
            field::emit(sink, Some(pair), v1::ticker(value, pair));
        } else if value.is_array() {
            rows(value, pair, sink);
        } else if any {
            field::emit(sink, Some(pair), Err(Invalid::frame(Reason::UnknownShape)));
        } else {
            return Err(Invalid::frame(Reason::UnknownShape));
        }
        any = true;
    }
    if any {
        Ok(())
    } else {
        Err(Invalid::frame(Reason::UnknownShape))
    }
}

/// Trades `[price, volume, time, side, type, misc, id]`, spreads `[time, bid, ask]` or candles of
/// eight figures, oldest first.
fn rows<'f>(rows: Json<'f>, pair: &'f str, sink: &mut Sink<'_>) {
    for row in rows.elements() {
        match row.elements().left() {
            3 => field::emit(sink, Some(pair), spread(row, pair)),
            8 => return sink(Event::Ignored { kind: "ohlc" }),
            _ => field::emit(sink, Some(pair), trade(row, pair)),
        }
    }
    if rows.elements().left() == 0 {
        sink(Event::Ignored { kind: "rows" });
    }
}

fn spread<'f>(row: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(pair);
    let mut fields = row.elements();
    let mut next = || fields.next().ok_or(Invalid::field("spread", Reason::WrongType));
    quote.venue_time_ns = field::unix_seconds(next()?, "time")?;
    quote.bid = field::price(next()?, "bid")?;
    quote.ask = field::price(next()?, "ask")?;
    quote.priced().map(Event::Quote)
}

fn trade<'f>(row: Json<'f>, pair: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(true);
    let mut fields = row.elements();
    let mut next = || fields.next().ok_or(Invalid::field("trade", Reason::WrongType));
    trade.read_price(next()?, "price")?;
    trade.size = field::size(next()?, "volume")?;
    trade.venue_time_ns = field::unix_seconds(next()?, "time")?;
    trade.side = next()?.string().and_then(taker_side);
    // Order type and a remark; old answers end there.
    trade.sequence = fields.nth(2).and_then(field::id);
    trade.finish(pair, "price").map(Event::Trade)
}

/// Futures: quotes of derivatives, under their own names.
fn futures<'f>(body: Json<'f>, asked: Option<&'f str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if body.get("orderBook").is_some() {
        sink(Event::Book(Book {
            instrument: asked.filter(|name| !name.is_empty()),
            snapshot: true,
        }));
    } else if let Some(tickers) = body.get("tickers").filter(|list| list.elements().left() > 0) {
        for ticker in tickers.elements() {
            field::emit_of(sink, ticker, "symbol", |symbol| futures_ticker(ticker, symbol));
        }
    } else if let Some(ticker) = body.get("ticker") {
        field::emit_of(sink, ticker, "symbol", |symbol| futures_ticker(ticker, symbol));
    } else {
        return super::rest(body, sink);
    }
    Ok(())
}

/// Sizes are contracts, no amounts of the coin, so they are left out.
fn futures_ticker<'f>(ticker: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(symbol);
    for (name, value) in ticker.members() {
        match name {
            "bid" => quote.bid = field::price(value, "bid")?,
            "ask" => quote.ask = field::price(value, "ask")?,
            "last" => quote.last = field::price(value, "last")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

#[cfg(test)]
mod tests {
    use super::super::super::live_testing::{messages, rest_events, rest_is, rest_refused};
    use super::super::super::testing::dec;
    use super::super::super::{Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "kraken";

    #[test]
    fn one_message_subscribes_all_to_every_change_of_bid_and_ask() {
        assert_eq!(
            messages(DIALECT.subscribe, &["BTC/USD", "DOGE/USD"]),
            [json!({"method": "subscribe", "req_id": 7, "params": {
                "channel": "ticker", "symbol": ["BTC/USD", "DOGE/USD"], "event_trigger": "bbo", "snapshot": true}})]
        );
        assert_eq!(
            messages(DIALECT.unsubscribe, &["BTC/USD"]),
            [json!({"method": "unsubscribe", "req_id": 7, "params": {
                "channel": "ticker", "symbol": ["BTC/USD"], "event_trigger": "bbo"}})]
        );
        assert!(messages(DIALECT.subscribe, &[]).is_empty());
        let ping = DIALECT.ping.expect("it has one")(3);
        assert_eq!(ping, r#"{"method":"ping","req_id":3}"#);
    }

    #[test]
    fn rest_is_asked_in_its_own_names() {
        for (instrument, pair) in [
            ("BTC/USD", "XBTUSD"),
            ("XBT/USD", "XBTUSD"),
            ("ETH/BTC", "ETHXBT"),
            ("DOGE/USDT", "XDGUSDT"),
            ("SOL/USD", "SOLUSD"),
            ("WBTC/USD", "WBTCUSD"),
        ] {
            assert_eq!(
                (DIALECT.ticker_path)(instrument),
                format!("/0/public/Ticker?pair={pair}")
            );
        }
    }

    #[test]
    fn the_only_pair_of_a_ticker_takes_the_name_it_was_asked_by() {
        let ticker = r#"{"a":["30300.10000","1","1.000"],"b":["30300.00000","2","2.500"],"c":["30303.20000","0.00067643"],
            "v":["4083.67001100","4412.73601799"],"t":[34619,38907],"o":"30502.80000"}"#;
        let quote = |name| {
            Event::Quote(VenueQuote {
                bid: dec("30300"),
                ask: dec("30300.1"),
                last: dec("30303.2"),
                bid_size: dec("2.5"),
                ask_size: dec("1"),
                last_size: dec("0.00067643"),
                ..VenueQuote::new(name)
            })
        };
        let one = format!(r#"{{"error":[],"result":{{"XXBTZUSD":{ticker}}}}}"#);
        rest_is(VENUE, &one, Some("BTC/USD"), quote("BTC/USD"));
        rest_is(VENUE, &one, None, quote("XXBTZUSD"));
        let two = format!(r#"{{"error":[],"result":{{"XXBTZUSD":{ticker},"XETHZUSD":{ticker}}}}}"#);
        let names = ["XXBTZUSD", "XETHZUSD"];
        let count = rest_events(VENUE, &two, Some("BTC/USD"), |i, event| {
            assert_eq!(event, quote(names[i]));
        });
        assert_eq!(count, Ok(2));
        let nameless = two.replace("XETHZUSD", "");
        let count = rest_events(VENUE, &nameless, None, |i, event| match i {
            0 => assert_eq!(event, quote("XXBTZUSD")),
            _ => assert_eq!(event.kind(), "invalid"),
        });
        assert_eq!(count, Ok(2));
        let warned = format!(r#"{{"error":["WGeneral:Danger"],"result":{{"XXBTZUSD":{ticker}}}}}"#);
        let expected = [
            quote("BTC/USD"),
            Event::Status {
                text: "WGeneral:Danger",
            },
        ];
        let count = rest_events(VENUE, &warned, Some("BTC/USD"), |i, event| {
            assert_eq!(event, expected[i]);
        });
        assert_eq!(count, Ok(2));
        rest_refused(
            VENUE,
            r#"{"error":[],"result":{"X":{"a":["-1","1","1"],"b":["1","1","1"],"c":["1","1"]}}}"#,
            Some("A/B"),
            Reason::Negative,
            Some("a"),
        );
    }

    #[test]
    fn trades_and_spreads_are_told_by_their_rows() {
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"XBTUSDT":[["105433.60000","0.00027625",1762795433.9717445,"b","l","",10218208]],"last":"1762795433971744500"}}"#,
            Some("BTC/USDT"),
            Event::Trade(VenueTrade {
                instrument: "BTC/USDT",
                price: dec("105433.6").expect("a price"),
                size: dec("0.00027625"),
                side: Some(Side::Buy),
                venue_time_ns: Some(1_762_795_433_971_744_500),
                sequence: Some(10_218_208),
                snapshot: true,
            }),
        );
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"XXBTZUSD":[[1391836639,"709.17169","720.00000"]],"last":1391837200}}"#,
            None,
            Event::Quote(VenueQuote {
                bid: dec("709.17169"),
                ask: dec("720"),
                venue_time_ns: Some(1_391_836_639_000_000_000),
                ..VenueQuote::new("XXBTZUSD")
            }),
        );
        rest_refused(
            VENUE,
            r#"{"error":[],"result":{"X":[["1","2"]],"last":"1"}}"#,
            None,
            Reason::WrongType,
            Some("trade"),
        );
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"X":[],"last":"1"}}"#,
            None,
            Event::Ignored { kind: "rows" },
        );
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"X":[[1688671200,"1","2","1","2","1.5","3",23],[1,"1","2","1","2","1.5","3",23]],"last":1}}"#,
            None,
            Event::Ignored { kind: "ohlc" },
        );
    }

    #[test]
    fn lists_books_and_errors_are_known_for_what_they_are() {
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"XXBTZEUR":{"asks":[["530.75513","0.248",1391825343]],"bids":[]}}}"#,
            Some("BTC/EUR"),
            Event::Book(Book {
                instrument: Some("BTC/EUR"),
                snapshot: true,
            }),
        );
        for (body, kind) in [
            (
                r#"{"error":[],"result":{"AAVEAUD":{"altname":"AAVEAUD","wsname":"AAVE/AUD"},"B":{"altname":"B"}}}"#,
                "pairs",
            ),
            (
                r#"{"error":[],"result":{"unixtime":1616336594,"rfc1123":"Sun, 21 Mar 21 14:23:14 +0000"}}"#,
                "time",
            ),
            (r#"{"error":[],"result":{}}"#, "result"),
            (
                r#"{"result":"success","serverTime":"2016-02-25T09:45:53.818Z"}"#,
                "result",
            ),
        ] {
            rest_is(VENUE, body, Some("BTC/USD"), Event::Ignored { kind });
        }
        rest_is(
            VENUE,
            r#"{"error":[],"result":{"status":"online","timestamp":"2025-11-11T00:17:10Z"}}"#,
            None,
            Event::Status { text: "online" },
        );
        for body in [
            r#"{"error":["EQuery:Unknown asset pair"]}"#,
            r#"{"error":["EQuery:Unknown asset pair"],"result":{"X":{"a":["1","1","1"]}}}"#,
        ] {
            rest_is(
                VENUE,
                body,
                Some("BTC/USD"),
                Event::Error(VenueError {
                    code: Some("EQuery"),
                    message: "EQuery:Unknown asset pair",
                    instrument: None,
                }),
            );
        }
        for body in [
            r#"{"error":[],"result":{"X":{"z":1}}}"#,
            r#"{"error":[],"result":{"X":1}}"#,
            "[]",
            "{}",
        ] {
            let count = rest_events(VENUE, body, Some("A/B"), |_, event| panic!("{event:?}"));
            assert_eq!(count, Err(Invalid::frame(Reason::UnknownShape)), "{body}");
        }
    }

    #[test]
    fn futures_answers_give_derivatives_under_their_own_names() {
        rest_is(
            VENUE,
            r#"{"result":"success","tickers":[{"symbol":"PI_XBTUSD","last":30209.9,"bid":8634,"bidSize":1000,"ask":49289,"askSize":139984,
                "lastTime":"2022-06-17T10:46:35.705Z"}],"serverTime":"2022-06-17T11:00:31.335Z"}"#,
            Some("BTC/USD"),
            Event::Quote(VenueQuote {
                bid: dec("8634"),
                ask: dec("49289"),
                last: dec("30209.9"),
                ..VenueQuote::new("PI_XBTUSD")
            }),
        );
        rest_is(
            VENUE,
            r#"{"result":"success","orderBook":{"bids":[[105900.0,0.5]],"asks":[]},"serverTime":"2025-07-11T12:00:00.000Z"}"#,
            None,
            Event::Book(Book {
                instrument: None,
                snapshot: true,
            }),
        );
    }
}
