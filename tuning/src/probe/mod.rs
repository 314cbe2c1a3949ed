//! The echo probe: what the network between two tasks carries, and how late.
//!
//! [`echo`] runs at one end, [`ladder`] at the other. The ladder climbs rates: at each it sends
//! datagrams at fixed times whatever comes back (an open loop), and counts from the time a datagram
//! was due, so that a stall of either end is in the figures instead of hiding behind them
//! (no coordinated omission).

pub mod echo;
pub mod ladder;
mod pace;
mod rung;
pub mod wire;

pub use rung::{Percentiles, Rung};

#[cfg(test)]
mod tests;
