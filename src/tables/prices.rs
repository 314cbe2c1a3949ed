//! The price table: one writer, any number of readers, nobody ever waits.
//!
//! Each symbol has a cell of two slots and a version. The writer fills the slot that is not
//! current and then moves the version on; a reader copies the current slot and keeps the
//! copy if the version has not moved meanwhile. This is a seqlock (Boehm, "Can seqlocks get
//! along with programming language memory models?", MSPC 2012) with a second slot, so that a
//! writer that is preempted in the middle of a write never keeps a reader spinning: a
//! reader repeats only when a whole new price was published while it copied.
//!
//! The payload is kept in atomic words with relaxed accesses and fences, so no read is a
//! data race and no `unsafe` is needed.
//!
//! A table does not grow. When symbols are added the writer makes a larger one, copies the
//! prices over and swaps it in; a reader finds it at its next turn. What a symbol's index is
//! never changes, so an index from one table is good for every later one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use trinity_protocol::{CLOCK_WINDOW_NS, PriceEntry, PriceFlags, PriceStatus};
use zerocopy::IntoBytes;

pub use super::names::{SymbolIndex, SymbolNames, SymbolNamesError};
use super::sync::{AtomicU64, Ordering, fence};

/// A price as the market publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceRecord {
    /// Price in units of 10^exponent.
    pub mantissa: i64,
    /// Half-width of the venues' band, same exponent.
    pub confidence: u64,
    /// When the price was formed, Unix nanoseconds on the market's own clock (a replayed
    /// market's clock is the recording's).
    pub publish_time_ns: u64,
    /// Decimal exponent.
    pub exponent: i8,
    /// What the market says of it now.
    pub status: PriceStatus,
    /// What the market last said of it, leaving its age aside: what the status is for a
    /// caller who accepts older prices than the symbol's default.
    pub quality: PriceStatus,
    /// Venues used.
    pub venues: u8,
    /// How it came to be.
    pub flags: PriceFlags,
    /// Rises by one per published change.
    pub sequence: u32,
    /// From when its age counts, Unix nanoseconds on this machine's clock.
    pub age_origin_ns: u64,
    /// Age past which it is STALE unless the caller says otherwise, milliseconds.
    pub max_age_ms: u32,
    /// Age past which it is NO_PRICE for everybody, milliseconds.
    pub hard_age_ms: u32,
}

impl PriceRecord {
    /// A symbol that never had a price.
    pub const NONE: Self = Self {
        mantissa: 0,
        confidence: 0,
        publish_time_ns: 0,
        exponent: 0,
        status: PriceStatus::NoPrice,
        quality: PriceStatus::NoPrice,
        venues: 0,
        flags: PriceFlags::NONE,
        sequence: 0,
        age_origin_ns: 0,
        max_age_ms: 0,
        hard_age_ms: 0,
    };

    /// Age at `now_ns`, nanoseconds. A price a little ahead of the reader's clock has age 0; one
    /// further ahead than clocks may differ was written before the clock was set back, and how
    /// old it is nobody knows: it counts as older than anything.
    pub const fn age_ns(&self, now_ns: u64) -> u64 {
        if self.age_origin_ns.saturating_sub(now_ns) > CLOCK_WINDOW_NS {
            u64::MAX
        } else {
            now_ns.saturating_sub(self.age_origin_ns)
        }
    }

    /// The status for a caller at `now_ns` who accepts `max_age_ms` (0: the symbol's default).
    ///
    /// A stale price is never passed off as live, even if the market task has died.
    pub const fn status_at(&self, now_ns: u64, max_age_ms: u32) -> PriceStatus {
        if !self.quality.has_value() {
            return self.quality;
        }
        let age_ns = self.age_ns(now_ns);
        if matches!(self.status, PriceStatus::NoPrice) || age_ns > self.hard_age_ms as u64 * 1_000_000 {
            return PriceStatus::NoPrice;
        }
        let (limit_ms, fresh) = if max_age_ms == 0 {
            (self.max_age_ms, self.status)
        } else {
            (max_age_ms, self.quality)
        };
        if age_ns > limit_ms as u64 * 1_000_000 {
            PriceStatus::Stale
        } else {
            fresh
        }
    }

