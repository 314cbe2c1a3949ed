//! Makes recordings of other forms of market data.
//!
//! Each kind has a file of its own here and says at its head what its rows are and what is made
//! of them. The result is a normalised recording: a header with title, origin, licence note,
//! columns, age limits that suit the pace of the data and rows for symbols that the program does
//! not know from birth; then one quote a line, in the order of time. The same files give the
//! same bytes.
//!
//! What is honest about a conversion:
//!
//! - A perpetual or future is a symbol of its own (`BTC-USDT-PERP`), with a base of its own, so
//!   that it never votes on the price of the coin.
//! - A bar is a quote at its *end*, when its close was known: price = close, confidence = half
//!   of high - low; a bar of bids and asks is the book at its end.
//! - A bar without volume is a repetition, not a quote, and is left out.
//! - What is left out is counted by reason, and damaged lines are named.

mod candles;
mod frames;
mod lean;
mod markets;
mod merged;
mod names;
mod nautilus;
mod oracle;
mod output;
mod rows;
mod trades;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::lines::{Line, Lines};
use crate::limits::CONVERT_ROWS;
use crate::market::symbol_rows::SymbolTableError;
use crate::market::venue::VenueId;
use markets::Markets;
use rows::Row;

pub use markets::Instrument;
pub use output::Conversion;

/// Damaged lines of a file that are named; the rest is counted.
const NAMED_LINES: usize = 20;

/// Kinds of files that become recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Bars with a header `start_unix,open,high,low,close,volume,..`.
    Candles,
    /// LEAN's bars and ticks without a header; the name carries venue, pair and date.
    Lean,
    /// A venue's raw frames in JSON lines with a receive time.
    Frames,
    /// Quotes and trades of several venues: `recv_ns,venue,base,quote,kind,..`.
    Merged,
    /// NautilusTrader's quote ticks.
    NautilusQuotes,
    /// NautilusTrader's trade ticks.
    NautilusTrades,
    /// Trades stamped to the second: `date,last`.
    Trades,
    /// An oracle's messages in JSON lines.
    OracleMessages,
    /// An oracle's sources as a long table.
    OracleSources,
}

/// A file and what is known of it beside its bytes.
#[derive(Debug, Clone, Default)]
pub struct Input {
    /// Where it is; plain or gzip.
    pub path: PathBuf,
    /// What it is; found out from its first line and its name otherwise.
    pub kind: Option<Kind>,
    /// Whose prices they are, where neither rows nor name say so, or in their place.
    pub venue: Option<VenueId>,
    /// What is priced, likewise.
    pub instrument: Option<Instrument>,
    /// How the venue spells it; the built-in table's first spelling otherwise.
    pub spelling: Option<String>,
}

/// What a conversion is told beside its files.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rows before or at this time are left out, Unix ns.
    pub after_ns: Option<u64>,
    /// Rows after this time are left out, Unix ns.
    pub until_ns: Option<u64>,
    /// What the files call a venue, and which one it is here.
    pub renamed: Vec<(String, VenueId)>,
    /// Whether an oracle's rejected messages are taken as well.
    pub with_rejected: bool,
}

/// What became of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Which.
    pub path: PathBuf,
    /// What it was taken for.
    pub kind: Kind,
    /// Rows it gave.
    pub rows: u64,
    /// What was left out, and why.
    pub left_out: BTreeMap<String, u64>,
    /// Lines in which something was wrong.
    pub damaged: u64,
    /// The first of them: number and what is wrong.
    pub named: Vec<(u64, String)>,
    /// Why reading ended before the end, if it did.
    pub broken_off: Option<String>,
}

/// Why files cannot become a recording.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// One cannot be read at all.
    #[error("cannot read {}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// One is of no kind that is known, or lacks what its kind needs.
    #[error("{}: {problem}", path.display())]
    Form {
        /// Which.
        path: PathBuf,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Nothing is left to write.
    #[error("none of the files has a row to take: {0}")]
    Nothing(String),
    /// More than a conversion holds.
    #[error("more than {CONVERT_ROWS} rows; convert a part at a time, with --after and --until")]
    TooMany,
    /// The symbols of these files do not make a table.
    #[error("the symbols of these files do not go together: {0}")]
    Symbols(#[from] SymbolTableError),
}

/// What a kind's reader works with: one file's facts in, rows out.
struct Context<'a> {
    input: &'a Input,
    kind: Kind,
    options: &'a Options,
    markets: &'a mut Markets,
    rows: &'a mut Vec<Row>,
    report: FileReport,
    /// Age limits that suit the data's pace, ms, where the symbols' own do not.
    ages_ms: Option<(u32, u32)>,
    overflow: bool,
}

