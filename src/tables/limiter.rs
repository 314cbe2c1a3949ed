//! Rate limits: the generic cell rate algorithm (ITU-T I.371), one atomic per key.
//!
//! The atomic holds the theoretical arrival time (TAT): when the bucket will be full again.
//! A request conforms if admitting it does not push the TAT further ahead of now than the
//! burst allows. All cores share the atomic, so a key's limit is exact however its requests
//! are spread.

use super::sync::{AtomicU64, Ordering};

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nanoseconds between requests at the sustained rate; 0 is no rate limit.
    interval_ns: u64,
    /// Requests that may come at once, at least 1.
    burst: u32,
    /// Requests per UTC month; `u64::MAX` is no cap.
    per_month: u64,
}

/// What two cores share of a key: everything that a request changes.
/// With the two counters of the `Arc` that it lives in it is one cache line long, so that keys do
/// not share theirs.
#[derive(Debug, Default)]
pub struct KeyState {
    tat_ns: AtomicU64,
    month_used: AtomicU64,
    sessions: AtomicU64,
    _rest: [u64; 3],
}

/// What is left after a request, as a reply's header tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests left now; `u32::MAX` where nothing limits them.
    pub remaining: u32,
    /// After a grant: milliseconds until the burst is whole again. After a refusal:
    /// milliseconds until the next request is granted.
    pub refill_ms: u32,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The rate or the burst.
    Rate(Allowance),
    /// The monthly cap.
    Month(Allowance),
}

/// What a train of requests under one key was granted; see [`KeyState::acquire_train`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainGrant {
    granted: u32,
    /// How far the TAT is ahead once the first is granted.
    ahead_ns: u64,
    interval_ns: u64,
    /// Left by rate and by month once the first is granted.
    rate_left: u32,
    month_left: u64,
    month_left_ms: u32,
    refused: Option<Exceeded>,
}

/// What is left where nothing limits.
const UNLIMITED: Allowance = Allowance {
    remaining: u32::MAX,
    refill_ms: 0,
};

impl Allowance {
    /// Of the rate's allowance and the month's, the one that binds first.
    const fn or_month(self, left: u32, month_left_ms: u32) -> Self {
        if left < self.remaining {
            Self {
                remaining: left,
                refill_ms: month_left_ms,
            }
        } else {
            self
        }
    }
}

impl TrainGrant {
    /// How many of the train were granted: the first ones.
    pub const fn granted(&self) -> usize {
        self.granted as usize
    }

    /// What is left once the request at `position` (from 0) is granted.
    #[inline]
    pub fn allowance(&self, position: usize) -> Allowance {
        let before = position as u64;
        let rate = if self.interval_ns == 0 {
            UNLIMITED
        } else {
            Allowance {
                remaining: self.rate_left.saturating_sub(position as u32),
                refill_ms: clamp((self.ahead_ns + before * self.interval_ns).div_ceil(1_000_000)),
            }
        };
        if self.month_left == u64::MAX {
            rate
        } else {
            rate.or_month(clamp(self.month_left.saturating_sub(before)), self.month_left_ms)
        }
    }

    /// Why the rest of the train is refused, if it is.
    pub const fn refused(&self) -> Option<Exceeded> {
        self.refused
    }
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self {
        interval_ns: 0,
        burst: u32::MAX,
        per_month: u64::MAX,
    };

    /// Builds limits; `None` is no limit, a rate or burst of 0 admits nothing and is raised to 1.
    pub fn new(per_second: Option<u32>, burst: Option<u32>, per_month: Option<u64>) -> Self {
        let interval_ns = per_second.map_or(0, |rate| 1_000_000_000 / u64::from(rate.max(1)));
        Self {
            interval_ns,
            burst: burst.or(per_second).unwrap_or(u32::MAX).max(1),
            per_month: per_month.unwrap_or(u64::MAX),
        }
    }

