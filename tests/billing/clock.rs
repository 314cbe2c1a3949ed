//! A wall clock of the server's own, which a test can step. libfaketime stands between the server
//! and its clock: nothing in the server knows of it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

use tempfile::TempDir;

use super::crowd::Crowd;
use crate::support::server::wait_until;

/// The clock of a server.
pub(crate) struct SteppedClock {
    dir: TempDir,
}

impl SteppedClock {
    /// One that goes right.
    pub(crate) fn new() -> Self {
        let clock = Self {
            dir: tempfile::tempdir().expect("a directory"),
        };
        clock.set(0);
        clock
    }

    /// What gives a server this clock: see faketime(1). Only the wall clock is another one.
    pub(crate) fn dress(&self) -> impl Fn(&mut Command) + use<> {
        let (library, file) = (library(), self.file());
        move |command| {
            command
                .env("LD_PRELOAD", &library)
                .env("FAKETIME_TIMESTAMP_FILE", &file)
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                // Seconds until it looks at the file again.
                .env("FAKETIME_CACHE_DURATION", "1");
        }
    }

    /// Steps the server's clock, so that it is ahead of the true one by this much, and waits
    /// until clients have met it.
    pub(crate) fn step(&self, ahead_seconds: i64, crowd: &Crowd) {
        const NEARLY_SECONDS: i64 = 3;
        self.set(ahead_seconds);
        wait_until("clients meet the other clock", || {
            let met = crowd.signals.skew_ns.load(Relaxed) / 1_000_000_000;
            ((met - ahead_seconds).abs() < NEARLY_SECONDS).then_some(())
        });
    }

    fn set(&self, ahead_seconds: i64) {
        // Renamed, so that nobody reads half of it.
        let new = self.dir.path().join("new");
        fs::write(&new, format!("{ahead_seconds:+}\n")).expect("written");
        fs::rename(new, self.file()).expect("renamed");
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("clock")
    }
}

/// Where the distributions put it.
fn library() -> PathBuf {
    let name = "faketime/libfaketimeMT.so.1";
    let below = |root: &str| fs::read_dir(root).into_iter().flatten().flatten();
    ["/usr/lib", "/usr/lib64"]
        .into_iter()
        .flat_map(|root| std::iter::once(PathBuf::from(root)).chain(below(root).map(|dir| dir.path())))
        .map(|dir| dir.join(name))
        .find(|path| path.exists())
        .expect("libfaketime is missing: tests/run installs it, or 'apt-get install faketime'")
}
