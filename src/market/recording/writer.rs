//! Writes what venues sent: JSON lines, gzip while they are written, one file after another.
//!
//! ```text
//! {"format":"trinity-raw-recording","version":1,"origin":"trinity-beast 0.1.0"}
//! {"t":"connect","ts_ns":1700000000000000000,"venue":"kraken","conn":"kraken-1"}
//! {"t":"recv","ts_ns":1700000000100000000,"venue":"kraken","conn":"kraken-1","data":"{..}"}
//! {"t":"recv","ts_ns":1700000000200000000,"venue":"okx","conn":"okx-1","b64":"q1YqVrKqBQA="}
//! {"t":"lost","ts_ns":1700000001000000000,"frames":12,"bytes":3456}
//! ```
//!
//! `ts_ns` is our clock at the receipt; a binary message is written in base64. `lost` tells of
//! messages that came and are not here, because the disk did not keep up.
//!
//! For `--out NAME.jsonl.gz` the files are called `NAME-20240131T120000Z.jsonl.gz`, by the UTC
//! time of their first line, with `-2`, `-3`.. behind it when one second begins several. A
//! file ends when it has grown or lasted as long as it may; every file plays alone, and
//! [`Recording::open`](super::Recording::open) plays all of them in order when it is given
//! `NAME.jsonl.gz` or their folder.
//!
//! Once a second what there is goes to the file in a form that can be read: a process that is
//! killed loses that second, and the cut file plays as far as it reads.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use data_encoding::BASE64;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::Serialize;

use crate::limits::RECORDING_SAME_SECOND;
use crate::market::tap::TapFrame;
use crate::market::venue::VenueId;

/// The `format` of a raw recording's header.
pub const RAW_FORMAT: &str = "trinity-raw-recording";
/// The `version` of raw recordings that this program reads and writes.
pub const RAW_VERSION: u32 = 1;

/// What a killed process can lose, nanoseconds of the frames' clock.
const FLUSH_NS: u64 = 1_000_000_000;

/// Fast: a recorder shares its machine with a market. Frames shrink tenfold even so.
const LEVEL: u32 = 3;

/// Where a recording goes and when its files change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriterOptions {
    /// `NAME.jsonl.gz`; see the top of this file for what the files are called.
    pub path: PathBuf,
    /// Compressed bytes after which a new file begins; above 0.
    pub rotate_bytes: u64,
    /// Time on the frames' clock after which a new file begins, nanoseconds; above 0.
    pub rotate_ns: u64,
}

/// Opens the next file for frames from this moment on, and says what it is called.
pub type OpenFile = Box<dyn FnMut(u64) -> io::Result<(PathBuf, Box<dyn Write + Send>)> + Send>;

/// Writes one recording. Not for the feed's own thread: it waits for the disk;
/// [`RecordingSink`](super::RecordingSink) stands between.
pub struct RecordingWriter {
    open: OpenFile,
    rotate_bytes: u64,
    rotate_ns: u64,
    current: Option<Segment>,
    /// The latest file, whether or not it came to anything.
    path: Option<PathBuf>,
    line: Vec<u8>,
    files: u64,
}

/// One file.
struct Segment {
    gzip: GzEncoder<Counted>,
    began_ns: u64,
    flushed_ns: u64,
    unflushed: bool,
}

struct Counted {
    file: Box<dyn Write + Send>,
    bytes: u64,
}

#[derive(Serialize)]
struct Header<'a> {
    format: &'a str,
    version: u32,
    origin: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    t: &'static str,
    ts_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    venue: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
}

