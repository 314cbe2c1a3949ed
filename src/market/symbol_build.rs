//! Builds a symbol table from rows, and refuses what does not hold together.

use std::collections::HashMap;

use trinity_protocol::Symbol;

use super::aggregate::MAX_VOTES;
use super::symbol::{Candidate, MAX_SYMBOLS, Market, MarketId, Seat, SymbolId, SymbolSpec, SymbolTable};
use super::symbol_rows::{self, Row, SymbolTableError};
use super::venue::VenueId;

/// Collects rows, then checks them as a whole.
#[derive(Debug, Default)]
pub struct SymbolTableBuilder {
    rows: Vec<Row>,
    max_age_ms: Option<u32>,
    hard_age_ms: Option<u32>,
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
                peg_bps: row.peg_bps,
                streamed: row.streamed,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::decimal::Decimal;

    fn build(rows: &str) -> Result<SymbolTable, SymbolTableError> {
        SymbolTableBuilder::default().rows("test", rows)?.build()
    }

    fn refusal(rows: &str) -> String {
        build(rows)
            .expect_err("the rows do not hold together")
            .to_string()
    }

    #[test]
    fn the_built_in_table_knows_the_usual_assets_by_all_their_names() {
        let table = SymbolTable::builtin();
        for (name, canonical) in [
            ("BTC-USD", "BTC-USD"),
            ("btc", "BTC-USD"),
            ("Btc/Usd", "BTC-USD"),
            ("BTCUSD", "BTC-USD"),
            ("btc_usd", "BTC-USD"),
            ("XBT-USD", "BTC-USD"),
            ("XBT/USDT", "BTC-USDT"),
            ("btcusdt", "BTC-USDT"),
            ("ETH", "ETH-USD"),
            ("matic", "POL-USD"),
            ("USDT", "USDT-USD"),
            ("USDC/USDT", "USDC-USDT"),
        ] {
            let id = table.resolve(name).unwrap_or_else(|| panic!("{name} is known"));
            assert_eq!(table.symbol(id).name.as_str(), canonical, "{name}");
        }
        for name in ["", "BTC-", "BTC USD", "NOPE-USD", "BTC-USD-AND-MORE-THAN-THAT"] {
            assert_eq!(table.resolve(name), None, "{name}");
        }
        let in_dollars = table
            .symbols()
            .filter(|(_, spec)| spec.quote.as_str() == "USD")
            .count();
        assert!(in_dollars >= 22, "{in_dollars} symbols in dollars");
    }

    #[test]
    fn every_built_in_row_can_be_live_and_keeps_six_digits() {
        let table = SymbolTable::builtin();
        for (id, spec) in table.symbols() {
            let seats = table.seats(id);
            assert!(
                seats.len() >= usize::from(spec.min_sources),
                "{}: {} venues",
                spec.name,
                seats.len()
            );
            assert!(spec.max_age_ms <= spec.hard_age_ms);
            // A tick is at most a hundredth of a percent of what the asset is worth, so at least
            // four digits stand above it and the exponent leaves more below.
            assert!(
                spec.tick >= 100,
                "{}: the exponent leaves two digits below the tick",
                spec.name
            );
            let name = format!("{}-{}", spec.base, spec.quote);
            assert_eq!(spec.name.as_str(), name);
        }
    }

    #[test]
    fn a_venue_spelling_means_one_market_and_old_and_new_spellings_the_same() {
        let table = SymbolTable::builtin();
        let at = |venue: &str, spelling: &str| {
            table.market_by_spelling(VenueId::from_name(venue).expect("a venue"), spelling)
        };
        assert_eq!(at("kraken", "XBT/USD"), at("kraken", "BTC/USD"));
        assert_eq!(at("kraken", "XDG/USD"), at("kraken", "DOGE/USD"));
        assert_ne!(at("binance", "BTCUSDT"), at("binance-us", "BTCUSDT"));
        assert_eq!(
            at("binance", "btcusdt"),
            None,
            "spelled exactly as the venue does"
        );
        assert_eq!(
            at("bitstamp", "btcusd").map(|id| table.symbol(table.market(id).symbol).name.to_string()),
            Some("BTC-USD".into())
        );
        let venues: usize = VenueId::all()
            .filter(|v| table.markets().any(|(_, m)| m.venue == *v))
            .count();
        assert_eq!(venues, 5, "every venue has markets");
    }

    #[test]
    fn a_seat_prefers_the_direct_market_and_then_the_routes_in_their_order() {
        let table = SymbolTable::builtin();
        let btc = table.resolve("BTC").expect("a symbol");
        let kraken = VenueId::from_name("kraken").expect("a venue");
        let seat = table
            .seats(btc)
            .iter()
            .find(|seat| seat.venue == kraken)
            .expect("it votes");
        let ways: Vec<_> = seat
            .candidates
            .iter()
            .map(|way| {
                way.rate
                    .map_or("direct".to_owned(), |rate| table.symbol(rate).name.to_string())
            })
            .collect();
        assert_eq!(ways, ["direct", "USDT-USD", "USDC-USD"]);
        let position = |name: &str| {
            table
                .order()
                .iter()
                .position(|id| Some(*id) == table.resolve(name))
        };
        assert!(position("USDT-USD") < position("USDC-USD") && position("USDC-USD") < position("BTC-USD"));
    }

