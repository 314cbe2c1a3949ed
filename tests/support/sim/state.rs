//! What the simulator's thread and the test share: quotes, faults, connections, statistics.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{Notify, mpsc};
use trinity_beast::clock;

use super::book::{Book, Tick};
use super::capture::Frame;
use super::fault::{Fault, Scope};
use super::protocol::{Desk, Timing, VenueKind};
use super::stats::{KEPT, Stats, Violation, ViolationKind};

/// Commands that wait for a connection to take them; a client that reads slower is dropped.
const QUEUE: usize = 4_096;

pub(super) struct State {
    pub kind: &'static VenueKind,
    pub tls: bool,
    stream_base: String,
    inner: Mutex<Inner>,
    /// Something in the statistics has changed.
    changed: Condvar,
    /// A fault was switched.
    switched: Notify,
}

struct Inner {
    book: Book,
    stream_fault: Option<Fault>,
    rest_fault: Option<Fault>,
    /// Counts the switching of faults, so that a connection can tell one from the next.
    epoch: u64,
    timing: Timing,
    tokens_expired: u64,
    token: String,
    links: BTreeMap<u64, LinkEntry>,
    frozen: Vec<mpsc::Sender<Command>>,
    next_link: u64,
    replaying: bool,
    /// When connections were opened, within the venue's window.
    opened_at: VecDeque<Instant>,
    stats: Stats,
}

struct LinkEntry {
    sender: mpsc::Sender<Command>,
    instruments: BTreeSet<String>,
}

/// What a connection is told to do.
#[derive(Debug, Clone)]
pub(super) enum Command {
    /// A quote has changed, while this was the fault.
    Tick(Arc<Tick>, Option<Fault>),
    Replay(Arc<Frame>),
    /// Neither read nor write from now on.
    Freeze,
    Drop {
        close_frame: bool,
    },
    Reconnect,
    Gap,
    /// The rhythm has changed.
    Wake,
    Stop,
}

impl State {
    pub(super) fn new(kind: &'static VenueKind, tls: bool, stream: SocketAddr) -> Self {
        let scheme = if tls { "wss" } else { "ws" };
        let mut inner = Inner {
            book: Book::default(),
            stream_fault: None,
            rest_fault: None,
            epoch: 0,
            timing: kind.timing,
            tokens_expired: 0,
            token: String::new(),
            links: BTreeMap::new(),
            frozen: Vec::new(),
            next_link: 0,
            replaying: false,
            opened_at: VecDeque::new(),
            stats: Stats::default(),
        };
        inner.new_token();
        Self {
            kind,
            tls,
            stream_base: format!("{scheme}://{stream}"),
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            switched: Notify::new(),
        }
    }

