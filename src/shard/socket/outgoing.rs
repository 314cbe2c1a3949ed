//! What goes out: one `sendmmsg` for all replies of a batch, those to one peer joined into a train
//! that the kernel cuts up (UDP_SEGMENT, udp(7)).
#![expect(unsafe_code, reason = "sendmmsg and sendmsg, which no safe crate wraps")]

use std::io;
use std::os::fd::RawFd;
use std::ptr::{self, NonNull};

use trinity_protocol::MAX_DATAGRAM;

use super::incoming::Incoming;
use crate::limits::BATCH_MESSAGES;
use crate::shard::trains::{self, Peer};
use crate::tables::groups::Groups;

/// Replies and the headers that the kernel is given. Not `Send`. The arena is like that of
/// [`Incoming`].
pub(super) struct Outgoing {
    /// Owned: made by `Box::leak`, freed in `drop`.
    arena: NonNull<Arena>,
    queue: [Queued; BATCH_MESSAGES],
    queued: usize,
    trains: Groups,
    /// Parts of each train.
    parts: [u8; BATCH_MESSAGES],
    /// Whether the kernel segments for this socket; false for good once it refused to.
    pub(super) segments: bool,
}

/// A reply to be sent.
#[derive(Clone, Copy, Default)]
struct Queued {
    /// The slot of the message that it answers.
    slot: u8,
    len: u16,
    start: u32,
}

/// Room for the replies of one batch.
pub(super) const REPLY_BYTES: usize = BATCH_MESSAGES * MAX_DATAGRAM;

/// What the kernel reads. The headers and parts point into the other fields.
struct Arena {
    replies: [u8; REPLY_BYTES],
    parts: [libc::iovec; BATCH_MESSAGES],
    headers: [libc::mmsghdr; BATCH_MESSAGES],
    controls: [SegmentSize; BATCH_MESSAGES],
}

