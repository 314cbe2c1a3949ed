//! Follows the ledger: keys, parameters and symbols, from the start of a node to its end, and a
//! snapshot of them for a start at which the ledger cannot be reached.
//!
//! It is a task of its own: a key that was revoked is refused within a second even while the
//! ledger is slow to take usage.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, timeout};

use super::data_dir::DataDir;
use super::demo;
use super::health::Health;
use super::keys::KeySync;
use super::parameters::{Followers, ParameterSync};
use super::snapshot::{self, Keeper, Snapshot};
use super::symbols::{self, SymbolSync};
use crate::clock;
use crate::market::symbol::SymbolTable;
use crate::store::{Ledger, StoreError, month_start};

/// How often a ledger in a file of this machine is asked whether anything has changed.
const POLL_FILE: Duration = Duration::from_millis(200);
/// How often one that tells of changes by itself is asked.
const POLL_TELLING: Duration = Duration::from_secs(1);
/// How long a start waits for a ledger that is elsewhere to answer at all.
const REACH: Duration = Duration::from_secs(5);
/// How long its schema may take to be brought up to date, or what is in it to be read.
const BEGIN: Duration = Duration::from_mins(10);
/// How long a round may take before it is given up and tried again.
const ROUND: Duration = Duration::from_mins(2);

/// What a node knows from its ledger at its start, before it serves.
pub struct Begun {
    ledger: Arc<dyn Ledger>,
    /// The keys.
    pub keys: KeySync,
    /// The symbols of a live market.
    pub symbols: Option<SymbolSync>,
    parameters: ParameterSync,
    keeper: Option<Keeper>,
    /// When it was true, if it came from the snapshot, Unix nanoseconds.
    pub snapshot_ns: Option<u64>,
}

/// The task that follows.
#[derive(Debug)]
pub struct Follow {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    error: Arc<Mutex<Option<String>>>,
}

struct Follower {
    begun: Begun,
    followers: Followers,
    tables: watch::Sender<Arc<SymbolTable>>,
    error: Arc<Mutex<Option<String>>>,
    /// Whether the ledger's schema is known to be up to date.
    is_migrated: bool,
    health: Health,
    reconciled: Instant,
}

