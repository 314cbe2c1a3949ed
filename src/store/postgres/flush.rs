//! The flush that is applied once, with all its sums in the same transaction.
//!
//! The program adds up; the server takes the rows by COPY into a temporary table and from there with
//! one statement for each table. Every flush goes through tables and rows in the same order, so that
//! two nodes wait for each other and never lock each other out.

use std::pin::pin;

use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;
use trinity_protocol::{KeyId, Symbol};

use super::pool::Session;
use super::sql::{get, integer, unsigned};
use super::sums::{protocol_code, table_of};
use crate::store::error::{Result, StoreError};
use crate::store::rows::{FlushId, FlushOutcome, Grain, Protocol, SymbolUsageRow, UsageRow, month_start};

/// Made once on each connection; empty between transactions.
pub(super) const STAGING: &str = "
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_usage (
        grain integer NOT NULL, start bigint NOT NULL, key_id bigint NOT NULL, protocol smallint NOT NULL,
        outcome integer NOT NULL, count bigint NOT NULL, latency_sum_ns bigint NOT NULL, latency_max_ns bigint NOT NULL
    ) ON COMMIT DELETE ROWS;
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_symbols (
        grain integer NOT NULL, start bigint NOT NULL, key_id bigint NOT NULL, symbol text COLLATE \"C\" NOT NULL,
        status smallint NOT NULL, entries bigint NOT NULL
    ) ON COMMIT DELETE ROWS;";

const GRAINS: [Grain; 4] = [Grain::Second, Grain::Minute, Grain::Hour, Grain::Day];
const SYMBOL_GRAINS: [(Grain, &str, &str); 3] = [
    (Grain::Second, "usage_symbols", "second"),
    (Grain::Hour, "usage_symbols_hours", "start"),
    (Grain::Day, "usage_symbols_days", "start"),
];

/// Whether seconds that were dropped from the ledger are left out: only their sums are kept.
const KEPT: &str = "AND start >= (SELECT from_second FROM usage_kept WHERE id = 1)";

/// A flush, added up and in the order of the tables' keys.
pub(super) struct Batch {
    id: FlushId,
    sums: Sums,
    usage: Vec<(Grain, Vec<(UsageKey, Span)>)>,
    symbols: Vec<(Grain, Vec<(SymbolKey, u64)>)>,
    months: Vec<((u64, KeyId), Month)>,
}

type UsageKey = (u64, KeyId, Protocol, u16);
type SymbolKey = (u64, KeyId, Symbol, u8);

/// What a flush holds in all. Equal sums under one id are a retry.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Sums {
    usage_rows: i64,
    requests: i64,
    symbol_rows: i64,
    entries: i64,
}

#[derive(Clone, Copy)]
struct Span {
    count: u64,
    latency_sum_ns: u64,
    latency_max_ns: u64,
}

#[derive(Clone, Copy)]
struct Month {
    requests: u64,
    charged: u64,
}

impl Batch {
    /// Adds up. The flush's own sums show that no count passes 63 bits.
    pub(super) fn new(id: &FlushId, usage: &[UsageRow], symbols: &[SymbolUsageRow]) -> Result<Self> {
        let sums = Sums {
            usage_rows: usage.len() as i64,
            requests: sum("the flush's requests", usage.iter().map(|row| row.count))?,
            symbol_rows: symbols.len() as i64,
            entries: sum("the flush's entries", symbols.iter().map(|row| row.entries))?,
        };
        let rows = usage.iter().map(|row| {
            let span = Span {
                count: row.count,
                latency_sum_ns: row.latency_sum_ns,
                latency_max_ns: row.latency_max_ns,
            };
            ((row.second, row.key_id, row.protocol, row.outcome), span)
        });
        let mut spans: Vec<(Grain, Vec<(UsageKey, Span)>)> = Vec::with_capacity(GRAINS.len());
        let mut finer = merged(rows.collect(), Span::add);
        for grain in GRAINS {
            let coarser = finer.iter().map(|((start, key, protocol, outcome), span)| {
                (
                    (start - start % grain.seconds(), *key, *protocol, *outcome),
                    *span,
                )
            });
            finer = merged(coarser.collect(), Span::add);
            spans.push((grain, finer.clone()));
        }
        let months = finer.iter().map(|((day, key, _, outcome), span)| {
            let month = Month {
                requests: span.count,
                charged: if *outcome == 0 { span.count } else { 0 },
            };
            ((month_start(*day), *key), month)
        });
        let mut entries = Vec::with_capacity(SYMBOL_GRAINS.len());
        for (grain, ..) in SYMBOL_GRAINS {
            let rows = symbols.iter().map(|row| {
                let start = row.second - row.second % grain.seconds();
                ((start, row.key_id, row.symbol, row.status), row.entries)
            });
            entries.push((grain, merged(rows.collect(), |sum, more| *sum += more)));
        }
        Ok(Self {
            id: id.clone(),
            sums,
            months: merged(months.collect(), |sum: &mut Month, more| {
                sum.requests += more.requests;
                sum.charged += more.charged;
            }),
            usage: spans,
            symbols: entries,
        })
    }

