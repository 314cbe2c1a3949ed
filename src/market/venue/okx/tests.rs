use proptest::prelude::*;

use super::super::VenueTrade;
use super::super::testing::{
    SAME_PRICES, WRONG_COUNTS, WRONG_PRICES, any_message, damage_is_refused, dec, events,
    gives_no_false_price, is, refused,
};
use super::*;

const VENUE: &str = "okx";

const TICKER: &str = r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT",
    "last":"29934","lastSz":"0.00001468","askPx":"29934.1","askSz":"0.30918743","bidPx":"29934","bidSz":"0.05181315",
    "open24h":"31588.3","high24h":"31899.8","low24h":"29318.7","sodUtc0":"29806.5","ts":"1654166073135"}]}"#;

fn book(instrument: &str, snapshot: bool) -> Event<'_> {
    Event::Book(Book {
        instrument: Some(instrument),
        snapshot,
    })
}

#[test]
fn a_ticker_is_a_quote_in_the_digits_the_venue_wrote() {
    is(
        VENUE,
        TICKER,
        Event::Quote(VenueQuote {
            bid: dec("29934"),
            ask: dec("29934.1"),
            last: dec("29934"),
            bid_size: dec("0.05181315"),
            ask_size: dec("0.30918743"),
            last_size: dec("0.00001468"),
            venue_time_ns: Some(1_654_166_073_135_000_000),
            ..VenueQuote::new("BTC-USDT")
        }),
    );
}

#[test]
fn the_best_level_is_a_book_and_a_quote_with_its_sequence() {
    let frame = r#"{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0","13"]],
        "bids":[["8476.97","256","0","12"]],"ts":"1597026383085","seqId":123456}]}"#;
    let count = events(VENUE, frame, |i, event| match i {
        0 => assert_eq!(event, book("BTC-USDT", true)),
        _ => assert_eq!(
            event,
            Event::Quote(VenueQuote {
                bid: dec("8476.97"),
                ask: dec("8476.98"),
                bid_size: dec("256"),
                ask_size: dec("415"),
                venue_time_ns: Some(1_597_026_383_085_000_000),
                sequence: Some(123_456),
                ..VenueQuote::new("BTC-USDT")
            })
        ),
    });
    assert_eq!(count, Ok(2));
}

#[test]
fn deeper_books_are_recognised_and_give_no_price() {
    for (channel, action, snapshot) in [
        ("books", r#""action":"snapshot","#, true),
        ("books", r#""action":"update","#, false),
        ("books-l2-tbt", r#""action":"update","#, false),
        ("books50-l2-tbt", r#""action":"snapshot","#, true),
        ("books5", "", true),
    ] {
        let frame = format!(
            r#"{{"arg":{{"channel":"{channel}","instId":"A-B"}},{action}"data":[{{"asks":[["2","1","0","1"]],"bids":[],
                "ts":"1597026383085","checksum":-855196043,"prevSeqId":-1,"seqId":10}}]}}"#
        );
        is(VENUE, &frame, book("A-B", snapshot));
    }
    // A spread is no instrument; it has no `instId` either.
    is(
        VENUE,
        r#"{"arg":{"channel":"sprd-books5","sprdId":"A_B"},"data":[{"asks":[["-2","1","1"]],"bids":[],"ts":"1"}]}"#,
        Event::Book(Book {
            instrument: None,
            snapshot: true,
        }),
    );
}

