//! The board of missed prices: what a core wants fetched, asked for once however many ask.
//!
//! A core that is asked for a price it does not have, or has only too old, writes the symbol
//! on the board and lets the request wait. The control plane takes the symbol off, fetches it
//! from the venues, publishes what it got and says that it is done. While such a *flight* is on
//! its way everybody else who wants the symbol joins it: per symbol there is one atomic word,
//! and whoever moves it to "in flight" is the one who puts the symbol into the queue (single
//! flight, as in Go's `singleflight`, without its lock).
//!
//! What came to nothing is remembered for a while, so that nobody waits for it in vain again;
//! what was just fetched is not fetched again at once, so that a caller who accepts no age at
//! all cannot turn the service into a stream of requests to the venues.

use std::fmt;

use crossbeam_queue::ArrayQueue;
use trinity_protocol::PriceStatus;

use super::names::SymbolIndex;
use super::prices::PriceTable;
use super::sync::{AtomicU64, Ordering};
use crate::limits::{MAX_SYMBOLS, MISS_AGAIN_MS, MISS_FLIGHT_MS, MISS_NOTHING_MS, MISS_QUEUE};

/// What all cores want fetched. Shared, lock-free, allocated once.
pub struct MissBoard {
    /// One word per symbol; see [`Word`].
    words: Box<[AtomicU64]>,
    wanted: ArrayQueue<SymbolIndex>,
    wake: Box<dyn Fn() + Send + Sync>,
    flights: AtomicU64,
    /// How long nobody waits again for what could not be fetched, milliseconds.
    nothing_ms: AtomicU64,
}

/// A flight that a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    symbol: SymbolIndex,
    generation: u32,
}

impl Ticket {
    /// What is fetched.
    pub const fn symbol(self) -> SymbolIndex {
        self.symbol
    }
}

/// What the board says to somebody who wants a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// It is being fetched: wait until the flight is over, or as long as you may.
    Joined(Ticket),
    /// It was fetched just now, with or without success: there is nothing to wait for.
    Nothing,
    /// More symbols are wanted than the board holds, or it is none of the board's.
    Full,
}

/// A symbol that a request waits for, and the oldest price its caller accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The flight.
    pub ticket: Ticket,
    /// As the caller asked, milliseconds; 0 is the symbol's default.
    pub max_age_ms: u32,
}

/// How it stands with what a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A price is there that is good enough for the caller.
    Fresh,
    /// The flight is over and there is none.
    Nothing,
    /// Still on its way.
    Pending,
}

/// A symbol's state, packed: 2 bits of state, 20 bits of generation, 42 bits of Unix
/// milliseconds (which end in the year 2109).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Word {
    state: State,
    /// Rises with every flight. It wraps after a million; a ticket lives for milliseconds.
    generation: u32,
    /// In flight: since when. Over: until when nobody need ask again.
    time_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No flight; until `time_ms` there will be none.
    Over = 0,
    InFlight = 1,
}

const TIME_BITS: u32 = 42;
const GENERATION_BITS: u32 = 20;
const TIME_MASK: u64 = (1 << TIME_BITS) - 1;
const GENERATION_MASK: u64 = (1 << GENERATION_BITS) - 1;

impl Word {
    const fn unpack(bits: u64) -> Self {
        Self {
            state: if bits >> (TIME_BITS + GENERATION_BITS) == State::InFlight as u64 {
                State::InFlight
            } else {
                State::Over
            },
            generation: (bits >> TIME_BITS & GENERATION_MASK) as u32,
            time_ms: bits & TIME_MASK,
        }
    }

    const fn pack(self) -> u64 {
        (self.state as u64) << (TIME_BITS + GENERATION_BITS)
            | (self.generation as u64 & GENERATION_MASK) << TIME_BITS
            | self.time_ms & TIME_MASK
    }

    /// Whether a flight is on its way at `now_ms`. One that is older than any fetch can be was
    /// lost with whoever was to fetch it; so was one from a future that a clock set back took
    /// away.
    const fn flies(self, now_ms: u64) -> bool {
        matches!(self.state, State::InFlight) && now_ms.abs_diff(self.time_ms) <= MISS_FLIGHT_MS
    }

    /// Whether the last flight's outcome still stands at `now_ms`, if none stands longer than
    /// `longest_ms`.
    const fn stands(self, now_ms: u64, longest_ms: u64) -> bool {
        matches!(self.state, State::Over)
            && now_ms < self.time_ms
            // Further ahead than any outcome stands: the clock was set back since.
            && self.time_ms - now_ms <= longest_ms
    }
}

