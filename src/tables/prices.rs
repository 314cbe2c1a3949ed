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

use std::sync::Arc;

use trinity_protocol::{CLOCK_WINDOW_NS, PriceEntry, PriceFlags, PriceStatus, Symbol};

use super::sync::{AtomicU64, Ordering, fence};
use crate::limits::MAX_SYMBOLS;

/// A symbol's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolIndex(pub u32);

/// Names and aliases of the symbols, built once and only read afterwards.
#[derive(Debug)]
pub struct SymbolNames {
    names: Vec<Symbol>,
    /// Open addressing; an empty place is [`EMPTY`].
    places: Vec<([u8; 16], u32)>,
    mask: usize,
}

/// Why names cannot form a table.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SymbolNamesError {
    /// Two symbols claim one name.
    #[error("the name {0} stands for two symbols: {1} and {2}")]
    Ambiguous(Symbol, Symbol, Symbol),
    /// More than [`MAX_SYMBOLS`] names and aliases.
    #[error("more than {MAX_SYMBOLS} symbols and aliases")]
    TooMany,
}

const EMPTY: u32 = u32::MAX;

impl SymbolNames {
    /// Builds the lookup; the position of a name in `names` is its index, `aliases` point to
    /// positions.
    pub fn new(names: Vec<Symbol>, aliases: &[(Symbol, SymbolIndex)]) -> Result<Self, SymbolNamesError> {
        let total = names.len() + aliases.len();
        if total > MAX_SYMBOLS {
            return Err(SymbolNamesError::TooMany);
        }
        let size = (total * 4).next_power_of_two().max(16);
        let mut table = Self {
            names,
            places: vec![([0; 16], EMPTY); size],
            mask: size - 1,
        };
        for index in 0..table.names.len() {
            table.insert(table.names[index], index as u32)?;
        }
        for (alias, index) in aliases {
            table.insert(*alias, index.0)?;
        }
        Ok(table)
    }

    /// Finds a symbol by name or alias, as the wire carries it.
    #[inline]
    pub fn find(&self, wire: &[u8; 16]) -> Option<SymbolIndex> {
        let mut place = slot_hash(wire) & self.mask;
        loop {
            let (name, index) = &self.places[place];
            if *index == EMPTY {
                return None;
            }
            if name == wire {
                return Some(SymbolIndex(*index));
            }
            place = (place + 1) & self.mask;
        }
    }

    /// The canonical name of a symbol.
    pub fn name(&self, index: SymbolIndex) -> Option<Symbol> {
        self.names.get(index.0 as usize).copied()
    }

    /// The canonical names in index order.
    pub fn names(&self) -> &[Symbol] {
        &self.names
    }

    /// Every alias with the symbol it stands for, in no particular order.
    pub fn aliases(&self) -> impl Iterator<Item = (Symbol, SymbolIndex)> {
        self.places.iter().filter_map(|(wire, index)| {
            let alias = Symbol::from_wire(*wire).ok()?;
            let index = SymbolIndex(*index);
            (self.name(index)? != alias).then_some((alias, index))
        })
    }

    fn insert(&mut self, name: Symbol, index: u32) -> Result<(), SymbolNamesError> {
        let wire = name.to_wire();
        let mut place = slot_hash(&wire) & self.mask;
        loop {
            let (taken, other) = self.places[place];
            if other == EMPTY {
                self.places[place] = (wire, index);
                return Ok(());
            }
            if taken == wire {
                let (a, b) = (self.names[other as usize], self.names[index as usize]);
                return if other == index {
                    Ok(())
                } else {
                    Err(SymbolNamesError::Ambiguous(name, a, b))
                };
            }
            place = (place + 1) & self.mask;
        }
    }
}

