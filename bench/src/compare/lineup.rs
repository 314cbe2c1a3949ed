//! Who is measured, and what is made of it.
//!
//! To put another server beside these: give it a [`super::scenario::Scenario`] that adds
//! [`Contestant`]s, whose `measure` pins the server to `cores.serving[0]` and its load to
//! `cores.loading`, and [`Rule`]s, which may name contestants of other scenarios that it adds
//! as well. One whose program is not installed adds nothing and says so on standard error.

use std::time::Duration;

use trinity_beast::shard::driver::DriverKind;

use crate::measure::{Cores, Measurement};

/// One thing that is measured once a round.
pub(crate) struct Contestant {
    /// Scenario and side, for example `gso-31/server-epoll`.
    pub(crate) name: String,
    /// Measures it once, on fresh sockets.
    pub(crate) measure: Box<Measure>,
}

/// Measures a side once.
pub(crate) type Measure = dyn Fn(&Cores) -> anyhow::Result<Measurement>;

/// How two contestants become one number.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    /// As the ratio is called in the report.
    pub(crate) name: String,
    /// Another name of the same ratio, if it is the one that counts.
    pub(crate) also: Option<String>,
    /// Name of the contestant whose figure is above the line, and of the one below.
    pub(crate) above: String,
    pub(crate) below: String,
    pub(crate) by: By,
    /// The ratio must not be lower.
    pub(crate) at_least: Option<f64>,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum By {
    /// Requests per second; where the load was the limit, serving CPU time per request.
    Requests,
    /// Prices per second; where the load was the limit, serving CPU time per price.
    Prices,
    /// Requests per second, whoever was the limit: both had the same load core.
    RateAlone,
    /// Median latency.
    MedianLatency,
}

/// Contestants and rules of one or more scenarios.
#[derive(Default)]
pub(crate) struct Lineup {
    pub(crate) contestants: Vec<Contestant>,
    pub(crate) rules: Vec<Rule>,
}

/// What a lineup is made for.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) cores: Cores,
    /// Drivers of this server to measure, and the one that `serve` would take.
    pub(crate) drivers: Vec<DriverKind>,
    pub(crate) default_driver: DriverKind,
    pub(crate) symbols: usize,
    /// Of plain clients that ask for one symbol.
    pub(crate) keys: usize,
    pub(crate) flows: usize,
    /// Requests outstanding on each flow.
    pub(crate) window: usize,
    pub(crate) warm_up: Duration,
    pub(crate) time: Duration,
}

impl Lineup {
    /// Adds a contestant unless there is one of its name.
    pub(crate) fn add(
        &mut self,
        name: String,
        measure: impl Fn(&Cores) -> anyhow::Result<Measurement> + 'static,
    ) {
        if self.contestants.iter().all(|other| other.name != name) {
            self.contestants.push(Contestant {
                name,
                measure: Box::new(measure),
            });
        }
    }

    /// Adds a rule for each driver. The default driver's counts, under the bare name.
    pub(crate) fn rule(
        &mut self,
        setup: &Setup,
        name: &str,
        by: By,
        pair: impl Fn(DriverKind) -> (String, String),
    ) {
        for driver in &setup.drivers {
            let (above, below) = pair(*driver);
            self.rules.push(Rule {
                name: format!("{name}_{driver}"),
                also: (*driver == setup.default_driver).then(|| name.to_owned()),
                above,
                below,
                by,
                at_least: None,
            });
        }
    }
}
