//! Votes in, one price with its uncertainty out: rules 3, 4 and 5 of the aggregation.
//!
//! Everything here is a pure function of integers, so that every core, every node and every
//! replay gives the same bytes. Admission (rules 1 and 2) comes before and the jump guard and
//! ageing (rules 6 and 7) after; both need memory and live in [`super::engine`].
//!
//! Rounding, stated once: a median of an even number of values is the mean of the middle two
//! rounded towards minus infinity; limits given in basis points or as multiples are truncated
//! (a limit is never wider than asked); comparisons against a limit are inclusive.

/// The most votes one symbol can have: one per venue. Explain records, venue bitmasks and the
/// scratch space of an evaluation are sized by it.
pub const MAX_VOTES: usize = 16;

/// Multiplier of the median absolute deviation in rule 3, as a ratio: 5 * 1.4826.
///
/// 1.4826 makes the MAD of normally distributed values an estimate of their standard deviation
/// (Rousseeuw and Croux 1993); 5 of those is far outside of what honest venues show.
const MAD_NUMERATOR: i128 = 5 * 14_826;
const MAD_DENOMINATOR: i128 = 10_000;

/// The narrowest rejection limit as a share of the median. The MAD is 0 when a majority agrees
/// to the unit, and an honest venue a few units away must not fall to that.
const FLOOR_BPS: i128 = 10;

/// The narrowest rejection limit in ticks of the symbol, for prices so small that
/// [`FLOOR_BPS`] is less than one unit.
const FLOOR_TICKS: i128 = 2;

/// How often the votes' blur counts: what their own uncertainties add to their spread.
const BLUR_FACTOR: i64 = 2;

/// The most that uncertainties, a vote's own and those of all, widen its limit, as a share of
/// the median. A venue cannot buy its way in by calling itself vague.
const UNCERTAINTY_CAP_BPS: i128 = 50;

/// A venue further than this from the median is rejected however widely the others are spread.
const HARD_CAP_BPS: i128 = 500;

const BPS: i128 = 10_000;

/// What the rules ask of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Smallest price step of the symbol, in units of its exponent, at least 1.
    pub tick: i64,
    /// Venues that must be left for the price to be called live.
    pub min_sources: u8,
    /// Two venues further apart than this many basis points of their median are in dispute.
    pub dispute_bps: u32,
}

/// One venue's price, already in the symbol's quote currency and exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Price mantissa, above 0.
    pub price: i64,
    /// Half-width of the venue's own uncertainty, at least 1, and `price + confidence` fits an i64.
    pub confidence: i64,
    /// The venue was rejected lately and has not yet earned its return: it is heard when the
    /// median is taken, but not used.
    pub probation: bool,
    /// The vote stands on nothing weaker than itself. False when it was converted through a
    /// rate that is itself thin: such votes count in the price, but do not make it live.
    pub solid: bool,
}

/// What became of one vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Counted in the price.
    Used,
    /// Further from the median than 5 scaled median deviations (and than the floors) and the
    /// uncertainties explain.
    Outlier,
    /// Further than 5 % from the median.
    BeyondCap,
    /// Within the limit, but still on probation after an earlier rejection.
    Probation,
}

/// How well the venues agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consensus {
    /// At least `min_sources` venues agree.
    Agreed,
    /// There is a price, but fewer venues stand behind it than the symbol asks.
    Thin,
    /// Venues contradict each other and nothing tells which is right.
    Disputed,
    /// No vote can be used.
    Empty,
}

/// A price and its uncertainty, in units of the symbol's exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Price mantissa.
    pub price: i64,
    /// Half-width of the uncertainty, at least 1.
    pub confidence: u64,
}

/// The result of one aggregation, with everything that explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// How well the venues agree.
    pub consensus: Consensus,
    /// The price, unless the consensus is [`Consensus::Empty`].
    pub estimate: Option<Estimate>,
    /// The value votes were measured against: the median of all votes.
    pub median: i64,
    /// Median absolute deviation from the median.
    pub deviation: i64,
    /// Rejection limit of rule 3 for votes without uncertainty.
    pub limit: i64,
    /// Each vote's own limit, in the order given: the limit, widened by its uncertainty and that
    /// of all votes. Further from the median it is an outlier.
    pub limits: [i64; MAX_VOTES],
    /// Fate of each vote, in the order given; entries past the votes are meaningless.
    pub fates: [Fate; MAX_VOTES],
    /// Bit i: vote i lies within half its limit, which is what ends a probation.
    pub within_half: u16,
}

impl Vote {
    /// Its part of the pool that the price is made of: p - c, p and p + c.
    const fn pool(&self) -> [i64; 3] {
        [
            self.price.saturating_sub(self.confidence),
            self.price,
            self.price.saturating_add(self.confidence),
        ]
    }
}

