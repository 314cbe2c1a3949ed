//! The venue parsers on what venues really sent.
//!
//! Reads the shared captures in place (`TRINITY_SHARED_DATA`, else `../shared/data`) and
//! compares every quote and trade with an independent, slow reading of the same frame.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::venue::{Event, Parser, Reason, VenueId};

/// Venue, recording, and how many received frames begin with an event of each kind.
///
/// The figures are those of the data's own manifest: `ticker` is quote; `match`, `aggTrade` and
/// `market_trades` are trade; `candles` and `kline` are ignored.
const RECORDINGS: &[(&str, &str, &[(&str, usize)])] = &[
    (
        "coinbase",
        "coinbase/captures/advanced-trade-ws-2026-08-09.jsonl.gz",
        &[
            ("quote", 106),
            ("trade", 44),
            ("book", 511),
            ("heartbeat", 16),
            ("ack", 5),
            ("ignored", 4),
        ],
    ),
    (
        "coinbase",
        "coinbase/captures/exchange-ws-2021-04-17.jsonl",
        &[("quote", 86), ("trade", 86), ("book", 82), ("ack", 3)],
    ),
    (
        "kraken",
        "kraken/captures/v1-ws-book1000-2021-04-05.jsonl",
        &[("book", 500), ("heartbeat", 119), ("ack", 10), ("status", 1)],
    ),
    (
        "kraken",
        "kraken/captures/v1-ws-ticker-2021-04-05.jsonl",
        &[("quote", 22), ("heartbeat", 119), ("ack", 10), ("status", 1)],
    ),
    (
        "kraken",
        "kraken/captures/v1-ws-trade-2021-04-05.jsonl",
        &[("trade", 12), ("heartbeat", 119), ("ack", 10), ("status", 1)],
    ),
    (
        "bitstamp",
        "bitstamp/captures/ws-2021-04-05.jsonl",
        &[("book", 3202), ("trade", 32), ("ack", 20)],
    ),
    (
        "bitstamp",
        "bitstamp/captures/ws-2022-01-05.jsonl",
        &[("book", 717), ("trade", 10), ("ack", 20)],
    ),
    (
        "binance",
        "binance/captures/spot-combined-2021-04-04.jsonl",
        &[("trade", 1910), ("book", 150), ("ignored", 118)],
    ),
    (
        "binance",
        "binance/captures/spot-combined-2021-04-05.jsonl",
        &[("quote", 5408), ("trade", 1240), ("book", 150)],
    ),
    (
        "binance-us",
        "binance/captures/us-combined-2021-04-05.jsonl",
        &[("quote", 2624), ("trade", 188), ("book", 150)],
    ),
];

/// What both readings of a frame are reduced to: the text of each field that matters.
type Fact = BTreeMap<&'static str, String>;

#[test]
fn every_recorded_frame_is_understood_and_the_kinds_agree_with_the_manifest() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (venue, file, expected) in RECORDINGS {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines(&root.join(file)) {
            let Some(frame) = line["data"].as_str() else {
                continue;
            };
            let sent = line["t"] == "send";
            let mut first = None;
            let result = parser.parse(venue, frame.as_bytes(), &mut |event| {
                assert_ne!(event.kind(), "invalid", "{file}: {event:?} in {frame:.300}");
                if sent {
                    assert_eq!(event.kind(), "request", "{file}: {frame:.300}");
                }
                first.get_or_insert(event.kind());
            });
            assert_eq!(result, Ok(()), "{file}: {frame:.300}");
            let first = first.expect("a frame that is understood gives an event");
            if !sent {
                *kinds.entry(first).or_default() += 1;
            }
        }
        assert_eq!(kinds, expected.iter().copied().collect(), "{file}");
    }
}

