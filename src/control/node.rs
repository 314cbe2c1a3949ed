//! One node from its start to its end: opens what it needs in order, serves, and ends
//! without losing what it counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use tokio::time::MissedTickBehavior;

use super::data_dir::DataDir;
use super::health::Health;
use super::keys::KeySync;
use super::market::{self, Publisher};
use super::shards::{self, Shards};
use super::supervise::{self, Stop};
use super::usage::UsageFlush;
use super::{calendar, demo};
use crate::clock;
use crate::config::Config;
use crate::market::recording::Recording;
use crate::market::replay::Player;
use crate::shard::ShardShared;
use crate::shard::driver::{self, Chosen, probe};
use crate::shard::socket::Steering;
use crate::store::{Ledger, SqliteLedger};
use crate::tables::prices::PriceWriter;

/// How often keys are looked for and usage is flushed.
const TICK: Duration = Duration::from_millis(200);
/// How often all keys are read again even if nothing seems to have changed.
const RECONCILE_NS: u64 = 60_000_000_000;
/// How long the end may wait for the ledger to take the last usage.
const LAST_FLUSH: Duration = Duration::from_secs(10);

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    data: DataDir,
    keys: KeySync,
    usage: UsageFlush,
    shards: Shards,
    driver: Chosen,
    market: JoinHandle<()>,
    stop: Stop,
    ledger_reads: Health,
    ledger_writes: Health,
    reconciled_ns: u64,
}

impl Node {
    /// Starts everything; returns once UDP and HTTP are answered.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        let now_ns = clock::unix_nanos();
        let data = DataDir::open(&config.data_dir)?;
        let ledger: Arc<dyn Ledger> = Arc::new(
            SqliteLedger::open_or_create(data.path())
                .await
                .with_context(|| format!("cannot open the ledger in {}", data.path().display()))?,
        );
        if !config.production {
            demo::ensure(&*ledger, &data, now_ns).await?;
        }
        let mut keys = KeySync::new(Arc::clone(&ledger));
        keys.reload(now_ns).await.context("cannot read the keys")?;

        let recording = market::open(&config.market)?;
        let symbols = recording.symbol_table()?;
        let names = Arc::new(market::names(&symbols)?);
        let cpus = shards::plan(config.shards)?;
        let (writer, prices) = PriceWriter::new(&names, cpus.len());
        let publisher = Publisher::new(writer, &symbols, config.speed);

        let driver = driver::choose(config.driver, probe::io_uring)?;
        tracing::info!(driver = %driver.kind, why = driver.why, "driver chosen");
        let stop = Stop::default();
        let market = start_market(recording, &config, publisher, &stop)?;

        let shared = Arc::new(ShardShared::default());
        shared
            .month_end_ns
            .store(calendar::month_end_ns(now_ns), Ordering::Relaxed);
        let shards = Shards::start(config.udp, &cpus, &driver, &prices, &keys.table(), &shared)?;
        describe(&shards);
        let meters = shards.handles.iter().map(|shard| shard.pages.clone()).collect();
        let boot = getrandom::u64().map_err(|error| anyhow!("no randomness: {error}"))?;
        let usage = UsageFlush::new(ledger, names, config.node.clone(), boot, meters);
        Ok(Self {
            data,
            keys,
            usage,
            shards,
            driver,
            market,
            stop,
            ledger_reads: Health::new("ledger (reading keys)"),
            ledger_writes: Health::new("ledger (writing usage)"),
            reconciled_ns: now_ns,
        })
    }

    /// What a person who started it wants to know next.
    pub fn welcome(&self) -> String {
        let udp = self.shards.address;
        let key = self.data.demo_key_path();
        let mut text = format!(
            "Trinity Beast {} serves prices\n  UDP   {udp}  ({} shards, {} driver)\n",
            env!("CARGO_PKG_VERSION"),
            self.shards.handles.len(),
            self.driver.kind,
        );
        if key.exists() {
            let key = key.display();
            text += &format!(
                "The demo key is in {key}. Try:\n  trinity-beast query BTC-USD --server {udp} --key-file {key}\n"
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
            fallen = self.shards.fallen();
            if fallen.is_some() {
                break;
            }
        }
        let lost = self.stop().await;
        if let Some(index) = fallen {
            bail!("shard {index} ended by itself; the process ends so that it can be started whole");
        }
        if lost > 0 {
            bail!("{lost} requests were answered but could not be written to the ledger in time");
        }
        Ok(())
    }

    /// The control plane's round: keys in, usage out.
    async fn tend(&mut self) {
        let now_ns = clock::unix_nanos();
        self.shards
            .shared
            .month_end_ns
            .store(calendar::month_end_ns(now_ns), Ordering::Relaxed);
        let result = if now_ns.saturating_sub(self.reconciled_ns) >= RECONCILE_NS {
            self.keys.reload(now_ns).await.map(|()| true)
        } else {
            self.keys.poll(now_ns).await
        };
        let changed = self
            .ledger_reads
            .note(result, "the last known keys and limits go on serving");
        if changed == Some(true) {
            self.reconciled_ns = now_ns;
        }
        let (_, result) = self.usage.round().await;
        self.ledger_writes.note(
            result,
            "usage waits in memory and is written when the ledger is back",
        );
    }

    /// Stops serving, then writes what was counted; tells how many requests could not be.
    async fn stop(mut self) -> u64 {
        tracing::info!("draining");
        self.stop.store(true, Ordering::Relaxed);
        self.market.thread().unpark();
        let mut meters = self.shards.stop();
        if self.market.join().is_err() {
            tracing::error!("the market task panicked");
        }
        let flush = async {
            loop {
                let mut closed = false;
                for (meter, _) in &mut meters {
                    closed |= meter.as_mut().is_some_and(crate::tables::meter::Meter::close);
                }
                let (flushed, result) = self.usage.round().await;
                self.ledger_writes
                    .note(result, "the last usage is not written yet");
                if !closed && flushed.waiting == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(if flushed.waiting > 0 { 100 } else { 0 })).await;
            }
        };
        if tokio::time::timeout(LAST_FLUSH, flush).await.is_err() {
            return self.usage.unflushed();
        }
        tracing::info!(data_dir = %self.data.path().display(), "ended");
        0
    }
}

fn start_market(
    recording: Recording,
    config: &Config,
    mut publisher: Publisher,
    stop: &Stop,
) -> anyhow::Result<JoinHandle<()>> {
    tracing::info!(market = recording.name(), speed = %config.speed, looping = config.looping, "market starts");
    let flag = Arc::clone(stop);
    let (speed, looping) = (config.speed, config.looping);
    let task = move || {
        let mut player = Player::new(recording.clone(), speed, looping)?;
        market::replay(&mut player, &mut publisher, &flag, |_, _| {})
    };
    Ok(supervise::spawn("market", Arc::clone(stop), task)?)
}

fn describe(shards: &Shards) {
    for (index, shard) in shards.handles.iter().enumerate() {
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
