//! What every home refuses before it asks its engine, so that both refuse the same with the
//! same words. The schemas hold the same line for hand-written SQL.

use trinity_protocol::KeyId;

use super::error::{Result, StoreError};
use super::rows::{FlushId, NewAccount, NewKey, SymbolUsageRow, UsageRow};
use super::symbols::SymbolDefinition;

/// Longest name of an account, a key or a node, in characters.
const MAX_NAME: usize = 128;
/// Longest name of a parameter, in characters.
const MAX_PARAMETER_NAME: usize = 64;
/// Longest value of a parameter, in characters.
const MAX_PARAMETER_VALUE: usize = 4_096;
/// The last second of the year 9999.
const MAX_SECOND: u64 = 253_402_300_799;

pub(super) fn account(new: &NewAccount) -> Result<()> {
    name("the account's name", &new.name)?;
    if new.name.bytes().all(|b| b.is_ascii_digit()) {
        return Err(invalid(
            "the account's name",
            "is all digits, which would be taken for an id: add a letter",
        ));
    }
    Ok(())
}

pub(super) fn key(new: &NewKey) -> Result<()> {
    name("the key's name", &new.name)?;
    if !new.key_id.is_valid() {
        return Err(invalid("the key id", "is outside 1 to 2^63 - 1: draw another"));
    }
    if new.expires_at_ns.is_some_and(|end| end <= new.created_at_ns) {
        return Err(invalid("the key's expiry", "is in the past: choose a later time"));
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
