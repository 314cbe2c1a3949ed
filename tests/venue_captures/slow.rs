//! The same frames read by another library, another calendar and string surgery.

mod cryptocom;
mod gate;
mod gemini;

use super::{Fact, Value};

/// A frame as another library reads it.
pub(crate) fn value(frame: &str) -> Value {
    serde_json::from_str(&gate::with_exact_times(frame)).expect("recorded frames are JSON")
}

pub(crate) fn facts(venue: &str, frame: &Value) -> Vec<Fact> {
    match venue {
        "coinbase" => coinbase(frame),
        "kraken" => kraken(frame),
        "bitstamp" => bitstamp(frame),
        "gemini" => gemini::facts(frame),
        "cryptocom" => cryptocom::facts(frame),
        "gate" => gate::facts(frame),
        "okx" => super::okx::facts(frame),
        "bybit" => super::bybit::facts(frame),
        "kucoin" => super::kucoin::facts(frame),
        _ => binance(frame),
    }
    .into_iter()
    // A quote without any price is no quote.
    .filter(|fact| {
        ["bid", "ask", "last", "price"]
            .iter()
            .any(|name| fact.contains_key(name))
    })
    .collect()
}

fn coinbase(frame: &Value) -> Vec<Fact> {
    let mut facts = Vec::new();
    match frame["type"].as_str().or(frame["channel"].as_str()) {
        Some("ticker") if frame["events"].is_null() => {
            facts.push(fact(&[
                ("instrument", text(&frame["product_id"])),
                ("last", price(&frame["price"])),
                ("bid", price(&frame["best_bid"])),
                ("bid_size", plain(&frame["best_bid_size"])),
                ("ask", price(&frame["best_ask"])),
                ("ask_size", plain(&frame["best_ask_size"])),
                ("time", calendar(&frame["time"])),
                ("sequence", text(&frame["sequence"])),
            ]));
        }
        Some("ticker") => {
            for ticker in list(&frame["events"]).flat_map(|event| list(&event["tickers"])) {
                facts.push(fact(&[
                    ("instrument", text(&ticker["product_id"])),
                    ("last", price(&ticker["price"])),
                    ("bid", price(&ticker["best_bid"])),
                    ("bid_size", plain(&ticker["best_bid_quantity"])),
                    ("ask", price(&ticker["best_ask"])),
                    ("ask_size", plain(&ticker["best_ask_quantity"])),
                    ("time", calendar(&frame["timestamp"])),
                    ("sequence", text(&frame["sequence_num"])),
                ]));
            }
        }
        Some(kind @ ("match" | "last_match")) => facts.push(coinbase_trade(frame, kind == "last_match")),
        Some("market_trades") => {
            for event in list(&frame["events"]) {
                let history = event["type"] == "snapshot";
                facts.extend(list(&event["trades"]).map(|trade| coinbase_trade(trade, history)));
            }
        }
        _ => {}
    }
    facts
}

fn coinbase_trade(trade: &Value, history: bool) -> Fact {
    let side = match trade["side"].as_str().map(str::to_lowercase).as_deref() {
        Some("buy") => Some("Sell".to_owned()),
        Some("sell") => Some("Buy".to_owned()),
        _ => None,
    };
    fact(&[
        ("instrument", text(&trade["product_id"])),
        ("price", price(&trade["price"])),
        ("size", plain(&trade["size"])),
        ("side", side),
        ("time", calendar(&trade["time"])),
        ("sequence", text(&trade["trade_id"])),
        ("history", history.then(String::new)),
    ])
}

