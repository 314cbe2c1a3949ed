//! What `compare` says: per side and round, and as ratios.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::lineup::{Rule, Setup};
use super::ratio::Ratio;
use crate::machine::Machine;
use crate::measure::{Limit, Measurement};
use crate::options::command;
use crate::stalls::Stalls;
use crate::stats::Spread;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Medians over the rounds, of the default driver under their bare names.
    ratios: BTreeMap<String, f64>,
    /// Of each ratio, what was the limit: of `loader`, it is one of serving CPU times.
    limits: BTreeMap<String, Limit>,
    /// The same with their range.
    spread: BTreeMap<String, Ratio>,
    /// Of `udp_plain_vs_echo`, if it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    default_driver: String,
    medians: BTreeMap<String, Medians>,
    /// What the two CPUs did to whoever ran there before the first round, if open loops are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    stalls: Option<Stalls>,
    rounds: Vec<Round>,
    faults: Vec<String>,
    machine: Machine,
    flows: usize,
    window: usize,
    keys: usize,
    symbols: usize,
    warm_up_seconds: f64,
    seconds: f64,
    command: String,
}

#[derive(Debug, Serialize)]
struct Medians {
    requests_per_second: f64,
    prices_per_second: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_ns_per_request: Option<f64>,
    loader_cpu_ns_per_request: f64,
    latency_p50_us: f64,
    latency_p99_9_us: f64,
    /// Of an open loop: what the machine's own stalls keep that above.
    #[serde(skip_serializing_if = "Option::is_none")]
    floor_p99_9_us: Option<f64>,
    lost: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_cpu_ns_per_datagram: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Round {
    sides: Vec<Measurement>,
}

/// Whether a contestant's latencies count from the moment a request was due.
fn is_open_loop(side: &str) -> bool {
    side.starts_with("open/") || side.starts_with("capped/")
}

impl Medians {
    fn of(side: &str, rounds: &[Vec<Measurement>], stalls: Option<&Stalls>) -> Self {
        let some = |what: fn(&Measurement) -> Option<f64>| {
            let values = rounds.iter().flatten().filter(|m| m.side == *side);
            Spread::of(values.filter_map(what)).map(|spread| spread.median)
        };
        let of = |what| some(what).unwrap_or_default();
        Self {
            requests_per_second: of(|m| Some(m.requests_per_second)),
            prices_per_second: of(|m| Some(m.prices_per_second)),
            server_cpu_ns_per_request: some(|m| m.server_cpu_ns_per_request),
            loader_cpu_ns_per_request: of(|m| Some(m.loader_cpu_ns_per_request)),
            latency_p50_us: of(|m| Some(m.latency_us.p50)),
            latency_p99_9_us: of(|m| Some(m.latency_us.p99_9)),
            floor_p99_9_us: stalls
                .filter(|_| is_open_loop(side))
                .map(|stalls| stalls.floor_us.p99_9),
            lost: of(|m| Some(m.tally.lost as f64)),
            server_cpu_ns_per_datagram: some(|m| m.server_cpu_ns_per_datagram),
        }
    }
}

impl Report {
    pub(super) fn new(
        setup: &Setup,
        rules: &[Rule],
        rounds: Vec<Vec<Measurement>>,
        stalls: Option<Stalls>,
        mut machine: Machine,
    ) -> Self {
        let smallest = |of: fn(&Measurement) -> Option<usize>| {
            rounds.iter().flatten().filter_map(of).min().unwrap_or_default()
        };
        machine.drivers = setup.drivers.iter().map(ToString::to_string).collect();
        machine.receive_buffer_bytes = smallest(|m| m.receive_buffer_bytes);
        machine.send_buffer_bytes = smallest(|m| m.send_buffer_bytes);
        let accounts = rounds.iter().flatten().filter_map(|m| m.account);
        machine.receive_drops = accounts.map(|account| account.receive_drops).sum();

        let (mut ratios, mut limits, mut spread) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut faults: Vec<_> = rounds
            .iter()
            .enumerate()
            .flat_map(|(round, sides)| sides.iter().map(move |side| (round, side)))
            .flat_map(|(round, side)| {
                let tell = move |fault| format!("round {}, {}: {fault}", round + 1, side.side);
                side.faults.iter().map(tell)
            })
            .collect();
        for rule in rules {
            let Some(ratio) = Ratio::of(rule, &rounds) else {
                continue;
            };
            for name in rule.also.iter().chain([&rule.name]) {
                ratios.insert(name.clone(), ratio.value());
                if let Some(limit) = ratio.limit {
                    limits.insert(name.clone(), limit);
                }
            }
            if let Some(least) = rule.at_least.filter(|least| ratio.value() < *least) {
                faults.push(format!("{} is {:.3}, below {least}", rule.name, ratio.value()));
            }
            spread.insert(rule.name.clone(), ratio);
        }
        let sides = rounds.iter().flatten().map(|m| &m.side);
        let medians = sides
            .map(|side| (side.clone(), Medians::of(side, &rounds, stalls.as_ref())))
            .collect();
        Self {
            limit: limits.get("udp_plain_vs_echo").copied(),
            ratios,
            limits,
            spread,
            default_driver: setup.default_driver.to_string(),
            medians,
            stalls,
            rounds: rounds.into_iter().map(|sides| Round { sides }).collect(),
            faults,
            machine,
            flows: setup.flows,
            window: setup.window,
            keys: setup.keys,
            symbols: setup.symbols,
            warm_up_seconds: setup.warm_up.as_secs_f64(),
            seconds: setup.time.as_secs_f64(),
            command: command(),
        }
    }

    /// Whether every reply of every side was right and accounted for, and every promise kept.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.line())?;
        writeln!(
            f,
            "{} flows of {} outstanding, {} symbols, {} rounds of {} s; default driver {}\n",
            self.flows,
            self.window,
            self.symbols,
            self.rounds.len(),
            self.seconds,
            self.default_driver
        )?;
        writeln!(
            f,
            "{:<28} {:>11} {:>12} {:>15} {:>11} {:>11} {:>8}",
            "median of", "requests/s", "prices/s", "server ns each", "loader ns", "p50 us", "lost"
        )?;
        for (side, medians) in &self.medians {
            let server = medians
                .server_cpu_ns_per_request
                .map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
            writeln!(
                f,
                "{side:<28} {:>11.0} {:>12.0} {server:>15} {:>11.0} {:>11.1} {:>8}",
                medians.requests_per_second,
                medians.prices_per_second,
                medians.loader_cpu_ns_per_request,
                medians.latency_p50_us,
                medians.lost
            )?;
            if let Some(ns) = medians.server_cpu_ns_per_datagram {
                writeln!(f, "{:<28} {ns:.0} ns of the server's CPU per datagram", "")?;
            }
            if is_open_loop(side) {
                write!(f, "{:<28} p99.9 {:.1} us", "", medians.latency_p99_9_us)?;
                match medians.floor_p99_9_us {
                    Some(us) => writeln!(f, "; the machine's own stalls keep it above {us:.0}")?,
                    None => writeln!(f)?,
                }
            }
        }
        writeln!(f)?;
        for (title, ratio) in &self.spread {
            let Spread { median, min, max } = ratio.rate;
            write!(
                f,
                "{title:<40} {:>7.3} (by {}); as measured {median:.3} ({min:.3} to {max:.3})",
                ratio.value(),
                ratio.basis()
            )?;
            if let Some(Spread { median, min, max }) = ratio.cpu {
                write!(f, ", CPU time {median:.3} ({min:.3} to {max:.3})")?;
            }
            writeln!(f)?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
