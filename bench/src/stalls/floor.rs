//! The latency that stalls alone bring about.
//!
//! A request that comes at a random moment of the run meets a gap with the probability of the
//! gap's share of the run, and then waits for the rest of it, which is anything from nothing to
//! the whole gap, all equally likely. So it waits longer than `x` with the probability
//! `sum over gaps of max(gap - x, 0) / run time`, whatever the server does.

use serde::{Deserialize, Serialize};

/// Percentiles that no server which runs on that CPU can be below, microseconds; 0 where the
/// stalls leave that percentile alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Floors {
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
}

impl Floors {
    /// Of gaps in nanoseconds with their number, in a run of `run_ns`.
    pub(super) fn of(longest_first: &[(u64, u64)], run_ns: u64) -> Self {
        let us = |share| floor(longest_first, run_ns, share) / 1e3;
        Self {
            p99: us(1e-2),
            p99_9: us(1e-3),
            p99_99: us(1e-4),
        }
    }

    /// The higher one of each: of a path over several CPUs.
    pub(super) const fn or_higher(self, other: Self) -> Self {
        Self {
            p99: self.p99.max(other.p99),
            p99_9: self.p99_9.max(other.p99_9),
            p99_99: self.p99_99.max(other.p99_99),
        }
    }
}

/// The smallest wait that at most `share` of all requests exceed, nanoseconds.
///
/// Between one gap and the next shorter one the share falls evenly with the wait: all gaps that
/// are longer than the wait give the same.
fn floor(longest_first: &[(u64, u64)], run_ns: u64, share: f64) -> f64 {
    let allowed = share * run_ns as f64;
    let (mut count, mut sum) = (0.0, 0.0);
    for (gap, times) in longest_first {
        let (gap, times) = (*gap as f64, *times as f64);
        if sum - count * gap > allowed {
            break;
        }
        count += times;
        sum += times * gap;
    }
    if sum > allowed {
        (sum - allowed) / count
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Share of the requests that wait longer than `wait`.
    fn longer(gaps: &[(u64, u64)], run_ns: u64, wait: f64) -> f64 {
        let rest = |(gap, times): &(u64, u64)| (*gap as f64 - wait).max(0.0) * *times as f64;
        gaps.iter().map(rest).sum::<f64>() / run_ns as f64
    }

    #[test]
    fn one_gap_of_ten_milliseconds_in_a_second_holds_up_one_request_in_a_thousand_for_nine() {
        let floors = Floors::of(&[(10 * MS, 1)], 1_000 * MS);
        assert!((floors.p99_9 - 9_000.0).abs() < 1e-6, "{floors:?}");
        assert!((floors.p99_99 - 9_900.0).abs() < 1e-6, "{floors:?}");
        // One in a hundred: exactly what may be.
        assert!(floors.p99.abs() < 1e-6, "{floors:?}");
    }

    #[test]
    fn many_short_gaps_make_up_for_one_long() {
        // 20 s, of which 0.1 % are 20 ms: ten gaps of 4 ms are 40 ms, and 2 ms off each are 20.
        let floors = Floors::of(&[(4 * MS, 10)], 20_000 * MS);
        assert!((floors.p99_9 - 2_000.0).abs() < 1e-6, "{floors:?}");
        // The long one gives 2 ms of the 20 before the others count.
        let floors = Floors::of(&[(6 * MS, 1), (4 * MS, 10)], 20_000 * MS);
        assert!((floors.p99_9 - 26_000.0 / 11.0).abs() < 1e-6, "{floors:?}");
    }

    #[test]
    fn a_machine_without_stalls_has_no_floor() {
        assert_eq!(Floors::of(&[], 1_000 * MS), Floors::default());
        let short = Floors::of(&[(MS / 20, 1)], 1_000 * MS);
        assert!(
            short.p99 == 0.0 && short.p99_9 == 0.0 && short.p99_99 == 0.0,
            "{short:?}"
        );
    }

    #[test]
    fn the_worse_cpu_is_the_floor_of_the_path() {
        let one = Floors {
            p99: 0.0,
            p99_9: 5.0,
            p99_99: 6.0,
        };
        let other = Floors {
            p99: 1.0,
            p99_9: 4.0,
            p99_99: 9.0,
        };
        let both = Floors {
            p99: 1.0,
            p99_9: 5.0,
            p99_99: 9.0,
        };
        assert_eq!(one.or_higher(other), both);
    }

    proptest! {
        #[test]
        fn the_floor_is_the_smallest_wait_that_few_enough_exceed(
            gaps in prop::collection::btree_map(50_000..20 * MS, 1..40_u64, 0..30),
            share in prop::sample::select(vec![1e-2, 1e-3, 1e-4]),
        ) {
            let gaps: Vec<_> = gaps.into_iter().rev().collect();
            let run = 20_000 * MS;
            let floor = floor(&gaps, run, share);
            prop_assert!(longer(&gaps, run, floor) <= share * (1.0 + 1e-9));
            prop_assert!(floor == 0.0 || longer(&gaps, run, floor * 0.999 - 1.0) > share);
        }
    }
}
