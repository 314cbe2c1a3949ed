//! OKX v5 (okx.com/docs-v5): JSON but for `ping` and `pong`, which are bare words; an ack per channel
//! and instrument, repeated as often as asked; a connection over which nothing goes for 30 seconds
//! is closed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, member,
};
use super::super::stats::{Violation, ViolationKind};

pub(super) static KIND: VenueKind = VenueKind {
    name: "okx",
    stream_path: "/ws/v5/public",
    limits: Limits {
        // Requests to subscribe and unsubscribe, on one connection.
        messages: Some((480, Duration::from_secs(3_600))),
        connections: Some((3, Duration::from_secs(1))),
        ..Limits::NONE
    },
    timing: Timing::seconds(30, 30),
    open: |_| Box::new(Okx::default()),
    rest,
};

/// The channels that quote.
const CHANNELS: [&str; 2] = ["tickers", "bbo-tbt"];
/// Longest list of channels in a request, bytes.
const ARGUMENT_BYTES: usize = 64 << 10;

#[derive(Default)]
struct Okx {
    /// Channels with their instruments.
    subscribed: BTreeSet<(String, String)>,
    last_traffic: u64,
}

/// The members of a ticker, on the stream and at REST alike.
fn ticker(tick: &Tick) -> String {
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
    let ms = time_ns / 1_000_000;
    format!(
        r#"{{"instType":"SPOT","instId":"{instrument}","last":"{last}","lastSz":"0.1","askPx":"{ask}","askSz":"{ask_size}","bidPx":"{bid}","bidSz":"{bid_size}","open24h":"{last}","high24h":"{last}","low24h":"{last}","sodUtc0":"{last}","sodUtc8":"{last}","volCcy24h":"278377.765301","vol24h":"39168761.49997","ts":"{ms}"}}"#
    )
}

/// The best level of either side, of the channel `bbo-tbt`.
fn level(tick: &Tick) -> String {
    let Tick {
        bid,
        ask,
        bid_size,
        ask_size,
        time_ns,
        sequence,
        ..
    } = tick;
    let ms = time_ns / 1_000_000;
    format!(
        r#"{{"asks":[["{ask}","{ask_size}","0","2"]],"bids":[["{bid}","{bid_size}","0","3"]],"ts":"{ms}","seqId":{sequence}}}"#
    )
}

fn update(channel: &str, tick: Tick) -> Out {
    let instrument = &tick.instrument;
    let data = if channel == "tickers" {
        ticker(&tick)
    } else {
        level(&tick)
    };
    let text = format!(r#"{{"arg":{{"channel":"{channel}","instId":"{instrument}"}},"data":[{data}]}}"#);
    Out::Quote { tick, text }
}

fn refuse(code: u32, problem: &str, id: &Value) -> Out {
    let (id, problem) = (member("id", id), Value::from(problem));
    Out::Refusal(format!(
        r#"{{"event":"error","code":"{code}","msg":{problem},"connId":"a4d3ae55"{id}}}"#
    ))
}

impl Protocol for Okx {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.last_traffic = desk.now_ns;
        Vec::new()
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        self.last_traffic = desk.now_ns;
        if text == "ping" {
            return vec![Out::Alive, Out::Beat("pong".to_owned())];
        }
        let message = json(text);
        let (op, id) = (message["op"].as_str().unwrap_or_default(), &message["id"]);
        let args = message["args"].as_array().filter(|args| !args.is_empty());
        let (Some(args), "subscribe" | "unsubscribe") = (args, op) else {
            return vec![
                Out::unknown(text),
                refuse(60_012, &format!("Invalid request: {text}"), id),
            ];
        };
        let (mut outs, mut news) = (Vec::new(), Vec::new());
        if message["args"].to_string().len() > ARGUMENT_BYTES {
            outs.push(Out::Violation(Violation::new(ViolationKind::Arguments, text)));
        }
        for arg in args {
            let channel = arg["channel"].as_str().unwrap_or_default();
            let instrument = arg["instId"].as_str().unwrap_or_default();
            let subscription = (channel.to_owned(), instrument.to_owned());
            if op == "unsubscribe" {
                self.subscribed.remove(&subscription);
            } else if CHANNELS.contains(&channel) && desk.knows(instrument) {
                self.subscribed.insert(subscription);
                news.extend(desk.tick(instrument).map(|tick| update(channel, tick)));
            } else {
                let problem = format!(
                    "Wrong URL or channel:{channel},instId:{instrument} doesn't exist. Please use the correct URL, channel and parameters referring to API document."
                );
                outs.push(refuse(60_018, &problem, id));
                continue;
            }
            let id = member("id", id);
            outs.push(Out::Ack(format!(
                r#"{{"event":"{op}","arg":{{"channel":"{channel}","instId":"{instrument}"}},"connId":"a4d3ae55"{id}}}"#
            )));
        }
        outs.extend(news);
        outs
    }

    fn quote(&mut self, tick: &Tick, desk: &Desk<'_>) -> Vec<Out> {
        let wanted = self
            .subscribed
            .iter()
            .filter(|(_, instrument)| *instrument == tick.instrument);
        let outs: Vec<_> = wanted.map(|(channel, _)| update(channel, tick.clone())).collect();
        if !outs.is_empty() {
            self.last_traffic = desk.now_ns;
        }
        outs
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if desk.passed(self.last_traffic, desk.timing.patience) {
            return vec![Out::Timeout(4004, "No data received in 30s.")];
        }
        Vec::new()
    }

    fn reconnect(&self, _: &Desk<'_>) -> Option<String> {
        let notice = r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade. Please reconnect.","connId":"a4d3ae55"}"#;
        Some(notice.to_owned())
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.subscribed
            .iter()
            .map(|(_, instrument)| instrument.clone())
            .collect()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if !call.is_get("/api/v5/market/ticker") {
        return Answer::no_such_path(
            r#"{"code":"404","data":{},"detailMsg":"","error_code":"404","error_message":"Not Found","msg":"Not Found"}"#,
        );
    }
    Answer::ok(match desk.tick(call.get("instId")) {
        Some(tick) => format!(r#"{{"code":"0","msg":"","data":[{}]}}"#, ticker(&tick)),
        None => r#"{"code":"51001","data":[],"msg":"Instrument ID, Instrument ID code, or Spread ID doesn't exist."}"#
            .to_owned(),
    })
}
