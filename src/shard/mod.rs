//! The hot path: one shard per vCPU, pinned, answering datagrams from memory.
//!
//! A shard owns everything it needs: its socket, its copy of the prices, its retry windows,
//! its usage meter. It shares with others only what is lock-free: the prices it reads, the
//! key table that is swapped as a whole, one atomic per key for the limits. The turn
//! (receive, answer, send, count) makes no allocation, takes no lock and reads the clock
//! once; only [`driver::Driver::park`] differs between drivers.

pub mod driver;
mod parked;
mod pressure;
pub mod socket;
mod trains;
pub mod web;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use socket2::Socket;

use self::driver::epoll::EpollDriver;
use self::driver::glommio::GlommioDriver;
use self::driver::{Driver, DriverKind, cpus};
use self::parked::Parked;
use self::pressure::Gauge;
use self::socket::{BatchSocket, Granted};
use crate::clock::{self, is_due};
use crate::limits::{METER_CLOSE_MS, PARK_MS, PARK_WAITING_MS, PARKED_REQUESTS, SPIN_MAX_US};
use crate::lpo::udp::{Answerer, AwaitedList, Budgets, Misses, Outcomes, Pressure, Scratch};
use crate::parameters::Parameters;
use crate::tables::counters::{ShardCounters, Waited};
use crate::tables::keys::KeyTable;
use crate::tables::meter::{Meter, RowIndex};
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceCopy, PriceTable};
use crate::tables::window::Windows;

/// Everything a shard is given at its start.
#[derive(Debug)]
pub struct ShardParts {
    /// Position in the reuseport group.
    pub index: usize,
    /// The CPU to pin to, if any.
    pub cpu: Option<usize>,
    /// A bound socket.
    pub socket: Socket,
    /// Its copy of the prices; the market swaps larger tables in.
    pub prices: PriceCopy,
    /// The keys; the control plane swaps new tables in.
    pub keys: Arc<ArcSwap<KeyTable>>,
    /// Where it asks for prices that it misses; `None` if nobody fetches any.
    pub misses: Option<Arc<MissBoard>>,
    /// Its usage meter.
    pub meter: Meter,
    /// What it tells of itself.
    pub counters: Arc<ShardCounters>,
    /// What all shards are told.
    pub shared: Arc<ShardShared>,
    /// Unpredictable; keeps clients from aiming at one bucket of the session table.
    pub seed: u64,
    /// For how long after its last useful turn it looks for more before it parks, at most
    /// [`SPIN_MAX_US`].
    pub spin: Duration,
}

/// What the control plane tells every shard.
#[derive(Debug, Default)]
pub struct ShardShared {
    /// Set once: answer what is there, then end.
    pub stop: AtomicBool,
    /// When the UTC month ends, Unix nanoseconds.
    pub month_end_ns: AtomicU64,
    /// Settings that may change at any time.
    pub parameters: Parameters,
}

/// One core's share of the service.
#[derive(Debug)]
pub struct Shard {
    socket: BatchSocket,
    desk: Desk,
    parked: Parked,
    outcomes: Outcomes,
    gauge: Gauge,
    spin_ns: u64,
    sweep_due_ns: u64,
    close_due_ns: u64,
}

/// What requests are answered from.
#[derive(Debug)]
struct Desk {
    prices: Cache<PriceCopy, Arc<PriceTable>>,
    keys: Cache<Arc<ArcSwap<KeyTable>>, Arc<KeyTable>>,
    windows: Windows,
    meter: Meter,
    counters: Arc<ShardCounters>,
    shared: Arc<ShardShared>,
    budgets: Budgets,
    pressure: Pressure,
    scratch: Scratch,
    misses: Option<Arc<MissBoard>>,
    awaited: AwaitedList,
}

/// How often a shard looks for idle sessions.
const SWEEP_NS: u64 = 100_000_000;
/// How often a shard hands its usage over.
const CLOSE_NS: u64 = METER_CLOSE_MS * 1_000_000;
/// Turns that a stopping shard still takes while datagrams keep coming.
const DRAIN_TURNS: usize = 1_000;

