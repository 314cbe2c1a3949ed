//! One evaluation of one symbol: admission by age, conversion, aggregation, jump guard, ageing.

use trinity_protocol::{PriceFlags, PriceStatus};

use super::aggregate::{Consensus, Estimate, Fate, MAX_VOTES, Vote, aggregate, jumps};
use super::engine::{MAX_VENUE_TIME_AHEAD_NS, converts, millis};
use super::explain::{Disposition, StatusRule};
use super::quote::{AggregatedPrice, Quote, Reading, RejectReason};
use super::symbol::{Candidate, Seat, SymbolId, SymbolSpec, SymbolTable};

/// Quotes within half the limit that a rejected venue owes before it is used again.
///
/// They must be quotes of its own, each newer than the last one counted: one stray quote inside
/// the limit, looked at three times because others tick, proves nothing.
const PROBATION_QUOTES: u8 = 3;

/// What is known of one market.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MarketState {
    reading: Option<Reading>,
    receive_ns: u64,
    venue_ns: Option<u64>,
    /// Book and trade updates count apart: venues number them apart.
    book: Heard,
    trade: Heard,
    /// Rises with every quote taken, over all markets.
    pub version: u64,
    pub last_reject: Option<RejectReason>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    sequence: Option<u64>,
    venue_ns: Option<u64>,
}

/// What is known of one venue's seat in the vote on one symbol.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SeatState {
    /// Quotes owed before the venue is used again; 0 when it is in good standing.
    pub probation: u8,
    /// Version of the last quote that counted towards the return.
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
    pub disposition: Disposition,
}

/// What is known of one symbol.
#[derive(Debug, Clone, Copy)]
pub(super) struct SymbolState {
    pub published: AggregatedPrice,
    good: Option<AggregatedPrice>,
    pub held: Option<i64>,
    version: u64,
    pub next_check_ns: u64,
    pub rule: StatusRule,
    pub evaluated_ns: u64,
    pub median: i64,
    pub deviation: i64,
    pub limit: i64,
}

/// A seat's vote with what the engine needs beside it.
#[derive(Clone, Copy)]
struct Ballot {
    vote: Vote,
    seat: usize,
    version: u64,
    receive_ns: u64,
    derived: bool,
}

impl MarketState {
    /// The part of rule 1 that compares with what is already known, then takes the quote.
    pub(super) fn admit(
        &mut self,
        quote: &Quote,
        reading: Reading,
        max_age_ns: u64,
    ) -> Result<(), RejectReason> {
        let now_ns = quote.receive_time_ns;
        if let Some(venue_ns) = quote.venue_time_ns {
            if venue_ns > now_ns.saturating_add(MAX_VENUE_TIME_AHEAD_NS) {
                return Err(RejectReason::VenueTimeAhead);
            }
            if older(venue_ns, now_ns, max_age_ns) {
                return Err(RejectReason::VenueTimeTooOld);
            }
        }
        if now_ns < self.receive_ns {
            return Err(RejectReason::ReceiveTimeBackwards);
        }
        let heard = if reading.from_book {
            &mut self.book
        } else {
            &mut self.trade
        };
        if let (Some(before), Some(now)) = (heard.sequence, quote.sequence)
            && now <= before
        {
            return Err(RejectReason::OldSequence);
        }
        if let (Some(before), Some(now)) = (heard.venue_ns, quote.venue_time_ns)
            && now < before
        {
            return Err(RejectReason::VenueTimeBackwards);
        }
        let fresh_book =
            self.reading.is_some_and(|known| known.from_book) && !older(self.receive_ns, now_ns, max_age_ns);
        if fresh_book && !reading.from_book {
            return Err(RejectReason::BookPreferred);
        }
        *heard = Heard {
            sequence: quote.sequence.or(heard.sequence),
            venue_ns: quote.venue_time_ns.or(heard.venue_ns),
        };
        self.reading = Some(reading);
        self.receive_ns = now_ns;
        self.venue_ns = quote.venue_time_ns;
        Ok(())
    }

    pub(super) fn forget_sequences(&mut self) {
        self.book.sequence = None;
        self.trade.sequence = None;
    }
}

