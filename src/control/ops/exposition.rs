//! The Prometheus text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::fmt::{Display, Write};

use crate::tables::counters::LatencyHistogram;

/// Content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics being written, family by family.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
}

/// One family; its samples stand together, as the format demands.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// Histogram buckets that are written: latencies below 2^8 ns (256 ns) to 2^34 ns (17 s).
/// The histogram has more at both ends, where nothing is to be told apart.
const BUCKETS: std::ops::RangeInclusive<usize> = 8..=34;

impl Exposition {
    /// Begins a family of counters; the name ends in `_total`.
    pub(super) fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// Begins a family of gauges.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// Begins a family of histograms.
    pub(super) fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// The text.
    pub(super) fn finish(self) -> String {
        self.text
    }

    // Writing to a string cannot fail; hence the ignored results here and below.
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        Family {
            text: &mut self.text,
            name,
        }
    }
}

impl Family<'_> {
    /// Writes a sample.
    pub(super) fn sample(&mut self, labels: &[(&str, &dyn Display)], value: impl Display) -> &mut Self {
        self.write("", labels, None, value);
        self
    }

    /// Writes the samples of a histogram, in seconds.
    pub(super) fn latencies(&mut self, labels: &[(&str, &dyn Display)], histogram: &LatencyHistogram) {
        let buckets = histogram.buckets();
        let mut below: u64 = buckets[..*BUCKETS.start()].iter().sum();
        for bucket in BUCKETS {
            below += buckets[bucket];
            let bound = seconds(1 << bucket);
            self.write("_bucket", labels, Some(&bound), below);
        }
        // From the same reading as the buckets, or the last of them could exceed it.
        let count: u64 = buckets.iter().sum();
        self.write("_bucket", labels, Some(&"+Inf"), count);
        self.write("_sum", labels, None, seconds(histogram.sum_ns()));
        self.write("_count", labels, None, count);
    }

    fn write(
        &mut self,
        suffix: &str,
        labels: &[(&str, &dyn Display)],
        bound: Option<&dyn Display>,
        value: impl Display,
    ) {
        let _ = write!(self.text, "{}{suffix}", self.name);
        let bound = bound.map(|bound| ("le", bound));
        for (index, (name, value)) in labels.iter().copied().chain(bound).enumerate() {
            let bracket = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{bracket}{name}=\"{}\"", escape(&value.to_string()));
        }
        if !labels.is_empty() || bound.is_some() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut metrics = Exposition::default();
        metrics
            .gauge("a_info", "What a is.")
            .sample(&[("why", &"say \"x\\y\"\nplease"), ("n", &7)], 1);
        assert_eq!(
            metrics.finish(),
            "# HELP a_info What a is.\n# TYPE a_info gauge\na_info{why=\"say \\\"x\\\\y\\\"\\nplease\",n=\"7\"} 1\n"
        );
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_all() {
        let histogram = LatencyHistogram::default();
        histogram.record(0, 1);
        histogram.record(300, 2);
        histogram.record(u64::MAX >> 20, 3);
        let mut metrics = Exposition::default();
        metrics
            .histogram("h_seconds", "Times.")
            .latencies(&[("s", &0)], &histogram);
        let text = metrics.finish();
        assert!(
            text.contains("h_seconds_bucket{s=\"0\",le=\"0.000000256\"} 1\n"),
            "{text}"
        );
        assert!(
            text.contains("h_seconds_bucket{s=\"0\",le=\"0.000000512\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("h_seconds_bucket{s=\"0\",le=\"+Inf\"} 6\n"),
            "{text}"
        );
        assert!(text.contains("h_seconds_count{s=\"0\"} 6\n"), "{text}");
    }
}
