//! The ledger's file: who may read it, and how a connection on it is set up.

use std::fs::{DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::store::error::{Result, StoreError};

/// How long a write waits for another process's write. Writes take milliseconds, so a longer
/// wait means that somebody holds the file open in a transaction by hand.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between tries where SQLite does not wait by itself.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// What the write-ahead log is cut back to after a checkpoint, in bytes.
const MAX_IDLE_WAL: i64 = 64 << 20;
/// Statements kept prepared: more than this module has.
const MAX_PREPARED: usize = 128;

/// Opens one connection on an existing file.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| cannot_open(path, e))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(MAX_PREPARED);
    // Hand-made schemas must not run code of their own, nor SQL write into the schema.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    let mode = write_ahead(&connection).map_err(|error| match error {
        StoreError::Engine(source) => StoreError::CannotOpen {
            path: path.to_owned(),
            source,
        },
        other => other,
    })?;
    if mode != "wal" {
        return Err(StoreError::FileSystem {
            path: path.to_owned(),
            mode,
        });
    }
    // FULL: a commit is on the disk before it is reported, through a loss of power as well.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "journal_size_limit", MAX_IDLE_WAL)?;
    Ok(connection)
}

/// Switches to write-ahead logging and returns the mode granted. The very first switch needs
/// the whole file for itself, and SQLite does not wait for that: two first openers must.
fn write_ahead(connection: &Connection) -> Result<String> {
    let deadline = crate::clock::monotonic() + BUSY_TIMEOUT;
    loop {
        let mode = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0));
        match mode.map_err(StoreError::from) {
            Err(StoreError::Locked) if crate::clock::monotonic() < deadline => thread::sleep(BUSY_PAUSE),
            other => return other,
        }
    }
}

pub(super) fn create_private(data_dir: &Path, path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|e| cannot_open(path, e))?;
    // SQLite gives its -wal and -shm files the mode of the main file.
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(cannot_open(path, e)),
        _ => Ok(()),
    }
}

pub(super) fn cannot_open(
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StoreError {
    StoreError::CannotOpen {
        path: PathBuf::from(path),
        source: source.into(),
    }
}
