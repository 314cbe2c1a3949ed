//! `trinity-bench compare`: the sides take turns on the same two cores, round after round.

mod report;

use std::io::IsTerminal;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use trinity_beast::shard::driver::{DriverChoice, DriverKind, choose, cpus, probe};

use self::report::{Measurement, Report};
use crate::load::{self, Expected, Plan};
use crate::machine::Machine;
use crate::population::Population;
use crate::target::{Side, Target};

/// Options of `compare`.
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
    /// Which of the server's drivers.
    #[arg(long, value_enum, default_value_t = DriverArg::All)]
    driver: DriverArg,
    /// Symbols in the price table, all published; each request asks for one of them.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Keys that take turns.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: u32,
    /// Client sockets.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    flows: u32,
    /// Requests outstanding on each client socket.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    window: u32,
    /// CPU that serves; the first this process may use unless said otherwise.
    #[arg(long)]
    serving_cpu: Option<usize>,
    /// CPU that loads; the second.
    #[arg(long)]
    loading_cpu: Option<usize>,
}

/// Which drivers to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum DriverArg {
    /// poll(2).
    Epoll,
    /// io_uring; an error where it does not work.
    Glommio,
    /// Every driver that works here.
    All,
}

/// Measures and reports; tells whether every reply was right and accounted for.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let allowed = cpus::allowed()?;
    let pick = |wish: Option<usize>, position: usize| match wish {
        Some(cpu) if !allowed.contains(&cpu) => {
            anyhow::bail!("CPU {cpu} is not among those this process may use: {allowed:?}")
        }
        Some(cpu) => Ok(cpu),
        None => allowed.get(position).copied().context(
            "one CPU serves and one loads, but this process may use one only: allow it a second one",
        ),
    };
    let (serving, loading) = (pick(args.serving_cpu, 0)?, pick(args.loading_cpu, 1)?);
    if serving == loading {
        anyhow::bail!("CPU {serving} cannot serve and load: choose two CPUs");
    }
    let (default_driver, drivers) = drivers(args.driver)?;
    let machine = Machine::look(serving, loading)?;
    let plan = Plan {
        flows: args.flows as usize,
        window: args.window as usize,
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    let population = Population::new(args.keys as usize, args.symbols as usize)?;

    let mut sides = vec![Side::Echo];
    sides.extend(drivers.iter().copied().map(Side::Server));
    let progress = Progress::new(args.rounds as usize * sides.len());
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut measured = Vec::new();
        for side in &sides {
            let measurement = measure(*side, &plan, &population, serving, loading)?;
            progress.step(round, &measurement);
            measured.push(measurement);
        }
        rounds.push(measured);
        // The next round runs the other way, so that a machine that slows down or speeds up
        // favours nobody.
        sides.reverse();
    }
    progress.finish();

    let report = Report::new(
        default_driver,
        &drivers,
        rounds,
        machine,
        plan,
        args.keys,
        args.symbols,
    );
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}

/// The driver that `serve` would take here (or the one asked for), and those to measure.
fn drivers(wish: DriverArg) -> anyhow::Result<(DriverKind, Vec<DriverKind>)> {
    Ok(match wish {
        DriverArg::Epoll => (DriverKind::Epoll, vec![DriverKind::Epoll]),
        DriverArg::Glommio => {
            probe::io_uring()?;
            (DriverKind::Glommio, vec![DriverKind::Glommio])
        }
        DriverArg::All => {
            let chosen = choose(DriverChoice::Auto, probe::io_uring)?;
            if chosen.kind == DriverKind::Epoll {
                eprintln!("only the epoll driver is measured: {}", chosen.why);
                (chosen.kind, vec![DriverKind::Epoll])
            } else {
                (chosen.kind, vec![DriverKind::Epoll, DriverKind::Glommio])
            }
        }
    })
}

/// One side, once, on fresh sockets and fresh tables.
fn measure(
    side: Side,
    plan: &Plan,
    population: &Population,
    serving: usize,
    loading: usize,
) -> anyhow::Result<Measurement> {
    let target = Target::start(side, serving, population)?;
    let expected = if side == Side::Echo {
        Expected::Echo
    } else {
        Expected::Price
    };
    let (address, time) = (target.address, target.time.clone());
    // A thread of its own, so that only it is pinned.
    let load = thread::scope(|scope| {
        let loader = scope.spawn(move || {
            cpus::pin(loading)?;
            load::run(address, expected, plan, population, &time)
        });
        loader.join()
    });
    let granted = target.granted;
    let account = target.stop()?;
    let load = load.map_err(|_| anyhow::anyhow!("the load generator panicked"))??;
    Ok(Measurement::new(side, &load, account, granted))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.05 to 3600".into()),
    }
}

/// A bar on a terminal, lines elsewhere; always on standard error.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(steps as u64);
            if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    fn step(&self, round: u32, measurement: &Measurement) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(measurement.line());
                bar.inc(1);
            }
            None => eprintln!("round {}: {}", round + 1, measurement.line()),
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Plan = Plan {
        flows: 3,
        window: 16,
        warm_up: Duration::from_millis(20),
        time: Duration::from_millis(100),
    };

    #[test]
    fn every_side_answers_every_request_rightly_and_the_accounts_add_up() {
        let allowed = cpus::allowed().expect("readable");
        let (serving, loading) = (allowed[0], *allowed.last().expect("at least one"));
        let population = Population::new(5, 20).expect("drawn");
        let (_, drivers) = drivers(DriverArg::All).expect("epoll always works");
        let sides = drivers.into_iter().map(Side::Server).chain([Side::Echo]);
        for side in sides {
            let measured = measure(side, &QUICK, &population, serving, loading).expect("measured");
            // That something was answered at all is among what it checks.
            assert!(measured.faults().is_empty(), "{measured:?}");
        }
    }
}
