//! Gemini (docs.gemini.com/websocket): `bookTicker` streams; what is there already comes before the
//! ack; one unknown stream fails the whole request.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::book::Tick;
use super::super::protocol::{Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, texts};

pub(super) static KIND: VenueKind = VenueKind {
    name: "gemini",
    stream_path: "/",
    limits: Limits {
        // Public requests of one address.
        messages: Some((120, Duration::from_secs(60))),
        ..Limits::NONE
    },
    timing: Timing::seconds(20, 60),
    open: |_| Box::new(Gemini::default()),
    rest,
};

#[derive(Default)]
struct Gemini {
    symbols: BTreeSet<String>,
    last_ping: u64,
}

fn ticker(tick: &Tick) -> String {
    let Tick {
        instrument,
        bid,
        ask,
        bid_size,
        ask_size,
        time_ns,
        sequence,
        ..
    } = tick;
    format!(
        r#"{{"u":{sequence},"E":{time_ns},"s":"{instrument}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}"#
    )
}

impl Protocol for Gemini {
    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let id = &message["id"];
        let ack = || format!(r#"{{"id":{id},"status":200}}"#);
        let refuse = |code: i32, problem: &str| {
            let problem = Value::from(problem);
            Out::Refusal(format!(
                r#"{{"id":{id},"status":400,"error":{{"code":{code},"msg":{problem}}}}}"#
            ))
        };
        let streams = texts(&message["params"]);
        match message["method"].as_str() {
            Some("subscribe") => {
                let symbol = |stream: &String| {
                    let symbol = stream.strip_suffix("@bookTicker")?;
                    desk.knows(symbol).then(|| symbol.to_owned())
                };
                if let Some(unknown) = streams.iter().find(|stream| symbol(stream).is_none()) {
                    return vec![refuse(-1013, &format!("Invalid stream name: {unknown}"))];
                }
                let mut outs = Vec::new();
                for symbol in streams.iter().filter_map(symbol) {
                    if let Some(tick) = desk.tick(&symbol) {
                        outs.push(Out::Quote {
                            text: ticker(&tick),
                            tick,
                        });
                    }
                    self.symbols.insert(symbol);
                }
                outs.push(Out::Ack(ack()));
                outs
            }
            Some("unsubscribe") => {
                for stream in &streams {
                    self.symbols.remove(stream.trim_end_matches("@bookTicker"));
                }
                vec![Out::Ack(ack())]
            }
            Some("ping") => vec![Out::Alive, Out::Beat(ack())],
            _ => vec![Out::unknown(text), refuse(-1100, "Invalid method")],
        }
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        if !self.symbols.contains(&tick.instrument) {
            return Vec::new();
        }
        vec![Out::Quote {
            tick: tick.clone(),
            text: ticker(tick),
        }]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if !desk.passed(self.last_ping, desk.timing.every) {
            return Vec::new();
        }
        self.last_ping = desk.now_ns;
        vec![Out::Ping]
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.symbols.clone()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    let (symbol, second) = match (call.after("/v1/pubticker/"), call.after("/v2/ticker/")) {
        (Some(symbol), _) => (symbol, false),
        (None, Some(symbol)) => (symbol, true),
        (None, None) => {
            let body =
                r#"{"result":"error","reason":"EndpointNotFound","message":"API entry point not found"}"#;
            return Answer::no_such_path(body);
        }
    };
    let Some(tick) = desk.tick(&symbol.to_ascii_lowercase()) else {
        let message = format!("Supplied value '{symbol}' is not a valid symbol.");
        let body = serde_json::json!({"result": "error", "reason": "Bad Request", "message": message});
        return Answer::new(400, body.to_string());
    };
    let Tick {
        bid,
        ask,
        last,
        time_ns,
        ..
    } = tick;
    let ms = time_ns / 1_000_000;
    Answer::ok(if second {
        let symbol = symbol.to_ascii_uppercase();
        format!(
            r#"{{"symbol":"{symbol}","open":"{last}","high":"{last}","low":"{last}","close":"{last}","changes":["{last}","{last}"],"bid":"{bid}","ask":"{ask}"}}"#
        )
    } else {
        format!(
            r#"{{"bid":"{bid}","ask":"{ask}","volume":{{"BTC":"915.6534281291","USD":"10394749.066094351423000000000000000095","timestamp":{ms}}},"last":"{last}"}}"#
        )
    })
}
