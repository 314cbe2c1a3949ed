//! What every command that opens the ledger shares.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;

use crate::store::{Ledger, LedgerHome, PostgresArgs};

/// Where the ledger is, and for whom the output is.
#[derive(Clone, Debug, Args)]
pub struct LedgerArgs {
    /// Directory that holds the ledger
    #[arg(
        long,
        env = "DATA_DIR",
        default_value = "./data",
        value_name = "DIR",
        global = true
    )]
    pub data_dir: PathBuf,
    /// Where the ledger is if it is in Postgres
    #[command(flatten)]
    pub postgres: PostgresArgs,
    /// Print JSON for scripts instead of tables for people
    #[arg(long, global = true)]
    pub json: bool,
}

impl LedgerArgs {
    /// Where the ledger is.
    pub(super) fn home(&self) -> anyhow::Result<LedgerHome> {
        Ok(LedgerHome::new(self.postgres.settings()?, self.data_dir.clone()))
    }

    /// Opens the ledger that is there. Looking at a mistyped directory makes nothing.
    pub(super) async fn open_existing(&self) -> anyhow::Result<Arc<dyn Ledger>> {
        let ledger = self.home()?.open_existing().await;
        ledger.with_context(|| self.describe())
    }

    /// Opens the ledger, or makes one.
    pub(super) async fn open_or_create(&self) -> anyhow::Result<Arc<dyn Ledger>> {
        let ledger = self.home()?.open_or_create().await;
        ledger.with_context(|| self.describe())
    }

    fn describe(&self) -> String {
        match self.home() {
            Ok(home @ LedgerHome::Postgres(_)) => home.describe(),
            _ => format!("data directory {}", self.data_dir.display()),
        }
    }
}

/// Runs a command's work on a runtime of its own.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?
        .block_on(work)
}
