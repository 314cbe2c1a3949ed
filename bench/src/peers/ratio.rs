//! Two sides that took turns on the same cores.

use std::fmt;

use serde::Serialize;

use crate::measure::Limit;
use crate::stats::Spread;

/// Two sides over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Ratio {
    limit: Limit,
    /// Of requests per second, the first to the second.
    rate: Spread,
    /// Of CPU time per request, the second to the first: above 1 the first is cheaper.
    cpu: Spread,
}

/// One side in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Who could not do more; none if the serving side's time cannot be read.
    pub(crate) limit: Option<Limit>,
    /// Verified ones.
    pub(crate) requests_per_second: f64,
    /// The serving core's, per request.
    pub(crate) server_cpu_ns: f64,
}

impl Ratio {
    /// The first side to the second, from each round's pair.
    pub(crate) fn of(pairs: &[(Figures, Figures)]) -> Option<Self> {
        let server = Some(Limit::Server);
        let saturated = pairs
            .iter()
            .filter(|(first, second)| first.limit == server && second.limit == server);
        let limit = if 2 * saturated.count() > pairs.len() {
            Limit::Server
        } else {
            Limit::Loader
        };
        let rate = pairs
            .iter()
            .map(|(first, second)| first.requests_per_second / second.requests_per_second);
        let cpu = pairs
            .iter()
            .map(|(first, second)| second.server_cpu_ns / first.server_cpu_ns);
        Some(Self {
            limit,
            rate: Spread::of(rate)?,
            cpu: Spread::of(cpu)?,
        })
    }

    /// What counts: of requests per second where the serving core was the limit on both sides in
    /// most rounds, else of the serving core's CPU time per request.
    pub(crate) const fn value(&self) -> f64 {
        match self.limit {
            Limit::Server => self.rate.median,
            Limit::Loader => self.cpu.median,
        }
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let basis = match self.limit {
            Limit::Server => "requests/s, the serving core was the limit",
            Limit::Loader => "CPU time per request, the load generator was the limit",
        };
        write!(
            f,
            "{:.3} (by {basis}); requests/s {:.3} ({:.3} to {:.3}), CPU time {:.3} ({:.3} to {:.3})",
            self.value(),
            self.rate.median,
            self.rate.min,
            self.rate.max,
            self.cpu.median,
            self.cpu.min,
            self.cpu.max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rates_count_where_both_servers_were_the_limit_else_their_cpu_time() {
        let figures = |limit, requests_per_second, server_cpu_ns| Figures {
            limit: Some(limit),
            requests_per_second,
            server_cpu_ns,
        };
        let slow = figures(Limit::Server, 100.0, 10.0);
        let fast = figures(Limit::Server, 300.0, 2.0);
        let idle = figures(Limit::Loader, 200.0, 2.0);
        let value = |pairs: &[_]| Ratio::of(pairs).map(|ratio| ratio.value());
        assert_eq!(value(&[(fast, slow)]), Some(3.0));
        assert_eq!(value(&[(idle, slow)]), Some(5.0));
        assert_eq!(value(&[(idle, slow), (fast, slow), (fast, slow)]), Some(3.0));
        assert_eq!(value(&[]), None);
    }
}
