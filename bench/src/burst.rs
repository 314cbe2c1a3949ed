//! A batch of datagrams as `recvmmsg` and `sendmmsg` want it, for the echo and the load
//! generator.
//!
//! The server's own batched socket is not used here on purpose: whatever slowed it down would
//! slow the echo as well and hide in their ratio. The echo is as bare as it can be: one set
//! of message headers serves both calls, so a datagram goes back from the very bytes it came
//! in, uncopied.
#![expect(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and poll, which no safe crate wraps"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::{self, NonNull};

use socket2::{SockAddr, Socket};
use trinity_protocol::MAX_DATAGRAM;

/// Datagrams of one system call: the same as the server's.
pub(crate) const BATCH: usize = trinity_beast::limits::BATCH_MESSAGES;

/// Room for a batch, with the headers the kernel is given. Not `Send`.
pub(crate) struct Burst {
    /// Owned: made by `Box::leak`, freed in `drop`.
    arena: NonNull<Arena>,
    /// Slots whose lengths differ from a fresh header's.
    touched: usize,
    name_len: libc::socklen_t,
}

/// What the kernel reads and writes. The headers and parts point into the other fields.
struct Arena {
    slots: [[u8; MAX_DATAGRAM]; BATCH],
    peers: [libc::sockaddr_storage; BATCH],
    parts: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
    sources: [Source; BATCH],
}

/// The control message that says which address of this machine a datagram comes from (ip(7),
/// IP_PKTINFO).
#[repr(C)]
struct Source {
    header: libc::cmsghdr,
    info: libc::in_pktinfo,
}

impl Burst {
    /// For a connected socket.
    pub(crate) fn connected() -> Self {
        Self::new(0)
    }

    /// For a socket that talks to many peers: replies go where the datagram of the same slot
    /// came from.
    pub(crate) fn with_peers() -> Self {
        Self::new(size_of::<libc::sockaddr_storage>() as libc::socklen_t)
    }

    /// For an unconnected IPv4 socket that sends to one address from many of its own.
    pub(crate) fn with_sources(target: SocketAddr) -> Self {
        let burst = Self::new(0);
        let at = burst.arena.as_ptr();
        let target = SockAddr::from(target);
        for i in 0..BATCH {
            // SAFETY: the arena is live and only `burst` knows it. `target` is `len()` bytes of a
            // sockaddr, which a sockaddr_storage has room for; the control message is as long as
            // cmsg(3) wants it: a header and its data, padded to the header's alignment.
            unsafe {
                ptr::copy_nonoverlapping(
                    target.as_ptr().cast::<u8>(),
                    (&raw mut (*at).peers[i]).cast(),
                    target.len() as usize,
                );
                let control = &raw mut (*at).sources[i];
                (*control).header.cmsg_len =
                    (size_of::<libc::cmsghdr>() + size_of::<libc::in_pktinfo>()) as _;
                (*control).header.cmsg_level = libc::IPPROTO_IP;
                (*control).header.cmsg_type = libc::IP_PKTINFO;
                let header = &raw mut (*at).headers[i].msg_hdr;
                (*header).msg_name = (&raw mut (*at).peers[i]).cast();
                (*header).msg_namelen = target.len();
                (*header).msg_control = control.cast();
                (*header).msg_controllen = size_of::<Source>() as _;
            }
        }
        burst
    }

    /// Sets the address that a datagram is sent from.
    pub(crate) fn set_source(&mut self, index: usize, source: Ipv4Addr) {
        // SAFETY: the arena is live and nobody refers into it (`&mut self`); ip(7): ipi_spec_dst is
        // in network byte order, as the octets are.
        unsafe {
            (*self.arena.as_ptr()).sources[index].info.ipi_spec_dst.s_addr =
                u32::from_ne_bytes(source.octets());
        }
    }

    fn new(name_len: libc::socklen_t) -> Self {
        // SAFETY: `Arena` is made of integers, and of C structs of integers and pointers; all
        // zeros is a value of each.
        let arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        let arena = NonNull::from(Box::leak(arena));
        let at = arena.as_ptr();
        for i in 0..BATCH {
            // SAFETY: `at` points to the live arena that only this function knows yet; places are
            // taken of its fields without making references, and plain values are written.
            unsafe {
                (*at).parts[i] = libc::iovec {
                    iov_base: (&raw mut (*at).slots[i]).cast(),
                    iov_len: MAX_DATAGRAM,
                };
                let header = &raw mut (*at).headers[i].msg_hdr;
                if name_len > 0 {
                    (*header).msg_name = (&raw mut (*at).peers[i]).cast();
                    (*header).msg_namelen = name_len;
                }
                (*header).msg_iov = &raw mut (*at).parts[i];
                (*header).msg_iovlen = 1;
            }
        }
        Self {
            arena,
            touched: 0,
            name_len,
        }
    }

