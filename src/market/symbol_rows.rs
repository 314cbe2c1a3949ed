//! Reads symbol rows: plain text, one symbol a line, columns apart by spaces.
//!
//! `symbols.txt` is the built-in table and explains the columns in its head. A recording may
//! bring rows of its own in the same format.

use std::fmt;
use std::str::FromStr;

use trinity_protocol::Symbol;

use super::decimal::Decimal;
use super::symbol::{MAX_ALIASES, MAX_ROUTES, MAX_SPELLINGS};
use super::venue::{VENUES, VenueId};

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

/// Exponents beyond these make no sense for a price and would run out of 64 bits.
const EXPONENTS: std::ops::RangeInclusive<i8> = -15..=0;

/// Why a symbol table cannot be built: where, and what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}, line {line}, {field}: {problem}")]
pub struct SymbolTableError {
    /// What was read.
    pub source_name: String,
    /// Line, from 1.
    pub line: usize,
    /// Column.
    pub field: &'static str,
    /// What is wrong.
    pub problem: String,
}

/// A parsed line; names not yet resolved.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub source: String,
    pub line: usize,
    pub name: Symbol,
    pub base: Symbol,
    pub quote: Symbol,
    pub exponent: i8,
    pub tick: i64,
    pub min_sources: u8,
    pub max_age_ms: u32,
    pub hard_age_ms: u32,
    pub jump_bps: u32,
    pub dispute_bps: u32,
    pub routes: Vec<Symbol>,
    pub aliases: Vec<Symbol>,
    /// A move of a pegged asset's price away from 1 beyond this many basis points is told.
    pub peg_bps: Option<u32>,
    /// Whether venues' streams are asked for it, rather than only their REST on demand.
    pub streamed: bool,
    pub markets: Vec<MarketRow>,
}

#[derive(Debug, Clone)]
pub(super) struct MarketRow {
    pub venue: VenueId,
    pub unit_exponent: i8,
    pub spellings: Vec<Box<str>>,
}

struct Line<'a> {
    source: &'a str,
    number: usize,
    fields: Vec<&'a str>,
}

/// Parses rows; empty lines and lines that begin with `#` are comments.
pub(super) fn parse(source: &str, text: &str) -> Result<Vec<Row>, SymbolTableError> {
    let mut rows = Vec::new();
    for (i, text) in text.lines().enumerate() {
        let fields: Vec<_> = text.split_whitespace().collect();
        if fields.first().is_none_or(|first| first.starts_with('#')) {
            continue;
        }
        rows.push(
            Line {
                source,
                number: i + 1,
                fields,
            }
            .row()?,
        );
    }
    Ok(rows)
}

impl Row {
    pub(super) fn error(&self, field: &'static str, problem: impl fmt::Display) -> SymbolTableError {
        SymbolTableError {
            source_name: self.source.clone(),
            line: self.line,
            field,
            problem: problem.to_string(),
        }
    }
}