/// Aggregates the votes of one symbol at one instant.
///
/// The order of the votes does not matter to anything but the order of `fates`. Votes beyond
/// the first [`MAX_VOTES`] are not counted; the symbol table cannot produce them.
///
/// A vote's limit is `max(5 * 1.4826 * d, 10 bps, 2 ticks) + min(c + blur, 50 bps)`: m is the
/// median of the prices, d the median distance from it, c the vote's own confidence, and blur
/// twice the amount by which the median distance of the pool of all p - c, p and p + c exceeds d.
/// For venues that know their price to the tick the second part is nothing. One-minute bars, and
/// quotes converted through a rate that is itself vague, are known to within their confidence
/// only: three of them may agree to the unit by chance (d is then nearly 0) while a fourth, as
/// good as they, is 15 bps away. `examples/market_figures.rs` measures what this rejects and finds
/// on real recordings.
///
/// - Three votes or more: each is measured against the median of all, those on probation
///   included, so that a lasting majority always wins its place back.
/// - Two votes: no rule can tell which is right. Beyond the dispute cap they are disputed and
///   both stand in the price, whose confidence shows the gap. If just one of them is on
///   probation, the other is the reference.
/// - One vote: thin at best (live if the symbol asks for one), unless it is on probation:
///   nobody is left to vouch for it, and it is not used.
/// - If rejection leaves less than half of the votes, the venues are in dispute: rejecting them
///   all would hide that.
pub fn aggregate(votes: &[Vote], rules: &Rules) -> Outcome {
    let votes = &votes[..votes.len().min(MAX_VOTES)];
    let n = votes.len();
    let mut outcome = Outcome {
        consensus: Consensus::Empty,
        estimate: None,
        median: 0,
        deviation: 0,
        limit: 0,
        limits: [0; MAX_VOTES],
        fates: [Fate::Used; MAX_VOTES],
        within_half: 0,
    };
    if n == 0 {
        return outcome;
    }

    let mut scratch = [0i64; MAX_VOTES];
    let judges = match votes {
        [trusted, suspect] if suspect.probation && !trusted.probation => &votes[..1],
        [suspect, trusted] if suspect.probation && !trusted.probation => &votes[1..],
        all => all,
    };
    for (slot, vote) in scratch.iter_mut().zip(judges) {
        *slot = vote.price;
    }
    let reference = median_floor(&mut scratch[..judges.len()]);
    for (slot, vote) in scratch.iter_mut().zip(votes) {
        *slot = distance(vote.price, reference);
    }
    let deviation = if n == 2 {
        scratch[0].min(scratch[1])
    } else {
        median_floor(&mut scratch[..n])
    };
    let limit = rejection_limit(reference, deviation, rules.tick);
    let blur = blur(judges, reference, deviation);
    let widest = i128::from(reference) * UNCERTAINTY_CAP_BPS / BPS;
    outcome.median = reference;
    outcome.deviation = deviation;
    outcome.limit = i64::try_from(limit).unwrap_or(i64::MAX);

    let mut agreeing = 0;
    for (i, vote) in votes.iter().enumerate() {
        let away = i128::from(distance(vote.price, reference));
        let limit = limit + (i128::from(vote.confidence) + blur).min(widest);
        outcome.limits[i] = i64::try_from(limit).unwrap_or(i64::MAX);
        if away * 2 <= limit {
            outcome.within_half |= 1 << i;
        }
        outcome.fates[i] = if away * BPS > i128::from(reference) * HARD_CAP_BPS {
            Fate::BeyondCap
        } else if away > limit {
            Fate::Outlier
        } else {
            agreeing += 1;
            if vote.probation {
                Fate::Probation
            } else {
                Fate::Used
            }
        };
    }

    let two_equals = n == 2 && votes[0].probation == votes[1].probation;
    let disputed = if n > 2 {
        agreeing * 2 < n
    } else {
        two_equals && (agreeing < 2 || apart(votes[0].price, votes[1].price, reference, rules))
    };
    if disputed {
        outcome.fates = [Fate::Used; MAX_VOTES];
        outcome.within_half = 0;
        outcome.consensus = Consensus::Disputed;
        outcome.estimate = estimate(votes, |_| true);
        return outcome;
    }

    let used = outcome.fates[..n]
        .iter()
        .filter(|fate| **fate == Fate::Used)
        .count();
    if used == 0 {
        // Several venues on probation that agree with each other are better than an old price,
        // but never live. A single one has nobody to vouch for it.
        if agreeing >= 2 {
            let fates = outcome.fates;
            outcome.estimate = estimate(votes, |i| fates[i] == Fate::Probation);
            for fate in outcome.fates[..n]
                .iter_mut()
                .filter(|fate| **fate == Fate::Probation)
            {
                *fate = Fate::Used;
            }
            outcome.consensus = Consensus::Thin;
        }
        return outcome;
    }
    let fates = outcome.fates;
    outcome.estimate = estimate(votes, |i| fates[i] == Fate::Used);
    let mut kept = votes
        .iter()
        .zip(&fates)
        .filter(|(_, fate)| **fate == Fate::Used)
        .map(|(vote, _)| vote);
    outcome.consensus = match (kept.next(), kept.next()) {
        (Some(a), Some(b)) if used == 2 && apart(a.price, b.price, reference, rules) => Consensus::Disputed,
        _ => {
            let solid = votes
                .iter()
                .zip(&fates)
                .filter(|(vote, fate)| **fate == Fate::Used && vote.solid)
                .count();
            if solid >= usize::from(rules.min_sources) {
                Consensus::Agreed
            } else {
                Consensus::Thin
            }
        }
    };
    outcome
}

