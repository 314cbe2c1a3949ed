//! What usage adds up to.

use rusqlite::{Connection, OptionalExtension, Row, params};
use trinity_protocol::KeyId;

use super::{sql_integer, unsigned};
use crate::store::error::Result;
use crate::store::rows::{Grain, Protocol, UsageSum, UsageTotal};

/// Latency in halves, because SQLite refuses sums beyond 63 bits and saturated rows may be among these.
const LATENCY: &str = "coalesce(sum(latency_sum_ns >> 32), 0), coalesce(sum(latency_sum_ns & 4294967295), 0)";

/// Where usage of this grain is kept, and the column that says when.
pub(super) const fn table_of(grain: Grain) -> (&'static str, &'static str) {
    match grain {
        Grain::Second => ("usage", "second"),
        Grain::Minute => ("usage_minutes", "start"),
        Grain::Hour => ("usage_hours", "start"),
        Grain::Day => ("usage_days", "start"),
    }
}

/// How the protocol is stored.
pub(super) const fn protocol_code(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Http => 2,
    }
}

pub(super) fn month_usage(connection: &Connection, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT m.key_id, sum(m.charged)
         FROM usage_months m JOIN api_keys k ON k.key_id = m.key_id
         WHERE m.start >= ?1 AND m.charged > 0
         GROUP BY m.key_id ORDER BY m.key_id",
    )?;
    let start = sql_integer("the month's start", month_start)?;
    let rows = statement.query_map([start], |row| Ok((KeyId(unsigned(row, 0)?), unsigned(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The same, of some keys only.
pub(super) fn month_usage_of(
    connection: &Connection,
    month_start: u64,
    keys: &[KeyId],
) -> Result<Vec<(KeyId, u64)>> {
    let start = sql_integer("the month's start", month_start)?;
    let mut keys: Vec<_> = keys
        .iter()
        .filter_map(|key_id| i64::try_from(key_id.0).ok())
        .collect();
    keys.sort_unstable();
    keys.dedup();
    // By the table's own order, start and key: one look-up for each month that has begun.
    let mut months = connection.prepare_cached(
        "WITH RECURSIVE months (start) AS (
             SELECT min(start) FROM usage_months WHERE start >= ?1
             UNION ALL
             SELECT (SELECT min(start) FROM usage_months WHERE start > months.start)
             FROM months WHERE months.start IS NOT NULL
         )
         SELECT start FROM months WHERE start IS NOT NULL",
    )?;
    let months: Vec<i64> = months
        .query_map([start], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut of_key = connection.prepare_cached(
        "SELECT m.charged FROM usage_months m JOIN api_keys k ON k.key_id = m.key_id
         WHERE m.start = ?1 AND m.key_id = ?2",
    )?;
    let mut usage = Vec::new();
    for key in keys {
        let mut charged = 0_u64;
        for month in &months {
            let found = of_key
                .query_row([*month, key], |row| unsigned(row, 0))
                .optional()?;
            charged = charged.saturating_add(found.unwrap_or(0));
        }
        if charged > 0 {
            usage.push((KeyId(key.unsigned_abs()), charged));
        }
    }
    Ok(usage)
}

/// From the daily sums, which outlast the seconds.
pub(super) fn total(connection: &Connection, key_id: KeyId) -> Result<UsageTotal> {
    let id = sql_integer("the key id", key_id.0)?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT coalesce(sum(count), 0), coalesce(sum(count) FILTER (WHERE outcome = 0), 0),
                (SELECT coalesce(sum(entries), 0) FROM usage_symbols_days WHERE key_id = ?1),
                coalesce(max(latency_max_ns), 0), {LATENCY}
         FROM usage_days WHERE key_id = ?1"
    ))?;
    Ok(statement.query_row([id], |row| {
        Ok(UsageTotal {
            requests: unsigned(row, 0)?,
            charged: unsigned(row, 1)?,
            entries: unsigned(row, 2)?,
            latency_max_ns: unsigned(row, 3)?,
            latency_sum_ns: in_halves(row, 4)?,
        })
    })?)
}

pub(super) fn sums(
    connection: &Connection,
    grain: Grain,
    from: u64,
    to: u64,
    key_id: Option<KeyId>,
) -> Result<Vec<UsageSum>> {
    let (table, start) = table_of(grain);
    // Without a key's condition the order of time leads; with it the index by key, where there is one.
    let key = if key_id.is_some() { "AND key_id = ?3" } else { "" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT key_id, {start}, protocol, outcome, sum(count), max(latency_max_ns), {LATENCY}
         FROM {table} WHERE {start} >= ?1 AND {start} < ?2 {key}
         GROUP BY {start}, key_id, protocol, outcome ORDER BY {start}, key_id, protocol, outcome"
    ))?;
    let bound = |second: u64| i64::try_from(second).unwrap_or(i64::MAX);
    let (from, to) = (bound(from), bound(to));
    let rows = match key_id {
        None => statement.query_map(params![from, to], usage_sum)?.collect(),
        Some(key_id) => {
            let key_id = sql_integer("the key id", key_id.0)?;
            statement
                .query_map(params![from, to, key_id], usage_sum)?
                .collect()
        }
    };
    let rows: rusqlite::Result<Vec<_>> = rows;
    Ok(rows?)
}

fn usage_sum(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    let protocol: u8 = row.get(2)?;
    Ok(UsageSum {
        key_id: KeyId(unsigned(row, 0)?),
        start: unsigned(row, 1)?,
        protocol: if protocol == protocol_code(Protocol::Udp) {
            Protocol::Udp
        } else {
            Protocol::Http
        },
        outcome: row.get(3)?,
        count: unsigned(row, 4)?,
        latency_sum_ns: in_halves(row, 6)?.min(i64::MAX as u64),
        latency_max_ns: unsigned(row, 5)?,
    })
}

/// A sum whose upper half is in this column and the lower in the next.
pub(super) fn in_halves(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let (high, low) = (unsigned(row, column)?, unsigned(row, column + 1)?);
    Ok(high.saturating_mul(1 << 32).saturating_add(low))
}
