//! The one place where clocks are read.
//!
//! Everything pure takes its time as an argument; edges call these functions. `clippy.toml`
//! forbids the standard library's clocks everywhere else, so that a clock read on the hot
//! path cannot slip in unseen.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall clock, nanoseconds since the Unix epoch.
///
/// Times before 1970 read as 0; the u64 range ends in the year 2554.
#[expect(clippy::disallowed_methods, reason = "this is the edge that owns the clock")]
pub fn unix_nanos() -> u64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Monotonic clock, for measuring durations and keeping deadlines.
#[expect(clippy::disallowed_methods, reason = "this is the edge that owns the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Whether a timer is due: its time has come, or is further away than its period, which only
/// a clock that was set back can bring about.
pub const fn is_due(due_ns: u64, period_ns: u64, now_ns: u64) -> bool {
    now_ns >= due_ns || due_ns - now_ns > period_ns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_survives_a_clock_that_is_set_back() {
        assert!(is_due(100, 10, 100) && is_due(100, 10, 105));
        assert!(!is_due(100, 10, 95) && !is_due(100, 10, 90));
        assert!(
            is_due(100, 10, 89),
            "an hour must not pass until usage is handed over again"
        );
    }
}
