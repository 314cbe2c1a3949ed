//! Hears of changes: a connection of its own that does nothing but listen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::AsyncMessage;

use super::connect::{Connected, connect};
use super::settings::PostgresSettings;
use super::wait::Backoff;

/// How often the connection is asked whether it is still there. The kernel's keepalive sees to
/// the next hop; this sees to whatever stands in between.
const PING: Duration = Duration::from_secs(30);
/// How long it may take to answer.
const PONG: Duration = Duration::from_secs(10);

/// A task that listens until this is dropped.
pub(super) struct Listener {
    told: Arc<Notify>,
    task: AbortHandle,
}

impl Listener {
    pub(super) fn start(settings: PostgresSettings) -> Self {
        let told = Arc::new(Notify::new());
        let task = tokio::spawn(listen(settings, Arc::clone(&told))).abort_handle();
        Self { told, task }
    }

    /// Returns when something has been told since the last call, or may have been missed.
    pub(super) async fn changed(&self) {
        self.told.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(settings: PostgresSettings, told: Arc<Notify>) {
    let mut backoff = Backoff::default();
    loop {
        let tell = Arc::clone(&told);
        let connected = connect(&settings, move |message| {
            if matches!(message, AsyncMessage::Notification(_)) {
                tell_all(&tell);
            }
        });
        match connected.await {
            Ok(connected) => {
                if connected
                    .client
                    .batch_execute("LISTEN trinity_beast_changes")
                    .await
                    .is_ok()
                {
                    backoff = Backoff::default();
                    // Whatever was told before this moment was told to nobody.
                    tell_all(&told);
                    hear(connected).await;
                    tell_all(&told);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot listen for changes of the ledger; they are polled for");
            }
        }
        sleep(backoff.next()).await;
    }
}

/// Returns when the connection has ended or does not answer any more.
async fn hear(connected: Connected) {
    let Connected {
        client, mut driver, ..
    } = connected;
    loop {
        tokio::select! {
            _ = &mut driver => return,
            () = sleep(PING) => {}
        }
        if !matches!(timeout(PONG, client.simple_query("")).await, Ok(Ok(_))) {
            driver.abort();
            return;
        }
    }
}

/// Wakes whoever waits, and whoever comes next.
fn tell_all(told: &Notify) {
    told.notify_waiters();
    told.notify_one();
}
