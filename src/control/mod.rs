//! The control plane: everything that may block, fail and come back.
//!
//! It is the only place where shard, market and store meet. Data crosses to the data plane
//! by the price tables, the swapped key table and the meters' rings only.

pub mod calendar;
pub mod data_dir;
pub mod demo;
pub mod explain;
pub mod health;
pub mod journal;
pub mod keys;
pub mod live;
pub mod market;
pub mod node;
pub mod ops;
pub mod shards;
pub mod supervise;
pub mod symbols;
pub mod usage;
pub mod web;
