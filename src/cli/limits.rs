//! Limits as they are typed and shown, of tiers and of keys.

use std::str::FromStr;

use serde::Serialize;

use super::output::Table;
use crate::store::{Limits, Overrides, Rate};

/// A limit; `None` is `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit<T>(pub Option<T>);

/// A limit of a key: `None` is `tier`, as the tier has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OwnLimit<T>(pub Option<Limit<T>>);

/// What a limit is made of.
pub(super) trait Typed: Sized {
    /// What it looks like, for who typed something else.
    const FORM: &'static str;

    fn read(text: &str) -> Option<Self>;
}

/// Limits for scripts; null is no limit.
#[derive(Serialize)]
pub(super) struct LimitsView {
    requests_per_month: Option<u64>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    reports_per_month: Option<u32>,
}

/// Where a key's limits are its own, for scripts.
#[derive(Serialize)]
pub(super) struct OverridesView {
    requests_per_month: OwnView<u64>,
    rate: OwnView<RateView>,
    reports_per_month: OwnView<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum OwnView<T> {
    /// `tier` or `none`.
    Word(&'static str),
    Is(T),
}

#[derive(Serialize)]
struct RateView {
    per_second: u32,
    burst: u32,
}

/// Reads a number or `none`.
pub(super) fn limit<T: Typed>(text: &str) -> Result<Limit<T>, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    T::read(text)
        .map(|value| Limit(Some(value)))
        .ok_or_else(|| format!("give {} or `none`", T::FORM))
}

/// Reads a number, `none` or `tier`.
pub(super) fn own_limit<T: Typed>(text: &str) -> Result<OwnLimit<T>, String> {
    if text == "tier" {
        return Ok(OwnLimit(None));
    }
    limit(text)
        .map(|limit| OwnLimit(Some(limit)))
        .map_err(|error| format!("{error}, or `tier` for what the account's tier has"))
}

/// Limits as rows of a table of fields; what differs from the tier says so.
pub(super) fn describe(table: &mut Table, limits: &Limits, own: &Overrides) {
    let own_word = |own| if own { " (its own)" } else { "" };
    let mut row = |name, limit: Option<u64>, own| {
        table.row([name, &format!("{}{}", text(limit), own_word(own))]);
    };
    row(
        "requests per month",
        limits.requests_per_month,
        own.requests_per_month.is_some(),
    );
    row(
        "requests per second",
        limits.requests_per_second.map(u64::from),
        own.rate.is_some(),
    );
    row("burst", limits.burst.map(u64::from), own.rate.is_some());
    row(
        "reports per month",
        limits.reports_per_month.map(u64::from),
        own.reports_per_month.is_some(),
    );
}

/// A limit for people.
pub(super) fn text(limit: Option<u64>) -> String {
    limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string())
}

impl LimitsView {
    pub(super) fn of(limits: &Limits) -> Self {
        Self {
            requests_per_month: limits.requests_per_month,
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            reports_per_month: limits.reports_per_month,
        }
    }
}

impl OverridesView {
    pub(super) fn of(own: &Overrides) -> Self {
        Self {
            requests_per_month: own.requests_per_month.map_or(OwnView::Word("tier"), OwnView::of),
            rate: own.rate.map_or(OwnView::Word("tier"), |rate| {
                OwnView::of(rate.map(|rate| RateView {
                    per_second: rate.per_second,
                    burst: rate.burst,
                }))
            }),
            reports_per_month: own.reports_per_month.map_or(OwnView::Word("tier"), OwnView::of),
        }
    }
}

impl<T> OwnView<T> {
    fn of(limit: Option<T>) -> Self {
        limit.map_or(Self::Word("none"), Self::Is)
    }
}

impl Typed for u64 {
    const FORM: &'static str = "a whole number";

    fn read(text: &str) -> Option<Self> {
        digits(text)
    }
}

impl Typed for u32 {
    const FORM: &'static str = "a whole number";

    fn read(text: &str) -> Option<Self> {
        digits(text)
    }
}

impl Typed for Rate {
    const FORM: &'static str =
        "requests per second and how many may come at once, as PER_SECOND:BURST, for example 10:20,";

    fn read(text: &str) -> Option<Self> {
        let (per_second, burst) = text.split_once(':')?;
        Some(Self {
            per_second: digits(per_second)?,
            burst: digits(burst)?,
        })
    }
}

/// A number without a sign, which `FromStr` would take.
fn digits<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_reads_as_it_is_meant_or_not_at_all() {
        let rate = Rate {
            per_second: 10,
            burst: 20,
        };
        assert_eq!(limit("10:20"), Ok(Limit(Some(rate))));
        assert_eq!(limit::<u64>("none"), Ok(Limit(None)));
        assert_eq!(limit::<u32>("4294967295"), Ok(Limit(Some(u32::MAX))));
        assert_eq!(own_limit::<u64>("tier"), Ok(OwnLimit(None)));
        assert_eq!(own_limit::<u64>("none"), Ok(OwnLimit(Some(Limit(None)))));
        for bad in [
            "",
            "-1",
            "+1",
            "1.5",
            "1e3",
            "1_000",
            "4294967296",
            "many",
            "tier",
            "None",
        ] {
            limit::<u32>(bad).expect_err(bad);
        }
        for bad in [
            "", "10", ":", "10:", ":20", "10:20:30", "10:-2", "10 : 20", "1.5:2",
        ] {
            let error = own_limit::<Rate>(bad).expect_err(bad);
            assert!(error.contains("10:20") && error.contains("`tier`"), "{error}");
        }
    }
}
