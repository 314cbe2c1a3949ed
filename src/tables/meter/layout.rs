//! How usage lies in a journal. Everything is a little-endian u64, here called a word.
//!
//! ```text
//! file            0 ┌────────────────────────────────────────────────┐
//!                   │ header, 4096 bytes                              │
//!              4096 ├────────────────────────────────────────────────┤
//!                   │ page 0: page header, 4096 bytes                 │
//!                   │         request rows, 64 bytes each             │
//!                   │         symbol rows, 64 bytes each              │
//!                   ├────────────────────────────────────────────────┤
//!                   │ page 1 ...                                      │
//!
//! header      word  0 magic "TBUSAGE1"        page header  0 sequence
//!                   1 version                              1 seal of the sequence
//!                   2 boot                                 2 state: 0 free, 1 open, 2 closed
//!                   3 meter                                3 request rows begun
//!                   4 pages                                4 symbol rows begun
//!                   5 request rows of a page               5 entries without a row
//!                   6 symbol rows of a page                6 requests folded
//!                   7 made at, Unix ns
//!                   8 length of the node's name, bytes
//!                9-16 the node's name, NUL padded
//!                  17 checksum: first 8 bytes of BLAKE3 of words 0 to 16
//!
//! request row       0 key id                  symbol row   0 key id
//!                   1 second << 32 | protocol << 16 | outcome
//!                                                          1 second << 32 | status << 29 | symbol's index
//!                   2 seal                                 2 seal
//!                   3 count                                3 entries
//!                   4 sum of latencies, ns                 4 the symbol's name, bytes 0 to 7
//!                   5 longest latency, ns                  5 the symbol's name, bytes 8 to 15
//! ```
//!
//! **Nothing is torn.** A row's seal covers what it stands for, the page's sequence and the boot,
//! and is written once. A row of an earlier use of the page, or one that was only half written, has
//! no right seal and does not exist. A count is one word, changed by one store: a number of 48 bits
//! with 16 bits of checksum over it and the seal. So a process that is killed between any two
//! instructions leaves whole rows; damage to the file shows.

use trinity_protocol::{Code, KeyId, PriceStatus, Symbol};

use super::{Protocol, RequestRow, SymbolRow};
use crate::tables::prices::SymbolIndex;

/// Words of a row: a cache line.
pub(crate) const ROW_WORDS: usize = 8;
/// A row as it is read.
pub(crate) type RowImage = [u64; ROW_WORDS];
/// Words of a file's header, and of a page's.
pub(crate) const HEADER_WORDS: usize = 512;
/// Words of the file's header that mean something.
const HEADER_USED: usize = 18;

const MAGIC: u64 = u64::from_le_bytes(*b"TBUSAGE1");
/// The version of this layout.
pub(crate) const VERSION: u64 = 1;
/// Longest node name, bytes.
pub(crate) const NODE_BYTES: usize = 64;

pub(crate) const PAGE_SEQUENCE: usize = 0;
pub(crate) const PAGE_SEAL: usize = 1;
pub(crate) const PAGE_STATE: usize = 2;
pub(crate) const PAGE_REQUESTS: usize = 3;
pub(crate) const PAGE_SYMBOLS: usize = 4;
pub(crate) const PAGE_LOST: usize = 5;
pub(crate) const PAGE_FOLDED: usize = 6;

/// What a page is used for.
pub(crate) const STATE_FREE: u64 = 0;
pub(crate) const STATE_OPEN: u64 = 1;
pub(crate) const STATE_CLOSED: u64 = 2;

pub(crate) const ROW_KEY: usize = 0;
pub(crate) const ROW_WHAT: usize = 1;
pub(crate) const ROW_SEAL: usize = 2;
pub(crate) const ROW_COUNT: usize = 3;
pub(crate) const REQUEST_LATENCY_SUM: usize = 4;
pub(crate) const REQUEST_LATENCY_MAX: usize = 5;
pub(crate) const SYMBOL_NAME: usize = 4;

/// Most that one row can count.
pub(crate) const MAX_COUNT: u64 = (1 << 48) - 1;

/// How many pages of how many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) pages: usize,
    pub(crate) request_rows: usize,
    pub(crate) symbol_rows: usize,
}