    /// The wire entry for a caller at `now_ns` who accepts `max_age_ms` (0: the default).
    pub fn entry_at(&self, now_ns: u64, max_age_ms: u32) -> PriceEntry {
        let status = self.status_at(now_ns, max_age_ms);
        if !status.has_value() {
            return PriceEntry {
                exponent: self.exponent,
                status: status as u8,
                sequence: self.sequence.into(),
                ..PriceEntry::default()
            };
        }
        PriceEntry {
            mantissa: self.mantissa.into(),
            confidence: self.confidence.into(),
            publish_time_ns: self.publish_time_ns.into(),
            exponent: self.exponent,
            status: status as u8,
            venues: self.venues,
            flags: self.flags.0,
            sequence: self.sequence.into(),
        }
    }

    fn to_words(self) -> [u64; WORDS] {
        let packed = u64::from_le_bytes([
            self.exponent as u8,
            self.status as u8,
            self.venues,
            self.flags.0,
            self.sequence as u8,
            (self.sequence >> 8) as u8,
            (self.sequence >> 16) as u8,
            (self.sequence >> 24) as u8,
        ]);
        [
            self.mantissa as u64,
            self.confidence,
            self.publish_time_ns,
            packed,
            self.age_origin_ns,
            u64::from(self.max_age_ms) << 32 | u64::from(self.hard_age_ms),
            self.quality as u64,
        ]
    }

    fn from_words(words: [u64; WORDS]) -> Self {
        let [exponent, status, venues, flags, s0, s1, s2, s3] = words[3].to_le_bytes();
        Self {
            mantissa: words[0] as i64,
            confidence: words[1],
            publish_time_ns: words[2],
            exponent: exponent as i8,
            status: PriceStatus::from_wire(status).unwrap_or(PriceStatus::NoPrice),
            quality: PriceStatus::from_wire(words[6] as u8).unwrap_or(PriceStatus::NoPrice),
            venues,
            flags: PriceFlags(flags),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            age_origin_ns: words[4],
            max_age_ms: (words[5] >> 32) as u32,
            hard_age_ms: words[5] as u32,
        }
    }
}

const WORDS: usize = 7;

/// Writes what [`PriceRecord::entry_at`] gives, straight from a cell's words: the first four of
/// them are the entry as the wire carries it, but for the status of the moment.
#[inline]
fn write_words(words: [u64; WORDS], now_ns: u64, max_age_ms: u32, entry: &mut PriceEntry) -> PriceStatus {
    const STATUS: u64 = 0xFF << 8;
    const MS: u64 = 1_000_000;
    // Nearly every price is live and fresh, and then the words are the entry.
    let (own_age_ms, hard_age_ms) = ((words[5] >> 32) as u32, words[5] as u32);
    let limit_ms = if max_age_ms == 0 { own_age_ms } else { max_age_ms };
    let is_live =
        words[3] & STATUS == (PriceStatus::Live as u64) << 8 && words[6] == PriceStatus::Live as u64;
    let is_fresh = words[4] <= now_ns && now_ns - words[4] <= u64::from(limit_ms.min(hard_age_ms)) * MS;
    if !(is_live && is_fresh) {
        return write_aged(words, now_ns, max_age_ms, entry);
    }
    // Word by word: as a whole it would be read back from where its words were just put together.
    let (places, _) = entry.as_mut_bytes().as_chunks_mut::<8>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    PriceStatus::Live
}

/// The same for whatever price.
#[cold]
#[inline(never)]
fn write_aged(words: [u64; WORDS], now_ns: u64, max_age_ms: u32, entry: &mut PriceEntry) -> PriceStatus {
    let record = PriceRecord::from_words(words);
    *entry = record.entry_at(now_ns, max_age_ms);
    record.status_at(now_ns, max_age_ms)
}

/// Two slots of 56 bytes and the version: two cache lines, shared with no other symbol.
#[derive(Debug)]
#[repr(align(128))]
struct Cell {
    /// Number of the current price; its lowest bit says which slot holds it.
    version: AtomicU64,
    slots: [[AtomicU64; WORDS]; 2],
}

