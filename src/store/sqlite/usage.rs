//! Usage: the flush that is applied once, with all its sums in the same transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};
use trinity_protocol::{KeyId, Symbol};

use super::sums::{protocol_code, table_of};
use super::{sql_integer, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{FlushId, FlushOutcome, Grain, Protocol, SymbolUsageRow, UsageRow, month_start};

/// What a flush holds in all. Equal sums under one id are a retry.
#[derive(PartialEq, Eq)]
struct Sums {
    usage_rows: i64,
    requests: i64,
    symbol_rows: i64,
    entries: i64,
}

/// Requests of a flush in one span, ordered as the tables are.
type Spans = BTreeMap<(u64, KeyId, Protocol, u16), Span>;

#[derive(Clone, Copy, Default)]
struct Span {
    count: u64,
    latency_sum_ns: u64,
    latency_max_ns: u64,
}

/// Applies a flush inside the caller's transaction. What is recorded of the counter tells whether the
/// rows are there already, because both are committed together.
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
    if !is_new(connection, id, &sums)? {
        return Ok(FlushOutcome::AlreadyApplied);
    }
    add_usage(connection, &id.node, usage)?;
    add_symbols(connection, symbols)?;
    Ok(FlushOutcome::Applied)
}

/// The sequence of a counter's last flush.
pub(super) fn last_flush(connection: &Connection, node: &str, boot: u64, shard: u32) -> Result<Option<u64>> {
    let mut statement = connection
        .prepare_cached("SELECT sequence FROM flushes WHERE node = ?1 AND boot = ?2 AND shard = ?3")?;
    let last = statement.query_row(params![node, boot as i64, shard], |row| unsigned(row, 0));
    Ok(last.optional()?)
}

/// Records the flush, if its counter's last one was another and earlier.
fn is_new(connection: &Connection, id: &FlushId, sums: &Sums) -> Result<bool> {
    // Every bit pattern of the boot is a number of its own; only equality matters.
    let boot = id.boot as i64;
    let sequence = sql_integer("the flush's sequence", id.sequence)?;
    let last: Option<(i64, Sums)> = connection
        .prepare_cached(
            "SELECT sequence, usage_rows, requests, symbol_rows, entries FROM flushes
             WHERE node = ?1 AND boot = ?2 AND shard = ?3",
        )?
        .query_row(params![id.node, boot, id.shard], |row| {
            let sums = Sums {
                usage_rows: row.get(1)?,
                requests: row.get(2)?,
                symbol_rows: row.get(3)?,
                entries: row.get(4)?,
            };
            Ok((row.get(0)?, sums))
        })
        .optional()?;
    if let Some((last, applied)) = last {
        if sequence == last && applied != *sums {
            return Err(StoreError::FlushIdReused {
                id: id.to_string(),
                applied: applied.to_string(),
                offered: sums.to_string(),
            });
        }
        if sequence <= last {
            return Ok(false);
        }
    }
    connection
        .prepare_cached(
            "INSERT INTO flushes (node, boot, shard, sequence, usage_rows, requests, symbol_rows, entries,
                    total_usage_rows, total_requests, total_symbol_rows, total_entries)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?5, ?6, ?7, ?8)
             ON CONFLICT (node, boot, shard) DO UPDATE SET
                 sequence = excluded.sequence, applied_at = unixepoch(),
                 usage_rows = excluded.usage_rows, requests = excluded.requests,
                 symbol_rows = excluded.symbol_rows, entries = excluded.entries,
                 total_usage_rows = total_usage_rows + excluded.usage_rows,
                 total_requests = total_requests + excluded.requests,
                 total_symbol_rows = total_symbol_rows + excluded.symbol_rows,
                 total_entries = total_entries + excluded.entries",
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
    Ok(true)
}

fn add_usage(connection: &Connection, node: &str, rows: &[UsageRow]) -> Result<()> {
    let seconds = fold(
        rows.iter().map(|row| {
            let span = Span {
                count: row.count,
                latency_sum_ns: row.latency_sum_ns,
                latency_max_ns: row.latency_max_ns,
            };
            ((row.second, row.key_id, row.protocol, row.outcome), span)
        }),
        Grain::Second,
    );
    let again = |spans: &Spans, grain| fold(spans.iter().map(|(key, span)| (*key, *span)), grain);
    let minutes = again(&seconds, Grain::Minute);
    let hours = again(&minutes, Grain::Hour);
    let days = again(&hours, Grain::Day);
    add_spans(connection, Grain::Second, None, &seconds)?;
    add_spans(connection, Grain::Minute, None, &minutes)?;
    add_spans(connection, Grain::Hour, Some(node), &hours)?;
    add_spans(connection, Grain::Day, Some(node), &days)?;
    add_months(connection, &days)
}