/// Whose usage a file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Drawn anew at each start of the process.
    pub(crate) boot: u64,
    /// Which of its meters.
    pub(crate) meter: u32,
    /// The node's name, at most [`NODE_BYTES`] long.
    pub(crate) node: String,
    /// When it was made, Unix nanoseconds.
    pub(crate) made_ns: u64,
    pub(crate) geometry: Geometry,
}

/// Why a file's header says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Something else, or damaged.
    NotOurs,
    /// Written by a newer program, of this version.
    Newer(u64),
}

impl Geometry {
    pub(crate) const fn page_words(self) -> usize {
        HEADER_WORDS + (self.request_rows + self.symbol_rows) * ROW_WORDS
    }

    /// Where a page begins, in words from the beginning of the file.
    pub(crate) const fn page_start(self, page: usize) -> usize {
        HEADER_WORDS + page * self.page_words()
    }

    /// Words of the whole file.
    pub(crate) const fn words(self) -> usize {
        self.page_start(self.pages)
    }

    /// Whether a program could have made this; keeps a reader of strange files from absurd sizes.
    const fn is_sane(self) -> bool {
        self.pages >= 1
            && self.pages <= 64
            && self.request_rows >= 1
            && self.request_rows <= 1 << 24
            && self.symbol_rows >= 1
            && self.symbol_rows <= 1 << 24
    }
}

impl Header {
    pub(crate) fn encode(&self) -> [u64; HEADER_USED] {
        let mut words = [0; HEADER_USED];
        words[0] = MAGIC;
        words[1] = VERSION;
        words[2] = self.boot;
        words[3] = u64::from(self.meter);
        words[4] = self.geometry.pages as u64;
        words[5] = self.geometry.request_rows as u64;
        words[6] = self.geometry.symbol_rows as u64;
        words[7] = self.made_ns;
        let name = &self.node.as_bytes()[..self.node.len().min(NODE_BYTES)];
        words[8] = name.len() as u64;
        let mut padded = [0; NODE_BYTES];
        padded[..name.len()].copy_from_slice(name);
        for (word, bytes) in words[9..17].iter_mut().zip(padded.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words[17] = checksum(&words[..17]);
        words
    }

    pub(crate) fn decode(words: &[u64]) -> Result<Self, BadHeader> {
        let words = words.first_chunk::<HEADER_USED>().ok_or(BadHeader::NotOurs)?;
        if words[0] != MAGIC {
            return Err(BadHeader::NotOurs);
        }
        if words[1] > VERSION {
            return Err(BadHeader::Newer(words[1]));
        }
        if words[1] != VERSION || words[17] != checksum(&words[..17]) {
            return Err(BadHeader::NotOurs);
        }
        let number = |word: u64| usize::try_from(word).map_err(|_| BadHeader::NotOurs);
        let geometry = Geometry {
            pages: number(words[4])?,
            request_rows: number(words[5])?,
            symbol_rows: number(words[6])?,
        };
        let name: Vec<u8> = words[9..17].iter().flat_map(|word| word.to_le_bytes()).collect();
        let name = name.get(..number(words[8])?).ok_or(BadHeader::NotOurs)?;
        if !geometry.is_sane() {
            return Err(BadHeader::NotOurs);
        }
        Ok(Self {
            boot: words[2],
            meter: u32::try_from(words[3]).map_err(|_| BadHeader::NotOurs)?,
            node: String::from_utf8(name.to_vec()).map_err(|_| BadHeader::NotOurs)?,
            made_ns: words[7],
            geometry,
        })
    }
}

/// Proves that a page's sequence is what was written.
pub(crate) const fn page_seal(boot: u64, meter: u32, sequence: u64) -> u64 {
    some(fold(fold(boot, meter as u64), sequence))
}

/// Proves what a row stands for, and in which use of the page it was written.
#[inline]
pub(crate) const fn row_seal(page_seal: u64, key: u64, what: u64, name: [u64; 2]) -> u64 {
    some(fold(fold(fold(fold(page_seal, key), what), name[0]), name[1]))
}

/// A count and its checksum in one word; `count` is at most [`MAX_COUNT`].
#[inline]
pub(crate) const fn counted(count: u64, seal: u64) -> u64 {
    count << 16 | count_check(count, seal)
}

/// The count in a word, whether it is sound or not.
#[inline]
pub(crate) const fn count_of(word: u64) -> u64 {
    word >> 16
}

const fn count_check(count: u64, seal: u64) -> u64 {
    (count ^ seal).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48
}

/// What a request row stands for.
#[inline]
pub(crate) const fn request_what(second: u32, protocol: Protocol, outcome: Code) -> u64 {
    (second as u64) << 32 | (protocol as u64) << 16 | outcome as u64
}

/// Bits of a symbol's index; all of them set is none.
const SYMBOL_BITS: u32 = 29;
pub(crate) const NO_SYMBOL: u64 = (1 << SYMBOL_BITS) - 1;

/// What a symbol row stands for.
#[inline]
pub(crate) fn symbol_what(symbol: Option<SymbolIndex>, second: u32, status: PriceStatus) -> u64 {
    let number = symbol.map_or(NO_SYMBOL, |symbol| u64::from(symbol.0));
    u64::from(second) << 32 | (status as u64) << SYMBOL_BITS | number
}

pub(crate) const fn second_of(what: u64) -> u32 {
    (what >> 32) as u32
}

/// The same, but of the first second of its span of `span` seconds.
pub(crate) const fn coarser(what: u64, span: u32) -> u64 {
    let second = second_of(what);
    what & 0xFFFF_FFFF | ((second - second % span) as u64) << 32
}

pub(crate) fn symbol_of(what: u64) -> Option<SymbolIndex> {
    let number = what & NO_SYMBOL;
    (number != NO_SYMBOL).then_some(SymbolIndex(number as u32))
}

pub(crate) fn name_words(name: Option<Symbol>) -> [u64; 2] {
    let Some(name) = name else { return [0; 2] };
    let mut bytes = [0; 16];
    let text = name.as_str().as_bytes();
    bytes[..text.len()].copy_from_slice(text);
    let [low, high] = [0, 8].map(|at| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i])));
    [low, high]
}

