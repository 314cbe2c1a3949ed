//! What every home refuses before it asks its engine, so that both refuse the same with the
//! same words. The schemas hold the same line for hand-written SQL.

use trinity_protocol::KeyId;

use super::error::{Result, StoreError};
use super::networks;
use super::rows::{
    AccountPatch, FlushId, KeyPatch, KeySettings, Limits, MAX_KEY_NETWORKS, NewAccount, NewKey, NewReport,
    Protocols, Rate, SymbolUsageRow, Tier, UsageRow,
};
use super::symbols::SymbolDefinition;

/// Longest name of an account, a key or a node, in characters.
const MAX_NAME: usize = 128;
/// Longest name of a parameter, in characters.
const MAX_PARAMETER_NAME: usize = 64;
/// Longest value of a parameter, in characters.
const MAX_PARAMETER_VALUE: usize = 4_096;
/// Most requests that a limit may allow in a month.
const MAX_REQUESTS_PER_MONTH: u64 = 1_000_000_000_000_000;
/// Most requests in a second, at once, or reports in a month.
const MAX_LIMIT: u32 = 1_000_000_000;
/// The last second of the year 9999.
const MAX_SECOND: u64 = 253_402_300_799;

pub(super) fn tier(tier: &Tier) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if !(1..=32).contains(&tier.name.len()) || !tier.name.bytes().all(allowed) {
        return Err(invalid("the tier's name", "is not 1 to 32 of a-z, 0-9, _ and -"));
    }
    let Limits {
        requests_per_month,
        requests_per_second,
        burst,
        reports_per_month,
    } = tier.limits;
    month(requests_per_month)?;
    reports(reports_per_month)?;
    match (requests_per_second, burst) {
        (None, None) => Ok(()),
        (Some(per_second), Some(burst)) => rate(Rate { per_second, burst }),
        _ => Err(invalid(
            "the rate",
            "and its burst are one limit: give both or neither",
        )),
    }
}

pub(super) fn account(new: &NewAccount) -> Result<()> {
    account_name(&new.name)
}

pub(super) fn account_patch(patch: &AccountPatch) -> Result<()> {
    patch.name.as_deref().map_or(Ok(()), account_name)
}

pub(super) fn key(new: &NewKey) -> Result<()> {
    name("the key's name", &new.name)?;
    if !new.key_id.is_valid() {
        return Err(invalid("the key id", "is outside 1 to 2^63 - 1: draw another"));
    }
    if new.expires_at_ns.is_some_and(|end| end <= new.created_at_ns) {
        return Err(invalid("the key's expiry", "is in the past: choose a later time"));
    }
    settings(&new.settings)
}

pub(super) fn key_patch(patch: &KeyPatch) -> Result<()> {
    if let Some(text) = &patch.name {
        name("the key's name", text)?;
    }
    // What is not named is as the default has it, which is allowed.
    settings(&patch.on(&KeySettings::default()))
}

pub(super) fn report(report: &NewReport) -> Result<()> {
    let fits = |text: &str, longest| {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=longest).contains(&text.len()) && text.bytes().all(allowed)
    };
    if !fits(&report.kind, 32) {
        return Err(invalid("the report's kind", "is not 1 to 32 of a-z, 0-9 and -"));
    }
    if !fits(&report.format, 16) {
        return Err(invalid("the report's format", "is not 1 to 16 of a-z, 0-9 and -"));
    }
    Ok(())
}

pub(super) fn parameter(parameter: &str, value: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'.';
    if parameter.is_empty() || parameter.len() > MAX_PARAMETER_NAME || !parameter.bytes().all(allowed) {
        return Err(invalid(
            "the parameter's name",
            "is not 1 to 64 of a-z, 0-9, _ and .",
        ));
    }
    if value.chars().count() > MAX_PARAMETER_VALUE || value.contains('\0') {
        return Err(invalid(
            "the parameter's value",
            "is longer than 4096 characters or has a NUL in it",
        ));
    }
    Ok(())
}

