//! The batched UDP socket: one `recvmmsg` in, one `sendmmsg` out.
//!
//! All memory that the kernel is told about lives in one arena that is made once, never
//! moved and never resized, so the addresses in the message headers stay good for the
//! socket's life. It is reached through one raw pointer only, from which every address is
//! derived; references are made to one field at a time. The socket stays in blocking mode and
//! every call says MSG_DONTWAIT: an io_uring driver may then wait on the same socket.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and socket options that no safe crate wraps"
)]

mod group;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr::{self, NonNull};

use socket2::Socket;
use trinity_protocol::MAX_DATAGRAM;

use super::trains::{Peer, Trains};
use crate::limits::{BATCH_MESSAGES, RECEIVE_SLOT_BYTES};

pub use group::{Steering, bind_group};

/// A shard's socket with its buffers. Not `Send`: it is made on the thread that uses it.
pub struct BatchSocket {
    socket: Socket,
    /// Owned: made by `Box::into_raw`, freed in `drop`.
    arena: NonNull<Arena>,
    received: usize,
    queue: [Queued; BATCH_MESSAGES],
    queued: usize,
    trains: Trains,
    /// Whether the kernel segments for this socket; false for good once it refused to.
    segments: bool,
}

/// A reply to be sent.
#[derive(Clone, Copy, Default)]
struct Queued {
    index: u8,
    len: u16,
}

/// What the kernel reads and writes. The headers and parts point into the other fields.
struct Arena {
    slots: [[u8; RECEIVE_SLOT_BYTES]; BATCH_MESSAGES],
    peers: [libc::sockaddr_storage; BATCH_MESSAGES],
    incoming_parts: [libc::iovec; BATCH_MESSAGES],
    incoming: [libc::mmsghdr; BATCH_MESSAGES],
    replies: [[u8; MAX_DATAGRAM]; BATCH_MESSAGES],
    outgoing_parts: [libc::iovec; BATCH_MESSAGES],
    outgoing: [libc::mmsghdr; BATCH_MESSAGES],
    controls: [SegmentSize; BATCH_MESSAGES],
}

/// The control message that asks for segments of `size` bytes (udp(7), UDP_SEGMENT).
#[repr(C)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: u16,
}

/// Where a datagram came from, and where its answer goes.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress {
    bytes: Peer,
    len: u8,
}

/// What the kernel granted and offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// Receive buffer, bytes as the kernel counts them (with its overhead).
    pub receive_bytes: usize,
    /// Send buffer, bytes as the kernel counts them.
    pub send_bytes: usize,
}

impl BatchSocket {
    /// Wraps a bound socket.
    pub fn new(socket: Socket) -> Self {
        // SAFETY: `Arena` is made of integers, and of C structs of integers and pointers; all
        // zeros is a value of each (AF_UNSPEC, null).
        let arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        let arena = NonNull::from(Box::leak(arena));
        let at = arena.as_ptr();
        for i in 0..BATCH_MESSAGES {
            // SAFETY: `at` points to the live arena that only this function knows yet; places
            // are taken of its fields without making references, and plain values are written.
            unsafe {
                (*at).incoming_parts[i] = libc::iovec {
                    iov_base: (&raw mut (*at).slots[i]).cast(),
                    iov_len: RECEIVE_SLOT_BYTES,
                };
                let header = &raw mut (*at).incoming[i].msg_hdr;
                (*header).msg_name = (&raw mut (*at).peers[i]).cast();
                (*header).msg_namelen = PEER_LEN;
                (*header).msg_iov = &raw mut (*at).incoming_parts[i];
                (*header).msg_iovlen = 1;
                // What of an outgoing header depends on its train is written by `load`.
                let control = &raw mut (*at).controls[i].header;
                (*control).cmsg_len = SEGMENT_SIZE_LEN as _;
                (*control).cmsg_level = libc::SOL_UDP;
                (*control).cmsg_type = libc::UDP_SEGMENT;
            }
        }
        Self {
            socket,
            arena,
            received: 0,
            queue: [Queued::default(); BATCH_MESSAGES],
            queued: 0,
            trains: Trains::new(),
            segments: true,
        }
    }

    /// Receives up to a batch without waiting; 0 if nothing is there.
    #[inline]
    pub fn receive(&mut self) -> io::Result<usize> {
        // SAFETY: the arena is live, and `&mut self` makes this the only reference into
        // `incoming`.
        let incoming = unsafe { &mut (*self.arena.as_ptr()).incoming };
        forget(&mut incoming[..self.received]);
        self.received = 0;
        self.queued = 0;
        // SAFETY: recvmmsg(2): `msgvec` points to `vlen` headers. Each header's name and iovec
        // point into other fields of the live arena, with their true lengths, and nobody holds a
        // reference to those during the call (`&mut self`). MSG_DONTWAIT makes the call return
        // at once; no timeout is given.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                incoming.as_mut_ptr(),
                BATCH_MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        self.received = count as usize;
        Ok(self.received)
    }