#[test]
fn quotes_and_trades_agree_with_an_independent_slow_reading() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut compared = [0_usize; 2];
    for (venue, frame) in frames(&root) {
        let found = facts(&mut parser, venue, &frame);
        let value = serde_json::from_str(&frame).expect("recorded frames are JSON");
        let expected = slow::facts(venue.name(), &value);
        assert_eq!(found, expected, "{venue} {frame:.400}");
        for fact in &found {
            compared[usize::from(fact.contains_key("price"))] += 1;
        }
    }
    let [quotes, trades] = compared;
    assert!(
        quotes > 8_246 && trades > 3_500,
        "{quotes} quotes and {trades} trades were compared"
    );
}

#[test]
fn collected_messages_are_what_their_label_says() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut seen = 0;
    for (venue, label, frame) in messages(&root) {
        let mut kinds = Vec::new();
        let result = parser.parse(venue, frame.as_bytes(), &mut |event| {
            if let Event::Invalid { invalid, .. } = event {
                // The one instrument in the collection that is halted: bid 0, ask 0, time 1970.
                let halted = frame.contains(r#""bid":0,"#) && frame.contains(r#""ask":0,"#);
                assert!(
                    halted && invalid.reason == Reason::NoPrice,
                    "{venue}: {invalid} in {frame:.300}"
                );
            }
            kinds.push(event.kind());
        });
        assert_eq!(result, Ok(()), "{venue} {label}: {frame:.300}");
        let kind = *kinds.first().expect("an understood message gives an event");
        let allowed: &[&str] = match label.as_str() {
            "ack" => &["ack"],
            "heartbeat/status" => &["heartbeat", "status"],
            // Kraken marks warnings by a leading W: not an error, the result stands.
            "error" if frame.contains(r#""WGeneral:"#) || frame.contains(r#"["WGeneral:"#) => &["status"],
            "error" => &["error"],
            "request" => &["request"],
            // An exchange's name for something else than its 24 hour ticker.
            "ticker" if frame.contains("ticker_all") => &["ignored"],
            "ticker" if kinds == ["invalid"] => &["invalid"],
            "ticker" => &["quote"],
            // An order's own report, not the market's trade.
            "trade" if frame.contains("executionReport") => &["ignored"],
            // A subscription for trades.
            "trade" if frame.contains("product_ids") || frame.contains(r#""snapshot": true"#) => &["request"],
            "trade" => &["trade"],
            "book" if frame.contains("UNSUBSCRIBE") => &["request"],
            // A spread is best bid and ask; REST bodies are kept among the messages.
            "book" if frame.contains(r#""spread""#) => &["quote"],
            "book" if frame.contains("\"result\":") => &["ignored"],
            "book" => &["book"],
            other => panic!("{venue}: a label that this test does not know: {other}"),
        };
        assert!(
            allowed.contains(&kind),
            "{venue} {label} gave {kind}: {frame:.300}"
        );
        seen += 1;
    }
    assert!(seen >= 140, "only {seen} messages were found");
}

#[test]
fn every_cut_frame_is_refused_without_a_panic() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (venue, frame) in samples(&root) {
        let frame = frame.trim_end().as_bytes();
        for end in 0..frame.len() {
            let result = parser.parse(venue, &frame[..end], &mut |event| panic!("{venue}: {event:?}"));
            let invalid = result.expect_err("a strict prefix of an object or array is not JSON");
            assert!(
                matches!(invalid.reason, Reason::NotJson | Reason::NotUtf8),
                "{venue}: {invalid}"
            );
        }
    }
}

#[test]
fn damaged_frames_never_panic_and_never_give_a_price_at_or_below_zero() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut random = Random(0x5eed_0001);
    for (venue, frame) in samples(&root) {
        let original = frame.into_bytes();
        for _ in 0..400 {
            let mut frame = original.clone();
            for _ in 0..=random.below(3) {
                let at = random.below(frame.len());
                match random.below(3) {
                    0 => frame[at] ^= 1 << random.below(8),
                    1 => frame[at] = random.below(256) as u8,
                    _ => {
                        // Move a piece over another one: keys, quotes and brackets change places.
                        let len = random.below(24).min(frame.len() - at);
                        let to = random.below(frame.len() - len + 1);
                        frame.copy_within(at..at + len, to);
                    }
                }
            }
            let _ = parser.parse(venue, &frame, &mut |event| match event {
                Event::Quote(quote) => {
                    let prices = [quote.bid, quote.ask, quote.last];
                    assert!(prices.iter().any(Option::is_some));
                    assert!(prices.iter().flatten().all(|price| *price > Decimal::ZERO));
                }
                Event::Trade(trade) => assert!(trade.price > Decimal::ZERO),
                _ => {}
            });
        }
    }
}

#[test]
fn rest_bodies_on_a_socket_never_panic() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (venue, folder) in FOLDERS {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        for file in files(&root.join(folder).join("rest")) {
            for line in lines(&file) {
                let Some(body) = line["data"].as_str().or_else(|| line["body"].as_str()) else {
                    continue;
                };
                let _ = parser.parse(venue, body.as_bytes(), &mut |_| {});
            }
        }
    }
}

