//! `keys create`, `keys list`, `keys show` and `keys revoke`.

use std::io::Write;
use std::str::FromStr;

use anyhow::Context;
use clap::builder::TypedValueParser;
use clap::error::ErrorKind;
use clap::{Args, Subcommand};
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use serde::Serialize;
use trinity_protocol::{ApiKey, KeyId, api_key};

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, exact_time, short_time, write_json};
use crate::clock;
use crate::store::{
    AccountRef, ApiKeyRecord, KeySettings, Ledger, Limits, Revocation, StoreError, UsageTotal, issue_key,
};

const SHOWN_ONCE: &str = "Keep the key now: only what checks it is stored, and it cannot be shown again. If it is lost, create another.";

/// Manage API keys.
#[derive(Clone, Debug, Args)]
pub struct KeysArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, this once
    Create {
        /// Whose key: an account's name or id
        #[arg(long)]
        account: AccountRef,
        /// What its owner calls it
        #[arg(long, default_value = "default")]
        name: String,
        /// When it ends: a time (2027-01-31T00:00:00Z) or a time from now (30d, 12h); never if not given
        #[arg(long, value_name = "TIME")]
        expires: Option<Expiry>,
    },
    /// List keys, oldest first
    List {
        /// Only those of this account, by name or id
        #[arg(long)]
        account: Option<AccountRef>,
    },
    /// Show one key, its limits and its use
    Show {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
    },
    /// Revoke a key, for good
    Revoke {
        /// The key's id, as `keys list` shows it
        #[arg(value_parser = KeyIdParser)]
        key_id: KeyId,
    },
}

/// When a new key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    At(Timestamp),
    After(SignedDuration),
}

/// Reads a key id, or takes it from a whole key. clap's own message would repeat the text,
/// and the text may be a whole key with its secret.
#[derive(Clone, Copy)]
struct KeyIdParser;

#[derive(Serialize)]
struct KeyView<'a> {
    key_id: String,
    account_id: i64,
    account: &'a str,
    tier: &'a str,
    name: &'a str,
    state: String,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    limits: LimitsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageView>,
}

#[derive(Serialize)]
struct LimitsView {
    requests_per_month: Option<u64>,
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    reports_per_month: Option<u32>,
}

#[derive(Serialize)]
struct UsageView {
    requests: u64,
    charged: u64,
    entries: u64,
}

#[derive(Serialize)]
struct CreatedView<'a> {
    key: &'a str,
    #[serde(flatten)]
    record: KeyView<'a>,
    note: &'static str,
}

#[derive(Serialize)]
struct RevokedView<'a> {
    already_revoked: bool,
    #[serde(flatten)]
    record: KeyView<'a>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &KeysArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let now_ns = clock::unix_nanos();
    let json = args.ledger.json;
    block_on(async {
        let ledger = args.ledger.open_existing().await?;
        match &args.command {
            KeysCommand::Create {
                account,
                name,
                expires,
            } => {
                let expires = expires.map(|expiry| expiry.resolve(now_ns)).transpose()?;
                create(&*ledger, account, name, now_ns, expires, json, out).await
            }
            KeysCommand::List { account } => list(&*ledger, account.as_ref(), now_ns, json, out).await,
            KeysCommand::Show { key_id } => show(&*ledger, *key_id, now_ns, json, out).await,
            KeysCommand::Revoke { key_id } => revoke(&*ledger, *key_id, now_ns, json, out).await,
        }
    })
}

async fn create(
    ledger: &dyn Ledger,
    account: &AccountRef,
    name: &str,
    now_ns: u64,
    expires_at_ns: Option<u64>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let account = ledger.account(account).await?;
    let (key, record) = issue_key(
        ledger,
        account.id,
        name,
        now_ns,
        expires_at_ns,
        &KeySettings::default(),
    )
    .await?;
    if let Err(error) = write_created(&key, &record, now_ns, json, out) {
        // A key that nobody has seen must not stay valid.
        ledger.revoke_key(record.key_id, now_ns).await?;
        return Err(error).context(format!(
            "the key could not be printed, so key {} was revoked again",
            record.key_id
        ));
    }
    Ok(())
}

async fn list(
    ledger: &dyn Ledger,
    account: Option<&AccountRef>,
    now_ns: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let account = match account {
        Some(which) => Some(ledger.account(which).await?.id),
        None => None,
    };
    let keys = ledger.list_keys(account).await?;
    if json {
        write_json(
            out,
            &keys
                .iter()
                .map(|key| KeyView::of(key, now_ns))
                .collect::<Vec<_>>(),
        )?;
    } else if keys.is_empty() {
        writeln!(out, "No keys yet: make one with `keys create --account NAME`.")?;
    } else {
        let mut table = Table::new(["KEY ID", "ACCOUNT", "NAME", "TIER", "STATE", "CREATED", "EXPIRES"]);
        for key in &keys {
            table.row([
                &key.key_id.to_string(),
                &key.account,
                &key.name,
                &key.tier,
                &key.state(now_ns).to_string(),
                &short_time(key.created_at_ns),
                &key.expires_at_ns.map_or_else(|| "never".to_owned(), short_time),
            ]);
        }
        table.write(out)?;
    }
    Ok(out.flush()?)
}