impl Begun {
    /// Reads the ledger. One that is elsewhere and cannot be reached within seconds is stood in for
    /// by the snapshot in the data directory; where there is none, the start is refused.
    ///
    /// `with_demo` makes the demo account in a fresh ledger, `is_live` reads the symbols too.
    pub async fn new(
        ledger: Arc<dyn Ledger>,
        data: &DataDir,
        with_demo: bool,
        is_live: bool,
        now_ns: u64,
    ) -> anyhow::Result<Self> {
        let is_remote = ledger.engine() != "sqlite";
        if !is_remote {
            return Self::of_ledger(ledger, data, with_demo, is_live, now_ns).await;
        }
        let reached = match timeout(REACH, ledger.migration_status()).await {
            Ok(Ok(_)) => {
                let begin = Self::of_ledger(Arc::clone(&ledger), data, with_demo, is_live, now_ns);
                let limit = || anyhow!("it did not answer within {} minutes", BEGIN.as_secs() / 60);
                timeout(BEGIN, begin).await.unwrap_or_else(|_| Err(limit()))
            }
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(anyhow!("it did not answer within {} seconds", REACH.as_secs())),
        };
        let path = snapshot::path_in(data.path());
        match reached {
            Ok(begun) => Ok(Self {
                keeper: Some(Keeper::new(path)),
                ..begun
            }),
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                let begun = Self::of_snapshot(ledger, &path, is_live, now_ns)
                    .with_context(|| format!("the ledger cannot be reached: {error:#}"))?;
                let time = told_time(begun.snapshot_ns.unwrap_or(0));
                tracing::error!(
                    error = format!("{error:#}"),
                    keys = begun.keys.table().load().len(),
                    as_of = time,
                    "the ledger cannot be reached: keys, parameters and symbols are those of the snapshot"
                );
                Ok(begun)
            }
        }
    }

    async fn of_ledger(
        ledger: Arc<dyn Ledger>,
        data: &DataDir,
        with_demo: bool,
        is_live: bool,
        now_ns: u64,
    ) -> anyhow::Result<Self> {
        ledger
            .migrate()
            .await
            .context("cannot bring the ledger up to date")?;
        if with_demo {
            demo::ensure(&*ledger, data, now_ns).await?;
        }
        let mut keys = KeySync::new(Arc::clone(&ledger));
        keys.reload(now_ns).await.context("cannot read the keys")?;
        let mut parameters = ParameterSync::default();
        parameters
            .poll(&*ledger, keys.stamp())
            .await
            .context("cannot read the parameters")?;
        let symbols = if is_live {
            let symbols = SymbolSync::start(Arc::clone(&ledger), now_ns).await;
            Some(symbols.context("cannot read the symbols")?)
        } else {
            None
        };
        Ok(Self {
            ledger,
            keys,
            symbols,
            parameters,
            keeper: None,
            snapshot_ns: None,
        })
    }

    fn of_snapshot(
        ledger: Arc<dyn Ledger>,
        path: &std::path::Path,
        is_live: bool,
        now_ns: u64,
    ) -> anyhow::Result<Self> {
        let advice = "start the ledger, or put right where it is said to be, and start again";
        let snapshot = match snapshot::read(path) {
            Ok(Some(snapshot)) => snapshot,
            Ok(None) => bail!(
                "there is no snapshot of it to serve from ({} is not there): {advice}",
                path.display()
            ),
            Err(snapshot::SnapshotError::Io(error)) => {
                return Err(error)
                    .with_context(|| format!("the snapshot {} cannot be read: {advice}", path.display()));
            }
            Err(error) => {
                let aside = snapshot::set_aside(path, now_ns)
                    .with_context(|| format!("cannot set the useless snapshot {} aside", path.display()))?;
                bail!(
                    "the snapshot to serve from is no use ({error}) and was set aside as {}: {advice}",
                    aside.display()
                );
            }
        };
        let mut keys = KeySync::new(Arc::clone(&ledger));
        let month = month_start(now_ns / 1_000_000_000);
        if snapshot.month != month {
            // What it counts is of a month that is over.
            snapshot.keys.iter().for_each(|key| key.state.set_month_used(0));
        }
        keys.adopt(snapshot.keys, month);
        let mut parameters = ParameterSync::default();
        parameters.adopt(snapshot.parameters);
        let symbols = is_live.then(|| SymbolSync::of_records(Arc::clone(&ledger), snapshot.symbols, now_ns));
        Ok(Self {
            ledger,
            keys,
            symbols,
            parameters,
            keeper: Some(Keeper::new(path.to_owned())),
            snapshot_ns: Some(snapshot.at_ns),
        })
    }

    /// Makes the parameters hold and goes on following; new symbol tables go to `tables`.
    pub fn follow(self, followers: Followers, tables: watch::Sender<Arc<SymbolTable>>) -> Follow {
        self.parameters.apply(&followers);
        let facts = &followers.ops.keys;
        facts.snapshot_ns.set(self.snapshot_ns.unwrap_or(0));
        let error = Arc::<Mutex<Option<String>>>::default();
        let follower = Follower {
            is_migrated: self.snapshot_ns.is_none(),
            begun: self,
            followers,
            tables,
            error: Arc::clone(&error),
            health: Health::new("ledger (reading keys)"),
            reconciled: clock::monotonic(),
        };
        follower.tell_keys(follower.begun.snapshot_ns.unwrap_or_else(clock::unix_nanos));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(follower.run(stopped));
        Follow { task, stop, error }
    }
}

impl Follow {
    /// Why the ledger could not be read the last time, if it could not.
    pub fn error(&self) -> Option<String> {
        self.error.lock().clone()
    }

    /// Whether it ended by itself, which only a panic does.
    pub fn has_fallen(&self) -> bool {
        self.task.is_finished()
    }

    /// Ends it, with a last snapshot if the ledger is elsewhere and answered the last time.
    pub async fn stop(self) {
        // Nobody listens if it fell.
        let _ = self.stop.send(());
        if self.task.await.is_err() {
            tracing::error!("the task that follows the ledger panicked; please report it");
        }
    }
}

