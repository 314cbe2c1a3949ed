//! Which home a ledger has.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::Result;
use super::ledger::Ledger;
use super::postgres::{PostgresLedger, PostgresSettings};
use super::sqlite::{LEDGER_FILE, SqliteLedger};

/// Where a ledger is kept.
#[derive(Clone, Debug)]
pub enum LedgerHome {
    /// In a file of this data directory.
    Sqlite(PathBuf),
    /// In Postgres.
    Postgres(Box<PostgresSettings>),
}

impl LedgerHome {
    /// Postgres if there are settings for it, else SQLite in the data directory.
    pub fn new(postgres: Option<PostgresSettings>, data_dir: PathBuf) -> Self {
        postgres.map_or(Self::Sqlite(data_dir), |settings| {
            Self::Postgres(Box::new(settings))
        })
    }

    /// Opens the ledger, making it if there is none, and brings its schema up to date.
    pub async fn open_or_create(&self) -> Result<Arc<dyn Ledger>> {
        Ok(match self {
            Self::Sqlite(dir) => Arc::new(SqliteLedger::open_or_create(dir).await?),
            Self::Postgres(settings) => Arc::new(PostgresLedger::open_or_create((**settings).clone()).await?),
        })
    }

    /// Opens the ledger that is there and brings its schema up to date. Looking in the wrong place
    /// makes nothing.
    pub async fn open_existing(&self) -> Result<Arc<dyn Ledger>> {
        Ok(match self {
            Self::Sqlite(dir) => Arc::new(SqliteLedger::open_existing(dir).await?),
            Self::Postgres(settings) => Arc::new(PostgresLedger::open_existing((**settings).clone()).await?),
        })
    }

    /// Opens the ledger and leaves its schema as it is.
    pub async fn open_as_it_is(&self) -> Result<Arc<dyn Ledger>> {
        Ok(match self {
            Self::Sqlite(dir) => Arc::new(SqliteLedger::open_as_it_is(dir).await?),
            Self::Postgres(settings) => Arc::new(PostgresLedger::new((**settings).clone())),
        })
    }

    /// Which engine keeps it: `sqlite` or `postgres`.
    pub const fn engine(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    /// Where it is, for people; nothing secret.
    pub fn describe(&self) -> String {
        match self {
            Self::Sqlite(dir) => dir.join(LEDGER_FILE).display().to_string(),
            Self::Postgres(settings) => format!("Postgres at {}", settings.describe()),
        }
    }
}
