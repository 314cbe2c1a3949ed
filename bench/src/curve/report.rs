//! What `curve` says.

use std::fmt;

use serde::Serialize;

use super::figures::{Figures, Run};
use crate::load::Plan;
use crate::machine::Machine;
use crate::measure::Measurement;
use crate::options::command;
use crate::stalls::Stalls;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub(super) figures: Figures,
    /// Of the closed loop.
    plan: Plan,
    symbols: usize,
    datagram_bytes: usize,
    faults: Vec<String>,
    machine: Machine,
    command: String,
}

impl Report {
    pub(super) fn new(
        plan: &Plan,
        symbols: usize,
        peak: Measurement,
        stalls: Stalls,
        runs: Vec<Run>,
        machine: Machine,
    ) -> Self {
        let form = format!("{:?}", plan.form).to_lowercase();
        let title = format!(
            "{}: {}, {} of {symbols} symbols a request, {} bytes each way, {} flows, {} keys",
            peak.side,
            form,
            plan.entries,
            plan.datagram_bytes(),
            plan.flows,
            plan.keys
        );
        let figures = Figures {
            title,
            peak_requests_per_second: peak.requests_per_second,
            stalls: Some(stalls),
            runs,
        };
        let of_peak = peak.faults.into_iter().map(|fault| format!("peak: {fault}"));
        Self {
            faults: of_peak.chain(figures.faults()).collect(),
            figures,
            plan: plan.clone(),
            symbols,
            datagram_bytes: plan.datagram_bytes(),
            machine,
            command: command(),
        }
    }

    /// Whether every reply was right, and none was lost where none may be.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// As a table.
    pub(super) fn markdown(&self) -> String {
        let machine = self.machine.line();
        format!("`{}`\n\n{machine}\n\n{}", self.command, self.figures.markdown())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.machine.line(), self.figures.text())?;
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
