//! What was measured, as it is stored, and its two pictures.

use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::measure::{Measurement, Percentiles};
use crate::plot::axis::{self, Axis};
use crate::plot::lines::{Chart, Series};
use crate::stalls::Stalls;

/// Rates up to this share of the peak, percent, may lose nothing.
const LOSSLESS: f64 = 60.0;
/// Shares whose percentiles are drawn, if they were measured.
const DRAWN: [f64; 4] = [20.0, 50.0, 80.0, 95.0];
/// Points of a percentile line between one decade of 1/(1-q) and the next.
const PER_DECADE: u32 = 10;

/// Everything that is drawn and listed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// What was asked of whom.
    pub(crate) title: String,
    /// Of the closed loop that ran first.
    pub(crate) peak_requests_per_second: f64,
    /// What the two CPUs did to whoever ran there before the first request; `None` in results
    /// of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stalls: Option<Stalls>,
    pub(crate) runs: Vec<Run>,
}

/// One rate.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Of the peak, percent.
    pub(crate) share: f64,
    /// The rate of the schedule, requests per second.
    pub(crate) asked_per_second: f64,
    /// The rate of the verified replies.
    pub(crate) requests_per_second: f64,
    pub(crate) latency_us: Percentiles,
    pub(crate) sent: u64,
    pub(crate) verified: u64,
    pub(crate) lost: u64,
    pub(crate) late: u64,
    pub(crate) unsent: u64,
    /// Share of the requests that were sent more than 100 us after they were due.
    pub(crate) behind: f64,
    /// Share of the time that the serving thread had its CPU.
    pub(crate) server_busy: Option<f64>,
    /// Time of all processors that the hypervisor gave to others meanwhile, milliseconds.
    pub(crate) steal_ms: Option<f64>,
    /// Percentiles with their latency, microseconds, as far as there were samples for them.
    pub(crate) percentiles: Vec<(f64, f64)>,
    pub(crate) faults: Vec<String>,
}

impl Run {
    pub(super) fn new(
        share: f64,
        asked_per_second: f64,
        measured: Measurement,
        latency: &Histogram<u64>,
        stolen: Option<Duration>,
    ) -> Self {
        let mut faults = measured.faults;
        let lost = measured.tally.lost;
        if lost > 0 && share <= LOSSLESS {
            faults.push(format!("{lost} replies were lost at {share} % of the peak"));
        }
        Self {
            share,
            asked_per_second,
            requests_per_second: measured.requests_per_second,
            latency_us: measured.latency_us,
            sent: measured.tally.sent,
            verified: measured.tally.verified,
            lost,
            late: measured.tally.late,
            unsent: measured.tally.unsent,
            behind: measured.behind.unwrap_or_default(),
            server_busy: measured.server_busy,
            steal_ms: stolen.map(|time| time.as_secs_f64() * 1e3),
            percentiles: percentiles(latency),
            faults,
        }
    }
}

/// From the median on, evenly on the axis that they are drawn on. The last one has at least one
/// sample above it: further right the line would be flat, which says nothing.
fn percentiles(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let most = (latency.len().max(1) as f64).log10();
    let (from, to) = (axis::nines(50.0), axis::nines(99.999));
    let steps = ((to - from) * f64::from(PER_DECADE)).ceil();
    (0..=steps as u32)
        .map(|step| from + (to - from) * f64::from(step) / steps)
        .filter(|nines| *nines <= most)
        .map(|nines| {
            let quantile = 1.0 - 10f64.powf(-nines);
            let us = latency.value_at_quantile(quantile) as f64 / 1e3;
            (quantile * 100.0, us)
        })
        .collect()
}

