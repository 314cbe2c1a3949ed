//! Keeping house: old seconds go, their sums stay.

use rusqlite::{Connection, OptionalExtension, params};

use crate::store::error::Result;
use crate::store::rows::{Grain, Tended};

/// Most rows of one table that one call drops, but for those of one second. A flush waits behind a
/// call, so it must be short.
const MAX_DROPPED_ROWS: u32 = 50_000;

/// Drops of at most one day, the oldest; there is no room to make, because one table holds all days.
pub(super) fn tend(connection: &Connection, now: u64, keep_days: u32) -> Result<Tended> {
    let day = Grain::Day.seconds();
    let today = now / day;
    let Some(kept_from) = today.checked_sub(u64::from(keep_days) + 1) else {
        return Ok(Tended::default());
    };
    let kept_from = i64::try_from(kept_from * day).unwrap_or(i64::MAX);
    // Before anything is dropped, so that an audit never takes what is left of a day for all of it.
    connection
        .prepare_cached("UPDATE usage_kept SET from_second = ?1 WHERE from_second < ?1")?
        .execute([kept_from])?;
    let day = day as i64;
    let mut oldest: Option<i64> = None;
    for table in ["usage", "usage_symbols"] {
        let second: Option<i64> = connection
            .prepare_cached(&format!("SELECT min(second) FROM {table}"))?
            .query_row([], |row| row.get(0))?;
        oldest = [oldest, second].into_iter().flatten().min();
    }
    let Some(oldest) = oldest.filter(|second| *second < kept_from) else {
        return Ok(Tended::default());
    };
    let end = oldest - oldest % day + day;
    for table in ["usage", "usage_symbols"] {
        let enough: Option<i64> = connection
            .prepare_cached(&format!(
                "SELECT second FROM {table} WHERE second < ?1 ORDER BY second LIMIT 1 OFFSET {MAX_DROPPED_ROWS}"
            ))?
            .query_row([end], |row| row.get(0))
            .optional()?;
        // At least one second whole, or a busy one would stay for ever.
        let before = enough.map_or(end, |second| second.max(oldest + 1));
        connection
            .prepare_cached(&format!("DELETE FROM {table} WHERE second < ?1"))?
            .execute(params![before])?;
    }
    Ok(Tended { made: 0, dropped: 1 })
}
