//! What every home refuses before it asks its engine, so that both refuse the same with the
//! same words. The schemas hold the same line for hand-written SQL.

use trinity_protocol::KeyId;

use super::error::{Result, StoreError};
use super::rows::{FlushId, NewAccount, NewKey, SymbolUsageRow, UsageRow};

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
