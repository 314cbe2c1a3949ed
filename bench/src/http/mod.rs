//! `trinity-bench http`: `GET /price` over kept connections, beside nginx with a fixed body.

mod client;
mod price;
mod report;
mod response;
mod site;
mod tally;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use trinity_beast::shard::driver::cpus;

use self::client::{Load, Plan, Questions};
use self::report::{Facts, Measurement, Report, Side};
use self::response::Reader;
use self::site::{Keys, Site};
use self::tally::Asset;
use crate::machine::Machine;
use crate::options::seconds;
use crate::peers::process::{ProcessTime, ServingTime};
use crate::peers::ratio::Figures;
use crate::peers::stream::Window;
use crate::peers::{self, Cpus, Peer, nginx};
use crate::population::Population;
use crate::progress::Steps;

/// Options of `http`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// Rounds; in each every side is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Measured seconds of each side and round.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before each measurement that do not count.
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    warm_up: f64,
    /// Connections, all kept.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    connections: u32,
    /// Requests outstanding on each connection.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pipeline: u32,
    /// Requests per second, or a share of this server's own peak ("60%"), at even intervals;
    /// latency then runs from the moment a request was due. As fast as it goes without it.
    #[arg(long, value_parser = rate)]
    rate: Option<Rate>,
    /// Symbols in the price table, all published; each request asks for one of them.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    symbols: u32,
    /// Keys that take turns.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: u32,
    /// Do not measure nginx, even if it is installed.
    #[arg(long)]
    alone: bool,
    /// A running server, `http://host:port`, instead of a worker of this program's own. Use it
    /// on machines of your own only.
    #[arg(long, requires_all = ["key_file", "assets"])]
    target: Option<String>,
    /// The file that holds the key for it.
    #[arg(long, requires = "target")]
    key_file: Option<PathBuf>,
    /// What to ask it for, parted by commas.
    #[arg(long, value_delimiter = ',', requires = "target")]
    assets: Vec<String>,
    /// Its process, if it runs on this machine: its CPU time is measured then.
    #[arg(long, requires = "target")]
    pid: Option<u32>,
    /// CPU that serves; the first this process may use unless said otherwise.
    #[arg(long)]
    serving_cpu: Option<usize>,
    /// CPU that loads; the second.
    #[arg(long)]
    loading_cpu: Option<usize>,
}

/// How fast to ask.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rate {
    PerSecond(f64),
    OfPeak(f64),
}

/// Time of the closed loop that looks for the peak.
const PEAK: Duration = Duration::from_secs(1);
/// Longest time for a single answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Measures and reports; tells whether every answer was right and accounted for.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let cpus = Cpus::choose(args.serving_cpu, args.loading_cpu)?;
    let machine = Machine::look(cpus.serving, cpus.loading)?;
    let stage = Stage::set(args, cpus)?;
    let mut plan = Plan {
        connections: args.connections as usize,
        pipeline: args.pipeline as usize,
        rate: None,
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    plan.rate = match args.rate {
        Some(Rate::OfPeak(share)) => {
            let time = PEAK;
            let peak = stage.measure(Side::Server, &Plan { time, ..plan })?;
            Some(share * peak.requests_per_second())
        }
        Some(Rate::PerSecond(rate)) => Some(rate),
        None => None,
    };
    let mut sides = vec![Side::Server];
    sides.extend(stage.static_page.is_some().then_some(Side::Nginx));
    let progress = Steps::new(args.rounds as usize * sides.len());
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut measured = Vec::new();
        for side in &sides {
            let measurement = stage.measure(*side, &plan)?;
            progress.step(&format!("round {}: {}", round + 1, measurement.line()));
            measured.push(measurement);
        }
        rounds.push(measured);
        // So that a machine that slows down or speeds up favours nobody.
        sides.reverse();
    }
    progress.finish();
    let report = Report::new(
        rounds,
        Facts {
            machine,
            plan,
            body_bytes: stage.body_bytes,
            assets: stage.assets.len(),
            keys: stage.keys.texts().len(),
            absent: stage.absent,
        },
    );
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}

/// Asks nginx for a fixed body of the size of this server's answer.
pub(crate) fn load_nginx(
    program: &Path,
    cpus: Cpus,
    symbols: usize,
    window: &Window,
) -> anyhow::Result<peers::Load> {
    let mut stage = Stage::empty(cpus, symbols, 1)?;
    let (body, asset) = stage.page()?;
    let nginx = nginx::start(program, &body, cpus.serving)?;
    stage.assets = vec![asset];
    let questions = stage.questions(Some(nginx.address));
    let load = stage.load(&questions, &closed_loop(window), Some(&nginx.time()?))?;
    if let [fault, ..] = load.tally.faults().as_slice() {
        anyhow::bail!("{fault}");
    }
    Ok(peers::Load {
        verified: load.measured,
        lost: load.tally.lost,
        wall: load.wall,
        server: load.server.context("the time of nginx was asked for")?,
        loader: Some(load.loader.on_cpu.saturating_sub(load.idle)),
    })
}

