//! The rows that cross the [`Ledger`](super::Ledger) contract.
//!
//! Times end in `_ns` (nanoseconds since the Unix epoch, UTC) or are called `second` (whole
//! seconds since then).

use std::fmt;
use std::str::FromStr;

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
    /// The limits of the account's tier.
    pub limits: Limits,
    /// When it was made.
    pub created_at_ns: u64,
    /// From when on it is refused, if ever.
    pub expires_at_ns: Option<u64>,
    /// When it was revoked, if it was.
    pub revoked_at_ns: Option<u64>,
    /// Whether its account is disabled.
    pub account_disabled: bool,
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

/// A key as a server's key table needs it: fixed size, no texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedKey {
    /// Its public name, as it travels in every request.
    pub key_id: KeyId,
    /// Whose it is.
    pub account_id: AccountId,
    /// Checks what the key signs.
    pub verifier: Verifier,
    /// The limits of its account's tier.
    pub limits: Limits,
    /// From when on it is refused, if ever. The table must compare it with its own clock:
    /// expiry changes no row and so no [`ChangeStamp`].
    pub expires_at_ns: Option<u64>,
    /// Whether it is refused whatever the clock says: revoked, or its account disabled.
    pub refused: bool,
}

/// Every key, read at one instant together with its stamp.
#[derive(Clone, Debug)]
pub struct KeySnapshot {
    /// The stamp that the keys belong to.
    pub stamp: ChangeStamp,
    /// Every key, refused and expired ones included, by rising key id.
    pub keys: Vec<LoadedKey>,
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
    /// Rises by one per flush of this counter; below 2^63.
    pub sequence: u64,
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

impl ApiKeyRecord {
    /// Whether the key may be used at `now_ns`.
    pub fn state(&self, now_ns: u64) -> KeyStatus {
        if self.revoked_at_ns.is_some() {
            KeyStatus::Revoked
        } else if self.account_disabled {
            KeyStatus::AccountDisabled
        } else if self.expires_at_ns.is_some_and(|end| now_ns >= end) {
            KeyStatus::Expired
        } else {
            KeyStatus::Active
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
