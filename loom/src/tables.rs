//! The tables under test, over loom's atomics.

#[path = "../../src/tables/limiter.rs"]
pub mod limiter;
#[path = "../../src/tables/misses.rs"]
pub mod misses;
#[path = "../../src/tables/names.rs"]
pub mod names;
#[path = "../../src/tables/prices.rs"]
pub mod prices;

/// What `src/tables/mod.rs` takes from the standard library.
pub(crate) mod sync {
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}
