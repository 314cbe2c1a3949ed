//! Reads symbol rows: plain text, one symbol a line, columns apart by spaces.
//!
//! `symbols.txt` is the built-in table and explains the columns in its head. A recording may
//! bring rows of its own in the same format.

use std::fmt;
use std::str::FromStr;

use trinity_protocol::Symbol;

use super::decimal::Decimal;
use super::symbol_row::{SymbolRow, no_tick};

const COLUMNS: [&str; 12] = [
    "symbol",
    "base",
    "quote",
    "exponent",
    "tick",
    "min_sources",
    "max_age_ms",
    "hard_age_ms",
    "jump_bps",
    "dispute_bps",
    "routes",
    "aliases",
];
const ALIASES: usize = COLUMNS.len() - 1;

/// Why a symbol table cannot be built: where, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SymbolTableError {
    /// What was read: a text, or one symbol of the ledger.
    pub source_name: String,
    /// Line, from 1; 0 for a row that stands on none.
    pub line: usize,
    /// Column.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// A row and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub source: String,
    pub line: usize,
    pub row: SymbolRow,
    /// The row's tick in units of its exponent.
    pub tick: i64,
}

struct Line<'a> {
    source: &'a str,
    number: usize,
    fields: Vec<&'a str>,
}

/// Parses rows; empty lines and lines that begin with `#` are comments.
pub(super) fn parse(source: &str, text: &str) -> Result<Vec<Placed>, SymbolTableError> {
    let mut rows = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let fields: Vec<_> = text.split_whitespace().collect();
        if fields.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        let line = Line {
            source,
            number: i + 1,
            fields,
        };
        rows.push(Placed::new(source.to_owned(), line.number, line.row()?)?);
    }
    Ok(rows)
}

impl Placed {
    /// Checks the row by itself.
    pub(super) fn new(source: String, line: usize, row: SymbolRow) -> Result<Self, SymbolTableError> {
        match row.check() {
            Ok(tick) => Ok(Self {
                source,
                line,
                row,
                tick,
            }),
            Err((field, problem)) => Err(SymbolTableError {
                source_name: source,
                line,
                field,
                problem,
            }),
        }
    }

    pub(super) fn error(&self, field: &'static str, problem: impl fmt::Display) -> SymbolTableError {
        SymbolTableError {
            source_name: self.source.clone(),
            line: self.line,
            field,
            problem: problem.to_string(),
        }
    }
}

impl fmt::Display for SymbolTableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, ", self.source_name)?;
        if self.line > 0 {
            write!(f, "line {}, ", self.line)?;
        }
        write!(f, "{}: {}", self.field, self.problem)
    }
}

impl Line<'_> {
    fn row(&self) -> Result<SymbolRow, SymbolTableError> {
        if self.fields.len() < COLUMNS.len() {
            let missing = COLUMNS[self.fields.len()];
            return Err(self.error(missing, "is missing; write - for an empty list"));
        }
        let exponent: i8 = self.number(3, "a power of ten such as -8")?;
        let (peg_bps, streamed) = self.attributes()?;
        let name = |text: &str| Symbol::new(text).map_err(|error| format!("`{text}`: {error}"));
        let at =
            |column: usize| name(self.fields[column]).map_err(|problem| self.error(COLUMNS[column], problem));
        Ok(SymbolRow {
            name: at(0)?,
            base: at(1)?,
            quote: at(2)?,
            exponent,
            tick: Decimal::parse(self.fields[4])
                .map_err(|_| self.error(COLUMNS[4], no_tick(self.fields[4], exponent)))?,
            min_sources: self.number(5, "a count of venues")?,
            max_age_ms: self.number(6, "a whole number of milliseconds")?,
            hard_age_ms: self.number(7, "a whole number of milliseconds")?,
            jump_bps: self.number(8, "a whole number of basis points")?,
            dispute_bps: self.number(9, "a whole number of basis points")?,
            routes: self.list(10, name)?,
            aliases: self.list(ALIASES, str::parse)?,
            peg_bps,
            streamed,
            retired: false,
            markets: self.fields[COLUMNS.len()..]
                .iter()
                .filter(|text| !text.starts_with('@'))
                .map(|text| {
                    text.parse()
                        .map_err(|problem: String| self.error("markets", problem))
                })
                .collect::<Result<_, _>>()?,
        })
    }

    fn error(&self, field: &'static str, problem: impl fmt::Display) -> SymbolTableError {
        SymbolTableError {
            source_name: self.source.to_owned(),
            line: self.number,
            field,
            problem: problem.to_string(),
        }
    }

    fn number<T: FromStr>(&self, column: usize, expected: &str) -> Result<T, SymbolTableError> {
        let text = self.fields[column];
        text.parse()
            .map_err(|_| self.error(COLUMNS[column], format!("`{text}` is not {expected}")))
    }

    /// The entries of a column, apart by commas.
    fn list<T>(
        &self,
        column: usize,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, SymbolTableError> {
        let text = self.fields[column];
        if text == "-" {
            return Ok(Vec::new());
        }
        text.split(',')
            .map(|entry| read(entry).map_err(|problem| self.error(COLUMNS[column], problem)))
            .collect()
    }

    /// `@peg=BPS` and `@demand`, among the markets.
    fn attributes(&self) -> Result<(Option<u32>, bool), SymbolTableError> {
        let (mut peg_bps, mut streamed) = (None, true);
        for text in self.fields[COLUMNS.len()..]
            .iter()
            .filter(|text| text.starts_with('@'))
        {
            match text.split_once('=') {
                None if *text == "@demand" => streamed = false,
                Some(("@peg", bps)) if bps.parse().is_ok_and(|bps: u32| bps > 0) => {
                    peg_bps = bps.parse().ok();
                }
                _ => return Err(self.error("markets", format!("`{text}` is neither @peg=BPS nor @demand"))),
            }
        }
        Ok((peg_bps, streamed))
    }
}
