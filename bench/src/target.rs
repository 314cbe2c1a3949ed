//! What is measured: the bare echo, and this server's shard with everything on.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use trinity_beast::clock;
use trinity_beast::limits::{METER_CLOSE_MS, SOCKET_BUFFER_BYTES};
use trinity_beast::shard::driver::{DriverKind, cpus};
use trinity_beast::shard::socket::{Granted, bind_group};
use trinity_beast::shard::{self, ShardParts, ShardShared};
use trinity_beast::tables::counters::ShardCounters;
use trinity_beast::tables::meter::{Meter, MeterPages};
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex};
use trinity_protocol::Code;

use crate::burst::{Burst, wait_readable};
use crate::cpu_time::ThreadTime;
use crate::population::{self, Population};

/// Which side of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Every datagram goes back as it came.
    Echo,
    /// One shard of this server.
    Server(DriverKind),
}

/// A side that serves.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) time: ThreadTime,
    pub(crate) granted: Granted,
    rest: Rest,
}

enum Rest {
    Echo {
        stop: Arc<AtomicBool>,
        thread: JoinHandle<anyhow::Result<()>>,
    },
    Server(Box<Server>),
}

struct Server {
    shared: Arc<ShardShared>,
    counters: Arc<ShardCounters>,
    shard: JoinHandle<std::io::Result<Meter>>,
    control: Control,
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
    /// Datagrams per system call.
    pub(crate) mean_batch: f64,
    /// Prices published meanwhile.
    pub(crate) published: u64,
}

/// How often prices are published: a tenth of the symbols each time, so each symbol once a
/// second.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const PUBLISH_PARTS: usize = 10;
/// Longest time the echo waits before it looks whether it should end.
const ECHO_PARK_MS: i32 = 50;

impl Target {
    /// Starts a side on one CPU.
    pub(crate) fn start(side: Side, cpu: usize, population: &Population) -> anyhow::Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        match side {
            Side::Echo => {
                // A plain socket with the same buffers; what else the server asks of its own is
                // part of the server.
                let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
                socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
                socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
                socket
                    .bind(&any_port.into())
                    .context("binding the echo's socket")?;
                let address = socket.local_addr()?.as_socket().context("it is an IPv4 socket")?;
                Self::echo(socket, address, cpu)
            }
            Side::Server(driver) => {
                let (mut group, address, _) =
                    bind_group(any_port, 1).context("binding the shard's socket")?;
                let socket = group.pop().context("one socket was asked for")?;
                Self::server(socket, address, cpu, driver, population)
            }
        }
    }

    /// Stops it and settles its accounts; the echo has none.
    pub(crate) fn stop(self) -> anyhow::Result<Option<Account>> {
        match self.rest {
            Rest::Echo { stop, thread } => {
                stop.store(true, Ordering::Relaxed);
                join(thread)??;
                Ok(None)
            }
            Rest::Server(server) => server.stop().map(Some),
        }
    }

    fn echo(socket: Socket, address: SocketAddr, cpu: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let granted = Granted {
            receive_bytes: socket.recv_buffer_size()?,
            send_bytes: socket.send_buffer_size()?,
            joins: false,
        };
        let (tell, told) = mpsc::channel();
        let thread = thread::Builder::new().name("echo".into()).spawn(move || {
            cpus::pin(cpu)?;
            tell.send(ThreadTime::own()?)?;
            echo(&socket, &stopped)
        })?;
        let Ok(time) = told.recv() else {
            join(thread)??;
            anyhow::bail!("the echo ended before it began");
        };
        let rest = Rest::Echo { stop, thread };
        Ok(Self {
            address,
            time,
            granted,
            rest,
        })
    }

    fn server(
        socket: Socket,
        address: SocketAddr,
        cpu: usize,
        driver: DriverKind,
        population: &Population,
    ) -> anyhow::Result<Self> {
        let (mut writer, mut copies) = PriceWriter::new(&Arc::new(population.names()?), 1);
        let now_ns = clock::unix_nanos();
        for symbol in 0..population.symbols.len() {
            writer.publish(SymbolIndex(symbol as u32), population::record(symbol, 1, now_ns));
        }
        let (meter, pages) = Meter::new();
        let counters = Arc::<ShardCounters>::default();
        let shared = Arc::new(ShardShared {
            stop: AtomicBool::new(false),
            month_end_ns: AtomicU64::new(now_ns + Duration::from_hours(24).as_nanos() as u64),
        });
        let parts = ShardParts {
            index: 0,
            cpu: Some(cpu),
            socket,
            prices: copies.pop().context("one copy was asked for")?,
            keys: Arc::new(ArcSwap::from_pointee(population.key_table())),
            misses: None,
            meter,
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            seed: population::random(),
            spin: Duration::ZERO,
        };
        // The shard only warns when it cannot be pinned; a measurement must not go on then.
        let (tell, told) = mpsc::channel();
        let shard = thread::Builder::new().name("shard".into()).spawn(move || {
            cpus::pin(cpu)?;
            shard::run(parts, driver, move |granted| {
                let _ = tell.send((ThreadTime::own(), granted));
            })
        })?;
        let Ok((time, granted)) = told.recv() else {
            join(shard)?.context("the shard did not start")?;
            anyhow::bail!("the shard ended before it began");
        };
        let control = Control::start(pages, writer, population.symbols.len())?;
        let rest = Rest::Server(Box::new(Server {
            shared,
            counters,
            shard,
            control,
        }));
        Ok(Self {
            address,
            time: time?,
            granted,
            rest,
        })
    }
}