impl RecordingWriter {
    /// A writer of files beside `options.path`. Nothing is created before the first line; that
    /// the folder takes a file is tried at once.
    pub fn create(options: &WriterOptions) -> io::Result<Self> {
        let path = options.path.clone();
        if path.file_name().is_none() {
            let problem = format!("{} names no file; write NAME.jsonl.gz", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
        }
        let folder = folder_of(&path);
        tempfile_in(&folder).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot write in {}: {error}", folder.display()),
            )
        })?;
        let open = move |began_ns| {
            let (path, file) = create_next(&path, began_ns)?;
            Ok((path, Box::new(file) as Box<dyn Write + Send>))
        };
        Ok(Self::with_files(
            Box::new(open),
            options.rotate_bytes,
            options.rotate_ns,
        ))
    }

    /// A writer whose files come from `open`.
    pub fn with_files(open: OpenFile, rotate_bytes: u64, rotate_ns: u64) -> Self {
        Self {
            open,
            rotate_bytes,
            rotate_ns,
            current: None,
            path: None,
            line: Vec::new(),
            files: 0,
        }
    }

    /// Notes that a connection began. `at_ns` is Unix time, as everywhere here.
    pub fn connected(&mut self, at_ns: u64, venue: VenueId, connection: &str) -> io::Result<()> {
        self.line.clear();
        put(
            &mut self.line,
            &Line {
                venue: Some(venue.name()),
                conn: Some(connection),
                ..Line::new("connect", at_ns)
            },
        )?;
        self.write(at_ns)
    }

    /// Writes a message.
    pub fn frame(
        &mut self,
        at_ns: u64,
        venue: VenueId,
        connection: &str,
        frame: TapFrame<'_>,
    ) -> io::Result<()> {
        // A text message that is no text, which a venue may not send, is kept as bytes.
        let text = match frame {
            TapFrame::Text(bytes) => std::str::from_utf8(bytes).ok(),
            TapFrame::Binary(_) => None,
        };
        self.line.clear();
        put(
            &mut self.line,
            &Line {
                venue: Some(venue.name()),
                conn: Some(connection),
                data: text,
                ..Line::new("recv", at_ns)
            },
        )?;
        if text.is_none() {
            self.line.pop();
            self.line.extend_from_slice(b",\"b64\":\"");
            let at = self.line.len();
            let bytes = frame.bytes();
            self.line.resize(at + BASE64.encode_len(bytes.len()), 0);
            BASE64.encode_mut(bytes, &mut self.line[at..]);
            self.line.extend_from_slice(b"\"}");
        }
        self.write(at_ns)
    }

    /// Tells that so many messages, with so many bytes, came and could not be written.
    pub fn lost(&mut self, at_ns: u64, frames: u64, bytes: u64) -> io::Result<()> {
        self.line.clear();
        put(
            &mut self.line,
            &Line {
                frames: Some(frames),
                bytes: Some(bytes),
                ..Line::new("lost", at_ns)
            },
        )?;
        self.write(at_ns)
    }

    /// Brings everything to the file so that it can be read from there.
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut self.current {
            Some(segment) if segment.unflushed => {
                segment.unflushed = false;
                segment.gzip.flush()
            }
            _ => Ok(()),
        }
    }

    /// Ends the last file. Dropping the writer does so too, but tells of no error.
    pub fn finish(mut self) -> io::Result<()> {
        self.close()
    }

    /// The latest file, once there was one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Files begun so far.
    pub const fn files(&self) -> u64 {
        self.files
    }

    /// Writes the line that was made.
    fn write(&mut self, at_ns: u64) -> io::Result<()> {
        let full = self.current.as_ref().is_some_and(|segment| {
            segment.gzip.get_ref().bytes >= self.rotate_bytes
                || at_ns.saturating_sub(segment.began_ns) >= self.rotate_ns
        });
        if full {
            self.close()?;
        }
        let segment = match &mut self.current {
            Some(segment) => segment,
            empty => {
                let (path, file) = (self.open)(at_ns)?;
                self.files += 1;
                self.path = Some(path);
                empty.insert(Segment::begin(file, at_ns)?)
            }
        };
        self.line.push(b'\n');
        segment.gzip.write_all(&self.line)?;
        segment.unflushed = true;
        if at_ns.saturating_sub(segment.flushed_ns) >= FLUSH_NS {
            segment.flushed_ns = at_ns;
            self.flush()?;
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        match self.current.take() {
            Some(segment) => segment.gzip.finish()?.flush(),
            None => Ok(()),
        }
    }
}