    /// A datagram of the last batch and the place for its reply.
    ///
    /// A datagram longer than its slot comes cut to the slot's length, which is longer than
    /// any valid datagram.
    #[inline]
    pub fn exchange(&mut self, index: usize) -> (&[u8], &mut [u8; MAX_DATAGRAM]) {
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live; the two references are to different fields, and their
        // lifetime is that of `&mut self`, so no call of the kernel can happen meanwhile.
        let (slot, reply, len) = unsafe {
            (
                &(*at).slots[index],
                &mut (*at).replies[index],
                (*at).incoming[index].msg_len as usize,
            )
        };
        (&slot[..len.min(RECEIVE_SLOT_BYTES)], reply)
    }

    /// The address that a datagram of the last batch came from.
    ///
    /// # Panics
    ///
    /// If no such datagram was received.
    pub fn peer(&self, index: usize) -> PeerAddress {
        assert!(index < self.received);
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody writes to it (`&self`); a `sockaddr_storage` is
        // longer than a `Peer`, and all its bytes were written (zeros, then the kernel's).
        let (bytes, len) = unsafe {
            (
                (&raw const (*at).peers[index]).cast::<Peer>().read(),
                (*at).incoming[index].msg_hdr.msg_namelen,
            )
        };
        PeerAddress {
            bytes,
            len: len.min(size_of::<Peer>() as libc::socklen_t) as u8,
        }
    }

    /// Ends the last batch, whose replies were sent: its places are free for
    /// [`BatchSocket::recall`].
    pub fn clear(&mut self) {
        // SAFETY: the arena is live, and `&mut self` makes this the only reference into
        // `incoming`.
        let incoming = unsafe { &mut (*self.arena.as_ptr()).incoming };
        forget(&mut incoming[..self.received]);
        self.received = 0;
        self.queued = 0;
    }

    /// Adds a place to the batch, as if an empty datagram of this peer had come, for a reply to
    /// one that came earlier; `None` if all places are taken.
    pub fn recall(&mut self, peer: &PeerAddress) -> Option<usize> {
        let index = self.received;
        if index == BATCH_MESSAGES {
            return None;
        }
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody refers into it (`&mut self`); a `sockaddr_storage`
        // is longer than a `Peer`, and the length is that of an address within it.
        unsafe {
            (&raw mut (*at).peers[index]).cast::<Peer>().write(peer.bytes);
            (*at).incoming[index].msg_hdr.msg_namelen = peer.len.into();
            (*at).incoming[index].msg_len = 0;
        }
        self.received += 1;
        Some(index)
    }

    /// Queues the reply to a datagram of the last batch, `len` bytes of its place.
    ///
    /// # Panics
    ///
    /// If more replies are queued than datagrams were received.
    #[inline]
    pub fn queue(&mut self, index: usize, len: usize) {
        assert!(index < self.received && self.queued < self.received && len <= MAX_DATAGRAM);
        self.queue[self.queued] = Queued {
            index: index as u8,
            len: len as u16,
        };
        self.queued += 1;
    }

