//! The pool of connections, and how a call runs on one of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult, Timeouts};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connect;
use super::fault;
use super::settings::PostgresSettings;
use super::wait::Backoff;
use crate::clock;
use crate::store::error::{Result, StoreError};

/// Most connections at once: a flush, a poll, a load, and one to spare.
const CONNECTIONS: usize = 4;
/// How long a call waits for a connection that others have.
const WAIT: Duration = Duration::from_secs(30);
/// How long the program waits for the server, somewhat longer than the server lets itself take:
/// only a connection that nobody answers on comes to this.
const PATIENCE: Duration = Duration::from_secs(45);
/// The same for work that goes through everything there is.
const LONG_PATIENCE: Duration = Duration::from_mins(20);
/// How often a transaction is tried that collides with others.
const MAX_TRIES: u32 = 6;

/// Parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// How a call runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One statement that reads.
    Read,
    /// Several, which see one state of everything.
    Snapshot,
    /// A snapshot that may take minutes.
    LongSnapshot,
    /// A transaction that writes.
    Write,
    /// A flush: a write that needs the staging tables.
    Flush,
    /// A transaction that may take minutes and manages its own locks.
    LongWrite,
}

/// Connections to one server.
pub(super) struct Connections {
    pool: Pool<Connector>,
}

struct Connector {
    settings: PostgresSettings,
    rest: Mutex<Rest>,
}

/// After a failure the next attempt waits, and until then calls fail at once.
#[derive(Default)]
struct Rest {
    backoff: Backoff,
    until: Option<(Instant, String)>,
}

/// One connection, and what was prepared on it.
pub(super) struct Session {
    client: Client,
    server: Arc<str>,
    database: Arc<str>,
    statements: HashMap<String, Statement>,
    state: State,
    /// Whether the transaction collided with another and may be tried again.
    collided: bool,
    staged: bool,
}

/// Whether a connection may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// For anything.
    Idle,
    /// Between BEGIN and the end of its transaction: not for anything else.
    Open,
    /// Not any more.
    Spoiled,
}

impl Connections {
    pub(super) fn new(settings: PostgresSettings) -> Self {
        let connector = Connector {
            settings,
            rest: Mutex::default(),
        };
        let pool = Pool::builder(connector)
            .max_size(CONNECTIONS)
            .runtime(deadpool::Runtime::Tokio1)
            .timeouts(Timeouts::wait_millis(WAIT.as_millis() as u64))
            .build();
        Self {
            pool: pool.unwrap_or_else(|_| unreachable!("a pool with a runtime can be built")),
        }
    }

    /// Runs a job. One that only reads is tried once more when its connection breaks; one that
    /// collides with another transaction is tried again. A broken connection during COMMIT is an
    /// error: only the caller knows whether doing it again is harmless.
    pub(super) async fn run<T, F>(&self, kind: Kind, job: &F) -> Result<T>
    where
        F: for<'a> Fn(&'a mut Session) -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let mut tries = 0;
        loop {
            tries += 1;
            let mut session = self.session().await?;
            let patience = match kind {
                Kind::LongSnapshot | Kind::LongWrite => LONG_PATIENCE,
                _ => PATIENCE,
            };
            let Ok(result) = timeout(patience, session.once(kind, job)).await else {
                // Whatever comes back on it later is not for anybody.
                drop(Object::take(session));
                return Err(StoreError::TimedOut);
            };
            let error = match result {
                Ok(value) => return Ok(value),
                Err(Failed { error, harmless }) => {
                    let again = match error {
                        StoreError::ConnectionLost { .. } => harmless && tries <= 1 + CONNECTIONS as u32,
                        _ => std::mem::take(&mut session.collided) && tries < MAX_TRIES,
                    };
                    if again { None } else { Some(error) }
                }
            };
            if session.state != State::Idle {
                drop(Object::take(session));
            }
            match error {
                Some(error) => return Err(error),
                None => tokio::time::sleep(Backoff::jitter(Duration::from_millis(20))).await,
            }
        }
    }

    async fn session(&self) -> Result<Object<Connector>> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => error,
            PoolError::Timeout(_) => StoreError::TimedOut,
            _ => StoreError::Stopped,
        })
    }
}

/// Why a try came to nothing.
struct Failed {
    error: StoreError,
    /// Whether nothing can have been written.
    harmless: bool,
}

