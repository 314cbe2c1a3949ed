//! The embedded home of the ledger: one SQLite file in the data directory.
//!
//! A server and command-line processes open the same file at once. Write-ahead logging lets
//! them read while one of them writes; every write takes the write lock at its beginning
//! (`BEGIN IMMEDIATE`), so that waiting ends at the busy timeout and never in a deadlock. A
//! handle has two connections: polling for changes never queues behind a flush.

mod audit;
mod customers;
mod file;
mod house;
mod keys;
mod migrate;
#[cfg(test)]
mod process_tests;
mod reports;
mod settings;
mod sums;
mod symbols;
#[cfg(test)]
mod tests;
mod usage;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};
use tokio::task::spawn_blocking;
use trinity_protocol::KeyId;

use self::file::{cannot_open, connect, create_private};
use super::error::{Result, StoreError};
use super::ledger::Ledger;
use super::rows::{
    Account, AccountId, AccountPatch, AccountRef, ApiKeyRecord, ChangeStamp, FlushId, FlushOutcome, Grain,
    KeyPage, KeyPatch, LedgerAudit, MigrationStatus, NewAccount, NewKey, NewReport, Parameter, ReportCharge,
    Revocation, Subscription, SymbolUsageRow, Tended, Tier, UsageRow, UsageSum, UsageTotal,
};
use super::symbols::{SymbolChange, SymbolDefinition, SymbolRecord, SymbolSnapshot};
use super::validate;

/// The ledger's file in the data directory.
pub const LEDGER_FILE: &str = "ledger.db";

/// A handle on a ledger file. Clones share it; calls run on tokio's blocking threads.
#[derive(Clone)]
pub struct SqliteLedger {
    connections: Arc<Connections>,
}

struct Connections {
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
}

impl SqliteLedger {
    /// Opens the ledger in `data_dir`, making the directory (mode 0700) and the file (mode
    /// 0600: it holds what requests are signed with) if they are missing, and brings its
    /// schema up to date.
    pub async fn open_or_create(data_dir: &Path) -> Result<Self> {
        Self::open(data_dir, true).await
    }

    /// Opens the ledger in `data_dir` and brings its schema up to date;
    /// [`StoreError::Missing`] if there is none.
    pub async fn open_existing(data_dir: &Path) -> Result<Self> {
        Self::open(data_dir, false).await
    }

    /// Opens the ledger in `data_dir` and leaves its schema as it is; [`StoreError::Missing`] if
    /// there is none.
    pub async fn open_as_it_is(data_dir: &Path) -> Result<Self> {
        Self::open_at(data_dir, false).await
    }

    async fn open(data_dir: &Path, create: bool) -> Result<Self> {
        let ledger = Self::open_at(data_dir, create).await?;
        ledger.migrate().await?;
        Ok(ledger)
    }

    async fn open_at(data_dir: &Path, create: bool) -> Result<Self> {
        let data_dir = data_dir.to_owned();
        blocking(move || {
            let path = data_dir.join(LEDGER_FILE);
            if create {
                create_private(&data_dir, &path)?;
            } else if !path.try_exists().map_err(|e| cannot_open(&path, e))? {
                return Err(StoreError::Missing { path });
            }
            Self::open_file(&path)
        })
        .await
    }

    /// Opens an existing file and leaves its schema as it is.
    fn open_file(path: &Path) -> Result<Self> {
        let writer = connect(path)?;
        let reader = connect(path)?;
        reader.pragma_update(None, "query_only", true)?;
        let connections = Connections {
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
        };
        Ok(Self {
            connections: Arc::new(connections),
        })
    }

    /// Runs `job` in a transaction that holds the write lock; commits if it succeeds.
    async fn write<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        blocking(move || {
            let mut writer = connections.writer.lock();
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = job(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })
        .await
    }

    /// Runs `job` on one snapshot of the ledger.
    async fn read<T, F>(&self, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    {
        let connections = Arc::clone(&self.connections);
        blocking(move || job(&connections.reader.lock().transaction()?)).await
    }
}

#[async_trait]
impl Ledger for SqliteLedger {
    async fn migrate(&self) -> Result<MigrationStatus> {
        let connections = Arc::clone(&self.connections);
        blocking(move || migrate::up(&mut connections.writer.lock())).await
    }

