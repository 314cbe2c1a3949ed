//! Venue time stamps to Unix nanoseconds, without allocation.
//!
//! Each parser knows the form and unit of each field from its venue's documentation and calls
//! the one function for it. Nothing here guesses a unit from a number's magnitude.

use thiserror::Error;

const NANOS: u64 = 1_000_000_000;

/// The last representable second (in the year 2554).
const MAX_SECONDS: u64 = u64::MAX / NANOS;

/// Why a time stamp was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TimeError {
    /// Not a time in the form this field has.
    #[error("the time is malformed")]
    Malformed,
    /// A well-formed time before 1970: venues send year 1 for "not set".
    #[error("the time is before 1970")]
    BeforeEpoch,
    /// A well-formed time after the year 2554, where 64 bits of nanoseconds end.
    #[error("the time is after the year 2554")]
    TooLate,
}

/// RFC 3339 to Unix nanoseconds: `2026-08-09T21:05:48.228568804Z`.
///
/// Takes any number of decimals and cuts at the ninth; `Z` or a numeric offset; a space in
/// place of `T` (RFC 3339 section 5.6, note). A leap second reads as the second after it.
pub fn rfc3339(text: &str) -> Result<u64, TimeError> {
    let bytes = text.as_bytes();
    let (head, tail) = bytes.split_first_chunk::<19>().ok_or(TimeError::Malformed)?;
    if head[4] != b'-' || head[7] != b'-' || head[13] != b':' || head[16] != b':' {
        return Err(TimeError::Malformed);
    }
    if !matches!(head[10], b'T' | b't' | b' ') {
        return Err(TimeError::Malformed);
    }
    let year = u32::from(two(head[0], head[1])?) * 100 + u32::from(two(head[2], head[3])?);
    let month = two(head[5], head[6])?;
    let day = two(head[8], head[9])?;
    let (hour, minute, second) = (
        two(head[11], head[12])?,
        two(head[14], head[15])?,
        two(head[17], head[18])?,
    );
    if !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return Err(TimeError::Malformed);
    }
    if hour > 23 || minute > 59 || second > 60 {
        return Err(TimeError::Malformed);
    }

    let (nanos, zone) = fraction(tail)?;
    let offset = match zone {
        [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (two(*h1, *h2)?, two(*m1, *m2)?);
            if hours > 23 || minutes > 59 {
                return Err(TimeError::Malformed);
            }
            let seconds = i64::from(hours) * 3600 + i64::from(minutes) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return Err(TimeError::Malformed),
    };
    let of_day = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
    let seconds = days_from_civil(year, month, day) * 86_400 + of_day - offset;
    let seconds = u64::try_from(seconds).map_err(|_| TimeError::BeforeEpoch)?;
    join(seconds, nanos)
}

/// Decimal Unix seconds to Unix nanoseconds: `1616333924.737428` (Kraken v1).
pub fn unix_seconds(text: &[u8]) -> Result<u64, TimeError> {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (seconds, tail) = text.split_at(whole);
    let (nanos, rest) = fraction(tail)?;
    if !rest.is_empty() {
        return Err(TimeError::Malformed);
    }
    join(integer(seconds)?, nanos)
}

/// Unix milliseconds to Unix nanoseconds: `1616176861895`.
pub fn unix_millis(text: &[u8]) -> Result<u64, TimeError> {
    integer(text)?.checked_mul(1_000_000).ok_or(TimeError::TooLate)
}

/// Unix microseconds to Unix nanoseconds: `1616297318187000`.
pub fn unix_micros(text: &[u8]) -> Result<u64, TimeError> {
    integer(text)?.checked_mul(1_000).ok_or(TimeError::TooLate)
}

/// Decimal Unix milliseconds to Unix nanoseconds: `1606292218213.4578` (Gate.io).
///
/// Takes any number of decimals and cuts at the sixth, the nanosecond.
pub fn unix_decimal_millis(text: &[u8]) -> Result<u64, TimeError> {
    let whole = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (millis, tail) = text.split_at(whole);
    let (billionths, rest) = fraction(tail)?;
    if !rest.is_empty() {
        return Err(TimeError::Malformed);
    }
    unix_millis(millis)?
        .checked_add(u64::from(billionths / 1_000))
        .ok_or(TimeError::TooLate)
}

