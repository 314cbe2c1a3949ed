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

#[test]
fn a_venue_is_not_rejected_for_what_its_own_or_the_others_uncertainty_explains() {
    // A minute of March 2023: two bars close on the same price, a third 12 bps away.
    let bars = |confidences: [i64; 3]| {
        let prices = [2_000_000, 2_000_100, 1_997_600];
        let votes: Vec<_> = prices
            .into_iter()
            .zip(confidences)
            .map(|(p, c)| vote(p, c))
            .collect();
        aggregate(&votes, &RULES)
    };
    let exact = bars([1, 1, 1]);
    assert_eq!((exact.limit, exact.fates[2]), (2_000, Fate::Outlier));
    assert_eq!(
        &exact.limits[..3],
        [2_001; 3],
        "known to the unit: the limit is as good as bare"
    );
    let own = bars([1, 1, 400]);
    assert_eq!(
        (own.limits[2], own.fates[2]),
        (2_400, Fate::Used),
        "its own uncertainty"
    );
    let others = bars([600, 600, 1]);
    // The pool of all nine lies 600 from the median in the middle, the prices 100.
    assert_eq!(
        (others.limits[2], others.fates[2]),
        (2_000 + 1 + 2 * 500, Fate::Used),
        "the others'"
    );
    assert_eq!(others.within_half, 0b011, "but it is no proof of good behaviour");
}

#[test]
fn no_venue_buys_its_way_in_by_calling_itself_vague() {
    // 50 bps is the most that uncertainty widens a limit, 5 % the end of everything.
    let outcome = aggregate(
        &[
            vote(10_000_000, 1),
            vote(10_000_100, 1),
            vote(10_061_000, 10_000_000),
        ],
        &RULES,
    );
    assert_eq!(outcome.limits[2] - outcome.limit, 50_000);
    assert_eq!(outcome.fates[2], Fate::Outlier);
    let vague = [
        vote(10_000_000, 10_000_000),
        vote(10_000_100, 10_000_100),
        vote(10_501_000, 10_501_000),
    ];
    assert_eq!(aggregate(&vague, &RULES).fates[2], Fate::BeyondCap);
    // Of two, the suspect has no say in how far it may be away.
    let mut two = [vote(10_000_000, 1), vote(10_070_000, 10_000_000)];
    two[1].probation = true;
    assert_eq!(aggregate(&two, &RULES).fates[1], Fate::Outlier);
}

/// Ten to the eight off in either direction, and what is nearer to the truth.
fn any_wild_factor() -> impl Strategy<Value = (i64, i64)> {
    prop_oneof![
        (1_u32..=8).prop_map(|power| (10_i64.pow(power), 1)),
        (1_u32..=8).prop_map(|power| (1, 10_i64.pow(power))),
        prop_oneof![
            Just((13, 100)),
            Just((1, 2)),
            Just((9, 10)),
            Just((12, 10)),
            Just((2, 1))
        ],
        (1_i64..=900).prop_map(|mille| (mille, 1_000)),
        (1_110_i64..=1_000_000).prop_map(|mille| (mille, 1_000)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn one_wild_venue_is_found_whatever_the_spreads_and_confidences(
        price in 1_000_000_000_i64..8_000_000_000,
        good in proptest::collection::vec((-100_i64..=100, 0_u32..=100), 2..10),
        spread_bps in 0_i64..=100,
        (up, down) in any_wild_factor(),
        wild_confidence in 0_u32..=100,
        at in any::<proptest::sample::Index>(),
    ) {
        // Up to 1 % apart, each as sure or as vague of itself as it likes.
        let mut all: Vec<_> = good
            .iter()
            .map(|(offset, percent)| {
                let price = price + price / 10_000 * spread_bps * offset / 200;
                vote(price, (price / 100 * i64::from(*percent)).max(1))
            })
            .collect();
        let wild = (i128::from(price) * i128::from(up) / i128::from(down)) as i64;
        let at = at.index(all.len() + 1);
        all.insert(at, vote(wild, (wild / 100 * i64::from(wild_confidence)).max(1)));
        let outcome = aggregate(&all, &RULES);
        prop_assert!(
            matches!(outcome.fates[at], Fate::Outlier | Fate::BeyondCap),
            "{:?} at {}: {:?}", all, at, outcome
        );
        prop_assert_eq!(outcome.consensus, Consensus::Agreed);
        if spread_bps <= 10 {
            let kept = outcome.fates[..all.len()].iter().filter(|fate| **fate == Fate::Used).count();
            prop_assert_eq!(kept, all.len() - 1, "no good venue falls with it: {:?}", outcome);
        }
    }

    #[test]
    fn of_three_the_wild_one_is_found_even_while_a_good_one_lags(
        price in 1_000_000_000_i64..8_000_000_000,
        lag_bps in -400_i64..=400,
        (up, down) in any_wild_factor(),
        confidences in proptest::array::uniform3(0_u32..=100),
        order in Just([0_usize, 1, 2]).prop_shuffle(),
    ) {
        let wild = (i128::from(price) * i128::from(up) / i128::from(down)) as i64;
        let prices = [price, price + price / 10_000 * lag_bps, wild];
        let votes: Vec<_> = order
            .iter()
            .map(|i| vote(prices[*i], (prices[*i] / 100 * i64::from(confidences[*i])).max(1)))
            .collect();
        let outcome = aggregate(&votes, &RULES);
        for (i, fate) in order.iter().zip(outcome.fates) {
            prop_assert_eq!(fate == Fate::Used, *i != 2, "{:?}: {:?}", votes, outcome);
        }
    }
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
