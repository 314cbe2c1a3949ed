//! The journals on disk: made at each start, read again after a process that did not end well.
//!
//! A process makes one file for each of its meters, named by its boot, and removes them when it
//! ends with everything in the ledger. What lies there at a start was left behind by one that did
//! not: it is carried to the ledger under the ids that its pages had, whatever shard count or
//! program wrote it, and then removed. A file that cannot be read, or has damage in it, is set aside
//! under another name and never deleted.

use std::fs::{self, File, TryLockError};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use memmap2::MmapRaw;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use crate::limits::MAX_SAVED_JOURNALS;
use crate::tables::meter::{
    JOURNAL_BYTES, JournalName, Meter, MeterPages, PageRows, SavedJournal, SavedPage, Unreadable,
};
use crate::tables::prices::PriceCopy;

const LOCK_FILE: &str = "journal.lock";
const SUFFIX: &str = "journal";
/// Before the time at which a file was set aside.
const ASIDE: &str = ".set-aside-";

/// The directory of the journals, held by one server at a time.
#[derive(Debug)]
pub struct JournalDir {
    path: PathBuf,
    _lock: File,
}

/// The journals of this process.
#[derive(Debug)]
pub struct Journals {
    dir: JournalDir,
    node: String,
    boot: u64,
    /// Those that were made.
    made: Vec<PathBuf>,
}

/// A journal of a process that is gone.
#[derive(Debug)]
pub struct LeftJournal {
    path: PathBuf,
    file: File,
    journal: SavedJournal,
    /// Rows that were found damaged so far.
    damaged: u64,
    /// The next page to be flushed.
    next: usize,
}

/// What a directory holds of processes that are gone.
#[derive(Debug, Default)]
pub struct Left {
    /// Journals with something in them, oldest process first as far as names tell.
    pub journals: Vec<LeftJournal>,
    /// Files that were set aside, and why, for people.
    pub set_aside: Vec<String>,
}

impl JournalDir {
    /// Makes the directory if it is not there, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| {
                format!("cannot make the journal directory {shown}: choose another with --journal-dir")
            })?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .with_context(|| {
                format!(
                    "cannot write to the journal directory {shown}: usage is counted there; give this user write \
                     permission, or choose another with --journal-dir"
                )
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another server is using the journal directory {shown}: stop it, or give this one its own with \
                 --journal-dir"
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock the journal directory {shown}"))
            }
        }
    }

    /// Takes stock of what processes left behind. Empty journals are removed; what is no journal is
    /// set aside.
    pub fn left(&self, now_ns: u64) -> anyhow::Result<Left> {
        let mut left = Left::default();
        for path in journal_files(&self.path)? {
            match LeftJournal::open(&path)? {
                Ok(journal) if journal.is_clean_and_done() => remove(&path)?,
                Ok(journal) => {
                    journal.release_unused();
                    left.journals.push(journal);
                }
                Err(why) => left.set_aside.push(set_aside(&path, &why.to_string(), now_ns)?),
            }
        }
        if left.journals.len() > MAX_SAVED_JOURNALS {
            bail!(
                "{} usage journals wait in {} and none reaches the ledger: mend the ledger first (`migrate status` \
                 tells how it is), so that the disk does not fill with more",
                left.journals.len(),
                self.path.display()
            );
        }
        Ok(left)
    }
}

impl Journals {
    /// For the meters of one process; `boot` is drawn anew at each start.
    pub fn new(dir: JournalDir, node: &str, boot: u64) -> Self {
        Self {
            dir,
            node: node.to_owned(),
            boot,
            made: Vec::new(),
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.dir.path
    }

    /// Makes the next meter's journal, with all its room on the disk from the start: a full disk is
    /// told of now and not by a signal in the middle of an answer.
    pub fn meter(&mut self, prices: &PriceCopy, now_ns: u64) -> anyhow::Result<(Meter, MeterPages)> {
        let meter = self.made.len() as u32;
        let path = self
            .dir
            .path
            .join(format!("{:016x}-{meter:03}.{SUFFIX}", self.boot));
        let shown = path.display();
        let file = fs::OpenOptions::new()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot make the usage journal {shown}"))?;
        self.made.push(path.clone());
        if let Err(error) = reserve(&file) {
            // Nothing was counted in it.
            let _ = fs::remove_file(&path);
            return Err(error).with_context(|| {
                format!(
                    "cannot reserve {} MiB for the usage journal {shown}: free space on that disk, or choose another \
                     with --journal-dir",
                    JOURNAL_BYTES >> 20
                )
            });
        }
        let map = MmapRaw::map_raw(&file).with_context(|| format!("cannot map the usage journal {shown}"))?;
        let name = JournalName {
            node: &self.node,
            boot: self.boot,
            meter,
            made_ns: now_ns,
        };
        Ok(Meter::on_journal(map, name, std::sync::Arc::clone(prices))?)
    }

    /// Removes the journals of this process: everything in them is in the ledger.
    pub fn remove(&self) -> io::Result<()> {
        self.made.iter().try_for_each(|path| remove(path))
    }
}

impl LeftJournal {
    /// Opens a file that is no longer written.
    pub fn open(path: &Path) -> anyhow::Result<Result<Self, Unreadable>> {
        let shown = path.display();
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .or_else(|_| File::open(path))
            .with_context(|| format!("cannot read the usage journal {shown}: give this user permission"))?;
        let bytes = file
            .metadata()
            .with_context(|| format!("cannot look at the usage journal {shown}"))?
            .len();
        let journal = SavedJournal::read(bytes, |range| read_range(&file, &range))
            .with_context(|| format!("cannot read the usage journal {shown}"))?;
        Ok(journal.map(|journal| Self {
            path: path.to_owned(),
            file,
            journal,
            damaged: 0,
            next: 0,
        }))
    }

