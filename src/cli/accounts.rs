//! `accounts create`, `list`, `show`, `set`, `disable` and `enable`.

use std::io::Write;

use anyhow::ensure;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, exact_time, short_time, write_json};
use crate::clock;
use crate::store::{Account, AccountPatch, AccountRef, KeyStatus, Ledger, NewAccount, Subscription};

/// Manage accounts: who is billed.
#[derive(Clone, Debug, Args)]
pub struct AccountsArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: AccountsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum AccountsCommand {
    /// Make an account, and the ledger if there is none yet
    Create {
        /// Its unique name
        name: String,
        /// What it may use: a tier, as `tiers list` shows them
        #[arg(long, default_value = "free")]
        tier: String,
    },
    /// List every account
    List,
    /// Show one account, its keys and which tiers it had
    Show {
        /// The account's name or id
        account: AccountRef,
    },
    /// Change an account; what is not given stays
    Set {
        /// The account's name or id
        account: AccountRef,
        /// Another unique name
        #[arg(long)]
        name: Option<String>,
        /// Another tier, as `tiers list` shows them
        #[arg(long)]
        tier: Option<String>,
    },
    /// Refuse all keys of an account until it is enabled again
    Disable {
        /// The account's name or id
        account: AccountRef,
    },
    /// Take the keys of a disabled account again
    Enable {
        /// The account's name or id
        account: AccountRef,
    },
}

#[derive(Serialize)]
struct AccountView<'a> {
    id: i64,
    name: &'a str,
    tier: &'a str,
    created_at: String,
    disabled: bool,
}

#[derive(Serialize)]
struct ShownView<'a> {
    #[serde(flatten)]
    account: AccountView<'a>,
    keys: usize,
    active_keys: usize,
    /// The oldest first; the last one holds.
    subscriptions: Vec<SubscriptionView<'a>>,
}

#[derive(Serialize)]
struct SubscriptionView<'a> {
    tier: &'a str,
    starts_at: String,
    ends_at: Option<String>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &AccountsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let json = args.ledger.json;
    let now_ns = clock::unix_nanos();
    block_on(async {
        if let AccountsCommand::Create { name, tier } = &args.command {
            let new = NewAccount {
                name: name.clone(),
                tier: tier.clone(),
                created_at_ns: now_ns,
            };
            let account = args.ledger.open_or_create().await?.create_account(new).await?;
            write_one(&account, json, out)?;
            return Ok(out.flush()?);
        }
        let ledger = args.ledger.open_existing().await?;
        let ledger: &dyn Ledger = &*ledger;
        let disable = |disabled| AccountPatch {
            disabled: Some(disabled),
            ..AccountPatch::default()
        };
        let (account, patch) = match &args.command {
            AccountsCommand::Create { .. } | AccountsCommand::List => {
                list(&ledger.list_accounts().await?, json, out)?;
                return Ok(out.flush()?);
            }
            AccountsCommand::Show { account } => {
                show(ledger, account, now_ns, json, out).await?;
                return Ok(out.flush()?);
            }
            AccountsCommand::Set { account, name, tier } => {
                ensure!(
                    name.is_some() || tier.is_some(),
                    "nothing to set: give a field, see `accounts set --help`"
                );
                let patch = AccountPatch {
                    name: name.clone(),
                    tier: tier.clone(),
                    disabled: None,
                };
                (account, patch)
            }
            AccountsCommand::Disable { account } => (account, disable(true)),
            AccountsCommand::Enable { account } => (account, disable(false)),
        };
        let account = ledger.change_account(account, &patch, now_ns).await?;
        write_one(&account, json, out)?;
        Ok(out.flush()?)
    })
}

fn list(accounts: &[Account], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        write_json(out, &accounts.iter().map(AccountView::of).collect::<Vec<_>>())?;
    } else if accounts.is_empty() {
        writeln!(out, "No accounts yet: make one with `accounts create NAME`.")?;
    } else {
        write_table(out, accounts)?;
    }
    Ok(())
}

async fn show(
    ledger: &dyn Ledger,
    which: &AccountRef,
    now_ns: u64,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let account = ledger.account(which).await?;
    let keys = ledger.list_keys(Some(account.id)).await?;
    let active = keys.iter().filter(|key| key.state(now_ns) == KeyStatus::Active);
    let active_keys = active.count();
    let subscriptions = ledger.subscriptions(account.id).await?;
    if json {
        let view = ShownView {
            account: AccountView::of(&account),
            keys: keys.len(),
            active_keys,
            subscriptions: subscriptions.iter().map(SubscriptionView::of).collect(),
        };
        return Ok(write_json(out, &view)?);
    }
    let mut table = Table::of_fields();
    table.row(["id", &account.id.to_string()]);
    table.row(["name", &account.name]);
    table.row(["tier", &account.tier]);
    table.row(["created", &short_time(account.created_at_ns)]);
    table.row(["state", state(&account)]);
    table.row(["keys", &format!("{}, {active_keys} of them active", keys.len())]);
    table.write(out)?;
    let mut table = Table::new(["TIER", "FROM", "TO"]);
    for subscription in &subscriptions {
        table.row([
            &subscription.tier,
            &short_time(subscription.starts_at_ns),
            &subscription
                .ends_at_ns
                .map_or_else(|| "now".to_owned(), short_time),
        ]);
    }
    writeln!(out)?;
    Ok(table.write(out)?)
}

fn write_one(account: &Account, json: bool, out: &mut dyn Write) -> std::io::Result<()> {
    if json {
        write_json(out, &AccountView::of(account))
    } else {
        write_table(out, std::slice::from_ref(account))
    }
}

fn write_table(out: &mut dyn Write, accounts: &[Account]) -> std::io::Result<()> {
    let mut table = Table::new(["ID", "NAME", "TIER", "CREATED", "STATE"]);
    for account in accounts {
        table.row([
            &account.id.to_string(),
            &account.name,
            &account.tier,
            &short_time(account.created_at_ns),
            state(account),
        ]);
    }
    table.write(out)
}

const fn state(account: &Account) -> &'static str {
    if account.disabled { "disabled" } else { "active" }
}

impl<'a> AccountView<'a> {
    fn of(account: &'a Account) -> Self {
        Self {
            id: account.id.0,
            name: &account.name,
            tier: &account.tier,
            created_at: exact_time(account.created_at_ns),
            disabled: account.disabled,
        }
    }
}

impl<'a> SubscriptionView<'a> {
    fn of(subscription: &'a Subscription) -> Self {
        Self {
            tier: &subscription.tier,
            starts_at: exact_time(subscription.starts_at_ns),
            ends_at: subscription.ends_at_ns.map(exact_time),
        }
    }
}