/// This server and nginx, for whoever compares more than these two: a round at a time.
#[cfg_attr(not(test), allow(dead_code, reason = "for whoever compares"))]
pub(crate) struct Duel(Stage);

#[cfg_attr(not(test), allow(dead_code, reason = "for whoever compares"))]
impl Duel {
    /// Prepares it; `None` where nginx is not installed.
    pub(crate) fn set(cpus: Cpus, symbols: usize, keys: usize) -> anyhow::Result<Option<Self>> {
        let Some(program) = Peer::Nginx.find() else {
            return Ok(None);
        };
        let mut stage = Stage::empty(cpus, symbols, keys)?;
        let (body, asset) = stage.page()?;
        stage.static_page = Some((program, body, asset));
        Ok(Some(Self(stage)))
    }

    /// Each side once, in a closed loop: this server's figures and nginx's, as
    /// [`peers::ratio::Ratio::of`] wants them. An answer that is wrong or missing is an error.
    pub(crate) fn round(&self, window: &Window) -> anyhow::Result<(Figures, Figures)> {
        let plan = closed_loop(window);
        let side = |side| {
            let measurement = self.0.measure(side, &plan)?;
            match measurement.faults() {
                [] => Ok(measurement.figures()),
                faults => anyhow::bail!("{}", faults.join("; ")),
            }
        };
        Ok((side(Side::Server)?, side(Side::Nginx)?))
    }
}

fn closed_loop(window: &Window) -> Plan {
    Plan {
        connections: window.connections,
        pipeline: window.depth,
        rate: None,
        warm_up: window.warm_up,
        time: window.time,
    }
}

/// What all rounds have in common.
struct Stage {
    cpus: Cpus,
    population: Population,
    assets: Vec<Asset>,
    keys: Keys,
    running: Option<Running>,
    /// nginx, what it serves, and for which asset that is right.
    static_page: Option<(PathBuf, String, Asset)>,
    absent: Vec<String>,
    body_bytes: usize,
}

/// A server that was there before.
struct Running {
    address: SocketAddr,
    host: String,
    prefix: String,
    time: Option<ServingTime>,
}

impl Stage {
    fn empty(cpus: Cpus, symbols: usize, keys: usize) -> anyhow::Result<Self> {
        Ok(Self {
            cpus,
            population: Population::new(1, symbols)?,
            assets: Vec::new(),
            keys: Keys::draw(keys)?,
            running: None,
            static_page: None,
            absent: Vec::new(),
            body_bytes: 0,
        })
    }

    fn set(args: &Args, cpus: Cpus) -> anyhow::Result<Self> {
        let mut stage = Self::empty(cpus, args.symbols as usize, args.keys as usize)?;
        if let Some(url) = &args.target {
            let file = args.key_file.as_deref().context("a key file is needed")?;
            stage.keys = key_of(file)?;
            stage.assets = args
                .assets
                .iter()
                .map(|name| asset(name))
                .collect::<Result<_, _>>()?;
            let (address, host, prefix) = parse_url(url)?;
            let time = args.pid.map(ProcessTime::of).transpose();
            let time = time.context("looking at the server's process")?;
            stage.running = Some(Running {
                address,
                host,
                prefix,
                time: time.map(|time| ServingTime::Processes(vec![time])),
            });
            stage.body_bytes = fetch(&stage.questions(None))?.len();
            return Ok(stage);
        }
        let (body, asset) = stage.page()?;
        stage.body_bytes = body.len();
        if !args.alone {
            match Peer::Nginx.find() {
                Some(program) => stage.static_page = Some((program, body, asset)),
                None => stage.absent.push(Peer::Nginx.absent()),
            }
        }
        Ok(stage)
    }

    /// Fills in the assets; an answer of this server, and for which asset it is right.
    fn page(&mut self) -> anyhow::Result<(String, Asset)> {
        let named = self.population.symbols.iter().enumerate();
        self.assets = named
            .map(|(symbol, name)| Asset {
                name: name.as_str().to_owned(),
                symbol: Some(symbol),
            })
            .collect();
        let asset = self.assets.last().context("there is a symbol")?.clone();
        let site = Site::start(self.cpus.serving, &self.population.symbols, &self.keys)?;
        let mut questions = self.questions(Some(site.address));
        questions.assets = vec![asset.clone()];
        let body = fetch(&questions)?;
        site.stop()?;
        Ok((body, asset))
    }

