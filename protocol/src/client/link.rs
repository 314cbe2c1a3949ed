//! One connected socket and the retry loop over it.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant};
use std::vec::Vec;

use super::ClientConfig;
use super::clock;
use super::error::{ClientError, Unanswered};
use crate::{CLOCK_WINDOW_NS, Code, MAX_DATAGRAM, ReplyView};

/// Most tries of one request.
const MAX_TRIES: u32 = 8;
/// The last try's latest start after the first: a second short of the server's clock window,
/// so that a retry still arrives inside it.
const LAST_START: Duration = Duration::from_nanos(CLOCK_WINDOW_NS - 1_000_000_000);
/// After an unsigned error, no tries beyond this one: two silent waits are proof enough that
/// no genuine answer is merely lost, and people want the hint soon.
const TRIES_AFTER_HINT: u32 = 2;

/// What a datagram is to the request that waits.
pub(super) enum Verdict<T> {
    /// Nothing: a late reply, a forgery, noise.
    Ignore,
    /// An unsigned error. A genuine reply may still come.
    Hint(Code),
    /// The answer.
    Accept(T),
}

/// An answer with what it took.
pub(super) struct Exchange<T> {
    pub(super) answer: T,
    pub(super) round_trip: Duration,
    pub(super) tries_used: u32,
}

/// A socket connected to one of the server's addresses.
#[derive(Debug)]
pub(super) struct Link {
    socket: UdpSocket,
    addresses: Vec<SocketAddr>,
    current: usize,
    config: ClientConfig,
}

enum Received<T> {
    Answer(T, Duration),
    Nothing,
    /// Nothing listens at this address.
    Refused,
}

impl Link {
    pub(super) fn open(server: impl ToSocketAddrs, config: ClientConfig) -> Result<Self, ClientError> {
        check(&config)?;
        let mut failure = io::Error::new(ErrorKind::NotFound, "the name has no address");
        let mut addresses = Vec::new();
        let mut first = None;
        for address in server.to_socket_addrs().map_err(ClientError::Resolve)? {
            // A machine without IPv6 still has the name's IPv4 addresses.
            match connected(address) {
                Ok(socket) => {
                    first.get_or_insert(socket);
                    addresses.push(address);
                }
                Err(error) => failure = error,
            }
        }
        match first {
            Some(socket) => Ok(Self {
                socket,
                addresses,
                current: 0,
                config,
            }),
            None => Err(ClientError::Resolve(failure)),
        }
    }

    pub(super) fn server(&self) -> SocketAddr {
        self.addresses[self.current]
    }

