//! A server that dies and comes back on the same ports, with the same directory and ledger.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rusqlite::OpenFlags;
use tempfile::TempDir;
use trinity_beast::store::{LEDGER_FILE, Ledger, NewAccount, NewKey, Protocol, SqliteLedger, UsageSum};
use trinity_protocol::{ApiKey, KeyId};

use super::books::Ledgered;
use crate::support::server::{Server, command};

/// Keys that ask.
const KEYS: u64 = 3;

/// A server's home.
pub(crate) struct House {
    server: Server,
    pub(crate) udp: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) keys: Vec<ApiKey>,
    dress: Box<dyn Fn(&mut Command)>,
    dir: TempDir,
}

impl House {
    /// Starts a server of two shards; `dress` adds to its command at each start.
    pub(crate) fn open(dress: impl Fn(&mut Command) + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = make_keys(dir.path());
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = start(dir.path(), anywhere, anywhere, &dress);
        Self {
            udp: server.udp,
            http: server.http,
            keys,
            server,
            dress: Box::new(dress),
            dir,
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        self.server = start(self.dir.path(), self.udp, self.http, &self.dress);
    }

    /// SIGTERM, which must end it well.
    pub(crate) fn close(&mut self) {
        let status = self.server.terminate();
        assert!(status.success(), "{status}\n{}", self.server.said());
    }

    /// What the ledger has by now.
    pub(crate) fn ledger(&self) -> Ledgered {
        read_ledger(self.dir.path())
    }
}

fn start(dir: &Path, udp: SocketAddr, http: SocketAddr, dress: &dyn Fn(&mut Command)) -> Server {
    let mut command = command();
    command
        .args([
            "serve",
            "--shards",
            "2",
            "--market",
            "replay",
            "--tcp-port-ops",
            "0",
        ])
        .args(["--udp-port-lpo", &udp.port().to_string()])
        .args(["--tcp-port-lpo", &http.port().to_string()])
        .arg("--data-dir")
        .arg(dir);
    dress(&mut command);
    Server::start_by(command, dir)
}

fn make_keys(dir: &Path) -> Vec<ApiKey> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ledger = SqliteLedger::open_or_create(dir).await.expect("opened");
        let new = NewAccount {
            name: "asks".into(),
            tier: "partner".into(),
            created_at_ns: 1,
        };
        let account = ledger.create_account(new).await.expect("made");
        let mut keys = Vec::new();
        for number in 0..KEYS {
            let mut secret = [0; 32];
            getrandom::fill(&mut secret).expect("randomness");
            let id = getrandom::u64().expect("randomness") >> 1;
            let key = ApiKey::from_parts(id.max(1), secret).expect("in range");
            let new = NewKey {
                key_id: key.key_id(),
                account_id: account.id,
                name: format!("key {number}"),
                verifier: key.verifier(),
                created_at_ns: 1,
                expires_at_ns: None,
                settings: trinity_beast::store::KeySettings::default(),
            };
            ledger.create_key(new).await.expect("made");
            keys.push(key);
        }
        keys
    })
}

fn read_ledger(dir: &Path) -> Ledgered {
    let ledger =
        rusqlite::Connection::open_with_flags(dir.join(LEDGER_FILE), OpenFlags::SQLITE_OPEN_READ_ONLY)
            .expect("the ledger");
    let mut rows = ledger
        .prepare("SELECT key_id, second, protocol, outcome, count FROM usage")
        .expect("the schema fits");
    let requests = rows
        .query_map([], |row| {
            Ok(UsageSum {
                key_id: KeyId(row.get::<_, i64>(0)? as u64),
                start: row.get::<_, i64>(1)? as u64,
                protocol: if row.get::<_, i64>(2)? == 1 {
                    Protocol::Udp
                } else {
                    Protocol::Http
                },
                outcome: row.get::<_, i64>(3)? as u16,
                count: row.get::<_, i64>(4)? as u64,
                latency_sum_ns: 0,
                latency_max_ns: 0,
            })
        })
        .expect("readable")
        .map(|row| row.expect("a row"))
        .collect();
    let mut rows = ledger
        .prepare("SELECT key_id, sum(entries) FROM usage_symbols GROUP BY key_id")
        .expect("the schema fits");
    let entries = rows
        .query_map([], |row| {
            Ok((KeyId(row.get::<_, i64>(0)? as u64), row.get::<_, i64>(1)? as u64))
        })
        .expect("readable")
        .map(|row| row.expect("a row"))
        .collect::<BTreeMap<_, _>>();
    Ledgered { requests, entries }
}
