//! What `http` says: of this server in all rounds together, per side and round, and as a ratio.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::client::{Load, Plan};
use super::site::Account;
use super::tally::Tally;
use crate::machine::Machine;
use crate::measure::Limit;
use crate::options::command;
use crate::peers::Medians;
use crate::peers::ratio::{Figures, Ratio};
use crate::stats::Spread;

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Side {
    /// This server.
    Server,
    /// nginx with a fixed body of the same size.
    Nginx,
}

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// This server's, in all rounds together.
    #[serde(flatten)]
    tally: Tally,
    /// Verified answers per second, the median over the rounds.
    rate: f64,
    latency_us: Latency,
    /// Who was the limit in most rounds; none if the server's time cannot be read.
    limit: Option<Limit>,
    server_cpu_ns_per_request: Option<f64>,
    /// By requests per second where the serving core was the limit on both sides; by the
    /// serving core's CPU time per request where the load generator was.
    ratios: BTreeMap<&'static str, f64>,
    spread: BTreeMap<&'static str, Ratio>,
    medians: BTreeMap<Side, Medians>,
    rounds: Vec<Vec<Measurement>>,
    faults: Vec<String>,
    #[serde(flatten)]
    facts: Facts,
    command: String,
}

/// What was set before.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    pub(crate) machine: Machine,
    pub(crate) plan: Plan,
    /// Of one answer.
    pub(crate) body_bytes: usize,
    pub(crate) assets: usize,
    pub(crate) keys: usize,
    /// What could not be measured, and how it could.
    pub(crate) absent: Vec<String>,
}

/// One side in one round.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    side: Side,
    requests_per_second: f64,
    server_cpu_ns_per_request: Option<f64>,
    /// Share of the time that the serving side had its CPU.
    server_busy: Option<f64>,
    /// Share of the time that it was ready to run but something else had its CPU.
    server_delayed: Option<f64>,
    /// Without the time it waited for answers.
    loader_cpu_ns_per_request: f64,
    loader_busy: f64,
    loader_delayed: f64,
    limit: Option<Limit>,
    latency_us: Latency,
    #[serde(flatten)]
    tally: Tally,
    /// What this server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<Account>,
    faults: Vec<String>,
    #[serde(skip)]
    latency: Histogram<u64>,
}

/// Closed loop: from sending to the answer, which is time in a full queue by design. Constant
/// rate: from the moment that the request was due.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    p99_99: f64,
    p99_999: f64,
    max: f64,
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        let us = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            p99_99: us(0.9999),
            p99_999: us(0.99999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

impl Measurement {
    pub(crate) fn new(side: Side, load: Load, account: Option<Account>) -> Self {
        let wall = load.wall.as_secs_f64();
        let each_ns = |seconds: f64| seconds * 1e9 / load.measured.max(1) as f64;
        let loader_work = load.loader.on_cpu.saturating_sub(load.idle).as_secs_f64();
        let mut faults = load.tally.faults();
        if let Some(account) = account {
            faults.extend(account_faults(&load.tally, account));
        }
        Self {
            side,
            requests_per_second: load.measured as f64 / wall,
            server_cpu_ns_per_request: load.server.map(|spent| each_ns(spent.on_cpu.as_secs_f64())),
            server_busy: load.server.map(|spent| spent.on_cpu.as_secs_f64() / wall),
            server_delayed: load.server.map(|spent| spent.delayed.as_secs_f64() / wall),
            loader_cpu_ns_per_request: each_ns(loader_work),
            loader_busy: loader_work / wall,
            loader_delayed: load.loader.delayed.as_secs_f64() / wall,
            limit: load.server.map(|spent| Limit::of(spent, load.wall)),
            latency_us: Latency::of(&load.latency),
            tally: load.tally,
            account,
            faults,
            latency: load.latency,
        }
    }

    pub(crate) const fn requests_per_second(&self) -> f64 {
        self.requests_per_second
    }

    /// What is wrong with it: nothing, if every answer was right and accounted for.
    #[cfg_attr(not(test), allow(dead_code, reason = "for whoever compares"))]
    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    #[cfg(test)]
    pub(super) const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        format!(
            "{:<7} {:>8.0} requests/s, server {:>6.0} ns each ({:>3.0} % busy), loader {:>6.0} ns each ({:>3.0} % busy), \
             p50 {:.0} us, p99.9 {:.0} us",
            self.side.name(),
            self.requests_per_second,
            self.server_cpu_ns_per_request.unwrap_or(f64::NAN),
            self.server_busy.unwrap_or(f64::NAN) * 100.0,
            self.loader_cpu_ns_per_request,
            self.loader_busy * 100.0,
            self.latency_us.p50,
            self.latency_us.p99_9,
        )
    }

    /// What a [`Ratio`] wants.
    pub(super) fn figures(&self) -> Figures {
        Figures {
            limit: self.limit,
            requests_per_second: self.requests_per_second,
            server_cpu_ns: self.server_cpu_ns_per_request.unwrap_or(f64::NAN),
        }
    }
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Nginx => "nginx",
        }
    }
}

