//! Starts the shards and watches over them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use arc_swap::ArcSwap;

use super::ops::ShardFacts;
use crate::shard::driver::{DriverKind, cpus};
use crate::shard::socket::{Granted, Steering, bind_group};
use crate::shard::{self, ShardParts, ShardShared};
use crate::tables::keys::KeyTable;
use crate::tables::meter::Meter;
use crate::tables::misses::MissBoard;
use crate::tables::prices::PriceCopy;

/// Longest time the shards may take to start.
const START_LIMIT: Duration = Duration::from_secs(10);

/// A shard as the control plane sees it.
#[derive(Debug)]
pub struct ShardHandle {
    /// The CPU it is pinned to.
    pub cpu: Option<usize>,
    /// The socket buffers it was granted.
    pub granted: Granted,
    thread: JoinHandle<io::Result<Meter>>,
}

/// What all shards have in common.
#[derive(Clone, Copy, Debug)]
pub struct ShardSettings {
    /// Where they are to listen.
    pub address: SocketAddr,
    /// How they wait.
    pub driver: DriverKind,
    /// For how long they look for more before they wait.
    pub spin: Duration,
}

/// All shards of this process.
#[derive(Debug)]
pub struct Shards {
    /// In the order of their index.
    pub handles: Vec<ShardHandle>,
    /// Where they listen.
    pub address: SocketAddr,
    /// How requests find their shard.
    pub steering: Steering,
    /// What they are told.
    pub shared: Arc<ShardShared>,
}

/// How many shards to run, and where. More than there are CPUs take turns; `tune` and the checks at
/// the start say so.
pub fn plan(asked: Option<usize>) -> anyhow::Result<Vec<Option<usize>>> {
    let allowed = cpus::allowed().context("cannot read this process's CPU affinity")?;
    // The smaller of affinity and CPU quota; below one vCPU it says 1.
    let available = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(allowed.len().max(1));
    let count = asked.unwrap_or(available);
    Ok((0..count)
        .map(|index| allowed.get(index % allowed.len().max(1)).copied())
        .collect())
}

impl Shards {
    /// Binds all sockets in shard order, then starts one thread per shard; returns once all
    /// of them serve.
    pub fn start(
        settings: &ShardSettings,
        facts: &[ShardFacts],
        prices: &[PriceCopy],
        keys: &Arc<ArcSwap<KeyTable>>,
        misses: Option<&Arc<MissBoard>>,
        shared: &Arc<ShardShared>,
        meters: Vec<Meter>,
    ) -> anyhow::Result<Self> {
        let ShardSettings {
            address,
            driver,
            spin,
        } = *settings;
        let (sockets, address, steering) = bind_group(address, facts.len()).with_context(|| {
            format!(
                "cannot listen on UDP {address}: is another server there? Stop it, or choose a port \
                     with --udp-port-lpo"
            )
        })?;
        let (report, started) = channel();
        let mut handles = Vec::with_capacity(facts.len());
        let each = sockets.into_iter().zip(facts).zip(prices).zip(meters);
        for (index, (((socket, facts), prices), meter)) in each.enumerate() {
            let parts = ShardParts {
                index,
                cpu: facts.cpu,
                socket,
                prices: Arc::clone(prices),
                keys: Arc::clone(keys),
                misses: misses.cloned(),
                meter,
                counters: Arc::clone(&facts.counters),
                shared: Arc::clone(shared),
                seed: getrandom::u64().map_err(|error| anyhow!("no randomness: {error}"))?,
                spin,
            };
            let report = report.clone();
            let thread = thread::Builder::new()
                .name(format!("shard-{index}"))
                .spawn(move || shard::run(parts, driver, |granted| started_at(&report, index, granted)))?;
            handles.push(ShardHandle {
                cpu: facts.cpu,
                granted: Granted::default(),
                thread,
            });
        }
        drop(report);
        let mut shards = Self {
            handles,
            address,
            steering,
            shared: Arc::clone(shared),
        };
        shards.wait_for_start(&started)?;
        Ok(shards)
    }

    /// The first shard that ended although nobody told it to. Its slot in the reuseport group
    /// is gone, so the process must end: half a service is worse than a restart.
    pub fn fallen(&self) -> Option<usize> {
        self.handles.iter().position(|handle| handle.thread.is_finished())
    }

    /// Tells all shards and HTTP workers to stop, waits for the shards, and gives back their
    /// meters with what is still in them.
    pub fn stop(self) -> Vec<Meter> {
        self.shared.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let join = |(index, handle): (usize, ShardHandle)| match handle.thread.join() {
            Ok(Ok(meter)) => Some(meter),
            Ok(Err(error)) => {
                tracing::error!(shard = index, %error, "shard ended with an error");
                None
            }
            Err(_) => {
                tracing::error!(shard = index, "shard panicked; please report it");
                None
            }
        };
        self.handles.into_iter().enumerate().filter_map(join).collect()
    }

    fn wait_for_start(&mut self, started: &Receiver<(usize, Granted)>) -> anyhow::Result<()> {
        for _ in 0..self.handles.len() {
            match started.recv_timeout(START_LIMIT) {
                Ok((index, granted)) => self.handles[index].granted = granted,
                Err(RecvTimeoutError::Timeout) => bail!("the shards did not start within {START_LIMIT:?}"),
                Err(RecvTimeoutError::Disconnected) => {
                    let index = self.fallen().unwrap_or(0);
                    let error = match self.handles.remove(index).thread.join() {
                        Ok(Err(error)) => error.to_string(),
                        _ => "it panicked".to_owned(),
                    };
                    bail!("shard {index} did not start: {error}");
                }
            }
        }
        Ok(())
    }
}

fn started_at(report: &Sender<(usize, Granted)>, index: usize, granted: Granted) {
    // The receiver is gone only if the start was given up.
    let _ = report.send((index, granted));
}
