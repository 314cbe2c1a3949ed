//! What usage adds up to.

use tokio_postgres::Row;
use trinity_protocol::KeyId;

use super::pool::{Params, Session};
use super::sql::{get, integer, sum, unsigned};
use crate::store::error::Result;
use crate::store::rows::{Grain, Protocol, UsageSum, UsageTotal};

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
pub(super) const fn protocol_code(protocol: Protocol) -> i16 {
    match protocol {
        Protocol::Udp => 1,
        Protocol::Http => 2,
    }
}

pub(super) async fn month_usage(session: &mut Session, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
    let start = integer("the month's start", month_start)?;
    let rows = session
        .query(
            "SELECT m.key_id, sum(m.charged)::text
             FROM usage_months m JOIN api_keys k ON k.key_id = m.key_id
             WHERE m.start >= $1 AND m.charged > 0
             GROUP BY m.key_id ORDER BY m.key_id",
            &[&start],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((KeyId(unsigned(row, 0)?), sum(row, 1)?)))
        .collect()
}

/// The same, of some keys only.
pub(super) async fn month_usage_of(
    session: &mut Session,
    month_start: u64,
    keys: &[KeyId],
) -> Result<Vec<(KeyId, u64)>> {
    let start = integer("the month's start", month_start)?;
    let keys: Vec<i64> = keys
        .iter()
        .filter_map(|key_id| i64::try_from(key_id.0).ok())
        .collect();
    let rows = session
        .query(
            "SELECT m.key_id, sum(m.charged)::text
             FROM usage_months m JOIN api_keys k ON k.key_id = m.key_id
             WHERE m.start >= $1 AND m.charged > 0 AND m.key_id = ANY($2)
             GROUP BY m.key_id ORDER BY m.key_id",
            &[&start, &keys],
        )
        .await?;
    rows.iter()
        .map(|row| Ok((KeyId(unsigned(row, 0)?), sum(row, 1)?)))
        .collect()
}

/// From the daily sums, which outlast the seconds.
pub(super) async fn total(session: &mut Session, key_id: KeyId) -> Result<UsageTotal> {
    let id = integer("the key id", key_id.0)?;
    let row = session
        .query_one(
            "SELECT coalesce(sum(count), 0)::text, coalesce(sum(count) FILTER (WHERE outcome = 0), 0)::text,
                    (SELECT coalesce(sum(entries), 0)::text FROM usage_symbols_days WHERE key_id = $1),
                    coalesce(max(latency_max_ns), 0), coalesce(sum(latency_sum_ns), 0)::text
             FROM usage_days WHERE key_id = $1",
            &[&id],
        )
        .await?;
    Ok(UsageTotal {
        requests: sum(&row, 0)?,
        charged: sum(&row, 1)?,
        entries: sum(&row, 2)?,
        latency_max_ns: unsigned(&row, 3)?,
        latency_sum_ns: sum(&row, 4)?,
    })
}

pub(super) async fn sums(
    session: &mut Session,
    grain: Grain,
    from: u64,
    to: u64,
    key_id: Option<KeyId>,
) -> Result<Vec<UsageSum>> {
    let (table, start) = table_of(grain);
    let key = if key_id.is_some() { "AND key_id = $3" } else { "" };
    let sql = format!(
        "SELECT key_id, {start}, protocol, outcome, sum(count)::text, max(latency_max_ns), sum(latency_sum_ns)::text
         FROM {table} WHERE {start} >= $1 AND {start} < $2 {key}
         GROUP BY {start}, key_id, protocol, outcome ORDER BY {start}, key_id, protocol, outcome"
    );
    let bound = |second: u64| i64::try_from(second).unwrap_or(i64::MAX);
    let (from, to) = (bound(from), bound(to));
    let key_id = key_id.map(|key_id| integer("the key id", key_id.0)).transpose()?;
    let all: Params<'_> = &[&from, &to, &key_id];
    let params = if key_id.is_some() { all } else { &all[..2] };
    let rows = session.query(&sql, params).await?;
    rows.iter().map(usage_sum).collect()
}

fn usage_sum(row: &Row) -> Result<UsageSum> {
    Ok(UsageSum {
        key_id: KeyId(unsigned(row, 0)?),
        start: unsigned(row, 1)?,
        protocol: if get::<i16>(row, 2)? == protocol_code(Protocol::Udp) {
            Protocol::Udp
        } else {
            Protocol::Http
        },
        outcome: u16::try_from(get::<i32>(row, 3)?).unwrap_or(u16::MAX),
        count: sum(row, 4)?,
        latency_max_ns: unsigned(row, 5)?,
        latency_sum_ns: sum(row, 6)?.min(i64::MAX as u64),
    })
}
