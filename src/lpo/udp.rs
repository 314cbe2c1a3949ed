//! Datagram in, datagram out.
//!
//! The order of the checks is that of SPEC.md, section "Processing order": what costs
//! nothing comes first, and nothing is said to a sender that has not proven its key beyond
//! an unsigned, rate-limited error.
//!
//! A request whose price is missed may have to wait (see [`crate::tables::misses`]): it has then
//! passed every check and is counted by the limits and the retry window, but not yet as usage.
//! Whoever keeps it comes back with [`Answerer::answer_waited`], and then it is billed.
//!
//! A shard answers a batch at a time ([`Answerer::answer_batch`]), with the same outcome for each
//! request as if it had come alone ([`Answerer::answer`]).

mod batch;
mod peer;
mod shed;
mod waiting;

#[cfg(doc)]
use trinity_protocol::CLOCK_WINDOW_NS;
use trinity_protocol::reply::{reply_entries_mut, seal_reply};
use trinity_protocol::request::peek_request_id;
use trinity_protocol::{
    Code, Kind, MAX_ENTRIES, MacKey, PriceEntry, PriceStatus, Refusal, ReplyHead, RequestId, RequestView,
};

pub use self::batch::{Batch, Outcomes, reply_place};
pub use self::peer::{NOBODY, PeerBytes, address_of};
pub use self::shed::{Budgets, Pressure};
pub use self::waiting::{AwaitedList, Misses};
use crate::limits::{BATCH_MESSAGES, SESSION_IDLE_NS};
use crate::tables::counters::{ShardCounters, Shed};
use crate::tables::groups::Groups;
use crate::tables::keys::{KeyEntry, KeyTable};
use crate::tables::limiter::{Allowance, Exceeded};
use crate::tables::meter::{Meter, Protocol, RowIndex};
use crate::tables::misses::is_missed;
use crate::tables::prices::{PriceTable, SymbolIndex};
use crate::tables::window::{Sighting, Windows};

/// What one shard answers from.
#[derive(Debug)]
pub struct Answerer<'a> {
    /// The shard's copy of the prices.
    pub prices: &'a PriceTable,
    /// The keys as of this turn.
    pub keys: &'a KeyTable,
    /// The shard's retry windows.
    pub windows: &'a mut Windows,
    /// The shard's usage.
    pub meter: &'a mut Meter,
    /// The shard's counters.
    pub counters: &'a ShardCounters,
    /// What the shard may say to those it does not serve.
    pub budgets: &'a Budgets,
    /// How far the shard is behind.
    pub pressure: Pressure,
    /// Room to work in, of the shard's own.
    pub scratch: &'a mut Scratch,
    /// The turn's clock, Unix nanoseconds.
    pub now_ns: u64,
    /// How far a request's clock may be off, nanoseconds; at most [`CLOCK_WINDOW_NS`].
    pub clock_window_ns: u64,
    /// Milliseconds to the end of the UTC month, for QUOTA's refill time.
    pub month_left_ms: u32,
    /// Where requests may wait for prices that are missed; `None` where nobody fetches any.
    pub misses: Option<Misses<'a>>,
}

/// What is to be done about a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Silence,
    /// The reply was written: send it.
    Reply(Answer),
    /// Keep the datagram until what is in [`Misses::awaited`] has arrived or may not be waited
    /// for any longer, then call [`Answerer::answer_waited`]. Nothing is to be sent yet.
    Wait,
}

/// Room to work in, kept from batch to batch.
#[derive(Debug)]
pub struct Scratch {
    /// Which symbol each entry of a batch asks for, entry after entry.
    symbols: Box<[Option<SymbolIndex>]>,
    groups: Groups,
}

/// A reply that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of the reply.
    pub len: usize,
    /// Where its latency is to be added once it is sent.
    pub row: Option<RowIndex>,
}

impl Reaction {
    /// The reply, if one was written.
    pub const fn reply(self) -> Option<Answer> {
        match self {
            Self::Reply(answer) => Some(answer),
            Self::Silence | Self::Wait => None,
        }
    }
}