impl Shard {
    /// Builds a shard on the thread that will run it.
    pub fn new(parts: ShardParts) -> Self {
        Self {
            socket: BatchSocket::new(parts.socket),
            desk: Desk {
                prices: Cache::new(parts.prices),
                keys: Cache::new(parts.keys),
                windows: Windows::new(parts.seed),
                meter: parts.meter,
                counters: parts.counters,
                shared: parts.shared,
                budgets: Budgets::default(),
                pressure: Pressure::None,
                scratch: Scratch::default(),
                misses: parts.misses,
                awaited: AwaitedList::EMPTY,
            },
            parked: Parked::new(),
            outcomes: Outcomes::default(),
            gauge: Gauge::default(),
            spin_ns: u64::try_from(parts.spin.as_nanos())
                .unwrap_or(u64::MAX)
                .min(SPIN_MAX_US * 1_000),
            sweep_due_ns: 0,
            close_due_ns: 0,
        }
    }

    /// Receives what is there, up to [`BATCH_MESSAGES`](crate::limits::BATCH_MESSAGES) messages,
    /// answers it and sends the replies, and those to requests that waited for long enough. Tells how
    /// many datagrams came, and the time after it.
    ///
    /// `now_ns` is the time before it; `clock` is read once a batch.
    pub fn turn(&mut self, now_ns: u64, clock: impl Fn() -> u64) -> (usize, u64) {
        let received = self.socket.receive();
        self.turn_with(&received, now_ns, clock)
    }

    /// The rest of a turn, once it is known what was received.
    fn turn_with(
        &mut self,
        messages: &io::Result<usize>,
        now_ns: u64,
        clock: impl Fn() -> u64,
    ) -> (usize, u64) {
        let counters = &self.desk.counters;
        if messages.is_err() {
            counters.receive_errors.add(1);
        }
        counters.heartbeat_ns.set(now_ns);
        let is_full = messages.is_ok() && self.socket.is_full();
        let pressure = self.gauge.observe(is_full, || self.socket.backlog().ok());
        self.desk.pressure = if self.desk.shared.parameters.sheds() {
            pressure
        } else {
            Pressure::None
        };
        counters.pressure.set(self.desk.pressure as u64);
        let (mut received, mut began_ns) = (0, now_ns);
        loop {
            let datagrams = self.socket.next_batch();
            if datagrams == 0 {
                break;
            }
            self.answer_batch(datagrams, began_ns);
            let ended_ns = clock();
            self.count(datagrams, ended_ns.saturating_sub(now_ns));
            self.desk.meter.make_room();
            received += datagrams;
            began_ns = ended_ns;
        }
        if self.parked.look(began_ns) {
            self.answer_parked(began_ns, false);
        }
        (received, began_ns)
    }

    /// Answers the batch of so many datagrams and sends the replies.
    fn answer_batch(&mut self, datagrams: usize, now_ns: u64) {
        let Self {
            socket,
            desk,
            parked,
            outcomes,
            ..
        } = self;
        let joined = socket.joined();
        let mut skip = 0_u64;
        if !parked.is_empty() {
            for index in 0..datagrams {
                let peer = socket.peer(index);
                // The answer that is on its way is this one's, too.
                let waits = parked.holds(socket.exchange(index).0, &peer);
                skip |= u64::from(waits) << index;
            }
            desk.counters.repeats.add(skip.count_ones().into());
        }
        let mut answerer = desk.answerer(now_ns, parked.len());
        answerer.answer_batch(&mut socket.batch(), skip, outcomes);
        for (index, awaited) in outcomes.waiting() {
            let peer = socket.peer(index);
            parked.park(socket.exchange(index).0, peer, now_ns, awaited);
            answerer.counters.misses.began(parked.len());
        }
        for index in 0..datagrams {
            let Some(len) = outcomes.reply(index) else {
                continue;
            };
            // A repeat in the batch of the request itself: one answer is for both.
            let waits = outcomes.waits() > 0 && {
                let peer = socket.peer(index);
                parked.holds(socket.exchange(index).0, &peer)
            };
            if !waits {
                socket.queue(index, len);
            }
        }
        let counters = &desk.counters;
        counters.batches.add(1);
        counters.received.add(datagrams as u64);
        counters.joined.add(joined as u64);
        // What a client hears of is in the journal.
        self.desk.meter.write_down();
        self.send();
    }

