//! Promises of the task that follows the ledger.

use tempfile::TempDir;
use trinity_protocol::ApiKey;

use super::*;
use crate::control::ops::{
    Fact, KeysFacts, LedgerFacts, MarketFacts, MarketKind, Ops, ParameterFacts, ProcessFacts,
};
use crate::control::testing::{Power, Switched};
use crate::shard::ShardShared;
use crate::shard::web::OpsPages;
use crate::store::{AccountId, NewAccount, SqliteLedger, issue_key};
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceWriter, SymbolNames};

/// Longest time anything that is waited for may take; nothing is measured by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node's data directory, and a ledger that lies elsewhere.
struct Site {
    data: DataDir,
    own: TempDir,
    _elsewhere: TempDir,
    other: SqliteLedger,
    ledger: Arc<Switched>,
    account: AccountId,
}

/// A node, as far as it follows.
struct Running {
    follow: Follow,
    keys: Arc<arc_swap::ArcSwap<crate::tables::keys::KeyTable>>,
    followers: Followers,
    tables: watch::Receiver<Arc<SymbolTable>>,
}

impl Site {
    async fn new() -> Self {
        let (own, elsewhere) = (tempdir(), tempdir());
        let other = SqliteLedger::open_or_create(elsewhere.path())
            .await
            .expect("opened");
        let ledger = SqliteLedger::open_existing(elsewhere.path())
            .await
            .expect("opened");
        let new = NewAccount {
            name: "a".into(),
            tier: "free".into(),
            created_at_ns: 1,
        };
        let account = other.create_account(new).await.expect("made").id;
        Self {
            data: DataDir::open(own.path()).expect("free"),
            own,
            _elsewhere: elsewhere,
            other,
            ledger: Switched::new(ledger),
            account,
        }
    }

    async fn key(&self) -> ApiKey {
        issue_key(
            &self.other,
            self.account,
            "k",
            clock::unix_nanos(),
            None,
            &crate::store::KeySettings::default(),
        )
        .await
        .expect("made")
        .0
    }

    async fn begin(&self) -> anyhow::Result<Begun> {
        Begun::new(
            Arc::clone(&self.ledger) as _,
            &self.data,
            false,
            true,
            clock::unix_nanos(),
        )
        .await
    }

    async fn start(&self) -> anyhow::Result<Running> {
        let begun = self.begin().await?;
        let keys = begun.keys.table();
        let table = begun.symbols.as_ref().expect("a live market has some").table();
        let followers = Followers {
            shared: Arc::new(ShardShared::default()),
            misses: Some(Arc::new(MissBoard::with_room(1, 1, || {}))),
            ops: Arc::new(board()),
        };
        let (tables, followed) = watch::channel(table);
        Ok(Running {
            follow: begun.follow(followers.clone(), tables),
            keys,
            followers,
            tables: followed,
        })
    }

    fn files(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.own.path()).expect("readable");
        files
            .map(|file| file.expect("readable").file_name().to_string_lossy().into_owned())
            .collect()
    }
}

impl Running {
    fn is_usable(&self, key: &ApiKey) -> bool {
        let now_ns = clock::unix_nanos();
        let keys = self.keys.load();
        keys.find(key.key_id()).is_some_and(|key| key.is_usable(now_ns))
    }

    fn ready(&self) -> String {
        let page = self.followers.ops.page("/ready", clock::unix_nanos());
        String::from_utf8(page.expect("a page").body.to_vec()).expect("text")
    }
}

