//! Random messages and REST answers in the venues' own words, so that their inner branches are
//! reached: no parser panics, and none makes a price of nothing.

use proptest::prelude::*;
use serde_json::Value;

use super::{Event, Parser, VenueId};

const NAMES: &[&str] = &[
    "method",
    "params",
    "result",
    "channel",
    "data",
    "instrument_name",
    "id",
    "code",
    "status",
    "error",
    "event",
    "payload",
    "time",
    "time_ms",
    "create_time",
    "create_time_ms",
    "currency_pair",
    "contract",
    "last",
    "lowest_ask",
    "highest_bid",
    "price",
    "amount",
    "size",
    "type",
    "events",
    "symbol",
    "trades",
    "timestamp",
    "timestampms",
    "tid",
    "pair",
    "bid",
    "ask",
    "close",
    "rate",
    "tradeID",
    "asks",
    "bids",
    "e",
    "E",
    "s",
    "b",
    "B",
    "a",
    "A",
    "k",
    "i",
    "p",
    "q",
    "t",
    "u",
    "full",
    "label",
    "header",
];

const WORDS: &[&str] = &[
    "subscribe",
    "update",
    "all",
    "ticker",
    "trade",
    "book",
    "book.update",
    "public/heartbeat",
    "public/get-tickers",
    "public/get-trades",
    "public/get-book",
    "ticker.update",
    "trades.update",
    "depth.update",
    "spot.book_ticker",
    "spot.tickers",
    "spot.trades",
    "futures.trades",
    "futures.tickers",
    "spot.obu",
    "spot.pong",
    "l2_updates",
    "change",
    "bookTicker",
    "depthUpdate",
    "fail",
    "false",
    "error",
    "BTC_USDT",
    "ob.BTC_USDT.50",
    "ob.",
    ".",
    "",
    "0",
    "-1",
    "1.5",
    "1e999",
    "NaN",
    "1606292218213.4578",
    "1789456742337187316",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        5 => proptest::sample::select(WORDS).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (0_u8..4).prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 48, 8, |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            2 => object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    proptest::collection::vec((proptest::sample::select(NAMES), value), 0..8).prop_map(|members| {
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    })
}

/// A message whose first words say what it is, and whose content may be anything.
fn message() -> impl Strategy<Value = Value> {
    let kind = || proptest::sample::select(WORDS);
    prop_oneof![
        2 => value(),
        1 => object(value()),
        1 => (kind(), value()).prop_map(|(method, params)| serde_json::json!({"method": method, "params": params, "result": params})),
        1 => (kind(), kind(), object(value())).prop_map(|(channel, event, result)| {
            serde_json::json!({"channel": channel, "event": event, "result": result, "payload": [event]})
        }),
        1 => (kind(), value()).prop_map(|(channel, data)| {
            serde_json::json!({"method": "subscribe", "code": 0, "result": {"channel": channel, "data": data}})
        }),
    ]
}

fn check(event: Event<'_>, frame: &str) {
    match event {
        Event::Quote(quote) => {
            let prices = [quote.bid, quote.ask, quote.last];
            assert!(prices.iter().any(Option::is_some), "{frame}");
            assert!(
                prices.iter().flatten().all(|price| price.mantissa() > 0),
                "{frame}"
            );
            assert!(!quote.instrument.is_empty(), "{frame}");
        }
        Event::Trade(trade) => {
            assert!(trade.price.mantissa() > 0, "{frame}");
            assert!(!trade.instrument.is_empty(), "{frame}");
        }
        _ => {}
    }
}

proptest! {
    #[test]
    fn every_message_and_answer_gives_an_event_or_a_reason_and_no_price_below_or_at_zero(
        message in message(),
        asked in proptest::option::of("[A-Z_]{1,8}"),
    ) {
        let frame = message.to_string();
        let mut parser = Parser::new();
        for venue in VenueId::all() {
            let mut count = 0;
            let result = parser.parse(venue, frame.as_bytes(), &mut |event| {
                count += 1;
                check(event, &frame);
            });
            prop_assert_eq!(result.is_ok(), count > 0, "{} {}", venue, frame);
            let mut count = 0;
            let result = parser.parse_rest(venue, frame.as_bytes(), asked.as_deref(), &mut |event| {
                count += 1;
                check(event, &frame);
            });
            prop_assert_eq!(result.is_ok(), count > 0, "{} {}", venue, frame);
        }
    }
}
