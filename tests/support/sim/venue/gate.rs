//! Gate v4 (gate.com/docs/developers/apiv4/ws): `spot.book_ticker`, told of at each change and not
//! upon subscription; one unknown pair fails the whole payload; `spot.ping` is answered by
//! `spot.pong`.

use std::collections::BTreeSet;
use std::time::Duration;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, member, texts,
};

pub(super) static KIND: VenueKind = VenueKind {
    name: "gate",
    stream_path: "/ws/v4/",
    limits: Limits {
        messages: Some((50, Duration::from_secs(1))),
        connections: Some((300, Duration::from_secs(300))),
        ..Limits::NONE
    },
    timing: Timing::seconds(20, 60),
    open: |_| Box::new(Gate::default()),
    rest,
};

#[derive(Default)]
struct Gate {
    pairs: BTreeSet<String>,
    last_ping: u64,
}

fn update(tick: &Tick, desk: &Desk<'_>) -> String {
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
    let (now, ms) = (desk.venue_ms(), time_ns / 1_000_000);
    format!(
        r#"{{"time":{},"time_ms":{now},"channel":"spot.book_ticker","event":"update","result":{{"t":{ms},"u":{sequence},"s":"{instrument}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}}}"#,
        now / 1_000
    )
}

impl Protocol for Gate {
    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let (now, id) = (desk.venue_ms(), member("id", &message["id"]));
        let head = format!(
            r#""time":{},"time_ms":{now}{id},"conn_id":"3e2ed73842f9228b""#,
            now / 1_000
        );
        let tail = r#""requestId":"591b14399528dc8711dbe13910a3ceb4""#;
        let channel = message["channel"].as_str().unwrap_or_default();
        if channel == "spot.ping" {
            let pong = format!(r#"{{{head},"channel":"spot.pong","event":"","result":null,{tail}}}"#);
            return vec![Out::Alive, Out::Beat(pong)];
        }
        let event = message["event"].as_str().unwrap_or_default();
        let payload = &message["payload"];
        let pairs = texts(payload);
        let refuse = |code: u32, problem: &str| {
            Out::Refusal(format!(
                r#"{{{head},"trace_id":"6e4f232b79391323e3a8a26fdd9b2d9e","channel":"{channel}","event":"{event}","payload":{payload},"error":{{"code":{code},"message":"{problem}"}},"result":{{"status":"fail"}},{tail}}}"#
            ))
        };
        match (channel, event) {
            ("spot.book_ticker", "subscribe") => {
                if let Some(unknown) = pairs.iter().find(|pair| !desk.knows(pair)) {
                    return vec![refuse(2, &format!("unknown currency pair: {unknown}"))];
                }
                self.pairs.extend(pairs);
            }
            ("spot.book_ticker", "unsubscribe") => self.pairs.retain(|pair| !pairs.contains(pair)),
            _ => return vec![Out::unknown(text), refuse(1, "invalid argument")],
        }
        vec![Out::Ack(format!(
            r#"{{{head},"trace_id":"789a534faf3c51651b7764b0ac63b4a8","channel":"{channel}","event":"{event}","payload":{payload},"result":{{"status":"success"}},{tail}}}"#
        ))]
    }

    fn quote(&mut self, tick: &Tick, desk: &Desk<'_>) -> Vec<Out> {
        if !self.pairs.contains(&tick.instrument) {
            return Vec::new();
        }
        vec![Out::Quote {
            tick: tick.clone(),
            text: update(tick, desk),
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
        self.pairs.clone()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    if !call.is_get("/api/v4/spot/tickers") {
        return Answer::no_such_path(r#"{"label":"NOT_FOUND","message":"URL not found"}"#);
    }
    let pair = call.get("currency_pair");
    let Some(tick) = desk.tick(pair) else {
        let message = format!("Invalid currency pair {pair}");
        let body = serde_json::json!({"label": "INVALID_CURRENCY_PAIR", "message": message});
        return Answer::new(400, body.to_string());
    };
    let Tick {
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        ..
    } = tick;
    Answer::ok(format!(
        r#"[{{"currency_pair":"{pair}","last":"{last}","lowest_ask":"{ask}","lowest_size":"{ask_size}","highest_bid":"{bid}","highest_size":"{bid_size}","change_percentage":"1.1","base_volume":"4726.066213526","quote_volume":"1602221.66468375534639404191","high_24h":"{last}","low_24h":"{last}"}}]"#
    ))
}
