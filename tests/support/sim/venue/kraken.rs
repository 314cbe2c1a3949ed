//! Kraken WebSocket v2 (docs.kraken.com/api/docs/websocket-v2/ticker): one ack or error per symbol,
//! prices as JSON numbers, a heartbeat each second once something is subscribed. Without
//! `event_trigger: bbo` a ticker comes upon trades only, and here is no trade.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, member, rfc3339, texts,
};

pub(super) static KIND: VenueKind = VenueKind {
    name: "kraken",
    stream_path: "/v2",
    limits: Limits {
        // Cloudflare's bound on the address, as the support pages have it.
        connections: Some((150, std::time::Duration::from_secs(600))),
        ..Limits::NONE
    },
    timing: Timing::seconds(1, 60),
    open: |_| Box::new(Kraken::default()),
    rest,
};

#[derive(Default)]
struct Kraken {
    /// Symbols, and whether each change of the best prices is told.
    symbols: BTreeMap<String, bool>,
    last_beat: u64,
}

fn ticker(tick: &Tick, kind: &str) -> String {
    let Tick {
        instrument,
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        time_ns,
        ..
    } = tick;
    let time = rfc3339(*time_ns, 6);
    format!(
        r#"{{"channel":"ticker","type":"{kind}","data":[{{"symbol":"{instrument}","bid":{bid},"bid_qty":{bid_size},"ask":{ask},"ask_qty":{ask_size},"last":{last},"volume":4182.59447976,"vwap":{last},"low":{last},"high":{last},"change":-0.00017,"change_pct":-0.17,"timestamp":"{time}"}}]}}"#
    )
}

impl Kraken {
    fn subscription(&mut self, method: &str, message: &Value, desk: &Desk<'_>) -> Vec<Out> {
        let params = &message["params"];
        let now = rfc3339(desk.venue_ns(), 6);
        let tail = format!(
            r#","time_in":"{now}","time_out":"{now}"{}"#,
            member("req_id", &message["req_id"])
        );
        let refuse = |symbol: &str, problem: &str| {
            let problem = Value::from(problem);
            let symbol = Value::from(symbol);
            Out::Refusal(format!(
                r#"{{"error":{problem},"method":"{method}","success":false,"symbol":{symbol}{tail}}}"#
            ))
        };
        if params["channel"] != "ticker" {
            let channel = params["channel"].to_string();
            return vec![
                Out::unknown(&message.to_string()),
                refuse(&channel, "Unsupported channel for the given msg type"),
            ];
        }
        let bbo = params["event_trigger"] == "bbo";
        let trigger = if bbo { "bbo" } else { "trades" };
        let snapshot = params["snapshot"].as_bool().unwrap_or(true);
        let (mut outs, mut news) = (Vec::new(), Vec::new());
        for symbol in texts(&params["symbol"]) {
            if method == "unsubscribe" {
                outs.push(match self.symbols.remove(&symbol) {
                    Some(_) => Out::Ack(format!(
                        r#"{{"method":"unsubscribe","result":{{"channel":"ticker","event_trigger":"{trigger}","symbol":"{symbol}"}},"success":true{tail}}}"#
                    )),
                    None => refuse(&symbol, "Subscription Not Found"),
                });
            } else if !desk.knows(&symbol) {
                outs.push(refuse(&symbol, &format!("Currency pair not supported {symbol}")));
            } else if self.symbols.contains_key(&symbol) {
                outs.push(refuse(&symbol, "Already subscribed"));
            } else {
                self.symbols.insert(symbol.clone(), bbo);
                outs.push(Out::Ack(format!(
                    r#"{{"method":"subscribe","result":{{"channel":"ticker","event_trigger":"{trigger}","snapshot":{snapshot},"symbol":"{symbol}"}},"success":true{tail}}}"#
                )));
                news.extend(desk.tick(&symbol).filter(|_| snapshot));
            }
        }
        outs.extend(news.into_iter().map(|tick| {
            let text = ticker(&tick, "snapshot");
            Out::Quote { tick, text }
        }));
        outs
    }
}

impl Protocol for Kraken {
    fn greet(&mut self, _: &Desk<'_>) -> Vec<Out> {
        vec![Out::Note(
            r#"{"channel":"status","data":[{"api_version":"v2","connection_id":12393906104898154338,"system":"online","version":"2.0.4"}],"type":"update"}"#
                .to_owned(),
        )]
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        match message["method"].as_str() {
            Some(method @ ("subscribe" | "unsubscribe")) => self.subscription(method, &message, desk),
            Some("ping") => {
                let now = rfc3339(desk.venue_ns(), 6);
                let id = member("req_id", &message["req_id"]);
                let pong = format!(r#"{{"method":"pong"{id},"time_in":"{now}","time_out":"{now}"}}"#);
                vec![Out::Alive, Out::Beat(pong)]
            }
            _ => vec![
                Out::unknown(text),
                Out::Refusal(r#"{"error":"Method not supported","success":false}"#.to_owned()),
            ],
        }
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        if self.symbols.get(&tick.instrument) != Some(&true) {
            return Vec::new();
        }
        vec![Out::Quote {
            tick: tick.clone(),
            text: ticker(tick, "update"),
        }]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if self.symbols.is_empty() || !desk.passed(self.last_beat, desk.timing.every) {
            return Vec::new();
        }
        self.last_beat = desk.now_ns;
        vec![Out::Beat(r#"{"channel":"heartbeat"}"#.to_owned())]
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.symbols.keys().cloned().collect()
    }
}

/// A pair without its slash and with today's names: `XBTUSD` and `BTC/USD` are one.
fn plain(pair: &str) -> String {
    pair.replace('/', "").replace("XBT", "BTC").replace("XDG", "DOGE")
}

/// The name that REST gives a pair that was asked for by this name.
fn rest_name(asked: &str, instrument: &str) -> String {
    if asked.contains('/') {
        return asked.to_owned();
    }
    let Some((base, quote)) = instrument.split_once('/') else {
        return asked.to_owned();
    };
    let base = base.replace("BTC", "XBT").replace("DOGE", "XDG");
    // The oldest assets bear a class in front.
    let old = ["XBT", "ETH", "LTC", "XRP", "XLM", "ETC"].contains(&base.as_str()) && quote == "USD";
    if old {
        format!("X{base}Z{quote}")
    } else {
        format!("{base}{quote}")
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if !call.is_get("/0/public/Ticker") {
        return Answer::no_such_path(r#"{"error":["EGeneral:Unknown method"]}"#);
    }
    let asked = call.get("pair");
    let found = desk.book.instruments().find(|name| plain(name) == plain(asked));
    let Some(tick) = found.and_then(|name| desk.tick(name)) else {
        return Answer::ok(r#"{"error":["EQuery:Unknown asset pair"]}"#);
    };
    let name = rest_name(asked, &tick.instrument);
    let Tick {
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        ..
    } = tick;
    Answer::ok(format!(
        r#"{{"error":[],"result":{{"{name}":{{"a":["{ask}","1","{ask_size}"],"b":["{bid}","1","{bid_size}"],"c":["{last}","0.00067643"],"v":["4083.67001100","4412.73601799"],"p":["{last}","{last}"],"t":[34619,38907],"l":["{last}","{last}"],"h":["{last}","{last}"],"o":"{last}"}}}}}}"#
    ))
}