/// Sums what lies in the same spans. The flush's own sum has shown that no count passes 63 bits;
/// latency is a statistic and saturates rather than holding up the bill.
fn fold(rows: impl Iterator<Item = ((u64, KeyId, Protocol, u16), Span)>, grain: Grain) -> Spans {
    let mut spans = Spans::new();
    for ((second, key_id, protocol, outcome), row) in rows {
        let start = second - second % grain.seconds();
        let span = spans.entry((start, key_id, protocol, outcome)).or_default();
        span.count += row.count;
        span.latency_sum_ns = span.latency_sum_ns.saturating_add(row.latency_sum_ns);
        span.latency_max_ns = span.latency_max_ns.max(row.latency_max_ns);
    }
    spans
}

fn add_spans(connection: &Connection, grain: Grain, node: Option<&str>, spans: &Spans) -> Result<()> {
    let (table, start) = table_of(grain);
    let (column, value) = if node.is_some() {
        (", node", ", ?8")
    } else {
        ("", "")
    };
    // SQLite adds beyond 63 bits as a float, which min() turns back for the latency and STRICT
    // refuses for the count.
    let mut statement = connection.prepare_cached(&format!(
        "INSERT INTO {table} (key_id, {start}, protocol, outcome, count, latency_sum_ns, latency_max_ns{column})
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7{value})
         ON CONFLICT ({start}, key_id, protocol, outcome{column}) DO UPDATE SET
             count = count + excluded.count,
             latency_sum_ns = min(latency_sum_ns + excluded.latency_sum_ns, 9223372036854775807),
             latency_max_ns = max(latency_max_ns, excluded.latency_max_ns)"
    ))?;
    for ((start, key_id, protocol, outcome), span) in spans {
        let key_id = sql_integer("the key id", key_id.0)?;
        let start = sql_integer("the second", *start)?;
        let count = sql_integer("the count", span.count)?;
        let (sum, max) = (saturated(span.latency_sum_ns), saturated(span.latency_max_ns));
        let protocol = protocol_code(*protocol);
        match node {
            None => statement.execute(params![key_id, start, protocol, outcome, count, sum, max])?,
            Some(node) => {
                statement.execute(params![key_id, start, protocol, outcome, count, sum, max, node])?
            }
        };
    }
    Ok(())
}

fn add_months(connection: &Connection, days: &Spans) -> Result<()> {
    let mut months: BTreeMap<(u64, KeyId), (u64, u64)> = BTreeMap::new();
    for ((day, key_id, _, outcome), span) in days {
        let (requests, charged) = months.entry((month_start(*day), *key_id)).or_default();
        *requests += span.count;
        *charged += if *outcome == 0 { span.count } else { 0 };
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO usage_months (key_id, start, requests, charged) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (start, key_id) DO UPDATE SET
             requests = requests + excluded.requests, charged = charged + excluded.charged",
    )?;
    for ((start, key_id), (requests, charged)) in months {
        statement.execute([
            sql_integer("the key id", key_id.0)?,
            sql_integer("the month", start)?,
            sql_integer("the count", requests)?,
            sql_integer("the count", charged)?,
        ])?;
    }
    Ok(())
}

fn add_symbols(connection: &Connection, rows: &[SymbolUsageRow]) -> Result<()> {
    for (table, start, seconds) in [
        ("usage_symbols", "second", Grain::Second.seconds()),
        ("usage_symbols_hours", "start", Grain::Hour.seconds()),
        ("usage_symbols_days", "start", Grain::Day.seconds()),
    ] {
        let mut spans: BTreeMap<(u64, KeyId, Symbol, u8), u64> = BTreeMap::new();
        for row in rows {
            let start = row.second - row.second % seconds;
            *spans
                .entry((start, row.key_id, row.symbol, row.status))
                .or_default() += row.entries;
        }
        let mut statement = connection.prepare_cached(&format!(
            "INSERT INTO {table} (key_id, symbol, {start}, status, entries) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT ({start}, key_id, symbol, status) DO UPDATE SET entries = entries + excluded.entries"
        ))?;
        for ((start, key_id, symbol, status), entries) in spans {
            statement.execute(params![
                sql_integer("the key id", key_id.0)?,
                symbol.as_str(),
                sql_integer("the second", start)?,
                status,
                sql_integer("the entries", entries)?,
            ])?;
        }
    }
    Ok(())
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
