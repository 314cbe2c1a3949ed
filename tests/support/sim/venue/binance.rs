//! Binance and Binance.US spot (developers.binance.com/docs/binance-spot-api-docs/web-socket-streams):
//! combined streams of `bookTicker`, told of at each change and not upon subscription; unknown
//! streams are confirmed and stay silent; pings of the WebSocket layer must be answered.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Opening, Out, Protocol, RestCall, Timing, VenueKind, json, texts,
};

pub(super) static KIND: VenueKind = kind("binance");
pub(super) static KIND_US: VenueKind = kind("binance-us");

const fn kind(name: &'static str) -> VenueKind {
    VenueKind {
        name,
        stream_path: "/stream",
        limits: Limits {
            // Pings and pongs included; who goes beyond is cut off.
            messages: Some((5, Duration::from_secs(1))),
            connections: Some((300, Duration::from_secs(300))),
            instruments: Some(1_024),
            settle: Duration::ZERO,
        },
        timing: Timing::seconds(20, 60),
        open,
        rest,
    }
}

fn open(opening: &Opening) -> Box<dyn Protocol> {
    let asked = opening.query.iter().find(|(name, _)| name == "streams");
    let streams = asked.map_or("", |(_, value)| value.as_str()).split('/');
    Box::new(Binance {
        streams: streams
            .filter(|stream| !stream.is_empty())
            .map(str::to_owned)
            .collect(),
        ..Binance::default()
    })
}

#[derive(Default)]
struct Binance {
    streams: BTreeSet<String>,
    last_ping: u64,
    /// Since when a ping is not answered.
    unanswered: Option<u64>,
}

impl Protocol for Binance {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.last_ping = desk.now_ns;
        Vec::new()
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let id = &message["id"];
        let streams = texts(&message["params"]);
        let refuse = |problem: &str| {
            let problem = Value::from(problem);
            Out::Refusal(format!(r#"{{"error":{{"code":2,"msg":{problem}}},"id":{id}}}"#))
        };
        match message["method"].as_str() {
            Some("SUBSCRIBE") if desk.refuses() => {
                return vec![refuse("Invalid request: too many parameters")];
            }
            Some("SUBSCRIBE") => self.streams.extend(streams),
            Some("UNSUBSCRIBE") => self.streams.retain(|stream| !streams.contains(stream)),
            Some("LIST_SUBSCRIPTIONS") => {
                let list: Value = self.streams.iter().cloned().collect();
                return vec![Out::Ack(format!(r#"{{"result":{list},"id":{id}}}"#))];
            }
            _ => return vec![Out::unknown(text), refuse("Invalid request: unknown variant")],
        }
        vec![Out::Ack(format!(r#"{{"result":null,"id":{id}}}"#))]
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        let Tick {
            instrument,
            bid,
            ask,
            bid_size,
            ask_size,
            sequence,
            ..
        } = tick;
        let stream = format!("{}@bookTicker", instrument.to_ascii_lowercase());
        if !self.streams.contains(&stream) {
            return Vec::new();
        }
        let text = format!(
            r#"{{"stream":"{stream}","data":{{"u":{sequence},"s":"{instrument}","b":"{bid}","B":"{bid_size}","a":"{ask}","A":"{ask_size}"}}}}"#
        );
        vec![Out::Quote {
            tick: tick.clone(),
            text,
        }]
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if self
            .unanswered
            .is_some_and(|since| desk.passed(since, desk.timing.patience))
        {
            return vec![Out::Timeout(1008, "Pong timeout")];
        }
        if !desk.passed(self.last_ping, desk.timing.every) {
            return Vec::new();
        }
        self.last_ping = desk.now_ns;
        self.unanswered = self.unanswered.or(Some(desk.now_ns));
        vec![Out::Ping]
    }

    fn sign_of_life(&mut self, _: &Desk<'_>) {
        self.unanswered = None;
    }

    fn reconnect(&self, desk: &Desk<'_>) -> Option<String> {
        Some(format!(r#"{{"e":"serverShutdown","E":{}}}"#, desk.venue_ms()))
    }

    fn instruments(&self) -> BTreeSet<String> {
        let names = self
            .streams
            .iter()
            .filter_map(|stream| stream.strip_suffix("@bookTicker"));
        names.map(str::to_ascii_uppercase).collect()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    let day = call.is_get("/api/v3/ticker/24hr");
    if !day && !call.is_get("/api/v3/ticker/bookTicker") {
        return Answer::no_such_path("<html><body><h2>404 Not found</h2></body></html>");
    }
    let Some(tick) = desk.tick(call.get("symbol")) else {
        return Answer::new(400, r#"{"code":-1121,"msg":"Invalid symbol."}"#);
    };
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
    let quote = format!(
        r#""symbol":"{instrument}","bidPrice":"{bid}","bidQty":"{bid_size}","askPrice":"{ask}","askQty":"{ask_size}""#
    );
    let ms = time_ns / 1_000_000;
    Answer::ok(if day {
        format!(
            r#"{{{quote},"priceChange":"-0.00073400","priceChangePercent":"-1.757","weightedAvgPrice":"{last}","prevClosePrice":"{last}","lastPrice":"{last}","lastQty":"1.06900000","openPrice":"{last}","highPrice":"{last}","lowPrice":"{last}","volume":"410969.51200000","quoteVolume":"16980.13811233","openTime":{ms},"closeTime":{ms},"firstId":221265272,"lastId":221725714,"count":460443}}"#
        )
    } else {
        format!("{{{quote}}}")
    })
}