impl Figures {
    /// What spoils it, in words.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        let of = |run: &Run| {
            let share = run.share;
            let tell = move |fault: &String| format!("{share} %: {fault}");
            run.faults.iter().map(tell).collect::<Vec<_>>()
        };
        self.runs.iter().flat_map(of)
    }

    /// Throughput against latency, as SVG.
    pub(crate) fn throughput_svg(&self) -> anyhow::Result<String> {
        let line = |name: &str, latency: fn(&Percentiles) -> f64| Series {
            name: name.to_owned(),
            points: self
                .runs
                .iter()
                .map(|run| (run.requests_per_second, latency(&run.latency_us)))
                .collect(),
            marked: true,
        };
        let rates = self.runs.iter().map(|run| run.requests_per_second);
        Chart {
            title: "Latency against throughput, open loop".to_owned(),
            subtitle: self.subtitle(),
            x: Axis::linear_from_0("requests per second", rates),
            y_label: "latency from the moment a request was due, us",
            series: vec![
                line("p50", |of| of.p50),
                line("p99", |of| of.p99),
                line("p99.9", |of| of.p99_9),
            ],
        }
        .svg()
    }

    /// Percentiles against latency, as SVG.
    pub(crate) fn percentiles_svg(&self) -> anyhow::Result<String> {
        let wanted = |run: &&Run| DRAWN.contains(&run.share);
        let some = self.runs.iter().any(|run| DRAWN.contains(&run.share));
        let series = self.runs.iter().filter(|run| !some || wanted(run));
        Chart {
            title: "Latency by percentile, open loop".to_owned(),
            subtitle: self.subtitle(),
            x: Axis::percentiles(),
            y_label: "latency from the moment a request was due, us",
            series: series
                .map(|run| Series {
                    name: format!("{} % of the peak", run.share),
                    points: run.percentiles.clone(),
                    marked: false,
                })
                .collect(),
        }
        .svg()
    }

    fn subtitle(&self) -> String {
        let peak = axis::count(self.peak_requests_per_second);
        format!("{}; peak {peak} requests/s", self.title)
    }

    /// A line on what no server could be below here.
    fn floor(&self) -> String {
        let line = |stalls: &Stalls| format!("{}\n", stalls.line());
        self.stalls.as_ref().map_or_else(String::new, line)
    }

    /// The columns and, for each rate, its row.
    fn table(&self) -> (Vec<&'static str>, Vec<Vec<String>>) {
        let names = vec![
            "of the peak",
            "asked/s",
            "reached/s",
            "p50 us",
            "p99 us",
            "p99.9 us",
            "max us",
            "lost",
            "unsent",
            "sent late",
            "server busy",
            "steal ms",
        ];
        let percent = |share: f64| format!("{:.1} %", share * 100.0);
        let row = |run: &Run| {
            let us = run.latency_us;
            vec![
                format!("{} %", run.share),
                format!("{:.0}", run.asked_per_second),
                format!("{:.0}", run.requests_per_second),
                format!("{:.1}", us.p50),
                format!("{:.1}", us.p99),
                format!("{:.1}", us.p99_9),
                format!("{:.1}", us.max),
                run.lost.to_string(),
                run.unsent.to_string(),
                percent(run.behind),
                run.server_busy.map_or_else(|| "-".to_owned(), percent),
                run.steal_ms
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}")),
            ]
        };
        (names, self.runs.iter().map(row).collect())
    }

    /// As a table for a terminal.
    pub(crate) fn text(&self) -> String {
        let (names, rows) = self.table();
        let names = names.into_iter().map(str::to_owned).collect();
        let mut text = format!("{}\n{}\n", self.subtitle(), self.floor());
        for row in std::iter::once(names).chain(rows) {
            for cell in row {
                write!(text, "{cell:>12}").expect("a String takes everything");
            }
            text.push('\n');
        }
        text
    }

    /// As a Markdown table.
    pub(crate) fn markdown(&self) -> String {
        let (names, rows) = self.table();
        let (title, floor) = (self.subtitle(), self.floor());
        let mut text = format!("{title}\n\n{floor}\n| {} |\n", names.join(" | "));
        writeln!(text, "|{}", "---:|".repeat(names.len())).expect("a String takes everything");
        for row in rows {
            writeln!(text, "| {} |", row.join(" | ")).expect("a String takes everything");
        }
        for fault in self.faults() {
            write!(text, "\n**Fault:** {fault}\n").expect("a String takes everything");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_line_runs_from_the_median_as_far_as_there_are_samples() {
        let mut latency = Histogram::<u64>::new(3).expect("made");
        for us in 1..=1_000 {
            latency.record(us * 1_000).expect("recorded");
        }
        let points = percentiles(&latency);
        assert!((points[0].0 - 50.0).abs() < 1e-9 && (points[0].1 - 500.0).abs() < 1.0);
        let last = points.last().expect("some");
        assert!(last.0 > 99.8 && last.0 <= 99.9 && last.1 >= 998.0, "{last:?}");
        assert!(points.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        assert!(percentiles(&Histogram::new(3).expect("made")).is_empty());
    }
}
