//! HTTP workers over real sockets: what good clients get, and what happens to the others.

mod http_support;

use std::io::Write;
use std::net::{IpAddr, Ipv6Addr, Shutdown};
use std::sync::Arc;
use std::time::Duration;

use http_support::{Client, Got, Site, eventually, get, key, key_table, ops_pages, post, post_head, price};
use trinity_beast::shard::web::{self, CutReason, WebConfig};
use trinity_beast::tables::prices::SymbolIndex;
use trinity_protocol::Code;

const SHORT: Duration = Duration::from_millis(400);
const BTC: &str = "/price?asset=btc";

/// Patient in all but what a test makes short.
fn patient() -> WebConfig {
    WebConfig::default()
}

fn cut(site: &Site, reason: CutReason) -> u64 {
    site.counters.iter().map(|c| c.cut[reason as usize].get()).sum()
}

#[test]
fn a_price_comes_over_a_connection_that_is_kept() {
    let mut site = Site::start(patient());
    let mut client = site.client();
    for sequence in 1..=20 {
        site.writer.publish(SymbolIndex(0), price(sequence));
        let got = client.ask(get(BTC));
        assert_eq!(got.status, 200);
        assert_eq!(got.json()["sequence"], sequence, "a new price is seen at once");
        assert!(
            String::from_utf8(got.body)
                .expect("UTF-8")
                .contains("\"price\":22639.50000,")
        );
        assert_eq!(got.head.lines().filter(|l| l.starts_with("date: ")).count(), 1);
    }
    let got = client.ask(post("{\"assets\":[\"BTC\",\"nope\"]}"));
    assert_eq!(got.json()["prices"][1]["status"], "UNKNOWN_SYMBOL");
    assert_eq!(site.counters[0].accepted.get(), 1);
    assert_eq!(site.counters[0].codes[Code::Ok as usize].get(), 21);
    assert_eq!(site.counters[0].entries.get(), 22);
    assert_eq!(site.counters[0].classes[1].get(), 21);
    drop(client);
    let rows = site.stop();
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 21);
    assert!(
        rows.iter()
            .all(|row| row.outcome == Code::Ok && row.latency_max_ns > 0)
    );
}

#[test]
fn an_explanation_is_waited_for_while_the_worker_goes_on() {
    let site = Site::start(patient());
    let (mut asking, mut other) = (site.client(), site.client());
    asking.send(get("/price/BTC/explain"));
    let (symbol, answer) = site.desk.next();
    assert_eq!(symbol, SymbolIndex(0));
    assert_eq!(other.ask(get(BTC)).status, 200, "nobody else waits");
    answer.send("{\"why\":1}".into()).expect("it waits");
    let got = asking.receive().expect("answered");
    assert_eq!((got.status, got.json()["why"].as_u64()), (200, Some(1)));
    assert_eq!(asking.ask(get(BTC)).status, 200, "the connection is kept");

    // Its key is revoked while it waits.
    asking.send(get("/price/BTC/explain"));
    let (_, answer) = site.desk.next();
    site.keys.store(Arc::new(key_table(&[2])));
    answer.send("{}".into()).expect("it waits");
    assert_eq!(asking.receive().expect("answered").problem(), "refused-key");
    drop((asking, other));
    let rows = site.stop();
    assert_eq!(
        rows.iter()
            .filter(|row| row.outcome == Code::Ok)
            .map(|row| row.count)
            .sum::<u64>(),
        3
    );
}

#[test]
fn a_silent_market_and_a_full_desk_are_told_of_as_such() {
    let site = Site::start(patient());
    let (mut first, mut second) = (site.client(), site.client());
    first.send(get("/price/BTC/explain"));
    let (_, given_up) = site.desk.next();
    drop(given_up);
    assert_eq!(first.receive().expect("answered").problem(), "unexplained");
    // The desk of the test holds one: the first waits until its time is up, the second hears at once.
    first.send(get("/price/BTC/explain"));
    eventually("the desk is full", || site.desk.is_full());
    assert_eq!(second.ask(get("/price/BTC/explain")).problem(), "unexplained");
    assert_eq!(first.receive().expect("answered").problem(), "unexplained");
    let (_, late) = site.desk.next();
    assert!(late.send("{}".into()).is_err(), "nobody listens any more");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let site = Site::start(patient());
    let mut client = site.client();
    let mut train = String::new();
    for max_age_ms in 1..=100 {
        train += &get(&format!("/price?asset=a{max_age_ms}"));
        train += &post(&format!("{{\"assets\":[\"b{max_age_ms}\"]}}"));
    }
    client.send(&train);
    for number in 1..=100 {
        let got = client.receive().expect("answered");
        assert!(
            got.json()["detail"]
                .as_str()
                .expect("a text")
                .contains(&format!("\"a{number}\""))
        );
        let got = client.receive().expect("answered");
        assert_eq!(got.json()["prices"][0]["asset"], format!("b{number}"));
    }
}

