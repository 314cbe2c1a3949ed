//! Symbols, their aliases and their markets.

use std::collections::HashMap;

use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};
use trinity_protocol::Symbol;

use super::{optional_unsigned, settings, sql_integer, unsigned};
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

pub(super) fn list(connection: &Connection) -> Result<Vec<SymbolRecord>> {
    let mut statement = connection.prepare_cached(SYMBOLS)?;
    let mut records = statement
        .query_map([], record)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let places: HashMap<i64, usize> = records.iter().enumerate().map(|(i, r)| (r.id, i)).collect();

    let mut statement =
        connection.prepare_cached("SELECT symbol_id, alias, until_ns FROM symbol_aliases ORDER BY alias")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let alias = SymbolAlias {
            name: symbol(row, 1)?,
            until_ns: optional_unsigned(row, 2)?,
        };
        if let Some(place) = places.get(&row.get(0)?) {
            records[*place].definition.aliases.push(alias);
        }
    }

    let mut statement = connection.prepare_cached(
        "SELECT symbol_id, venue, spellings, unit_exponent FROM symbol_markets ORDER BY symbol_id, venue",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let spellings: String = row.get(2)?;
        let market = SymbolMarket {
            venue: row.get(1)?,
            spellings: spellings.split(',').map(str::to_owned).collect(),
            unit_exponent: row.get(3)?,
        };
        if let Some(place) = places.get(&row.get(0)?) {
            records[*place].definition.markets.push(market);
        }
    }
    for record in &mut records {
        record.definition.sort();
    }
    Ok(records)
}

pub(super) fn load(connection: &Connection) -> Result<SymbolSnapshot> {
    Ok(SymbolSnapshot {
        stamp: settings::change_stamp(connection)?,
        symbols: list(connection)?,
    })
}

pub(super) fn change(
    connection: &Connection,
    change: &SymbolChange,
    seen: Option<ChangeStamp>,
    at_ns: u64,
) -> Result<SymbolRecord> {
    let now = settings::change_stamp(connection)?;
    if seen.is_some_and(|seen| seen != now) {
        return Err(StoreError::ChangedMeanwhile);
    }
    let mut symbols = list(connection)?;
    let before = symbols.clone();
    let place = change.apply(&mut symbols, at_ns)?;
    // An alias whose time is over may have moved away from another symbol: that row goes first.
    for (old, new) in before.iter().zip(&symbols) {
        if old.id != symbols[place].id && old.definition != new.definition {
            write(connection, new, true, false)?;
        }
    }
    let exists = place < before.len();
    let id = write(connection, &symbols[place], exists, false)?;
    let mut record = symbols.swap_remove(place);
    record.id = id;
    Ok(record)
}

pub(super) fn seed(connection: &Connection, builtin: &[SymbolDefinition], at_ns: u64) -> Result<u64> {
    let writes = seeds(&list(connection)?, builtin, at_ns);
    // Names may pass from one row to another, so all of them are given up first.
    for record in writes.iter().filter(|record| record.id != 0) {
        connection
            .prepare_cached("DELETE FROM symbol_aliases WHERE symbol_id = ?1")?
            .execute([record.id])?;
    }
    for record in &writes {
        write(connection, record, record.id != 0, true)?;
    }
    Ok(writes.len() as u64)
}

/// Writes a record and what hangs on it; returns its id.
fn write(connection: &Connection, record: &SymbolRecord, exists: bool, seeding: bool) -> Result<i64> {
    let definition = &record.definition;
    let routes: Vec<_> = definition.routes.iter().map(Symbol::as_str).collect();
    let values = params![
        definition.name.as_str(),
        definition.base.as_str(),
        definition.quote.as_str(),
        definition.exponent,
        definition.tick,
        definition.min_sources,
        definition.max_age_ms,
        definition.hard_age_ms,
        definition.jump_bps,
        definition.dispute_bps,
        definition.peg_bps,
        definition.streamed,
        routes.join(","),
        record
            .retired_at_ns
            .map(|at| sql_integer("the time", at))
            .transpose()?,
        sql_integer("the time", record.updated_at_ns)?,
    ];
    let id: i64 = if exists {
        connection
            .prepare_cached(
                "UPDATE symbols SET base = ?2, quote = ?3, exponent = ?4, tick = ?5, min_sources = ?6,
                        max_age_ms = ?7, hard_age_ms = ?8, jump_bps = ?9, dispute_bps = ?10, peg_bps = ?11,
                        streamed = ?12, routes = ?13, retired_at_ns = ?14, updated_at_ns = ?15, origin = 'operator'
                 WHERE name = ?1 RETURNING id",
            )?
            .query_row(values, |row| row.get(0))?
    } else {
        connection
            .prepare_cached(
                "INSERT INTO symbols (name, base, quote, exponent, tick, min_sources, max_age_ms, hard_age_ms,
                        jump_bps, dispute_bps, peg_bps, streamed, routes, retired_at_ns, updated_at_ns)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) RETURNING id",
            )?
            .query_row(values, |row| row.get(0))?
    };
    connection
        .prepare_cached("DELETE FROM symbol_aliases WHERE symbol_id = ?1")?
        .execute([id])?;
    connection
        .prepare_cached("DELETE FROM symbol_markets WHERE symbol_id = ?1")?
        .execute([id])?;
    let mut insert = connection
        .prepare_cached("INSERT INTO symbol_aliases (alias, symbol_id, until_ns) VALUES (?1, ?2, ?3)")?;
    for alias in &definition.aliases {
        let until_ns = alias
            .until_ns
            .map(|at| sql_integer("the alias's end", at))
            .transpose()?;
        insert.execute(params![alias.name.as_str(), id, until_ns])?;
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO symbol_markets (symbol_id, venue, spellings, unit_exponent) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for market in &definition.markets {
        insert.execute(params![
            id,
            market.venue,
            market.spellings.join(","),
            market.unit_exponent
        ])?;
    }
    if seeding {
        connection
            .prepare_cached("UPDATE symbols SET origin = 'builtin', seeded = seeded + 1 WHERE id = ?1")?
            .execute([id])?;
    }
    Ok(id)
}

fn record(row: &Row<'_>) -> rusqlite::Result<SymbolRecord> {
    let routes: String = row.get(13)?;
    let origin: String = row.get(15)?;
    Ok(SymbolRecord {
        id: row.get(0)?,
        definition: SymbolDefinition {
            name: symbol(row, 1)?,
            base: symbol(row, 2)?,
            quote: symbol(row, 3)?,
            exponent: row.get(4)?,
            tick: row.get(5)?,
            min_sources: row.get(6)?,
            max_age_ms: row.get(7)?,
            hard_age_ms: row.get(8)?,
            jump_bps: row.get(9)?,
            dispute_bps: row.get(10)?,
            peg_bps: row.get(11)?,
            streamed: row.get(12)?,
            routes: routes
                .split(',')
                .filter(|name| !name.is_empty())
                .map(|name| symbol_from(13, name))
                .collect::<rusqlite::Result<_>>()?,
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

fn symbol(row: &Row<'_>, column: usize) -> rusqlite::Result<Symbol> {
    let text: String = row.get(column)?;
    symbol_from(column, &text)
}

/// A name from a column whose CHECK lets nothing else in.
fn symbol_from(column: usize, text: &str) -> rusqlite::Result<Symbol> {
    Symbol::new(text).map_err(|error| {
        let problem = format!("`{text}`: {error}");
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, problem.into())
    })
}
