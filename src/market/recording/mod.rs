//! Recordings: what a market said, on disk, plain or gzip.
//!
//! Two forms are read:
//!
//! - **Normalised**: a first line of JSON, the header, then one quote a line, as CSV in the
//!   header's columns or as JSON objects with the same names.
//!
//!   ```text
//!   {"format":"trinity-recording","version":1,"title":"...","origin":"...","columns":["time_ms","venue","market","price","confidence"]}
//!   1678406460000,coinbase,BTC-USD,20362.31,4.5
//!   {"time_ms":1678406460000,"venue":"kraken","market":"XBT/USD","bid":"20361.2","ask":"20361.3"}
//!   ```
//!
//!   Columns: `time_ms` or `time_ns` (receive time, Unix), `venue`, `market` (the venue's
//!   spelling), and any of `bid`, `ask`, `price` (or `last`), `confidence`, `venue_time_ms`,
//!   `venue_time_ns`, `sequence`; empty means not told. The header may set `max_age_ms` and
//!   `hard_age_ms` for all symbols and bring `symbols` of its own, rows in the format of the
//!   built-in `symbols.txt`.
//!
//! - **Raw**: venue frames in JSON lines, as [`writer`] writes them
//!   (`{"t":"recv","ts_ns":..,"venue":..,"conn":..,"data":"<frame>"}`), in cryptofeed's corpus
//!   envelope (`{"t":"recv","conn":..,"ts":<unix s>,"data":"<frame>"}`) or the shorter
//!   `{"ts_ns":..,"data":..}`; a binary frame has `b64` in place of `data`. They go through the
//!   venues' own parsers. A header is optional, and versioned where there is one.
//!
//! A folder is played as one recording, its files merged by time; so are the files that a
//! recorder wrote for one name. Other forms of market data become recordings through
//! [`convert`].
//!
//! A damaged line is named, skipped and counted. A file that breaks off is played as far as it
//! reads, and the error is reported. Memory is bounded by one line of each file that is open.

pub mod convert;
mod files;
mod lines;
mod normalised;
mod part;
mod raw;
mod reader;
mod sink;
pub mod writer;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;

use super::symbol::SymbolTable;
use super::symbol_rows::SymbolTableError;
use super::venue::VenueId;
pub(super) use lines::{Line, Lines};
use normalised::Column;

pub use lines::MAX_LINE_BYTES;
pub use reader::{Reader, ReaderStats, Record};
pub use sink::{RecordingHandle, RecordingSink, RecordingStatus};
pub use writer::{RAW_FORMAT, RAW_VERSION, RecordingWriter, WriterOptions};

/// The `format` of a normalised recording's header.
pub const FORMAT: &str = "trinity-recording";
/// The `version` this program reads and writes.
pub const VERSION: u32 = 1;

/// Lines looked at to find out what a raw recording is, before it is called none.
const PROBE_LINES: usize = 100;

/// The USDC depeg of 10 and 11 March 2023 in one-minute closes: what the project ships.
const SHIPPED: &[u8] = include_bytes!("../recordings/usdc-depeg-2023-03.csv.gz");

/// A recording that was opened and recognised. Reading starts over as often as asked.
#[derive(Debug, Clone)]
pub struct Recording {
    name: String,
    header: Header,
    /// At least one; the earliest first.
    parts: Vec<Part>,
}

/// One file of a recording, or a part of one.
#[derive(Debug, Clone)]
struct Part {
    source: Source,
    header: Header,
    form: Form,
    /// Time of its first record, Unix ns; found out only where there are several parts.
    first_ns: u64,
    /// Lines of the file before it, and those up to its end where it is not the file's.
    after_line: u64,
    until_line: Option<u64>,
}

