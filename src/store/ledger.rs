//! The contract of a ledger.
//!
//! Times are passed in, not read. Two homes with the same behaviour are meant to stand behind
//! the trait; `suite.rs` holds the promises that each of them must keep.

use async_trait::async_trait;
use trinity_protocol::KeyId;

use super::error::Result;
use super::rows::{
    Account, AccountId, AccountPatch, AccountRef, ApiKeyRecord, ChangeStamp, FlushId, FlushOutcome, Grain,
    KeyPage, KeyPatch, LedgerAudit, MigrationStatus, NewAccount, NewKey, NewReport, Parameter, ReportCharge,
    Revocation, Subscription, SymbolUsageRow, Tended, Tier, UsageRow, UsageSum, UsageTotal,
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

    /// Makes a tier; [`StoreError::TierExists`] if there is one of this name.
    async fn create_tier(&self, tier: &Tier) -> Result<()>;

    /// Gives a tier other limits; [`StoreError::NoSuchTier`] if there is none.
    async fn set_tier(&self, tier: &Tier) -> Result<()>;

    /// Makes an account.
    async fn create_account(&self, new: NewAccount) -> Result<Account>;

    /// Every account, by rising id.
    async fn list_accounts(&self) -> Result<Vec<Account>>;

    /// One account; [`StoreError::NoSuchAccount`] if there is none.
    async fn account(&self, which: &AccountRef) -> Result<Account>;

    /// Changes an account and returns it as it is then.
    async fn change_account(&self, which: &AccountRef, patch: &AccountPatch, at_ns: u64) -> Result<Account>;

    /// Which tiers an account had, the oldest first; the last one holds.
    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>>;

    /// Stores a key; [`StoreError::KeyTaken`] asks the caller to draw another.
    async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord>;

    /// Every key, or those of one account, oldest first.
    async fn list_keys(&self, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>>;

    /// One key; [`StoreError::NoSuchKey`] if there is none.
    async fn key(&self, key_id: KeyId) -> Result<ApiKeyRecord>;

    /// Changes a key and returns it as it is then. A revoked key may be changed and stays revoked.
    async fn change_key(&self, key_id: KeyId, patch: &KeyPatch) -> Result<ApiKeyRecord>;

    /// Stores a key that takes the place of another, which is refused from `old_ends_at_ns` on (or
    /// from when it ends anyway, if that is sooner). `new` must be of the same account. A key that
    /// is revoked cannot be rotated: [`StoreError::KeyRevoked`].
    async fn rotate_key(&self, old: KeyId, new: NewKey, old_ends_at_ns: u64) -> Result<ApiKeyRecord>;

    /// Revokes a key for good. Doing it again is no error and keeps the first time.
    async fn revoke_key(&self, key_id: KeyId, at_ns: u64) -> Result<Revocation>;

    /// Keys with their limits, for a server's key table: at most `limit` of them, by rising key id
    /// after `after`. A server reads [`Ledger::change_stamp`] first and then page by page: what
    /// changes meanwhile has a later stamp.
    async fn load_keys(&self, after: Option<KeyId>, limit: usize) -> Result<KeyPage>;

    /// The same, but only keys that anything has changed for since `since`: their own rows, their
    /// accounts or their tiers.
    async fn load_changed_keys(
        &self,
        since: ChangeStamp,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<KeyPage>;

    /// Returns when the ledger has told of a change, or may have missed telling; never, where it
    /// does not tell. Servers poll [`Ledger::change_stamp`] besides.
    async fn changed(&self);

    /// Changes when anything a server must reload has changed; cheap enough to poll.
    async fn change_stamp(&self) -> Result<ChangeStamp>;

    /// Charged requests (outcome 0) of every known key since `month_start` (Unix seconds, see
    /// [`month_start`]), by rising key id; keys without any are left out.
    async fn month_usage(&self, month_start: u64) -> Result<Vec<(KeyId, u64)>>;

    /// The same of these keys only, for a server that sees them for the first time.
    async fn month_usage_of(&self, month_start: u64, keys: &[KeyId]) -> Result<Vec<(KeyId, u64)>>;

    /// Every parameter that was set, by name.
    async fn list_parameters(&self) -> Result<Vec<Parameter>>;

    /// One parameter, if it was set.
    async fn parameter(&self, name: &str) -> Result<Option<Parameter>>;

    /// Sets a parameter.
    async fn set_parameter(&self, name: &str, value: &str, at_ns: u64) -> Result<()>;

    /// Unsets a parameter, so that its default holds again; tells whether it was set.
    async fn unset_parameter(&self, name: &str) -> Result<bool>;

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
    /// within a flush and across flushes; minutes, hours, days and months are kept in step.
    ///
    /// A counter's flushes must come in the order of their sequences, one after the other: one at
    /// or below the last that was applied is taken for a retry.
    async fn flush_usage(
        &self,
        id: &FlushId,
        usage: &[UsageRow],
        symbols: &[SymbolUsageRow],
    ) -> Result<FlushOutcome>;

    /// The sequence of a counter's last flush that was applied; `None` if there was none.
    async fn last_flush(&self, node: &str, boot: u64, shard: u32) -> Result<Option<u64>>;

    /// Everything recorded for one key, known to the ledger or not.
    async fn usage_total(&self, key_id: KeyId) -> Result<UsageTotal>;

    /// Sums of usage in a grain, for spans that begin in `from..to` (Unix seconds), of one key or
    /// all; ordered by start, key, protocol and outcome.
    async fn usage_sums(
        &self,
        grain: Grain,
        from: u64,
        to: u64,
        key_id: Option<KeyId>,
    ) -> Result<Vec<UsageSum>>;

    /// Keeps house: makes room for the days ahead of `now` (Unix seconds) and drops the seconds of
    /// days that ended more than `keep_days` days before the day of `now`. Sums by minute, hour, day
    /// and month stay. Bounded in what it does at once: call it again while it drops something.
    async fn tend_usage(&self, now: u64, keep_days: u32) -> Result<Tended>;

    /// Holds the usage tables against each other.
    async fn audit(&self) -> Result<LedgerAudit>;

    /// Counts a report, if its key may have one more this month.
    async fn charge_report(&self, report: &NewReport) -> Result<ReportCharge>;

    /// Reports of a key in the UTC calendar month that begins at `month_start` (Unix seconds).
    async fn reports_used(&self, key_id: KeyId, month_start: u64) -> Result<u32>;

    /// Which engine holds it: `sqlite` or `postgres`.
    fn engine(&self) -> &'static str;
}
