//! The rows that cross the [`Ledger`](super::Ledger) contract.
//!
//! Times end in `_ns` (nanoseconds since the Unix epoch, UTC) or are called `second` (whole
//! seconds since then).

use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;

use trinity_protocol::{KeyId, Symbol, Verifier};

use super::error::{Result, StoreError};

/// An account's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId(pub i64);

/// An account as a person names it. Names are never all digits, so the two cannot collide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountRef {
    /// By number.
    Id(AccountId),
    /// By exact name.
    Name(String),
}

/// Who is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its number, never given out twice.
    pub id: AccountId,
    /// Its unique name.
    pub name: String,
    /// The name of its tier.
    pub tier: String,
    /// When it was made.
    pub created_at_ns: u64,
    /// Whether all its keys are refused.
    pub disabled: bool,
}

/// What it takes to make an account.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// 1 to 128 characters, no control characters, no space at either end, not all digits.
    pub name: String,
    /// The name of an existing tier.
    pub tier: String,
    /// Now.
    pub created_at_ns: u64,
}

/// What changes of an account; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountPatch {
    /// Another name.
    pub name: Option<String>,
    /// The name of another existing tier.
    pub tier: Option<String>,
    /// Whether all its keys are refused.
    pub disabled: Option<bool>,
}

/// Which tier an account had, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The tier's name.
    pub tier: String,
    /// Since when.
    pub starts_at_ns: u64,
    /// Until when; `None` is the one that holds now.
    pub ends_at_ns: Option<u64>,
}

/// What a tier allows each of its keys. `None` is "no limit"; no limit is ever 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// Charged requests in a UTC calendar month.
    pub requests_per_month: Option<u64>,
    /// Sustained requests per second, at most 10^9; `None` exactly when `burst` is.
    pub requests_per_second: Option<u32>,
    /// Requests that may come at once, at most 10^9.
    pub burst: Option<u32>,
    /// Usage reports in a UTC calendar month.
    pub reports_per_month: Option<u32>,
}

/// A named set of limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Its unique name, for example `pro`.
    pub name: String,
    /// What it allows.
    pub limits: Limits,
}

/// A sustained rate and what may come at once: one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Sustained requests per second, 1 to 10^9.
    pub per_second: u32,
    /// Requests that may come at once, 1 to 10^9.
    pub burst: u32,
}

/// Where a key's limits differ from its tier's. `None` is "as the tier has it", `Some(None)` is
/// "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Overrides {
    /// Charged requests in a UTC calendar month.
    pub requests_per_month: Option<Option<u64>>,
    /// Rate and burst.
    pub rate: Option<Option<Rate>>,
    /// Usage reports in a UTC calendar month.
    pub reports_per_month: Option<Option<u32>>,
}

/// Which protocols a key may be used over; at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocols {
    /// The binary protocol.
    pub udp: bool,
    /// HTTP, WebSocket included.
    pub http: bool,
}

/// What a key may see of usage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Its own account's.
    #[default]
    Customer,
    /// Everybody's.
    Operator,
}

/// What of a key may change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySettings {
    /// Which protocols it may be used over.
    pub protocols: Protocols,
    /// From which source addresses; from any if empty. At most [`MAX_KEY_NETWORKS`], each with its
    /// host bits zero.
    pub networks: Vec<IpNet>,
    /// Where its limits differ from its tier's.
    pub overrides: Overrides,
    /// What it may see of usage.
    pub scope: Scope,
}

/// Most networks that one key may name.
pub const MAX_KEY_NETWORKS: usize = 16;

/// What changes of a key; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// What its owner calls it.
    pub name: Option<String>,
    /// From when on it is refused; `Some(None)` is never. May lie in the past.
    pub expires_at_ns: Option<Option<u64>>,
    /// Which protocols it may be used over.
    pub protocols: Option<Protocols>,
    /// From which source addresses.
    pub networks: Option<Vec<IpNet>>,
    /// `Some(None)`: as the tier has it again.
    pub requests_per_month: Option<Option<Option<u64>>>,
    /// `Some(None)`: as the tier has it again.
    pub rate: Option<Option<Option<Rate>>>,
    /// `Some(None)`: as the tier has it again.
    pub reports_per_month: Option<Option<Option<u32>>>,
    /// What it may see of usage.
    pub scope: Option<Scope>,
}

