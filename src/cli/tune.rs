//! `tune`: what this machine allows, what to run on it, and what the network between two carries.

mod probe;
mod show;

use std::io::Write;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use trinity_tuning::check::{self, Driver, Needs, Plan, Report, Verdict};
use trinity_tuning::facts::{Facts, Trials};
use trinity_tuning::profiles::PROFILES;
use trinity_tuning::read::{self, Source, Tries};
use trinity_tuning::recommend::{self, Settings};

use super::output::write_json;
use crate::config::Config;
use crate::control::shards;
use crate::limits::{HTTP_CONNECTIONS, MAX_SHARDS, SOCKET_BUFFER_BYTES};
use crate::shard::driver::{DriverChoice, probe as io_uring, trial};
use crate::shard::web;

/// Tell what this machine allows and what to run on it.
///
/// Prints what was found, what is wanted, why, and how to change it here, on EC2 and in an ECS task
/// definition. Exit code 0: fit for the shards asked for; 1: unfit; 2: it could not be looked at.
#[derive(Clone, Debug, Args)]
pub struct TuneArgs {
    /// Shards to judge for [default: as many as `serve` would start here]
    #[arg(long, env = "SHARDS", value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    shards: Option<u32>,
    /// How shards wait for datagrams
    #[arg(long, env = "DRIVER", value_enum, default_value_t = DriverChoice::Auto)]
    driver: DriverChoice,
    /// UDP port of the price oracle
    #[arg(long, env = "UDP_PORT_LPO", default_value_t = 2679, value_name = "PORT")]
    udp_port_lpo: u16,
    /// HTTP port of the price oracle
    #[arg(long, env = "TCP_PORT_LPO", default_value_t = 8080, value_name = "PORT")]
    tcp_port_lpo: u16,
    /// HTTP port of health, readiness and metrics
    #[arg(long, env = "TCP_PORT_OPS", default_value_t = 9100, value_name = "PORT")]
    tcp_port_ops: u16,
    /// Explain every check, not only those that found something
    #[arg(long)]
    verbose: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Print what to run on which ECS task size instead
    #[arg(long, conflicts_with_all = ["probe", "echo"])]
    profiles: bool,
    #[command(flatten)]
    probe: probe::ProbeArgs,
}

/// Everything, for scripts.
#[derive(Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// Names of the checks that make the machine unfit.
    unfit: Vec<&'a str>,
    recommended: &'a Settings,
    machine: &'a Facts,
}

/// The machine cannot run the plan.
const UNFIT: u8 = 1;
/// It could not be looked at.
const NOT_LOOKED: u8 = 2;

/// Runs the command; gives its exit code.
pub fn run(args: &TuneArgs, out: &mut dyn Write) -> u8 {
    let result = if args.probe.is_asked_for() {
        probe::run(&args.probe, args.json, out).map(|()| 0)
    } else if args.profiles {
        profiles(args.json, out).map(|()| 0)
    } else {
        look(args, out)
    };
    result.unwrap_or_else(|error| {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(std::io::stderr(), "error: {error:#}");
        NOT_LOOKED
    })
}

fn look(args: &TuneArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let plan = plan(args.shards.map(|shards| shards as usize), args.driver)?;
    let ports = vec![
        ("udp", args.udp_port_lpo),
        ("tcp", args.tcp_port_lpo),
        ("tcp", args.tcp_port_ops),
    ];
    let facts = facts(ports, true);
    let report = check::run(&facts, &plan);
    let recommended = recommend::settings(&facts, &plan);
    if args.json {
        write_json(
            out,
            &Everything {
                report: &report,
                unfit: report.at_least(Verdict::Unfit).map(|check| check.name).collect(),
                recommended: &recommended,
                machine: &facts,
            },
        )?;
    } else {
        let style = show::Style::of_stdout();
        show::report(out, &style, &facts, &report, args.verbose)?;
        show::settings(out, &style, &recommended)?;
        show::verdict(out, &style, &report)?;
    }
    Ok(match report.fit {
        Some(true) => 0,
        Some(false) => UNFIT,
        None => NOT_LOOKED,
    })
}

fn profiles(json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        write_json(out, &serde_json::json!({"profiles": PROFILES}))?;
    } else {
        show::profiles(out, &PROFILES)?;
    }
    Ok(())
}

/// Runs the same checks as a node starts, and logs what matters. Whatever they find, the node starts:
/// what it cannot do without it finds out itself.
pub(super) fn log_at_start(config: &Config) {
    let plan = match plan(config.shards, config.driver) {
        Ok(plan) => plan,
        Err(error) => {
            tracing::warn!(error = format!("{error:#}"), "this machine was not checked");
            return;
        }
    };
    let facts = facts(Vec::new(), false);
    for check in check::run(&facts, &plan).at_least(Verdict::Warn) {
        tracing::warn!(
            check = check.name,
            verdict = check.verdict.name(),
            found = check.found,
            wanted = check.wanted,
            why = check.why,
            change = check.how.for_place(facts.place.kind),
            "this machine falls short; see `trinity-beast tune`"
        );
    }
}

fn plan(shards: Option<usize>, driver: DriverChoice) -> anyhow::Result<Plan> {
    let shards = match shards {
        Some(shards) => shards,
        None => shards::plan(None)
            .context("cannot tell how many shards to judge for; say --shards N")?
            .len(),
    };
    Ok(Plan {
        shards,
        driver: match driver {
            DriverChoice::Auto => Driver::Auto,
            DriverChoice::Epoll => Driver::Epoll,
            DriverChoice::Glommio => Driver::Glommio,
        },
        needs: Needs {
            max_shards: MAX_SHARDS,
            buffer_bytes: SOCKET_BUFFER_BYTES as u64,
            listen_backlog: u64::from(web::BACKLOG.unsigned_abs()),
            connections_per_worker: HTTP_CONNECTIONS as u64,
            memlock_bytes: io_uring::MEMLOCK_BYTES,
        },
    })
}

/// This machine's facts; `fill` is to try how much a receive buffer holds.
fn facts(ports: Vec<(&'static str, u16)>, fill: bool) -> Facts {
    let tries = Tries {
        buffer_bytes: SOCKET_BUFFER_BYTES,
        ports,
        fill,
    };
    read::facts(&Source::this_machine(), &tries, trials())
}

/// What only a node's own sockets and rings can tell.
fn trials() -> Trials {
    Trials {
        io_uring: io_uring::io_uring().into(),
        segmentation: trial::segmentation().into(),
        coalescing: trial::coalescing().into(),
        steering: trial::steering().into(),
    }
}
