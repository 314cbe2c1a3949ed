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
    /// Further from the median than 5 scaled median deviations (and than the floors).
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
    /// Rejection limit of rule 3: a vote further than this from the median is an outlier.
    pub limit: i64,
    /// Fate of each vote, in the order given; entries past the votes are meaningless.
    pub fates: [Fate; MAX_VOTES],
    /// Bit i: vote i lies within half the limit, which is what ends a probation.
    pub within_half: u16,
}

/// Aggregates the votes of one symbol at one instant.
///
/// The order of the votes does not matter to anything but the order of `fates`. Votes beyond
/// the first [`MAX_VOTES`] are not counted; the symbol table cannot produce them.
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
        fates: [Fate::Used; MAX_VOTES],
        within_half: 0,
    };
    if n == 0 {
        return outcome;
    }

    let mut scratch = [0i64; MAX_VOTES];
    let reference = match votes {
        [trusted, suspect] | [suspect, trusted] if suspect.probation && !trusted.probation => trusted.price,
        _ => {
            for (slot, vote) in scratch.iter_mut().zip(votes) {
                *slot = vote.price;
            }
            median_floor(&mut scratch[..n])
        }
    };
    for (slot, vote) in scratch.iter_mut().zip(votes) {
        *slot = distance(vote.price, reference);
    }
    let deviation = if n == 2 {
        scratch[0].min(scratch[1])
    } else {
        median_floor(&mut scratch[..n])
    };
    let limit = rejection_limit(reference, deviation, rules.tick);
    outcome.median = reference;
    outcome.deviation = deviation;
    outcome.limit = i64::try_from(limit).unwrap_or(i64::MAX);

    let mut agreeing = 0;
    for (i, vote) in votes.iter().enumerate() {
        let away = i128::from(distance(vote.price, reference));
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
        pool[n] = vote.price.saturating_sub(vote.confidence);
        pool[n + 1] = vote.price;
        pool[n + 2] = vote.price.saturating_add(vote.confidence);
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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULES: Rules = Rules {
        tick: 1,
        min_sources: 2,
        dispute_bps: 500,
    };

    fn vote(price: i64, confidence: i64) -> Vote {
        Vote {
            price,
            confidence,
            probation: false,
            solid: true,
        }
    }

    fn votes(prices: &[i64]) -> Vec<Vote> {
        prices.iter().map(|price| vote(*price, 10)).collect()
    }

    fn fates(outcome: &Outcome, n: usize) -> &[Fate] {
        &outcome.fates[..n]
    }

    #[test]
    fn one_bad_venue_of_five_four_or_three_is_dropped_and_the_rest_make_the_price() {
        // Quotes and the expected votes of the comparison of known aggregation rules.
        let quotes = [
            (6_420_012, 10),
            (6_419_985, 12),
            (6_420_031, 8),
            (6_425_500, 20),
            (7_000_000, 15),
        ];
        let all: Vec<_> = quotes
            .iter()
            .map(|(price, confidence)| vote(*price, *confidence))
            .collect();

        let five = aggregate(&all, &RULES);
        assert_eq!(
            fates(&five, 5),
            [Fate::Used, Fate::Used, Fate::Used, Fate::Used, Fate::BeyondCap]
        );
        assert_eq!(five.consensus, Consensus::Agreed);
        assert_eq!((five.median, five.deviation, five.limit), (6_420_031, 46, 6_420));

        let three = aggregate(&[all[0], all[1], all[4]], &RULES);
        assert_eq!(fates(&three, 3), [Fate::Used, Fate::Used, Fate::BeyondCap]);
        assert_eq!(
            three.estimate,
            Some(Estimate {
                price: 6_419_999,
                confidence: 14
            })
        );
    }

    #[test]
    fn a_vote_eight_bps_off_survives_while_the_spread_or_the_floor_allows_it() {
        let outcome = aggregate(&votes(&[6_420_012, 6_419_985, 6_420_031, 6_425_500]), &RULES);
        assert_eq!(
            fates(&outcome, 4),
            [Fate::Used; 4],
            "10 bps of the median are 6,420"
        );
    }

    #[test]
    fn venues_that_agree_to_the_unit_do_not_reject_one_that_is_two_ticks_away() {
        let outcome = aggregate(&votes(&[100, 100, 100, 100, 102]), &RULES);
        assert_eq!((outcome.deviation, outcome.limit), (0, 2));
        assert_eq!(fates(&outcome, 5), [Fate::Used; 5]);
        let outcome = aggregate(&votes(&[100, 100, 100, 100, 103]), &RULES);
        assert_eq!(fates(&outcome, 5)[4], Fate::Outlier);
    }

    #[test]
    fn a_venue_beyond_five_percent_is_rejected_however_wide_the_others_are() {
        let outcome = aggregate(&votes(&[9_600, 10_000, 10_400, 10_501]), &RULES);
        assert_eq!(outcome.median, 10_200);
        let outcome = aggregate(&votes(&[9_600, 9_900, 10_000, 10_400, 10_501]), &RULES);
        assert_eq!(
            (outcome.median, outcome.deviation, outcome.limit),
            (10_000, 400, 2_965)
        );
        assert_eq!(fates(&outcome, 5)[4], Fate::BeyondCap, "5.01 %");
        let outcome = aggregate(&votes(&[9_600, 9_900, 10_000, 10_400, 10_500]), &RULES);
        assert_eq!(fates(&outcome, 5)[4], Fate::Used, "5 % exactly");
    }

    #[test]
    fn two_venues_that_contradict_each_other_are_disputed_and_neither_is_hidden() {
        for apart in [10_513, 11_000, 12_000, 100_000, 10_i64.pow(12)] {
            let outcome = aggregate(&votes(&[10_000, apart]), &RULES);
            assert_eq!(outcome.consensus, Consensus::Disputed, "{apart}");
            assert_eq!(fates(&outcome, 2), [Fate::Used; 2]);
            let estimate = outcome.estimate.expect("a disputed price is given");
            assert!(
                estimate.confidence >= (apart as u64 - 10_000) / 2,
                "the confidence shows the gap"
            );
        }
        let close = aggregate(&votes(&[10_000, 10_510]), &RULES);
        assert_eq!(close.consensus, Consensus::Agreed, "510 is below 5 % of 10,255");
    }

    #[test]
    fn venues_of_which_no_half_agrees_are_disputed() {
        for prices in [
            &[100_000, 120_000, 140_000][..],
            &[100_000, 100_000, 120_000, 120_000],
        ] {
            assert_eq!(
                aggregate(&votes(prices), &RULES).consensus,
                Consensus::Disputed,
                "{prices:?}"
            );
        }
        let half = aggregate(&votes(&[10_000, 100_000, 100_001, 900_000]), &RULES);
        assert_eq!(
            half.consensus,
            Consensus::Agreed,
            "two that agree, and one wild on either side"
        );
    }

    #[test]
    fn fewer_than_min_sources_is_thin() {
        let one = aggregate(&votes(&[500]), &RULES);
        assert_eq!(one.consensus, Consensus::Thin);
        assert_eq!(
            one.estimate,
            Some(Estimate {
                price: 500,
                confidence: 10
            })
        );
        assert_eq!(
            aggregate(
                &votes(&[500]),
                &Rules {
                    min_sources: 1,
                    ..RULES
                }
            )
            .consensus,
            Consensus::Agreed
        );
        assert_eq!(aggregate(&[], &RULES).consensus, Consensus::Empty);
        let two_left = aggregate(
            &votes(&[10_000, 10_001, 90_000]),
            &Rules {
                min_sources: 3,
                ..RULES
            },
        );
        assert_eq!(two_left.consensus, Consensus::Thin, "three quoted, two are left");
    }

    #[test]
    fn votes_through_a_thin_rate_count_in_the_price_but_do_not_make_it_live() {
        let mut all = votes(&[10_000, 10_001, 10_002]);
        all[1].solid = false;
        assert_eq!(aggregate(&all, &RULES).consensus, Consensus::Agreed);
        all[2].solid = false;
        let outcome = aggregate(&all, &RULES);
        assert_eq!(outcome.consensus, Consensus::Thin);
        assert_eq!(fates(&outcome, 3), [Fate::Used; 3]);
    }

    #[test]
    fn a_venue_on_probation_is_measured_but_not_used() {
        let mut all = votes(&[10_000, 10_001, 10_004]);
        all[2].probation = true;
        let outcome = aggregate(&all, &RULES);
        assert_eq!(fates(&outcome, 3), [Fate::Used, Fate::Used, Fate::Probation]);
        assert_eq!(outcome.within_half, 0b111);
        assert_eq!(outcome.estimate, aggregate(&all[..2], &RULES).estimate);
    }

    #[test]
    fn of_two_venues_the_one_in_good_standing_is_the_reference() {
        let mut all = votes(&[10_000, 20_000]);
        all[1].probation = true;
        let outcome = aggregate(&all, &RULES);
        assert_eq!((outcome.consensus, outcome.median), (Consensus::Thin, 10_000));
        assert_eq!(fates(&outcome, 2), [Fate::Used, Fate::BeyondCap]);
        all.swap(0, 1);
        assert_eq!(aggregate(&all, &RULES).estimate, outcome.estimate);
    }

    #[test]
    fn a_single_venue_on_probation_gives_no_price_but_several_that_agree_give_a_thin_one() {
        let mut all = votes(&[10_000, 10_001, 10_002]);
        for vote in &mut all {
            vote.probation = true;
        }
        assert_eq!(aggregate(&all[..1], &RULES).consensus, Consensus::Empty);
        let outcome = aggregate(&all, &RULES);
        assert_eq!(outcome.consensus, Consensus::Thin);
        assert_eq!(fates(&outcome, 3), [Fate::Used; 3]);
    }

    #[test]
    fn a_jump_is_measured_from_the_value_before() {
        assert!(!jumps(10_000, 10_500, 500));
        assert!(jumps(10_000, 10_501, 500));
        assert!(!jumps(10_000, 9_500, 500));
        assert!(jumps(10_000, 9_499, 500));
        assert!(!jumps(i64::MAX, i64::MAX, 1));
        assert!(jumps(i64::MAX, 1, 9_999));
    }

    #[test]
    fn the_three_vote_core_rounds_an_even_median_down_and_cannot_overflow() {
        assert_eq!(
            three_vote(&mut [-1, 0, -2, -1, 0, 1]),
            Some(Estimate {
                price: -1,
                confidence: 1
            })
        );
        let mut extremes = [i64::MIN, i64::MIN, i64::MIN, i64::MAX, i64::MAX, i64::MAX];
        assert_eq!(
            three_vote(&mut extremes),
            Some(Estimate {
                price: -1,
                confidence: 1 << 63
            })
        );
        assert_eq!(three_vote(&mut []), None);
        assert_eq!(
            three_vote(&mut [7, 7, 7]),
            None,
            "without any width the reference says unknown"
        );
    }

    proptest! {
        #[test]
        fn one_wild_venue_among_three_to_ten_is_rejected_and_no_good_one_ever(
            price in 1_000_000_i64..1_000_000_000,
            offsets in proptest::collection::vec(-1_000_i64..=1_000, 2..10),
            wild_power in 0_u32..=8,
            wild_up in any::<bool>(),
            wild_mantissa in 12_i64..100,
            at in any::<proptest::sample::Index>(),
        ) {
            // Good venues lie within 2 bps of each other; the wild one is off by 20 % to 10^8.
            let good: Vec<_> = offsets.iter().map(|offset| price + price / 10_000 * offset / 1_000).collect();
            let power = 10_i64.pow(wild_power);
            let wild = if wild_up {
                price.saturating_mul(power) / 10 * wild_mantissa.min(99)
            } else {
                (price / power / 100 * (wild_mantissa.min(80))).max(1)
            };
            prop_assume!(wild > 0);
            let mut prices = good.clone();
            let at = at.index(prices.len() + 1);
            prices.insert(at, wild);
            let outcome = aggregate(&votes(&prices), &RULES);
            for (i, fate) in fates(&outcome, prices.len()).iter().enumerate() {
                prop_assert_eq!(*fate == Fate::Used, i != at, "{:?} at {}: {:?}", prices, at, outcome);
            }
            prop_assert_eq!(outcome.consensus, Consensus::Agreed);
        }

        #[test]
        fn any_votes_give_a_price_within_those_used_and_never_live_below_min_sources(
            all in proptest::collection::vec(
                (1_i64..=i64::MAX, 1_i64..=i64::MAX, any::<bool>(), any::<bool>()),
                0..=20,
            ),
            near in any::<bool>(),
            min_sources in 1_u8..6,
            tick in 1_i64..=i64::MAX,
            dispute_bps in 1_u32..=u32::MAX,
        ) {
            let all: Vec<_> = all
                .into_iter()
                .map(|(price, confidence, probation, solid)| {
                    let price = if near { i64::MAX - price % 1_000_000 } else { price };
                    Vote { price, confidence: 1 + (confidence - 1) % price, probation, solid }
                })
                .collect();
            let rules = Rules { tick, min_sources, dispute_bps };
            let outcome = aggregate(&all, &rules);
            let n = all.len().min(MAX_VOTES);
            let used: Vec<_> = (0..n).filter(|i| outcome.fates[*i] == Fate::Used).map(|i| all[i]).collect();
            prop_assert_eq!(outcome.estimate.is_none(), outcome.consensus == Consensus::Empty);
            if let Some(estimate) = outcome.estimate {
                let low = used.iter().map(|vote| vote.price).min().expect("some vote was used");
                let high = used.iter().map(|vote| vote.price).max().expect("some vote was used");
                prop_assert!((low..=high).contains(&estimate.price));
                prop_assert!(estimate.confidence >= 1);
            }
            if outcome.consensus == Consensus::Agreed {
                prop_assert!(used.len() >= usize::from(min_sources));
                prop_assert!(used.iter().all(|vote| !vote.probation));
            }
        }

        #[test]
        fn the_order_of_the_votes_does_not_matter(
            all in proptest::collection::vec((1_i64..2_000_000, 1_i64..1_000, any::<bool>()), 0..=16)
                .prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        ) {
            let build = |all: &[(i64, i64, bool)]| -> Vec<Vote> {
                all.iter()
                    .map(|&(price, confidence, probation)| Vote { price, confidence, probation, solid: true })
                    .collect()
            };
            let (a, b) = (aggregate(&build(&all.0), &RULES), aggregate(&build(&all.1), &RULES));
            prop_assert_eq!(
                (a.consensus, a.estimate, a.median, a.deviation, a.limit),
                (b.consensus, b.estimate, b.median, b.deviation, b.limit)
            );
        }
    }
}
