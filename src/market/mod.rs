//! The market: venues, their quotes, and one price made of them that can be explained.

mod admit;
pub mod aggregate;
mod convert;
pub mod decimal;
pub mod decode;
pub mod engine;
mod evaluate;
pub mod explain;
pub mod feed;
pub mod quote;
pub mod recording;
pub mod replay;
pub mod symbol;
mod symbol_build;
pub mod symbol_row;
mod symbol_rows;
pub mod tap;
pub mod venue;

pub use admit::MAX_VENUE_TIME_AHEAD_NS;
pub use engine::MarketEngine;
pub use explain::{Disposition, Explanation, StatusRule, VenueExplanation};
pub use quote::{AggregatedPrice, Quote, RejectReason};
pub use symbol::{Market, MarketId, SymbolId, SymbolSpec, SymbolTable};
pub use symbol_build::SymbolTableBuilder;
pub use symbol_row::{Alias, MarketRow, SymbolRow};
pub use symbol_rows::SymbolTableError;