    #[test]
    fn a_row_that_is_wrong_is_refused_by_line_and_field() {
        let good = "A-USD A USD -8 0.01 1 1000 2000 500 500 - - coinbase=A-USD";
        assert!(build(good).is_ok());
        for (rows, expected) in [
            ("# note\n\nA-USD A USD", "test, line 3, exponent: is missing"),
            ("a-usd A USD -8 0.01 1 1 2 5 5 - -", "symbol: `a-usd`"),
            (
                "A-USD A A -8 0.01 1 1 2 5 5 - -",
                "quote: is the same as the base",
            ),
            ("A-USD A USD 3 0.01 1 1 2 5 5 - -", "exponent: 3 is not within"),
            ("A-USD A USD -8 0 1 1 2 5 5 - -", "tick: `0` is not a price step"),
            (
                "A-USD A USD -2 0.001 1 1 2 5 5 - -",
                "tick: `0.001` is not a price step",
            ),
            (
                "A-USD A USD -8 0.01 0 1 2 5 5 - -",
                "min_sources: must be above 0",
            ),
            (
                "A-USD A USD -8 0.01 1 1s 2 5 5 - -",
                "max_age_ms: `1s` is not a whole number",
            ),
            (
                "A-USD A USD -8 0.01 1 3 2 5 5 - -",
                "hard_age_ms: 2 is below max_age_ms 3",
            ),
            ("A-USD A USD -8 0.01 1 1 2 0 5 - -", "jump_bps: must be above 0"),
            (
                "A-USD A USD -8 0.01 1 1 2 5 -1 - -",
                "dispute_bps: `-1` is not a whole number",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 B-USD -",
                "routes: B-USD is no symbol of this table",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 A-USD -",
                "routes: A-USD does not lead to A-USD",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - A-USD",
                "markets: `A-USD` is not venue=spelling",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - mtgox=A",
                "markets: `mtgox` is no venue; known: coinbase,",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - @peg=0",
                "markets: `@peg=0` is neither",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A,",
                "markets: `kraken=A,` has an empty spelling",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A*1e99",
                "markets: unit `*1e99`",
            ),
            (
                "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A kraken=B",
                "markets: kraken is named twice",
            ),
        ] {
            let refusal = refusal(rows);
            assert!(refusal.contains(expected), "{rows}\n{refusal}");
        }
        let twice = format!("{good}\n{good}");
        assert!(refusal(&twice).contains("test, line 2, symbol: A-USD is already on line 1"));
        let alias = format!("{good}\nB-USD B USD -8 0.01 1 1 2 5 5 - A-USD");
        assert!(refusal(&alias).contains("line 2, aliases: A-USD already means A-USD"));
        let spelling = format!("{good}\nB-USD B USD -8 0.01 1 1 2 5 5 - - coinbase=A-USD");
        assert!(refusal(&spelling).contains("A-USD of coinbase is already a market of A-USD"));
    }

    #[test]
    fn conversion_in_a_circle_is_refused_by_name() {
        let rows = "A-USD A USD -8 0.01 1 1 2 5 5 B-USD -\nB-USD B USD -8 0.01 1 1 2 5 5 A-USD -\nC-USD C USD -8 0.01 1 1 2 5 5 - -";
        let refusal = refusal(rows);
        assert!(
            refusal.contains("conversion in a circle among A-USD, B-USD;"),
            "{refusal}"
        );
    }

    #[test]
    fn a_spelling_that_could_mean_two_symbols_is_generated_for_neither() {
        let table = build("A-BUSD A BUSD -8 0.01 1 1 2 5 5 - -\nAB-USD AB USD -8 0.01 1 1 2 5 5 - -")
            .expect("good rows");
        assert_eq!(table.resolve("ABUSD"), None);
        assert_eq!(table.resolve("AB/USD"), Some(SymbolId(1)));
    }

    #[test]
    fn later_rows_replace_earlier_ones_whole_and_keep_their_place() {
        let first = "A-USD A USD -8 0.01 1 1 2 5 5 - X kraken=A\nB-USD B USD -8 0.01 1 1 2 5 5 - -";
        let table = SymbolTableBuilder::default()
            .rows("one", first)
            .and_then(|builder| builder.rows("two", "A-USD A USD -6 0.5 1 1 2 5 5 - - kraken=A/USD"))
            .and_then(SymbolTableBuilder::build)
            .expect("good rows");
        let a = table.symbol(SymbolId(0));
        assert_eq!(
            (a.exponent, a.tick, table.len()),
            (-6, Decimal::new(5, -1).rescale(-6).expect("fits"), 2)
        );
        assert_eq!(table.resolve("X"), None);
        assert_eq!(
            table.market_by_spelling(VenueId::from_name("kraken").expect("a venue"), "A"),
            None
        );
    }
}
