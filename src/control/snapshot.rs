//! What a server knows from its ledger, in a file of its own, so that it can start and serve while
//! the ledger cannot be reached.
//!
//! A header (magic, version, length, time, BLAKE3 checksum) and then parts, each a length and a
//! value in postcard's form: one of settings, then keys by the ten thousand. The file appears whole
//! or not at all, and is for its owner only: what is in it can sign requests.

mod keeper;
mod rows;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use self::keeper::Keeper;
use self::rows::{KeyRow, Settings};
use crate::store::SymbolRecord;
use crate::tables::keys::{KeyEntry, KeyTable, KeyTableBuilder};

/// The file in the data directory.
pub const SNAPSHOT_FILE: &str = "ledger.snapshot";

/// What is kept.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Every key, with what its state counts of the month.
    pub keys: KeyTable,
    /// Start of the UTC month that the keys' states count, Unix seconds.
    pub month: u64,
    /// Parameters that are set, names with their values.
    pub parameters: Vec<(String, String)>,
    /// Every symbol; none where the market does not follow the ledger.
    pub symbols: Vec<SymbolRecord>,
    /// When it was true, Unix nanoseconds.
    pub at_ns: u64,
}

/// Why a snapshot cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file could not be read.
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is not a snapshot, or not whole.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// It was written by another version of the program.
    #[error("it has format {0}, and this program knows format {VERSION} only")]
    Foreign(u32),
}

const MAGIC: [u8; 8] = *b"TBLEDGER";
const VERSION: u32 = 1;
const HEADER: usize = 64;
/// Keys of one part.
const KEYS_PER_PART: usize = 10_000;
/// Longest part that is read; the longest that is written is some megabytes.
const MAX_PART: usize = 64 << 20;
/// Under how many names a damaged file may be set aside in one second.
const MAX_ASIDE: u32 = 1_000;

/// Where the snapshot of a data directory is.
pub fn path_in(data_dir: &Path) -> PathBuf {
    data_dir.join(SNAPSHOT_FILE)
}

/// Writes a snapshot: to a draft beside it, which then takes its place.
pub fn write(path: &Path, snapshot: &Snapshot) -> io::Result<()> {
    let draft = path.with_extension("snapshot.new");
    let file = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)?;
    let mut out = Body {
        file: BufWriter::with_capacity(1 << 20, file),
        hash: blake3::Hasher::new(),
        length: 0,
        buffer: Vec::new(),
    };
    out.file.write_all(&[0; HEADER])?;
    out.part(&Settings::of(snapshot))?;
    let mut keys = snapshot.keys.iter().map(KeyRow::of).peekable();
    while keys.peek().is_some() {
        out.part(&keys.by_ref().take(KEYS_PER_PART).collect::<Vec<_>>())?;
    }
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&[0; 4]);
    header.extend_from_slice(&out.length.to_le_bytes());
    header.extend_from_slice(&snapshot.at_ns.to_le_bytes());
    // The checksum is of all of it, what stands before it in the header included.
    out.hash.update(&header);
    header.extend_from_slice(out.hash.finalize().as_bytes());
    let mut file = out.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&header)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The new name is on the disk only once its directory is.
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Reads a snapshot; `None` if there is none.
pub fn read(path: &Path) -> Result<Option<Snapshot>, SnapshotError> {
    let Some((file, header)) = check(path)? else {
        return Ok(None);
    };
    let mut file = BufReader::with_capacity(1 << 20, file);
    let mut left = header.length;
    let settings: Settings = part(&mut file, &mut left)?;
    let mut keys = KeyTableBuilder::default();
    while left > 0 {
        for row in part::<Vec<KeyRow>>(&mut file, &mut left)? {
            keys.push(KeyEntry::try_from(row).map_err(SnapshotError::Damaged)?);
        }
    }
    let (month, parameters, symbols) = settings.into_parts().map_err(SnapshotError::Damaged)?;
    Ok(Some(Snapshot {
        keys: keys.build(),
        month,
        parameters,
        symbols,
        at_ns: header.at_ns,
    }))
}

/// Gives a file that cannot be used a new name, which it tells: nothing is deleted.
pub fn set_aside(path: &Path, now_ns: u64) -> io::Result<PathBuf> {
    let second = now_ns / 1_000_000_000;
    for number in 0..MAX_ASIDE {
        let aside = path.with_extension(format!("snapshot.damaged-{second}-{number}"));
        // A second name and then the removal of the first: unlike a rename it never takes the
        // place of a file that is there.
        match fs::hard_link(path, &aside) {
            Ok(()) => return fs::remove_file(path).map(|()| aside),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

struct Header {
    length: u64,
    at_ns: u64,
}

/// What follows the header, as it is written.
struct Body {
    file: BufWriter<File>,
    hash: blake3::Hasher,
    length: u64,
    buffer: Vec<u8>,
}

impl Body {
    fn part(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        let bytes = postcard::to_extend(value, bytes).map_err(io::Error::other)?;
        let length = u32::try_from(bytes.len())
            .map_err(io::Error::other)?
            .to_le_bytes();
        for piece in [&length[..], &bytes] {
            self.hash.update(piece);
            self.file.write_all(piece)?;
            self.length += piece.len() as u64;
        }
        self.buffer = bytes;
        Ok(())
    }
}

/// Whether a file is a snapshot and whole; gives it at the beginning of its parts.
fn check(path: &Path) -> Result<Option<(File, Header)>, SnapshotError> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = [0; HEADER];
    if let Err(error) = file.read_exact(&mut bytes) {
        return Err(match error.kind() {
            io::ErrorKind::UnexpectedEof => SnapshotError::Damaged("it is too short"),
            _ => error.into(),
        });
    }
    let (head, checksum) = bytes.split_at(HEADER - blake3::OUT_LEN);
    let number = |at: usize| {
        let mut number = [0; 8];
        number.copy_from_slice(&head[at..at + 8]);
        u64::from_le_bytes(number)
    };
    if head[..8] != MAGIC {
        return Err(SnapshotError::Damaged("it is something else than a snapshot"));
    }
    let version = number(8) as u32;
    if version != VERSION {
        return Err(SnapshotError::Foreign(version));
    }
    let header = Header {
        length: number(16),
        at_ns: number(24),
    };
    let mut hash = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
    hash.update(head);
    if length != header.length || hash.finalize().as_bytes()[..] != *checksum {
        return Err(SnapshotError::Damaged("its checksum is not that of its contents"));
    }
    file.seek(SeekFrom::Start(HEADER as u64))?;
    Ok(Some((file, header)))
}

fn part<T: DeserializeOwned>(file: &mut impl Read, left: &mut u64) -> Result<T, SnapshotError> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > MAX_PART {
        return Err(SnapshotError::Damaged("a part of it is too long"));
    }
    *left = left
        .checked_sub(4 + length as u64)
        .ok_or(SnapshotError::Damaged("a part is longer than the whole"))?;
    let mut bytes = vec![0; length];
    file.read_exact(&mut bytes)?;
    postcard::from_bytes(&bytes).map_err(|_| SnapshotError::Damaged("a part of it means nothing"))
}
