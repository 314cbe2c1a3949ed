//! KuCoin.

use std::time::Duration;

use super::dialect::{self, Dialect, SequenceScope};
use super::json::Json;
use super::{Invalid, Reason, Sink};

pub(super) static DIALECT: Dialect = Dialect {
    stream_url: "wss://ws-api-spot.kucoin.com",
    rest_url: "https://api.kucoin.com",
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

pub(super) fn parse(_: Json<'_>, _: &mut Sink<'_>) -> Result<(), Invalid> {
    Err(Invalid::frame(Reason::UnknownShape))
}

pub(super) fn parse_rest(frame: Json<'_>, _: Option<&str>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    parse(frame, sink)
}
