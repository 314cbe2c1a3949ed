//! Venue simulators: real TCP, TLS, WebSocket and HTTP servers that speak the venues' public
//! market protocols, with every fault that a live venue is known for.
//!
//! ```ignore
//! let kraken = VenueSim::start("kraken", true);
//! kraken.set_quote("BTC/USD", "60000.1", "60000.2");
//! write_config(&[&kraken], &dir.path().join("venues.toml"));
//! // start the node, then
//! assert!(kraken.wait(PATIENCE, |stats| stats.subscribed("BTC/USD") == 1));
//! kraken.fault(Fault::Mute);
//! ```
//!
//! Everything is std and blocking for the test; each simulator runs on a thread of its own and
//! ends when it is dropped. An instrument exists once it is listed or quoted. Which venues send a
//! quote upon subscription is as it is live: Binance, Gate and KuCoin wait for the next change.

#![allow(dead_code, unused_imports, reason = "each test takes what it needs")]

mod authority;
mod book;
mod capture;
mod config;
mod fault;
mod link;
mod protocol;
mod rest;
mod server;
mod state;
mod stats;
mod venue;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

pub(crate) use authority::CertAuthority;
pub(crate) use config::write_config;
pub(crate) use fault::{Fault, Garbage};
pub(crate) use stats::{Stats, Violation, ViolationKind};

use server::Role;
use state::{Command, State};

/// The ten venues by the names of the product's table.
pub(crate) const VENUES: [&str; 10] = [
    "coinbase",
    "kraken",
    "gemini",
    "okx",
    "cryptocom",
    "gate",
    "binance",
    "bitstamp",
    "bybit",
    "kucoin",
];

/// A running venue.
pub(crate) struct VenueSim {
    state: Arc<State>,
    stream: SocketAddr,
    rest: SocketAddr,
    runtime: Handle,
    /// The task that moves the quotes or replays a capture.
    mover: parking_lot::Mutex<Option<AbortHandle>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl VenueSim {
    /// Starts a venue on ports of its own; with `tls` under a certificate of
    /// [`CertAuthority::shared`].
    ///
    /// Panics on a name that is none of [`VENUES`].
    pub(crate) fn start(venue: &str, tls: bool) -> Self {
        Self::start_with(venue, tls.then(CertAuthority::shared))
    }

    /// Starts a venue under a certificate of this authority, or without TLS.
    pub(crate) fn start_with(venue: &str, authority: Option<&CertAuthority>) -> Self {
        let kind = venue::kind(venue).unwrap_or_else(|| panic!("no simulator of the venue {venue:?}"));
        let tls = authority.map(CertAuthority::acceptor);
        let (listening, ready) = std::sync::mpsc::sync_channel(1);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("sim-{venue}"))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime");
                runtime.block_on(async move {
                    let stream = server::listen().await;
                    let rest = server::listen().await;
                    let addresses = [&stream, &rest].map(|l| l.local_addr().expect("a bound socket"));
                    let state = Arc::new(State::new(kind, tls.is_some(), addresses[0]));
                    listening
                        .send((Arc::clone(&state), addresses, Handle::current()))
                        .expect("somebody waits for the addresses");
                    tokio::select! {
                        () = server::accept(stream, Role::Stream, tls.clone(), Arc::clone(&state)) => {}
                        () = server::accept(rest, Role::Rest, tls, state) => {}
                        _ = stopped => {}
                    }
                });
            })
            .expect("a thread");
        let (state, [stream, rest], runtime) = ready.recv().expect("the simulator listens");
        Self {
            state,
            stream,
            rest,
            runtime,
            mover: parking_lot::Mutex::new(None),
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The venue's name.
    pub(crate) fn venue(&self) -> &'static str {
        self.state.kind.name
    }

    /// Whether it speaks TLS.
    pub(crate) fn tls(&self) -> bool {
        self.state.tls
    }

    /// Where its WebSocket is, path and all.
    pub(crate) fn stream_url(&self) -> String {
        let scheme = if self.tls() { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.stream, self.state.kind.stream_path)
    }

    /// What its REST addresses begin with, without a slash at the end.
    pub(crate) fn rest_url(&self) -> String {
        let scheme = if self.tls() { "https" } else { "http" };
        format!("{scheme}://{}", self.rest)
    }

    /// Makes an instrument exist without a quote.
    pub(crate) fn list(&self, instrument: &str) {
        self.state.list(instrument);
    }

    /// Quotes an instrument, in the venue's spelling and in decimal digits, and tells every
    /// subscriber. Sequence and venue time rise with every call.
    pub(crate) fn set_quote(&self, instrument: &str, bid: &str, ask: &str) {
        self.state.set_quote(instrument, bid, ask);
    }

    /// Sends every instrument's quote again at this interval, each time moved by a few units of
    /// its last digit, the same way in every run.
    pub(crate) fn auto(&self, interval: Duration) {
        let state = Arc::clone(&self.state);
        self.keep(async move {
            loop {
                tokio::time::sleep(interval).await;
                state.move_quotes();
            }
        });
    }

    /// Stops [`VenueSim::auto`] or [`VenueSim::replay`].
    pub(crate) fn still(&self) {
        if let Some(mover) = self.mover.lock().take() {
            mover.abort();
        }
        self.state.replaying(false);
    }

    /// Sends the received messages of a capture file to whoever has subscribed, over and over, at
    /// so many times their pace, in place of generated quotes. Fails as reading the file does.
    pub(crate) fn replay(&self, capture: &Path, speed: f64) -> std::io::Result<usize> {
        let frames = capture::read(capture)?;
        let count = frames.len();
        self.still();
        self.state.replaying(true);
        let state = Arc::clone(&self.state);
        self.keep(capture::play(frames, speed, state));
        Ok(count)
    }

    fn keep(&self, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.runtime.spawn(task).abort_handle();
        if let Some(old) = self.mover.lock().replace(task) {
            old.abort();
        }
    }

    /// Switches a fault on (see [`Fault`] for which replace each other and which act at once).
    pub(crate) fn fault(&self, fault: Fault) {
        self.state.fault(fault);
    }

    /// Switches every fault off. Connections that were cut stay cut.
    pub(crate) fn heal(&self) {
        self.state.heal();
    }

    /// How often the venue asks for a sign of life or gives one, and how long it waits for one
    /// before it closes the connection. Without this, as documented for the venue.
    pub(crate) fn heartbeat(&self, every: Duration, patience: Duration) {
        self.state.heartbeat(every, patience);
    }

    /// Refuses connection tokens given out so far (KuCoin).
    pub(crate) fn expire_tokens(&self) {
        self.state.expire_tokens();
    }

    /// What has been seen up to now.
    pub(crate) fn stats(&self) -> Stats {
        self.state.stats()
    }

    /// Waits until the statistics satisfy this, at most so long; tells whether they did.
    pub(crate) fn wait(&self, patience: Duration, until: impl FnMut(&Stats) -> bool) -> bool {
        self.state.wait(patience, until)
    }
}

impl Drop for VenueSim {
    fn drop(&mut self) {
        self.still();
        self.state.broadcast(&Command::Stop);
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in there was printed by its thread.
            let _ = thread.join();
        }
    }
}