impl Cell {
    fn new() -> Self {
        let words = PriceRecord::NONE.to_words();
        let slot = || std::array::from_fn(|i| AtomicU64::new(words[i]));
        Self {
            version: AtomicU64::new(0),
            slots: [slot(), slot()],
        }
    }

    fn write(&self, record: PriceRecord) {
        let next = self.version.load(Ordering::Relaxed).wrapping_add(1);
        // Orders the version that the last write published before the words below: a reader
        // that sees any of them also sees that its slot was given up, and repeats.
        fence(Ordering::Release);
        let slot = &self.slots[(next & 1) as usize];
        for (word, value) in slot.iter().zip(record.to_words()) {
            word.store(value, Ordering::Relaxed);
        }
        self.version.store(next, Ordering::Release);
    }

    #[inline]
    fn read(&self) -> [u64; WORDS] {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let slot = &self.slots[(version & 1) as usize];
            // One by one: they stay in registers, where a loop would put them on the stack.
            let word = |i: usize| slot[i].load(Ordering::Relaxed);
            let words = [word(0), word(1), word(2), word(3), word(4), word(5), word(6)];
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return words;
            }
        }
    }
}

/// One copy of every symbol's price. Each shard has its own; [`PriceWriter`] writes them all.
#[derive(Debug)]
pub struct PriceTable {
    names: Arc<SymbolNames>,
    cells: Box<[Cell]>,
}

/// Where a core finds its copy of the prices, read through `arc_swap::Cache` once a turn.
pub type PriceCopy = Arc<ArcSwap<PriceTable>>;

impl PriceTable {
    /// An empty copy.
    pub fn new(names: Arc<SymbolNames>) -> Self {
        let cells = names.names().iter().map(|_| Cell::new()).collect();
        Self { names, cells }
    }

    /// The names of the symbols.
    pub fn names(&self) -> &Arc<SymbolNames> {
        &self.names
    }

    /// The current price of a symbol; `None` past the end of the table.
    #[inline]
    pub fn read(&self, symbol: SymbolIndex) -> Option<PriceRecord> {
        let cell = self.cells.get(symbol.0 as usize)?;
        Some(PriceRecord::from_words(cell.read()))
    }

    /// The wire entry of a symbol given by its name, for a caller at `now_ns`.
    #[inline]
    pub fn entry(&self, wire: &[u8; 16], max_age_ms: u32, now_ns: u64) -> (Option<SymbolIndex>, PriceEntry) {
        let symbol = self.names.find(wire);
        let mut entry = PriceEntry::default();
        self.write_entry(symbol, max_age_ms, now_ns, &mut entry);
        (symbol, entry)
    }

    /// Writes the wire entry of a symbol, for a caller at `now_ns` who accepts `max_age_ms` (0: the
    /// symbol's default), and tells its status; `None` is a symbol that there is not.
    #[inline]
    pub fn write_entry(
        &self,
        symbol: Option<SymbolIndex>,
        max_age_ms: u32,
        now_ns: u64,
        entry: &mut PriceEntry,
    ) -> PriceStatus {
        let Some(symbol) = symbol else {
            *entry = PriceEntry {
                status: PriceStatus::UnknownSymbol as u8,
                ..PriceEntry::default()
            };
            return PriceStatus::UnknownSymbol;
        };
        let Some(cell) = self.cells.get(symbol.0 as usize) else {
            return write_aged(PriceRecord::NONE.to_words(), now_ns, max_age_ms, entry);
        };
        write_words(cell.read(), now_ns, max_age_ms, entry)
    }

    /// A table over more names, with every price that this one has. Only the writer may ask:
    /// what another wrote meanwhile would be lost.
    fn grown(&self, names: Arc<SymbolNames>) -> Self {
        let table = Self::new(names);
        for (new, old) in table.cells.iter().zip(&self.cells) {
            new.write(PriceRecord::from_words(old.read()));
        }
        table
    }
}

/// The one writer of all copies. It is neither `Clone` nor shared: a second writer cannot
/// exist.
#[derive(Debug)]
pub struct PriceWriter {
    copies: Vec<Written>,
    /// Tables that a reader may still hold; dropped here, not on a shard.
    retired: Vec<Arc<PriceTable>>,
}