#[test]
fn every_trade_of_a_message_is_one_and_a_bad_one_spoils_only_itself() {
    let trade = VenueTrade {
        instrument: "BTC-USDT",
        price: dec("42219.9").expect("a price"),
        size: dec("0.12060306"),
        side: Some(Side::Buy),
        venue_time_ns: Some(1_630_048_897_897_000_000),
        sequence: Some(130_639_474),
        snapshot: false,
    };
    for channel in ["trades", "trades-all"] {
        let good = r#"{"instId":"BTC-USDT","tradeId":"130639474","px":"42219.9","sz":"0.12060306","side":"buy","ts":"1630048897897","count":"3"}"#;
        let frame = format!(
            r#"{{"arg":{{"channel":"{channel}","instId":"BTC-USDT"}},"data":[{good},
                {{"instId":"BTC-USDT","px":"x"}},{{"sz":"1"}},7,{{"instId":7,"px":"1"}},
                {{"px":"1","side":"none","tradeId":"a"}},{good}]}}"#
        );
        let count = events(VENUE, &frame, |i, event| {
            let invalid = |instrument, field, reason| Event::Invalid {
                instrument,
                invalid: Invalid::field(field, reason),
            };
            let expected = match i {
                1 => invalid(Some("BTC-USDT"), "px", Reason::BadNumber),
                2 | 3 => invalid(Some("BTC-USDT"), "px", Reason::MissingField),
                4 => invalid(None, "instId", Reason::WrongType),
                5 => Event::Trade(VenueTrade {
                    price: dec("1").expect("a price"),
                    size: None,
                    side: None,
                    venue_time_ns: None,
                    sequence: None,
                    ..trade
                }),
                _ => Event::Trade(trade),
            };
            assert_eq!(event, expected, "{i}");
        });
        assert_eq!(count, Ok(7));
    }
}

