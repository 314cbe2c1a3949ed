//! What each venue's documentation has its clients say: written by hand, to meet the simulators with.

use crate::client::{Client, get, request};
use crate::sim::VenueSim;

/// A venue as its clients know it.
pub(crate) struct Venue {
    pub name: &'static str,
    pub instrument: &'static str,
    /// The request to subscribe to an instrument.
    pub subscribe: fn(instrument: &str) -> String,
    pub unsubscribe: fn(instrument: &str) -> String,
    /// What only the ack of that request contains.
    pub ack: &'static str,
    /// What only the ack of unsubscribing contains.
    pub unsubscribed: &'static str,
    /// What only the refusal contains; `None` where an unknown instrument is confirmed.
    pub refusal: Option<&'static str>,
    /// The venue says what is there as soon as one subscribes.
    pub snapshot: bool,
    /// A sign of life that is asked for by text, and what only its answer contains.
    pub ping: Option<(&'static str, &'static str)>,
    pub ticker: fn(instrument: &str) -> String,
    /// Status of the answer about an unknown instrument, and what it contains.
    pub not_found: (u16, &'static str),
}

/// Bid and ask that the tests quote.
pub(crate) const QUOTE: (&str, &str) = ("60000.12", "60000.34");
/// An instrument that no venue has.
pub(crate) const UNKNOWN: &str = "NOPE";

pub(crate) const VENUES: [Venue; 10] = [
    Venue {
        name: "coinbase",
        instrument: "BTC-USD",
        subscribe: |i| format!(r#"{{"type":"subscribe","channel":"ticker","product_ids":["{i}"]}}"#),
        unsubscribe: |i| format!(r#"{{"type":"unsubscribe","channel":"ticker","product_ids":["{i}"]}}"#),
        ack: r#""subscriptions":{"ticker":["BTC-USD"]}"#,
        unsubscribed: r#""subscriptions":{}"#,
        refusal: Some("is not a valid product"),
        snapshot: true,
        ping: None,
        ticker: |i| format!("/api/v3/brokerage/market/products/{i}/ticker?limit=1"),
        not_found: (404, "NOT_FOUND"),
    },
    Venue {
        name: "kraken",
        instrument: "BTC/USD",
        subscribe: |i| {
            format!(
                r#"{{"method":"subscribe","params":{{"channel":"ticker","symbol":["{i}"],"event_trigger":"bbo"}},"req_id":7}}"#
            )
        },
        unsubscribe: |i| {
            format!(
                r#"{{"method":"unsubscribe","params":{{"channel":"ticker","symbol":["{i}"]}},"req_id":8}}"#
            )
        },
        ack: r#""success":true"#,
        unsubscribed: r#""method":"unsubscribe""#,
        refusal: Some("Currency pair not supported"),
        snapshot: true,
        ping: Some((
            r#"{"method":"ping","req_id":42}"#,
            r#""method":"pong","req_id":42"#,
        )),
        ticker: |i| {
            format!(
                "/0/public/Ticker?pair={}",
                i.replace('/', "").replace("BTC", "XBT")
            )
        },
        not_found: (200, "EQuery:Unknown asset pair"),
    },
    Venue {
        name: "gemini",
        instrument: "btcusd",
        subscribe: |i| format!(r#"{{"id":1,"method":"subscribe","params":["{i}@bookTicker"]}}"#),
        unsubscribe: |i| format!(r#"{{"id":2,"method":"unsubscribe","params":["{i}@bookTicker"]}}"#),
        ack: r#"{"id":1,"status":200}"#,
        unsubscribed: r#"{"id":2,"status":200}"#,
        refusal: Some("Invalid stream name"),
        snapshot: true,
        ping: Some((r#"{"id":100,"method":"ping"}"#, r#"{"id":100,"status":200}"#)),
        ticker: |i| format!("/v1/pubticker/{i}"),
        not_found: (400, "is not a valid symbol"),
    },
    Venue {
        name: "okx",
        instrument: "BTC-USDT",
        subscribe: |i| format!(r#"{{"op":"subscribe","args":[{{"channel":"tickers","instId":"{i}"}}]}}"#),
        unsubscribe: |i| format!(r#"{{"op":"unsubscribe","args":[{{"channel":"tickers","instId":"{i}"}}]}}"#),
        ack: r#""event":"subscribe""#,
        unsubscribed: r#""event":"unsubscribe""#,
        refusal: Some("60018"),
        snapshot: true,
        ping: Some(("ping", "pong")),
        ticker: |i| format!("/api/v5/market/ticker?instId={i}"),
        not_found: (200, "51001"),
    },
    Venue {
        name: "cryptocom",
        instrument: "BTC_USD",
        subscribe: |i| format!(r#"{{"id":1,"method":"subscribe","params":{{"channels":["ticker.{i}"]}}}}"#),
        unsubscribe: |i| {
            format!(r#"{{"id":2,"method":"unsubscribe","params":{{"channels":["ticker.{i}"]}}}}"#)
        },
        ack: r#"{"id":1,"method":"subscribe","code":0"#,
        unsubscribed: r#"{"id":2,"method":"unsubscribe","code":0"#,
        refusal: Some("Unknown symbol"),
        snapshot: true,
        ping: None,
        ticker: |i| format!("/exchange/v1/public/get-tickers?instrument_name={i}"),
        not_found: (400, "40004"),
    },
    Venue {
        name: "gate",
        instrument: "BTC_USDT",
        subscribe: |i| {
            format!(
                r#"{{"time":1611541000,"channel":"spot.book_ticker","event":"subscribe","payload":["{i}"]}}"#
            )
        },
        unsubscribe: |i| {
            format!(
                r#"{{"time":1611541000,"channel":"spot.book_ticker","event":"unsubscribe","payload":["{i}"]}}"#
            )
        },
        ack: r#""result":{"status":"success"}"#,
        unsubscribed: r#""event":"unsubscribe""#,
        refusal: Some("unknown currency pair"),
        snapshot: false,
        ping: Some((
            r#"{"time":1790134410,"channel":"spot.ping"}"#,
            r#""channel":"spot.pong""#,
        )),
        ticker: |i| format!("/api/v4/spot/tickers?currency_pair={i}"),
        not_found: (400, "INVALID_CURRENCY_PAIR"),
    },
    Venue {
        name: "binance",
        instrument: "BTCUSDT",
        subscribe: |i| {
            let i = i.to_ascii_lowercase();
            format!(r#"{{"method":"SUBSCRIBE","params":["{i}@bookTicker"],"id":1}}"#)
        },
        unsubscribe: |i| {
            let i = i.to_ascii_lowercase();
            format!(r#"{{"method":"UNSUBSCRIBE","params":["{i}@bookTicker"],"id":2}}"#)
        },
        ack: r#"{"result":null,"id":1}"#,
        unsubscribed: r#"{"result":null,"id":2}"#,
        refusal: None,
        snapshot: false,
        ping: None,
        ticker: |i| format!("/api/v3/ticker/bookTicker?symbol={i}"),
        not_found: (400, "-1121"),
    },
    Venue {
        name: "bitstamp",
        instrument: "btcusd",
        subscribe: |i| format!(r#"{{"event":"bts:subscribe","data":{{"channel":"order_book_{i}"}}}}"#),
        unsubscribe: |i| format!(r#"{{"event":"bts:unsubscribe","data":{{"channel":"order_book_{i}"}}}}"#),
        ack: "bts:subscription_succeeded",
        unsubscribed: "bts:unsubscription_succeeded",
        refusal: None,
        snapshot: true,
        ping: Some((r#"{"event":"bts:heartbeat"}"#, r#""event":"bts:heartbeat""#)),
        ticker: |i| format!("/api/v2/ticker/{i}/"),
        not_found: (404, "pair not found"),
    },
    Venue {
        name: "bybit",
        instrument: "BTCUSDT",
        subscribe: |i| format!(r#"{{"req_id":"1","op":"subscribe","args":["orderbook.1.{i}"]}}"#),
        unsubscribe: |i| format!(r#"{{"req_id":"2","op":"unsubscribe","args":["orderbook.1.{i}"]}}"#),
        ack: r#""req_id":"1","op":"subscribe""#,
        unsubscribed: r#""op":"unsubscribe""#,
        refusal: Some("Invalid symbol"),
        snapshot: true,
        ping: Some((r#"{"req_id":"100001","op":"ping"}"#, r#""ret_msg":"pong""#)),
        ticker: |i| format!("/v5/market/tickers?category=spot&symbol={i}"),
        not_found: (200, "Not supported symbols"),
    },
    Venue {
        name: "kucoin",
        instrument: "BTC-USDT",
        subscribe: |i| {
            format!(
                r#"{{"id":"1","type":"subscribe","topic":"/market/ticker:{i}","privateChannel":false,"response":true}}"#
            )
        },
        unsubscribe: |i| {
            format!(
                r#"{{"id":"2","type":"unsubscribe","topic":"/market/ticker:{i}","privateChannel":false,"response":true}}"#
            )
        },
        ack: r#"{"id":"1","type":"ack"}"#,
        unsubscribed: r#"{"id":"2","type":"ack"}"#,
        refusal: None,
        snapshot: false,
        ping: Some((r#"{"id":"9","type":"ping"}"#, r#"{"id":"9","type":"pong""#)),
        ticker: |i| format!("/api/v1/market/orderbook/level1?symbol={i}"),
        not_found: (200, r#""data":null"#),
    },
];

/// The venue of this name.
pub(crate) fn venue(name: &str) -> &'static Venue {
    let found = VENUES.iter().find(|venue| venue.name == name);
    found.unwrap_or_else(|| panic!("no venue {name:?}"))
}

impl Venue {
    /// The simulator, over TLS, with the instrument listed.
    pub(crate) fn start(&self) -> VenueSim {
        let sim = VenueSim::start(self.name, true);
        sim.list(self.instrument);
        sim
    }

    /// A connection, by way of the token where the venue gives one.
    pub(crate) fn connect(&self, sim: &VenueSim) -> Client {
        Client::connect(&self.address(sim)).expect("connected")
    }

    /// Where to connect.
    pub(crate) fn address(&self, sim: &VenueSim) -> String {
        if self.name != "kucoin" {
            return sim.stream_url();
        }
        let answer = request(&sim.rest_url(), "POST", "/api/v1/bullet-public").expect("an answer");
        let answer: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        let server = &answer["data"]["instanceServers"][0];
        let (endpoint, token) = (server["endpoint"].as_str(), answer["data"]["token"].as_str());
        format!(
            "{}?token={}&connectId=test",
            endpoint.expect("an endpoint"),
            token.expect("a token")
        )
    }

    /// A connection that is subscribed and has its ack.
    pub(crate) fn subscribed(&self, sim: &VenueSim) -> Client {
        let mut client = self.connect(sim);
        client.send(&(self.subscribe)(self.instrument));
        client.until(|text| text.contains(self.ack));
        client
    }

    /// The REST ticker.
    pub(crate) fn rest(&self, sim: &VenueSim, instrument: &str) -> crate::client::Answer {
        get(&sim.rest_url(), &(self.ticker)(instrument)).expect("an answer")
    }
}
