use proptest::prelude::*;

use super::super::VenueTrade;
use super::super::testing::{
    SAME_PRICES, WRONG_COUNTS, WRONG_PRICES, any_message, damage_is_refused, dec, events,
    gives_no_false_price, is, refused,
};
use super::*;

const VENUE: &str = "kucoin";

const TICKER: &str = r#"{"type":"message","topic":"/market/ticker:BTC-USDT","subject":"trade.ticker","data":{
    "bestAsk":"31785.3","bestAskSize":"1.0455757","bestBid":"31785.2","bestBidSize":"0.4645037","price":"31785.2",
    "sequence":"1630218274617","size":"0.03133705","time":1654032320677}}"#;

fn quote() -> VenueQuote<'static> {
    VenueQuote {
        bid: dec("31785.2"),
        ask: dec("31785.3"),
        last: dec("31785.2"),
        bid_size: dec("0.4645037"),
        ask_size: dec("1.0455757"),
        last_size: dec("0.03133705"),
        venue_time_ns: Some(1_654_032_320_677_000_000),
        sequence: Some(1_630_218_274_617),
        ..VenueQuote::new("BTC-USDT")
    }
}

#[test]
fn a_ticker_is_a_quote_named_by_its_topic_or_its_subject() {
    is(VENUE, TICKER, Event::Quote(quote()));
    let all = TICKER
        .replace("ticker:BTC-USDT", "ticker:all")
        .replace("trade.ticker", "BTC-USDT");
    is(VENUE, &all, Event::Quote(quote()));
    for (from, to) in [("ticker:BTC-USDT", "ticker:"), ("ticker:BTC-USDT", "ticker")] {
        refused(
            VENUE,
            &TICKER.replace(from, to),
            Reason::MissingField,
            Some("symbol"),
        );
    }
}

#[test]
fn futures_tickers_count_nanoseconds() {
    let expected = Event::Quote(VenueQuote {
        instrument: "XBTUSDTM",
        last: None,
        last_size: None,
        venue_time_ns: Some(1_655_466_789_012_345_678),
        bid_size: dec("1000"),
        ask_size: dec("2000"),
        ..quote()
    });
    is(
        VENUE,
        r#"{"subject":"tickerV2","topic":"/contractMarket/tickerV2:XBTUSDTM","type":"message","data":{"symbol":"XBTUSDTM",
            "bestBidSize":1000,"bestBidPrice":"31785.2","bestAskPrice":"31785.3","bestAskSize":2000,
            "ts":1655466789012345678,"sequence":1630218274617}}"#,
        expected,
    );
    is(
        VENUE,
        r#"{"subject":"ticker","topic":"/contractMarket/ticker:XBTUSDTM","type":"message","data":{"symbol":"XBTUSDTM",
            "sequence":1630218274617,"side":"sell","price":31785.1,"size":21,"tradeId":"5cbd7377a6ffab0c7ba98b26",
            "bestBidSize":1000,"bestBidPrice":"31785.2","bestAskPrice":"31785.3","bestAskSize":2000,"ts":1655466789012345678}}"#,
        match expected {
            Event::Quote(quote) => Event::Quote(VenueQuote {
                last: dec("31785.1"),
                last_size: dec("21"),
                ..quote
            }),
            other => other,
        },
    );
}

