//! Options that several commands share, and what is made of them.

use anyhow::Context;
use trinity_beast::shard::driver::{DriverChoice, DriverKind, choose, cpus, probe};

use crate::measure::Cores;

/// Which CPUs do what.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CoreArgs {
    /// CPU that serves; the first this process may use unless said otherwise.
    #[arg(long)]
    serving_cpu: Option<usize>,
    /// CPU that loads; the second.
    #[arg(long)]
    loading_cpu: Option<usize>,
}

impl CoreArgs {
    /// The CPU that loads, where somebody else serves: the last one unless said otherwise.
    pub(crate) fn loading_only(&self) -> anyhow::Result<usize> {
        let allowed = cpus::allowed()?;
        let last = allowed.last().copied().context("this process may use no CPU")?;
        let cpu = self.loading_cpu.unwrap_or(last);
        anyhow::ensure!(
            allowed.contains(&cpu),
            "CPU {cpu} is not among those this process may use: {allowed:?}"
        );
        Ok(cpu)
    }

    /// Two different CPUs that this process may use, and further ones to serve if there are any.
    pub(crate) fn pick(&self) -> anyhow::Result<Cores> {
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
        let (serving, loading) = (pick(self.serving_cpu, 0)?, pick(self.loading_cpu, 1)?);
        anyhow::ensure!(
            serving != loading,
            "CPU {serving} cannot serve and load: choose two CPUs"
        );
        let others = allowed
            .into_iter()
            .filter(|cpu| *cpu != serving && *cpu != loading);
        Ok(Cores {
            serving: std::iter::once(serving).chain(others).collect(),
            loading,
        })
    }
}

/// Which drivers to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DriverArg {
    /// poll(2).
    Epoll,
    /// io_uring; an error where it does not work.
    Glommio,
    /// Every driver that works here.
    All,
}

impl DriverArg {
    /// One that was named, or whichever `serve` would take.
    pub(crate) const fn one(named: Option<DriverKind>) -> Self {
        match named {
            Some(DriverKind::Epoll) => Self::Epoll,
            Some(DriverKind::Glommio) => Self::Glommio,
            None => Self::All,
        }
    }

    /// The driver that `serve` would take here (or the one asked for), and those to measure.
    pub(crate) fn pick(self) -> anyhow::Result<(DriverKind, Vec<DriverKind>)> {
        Ok(match self {
            Self::Epoll => (DriverKind::Epoll, vec![DriverKind::Epoll]),
            Self::Glommio => {
                probe::io_uring()?;
                (DriverKind::Glommio, vec![DriverKind::Glommio])
            }
            Self::All => {
                let chosen = choose(DriverChoice::Auto, probe::io_uring)?;
                if chosen.kind == DriverKind::Epoll {
                    eprintln!("only the epoll driver is measured: {}", chosen.why);
                    (chosen.kind, vec![DriverKind::Epoll])
                } else {
                    (chosen.kind, vec![DriverKind::Epoll, DriverKind::Glommio])
                }
            }
        })
    }
}

/// A time of the command line, in seconds.
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