fn name_of(words: [u64; 2]) -> Result<Option<Symbol>, Damaged> {
    if words == [0; 2] {
        return Ok(None);
    }
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&words[0].to_le_bytes());
    bytes[8..].copy_from_slice(&words[1].to_le_bytes());
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(16);
    let text = std::str::from_utf8(&bytes[..len]).map_err(|_| Damaged)?;
    Symbol::new(text).map(Some).map_err(|_| Damaged)
}

/// A row that was written and is not sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// Reads a request row; `None` if none was written there in this use of the page.
pub(crate) fn read_request(row: &RowImage, page_seal: u64) -> Result<Option<RequestRow>, Damaged> {
    let what = row[ROW_WHAT];
    if row[ROW_SEAL] != row_seal(page_seal, row[ROW_KEY], what, [0; 2]) {
        return Ok(None);
    }
    Ok(Some(RequestRow {
        key_id: KeyId(row[ROW_KEY]),
        second: second_of(what),
        protocol: match what >> 16 & 0xFFFF {
            0 => Protocol::Udp,
            1 => Protocol::Http,
            _ => return Err(Damaged),
        },
        outcome: Code::from_wire(what as u16).ok_or(Damaged)?,
        count: read_count(row)?,
        latency_sum_ns: row[REQUEST_LATENCY_SUM],
        latency_max_ns: row[REQUEST_LATENCY_MAX],
    }))
}

/// Reads a symbol row; `None` if none was written there in this use of the page.
pub(crate) fn read_symbol(row: &RowImage, page_seal: u64) -> Result<Option<SymbolRow>, Damaged> {
    let what = row[ROW_WHAT];
    let name = [row[SYMBOL_NAME], row[SYMBOL_NAME + 1]];
    if row[ROW_SEAL] != row_seal(page_seal, row[ROW_KEY], what, name) {
        return Ok(None);
    }
    Ok(Some(SymbolRow {
        key_id: KeyId(row[ROW_KEY]),
        symbol: symbol_of(what),
        name: name_of(name)?,
        second: second_of(what),
        status: PriceStatus::from_wire((what >> SYMBOL_BITS) as u8 & 7).ok_or(Damaged)?,
        entries: read_count(row)?,
    }))
}

