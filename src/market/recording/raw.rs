//! Raw venue frames in JSON lines.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use crate::market::quote::Quote;
use crate::market::symbol::SymbolTable;
use crate::market::venue::{Event, Parser, VenueId};

/// Connections of one recording that are told apart.
const MAX_CONNECTIONS: usize = 1_024;

/// Public spot endpoints and whose they are. Derivative endpoints of the same venues are not
/// among them on purpose: a perpetual is not the coin.
const HOSTS: [(&str, &str); 8] = [
    ("ws-feed.exchange.coinbase.com", "coinbase"),
    ("ws-feed.pro.coinbase.com", "coinbase"),
    ("advanced-trade-ws.coinbase.com", "coinbase"),
    ("ws.kraken.com", "kraken"),
    ("ws.bitstamp.net", "bitstamp"),
    ("stream.binance.com", "binance"),
    ("data-stream.binance.vision", "binance"),
    ("stream.binance.us", "binance-us"),
];

/// How recorders name their connections, the longer name first where one begins like another.
const CONNECTIONS: [(&str, &str); 5] = [
    ("COINBASE", "coinbase"),
    ("KRAKEN", "kraken"),
    ("BITSTAMP", "bitstamp"),
    ("BINANCE_US", "binance-us"),
    ("BINANCE", "binance"),
];

/// Words in a file's name that say it holds derivatives.
const DERIVATIVES: [&str; 9] = [
    "perp",
    "perpetual",
    "swap",
    "futures",
    "usdm",
    "coinm",
    "cm",
    "linear",
    "inverse",
];

pub(super) struct Frames {
    parser: Parser,
    path_venue: Option<VenueId>,
    connections: HashMap<String, VenueId>,
}

/// What a line came to; quotes went to the list.
pub(super) struct Frame {
    pub time_ns: u64,
    /// A connection of this venue began.
    pub restarted: Option<VenueId>,
    /// Quotes of markets that are in no row of the table.
    pub unknown: u64,
    /// Elements of the frame in which something was wrong.
    pub invalid: u64,
}

#[derive(Deserialize)]
struct Envelope {
    t: Option<String>,
    conn: Option<String>,
    ts: Option<f64>,
    ts_ns: Option<u64>,
    addr: Option<String>,
    data: Option<String>,
}

impl Frames {
    pub(super) fn new(path_venue: Option<VenueId>) -> Self {
        Self {
            parser: Parser::new(),
            path_venue,
            connections: HashMap::new(),
        }
    }

    /// Reads one line; None for what carries no market data (requests, binary frames).
    pub(super) fn frame(
        &mut self,
        table: &SymbolTable,
        text: &[u8],
        quotes: &mut Vec<Quote>,
    ) -> Result<Option<Frame>, String> {
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let line: Envelope = serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
        let time_ns = match (line.ts_ns, line.ts) {
            (Some(ns), _) => ns,
            // Seconds as a binary fraction: exact to the microsecond for centuries to come.
            (None, Some(s)) if (0.0..1.8e10).contains(&s) => (s * 1e6).round() as u64 * 1_000,
            _ => return Err("no receive time".to_owned()),
        };
        let mut frame = Frame {
            time_ns,
            restarted: None,
            unknown: 0,
            invalid: 0,
        };
        match line.t.as_deref() {
            Some("connect") => {
                let venue = self.venue(line.conn.as_deref(), line.addr.as_deref());
                if let (Some(venue), Some(conn)) = (venue, line.conn)
                    && self.connections.len() < MAX_CONNECTIONS
                {
                    self.connections.insert(conn, venue);
                }
                frame.restarted = venue;
                return Ok(Some(frame));
            }
            Some("recv") | None => {}
            Some(_) => return Ok(None),
        }
        let Some(data) = line.data else { return Ok(None) };
        let Some(venue) = self.venue(line.conn.as_deref(), None) else {
            let conn = line.conn.unwrap_or_default();
            return Err(format!("no venue is known for the connection `{conn}`"));
        };
        let (unknown, invalid) = (&mut frame.unknown, &mut frame.invalid);
        let known = quotes.len();
        let parsed = self.parser.parse(venue, data.as_bytes(), &mut |event| {
            let (instrument, quote) = match event {
                Event::Quote(told) => (
                    told.instrument,
                    Quote {
                        bid: told.bid,
                        ask: told.ask,
                        last: told.last,
                        venue_time_ns: told.venue_time_ns,
                        sequence: told.sequence,
                        ..unpriced(time_ns)
                    },
                ),
                // Trades sent as history are not news.
                Event::Trade(trade) if !trade.snapshot => (
                    trade.instrument,
                    Quote {
                        last: Some(trade.price),
                        venue_time_ns: trade.venue_time_ns,
                        sequence: trade.sequence,
                        ..unpriced(time_ns)
                    },
                ),
                Event::Invalid { .. } => {
                    *invalid += 1;
                    return;
                }
                _ => return,
            };
            match table.market_by_spelling(venue, instrument) {
                Some(market) => quotes.push(Quote { market, ..quote }),
                None => *unknown += 1,
            }
        });
        match parsed {
            Ok(()) => Ok(Some(frame)),
            Err(invalid) => {
                quotes.truncate(known);
                Err(format!("{venue} frame: {invalid}"))
            }
        }
    }

    fn venue(&self, conn: Option<&str>, addr: Option<&str>) -> Option<VenueId> {
        addr.and_then(venue_of_address)
            .or_else(|| self.connections.get(conn?).copied())
            .or_else(|| venue_of_connection(conn?))
            .or(self.path_venue)
    }
}

/// The venue a path names: a folder or file called like it, or `<venue>-...`.
///
/// Refuses files whose names say that they hold derivatives: their instruments are often
/// spelled like the spot market's.
pub(super) fn venue_of_path(path: &Path) -> Result<Option<VenueId>, String> {
    let stem = path
        .file_name()
        .map(|name| name.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    if let Some(word) = stem
        .split(['_', '-', '.'])
        .find(|word| DERIVATIVES.contains(word))
    {
        return Err(format!(
            "the file's name says `{word}`: derivatives are not played as spot prices"
        ));
    }
    let found = path.components().rev().find_map(|component| {
        let component = component.as_os_str().to_string_lossy();
        let named = |venue: &VenueId| {
            component
                .strip_prefix(venue.name())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        };
        VenueId::all()
            .filter(named)
            .max_by_key(|venue| venue.name().len())
    });
    Ok(found)
}

fn venue_of_address(address: &str) -> Option<VenueId> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next()?;
    let (_, venue) = HOSTS.iter().find(|(known, _)| host.eq_ignore_ascii_case(known))?;
    VenueId::from_name(venue)
}

fn venue_of_connection(conn: &str) -> Option<VenueId> {
    let (_, venue) = CONNECTIONS.iter().find(|(known, _)| {
        conn.strip_prefix(known)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.', ' ']))
    })?;
    VenueId::from_name(venue)
}

fn unpriced(receive_time_ns: u64) -> Quote {
    Quote {
        market: crate::market::MarketId(0),
        bid: None,
        ask: None,
        last: None,
        confidence: None,
        venue_time_ns: None,
        receive_time_ns,
        sequence: None,
        fetched: false,
    }
}
