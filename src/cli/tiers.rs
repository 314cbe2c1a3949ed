//! `tiers list`, `show`, `create` and `set`.

use std::io::Write;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::limits::{self, Limit, LimitsView, limit};
use super::output::{Table, write_json};
use crate::store::{Ledger, Limits, Overrides, Rate, StoreError, Tier};

/// Manage tiers: what a customer may use.
#[derive(Clone, Debug, Args)]
pub struct TiersArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: TiersCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum TiersCommand {
    /// List every tier
    List,
    /// Show one tier and how many accounts have it
    Show {
        /// The tier's name
        name: String,
    },
    /// Make a tier
    Create {
        /// Its unique name: 1 to 32 of a-z, 0-9, _ and -
        name: String,
        /// Charged requests in a UTC calendar month: a number, or none (no limit)
        #[arg(long, value_name = "N|none", value_parser = limit::<u64>)]
        requests_per_month: Limit<u64>,
        /// Sustained requests per second and how many may come at once, for example 10:20
        #[arg(long, value_name = "PER_SECOND:BURST|none", value_parser = limit::<Rate>)]
        rate: Limit<Rate>,
        /// Usage reports in a UTC calendar month
        #[arg(long, value_name = "N|none", value_parser = limit::<u32>)]
        reports_per_month: Limit<u32>,
    },
    /// Give a tier other limits; what is not given stays
    Set {
        /// The tier's name
        name: String,
        /// Charged requests in a UTC calendar month: a number, or none (no limit)
        #[arg(long, value_name = "N|none", value_parser = limit::<u64>)]
        requests_per_month: Option<Limit<u64>>,
        /// Sustained requests per second and how many may come at once, for example 10:20
        #[arg(long, value_name = "PER_SECOND:BURST|none", value_parser = limit::<Rate>)]
        rate: Option<Limit<Rate>>,
        /// Usage reports in a UTC calendar month
        #[arg(long, value_name = "N|none", value_parser = limit::<u32>)]
        reports_per_month: Option<Limit<u32>>,
    },
}

#[derive(Serialize)]
struct TierView<'a> {
    name: &'a str,
    limits: LimitsView,
    #[serde(skip_serializing_if = "Option::is_none")]
    accounts: Option<usize>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &TiersArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    block_on(async {
        let ledger = args.ledger.open_existing().await?;
        let ledger: &dyn Ledger = &*ledger;
        let name = match &args.command {
            TiersCommand::List => {
                list(&ledger.tiers().await?, args.ledger.json, out)?;
                return Ok(out.flush()?);
            }
            TiersCommand::Show { name } => name,
            TiersCommand::Create {
                name,
                requests_per_month,
                rate,
                reports_per_month,
            } => {
                let mut limits = Limits {
                    requests_per_month: requests_per_month.0,
                    requests_per_second: None,
                    burst: None,
                    reports_per_month: reports_per_month.0,
                };
                set_rate(&mut limits, *rate);
                let tier = Tier {
                    name: name.clone(),
                    limits,
                };
                ledger.create_tier(&tier).await?;
                name
            }
            TiersCommand::Set {
                name,
                requests_per_month,
                rate,
                reports_per_month,
            } => {
                ensure!(
                    requests_per_month.is_some() || rate.is_some() || reports_per_month.is_some(),
                    "nothing to set: give a limit, see `tiers set --help`"
                );
                let mut tier = find(ledger, name).await?;
                if let Some(Limit(limit)) = requests_per_month {
                    tier.limits.requests_per_month = *limit;
                }
                if let Some(rate) = rate {
                    set_rate(&mut tier.limits, *rate);
                }
                if let Some(Limit(limit)) = reports_per_month {
                    tier.limits.reports_per_month = *limit;
                }
                ledger.set_tier(&tier).await?;
                name
            }
        };
        show(ledger, name, args.ledger.json, out).await?;
        Ok(out.flush()?)
    })
}

fn list(tiers: &[Tier], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        let views: Vec<_> = tiers.iter().map(|tier| TierView::of(tier, None)).collect();
        return Ok(write_json(out, &views)?);
    }
    let mut table = Table::new([
        "TIER",
        "REQUESTS/MONTH",
        "REQUESTS/SECOND",
        "BURST",
        "REPORTS/MONTH",
    ]);
    for tier in tiers {
        table.row([
            &tier.name,
            &limits::text(tier.limits.requests_per_month),
            &limits::text(tier.limits.requests_per_second.map(u64::from)),
            &limits::text(tier.limits.burst.map(u64::from)),
            &limits::text(tier.limits.reports_per_month.map(u64::from)),
        ]);
    }
    Ok(table.write(out)?)
}

async fn show(ledger: &dyn Ledger, name: &str, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let tier = find(ledger, name).await?;
    let accounts = ledger.list_accounts().await?;
    let accounts = accounts.iter().filter(|account| account.tier == name).count();
    if json {
        return Ok(write_json(out, &TierView::of(&tier, Some(accounts)))?);
    }
    let mut table = Table::of_fields();
    table.row(["tier", &tier.name]);
    limits::describe(&mut table, &tier.limits, &Overrides::default());
    table.row(["accounts", &accounts.to_string()]);
    Ok(table.write(out)?)
}

async fn find(ledger: &dyn Ledger, name: &str) -> anyhow::Result<Tier> {
    let mut tiers = ledger.tiers().await?;
    if let Some(place) = tiers.iter().position(|tier| tier.name == name) {
        return Ok(tiers.swap_remove(place));
    }
    let known: Vec<_> = tiers.into_iter().map(|tier| tier.name).collect();
    let unknown = StoreError::NoSuchTier {
        name: name.to_owned(),
        known: known.join(", "),
    };
    Err(unknown).context("tiers are listed by `tiers list` and made with `tiers create`")
}

fn set_rate(limits: &mut Limits, Limit(rate): Limit<Rate>) {
    limits.requests_per_second = rate.map(|rate| rate.per_second);
    limits.burst = rate.map(|rate| rate.burst);
}

impl<'a> TierView<'a> {
    fn of(tier: &'a Tier, accounts: Option<usize>) -> Self {
        Self {
            name: &tier.name,
            limits: LimitsView::of(&tier.limits),
            accounts,
        }
    }
}
