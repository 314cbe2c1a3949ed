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

#[path = "venue_captures/binary.rs"]
mod binary;
#[path = "venue_captures/bybit.rs"]
mod bybit;
#[path = "venue_captures/kucoin.rs"]
mod kucoin;
#[path = "venue_captures/labels.rs"]
mod labels;
#[path = "venue_captures/okx.rs"]
mod okx;
#[path = "venue_captures/rest.rs"]
mod rest;
#[path = "venue_captures/slow.rs"]
mod slow;

/// How many frames there are of each kind.
type Kinds = &'static [(&'static str, usize)];

/// Venue, recording, and how many received frames begin with an event of each kind.
type Recordings = &'static [(&'static str, &'static str, Kinds)];

/// The recordings of every venue that has its own file here, and those below.
fn recordings() -> impl Iterator<Item = &'static (&'static str, &'static str, Kinds)> {
    [RECORDINGS, okx::RECORDINGS, bybit::RECORDINGS, kucoin::RECORDINGS]
        .into_iter()
        .flatten()
}

/// What a collected message may be, where its label says something else.
fn otherwise(venue: &str, label: &str, frame: &str) -> Option<&'static [&'static str]> {
    match venue {
        "okx" => okx::otherwise(label, frame),
        "bybit" => bybit::otherwise(label, frame),
        "kucoin" => kucoin::otherwise(label, frame),
        _ => None,
    }
}

/// The recordings of the other venues.
///
/// The figures are those of the data's own manifest: `ticker` is quote; `match`, `aggTrade` and
/// `market_trades` are trade; `candles` and `kline` are ignored.
const RECORDINGS: Recordings = &[
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
    (
        "gemini",
        "gemini/captures/v2-marketdata-2021-04-17.jsonl",
        &[("book", 935), ("trade", 51), ("heartbeat", 7)],
    ),
    (
        "gemini",
        "gemini/captures/v2-marketdata-2021-06-24.jsonl",
        &[("book", 655), ("trade", 16), ("heartbeat", 7)],
    ),
    (
        "gemini",
        "gemini/captures/v2-marketdata-2026-08-09.jsonl",
        &[("book", 559), ("trade", 2), ("heartbeat", 2)],
    ),
    (
        "cryptocom",
        "cryptocom/captures/v2-market-2021-11-23.jsonl",
        &[
            ("quote", 1157),
            ("book", 161),
            ("trade", 97),
            ("ignored", 7),
            ("ack", 4),
            ("heartbeat", 1),
        ],
    ),
    (
        "gate",
        "gate/captures/v3-ws-2021-04-05.jsonl",
        &[("book", 317), ("trade", 34), ("ack", 2)],
    ),
    (
        "gate",
        "gate/captures/v4-ws-2021-04-22.jsonl",
        &[
            ("book", 95),
            ("quote", 14),
            ("ignored", 10),
            ("trade", 7),
            ("ack", 22),
        ],
    ),
];

/// What both readings of a frame are reduced to: the text of each field that matters.
type Fact = BTreeMap<&'static str, String>;