#[test]
fn the_best_level_is_a_book_and_a_quote() {
    let frame = |asks: &str, bids: &str| {
        format!(
            r#"{{"type":"message","topic":"/spotMarket/level1:ETH-USDT","subject":"level1","data":{{"asks":{asks},"bids":{bids},
                "timestamp":1586948108193}}}}"#
        )
    };
    let book = Event::Book(Book {
        instrument: Some("ETH-USDT"),
        snapshot: true,
    });
    let quote = VenueQuote {
        ask: dec("9989"),
        ask_size: dec("8"),
        venue_time_ns: Some(1_586_948_108_193_000_000),
        ..VenueQuote::new("ETH-USDT")
    };
    for (bids, bid, bid_size) in [
        (r#"["9984","10"]"#, dec("9984"), dec("10")),
        ("[]", None, None),
        ("null", None, None),
    ] {
        let count = events(VENUE, &frame(r#"["9989","8"]"#, bids), |i, event| match i {
            0 => assert_eq!(event, book),
            _ => assert_eq!(
                event,
                Event::Quote(VenueQuote {
                    bid,
                    bid_size,
                    ..quote
                })
            ),
        });
        assert_eq!(count, Ok(2));
    }
    for (bids, reason) in [
        (r#"["9984"]"#, Reason::WrongType),
        (r#"[["9984","10"]]"#, Reason::WrongType),
        (r#"["-1","10"]"#, Reason::Negative),
        ("7", Reason::WrongType),
    ] {
        let count = events(VENUE, &frame("[]", bids), |i, event| match event {
            Event::Invalid { invalid, .. } if i == 1 => {
                assert_eq!(invalid, Invalid::field("bids", reason), "{bids}");
            }
            event => assert!(i == 0 && event == book, "{bids}: {event:?}"),
        });
        assert_eq!(count, Ok(2), "{bids}");
    }
}

#[test]
fn the_snapshot_of_a_day_is_a_quote_without_a_sequence() {
    is(
        VENUE,
        r#"{"type":"message","topic":"/market/snapshot:KCS-BTC","subject":"trade.snapshot","data":{"sequence":"1545896669291",
            "data":{"trading":true,"symbol":"KCS-BTC","buy":0.00011,"sell":0.00012,"changePrice":-1e-05,
            "datetime":1548388122031,"lastTradedPrice":1.2E-4}}}"#,
        Event::Quote(VenueQuote {
            bid: dec("0.00011"),
            ask: dec("0.00012"),
            last: dec("0.00012"),
            venue_time_ns: Some(1_548_388_122_031_000_000),
            ..VenueQuote::new("KCS-BTC")
        }),
    );
    refused(
        VENUE,
        r#"{"type":"message","topic":"/market/snapshot:KCS-BTC","data":{"sequence":"1"}}"#,
        Reason::MissingField,
        Some("data"),
    );
}

#[test]
fn a_trade_carries_the_takers_side_and_counts_nanoseconds() {
    let trade = VenueTrade {
        instrument: "BTC-USDT",
        price: dec("67523").expect("a price"),
        size: dec("0.003"),
        side: Some(Side::Buy),
        venue_time_ns: Some(1_729_843_222_921_000_000),
        sequence: Some(11_067_996_711_960_577),
        snapshot: false,
    };
    is(
        VENUE,
        r#"{"topic":"/market/match:BTC-USDT","type":"message","subject":"trade.l3match","data":{"makerOrderId":"671b5007389355000701b1d3",
            "price":"67523","sequence":"11067996711960577","side":"buy","size":"0.003","symbol":"BTC-USDT",
            "takerOrderId":"671b50161777ff00074c168d","time":"1729843222921000000","tradeId":"11067996711960577","type":"match"}}"#,
        Event::Trade(trade),
    );
    is(
        VENUE,
        r#"{"topic":"/contractMarket/execution:XBTUSDTM","type":"message","subject":"match","data":{"symbol":"XBTUSDTM",
            "sequence":36,"side":"sell","size":1,"price":"67523","tradeId":"5cbd7377a6ffab0c7ba98b26","ts":1729843222921000000}}"#,
        Event::Trade(VenueTrade {
            instrument: "XBTUSDTM",
            size: dec("1"),
            side: Some(Side::Sell),
            sequence: Some(36),
            ..trade
        }),
    );
}

