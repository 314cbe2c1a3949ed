//! The contract of a ledger.
//!
//! Times are passed in, not read. Two homes with the same behaviour are meant to stand behind
//! the trait; `suite.rs` holds the promises that each of them must keep.

use async_trait::async_trait;
use trinity_protocol::KeyId;

use super::error::Result;
use super::rows::{
    Account, AccountId, AccountRef, ApiKeyRecord, ChangeStamp, FlushId, FlushOutcome, KeySnapshot,
    MigrationStatus, NewAccount, NewKey, Parameter, Revocation, SymbolUsageRow, Tier, UsageRow, UsageTotal,
};
use super::symbols::{SymbolChange, SymbolDefinition, SymbolRecord, SymbolSnapshot};
#[cfg(doc)]
use super::{error::StoreError, rows::month_start};

/// A ledger. Every call is one transaction: it happens wholly or not at all, and what it
/// reports as done survives the process and the machine. Dropping a call's future does not
/// cancel work that has begun.
#[async_trait]
pub trait Ledger: Send + Sync {
    /// Brings the schema up to date; changes nothing when it is. Two processes may try at once.
    async fn migrate(&self) -> Result<MigrationStatus>;

    /// Where the schema stands.
    async fn migration_status(&self) -> Result<MigrationStatus>;

    /// Every tier, by name.
    async fn tiers(&self) -> Result<Vec<Tier>>;

    /// Makes an account.
    async fn create_account(&self, new: NewAccount) -> Result<Account>;

    /// Every account, by rising id.
    async fn list_accounts(&self) -> Result<Vec<Account>>;

    /// One account; [`StoreError::NoSuchAccount`] if there is none.
    async fn account(&self, which: &AccountRef) -> Result<Account>;

    /// Stores a key; [`StoreError::KeyTaken`] asks the caller to draw another.
    async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord>;

    /// Every key, or those of one account, oldest first.
    async fn list_keys(&self, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>>;

    /// One key; [`StoreError::NoSuchKey`] if there is none.
    async fn key(&self, key_id: KeyId) -> Result<ApiKeyRecord>;

    /// Revokes a key for good. Doing it again is no error and keeps the first time.
    async fn revoke_key(&self, key_id: KeyId, at_ns: u64) -> Result<Revocation>;

    /// Every key with its limits, for a server's key table, with the stamp they belong to.
    async fn load_keys(&self) -> Result<KeySnapshot>;

    /// Changes when anything a server must reload has changed; cheap enough to poll.
    async fn change_stamp(&self) -> Result<ChangeStamp>;

    /// Charged requests (outcome 0) of every known key since `month_start` (Unix seconds, see
    /// [`month_start`]), by rising key id; keys without any are left out.
    async fn month_usage(&self, month_start: u64) -> Result<Vec<(KeyId, u64)>>;

    /// Every parameter that was set, by name.
    async fn list_parameters(&self) -> Result<Vec<Parameter>>;

    /// One parameter, if it was set.
    async fn parameter(&self, name: &str) -> Result<Option<Parameter>>;

    /// Sets a parameter.
    async fn set_parameter(&self, name: &str, value: &str, at_ns: u64) -> Result<()>;

    /// Brings the program's own symbols in: those that are missing are added, in this order, and
    /// those that no operator has touched become what the program has now. Returns how many were
    /// written; none, and no new stamp, when all are as they should be.
    async fn seed_symbols(&self, builtin: &[SymbolDefinition], at_ns: u64) -> Result<u64>;

    /// Every symbol, retired ones included, by rising id.
    async fn list_symbols(&self) -> Result<Vec<SymbolRecord>>;

    /// Every symbol, for a server's table, with the stamp they belong to.
    async fn load_symbols(&self) -> Result<SymbolSnapshot>;

    /// Makes one change and returns the symbol as it is then. With `seen`, the stamp of what the
    /// caller looked at, it is refused with [`StoreError::ChangedMeanwhile`] if anything has
    /// changed since, so that what was checked as a whole is what is written.
    async fn change_symbol(
        &self,
        change: &SymbolChange,
        seen: Option<ChangeStamp>,
        at_ns: u64,
    ) -> Result<SymbolRecord>;

    /// Adds usage to the ledger, once per flush id: a retry after a lost answer changes
    /// nothing. Durable when it returns. Rows for one (key, second, protocol, outcome) add up,
    /// within a flush and across flushes.
    async fn flush_usage(
        &self,
        id: &FlushId,
        usage: &[UsageRow],
        symbols: &[SymbolUsageRow],
    ) -> Result<FlushOutcome>;

    /// Everything recorded for one key, known to the ledger or not.
    async fn usage_total(&self, key_id: KeyId) -> Result<UsageTotal>;
}