    async fn migration_status(&self) -> Result<MigrationStatus> {
        self.read(|tx| migrate::status(tx)).await
    }

    async fn tiers(&self) -> Result<Vec<Tier>> {
        self.read(|tx| customers::tiers(tx)).await
    }

    async fn create_tier(&self, tier: &Tier) -> Result<()> {
        validate::tier(tier)?;
        let tier = tier.clone();
        self.write(move |tx| customers::create_tier(tx, &tier)).await
    }

    async fn set_tier(&self, tier: &Tier) -> Result<()> {
        validate::tier(tier)?;
        let tier = tier.clone();
        self.write(move |tx| customers::set_tier(tx, &tier)).await
    }

    async fn create_account(&self, new: NewAccount) -> Result<Account> {
        validate::account(&new)?;
        self.write(move |tx| customers::create_account(tx, new)).await
    }

    async fn list_accounts(&self) -> Result<Vec<Account>> {
        self.read(|tx| customers::list_accounts(tx)).await
    }

    async fn account(&self, which: &AccountRef) -> Result<Account> {
        let which = which.clone();
        self.read(move |tx| customers::account(tx, &which)).await
    }

    async fn change_account(&self, which: &AccountRef, patch: &AccountPatch, at_ns: u64) -> Result<Account> {
        validate::account_patch(patch)?;
        let (which, patch) = (which.clone(), patch.clone());
        self.write(move |tx| customers::change_account(tx, &which, &patch, at_ns))
            .await
    }

    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>> {
        self.read(move |tx| customers::subscriptions(tx, account)).await
    }

    async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord> {
        validate::key(&new)?;
        self.write(move |tx| keys::create_key(tx, &new, None)).await
    }

