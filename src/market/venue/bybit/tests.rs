use proptest::prelude::*;

use super::super::VenueTrade;
use super::super::testing::{
    SAME_PRICES, WRONG_COUNTS, WRONG_PRICES, any_message, damage_is_refused, dec, events,
    gives_no_false_price, is, refused,
};
use super::*;

const VENUE: &str = "bybit";

const LEVEL1: &str = r#"{"topic":"orderbook.1.BTCUSDT","ts":1680652806504,"type":"snapshot","data":{"s":"BTCUSDT",
    "b":[["28165.07","0.175231"]],"a":[["28165.08","0.996816"]],"u":20404754,"seq":4281281856},"cts":1680652806490}"#;

fn book(snapshot: bool) -> Event<'static> {
    Event::Book(Book {
        instrument: Some("BTCUSDT"),
        snapshot,
    })
}

#[test]
fn a_book_of_one_level_is_a_book_and_a_quote() {
    let quote = VenueQuote {
        bid: dec("28165.07"),
        ask: dec("28165.08"),
        bid_size: dec("0.175231"),
        ask_size: dec("0.996816"),
        venue_time_ns: Some(1_680_652_806_490_000_000),
        sequence: Some(4_281_281_856),
        ..VenueQuote::new("BTCUSDT")
    };
    let check = |frame: &str, quote| {
        let count = events(VENUE, frame, |i, event| match i {
            0 => assert_eq!(event, book(true)),
            _ => assert_eq!(event, Event::Quote(quote)),
        });
        assert_eq!(count, Ok(2), "{frame}");
    };
    check(LEVEL1, quote);
    // Before 2023 there was no `cts`.
    check(
        &LEVEL1.replace(r#","cts":1680652806490"#, ""),
        VenueQuote {
            venue_time_ns: Some(1_680_652_806_504_000_000),
            ..quote
        },
    );
    // The unchanged book sent again: `u` stands, `seq` and time rise.
    let again = LEVEL1
        .replace("4281281856", "4281281999")
        .replace("1680652806490", "1680652809490");
    check(
        &again,
        VenueQuote {
            sequence: Some(4_281_281_999),
            venue_time_ns: Some(1_680_652_809_490_000_000),
            ..quote
        },
    );
    // One empty side is a quote of the other.
    check(
        &LEVEL1.replace(r#"[["28165.08","0.996816"]]"#, "[]"),
        VenueQuote {
            ask: None,
            ask_size: None,
            ..quote
        },
    );
}

#[test]
fn changes_and_deeper_books_give_no_price() {
    for (topic, kind, snapshot) in [
        ("orderbook.1.BTCUSDT", "delta", false),
        ("orderbook.50.BTCUSDT", "snapshot", true),
        ("orderbook.50.BTCUSDT", "delta", false),
        ("orderbook.1000.BTCUSDT", "snapshot", true),
        ("orderbook.rpi.BTCUSDT", "snapshot", true),
    ] {
        let frame = format!(
            r#"{{"topic":"{topic}","ts":1,"type":"{kind}","data":{{"s":"BTCUSDT","b":[["1","2"]],"a":[],"u":2,"seq":3}}}}"#
        );
        is(VENUE, &frame, book(snapshot));
    }
}

#[test]
fn spot_tickers_are_the_last_price_without_a_sequence() {
    is(
        VENUE,
        r#"{"topic":"tickers.BTCUSDT","ts":1673853746003,"type":"snapshot","cs":2588407389,"data":{"symbol":"BTCUSDT",
            "lastPrice":"21109.77","highPrice24h":"21426.99","volume24h":"6780.866843","usdIndexPrice":"21120.2400136"}}"#,
        Event::Quote(VenueQuote {
            last: dec("21109.77"),
            venue_time_ns: Some(1_673_853_746_003_000_000),
            ..VenueQuote::new("BTCUSDT")
        }),
    );
}

