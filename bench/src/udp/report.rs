//! What `udp` says.

use std::fmt::{self, Write as _};

use serde::Serialize;

use crate::load::{Pace, Plan};
use crate::machine::Machine;
use crate::measure::{Limit, Measurement};
use crate::options::command;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Verified requests per second.
    rate: f64,
    #[serde(flatten)]
    measurement: Measurement,
    plan: Plan,
    /// That the server knows.
    keys: usize,
    symbols: usize,
    datagram_bytes: usize,
    machine: Machine,
    command: String,
}

impl Report {
    pub(super) fn new(
        measurement: Measurement,
        plan: Plan,
        mut machine: Machine,
        keys: usize,
        symbols: usize,
    ) -> Self {
        machine.receive_buffer_bytes = measurement.receive_buffer_bytes.unwrap_or_default();
        machine.send_buffer_bytes = measurement.send_buffer_bytes.unwrap_or_default();
        machine.receive_drops = measurement.account.map_or(0, |account| account.receive_drops);
        Self {
            rate: measurement.requests_per_second,
            datagram_bytes: plan.datagram_bytes(),
            measurement,
            plan,
            keys,
            symbols,
            machine,
            command: command(),
        }
    }

    /// Whether every reply was right and accounted for.
    pub(super) fn is_clean(&self) -> bool {
        self.measurement.faults.is_empty()
    }

    /// What was asked of whom.
    fn title(&self) -> String {
        let Plan { form, flows, .. } = &self.plan;
        let pace = match self.plan.pace {
            Pace::Closed { window, .. } => format!("{window} outstanding on each"),
            Pace::Open { rate, burst } => format!("{rate:.0} requests/s in bursts of {burst}"),
        };
        format!(
            "{}: {form:?}, {} symbols of {} a request, {} bytes each way, {flows} flows, {pace}, {} keys",
            self.measurement.side, self.plan.entries, self.symbols, self.datagram_bytes, self.keys
        )
    }

    /// Names and values, in the order they are shown in.
    fn rows(&self) -> Vec<(String, String)> {
        let m = &self.measurement;
        let mut rows = vec![
            ("requests/s".to_owned(), format!("{:.0}", m.requests_per_second)),
            ("prices/s".to_owned(), format!("{:.0}", m.prices_per_second)),
        ];
        for (name, us) in m.latency_us.named() {
            rows.push((format!("latency {name}"), format!("{us:.1} us")));
        }
        if let Some(ns) = m.server_cpu_ns_per_request {
            rows.push(("server CPU per request".to_owned(), format!("{ns:.0} ns")));
        }
        rows.push((
            "loader CPU per request".to_owned(),
            format!("{:.0} ns", m.loader_cpu_ns_per_request),
        ));
        rows.push((
            "limit".to_owned(),
            match m.limit {
                Limit::Server => "the server".to_owned(),
                Limit::Loader => "the load".to_owned(),
            },
        ));
        if let Some(behind) = m.behind {
            rows.push((
                "sent over 100 us late".to_owned(),
                format!("{:.3} %", behind * 100.0),
            ));
        }
        let tally = &m.tally;
        for (name, count) in [
            ("sent", tally.sent),
            ("verified", tally.verified),
            ("lost", tally.lost),
            ("late", tally.late),
            ("duplicates", tally.duplicates),
        ] {
            rows.push((name.to_owned(), count.to_string()));
        }
        for (code, count) in &m.errors {
            rows.push(((*code).to_owned(), count.to_string()));
        }
        if self.measurement.account.is_some() {
            rows.push((
                "dropped at a full receive buffer".to_owned(),
                self.machine.receive_drops.to_string(),
            ));
        }
        rows
    }

    /// As a table.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!(
            "{}\n\n`{}`\n\n{}\n\n| | |\n|---|---:|\n",
            self.title(),
            self.command,
            self.machine.line()
        );
        for (name, value) in self.rows() {
            writeln!(text, "| {name} | {value} |").expect("a String takes everything");
        }
        for fault in &self.measurement.faults {
            writeln!(text, "\n**Fault:** {fault}").expect("a String takes everything");
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n", self.machine.line(), self.title())?;
        for (name, value) in self.rows() {
            writeln!(f, "{name:<34} {value:>14}")?;
        }
        for fault in &self.measurement.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
