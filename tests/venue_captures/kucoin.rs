//! `KuCoin`: its recordings, its messages by label, and its frames read slowly.

use super::slow::{fact, plain, price, scaled, side, text};
use super::{Fact, Recordings, Value};

pub(crate) const RECORDINGS: Recordings = &[(
    "kucoin",
    "kucoin/captures/ws-2021-04-25.jsonl",
    &[
        ("quote", 830),
        ("trade", 18),
        ("book", 200),
        ("ack", 14),
        ("ignored", 6),
    ],
)];

/// What a collected message or REST body may be, where its label says something else.
pub(crate) fn otherwise(label: &str, frame: &str) -> Option<&'static [&'static str]> {
    match label {
        "trade" if frame.contains("trade.snapshot") => Some(&["quote"]),
        // The list of isolated margin markets.
        "trade" if frame.contains("maxLeverage") => Some(&["ignored"]),
        "other" => Some(&["ignored"]),
        _ => None,
    }
}

pub(crate) fn facts(frame: &Value) -> Vec<Fact> {
    let data = &frame["data"];
    let (path, name) = frame["topic"]
        .as_str()
        .and_then(|topic| topic.split_once(':'))
        .unwrap_or_default();
    let name = if name == "all" {
        text(&frame["subject"])
    } else {
        Some(name.to_owned())
    };
    match path {
        "/market/ticker" => vec![fact(&[
            ("instrument", name),
            ("bid", price(&data["bestBid"])),
            ("bid_size", plain(&data["bestBidSize"])),
            ("ask", price(&data["bestAsk"])),
            ("ask_size", plain(&data["bestAskSize"])),
            ("last", price(&data["price"])),
            ("time", scaled(&data["time"], 6)),
            ("sequence", text(&data["sequence"])),
        ])],
        "/spotMarket/level1" => vec![fact(&[
            ("instrument", name),
            ("bid", price(&data["bids"][0])),
            ("bid_size", plain(&data["bids"][1])),
            ("ask", price(&data["asks"][0])),
            ("ask_size", plain(&data["asks"][1])),
            ("time", scaled(&data["timestamp"], 6)),
        ])],
        "/market/snapshot" => vec![fact(&[
            ("instrument", text(&data["data"]["symbol"])),
            ("bid", price(&data["data"]["buy"])),
            ("ask", price(&data["data"]["sell"])),
            ("last", price(&data["data"]["lastTradedPrice"])),
            ("time", scaled(&data["data"]["datetime"], 6)),
        ])],
        "/market/match" => vec![fact(&[
            ("instrument", text(&data["symbol"])),
            ("price", price(&data["price"])),
            ("size", plain(&data["size"])),
            ("side", side(&data["side"], "buy", "sell")),
            ("time", text(&data["time"])),
            ("sequence", text(&data["sequence"])),
        ])],
        _ if frame["T"] == "ticker.SPOT" => {
            let data = &frame["d"];
            vec![fact(&[
                ("instrument", text(&data["s"])),
                ("bid", price(&data["b"])),
                ("bid_size", plain(&data["B"])),
                ("ask", price(&data["a"])),
                ("ask_size", plain(&data["A"])),
                ("last", price(&data["l"])),
                ("time", text(&data["M"])),
                ("sequence", text(&data["E"])),
            ])]
        }
        _ => Vec::new(),
    }
}
