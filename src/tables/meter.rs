//! Usage: who asked what, counted where it is answered.
//!
//! Each shard and each HTTP worker owns a [`Meter`]. It counts into a page: request rows
//! (what is billed) and symbol rows (the detail). Once a second the page goes to the control
//! plane through a ring and an empty one comes back through another, so the two never touch
//! one page at a time and nobody waits. While the ledger is slow no empty page comes back and
//! the meter goes on in the page it has: rows of one second grow, none is lost.
//!
//! A page lives in memory; a crash loses what was not flushed, at most about a second while
//! the ledger answers. The crash-safe journal takes this file's place with the same
//! interface: [`Meter::request`], [`Meter::symbol`], [`Meter::close`].

use std::hint::black_box;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use trinity_protocol::{Code, KeyId, PriceStatus};

use super::prices::SymbolIndex;
use crate::limits::{METER_PAGES, METER_REQUEST_ROWS, METER_SYMBOL_ROWS, METER_SYMBOLS_WAITING};

/// How a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TBP over UDP.
    Udp = 0,
    /// HTTP.
    Http = 1,
}

/// Requests of one key in one second with one outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// Whose.
    pub key_id: KeyId,
    /// Unix second in which they came.
    pub second: u32,
    /// How they came.
    pub protocol: Protocol,
    /// What became of them; [`Code::Ok`] is billed.
    pub outcome: Code,
    /// How many.
    pub count: u64,
    /// Sum of their latencies, nanoseconds.
    pub latency_sum_ns: u64,
    /// Longest latency, nanoseconds.
    pub latency_max_ns: u64,
}

/// Entries of one symbol that one key was given in one second with one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolRow {
    /// Whose.
    pub key_id: KeyId,
    /// Which symbol; `None` stands for all that no row was left for, and unknown ones.
    pub symbol: Option<SymbolIndex>,
    /// Unix second in which they were asked.
    pub second: u32,
    /// How the price was marked.
    pub status: PriceStatus,
    /// How many.
    pub entries: u64,
}

/// One page of usage.
#[derive(Debug)]
pub struct UsagePage {
    requests: Vec<RequestRow>,
    symbols: Vec<SymbolRow>,
    request_places: Box<[u32]>,
    symbol_places: Box<[u32]>,
    /// Entries that not even a folded row was left for.
    lost_detail: u64,
}

/// A shard's side: counts.
#[derive(Debug)]
pub struct Meter {
    page: Box<UsagePage>,
    /// Entries not yet on the page; see [`UsagePage::count_all`].
    waiting: Vec<Entry>,
    full: Arc<ArrayQueue<Box<UsagePage>>>,
    empty: Arc<ArrayQueue<Box<UsagePage>>>,
}

/// The control plane's side: takes pages and gives them back.
#[derive(Clone, Debug)]
pub struct MeterPages {
    full: Arc<ArrayQueue<Box<UsagePage>>>,
    empty: Arc<ArrayQueue<Box<UsagePage>>>,
}

/// An entry to be counted.
#[derive(Clone, Copy, Debug)]
struct Entry {
    key_id: KeyId,
    symbol: Option<SymbolIndex>,
    second: u32,
    status: PriceStatus,
}

/// A request row's place in the current page; see [`Meter::latency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIndex(u32);

impl UsagePage {
    fn new() -> Self {
        Self {
            requests: Vec::with_capacity(METER_REQUEST_ROWS),
            symbols: Vec::with_capacity(METER_SYMBOL_ROWS),
            request_places: vec![0; METER_REQUEST_ROWS * 2].into_boxed_slice(),
            symbol_places: vec![0; METER_SYMBOL_ROWS * 2].into_boxed_slice(),
            lost_detail: 0,
        }
    }

    /// What is billed.
    pub fn requests(&self) -> &[RequestRow] {
        &self.requests
    }

    /// The detail.
    pub fn symbols(&self) -> &[SymbolRow] {
        &self.symbols
    }

