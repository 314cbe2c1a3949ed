//! The batched UDP socket: one `recvmmsg` in, one `sendmmsg` out a batch.
//!
//! A message that comes in may be a train: datagrams of one sender that the kernel joined. It is
//! taken apart here; a batch is at most [`BATCH_MESSAGES`] datagrams, so a turn may see several
//! batches of one `recvmmsg`. The socket stays in blocking mode, and calls that must not wait say
//! MSG_DONTWAIT: an io_uring driver may then wait on the same socket.
#![expect(unsafe_code, reason = "a socket option that no safe crate wraps")]

mod group;
mod incoming;
mod outgoing;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use socket2::Socket;
use trinity_protocol::MAX_DATAGRAM;

pub use self::group::{Steering, bind_group, join_trains};
pub use self::incoming::PeerAddress;
use self::incoming::{Incoming, Wait};
use self::outgoing::Outgoing;
use crate::limits::BATCH_MESSAGES;
use crate::lpo::udp::{Batch, reply_place};

/// A shard's socket with its buffers. Not `Send`: it is made on the thread that uses it.
pub struct BatchSocket {
    socket: Socket,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Where the next batch begins: a message, and an offset in it.
    next: (usize, usize),
    datagrams: [Datagram; BATCH_MESSAGES],
    len: usize,
    /// Where the place of each datagram's reply begins, and the last one ends.
    starts: [u32; BATCH_MESSAGES + 1],
    /// Datagrams of the batch that came joined with others.
    joined: usize,
}

/// Where a datagram of the batch lies.
#[derive(Clone, Copy, Default)]
struct Datagram {
    slot: u8,
    start: u16,
    len: u16,
}

/// What the kernel granted and offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Receive buffer, bytes as the kernel counts them (with its overhead).
    pub receive_bytes: usize,
    /// Send buffer, bytes as the kernel counts them.
    pub send_bytes: usize,
    /// Whether the kernel joins datagrams that came in a train (UDP_GRO).
    pub joins: bool,
}

/// What a socket's receive buffer has been through (SO_MEMINFO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Bytes that wait, as the kernel counts them.
    pub held_bytes: u32,
    /// Bytes that may wait.
    pub limit_bytes: u32,
    /// Datagrams dropped since the socket was made because the buffer was full.
    pub drops: u32,
}

impl BatchSocket {
    /// Wraps a bound socket.
    pub fn new(socket: Socket) -> Self {
        Self {
            socket,
            incoming: Incoming::new(),
            outgoing: Outgoing::new(),
            next: (0, 0),
            datagrams: [Datagram::default(); BATCH_MESSAGES],
            len: 0,
            starts: [0; BATCH_MESSAGES + 1],
            joined: 0,
        }
    }

    /// Receives up to [`BATCH_MESSAGES`] messages without waiting; tells how many. Then
    /// [`BatchSocket::next_batch`] gives their datagrams.
    #[inline]
    pub fn receive(&mut self) -> io::Result<usize> {
        self.clear();
        self.incoming.receive(self.socket.as_raw_fd(), Wait::No)
    }

    /// The same, but waits for the first message as long as [`BatchSocket::set_wait`] said: one
    /// system call less than to wait first and then receive.
    #[inline]
    pub fn receive_or_wait(&mut self) -> io::Result<usize> {
        self.clear();
        self.incoming.receive(self.socket.as_raw_fd(), Wait::ForOne)
    }