/// Converts files into one recording.
pub fn convert(inputs: &[Input], options: &Options) -> Result<Conversion, ConvertError> {
    let mut markets = Markets::new();
    let mut rows = Vec::new();
    let mut reports = Vec::new();
    let mut ages_ms: Option<(u32, u32)> = None;
    for input in inputs {
        let mut context = Context {
            input,
            kind: Kind::Candles,
            options,
            markets: &mut markets,
            rows: &mut rows,
            report: FileReport::new(&input.path),
            ages_ms: None,
            overflow: false,
        };
        context.run()?;
        if let Some((max, hard)) = context.ages_ms {
            let (known_max, known_hard) = ages_ms.unwrap_or((0, 0));
            ages_ms = Some((max.max(known_max), hard.max(known_hard)));
        }
        reports.push(context.report);
    }
    if rows.is_empty() {
        let told: Vec<_> = reports.iter().map(FileReport::to_string).collect();
        return Err(ConvertError::Nothing(told.join("; ")));
    }
    // Stable: rows of one moment stay in the order of the files and of their lines.
    rows.sort_by_key(|row| row.time_ns);
    Conversion::new(&markets, rows, reports, ages_ms)
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Candles,
        Self::Lean,
        Self::Frames,
        Self::Merged,
        Self::NautilusQuotes,
        Self::NautilusTrades,
        Self::Trades,
        Self::OracleMessages,
        Self::OracleSources,
    ];

    /// Name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Candles => "candles",
            Self::Lean => "lean",
            Self::Frames => "frames",
            Self::Merged => "merged",
            Self::NautilusQuotes => "nautilus-quotes",
            Self::NautilusTrades => "nautilus-trades",
            Self::Trades => "trades",
            Self::OracleMessages => "oracle-messages",
            Self::OracleSources => "oracle-sources",
        }
    }

    /// The kind whose files begin like this one.
    fn of(path: &Path, first: &str) -> Option<Self> {
        if first.starts_with('{') {
            return oracle::is_message(first)
                .then_some(Self::OracleMessages)
                .or_else(|| frames::is_frame(first).then_some(Self::Frames));
        }
        [
            (candles::COLUMNS, Self::Candles),
            (merged::COLUMNS, Self::Merged),
            (nautilus::QUOTES, Self::NautilusQuotes),
            (nautilus::TRADES, Self::NautilusTrades),
            (trades::COLUMNS, Self::Trades),
            (oracle::SOURCES, Self::OracleSources),
        ]
        .into_iter()
        .find(|(columns, _)| rows::Columns::find(first, columns).is_ok())
        .map(|(_, kind)| kind)
        .or_else(|| names::Lean::of(path).is_ok().then_some(Self::Lean))
    }
}

impl std::str::FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| {
                let known: Vec<_> = Self::ALL.iter().map(|kind| kind.name()).collect();
                format!("`{text}` is no kind; known: {}", known.join(", "))
            })
    }
}

