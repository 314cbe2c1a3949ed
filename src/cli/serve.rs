//! `serve`: runs a node until it is told to end.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{Config, ServeArgs};
use crate::control::node::Node;

/// Runs the command. SIGTERM and SIGINT end it in order.
pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let config = Config::new(args)?;
    super::logging::start(config.production);
    super::tune::log_at_start(&config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the asynchronous runtime")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let production = config.production;
        let node = Node::start(config).await?;
        if !production {
            print!("{}", node.welcome());
        }
        node.run(async {
            tokio::select! {
                _ = terminate.recv() => tracing::info!(signal = "SIGTERM", "told to end"),
                _ = interrupt.recv() => tracing::info!(signal = "SIGINT", "told to end"),
            }
        })
        .await
    })
}
