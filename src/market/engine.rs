//! The market engine: quotes in, changed prices out, on the caller's clock.
//!
//! [`super::aggregate`] holds the arithmetic of one instant; this file holds the memory it
//! needs: the last quote of every market, who is on probation, the last good price, the
//! candidate that waits for confirmation, and when each age limit strikes next. It is pure: the
//! same quotes and ticks in the same order give the same bytes, and between two ticks the order
//! of quotes of different markets does not matter either.

mod retable;

use std::sync::Arc;

use trinity_protocol::PriceFlags;

use super::admit::{MarketState, millis};
use super::convert::convert_price;
use super::decimal::Decimal;
use super::evaluate::{self, SeatState, SymbolState};
use super::explain::{Explanation, VenueExplanation};
use super::quote::{self, AggregatedPrice, Quote, RejectReason};
use super::symbol::{Candidate, MarketId, Seat, SymbolId, SymbolTable};
use super::venue::{VENUES, VenueId};

/// Keeps the state of every market and symbol.
#[derive(Debug)]
pub struct MarketEngine {
    table: Arc<SymbolTable>,
    markets: Vec<MarketState>,
    seats: Vec<SeatState>,
    symbols: Vec<SymbolState>,
    /// Per market: positions in the evaluation order of the symbols it can vote on.
    listeners: Vec<Box<[u32]>>,
    /// Per symbol: its position in the evaluation order.
    position: Vec<u32>,
    /// Bit per position in the evaluation order.
    dirty: Vec<u64>,
    /// No age limit strikes before this.
    next_check_ns: u64,
    /// Number of the tick to come, from 1: the age of a quote among others. All that arrive
    /// between two ticks are of one age, so that their order cannot matter.
    coming_tick: u64,
    /// Flags that every price of this engine bears.
    flags: PriceFlags,
    taken: Vec<u64>,
    rejected: Vec<[u64; RejectReason::ALL.len()]>,
}

impl MarketEngine {
    /// An engine that knows no quote yet.
    pub fn new(table: Arc<SymbolTable>) -> Self {
        Self::with_flags(table, PriceFlags::NONE)
    }

    /// An engine whose prices all bear `flags`; a replay passes [`PriceFlags::REPLAYED`].
    pub fn with_flags(table: Arc<SymbolTable>, flags: PriceFlags) -> Self {
        let (position, listeners) = retable::index(&table);
        let symbols = table
            .symbols()
            .map(|(_, spec)| SymbolState::new(AggregatedPrice::none(spec.exponent, flags)))
            .collect();
        let markets = vec![MarketState::default(); table.markets().len()];
        Self {
            markets,
            seats: vec![SeatState::default(); table.seat_count()],
            symbols,
            listeners,
            position,
            dirty: vec![0; table.len().div_ceil(64)],
            next_check_ns: u64::MAX,
            coming_tick: 1,
            flags,
            taken: vec![0; VENUES.len()],
            rejected: vec![[0; RejectReason::ALL.len()]; VENUES.len()],
            table,
        }
    }

    /// The table this engine was built on.
    pub fn table(&self) -> &Arc<SymbolTable> {
        &self.table
    }

    /// Takes a quote, or says why not (rule 1) and counts it. Prices do not change before the
    /// next [`Self::tick`]. A market that the table does not have is unknown and not counted.
    pub fn on_quote(&mut self, quote: &Quote) -> Result<(), RejectReason> {
        if quote.market.0 as usize >= self.markets.len() {
            return Err(RejectReason::UnknownMarket);
        }
        let market = self.table.market(quote.market);
        let venue = market.venue;
        let spec = self.table.symbol(market.symbol);
        let state = &mut self.markets[quote.market.0 as usize];
        let max_age_ns = millis(spec.max_age_ms);
        let taken = quote
            .reading(market, spec.exponent)
            .and_then(|reading| state.admit(quote, reading, max_age_ns));
        match taken {
            Ok(()) => {
                state.tick = self.coming_tick;
                self.taken[venue.index()] += 1;
                for position in &self.listeners[quote.market.0 as usize] {
                    set(&mut self.dirty, *position);
                }
                Ok(())
            }
            Err(reason) => {
                state.last_reject = Some(reason);
                self.count_reject(venue, reason);
                Err(reason)
            }
        }
    }

