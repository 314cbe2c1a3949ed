use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use trinity_protocol::{Code, KeyId, PriceStatus, Refusal, Symbol};

use super::*;
use crate::limits::{HEARTBEAT_STALE_MS, KEYS_STALE_MS, MARKET_STALE_MS};
use crate::tables::counters::Waited;
use crate::tables::meter::{Meter, Protocol};
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};

const NOW: u64 = 1_700_000_000_000_000_000;
const MS: u64 = 1_000_000;

/// A board on which all is well.
fn board() -> (Ops, PriceWriter) {
    let symbol = |name| Symbol::new(name).expect("a symbol");
    let names = SymbolNames::new(vec![symbol("BTC-USD"), symbol("ETH-USD")], &[]).expect("distinct");
    let (mut writer, tables) = PriceWriter::new(&Arc::new(names), 1);
    writer.publish(
        SymbolIndex(0),
        PriceRecord {
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            age_origin_ns: NOW,
            max_age_ms: 60_000,
            hard_age_ms: 600_000,
            ..PriceRecord::NONE
        },
    );
    let ops = Ops {
        process: ProcessFacts {
            started_ns: NOW - 60_000 * MS,
            version: "0.1.0",
            node: "main".into(),
            driver: "epoll".into(),
            driver_why: "io_uring says \"no\"\nhere".into(),
        },
        shards: (0..2)
            .map(|cpu| ShardFacts {
                cpu: Some(cpu),
                ..ShardFacts::default()
            })
            .collect(),
        web: vec![Arc::default(), Arc::default()],
        prices: Arc::clone(&tables[0]),
        misses: Some(Arc::new(MissBoard::with_room(2, 2, || {}))),
        market: MarketFacts::new(MarketKind::Replay, "replay:test"),
        ledger: LedgerFacts::new("sqlite"),
        journal: Arc::default(),
        keys: KeysFacts::default(),
        stopping_since_ns: Fact::default(),
    };
    for shard in &ops.shards {
        shard.counters.heartbeat_ns.set(NOW);
        shard.receive_buffer_bytes.set(425_984);
    }
    for worker in &ops.web {
        worker.heartbeat_ns.set(NOW);
    }
    ops.market.last_tick_ns.set(NOW);
    *ops.market.rejected.write() = vec![("old".into(), 3), ("crossed".into(), 4)];
    ops.keys.count.set(5);
    ops.keys.last_sync_ns.set(NOW);
    ops.ledger.succeeded(LedgerSide::Reads, NOW);
    ops.ledger.succeeded(LedgerSide::Writes, NOW);
    (ops, writer)
}

fn page(ops: &Ops, path: &str, now_ns: u64) -> (u16, Value) {
    let page = ops.page(path, now_ns).expect("a page");
    assert_eq!(page.content_type, "application/json");
    (
        page.status.as_u16(),
        serde_json::from_slice(&page.body).expect("JSON"),
    )
}

/// The components named, in order.
fn components(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("an array");
    list.iter()
        .map(|finding| finding["component"].as_str().expect("a text"))
        .collect()
}

/// Samples by series, name and labels as they stand; families by name. Fails on anything that
/// is not the text format, on a sample outside its family and on a series that comes twice.
fn parse(text: &str) -> (BTreeMap<String, f64>, BTreeMap<String, String>) {
    let (mut samples, mut families) = (BTreeMap::new(), BTreeMap::new());
    let (mut family, mut helped) = (String::new(), BTreeSet::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').expect("a help text");
            assert!(help.ends_with('.') && helped.insert(name.to_owned()), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            assert!(helped.contains(name), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(
                families.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
            family = name.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let name = series.split('{').next().expect("a name");
            let suffix = name.strip_prefix(family.as_str()).expect("within its family");
            let suffixes: &[&str] = match families[&family].as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffixes.contains(&suffix), "{line}");
            assert!(name.starts_with("trinity_"), "{line}");
            check_labels(&series[name.len()..]);
            let value = value.parse().expect("a number");
            assert!(
                samples.insert(series.to_owned(), value).is_none(),
                "{line} comes twice"
            );
        }
    }
    (samples, families)
}

/// `{a="b",c="d"}` or nothing.
fn check_labels(labels: &str) {
    if labels.is_empty() {
        return;
    }
    let inner = labels
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .expect("brackets");
    let mut rest = inner;
    let mut names = BTreeSet::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{labels}"
        );
        assert!(names.insert(name), "{labels}");
        let mut escaped = false;
        let end = value.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = &value[end.expect("a closing quote") + 1..];
        match rest.strip_prefix(',') {
            Some(more) => rest = more,
            None => break,
        }
    }
    assert!(rest.is_empty(), "{labels}");
}

