//! Symbols, their aliases and their markets.

use std::collections::HashMap;

use tokio_postgres::Row;
use trinity_protocol::Symbol;

use super::customers::lock;
use super::parameters::change_stamp;
use super::pool::Session;
use super::sql::{get, integer, number, optional_integer, optional_unsigned, unsigned};
use crate::store::error::{Result, StoreError};
use crate::store::rows::ChangeStamp;
use crate::store::symbols::{
    SymbolAlias, SymbolChange, SymbolDefinition, SymbolMarket, SymbolOrigin, SymbolRecord, SymbolSnapshot,
    seeds,
};

const SYMBOLS: &str = "
    SELECT id, name, base, quote, exponent, tick, min_sources, max_age_ms, hard_age_ms, jump_bps, dispute_bps,
           peg_bps, streamed, routes, retired_at_ns, origin, updated_at_ns
    FROM symbols ORDER BY id";

pub(super) async fn list(session: &mut Session) -> Result<Vec<SymbolRecord>> {
    let rows = session.query(SYMBOLS, &[]).await?;
    let mut records = rows.iter().map(record).collect::<Result<Vec<_>>>()?;
    let places: HashMap<i64, usize> = records.iter().enumerate().map(|(i, r)| (r.id, i)).collect();

    let aliases = "SELECT symbol_id, alias, until_ns FROM symbol_aliases ORDER BY alias";
    for row in session.query(aliases, &[]).await? {
        let alias = SymbolAlias {
            name: symbol(&row, 1)?,
            until_ns: optional_unsigned(&row, 2)?,
        };
        if let Some(place) = places.get(&get(&row, 0)?) {
            records[*place].definition.aliases.push(alias);
        }
    }
    let markets =
        "SELECT symbol_id, venue, spellings, unit_exponent FROM symbol_markets ORDER BY symbol_id, venue";
    for row in session.query(markets, &[]).await? {
        let spellings: &str = get(&row, 2)?;
        let market = SymbolMarket {
            venue: get(&row, 1)?,
            spellings: spellings.split(',').map(str::to_owned).collect(),
            unit_exponent: narrow(get(&row, 3)?),
        };
        if let Some(place) = places.get(&get(&row, 0)?) {
            records[*place].definition.markets.push(market);
        }
    }
    for record in &mut records {
        record.definition.sort();
    }
    Ok(records)
}

pub(super) async fn load(session: &mut Session) -> Result<SymbolSnapshot> {
    Ok(SymbolSnapshot {
        stamp: change_stamp(session).await?,
        symbols: list(session).await?,
    })
}

pub(super) async fn change(
    session: &mut Session,
    change: &SymbolChange,
    seen: Option<ChangeStamp>,
    at_ns: u64,
) -> Result<SymbolRecord> {
    lock(session).await?;
    let now = change_stamp(session).await?;
    if seen.is_some_and(|seen| seen != now) {
        return Err(StoreError::ChangedMeanwhile);
    }
    let mut symbols = list(session).await?;
    let before = symbols.clone();
    let place = change.apply(&mut symbols, at_ns)?;
    // An alias whose time is over may have moved away from another symbol: that row goes first.
    for (old, new) in before.iter().zip(&symbols) {
        if old.id != symbols[place].id && old.definition != new.definition {
            write(session, new, true, false).await?;
        }
    }
    let exists = place < before.len();
    let id = write(session, &symbols[place], exists, false).await?;
    let mut record = symbols.swap_remove(place);
    record.id = id;
    Ok(record)
}

pub(super) async fn seed(session: &mut Session, builtin: &[SymbolDefinition], at_ns: u64) -> Result<u64> {
    lock(session).await?;
    let writes = seeds(&list(session).await?, builtin, at_ns);
    // Names may pass from one row to another, so all of them are given up first.
    for record in writes.iter().filter(|record| record.id != 0) {
        session
            .execute("DELETE FROM symbol_aliases WHERE symbol_id = $1", &[&record.id])
            .await?;
    }
    for record in &writes {
        write(session, record, record.id != 0, true).await?;
    }
    Ok(writes.len() as u64)
}