    /// Whose it is.
    pub const fn journal(&self) -> &SavedJournal {
        &self.journal
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Pages that are still to be flushed.
    pub fn pages_left(&self) -> &[SavedPage] {
        &self.journal.pages()[self.next.min(self.journal.pages().len())..]
    }

    /// The rows of a page.
    pub fn rows(&self, page: &SavedPage) -> io::Result<PageRows> {
        self.journal.rows(page, |range| read_range(&self.file, &range))
    }

    /// The next page is in the ledger.
    pub fn page_is_flushed(&mut self, damaged: u64) {
        self.damaged += damaged;
        self.next += 1;
    }

    /// Ends with a file whose pages are all in the ledger: it is removed, or set aside if there was
    /// damage. Tells people of the latter.
    pub fn end(&self, now_ns: u64) -> anyhow::Result<Option<String>> {
        let Some(why) = self.damage() else {
            remove(&self.path)?;
            return Ok(None);
        };
        set_aside(&self.path, &why, now_ns).map(Some)
    }

    fn is_clean_and_done(&self) -> bool {
        self.pages_left().is_empty() && self.damage().is_none()
    }

    fn damage(&self) -> Option<String> {
        let (pages, missing) = (self.journal.damaged_pages(), self.journal.missing_bytes());
        if self.damaged == 0 && pages == 0 && missing == 0 {
            return None;
        }
        Some(format!(
            "{} rows and {pages} page headers of it are damaged and {missing} bytes are missing at its end; what was \
             sound is in the ledger",
            self.damaged
        ))
    }

    /// Gives the room back that its rows do not need, so that many crashes do not fill a disk.
    fn release_unused(&self) {
        for range in self.journal.unused() {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A courtesy: where the file system knows no holes the room stays taken.
            if fallocate(&self.file, flags, range.start, range.end - range.start).is_err() {
                return;
            }
        }
    }
}

/// The journals in a directory, sorted by name.
pub fn journal_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files(dir, |path| {
        path.extension().is_some_and(|extension| extension == SUFFIX)
    })
}

/// The files that were set aside in a directory, sorted by name.
pub fn set_aside_files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    files(dir, |path| path.to_string_lossy().contains(ASIDE))
}

fn files(dir: &Path, wanted: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(dir).with_context(|| format!("cannot list the journal directory {}", dir.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("cannot list the journal directory {}", dir.display()))?
            .path();
        if wanted(&path) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_range(file: &File, range: &Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], range.start + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Reserves the whole file. Where the file system cannot reserve, zeros are written.
fn reserve(file: &File) -> io::Result<()> {
    match fallocate(file, FallocateFlags::empty(), 0, JOURNAL_BYTES as u64) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; 1 << 20];
            for at in (0..JOURNAL_BYTES).step_by(zeros.len()) {
                file.write_all_at(&zeros[..zeros.len().min(JOURNAL_BYTES - at)], at as u64)?;
            }
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Gives a file another name under which no start looks at it again; tells where it is.
fn set_aside(path: &Path, why: &str, now_ns: u64) -> anyhow::Result<String> {
    let seconds = now_ns / 1_000_000_000;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!("{ASIDE}{seconds}"));
    let aside = PathBuf::from(aside);
    fs::rename(path, &aside)
        .with_context(|| format!("cannot set the usage journal {} aside ({why})", path.display()))?;
    Ok(format!(
        "{} was set aside as {}: {why}",
        path.display(),
        aside.display()
    ))
}