impl MissBoard {
    /// A board for every symbol there can be. `wake` is called once per flight, by the core that
    /// started it: it must neither block nor allocate, and tells the control plane that
    /// [`MissBoard::next`] has something.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self::with_room(MAX_SYMBOLS, MISS_QUEUE, wake)
    }

    /// A board for the first `symbols` symbols, at most `queue` of them wanted at once.
    pub fn with_room(symbols: usize, queue: usize, wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            words: (0..symbols.min(MAX_SYMBOLS)).map(|_| AtomicU64::new(0)).collect(),
            wanted: ArrayQueue::new(queue.max(1)),
            wake: Box::new(wake),
            flights: AtomicU64::new(0),
            nothing_ms: AtomicU64::new(MISS_NOTHING_MS),
        }
    }

    /// Wants a symbol: starts a flight, or joins the one that is on its way.
    pub fn want(&self, symbol: SymbolIndex, now_ns: u64) -> Want {
        let Some(cell) = self.words.get(symbol.0 as usize) else {
            return Want::Full;
        };
        let now_ms = now_ns / 1_000_000;
        let mut bits = cell.load(Ordering::Acquire);
        loop {
            let word = Word::unpack(bits);
            if word.flies(now_ms) {
                return Want::Joined(Ticket {
                    symbol,
                    generation: word.generation,
                });
            }
            if word.stands(now_ms, self.longest_ms()) {
                return Want::Nothing;
            }
            let mine = Word {
                state: State::InFlight,
                generation: (word.generation + 1) & GENERATION_MASK as u32,
                time_ms: now_ms,
            };
            match cell.compare_exchange(bits, mine.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return self.launch(cell, symbol, mine),
                // Somebody else moved it: see what it is now.
                Err(seen) => bits = seen,
            }
        }
    }

    fn launch(&self, cell: &AtomicU64, symbol: SymbolIndex, flight: Word) -> Want {
        if self.wanted.push(symbol).is_err() {
            let over = Word {
                state: State::Over,
                time_ms: 0,
                ..flight
            };
            // Whoever joined meanwhile finds the flight over.
            let _ = cell.compare_exchange(flight.pack(), over.pack(), Ordering::AcqRel, Ordering::Relaxed);
            return Want::Full;
        }
        self.flights.fetch_add(1, Ordering::Relaxed);
        (self.wake)();
        Want::Joined(Ticket {
            symbol,
            generation: flight.generation,
        })
    }

    /// Says how long nobody waits again for a symbol that could not be fetched; what was noted for
    /// longer does not stand any more.
    pub fn set_nothing_ms(&self, nothing_ms: u64) {
        self.nothing_ms.store(nothing_ms, Ordering::Relaxed);
    }

    /// The longest that any outcome stands.
    fn longest_ms(&self) -> u64 {
        self.nothing_ms.load(Ordering::Relaxed).max(MISS_AGAIN_MS)
    }

    /// Whether a flight is over. What it brought was published before.
    pub fn is_over(&self, ticket: Ticket) -> bool {
        let word = self
            .words
            .get(ticket.symbol.0 as usize)
            .map_or(0, |cell| cell.load(Ordering::Acquire));
        let word = Word::unpack(word);
        word.state != State::InFlight || word.generation != ticket.generation
    }

    /// Whether a symbol may still be fetched: it was not just fetched, in vain or not.
    pub fn may_come(&self, symbol: SymbolIndex, now_ns: u64) -> bool {
        let word = self.words.get(symbol.0 as usize);
        word.is_some_and(|cell| {
            !Word::unpack(cell.load(Ordering::Relaxed)).stands(now_ns / 1_000_000, self.longest_ms())
        })
    }

    /// The next symbol to fetch; for the control plane.
    pub fn next(&self) -> Option<SymbolIndex> {
        self.wanted.pop()
    }

    /// Ends a symbol's flight; for the control plane, once what was fetched is published.
    /// `found` tells whether that was anything: if not, nobody waits for the symbol for
    /// [`MISS_NOTHING_MS`], or as long as [`MissBoard::set_nothing_ms`] said. A flight that is over already stays so.
    pub fn finish(&self, symbol: SymbolIndex, found: bool, now_ns: u64) {
        let Some(cell) = self.words.get(symbol.0 as usize) else {
            return;
        };
        let stands_ms = if found {
            MISS_AGAIN_MS
        } else {
            self.nothing_ms.load(Ordering::Relaxed)
        };
        let mut bits = cell.load(Ordering::Relaxed);
        while Word::unpack(bits).state == State::InFlight {
            let over = Word {
                state: State::Over,
                time_ms: now_ns / 1_000_000 + stands_ms,
                ..Word::unpack(bits)
            };
            match cell.compare_exchange_weak(bits, over.pack(), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(seen) => bits = seen,
            }
        }
    }

    /// Symbols that wait to be fetched.
    pub fn waiting(&self) -> usize {
        self.wanted.len()
    }

    /// Flights that were started so far.
    pub fn flights(&self) -> u64 {
        self.flights.load(Ordering::Relaxed)
    }

    /// How it stands with a symbol that somebody waits for, at `now_ns`.
    pub fn arrival(&self, awaited: Awaited, prices: &PriceTable, now_ns: u64) -> Arrival {
        // In this order: what a flight brought is published before it is over.
        let is_over = self.is_over(awaited.ticket);
        let status = prices
            .read(awaited.ticket.symbol)
            .map_or(PriceStatus::NoPrice, |record| {
                record.status_at(now_ns, awaited.max_age_ms)
            });
        // The first venue's word makes a thin price; the flight goes on for the others'.
        match status {
            PriceStatus::Live => Arrival::Fresh,
            _ if !is_over => Arrival::Pending,
            status if is_missed(status) => Arrival::Nothing,
            _ => Arrival::Fresh,
        }
    }
}

