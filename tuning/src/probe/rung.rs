//! What one rate gave.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longest time that is told apart, microseconds: a minute.
const LONGEST_US: u64 = 60_000_000;

/// One rate of the ladder.
#[derive(Clone, Debug, Serialize)]
pub struct Rung {
    /// Datagrams a second that were due.
    pub rate: u32,
    /// Datagrams a second that were sent.
    pub sent_rate: f64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Of those, how many came back, each counted once.
    pub received: u64,
    /// Those that did not come back in time: `sent` - `received`.
    pub lost: u64,
    /// Those that came back after one that was sent later.
    pub reordered: u64,
    /// Those that came back again.
    pub duplicated: u64,
    /// Datagrams that the kernel did not take; they are not in `sent`.
    pub unsent: u64,
    /// Time from when a datagram was due until it was back.
    pub round_trip_us: Option<Percentiles>,
    /// How late this end sent, which is in the round trips.
    pub lag_us: Option<Percentiles>,
    /// Periods in which the CPU quota stopped this end; null if they are not told.
    pub throttled_periods: Option<u64>,
}

/// A distribution, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half is at most this.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// All.
    pub max: f64,
}

/// Durations being counted, to 0.1 %.
#[derive(Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub(super) fn new() -> Self {
        let longest_ns = LONGEST_US * 1_000;
        Self(Histogram::new_with_bounds(1, longest_ns, 3).expect("the bounds are in order"))
    }

    pub(super) fn record(&mut self, time: std::time::Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn percentiles(&self) -> Option<Percentiles> {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1e3;
        (!self.0.is_empty()).then(|| Percentiles {
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1e3,
        })
    }
}

impl Rung {
    /// The part that was lost.
    pub fn loss(&self) -> f64 {
        self.lost as f64 / self.sent.max(1) as f64
    }
}