    /// Sends what is queued; tells how many replies the kernel did not take.
    ///
    /// Replies of one length to one peer go as one message that the kernel cuts up. A reply
    /// that cannot be sent is given up: its client asks again, free of charge.
    #[inline]
    pub fn send(&mut self) -> usize {
        self.arrange();
        let mut next = 0;
        let mut failed = 0;
        let trains = self.trains.len();
        self.load();
        while next < trains {
            // SAFETY: the arena is live, and `&mut self` makes this the only reference into
            // `outgoing`.
            let rest = unsafe { &mut (&mut (*self.arena.as_ptr()).outgoing)[next..trains] };
            // SAFETY: sendmmsg(2): `msgvec` points to `vlen` headers whose names, iovecs and
            // controls point into other fields of the live arena (set in `load`), with lengths
            // within them; the kernel reads those only, and writes `msg_len` of each header.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if sent > 0 {
                next += sent as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            let count = self.trains.get(next).len();
            match error.kind() {
                io::ErrorKind::Interrupted => {}
                // The send buffer is full: waiting for it would stop the whole shard.
                io::ErrorKind::WouldBlock => {
                    failed += (next..trains)
                        .map(|train| self.trains.get(train).len())
                        .sum::<usize>();
                    break;
                }
                _ if count > 1 => {
                    // A device that cannot checksum refuses segments (EIO), an old kernel does not
                    // know them (EINVAL): neither will ever take them.
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)
                    ) {
                        self.segments = false;
                    }
                    failed += self.send_apart(next);
                    next += 1;
                }
                // This one cannot be sent (no route, a forbidden port); the next may.
                _ => {
                    failed += 1;
                    next += 1;
                }
            }
        }
        self.queued = 0;
        failed
    }

    /// Finds the queued replies that go to one peer.
    fn arrange(&mut self) {
        if !self.segments || self.queued < 2 {
            self.trains.single(self.queued);
            return;
        }
        let mut replies = [([0; _], 0); BATCH_MESSAGES];
        for (reply, queued) in replies.iter_mut().zip(&self.queue[..self.queued]) {
            // SAFETY: the arena is live and nobody writes to it (`&mut self`); `peers` has an
            // address for every received datagram (asserted in `queue`), a `sockaddr_storage` is
            // longer than a `Peer`, and all its bytes were written (zeros, then the kernel's).
            let peer = unsafe {
                (&raw const (*self.arena.as_ptr()).peers[usize::from(queued.index)])
                    .cast::<Peer>()
                    .read()
            };
            *reply = (peer, queued.len);
        }
        self.trains.arrange(&replies[..self.queued]);
    }

    /// Points the outgoing headers at the trains.
    fn load(&mut self) {
        let at = self.arena.as_ptr();
        let mut part = 0;
        for train in 0..self.trains.len() {
            let members = self.trains.get(train);
            let Queued { index, len } = self.queue[usize::from(members[0])];
            // SAFETY: the arena is live and nobody refers into it (`&mut self`). Trains hold every
            // queued reply once, so there are at most BATCH_MESSAGES headers and parts; indexes
            // were asserted in `queue`. Places are taken without making references, and the
            // addresses stay within the arena with lengths that fit their fields.
            unsafe {
                let header = &raw mut (*at).outgoing[train].msg_hdr;
                (*header).msg_name = (&raw mut (*at).peers[usize::from(index)]).cast();
                (*header).msg_namelen = (*at).incoming[usize::from(index)].msg_hdr.msg_namelen;
                (*header).msg_iov = &raw mut (*at).outgoing_parts[part];
                (*header).msg_iovlen = members.len() as _;
                if members.len() > 1 {
                    (*at).controls[train].size = len;
                    (*header).msg_control = (&raw mut (*at).controls[train]).cast();
                    (*header).msg_controllen = size_of::<SegmentSize>() as _;
                } else {
                    (*header).msg_control = ptr::null_mut();
                    (*header).msg_controllen = 0;
                }
                for member in members {
                    let Queued { index, len } = self.queue[usize::from(*member)];
                    (*at).outgoing_parts[part] = libc::iovec {
                        iov_base: (&raw mut (*at).replies[usize::from(index)]).cast(),
                        iov_len: usize::from(len),
                    };
                    part += 1;
                }
            }
        }
    }

    /// Sends the replies of a train one by one; tells how many the kernel did not take.
    fn send_apart(&mut self, train: usize) -> usize {
        let at = self.arena.as_ptr();
        let mut failed = 0;
        for part in 0..self.trains.get(train).len() {
            // SAFETY: the arena is live; the header was set in `load`, and its `msg_iov` points to
            // as many parts as the train has members. The copy refers to one of them.
            let mut header = unsafe { (*at).outgoing[train].msg_hdr };
            header.msg_iov = header.msg_iov.wrapping_add(part);
            header.msg_iovlen = 1;
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
            // SAFETY: sendmsg(2) reads the header and what it points to, all of it in the live
            // arena with lengths within its fields.
            let sent =
                unsafe { libc::sendmsg(self.socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
            failed += usize::from(sent < 0);
        }
        failed
    }

    /// Replies queued now.
    pub const fn queued(&self) -> usize {
        self.queued
    }

    /// What the kernel granted.
    pub fn granted(&self) -> io::Result<Granted> {
        Ok(Granted {
            receive_bytes: self.socket.recv_buffer_size()?,
            send_bytes: self.socket.send_buffer_size()?,
        })
    }

    /// Datagrams that the kernel dropped since the socket was made because its receive
    /// buffer was full (SO_MEMINFO, word 8).
    pub fn drops(&self) -> io::Result<u64> {
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
            Ok(u64::from(words[8]))
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// A second descriptor of the same socket, for a driver that wants to own one.
    pub fn duplicate(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }
}

impl PeerAddress {
    /// An address of these bytes; nothing can be sent to it.
    #[cfg(test)]
    pub(super) const fn for_tests(bytes: Peer) -> Self {
        Self { bytes, len: 28 }
    }
}

impl PartialEq for PeerAddress {
    /// What is behind an address's end is no part of it.
    fn eq(&self, other: &Self) -> bool {
        let of = |peer: &Self| usize::from(peer.len);
        self.len == other.len && self.bytes[..of(self)] == other.bytes[..of(other)]
    }
}

impl Eq for PeerAddress {}

/// Makes headers ready for another batch.
fn forget(incoming: &mut [libc::mmsghdr]) {
    for header in incoming {
        // recvmsg(2): the kernel overwrote it with the length it stored.
        header.msg_hdr.msg_namelen = PEER_LEN;
    }
}

impl AsRawFd for BatchSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl Drop for BatchSocket {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and nobody else frees it; no reference into it outlives
        // `self`.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

impl std::fmt::Debug for BatchSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchSocket")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

const PEER_LEN: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
/// Length of the control message without its padding (cmsg(3), CMSG_LEN).
const SEGMENT_SIZE_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();

const _: () = assert!(
    std::mem::offset_of!(SegmentSize, size) == size_of::<libc::cmsghdr>()
        && size_of::<SegmentSize>().is_multiple_of(align_of::<libc::cmsghdr>())
        && size_of::<Peer>() <= size_of::<libc::sockaddr_storage>()
);

#[cfg(test)]
mod tests;