    /// The UTC days it has rows of, counted from the Unix epoch, rising.
    pub(super) fn days(&self) -> Vec<i64> {
        let usage = self
            .usage
            .last()
            .into_iter()
            .flat_map(|(_, rows)| rows.iter().map(|((day, ..), _)| *day));
        let symbols = self
            .symbols
            .last()
            .into_iter()
            .flat_map(|(_, rows)| rows.iter().map(|((day, ..), _)| *day));
        let mut days: Vec<_> = usage
            .chain(symbols)
            .map(|start| (start / Grain::Day.seconds()) as i64)
            .collect();
        days.sort_unstable();
        days.dedup();
        days
    }
}

/// Applies a flush inside the caller's transaction. What is recorded of the counter tells whether
/// the rows are there already, because both are committed together.
pub(super) async fn flush(session: &mut Session, batch: &Batch) -> Result<FlushOutcome> {
    if !is_new(session, batch).await? {
        return Ok(FlushOutcome::AlreadyApplied);
    }
    if batch.sums.usage_rows > 0 {
        stage_usage(session, batch).await?;
        add_usage(session, batch).await?;
    }
    if batch.sums.symbol_rows > 0 {
        stage_symbols(session, batch).await?;
        add_symbols(session).await?;
    }
    Ok(FlushOutcome::Applied)
}

/// The sequence of a counter's last flush.
pub(super) async fn last_flush(
    session: &mut Session,
    node: &str,
    boot: u64,
    shard: u32,
) -> Result<Option<u64>> {
    let row = session
        .query_opt(
            "SELECT sequence FROM flushes WHERE node = $1 AND boot = $2 AND shard = $3",
            &[&node, &(boot as i64), &i64::from(shard)],
        )
        .await?;
    row.as_ref().map(|row| unsigned(row, 0)).transpose()
}

/// Records the flush, if its counter's last one was another and earlier. Takes the counter's row
/// either way, so that of two tries at once the second sees what the first has done.
async fn is_new(session: &mut Session, batch: &Batch) -> Result<bool> {
    let (id, sums) = (&batch.id, &batch.sums);
    // Every bit pattern of the boot is a number of its own; only equality matters.
    let (boot, shard) = (id.boot as i64, i64::from(id.shard));
    let sequence = integer("the flush's sequence", id.sequence)?;
    let recorded = session
        .execute(
            "INSERT INTO flushes AS f (node, boot, shard, sequence, usage_rows, requests, symbol_rows, entries,
                    total_usage_rows, total_requests, total_symbol_rows, total_entries)
             VALUES ($1, $2, $3, $4, $5::bigint, $6::bigint, $7::bigint, $8::bigint,
                     $5::bigint, $6::bigint, $7::bigint, $8::bigint)
             ON CONFLICT (node, boot, shard) DO UPDATE SET
                 sequence = excluded.sequence, applied_at = excluded.applied_at,
                 usage_rows = excluded.usage_rows, requests = excluded.requests,
                 symbol_rows = excluded.symbol_rows, entries = excluded.entries,
                 total_usage_rows = f.total_usage_rows + excluded.usage_rows,
                 total_requests = f.total_requests + excluded.requests,
                 total_symbol_rows = f.total_symbol_rows + excluded.symbol_rows,
                 total_entries = f.total_entries + excluded.entries
             WHERE f.sequence < excluded.sequence",
            &[
                &id.node,
                &boot,
                &shard,
                &sequence,
                &sums.usage_rows,
                &sums.requests,
                &sums.symbol_rows,
                &sums.entries,
            ],
        )
        .await?;
    if recorded > 0 {
        return Ok(true);
    }
    let row = session
        .query_one(
            "SELECT sequence, usage_rows, requests, symbol_rows, entries FROM flushes
             WHERE node = $1 AND boot = $2 AND shard = $3",
            &[&id.node, &boot, &shard],
        )
        .await?;
    let applied = Sums {
        usage_rows: get(&row, 1)?,
        requests: get(&row, 2)?,
        symbol_rows: get(&row, 3)?,
        entries: get(&row, 4)?,
    };
    if get::<i64>(&row, 0)? == sequence && applied != *sums {
        return Err(StoreError::FlushIdReused {
            id: id.to_string(),
            applied: applied.to_string(),
            offered: sums.to_string(),
        });
    }
    Ok(false)
}

async fn stage_usage(session: &mut Session, batch: &Batch) -> Result<()> {
    let copied = {
        let (client, statement) = session
            .copying("COPY pg_temp.staged_usage FROM STDIN (FORMAT binary)")
            .await?;
        let types = [
            Type::INT4,
            Type::INT8,
            Type::INT8,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::INT8,
            Type::INT8,
        ];
        async {
            let sink = client.copy_in(&statement).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for (grain, rows) in &batch.usage {
                let grain = grain.seconds() as i32;
                for ((start, key_id, protocol, outcome), span) in rows {
                    let row: [&(dyn tokio_postgres::types::ToSql + Sync); 8] = [
                        &grain,
                        &(*start as i64),
                        &(key_id.0 as i64),
                        &protocol_code(*protocol),
                        &i32::from(*outcome),
                        &(span.count as i64),
                        &saturated(span.latency_sum_ns),
                        &saturated(span.latency_max_ns),
                    ];
                    writer.as_mut().write(&row).await?;
                }
            }
            writer.finish().await
        }
        .await
    };
    session.checked(copied)?;
    Ok(())
}

