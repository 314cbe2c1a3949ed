//! One connection: how it is made, and what it is told first.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{Stream, StreamExt, poll_fn};
use tokio::time::timeout;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls};

use super::fault;
use super::settings::{PostgresSettings, Target};
use super::tls::MakeTls;
use super::url::Host;
use crate::store::error::{Result, StoreError};

/// Longest time for a connection to come about, in all.
const CONNECT: Duration = Duration::from_secs(10);
/// A peer that vanished without a word is noticed after this long without an acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// Silence after which the kernel asks whether the peer is still there, and how it goes on asking.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;
/// The oldest server that has what the ledger uses.
const OLDEST_SERVER: i32 = 150_000;

/// What every session begins with. The search path keeps other schemas' tables out of the way;
/// plans are made for the values at hand, because whether anything changed since a revision
/// decides which index serves. A commit is on the disk before it is reported, whatever the role's
/// own setting says.
const FIRST_WORDS: &str = "
    SET search_path = public, pg_temp;
    SET timezone = 'UTC';
    SET statement_timeout = '30s';
    SET lock_timeout = '10s';
    SET idle_in_transaction_session_timeout = '60s';
    SET plan_cache_mode = force_custom_plan;
    SET client_min_messages = warning;
    SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';";

/// What the server says of its own accord. It must be polled for the client to get anywhere; it
/// ends with the connection.
pub(super) type Messages =
    Pin<Box<dyn Stream<Item = std::result::Result<AsyncMessage, tokio_postgres::Error>> + Send>>;

/// A new connection, set up.
pub(super) struct Connected {
    pub client: Client,
    pub server: Arc<str>,
    pub database: Arc<str>,
    /// What drives the connection; ends when the client is dropped.
    pub driver: tokio::task::JoinHandle<()>,
}

/// Connects and sets the session up. `on_message` gets what the server says unasked.
pub(super) async fn connect(
    settings: &PostgresSettings,
    mut on_message: impl FnMut(&AsyncMessage) + Send + 'static,
) -> Result<Connected> {
    // Files with secrets are read anew each time: a rotated one must be taken up.
    let target = settings.target()?;
    let (client, mut messages) = match timeout(CONNECT, open(&target)).await {
        Ok(opened) => opened?,
        Err(_) => return Err(unreachable(&target, "it did not answer within 10 s")),
    };
    let server: Arc<str> = target.to_string().into();
    let told = Arc::clone(&server);
    let driver = tokio::spawn(async move {
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => on_message(&message),
                Err(error) => {
                    tracing::debug!(server = %told, error = %error, "a connection to Postgres ended");
                    return;
                }
            }
        }
    });
    match timeout(CONNECT, greet(&client, &server)).await {
        Ok(greeted) => greeted?,
        Err(_) => {
            return Err(unreachable(
                &target,
                "it took the connection but did not answer within 10 s",
            ));
        }
    }
    Ok(Connected {
        client,
        server,
        database: target.database.into(),
        driver,
    })
}

async fn open(target: &Target) -> Result<(Client, Messages)> {
    let mut config = Config::new();
    config
        .user(&target.user)
        .dbname(&target.database)
        .port(target.port)
        .application_name(&target.application_name)
        .connect_timeout(CONNECT)
        .tcp_user_timeout(UNACKNOWLEDGED)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
    if let Some(password) = &target.password {
        config.password(password.expose());
    }
    match &target.host {
        Host::Tcp(host) => config.host(host),
        Host::Socket(path) => config.host_path(path),
    };
    let fault = |error| fault::of_connect(&error, target);
    if let Some(tls) = &target.tls {
        let tls = MakeTls::new(tls)?;
        config.ssl_mode(tokio_postgres::config::SslMode::Require);
        let (client, connection) = config.connect(tls).await.map_err(fault)?;
        Ok((client, messages(connection)))
    } else {
        config.ssl_mode(tokio_postgres::config::SslMode::Disable);
        let (client, connection) = config.connect(NoTls).await.map_err(fault)?;
        Ok((client, messages(connection)))
    }
}

fn messages<S, T>(mut connection: Connection<S, T>) -> Messages
where
    Connection<S, T>: Send + 'static,
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    Box::pin(poll_fn(move |cx| connection.poll_message(cx)))
}

/// Sets the session up and looks at what server it is.
async fn greet(client: &Client, server: &str) -> Result<()> {
    let fault = |error| fault::of_call(error, server);
    client.batch_execute(FIRST_WORDS).await.map_err(fault)?;
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, current_setting('server_version'),
                    current_setting('server_encoding')",
            &[],
        )
        .await
        .map_err(fault)?;
    let (number, version, encoding): (i32, String, String) = (row.get(0), row.get(1), row.get(2));
    if number < OLDEST_SERVER {
        return Err(StoreError::UnfitServer {
            why: format!("it is version {version}; 15 or later is needed"),
        });
    }
    if encoding != "UTF8" {
        return Err(StoreError::UnfitServer {
            why: format!(
                "the database is encoded in {encoding}; make it with `createdb --encoding UTF8 --template template0`"
            ),
        });
    }
    Ok(())
}

fn unreachable(target: &Target, why: &str) -> StoreError {
    StoreError::Unreachable {
        server: target.to_string(),
        why: why.to_owned(),
    }
}
