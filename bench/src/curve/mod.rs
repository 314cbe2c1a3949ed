//! `trinity-bench curve`: the open loop of `udp` at shares of a peak, one after the other.

mod figures;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use trinity_beast::shard::driver::DriverKind;
use trinity_protocol::MAX_ENTRIES;

pub(crate) use self::figures::{Figures, Run};
use self::report::Report;
use crate::load::{Form, Pace, Plan};
use crate::machine::Machine;
use crate::measure;
use crate::options::{CoreArgs, DriverArg, seconds};
use crate::plot::write;
use crate::popularity::Popularity;
use crate::population::Population;
use crate::progress::Steps;
use crate::stalls::{Stalls, steal};
use crate::target::{Setting, Side, Tables};

/// Options of `curve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rates to measure at, in percent of the peak that a closed loop reaches first.
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = share,
        default_values_t = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0],
    )]
    shares: Vec<f64>,
    /// How clients hand their datagrams to the kernel.
    #[arg(long, value_enum, default_value_t = Form::Plain)]
    form: Form,
    /// Symbols that each request asks for.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=MAX_ENTRIES as i64))]
    entries: u8,
    /// Requests that are due at one moment [default: 1; with gso a train].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    burst: Option<u16>,
    /// Client sockets.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    flows: u32,
    /// Keys that take turns [default: 100; with gso one a flow].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: Option<u32>,
    /// Symbols in the price table, all published, all equally likely.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Measured seconds of the peak and of each rate.
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before each measurement that do not count.
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    warm_up: f64,
    /// Seconds before all that, in which the machine's own stalls are measured (see `stalls`).
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    stall_seconds: f64,
    /// The server's driver [default: the one that `serve` would choose here].
    #[arg(long, value_enum)]
    driver: Option<DriverKind>,
    /// How long a shard looks for more before it parks, microseconds.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1_000))]
    spin_us: u32,
    /// Draw latency against throughput.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draw latency against percentiles.
    #[arg(long, value_name = "FILE")]
    percentiles_svg: Option<PathBuf>,
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// The result as a Markdown table.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    #[command(flatten)]
    cores: CoreArgs,
}

/// Measures and reports; tells whether every reply was right, and none was lost at rates that
/// must lose none.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let report = args.measure()?;
    if let Some(file) = &args.svg {
        write(file, &report.figures.throughput_svg()?)?;
    }
    if let Some(file) = &args.percentiles_svg {
        write(file, &report.figures.percentiles_svg()?)?;
    }
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
        let keys = self.keys.unwrap_or(match self.form {
            Form::Plain => 100,
            Form::Gso => self.flows,
        });
        Plan {
            form: self.form,
            entries: usize::from(self.entries),
            pace: Pace::Closed {
                window: match self.form {
                    Form::Plain => 128,
                    Form::Gso => 256,
                },
                eager: false,
            },
            flows: self.flows as usize,
            sources: 1,
            keys: keys as usize,
            popularity: Popularity::Uniform,
            warm_up: Duration::from_secs_f64(self.warm_up),
            time: Duration::from_secs_f64(self.seconds),
        }
    }

    /// The same at a constant rate, requests per second.
    fn at(&self, rate: f64) -> Plan {
        let plan = self.plan();
        let usual = match self.form {
            Form::Plain => 1,
            Form::Gso => plan.batch(),
        };
        Plan {
            pace: Pace::Open {
                rate: rate.max(1.0),
                burst: self.burst.map_or(usual, usize::from),
            },
            ..plan
        }
    }

    fn measure(&self) -> anyhow::Result<Report> {
        let cores = self.cores.pick()?;
        let (driver, _) = DriverArg::one(self.driver).pick()?;
        let side = Side::Server(Setting {
            spin: Duration::from_micros(self.spin_us.into()),
            ..Setting::of(driver)
        });
        let closed = self.plan();
        let population = Population::new(closed.keys, self.symbols as usize)?;
        let mut machine = Machine::look(cores.serving[0], cores.loading)?;
        machine.drivers = vec![driver.to_string()];
        let progress = Steps::new(2 + self.shares.len());

        let stalls = Stalls::measure(
            &[cores.serving[0], cores.loading],
            Duration::from_secs_f64(self.stall_seconds),
        )?;
        progress.step(&stalls.line());
        let peak = measure::side(side, &closed, &population, &Tables::new(&population)?, &cores)?;
        progress.step(&format!("peak: {}", peak.line()));
        machine.receive_buffer_bytes = peak.receive_buffer_bytes.unwrap_or_default();
        machine.send_buffer_bytes = peak.send_buffer_bytes.unwrap_or_default();

        let mut runs = Vec::new();
        for share in &self.shares {
            let rate = peak.requests_per_second * share / 100.0;
            let plan = self.at(rate);
            let tables = Tables::new(&population)?;
            let before = steal::since_boot(None);
            let (measured, latency) = measure::side_with_latency(side, &plan, &population, &tables, &cores)?;
            let stolen = steal::since_boot(None)
                .zip(before)
                .map(|(after, before)| after.saturating_sub(before));
            progress.step(&format!("{share} %: {}", measured.line()));
            machine.receive_drops += measured.account.map_or(0, |account| account.receive_drops);
            runs.push(Run::new(*share, rate, measured, &latency, stolen));
        }
        progress.finish();
        Ok(Report::new(
            &closed,
            population.symbols.len(),
            peak,
            stalls,
            runs,
            machine,
        ))
    }
}

/// A share of the peak, percent.
fn share(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse() {
        Ok(share) if (0.1..=200.0).contains(&share) => Ok(share),
        _ => Err("give percent of the peak, from 0.1 to 200".into()),
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
        Line::try_parse_from(std::iter::once("curve").chain(line.split_ascii_whitespace()))
            .map(|line| line.args)
    }

    #[test]
    fn shares_are_percent_and_trains_are_due_as_a_whole() {
        let args = parse("--shares 5,50%,95 --form gso --entries 31").expect("complete");
        assert_eq!(args.shares, [5.0, 50.0, 95.0]);
        let open = Pace::Open {
            rate: 100.0,
            burst: 62,
        };
        assert_eq!((args.at(100.0).pace, args.plan().keys), (open, 8));
        for wrong in ["--shares 0", "--shares x", "--shares 50,-1", "--json --markdown"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_rate_is_measured_with_right_replies_and_can_be_drawn_again_from_the_json() {
        let line =
            "--shares 5,50 --stall-seconds 0.1 --seconds 0.2 --warm-up 0.05 --symbols 20 --keys 5 --flows 3";
        let report = parse(line).expect("complete").measure().expect("measured");
        let json = serde_json::to_string(&report).expect("written");
        let read: Figures = serde_json::from_str(&json).expect("read");
        assert_eq!(read.runs.len(), 2);
        assert!(read.runs.iter().all(|run| run.verified > 0), "{json}");
        let (drawn, again) = (report.figures.throughput_svg(), read.throughput_svg());
        assert_eq!(drawn.expect("drawn"), again.expect("drawn"));
        assert!(
            read.percentiles_svg()
                .expect("drawn")
                .contains("50 % of the peak")
        );
    }
}
