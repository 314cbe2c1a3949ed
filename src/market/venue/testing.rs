//! What the parsers' tests share.

use proptest::prelude::*;
use serde_json::Value;

use super::{Event, Invalid, Parser, Reason, VenueId};
use crate::market::decimal::Decimal;

/// Parses one frame and gives every event to `check` in turn; returns how many there were.
pub(super) fn events(
    venue: &str,
    frame: &str,
    mut check: impl FnMut(usize, Event<'_>),
) -> Result<usize, Invalid> {
    let venue = VenueId::from_name(venue).expect("the test names a venue");
    let mut count = 0;
    Parser::new().parse(venue, frame.as_bytes(), &mut |event| {
        check(count, event);
        count += 1;
    })?;
    Ok(count)
}

/// [`events`] of the body of a REST answer.
pub(super) fn rest_events(
    venue: &str,
    body: &str,
    instrument: Option<&str>,
    mut check: impl FnMut(usize, Event<'_>),
) -> Result<usize, Invalid> {
    let venue = VenueId::from_name(venue).expect("the test names a venue");
    let mut count = 0;
    Parser::new().parse_rest(venue, body.as_bytes(), instrument, &mut |event| {
        check(count, event);
        count += 1;
    })?;
    Ok(count)
}

/// Parses a frame that holds exactly one event.
pub(super) fn one(venue: &str, frame: &str, check: impl Fn(Event<'_>)) {
    let count = events(venue, frame, |_, event| check(event));
    assert_eq!(count, Ok(1), "{frame}");
}

/// Asserts that a frame holds exactly one event, and which.
pub(super) fn is(venue: &str, frame: &str, expected: Event<'_>) {
    one(venue, frame, |event| assert_eq!(event, expected, "{frame}"));
}

/// Asserts that the one element of a frame is refused, and why.
pub(super) fn refused(venue: &str, frame: &str, reason: Reason, field: Option<&str>) {
    one(venue, frame, |event| match event {
        Event::Invalid { invalid, .. } => {
            assert_eq!((invalid.reason, invalid.field), (reason, field), "{frame}");
        }
        other => panic!("{frame}: {other:?}"),
    });
}

/// Asserts that a frame is refused wherever it is cut, and when a byte of `text` in it is no text.
pub(super) fn damage_is_refused(venue: &str, frame: &str, text: &str) {
    let venue = VenueId::from_name(venue).expect("the test names a venue");
    let mut parser = Parser::new();
    for end in 0..frame.len() {
        let cut = &frame.as_bytes()[..end];
        let result = parser.parse(venue, cut, &mut |event| panic!("{end}: {event:?}"));
        assert_eq!(result, Err(Invalid::frame(Reason::NotJson)), "{end}");
    }
    let at = frame.find(text).expect("it is there");
    let mut damaged = frame.as_bytes().to_vec();
    damaged[at] = 0xff;
    let result = parser.parse(venue, &damaged, &mut |event| panic!("{event:?}"));
    assert_eq!(result, Err(Invalid::frame(Reason::NotUtf8)));
}

/// A number that the test writes as text.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the fields it is compared with are options"
)]
pub(super) fn dec(text: &str) -> Option<Decimal> {
    Some(Decimal::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")))
}

/// Asserts what a REST answer holds, event by event.
pub(super) fn rest(venue: &str, body: &str, asked: Option<&str>, expected: &[Event<'_>]) {
    let venue = VenueId::from_name(venue).expect("the test names a venue");
    let mut count = 0;
    let result = Parser::new().parse_rest(venue, body.as_bytes(), asked, &mut |event| {
        assert_eq!(Some(&event), expected.get(count), "{body}");
        count += 1;
    });
    assert_eq!((result, count), (Ok(()), expected.len()), "{body}");
}

/// What a field that should be a price is refused for, or nothing where it is merely absent:
/// every wrong form there is, each as it stands in JSON.
pub(super) const WRONG_PRICES: [(&str, Option<Reason>); 17] = [
    (r#""-1""#, Some(Reason::Negative)),
    ("-1.5", Some(Reason::Negative)),
    (r#""-1e-5""#, Some(Reason::Negative)),
    (r#""NaN""#, Some(Reason::BadNumber)),
    (r#""nan""#, Some(Reason::BadNumber)),
    (r#""Infinity""#, Some(Reason::BadNumber)),
    (r#""0.-10000""#, Some(Reason::BadNumber)),
    (r#""1,5""#, Some(Reason::BadNumber)),
    (r#""0x1F""#, Some(Reason::BadNumber)),
    (r#"" 1""#, Some(Reason::BadNumber)),
    ("true", Some(Reason::WrongType)),
    ("{}", Some(Reason::WrongType)),
    ("[1]", Some(Reason::WrongType)),
    (r#""""#, None),
    ("null", None),
    ("0", None),
    (r#""0.00000000""#, None),
];

/// Every right form of one and the same price.
pub(super) const SAME_PRICES: [&str; 7] = [
    r#""0.00001504""#,
    r#""0.000015040000000000000000000000""#,
    r#""1.504E-5""#,
    r#""1.504e-05""#,
    "0.00001504",
    "1.504E-5",
    "1504e-8",
];

/// Times that no venue's Unix count is, each as it stands in JSON, and what they are refused for.
pub(super) const WRONG_COUNTS: [(&str, Reason); 9] = [
    (r#""soon""#, Reason::BadTime),
    (r#""""#, Reason::BadTime),
    ("1616375788687.5", Reason::BadTime),
    ("-1616375788687", Reason::BadTime),
    ("1.6e12", Reason::BadTime),
    (r#""2021-03-22T01:16:28.687Z""#, Reason::BadTime),
    ("99999999999999999999999", Reason::BadTime),
    ("{}", Reason::WrongType),
    ("false", Reason::WrongType),
];

/// Random messages of names and words that a venue uses, so that they reach its inner branches.
pub(super) fn any_message(
    names: &'static [&'static str],
    words: &'static [&'static str],
) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => proptest::sample::select(words).prop_map(Value::from),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 8, move |inner| {
        prop_oneof![
            1 => proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            3 => proptest::collection::vec((proptest::sample::select(names), inner), 0..8)
                .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
    .prop_map(|message| message.to_string())
}

/// Asserts that a message, on the stream and at REST, gives no price that is none, and an event
/// if and only if it is understood.
pub(super) fn gives_no_false_price(venue: &str, frame: &str) {
    let check = |event: Event<'_>| match event {
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
    };
    for result in [
        events(venue, frame, |_, event| check(event)),
        rest_events(venue, frame, None, |_, event| check(event)),
        rest_events(venue, frame, Some("BTC-USDT"), |_, event| check(event)),
    ] {
        assert_ne!(result, Ok(0), "{frame}");
    }
}
