//! `migrate status` and `migrate up`.

use std::io::Write;

use anyhow::Context;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, exact_time, short_time, write_json};
use crate::store::MigrationStatus;

/// Look at the ledger's schema, or bring it up to date. `serve` does so by itself when it starts,
/// and so does every command that opens the ledger.
#[derive(Clone, Debug, Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: MigrateCommand,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum MigrateCommand {
    /// Say which migrations were applied, and change nothing
    Status,
    /// Apply what is missing, making the ledger if there is none
    Up,
}

#[derive(Serialize)]
struct StatusView {
    engine: &'static str,
    ledger: String,
    current: u32,
    newest: u32,
    up_to_date: bool,
    migrations: Vec<MigrationView>,
}

#[derive(Serialize)]
struct MigrationView {
    version: u32,
    name: &'static str,
    applied_at: Option<String>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &MigrateArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    block_on(async {
        let home = args.ledger.home()?;
        let opened = match args.command {
            MigrateCommand::Status => home.open_as_it_is().await,
            MigrateCommand::Up => home.open_or_create().await,
        };
        let ledger = opened.with_context(|| home.describe())?;
        let status = ledger.migration_status().await.with_context(|| home.describe())?;
        if args.ledger.json {
            write_json(out, &StatusView::of(&status, ledger.engine(), home.describe()))?;
        } else {
            write_table(out, &status, &home.describe())?;
        }
        Ok(out.flush()?)
    })
}

fn write_table(out: &mut dyn Write, status: &MigrationStatus, ledger: &str) -> anyhow::Result<()> {
    let mut table = Table::new(["VERSION", "NAME", "APPLIED"]);
    for migration in &status.migrations {
        let applied = migration
            .applied_at
            .map_or_else(|| "not yet".to_owned(), |at| short_time(nanos(at)));
        table.row([&migration.version.to_string(), migration.name, &applied]);
    }
    table.write(out)?;
    if status.is_current() {
        writeln!(out, "{ledger} is up to date.")?;
    } else {
        writeln!(
            out,
            "{ledger} is not up to date: `trinity-beast migrate up` applies what is missing."
        )?;
    }
    Ok(())
}

impl StatusView {
    fn of(status: &MigrationStatus, engine: &'static str, ledger: String) -> Self {
        let migrations = status.migrations.iter().map(|migration| MigrationView {
            version: migration.version,
            name: migration.name,
            applied_at: migration.applied_at.map(|at| exact_time(nanos(at))),
        });
        Self {
            engine,
            ledger,
            current: status.current,
            newest: status.newest,
            up_to_date: status.is_current(),
            migrations: migrations.collect(),
        }
    }
}

fn nanos(unix_seconds: u64) -> u64 {
    unix_seconds.saturating_mul(1_000_000_000)
}
