//! Trains: datagrams of one length that the kernel is handed, and hands over, as one message
//! (udp(7), UDP_SEGMENT and UDP_GRO).
#![expect(
    unsafe_code,
    reason = "sendmsg and recvmmsg with control messages, which no safe crate wraps"
)]

use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use socket2::Socket;

/// Most datagrams of one train (UDP_MAX_SEGMENTS of older kernels).
pub(crate) const SEGMENTS: usize = 64;
/// Longest payload of a UDP datagram over IPv4, which bounds a whole train.
const TRAIN_BYTES: usize = 65_507;
/// Messages of one receiving call.
const MESSAGES: usize = 16;
/// Room for one message.
const ROOM: usize = 1 << 16;

/// Most datagrams of `len` bytes that go as one train.
pub(crate) const fn longest(len: usize) -> usize {
    let fits = TRAIN_BYTES / len;
    if fits < SEGMENTS { fits } else { SEGMENTS }
}

/// A control message with one number of the kernel's `int` or `u16`.
#[repr(C)]
struct Control<T> {
    header: libc::cmsghdr,
    value: T,
}

/// Sends a train of datagrams of `segment` bytes each without waiting; tells whether the
/// kernel took it.
///
/// # Panics
///
/// If it is longer than a train may be.
pub(crate) fn send(socket: &Socket, bytes: &[u8], segment: usize) -> io::Result<bool> {
    assert!(bytes.len() <= TRAIN_BYTES && bytes.len() <= segment * SEGMENTS);
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: C structs of integers and pointers; all zeros is a value of each.
    let (mut header, mut control): (libc::msghdr, Control<u16>) = unsafe { std::mem::zeroed() };
    control.header.cmsg_len = (size_of::<libc::cmsghdr>() + size_of::<u16>()) as _;
    control.header.cmsg_level = libc::SOL_UDP;
    control.header.cmsg_type = libc::UDP_SEGMENT;
    control.value = segment as u16;
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    if bytes.len() > segment {
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = size_of_val(&control) as _;
    }
    // SAFETY: sendmsg(2) reads the header, the one part and the one control message that it points
    // to, all live and of the lengths given, and writes to none of them.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
    if sent >= 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
        _ => Err(error),
    }
}

/// Room for what a socket that receives trains has. Not `Send`.
pub(crate) struct TrainInbox {
    /// Owned: made by `Box::leak`, freed in `drop`.
    arena: NonNull<Arena>,
    received: usize,
}

/// What the kernel writes. The headers and parts point into the other fields.
struct Arena {
    rooms: [[u8; ROOM]; MESSAGES],
    controls: [Control<libc::c_int>; MESSAGES],
    parts: [libc::iovec; MESSAGES],
    headers: [libc::mmsghdr; MESSAGES],
}

impl TrainInbox {
    pub(crate) fn new() -> Self {
        // SAFETY: `Arena` is made of integers, and of C structs of integers and pointers; all
        // zeros is a value of each.
        let arena: Box<Arena> = unsafe { Box::new_zeroed().assume_init() };
        let arena = NonNull::from(Box::leak(arena));
        let at = arena.as_ptr();
        for i in 0..MESSAGES {
            // SAFETY: `at` points to the live arena that only this function knows yet; places are
            // taken of its fields without making references, and plain values are written.
            unsafe {
                (*at).parts[i] = libc::iovec {
                    iov_base: (&raw mut (*at).rooms[i]).cast(),
                    iov_len: ROOM,
                };
                let header = &raw mut (*at).headers[i].msg_hdr;
                (*header).msg_iov = &raw mut (*at).parts[i];
                (*header).msg_iovlen = 1;
                (*header).msg_control = (&raw mut (*at).controls[i]).cast();
            }
        }
        Self {
            arena,
            received: MESSAGES,
        }
    }

