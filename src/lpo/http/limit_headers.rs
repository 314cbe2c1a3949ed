//! What an answer's head tells of the key's limits.
//!
//! `RateLimit` and `RateLimit-Policy` follow draft-ietf-httpapi-ratelimit-headers (structured
//! fields: `q` the quota, `w` its window, `r` what is left, `t` seconds until it is whole
//! again); the `X-RateLimit-*` fields are their forerunners, for clients that know only those.
//! A key without limits is told of none.

use std::fmt::Write;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::tables::keys::KeyEntry;
use crate::tables::limiter::Allowance;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// Adds the fields. `X-RateLimit-Reset` is in seconds from now.
pub(super) fn insert(headers: &mut HeaderMap, key: &KeyEntry, allowance: Allowance, month_left_ms: u32) {
    let (rate, month) = (key.limits.per_second(), key.limits.per_month());
    let (mut policy, mut state) = (String::new(), String::new());
    if let Some(rate) = rate {
        let burst = key.limits.burst();
        // The window in which the rate gives the whole burst back.
        let window = u64::from(burst).div_ceil(rate.max(1));
        policy = format!("\"rate\";q={burst};w={window}");
        state = format!(
            "\"rate\";r={};t={}",
            allowance.remaining,
            seconds(allowance.refill_ms)
        );
    }
    if let Some(month) = month {
        // Writing to a string cannot fail.
        let left = month.saturating_sub(key.state.month_used());
        let comma = if policy.is_empty() { "" } else { ", " };
        let _ = write!(policy, "{comma}\"month\";q={month}");
        let _ = write!(state, "{comma}\"month\";r={left};t={}", seconds(month_left_ms));
    }
    let Some(limit) = rate.map(|_| u64::from(key.limits.burst())).or(month) else {
        return;
    };
    let reset = if rate.is_some() {
        allowance.refill_ms
    } else {
        month_left_ms
    };
    insert_text(headers, RATE_LIMIT_POLICY, policy);
    insert_text(headers, RATE_LIMIT, state);
    headers.insert(X_LIMIT, limit.into());
    headers.insert(X_REMAINING, allowance.remaining.into());
    headers.insert(X_RESET, seconds(reset).into());
}

/// Adds `Retry-After`: waiting that long is enough.
pub(super) fn insert_retry_after(headers: &mut HeaderMap, wait_ms: u32) {
    headers.insert(RETRY_AFTER, seconds(wait_ms).max(1).into());
}

/// Milliseconds as whole seconds, rounded up.
const fn seconds(ms: u32) -> u32 {
    ms.div_ceil(1_000)
}

fn insert_text(headers: &mut HeaderMap, name: HeaderName, text: String) {
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
