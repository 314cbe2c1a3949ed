//! One evaluation of one symbol: admission by age, conversion, aggregation, jump guard, ageing.

use trinity_protocol::{PriceFlags, PriceStatus};

use super::admit::{MarketState, expiry, millis, older};
use super::aggregate::{Consensus, Estimate, Fate, MAX_VOTES, Vote, aggregate, jumps};
use super::convert::{convert, is_off_peg};
use super::explain::{Disposition, StatusRule};
use super::quote::AggregatedPrice;
use super::symbol::{Candidate, Seat, SymbolId, SymbolSpec, SymbolTable};

/// Quotes within half the limit that a rejected venue owes before it is used again.
///
/// They must be quotes of its own, each newer than the last one counted: one stray quote inside
/// the limit, looked at three times because others tick, proves nothing.
const PROBATION_QUOTES: u8 = 3;

/// What is known of one venue's seat in the vote on one symbol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeatState {
    /// Quotes owed before the venue is used again; 0 when it is in good standing.
    pub probation: u8,
    /// Tick of the last quote that counted towards the return.
    counted: u64,
    pub view: SeatView,
}

/// The explain record of a seat.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeatView {
    /// Index among the seat's candidates.
    pub candidate: u8,
    pub price: i64,
    pub confidence: i64,
    pub receive_ns: u64,
    pub venue_ns: Option<u64>,
    /// Distance from the median beyond which the vote is an outlier.
    pub limit: i64,
    pub disposition: Disposition,
}

/// What is known of one symbol.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymbolState {
    pub published: AggregatedPrice,
    good: Option<AggregatedPrice>,
    pub held: Option<i64>,
    /// Tick of the newest quote that ever voted.
    newest_tick: u64,
    pub next_check_ns: u64,
    pub rule: StatusRule,
    pub evaluated_ns: u64,
    pub median: i64,
    pub deviation: i64,
    pub limit: i64,
}

/// The moment, and how old things may be at it.
#[expect(
    clippy::struct_field_names,
    reason = "the unit belongs in the name of every time"
)]
struct Ages {
    now_ns: u64,
    max_age_ns: u64,
    hard_age_ns: u64,
}

/// A seat's vote with what the engine needs beside it.
#[derive(Clone, Copy)]
struct Ballot {
    vote: Vote,
    seat: usize,
    tick: u64,
    receive_ns: u64,
    /// What the vote alone says of the price it counts in.
    flags: PriceFlags,
}

impl SeatState {
    /// The same standing in a table whose candidates may be others.
    pub(super) fn in_a_new_table(&self) -> Self {
        Self {
            view: SeatView::default(),
            ..*self
        }
    }
}

impl SymbolState {
    pub(super) fn new(published: AggregatedPrice) -> Self {
        Self {
            published,
            good: None,
            held: None,
            newest_tick: 0,
            next_check_ns: u64::MAX,
            rule: StatusRule::NeverPriced,
            evaluated_ns: 0,
            median: 0,
            deviation: 0,
            limit: 0,
        }
    }

    /// Forgets all but what is published.
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.published);
    }
}

