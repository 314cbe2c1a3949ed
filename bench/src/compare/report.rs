//! What `compare` says: per side and round, and as ratios.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use trinity_beast::shard::driver::DriverKind;
use trinity_beast::shard::socket::Granted;
use trinity_protocol::Code;

use crate::load::{Load, Plan};
use crate::machine::Machine;
use crate::stats::Spread;
use crate::tally::Tally;
use crate::target::{Account, Side};

/// A serving thread that was on its CPU, or waited for it, for at least this share of the
/// time was the limit; below it the load generator was.
const SATURATED: f64 = 0.95;

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Limit {
    Server,
    Loader,
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

/// One side in one round.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    side: String,
    requests_per_second: f64,
    server_cpu_ns_per_request: f64,
    /// Share of the time that the serving thread had its CPU.
    server_busy: f64,
    /// Share of the time that it was ready to run but something else had its CPU: not 0 on a
    /// machine that is not quiet.
    server_delayed: f64,
    /// Without the time it waited for replies.
    loader_cpu_ns_per_request: f64,
    loader_busy: f64,
    loader_delayed: f64,
    limit: Limit,
    round_trip_us: Percentiles,
    #[serde(flatten)]
    tally: Tally,
    /// Replies by code other than OK that came at all.
    errors: BTreeMap<&'static str, u64>,
    /// What the server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    receive_buffer_bytes: usize,
    send_buffer_bytes: usize,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Percentiles {
    p50: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

impl Measurement {
    pub(crate) fn new(side: Side, load: &Load, account: Option<Account>, granted: Granted) -> Self {
        let wall = load.wall.as_secs_f64();
        let each_ns = |seconds: f64| seconds * 1e9 / load.measured.max(1) as f64;
        let server_busy = load.server.on_cpu.as_secs_f64() / wall;
        let server_delayed = load.server.delayed.as_secs_f64() / wall;
        let loader_work = load.loader.on_cpu.saturating_sub(load.idle).as_secs_f64();
        let us = |quantile| load.latency.value_at_quantile(quantile) as f64 / 1e3;
        let codes = Code::ALL.iter().zip(load.tally.codes);
        Self {
            side: name(side),
            requests_per_second: load.measured as f64 / wall,
            server_cpu_ns_per_request: each_ns(load.server.on_cpu.as_secs_f64()),
            server_busy,
            server_delayed,
            loader_cpu_ns_per_request: each_ns(loader_work),
            loader_busy: loader_work / wall,
            loader_delayed: load.loader.delayed.as_secs_f64() / wall,
            limit: if server_busy + server_delayed >= SATURATED {
                Limit::Server
            } else {
                Limit::Loader
            },
            round_trip_us: Percentiles {
                p50: us(0.5),
                p99: us(0.99),
                p99_9: us(0.999),
                max: load.latency.max() as f64 / 1e3,
            },
            errors: codes
                .filter(|(_, n)| *n > 0)
                .map(|(code, n)| (code.name(), n))
                .collect(),
            faults: faults(&load.tally, account.as_ref()),
            tally: load.tally.clone(),
            account,
            receive_buffer_bytes: granted.receive_bytes,
            send_buffer_bytes: granted.send_bytes,
        }
    }

    /// What is wrong with the measurement: nothing, if every reply was right and accounted for.
    #[cfg(test)]
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<14} {:>9.0} requests/s, server {:>5.0} ns each ({:>3.0} % busy), loader {:>5.0} ns each ({:>3.0} % busy), \
             p50 {:.0} us, lost {}",
            self.side,
            self.requests_per_second,
            self.server_cpu_ns_per_request,
            self.server_busy * 100.0,
            self.loader_cpu_ns_per_request,
            self.loader_busy * 100.0,
            self.round_trip_us.p50,
            self.tally.lost,
        )
    }
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
        machine.receive_buffer_bytes = smallest(|m| m.receive_buffer_bytes);
        machine.send_buffer_bytes = smallest(|m| m.send_buffer_bytes);
        let accounts = rounds.iter().flatten().filter_map(|m| m.account);
        machine.receive_drops = accounts.map(|account| account.receive_drops).sum();
        let mut ratios = BTreeMap::new();
        let mut spread = BTreeMap::new();
        let mut limit = Limit::Loader;
        for driver in drivers {
            let Some(ratio) = Ratio::of(&rounds, &name(Side::Server(*driver))) else {
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
                server_cpu_ns_per_request: of(|m| m.server_cpu_ns_per_request),
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
                let echo = sides.iter().find(|m| m.side == name(Side::Echo))?;
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
        let cpu = pairs
            .iter()
            .map(|(echo, server)| echo.server_cpu_ns_per_request / server.server_cpu_ns_per_request);
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
            "{} bytes each way, {} flows of {} outstanding, {} keys, {} symbols, {} rounds\n",
            self.datagram_bytes,
            self.plan.flows,
            self.plan.window,
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

/// What spoils a measurement, in words.
fn faults(tally: &Tally, account: Option<&Account>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |is_right: bool, what: String| {
        if !is_right {
            faults.push(what);
        }
    };
    expect(tally.verified > 0, "no request was answered".into());
    for (count, what) in [
        (tally.unexpected, "replies that nobody asked for"),
        (tally.malformed, "malformed replies"),
        (tally.bad_tags, "replies with a wrong tag"),
        (tally.bad_prices, "prices that are not the symbol's"),
        (tally.sequence_back, "prices older than one seen before"),
        (tally.codes.iter().sum(), "replies with a code other than OK"),
    ] {
        expect(count == 0, format!("{count} {what}"));
    }
    if let Some(account) = account {
        let Account {
            granted,
            billed,
            billed_entries,
            ..
        } = *account;
        expect(
            billed == granted && billed_entries == granted,
            format!(
                "{granted} requests of one symbol were granted, {billed} with {billed_entries} symbols billed"
            ),
        );
        expect(
            billed >= tally.verified + tally.late && billed <= tally.sent,
            format!(
                "{billed} requests were billed, but {} were sent and {} verified",
                tally.sent, tally.verified
            ),
        );
    }
    faults
}

fn name(side: Side) -> String {
    match side {
        Side::Echo => "echo".into(),
        Side::Server(driver) => format!("server-{driver}"),
    }
}

/// The command line without the path of the program.
fn command() -> String {
    let args = std::env::args().skip(1);
    std::iter::once("trinity-bench".to_owned())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}