#[test]
fn changes_of_contract_tickers_publish_only_the_prices_they_bear() {
    let delta = |fields: &str| {
        format!(
            r#"{{"topic":"tickers.BTCUSDT","type":"delta","data":{{"symbol":"BTCUSDT"{fields}}},"cs":753843907770,"ts":1786310817883}}"#
        )
    };
    let quote = VenueQuote {
        venue_time_ns: Some(1_786_310_817_883_000_000),
        ..VenueQuote::new("BTCUSDT")
    };
    is(
        VENUE,
        &delta(r#","bid1Price":"65114.20","bid1Size":"6.054","ask1Price":"65114.30","ask1Size":"10.486""#),
        Event::Quote(VenueQuote {
            bid: dec("65114.2"),
            ask: dec("65114.3"),
            bid_size: dec("6.054"),
            ask_size: dec("10.486"),
            sequence: Some(753_843_907_770),
            ..quote
        }),
    );
    is(
        VENUE,
        &delta(r#","lastPrice":"65114.30""#),
        Event::Quote(VenueQuote {
            last: dec("65114.3"),
            ..quote
        }),
    );
    for fields in [
        "",
        r#","markPrice":"65117.43","openInterestValue":"3899995666.09""#,
        r#","bid1Size":"6.054""#,
    ] {
        is(VENUE, &delta(fields), Event::Ignored { kind: "tickers" });
    }
    // A price that is said to be none is not the same as one that is not spoken of.
    refused(VENUE, &delta(r#","bid1Price":"""#), Reason::NoPrice, None);
    refused(
        VENUE,
        r#"{"topic":"tickers.BTCUSDT","type":"snapshot","data":{"symbol":"BTCUSDT"},"ts":1}"#,
        Reason::NoPrice,
        None,
    );
}

#[test]
fn option_tickers_name_their_prices_otherwise() {
    is(
        VENUE,
        r#"{"topic":"tickers.BTC-6JAN23-17500-C","ts":1672917511074,"type":"snapshot","data":{"symbol":"BTC-6JAN23-17500-C",
            "bidPrice":"0","bidSize":"0","askPrice":"10","askSize":"5.1","lastPrice":"10","markPrice":"7.86976724"}}"#,
        Event::Quote(VenueQuote {
            ask: dec("10"),
            last: dec("10"),
            bid_size: dec("0"),
            ask_size: dec("5.1"),
            venue_time_ns: Some(1_672_917_511_074_000_000),
            ..VenueQuote::new("BTC-6JAN23-17500-C")
        }),
    );
}

#[test]
fn every_trade_of_a_message_is_one_and_a_bad_one_spoils_only_itself() {
    let good = r#"{"T":1680652847524,"s":"BTCUSDT","S":"Sell","v":"0.041732","p":"28165.38","i":"2290000000050703789","BT":false}"#;
    let frame = format!(
        r#"{{"topic":"publicTrade.BTCUSDT","ts":1680652847526,"type":"snapshot","data":[{good},{{"s":"BTCUSDT","p":"0"}},7,
            {{"T":1680652847524,"S":"Buy","p":"1","i":"20f43950-d8dd-5b31-9112-a178eb6023af"}},{{"s":1,"p":"1"}},{good}]}}"#
    );
    let trade = VenueTrade {
        instrument: "BTCUSDT",
        price: dec("28165.38").expect("a price"),
        size: dec("0.041732"),
        side: Some(Side::Sell),
        venue_time_ns: Some(1_680_652_847_524_000_000),
        sequence: Some(2_290_000_000_050_703_789),
        snapshot: false,
    };
    let count = events(VENUE, &frame, |i, event| {
        let invalid = |instrument, field, reason| Event::Invalid {
            instrument,
            invalid: Invalid::field(field, reason),
        };
        let expected = match i {
            1 => invalid(Some("BTCUSDT"), "p", Reason::ZeroPrice),
            2 => invalid(Some("BTCUSDT"), "p", Reason::MissingField),
            // A trade that does not name its symbol is the topic's; a UUID is no sequence.
            3 => Event::Trade(VenueTrade {
                price: dec("1").expect("a price"),
                size: None,
                side: Some(Side::Buy),
                sequence: None,
                ..trade
            }),
            4 => invalid(None, "s", Reason::WrongType),
            _ => Event::Trade(trade),
        };
        assert_eq!(event, expected, "{i}");
    });
    assert_eq!(count, Ok(6));
    is(
        VENUE,
        &format!(r#"{{"topic":"trade.linear.BTCUSDT","type":"snapshot","data":[{good}]}}"#),
        Event::Trade(trade),
    );
}