impl Report {
    pub(crate) fn new(rounds: Vec<Vec<Measurement>>, facts: Facts) -> Self {
        let own = || rounds.iter().flatten().filter(|m| m.side == Side::Server);
        let mut tally = Tally::default();
        // Every histogram has the same bounds.
        let mut latency: Option<Histogram<u64>> = None;
        for measurement in own() {
            tally.add(&measurement.tally);
            match &mut latency {
                Some(sum) => sum.add(&measurement.latency).expect("the same bounds"),
                None => latency = Some(measurement.latency.clone()),
            }
        }
        let limited = own().filter(|m| m.limit == Some(Limit::Server)).count();
        let limit = own().next().and_then(|m| m.limit).map(|_| {
            if 2 * limited > own().count() {
                Limit::Server
            } else {
                Limit::Loader
            }
        });
        let mut medians = BTreeMap::new();
        for side in [Side::Server, Side::Nginx] {
            let of = |what: fn(&Measurement) -> f64| {
                let values = rounds.iter().flatten().filter(|m| m.side == side).map(what);
                Spread::of(values).map(|spread| spread.median)
            };
            if let Some(rate) = of(|m| m.requests_per_second) {
                let median = Medians {
                    requests_per_second: rate,
                    server_cpu_ns_per_request: of(|m| m.server_cpu_ns_per_request.unwrap_or(f64::NAN)),
                    loader_cpu_ns_per_request: of(|m| m.loader_cpu_ns_per_request),
                };
                medians.insert(side, median);
            }
        }
        let pairs: Vec<_> = rounds
            .iter()
            .filter_map(|round| {
                let side = |side| round.iter().find(|m| m.side == side).map(Measurement::figures);
                Some((side(Side::Server)?, side(Side::Nginx)?))
            })
            .collect();
        let spread: BTreeMap<_, _> = Ratio::of(&pairs)
            .map(|ratio| ("http_vs_nginx", ratio))
            .into_iter()
            .collect();
        let faults = rounds
            .iter()
            .enumerate()
            .flat_map(|(round, sides)| sides.iter().map(move |side| (round, side)))
            .flat_map(|(round, side)| {
                let tell = move |fault| format!("round {}, {}: {fault}", round + 1, side.side.name());
                side.faults.iter().map(tell)
            })
            .collect();
        let own_medians = medians.get(&Side::Server);
        Self {
            rate: own_medians.map_or(0.0, |medians| medians.requests_per_second),
            server_cpu_ns_per_request: own_medians.and_then(|medians| medians.server_cpu_ns_per_request),
            tally,
            latency_us: Latency::of(&latency.expect("at least one round")),
            limit,
            ratios: spread
                .iter()
                .map(|(title, ratio)| (*title, ratio.value()))
                .collect(),
            spread,
            medians,
            rounds,
            faults,
            facts,
            command: command(),
        }
    }

    /// Whether every answer of every side was right and accounted for.
    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Facts {
            machine,
            plan,
            body_bytes,
            assets,
            keys,
            absent,
        } = &self.facts;
        writeln!(f, "{}", machine.line())?;
        let how = match plan.rate {
            Some(rate) => format!("{rate:.0} requests/s at even intervals"),
            None => "closed loop".to_owned(),
        };
        writeln!(
            f,
            "GET /price, {body_bytes} bytes of body, {how}, {} connections of {} outstanding, {keys} keys, {assets} assets, {} rounds\n",
            plan.connections,
            plan.pipeline,
            self.rounds.len()
        )?;
        writeln!(
            f,
            "{:<16} {:>12} {:>18} {:>18}",
            "median of", "requests/s", "server ns/request", "loader ns/request"
        )?;
        for (side, medians) in &self.medians {
            writeln!(f, "{:<16} {medians}", side.name())?;
        }
        let us = &self.latency_us;
        writeln!(
            f,
            "\nlatency in us: p50 {:.0}, p90 {:.0}, p99 {:.0}, p99.9 {:.0}, p99.99 {:.0}, p99.999 {:.0}, max {:.0}",
            us.p50, us.p90, us.p99, us.p99_9, us.p99_99, us.p99_999, us.max
        )?;
        let tally = &self.tally;
        writeln!(
            f,
            "{} sent, {} verified, {} lost, {} not sent in time",
            tally.sent, tally.verified, tally.lost, tally.unsent
        )?;
        for (title, ratio) in &self.spread {
            writeln!(f, "{title:<16} {ratio}")?;
        }
        for absent in absent {
            writeln!(f, "absent: {absent}")?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}

/// What does not add up between the worker and whoever asked it.
fn account_faults(tally: &Tally, account: Account) -> Vec<String> {
    let Account {
        granted,
        billed,
        billed_entries,
        cut,
    } = account;
    let mut faults = Vec::new();
    if billed != granted || billed_entries != granted {
        faults.push(format!(
            "{granted} requests of one asset were granted, {billed} with {billed_entries} prices billed"
        ));
    }
    if billed < tally.verified || billed > tally.sent {
        faults.push(format!(
            "{billed} requests were billed, but {} were sent and {} verified",
            tally.sent, tally.verified
        ));
    }
    if cut > 0 {
        faults.push(format!("{cut} connections were cut"));
    }
    faults
}
