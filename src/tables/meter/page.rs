//! One page of usage: rows in a journal's memory, and the index that finds them.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use trinity_protocol::{Code, KeyId, PriceStatus, Symbol};

use super::layout::{self, Geometry, ROW_COUNT, ROW_KEY, ROW_SEAL, ROW_WHAT, ROW_WORDS, RowImage};
use super::places::{Found, Places};
use super::words::Words;
use super::{Protocol, RequestRow, RowIndex, SymbolRow};
use crate::limits::METER_SYMBOLS_WAITING;
use crate::tables::prices::SymbolIndex;

type Row = [AtomicU64; ROW_WORDS];

/// Seconds of the spans that rows are folded into when a page is half full, and when it is nearly.
const FOLDS: [u32; 2] = [60, 3_600];

/// Rows of each kind whose memory a free page keeps.
const ROWS_KEPT: usize = 256;

/// One page of usage.
#[derive(Debug)]
pub struct UsagePage {
    words: Arc<Words>,
    geometry: Geometry,
    boot: u64,
    meter: u32,
    /// Where it begins in the words.
    start: usize,
    sequence: u64,
    seal: u64,
    requests: usize,
    symbols: usize,
    request_places: Places,
    symbol_places: Places,
}

/// An entry to be counted, in two words: whose, and of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    key_id: KeyId,
    what: u64,
}

/// What a page's rows add up to, and what was wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PageRows {
    /// What is billed.
    pub requests: Vec<RequestRow>,
    /// The detail.
    pub symbols: Vec<SymbolRow>,
    /// Entries without a row.
    pub lost_detail: u64,
    /// Rows that were written and are not sound.
    pub damaged: u64,
}

impl UsagePage {
    pub(super) fn new(words: &Arc<Words>, geometry: Geometry, boot: u64, meter: u32, page: usize) -> Self {
        Self {
            words: Arc::clone(words),
            geometry,
            boot,
            meter,
            start: geometry.page_start(page),
            sequence: 0,
            seal: 0,
            requests: 0,
            symbols: 0,
            request_places: Places::new(geometry.request_rows),
            symbol_places: Places::new(geometry.symbol_rows),
        }
    }

    /// Which flush of its meter it is.
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What is billed.
    pub fn requests(&self) -> Vec<RequestRow> {
        self.rows().requests
    }

    /// The detail.
    pub fn symbols(&self) -> impl ExactSizeIterator<Item = SymbolRow> {
        self.rows().symbols.into_iter()
    }

    /// All of it.
    pub fn rows(&self) -> PageRows {
        let mut rows = PageRows {
            requests: Vec::with_capacity(self.requests),
            symbols: Vec::with_capacity(self.symbols),
            ..PageRows::default()
        };
        let images = self.request_rows()[..self.requests].iter().map(image);
        rows.read_requests(images, self.seal, self.requests);
        let images = self.symbol_rows()[..self.symbols].iter().map(image);
        rows.read_symbols(images, self.seal, self.symbols);
        rows.lost_detail = self.lost_detail();
        rows
    }

    /// Entries whose detail did not fit.
    pub fn lost_detail(&self) -> u64 {
        self.header(layout::PAGE_LOST).load(Ordering::Relaxed)
    }

    /// Requests that were counted in a coarser row than their second's.
    pub fn folded(&self) -> u64 {
        self.header(layout::PAGE_FOLDED).load(Ordering::Relaxed)
    }

    /// Request rows in it.
    pub const fn request_count(&self) -> usize {
        self.requests
    }

    /// Requests in it.
    pub(super) fn pending(&self) -> u64 {
        let rows = &self.request_rows()[..self.requests];
        rows.iter().map(|row| layout::count_of(get(row, ROW_COUNT))).sum()
    }

    /// Whether nothing is counted in it.
    pub fn is_empty(&self) -> bool {
        self.requests == 0 && self.symbols == 0 && self.lost_detail() == 0
    }

    /// Whether half of its rows are taken, of one kind or the other.
    pub(super) const fn is_crowded(&self) -> bool {
        self.requests * 2 >= self.geometry.request_rows || self.symbols * 2 >= self.geometry.symbol_rows
    }

    #[inline]
    pub(super) const fn free_rows(&self) -> usize {
        self.geometry.request_rows - self.requests
    }