/// A copy, and the table that is in it now: only the writer swaps it.
#[derive(Debug)]
struct Written {
    copy: PriceCopy,
    table: Arc<PriceTable>,
}

impl PriceWriter {
    /// Makes `copies` tables over the same names, and their writer.
    pub fn new(names: &Arc<SymbolNames>, copies: usize) -> (Self, Vec<PriceCopy>) {
        let copies: Vec<_> = (0..copies)
            .map(|_| {
                let table = Arc::new(PriceTable::new(Arc::clone(names)));
                let copy = Arc::new(ArcSwap::new(Arc::clone(&table)));
                Written { copy, table }
            })
            .collect();
        let shared = copies.iter().map(|written| Arc::clone(&written.copy)).collect();
        let writer = Self {
            copies,
            retired: Vec::new(),
        };
        (writer, shared)
    }

    /// Publishes a price to every copy. Readers see it without being woken.
    pub fn publish(&mut self, symbol: SymbolIndex, record: PriceRecord) {
        for written in &self.copies {
            if let Some(cell) = written.table.cells.get(symbol.0 as usize) {
                cell.write(record);
            }
        }
    }

    /// Swaps in tables over these names: every symbol there was, in its place, and new ones
    /// behind. Prices stay. The first copy is swapped first, so that whoever has seen an index
    /// in any copy finds its name there.
    ///
    /// Refused, with nothing changed, if a symbol would move or go: to take one off the list,
    /// retire it.
    pub fn extend(&mut self, names: &Arc<SymbolNames>) -> Result<(), SymbolNamesError> {
        if let Some(written) = self.copies.first() {
            names.check_extends(written.table.names())?;
        }
        for written in &mut self.copies {
            let grown = Arc::new(written.table.grown(Arc::clone(names)));
            written.copy.store(Arc::clone(&grown));
            self.retired.push(std::mem::replace(&mut written.table, grown));
        }
        self.free_retired();
        Ok(())
    }

