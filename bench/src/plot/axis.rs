//! Axes: where a value lies, and which values are written beside them.

use crate::story::scale::{self, Scale, Tick, grouped};

/// A percentile axis ends here.
const LAST_PERCENTILE: f64 = 99.999;

/// What a position says.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    kind: Kind,
    pub(super) label: &'static str,
    low: f64,
    high: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    Log,
    /// Each step is ten times fewer that are slower.
    Percentiles,
}

/// How many nines a percentile has: 1 of 90, 2 of 99, 0.3 of the median.
pub(crate) fn nines(percentile: f64) -> f64 {
    -(1.0 - percentile / 100.0).log10()
}

/// A whole number in groups of three digits.
pub(crate) fn count(value: f64) -> String {
    grouped(&format!("{value:.0}"))
}

impl Axis {
    /// From 0 to a little more than the largest value.
    pub(crate) fn linear_from_0(label: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let high = values.fold(0.0, f64::max);
        Self {
            kind: Kind::Linear,
            label,
            low: 0.0,
            high: if high > 0.0 { high * 1.05 } else { 1.0 },
        }
    }

    /// From the 1, 2 or 5 below the smallest positive value to that above the largest.
    pub(crate) fn log(label: &'static str, values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::MAX, 0.0f64), |(low, high), value| {
                (low.min(value), high.max(value))
            });
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let decade = 10f64.powf(low.log10().floor());
        let floor = [5.0, 2.0, 1.0]
            .into_iter()
            .map(|step| step * decade)
            .find(|round| *round <= low);
        let decade = 10f64.powf(high.log10().floor());
        let ceiling = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|step| step * decade)
            .find(|round| *round >= high);
        let (low, high) = (floor.unwrap_or(low), ceiling.unwrap_or(high));
        Self {
            kind: Kind::Log,
            label,
            low,
            // Of one value only: still an axis.
            high: high.max(low * 2.0),
        }
    }

    /// From the median to 99.999 %.
    pub(crate) const fn percentiles() -> Self {
        Self {
            kind: Kind::Percentiles,
            label: "percentile",
            low: 50.0,
            high: LAST_PERCENTILE,
        }
    }

    /// Where on the axis a value lies before it is scaled to pixels.
    fn place(&self, value: f64) -> f64 {
        match self.kind {
            Kind::Linear => value,
            Kind::Log => value.max(self.low).log10(),
            Kind::Percentiles => nines(value.clamp(self.low, self.high)),
        }
    }

    /// The pixel of a value, between the pixels of the ends.
    pub(super) fn at(&self, value: f64, start: i32, end: i32) -> i32 {
        Scale::new(self.place(self.low), self.place(self.high), start, end).at(self.place(value))
    }

    /// What is written beside it; on a logarithmic axis the powers of ten stand out.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        match self.kind {
            Kind::Linear => scale::values(self.low, self.high, 8),
            Kind::Percentiles => [50.0, 90.0, 99.0, 99.9, 99.99, 99.999]
                .into_iter()
                .map(|at| Tick {
                    at,
                    text: format!("{at} %"),
                    strong: false,
                })
                .collect(),
            Kind::Log => {
                let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
                let dense = (self.high / self.low).log10() <= 4.0;
                decades
                    .flat_map(|decade| [1, 2, 5].map(|step| (decade, step)))
                    .filter(|(_, step)| dense || *step == 1)
                    .map(|(decade, step)| Tick {
                        at: f64::from(step) * 10f64.powi(decade),
                        // As many decimals as it takes.
                        text: grouped(&format!(
                            "{:.*}",
                            usize::try_from(-decade).unwrap_or(0),
                            f64::from(step) * 10f64.powi(decade)
                        )),
                        strong: step == 1,
                    })
                    .filter(|tick| {
                        // A power of ten is not always the nearest number to its decimals.
                        tick.at >= self.low * (1.0 - 1e-9) && tick.at <= self.high * (1.0 + 1e-9)
                    })
                    .collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|tick| tick.text).collect()
    }

    #[test]
    fn every_further_nine_of_a_percentile_is_one_step_of_the_axis() {
        let axis = Axis::percentiles();
        let at = |percentile| axis.at(percentile, 0, 4_699);
        // From 0.301 nines to 5, in thousandths.
        for (percentile, pixel) in [
            (50.0, 0),
            (90.0, 699),
            (99.0, 1_699),
            (99.9, 2_699),
            (99.999, 4_699),
        ] {
            assert!(
                (at(percentile) - pixel).abs() <= 1,
                "{percentile}: {}",
                at(percentile)
            );
        }
        assert_eq!(
            (at(0.0), at(100.0)),
            (0, 4_699),
            "what lies outside is at the end"
        );
        assert_eq!(
            texts(&axis),
            ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]
        );
    }

    #[test]
    fn equal_factors_are_equally_far_apart_on_a_logarithmic_axis() {
        let axis = Axis::log("us", [12.0, 700.0].into_iter());
        assert_eq!(texts(&axis), ["10", "20", "50", "100", "200", "500", "1,000"]);
        assert_eq!(
            [10.0, 100.0, 1_000.0, 0.0].map(|us| axis.at(us, 200, 0)),
            [200, 100, 0, 200]
        );
        let wide = Axis::log("us", [0.02, 3e5].into_iter());
        assert_eq!(texts(&wide)[..3], ["0.1", "1", "10"]);
        let one = Axis::log("us", std::iter::once(1.0));
        assert_eq!(texts(&one), ["1", "2"]);
        assert_eq!(texts(&Axis::log("us", std::iter::empty())), ["1", "2", "5", "10"]);
    }
}
