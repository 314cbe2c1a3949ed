//! This server's shards as `serve` runs them, with the tables and the control plane's part.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use serde::Serialize;
use trinity_beast::clock;
use trinity_beast::shard::driver::cpus;
use trinity_beast::shard::socket::bind_group;
use trinity_beast::shard::{self, ShardParts, ShardShared};
use trinity_beast::tables::counters::{Counter, ShardCounters};
use trinity_beast::tables::keys::KeyTable;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::Code;

use super::control::Control;
use super::{Buffers, Rest, Setting, Target, join};
use crate::cpu_time::ThreadTime;
use crate::population::{self, Population};

/// What a server is given.
pub(crate) struct Tables {
    pub(crate) names: Arc<SymbolNames>,
    pub(crate) symbols: usize,
    pub(crate) keys: Arc<ArcSwap<KeyTable>>,
}

impl Tables {
    /// With every key unused.
    pub(crate) fn new(population: &Population) -> anyhow::Result<Self> {
        Ok(Self {
            names: Arc::new(population.names()?),
            symbols: population.symbols.len(),
            keys: Arc::new(ArcSwap::from_pointee(population.key_table())),
        })
    }
}

/// Running shards.
pub(super) struct Server {
    shared: Arc<ShardShared>,
    shards: Vec<Shard>,
    control: Control,
}

struct Shard {
    counters: Arc<ShardCounters>,
    thread: JoinHandle<std::io::Result<Meter>>,
}

/// What the server says of itself once it has ended.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Account {
    /// Datagrams received.
    pub(crate) received: u64,
    /// OK replies that were not repeats of one given before.
    pub(crate) granted: u64,
    /// Requests on the usage pages that are billed.
    pub(crate) billed: u64,
    /// Price entries on the usage pages.
    pub(crate) billed_entries: u64,
    /// Datagrams that the kernel dropped because the receive buffer was full.
    pub(crate) receive_drops: u64,
    /// Replies that the kernel did not take.
    pub(crate) send_errors: u64,
    /// Datagrams per turn.
    pub(crate) mean_batch: f64,
    /// Prices published meanwhile.
    pub(crate) published: u64,
}

pub(super) fn start(
    address: SocketAddr,
    serving: &[usize],
    setting: Setting,
    tables: &Tables,
) -> anyhow::Result<Target> {
    let (sockets, address, _) = bind_group(address, setting.shards).context("binding the shards' sockets")?;
    if let Some(bytes) = setting.receive_buffer {
        for socket in &sockets {
            socket.set_recv_buffer_size(bytes)?;
        }
    }
    let (mut writer, copies) = PriceWriter::new(&tables.names, setting.shards);
    let now_ns = clock::unix_nanos();
    for symbol in 0..tables.symbols {
        writer.publish(SymbolIndex(symbol as u32), population::record(symbol, 1, now_ns));
    }
    let shared = Arc::new(ShardShared {
        stop: AtomicBool::new(false),
        month_end_ns: AtomicU64::new(now_ns + Duration::from_hours(24).as_nanos() as u64),
        ..ShardShared::default()
    });
    let mut shards = Vec::new();
    let mut all_pages = Vec::new();
    let mut times = Vec::new();
    let mut granted = Buffers {
        receive_bytes: usize::MAX,
        send_bytes: usize::MAX,
        joins: true,
    };
    for (index, (socket, prices)) in sockets.into_iter().zip(copies).enumerate() {
        let cpu = serving[index % serving.len()];
        let (meter, pages) = Meter::new();
        let counters = Arc::<ShardCounters>::default();
        let parts = ShardParts {
            index,
            cpu: Some(cpu),
            socket,
            prices,
            keys: Arc::clone(&tables.keys),
            misses: None,
            meter,
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            seed: population::random(),
            spin: setting.spin,
        };
        let driver = setting.driver;
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("shard".into()).spawn(move || {
            // The shard only warns when it cannot be pinned; a measurement must not go on then.
            cpus::pin(cpu)?;
            shard::run(parts, driver, move |granted| {
                let _ = tell.send((ThreadTime::own(), granted));
            })
        })?;
        let Ok((time, shard_granted)) = told.recv() else {
            shared.stop.store(true, Ordering::Relaxed);
            join(thread)?.context("a shard did not start")?;
            anyhow::bail!("a shard ended before it began");
        };
        times.push(time?);
        granted = granted.least(&shard_granted);
        all_pages.push(pages);
        shards.push(Shard { counters, thread });
    }
    let control = Control::start(all_pages, writer, tables.symbols)?;
    Ok(Target {
        address,
        times,
        granted,
        rest: Rest::Server(Box::new(Server {
            shared,
            shards,
            control,
        })),
    })
}

impl Server {
    pub(super) fn stop(self) -> anyhow::Result<Account> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut account = Account::default();
        let mut batches = 0;
        let mut meters = Vec::new();
        for shard in self.shards {
            meters.push(join(shard.thread)??);
            let counters = &shard.counters;
            let of = Counter::get;
            account.received += of(&counters.received);
            account.granted += of(&counters.codes[Code::Ok as usize]);
            account.granted -= of(&counters.repeats) + of(&counters.pings);
            account.receive_drops += of(&counters.receive_drops);
            account.send_errors += of(&counters.send_errors);
            batches += of(&counters.batches);
        }
        let mut ledger = self.control.stop()?;
        // What the last second counted, and what found no empty page.
        for meter in &mut meters {
            loop {
                ledger.collect();
                if !meter.close() {
                    break;
                }
            }
        }
        Ok(Account {
            billed: ledger.requests,
            billed_entries: ledger.entries,
            mean_batch: account.received as f64 / batches.max(1) as f64,
            published: ledger.published,
            ..account
        })
    }
}
