//! What `compare` says: per side and round, and as ratios.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use trinity_beast::shard::driver::DriverKind;

use crate::load::Plan;
use crate::machine::Machine;
use crate::measure::{Limit, Measurement};
use crate::options::command;
use crate::stats::Spread;
use crate::target::{Setting, Side};

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Medians over the rounds. By requests per second where the serving core was the limit
    /// on both sides; by the serving core's CPU time per request where the load generator
    /// was.
    ratios: BTreeMap<String, f64>,
    /// The same with their range.
    spread: BTreeMap<String, Ratio>,
    /// Who was the limit in the comparison on the default driver: `server` or `loader`.
    limit: Limit,
    default_driver: String,
    medians: BTreeMap<String, Medians>,
    rounds: Vec<Round>,
    faults: Vec<String>,
    machine: Machine,
    plan: Plan,
    keys: u32,
    symbols: u32,
    datagram_bytes: usize,
    command: String,
}

/// One comparison over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    limit: Limit,
    /// Of requests per second, server to echo.
    rate: Spread,
    /// Of CPU time per request, echo to server: 1 is as cheap as the echo.
    cpu: Spread,
}

#[derive(Debug, Serialize)]
struct Medians {
    requests_per_second: f64,
    server_cpu_ns_per_request: f64,
    loader_cpu_ns_per_request: f64,
}

#[derive(Debug, Serialize)]
struct Round {
    sides: Vec<Measurement>,
}

impl Report {
    pub(crate) fn new(
        default_driver: DriverKind,
        drivers: &[DriverKind],
        rounds: Vec<Vec<Measurement>>,
        mut machine: Machine,
        plan: Plan,
        keys: u32,
        symbols: u32,
    ) -> Self {
        let smallest = |of: fn(&Measurement) -> usize| rounds.iter().flatten().map(of).min().unwrap_or(0);
        machine.drivers = drivers.iter().map(ToString::to_string).collect();
        machine.receive_buffer_bytes = smallest(|m| m.receive_buffer_bytes.unwrap_or_default());
        machine.send_buffer_bytes = smallest(|m| m.send_buffer_bytes.unwrap_or_default());
        let accounts = rounds.iter().flatten().filter_map(|m| m.account);
        machine.receive_drops = accounts.map(|account| account.receive_drops).sum();
        let mut ratios = BTreeMap::new();
        let mut spread = BTreeMap::new();
        let mut limit = Limit::Loader;
        for driver in drivers {
            let Some(ratio) = Ratio::of(&rounds, &Side::Server(Setting::of(*driver)).to_string()) else {
                continue;
            };
            let title = format!("udp_plain_vs_echo_{driver}");
            if *driver == default_driver {
                limit = ratio.limit;
                ratios.insert("udp_plain_vs_echo".to_owned(), ratio.value());
            }
            ratios.insert(title.clone(), ratio.value());
            spread.insert(title, ratio);
        }
        let mut medians = BTreeMap::new();
        for side in rounds.iter().flatten().map(|m| &m.side) {
            let of = |what: fn(&Measurement) -> f64| {
                let values = rounds.iter().flatten().filter(|m| m.side == *side).map(what);
                Spread::of(values).map_or(0.0, |spread| spread.median)
            };
            medians.entry(side.clone()).or_insert_with(|| Medians {
                requests_per_second: of(|m| m.requests_per_second),
                server_cpu_ns_per_request: of(|m| m.server_cpu_ns_per_request.unwrap_or(f64::NAN)),
                loader_cpu_ns_per_request: of(|m| m.loader_cpu_ns_per_request),
            });
        }
        let faults = rounds
            .iter()
            .enumerate()
            .flat_map(|(round, sides)| sides.iter().map(move |side| (round, side)))
            .flat_map(|(round, side)| {
                let tell = move |fault| format!("round {}, {}: {fault}", round + 1, side.side);
                side.faults.iter().map(tell)
            })
            .collect();
        Self {
            ratios,
            spread,
            limit,
            default_driver: default_driver.to_string(),
            medians,
            rounds: rounds.into_iter().map(|sides| Round { sides }).collect(),
            faults,
            machine,
            plan,
            keys,
            symbols,
            datagram_bytes: trinity_protocol::datagram_len(1),
            command: command(),
        }
    }

    /// Whether every reply of every side was right and accounted for.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Ratio {
    fn of(rounds: &[Vec<Measurement>], side: &str) -> Option<Self> {
        let pairs: Vec<_> = rounds
            .iter()
            .filter_map(|sides| {
                let echo = sides.iter().find(|m| m.side == Side::Echo.to_string())?;
                Some((echo, sides.iter().find(|m| m.side == side)?))
            })
            .collect();
        let saturated = pairs
            .iter()
            .filter(|(echo, server)| echo.limit == Limit::Server && server.limit == Limit::Server)
            .count();
        let rate = pairs
            .iter()
            .map(|(echo, server)| server.requests_per_second / echo.requests_per_second);
        let cpu = pairs.iter().filter_map(|(echo, server)| {
            Some(echo.server_cpu_ns_per_request? / server.server_cpu_ns_per_request?)
        });
        Some(Self {
            limit: if 2 * saturated > pairs.len() {
                Limit::Server
            } else {
                Limit::Loader
            },
            rate: Spread::of(rate)?,
            cpu: Spread::of(cpu)?,
        })
    }

    const fn value(&self) -> f64 {
        match self.limit {
            Limit::Server => self.rate.median,
            Limit::Loader => self.cpu.median,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.machine.line())?;
        writeln!(
            f,
            "{} bytes each way, {} flows, {} keys, {} symbols, {} rounds\n",
            self.datagram_bytes,
            self.plan.flows,
            self.keys,
            self.symbols,
            self.rounds.len()
        )?;
        writeln!(
            f,
            "{:<16} {:>12} {:>18} {:>18}",
            "median of", "requests/s", "server ns/request", "loader ns/request"
        )?;
        for (side, medians) in &self.medians {
            writeln!(
                f,
                "{side:<16} {:>12.0} {:>18.0} {:>18.0}",
                medians.requests_per_second,
                medians.server_cpu_ns_per_request,
                medians.loader_cpu_ns_per_request
            )?;
        }
        writeln!(f)?;
        for (title, ratio) in &self.spread {
            let basis = match ratio.limit {
                Limit::Server => "requests/s, the serving core was the limit",
                Limit::Loader => "CPU time per request, the load generator was the limit",
            };
            writeln!(
                f,
                "{title:<28} {:.3} (by {basis}); requests/s {:.3} ({:.3} to {:.3}), CPU time {:.3} ({:.3} to {:.3})",
                ratio.value(),
                ratio.rate.median,
                ratio.rate.min,
                ratio.rate.max,
                ratio.cpu.median,
                ratio.cpu.min,
                ratio.cpu.max
            )?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
