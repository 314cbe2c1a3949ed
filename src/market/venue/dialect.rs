//! How to converse with a venue: what to send it, how fast, and what to expect of it.
//!
//! A dialect is data and pure functions from text to text. Nothing here connects or waits:
//! `market::feed` decides what is due when, and the control plane does it.

use std::time::Duration;

use super::{Invalid, Json};

/// A venue's side of the conversation, as its documentation has it.
#[derive(Debug)]
pub struct Dialect {
    /// Where the WebSocket is; where there is a [`Dialect::token`], its answer says so instead.
    pub stream_url: &'static str,
    /// What every REST address begins with, without a slash at its end.
    pub rest_url: &'static str,
    /// Most instruments that one connection carries.
    pub instruments_per_connection: usize,
    /// Least time between two new connections.
    pub connect_gap: Duration,
    /// Time to wait on a new connection before the first message is sent on it.
    pub settle: Duration,
    /// Least time between two messages sent on one connection.
    pub message_gap: Duration,
    /// Least time between two REST requests.
    pub rest_gap: Duration,
    /// How often this side must ask for a sign of life; `None` where the venue pings, or
    /// nobody does.
    pub ping_every: Option<Duration>,
    /// How long a connection is used before another takes its place, where the venue cuts it
    /// off at a known age; well below that age.
    pub max_life: Option<Duration>,
    /// Whether the venue confirms a subscription.
    pub confirms: bool,
    /// What a quote's sequence counts.
    pub sequence: SequenceScope,
    /// Appends the messages that subscribe to the quotes (best bid and ask, or last price) of
    /// these instruments, each spelt as the venue does. `id` is unique on the connection; where
    /// several messages need one each, they count on from it.
    pub subscribe: fn(instruments: &[&str], id: u64, out: &mut Vec<String>),
    /// Appends the messages that end what [`Dialect::subscribe`] began.
    pub unsubscribe: fn(instruments: &[&str], id: u64, out: &mut Vec<String>),
    /// The text message that asks for a sign of life; `None` where a WebSocket ping does.
    pub ping: Option<fn(id: u64) -> String>,
    /// The answer to an [`Event::Challenge`](super::Event::Challenge).
    pub answer: fn(challenge: &str) -> String,
    /// Path and query, from the slash on, of the REST ticker of one instrument, given as the
    /// stream spells it. Its answer is for [`Parser::parse_rest`](super::Parser::parse_rest).
    pub ticker_path: fn(instrument: &str) -> String,
    /// Whether the time in a REST ticker is that of the last trade, however long ago, rather than
    /// that of its bid and ask.
    pub tickers_tell_trades_time: bool,
    /// What must be asked for before connecting.
    pub token: Option<TokenRequest>,
}

/// What a venue's sequence numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceScope {
    /// Each instrument apart, the same on every connection; numbers may be left out.
    Instrument,
    /// All messages of one connection without a gap, beginning anew with each connection.
    Connection {
        /// The member of every message that holds its number.
        member: &'static str,
    },
}

/// A venue that gives out an address and a token before it takes connections.
#[derive(Debug)]
pub struct TokenRequest {
    /// Path of a REST request by POST without a body.
    pub path: &'static str,
    /// Reads the answer; `id` is a name for the connection, unique and of this side's choice.
    pub(super) read: for<'f> fn(answer: Json<'f>, id: u64) -> Result<Admission, Invalid>,
}

/// What a token request came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Where to connect, token and all: a secret, not for logs.
    pub url: String,
    /// How often to ask for a sign of life on that connection.
    pub ping_every: Duration,
}

/// For venues that challenge nobody.
pub(super) fn no_answer(_: &str) -> String {
    String::new()
}
