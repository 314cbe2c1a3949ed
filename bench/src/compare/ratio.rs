//! Ratios over rounds.

use serde::Serialize;

use super::lineup::{By, Rule};
use crate::measure::{Limit, Measurement};
use crate::stats::Spread;

/// One comparison over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) by: By,
    /// Who was the limit: of `loader`, CPU times are compared. Of round trips, where nothing is
    /// at its limit, there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<Limit>,
    /// Of the two sides' figures, the first to the second.
    pub(super) rate: Spread,
    /// Of the serving CPU time of each request or price, the second side's to the first's: 1 is
    /// as cheap. Only where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu: Option<Spread>,
}

impl Ratio {
    /// `None` where a side was not measured.
    pub(super) fn of(rule: &Rule, rounds: &[Vec<Measurement>]) -> Option<Self> {
        let pairs: Vec<_> = rounds
            .iter()
            .filter_map(|sides| {
                let find = |name: &str| sides.iter().find(|m| m.side == name);
                Some((find(&rule.above)?, find(&rule.below)?))
            })
            .collect();
        let rate = |m: &Measurement| match rule.by {
            By::Requests | By::RateAlone => m.requests_per_second,
            By::Prices => m.prices_per_second,
            By::MedianLatency => m.latency_us.p50,
        };
        let cpu = |m: &Measurement| match rule.by {
            By::Requests => m.server_cpu_ns_per_request,
            By::Prices => m.server_cpu_ns_per_price(),
            By::RateAlone | By::MedianLatency => None,
        };
        let saturated = pairs
            .iter()
            .filter(|(above, below)| above.limit == Limit::Server && below.limit == Limit::Server)
            .count();
        let limit = match rule.by {
            By::MedianLatency => None,
            By::RateAlone => Some(Limit::Server),
            _ if 2 * saturated > pairs.len() => Some(Limit::Server),
            _ => Some(Limit::Loader),
        };
        Some(Self {
            by: rule.by,
            limit,
            rate: Spread::of(pairs.iter().map(|(above, below)| rate(above) / rate(below)))?,
            cpu: Spread::of(
                pairs
                    .iter()
                    .filter_map(|(above, below)| Some(cpu(below)? / cpu(above)?)),
            ),
        })
    }

    /// The number that counts.
    pub(super) fn value(&self) -> f64 {
        match (self.limit, self.cpu) {
            (Some(Limit::Loader), Some(cpu)) => cpu.median,
            _ => self.rate.median,
        }
    }

    /// What it is a ratio of, for people.
    pub(super) const fn basis(&self) -> &'static str {
        match (self.by, self.limit, &self.cpu) {
            (By::MedianLatency, ..) => "median latency",
            (By::RateAlone, ..) => "requests/s",
            (By::Requests, Some(Limit::Loader), Some(_)) => {
                "CPU time per request, the load generator was the limit"
            }
            (By::Prices, Some(Limit::Loader), Some(_)) => {
                "CPU time per price, the load generator was the limit"
            }
            (By::Requests, ..) => "requests/s, the serving core was the limit",
            (By::Prices, ..) => "prices/s, the serving core was the limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::Histogram;

    use super::*;
    use crate::cpu_time::Spent;
    use crate::load::{Form, Load, Pace, Plan};
    use crate::popularity::Popularity;

    /// Of one second: so many requests of so many prices, the server busy for a share of it.
    fn measured(side: &str, requests: u64, entries: usize, busy: f64) -> Measurement {
        let plan = Plan {
            form: Form::Plain,
            entries,
            pace: Pace::Closed {
                window: 1,
                eager: false,
            },
            flows: 1,
            sources: 1,
            keys: 1,
            popularity: Popularity::Uniform,
            warm_up: Duration::ZERO,
            time: Duration::from_secs(1),
        };
        let mut latency = Histogram::new(3).expect("made");
        latency.record(requests).expect("recorded");
        let load = Load {
            tally: crate::tally::Tally::default(),
            measured: requests,
            wall: Duration::from_secs(1),
            server: Some(Spent {
                on_cpu: Duration::from_secs_f64(busy),
                delayed: Duration::ZERO,
            }),
            loader: Spent::default(),
            idle: Duration::ZERO,
            latency,
            behind: None,
        };
        Measurement::new(side.to_owned(), &plan, &load, None, None)
    }

    fn ratio(by: By, above: Measurement, below: Measurement) -> Ratio {
        let rule = Rule {
            name: "r".into(),
            also: None,
            above: above.side.clone(),
            below: below.side.clone(),
            by,
            at_least: None,
        };
        Ratio::of(&rule, &[vec![above, below]]).expect("both were measured")
    }

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn where_the_server_was_the_limit_rates_are_compared() {
        let found = ratio(
            By::Requests,
            measured("a", 3_000, 1, 1.0),
            measured("b", 1_000, 1, 1.0),
        );
        assert_eq!(found.limit, Some(Limit::Server));
        assert!(close(found.value(), 3.0));
        let found = ratio(
            By::Prices,
            measured("a", 3_000, 31, 1.0),
            measured("b", 1_000, 1, 1.0),
        );
        assert!(close(found.value(), 93.0));
    }

    #[test]
    fn where_the_load_was_the_limit_of_either_side_cpu_times_are_compared() {
        let found = ratio(
            By::Requests,
            measured("a", 1_000, 1, 0.25),
            measured("b", 1_000, 1, 1.0),
        );
        assert_eq!(found.limit, Some(Limit::Loader));
        assert!(
            close(found.value(), 4.0),
            "the same rate for a quarter of the time"
        );
        let found = ratio(
            By::Prices,
            measured("a", 1_000, 31, 0.5),
            measured("b", 1_000, 1, 1.0),
        );
        assert!(close(found.value(), 62.0));
    }

    #[test]
    fn round_trips_and_flooded_rates_are_compared_as_they_are() {
        let found = ratio(
            By::MedianLatency,
            measured("a", 500, 1, 0.1),
            measured("b", 1_000, 1, 0.1),
        );
        assert_eq!((found.limit, close(found.value(), 0.5)), (None, true));
        let found = ratio(
            By::RateAlone,
            measured("a", 500, 1, 0.1),
            measured("b", 1_000, 1, 0.9),
        );
        assert!(close(found.value(), 0.5));
    }

    #[test]
    fn a_side_that_is_missing_gives_no_ratio() {
        let rule = Rule {
            name: "r".into(),
            also: None,
            above: "a".into(),
            below: "b".into(),
            by: By::Requests,
            at_least: None,
        };
        assert!(Ratio::of(&rule, &[vec![measured("a", 1, 1, 1.0)]]).is_none());
    }
}
