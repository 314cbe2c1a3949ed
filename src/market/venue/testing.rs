//! What the parsers' tests share.

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