/// What a recording says about itself; raw ones say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// What it shows.
    #[serde(default)]
    pub title: String,
    /// Where the figures come from.
    #[serde(default)]
    pub origin: String,
    /// Under which terms.
    #[serde(default)]
    pub licence_note: String,
    /// Max age of every symbol while it plays.
    pub max_age_ms: Option<u32>,
    /// Hard age of every symbol while it plays.
    pub hard_age_ms: Option<u32>,
    /// Symbol rows to add to the built-in ones, or to replace them.
    #[serde(default)]
    pub symbols: Vec<String>,
}

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// It cannot be opened or read at all.
    #[error("cannot read the recording {name}: {error}")]
    Io {
        /// Which recording.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is none, or of a form this program does not know.
    #[error("{name}, line {line}: {problem}")]
    Form {
        /// Which recording.
        name: String,
        /// Where.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// Its own symbol rows do not make a table.
    #[error("symbols of the recording {name}: {error}")]
    Symbols {
        /// Which recording.
        name: String,
        /// What is wrong.
        error: SymbolTableError,
    },
}

#[derive(Debug, Clone)]
enum Source {
    File(PathBuf),
    Bytes {
        name: &'static str,
        bytes: &'static [u8],
    },
}

#[derive(Debug, Clone)]
enum Form {
    Normalised {
        columns: Vec<Column>,
    },
    Raw {
        path_venue: Option<VenueId>,
        has_header: bool,
    },
}

#[derive(Deserialize)]
struct Probe {
    format: Option<String>,
    version: Option<u32>,
    columns: Option<Vec<String>>,
    t: Option<String>,
    ts_ns: Option<u64>,
}

impl Recording {
    /// The recording that comes with the program.
    pub fn shipped() -> Self {
        let source = Source::Bytes {
            name: "usdc-depeg-2023-03",
            bytes: SHIPPED,
        };
        let part = Part::open(source)
            .expect("the shipped recording is part of the program and is checked by its tests");
        Self::of_one(part)
    }

    /// Opens a file, a folder of files, or the files a recorder wrote for this name, and finds
    /// out what they are.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        match files::of(path)? {
            None => match Part::open(Source::File(path.to_owned()))?.blocks()? {
                blocks if blocks.len() > 1 => Self::of_parts(path, blocks, None),
                mut one => Ok(Self::of_one(one.remove(0))),
            },
            Some(files) => Self::of_several(path, files),
        }
    }

    /// Its file, folder or name, for messages.
    pub fn name(&self) -> String {
        self.name.clone()
    }

    /// What it says about itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Files it is made of; connections that one file has one after another count apart.
    pub fn files(&self) -> usize {
        self.parts.len()
    }

    /// The table to play it with: the built-in rows, its own, and its age limits.
    pub fn symbol_table(&self) -> Result<SymbolTable, RecordingError> {
        self.header
            .symbol_table()
            .map_err(|error| RecordingError::Symbols {
                name: self.name(),
                error,
            })
    }

    /// Reads it from its beginning.
    pub fn read(&self) -> Result<Reader, RecordingError> {
        Reader::new(&self.parts)
    }

    fn of_one(part: Part) -> Self {
        Self {
            name: part.source.name(),
            header: part.header.clone(),
            parts: vec![part],
        }
    }

    /// A file that is none, such as the last one of a recorder that was killed, is told of and
    /// passed over; the first error stands when nothing is left.
    fn of_several(path: &Path, files: Vec<PathBuf>) -> Result<Self, RecordingError> {
        let (mut parts, mut failed) = (Vec::new(), None);
        for file in files {
            match Part::open(Source::File(file)).and_then(Part::blocks) {
                Ok(blocks) => parts.extend(blocks),
                Err(error) => {
                    tracing::warn!(%error, "a file of the recording is passed over");
                    failed = failed.or(Some(error));
                }
            }
        }
        Self::of_parts(path, parts, failed)
    }

    /// Parts in the order of their time; those that have nothing to play are left out.
    fn of_parts(
        path: &Path,
        parts: Vec<Part>,
        failed: Option<RecordingError>,
    ) -> Result<Self, RecordingError> {
        let mut header = Header::default();
        for part in &parts {
            header.join(&part.header);
        }
        let mut recording = Self {
            name: path.display().to_string(),
            header,
            parts,
        };
        let table = recording.symbol_table()?;
        recording.parts.retain_mut(|part| {
            let first = part.read().ok().and_then(|mut reader| {
                reader.quiet();
                reader.next(&table, &mut Vec::new())
            });
            part.first_ns = first.map_or(0, |record| record.time_ns);
            first.is_some()
        });
        recording.parts.sort_by_key(|part| part.first_ns);
        if recording.parts.is_empty() {
            return Err(failed.unwrap_or_else(|| RecordingError::Form {
                name: recording.name.clone(),
                line: 1,
                problem: "no file of it has anything to play".to_owned(),
            }));
        }
        Ok(recording)
    }
}

impl Header {
    /// The table to play with: the built-in rows, its own, and its age limits.
    pub(super) fn symbol_table(&self) -> Result<SymbolTable, SymbolTableError> {
        let rows = self.symbols.join("\n");
        SymbolTable::builder()?
            .rows("symbols of the recording", &rows)?
            .ages(self.max_age_ms, self.hard_age_ms)
            .build()
    }

    /// Takes over what another file of the same recording says: the first title stands, symbol
    /// rows come together, and the widest age limits hold.
    fn join(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.title, &other.title),
            (&mut self.origin, &other.origin),
            (&mut self.licence_note, &other.licence_note),
        ] {
            if mine.is_empty() {
                mine.clone_from(theirs);
            }
        }
        self.max_age_ms = self.max_age_ms.max(other.max_age_ms);
        self.hard_age_ms = self.hard_age_ms.max(other.hard_age_ms);
        for row in &other.symbols {
            if !self.symbols.contains(row) {
                self.symbols.push(row.clone());
            }
        }
    }
}

