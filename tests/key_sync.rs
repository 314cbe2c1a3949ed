//! What changes in the ledger of a running server is seen by every shard and by HTTP.

mod support;

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use support::http;
use support::server::{PATIENCE, Server, command, wait_until};
use trinity_beast::clock;
use trinity_beast::store::{KeySettings, LEDGER_FILE, Ledger, NewAccount, SqliteLedger, issue_key};
use trinity_protocol::{
    ApiKey, Code, MAX_DATAGRAM, MacKeys, PriceQuery, ReplyHead, ReplyView, RequestHead, RequestId, Symbol,
    encode_price_request,
};

const SHARDS: u8 = 2;
/// Keys that are revoked, one after the other.
const REVOKED: usize = 30;

/// A server of two shards, and its ledger as another process sees it.
struct Site {
    server: Server,
    runtime: tokio::runtime::Runtime,
    ledger: SqliteLedger,
    socket: UdpSocket,
    next: u32,
}

impl Site {
    fn new() -> Self {
        let server = Server::start(["--shards", "2"]);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let ledger = runtime
            .block_on(SqliteLedger::open_existing(server.data_dir()))
            .expect("the ledger");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.connect(server.udp).expect("connected");
        socket
            .set_read_timeout(Some(Duration::from_millis(200)))
            .expect("set");
        Self {
            server,
            runtime,
            ledger,
            socket,
            next: 1,
        }
    }

    fn keys(&self, count: usize) -> Vec<ApiKey> {
        self.runtime.block_on(async {
            let new = NewAccount {
                name: "customer".into(),
                tier: "partner".into(),
                created_at_ns: 1,
            };
            let account = self.ledger.create_account(new).await.expect("made").id;
            let mut keys = Vec::new();
            for _ in 0..count {
                let now_ns = clock::unix_nanos();
                let issued =
                    issue_key(&self.ledger, account, "k", now_ns, None, &KeySettings::default()).await;
                keys.push(issued.expect("made").0);
            }
            keys
        })
    }

    /// What a shard says to a request whose clock is so far behind.
    fn ask(&mut self, key: &ApiKey, shard: u8, behind: Duration) -> ReplyHead {
        let macs = MacKeys::from_verifier(&key.verifier());
        let query = PriceQuery::new(Symbol::new("BTC-USD").expect("a symbol"));
        wait_until("a reply", || {
            // A request of its own each time: a lost one must not be a repeat.
            let id = RequestId::new(u32::from(shard) + 1, self.next);
            self.next += 1;
            let head = RequestHead {
                key_id: key.key_id(),
                request_id: id,
                lane: shard,
                clock_ns: clock::unix_nanos() - behind.as_nanos() as u64,
            };
            let mut buffer = [0; MAX_DATAGRAM];
            let request = encode_price_request(&mut buffer, head, &[query], &macs.request);
            self.socket.send(request).expect("sent");
            let mut reply = [0; MAX_DATAGRAM];
            loop {
                let length = self.socket.recv(&mut reply).ok()?;
                let view = ReplyView::parse(&reply[..length]).expect("a reply");
                // Another one is late.
                if view.head().request_id == id {
                    return Some(view.head());
                }
            }
        })
    }

    fn code(&mut self, key: &ApiKey, shard: u8) -> Code {
        self.ask(key, shard, Duration::ZERO).code
    }

    /// Waits until every shard says so.
    fn until_all(&mut self, what: &str, mut says: impl FnMut(&mut Self, u8) -> bool) {
        for shard in 0..SHARDS {
            wait_until(what, || says(self, shard).then_some(()));
        }
    }

    fn status(&self, key: &ApiKey) -> u16 {
        http::get(self.server.http, "/price?asset=btc", Some(key.expose().as_str())).status
    }

    fn sql(&self, statement: &str) {
        let ledger = rusqlite::Connection::open(self.server.data_dir().join(LEDGER_FILE)).expect("opened");
        ledger.busy_timeout(PATIENCE).expect("set");
        ledger.execute_batch(statement).expect("the schema fits");
    }

