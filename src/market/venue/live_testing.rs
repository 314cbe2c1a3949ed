//! What the tests of dialects and REST answers share.

pub(super) use super::testing::rest_events;
use super::{Event, Reason};

/// Asserts that a REST answer holds exactly one event, and which.
pub(super) fn rest_is(venue: &str, body: &str, asked: Option<&str>, expected: Event<'_>) {
    let count = rest_events(venue, body, asked, |_, event| {
        assert_eq!(event, expected, "{body}");
    });
    assert_eq!(count, Ok(1), "{body}");
}

/// Asserts that the one element of a REST answer is refused, and why.
pub(super) fn rest_refused(
    venue: &str,
    body: &str,
    asked: Option<&str>,
    reason: Reason,
    field: Option<&str>,
) {
    let count = rest_events(venue, body, asked, |_, event| match event {
        Event::Invalid { invalid, .. } => {
            assert_eq!((invalid.reason, invalid.field), (reason, field), "{body}");
        }
        other => panic!("{body}: {other:?}"),
    });
    assert_eq!(count, Ok(1), "{body}");
}

/// What a dialect sends for these instruments, the first id being 7.
pub(super) fn messages(
    of: fn(&[&str], u64, &mut Vec<String>),
    instruments: &[&str],
) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    of(instruments, 7, &mut out);
    out.iter()
        .map(|message| serde_json::from_str(message).expect("a message is JSON"))
        .collect()
}
