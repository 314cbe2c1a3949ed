//! Pauses between attempts: doubling, with full jitter, so that many nodes do not come back at once.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// Counts failures and says how long to wait.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: anything up to 0.1 s, 0.2 s, ... 5 s.
    pub(super) fn next(&mut self) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        Self::jitter(bound)
    }

    /// A pause between 0 and `bound`.
    pub(super) fn jitter(bound: Duration) -> Duration {
        let draw = getrandom::u32().unwrap_or(u32::MAX);
        bound.mul_f64(f64::from(draw) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds_and_no_further() {
        let mut backoff = Backoff::default();
        for failure in 0..100_u32 {
            let bound = FIRST.saturating_mul(1 << failure.min(10)).min(LONGEST);
            assert!(backoff.next() <= bound);
        }
        assert_eq!(Backoff::jitter(Duration::ZERO), Duration::ZERO);
    }
}
