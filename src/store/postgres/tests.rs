//! What is true of this home alone, on a real server; the promises that every home makes are the
//! suite's.

use std::fmt::Write as _;

use tokio::time::timeout;

use super::*;
use crate::store::suite::{account, flush_id, ledger_suite, new_account, new_key, symbol_row, usage_row};

#[path = "../../../tests/support/postgres.rs"]
#[allow(dead_code, reason = "other tests take the rest")]
pub(crate) mod server;

mod connection;
mod proxy;
mod schema;
mod usage;

use server::{NAME, PASSWORD, Postgres};

/// Longest time anything a test waits for may take; nothing is measured by it.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings::from_url(url).expect("a URL")
}

/// A URL over TCP, where the password is asked for.
fn tcp_url(host: &str, port: u16, password: &str, options: &str) -> String {
    let password = password.replace(' ', "%20");
    format!("postgres://{NAME}:{password}@{host}:{port}/{NAME}{options}")
}

async fn open(server: &Postgres) -> PostgresLedger {
    let opened = PostgresLedger::open_or_create(settings(&server.url())).await;
    opened.expect("opens")
}

async fn fresh() -> (Postgres, PostgresLedger) {
    let server = Postgres::start();
    let ledger = open(&server).await;
    (server, ledger)
}

ledger_suite!(fresh);