impl fmt::Debug for MissBoard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MissBoard")
            .field("symbols", &self.words.len())
            .field("waiting", &self.waiting())
            .field("flights", &self.flights())
            .finish_non_exhaustive()
    }
}

/// Whether a listed symbol's price is missed: there is none, or none fresh enough.
pub const fn is_missed(status: PriceStatus) -> bool {
    matches!(status, PriceStatus::NoPrice | PriceStatus::Stale)
}

/// Sums up what a request waits for: pending while anything is, fresh if all is.
pub fn sum_up(arrivals: impl IntoIterator<Item = Arrival>) -> Arrival {
    let mut sum = Arrival::Fresh;
    for arrival in arrivals {
        match arrival {
            Arrival::Pending => return Arrival::Pending,
            Arrival::Nothing => sum = Arrival::Nothing,
            Arrival::Fresh => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    use trinity_protocol::{PriceFlags, Symbol};

    use super::*;
    use crate::tables::prices::{PriceRecord, PriceWriter, SymbolNames};

    const MS: u64 = 1_000_000;
    const NOW: u64 = 1_700_000_000_000 * MS;
    const A: SymbolIndex = SymbolIndex(0);
    const B: SymbolIndex = SymbolIndex(1);

    fn joined(want: Want) -> Ticket {
        match want {
            Want::Joined(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_word_survives_its_packing() {
        for state in [State::Over, State::InFlight] {
            for generation in [0, 1, GENERATION_MASK as u32] {
                for time_ms in [0, NOW / MS, TIME_MASK] {
                    let word = Word {
                        state,
                        generation,
                        time_ms,
                    };
                    assert_eq!(Word::unpack(word.pack()), word);
                }
            }
        }
    }

    #[test]
    fn many_who_want_one_symbol_share_one_flight_and_one_wake() {
        let wakes = Arc::new(AtomicUsize::new(0));
        let board = MissBoard::with_room(2, 8, {
            let wakes = Arc::clone(&wakes);
            move || {
                wakes.fetch_add(1, Ordering::Relaxed);
            }
        });
        let first = joined(board.want(A, NOW));
        for age_ms in 0..100 {
            assert_eq!(board.want(A, NOW + age_ms * MS), Want::Joined(first));
        }
        assert_ne!(
            joined(board.want(B, NOW)),
            first,
            "another symbol is another flight"
        );
        assert_eq!((board.flights(), wakes.load(Ordering::Relaxed)), (2, 2));
        assert_eq!(
            (board.next(), board.next(), board.next()),
            (Some(A), Some(B), None)
        );
        assert!(!board.is_over(first), "taken is not done");
        board.finish(A, true, NOW);
        assert!(board.is_over(first));
    }

    #[test]
    fn what_came_to_nothing_is_not_waited_for_again_until_its_time_is_over() {
        let board = MissBoard::with_room(1, 8, || {});
        let first = joined(board.want(A, NOW));
        board.finish(A, false, NOW);
        assert!(board.is_over(first));
        assert_eq!(board.want(A, NOW), Want::Nothing);
        assert_eq!(board.want(A, NOW + (MISS_NOTHING_MS - 1) * MS), Want::Nothing);
        assert!(!board.may_come(A, NOW) && board.may_come(A, NOW + MISS_NOTHING_MS * MS));
        let second = joined(board.want(A, NOW + MISS_NOTHING_MS * MS));
        assert_ne!(first, second);
        assert!(board.is_over(first), "its generation has passed");
    }

    #[test]
    fn what_was_just_fetched_is_not_fetched_again_at_once() {
        let board = MissBoard::with_room(1, 8, || {});
        joined(board.want(A, NOW));
        board.finish(A, true, NOW + 30 * MS);
        assert_eq!(board.want(A, NOW + (29 + MISS_AGAIN_MS) * MS), Want::Nothing);
        joined(board.want(A, NOW + (30 + MISS_AGAIN_MS) * MS));
        assert_eq!(board.flights(), 2);
    }

    #[test]
    fn an_outcome_does_not_stand_for_longer_because_the_clock_was_set_back() {
        let board = MissBoard::with_room(1, 8, || {});
        joined(board.want(A, NOW));
        board.finish(A, false, NOW);
        joined(board.want(A, NOW - 3_600_000 * MS));
    }

    #[test]
    fn a_flight_that_nobody_ends_is_given_up_and_started_anew() {
        let board = MissBoard::with_room(1, 8, || {});
        let lost = joined(board.want(A, NOW));
        assert_eq!(board.want(A, NOW + MISS_FLIGHT_MS * MS), Want::Joined(lost));
        let again = joined(board.want(A, NOW + (MISS_FLIGHT_MS + 1) * MS));
        assert_ne!(lost, again);
        assert!(board.is_over(lost) && !board.is_over(again));
        assert_ne!(
            joined(board.want(A, NOW - 3_600_000 * MS)),
            again,
            "so is one from a future that a clock set back took away"
        );
    }

    #[test]
    fn a_full_queue_starts_no_flight_and_leaves_nobody_waiting() {
        let board = MissBoard::with_room(3, 2, || {});
        joined(board.want(A, NOW));
        joined(board.want(B, NOW));
        assert_eq!(board.want(SymbolIndex(2), NOW), Want::Full);
        assert_eq!(board.want(SymbolIndex(3), NOW), Want::Full, "none of the board's");
        assert_eq!(board.next(), Some(A));
        joined(board.want(SymbolIndex(2), NOW));
        assert_eq!(board.flights(), 3);
    }

    #[test]
    fn ending_what_does_not_fly_changes_nothing() {
        let board = MissBoard::with_room(1, 2, || {});
        board.finish(A, false, NOW);
        board.finish(SymbolIndex(9), false, NOW);
        joined(board.want(A, NOW));
    }

    #[test]
    fn a_price_arrives_by_its_flight_or_by_itself() {
        let symbol = Symbol::new("A-USD").expect("a symbol");
        let names = Arc::new(SymbolNames::new(vec![symbol], &[]).expect("one"));
        let (mut writer, copies) = PriceWriter::new(&names, 1);
        let prices = copies[0].load_full();
        let board = MissBoard::with_room(1, 2, || {});
        let awaited = Awaited {
            ticket: joined(board.want(A, NOW)),
            max_age_ms: 50,
        };
        assert_eq!(board.arrival(awaited, &prices, NOW), Arrival::Pending);
        let live = PriceRecord {
            mantissa: 1,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            flags: PriceFlags::FETCHED,
            age_origin_ns: NOW,
            max_age_ms: 60_000,
            hard_age_ms: 60_000,
            ..PriceRecord::NONE
        };
        writer.publish(A, live);
        assert_eq!(board.arrival(awaited, &prices, NOW), Arrival::Fresh);
        let later = NOW + 51 * MS;
        assert_eq!(
            board.arrival(awaited, &prices, later),
            Arrival::Pending,
            "too old for this caller"
        );
        board.finish(A, true, later);
        assert_eq!(board.arrival(awaited, &prices, later), Arrival::Nothing);
    }

    #[test]
    fn a_request_is_as_far_as_the_last_of_what_it_waits_for() {
        use Arrival::{Fresh, Nothing, Pending};
        assert_eq!(sum_up([]), Fresh);
        assert_eq!(sum_up([Fresh, Fresh]), Fresh);
        assert_eq!(sum_up([Fresh, Nothing, Fresh]), Nothing);
        assert_eq!(sum_up([Nothing, Pending]), Pending);
    }

    #[test]
    fn cores_that_want_and_a_fetcher_that_ends_never_lose_nor_double_a_flight() {
        const CORES: usize = 3;
        const ROUNDS: u64 = if cfg!(miri) { 20 } else { 20_000 };
        // Room for one entry per symbol and no more.
        let board = MissBoard::with_room(4, 4, || {});
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for core in 0..CORES {
                let (board, done) = (&board, &done);
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let symbol = SymbolIndex((core as u64 + round) as u32 % 4);
                        joined(board.want(symbol, NOW));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }
            scope.spawn(|| {
                let mut taken = 0;
                loop {
                    let over = done.load(Ordering::Relaxed) == CORES;
                    while let Some(symbol) = board.next() {
                        taken += 1;
                        // Long ago, so that no outcome stands.
                        board.finish(symbol, taken % 2 == 0, NOW - MISS_NOTHING_MS * MS);
                    }
                    if over {
                        break;
                    }
                    std::thread::yield_now();
                }
                assert_eq!(taken, board.flights(), "one entry in the queue per flight");
            });
        });
        assert_eq!(board.waiting(), 0);
    }
}
