//! The driver that works everywhere: it waits in the call that receives, or in poll(2) where it
//! may not wait for long. One descriptor needs no epoll set; the name is the one operators know
//! for "not io_uring".

use std::os::fd::RawFd;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Driver;

/// Waits in poll(2).
#[derive(Debug)]
pub struct EpollDriver {
    socket: RawFd,
}

impl EpollDriver {
    /// Waits for `socket`, which must outlive the driver; a closed descriptor makes it return
    /// at once, nothing worse.
    pub const fn new(socket: RawFd) -> Self {
        Self { socket }
    }

    /// Runs a shard's future to its end on the calling thread. On this driver `park` blocks
    /// and nothing is ever pending, so one poll is all it takes.
    pub fn run<F: Future>(future: F) -> F::Output {
        let mut future = pin!(future);
        let mut context = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
        }
    }
}

impl Driver for EpollDriver {
    async fn park(&mut self, timeout: Duration) {
        poll(self.socket, timeout);
    }

    fn waits_in_receive(&self) -> bool {
        true
    }
}

/// Blocks the thread until a datagram is there, or for the timeout, or for no reason.
pub(super) fn poll(socket: RawFd, timeout: Duration) {
    let mut poll = libc::pollfd {
        fd: socket,
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: poll(2) reads and writes `nfds` = 1 pollfd at the pointer, which is live. An
    // error (EINTR) is a wake for no reason, which `park` allows.
    unsafe { libc::poll(&raw mut poll, 1, timeout) };
}