#[test]
fn no_wrong_price_passes_and_every_right_form_reads_the_same() {
    let ticker = |bid: &str, ask: &str| {
        format!(
            r#"{{"type":"message","topic":"/market/ticker:A-B","subject":"trade.ticker","data":{{"bestBid":{bid},"bestAsk":{ask}}}}}"#
        )
    };
    let trade = |price: &str| {
        format!(
            r#"{{"type":"message","topic":"/market/match:A-B","subject":"trade.l3match","data":{{"symbol":"A-B","price":{price}}}}}"#
        )
    };
    let quote = VenueQuote {
        bid: dec("1"),
        ..VenueQuote::new("A-B")
    };
    for (wrong, reason) in WRONG_PRICES {
        if let Some(reason) = reason {
            refused(VENUE, &ticker("\"1\"", wrong), reason, Some("bestAsk"));
        } else {
            is(VENUE, &ticker("\"1\"", wrong), Event::Quote(quote));
            refused(VENUE, &ticker(wrong, wrong), Reason::NoPrice, None);
        }
        let reason = reason.unwrap_or(Reason::ZeroPrice);
        refused(VENUE, &trade(wrong), reason, Some("price"));
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
    refused(
        VENUE,
        r#"{"type":"message","topic":"/market/match:A-B","data":{"symbol":7,"price":"1"}}"#,
        Reason::WrongType,
        Some("symbol"),
    );
}

#[test]
fn no_wrong_time_passes() {
    for (wrong, reason) in WRONG_COUNTS {
        refused(
            VENUE,
            &TICKER.replace("1654032320677", wrong),
            reason,
            Some("time"),
        );
        for (topic, name) in [
            ("/contractMarket/tickerV2", "ts"),
            ("/market/match", "time"),
            ("/contractMarket/execution", "ts"),
        ] {
            let frame = format!(
                r#"{{"type":"message","topic":"{topic}:A","data":{{"symbol":"A","price":"1","bestBidPrice":"1","{name}":{wrong}}}}}"#
            );
            refused(VENUE, &frame, reason, Some(name));
        }
    }
    // As the first futures messages had it.
    is(
        VENUE,
        r#"{"type":"message","topic":"/contractMarket/tickerV2:A","data":{"bestBidPrice":"1","time":1545904567062140823}}"#,
        Event::Quote(VenueQuote {
            bid: dec("1"),
            venue_time_ns: Some(1_545_904_567_062_140_823),
            ..VenueQuote::new("A")
        }),
    );
    // Milliseconds where nanoseconds are documented are taken as nanoseconds: no unit is guessed.
    is(
        VENUE,
        r#"{"type":"message","topic":"/contractMarket/tickerV2:A","data":{"bestBidPrice":"1","ts":1654032320677}}"#,
        Event::Quote(VenueQuote {
            bid: dec("1"),
            venue_time_ns: Some(1_654_032_320_677),
            ..VenueQuote::new("A")
        }),
    );
    is(
        VENUE,
        &TICKER.replace("1654032320677", "null"),
        Event::Quote(VenueQuote {
            venue_time_ns: None,
            ..quote()
        }),
    );
}

#[test]
fn everything_else_is_known_for_what_it_is() {
    for (path, snapshot) in [
        ("/market/level2", false),
        ("/market/level3", false),
        ("/spotMarket/level2Depth5", true),
        ("/spotMarket/level2Depth50", true),
        ("/contractMarket/level2", false),
        ("/contractMarket/level2Depth5", true),
        ("/contractMarket/level3v2", false),
    ] {
        is(
            VENUE,
            &format!(
                r#"{{"type":"message","topic":"{path}:A-B","subject":"s","data":{{"changes":{{"asks":[["0","0","1"]],"bids":[]}}}}}}"#
            ),
            Event::Book(Book {
                instrument: Some("A-B"),
                snapshot,
            }),
        );
    }
    is(
        VENUE,
        r#"{"asks":[["0.0500","1"]],"bids":[["0.0400","1"]],"timestamp":1700555340197}"#,
        Event::Book(Book {
            instrument: None,
            snapshot: true,
        }),
    );
    let ack = Event::Ack(Ack {
        channel: None,
        instrument: None,
    });
    is(VENUE, r#"{"id":"hQvf8jkno","type":"welcome"}"#, ack);
    is(VENUE, r#"{"id":"1","type":"ack"}"#, ack);
    is(
        VENUE,
        r#"{"id":"1545910590801","type":"pong","timestamp":1790113097236506}"#,
        Event::Heartbeat,
    );
    for (frame, code, message) in [
        (
            r#"{"id":"p28","type":"error","code":404,"data":"topic does not exist"}"#,
            Some("404"),
            "topic does not exist",
        ),
        (
            r#"{"type":"error","code":400,"data":"ping timeout"}"#,
            Some("400"),
            "ping timeout",
        ),
        (r#"{"type":"error"}"#, None, ""),
        (
            r#"{"code":"401","msg":"token is invalid"}"#,
            Some("401"),
            "token is invalid",
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
            r#"{"id":1,"type":"subscribe","topic":"/market/ticker:A-B","privateChannel":false,"response":true}"#,
            "subscribe",
        ),
        (r#"{"id":"1","type":"ping"}"#, "ping"),
    ] {
        is(VENUE, frame, Event::Request { method });
    }
    for (frame, kind) in [
        (
            r#"{"type":"message","topic":"/market/candles:A-B_1min","subject":"trade.candles.add","data":{"symbol":"A-B","time":1619378328806000034}}"#,
            "/market/candles",
        ),
        (
            r#"{"type":"message","topic":"/contract/instrument:XBTUSDTM","subject":"mark.index.price","data":{"markPrice":4000.23}}"#,
            "/contract/instrument",
        ),
        (r#"{"type":"notice","topic":"/x","data":{}}"#, "notice"),
    ] {
        is(VENUE, frame, Event::Ignored { kind });
    }
    refused(
        VENUE,
        r#"{"type":"message","data":{}}"#,
        Reason::MissingField,
        Some("topic"),
    );
    refused(
        VENUE,
        r#"{"type":"message","topic":"/market/ticker:A-B"}"#,
        Reason::MissingField,
        Some("data"),
    );
    for frame in [
        r#"{"z":1}"#,
        r#"{"data":[]}"#,
        r#"{"T":"ticker.SPOT"}"#,
        r#"{"result":7}"#,
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
    "type",
    "topic",
    "subject",
    "data",
    "symbol",
    "bestBid",
    "bestAsk",
    "bestBidPrice",
    "price",
    "size",
    "side",
    "sequence",
    "time",
    "ts",
    "timestamp",
    "datetime",
    "bids",
    "asks",
    "buy",
    "sell",
    "last",
    "code",
    "msg",
    "T",
    "t",
    "dp",
    "d",
    "s",
    "b",
    "a",
    "l",
    "q",
    "p",
    "E",
    "C",
    "M",
    "S",
    "ti",
    "result",
    "list",
    "ticker",
];
const WORDS: &[&str] = &[
    "message",
    "error",
    "ack",
    "pong",
    "/market/ticker:BTC-USDT",
    "/market/ticker:all",
    "/market/match:BTC-USDT",
    "/spotMarket/level1:BTC-USDT",
    "/market/snapshot:BTC-USDT",
    "/contractMarket/tickerV2:XBTUSDTM",
    "/market/level2:BTC-USDT",
    "ticker.SPOT",
    "trade.SPOT",
    "obu.SPOT",
    "snapshot",
    "delta",
    "1",
    "200000",
    "BTC-USDT",
    "buy",
    "",
    "0",
    "1.5",
    "-1",
    "1e999",
    "NaN",
    "1654032320677",
];

proptest! {
    #[test]
    fn no_message_gives_a_false_price(frame in any_message(NAMES, WORDS)) {
        gives_no_false_price(VENUE, &frame);
    }
}
