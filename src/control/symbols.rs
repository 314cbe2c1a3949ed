//! Keeps the market's symbol table in step with the ledger.

use std::sync::Arc;

use crate::market::decimal::Decimal;
use crate::market::symbol::MAX_SYMBOLS;
use crate::market::symbol_row::venue_named;
use crate::market::{Alias, MarketRow, SymbolRow, SymbolTable, SymbolTableBuilder, SymbolTableError};
use crate::store::{
    ChangeStamp, Ledger, MAX_LEDGER_SYMBOLS, StoreError, SymbolAlias, SymbolDefinition, SymbolMarket,
    SymbolRecord,
};

const _: () = assert!(
    MAX_LEDGER_SYMBOLS <= MAX_SYMBOLS,
    "a table must hold what a ledger holds"
);

/// Builds symbol tables from the ledger.
///
/// A symbol keeps its [`SymbolId`](crate::market::SymbolId) as long as the process lives: symbols
/// are never taken out of the tables, only retired, and new ones come behind all others. Across
/// restarts ids follow the ledger's.
pub struct SymbolSync {
    ledger: Arc<dyn Ledger>,
    table: Arc<SymbolTable>,
    /// The rows of `table`, in the order of their ids.
    rows: Vec<SymbolRow>,
    /// What they were made of.
    records: Vec<SymbolRecord>,
    stamp: Option<ChangeStamp>,
    problem: Option<String>,
}

impl SymbolSync {
    /// Brings the program's own symbols into the ledger and builds the first table. If the
    /// ledger's rows do not make one, it is the program's own, and [`SymbolSync::problem`] says
    /// why.
    pub async fn start(ledger: Arc<dyn Ledger>, now_ns: u64) -> Result<Self, StoreError> {
        seed(&*ledger, now_ns).await?;
        let mut sync = Self {
            ledger,
            table: Arc::new(SymbolTable::builtin()),
            rows: Vec::new(),
            records: Vec::new(),
            stamp: None,
            problem: None,
        };
        if sync.poll(now_ns).await?.is_none() {
            sync.begin_with_own(now_ns);
        }
        Ok(sync)
    }

    /// Begins with symbols that the ledger had some time ago, for it cannot be read; with the
    /// program's own if these make no table.
    pub fn of_records(ledger: Arc<dyn Ledger>, records: Vec<SymbolRecord>, now_ns: u64) -> Self {
        let mut sync = Self {
            ledger,
            table: Arc::new(SymbolTable::builtin()),
            rows: Vec::new(),
            records: Vec::new(),
            stamp: None,
            problem: None,
        };
        match rows_of(&records) {
            Ok(rows) if !rows.is_empty() => match build(&rows, now_ns) {
                Ok(table) => {
                    (sync.table, sync.rows, sync.records) = (Arc::new(table), rows, records);
                }
                Err(error) => {
                    sync.keep_because(&error);
                    sync.begin_with_own(now_ns);
                }
            },
            Ok(_) => sync.begin_with_own(now_ns),
            Err(error) => {
                sync.keep_because(&error);
                sync.begin_with_own(now_ns);
            }
        }
        sync
    }

    fn begin_with_own(&mut self, now_ns: u64) {
        self.rows = SymbolTable::builtin_rows();
        let own = build(&self.rows, now_ns)
            .expect("the built-in rows are part of the program and are checked by its tests");
        self.table = Arc::new(own);
    }

    /// The ledger's symbols that the table was made of; none if they are the program's own.
    pub fn records(&self) -> &[SymbolRecord] {
        &self.records
    }

    /// The last table that could be built.
    pub fn table(&self) -> Arc<SymbolTable> {
        Arc::clone(&self.table)
    }

    /// Why the ledger's rows make no table, and what to do about it; the last good table goes on.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Looks whether the ledger's symbols have changed or an alias has ended, and gives the new
    /// table if there is one. A change that makes no table is told by [`SymbolSync::problem`].
    pub async fn poll(&mut self, now_ns: u64) -> Result<Option<Arc<SymbolTable>>, StoreError> {
        let mut rows = None;
        if self.stamp != Some(self.ledger.change_stamp().await?) {
            let snapshot = self.ledger.load_symbols().await?;
            self.stamp = Some(snapshot.stamp);
            match rows_of(&snapshot.symbols).map(|rows| in_order(&self.rows, rows)) {
                Ok(new) => rows = Some((new, snapshot.symbols)),
                Err(error) => self.keep_because(&error),
            }
        }
        match rows {
            None => {}
            // The stamp moves for keys and accounts too, and a bad change may have been undone.
            Some((rows, records)) if rows == self.rows => {
                self.problem = None;
                self.records = records;
            }
            Some((rows, records)) => match build(&rows, now_ns) {
                Ok(table) => {
                    self.problem = None;
                    self.table = Arc::new(table);
                    self.rows = rows;
                    self.records = records;
                    return Ok(Some(self.table()));
                }
                Err(error) => self.keep_because(&error),
            },
        }
        // The rows in use have built a table before, and a name that ends takes nothing away
        // from the others.
        if self.table.next_alias_end_ns().is_some_and(|end| end <= now_ns)
            && let Ok(table) = build(&self.rows, now_ns)
        {
            self.table = Arc::new(table);
            return Ok(Some(self.table()));
        }
        Ok(None)
    }