fn tempdir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn board() -> Ops {
    let names = Arc::new(SymbolNames::new(vec![], &[]).expect("distinct"));
    let (_, mut copies) = PriceWriter::new(&names, 1);
    Ops {
        process: ProcessFacts {
            started_ns: 1,
            version: "0",
            node: "n".into(),
            driver: String::new(),
            driver_why: String::new(),
        },
        shards: Vec::new(),
        web: Vec::new(),
        prices: copies.remove(0),
        misses: None,
        market: MarketFacts::new(MarketKind::Replay, "none"),
        ledger: LedgerFacts::new("switched"),
        journal: Arc::default(),
        keys: KeysFacts::default(),
        parameters: ParameterFacts::default(),
        stopping_since_ns: Fact::default(),
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work);
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waited = timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[test]
fn a_start_without_the_ledger_serves_what_the_last_run_knew_and_goes_on_when_it_is_back() {
    block_on(async {
        let site = Site::new().await;
        let (key, revoked) = (site.key().await, site.key().await);
        site.other.revoke_key(revoked.key_id(), 1).await.expect("revoked");
        site.other
            .set_parameter("clock.window_ms", "1500", 1)
            .await
            .expect("set");
        let running = site.start().await.expect("started");
        assert!(running.is_usable(&key));
        let state = Arc::clone(&running.keys.load().find(key.key_id()).expect("there").state);
        state.add_month_used(41);
        let symbols = running.tables.borrow().symbols().len();
        running.follow.stop().await;

        for power in [Power::Fails, Power::Hangs] {
            site.ledger.turn(power);
            let running = site.start().await.expect("started from the snapshot");
            assert!(
                running.is_usable(&key) && !running.is_usable(&revoked),
                "{power:?}"
            );
            let used = |running: &Running| {
                let keys = running.keys.load();
                keys.find(key.key_id()).expect("there").state.month_used()
            };
            assert_eq!(used(&running), 41);
            assert_eq!(
                running.followers.shared.parameters.clock_window_ns(),
                1_500_000_000
            );
            assert_eq!(running.tables.borrow().symbols().len(), symbols);
            assert!(
                running.ready().contains("from the snapshot"),
                "{}",
                running.ready()
            );
            running.follow.stop().await;
        }

        // It comes back, and with it what has changed meanwhile.
        site.ledger.turn(Power::Fails);
        let running = site.start().await.expect("started from the snapshot");
        until("the failure is told", || running.follow.error().is_some()).await;
        site.other.revoke_key(key.key_id(), 1).await.expect("revoked");
        assert!(running.is_usable(&key), "nobody could know");
        site.ledger.turn(Power::On);
        site.ledger.told.notify_one();
        until("the key is refused", || !running.is_usable(&key)).await;
        until("nothing stands in for the ledger", || {
            !running.ready().contains("from the snapshot") && running.follow.error().is_none()
        })
        .await;
        running.follow.stop().await;
    });
}

#[test]
fn a_start_with_neither_ledger_nor_snapshot_is_refused_and_says_what_to_do() {
    block_on(async {
        let site = Site::new().await;
        for power in [Power::Fails, Power::Hangs] {
            site.ledger.turn(power);
            let error = site.begin().await.expect_err("nothing to serve from");
            let text = format!("{error:#}");
            assert!(
                text.contains("the ledger cannot be reached")
                    && text.contains("ledger.snapshot is not there")
                    && text.contains("start the ledger"),
                "{text}"
            );
        }
    });
}

#[test]
fn a_damaged_snapshot_is_set_aside_and_never_served_from_nor_written_over() {
    block_on(async {
        let site = Site::new().await;
        let path = snapshot::path_in(site.own.path());
        let aside = |site: &Site| {
            let files = site.files().into_iter();
            files.filter(|name| name.contains("snapshot.damaged-")).count()
        };
        std::fs::write(
            &path,
            b"TBLEDGER and then nothing that means anything at all, for 64 bytes and more",
        )
        .expect("written");
        site.ledger.turn(Power::Fails);
        let text = format!("{:#}", site.begin().await.expect_err("no use"));
        assert!(
            text.contains("set aside as") && text.contains("damaged-"),
            "{text}"
        );
        assert!(aside(&site) == 1 && !path.exists());
        // With the ledger there, too.
        std::fs::write(&path, b"rubbish").expect("written");
        site.ledger.turn(Power::On);
        let running = site.start().await.expect("started");
        until("a snapshot is written", || {
            running.followers.ops.keys.snapshot_written_ns.get() != 0
        })
        .await;
        running.follow.stop().await;
        assert_eq!(aside(&site), 2);
        assert!(snapshot::read(&path).expect("readable").is_some());
    });
}

#[test]
fn a_ledger_in_a_file_of_this_machine_needs_no_snapshot() {
    block_on(async {
        let site = Site::new().await;
        let begun = Begun::new(
            Arc::new(site.other.clone()) as _,
            &site.data,
            false,
            false,
            clock::unix_nanos(),
        );
        let followers = Followers {
            shared: Arc::new(ShardShared::default()),
            misses: None,
            ops: Arc::new(board()),
        };
        let (tables, _) = watch::channel(Arc::new(SymbolTable::builtin()));
        begun.await.expect("begun").follow(followers, tables).stop().await;
        assert!(!snapshot::path_in(site.own.path()).exists());
    });
}

#[test]
fn a_ledger_that_tells_of_a_change_is_read_at_once_and_parameters_hold_or_are_told_of() {
    block_on(async {
        let site = Site::new().await;
        let running = site.start().await.expect("started");
        let parameters = &running.followers.shared.parameters;
        site.other
            .set_parameter("replies.unsigned_per_second", "7", 1)
            .await
            .expect("set");
        site.ledger.told.notify_one();
        until("it holds", || parameters.unsigned_per_second() == 7).await;
        // By hand, past the command that would refuse it.
        for (name, value) in [("replies.unsigned_per_second", "lots"), ("no.such.thing", "1")] {
            site.other.set_parameter(name, value, 2).await.expect("set");
        }
        site.ledger.told.notify_one();
        until("both are told of", || {
            running.followers.ops.parameters.problems.read().len() == 2
        })
        .await;
        assert_eq!(parameters.unsigned_per_second(), 7, "the old one is kept");
        let metrics = running.followers.ops.page("/metrics", 2).expect("a page").body;
        let metrics = String::from_utf8(metrics.to_vec()).expect("text");
        for wanted in [
            "trinity_parameters_refused 2",
            "trinity_parameter_refused_info{name=\"no.such.thing\"} 1",
        ] {
            assert!(metrics.contains(wanted), "{wanted}");
        }
        assert!(
            running
                .ready()
                .contains("replies.unsigned_per_second is not followed")
        );
        running.follow.stop().await;
    });
}
