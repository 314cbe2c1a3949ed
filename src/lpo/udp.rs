//! Datagram in, datagram out.
//!
//! The order of the checks is that of SPEC.md, section "Processing order": what costs
//! nothing comes first, and nothing is said to a sender that has not proven its key beyond
//! an unsigned, rate-limited error.
//!
//! A request whose price is missed may have to wait (see [`crate::tables::misses`]): it has then
//! passed every check and is counted by the limits and the retry window, but not yet as usage.
//! Whoever keeps it comes back with [`Answerer::answer_waited`], and then it is billed.

use trinity_protocol::reply::{reply_entries_mut, seal_reply};
use trinity_protocol::request::peek_request_id;
use trinity_protocol::{
    CLOCK_WINDOW_NS, Code, Kind, MAX_DATAGRAM, MAX_ENTRIES, MacKey, PriceEntry, PriceStatus, ReplyHead,
    RequestId, RequestView,
};

use crate::limits::{SESSION_IDLE_NS, UNSIGNED_ERRORS_BURST, UNSIGNED_ERRORS_PER_SECOND};
use crate::tables::counters::ShardCounters;
use crate::tables::keys::{KeyEntry, KeyTable};
use crate::tables::limiter::{Allowance, Exceeded, KeyState, Limits};
use crate::tables::meter::{Meter, Protocol, RowIndex};
use crate::tables::misses::{Arrival, Awaited, MissBoard, Want, is_missed, sum_up};
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
    /// The shard's limit on unsigned errors.
    pub unsigned: &'a UnsignedBudget,
    /// The turn's clock, Unix nanoseconds.
    pub now_ns: u64,
    /// Milliseconds to the end of the UTC month, for QUOTA's refill time.
    pub month_left_ms: u32,
    /// Where requests may wait for prices that are missed; `None` where nobody fetches any.
    pub misses: Option<Misses<'a>>,
}

/// What it takes to let a request wait.
#[derive(Debug)]
pub struct Misses<'a> {
    /// Where missed symbols are asked for.
    pub board: &'a MissBoard,
    /// Requests that wait already: each of them has a usage row kept for it.
    pub waiting: usize,
    /// Requests that may wait at once.
    pub room: usize,
    /// What the request waits for, after [`Reaction::Wait`].
    pub awaited: &'a mut AwaitedList,
}

/// What one request waits for.
#[derive(Clone, Copy, Debug)]
pub struct AwaitedList {
    list: [Option<Awaited>; MAX_ENTRIES],
    len: usize,
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

/// Limits the errors that a shard sends to senders who have proven nothing.
#[derive(Debug)]
pub struct UnsignedBudget {
    state: KeyState,
    limits: Limits,
}

/// A reply that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of the reply.
    pub len: usize,
    /// Where its latency is to be added once it is sent.
    pub row: Option<RowIndex>,
}

impl AwaitedList {
    /// Nothing.
    pub const EMPTY: Self = Self {
        list: [None; MAX_ENTRIES],
        len: 0,
    };

    /// How it stands with all of it.
    pub fn arrival(&self, board: &MissBoard, prices: &PriceTable, now_ns: u64) -> Arrival {
        let awaited = self.list[..self.len].iter().flatten();
        sum_up(awaited.map(|awaited| board.arrival(*awaited, prices, now_ns)))
    }