    /// Runs a command beside the server; tells whether it succeeded, and what it said.
    fn command(&self, words: &[&str]) -> (bool, String) {
        let output = command()
            .args(words)
            .arg("--data-dir")
            .arg(self.server.data_dir())
            .output()
            .expect("the binary runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    }
}

#[test]
fn a_revoked_key_is_refused_by_every_shard_and_over_http() {
    let mut site = Site::new();
    let keys = site.keys(REVOKED);
    let mut took = Vec::new();
    for key in &keys {
        site.until_all("the new key is good", |site, shard| {
            site.code(key, shard) == Code::Ok
        });
        wait_until("and over HTTP", || (site.status(key) == 200).then_some(()));
        site.runtime
            .block_on(site.ledger.revoke_key(key.key_id(), clock::unix_nanos()))
            .expect("revoked");
        let began = clock::monotonic();
        site.until_all("the key is refused", |site, shard| {
            site.code(key, shard) == Code::Unauthenticated
        });
        wait_until("and over HTTP", || (site.status(key) == 401).then_some(()));
        took.push(began.elapsed());
    }
    took.sort_unstable();
    eprintln!(
        "from the commit to the refusal everywhere: median {:?}, most {:?} of {REVOKED}",
        took[REVOKED / 2],
        took[REVOKED - 1]
    );
}

#[test]
fn other_limits_hold_on_every_shard() {
    let mut site = Site::new();
    let key = &site.keys(1)[0];
    site.until_all("the new key is good", |site, shard| {
        site.code(key, shard) == Code::Ok
    });
    assert_eq!(site.ask(key, 0, Duration::ZERO).remaining, u32::MAX, "no limit");
    site.sql("UPDATE accounts SET tier = 'free' WHERE name = 'customer'");
    site.until_all("the tier's limits hold", |site, shard| {
        site.ask(key, shard, Duration::ZERO).remaining < u32::MAX
    });
}

#[test]
fn a_parameter_holds_on_every_shard_and_a_bad_one_keeps_the_old_value_and_is_told_of() {
    let mut site = Site::new();
    let key = site.server.demo_key();
    let behind = Duration::from_secs(3);
    let code = |site: &mut Site, shard| site.ask(&key, shard, behind).code;
    for shard in 0..SHARDS {
        assert_eq!(code(&mut site, shard), Code::Ok, "5 seconds by default");
    }
    let (ok, said) = site.command(&["params", "set", "clock.window_ms", "1000"]);
    assert!(ok, "{said}");
    site.until_all("the window is 1 s", |site, shard| {
        code(site, shard) == Code::Clock
    });

    let (ok, said) = site.command(&["params", "set", "clock.window_ms", "1"]);
    assert!(!ok && said.contains("from 1000 to 5000"), "{said}");
    site.sql("UPDATE parameters SET value = 'DROP TABLE' WHERE name = 'clock.window_ms'");
    wait_until("the bad value is told of", || {
        let ready = http::get(site.server.ops, "/ready", None).body;
        ready.contains("clock.window_ms is not followed").then_some(())
    });
    for shard in 0..SHARDS {
        assert_eq!(code(&mut site, shard), Code::Clock, "the old value holds");
    }

    let (ok, said) = site.command(&["params", "unset", "clock.window_ms"]);
    assert!(ok, "{said}");
    site.until_all("the default holds again", |site, shard| {
        code(site, shard) == Code::Ok
    });
}

#[test]
fn what_is_logged_is_a_parameter_too() {
    let mut site = Site::new();
    let (ok, said) = site.command(&["params", "set", "log.filter", "warn"]);
    assert!(ok, "{said}");
    let key = site.server.demo_key();
    // The parameters are taken over together.
    let (ok, said) = site.command(&["params", "set", "clock.window_ms", "1000"]);
    assert!(ok, "{said}");
    site.until_all("both hold", |site, shard| {
        site.ask(&key, shard, Duration::from_secs(3)).code == Code::Clock
    });
    assert!(site.server.terminate().success());
    assert!(
        !site.server.said().contains("draining"),
        "that is told at `info`: {}",
        site.server.said()
    );
}

#[test]
fn params_tells_what_each_does_what_it_may_be_and_what_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let run = |words: &[&str]| {
        let output = command()
            .args(words)
            .arg("--data-dir")
            .arg(dir.path() as &Path)
            .output()
            .expect("the binary runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).expect("text"))
    };
    let (code, said) = run(&["accounts", "create", "a"]);
    assert_eq!(code, Some(0), "{said}");
    let (_, list) = run(&["params", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&list).expect("one JSON value");
    let find = |list: &serde_json::Value, name: &str| {
        let all = list.as_array().expect("a list").clone();
        all.into_iter().find(|one| one["name"] == name).expect("listed")
    };
    let window = find(&list, "clock.window_ms");
    assert_eq!(
        (&window["value"], &window["is_set"]),
        (&"5000".into(), &false.into())
    );
    assert_eq!(window["unit"], "milliseconds");
    for all in list.as_array().expect("a list") {
        assert!(
            all["about"].as_str().is_some_and(|about| !about.is_empty()),
            "{all}"
        );
        assert!(all["takes"].is_string() && all["default"].is_string(), "{all}");
    }
    let (code, said) = run(&["params", "set", "no.such", "1"]);
    assert!(code == Some(1) && said.contains("params list"), "{said}");
    let (code, said) = run(&["params", "set", "usage.keep_days", "30"]);
    assert!(code == Some(0) && said.contains("30"), "{said}");
    let (_, shown) = run(&["params", "show", "usage.keep_days", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("one JSON value");
    assert_eq!((&shown["value"], &shown["is_set"]), (&"30".into(), &true.into()));
    let (code, _) = run(&["params", "unset", "usage.keep_days"]);
    assert_eq!(code, Some(0));
    let (code, said) = run(&["params", "unset", "usage.keep_days"]);
    assert!(code == Some(1) && said.contains("is not set"), "{said}");
}
