//! What a venue's simulator must be able to say; one file per venue in `venue/` does.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::book::{Book, Tick};
use super::fault::Fault;
use super::stats::{Violation, ViolationKind};

/// One connection's side of the conversation, in the venue's words.
pub(crate) trait Protocol: Send {
    /// What is sent as soon as the connection stands.
    fn greet(&mut self, _: &Desk<'_>) -> Vec<Out> {
        Vec::new()
    }

    /// What a client's message leads to.
    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out>;

    /// The message about a changed quote; nothing where the client did not ask for it.
    fn quote(&mut self, tick: &Tick, desk: &Desk<'_>) -> Vec<Out>;

    /// Called every now and then, several times within `desk.timing.every`.
    fn beat(&mut self, _: &Desk<'_>) -> Vec<Out> {
        Vec::new()
    }

    /// A ping or pong of the WebSocket layer came.
    fn sign_of_life(&mut self, _: &Desk<'_>) {}

    /// The last touch to a message that is about to be sent.
    fn seal(&mut self, text: String) -> String {
        text
    }

    /// The request to connect anew, where the venue has words for it.
    fn reconnect(&self, _: &Desk<'_>) -> Option<String> {
        None
    }

    /// The instruments that this connection is subscribed to.
    fn instruments(&self) -> BTreeSet<String>;
}

/// What a protocol wants done.
#[derive(Debug, Clone)]
pub(crate) enum Out {
    /// Confirms a request.
    Ack(String),
    /// Refuses one.
    Refusal(String),
    /// A sign of life, or the request for one.
    Beat(String),
    /// A ping of the WebSocket layer.
    Ping,
    /// A quote.
    Quote { tick: Tick, text: String },
    /// Whatever else the venue tells of itself.
    Note(String),
    /// The client's message was a sign of life.
    Alive,
    /// The client's message broke a rule.
    Violation(Violation),
    /// The client gave no sign of life in time: the venue closes with this code and reason.
    Timeout(u16, &'static str),
    /// The venue closes with this code and reason.
    Close(u16, &'static str),
}

impl Out {
    pub(super) fn unknown(text: &str) -> Self {
        Self::Violation(Violation::new(ViolationKind::UnknownMessage, text))
    }
}

/// A venue, as [`venue::kind`](super::venue::kind) lists them.
pub(crate) struct VenueKind {
    pub name: &'static str,
    /// Path of the WebSocket.
    pub stream_path: &'static str,
    pub limits: Limits,
    pub timing: Timing,
    /// The protocol for a connection that was opened with this query.
    pub open: fn(opening: &Opening) -> Box<dyn Protocol>,
    pub rest: fn(call: &RestCall, desk: &Desk<'_>) -> Answer,
}

/// The request for an upgrade.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub path: String,
    pub query: Vec<(String, String)>,
    /// When it was accepted, before the client could know.
    pub at: Instant,
}

/// What the venue allows, where it says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// So many messages on one connection within this time.
    pub messages: Option<(usize, Duration)>,
    /// So many new connections within this time.
    pub connections: Option<(usize, Duration)>,
    /// Instruments on one connection.
    pub instruments: Option<usize>,
    /// Time to wait before the first message.
    pub settle: Duration,
}

impl Limits {
    pub(super) const NONE: Self = Self {
        messages: None,
        connections: None,
        instruments: None,
        settle: Duration::ZERO,
    };
}

/// The rhythm of signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timing {
    /// How often the venue gives or asks for one.
    pub every: Duration,
    /// How long it waits for one.
    pub patience: Duration,
}

impl Timing {
    pub(super) const fn seconds(every: u64, patience: u64) -> Self {
        Self {
            every: Duration::from_secs(every),
            patience: Duration::from_secs(patience),
        }
    }
}

/// What a protocol may look at.
pub(crate) struct Desk<'a> {
    pub book: &'a Book,
    /// This machine's clock, Unix nanoseconds; for measuring.
    pub now_ns: u64,
    pub fault: Option<Fault>,
    pub timing: Timing,
    /// Where the stream is, without its path.
    pub stream_base: &'a str,
    /// The token that opens connections.
    pub token: &'a str,
}

impl Desk<'_> {
    /// Whether an instrument may be subscribed to.
    pub(super) fn knows(&self, instrument: &str) -> bool {
        !self.refuses() && self.book.knows(instrument)
    }

    /// Whether everything is refused at the moment.
    pub(super) fn refuses(&self) -> bool {
        self.fault == Some(Fault::ErrorOnSubscribe)
    }

    /// An instrument's quote as the venue sees it.
    pub(super) fn tick(&self, instrument: &str) -> Option<Tick> {
        let tick = self.book.tick(instrument)?.clone();
        Some(match self.fault {
            Some(fault) => fault.distort(tick),
            None => tick,
        })
    }

    /// The venue's clock, Unix nanoseconds; for messages.
    pub(super) fn venue_ns(&self) -> u64 {
        self.fault.map_or(self.now_ns, |fault| fault.clock(self.now_ns))
    }

    pub(super) fn venue_ms(&self) -> u64 {
        self.venue_ns() / 1_000_000
    }

    /// Whether so much time has passed since an instant of [`Desk::now_ns`].
    pub(super) fn passed(&self, since_ns: u64, time: Duration) -> bool {
        u128::from(self.now_ns.saturating_sub(since_ns)) >= time.as_nanos()
    }
}

/// A REST request.
#[derive(Debug, Clone)]
pub(crate) struct RestCall {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl RestCall {
    /// A parameter of the query.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.query.iter().find(|(n, _)| n == name);
        found.map_or("", |(_, value)| value.as_str())
    }

    /// What stands in the path after this, without a slash at its end.
    pub(super) fn after<'s>(&'s self, prefix: &str) -> Option<&'s str> {
        Some(self.path.strip_prefix(prefix)?.trim_end_matches('/'))
    }

    pub(super) fn is_get(&self, path: &str) -> bool {
        self.method == "GET" && self.path == path
    }
}

/// A REST answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: String,
    /// The venue has no such path or method.
    pub unknown_path: bool,
    /// The answer holds a token.
    pub token: bool,
}

impl Answer {
    pub(super) fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
            unknown_path: false,
            token: false,
        }
    }

    pub(super) fn ok(body: impl Into<String>) -> Self {
        Self::new(200, body)
    }

    pub(super) fn no_such_path(body: impl Into<String>) -> Self {
        Self {
            unknown_path: true,
            ..Self::new(404, body)
        }
    }
}

/// A message as JSON; null where it is none.
pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The texts of an array, or the one that stands in its place.
pub(super) fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list
            .iter()
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}

/// `,"name":value` for a value that the client gave, nothing where it gave none.
pub(super) fn member(name: &str, value: &Value) -> String {
    let mut text = String::new();
    if !value.is_null() {
        write!(text, ",\"{name}\":{value}").expect("a String takes everything");
    }
    text
}

/// A time as RFC 3339 in UTC, to so many decimals of a second.
pub(super) fn rfc3339(unix_ns: u64, decimals: usize) -> String {
    let time = jiff::Timestamp::from_nanosecond(unix_ns.into()).unwrap_or(jiff::Timestamp::MAX);
    format!("{time:.decimals$}")
}
