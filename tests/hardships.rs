//! What a node takes without falling: garbage, a ledger that hangs, a recording in pieces,
//! SIGKILL; and the Python client as a stranger would use it.

mod support;

use std::fs;
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::http;
use support::server::{Server, wait_until};
use trinity_beast::store::{LEDGER_FILE, Ledger, SqliteLedger};
use trinity_protocol::client::{Client, ClientConfig};
use trinity_protocol::{
    KeyId, MAX_DATAGRAM, MacKeys, PriceQuery, PriceStatus, RequestHead, RequestId, Symbol,
    encode_price_request,
};

fn query(name: &str) -> PriceQuery {
    PriceQuery::new(Symbol::new(name).expect("a symbol"))
}

fn client(server: &Server) -> Client {
    let config = ClientConfig {
        timeout: Duration::from_millis(500),
        tries: 3,
    };
    Client::connect(server.udp, &server.demo_key(), config).expect("connected")
}

fn charged(dir: &Path, key_id: KeyId) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ledger = SqliteLedger::open_existing(dir).await.expect("the ledger");
        ledger.usage_total(key_id).await.expect("readable").charged
    })
}

fn metric(server: &Server, series: &str) -> f64 {
    let page = http::get(server.ops, "/metrics", None);
    assert_eq!(page.status, 200);
    let fits = |line: &&str| line.starts_with(series);
    page.body
        .lines()
        .filter(fits)
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn garbage_is_counted_and_changes_nothing_for_anybody() {
    let server = Server::start(["--shards", "2"]);
    let mut client = client(&server);
    client.prices(&[query("BTC-USD")]).expect("answered");
    let key = server.demo_key();
    let mac = MacKeys::from_verifier(&key.verifier());
    let head = RequestHead {
        key_id: key.key_id(),
        request_id: RequestId::new(1, 1),
        lane: 0,
        clock_ns: 1,
    };
    let mut buffer = [0; MAX_DATAGRAM];
    let good = encode_price_request(&mut buffer, head, &[query("BTC-USD")], &mac.request).to_vec();
    let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let mut sent = 0;
    for len in 0..good.len() {
        socket.send_to(&good[..len], server.udp).expect("sent");
        sent += 1;
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        socket.send_to(&flipped, server.udp).expect("sent");
        sent += 1;
    }
    for size in [1_041, 1_500, 9_000, 60_000] {
        socket.send_to(&vec![b'T'; size], server.udp).expect("sent");
        sent += 1;
    }
    wait_until("everything is received", || {
        (metric(&server, "trinity_shard_datagrams_received_total") > f64::from(sent)).then_some(())
    });
    assert!(metric(&server, "trinity_shard_refused_total") > 0.0);
    client.prices(&[query("BTC-USD")]).expect("the service goes on");
    assert_eq!(http::get(server.ops, "/health", None).status, 200);
}

#[test]
fn a_ledger_that_hangs_stops_nobody_and_is_caught_up_with() {
    let mut server = Server::start(["--shards", "1"]);
    let mut client = client(&server);
    client.prices(&[query("BTC-USD")]).expect("answered");
    // Another process holds the ledger's write lock for longer than any busy timeout.
    let mut ledger = rusqlite::Connection::open(server.data_dir().join(LEDGER_FILE)).expect("opened");
    let lock = ledger
        .transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive)
        .expect("locked");
    let mut answered = 1;
    wait_until("the log says that usage waits", || {
        client
            .prices(&[query("BTC-USD")])
            .expect("answered although the ledger hangs");
        answered += 1;
        server.said().contains("usage waits in the journal").then_some(())
    });
    let ready = http::get(server.ops, "/ready", None);
    assert_eq!(ready.status, 200, "the last known state goes on serving");
    assert!(ready.body.contains("ledger"), "and says so: {}", ready.body);
    drop(lock);
    drop(ledger);
    server.wait_for_line("works again");
    client.prices(&[query("BTC-USD")]).expect("answered");
    answered += 1;
    let key_id = server.demo_key().key_id();
    assert!(server.terminate().success(), "{}", server.said());
    assert_eq!(charged(server.data_dir(), key_id), answered);
}

