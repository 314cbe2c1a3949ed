//! Bybit v5 spot (bybit-exchange.github.io/docs/v5/ws/connect): `orderbook.1.<symbol>` is a snapshot at
//! each change, and again after 3 seconds without one; at most 10 topics a request; a ping is answered
//! in the shape of an ack.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, member, texts,
};
use super::super::stats::{Violation, ViolationKind};

pub(super) static KIND: VenueKind = VenueKind {
    name: "bybit",
    stream_path: "/v5/public/spot",
    limits: Limits {
        connections: Some((500, Duration::from_secs(300))),
        ..Limits::NONE
    },
    timing: Timing::seconds(20, 600),
    open: |_| Box::new(Bybit::default()),
    rest,
};

/// Most topics of a request, on spot.
const ARGUMENTS: usize = 10;
/// After this time without a change the book is sent again.
const AGAIN: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Bybit {
    /// Symbols, and when their book was sent last.
    symbols: BTreeMap<String, u64>,
    last_life: u64,
}

fn book(tick: Tick, desk: &Desk<'_>) -> Out {
    let Tick {
        instrument,
        bid,
        ask,
        bid_size,
        ask_size,
        time_ns,
        sequence,
        ..
    } = &tick;
    let (ts, cts) = (desk.venue_ms(), time_ns / 1_000_000);
    let text = format!(
        r#"{{"topic":"orderbook.1.{instrument}","ts":{ts},"type":"snapshot","data":{{"s":"{instrument}","b":[["{bid}","{bid_size}"]],"a":[["{ask}","{ask_size}"]],"u":{sequence},"seq":{sequence}}},"cts":{cts}}}"#
    );
    Out::Quote { tick, text }
}

impl Protocol for Bybit {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.last_life = desk.now_ns;
        Vec::new()
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        self.last_life = desk.now_ns;
        let message = json(text);
        let op = message["op"].as_str().unwrap_or_default();
        let id = member("req_id", &message["req_id"]);
        let answer = |success: bool, words: &str| {
            let words = serde_json::Value::from(words);
            format!(
                r#"{{"success":{success},"ret_msg":{words},"conn_id":"5758770c-8152-4545-a84f-dae089e56499"{id},"op":"{op}"}}"#
            )
        };
        let topics = texts(&message["args"]);
        let symbol = |topic: &String| {
            let symbol = topic.strip_prefix("orderbook.1.")?;
            desk.knows(symbol).then(|| symbol.to_owned())
        };
        match op {
            "ping" => return vec![Out::Alive, Out::Beat(answer(true, "pong"))],
            "subscribe" | "unsubscribe" if topics.len() > ARGUMENTS => {
                let violation = Violation::new(ViolationKind::Arguments, text);
                return vec![
                    Out::Violation(violation),
                    Out::Refusal(answer(false, "args size >10")),
                ];
            }
            "subscribe" | "unsubscribe" => {}
            _ => return vec![Out::unknown(text), Out::Refusal(answer(false, "unknown op"))],
        }
        if let Some(unknown) = topics.iter().find(|topic| symbol(topic).is_none()) {
            return vec![Out::Refusal(answer(
                false,
                &format!("Invalid symbol :[{unknown}]"),
            ))];
        }
        let mut outs = vec![Out::Ack(answer(true, op))];
        for symbol in topics.iter().filter_map(symbol) {
            if op == "unsubscribe" {
                self.symbols.remove(&symbol);
                continue;
            }
            outs.extend(desk.tick(&symbol).map(|tick| book(tick, desk)));
            self.symbols.insert(symbol, desk.now_ns);
        }
        outs
    }

    fn quote(&mut self, tick: &Tick, desk: &Desk<'_>) -> Vec<Out> {
        let Some(sent) = self.symbols.get_mut(&tick.instrument) else {
            return Vec::new();
        };
        *sent = desk.now_ns;
        vec![book(tick.clone(), desk)]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if desk.passed(self.last_life, desk.timing.patience) {
            return vec![Out::Timeout(1000, "no ping")];
        }
        let mut outs = Vec::new();
        for (symbol, sent) in &mut self.symbols {
            if desk.passed(*sent, AGAIN) {
                *sent = desk.now_ns;
                outs.extend(desk.tick(symbol).map(|tick| book(tick, desk)));
            }
        }
        outs
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.symbols.keys().cloned().collect()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if !call.is_get("/v5/market/tickers") {
        return Answer::no_such_path("404 page not found");
    }
    let now = desk.venue_ms();
    let refuse = |problem: &str| {
        Answer::ok(format!(
            r#"{{"retCode":10001,"retMsg":"{problem}","result":{{}},"retExtInfo":{{}},"time":{now}}}"#
        ))
    };
    if call.get("category") != "spot" {
        return refuse("params error: Category is invalid");
    }
    let Some(tick) = desk.tick(call.get("symbol")) else {
        return refuse("Not supported symbols");
    };
    let Tick {
        instrument,
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        ..
    } = tick;
    Answer::ok(format!(
        r#"{{"retCode":0,"retMsg":"OK","result":{{"category":"spot","list":[{{"symbol":"{instrument}","bid1Price":"{bid}","bid1Size":"{bid_size}","ask1Price":"{ask}","ask1Size":"{ask_size}","lastPrice":"{last}","prevPrice24h":"{last}","price24hPcnt":"0.0068","highPrice24h":"{last}","lowPrice24h":"{last}","turnover24h":"243765620.65899866","volume24h":"11801.27771","usdIndexPrice":"{last}"}}]}},"retExtInfo":{{}},"time":{now}}}"#
    ))
}