#[test]
fn head_gives_the_head_of_get_and_no_body() {
    let site = Site::start(patient());
    let mut client = site.client();
    client.send(get("/symbols").replacen("GET", "HEAD", 1));
    let head = client.receive_to("HEAD").expect("answered");
    let get = client.ask(get("/symbols"));
    assert_eq!((head.status, get.status), (200, 200));
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert!(!get.body.is_empty());
}

#[test]
fn keys_are_demanded_checked_and_swapped_without_a_pause() {
    let site = Site::start(patient());
    let mut client = site.client();
    let bare = client.ask(format!("GET {BTC} HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert_eq!((bare.status, bare.problem().as_str()), (401, "missing-key"));
    assert!(
        bare.header("www-authenticate")
            .expect("told how")
            .starts_with("Bearer")
    );
    let unknown = client.ask(get(BTC).replace(&key(1), &key(77)));
    assert_eq!((unknown.status, unknown.problem().as_str()), (401, "refused-key"));
    assert_eq!(client.ask(get(BTC)).status, 200);
    site.keys.store(Arc::new(key_table(&[2])));
    assert_eq!(
        client.ask(get(BTC)).status,
        401,
        "gone with the table, on an open connection"
    );
    site.keys.store(Arc::new(key_table(&[1])));
    assert_eq!(client.ask(get(BTC)).status, 200);
}

#[test]
fn a_key_in_a_url_is_refused_and_not_repeated() {
    let site = Site::start(patient());
    let got = site
        .client()
        .ask(format!("GET {BTC}&key={} HTTP/1.1\r\nHost: x\r\n\r\n", key(1)));
    assert_eq!((got.status, got.problem().as_str()), (400, "key-in-query"));
    assert!(!String::from_utf8_lossy(&got.body).contains(&key(1)[20..40]));
}

#[test]
fn a_used_up_key_is_told_when_to_come_back() {
    let site = Site::start(patient());
    let request = get(BTC).replace(&key(1), &key(2));
    let mut client = site.client();
    let got = client.ask(&request);
    assert_eq!(
        (got.status, got.header("x-ratelimit-remaining")),
        (200, Some("0"))
    );
    let got = client.ask(&request);
    assert_eq!((got.status, got.problem().as_str()), (429, "quota-exceeded"));
    assert!(
        got.header("retry-after")
            .and_then(|text| text.parse::<u64>().ok())
            .is_some_and(|s| s > 0)
    );
    assert!(got.header("ratelimit").expect("told").contains("\"month\";r=0"));
}

#[test]
fn an_oversized_head_is_refused_however_it_comes() {
    let site = Site::start(patient());
    let huge = format!(
        "GET {BTC} HTTP/1.1\r\nHost: x\r\nX-Pad: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let long = format!(
        "GET {BTC} HTTP/1.1\r\nHost: x\r\nX-Pad: {}\r\n\r\n",
        "a".repeat(17_000)
    );
    let fields = |count: usize| {
        let fields: Vec<_> = (0..count).map(|i| format!("X-{i}: 1\r\n")).collect();
        format!("GET {BTC} HTTP/1.1\r\nHost: x\r\n{}\r\n", fields.concat())
    };
    for request in [huge, long, fields(70), fields(90)] {
        let mut client = site.client();
        client.send_what_goes(&request);
        let got = client.receive().expect("told before the connection ends");
        assert_eq!((got.status, got.problem().as_str()), (431, "head-too-large"));
        if got.header("connection") == Some("close") {
            assert!(client.is_closed());
        }
    }
    let mut client = site.client();
    client.send_what_goes(fields(200));
    assert_eq!(
        client.receive().expect("told").status,
        431,
        "by hyper itself, without a document"
    );
    let fits = format!(
        "GET {BTC} HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\nX-Pad: {}\r\n\r\n",
        key(1),
        "a".repeat(15_000)
    );
    assert_eq!(site.client().ask(fits).status, 200);
    assert!(cut(&site, CutReason::LongHead) >= 4);
}

#[test]
fn an_endless_head_does_not_grow_the_server() {
    let site = Site::start(patient());
    let mut client = site.client();
    client.send(format!("GET {BTC} HTTP/1.1\r\nX-Pad: "));
    client.send_what_goes(vec![b'a'; 8 << 20]);
    assert_eq!(client.receive().expect("told").problem(), "head-too-large");
    eventually("the connection is given up", || site.counters[0].open.get() == 0);
}

#[test]
fn an_oversized_body_is_refused_announced_or_not() {
    let site = Site::start(patient());
    let body = format!("{{\"assets\":[\"{}\"]}}", "a".repeat(20_000));
    let chunked = format!(
        "{}{:x}\r\n{body}\r\n0\r\n\r\n",
        post_head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked"),
        body.len()
    );
    for request in [post(&body), chunked] {
        let mut client = site.client();
        client.send_what_goes(&request);
        let got = client.receive().expect("told before the connection ends");
        assert_eq!((got.status, got.problem().as_str()), (413, "body-too-large"));
        assert_eq!(got.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
    let mut client = site.client();
    let got = client.ask(post_head(usize::MAX >> 1));
    assert_eq!(got.status, 413, "told without waiting for what is announced");
    assert_eq!(cut(&site, CutReason::LongBody), 3);
    let rows = site.stop();
    assert!(rows.iter().all(|row| row.outcome == Code::Malformed));
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 3);
}

#[test]
fn a_chunked_body_is_read_like_any_other() {
    let site = Site::start(patient());
    let mut client = site.client();
    let head = post_head(0).replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let got = client.ask(format!(
        "{head}a\r\n{{\"assets\":\r\n8\r\n[\"btc\"]}}\r\n0\r\n\r\n"
    ));
    assert_eq!(got.json()["prices"][0]["symbol"], "BTC-USD");
    assert_eq!(client.ask(get(BTC)).status, 200, "the connection goes on");
}

#[test]
fn expect_continue_is_granted_to_proven_keys_only() {
    let site = Site::start(patient());
    let mut client = site.client();
    let body = "{\"assets\":[\"btc\"]}";
    let head = post_head(body.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.ask(&head).status, 100);
    assert_eq!(client.ask(body).status, 200);
    let mut stranger = site.client();
    assert_eq!(stranger.ask(head.replace(&key(1), &key(77))).status, 401);
}

#[test]
fn a_strangers_body_is_not_waited_for() {
    let site = Site::start(WebConfig {
        linger: Duration::from_secs(30),
        ..patient()
    });
    let mut client = site.client();
    client.send(post_head(10_000).replace(&key(1), &key(77)));
    let got = client.receive().expect("answered before the body");
    assert_eq!((got.status, got.header("connection")), (401, Some("close")));
    assert!(client.is_closed());
    // What it goes on sending is not met with a reset, which could overtake the answer.
    for _ in 0..20 {
        client.send([b'x'; 500]);
    }
    drop(client);
    eventually("the connection is forgotten", || site.counters[0].open.get() == 0);
}

#[test]
fn whoever_never_stops_sending_is_not_listened_to_for_ever() {
    let site = Site::start(WebConfig {
        linger: SHORT,
        ..patient()
    });
    let mut client = site.client();
    client.send(post_head(10_000).replace(&key(1), &key(77)));
    assert_eq!(client.receive().expect("answered").status, 401);
    eventually("the connection is given up", || {
        let _ = client.stream.write_all(b"x");
        site.counters[0].open.get() == 0
    });
}

#[test]
fn what_is_no_http_is_answered_with_400_and_ended() {
    let site = Site::start(patient());
    for garbage in [
        "\0\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let mut client = site.client();
        client.send(garbage);
        assert_eq!(client.receive().expect("told").status, 400, "{garbage:?}");
        assert!(client.is_closed());
    }
    // Two lengths that differ are how requests are smuggled.
    let mut client = site.client();
    client.send("POST /prices HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.receive().expect("told").status, 400);
    assert_eq!(site.client().ask(get(BTC)).status, 200);
    eventually("all are counted", || cut(&site, CutReason::Malformed) == 5);
}

#[test]
fn a_slow_head_is_cut_off_with_408() {
    let site = Site::start(WebConfig {
        head: SHORT,
        ..patient()
    });
    let mut client = site.client();
    client.send(&get(BTC)[..30]);
    let got = client.receive().expect("told");
    assert_eq!((got.status, got.problem().as_str()), (408, "slow-request"));
    assert!(client.is_closed());
    assert_eq!(cut(&site, CutReason::SlowHead), 1);
}

#[test]
fn dripping_bytes_do_not_extend_the_time_for_a_head() {
    let site = Site::start(WebConfig {
        head: SHORT,
        ..patient()
    });
    let mut client = site.client();
    let request = get(BTC);
    let mut sent = 0;
    for byte in request.as_bytes() {
        if client.stream.write_all(&[*byte]).is_err() {
            break;
        }
        sent += 1;
        if cut(&site, CutReason::SlowHead) > 0 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(sent < request.len(), "every byte came within its time");
    assert_eq!(client.receive().map(|got| got.status), Some(408));
}

#[test]
fn a_second_head_has_its_own_time_and_its_own_end() {
    let site = Site::start(WebConfig {
        head: SHORT,
        ..patient()
    });
    let mut client = site.client();
    assert_eq!(client.ask(get(BTC)).status, 200);
    client.send(&get(BTC)[..10]);
    assert_eq!(client.receive().expect("told").status, 408);
}

#[test]
fn a_kept_connection_at_rest_outlives_the_time_for_a_head() {
    let site = Site::start(WebConfig {
        head: SHORT,
        body: SHORT,
        write: SHORT,
        ..patient()
    });
    let mut client = site.client();
    for _ in 0..3 {
        assert_eq!(client.ask(get(BTC)).status, 200);
        assert_eq!(client.ask(post("{\"assets\":[\"btc\"]}")).status, 200);
        // Another connection meets its end meanwhile: so much time has surely passed.
        let before = cut(&site, CutReason::SlowHead);
        let mut slow = site.client();
        slow.send("GET");
        assert_eq!(slow.receive().expect("told").status, 408);
        assert_eq!(cut(&site, CutReason::SlowHead), before + 1);
    }
    assert_eq!(client.ask(get(BTC)).status, 200);
}

#[test]
fn a_connection_at_rest_for_too_long_is_ended_in_silence() {
    let site = Site::start(WebConfig {
        idle: SHORT,
        ..patient()
    });
    let mut client = site.client();
    assert_eq!(client.ask(get(BTC)).status, 200);
    assert!(client.is_closed());
    assert_eq!(cut(&site, CutReason::Idle), 1);
}

#[test]
fn whoever_connects_and_says_nothing_is_ended_in_silence() {
    let site = Site::start(WebConfig {
        head: SHORT,
        ..patient()
    });
    assert!(site.client().is_closed());
}

#[test]
fn a_slow_body_is_cut_off_with_408_and_counted_for_its_key() {
    let site = Site::start(WebConfig {
        body: SHORT,
        ..patient()
    });
    let mut client = site.client();
    client.send(format!("{}{{\"assets\"", post_head(30)));
    let got = client.receive().expect("told");
    assert_eq!((got.status, got.problem().as_str()), (408, "slow-request"));
    assert!(client.is_closed());
    assert_eq!(cut(&site, CutReason::SlowBody), 1);
    assert_eq!(site.stop()[0].outcome, Code::Malformed);
}

#[test]
fn a_client_that_takes_no_answers_is_cut_off() {
    let site = Site::start(WebConfig {
        write: SHORT,
        ..patient()
    });
    let mut client = site.client();
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(100)))
        .expect("an option");
    let train = get(BTC).repeat(1_000);
    // Until the server's answers fill both sockets' buffers and it stops reading.
    eventually("the client is cut off", || {
        let _ = client.stream.write_all(train.as_bytes());
        cut(&site, CutReason::SlowReader) == 1
    });
    assert_eq!(site.client().ask(get(BTC)).status, 200);
}

#[test]
fn one_connection_too_many_is_turned_away_and_room_is_made_again() {
    let site = Site::start(WebConfig {
        connections: 2,
        ..patient()
    });
    let (mut one, mut two) = (site.client(), site.client());
    assert_eq!((one.ask(get(BTC)).status, two.ask(get(BTC)).status), (200, 200));
    let mut three = site.client();
    let got = three.receive().expect("told");
    assert_eq!(
        (got.status, got.problem().as_str()),
        (503, "too-many-connections")
    );
    assert!(three.is_closed());
    assert_eq!(site.counters[0].turned_away.get(), 1);
    drop(one);
    eventually("the place is free", || site.counters[0].open.get() == 1);
    assert_eq!(site.client().ask(get(BTC)).status, 200);
    assert_eq!(
        two.ask(get(BTC)).status,
        200,
        "those who were there noticed nothing"
    );
}

#[test]
fn a_request_in_flight_is_finished_when_the_worker_stops() {
    let site = Site::start(patient());
    let mut at_rest = site.client();
    assert_eq!(at_rest.ask(get(BTC)).status, 200);
    let (mut body, mut head) = (site.client(), site.client());
    let text = "{\"assets\":[\"btc\"]}";
    body.send(post_head(text.len()).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(body.receive().expect("the server waits for the body").status, 100);
    assert_eq!(head.ask(get(BTC)).status, 200);
    let request = get(BTC);
    head.send(&request[..25]);
    // Both are in flight once a later connection was served.
    assert_eq!(site.client().ask(get(BTC)).status, 200);
    site.begin_stop();
    assert!(at_rest.is_closed(), "a connection at rest ends at once");
    body.send(text);
    let got = body.receive().expect("answered");
    assert_eq!((got.status, got.header("connection")), (200, Some("close")));
    assert!(body.is_closed());
    head.send(&request[25..]);
    assert_eq!(head.receive().expect("answered").status, 200);
    assert!(head.is_closed());
    let address = site.address;
    let rows = site.stop();
    assert_eq!(
        rows.iter()
            .filter(|row| row.outcome == Code::Ok)
            .map(|row| row.count)
            .sum::<u64>(),
        5
    );
    assert!(
        std::net::TcpStream::connect(address).is_err(),
        "nobody listens any more"
    );
}

#[test]
fn a_stopping_worker_does_not_wait_for_ever() {
    let site = Site::start(WebConfig {
        drain: SHORT,
        ..patient()
    });
    let mut client = site.client();
    client.send(post_head(10).replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(client.receive().expect("the server waits").status, 100);
    site.stop();
    assert!(client.is_closed());
}

#[test]
fn who_connected_before_the_stop_is_answered() {
    let site = Site::start(patient());
    assert_eq!(site.client().ask(get(BTC)).status, 200);
    let mut clients: Vec<_> = (0..50).map(|_| site.client()).collect();
    for client in &mut clients {
        client.send(get(BTC));
    }
    site.begin_stop();
    for client in &mut clients {
        assert_eq!(client.receive().map(|got| got.status), Some(200));
    }
    site.stop();
}

#[test]
fn workers_share_a_port_and_bill_every_request_once() {
    let site = Site::start_on(IpAddr::from([127, 0, 0, 1]), 2, patient());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let mut client = site.client();
                    for _ in 0..10 {
                        assert_eq!(client.ask(get(BTC)).status, 200);
                    }
                }
            });
        }
    });
    let accepted: Vec<_> = site.counters.iter().map(|c| c.accepted.get()).collect();
    assert_eq!(accepted.iter().sum::<u64>(), 40);
    let rows = site.stop();
    assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 400);
}

