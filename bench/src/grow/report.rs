//! What `grow` says.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::memory::Memory;
use super::{Axis, MOST_GROWTH};
use crate::machine::Machine;
use crate::measure::Measurement;
use crate::options::command;
use crate::stats::Spread;

/// One size in one round.
pub(super) struct Point {
    pub(super) axis: Axis,
    pub(super) value: usize,
    pub(super) measured: Measurement,
}

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What a request costs at the largest size, in costs at the smallest.
    growth: BTreeMap<Axis, f64>,
    most_growth: f64,
    sizes: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
    faults: Vec<String>,
    machine: Machine,
    command: String,
}

/// One size over all rounds.
#[derive(Debug, Serialize)]
struct Row {
    axis: Axis,
    value: usize,
    server_cpu_ns_per_request: Spread,
    requests_per_second: Spread,
    /// Datagrams per turn of the server.
    mean_batch: Spread,
}

impl Report {
    pub(super) fn new(points: &[Point], memory: Option<Memory>, mut machine: Machine) -> Self {
        let mut sizes: Vec<_> = points.iter().map(|point| (point.axis, point.value)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let sizes: Vec<_> = sizes
            .into_iter()
            .filter_map(|size| Row::of(size, points))
            .collect();
        let mut growth = BTreeMap::new();
        for axis in sizes.chunk_by(|a, b| a.axis == b.axis) {
            let cost = |row: &Row| row.server_cpu_ns_per_request.median;
            growth.insert(axis[0].axis, cost(&axis[axis.len() - 1]) / cost(&axis[0]));
        }
        let mut faults: Vec<_> = points
            .iter()
            .flat_map(|point| {
                let tell = move |fault| format!("{:?} {}: {fault}", point.axis, point.value);
                point.measured.faults.iter().map(tell)
            })
            .collect();
        for (axis, growth) in &growth {
            if *growth > MOST_GROWTH {
                faults.push(format!(
                    "{axis:?}: {growth:.2} times the cost, above {MOST_GROWTH}"
                ));
            }
        }
        faults.extend(memory.iter().flat_map(Memory::faults));
        let smallest = |of: fn(&Measurement) -> Option<usize>| {
            let granted = points.iter().filter_map(|point| of(&point.measured));
            granted.min().unwrap_or_default()
        };
        machine.receive_buffer_bytes = smallest(|m| m.receive_buffer_bytes);
        machine.send_buffer_bytes = smallest(|m| m.send_buffer_bytes);
        let accounts = points.iter().filter_map(|point| point.measured.account);
        machine.receive_drops = accounts.map(|account| account.receive_drops).sum();
        Self {
            growth,
            most_growth: MOST_GROWTH,
            sizes,
            memory,
            faults,
            machine,
            command: command(),
        }
    }

    /// Whether every reply was right and nothing grew too much.
    pub(super) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }
}

impl Row {
    fn of((axis, value): (Axis, usize), points: &[Point]) -> Option<Self> {
        let spread = |what: fn(&Measurement) -> Option<f64>| {
            let same = points
                .iter()
                .filter(|point| (point.axis, point.value) == (axis, value));
            Spread::of(same.filter_map(|point| what(&point.measured)))
        };
        Some(Self {
            axis,
            value,
            server_cpu_ns_per_request: spread(|m| m.server_cpu_ns_per_request)?,
            requests_per_second: spread(|m| Some(m.requests_per_second))?,
            mean_batch: spread(|m| Some(m.account?.mean_batch))?,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine.line())?;
        writeln!(
            f,
            "{:<8} {:>9}  {:>18}  {:>19} {:>11} {:>8}",
            "", "", "server ns/request", "(min to max)", "requests/s", "a batch"
        )?;
        for row in &self.sizes {
            let cost = row.server_cpu_ns_per_request;
            writeln!(
                f,
                "{:<8} {:>9}  {:>18.0}  {:>19} {:>11.0} {:>8.1}",
                format!("{:?}", row.axis).to_lowercase(),
                row.value,
                cost.median,
                format!("({:.0} to {:.0})", cost.min, cost.max),
                row.requests_per_second.median,
                row.mean_batch.median
            )?;
        }
        writeln!(f)?;
        for (axis, growth) in &self.growth {
            let axis = format!("{axis:?}").to_lowercase();
            writeln!(
                f,
                "{axis:<8} {growth:.2} times the cost, of {MOST_GROWTH} at most"
            )?;
        }
        if let Some(memory) = &self.memory {
            writeln!(f, "{}", memory.line())?;
        }
        for fault in &self.faults {
            writeln!(f, "FAULT: {fault}")?;
        }
        Ok(())
    }
}