/// Evaluates one symbol at `now_ns`; its rates must have been evaluated before. Updates seats
/// and state but for `published`, and returns the price to publish (its sequence is not set).
#[expect(clippy::too_many_arguments, reason = "the engine's parts, borrowed apart")]
pub(super) fn evaluate(
    table: &SymbolTable,
    id: SymbolId,
    now_ns: u64,
    markets: &[MarketState],
    symbols: &[SymbolState],
    seats: &mut [SeatState],
    state: &mut SymbolState,
    flags: PriceFlags,
) -> AggregatedPrice {
    let spec = table.symbol(id);
    let ages = Ages {
        now_ns,
        max_age_ns: millis(spec.max_age_ms),
        hard_age_ns: millis(spec.hard_age_ms),
    };
    let none = AggregatedPrice::none(spec.exponent, flags);
    state.evaluated_ns = now_ns;
    state.next_check_ns = u64::MAX;

    let mut ballots = [None; MAX_VOTES];
    let mut votes = [Vote {
        price: 0,
        confidence: 0,
        probation: false,
        solid: false,
    }; MAX_VOTES];
    let mut n = 0;
    let mut newest_tick = 0;
    for (at, (seat, seat_state)) in table.seats(id).iter().zip(seats.iter_mut()).enumerate() {
        let Some((ballot, expiry_ns)) = cast(table, spec, seat, seat_state, at, now_ns, markets, symbols)
        else {
            continue;
        };
        state.next_check_ns = state.next_check_ns.min(expiry_ns);
        newest_tick = newest_tick.max(ballot.tick);
        votes[n] = ballot.vote;
        ballots[n] = Some(ballot);
        n += 1;
    }
    // Only a quote newer than all that voted before is news. A rate that moves, a venue that falls
    // silent or a quote that finds its rate late makes another price of what was known already.
    let is_news = newest_tick > state.newest_tick;
    state.newest_tick = state.newest_tick.max(newest_tick);

    let outcome = aggregate(&votes[..n], &spec.rules());
    (state.median, state.deviation, state.limit) = (outcome.median, outcome.deviation, outcome.limit);
    let mut price = none;
    for (i, ballot) in ballots[..n].iter().flatten().enumerate() {
        let seat = &mut seats[ballot.seat];
        if outcome.consensus != Consensus::Disputed {
            review(
                seat,
                outcome.fates[i],
                outcome.within_half & (1 << i) != 0,
                ballot.tick,
            );
        }
        seat.view.limit = outcome.limits[i];
        seat.view.disposition = match outcome.fates[i] {
            Fate::Used => Disposition::Used,
            Fate::Outlier => Disposition::Outlier,
            Fate::BeyondCap => Disposition::BeyondCap,
            Fate::Probation => Disposition::Probation,
        };
        if outcome.fates[i] == Fate::Used {
            price.venues_used += 1;
            price.publish_time_ns = price.publish_time_ns.max(ballot.receive_ns);
            price.flags = price.flags.with(ballot.flags);
        }
    }
    if price.venues_used == 1 {
        price.flags = price.flags.with(PriceFlags::ONE_VENUE);
    }

    let Some(Estimate {
        price: mantissa,
        confidence,
    }) = outcome.estimate
    else {
        return carry(
            state,
            seats,
            &ages,
            (PriceStatus::Thin, StatusRule::NothingUsable),
            none,
        );
    };
    (price.mantissa, price.confidence) = (mantissa, confidence);
    if spec
        .peg_bps
        .is_some_and(|bps| is_off_peg(mantissa, spec.exponent, bps))
    {
        price.flags = price.flags.with(PriceFlags::DEPEGGED);
    }
    (price.status, state.rule) = match outcome.consensus {
        Consensus::Agreed => (PriceStatus::Live, StatusRule::EnoughVenues),
        Consensus::Disputed => (PriceStatus::Disputed, StatusRule::Dispute),
        Consensus::Thin | Consensus::Empty if price.venues_used >= spec.min_sources => {
            (PriceStatus::Thin, StatusRule::ThinRates)
        }
        Consensus::Thin | Consensus::Empty => (PriceStatus::Thin, StatusRule::MinSources),
    };
    if price.status == PriceStatus::Disputed {
        return price;
    }

    if let Some(good) = state.good
        && !older(good.publish_time_ns, now_ns, ages.hard_age_ns)
        && jumps(good.mantissa, mantissa, spec.jump_bps)
    {
        let confirmed = is_news
            && state
                .held
                .is_some_and(|candidate| !jumps(candidate, mantissa, spec.jump_bps));
        if !confirmed {
            if is_news || state.held.is_none() {
                state.held = Some(mantissa);
            }
            return carry(
                state,
                seats,
                &ages,
                (PriceStatus::Held, StatusRule::JumpGuard),
                none,
            );
        }
    }
    state.held = None;
    state.good = Some(price);
    price
}

