//! Servers of other people, measured beside this one on the same cores.
//!
//! ```text
//! let program = Peer::Valkey.find();                         // None: not installed
//! let best = Workload::ValkeyMget.best(&program, &plan, |_| ())?;  // tries every depth
//! let m = Workload::ValkeyMget.measure(&program, best.depth, &plan)?;   // once per round
//! Ratio::of(&[(own_figures, m.value_figures())])             // of all rounds
//! ```
//!
//! - [`Peer::find`] tells where a peer is installed; `bench/peers` installs them.
//! - [`Workload::measure`] runs a private instance on the serving CPU, asks from the loading CPU,
//!   compares everything that comes back with what must come, ends the instance, and gives a
//!   [`PeerMeasurement`]: requests and values per second, the serving CPU's time per request, and
//!   who was the limit. It must be called from a thread that outlives it, as the instance ends
//!   with the thread that started it.
//! - [`ratio::Ratio`] compares two sides over all rounds: by requests (or values) per second
//!   where the serving core was the limit on both, else by its CPU time.
//! - An [`instance::Instance`] is a server in a directory of its own on a free port, ended when
//!   it is dropped; [`process::ServingTime`] reads the CPU time of whoever serves.
//!
//! `compare` gets `udp_gso_batch_prices_vs_valkey_mget` from [`Workload::ValkeyMget`] and
//! [`PeerMeasurement::value_figures`], and `http_vs_nginx` from the rounds of a
//! [`crate::http::Duel`], which is what `trinity-bench http` gives too.

pub(crate) mod find;
pub(crate) mod instance;
mod memcached;
pub(crate) mod nginx;
mod nsd;
pub(crate) mod process;
pub(crate) mod ratio;
pub(crate) mod ready;
mod report;
mod stock;
pub(crate) mod stream;
mod valkey;
pub(crate) mod workload;

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use trinity_beast::shard::driver::cpus;

pub(crate) use self::find::Peer;
pub(crate) use self::report::{Args, run};
#[allow(unused_imports, reason = "for whoever compares")]
pub(crate) use self::workload::{PeerMeasurement, Workload};
use crate::cpu_time::Spent;

/// How to measure a peer.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct PeerPlan {
    pub(crate) cpus: Cpus,
    /// Keys in the caches, names in the zone.
    pub(crate) symbols: usize,
    /// Time before each measurement.
    pub(crate) warm_up: Duration,
    /// Time of each measurement.
    pub(crate) time: Duration,
}

/// What a load gave, within the measured time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Right answers.
    pub(crate) verified: u64,
    /// Requests without an answer in time.
    pub(crate) lost: u64,
    /// How long it really was.
    pub(crate) wall: Duration,
    /// The serving side's time meanwhile.
    pub(crate) server: Spent,
    /// The generator's CPU time without waiting, if it is a thread of this program.
    pub(crate) loader: Option<Duration>,
}

/// Which CPU serves and which loads.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Cpus {
    pub(crate) serving: usize,
    pub(crate) loading: usize,
}

impl Cpus {
    /// As wished, else the first two that this process may use.
    pub(crate) fn choose(serving: Option<usize>, loading: Option<usize>) -> anyhow::Result<Self> {
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
        let cpus = Self {
            serving: pick(serving, 0)?,
            loading: pick(loading, 1)?,
        };
        if cpus.serving == cpus.loading {
            anyhow::bail!("CPU {} cannot serve and load: choose two CPUs", cpus.serving);
        }
        Ok(cpus)
    }
}

/// The middle of all rounds of one side.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Medians {
    pub(crate) requests_per_second: f64,
    pub(crate) server_cpu_ns_per_request: Option<f64>,
    pub(crate) loader_cpu_ns_per_request: Option<f64>,
}

impl fmt::Display for Medians {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        write!(
            f,
            "{:>12.0} {:>18} {:>18}",
            self.requests_per_second,
            told(self.server_cpu_ns_per_request),
            told(self.loader_cpu_ns_per_request)
        )
    }
}

#[cfg(test)]
mod tests;
