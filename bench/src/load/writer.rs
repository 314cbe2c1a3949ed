//! Writes requests: each with a fresh id, a fresh clock and a valid tag of its own, so that the
//! server does for each what it does for a paying customer.

use trinity_beast::clock;
use trinity_protocol::{
    ENTRY_LEN, HEADER_LEN, Kind, MAGIC, RequestEntry, RequestHeader, RequestId, TAG_LEN, VERSION,
};
use zerocopy::IntoBytes;

use super::outbox::Outbox;
use super::pending::Pending;
use super::plan::{Form, Plan};
use crate::burst::BATCH;
use crate::mac::{self, LANES};
use crate::popularity::Sampler;
use crate::population::{self, Caller, Draw, Population};

/// All that new requests are made of.
pub(super) struct Writer<'a> {
    callers: Vec<&'a Caller>,
    /// The entry that asks for each symbol.
    wire: Vec<[u8; ENTRY_LEN]>,
    entries: usize,
    len: usize,
    /// Whether one call's requests are all of one key.
    one_key: bool,
    /// Per key: the next counter.
    counters: Vec<u32>,
    /// Key `i` speaks in session `session + i`.
    session: u32,
    sampler: Sampler,
    draw: Draw,
    /// Of the requests written last: where their state is kept, and their keys.
    places: [usize; BATCH],
    keys: [u32; BATCH],
}

/// A flow's keys, which take turns.
pub(super) struct Turns {
    keys: Vec<u32>,
    next: usize,
}

impl Turns {
    /// Every key lives on one flow, as a client would; with fewer keys than flows several flows
    /// share one.
    pub(super) fn of(flow: usize, flows: usize, keys: usize) -> Self {
        Self {
            keys: (0..keys as u32)
                .filter(|key| *key as usize % flows == flow % keys)
                .collect(),
            next: 0,
        }
    }

    fn take(&mut self) -> u32 {
        let key = self.keys[self.next];
        self.next = (self.next + 1) % self.keys.len();
        key
    }
}

/// The keys of a plan, spread evenly over a population's.
pub(super) fn callers<'a>(population: &'a Population, plan: &Plan) -> Vec<&'a Caller> {
    let stride = population.keys.len() / plan.keys.max(1);
    population
        .keys
        .iter()
        .step_by(stride.max(1))
        .take(plan.keys)
        .collect()
}

impl<'a> Writer<'a> {
    pub(super) fn new(plan: &Plan, population: &'a Population, session: u32) -> Self {
        let callers = callers(population, plan);
        let wire = population.symbols.iter().map(|symbol| {
            let entry = RequestEntry {
                symbol: symbol.to_wire(),
                max_age_ms: 0.into(),
                reserved: [0; 12],
            };
            zerocopy::transmute!(entry)
        });
        Self {
            wire: wire.collect(),
            entries: plan.entries,
            len: plan.datagram_bytes(),
            one_key: plan.form == Form::Gso,
            counters: vec![1; callers.len()],
            callers,
            session,
            sampler: Sampler::new(plan.popularity, population.symbols.len()),
            draw: Draw::seeded(population::random()),
            places: [0; BATCH],
            keys: [0; BATCH],
        }
    }

    /// Writes a batch; fewer than asked for only if keys have too many requests pending.
    /// `since_ns` says from when the latency of the n-th counts.
    pub(super) fn write(
        &mut self,
        out: &mut Outbox,
        pending: &mut Pending,
        (flow, turns): (usize, &mut Turns),
        count: usize,
        now_ns: u64,
        since_ns: impl Fn(usize) -> u64,
    ) -> usize {
        let clock_ns = clock::unix_nanos();
        let mut key = turns.take();
        let mut written = 0;
        for turn in 0..count {
            if turn > 0 && !self.one_key {
                key = turns.take();
            }
            let index = key as usize;
            let counter = self.counters[index];
            self.counters[index] = counter.wrapping_add(1);
            let Some(place) = pending.take(index, counter, flow, since_ns(written), now_ns) else {
                continue;
            };
            let header = RequestHeader {
                magic: MAGIC,
                version: VERSION,
                kind: Kind::Price as u8,
                count: self.entries as u8,
                flags: 0,
                // A flow keeps its lane: its replies then come from one core, in order.
                lane: flow as u8,
                reserved: 0,
                key_id: self.callers[index].key_id.0.into(),
                request_id: RequestId::new(self.session.wrapping_add(key), counter)
                    .to_wire()
                    .into(),
                clock_ns: clock_ns.into(),
            };
            let slot = out.slot(written, self.len);
            slot[..HEADER_LEN].copy_from_slice(header.as_bytes());
            let entries = slot[HEADER_LEN..].chunks_exact_mut(ENTRY_LEN);
            for (entry, symbol) in entries.zip(pending.symbols(place)) {
                let drawn = self.sampler.draw(&mut self.draw);
                *symbol = drawn as u16;
                entry.copy_from_slice(&self.wire[drawn]);
            }
            self.places[written] = place;
            self.keys[written] = key;
            written += 1;
        }
        self.sign(out, written);
        written
    }

    /// Takes back the requests of the last batch from the n-th on, which were not sent. Their
    /// counters are not used again, which a client may do as well.
    pub(super) fn take_back(&self, pending: &mut Pending, sent: usize, written: usize) {
        for place in &self.places[sent..written] {
            pending.cancel(*place);
        }
    }

    fn sign(&self, out: &mut Outbox, written: usize) {
        let len = self.len;
        let mut from = 0;
        for run in self.keys[..written].chunk_by(|a, b| a == b) {
            let key = &self.callers[run[0] as usize].mac.request;
            for lanes in run.chunks(LANES) {
                let tags = {
                    let mut datagrams = [&[][..]; LANES];
                    for (i, datagram) in datagrams[..lanes.len()].iter_mut().enumerate() {
                        *datagram = out.written(from + i, len);
                    }
                    mac::tags(key, &datagrams[..lanes.len()])
                };
                for (i, tag) in tags[..lanes.len()].iter().enumerate() {
                    out.slot(from + i, len)[len - TAG_LEN..].copy_from_slice(tag);
                }
                from += lanes.len();
            }
        }
    }
}
