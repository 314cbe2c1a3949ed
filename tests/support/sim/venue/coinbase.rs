//! Coinbase Advanced Trade (docs.cdp.coinbase.com/advanced-trade/docs/ws-overview): every message of
//! a connection bears the next `sequence_num`; unknown products are refused and the rest is
//! confirmed; who subscribes to nothing for 5 seconds is cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::book::Tick;
use super::super::protocol::{
    Answer, Desk, Limits, Out, Protocol, RestCall, Timing, VenueKind, json, rfc3339, texts,
};
use super::super::stats::{Violation, ViolationKind};

pub(super) static KIND: VenueKind = VenueKind {
    name: "coinbase",
    stream_path: "/",
    limits: Limits {
        messages: Some((8, Duration::from_secs(1))),
        ..Limits::NONE
    },
    timing: Timing::seconds(1, 5),
    open: |_| Box::new(Coinbase::default()),
    rest,
};

/// Where the number of the message goes: it is given when the message is sent.
const NUMBER: &str = "<sequence>";

#[derive(Default)]
struct Coinbase {
    next: u64,
    channels: BTreeMap<String, BTreeSet<String>>,
    heartbeats: bool,
    beats: u64,
    last_beat: u64,
    opened: u64,
}

impl Coinbase {
    fn frame(channel: &str, events: &str, desk: &Desk<'_>) -> String {
        let time = rfc3339(desk.venue_ns(), 9);
        format!(
            r#"{{"channel":"{channel}","client_id":"","timestamp":"{time}","sequence_num":{NUMBER},"events":[{events}]}}"#
        )
    }