    /// Entries whose detail did not fit.
    pub const fn lost_detail(&self) -> u64 {
        self.lost_detail
    }

    /// Whether nothing is counted in it.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.symbols.is_empty() && self.lost_detail == 0
    }

    /// Empties the page for its next use.
    fn clear(&mut self) {
        // A page that was not touched stays untouched: its memory is only reserved.
        if !self.requests.is_empty() {
            self.request_places.fill(0);
        }
        if !self.symbols.is_empty() {
            self.symbol_places.fill(0);
        }
        self.requests.clear();
        self.symbols.clear();
        self.lost_detail = 0;
    }

    fn request(
        &mut self,
        key_id: KeyId,
        second: u32,
        protocol: Protocol,
        outcome: Code,
        count: u64,
    ) -> Option<RowIndex> {
        let hash = spread(
            key_id.0,
            u64::from(second) << 24 | (protocol as u64) << 16 | outcome as u64,
        );
        let rows = &self.requests;
        let same = |row: u32| {
            let row = &rows[row as usize];
            (row.key_id, row.second, row.protocol, row.outcome) == (key_id, second, protocol, outcome)
        };
        let place = find(&self.request_places, hash, same);
        let row = match row_of(self.request_places[place]) {
            Some(row) => row,
            None if self.requests.len() == METER_REQUEST_ROWS => return None,
            None => {
                let row = self.requests.len() as u32;
                self.requests.push(RequestRow {
                    key_id,
                    second,
                    protocol,
                    outcome,
                    count: 0,
                    latency_sum_ns: 0,
                    latency_max_ns: 0,
                });
                self.request_places[place] = tag_of(hash) | (row + 1);
                row
            }
        };
        self.requests[row as usize].count += count;
        Some(RowIndex(row))
    }

    /// Counts entries of many keys and symbols. Their rows lie all over the page and are
    /// seldom in the cache, so they are looked up side by side: each pass makes accesses that
    /// do not wait for one another.
    fn count_all(&mut self, entries: &[Entry]) {
        let mut places = [0; METER_SYMBOLS_WAITING];
        let mask = self.symbol_places.len() - 1;
        for (place, entry) in places.iter_mut().zip(entries) {
            *place = self.symbol_places[entry.hash() as usize & mask];
        }
        let mut touched = 0;
        for place in &places[..entries.len()] {
            let row = row_of(*place).and_then(|row| self.symbols.get(row as usize));
            touched ^= row.map_or(0, |row| row.entries);
        }
        // Nobody wants the sum; the rows are in the cache now.
        black_box(touched);
        for (place, entry) in places.iter().zip(entries) {
            let row = row_of(*place).and_then(|row| self.symbols.get_mut(row as usize));
            match row {
                Some(row) if entry.is_of(row) => row.entries += 1,
                _ => self.count(entry),
            }
        }
    }

    /// Counts one entry. With no row left it is folded into the key's row for "other" symbols,
    /// and if that is not there either, into a bare number.
    fn count(&mut self, entry: &Entry) {
        let other = Entry {
            symbol: None,
            ..*entry
        };
        if !self.symbol(entry) && !self.symbol(&other) {
            self.lost_detail += 1;
        }
    }

    fn symbol(&mut self, entry: &Entry) -> bool {
        let hash = entry.hash();
        let rows = &self.symbols;
        let place = find(&self.symbol_places, hash, |row| entry.is_of(&rows[row as usize]));
        let row = match row_of(self.symbol_places[place]) {
            Some(row) => row,
            None if self.symbols.len() == METER_SYMBOL_ROWS => return false,
            None => {
                let row = self.symbols.len() as u32;
                self.symbols.push(SymbolRow {
                    key_id: entry.key_id,
                    symbol: entry.symbol,
                    second: entry.second,
                    status: entry.status,
                    entries: 0,
                });
                self.symbol_places[place] = tag_of(hash) | (row + 1);
                row
            }
        };
        self.symbols[row as usize].entries += 1;
        true
    }
}

