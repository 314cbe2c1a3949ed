//! Symbols in the ledger: their rows, how operators change them, and how the program's own
//! table gets in.
//!
//! What a change does to the rows is worked out here, without any engine, so that every home
//! does the same with the same words and a command can look at the result before it is written.
//! The store does not know venues: whether rows make a table is for who reads them.

use std::collections::{HashMap, HashSet};
use std::fmt;

use trinity_protocol::Symbol;

use super::error::{Result, StoreError};
use super::rows::ChangeStamp;
use super::validate;

/// Most symbols that a ledger holds.
pub const MAX_LEDGER_SYMBOLS: usize = 4_096;

/// What a symbol is: everything but its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolDefinition {
    /// Canonical name, `BASE-QUOTE`; kept for ever.
    pub name: Symbol,
    /// Asset that is priced; kept for ever.
    pub base: Symbol,
    /// Asset it is priced in; kept for ever.
    pub quote: Symbol,
    /// Price = mantissa x 10^exponent; -15 to 0.
    pub exponent: i8,
    /// Smallest price step that means anything, as exact decimal text.
    pub tick: String,
    /// Venues needed for a live price, 1 to 16.
    pub min_sources: u8,
    /// Older quotes are not used, an older price is stale; milliseconds, from 1.
    pub max_age_ms: u32,
    /// An older price is not given at all; milliseconds, from `max_age_ms`.
    pub hard_age_ms: u32,
    /// A move beyond this is held until it is confirmed; basis points, from 1.
    pub jump_bps: u32,
    /// Two venues further apart are in dispute; basis points, from 1.
    pub dispute_bps: u32,
    /// How far from 1 a pegged asset is off its peg; basis points, from 1.
    pub peg_bps: Option<u32>,
    /// Whether venues are asked to stream it, rather than asked when somebody asks.
    pub streamed: bool,
    /// Names of the rates that quotes in other currencies are converted with, best first.
    pub routes: Vec<Symbol>,
    /// Other names, sorted.
    pub aliases: Vec<SymbolAlias>,
    /// Its markets, sorted by venue, one per venue.
    pub markets: Vec<SymbolMarket>,
}

/// Another name of a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolAlias {
    /// The name.
    pub name: Symbol,
    /// From then on it is unknown, Unix ns below 2^63; `None` for a name that stays.
    pub until_ns: Option<u64>,
}

/// A symbol's market at one venue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolMarket {
    /// The venue's name, lower case.
    pub venue: String,
    /// How the venue writes it, 1 to 8; the first is the one to subscribe with.
    pub spellings: Vec<String>,
    /// The venue's price times 10^this is the price of one unit.
    pub unit_exponent: i8,
}

/// Who a symbol's row is kept by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolOrigin {
    /// The program: the row follows the built-in table of the newest program that opened the ledger.
    Builtin,
    /// An operator made or changed it; the program leaves it alone.
    Operator,
}

/// A symbol of the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolRecord {
    /// Its number: rises with every symbol added and is never given out twice.
    pub id: i64,
    /// What it is.
    pub definition: SymbolDefinition,
    /// When it was retired, if it was: it keeps its number, and nobody can ask for it.
    pub retired_at_ns: Option<u64>,
    /// Who keeps it.
    pub origin: SymbolOrigin,
    /// When it was last changed.
    pub updated_at_ns: u64,
}

/// Every symbol, read at one instant together with its stamp.
#[derive(Clone, Debug)]
pub struct SymbolSnapshot {
    /// The stamp that the symbols belong to.
    pub stamp: ChangeStamp,
    /// Every symbol, retired ones included, by rising id.
    pub symbols: Vec<SymbolRecord>,
}

/// What of a symbol is to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SymbolPatch {
    /// See [`SymbolDefinition::exponent`].
    pub exponent: Option<i8>,
    /// See [`SymbolDefinition::tick`].
    pub tick: Option<String>,
    /// See [`SymbolDefinition::min_sources`].
    pub min_sources: Option<u8>,
    /// See [`SymbolDefinition::max_age_ms`].
    pub max_age_ms: Option<u32>,
    /// See [`SymbolDefinition::hard_age_ms`].
    pub hard_age_ms: Option<u32>,
    /// See [`SymbolDefinition::jump_bps`].
    pub jump_bps: Option<u32>,
    /// See [`SymbolDefinition::dispute_bps`].
    pub dispute_bps: Option<u32>,
    /// See [`SymbolDefinition::peg_bps`]; `Some(None)` takes the peg away.
    pub peg_bps: Option<Option<u32>>,
    /// See [`SymbolDefinition::streamed`].
    pub streamed: Option<bool>,
    /// See [`SymbolDefinition::routes`].
    pub routes: Option<Vec<Symbol>>,
    /// Markets to add; one at a venue that has one already takes its place.
    pub markets: Vec<SymbolMarket>,
    /// Venues whose market is to go.
    pub no_markets: Vec<String>,
}

