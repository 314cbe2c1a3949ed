//! What is true of this home alone, on a real server; the promises that every home makes are the
//! suite's.

use super::*;
use crate::store::suite::ledger_suite;

#[path = "../../../tests/support/postgres.rs"]
pub(crate) mod server;

use server::Postgres;

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings::from_url(url).expect("a URL")
}

async fn fresh() -> (Postgres, PostgresLedger) {
    let server = Postgres::start();
    let ledger = PostgresLedger::open_or_create(settings(&server.url()))
        .await
        .expect("opens");
    (server, ledger)
}

ledger_suite!(fresh);
