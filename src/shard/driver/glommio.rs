//! The io_uring driver: glommio's executor, and of its network stack only `peek_from`.
//!
//! `peek_from` of one byte returns when a datagram is there without taking it; the turn then
//! drains the socket with `recvmmsg`, which glommio has no call for. It allocates when it has
//! to wait, never while datagrams are there: parking is not part of a turn.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::time::Duration;

use glommio::net::UdpSocket;
use glommio::{LocalExecutorBuilder, Placement};

use super::Driver;
use super::epoll::poll;
use crate::limits::PARK_WAITING_MS;

/// Waits in glommio's reactor.
#[derive(Debug)]
pub struct GlommioDriver {
    socket: UdpSocket,
}

/// What glommio raises smaller numbers to.
const IO_MEMORY_BYTES: usize = 64 << 10;
/// Entries of each of glommio's rings.
const RING_DEPTH: usize = 16;

impl GlommioDriver {
    /// Takes a duplicate of the shard's socket. Must be called inside [`GlommioDriver::run`].
    pub fn new(socket: OwnedFd) -> Self {
        // SAFETY: `OwnedFd::into_raw_fd` gives up the ownership of an open descriptor, and
        // `from_raw_fd` takes it: there is one owner at any time. It is a UDP socket.
        let socket = unsafe { UdpSocket::from_raw_fd(socket.into_raw_fd()) };
        Self { socket }
    }

    /// Runs a shard's future to its end on an executor of the calling thread, which is pinned
    /// already. The probe must have passed: without io_uring glommio ends the process.
    pub fn run<F: Future>(future: F) -> io::Result<F::Output> {
        let executor = LocalExecutorBuilder::new(Placement::Unbound)
            // A shard waits for one byte of one socket at a time: the smallest rings and the
            // least registered memory are plenty, and that memory is resident.
            .io_memory(IO_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .make()
            .map_err(|error| io::Error::other(format!("glommio did not start: {error}")))?;
        Ok(executor.run(future))
    }
}

impl Driver for GlommioDriver {
    async fn park(&mut self, timeout: Duration) {
        // While requests wait for prices every millisecond counts, and the reactor's timers are
        // less punctual than the kernel's. Nothing else runs on this executor: it may be blocked.
        if timeout <= Duration::from_millis(PARK_WAITING_MS) {
            return poll(self.socket.as_raw_fd(), timeout);
        }
        // A refused timeout (zero) or a failed wait is a wake for no reason, which `park`
        // allows; the turn after it sees the socket's own error.
        if self.socket.set_read_timeout(Some(timeout)).is_ok() {
            let _ = self.socket.peek_from(&mut [0]).await;
        }
    }
}
