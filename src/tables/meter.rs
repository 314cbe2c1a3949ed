//! Usage: who asked what, counted where it is answered, in memory that outlives the process.
//!
//! Each shard and each HTTP worker owns a [`Meter`] with a journal of its own: a file of fixed
//! size that is mapped into memory, where a few pages take turns. The meter counts into one page:
//! request rows (what is billed) and symbol rows (the detail). Once a second the page goes to the
//! control plane through a ring and an empty one comes back through another, so the two never
//! touch one page at a time and nobody waits. While the ledger is slow no empty page comes back
//! and the meter goes on in the page it has: rows of one second grow, and from half of the page on
//! they are folded into minutes, then hours. No count is lost.
//!
//! What is counted before a reply is sent is in the kernel's hands: killing the process loses
//! nothing, and the next start carries the pages to the ledger under the ids that they had. What
//! a failing machine loses is what the kernel had not written to the disk yet, some seconds.
//! `layout.rs` draws the file.

mod layout;
mod page;
mod places;
mod saved;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_queue::ArrayQueue;
use memmap2::MmapRaw;
use trinity_protocol::{Code, KeyId, PriceStatus, Symbol};

use self::layout::{Geometry, Header};
use self::page::Entry;
pub use self::page::{PageRows, UsagePage};
pub use self::saved::{SavedJournal, SavedPage, Unreadable};
use self::words::{WORD_BYTES, Words};
use super::prices::{PriceCopy, SymbolIndex};
use crate::limits::{MAX_SYMBOLS, METER_PAGES, METER_REQUEST_ROWS, METER_SYMBOL_ROWS, METER_SYMBOLS_WAITING};

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
    /// Unix second in which they came, or the first one of the minute or hour they were folded into.
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
    /// Its name, which outlives the index; `None` if the meter knows no names.
    pub name: Option<Symbol>,
    /// Unix second in which they were asked, or the first one of the minute or hour they were folded
    /// into.
    pub second: u32,
    /// How the price was marked.
    pub status: PriceStatus,
    /// How many.
    pub entries: u64,
}

/// A shard's side: counts.
#[derive(Debug)]
pub struct Meter {
    page: Box<UsagePage>,
    /// Entries not yet on the page; see [`UsagePage::count_all`].
    waiting: Vec<Entry>,
    /// Where symbols have their names, for the journal.
    prices: Option<PriceCopy>,
    full: Arc<ArrayQueue<Box<UsagePage>>>,
    empty: Arc<ArrayQueue<Box<UsagePage>>>,
}

/// The control plane's side: takes pages and gives them back.
#[derive(Clone, Debug)]
pub struct MeterPages {
    words: Arc<Words>,
    full: Arc<ArrayQueue<Box<UsagePage>>>,
    empty: Arc<ArrayQueue<Box<UsagePage>>>,
}

/// Whose journal it is.
#[derive(Clone, Copy, Debug)]
pub struct JournalName<'a> {
    /// The node's name, at most 64 bytes.
    pub node: &'a str,
    /// Drawn anew at each start of the process.
    pub boot: u64,
    /// Which of the process's meters.
    pub meter: u32,
    /// Now, Unix nanoseconds.
    pub made_ns: u64,
}

/// How full a journal is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Request rows that are not in the ledger yet.
    pub request_rows: u64,
    /// Request rows that it has.
    pub request_capacity: u64,
    /// The second of the oldest page's first row, if there is one that is not in the ledger.
    pub oldest_second: Option<u32>,
}

/// A request row's place in the current page; see [`Meter::latency`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowIndex(u32);

/// How a meter's pages are laid out.
const GEOMETRY: Geometry = Geometry {
    pages: METER_PAGES,
    request_rows: METER_REQUEST_ROWS,
    symbol_rows: METER_SYMBOL_ROWS,
};

/// Bytes of a journal's file.
pub const JOURNAL_BYTES: usize = GEOMETRY.words() * WORD_BYTES;

const _: () = assert!((MAX_SYMBOLS as u64) < layout::NO_SYMBOL);

impl Meter {
    /// Makes a meter and the control plane's end of it. Its journal is memory of this process and
    /// ends with it: for tests and measurements.
    pub fn new() -> (Self, MeterPages) {
        Self::over(Words::zeroed(GEOMETRY.words()), 0, 0, None)
    }