    /// Receives what is there, without waiting; tells how many messages came.
    pub(crate) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        let at = self.arena.as_ptr();
        for i in 0..self.received {
            // SAFETY: the arena is live and nobody refers into it (`&mut self`); `received` is at
            // most MESSAGES, and the length is the control's own.
            unsafe {
                (*at).headers[i].msg_hdr.msg_controllen = size_of::<Control<libc::c_int>>() as _;
            }
        }
        self.received = 0;
        // SAFETY: recvmmsg(2): `msgvec` points to MESSAGES headers of the live arena; their iovecs
        // and controls point into its other fields with their true lengths, and nobody holds a
        // reference to those (`&mut self`). MSG_DONTWAIT makes the call return at once.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                (&raw mut (*at).headers).cast(),
                MESSAGES as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        if count < 0 {
            // A failed call may have touched any header.
            self.received = MESSAGES;
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        self.received = count as usize;
        Ok(self.received)
    }

    /// Whether the last call may have left something behind.
    pub(crate) const fn is_full(count: usize) -> bool {
        count == MESSAGES
    }

    /// The datagrams of a message, each as it was sent.
    pub(crate) fn message(&self, index: usize) -> std::slice::Chunks<'_, u8> {
        assert!(index < MESSAGES);
        let at = self.arena.as_ptr();
        // SAFETY: the arena is live; the reference is to one field and lives as long as `&self`,
        // during which no call of the kernel can happen. The other fields are read by value.
        let (room, len, control_len, control) = unsafe {
            (
                &(*at).rooms[index],
                (*at).headers[index].msg_len as usize,
                (*at).headers[index].msg_hdr.msg_controllen,
                (&raw const (*at).controls[index]).read(),
            )
        };
        let bytes = &room[..len.min(ROOM)];
        let says = control_len >= size_of::<libc::cmsghdr>() + size_of::<libc::c_int>()
            && control.header.cmsg_level == libc::SOL_UDP
            && control.header.cmsg_type == libc::UDP_GRO;
        let segment = if says {
            usize::try_from(control.value).unwrap_or(0)
        } else {
            0
        };
        bytes.chunks(if segment == 0 { ROOM } else { segment })
    }
}

impl Drop for TrainInbox {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this box and nobody else frees it; no reference into it outlives
        // `self`.
        drop(unsafe { Box::from_raw(self.arena.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    fn pair() -> (Socket, Socket) {
        let near = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let far = UdpSocket::bind("127.0.0.1:0").expect("bound");
        near.connect(far.local_addr().expect("bound")).expect("connected");
        (near.into(), far.into())
    }

    fn datagrams(inbox: &mut TrainInbox, socket: &Socket) -> Vec<Vec<u8>> {
        let count = inbox.receive(socket).expect("received");
        (0..count)
            .flat_map(|i| inbox.message(i).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    }

    #[test]
    fn a_train_arrives_as_the_datagrams_it_was_made_of() {
        let (near, far) = pair();
        trinity_beast::shard::socket::join_trains(&far).expect("the kernel knows UDP_GRO");
        let mut inbox = TrainInbox::new();
        for (len, count) in [(80, 64), (1_040, 62), (80, 1), (48, 3)] {
            assert!(count <= longest(len));
            let sent: Vec<_> = (0..count).map(|i| vec![i as u8; len]).collect();
            assert!(send(&near, &sent.concat(), len).expect("sent"));
            assert_eq!(datagrams(&mut inbox, &far), sent, "{count} of {len}");
        }
        assert!(datagrams(&mut inbox, &far).is_empty());
    }

    #[test]
    fn a_socket_without_trains_gets_each_datagram() {
        let (near, far) = pair();
        let sent: Vec<_> = (0..9).map(|i| vec![i; 80]).collect();
        assert!(send(&near, &sent.concat(), 80).expect("sent"));
        let mut inbox = TrainInbox::new();
        assert_eq!(datagrams(&mut inbox, &far), sent);
    }
}
