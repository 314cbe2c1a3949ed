//! One measurement: a side on its CPU, the load generator on another, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use trinity_beast::shard::driver::cpus;
use trinity_protocol::Code;

use crate::cpu_time::{Spent, ThreadTime};
use crate::load::{self, Expected, Load, Pace, Plan};
use crate::population::Population;
use crate::tally::Tally;
use crate::target::{Account, Buffers, Side, Tables, Target};

/// A serving thread that was on its CPU, or waited for it, for at least this share of the
/// time was the limit; below it the load generator was.
const SATURATED: f64 = 0.95;
/// Where the server's time cannot be read, a generator that had something to do for this share
/// of the time was the limit.
const LOADER_BUSY: f64 = 0.9;

/// Who does what.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    /// CPUs that serve; the first one is for sides of one thread.
    pub(crate) serving: Vec<usize>,
    pub(crate) loading: usize,
}

/// Who was the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Limit {
    Server,
    Loader,
}

impl Limit {
    /// Of a serving side that spent this much of `wall`.
    pub(crate) fn of(spent: Spent, wall: Duration) -> Self {
        if (spent.on_cpu + spent.delayed).as_secs_f64() >= SATURATED * wall.as_secs_f64() {
            Self::Server
        } else {
            Self::Loader
        }
    }
}

/// What a measurement says.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measurement {
    pub(crate) side: String,
    pub(crate) requests_per_second: f64,
    pub(crate) prices_per_second: f64,
    /// `None` of a server in another process.
    pub(crate) server_cpu_ns_per_request: Option<f64>,
    /// Share of the time that the serving threads had their CPUs.
    pub(crate) server_busy: Option<f64>,
    /// Share of the time that they were ready to run but something else had their CPUs: not 0
    /// on a machine that is not quiet.
    pub(crate) server_delayed: Option<f64>,
    /// Without the time it waited for replies.
    pub(crate) loader_cpu_ns_per_request: f64,
    pub(crate) loader_busy: f64,
    pub(crate) loader_delayed: f64,
    pub(crate) limit: Limit,
    pub(crate) latency_us: Percentiles,
    /// Of an open loop: the peak of which its rate is a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peak_requests_per_second: Option<f64>,
    /// Beside a flood: how many datagrams it had, and the serving CPU time of every datagram that
    /// the server received, the clients' and the flood's, over its whole life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) flood_datagrams: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_cpu_ns_per_datagram: Option<f64>,
    /// See [`Load::behind`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<f64>,
    #[serde(flatten)]
    pub(crate) tally: Tally,
    /// Replies by code other than OK that came at all.
    pub(crate) errors: BTreeMap<&'static str, u64>,
    /// What the server says of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) account: Option<Account>,
    /// Of the serving socket, as the kernel counts; `None` of a server in another process.
    pub(crate) receive_buffer_bytes: Option<usize>,
    pub(crate) send_buffer_bytes: Option<usize>,
    /// Whether trains come to it whole (UDP_GRO).
    pub(crate) receives_trains: Option<bool>,
    pub(crate) faults: Vec<String>,
}

/// What is known of another program's server.
pub(crate) struct PeerFigures {
    pub(crate) requests_per_second: f64,
    /// What is compared with prices.
    pub(crate) values_per_second: f64,
    pub(crate) server_cpu_ns_per_request: f64,
    pub(crate) loader_cpu_ns_per_request: Option<f64>,
    pub(crate) limit: Limit,
}

/// Of latencies, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) p99_999: f64,
    pub(crate) max: f64,
}

impl Percentiles {
    /// Of nanoseconds.
    pub(crate) fn of(latency: &Histogram<u64>) -> Self {
        let us = |quantile| latency.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            p50: us(0.5),
            p90: us(0.9),
            p99: us(0.99),
            p99_9: us(0.999),
            p99_99: us(0.9999),
            p99_999: us(0.99999),
            max: latency.max() as f64 / 1e3,
        }
    }

    /// With their names, in rising order.
    pub(crate) const fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("p50", self.p50),
            ("p90", self.p90),
            ("p99", self.p99),
            ("p99.9", self.p99_9),
            ("p99.99", self.p99_99),
            ("p99.999", self.p99_999),
            ("max", self.max),
        ]
    }
}

