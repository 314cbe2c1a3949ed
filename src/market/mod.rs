//! The market: venues, their quotes, and one price made of them.

pub mod decimal;
pub mod venue;
