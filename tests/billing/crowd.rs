//! All clients of a test, each on a thread of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};

use trinity_protocol::{ApiKey, PriceQuery, Symbol};

use super::books::Books;
use super::udp::{Flow, Form};
use super::web::Caller;
use crate::support::server::wait_until;

/// What clients are told, and tell.
#[derive(Debug, Default)]
pub(crate) struct Signals {
    /// Which life of the server it is: what was asked in an earlier one gets no answer any more.
    pub(crate) life: AtomicU64,
    /// No new requests.
    pub(crate) stop: AtomicBool,
    /// How far the server's clock is ahead of that of the clients.
    pub(crate) skew_ns: AtomicI64,
    /// Replies so far.
    pub(crate) answered: AtomicU64,
}

/// The clients, while they ask.
pub(crate) struct Crowd {
    pub(crate) signals: Arc<Signals>,
    threads: Vec<JoinHandle<Books>>,
}

/// Symbols of the built-in table, and two that are none: unknown ones are counted as well.
const SYMBOLS: [&str; 12] = [
    "BTC-USD",
    "ETH-USD",
    "SOL-USD",
    "XRP-USD",
    "DOGE-USD",
    "NONE-USD",
    "ADA-USD",
    "LTC-USD",
    "LINK-USD",
    "USDC-USD",
    "NEVER-USD",
    "DOT-USD",
];

/// Flows of each form; the server has as many shards, and their lanes lead to different ones.
const FLOWS: usize = 2;
/// What each HTTP caller asks for: one asset by `GET /price`, several by `POST /prices`.
const CALLERS: [&[&str]; 2] = [&["btc"], &["btc", "eth", "sol", "doge"]];

impl Crowd {
    /// All of them. They share the keys, so that a key is asked for in several ways at once.
    pub(crate) fn gather(udp: SocketAddr, http: SocketAddr, keys: &[ApiKey]) -> Self {
        let signals = Arc::new(Signals::default());
        let queries = SYMBOLS.map(|name| PriceQuery::new(Symbol::new(name).expect("a symbol")));
        let mut next_key = keys.iter().cycle();
        let mut next_key = || next_key.next().expect("there are keys");
        let mut threads = Vec::new();
        for form in Form::ALL {
            for lane in 0..FLOWS {
                let flow = Flow::new(udp, form, lane as u8, next_key(), &queries);
                let signals = Arc::clone(&signals);
                threads.push(thread::spawn(move || flow.run(&signals)));
            }
        }
        for assets in CALLERS {
            let caller = Caller::new(http, next_key(), assets);
            let signals = Arc::clone(&signals);
            threads.push(thread::spawn(move || caller.run(&signals)));
        }
        Self { signals, threads }
    }

    /// Waits until so many more replies have come.
    pub(crate) fn is_answered(&self, more: u64) {
        let enough = self.signals.answered.load(Relaxed) + more;
        wait_until("clients are answered", || {
            (self.signals.answered.load(Relaxed) >= enough).then_some(())
        });
    }

    /// The server that they asked is dead: what was outstanding stays so.
    pub(crate) fn server_died(&self) {
        self.signals.life.fetch_add(1, Relaxed);
    }

    /// How many requests may be without an answer at any moment.
    pub(crate) fn in_flight() -> u64 {
        let of_flows: usize = Form::ALL.iter().map(|form| FLOWS * form.window).sum();
        (of_flows + CALLERS.len()) as u64
    }

    /// Lets them finish, and takes their books.
    pub(crate) fn disperse(self) -> Books {
        self.signals.stop.store(true, Relaxed);
        let mut books = Books::default();
        for thread in self.threads {
            books.join(thread.join().expect("a client panicked"));
        }
        books
    }
}
