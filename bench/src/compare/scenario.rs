//! The scenarios that need nothing but this program.

use std::rc::Rc;
use std::time::Duration;

use trinity_beast::shard::driver::DriverKind;

use super::lineup::{By, Lineup, Rule, Setup};
use super::peers;
use crate::flood::{self, Flood};
use crate::load::{Form, Pace, Plan};
use crate::measure::{self, Cores, Measurement};
use crate::popularity::Popularity;
use crate::population::Population;
use crate::target::{Setting, Side, Tables};

/// What may be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Plain clients, 1 symbol.
    Plain,
    /// Clients that use trains, 1 symbol.
    Gso,
    /// Plain clients, 31 symbols.
    Batch,
    /// Clients that use trains, 31 symbols.
    GsoBatch,
    /// One client with one request outstanding.
    Rtt,
    /// The same as gso-batch beside valkey-server's MGET of 30 keys.
    Valkey,
    /// This server's HTTP worker beside nginx with a fixed body.
    Http,
    /// Open loop at 60 % of the peak.
    Open,
    /// Open loop at half of the peak, in bursts, with a small receive buffer.
    Capped,
    /// Plain clients beside a flood of datagrams that nobody may send.
    Flood,
}

/// Share of the peak of the `open` scenario.
const OPEN_SHARE: f64 = 0.6;
/// The same of the `capped` scenario, and what its bursts are.
const CAPPED_SHARE: f64 = 0.5;
const CAPPED_BURST: usize = 64;
/// The largest receive buffer that a program gets where nobody raised `net.core.rmem_max`.
const CAPPED_BYTES: usize = 212_992;
/// How long a spinning shard looks for more before it parks.
const SPIN: Duration = Duration::from_micros(50);
/// Symbols of a full datagram.
const FULL: usize = trinity_protocol::MAX_ENTRIES;
/// Share of its unflooded rate that authenticated service keeps at least.
const FLOODED_SHARE: f64 = 0.5;

impl Scenario {
    /// What is measured unless others are named.
    pub(crate) const USUAL: [Self; 7] = [
        Self::Plain,
        Self::Gso,
        Self::Batch,
        Self::GsoBatch,
        Self::Rtt,
        Self::Valkey,
        Self::Http,
    ];

    /// Whether its latencies count from the moment a request was due.
    pub(crate) const fn is_open_loop(self) -> bool {
        matches!(self, Self::Open | Self::Capped)
    }

    /// Adds its contestants and rules.
    pub(crate) fn line_up(self, setup: &Setup, lineup: &mut Lineup) -> anyhow::Result<()> {
        let echo = name(Form::Plain, 1, Side::Echo);
        match self {
            Self::Plain => {
                add_echo(setup, lineup, 1)?;
                add_servers(setup, lineup, Form::Plain, 1)?;
                lineup.rule(setup, "udp_plain_vs_echo", By::Requests, |driver| {
                    (name(Form::Plain, 1, server(driver)), echo.clone())
                });
            }
            Self::Gso => {
                add_echo(setup, lineup, 1)?;
                add_servers(setup, lineup, Form::Gso, 1)?;
                lineup.rule(setup, "udp_gso_vs_echo", By::Requests, |driver| {
                    (name(Form::Gso, 1, server(driver)), echo.clone())
                });
            }
            Self::Batch => {
                add_echo(setup, lineup, 1)?;
                add_echo(setup, lineup, FULL)?;
                add_servers(setup, lineup, Form::Plain, FULL)?;
                lineup.rule(setup, "udp_batch_prices_vs_echo", By::Prices, |driver| {
                    (name(Form::Plain, FULL, server(driver)), echo.clone())
                });
                let same_size = name(Form::Plain, FULL, Side::Echo);
                lineup.rule(setup, "udp_batch_vs_echo_of_1040_bytes", By::Requests, |driver| {
                    (name(Form::Plain, FULL, server(driver)), same_size.clone())
                });
            }
            Self::GsoBatch => {
                add_echo(setup, lineup, 1)?;
                add_servers(setup, lineup, Form::Gso, FULL)?;
                lineup.rule(setup, "udp_gso_batch_prices_vs_echo", By::Prices, |driver| {
                    (name(Form::Gso, FULL, server(driver)), echo.clone())
                });
            }
            Self::Rtt => round_trips(setup, lineup)?,
            Self::Valkey => {
                add_servers(setup, lineup, Form::Gso, FULL)?;
                peers::valkey(setup, lineup)?;
            }
            Self::Http => peers::http(setup, lineup)?,
            Self::Open => {
                let server = Side::Server(Setting::of(setup.default_driver));
                add_share_of_peak(setup, lineup, "open", server, OPEN_SHARE, 1)?;
            }
            Self::Capped => {
                let server = Side::Server(Setting {
                    receive_buffer: Some(CAPPED_BYTES),
                    ..Setting::of(setup.default_driver)
                });
                add_share_of_peak(setup, lineup, "capped", server, CAPPED_SHARE, CAPPED_BURST)?;
            }
            Self::Flood => floods(setup, lineup)?,
        }
        Ok(())
    }
}

/// What a contestant of the closed loops is called.
fn name(form: Form, entries: usize, side: Side) -> String {
    let form = match form {
        Form::Plain => "plain",
        Form::Gso => "gso",
    };
    format!("{form}-{entries}/{side}")
}

