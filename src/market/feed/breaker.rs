//! A circuit breaker: after failures in a row nothing is tried for a while, then one try
//! decides. (Nygard, "Release It!", chapter 5.) A venue that says for how long it wants to be
//! left alone (`Retry-After`) is left alone for that long.

use std::time::Duration;

use super::Backoff;

/// Failures in a row that open the circuit.
const FAILURES: u32 = 5;
/// Longest first pause; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// Part of a pause that is not left to chance.
const LEAST_PAUSE: Duration = Duration::from_secs(1);
/// A try that decides and whose result was not told for this long is lost, and another may begin:
/// whoever made it may be gone. Connecting and waiting for news both fit in.
const LONGEST_TRY: Duration = Duration::from_mins(1);
/// A venue that asks for a longer rest than this is asked again after it: the header may be
/// nonsense.
const LONGEST_REST: Duration = Duration::from_mins(15);

/// What the circuit lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// Nothing until then.
    Open,
    /// One try.
    HalfOpen,
}

/// One circuit.
#[derive(Debug, Clone)]
pub struct Breaker {
    failures: u32,
    /// When the circuit lets one try through; 0 while it is closed.
    open_until_ns: u64,
    /// Until when the one try may take; 0 while there is none.
    trying_until_ns: u64,
    pauses: Backoff,
    trips: u64,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 0,
            open_until_ns: 0,
            trying_until_ns: 0,
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
            trips: 0,
        }
    }
}

impl Breaker {
    /// What it lets through at `now_ns`.
    pub const fn state(&self, now_ns: u64) -> BreakerState {
        if self.open_until_ns == 0 {
            BreakerState::Closed
        } else if now_ns < self.open_until_ns || now_ns < self.trying_until_ns {
            BreakerState::Open
        } else {
            BreakerState::HalfOpen
        }
    }

    /// Whether a try may begin; if it is the one that decides, no other may until its result, or
    /// until it must be lost.
    pub const fn admit(&mut self, now_ns: u64) -> bool {
        match self.state(now_ns) {
            BreakerState::Closed => true,
            BreakerState::HalfOpen => {
                self.trying_until_ns = now_ns.saturating_add(LONGEST_TRY.as_nanos() as u64);
                true
            }
            BreakerState::Open => false,
        }
    }

    /// When the next try may begin, at the earliest.
    pub const fn opens_at_ns(&self) -> u64 {
        self.open_until_ns
    }

    /// How often it opened.
    pub const fn trips(&self) -> u64 {
        self.trips
    }

    /// A try succeeded.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
        self.open_until_ns = 0;
        self.trying_until_ns = 0;
        self.pauses.reset();
    }

    /// A try failed. One that began before the circuit opened, and fails while it is open, tells
    /// nothing new and makes the pause no longer.
    pub fn failed(&mut self, now_ns: u64, random: u32) {
        self.failures = self.failures.saturating_add(1);
        let is_open = now_ns < self.open_until_ns;
        if self.trying_until_ns > 0 || (self.failures >= FAILURES && !is_open) {
            let pause = LEAST_PAUSE + self.pauses.next(random);
            self.open(now_ns, pause);
        }
    }

    /// The venue asks to be left alone for so long.
    pub fn told_to_rest(&mut self, now_ns: u64, rest: Duration) {
        self.open(now_ns, rest.clamp(LEAST_PAUSE, LONGEST_REST));
    }

    fn open(&mut self, now_ns: u64, pause: Duration) {
        let until_ns = now_ns.saturating_add(u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX));
        if self.open_until_ns == 0 || self.trying_until_ns > 0 {
            self.trips += 1;
        }
        self.open_until_ns = self.open_until_ns.max(until_ns);
        self.trying_until_ns = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn failures_in_a_row_open_it_and_one_try_decides() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES - 1 {
            breaker.failed(S, 0);
            assert!(breaker.admit(S));
        }
        breaker.failed(S, u32::MAX);
        assert_eq!(breaker.state(S), BreakerState::Open);
        let opens = breaker.opens_at_ns();
        assert_eq!(opens, 7 * S, "the least pause and all of the first");
        assert!(!breaker.admit(opens - 1));
        assert!(breaker.admit(opens), "one try");
        assert!(!breaker.admit(opens), "and no other beside it");
        breaker.failed(opens, u32::MAX);
        assert_eq!(breaker.opens_at_ns(), opens + 11 * S, "a longer pause");
        assert!(breaker.admit(opens + 11 * S));
        breaker.succeeded();
        assert!(breaker.admit(opens) && breaker.state(0) == BreakerState::Closed);
        assert_eq!(breaker.trips(), 2);
    }

    #[test]
    fn a_try_whose_result_nobody_tells_does_not_keep_it_open_for_ever() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES {
            breaker.failed(S, 0);
        }
        let opens = breaker.opens_at_ns();
        assert!(breaker.admit(opens));
        assert!(!breaker.admit(opens + 59 * S), "the try may still be under way");
        assert!(breaker.admit(opens + 60 * S), "it is lost");
        assert!(!breaker.admit(opens + 60 * S), "one at a time");
        breaker.succeeded();
        assert_eq!(breaker.state(opens + 60 * S), BreakerState::Closed);
    }

    #[test]
    fn failures_of_tries_that_began_before_it_opened_make_the_pause_no_longer() {
        let mut breaker = Breaker::default();
        for _ in 0..FAILURES + 20 {
            breaker.failed(S, u32::MAX);
        }
        assert_eq!(breaker.opens_at_ns(), 7 * S);
        assert_eq!(breaker.trips(), 1);
        assert!(breaker.admit(7 * S));
        breaker.failed(7 * S, u32::MAX);
        assert_eq!(
            breaker.opens_at_ns(),
            18 * S,
            "the second pause, not the twentieth"
        );
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let mut breaker = Breaker::default();
        for _ in 0..10 * FAILURES {
            breaker.failed(S, 0);
            breaker.failed(S, 0);
            breaker.succeeded();
        }
        assert!(breaker.admit(S));
        assert_eq!(breaker.trips(), 0);
    }

    #[test]
    fn a_venue_that_asks_for_rest_gets_it_though_not_for_ever() {
        let mut breaker = Breaker::default();
        breaker.told_to_rest(S, Duration::from_secs(30));
        assert!(!breaker.admit(30 * S) && breaker.admit(31 * S));
        breaker.succeeded();
        breaker.told_to_rest(S, Duration::from_secs(u64::MAX));
        assert!(breaker.admit(S + 15 * 60 * S));
        let mut breaker = Breaker::default();
        breaker.told_to_rest(S, Duration::from_mins(1));
        breaker.told_to_rest(S, Duration::ZERO);
        assert!(
            !breaker.admit(60 * S),
            "a shorter rest does not shorten a longer one"
        );
    }
}