    /// Adds one; a datagram has no more than there is room for.
    pub(crate) fn push(&mut self, awaited: Awaited) {
        if let Some(place) = self.list.get_mut(self.len) {
            *place = Some(awaited);
            self.len += 1;
        }
    }
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

impl Default for UnsignedBudget {
    fn default() -> Self {
        let limits = Limits::new(
            Some(UNSIGNED_ERRORS_PER_SECOND),
            Some(UNSIGNED_ERRORS_BURST),
            None,
        );
        Self {
            state: KeyState::default(),
            limits,
        }
    }
}

impl UnsignedBudget {
    fn take(&self, now_ns: u64) -> bool {
        self.state.acquire(&self.limits, now_ns, 0).is_ok()
    }
}

impl Answerer<'_> {
    /// Answers one datagram into `reply`, or says that it has to wait. A reply is never longer
    /// than its request.
    #[inline]
    pub fn answer(&mut self, datagram: &[u8], reply: &mut [u8; MAX_DATAGRAM]) -> Reaction {
        let request = match RequestView::parse(datagram) {
            Ok(request) => request,
            Err(refusal) => {
                self.counters.refused(refusal);
                let code = refusal.code();
                let answer = code.and_then(|code| self.unsigned(code, peek_request_id(datagram), reply));
                return answer.into();
            }
        };
        if request.kind() == Kind::Ping {
            self.counters.pings.add(1);
            let head = self.head(Code::Ok, UNTOLD, request.request_id());
            return Reaction::Reply(self.seal(reply, Kind::PingReply, 0, head, None));
        }
        let keys = self.keys;
        match keys.find(request.key_id()) {
            Some(key) if key.is_usable(self.now_ns) && request.verify(&key.request) => {
                match self.answer_proven(key, &request, reply) {
                    Some(answer) => Reaction::Reply(answer),
                    None => Reaction::Wait,
                }
            }
            _ => self
                .unsigned(Code::Unauthenticated, request.request_id(), reply)
                .into(),
        }
    }

    /// Answers a request that waited since `arrived_ns`, with the prices of now whatever they
    /// are, and bills it to the second in which it came. `None` is silence: its key was revoked
    /// meanwhile, and unsigned errors are limited.
    pub fn answer_waited(
        &mut self,
        datagram: &[u8],
        arrived_ns: u64,
        reply: &mut [u8; MAX_DATAGRAM],
    ) -> Option<Answer> {
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
        let symbols = self.write_prices(&request, reply);
        self.bill(key, request.entries().len(), &symbols, second, reply);
        // A row was kept for it.
        let row = self.meter.request(key.key_id, second, Protocol::Udp, Code::Ok);
        let left = key.state.peek(&key.limits, self.now_ns, self.month_left_ms);
        let head = self.head(Code::Ok, left, id);
        let count = request.entries().len();
        Some(Answer {
            row,
            ..self.seal(reply, Kind::PriceReply, count, head, Some(&key.reply))
        })
    }

    fn answer_proven(
        &mut self,
        key: &KeyEntry,
        request: &RequestView<'_>,
        reply: &mut [u8; MAX_DATAGRAM],
    ) -> Option<Answer> {
        let (now_ns, month_left_ms) = (self.now_ns, self.month_left_ms);
        let left = |key: &KeyEntry| key.state.peek(&key.limits, now_ns, month_left_ms);
        if request.clock_ns().abs_diff(self.now_ns) > CLOCK_WINDOW_NS {
            return Some(self.refuse(key, Code::Clock, left(key), request, reply));
        }
        if request.kind() != Kind::Price {
            return Some(self.refuse(key, Code::Forbidden, left(key), request, reply));
        }
        let id = request.request_id();
        let slot = match self.windows.look(key.key_id, &key.state, id, self.now_ns) {
            Sighting::New(slot) => slot,
            Sighting::Repeat => {
                self.counters.repeats.add(1);
                self.write_prices(request, reply);
                let head = self.head(Code::Ok, left(key), id);
                let count = request.entries().len();
                return Some(self.seal(reply, Kind::PriceReply, count, head, Some(&key.reply)));
            }
            Sighting::Spent | Sighting::Behind => {
                return Some(self.refuse(key, Code::Replay, left(key), request, reply));
            }
            Sighting::TooManySessions => {
                let told = Allowance {
                    remaining: 0,
                    refill_ms: (SESSION_IDLE_NS / 1_000_000) as u32,
                };
                return Some(self.refuse(key, Code::RateLimited, told, request, reply));
            }
        };
        // An answer that cannot be counted must not be given.
        if !self.meter.has_room(1 + self.kept_rows()) || self.cannot_wait(request) {
            return Some(self.refuse(key, Code::Overloaded, left(key), request, reply));
        }
        match key.state.acquire(&key.limits, self.now_ns, self.month_left_ms) {
            Ok(allowance) => {
                self.windows.count(slot, id.counter);
                let count = request.entries().len();
                let symbols = self.write_prices(request, reply);
                if self.misses.is_some() && self.must_wait(request, &symbols, reply) {
                    return None;
                }
                let second = seconds(self.now_ns);
                self.bill(key, count, &symbols, second, reply);
                let row = self.meter.request(key.key_id, second, Protocol::Udp, Code::Ok);
                let head = self.head(Code::Ok, allowance, id);
                Some(Answer {
                    row,
                    ..self.seal(reply, Kind::PriceReply, count, head, Some(&key.reply))
                })
            }
            Err(Exceeded::Rate(told)) => Some(self.refuse(key, Code::RateLimited, told, request, reply)),
            Err(Exceeded::Month(told)) => Some(self.refuse(key, Code::Quota, told, request, reply)),
        }
    }

