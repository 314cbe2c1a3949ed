//! One connection: who is waiting for whom, since when, and when that ends.
//!
//! hyper's own head timeout starts with the wait for a request, so it cannot tell a slow
//! sender from a kept-alive connection at rest. Here the stream is watched from below: the
//! first byte after an answer begins a head, the service's call ends it. A watch costs a few
//! cell writes per request and no timer; the worker's sweep compares times.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use super::WebConfig;
use super::counters::CutReason;
use super::service::Service;
use super::short::{Leave, Short};
use super::worker::Worker;
use crate::limits::{HTTP_HEAD_BYTES, HTTP_PLAIN_AGAIN};
use crate::lpo::http::problem::Problem;

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing came yet.
    New,
    /// Part of a head came.
    Head,
    /// A request is being answered; a body has a timer of its own.
    Busy,
    /// The last request is answered.
    Idle,
}

/// What the worker, the stream and the service share of a connection.
#[derive(Debug)]
pub(super) struct Watch {
    peer: Option<IpAddr>,
    phase: Cell<Phase>,
    /// When the phase began, on the worker's coarse clock, milliseconds.
    since_ms: Cell<u64>,
    /// Since when the client takes nothing of what is to be written.
    blocked_ms: Cell<Option<u64>>,
    head_bytes: Cell<usize>,
    cut: Cell<Option<CutReason>>,
    draining: Cell<bool>,
    /// Whether the client may still be sending when the connection ends.
    linger: Cell<bool>,
    /// Requests in a row that hyper served and that could have gone the short way.
    plain: Cell<u32>,
    waker: RefCell<Option<Waker>>,
    /// Its place in the worker's list.
    pub(super) place: Cell<usize>,
}

/// A stream that tells its watch what happens on it.
pub(super) struct WatchedStream {
    stream: TcpStream,
    watch: Rc<Watch>,
    worker: Rc<Worker>,
    /// What was read before hyper was there, and how much of it hyper has read.
    before: Vec<u8>,
    before_read: usize,
}

type Http = http1::Connection<TokioIo<WatchedStream>, Service>;

/// How a connection ends.
pub(super) enum End {
    Done,
    Failed(hyper::Error),
    Cut(CutReason),
}

/// How hyper is done with a connection.
enum Left {
    End(End),
    /// It is at rest, and its client asks in the plain way.
    Plain,
}

impl Watch {
    pub(super) const fn new(peer: Option<IpAddr>, now_ms: u64) -> Self {
        Self {
            peer,
            phase: Cell::new(Phase::New),
            since_ms: Cell::new(now_ms),
            blocked_ms: Cell::new(None),
            head_bytes: Cell::new(0),
            cut: Cell::new(None),
            draining: Cell::new(false),
            linger: Cell::new(false),
            plain: Cell::new(0),
            waker: RefCell::new(None),
            place: Cell::new(0),
        }
    }

    /// Who is at the other end.
    pub(super) const fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub(super) fn enter(&self, phase: Phase, now_ms: u64) {
        self.phase.set(phase);
        self.since_ms.set(now_ms);
        if phase == Phase::Idle {
            self.head_bytes.set(0);
        }
    }

    /// A head began to come behind an answer, and so much of it is there.
    pub(super) fn begins(&self, bytes: usize, now_ms: u64) {
        self.enter(Phase::Head, now_ms);
        self.head_bytes.set(bytes);
    }

    /// hyper will read the head that is coming from its beginning.
    fn is_read_again(&self) {
        self.head_bytes.set(0);
        self.plain.set(0);
    }

    /// hyper served a request that could have gone the short way, or one that could not.
    pub(super) fn was_plain(&self, plain: bool) {
        self.plain.set(if plain { self.plain.get() + 1 } else { 0 });
    }

    /// Whether hyper is at rest with a client that asks in the plain way.
    fn is_plain_again(&self) -> bool {
        self.plain.get() >= HTTP_PLAIN_AGAIN
            && self.phase.get() == Phase::Idle
            && self.blocked_ms.get().is_none()
            && !self.draining.get()
    }

