//! The open loop's schedule: when each request is to be sent, fixed before the first is.
//!
//! A reply's latency counts from the moment its request was due, not from the moment it was
//! sent. A generator that waits for a slow server before it sends on would otherwise leave
//! out just those requests that had to wait longest (Gil Tene's "coordinated omission").

/// A constant rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    rate: f64,
    burst: u64,
}

impl Schedule {
    /// `rate` requests per second, `burst` of them at a time.
    ///
    /// # Panics
    ///
    /// If either is not above 0.
    pub(super) fn new(rate: f64, burst: usize) -> Self {
        assert!(rate > 0.0 && burst > 0, "a rate and a burst above 0");
        Self {
            rate,
            burst: burst as u64,
        }
    }

    /// When a request is due, nanoseconds from the start.
    #[inline]
    pub(super) fn due_ns(&self, request: u64) -> u64 {
        let burst_begins = request / self.burst * self.burst;
        (burst_begins as f64 * 1e9 / self.rate) as u64
    }

    /// How many requests are due by then.
    #[inline]
    pub(super) fn due_by(&self, elapsed_ns: u64) -> u64 {
        let bursts = elapsed_ns as f64 * self.rate / (self.burst as f64 * 1e9);
        (bursts as u64 + 1) * self.burst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_a_constant_rate_whatever_is_asked_when() {
        let schedule = Schedule::new(1_000.0, 1);
        assert_eq!(
            [0, 1, 2, 1_000].map(|i| schedule.due_ns(i)),
            [0, 1_000_000, 2_000_000, 1_000_000_000]
        );
        assert_eq!(
            [0, 999_999, 1_000_000, 5_500_000].map(|t| schedule.due_by(t)),
            [1, 1, 2, 6]
        );
    }

    #[test]
    fn a_burst_is_due_at_one_moment() {
        let schedule = Schedule::new(64_000.0, 64);
        assert_eq!(
            [0, 63, 64, 127, 128].map(|i| schedule.due_ns(i)),
            [0, 0, 1_000_000, 1_000_000, 2_000_000]
        );
        assert_eq!([0, 999_999, 1_000_000].map(|t| schedule.due_by(t)), [64, 64, 128]);
    }

    #[test]
    fn what_is_due_by_a_time_was_due_before_it_at_any_rate() {
        for rate in [1.0, 3.0, 7_777.7, 999_983.0, 12_345_678.9] {
            for burst in [1, 13, 64] {
                let schedule = Schedule::new(rate, burst);
                for elapsed_ns in (0..3_000_000_000).step_by(99_999_989) {
                    let due = schedule.due_by(elapsed_ns);
                    assert!(
                        schedule.due_ns(due - 1) <= elapsed_ns + 1,
                        "{rate} {burst} {elapsed_ns}"
                    );
                    assert!(
                        schedule.due_ns(due) + 1 >= elapsed_ns,
                        "{rate} {burst} {elapsed_ns}"
                    );
                }
            }
        }
    }
}
