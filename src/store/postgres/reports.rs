//! Usage reports, counted by key and month.

use trinity_protocol::KeyId;

use super::pool::Session;
use super::sql::{get, integer};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{NewReport, ReportCharge, month_start};

pub(super) async fn charge(session: &mut Session, report: &NewReport) -> Result<ReportCharge> {
    let missing = || StoreError::NoSuchKey {
        key_id: report.key_id,
    };
    let key_id = i64::try_from(report.key_id.0).map_err(|_| missing())?;
    // The key's row is locked, so that two reports at once are counted one after the other. Not in
    // the way of its being referred to or loaded.
    session
        .query_opt(
            "SELECT key_id FROM api_keys WHERE key_id = $1 FOR NO KEY UPDATE",
            &[&key_id],
        )
        .await?
        .ok_or_else(missing)?;
    let month = month_start(report.at_ns / 1_000_000_000);
    let used = used(session, report.key_id, month).await?;
    if report.limit.is_some_and(|limit| used >= limit) {
        return Ok(ReportCharge::Refused { used });
    }
    session
        .execute(
            "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES ($1, $2, $3, $4, $5)",
            &[
                &key_id,
                &integer("the month", month)?,
                &report.kind,
                &report.format,
                &integer("the time", report.at_ns)?,
            ],
        )
        .await?;
    Ok(ReportCharge::Charged { used: used + 1 })
}

pub(super) async fn used(session: &mut Session, key_id: KeyId, month_start: u64) -> Result<u32> {
    let key_id = integer("the key id", key_id.0)?;
    let month = integer("the month's start", month_start)?;
    let row = session
        .query_one(
            "SELECT count(*) FROM report_log WHERE key_id = $1 AND month = $2",
            &[&key_id, &month],
        )
        .await?;
    Ok(u32::try_from(get::<i64>(&row, 0)?).unwrap_or(u32::MAX))
}
