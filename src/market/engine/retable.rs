//! A new symbol table under a running engine.

use std::collections::HashMap;
use std::sync::Arc;

use super::{MarketEngine, set};
use crate::market::evaluate::{SeatState, SymbolState};
use crate::market::quote::{AggregatedPrice, Quote};
use crate::market::symbol::{SymbolId, SymbolTable};

impl MarketEngine {
    /// Goes on with another table: symbols and markets that are in both keep what is known of
    /// them (symbols by name, markets by venue and symbol, probations by both), whatever their
    /// new numbers and limits; what is new knows nothing yet; what is gone is forgotten. The next
    /// tick evaluates every symbol anew. Allocates here, so that ticks need not.
    ///
    /// Markets may have other numbers in the new table: whoever makes quotes must take it too.
    pub fn replace_table(&mut self, table: Arc<SymbolTable>) {
        let old = Arc::clone(&self.table);
        let same = |id: SymbolId| {
            let known = old.resolve_symbol(table.symbol(id).name)?;
            (old.symbol(known).name == table.symbol(id).name).then_some(known)
        };
        let known_markets: HashMap<_, _> = old
            .markets()
            .map(|(id, market)| ((market.venue, old.symbol(market.symbol).name), id))
            .collect();
        let markets = table.markets().map(|(id, market)| {
            let spec = table.symbol(market.symbol);
            let known = known_markets.get(&(market.venue, spec.name))?;
            let state = &self.markets[known.0 as usize];
            // The unit or the exponent may be another.
            let reading = match &state.quote {
                Some(quote) => Some(quote.reading(market, spec.exponent).ok()?),
                None => None,
            };
            let mut state = *state;
            state.reading = reading;
            state.quote = state.quote.map(|quote| Quote { market: id, ..quote });
            Some(state)
        });
        let markets = markets.map(Option::unwrap_or_default).collect();
        let symbols = table.symbols().map(|(id, spec)| {
            let none = AggregatedPrice::none(spec.exponent, self.flags);
            let Some(known) = same(id) else {
                return SymbolState::new(none);
            };
            let mut state = self.symbols[known.0 as usize];
            if state.published.exponent != spec.exponent {
                state.reset();
            }
            state
        });
        let symbols = symbols.collect();
        let mut seats = vec![SeatState::default(); table.seat_count()];
        for (id, _) in table.symbols() {
            let Some(known) = same(id) else { continue };
            let range = old.seats_of(known);
            let states = &self.seats[range.start as usize..range.end as usize];
            let at = table.seats_of(id).start as usize;
            for (seat, state) in table.seats(id).iter().zip(&mut seats[at..]) {
                let mut before = old.seats(known).iter().zip(states);
                if let Some((_, before)) = before.find(|(other, _)| other.venue == seat.venue) {
                    *state = before.in_a_new_table();
                }
            }
        }
        (self.position, self.listeners) = index(&table);
        (self.markets, self.symbols, self.seats) = (markets, symbols, seats);
        self.dirty = vec![0; table.len().div_ceil(64)];
        for position in &self.position {
            set(&mut self.dirty, *position);
        }
        self.next_check_ns = 0;
        self.table = table;
    }
}

/// Each symbol's position in the evaluation order, and for each market the positions of the
/// symbols it can vote on.
pub(super) fn index(table: &SymbolTable) -> (Vec<u32>, Vec<Box<[u32]>>) {
    let mut position = vec![0; table.len()];
    for (at, id) in table.order().iter().enumerate() {
        position[id.0 as usize] = at as u32;
    }
    let mut listeners = vec![Vec::new(); table.markets().len()];
    for (id, _) in table.symbols() {
        for candidate in table.seats(id).iter().flat_map(|seat| &seat.candidates) {
            listeners[candidate.market.0 as usize].push(position[id.0 as usize]);
        }
    }
    let listeners = listeners.into_iter().map(Vec::into_boxed_slice).collect();
    (position, listeners)
}