/// Measures one side once, on fresh sockets.
pub(crate) fn side(
    side: Side,
    plan: &Plan,
    population: &Population,
    tables: &Tables,
    cores: &Cores,
) -> anyhow::Result<Measurement> {
    Ok(side_with_latency(side, plan, population, tables, cores)?.0)
}

/// The same, with every latency that it recorded, nanoseconds.
pub(crate) fn side_with_latency(
    side: Side,
    plan: &Plan,
    population: &Population,
    tables: &Tables,
    cores: &Cores,
) -> anyhow::Result<(Measurement, Histogram<u64>)> {
    let target = Target::start(side, &cores.serving, tables)?;
    let load = load_from(
        cores.loading,
        target.address,
        expected(side),
        plan,
        population,
        &target.times,
    );
    let granted = target.granted;
    let account = target.stop()?;
    let load = load?;
    let measured = Measurement::new(side.to_string(), plan, &load, account, Some(granted));
    Ok((measured, load.latency))
}

/// Measures a server that runs already, in another process.
pub(crate) fn foreign(
    address: SocketAddr,
    plan: &Plan,
    population: &Population,
    loading: usize,
) -> anyhow::Result<Measurement> {
    let load = load_from(loading, address, Expected::Foreign, plan, population, &[])
        .with_context(|| format!("loading {address}: is a server running there, on this UDP port?"))?;
    Ok(Measurement::new(address.to_string(), plan, &load, None, None))
}

/// What a side's replies look like.
pub(crate) const fn expected(side: Side) -> Expected {
    match side {
        Side::Echo | Side::BlockingEcho(_) => Expected::Echo,
        Side::Server(_) => Expected::Price,
    }
}

/// Loads an address from one CPU, on a thread of its own, so that only it is pinned.
pub(crate) fn load_from(
    cpu: usize,
    address: SocketAddr,
    expected: Expected,
    plan: &Plan,
    population: &Population,
    server: &[ThreadTime],
) -> anyhow::Result<Load> {
    let load = thread::scope(|scope| {
        let loader = scope.spawn(move || {
            cpus::pin(cpu).with_context(|| format!("pinning the load generator to CPU {cpu}"))?;
            load::run(address, expected, plan, population, server)
        });
        loader.join()
    });
    load.map_err(|_| anyhow::anyhow!("the load generator panicked"))?
}

impl Measurement {
    pub(crate) fn new(
        side: String,
        plan: &Plan,
        load: &Load,
        account: Option<Account>,
        granted: Option<Buffers>,
    ) -> Self {
        let wall = load.wall.as_secs_f64();
        let each_ns = |seconds: f64| seconds * 1e9 / load.measured.max(1) as f64;
        let busy = load.server.map(|server| server.on_cpu.as_secs_f64() / wall);
        let delayed = load.server.map(|server| server.delayed.as_secs_f64() / wall);
        let loader_work = load.loader.on_cpu.saturating_sub(load.idle).as_secs_f64();
        let loader_busy = loader_work / wall;
        let server_is_limit = match (busy, delayed) {
            (Some(busy), Some(delayed)) => busy + delayed >= SATURATED,
            _ => matches!(plan.pace, Pace::Closed { .. }) && loader_busy < LOADER_BUSY,
        };
        let requests_per_second = load.measured as f64 / wall;
        Self {
            side,
            requests_per_second,
            prices_per_second: requests_per_second * plan.entries as f64,
            server_cpu_ns_per_request: load.server.map(|server| each_ns(server.on_cpu.as_secs_f64())),
            server_busy: busy,
            server_delayed: delayed,
            loader_cpu_ns_per_request: each_ns(loader_work),
            loader_busy,
            loader_delayed: load.loader.delayed.as_secs_f64() / wall,
            limit: if server_is_limit {
                Limit::Server
            } else {
                Limit::Loader
            },
            latency_us: Percentiles::of(&load.latency),
            peak_requests_per_second: None,
            flood_datagrams: None,
            server_cpu_ns_per_datagram: None,
            behind: load.behind,
            errors: load.tally.errors().collect(),
            faults: faults(plan, &load.tally, account.as_ref(), None),
            tally: load.tally.clone(),
            account,
            receive_buffer_bytes: granted.map(|granted| granted.receive_bytes),
            send_buffer_bytes: granted.map(|granted| granted.send_bytes),
            receives_trains: granted.map(|granted| granted.joins),
        }
    }

