//! Times as they are typed.

use std::str::FromStr;

use anyhow::Context;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::store::StoreError;

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    At(Timestamp),
    After(SignedDuration),
}

impl Expiry {
    /// The moment, in nanoseconds since the Unix epoch.
    pub(super) fn resolve(self, now_ns: u64) -> anyhow::Result<u64> {
        let at = match self {
            Self::At(at) => at,
            Self::After(duration) => Timestamp::from_nanosecond(i128::from(now_ns))
                .context("the system's clock is absurd")?
                .checked_add(duration)
                .context("the key's expiry is too far away")?,
        };
        // Beyond 2262 the ledger itself says what is wrong; before 1970 lies in the past as 0 does.
        Ok(u64::try_from(at.as_nanosecond().max(0)).unwrap_or(u64::MAX))
    }
}

impl FromStr for Expiry {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        match duration(text) {
            Some(duration) if duration.is_positive() => Ok(Self::After(duration)),
            _ => Err(StoreError::Invalid {
                what: "the expiry",
                why: "is neither a time with its offset, like 2027-01-31T00:00:00Z, nor a time from now, like 30d or 12h",
            }),
        }
    }
}

/// A time that something lasts, 0 or more; days have 24 hours.
pub(super) fn overlap(text: &str) -> Result<SignedDuration, String> {
    duration(text)
        .filter(|duration| !duration.is_negative())
        .ok_or_else(|| "give a time such as 24h, 7d or 0s".to_owned())
}

fn duration(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}