/// Unix nanoseconds, as they are: `1789456742337187316` (Gemini).
pub fn unix_nanos(text: &[u8]) -> Result<u64, TimeError> {
    integer(text)
}

fn join(seconds: u64, nanos: u32) -> Result<u64, TimeError> {
    if seconds >= MAX_SECONDS {
        return Err(TimeError::TooLate);
    }
    Ok(seconds * NANOS + u64::from(nanos))
}

/// An optional `.digits` at the front as nanoseconds, and what follows it.
fn fraction(text: &[u8]) -> Result<(u32, &[u8]), TimeError> {
    let [b'.', digits @ ..] = text else {
        return Ok((0, text));
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return Err(TimeError::Malformed);
    }
    let mut nanos = 0;
    for digit in digits[..count].iter().chain(std::iter::repeat(&b'0')).take(9) {
        nanos = nanos * 10 + u32::from(digit - b'0');
    }
    Ok((nanos, &digits[count..]))
}

fn integer(text: &[u8]) -> Result<u64, TimeError> {
    if text.is_empty() {
        return Err(TimeError::Malformed);
    }
    let mut value = 0_u64;
    for byte in text {
        if !byte.is_ascii_digit() {
            return Err(TimeError::Malformed);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
            .ok_or(TimeError::TooLate)?;
    }
    Ok(value)
}

fn two(tens: u8, ones: u8) -> Result<u8, TimeError> {
    if tens.is_ascii_digit() && ones.is_ascii_digit() {
        Ok((tens - b'0') * 10 + (ones - b'0'))
    } else {
        Err(TimeError::Malformed)
    }
}

fn days_in(year: u32, month: u8) -> u8 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, `days_from_civil`).
fn days_from_civil(year: u32, month: u8, day: u8) -> i64 {
    // The year starts in March, so that the leap day is its last.
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let shifted = (i64::from(month) + 9) % 12;
    let of_year = (153 * shifted + 2) / 5 + i64::from(day) - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc3339_reads_to_the_nanosecond() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.000000Z", 0),
            ("2021-03-21T03:47:27.112041Z", 1_616_298_447_112_041_000),
            ("2026-08-09T21:05:48.228568804Z", 1_786_309_548_228_568_804),
            ("2026-08-09T21:05:38.50436Z", 1_786_309_538_504_360_000),
            ("2026-08-09T21:05:38.1234567899Z", 1_786_309_538_123_456_789),
            ("2019-08-01T00:00:03.869Z", 1_564_617_603_869_000_000),
            ("2000-02-29t23:59:59z", 951_868_799_000_000_000),
            ("2026-04-07 14:30:10.000000000+00:00", 1_775_572_210_000_000_000),
            ("2024-01-01T01:30:00+01:30", 1_704_067_200_000_000_000),
            ("2023-12-31T19:00:00-05:00", 1_704_067_200_000_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ] {
            assert_eq!(rfc3339(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc3339_time_is_refused() {
        for text in [
            "",
            "2021-03-21",
            "2021-03-21T03:47:27",
            "2021-03-21T03:47:27.Z",
            "2021-13-21T03:47:27Z",
            "2021-02-29T03:47:27Z",
            "2021-03-00T03:47:27Z",
            "2021-03-21T24:00:00Z",
            "2021-03-21T03:60:27Z",
            "2021-03-21T03:47:61Z",
            "2021-03-21T03:47:27.1Zx",
            "2021-03-21T03:47:27+0100",
            "2021-03-21T03:47:27+24:00",
            "2021/03/21T03:47:27Z",
            "+021-03-21T03:47:27Z",
            "2026-08-09 21:05:48.854840045 +0000 UTC m=+41691.260485341",
            "2021-03-21T03:47:27\u{e9}Z",
            "1616297318187000",
        ] {
            assert_eq!(rfc3339(text), Err(TimeError::Malformed), "{text}");
        }
        for text in ["0001-01-01T00:00:00.000000Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(rfc3339(text), Err(TimeError::BeforeEpoch), "{text}");
        }
        for text in ["2600-01-01T00:00:00Z", "9999-12-31T23:59:60Z"] {
            assert_eq!(rfc3339(text), Err(TimeError::TooLate), "{text}");
        }
    }

    #[test]
    fn unix_times_are_scaled_by_their_own_unit() {
        assert_eq!(unix_seconds(b"1616333924.737428"), Ok(1_616_333_924_737_428_000));
        assert_eq!(
            unix_seconds(b"1616333924.7374281234"),
            Ok(1_616_333_924_737_428_123)
        );
        assert_eq!(unix_seconds(b"1616333924"), Ok(1_616_333_924_000_000_000));
        assert_eq!(unix_millis(b"1616176861895"), Ok(1_616_176_861_895_000_000));
        assert_eq!(unix_micros(b"1616297318187000"), Ok(1_616_297_318_187_000_000));
        assert_eq!(unix_nanos(b"1789456742337187316"), Ok(1_789_456_742_337_187_316));
        for (text, nanos) in [
            (&b"1606292218213.4578"[..], 1_606_292_218_213_457_800),
            (b"1754006400138", 1_754_006_400_138_000_000),
            (b"1691620568789.0", 1_691_620_568_789_000_000),
            (b"1691620568789.1234567", 1_691_620_568_789_123_456),
            (b"0", 0),
        ] {
            assert_eq!(unix_decimal_millis(text), Ok(nanos), "{text:?}");
        }
    }

    #[test]
    fn unix_times_that_are_none_are_refused() {
        for text in [&b""[..], b"-1", b"1.", b"1.5x", b"1e9", b".5", b"now"] {
            assert_eq!(unix_seconds(text), Err(TimeError::Malformed), "{text:?}");
        }
        for text in [&b""[..], b"-1", b"1.5", b"1e9", b"0x1"] {
            assert_eq!(unix_millis(text), Err(TimeError::Malformed), "{text:?}");
        }
        for text in [&b""[..], b"-1", b"1.5", b"1e9", b"1 ", b"+1"] {
            assert_eq!(unix_nanos(text), Err(TimeError::Malformed), "{text:?}");
        }
        for text in [&b""[..], b"-1", b".5", b"1.", b"1.5x", b"1e3", b"1.5.5"] {
            assert_eq!(unix_decimal_millis(text), Err(TimeError::Malformed), "{text:?}");
        }
        assert_eq!(unix_nanos(b"18446744073709551616"), Err(TimeError::TooLate));
        assert_eq!(
            unix_decimal_millis(b"18446744073709.999999"),
            Err(TimeError::TooLate)
        );
        assert_eq!(unix_millis(b"18446744073709551615"), Err(TimeError::TooLate));
        assert_eq!(unix_micros(b"99999999999999999999999"), Err(TimeError::TooLate));
        assert_eq!(unix_seconds(b"99999999999"), Err(TimeError::TooLate));
    }

    proptest! {
        #[test]
        fn rfc3339_agrees_with_a_calendar_library(nanos in 0_i64..i64::MAX) {
            let stamp = jiff::Timestamp::from_nanosecond(i128::from(nanos)).expect("in range");
            prop_assert_eq!(rfc3339(&stamp.to_string()), Ok(u64::try_from(nanos).expect("positive")));
        }

        #[test]
        fn arbitrary_text_is_read_or_refused_without_a_panic(text in "\\PC{0,40}") {
            let _ = rfc3339(&text);
            let _ = unix_seconds(text.as_bytes());
            let _ = unix_millis(text.as_bytes());
            let _ = unix_micros(text.as_bytes());
            let _ = unix_decimal_millis(text.as_bytes());
            let _ = unix_nanos(text.as_bytes());
        }

        #[test]
        fn time_like_text_is_read_or_refused_without_a_panic(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{0,12})?(Z|[+-][0-9]{2}:[0-9]{2})?") {
            let _ = rfc3339(&text);
        }
    }
}