#[test]
fn no_wrong_price_passes_and_every_right_form_reads_the_same() {
    let frame = |bid: &str, ask: &str| {
        format!(
            r#"{{"arg":{{"channel":"tickers","instId":"A-B"}},"data":[{{"instId":"A-B","bidPx":{bid},"askPx":{ask},"last":""}}]}}"#
        )
    };
    for (wrong, reason) in WRONG_PRICES {
        if let Some(reason) = reason {
            refused(VENUE, &frame("\"1\"", wrong), reason, Some("askPx"));
        } else {
            is(
                VENUE,
                &frame("\"1\"", wrong),
                Event::Quote(VenueQuote {
                    bid: dec("1"),
                    ..VenueQuote::new("A-B")
                }),
            );
            refused(VENUE, &frame(wrong, wrong), Reason::NoPrice, None);
        }
    }
    for same in SAME_PRICES {
        is(
            VENUE,
            &frame(same, "\"9\""),
            Event::Quote(VenueQuote {
                bid: dec("0.00001504"),
                ask: dec("9"),
                ..VenueQuote::new("A-B")
            }),
        );
    }
    // Crossed is what the venue says: who may use it is judged elsewhere.
    is(
        VENUE,
        &frame("\"2\"", "\"1\""),
        Event::Quote(VenueQuote {
            bid: dec("2"),
            ask: dec("1"),
            ..VenueQuote::new("A-B")
        }),
    );
    let trade = |price: &str| {
        format!(
            r#"{{"arg":{{"channel":"trades","instId":"A-B"}},"data":[{{"instId":"A-B","px":{price},"sz":"1"}}]}}"#
        )
    };
    for (wrong, reason) in WRONG_PRICES {
        let reason = reason.unwrap_or(Reason::ZeroPrice);
        refused(VENUE, &trade(wrong), reason, Some("px"));
    }
    let level = |level: &str| {
        format!(r#"{{"arg":{{"channel":"bbo-tbt","instId":"A-B"}},"data":[{{"bids":[{level}],"asks":[]}}]}}"#)
    };
    for (wrong, reason) in [
        (r#"["-1","1"]"#, Reason::Negative),
        (r#"["1","-1"]"#, Reason::Negative),
        (r#"["NaN","1"]"#, Reason::BadNumber),
        (r#"["1"]"#, Reason::WrongType),
        ("7", Reason::WrongType),
        (r#"["0","0"]"#, Reason::NoPrice),
        ("", Reason::NoPrice),
    ] {
        let count = events(VENUE, &level(wrong), |i, event| match event {
            Event::Invalid {
                instrument: Some("A-B"),
                invalid,
            } if i == 1 => assert_eq!(invalid.reason, reason, "{wrong}"),
            event => assert!(i == 0 && event == book("A-B", true), "{wrong}: {event:?}"),
        });
        assert_eq!(count, Ok(2), "{wrong}");
    }
}

#[test]
fn no_wrong_time_passes() {
    let frame = |ts: &str| {
        format!(
            r#"{{"arg":{{"channel":"tickers","instId":"A-B"}},"data":[{{"instId":"A-B","last":"1","ts":{ts}}}]}}"#
        )
    };
    for (wrong, reason) in WRONG_COUNTS {
        refused(VENUE, &frame(wrong), reason, Some("ts"));
    }
    let quote = |venue_time_ns| {
        Event::Quote(VenueQuote {
            last: dec("1"),
            venue_time_ns,
            ..VenueQuote::new("A-B")
        })
    };
    is(
        VENUE,
        &frame("1654166073135"),
        quote(Some(1_654_166_073_135_000_000)),
    );
    for never in ["null", "0", "\"0\""] {
        is(VENUE, &frame(never), quote(None));
    }
}

#[test]
fn answers_and_words_of_the_venue_are_known_for_what_they_are() {
    let error = |code, message, instrument| {
        Event::Error(VenueError {
            code,
            message,
            instrument,
        })
    };
    is(
        VENUE,
        r#"{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"},"connId":"a4d3ae55"}"#,
        Event::Ack(Ack {
            channel: Some("tickers"),
            instrument: Some("BTC-USDT"),
        }),
    );
    is(
        VENUE,
        r#"{"event":"unsubscribe","arg":{"channel":"instruments","instType":"SPOT"}}"#,
        Event::Ack(Ack {
            channel: Some("instruments"),
            instrument: None,
        }),
    );
    let nobody = Event::Ack(Ack {
        channel: None,
        instrument: None,
    });
    is(
        VENUE,
        r#"{"event":"login","code":"0","msg":"","connId":"a"}"#,
        nobody,
    );
    is(
        VENUE,
        r#"{"id":"1512","op":"order","data":[],"code":"0","msg":""}"#,
        nobody,
    );
    is(
        VENUE,
        r#"{"id":"1512","op":"order","data":[],"code":"60013","msg":"Invalid args"}"#,
        error(Some("60013"), "Invalid args", None),
    );
    is(
        VENUE,
        r#"{"event":"error","arg":{"channel":"tickers","instId":"NO-PE"},"code":"60018","msg":"doesn't exist"}"#,
        error(Some("60018"), "doesn't exist", Some("NO-PE")),
    );
    is(
        VENUE,
        r#"{"event":"login","code":"60009","msg":"Login failed."}"#,
        error(Some("60009"), "Login failed.", None),
    );
    is(
        VENUE,
        r#"{"event":"channel-conn-count-error","channel":"orders","connCount":"20","connId":"a"}"#,
        error(None, "channel-conn-count-error", None),
    );
    for (frame, text) in [
        (
            r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect."}"#,
            "notice",
        ),
        (
            r#"{"event":"channel-conn-count","channel":"orders","connCount":"2"}"#,
            "channel-conn-count",
        ),
        (
            r#"{"arg":{"channel":"status"},"data":[{"title":"Upgrade","state":"scheduled","begin":"1672823400000"}]}"#,
            "scheduled",
        ),
    ] {
        is(VENUE, frame, Event::Status { text });
    }
    for (frame, method) in [
        (
            r#"{"op":"subscribe","args":[{"channel":"tickers","instId":"A-B"}]}"#,
            "subscribe",
        ),
        (
            r#"{"event":"subscribe","args":{"channel":"trades","instId":"A-B"}}"#,
            "subscribe",
        ),
        (
            r#"{"channel":"books-l2-tbt","instId":"BTC-USDT"}"#,
            "books-l2-tbt",
        ),
    ] {
        is(VENUE, frame, Event::Request { method });
    }
    for word in ["ping", "pong"] {
        is(VENUE, word, Event::Heartbeat);
    }
}

#[test]
fn what_is_no_market_price_is_ignored() {
    for (kind, element) in [
        (
            "index-tickers",
            r#"{"instId":"BTC-USDT","idxPx":"0.1","ts":"1597026383085"}"#,
        ),
        (
            "mark-price",
            r#"{"instId":"A-B","markPx":"0.1","ts":"1597026383085"}"#,
        ),
        (
            "block-tickers",
            r#"{"instType":"SWAP","instId":"A-B","vol24h":"0"}"#,
        ),
        (
            "public-block-trades",
            r#"{"fillVol":"5","instId":"A-B","px":"0.0048","side":"buy","sz":"1","tradeId":"1","ts":"1"}"#,
        ),
        (
            "sprd-tickers",
            r#"{"sprdId":"A_B","last":"-4","askPx":"19.7","bidPx":"-5.9"}"#,
        ),
        (
            "sprd-public-trades",
            r#"{"sprdId":"A_B","tradeId":"1","px":"-10","sz":"0.001","side":"sell"}"#,
        ),
        ("candle1m", r#"["1597026383085","8533.02","8553.74"]"#),
        ("what-comes-next-year", "{}"),
    ] {
        let frame = format!(r#"{{"arg":{{"channel":"{kind}"}},"data":[{element}]}}"#);
        is(VENUE, &frame, Event::Ignored { kind });
    }
    is(
        VENUE,
        r#"{"arg":{"channel":"tickers","instId":"A-B"},"data":[]}"#,
        Event::Ignored { kind: "tickers" },
    );
}

#[test]
fn a_push_without_its_data_is_invalid_and_a_stranger_is_of_unknown_shape() {
    for (data, reason) in [
        ("", Reason::MissingField),
        (r#","data":{}"#, Reason::WrongType),
        (r#","data":null"#, Reason::WrongType),
    ] {
        let frame = format!(r#"{{"arg":{{"channel":"tickers","instId":"A-B"}}{data}}}"#);
        refused(VENUE, &frame, reason, Some("data"));
    }
    refused(
        VENUE,
        r#"{"arg":{"channel":"tickers"},"data":[{"last":"1"}]}"#,
        Reason::MissingField,
        Some("instId"),
    );
    for frame in [
        r#"{"arg":{},"data":[]}"#,
        r#"{"data":[]}"#,
        r#"{"code":null,"data":[]}"#,
        r#"{"code":"0"}"#,
    ] {
        let nothing = events(VENUE, frame, |_, event| panic!("{frame}: {event:?}"));
        assert_eq!(nothing, Err(Invalid::frame(Reason::UnknownShape)), "{frame}");
    }
}

#[test]
fn every_cut_frame_and_every_byte_that_is_no_text_is_refused() {
    damage_is_refused(VENUE, TICKER, "BTC");
}

const NAMES: &[&str] = &[
    "arg",
    "channel",
    "instId",
    "data",
    "action",
    "event",
    "op",
    "code",
    "msg",
    "table",
    "instrument_id",
    "bidPx",
    "askPx",
    "last",
    "bids",
    "asks",
    "px",
    "sz",
    "side",
    "ts",
    "tradeId",
    "seqId",
    "best_bid",
    "best_ask",
    "price",
    "timestamp",
    "sprdId",
];
const WORDS: &[&str] = &[
    "tickers",
    "trades",
    "bbo-tbt",
    "books",
    "status",
    "subscribe",
    "error",
    "notice",
    "spot/ticker",
    "spot/trade",
    "spot/depth5",
    "ok_sub_spot_btc_usd_depth",
    "snapshot",
    "BTC-USDT",
    "",
    "0",
    "1.5",
    "-1",
    "1e999",
    "NaN",
    "1654166073135",
    "2021-03-22T01:16:28.687Z",
];

proptest! {
    #[test]
    fn no_message_gives_a_false_price(frame in any_message(NAMES, WORDS)) {
        gives_no_false_price(VENUE, &frame);
    }
}
