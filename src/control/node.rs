//! One node from its start to its end: opens what it needs in order, serves, and ends
//! without losing what it counted.

use std::fmt::Write as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use super::data_dir::DataDir;
use super::explain::ExplainDesk;
use super::health::Health;
use super::journal::{JournalDir, Journals};
use super::keys::KeySync;
use super::live::{self, LiveParts, LiveSettings};
use super::market::{self, Publisher};
use super::ops::{
    Fact, JournalFacts, KeysFacts, LedgerFacts, LedgerSide, MarketFacts, MarketKind, Ops, ProcessFacts,
    ShardFacts,
};
use super::shards::{self, ShardSettings, Shards};
use super::supervise::{self, Stop};
use super::symbols::SymbolSync;
use super::usage::{UsageFlush, UsageTask};
use super::web::Web;
use super::{calendar, demo};
use crate::clock;
use crate::config::{Config, MarketChoice};
use crate::market::recording::Recording;
use crate::market::replay::Player;
use crate::market::symbol::SymbolTable;
use crate::shard::ShardShared;
use crate::shard::driver::{self, Chosen, probe};
use crate::shard::socket::Steering;
use crate::store::Ledger;
use crate::tables::meter::Meter;
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceCopy, PriceWriter};

/// How often keys are looked for and usage is flushed.
const TICK: Duration = Duration::from_millis(200);
/// How often all keys are read again even if nothing seems to have changed.
const RECONCILE: Duration = Duration::from_mins(1);
/// How long the start waits for the market's first prices.
const FIRST_TICK: Duration = Duration::from_secs(1);
/// How long the start may wait for the ledger to take what a process before this one left.
const FIRST_FLUSH: Duration = Duration::from_secs(5);
/// How long the end may wait for the ledger to take the last usage.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    data: DataDir,
    keys: KeySync,
    usage: UsageTask,
    journals: Journals,
    shards: Shards,
    web: Web,
    ops: Arc<Ops>,
    driver: Chosen,
    market: JoinHandle<()>,
    /// The symbols of a live market, and where they go when they change.
    symbols: Option<SymbolSync>,
    tables: watch::Sender<Arc<SymbolTable>>,
    stop: Stop,
    ledger_reads: Health,
    reconciled: Instant,
}

/// What readers miss, and what wakes when there is something.
type Misses = (Arc<MissBoard>, Arc<Notify>);

/// Where prices come from.
enum Source {
    Recording(Recording),
    Live(LiveSettings),
}

impl Node {
    /// Starts everything; returns once UDP and HTTP are answered.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let now_ns = clock::unix_nanos();
        let data = DataDir::open(&config.data_dir)?;
        let ledger = config.ledger.open_or_create().await;
        let ledger =
            ledger.with_context(|| format!("cannot open the ledger, {}", config.ledger.describe()))?;
        if !config.production {
            demo::ensure(&*ledger, &data, now_ns).await?;
        }
        let boot = getrandom::u64().map_err(|error| anyhow!("no randomness: {error}"))?;
        let (mut journals, mut usage) = open_journals(&config, &ledger, boot, now_ns).await?;
        let mut keys = KeySync::new(Arc::clone(&ledger));
        keys.reload(now_ns).await.context("cannot read the keys")?;

        let source = Source::open(&config)?;
        let mut symbol_sync = None;
        let symbols = match &source {
            Source::Recording(recording) => Arc::new(recording.symbol_table()?),
            Source::Live(_) => {
                let sync = SymbolSync::start(Arc::clone(&ledger), now_ns)
                    .await
                    .context("cannot read the symbols")?;
                symbol_sync.insert(sync).table()
            }
        };
        let names = Arc::new(market::names(&symbols)?);
        let cpus = shards::plan(config.shards)?;
        let (writer, prices) = PriceWriter::new(&names, cpus.len());
        let publisher = Publisher::new(writer, &symbols, config.speed);

        let driver = driver::choose(config.driver, probe::io_uring)?;
        tracing::info!(driver = %driver.kind, why = driver.why, "driver chosen");
        let misses = source.misses();
        let ops = Arc::new(Ops {
            journal: usage.facts(),
            ..board(&config, now_ns, &driver, &cpus, &prices, &source, misses.as_ref())
        });
        let stop = Stop::default();
        let (tables, followed) = watch::channel(symbols);
        let desk = Arc::new(ExplainDesk::new());
        let market = match (source, misses) {
            (Source::Recording(recording), _) => {
                start_replay(recording, &config, publisher, &ops, &desk, &stop)?
            }
            (Source::Live(settings), misses) => start_live(LiveParts {
                settings,
                tables: followed,
                publisher: Arc::new(Mutex::new(publisher)),
                ops: Arc::clone(&ops),
                misses: misses.context("a live market has a board of misses")?,
                explains: Arc::clone(&desk),
                tap: None,
                stop: Arc::clone(&stop),
            })?,
        };

