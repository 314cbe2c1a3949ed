//! Gemini's frames, read slowly.

use super::{Fact, Value, fact, list, plain, price, scaled, side, text};

pub(super) fn facts(frame: &Value) -> Vec<Fact> {
    match frame["type"].as_str() {
        Some("l2_updates") => list(&frame["trades"]).map(|trade| v2(trade, true)).collect(),
        Some("trade") => vec![v2(frame, false)],
        Some("update") => list(&frame["events"])
            .filter(|event| event["type"] == "trade" && event["symbol"].is_string())
            .map(|event| v1(frame, event))
            .collect(),
        None if frame["m"].is_boolean() => vec![fact(&[
            ("instrument", text(&frame["s"])),
            ("price", price(&frame["p"])),
            ("size", plain(&frame["q"])),
            (
                "side",
                Some(if frame["m"] == true { "Sell" } else { "Buy" }.to_owned()),
            ),
            ("time", scaled(&frame["E"], 0)),
            ("sequence", text(&frame["t"])),
        ])],
        None if frame["B"].is_string() => vec![fact(&[
            ("instrument", text(&frame["s"])),
            ("bid", price(&frame["b"])),
            ("bid_size", plain(&frame["B"])),
            ("ask", price(&frame["a"])),
            ("ask_size", plain(&frame["A"])),
            ("last", price(&frame["c"])),
            ("time", scaled(&frame["E"], 0)),
            ("sequence", text(&frame["u"])),
        ])],
        _ => Vec::new(),
    }
}

fn v2(trade: &Value, history: bool) -> Fact {
    fact(&[
        ("instrument", text(&trade["symbol"])),
        ("price", price(&trade["price"])),
        ("size", plain(&trade["quantity"])),
        ("side", side(&trade["side"], "buy", "sell")),
        ("time", scaled(&trade["timestamp"], 6)),
        (
            "sequence",
            text(&trade["tid"]).or_else(|| text(&trade["event_id"])),
        ),
        ("history", history.then(String::new)),
    ])
}

fn v1(frame: &Value, event: &Value) -> Fact {
    fact(&[
        ("instrument", text(&event["symbol"])),
        ("price", price(&event["price"])),
        ("size", plain(&event["amount"])),
        ("side", side(&event["makerSide"], "ask", "bid")),
        (
            "time",
            scaled(&frame["timestampms"], 6).or_else(|| scaled(&frame["timestamp"], 9)),
        ),
        ("sequence", text(&event["tid"])),
    ])
}
