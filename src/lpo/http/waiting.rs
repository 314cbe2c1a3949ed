//! Questions that wait for prices that are being fetched; the counterpart over UDP is
//! [`crate::lpo::udp::Answerer::answer_waited`].

use trinity_protocol::{KeyId, PriceStatus};

use super::price::Quoted;
use super::problem::Problem;
use super::query::Question;
use super::{Answer, Answerer, REFUSED};
use crate::clock::is_due;
use crate::limits::MISS_WAIT_MS;
use crate::tables::counters::{MissCounters, Waited};
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::Allowance;
use crate::tables::misses::{Arrival, Awaited, MissBoard, Want, is_missed, sum_up};
use crate::tables::prices::SymbolIndex;

/// What it takes to let questions wait.
#[derive(Debug)]
pub struct Misses<'a> {
    /// Where missed symbols are asked for.
    pub board: &'a MissBoard,
    /// What becomes of questions that miss a price.
    pub counters: &'a MissCounters,
    /// Questions that wait already: each of them has a usage row kept for it.
    pub waiting: usize,
    /// Questions that may wait at once.
    pub room: usize,
}

/// A question that was granted and waits for its prices. Look at it with
/// [`Answerer::wait_is_over`] every now and then, and answer it with
/// [`Answerer::answer_waited`]; until then it is no usage.
#[derive(Debug)]
pub struct Waiting {
    key_id: KeyId,
    /// When its head arrived.
    arrived_ns: u64,
    /// When all of it was there.
    asked_ns: u64,
    allowance: Allowance,
    question: Question<'static>,
    awaited: Vec<Awaited>,
}

const WAIT_NS: u64 = MISS_WAIT_MS * 1_000_000;

impl Answerer<'_> {
    /// Grants a question and answers it; `Err` is one that waits.
    pub(super) fn take(
        &mut self,
        key: &KeyEntry,
        arrived_ns: u64,
        question: Question<'_>,
    ) -> Result<Answer, Box<Waiting>> {
        let now_ns = (self.clock)();
        if self.cannot_wait(&question, now_ns) {
            let detail = "Too many requests wait for prices that are not at hand; try again in a second.";
            return Ok(self.shed(key, arrived_ns, now_ns, detail));
        }
        let allowance = match self.admit(key, arrived_ns, now_ns) {
            Ok(allowance) => allowance,
            Err(refusal) => return Ok(*refusal),
        };
        let awaited = self.await_missed(&question, now_ns);
        if awaited.is_empty() {
            return Ok(self.give(key, arrived_ns, allowance, &question, &[]));
        }
        Err(Box::new(Waiting {
            key_id: key.key_id,
            arrived_ns,
            asked_ns: now_ns,
            allowance,
            question: question.into_owned(),
            awaited,
        }))
    }

    /// Why a question is to be answered now; `None` if it goes on waiting.
    pub fn wait_is_over(&self, waiting: &Waiting) -> Option<Waited> {
        let now_ns = (self.clock)();
        let arrival = self.misses.as_ref().map_or(Arrival::Nothing, |misses| {
            let awaited = waiting.awaited.iter();
            sum_up(awaited.map(|awaited| misses.board.arrival(*awaited, self.prices, now_ns)))
        });
        match arrival {
            Arrival::Fresh => Some(Waited::Fresh),
            Arrival::Nothing => Some(Waited::Nothing),
            Arrival::Pending if is_due(waiting.asked_ns + WAIT_NS, WAIT_NS, now_ns) => Some(Waited::Deadline),
            Arrival::Pending => None,
        }
    }

    /// Answers a question that waited, with the prices of now whatever they are.
    pub fn answer_waited(&mut self, waiting: &Waiting) -> Answer {
        let now_ns = (self.clock)();
        // The key may have been revoked meanwhile.
        match self.keys.find(waiting.key_id).filter(|key| key.is_usable(now_ns)) {
            Some(key) => self.give(
                key,
                waiting.arrived_ns,
                waiting.allowance,
                &waiting.question,
                &waiting.awaited,
            ),
            None => self.strange(waiting.arrived_ns, Problem::RefusedKey, REFUSED),
        }
    }

    /// Usage rows that are kept for questions that wait.
    pub(super) fn kept_rows(&self) -> usize {
        self.misses.as_ref().map_or(0, |misses| misses.waiting)
    }

    /// Asks for the prices that a granted question misses; gives those that are worth waiting for.
    fn await_missed(&mut self, question: &Question<'_>, now_ns: u64) -> Vec<Awaited> {
        let mut awaited = Vec::new();
        let Some(misses) = &self.misses else {
            return awaited;
        };
        let mut overflows = false;
        for (symbol, status) in self.statuses(question, now_ns) {
            if !is_missed(status) {
                continue;
            }
            match misses.board.want(symbol, now_ns) {
                Want::Joined(ticket) if misses.waiting < misses.room => awaited.push(Awaited {
                    ticket,
                    max_age_ms: question.max_age_ms,
                }),
                // Fetched it is, for those who come after.
                Want::Joined(_) | Want::Full => overflows = true,
                Want::Nothing => misses.counters.remembered.add(1),
            }
        }
        misses.counters.overflow.add(overflows.into());
        awaited
    }

    /// Whether a question misses a price of which nothing can be said, while no more may wait: it
    /// is shed before it is charged. One that misses only fresh prices is answered with those
    /// there are.
    fn cannot_wait(&self, question: &Question<'_>, now_ns: u64) -> bool {
        let Some(misses) = self.misses.as_ref().filter(|m| m.waiting >= m.room) else {
            return false;
        };
        let without = self.statuses(question, now_ns).any(|(symbol, status)| {
            // What is known to come to nothing is not waited for, room or no room.
            status == PriceStatus::NoPrice && misses.board.may_come(symbol, now_ns)
        });
        misses.counters.overflow.add(without.into());
        without
    }

    /// The listed symbols of a question, as its caller would be given them now.
    fn statuses(
        &self,
        question: &Question<'_>,
        now_ns: u64,
    ) -> impl Iterator<Item = (SymbolIndex, PriceStatus)> {
        question.assets.iter().filter_map(move |asset| {
            let quoted = Quoted::look_up(asset, self.prices, question.max_age_ms, now_ns);
            Some((quoted.symbol?.0, quoted.status()))
        })
    }
}