    /// The same limits, to be kept somewhere: interval in nanoseconds, burst, requests per month.
    pub const fn to_parts(self) -> (u64, u32, u64) {
        (self.interval_ns, self.burst, self.per_month)
    }

    /// Limits that [`Limits::to_parts`] gave.
    pub fn from_parts((interval_ns, burst, per_month): (u64, u32, u64)) -> Self {
        Self {
            interval_ns,
            burst: burst.max(1),
            per_month,
        }
    }

    /// Whether nothing is limited: such a key is served last to be shed.
    pub const fn is_none(&self) -> bool {
        self.interval_ns == 0 && self.per_month == u64::MAX
    }

    /// Requests per second at the sustained rate; `None` is no limit.
    pub const fn per_second(&self) -> Option<u64> {
        1_000_000_000_u64.checked_div(self.interval_ns)
    }

    /// How far the TAT may be ahead: the whole burst.
    const fn tolerance_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(self.burst as u64)
    }

    /// Requests that may come at once.
    pub const fn burst(&self) -> u32 {
        self.burst
    }

    /// Requests per UTC month; `None` is no cap.
    pub const fn per_month(&self) -> Option<u64> {
        if self.per_month == u64::MAX {
            None
        } else {
            Some(self.per_month)
        }
    }
}

impl KeyState {
    /// Takes one request, or says which limit it would break. A refusal takes nothing.
    ///
    /// `month_left_ms` is the time to the end of the UTC month.
    #[inline]
    pub fn acquire(&self, limits: &Limits, now_ns: u64, month_left_ms: u32) -> Result<Allowance, Exceeded> {
        if limits.interval_ns == 0 && limits.per_month == u64::MAX {
            return Ok(UNLIMITED);
        }
        let month_left = self.take_month(limits).map_err(|()| {
            Exceeded::Month(Allowance {
                remaining: 0,
                refill_ms: month_left_ms,
            })
        })?;
        match self.take_rate(limits, now_ns) {
            Ok(granted) => Ok(granted.or_month(month_left, month_left_ms)),
            Err(refused) => {
                if limits.per_month != u64::MAX {
                    self.give_back_month(1);
                }
                Err(Exceeded::Rate(refused))
            }
        }
    }

    /// Takes up to `wanted` requests at once, with the same outcome for each as if they were taken
    /// one after the other at this time, with one access to each counter. The refused ones are
    /// the last.
    #[inline]
    pub fn acquire_train(&self, limits: &Limits, now_ns: u64, month_left_ms: u32, wanted: u32) -> TrainGrant {
        let (month_granted, month_left) = self.take_month_train(limits, wanted);
        let (granted, ahead_ns) = self.take_rate_train(limits, now_ns, month_granted);
        if granted < month_granted && limits.per_month != u64::MAX {
            self.give_back_month(u64::from(month_granted - granted));
        }
        let rate_left = limits
            .tolerance_ns()
            .saturating_sub(ahead_ns)
            .checked_div(limits.interval_ns)
            .map_or(u32::MAX, clamp);
        let refused = if granted == wanted {
            None
        } else if granted < month_granted {
            // What the first one refused is told: those after it wait for the same moment.
            let wait = limits
                .interval_ns
                .saturating_mul(u64::from(granted))
                .saturating_add(ahead_ns)
                .saturating_sub(limits.tolerance_ns());
            Some(Exceeded::Rate(Allowance {
                remaining: 0,
                refill_ms: clamp(wait.div_ceil(1_000_000)),
            }))
        } else {
            Some(Exceeded::Month(Allowance {
                remaining: 0,
                refill_ms: month_left_ms,
            }))
        };
        TrainGrant {
            granted,
            ahead_ns,
            interval_ns: limits.interval_ns,
            rate_left,
            month_left,
            month_left_ms,
            refused,
        }
    }