    /// Receives what is there, without waiting.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let at = self.arena.as_ptr();
        for i in 0..self.touched {
            // SAFETY: the arena is live and nobody refers into it (`&mut self`); `touched` is at
            // most BATCH, and the length is the slot's own.
            unsafe {
                (*at).parts[i].iov_len = MAX_DATAGRAM;
                (*at).headers[i].msg_hdr.msg_namelen = self.name_len;
            }
        }
        // SAFETY: recvmmsg(2): `msgvec` points to BATCH headers of the live arena; their names and
        // iovecs point into its other fields with their true lengths, and nobody holds a reference
        // to those (`&mut self`). MSG_DONTWAIT makes the call return at once.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                (&raw mut (*at).headers).cast(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        self.touched = usize::try_from(count).unwrap_or(0);
        if count < 0 {
            return nothing_or(io::Error::last_os_error());
        }
        Ok(self.touched)
    }

    /// A received datagram.
    pub(crate) fn bytes(&self, index: usize) -> &[u8] {
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live; the reference is to one field and lives as long as `&self`,
        // during which no call of the kernel can happen.
        let (slot, len) = unsafe { (&(*at).slots[index], (*at).headers[index].msg_len as usize) };
        &slot[..len.min(MAX_DATAGRAM)]
    }

    /// What was written into a slot.
    pub(crate) fn written(&self, index: usize, len: usize) -> &[u8] {
        // SAFETY: the arena is live; the reference is to one field and lives as long as `&self`.
        let slot = unsafe { &(*self.arena.as_ptr()).slots[index] };
        &slot[..len]
    }

    /// A slot to write a datagram into.
    pub(crate) fn slot(&mut self, index: usize) -> &mut [u8; MAX_DATAGRAM] {
        // SAFETY: the arena is live; the reference is to one field and lives as long as
        // `&mut self`.
        unsafe { &mut (*self.arena.as_ptr()).slots[index] }
    }

    /// Makes the first datagrams ready to go back as they came.
    pub(crate) fn return_all(&mut self, count: usize) {
        let at = self.arena.as_ptr();
        for i in 0..count.min(BATCH) {
            // SAFETY: the arena is live and nobody refers into it (`&mut self`); the kernel wrote
            // `msg_len`, which is at most the slot's length.
            unsafe { (*at).parts[i].iov_len = (*at).headers[i].msg_len as usize };
        }
    }

    /// Sets the length of a datagram that was written into its slot.
    ///
    /// # Panics
    ///
    /// If it is longer than its slot.
    pub(crate) fn set_len(&mut self, index: usize, len: usize) {
        assert!(len <= MAX_DATAGRAM);
        // SAFETY: the arena is live and nobody refers into it (`&mut self`); the length is within
        // the slot (asserted).
        unsafe { (*self.arena.as_ptr()).parts[index].iov_len = len };
        self.touched = self.touched.max(index + 1);
    }

    /// Sends the first `count` datagrams without waiting; tells how many the kernel took.
    ///
    /// # Panics
    ///
    /// If `count` is more than a batch.
    pub(crate) fn send(&mut self, socket: &Socket, count: usize) -> io::Result<usize> {
        assert!(count <= BATCH);
        let mut sent = 0;
        while sent < count {
            // SAFETY: sendmmsg(2): `msgvec` points to `vlen` headers of the live arena, within its
            // BATCH (asserted), whose names and iovecs point into its other fields with lengths
            // within them; the kernel reads those and writes `msg_len` of each header.
            let taken = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    (&raw mut (*self.arena.as_ptr()).headers[sent]).cast(),
                    (count - sent) as libc::c_uint,
                    libc::MSG_DONTWAIT,
                )
            };
            if taken < 0 {
                nothing_or(io::Error::last_os_error())?;
                break;
            }
            sent += taken as usize;
        }
        Ok(sent)
    }
}

impl Drop for Burst {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and nobody else frees it; no reference into it outlives
        // `self`.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

/// Waits in poll(2) until a socket is readable or the time is over.
pub(crate) fn wait_readable(socket: RawFd, timeout_ms: i32) {
    let mut poll = libc::pollfd {
        fd: socket,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: poll(2) reads and writes `nfds` = 1 pollfd at the pointer, which is live. An error
    // (EINTR) is a wake for no reason, after which the caller looks again.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
}

fn nothing_or(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_batch_goes_back_as_it_came() {
        let near = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let far = UdpSocket::bind("127.0.0.1:0").expect("bound");
        near.connect(far.local_addr().expect("bound")).expect("connected");
        let (near, far) = (Socket::from(near), Socket::from(far));
        let (mut out, mut echo, mut back) = (Burst::connected(), Burst::with_peers(), Burst::connected());
        for round in 0..3_u8 {
            for i in 0..BATCH {
                out.slot(i)[..80].fill(i as u8 ^ round);
                out.set_len(i, 80 - usize::from(round));
            }
            assert_eq!(out.send(&near, BATCH).expect("sent"), BATCH);
            assert_eq!(echo.receive(&far).expect("received"), BATCH);
            echo.return_all(BATCH);
            assert_eq!(echo.send(&far, BATCH).expect("sent"), BATCH);
            assert_eq!(back.receive(&near).expect("received"), BATCH);
            for i in 0..BATCH {
                assert_eq!(back.bytes(i), &vec![i as u8 ^ round; 80 - usize::from(round)][..]);
            }
        }
        assert_eq!(back.receive(&near).expect("nothing is no error"), 0);
    }

    #[test]
    fn datagrams_of_one_socket_come_from_many_addresses() {
        let near = Socket::from(UdpSocket::bind("0.0.0.0:0").expect("bound"));
        let far = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let mut out = Burst::with_sources(far.local_addr().expect("bound"));
        for i in 0..BATCH {
            out.slot(i)[0] = i as u8;
            out.set_len(i, 80);
            out.set_source(i, Ipv4Addr::new(127, 1, 2, i as u8));
        }
        assert_eq!(out.send(&near, BATCH).expect("sent"), BATCH);
        for i in 0..BATCH as u8 {
            let mut datagram = [9; 100];
            let (len, peer) = far.recv_from(&mut datagram).expect("received");
            assert_eq!((len, datagram[0]), (80, i));
            assert_eq!(peer.ip(), Ipv4Addr::new(127, 1, 2, i));
        }
    }
}
