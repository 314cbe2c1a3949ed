//! The short way: a connection whose client asks for prices and for nothing else is served
//! without hyper, which costs more than all the rest of such an answer.
//!
//! What [`crate::lpo::http::plain`] does not take is handed to hyper with its bytes, and hyper
//! keeps the connection until its client has asked in the plain way for a while. The patience
//! with clients is the same on both ways: the [`Watch`] is told the same things.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::connection::{End, Phase, Watch};
use super::worker::{Oracle, Worker};
use crate::clock;
use crate::limits::{HTTP_READ_BYTES, HTTP_TRAIN};
use crate::lpo::http::plain::{Moment, Plain, Remembered};

/// What a worker reads into and answers into; connections keep only what is left of both.
#[derive(Debug)]
pub(super) struct Buffers {
    input: Box<[u8]>,
    output: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self {
            input: vec![0; HTTP_READ_BYTES].into_boxed_slice(),
            output: Vec::new(),
        }
    }
}

/// A connection on the short way.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// Bytes that came and are not answered yet: part of a request, mostly nothing.
    unread: Vec<u8>,
    /// There may be a whole request in there.
    is_fresh: bool,
    /// Bytes of answers that the socket did not take, and how many of them it took since.
    unsent: Vec<u8>,
    sent: usize,
    remembered: Remembered,
}

/// How a connection leaves the short way.
pub(super) enum Leave {
    /// It is over.
    End(End),
    /// hyper is to go on with it, [`Short::unread`] first.
    Hyper,
}

/// What became of bytes that came.
enum Train {
    /// All of them are answered, but for the beginning of a request.
    Done,
    /// There may be more, but others have their turn first.
    More,
    /// There is something that is for hyper.
    Hyper,
}

impl Short {
    /// A connection of which these bytes came already.
    pub(super) fn take_back(&mut self, unread: &[u8]) {
        self.unread.clear();
        self.unread.extend_from_slice(unread);
        self.is_fresh = !unread.is_empty();
    }

    /// What hyper is to read first.
    pub(super) fn hand_over(&mut self) -> Vec<u8> {
        self.is_fresh = false;
        std::mem::take(&mut self.unread)
    }

