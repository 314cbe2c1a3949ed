//! Holds the usage tables against each other.

use rusqlite::{Connection, Row, params};
use trinity_protocol::KeyId;

use super::sums::{in_halves, table_of};
use super::unsigned;
use crate::store::error::Result;
use crate::store::rows::{Discrepancy, Grain, LedgerAudit, MAX_DISCREPANCIES};

/// On one snapshot, so that flushes meanwhile do not look like differences.
pub(super) fn audit(connection: &Connection) -> Result<LedgerAudit> {
    let kept_from: i64 = connection.query_row("SELECT from_second FROM usage_kept", [], |row| row.get(0))?;
    let oldest: Option<i64> = connection.query_row(
        "SELECT min(second) FROM usage WHERE second >= ?1",
        [kept_from],
        |row| row.get(0),
    )?;
    let total = |column: &str, from: &str| -> Result<u64> {
        // In halves, as sums of latency are.
        let sql = format!(
            "SELECT coalesce(sum({column} >> 32), 0), coalesce(sum({column} & 4294967295), 0) {from}"
        );
        Ok(connection.query_row(&sql, [], |row| in_halves(row, 0))?)
    };
    let mut audit = LedgerAudit {
        seconds_kept_from: oldest.map(|second| (second - second % 86_400).unsigned_abs()),
        requests_in_seconds: total(
            "count",
            "FROM usage WHERE second >= (SELECT from_second FROM usage_kept)",
        )?,
        requests_in_days: total("count", "FROM usage_days")?,
        requests_in_months: total("requests", "FROM usage_months")?,
        requests_flushed: total("total_requests", "FROM flushes")?,
        entries_in_days: total("entries", "FROM usage_symbols_days")?,
        entries_flushed: total("total_entries", "FROM flushes")?,
        discrepancies: Vec::new(),
    };
    audit.compare_totals();
    for grain in [Grain::Minute, Grain::Hour, Grain::Day] {
        spans(connection, grain, kept_from, &mut audit.discrepancies)?;
    }
    months(connection, &mut audit.discrepancies)?;
    audit.discrepancies.truncate(MAX_DISCREPANCIES);
    Ok(audit)
}

/// Sums of a grain against the seconds of days that are wholly kept, by protocol and outcome.
fn spans(connection: &Connection, grain: Grain, kept_from: i64, found: &mut Vec<Discrepancy>) -> Result<()> {
    let (table, _) = table_of(grain);
    let seconds = grain.seconds();
    // Each side has the other's sums as 0, so that a row which one side lacks is found as well.
    let mut statement = connection.prepare(&format!(
        "SELECT key_id, start, sum(fine), sum(coarse) FROM (
             SELECT key_id, second - second % {seconds} AS start, protocol, outcome, count AS fine, 0 AS coarse
             FROM usage WHERE second >= ?1
             UNION ALL
             SELECT key_id, start, protocol, outcome, 0, count FROM {table} WHERE start >= ?1)
         GROUP BY start, key_id, protocol, outcome HAVING sum(fine) <> sum(coarse)
         ORDER BY start, key_id, protocol, outcome LIMIT ?2"
    ))?;
    let rows = statement.query_map(params![kept_from, MAX_DISCREPANCIES as i64], |row| {
        discrepancy(row, table, "usage")
    })?;
    for row in rows {
        found.push(row?);
    }
    Ok(())
}

/// Monthly counters against the daily sums of all time.
fn months(connection: &Connection, found: &mut Vec<Discrepancy>) -> Result<()> {
    for (counted, column) in [("count", "requests"), ("iif(outcome = 0, count, 0)", "charged")] {
        let mut statement = connection.prepare(&format!(
            "SELECT key_id, month, sum(fine), sum(coarse) FROM (
                 SELECT key_id, unixepoch(start, 'unixepoch', 'start of month') AS month, {counted} AS fine, 0 AS coarse
                 FROM usage_days
                 UNION ALL
                 SELECT key_id, start, 0, {column} FROM usage_months)
             GROUP BY month, key_id HAVING sum(fine) <> sum(coarse) ORDER BY month, key_id LIMIT ?1"
        ))?;
        let rows = statement.query_map([MAX_DISCREPANCIES as i64], |row| {
            discrepancy(row, "usage_months", "usage_days")
        })?;
        for row in rows {
            found.push(row?);
        }
    }
    Ok(())
}

fn discrepancy(row: &Row<'_>, table: &'static str, against: &'static str) -> rusqlite::Result<Discrepancy> {
    Ok(Discrepancy {
        table,
        against,
        key_id: Some(KeyId(unsigned(row, 0)?)),
        start: Some(unsigned(row, 1)?),
        expected: unsigned(row, 2)?,
        found: unsigned(row, 3)?,
    })
}
