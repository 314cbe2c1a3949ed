//! Trinity Beast: a self-hosted crypto price oracle with exact usage accounting.
//!
//! `ARCHITECTURE.md` explains the two planes and the rooms. Arrows between modules point
//! one way: `protocol` <- `tables` <- `lpo` <- `shard` <- `control` <- `cli`; `market` and
//! `store` know neither `shard` nor `lpo`.

pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod limits;
pub mod log_filter;
pub mod lpo;
pub mod market;
pub mod parameters;
pub mod shard;
pub mod store;
pub mod tables;