    /// What is left, taking nothing.
    pub fn peek(&self, limits: &Limits, now_ns: u64, month_left_ms: u32) -> Allowance {
        let rate = if limits.interval_ns == 0 {
            UNLIMITED
        } else {
            let tolerance = limits.tolerance_ns();
            let tat_ns = self.tat_ns.load(Ordering::Relaxed);
            after(limits, from(tat_ns, now_ns, tolerance), now_ns)
        };
        if limits.per_month == u64::MAX {
            return rate;
        }
        let used = self.month_used.load(Ordering::Relaxed);
        rate.or_month(clamp(limits.per_month.saturating_sub(used)), month_left_ms)
    }

    /// Sets how many requests this month already had, from the ledger.
    pub fn set_month_used(&self, used: u64) {
        self.month_used.store(used, Ordering::Relaxed);
    }

    /// Counts more requests against the month.
    pub fn add_month_used(&self, requests: u64) {
        self.month_used.fetch_add(requests, Ordering::Relaxed);
    }

    /// Makes sure that at least so many are counted against the month.
    pub fn raise_month_used(&self, used: u64) {
        self.month_used.fetch_max(used, Ordering::Relaxed);
    }

    /// Requests counted against the month so far.
    pub fn month_used(&self) -> u64 {
        self.month_used.load(Ordering::Relaxed)
    }

    /// Opens a session unless the key has `limit` already.
    pub(crate) fn open_session(&self, limit: u32) -> bool {
        let opened = self
            .sessions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < u64::from(limit)).then_some(open + 1)
            });
        opened.is_ok()
    }

    /// Closes a session that was opened.
    pub(crate) fn close_session(&self) {
        let _ = self
            .sessions
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| open.checked_sub(1));
    }

    fn take_month(&self, limits: &Limits) -> Result<u32, ()> {
        if limits.per_month == u64::MAX {
            return Ok(u32::MAX);
        }
        self.month_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (used < limits.per_month).then_some(used + 1)
            })
            .map(|before| clamp(limits.per_month - before - 1))
            .map_err(|_| ())
    }

    /// Takes up to `wanted` of the month's requests; tells how many, and how many are left once
    /// the first is taken.
    fn take_month_train(&self, limits: &Limits, wanted: u32) -> (u32, u64) {
        if limits.per_month == u64::MAX {
            return (wanted, u64::MAX);
        }
        let taken = |used: u64| u64::from(wanted).min(limits.per_month.saturating_sub(used));
        let before = self
            .month_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                (taken(used) > 0).then(|| used + taken(used))
            });
        match before {
            Ok(before) => (taken(before) as u32, limits.per_month - before - 1),
            Err(_) => (0, 0),
        }
    }

    /// Takes up to `wanted` requests of the rate; tells how many, and how far the TAT is ahead
    /// once the first is taken.
    fn take_rate_train(&self, limits: &Limits, now_ns: u64, wanted: u32) -> (u32, u64) {
        if limits.interval_ns == 0 {
            return (wanted, 0);
        }
        let tolerance = limits.tolerance_ns();
        let ahead = |tat: u64| from(tat, now_ns, tolerance) - now_ns;
        let taken = |tat: u64| {
            let room = tolerance.saturating_sub(ahead(tat)) / limits.interval_ns;
            u64::from(wanted).min(room)
        };
        let before = self
            .tat_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tat| {
                let taken = taken(tat);
                (taken > 0).then(|| now_ns + ahead(tat) + taken * limits.interval_ns)
            });
        match before {
            Ok(before) => (taken(before) as u32, ahead(before) + limits.interval_ns),
            Err(tat) => (0, ahead(tat) + limits.interval_ns),
        }
    }

    /// Undoes [`Self::take_month`] for some requests. A new month may have begun since, and then
    /// there is nothing to give back.
    fn give_back_month(&self, requests: u64) {
        let give = |used: u64| used.checked_sub(requests);
        let _ = self
            .month_used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, give);
    }

    fn take_rate(&self, limits: &Limits, now_ns: u64) -> Result<Allowance, Allowance> {
        if limits.interval_ns == 0 {
            return Ok(UNLIMITED);
        }
        let tolerance = limits.tolerance_ns();
        let taken = self
            .tat_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |tat| {
                let next = from(tat, now_ns, tolerance).saturating_add(limits.interval_ns);
                (next - now_ns <= tolerance).then_some(next)
            });
        match taken {
            Ok(before) => Ok(after(
                limits,
                from(before, now_ns, tolerance) + limits.interval_ns,
                now_ns,
            )),
            Err(tat) => {
                let wait = tat.max(now_ns).saturating_add(limits.interval_ns) - now_ns - tolerance;
                Err(Allowance {
                    remaining: 0,
                    refill_ms: clamp(wait.div_ceil(1_000_000)),
                })
            }
        }
    }
}

