//! `accounts create` and `accounts list`.

use std::io::Write;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, exact_time, short_time, write_json};
use crate::clock;
use crate::store::{Account, NewAccount};

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
        /// What it may use: free, pro, enterprise, unlimited, lifetime or partner
        #[arg(long, default_value = "free")]
        tier: String,
    },
    /// List every account
    List,
}

#[derive(Serialize)]
struct AccountView<'a> {
    id: i64,
    name: &'a str,
    tier: &'a str,
    created_at: String,
    disabled: bool,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &AccountsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let json = args.ledger.json;
    block_on(async {
        match &args.command {
            AccountsCommand::Create { name, tier } => {
                let new = NewAccount {
                    name: name.clone(),
                    tier: tier.clone(),
                    created_at_ns: clock::unix_nanos(),
                };
                let account = args.ledger.open_or_create().await?.create_account(new).await?;
                if json {
                    write_json(out, &AccountView::of(&account))?;
                } else {
                    write_table(out, std::slice::from_ref(&account))?;
                }
            }
            AccountsCommand::List => {
                let accounts = args.ledger.open_existing().await?.list_accounts().await?;
                if json {
                    write_json(out, &accounts.iter().map(AccountView::of).collect::<Vec<_>>())?;
                } else if accounts.is_empty() {
                    writeln!(out, "No accounts yet: make one with `accounts create NAME`.")?;
                } else {
                    write_table(out, &accounts)?;
                }
            }
        }
        out.flush()?;
        Ok(())
    })
}

fn write_table(out: &mut dyn Write, accounts: &[Account]) -> std::io::Result<()> {
    let mut table = Table::new(["ID", "NAME", "TIER", "CREATED", "STATE"]);
    for account in accounts {
        table.row([
            &account.id.to_string(),
            &account.name,
            &account.tier,
            &short_time(account.created_at_ns),
            if account.disabled { "disabled" } else { "active" },
        ]);
    }
    table.write(out)
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
