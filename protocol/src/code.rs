//! Outcomes of a request.

use core::fmt;

/// The code in a reply's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Code {
    /// Answered.
    Ok = 0,
    /// The datagram breaks the format.
    Malformed = 1,
    /// The version is not spoken here.
    Version = 2,
    /// Unknown, revoked or expired key, or a wrong tag: one code for all of them.
    Unauthenticated = 3,
    /// The sender's clock is off; the reply's clock says by how much.
    Clock = 4,
    /// The key's rate or burst is used up.
    RateLimited = 5,
    /// The key's monthly allowance is used up.
    Quota = 6,
    /// The key may not ask this, or the service does not offer it.
    Forbidden = 7,
    /// The server sheds load.
    Overloaded = 8,
    /// The server failed.
    Internal = 9,
    /// A subscription must bring the cookie of an earlier reply.
    Cookie = 10,
    /// The request id's counter is behind the session's window, or was repeated too often.
    Replay = 11,
}

impl Code {
    /// Every code, in wire order.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::Malformed,
        Self::Version,
        Self::Unauthenticated,
        Self::Clock,
        Self::RateLimited,
        Self::Quota,
        Self::Forbidden,
        Self::Overloaded,
        Self::Internal,
        Self::Cookie,
        Self::Replay,
    ];

    /// The code a number names, if it names one.
    pub const fn from_wire(number: u16) -> Option<Self> {
        if (number as usize) < Self::ALL.len() {
            Some(Self::ALL[number as usize])
        } else {
            None
        }
    }

    /// The name as SPEC.md writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Malformed => "MALFORMED",
            Self::Version => "VERSION",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Clock => "CLOCK",
            Self::RateLimited => "RATE_LIMITED",
            Self::Quota => "QUOTA",
            Self::Forbidden => "FORBIDDEN",
            Self::Overloaded => "OVERLOADED",
            Self::Internal => "INTERNAL",
            Self::Cookie => "COOKIE",
            Self::Replay => "REPLAY",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