    /// Begins a use of the page. Whatever moment the process dies in, its rows of before are not
    /// taken for rows of now: they bear another sequence.
    pub(super) fn open(&mut self, sequence: u64) {
        self.sequence = sequence;
        self.seal = layout::page_seal(self.boot, self.meter, sequence);
        for word in [
            layout::PAGE_REQUESTS,
            layout::PAGE_SYMBOLS,
            layout::PAGE_LOST,
            layout::PAGE_FOLDED,
        ] {
            self.header(word).store(0, Ordering::Relaxed);
        }
        self.header(layout::PAGE_SEQUENCE)
            .store(sequence, Ordering::Relaxed);
        self.header(layout::PAGE_SEAL).store(self.seal, Ordering::Relaxed);
        self.header(layout::PAGE_STATE)
            .store(layout::STATE_OPEN, Ordering::Release);
    }

    /// Nothing is counted in it any more.
    pub(super) fn close(&self) {
        self.header(layout::PAGE_STATE)
            .store(layout::STATE_CLOSED, Ordering::Release);
    }

    /// Its rows are in the ledger: they end here.
    pub(super) fn free(&mut self) {
        self.header(layout::PAGE_STATE)
            .store(layout::STATE_FREE, Ordering::Release);
        for (kind, rows) in [(Kind::Requests, self.requests), (Kind::Symbols, self.symbols)] {
            // Many rows seldom come back at once; their memory would stay with this page until then.
            if rows > ROWS_KEPT {
                let first = first_row(self.start, &self.geometry, kind) + ROWS_KEPT * ROW_WORDS;
                self.words.let_go(first..first + (rows - ROWS_KEPT) * ROW_WORDS);
            }
        }
        self.request_places.clear(self.requests);
        self.symbol_places.clear(self.symbols);
        (self.requests, self.symbols) = (0, 0);
    }

    /// Counts requests; `None` if no row is left for them.
    #[inline]
    pub(super) fn request(
        &mut self,
        key_id: KeyId,
        second: u32,
        protocol: Protocol,
        outcome: Code,
        count: u64,
    ) -> Option<RowIndex> {
        let what = layout::request_what(second, protocol, outcome);
        let row = match self.find_request(key_id, what) {
            Found::Row(row) => row,
            Found::Gap(gap) if self.requests * 2 < self.geometry.request_rows => {
                self.begin_request(gap, key_id, what)
            }
            Found::Gap(_) => self.fold_request(key_id, what, count)?,
        };
        add(&self.request_rows()[row as usize], count).then_some(RowIndex(row))
    }

    /// Adds a latency for each of `count` requests of a row. A statistic: it saturates.
    #[inline]
    pub(super) fn latencies(&self, row: RowIndex, latency_ns: u64, count: u64) {
        let Some(row) = self.request_rows()[..self.requests].get(row.0 as usize) else {
            return;
        };
        let sum = get(row, layout::REQUEST_LATENCY_SUM).saturating_add(latency_ns.saturating_mul(count));
        put(row, layout::REQUEST_LATENCY_SUM, sum);
        if latency_ns > get(row, layout::REQUEST_LATENCY_MAX) {
            put(row, layout::REQUEST_LATENCY_MAX, latency_ns);
        }
    }

    /// Counts entries of many keys and symbols. Their rows lie all over the page and are
    /// seldom in the cache, so they are looked up side by side: each pass makes accesses that
    /// do not wait for one another. `name` is asked when a row begins.
    pub(super) fn count_all(
        &mut self,
        entries: &[Entry],
        name: impl Fn(Option<SymbolIndex>) -> Option<Symbol>,
    ) {
        let mut guesses = [None; METER_SYMBOLS_WAITING];
        for (guess, entry) in guesses.iter_mut().zip(entries) {
            *guess = self.symbol_places.guess(entry.hash());
        }
        let mut touched = 0;
        let rows = self.symbol_rows();
        for guess in &guesses[..entries.len()] {
            let row = guess.and_then(|row| rows.get(row as usize));
            touched ^= row.map_or(0, |row| get(row, ROW_COUNT));
        }
        // Nobody wants the sum; the rows are in the cache now.
        black_box(touched);
        for (guess, entry) in guesses.iter().zip(entries) {
            let rows = self.symbol_rows();
            let row = guess.and_then(|row| rows.get(row as usize));
            match row {
                Some(row) if entry.is(row) && add(row, 1) => {}
                _ => self.count(entry, &name),
            }
        }
    }

