//! The HTTP fallback: one worker per vCPU, each a thread with its own runtime, its own
//! listener in one SO_REUSEPORT group, its own usage meter and the price copy of its shard.
//!
//! hyper speaks HTTP/1.1; [`crate::lpo::http`] knows the answers. What stands between them
//! here is patience and its end: `connection` says how long a client may take for what.

mod connection;
mod counters;
mod service;
mod waiting;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

pub use self::counters::{CutReason, WebCounters};
use self::worker::{Oracle, Worker};
use crate::limits::{
    HTTP_BODY_MS, HTTP_CONNECTIONS, HTTP_DRAIN_MS, HTTP_HEAD_MS, HTTP_IDLE_MS, HTTP_LINGER_MS, HTTP_WRITE_MS,
};
use crate::shard::ShardShared;
use crate::tables::keys::KeyTable;
use crate::tables::meter::Meter;
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceCopy, SymbolIndex};

/// How patient a worker is, and with how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebConfig {
    /// Time a client has to send its whole head, from its first byte or its connecting.
    pub head: Duration,
    /// Time a client has to send its whole body.
    pub body: Duration,
    /// Time a client may keep a connection open between requests.
    pub idle: Duration,
    /// Time a client may leave an answer untaken.
    pub write: Duration,
    /// Time that requests in flight have once the worker is told to stop.
    pub drain: Duration,
    /// Time a client has to read an answer that ends its connection early.
    pub linger: Duration,
    /// Connections one worker holds.
    pub connections: usize,
}

/// Everything a worker of the price oracle is given at its start.
#[derive(Debug)]
pub struct WebParts {
    /// Position in the reuseport group.
    pub index: usize,
    /// The CPU to pin to, if any.
    pub cpu: Option<usize>,
    /// A listener of [`bind_group`].
    pub listener: TcpListener,
    /// The price copy of its shard.
    pub prices: PriceCopy,
    /// The keys; the control plane swaps new tables in.
    pub keys: Arc<ArcSwap<KeyTable>>,
    /// Where it asks for prices that it misses; `None` if nobody fetches any.
    pub misses: Option<Arc<MissBoard>>,
    /// Its usage meter.
    pub meter: Meter,
    /// Where the prices come from, as answers say it (`live`, `replay:<recording>`).
    pub source: Arc<ArcSwap<String>>,
    /// What it tells of itself.
    pub counters: Arc<WebCounters>,
    /// What all shards are told.
    pub shared: Arc<ShardShared>,
    /// Health, readiness and metrics.
    pub ops: Arc<dyn OpsPages>,
    /// Who explains prices.
    pub explains: Arc<dyn Explains>,
}

/// Who can tell why a price is what it is. Never blocks.
pub trait Explains: Send + Sync + std::fmt::Debug {
    /// Asks for a symbol; the explanation, a JSON text, comes through the receiver, which fails
    /// if none will come. None when too many wait already.
    fn ask(&self, symbol: SymbolIndex) -> Option<oneshot::Receiver<Bytes>>;
}

/// Pages about the process itself; they need no key.
pub trait OpsPages: Send + Sync + std::fmt::Debug {
    /// The page at `path`, if there is one, at `now_ns` (Unix nanoseconds).
    fn page(&self, path: &str, now_ns: u64) -> Option<OpsPage>;
}

/// One page about the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpsPage {
    /// HTTP status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: &'static str,
    /// Text.
    pub body: Bytes,
}

impl Default for WebConfig {
    fn default() -> Self {
        Self {
            head: Duration::from_millis(HTTP_HEAD_MS),
            body: Duration::from_millis(HTTP_BODY_MS),
            idle: Duration::from_millis(HTTP_IDLE_MS),
            write: Duration::from_millis(HTTP_WRITE_MS),
            drain: Duration::from_millis(HTTP_DRAIN_MS),
            linger: Duration::from_millis(HTTP_LINGER_MS),
            connections: HTTP_CONNECTIONS,
        }
    }
}

/// Connections that may wait to be accepted, per worker; the kernel may allow fewer.
pub const BACKLOG: i32 = 4_096;

/// Binds one listener per worker into one SO_REUSEPORT group.
///
/// Port 0 picks a free port for the whole group.
pub fn bind_group(address: SocketAddr, workers: usize) -> io::Result<(Vec<TcpListener>, SocketAddr)> {
    if address.port() != 0 {
        // SO_REUSEPORT would let another server of this user join the port in silence: a listener
        // without it finds out.
        bind_one(address, false)?;
    }
    let mut address = address;
    let mut group = Vec::with_capacity(workers);
    for _ in 0..workers {
        let listener = bind_one(address, true)?;
        address = listener.local_addr()?;
        group.push(listener);
    }
    Ok((group, address))
}

/// Starts a worker of the price oracle on a thread of its own.
///
/// It ends when `shared.stop` is set: it accepts nobody any more, lets requests in flight
/// finish for at most [`WebConfig::drain`], hands its usage over and gives its meter back,
/// which still holds what could not be handed over because no empty page was there.
pub fn spawn(parts: WebParts, config: WebConfig) -> io::Result<JoinHandle<Meter>> {
    let WebParts {
        index,
        cpu,
        listener,
        prices,
        keys,
        misses,
        meter,
        source,
        counters,
        shared,
        ops,
        explains,
    } = parts;
    let runtime = runtime()?;
    thread::Builder::new()
        .name(format!("web-{index}"))
        .spawn(move || {
            if let Some(cpu) = cpu
                && let Err(error) = super::driver::cpus::pin(cpu)
            {
                tracing::warn!(worker = index, cpu, %error, "HTTP worker is not pinned");
            }
            let oracle = Oracle::new(prices, keys, misses, meter, source, &counters, explains);
            let oracle = Worker::run(&runtime, listener, config, counters, shared, ops, Some(oracle));
            oracle
                .expect("a worker gives back the oracle it was given")
                .into_meter()
        })
}

/// Starts a worker that serves the pages about the process only, for their own port.
pub fn spawn_ops(
    listener: TcpListener,
    ops: Arc<dyn OpsPages>,
    shared: Arc<ShardShared>,
    config: WebConfig,
) -> io::Result<JoinHandle<()>> {
    let runtime = runtime()?;
    thread::Builder::new().name("ops".to_owned()).spawn(move || {
        Worker::run(&runtime, listener, config, Arc::default(), shared, ops, None);
    })
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

fn bind_one(address: SocketAddr, shares_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec().nonblocking(),
        Some(Protocol::TCP),
    )?;
    // So that a restart is not held up by connections of the process before.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    if address.is_ipv6() {
        // A wildcard IPv6 address then serves IPv4 as well, as people expect.
        socket.set_only_v6(false)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
