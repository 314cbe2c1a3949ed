//! What each peer is asked, and how one measurement of it is made.

use std::fmt;
use std::path::Path;
use std::thread;

use anyhow::Context;
use serde::Serialize;
use trinity_beast::shard::driver::cpus;

use super::process::ServingTime;
use super::ratio::Figures;
use super::stock::Stock;
use super::stream::{self, Exchanges, Window};
use super::{Load, Peer, PeerPlan, find, memcached, nsd, valkey};
use crate::measure::Limit;

/// Keys of a request for many: what `POST /prices` and a datagram of this server hold is of that
/// order.
pub(crate) const MANY: usize = 30;
/// Connections (UDP: sockets) of a load.
const CONNECTIONS: usize = 8;
/// Connections over which nginx is asked, one request at a time each.
const HTTP_CONNECTIONS: usize = 64;

/// Something that a peer is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Workload {
    /// GET, pipelined.
    ValkeyGet,
    /// MGET of 30 keys, pipelined.
    ValkeyMget,
    /// `get` of 30 keys, pipelined over TCP.
    MemcachedGetMany,
    /// `get` of one key in a datagram.
    MemcachedUdpGet,
    /// A fixed body of the size of this server's answer to GET /price.
    NginxStatic,
    /// A query for an A record over UDP.
    NsdQuery,
}

/// One workload, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeerMeasurement {
    pub(crate) workload: Workload,
    /// Requests outstanding on each connection.
    pub(crate) depth: usize,
    pub(crate) requests_per_second: f64,
    /// As many as a request names keys.
    pub(crate) values_per_second: f64,
    pub(crate) server_cpu_ns_per_request: f64,
    /// Share of the time that the serving processes had their CPU.
    pub(crate) server_busy: f64,
    /// Share of the time that the busiest of their threads was ready to run but another one, or
    /// something else, had the CPU.
    pub(crate) server_delayed: f64,
    /// Without the time it waited for answers; none where the generator is another program.
    pub(crate) loader_cpu_ns_per_request: Option<f64>,
    pub(crate) limit: Limit,
    pub(crate) verified: u64,
    /// Requests without an answer in time; UDP may lose some.
    pub(crate) lost: u64,
}

impl Workload {
    /// All of them.
    pub(crate) const ALL: [Self; 6] = [
        Self::ValkeyGet,
        Self::ValkeyMget,
        Self::MemcachedGetMany,
        Self::MemcachedUdpGet,
        Self::NginxStatic,
        Self::NsdQuery,
    ];