impl Server {
    fn stop(self) -> anyhow::Result<Account> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut meter = join(self.shard)??;
        let mut ledger = self.control.stop()?;
        // What the last second counted, and what found no empty page.
        loop {
            ledger.collect();
            if !meter.close() {
                break;
            }
        }
        let counters = &self.counters;
        let received = counters.received.get();
        let batches = counters.batches.get();
        Ok(Account {
            received,
            granted: counters.codes[Code::Ok as usize].get() - counters.repeats.get() - counters.pings.get(),
            billed: ledger.requests,
            billed_entries: ledger.entries,
            receive_drops: counters.receive_drops.get(),
            send_errors: counters.send_errors.get(),
            mean_batch: received as f64 / batches.max(1) as f64,
            published: ledger.published,
        })
    }
}

/// The echo's turn, in the shape of the server's: take what is there, give it back, wait if
/// there was nothing.
fn echo(socket: &Socket, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut burst = Burst::with_peers();
    while !stop.load(Ordering::Relaxed) {
        let received = burst.receive(socket)?;
        if received == 0 {
            wait_readable(socket.as_raw_fd(), ECHO_PARK_MS);
            continue;
        }
        burst.return_all(received);
        burst.send(socket, received)?;
    }
    Ok(())
}

/// Stands for the control plane: publishes prices and takes usage pages once a second.
struct Control {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ledger>,
}

/// Usage as the ledger would add it up.
struct Ledger {
    pages: MeterPages,
    requests: u64,
    entries: u64,
    published: u64,
}

impl Control {
    fn start(pages: MeterPages, writer: PriceWriter, symbols: usize) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("control".into())
            .spawn(move || control(&stopped, Ledger::new(pages), writer, symbols))?;
        Ok(Self { stop, thread })
    }

    fn stop(self) -> anyhow::Result<Ledger> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        join(self.thread)
    }
}

impl Ledger {
    const fn new(pages: MeterPages) -> Self {
        Self {
            pages,
            requests: 0,
            entries: 0,
            published: 0,
        }
    }

    fn collect(&mut self) {
        while let Some(page) = self.pages.take() {
            let billed = page.requests().iter().filter(|row| row.outcome == Code::Ok);
            self.requests += billed.map(|row| row.count).sum::<u64>();
            self.entries += page.symbols().map(|row| row.entries).sum::<u64>() + page.lost_detail();
            self.pages.give_back(page);
        }
    }
}

fn control(stop: &AtomicBool, mut ledger: Ledger, mut writer: PriceWriter, symbols: usize) -> Ledger {
    let flush_every = Duration::from_millis(METER_CLOSE_MS);
    let mut flush_due = clock::monotonic() + flush_every;
    let mut publish_due = clock::monotonic() + PUBLISH_EVERY;
    for tick in 0.. {
        while clock::monotonic() < publish_due && !stop.load(Ordering::Relaxed) {
            thread::park_timeout(publish_due.saturating_duration_since(clock::monotonic()));
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        publish_due += PUBLISH_EVERY;
        let now_ns = clock::unix_nanos();
        let sequence = 2 + (tick / PUBLISH_PARTS) as u32;
        for symbol in (tick % PUBLISH_PARTS..symbols).step_by(PUBLISH_PARTS) {
            writer.publish(
                SymbolIndex(symbol as u32),
                population::record(symbol, sequence, now_ns),
            );
            ledger.published += 1;
        }
        if clock::monotonic() >= flush_due {
            flush_due += flush_every;
            ledger.collect();
        }
    }
    ledger
}

fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("a").to_owned();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the {name} thread panicked"))
}
