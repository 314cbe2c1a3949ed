//! Checks replies: every one of them, in every way.

use hdrhistogram::Histogram;
use trinity_protocol::{ReplyView, RequestId, RequestView};

use super::pending::{Pending, Sighting};
use super::plan::{Expected, Plan};
use super::writer;
use crate::mac::{self, LANES};
use crate::population::{Caller, Population};
use crate::tally::{Asked, Tally};

/// What was asked, what came back, and whether it was right.
pub(super) struct Checker<'a> {
    pub(super) pending: Pending,
    pub(super) tally: Tally,
    pub(super) latency: Histogram<u64>,
    /// Requests on their way, per flow.
    pub(super) outstanding: Vec<usize>,
    expected: Expected,
    callers: Vec<&'a Caller>,
    population: &'a Population,
    session: u32,
    orders: Orders,
}

/// The highest sequences seen, by customer and symbol. Only replies to one key at one address
/// come in the order in which they were given: a server is free to answer keys side by side, and
/// to send together what goes to one peer.
struct Orders {
    /// Of each customer all symbols; empty where order is not judged.
    newest: Vec<u32>,
    symbols: usize,
    /// Whether a customer is a key; else it is a flow, and several flows share a key.
    by_key: bool,
}

impl Orders {
    /// Above this the generator would be slowed down by looking: order is not judged then.
    const MOST: usize = 4 << 20;

    fn new(plan: &Plan, symbols: usize) -> Self {
        // A flow has many keys, or a key has many flows, but not both (see `Turns`).
        let customers = plan.keys.max(plan.flows);
        let is_judged = plan.sources == 1 && customers * symbols <= Self::MOST;
        Self {
            newest: vec![0; if is_judged { customers * symbols } else { 0 }],
            symbols,
            by_key: plan.keys >= plan.flows,
        }
    }

    fn of(&mut self, flow: usize, key: usize) -> &mut [u32] {
        let customer = if self.by_key { key } else { flow };
        let begins = customer * self.symbols;
        self.newest
            .get_mut(begins..begins + self.symbols)
            .unwrap_or_default()
    }
}