        // Meters are numbered as their journals are: the shards' first.
        let made = (0..2 * cpus.len()).map(|index| journals.meter(&prices[index % cpus.len()], now_ns));
        let (mut meters, pages) = made.collect::<anyhow::Result<(Vec<_>, Vec<_>)>>()?;
        let web_meters = meters.split_off(cpus.len());
        ops.journal.meters.write().clone_from(&pages);
        usage.take_meters(pages);
        let shared = Arc::new(ShardShared::default());
        shared
            .month_end_ns
            .store(calendar::month_end_ns(now_ns), Ordering::Relaxed);
        let settings = ShardSettings {
            address: config.udp,
            driver: driver.kind,
            spin: config.spin,
        };
        let shards = Shards::start(
            &settings,
            &ops.shards,
            &prices,
            &keys.table(),
            ops.misses.as_ref(),
            &shared,
            meters,
        )?;
        describe(&shards, &ops);
        let web = Web::start(&config, &ops, &prices, &keys.table(), &shared, &desk, web_meters)?;
        let usage = UsageTask::start(usage, Arc::clone(&ops));
        tracing::info!(udp = %shards.address, http = %web.http, ops = %web.ops, "listening");
        let node = Self {
            data,
            keys,
            usage,
            journals,
            shards,
            web,
            ops,
            driver,
            market,
            symbols: symbol_sync,
            tables,
            stop,
            ledger_reads: Health::new("ledger (reading keys)"),
            reconciled: clock::monotonic(),
        };
        node.note_keys(now_ns);
        Ok(node)
    }

    /// What a person who started it wants to know next.
    pub fn welcome(&self) -> String {
        let (udp, http) = (self.shards.address, self.web.http);
        let key = self.data.demo_key_path();
        let mut text = format!(
            "Trinity Beast {} serves prices\n  UDP   {udp}  ({} shards, {} driver)\n  HTTP  {http}\n  ops   {}\n",
            env!("CARGO_PKG_VERSION"),
            self.shards.handles.len(),
            self.driver.kind,
            self.web.ops,
        );
        if key.exists() {
            let key = key.display();
            text.push_str("The demo key has no limits and is for this machine; try it:\n");
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  trinity-beast query BTC-USD --server {udp} --key-file {key}"
            );
            let _ = writeln!(
                text,
                "  curl -H \"X-API-Key: $(cat {key})\" 'http://{http}/price?asset=btc'"
            );
        }
        text
    }

    /// Serves until `end` resolves, then stops in order. An error means that something fell
    /// that cannot be brought back within the process.
    pub async fn run(mut self, end: impl Future<Output = ()>) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut end = std::pin::pin!(end);
        let mut fallen = None;
        loop {
            tokio::select! {
                () = &mut end => break,
                _ = tick.tick() => {}
            }
            self.tend().await;
            fallen = match (self.shards.fallen(), self.web.fallen()) {
                (Some(index), _) => Some(format!("shard {index}")),
                (None, Some(index)) => Some(format!("HTTP worker {index}")),
                (None, None) if self.usage.has_fallen() => Some("the usage flush".to_owned()),
                (None, None) => None,
            };
            if fallen.is_some() {
                break;
            }
        }
        let left = self.stop().await;
        if let Some(part) = fallen {
            bail!("{part} ended by itself; the process ends so that it can be started whole");
        }
        if let Left::Requests { requests, journal } = left {
            tracing::warn!(
                requests,
                journal,
                "the ledger did not take all usage in time: the next start in this directory brings it there"
            );
        }
        Ok(())
    }

    /// The control plane's round: keys and symbols in. Usage goes out by a task of its own.
    async fn tend(&mut self) {
        let now_ns = clock::unix_nanos();
        self.shards
            .shared
            .month_end_ns
            .store(calendar::month_end_ns(now_ns), Ordering::Relaxed);
        let reconciles = self.reconciled.elapsed() >= RECONCILE;
        let result = if reconciles {
            self.keys.reload(now_ns).await
        } else {
            self.keys.poll(now_ns).await.map(|_| ())
        };
        let mut error = result.as_ref().err().map(ToString::to_string);
        if self
            .ledger_reads
            .note(result, "the last known keys and limits go on serving")
            .is_some()
        {
            self.note_keys(now_ns);
            if reconciles {
                self.reconciled = clock::monotonic();
            }
        }
        error = error.or(self.follow_symbols(now_ns).await);
        match error {
            None => self.ops.ledger.succeeded(LedgerSide::Reads, now_ns),
            Some(error) => self.ops.ledger.failed(LedgerSide::Reads, now_ns, error),
        }
    }

    /// Takes over what changed of a live market's symbols; gives the ledger's error, if any.
    async fn follow_symbols(&mut self, now_ns: u64) -> Option<String> {
        let sync = self.symbols.as_mut()?;
        let result = sync.poll(now_ns).await;
        let problem = sync.problem().map(str::to_owned);
        let told = &self.ops.market.symbols_problem;
        if *told.read() != problem {
            if let Some(problem) = &problem {
                tracing::error!(problem, "the ledger's symbols cannot be used");
            } else {
                tracing::info!("the ledger's symbols can be used again");
            }
            *told.write() = problem;
        }
        match result {
            Ok(Some(table)) => {
                // The market may be between two lives; it takes the newest when it begins.
                self.tables.send_replace(table);
                None
            }
            Ok(None) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    fn note_keys(&self, now_ns: u64) {
        self.ops.keys.count.set(self.keys.table().load().len() as u64);
        self.ops.keys.last_sync_ns.set(now_ns);
    }

    /// Stops serving, then writes what was counted; tells what could not be.
    async fn stop(self) -> Left {
        tracing::info!("draining");
        self.stop.store(true, Ordering::Relaxed);
        self.market.thread().unpark();
        self.ops.stopping_since_ns.set(clock::unix_nanos());
        let mut meters = self.shards.stop();
        meters.extend(self.web.join());
        if self.market.join().is_err() {
            tracing::error!("the market task panicked");
        }
        let journal = self.journals.path().display().to_string();
        let Ok(Some(mut usage)) = tokio::time::timeout(LAST_FLUSH, self.usage.stop()).await else {
            let requests = meters.iter().map(Meter::pending).sum();
            return Left::Requests { requests, journal };
        };
        let mut health = Health::new("ledger (writing usage)");
        let flush = usage.drain(&mut meters, |result| {
            health.note(result, "the last usage is not written yet");
        });
        if tokio::time::timeout(LAST_FLUSH, flush).await.is_err() {
            let pending = meters.iter().map(Meter::pending).sum::<u64>();
            let requests = usage.unflushed() + pending;
            return Left::Requests { requests, journal };
        }
        if let Err(error) = self.journals.remove() {
            tracing::warn!(journal, %error, "the usage journals are empty and could not be removed");
        }
        tracing::info!(data_dir = %self.data.path().display(), "ended");
        Left::Nothing
    }
}

/// What is not in the ledger when a node ends.
enum Left {
    Nothing,
    /// It stays in the journals.
    Requests {
        requests: u64,
        journal: String,
    },
}

/// Opens the journals' directory and brings what processes before this one left behind to the
/// ledger, as far as it takes it in good time; the rest is brought while this one serves.
async fn open_journals(
    config: &Config,
    ledger: &Arc<dyn Ledger>,
    boot: u64,
    now_ns: u64,
) -> anyhow::Result<(Journals, UsageFlush)> {
    let dir = JournalDir::open(&config.journal_dir)?;
    let left = dir.left(now_ns)?;
    let facts = Arc::new(JournalFacts::default());
    left.set_aside.into_iter().for_each(|text| facts.set_aside(text));
    // Flush ids are stored as signed integers.
    let boot = boot >> 1;
    let node = config.node.clone();
    let mut usage = UsageFlush::new(Arc::clone(ledger), node, boot, Vec::new(), left.journals, facts);
    let began = clock::monotonic();
    while usage.left_pages() > 0 && began.elapsed() < FIRST_FLUSH {
        let (flushed, result) = usage.round().await;
        match result {
            Ok(()) => tracing::info!(
                requests = flushed.requests,
                pages_waiting = flushed.waiting,
                "usage of a process before this one is in the ledger"
            ),
            Err(error) => {
                tracing::warn!(%error, pages = flushed.waiting, "usage of a process before this one waits");
                break;
            }
        }
    }
    Ok((Journals::new(dir, &config.node, boot), usage))
}

/// The board that operators' pages are rendered from.
fn board(
    config: &Config,
    now_ns: u64,
    driver: &Chosen,
    cpus: &[Option<usize>],
    prices: &[PriceCopy],
    source: &Source,
    misses: Option<&Misses>,
) -> Ops {
    Ops {
        process: ProcessFacts {
            started_ns: now_ns,
            version: env!("CARGO_PKG_VERSION"),
            node: config.node.clone(),
            driver: driver.kind.to_string(),
            driver_why: driver.why.clone(),
        },
        shards: cpus
            .iter()
            .map(|cpu| ShardFacts {
                cpu: *cpu,
                ..ShardFacts::default()
            })
            .collect(),
        web: cpus.iter().map(|_| Arc::default()).collect(),
        prices: Arc::clone(&prices[0]),
        misses: misses.map(|(board, _)| Arc::clone(board)),
        market: source.facts(),
        ledger: LedgerFacts::new(config.ledger.engine()),
        journal: Arc::default(),
        keys: KeysFacts::default(),
        stopping_since_ns: Fact::default(),
    }
}

impl Source {
    fn open(config: &Config) -> anyhow::Result<Self> {
        Ok(match (&config.market, &config.venues_config) {
            (MarketChoice::Shipped, _) => Self::Recording(Recording::shipped()),
            (MarketChoice::File(path), _) => Self::Recording(Recording::open(path)?),
            (MarketChoice::Live, None) => Self::Live(LiveSettings::builtin()),
            (MarketChoice::Live, Some(path)) => Self::Live(LiveSettings::read(path, config.production)?),
        })
    }

    /// A recording has only what was recorded: there is nothing to fetch.
    fn misses(&self) -> Option<Misses> {
        let Self::Live(_) = self else { return None };
        let wake = Arc::new(Notify::new());
        let waked = Arc::clone(&wake);
        Some((Arc::new(MissBoard::new(move || waked.notify_one())), wake))
    }

    fn facts(&self) -> MarketFacts {
        match self {
            Self::Recording(recording) => {
                MarketFacts::new(MarketKind::Replay, &format!("replay:{}", recording.name()))
            }
            Self::Live(settings) => MarketFacts::live(settings.venues.iter().map(|address| address.venue)),
        }
    }
}

fn start_live(mut parts: LiveParts) -> anyhow::Result<JoinHandle<()>> {
    let names: Vec<_> = parts
        .settings
        .venues
        .iter()
        .map(|address| address.venue.name())
        .collect();
    tracing::info!(venues = names.join(", "), "live market starts");
    let stop = Arc::clone(&parts.stop);
    Ok(supervise::spawn("market", stop, move || live::run(&mut parts))?)
}

fn start_replay(
    recording: Recording,
    config: &Config,
    mut publisher: Publisher,
    ops: &Arc<Ops>,
    desk: &Arc<ExplainDesk>,
    stop: &Stop,
) -> anyhow::Result<JoinHandle<()>> {
    tracing::info!(
        market = recording.name(),
        speed = %config.speed,
        looping = config.looping,
        "market starts"
    );
    let (flag, ops, desk) = (Arc::clone(stop), Arc::clone(ops), Arc::clone(desk));
    let (speed, looping) = (config.speed, config.looping);
    // The first player is made here, so that a recording with nothing in it ends the start.
    let mut first = Some(Player::new(recording.clone(), speed, looping)?);
    let (ticked, first_tick) = mpsc::channel();
    let task = move || {
        let mut player = match first.take() {
            Some(player) => player,
            None => Player::new(recording.clone(), speed, looping)?,
        };
        let mut report = market::Report::new(&ops.market);
        market::replay(&mut player, &mut publisher, &desk, &flag, |player, progress| {
            report.note(player, progress);
            // Nobody listens after the first.
            let _ = ticked.send(());
        })
    };
    let task = supervise::spawn("market", Arc::clone(stop), task)?;
    // The first question should meet the first prices.
    if first_tick.recv_timeout(FIRST_TICK).is_err() {
        tracing::warn!("the market has not ticked yet; until it does there is NO_PRICE");
    }
    Ok(task)
}

fn describe(shards: &Shards, ops: &Ops) {
    for (index, (shard, facts)) in shards.handles.iter().zip(&ops.shards).enumerate() {
        facts.receive_buffer_bytes.set(shard.granted.receive_bytes as u64);
        facts.send_buffer_bytes.set(shard.granted.send_bytes as u64);
        tracing::info!(
            shard = index,
            cpu = shard.cpu,
            receive_buffer_bytes = shard.granted.receive_bytes,
            send_buffer_bytes = shard.granted.send_bytes,
            "shard serves"
        );
    }
    if let Steering::Flow(reason) = &shards.steering {
        tracing::warn!(
            reason,
            "requests are spread by the kernel's flow hash, not by lane: a captured datagram repeated from another \
             address may be counted again"
        );
    }
}
