//! Raw venue frames in JSON lines.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use data_encoding::BASE64;
use serde::Deserialize;

use super::lines::{Line, Lines};
use crate::market::quote::Quote;
use crate::market::symbol::SymbolTable;
use crate::market::venue::dialect::SequenceScope;
use crate::market::venue::{Event, Parser, VenueId};

/// Connections of one recording that are told apart.
const MAX_CONNECTIONS: usize = 1_024;

/// Where venues' market data comes from: the host, how the path begins, the venue, and whether
/// prices there are spot prices. The first that fits counts. A venue that serves spot and
/// derivatives from one address spells them differently; where it does not, the address tells.
const ENDPOINTS: &[(&str, &str, &str, Prices)] = &[
    ("ws-feed.exchange.coinbase.com", "", "coinbase", Prices::Spot),
    ("ws-feed.pro.coinbase.com", "", "coinbase", Prices::Spot),
    ("ws-direct.exchange.coinbase.com", "", "coinbase", Prices::Spot),
    ("advanced-trade-ws.coinbase.com", "", "coinbase", Prices::Spot),
    ("ws.kraken.com", "", "kraken", Prices::Spot),
    ("futures.kraken.com", "", "kraken", Prices::Derivatives),
    ("ws.bitstamp.net", "", "bitstamp", Prices::Spot),
    ("stream.binance.com", "", "binance", Prices::Spot),
    ("data-stream.binance.vision", "", "binance", Prices::Spot),
    ("data-stream.binance.com", "", "binance", Prices::Spot),
    ("fstream.binance.com", "", "binance", Prices::Derivatives),
    ("dstream.binance.com", "", "binance", Prices::Derivatives),
    ("stream.binance.us", "", "binance-us", Prices::Spot),
    ("api.gemini.com", "", "gemini", Prices::Spot),
    ("ws.gemini.com", "", "gemini", Prices::Spot),
    ("ws.okx.com", "", "okx", Prices::Spot),
    ("wsaws.okx.com", "", "okx", Prices::Spot),
    ("wseea.okx.com", "", "okx", Prices::Spot),
    ("wsus.okx.com", "", "okx", Prices::Spot),
    ("ws.okex.com", "", "okx", Prices::Spot),
    ("wsaws.okex.com", "", "okx", Prices::Spot),
    ("real.okex.com", "", "okx", Prices::Spot),
    ("stream.crypto.com", "", "cryptocom", Prices::Spot),
    ("api.gateio.ws", "/ws/v4", "gate", Prices::Spot),
    ("api.gateio.ws", "", "gate", Prices::Derivatives),
    ("ws.gate.io", "", "gate", Prices::Spot),
    ("ws.gateio.io", "", "gate", Prices::Spot),
    ("ws.gateio.ws", "", "gate", Prices::Spot),
    ("fx-ws.gateio.ws", "", "gate", Prices::Derivatives),
    ("stream.bybit.com", "/v5/public/spot", "bybit", Prices::Spot),
    ("stream.bybit.com", "/spot", "bybit", Prices::Spot),
    ("stream.bybit.com", "", "bybit", Prices::Derivatives),
    ("stream.bytick.com", "/v5/public/spot", "bybit", Prices::Spot),
    ("stream.bytick.com", "", "bybit", Prices::Derivatives),
    ("ws-api-spot.kucoin.com", "", "kucoin", Prices::Spot),
    ("ws-api.kucoin.com", "", "kucoin", Prices::Spot),
    ("push-private.kucoin.com", "", "kucoin", Prices::Spot),
    ("push1-v2.kucoin.com", "", "kucoin", Prices::Spot),
    ("push1.kucoin.com", "", "kucoin", Prices::Spot),
    ("x-push-spot.kucoin.com", "", "kucoin", Prices::Spot),
    ("ws-api-futures.kucoin.com", "", "kucoin", Prices::Derivatives),
    ("x-push-futures.kucoin.com", "", "kucoin", Prices::Derivatives),
];

