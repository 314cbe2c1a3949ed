//! Bybit: its recordings, its messages by label, and its frames read slowly.

use super::slow::{calendar, fact, list, plain, price, scaled, side, text};
use super::{Fact, Recordings, Value};

pub(crate) const RECORDINGS: Recordings = &[
    (
        "bybit",
        "bybit/captures/v2-inverse-ws-2021-04-17.jsonl",
        &[("trade", 76), ("book", 40), ("ack", 4)],
    ),
    (
        "bybit",
        "bybit/captures/v5-linear-orderbook1-2025-06-13.jsonl",
        &[("book", 198), ("ack", 4)],
    ),
    (
        // 104 of its 539 changes of tickers bear no price; the 74 other ignored ones are candles.
        "bybit",
        "bybit/captures/v5-ws-2026-08-09.jsonl",
        &[
            ("quote", 479),
            ("book", 188),
            ("trade", 101),
            ("ignored", 178),
            ("ack", 24),
        ],
    ),
];

/// What a collected message or REST body may be, where its label says something else.
pub(crate) fn otherwise(label: &str, frame: &str) -> Option<&'static [&'static str]> {
    match label {
        // A leveraged token under the symbol of what it multiplies.
        "ticker" if frame.contains("tickers_lt.") => Some(&["ignored"]),
        "book" if frame.contains(r#""event":"#) => Some(&["ack"]),
        // A book of v2 as REST sends it.
        "trade" if frame.contains("ret_code") => Some(&["book"]),
        "other" if frame.contains(r#""b":"#) => Some(&["book"]),
        "other" => Some(&["ignored"]),
        _ => None,
    }
}

pub(crate) fn facts(frame: &Value) -> Vec<Fact> {
    let data = &frame["data"];
    let mut topic = frame["topic"].as_str().unwrap_or_default().split('.');
    let kind = topic.next();
    let depth = topic.next();
    match kind {
        Some("orderbook") if depth == Some("1") && frame["type"] == "snapshot" => vec![fact(&[
            ("instrument", text(&data["s"])),
            ("bid", price(&data["b"][0][0])),
            ("bid_size", plain(&data["b"][0][1])),
            ("ask", price(&data["a"][0][0])),
            ("ask_size", plain(&data["a"][0][1])),
            (
                "time",
                scaled(&frame["cts"], 6).or_else(|| scaled(&frame["ts"], 6)),
            ),
            ("sequence", text(&data["seq"])),
        ])],
        Some("tickers") => {
            let (bid, ask) = (price(&data["bid1Price"]), price(&data["ask1Price"]));
            let sequence = text(&frame["cs"]).filter(|_| bid.is_some() || ask.is_some());
            vec![fact(&[
                ("instrument", text(&data["symbol"])),
                ("bid", bid),
                ("bid_size", plain(&data["bid1Size"])),
                ("ask", ask),
                ("ask_size", plain(&data["ask1Size"])),
                ("last", price(&data["lastPrice"])),
                ("time", scaled(&frame["ts"], 6)),
                ("sequence", sequence),
            ])]
        }
        Some("bookTicker") => vec![fact(&[
            ("instrument", text(&data["symbol"])),
            ("bid", price(&data["bidPrice"])),
            ("bid_size", plain(&data["bidQty"])),
            ("ask", price(&data["askPrice"])),
            ("ask_size", plain(&data["askQty"])),
            ("time", scaled(&data["time"], 6)),
        ])],
        Some("publicTrade" | "trade") => list(data).map(trade).collect(),
        _ => Vec::new(),
    }
}

fn trade(trade: &Value) -> Fact {
    if trade["price"].is_null() {
        return fact(&[
            ("instrument", text(&trade["s"])),
            ("price", price(&trade["p"])),
            ("size", plain(&trade["v"])),
            ("side", side(&trade["S"], "Buy", "Sell")),
            ("time", scaled(&trade["T"], 6)),
            ("sequence", text(&trade["i"]).filter(|id| !id.contains('-'))),
        ]);
    }
    let time = scaled(&trade["trade_time_ms"], 6).or_else(|| calendar(&trade["timestamp"]));
    fact(&[
        ("instrument", text(&trade["symbol"])),
        ("price", price(&trade["price"])),
        ("size", plain(&trade["size"])),
        ("side", side(&trade["side"], "Buy", "Sell")),
        ("time", time),
    ])
}
