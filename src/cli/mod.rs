//! The command line, one file per command.

pub mod accounts;
pub mod keys;
mod ledger;
pub mod output;
#[cfg(test)]
mod tests;

pub use ledger::LedgerArgs;
