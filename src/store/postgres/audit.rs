//! Holds the usage tables against each other.

use tokio_postgres::Row;
use trinity_protocol::KeyId;

use super::pool::Session;
use super::sql::{get, sum, unsigned};
use super::sums::table_of;
use crate::store::error::Result;
use crate::store::rows::{Discrepancy, Grain, LedgerAudit, MAX_DISCREPANCIES};

/// On one snapshot, so that flushes meanwhile do not look like differences.
pub(super) async fn audit(session: &mut Session) -> Result<LedgerAudit> {
    let row = session
        .query_one("SELECT from_second FROM usage_kept WHERE id = 1", &[])
        .await?;
    let kept_from: i64 = get(&row, 0)?;
    let row = session
        .query_one(
            "SELECT min(second), coalesce(sum(count), 0)::text,
                    (SELECT coalesce(sum(count), 0)::text FROM usage_days),
                    (SELECT coalesce(sum(requests), 0)::text FROM usage_months),
                    (SELECT coalesce(sum(total_requests), 0)::text FROM flushes),
                    (SELECT coalesce(sum(entries), 0)::text FROM usage_symbols_days),
                    (SELECT coalesce(sum(total_entries), 0)::text FROM flushes)
             FROM usage WHERE second >= $1",
            &[&kept_from],
        )
        .await?;
    let oldest: Option<i64> = get(&row, 0)?;
    let day = Grain::Day.seconds();
    let mut audit = LedgerAudit {
        seconds_kept_from: oldest.map(|second| second.unsigned_abs() / day * day),
        requests_in_seconds: sum(&row, 1)?,
        requests_in_days: sum(&row, 2)?,
        requests_in_months: sum(&row, 3)?,
        requests_flushed: sum(&row, 4)?,
        entries_in_days: sum(&row, 5)?,
        entries_flushed: sum(&row, 6)?,
        discrepancies: Vec::new(),
    };
    audit.compare_totals();
    for grain in [Grain::Minute, Grain::Hour, Grain::Day] {
        spans(session, grain, kept_from, &mut audit.discrepancies).await?;
    }
    months(session, &mut audit.discrepancies).await?;
    audit.discrepancies.truncate(MAX_DISCREPANCIES);
    Ok(audit)
}

/// Sums of a grain against the seconds of days that are wholly kept, by protocol and outcome.
async fn spans(
    session: &mut Session,
    grain: Grain,
    kept_from: i64,
    found: &mut Vec<Discrepancy>,
) -> Result<()> {
    let (table, _) = table_of(grain);
    let seconds = grain.seconds();
    // Each side has the other's sums as 0, so that a row which one side lacks is found as well.
    let sql = format!(
        "SELECT key_id, start, sum(fine)::text, sum(coarse)::text FROM (
             SELECT key_id, second - second % {seconds} AS start, protocol, outcome, count AS fine, 0 AS coarse
             FROM usage WHERE second >= $1
             UNION ALL
             SELECT key_id, start, protocol, outcome, 0, count FROM {table} WHERE start >= $1) AS both_sides
         GROUP BY start, key_id, protocol, outcome HAVING sum(fine) <> sum(coarse)
         ORDER BY start, key_id, protocol, outcome LIMIT $2"
    );
    for row in session
        .query(&sql, &[&kept_from, &(MAX_DISCREPANCIES as i64)])
        .await?
    {
        found.push(discrepancy(&row, table, "usage")?);
    }
    Ok(())
}

/// Monthly counters against the daily sums of all time.
async fn months(session: &mut Session, found: &mut Vec<Discrepancy>) -> Result<()> {
    for (counted, column) in [
        ("count", "requests"),
        ("CASE WHEN outcome = 0 THEN count ELSE 0 END", "charged"),
    ] {
        let sql = format!(
            "SELECT key_id, month, sum(fine)::text, sum(coarse)::text FROM (
                 SELECT key_id, extract(epoch FROM date_trunc('month', to_timestamp(start), 'UTC'))::bigint AS month,
                        {counted} AS fine, 0 AS coarse
                 FROM usage_days
                 UNION ALL
                 SELECT key_id, start, 0, {column} FROM usage_months) AS both_sides
             GROUP BY month, key_id HAVING sum(fine) <> sum(coarse) ORDER BY month, key_id LIMIT $1"
        );
        for row in session.query(&sql, &[&(MAX_DISCREPANCIES as i64)]).await? {
            found.push(discrepancy(&row, "usage_months", "usage_days")?);
        }
    }
    Ok(())
}

fn discrepancy(row: &Row, table: &'static str, against: &'static str) -> Result<Discrepancy> {
    Ok(Discrepancy {
        table,
        against,
        key_id: Some(KeyId(unsigned(row, 0)?)),
        start: Some(unsigned(row, 1)?),
        expected: sum(row, 2)?,
        found: sum(row, 3)?,
    })
}