    /// Writes the entries in place; gives the symbols they are of.
    #[inline]
    fn write_prices(&self, request: &RequestView<'_>, reply: &mut [u8; MAX_DATAGRAM]) -> Symbols {
        let asked = request.entries();
        let mut symbols = [None; MAX_ENTRIES];
        let places = reply_entries_mut(reply, asked.len()).iter_mut().zip(&mut symbols);
        for (query, (entry, symbol)) in asked.iter().zip(places) {
            (*symbol, *entry) = self
                .prices
                .entry(&query.symbol, query.max_age_ms.get(), self.now_ns);
        }
        symbols
    }

    /// Counts the entries of a new request, as they were written, as usage of its key.
    #[inline]
    fn bill(
        &mut self,
        key: &KeyEntry,
        count: usize,
        symbols: &Symbols,
        second: u32,
        reply: &mut [u8; MAX_DATAGRAM],
    ) {
        for (entry, symbol) in reply_entries_mut(reply, count).iter().zip(symbols) {
            self.meter.symbol(key.key_id, *symbol, second, status(entry));
        }
    }

    /// Whether a granted request has to wait for one of the prices that were written: then
    /// [`Misses::awaited`] is filled.
    fn must_wait(
        &mut self,
        request: &RequestView<'_>,
        symbols: &Symbols,
        reply: &mut [u8; MAX_DATAGRAM],
    ) -> bool {
        let Some(misses) = &mut self.misses else {
            return false;
        };
        misses.awaited.len = 0;
        let mut overflows = false;
        let asked = request.entries();
        let written = reply_entries_mut(reply, asked.len()).iter().zip(symbols);
        for (query, (entry, symbol)) in asked.iter().zip(written) {
            let Some(symbol) = symbol.filter(|_| is_missed(status(entry))) else {
                continue;
            };
            match misses.board.want(symbol, self.now_ns) {
                Want::Joined(ticket) if misses.waiting < misses.room => misses.awaited.push(Awaited {
                    ticket,
                    max_age_ms: query.max_age_ms.get(),
                }),
                // Fetched it is, for those who come after.
                Want::Joined(_) | Want::Full => overflows = true,
                Want::Nothing => self.counters.misses.remembered.add(1),
            }
        }
        self.counters.misses.overflow.add(overflows.into());
        misses.awaited.len > 0
    }

    /// Whether a request misses a price of which nothing can be said, while no more requests may
    /// wait: it is shed before it is charged. One that misses only fresh prices is answered
    /// with those there are.
    fn cannot_wait(&self, request: &RequestView<'_>) -> bool {
        let Some(misses) = self.misses.as_ref().filter(|m| m.waiting >= m.room) else {
            return false;
        };
        let without = request.entries().iter().any(|query| {
            let (symbol, entry) = self
                .prices
                .entry(&query.symbol, query.max_age_ms.get(), self.now_ns);
            // What is known to come to nothing is not waited for, room or no room.
            symbol.is_some_and(|symbol| misses.board.may_come(symbol, self.now_ns))
                && status(&entry) == PriceStatus::NoPrice
        });
        if without {
            self.counters.misses.overflow.add(1);
        }
        without
    }

    /// Rows of the meter that are kept for requests that wait.
    fn kept_rows(&self) -> usize {
        self.misses.as_ref().map_or(0, |misses| misses.waiting)
    }

