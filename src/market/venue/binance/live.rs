//! How binance is conversed with live, and its REST answers.

use std::time::Duration;

use super::super::dialect::{self, Dialect, SequenceScope};
use super::super::json::Json;
use super::super::{Invalid, Sink};

pub(in super::super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://stream.binance.com:9443/stream",
    rest_url: "https://api.binance.com",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(250),
    rest_gap: Duration::from_millis(200),
    ping_every: None,
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |_, _, _| {},
    unsubscribe: |_, _, _| {},
    ping: None,
    answer: dialect::no_answer,
    ticker_path: |instrument| format!("/{instrument}"),
    token: None,
};

pub(in super::super) static DIALECT_US: Dialect = Dialect {
    stream_url: "wss://stream.binance.us:9443/stream",
    rest_url: "https://api.binance.us",
    instruments_per_connection: 100,
    connect_gap: Duration::from_secs(1),
    settle: Duration::ZERO,
    message_gap: Duration::from_millis(250),
    rest_gap: Duration::from_millis(200),
    ping_every: None,
    max_life: None,
    confirms: true,
    sequence: SequenceScope::Instrument,
    subscribe: |_, _, _| {},
    unsubscribe: |_, _, _| {},
    ping: None,
    answer: dialect::no_answer,
    ticker_path: |instrument| format!("/{instrument}"),
    token: None,
};

pub(in super::super) fn parse_rest(
    frame: Json<'_>,
    _: Option<&str>,
    sink: &mut Sink<'_>,
) -> Result<(), Invalid> {
    super::parse(frame, sink)
}
