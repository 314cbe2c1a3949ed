//! The command line, one file per command.

pub mod accounts;
pub mod keys;
mod ledger;
pub mod output;
pub mod query;
#[cfg(test)]
mod tests;
pub mod watch;

pub use ledger::LedgerArgs;
