//! HTTP workers on loopback with a small market and two keys, and a client that sees every
//! byte.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;
use trinity_beast::shard::ShardShared;
use trinity_beast::shard::web::{self, Explains, OpsPage, OpsPages, WebConfig, WebCounters, WebParts};
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::{Meter, MeterPages, RequestRow};
use trinity_beast::tables::misses::MissBoard;
use trinity_beast::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{ApiKey, PriceFlags, PriceStatus, Symbol};

/// Longest time a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Workers and everything they share with a test.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    pub(crate) counters: Vec<Arc<WebCounters>>,
    pub(crate) keys: Arc<ArcSwap<KeyTable>>,
    pub(crate) writer: PriceWriter,
    pub(crate) desk: Arc<Desk>,
    /// Where missed prices are asked for, on a site that fetches.
    pub(crate) misses: Option<Arc<MissBoard>>,
    pages: Vec<MeterPages>,
    shared: Arc<ShardShared>,
    workers: Vec<JoinHandle<Meter>>,
}

/// A response as it came.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// A connection whose bytes are the test's own.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    unread: Vec<u8>,
    was_reset: bool,
}

/// Where the workers ask for explanations: the test plays the market.
#[derive(Debug)]
pub(crate) struct Desk {
    asked: crossbeam_queue::ArrayQueue<(SymbolIndex, oneshot::Sender<Bytes>)>,
}

impl Explains for Desk {
    fn ask(&self, symbol: SymbolIndex) -> Option<oneshot::Receiver<Bytes>> {
        let (answer, explanation) = oneshot::channel();
        self.asked.push((symbol, answer)).ok()?;
        Some(explanation)
    }
}

impl Desk {
    pub(crate) fn is_full(&self) -> bool {
        self.asked.is_full()
    }

    /// The next question, which must come.
    pub(crate) fn next(&self) -> (SymbolIndex, oneshot::Sender<Bytes>) {
        let mut next = None;
        eventually("an explanation is asked for", || {
            next = self.asked.pop();
            next.is_some()
        });
        next.expect("just seen")
    }
}

#[derive(Debug)]
struct Alive;

impl OpsPages for Alive {
    fn page(&self, path: &str, _now_ns: u64) -> Option<OpsPage> {
        (path == "/live").then(|| OpsPage {
            status: StatusCode::OK,
            content_type: "text/plain",
            body: "alive".into(),
        })
    }
}

/// Pages for workers under test.
pub(crate) fn ops_pages() -> Arc<dyn OpsPages> {
    Arc::new(Alive)
}

/// A key of the site: 1 has no limits, 2 has one request and no more.
pub(crate) fn key(id: u64) -> String {
    api_key(id).expose().to_string()
}

fn api_key(id: u64) -> ApiKey {
    ApiKey::from_parts(id, [id as u8; 32]).expect("in range")
}

/// A table with the given keys.
pub(crate) fn key_table(ids: &[u64]) -> KeyTable {
    let entry = |id: &u64| {
        let limits = if *id == 2 {
            Limits::new(None, None, Some(1))
        } else {
            Limits::NONE
        };
        let key = api_key(*id);
        KeyEntry::new(key.key_id(), &key.verifier(), limits, u64::MAX, Arc::default())
    };
    KeyTable::new(ids.iter().map(entry).collect())
}

/// A live price of 22639.50000 with the given sequence.
pub(crate) fn price(sequence: u32) -> PriceRecord {
    PriceRecord {
        mantissa: 2_263_950_000,
        confidence: 1_250,
        publish_time_ns: 1_678_492_800_123_000_000,
        exponent: -5,
        status: PriceStatus::Live,
        quality: PriceStatus::Live,
        venues: 3,
        flags: PriceFlags::REPLAYED,
        sequence,
        age_origin_ns: trinity_beast::clock::unix_nanos(),
        max_age_ms: 600_000,
        hard_age_ms: 600_000,
    }
}

fn names() -> Arc<SymbolNames> {
    let symbol = |name| Symbol::new(name).expect("a symbol");
    let names = SymbolNames::new(
        vec![symbol("BTC-USD"), symbol("ETH-USD")],
        &[(symbol("BTC"), SymbolIndex(0))],
    );
    Arc::new(names.expect("distinct"))
}

impl Site {
    pub(crate) fn start(config: WebConfig) -> Self {
        Self::start_on(IpAddr::from([127, 0, 0, 1]), 1, config)
    }

    pub(crate) fn start_on(ip: IpAddr, workers: usize, config: WebConfig) -> Self {
        Self::build(ip, workers, config, |_| None).0
    }

    /// A site on which prices are fetched: `fetch` is called, with the one writer, by the worker
    /// that starts a flight, and stands in for the control plane.
    pub(crate) fn start_fetching(fetch: impl Fn(&mut PriceWriter) + Send + Sync + 'static) -> Self {
        let ip = IpAddr::from([127, 0, 0, 1]);
        let board = |writer: Arc<Mutex<Option<PriceWriter>>>| {
            let wake = move || {
                let mut writer = writer.lock().expect("no panic");
                fetch(writer.as_mut().expect("the site's"));
            };
            Some(Arc::new(MissBoard::new(wake)))
        };
        let (mut site, writer) = Self::build(ip, 1, WebConfig::default(), board);
        let own = std::mem::replace(&mut site.writer, PriceWriter::new(&names(), 0).0);
        *writer.lock().expect("no panic") = Some(own);
        site
    }

