//! The ledger: who may ask, what they may use, and what they used.
//!
//! [`Ledger`] is the contract; [`SqliteLedger`] is its embedded home, one file that a server
//! and any number of command-line processes open at the same time; [`PostgresLedger`] is its home
//! in Postgres, which any number of nodes share. The store knows neither shards nor sockets: the
//! control plane carries keys out of it and usage into it.

mod error;
mod home;
mod issue;
mod ledger;
mod networks;
mod postgres;
mod rows;
mod sqlite;
#[cfg(test)]
mod suite;
mod symbols;
mod validate;

pub use error::{Result, StoreError};
pub use home::LedgerHome;
pub use issue::{issue_key, rotate_key};
pub use ledger::Ledger;
pub use postgres::{PostgresArgs, PostgresLedger, PostgresSettings, SecretText};
pub use rows::{
    Account, AccountId, AccountPatch, AccountRef, ApiKeyRecord, ChangeStamp, Discrepancy, FlushId,
    FlushOutcome, Grain, KeyPage, KeyPatch, KeySettings, KeyStatus, LedgerAudit, Limits, LoadedKey,
    MAX_DISCREPANCIES, MAX_KEY_NETWORKS, MigrationState, MigrationStatus, NewAccount, NewKey, NewReport,
    Overrides, Parameter, Protocol, Protocols, Rate, ReportCharge, Revocation, Scope, Subscription,
    SymbolUsageRow, Tended, Tier, UnusableKey, UsageRow, UsageSum, UsageTotal, month_start,
};
pub use sqlite::{LEDGER_FILE, SqliteLedger};
pub use symbols::{
    MAX_LEDGER_SYMBOLS, SymbolAlias, SymbolChange, SymbolDefinition, SymbolMarket, SymbolOrigin, SymbolPatch,
    SymbolRecord, SymbolSnapshot,
};