/// One change that an operator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolChange {
    /// A new symbol.
    Add(Box<SymbolDefinition>),
    /// Other fields.
    Set {
        /// Which symbol, by canonical name.
        name: Symbol,
        /// What changes.
        patch: Box<SymbolPatch>,
    },
    /// Another name, or another end for a name the symbol has already.
    AddAlias {
        /// Which symbol, by canonical name.
        name: Symbol,
        /// The other name and its end.
        alias: SymbolAlias,
    },
    /// An end for a name, at a time that may be now.
    EndAlias {
        /// Whose name it is, by canonical name.
        name: Symbol,
        /// The name that ends.
        alias: Symbol,
        /// From then on it is unknown, Unix ns.
        until_ns: u64,
    },
    /// The symbol is offered no more. Doing it again keeps the first time.
    Retire {
        /// Which symbol, by canonical name.
        name: Symbol,
    },
    /// The symbol is offered again.
    Restore {
        /// Which symbol, by canonical name.
        name: Symbol,
    },
}

impl SymbolChange {
    /// Applies the change to every symbol of a ledger and returns the place of the one that it
    /// is about. The record is an operator's from then on. A new symbol's id is one above the
    /// highest; the ledger itself may give a higher one. After an error `symbols` is of no use.
    pub fn apply(&self, symbols: &mut Vec<SymbolRecord>, now_ns: u64) -> Result<usize> {
        let place = match self {
            Self::Add(definition) => add(symbols, definition)?,
            Self::Set { name, patch } => {
                let place = find(symbols, *name)?;
                patch.apply(&mut symbols[place].definition)?;
                place
            }
            Self::AddAlias { name, alias } => add_alias(symbols, *name, *alias, now_ns)?,
            Self::EndAlias {
                name,
                alias,
                until_ns,
            } => {
                let place = find(symbols, *name)?;
                let mut aliases = symbols[place].definition.aliases.iter_mut();
                let entry = aliases.find(|known| known.name == *alias);
                let (name, alias) = (*name, *alias);
                let entry = entry.ok_or(StoreError::NoSuchAlias { name, alias })?;
                // What has ended has ended.
                let until_ns = (*until_ns).max(1);
                entry.until_ns = Some(entry.until_ns.map_or(until_ns, |end| end.min(until_ns)));
                place
            }
            Self::Retire { name } => {
                let place = find(symbols, *name)?;
                symbols[place].retired_at_ns.get_or_insert(now_ns);
                place
            }
            Self::Restore { name } => {
                let place = find(symbols, *name)?;
                symbols[place].retired_at_ns = None;
                place
            }
        };
        let record = &mut symbols[place];
        record.definition.sort();
        validate::symbol(&record.definition)?;
        record.origin = SymbolOrigin::Operator;
        record.updated_at_ns = now_ns;
        Ok(place)
    }
}

fn find(symbols: &[SymbolRecord], name: Symbol) -> Result<usize> {
    symbols
        .iter()
        .position(|record| record.definition.name == name)
        .ok_or(StoreError::NoSuchSymbol { name })
}

fn add(symbols: &mut Vec<SymbolRecord>, definition: &SymbolDefinition) -> Result<usize> {
    if find(symbols, definition.name).is_ok() {
        return Err(StoreError::SymbolExists {
            name: definition.name,
        });
    }
    if symbols.len() >= MAX_LEDGER_SYMBOLS {
        return Err(StoreError::Invalid {
            what: "the symbol",
            why: "is one more than the 4096 that a ledger holds",
        });
    }
    for alias in &definition.aliases {
        if let Some(owner) = owner_of(symbols, alias.name) {
            let (alias, owner) = (alias.name, symbols[owner].definition.name);
            return Err(StoreError::AliasTaken { alias, owner });
        }
    }
    let id = symbols.iter().map(|record| record.id).max().unwrap_or(0) + 1;
    symbols.push(SymbolRecord {
        id,
        definition: definition.clone(),
        retired_at_ns: None,
        origin: SymbolOrigin::Operator,
        updated_at_ns: 0,
    });
    Ok(symbols.len() - 1)
}

fn owner_of(symbols: &[SymbolRecord], alias: Symbol) -> Option<usize> {
    let has = |record: &SymbolRecord| record.definition.aliases.iter().any(|known| known.name == alias);
    symbols.iter().position(has)
}

