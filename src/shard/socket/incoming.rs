//! What comes in: one `recvmmsg` for many messages, each of which may be a train of datagrams
//! that the kernel joined (UDP_GRO, udp(7)).
#![expect(unsafe_code, reason = "recvmmsg, which no safe crate wraps")]

use std::io;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

use crate::limits::{BATCH_MESSAGES, RECEIVE_BYTES, RECEIVE_SLOT_BYTES};
use crate::shard::trains::Peer;

/// Receive slots, with the headers that the kernel is given. Not `Send`.
///
/// All memory that the kernel is told about lives in one arena that is made once, never moved and
/// never resized, so the addresses in the headers stay good for the socket's life. It is reached
/// through one raw pointer only, from which every address is derived; references are made to one
/// field at a time.
pub(super) struct Incoming {
    /// Owned: made by `Box::leak`, freed in `drop`.
    arena: NonNull<Arena>,
    received: usize,
    /// Messages that the next call asks for.
    wanted: usize,
    is_full: bool,
}

/// Whether a call waits until something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// It returns at once.
    No,
    /// It waits for the first message, for as long as the socket's receive timeout says.
    ForOne,
}

/// What the kernel writes. The headers and parts point into the other fields.
struct Arena {
    slots: [[u8; RECEIVE_SLOT_BYTES]; BATCH_MESSAGES],
    peers: [libc::sockaddr_storage; BATCH_MESSAGES],
    parts: [libc::iovec; BATCH_MESSAGES],
    headers: [libc::mmsghdr; BATCH_MESSAGES],
    controls: [SegmentSize; BATCH_MESSAGES],
}

/// The control message that tells the length of a train's datagrams (udp(7), UDP_GRO).
#[repr(C)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: libc::c_int,
}

/// Where a datagram came from, and where its answer goes.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress {
    bytes: Peer,
    len: u8,
}