    /// Counts what was turned away before it became a quote, such as an unknown spelling.
    pub fn count_reject(&mut self, venue: VenueId, reason: RejectReason) {
        self.rejected[venue.index()][reason as usize] += 1;
    }

    /// A venue's connection begins anew: its sequence numbers may start over. Its last quotes
    /// stay until they are too old.
    pub fn forget_sequences(&mut self, venue: VenueId) {
        for (id, market) in self.table.markets() {
            if market.venue == venue {
                self.markets[id.0 as usize].forget_sequences();
            }
        }
    }

    /// The same for one market, whose connection or subscription alone begins anew.
    pub fn forget_sequences_of(&mut self, market: MarketId) {
        if let Some(state) = self.markets.get_mut(market.0 as usize) {
            state.forget_sequences();
        }
    }

    /// Takes a market's quote out of the vote at the next tick, because its feed fell silent: it
    /// is kept for explanations, and the market's next quote brings it back at once. False if the
    /// market had none in it.
    pub fn withdraw(&mut self, market: MarketId) -> bool {
        let withdrawn = self
            .markets
            .get_mut(market.0 as usize)
            .is_some_and(MarketState::withdraw);
        if withdrawn {
            for position in &self.listeners[market.0 as usize] {
                set(&mut self.dirty, *position);
            }
        }
        withdrawn
    }

    /// Whether the market's quote was taken out of the vote and no other has come since.
    pub fn is_withdrawn(&self, market: MarketId) -> bool {
        self.markets
            .get(market.0 as usize)
            .is_some_and(|state| state.withdrawn)
    }

    /// When the market last said something new (its last taken quote), Unix ns on the clock of
    /// the quotes; None before the first.
    pub fn last_heard_ns(&self, market: MarketId) -> Option<u64> {
        self.quote_of(market).map(|quote| quote.receive_time_ns)
    }

    /// The market's last taken quote, withdrawn or not.
    pub fn quote_of(&self, market: MarketId) -> Option<&Quote> {
        self.markets.get(market.0 as usize)?.quote.as_ref()
    }

    /// Re-evaluates every symbol that has news or whose age limits struck by `now_ns`, rates
    /// before what is converted with them, and hands each changed price to `emit`.
    ///
    /// Allocates nothing. `now_ns` is on the same clock as the quotes' receive times.
    pub fn tick(&mut self, now_ns: u64, emit: &mut dyn FnMut(SymbolId, &AggregatedPrice)) {
        let table = Arc::clone(&self.table);
        self.coming_tick += 1;
        let aged = now_ns >= self.next_check_ns;
        if aged {
            for (symbol, position) in self.symbols.iter().zip(&self.position) {
                if now_ns >= symbol.next_check_ns {
                    set(&mut self.dirty, *position);
                }
            }
        }
        for word in 0..self.dirty.len() {
            // A symbol only ever wakes symbols behind it, perhaps in this very word.
            while self.dirty[word] != 0 {
                let bit = self.dirty[word].trailing_zeros();
                self.dirty[word] &= !(1 << bit);
                let id = table.order()[word * 64 + bit as usize];
                self.evaluate(&table, id, now_ns, emit);
            }
        }
        if aged {
            self.next_check_ns = self
                .symbols
                .iter()
                .map(|symbol| symbol.next_check_ns)
                .min()
                .unwrap_or(u64::MAX);
        }
    }

    /// The first moment at which an age limit may change a price without any quote; `u64::MAX`
    /// when there is none. Never late, sometimes early.
    pub fn next_check_ns(&self) -> u64 {
        self.next_check_ns
    }

    /// The price of a symbol as last published.
    pub fn price(&self, id: SymbolId) -> &AggregatedPrice {
        &self.symbols[id.0 as usize].published
    }

    /// Everything that explains the price of a symbol, as of its last evaluation.
    pub fn explain(&self, id: SymbolId) -> Explanation {
        self.explain_at(id, self.symbols[id.0 as usize].evaluated_ns)
    }

    /// The same with ages as they are at `now_ns`, on the quotes' clock.
    pub fn explain_at(&self, id: SymbolId, now_ns: u64) -> Explanation {
        let state = &self.symbols[id.0 as usize];
        let range = self.table.seats_of(id);
        let states = &self.seats[range.start as usize..range.end as usize];
        let used = states
            .iter()
            .filter(|seat| seat.view.disposition.is_used())
            .count();
        let weight_ppm = 1_000_000 / used.max(1) as u32;
        let venues = self
            .table
            .seats(id)
            .iter()
            .zip(states)
            .map(|(seat, state)| self.explain_seat(id, seat, state, weight_ppm, now_ns));
        Explanation {
            symbol: id,
            price: state.published,
            rule: state.rule,
            evaluated_ns: state.evaluated_ns,
            asked_ns: now_ns,
            median: state.median,
            deviation: state.deviation,
            limit: state.limit,
            held_candidate: state.held,
            venues: venues.collect(),
        }
    }

