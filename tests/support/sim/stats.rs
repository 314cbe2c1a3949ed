//! What a simulated venue has seen: for tests to wait for and to judge by.

use std::collections::BTreeMap;

/// Counters, all from the start of the simulator unless said otherwise.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stats {
    /// TCP connections accepted on the stream's address, refused ones included.
    pub connects: u64,
    /// WebSocket connections that were established.
    pub opened: u64,
    /// WebSocket connections that are established now; those left half-open do not count.
    pub open: usize,
    /// Connections left half-open.
    pub half_open: u64,
    /// Upgrades that were refused.
    pub upgrades_refused: u64,
    /// Open connections that are subscribed to each instrument.
    pub subscriptions: BTreeMap<String, usize>,
    /// Messages from clients, pings and pongs of the WebSocket layer not counted.
    pub messages: u64,
    /// Signs of life from clients: pings, pongs, answers to heartbeats.
    pub signs_of_life: u64,
    /// Messages sent.
    pub sent: u64,
    /// Quotes sent, true or spoilt.
    pub quotes: u64,
    /// Subscriptions that were confirmed, and such as were refused.
    pub acks: u64,
    pub refusals: u64,
    /// Connections that the venue closed because no sign of life came.
    pub timeouts: u64,
    /// TCP connections accepted on the REST address, refused ones included.
    pub rest_connects: u64,
    /// REST requests, whatever came of them.
    pub rest_calls: u64,
    /// Their paths with queries, the newest last, up to [`KEPT`].
    pub rest_paths: Vec<String>,
    /// Tokens given out.
    pub tokens: u64,
    /// What clients did that the venue forbids, up to [`KEPT`].
    pub violations: Vec<Violation>,
}

/// Most paths and violations that are kept; later ones are dropped.
pub(crate) const KEPT: usize = 1_000;

/// A breach of the venue's rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub kind: ViolationKind,
    pub detail: String,
}

/// Which rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ViolationKind {
    /// More messages in a time than the venue takes.
    Pace,
    /// More connections in a time than the venue takes.
    Connections,
    /// More instruments on a connection than the venue takes.
    Instruments,
    /// More arguments in a message than the venue takes.
    Arguments,
    /// A message that the venue does not know.
    UnknownMessage,
    /// A message before the connection was ready for it.
    TooEarly,
    /// A path or method that the venue does not have.
    UnknownPath,
    /// A connection without a valid token.
    Token,
}

impl Stats {
    /// Connections that are subscribed to an instrument.
    pub(crate) fn subscribed(&self, instrument: &str) -> usize {
        self.subscriptions.get(instrument).copied().unwrap_or(0)
    }

    /// How many violations there are of this kind.
    pub(crate) fn violations_of(&self, kind: ViolationKind) -> usize {
        self.violations
            .iter()
            .filter(|violation| violation.kind == kind)
            .count()
    }
}

impl Violation {
    pub(super) fn new(kind: ViolationKind, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        // A message may be long, and cutting must not split a character.
        let end = detail.char_indices().nth(200).map_or(detail.len(), |(at, _)| at);
        detail.truncate(end);
        Self { kind, detail }
    }
}
