//! The client's one place that reads clocks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A monotonic instant, for deadlines.
#[expect(
    clippy::disallowed_methods,
    reason = "the client is an edge; this is its clock"
)]
pub(super) fn instant() -> Instant {
    Instant::now()
}

/// This machine's clock plus `offset_ns`, Unix nanoseconds, held within `u64`.
pub(super) fn unix_ns(offset_ns: i64) -> u64 {
    let corrected = local_unix_ns() + i128::from(offset_ns);
    u64::try_from(corrected.max(0)).unwrap_or(u64::MAX)
}

/// The offset that turns this machine's clock into the server's.
pub(super) fn offset_to(server_clock_ns: u64) -> i64 {
    let offset = i128::from(server_clock_ns) - local_unix_ns();
    offset.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

#[expect(
    clippy::disallowed_methods,
    reason = "the client is an edge; this is its clock"
)]
fn local_unix_ns() -> i128 {
    // A machine without a battery may wake before 1970; that is a clock to correct, not a failure.
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}