impl Follower {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let ledger = Arc::clone(&self.begun.ledger);
        let every = match ledger.engine() {
            "sqlite" => POLL_FILE,
            _ => POLL_TELLING,
        };
        let mut tick = tokio::time::interval(every);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut stopped => break,
                _ = tick.tick() => {}
                () = ledger.changed() => {}
            }
            tokio::select! {
                // What is half read is read again at the next start.
                _ = &mut stopped => break,
                () = self.round() => {}
            }
        }
        // What is kept must not count usage that the ledger will bring besides.
        let answers = self.begun.snapshot_ns.is_none() && self.error.lock().is_none();
        if answers && let Some(mut keeper) = self.begun.keeper.take() {
            keeper.end(&self.followers.ops, || self.begun.snapshot()).await;
        }
    }

    /// Reads what has changed and takes it over.
    async fn round(&mut self) {
        let now_ns = clock::unix_nanos();
        let result = match timeout(ROUND, self.read(now_ns)).await {
            Ok(result) => result,
            Err(_) => Err(StoreError::Engine(
                "it did not answer in time: is it busy, or is the network gone?".into(),
            )),
        };
        *self.error.lock() = result.as_ref().err().map(ToString::to_string);
        let consequence = "the last known keys, limits and parameters go on serving";
        if self.health.note(result, consequence).is_none() {
            return;
        }
        self.tell_keys(now_ns);
        let Self { begun, followers, .. } = self;
        if let Some(mut keeper) = begun.keeper.take() {
            keeper.round(&followers.ops, || begun.snapshot()).await;
            begun.keeper = Some(keeper);
        }
    }

    async fn read(&mut self, now_ns: u64) -> Result<(), StoreError> {
        let Self { begun, followers, .. } = self;
        if !self.is_migrated {
            begun.ledger.migrate().await?;
            if begun.symbols.is_some() {
                symbols::seed(&*begun.ledger, now_ns).await?;
            }
            self.is_migrated = true;
        }
        let every = Duration::from_secs(followers.shared.parameters.reconcile_s());
        let before = begun.keys.table().load_full();
        if self.reconciled.elapsed() >= every {
            begun.keys.reload(now_ns).await?;
            self.reconciled = clock::monotonic();
        } else {
            begun.keys.poll(now_ns).await?;
        }
        let mut has_changed = !Arc::ptr_eq(&before, &begun.keys.table().load());
        drop(before);
        if begun.parameters.poll(&*begun.ledger, begun.keys.stamp()).await? {
            begun.parameters.apply(followers);
            has_changed = true;
        }
        if let Some(symbols) = &mut begun.symbols {
            let polled = symbols.poll(now_ns).await;
            tell_symbols(followers, symbols.problem());
            if let Some(table) = polled? {
                // The market may be between two lives; it takes the newest when it begins.
                self.tables.send_replace(table);
                has_changed = true;
            }
        }
        if begun.snapshot_ns.take().is_some() {
            followers.ops.keys.snapshot_ns.set(0);
            tracing::info!("the ledger answers: the snapshot does not stand in for it any more");
        }
        if has_changed && let Some(keeper) = &mut begun.keeper {
            keeper.note_change();
        }
        Ok(())
    }

    fn tell_keys(&self, now_ns: u64) {
        let (facts, keys) = (&self.followers.ops.keys, &self.begun.keys);
        facts.count.set(keys.table().load().len() as u64);
        facts.unusable.set(keys.unusable().len() as u64);
        facts.last_sync_ns.set(now_ns);
    }
}

impl Begun {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            keys: self.keys.table().load().as_ref().clone(),
            month: self.keys.month(),
            parameters: self.parameters.set().to_vec(),
            symbols: self
                .symbols
                .as_ref()
                .map_or_else(Vec::new, |symbols| symbols.records().to_vec()),
            at_ns: clock::unix_nanos(),
        }
    }
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun")
            .field("keys", &self.keys)
            .field("symbols", &self.symbols)
            .field("snapshot_ns", &self.snapshot_ns)
            .finish_non_exhaustive()
    }
}

fn tell_symbols(followers: &Followers, problem: Option<&str>) {
    let told = &followers.ops.market.symbols_problem;
    if told.read().as_deref() == problem {
        return;
    }
    if let Some(problem) = problem {
        tracing::error!(problem, "the ledger's symbols cannot be used");
    } else {
        tracing::info!("the ledger's symbols can be used again");
    }
    *told.write() = problem.map(str::to_owned);
}

/// Whether waiting changes nothing, so that serving from a snapshot would only hide it.
fn is_final(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref(),
        Some(
            StoreError::NewerSchema { .. }
                | StoreError::ForeignMigration { .. }
                | StoreError::NotALedger
                | StoreError::Corrupt(_)
        )
    )
}

fn told_time(unix_ns: u64) -> String {
    Timestamp::from_nanosecond(unix_ns.into()).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}
