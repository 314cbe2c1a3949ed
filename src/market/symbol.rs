//! Symbols, the markets they are traded on, and the ways from one to the other.
//!
//! A *symbol* is what customers ask for (`BTC-USD`). A *market* is one instrument of one venue
//! (`XBT/USD` at Kraken) and prices exactly one symbol directly. What base and quote a venue's
//! spelling stands for is data, never guessed by cutting strings: `symbols.txt` holds the
//! built-in rows, [`super::symbol_rows`] reads them.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use trinity_protocol::Symbol;

use super::aggregate::{MAX_VOTES, Rules};
use super::symbol_rows::{self, Row, SymbolTableError};
use super::venue::VenueId;

/// Most symbols a table holds.
pub const MAX_SYMBOLS: usize = 4_096;
/// Most aliases of one symbol, the generated ones not counted.
pub const MAX_ALIASES: usize = 16;
/// Most conversion routes of one symbol.
pub const MAX_ROUTES: usize = 4;
/// Most spellings of one market.
pub const MAX_SPELLINGS: usize = 8;

const BUILTIN: &str = include_str!("symbols.txt");

/// Row of the symbol table, dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolId(pub u32);

/// Row of the market table (venue x base x quote), dense from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MarketId(pub u32);

/// What customers ask for, and what its price must satisfy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolSpec {
    /// Canonical name, `BASE-QUOTE`.
    pub name: Symbol,
    /// Asset that is priced.
    pub base: Symbol,
    /// Asset it is priced in.
    pub quote: Symbol,
    /// Other names it answers to.
    pub aliases: Vec<Symbol>,
    /// Price = mantissa x 10^exponent, the same for every price of the symbol.
    pub exponent: i8,
    /// Smallest price step that means anything, in units of the exponent.
    pub tick: i64,
    /// Venues needed for a live price.
    pub min_sources: u8,
    /// Quotes older than this are not used; a price older than this is stale.
    pub max_age_ms: u32,
    /// A price older than this is no longer given at all.
    pub hard_age_ms: u32,
    /// A move beyond this many basis points is held until a second tick confirms it.
    pub jump_bps: u32,
    /// Two venues further apart than this many basis points are in dispute.
    pub dispute_bps: u32,
    /// Rates through which quotes in other currencies are converted, best first.
    pub routes: Vec<SymbolId>,
}

/// One instrument of one venue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Market {
    /// Who trades it.
    pub venue: VenueId,
    /// The symbol it prices directly.
    pub symbol: SymbolId,
    /// The venue's price times 10^this is the price of one unit of the base asset; not 0 where
    /// a venue quotes lots of a thousand.
    pub unit_exponent: i8,
    /// How the venue writes it; the first is the one to subscribe with.
    pub spellings: Vec<Box<str>>,
}

/// One venue's seat in the vote on a symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Whose vote it is.
    pub venue: VenueId,
    /// The venue's markets that can fill it, best first: the direct one, then by route.
    pub candidates: Vec<Candidate>,
}

/// One way to a venue's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Market that is quoted.
    pub market: MarketId,
    /// Rate its quotes are converted with, None when it prices the symbol directly.
    pub rate: Option<SymbolId>,
}

/// All symbols, markets and conversion routes, checked and indexed. Immutable: a change builds
/// a new table.
#[derive(Debug)]
pub struct SymbolTable {
    symbols: Vec<SymbolSpec>,
    markets: Vec<Market>,
    by_name: HashMap<Symbol, SymbolId>,
    by_spelling: HashMap<VenueId, HashMap<Box<str>, MarketId>>,
    seats: Vec<Seat>,
    seats_of: Vec<Range<u32>>,
    order: Vec<SymbolId>,
    dependants: Vec<Vec<SymbolId>>,
}

/// Collects rows, then checks them as a whole.
#[derive(Debug, Default)]
pub struct SymbolTableBuilder {
    rows: Vec<Row>,
    max_age_ms: Option<u32>,
    hard_age_ms: Option<u32>,
}