    /// Sends a datagram, the same bytes on every try, until `judge` accepts an answer.
    pub(super) fn exchange<T>(
        &mut self,
        datagram: &[u8],
        judge: impl Fn(&ReplyView<'_>) -> Verdict<T>,
    ) -> Result<Exchange<T>, ClientError> {
        let began = clock::instant();
        let (mut hint, mut refused, mut tries_used) = (None, false, 0);
        let mut wait = self.config.timeout;
        while tries_used < self.config.tries && (hint.is_none() || tries_used < TRIES_AFTER_HINT) {
            tries_used += 1;
            let deadline = clock::instant() + wait;
            wait *= 2;
            let mut untried = self.addresses.len() - 1;
            loop {
                match self.try_once(datagram, deadline, &judge, &mut hint)? {
                    Received::Answer(answer, round_trip) => {
                        return Ok(Exchange {
                            answer,
                            round_trip,
                            tries_used,
                        });
                    }
                    Received::Nothing => {
                        refused = false;
                        break;
                    }
                    Received::Refused => refused = true,
                }
                // Only a refusal moves on to another address: it proves that the datagram was
                // counted nowhere, so the next server cannot charge it a second time.
                if untried == 0 {
                    // The server may be just starting: its port gets the rest of this try's time.
                    self.listen(deadline, &judge, &mut hint)?;
                    break;
                }
                untried -= 1;
                self.move_on()?;
            }
        }
        Err(ClientError::Unanswered(Unanswered {
            server: self.server(),
            tries: tries_used,
            waited: began.elapsed(),
            hint,
            refused,
        }))
    }

    fn try_once<T>(
        &self,
        datagram: &[u8],
        deadline: Instant,
        judge: &impl Fn(&ReplyView<'_>) -> Verdict<T>,
        hint: &mut Option<Code>,
    ) -> Result<Received<T>, ClientError> {
        let sent = clock::instant();
        // A refusal of an earlier datagram is reported by the next call on the socket, which then
        // has sent nothing: the second call sends.
        let mut result = self.socket.send(datagram);
        if matches!(&result, Err(error) if is_refusal(error)) {
            result = self.socket.send(datagram);
        }
        match result {
            Ok(_) => {}
            Err(error) if is_refusal(&error) => return Ok(Received::Refused),
            Err(error) => return Err(ClientError::Socket(error)),
        }
        match self.receive(deadline, judge, hint)? {
            Received::Answer(answer, _) => Ok(Received::Answer(answer, sent.elapsed())),
            other => Ok(other),
        }
    }

    /// Waits out a try whose datagram was refused.
    fn listen<T>(
        &self,
        deadline: Instant,
        judge: &impl Fn(&ReplyView<'_>) -> Verdict<T>,
        hint: &mut Option<Code>,
    ) -> Result<(), ClientError> {
        while let Received::Refused = self.receive(deadline, judge, hint)? {}
        Ok(())
    }

    fn receive<T>(
        &self,
        deadline: Instant,
        judge: &impl Fn(&ReplyView<'_>) -> Verdict<T>,
        hint: &mut Option<Code>,
    ) -> Result<Received<T>, ClientError> {
        // One byte more than the longest datagram, so that a longer one is seen to be longer.
        let mut buffer = [0; MAX_DATAGRAM + 1];
        loop {
            let left = deadline.saturating_duration_since(clock::instant());
            if left.is_zero() {
                return Ok(Received::Nothing);
            }
            self.socket
                .set_read_timeout(Some(left.max(Duration::from_micros(1))))
                .map_err(ClientError::Socket)?;
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if is_timeout(&error) => return Ok(Received::Nothing),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_refusal(&error) => return Ok(Received::Refused),
                Err(error) => return Err(ClientError::Socket(error)),
            };
            let Ok(reply) = ReplyView::parse(&buffer[..length]) else {
                continue;
            };
            match judge(&reply) {
                Verdict::Ignore => {}
                Verdict::Hint(code) => *hint = Some(code),
                Verdict::Accept(answer) => return Ok(Received::Answer(answer, Duration::ZERO)),
            }
        }
    }

    fn move_on(&mut self) -> Result<(), ClientError> {
        self.current = (self.current + 1) % self.addresses.len();
        self.socket = connected(self.server()).map_err(ClientError::Socket)?;
        Ok(())
    }
}

fn check(config: &ClientConfig) -> Result<(), ClientError> {
    if config.timeout < Duration::from_millis(1) {
        return Err(ClientError::Config("the timeout is too short: 1 ms at least"));
    }
    if !(1..=MAX_TRIES).contains(&config.tries) {
        return Err(ClientError::Config("tries must be 1 to 8"));
    }
    let last_start = config.timeout.checked_mul((1 << (config.tries - 1)) - 1);
    if last_start.is_none_or(|start| start > LAST_START) {
        return Err(ClientError::Config(
            "the last try would start more than 4 s after the first, when servers take the request for too old: \
             choose a shorter timeout or fewer tries (each try waits twice as long as the one before)",
        ));
    }
    Ok(())
}

fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if server.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    Ok(socket)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// What ICMP's "port unreachable" looks like on a connected socket: refused on Unix, reset on
/// Windows.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
    )
}