impl Entry {
    fn hash(&self) -> u64 {
        let number = self.symbol.map_or(u64::from(u32::MAX), |s| u64::from(s.0));
        spread(
            self.key_id.0,
            number << 32 | u64::from(self.second) ^ (self.status as u64) << 29,
        )
    }

    fn is_of(&self, row: &SymbolRow) -> bool {
        (row.key_id, row.symbol, row.second, row.status)
            == (self.key_id, self.symbol, self.second, self.status)
    }
}

impl Meter {
    /// Makes a meter and the control plane's end of it.
    pub fn new() -> (Self, MeterPages) {
        let pages = MeterPages {
            full: Arc::new(ArrayQueue::new(METER_PAGES)),
            empty: Arc::new(ArrayQueue::new(METER_PAGES)),
        };
        for _ in 1..METER_PAGES {
            pages.give_back(Box::new(UsagePage::new()));
        }
        let meter = Self {
            page: Box::new(UsagePage::new()),
            waiting: Vec::with_capacity(METER_SYMBOLS_WAITING),
            full: Arc::clone(&pages.full),
            empty: Arc::clone(&pages.empty),
        };
        (meter, pages)
    }

    /// Whether `requests` more requests surely find their rows. An answer that cannot be
    /// counted must not be given: shed it as OVERLOADED.
    #[inline]
    pub fn has_room(&self, requests: usize) -> bool {
        self.page.requests.len() + requests <= METER_REQUEST_ROWS
    }

    /// Counts a request; `None` if no row is left for it (see [`Meter::has_room`]).
    #[inline]
    pub fn request(
        &mut self,
        key_id: KeyId,
        second: u32,
        protocol: Protocol,
        outcome: Code,
    ) -> Option<RowIndex> {
        self.page.request(key_id, second, protocol, outcome, 1)
    }

    /// Counts several requests with one outcome; `None` if no row is left for them.
    #[inline]
    pub fn requests(
        &mut self,
        key_id: KeyId,
        second: u32,
        protocol: Protocol,
        outcome: Code,
        count: u64,
    ) -> Option<RowIndex> {
        self.page.request(key_id, second, protocol, outcome, count)
    }

    /// Adds the latency of a counted request, once its batch is sent and before the page is
    /// closed.
    #[inline]
    pub fn latency(&mut self, row: RowIndex, latency_ns: u64) {
        self.latencies(row, latency_ns, 1);
    }

    /// Adds one latency for each of several requests of a row.
    #[inline]
    pub fn latencies(&mut self, row: RowIndex, latency_ns: u64, count: u64) {
        if let Some(row) = self.page.requests.get_mut(row.0 as usize) {
            let sum = latency_ns.saturating_mul(count);
            row.latency_sum_ns = row.latency_sum_ns.saturating_add(sum);
            row.latency_max_ns = row.latency_max_ns.max(latency_ns);
        }
    }

    /// Counts an entry of an answered request. With no row left it is folded into the key's
    /// row for "other" symbols, and if that is not there either, into a bare number: the
    /// request itself is counted all the same.
    #[inline]
    pub fn symbol(&mut self, key_id: KeyId, symbol: Option<SymbolIndex>, second: u32, status: PriceStatus) {
        self.waiting.push(Entry {
            key_id,
            symbol,
            second,
            status,
        });
        if self.waiting.len() == METER_SYMBOLS_WAITING {
            self.count_waiting();
        }
    }

    /// Requests that were counted but not handed over yet.
    pub fn pending(&self) -> u64 {
        self.page.requests.iter().map(|row| row.count).sum()
    }

    /// Hands the page to the control plane, if it holds anything and an empty one is there.
    /// Tells whether it did; if not, counting goes on in the same page.
    pub fn close(&mut self) -> bool {
        self.count_waiting();
        if self.page.is_empty() {
            return false;
        }
        let Some(next) = self.empty.pop() else {
            return false;
        };
        let closed = std::mem::replace(&mut self.page, next);
        // There are METER_PAGES pages in all, so a ring of that size always takes one more.
        let refused = self.full.push(closed);
        debug_assert!(refused.is_ok(), "more pages than places");
        true
    }

