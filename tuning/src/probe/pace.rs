//! When the datagrams of a rung are due.

use std::thread;
use std::time::{Duration, Instant};

use crate::clock;

/// Waits shorter than this are spun: a sleeping thread is woken about this late.
const SPIN: Duration = Duration::from_micros(80);

/// A schedule: datagram `n` is due at `start + n / rate`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    start: Instant,
    rate: u32,
    /// Whether a CPU may be kept busy to be on time.
    spins: bool,
}

impl Pace {
    pub(super) const fn new(start: Instant, rate: u32, spins: bool) -> Self {
        Self { start, rate, spins }
    }

    /// When a datagram is due.
    pub(super) fn due(&self, sequence: u64) -> Instant {
        let ns = u128::from(sequence) * 1_000_000_000 / u128::from(self.rate.max(1));
        self.start + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }

    /// Waits until a datagram is due; tells how late it is. A sender that fell behind does not wait:
    /// the schedule stays. One that does not spin is woken late, and sends what is due by then in
    /// a row.
    pub(super) fn wait(&self, sequence: u64) -> Duration {
        let due = self.due(sequence);
        loop {
            let now = clock::monotonic();
            let Some(left) = due.checked_duration_since(now).filter(|left| !left.is_zero()) else {
                return now - due;
            };
            match left.checked_sub(SPIN) {
                _ if !self.spins => thread::sleep(left),
                Some(rest) if !rest.is_zero() => thread::sleep(rest),
                _ => std::hint::spin_loop(),
            }
        }
    }
}