/// The control message that asks for segments of `size` bytes (udp(7), UDP_SEGMENT).
#[repr(C)]
struct SegmentSize {
    header: libc::cmsghdr,
    size: u16,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        // SAFETY: `Arena` is made of integers, and of C structs of integers and pointers; all
        // zeros is a value of each (null).
        let arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        let arena = NonNull::from(Box::leak(arena));
        let at = arena.as_ptr();
        for i in 0..BATCH_MESSAGES {
            // SAFETY: `at` points to the live arena that only this function knows yet; a place is
            // taken of a field without making a reference, and plain values are written. What else
            // a header needs depends on its train and is written by `load`.
            unsafe {
                let control = &raw mut (*at).controls[i].header;
                (*control).cmsg_len = SEGMENT_SIZE_LEN as _;
                (*control).cmsg_level = libc::SOL_UDP;
                (*control).cmsg_type = libc::UDP_SEGMENT;
            }
        }
        Self {
            arena,
            queue: [Queued::default(); BATCH_MESSAGES],
            queued: 0,
            trains: Groups::default(),
            parts: [0; BATCH_MESSAGES],
            segments: true,
        }
    }

    /// Room for replies.
    #[inline]
    pub(super) fn replies(&mut self) -> &mut [u8; REPLY_BYTES] {
        // SAFETY: the arena is live; the reference is to one field and lives as long as
        // `&mut self`, so no call of the kernel can happen meanwhile.
        unsafe { &mut (*self.arena.as_ptr()).replies }
    }

    /// Queues `len` bytes from `start` on for the peer of a slot.
    ///
    /// # Panics
    ///
    /// If the queue is full, or the reply is not within its room.
    #[inline]
    pub(super) fn queue(&mut self, slot: usize, start: usize, len: usize) {
        assert!(len <= MAX_DATAGRAM && start + len <= REPLY_BYTES);
        self.queue[self.queued] = Queued {
            slot: slot as u8,
            len: len as u16,
            start: start as u32,
        };
        self.queued += 1;
    }

    /// Replies queued now.
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    /// Takes everything out of the queue.
    pub(super) const fn clear(&mut self) {
        self.queued = 0;
    }

    /// Sends what is queued; tells how many replies the kernel did not take.
    #[inline]
    pub(super) fn send(&mut self, socket: RawFd, incoming: &Incoming) -> usize {
        self.arrange(incoming);
        self.load(incoming);
        let mut next = 0;
        let mut failed = 0;
        let trains = self.trains.len();
        while next < trains {
            // SAFETY: the arena is live, and `&mut self` makes this the only reference into
            // `headers`.
            let rest = unsafe { &mut (&mut (*self.arena.as_ptr()).headers)[next..trains] };
            // SAFETY: sendmmsg(2): `msgvec` points to `vlen` headers whose names point into the
            // live arena of `incoming`, and whose iovecs and controls point into other fields of
            // this one (set in `load`), with lengths within them; the kernel reads those only, and
            // writes `msg_len` of each header.
            let sent = unsafe {
                libc::sendmmsg(
                    socket,
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
                    failed += self.send_apart(socket, next);
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
    pub(super) fn arrange(&mut self, incoming: &Incoming) {
        let queued = &self.queue[..self.queued];
        if !self.segments || queued.len() < 2 {
            self.trains.single(queued.len());
            return;
        }
        // Replies to the datagrams of one train, mostly: nothing to look for.
        let first = queued[0];
        let alike = |reply: &Queued| (reply.slot, reply.len) == (first.slot, first.len);
        if trains::fits(queued.len(), first.len) && queued.iter().all(alike) {
            self.trains.together(queued.len());
            return;
        }
        let mut replies: [(Peer, u16); _] = [([0; _], 0); BATCH_MESSAGES];
        for (reply, queued) in replies.iter_mut().zip(queued) {
            *reply = (*incoming.peer(usize::from(queued.slot)).bytes(), queued.len);
        }
        trains::arrange(&mut self.trains, &replies[..queued.len()]);
    }

    /// Points the headers at the trains. Replies that lie one behind the other are one part.
    pub(super) fn load(&mut self, incoming: &Incoming) {
        let at = self.arena.as_ptr();
        let mut part = 0;
        for train in 0..self.trains.len() {
            let members = self.trains.get(train);
            let first = self.queue[usize::from(members[0])];
            let (name, name_len) = incoming.name(usize::from(first.slot));
            let first_part = part;
            let mut end = None;
            for member in members {
                let Queued { start, len, .. } = self.queue[usize::from(*member)];
                let (start, len) = (start as usize, usize::from(len));
                // SAFETY: the arena is live and nobody refers into it (`&mut self`). Trains hold
                // every queued reply once, so there are at most BATCH_MESSAGES parts; a reply is
                // within its room (asserted in `queue`), so the address and the length are within
                // `replies`, also where a part grows by the reply right behind it.
                unsafe {
                    if end == Some(start) {
                        (*at).parts[part - 1].iov_len += len;
                    } else {
                        let replies = (&raw mut (*at).replies).cast::<u8>();
                        (*at).parts[part] = libc::iovec {
                            iov_base: replies.add(start).cast(),
                            iov_len: len,
                        };
                        part += 1;
                    }
                }
                end = Some(start + len);
            }
            self.parts[train] = (part - first_part) as u8;
            // SAFETY: as above; there are at most BATCH_MESSAGES headers. Places are taken without
            // making references, and the addresses stay within the arenas with lengths that fit
            // their fields.
            unsafe {
                let header = &raw mut (*at).headers[train].msg_hdr;
                (*header).msg_name = name.cast();
                (*header).msg_namelen = name_len;
                (*header).msg_iov = &raw mut (*at).parts[first_part];
                (*header).msg_iovlen = usize::from(self.parts[train]) as _;
                if members.len() > 1 {
                    (*at).controls[train].size = first.len;
                    (*header).msg_control = (&raw mut (*at).controls[train]).cast();
                    (*header).msg_controllen = size_of::<SegmentSize>() as _;
                } else {
                    (*header).msg_control = ptr::null_mut();
                    (*header).msg_controllen = 0;
                }
            }
        }
    }

    /// Sends the replies of a train one by one; tells how many the kernel did not take.
    pub(super) fn send_apart(&mut self, socket: RawFd, train: usize) -> usize {
        let at = self.arena.as_ptr();
        let mut failed = 0;
        for member in self.trains.get(train) {
            let Queued { start, len, .. } = self.queue[usize::from(*member)];
            // SAFETY: the arena is live and nobody refers into it (`&mut self`); the reply is
            // within its room (asserted in `queue`).
            let mut part = unsafe {
                libc::iovec {
                    iov_base: (&raw mut (*at).replies).cast::<u8>().add(start as usize).cast(),
                    iov_len: usize::from(len),
                }
            };
            // SAFETY: the arena is live; the header was set in `load`, and its name is good for as
            // long as the arena of `incoming` is. The copy refers to one reply.
            let mut header = unsafe { (*at).headers[train].msg_hdr };
            header.msg_iov = &raw mut part;
            header.msg_iovlen = 1;
            header.msg_control = ptr::null_mut();
            header.msg_controllen = 0;
            // SAFETY: sendmsg(2) reads the header and what it points to: `part`, which is live, and
            // memory of the live arenas with lengths within their fields.
            let sent = unsafe { libc::sendmsg(socket, &raw const header, libc::MSG_DONTWAIT) };
            failed += usize::from(sent < 0);
        }
        failed
    }

    /// How many messages the queued replies make, once arranged.
    #[cfg(test)]
    pub(super) const fn trains(&self) -> usize {
        self.trains.len()
    }

    /// In how many pieces the replies of a train lie, once loaded.
    #[cfg(test)]
    pub(super) fn parts(&self, train: usize) -> usize {
        usize::from(self.parts[train])
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and nobody else frees it; no reference into it outlives
        // `self`.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

/// Length of the control message without its padding (cmsg(3), CMSG_LEN).
const SEGMENT_SIZE_LEN: usize = size_of::<libc::cmsghdr>() + size_of::<u16>();

const _: () = assert!(
    std::mem::offset_of!(SegmentSize, size) == size_of::<libc::cmsghdr>()
        && size_of::<SegmentSize>().is_multiple_of(align_of::<libc::cmsghdr>())
);