/// What came back, as far as it can be read.
#[derive(Clone, Copy)]
enum View<'a> {
    Echo(RequestView<'a>),
    Price(ReplyView<'a>),
}

/// A well-formed datagram that answers a request.
#[derive(Clone, Copy)]
struct Arrived<'a> {
    view: View<'a>,
    key: usize,
    place: usize,
    /// From when its latency counts; `None` if it was given up.
    since_ns: Option<u64>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        plan: &Plan,
        expected: Expected,
        population: &'a Population,
        session: u32,
        pending: Pending,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            pending,
            tally: Tally::default(),
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            outstanding: vec![0; plan.flows],
            expected,
            callers: writer::callers(population, plan),
            population,
            session,
            orders: Orders::new(plan, population.symbols.len()),
        })
    }

    /// Checks datagrams that came on a flow at one moment.
    pub(super) fn check<'d>(
        &mut self,
        flow: usize,
        mut datagrams: impl Iterator<Item = &'d [u8]>,
        now_ns: u64,
    ) {
        let mut lanes = [&[][..]; LANES];
        loop {
            let mut count = 0;
            for (lane, datagram) in lanes.iter_mut().zip(&mut datagrams) {
                *lane = datagram;
                count += 1;
            }
            self.check_lanes(flow, &lanes[..count], now_ns);
            if count < LANES {
                return;
            }
        }
    }

    /// Gives up what took too long, among the next part of all requests.
    pub(super) fn expire(&mut self, now_ns: u64, parts: usize) {
        self.pending.expire(now_ns, parts, |flow| {
            self.outstanding[flow] -= 1;
            self.tally.lost += 1;
        });
    }

    fn check_lanes(&mut self, flow: usize, datagrams: &[&[u8]], now_ns: u64) {
        self.tally.answered += datagrams.len() as u64;
        let mut arrived = [None; LANES];
        for (arrived, datagram) in arrived.iter_mut().zip(datagrams) {
            *arrived = self.find(flow, datagram);
        }
        let genuine = self.genuine(&arrived[..datagrams.len()], datagrams);
        // Requests of one batch were sent at one time and mostly come back together.
        let mut run = (0, 0);
        for (arrived, is_genuine) in arrived.iter().zip(genuine) {
            let Some(arrived) = arrived else { continue };
            let is_right = self.is_right(flow, arrived, is_genuine);
            let Some(since_ns) = arrived.since_ns else {
                self.tally.late += 1;
                continue;
            };
            self.outstanding[flow] -= 1;
            if !is_right {
                continue;
            }
            self.tally.verified += 1;
            if run.0 != since_ns {
                self.record(run, now_ns);
                run = (since_ns, 0);
            }
            run.1 += 1;
        }
        self.record(run, now_ns);
    }

    /// Finds the request that a datagram answers; counts what answers none.
    fn find<'d>(&mut self, flow: usize, datagram: &'d [u8]) -> Option<Arrived<'d>> {
        let parsed: Option<(View<'d>, RequestId)> = match self.expected {
            Expected::Echo => RequestView::parse(datagram)
                .ok()
                .map(|view| (View::Echo(view), view.request_id())),
            Expected::Price | Expected::Foreign => ReplyView::parse(datagram)
                .ok()
                .map(|view| (View::Price(view), view.head().request_id)),
        };
        let Some((view, id)) = parsed else {
            self.tally.malformed += 1;
            return None;
        };
        let key = id.session.wrapping_sub(self.session) as usize;
        let sighting = if key < self.callers.len() {
            self.pending.settle(key, id.counter, flow)
        } else {
            Sighting::Unknown
        };
        let (place, since_ns) = match sighting {
            Sighting::Waiting { place, since_ns } => (place, Some(since_ns)),
            Sighting::Late { place } => (place, None),
            Sighting::Duplicate => {
                self.tally.duplicates += 1;
                return None;
            }
            Sighting::Unknown => {
                self.tally.unexpected += 1;
                return None;
            }
        };
        Some(Arrived {
            view,
            key,
            place,
            since_ns,
        })
    }

    /// Whose tags are right. Neighbours of one key and one length are looked at together.
    fn genuine(&self, arrived: &[Option<Arrived<'_>>], datagrams: &[&[u8]]) -> [bool; LANES] {
        let mut genuine = [false; LANES];
        let mut from = 0;
        while from < arrived.len() {
            let Some(first) = &arrived[from] else {
                from += 1;
                continue;
            };
            let len = datagrams[from].len();
            let alike = |i: &usize| {
                let key = arrived[*i].as_ref().map(|other| other.key);
                key == Some(first.key) && datagrams[*i].len() == len
            };
            let to = from + (from..arrived.len()).take_while(alike).count();
            let keys = &self.callers[first.key].mac;
            let key = match first.view {
                View::Echo(_) => &keys.request,
                View::Price(_) => &keys.reply,
            };
            let right = mac::verify(key, &datagrams[from..to]);
            genuine[from..to].copy_from_slice(&right[..to - from]);
            from = to;
        }
        genuine
    }

    fn is_right(&mut self, flow: usize, arrived: &Arrived<'_>, is_genuine: bool) -> bool {
        let symbols = self.pending.symbols(arrived.place);
        match arrived.view {
            View::Echo(view) => {
                let asked = symbols
                    .iter()
                    .map(|symbol| &self.population.symbols[usize::from(*symbol)]);
                let right = is_genuine
                    && view.entries().len() == symbols.len()
                    && view
                        .entries()
                        .iter()
                        .zip(asked)
                        .all(|(entry, symbol)| entry.symbol == symbol.to_wire());
                self.tally.bad_tags += u64::from(!right);
                right
            }
            View::Price(view) => self.tally.judge(
                &view,
                is_genuine,
                &mut Asked {
                    symbols,
                    newest: self.orders.of(flow, arrived.key),
                    ours: self.expected == Expected::Price,
                },
            ),
        }
    }

    fn record(&mut self, (since_ns, count): (u64, u64), now_ns: u64) {
        if count > 0 {
            self.latency
                .saturating_record_n(now_ns.saturating_sub(since_ns), count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::{Form, Pace};
    use crate::popularity::Popularity;

    fn orders(flows: usize, keys: usize, sources: usize, symbols: usize) -> Orders {
        let plan = Plan {
            form: Form::Plain,
            entries: 1,
            pace: Pace::Closed {
                window: 1,
                eager: false,
            },
            flows,
            sources,
            keys,
            popularity: Popularity::Uniform,
            warm_up: Duration::ZERO,
            time: Duration::ZERO,
        };
        Orders::new(&plan, symbols)
    }

    #[test]
    fn order_is_judged_by_key_and_flow() {
        let mut many_keys = orders(2, 5, 1, 3);
        many_keys.of(0, 4)[2] = 9;
        assert_eq!(many_keys.of(1, 4), [0, 0, 9], "a key has one flow");
        assert_eq!(many_keys.of(0, 3), [0, 0, 0]);
        let mut shared_key = orders(4, 2, 1, 3);
        shared_key.of(3, 1)[0] = 9;
        assert_eq!(shared_key.of(3, 1), [9, 0, 0]);
        assert_eq!(shared_key.of(1, 1), [0, 0, 0], "another flow of the key");
    }

    #[test]
    fn order_is_not_judged_where_it_cannot_be_known_or_would_cost_too_much() {
        assert!(orders(1, 1, 2, 3).of(0, 0).is_empty());
        assert!(orders(8, 30_000, 1, 1_000).of(0, 0).is_empty());
        assert_eq!(orders(8, 100, 1, 20_000).of(7, 99).len(), 20_000);
    }
}