/// Writes a record and what hangs on it; returns its id.
async fn write(session: &mut Session, record: &SymbolRecord, exists: bool, seeding: bool) -> Result<i64> {
    let definition = &record.definition;
    let routes: Vec<_> = definition.routes.iter().map(Symbol::as_str).collect();
    let sql = if exists {
        "UPDATE symbols SET base = $2, quote = $3, exponent = $4, tick = $5, min_sources = $6,
                max_age_ms = $7, hard_age_ms = $8, jump_bps = $9, dispute_bps = $10, peg_bps = $11,
                streamed = $12, routes = $13, retired_at_ns = $14, updated_at_ns = $15, origin = 'operator'
         WHERE name = $1 RETURNING id"
    } else {
        "INSERT INTO symbols (name, base, quote, exponent, tick, min_sources, max_age_ms, hard_age_ms,
                jump_bps, dispute_bps, peg_bps, streamed, routes, retired_at_ns, updated_at_ns)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) RETURNING id"
    };
    let row = session
        .query_one(
            sql,
            &[
                &definition.name.as_str(),
                &definition.base.as_str(),
                &definition.quote.as_str(),
                &i16::from(definition.exponent),
                &definition.tick,
                &i16::from(definition.min_sources),
                &i64::from(definition.max_age_ms),
                &i64::from(definition.hard_age_ms),
                &i64::from(definition.jump_bps),
                &i64::from(definition.dispute_bps),
                &definition.peg_bps.map(i64::from),
                &definition.streamed,
                &routes.join(","),
                &optional_integer("the time", record.retired_at_ns)?,
                &integer("the time", record.updated_at_ns)?,
            ],
        )
        .await?;
    let id: i64 = get(&row, 0)?;
    session
        .execute("DELETE FROM symbol_aliases WHERE symbol_id = $1", &[&id])
        .await?;
    session
        .execute("DELETE FROM symbol_markets WHERE symbol_id = $1", &[&id])
        .await?;
    for alias in &definition.aliases {
        let until_ns = optional_integer("the alias's end", alias.until_ns)?;
        session
            .execute(
                "INSERT INTO symbol_aliases (alias, symbol_id, until_ns) VALUES ($1, $2, $3)",
                &[&alias.name.as_str(), &id, &until_ns],
            )
            .await?;
    }
    for market in &definition.markets {
        session
            .execute(
                "INSERT INTO symbol_markets (symbol_id, venue, spellings, unit_exponent) VALUES ($1, $2, $3, $4)",
                &[
                    &id,
                    &market.venue,
                    &market.spellings.join(","),
                    &i16::from(market.unit_exponent),
                ],
            )
            .await?;
    }
    if seeding {
        session
            .execute(
                "UPDATE symbols SET origin = 'builtin', seeded = seeded + 1 WHERE id = $1",
                &[&id],
            )
            .await?;
    }
    Ok(id)
}

fn record(row: &Row) -> Result<SymbolRecord> {
    let routes: &str = get(row, 13)?;
    let origin: &str = get(row, 15)?;
    Ok(SymbolRecord {
        id: get(row, 0)?,
        definition: SymbolDefinition {
            name: symbol(row, 1)?,
            base: symbol(row, 2)?,
            quote: symbol(row, 3)?,
            exponent: narrow(get(row, 4)?),
            tick: get(row, 5)?,
            min_sources: narrow(get(row, 6)?).unsigned_abs(),
            max_age_ms: number(unsigned(row, 7)?),
            hard_age_ms: number(unsigned(row, 8)?),
            jump_bps: number(unsigned(row, 9)?),
            dispute_bps: number(unsigned(row, 10)?),
            peg_bps: optional_unsigned(row, 11)?.map(number),
            streamed: get(row, 12)?,
            routes: routes
                .split(',')
                .filter(|name| !name.is_empty())
                .map(symbol_from)
                .collect::<Result<_>>()?,
            aliases: Vec::new(),
            markets: Vec::new(),
        },
        retired_at_ns: optional_unsigned(row, 14)?,
        origin: if origin == SymbolOrigin::Builtin.as_str() {
            SymbolOrigin::Builtin
        } else {
            SymbolOrigin::Operator
        },
        updated_at_ns: unsigned(row, 16)?,
    })
}

/// Narrows what a CHECK keeps within a few.
fn narrow(value: i16) -> i8 {
    i8::try_from(value).unwrap_or(i8::MAX)
}

fn symbol(row: &Row, column: usize) -> Result<Symbol> {
    symbol_from(get(row, column)?)
}

/// A name from a column whose CHECK lets nothing else in.
fn symbol_from(text: &str) -> Result<Symbol> {
    Symbol::new(text).map_err(|error| StoreError::Engine(format!("`{text}`: {error}").into()))
}
