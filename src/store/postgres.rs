//! The ledger's home in Postgres, for nodes that share one.
//!
//! A handle keeps a few connections; calls are jobs that run on one of them, in a transaction that
//! is taken back unless all of it succeeds. A job runs on whoever drops the call's future, and one
//! that only reads is tried again when its connection breaks. Changes of customers and settings go
//! one after the other: each takes the lock on the one row of `revision` first.

mod audit;
mod connect;
mod customers;
mod fault;
mod flush;
mod house;
mod keys;
mod listen;
mod migrate;
mod parameters;
mod pool;
mod reports;
mod secret;
mod settings;
mod sql;
mod sums;
mod symbols;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod wait;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use trinity_protocol::KeyId;

pub use secret::SecretText;
pub use settings::{PostgresArgs, PostgresSettings};

use self::flush::Batch;
use self::listen::Listener;
use self::pool::{Connections, Kind, Session};
use super::error::{Result, StoreError};
use super::ledger::Ledger;
use super::rows::{
    Account, AccountId, AccountPatch, AccountRef, ApiKeyRecord, ChangeStamp, FlushId, FlushOutcome, Grain,
    KeyPage, KeyPatch, LedgerAudit, MigrationStatus, NewAccount, NewKey, NewReport, Parameter, ReportCharge,
    Revocation, Subscription, SymbolUsageRow, Tended, Tier, UsageRow, UsageSum, UsageTotal,
};
use super::symbols::{SymbolChange, SymbolDefinition, SymbolRecord, SymbolSnapshot};
use super::validate;

/// A handle on a ledger in Postgres. Clones share its connections.
#[derive(Clone)]
pub struct PostgresLedger {
    shared: Arc<Shared>,
}

struct Shared {
    settings: PostgresSettings,
    connections: Connections,
    /// Started by the first who wants to hear of changes.
    listener: OnceLock<Listener>,
    /// Days that have their partitions, or need none.
    days: Mutex<HashSet<i64>>,
}

impl PostgresLedger {
    /// Connects to the ledger, making its schema or bringing it up to date.
    pub async fn open_or_create(settings: PostgresSettings) -> Result<Self> {
        let ledger = Self::new(settings);
        ledger.migrate().await?;
        Ok(ledger)
    }

    /// Connects to the ledger that is there and brings its schema up to date;
    /// [`StoreError::NotMigrated`] if the database is empty.
    pub async fn open_existing(settings: PostgresSettings) -> Result<Self> {
        let ledger = Self::new(settings);
        if ledger.migration_status().await?.current == 0 {
            return Err(StoreError::NotMigrated);
        }
        ledger.migrate().await?;
        Ok(ledger)
    }

    /// A handle that has not connected yet and leaves the schema as it is.
    pub fn new(settings: PostgresSettings) -> Self {
        if settings.has_password_in_url() {
            tracing::warn!(
                "the password for Postgres stands in AURORA_URL; in PGPASSWORD_FILE or AURORA_SECRET_FILE fewer can see it"
            );
        }
        Self {
            shared: Arc::new(Shared {
                connections: Connections::new(settings.clone()),
                settings,
                listener: OnceLock::new(),
                days: Mutex::default(),
            }),
        }
    }

    /// Runs a job to its end, whether or not anybody goes on waiting for it.
    async fn run<T, F>(&self, kind: Kind, job: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'a> Fn(&'a mut Session) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    {
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { shared.connections.run(kind, &job).await });
        task.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Makes room for days that may have none.
    async fn make_days(&self, days: Vec<i64>) -> Result<u32> {
        let missing: Arc<[i64]> = {
            let known = self.shared.days.lock();
            days.into_iter().filter(|day| !known.contains(day)).collect()
        };
        if missing.is_empty() {
            return Ok(0);
        }
        let wanted = Arc::clone(&missing);
        let made = self
            .run(Kind::Write, move |session| {
                let days = Arc::clone(&wanted);
                Box::pin(async move { house::make_days(session, &days).await })
            })
            .await?;
        self.shared.days.lock().extend(missing.iter());
        Ok(made)
    }
}

/// A job for [`PostgresLedger::run`]: names of what it borrows for each try, then the call.
macro_rules! job {
    ($session:ident $(, $value:ident)* => $call:expr) => {{
        $(let $value = Arc::new($value);)*
        job(move |$session: &mut Session| {
            $(let $value = Arc::clone(&$value);)*
            Box::pin(async move { $call.await })
        })
    }};
}

/// Tells the compiler what a closure is before it guesses.
fn job<T, F>(job: F) -> F
where
    F: for<'a> Fn(&'a mut Session) -> BoxFuture<'a, Result<T>>,
{
    job
}