async fn stage_symbols(session: &mut Session, batch: &Batch) -> Result<()> {
    let copied = {
        let (client, statement) = session
            .copying("COPY pg_temp.staged_symbols FROM STDIN (FORMAT binary)")
            .await?;
        let types = [
            Type::INT4,
            Type::INT8,
            Type::INT8,
            Type::TEXT,
            Type::INT2,
            Type::INT8,
        ];
        async {
            let sink = client.copy_in(&statement).await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
            for (grain, rows) in &batch.symbols {
                let grain = grain.seconds() as i32;
                for ((start, key_id, symbol, status), entries) in rows {
                    let row: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
                        &grain,
                        &(*start as i64),
                        &(key_id.0 as i64),
                        &symbol.as_str(),
                        &i16::from(*status),
                        &(*entries as i64),
                    ];
                    writer.as_mut().write(&row).await?;
                }
            }
            writer.finish().await
        }
        .await
    };
    session.checked(copied)?;
    Ok(())
}

async fn add_usage(session: &mut Session, batch: &Batch) -> Result<()> {
    for grain in GRAINS {
        let (table, start) = table_of(grain);
        let seconds = grain.seconds();
        let by_node = matches!(grain, Grain::Hour | Grain::Day);
        let (column, value) = if by_node { (", node", ", $1") } else { ("", "") };
        let kept = if grain == Grain::Second { KEPT } else { "" };
        // Latency is a statistic: its sum stops at the end rather than holding up the bill. A count
        // that passes 63 bits refuses the flush.
        let sql = format!(
            "INSERT INTO {table} AS u ({start}, key_id, protocol, outcome{column}, count, latency_sum_ns, latency_max_ns)
             SELECT start, key_id, protocol, outcome{value}, count, latency_sum_ns, latency_max_ns
             FROM pg_temp.staged_usage WHERE grain = {seconds} {kept}
             ORDER BY start, key_id, protocol, outcome
             ON CONFLICT ({start}, key_id, protocol, outcome{column}) DO UPDATE SET
                 count = u.count + excluded.count,
                 latency_sum_ns = CASE WHEN u.latency_sum_ns > 9223372036854775807 - excluded.latency_sum_ns
                     THEN 9223372036854775807 ELSE u.latency_sum_ns + excluded.latency_sum_ns END,
                 latency_max_ns = greatest(u.latency_max_ns, excluded.latency_max_ns)"
        );
        if by_node {
            session.execute(&sql, &[&batch.id.node]).await?;
        } else {
            session.execute(&sql, &[]).await?;
        }
    }
    let column = |of: fn(&((u64, KeyId), Month)) -> u64| -> Vec<i64> {
        batch.months.iter().map(|month| of(month) as i64).collect()
    };
    session
        .execute(
            "INSERT INTO usage_months AS u (start, key_id, requests, charged)
             SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[])
                 AS m (start, key_id, requests, charged)
             ORDER BY start, key_id
             ON CONFLICT (start, key_id) DO UPDATE SET
                 requests = u.requests + excluded.requests, charged = u.charged + excluded.charged",
            &[
                &column(|month| month.0.0),
                &column(|month| month.0.1.0),
                &column(|month| month.1.requests),
                &column(|month| month.1.charged),
            ],
        )
        .await?;
    Ok(())
}

async fn add_symbols(session: &mut Session) -> Result<()> {
    for (grain, table, start) in SYMBOL_GRAINS {
        let seconds = grain.seconds();
        let kept = if grain == Grain::Second { KEPT } else { "" };
        let sql = format!(
            "INSERT INTO {table} AS u ({start}, key_id, symbol, status, entries)
             SELECT start, key_id, symbol, status, entries
             FROM pg_temp.staged_symbols WHERE grain = {seconds} {kept}
             ORDER BY start, key_id, symbol, status
             ON CONFLICT ({start}, key_id, symbol, status) DO UPDATE SET entries = u.entries + excluded.entries"
        );
        session.execute(&sql, &[]).await?;
    }
    Ok(())
}

/// Sorts, and adds up what has one key.
fn merged<K: Ord, V: Copy>(mut rows: Vec<(K, V)>, add: impl Fn(&mut V, V)) -> Vec<(K, V)> {
    // Stable: nearly sorted rows, as they come, are quick.
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows.dedup_by(|more, sum| {
        let same = more.0 == sum.0;
        if same {
            add(&mut sum.1, more.1);
        }
        same
    });
    rows
}

impl Span {
    fn add(&mut self, more: Self) {
        self.count += more.count;
        self.latency_sum_ns = self.latency_sum_ns.saturating_add(more.latency_sum_ns);
        self.latency_max_ns = self.latency_max_ns.max(more.latency_max_ns);
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
    integer(what, total)
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