    /// The same, of a server that is overloaded on purpose and may say so.
    pub(crate) fn overloaded(self, plan: &Plan) -> Self {
        let allowed = Some(Code::Overloaded);
        Self {
            faults: faults(plan, &self.tally, self.account.as_ref(), allowed),
            ..self
        }
    }

    /// Of another program's server, whose answers its own load generator has checked.
    pub(crate) fn of_peer(figures: &PeerFigures) -> Self {
        Self {
            side: String::new(),
            requests_per_second: figures.requests_per_second,
            prices_per_second: figures.values_per_second,
            server_cpu_ns_per_request: Some(figures.server_cpu_ns_per_request),
            server_busy: None,
            server_delayed: None,
            loader_cpu_ns_per_request: figures.loader_cpu_ns_per_request.unwrap_or_default(),
            loader_busy: 0.0,
            loader_delayed: 0.0,
            limit: figures.limit,
            latency_us: Percentiles::default(),
            peak_requests_per_second: None,
            flood_datagrams: None,
            server_cpu_ns_per_datagram: None,
            behind: None,
            tally: Tally::default(),
            errors: BTreeMap::new(),
            account: None,
            receive_buffer_bytes: None,
            send_buffer_bytes: None,
            receives_trains: None,
            faults: Vec::new(),
        }
    }

    /// Serving CPU time of one price, nanoseconds.
    pub(crate) fn server_cpu_ns_per_price(&self) -> Option<f64> {
        let prices_per_request = self.prices_per_second / self.requests_per_second;
        Some(self.server_cpu_ns_per_request? / prices_per_request)
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let server = self.server_cpu_ns_per_request.map_or_else(String::new, |ns| {
            let busy = self.server_busy.unwrap_or_default() * 100.0;
            format!("server {ns:>5.0} ns each ({busy:>3.0} % busy), ")
        });
        format!(
            "{:<26} {:>9.0} requests/s, {server}loader {:>5.0} ns each ({:>3.0} % busy), p50 {:.1} us, lost {}",
            self.side,
            self.requests_per_second,
            self.loader_cpu_ns_per_request,
            self.loader_busy * 100.0,
            self.latency_us.p50,
            self.tally.lost,
        )
    }
}

/// What spoils a measurement, in words. Refusals with the code `allowed` do not.
fn faults(plan: &Plan, tally: &Tally, account: Option<&Account>, allowed: Option<Code>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |is_right: bool, what: String| {
        if !is_right {
            faults.push(what);
        }
    };
    expect(tally.verified > 0, "no request was answered rightly".into());
    for (count, what) in [
        (tally.duplicates, "replies that came more than once"),
        (tally.unexpected, "replies that nobody asked for"),
        (tally.malformed, "malformed replies"),
        (tally.bad_tags, "replies with a wrong tag"),
        (tally.bad_prices, "prices that are not the symbol's"),
        (tally.sequence_back, "prices older than one seen before"),
    ] {
        expect(count == 0, format!("{count} {what}"));
    }
    for (code, count) in tally.errors() {
        expect(
            allowed.is_some_and(|allowed| allowed.name() == code),
            format!("{count} replies with the code {code}"),
        );
    }
    if let Pace::Open { .. } = plan.pace {
        expect(
            tally.unsent == 0,
            format!("{} requests of the schedule could not be sent", tally.unsent),
        );
    }
    if let Some(account) = account {
        let Account {
            granted,
            billed,
            billed_entries,
            ..
        } = *account;
        expect(
            billed == granted && billed_entries == granted * plan.entries as u64,
            format!(
                "{granted} requests of {} symbols were granted, {billed} with {billed_entries} symbols billed",
                plan.entries
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
