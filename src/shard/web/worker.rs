//! One HTTP worker: accepts, sweeps, drains.

use std::cell::{Cell, RefCell};
use std::net::TcpListener as StdListener;
use std::ptr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Cache};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::MissedTickBehavior;

use super::connection::{self, Watch};
use super::short::Buffers;
use super::{Explains, OpsPages, WebConfig, WebCounters};
use crate::clock;
use crate::limits::{HTTP_WAITING, METER_CLOSE_MS};
use crate::lpo::http::plain::PlainDesk;
use crate::lpo::http::problem::Problem;
use crate::lpo::http::{Answerer, Directory, Misses};
use crate::shard::ShardShared;
use crate::tables::keys::KeyTable;
use crate::tables::meter::Meter;
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceCopy, PriceTable};

/// What all connections of one worker share.
pub(super) struct Worker {
    pub(super) config: WebConfig,
    pub(super) counters: Arc<WebCounters>,
    pub(super) ops: Arc<dyn OpsPages>,
    /// `None` where only pages about the process are served.
    pub(super) oracle: Option<RefCell<Oracle>>,
    shared: Arc<ShardShared>,
    began: Instant,
    /// Milliseconds since `began`, as of the last sweep.
    now_ms: Cell<u64>,
    /// How far `now_ms` may be behind.
    coarse: Duration,
    watches: RefCell<Vec<Rc<Watch>>>,
    pub(super) buffers: RefCell<Buffers>,
    close_due_ms: Cell<u64>,
}

/// What prices are answered from.
#[derive(Debug)]
pub(super) struct Oracle {
    prices: Cache<PriceCopy, Arc<PriceTable>>,
    keys: Cache<Arc<ArcSwap<KeyTable>>, Arc<KeyTable>>,
    source: Cache<Arc<ArcSwap<String>>, Arc<String>>,
    misses: Option<Arc<MissBoard>>,
    counters: Arc<WebCounters>,
    /// Requests that wait for prices.
    pub(super) waiting: Rc<Cell<usize>>,
    meter: Meter,
    directory: Directory,
    desk: PlainDesk,
    /// The key table as of the last question, to see whether it is another one now. It is only
    /// compared: the cache holds the table until then, so no other can have its address.
    keys_at: *const KeyTable,
    /// Rises with every other key table.
    keys_seen: u64,
    month_end_ns: u64,
    pub(super) explains: Arc<dyn Explains>,
}

/// A connection's entry in its worker's list, removed however the connection ends.
struct Entry {
    worker: Rc<Worker>,
    watch: Rc<Watch>,
}

impl Oracle {
    pub(super) fn new(
        prices: PriceCopy,
        keys: Arc<ArcSwap<KeyTable>>,
        misses: Option<Arc<MissBoard>>,
        meter: Meter,
        source: Arc<ArcSwap<String>>,
        counters: &Arc<WebCounters>,
        explains: Arc<dyn Explains>,
    ) -> Self {
        Self {
            directory: Directory::new(prices.load().names()),
            prices: Cache::new(prices),
            keys: Cache::new(keys),
            source: Cache::new(source),
            misses,
            counters: Arc::clone(counters),
            waiting: Rc::default(),
            meter,
            desk: PlainDesk::default(),
            keys_at: ptr::null(),
            keys_seen: 0,
            month_end_ns: u64::MAX,
            explains,
        }
    }

