//! Usage: the flush that is applied once, and what it adds up to.

use rusqlite::{Connection, params};
use trinity_protocol::KeyId;

use super::{sql_integer, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{FlushId, FlushOutcome, Protocol, SymbolUsageRow, UsageRow, UsageTotal};

/// What a flush holds in all. Equal sums under one id are a retry.
#[derive(PartialEq, Eq)]
struct Sums {
    usage_rows: i64,
    requests: i64,
    symbol_rows: i64,
    entries: i64,
}

/// Applies a flush inside the caller's transaction. The id goes in first: if it is there
/// already, the rows are as well, because both were committed together.
pub(super) fn flush(
    connection: &Connection,
    id: &FlushId,
    usage: &[UsageRow],
    symbols: &[SymbolUsageRow],
) -> Result<FlushOutcome> {
    let sums = Sums {
        usage_rows: usage.len() as i64,
        requests: sum("the flush's requests", usage.iter().map(|row| row.count))?,
        symbol_rows: symbols.len() as i64,
        entries: sum("the flush's entries", symbols.iter().map(|row| row.entries))?,
    };
    // Every bit pattern of the boot is a number of its own; only equality matters.
    let boot = id.boot as i64;
    let sequence = sql_integer("the flush's sequence", id.sequence)?;
    let added = connection
        .prepare_cached(
            "INSERT INTO flushes (node, boot, shard, sequence, usage_rows, requests, symbol_rows, entries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            id.node,
            boot,
            id.shard,
            sequence,
            sums.usage_rows,
            sums.requests,
            sums.symbol_rows,
            sums.entries
        ])?;
    if added == 0 {
        let applied = connection
            .prepare_cached(
                "SELECT usage_rows, requests, symbol_rows, entries FROM flushes
                 WHERE node = ?1 AND boot = ?2 AND shard = ?3 AND sequence = ?4",
            )?
            .query_row(params![id.node, boot, id.shard, sequence], |row| {
                Ok(Sums {
                    usage_rows: row.get(0)?,
                    requests: row.get(1)?,
                    symbol_rows: row.get(2)?,
                    entries: row.get(3)?,
                })
            })?;
        if applied == sums {
            return Ok(FlushOutcome::AlreadyApplied);
        }
        return Err(StoreError::FlushIdReused {
            id: id.to_string(),
            applied: applied.to_string(),
            offered: sums.to_string(),
        });
    }
    add_usage(connection, usage)?;
    add_symbols(connection, symbols)?;
    Ok(FlushOutcome::Applied)
}

pub(super) fn month_usage(connection: &Connection, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
    // CROSS JOIN fixes the order: one index range per key instead of a scan of all usage.
    let mut statement = connection.prepare_cached(
        "SELECT k.key_id, sum(u.count)
         FROM api_keys k CROSS JOIN usage u ON u.key_id = k.key_id AND u.second >= ?1 AND u.outcome = 0
         GROUP BY k.key_id ORDER BY k.key_id",
    )?;
    let start = sql_integer("the month's start", month_start)?;
    let rows = statement.query_map([start], |row| Ok((KeyId(unsigned(row, 0)?), unsigned(row, 1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn total(connection: &Connection, key_id: KeyId) -> Result<UsageTotal> {
    let id = sql_integer("the key id", key_id.0)?;
    let mut statement = connection.prepare_cached(
        "SELECT coalesce(sum(count), 0), coalesce(sum(count) FILTER (WHERE outcome = 0), 0),
                (SELECT coalesce(sum(entries), 0) FROM usage_symbols WHERE key_id = ?1),
                coalesce(max(latency_max_ns), 0),
                coalesce(sum(latency_sum_ns >> 32), 0), coalesce(sum(latency_sum_ns & 4294967295), 0)
         FROM usage WHERE key_id = ?1",
    )?;
    Ok(statement.query_row([id], |row| {
        // In halves, because SQLite refuses sums beyond 63 bits and saturated rows may be among these.
        let (high, low) = (unsigned(row, 4)?, unsigned(row, 5)?);
        Ok(UsageTotal {
            requests: unsigned(row, 0)?,
            charged: unsigned(row, 1)?,
            entries: unsigned(row, 2)?,
            latency_max_ns: unsigned(row, 3)?,
            latency_sum_ns: high.saturating_mul(1 << 32).saturating_add(low),
        })
    })?)
}

fn add_usage(connection: &Connection, rows: &[UsageRow]) -> Result<()> {
    // Latency is a statistic: its sum saturates (SQLite adds beyond 63 bits as a float, which
    // min() turns back) rather than holding up the bill.
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage (key_id, second, protocol, outcome, count, latency_sum_ns, latency_max_ns)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (key_id, second, protocol, outcome) DO UPDATE SET
             count = count + excluded.count,
             latency_sum_ns = min(latency_sum_ns + excluded.latency_sum_ns, 9223372036854775807),
             latency_max_ns = max(latency_max_ns, excluded.latency_max_ns)",
    )?;
    for row in rows {
        statement.execute(params![
            sql_integer("the key id", row.key_id.0)?,
            sql_integer("the second", row.second)?,
            protocol_code(row.protocol),
            row.outcome,
            sql_integer("the count", row.count)?,
            saturated(row.latency_sum_ns),
            saturated(row.latency_max_ns),
        ])?;
    }
    Ok(())
}

fn add_symbols(connection: &Connection, rows: &[SymbolUsageRow]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage_symbols (key_id, symbol, second, status, entries) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (key_id, symbol, second, status) DO UPDATE SET entries = entries + excluded.entries",
    )?;
    for row in rows {
        statement.execute(params![
            sql_integer("the key id", row.key_id.0)?,
            row.symbol.as_str(),
            sql_integer("the second", row.second)?,
            row.status,
            sql_integer("the entries", row.entries)?,
        ])?;
    }
    Ok(())
}

/// How the protocol is stored.
const fn protocol_code(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Http => 2,
    }
}

fn saturated(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn sum(what: &'static str, values: impl Iterator<Item = u64>) -> Result<i64> {
    let mut total = 0_u64;
    for value in values {
        total = total.saturating_add(value);
    }
    sql_integer(what, total)
}

impl std::fmt::Display for Sums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} requests in {} rows, {} entries in {} rows",
            self.requests, self.usage_rows, self.entries, self.symbol_rows
        )
    }
}