/// How recorders name their connections to spot markets. Bybit is missing on purpose: its one
/// name stands for spot and perpetuals, which are spelled alike; there the address must tell.
const CONNECTIONS: [(&str, &str); 13] = [
    ("COINBASE", "coinbase"),
    ("KRAKEN", "kraken"),
    ("BITSTAMP", "bitstamp"),
    ("BINANCE_US", "binance-us"),
    ("BINANCE", "binance"),
    ("GEMINI", "gemini"),
    ("OKX", "okx"),
    ("OKEX", "okx"),
    ("CRYPTO.COM", "cryptocom"),
    ("CRYPTOCOM", "cryptocom"),
    ("GATEIO", "gate"),
    ("GATE", "gate"),
    ("KUCOIN", "kucoin"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prices {
    Spot,
    Derivatives,
}

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
    connections: HashMap<String, (VenueId, Prices)>,
    /// A binary frame's bytes.
    bytes: Vec<u8>,
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
    /// It came from a venue's derivatives, and nothing of it was taken.
    pub derivative: bool,
    /// Frames that the recorder lost here.
    pub lost: u64,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
    #[serde(borrow)]
    venue: Option<Cow<'a, str>>,
    #[serde(borrow)]
    conn: Option<Cow<'a, str>>,
    ts: Option<f64>,
    ts_ns: Option<u64>,
    #[serde(borrow)]
    addr: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    b64: Option<Cow<'a, str>>,
    frames: Option<u64>,
}

/// As much of a line as tells when it was written.
#[derive(Deserialize)]
struct Stamp<'a> {
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
    ts: Option<f64>,
    ts_ns: Option<u64>,
}

impl Frames {
    pub(super) fn new(path_venue: Option<VenueId>) -> Self {
        Self {
            parser: Parser::new(),
            path_venue,
            connections: HashMap::new(),
            bytes: Vec::new(),
        }
    }