    /// Serves the connection until it is over, or for hyper.
    pub(super) fn drive(
        &mut self,
        stream: &mut TcpStream,
        worker: &Worker,
        watch: &Watch,
        context: &mut Context<'_>,
    ) -> Poll<Leave> {
        let Some(oracle) = worker.oracle.as_ref().filter(|_| worker.config.short_way) else {
            return Poll::Ready(Leave::Hyper);
        };
        watch.remember(context);
        loop {
            if let Some(reason) = watch.was_cut() {
                return Poll::Ready(Leave::End(End::Cut(reason)));
            }
            // Nothing is read for a client that does not take its answers.
            if !self.unsent.is_empty() {
                match ready!(self.send_rest(stream, worker, watch, context)) {
                    Ok(()) => self.settle(worker, watch, true),
                    Err(_) => return Poll::Ready(Leave::End(End::Done)),
                }
            }
            let buffers = &mut *worker.buffers.borrow_mut();
            let came = if self.is_fresh {
                0
            } else {
                let mut buffer = ReadBuf::new(&mut buffers.input);
                match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                    Poll::Ready(Ok(())) if !buffer.filled().is_empty() => buffer.filled().len(),
                    // The end, or an error: whatever was asked is answered.
                    Poll::Ready(_) => return Poll::Ready(Leave::End(End::Done)),
                    // A half-sent head is waited for.
                    Poll::Pending if watch.is_draining() && self.unread.is_empty() => {
                        return Poll::Ready(Leave::End(End::Done));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            };
            watch.came(came, worker.now_ms());
            let (train, answered) = self.answer(
                &buffers.input[..came],
                &mut buffers.output,
                &mut oracle.borrow_mut(),
                worker,
                watch,
            );
            if self
                .send(stream, &buffers.output, worker, watch, context)
                .is_err()
            {
                return Poll::Ready(Leave::End(End::Done));
            }
            buffers.output.clear();
            self.settle(worker, watch, answered);
            if !self.unsent.is_empty() {
                // What hyper gets must not overtake it.
                continue;
            }
            match train {
                Train::Hyper => return Poll::Ready(Leave::Hyper),
                Train::Done if came < buffers.input.len() => {}
                // Through the runtime's own yielding, which looks at the sockets before it goes
                // on: a mere wake would be served before anybody else's request is seen.
                Train::Done | Train::More => {
                    let _ = pin!(tokio::task::yield_now()).poll(context);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Answers what is unread and what came, into `output`; tells whether it answered anything.
    fn answer(
        &mut self,
        came: &[u8],
        output: &mut Vec<u8>,
        oracle: &mut Oracle,
        worker: &Worker,
        watch: &Watch,
    ) -> (Train, bool) {
        let mut unread = std::mem::take(&mut self.unread);
        let bytes = if unread.is_empty() {
            came
        } else {
            unread.extend_from_slice(came);
            &unread
        };
        let (mut at, mut answered) = (0, 0);
        // Answers of a worker that stops say that the connection ends, which hyper sees to.
        let train = if worker.is_draining() {
            Train::Hyper
        } else {
            let arrived_ns = clock::unix_nanos();
            oracle.ask_at(arrived_ns, |answerer, keys, desk| {
                let mut moment = Moment {
                    arrived_ns,
                    now_ns: arrived_ns,
                    keys,
                    peer: watch.peer(),
                };
                while answered < HTTP_TRAIN {
                    match answerer.plain(&bytes[at..], moment, &mut self.remembered, desk, output) {
                        Plain::Answered { length, now_ns } => {
                            at += length;
                            answered += 1;
                            moment.now_ns = now_ns;
                            let latency_ns = now_ns.saturating_sub(arrived_ns);
                            worker.counters.latency.record(latency_ns, 1);
                        }
                        Plain::Partial => return Train::Done,
                        Plain::Other => return Train::Hyper,
                    }
                }
                Train::More
            })
        };
        worker.counters.answered_short(answered as u64);
        if unread.is_empty() {
            unread.extend_from_slice(&came[at..]);
        } else {
            unread.drain(..at);
        }
        self.unread = unread;
        self.is_fresh = !matches!(train, Train::Done);
        (train, answered > 0)
    }

    /// Sends answers; what the socket does not take is kept.
    fn send(
        &mut self,
        stream: &mut TcpStream,
        answers: &[u8],
        worker: &Worker,
        watch: &Watch,
        context: &mut Context<'_>,
    ) -> io::Result<()> {
        if answers.is_empty() {
            return Ok(());
        }
        let written = Pin::new(stream).poll_write(context, answers);
        watch.wrote(&written, worker.now_ms());
        let sent = match written {
            Poll::Ready(result) => result?,
            Poll::Pending => 0,
        };
        self.unsent.extend_from_slice(&answers[sent..]);
        Ok(())
    }

    /// Sends what was kept, all of it.
    fn send_rest(
        &mut self,
        stream: &mut TcpStream,
        worker: &Worker,
        watch: &Watch,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.unsent.len() {
            let written = Pin::new(&mut *stream).poll_write(context, &self.unsent[self.sent..]);
            watch.wrote(&written, worker.now_ms());
            match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.sent += count,
            }
        }
        // A slow client once is no reason to hold memory for it for ever.
        (self.unsent, self.sent) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// Says what the connection waits for now; `anew` if that is not what it waited for before.
    fn settle(&self, worker: &Worker, watch: &Watch, anew: bool) {
        let now_ms = worker.now_ms();
        if !self.unsent.is_empty() {
            watch.enter(Phase::Busy, now_ms);
        } else if self.unread.is_empty() {
            watch.enter(Phase::Idle, now_ms);
        } else if anew {
            watch.begins(self.unread.len(), now_ms);
        }
    }
}
