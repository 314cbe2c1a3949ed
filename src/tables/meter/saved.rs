//! A journal that a process left behind, read from its bytes.
//!
//! Nothing of it is trusted: rows count only with a right seal, and where bytes are missing at the
//! end the pages before them are read all the same.

use std::fmt;
use std::ops::Range;

use super::layout::{self, BadHeader, Geometry, HEADER_WORDS, Header, ROW_WORDS, RowImage};
use super::page::PageRows;
use super::words::WORD_BYTES;

/// What a journal's header and its pages' headers say.
#[derive(Clone, Debug)]
pub struct SavedJournal {
    header: Header,
    /// Pages that were not in the ledger yet, in the order in which they are to be flushed.
    pages: Vec<SavedPage>,
    /// Pages whose own header is damaged: what they hold cannot be told.
    damaged_pages: u32,
    /// Bytes that are missing at the end.
    missing: u64,
}

/// A page that was not in the ledger yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedPage {
    /// Which flush of its meter it is.
    pub sequence: u64,
    page: usize,
    seal: u64,
    requests: usize,
    symbols: usize,
    lost: u64,
}

/// Why a file cannot be read as a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has no bytes.
    Empty,
    /// It is something else, or its beginning is damaged.
    NotAJournal,
    /// It was written by a newer program, in this version of the layout.
    Newer(u64),
}

impl SavedJournal {
    /// Bytes of a file's header, and of a page's.
    pub const HEADER_BYTES: usize = HEADER_WORDS * WORD_BYTES;

    /// Reads the headers. `read` gives bytes of the file, fewer where it ends.
    pub fn read<E>(
        file_bytes: u64,
        mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
    ) -> Result<Result<Self, Unreadable>, E> {
        if file_bytes == 0 {
            return Ok(Err(Unreadable::Empty));
        }
        let head = words_of(&read(0..Self::HEADER_BYTES as u64)?);
        let header = match Header::decode(&head) {
            Ok(header) => header,
            Err(BadHeader::NotOurs) => return Ok(Err(Unreadable::NotAJournal)),
            Err(BadHeader::Newer(version)) => return Ok(Err(Unreadable::Newer(version))),
        };
        let geometry = header.geometry;
        let whole = (geometry.words() * WORD_BYTES) as u64;
        let mut journal = Self {
            header,
            pages: Vec::new(),
            damaged_pages: 0,
            missing: whole.saturating_sub(file_bytes),
        };
        for page in 0..geometry.pages {
            let start = (geometry.page_start(page) * WORD_BYTES) as u64;
            if start >= file_bytes {
                break;
            }
            let head = words_of(&read(start..start + Self::HEADER_BYTES as u64)?);
            journal.add(page, &head);
        }
        journal.pages.sort_by_key(|page| page.sequence);
        Ok(Ok(journal))
    }

    fn add(&mut self, page: usize, head: &[u64]) {
        let word = |at: usize| head.get(at).copied().unwrap_or(0);
        let (sequence, seal) = (word(layout::PAGE_SEQUENCE), word(layout::PAGE_SEAL));
        let state = word(layout::PAGE_STATE);
        if state == layout::STATE_FREE {
            return;
        }
        let sound = matches!(state, layout::STATE_OPEN | layout::STATE_CLOSED)
            && seal == layout::page_seal(self.header.boot, self.header.meter, sequence);
        if !sound {
            self.damaged_pages += 1;
            return;
        }
        let Geometry {
            request_rows,
            symbol_rows,
            ..
        } = self.header.geometry;
        let rows = |at, most: usize| usize::try_from(word(at)).unwrap_or(most).min(most);
        self.pages.push(SavedPage {
            sequence,
            page,
            seal,
            requests: rows(layout::PAGE_REQUESTS, request_rows),
            symbols: rows(layout::PAGE_SYMBOLS, symbol_rows),
            lost: word(layout::PAGE_LOST).min(layout::MAX_COUNT),
        });
    }

    /// The node that wrote it.
    pub fn node(&self) -> &str {
        &self.header.node
    }

    /// The process that wrote it.
    pub const fn boot(&self) -> u64 {
        self.header.boot
    }

