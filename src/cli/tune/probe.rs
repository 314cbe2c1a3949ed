//! `tune --echo` and `tune --probe`: the two ends of a measured network.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use trinity_tuning::facts::Facts;
use trinity_tuning::probe::echo::{self, Echo, Echoed};
use trinity_tuning::probe::ladder::{self, Climb, Ended, Ladder, MAX_RATE, MAX_SECONDS};
use trinity_tuning::probe::wire::{DEFAULT_BYTES, HEAD_BYTES, MAX_BYTES};
use trinity_tuning::probe::{Percentiles, Rung};

use crate::cli::ledger::block_on;
use crate::cli::output::write_json;

/// How long a climb and an echo take unless told otherwise, seconds.
const PROBE_SECONDS: u64 = 20;
const ECHO_SECONDS: u64 = MAX_SECONDS;
/// The highest rung unless told otherwise, datagrams a second.
const PROBE_RATE: u32 = 200_000;
/// Part lost above which a climb ends.
const MAX_LOSS: f64 = 0.01;

/// The flags of both ends.
#[derive(Clone, Debug, Args)]
pub(super) struct ProbeArgs {
    /// Measure the network to a peer: climb rates at an open loop until 1 % is lost
    #[arg(long)]
    probe: bool,
    /// The peer, which runs `tune --echo` [default: an echo of this process, on loopback]
    #[arg(long, value_name = "HOST:PORT", requires = "probe")]
    peer: Option<String>,
    /// Be the peer: send back what bears this run's token, as long as it came, at a bounded rate
    #[arg(long, value_name = "ADDRESS:PORT", conflicts_with = "probe")]
    echo: Option<SocketAddr>,
    /// Seconds that the probe [default: 20] or the echo [default: 3600] takes
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=MAX_SECONDS))]
    seconds: Option<u64>,
    /// Highest rate of the probe [default: 200000], most that the echo sends back [default: 500000],
    /// datagrams a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1_000..=i64::from(MAX_RATE)))]
    max_rate: Option<u32>,
    /// Length of the probe's datagrams, bytes [default: 80, a price request for one symbol]
    #[arg(long, value_name = "N", requires = "probe",
        value_parser = clap::value_parser!(u16).range(HEAD_BYTES as i64..=MAX_BYTES as i64))]
    bytes: Option<u16>,
}

/// What a probe measured, for scripts.
#[derive(Serialize)]
struct Measured<'a> {
    #[serde(flatten)]
    ladder: &'a Ladder,
    /// Whether the echo was this process's own.
    loopback: bool,
    /// What it did, if so.
    echo: Option<Echoed>,
    /// This end.
    machine: &'a Facts,
}

/// What an echo did, for scripts.
#[derive(Serialize)]
struct Served {
    address: SocketAddr,
    #[serde(flatten)]
    did: Echoed,
}

impl ProbeArgs {
    pub(super) const fn is_asked_for(&self) -> bool {
        self.probe || self.echo.is_some()
    }
}

/// Runs one end.
pub(super) fn run(args: &ProbeArgs, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    match (args.echo, &args.peer) {
        (Some(address), _) => serve(args, address, json, out),
        (None, Some(peer)) => {
            let addresses = peer.to_socket_addrs();
            let address = addresses
                .with_context(|| format!("cannot find {peer}: it is HOST:PORT"))?
                .next()
                .with_context(|| format!("{peer} has no address"))?;
            let facts = super::facts(Vec::new(), false);
            // A CPU for the sender, one for the receiver.
            let spins = has_cpus(&facts, 2);
            let ladder = measure(args, address, spins, json, out)?;
            tell(&ladder, None, &facts, json, out)
        }
        (None, None) => on_loopback(args, json, out),
    }
}

fn on_loopback(args: &ProbeArgs, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    // Its rate is not to be what is measured.
    let echo = Echo::bind((Ipv4Addr::LOCALHOST, 0).into(), MAX_RATE).context("cannot listen on loopback")?;
    let address = echo.address()?;
    let facts = super::facts(Vec::new(), false);
    let spins = has_cpus(&facts, 3);
    let stop = AtomicBool::new(false);
    let (ladder, did) = thread::scope(|scope| {
        let thread = scope.spawn(|| echo.run(&stop, Duration::from_secs(2 * MAX_SECONDS)));
        let ladder = measure(args, address, spins, json, out);
        stop.store(true, Ordering::Relaxed);
        (ladder, thread.join())
    });
    let did = did.map_err(|_| anyhow!("the echo panicked; please report it"))??;
    tell(&ladder?, Some(did), &facts, json, out)
}

fn has_cpus(facts: &Facts, wanted: usize) -> bool {
    facts.shards_with_a_cpu().is_ok_and(|cpus| cpus >= wanted)
}

