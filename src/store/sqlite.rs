//! The embedded home of the ledger: one SQLite file in the data directory.
//!
//! A server and command-line processes open the same file at once. Write-ahead logging lets
//! them read while one of them writes; every write takes the write lock at its beginning
//! (`BEGIN IMMEDIATE`), so that waiting ends at the busy timeout and never in a deadlock. A
//! handle has two connections: polling for changes never queues behind a flush.

mod customers;
mod migrate;
#[cfg(test)]
mod process_tests;
mod settings;
mod symbols;
#[cfg(test)]
mod tests;
mod usage;

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::task::spawn_blocking;
use trinity_protocol::KeyId;

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

/// How long a write waits for another process's write. Writes take milliseconds, so a longer
/// wait means that somebody holds the file open in a transaction by hand.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// What the write-ahead log is cut back to after a checkpoint, in bytes.
const MAX_IDLE_WAL: i64 = 64 << 20;

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

    async fn open(data_dir: &Path, create: bool) -> Result<Self> {
        let data_dir = data_dir.to_owned();
        let ledger = blocking(move || {
            let path = data_dir.join(LEDGER_FILE);
            if create {
                create_private(&data_dir, &path)?;
            } else if !path.try_exists().map_err(|e| cannot_open(&path, e))? {
                return Err(StoreError::Missing { path });
            }
            Self::open_file(&path)
        })
        .await?;
        ledger.migrate().await?;
        Ok(ledger)
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

    async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord> {
        validate::key(&new)?;
        self.write(move |tx| customers::create_key(tx, &new)).await
    }

    async fn list_keys(&self, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>> {
        self.read(move |tx| customers::list_keys(tx, account)).await
    }

    async fn key(&self, key_id: KeyId) -> Result<ApiKeyRecord> {
        self.read(move |tx| customers::key(tx, key_id)).await
    }

    async fn revoke_key(&self, key_id: KeyId, at_ns: u64) -> Result<Revocation> {
        self.write(move |tx| customers::revoke_key(tx, key_id, at_ns))
            .await
    }

    async fn load_keys(&self, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
        self.read(move |tx| customers::load_keys(tx, after, limit)).await
    }

    async fn load_changed_keys(
        &self,
        _since: ChangeStamp,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<KeyPage> {
        self.load_keys(after, limit).await
    }

    async fn changed(&self) {
        std::future::pending::<()>().await;
    }

    async fn create_tier(&self, _tier: &Tier) -> Result<()> {
        Err(StoreError::NotMigrated)
    }

    async fn set_tier(&self, _tier: &Tier) -> Result<()> {
        Err(StoreError::NotMigrated)
    }

    async fn change_account(
        &self,
        _which: &AccountRef,
        _patch: &AccountPatch,
        _at_ns: u64,
    ) -> Result<Account> {
        Err(StoreError::NotMigrated)
    }

    async fn subscriptions(&self, _account: AccountId) -> Result<Vec<Subscription>> {
        Err(StoreError::NotMigrated)
    }

    async fn change_key(&self, _key_id: KeyId, _patch: &KeyPatch) -> Result<ApiKeyRecord> {
        Err(StoreError::NotMigrated)
    }

    async fn rotate_key(&self, _old: KeyId, _new: NewKey, _old_ends_at_ns: u64) -> Result<ApiKeyRecord> {
        Err(StoreError::NotMigrated)
    }

    async fn unset_parameter(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |tx| settings::unset(tx, &name)).await
    }

    async fn usage_sums(
        &self,
        _grain: Grain,
        _from: u64,
        _to: u64,
        _key_id: Option<KeyId>,
    ) -> Result<Vec<UsageSum>> {
        Err(StoreError::NotMigrated)
    }

    async fn tend_usage(&self, _now: u64, _keep_days: u32) -> Result<Tended> {
        Err(StoreError::NotMigrated)
    }

    async fn audit(&self) -> Result<LedgerAudit> {
        Err(StoreError::NotMigrated)
    }

    async fn charge_report(&self, _report: &NewReport) -> Result<ReportCharge> {
        Err(StoreError::NotMigrated)
    }

    async fn reports_used(&self, _key_id: KeyId, _month_start: u64) -> Result<u32> {
        Err(StoreError::NotMigrated)
    }

    fn engine(&self) -> &'static str {
        "sqlite"
    }

    async fn change_stamp(&self) -> Result<ChangeStamp> {
        self.read(|tx| settings::change_stamp(tx)).await
    }

    async fn month_usage(&self, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
        self.read(move |tx| usage::month_usage(tx, month_start)).await
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

    async fn usage_total(&self, key_id: KeyId) -> Result<UsageTotal> {
        self.read(move |tx| usage::total(tx, key_id)).await
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

/// Opens one connection on an existing file.
fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Hand-made schemas must not run code of their own, nor SQL write into the schema.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    let mode = write_ahead(&connection).map_err(|error| match error {
        StoreError::Engine(source) => StoreError::CannotOpen {
            path: path.to_owned(),
            source,
        },
        other => other,
    })?;
    if mode != "wal" {
        return Err(StoreError::FileSystem {
            path: path.to_owned(),
            mode,
        });
    }
    // FULL: a commit is on the disk before it is reported, through a loss of power as well.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_IDLE_WAL)?;
    Ok(connection)
}

/// Switches to write-ahead logging and returns the mode granted. The very first switch needs
/// the whole file for itself, and SQLite does not wait for that: two first openers must.
fn write_ahead(connection: &Connection) -> Result<String> {
    let deadline = crate::clock::monotonic() + BUSY_TIMEOUT;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        match mode.map_err(StoreError::from) {
            Err(StoreError::Locked) if crate::clock::monotonic() < deadline => thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
}

fn create_private(data_dir: &Path, path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|e| cannot_open(path, e))?;
    // SQLite gives its -wal and -shm files the mode of the main file.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(cannot_open(path, e)),
        _ => Ok(()),
    }
}

fn cannot_open(path: &Path, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::CannotOpen {
        path: PathBuf::from(path),
        source: source.into(),
    }
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
