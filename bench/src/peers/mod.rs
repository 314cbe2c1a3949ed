//! Servers of other people, measured beside this one on the same cores.
//!
//! - [`Peer::find`] tells where a peer is installed; `bench/peers` installs them.
//! - An [`instance::Instance`] runs one in a directory of its own on a free port, on the serving
//!   CPU, and ends it when it is dropped.
//! - [`process::ServingTime`] reads the CPU time of whoever serves, and [`process::Limit`] says
//!   whether it or the load generator could not do more.

pub(crate) mod find;
pub(crate) mod instance;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod progress;
pub(crate) mod ratio;
pub(crate) mod ready;

use std::fmt;

use anyhow::Context;
use serde::Serialize;
use trinity_beast::shard::driver::cpus;

pub(crate) use self::find::Peer;

/// Which CPU serves and which loads.
#[derive(Clone, Copy, Debug)]
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

/// An option's seconds.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.05..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("give seconds from 0.05 to 3600".into()),
    }
}

/// The command line without the path of the program.
pub(crate) fn command() -> String {
    let args = std::env::args().skip(1);
    std::iter::once("trinity-bench".to_owned())
        .chain(args)
        .collect::<Vec<_>>()
        .join(" ")
}