    /// Changes the inner state and tells whoever waits.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let result = change(&mut self.inner.lock());
        self.changed.notify_all();
        result
    }

    pub(super) fn list(&self, instrument: &str) {
        self.inner.lock().book.list(instrument);
    }

    pub(super) fn set_quote(&self, instrument: &str, bid: &str, ask: &str) {
        let mut inner = self.inner.lock();
        let tick = inner.book.set(instrument, bid, ask, clock::unix_nanos());
        inner.publish(tick);
    }

    pub(super) fn move_quotes(&self) {
        let mut inner = self.inner.lock();
        for tick in inner.book.step(clock::unix_nanos()) {
            inner.publish(tick);
        }
    }

    pub(super) fn replaying(&self, replaying: bool) {
        self.inner.lock().replaying = replaying;
    }

    pub(super) fn broadcast(&self, command: &Command) {
        self.change(|inner| {
            inner.send_all(command);
            if matches!(command, Command::Stop | Command::Drop { .. }) {
                inner.thaw();
            }
        });
    }

    pub(super) fn fault(&self, fault: Fault) {
        self.change(|inner| match fault.scope() {
            Scope::Stream => {
                inner.stream_fault = Some(fault);
                inner.epoch += 1;
            }
            Scope::Rest => inner.rest_fault = Some(fault),
            Scope::AtOnce => {}
        });
        match fault {
            Fault::Drop { close_frame } => self.broadcast(&Command::Drop { close_frame }),
            Fault::Reconnect => self.broadcast(&Command::Reconnect),
            Fault::Gap => self.broadcast(&Command::Gap),
            Fault::HalfOpen => self.change(|inner| {
                inner.send_all(&Command::Freeze);
                let links = std::mem::take(&mut inner.links);
                inner.stats.half_open += links.len() as u64;
                inner.frozen.extend(links.into_values().map(|link| link.sender));
            }),
            _ => {}
        }
        self.switched.notify_waiters();
    }

    pub(super) fn heal(&self) {
        self.change(|inner| {
            inner.stream_fault = None;
            inner.rest_fault = None;
            inner.epoch += 1;
            inner.thaw();
        });
        self.switched.notify_waiters();
    }

    pub(super) fn heartbeat(&self, every: Duration, patience: Duration) {
        self.inner.lock().timing = Timing { every, patience };
        self.broadcast(&Command::Wake);
    }

    pub(super) fn expire_tokens(&self) {
        self.change(Inner::new_token);
    }

    pub(super) fn stats(&self) -> Stats {
        self.inner.lock().stats()
    }

    pub(super) fn wait(&self, patience: Duration, mut until: impl FnMut(&Stats) -> bool) -> bool {
        let deadline = clock::monotonic() + patience;
        let mut inner = self.inner.lock();
        loop {
            if until(&inner.stats()) {
                return true;
            }
            if self.changed.wait_until(&mut inner, deadline).timed_out() {
                return until(&inner.stats());
            }
        }
    }

    /// Counts something.
    pub(super) fn count(&self, count: impl FnOnce(&mut Stats)) {
        self.change(|inner| count(&mut inner.stats));
    }

    pub(super) fn violation(&self, violation: Violation) {
        self.change(|inner| inner.violation(violation));
    }

    pub(super) fn stream_fault(&self) -> (Option<Fault>, u64) {
        let inner = self.inner.lock();
        (inner.stream_fault, inner.epoch)
    }

    pub(super) fn rest_fault(&self) -> Option<Fault> {
        self.inner.lock().rest_fault
    }

    pub(super) fn timing(&self) -> Timing {
        self.inner.lock().timing
    }

    /// Lets `read` look at the venue as it is now, as the stream shows it.
    pub(super) fn with_desk<T>(&self, read: impl FnOnce(&Desk<'_>) -> T) -> T {
        let inner: MutexGuard<'_, Inner> = self.inner.lock();
        read(&Desk {
            book: &inner.book,
            now_ns: clock::unix_nanos(),
            fault: inner.stream_fault,
            timing: inner.timing,
            stream_base: &self.stream_base,
            token: &inner.token,
        })
    }

    /// A connection is established: its number, and where its commands come from.
    pub(super) fn join(&self) -> (u64, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let now = clock::monotonic();
        self.change(|inner| {
            let id = inner.next_link;
            inner.next_link += 1;
            inner.stats.opened += 1;
            let instruments = BTreeSet::new();
            inner.links.insert(id, LinkEntry { sender, instruments });
            if let Some((most, window)) = self.kind.limits.connections {
                inner.opened_at.push_back(now);
                inner.opened_at.retain(|at| now.duration_since(*at) < window);
                if inner.opened_at.len() > most {
                    let detail = format!("{} connections within {window:?}", inner.opened_at.len());
                    inner.violation(Violation::new(ViolationKind::Connections, detail));
                }
            }
            (id, receiver)
        })
    }

    pub(super) fn leave(&self, id: u64) {
        self.change(|inner| inner.links.remove(&id));
    }

    /// A connection's subscriptions have changed.
    pub(super) fn subscribed(&self, id: u64, instruments: BTreeSet<String>) {
        self.change(|inner| {
            let count = instruments.len();
            let Some(link) = inner.links.get_mut(&id) else {
                return;
            };
            if link.instruments == instruments {
                return;
            }
            let grown = count > link.instruments.len();
            link.instruments = instruments;
            if let Some(most) = self.kind.limits.instruments.filter(|most| grown && count > *most) {
                let detail = format!("{count} instruments, {most} are allowed");
                inner.violation(Violation::new(ViolationKind::Instruments, detail));
            }
        });
    }

    /// Resolves when a fault is switched after the call.
    pub(super) async fn switched(&self) {
        self.switched.notified().await;
    }

    /// Stays while this is the fault of REST.
    pub(super) async fn while_rest_fault(&self, fault: Fault) {
        loop {
            let switched = self.switched.notified();
            if self.rest_fault() != Some(fault) {
                return;
            }
            switched.await;
        }
    }
}

impl Inner {
    fn new_token(&mut self) {
        self.tokens_expired += 1;
        let number = clock::unix_nanos();
        self.token = format!(
            "2neAiuYvAU61ZDXANAGAsiL4-iAExhsBXZxftpOeh_{number:x}{}",
            self.tokens_expired
        );
    }

    fn publish(&mut self, tick: Tick) {
        if !self.replaying {
            self.send_all(&Command::Tick(Arc::new(tick), self.stream_fault));
        }
    }

    fn send_all(&mut self, command: &Command) {
        // Who does not keep up loses its sender, and with it its connection.
        self.links
            .retain(|_, link| link.sender.try_send(command.clone()).is_ok());
    }

    /// Ends the frozen connections.
    fn thaw(&mut self) {
        self.frozen.clear();
    }

    fn violation(&mut self, violation: Violation) {
        if self.stats.violations.len() < KEPT {
            self.stats.violations.push(violation);
        }
    }

    fn stats(&self) -> Stats {
        let mut stats = self.stats.clone();
        stats.open = self.links.len();
        for instrument in self.links.values().flat_map(|link| &link.instruments) {
            *stats.subscriptions.entry(instrument.clone()).or_default() += 1;
        }
        stats
    }
}
