//! Builds a symbol table from rows, and refuses what does not hold together.

use std::collections::HashMap;

use trinity_protocol::Symbol;

use super::aggregate::MAX_VOTES;
use super::symbol::{Candidate, MAX_SYMBOLS, Market, MarketId, Seat, SymbolId, SymbolSpec, SymbolTable};
use super::symbol_row::SymbolRow;
use super::symbol_rows::{self, Placed, SymbolTableError};
use super::venue::VenueId;

/// Collects rows, then checks them as a whole.
#[derive(Debug, Default)]
pub struct SymbolTableBuilder {
    rows: Vec<Placed>,
    places: HashMap<Symbol, usize>,
    max_age_ms: Option<u32>,
    hard_age_ms: Option<u32>,
    now_ns: Option<u64>,
}

impl SymbolTableBuilder {
    /// Adds rows in the format of `symbols.txt`. A row for a symbol that is already there
    /// replaces it whole. `source` names the text in errors.
    pub fn rows(mut self, source: &str, text: &str) -> Result<Self, SymbolTableError> {
        for row in symbol_rows::parse(source, text)? {
            self.add(row)?;
        }
        Ok(self)
    }

    /// Adds one row; if the symbol is already there, in its place. Errors name the symbol.
    pub fn row(mut self, row: SymbolRow) -> Result<Self, SymbolTableError> {
        self.add(Placed::new(format!("symbol {}", row.name), 0, row)?)?;
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

    /// The time that the table is for, Unix ns: aliases that have ended by then are left out.
    /// Without it, as in a recording that has a time of its own, none has ended.
    #[must_use]
    pub fn now(mut self, now_ns: u64) -> Self {
        self.now_ns = Some(now_ns);
        self
    }

    /// Checks everything and builds the table.
    pub fn build(self) -> Result<SymbolTable, SymbolTableError> {
        if let Some(row) = self.rows.get(MAX_SYMBOLS) {
            return Err(row.error("symbol", format!("a table holds at most {MAX_SYMBOLS} symbols")));
        }
        let by_name = index_names(&self.rows, self.now_ns)?;
        let symbols = self.specs(&by_name)?;
        let (markets, by_spelling) = index_markets(&self.rows)?;
        let order = topological_order(&symbols, &self.rows)?;
        let mut markets_of: HashMap<Symbol, Vec<MarketId>> = HashMap::new();
        for (i, market) in markets.iter().enumerate() {
            let base = symbols[market.symbol.0 as usize].base;
            markets_of.entry(base).or_default().push(MarketId(i as u32));
        }
        let mut dependants = vec![Vec::new(); symbols.len()];
        let (mut seats, mut seats_of) = (Vec::new(), Vec::new());
        for (i, spec) in symbols.iter().enumerate() {
            for rate in &spec.routes {
                dependants[rate.0 as usize].push(SymbolId(i as u32));
            }
            let start = seats.len() as u32;
            if !spec.retired {
                let nearby = markets_of.get(&spec.base).map_or(&[][..], Vec::as_slice);
                seats.extend(seat_venues(spec, &symbols, &markets, nearby));
            }
            let end = seats.len() as u32;
            if (end - start) as usize > MAX_VOTES {
                let problem = format!("at most {MAX_VOTES} venues can vote on a symbol");
                return Err(self.rows[i].error("markets", problem));
            }
            seats_of.push(start..end);
        }
        Ok(SymbolTable {
            next_alias_end_ns: next_alias_end(&self.rows, self.now_ns),
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

    fn add(&mut self, placed: Placed) -> Result<(), SymbolTableError> {
        let name = placed.row.name;
        match self.places.get(&name).map(|place| &mut self.rows[*place]) {
            Some(known) if known.source == placed.source && known.line > 0 => {
                Err(placed.error("symbol", format!("{name} is already on line {}", known.line)))
            }
            Some(known) => {
                *known = placed;
                Ok(())
            }
            None => {
                self.places.insert(name, self.rows.len());
                self.rows.push(placed);
                Ok(())
            }
        }
    }

    fn specs(&self, by_name: &HashMap<Symbol, SymbolId>) -> Result<Vec<SymbolSpec>, SymbolTableError> {
        let mut symbols = Vec::with_capacity(self.rows.len());
        for placed in &self.rows {
            let row = &placed.row;
            let max_age_ms = self.max_age_ms.unwrap_or(row.max_age_ms);
            let hard_age_ms = self.hard_age_ms.unwrap_or(row.hard_age_ms);
            if hard_age_ms < max_age_ms {
                let problem = format!(
                    "{hard_age_ms} is below max_age_ms {max_age_ms}; a price is stale before it is gone"
                );
                return Err(placed.error("hard_age_ms", problem));
            }
            let holding = row.aliases.iter().filter(|alias| alias.holds(self.now_ns));
            symbols.push(SymbolSpec {
                name: row.name,
                base: row.base,
                quote: row.quote,
                aliases: holding.map(|alias| alias.name).collect(),
                exponent: row.exponent,
                tick: placed.tick,
                min_sources: row.min_sources,
                max_age_ms,
                hard_age_ms,
                jump_bps: row.jump_bps,
                dispute_bps: row.dispute_bps,
                routes: resolve_routes(placed, &self.rows, by_name)?,
                peg_bps: row.peg_bps,
                streamed: row.streamed && !row.retired,
                retired: row.retired,
            });
        }
        Ok(symbols)
    }
}

/// Canonical names and stated aliases must be unique. The usual spellings made from base and
/// quote (`BTC/USD`, `BTC_USD`, `BTCUSD`) are added where they are free and mean one symbol only.
/// A retired symbol has no name any more, and an alias that has ended is none.
fn index_names(rows: &[Placed], now_ns: Option<u64>) -> Result<HashMap<Symbol, SymbolId>, SymbolTableError> {
    let mut by_name = HashMap::with_capacity(8 * rows.len());
    let offered = || rows.iter().enumerate().filter(|(_, placed)| !placed.row.retired);
    // Names first, so that it is the alias that is told to yield.
    for (i, placed) in offered() {
        by_name.insert(placed.row.name, SymbolId(i as u32));
    }
    for (i, placed) in offered() {
        for alias in placed.row.aliases.iter().filter(|alias| alias.holds(now_ns)) {
            if let Some(SymbolId(other)) = by_name.insert(alias.name, SymbolId(i as u32)) {
                let other = rows[other as usize].row.name;
                return Err(placed.error("aliases", format!("{} already means {other}", alias.name)));
            }
        }
    }
    let mut generated: HashMap<Symbol, Option<SymbolId>> = HashMap::with_capacity(3 * rows.len());
    for (i, placed) in offered() {
        let (base, quote) = (placed.row.base, placed.row.quote);
        for separator in ["/", "_", ""] {
            // Too long for a symbol means that nobody can ask for it either.
            let Ok(alias) = Symbol::new(&format!("{base}{separator}{quote}")) else {
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

fn next_alias_end(rows: &[Placed], now_ns: Option<u64>) -> Option<u64> {
    let now_ns = now_ns?;
    let offered = rows.iter().filter(|placed| !placed.row.retired);
    let ends = offered.flat_map(|placed| placed.row.aliases.iter().filter_map(|alias| alias.until_ns));
    ends.filter(|end| *end > now_ns).min()
}

type Spellings = HashMap<VenueId, HashMap<Box<str>, MarketId>>;

/// Every market that is offered, and the venues' spellings, each of which means one market.
fn index_markets(rows: &[Placed]) -> Result<(Vec<Market>, Spellings), SymbolTableError> {
    let mut markets: Vec<Market> = Vec::new();
    let mut by_spelling = Spellings::new();
    for (i, placed) in rows.iter().enumerate().filter(|(_, placed)| !placed.row.retired) {
        for market in &placed.row.markets {
            let id = MarketId(markets.len() as u32);
            let known = by_spelling.entry(market.venue).or_default();
            for spelling in &market.spellings {
                if let Some(MarketId(other)) = known.insert(spelling.clone(), id) {
                    let owner = markets
                        .get(other as usize)
                        .map_or(placed.row.name, |market| rows[market.symbol.0 as usize].row.name);
                    let problem = format!("{spelling} of {} is already a market of {owner}", market.venue);
                    return Err(placed.error("markets", problem));
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
    Ok((markets, by_spelling))
}

fn resolve_routes(
    placed: &Placed,
    rows: &[Placed],
    by_name: &HashMap<Symbol, SymbolId>,
) -> Result<Vec<SymbolId>, SymbolTableError> {
    let row = &placed.row;
    if row.retired {
        return Ok(Vec::new());
    }
    let mut routes = Vec::with_capacity(row.routes.len());
    for name in &row.routes {
        let Some(&id) = by_name.get(name) else {
            let retired = rows
                .iter()
                .any(|other| other.row.name == *name && other.row.retired);
            let what = if retired {
                "is retired"
            } else {
                "is no symbol of this table"
            };
            return Err(placed.error("routes", format!("{name} {what}")));
        };
        let rate = &rows[id.0 as usize].row;
        if rate.quote != row.quote || rate.base == row.base {
            let problem = format!(
                "{name} does not lead to {}; a route is a rate X-{}",
                row.name, row.quote
            );
            return Err(placed.error("routes", problem));
        }
        if routes.contains(&id) {
            return Err(placed.error("routes", format!("{name} is named twice")));
        }
        routes.push(id);
    }
    Ok(routes)
}

/// Rates before what is converted with them, otherwise in table order.
fn topological_order(symbols: &[SymbolSpec], rows: &[Placed]) -> Result<Vec<SymbolId>, SymbolTableError> {
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
/// `nearby` are the markets of the symbol's base asset.
fn seat_venues(
    spec: &SymbolSpec,
    symbols: &[SymbolSpec],
    markets: &[Market],
    nearby: &[MarketId],
) -> Vec<Seat> {
    let mut seats: Vec<Seat> = Vec::new();
    for rate in std::iter::once(None).chain(spec.routes.iter().map(|rate| Some(*rate))) {
        let currency = rate.map_or(spec.quote, |rate| symbols[rate.0 as usize].base);
        for id in nearby {
            let market = &markets[id.0 as usize];
            if symbols[market.symbol.0 as usize].quote != currency {
                continue;
            }
            let candidate = Candidate { market: *id, rate };
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

#[cfg(test)]
mod tests;