impl SymbolTable {
    /// The table the program comes with.
    pub fn builtin() -> Self {
        Self::builder()
            .and_then(SymbolTableBuilder::build)
            .expect("the built-in rows are part of the program and are checked by its tests")
    }

    /// A builder that starts from the built-in rows.
    pub fn builder() -> Result<SymbolTableBuilder, SymbolTableError> {
        SymbolTableBuilder::default().rows("built-in symbols", BUILTIN)
    }

    /// Number of symbols; ids are 0 to one below.
    pub fn len(&self) -> usize {
        self.symbols.len()
    }

    /// Whether the table has no symbol.
    pub fn is_empty(&self) -> bool {
        self.symbols.is_empty()
    }

    /// Every symbol with its id, in table order.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = (SymbolId, &SymbolSpec)> {
        self.symbols
            .iter()
            .enumerate()
            .map(|(i, spec)| (SymbolId(i as u32), spec))
    }

    /// The symbol of an id this table gave out.
    pub fn symbol(&self, id: SymbolId) -> &SymbolSpec {
        &self.symbols[id.0 as usize]
    }

    /// Every market with its id.
    pub fn markets(&self) -> impl ExactSizeIterator<Item = (MarketId, &Market)> {
        self.markets
            .iter()
            .enumerate()
            .map(|(i, market)| (MarketId(i as u32), market))
    }

    /// The market of an id this table gave out.
    pub fn market(&self, id: MarketId) -> &Market {
        &self.markets[id.0 as usize]
    }

    /// Finds a symbol by name or alias, in any case.
    pub fn resolve(&self, name: &str) -> Option<SymbolId> {
        self.resolve_symbol(Symbol::from_any_case(name).ok()?)
    }

    /// Finds a symbol by name or alias as it travels on the wire.
    pub fn resolve_symbol(&self, name: Symbol) -> Option<SymbolId> {
        self.by_name.get(&name).copied()
    }

    /// Every name and alias with the symbol it stands for.
    pub fn names(&self) -> impl Iterator<Item = (Symbol, SymbolId)> {
        self.by_name.iter().map(|(name, id)| (*name, *id))
    }

    /// Finds a market by the venue's own spelling, exactly as the venue writes it.
    pub fn market_by_spelling(&self, venue: VenueId, spelling: &str) -> Option<MarketId> {
        self.by_spelling.get(&venue)?.get(spelling).copied()
    }

    /// The venues that vote on a symbol, by venue id.
    pub fn seats(&self, id: SymbolId) -> &[Seat] {
        let range = self.seats_of(id);
        &self.seats[range.start as usize..range.end as usize]
    }

    /// Where the seats of a symbol lie among all seats; for state kept beside them.
    pub(super) fn seats_of(&self, id: SymbolId) -> Range<u32> {
        self.seats_of[id.0 as usize].clone()
    }

    pub(super) fn seat_count(&self) -> usize {
        self.seats.len()
    }

    /// Every symbol, each after the rates it is converted with.
    pub(super) fn order(&self) -> &[SymbolId] {
        &self.order
    }

    /// The symbols that convert with this one.
    pub(super) fn dependants(&self, id: SymbolId) -> &[SymbolId] {
        &self.dependants[id.0 as usize]
    }
}

impl SymbolTableBuilder {
    /// Adds rows in the format of `symbols.txt`. A row for a symbol that is already there
    /// replaces it whole. `source` names the text in errors.
    pub fn rows(mut self, source: &str, text: &str) -> Result<Self, SymbolTableError> {
        for row in symbol_rows::parse(source, text)? {
            match self.rows.iter_mut().find(|known| known.name == row.name) {
                Some(known) if known.source == row.source => {
                    return Err(row.error(
                        "symbol",
                        format!("{} is already on line {}", row.name, known.line),
                    ));
                }
                Some(known) => *known = row,
                None => self.rows.push(row),
            }
        }
        Ok(self)
    }

    /// Overrides the age limits of every symbol: what suits a live market does not suit a
    /// recording of one bar a minute.
    #[must_use]
    pub fn ages(mut self, max_age_ms: Option<u32>, hard_age_ms: Option<u32>) -> Self {
        self.max_age_ms = max_age_ms;
        self.hard_age_ms = hard_age_ms;
        self
    }