/// An API key as people manage it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Its public name.
    pub key_id: KeyId,
    /// Whose it is.
    pub account_id: AccountId,
    /// The account's name.
    pub account: String,
    /// The account's tier.
    pub tier: String,
    /// What its owner calls it.
    pub name: String,
    /// Checks what the key signs; shows nothing in `Debug`.
    pub verifier: Verifier,
    /// What it may do: the limits of the account's tier with the key's own instead.
    pub limits: Limits,
    /// What may change of it.
    pub settings: KeySettings,
    /// The key that it took the place of, if it came by rotation.
    pub replaces: Option<KeyId>,
    /// When it was made.
    pub created_at_ns: u64,
    /// From when on it is refused, if ever.
    pub expires_at_ns: Option<u64>,
    /// When it was revoked, if it was.
    pub revoked_at_ns: Option<u64>,
    /// Whether its account is disabled.
    pub account_disabled: bool,
    /// Why no server can use the row, if it was written by hand past what the schema can check.
    /// `settings` lacks then what could not be read.
    pub unusable: Option<String>,
}

/// Whether a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyStatus {
    /// It may.
    Active,
    /// Its time is over.
    Expired,
    /// It was revoked, for good.
    Revoked,
    /// Its account is disabled.
    AccountDisabled,
    /// Its row means nothing to a server, which refuses it.
    Unusable,
}

/// What it takes to make a key.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// A random number from 1 to 2^63 - 1.
    pub key_id: KeyId,
    /// Whose it is.
    pub account_id: AccountId,
    /// What its owner calls it: 1 to 128 characters, no control characters, no space at either end.
    pub name: String,
    /// Derived from the secret, which no ledger ever sees.
    pub verifier: Verifier,
    /// Now.
    pub created_at_ns: u64,
    /// From when on it is refused; later than now.
    pub expires_at_ns: Option<u64>,
    /// What may change of it.
    pub settings: KeySettings,
}

/// What revoking found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// The key was usable until this call.
    Revoked,
    /// It was revoked before, at this time; nothing changed.
    AlreadyRevoked {
        /// When, in nanoseconds since the Unix epoch.
        at_ns: u64,
    },
}

/// A key as a server's key table needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedKey {
    /// Its public name, as it travels in every request.
    pub key_id: KeyId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Checks what the key signs.
    pub verifier: Verifier,
    /// What it may do: the limits of its account's tier with its own instead.
    pub limits: Limits,
    /// Which protocols it may be used over.
    pub protocols: Protocols,
    /// From which source addresses; from any if empty.
    pub networks: Vec<IpNet>,
    /// What it may see of usage.
    pub scope: Scope,
    /// From when on it is refused, if ever. The table must compare it with its own clock:
    /// expiry changes no row and so no [`ChangeStamp`].
    pub expires_at_ns: Option<u64>,
    /// Whether it is refused whatever the clock says: revoked, or its account disabled.
    pub refused: bool,
}

/// Keys by rising key id, refused and expired ones included.
#[derive(Clone, Debug, Default)]
pub struct KeyPage {
    /// Those that a server can use.
    pub keys: Vec<LoadedKey>,
    /// Rows that no server can use, written by hand past what the schema can check: they count as
    /// refused keys and are reported.
    pub unusable: Vec<UnusableKey>,
    /// Where the next page begins: after this key. `None`: this was the last page.
    pub next: Option<KeyId>,
}

/// What a ledger's row says of a key, whoever asks: a server or a person.
#[derive(Clone, Debug)]
pub(super) struct KeyRow {
    pub(super) key_id: KeyId,
    pub(super) account_id: AccountId,
    pub(super) verifier: Verifier,
    pub(super) limits: Limits,
    pub(super) settings: KeySettings,
    pub(super) unusable: Option<String>,
    pub(super) expires_at_ns: Option<u64>,
    pub(super) revoked_at_ns: Option<u64>,
    pub(super) account_disabled: bool,
}

/// A key's row that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableKey {
    /// Which.
    pub key_id: KeyId,
    /// What is wrong with it.
    pub why: String,
}

/// Changes whenever accounts, subscriptions, tiers, keys, parameters or symbols change, by whichever
/// process; never by usage. Only equality has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChangeStamp(pub u64);