impl Segment {
    fn begin(file: Box<dyn Write + Send>, at_ns: u64) -> io::Result<Self> {
        let mut gzip = GzEncoder::new(Counted { file, bytes: 0 }, Compression::new(LEVEL));
        let mut line = Vec::new();
        put(
            &mut line,
            &Header {
                format: RAW_FORMAT,
                version: RAW_VERSION,
                origin: concat!("trinity-beast ", env!("CARGO_PKG_VERSION")),
            },
        )?;
        line.push(b'\n');
        gzip.write_all(&line)?;
        Ok(Self {
            gzip,
            began_ns: at_ns,
            flushed_ns: at_ns,
            unflushed: true,
        })
    }
}

impl Line<'_> {
    const fn new(t: &'static str, ts_ns: u64) -> Self {
        Self {
            t,
            ts_ns,
            venue: None,
            conn: None,
            frames: None,
            bytes: None,
            data: None,
        }
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl std::fmt::Debug for RecordingWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingWriter")
            .field("path", &self.path())
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

/// Whether `name` is what a file of the set `NAME.ext` is called.
pub(super) fn is_of_set(set: &Path, name: &str) -> bool {
    let Some((stem, extension)) = set_name(set) else {
        return false;
    };
    let middle = name
        .strip_prefix(&stem)
        .and_then(|rest| rest.strip_prefix('-'))
        .and_then(|rest| rest.strip_suffix(&extension));
    middle.is_some_and(|middle| {
        let (time, number) = middle.split_once('Z').unwrap_or((middle, "none"));
        let digits = |text: &str, n| text.len() == n && text.bytes().all(|byte| byte.is_ascii_digit());
        time.split_once('T')
            .is_some_and(|(day, time)| digits(day, 8) && digits(time, 6))
            && (number.is_empty() || number.starts_with('-'))
    })
}

/// The folder a path lies in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// `dir/NAME.jsonl.gz` as `NAME` and `.jsonl.gz`.
fn set_name(path: &Path) -> Option<(String, String)> {
    let name = path.file_name()?.to_str()?;
    let dot = name.find('.').unwrap_or(name.len());
    let extension = if dot == name.len() {
        ".jsonl.gz"
    } else {
        &name[dot..]
    };
    Some((name[..dot].to_owned(), extension.to_owned()))
}

fn create_next(set: &Path, began_ns: u64) -> io::Result<(PathBuf, File)> {
    let (stem, extension) = set_name(set).ok_or_else(|| {
        let problem = "the recording's name must be UTF-8";
        io::Error::new(io::ErrorKind::InvalidInput, problem)
    })?;
    let time = Timestamp::from_nanosecond(i128::from(began_ns))
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string();
    for number in 1..=RECORDING_SAME_SECOND {
        let number = if number == 1 {
            String::new()
        } else {
            format!("-{number}")
        };
        let name: OsString = format!("{stem}-{time}{number}{extension}").into();
        let path = folder_of(set).join(name);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                let told = format!("cannot create {}: {error}", path.display());
                return Err(io::Error::new(error.kind(), told));
            }
        }
    }
    let problem = format!("{RECORDING_SAME_SECOND} files of one second are there already; rotate later");
    Err(io::Error::new(io::ErrorKind::AlreadyExists, problem))
}

/// Creates and removes a file, to learn early what would fail later.
fn tempfile_in(folder: &Path) -> io::Result<()> {
    let path = folder.join(format!(".recording-{}", std::process::id()));
    File::create(&path)?;
    fs::remove_file(&path)
}

fn put(line: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(line, value).map_err(io::Error::from)
}
