//! OKX: its recordings, its messages by label, and its frames read slowly.

use super::slow::{calendar, fact, list, plain, price, scaled, side, text};
use super::{Fact, Recordings, Value};

pub(crate) const RECORDINGS: Recordings = &[
    (
        "okx",
        "okx/captures/v3-deflate-frames-2021-04-17.jsonl",
        &[("quote", 10), ("trade", 10), ("book", 200), ("ack", 30)],
    ),
    (
        "okx",
        "okx/captures/v5-ws-2022-05-13.jsonl",
        &[("quote", 28), ("trade", 74), ("book", 290), ("ack", 18)],
    ),
    (
        "okx",
        "okx/captures/v5-ws-conn1-2021-07-22.jsonl",
        &[("quote", 46), ("trade", 36), ("book", 190), ("ack", 30)],
    ),
    (
        "okx",
        "okx/captures/v5-ws-conn2-2021-07-22.jsonl",
        &[("quote", 47), ("trade", 36), ("ack", 20)],
    ),
];

/// What a collected message or REST body may be, where its label says something else.
pub(crate) fn otherwise(label: &str, frame: &str) -> Option<&'static [&'static str]> {
    let any = |words: &[&str]| words.iter().any(|word| frame.contains(word));
    match label {
        // Indices, block trades, spreads and quotations: not the market's price.
        "ticker" if any(&["index-tickers", "block-tickers", "sprd-tickers"]) => Some(&["ignored"]),
        "trade" if any(&["clRfqId", "rfqId", "public-block-trades", "sprdId"]) => Some(&["ignored"]),
        // What a request names, and requests.
        "ticker" | "book" if !frame.contains("data") => Some(&["request"]),
        "other" => Some(&["ignored"]),
        _ => None,
    }
}

pub(crate) fn facts(frame: &Value) -> Vec<Fact> {
    if let Some(table) = frame["table"].as_str() {
        return match table.rsplit('/').next() {
            Some("ticker") if !table.starts_with("index") => list(&frame["data"]).map(old_ticker).collect(),
            Some("trade") => list(&frame["data"]).map(old_trade).collect(),
            _ => Vec::new(),
        };
    }
    let elements = list(&frame["data"]);
    let name = |element: &Value| text(&element["instId"]).or_else(|| text(&frame["arg"]["instId"]));
    match frame["arg"]["channel"].as_str() {
        Some("tickers") => elements
            .map(|ticker| {
                fact(&[
                    ("instrument", name(ticker)),
                    ("bid", price(&ticker["bidPx"])),
                    ("bid_size", plain(&ticker["bidSz"])),
                    ("ask", price(&ticker["askPx"])),
                    ("ask_size", plain(&ticker["askSz"])),
                    ("last", price(&ticker["last"])),
                    ("time", scaled(&ticker["ts"], 6)),
                ])
            })
            .collect(),
        Some("bbo-tbt") => elements
            .map(|book| {
                fact(&[
                    ("instrument", name(book)),
                    ("bid", price(&book["bids"][0][0])),
                    ("bid_size", plain(&book["bids"][0][1])),
                    ("ask", price(&book["asks"][0][0])),
                    ("ask_size", plain(&book["asks"][0][1])),
                    ("time", scaled(&book["ts"], 6)),
                    ("sequence", text(&book["seqId"])),
                ])
            })
            .collect(),
        Some("trades" | "trades-all") => elements
            .map(|trade| {
                fact(&[
                    ("instrument", name(trade)),
                    ("price", price(&trade["px"])),
                    ("size", plain(&trade["sz"])),
                    ("side", side(&trade["side"], "buy", "sell")),
                    ("time", scaled(&trade["ts"], 6)),
                    ("sequence", text(&trade["tradeId"])),
                ])
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn old_ticker(ticker: &Value) -> Fact {
    fact(&[
        ("instrument", text(&ticker["instrument_id"])),
        ("bid", price(&ticker["best_bid"])),
        ("bid_size", plain(&ticker["best_bid_size"])),
        ("ask", price(&ticker["best_ask"])),
        ("ask_size", plain(&ticker["best_ask_size"])),
        ("last", price(&ticker["last"])),
        ("time", calendar(&ticker["timestamp"])),
    ])
}

fn old_trade(trade: &Value) -> Fact {
    fact(&[
        ("instrument", text(&trade["instrument_id"])),
        ("price", price(&trade["price"])),
        ("size", plain(&trade["size"]).or_else(|| plain(&trade["qty"]))),
        ("side", side(&trade["side"], "buy", "sell")),
        ("time", calendar(&trade["timestamp"])),
        ("sequence", text(&trade["trade_id"])),
    ])
}
