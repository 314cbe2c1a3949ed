//! What an answer's head tells of the key's limits.
//!
//! `RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers (structured
//! fields: `q` the quota, `w` its window, `r` what is left, `t` seconds until it is whole
//! again); the `X-RateLimit-*` fields are their forerunners, for clients that know only those.
//! A key without limits is told of none.

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::json::push_integer;
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::Allowance;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds the fields. `X-RateLimit-Reset` is in seconds from now.
pub(super) fn insert(headers: &mut HeaderMap, key: &KeyEntry, allowance: Allowance, month_left_ms: u32) {
    let Some(limit) = limit(key) else { return };
    let (mut policy, mut state) = (Vec::new(), Vec::new());
    push_policy(&mut policy, key);
    push_state(&mut state, key, allowance, month_left_ms);
    insert_text(headers, RATE_LIMIT_POLICY, policy);
    insert_text(headers, RATE_LIMIT, state);
    headers.insert(X_LIMIT, limit.into());
    headers.insert(X_REMAINING, allowance.remaining.into());
    headers.insert(X_RESET, reset(key, allowance, month_left_ms).into());
}

/// Writes the same fields as lines of a head.
pub(super) fn push(out: &mut Vec<u8>, key: &KeyEntry, allowance: Allowance, month_left_ms: u32) {
    let Some(limit) = limit(key) else { return };
    out.extend_from_slice(b"ratelimit-policy: ");
    push_policy(out, key);
    out.extend_from_slice(b"\r\nratelimit: ");
    push_state(out, key, allowance, month_left_ms);
    for (name, value) in [
        (b"\r\nx-ratelimit-limit: ".as_slice(), limit),
        (b"\r\nx-ratelimit-remaining: ", allowance.remaining.into()),
        (
            b"\r\nx-ratelimit-reset: ",
            reset(key, allowance, month_left_ms).into(),
        ),
    ] {
        out.extend_from_slice(name);
        push_integer(out, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Adds `Retry-After`: waiting that long is enough.
pub(super) fn insert_retry_after(headers: &mut HeaderMap, wait_ms: u32) {
    headers.insert(RETRY_AFTER, seconds(wait_ms).max(1).into());
}

/// Milliseconds as whole seconds, rounded up.
const fn seconds(ms: u32) -> u32 {
    ms.div_ceil(1_000)
}

/// The quota that comes first; `None` for a key without limits.
fn limit(key: &KeyEntry) -> Option<u64> {
    let burst = key.limits.per_second().map(|_| u64::from(key.limits.burst()));
    burst.or(key.limits.per_month())
}

fn reset(key: &KeyEntry, allowance: Allowance, month_left_ms: u32) -> u32 {
    seconds(if key.limits.per_second().is_some() {
        allowance.refill_ms
    } else {
        month_left_ms
    })
}

fn push_policy(out: &mut Vec<u8>, key: &KeyEntry) {
    let rate = key.limits.per_second();
    if let Some(rate) = rate {
        let burst = u64::from(key.limits.burst());
        push_parameter(out, b"\"rate\";q=", burst);
        // The window in which the rate gives the whole burst back.
        push_parameter(out, b";w=", burst.div_ceil(rate.max(1)));
    }
    if let Some(month) = key.limits.per_month() {
        push_comma(out, rate.is_some());
        push_parameter(out, b"\"month\";q=", month);
    }
}

fn push_state(out: &mut Vec<u8>, key: &KeyEntry, allowance: Allowance, month_left_ms: u32) {
    let has_rate = key.limits.per_second().is_some();
    if has_rate {
        push_parameter(out, b"\"rate\";r=", allowance.remaining.into());
        push_parameter(out, b";t=", seconds(allowance.refill_ms).into());
    }
    if let Some(month) = key.limits.per_month() {
        push_comma(out, has_rate);
        let left = month.saturating_sub(key.state.month_used());
        push_parameter(out, b"\"month\";r=", left);
        push_parameter(out, b";t=", seconds(month_left_ms).into());
    }
}

fn push_comma(out: &mut Vec<u8>, is_second: bool) {
    if is_second {
        out.extend_from_slice(b", ");
    }
}

fn push_parameter(out: &mut Vec<u8>, name: &[u8], value: u64) {
    out.extend_from_slice(name);
    push_integer(out, value);
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: Vec<u8>) {
    // Digits and the names above are always a field value.
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use trinity_protocol::{KeyId, Verifier};

    use super::*;
    use crate::tables::limiter::Limits;

    fn told(limits: Limits, allowance: Allowance) -> HeaderMap {
        let key = KeyEntry::new(
            KeyId(1),
            &Verifier::from_bytes([1; 32]),
            limits,
            u64::MAX,
            Arc::default(),
        );
        key.state.set_month_used(40);
        let mut headers = HeaderMap::new();
        insert(&mut headers, &key, allowance, 86_400_001);
        headers
    }

    #[test]
    fn a_rate_and_a_month_are_told_side_by_side() {
        let headers = told(
            Limits::new(Some(10), Some(25), Some(1_000)),
            Allowance {
                remaining: 24,
                refill_ms: 100,
            },
        );
        assert_eq!(headers[RATE_LIMIT_POLICY], "\"rate\";q=25;w=3, \"month\";q=1000");
        assert_eq!(headers[RATE_LIMIT], "\"rate\";r=24;t=1, \"month\";r=960;t=86401");
        assert_eq!(headers[X_LIMIT], "25");
        assert_eq!(headers[X_REMAINING], "24");
        assert_eq!(headers[X_RESET], "1");
    }

    #[test]
    fn a_month_alone_is_told_alone() {
        let headers = told(
            Limits::new(None, None, Some(50)),
            Allowance {
                remaining: 10,
                refill_ms: 0,
            },
        );
        assert_eq!(headers[RATE_LIMIT_POLICY], "\"month\";q=50");
        assert_eq!(headers[X_LIMIT], "50");
        assert_eq!(headers[X_RESET], "86401");
    }

    #[test]
    fn a_key_without_limits_is_told_of_none() {
        let headers = told(
            Limits::NONE,
            Allowance {
                remaining: u32::MAX,
                refill_ms: 0,
            },
        );
        assert!(headers.is_empty());
    }

    #[test]
    fn a_wait_is_rounded_up_to_seconds_and_never_nothing() {
        for (ms, text) in [(0, "1"), (1, "1"), (1_000, "1"), (1_001, "2")] {
            let mut headers = HeaderMap::new();
            insert_retry_after(&mut headers, ms);
            assert_eq!(headers[RETRY_AFTER], text);
        }
    }
}
