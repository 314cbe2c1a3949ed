//! Shards whose turns the test takes, on real sockets, with a market of cold symbols.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use trinity_beast::shard::socket::bind_group;
use trinity_beast::shard::{Shard, ShardParts, ShardShared};
use trinity_beast::tables::counters::ShardCounters;
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::{Meter, MeterPages};
use trinity_beast::tables::misses::MissBoard;
use trinity_beast::tables::prices::{PriceRecord, PriceWriter, SymbolNames};
use trinity_protocol::{
    Code, KeyId, MAX_DATAGRAM, MacKeys, PriceEntry, PriceFlags, PriceQuery, PriceStatus, ReplyView,
    RequestHead, RequestId, Symbol, Verifier, encode_price_request,
};

pub(crate) const MS: u64 = 1_000_000;
/// When the tests' time begins, Unix nanoseconds.
pub(crate) const NOW: u64 = 1_700_000_000_000_000_000;
/// How many symbols there are: `S0-USD` and so on, none with a price.
pub(crate) const SYMBOLS: usize = 64;

pub(crate) struct Bench {
    pub(crate) shards: Vec<Shard>,
    pub(crate) counters: Vec<Arc<ShardCounters>>,
    pub(crate) board: Arc<MissBoard>,
    pub(crate) writer: PriceWriter,
    pub(crate) keys: Arc<ArcSwap<KeyTable>>,
    pub(crate) shared: Arc<ShardShared>,
    pages: Vec<MeterPages>,
    names: Vec<Symbol>,
    addresses: Vec<SocketAddr>,
    clients: u32,
}

pub(crate) struct Client {
    socket: UdpSocket,
    session: u32,
    counter: u32,
}

/// A reply that passed every check of a client's.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) id: RequestId,
    pub(crate) clock_ns: u64,
    pub(crate) entries: Vec<PriceEntry>,
}

/// A price of 7 that was fetched at a time.
pub(crate) fn live(at_ns: u64) -> PriceRecord {
    PriceRecord {
        mantissa: 7,
        confidence: 1,
        publish_time_ns: at_ns,
        exponent: -8,
        status: PriceStatus::Live,
        quality: PriceStatus::Live,
        venues: 1,
        flags: PriceFlags::FETCHED,
        sequence: 1,
        age_origin_ns: at_ns,
        max_age_ms: 10_000,
        hard_age_ms: 60_000,
    }
}

pub(crate) fn symbol(name: &str) -> Symbol {
    Symbol::new(name).expect("a symbol")
}

pub(crate) fn cold_names(count: usize) -> Vec<Symbol> {
    (0..count).map(|i| symbol(&format!("S{i}-USD"))).collect()
}

fn verifier() -> Verifier {
    Verifier::from_bytes([9; 32])
}

/// A table with the one key that every client here uses.
pub(crate) fn key_table(limits: Limits) -> KeyTable {
    let entry = KeyEntry::new(KeyId(1), &verifier(), limits, u64::MAX, Arc::default());
    KeyTable::new(vec![entry])
}

impl Bench {
    pub(crate) fn new(shards: usize, limits: Limits) -> Self {
        Self::on(shards, limits, Arc::new(MissBoard::new(|| {})))
    }

    pub(crate) fn on(shards: usize, limits: Limits, board: Arc<MissBoard>) -> Self {
        Self::build(shards, limits, board, true)
    }

    pub(crate) fn without_board() -> Self {
        Self::build(1, Limits::NONE, Arc::new(MissBoard::new(|| {})), false)
    }

    fn build(shards: usize, limits: Limits, board: Arc<MissBoard>, fetches: bool) -> Self {
        let names = cold_names(SYMBOLS);
        let list = SymbolNames::new(names.clone(), &[]).expect("distinct");
        let (writer, copies) = PriceWriter::new(&Arc::new(list), shards);
        let shared = Arc::new(ShardShared::default());
        shared.month_end_ns.store(u64::MAX, Ordering::Relaxed);
        let mut bench = Self {
            shards: Vec::new(),
            counters: Vec::new(),
            board,
            writer,
            keys: Arc::new(ArcSwap::from_pointee(key_table(limits))),
            shared,
            pages: Vec::new(),
            names,
            addresses: Vec::new(),
            clients: 0,
        };
        for (index, prices) in copies.into_iter().enumerate() {
            // A group of its own for each, so that a test decides who answers.
            let (mut sockets, address, _) =
                bind_group("127.0.0.1:0".parse().expect("an address"), 1).expect("bound");
            let (meter, pages) = Meter::new();
            let counters = Arc::new(ShardCounters::default());
            bench.shards.push(Shard::new(ShardParts {
                index,
                cpu: None,
                socket: sockets.remove(0),
                prices,
                keys: Arc::clone(&bench.keys),
                misses: fetches.then(|| Arc::clone(&bench.board)),
                meter,
                counters: Arc::clone(&counters),
                shared: Arc::clone(&bench.shared),
                seed: 5,
                spin: Duration::ZERO,
            }));
            bench.counters.push(counters);
            bench.pages.push(pages);
            bench.addresses.push(address);
        }
        bench
    }