    async fn list_keys(&self, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>> {
        self.read(move |tx| keys::list_keys(tx, account)).await
    }

    async fn key(&self, key_id: KeyId) -> Result<ApiKeyRecord> {
        self.read(move |tx| keys::key(tx, key_id)).await
    }

    async fn change_key(&self, key_id: KeyId, patch: &KeyPatch) -> Result<ApiKeyRecord> {
        validate::key_patch(patch)?;
        let patch = patch.clone();
        self.write(move |tx| keys::change_key(tx, key_id, &patch)).await
    }

    async fn rotate_key(&self, old: KeyId, new: NewKey, old_ends_at_ns: u64) -> Result<ApiKeyRecord> {
        validate::key(&new)?;
        self.write(move |tx| keys::rotate_key(tx, old, &new, old_ends_at_ns))
            .await
    }

    async fn revoke_key(&self, key_id: KeyId, at_ns: u64) -> Result<Revocation> {
        self.write(move |tx| keys::revoke_key(tx, key_id, at_ns)).await
    }

    async fn load_keys(&self, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
        self.read(move |tx| keys::load_keys(tx, after, limit)).await
    }

    async fn load_changed_keys(
        &self,
        since: ChangeStamp,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<KeyPage> {
        self.read(move |tx| keys::load_changed_keys(tx, since, after, limit))
            .await
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    async fn change_stamp(&self) -> Result<ChangeStamp> {
        self.read(|tx| settings::change_stamp(tx)).await
    }

    async fn month_usage(&self, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
        self.read(move |tx| sums::month_usage(tx, month_start)).await
    }

    async fn month_usage_of(&self, month_start: u64, keys: &[KeyId]) -> Result<Vec<(KeyId, u64)>> {
        let keys = keys.to_vec();
        self.read(move |tx| sums::month_usage_of(tx, month_start, &keys))
            .await
    }

    async fn list_parameters(&self) -> Result<Vec<Parameter>> {
        self.read(|tx| settings::list(tx)).await
    }

    async fn parameter(&self, name: &str) -> Result<Option<Parameter>> {
        let name = name.to_owned();
        self.read(move |tx| settings::get(tx, &name)).await
    }

    async fn set_parameter(&self, name: &str, value: &str, at_ns: u64) -> Result<()> {
        validate::parameter(name, value)?;
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |tx| settings::set(tx, &name, &value, at_ns))
            .await
    }

    async fn unset_parameter(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |tx| settings::unset(tx, &name)).await
    }

    async fn seed_symbols(&self, builtin: &[SymbolDefinition], at_ns: u64) -> Result<u64> {
        let builtin = builtin.to_vec();
        self.write(move |tx| symbols::seed(tx, &builtin, at_ns)).await
    }

    async fn list_symbols(&self) -> Result<Vec<SymbolRecord>> {
        self.read(|tx| symbols::list(tx)).await
    }

    async fn load_symbols(&self) -> Result<SymbolSnapshot> {
        self.read(|tx| symbols::load(tx)).await
    }

    async fn change_symbol(
        &self,
        change: &SymbolChange,
        seen: Option<ChangeStamp>,
        at_ns: u64,
    ) -> Result<SymbolRecord> {
        let change = change.clone();
        self.write(move |tx| symbols::change(tx, &change, seen, at_ns))
            .await
    }

    async fn flush_usage(
        &self,
        id: &FlushId,
        usage: &[UsageRow],
        symbols: &[SymbolUsageRow],
    ) -> Result<FlushOutcome> {
        validate::flush(id, usage, symbols)?;
        let (id, usage, symbols) = (id.clone(), usage.to_vec(), symbols.to_vec());
        self.write(move |tx| usage::flush(tx, &id, &usage, &symbols))
            .await
    }

    async fn last_flush(&self, node: &str, boot: u64, shard: u32) -> Result<Option<u64>> {
        let node = node.to_owned();
        self.read(move |tx| usage::last_flush(tx, &node, boot, shard))
            .await
    }

    async fn usage_total(&self, key_id: KeyId) -> Result<UsageTotal> {
        self.read(move |tx| sums::total(tx, key_id)).await
    }

    async fn usage_sums(
        &self,
        grain: Grain,
        from: u64,
        to: u64,
        key_id: Option<KeyId>,
    ) -> Result<Vec<UsageSum>> {
        self.read(move |tx| sums::sums(tx, grain, from, to, key_id)).await
    }

    async fn tend_usage(&self, now: u64, keep_days: u32) -> Result<Tended> {
        self.write(move |tx| house::tend(tx, now, keep_days)).await
    }

    async fn audit(&self) -> Result<LedgerAudit> {
        self.read(|tx| audit::audit(tx)).await
    }

    async fn charge_report(&self, report: &NewReport) -> Result<ReportCharge> {
        validate::report(report)?;
        let report = report.clone();
        self.write(move |tx| reports::charge(tx, &report)).await
    }

    async fn reports_used(&self, key_id: KeyId, month_start: u64) -> Result<u32> {
        self.read(move |tx| reports::used(tx, key_id, month_start)).await
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let rusqlite::Error::SqliteFailure(code, message) = &error else {
            return Self::Engine(error.into());
        };
        let message = message.as_deref().unwrap_or_default();
        match code.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
            ErrorCode::DiskFull => Self::DiskFull,
            ErrorCode::ReadOnly => Self::ReadOnly,
            ErrorCode::NotADatabase => Self::NotALedger,
            ErrorCode::DatabaseCorrupt => Self::Corrupt(error.into()),
            ErrorCode::ConstraintViolation => Self::Refused(message.to_owned()),
            _ if message.starts_with("no such table") || message.starts_with("no such column") => {
                Self::NotMigrated
            }
            _ => Self::Engine(error.into()),
        }
    }
}

async fn blocking<T, F>(job: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T> + Send + 'static,
{
    spawn_blocking(job).await.unwrap_or(Err(StoreError::Stopped))
}

/// A number for an SQL integer, which is signed.
fn sql_integer(what: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Invalid {
        what,
        why: "is 2^63 or more",
    })
}

/// A number from a column that a CHECK keeps from being negative.
fn unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

fn optional_unsigned(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    value
        .map(|v| u64::try_from(v).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, v)))
        .transpose()
}
