//! When a snapshot is written, and that nobody waits for it.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::task::{JoinHandle, spawn_blocking};

use super::{Snapshot, SnapshotError, check, set_aside, write};
use crate::clock;
use crate::control::health::Health;
use crate::control::ops::Ops;

/// Least time between two snapshots.
const PAUSE: Duration = Duration::from_mins(1);
/// And so many times as long as the last one took, for a million keys take their time.
const PAUSE_FACTOR: u32 = 20;
/// Time after which one is written even if nothing but the months' figures has changed.
const REFRESH: Duration = Duration::from_mins(10);

/// Keeps the snapshot of a ledger that is elsewhere.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    has_changed: bool,
    /// When the last one began to be written, and how long it took.
    last: Option<(Instant, Duration)>,
    writing: Option<JoinHandle<io::Result<(u64, Duration)>>>,
    health: Health,
}

impl Keeper {
    /// Nothing is written before the first [`Keeper::round`] after a change.
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            has_changed: true,
            last: None,
            writing: None,
            health: Health::new("snapshot of the ledger"),
        }
    }

    /// What was read from the ledger has changed.
    pub const fn note_change(&mut self) {
        self.has_changed = true;
    }

    /// Begins to write a snapshot if it is time; for as long as the ledger answers.
    pub async fn round(&mut self, ops: &Ops, snapshot: impl FnOnce() -> Snapshot) {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) {
            self.finish(ops).await;
        }
        let is_time = self.last.is_none_or(|(began, took)| {
            let since = began.elapsed();
            since >= PAUSE.max(took * PAUSE_FACTOR) && (self.has_changed || since >= REFRESH)
        });
        if self.writing.is_none() && is_time {
            self.begin(snapshot());
        }
    }

    /// Writes the last one, and waits for it.
    pub async fn end(&mut self, ops: &Ops, snapshot: impl FnOnce() -> Snapshot) {
        self.finish(ops).await;
        self.begin(snapshot());
        self.finish(ops).await;
    }

    fn begin(&mut self, snapshot: Snapshot) {
        let (path, is_first) = (self.path.clone(), self.last.is_none());
        self.has_changed = false;
        self.last = Some((clock::monotonic(), Duration::ZERO));
        self.writing = Some(spawn_blocking(move || {
            let began = clock::monotonic();
            // What is there from before is replaced only if it is a snapshot.
            if is_first
                && let Err(error @ (SnapshotError::Damaged(_) | SnapshotError::Foreign(_))) = check(&path)
            {
                let aside = set_aside(&path, clock::unix_nanos())?;
                let (path, aside) = (path.display(), aside.display());
                tracing::warn!(%path, %error, %aside, "a snapshot that is no use was set aside");
            }
            write(&path, &snapshot)?;
            Ok((snapshot.at_ns, began.elapsed()))
        }));
    }

    async fn finish(&mut self, ops: &Ops) {
        let Some(writing) = self.writing.take() else {
            return;
        };
        let result = writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let consequence =
            "a start while the ledger cannot be reached has an older snapshot to serve from, or none";
        if let Some((at_ns, took)) = self.health.note(result, consequence) {
            ops.keys.snapshot_written_ns.set(at_ns);
            if let Some((_, last)) = &mut self.last {
                *last = took;
            }
        } else {
            self.has_changed = true;
        }
    }
}
