//! Resident memory of a server with many keys and symbols, before and after they were asked.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;
use trinity_beast::shard::driver::DriverKind;
use trinity_protocol::Code;

use super::OUTSTANDING;
use super::hold::{Order, Serving};
use crate::load::{Expected, Form, Pace, Plan};
use crate::measure::{self, Cores, Measurement};
use crate::popularity::Popularity;
use crate::population::{self, Population};

const SYMBOLS: usize = 20_000;
const KEYS: usize = 100_000;
const SHARDS: usize = 2;
/// What the process may take in all, bytes.
const MOST_BYTES: u64 = 96_000_000;
/// So long that every key has asked, in any case.
const AT_LEAST: Duration = Duration::from_secs(2);

/// What a process of this program takes that does nothing but serve.
#[derive(Debug, Serialize)]
pub(super) struct Memory {
    pub(super) symbols: usize,
    pub(super) keys: usize,
    pub(super) shards: usize,
    /// Before anything was set up; with tables and shards; after every key had asked.
    pub(super) bare_bytes: u64,
    pub(super) set_up_bytes: u64,
    pub(super) loaded_bytes: u64,
    pub(super) most_bytes: u64,
    pub(super) load: Measurement,
}

impl Memory {
    pub(super) fn line(&self) -> String {
        let mb = |bytes: u64| bytes as f64 / 1e6;
        format!(
            "resident with {} symbols, {} keys, {} shards: {:.1} MB before, {:.1} MB set up, {:.1} MB under load \
             ({} of {} requests refused)",
            self.symbols,
            self.keys,
            self.shards,
            mb(self.bare_bytes),
            mb(self.set_up_bytes),
            mb(self.loaded_bytes),
            self.load.tally.refusals(),
            self.load.tally.sent
        )
    }

    /// What is wrong. That some requests are refused is not: with so many customers within a second
    /// usage pages are full (OVERLOADED), and so is the odd bucket of the session table
    /// (RATE_LIMITED). That is as much memory as they can take.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let tally = &self.load.tally;
        let wrong = tally.bad_tags + tally.bad_prices + tally.malformed + tally.unexpected + tally.duplicates;
        let refused = tally.codes[Code::Overloaded as usize] + tally.codes[Code::RateLimited as usize];
        if wrong > 0 || tally.refusals() > refused {
            faults.push(format!("memory: {}", self.load.faults.join(", ")));
        }
        if tally.verified < self.keys as u64 {
            faults.push(format!(
                "memory: only {} requests were answered, so not every key's",
                tally.verified
            ));
        }
        if self.loaded_bytes > self.most_bytes {
            faults.push(format!("more than {} bytes are resident", self.most_bytes));
        }
        faults
    }
}

/// Runs a child process of this program that serves, loads it from here, and asks what it
/// takes.
pub(super) fn measure(driver: DriverKind, cores: &Cores, time: Duration) -> anyhow::Result<Memory> {
    let order = Order {
        seed: population::random(),
        keys: KEYS,
        symbols: SYMBOLS,
        shards: SHARDS,
        glommio: driver == DriverKind::Glommio,
        serving: cores.serving.clone(),
    };
    let program = std::env::current_exe().context("finding this program")?;
    let mut child = Command::new(program)
        .arg("hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting the process to be measured")?;
    let mut orders = child.stdin.take().context("it was given a pipe")?;
    let answers = child.stdout.take().context("it was given a pipe")?;
    let mut answers = BufReader::new(answers).lines();
    let mut ask = |what: &str| -> anyhow::Result<String> {
        writeln!(orders, "{what}")?;
        let answer = answers.next().context("the process to be measured has ended")?;
        Ok(answer?)
    };

    let serving: Serving = serde_json::from_str(&ask(&serde_json::to_string(&order)?)?)?;
    let population = Population::seeded(order.seed, order.keys, order.symbols)?;
    let plan = Plan {
        form: Form::Plain,
        entries: 1,
        pace: Pace::Closed {
            window: OUTSTANDING / 8,
            eager: false,
        },
        flows: 8,
        sources: 1,
        // Two shards remember them all.
        keys: KEYS,
        popularity: Popularity::Uniform,
        warm_up: Duration::from_millis(100),
        time: time.max(AT_LEAST),
    };
    let load = measure::load_from(
        cores.loading,
        serving.address,
        Expected::Price,
        &plan,
        &population,
        &[],
    )?;
    let loaded_kib: u64 = ask("")?.parse()?;
    drop(orders);
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the process to be measured failed: {status}");
    let load = Measurement::new("memory".into(), &plan, &load, None, None);
    Ok(Memory {
        symbols: SYMBOLS,
        keys: KEYS,
        shards: SHARDS,
        bare_bytes: serving.bare_kib * 1_024,
        set_up_bytes: serving.set_up_kib * 1_024,
        loaded_bytes: loaded_kib * 1_024,
        most_bytes: MOST_BYTES,
        load,
    })
}
