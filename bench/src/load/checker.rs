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
    /// Per flow and symbol: the highest sequence seen. Only those to one address come in the order
    /// in which they were given: a server sends together what goes to one peer.
    sequences: Vec<Vec<u32>>,
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
            sequences: vec![
                vec![
                    0;
                    if plan.sources == 1 {
                        population.symbols.len()
                    } else {
                        0
                    }
                ];
                plan.flows
            ],
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
                    newest: &mut self.sequences[flow],
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
