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
