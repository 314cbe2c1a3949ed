//! Gate.io's v4 messages, as its documentation shows them and as they must not be.

use super::super::super::testing::{dec, events, is, refused};
use super::super::super::{VenueError, VenueTrade};
use super::*;

const VENUE: &str = "gate";

fn push(channel: &str, result: &str) -> String {
    format!(
        r#"{{"time":1606293275,"time_ms":1606293275723,"channel":"{channel}","event":"update","result":{result}}}"#
    )
}

const BOOK_TICKER: &str = r#"{"t":1606293275123,"u":48733182,"s":"BTC_USDT","b":"19177.79","B":"0.0003341504","a":"19179.38","A":"0.09"}"#;

#[test]
fn a_book_ticker_is_a_quote_and_contracts_are_no_size() {
    let futures = VenueQuote {
        bid: dec("19177.79"),
        ask: dec("19179.38"),
        venue_time_ns: Some(1_606_293_275_123_000_000),
        sequence: Some(48_733_182),
        ..VenueQuote::new("BTC_USDT")
    };
    let spot = VenueQuote {
        bid_size: dec("0.0003341504"),
        ask_size: dec("0.09"),
        ..futures
    };
    is(VENUE, &push("spot.book_ticker", BOOK_TICKER), Event::Quote(spot));
    is(VENUE, BOOK_TICKER, Event::Quote(spot));
    is(
        VENUE,
        &push("futures.book_ticker", BOOK_TICKER),
        Event::Quote(futures),
    );
    is(
        VENUE,
        &push(
            "futures.book_ticker",
            &BOOK_TICKER
                .replace("\"0.09\"", "-99")
                .replace("\"0.0003341504\"", "19485"),
        ),
        Event::Quote(futures),
    );
}