    /// A signed error, metered under its code but never billed.
    fn refuse(
        &mut self,
        key: &KeyEntry,
        code: Code,
        told: Allowance,
        request: &RequestView<'_>,
        reply: &mut [u8; MAX_DATAGRAM],
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

    fn unsigned(&self, code: Code, id: RequestId, reply: &mut [u8; MAX_DATAGRAM]) -> Option<Answer> {
        if !self.unsigned.take(self.now_ns) {
            self.counters.suppressed.add(1);
            return None;
        }
        Some(self.seal(reply, Kind::Error, 0, self.head(code, UNTOLD, id), None))
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
        reply: &mut [u8; MAX_DATAGRAM],
        kind: Kind,
        count: usize,
        head: ReplyHead,
        key: Option<&MacKey>,
    ) -> Answer {
        self.counters.replied(head.code);
        Answer {
            len: seal_reply(reply, kind, count, head, key).len(),
            row: None,
        }
    }
}

/// The symbols that a request's entries are of.
type Symbols = [Option<SymbolIndex>; MAX_ENTRIES];

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
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use trinity_protocol::{
        KeyId, MIN_DATAGRAM, MacKeys, PriceFlags, PriceQuery, Refusal, ReplyView, RequestHead, Symbol,
        Verifier, encode_control_reply, encode_control_request, encode_price_request,
    };

