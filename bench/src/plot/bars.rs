//! The ratios of `compare` as horizontal bars.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plotters::prelude::RGBColor;
use serde::Deserialize;

use super::axis::Axis;
use crate::stats::Spread;
use crate::story::paint::{self, Colour, FAINT, GREY, Hold, INK, Sheet};

const WIDTH: u32 = 1_100;
const LEFT: i32 = 380;
const RIGHT: i32 = 1_000;
const TOP: i32 = 100;
const ROW: i32 = 30;
/// Half of a bar's height, and of the line at a whisker's end.
const HALF: i32 = 9;
const HALF_END: i32 = 5;
/// Ratios that span more are drawn on a logarithmic axis.
const LINEAR_SPAN: f64 = 10.0;

const RATE: Colour = RGBColor(0x56, 0x9c, 0xc8);
const LATENCY: Colour = RGBColor(0xe0, 0x9a, 0x6b);

/// What is read of a result; `http` has ratios too, but no driver.
#[derive(Debug, Deserialize)]
pub(super) struct Compared {
    ratios: BTreeMap<String, f64>,
    spread: BTreeMap<String, Compare>,
    default_driver: String,
    #[serde(default)]
    faults: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Compare {
    by: String,
    #[serde(default)]
    limit: Option<String>,
    rate: Spread,
    #[serde(default)]
    cpu: Option<Spread>,
}

impl Compare {
    fn by_cpu_time(&self) -> Option<Spread> {
        self.cpu.filter(|_| self.limit.as_deref() == Some("loader"))
    }

    /// How far apart the rounds were, of what the ratio is one of.
    fn range(&self) -> Spread {
        self.by_cpu_time().unwrap_or(self.rate)
    }

    fn basis(&self) -> &'static str {
        match (self.by.as_str(), self.by_cpu_time()) {
            ("median_latency", _) => "median latency",
            ("prices", Some(_)) => "CPU time per price",
            ("prices", None) => "prices/s",
            (_, Some(_)) => "CPU time per request",
            (_, None) => "requests/s",
        }
    }
}

/// One bar.
struct Bar<'a> {
    name: &'a str,
    value: f64,
    of: Option<&'a Compare>,
}

impl Bar<'_> {
    fn range(&self) -> (f64, f64) {
        let range = self.of.map(Compare::range);
        range.map_or((self.value, self.value), |of| (of.min, of.max))
    }

    fn is_latency(&self) -> bool {
        self.of.is_some_and(|of| of.by == "median_latency")
    }
}

impl Compared {
    pub(super) fn is_empty(&self) -> bool {
        self.ratios.is_empty()
    }

    /// A ratio's bare name is that of the default driver, which has the spread.
    fn bars(&self) -> Vec<Bar<'_>> {
        let bar = |(name, value): (&'_ String, &f64)| {
            let full = format!("{name}_{}", self.default_driver);
            Bar {
                name: self
                    .ratios
                    .get_key_value(name)
                    .map_or("", |(name, _)| name.as_str()),
                value: *value,
                of: self.spread.get(name).or_else(|| self.spread.get(&full)),
            }
        };
        self.ratios.iter().map(bar).collect()
    }

    /// As SVG.
    pub(super) fn svg(&self) -> anyhow::Result<String> {
        let bars = self.bars();
        let height = TOP + ROW * bars.len() as i32 + 60;
        paint::sheet((WIDTH, height as u32), |sheet| self.draw(sheet, &bars))
    }

    fn draw(&self, sheet: &Sheet<'_>, bars: &[Bar<'_>]) {
        // 1, to which everything is compared, is always in sight.
        let ends = || {
            let values = bars.iter().flat_map(|bar| {
                let (low, high) = bar.range();
                [low, high, bar.value]
            });
            values.chain([1.0])
        };
        let smallest = ends().filter(|value| *value > 0.0).fold(f64::MAX, f64::min);
        let logarithmic = ends().fold(0.0, f64::max) / smallest > LINEAR_SPAN;
        let axis = if logarithmic {
            Axis::log("ratio", ends())
        } else {
            Axis::linear_from_0("ratio", ends())
        };
        let x = |value: f64| axis.at(value, LEFT, RIGHT);
        let bottom = TOP + ROW * bars.len() as i32;

        sheet.bold("This server, to what is beside it", (24, 24), Hold::Left, 22);
        let scale = if logarithmic { ", logarithmic" } else { "" };
        let subtitle = format!(
            "medians over the rounds, whiskers from the least to the most{scale}; bare names are of the {} driver",
            self.default_driver
        );
        sheet.text(&subtitle, (24, 50), Hold::Left, 14, GREY);
        sheet.block((24, 69), (48, 83), RATE);
        sheet.text("rate or cheapness: more is better", (56, 76), Hold::Left, 15, INK);
        sheet.block((324, 69), (348, 83), LATENCY);
        sheet.text("latency: less is better", (356, 76), Hold::Left, 15, INK);
        for tick in axis.ticks() {
            let at = x(tick.at);
            sheet.line(vec![(at, TOP), (at, bottom)], FAINT, 1);
            sheet.text(&tick.text, (at, bottom + 16), Hold::Middle, 14, INK);
        }
        sheet.text(
            "ratio",
            (i32::midpoint(LEFT, RIGHT), bottom + 40),
            Hold::Middle,
            15,
            INK,
        );
        let base = if logarithmic { x(1.0) } else { x(0.0) };
        for (n, bar) in bars.iter().enumerate() {
            let y = TOP + ROW * n as i32 + ROW / 2;
            let (low, high) = bar.range();
            let (from, to) = (base.min(x(bar.value)), base.max(x(bar.value)));
            let colour = if bar.is_latency() { LATENCY } else { RATE };
            sheet.block((from, y - HALF), (to, y + HALF), colour);
            sheet.line(vec![(x(low), y), (x(high), y)], INK, 1);
            for end in [x(low), x(high)] {
                sheet.line(vec![(end, y - HALF_END), (end, y + HALF_END)], INK, 1);
            }
            sheet.text(bar.name, (LEFT - 10, y), Hold::Right, 15, INK);
            // Right of everything in the row, the line at 1 too.
            let right = to.max(x(high)).max(x(1.0));
            sheet.text(&number(bar.value), (right + 8, y), Hold::Left, 15, INK);
        }
        sheet.line(vec![(x(1.0), TOP), (x(1.0), bottom)], INK, 2);
        sheet.frame((LEFT, TOP), (RIGHT, bottom), GREY);
    }

    /// As a Markdown table.
    pub(super) fn markdown(&self) -> String {
        let mut text = String::from("| ratio | median | range | of |\n|---|---:|---:|---|\n");
        for bar in self.bars() {
            let (low, high) = bar.range();
            writeln!(
                text,
                "| `{}` | {} | {} to {} | {} |",
                bar.name,
                number(bar.value),
                number(low),
                number(high),
                bar.of.map_or("-", Compare::basis)
            )
            .expect("a String takes everything");
        }
        for fault in &self.faults {
            write!(text, "\n**Fault:** {fault}\n").expect("a String takes everything");
        }
        text
    }
}