#[test]
fn when_all_is_well_every_page_says_so() {
    let (ops, _writer) = board();
    assert_eq!(page(&ops, "/live", NOW), (200, json!({"status": "alive"})));
    assert_eq!(
        page(&ops, "/health", NOW),
        (200, json!({"status": "healthy", "reasons": []}))
    );
    assert_eq!(
        page(&ops, "/ready", NOW),
        (200, json!({"ready": true, "reasons": [], "warnings": []}))
    );
    assert_eq!(ops.page("/", NOW), None);
    assert_eq!(ops.page("/metrics/", NOW), None);
}

#[test]
fn a_shard_that_stands_still_is_named_with_the_time() {
    let (ops, _writer) = board();
    let later = NOW + HEARTBEAT_STALE_MS * MS;
    ops.shards[0].counters.heartbeat_ns.set(later);
    ops.web.iter().for_each(|worker| worker.heartbeat_ns.set(later));
    assert_eq!(page(&ops, "/health", later).0, 200, "just fresh");
    let (status, body) = page(&ops, "/health", later + 1);
    assert_eq!((status, components(&body["reasons"])), (503, vec!["shard-1"]));
    assert_eq!(body["reasons"][0]["since"], "2023-11-14T22:13:20.000Z");
    assert_eq!(page(&ops, "/live", later + 1).0, 200, "the process turns");
    ops.web[0].heartbeat_ns.set(0);
    let (_, body) = page(&ops, "/health", later + 1);
    assert_eq!(components(&body["reasons"]), ["shard-1", "web-0"]);
}

#[test]
fn a_market_that_does_not_tick_is_unhealthy() {
    let (ops, _writer) = board();
    let later = NOW + MARKET_STALE_MS * MS + 1;
    for shard in &ops.shards {
        shard.counters.heartbeat_ns.set(later);
    }
    ops.web.iter().for_each(|worker| worker.heartbeat_ns.set(later));
    let (status, body) = page(&ops, "/health", later);
    assert_eq!((status, components(&body["reasons"])), (503, vec!["market"]));
    ops.market.last_tick_ns.set(0);
    assert_eq!(
        page(&ops, "/health", NOW).0,
        503,
        "a market must tick once before it is live"
    );
}

#[test]
fn without_keys_or_prices_nobody_is_sent_here() {
    let (ops, mut writer) = board();
    ops.keys.last_sync_ns.set(0);
    writer.publish(SymbolIndex(0), PriceRecord::NONE);
    let (status, body) = page(&ops, "/ready", NOW);
    assert_eq!(
        (status, components(&body["reasons"])),
        (503, vec!["market", "keys"])
    );
    assert_eq!(page(&ops, "/health", NOW).0, 200, "restarting would not help");
}

#[test]
fn a_stopping_process_is_not_ready_but_healthy() {
    let (ops, _writer) = board();
    ops.stopping_since_ns.set(NOW);
    let (status, body) = page(&ops, "/ready", NOW);
    assert_eq!((status, components(&body["reasons"])), (503, vec!["process"]));
    assert_eq!(page(&ops, "/health", NOW).0, 200);
}

#[test]
fn a_ledger_that_is_down_is_a_warning_for_the_last_known_state_serves() {
    let (ops, _writer) = board();
    ops.ledger
        .failed(LedgerSide::Writes, NOW - 5_000 * MS, "disk full".into());
    ops.ledger.failed(LedgerSide::Writes, NOW, "still full".into());
    let (status, body) = page(&ops, "/ready", NOW);
    assert_eq!((status, components(&body["warnings"])), (200, vec!["ledger"]));
    let warning = &body["warnings"][0];
    assert_eq!(warning["since"], "2023-11-14T22:13:15.000Z");
    assert!(warning["reason"].as_str().expect("a text").contains("still full"));
    ops.ledger.succeeded(LedgerSide::Writes, NOW + MS);
    ops.ledger.succeeded(LedgerSide::Writes, NOW + 2 * MS);
    let up = LedgerState {
        since_ns: NOW + MS,
        error: None,
    };
    assert_eq!(ops.ledger.state(), up);
    assert!(components(&page(&ops, "/ready", NOW).1["warnings"]).is_empty());
}

#[test]
fn old_keys_and_no_keys_are_warnings() {
    let (ops, _writer) = board();
    ops.keys.last_sync_ns.set(NOW - KEYS_STALE_MS * MS - 1);
    let (status, body) = page(&ops, "/ready", NOW);
    assert_eq!((status, components(&body["warnings"])), (200, vec!["keys"]));
    ops.keys.last_sync_ns.set(NOW);
    ops.keys.count.set(0);
    let body = page(&ops, "/ready", NOW).1;
    assert!(
        body["warnings"][0]["reason"]
            .as_str()
            .expect("a text")
            .contains("keys create")
    );
}

