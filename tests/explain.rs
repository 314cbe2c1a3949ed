//! Why a price is what it is, as users ask it: a real server over HTTP, and the command.

mod support;

use std::collections::BTreeSet;
use std::process::Output;

use serde_json::Value;
use support::http::{self, Response};
use support::server::{Server, command};
use tempfile::TempDir;
use trinity_beast::control::market::names;
use trinity_beast::market::SymbolTable;

/// Two venues, two instants; then the market is over and says no more.
const RECORDING: &str = "\
{\"format\":\"trinity-recording\",\"version\":1,\"title\":\"five quotes\",\"max_age_ms\":600000,\"hard_age_ms\":900000,\
\"columns\":[\"time_ms\",\"venue\",\"market\",\"bid\",\"ask\",\"last\",\"sequence\"]}
1678406460000,coinbase,USDT-USD,1.0010,1.0012,,1
1678406460000,kraken,USDT/USD,1.0010,1.0012,,1
1678406460000,coinbase,BTC-USD,20020,20022,20021,7
1678406460000,binance-us,BTCUSDT,20000,20002,,1
1678406460000,bitstamp,btcusd,,,25000,1
1678406461000,coinbase,BTC-USD,20020,20022,20021,7
";

/// The server and the directory it lives in, which outlives it.
fn server() -> (Server, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("market.csv");
    std::fs::write(&file, RECORDING).expect("written");
    let market = format!("replay:{}", file.display());
    let flags = ["--market", &market, "--once", "--speed", "1x"];
    (Server::start_in(dir.path(), flags), dir)
}

fn get(server: &Server, path: &str) -> Response {
    http::get(server.http, path, Some(&server.demo_key_text()))
}

fn explain(server: &Server, words: &[&str]) -> Output {
    let mut command = command();
    command.arg("explain").args(words);
    command.args(["--server", &server.http.to_string(), "--data-dir"]);
    command.arg(server.data_dir()).output().expect("it runs")
}

