//! The one place of this crate where the clock is read.

use std::time::Instant;

/// Monotonic clock, for measuring durations and keeping deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the edge that owns the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// What one read of the monotonic clock costs, nanoseconds: the least of several rounds, because
/// whatever interrupts a round can only make it longer.
pub fn read_cost_ns() -> u64 {
    const ROUNDS: u32 = 16;
    const READS: u32 = 256;
    let round = || {
        let began = monotonic();
        for _ in 0..READS {
            std::hint::black_box(monotonic());
        }
        began.elapsed().as_nanos() / u128::from(READS)
    };
    let least = (0..ROUNDS).map(|_| round()).min().unwrap_or(0);
    u64::try_from(least).unwrap_or(u64::MAX)
}