    /// Puts a question to the price oracle.
    pub(super) fn ask<T>(&mut self, question: impl FnOnce(&mut Answerer<'_>) -> T) -> T {
        self.ask_at(clock::unix_nanos(), |answerer, _, _| question(answerer))
    }

    /// The same, at a time that was read already, with what the short way needs: which of its key
    /// tables the worker has now, and the desk.
    pub(super) fn ask_at<T>(
        &mut self,
        now_ns: u64,
        question: impl FnOnce(&mut Answerer<'_>, u64, &mut PlainDesk) -> T,
    ) -> T {
        let left_ms = self.month_end_ns.saturating_sub(now_ns) / 1_000_000;
        let keys = self.keys.load();
        if !ptr::eq(Arc::as_ptr(keys), self.keys_at) {
            self.keys_at = Arc::as_ptr(keys);
            self.keys_seen += 1;
        }
        let mut answerer = Answerer {
            prices: self.prices.load(),
            keys,
            meter: &mut self.meter,
            directory: &mut self.directory,
            source: self.source.load(),
            clock: &clock::unix_nanos,
            month_left_ms: u32::try_from(left_ms).unwrap_or(u32::MAX),
            misses: self.misses.as_deref().map(|board| Misses {
                board,
                counters: &self.counters.misses,
                waiting: self.waiting.get(),
                room: HTTP_WAITING,
            }),
        };
        question(&mut answerer, self.keys_seen, &mut self.desk)
    }

    pub(super) fn into_meter(self) -> Meter {
        self.meter
    }
}

impl Worker {
    /// Runs a worker on the calling thread until it is told to stop; gives the oracle back.
    pub(super) fn run(
        runtime: &Runtime,
        listener: StdListener,
        config: WebConfig,
        counters: Arc<WebCounters>,
        shared: Arc<ShardShared>,
        ops: Arc<dyn OpsPages>,
        oracle: Option<Oracle>,
    ) -> Option<Oracle> {
        let shortest = [config.head, config.body, config.idle, config.write]
            .into_iter()
            .fold(config.drain, Duration::min);
        let worker = Rc::new(Self {
            config,
            counters,
            ops,
            oracle: oracle.map(RefCell::new),
            shared,
            began: clock::monotonic(),
            now_ms: Cell::new(0),
            coarse: (shortest / 8).clamp(Duration::from_millis(5), Duration::from_millis(100)),
            watches: RefCell::default(),
            buffers: RefCell::default(),
            close_due_ms: Cell::new(METER_CLOSE_MS),
        });
        let tasks = LocalSet::new();
        tasks.block_on(runtime, Rc::clone(&worker).serve(listener));
        // Connections that did not finish in time end here, and with them their hold on the
        // worker.
        drop(tasks);
        let worker = Rc::into_inner(worker)?;
        worker.counters.open.set(0);
        worker.oracle.map(|oracle| {
            let mut oracle = oracle.into_inner();
            oracle.meter.close();
            oracle
        })
    }

    /// The coarse clock.
    pub(super) const fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// Whether the worker was told to stop.
    pub(super) fn is_draining(&self) -> bool {
        self.shared.stop.load(Ordering::Relaxed)
    }

    async fn serve(self: Rc<Self>, listener: StdListener) {
        match TcpListener::from_std(listener) {
            Ok(listener) => self.accept_until_stopped(listener).await,
            Err(error) => tracing::error!(%error, "an HTTP worker cannot listen"),
        }
    }

    async fn accept_until_stopped(self: Rc<Self>, listener: TcpListener) {
        let mut sweeps = tokio::time::interval(self.coarse);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.is_draining() {
            tokio::select! {
                accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                    self.open(stream);
                } else {
                    // Out of file descriptors, most likely: asking again at once would
                    // spin, so the sweep comes first.
                    self.counters.accept_errors.add(1);
                    sweeps.tick().await;
                    self.sweep();
                },
                _ = sweeps.tick() => self.sweep(),
            }
        }
        // Whoever connected before the end was promised an answer by the kernel.
        if let Ok(listener) = listener.into_std() {
            while let Ok((stream, _)) = listener.accept() {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    self.open(stream);
                }
            }
        }
        self.drain(&mut sweeps).await;
    }

    /// Lets requests in flight finish.
    async fn drain(&self, sweeps: &mut tokio::time::Interval) {
        let until = clock::monotonic() + self.config.drain;
        // The runtime must wait for its sockets once, so that what the kernel holds already
        // is seen; a tick of the sweeps may be due and would not wait.
        tokio::time::sleep(self.coarse).await;
        while !self.watches.borrow().is_empty() && clock::monotonic() < until {
            self.sweep();
            for watch in &*self.watches.borrow() {
                watch.drain();
            }
            sweeps.tick().await;
        }
        let left = self.watches.borrow().len();
        if left > 0 {
            tracing::warn!(connections = left, "HTTP connections did not finish in time");
        }
    }

    fn open(self: &Rc<Self>, stream: TcpStream) {
        if self.watches.borrow().len() >= self.config.connections {
            self.turn_away(&stream);
            return;
        }
        let watch = Rc::new(Watch::new(self.now_ms()));
        let mut watches = self.watches.borrow_mut();
        watch.place.set(watches.len());
        watches.push(Rc::clone(&watch));
        self.counters.accepted.add(1);
        self.counters.open.set(watches.len() as u64);
        let entry = Entry {
            worker: Rc::clone(self),
            watch,
        };
        tokio::task::spawn_local(async move {
            connection::serve(Rc::clone(&entry.worker), stream, Rc::clone(&entry.watch)).await;
            drop(entry);
        });
    }

    fn turn_away(&self, stream: &TcpStream) {
        self.counters.turned_away.add(1);
        self.counters.responded(Problem::TooManyConnections.status());
        // A fresh socket takes so little at once; if not, being closed says enough.
        let detail = "Keep fewer connections open, or close idle ones, and connect again in a second.";
        let _ = stream.try_write(&Problem::TooManyConnections.closing_bytes(detail));
        // What came already is taken, or closing the socket would reset it under the answer.
        let _ = stream.try_read(&mut [0; 4_096]);
    }

    fn sweep(&self) {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.now_ms.set(now_ms);
        self.counters.heartbeat_ns.set(clock::unix_nanos());
        for watch in &*self.watches.borrow() {
            watch.sweep(
                &self.config,
                now_ms,
                u64::try_from(self.coarse.as_millis()).unwrap_or(u64::MAX),
            );
        }
        let Some(oracle) = &self.oracle else { return };
        let mut oracle = oracle.borrow_mut();
        // An idle worker lets go of tables that were replaced, too.
        oracle.prices.load();
        oracle.month_end_ns = self.shared.month_end_ns.load(Ordering::Relaxed);
        oracle.meter.make_room();
        if now_ms >= self.close_due_ms.get() {
            self.close_due_ms.set(now_ms + METER_CLOSE_MS);
            oracle.meter.close_in_time();
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut watches = self.worker.watches.borrow_mut();
        let place = self.watch.place.get();
        watches.swap_remove(place);
        if let Some(moved) = watches.get(place) {
            moved.place.set(place);
        }
        self.worker.counters.open.set(watches.len() as u64);
    }
}