    /// Which of that process's meters wrote it.
    pub const fn meter(&self) -> u32 {
        self.header.meter
    }

    /// Pages that were not in the ledger yet, in the order in which they are to be flushed.
    pub fn pages(&self) -> &[SavedPage] {
        &self.pages
    }

    /// Pages that cannot be told to hold anything.
    pub const fn damaged_pages(&self) -> u32 {
        self.damaged_pages
    }

    /// Bytes that are missing at the end.
    pub const fn missing_bytes(&self) -> u64 {
        self.missing
    }

    /// Parts of the file, in bytes, that hold no rows of these pages.
    pub fn unused(&self) -> Vec<Range<u64>> {
        let geometry = self.header.geometry;
        let bytes = |from: usize, to: usize| (from * WORD_BYTES) as u64..(to * WORD_BYTES) as u64;
        let mut unused = Vec::new();
        for page in 0..geometry.pages {
            let rows = geometry.page_start(page) + HEADER_WORDS;
            let symbols = rows + geometry.request_rows * ROW_WORDS;
            let end = geometry.page_start(page + 1);
            let mut behind = |start: usize, begun: usize, end: usize| {
                let used = start + (begun + PIECE_ROWS) * ROW_WORDS;
                if used < end {
                    unused.push(bytes(used, end));
                }
            };
            match self.pages.iter().find(|saved| saved.page == page) {
                Some(saved) => {
                    behind(rows, saved.requests, symbols);
                    behind(symbols, saved.symbols, end);
                }
                // A damaged page keeps everything.
                None if self.damaged_pages > 0 => {}
                None => unused.push(bytes(rows, end)),
            }
        }
        unused
    }

    /// Reads a page's rows, a piece at a time.
    pub fn rows<E>(
        &self,
        page: &SavedPage,
        mut read: impl FnMut(Range<u64>) -> Result<Vec<u8>, E>,
    ) -> Result<PageRows, E> {
        let Geometry {
            request_rows,
            symbol_rows,
            ..
        } = self.header.geometry;
        let mut rows = PageRows {
            lost_detail: page.lost,
            ..PageRows::default()
        };
        let first = self.header.geometry.page_start(page.page) + HEADER_WORDS;
        let mut pieces =
            |first: usize, count: usize, begun: usize, take: &mut dyn FnMut(&[RowImage], usize)| {
                // Rows come one after the other: behind those that were begun a few more, which may have
                // reached the disk before their number did.
                let count = (begun + PIECE_ROWS).min(count);
                for start in (0..count).step_by(PIECE_ROWS) {
                    let of = (first + start * ROW_WORDS) * WORD_BYTES;
                    let len = PIECE_ROWS.min(count - start) * ROW_WORDS * WORD_BYTES;
                    let words = words_of(&read(of as u64..(of + len) as u64)?);
                    let mut images: Vec<RowImage> = words.as_chunks().0.to_vec();
                    // Rows that are not there are as damaged as others.
                    images.resize(len / (ROW_WORDS * WORD_BYTES), [0; ROW_WORDS]);
                    take(&images, begun.saturating_sub(start));
                }
                Ok(())
            };
        pieces(first, request_rows, page.requests, &mut |images, begun| {
            rows.read_requests(images.iter().copied(), page.seal, begun);
        })?;
        let first = first + request_rows * ROW_WORDS;
        pieces(first, symbol_rows, page.symbols, &mut |images, begun| {
            rows.read_symbols(images.iter().copied(), page.seal, begun);
        })?;
        Ok(rows)
    }
}

/// Rows that are read at once.
const PIECE_ROWS: usize = 4_096;

/// Whole words; a last one that is cut is left out.
fn words_of(bytes: &[u8]) -> Vec<u64> {
    let words = bytes.as_chunks::<WORD_BYTES>().0.iter();
    words.map(|bytes| u64::from_le_bytes(*bytes)).collect()
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::NotAJournal => f.write_str("it is no usage journal, or its beginning is damaged"),
            Self::Newer(version) => write!(
                f,
                "it was written by a newer trinity-beast (layout {version}, this one knows {}): \
                 start that one in this directory to have it billed",
                layout::VERSION
            ),
        }
    }
}