impl Session {
    async fn once<T, F>(&mut self, kind: Kind, job: &F) -> std::result::Result<T, Failed>
    where
        F: for<'a> Fn(&'a mut Session) -> BoxFuture<'a, Result<T>> + Send + Sync,
    {
        let harmless = |error| Failed {
            error,
            harmless: true,
        };
        if kind == Kind::Read {
            return job(self).await.map_err(harmless);
        }
        if kind == Kind::Flush && !self.staged {
            self.batch(super::flush::STAGING).await.map_err(harmless)?;
            self.staged = true;
        }
        let begin = match kind {
            Kind::Read | Kind::Snapshot => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            Kind::LongSnapshot => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '15min'"
            }
            Kind::Write | Kind::Flush => "BEGIN ISOLATION LEVEL READ COMMITTED",
            Kind::LongWrite => {
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = '15min'; SET LOCAL lock_timeout = '30s'"
            }
        };
        self.state = State::Open;
        self.batch(begin).await.map_err(harmless)?;
        match job(self).await {
            Ok(value) => {
                let reads = matches!(kind, Kind::Snapshot | Kind::LongSnapshot);
                let committed = self.batch("COMMIT").await;
                committed.map_err(|error| Failed {
                    error,
                    harmless: reads,
                })?;
                self.state = State::Idle;
                Ok(value)
            }
            Err(error) => {
                // Nothing was committed, and without a COMMIT nothing will be.
                if self.state == State::Open && self.batch("ROLLBACK").await.is_ok() {
                    self.state = State::Idle;
                }
                Err(harmless(error))
            }
        }
    }

    /// The name of the database, for people.
    pub(super) fn database(&self) -> &str {
        &self.database
    }

    /// Statements without parameters or results.
    pub(super) async fn batch(&mut self, sql: &str) -> Result<()> {
        let result = self.client.batch_execute(sql).await;
        self.checked(result)
    }

    pub(super) async fn query(&mut self, sql: &str, params: Params<'_>) -> Result<Vec<Row>> {
        let statement = self.prepared(sql).await?;
        let result = self.client.query(&statement, params).await;
        self.checked(result)
    }

    pub(super) async fn query_opt(&mut self, sql: &str, params: Params<'_>) -> Result<Option<Row>> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// The only row of a query that always has one.
    pub(super) async fn query_one(&mut self, sql: &str, params: Params<'_>) -> Result<Row> {
        let row = self.query_opt(sql, params).await?;
        row.ok_or_else(|| StoreError::Engine("a row is missing that every ledger has".into()))
    }

    /// Returns how many rows were written.
    pub(super) async fn execute(&mut self, sql: &str, params: Params<'_>) -> Result<u64> {
        let statement = self.prepared(sql).await?;
        let result = self.client.execute(&statement, params).await;
        self.checked(result)
    }

    /// The client and a prepared COPY.
    pub(super) async fn copying(&mut self, sql: &str) -> Result<(&Client, Statement)> {
        let statement = self.prepared(sql).await?;
        Ok((&self.client, statement))
    }

    /// Takes note of what an error means for this connection.
    pub(super) fn checked<T>(&mut self, result: std::result::Result<T, tokio_postgres::Error>) -> Result<T> {
        result.map_err(|error| {
            self.collided |= fault::is_collision(&error);
            if fault::spoils(&error) {
                self.state = State::Spoiled;
            }
            fault::of_call(error, &self.server)
        })
    }

    async fn prepared(&mut self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        let result = self.client.prepare(sql).await;
        let statement = self.checked(result)?;
        self.statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }
}

impl Manager for Connector {
    type Type = Session;
    type Error = StoreError;

    async fn create(&self) -> Result<Session> {
        if let Some((until, last)) = &self.rest.lock().until
            && clock::monotonic() < *until
        {
            return Err(StoreError::Resting { last: last.clone() });
        }
        let connected = connect::connect(&self.settings, |_| {}).await;
        let mut rest = self.rest.lock();
        match connected {
            Ok(connected) => {
                *rest = Rest::default();
                Ok(Session {
                    client: connected.client,
                    server: connected.server,
                    database: connected.database,
                    statements: HashMap::new(),
                    state: State::Idle,
                    collided: false,
                    staged: false,
                })
            }
            Err(error) => {
                let pause = rest.backoff.next();
                rest.until = Some((clock::monotonic() + pause, error.to_string()));
                Err(error)
            }
        }
    }

    async fn recycle(&self, session: &mut Session, _: &Metrics) -> RecycleResult<StoreError> {
        // A job that panicked has left its transaction open.
        if session.client.is_closed() || session.state != State::Idle {
            return Err(RecycleError::message("gone"));
        }
        session.collided = false;
        Ok(())
    }
}
