//! Crypto.com Exchange v1 (exchange-docs.crypto.com/exchange/v1): an ack without a result, an error per
//! unknown channel, and every 30 seconds a `public/heartbeat` that must be answered with the same id
//! within 5 seconds. One second must pass before the first request.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::book::Tick;
use super::super::protocol::{Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, texts};

pub(super) static KIND: VenueKind = VenueKind {
    name: "cryptocom",
    stream_path: "/exchange/v1/market",
    limits: Limits {
        messages: Some((100, Duration::from_secs(1))),
        instruments: Some(MOST),
        settle: Duration::from_secs(1),
        ..Limits::NONE
    },
    timing: Timing::seconds(30, 5),
    open: |_| Box::new(Cryptocom::default()),
    rest,
};

/// Most subscriptions of one connection.
const MOST: usize = 400;

#[derive(Default)]
struct Cryptocom {
    instruments: BTreeSet<String>,
    last_beat: u64,
    /// The heartbeat that was not answered yet: its id.
    asked: Option<u64>,
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
        r#"{{"h":"{last}","l":"{last}","a":"{last}","c":"-0.0144","b":"{bid}","bs":"{bid_size}","k":"{ask}","ks":"{ask_size}","i":"{instrument}","v":"123899","vv":"580747.59","oi":"0","t":{ms}}}"#
    )
}

fn update(tick: Tick) -> Out {
    let (instrument, ticker) = (&tick.instrument, ticker(&tick));
    let text = format!(
        r#"{{"id":-1,"method":"subscribe","code":0,"result":{{"instrument_name":"{instrument}","subscription":"ticker.{instrument}","channel":"ticker","data":[{ticker}]}}}}"#
    );
    Out::Quote { tick, text }
}

impl Protocol for Cryptocom {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.last_beat = desk.now_ns;
        Vec::new()
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let id = message["id"].as_i64().unwrap_or(-1);
        let method = message["method"].as_str().unwrap_or_default();
        match method {
            "subscribe" | "unsubscribe" => {}
            "public/respond-heartbeat" => {
                if message["id"].as_u64() != self.asked {
                    // An answer to no question is no answer.
                    return vec![Out::unknown(text)];
                }
                self.asked = None;
                return vec![Out::Alive];
            }
            _ => {
                let refusal =
                    format!(r#"{{"id":{id},"method":"{method}","code":40003,"message":"Invalid request"}}"#);
                return vec![Out::unknown(text), Out::Refusal(refusal)];
            }
        }
        let channels = texts(&message["params"]["channels"]);
        let (mut outs, mut news, mut confirmed) = (Vec::new(), Vec::new(), Vec::new());
        for channel in &channels {
            let known = channel.strip_prefix("ticker.").filter(|name| desk.knows(name));
            match known {
                Some(instrument) if method == "unsubscribe" => {
                    self.instruments.remove(instrument);
                    confirmed.push(channel);
                }
                Some(_) if self.instruments.len() >= MOST => outs.push(Out::Refusal(format!(
                    r#"{{"id":{id},"method":"subscribe","code":40107,"message":"Maximum subscriptions exceeded"}}"#
                ))),
                Some(instrument) => {
                    self.instruments.insert(instrument.to_owned());
                    news.extend(desk.tick(instrument));
                    confirmed.push(channel);
                }
                None => outs.push(Out::Refusal(format!(
                    r#"{{"id":{id},"method":"{method}","code":40003,"channel":"{channel}","message":"Unknown symbol"}}"#
                ))),
            }
        }
        // One ack per request; it names the channel if there is but one.
        match confirmed.as_slice() {
            [] => {}
            [channel] => outs.push(Out::Ack(format!(
                r#"{{"id":{id},"method":"{method}","code":0,"channel":"{channel}"}}"#
            ))),
            _ => outs.push(Out::Ack(format!(r#"{{"id":{id},"method":"{method}","code":0}}"#))),
        }
        outs.extend(news.into_iter().map(update));
        outs
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        if !self.instruments.contains(&tick.instrument) {
            return Vec::new();
        }
        vec![update(tick.clone())]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if self.asked.is_some() {
            if desk.passed(self.last_beat, desk.timing.patience) {
                return vec![Out::Timeout(1000, "heartbeat was not answered")];
            }
            return Vec::new();
        }
        if !desk.passed(self.last_beat, desk.timing.every) {
            return Vec::new();
        }
        self.last_beat = desk.now_ns;
        let id = desk.venue_ms();
        self.asked = Some(id);
        vec![Out::Beat(format!(
            r#"{{"id":{id},"method":"public/heartbeat","code":0}}"#
        ))]
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.instruments.clone()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if !call.is_get("/exchange/v1/public/get-tickers") {
        let time = super::super::protocol::rfc3339(desk.venue_ns(), 3).replace('Z', "+00:00");
        let path = call.path.trim_start_matches("/exchange");
        let body = serde_json::json!({"timestamp": time, "status": 404, "error": "Not Found", "path": path});
        return Answer::no_such_path(body.to_string());
    }
    match desk.tick(call.get("instrument_name")) {
        Some(tick) => Answer::ok(format!(
            r#"{{"id":-1,"method":"public/get-tickers","code":0,"result":{{"data":[{}]}}}}"#,
            ticker(&tick)
        )),
        None => Answer::new(400, r#"{"code":40004,"message":"Invalid instrument_name"}"#),
    }
}