/// Spreads a symbol's bytes; the multiplier is that of splitmix64.
fn slot_hash(wire: &[u8; 16]) -> usize {
    let bits = u128::from_le_bytes(*wire);
    let folded = (bits as u64) ^ ((bits >> 64) as u64).rotate_left(29);
    (folded.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 24) as usize
}

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
    fn read(&self) -> PriceRecord {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let slot = &self.slots[(version & 1) as usize];
            let words = std::array::from_fn(|i| slot[i].load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            if self.version.load(Ordering::Relaxed) == version {
                return PriceRecord::from_words(words);
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
        self.cells.get(symbol.0 as usize).map(Cell::read)
    }

    /// The wire entry of a symbol given by its name, for a caller at `now_ns`.
    #[inline]
    pub fn entry(&self, wire: &[u8; 16], max_age_ms: u32, now_ns: u64) -> (Option<SymbolIndex>, PriceEntry) {
        let unknown = PriceEntry {
            status: PriceStatus::UnknownSymbol as u8,
            ..PriceEntry::default()
        };
        let Some(symbol) = self.names.find(wire) else {
            return (None, unknown);
        };
        let record = self.read(symbol).unwrap_or(PriceRecord::NONE);
        (Some(symbol), record.entry_at(now_ns, max_age_ms))
    }
}

/// The one writer of all copies. It is neither `Clone` nor shared: a second writer cannot
/// exist.
#[derive(Debug)]
pub struct PriceWriter {
    copies: Vec<Arc<PriceTable>>,
}

impl PriceWriter {
    /// Makes `copies` tables over the same names, and their writer.
    pub fn new(names: &Arc<SymbolNames>, copies: usize) -> (Self, Vec<Arc<PriceTable>>) {
        let tables: Vec<_> = (0..copies)
            .map(|_| Arc::new(PriceTable::new(Arc::clone(names))))
            .collect();
        (
            Self {
                copies: tables.clone(),
            },
            tables,
        )
    }

    /// Publishes a price to every copy. Readers see it without being woken.
    pub fn publish(&mut self, symbol: SymbolIndex, record: PriceRecord) {
        for copy in &self.copies {
            if let Some(cell) = copy.cells.get(symbol.0 as usize) {
                cell.write(record);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering as StdOrdering};

    use super::*;

    fn names(list: &[&str], aliases: &[(&str, u32)]) -> Result<SymbolNames, SymbolNamesError> {
        let symbol = |name: &str| Symbol::new(name).expect("test names are symbols");
        let aliases: Vec<_> = aliases
            .iter()
            .map(|(a, i)| (symbol(a), SymbolIndex(*i)))
            .collect();
        SymbolNames::new(list.iter().map(|n| symbol(n)).collect(), &aliases)
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
    fn a_symbol_is_found_by_its_name_and_its_aliases_only() {
        let names = names(&["BTC-USD", "ETH-USD"], &[("BTC", 0), ("XBT/USD", 0)]).expect("no clash");
        let find = |name: &str| names.find(&Symbol::new(name).expect("symbol").to_wire());
        assert_eq!(find("BTC-USD"), Some(SymbolIndex(0)));
        assert_eq!(find("XBT/USD"), Some(SymbolIndex(0)));
        assert_eq!(find("ETH-USD"), Some(SymbolIndex(1)));
        assert_eq!(find("ETH"), None);
        let mut aliases: Vec<_> = names
            .aliases()
            .map(|(alias, index)| (alias.to_string(), index.0))
            .collect();
        aliases.sort();
        assert_eq!(aliases, [("BTC".to_owned(), 0), ("XBT/USD".to_owned(), 0)]);
        assert_eq!(names.find(&[0; 16]), None);
        assert_eq!(names.find(&[0xFF; 16]), None);
    }

    #[test]
    fn one_name_for_two_symbols_is_refused() {
        assert!(matches!(
            names(&["A", "B"], &[("B", 0)]),
            Err(SymbolNamesError::Ambiguous(..))
        ));
    }

    #[test]
    fn a_full_table_of_names_is_searched_in_full() {
        let list: Vec<_> = (0..20_000)
            .map(|i| Symbol::new(&format!("S{i}-USD")).expect("symbol"))
            .collect();
        let names = SymbolNames::new(list.clone(), &[]).expect("distinct");
        for (i, name) in list.iter().enumerate() {
            assert_eq!(names.find(&name.to_wire()), Some(SymbolIndex(i as u32)));
        }
    }

    #[test]
    fn every_copy_shows_what_was_published_last() {
        let names = Arc::new(names(&["A", "B"], &[]).expect("distinct"));
        let (mut writer, copies) = PriceWriter::new(&names, 3);
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

    #[test]
    fn a_reader_never_sees_half_of_a_price() {
        let names = Arc::new(names(&["A"], &[]).expect("one name"));
        let (mut writer, copies) = PriceWriter::new(&names, 1);
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
                let seen = copies[0].read(SymbolIndex(0)).expect("in range");
                assert_eq!(seen, record(seen.confidence), "torn");
                assert!(seen.confidence >= last, "went back");
                last = seen.confidence;
            }
        });
    }
}