#[test]
fn no_frame_allocates_once_the_buffers_have_grown() {
    let Some(root) = shared_data() else { return };
    // Frames above 256 KiB give their buffers back, as documented.
    let frames: Vec<_> = frames(&root)
        .into_iter()
        .filter(|(_, frame)| frame.len() < 256 * 1024)
        .collect();
    let mut parser = Parser::new();
    let mut events = 0_usize;
    let mut run = || {
        for (venue, frame) in &frames {
            let _ = parser.parse(*venue, frame.as_bytes(), &mut |_| events += 1);
        }
    };
    run();
    let counted = allocation_counter::measure(run);
    assert_eq!(counted.count_total, 0, "{counted:?} in {} frames", frames.len());
    assert!(events > 2 * frames.len());
}

const FOLDERS: &[(&str, &str)] = &[
    ("coinbase", "coinbase"),
    ("kraken", "kraken"),
    ("bitstamp", "bitstamp"),
    ("binance", "binance"),
];

fn shared_data() -> Option<PathBuf> {
    let root = std::env::var_os("TRINITY_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    if root.is_dir() {
        return Some(root);
    }
    eprintln!("skipped: shared data not found at {}", root.display());
    None
}

fn read(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    if path.extension().is_some_and(|extension| extension == "gz") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice())
            .read_to_string(&mut text)
            .expect("gzip of text");
    } else {
        text = String::from_utf8(bytes).expect("text");
    }
    text
}

fn lines(path: &Path) -> Vec<Value> {
    let text = read(path);
    if path.extension().is_some_and(|extension| extension == "json") {
        return Vec::new();
    }
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .collect();
    files.sort();
    files
}

/// Every frame that a venue sent, of recordings and messages.
fn frames(root: &Path) -> Vec<(VenueId, String)> {
    let mut frames = Vec::new();
    for (venue, file, _) in RECORDINGS {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        for line in lines(&root.join(file)) {
            if let (Some("recv"), Some(frame)) = (line["t"].as_str(), line["data"].as_str()) {
                frames.push((venue, frame.to_owned()));
            }
        }
    }
    frames.extend(messages(root).into_iter().map(|(venue, _, frame)| (venue, frame)));
    // Kraken v2 books with their numbers: {"init": frame, "updates": [frame..]}.
    let kraken = VenueId::from_name("kraken").expect("a venue of the table");
    let books: Value = serde_json::from_str(&read(
        &root.join("kraken/captures/python-kraken-sdk-orderbook-v2.json"),
    ))
    .expect("one JSON object");
    let updates = books["updates"].as_array().expect("an array of frames");
    frames.extend(
        std::iter::once(&books["init"])
            .chain(updates)
            .map(|frame| (kraken, frame.to_string())),
    );
    frames
}

/// The collected messages with their labels.
fn messages(root: &Path) -> Vec<(VenueId, String, String)> {
    let mut messages = Vec::new();
    for (venue, folder) in FOLDERS {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        for file in files(&root.join(folder).join("messages")) {
            for line in lines(&file) {
                let text = |name: &str| line[name].as_str().expect("text").to_owned();
                messages.push((venue, text("kind"), text("data")));
            }
        }
    }
    messages
}

