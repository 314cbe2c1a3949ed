//! Stands between a feed and the disk: a bounded queue and a thread of its own.
//!
//! The feed never waits. What the disk does not take in time is dropped, counted, and told in
//! the recording and in the log. When the disk takes nothing more the recording ends with a
//! clear word, and the feed goes on without it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use super::writer::RecordingWriter;
use crate::limits::{
    RECORDING_CONNECTIONS, RECORDING_QUEUE_BYTES, RECORDING_QUEUE_FRAMES, RECORDING_SPARE_BYTES,
    RECORDING_SPARES,
};
use crate::market::tap::{FrameTap, TapFrame};
use crate::market::venue::VenueId;

const _: () = assert!(
    RECORDING_QUEUE_BYTES >= crate::market::venue::MAX_FRAME_BYTES,
    "the largest frame must be able to wait"
);

/// Without news for so long, what was written is flushed and what was lost is told.
const IDLE: Duration = Duration::from_millis(250);

/// Losses are told at most so often while frames come, nanoseconds of their clock.
const TELL_NS: u64 = 1_000_000_000;

/// The feed's end: give it to the feed as its tap.
#[derive(Debug)]
pub struct RecordingSink {
    queue: SyncSender<Item>,
    /// Buffers that come back.
    spare: Receiver<Vec<u8>>,
    names: Vec<Arc<str>>,
    shared: Arc<Shared>,
}

/// The operator's end: what became of the recording.
#[derive(Debug)]
pub struct RecordingHandle {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

/// How a recording stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordingStatus {
    /// Messages written.
    pub frames: u64,
    /// Bytes of these messages, as the venues sent them.
    pub bytes: u64,
    /// Messages dropped because the disk did not keep up.
    pub lost_frames: u64,
    /// Bytes of these.
    pub lost_bytes: u64,
    /// Why the recording ended before it was told to, if it did.
    pub ended: Option<String>,
}

#[derive(Debug)]
enum Item {
    Connected {
        at_ns: u64,
        venue: VenueId,
        connection: Arc<str>,
    },
    Frame {
        at_ns: u64,
        venue: VenueId,
        connection: Arc<str>,
        binary: bool,
        data: Vec<u8>,
    },
}

#[derive(Debug, Default)]
struct Shared {
    frames: AtomicU64,
    bytes: AtomicU64,
    lost_frames: AtomicU64,
    lost_bytes: AtomicU64,
    queued_bytes: AtomicUsize,
    over: AtomicBool,
    ended: Mutex<Option<String>>,
}

/// The thread's end.
struct Drain {
    writer: RecordingWriter,
    shared: Arc<Shared>,
    /// Losses that are in the recording already.
    told: (u64, u64),
    told_ns: u64,
    latest_ns: u64,
}

impl RecordingSink {
    /// Starts the thread that writes; it ends when the sink is dropped and the queue is empty.
    pub fn start(writer: RecordingWriter) -> io::Result<(Self, RecordingHandle)> {
        let (queue, items) = sync_channel(RECORDING_QUEUE_FRAMES);
        let (give_back, spare) = sync_channel(RECORDING_SPARES);
        let shared = Arc::new(Shared::default());
        let drain = Drain {
            writer,
            shared: Arc::clone(&shared),
            told: (0, 0),
            told_ns: 0,
            latest_ns: 0,
        };
        let thread = thread::Builder::new()
            .name("recording".to_owned())
            .spawn(move || drain.run(&items, &give_back))?;
        let sink = Self {
            queue,
            spare,
            names: Vec::new(),
            shared: Arc::clone(&shared),
        };
        Ok((sink, RecordingHandle { shared, thread }))
    }

    fn name(&mut self, connection: &str) -> Arc<str> {
        if let Some(known) = self.names.iter().find(|known| &***known == connection) {
            return Arc::clone(known);
        }
        let name: Arc<str> = connection.into();
        if self.names.len() < RECORDING_CONNECTIONS {
            self.names.push(Arc::clone(&name));
        }
        name
    }
}

impl FrameTap for RecordingSink {
    fn connected(&mut self, at_ns: u64, venue: VenueId, connection: &str) {
        if self.shared.over.load(Ordering::Relaxed) {
            return;
        }
        let connection = self.name(connection);
        let item = Item::Connected {
            at_ns,
            venue,
            connection,
        };
        if self.queue.try_send(item).is_err() {
            self.shared.lose(0);
        }
    }