#[test]
fn no_wrong_price_passes_and_every_right_form_reads_the_same() {
    let ticker = |bid: &str, ask: &str| {
        format!(
            r#"{{"topic":"tickers.AB","type":"snapshot","data":{{"symbol":"AB","bid1Price":{bid},"ask1Price":{ask}}}}}"#
        )
    };
    let trade = |price: &str| {
        format!(r#"{{"topic":"publicTrade.AB","type":"snapshot","data":[{{"s":"AB","p":{price},"v":"1"}}]}}"#)
    };
    let quote = VenueQuote {
        bid: dec("1"),
        ..VenueQuote::new("AB")
    };
    for (wrong, reason) in WRONG_PRICES {
        if let Some(reason) = reason {
            refused(VENUE, &ticker("\"1\"", wrong), reason, Some("ask1Price"));
        } else {
            is(VENUE, &ticker("\"1\"", wrong), Event::Quote(quote));
            refused(VENUE, &ticker(wrong, wrong), Reason::NoPrice, None);
        }
        let reason = reason.unwrap_or(Reason::ZeroPrice);
        refused(VENUE, &trade(wrong), reason, Some("p"));
    }
    for same in SAME_PRICES {
        is(
            VENUE,
            &ticker(same, "\"9\""),
            Event::Quote(VenueQuote {
                bid: dec("0.00001504"),
                ask: dec("9"),
                ..quote
            }),
        );
    }
    let level = |level: &str| {
        format!(
            r#"{{"topic":"orderbook.1.BTCUSDT","type":"snapshot","data":{{"s":"BTCUSDT","b":[],"a":[{level}]}}}}"#
        )
    };
    for (wrong, reason) in [
        (r#"["-1","1"]"#, Reason::Negative),
        (r#"["1","NaN"]"#, Reason::BadNumber),
        (r#"["1"]"#, Reason::WrongType),
        (r#""1""#, Reason::WrongType),
        (r#"["0","0"]"#, Reason::NoPrice),
        ("", Reason::NoPrice),
    ] {
        let count = events(VENUE, &level(wrong), |i, event| match event {
            Event::Invalid { invalid, .. } if i == 1 => assert_eq!(invalid.reason, reason, "{wrong}"),
            event => assert!(i == 0 && event == book(true), "{wrong}: {event:?}"),
        });
        assert_eq!(count, Ok(2), "{wrong}");
    }
}

#[test]
fn no_wrong_time_passes() {
    for (wrong, reason) in WRONG_COUNTS {
        refused(
            VENUE,
            &format!(
                r#"{{"topic":"tickers.AB","type":"snapshot","data":{{"symbol":"AB","lastPrice":"1"}},"ts":{wrong}}}"#
            ),
            reason,
            Some("ts"),
        );
        refused(
            VENUE,
            &format!(r#"{{"topic":"publicTrade.AB","data":[{{"s":"AB","p":"1","T":{wrong}}}]}}"#),
            reason,
            Some("T"),
        );
        let frame = LEVEL1.replace("1680652806490", wrong);
        let count = events(VENUE, &frame, |i, event| match event {
            Event::Invalid { invalid, .. } if i == 1 => {
                assert_eq!(invalid, Invalid::field("cts", reason));
            }
            event => assert!(i == 0, "{event:?}"),
        });
        assert_eq!(count, Ok(2));
    }
    for never in ["null", "0"] {
        is(
            VENUE,
            &format!(
                r#"{{"topic":"tickers.AB","type":"snapshot","data":{{"symbol":"AB","lastPrice":"1"}},"ts":{never}}}"#
            ),
            Event::Quote(VenueQuote {
                last: dec("1"),
                ..VenueQuote::new("AB")
            }),
        );
    }
}

#[test]
fn answers_in_all_their_shapes_are_known_for_what_they_are() {
    for pong in [
        r#"{"success":true,"ret_msg":"pong","conn_id":"0970e817","req_id":"100001","op":"ping"}"#,
        r#"{"req_id":"100001","op":"pong","args":["1690467976608"],"conn_id":"cejreaspqfm9se7usbrg-2xh"}"#,
        r#"{"op":"pong"}"#,
        r#"{"retCode":0,"retMsg":"OK","op":"pong","data":["1711002002529"],"connId":"a"}"#,
    ] {
        is(VENUE, pong, Event::Heartbeat);
    }
    for ack in [
        r#"{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"10001","op":"subscribe"}"#,
        r#"{"success":true,"ret_msg":"","conn_id":"a","op":"unsubscribe"}"#,
        r#"{"retCode":0,"retMsg":"OK","op":"auth","connId":"a"}"#,
    ] {
        is(
            VENUE,
            ack,
            Event::Ack(Ack {
                channel: None,
                instrument: None,
            }),
        );
    }
    for (frame, code, message) in [
        (
            r#"{"success":false,"ret_msg":"Invalid topic: nope.X","conn_id":"a","op":"subscribe"}"#,
            None,
            "Invalid topic: nope.X",
        ),
        (
            r#"{"retCode":10004,"retMsg":"Invalid sign","op":"auth","connId":"a"}"#,
            Some("10004"),
            "Invalid sign",
        ),
        (
            r#"{"retCode":10001,"retMsg":"Not supported symbols","result":{},"time":1}"#,
            Some("10001"),
            "Not supported symbols",
        ),
    ] {
        is(
            VENUE,
            frame,
            Event::Error(VenueError {
                code,
                message,
                instrument: None,
            }),
        );
    }
    for (frame, method) in [
        (
            r#"{"op":"subscribe","args":["orderbook.1.BTCUSDT"],"req_id":"1"}"#,
            "subscribe",
        ),
        (r#"{"req_id":"1","op":"ping"}"#, "ping"),
    ] {
        is(VENUE, frame, Event::Request { method });
    }
}

#[test]
fn other_topics_are_ignored_by_their_kind() {
    for (topic, kind) in [
        ("kline.1.BTCUSDT", "kline"),
        ("allLiquidation.BTCUSDT", "allLiquidation"),
        // A leveraged token, which bears the symbol of what it multiplies.
        ("tickers_lt.BTCUSDT", "tickers_lt"),
        ("what-comes-next-year", "what-comes-next-year"),
    ] {
        let frame = format!(
            r#"{{"topic":"{topic}","type":"snapshot","ts":1,"data":{{"symbol":"BTCUSDT","lastPrice":"0.41"}}}}"#
        );
        is(VENUE, &frame, Event::Ignored { kind });
    }
    refused(
        VENUE,
        r#"{"topic":"tickers.BTCUSDT","ts":1}"#,
        Reason::MissingField,
        Some("data"),
    );
    refused(
        VENUE,
        r#"{"topic":"publicTrade.BTCUSDT","data":7}"#,
        Reason::WrongType,
        Some("data"),
    );
    is(
        VENUE,
        r#"{"topic":"publicTrade.BTCUSDT","data":[]}"#,
        Event::Ignored { kind: "publicTrade" },
    );
    for frame in [r#"{"z":1}"#, r#"{"retCode":0}"#, r#"{"data":[]}"#] {
        let nothing = events(VENUE, frame, |_, event| panic!("{frame}: {event:?}"));
        assert_eq!(nothing, Err(Invalid::frame(Reason::UnknownShape)), "{frame}");
    }
}

#[test]
fn every_cut_frame_and_every_byte_that_is_no_text_is_refused() {
    damage_is_refused(VENUE, LEVEL1, "BTC");
}

const NAMES: &[&str] = &[
    "topic",
    "type",
    "data",
    "ts",
    "cts",
    "cs",
    "s",
    "b",
    "a",
    "u",
    "seq",
    "symbol",
    "bid1Price",
    "ask1Price",
    "lastPrice",
    "bidPrice",
    "bidQty",
    "T",
    "S",
    "v",
    "p",
    "i",
    "q",
    "m",
    "t",
    "price",
    "size",
    "side",
    "time",
    "op",
    "success",
    "ret_msg",
    "retCode",
    "result",
    "list",
    "params",
    "event",
    "code",
    "request",
    "args",
    "execId",
    "bid_price",
    "time_now",
];
const WORDS: &[&str] = &[
    "orderbook.1.BTCUSDT",
    "orderbook.50.BTCUSDT",
    "tickers.BTCUSDT",
    "publicTrade.BTCUSDT",
    "trade.BTCUSD",
    "trade",
    "bookTicker",
    "depth",
    "snapshot",
    "delta",
    "subscribe",
    "ping",
    "pong",
    "sub",
    "BTCUSDT",
    "Buy",
    "",
    "0",
    "1.5",
    "-1",
    "1e999",
    "NaN",
    "1680652806504",
];

proptest! {
    #[test]
    fn no_message_gives_a_false_price(frame in any_message(NAMES, WORDS)) {
        gives_no_false_price(VENUE, &frame);
    }
}
