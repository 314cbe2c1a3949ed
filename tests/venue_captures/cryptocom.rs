//! Crypto.com's frames, read slowly.

use super::{Fact, Value, fact, list, plain, price, scaled, side, text};

pub(super) fn facts(frame: &Value) -> Vec<Fact> {
    let result = &frame["result"];
    let elements = list(&result["data"]);
    match result["channel"].as_str() {
        Some("ticker") => elements
            .map(|ticker| {
                fact(&[
                    ("instrument", text(&ticker["i"])),
                    ("bid", price(&ticker["b"])),
                    ("bid_size", plain(&ticker["bs"])),
                    ("ask", price(&ticker["k"])),
                    ("ask_size", plain(&ticker["ks"])),
                    ("last", price(&ticker["a"])),
                    ("time", scaled(&ticker["t"], 6)),
                ])
            })
            .collect(),
        Some("trade") => elements
            .map(|trade| {
                fact(&[
                    ("instrument", text(&trade["i"])),
                    ("price", price(&trade["p"])),
                    ("size", plain(&trade["q"])),
                    ("side", side(&trade["s"], "BUY", "SELL")),
                    ("time", scaled(&trade["t"], 6)),
                    ("sequence", text(&trade["d"])),
                ])
            })
            .collect(),
        _ => Vec::new(),
    }
}
