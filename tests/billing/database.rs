//! A Postgres of a test's own, and the way to it, on which things go wrong.

use std::process::Command;

use trinity_beast::store::{PostgresArgs, PostgresLedger, SecretText};

use super::proxy::{Cut, Proxy};
use crate::support::postgres::{NAME, PASSWORD, Postgres};

/// The database, for a server through a proxy and for the test without.
pub(crate) struct Database {
    postgres: Postgres,
    pub(crate) proxy: Proxy,
}

impl Database {
    pub(crate) fn start() -> Self {
        let postgres = Postgres::start();
        let proxy = Proxy::before(([127, 0, 0, 1], postgres.port).into());
        Self { postgres, proxy }
    }

    /// Tells a command where the ledger is.
    pub(crate) fn dress(&self, command: &mut Command) {
        let url = format!("postgres://{NAME}@{}/{NAME}?sslmode=disable", self.proxy.address);
        command.env("AURORA_URL", url).env("PGPASSWORD", PASSWORD);
    }

    /// The ledger as the test sees it.
    pub(crate) async fn ledger(&self) -> PostgresLedger {
        let args = PostgresArgs {
            aurora_url: Some(SecretText::from(self.postgres.url())),
            ..PostgresArgs::default()
        };
        let settings = args.settings().expect("complete").expect("Postgres");
        PostgresLedger::open_or_create(settings).await.expect("opened")
    }

    /// A flush is committed, and its node never hears of it and finds nobody to ask.
    pub(crate) fn loses_an_acknowledgement_and_the_network(&self) {
        self.proxy.cut_and_be_gone(Cut::Acknowledgement);
    }

    /// What its connections do, for whoever looks for a reason.
    pub(crate) fn activity(&self) -> String {
        let sql = "SELECT pid, state, wait_event_type, wait_event, state_change, query FROM pg_stat_activity
                   WHERE backend_type = 'client backend'";
        self.postgres.sql(sql).unwrap_or_else(|error| error)
    }

    /// As when its machine restarts at once: without saying goodbye.
    pub(crate) fn crash(&mut self) {
        self.postgres.crash();
    }

    pub(crate) fn start_again(&mut self) {
        self.postgres.start_again();
    }
}