    /// Checks everything and builds the table.
    pub fn build(self) -> Result<SymbolTable, SymbolTableError> {
        if self.rows.len() > MAX_SYMBOLS {
            let row = &self.rows[MAX_SYMBOLS];
            return Err(row.error("symbol", format!("a table holds at most {MAX_SYMBOLS} symbols")));
        }
        let by_name = index_names(&self.rows)?;
        let mut symbols = Vec::with_capacity(self.rows.len());
        let mut markets = Vec::new();
        let mut by_spelling: HashMap<VenueId, HashMap<Box<str>, MarketId>> = HashMap::new();
        for (i, row) in self.rows.iter().enumerate() {
            let max_age_ms = self.max_age_ms.unwrap_or(row.max_age_ms);
            let hard_age_ms = self.hard_age_ms.unwrap_or(row.hard_age_ms);
            if hard_age_ms < max_age_ms {
                let problem = format!(
                    "{hard_age_ms} is below max_age_ms {max_age_ms}; a price is stale before it is gone"
                );
                return Err(row.error("hard_age_ms", problem));
            }
            symbols.push(SymbolSpec {
                name: row.name,
                base: row.base,
                quote: row.quote,
                aliases: row.aliases.clone(),
                exponent: row.exponent,
                tick: row.tick,
                min_sources: row.min_sources,
                max_age_ms,
                hard_age_ms,
                jump_bps: row.jump_bps,
                dispute_bps: row.dispute_bps,
                routes: resolve_routes(row, &self.rows, &by_name)?,
            });
            for market in &row.markets {
                let id = MarketId(markets.len() as u32);
                for spelling in &market.spellings {
                    let known = by_spelling
                        .entry(market.venue)
                        .or_default()
                        .insert(spelling.clone(), id);
                    if let Some(other) = known {
                        let owner = other.0 as usize;
                        let owner = markets
                            .get(owner)
                            .map_or(row.name, |m: &Market| self.rows[m.symbol.0 as usize].name);
                        let problem =
                            format!("{spelling} of {} is already a market of {owner}", market.venue);
                        return Err(row.error("markets", problem));
                    }
                }
                markets.push(Market {
                    venue: market.venue,
                    symbol: SymbolId(i as u32),
                    unit_exponent: market.unit_exponent,
                    spellings: market.spellings.clone(),
                });
            }
        }
        let order = topological_order(&symbols, &self.rows)?;
        let mut dependants = vec![Vec::new(); symbols.len()];
        let (mut seats, mut seats_of) = (Vec::new(), Vec::new());
        for (i, spec) in symbols.iter().enumerate() {
            for rate in &spec.routes {
                dependants[rate.0 as usize].push(SymbolId(i as u32));
            }
            let start = seats.len() as u32;
            seats.extend(seat_venues(SymbolId(i as u32), &symbols, &markets));
            let end = seats.len() as u32;
            if (end - start) as usize > MAX_VOTES {
                return Err(self.rows[i].error(
                    "markets",
                    format!("at most {MAX_VOTES} venues can vote on a symbol"),
                ));
            }
            seats_of.push(start..end);
        }
        Ok(SymbolTable {
            symbols,
            markets,
            by_name,
            by_spelling,
            seats,
            seats_of,
            order,
            dependants,
        })
    }
}

impl SymbolSpec {
    /// What the aggregation rules ask of this symbol.
    pub fn rules(&self) -> Rules {
        Rules {
            tick: self.tick,
            min_sources: self.min_sources,
            dispute_bps: self.dispute_bps,
        }
    }
}