async fn show(
    ledger: &dyn Ledger,
    key_id: KeyId,
    now_ns: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let key = ledger.key(key_id).await?;
    let used = ledger.usage_total(key_id).await?;
    if json {
        write_json(
            out,
            &KeyView {
                usage: Some(UsageView::of(&used)),
                ..KeyView::of(&key, now_ns)
            },
        )?;
    } else {
        let mut table = Table::of_fields();
        describe(&mut table, &key, now_ns);
        limits(&mut table, &key.limits);
        table.row([
            "used",
            &format!("{} requests, {} of them charged", used.requests, used.charged),
        ]);
        table.write(out)?;
    }
    Ok(out.flush()?)
}

async fn revoke(
    ledger: &dyn Ledger,
    key_id: KeyId,
    now_ns: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let revocation = ledger.revoke_key(key_id, now_ns).await?;
    if json {
        let already_revoked = revocation != Revocation::Revoked;
        let key = ledger.key(key_id).await?;
        write_json(
            out,
            &RevokedView {
                already_revoked,
                record: KeyView::of(&key, now_ns),
            },
        )?;
    } else {
        match revocation {
            Revocation::Revoked => {
                writeln!(
                    out,
                    "Revoked key {key_id}: running servers refuse it within two seconds."
                )?;
            }
            Revocation::AlreadyRevoked { at_ns } => {
                writeln!(out, "Key {key_id} was revoked before, at {}.", short_time(at_ns))?;
            }
        }
    }
    Ok(out.flush()?)
}

fn write_created(
    key: &ApiKey,
    record: &ApiKeyRecord,
    now_ns: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let text = key.expose();
    if json {
        let record = KeyView::of(record, now_ns);
        write_json(
            out,
            &CreatedView {
                key: text.as_str(),
                record,
                note: SHOWN_ONCE,
            },
        )?;
    } else {
        let mut table = Table::of_fields();
        table.row(["key", text.as_str()]);
        describe(&mut table, record, now_ns);
        table.write(out)?;
        writeln!(out, "\n{SHOWN_ONCE}")?;
    }
    Ok(out.flush()?)
}

fn describe(table: &mut Table, key: &ApiKeyRecord, now_ns: u64) {
    table.row(["key id", &key.key_id.to_string()]);
    table.row(["account", &key.account]);
    table.row(["name", &key.name]);
    table.row(["tier", &key.tier]);
    table.row(["state", &key.state(now_ns).to_string()]);
    table.row(["created", &short_time(key.created_at_ns)]);
    table.row([
        "expires",
        &key.expires_at_ns.map_or_else(|| "never".to_owned(), short_time),
    ]);
    if let Some(at) = key.revoked_at_ns {
        table.row(["revoked", &short_time(at)]);
    }
}

fn limits(table: &mut Table, limits: &Limits) {
    let text = |limit: Option<u64>| limit.map_or_else(|| "no limit".to_owned(), |n| n.to_string());
    table.row(["requests per month", &text(limits.requests_per_month)]);
    table.row([
        "requests per second",
        &text(limits.requests_per_second.map(u64::from)),
    ]);
    table.row(["burst", &text(limits.burst.map(u64::from))]);
    table.row([
        "reports per month",
        &text(limits.reports_per_month.map(u64::from)),
    ]);
}

impl Expiry {
    fn resolve(self, now_ns: u64) -> anyhow::Result<u64> {
        let now = Timestamp::from_nanosecond(i128::from(now_ns)).context("the system's clock is absurd")?;
        let at = match self {
            Self::At(at) => at,
            Self::After(duration) => now
                .checked_add(duration)
                .context("the key's expiry is too far away")?,
        };
        // Beyond 2262 the ledger itself says what is wrong; before 1970 lies in the past as 0 does.
        Ok(u64::try_from(at.as_nanosecond().max(0)).unwrap_or(u64::MAX))
    }
}

impl FromStr for Expiry {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = StoreError::Invalid {
            what: "the expiry",
            why: "is neither a time with its offset, like 2027-01-31T00:00:00Z, nor a time from now, like 30d or 12h",
        };
        if let Ok(at) = text.parse() {
            return Ok(Self::At(at));
        }
        let duration = text
            .parse::<Span>()
            .and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        match duration {
            Ok(duration) if duration.is_positive() => Ok(Self::After(duration)),
            _ => Err(refused),
        }
    }
}

impl TypedValueParser for KeyIdParser {
    type Value = KeyId;

    fn parse_ref(
        &self,
        command: &clap::Command,
        _argument: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<KeyId, clap::Error> {
        let text = value.to_str().unwrap_or_default();
        let parsed = if text.starts_with(api_key::PREFIX) {
            text.parse::<ApiKey>().map(|key| key.key_id())
        } else {
            text.parse::<KeyId>()
        };
        parsed.map_err(|error| {
            let message = format!("{error}\nA key id is 13 letters and digits, as `keys list` shows it.\n");
            clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}

impl<'a> KeyView<'a> {
    fn of(key: &'a ApiKeyRecord, now_ns: u64) -> Self {
        Self {
            key_id: key.key_id.to_string(),
            account_id: key.account_id.0,
            account: &key.account,
            tier: &key.tier,
            name: &key.name,
            state: key.state(now_ns).to_string(),
            created_at: exact_time(key.created_at_ns),
            expires_at: key.expires_at_ns.map(exact_time),
            revoked_at: key.revoked_at_ns.map(exact_time),
            limits: LimitsView {
                requests_per_month: key.limits.requests_per_month,
                requests_per_second: key.limits.requests_per_second,
                burst: key.limits.burst,
                reports_per_month: key.limits.reports_per_month,
            },
            usage: None,
        }
    }
}

impl UsageView {
    fn of(total: &UsageTotal) -> Self {
        Self {
            requests: total.requests,
            charged: total.charged,
            entries: total.entries,
        }
    }
}
