//! The data directory: one server at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// Held for as long as a server uses a directory. The kernel releases it when the process
/// ends, however it ends, so nothing stale is ever left behind.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

const LOCK_FILE: &str = "serve.lock";
const DEMO_KEY_FILE: &str = "demo.key";

impl DataDir {
    /// Makes the directory if it is not there, and locks it.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| {
                format!("cannot make the data directory {shown}: choose another with --data-dir")
            })?;
        let lock = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK_FILE))
            .with_context(|| {
                format!("cannot write to the data directory {shown}: choose another with --data-dir")
            })?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => bail!(
                "another server is using the data directory {shown}: stop it, or give this one its own with --data-dir"
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("cannot lock the data directory {shown}"))
            }
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the demo key is.
    pub fn demo_key_path(&self) -> PathBuf {
        self.path.join(DEMO_KEY_FILE)
    }

    /// Writes the demo key, readable by its owner only. The file appears whole or not at all.
    pub fn write_demo_key(&self, text: &str) -> io::Result<()> {
        let draft = self.path.join("demo.key.new");
        let mut file = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&draft)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(draft, self.demo_key_path())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_second_server_on_one_directory_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("data");
        let first = DataDir::open(&path).expect("free");
        let refused = DataDir::open(&path).expect_err("taken").to_string();
        assert!(
            refused.contains("another server") && refused.contains("--data-dir"),
            "{refused}"
        );
        drop(first);
        DataDir::open(&path).expect("free again");
    }

    #[test]
    fn the_demo_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = DataDir::open(dir.path()).expect("free");
        data.write_demo_key("tb_live_x").expect("written");
        let path = data.demo_key_path();
        assert_eq!(fs::read_to_string(&path).expect("there"), "tb_live_x\n");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o600
        );
    }
}