/// What a ledger can hold of a symbol. Whether it makes a table with the others is not checked
/// here.
pub(super) fn symbol(symbol: &SymbolDefinition) -> Result<()> {
    let names = [symbol.name, symbol.base, symbol.quote].into_iter();
    let names = names.chain(symbol.routes.iter().copied());
    let mut names = names.chain(symbol.aliases.iter().map(|alias| alias.name));
    if names.any(|name| name.as_str().contains([',', '@', '='])) {
        return Err(invalid("a name", "has one of , @ = in it, which separate fields"));
    }
    if symbol.base == symbol.quote {
        return Err(invalid("the quote", "is the same as the base"));
    }
    if !(-15..=0).contains(&symbol.exponent) {
        return Err(invalid("the exponent", "is not within -15 and 0"));
    }
    let points = symbol.tick.bytes().filter(|b| *b == b'.').count();
    let plain = symbol.tick.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let zero = !symbol.tick.bytes().any(|b| matches!(b, b'1'..=b'9'));
    if symbol.tick.len() > 32 || points > 1 || !plain || zero {
        return Err(invalid(
            "the tick",
            "is no plain decimal number above 0, such as 0.01",
        ));
    }
    if !(1..=16).contains(&symbol.min_sources) {
        return Err(invalid("min_sources", "is not within 1 and 16"));
    }
    if symbol.max_age_ms == 0 || symbol.hard_age_ms < symbol.max_age_ms {
        return Err(invalid(
            "max_age_ms",
            "is 0 or above hard_age_ms: a price is stale before it is gone",
        ));
    }
    if symbol.jump_bps == 0 || symbol.dispute_bps == 0 || symbol.peg_bps == Some(0) {
        return Err(invalid("a limit in basis points", "is 0: it must be above"));
    }
    let ends = symbol.aliases.iter().filter_map(|alias| alias.until_ns);
    if ends
        .into_iter()
        .any(|end| end == 0 || i64::try_from(end).is_err())
    {
        return Err(invalid("an alias's end", "is not between 1970 and 2261"));
    }
    for market in &symbol.markets {
        let venue = market.venue.bytes();
        let named = venue
            .clone()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !(1..=32).contains(&venue.len()) || !named {
            return Err(invalid("a venue's name", "is not 1 to 32 of a-z, 0-9 and -"));
        }
        let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'*' | b'=' | b'"' | b'\\');
        let fits = |text: &String| (1..=32).contains(&text.len()) && text.bytes().all(plain);
        if !(1..=8).contains(&market.spellings.len()) || !market.spellings.iter().all(fits) {
            return Err(invalid(
                "a market's spelling",
                "is missing, too long, or has one of , * = \" \\ or a space in it",
            ));
        }
        if !(-18..=18).contains(&market.unit_exponent) {
            return Err(invalid("a market's unit", "is no power of ten from -18 to 18"));
        }
    }
    Ok(())
}

pub(super) fn flush(id: &FlushId, usage: &[UsageRow], symbols: &[SymbolUsageRow]) -> Result<()> {
    name("the node's name", &id.node)?;
    if i64::try_from(id.sequence).is_err() {
        return Err(invalid("the flush's sequence", "is 2^63 or more"));
    }
    let common = |key_id: KeyId, second: u64, count: u64| {
        if i64::try_from(key_id.0).is_err() {
            Err("its key id is 2^63 or more")
        } else if second > MAX_SECOND {
            Err("its second lies after the year 9999")
        } else if count == 0 || i64::try_from(count).is_err() {
            Err("its count is 0, or 2^63 or more")
        } else {
            Ok(())
        }
    };
    let rows = usage
        .iter()
        .map(|row| common(row.key_id, row.second, row.count))
        .chain(
            symbols
                .iter()
                .map(|row| common(row.key_id, row.second, row.entries)),
        );
    for (index, row) in rows.enumerate() {
        row.map_err(|why| StoreError::InvalidRow { index, why })?;
    }
    Ok(())
}

fn settings(settings: &KeySettings) -> Result<()> {
    if settings.protocols
        == (Protocols {
            udp: false,
            http: false,
        })
    {
        return Err(invalid(
            "the key's protocols",
            "are none: a key that may not be used is revoked",
        ));
    }
    if settings.networks.len() > MAX_KEY_NETWORKS {
        return Err(invalid("the key's networks", "are more than 16: name wider ones"));
    }
    if !settings.networks.iter().all(networks::is_canonical) {
        return Err(invalid(
            "one of the key's networks",
            "has host bits set: 10.1.0.0/16 has none, 10.1.2.3/16 has some",
        ));
    }
    month(settings.overrides.requests_per_month.flatten())?;
    reports(settings.overrides.reports_per_month.flatten())?;
    settings.overrides.rate.flatten().map_or(Ok(()), rate)
}

fn month(limit: Option<u64>) -> Result<()> {
    if limit.is_some_and(|limit| !(1..=MAX_REQUESTS_PER_MONTH).contains(&limit)) {
        return Err(invalid(
            "the limit of requests per month",
            "is not within 1 and 10^15; a customer who may ask nothing is a disabled account",
        ));
    }
    Ok(())
}

fn rate(rate: Rate) -> Result<()> {
    if ![rate.per_second, rate.burst]
        .iter()
        .all(|limit| (1..=MAX_LIMIT).contains(limit))
    {
        return Err(invalid("the rate or its burst", "is not within 1 and 10^9"));
    }
    Ok(())
}

fn reports(limit: Option<u32>) -> Result<()> {
    if limit.is_some_and(|limit| !(1..=MAX_LIMIT).contains(&limit)) {
        return Err(invalid(
            "the limit of reports per month",
            "is not within 1 and 10^9",
        ));
    }
    Ok(())
}

fn account_name(text: &str) -> Result<()> {
    name("the account's name", text)?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(
            "the account's name",
            "is all digits, which would be taken for an id: add a letter",
        ));
    }
    Ok(())
}

fn name(what: &'static str, text: &str) -> Result<()> {
    if text.is_empty() || text.chars().count() > MAX_NAME {
        return Err(invalid(what, "is not 1 to 128 characters long"));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(what, "has a control character in it"));
    }
    if text.trim() != text {
        return Err(invalid(what, "begins or ends with white space"));
    }
    Ok(())
}

fn invalid(what: &'static str, why: &'static str) -> StoreError {
    StoreError::Invalid { what, why }
}