    fn count_waiting(&mut self) {
        self.page.count_all(&self.waiting);
        self.waiting.clear();
    }
}

impl MeterPages {
    /// The oldest closed page.
    pub fn take(&self) -> Option<Box<UsagePage>> {
        self.full.pop()
    }

    /// Gives a page back for its next use, emptied.
    pub fn give_back(&self, mut page: Box<UsagePage>) {
        page.clear();
        let refused = self.empty.push(page);
        debug_assert!(refused.is_ok(), "more pages than places");
    }
}

/// Bits of a place that say which row it stands for, plus one.
const ROW_MASK: u32 = 0xFFFF;
const _: () = assert!(METER_REQUEST_ROWS <= 0xFFFF && METER_SYMBOL_ROWS <= 0xFFFF);

/// The place of a row, or the empty place where it goes. Half of the places stay empty, so
/// there always is one.
///
/// A place bears some bits of its row's hash, so that the rows of others, which are seldom
/// in the cache, are not touched on the way.
#[inline]
fn find(places: &[u32], hash: u64, same: impl Fn(u32) -> bool) -> usize {
    let mask = places.len() - 1;
    let tag = tag_of(hash);
    let mut place = hash as usize & mask;
    loop {
        match row_of(places[place]) {
            None => return place,
            Some(row) if places[place] & !ROW_MASK == tag && same(row) => return place,
            Some(_) => place = (place + 1) & mask,
        }
    }
}

/// The row that a place stands for; `None` if it is empty.
const fn row_of(place: u32) -> Option<u32> {
    (place & ROW_MASK).checked_sub(1)
}

/// The bits of a hash that a place bears: not those that chose the place.
const fn tag_of(hash: u64) -> u32 {
    (hash >> 32) as u32 & !ROW_MASK
}

