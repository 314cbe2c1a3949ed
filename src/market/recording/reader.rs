//! Reads the files of a recording as one, record by record, in the order of their time.

use std::collections::VecDeque;

use super::part::PartReader;
use super::{Part, RecordingError};
use crate::market::quote::Quote;
use crate::market::symbol::SymbolTable;
use crate::market::venue::VenueId;

/// Reads one recording, once.
#[derive(Debug)]
pub struct Reader {
    /// Files whose time has not come, the earliest first.
    waiting: VecDeque<Part>,
    open: Vec<Open>,
    /// What was met in files that are read to their end.
    done: ReaderStats,
    quiet: bool,
    /// Whether damage must be told with the name of its file.
    several: bool,
}

/// What one line of a recording came to; its quotes are in the list given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Receive time on the recording's clock, Unix ns; never below an earlier record's.
    pub time_ns: u64,
    /// A connection of this venue began here.
    pub restarted: Option<VenueId>,
}

/// What was met while reading.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReaderStats {
    /// Lines read, headers not counted.
    pub lines: u64,
    /// Quotes found, before the engine judges them.
    pub quotes: u64,
    /// Lines that were skipped because something was wrong with them.
    pub damaged: u64,
    /// The first damaged lines of each file: number and what is wrong.
    pub named: Vec<(u64, String)>,
    /// Quotes of markets that are in no row of the symbol table.
    pub unknown_markets: u64,
    /// Elements of otherwise good frames in which something was wrong.
    pub invalid_elements: u64,
    /// Frames of connections to venues' derivatives, which are not played as spot prices.
    pub derivative_frames: u64,
    /// Frames that the recorder tells it lost.
    pub lost_frames: u64,
    /// Records slightly behind the clock, taken at the clock's time.
    pub reordered: u64,
    /// Why reading ended before the end, if it did.
    pub broken_off: Option<String>,
}

#[derive(Debug)]
struct Open {
    reader: PartReader,
    head: Record,
    quotes: Vec<Quote>,
}

impl Reader {
    /// A reader of these files, the earliest first; the first of them is opened.
    pub(super) fn new(parts: &[Part]) -> Result<Self, RecordingError> {
        let mut reader = Self {
            waiting: parts.iter().cloned().collect(),
            open: Vec::new(),
            done: ReaderStats::default(),
            quiet: false,
            several: parts.len() > 1,
        };
        if let [only] = parts {
            // Its error is the caller's; files of a set that went away are told of and passed over.
            let opened = only.read()?;
            reader.waiting.clear();
            reader.open.push(Open {
                reader: opened,
                head: Record {
                    time_ns: 0,
                    restarted: None,
                },
                quotes: Vec::new(),
            });
        }
        Ok(reader)
    }

    /// Says nothing in the log: this recording's faults are known from an earlier pass.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        for open in &mut self.open {
            open.reader.quiet();
        }
        self
    }

    /// What was met so far.
    pub fn stats(&self) -> ReaderStats {
        let mut stats = self.done.clone();
        for open in &self.open {
            stats.add(open.reader.name(), open.reader.stats(), self.several);
        }
        stats
    }

    /// The next record; its quotes are appended to `quotes`. None at the end, or where the last
    /// file breaks off ([`ReaderStats::broken_off`] tells which).
    pub fn next(&mut self, table: &SymbolTable, quotes: &mut Vec<Quote>) -> Option<Record> {
        if !self.several {
            return self.open.first_mut()?.reader.next(table, quotes);
        }
        loop {
            let earliest = self
                .open
                .iter()
                .enumerate()
                .min_by_key(|(at, open)| (open.head.time_ns, *at))
                .map(|(at, open)| (at, open.head.time_ns));
            let due = self
                .waiting
                .front()
                .is_some_and(|part| earliest.is_none_or(|(_, time_ns)| part.first_ns <= time_ns));
            if due {
                self.open_next(table);
                continue;
            }
            let (at, _) = earliest?;
            let open = &mut self.open[at];
            let record = open.head;
            quotes.append(&mut open.quotes);
            if let Some(head) = open.reader.next(table, &mut open.quotes) {
                open.head = head;
            } else {
                let open = self.open.remove(at);
                self.done.add(open.reader.name(), open.reader.stats(), true);
            }
            return Some(record);
        }
    }

    fn open_next(&mut self, table: &SymbolTable) {
        let Some(part) = self.waiting.pop_front() else {
            return;
        };
        match part.read() {
            Ok(mut reader) => {
                if self.quiet {
                    reader.quiet();
                }
                let mut quotes = Vec::new();
                match reader.next(table, &mut quotes) {
                    Some(head) => self.open.push(Open { reader, head, quotes }),
                    None => self.done.add(reader.name(), reader.stats(), true),
                }
            }
            Err(error) => {
                if !self.quiet {
                    tracing::warn!(%error, "a file of the recording is passed over");
                }
                self.done.broken_off = Some(error.to_string());
            }
        }
    }
}

impl ReaderStats {
    fn add(&mut self, name: &str, part: &Self, with_name: bool) {
        self.lines += part.lines;
        self.quotes += part.quotes;
        self.damaged += part.damaged;
        self.unknown_markets += part.unknown_markets;
        self.invalid_elements += part.invalid_elements;
        self.derivative_frames += part.derivative_frames;
        self.lost_frames += part.lost_frames;
        self.reordered += part.reordered;
        let told = |text: &String| {
            if with_name {
                format!("{name}: {text}")
            } else {
                text.clone()
            }
        };
        let named = part.named.iter().map(|(line, problem)| (*line, told(problem)));
        self.named.extend(named);
        if let Some(reason) = &part.broken_off {
            self.broken_off = Some(told(reason));
        }
    }
}