    /// Quotes taken from a venue since the start.
    pub fn taken(&self, venue: VenueId) -> u64 {
        self.taken[venue.index()]
    }

    /// Quotes turned away from a venue since the start, for one reason.
    pub fn rejected(&self, venue: VenueId, reason: RejectReason) -> u64 {
        self.rejected[venue.index()][reason as usize]
    }

    /// Forgets quotes, probations and guards, so that a recording can begin anew; counts and
    /// the symbols' sequences go on. The next tick says NO_PRICE of whatever is not quoted by then.
    pub fn reset_for_new_pass(&mut self) {
        self.markets.fill(MarketState::default());
        self.seats.fill(SeatState::default());
        for (symbol, position) in self.symbols.iter_mut().zip(&self.position) {
            symbol.reset();
            set(&mut self.dirty, *position);
        }
        self.next_check_ns = u64::MAX;
    }

    fn explain_seat(
        &self,
        id: SymbolId,
        seat: &Seat,
        state: &SeatState,
        weight_ppm: u32,
        now_ns: u64,
    ) -> VenueExplanation {
        let view = &state.view;
        let candidate = seat.candidates[usize::from(view.candidate)];
        let market = &self.markets[candidate.market.0 as usize];
        let side = |side: fn(&Quote) -> Option<Decimal>| {
            self.converted(id, candidate, side(market.quote.as_ref()?)?)
        };
        VenueExplanation {
            venue: seat.venue,
            market: candidate.market,
            rate: candidate.rate,
            quote: market.quote,
            bid: side(|quote| quote.bid),
            ask: side(|quote| quote.ask),
            price: view.price,
            confidence: view.confidence,
            limit: view.limit,
            receive_time_ns: view.receive_ns,
            age_ns: market
                .quote
                .map(|quote| now_ns.saturating_sub(quote.receive_time_ns)),
            venue_time_ns: view.venue_ns,
            disposition: view.disposition,
            weight_ppm: if view.disposition.is_used() { weight_ppm } else { 0 },
            probation_left: state.probation,
            last_reject: market.last_reject,
        }
    }

    /// A price as a venue wrote it, in the currency and unit of a symbol it votes on.
    fn converted(&self, id: SymbolId, candidate: Candidate, price: Decimal) -> Option<i64> {
        let market = self.table.market(candidate.market);
        let price = quote::in_units(price, market, self.table.symbol(market.symbol).exponent)?;
        convert_price(
            &self.table,
            self.table.symbol(id),
            candidate,
            price,
            &self.symbols,
        )
    }

    fn evaluate(
        &mut self,
        table: &SymbolTable,
        id: SymbolId,
        now_ns: u64,
        emit: &mut dyn FnMut(SymbolId, &AggregatedPrice),
    ) {
        let range = table.seats_of(id);
        let seats = &mut self.seats[range.start as usize..range.end as usize];
        let mut state = self.symbols[id.0 as usize];
        let next = evaluate::evaluate(
            table,
            id,
            now_ns,
            &self.markets,
            &self.symbols,
            seats,
            &mut state,
            self.flags,
        );
        let before = state.published;
        self.next_check_ns = self.next_check_ns.min(state.next_check_ns);
        if (AggregatedPrice {
            sequence: before.sequence,
            ..next
        }) != before
        {
            state.published = AggregatedPrice {
                sequence: before.sequence.wrapping_add(1),
                ..next
            };
            emit(id, &state.published);
            let told =
                |price: &AggregatedPrice| (price.mantissa, price.confidence, price.status, price.flags);
            if told(&next) != told(&before) {
                for dependant in table.dependants(id) {
                    set(&mut self.dirty, self.position[dependant.0 as usize]);
                }
            }
        }
        self.symbols[id.0 as usize] = state;
    }
}

fn set(bits: &mut [u64], at: u32) {
    bits[at as usize / 64] |= 1 << (at % 64);
}