fn kraken(frame: &Value) -> Vec<Fact> {
    if let Some(array) = frame.as_array() {
        let [_, payload, .., name, pair] = array.as_slice() else {
            return Vec::new();
        };
        return match name.as_str() {
            Some("ticker") => vec![fact(&[
                ("instrument", text(pair)),
                ("bid", price(&payload["b"][0])),
                ("bid_size", plain(&payload["b"][2])),
                ("ask", price(&payload["a"][0])),
                ("ask_size", plain(&payload["a"][2])),
                ("last", price(&payload["c"][0])),
            ])],
            Some("spread") => vec![fact(&[
                ("instrument", text(pair)),
                ("bid", price(&payload[0])),
                ("ask", price(&payload[1])),
                ("time", scaled(&payload[2], 9)),
                ("bid_size", plain(&payload[3])),
                ("ask_size", plain(&payload[4])),
            ])],
            Some("trade") => list(payload)
                .map(|trade| {
                    fact(&[
                        ("instrument", text(pair)),
                        ("price", price(&trade[0])),
                        ("size", plain(&trade[1])),
                        ("time", scaled(&trade[2], 9)),
                        ("side", side(&trade[3], "b", "s")),
                    ])
                })
                .collect(),
            _ => Vec::new(),
        };
    }
    let elements = list(&frame["data"]);
    match frame["channel"].as_str() {
        Some("ticker") => elements
            .map(|ticker| {
                fact(&[
                    ("instrument", text(&ticker["symbol"])),
                    ("bid", price(&ticker["bid"])),
                    ("bid_size", plain(&ticker["bid_qty"])),
                    ("ask", price(&ticker["ask"])),
                    ("ask_size", plain(&ticker["ask_qty"])),
                    ("last", price(&ticker["last"])),
                    ("time", calendar(&ticker["timestamp"])),
                ])
            })
            .collect(),
        Some("trade") => elements
            .map(|trade| {
                fact(&[
                    ("instrument", text(&trade["symbol"])),
                    ("price", price(&trade["price"])),
                    ("size", plain(&trade["qty"])),
                    ("side", side(&trade["side"], "buy", "sell")),
                    ("time", calendar(&trade["timestamp"])),
                    ("sequence", text(&trade["trade_id"])),
                    ("history", (frame["type"] == "snapshot").then(String::new)),
                ])
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn bitstamp(frame: &Value) -> Vec<Fact> {
    let channel = frame["channel"].as_str().unwrap_or_default();
    let instrument = channel
        .rsplit_once('_')
        .map(|(_, instrument)| instrument.to_owned());
    let data = &frame["data"];
    if frame["event"] == "trade" {
        return vec![fact(&[
            ("instrument", instrument),
            ("price", price(&data["price_str"])),
            ("size", plain(&data["amount_str"])),
            (
                "side",
                if data["type"] == 0 {
                    Some("Buy".to_owned())
                } else {
                    Some("Sell".to_owned())
                },
            ),
            ("time", scaled(&data["microtimestamp"], 3)),
            ("sequence", text(&data["id"])),
        ])];
    }
    if frame["event"] == "data" && channel.starts_with("order_book_") {
        return vec![fact(&[
            ("instrument", instrument),
            ("bid", price(&data["bids"][0][0])),
            ("bid_size", plain(&data["bids"][0][1])),
            ("ask", price(&data["asks"][0][0])),
            ("ask_size", plain(&data["asks"][0][1])),
            ("time", scaled(&data["microtimestamp"], 3)),
        ])];
    }
    Vec::new()
}

fn binance(frame: &Value) -> Vec<Fact> {
    let data = if frame["stream"].is_null() {
        frame
    } else {
        &frame["data"]
    };
    if data.is_array() {
        return list(data).flat_map(binance).collect();
    }
    let symbol = ("instrument", text(&data["s"]));
    let book = [
        ("bid", price(&data["b"])),
        ("bid_size", plain(&data["B"])),
        ("ask", price(&data["a"])),
        ("ask_size", plain(&data["A"])),
    ];
    match data["e"].as_str() {
        Some("bookTicker") | None if data["u"].is_u64() => {
            let [bid, bid_size, ask, ask_size] = book;
            let time = scaled(&data["T"], 6);
            vec![fact(&[
                symbol,
                bid,
                bid_size,
                ask,
                ask_size,
                ("time", time),
                ("sequence", text(&data["u"])),
            ])]
        }
        Some("24hrTicker") => {
            let [bid, bid_size, ask, ask_size] = book;
            let (last, time) = (("last", price(&data["c"])), ("time", scaled(&data["E"], 6)));
            vec![fact(&[symbol, bid, bid_size, ask, ask_size, last, time])]
        }
        Some("24hrMiniTicker") => {
            vec![fact(&[
                symbol,
                ("last", price(&data["c"])),
                ("time", scaled(&data["E"], 6)),
            ])]
        }
        Some(kind @ ("aggTrade" | "trade")) => vec![fact(&[
            symbol,
            ("price", price(&data["p"])),
            ("size", plain(&data["q"])),
            (
                "side",
                data["m"]
                    .as_bool()
                    .map(|m| if m { "Sell".to_owned() } else { "Buy".to_owned() }),
            ),
            ("time", scaled(&data["T"], 6)),
            (
                "sequence",
                text(if kind == "trade" { &data["t"] } else { &data["a"] }),
            ),
        ])],
        _ => Vec::new(),
    }
}

pub(crate) fn fact(fields: &[(&'static str, Option<String>)]) -> Fact {
    fields
        .iter()
        .filter_map(|(name, value)| Some((*name, value.clone()?)))
        .collect()
}

pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

pub(crate) fn side(value: &Value, buy: &str, sell: &str) -> Option<String> {
    let text = value.as_str()?;
    (text == buy)
        .then(|| "Buy".to_owned())
        .or_else(|| (text == sell).then(|| "Sell".to_owned()))
}

pub(crate) fn price(value: &Value) -> Option<String> {
    plain(value).filter(|text| text != "0")
}

/// A number's text without an exponent and without idle zeros.
pub(crate) fn plain(value: &Value) -> Option<String> {
    let text = text(value)?.to_lowercase();
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().expect("an exponent");
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all = format!("{whole}{decimals}");
    let mut point = i32::try_from(whole.len()).expect("short") + exponent;
    while point < 1 {
        all.insert(0, '0');
        point += 1;
    }
    while all.len() < usize::try_from(point).expect("positive") {
        all.push('0');
    }
    let (whole, decimals) = all.split_at(usize::try_from(point).expect("positive"));
    let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let mut plain = if whole.is_empty() {
        "0".to_owned()
    } else {
        whole.to_owned()
    };
    if !decimals.is_empty() {
        plain = format!("{plain}.{decimals}");
    }
    Some(plain)
}

/// RFC 3339 by a calendar library.
pub(crate) fn calendar(value: &Value) -> Option<String> {
    let stamp: jiff::Timestamp = value.as_str()?.parse().expect("a recorded time");
    (stamp.as_nanosecond() > 0).then(|| stamp.as_nanosecond().to_string())
}

/// A time whose unit is 10^`zeros` nanoseconds, by moving the point.
pub(crate) fn scaled(value: &Value, zeros: usize) -> Option<String> {
    let text = text(value)?;
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let mut nanos = format!("{whole}{decimals}");
    nanos.extend(std::iter::repeat_n('0', zeros - decimals.len()));
    Some(nanos.trim_start_matches('0').to_owned())
}