#[test]
fn ipv6_is_served_like_ipv4() {
    let site = Site::start_on(IpAddr::V6(Ipv6Addr::LOCALHOST), 1, patient());
    assert!(site.address.is_ipv6());
    assert_eq!(site.client().ask(get(BTC)).status, 200);
}

#[test]
fn a_client_that_stops_sending_still_hears_its_answer() {
    let site = Site::start(patient());
    let mut client = site.client();
    client.send(get(BTC).replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
    client.stream.shutdown(Shutdown::Write).expect("half closed");
    assert_eq!(client.receive().map(|got: Got| got.status), Some(200));
    assert!(client.is_closed());
}

#[test]
fn pages_about_the_process_need_no_key_and_have_a_port_of_their_own() {
    let site = Site::start(patient());
    let live = "GET /live HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(site.client().ask(live).body, b"alive");
    let wrong = site.client().ask(live.replace("GET", "DELETE"));
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD")));
    let anywhere = "127.0.0.1:0".parse().expect("an address");
    let (mut listeners, address) = web::bind_group(anywhere, 1).expect("bound");
    let shared = Arc::new(trinity_beast::shard::ShardShared::default());
    let worker = web::spawn_ops(
        listeners.remove(0),
        ops_pages(),
        Arc::clone(&shared),
        WebConfig::default(),
    )
    .expect("started");
    let mut client = Client::connect(address);
    assert_eq!(client.ask(live).body, b"alive");
    assert_eq!(client.ask(get(BTC)).status, 404, "prices are not served here");
    drop(client);
    shared.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    worker.join().expect("it ends without a panic");
}