fn venue<'a>(explained: &'a Value, name: &str) -> &'a Value {
    let venues = explained["venues"].as_array().expect("an array");
    let found = venues.iter().find(|venue| venue["venue"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {explained}"))
}

/// The explanation once the second instant was played: its repetition has been refused by then.
fn settled(server: &Server) -> Value {
    support::server::wait_until("the recording is over", || {
        let explained = get(server, "/price/BTC-USD/explain").json();
        (!venue(&explained, "coinbase")["last_reject"].is_null()).then_some(explained)
    })
}

#[test]
fn every_venues_quote_is_told_exactly_with_its_age_weight_and_reason() {
    let (server, _dir) = server();
    let explained = settled(&server);
    assert_eq!(explained["symbol"], "BTC-USD");
    assert_eq!(
        (&explained["status"], &explained["rule"]),
        (&"LIVE".into(), &"enough_venues".into())
    );
    assert_eq!(explained["rule_text"], "enough venues agree");
    assert_eq!(explained["publish_time_ns"], 1_678_406_460_000_000_000_u64);
    assert_eq!(
        (&explained["venues_used"], &explained["min_sources"]),
        (&2.into(), &2.into())
    );
    let price = get(&server, "/price?asset=BTC-USD").json();
    for (told, read) in [
        ("price", "price_text"),
        ("confidence", "confidence_text"),
        ("sequence", "sequence"),
        ("exponent", "exponent"),
        ("flag_names", "flag_names"),
    ] {
        assert_eq!(explained[told], price[read], "{told} is the price's own");
    }

    let coinbase = venue(&explained, "coinbase");
    assert_eq!(coinbase["instrument"], "BTC-USD");
    let quote = &coinbase["quote"];
    for (member, said) in [("bid", "20020"), ("ask", "20022"), ("last", "20021")] {
        assert_eq!(quote[member], said, "as the venue wrote it");
    }
    assert_eq!(
        (&quote["sequence"], &quote["fetched"]),
        (&7.into(), &false.into())
    );
    assert_eq!(coinbase["price"], "20021.00000000");
    assert_eq!(
        (&coinbase["used"], &coinbase["reason"]),
        (&true.into(), &"used".into())
    );
    assert_eq!(
        (&coinbase["weight"], &coinbase["route"]),
        (&"0.500000".into(), &Value::Null)
    );
    assert_eq!(coinbase["last_reject"], "repeated");
    assert!(
        coinbase["age_ms"].as_u64().expect("an age") >= 1_000,
        "it repeats itself: {coinbase}"
    );

    let converted = venue(&explained, "binance-us");
    assert_eq!(converted["price"], "20023.00110000", "20001 at 1.0011");
    assert_eq!(
        (&converted["bid"], &converted["ask"]),
        (&"20022.00000000".into(), &"20024.00220000".into())
    );
    assert_eq!(converted["route"]["symbol"], "USDT-USD");
    assert_eq!(
        (&converted["route"]["price"], &converted["route"]["status"]),
        (&"1.00110000".into(), &"LIVE".into())
    );

    let wild = venue(&explained, "bitstamp");
    assert_eq!(
        (&wild["used"], &wild["reason"], &wild["weight"]),
        (&false.into(), &"beyond_cap".into(), &"0.000000".into())
    );
    assert_eq!(
        (&wild["quote"]["last"], &wild["probation_left"]),
        (&"25000".into(), &3.into())
    );
    let silent = venue(&explained, "kraken");
    assert_eq!(
        (&silent["quote"], &silent["reason"], &silent["age_ms"]),
        (&Value::Null, &"no_quote".into(), &Value::Null)
    );
}

#[test]
fn a_symbol_is_explained_under_all_its_names_and_an_unknown_one_is_a_problem() {
    let (server, _dir) = server();
    for path in [
        "/price/btc/explain",
        "/price/BTC%2FUSD/explain",
        "/price/XBT-USD/explain",
    ] {
        let got = get(&server, path);
        assert_eq!(
            (got.status, got.json()["symbol"].clone()),
            (200, "BTC-USD".into()),
            "{path}"
        );
    }
    let got = get(&server, "/price/NOPE-USD/explain");
    assert_eq!(
        (got.status, got.json()["type"].clone()),
        (404, "/problems/unknown-asset".into())
    );
    let got = http::get(server.http, "/price/BTC-USD/explain", None);
    assert_eq!(got.status, 401);
}

#[test]
fn every_symbol_of_the_table_can_be_explained() {
    let server = Server::start(["--market", "replay"]);
    let table = SymbolTable::builtin();
    let symbols: BTreeSet<_> = names(&table)
        .expect("distinct")
        .names()
        .to_vec()
        .into_iter()
        .collect();
    assert!(symbols.len() > 50);
    for symbol in symbols {
        let got = get(&server, &format!("/price/{}/explain", symbol.as_str()));
        assert_eq!(got.status, 200, "{symbol:?}: {}", got.body);
        assert_eq!(got.json()["symbol"], symbol.as_str());
    }
}

#[test]
fn the_command_shows_people_a_row_per_venue_and_scripts_the_json() {
    let (server, _dir) = server();
    let expected = settled(&server);
    let output = explain(&server, &["btc/usd"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}{:?}", output.stderr);
    let row = |name: &str| -> Vec<&str> {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .split_whitespace()
            .collect()
    };
    assert!(
        text.contains("LIVE: enough venues agree (enough_venues)"),
        "{text}"
    );
    assert_eq!(
        row("coinbase")[1..6],
        ["BTC-USD", "20020", "20022", "20021", "20021.00000000"]
    );
    assert!(
        row("binance-us")
            .join(" ")
            .contains("0.500000 yes USDT-USD 1.00110000 LIVE used"),
        "{text}"
    );
    assert!(
        row("bitstamp")
            .join(" ")
            .contains("no direct more than 5 % from the median; 3 good quotes owed"),
        "{text}"
    );
    assert!(text.contains("has not quoted yet"), "{text}");

    let output = explain(&server, &["BTC-USD", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(
        json["venues"].as_array().map(Vec::len),
        expected["venues"].as_array().map(Vec::len)
    );
    assert_eq!(json["price"], expected["price"]);
}

#[test]
fn the_command_says_by_its_exit_code_whether_there_is_a_price_and_what_to_do_without_an_answer() {
    let (server, _dir) = server();
    let output = explain(&server, &["ETH-USD"]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(text.contains("NO_PRICE: no venue has quoted it yet"), "{text}");

    let failed = |output: Output, wanted: &str| {
        let text = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains(wanted), "{text}");
        assert!(!text.contains("tb_live_"), "no key is ever shown");
    };
    failed(
        explain(&server, &["NOPE-USD"]),
        "GET /symbols lists those there are",
    );
    failed(explain(&server, &["a b"]), "symbol \"a b\"");
    let ops = server.ops.to_string();
    failed(explain(&server, &["BTC", "--key-file", "/none"]), "--key-file");
    let mut elsewhere = command();
    elsewhere
        .args(["explain", "BTC", "--server", &ops, "--data-dir"])
        .arg(server.data_dir());
    failed(elsewhere.output().expect("it runs"), "/health");
    let mut nowhere = command();
    nowhere
        .args(["explain", "BTC", "--server", "http://127.0.0.1:9", "--data-dir"])
        .arg(server.data_dir());
    failed(nowhere.output().expect("it runs"), "--server");
}