    /// Counts one entry.
    #[inline]
    fn count(&mut self, entry: &Entry, name: impl Fn(Option<SymbolIndex>) -> Option<Symbol>) {
        let counted = match self.find_symbol(entry) {
            Found::Row(row) => add(&self.symbol_rows()[row as usize], 1),
            Found::Gap(gap) if self.symbols * 2 < self.geometry.symbol_rows => {
                let row = self.begin_symbol(gap, entry, name(entry.symbol()));
                add(&self.symbol_rows()[row as usize], 1)
            }
            Found::Gap(_) => self.fold_symbol(entry, name),
        };
        if !counted {
            let lost = self.header(layout::PAGE_LOST);
            lost.store(lost.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Counts an entry in a row of a coarser time, or with no row left in the key's row for "other"
    /// symbols; tells whether it found any.
    #[cold]
    fn fold_symbol(&mut self, entry: &Entry, name: impl Fn(Option<SymbolIndex>) -> Option<Symbol>) -> bool {
        let nearly_full = self.symbols * 4 >= self.geometry.symbol_rows * 3;
        let folds = if nearly_full { &FOLDS[1..] } else { &FOLDS[..] };
        let coarser = folds.iter().map(|span| layout::coarser(entry.what, *span));
        for what in coarser.chain([entry.what | layout::NO_SYMBOL]) {
            let entry = Entry { what, ..*entry };
            let row = match self.find_symbol(&entry) {
                Found::Row(row) => row,
                Found::Gap(_) if self.symbols == self.geometry.symbol_rows => continue,
                Found::Gap(gap) => self.begin_symbol(gap, &entry, name(entry.symbol())),
            };
            return add(&self.symbol_rows()[row as usize], 1);
        }
        false
    }

    fn begin_symbol(&mut self, gap: usize, entry: &Entry, name: Option<Symbol>) -> u32 {
        let row = self.symbols as u32;
        let words = layout::name_words(name);
        let rows = rows(&self.words, self.start, &self.geometry, Kind::Symbols);
        let place = &rows[row as usize];
        put(place, layout::SYMBOL_NAME, words[0]);
        put(place, layout::SYMBOL_NAME + 1, words[1]);
        begin(place, self.seal, entry.key_id, entry.what, words);
        self.symbols += 1;
        self.words[self.start + layout::PAGE_SYMBOLS].store(self.symbols as u64, Ordering::Release);
        let hash_of = |row: u32| Entry::of(&rows[row as usize]).hash();
        self.symbol_places.put(gap, entry.hash(), row, hash_of);
        row
    }

    #[inline]
    fn find_request(&self, key_id: KeyId, what: u64) -> Found {
        let rows = self.request_rows();
        let same = |row: u32| is(&rows[row as usize], key_id, what);
        self.request_places.find(spread(key_id.0, what), same)
    }

    #[inline]
    fn find_symbol(&self, entry: &Entry) -> Found {
        let rows = self.symbol_rows();
        self.symbol_places
            .find(entry.hash(), |row| entry.is(&rows[row as usize]))
    }

    fn begin_request(&mut self, gap: usize, key_id: KeyId, what: u64) -> u32 {
        let row = self.requests as u32;
        let place = &self.request_rows()[row as usize];
        put(place, layout::REQUEST_LATENCY_SUM, 0);
        put(place, layout::REQUEST_LATENCY_MAX, 0);
        begin(place, self.seal, key_id, what, [0; 2]);
        self.requests += 1;
        self.header(layout::PAGE_REQUESTS)
            .store(self.requests as u64, Ordering::Release);
        let rows = rows(&self.words, self.start, &self.geometry, Kind::Requests);
        let hash_of = |row: u32| {
            let row = &rows[row as usize];
            spread(get(row, ROW_KEY), get(row, ROW_WHAT))
        };
        self.request_places.put(gap, spread(key_id.0, what), row, hash_of);
        row
    }

    /// Finds a row of a coarser time for requests. The count is never lost: with no row left at all
    /// the request is not answered.
    #[cold]
    fn fold_request(&mut self, key_id: KeyId, what: u64, count: u64) -> Option<u32> {
        let nearly_full = self.requests * 4 >= self.geometry.request_rows * 3;
        let folds = if nearly_full { &FOLDS[1..] } else { &FOLDS[..] };
        for span in folds {
            let what = layout::coarser(what, *span);
            let row = match self.find_request(key_id, what) {
                Found::Row(row) => row,
                Found::Gap(_) if self.requests == self.geometry.request_rows => continue,
                Found::Gap(gap) => self.begin_request(gap, key_id, what),
            };
            let folded = self.header(layout::PAGE_FOLDED);
            folded.store(folded.load(Ordering::Relaxed) + count, Ordering::Relaxed);
            return Some(row);
        }
        None
    }

    #[inline]
    fn request_rows(&self) -> &[Row] {
        rows(&self.words, self.start, &self.geometry, Kind::Requests)
    }

    #[inline]
    fn symbol_rows(&self) -> &[Row] {
        rows(&self.words, self.start, &self.geometry, Kind::Symbols)
    }

    fn header(&self, word: usize) -> &AtomicU64 {
        &self.words[self.start + word]
    }
}

impl PageRows {
    /// Reads request rows, of which `begun` were begun.
    pub(crate) fn read_requests(&mut self, rows: impl Iterator<Item = RowImage>, seal: u64, begun: usize) {
        for (index, row) in rows.enumerate() {
            match layout::read_request(&row, seal) {
                // A row that nothing was counted in yet.
                Ok(Some(row)) if row.count == 0 => {}
                Ok(Some(row)) => self.requests.push(row),
                Ok(None) if index >= begun => {}
                Ok(None) | Err(layout::Damaged) => self.damaged += 1,
            }
        }
    }

    /// Reads symbol rows, of which `begun` were begun.
    pub(crate) fn read_symbols(&mut self, rows: impl Iterator<Item = RowImage>, seal: u64, begun: usize) {
        for (index, row) in rows.enumerate() {
            match layout::read_symbol(&row, seal) {
                Ok(Some(row)) if row.entries == 0 => {}
                Ok(Some(row)) => self.symbols.push(row),
                Ok(None) if index >= begun => {}
                Ok(None) | Err(layout::Damaged) => self.damaged += 1,
            }
        }
    }
}

impl Entry {
    #[inline]
    pub(super) fn new(key_id: KeyId, symbol: Option<SymbolIndex>, second: u32, status: PriceStatus) -> Self {
        Self {
            key_id,
            what: layout::symbol_what(symbol, second, status),
        }
    }

    fn of(row: &Row) -> Self {
        Self {
            key_id: KeyId(get(row, ROW_KEY)),
            what: get(row, ROW_WHAT),
        }
    }

    fn symbol(&self) -> Option<SymbolIndex> {
        layout::symbol_of(self.what)
    }

    #[inline]
    fn is(&self, row: &Row) -> bool {
        is(row, self.key_id, self.what)
    }

    #[inline]
    const fn hash(&self) -> u64 {
        spread(self.key_id.0, self.what)
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Requests,
    Symbols,
}

#[inline]
fn rows<'a>(words: &'a Words, start: usize, geometry: &Geometry, kind: Kind) -> &'a [Row] {
    let first = first_row(start, geometry, kind);
    let count = match kind {
        Kind::Requests => geometry.request_rows,
        Kind::Symbols => geometry.symbol_rows,
    };
    words[first..first + count * ROW_WORDS].as_chunks().0
}

/// Where rows of a kind begin, in words.
#[inline]
const fn first_row(start: usize, geometry: &Geometry, kind: Kind) -> usize {
    let first = start + layout::HEADER_WORDS;
    match kind {
        Kind::Requests => first,
        Kind::Symbols => first + geometry.request_rows * ROW_WORDS,
    }
}

/// Writes what a row stands for. Its seal of an earlier use means nothing under this page's
/// sequence, so at no moment is there a row that says what was not so.
#[inline]
fn begin(row: &Row, page_seal: u64, key_id: KeyId, what: u64, name: [u64; 2]) {
    put(row, ROW_COUNT, 0);
    put(row, ROW_KEY, key_id.0);
    put(row, ROW_WHAT, what);
    row[ROW_SEAL].store(
        layout::row_seal(page_seal, key_id.0, what, name),
        Ordering::Release,
    );
}

/// Adds to a row's count, by one store; tells whether it did: a count never wraps.
#[inline]
fn add(row: &Row, count: u64) -> bool {
    let sum = layout::count_of(get(row, ROW_COUNT)).saturating_add(count);
    if sum > layout::MAX_COUNT {
        return false;
    }
    put(row, ROW_COUNT, layout::counted(sum, get(row, ROW_SEAL)));
    true
}

#[inline]
fn is(row: &Row, key_id: KeyId, what: u64) -> bool {
    (get(row, ROW_KEY), get(row, ROW_WHAT)) == (key_id.0, what)
}

/// A word of a row. There is one writer, and readers come after a ring has handed the page over, or
/// after the writer's death: no order is needed here.
#[inline]
fn get(row: &Row, word: usize) -> u64 {
    row[word].load(Ordering::Relaxed)
}

#[inline]
fn put(row: &Row, word: usize, value: u64) {
    row[word].store(value, Ordering::Relaxed);
}

fn image(row: &Row) -> RowImage {
    std::array::from_fn(|word| get(row, word))
}

#[inline]
const fn spread(a: u64, b: u64) -> u64 {
    let bits = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^ bits >> 29
}