    /// The name as reports write it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ValkeyGet => "valkey_get",
            Self::ValkeyMget => "valkey_mget",
            Self::MemcachedGetMany => "memcached_get_many",
            Self::MemcachedUdpGet => "memcached_udp_get",
            Self::NginxStatic => "nginx_static",
            Self::NsdQuery => "nsd_query",
        }
    }

    /// Who is asked.
    pub(crate) const fn peer(self) -> Peer {
        match self {
            Self::ValkeyGet | Self::ValkeyMget => Peer::Valkey,
            Self::MemcachedGetMany | Self::MemcachedUdpGet => Peer::Memcached,
            Self::NginxStatic => Peer::Nginx,
            Self::NsdQuery => Peer::Nsd,
        }
    }

    /// Values that one answer brings.
    pub(crate) const fn values(self) -> usize {
        match self {
            Self::ValkeyMget | Self::MemcachedGetMany => MANY,
            _ => 1,
        }
    }

    /// Requests outstanding on each connection that are worth trying.
    pub(crate) const fn depths(self) -> &'static [usize] {
        match self {
            Self::ValkeyGet => &[16, 64, 256, 1_024],
            Self::ValkeyMget | Self::MemcachedGetMany => &[4, 16, 64, 256],
            // Many more than a hundred datagrams at once do not fit its receive buffer.
            Self::MemcachedUdpGet => &[4, 8, 16],
            Self::NginxStatic => &[1],
            Self::NsdQuery => &[8, 32, 128],
        }
    }

    /// Measures it once, on a fresh instance of `program`, which is what [`Peer::find`] found.
    pub(crate) fn measure(
        self,
        program: &Path,
        depth: usize,
        plan: &PeerPlan,
    ) -> anyhow::Result<PeerMeasurement> {
        let load = self
            .load(program, depth, plan)
            .with_context(|| format!("measuring {self}"))?;
        let wall = load.wall.as_secs_f64();
        let each_ns = |seconds: f64| seconds * 1e9 / load.verified.max(1) as f64;
        let requests_per_second = load.verified as f64 / wall;
        Ok(PeerMeasurement {
            workload: self,
            depth,
            requests_per_second,
            values_per_second: requests_per_second * self.values() as f64,
            server_cpu_ns_per_request: each_ns(load.server.on_cpu.as_secs_f64()),
            server_busy: load.server.on_cpu.as_secs_f64() / wall,
            server_delayed: load.server.delayed.as_secs_f64() / wall,
            loader_cpu_ns_per_request: load.loader.map(|work| each_ns(work.as_secs_f64())),
            limit: Limit::of(load.server, load.wall),
            verified: load.verified,
            lost: load.lost,
        })
    }

    /// Tries every depth once, tells of each, and gives the best: the one with the most requests
    /// per second if the serving CPU was the limit at all of them, else the one that needs the least
    /// of its time.
    pub(crate) fn best(
        self,
        program: &Path,
        plan: &PeerPlan,
        mut tell: impl FnMut(&PeerMeasurement),
    ) -> anyhow::Result<PeerMeasurement> {
        let mut tried = Vec::new();
        for depth in self.depths() {
            let measurement = self.measure(program, *depth, plan)?;
            tell(&measurement);
            tried.push(measurement);
        }
        best_of(tried).context("there is a depth to try")
    }

    fn load(self, program: &Path, depth: usize, plan: &PeerPlan) -> anyhow::Result<Load> {
        let window = Window {
            connections: CONNECTIONS,
            depth,
            warm_up: plan.warm_up,
            time: plan.time,
        };
        let serving = plan.cpus.serving;
        let stock = Stock::new(plan.symbols);
        match self {
            Self::ValkeyGet | Self::ValkeyMget => {
                let instance = valkey::start(program, &stock, serving)?;
                let exchanges = match self {
                    Self::ValkeyGet => valkey::get(&stock),
                    _ => valkey::mget(&stock, MANY),
                };
                let time = instance.time()?;
                pinned(plan, || stream::run(instance.address, &exchanges, &window, &time))
            }
            Self::MemcachedGetMany => {
                let instance = memcached::start(program, &stock, serving)?;
                let exchanges: Exchanges = memcached::get(&stock, MANY);
                let time: ServingTime = instance.time()?;
                pinned(plan, || stream::run(instance.address, &exchanges, &window, &time))
            }
            Self::MemcachedUdpGet => {
                let instance = memcached::start(program, &stock, serving)?;
                let time = instance.time()?;
                pinned(plan, || memcached::run_udp(&instance, &stock, &window, &time))
            }
            Self::NginxStatic => {
                let window = Window {
                    connections: HTTP_CONNECTIONS,
                    ..window
                };
                crate::http::load_nginx(program, plan.cpus, plan.symbols, &window)
            }
            Self::NsdQuery => {
                let dnsperf = find::program("dnsperf").with_context(|| Peer::Nsd.absent())?;
                let instance = nsd::start(program, plan.symbols, serving)?;
                nsd::run(&dnsperf, &instance, plan.symbols, &window, plan.cpus)
            }
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl PeerMeasurement {
    /// What a [`super::ratio::Ratio`] of requests wants.
    #[cfg_attr(not(test), allow(dead_code, reason = "for whoever compares"))]
    pub(crate) const fn figures(&self) -> Figures {
        Figures {
            limit: Some(self.limit),
            requests_per_second: self.requests_per_second,
            server_cpu_ns: self.server_cpu_ns_per_request,
        }
    }

    /// The same of values.
    #[cfg_attr(not(test), allow(dead_code, reason = "for whoever compares"))]
    pub(crate) const fn value_figures(&self) -> Figures {
        let values = self.workload.values() as f64;
        Figures {
            limit: Some(self.limit),
            requests_per_second: self.values_per_second,
            server_cpu_ns: self.server_cpu_ns_per_request / values,
        }
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let loader = self
            .loader_cpu_ns_per_request
            .map_or_else(|| "-".to_owned(), |ns| format!("{ns:.0}"));
        format!(
            "{:<18} {:>4} deep {:>9.0} requests/s {:>10.0} values/s, server {:>6.0} ns each ({:>3.0} % busy), loader {loader:>5} ns each, lost {}",
            self.workload,
            self.depth,
            self.requests_per_second,
            self.values_per_second,
            self.server_cpu_ns_per_request,
            self.server_busy * 100.0,
            self.lost,
        )
    }
}

fn best_of(tried: Vec<PeerMeasurement>) -> Option<PeerMeasurement> {
    let saturated = tried.iter().all(|m| m.limit == Limit::Server);
    let merit = |m: &PeerMeasurement| {
        if saturated {
            m.requests_per_second
        } else {
            -m.server_cpu_ns_per_request
        }
    };
    tried.into_iter().max_by(|a, b| merit(a).total_cmp(&merit(b)))
}

/// On a thread of its own, so that only it is pinned.
fn pinned(plan: &PeerPlan, load: impl FnOnce() -> anyhow::Result<Load> + Send) -> anyhow::Result<Load> {
    let loading = plan.cpus.loading;
    thread::scope(|scope| {
        let loader = scope.spawn(move || {
            cpus::pin(loading)?;
            load()
        });
        loader
            .join()
            .map_err(|_| anyhow::anyhow!("the load generator panicked"))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_depth_is_the_fastest_or_where_the_generator_was_the_limit_the_cheapest() {
        let measured = |depth, requests_per_second, server_cpu_ns_per_request, limit| PeerMeasurement {
            workload: Workload::ValkeyGet,
            depth,
            requests_per_second,
            values_per_second: requests_per_second,
            server_cpu_ns_per_request,
            server_busy: 1.0,
            server_delayed: 0.0,
            loader_cpu_ns_per_request: None,
            limit,
            verified: 1,
            lost: 0,
        };
        let slow = measured(1, 100.0, 8.0, Limit::Server);
        let fast = measured(2, 110.0, 9.0, Limit::Server);
        let idle = measured(3, 90.0, 7.0, Limit::Loader);
        let depth = |tried: &[&PeerMeasurement]| {
            best_of(tried.iter().map(|m| (*m).clone()).collect()).map(|best| best.depth)
        };
        assert_eq!(depth(&[&slow, &fast]), Some(2));
        assert_eq!(depth(&[&slow, &fast, &idle]), Some(3));
        assert_eq!(depth(&[]), None);
    }
}