impl Line<'_> {
    fn row(&self) -> Result<Row, SymbolTableError> {
        if self.fields.len() < COLUMNS.len() {
            let missing = COLUMNS[self.fields.len()];
            return Err(self.error(missing, "is missing; write - for an empty list"));
        }
        let exponent: i8 = self.number(3, "a power of ten such as -8")?;
        if !EXPONENTS.contains(&exponent) {
            let problem = format!(
                "{exponent} is not within {} and {}",
                EXPONENTS.start(),
                EXPONENTS.end()
            );
            return Err(self.error(COLUMNS[3], problem));
        }
        let (peg_bps, streamed) = self.attributes()?;
        let row = Row {
            source: self.source.to_owned(),
            line: self.number,
            name: self.name(0, self.fields[0])?,
            base: self.name(1, self.fields[1])?,
            quote: self.name(2, self.fields[2])?,
            exponent,
            tick: self.tick(exponent)?,
            min_sources: self.number(5, "a count of venues")?,
            max_age_ms: self.number(6, "a whole number of milliseconds")?,
            hard_age_ms: self.number(7, "a whole number of milliseconds")?,
            jump_bps: self.number(8, "a whole number of basis points")?,
            dispute_bps: self.number(9, "a whole number of basis points")?,
            routes: self.names(10, MAX_ROUTES)?,
            aliases: self.names(ALIASES, MAX_ALIASES)?,
            peg_bps,
            streamed,
            markets: self.fields[COLUMNS.len()..]
                .iter()
                .filter(|text| !text.starts_with('@'))
                .map(|text| self.market(text))
                .collect::<Result<_, _>>()?,
        };
        for (column, zero) in [
            (5, row.min_sources == 0),
            (6, row.max_age_ms == 0),
            (7, row.hard_age_ms == 0),
            (8, row.jump_bps == 0),
            (9, row.dispute_bps == 0),
        ] {
            if zero {
                return Err(self.error(COLUMNS[column], "must be above 0"));
            }
        }
        if row.base == row.quote {
            return Err(self.error(COLUMNS[2], "is the same as the base"));
        }
        for (i, market) in row.markets.iter().enumerate() {
            if row.markets[..i].iter().any(|other| other.venue == market.venue) {
                let problem = format!("{} is named twice; list its spellings with commas", market.venue);
                return Err(self.error("markets", problem));
            }
        }
        Ok(row)
    }

    fn error(&self, field: &'static str, problem: impl fmt::Display) -> SymbolTableError {
        let source_name = self.source.to_owned();
        SymbolTableError {
            source_name,
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

    fn name(&self, column: usize, text: &str) -> Result<Symbol, SymbolTableError> {
        Symbol::new(text).map_err(|error| self.error(COLUMNS[column], format!("`{text}`: {error}")))
    }

    fn names(&self, column: usize, most: usize) -> Result<Vec<Symbol>, SymbolTableError> {
        let text = self.fields[column];
        if text == "-" {
            return Ok(Vec::new());
        }
        let names: Vec<_> = text
            .split(',')
            .map(|name| self.name(column, name))
            .collect::<Result<_, _>>()?;
        if names.len() > most {
            return Err(self.error(
                COLUMNS[column],
                format!("{} entries, at most {most} are kept", names.len()),
            ));
        }
        Ok(names)
    }

    fn tick(&self, exponent: i8) -> Result<i64, SymbolTableError> {
        let text = self.fields[4];
        // Written as a price, kept in units of the exponent; what rounds away was written wrongly.
        let tick = Decimal::parse(text).ok().and_then(|tick| {
            let mantissa = tick.rescale(exponent)?;

            (mantissa > 0 && Decimal::new(mantissa, exponent) == tick).then_some(mantissa)
        });
        tick.ok_or_else(|| {
            self.error(
                COLUMNS[4],
                format!("`{text}` is not a price step of at least 10^{exponent}, such as 0.01"),
            )
        })
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
                    peg_bps = bps.parse().ok()
                }
                _ => return Err(self.error("markets", format!("`{text}` is neither @peg=BPS nor @demand"))),
            }
        }
        Ok((peg_bps, streamed))
    }

    /// `venue=SPELLING[,SPELLING][*1eN]`
    fn market(&self, text: &str) -> Result<MarketRow, SymbolTableError> {
        let Some((venue_name, spellings)) = text.split_once('=') else {
            return Err(self.error("markets", format!("`{text}` is not venue=spelling")));
        };
        let Some(venue) = VenueId::from_name(venue_name) else {
            let known: Vec<_> = VENUES.iter().map(|venue| venue.name).collect();
            return Err(self.error(
                "markets",
                format!("`{venue_name}` is no venue; known: {}", known.join(", ")),
            ));
        };
        let (spellings, unit_exponent) = match spellings.split_once("*1e") {
            None => (spellings, 0),
            Some((spellings, power)) => match power.parse::<i8>() {
                Ok(power) if (-18..=18).contains(&power) => (spellings, power),
                _ => {
                    return Err(self.error(
                        "markets",
                        format!("unit `*1e{power}` of {venue_name} is no power of ten"),
                    ));
                }
            },
        };
        let spellings: Vec<Box<str>> = spellings.split(',').map(Box::from).collect();
        if spellings.len() > MAX_SPELLINGS {
            let problem = format!(
                "{} spellings at {venue_name}, at most {MAX_SPELLINGS} are kept",
                spellings.len()
            );
            return Err(self.error("markets", problem));
        }
        if spellings.iter().any(|spelling| spelling.is_empty()) {
            return Err(self.error("markets", format!("`{text}` has an empty spelling")));
        }
        Ok(MarketRow {
            venue,
            unit_exponent,
            spellings,
        })
    }
}