#[test]
fn an_empty_or_bad_side_never_becomes_a_price() {
    let frame = |bid: &str, ask: &str| {
        push(
            "spot.book_ticker",
            &format!(r#"{{"u":1,"s":"A_B","b":{bid},"B":"0","a":{ask}}}"#),
        )
    };
    for empty in ["\"\"", "null", "\"0\"", "0", "\"0.000\"", "0e5"] {
        is(
            VENUE,
            &frame(empty, "\"2\""),
            Event::Quote(VenueQuote {
                ask: dec("2"),
                bid_size: dec("0"),
                sequence: Some(1),
                ..VenueQuote::new("A_B")
            }),
        );
        refused(VENUE, &frame(empty, empty), Reason::NoPrice, None);
    }
    for (bad, reason) in [
        ("\"-2\"", Reason::Negative),
        ("-1e-9", Reason::Negative),
        ("\"nan\"", Reason::BadNumber),
        ("\"1e999\"", Reason::BadNumber),
        ("\"1.2.3\"", Reason::BadNumber),
        ("[]", Reason::WrongType),
        ("true", Reason::WrongType),
    ] {
        refused(VENUE, &frame("\"1\"", bad), reason, Some("a"));
    }
    is(
        VENUE,
        &frame("\"1602221.66468375534639404191000000\"", "1.504E-5"),
        Event::Quote(VenueQuote {
            bid: dec("1602221.66468375534"),
            ask: dec("0.00001504"),
            bid_size: dec("0"),
            sequence: Some(1),
            ..VenueQuote::new("A_B")
        }),
    );
    refused(
        VENUE,
        &push("spot.book_ticker", r#"{"b":"1"}"#),
        Reason::MissingField,
        Some("s"),
    );
    refused(
        VENUE,
        &push("spot.book_ticker", r#"{"s":5,"b":"1"}"#),
        Reason::WrongType,
        Some("s"),
    );
}

#[test]
fn a_ticker_is_a_quote_at_the_time_of_its_message() {
    let result = r#"{"currency_pair":"BTC_USDT","last":"29968.31","lowest_ask":"29968.32","highest_bid":"29968.3",
        "change_percentage":"-5.3731","base_volume":"10676.32785905","high_24h":"32399.99"}"#;
    let quote = |instrument, time| {
        Event::Quote(VenueQuote {
            bid: dec("29968.3"),
            ask: dec("29968.32"),
            last: dec("29968.31"),
            venue_time_ns: Some(time),
            ..VenueQuote::new(instrument)
        })
    };
    is(
        VENUE,
        &push("spot.tickers", result),
        quote("BTC_USDT", 1_606_293_275_723_000_000),
    );
    let old = push("spot.tickers", result).replace(r#""time_ms":1606293275723,"#, "");
    is(VENUE, &old, quote("BTC_USDT", 1_606_293_275_000_000_000));
    let futures = result
        .replace("currency_pair", "contract")
        .replace("BTC_USDT", "BTC_USD");
    is(
        VENUE,
        &push("futures.tickers", &format!("[{futures}]")),
        quote("BTC_USD", 1_606_293_275_723_000_000),
    );
    for (bad, reason) in [
        ("\"x\"", Reason::BadTime),
        ("-1", Reason::BadTime),
        ("1.5", Reason::BadTime),
        ("[]", Reason::WrongType),
    ] {
        let frame = push("spot.tickers", result).replace("1606293275723", bad);
        refused(VENUE, &frame, reason, Some("time_ms"));
    }
    refused(
        VENUE,
        &push("spot.tickers", r#"{"last":"1"}"#),
        Reason::MissingField,
        Some("currency_pair"),
    );
    is(
        VENUE,
        &push("futures.tickers", "[]"),
        Event::Ignored {
            kind: "futures.tickers",
        },
    );
}

#[test]
fn spot_trades_bear_the_takers_side_and_a_time_with_decimals() {
    let trade = VenueTrade {
        instrument: "BTC_USDT",
        price: dec("0.4705").expect("a price"),
        size: dec("16.47"),
        side: Some(Side::Sell),
        venue_time_ns: Some(1_606_292_218_213_457_800),
        sequence: Some(309_143_071),
        snapshot: false,
    };
    let frame = |time: &str| {
        push(
            "spot.trades",
            &format!(
                r#"{{"id":309143071,"create_time":1606292218,{time}"side":"sell","currency_pair":"BTC_USDT","amount":"16.4700000000","price":"0.4705000000"}}"#
            ),
        )
    };
    is(
        VENUE,
        &frame(r#""create_time_ms":"1606292218213.4578","#),
        Event::Trade(trade),
    );
    is(
        VENUE,
        &frame(""),
        Event::Trade(VenueTrade {
            venue_time_ns: Some(1_606_292_218_000_000_000),
            ..trade
        }),
    );
    for bad in [
        "\"\"",
        "\"-1\"",
        "\"1606292218213.\"",
        "1.6e12",
        "\"now\"",
        "\"1606292218213.4x\"",
    ] {
        refused(
            VENUE,
            &frame(&format!(r#""create_time_ms":{bad},"#)),
            Reason::BadTime,
            Some("create_time_ms"),
        );
    }
    refused(
        VENUE,
        &push("spot.trades", r#"{"currency_pair":"A_B","price":"0"}"#),
        Reason::ZeroPrice,
        Some("price"),
    );
}

#[test]
fn trades_of_futures_have_their_side_in_the_sign_and_no_size() {
    let frame = push(
        "futures.trades",
        r#"[{"size":-108,"id":27753479,"create_time":1545136464,"create_time_ms":1545136464123,"price":"96.4","contract":"BTC_USD"},
            {"contract":"MOB_USDT","price":"-1","size":1},
            {"contract":"MOB_USDT","create_time":1667469835,"id":927273,"price":0.836,"size":"90"},
            {"contract":"MOB_USDT","price":1,"size":0}]"#,
    );
    let trade = |instrument, price, side, time, sequence| {
        Event::Trade(VenueTrade {
            instrument,
            price: dec(price).expect("a price"),
            size: None,
            side,
            venue_time_ns: time,
            sequence,
            snapshot: false,
        })
    };
    let expected = [
        trade(
            "BTC_USD",
            "96.4",
            Some(Side::Sell),
            Some(1_545_136_464_123_000_000),
            Some(27_753_479),
        ),
        Event::Invalid {
            instrument: Some("MOB_USDT"),
            invalid: Invalid::field("price", Reason::Negative),
        },
        trade(
            "MOB_USDT",
            "0.836",
            Some(Side::Buy),
            Some(1_667_469_835_000_000_000),
            Some(927_273),
        ),
        trade("MOB_USDT", "1", None, None, None),
    ];
    let count = events(VENUE, &frame, |i, event| assert_eq!(event, expected[i]));
    assert_eq!(count, Ok(expected.len()));
}

#[test]
fn books_of_every_channel_are_told_whole_from_changed() {
    let book = |instrument, snapshot| {
        Event::Book(Book {
            instrument: Some(instrument),
            snapshot,
        })
    };
    for (frame, expected) in [
        (
            push(
                "spot.order_book_update",
                r#"{"t":1,"e":"depthUpdate","s":"BTC_USDT","U":1,"u":2,"b":[],"a":[]}"#,
            ),
            book("BTC_USDT", false),
        ),
        (
            push(
                "spot.order_book",
                r#"{"t":1,"lastUpdateId":48791820,"s":"BTC_USDT","bids":[],"asks":[]}"#,
            ),
            book("BTC_USDT", true),
        ),
        (
            push(
                "spot.obu",
                r#"{"t":1,"full":true,"s":"ob.BTC_USDT.400","u":1,"b":[],"a":[]}"#,
            ),
            book("BTC_USDT", true),
        ),
        (
            push(
                "futures.obu",
                r#"{"t":1,"s":"futures.BTC_USD.20","U":1,"u":1,"b":[],"a":[]}"#,
            ),
            book("BTC_USD", false),
        ),
        (
            push(
                "futures.order_book",
                r#"[{"p":"38258.9","s":-500,"c":"BTC_USDT_20210625","id":90062644}]"#,
            ),
            book("BTC_USDT_20210625", false),
        ),
        (
            push(
                "futures.order_book",
                r#"{"contract":"BTC_USD","asks":[],"bids":[]}"#,
            )
            .replace("update", "all"),
            book("BTC_USD", true),
        ),
        (
            r#"{"t":1,"s":"ob.BTC_USDT.50","u":27053258987,"U":27053258982,"b":[["111666","0.1"]],"a":[]}"#
                .to_owned(),
            book("BTC_USDT", false),
        ),
    ] {
        is(VENUE, &frame, expected);
    }
}

#[test]
fn a_subscription_is_confirmed_pair_by_pair_where_the_answer_names_them() {
    let frame = |payload: &str| {
        format!(
            r#"{{"time":1606292218,"id":1,"channel":"spot.trades","event":"subscribe",{payload}"result":{{"status":"success"}}}}"#
        )
    };
    let ack = |instrument| {
        Event::Ack(Ack {
            channel: Some("spot.trades"),
            instrument,
        })
    };
    is(VENUE, &frame(""), ack(None));
    is(
        VENUE,
        &frame(r#""payload":["BTC_USDT","100ms"],"#),
        ack(Some("BTC_USDT")),
    );
    is(
        VENUE,
        &frame(r#""payload":["ob.BTC_USDT.50"],"#),
        ack(Some("BTC_USDT")),
    );
    let count = events(VENUE, &frame(r#""payload":["A_B","C_D"],"#), |i, event| {
        assert_eq!(event, ack(Some(["A_B", "C_D"][i])));
    });
    assert_eq!(count, Ok(2));
    is(VENUE, &frame("").replace("subscribe", "unsubscribe"), ack(None));
}

#[test]
fn a_refused_subscription_names_its_pair_if_it_was_for_one() {
    let frame = |payload: &str| {
        format!(
            r#"{{"time":1790134507,"channel":"spot.book_ticker","event":"subscribe","payload":[{payload}],
                "error":{{"code":2,"message":"unknown currency pair: NOPE_USD"}},"result":{{"status":"fail"}}}}"#
        )
    };
    let error = |instrument| {
        Event::Error(VenueError {
            code: Some("2"),
            message: "unknown currency pair: NOPE_USD",
            instrument,
        })
    };
    is(VENUE, &frame(r#""NOPE_USD""#), error(Some("NOPE_USD")));
    is(VENUE, &frame(r#""NOPE_USD","100ms""#), error(Some("NOPE_USD")));
    is(VENUE, &frame(r#""BTC_USDT","NOPE_USD""#), error(None));
    is(
        VENUE,
        r#"{"channel":"spot.tickers","event":"subscribe","error":null,"result":{"status":"fail"}}"#,
        Event::Error(VenueError {
            code: None,
            message: "",
            instrument: None,
        }),
    );
}

#[test]
fn everything_else_is_known_for_what_it_is() {
    for channel in ["spot.pong", "futures.pong"] {
        is(
            VENUE,
            &format!(r#"{{"time":1790134410,"channel":"{channel}","event":"","result":null,"error":null}}"#),
            Event::Heartbeat,
        );
    }
    is(
        VENUE,
        r#"{"time": 1790134410, "channel": "spot.ping"}"#,
        Event::Request { method: "spot.ping" },
    );
    for method in ["subscribe", "unsubscribe"] {
        is(
            VENUE,
            &format!(r#"{{"time":1,"channel":"spot.trades","event":"{method}","payload":["A_B"]}}"#),
            Event::Request { method },
        );
    }
    for kind in [
        "spot.candlesticks",
        "futures.candlesticks",
        "spot.balances",
        "spot.news",
        "odd",
    ] {
        is(VENUE, &push(kind, "{}"), Event::Ignored { kind });
    }
    is(
        VENUE,
        r#"{"channel":"spot.trades","event":"news","result":{}}"#,
        Event::Ignored { kind: "spot.trades" },
    );
    refused(
        VENUE,
        &push("spot.trades", "null"),
        Reason::MissingField,
        Some("result"),
    );
    refused(
        VENUE,
        &push("spot.trades", "7"),
        Reason::MissingField,
        Some("currency_pair"),
    );
}