/// All messages, and some frames of each kind from each recording, none of them long.
fn samples(root: &Path) -> Vec<(VenueId, String)> {
    let mut parser = Parser::new();
    let mut taken: BTreeMap<(VenueId, String, usize), usize> = BTreeMap::new();
    let mut samples = frames(root);
    samples.retain(|(venue, frame)| {
        let mut kind = String::new();
        let _ = parser.parse(*venue, frame.as_bytes(), &mut |event| {
            kind = event.kind().to_owned()
        });
        // The number of quotation marks tells messages of one kind but different shape apart.
        let taken = taken
            .entry((*venue, kind, frame.matches('"').count()))
            .or_default();
        *taken += 1;
        *taken <= 2 && frame.len() < 1_500
    });
    samples
}

fn facts(parser: &mut Parser, venue: VenueId, frame: &str) -> Vec<Fact> {
    let mut facts = Vec::new();
    let _ = parser.parse(venue, frame.as_bytes(), &mut |event| {
        let mut fact = Fact::new();
        let mut put = |name, value: Option<String>| fact.extend(value.map(|value| (name, value)));
        match event {
            Event::Quote(quote) => {
                put("instrument", Some(quote.instrument.to_owned()));
                put("bid", quote.bid.map(|number| number.to_string()));
                put("ask", quote.ask.map(|number| number.to_string()));
                put("last", quote.last.map(|number| number.to_string()));
                put("bid_size", quote.bid_size.map(|number| number.to_string()));
                put("ask_size", quote.ask_size.map(|number| number.to_string()));
                put("time", quote.venue_time_ns.map(|time| time.to_string()));
                put("sequence", quote.sequence.map(|id| id.to_string()));
            }
            Event::Trade(trade) => {
                put("instrument", Some(trade.instrument.to_owned()));
                put("price", Some(trade.price.to_string()));
                put("size", trade.size.map(|number| number.to_string()));
                put("side", trade.side.map(|side| format!("{side:?}")));
                put("time", trade.venue_time_ns.map(|time| time.to_string()));
                put("sequence", trade.sequence.map(|id| id.to_string()));
                put("history", trade.snapshot.then(String::new));
            }
            _ => return,
        }
        facts.push(fact);
    });
    facts
}

/// A small generator, so that a failure is the same failure the next time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// The same frames read by another library, another calendar and string surgery.
mod slow {
    use super::{Fact, Value};

    pub(crate) fn facts(venue: &str, frame: &Value) -> Vec<Fact> {
        match venue {
            "coinbase" => coinbase(frame),
            "kraken" => kraken(frame),
            "bitstamp" => bitstamp(frame),
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

    fn fact(fields: &[(&'static str, Option<String>)]) -> Fact {
        fields
            .iter()
            .filter_map(|(name, value)| Some((*name, value.clone()?)))
            .collect()
    }

    fn list(value: &Value) -> impl Iterator<Item = &Value> {
        value.as_array().into_iter().flatten()
    }

    fn text(value: &Value) -> Option<String> {
        match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn side(value: &Value, buy: &str, sell: &str) -> Option<String> {
        let text = value.as_str()?;
        (text == buy)
            .then(|| "Buy".to_owned())
            .or_else(|| (text == sell).then(|| "Sell".to_owned()))
    }

    fn price(value: &Value) -> Option<String> {
        plain(value).filter(|text| text != "0")
    }

    /// A number's text without an exponent and without idle zeros.
    fn plain(value: &Value) -> Option<String> {
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
    fn calendar(value: &Value) -> Option<String> {
        let stamp: jiff::Timestamp = value.as_str()?.parse().expect("a recorded time");
        (stamp.as_nanosecond() > 0).then(|| stamp.as_nanosecond().to_string())
    }

    /// A time whose unit is 10^`zeros` nanoseconds, by moving the point.
    fn scaled(value: &Value, zeros: usize) -> Option<String> {
        let text = text(value)?;
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        let mut nanos = format!("{whole}{decimals}");
        nanos.extend(std::iter::repeat_n('0', zeros - decimals.len()));
        Some(nanos.trim_start_matches('0').to_owned())
    }
}