    use super::*;
    use crate::tables::keys::KeyEntry;
    use crate::tables::meter::MeterPages;
    use crate::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};

    const NOW: u64 = 1_700_000_000_000_000_000;
    const ID: RequestId = RequestId::new(9, 1);

    struct Server {
        prices: Arc<PriceTable>,
        keys: KeyTable,
        windows: Windows,
        meter: Meter,
        pages: MeterPages,
        counters: ShardCounters,
        unsigned: UnsignedBudget,
        mac: MacKeys,
    }

    impl Server {
        fn new(limits: Limits) -> Self {
            let symbol = |name| Symbol::new(name).expect("a symbol");
            let names = SymbolNames::new(vec![symbol("BTC-USD"), symbol("ETH-USD")], &[]).expect("distinct");
            let (mut writer, tables) = PriceWriter::new(&Arc::new(names), 1);
            let record = PriceRecord {
                mantissa: 2_000_000_000_000,
                confidence: 500,
                publish_time_ns: NOW,
                exponent: -8,
                status: PriceStatus::Live,
                quality: PriceStatus::Live,
                venues: 3,
                flags: PriceFlags::REPLAYED,
                sequence: 77,
                age_origin_ns: NOW,
                max_age_ms: 10_000,
                hard_age_ms: 60_000,
            };
            writer.publish(SymbolIndex(0), record);
            let verifier = Verifier::from_bytes([3; 32]);
            let keys = [(1, u64::MAX), (2, 0), (3, NOW)]
                .map(|(id, until)| KeyEntry::new(KeyId(id), &verifier, limits, until, Arc::default()));
            let (meter, pages) = Meter::new();
            Self {
                prices: tables[0].load_full(),
                keys: KeyTable::new(keys.into()),
                windows: Windows::new(1),
                meter,
                pages,
                counters: ShardCounters::default(),
                unsigned: UnsignedBudget::default(),
                mac: MacKeys::from_verifier(&verifier),
            }
        }

        fn ask(&mut self, datagram: &[u8], now_ns: u64) -> Option<Vec<u8>> {
            let mut reply = [0; MAX_DATAGRAM];
            let mut answerer = Answerer {
                prices: &self.prices,
                keys: &self.keys,
                windows: &mut self.windows,
                meter: &mut self.meter,
                counters: &self.counters,
                unsigned: &self.unsigned,
                now_ns,
                month_left_ms: 1_000,
                misses: None,
            };
            let answer = answerer.answer(datagram, &mut reply).reply()?;
            assert!(
                answer.len <= datagram.len(),
                "a reply is never longer than its request"
            );
            Some(reply[..answer.len].to_vec())
        }

        fn request(&self, key_id: u64, id: RequestId, clock_ns: u64, symbols: &[&str]) -> Vec<u8> {
            let head = RequestHead {
                key_id: KeyId(key_id),
                request_id: id,
                lane: 0,
                clock_ns,
            };
            let queries: Vec<_> = symbols
                .iter()
                .map(|s| PriceQuery::new(Symbol::new(s).expect("a symbol")))
                .collect();
            encode_price_request(&mut [0; MAX_DATAGRAM], head, &queries, &self.mac.request).to_vec()
        }

        /// Asks for BTC-USD and gives the code of a reply that must be signed.
        fn code(&mut self, key_id: u64, id: RequestId, clock_ns: u64, now_ns: u64) -> Code {
            let request = self.request(key_id, id, clock_ns, &["BTC-USD"]);
            let reply = self.ask(&request, now_ns).expect("answered");
            let view = ReplyView::parse(&reply).expect("well-formed");
            assert_eq!(view.head().request_id, id);
            assert_eq!(view.is_unsigned(), view.head().code == Code::Unauthenticated);
            assert!(view.is_unsigned() || view.verify(&self.mac.reply));
            view.head().code
        }

        fn billed(&mut self) -> u64 {
            self.meter.close();
            let page = self.pages.take().expect("something was counted");
            page.requests()
                .iter()
                .filter(|r| r.outcome == Code::Ok)
                .map(|r| r.count)
                .sum()
        }
    }

    #[test]
    fn a_price_request_is_answered_in_order_and_signed() {
        let mut server = Server::new(Limits::NONE);
        let request = server.request(1, ID, NOW, &["NOPE", "BTC-USD", "ETH-USD"]);
        let reply = server.ask(&request, NOW + 5).expect("answered");
        let view = ReplyView::parse(&reply).expect("well-formed");
        assert!(view.verify(&server.mac.reply));
        assert_eq!(view.head().clock_ns, NOW + 5);
        let status = |i: usize| PriceStatus::from_wire(view.entries()[i].status);
        assert_eq!(status(0), Some(PriceStatus::UnknownSymbol));
        assert_eq!(status(1), Some(PriceStatus::Live));
        assert_eq!(status(2), Some(PriceStatus::NoPrice));
        assert_eq!(view.entries()[1].mantissa.get(), 2_000_000_000_000);
        assert_eq!(view.entries()[1].sequence.get(), 77);
        assert_eq!(server.billed(), 1, "a batch is one request");
    }

    #[test]
    fn ping_needs_no_key_and_tells_the_clock() {
        let mut server = Server::new(Limits::NONE);
        let head = RequestHead {
            key_id: KeyId(0),
            request_id: ID,
            lane: 0,
            clock_ns: 0,
        };
        let ping = encode_control_request(&mut [0; MAX_DATAGRAM], Kind::Ping, head, None).to_vec();
        let reply = server.ask(&ping, NOW).expect("answered");
        let view = ReplyView::parse(&reply).expect("well-formed");
        assert_eq!(
            (view.kind(), view.head().clock_ns, reply.len()),
            (Kind::PingReply, NOW, MIN_DATAGRAM)
        );
    }

    #[test]
    fn every_unproven_key_gets_the_same_answer() {
        let mut server = Server::new(Limits::NONE);
        for key_id in [2, 3, 4, 0, u64::MAX] {
            assert_eq!(
                server.code(key_id, ID, NOW, NOW),
                Code::Unauthenticated,
                "{key_id}"
            );
        }
        let mut forged = server.request(1, ID, NOW, &["BTC-USD"]);
        forged[79] ^= 1;
        let reply = server.ask(&forged, NOW).expect("answered");
        assert_eq!(
            ReplyView::parse(&reply).expect("well-formed").head().code,
            Code::Unauthenticated
        );
    }

    #[test]
    fn unsigned_errors_fall_silent_beyond_their_limit() {
        let mut server = Server::new(Limits::NONE);
        let request = server.request(4, ID, NOW, &["BTC-USD"]);
        let answered = (0..3 * UNSIGNED_ERRORS_BURST)
            .filter(|_| server.ask(&request, NOW).is_some())
            .count();
        assert_eq!(answered, UNSIGNED_ERRORS_BURST as usize);
        assert_eq!(
            server.counters.suppressed.get(),
            2 * u64::from(UNSIGNED_ERRORS_BURST)
        );
        assert_eq!(
            server.code(1, ID, NOW, NOW),
            Code::Ok,
            "proven keys do not notice"
        );
    }

    #[test]
    fn a_clock_beyond_the_window_is_told() {
        let mut server = Server::new(Limits::NONE);
        for clock in [NOW - CLOCK_WINDOW_NS - 1, NOW + CLOCK_WINDOW_NS + 1, 0, u64::MAX] {
            assert_eq!(server.code(1, ID, clock, NOW), Code::Clock);
        }
        assert_eq!(server.code(1, ID, NOW - CLOCK_WINDOW_NS, NOW), Code::Ok);
    }

    #[test]
    fn a_retry_is_answered_again_and_billed_once() {
        let mut server = Server::new(Limits::new(Some(1), Some(1), None));
        for _ in 0..5 {
            assert_eq!(server.code(1, ID, NOW, NOW), Code::Ok);
        }
        assert_eq!(server.code(1, RequestId::new(9, 2), NOW, NOW), Code::RateLimited);
        assert_eq!(
            server.code(1, RequestId::new(9, 2), NOW, NOW + 1_000_000_000),
            Code::Ok,
            "a refusal is no count"
        );
        assert_eq!(server.billed(), 2);
        assert_eq!(server.counters.repeats.get(), 4);
    }

    #[test]
    fn counters_behind_the_window_are_refused() {
        let mut server = Server::new(Limits::NONE);
        assert_eq!(server.code(1, RequestId::new(9, 5_000), NOW, NOW), Code::Ok);
        assert_eq!(server.code(1, RequestId::new(9, 5), NOW, NOW), Code::Replay);
    }

    #[test]
    fn the_month_has_its_own_code() {
        let mut server = Server::new(Limits::new(None, None, Some(1)));
        assert_eq!(server.code(1, ID, NOW, NOW), Code::Ok);
        assert_eq!(server.code(1, RequestId::new(9, 2), NOW, NOW), Code::Quota);
    }

    #[test]
    fn reserved_kinds_are_forbidden_for_now() {
        let mut server = Server::new(Limits::NONE);
        let head = RequestHead {
            key_id: KeyId(1),
            request_id: ID,
            lane: 0,
            clock_ns: NOW,
        };
        for kind in [Kind::Subscribe, Kind::Usage] {
            let request =
                encode_control_request(&mut [0; MAX_DATAGRAM], kind, head, Some(&server.mac.request))
                    .to_vec();
            let reply = server.ask(&request, NOW).expect("answered");
            let view = ReplyView::parse(&reply).expect("well-formed");
            assert!(view.verify(&server.mac.reply));
            assert_eq!(view.head().code, Code::Forbidden);
        }
    }

    #[test]
    fn replies_and_foreign_datagrams_are_met_with_silence() {
        let mut server = Server::new(Limits::NONE);
        let head = ReplyHead {
            code: Code::Ok,
            remaining: 0,
            refill_ms: 0,
            request_id: ID,
            clock_ns: NOW,
        };
        for kind in [Kind::PingReply, Kind::Error, Kind::PriceReply] {
            let reply =
                encode_control_reply(&mut [0; MAX_DATAGRAM], kind, head, Some(&server.mac.reply)).to_vec();
            assert_eq!(server.ask(&reply, NOW), None);
        }
        assert_eq!(server.ask(&[], NOW), None);
        assert_eq!(server.ask(&[0; 80], NOW), None);
        assert_eq!(server.counters.refused[Refusal::Reply as usize].get(), 3);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_costs_nothing() {
        let mut server = Server::new(Limits::NONE);
        let good = server.request(1, ID, NOW, &["BTC-USD", "ETH-USD"]);
        for len in 0..good.len() {
            assert!(
                server
                    .ask(&good[..len], NOW)
                    .is_none_or(|reply| reply.len() == MIN_DATAGRAM),
                "{len}"
            );
        }
        for bit in 0..good.len() * 8 {
            let mut flipped = good.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let reply = server.ask(&flipped, NOW);
            assert!(
                reply.is_none_or(|reply| reply.len() == MIN_DATAGRAM),
                "bit {bit} is under the tag"
            );
        }
        assert!(!server.meter.close(), "nothing was counted for anybody");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_nor_amplify(
            bytes in proptest::collection::vec(any::<u8>(), 0..1_100),
            ours in any::<bool>(),
        ) {
            let mut bytes = bytes;
            if ours && bytes.len() > 5 {
                bytes[..3].copy_from_slice(b"TB\x01");
                bytes[3] &= 7;
            }
            Server::new(Limits::NONE).ask(&bytes, NOW);
        }
    }
}
