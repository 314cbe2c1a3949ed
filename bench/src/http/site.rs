//! One HTTP worker of this server with everything on, inside this program.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;
use trinity_beast::clock;
use trinity_beast::shard::ShardShared;
use trinity_beast::shard::web::{self, Explains, OpsPage, OpsPages, WebConfig, WebCounters, WebParts};
use trinity_beast::tables::counters::Counter;
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{ApiKey, Code, Symbol};

use crate::cpu_time::ThreadTime;
use crate::population;
use crate::target::control::{Control, Ledger};
use crate::target::join;

/// A worker that serves.
pub(crate) struct Site {
    pub(crate) address: SocketAddr,
    /// The serving thread's time.
    pub(crate) time: ThreadTime,
    counters: Arc<WebCounters>,
    shared: Arc<ShardShared>,
    worker: Option<JoinHandle<Meter>>,
    control: Option<Control>,
}

/// Keys of one run, as their owners hold them. They protect nothing: they live for one run on
/// loopback.
pub(crate) struct Keys(Vec<ApiKey>);

/// What the worker says of itself once it has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Account {
    /// Answers with code OK.
    pub(crate) granted: u64,
    /// Requests on the usage pages that are billed.
    pub(crate) billed: u64,
    /// Prices on the usage pages.
    pub(crate) billed_entries: u64,
    /// Connections that the worker cut.
    pub(crate) cut: u64,
}

/// Requests per second, burst and month of each key: limits that are worked out for every request
/// and that no load of one core reaches.
const RATE: u32 = 50_000_000;
const PER_MONTH: u64 = 1 << 50;
/// Longest time for the first answer.
const START: Duration = Duration::from_secs(10);

impl Keys {
    /// Draws that many.
    pub(crate) fn draw(count: usize) -> anyhow::Result<Self> {
        let key = |_| {
            let secret = std::array::from_fn::<_, 4, _>(|_| population::random().to_le_bytes());
            let mut bytes = [0; 32];
            bytes.copy_from_slice(secret.as_flattened());
            ApiKey::from_parts((population::random() >> 1).max(1), bytes)
        };
        Ok(Self((0..count).map(key).collect::<Result<_, _>>()?))
    }

    /// One key, read from where its owner keeps it.
    pub(crate) fn one(text: &str) -> anyhow::Result<Self> {
        Ok(Self(vec![text.trim().parse().context("this is no API key")?]))
    }

    /// As a request says them.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(|key| key.expose().to_string()).collect()
    }

    fn table(&self) -> KeyTable {
        let limits = Limits::new(Some(RATE), Some(RATE), Some(PER_MONTH));
        let entry =
            |key: &ApiKey| KeyEntry::new(key.key_id(), &key.verifier(), limits, u64::MAX, Arc::default());
        KeyTable::new(self.0.iter().map(entry).collect())
    }
}

impl Site {
    /// Starts a worker on one CPU that serves these symbols to these keys.
    pub(crate) fn start(cpu: usize, symbols: &[Symbol], keys: &Keys) -> anyhow::Result<Self> {
        let names = Arc::new(SymbolNames::new(symbols.to_vec(), &[])?);
        let (mut writer, mut copies) = PriceWriter::new(&names, 1);
        let now_ns = clock::unix_nanos();
        for symbol in 0..symbols.len() {
            writer.publish(SymbolIndex(symbol as u32), population::record(symbol, 1, now_ns));
        }
        let (mut listeners, address) = web::bind_group(SocketAddr::from(([127, 0, 0, 1], 0)), 1)?;
        let (meter, pages) = Meter::new();
        let counters = Arc::<WebCounters>::default();
        let shared = Arc::new(ShardShared {
            stop: AtomicBool::new(false),
            month_end_ns: AtomicU64::new(now_ns + Duration::from_hours(24).as_nanos() as u64),
            ..ShardShared::default()
        });
        let who = Arc::<Who>::default();
        let parts = WebParts {
            index: 0,
            cpu: Some(cpu),
            listener: listeners.pop().context("one listener was asked for")?,
            prices: copies.pop().context("one copy was asked for")?,
            keys: Arc::new(ArcSwap::from_pointee(keys.table())),
            misses: None,
            meter,
            source: Arc::new(ArcSwap::from_pointee("live".to_owned())),
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            ops: Arc::clone(&who) as Arc<dyn OpsPages>,
            explains: Arc::new(Silent),
        };
        let worker = web::spawn(parts, WebConfig::default())?;
        let control = Control::start(vec![pages], writer, symbols.len())?;
        let mut site = Self {
            address,
            time: ThreadTime::own()?,
            counters,
            shared,
            worker: Some(worker),
            control: Some(control),
        };
        site.time = who.ask(address)?;
        Ok(site)
    }

    /// Stops it and settles its accounts.
    pub(crate) fn stop(mut self) -> anyhow::Result<Account> {
        let (meter, ledger) = self.end()?;
        let (Some(mut meter), Some(mut ledger)) = (meter, ledger) else {
            anyhow::bail!("the worker was stopped before");
        };
        // What the last second counted, and what found no empty page.
        loop {
            ledger.collect();
            if !meter.close() {
                break;
            }
        }
        ledger.collect();
        Ok(Account {
            granted: self.counters.codes[Code::Ok as usize].get(),
            billed: ledger.requests,
            billed_entries: ledger.entries,
            cut: self.counters.cut.iter().map(Counter::get).sum(),
        })
    }

    fn end(&mut self) -> anyhow::Result<(Option<Meter>, Option<Ledger>)> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let meter = self.worker.take().map(join).transpose()?;
        Ok((meter, self.control.take().map(Control::stop).transpose()?))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Whoever drops it without `stop` has an error of its own to tell.
        let _ = self.end();
    }
}

/// A page about the process is made by the worker's thread, which thereby tells whose time is to
/// be read.
#[derive(Default)]
struct Who(OnceLock<std::io::Result<ThreadTime>>);

impl fmt::Debug for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Who")
    }
}

impl OpsPages for Who {
    fn page(&self, path: &str, _now_ns: u64) -> Option<OpsPage> {
        (path == "/live").then(|| {
            self.0.get_or_init(ThreadTime::own);
            OpsPage {
                status: http::StatusCode::OK,
                content_type: "text/plain",
                body: Bytes::from_static(b"alive"),
            }
        })
    }
}

impl Who {
    fn ask(&self, address: SocketAddr) -> anyhow::Result<ThreadTime> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(START))?;
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .context("the worker does not answer")?;
        match self.0.get() {
            Some(Ok(time)) => Ok(time.clone()),
            Some(Err(error)) => anyhow::bail!("the worker's time cannot be read: {error}"),
            None => anyhow::bail!("the worker is not alive: {answer}"),
        }
    }
}

/// Nobody asks for explanations here.
#[derive(Debug)]
struct Silent;

impl Explains for Silent {
    fn ask(&self, _symbol: SymbolIndex) -> Option<oneshot::Receiver<Bytes>> {
        None
    }
}