    /// Counts the latency of the batch that was just sent.
    fn count(&mut self, datagrams: usize, latency_ns: u64) {
        let desk = &mut self.desk;
        // Those of a train have one row.
        let mut run: (Option<RowIndex>, u64) = (None, 0);
        for index in 0..datagrams {
            let row = self.outcomes.row(index);
            if row != run.0 {
                if let (Some(row), count) = run {
                    desk.meter.latencies(row, latency_ns, count);
                }
                run = (row, 0);
            }
            run.1 += 1;
        }
        if let (Some(row), count) = run {
            desk.meter.latencies(row, latency_ns, count);
        }
        // Those that wait are counted when they are answered.
        let answered = datagrams.saturating_sub(self.outcomes.waits());
        desk.counters.latency.record(latency_ns, answered as u64);
    }

    /// Answers the parked requests whose wait is over, or all of them.
    fn answer_parked(&mut self, now_ns: u64, all: bool) {
        self.socket.clear();
        let mut answerer = self.desk.answerer(now_ns, self.parked.len());
        // From the end, so that the one which takes a freed place was looked at already.
        for at in (0..self.parked.len()).rev() {
            let Some(misses) = &mut answerer.misses else {
                return;
            };
            let waiting = self.parked.get(at);
            let over = waiting.is_over(misses.board, answerer.prices, now_ns);
            let Some(why) = over.or(all.then_some(Waited::Stopped)) else {
                continue;
            };
            let place = self.socket.recall(&waiting.peer).or_else(|| {
                send(&mut self.socket, answerer.counters);
                self.socket.clear();
                self.socket.recall(&waiting.peer)
            });
            let Some(index) = place else { return };
            let (_, reply) = self.socket.exchange(index);
            let answer = answerer.answer_waited(waiting.datagram(), waiting.arrived_ns, reply);
            if let Some(answer) = answer {
                answerer.meter.write_down();
                let latency_ns = now_ns.saturating_sub(waiting.arrived_ns);
                if let Some(row) = answer.row {
                    answerer.meter.latency(row, latency_ns);
                }
                answerer.counters.latency.record(latency_ns, 1);
                self.socket.queue(index, answer.len);
            }
            self.parked.remove(at);
            if let Some(misses) = &mut answerer.misses {
                misses.waiting = self.parked.len();
            }
            answerer.counters.misses.ended(why, self.parked.len());
        }
        self.send();
    }

    fn send(&mut self) {
        send(&mut self.socket, &self.desk.counters);
    }

    /// Runs the timers that are due.
    pub fn settle(&mut self, now_ns: u64) {
        self.desk.meter.make_room();
        let desk = &mut self.desk;
        if is_due(self.sweep_due_ns, SWEEP_NS, now_ns) {
            self.sweep_due_ns = now_ns + SWEEP_NS;
            desk.windows.sweep(desk.keys.load(), now_ns);
            let parameters = &desk.shared.parameters;
            desk.budgets.set(
                parameters.unsigned_per_second(),
                parameters.overloaded_per_second(),
            );
            // An idle shard lets go of a table that was replaced, too.
            desk.prices.load();
            desk.counters.sessions.set(desk.windows.len() as u64);
        }
        if is_due(self.close_due_ns, CLOSE_NS, now_ns) {
            self.close_due_ns = now_ns + CLOSE_NS;
            desk.meter.close_in_time();
            if let Ok(backlog) = self.socket.backlog() {
                desk.counters.receive_drops.set(backlog.drops.into());
            }
        }
    }