fn spread(a: u64, b: u64) -> u64 {
    let bits = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^ bits >> 29
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn equal_requests_share_a_row_and_different_ones_do_not() {
        let (mut meter, pages) = Meter::new();
        let mut expected = BTreeMap::new();
        for i in 0..5_000_u64 {
            let (key, second, outcome) = (
                KeyId(1 + i % 50),
                100 + (i % 3) as u32,
                Code::ALL[(i % 4) as usize],
            );
            let row = meter.request(key, second, Protocol::Udp, outcome).expect("room");
            meter.latency(row, i);
            *expected.entry((key, second, outcome)).or_insert(0_u64) += 1;
        }
        assert!(meter.close());
        let page = pages.take().expect("closed");
        let counted: BTreeMap<_, _> = page
            .requests()
            .iter()
            .map(|r| ((r.key_id, r.second, r.outcome), r.count))
            .collect();
        assert_eq!(counted, expected);
        assert_eq!(
            page.requests().iter().map(|r| r.latency_sum_ns).sum::<u64>(),
            (0..5_000).sum::<u64>()
        );
        assert_eq!(
            page.requests().iter().map(|r| r.latency_max_ns).max(),
            Some(4_999)
        );
    }

    #[test]
    fn requests_counted_together_are_as_many_as_one_by_one() {
        let (mut meter, pages) = Meter::new();
        let row = meter
            .requests(KeyId(3), 9, Protocol::Udp, Code::Ok, 64)
            .expect("room");
        assert_eq!(meter.request(KeyId(3), 9, Protocol::Udp, Code::Ok), Some(row));
        meter.latencies(row, 10, 64);
        meter.latency(row, 30);
        assert!(meter.close());
        let page = pages.take().expect("closed");
        let [row] = page.requests() else {
            panic!("one row, but {:?}", page.requests());
        };
        assert_eq!((row.count, row.latency_sum_ns, row.latency_max_ns), (65, 670, 30));
    }

    #[test]
    fn nothing_is_lost_while_no_page_comes_back() {
        let (mut meter, pages) = Meter::new();
        let mut closed = 0;
        for second in 0..100 {
            meter
                .request(KeyId(1), second, Protocol::Http, Code::Ok)
                .expect("room");
            closed += u32::from(meter.close());
        }
        assert_eq!(closed as usize, METER_PAGES - 1);
        let mut total = 0;
        while let Some(page) = pages.take() {
            total += page.requests().iter().map(|r| r.count).sum::<u64>();
            pages.give_back(page);
            meter.close();
        }
        assert_eq!(total, 100);
    }

    #[test]
    fn a_full_page_says_so_before_a_request_goes_uncounted() {
        let (mut meter, _pages) = Meter::new();
        for i in 0..METER_REQUEST_ROWS as u64 {
            assert!(meter.has_room(1));
            assert!(meter.request(KeyId(i + 1), 1, Protocol::Udp, Code::Ok).is_some());
        }
        assert!(!meter.has_room(1));
        assert!(
            meter
                .request(KeyId(u64::MAX), 1, Protocol::Udp, Code::Ok)
                .is_none()
        );
        assert!(
            meter.request(KeyId(1), 1, Protocol::Udp, Code::Ok).is_some(),
            "a known row still counts"
        );
    }

    #[test]
    fn detail_that_does_not_fit_is_folded_and_its_number_kept() {
        let (mut meter, pages) = Meter::new();
        let entries = METER_SYMBOL_ROWS as u64 + 500;
        meter.symbol(KeyId(1), None, 1, PriceStatus::UnknownSymbol);
        for i in 0..entries {
            meter.symbol(
                KeyId(1),
                Some(SymbolIndex(i as u32)),
                1,
                PriceStatus::UnknownSymbol,
            );
        }
        meter.symbol(KeyId(2), Some(SymbolIndex(0)), 1, PriceStatus::Live);
        meter.close();
        let page = pages.take().expect("closed");
        let kept: u64 = page.symbols().iter().map(|r| r.entries).sum();
        assert_eq!(kept + page.lost_detail(), entries + 2);
        assert_eq!(page.lost_detail(), 1, "key 2 had no row to fold into");
    }

    #[test]
    fn every_entry_is_counted_in_its_own_row() {
        let (mut meter, pages) = Meter::new();
        let mut expected = BTreeMap::new();
        for i in 0..20_011_u64 {
            let (key, symbol) = (KeyId(1 + i % 37), SymbolIndex((i % 53) as u32));
            let (second, status) = (100 + (i % 3) as u32, PriceStatus::ALL[(i % 2) as usize]);
            meter.symbol(key, Some(symbol), second, status);
            *expected
                .entry((key, Some(symbol), second, status))
                .or_insert(0_u64) += 1;
        }
        assert!(meter.close());
        let page = pages.take().expect("closed");
        let rows = page.symbols().iter();
        let counted: BTreeMap<_, _> = rows
            .map(|r| ((r.key_id, r.symbol, r.second, r.status), r.entries))
            .collect();
        assert_eq!(counted, expected);
        assert_eq!(page.symbols().len(), expected.len(), "one row each");
    }

    #[test]
    fn a_page_that_comes_back_starts_from_nothing() {
        let (mut meter, pages) = Meter::new();
        for _ in 0..20 {
            meter.request(KeyId(9), 5, Protocol::Udp, Code::Ok).expect("room");
            meter.symbol(KeyId(9), Some(SymbolIndex(3)), 5, PriceStatus::Live);
            assert!(meter.close());
            let page = pages.take().expect("closed");
            assert_eq!((page.requests().len(), page.requests()[0].count), (1, 1));
            assert_eq!((page.symbols().len(), page.symbols()[0].entries), (1, 1));
            pages.give_back(page);
        }
    }
}