    /// Makes a meter over a new journal: a shared, writable mapping of [`JOURNAL_BYTES`] zeros. `prices`
    /// tells the names of the symbols that it will count.
    pub fn on_journal(
        map: MmapRaw,
        name: JournalName<'_>,
        prices: PriceCopy,
    ) -> io::Result<(Self, MeterPages)> {
        let words = Words::mapped(map)?;
        if words.len() != GEOMETRY.words() || name.node.len() > layout::NODE_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a journal has the size of its pages, and a node's name at most 64 bytes",
            ));
        }
        let header = Header {
            boot: name.boot,
            meter: name.meter,
            node: name.node.to_owned(),
            made_ns: name.made_ns,
            geometry: GEOMETRY,
        };
        for (word, value) in words.iter().zip(header.encode()) {
            word.store(value, Ordering::Relaxed);
        }
        Ok(Self::over(words, name.boot, name.meter, Some(prices)))
    }

    fn over(words: Words, boot: u64, meter: u32, prices: Option<PriceCopy>) -> (Self, MeterPages) {
        let words = Arc::new(words);
        let pages = MeterPages {
            words: Arc::clone(&words),
            full: Arc::new(ArrayQueue::new(METER_PAGES)),
            empty: Arc::new(ArrayQueue::new(METER_PAGES)),
        };
        let page = |page| Box::new(UsagePage::new(&words, GEOMETRY, boot, meter, page));
        for index in 1..METER_PAGES {
            let refused = pages.empty.push(page(index));
            debug_assert!(refused.is_ok(), "more pages than places");
        }
        let mut first = page(0);
        first.open(1);
        let meter = Self {
            page: first,
            waiting: Vec::with_capacity(METER_SYMBOLS_WAITING),
            prices,
            full: Arc::clone(&pages.full),
            empty: Arc::clone(&pages.empty),
        };
        (meter, pages)
    }

    /// Whether `requests` more requests surely find their rows. An answer that cannot be
    /// counted must not be given: shed it as OVERLOADED.
    #[inline]
    pub fn has_room(&self, requests: usize) -> bool {
        requests <= self.page.free_rows()
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
        self.page.latencies(row, latency_ns, count);
    }

    /// Counts an entry of an answered request. With no row left it is folded into a coarser one: the
    /// request itself is counted all the same. It is in the journal after [`Meter::write_down`].
    #[inline]
    pub fn symbol(&mut self, key_id: KeyId, symbol: Option<SymbolIndex>, second: u32, status: PriceStatus) {
        self.waiting.push(Entry::new(key_id, symbol, second, status));
        if self.waiting.len() == METER_SYMBOLS_WAITING {
            self.write_down();
        }
    }

    /// Puts the entries that were counted since into the journal; before their replies are sent.
    #[inline]
    pub fn write_down(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let prices = self.prices.as_ref();
        let name = |symbol: Option<SymbolIndex>| prices?.load().names().name(symbol?);
        self.page.count_all(&self.waiting, name);
        self.waiting.clear();
    }

    /// Requests that were counted but not handed over yet.
    pub fn pending(&self) -> u64 {
        self.page.pending()
    }

    /// Hands the page over if it is time to: the ledger has taken those of before, or the page is
    /// half full. Once a second.
    pub fn close_in_time(&mut self) -> bool {
        // One page is with the meter; the others are with the control plane, or have come back.
        let behind = self.empty.len() + 1 < METER_PAGES;
        (!behind || self.page.is_crowded()) && self.close()
    }

    /// Hands a page over that is half full, before rows are folded or none is left.
    #[inline]
    pub fn make_room(&mut self) {
        if self.page.is_crowded() {
            self.close();
        }
    }

    /// Hands the page to the control plane, if it holds anything and an empty one is there.
    /// Tells whether it did; if not, counting goes on in the same page.
    pub fn close(&mut self) -> bool {
        self.write_down();
        if self.page.is_empty() {
            return false;
        }
        let Some(mut next) = self.empty.pop() else {
            return false;
        };
        next.open(self.page.sequence() + 1);
        self.page.close();
        let closed = std::mem::replace(&mut self.page, next);
        // There are METER_PAGES pages in all, so a ring of that size always takes one more.
        let refused = self.full.push(closed);
        debug_assert!(refused.is_ok(), "more pages than places");
        true
    }
}

impl MeterPages {
    /// The oldest closed page.
    pub fn take(&self) -> Option<Box<UsagePage>> {
        self.full.pop()
    }

    /// Gives a page back for its next use, emptied: what it held must be in the ledger.
    pub fn give_back(&self, mut page: Box<UsagePage>) {
        page.free();
        let refused = self.empty.push(page);
        debug_assert!(refused.is_ok(), "more pages than places");
    }

    /// How full the journal is, as far as its pages say it at this moment.
    pub fn fill(&self) -> Fill {
        let mut fill = Fill {
            request_capacity: (METER_PAGES * METER_REQUEST_ROWS) as u64,
            ..Fill::default()
        };
        let mut oldest = u64::MAX;
        for page in 0..METER_PAGES {
            let header = |word: usize| self.words[GEOMETRY.page_start(page) + word].load(Ordering::Acquire);
            let rows = header(layout::PAGE_REQUESTS);
            if header(layout::PAGE_STATE) == layout::STATE_FREE || rows == 0 {
                continue;
            }
            fill.request_rows += rows;
            if header(layout::PAGE_SEQUENCE) < oldest {
                oldest = header(layout::PAGE_SEQUENCE);
                let what = header(layout::HEADER_WORDS + layout::ROW_WHAT);
                fill.oldest_second = Some(layout::second_of(what));
            }
        }
        fill
    }
}
