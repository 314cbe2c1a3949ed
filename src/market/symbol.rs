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

use super::aggregate::Rules;
use super::symbol_build::SymbolTableBuilder;
use super::symbol_row::SymbolRow;
use super::symbol_rows::{self, SymbolTableError};
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
    /// Other names it answers to at the table's time.
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
    /// For an asset that is meant to be worth one unit of its quote currency: a price further
    /// than this many basis points from 1 is off its peg. None for all others.
    pub peg_bps: Option<u32>,
    /// Whether venues' streams are asked for it; otherwise only their REST, when somebody asks.
    pub streamed: bool,
    /// Whether it is no longer offered: it keeps its id, but no name leads to it and no venue
    /// votes on it.
    pub retired: bool,
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
    pub(super) next_alias_end_ns: Option<u64>,
    pub(super) symbols: Vec<SymbolSpec>,
    pub(super) markets: Vec<Market>,
    pub(super) by_name: HashMap<Symbol, SymbolId>,
    pub(super) by_spelling: HashMap<VenueId, HashMap<Box<str>, MarketId>>,
    pub(super) seats: Vec<Seat>,
    pub(super) seats_of: Vec<Range<u32>>,
    pub(super) order: Vec<SymbolId>,
    pub(super) dependants: Vec<Vec<SymbolId>>,
}

impl SymbolTable {
    /// The table the program comes with.
    pub fn builtin() -> Self {
        Self::builder()
            .and_then(SymbolTableBuilder::build)
            .expect("the built-in rows are part of the program and are checked by its tests")
    }

    /// The built-in rows, for a ledger to begin with.
    pub fn builtin_rows() -> Vec<SymbolRow> {
        symbol_rows::parse("built-in symbols", BUILTIN)
            .expect("the built-in rows are part of the program and are checked by its tests")
            .into_iter()
            .map(|placed| placed.row)
            .collect()
    }

    /// A builder that starts from the built-in rows.
    pub fn builder() -> Result<SymbolTableBuilder, SymbolTableError> {
        SymbolTableBuilder::default().rows("built-in symbols", BUILTIN)
    }

    /// When the next alias ends after the time that the table was built for, Unix ns: from then on
    /// the table is out of date and must be built anew.
    pub fn next_alias_end_ns(&self) -> Option<u64> {
        self.next_alias_end_ns
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