    pub(super) fn was_cut(&self) -> Option<CutReason> {
        self.cut.get()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Bytes that came since the last answer.
    pub(super) fn head_bytes(&self) -> usize {
        self.head_bytes.get()
    }

    /// The connection will end while its client may still be sending.
    pub(super) fn will_linger(&self) {
        self.linger.set(true);
    }

    /// Cuts the connection if its time is up; `now_ms` is the worker's coarse clock, which
    /// may be `coarse_ms` behind at each reading.
    pub(super) fn sweep(&self, config: &WebConfig, now_ms: u64, coarse_ms: u64) {
        let over = |since_ms: u64, limit: Duration| {
            u128::from(now_ms.saturating_sub(since_ms)) > limit.as_millis() + u128::from(coarse_ms)
        };
        let since_ms = self.since_ms.get();
        let reason = match self.phase.get() {
            _ if self
                .blocked_ms
                .get()
                .is_some_and(|since| over(since, config.write)) =>
            {
                Some(CutReason::SlowReader)
            }
            Phase::New | Phase::Head => over(since_ms, config.head).then_some(CutReason::SlowHead),
            Phase::Idle => over(since_ms, config.idle).then_some(CutReason::Idle),
            Phase::Busy => None,
        };
        if reason.is_some() {
            self.cut.set(reason);
            self.wake();
        }
    }

    /// Lets the connection end once nothing is in flight on it.
    pub(super) fn drain(&self) {
        if !self.draining.replace(true) {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    pub(super) fn remember(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(known) => known.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }

    pub(super) fn came(&self, bytes: usize, now_ms: u64) {
        match self.phase.get() {
            // The time for the first head runs from the connecting on.
            Phase::New => self.phase.set(Phase::Head),
            Phase::Idle => self.enter(Phase::Head, now_ms),
            Phase::Head | Phase::Busy => {}
        }
        if self.phase.get() == Phase::Head {
            self.head_bytes.set(self.head_bytes.get() + bytes);
        }
    }

    pub(super) fn wrote<T>(&self, result: &Poll<T>, now_ms: u64) {
        if result.is_ready() {
            self.blocked_ms.set(None);
        } else if self.blocked_ms.get().is_none() {
            self.blocked_ms.set(Some(now_ms));
        }
    }

    /// Drives the connection until it is over, is cut, or is drained.
    fn drive(&self, http: &mut Http, drained: &mut bool, context: &mut Context<'_>) -> Poll<Left> {
        self.remember(context);
        loop {
            if let Some(reason) = self.cut.get() {
                return Poll::Ready(Left::End(End::Cut(reason)));
            }
            match http.poll_without_shutdown(context) {
                Poll::Ready(Ok(())) => return Poll::Ready(Left::End(End::Done)),
                Poll::Ready(Err(error)) => return Poll::Ready(Left::End(End::Failed(error))),
                Poll::Pending => {}
            }
            // The stream may have cut the connection while it was polled.
            if let Some(reason) = self.cut.get() {
                return Poll::Ready(Left::End(End::Cut(reason)));
            }
            if self.is_plain_again() {
                return Poll::Ready(Left::Plain);
            }
            // A half-sent head is waited for: hyper would drop it.
            if *drained || !self.draining.get() || self.phase.get() == Phase::Head {
                return Poll::Pending;
            }
            *drained = true;
            Pin::new(&mut *http).graceful_shutdown();
        }
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(worker: Rc<Worker>, mut stream: TcpStream, watch: Rc<Watch>) {
    // Without it the second of two small segments would wait for the first one's
    // acknowledgement; an error here is a connection that is gone already.
    let _ = stream.set_nodelay(true);
    let mut short = Short::default();
    let end = loop {
        let drive = |context: &mut Context<'_>| short.drive(&mut stream, &worker, &watch, context);
        if let Leave::End(end) = std::future::poll_fn(drive).await {
            break end;
        }
        let (back, left) = serve_by_hyper(&worker, stream, &watch, &mut short).await;
        stream = back;
        if let Left::End(end) = left {
            break end;
        }
    };
    finish(&worker, &watch, stream, end).await;
}

/// Lets hyper serve a connection, with what was read of it already.
async fn serve_by_hyper(
    worker: &Rc<Worker>,
    stream: TcpStream,
    watch: &Rc<Watch>,
    short: &mut Short,
) -> (TcpStream, Left) {
    watch.is_read_again();
    let io = TokioIo::new(WatchedStream {
        stream,
        watch: Rc::clone(watch),
        worker: Rc::clone(worker),
        before: short.hand_over(),
        before_read: 0,
    });
    let service = Service::new(Rc::clone(worker), Rc::clone(watch));
    let mut http = Box::new(
        http1::Builder::new()
            .header_read_timeout(None)
            // Or a client that ends its sending side behind a request would go without its answer
            // whenever that end is seen before the answer is written.
            .half_close(true)
            .max_buf_size(2 * HTTP_HEAD_BYTES)
            .serve_connection(io, service),
    );
    let mut drained = false;
    let left = std::future::poll_fn(|context| watch.drive(&mut http, &mut drained, context)).await;
    let parts = http.into_parts();
    let io = parts.io.into_inner();
    // At rest hyper has read all there was, and answered it but for the beginning of a head.
    let unread = [&parts.read_buf, &io.before[io.before_read..]].concat();
    short.take_back(&unread);
    if matches!(left, Left::Plain) && !unread.is_empty() {
        watch.begins(unread.len(), worker.now_ms());
    }
    (io.stream, left)
}

/// Says what is to be said to a client whose connection ends, and sees that it can hear it.
async fn finish(worker: &Worker, watch: &Watch, mut stream: TcpStream, end: End) {
    let mut linger = watch.linger.get();
    match end {
        End::Done => {}
        End::Failed(error) => {
            // hyper answers what is no HTTP with a bare 400 (or 431, 414) by itself.
            if error.is_parse() {
                worker.counters.was_cut(CutReason::Malformed);
                linger = true;
            }
        }
        End::Cut(reason) => {
            worker.counters.was_cut(reason);
            // After an answer that was not taken nothing can be said any more.
            let unsaid = watch.blocked_ms.get().is_none() && watch.head_bytes() > 0;
            let farewell = match reason {
                CutReason::SlowHead if unsaid => Some((Problem::SlowRequest, SLOW_HEAD)),
                CutReason::LongHead if unsaid => Some((Problem::HeadTooLarge, LONG_HEAD)),
                _ => None,
            };
            if let Some((problem, detail)) = farewell {
                worker.counters.responded(problem.status());
                linger = stream.try_write(&problem.closing_bytes(detail)).is_ok();
            }
        }
    }
    if linger {
        let _ = tokio::time::timeout(worker.config.linger, discard(&mut stream)).await;
    } else {
        let _ = stream.shutdown().await;
    }
}

/// Ends the sending side and reads what the client still sends: closing a socket with unread
/// bytes resets the connection, and a reset may overtake the answer.
async fn discard(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut bytes = [0; 4_096];
    for _ in 0..DISCARDED_READS {
        if stream.read(&mut bytes).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Most reads of what nobody wants: 4 MiB at most.
const DISCARDED_READS: usize = 1_024;

const SLOW_HEAD: &str = "The request's head did not come in time: send it at once.";
pub(super) const LONG_HEAD: &str =
    "The request's head is too long or has too many fields: send fewer and shorter ones.";

impl AsyncRead for WatchedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let watch = &this.watch;
        let before = &this.before[this.before_read..];
        if !before.is_empty() {
            let count = before.len().min(buffer.remaining());
            buffer.put_slice(&before[..count]);
            this.before_read += count;
            watch.came(count, this.worker.now_ms());
            return Poll::Ready(Ok(()));
        }
        // hyper asks for more of a head that is as long as one may be.
        if watch.phase.get() == Phase::Head && watch.head_bytes.get() >= HTTP_HEAD_BYTES {
            watch.cut.set(Some(CutReason::LongHead));
            return Poll::Pending;
        }
        // Nor is it given so much at a time that it would refuse the head before this is noticed:
        // it has no document for that.
        let room = match watch.phase.get() {
            Phase::Busy => usize::MAX,
            _ => HTTP_HEAD_BYTES + 1 - watch.head_bytes.get().min(HTTP_HEAD_BYTES),
        };
        let filled = buffer.filled().len();
        let result = if buffer.remaining() > room {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(room));
            let result = Pin::new(&mut this.stream).poll_read(context, &mut part);
            let count = part.filled().len();
            buffer.advance(count);
            result
        } else {
            Pin::new(&mut this.stream).poll_read(context, buffer)
        };
        let bytes = buffer.filled().len() - filled;
        if bytes > 0 {
            watch.came(bytes, this.worker.now_ms());
        }
        result
    }
}

impl AsyncWrite for WatchedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch.wrote(&result, this.worker.now_ms());
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(context, parts);
        this.watch.wrote(&result, this.worker.now_ms());
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
