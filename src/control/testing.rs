//! A real ledger behind a switch: off, it fails or hangs as one that cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use trinity_protocol::KeyId;

use crate::store::{
    Account, AccountId, AccountPatch, AccountRef, ApiKeyRecord, ChangeStamp, FlushId, FlushOutcome, Grain,
    KeyPage, KeyPatch, Ledger, LedgerAudit, MigrationStatus, NewAccount, NewKey, NewReport, Parameter,
    ReportCharge, Result, Revocation, SqliteLedger, StoreError, Subscription, SymbolChange, SymbolDefinition,
    SymbolRecord, SymbolSnapshot, SymbolUsageRow, Tended, Tier, UnusableKey, UsageRow, UsageSum, UsageTotal,
};

/// How the switch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Power {
    On = 0,
    Fails = 1,
    Hangs = 2,
}

pub(super) struct Switched {
    pub(super) inner: SqliteLedger,
    power: AtomicU8,
    /// Keys whose rows are to be read as nonsense.
    pub(super) unusable: Mutex<Vec<UnusableKey>>,
    /// Keys that were read, all in all.
    pub(super) keys_read: AtomicUsize,
    /// Tells of a change.
    pub(super) told: Notify,
}

impl Switched {
    pub(super) fn new(inner: SqliteLedger) -> Arc<Self> {
        Arc::new(Self {
            inner,
            power: AtomicU8::new(Power::On as u8),
            unusable: Mutex::default(),
            keys_read: AtomicUsize::new(0),
            told: Notify::new(),
        })
    }

    pub(super) fn turn(&self, power: Power) {
        self.power.store(power as u8, Ordering::SeqCst);
    }

    async fn reach(&self) -> Result<()> {
        match self.power.load(Ordering::SeqCst) {
            0 => Ok(()),
            1 => Err(StoreError::Engine("connection refused".into())),
            _ => std::future::pending().await,
        }
    }

    /// A page with the nonsense in it.
    fn spoilt(&self, mut page: KeyPage) -> KeyPage {
        self.keys_read.fetch_add(page.keys.len(), Ordering::SeqCst);
        let unusable = self.unusable.lock();
        page.keys.retain(|key| {
            let row = unusable.iter().find(|row| row.key_id == key.key_id);
            page.unusable.extend(row.cloned());
            row.is_none()
        });
        page
    }
}

macro_rules! pass_on {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) -> $gives:ty;)*) => {
        #[async_trait]
        impl Ledger for Switched {
            $(async fn $name(&self, $($arg: $kind),*) -> Result<$gives> {
                self.reach().await?;
                self.inner.$name($($arg),*).await
            })*

            async fn load_keys(&self, after: Option<KeyId>, limit: usize) -> Result<KeyPage> {
                self.reach().await?;
                Ok(self.spoilt(self.inner.load_keys(after, limit).await?))
            }

            async fn load_changed_keys(
                &self,
                since: ChangeStamp,
                after: Option<KeyId>,
                limit: usize,
            ) -> Result<KeyPage> {
                self.reach().await?;
                Ok(self.spoilt(self.inner.load_changed_keys(since, after, limit).await?))
            }

            async fn changed(&self) {
                self.told.notified().await;
            }

            fn engine(&self) -> &'static str {
                "switched"
            }
        }
    };
}

pass_on! {
    fn migrate() -> MigrationStatus;
    fn migration_status() -> MigrationStatus;
    fn tiers() -> Vec<Tier>;
    fn create_tier(tier: &Tier) -> ();
    fn set_tier(tier: &Tier) -> ();
    fn create_account(new: NewAccount) -> Account;
    fn list_accounts() -> Vec<Account>;
    fn account(which: &AccountRef) -> Account;
    fn change_account(which: &AccountRef, patch: &AccountPatch, at_ns: u64) -> Account;
    fn subscriptions(account: AccountId) -> Vec<Subscription>;
    fn create_key(new: NewKey) -> ApiKeyRecord;
    fn list_keys(account: Option<AccountId>) -> Vec<ApiKeyRecord>;
    fn key(key_id: KeyId) -> ApiKeyRecord;
    fn change_key(key_id: KeyId, patch: &KeyPatch) -> ApiKeyRecord;
    fn rotate_key(old: KeyId, new: NewKey, old_ends_at_ns: u64) -> ApiKeyRecord;
    fn revoke_key(key_id: KeyId, at_ns: u64) -> Revocation;
    fn change_stamp() -> ChangeStamp;
    fn month_usage(month_start: u64) -> Vec<(KeyId, u64)>;
    fn month_usage_of(month_start: u64, keys: &[KeyId]) -> Vec<(KeyId, u64)>;
    fn list_parameters() -> Vec<Parameter>;
    fn parameter(name: &str) -> Option<Parameter>;
    fn set_parameter(name: &str, value: &str, at_ns: u64) -> ();
    fn unset_parameter(name: &str) -> bool;
    fn seed_symbols(builtin: &[SymbolDefinition], at_ns: u64) -> u64;
    fn list_symbols() -> Vec<SymbolRecord>;
    fn load_symbols() -> SymbolSnapshot;
    fn change_symbol(change: &SymbolChange, seen: Option<ChangeStamp>, at_ns: u64) -> SymbolRecord;
    fn flush_usage(id: &FlushId, usage: &[UsageRow], symbols: &[SymbolUsageRow]) -> FlushOutcome;
    fn last_flush(node: &str, boot: u64, shard: u32) -> Option<u64>;
    fn usage_total(key_id: KeyId) -> UsageTotal;
    fn usage_sums(grain: Grain, from: u64, to: u64, key_id: Option<KeyId>) -> Vec<UsageSum>;
    fn tend_usage(now: u64, keep_days: u32) -> Tended;
    fn audit() -> LedgerAudit;
    fn charge_report(report: &NewReport) -> ReportCharge;
    fn reports_used(key_id: KeyId, month_start: u64) -> u32;
}