impl Part {
    /// Reads it from its beginning.
    fn read(&self) -> Result<part::PartReader, RecordingError> {
        let mut lines = self.source.lines()?;
        let rows = match &self.form {
            Form::Normalised { columns } => part::Rows::Normalised(columns.clone()),
            Form::Raw { path_venue, .. } => part::Rows::Raw(Box::new(raw::Frames::new(*path_venue))),
        };
        while lines.number() < self.after_line {
            if self.source.try_io(lines.next())?.is_none() {
                break;
            }
        }
        let name = self.source.name();
        Ok(part::PartReader::new(name, lines, rows, self.until_line))
    }

    /// Some recorders write their connections one after another into one file, each from its own
    /// beginning: every one of them is a part of its own, to be merged by time.
    fn blocks(self) -> Result<Vec<Self>, RecordingError> {
        if !matches!(
            self.form,
            Form::Raw {
                has_header: false,
                ..
            }
        ) {
            return Ok(vec![self]);
        }
        let begins = raw::blocks(&mut self.source.lines()?);
        let ends = begins.iter().copied().map(Some).chain([None]);
        let starts = [self.after_line].into_iter().chain(begins.iter().copied());
        Ok(starts
            .zip(ends)
            .map(|(after_line, until_line)| Self {
                after_line,
                until_line,
                ..self.clone()
            })
            .collect())
    }

    fn open(source: Source) -> Result<Self, RecordingError> {
        let mut lines = source.lines()?;
        for _ in 0..PROBE_LINES {
            let line = source.try_io(lines.next())?;
            let text = match line {
                None => break,
                Some(Line::TooLong) => continue,
                Some(Line::Text { text, .. }) => text,
            };
            let Ok(probe) = serde_json::from_slice::<Probe>(text) else {
                continue;
            };
            if probe.format.is_some() {
                let header = text.to_vec();
                return Self::with_header(source, &probe, &header, lines.number());
            }
            if probe.t.is_some() || probe.ts_ns.is_some() {
                let path_venue = source.venue()?;
                return Ok(Self {
                    source,
                    header: Header::default(),
                    form: Form::Raw {
                        path_venue,
                        has_header: false,
                    },
                    first_ns: 0,
                    after_line: 0,
                    until_line: None,
                });
            }
        }
        let problem = format!(
            "not a recording: it begins neither with a header {{\"format\":\"{FORMAT}\",..}} \
             nor with frames {{\"t\":\"recv\",\"ts\":..,\"data\":..}}; other market data becomes one \
             with `trinity-beast convert`"
        );
        Err(source.form_error(1, problem))
    }

    fn with_header(source: Source, probe: &Probe, header: &[u8], line: u64) -> Result<Self, RecordingError> {
        let found = probe.format.as_deref().unwrap_or_default();
        let version = match found {
            FORMAT => VERSION,
            RAW_FORMAT => RAW_VERSION,
            _ => return Err(source.form_error(line, format!("format is `{found}`, not `{FORMAT}`"))),
        };
        if line != 1 {
            return Err(source.form_error(line, "the header must be the first line".to_owned()));
        }
        if probe.version != Some(version) {
            let found = probe
                .version
                .map_or("none".to_owned(), |version| version.to_string());
            return Err(source.form_error(
                line,
                format!("version is {found}; this program reads version {version}"),
            ));
        }
        let header = serde_json::from_slice(header)
            .map_err(|error| source.form_error(line, format!("the header is not understood: {error}")))?;
        let form = if found == RAW_FORMAT {
            // Each of its lines names its venue; the file's name says nothing.
            Form::Raw {
                path_venue: None,
                has_header: true,
            }
        } else {
            let columns = match &probe.columns {
                None => Column::DEFAULT.to_vec(),
                Some(names) => names
                    .iter()
                    .map(|name| Column::from_str(name))
                    .collect::<Result<_, _>>()
                    .map_err(|problem| source.form_error(line, problem))?,
            };
            Form::Normalised { columns }
        };
        Ok(Self {
            source,
            header,
            form,
            first_ns: 0,
            // The header was understood here.
            after_line: 1,
            until_line: None,
        })
    }
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Bytes { name, .. } => (*name).to_owned(),
        }
    }

    fn lines(&self) -> Result<Lines, RecordingError> {
        self.try_io(match self {
            Self::File(path) => File::open(path).and_then(Lines::new),
            Self::Bytes { bytes, .. } => Lines::new(io::Cursor::new(*bytes)),
        })
    }

    fn venue(&self) -> Result<Option<VenueId>, RecordingError> {
        match self {
            Self::File(path) => raw::venue_of_path(path).map_err(|problem| self.form_error(1, problem)),
            Self::Bytes { .. } => Ok(None),
        }
    }

    fn try_io<T>(&self, result: io::Result<T>) -> Result<T, RecordingError> {
        result.map_err(|error| RecordingError::Io {
            name: self.name(),
            error,
        })
    }

    fn form_error(&self, line: u64, problem: String) -> RecordingError {
        RecordingError::Form {
            name: self.name(),
            line,
            problem,
        }
    }
}