    fn questions(&self, address: Option<SocketAddr>) -> Questions {
        let (address, host, prefix) = match (&self.running, address) {
            (Some(running), None) => (running.address, running.host.clone(), running.prefix.clone()),
            (_, address) => {
                let address = address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
                (address, address.to_string(), String::new())
            }
        };
        Questions {
            address,
            host,
            prefix,
            assets: self.assets.clone(),
            keys: self.keys.texts(),
        }
    }

    /// One side, once, on fresh connections and, unless it was there before, a fresh server.
    fn measure(&self, side: Side, plan: &Plan) -> anyhow::Result<Measurement> {
        match (side, &self.static_page, &self.running) {
            (Side::Nginx, Some((program, body, asset)), _) => {
                let nginx = nginx::start(program, body, self.cpus.serving)?;
                let mut questions = self.questions(Some(nginx.address));
                questions.assets = vec![asset.clone()];
                let load = self.load(&questions, plan, Some(&nginx.time()?))?;
                Ok(Measurement::new(side, load, None))
            }
            (_, _, Some(running)) => {
                let load = self.load(&self.questions(None), plan, running.time.as_ref())?;
                Ok(Measurement::new(side, load, None))
            }
            _ => {
                let site = Site::start(self.cpus.serving, &self.population.symbols, &self.keys)?;
                let time = ServingTime::Thread(site.time.clone());
                let load = self.load(&self.questions(Some(site.address)), plan, Some(&time))?;
                Ok(Measurement::new(side, load, Some(site.stop()?)))
            }
        }
    }

    /// On a thread of its own, so that only it is pinned.
    fn load(&self, questions: &Questions, plan: &Plan, time: Option<&ServingTime>) -> anyhow::Result<Load> {
        let loading = self.cpus.loading;
        thread::scope(|scope| {
            let loader = scope.spawn(move || {
                cpus::pin(loading)?;
                client::run(questions, plan, time)
            });
            loader
                .join()
                .map_err(|_| anyhow::anyhow!("the load generator panicked"))?
        })
    }
}

/// The body of one answer, as it is.
fn fetch(questions: &Questions) -> anyhow::Result<String> {
    let Questions {
        address,
        host,
        prefix,
        assets,
        keys,
    } = questions;
    let mut stream = TcpStream::connect(address).with_context(|| format!("connecting to {address}"))?;
    stream.set_read_timeout(Some(ANSWER))?;
    let (asset, key) = (&assets[0].name, &keys[0]);
    let request =
        format!("GET {prefix}/price?asset={asset} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut reader = Reader::new();
    loop {
        let count = stream.read(reader.room()).context("waiting for an answer")?;
        if count == 0 {
            anyhow::bail!("{address} ended the connection without an answer");
        }
        reader.filled(count);
        let response = reader
            .next()
            .map_err(|why| anyhow::anyhow!("{address} answers what is no HTTP: {why}"))?;
        if let Some(response) = response {
            let body = String::from_utf8_lossy(response.body).into_owned();
            if response.status != 200 {
                anyhow::bail!("{address} answers with status {}: {body}", response.status);
            }
            return Ok(body);
        }
    }
}

fn key_of(file: &Path) -> anyhow::Result<Keys> {
    let text =
        fs::read_to_string(file).with_context(|| format!("reading the key from {}", file.display()))?;
    Keys::one(&text).with_context(|| format!("{} should hold one key, tb_live_...", file.display()))
}

fn asset(name: &str) -> anyhow::Result<Asset> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(is_plain) {
        anyhow::bail!("{name:?} is no asset: letters, digits, '-', '_' and '.' only");
    }
    Ok(Asset {
        name: name.to_owned(),
        symbol: None,
    })
}

/// Address, host as named and path of a server without TLS.
fn parse_url(url: &str) -> anyhow::Result<(SocketAddr, String, String)> {
    let rest = url
        .strip_prefix("http://")
        .with_context(|| format!("{url:?} does not begin with http://; TLS is ended before the server"))?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    if host.is_empty() || !is_visible(host) || !is_visible(path) || path.contains(['?', '#']) {
        anyhow::bail!("{url:?} is not of the form http://host:port");
    }
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let named = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut addresses = named
        .to_socket_addrs()
        .with_context(|| format!("looking {host} up"))?;
    let address = addresses
        .next()
        .with_context(|| format!("{host} has no address"))?;
    Ok((address, host.to_owned(), path.trim_end_matches('/').to_owned()))
}

fn rate(text: &str) -> Result<Rate, String> {
    let help = "give requests per second, or a share of the peak from 1% to 100%";
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    match text.strip_suffix('%') {
        Some(share) => number(share)
            .filter(|share| (1.0..=100.0).contains(share))
            .map(|share| Rate::OfPeak(share / 100.0)),
        None => number(text)
            .filter(|rate| (1.0..=1e7).contains(rate))
            .map(Rate::PerSecond),
    }
    .ok_or_else(|| help.to_owned())
}

#[cfg(test)]
mod tests;