/// A setting of the running service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// 1 to 64 of `a-z 0-9 _ .`.
    pub name: String,
    /// At most 4096 characters, none of them NUL.
    pub value: String,
    /// When it was last set.
    pub updated_at_ns: u64,
}

/// How a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// The binary protocol.
    Udp,
    /// HTTP, WebSocket included.
    Http,
}

/// Requests of one key in one second, by protocol and outcome. This is what is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageRow {
    /// Whose requests; 0 for those that no key signed. Below 2^63.
    pub key_id: KeyId,
    /// The second they were answered in, Unix time, at most the end of the year 9999.
    pub second: u64,
    /// How they came in.
    pub protocol: Protocol,
    /// The wire code they were answered with ([`trinity_protocol::Code`]); 0 is charged.
    pub outcome: u16,
    /// How many, 1 to 2^63 - 1. A batch is one.
    pub count: u64,
    /// Time from receiving to answering, summed, in nanoseconds. Sums saturate at 2^63 - 1.
    pub latency_sum_ns: u64,
    /// The longest of these times, in nanoseconds.
    pub latency_max_ns: u64,
}

/// Answered entries of one key for one symbol in one second, by status. Detail, not billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolUsageRow {
    /// Whose entries. Below 2^63.
    pub key_id: KeyId,
    /// What was asked for.
    pub symbol: Symbol,
    /// The second they were answered in, Unix time, at most the end of the year 9999.
    pub second: u64,
    /// The wire status ([`trinity_protocol::PriceStatus`]).
    pub status: u8,
    /// How many, 1 to 2^63 - 1.
    pub entries: u64,
}

/// Names one flush for ever; a retry bears the name of its first try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlushId {
    /// The node's configured name, 1 to 128 characters.
    pub node: String,
    /// Drawn anew at each start of the process.
    pub boot: u64,
    /// Which of the node's counters.
    pub shard: u32,
    /// Rises with each flush of this counter; below 2^63. A counter's flushes come in this order,
    /// and the next only once the one before was taken: the ledger remembers the last.
    pub sequence: u64,
}

/// How fine usage is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Grain {
    /// As it was counted; kept for as long as [`super::Ledger::tend_usage`] is told.
    Second,
    /// 60 seconds.
    Minute,
    /// 3,600 seconds.
    Hour,
    /// A UTC day.
    Day,
}

/// Requests of one key in one span of time, by protocol and outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageSum {
    /// Whose requests.
    pub key_id: KeyId,
    /// First second of the span, Unix time.
    pub start: u64,
    /// How they came in.
    pub protocol: Protocol,
    /// The wire code they were answered with; 0 is charged.
    pub outcome: u16,
    /// How many.
    pub count: u64,
    /// Latency summed, in nanoseconds; saturates at 2^63 - 1.
    pub latency_sum_ns: u64,
    /// The longest latency, in nanoseconds.
    pub latency_max_ns: u64,
}

/// What keeping house did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tended {
    /// Days that room was made for ahead.
    pub made: u32,
    /// Days whose seconds were dropped.
    pub dropped: u32,
}

/// A usage report that somebody asked for.
#[derive(Clone, Debug)]
pub struct NewReport {
    /// Who asked.
    pub key_id: KeyId,
    /// Which report, for example `usage`: 1 to 32 of `a-z 0-9 -`.
    pub kind: String,
    /// In which form, for example `csv`: 1 to 16 of `a-z 0-9 -`.
    pub format: String,
    /// Now.
    pub at_ns: u64,
    /// How many the key may have in the UTC calendar month of `at_ns`.
    pub limit: Option<u32>,
}

/// Whether a report may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportCharge {
    /// It may, and is counted.
    Charged {
        /// Reports of this month, this one included.
        used: u32,
    },
    /// The month's reports are used up; nothing was counted.
    Refused {
        /// Reports of this month.
        used: u32,
    },
}

/// What an audit found within the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerAudit {
    /// First second of the first UTC day whose seconds are all kept, if any usage is.
    pub seconds_kept_from: Option<u64>,
    /// Requests in the seconds that are kept.
    pub requests_in_seconds: u64,
    /// Requests in the daily sums, of all time.
    pub requests_in_days: u64,
    /// Requests in the monthly counters, of all time.
    pub requests_in_months: u64,
    /// Requests that flushes brought, of all time.
    pub requests_flushed: u64,
    /// Entries in the daily sums by symbol, of all time.
    pub entries_in_days: u64,
    /// Entries that flushes brought, of all time.
    pub entries_flushed: u64,
    /// Where two tables differ, at most [`MAX_DISCREPANCIES`].
    pub discrepancies: Vec<Discrepancy>,
}

