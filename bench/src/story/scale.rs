//! From values to pixels, and the round values that an axis is labelled with.

use trinity_beast::cli::output::short_time;

const NANOS: u64 = 1_000_000_000;

/// Steps of a time axis, seconds.
const TIME_STEPS: [u64; 16] = [
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 21_600,
];

const DAY: u64 = 86_400;

/// A straight line from a span of values to a span of pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    from: f64,
    per_unit: f64,
    start: f64,
}

impl Scale {
    pub(crate) fn new(from: f64, to: f64, start: i32, end: i32) -> Self {
        let span = if to > from { to - from } else { 1.0 };
        Self {
            from,
            per_unit: f64::from(end - start) / span,
            start: f64::from(start),
        }
    }

    pub(crate) fn at(&self, value: f64) -> i32 {
        (self.start + (value - self.from) * self.per_unit).round() as i32
    }
}

/// A label of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tick {
    pub(crate) at: f64,
    pub(crate) text: String,
    /// Stands out: the beginning of a day.
    pub(crate) strong: bool,
}

/// About `count` round values within a span.
pub(crate) fn values(from: f64, to: f64, count: u32) -> Vec<Tick> {
    let rough = (to - from) / f64::from(count);
    if !rough.is_finite() || rough <= 0.0 {
        return Vec::new();
    }
    let unit = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .into_iter()
        .map(|times| times * unit)
        .find(|step| *step >= rough)
        .unwrap_or(rough);
    // As many decimals as the step has.
    let places = (0..=12)
        .find(|places| {
            let scaled = step * 10f64.powi(*places);
            (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .unwrap_or(12) as usize;
    let first = (from / step).ceil() as i64;
    let last = (to / step).floor() as i64;
    (first..=last.min(first + 100))
        .map(|n| {
            let at = n as f64 * step;
            Tick {
                at,
                text: grouped(&format!("{at:.places$}")),
                strong: false,
            }
        })
        .collect()
}

/// About `count` round times within a span of Unix ns, labelled in UTC.
pub(crate) fn times(from_ns: u64, to_ns: u64, count: u64) -> Vec<Tick> {
    let seconds = to_ns.saturating_sub(from_ns) / NANOS;
    let rough = (seconds / count.max(1)).max(1);
    let step = TIME_STEPS
        .into_iter()
        .find(|step| *step >= rough)
        .unwrap_or_else(|| rough.div_ceil(DAY) * DAY);
    let first = from_ns.div_ceil(step * NANOS);
    (first..=to_ns / (step * NANOS))
        .take(1_000)
        .map(|n| {
            let at_ns = n * step * NANOS;
            let text = short_time(at_ns);
            let midnight = (at_ns / NANOS).is_multiple_of(DAY);
            Tick {
                at: at_ns as f64,
                text: if midnight {
                    text[..10].to_owned()
                } else if step < 60 {
                    text[11..19].to_owned()
                } else {
                    text[11..16].to_owned()
                },
                strong: midnight,
            }
        })
        .collect()
}

/// `20619.5` as `20,619.5`.
pub(crate) fn grouped(text: &str) -> String {
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.text.as_str()).collect()
    }

    #[test]
    fn axes_are_labelled_with_round_values() {
        assert_eq!(
            texts(&values(19_480.0, 21_100.0, 6)),
            ["19,500", "20,000", "20,500", "21,000"]
        );
        assert_eq!(
            texts(&values(0.868, 1.004, 6)),
            ["0.875", "0.900", "0.925", "0.950", "0.975", "1.000"]
        );
        assert_eq!(texts(&values(1.0, 1.0, 5)), Vec::<&str>::new());
        let at = |hours: u64| 1_678_406_400 * NANOS + hours * 3_600 * NANOS;
        assert_eq!(
            texts(&times(at(10), at(26), 6)),
            ["12:00", "16:00", "20:00", "2023-03-11"]
        );
        assert_eq!(
            texts(&times(at(0) + 1, at(0) + 3 * NANOS, 3)),
            ["00:00:01", "00:00:02", "00:00:03"]
        );
    }

    #[test]
    fn a_scale_maps_its_ends_to_its_ends_upside_down_too() {
        let scale = Scale::new(1.0, 3.0, 100, 0);
        assert_eq!((scale.at(1.0), scale.at(2.0), scale.at(3.0)), (100, 50, 0));
    }
}
