//! How to load: what is decided before the first request.

use std::time::Duration;

use serde::Serialize;

use crate::burst::BATCH;
use crate::popularity::Popularity;
use crate::train;

/// How to load.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Plan {
    /// How datagrams are handed to the kernel.
    pub(crate) form: Form,
    /// Symbols that each request asks for, 1 to 31.
    pub(crate) entries: usize,
    pub(crate) pace: Pace,
    /// Client sockets.
    pub(crate) flows: usize,
    /// Addresses that each socket sends from, in turn; more than one only over loopback.
    pub(crate) sources: usize,
    /// Keys that take turns, spread evenly over those that the server knows.
    pub(crate) keys: usize,
    pub(crate) popularity: Popularity,
    /// Time before the measurement.
    pub(crate) warm_up: Duration,
    /// Time of the measurement.
    pub(crate) time: Duration,
}

/// How clients hand their datagrams to the kernel, and take the replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// Each by itself: `sendmmsg` and `recvmmsg` of 64.
    Plain,
    /// As trains of one key: UDP_SEGMENT out, UDP_GRO in.
    Gso,
}

/// When requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Pace {
    /// When replies make room for them.
    Closed {
        /// Requests outstanding on each socket.
        window: usize,
        /// Polls without a pause, as a client does who waits for one reply.
        eager: bool,
    },
    /// By a schedule that is fixed beforehand, whatever the server does.
    Open {
        /// Requests per second over all sockets, above 0.
        rate: f64,
        /// Requests that are due at one moment, at least 1.
        burst: usize,
    },
}

/// What the replies of a side look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The request itself.
    Echo,
    /// Signed prices that are a function of symbol and sequence.
    Price,
    /// Signed prices of a server that is not this program's.
    Foreign,
}

impl Plan {
    /// Bytes of each request and of its reply.
    pub(crate) const fn datagram_bytes(&self) -> usize {
        trinity_protocol::datagram_len(self.entries)
    }

    /// Most requests that go to the kernel in one call.
    pub(crate) fn batch(&self) -> usize {
        match self.form {
            Form::Plain => BATCH,
            Form::Gso => train::longest(self.datagram_bytes()).min(BATCH),
        }
    }
}