fn read_count(row: &RowImage) -> Result<u64, Damaged> {
    let word = row[ROW_COUNT];
    // A row that was begun and not counted in yet: nobody was answered on its account.
    if word == 0 || word == counted(count_of(word), row[ROW_SEAL]) {
        Ok(count_of(word))
    } else {
        Err(Damaged)
    }
}

/// A word mixed into a hash: multiplication carries low bits up, the shift brings high bits down.
const fn fold(hash: u64, word: u64) -> u64 {
    let bits = (hash ^ word).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits ^ bits >> 32
}

/// No seal is 0, which is what a file without any rows has.
const fn some(seal: u64) -> u64 {
    if seal == 0 { 1 } else { seal }
}

fn checksum(words: &[u64]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for word in words {
        hasher.update(&word.to_le_bytes());
    }
    let hash = hasher.finalize();
    let first = hash.as_bytes().first_chunk().copied();
    u64::from_le_bytes(first.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            boot: 7,
            meter: 3,
            node: "main".into(),
            made_ns: 5,
            geometry: Geometry {
                pages: 4,
                request_rows: 100,
                symbol_rows: 50,
            },
        }
    }

    #[test]
    fn a_header_comes_back_and_any_changed_bit_shows() {
        for node in ["main", "", &"x".repeat(NODE_BYTES)] {
            let header = Header {
                node: node.to_owned(),
                ..header()
            };
            assert_eq!(Header::decode(&header.encode()), Ok(header));
        }
        let words = header().encode();
        for bit in 0..HEADER_USED * 64 {
            let mut words = words;
            words[bit / 64] ^= 1 << (bit % 64);
            assert!(Header::decode(&words).is_err(), "bit {bit}");
        }
        assert_eq!(Header::decode(&words[..17]), Err(BadHeader::NotOurs));
        let mut newer = words;
        newer[1] = 2;
        assert_eq!(Header::decode(&newer), Err(BadHeader::Newer(2)));
    }

    #[test]
    fn a_row_is_read_in_its_own_page_only_and_any_changed_bit_shows() {
        let seal = page_seal(7, 3, 9);
        let what = request_what(1_700_000_000, Protocol::Http, Code::RateLimited);
        let own = row_seal(seal, 77, what, [0; 2]);
        let row = [77, what, own, counted(5, own), 60, 30, 0, 0];
        let read = read_request(&row, seal).expect("sound").expect("there");
        assert_eq!(
            (read.key_id, read.second, read.protocol, read.outcome, read.count),
            (KeyId(77), 1_700_000_000, Protocol::Http, Code::RateLimited, 5)
        );
        for other in [page_seal(7, 3, 10), page_seal(7, 4, 9), page_seal(8, 3, 9)] {
            assert_eq!(read_request(&row, other), Ok(None));
        }
        for bit in 0..4 * 64 {
            let mut row = row;
            row[bit / 64] ^= 1 << (bit % 64);
            assert!(!matches!(read_request(&row, seal), Ok(Some(_))), "bit {bit}");
        }
        assert_eq!(read_request(&[0; ROW_WORDS], seal), Ok(None));
    }

    #[test]
    fn a_symbol_row_bears_its_name() {
        let seal = page_seal(1, 2, 3);
        for name in ["A", "BTC-USD", "SIXTEEN-LETTERS!"] {
            let name = Symbol::new(name).expect("a symbol");
            let words = name_words(Some(name));
            let what = symbol_what(Some(SymbolIndex(4)), 99, PriceStatus::Stale);
            let own = row_seal(seal, 5, what, words);
            let row = [5, what, own, counted(1, own), words[0], words[1], 0, 0];
            let read = read_symbol(&row, seal).expect("sound").expect("there");
            assert_eq!(
                (read.name, read.symbol, read.second, read.status, read.entries),
                (Some(name), Some(SymbolIndex(4)), 99, PriceStatus::Stale, 1)
            );
        }
        let what = symbol_what(None, 99, PriceStatus::UnknownSymbol);
        assert_eq!(symbol_of(what), None);
        assert_eq!(second_of(coarser(what, 60)), 60);
        assert_eq!(coarser(what, 60) & 0xFFFF_FFFF, what & 0xFFFF_FFFF);
    }
}
