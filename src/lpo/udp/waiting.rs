//! Which requests have to wait for a price, and for what.

use trinity_protocol::reply::reply_entries_mut;
use trinity_protocol::{MAX_ENTRIES, PriceStatus, RequestView};

use super::{Answerer, status};
use crate::tables::misses::{Arrival, Awaited, MissBoard, Want, is_missed, sum_up};
use crate::tables::prices::PriceTable;

/// What it takes to let a request wait.
#[derive(Debug)]
pub struct Misses<'a> {
    /// Where missed symbols are asked for.
    pub board: &'a MissBoard,
    /// Requests that wait already: each of them has a usage row kept for it.
    pub waiting: usize,
    /// Requests that may wait at once.
    pub room: usize,
    /// What the request waits for, after [`Reaction::Wait`](super::Reaction::Wait).
    pub awaited: &'a mut AwaitedList,
}

/// What one request waits for.
#[derive(Clone, Copy, Debug)]
pub struct AwaitedList {
    list: [Option<Awaited>; MAX_ENTRIES],
    len: usize,
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

impl Answerer<'_> {
    /// Whether a granted request has to wait for one of the prices that were written: then
    /// [`Misses::awaited`] is filled.
    pub(super) fn must_wait(&mut self, at: usize, request: &RequestView<'_>, reply: &mut [u8]) -> bool {
        let Some(misses) = &mut self.misses else {
            return false;
        };
        misses.awaited.len = 0;
        let mut overflows = false;
        let asked = request.entries();
        let symbols = &self.scratch.symbols[at..at + asked.len()];
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
    pub(super) fn cannot_wait(&self, request: &RequestView<'_>) -> bool {
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
    pub(super) fn kept_rows(&self) -> usize {
        self.misses.as_ref().map_or(0, |misses| misses.waiting)
    }
}
