//! The short way over real sockets: whoever serves a request, the client is told the same.

mod http_support;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};

use http_support::{Client, Site, eventually, get, key, post, price};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use trinity_beast::limits::{HTTP_PLAIN_AGAIN, HTTP_TRAIN};
use trinity_beast::shard::web::{WebConfig, WebCounters};
use trinity_beast::tables::prices::SymbolIndex;

const BTC: &str = "/price?asset=btc";

/// A site with the short way, and one where hyper answers everything.
fn both() -> [Site; 2] {
    [true, false].map(|short_way| {
        Site::start(WebConfig {
            short_way,
            ..WebConfig::default()
        })
    })
}

fn short(site: &Site) -> u64 {
    site.counters.iter().map(|counters| counters.short.get()).sum()
}

/// All that the server says to these bytes and their end, with what differs from moment to moment
/// masked.
fn told(site: &Site, bytes: &[u8]) -> String {
    let mut client = site.client();
    // The server may have heard enough before all is sent.
    let _ = client.stream.write_all(bytes);
    let _ = client.stream.shutdown(Shutdown::Write);
    let mut told = Vec::new();
    let _ = client.stream.read_to_end(&mut told);
    masked(&String::from_utf8_lossy(&told))
}

fn masked(text: &str) -> String {
    let mut masked = text.to_owned();
    for (name, end) in [
        ("date: ", "\r"),
        ("\"latency_ms\":", ","),
        ("\"duration_ms\":", "}"),
        ("\"cache_age_seconds\":", ","),
        // What is in a body decides how long it is.
        ("content-length: ", "\r"),
        (";t=", "\r"),
        ("x-ratelimit-reset: ", "\r"),
        ("retry-after: ", "\r"),
    ] {
        let mut from = 0;
        while let Some(at) = masked[from..].find(name).map(|at| from + at + name.len()) {
            let length = masked[at..].find(end).unwrap_or(masked.len() - at);
            masked.replace_range(at..at + length, "?");
            from = at + 1;
        }
    }
    masked
}