/// The TAT to go on from: never in the past, and never further ahead than a full burst and a
/// second. Only a clock that was set back can leave it there; the key then starts afresh
/// instead of being refused until the old time has come again. The second is room for cores
/// whose batches began at different times.
const fn from(tat_ns: u64, now_ns: u64, tolerance: u64) -> u64 {
    const CLOCK_STEP_NS: u64 = 1_000_000_000;
    if tat_ns <= now_ns || tat_ns - now_ns > tolerance.saturating_add(CLOCK_STEP_NS) {
        now_ns
    } else {
        tat_ns
    }
}

fn after(limits: &Limits, tat_ns: u64, now_ns: u64) -> Allowance {
    let ahead = tat_ns - now_ns;
    let tolerance = limits.tolerance_ns();
    Allowance {
        remaining: clamp(tolerance.saturating_sub(ahead) / limits.interval_ns),
        refill_ms: clamp(ahead.div_ceil(1_000_000)),
    }
}

/// A number for the wire, one below the value that means "no limit".
fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX).min(u32::MAX - 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering as StdOrdering};

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_granted_and_then_the_rate_holds() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(10), Some(20), None));
        let now = 1_000 * SECOND;
        for left in (0..20).rev() {
            assert_eq!(state.acquire(&limits, now, 0).map(|a| a.remaining), Ok(left));
        }
        let refused = Exceeded::Rate(Allowance {
            remaining: 0,
            refill_ms: 100,
        });
        assert_eq!(state.acquire(&limits, now, 0), Err(refused));
        let granted = (0..1_000)
            .filter(|i| state.acquire(&limits, now + i * 10_000_000, 0).is_ok())
            .count();
        assert_eq!(granted, 99, "10 a second over the next 9.99 s");
    }

    #[test]
    fn after_a_refusal_waiting_as_told_is_enough() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(3), Some(1), None));
        let now = 77 * SECOND + 123;
        assert!(state.acquire(&limits, now, 0).is_ok());
        let Err(Exceeded::Rate(told)) = state.acquire(&limits, now, 0) else {
            panic!("must refuse")
        };
        assert!(
            state
                .acquire(&limits, now + u64::from(told.refill_ms) * 1_000_000, 0)
                .is_ok()
        );
    }

    #[test]
    fn the_month_is_capped_and_a_rate_refusal_costs_nothing_of_it() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(1), Some(1), Some(2)));
        let first = state.acquire(&limits, SECOND, 9);
        assert_eq!(
            first,
            Ok(Allowance {
                remaining: 0,
                refill_ms: 1_000
            }),
            "the rate binds first"
        );
        assert!(matches!(
            state.acquire(&limits, SECOND, 9),
            Err(Exceeded::Rate(_))
        ));
        assert_eq!(state.month_used(), 1);
        assert!(state.acquire(&limits, 3 * SECOND, 9).is_ok());
        let refused = Exceeded::Month(Allowance {
            remaining: 0,
            refill_ms: 9,
        });
        assert_eq!(state.acquire(&limits, 9 * SECOND, 9), Err(refused));
        state.set_month_used(0);
        assert!(state.acquire(&limits, 9 * SECOND, 9).is_ok());
    }

    #[test]
    fn a_refusal_across_the_turn_of_the_month_does_not_use_the_new_month_up() {
        let state = KeyState::default();
        state.set_month_used(5);
        // The control plane begins the new month between a request's taking and its giving back.
        state.set_month_used(0);
        state.give_back_month(1);
        assert_eq!(state.month_used(), 0);
        assert!(
            state
                .acquire(&Limits::new(None, None, Some(1)), SECOND, 9)
                .is_ok()
        );
    }

    #[test]
    fn no_limit_is_told_as_such() {
        let state = KeyState::default();
        let unlimited = Allowance {
            remaining: u32::MAX,
            refill_ms: 0,
        };
        assert_eq!(state.acquire(&Limits::NONE, 5, 0), Ok(unlimited));
        assert_eq!(state.peek(&Limits::NONE, 5, 0), unlimited);
    }

    #[test]
    fn the_limit_is_exact_across_cores() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(100), Some(500), None));
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1_000 {
                        if state.acquire(&limits, 50 * SECOND, 0).is_ok() {
                            granted.fetch_add(1, StdOrdering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 500);
    }

    #[test]
    fn a_core_that_is_a_little_behind_grants_no_second_burst() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(10), Some(5), None));
        let now = 100 * SECOND;
        let granted = || (0..9).filter(|_| state.acquire(&limits, now, 0).is_ok()).count();
        assert_eq!(granted(), 5);
        assert!(state.acquire(&limits, now - SECOND / 2, 0).is_err());
        assert_eq!(state.peek(&limits, now, 0).remaining, 0);
    }

    #[test]
    fn a_clock_that_is_set_back_an_hour_does_not_lock_a_key_out_for_an_hour() {
        let (state, limits) = (KeyState::default(), Limits::new(Some(10), Some(5), None));
        let now = 100_000 * SECOND;
        for _ in 0..9 {
            let _ = state.acquire(&limits, now, 0);
        }
        let earlier = now - 3_600 * SECOND;
        assert_eq!(state.peek(&limits, earlier, 0).remaining, 5);
        let granted = (0..9)
            .filter(|_| state.acquire(&limits, earlier, 0).is_ok())
            .count();
        assert_eq!(granted, 5, "one burst, as at a start");
    }

    proptest! {
        #[test]
        fn a_train_is_granted_what_its_requests_would_be_one_by_one(
            per_second in proptest::option::of(1_u32..40),
            burst in proptest::option::of(1_u32..30),
            per_month in proptest::option::of(0_u64..150),
            trains in proptest::collection::vec((1_u32..65, 0_u64..1_500_000_000), 1..12),
        ) {
            let limits = Limits::new(per_second, burst, per_month);
            let (single, train) = (KeyState::default(), KeyState::default());
            let mut now = 1_000 * SECOND;
            for (wanted, later) in trains {
                now += later;
                let grant = train.acquire_train(&limits, now, 77, wanted);
                for position in 0..wanted as usize {
                    let told = match grant.refused() {
                        Some(refused) if position >= grant.granted() => Err(refused),
                        _ => Ok(grant.allowance(position)),
                    };
                    prop_assert_eq!(told, single.acquire(&limits, now, 77), "{} of {}", position, wanted);
                }
                prop_assert_eq!(train.peek(&limits, now, 77), single.peek(&limits, now, 77));
                prop_assert_eq!(train.month_used(), single.month_used());
            }
        }
    }

    #[test]
    fn trains_on_several_cores_share_one_limit() {
        let (state, limits) = (
            KeyState::default(),
            Limits::new(Some(1_000), Some(500), Some(450)),
        );
        let granted = AtomicU32::new(0);
        std::thread::scope(|scope| {
            for core in 0..4 {
                let (state, granted) = (&state, &granted);
                scope.spawn(move || {
                    for train in 0..200 {
                        let taken = state.acquire_train(&limits, 50 * SECOND, 0, 1 + (train + core) % 7);
                        granted.fetch_add(taken.granted() as u32, StdOrdering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(granted.into_inner(), 450);
        assert_eq!(state.month_used(), 450);
    }
}