#[test]
fn every_recorded_frame_is_understood_and_the_kinds_agree_with_the_manifest() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (venue, file, expected) in recordings() {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for line in lines(&root.join(file)) {
            let binary = line["b64"].as_str().map(binary::base64);
            let Some(frame) = line["data"].as_str().or(binary.is_some().then_some("binary")) else {
                continue;
            };
            let sent = line["t"] == "send";
            let mut first = None;
            let sink = &mut |event: Event<'_>| {
                assert_ne!(event.kind(), "invalid", "{file}: {event:?} in {frame:.300}");
                if sent {
                    assert_eq!(event.kind(), "request", "{file}: {frame:.300}");
                }
                first.get_or_insert(event.kind());
            };
            let result = match &binary {
                Some(bytes) => parser.parse_binary(venue, bytes, sink),
                None => parser.parse(venue, frame.as_bytes(), sink),
            };
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
        let expected = slow::facts(venue.name(), &slow::value(&frame));
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
        if labels::explain(venue.name(), &label, &frame, kind) {
            seen += 1;
            continue;
        }
        let allowed: &[&str] = match label.as_str() {
            label if otherwise(venue.name(), label, &frame).is_some() => {
                otherwise(venue.name(), label, &frame).unwrap_or_default()
            }
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
    for (venue, _, body) in rest_bodies(&root) {
        let _ = parser.parse(venue, body.as_bytes(), &mut |_| {});
    }
}

#[test]
fn rest_bodies_are_what_their_label_says() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    let mut seen = BTreeMap::<_, usize>::new();
    for (venue, label, body) in rest_bodies(&root) {
        let mut kinds = Vec::new();
        let result = parser.parse_rest(venue, body.as_bytes(), Some("asked"), &mut |event| {
            kinds.push(event.kind());
        });
        if label == "other" && body.contains("\"currencies\":") && body.len() < 100 {
            // What a client asks for, among the answers.
            assert!(result.is_err() && kinds.is_empty(), "{venue}: {body:.300}");
            continue;
        }
        assert_eq!(result, Ok(()), "{venue} {label}: {body:.300}");
        assert!(!kinds.contains(&"invalid"), "{venue} {label}: {body:.300}");
        let allowed: &[&str] = match label.as_str() {
            // The one answer of success among them.
            "error" if body.contains("\"000000\"") => &["ignored"],
            "error" => &["error"],
            "ticker" => &["quote"],
            // Lists of pairs, of what may be traded on margin, and of spreads.
            "trade"
                if ["\"pairs\"", "\"symbolName\"", "\"legs\""]
                    .iter()
                    .any(|part| body.contains(part)) =>
            {
                &["ignored"]
            }
            "trade" => &["trade"],
            "book" => &["book"],
            // Trades of an older form, and one book, have no label of their own.
            "other" => &["ignored", "trade", "status", "book"],
            // Recorded requests: lists of pairs, and order books.
            "" => &["ignored", "book", "trade"],
            other => panic!("{venue}: a label that this test does not know: {other}"),
        };
        assert!(
            allowed.contains(&kinds[0]),
            "{venue} {label} gave {}: {body:.300}",
            kinds[0]
        );
        *seen.entry(kinds[0]).or_default() += 1;
    }
    let count = |kind| seen.get(kind).copied().unwrap_or_default();
    assert!(
        count("quote") >= 14 && count("book") >= 6 && count("trade") >= 8 && count("error") >= 15,
        "{seen:?}"
    );
}

#[test]
fn every_cut_rest_body_is_refused_without_a_panic() {
    let Some(root) = shared_data() else { return };
    let mut parser = Parser::new();
    for (venue, _, body) in rest_bodies(&root) {
        let body = body.trim_end().as_bytes();
        for end in 0..body.len().min(1_500) {
            let result = parser.parse_rest(venue, &body[..end], None, &mut |event| {
                panic!("{venue}: {event:?}")
            });
            result.expect_err("a strict prefix of an object or array is not JSON");
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
    ("gemini", "gemini"),
    ("cryptocom", "cryptocom"),
    ("gate", "gate"),
    ("okx", "okx"),
    ("bybit", "bybit"),
    ("kucoin", "kucoin"),
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
    for (venue, file, _) in recordings() {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        for line in lines(&root.join(file)) {
            if line["t"] != "recv" {
                continue;
            }
            if let Some(frame) = line["data"].as_str() {
                frames.push((venue, frame.to_owned()));
            } else if let Some(frame) = line["b64"].as_str() {
                frames.push((venue, binary::inflated(&binary::base64(frame))));
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

/// The bodies of REST answers with their labels, empty for recorded ones.
fn rest_bodies(root: &Path) -> Vec<(VenueId, String, String)> {
    let mut bodies = Vec::new();
    for (venue, folder) in FOLDERS {
        let venue = VenueId::from_name(venue).expect("a venue of the table");
        for file in files(&root.join(folder).join("rest")) {
            if file.extension().is_some_and(|extension| extension == "json") {
                bodies.push((venue, String::new(), read(&file)));
            }
            for line in lines(&file) {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                bodies.push((venue, text("kind"), text("data")));
            }
        }
    }
    bodies
}

/// All messages, and some frames of each kind from each recording, none of them long.
fn samples(root: &Path) -> Vec<(VenueId, String)> {
    let mut parser = Parser::new();
    let mut taken: BTreeMap<(VenueId, &str, usize), usize> = BTreeMap::new();
    let mut samples = frames(root);
    samples.retain(|(venue, frame)| {
        let mut kind = "";
        let _ = parser.parse(*venue, frame.as_bytes(), &mut |event| {
            kind = event.kind();
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