    fn keep_because(&mut self, error: &SymbolTableError) {
        self.problem = Some(format!(
            "the ledger's symbols make no table: {error}; the table of before goes on until this is put right \
             (see `symbols check`)"
        ));
    }
}

impl std::fmt::Debug for SymbolSync {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SymbolSync")
            .field("stamp", &self.stamp)
            .field("symbols", &self.rows.len())
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

/// Brings the program's own symbols into a ledger; returns how many rows were written.
pub async fn seed(ledger: &dyn Ledger, now_ns: u64) -> Result<u64, StoreError> {
    let builtin: Vec<_> = SymbolTable::builtin_rows().iter().map(definition_of).collect();
    ledger.seed_symbols(&builtin, now_ns).await
}

/// The table that the ledger's symbols make at this time, or why they make none.
pub fn table_of(symbols: &[SymbolRecord], now_ns: u64) -> Result<SymbolTable, SymbolTableError> {
    build(&rows_of(symbols)?, now_ns)
}

/// A row as the ledger keeps it.
pub fn definition_of(row: &SymbolRow) -> SymbolDefinition {
    let mut definition = SymbolDefinition {
        name: row.name,
        base: row.base,
        quote: row.quote,
        exponent: row.exponent,
        tick: row.tick.to_string(),
        min_sources: row.min_sources,
        max_age_ms: row.max_age_ms,
        hard_age_ms: row.hard_age_ms,
        jump_bps: row.jump_bps,
        dispute_bps: row.dispute_bps,
        peg_bps: row.peg_bps,
        streamed: row.streamed,
        routes: row.routes.clone(),
        aliases: row.aliases.iter().map(alias_of).collect(),
        markets: row.markets.iter().map(market_of).collect(),
    };
    definition.sort();
    definition
}

/// An alias as the ledger keeps it.
pub fn alias_of(alias: &Alias) -> SymbolAlias {
    SymbolAlias {
        name: alias.name,
        until_ns: alias.until_ns,
    }
}

/// A market as the ledger keeps it.
pub fn market_of(market: &MarketRow) -> SymbolMarket {
    SymbolMarket {
        venue: market.venue.name().to_owned(),
        spellings: market.spellings.iter().map(ToString::to_string).collect(),
        unit_exponent: market.unit_exponent,
    }
}

fn build(rows: &[SymbolRow], now_ns: u64) -> Result<SymbolTable, SymbolTableError> {
    let mut builder = SymbolTableBuilder::default().now(now_ns);
    for row in rows {
        builder = builder.row(row.clone())?;
    }
    builder.build()
}

fn rows_of(symbols: &[SymbolRecord]) -> Result<Vec<SymbolRow>, SymbolTableError> {
    symbols.iter().map(row_of).collect()
}

fn row_of(record: &SymbolRecord) -> Result<SymbolRow, SymbolTableError> {
    let definition = &record.definition;
    let error = |field, problem| SymbolTableError {
        source_name: format!("symbol {}", definition.name),
        line: 0,
        field,
        problem,
    };
    let tick = &definition.tick;
    let tick = Decimal::parse(tick).map_err(|why| error("tick", format!("`{tick}`: {why}")))?;
    let mut markets = Vec::with_capacity(definition.markets.len());
    for market in &definition.markets {
        markets.push(MarketRow {
            venue: venue_named(&market.venue).map_err(|problem| error("markets", problem))?,
            unit_exponent: market.unit_exponent,
            spellings: market.spellings.iter().map(|text| text.as_str().into()).collect(),
        });
    }
    Ok(SymbolRow {
        name: definition.name,
        base: definition.base,
        quote: definition.quote,
        exponent: definition.exponent,
        tick,
        min_sources: definition.min_sources,
        max_age_ms: definition.max_age_ms,
        hard_age_ms: definition.hard_age_ms,
        jump_bps: definition.jump_bps,
        dispute_bps: definition.dispute_bps,
        routes: definition.routes.clone(),
        aliases: definition
            .aliases
            .iter()
            .map(|alias| Alias {
                name: alias.name,
                until_ns: alias.until_ns,
            })
            .collect(),
        peg_bps: definition.peg_bps,
        streamed: definition.streamed,
        retired: record.retired_at_ns.is_some(),
        markets,
    })
}

/// The new rows in the order of the ids already given out, and what is new behind them. A symbol
/// that is no longer among them is retired.
fn in_order(known: &[SymbolRow], new: Vec<SymbolRow>) -> Vec<SymbolRow> {
    let mut places: std::collections::HashMap<_, _> =
        new.iter().enumerate().map(|(i, row)| (row.name, i)).collect();
    let mut rows = Vec::with_capacity(new.len().max(known.len()));
    for old in known {
        rows.push(match places.remove(&old.name) {
            Some(place) => new[place].clone(),
            None => SymbolRow {
                retired: true,
                ..old.clone()
            },
        });
    }
    rows.extend(new.into_iter().filter(|row| places.contains_key(&row.name)));
    rows
}

#[cfg(test)]
mod tests;