/// What this server is called where clients in trains ask it for 31 symbols.
pub(super) fn gso_batch_server(driver: DriverKind) -> String {
    name(Form::Gso, FULL, server(driver))
}

const fn server(driver: DriverKind) -> Side {
    Side::Server(Setting::of(driver))
}

fn plan(setup: &Setup, form: Form, entries: usize) -> Plan {
    Plan {
        form,
        entries,
        pace: Pace::Closed {
            // Whole trains, and more than one of them on their way.
            window: match form {
                Form::Plain => setup.window,
                Form::Gso => 2 * setup.window,
            },
            eager: false,
        },
        flows: setup.flows,
        sources: 1,
        // A train is of one client, who has one key; so is a client who asks for much at a time.
        keys: if form == Form::Plain && entries == 1 {
            setup.keys
        } else {
            setup.flows
        },
        popularity: Popularity::Uniform,
        warm_up: setup.warm_up,
        time: setup.time,
    }
}

fn add(lineup: &mut Lineup, setup: &Setup, name: String, side: Side, plan: Plan) -> anyhow::Result<()> {
    let population = Population::new(plan.keys, setup.symbols)?;
    lineup.add(name, move |cores| {
        measure::side(side, &plan, &population, &Tables::new(&population)?, cores)
    });
    Ok(())
}

fn add_echo(setup: &Setup, lineup: &mut Lineup, entries: usize) -> anyhow::Result<()> {
    let plan = plan(setup, Form::Plain, entries);
    add(
        lineup,
        setup,
        name(Form::Plain, entries, Side::Echo),
        Side::Echo,
        plan,
    )
}

fn add_servers(setup: &Setup, lineup: &mut Lineup, form: Form, entries: usize) -> anyhow::Result<()> {
    for driver in &setup.drivers {
        let side = server(*driver);
        let plan = plan(setup, form, entries);
        add(lineup, setup, name(form, entries, side), side, plan)?;
    }
    Ok(())
}

/// One client that never sleeps, against servers and echoes that do.
fn round_trips(setup: &Setup, lineup: &mut Lineup) -> anyhow::Result<()> {
    let plan = Plan {
        pace: Pace::Closed {
            window: 1,
            eager: true,
        },
        flows: 1,
        keys: 1,
        ..plan(setup, Form::Plain, 1)
    };
    let spinning = |driver| {
        Side::Server(Setting {
            spin: SPIN,
            ..Setting::of(driver)
        })
    };
    for driver in &setup.drivers {
        for side in [Side::BlockingEcho(*driver), server(*driver), spinning(*driver)] {
            add(lineup, setup, format!("rtt/{side}"), side, plan.clone())?;
        }
    }
    let echo = |driver| format!("rtt/{}", Side::BlockingEcho(driver));
    lineup.rule(setup, "rtt_p50_vs_blocking_echo", By::MedianLatency, |driver| {
        (format!("rtt/{}", server(driver)), echo(driver))
    });
    lineup.rule(
        setup,
        "rtt_p50_spin_vs_blocking_echo",
        By::MedianLatency,
        |driver| (format!("rtt/{}", spinning(driver)), echo(driver)),
    );
    Ok(())
}

/// An open loop at a share of the peak that the same round measures just before.
fn add_share_of_peak(
    setup: &Setup,
    lineup: &mut Lineup,
    scenario: &str,
    side: Side,
    share: f64,
    burst: usize,
) -> anyhow::Result<()> {
    let peak_side = server(setup.default_driver);
    let closed = plan(setup, Form::Plain, 1);
    let population = Population::new(closed.keys, setup.symbols)?;
    lineup.add(format!("{scenario}/{side}"), move |cores| {
        let peak = measure::side(peak_side, &closed, &population, &Tables::new(&population)?, cores)?;
        let open = Plan {
            pace: Pace::Open {
                rate: (peak.requests_per_second * share).max(1.0),
                burst,
            },
            ..closed.clone()
        };
        let mut measured = measure::side(side, &open, &population, &Tables::new(&population)?, cores)?;
        measured.peak_requests_per_second = Some(peak.requests_per_second);
        if measured.tally.lost > 0 {
            let what = format!("{} replies were lost at {share} of the peak", measured.tally.lost);
            measured.faults.push(what);
        }
        measured.faults.extend(peak.faults);
        Ok(measured)
    });
    Ok(())
}

/// The same clients beside a flood, and beside one that nobody reads.
fn floods(setup: &Setup, lineup: &mut Lineup) -> anyhow::Result<()> {
    let side = server(setup.default_driver);
    let plan = plan(setup, Form::Plain, 1);
    let population = Rc::new(Population::new(plan.keys, setup.symbols)?);
    let contestant = |flood: Flood, aimed: bool| {
        let (plan, population) = (plan.clone(), Rc::clone(&population));
        move |cores: &Cores| -> anyhow::Result<Measurement> {
            let tables = Tables::new(&population)?;
            flood::measure(side, &plan, &population, &tables, cores, flood, aimed)
        }
    };
    lineup.add("flood/unread".into(), contestant(Flood::Unknown, false));
    for flood in Flood::ALL {
        let above = format!("flood/{flood}");
        lineup.add(above.clone(), contestant(flood, true));
        lineup.rules.push(Rule {
            name: format!("udp_flooded_vs_unflooded_{flood}"),
            also: None,
            above,
            below: "flood/unread".into(),
            by: By::RateAlone,
            at_least: Some(FLOODED_SHARE),
        });
    }
    Ok(())
}
