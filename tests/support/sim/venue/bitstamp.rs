//! Bitstamp WebSocket v2 (bitstamp.net/websocket/v2): no ticker, but the whole book of
//! `order_book_<pair>` and the trades of `live_trades_<pair>`; an unknown pair is confirmed and stays
//! silent; `bts:heartbeat` answers the client's own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::super::book::{Digits, Tick};
use super::super::protocol::{Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json};

pub(super) static KIND: VenueKind = VenueKind {
    name: "bitstamp",
    stream_path: "/",
    limits: Limits::NONE,
    timing: Timing::seconds(20, 60),
    open: |_| Box::new(Bitstamp::default()),
    rest,
};

/// Levels of a book; live it is 100.
const LEVELS: i128 = 5;

#[derive(Default)]
struct Bitstamp {
    channels: BTreeSet<String>,
}

fn book(tick: &Tick) -> String {
    let (micros, seconds) = (tick.time_ns / 1_000, tick.time_ns / 1_000_000_000);
    let side = |price: &str, size: &str, step: i128| {
        let best = Digits::parse(price);
        let mut levels = format!(r#"["{price}","{size}"]"#);
        for level in 1..LEVELS {
            let price = best.plus(step * level);
            write!(levels, r#",["{price}","{level}.00000000"]"#).expect("a String takes everything");
        }
        levels
    };
    let bids = side(&tick.bid, &tick.bid_size, -1);
    let asks = side(&tick.ask, &tick.ask_size, 1);
    let name = &tick.instrument;
    format!(
        r#"{{"data":{{"timestamp":"{seconds}","microtimestamp":"{micros}","bids":[{bids}],"asks":[{asks}]}},"channel":"order_book_{name}","event":"data"}}"#
    )
}

fn trade(tick: &Tick) -> String {
    let (micros, seconds) = (tick.time_ns / 1_000, tick.time_ns / 1_000_000_000);
    let Tick {
        instrument,
        last,
        bid_size,
        sequence,
        ..
    } = tick;
    format!(
        r#"{{"data":{{"id":{sequence},"timestamp":"{seconds}","amount":{bid_size},"amount_str":"{bid_size}","price":{last},"price_str":"{last}","type":0,"microtimestamp":"{micros}","buy_order_id":1348312843116544,"sell_order_id":1348312842252288}},"channel":"live_trades_{instrument}","event":"trade"}}"#
    )
}

fn refuse(problem: &str) -> Out {
    Out::Refusal(format!(
        r#"{{"event":"bts:error","channel":"","data":{{"code":null,"message":"{problem}"}}}}"#
    ))
}

impl Protocol for Bitstamp {
    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let channel = message["data"]["channel"].as_str().unwrap_or_default();
        let confirm = |word: &str| {
            Out::Ack(format!(
                r#"{{"event":"bts:{word}_succeeded","channel":"{channel}","data":{{}}}}"#
            ))
        };
        match message["event"].as_str() {
            None => vec![Out::unknown(text), refuse("Incorrect JSON format.")],
            Some("bts:heartbeat") => vec![
                Out::Alive,
                Out::Beat(r#"{"event":"bts:heartbeat","channel":"","data":{"status":"success"}}"#.to_owned()),
            ],
            Some("bts:subscribe") if desk.refuses() => vec![refuse("Bad subscription string.")],
            Some("bts:subscribe") => {
                let Some(pair) = pair(channel) else {
                    return vec![Out::unknown(text), refuse("Bad subscription string.")];
                };
                self.channels.insert(channel.to_owned());
                let mut outs = vec![confirm("subscription")];
                if let Some(tick) = desk.tick(pair).filter(|_| channel.starts_with("order_book_")) {
                    outs.push(Out::Quote {
                        text: book(&tick),
                        tick,
                    });
                }
                outs
            }
            Some("bts:unsubscribe") if self.channels.remove(channel) => vec![confirm("unsubscription")],
            Some("bts:unsubscribe") => vec![refuse("Bad subscription string.")],
            Some(_) => vec![Out::unknown(text), refuse("Bad event.")],
        }
    }

    fn quote(&mut self, tick: &Tick, _: &Desk<'_>) -> Vec<Out> {
        let mut outs = Vec::new();
        let subscribed = |channel: &str| self.channels.contains(&format!("{channel}_{}", tick.instrument));
        if subscribed("order_book") {
            outs.push(Out::Quote {
                tick: tick.clone(),
                text: book(tick),
            });
        }
        if subscribed("live_trades") {
            outs.push(Out::Quote {
                tick: tick.clone(),
                text: trade(tick),
            });
        }
        outs
    }

    fn reconnect(&self, _: &Desk<'_>) -> Option<String> {
        Some(r#"{"event":"bts:request_reconnect","channel":"","data":""}"#.to_owned())
    }

    fn instruments(&self) -> BTreeSet<String> {
        let pairs = self.channels.iter().filter_map(|channel| pair(channel));
        pairs.map(str::to_owned).collect()
    }
}

fn pair(channel: &str) -> Option<&str> {
    let pair = channel
        .strip_prefix("order_book_")
        .or_else(|| channel.strip_prefix("live_trades_"))?;
    (!pair.is_empty()).then_some(pair)
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    let Some(pair) = call.after("/api/v2/ticker/") else {
        return Answer::no_such_path(r#"{"status":"error","reason":"Not found","code":"API0404"}"#);
    };
    let Some(tick) = desk.tick(pair) else {
        return Answer::new(
            404,
            r#"{"code":"404.002","status":"error","reason":"Currency pair not found."}"#,
        );
    };
    let Tick {
        bid,
        ask,
        last,
        time_ns,
        ..
    } = tick;
    let seconds = time_ns / 1_000_000_000;
    Answer::ok(format!(
        r#"{{"timestamp":"{seconds}","open":"{last}","high":"{last}","low":"{last}","last":"{last}","volume":"213.26801100","vwap":"{last}","bid":"{bid}","ask":"{ask}","side":"0","open_24":"{last}","percent_change_24":"13.57","market_type":"SPOT"}}"#
    ))
}
