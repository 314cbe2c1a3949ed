//! `trinity-bench peers`: what others reach on these cores.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::workload::{PeerMeasurement, Workload};
use super::{Cpus, Peer, PeerPlan};
use crate::machine::Machine;
use crate::measure::Limit;
use crate::options::{command, seconds};
use crate::progress::Steps;
use crate::stats::Spread;

/// Options of `peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// Only these, parted by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Peer>,
    /// Rounds; in each every workload is measured once, at the depth that was best before.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Measured seconds of each workload and round. dnsperf takes whole ones.
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    seconds: f64,
    /// Seconds before each measurement that do not count.
    #[arg(long, default_value_t = 0.3, value_parser = seconds)]
    warm_up: f64,
    /// Keys in the caches, names in the zone.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    symbols: u32,
    /// CPU that serves; the first this process may use unless said otherwise.
    #[arg(long)]
    serving_cpu: Option<usize>,
    /// CPU that loads; the second.
    #[arg(long)]
    loading_cpu: Option<usize>,
}

/// Everything of one run.
#[derive(Debug, Serialize)]
struct Report {
    medians: BTreeMap<Workload, Medians>,
    /// Requests per second by depth, of the search for the best one.
    depths: BTreeMap<Workload, BTreeMap<usize, f64>>,
    rounds: Vec<Vec<PeerMeasurement>>,
    /// Peers that are not installed, and how they could be.
    absent: BTreeMap<Peer, String>,
    machine: Machine,
    plan: PeerPlan,
    command: String,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Medians {
    depth: usize,
    requests_per_second: Spread,
    values_per_second: Spread,
    server_cpu_ns_per_request: Spread,
    /// Of all rounds.
    limited_by_server: usize,
    lost: u64,
}

/// Time of each depth's trial.
const TRIAL: Duration = Duration::from_secs(1);

/// Measures and reports. A wrong answer is an error; a peer that is not there is not.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let cpus = Cpus::choose(args.serving_cpu, args.loading_cpu)?;
    let machine = Machine::look(cpus.serving, cpus.loading)?;
    let plan = PeerPlan {
        cpus,
        symbols: args.symbols as usize,
        warm_up: Duration::from_secs_f64(args.warm_up),
        time: Duration::from_secs_f64(args.seconds),
    };
    let mut absent = BTreeMap::new();
    let mut present = Vec::new();
    for workload in Workload::ALL {
        let peer = workload.peer();
        if !args.only.is_empty() && !args.only.contains(&peer) {
            continue;
        }
        match peer.find() {
            Some(program) => present.push((workload, program)),
            None => _ = absent.insert(peer, peer.absent()),
        }
    }
    let tries: usize = present.iter().map(|(workload, _)| workload.depths().len()).sum();
    let progress = Steps::new(tries + present.len() * args.rounds as usize);
    let mut depths = BTreeMap::new();
    let mut best = BTreeMap::new();
    for (workload, program) in &present {
        let trial = PeerPlan {
            time: TRIAL.min(plan.time),
            ..plan
        };
        let mut rates = BTreeMap::new();
        let found = workload.best(program, &trial, |tried| {
            progress.step(&format!("trial: {}", tried.line()));
            rates.insert(tried.depth, tried.requests_per_second);
        })?;
        best.insert(*workload, found.depth);
        depths.insert(*workload, rates);
    }
    let mut rounds = Vec::new();
    for round in 0..args.rounds {
        let mut measured = Vec::new();
        for (workload, program) in &present {
            let measurement = workload.measure(program, best[workload], &plan)?;
            progress.step(&format!("round {}: {}", round + 1, measurement.line()));
            measured.push(measurement);
        }
        rounds.push(measured);
        // So that a machine that slows down or speeds up favours nobody.
        present.reverse();
    }
    progress.finish();
    let report = Report {
        medians: medians(&rounds),
        depths,
        rounds,
        absent,
        machine,
        plan,
        command: command(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(true)
}

fn medians(rounds: &[Vec<PeerMeasurement>]) -> BTreeMap<Workload, Medians> {
    let mut by_workload = BTreeMap::<_, Vec<_>>::new();
    for measurement in rounds.iter().flatten() {
        by_workload
            .entry(measurement.workload)
            .or_default()
            .push(measurement);
    }
    let median = |all: Vec<&PeerMeasurement>| {
        let of = |what: fn(&PeerMeasurement) -> f64| Spread::of(all.iter().map(|m| what(m)));
        Some(Medians {
            depth: all.first()?.depth,
            requests_per_second: of(|m| m.requests_per_second)?,
            values_per_second: of(|m| m.values_per_second)?,
            server_cpu_ns_per_request: of(|m| m.server_cpu_ns_per_request)?,
            limited_by_server: all.iter().filter(|m| m.limit == Limit::Server).count(),
            lost: all.iter().map(|m| m.lost).sum(),
        })
    };
    by_workload
        .into_iter()
        .filter_map(|(workload, all)| Some((workload, median(all)?)))
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.line())?;
        writeln!(
            f,
            "{} symbols, medians of {} rounds\n",
            self.plan.symbols,
            self.rounds.len()
        )?;
        writeln!(
            f,
            "{:<18} {:>5} {:>12} {:>12} {:>25} {:>18} {:>9} {:>6}",
            "workload",
            "depth",
            "requests/s",
            "values/s",
            "range of values/s",
            "server ns/request",
            "saturated",
            "lost"
        )?;
        for (workload, m) in &self.medians {
            let values = m.values_per_second;
            writeln!(
                f,
                "{workload:<18} {:>5} {:>12.0} {:>12.0} {:>25} {:>18.0} {:>9} {:>6}",
                m.depth,
                m.requests_per_second.median,
                values.median,
                format!("{:.0} to {:.0}", values.min, values.max),
                m.server_cpu_ns_per_request.median,
                format!("{} of {}", m.limited_by_server, self.rounds.len()),
                m.lost
            )?;
        }
        for absent in self.absent.values() {
            writeln!(f, "absent: {absent}")?;
        }
        Ok(())
    }
}
