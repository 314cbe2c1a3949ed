//! `trinity-bench udp`: load over UDP, on this server or on one that runs elsewhere.

mod report;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use trinity_beast::shard::driver::DriverKind;
use trinity_protocol::{ApiKey, MAX_ENTRIES, Symbol};

use self::report::Report;
use crate::load::{Form, Pace, Plan};
use crate::machine::Machine;
use crate::measure;
use crate::options::{CoreArgs, DriverArg, seconds};
use crate::popularity::Popularity;
use crate::population::Population;
use crate::progress::Timed;
use crate::target::{Setting, Side, Tables};

/// Options of `udp`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How clients hand their datagrams to the kernel.
    #[arg(long, value_enum, default_value_t = Form::Plain)]
    form: Form,
    /// Symbols that each request asks for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=MAX_ENTRIES as i64))]
    entries: u8,
    /// Send when replies make room (closed), or at a constant rate (open).
    #[arg(long = "loop", value_enum, default_value_t = LoopArg::Closed)]
    shape: LoopArg,
    /// Requests per second over all flows; for the open loop.
    #[arg(long, required_if_eq("shape", "open"), value_parser = rate)]
    rate: Option<f64>,
    /// Requests that are due at one moment of the open loop [default: 1; with gso a train].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    burst: Option<u16>,
    /// Client sockets.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    flows: u32,
    /// Loopback addresses that each socket sends from in turn; plain form only.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    sources: u32,
    /// Requests outstanding on each client socket in the closed loop [default: 128; with gso 256].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    window: Option<u32>,
    /// Keys of the server, of which at most 30,000 take turns [default: 100; with gso one a flow].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    keys: Option<u32>,
    /// Symbols in the price table, all published.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Ask for the n-th symbol n^-S times as often as for the first, instead of equally often.
    #[arg(long, value_name = "S", value_parser = exponent)]
    zipf: Option<f64>,
    /// Measured seconds.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before the measurement that do not count.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// The server's driver [default: the one that `serve` would choose here].
    #[arg(long, value_enum)]
    driver: Option<DriverKind>,
    /// Shards of the server.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    shards: u8,
    /// How long a shard looks for more before it parks, microseconds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    spin_us: u32,
    /// Receive buffer that the server asks for, bytes, instead of its own wish.
    #[arg(long, value_parser = clap::value_parser!(u32).range(4_096..))]
    receive_buffer: Option<u32>,
    /// Load a server that runs already. Its own time is not measured then.
    #[arg(
        long,
        value_name = "HOST:PORT",
        requires_all = ["key_file", "symbols_list"],
        conflicts_with_all = ["keys", "symbols", "driver", "shards", "spin_us", "receive_buffer", "serving_cpu"],
    )]
    target: Option<String>,
    /// File with the API key for that server.
    #[arg(long, requires = "target")]
    key_file: Option<PathBuf>,
    /// Symbols to ask that server for, and no others.
    #[arg(long, requires = "target", value_name = "A,B,C", value_delimiter = ',')]
    symbols_list: Vec<String>,
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// The result as a Markdown table.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    cores: CoreArgs,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum LoopArg {
    /// When replies make room for them.
    Closed,
    /// At a constant rate, whatever the server does.
    Open,
}

/// Most keys that take turns: a usage page of a shard has a row for each key and second, 32,768
/// in all, and pages circulate once a second. A shard that has more customers than that within a
/// second sheds.
pub(crate) const ACTIVE_KEYS: usize = 30_000;

/// Measures and reports; tells whether every reply was right.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let plan = args.plan();
    let progress = Timed::start(plan.warm_up + plan.time);
    let measured = match &args.target {
        Some(target) => args.measure_foreign(target, plan),
        None => args.measure_own(plan),
    };
    progress.finish();
    let report = measured?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if args.markdown {
        print!("{}", report.markdown());
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}

impl Args {
    fn plan(&self) -> Plan {
        let mut plan = Plan {
            form: self.form,
            entries: usize::from(self.entries),
            pace: Pace::Closed {
                window: self.window.unwrap_or(match self.form {
                    Form::Plain => 128,
                    Form::Gso => 256,
                }) as usize,
                eager: self.flows == 1 && self.window == Some(1),
            },
            flows: self.flows as usize,
            sources: self.sources as usize,
            keys: self.keys().min(ACTIVE_KEYS),
            popularity: self.zipf.map_or(Popularity::Uniform, |s| Popularity::Zipf { s }),
            warm_up: Duration::from_secs_f64(self.warm_up),
            time: Duration::from_secs_f64(self.seconds),
        };
        if let (LoopArg::Open, Some(rate)) = (self.shape, self.rate) {
            let usual = match self.form {
                Form::Plain => 1,
                Form::Gso => plan.batch(),
            };
            plan.pace = Pace::Open {
                rate,
                burst: self.burst.map_or(usual, usize::from),
            };
        }
        plan
    }