fn add_alias(symbols: &mut [SymbolRecord], name: Symbol, alias: SymbolAlias, now_ns: u64) -> Result<usize> {
    let place = find(symbols, name)?;
    if let Some(owner) = owner_of(symbols, alias.name) {
        let known = &mut symbols[owner].definition.aliases;
        let over = |known: &SymbolAlias| known.until_ns.is_some_and(|end| end <= now_ns);
        // Its own name gets the new end; another symbol's only once its time is over.
        if owner != place && !known.iter().any(|known| known.name == alias.name && over(known)) {
            let owner = symbols[owner].definition.name;
            return Err(StoreError::AliasTaken {
                alias: alias.name,
                owner,
            });
        }
        known.retain(|known| known.name != alias.name);
    }
    symbols[place].definition.aliases.push(alias);
    Ok(place)
}

impl SymbolPatch {
    fn apply(&self, to: &mut SymbolDefinition) -> Result<()> {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut to.exponent, self.exponent.as_ref());
        set(&mut to.tick, self.tick.as_ref());
        set(&mut to.min_sources, self.min_sources.as_ref());
        set(&mut to.max_age_ms, self.max_age_ms.as_ref());
        set(&mut to.hard_age_ms, self.hard_age_ms.as_ref());
        set(&mut to.jump_bps, self.jump_bps.as_ref());
        set(&mut to.dispute_bps, self.dispute_bps.as_ref());
        set(&mut to.peg_bps, self.peg_bps.as_ref());
        set(&mut to.streamed, self.streamed.as_ref());
        set(&mut to.routes, self.routes.as_ref());
        for venue in &self.no_markets {
            let before = to.markets.len();
            to.markets.retain(|market| market.venue != *venue);
            if to.markets.len() == before {
                return Err(StoreError::NoSuchMarket {
                    name: to.name,
                    venue: venue.clone(),
                });
            }
        }
        for market in &self.markets {
            to.markets.retain(|known| known.venue != market.venue);
            to.markets.push(market.clone());
        }
        Ok(())
    }
}

impl SymbolDefinition {
    /// Brings what has no order of its own into one, as ledgers give it back.
    pub fn sort(&mut self) {
        self.aliases.sort_by_key(|alias| alias.name);
        self.markets.sort_by(|a, b| a.venue.cmp(&b.venue));
    }
}

/// What seeding must write so that a ledger with `symbols` has the program's rows: those that
/// are missing (id 0), and those that no operator has touched and the program now has otherwise.
///
/// A name or a spelling that an operator gave to another symbol stays there.
pub(super) fn seeds(symbols: &[SymbolRecord], builtin: &[SymbolDefinition], at_ns: u64) -> Vec<SymbolRecord> {
    let places: HashMap<_, _> = symbols
        .iter()
        .map(|record| (record.definition.name, record))
        .collect();
    let mine: HashSet<_> = builtin.iter().map(|definition| definition.name).collect();
    // What rows that seeding will not write have taken.
    let (mut names, mut spellings) = (HashSet::new(), HashSet::new());
    for record in symbols {
        let definition = &record.definition;
        if record.origin == SymbolOrigin::Builtin && mine.contains(&definition.name) {
            continue;
        }
        names.insert(definition.name);
        names.extend(definition.aliases.iter().map(|alias| alias.name));
        for market in &definition.markets {
            let venue = market.venue.as_str();
            spellings.extend(market.spellings.iter().map(|spelling| (venue, spelling.as_str())));
        }
    }
    let mut writes = Vec::new();
    for definition in builtin {
        let known = places.get(&definition.name);
        if known.is_some_and(|known| known.origin == SymbolOrigin::Operator) {
            continue;
        }
        let mut definition = definition.clone();
        definition.aliases.retain(|alias| !names.contains(&alias.name));
        for market in &mut definition.markets {
            let venue = market.venue.as_str();
            market
                .spellings
                .retain(|spelling| !spellings.contains(&(venue, spelling.as_str())));
        }
        definition.markets.retain(|market| !market.spellings.is_empty());
        definition.sort();
        if known.is_some_and(|known| known.definition == definition) {
            continue;
        }
        writes.push(SymbolRecord {
            id: known.map_or(0, |known| known.id),
            definition,
            retired_at_ns: known.and_then(|known| known.retired_at_ns),
            origin: SymbolOrigin::Builtin,
            updated_at_ns: at_ns,
        });
    }
    writes
}

impl SymbolOrigin {
    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Builtin => "builtin",
            Self::Operator => "operator",
        }
    }
}

impl fmt::Display for SymbolOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
