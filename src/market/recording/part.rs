//! Reads one file of a recording record by record on one clock that only moves forward.

use super::lines::{Line, Lines};
use super::normalised::{self, Column, Row};
use super::raw::{Frame, Frames};
use super::reader::{ReaderStats, Record};
use crate::market::quote::Quote;
use crate::market::symbol::SymbolTable;

/// Records this far behind the clock are taken as if they came now: several connections of one
/// recorder interleave like that. Anything further behind is damage.
const MAX_BACKWARDS_NS: u64 = 5_000_000_000;

/// A step forward beyond this must be confirmed by the next record, or one damaged time would
/// carry the clock away from all that follows.
const MAX_FORWARD_NS: u64 = 3_600_000_000_000;

/// Damaged lines that are named in the log; the rest is counted.
const NAMED_LINES: u64 = 20;

/// Reads one file, once.
pub(super) struct PartReader {
    name: String,
    lines: Lines,
    rows: Rows,
    /// The last line that is read; None for the file's last.
    until_line: Option<u64>,
    clock_ns: Option<u64>,
    /// A record after a long step, until the next one vouches for it.
    suspect: Option<Held>,
    /// The record that vouched, to be looked at next.
    unread: Option<Held>,
    stats: ReaderStats,
    quiet: bool,
    over: bool,
}

pub(super) enum Rows {
    Normalised(Vec<Column>),
    Raw(Box<Frames>),
}

struct Held {
    line: u64,
    record: Record,
    quotes: Vec<Quote>,
}

impl Held {
    fn release(self, quotes: &mut Vec<Quote>) -> (u64, Record) {
        quotes.extend(self.quotes);
        (self.line, self.record)
    }
}

impl PartReader {
    pub(super) fn new(name: String, lines: Lines, rows: Rows, until_line: Option<u64>) -> Self {
        let stats = ReaderStats::default();
        Self {
            name,
            lines,
            rows,
            until_line,
            clock_ns: None,
            suspect: None,
            unread: None,
            stats,
            quiet: false,
            over: false,
        }
    }

    /// The file's name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Says nothing in the log: this recording's faults are known from an earlier pass.
    pub(super) fn quiet(&mut self) {
        self.quiet = true;
    }

    /// What was met so far.
    pub(super) fn stats(&self) -> &ReaderStats {
        &self.stats
    }

    /// The next record; its quotes are appended to `quotes`. None at the end, or where the file
    /// breaks off ([`ReaderStats::broken_off`] tells which).
    pub(super) fn next(&mut self, table: &SymbolTable, quotes: &mut Vec<Quote>) -> Option<Record> {
        loop {
            let start = quotes.len();
            let (line, mut record) = match self.unread.take() {
                Some(held) => held.release(quotes),
                None => match self.read(table, quotes) {
                    Some(record) => (self.lines.number(), record),
                    // Nothing comes after the suspect to speak against it.
                    None => (0, self.suspect.take()?.release(quotes).1),
                },
            };
            if let Some(suspect) = self.suspect.take() {
                if record.time_ns.saturating_add(MAX_BACKWARDS_NS) >= suspect.record.time_ns {
                    self.unread = Some(Held {
                        line,
                        record,
                        quotes: quotes.split_off(start),
                    });
                    let (_, record) = suspect.release(quotes);
                    return Some(self.take(record, start, quotes));
                }
                self.damaged_at(suspect.line, "its time is far ahead of the lines around it");
            }
            let clock_ns = self.clock_ns.unwrap_or(record.time_ns);
            if record.time_ns.saturating_add(MAX_BACKWARDS_NS) < clock_ns {
                quotes.truncate(start);
                self.damaged_at(line, "its time is behind the lines before it");
                continue;
            }
            if record.time_ns > clock_ns.saturating_add(MAX_FORWARD_NS) && line != 0 {
                self.suspect = Some(Held {
                    line,
                    record,
                    quotes: quotes.split_off(start),
                });
                continue;
            }
            if record.time_ns < clock_ns {
                self.stats.reordered += 1;
                record.time_ns = clock_ns;
                for quote in &mut quotes[start..] {
                    quote.receive_time_ns = clock_ns;
                }
            }
            return Some(self.take(record, start, quotes));
        }
    }

    fn take(&mut self, record: Record, start: usize, quotes: &[Quote]) -> Record {
        self.clock_ns = Some(record.time_ns);
        self.stats.quotes += (quotes.len() - start) as u64;
        record
    }

    /// The next line that says anything, whatever its time.
    fn read(&mut self, table: &SymbolTable, quotes: &mut Vec<Quote>) -> Option<Record> {
        while !self.over {
            if self.until_line.is_some_and(|until| self.lines.number() >= until) {
                self.over = true;
                break;
            }
            let line = match self.lines.next() {
                Ok(Some(line)) => line,
                Ok(None) => {
                    self.over = true;
                    break;
                }
                Err(error) => {
                    self.over = true;
                    let line = self.lines.number() + 1;
                    if !self.quiet {
                        tracing::warn!(recording = self.name, line, %error, "the recording breaks off; what was read is played");
                    }
                    self.stats.broken_off = Some(format!("at line {line}: {error}"));
                    break;
                }
            };
            self.stats.lines += 1;
            let result = match (line, &mut self.rows) {
                (Line::TooLong, _) => Err(format!("longer than {} bytes", super::MAX_LINE_BYTES)),
                (Line::Text { text, terminated }, Rows::Normalised(columns)) => {
                    normalised::row(table, columns, text, terminated).map(|row| match row? {
                        Row::Quote(quote) => {
                            quotes.push(quote);
                            Some(Record {
                                time_ns: quote.receive_time_ns,
                                restarted: None,
                            })
                        }
                        Row::UnknownMarket { time_ns } => {
                            self.stats.unknown_markets += 1;
                            Some(Record {
                                time_ns,
                                restarted: None,
                            })
                        }
                    })
                }
                (Line::Text { text, .. }, Rows::Raw(frames)) => {
                    frames.frame(table, text, quotes).map(|frame| {
                        let Frame {
                            time_ns,
                            restarted,
                            unknown,
                            invalid,
                            derivative,
                            lost,
                        } = frame?;
                        self.stats.unknown_markets += unknown;
                        self.stats.invalid_elements += invalid;
                        self.stats.derivative_frames += u64::from(derivative);
                        self.stats.lost_frames += lost;
                        // What is not played does not move the clock either.
                        (!derivative).then_some(Record { time_ns, restarted })
                    })
                }
            };
            match result {
                Ok(Some(record)) => return Some(record),
                Ok(None) => {}
                Err(problem) => self.damaged_at(self.lines.number(), &problem),
            }
        }
        None
    }

    fn damaged_at(&mut self, line: u64, problem: &str) {
        self.stats.damaged += 1;
        if self.stats.damaged > NAMED_LINES {
            return;
        }
        self.stats.named.push((line, problem.to_owned()));
        if !self.quiet {
            tracing::warn!(recording = self.name, line, problem, "damaged line skipped");
            if self.stats.damaged == NAMED_LINES {
                tracing::warn!(
                    recording = self.name,
                    "further damaged lines are counted, not named"
                );
            }
        }
    }
}

impl std::fmt::Debug for PartReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PartReader")
            .field("name", &self.name)
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}