    fn keys(&self) -> usize {
        if self.target.is_some() {
            return 1;
        }
        self.keys.unwrap_or(match self.form {
            Form::Plain => 100,
            Form::Gso => self.flows,
        }) as usize
    }

    fn measure_own(&self, plan: Plan) -> anyhow::Result<Report> {
        let cores = self.cores.pick()?;
        let (driver, _) = DriverArg::one(self.driver).pick()?;
        let side = Side::Server(Setting {
            driver,
            spin: Duration::from_micros(self.spin_us.into()),
            receive_buffer: self.receive_buffer.map(|bytes| bytes as usize),
            shards: usize::from(self.shards),
        });
        let population = Population::new(self.keys(), self.symbols as usize)?;
        let tables = Tables::new(&population)?;
        let mut machine = Machine::look(cores.serving[0], cores.loading)?;
        let measurement = measure::side(side, &plan, &population, &tables, &cores)?;
        machine.drivers = vec![driver.to_string()];
        Ok(Report::new(
            measurement,
            plan,
            machine,
            self.keys(),
            population.symbols.len(),
        ))
    }

    fn measure_foreign(&self, target: &str, plan: Plan) -> anyhow::Result<Report> {
        let address = resolve(target)?;
        let key = read_key(self.key_file.as_deref().context("--target needs --key-file")?)?;
        let symbols = self
            .symbols_list
            .iter()
            .map(|name| Symbol::from_any_case(name).with_context(|| format!("--symbols-list: {name:?}")))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let population = Population::of(&key, symbols);
        let loading = self.cores.loading_only()?;
        let machine = Machine::look(None, loading)?;
        let measurement = measure::foreign(address, &plan, &population, loading)?;
        Ok(Report::new(
            measurement,
            plan,
            machine,
            1,
            population.symbols.len(),
        ))
    }
}

fn resolve(target: &str) -> anyhow::Result<SocketAddr> {
    target
        .to_socket_addrs()
        .with_context(|| format!("--target {target}: give HOST:PORT"))?
        .next()
        .with_context(|| format!("--target {target}: the name has no address"))
}

/// Says of the file's contents no more than what is wrong with them.
fn read_key(path: &Path) -> anyhow::Result<ApiKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.trim()
        .parse()
        .with_context(|| format!("{} does not hold an API key", path.display()))
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if (1.0..=1e9).contains(&rate) => Ok(rate),
        _ => Err("give requests per second, 1 or more".into()),
    }
}

fn exponent(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(s) if (0.01..=10.0).contains(&s) => Ok(s),
        _ => Err("give an exponent from 0.01 to 10; 1 is Zipf's own".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Line::try_parse_from(std::iter::once("udp").chain(line.split_ascii_whitespace()))
            .map(|line| line.args)
    }

    #[test]
    fn an_open_loop_needs_its_rate_and_a_running_server_its_key_and_symbols() {
        assert!(parse("--loop open").is_err());
        assert!(parse("--target 127.0.0.1:1 --key-file f").is_err());
        assert!(parse("--target 127.0.0.1:1 --key-file f --symbols-list A --keys 3").is_err());
        assert!(parse("--key-file f").is_err());
        let args = parse("--target 127.0.0.1:1 --key-file f --symbols-list A,B").expect("complete");
        assert_eq!((args.symbols_list.len(), args.plan().keys), (2, 1));
    }

    #[test]
    fn trains_are_of_one_key_a_flow_and_due_as_a_whole() {
        let plan = parse("--form gso --entries 31 --loop open --rate 1000")
            .expect("complete")
            .plan();
        assert_eq!((plan.keys, plan.flows), (8, 8));
        assert_eq!(
            plan.pace,
            Pace::Open {
                rate: 1_000.0,
                burst: 62
            }
        );
        let plan = parse("--keys 1000000").expect("complete").plan();
        assert_eq!((plan.keys, plan.datagram_bytes()), (ACTIVE_KEYS, 80));
    }

    #[test]
    fn a_bad_key_file_is_named_but_not_quoted() {
        let file = tempfile::NamedTempFile::new().expect("made");
        std::fs::write(file.path(), "tb_live_NOTAKEY").expect("written");
        let error = format!("{:#}", read_key(file.path()).expect_err("no key"));
        assert!(
            error.contains(&file.path().display().to_string()) && !error.contains("NOTAKEY"),
            "{error}"
        );
    }
}