/// Pyth's aggregation core: the 25th, 50th and 75th percentile of the pool of all p - c, p and
/// p + c; price is the 50th, confidence the larger distance to the other two.
///
/// `pool` holds the three values of every quote in any order; it is sorted in place. None when
/// the pool is empty or all of it agrees to the unit (the reference calls that unknown; with
/// confidences of at least 1 it cannot happen).
///
/// Follows `upd_aggregate.h` and `price_model.c` of pyth-client at 25dd347, whose published
/// cases are part of the tests.
pub fn three_vote(pool: &mut [i64]) -> Option<Estimate> {
    if pool.is_empty() {
        return None;
    }
    pool.sort_unstable();
    let n = pool.len();
    let low = pool[n >> 2];
    let high = pool[n - 1 - (n >> 2)];
    let price = middle(pool);
    let confidence = price.abs_diff(low).max(high.abs_diff(price));
    (confidence > 0).then_some(Estimate { price, confidence })
}

/// Whether `now` is further than `cap_bps` of `before` away from it: the jump guard's measure.
pub fn jumps(before: i64, now: i64, cap_bps: u32) -> bool {
    let away = (i128::from(now) - i128::from(before)).abs();
    away * BPS > i128::from(before).abs() * i128::from(cap_bps)
}

fn estimate(votes: &[Vote], used: impl Fn(usize) -> bool) -> Option<Estimate> {
    let mut pool = [0i64; 3 * MAX_VOTES];
    let mut n = 0;
    for (_, vote) in votes.iter().enumerate().filter(|(i, _)| used(*i)) {
        pool[n..n + 3].copy_from_slice(&vote.pool());
        n += 3;
    }
    three_vote(&mut pool[..n])
}

/// Rule 3's limit. The median is above 0, so truncation and floor are the same here.
fn rejection_limit(median: i64, deviation: i64, tick: i64) -> i128 {
    let spread = i128::from(deviation) * MAD_NUMERATOR / MAD_DENOMINATOR;
    let share = i128::from(median) * FLOOR_BPS / BPS;
    spread.max(share).max(i128::from(tick) * FLOOR_TICKS)
}

/// What the uncertainties of `judges` add to their spread, counted [`BLUR_FACTOR`] times. Like
/// the deviation it is a median, so that fewer than half of the votes cannot choose it.
fn blur(judges: &[Vote], reference: i64, deviation: i64) -> i128 {
    let mut pool = [0i64; 3 * MAX_VOTES];
    for (three, vote) in pool.chunks_exact_mut(3).zip(judges) {
        for (slot, value) in three.iter_mut().zip(vote.pool()) {
            *slot = distance(value, reference);
        }
    }
    let spread = median_floor(&mut pool[..3 * judges.len()]);
    i128::from(spread.saturating_sub(deviation).max(0)) * i128::from(BLUR_FACTOR)
}

/// Two prices are apart when their gap exceeds the dispute cap, but never within the floor of
/// two ticks.
fn apart(a: i64, b: i64, median: i64, rules: &Rules) -> bool {
    let gap = i128::from(distance(a, b));
    gap > i128::from(rules.tick) * FLOOR_TICKS
        && gap * BPS > i128::from(median) * i128::from(rules.dispute_bps)
}

/// Prices are above 0, so a distance always fits.
fn distance(a: i64, b: i64) -> i64 {
    i64::try_from(a.abs_diff(b)).unwrap_or(i64::MAX)
}

fn median_floor(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    middle(values)
}

fn middle(sorted: &[i64]) -> i64 {
    let n = sorted.len();
    if n % 2 == 1 {
        return sorted[n / 2];
    }
    // The mean of two i64 lies between them, so the conversion back cannot lose anything.
    ((i128::from(sorted[n / 2 - 1]) + i128::from(sorted[n / 2])) >> 1) as i64
}

#[cfg(test)]
mod tests;
