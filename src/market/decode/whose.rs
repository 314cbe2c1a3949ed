//! Whose a frame is, told by names around it.
//!
//! Decoding asks only which venue's format it is: spot or derivatives, the old name or the new.
//! What may be played as a spot price is judged by recordings, and more strictly.

use std::collections::HashMap;

use crate::market::symbol::SymbolTable;
use crate::market::venue::VenueId;

/// Connections of one file that are told apart.
const MAX_CONNECTIONS: usize = 1_024;

/// Domains that venues serve market data from.
const DOMAINS: [(&str, &str); 19] = [
    ("coinbase.com", "coinbase"),
    ("kraken.com", "kraken"),
    ("cryptofacilities.com", "kraken"),
    ("bitstamp.net", "bitstamp"),
    ("binance.us", "binance-us"),
    ("binance.com", "binance"),
    ("binance.vision", "binance"),
    ("gemini.com", "gemini"),
    ("okx.com", "okx"),
    ("okex.com", "okx"),
    ("okcoin.com", "okx"),
    ("crypto.com", "cryptocom"),
    ("gate.io", "gate"),
    ("gateio.io", "gate"),
    ("gateio.ws", "gate"),
    ("gateio.live", "gate"),
    ("bybit.com", "bybit"),
    ("bytick.com", "bybit"),
    ("kucoin.com", "kucoin"),
];

/// Other names that files, folders and connections bear.
const ALIASES: [(&str, &str); 11] = [
    ("binance_us", "binance-us"),
    ("binanceus", "binance-us"),
    ("binance.us", "binance-us"),
    ("coinbasepro", "coinbase"),
    ("crypto.com", "cryptocom"),
    ("crypto-com", "cryptocom"),
    ("gateio", "gate"),
    ("gate.io", "gate"),
    ("okex", "okx"),
    ("okcoin", "okx"),
    ("kraken_futures", "kraken"),
];

/// Names that a request's query gives an instrument.
const PARAMETERS: [&str; 7] = [
    "symbol",
    "pair",
    "currency_pair",
    "instId",
    "instrument_name",
    "product_id",
    "market",
];

/// Parts of a request's path after which an instrument stands.
const PLACES: [&str; 10] = [
    "ticker",
    "ticker_hour",
    "pubticker",
    "order_book",
    "transactions",
    "ohlc",
    "book",
    "trades",
    "products",
    "details",
];

/// Which connections belong to whom, as far as a file told.
#[derive(Default)]
pub(super) struct Connections(HashMap<String, VenueId>);

impl Connections {
    /// The venue of a connection; remembers what its address said when it began.
    pub(super) fn venue(
        &mut self,
        connection: Option<&str>,
        of_address: Option<VenueId>,
        begins: bool,
    ) -> Option<VenueId> {
        let connection = connection?;
        if let Some(venue) = of_address {
            if begins && self.0.len() < MAX_CONNECTIONS {
                self.0.insert(connection.to_owned(), venue);
            }
            return Some(venue);
        }
        let known = self.0.get(connection).copied();
        known.or_else(|| named(&connection.to_ascii_lowercase()))
    }
}

/// The venues whose frames can be decoded, for messages.
pub fn venue_names() -> String {
    decodable().map(VenueId::name).collect::<Vec<_>>().join(", ")
}

/// The venue of this name, if its frames can be decoded.
pub fn venue_of_name(name: &str) -> Option<VenueId> {
    VenueId::from_name(name).filter(|venue| decodable().any(|known| known == *venue))
}

/// The venue that a path names: the innermost file or folder that is called like one.
pub fn venue_of_path(path: &str) -> Option<VenueId> {
    let path = path.to_ascii_lowercase();
    path.rsplit(['/', '\\']).find_map(named)
}

/// Whether a path says that it holds REST answers.
pub(super) fn is_rest(path: &str) -> bool {
    let folders = path.rsplit_once(['/', '\\']).map_or("", |(folders, _)| folders);
    folders.split(['/', '\\']).any(|folder| folder == "rest")
}

pub(super) fn venue_of_address(address: &str) -> Option<VenueId> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest.split(['/', ':', '?']).next()?.to_ascii_lowercase();
    let (_, venue) = DOMAINS.iter().find(|(domain, _)| {
        host.strip_suffix(domain)
            .is_some_and(|front| front.is_empty() || front.ends_with('.'))
    })?;
    VenueId::from_name(venue)
}