#[test]
fn metrics_are_well_formed_and_no_series_comes_twice() {
    let (ops, _writer) = board();
    let counters = &ops.shards[1].counters;
    counters.received.add(10);
    counters.refused(Refusal::Magic);
    counters.replied(Code::RateLimited, 1);
    counters.receive_drops.set(7);
    counters.latency.record(1_000, 4);
    ops.web[0].codes[Code::Ok as usize].add(2);
    ops.web[0].classes[1].add(2);
    counters.misses.began(2);
    ops.web[0].misses.began(1);
    ops.web[0].misses.ended(Waited::Deadline, 0);
    let board = ops.misses.as_ref().expect("a board");
    board.want(SymbolIndex(0), NOW);
    let (mut meter, pages) = Meter::new();
    let second = (NOW / 1_000_000_000 - 30) as u32;
    meter
        .request(KeyId(1), second, Protocol::Udp, Code::Ok)
        .expect("room");
    ops.journal.meters.write().push(pages);
    let page = ops.page("/metrics", NOW + 1_500 * MS).expect("a page");
    let text = std::str::from_utf8(&page.body).expect("UTF-8");
    let (samples, families) = parse(text);
    let expected = [
        ("trinity_build_info{version=\"0.1.0\",node=\"main\"}", 1.0),
        (
            "trinity_driver_info{driver=\"epoll\",reason=\"io_uring says \\\"no\\\"\\nhere\"}",
            1.0,
        ),
        ("trinity_shard_datagrams_received_total{shard=\"1\"}", 10.0),
        ("trinity_shard_receive_drops_total{shard=\"1\"}", 7.0),
        ("trinity_shard_refused_total{shard=\"1\",reason=\"magic\"}", 1.0),
        (
            "trinity_shard_replies_total{shard=\"1\",code=\"RATE_LIMITED\"}",
            1.0,
        ),
        ("trinity_shard_heartbeat_age_seconds{shard=\"0\"}", 1.5),
        ("trinity_shard_receive_buffer_bytes{shard=\"0\"}", 425_984.0),
        ("trinity_shard_latency_seconds_count{shard=\"1\"}", 4.0),
        (
            "trinity_shard_latency_seconds_bucket{shard=\"1\",le=\"0.000001024\"}",
            4.0,
        ),
        (
            "trinity_shard_latency_seconds_bucket{shard=\"1\",le=\"0.000000512\"}",
            0.0,
        ),
        ("trinity_http_answers_total{worker=\"0\",code=\"OK\"}", 2.0),
        ("trinity_http_responses_total{worker=\"0\",class=\"2xx\"}", 2.0),
        ("trinity_miss_requests_waiting{protocol=\"udp\",core=\"1\"}", 2.0),
        (
            "trinity_miss_waits_total{protocol=\"http\",core=\"0\",outcome=\"deadline\"}",
            1.0,
        ),
        (
            "trinity_miss_requests_waited_total{protocol=\"http\",core=\"0\"}",
            1.0,
        ),
        ("trinity_miss_flights_total", 1.0),
        ("trinity_miss_symbols_wanted", 1.0),
        ("trinity_market_info{kind=\"replay\",source=\"replay:test\"}", 1.0),
        ("trinity_market_quotes_rejected_total{reason=\"crossed\"}", 4.0),
        ("trinity_symbols{status=\"LIVE\"}", 1.0),
        ("trinity_symbols{status=\"NO_PRICE\"}", 1.0),
        ("trinity_ledger_up", 1.0),
        ("trinity_ledger_unflushed_age_seconds", 31.0),
        ("trinity_keys", 5.0),
    ];
    for (series, value) in expected {
        assert_eq!(samples.get(series), Some(&value), "{series}");
    }
    assert!(samples["trinity_process_resident_memory_bytes"] > 1e6);
    assert!(samples["trinity_process_open_fds"] >= 3.0);
    assert!(families.len() > 40);
    let rising: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("trinity_shard_latency_seconds_bucket{shard=\"1\""))
        .map(|line| {
            line.rsplit_once(' ')
                .expect("a value")
                .1
                .parse::<u64>()
                .expect("a count")
        })
        .collect();
    assert!(rising.is_sorted() && rising.last() == Some(&4));
}

#[test]
fn metrics_have_no_label_for_clients_or_keys() {
    let (ops, _writer) = board();
    let page = ops.page("/metrics", NOW).expect("a page");
    let text = std::str::from_utf8(&page.body).expect("UTF-8");
    let allowed = [
        "version", "node", "driver", "reason", "shard", "cpu", "worker", "class", "code", "le", "kind",
        "source", "status", "protocol", "core", "outcome",
    ];
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        for label in line
            .split("=\"")
            .filter_map(|part| part.rsplit(['{', ',']).next())
        {
            if line.contains(&format!("{label}=\"")) {
                assert!(allowed.contains(&label), "{line}");
            }
        }
    }
}