impl Incoming {
    pub(super) fn new() -> Self {
        // SAFETY: `Arena` is made of integers, and of C structs of integers and pointers; all
        // zeros is a value of each (AF_UNSPEC, null).
        let arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        let arena = NonNull::from(Box::leak(arena));
        let at = arena.as_ptr();
        for i in 0..BATCH_MESSAGES {
            // SAFETY: `at` points to the live arena that only this function knows yet; places
            // are taken of its fields without making references, and plain values are written.
            unsafe {
                (*at).parts[i] = libc::iovec {
                    iov_base: (&raw mut (*at).slots[i]).cast(),
                    iov_len: RECEIVE_SLOT_BYTES,
                };
                let header = &raw mut (*at).headers[i].msg_hdr;
                (*header).msg_name = (&raw mut (*at).peers[i]).cast();
                (*header).msg_namelen = PEER_LEN;
                (*header).msg_iov = &raw mut (*at).parts[i];
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*at).controls[i]).cast();
                (*header).msg_controllen = CONTROL_LEN as _;
            }
        }
        Self {
            arena,
            received: 0,
            wanted: BATCH_MESSAGES,
            is_full: false,
        }
    }

    /// Receives up to a batch of messages; 0 if nothing is there.
    ///
    /// Where messages are long trains it asks for fewer of them, so that they are still in the
    /// core's cache when they are answered.
    #[inline]
    pub(super) fn receive(&mut self, socket: RawFd, wait: Wait) -> io::Result<usize> {
        self.clear();
        let flags = match wait {
            Wait::No => libc::MSG_DONTWAIT,
            Wait::ForOne => libc::MSG_WAITFORONE,
        };
        // SAFETY: the arena is live, and `&mut self` makes this the only reference into
        // `headers`.
        let headers = unsafe { &mut (*self.arena.as_ptr()).headers };
        // SAFETY: recvmmsg(2): `msgvec` points to `vlen` headers. Each header's name, iovec and
        // control point into other fields of the live arena, with their true lengths, and nobody
        // holds a reference to those during the call (`&mut self`). `vlen` is at most BATCH_MESSAGES.
        // No timeout is given; MSG_DONTWAIT makes the call return at once, MSG_WAITFORONE after the
        // first message or when the socket's timeout is over.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                self.wanted as libc::c_uint,
                flags,
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
        let bytes: usize = headers[..self.received]
            .iter()
            .map(|header| header.msg_len as usize)
            .sum();
        self.is_full = self.received == self.wanted;
        let mean = bytes / self.received.max(1);
        self.wanted = (RECEIVE_BYTES / mean.max(1)).clamp(1, BATCH_MESSAGES);
        Ok(self.received)
    }

    /// Whether the last call brought as much as it asked for, so that there may be more.
    pub(super) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Messages of the last batch, and those that were recalled since.
    pub(super) const fn received(&self) -> usize {
        self.received
    }

    /// Ends the last batch: its slots are free.
    pub(super) fn clear(&mut self) {
        // SAFETY: the arena is live, and `&mut self` makes this the only reference into
        // `headers`.
        let headers = unsafe { &mut (*self.arena.as_ptr()).headers };
        for header in &mut headers[..self.received] {
            // recvmsg(2): the kernel overwrote both with the lengths that it stored.
            header.msg_hdr.msg_namelen = PEER_LEN;
            header.msg_hdr.msg_controllen = CONTROL_LEN as _;
        }
        self.received = 0;
    }

    /// A message of the last batch, whole: one datagram, or a train.
    #[inline]
    pub(super) fn message(&self, slot: usize) -> &[u8] {
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live; the reference is to one field, which the kernel writes only
        // under `&mut self`, and lives as long as `&self`.
        let (bytes, len) = unsafe { (&(*at).slots[slot], (*at).headers[slot].msg_len as usize) };
        &bytes[..len.min(RECEIVE_SLOT_BYTES)]
    }

    /// Who sent a message of the last batch, as the kernel wrote it.
    #[inline]
    pub(super) fn sender(&self, slot: usize) -> &Peer {
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live; the reference is to the beginning of one field, a
        // `sockaddr_storage`, which is longer than a `Peer` and no less aligned, and whose bytes were
        // all written (zeros, then the kernel's). The kernel writes it only under `&mut self`.
        unsafe { &*(&raw const (*at).peers[slot]).cast::<Peer>() }
    }

    /// Bytes of each datagram of a message but the last, which may be shorter; the message is one
    /// datagram if it is no longer than this.
    #[inline]
    pub(super) fn segment_bytes(&self, slot: usize) -> usize {
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody writes to it (`&self`). The control was written by
        // the kernel, or is all zeros; either is a value of its integers.
        let (control, len) = unsafe {
            (
                (&raw const (*at).controls[slot]).read(),
                (*at).headers[slot].msg_hdr.msg_controllen,
            )
        };
        let tells = len >= SEGMENT_SIZE_LEN
            && control.header.cmsg_level == libc::SOL_UDP
            && control.header.cmsg_type == libc::UDP_GRO;
        match usize::try_from(control.size) {
            Ok(size) if tells && size > 0 => size,
            _ => RECEIVE_SLOT_BYTES,
        }
    }

    /// The address that a message of the last batch came from.
    ///
    /// # Panics
    ///
    /// If no such message was received.
    pub(super) fn peer(&self, slot: usize) -> PeerAddress {
        assert!(slot < self.received);
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody writes to it (`&self`); a `sockaddr_storage` is
        // longer than a `Peer`, and all its bytes were written (zeros, then the kernel's).
        let (bytes, len) = unsafe {
            (
                (&raw const (*at).peers[slot]).cast::<Peer>().read(),
                (*at).headers[slot].msg_hdr.msg_namelen,
            )
        };
        PeerAddress {
            bytes,
            len: len.min(size_of::<Peer>() as libc::socklen_t) as u8,
        }
    }

    /// The address of a message as the kernel wants it back, good for the arena's life.
    pub(super) fn name(&self, slot: usize) -> (*mut libc::sockaddr_storage, libc::socklen_t) {
        assert!(slot < self.received);
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody writes to it (`&self`); a place is taken of a field
        // without making a reference, and an integer is read.
        unsafe {
            (
                &raw mut (*at).peers[slot],
                (*at).headers[slot].msg_hdr.msg_namelen,
            )
        }
    }

    /// Adds a slot to the batch, as if an empty datagram of this peer had come; `None` if all
    /// slots are taken.
    pub(super) fn recall(&mut self, peer: &PeerAddress) -> Option<usize> {
        let slot = self.received;
        if slot == BATCH_MESSAGES {
            return None;
        }
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live and nobody refers into it (`&mut self`); a `sockaddr_storage`
        // is longer than a `Peer`, and the length is that of an address within it.
        unsafe {
            (&raw mut (*at).peers[slot]).cast::<Peer>().write(peer.bytes);
            (*at).headers[slot].msg_hdr.msg_namelen = peer.len.into();
            (*at).headers[slot].msg_len = 0;
        }
        self.received += 1;
        Some(slot)
    }
}

impl PeerAddress {
    /// The address, with what is behind its end.
    pub(super) const fn bytes(&self) -> &Peer {
        &self.bytes
    }

    /// An address of these bytes; nothing can be sent to it.
    #[cfg(test)]
    pub(in crate::shard) const fn for_tests(bytes: Peer) -> Self {
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

impl Drop for Incoming {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and nobody else frees it; no reference into it outlives
        // `self`.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

const PEER_LEN: libc::socklen_t = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
const CONTROL_LEN: usize = size_of::<SegmentSize>();
/// Length of the control message without its padding (cmsg(3), CMSG_LEN).
const SEGMENT_SIZE_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<libc::c_int>();

const _: () = assert!(
    std::mem::offset_of!(SegmentSize, size) == size_of::<libc::cmsghdr>()
        && CONTROL_LEN.is_multiple_of(align_of::<libc::cmsghdr>())
        && size_of::<Peer>() <= size_of::<libc::sockaddr_storage>()
);