#[async_trait]
impl Ledger for PostgresLedger {
    async fn migrate(&self) -> Result<MigrationStatus> {
        loop {
            let now = self.migration_status().await?;
            if now.is_current() {
                return Ok(now);
            }
            self.run(Kind::LongWrite, job!(s => migrate::step(s))).await?;
        }
    }

    async fn migration_status(&self) -> Result<MigrationStatus> {
        self.run(Kind::Snapshot, job!(s => migrate::status(s))).await
    }

    async fn tiers(&self) -> Result<Vec<Tier>> {
        self.run(Kind::Read, job!(s => customers::tiers(s))).await
    }

    async fn create_tier(&self, tier: &Tier) -> Result<()> {
        validate::tier(tier)?;
        let tier = tier.clone();
        self.run(Kind::Write, job!(s, tier => customers::create_tier(s, &tier)))
            .await
    }

    async fn set_tier(&self, tier: &Tier) -> Result<()> {
        validate::tier(tier)?;
        let tier = tier.clone();
        self.run(Kind::Write, job!(s, tier => customers::set_tier(s, &tier)))
            .await
    }

    async fn create_account(&self, new: NewAccount) -> Result<Account> {
        validate::account(&new)?;
        self.run(Kind::Write, job!(s, new => customers::create_account(s, &new)))
            .await
    }

    async fn list_accounts(&self) -> Result<Vec<Account>> {
        self.run(Kind::Read, job!(s => customers::list_accounts(s))).await
    }

    async fn account(&self, which: &AccountRef) -> Result<Account> {
        let which = which.clone();
        self.run(Kind::Read, job!(s, which => customers::account(s, &which)))
            .await
    }

    async fn change_account(&self, which: &AccountRef, patch: &AccountPatch, at_ns: u64) -> Result<Account> {
        validate::account_patch(patch)?;
        let (which, patch) = (which.clone(), patch.clone());
        let job = job!(s, which, patch => customers::change_account(s, &which, &patch, at_ns));
        self.run(Kind::Write, job).await
    }

    async fn subscriptions(&self, account: AccountId) -> Result<Vec<Subscription>> {
        self.run(Kind::Read, job!(s => customers::subscriptions(s, account)))
            .await
    }

    async fn create_key(&self, new: NewKey) -> Result<ApiKeyRecord> {
        validate::key(&new)?;
        self.run(Kind::Write, job!(s, new => keys::create_key(s, &new, None)))
            .await
    }

    async fn list_keys(&self, account: Option<AccountId>) -> Result<Vec<ApiKeyRecord>> {
        self.run(Kind::Read, job!(s => keys::list_keys(s, account))).await
    }

    async fn key(&self, key_id: KeyId) -> Result<ApiKeyRecord> {
        self.run(Kind::Read, job!(s => keys::key(s, key_id))).await
    }

    async fn change_key(&self, key_id: KeyId, patch: &KeyPatch) -> Result<ApiKeyRecord> {
        validate::key_patch(patch)?;
        let patch = patch.clone();
        self.run(Kind::Write, job!(s, patch => keys::change_key(s, key_id, &patch)))
            .await
    }

    async fn rotate_key(&self, old: KeyId, new: NewKey, old_ends_at_ns: u64) -> Result<ApiKeyRecord> {
        validate::key(&new)?;
        let job = job!(s, new => keys::rotate_key(s, old, &new, old_ends_at_ns));
        self.run(Kind::Write, job).await
    }

    async fn revoke_key(&self, key_id: KeyId, at_ns: u64) -> Result<Revocation> {
        self.run(Kind::Write, job!(s => keys::revoke_key(s, key_id, at_ns)))
            .await
    }

    async fn load_keys(&self, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
        self.run(Kind::Read, job!(s => keys::load_keys(s, after, limit)))
            .await
    }

    async fn load_changed_keys(
        &self,
        since: ChangeStamp,
        after: Option<KeyId>,
        limit: usize,
    ) -> Result<KeyPage> {
        let job = job!(s => keys::load_changed_keys(s, since, after, limit));
        self.run(Kind::Snapshot, job).await
    }

    async fn changed(&self) {
        let start = || Listener::start(self.shared.settings.clone());
        self.shared.listener.get_or_init(start).changed().await;
    }

    async fn change_stamp(&self) -> Result<ChangeStamp> {
        self.run(Kind::Read, job!(s => parameters::change_stamp(s))).await
    }

    async fn month_usage(&self, month_start: u64) -> Result<Vec<(KeyId, u64)>> {
        self.run(Kind::Read, job!(s => sums::month_usage(s, month_start)))
            .await
    }

    async fn month_usage_of(&self, month_start: u64, keys: &[KeyId]) -> Result<Vec<(KeyId, u64)>> {
        let keys = keys.to_vec();
        self.run(
            Kind::Read,
            job!(s, keys => sums::month_usage_of(s, month_start, &keys)),
        )
        .await
    }