    /// Takes turns until told to stop, parking when nothing comes.
    pub async fn serve(&mut self, driver: &mut impl Driver) {
        let mut now_ns = clock::unix_nanos();
        // Time left for looking again before it parks; a useful turn gives it back.
        let mut spin_left_ns = 0;
        while !self.desk.shared.stop.load(Ordering::Relaxed) {
            // The clock after a batch is the next turn's clock as well: one read a batch.
            let (received, after_ns) = self.turn(now_ns, clock::unix_nanos);
            self.settle(after_ns);
            now_ns = after_ns;
            if received > 0 {
                spin_left_ns = self.spin_ns;
            } else if spin_left_ns > 0 {
                std::hint::spin_loop();
                now_ns = clock::unix_nanos();
                spin_left_ns = spin_left_ns.saturating_sub(now_ns.saturating_sub(after_ns));
            } else if self.parked.is_empty() && driver.waits_in_receive() {
                let received = self.socket.receive_or_wait();
                let (received, after_ns) = self.turn_with(&received, clock::unix_nanos(), clock::unix_nanos);
                self.settle(after_ns);
                now_ns = after_ns;
                spin_left_ns = if received > 0 { self.spin_ns } else { 0 };
            } else {
                let park_ms = if self.parked.is_empty() {
                    PARK_MS
                } else {
                    PARK_WAITING_MS
                };
                driver.park(Duration::from_millis(park_ms)).await;
                now_ns = clock::unix_nanos();
            }
        }
        self.drain();
    }

    /// Answers what already came, the requests that wait first, then hands its usage over.
    fn drain(&mut self) {
        self.answer_parked(clock::unix_nanos(), true);
        // Nobody waits any more.
        self.desk.misses = None;
        for _ in 0..DRAIN_TURNS {
            let (received, after_ns) = self.turn(clock::unix_nanos(), clock::unix_nanos);
            self.settle(after_ns);
            if received == 0 {
                break;
            }
        }
        self.desk.meter.close();
    }

    /// Usage that could not be handed over because no empty page was there.
    pub fn into_meter(self) -> Meter {
        self.desk.meter
    }
}

impl Desk {
    /// An answerer for one turn, in which `waiting` requests wait already.
    fn answerer(&mut self, now_ns: u64, waiting: usize) -> Answerer<'_> {
        let month_end_ns = self.shared.month_end_ns.load(Ordering::Relaxed);
        let awaited = &mut self.awaited;
        Answerer {
            prices: self.prices.load(),
            keys: self.keys.load(),
            windows: &mut self.windows,
            meter: &mut self.meter,
            counters: &self.counters,
            budgets: &self.budgets,
            pressure: self.pressure,
            scratch: &mut self.scratch,
            now_ns,
            clock_window_ns: self.shared.parameters.clock_window_ns(),
            month_left_ms: u32::try_from(month_end_ns.saturating_sub(now_ns) / 1_000_000).unwrap_or(u32::MAX),
            misses: self.misses.as_deref().map(|board| Misses {
                board,
                waiting,
                room: PARKED_REQUESTS,
                awaited,
            }),
        }
    }
}

/// Sends what is queued, and counts it.
fn send(socket: &mut BatchSocket, counters: &ShardCounters) {
    let queued = socket.queued();
    let failed = socket.send();
    counters.sent.add((queued - failed) as u64);
    counters.send_errors.add(failed as u64);
}

/// Runs a shard on the calling thread until it is told to stop. `started` is called once it
/// is ready, with what the kernel granted.
pub fn run(parts: ShardParts, kind: DriverKind, started: impl FnOnce(Granted)) -> io::Result<Meter> {
    if let Some(cpu) = parts.cpu {
        // Being pinned is a matter of speed, not of service: a mask that changed meanwhile
        // must not stop it.
        if let Err(error) = cpus::pin(cpu) {
            tracing::warn!(shard = parts.index, cpu, %error, "shard is not pinned");
        }
    }
    let mut shard = Shard::new(parts);
    let granted = shard.socket.granted()?;
    shard.socket.set_wait(Duration::from_millis(PARK_MS))?;
    match kind {
        DriverKind::Epoll => {
            let mut driver = EpollDriver::new(std::os::fd::AsRawFd::as_raw_fd(&shard.socket));
            started(granted);
            EpollDriver::run(shard.serve(&mut driver));
        }
        DriverKind::Glommio => {
            let socket = shard.socket.duplicate()?;
            GlommioDriver::run(async {
                let mut driver = GlommioDriver::new(socket);
                started(granted);
                shard.serve(&mut driver).await;
            })?;
        }
    }
    Ok(shard.into_meter())
}

#[cfg(test)]
mod tests;