    /// Frees the tables that no reader holds any more; tells how many are left. To be called
    /// now and then, as long as some are.
    pub fn free_retired(&mut self) -> usize {
        self.retired.retain(|table| Arc::strong_count(table) > 1);
        self.retired.len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

    use arc_swap::Cache;
    use proptest::prelude::*;
    use trinity_protocol::Symbol;

    use super::*;

    fn names(list: &[&str]) -> Arc<SymbolNames> {
        let symbol = |name: &&str| Symbol::new(name).expect("test names are symbols");
        Arc::new(SymbolNames::new(list.iter().map(symbol).collect(), &[]).expect("distinct"))
    }

    fn record(n: u64) -> PriceRecord {
        PriceRecord {
            mantissa: n as i64,
            confidence: n,
            publish_time_ns: n,
            exponent: -8,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            venues: 3,
            flags: PriceFlags::DERIVED,
            sequence: n as u32,
            age_origin_ns: n,
            max_age_ms: 1_000,
            hard_age_ms: 5_000,
        }
    }

    #[test]
    fn every_copy_shows_what_was_published_last() {
        let (mut writer, copies) = PriceWriter::new(&names(&["A", "B"]), 3);
        let copies: Vec<_> = copies.iter().map(|copy| copy.load_full()).collect();
        assert_eq!(copies[2].read(SymbolIndex(1)), Some(PriceRecord::NONE));
        for n in 1..5 {
            writer.publish(SymbolIndex(1), record(n));
            assert!(copies.iter().all(|c| c.read(SymbolIndex(1)) == Some(record(n))));
        }
        assert_eq!(copies[0].read(SymbolIndex(2)), None);
    }

    #[test]
    fn age_turns_live_into_stale_and_then_into_no_price() {
        let ms = 1_000_000;
        let price = PriceRecord {
            age_origin_ns: 10_000 * ms,
            ..record(7)
        };
        let at = |age_ms: u64, max| price.status_at((10_000 + age_ms) * ms, max);
        assert_eq!(at(1_000, 0), PriceStatus::Live);
        assert_eq!(at(1_001, 0), PriceStatus::Stale);
        assert_eq!(at(5_000, 0), PriceStatus::Stale);
        assert_eq!(at(5_001, 0), PriceStatus::NoPrice);
        assert_eq!(
            at(200, 100),
            PriceStatus::Stale,
            "a caller may ask for fresher prices"
        );
        assert_eq!(at(4_000, 4_500), PriceStatus::Live, "or accept older ones");
        assert_eq!(
            at(5_001, 60_000),
            PriceStatus::NoPrice,
            "but never past the hard age"
        );
        let before = |early_ms: u64| price.status_at((10_000 - early_ms) * ms, 0);
        assert_eq!(before(5_000), PriceStatus::Live, "clocks may differ a little");
        assert_eq!(before(5_001), PriceStatus::NoPrice, "but this one was set back");
        let entry = price.entry_at(20_000 * ms, 0);
        assert_eq!(
            (entry.mantissa.get(), entry.status),
            (0, PriceStatus::NoPrice as u8),
            "no value is given"
        );
    }

    #[test]
    fn a_stale_price_regains_its_quality_for_a_caller_who_accepts_its_age() {
        let stale = PriceRecord {
            status: PriceStatus::Stale,
            quality: PriceStatus::Thin,
            ..record(0)
        };
        assert_eq!(stale.status_at(2_000_000_000, 0), PriceStatus::Stale);
        assert_eq!(stale.status_at(2_000_000_000, 3_000), PriceStatus::Thin);
    }

    proptest! {
        #[test]
        fn an_entry_says_what_its_record_says(
            numbers in any::<(i64, u64, u64, i8, u32)>(),
            (status, quality) in (0_usize..7, 0_usize..7),
            (venues, flags) in any::<(u8, u8)>(),
            (age_ms, max_age_ms, hard_age_ms, asked_ms) in (0_u64..100, 0_u32..100, 0_u32..100, 0_u32..100),
        ) {
            let status_of = |i: usize| PriceStatus::from_wire(i as u8).expect("seven of them");
            let now_ns = 1_000_000_000;
            let record = PriceRecord {
                mantissa: numbers.0,
                confidence: numbers.1,
                publish_time_ns: numbers.2,
                exponent: numbers.3,
                status: status_of(status),
                quality: status_of(quality),
                venues,
                flags: PriceFlags(flags),
                sequence: numbers.4,
                age_origin_ns: now_ns - age_ms * 1_000_000,
                max_age_ms,
                hard_age_ms,
            };
            let (mut writer, copies) = PriceWriter::new(&names(&["A"]), 1);
            writer.publish(SymbolIndex(0), record);
            let mut entry = PriceEntry { venues: 255, ..PriceEntry::default() };
            let told = copies[0].load().write_entry(Some(SymbolIndex(0)), asked_ms, now_ns, &mut entry);
            prop_assert_eq!(entry, record.entry_at(now_ns, asked_ms));
            prop_assert_eq!(told, record.status_at(now_ns, asked_ms));
        }
    }

    #[test]
    fn a_symbol_that_there_is_not_has_an_entry_that_says_so() {
        let table = PriceTable::new(names(&["A"]));
        let mut entry = PriceEntry::default();
        let status = table.write_entry(None, 0, 7, &mut entry);
        assert_eq!(status, PriceStatus::UnknownSymbol);
        assert_eq!(
            entry,
            PriceEntry {
                status: status as u8,
                ..PriceEntry::default()
            }
        );
        let past_the_end = table.write_entry(Some(SymbolIndex(1)), 0, 7, &mut entry);
        assert_eq!(past_the_end, PriceStatus::NoPrice);
    }

    #[test]
    fn a_reader_never_sees_half_of_a_price() {
        let (mut writer, copies) = PriceWriter::new(&names(&["A"]), 1);
        let copy = copies[0].load_full();
        let stop = AtomicBool::new(false);
        writer.publish(SymbolIndex(0), record(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 1..if cfg!(miri) { 50 } else { 200_000 } {
                    writer.publish(SymbolIndex(0), record(n));
                }
                stop.store(true, StdOrdering::Relaxed);
            });
            let mut last = 0;
            while !stop.load(StdOrdering::Relaxed) {
                let seen = copy.read(SymbolIndex(0)).expect("in range");
                assert_eq!(seen, record(seen.confidence), "torn");
                assert!(seen.confidence >= last, "went back");
                last = seen.confidence;
            }
        });
    }

    #[test]
    fn a_grown_table_keeps_every_price_in_its_place_and_takes_new_ones() {
        let (mut writer, copies) = PriceWriter::new(&names(&["A", "B"]), 2);
        writer.publish(SymbolIndex(1), record(5));
        writer.extend(&names(&["A", "B", "C"])).expect("a continuation");
        writer.publish(SymbolIndex(2), record(6));
        for copy in &copies {
            let table = copy.load();
            assert_eq!(table.read(SymbolIndex(0)), Some(PriceRecord::NONE));
            assert_eq!(table.read(SymbolIndex(1)), Some(record(5)));
            assert_eq!(table.read(SymbolIndex(2)), Some(record(6)));
            let wire = Symbol::new("C").expect("a symbol").to_wire();
            assert_eq!(table.entry(&wire, 0, 6).0, Some(SymbolIndex(2)));
        }
    }

    #[test]
    fn a_list_that_moves_a_symbol_is_refused_and_changes_nothing() {
        let (mut writer, copies) = PriceWriter::new(&names(&["A", "B"]), 1);
        let before = copies[0].load_full();
        assert!(writer.extend(&names(&["B", "A"])).is_err());
        assert!(writer.extend(&names(&["A"])).is_err());
        assert!(Arc::ptr_eq(&before, &copies[0].load_full()));
    }

    #[test]
    fn a_retired_table_is_freed_by_the_writer_once_no_reader_holds_it() {
        let (mut writer, copies) = PriceWriter::new(&names(&["A"]), 1);
        let mut reader = Cache::new(Arc::clone(&copies[0]));
        let old = Arc::downgrade(reader.load());
        writer.extend(&names(&["A", "B"])).expect("a continuation");
        assert_eq!(writer.free_retired(), 1, "the reader has not looked yet");
        reader.load();
        assert!(old.upgrade().is_some(), "the reader's own look frees nothing");
        assert_eq!(writer.free_retired(), 0);
        assert!(old.upgrade().is_none());
    }

    #[test]
    fn readers_go_on_while_the_table_grows() {
        const GROWTHS: usize = if cfg!(miri) { 4 } else { 60 };
        const PRICES: u64 = if cfg!(miri) { 5 } else { 500 };
        let list: Vec<_> = (0..=GROWTHS).map(|i| format!("S{i}")).collect();
        let list: Vec<_> = list.iter().map(String::as_str).collect();
        let (mut writer, copies) = PriceWriter::new(&names(&list[..1]), 2);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for copy in &copies {
                scope.spawn(|| {
                    let mut reader = Cache::new(Arc::clone(copy));
                    let (mut last, mut symbols) = (0, 0);
                    while !stop.load(StdOrdering::Relaxed) {
                        let table = reader.load();
                        assert!(table.names().names().len() >= symbols, "it shrank");
                        symbols = table.names().names().len();
                        let seen = table.read(SymbolIndex(0)).expect("the first symbol stays");
                        assert!(
                            seen == PriceRecord::NONE || seen == record(seen.confidence),
                            "torn"
                        );
                        assert!(seen.confidence >= last, "went back");
                        last = seen.confidence;
                    }
                });
            }
            for growth in 0..GROWTHS {
                for n in 1..=PRICES {
                    writer.publish(SymbolIndex(0), record(growth as u64 * PRICES + n));
                    writer.publish(SymbolIndex(growth as u32), record(n));
                }
                writer
                    .extend(&names(&list[..growth + 2]))
                    .expect("a continuation");
            }
            stop.store(true, StdOrdering::Relaxed);
        });
        let table = copies[1].load();
        assert_eq!(table.names().names().len(), GROWTHS + 1);
        for growth in 1..GROWTHS {
            assert_eq!(table.read(SymbolIndex(growth as u32)), Some(record(PRICES)));
        }
        assert_eq!(writer.free_retired(), 0, "the readers are gone");
    }
}