    pub(crate) fn client(&mut self) -> Client {
        self.client_of(0)
    }

    pub(crate) fn client_of(&mut self, shard: usize) -> Client {
        self.clients += 1;
        Client::connect(self.addresses[shard], self.clients)
    }

    /// Lists one more symbol.
    pub(crate) fn grow(&mut self, name: &str) {
        self.names.push(symbol(name));
        let list = SymbolNames::new(self.names.clone(), &[]).expect("distinct");
        self.writer.extend(&Arc::new(list)).expect("a continuation");
    }

    /// One turn; gives the number of datagrams that came.
    pub(crate) fn turn(&mut self, shard: usize, now_ns: u64) -> usize {
        let (came, _) = self.shards[shard].turn(now_ns, || now_ns);
        self.shards[shard].settle(now_ns);
        came
    }

    /// Turns at one time until so many datagrams came.
    pub(crate) fn turns(&mut self, shard: usize, datagrams: usize, now_ns: u64) {
        let mut came = 0;
        for _ in 0..100_000 {
            came += self.turn(shard, now_ns);
            if came >= datagrams {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{came} of {datagrams} datagrams came");
    }

    /// Replies that a shard sent.
    pub(crate) fn sent(&self, shard: usize) -> u64 {
        self.counters[shard].sent.get()
    }

    /// Gives every page back that a shard handed over.
    pub(crate) fn take_pages(&mut self) {
        for pages in &self.pages {
            while let Some(page) = pages.take() {
                pages.give_back(page);
            }
        }
    }

    /// Requests that were billed by a shard, all that was counted being taken.
    pub(crate) fn billed(&mut self, shard: usize) -> u64 {
        // A second later, so that the page is closed.
        // What was closed before must be taken first: a page is not closed while another waits.
        let closed = self.take_billed(shard);
        self.shards[shard].settle(u64::MAX / 2);
        closed + self.take_billed(shard)
    }

    fn take_billed(&self, shard: usize) -> u64 {
        let mut billed = 0;
        while let Some(page) = self.pages[shard].take() {
            let rows = page.requests().into_iter().filter(|row| row.outcome == Code::Ok);
            billed += rows.map(|row| row.count).sum::<u64>();
            self.pages[shard].give_back(page);
        }
        billed
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr, session: u32) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.connect(address).expect("connected");
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("set");
        Self {
            socket,
            session,
            counter: 0,
        }
    }

    pub(crate) fn ask(&mut self, names: &[&str]) -> Vec<u8> {
        self.ask_at(names, NOW)
    }

    pub(crate) fn ask_at(&mut self, names: &[&str], clock_ns: u64) -> Vec<u8> {
        self.ask_aged(names, 0, clock_ns)
    }

    /// Asks, accepting prices of some age; gives what was sent.
    pub(crate) fn ask_aged(&mut self, names: &[&str], max_age_ms: u32, clock_ns: u64) -> Vec<u8> {
        self.counter += 1;
        let head = RequestHead {
            key_id: KeyId(1),
            request_id: RequestId::new(self.session, self.counter),
            lane: self.counter as u8,
            clock_ns,
        };
        let queries: Vec<_> = names
            .iter()
            .map(|name| PriceQuery {
                symbol: symbol(name),
                max_age_ms,
            })
            .collect();
        let mac = MacKeys::from_verifier(&verifier());
        let mut buffer = [0; MAX_DATAGRAM];
        let datagram = encode_price_request(&mut buffer, head, &queries, &mac.request).to_vec();
        self.send(&datagram);
        datagram
    }

    pub(crate) fn send(&self, datagram: &[u8]) {
        self.socket.send(datagram).expect("sent");
    }

    /// The next reply, whichever request it answers.
    pub(crate) fn receive(&mut self) -> Reply {
        self.try_receive().expect("answered")
    }

    pub(crate) fn try_receive(&mut self) -> Option<Reply> {
        let mut buffer = [0; MAX_DATAGRAM];
        let len = loop {
            match self.socket.recv(&mut buffer) {
                Ok(len) => break len,
                // glommio's executors have timers that send signals.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        };
        let view = ReplyView::parse(&buffer[..len]).expect("well-formed");
        let mac = MacKeys::from_verifier(&verifier());
        assert!(view.is_unsigned() || view.verify(&mac.reply));
        let head = view.head();
        Some(Reply {
            code: head.code,
            id: head.request_id,
            clock_ns: head.clock_ns,
            entries: view.entries().to_vec(),
        })
    }
}

impl Reply {
    pub(crate) fn statuses(&self) -> Vec<PriceStatus> {
        let status = |entry: &PriceEntry| PriceStatus::from_wire(entry.status).expect("a status");
        self.entries.iter().map(status).collect()
    }
}
