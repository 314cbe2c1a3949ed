//! What a core looks things up in and counts in. No I/O, no clocks, no waiting.

pub mod counters;
pub mod groups;
pub mod keys;
pub mod limiter;
pub mod meter;
pub mod misses;
pub mod names;
pub mod prices;
pub mod window;

/// The atomics of the tables, in one place so that a model checker can stand in for them.
pub(crate) mod sync {
    pub(crate) use std::sync::atomic::{AtomicU64, Ordering, fence};
}