fn measure(
    args: &ProbeArgs,
    peer: SocketAddr,
    spins: bool,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Ladder> {
    let climb = Climb {
        peer,
        time: Duration::from_secs(args.seconds.unwrap_or(PROBE_SECONDS)),
        max_rate: args.max_rate.unwrap_or(PROBE_RATE),
        bytes: args.bytes.map_or(DEFAULT_BYTES, usize::from),
        max_loss: MAX_LOSS,
        spins,
    };
    let mut closed = Ok(());
    if !json {
        closed = heading(&climb, out);
    }
    let ladder = ladder::climb(&climb, Path::new("/"), |rung| {
        if !json && closed.is_ok() {
            closed = row(rung, out);
        }
    })?;
    closed?;
    Ok(ladder)
}

fn heading(climb: &Climb, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{} bytes to {} and back, up to {}/s; times in microseconds, from when each was due",
        climb.bytes, climb.peer, climb.max_rate
    )?;
    writeln!(
        out,
        "{:>8} {:>9} {:>8} {:>6} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>5}",
        "RATE", "SENT", "LOST", "REORD", "DUP", "P50", "P99", "P99.9", "MAX", "LAG P99", "THROT"
    )?;
    out.flush()
}

fn row(rung: &Rung, out: &mut dyn Write) -> std::io::Result<()> {
    let at = |times: Option<Percentiles>, pick: fn(Percentiles) -> f64| {
        times.map_or_else(|| "-".to_owned(), |times| format!("{:.1}", pick(times)))
    };
    let times = rung.round_trip_us;
    writeln!(
        out,
        "{:>8} {:>9} {:>8} {:>6} {:>5} {:>8} {:>8} {:>8} {:>8} {:>8} {:>5}  {}",
        rung.rate,
        rung.sent,
        rung.lost,
        rung.reordered,
        rung.duplicated,
        at(times, |times| times.p50),
        at(times, |times| times.p99),
        at(times, |times| times.p999),
        at(times, |times| times.max),
        at(rung.lag_us, |times| times.p99),
        rung.throttled_periods
            .map_or_else(|| "-".to_owned(), |periods| periods.to_string()),
        bar(times.map_or(0.0, |times| times.p99)),
    )?;
    out.flush()
}

/// The 99th percentile as a bar: two marks for each tenfold above 1 us.
fn bar(us: f64) -> String {
    let marks = (us.max(1.0).log10() * 2.0).round() as usize;
    "#".repeat(marks.min(16))
}

fn tell(
    ladder: &Ladder,
    echo: Option<Echoed>,
    machine: &Facts,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if json {
        write_json(
            out,
            &Measured {
                ladder,
                loopback: echo.is_some(),
                echo,
                machine,
            },
        )?;
        return Ok(());
    }
    let last = ladder.rungs.last().map_or(0, |rung| rung.rate);
    let why = match ladder.ended {
        Ended::Top => "the highest rate was reached; --max-rate raises it".to_owned(),
        Ended::Loss => format!("at {last}/s more than {:.0} % were lost", MAX_LOSS * 100.0),
        Ended::Sender => format!("this end could not send {last}/s; LAG P99 tells how late it was"),
    };
    match ladder.best_rate {
        Some(rate) => writeln!(out, "good up to {rate}/s: {why}")?,
        None => writeln!(out, "good at no rate: {why}")?,
    }
    Ok(())
}

/// Echoes until its time is over, SIGTERM or SIGINT.
fn serve(args: &ProbeArgs, address: SocketAddr, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let rate = args.max_rate.unwrap_or(echo::DEFAULT_RATE);
    let echo = Echo::bind(address, rate)
        .with_context(|| format!("cannot listen on UDP {address}: is another program there?"))?;
    let address = echo.address()?;
    let time = Duration::from_secs(args.seconds.unwrap_or(ECHO_SECONDS));
    let did = block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        // Only now is a signal an end in order. Standard output is for the result.
        let _ = writeln!(
            std::io::stderr(),
            "echoing on {address} for {} s, {rate}/s at most; at the other end: trinity-beast tune --probe --peer \
             HOST:{}",
            time.as_secs(),
            address.port()
        );
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut echoes = tokio::task::spawn_blocking(move || echo.run(&stopped, time));
        tokio::select! {
            did = &mut echoes => return Ok(did??),
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.store(true, Ordering::Relaxed);
        Ok(echoes.await??)
    })?;
    if json {
        write_json(out, &Served { address, did })?;
    } else {
        writeln!(
            out,
            "echoed {} datagrams to {} askers; {} without a token, {} beyond the rate, {} foreign, {} not taken by \
             the kernel",
            did.echoed, did.welcomed, did.unproven, did.beyond_rate, did.foreign, did.unsent
        )?;
    }
    Ok(())
}
