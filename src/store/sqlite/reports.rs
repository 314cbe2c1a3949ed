//! Usage reports, counted by key and month.

use rusqlite::{Connection, params};
use trinity_protocol::KeyId;

use super::{keys, sql_integer};
use crate::store::error::Result;
use crate::store::rows::{NewReport, ReportCharge, month_start};

/// Counts a report inside the caller's transaction, whose write lock lets no other in between.
pub(super) fn charge(connection: &Connection, report: &NewReport) -> Result<ReportCharge> {
    keys::key(connection, report.key_id)?;
    let month = month_start(report.at_ns / 1_000_000_000);
    let used = used(connection, report.key_id, month)?;
    if report.limit.is_some_and(|limit| used >= limit) {
        return Ok(ReportCharge::Refused { used });
    }
    connection
        .prepare_cached(
            "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![
            sql_integer("the key id", report.key_id.0)?,
            sql_integer("the month", month)?,
            report.kind,
            report.format,
            sql_integer("the time", report.at_ns)?,
        ])?;
    Ok(ReportCharge::Charged { used: used + 1 })
}

pub(super) fn used(connection: &Connection, key_id: KeyId, month_start: u64) -> Result<u32> {
    let values = [
        sql_integer("the key id", key_id.0)?,
        sql_integer("the month's start", month_start)?,
    ];
    Ok(connection
        .prepare_cached("SELECT count(*) FROM report_log WHERE key_id = ?1 AND month = ?2")?
        .query_row(values, |row| row.get(0))?)
}