/// The instrument that a REST request asks for, as the stream spells it where that is known.
pub(super) fn instrument(table: &SymbolTable, venue: VenueId, request: &str) -> Option<String> {
    let path = match request.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/')?..],
        None => request,
    };
    if let Some(dialect) = venue.spec().dialect {
        let known = table
            .markets()
            .filter(|(_, market)| market.venue == venue)
            .flat_map(|(_, market)| &market.spellings);
        for spelling in known {
            if (dialect.ticker_path)(spelling) == path {
                return Some(spelling.to_string());
            }
        }
    }
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    for pair in query.split('&') {
        if let Some((name, value)) = pair.split_once('=')
            && PARAMETERS.contains(&name)
            && !value.is_empty()
            && !value.contains(',')
        {
            return Some(value.to_owned());
        }
    }
    // These name it in the path.
    if !matches!(venue.name(), "coinbase" | "bitstamp" | "gemini") {
        return None;
    }
    let mut parts = path.split('/').skip_while(|part| !PLACES.contains(part)).skip(1);
    let name = parts.next().filter(|name| !name.is_empty())?;
    Some(name.to_owned())
}

fn decodable() -> impl Iterator<Item = VenueId> {
    VenueId::all().filter(|venue| venue.spec().dialect.is_some())
}

/// The venue that a lower-case word begins with; the longest name where one begins like another.
fn named(word: &str) -> Option<VenueId> {
    let own = decodable().map(|venue| (venue.name(), venue));
    let others = ALIASES
        .iter()
        .filter_map(|(alias, name)| Some((*alias, VenueId::from_name(name)?)));
    own.chain(others)
        .filter(|(name, _)| {
            word.strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.', ' ']))
        })
        .max_by_key(|(name, _)| name.len())
        .map(|(_, venue)| venue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_addresses_and_connections_name_their_venue() {
        let name = |venue: Option<VenueId>| venue.map(VenueId::name);
        for (path, venue) in [
            ("data/kraken/captures/v1.jsonl", Some("kraken")),
            ("kraken-2024.jsonl.gz", Some("kraken")),
            ("binance/captures/us-combined.jsonl", Some("binance")),
            ("binance_us.jsonl", Some("binance-us")),
            ("binance-us/x", Some("binance-us")),
            ("crypto.com/x", Some("cryptocom")),
            ("okx/rest/okcoin-rest.jsonl", Some("okx")),
            ("GateIO/x", Some("gate")),
            ("extra-bitfinex/x", None),
            ("gateway.jsonl", None),
            ("-", None),
        ] {
            assert_eq!(name(venue_of_path(path)), venue, "{path}");
        }
        for (address, venue) in [
            ("wss://ws.kraken.com/v2", Some("kraken")),
            (
                "wss://stream.binance.us:9443/stream?streams=a",
                Some("binance-us"),
            ),
            ("wss://fstream.binance.com/ws", Some("binance")),
            ("https://api.gateio.ws/api/v4", Some("gate")),
            ("wss://evilkraken.com", None),
            ("wss://kraken.com.example.org", None),
        ] {
            assert_eq!(name(venue_of_address(address)), venue, "{address}");
        }
        let mut connections = Connections::default();
        let kraken = VenueId::from_name("kraken");
        assert_eq!(connections.venue(Some("a"), kraken, true), kraken);
        assert_eq!(connections.venue(Some("a"), None, false), kraken);
        assert_eq!(connections.venue(Some("KRAKEN.ws.1"), None, false), kraken);
        assert_eq!(
            name(connections.venue(Some("BINANCE_US-63b290"), None, false)),
            Some("binance-us")
        );
        assert_eq!(connections.venue(Some("b"), None, false), None);
        assert!(venue_names().starts_with("coinbase, kraken, "));
        assert_eq!(venue_of_name("mtgox"), None);
    }

    #[test]
    fn only_folders_say_that_files_hold_rest_answers() {
        assert!(is_rest("a/rest/b.jsonl") && is_rest("rest/b"));
        assert!(!is_rest("a/captures/rest") && !is_rest("rest-b/c") && !is_rest("-"));
    }

    #[test]
    fn requests_name_their_instrument() {
        let table = SymbolTable::builtin();
        for (venue, request, instrument) in [
            (
                "bitstamp",
                "https://www.bitstamp.net/api/v2/order_book/xlmeur",
                Some("xlmeur"),
            ),
            ("bitstamp", "/api/v2/ticker/btcusd/?", Some("btcusd")),
            ("bitstamp", "/api/v2/ticker/", None),
            ("bitstamp", "/api/v2/trading-pairs-info/?", None),
            (
                "binance",
                "/api/v3/depth?limit=1000&symbol=BTCUSDT",
                Some("BTCUSDT"),
            ),
            ("binance", "/api/v3/ticker/24hr?", None),
            (
                "coinbase",
                "https://api.exchange.coinbase.com/products/BTC-USD/ticker",
                Some("BTC-USD"),
            ),
            ("coinbase", "https://api.pro.coinbase.com/products", None),
            (
                "kraken",
                "https://api.kraken.com/0/public/Ticker?pair=ETHUSD",
                Some("ETH/USD"),
            ),
            ("kraken", "https://api.kraken.com/0/public/AssetPairs", None),
            ("kraken", "https://api.kraken.com", None),
        ] {
            let id = VenueId::from_name(venue).expect("a venue");
            let found = super::instrument(&table, id, request);
            assert_eq!(found.as_deref(), instrument, "{request}");
        }
    }
}