/// Most discrepancies that one audit lists.
pub const MAX_DISCREPANCIES: usize = 1_000;

/// Two tables that should agree and do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discrepancy {
    /// The coarser table, for example `usage_hours`, or `flushes`.
    pub table: &'static str,
    /// The finer one that it was held against.
    pub against: &'static str,
    /// Whose requests; `None` where the totals of all keys differ.
    pub key_id: Option<KeyId>,
    /// First second of the span; `None` for all time.
    pub start: Option<u64>,
    /// What the finer table adds up to.
    pub expected: u64,
    /// What the coarser one says.
    pub found: u64,
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushOutcome {
    /// Its rows are in the ledger, durably.
    Applied,
    /// They were already; nothing changed.
    AlreadyApplied,
}

/// Everything recorded for one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageTotal {
    /// Requests of every outcome.
    pub requests: u64,
    /// Requests with outcome 0: what is billed.
    pub charged: u64,
    /// Answered entries, from the symbol rows.
    pub entries: u64,
    /// Latency summed over all requests, in nanoseconds.
    pub latency_sum_ns: u64,
    /// The longest latency, in nanoseconds.
    pub latency_max_ns: u64,
}

/// One migration and whether it was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationState {
    /// Its number, from 1, without gaps.
    pub version: u32,
    /// What it does, in a few words.
    pub name: &'static str,
    /// When it was applied, Unix seconds.
    pub applied_at: Option<u64>,
}

/// Where a ledger's schema stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// The ledger's version; 0 is an empty one.
    pub current: u32,
    /// The newest version this binary knows.
    pub newest: u32,
    /// Every migration this binary knows, in order.
    pub migrations: Vec<MigrationState>,
}

/// The first second of the UTC calendar month that `unix_second` lies in.
///
/// Times after the year 9999 count as its last month.
pub fn month_start(unix_second: u64) -> u64 {
    let second = i64::try_from(unix_second).unwrap_or(i64::MAX);
    let at = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    jiff::tz::TimeZone::UTC
        .to_datetime(at)
        .date()
        .first_of_month()
        .to_zoned(jiff::tz::TimeZone::UTC)
        .map_or(0, |start| {
            u64::try_from(start.timestamp().as_second()).unwrap_or(0)
        })
}

impl Default for Protocols {
    fn default() -> Self {
        Self {
            udp: true,
            http: true,
        }
    }
}

impl Overrides {
    /// The limits of a key of a tier.
    #[must_use]
    pub fn on(&self, tier: Limits) -> Limits {
        let (requests_per_second, burst) = match self.rate {
            None => (tier.requests_per_second, tier.burst),
            Some(None) => (None, None),
            Some(Some(rate)) => (Some(rate.per_second), Some(rate.burst)),
        };
        Limits {
            requests_per_month: self.requests_per_month.unwrap_or(tier.requests_per_month),
            requests_per_second,
            burst,
            reports_per_month: self.reports_per_month.unwrap_or(tier.reports_per_month),
        }
    }
}

impl AccountPatch {
    /// What the account is after the change.
    pub(super) fn on(&self, account: &Account) -> Account {
        let Self { name, tier, disabled } = self.clone();
        Account {
            name: name.unwrap_or_else(|| account.name.clone()),
            tier: tier.unwrap_or_else(|| account.tier.clone()),
            disabled: disabled.unwrap_or(account.disabled),
            ..*account
        }
    }
}

impl KeyPatch {
    /// What the key's settings are after the change.
    pub(super) fn on(&self, settings: &KeySettings) -> KeySettings {
        let before = settings.overrides;
        KeySettings {
            protocols: self.protocols.unwrap_or(settings.protocols),
            networks: self.networks.clone().unwrap_or_else(|| settings.networks.clone()),
            overrides: Overrides {
                requests_per_month: self.requests_per_month.unwrap_or(before.requests_per_month),
                rate: self.rate.unwrap_or(before.rate),
                reports_per_month: self.reports_per_month.unwrap_or(before.reports_per_month),
            },
            scope: self.scope.unwrap_or(settings.scope),
        }
    }
}

