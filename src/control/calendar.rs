//! UTC months, for monthly caps.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// When the UTC month of `now_ns` ends, Unix nanoseconds.
pub fn month_end_ns(now_ns: u64) -> u64 {
    let start = crate::store::month_start(now_ns / 1_000_000_000);
    let end = i64::try_from(start)
        .ok()
        .and_then(|second| Timestamp::from_second(second).ok())
        .and_then(|at| at.to_zoned(TimeZone::UTC).checked_add(1.month()).ok());
    end.map_or(u64::MAX, |end| {
        u64::try_from(end.timestamp().as_nanosecond()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let ns = |text: &str| text.parse::<Timestamp>().expect("a time").as_nanosecond() as u64;
        for (now, end) in [
            ("2024-02-29T23:59:59.999999999Z", "2024-03-01T00:00:00Z"),
            ("2024-03-01T00:00:00Z", "2024-04-01T00:00:00Z"),
            ("2026-12-15T12:00:00Z", "2027-01-01T00:00:00Z"),
            ("1970-01-01T00:00:00Z", "1970-02-01T00:00:00Z"),
        ] {
            assert_eq!(month_end_ns(ns(now)), ns(end), "{now}");
        }
    }
}