    async fn list_parameters(&self) -> Result<Vec<Parameter>> {
        self.run(Kind::Read, job!(s => parameters::list(s))).await
    }

    async fn parameter(&self, name: &str) -> Result<Option<Parameter>> {
        let name = name.to_owned();
        self.run(Kind::Read, job!(s, name => parameters::get_one(s, &name)))
            .await
    }

    async fn set_parameter(&self, name: &str, value: &str, at_ns: u64) -> Result<()> {
        validate::parameter(name, value)?;
        let (name, value) = (name.to_owned(), value.to_owned());
        let job = job!(s, name, value => parameters::set(s, &name, &value, at_ns));
        self.run(Kind::Write, job).await
    }

    async fn unset_parameter(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.run(Kind::Write, job!(s, name => parameters::unset(s, &name)))
            .await
    }

    async fn seed_symbols(&self, builtin: &[SymbolDefinition], at_ns: u64) -> Result<u64> {
        let builtin = builtin.to_vec();
        self.run(Kind::Write, job!(s, builtin => symbols::seed(s, &builtin, at_ns)))
            .await
    }

    async fn list_symbols(&self) -> Result<Vec<SymbolRecord>> {
        self.run(Kind::Snapshot, job!(s => symbols::list(s))).await
    }

    async fn load_symbols(&self) -> Result<SymbolSnapshot> {
        self.run(Kind::Snapshot, job!(s => symbols::load(s))).await
    }

    async fn change_symbol(
        &self,
        change: &SymbolChange,
        seen: Option<ChangeStamp>,
        at_ns: u64,
    ) -> Result<SymbolRecord> {
        let change = change.clone();
        self.run(
            Kind::Write,
            job!(s, change => symbols::change(s, &change, seen, at_ns)),
        )
        .await
    }

    async fn flush_usage(
        &self,
        id: &FlushId,
        usage: &[UsageRow],
        symbols: &[SymbolUsageRow],
    ) -> Result<FlushOutcome> {
        validate::flush(id, usage, symbols)?;
        let batch = Arc::new(Batch::new(id, usage, symbols)?);
        self.make_days(batch.days()).await?;
        let flush = || {
            let batch = Arc::clone(&batch);
            self.run(Kind::Flush, job!(s, batch => flush::flush(s, &batch)))
        };
        match flush().await {
            // A day that this handle takes for made may be gone: somebody else restored the database, or
            // dropped the day by hand.
            Err(StoreError::Refused(_)) => {
                self.shared.days.lock().clear();
                self.make_days(batch.days()).await?;
                flush().await
            }
            other => other,
        }
    }

    async fn last_flush(&self, node: &str, boot: u64, shard: u32) -> Result<Option<u64>> {
        let node = node.to_owned();
        self.run(
            Kind::Read,
            job!(s, node => flush::last_flush(s, &node, boot, shard)),
        )
        .await
    }

    async fn usage_total(&self, key_id: KeyId) -> Result<UsageTotal> {
        self.run(Kind::Read, job!(s => sums::total(s, key_id))).await
    }

    async fn usage_sums(
        &self,
        grain: Grain,
        from: u64,
        to: u64,
        key_id: Option<KeyId>,
    ) -> Result<Vec<UsageSum>> {
        self.run(Kind::Read, job!(s => sums::sums(s, grain, from, to, key_id)))
            .await
    }

    async fn tend_usage(&self, now: u64, keep_days: u32) -> Result<Tended> {
        let today = house::day_of(now);
        let made = self
            .make_days((today..=today + house::DAYS_AHEAD).collect())
            .await?;
        let mut tended = Tended { made, dropped: 0 };
        let kept_from = today - i64::from(keep_days) - 1;
        if kept_from <= 0 {
            return Ok(tended);
        }
        self.run(Kind::Write, job!(s => house::keep_from(s, kept_from)))
            .await?;
        let old = self
            .run(Kind::Read, job!(s => house::days_before(s, kept_from)))
            .await?;
        for day in old.into_iter().take(house::MAX_DROPPED) {
            self.shared.days.lock().remove(&day);
            if self.run(Kind::Write, job!(s => house::drop_day(s, day))).await? {
                tended.dropped += 1;
            }
        }
        Ok(tended)
    }

    async fn audit(&self) -> Result<LedgerAudit> {
        self.run(Kind::LongSnapshot, job!(s => audit::audit(s))).await
    }

    async fn charge_report(&self, report: &NewReport) -> Result<ReportCharge> {
        validate::report(report)?;
        let report = report.clone();
        self.run(Kind::Write, job!(s, report => reports::charge(s, &report)))
            .await
    }

    async fn reports_used(&self, key_id: KeyId, month_start: u64) -> Result<u32> {
        self.run(Kind::Read, job!(s => reports::used(s, key_id, month_start)))
            .await
    }

    fn engine(&self) -> &'static str {
        "postgres"
    }
}
