//! Which of many connections have something to read: epoll(7), edge-triggered.
#![expect(unsafe_code, reason = "epoll, which no safe crate of this workspace wraps")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Connections told of at a time.
const EVENTS: usize = 128;

/// A set of connections, each known by a number of the caller's.
pub(crate) struct Ready {
    epoll: OwnedFd,
    events: [libc::epoll_event; EVENTS],
}

impl Ready {
    pub(crate) fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1(2) takes no pointers.
        let epoll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if epoll < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            // SAFETY: the kernel just gave this descriptor to us and nobody else knows it.
            epoll: unsafe { OwnedFd::from_raw_fd(epoll) },
            events: [libc::epoll_event { events: 0, u64: 0 }; EVENTS],
        })
    }

    /// Watches a connection: it is told of once each time something comes, and when it can be
    /// written to again after it could not. Closing the connection ends that.
    pub(crate) fn add(&self, connection: &impl AsRawFd, number: usize) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET) as u32,
            u64: number as u64,
        };
        // SAFETY: epoll_ctl(2) reads one epoll_event at the pointer, which is live.
        let failed = unsafe {
            libc::epoll_ctl(
                self.epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                connection.as_raw_fd(),
                &raw mut event,
            )
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }

    /// Those that something came for, without waiting.
    pub(crate) fn look(&mut self) -> io::Result<impl Iterator<Item = usize>> {
        // SAFETY: epoll_wait(2) writes at most `maxevents` = EVENTS events to the array, which is
        // live and ours alone (`&mut self`); a timeout of 0 makes the call return at once.
        let count = unsafe {
            libc::epoll_wait(
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS as libc::c_int,
                0,
            )
        };
        let count = match usize::try_from(count) {
            Ok(count) => count,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => 0,
                error => return Err(error),
            },
        };
        Ok(self.events[..count].iter().map(|event| event.u64 as usize))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_connection_is_told_of_when_something_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let near = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
        let (mut far, _) = listener.accept().expect("accepted");
        let mut ready = Ready::new().expect("made");
        ready.add(&near, 7).expect("added");
        // A fresh connection can be written to.
        assert_eq!(ready.look().expect("looked").collect::<Vec<_>>(), [7]);
        assert_eq!(ready.look().expect("looked").count(), 0);
        for _ in 0..2 {
            far.write_all(b"x").expect("sent");
            // Loopback delivers before `write` returns.
            assert_eq!(ready.look().expect("looked").collect::<Vec<_>>(), [7]);
            assert_eq!(ready.look().expect("looked").count(), 0);
        }
    }
}
