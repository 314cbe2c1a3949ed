//! Gate.io's frames, read slowly.

use super::{Fact, Value, fact, list, plain, price, scaled, side, text};

/// Gate's v3 writes times as numbers of more digits than the other library keeps of a number:
/// they are made strings.
pub(super) fn with_exact_times(frame: &str) -> String {
    let mut pieces = frame.split(r#""time": "#);
    let mut exact = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(piece.len());
        let (time, rest) = piece.split_at(end);
        let quote = if time.contains('.') { "\"" } else { "" };
        exact.extend([r#""time": "#, quote, time, quote, rest]);
    }
    exact
}

pub(super) fn facts(frame: &Value) -> Vec<Fact> {
    let params = &frame["params"];
    match frame["method"].as_str() {
        Some("ticker.update") => {
            return vec![fact(&[
                ("instrument", text(&params[0])),
                ("last", price(&params[1]["last"])),
            ])];
        }
        Some("trades.update") => {
            return list(&params[1])
                .map(|trade| {
                    fact(&[
                        ("instrument", text(&params[0])),
                        ("price", price(&trade["price"])),
                        ("size", plain(&trade["amount"])),
                        ("side", side(&trade["type"], "buy", "sell")),
                        ("time", scaled(&trade["time"], 9)),
                        ("sequence", text(&trade["id"])),
                    ])
                })
                .collect();
        }
        _ => {}
    }
    if frame["event"] != "update" {
        return Vec::new();
    }
    let channel = frame["channel"].as_str().unwrap_or_default();
    let spot = channel.starts_with("spot.");
    let result = &frame["result"];
    let one = std::slice::from_ref(result);
    let elements = result.as_array().map_or(one, Vec::as_slice).iter();
    match channel.rsplit('.').next() {
        Some("book_ticker") => elements
            .map(|ticker| {
                fact(&[
                    ("instrument", text(&ticker["s"])),
                    ("bid", price(&ticker["b"])),
                    ("bid_size", plain(&ticker["B"]).filter(|_| spot)),
                    ("ask", price(&ticker["a"])),
                    ("ask_size", plain(&ticker["A"]).filter(|_| spot)),
                    ("time", scaled(&ticker["t"], 6)),
                    ("sequence", text(&ticker["u"])),
                ])
            })
            .collect(),
        Some("tickers") => elements
            .map(|ticker| {
                fact(&[
                    ("instrument", name(ticker)),
                    ("bid", price(&ticker["highest_bid"])),
                    ("ask", price(&ticker["lowest_ask"])),
                    ("last", price(&ticker["last"])),
                    (
                        "time",
                        scaled(&frame["time_ms"], 6).or_else(|| scaled(&frame["time"], 9)),
                    ),
                ])
            })
            .collect(),
        Some("trades") => elements
            .map(|trade| {
                let signed = trade["size"].as_i64();
                let sign = signed.map(|size| if size < 0 { "Sell" } else { "Buy" }.to_owned());
                let millis = scaled(&trade["create_time_ms"], 6);
                fact(&[
                    ("instrument", name(trade)),
                    ("price", price(&trade["price"])),
                    ("size", plain(&trade["amount"])),
                    ("side", sign.or_else(|| side(&trade["side"], "buy", "sell"))),
                    ("time", millis.or_else(|| scaled(&trade["create_time"], 9))),
                    ("sequence", text(&trade["id"])),
                ])
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn name(element: &Value) -> Option<String> {
    text(&element["currency_pair"]).or_else(|| text(&element["contract"]))
}
