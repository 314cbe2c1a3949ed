//! `trinity-bench compare`: the sides take turns on the same two cores, round after round.

mod report;

use std::time::Duration;

use self::report::Report;
use crate::load::{Form, Pace, Plan};
use crate::machine::Machine;
use crate::measure;
use crate::options::{CoreArgs, DriverArg, seconds};
use crate::popularity::Popularity;
use crate::population::Population;
use crate::progress::Steps;
use crate::target::{Setting, Side, Tables};

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
    #[command(flatten)]
    cores: CoreArgs,
}

/// Measures and reports; tells whether every reply was right and accounted for.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let cores = args.cores.pick()?;
    let (default_driver, drivers) = args.driver.pick()?;
    let machine = Machine::look(cores.serving[0], cores.loading)?;
    let plan = Plan {
        form: Form::Plain,
        entries: 1,
        pace: Pace::Closed {
            window: args.window as usize,
            eager: false,
        },
        flows: args.flows as usize,
        sources: 1,
        keys: args.keys as usize,
        popularity: Popularity::Uniform,
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    let population = Population::new(args.keys as usize, args.symbols as usize)?;

    let mut sides = vec![Side::Echo];
    sides.extend(drivers.iter().map(|driver| Side::Server(Setting::of(*driver))));
    let progress = Steps::new(args.rounds as usize * sides.len());
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut measured = Vec::new();
        for side in &sides {
            let tables = Tables::new(&population)?;
            let measurement = measure::side(*side, &plan, &population, &tables, &cores)?;
            progress.step(&format!("round {}: {}", round + 1, measurement.line()));
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

#[cfg(test)]
mod tests {
    use trinity_beast::shard::driver::cpus;

    use super::*;
    use crate::measure::Cores;

    #[test]
    fn every_side_answers_every_request_rightly_and_the_accounts_add_up() {
        let allowed = cpus::allowed().expect("readable");
        let cores = Cores {
            serving: vec![allowed[0]],
            loading: *allowed.last().expect("at least one"),
        };
        let plan = Plan {
            form: Form::Plain,
            entries: 1,
            pace: Pace::Closed {
                window: 16,
                eager: false,
            },
            flows: 3,
            sources: 1,
            keys: 5,
            popularity: Popularity::Uniform,
            warm_up: Duration::from_millis(20),
            time: Duration::from_millis(100),
        };
        let population = Population::new(5, 20).expect("drawn");
        let (_, drivers) = DriverArg::All.pick().expect("epoll always works");
        let server = |driver| Side::Server(Setting::of(driver));
        let echoes = drivers
            .iter()
            .copied()
            .map(Side::BlockingEcho)
            .chain([Side::Echo]);
        let sides: Vec<_> = drivers.iter().copied().map(server).chain(echoes).collect();
        for side in sides {
            for (form, entries) in [
                (Form::Plain, 1),
                (Form::Plain, 31),
                (Form::Gso, 1),
                (Form::Gso, 31),
            ] {
                let plan = Plan {
                    form,
                    entries,
                    ..plan.clone()
                };
                let tables = Tables::new(&population).expect("made");
                let measured = measure::side(side, &plan, &population, &tables, &cores).expect("measured");
                // That something was answered at all is among what it checks.
                assert!(measured.faults.is_empty(), "{measured:?}");
            }
        }
    }
}
