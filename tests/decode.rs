//! The command `decode`: the real binary on files written by hand from the venues' documentation,
//! and on the shared captures.

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use serde_json::{Value, json};
use support::server::command;
use tempfile::TempDir;

/// A run of the command.
struct Run {
    code: i32,
    lines: Vec<Value>,
    errors: String,
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        let text = String::from_utf8(output.stdout).expect("text");
        Self {
            code: output.status.code().expect("it ended by itself"),
            lines: text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
                .collect(),
            errors: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

fn decode(arguments: &[&str]) -> Command {
    let mut command = command();
    command.arg("decode").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Run {
    let output = decode(arguments).stdin(Stdio::null()).output();
    output.expect("the binary runs").into()
}

/// Runs it with `input` on its standard input.
fn run_on(arguments: &[&str], input: &[u8]) -> Run {
    let mut child = decode(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut pipe = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // It may end before it has read all.
    let writer = std::thread::spawn(move || {
        let _ = pipe.write_all(&input);
    });
    let output = child.wait_with_output().expect("it ends");
    writer.join().expect("the writer ends");
    output.into()
}

/// A file of this name in a directory of its own.
fn file(name: &str, text: impl AsRef<[u8]>) -> (TempDir, String) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    std::fs::create_dir_all(path.parent().expect("it has one")).expect("made");
    std::fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a plain path").to_owned();
    (dir, path)
}

fn gzipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

const TICKER: &str = r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":1e-8,"last":105899.40,"timestamp":"2022-12-25T09:30:59.123456Z"}]}"#;

fn envelope(way: &str, data: &str) -> String {
    json!({"t": way, "conn": "KRAKEN.ws.1", "ts": 1_617_654_357.390_381, "data": data}).to_string()
}

#[test]
fn a_quote_is_told_field_by_field_in_exact_decimals() {
    let (_dir, path) = file("kraken/a.jsonl", format!("{}\n", envelope("recv", TICKER)));
    let run = run(&[&path]);
    assert_eq!(
        run.lines,
        [json!({
            "file": path, "line": 1, "kind": "quote", "venue": "kraken", "ts_ns": 1_617_654_357_390_381_000_u64,
            "instrument": "BTC/USD", "symbol": "BTC-USD", "bid": "105944.2", "ask": "105944.3", "last": "105899.4",
            "bid_size": "2.5", "ask_size": "0.00000001",
            "venue_time_ns": 1_671_960_659_123_456_000_u64, "venue_time": "2022-12-25T09:30:59.123456Z",
        })]
    );
    assert_eq!(run.code, 0, "{}", run.errors);
    assert!(run.errors.contains("frames: 1 (quote 1)"), "{}", run.errors);
    assert!(run.errors.contains("damaged lines: 0"), "{}", run.errors);
}

#[test]
fn every_kind_of_frame_is_called_by_its_name() {
    let frames = [
        (TICKER, json!({"kind": "quote", "bid": "105944.2"})),
        (
            r#"{"channel":"trade","type":"snapshot","data":[{"symbol":"MATIC/USD","side":"sell","price":0.5147,"qty":6423.46,"trade_id":4665846,"timestamp":"2023-09-25T07:48:36.925533Z"}]}"#,
            json!({"kind": "trade", "instrument": "MATIC/USD", "symbol": "POL-USD", "price": "0.5147", "size": "6423.46",
                "side": "sell", "sequence": 4_665_846, "snapshot": true, "venue_time_ns": 1_695_628_116_925_533_000_u64}),
        ),
        (
            r#"{"channel":"book","type":"snapshot","data":[{"symbol":"NOT/LISTED","bids":[],"asks":[]}]}"#,
            json!({"kind": "book", "instrument": "NOT/LISTED", "symbol": null, "snapshot": true}),
        ),
        (
            r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD"},"success":true}"#,
            json!({"kind": "ack", "channel": "ticker", "instrument": "BTC/USD"}),
        ),
        (r#"{"channel":"heartbeat"}"#, json!({"kind": "heartbeat"})),
        (
            r#"{"channel":"status","type":"update","data":[{"system":"online"}]}"#,
            json!({"kind": "status", "message": "online"}),
        ),
        (
            r#"{"error":["EQuery:Unknown asset pair"]}"#,
            json!({"kind": "error", "code": "EQuery", "message": "EQuery:Unknown asset pair"}),
        ),
        (
            r#"{"method":"ping","req_id":1}"#,
            json!({"kind": "request", "method": "ping"}),
        ),
        (
            r#"{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD"}]}"#,
            json!({"kind": "ignored", "reason": "ohlc"}),
        ),
        (
            r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":-1}]}"#,
            json!({"kind": "invalid", "reason": "negative", "field": "bid", "instrument": "BTC/USD"}),
        ),
        (
            r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":0,"ask":0}]}"#,
            json!({"kind": "invalid", "reason": "no_price", "instrument": "BTC/USD"}),
        ),
        (
            r#"{"z":1}"#,
            json!({"kind": "invalid", "reason": "unknown_shape"}),
        ),
        (r#"{"z":"#, json!({"kind": "invalid", "reason": "not_json"})),
    ];
    let lines: Vec<_> = frames.iter().map(|(frame, _)| envelope("recv", frame)).collect();
    // Frames without anything around them say the same, but for the time of receipt.
    let bare: Vec<_> = frames.iter().map(|(frame, _)| (*frame).to_owned()).collect();
    for (lines, damaged) in [(lines, 0), (bare, 1)] {
        let run = run_on(&["--venue", "kraken"], lines.join("\n").as_bytes());
        assert_eq!(run.lines.len(), frames.len());
        for ((line, number), (frame, expected)) in run.lines.iter().zip(1..).zip(&frames) {
            assert_eq!((&line["line"], &line["file"]), (&json!(number), &json!("-")));
            for (name, value) in expected.as_object().expect("an object") {
                assert_eq!(line.get(name), Some(value), "{name} of {frame}: {line}");
            }
        }
        assert_eq!(run.code, 4);
        assert!(
            run.errors.contains(&format!("damaged lines: {damaged}")),
            "{}",
            run.errors
        );
        assert!(
            run.errors
                .contains("\ninvalid: negative 1, no_price 1, not_json 1, unknown_shape 1\n"),
            "{}",
            run.errors
        );
    }
}

#[test]
fn a_frame_that_says_several_things_tells_all_of_them_and_a_bad_one_hides_no_other() {
    let frame = r#"{"channel":"ticker","type":"update","data":[{"symbol":"A/B","bid":"x"},{"symbol":"ETH/USD","bid":2,"ask":3}]}"#;
    let run = run_on(&["--venue", "kraken"], frame.as_bytes());
    let line = &run.lines[0];
    assert_eq!(
        (&line["kind"], &line["symbol"], &line["bid"]),
        (&json!("quote"), &json!("ETH-USD"), &json!("2"))
    );
    assert_eq!(line["events"][0]["reason"], "bad_number");
    assert_eq!(line["events"][0]["instrument"], "A/B");
    assert_eq!(line["events"][1]["ask"], "3");
    assert_eq!(run.code, 4, "an element was not understood");
}

#[test]
fn a_book_that_is_also_a_quote_shows_its_prices() {
    let frame = r#"{"event":"data","channel":"order_book_btcusd","data":{"microtimestamp":"1653978373164007",
        "bids":[["31524.50","0.364"],["1","1"]],"asks":[["31535.44","0.317"]]}}"#
        .replace('\n', "");
    let run = run_on(&["--venue", "bitstamp"], frame.as_bytes());
    let line = &run.lines[0];
    assert_eq!(
        (
            &line["kind"],
            &line["bid"],
            &line["ask"],
            &line["bid_size"],
            &line["symbol"]
        ),
        (
            &json!("book"),
            &json!("31524.5"),
            &json!("31535.44"),
            &json!("0.364"),
            &json!("BTC-USD")
        )
    );
    assert_eq!(line["venue_time_ns"], 1_653_978_373_164_007_000_u64);
    let kinds: Vec<_> = line["events"]
        .as_array()
        .expect("two")
        .iter()
        .map(|event| &event["kind"])
        .collect();
    assert_eq!(kinds, ["book", "quote"]);
    assert_eq!(run.code, 0);
}

#[test]
fn connections_and_what_was_sent_are_told_apart_from_what_was_received() {
    let lines = [
        json!({"t": "connect", "conn": "c", "ts": 1, "addr": "wss://ws.kraken.com/v2"}),
        json!({"t": "send", "conn": "c", "ts": 2, "data": r#"{"method":"subscribe","params":{"channel":"ticker"}}"#}),
        json!({"t": "send", "conn": "c", "ts": 2, "data": "hello"}),
        json!({"t": "recv", "conn": "c", "ts": 3, "data": r#"{"channel":"heartbeat"}"#}),
        json!({"t": "lost", "conn": "c", "ts_ns": 4, "frames": 2}),
        json!({"format": "trinity-raw-recording", "version": 1}),
    ];
    let text = lines.map(|line| line.to_string()).join("\n");
    let run = run_on(&[], text.as_bytes());
    let told: Vec<_> = run
        .lines
        .iter()
        .map(|line| (line["kind"].as_str().expect("a kind"), line["venue"].as_str()))
        .collect();
    let kraken = Some("kraken");
    assert_eq!(
        told,
        [
            ("status", kraken),
            ("request", kraken),
            ("request", kraken),
            ("heartbeat", kraken),
            ("status", kraken),
            ("status", None)
        ]
    );
    assert_eq!(run.lines[1]["method"], "subscribe");
    assert_eq!(run.code, 0, "{}", run.errors);
}

#[test]
fn our_own_recordings_and_labelled_messages_are_read() {
    let lines = [
        json!({"ts_ns": 7, "venue": "coinbase", "data": r#"{"type":"heartbeat"}"#}).to_string(),
        json!({"t": "recv", "ts_ns": 8, "venue": "kraken", "conn": "x", "data": r#"{"channel":"heartbeat"}"#}).to_string(),
        json!({"kind": "ticker", "venue": "binance", "src": "docs", "note": null,
            "data": r#"{"u":1,"s":"BTCUSDT","b":"1.10","B":"2","a":"1.20","A":"3"}"#})
        .to_string(),
    ];
    let run = run_on(&[], lines.join("\n").as_bytes());
    assert_eq!(
        run.lines[0],
        json!({"file": "-", "line": 1, "kind": "heartbeat", "venue": "coinbase", "ts_ns": 7})
    );
    assert_eq!(run.lines[1]["venue"], "kraken");
    let labelled = &run.lines[2];
    assert_eq!(
        (
            &labelled["label"],
            &labelled["kind"],
            &labelled["bid"],
            &labelled["symbol"],
            &labelled["sequence"]
        ),
        (
            &json!("ticker"),
            &json!("quote"),
            &json!("1.1"),
            &json!("BTC-USDT"),
            &json!(1)
        )
    );
    assert_eq!(run.code, 0, "{}", run.errors);
}

#[test]
fn rest_answers_take_their_instrument_from_the_request_the_flag_or_nobody() {
    let body = r#"{"ask":"2211.00","bid":"2188.97","last":"2211.00","timestamp":"1643640186"}"#;
    let http =
        json!({"t": "http", "ts": 1, "url": "https://www.bitstamp.net/api/v2/ticker/btcusd/", "data": body});
    let (_dir, path) = file("bitstamp/captures/a.jsonl", http.to_string());
    let by_request = run(&[&path]);
    assert_eq!(by_request.lines[0]["instrument"], "btcusd");
    assert_eq!(by_request.lines[0]["symbol"], "BTC-USD");

    let line = json!({"kind": "ticker", "src": "a.json#L1", "data": body}).to_string();
    let (_dir, path) = file("bitstamp/rest/a.jsonl", &line);
    let by_flag = run(&["--instrument", "ethusd", &path]);
    assert_eq!(by_flag.lines[0]["symbol"], "ETH-USD");
    let nobodys = run(&[&path]);
    assert_eq!(
        (&nobodys.lines[0]["kind"], &nobodys.lines[0]["bid"]),
        (&json!("quote"), &json!("2188.97"))
    );
    assert_eq!(nobodys.lines[0].get("instrument"), None);
    assert_eq!(nobodys.lines[0]["symbol"], Value::Null);

    let line =
        json!({"kind": "ticker", "src": "http.json GET /api/v2/ticker/btcusd/?", "data": body}).to_string();
    let by_source = run_on(&["--venue", "bitstamp", "--rest"], line.as_bytes());
    assert_eq!(by_source.lines[0]["symbol"], "BTC-USD");
    for run in [by_request, by_flag, nobodys, by_source] {
        assert_eq!(run.code, 0, "{}", run.errors);
    }

    let kraken =
        r#"{"error":[],"result":{"XXBTZUSD":{"a":["2","1","1"],"b":["1","1","1"],"c":["1.5","1"]}}}"#;
    let http = json!({"t": "http", "ts": 1, "url": "https://api.kraken.com/0/public/Ticker?pair=XBTUSD", "data": kraken});
    let run = run_on(&[], http.to_string().as_bytes());
    assert_eq!(run.lines[0]["symbol"], "BTC-USD");
}

#[test]
fn a_file_may_be_one_value_over_many_lines() {
    let text = "{\n  \"init\": {\"channel\":\"book\",\"type\":\"snapshot\",\n    \"data\":[{\"symbol\":\"BTC/USD\"}]},\n  \"updates\": [\n    {\"channel\":\"ticker\",\"type\":\"update\",\"data\":[{\"symbol\":\"BTC/USD\",\"bid\":1.50}]},\n    {\"channel\":\"heartbeat\"}\n  ]\n}\n";
    let (_dir, path) = file("kraken.json", text);
    let frames = run(&[&path]);
    let told: Vec<_> = frames
        .lines
        .iter()
        .map(|line| {
            (
                line["kind"].as_str().expect("a kind"),
                line["line"].as_u64().expect("a number"),
            )
        })
        .collect();
    assert_eq!(told, [("book", 2), ("quote", 5), ("heartbeat", 6)]);
    assert_eq!(frames.lines[1]["bid"], "1.5");
    assert_eq!(frames.code, 0);

    let body = "\n{\n  \"error\": [],\n  \"result\": {\n    \"XBTUSDT\": [\n      [\"105433.60000\", \"0.00027625\", 1762795433.9717445, \"b\", \"l\", \"\", 10218208]\n    ],\n    \"last\": \"1\"\n  }\n}";
    let (_dir, path) = file("kraken/rest/trades.json", body);
    let trades = run(&[&path]);
    assert_eq!(trades.lines.len(), 1);
    assert_eq!(
        (
            &trades.lines[0]["kind"],
            &trades.lines[0]["price"],
            &trades.lines[0]["line"]
        ),
        (&json!("trade"), &json!("105433.6"), &json!(2))
    );
    assert_eq!(trades.code, 0);

    // Such a value that breaks off is one damaged frame.
    let (_dir, path) = file("kraken.json", &text[..text.len() - 5]);
    let cut = run(&[&path]);
    assert_eq!(cut.lines.len(), 1);
    assert_eq!((cut.code, &cut.lines[0]["damaged"]), (4, &json!(true)));
}

#[test]
fn compressed_files_and_compressed_frames_are_opened() {
    let heartbeat = br#"{"channel":"heartbeat"}"#;
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(heartbeat).expect("memory takes it");
    let frames = [
        deflated.finish().expect("memory takes it"),
        gzipped(heartbeat),
        heartbeat.to_vec(),
    ];
    let mut lines = frames
        .map(|frame| {
            let base64 = data_encoding::BASE64.encode(&frame);
            json!({"t": "recv", "ts": 1, "b64": base64}).to_string()
        })
        .to_vec();
    lines.push(r#"{"t":"recv","ts":1,"b64":"!!"}"#.to_owned());
    let text = lines.join("\n");
    let (_dir, path) = file("kraken.jsonl.gz", gzipped(text.as_bytes()));
    let run = run(&[&path]);
    for line in &run.lines[..3] {
        assert_eq!(line["kind"], "heartbeat", "{line}");
    }
    assert_eq!(
        (&run.lines[3]["reason"], &run.lines[3]["damaged"]),
        (&json!("bad_base64"), &json!(true))
    );
    assert_eq!(run.code, 4);
}

#[test]
fn damaged_lines_are_named_and_spoil_no_other() {
    let good = envelope("recv", TICKER);
    let mut text = format!("{good}\n{}\n\n", &good[..good.len() / 2]).into_bytes();
    text.extend_from_slice(br#"{"t":"recv","ts":1}"#);
    text.extend_from_slice(b"\n\xff\xfe\n");
    // Longer than any line may be.
    text.resize(text.len() + (33 << 20), b'x');
    text.push(b'\n');
    text.extend_from_slice(good.as_bytes());
    let run = run_on(&["--venue", "kraken", "-"], &text);
    let told: Vec<_> = run
        .lines
        .iter()
        .map(|line| {
            let damaged = line.get("damaged").is_some();
            (
                line["line"].as_u64().expect("a number"),
                line["reason"].as_str(),
                damaged,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, None, false),
            (2, Some("not_json"), true),
            (4, Some("missing_field"), true),
            (5, Some("not_utf8"), true),
            (6, Some("too_large"), true),
            (7, None, false)
        ]
    );
    assert_eq!(run.code, 4);
    assert!(run.errors.contains("damaged lines: 4"), "{}", run.errors);
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_and_the_others_are_decoded_all_the_same() {
    let whole = gzipped(format!("{}\n", envelope("recv", TICKER)).repeat(2_000).as_bytes());
    let (_dir, cut) = file("kraken.gz", &whole[..whole.len() / 2]);
    let (_dir, good) = file("kraken.jsonl", envelope("recv", TICKER));
    let missing = format!("{good}.gone");
    let run = run(&[&missing, &cut, &good]);
    assert_eq!(run.code, 1);
    assert!(
        run.errors.contains(&format!("cannot read {missing}")),
        "{}",
        run.errors
    );
    assert!(
        run.errors.contains(&format!("cannot read {cut} beyond line ")),
        "{}",
        run.errors
    );
    assert!(
        run.errors.contains("files not read to their end: 2"),
        "{}",
        run.errors
    );
    assert_eq!(run.lines.last().expect("a line")["file"], json!(good));
}

#[test]
fn a_venue_that_is_unknown_or_not_told_is_wrong_usage_and_the_known_ones_are_listed() {
    let wrong = run(&["--venue", "mtgox", "x"]);
    let untold = run_on(&[], TICKER.as_bytes());
    let stranger = run_on(&[], br#"{"ts_ns":1,"venue":"mtgox","data":"{}"}"#);
    for run in [wrong, untold, stranger] {
        assert_eq!(run.code, 2, "{}", run.errors);
        assert!(run.lines.is_empty());
        for venue in [
            "coinbase",
            "kraken",
            "gemini",
            "okx",
            "cryptocom",
            "gate",
            "binance",
            "bitstamp",
            "bybit",
            "kucoin",
        ] {
            assert!(run.errors.contains(venue), "{venue} in {}", run.errors);
        }
    }
}

#[test]
fn the_summary_alone_is_json() {
    let lines = [
        envelope("recv", TICKER),
        envelope("recv", r#"{"z":1}"#),
        "{".to_owned(),
        "x".to_owned(),
    ];
    let (_dir, path) = file("kraken.jsonl", lines[..2].join("\n"));
    let output = decode(&["--summary", &path]).output().expect("the binary runs");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    assert_eq!(
        summary,
        json!({
            "files": 1, "frames": 2, "kinds": {"quote": 1, "invalid": 1}, "invalid": {"unknown_shape": 1}, "damaged": 0,
            "instruments": {"kraken": {"BTC/USD": 1}}, "more_instruments": 0, "unread": 0,
        })
    );
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stderr.is_empty());
}

#[test]
fn a_reader_that_has_seen_enough_ends_it_quietly() {
    let (_dir, path) = file(
        "kraken.jsonl",
        format!("{}\n", envelope("recv", TICKER)).repeat(20_000),
    );
    let mut child = decode(&[&path])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut first = String::new();
    let mut reader = BufReader::with_capacity(64, child.stdout.take().expect("piped"));
    reader.read_line(&mut first).expect("a line");
    assert!(first.contains("\"quote\""), "{first}");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Folders of the shared data.
const FOLDERS: [&str; 10] = [
    "coinbase",
    "kraken",
    "bitstamp",
    "binance",
    "gemini",
    "okx",
    "cryptocom",
    "gate",
    "bybit",
    "kucoin",
];

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for part in ["captures", "messages", "rest"] {
        let Ok(entries) = std::fs::read_dir(folder.join(part)) else {
            continue;
        };
        files.extend(entries.map(|entry| entry.expect("a readable folder").path()));
    }
    files.sort();
    files
}

#[test]
fn no_line_of_the_shared_data_is_damaged_and_every_venue_is_known_by_its_path() {
    for venue in FOLDERS {
        let Some(folder) = support::shared_data(venue) else {
            return;
        };
        let files: Vec<_> = files_below(&folder)
            .iter()
            .map(|path| path.to_str().expect("a plain path").to_owned())
            .collect();
        assert!(!files.is_empty(), "{venue}");
        let mut arguments = vec!["--summary"];
        arguments.extend(files.iter().map(String::as_str));
        let output = decode(&arguments).output().expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
        assert_eq!(summary["damaged"], 0, "{venue}: {summary:.600}");
        assert_eq!(summary["unread"], 0, "{venue}: {errors}");
        assert_eq!(summary["files"], files.len(), "{venue}");
        let known: Vec<_> = summary["instruments"]
            .as_object()
            .expect("an object")
            .keys()
            .collect();
        let own = |name: &str| name == venue || (venue == "binance" && name == "binance-us");
        assert!(known.iter().all(|name| own(name)), "{venue}: {known:?}");
        assert!(matches!(output.status.code(), Some(0 | 4)), "{venue}: {errors}");
    }
}

/// What a collection's word for a message may come to.
fn agrees(label: &str, line: &Value) -> bool {
    let kind = line["kind"].as_str().expect("a kind");
    match label {
        "ticker" => kind == "quote",
        "trade" | "book" | "ack" | "error" | "request" => kind == label,
        "heartbeat/status" => kind == "heartbeat" || kind == "status",
        "other" => matches!(kind, "ignored" | "status" | "trade"),
        _ => false,
    }
}

#[test]
fn labels_of_the_shared_messages_agree_with_the_kinds() {
    let (mut agreeing, mut differing) = (0, BTreeMap::<String, usize>::new());
    for venue in [
        "coinbase", "kraken", "bitstamp", "binance", "okx", "bybit", "kucoin",
    ] {
        let Some(folder) = support::shared_data(venue) else {
            return;
        };
        for path in files_below(&folder) {
            if path.components().any(|part| part.as_os_str() == "captures") {
                continue;
            }
            for line in run(&[path.to_str().expect("a plain path")]).lines {
                let Some(label) = line["label"].as_str() else {
                    continue;
                };
                if agrees(label, &line) {
                    agreeing += 1;
                } else {
                    let kind = line["kind"].as_str().expect("a kind");
                    *differing.entry(format!("{venue} {label} {kind}")).or_default() += 1;
                }
            }
        }
    }
    // Wrong or coarse labels, each looked at: subscriptions and confirmations among what they are
    // for, lists of instruments among trades, books called trades, REST bodies and spreads among
    // books, warnings among errors, a halted instrument, tickers of an index, of blocks, spreads
    // and leveraged tokens, and bodies of requests among answers.
    let known: BTreeMap<_, _> = [
        ("binance book request", 1),
        ("binance error ignored", 1),
        ("binance ticker ignored", 1),
        ("binance trade ignored", 1),
        ("bybit book ack", 2),
        ("bybit other book", 1),
        ("bybit ticker ignored", 1),
        ("bybit trade book", 2),
        ("coinbase trade request", 1),
        ("kraken book quote", 2),
        ("kraken error status", 2),
        ("kraken ticker invalid", 1),
        ("kraken trade request", 1),
        ("kucoin other invalid", 1),
        ("kucoin trade ignored", 1),
        ("kucoin trade quote", 1),
        ("okx book request", 2),
        ("okx ticker ignored", 3),
        ("okx ticker request", 2),
        ("okx trade ignored", 5),
    ]
    .map(|(what, count)| (what.to_owned(), count))
    .into();
    assert_eq!(differing, known);
    assert!(agreeing > 200, "{agreeing}");
}