impl From<Option<Answer>> for Reaction {
    fn from(answer: Option<Answer>) -> Self {
        answer.map_or(Self::Silence, Self::Reply)
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            symbols: vec![None; BATCH_MESSAGES * MAX_ENTRIES].into_boxed_slice(),
            groups: Groups::default(),
        }
    }
}

impl Answerer<'_> {
    /// Answers one datagram into `reply`, or says that it has to wait. A reply is never longer
    /// than its request, and `reply` must be as long as the request, or as the longest datagram if
    /// that is less.
    ///
    /// `peer` is who sent it; [`NOBODY`] is in no network that a key may be used from.
    #[inline]
    pub fn answer(&mut self, datagram: &[u8], peer: &PeerBytes, reply: &mut [u8]) -> Reaction {
        let request = match RequestView::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => return self.answer_malformed(refusal, datagram, reply).into(),
        };
        if request.kind() == Kind::Ping {
            return self.answer_ping(&request, reply).into();
        }
        let keys = self.keys;
        self.answer_keyed(keys.find(request.key_id()), peer, &request, reply)
    }

    fn answer_malformed(&mut self, refusal: Refusal, datagram: &[u8], reply: &mut [u8]) -> Option<Answer> {
        self.counters.refused(refusal);
        self.unsigned(refusal.code()?, peek_request_id(datagram), reply)
    }

    fn answer_ping(&mut self, request: &RequestView<'_>, reply: &mut [u8]) -> Option<Answer> {
        if self.pressure >= Pressure::Unproven {
            self.counters.shed(Shed::Ping, 1);
            return None;
        }
        self.counters.pings.add(1);
        let head = self.head(Code::Ok, UNTOLD, request.request_id());
        Some(self.seal(reply, Kind::PingReply, 0, head, None))
    }

    /// Answers a request that names `key`, if there is such a key.
    #[inline]
    fn answer_keyed(
        &mut self,
        key: Option<&KeyEntry>,
        peer: &PeerBytes,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Reaction {
        if let Some(key) = key.filter(|key| key.is_usable(self.now_ns)) {
            if let Some(what) = self.budgets.shed(self.pressure, key, self.now_ns) {
                return self.shed(what, key, request, reply).into();
            }
            if request.verify(&key.request) {
                return self.answer_proven(key, may_ask(key, peer), request, reply);
            }
        }
        self.unsigned(Code::Unauthenticated, request.request_id(), reply)
            .into()
    }

    /// Drops a request, or says OVERLOADED to it.
    fn shed(
        &mut self,
        what: Shed,
        key: &KeyEntry,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Option<Answer> {
        self.counters.shed(what, 1);
        if !self.budgets.overloaded(self.now_ns) || !request.verify(&key.request) {
            return None;
        }
        let left = key.state.peek(&key.limits, self.now_ns, self.month_left_ms);
        Some(self.refuse(key, Code::Overloaded, left, request, reply))
    }

    /// Answers a request that waited since `arrived_ns`, with the prices of now whatever they
    /// are, and bills it to the second in which it came. `None` is silence: its key was revoked
    /// meanwhile, and unsigned errors are limited.
    pub fn answer_waited(&mut self, datagram: &[u8], arrived_ns: u64, reply: &mut [u8]) -> Option<Answer> {
        let request = RequestView::parse(datagram).ok()?;
        let (id, keys) = (request.request_id(), self.keys);
        // Its tag was checked when it came.
        let Some(key) = keys
            .find(request.key_id())
            .filter(|key| key.is_usable(self.now_ns))
        else {
            return self.unsigned(Code::Unauthenticated, id, reply);
        };
        let second = seconds(arrived_ns);
        self.find_symbols(0, &request);
        self.write_prices(0, &request, reply);
        self.bill(0, key, &request, second, reply);
        // A row was kept for it.
        let row = self.meter.request(key.key_id, second, Protocol::Udp, Code::Ok);
        let left = key.state.peek(&key.limits, self.now_ns, self.month_left_ms);
        let answer = self.seal_prices(key, left, &request, reply);
        Some(Answer { row, ..answer })
    }

    /// Answers a proven request; `may_ask` tells whether its key may be used by its sender.
    fn answer_proven(
        &mut self,
        key: &KeyEntry,
        may_ask: bool,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Reaction {
        if let Some(code) = self.out_of_place(may_ask, request) {
            let left = key.state.peek(&key.limits, self.now_ns, self.month_left_ms);
            return Reaction::Reply(self.refuse(key, code, left, request, reply));
        }
        let id = request.request_id();
        let sighting = self.windows.look(key.key_id, &key.state, id, self.now_ns);
        self.answer_sighted(key, sighting, request, reply)
    }

    /// Why a request that is proven is not looked at any further, if it is not.
    #[inline]
    fn out_of_place(&self, may_ask: bool, request: &RequestView<'_>) -> Option<Code> {
        if request.clock_ns().abs_diff(self.now_ns) > self.clock_window_ns {
            Some(Code::Clock)
        } else if request.kind() != Kind::Price || !may_ask {
            Some(Code::Forbidden)
        } else {
            None
        }
    }

    /// Answers a proven request of which the windows have said what they know.
    fn answer_sighted(
        &mut self,
        key: &KeyEntry,
        sighting: Sighting,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Reaction {
        let (now_ns, month_left_ms) = (self.now_ns, self.month_left_ms);
        let left = || key.state.peek(&key.limits, now_ns, month_left_ms);
        let id = request.request_id();
        let slot = match sighting {
            Sighting::New(slot) => slot,
            Sighting::Repeat => {
                self.counters.repeats.add(1);
                self.find_symbols(0, request);
                self.write_prices(0, request, reply);
                return Reaction::Reply(self.seal_prices(key, left(), request, reply));
            }
            Sighting::Spent | Sighting::Behind => {
                return Reaction::Reply(self.refuse(key, Code::Replay, left(), request, reply));
            }
            Sighting::TooManySessions => {
                let told = Allowance {
                    remaining: 0,
                    refill_ms: (SESSION_IDLE_NS / 1_000_000) as u32,
                };
                return Reaction::Reply(self.refuse(key, Code::RateLimited, told, request, reply));
            }
        };
        // An answer that cannot be counted must not be given.
        if !self.meter.has_room(1 + self.kept_rows()) || self.cannot_wait(request) {
            return Reaction::Reply(self.refuse(key, Code::Overloaded, left(), request, reply));
        }
        match key.state.acquire(&key.limits, self.now_ns, self.month_left_ms) {
            Ok(allowance) => {
                self.windows.count(slot, id.counter);
                self.find_symbols(0, request);
                let missed = self.write_prices(0, request, reply);
                if missed && self.must_wait(0, request, reply) {
                    return Reaction::Wait;
                }
                let second = seconds(self.now_ns);
                self.bill(0, key, request, second, reply);
                let row = self.meter.request(key.key_id, second, Protocol::Udp, Code::Ok);
                let answer = self.seal_prices(key, allowance, request, reply);
                Reaction::Reply(Answer { row, ..answer })
            }
            Err(exceeded) => {
                let (code, told) = refusal(exceeded);
                Reaction::Reply(self.refuse(key, code, told, request, reply))
            }
        }
    }

    /// Finds which symbols a request asks for, and keeps them from place `at` of the scratch on.
    #[inline]
    fn find_symbols(&mut self, at: usize, request: &RequestView<'_>) {
        let asked = request.entries();
        let places = &mut self.scratch.symbols[at..at + asked.len()];
        let names = self.prices.names();
        for (symbol, query) in places.iter_mut().zip(asked) {
            *symbol = names.find(&query.symbol);
        }
    }

    /// Writes the entries of the symbols that were found; tells whether a price is missed among
    /// them.
    #[inline]
    fn write_prices(&self, at: usize, request: &RequestView<'_>, reply: &mut [u8]) -> bool {
        let asked = request.entries();
        let symbols = &self.scratch.symbols[at..at + asked.len()];
        let entries = reply_entries_mut(reply, asked.len());
        let mut missed = false;
        for ((entry, symbol), query) in entries.iter_mut().zip(symbols).zip(asked) {
            let status = self
                .prices
                .write_entry(*symbol, query.max_age_ms.get(), self.now_ns, entry);
            missed |= is_missed(status);
        }
        missed
    }

    /// Counts the entries of a new request, as they were written, as usage of its key.
    #[inline]
    fn bill(&mut self, at: usize, key: &KeyEntry, request: &RequestView<'_>, second: u32, reply: &mut [u8]) {
        let count = request.entries().len();
        let symbols = &self.scratch.symbols[at..at + count];
        for (entry, symbol) in reply_entries_mut(reply, count).iter().zip(symbols) {
            self.meter.symbol(key.key_id, *symbol, second, status(entry));
        }
        self.counters.entries.add(count as u64);
    }

    /// A signed error, metered under its code but never billed.
    fn refuse(
        &mut self,
        key: &KeyEntry,
        code: Code,
        told: Allowance,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Answer {
        let row = if self.meter.has_room(1 + self.kept_rows()) {
            let second = seconds(self.now_ns);
            self.meter.request(key.key_id, second, Protocol::Udp, code)
        } else {
            None
        };
        let head = self.head(code, told, request.request_id());
        Answer {
            row,
            ..self.seal(reply, Kind::Error, 0, head, Some(&key.reply))
        }
    }

    fn unsigned(&self, code: Code, id: RequestId, reply: &mut [u8]) -> Option<Answer> {
        if self.pressure >= Pressure::Unproven {
            self.counters.shed(Shed::Unproven, 1);
            return None;
        }
        if !self.budgets.unsigned(self.now_ns) {
            self.counters.suppressed.add(1);
            return None;
        }
        Some(self.seal(reply, Kind::Error, 0, self.head(code, UNTOLD, id), None))
    }

    fn seal_prices(
        &self,
        key: &KeyEntry,
        told: Allowance,
        request: &RequestView<'_>,
        reply: &mut [u8],
    ) -> Answer {
        let head = self.head(Code::Ok, told, request.request_id());
        let count = request.entries().len();
        self.seal(reply, Kind::PriceReply, count, head, Some(&key.reply))
    }

    const fn head(&self, code: Code, told: Allowance, request_id: RequestId) -> ReplyHead {
        let Allowance { remaining, refill_ms } = told;
        ReplyHead {
            code,
            remaining,
            refill_ms,
            request_id,
            clock_ns: self.now_ns,
        }
    }

    fn seal(
        &self,
        reply: &mut [u8],
        kind: Kind,
        count: usize,
        head: ReplyHead,
        key: Option<&MacKey>,
    ) -> Answer {
        self.counters.replied(head.code, 1);
        Answer {
            len: seal_reply(reply, kind, count, head, key).len(),
            row: None,
        }
    }
}

/// Whether a key may be used over UDP by this sender.
#[inline]
fn may_ask(key: &KeyEntry, peer: &PeerBytes) -> bool {
    key.allowed.permits(Protocol::Udp, || address_of(peer))
}

/// The code of a refusal by a limit, and what it tells.
const fn refusal(exceeded: Exceeded) -> (Code, Allowance) {
    match exceeded {
        Exceeded::Rate(told) => (Code::RateLimited, told),
        Exceeded::Month(told) => (Code::Quota, told),
    }
}

fn status(entry: &PriceEntry) -> PriceStatus {
    PriceStatus::from_wire(entry.status).unwrap_or(PriceStatus::NoPrice)
}

const fn seconds(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}

/// What a reply says of limits where no key is proven.
const UNTOLD: Allowance = Allowance {
    remaining: 0,
    refill_ms: 0,
};

#[cfg(test)]
mod tests;