impl SymbolState {
    pub(super) fn new(published: AggregatedPrice) -> Self {
        Self {
            published,
            good: None,
            held: None,
            version: 0,
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
    let (max_age_ns, hard_age_ns) = (millis(spec.max_age_ms), millis(spec.hard_age_ms));
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
    let mut newest_version = 0;
    for (at, (seat, seat_state)) in table.seats(id).iter().zip(seats.iter_mut()).enumerate() {
        let Some((ballot, expiry_ns)) = cast(table, spec, seat, seat_state, at, now_ns, markets, symbols)
        else {
            continue;
        };
        state.next_check_ns = state.next_check_ns.min(expiry_ns);
        newest_version = newest_version.max(ballot.version);
        votes[n] = ballot.vote;
        ballots[n] = Some(ballot);
        n += 1;
    }
    let is_tick = newest_version > state.version;
    state.version = state.version.max(newest_version);

    let outcome = aggregate(&votes[..n], &spec.rules());
    (state.median, state.deviation, state.limit) = (outcome.median, outcome.deviation, outcome.limit);
    let mut price = AggregatedPrice::none(spec.exponent, flags);
    for (i, ballot) in ballots[..n].iter().flatten().enumerate() {
        let seat = &mut seats[ballot.seat];
        if outcome.consensus != Consensus::Disputed {
            review(
                seat,
                outcome.fates[i],
                outcome.within_half & (1 << i) != 0,
                ballot.version,
            );
        }
        seat.view.disposition = match outcome.fates[i] {
            Fate::Used => Disposition::Used,
            Fate::Outlier => Disposition::Outlier,
            Fate::BeyondCap => Disposition::BeyondCap,
            Fate::Probation => Disposition::Probation,
        };
        if outcome.fates[i] == Fate::Used {
            price.venues_used += 1;
            price.publish_time_ns = price.publish_time_ns.max(ballot.receive_ns);
            if ballot.derived {
                price.flags = price.flags.with(PriceFlags::DERIVED);
            }
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
            now_ns,
            max_age_ns,
            hard_age_ns,
            PriceStatus::Thin,
            StatusRule::NothingUsable,
            seats,
        );
    };
    (price.mantissa, price.confidence) = (mantissa, confidence);
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
        && !older(good.publish_time_ns, now_ns, hard_age_ns)
        && jumps(good.mantissa, mantissa, spec.jump_bps)
    {
        let confirmed = is_tick
            && state
                .held
                .is_some_and(|candidate| !jumps(candidate, mantissa, spec.jump_bps));
        if !confirmed {
            if is_tick || state.held.is_none() {
                state.held = Some(mantissa);
            }
            return carry(
                state,
                now_ns,
                max_age_ns,
                hard_age_ns,
                PriceStatus::Held,
                StatusRule::JumpGuard,
                seats,
            );
        }
    }
    state.held = None;
    state.good = Some(price);
    price
}

/// Rule 7: the last good price goes on ageing. Within its max age it is given with the status
/// of the rule that keeps a newer one back, then as stale, then not at all, and then everything
/// that was held against venues and prices is forgotten with it.
fn carry(
    state: &mut SymbolState,
    now_ns: u64,
    max_age_ns: u64,
    hard_age_ns: u64,
    fresh: PriceStatus,
    rule: StatusRule,
    seats: &mut [SeatState],
) -> AggregatedPrice {
    let Some(good) = state
        .good
        .filter(|good| !older(good.publish_time_ns, now_ns, hard_age_ns))
    else {
        if state.good.take().is_some() || state.published.sequence > 0 {
            state.rule = StatusRule::HardAge;
        }
        state.held = None;
        for seat in seats {
            seat.probation = 0;
        }
        let none = AggregatedPrice::none(state.published.exponent, PriceFlags::NONE);
        let publish_time_ns = state.published.publish_time_ns;
        return AggregatedPrice {
            publish_time_ns,
            flags: kept_flags(state),
            ..none
        };
    };
    let limit_ns;
    let status;
    if older(good.publish_time_ns, now_ns, max_age_ns) {
        (status, state.rule, limit_ns) = (PriceStatus::Stale, StatusRule::MaxAge, hard_age_ns);
    } else {
        (status, state.rule, limit_ns) = (fresh, rule, max_age_ns);
    }
    state.next_check_ns = state.next_check_ns.min(expiry(good.publish_time_ns, limit_ns));
    AggregatedPrice { status, ..good }
}

fn kept_flags(state: &SymbolState) -> PriceFlags {
    PriceFlags(state.published.flags.0 & PriceFlags::REPLAYED.0)
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
            disposition: Disposition::NoQuote,
        };
        let found = if older(market.receive_ns, now_ns, max_age_ns) {
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
                    version: market.version,
                    receive_ns: market.receive_ns,
                    derived: candidate.rate.is_some(),
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

/// Rule 2: price and confidence in the symbol's currency and exponent, and whether the way
/// there is solid.
///
/// price = a * r, rounded half to even; confidence = conf_a * r + a * conf_r, rounded up, at
/// least 1.
fn convert(
    table: &SymbolTable,
    spec: &SymbolSpec,
    candidate: Candidate,
    reading: Reading,
    symbols: &[SymbolState],
) -> Result<(i64, i64, bool), Disposition> {
    let Some(rate) = candidate.rate else {
        return Ok((reading.price, reading.confidence, true));
    };
    let through = &symbols[rate.0 as usize].published;
    if !converts(through.status) {
        return Err(Disposition::RateUnusable);
    }
    let priced = table.symbol(table.market(candidate.market).symbol);
    let shift = i32::from(priced.exponent) + i32::from(through.exponent) - i32::from(spec.exponent);
    let rate_confidence = i64::try_from(through.confidence).map_err(|_| Disposition::OutOfRange)?;
    // Two products of positive i64 sum to less than 2^127.
    let (a, r) = (i128::from(reading.price), i128::from(through.mantissa));
    let spread = i128::from(reading.confidence) * r + a * i128::from(rate_confidence);
    let price = scale(a * r, shift, Rounding::HalfEven)
        .filter(|price| *price > 0)
        .ok_or(Disposition::OutOfRange)?;
    let confidence = scale(spread, shift, Rounding::Up)
        .ok_or(Disposition::OutOfRange)?
        .max(1);
    Ok((price, confidence, through.status == PriceStatus::Live))
}

#[derive(Clone, Copy)]
enum Rounding {
    HalfEven,
    Up,
}

/// `value * 10^shift` of a value that is not negative, None when it does not fit an i64.
fn scale(value: i128, shift: i32, rounding: Rounding) -> Option<i64> {
    let factor = 10i128.checked_pow(shift.unsigned_abs());
    let scaled = if shift >= 0 {
        value.checked_mul(factor?)?
    } else {
        let Some(factor) = factor else { return Some(0) };
        let (quotient, rest) = (value / factor, value % factor);
        let up = match rounding {
            Rounding::Up => rest > 0,
            // Written without doubling the rest, which could leave the i128.
            Rounding::HalfEven => rest > factor - rest || (rest == factor - rest && quotient % 2 == 1),
        };
        quotient + i128::from(up)
    };
    i64::try_from(scaled).ok()
}

/// Rule 3's memory: a rejected venue owes quotes of its own within half the limit, in a row.
fn review(seat: &mut SeatState, fate: Fate, within_half: bool, version: u64) {
    if matches!(fate, Fate::Outlier | Fate::BeyondCap) || (seat.probation > 0 && !within_half) {
        seat.probation = PROBATION_QUOTES;
        seat.counted = version;
    } else if seat.probation > 0 && version > seat.counted {
        seat.probation -= 1;
        seat.counted = version;
    }
}

/// Older than the limit, exclusive: at exactly the limit it still counts.
fn older(time_ns: u64, now_ns: u64, limit_ns: u64) -> bool {
    now_ns.saturating_sub(time_ns) > limit_ns
}

/// The first moment at which [`older`] holds.
fn expiry(time_ns: u64, limit_ns: u64) -> u64 {
    time_ns.saturating_add(limit_ns).saturating_add(1)
}
