//! What can go wrong, and what to do about it.

use core::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::{Code, MAX_ENTRIES};

/// Why a request has no answer.
#[derive(Debug)]
pub enum ClientError {
    /// The server's name or address cannot be resolved.
    Resolve(io::Error),
    /// The configuration asks for what cannot work.
    Config(&'static str),
    /// The system has no random numbers for a session id.
    NoRandomness,
    /// The socket failed.
    Socket(io::Error),
    /// No query, or more than one datagram holds.
    QueryCount {
        /// How many were asked.
        asked: usize,
    },
    /// No genuine answer came.
    Unanswered(Unanswered),
    /// The server refused, and its signature proves it.
    Refused(SignedRefusal),
    /// The server's signed answer has something this version does not define.
    Unreadable(&'static str),
}

/// What was seen while no genuine answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// The server asked last.
    pub server: SocketAddr,
    /// Datagrams sent.
    pub tries: u32,
    /// How long all tries together took.
    pub waited: Duration,
    /// The latest unsigned ERROR's code. Anybody on the way can forge it: a hint, no proof.
    pub hint: Option<Code>,
    /// The network said that nothing listens there (ICMP port unreachable).
    pub refused: bool,
}

/// A refusal that the key's tag proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedRefusal {
    /// Why.
    pub code: Code,
    /// Requests left in the key's current window; `None` where nothing limits it.
    pub remaining: Option<u32>,
    /// Milliseconds until the window is full again.
    pub refill_ms: u32,
    /// Server's clock, Unix nanoseconds.
    pub server_clock_ns: u64,
}

impl ClientError {
    /// The server's code, signed or hinted, where there is one.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refusal) => Some(refusal.code),
            Self::Unanswered(unanswered) => unanswered.hint,
            _ => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve(error) => write!(
                f,
                "cannot find the server ({error}): give it as HOST:PORT, for example 127.0.0.1:2679"
            ),
            Self::Config(why) => f.write_str(why),
            Self::NoRandomness => f.write_str("the system gives no random numbers for a session id"),
            Self::Socket(error) => write!(f, "the UDP socket failed: {error}"),
            Self::QueryCount { asked: 0 } => f.write_str("ask for at least one symbol, for example BTC-USD"),
            Self::QueryCount { asked } => write!(
                f,
                "{asked} symbols asked, one request holds {MAX_ENTRIES}: ask in several requests"
            ),
            Self::Unanswered(unanswered) => unanswered.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unreadable(why) => write!(f, "{why}: a newer client may read it"),
        }
    }
}

impl std::error::Error for ClientError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Resolve(error) | Self::Socket(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (server, tries) = (self.server, self.tries);
        match self.hint {
            Some(Code::Unauthenticated) => write!(
                f,
                "{server} does not accept the API key (unsigned answer, {tries} tries): check that the key is \
                 complete, not revoked or expired, and meant for this server"
            ),
            Some(Code::Version) => write!(
                f,
                "{server} does not speak TBP v1 (unsigned answer, {tries} tries): use a client of the server's version"
            ),
            Some(code) => write!(f, "{server} refuses with {code} (unsigned answer, {tries} tries)"),
            None if self.refused => write!(
                f,
                "nothing listens at {server} (UDP, {tries} tries): start the server, or check host and port"
            ),
            None => write!(
                f,
                "no answer from {server} after {tries} tries in {:.1} s: check host and port, and that firewalls let \
                 UDP through both ways; where UDP is blocked, the same prices are on HTTP",
                self.waited.as_secs_f64()
            ),
        }
    }
}

impl fmt::Display for SignedRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = f64::from(self.refill_ms) / 1_000.0;
        match self.code {
            Code::RateLimited => write!(f, "RATE_LIMITED: the key's rate is used up, full again in {wait:.1} s"),
            Code::Quota => write!(
                f,
                "QUOTA: the key's allowance for this period is used up, renewed in {wait:.0} s; a larger tier lifts it"
            ),
            Code::Clock => f.write_str(
                "CLOCK: this machine's clock and the server's are still apart after a correction: set this machine's clock",
            ),
            Code::Forbidden => f.write_str("FORBIDDEN: the key may not ask this, or the server does not offer it"),
            Code::Overloaded => f.write_str("OVERLOADED: the server sheds load; ask again after a pause"),
            Code::Internal => f.write_str("INTERNAL: the server failed; ask again, and tell its operator"),
            Code::Replay => f.write_str(
                "REPLAY: the server has seen this request too often or too many later ones; ask again (a new session is ready)",
            ),
            code => write!(f, "{code}: the server refuses the request"),
        }
    }
}