#[test]
fn a_killed_server_starts_again_and_keeps_what_was_flushed() {
    let mut server = Server::start(["--shards", "1"]);
    let key_id = server.demo_key().key_id();
    let mut client = client(&server);
    for _ in 0..50 {
        client.prices(&[query("BTC-USD")]).expect("answered");
    }
    wait_until("the usage is flushed", || {
        (charged(server.data_dir(), key_id) == 50).then_some(())
    });
    server.kill();
    let mut again = Server::start_in(server.data_dir(), ["--shards", "1"]);
    let config = ClientConfig {
        timeout: Duration::from_millis(500),
        tries: 3,
    };
    let mut client = Client::connect(again.udp, &again.demo_key(), config).expect("connected");
    client.prices(&[query("BTC-USD")]).expect("answered");
    assert!(again.terminate().success());
    assert_eq!(charged(again.data_dir(), key_id), 51);
}

#[test]
fn damaged_lines_of_a_recording_are_named_skipped_and_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("damaged.csv");
    let header = r#"{"format":"trinity-recording","version":1,"title":"t","origin":"o","columns":["time_ms","venue","market","price","confidence"],"max_age_ms":3600000,"hard_age_ms":7200000}"#;
    let mut file = fs::File::create(&path).expect("made");
    writeln!(file, "{header}").expect("written");
    writeln!(file, "1678406460000,coinbase,BTC-USD,20364.09,6.9").expect("written");
    writeln!(file, "1678406460000,kraken,XBT/USD,not a price,1").expect("written");
    file.write_all(b"\xFF\xFE\x00 garbage\n").expect("written");
    writeln!(file, "1678406460000,kraken,XBT/USD,20363.5,5.0").expect("written");
    drop(file);
    let market = format!("replay:{}", path.display());
    let mut server = Server::start(["--shards", "1", "--market", &market]);
    let price = client(&server)
        .prices(&[query("BTC-USD")])
        .expect("answered")
        .prices[0];
    assert_eq!((price.status, price.venues), (PriceStatus::Live, 2));
    server.wait_for_line("3|damaged");
    wait_until("the damage is counted", || {
        (metric(&server, "trinity_market_damaged_lines") >= 2.0).then_some(())
    });
}

#[test]
fn a_file_that_is_no_recording_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, content) in [("empty.csv", ""), ("text.csv", "hello\nworld\n")] {
        let path = dir.path().join(name);
        fs::write(&path, content).expect("written");
        let market = format!("replay:{}", path.display());
        let output = support::server::serve_command(dir.path())
            .args(["--market", &market])
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn captured_frames_play_from_where_they_lie() {
    for (path, symbol) in [
        (
            "coinbase/captures/advanced-trade-ws-2026-08-09.jsonl.gz",
            "ETH-USD",
        ),
        ("kraken/captures/v1-ws-ticker-2021-04-05.jsonl", "BTC-USD"),
    ] {
        let Some(path) = support::shared_data(path) else {
            return;
        };
        let market = format!("replay:{}", path.display());
        let server = Server::start(["--shards", "1", "--market", &market, "--speed", "10"]);
        let mut client = client(&server);
        // One venue alone is THIN, and says so.
        wait_until("a price of one venue", || {
            let price = client.prices(&[query(symbol)]).expect("answered").prices[0];
            (price.status == PriceStatus::Thin && price.venues == 1).then_some(())
        });
    }
}

#[test]
fn the_python_client_talks_to_a_running_server() {
    let python = std::env::var("TRINITY_PYTHON").unwrap_or_else(|_| "python3".into());
    let ready = Command::new(&python).args(["-c", "import blake3"]).output();
    if !ready.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} with the package blake3 not found; set TRINITY_PYTHON");
        return;
    }
    let server = Server::start(["--market", "replay", "--speed", "1"]);
    let output = Command::new(python)
        .arg("-B")
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/protocol/clients/python/trinity.py"
        ))
        .args(["--server", &server.udp.to_string(), "--key-file"])
        .arg(server.data_dir().join("demo.key"))
        .args(["BTC-USD", "ETH-USD", "--json"])
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    assert_eq!(
        output.status.code(),
        Some(3),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        (lines[0]["symbol"].as_str(), lines[0]["status"].as_str()),
        (Some("BTC-USD"), Some("LIVE"))
    );
    assert_eq!(lines[1]["status"], "NO_PRICE");
    let rust = client(&server)
        .prices(&[query("BTC-USD")])
        .expect("answered")
        .prices[0];
    assert_eq!(lines[0]["mantissa"], rust.mantissa);
    assert_eq!(lines[0]["sequence"], rust.sequence);
}