/// Rule 7: the last good price goes on ageing. Within its max age it is given with the status
/// of the rule that keeps a newer one back, then as stale, then not at all (`none`), and then
/// everything that was held against venues and prices is forgotten with it.
fn carry(
    state: &mut SymbolState,
    seats: &mut [SeatState],
    ages: &Ages,
    (fresh, rule): (PriceStatus, StatusRule),
    none: AggregatedPrice,
) -> AggregatedPrice {
    let Some(good) = state
        .good
        .filter(|good| !older(good.publish_time_ns, ages.now_ns, ages.hard_age_ns))
    else {
        if state.published.sequence > 0 {
            state.rule = StatusRule::HardAge;
        }
        state.good = None;
        state.held = None;
        for seat in seats {
            seat.probation = 0;
        }
        let publish_time_ns = state.published.publish_time_ns;
        return AggregatedPrice {
            publish_time_ns,
            ..none
        };
    };
    let (status, limit_ns);
    if older(good.publish_time_ns, ages.now_ns, ages.max_age_ns) {
        (status, state.rule, limit_ns) = (PriceStatus::Stale, StatusRule::MaxAge, ages.hard_age_ns);
    } else {
        (status, state.rule, limit_ns) = (fresh, rule, ages.max_age_ns);
    }
    state.next_check_ns = state.next_check_ns.min(expiry(good.publish_time_ns, limit_ns));
    AggregatedPrice { status, ..good }
}

/// Fills a seat: the first candidate that is fresh and can be converted. Records what it found
/// for the explanation: the vote, or what stands in the way of the best candidate.
#[expect(clippy::too_many_arguments, reason = "the engine's parts, borrowed apart")]
fn cast(
    table: &SymbolTable,
    spec: &SymbolSpec,
    seat: &Seat,
    state: &mut SeatState,
    at: usize,
    now_ns: u64,
    markets: &[MarketState],
    symbols: &[SymbolState],
) -> Option<(Ballot, u64)> {
    let max_age_ns = millis(spec.max_age_ms);
    state.view = SeatView::default();
    for (i, candidate) in seat.candidates.iter().enumerate() {
        let market = &markets[candidate.market.0 as usize];
        let Some(reading) = market.reading else { continue };
        let view = SeatView {
            candidate: i as u8,
            price: 0,
            confidence: 0,
            receive_ns: market.receive_ns,
            venue_ns: market.venue_ns,
            limit: 0,
            disposition: Disposition::NoQuote,
        };
        let found = if market.withdrawn {
            Err(Disposition::Withdrawn)
        } else if older(market.receive_ns, now_ns, max_age_ns) {
            Err(Disposition::TooOld)
        } else if market
            .venue_ns
            .is_some_and(|venue_ns| older(venue_ns, now_ns, max_age_ns))
        {
            Err(Disposition::VenueTimeTooOld)
        } else {
            convert(table, spec, *candidate, reading, symbols)
        };
        match found {
            Err(disposition) => {
                // The first candidate that has anything to say explains best.
                if state.view.disposition == Disposition::NoQuote {
                    state.view = SeatView { disposition, ..view };
                }
            }
            Ok((price, confidence, solid)) => {
                state.view = SeatView {
                    price,
                    confidence,
                    ..view
                };
                let ballot = Ballot {
                    vote: Vote {
                        price,
                        confidence,
                        probation: state.probation > 0,
                        solid,
                    },
                    seat: at,
                    tick: market.tick,
                    receive_ns: market.receive_ns,
                    flags: flags_of(market, *candidate, symbols),
                };
                let oldest_ns = market
                    .venue_ns
                    .map_or(market.receive_ns, |venue_ns| venue_ns.min(market.receive_ns));
                return Some((ballot, expiry(oldest_ns, max_age_ns)));
            }
        }
    }
    None
}

/// What a price must say of itself if this vote counts in it.
fn flags_of(market: &MarketState, candidate: Candidate, symbols: &[SymbolState]) -> PriceFlags {
    let mut flags = PriceFlags::NONE;
    if market.quote.is_some_and(|quote| quote.fetched) {
        flags = flags.with(PriceFlags::FETCHED);
    }
    if let Some(rate) = candidate.rate {
        flags = flags.with(PriceFlags::DERIVED);
        // A rate that was itself converted through a coin off its peg says so as well.
        if symbols[rate.0 as usize]
            .published
            .flags
            .contains(PriceFlags::DEPEGGED)
        {
            flags = flags.with(PriceFlags::DEPEGGED);
        }
    }
    flags
}

/// Rule 3's memory: a rejected venue owes quotes of its own within half the limit, in a row.
fn review(seat: &mut SeatState, fate: Fate, within_half: bool, tick: u64) {
    if matches!(fate, Fate::Outlier | Fate::BeyondCap) || (seat.probation > 0 && !within_half) {
        seat.probation = PROBATION_QUOTES;
        seat.counted = tick;
    } else if seat.probation > 0 && tick > seat.counted {
        seat.probation -= 1;
        seat.counted = tick;
    }
}