/// Three digits that count.
fn number(ratio: f64) -> String {
    let places = if ratio >= 100.0 {
        0
    } else if ratio >= 10.0 {
        1
    } else {
        2
    };
    format!("{ratio:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::tests::is_well_formed;

    const RESULT: &str = r#"{
        "ratios": {"udp_a_vs_echo": 40.25, "udp_a_vs_echo_epoll": 40.25, "rtt_p50_vs_b": 0.9, "x<y": 2.0},
        "spread": {
            "udp_a_vs_echo_epoll": {
                "by": "prices", "limit": "loader",
                "rate": {"median": 30.0, "min": 29.0, "max": 31.0},
                "cpu": {"median": 40.25, "min": 39.0, "max": 44.0}
            },
            "rtt_p50_vs_b": {"by": "median_latency", "rate": {"median": 0.9, "min": 0.8, "max": 1.1}}
        },
        "default_driver": "epoll", "faults": ["something"], "limits": {}, "rounds": []
    }"#;

    fn compared() -> Compared {
        serde_json::from_str(RESULT).expect("a result")
    }

    #[test]
    fn every_ratio_has_a_label_and_its_value_and_the_picture_is_well_formed() {
        let svg = compared().svg().expect("drawn");
        assert!(is_well_formed(&svg), "{svg}");
        for label in ["udp_a_vs_echo", "udp_a_vs_echo_epoll", "rtt_p50_vs_b", "x&lt;y"] {
            assert!(svg.lines().any(|line| line.trim() == label), "{label} in {svg}");
        }
        for value in ["40.2", "0.90", "2.00", "logarithmic"] {
            assert!(svg.contains(value), "{value}");
        }
    }

    #[test]
    fn ratios_within_ten_times_are_drawn_on_a_linear_axis() {
        let mut few = compared();
        few.ratios.retain(|name, _| name == "rtt_p50_vs_b");
        let svg = few.svg().expect("drawn");
        assert!(!svg.contains("logarithmic") && is_well_formed(&svg), "{svg}");
    }

    #[test]
    fn the_table_has_the_range_of_what_was_compared_under_the_bare_name_too() {
        let table = compared().markdown();
        for row in [
            "| `udp_a_vs_echo` | 40.2 | 39.0 to 44.0 | CPU time per price |",
            "| `udp_a_vs_echo_epoll` | 40.2 | 39.0 to 44.0 | CPU time per price |",
            "| `rtt_p50_vs_b` | 0.90 | 0.80 to 1.10 | median latency |",
            "**Fault:** something",
        ] {
            assert!(table.lines().any(|line| line == row), "{row} in {table}");
        }
    }
}