    fn build(
        ip: IpAddr,
        workers: usize,
        config: WebConfig,
        board: impl FnOnce(Arc<Mutex<Option<PriceWriter>>>) -> Option<Arc<MissBoard>>,
    ) -> (Self, Arc<Mutex<Option<PriceWriter>>>) {
        let lent = Arc::default();
        let misses = board(Arc::clone(&lent));
        let names = names();
        let (mut writer, tables) = PriceWriter::new(&names, workers);
        writer.publish(SymbolIndex(0), price(1));
        let keys = Arc::new(ArcSwap::from_pointee(key_table(&[1, 2])));
        let (listeners, address) = web::bind_group(SocketAddr::new(ip, 0), workers).expect("bound");
        let shared = Arc::new(ShardShared::default());
        let source = Arc::new(ArcSwap::from_pointee("replay:test".to_owned()));
        let mut site = Self {
            address,
            counters: Vec::new(),
            keys,
            writer,
            desk: Arc::new(Desk {
                asked: crossbeam_queue::ArrayQueue::new(1),
            }),
            misses: None,
            pages: Vec::new(),
            shared,
            workers: Vec::new(),
        };
        for (index, (listener, prices)) in listeners.into_iter().zip(tables).enumerate() {
            let (meter, pages) = Meter::new();
            let counters = Arc::new(WebCounters::default());
            let parts = WebParts {
                index,
                cpu: None,
                listener,
                prices,
                keys: Arc::clone(&site.keys),
                misses: misses.clone(),
                meter,
                source: Arc::clone(&source),
                counters: Arc::clone(&counters),
                shared: Arc::clone(&site.shared),
                ops: ops_pages(),
                explains: Arc::clone(&site.desk) as Arc<dyn Explains>,
            };
            site.workers.push(web::spawn(parts, config).expect("started"));
            site.counters.push(counters);
            site.pages.push(pages);
        }
        site.misses = misses;
        (site, lent)
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address)
    }

    /// Tells the workers to stop, without waiting for them.
    pub(crate) fn begin_stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Stops and gives every request row that was counted.
    pub(crate) fn stop(mut self) -> Vec<RequestRow> {
        self.begin_stop();
        for worker in self.workers.drain(..) {
            let mut meter = worker.join().expect("a worker ends without a panic");
            assert!(!meter.close(), "usage was handed over before the end");
        }
        self.pages
            .iter()
            .flat_map(|pages| std::iter::from_fn(|| pages.take()).collect::<Vec<_>>())
            .flat_map(|page| page.requests())
            .collect()
    }
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("connected");
        stream.set_nodelay(true).expect("an option");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option");
        Self {
            stream,
            unread: Vec::new(),
            was_reset: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    /// Sends as much as the server takes.
    pub(crate) fn send_what_goes(&mut self, bytes: impl AsRef<[u8]>) {
        for chunk in bytes.as_ref().chunks(4_096) {
            if self.stream.write_all(chunk).is_err() {
                break;
            }
        }
    }

    /// The next response; `None` if the connection ended before it began.
    pub(crate) fn receive(&mut self) -> Option<Got> {
        self.receive_to("GET")
    }

    /// The next response to a request of this method.
    pub(crate) fn receive_to(&mut self, method: &str) -> Option<Got> {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !self.more() {
                assert!(self.unread.is_empty(), "half a head: {:?}", self.unread);
                return None;
            }
        };
        let head = String::from_utf8(self.unread.drain(..end).collect()).expect("ASCII");
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let mut got = Got {
            status: status.expect("a status line"),
            head,
            body: Vec::new(),
        };
        let length = got
            .header("content-length")
            .map_or(0, |text| text.parse().expect("a length"));
        if method != "HEAD" {
            while self.unread.len() < length {
                assert!(self.more(), "the body broke off");
            }
            got.body = self.unread.drain(..length).collect();
        }
        Some(got)
    }

    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Got {
        self.send(request);
        self.receive().expect("answered")
    }

    /// Whether the server ends the connection in time, in order and without another byte. A
    /// reset is no order: it may destroy an answer on its way.
    pub(crate) fn is_closed(&mut self) -> bool {
        let ended = !self.more() && !self.was_reset;
        assert!(self.unread.is_empty(), "unexpected: {:?}", self.unread);
        ended
    }

    /// Reads more; `false` at the end. Fails when nothing happens for too long.
    fn more(&mut self) -> bool {
        let mut bytes = [0; 16_384];
        match self.stream.read(&mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                self.was_reset = true;
                false
            }
            Err(error) => panic!("waited in vain: {error}"),
        }
    }
}

impl Got {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// The last part of the problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"));
        let json = self.json();
        assert_eq!(json["status"], self.status);
        let kind = json["type"].as_str().expect("a text");
        kind.trim_start_matches("/problems/").to_owned()
    }
}

/// `GET target` with key 1.
pub(crate) fn get(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        key(1)
    )
}

/// `POST /prices` with key 1.
pub(crate) fn post(body: &str) -> String {
    format!("{}{body}", post_head(body.len()))
}

/// The head of a `POST /prices` with key 1 and a body of that length.
pub(crate) fn post_head(length: usize) -> String {
    format!(
        "POST /prices HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nContent-Length: {length}\r\n\r\n",
        key(1)
    )
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = trinity_beast::clock::monotonic() + PATIENCE;
    while !so() {
        let now: Instant = trinity_beast::clock::monotonic();
        assert!(now < until, "it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
