//! `trinity-bench compare`: the sides take turns on the same two cores, round after round.

mod lineup;
mod peers;
mod ratio;
mod report;
mod scenario;

use std::time::Duration;

use self::lineup::{Lineup, Setup};
use self::report::Report;
use self::scenario::Scenario;
use crate::machine::Machine;
use crate::options::{CoreArgs, DriverArg, seconds};
use crate::progress::Steps;
use crate::stalls::Stalls;

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// Scenarios to measure [default: all but open, capped and flood].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Rounds; in each every side is measured once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Measured seconds of each side and round.
    #[arg(long, default_value_t = 1.5, value_parser = seconds)]
    seconds: f64,
    /// Seconds before each measurement that do not count.
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    warm_up: f64,
    /// Seconds before `open` and `capped`, in which the machine's own stalls are measured (see `stalls`).
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    stall_seconds: f64,
    /// Which of the server's drivers.
    #[arg(long, value_enum, default_value_t = DriverArg::All)]
    driver: DriverArg,
    /// Symbols in the price table, all published, all equally likely.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    symbols: u32,
    /// Keys of the plain clients that ask for one symbol; others have one key on each flow.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=30_000))]
    keys: u32,
    /// Client sockets.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    flows: u32,
    /// Requests outstanding on each client socket; twice as many where clients send trains.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=2_048))]
    window: u32,
    #[command(flatten)]
    cores: CoreArgs,
}

/// Measures and reports; tells whether every reply was right and accounted for, and every
/// promise kept.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let cores = args.cores.pick()?;
    let (default_driver, drivers) = args.driver.pick()?;
    let machine = Machine::look(cores.serving[0], cores.loading)?;
    let setup = Setup {
        cores: cores.clone(),
        drivers,
        default_driver,
        symbols: args.symbols as usize,
        keys: args.keys as usize,
        flows: args.flows as usize,
        window: args.window as usize,
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    let mut lineup = line_up(&setup, &args.only)?;

    let progress = Steps::new(args.rounds as usize * lineup.contestants.len());
    let open_loops = args.only.iter().any(|scenario| scenario.is_open_loop());
    let stalls = open_loops.then(|| {
        let time = Duration::from_secs_f64(args.stall_seconds);
        Stalls::measure(&[cores.serving[0], cores.loading], time)
    });
    let stalls = stalls.transpose()?;
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut measured = Vec::new();
        for contestant in &lineup.contestants {
            let mut measurement = (contestant.measure)(&cores)?;
            measurement.side.clone_from(&contestant.name);
            progress.step(&format!("round {}: {}", round + 1, measurement.line()));
            measured.push(measurement);
        }
        rounds.push(measured);
        // The next round runs the other way, so that a machine that slows down or speeds up
        // favours nobody.
        lineup.contestants.reverse();
    }
    progress.finish();

    let report = Report::new(&setup, &lineup.rules, rounds, stalls, machine);
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(report.is_clean())
}

/// The scenarios that were named, or the usual ones.
fn line_up(setup: &Setup, only: &[Scenario]) -> anyhow::Result<Lineup> {
    let mut lineup = Lineup::default();
    let scenarios = if only.is_empty() { &Scenario::USUAL } else { only };
    for scenario in scenarios {
        scenario.line_up(setup, &mut lineup)?;
    }
    Ok(lineup)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum;
    use trinity_beast::shard::driver::cpus;

    use super::*;
    use crate::measure::Cores;

    fn setup() -> Setup {
        let (default_driver, drivers) = DriverArg::All.pick().expect("epoll always works");
        let allowed = cpus::allowed().expect("readable");
        Setup {
            cores: Cores {
                serving: vec![allowed[0]],
                loading: *allowed.last().expect("at least one"),
            },
            drivers,
            default_driver,
            symbols: 20,
            keys: 5,
            flows: 3,
            window: 16,
            warm_up: Duration::from_millis(20),
            time: Duration::from_millis(80),
        }
    }

    #[test]
    fn every_side_answers_every_request_rightly_and_the_accounts_add_up() {
        let setup = setup();
        let lineup = line_up(&setup, &Scenario::USUAL).expect("made");
        for contestant in &lineup.contestants {
            let measured = (contestant.measure)(&setup.cores).expect("measured");
            // That something was answered at all is among what it checks.
            assert!(measured.faults.is_empty(), "{}: {measured:?}", contestant.name);
        }
    }

    #[test]
    fn open_loops_and_floods_leave_every_verified_reply_right() {
        let setup = setup();
        let only = [Scenario::Open, Scenario::Capped, Scenario::Flood];
        let lineup = line_up(&setup, &only).expect("made");
        for contestant in &lineup.contestants {
            let measured = (contestant.measure)(&setup.cores).expect("measured");
            let tally = &measured.tally;
            assert!(tally.verified > 0, "{}: {measured:?}", contestant.name);
            let wrong = [
                tally.bad_tags,
                tally.bad_prices,
                tally.sequence_back,
                tally.unexpected,
            ];
            assert_eq!(wrong, [0; 4], "{}: {measured:?}", contestant.name);
            // What a busy machine loses is a fault of the others.
            let may_lose = !contestant.name.starts_with("flood/");
            assert!(may_lose || measured.faults.is_empty(), "{measured:?}");
        }
    }

    #[test]
    fn every_rule_names_two_contestants_and_every_promised_ratio_is_there() {
        let lineup = line_up(&setup(), Scenario::value_variants()).expect("made");
        let names: BTreeSet<_> = lineup.contestants.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names.len(), lineup.contestants.len());
        for rule in &lineup.rules {
            assert!(
                names.contains(&*rule.above) && names.contains(&*rule.below),
                "{rule:?}"
            );
        }
        let ratios: BTreeSet<_> = lineup
            .rules
            .iter()
            .filter_map(|rule| rule.also.as_deref())
            .collect();
        for promised in [
            "udp_plain_vs_echo",
            "udp_gso_vs_echo",
            "udp_batch_prices_vs_echo",
            "udp_gso_batch_prices_vs_echo",
            "rtt_p50_vs_blocking_echo",
            "rtt_p50_spin_vs_blocking_echo",
        ] {
            assert!(ratios.contains(promised), "{promised}");
        }
    }
}