impl Context<'_> {
    fn run(&mut self) -> Result<(), ConvertError> {
        let io_error = |error| ConvertError::Io {
            path: self.input.path.clone(),
            error,
        };
        let lines = || File::open(&self.input.path).and_then(Lines::new);
        let mut first = String::new();
        {
            let mut lines = lines().map_err(io_error)?;
            if let Some(Line::Text { text, .. }) = lines.next().map_err(io_error)? {
                String::from_utf8_lossy(text).trim().clone_into(&mut first);
            }
        }
        let Some(kind) = self.input.kind.or_else(|| Kind::of(&self.input.path, &first)) else {
            let begins: String = first.chars().take(60).collect();
            return Err(self.form(format!(
                "of no kind that is known (it begins `{begins}`); name it with --kind, or see --help for the kinds"
            )));
        };
        self.kind = kind;
        self.report.kind = self.kind;
        let lines = lines().map_err(io_error)?;
        match self.kind {
            Kind::Candles => candles::read(self, lines),
            Kind::Lean => lean::read(self, lines),
            Kind::Frames => frames::read(self, lines),
            Kind::Merged => merged::read(self, lines),
            Kind::NautilusQuotes => nautilus::read_quotes(self, lines),
            Kind::NautilusTrades => nautilus::read_trades(self, lines),
            Kind::Trades => trades::read(self, lines),
            Kind::OracleMessages => {
                oracle::read_messages(self, lines);
                Ok(())
            }
            Kind::OracleSources => oracle::read_sources(self, lines),
        }?;
        if self.overflow {
            return Err(ConvertError::TooMany);
        }
        Ok(())
    }

    /// Hands every line to `take`, with its number; what it refuses is counted as damaged.
    fn each_line(&mut self, mut lines: Lines, mut take: impl FnMut(&mut Self, &str) -> Result<(), String>) {
        loop {
            let number = lines.number() + 1;
            let result = match lines.next() {
                Ok(None) => return,
                Ok(Some(Line::TooLong)) => Err("too long".to_owned()),
                Ok(Some(Line::Text { text, .. })) => match std::str::from_utf8(text) {
                    Ok(text) if text.trim().is_empty() => continue,
                    Ok(text) => take(self, text.trim()),
                    Err(_) => Err("not UTF-8".to_owned()),
                },
                Err(error) => {
                    self.report.broken_off = Some(format!("at line {number}: {error}"));
                    return;
                }
            };
            if let Err(problem) = result {
                self.report.damaged += 1;
                if self.report.named.len() < NAMED_LINES {
                    self.report.named.push((number, problem));
                }
            }
            if self.overflow {
                return;
            }
        }
    }

    /// Like [`Self::each_line`] for CSV with a header, its columns found by their names.
    fn each_row(
        &mut self,
        mut lines: Lines,
        columns: &[&'static str],
        mut take: impl FnMut(&mut Self, &rows::Fields<'_>) -> Result<(), String>,
    ) -> Result<(), ConvertError> {
        let header = match lines.next() {
            Ok(Some(Line::Text { text, .. })) => String::from_utf8_lossy(text).into_owned(),
            _ => String::new(),
        };
        let found = rows::Columns::find(&header, columns).map_err(|problem| self.form(problem))?;
        self.each_line(lines, |context, text| take(context, &found.fields(text)?));
        Ok(())
    }

    /// Adds a row, unless it lies outside of the time that is wanted.
    fn push(&mut self, row: Row) {
        let early = self.options.after_ns.is_some_and(|after| row.time_ns <= after);
        let late = self.options.until_ns.is_some_and(|until| row.time_ns > until);
        if early || late {
            self.leave_out("outside of --after and --until");
        } else if self.rows.len() >= CONVERT_ROWS {
            self.overflow = true;
        } else {
            self.report.rows += 1;
            self.rows.push(row);
        }
    }

    fn leave_out(&mut self, why: &str) {
        match self.report.left_out.get_mut(why) {
            Some(count) => *count += 1,
            None => {
                self.report.left_out.insert(why.to_owned(), 1);
            }
        }
    }

    /// The venue that a file's rows or name call so.
    fn venue(&self, name: &str) -> Option<VenueId> {
        let renamed = self.options.renamed.iter().find(|(from, _)| from == name);
        renamed
            .map(|(_, venue)| *venue)
            .or(self.input.venue)
            .or_else(|| names::venue(name))
    }

    fn form(&self, problem: impl Into<String>) -> ConvertError {
        ConvertError::Form {
            path: self.input.path.clone(),
            problem: problem.into(),
        }
    }
}

impl FileReport {
    fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            kind: Kind::Candles,
            rows: 0,
            left_out: BTreeMap::new(),
            damaged: 0,
            named: Vec::new(),
            broken_off: None,
        }
    }
}

impl std::fmt::Display for FileReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} ({}): {} rows",
            self.path.display(),
            self.kind.name(),
            self.rows
        )?;
        for (why, count) in &self.left_out {
            write!(f, ", {count} left out: {why}")?;
        }
        if self.damaged > 0 {
            write!(f, ", {} damaged lines", self.damaged)?;
        }
        for (line, problem) in self.named.iter().take(3) {
            write!(f, ", line {line}: {problem}")?;
        }
        match &self.broken_off {
            Some(reason) => write!(f, ", breaks off {reason}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