impl Grain {
    /// Seconds of a span.
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}

impl ApiKeyRecord {
    /// Whether the key may be used at `now_ns`.
    pub fn state(&self, now_ns: u64) -> KeyStatus {
        if self.revoked_at_ns.is_some() {
            KeyStatus::Revoked
        } else if self.account_disabled {
            KeyStatus::AccountDisabled
        } else if self.unusable.is_some() {
            KeyStatus::Unusable
        } else if self.expires_at_ns.is_some_and(|end| now_ns >= end) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
        }
    }
}

impl KeyPage {
    /// Adds a row to those that a server can use, or to those that it cannot.
    pub(super) fn push(&mut self, key: KeyRow) {
        match key.unusable {
            Some(why) => self.unusable.push(UnusableKey {
                key_id: key.key_id,
                why,
            }),
            None => self.keys.push(LoadedKey {
                key_id: key.key_id,
                account_id: key.account_id,
                verifier: key.verifier,
                limits: key.limits,
                protocols: key.settings.protocols,
                networks: key.settings.networks,
                scope: key.settings.scope,
                expires_at_ns: key.expires_at_ns,
                refused: key.revoked_at_ns.is_some() || key.account_disabled,
            }),
        }
    }
}

impl LedgerAudit {
    /// Notes where the totals of all time differ.
    pub(super) fn compare_totals(&mut self) {
        for (against, expected, found) in [
            ("usage_days", self.requests_in_days, self.requests_flushed),
            ("usage_symbols_days", self.entries_in_days, self.entries_flushed),
        ] {
            if expected != found {
                self.discrepancies.push(Discrepancy {
                    table: "flushes",
                    against,
                    key_id: None,
                    start: None,
                    expected,
                    found,
                });
            }
        }
    }
}

impl LoadedKey {
    /// From when on the key is refused: 0 if it is already, `u64::MAX` if it never is.
    pub fn refused_from_ns(&self) -> u64 {
        if self.refused {
            0
        } else {
            self.expires_at_ns.unwrap_or(u64::MAX)
        }
    }

    /// Whether the key may be used at `now_ns`.
    pub fn is_usable(&self, now_ns: u64) -> bool {
        now_ns < self.refused_from_ns()
    }
}

impl MigrationStatus {
    /// Whether every migration this binary knows was applied.
    pub fn is_current(&self) -> bool {
        self.current == self.newest
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for AccountRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

impl FromStr for AccountRef {
    type Err = StoreError;

    /// All digits are an id, anything else a name.
    fn from_str(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(StoreError::Invalid {
                what: "the account",
                why: "is empty: give its name or id",
            });
        }
        if !text.bytes().all(|b| b.is_ascii_digit()) {
            return Ok(Self::Name(text.to_owned()));
        }
        let id = text.parse().map_err(|_| StoreError::NoSuchAccount {
            which: text.to_owned(),
        })?;
        Ok(Self::Id(AccountId(id)))
    }
}

impl fmt::Display for KeyStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::AccountDisabled => "account disabled",
            Self::Unusable => "unusable",
        })
    }
}

impl fmt::Display for FlushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{:016x}/{}/{}",
            self.node, self.boot, self.shard, self.sequence
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_begins_at_its_first_utc_second() {
        // 2024-02-29T23:59:59Z, 2024-03-01T00:00:00Z, 2023-03-10T12:00:00Z.
        assert_eq!(month_start(1_709_251_199), 1_706_745_600);
        assert_eq!(month_start(1_709_251_200), 1_709_251_200);
        assert_eq!(month_start(1_678_449_600), 1_677_628_800);
        assert_eq!(month_start(0), 0);
        assert_eq!(
            month_start(u64::MAX),
            month_start(253_402_207_200),
            "December 9999"
        );
    }

    #[test]
    fn an_account_is_named_by_digits_or_by_name() {
        assert_eq!(
            "42".parse::<AccountRef>().expect("digits"),
            AccountRef::Id(AccountId(42))
        );
        assert_eq!(
            "4x".parse::<AccountRef>().expect("a name"),
            AccountRef::Name("4x".to_owned())
        );
        assert!("".parse::<AccountRef>().is_err());
        assert!(matches!(
            "99999999999999999999".parse::<AccountRef>(),
            Err(StoreError::NoSuchAccount { .. })
        ));
    }
}