    /// How long [`BatchSocket::receive_or_wait`] waits.
    pub fn set_wait(&self, time: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(time))
    }

    /// Whether the last call brought as many messages as it asked for, so that there may be more.
    pub const fn is_full(&self) -> bool {
        self.incoming.is_full()
    }

    /// Goes on to the next batch of what was received; tells how many datagrams it has, 0 when
    /// there are no more. The replies of the batch before it must have been sent.
    ///
    /// A train is in two batches only if it has more datagrams than one batch.
    #[inline]
    pub fn next_batch(&mut self) -> usize {
        self.len = 0;
        self.joined = 0;
        self.outgoing.clear();
        while self.next.0 < self.incoming.received() {
            let (slot, offset) = self.next;
            let bytes = self.incoming.message(slot).len() - offset;
            let each = self.incoming.segment_bytes(slot);
            // A datagram may be empty.
            let datagrams = bytes.div_ceil(each).max(1);
            if self.len > 0 && self.len + datagrams > BATCH_MESSAGES {
                break;
            }
            let taken = datagrams.min(BATCH_MESSAGES);
            for i in 0..taken {
                let start = offset + i * each;
                self.push(slot, start, each.min(offset + bytes - start));
            }
            if datagrams > 1 || offset > 0 {
                self.joined += taken;
            }
            if taken < datagrams {
                self.next.1 += taken * each;
                break;
            }
            self.next = (slot + 1, 0);
        }
        self.len
    }

    /// Datagrams of the batch that came joined with others of their sender.
    pub const fn joined(&self) -> usize {
        self.joined
    }

    /// The batch, to be answered.
    #[inline]
    pub fn batch(&mut self) -> Batch<'_> {
        let mut batch = Batch::new(self.outgoing.replies(), &self.starts);
        for datagram in &self.datagrams[..self.len] {
            let slot = usize::from(datagram.slot);
            let message = self.incoming.message(slot);
            let start = usize::from(datagram.start);
            let datagram = &message[start..start + usize::from(datagram.len)];
            batch.push(datagram, self.incoming.sender(slot));
        }
        batch
    }

    /// A datagram of the batch and the place for its reply.
    #[inline]
    pub fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8]) {
        let Datagram { slot, start, len } = self.datagrams[..self.len][index];
        let message = self.incoming.message(usize::from(slot));
        let start = usize::from(start);
        let place = self.starts[index] as usize..self.starts[index + 1] as usize;
        (
            &message[start..start + usize::from(len)],
            &mut self.outgoing.replies()[place],
        )
    }

    /// The address that a datagram of the batch came from.
    ///
    /// # Panics
    ///
    /// If there is no such datagram.
    pub fn peer(&self, index: usize) -> PeerAddress {
        self.incoming
            .peer(usize::from(self.datagrams[..self.len][index].slot))
    }

    /// Ends the batch, whose replies were sent, and drops what else was received: all places are
    /// free for [`BatchSocket::recall`].
    pub fn clear(&mut self) {
        self.incoming.clear();
        self.outgoing.clear();
        self.next = (0, 0);
        self.len = 0;
        self.joined = 0;
    }

    /// Adds a place to a batch that was cleared, as if an empty datagram of this peer had come, for
    /// a reply to one that came earlier; `None` if all places are taken.
    pub fn recall(&mut self, peer: &PeerAddress) -> Option<usize> {
        let slot = self.incoming.recall(peer)?;
        let index = self.len;
        self.push(slot, 0, 0);
        self.starts[index + 1] = self.starts[index] + MAX_DATAGRAM as u32;
        self.next = (slot + 1, 0);
        Some(index)
    }

    /// Queues the reply to a datagram of the batch, `len` bytes of its place.
    ///
    /// # Panics
    ///
    /// If there is no such datagram, if its place is shorter, or if more replies are queued than
    /// there are datagrams.
    #[inline]
    pub fn queue(&mut self, index: usize, len: usize) {
        let slot = self.datagrams[..self.len][index].slot;
        let start = self.starts[index] as usize;
        assert!(start + len <= self.starts[index + 1] as usize && self.outgoing.queued() < self.len);
        self.outgoing.queue(usize::from(slot), start, len);
    }

    /// Sends what is queued; tells how many replies the kernel did not take.
    ///
    /// Replies of one length to one peer go as one message that the kernel cuts up. A reply
    /// that cannot be sent is given up: its client asks again, free of charge.
    #[inline]
    pub fn send(&mut self) -> usize {
        self.outgoing.send(self.socket.as_raw_fd(), &self.incoming)
    }

    /// Replies queued now.
    pub const fn queued(&self) -> usize {
        self.outgoing.queued()
    }

    /// What the kernel granted.
    pub fn granted(&self) -> io::Result<Granted> {
        Ok(Granted {
            receive_bytes: self.socket.recv_buffer_size()?,
            send_bytes: self.socket.send_buffer_size()?,
            joins: group::joins(&self.socket),
        })
    }

    /// How full the receive buffer is, and what was dropped because it was full (SO_MEMINFO).
    pub fn backlog(&self) -> io::Result<Backlog> {
        const SO_MEMINFO: libc::c_int = 55;
        let mut words = [0_u32; 9];
        let mut len = size_of_val(&words) as libc::socklen_t;
        // SAFETY: getsockopt(2): `optval` points to `optlen` writable bytes, and the kernel
        // writes at most that many (sock_diag(7) lists the nine 32-bit words).
        let failed = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_MEMINFO,
                words.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if failed == 0 {
            Ok(Backlog {
                held_bytes: words[0],
                limit_bytes: words[1],
                drops: words[8],
            })
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// A second descriptor of the same socket, for a driver that wants to own one.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    #[inline]
    fn push(&mut self, slot: usize, start: usize, len: usize) {
        self.datagrams[self.len] = Datagram {
            slot: slot as u8,
            start: start as u16,
            len: len as u16,
        };
        self.starts[self.len + 1] = self.starts[self.len] + reply_place(len) as u32;
        self.len += 1;
    }
}

impl AsRawFd for BatchSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl std::fmt::Debug for BatchSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
pub(super) mod tests;
