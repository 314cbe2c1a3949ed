//! Keeping house: a partition for each UTC day, made ahead of its day and dropped when it is old.

use crate::store::error::Result;
use crate::store::rows::Grain;

use super::pool::Session;
use super::sql::get;

/// How many days ahead have their room.
pub(super) const DAYS_AHEAD: i64 = 7;
/// Most days that one call drops. Each is a transaction of its own and takes milliseconds.
pub(super) const MAX_DROPPED: usize = 31;

/// The day of a second, counted from the Unix epoch.
pub(super) fn day_of(second: u64) -> i64 {
    i64::try_from(second / Grain::Day.seconds()).unwrap_or(i64::MAX)
}

/// Makes room for these days; tells how many had none.
pub(super) async fn make_days(session: &mut Session, days: &[i64]) -> Result<u32> {
    let row = session
        .query_one(
            "SELECT count(*) FILTER (WHERE ledger_make_day(day)) FROM unnest($1::bigint[]) AS day",
            &[&days],
        )
        .await?;
    Ok(u32::try_from(get::<i64>(&row, 0)?).unwrap_or(u32::MAX))
}

/// Usage of earlier days goes into the sums alone from now on. Before anything is dropped, so that
/// an audit never takes what is left of a day for all of it.
pub(super) async fn keep_from(session: &mut Session, day: i64) -> Result<()> {
    let second = day.saturating_mul(Grain::Day.seconds() as i64);
    session
        .execute(
            "UPDATE usage_kept SET from_second = $1 WHERE id = 1 AND from_second < $1",
            &[&second],
        )
        .await?;
    Ok(())
}

/// Days that have room and end before this one, rising.
pub(super) async fn days_before(session: &mut Session, day: i64) -> Result<Vec<i64>> {
    let rows = session
        .query(
            "SELECT DISTINCT day FROM (
                 SELECT substring(pg_get_expr(c.relpartbound, c.oid)
                                  FROM 'FROM \\(''([0-9]+)''\\)')::bigint / 86400 AS day
                 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent IN ('usage'::regclass, 'usage_symbols'::regclass)) AS days
             WHERE day < $1 ORDER BY day",
            &[&day],
        )
        .await?;
    rows.iter().map(|row| get(row, 0)).collect()
}

/// Drops a day's seconds; tells whether there were any. Flushes that run are waited for, but not so
/// long that those behind pile up.
pub(super) async fn drop_day(session: &mut Session, day: i64) -> Result<bool> {
    session.batch("SET LOCAL lock_timeout = '2s'").await?;
    let row = session.query_one("SELECT ledger_drop_day($1)", &[&day]).await?;
    get(&row, 0)
}