    fn frame(&mut self, at_ns: u64, venue: VenueId, connection: &str, frame: TapFrame<'_>) {
        if self.shared.over.load(Ordering::Relaxed) {
            return;
        }
        let bytes = frame.bytes();
        if self.shared.queued_bytes.load(Ordering::Relaxed) + bytes.len() > RECORDING_QUEUE_BYTES {
            self.shared.lose(bytes.len());
            return;
        }
        let mut data = self.spare.try_recv().unwrap_or_default();
        data.clear();
        data.extend_from_slice(bytes);
        let item = Item::Frame {
            at_ns,
            venue,
            connection: self.name(connection),
            binary: matches!(frame, TapFrame::Binary(_)),
            data,
        };
        // Counted before it is sent: the thread takes it off as soon as it has it.
        self.shared.queued_bytes.fetch_add(bytes.len(), Ordering::Relaxed);
        if self.queue.try_send(item).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
            self.shared.lose(bytes.len());
        }
    }
}

impl RecordingHandle {
    /// How it stands just now.
    pub fn status(&self) -> RecordingStatus {
        self.shared.status()
    }

    /// Waits until everything is written; the sink must have been dropped.
    pub fn wait(self) -> RecordingStatus {
        if self.thread.join().is_err() {
            self.shared.end("its thread died".to_owned());
        }
        self.shared.status()
    }
}

impl Shared {
    fn lose(&self, bytes: usize) {
        self.lost_frames.fetch_add(1, Ordering::Relaxed);
        self.lost_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn end(&self, reason: String) {
        self.over.store(true, Ordering::Relaxed);
        self.ended.lock().get_or_insert(reason);
    }

    fn status(&self) -> RecordingStatus {
        RecordingStatus {
            frames: self.frames.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            lost_frames: self.lost_frames.load(Ordering::Relaxed),
            lost_bytes: self.lost_bytes.load(Ordering::Relaxed),
            ended: self.ended.lock().clone(),
        }
    }
}

impl Drain {
    fn run(mut self, items: &Receiver<Item>, give_back: &SyncSender<Vec<u8>>) {
        let result = loop {
            match items.recv_timeout(IDLE) {
                Ok(item) => {
                    if let Err(error) = self.take(item, give_back) {
                        break Err(error);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.tell().and_then(|()| self.writer.flush()) {
                        break Err(error);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => break self.tell(),
            }
        };
        let path = self.writer.path().map(|path| path.display().to_string());
        if let Err(error) = result.and_then(|()| self.writer.finish()) {
            let path = path.unwrap_or_default();
            tracing::error!(
                path,
                %error,
                "the recording ends here and the market goes on; make room on the disk and record anew"
            );
            self.shared.end(format!("{path}: {error}"));
        }
    }

    fn take(&mut self, item: Item, give_back: &SyncSender<Vec<u8>>) -> io::Result<()> {
        match item {
            Item::Connected {
                at_ns,
                venue,
                connection,
            } => {
                self.latest_ns = self.latest_ns.max(at_ns);
                self.writer.connected(at_ns, venue, &connection)?;
            }
            Item::Frame {
                at_ns,
                venue,
                connection,
                binary,
                data,
            } => {
                self.latest_ns = self.latest_ns.max(at_ns);
                self.shared.queued_bytes.fetch_sub(data.len(), Ordering::Relaxed);
                let frame = if binary {
                    TapFrame::Binary(&data)
                } else {
                    TapFrame::Text(&data)
                };
                self.writer.frame(at_ns, venue, &connection, frame)?;
                self.shared.frames.fetch_add(1, Ordering::Relaxed);
                self.shared.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
                if data.capacity() <= RECORDING_SPARE_BYTES {
                    // Nobody waits for it: a full rack means that there are enough.
                    let _ = give_back.try_send(data);
                }
            }
        }
        if self.latest_ns.saturating_sub(self.told_ns) >= TELL_NS {
            self.tell()?;
        }
        Ok(())
    }

    /// Writes and logs what was lost since it was last told.
    fn tell(&mut self) -> io::Result<()> {
        self.told_ns = self.latest_ns;
        let now = (
            self.shared.lost_frames.load(Ordering::Relaxed),
            self.shared.lost_bytes.load(Ordering::Relaxed),
        );
        let (frames, bytes) = (now.0 - self.told.0, now.1.saturating_sub(self.told.1));
        if frames == 0 {
            return Ok(());
        }
        self.told = now;
        tracing::warn!(
            frames,
            bytes,
            "the disk is too slow for the recording; frames were lost"
        );
        self.writer.lost(self.latest_ns, frames, bytes)
    }
}
