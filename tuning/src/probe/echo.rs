//! The far end: sends back what proves that it was asked for.

use std::hash::Hash;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::wire::{Head, Kind, MAX_BYTES, Token};
use crate::clock;

/// Datagrams that an echo sends back in a second, unless told otherwise.
pub const DEFAULT_RATE: u32 = 500_000;
/// Tokens that it gives in a second: they go to addresses that have proven nothing.
const WELCOMES: u32 = 50;
/// How often it looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

/// What an echo did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Echoed {
    /// Tokens given.
    pub welcomed: u64,
    /// Datagrams sent back.
    pub echoed: u64,
    /// Datagrams with a token of another address or of an earlier echo.
    pub unproven: u64,
    /// Datagrams beyond the rate.
    pub beyond_rate: u64,
    /// Datagrams that are not the probe's.
    pub foreign: u64,
    /// Datagrams that the kernel did not take back.
    pub unsent: u64,
}

/// An echo.
#[derive(Debug)]
pub struct Echo {
    socket: UdpSocket,
    /// Tokens are made from it and the address, so none has to be remembered.
    secret: [u8; 32],
    echoes: Allowance,
    welcomes: Allowance,
}

/// So many in a second, a tenth of them at once.
#[derive(Debug)]
struct Allowance {
    rate: u32,
    left: f64,
    at: Instant,
}

impl Echo {
    /// Listens. `rate` is how many datagrams go back in a second at most.
    pub fn bind(address: SocketAddr, rate: u32) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(LOOK))?;
        grow(&socket);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(io::Error::other)?;
        Ok(Self {
            socket,
            secret,
            echoes: Allowance::new(rate, clock::monotonic()),
            welcomes: Allowance::new(WELCOMES, clock::monotonic()),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Echoes until it is told to stop or the time is over.
    pub fn run(mut self, stop: &AtomicBool, for_at_most: Duration) -> io::Result<Echoed> {
        let mut did = Echoed::default();
        // One byte more than the longest, so that a longer one is seen as such.
        let mut buffer = [0; MAX_BYTES + 1];
        let end = clock::monotonic() + for_at_most;
        while !stop.load(Ordering::Relaxed) && clock::monotonic() < end {
            match self.socket.recv_from(&mut buffer) {
                Ok((len, from)) => self.answer(&mut buffer[..len], from, &mut did),
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(did)
    }

    fn answer(&mut self, datagram: &mut [u8], from: SocketAddr, did: &mut Echoed) {
        let Some(head) = Head::read(datagram) else {
            did.foreign += 1;
            return;
        };
        let (token, now) = (self.token(from), clock::monotonic());
        let (kind, count) = match head.kind {
            Kind::Hello if self.welcomes.take(now) => (Kind::Welcome, &mut did.welcomed),
            Kind::Probe if head.token != token => {
                did.unproven += 1;
                return;
            }
            Kind::Probe if self.echoes.take(now) => (Kind::Echo, &mut did.echoed),
            Kind::Hello | Kind::Probe => {
                did.beyond_rate += 1;
                return;
            }
            Kind::Welcome | Kind::Echo => {
                did.foreign += 1;
                return;
            }
        };
        Head { kind, token, ..head }.write(datagram);
        match self.socket.send_to(datagram, from) {
            Ok(_) => *count += 1,
            Err(_) => did.unsent += 1,
        }
    }

    fn token(&self, address: SocketAddr) -> Token {
        struct Bytes(blake3::Hasher);
        impl std::hash::Hasher for Bytes {
            fn write(&mut self, bytes: &[u8]) {
                self.0.update(bytes);
            }
            fn finish(&self) -> u64 {
                0
            }
        }
        let mut bytes = Bytes(blake3::Hasher::new_keyed(&self.secret));
        address.hash(&mut bytes);
        let mut token = Token::default();
        token.copy_from_slice(&bytes.0.finalize().as_bytes()[..16]);
        token
    }
}

/// Asks for a large buffer; the kernel grants what it grants.
pub(super) fn grow(socket: &UdpSocket) {
    const BYTES: usize = 8 << 20;
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(BYTES);
    let _ = socket.set_send_buffer_size(BYTES);
}

/// Errors of a receive that say nothing of the socket: nothing came, or an earlier datagram found
/// nobody.
pub(super) fn passes(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        WouldBlock | TimedOut | Interrupted | ConnectionRefused
    )
}

impl Allowance {
    fn new(rate: u32, now: Instant) -> Self {
        Self {
            rate,
            left: Self::at_once(rate),
            at: now,
        }
    }

    /// The most that is taken at once.
    fn at_once(rate: u32) -> f64 {
        (f64::from(rate) / 10.0).max(1.0)
    }

    fn take(&mut self, now: Instant) -> bool {
        let refilled =
            self.left + now.saturating_duration_since(self.at).as_secs_f64() * f64::from(self.rate);
        self.left = refilled.min(Self::at_once(self.rate));
        self.at = now;
        let takes = self.left >= 1.0;
        if takes {
            self.left -= 1.0;
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_a_tenth_at_once_and_its_rate_in_the_long_run() {
        let start = clock::monotonic();
        let mut allowance = Allowance::new(100, start);
        let mut taken = |now| (0..1_000).filter(|_| allowance.take(now)).count();
        assert_eq!(taken(start), 10);
        assert_eq!(taken(start + Duration::from_millis(55)), 5);
        assert_eq!(taken(start + Duration::from_hours(1)), 10);
        let mut slow = Allowance::new(1, start);
        assert!(slow.take(start) && !slow.take(start + Duration::from_millis(900)));
    }
}
