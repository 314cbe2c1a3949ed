//! KuCoin classic (kucoin.com/docs-new/3470063w0): a token and the endpoint come from a POST, a
//! connection begins with a welcome, and must be pinged within the interval that came with the
//! token. Tickers are told of at each change; an unknown symbol is confirmed and stays silent.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Opening, Out, Protocol, RestCall, Timing, VenueKind, json,
};
use super::super::stats::{Violation, ViolationKind};

pub(super) static KIND: VenueKind = VenueKind {
    name: "kucoin",
    stream_path: "/",
    limits: Limits {
        messages: Some((100, Duration::from_secs(10))),
        connections: Some((30, Duration::from_secs(60))),
        instruments: Some(MOST),
        settle: Duration::ZERO,
    },
    timing: Timing::seconds(18, 10),
    open,
    rest,
};

/// Most subscriptions of one connection.
const MOST: usize = 400;
/// Most symbols of one topic.
const ARGUMENTS: usize = 100;

fn open(opening: &Opening) -> Box<dyn Protocol> {
    let get = |name: &str| {
        let found = opening.query.iter().find(|(n, _)| n == name);
        found.map_or(String::new(), |(_, value)| value.clone())
    };
    Box::new(Kucoin {
        token: get("token"),
        connection: get("connectId"),
        symbols: BTreeSet::new(),
        last_life: 0,
    })
}

struct Kucoin {
    token: String,
    connection: String,
    symbols: BTreeSet<String>,
    last_life: u64,
}

fn refuse(id: &str, code: u32, problem: &str) -> Out {
    let (id, problem) = (Value::from(id), Value::from(problem));
    Out::Refusal(format!(
        r#"{{"id":{id},"type":"error","code":{code},"data":{problem}}}"#
    ))
}

impl Protocol for Kucoin {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.last_life = desk.now_ns;
        let id = Value::from(self.connection.as_str());
        if self.token != desk.token {
            let detail = if self.token.is_empty() {
                "no token"
            } else {
                "not the token of now"
            };
            return vec![
                Out::Violation(Violation::new(ViolationKind::Token, detail)),
                refuse(&self.connection, 401, "token is invalid"),
                Out::Close(1008, "token is invalid"),
            ];
        }
        vec![Out::Note(format!(r#"{{"id":{id},"type":"welcome"}}"#))]
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        self.last_life = desk.now_ns;
        let message = json(text);
        // A number is taken as well and comes back as a string.
        let id = match &message["id"] {
            Value::String(id) => id.clone(),
            other => other.to_string(),
        };
        let kind = message["type"].as_str().unwrap_or_default();
        match kind {
            "ping" => {
                let pong = format!(
                    r#"{{"id":{},"type":"pong","timestamp":{}}}"#,
                    Value::from(id),
                    desk.venue_ns() / 1_000
                );
                return vec![Out::Alive, Out::Beat(pong)];
            }
            "subscribe" | "unsubscribe" => {}
            _ => return vec![Out::unknown(text), refuse(&id, 400, "unknown type")],
        }
        let topic = message["topic"].as_str().unwrap_or_default();
        let symbols = topic
            .strip_prefix("/market/ticker:")
            .filter(|symbols| !symbols.is_empty());
        let Some(symbols) = symbols.filter(|_| !desk.refuses()) else {
            return vec![refuse(&id, 404, &format!("topic {topic} is not found"))];
        };
        let symbols: Vec<_> = symbols.split(',').map(str::to_owned).collect();
        let mut outs = Vec::new();
        if symbols.len() > ARGUMENTS {
            outs.push(Out::Violation(Violation::new(ViolationKind::Arguments, text)));
            outs.push(refuse(
                &id,
                509,
                "exceed max subscription count limitation of 100 per time",
            ));
            return outs;
        }
        if kind == "unsubscribe" {
            self.symbols.retain(|symbol| !symbols.contains(symbol));
        } else if self.symbols.len() + symbols.len() > MOST {
            return vec![refuse(
                &id,
                509,
                "exceed max subscription count limitation of 400 per session",
            )];
        } else {
            self.symbols.extend(symbols);
        }
        if message["response"] == true {
            outs.push(Out::Ack(format!(r#"{{"id":{},"type":"ack"}}"#, Value::from(id))));
        }
        outs
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        let Tick {
            instrument,
            bid,
            ask,
            last,
            bid_size,
            ask_size,
            time_ns,
            sequence,
        } = tick;
        if !self.symbols.contains(instrument) {
            return Vec::new();
        }
        let ms = time_ns / 1_000_000;
        let text = format!(
            r#"{{"type":"message","topic":"/market/ticker:{instrument}","subject":"trade.ticker","data":{{"sequence":"{sequence}","price":"{last}","size":"0.011","bestAsk":"{ask}","bestAskSize":"{ask_size}","bestBid":"{bid}","bestBidSize":"{bid_size}","time":{ms}}}}}"#
        );
        vec![Out::Quote {
            tick: tick.clone(),
            text,
        }]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if desk.passed(self.last_life, desk.timing.every + desk.timing.patience) {
            let error = r#"{"type":"error","code":400,"data":"ping timeout"}"#;
            return vec![Out::Note(error.to_owned()), Out::Timeout(1000, "ping timeout")];
        }
        Vec::new()
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.symbols.clone()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if call.path == "/api/v1/bullet-public" {
        if call.method != "POST" {
            return Answer {
                status: 405,
                ..Answer::no_such_path(r#"{"code":"405000","msg":"Method Not Allowed"}"#)
            };
        }
        let (token, base) = (desk.token, desk.stream_base);
        let [every, patience] = [desk.timing.every, desk.timing.patience].map(|time| time.as_millis());
        let encrypt = base.starts_with("wss");
        let body = format!(
            r#"{{"code":"200000","data":{{"token":"{token}","instanceServers":[{{"endpoint":"{base}/","encrypt":{encrypt},"protocol":"websocket","pingInterval":{every},"pingTimeout":{patience}}}]}}}}"#
        );
        return Answer {
            token: true,
            ..Answer::ok(body)
        };
    }
    if !call.is_get("/api/v1/market/orderbook/level1") {
        return Answer::no_such_path(r#"{"code":"404000","msg":"Url Not Found"}"#);
    }
    let Some(tick) = desk.tick(call.get("symbol")) else {
        return Answer::ok(r#"{"code":"200000","data":null}"#);
    };
    let Tick {
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        time_ns,
        sequence,
        ..
    } = tick;
    let ms = time_ns / 1_000_000;
    Answer::ok(format!(
        r#"{{"code":"200000","data":{{"time":{ms},"sequence":"{sequence}","price":"{last}","size":"0.17","bestBid":"{bid}","bestBidSize":"{bid_size}","bestAsk":"{ask}","bestAskSize":"{ask_size}"}}}}"#
    ))
}