    /// Reads one line; None for what carries no market data (requests).
    pub(super) fn frame(
        &mut self,
        table: &SymbolTable,
        text: &[u8],
        quotes: &mut Vec<Quote>,
    ) -> Result<Option<Frame>, String> {
        if text.trim_ascii().is_empty() {
            return Ok(None);
        }
        let line: Envelope<'_> =
            serde_json::from_slice(text).map_err(|error| format!("not JSON: {error}"))?;
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
            derivative: false,
            lost: 0,
        };
        let told = match line.venue.as_deref() {
            None => None,
            Some(name) => {
                Some(VenueId::from_name(name).ok_or_else(|| format!("`{name}` is no known venue"))?)
            }
        };
        match line.t.as_deref() {
            Some("connect") => {
                let found = told
                    .map(|venue| (venue, Prices::Spot))
                    .or_else(|| self.venue(line.conn.as_deref(), line.addr.as_deref()));
                if let (Some(found), Some(conn)) = (found, line.conn)
                    && self.connections.len() < MAX_CONNECTIONS
                {
                    self.connections.insert(conn.into_owned(), found);
                }
                frame.restarted = found.map(|(venue, _)| venue);
                return Ok(Some(frame));
            }
            Some("lost") => {
                frame.lost = line.frames.unwrap_or(0);
                return Ok(Some(frame));
            }
            Some("recv") | None => {}
            Some(_) => return Ok(None),
        }
        let (data, binary) = match (&line.data, &line.b64) {
            (Some(text), _) => (text.as_bytes(), false),
            (None, Some(text)) => {
                decode(text, &mut self.bytes)?;
                (self.bytes.as_slice(), true)
            }
            (None, None) => return Ok(None),
        };
        let found = told
            .map(|venue| (venue, Prices::Spot))
            .or_else(|| find(&self.connections, line.conn.as_deref(), None, self.path_venue));
        let venue = match found {
            Some((venue, Prices::Spot)) => venue,
            Some((_, Prices::Derivatives)) => {
                frame.derivative = true;
                return Ok(Some(frame));
            }
            None => {
                let conn = line.conn.unwrap_or_default();
                return Err(format!("no venue is known for the connection `{conn}`"));
            }
        };
        // Numbers that count a connection's messages say nothing between two connections.
        let counts_connection = venue
            .spec()
            .dialect
            .is_some_and(|dialect| matches!(dialect.sequence, SequenceScope::Connection { .. }));
        let numbered = |sequence: Option<u64>| sequence.filter(|_| !counts_connection);
        let (unknown, invalid) = (&mut frame.unknown, &mut frame.invalid);
        let known = quotes.len();
        let mut sink = |event: Event<'_>| {
            let (instrument, quote) = match event {
                Event::Quote(told) => (
                    told.instrument,
                    Quote {
                        bid: told.bid,
                        ask: told.ask,
                        last: told.last,
                        venue_time_ns: told.venue_time_ns,
                        sequence: numbered(told.sequence),
                        ..unpriced(time_ns)
                    },
                ),
                // Trades sent as history are not news.
                Event::Trade(trade) if !trade.snapshot => (
                    trade.instrument,
                    Quote {
                        last: Some(trade.price),
                        venue_time_ns: trade.venue_time_ns,
                        sequence: numbered(trade.sequence),
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
        };
        let parsed = if binary {
            self.parser.parse_binary(venue, data, &mut sink)
        } else {
            self.parser.parse(venue, data, &mut sink)
        };
        match parsed {
            Ok(()) => Ok(Some(frame)),
            Err(invalid) => {
                quotes.truncate(known);
                Err(format!("{venue} frame: {invalid}"))
            }
        }
    }

    fn venue(&self, conn: Option<&str>, addr: Option<&str>) -> Option<(VenueId, Prices)> {
        find(&self.connections, conn, addr, self.path_venue)
    }
}

/// Whose frames these are: the address knows best, then what was said when the connection
/// began, then the connection's name, then the file's.
fn find(
    connections: &HashMap<String, (VenueId, Prices)>,
    conn: Option<&str>,
    addr: Option<&str>,
    path_venue: Option<VenueId>,
) -> Option<(VenueId, Prices)> {
    let spot = |venue| (venue, Prices::Spot);
    addr.and_then(venue_of_address)
        .or_else(|| connections.get(conn?).copied())
        .or_else(|| venue_of_connection(conn?).map(spot))
        .or_else(|| path_venue.map(spot))
}

/// Base64 into a buffer that is used again; lines are bounded, so it is too.
fn decode(text: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    let longest = BASE64
        .decode_len(text.len())
        .map_err(|error| format!("b64: {error}"))?;
    bytes.resize(longest, 0);
    let length = BASE64
        .decode_mut(text.as_bytes(), bytes)
        .map_err(|partial| format!("b64: {}", partial.error))?;
    bytes.truncate(length);
    Ok(())
}

/// Numbers of the lines after which a connection begins at an earlier time than the lines before
/// it: recorders that write one connection after another do so. A file that cannot be read on
/// is told of when it is played.
pub(super) fn blocks(lines: &mut Lines) -> Vec<u64> {
    let mut begins = Vec::new();
    let mut latest_s = 0.0_f64;
    loop {
        let before = lines.number();
        let Ok(Some(line)) = lines.next() else {
            return begins;
        };
        let Line::Text { text, .. } = line else { continue };
        let Ok(line) = serde_json::from_slice::<Stamp<'_>>(text) else {
            continue;
        };
        let told = line.ts.or(line.ts_ns.map(|ns| ns as f64 / 1e9));
        let Some(at_s) = told.filter(|at_s| at_s.is_finite()) else {
            continue;
        };
        if line.t.as_deref() == Some("connect") && at_s < latest_s && begins.len() < MAX_CONNECTIONS {
            begins.push(before);
            latest_s = at_s;
        }
        latest_s = latest_s.max(at_s);
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

fn venue_of_address(address: &str) -> Option<(VenueId, Prices)> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next()?;
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    let (.., venue, prices) = ENDPOINTS
        .iter()
        .find(|(known, begins, ..)| host.eq_ignore_ascii_case(known) && path.starts_with(begins))?;
    Some((VenueId::from_name(venue)?, *prices))
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