    fn tickers(channel: &str, kind: &str, ticks: &[Tick], desk: &Desk<'_>) -> String {
        let tickers: Vec<_> = ticks.iter().map(ticker).collect();
        let tickers = tickers.join(",");
        Self::frame(
            channel,
            &format!(r#"{{"type":"{kind}","tickers":[{tickers}]}}"#),
            desk,
        )
    }

    /// All subscriptions, as the venue lists them after each change.
    fn subscriptions(&self, desk: &Desk<'_>) -> Out {
        let mut list = serde_json::Map::new();
        for (channel, products) in &self.channels {
            list.insert(channel.clone(), products.iter().cloned().collect());
        }
        if self.heartbeats {
            list.insert("heartbeats".to_owned(), vec!["heartbeats"].into());
        }
        let list = serde_json::Value::from(list);
        Out::Ack(Self::frame(
            "subscriptions",
            &format!(r#"{{"subscriptions":{list}}}"#),
            desk,
        ))
    }

    fn subscribe(&mut self, channel: &str, products: &[String], desk: &Desk<'_>) -> Vec<Out> {
        let mut outs = Vec::new();
        let mut news = Vec::new();
        for product in products {
            if desk.knows(product) {
                let new = self
                    .channels
                    .entry(channel.to_owned())
                    .or_default()
                    .insert(product.clone());
                news.extend(desk.tick(product).filter(|_| new));
            } else {
                let reason = format!("{product} is not a valid product");
                outs.push(Out::Refusal(error("Failed to subscribe", &reason)));
            }
        }
        if self.channels.contains_key(channel) {
            outs.push(self.subscriptions(desk));
        }
        for tick in news {
            let text = Self::tickers(channel, "snapshot", std::slice::from_ref(&tick), desk);
            outs.push(Out::Quote { tick, text });
        }
        outs
    }
}

fn error(message: &str, reason: &str) -> String {
    serde_json::json!({"type": "error", "message": message, "reason": reason}).to_string()
}

fn ticker(tick: &Tick) -> String {
    let Tick {
        instrument,
        bid,
        ask,
        last,
        bid_size,
        ask_size,
        ..
    } = tick;
    format!(
        r#"{{"type":"ticker","product_id":"{instrument}","price":"{last}","volume_24_h":"16038.28770938","low_24_h":"{last}","high_24_h":"{last}","low_52_w":"{last}","high_52_w":"{last}","price_percent_chg_24_h":"-4.15775596190603","best_bid":"{bid}","best_bid_quantity":"{bid_size}","best_ask":"{ask}","best_ask_quantity":"{ask_size}"}}"#
    )
}

impl Protocol for Coinbase {
    fn greet(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        self.opened = desk.now_ns;
        Vec::new()
    }

    fn on_message(&mut self, text: &str, desk: &Desk<'_>) -> Vec<Out> {
        let message = json(text);
        let channel = message["channel"].as_str().unwrap_or_default();
        let products = texts(&message["product_ids"]);
        match (message["type"].as_str(), channel) {
            (Some("subscribe"), _) if desk.refuses() => {
                vec![Out::Refusal(error("Failed to subscribe", "rate limit exceeded"))]
            }
            (Some("subscribe"), "heartbeats") => {
                self.heartbeats = true;
                vec![self.subscriptions(desk)]
            }
            (Some("subscribe"), "ticker" | "ticker_batch") => self.subscribe(channel, &products, desk),
            (Some("unsubscribe"), "heartbeats") => {
                self.heartbeats = false;
                vec![self.subscriptions(desk)]
            }
            (Some("unsubscribe"), "ticker" | "ticker_batch") => {
                if let Some(subscribed) = self.channels.get_mut(channel) {
                    subscribed.retain(|product| !products.contains(product));
                    if subscribed.is_empty() {
                        self.channels.remove(channel);
                    }
                }
                vec![self.subscriptions(desk)]
            }
            (Some("subscribe" | "unsubscribe"), _) => {
                let violation = Violation::new(ViolationKind::UnknownMessage, text);
                vec![
                    Out::Violation(violation),
                    Out::Refusal(error(
                        "Failed to subscribe",
                        &format!("{channel} is not a valid channel"),
                    )),
                ]
            }
            _ => vec![
                Out::unknown(text),
                Out::Refusal(error("Malformed JSON", "unknown type")),
            ],
        }
    }

    fn quote(&mut self, tick: &Tick, desk: &Desk<'_>) -> Vec<Out> {
        self.channels
            .iter()
            .filter(|(_, products)| products.contains(&tick.instrument))
            .map(|(channel, _)| Out::Quote {
                tick: tick.clone(),
                text: Self::tickers(channel, "update", std::slice::from_ref(tick), desk),
            })
            .collect()
    }

    fn beat(&mut self, desk: &Desk<'_>) -> Vec<Out> {
        if self.channels.is_empty() && !self.heartbeats {
            if desk.passed(self.opened, desk.timing.patience) {
                return vec![Out::Timeout(1008, "no subscription")];
            }
            return Vec::new();
        }
        if !self.heartbeats || !desk.passed(self.last_beat, desk.timing.every) {
            return Vec::new();
        }
        self.last_beat = desk.now_ns;
        self.beats += 1;
        let now = rfc3339(desk.venue_ns(), 9).replace('T', " ").replace('Z', "");
        let events = format!(
            r#"{{"current_time":"{now} +0000 UTC m=+{}.628148662","heartbeat_counter":{}}}"#,
            self.beats, self.beats
        );
        vec![Out::Beat(Self::frame("heartbeats", &events, desk))]
    }

    fn seal(&mut self, text: String) -> String {
        // Errors bear no number and take none.
        if !text.is_empty() && !text.contains(NUMBER) {
            return text;
        }
        let number = self.next;
        self.next += 1;
        text.replacen(NUMBER, &number.to_string(), 1)
    }

    fn instruments(&self) -> BTreeSet<String> {
        self.channels.values().flatten().cloned().collect()
    }
}

fn rest(call: &RestCall, desk: &Desk<'_>) -> Answer {
    let not_found = || {
        let problem = "valid product_id is required";
        let body = serde_json::json!({"error": "NOT_FOUND", "error_details": problem, "message": problem});
        Answer::new(404, body.to_string())
    };
    let time = rfc3339(desk.venue_ns(), 6);
    // Exchange and Advanced Trade each have a ticker of their own form.
    if let Some(product) = call
        .after("/products/")
        .and_then(|rest| rest.strip_suffix("/ticker"))
    {
        let Some(tick) = desk.tick(product) else {
            return Answer::new(404, r#"{"message":"NotFound"}"#);
        };
        let Tick { bid, ask, last, .. } = tick;
        return Answer::ok(format!(
            r#"{{"ask":"{ask}","bid":"{bid}","volume":"6366.49012341","trade_id":837401953,"price":"{last}","size":"0.00064","time":"{time}","rfq_volume":"12.01"}}"#
        ));
    }
    if call.is_get("/api/v3/brokerage/market/product_book") {
        let Some(tick) = desk.tick(call.get("product_id")) else {
            return not_found();
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
        return Answer::ok(format!(
            r#"{{"pricebook":{{"product_id":"{instrument}","bids":[{{"price":"{bid}","size":"{bid_size}"}}],"asks":[{{"price":"{ask}","size":"{ask_size}"}}],"time":"{time}"}},"last":"{last}","mid_market":"{last}","spread_bps":"0.1","spread_absolute":"0.01"}}"#
        ));
    }
    let product = call.after("/api/v3/brokerage/market/products/");
    let Some(product) = product.and_then(|rest| rest.strip_suffix("/ticker")) else {
        return Answer::no_such_path("404 page not found");
    };
    let Some(tick) = desk.tick(product) else {
        return not_found();
    };
    let Tick {
        instrument,
        bid,
        ask,
        last,
        ..
    } = tick;
    Answer::ok(format!(
        r#"{{"trades":[{{"trade_id":"995098663","product_id":"{instrument}","price":"{last}","size":"0.00064","time":"{time}","side":"SELL","bid":"","ask":"","exchange":"coinbase"}}],"best_bid":"{bid}","best_ask":"{ask}"}}"#
    ))
}