#[test]
fn the_short_way_says_what_hyper_says() {
    let sites = both();
    let bare = |head: &str| format!("{head}\r\nHost: x\r\nX-API-Key: {}\r\n\r\n", key(1));
    let with = |field: &str| get(BTC).replace("\r\n\r\n", &format!("\r\n{field}\r\n\r\n"));
    let requests = [
        get(BTC),
        get("/price?asset=BTC-USD"),
        get("/price?symbol=btc&max_age_ms=600000"),
        get("/price?asset=btc&max_age_ms=1"),
        get("/price?asset=%62tc"),
        get("/price?asset=ETH-USD"),
        get("/price?asset=nope"),
        get("/price?asset="),
        get("/price?"),
        get("/price"),
        get("/price?asset=btc&asset=btc"),
        get("/price?asset=btc&x=%zz"),
        get("/price?asset=btc&api_key=1"),
        get("/price?asset=btc#there"),
        get("//price?asset=btc"),
        get(BTC).replace("GET", "HEAD"),
        get(BTC).replace("GET", "POST"),
        get(BTC).replace("GET", "get"),
        get(BTC).replace("HTTP/1.1", "HTTP/1.0"),
        get(BTC).replace("HTTP/1.1", "HTTP/1.2"),
        get(BTC).replace("\r\n", "\n"),
        get(BTC).replace("Host: x", "Host: x\r\n folded"),
        get(BTC).replace("Host: x", "Host : x"),
        get(BTC).replace("Host: x", "Ho\0st: x"),
        get(BTC).replace("Host: x", "Host: \u{e9}"),
        get(BTC).replace("Host: x\r\n", ""),
        get(BTC).replace("Bearer", "bearer"),
        get(BTC).replace("Bearer", "Basic"),
        get(BTC).replace(&key(1), &key(7)),
        get(BTC).replace(&key(1), &key(1).replace('1', "2")),
        get(BTC).replace(&key(1), &key(2)),
        get(BTC).replace(&key(1), &key(2)),
        format!("\r\n{}", get(BTC)),
        bare("GET /price?asset=btc HTTP/1.1"),
        bare("GET  /price?asset=btc HTTP/1.1"),
        bare("GET /price?asset=btc  HTTP/1.1"),
        bare("GET http://y/price?asset=btc HTTP/1.1"),
        with(&format!("X-API-Key: {}", key(7))),
        with("Authorization: Bearer x"),
        with("Connection: keep-alive"),
        with("Connection: close"),
        with("Connection: Upgrade\r\nUpgrade: h2c"),
        with("Content-Length: 0"),
        with("Content-Length: 3") + "abc",
        with("Content-Length: 1\r\nContent-Length: 2") + "ab",
        with("Content-Length: x"),
        with("Content-Length: 3\r\nTransfer-Encoding: chunked") + "0\r\n\r\n",
        with("Transfer-Encoding: chunked") + "0\r\n\r\n",
        with("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n",
        with("Transfer-Encoding: chunked, gzip"),
        with("Expect: 100-continue"),
        with(&"X: y\r\n".repeat(40)),
        with(&"X: y\r\n".repeat(70)),
        with(&format!("X: {}", "y".repeat(5_000))),
        // Beyond 16 KiB it depends on how the bytes are cut who notices, and how.
        get(&format!("/price?asset={}", "b".repeat(5_000))),
        post("{\"assets\":[\"btc\"]}"),
    ];
    for request in &requests {
        let [one, other] = sites.each_ref().map(|site| told(site, request.as_bytes()));
        assert_eq!(one, other, "{request:?}");
        // Behind one that is remembered, and before another.
        let train = [get(BTC), get(BTC), request.clone(), get(BTC)].concat();
        let [one, other] = sites.each_ref().map(|site| told(site, train.as_bytes()));
        assert_eq!(one, other, "{train:?}");
    }
    assert!(short(&sites[0]) > requests.len() as u64);
    assert_eq!(short(&sites[1]), 0, "it is turned off there");
    let [one, other] = sites.map(|site| {
        let mut rows = site.stop();
        rows.retain(|row| row.count > 0);
        let mut sums = std::collections::BTreeMap::new();
        for row in rows {
            *sums.entry((row.key_id, row.outcome as u8)).or_insert(0) += row.count;
        }
        sums
    });
    assert_eq!(one, other, "the same was counted and charged");
}

#[test]
fn whatever_bytes_come_both_ways_say_the_same() {
    let sites = both();
    let request = prop_oneof![
        6 => Just(get(BTC)),
        2 => "[a-z%=&]{0,12}".prop_map(|text| get(&format!("/price?asset={text}"))),
        1 => Just(post("{\"assets\":[\"btc\"]}")),
        1 => Just(get(BTC).replace("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello")),
        1 => Just(get("/symbols").replace("GET", "HEAD")),
    ];
    let snippet = prop_oneof![
        3 => proptest::sample::select(vec![
            "\r\n", "\n", "\r", " ", ":", "\0", "\t", "\r\n\r\n", "Content-Length: 3\r\n",
            "Transfer-Encoding: chunked\r\n", "\r\nConnection: close\r\n", "HTTP/1.0", "GET /price?",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..4),
    ];
    // Where it strikes, how much it takes away, what it puts there.
    let damage = (any::<prop::sample::Index>(), 0..4_usize, snippet);
    let case = (
        proptest::collection::vec(request, 1..6),
        proptest::collection::vec(damage, 0..3),
    );
    TestRunner::new(Config::with_cases(400))
        .run(&case, |(requests, damages)| {
            let mut bytes = requests.concat().into_bytes();
            for (place, taken, put) in damages {
                let at = place.index(bytes.len());
                let end = (at + taken).min(bytes.len());
                bytes.splice(at..end, put);
            }
            let [one, other] = sites.each_ref().map(|site| told(site, &bytes));
            prop_assert_eq!(one, other, "{:?}", String::from_utf8_lossy(&bytes));
            Ok(())
        })
        .expect("both say the same");
    assert!(short(&sites[0]) > 0);
}

#[test]
fn requests_are_answered_in_order_however_they_are_cut_and_mixed() {
    let site = Site::start(WebConfig::default());
    let kinds = proptest::collection::vec(any::<bool>(), 1..60);
    let cuts = proptest::collection::vec(1..400_usize, 1..40);
    TestRunner::new(Config::with_cases(60))
        .run(&(kinds, cuts), |(kinds, cuts)| {
            let mut train = String::new();
            for (number, is_batch) in kinds.iter().enumerate() {
                // The price's age limit tells the requests apart: it is in no answer, but the
                // asset's spelling is.
                let asset: String = "btc-usd"
                    .char_indices()
                    .map(|(bit, c)| {
                        if number >> bit & 1 == 1 {
                            c.to_ascii_uppercase()
                        } else {
                            c
                        }
                    })
                    .collect();
                train += &if *is_batch {
                    post(&format!("{{\"assets\":[\"{asset}\"]}}"))
                } else {
                    get(&format!("/price?asset={asset}"))
                };
            }
            let mut client = site.client();
            let mut rest = train.as_bytes();
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                client.send(now);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            for (number, is_batch) in kinds.iter().enumerate() {
                let json = client.receive().expect("answered").json();
                let asset = if *is_batch {
                    &json["prices"][0]["asset"]
                } else {
                    &json["asset"]
                };
                let spelt: usize = "btc-usd"
                    .char_indices()
                    .zip(asset.as_str().expect("a text").chars())
                    .map(|((bit, lower), c)| usize::from(c != lower) << bit)
                    .sum();
                // The dash has no case.
                prop_assert_eq!(spelt, number & !(1 << 3));
            }
            Ok(())
        })
        .expect("all are answered in order");
}

#[test]
fn a_connection_comes_back_to_the_short_way() {
    let mut site = Site::start(WebConfig::default());
    let mut client = site.client();
    for round in 1..=3 {
        site.writer.publish(SymbolIndex(0), price(round));
        assert_eq!(client.ask(post("{\"assets\":[\"btc\"]}")).status, 200);
        let before = short(&site);
        for _ in 0..HTTP_PLAIN_AGAIN {
            assert_eq!(client.ask(get(BTC)).json()["sequence"], round);
        }
        assert_eq!(short(&site), before, "hyper keeps it for a while");
        for _ in 0..5 {
            assert_eq!(client.ask(get(BTC)).json()["sequence"], round);
        }
        assert_eq!(short(&site), before + 5);
    }
    assert_eq!(site.counters[0].accepted.get(), 1);
}

/// A site whose worker can be made to stand still.
struct Still {
    site: Site,
    arrival: mpsc::Receiver<()>,
    open: mpsc::Sender<()>,
}

impl Still {
    /// `looks` is called by the worker for the first price that is too old for its reader.
    fn new(looks: impl Fn() + Send + Sync + 'static) -> Self {
        let (open, gate) = mpsc::channel();
        let (arrived, arrival) = mpsc::channel();
        let gate = Mutex::new(Some((arrived, gate)));
        let site = Site::start_fetching(move |_| {
            let first = gate.lock().expect("no panic").take();
            match first {
                Some((arrived, gate)) => {
                    arrived.send(()).expect("waited for");
                    gate.recv().expect("it is opened");
                }
                None => looks(),
            }
        });
        Self { site, arrival, open }
    }

    /// Makes the worker stand still in a request of this client.
    fn stand(&self) -> Client {
        let mut holder = self.site.client();
        holder.send(get("/price?asset=ETH-USD"));
        self.arrival.recv().expect("the worker stands still");
        holder
    }

    fn go_on(&self) {
        self.open.send(()).expect("it stands still");
    }
}

#[test]
fn who_ended_its_sending_side_before_it_was_heard_is_answered_either_way() {
    for way in ["", "Connection: close\r\n", "Content-Length: 0\r\n"] {
        let still = Still::new(|| {});
        // The worker knows of the connection already, so it sees the request and the end at once.
        let mut client = still.site.client();
        assert_eq!(client.ask(get(BTC)).status, 200);
        let mut holder = still.stand();
        client.send(get(BTC).replace("Host: x\r\n", &format!("Host: x\r\n{way}")));
        client.stream.shutdown(Shutdown::Write).expect("half closed");
        still.go_on();
        assert_eq!(client.receive().map(|got| got.status), Some(200), "{way:?}");
        assert!(client.is_closed());
        assert_eq!(holder.receive().map(|got| got.status), Some(200));
    }
}

#[test]
fn who_sends_a_long_train_does_not_keep_others_waiting() {
    const TRAIN: usize = 400;
    let counters: Arc<OnceLock<Arc<WebCounters>>> = Arc::default();
    let seen = Arc::new(AtomicU64::new(u64::MAX));
    let looks = {
        let (counters, seen) = (Arc::clone(&counters), Arc::clone(&seen));
        move || {
            let counters = counters.get().expect("the site is there");
            seen.store(counters.short.get(), Ordering::Relaxed);
        }
    };
    let still = Still::new(looks);
    counters
        .set(Arc::clone(&still.site.counters[0]))
        .expect("set once");
    let began = trinity_beast::clock::monotonic();
    eventually("the price is older than a millisecond", || {
        began.elapsed().as_millis() > 1
    });
    let _holder = still.stand();
    let (mut greedy, mut modest) = (still.site.client(), still.site.client());
    greedy.send(get(BTC).repeat(TRAIN));
    // The site calls when this one, which wants a fresher price, is looked at.
    modest.send(get("/price?asset=btc&max_age_ms=1"));
    still.go_on();
    assert_eq!(modest.receive().map(|got| got.status), Some(200));
    for _ in 0..TRAIN {
        assert_eq!(greedy.receive().map(|got| got.status), Some(200));
    }
    assert_eq!(short(&still.site), TRAIN as u64);
    let before = seen.load(Ordering::Relaxed);
    assert!(
        before <= 2 * HTTP_TRAIN as u64,
        "{before} of the others' requests came first"
    );
}
