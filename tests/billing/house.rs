//! A server that dies and comes back on the same ports, with the same directory and ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use trinity_beast::clock;
use trinity_beast::store::{Grain, KeySettings, LEDGER_FILE, Ledger, NewAccount, NewKey, SqliteLedger};
use trinity_protocol::ApiKey;

use super::books::Ledgered;
use super::database::Database;
use crate::support::http;
use crate::support::server::{PATIENCE, Server, command};

/// A node that lost its database may be waiting for an answer that does not come; it waits for 45 s.
const LONG_PATIENCE: Duration = Duration::from_secs(90);
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
    /// If the ledger is not in the directory.
    pub(crate) database: Option<Database>,
}

impl House {
    /// Starts a server of two shards with its ledger in SQLite; `dress` adds to its command at each
    /// start.
    pub(crate) fn open(dress: impl Fn(&mut Command) + 'static) -> Self {
        Self::open_on(None, dress)
    }

    /// The same with its ledger in a Postgres of its own.
    pub(crate) fn open_on_postgres(dress: impl Fn(&mut Command) + 'static) -> Self {
        Self::open_on(Some(Database::start()), dress)
    }

    fn open_on(database: Option<Database>, dress: impl Fn(&mut Command) + 'static) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = block_on(async { make_keys(&*ledger(database.as_ref(), dir.path()).await).await });
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = start(dir.path(), anywhere, anywhere, database.as_ref(), &dress);
        Self {
            database,
            udp: server.udp,
            http: server.http,
            keys,
            server,
            dress: Box::new(dress),
            dir,
        }
    }

    /// Waits until `/ready` warns of this component, or of none at all. The service is ready all the
    /// time.
    pub(crate) fn until_ready_warns_of(&mut self, component: Option<&str>) {
        let until = clock::monotonic() + LONG_PATIENCE;
        loop {
            let ready = http::get(self.server.ops, "/ready", None);
            assert_eq!(ready.status, 200, "{ready:?}");
            let json = ready.json();
            let warnings = json["warnings"].as_array().expect("a list");
            let told = |component: &str| warnings.iter().any(|warning| warning["component"] == component);
            if component.map_or(warnings.is_empty(), told) {
                return;
            }
            assert!(
                clock::monotonic() < until,
                "waited in vain until /ready warned of {component:?}: {json}\n{}\n{}",
                self.server.said(),
                self.database.as_ref().map(Database::activity).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Waits for the next write into the ledger: that of usage, where nothing else changes.
    pub(crate) fn until_it_flushes(&self) {
        let log = self.dir.path().join(format!("{LEDGER_FILE}-wal"));
        let written = || fs::metadata(&log).and_then(|log| log.modified()).ok();
        let (before, until) = (written(), clock::monotonic() + PATIENCE);
        while written() == before {
            assert!(clock::monotonic() < until, "nothing is written into the ledger");
        }
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self) {
        let database = self.database.as_ref();
        self.server = start(self.dir.path(), self.udp, self.http, database, &self.dress);
    }

    /// SIGTERM, which must end it well.
    pub(crate) fn close(&mut self) {
        let status = self.server.terminate();
        assert!(status.success(), "{status}\n{}", self.server.said());
    }

    /// `audit`: nothing differs, and nothing waits in a journal any more.
    pub(crate) fn must_pass_the_audit(&self) {
        let mut command = command();
        command
            .args(["audit", "--json", "--data-dir"])
            .arg(self.dir.path());
        if let Some(database) = &self.database {
            database.dress(&mut command);
        }
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let audit: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(audit["clean"], true, "{said}");
        assert_eq!(audit["journals"]["requests_waiting"], 0, "{said}");
        assert_eq!(audit["journals"]["set_aside"], json!([]), "{said}");
        assert_eq!(output.status.code(), Some(0), "{said}");
    }

    /// What the ledger has by now.
    pub(crate) fn ledger(&self) -> Ledgered {
        block_on(async {
            let ledger = ledger(self.database.as_ref(), self.dir.path()).await;
            read_ledger(&*ledger, &self.keys).await
        })
    }
}

/// The ledger, wherever it is; made if it is not there.
async fn ledger(database: Option<&Database>, dir: &Path) -> Box<dyn Ledger> {
    match database {
        Some(database) => Box::new(database.ledger().await),
        None => Box::new(SqliteLedger::open_or_create(dir).await.expect("opened")),
    }
}

fn start(
    dir: &Path,
    udp: SocketAddr,
    http: SocketAddr,
    database: Option<&Database>,
    dress: &dyn Fn(&mut Command),
) -> Server {
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
    if let Some(database) = database {
        database.dress(&mut command);
    }
    dress(&mut command);
    Server::start_by(command, dir)
}

/// Makes the keys that ask, of one account without limits.
async fn make_keys(ledger: &dyn Ledger) -> Vec<ApiKey> {
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
            settings: KeySettings::default(),
        };
        ledger.create_key(new).await.expect("made");
        keys.push(key);
    }
    keys
}

async fn read_ledger(ledger: &dyn Ledger, keys: &[ApiKey]) -> Ledgered {
    const NEVER: u64 = 253_402_300_800;
    let requests = ledger
        .usage_sums(Grain::Second, 0, NEVER, None)
        .await
        .expect("readable");
    let mut entries = BTreeMap::new();
    let asked = keys.iter().map(ApiKey::key_id);
    let found: BTreeSet<_> = requests.iter().map(|row| row.key_id).chain(asked).collect();
    for key in found {
        let total = ledger.usage_total(key).await.expect("readable");
        entries.insert(key, total.entries);
    }
    Ledgered { requests, entries }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work)
}
