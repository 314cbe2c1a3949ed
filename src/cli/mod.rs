//! The command line, one file per command.

pub mod accounts;
pub mod audit;
pub mod convert;
pub mod decode;
pub mod explain;
pub mod keys;
mod ledger;
pub mod logging;
pub mod migrate;
pub mod output;
pub mod query;
pub mod record;
pub mod serve;
pub mod symbols;
#[cfg(test)]
mod tests;
pub mod tune;
pub mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use ledger::LedgerArgs;

/// Self-hosted crypto price oracle with exact usage accounting.
#[derive(Debug, Parser)]
#[command(name = "trinity-beast", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve prices over UDP and HTTP
    Serve(Box<crate::config::ServeArgs>),
    Query(query::QueryArgs),
    Watch(watch::WatchArgs),
    Explain(explain::ExplainArgs),
    Keys(keys::KeysArgs),
    Accounts(accounts::AccountsArgs),
    Migrate(migrate::MigrateArgs),
    Audit(audit::AuditArgs),
    Convert(convert::ConvertArgs),
    Symbols(symbols::SymbolsArgs),
    Decode(decode::DecodeArgs),
    Record(record::RecordArgs),
    Tune(tune::TuneArgs),
}

/// Runs one command: exit code 0 is success, 1 failure, 2 wrong usage, 3 (of `query` and
/// `explain`) a symbol without a price, 4 (of `decode`) a frame that is not understood. Of `tune`, 1
/// is a machine that is not fit, of `audit`, accounts that differ; 2 that it could not be looked at.
pub fn run(cli: Cli) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let result = match cli.command {
        Command::Serve(args) => {
            drop(out);
            serve::run(*args).map(|()| 0)
        }
        Command::Watch(args) => {
            drop(out);
            watch::run(&args).map(|()| 0)
        }
        Command::Query(args) => query::run(&args, &mut out),
        Command::Explain(args) => explain::run(&args, &mut out),
        Command::Keys(args) => keys::run(&args, &mut out).map(|()| 0),
        Command::Migrate(args) => migrate::run(&args, &mut out).map(|()| 0),
        Command::Accounts(args) => accounts::run(&args, &mut out).map(|()| 0),
        Command::Audit(args) => Ok(audit::run(&args, &mut out)),
        Command::Convert(args) => convert::run(&args, &mut out).map(|()| 0),
        Command::Symbols(args) => symbols::run(&args, &mut out).map(|()| 0),
        Command::Decode(args) => decode::run(&args, &mut out),
        Command::Record(args) => record::run_live(&args, &mut out).map(|()| 0),
        Command::Tune(args) => Ok(tune::run(&args, &mut out)),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