impl fmt::Display for SymbolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Canonical names and stated aliases must be unique. The usual spellings made from base and
/// quote (`BTC/USD`, `BTC_USD`, `BTCUSD`) are added where they are free and mean one symbol only.
fn index_names(rows: &[Row]) -> Result<HashMap<Symbol, SymbolId>, SymbolTableError> {
    let mut by_name = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        for name in std::iter::once(&row.name).chain(&row.aliases) {
            if let Some(SymbolId(other)) = by_name.insert(*name, SymbolId(i as u32)) {
                let field = if *name == row.name { "symbol" } else { "aliases" };
                return Err(row.error(
                    field,
                    format!("{name} already means {}", rows[other as usize].name),
                ));
            }
        }
    }
    let mut generated: HashMap<Symbol, Option<SymbolId>> = HashMap::new();
    for (i, row) in rows.iter().enumerate() {
        for separator in ["/", "_", ""] {
            // Too long for a symbol means that nobody can ask for it either.
            let Ok(alias) = Symbol::new(&format!("{}{separator}{}", row.base, row.quote)) else {
                continue;
            };
            if !by_name.contains_key(&alias) {
                generated
                    .entry(alias)
                    .and_modify(|owner| *owner = None)
                    .or_insert(Some(SymbolId(i as u32)));
            }
        }
    }
    by_name.extend(
        generated
            .into_iter()
            .filter_map(|(alias, owner)| Some((alias, owner?))),
    );
    Ok(by_name)
}

fn resolve_routes(
    row: &Row,
    rows: &[Row],
    by_name: &HashMap<Symbol, SymbolId>,
) -> Result<Vec<SymbolId>, SymbolTableError> {
    let mut routes = Vec::with_capacity(row.routes.len());
    for name in &row.routes {
        let Some(&id) = by_name.get(name) else {
            return Err(row.error("routes", format!("{name} is no symbol of this table")));
        };
        let rate = &rows[id.0 as usize];
        if rate.quote != row.quote || rate.base == row.base {
            let problem = format!(
                "{name} does not lead to {}; a route is a rate X-{}",
                row.name, row.quote
            );
            return Err(row.error("routes", problem));
        }
        if routes.contains(&id) {
            return Err(row.error("routes", format!("{name} is named twice")));
        }
        routes.push(id);
    }
    Ok(routes)
}

/// Rates before what is converted with them, otherwise in table order.
fn topological_order(symbols: &[SymbolSpec], rows: &[Row]) -> Result<Vec<SymbolId>, SymbolTableError> {
    let mut placed = vec![false; symbols.len()];
    let mut order = Vec::with_capacity(symbols.len());
    while order.len() < symbols.len() {
        let before = order.len();
        for (i, spec) in symbols.iter().enumerate() {
            if !placed[i] && spec.routes.iter().all(|rate| placed[rate.0 as usize]) {
                placed[i] = true;
                order.push(SymbolId(i as u32));
            }
        }
        if order.len() == before {
            let stuck = placed.iter().position(|placed| !placed).unwrap_or(0);
            let names: Vec<_> = symbols
                .iter()
                .zip(&placed)
                .filter(|(_, placed)| !**placed)
                .map(|(s, _)| s.name.to_string())
                .collect();
            let problem = format!(
                "conversion in a circle among {}; remove one of their routes",
                names.join(", ")
            );
            return Err(rows[stuck].error("routes", problem));
        }
    }
    Ok(order)
}

/// One seat per venue: its direct market first, then its markets against the route's currencies.
fn seat_venues(id: SymbolId, symbols: &[SymbolSpec], markets: &[Market]) -> Vec<Seat> {
    let spec = &symbols[id.0 as usize];
    let mut seats: Vec<Seat> = Vec::new();
    for rate in std::iter::once(None).chain(spec.routes.iter().map(|rate| Some(*rate))) {
        let currency = rate.map_or(spec.quote, |rate| symbols[rate.0 as usize].base);
        for (i, market) in markets.iter().enumerate() {
            let priced = &symbols[market.symbol.0 as usize];
            if priced.base != spec.base || priced.quote != currency {
                continue;
            }
            let candidate = Candidate {
                market: MarketId(i as u32),
                rate,
            };
            match seats.iter_mut().find(|seat| seat.venue == market.venue) {
                Some(seat) => seat.candidates.push(candidate),
                None => seats.push(Seat {
                    venue: market.venue,
                    candidates: vec![candidate],
                }),
            }
        }
    }
    seats.sort_by_key(|seat| seat.venue);
    seats
}
