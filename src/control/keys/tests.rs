//! Promises of the key sync.

use std::sync::atomic::Ordering;

use tempfile::TempDir;
use trinity_protocol::ApiKey;

use super::*;
use crate::control::testing::{Power, Switched};
use crate::store::{
    AccountId, FlushId, LEDGER_FILE, NewAccount, Protocol, SqliteLedger, UnusableKey, UsageRow, issue_key,
};
use crate::tables::keys::KeyEntry;

const NOW: u64 = 1_700_000_000_000_000_000;
const MONTH_LATER: u64 = NOW + 40 * 86_400 * 1_000_000_000;

/// A ledger in use by a server and by somebody else.
struct Site {
    dir: TempDir,
    other: SqliteLedger,
    ledger: Arc<Switched>,
    sync: KeySync,
    account: AccountId,
}

impl Site {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let own = SqliteLedger::open_or_create(dir.path()).await.expect("opened");
        let other = SqliteLedger::open_existing(dir.path()).await.expect("opened");
        let new = NewAccount {
            name: "a".into(),
            tier: "free".into(),
            created_at_ns: NOW,
        };
        let account = other.create_account(new).await.expect("made").id;
        let ledger = Switched::new(own);
        let sync = KeySync::new(Arc::clone(&ledger) as _);
        Self {
            dir,
            other,
            ledger,
            sync,
            account,
        }
    }

    async fn key(&self) -> ApiKey {
        issue_key(
            &self.other,
            self.account,
            "k",
            NOW,
            None,
            &crate::store::KeySettings::default(),
        )
        .await
        .expect("made")
        .0
    }

    async fn bill(&self, key: &ApiKey, sequence: u64, count: u64) {
        let row = UsageRow {
            key_id: key.key_id(),
            second: NOW / 1_000_000_000,
            protocol: Protocol::Udp,
            outcome: 0,
            count,
            latency_sum_ns: 0,
            latency_max_ns: 0,
        };
        let id = FlushId {
            node: "n".into(),
            boot: 1,
            shard: 0,
            sequence,
        };
        self.other.flush_usage(&id, &[row], &[]).await.expect("flushed");
    }

    fn sql(&self, statements: &str) {
        let connection = rusqlite::Connection::open(self.dir.path().join(LEDGER_FILE)).expect("opened");
        connection.execute_batch(statements).expect("the schema fits");
    }

    /// Past the triggers that forbid it.
    fn delete_by_force(&self, key: &ApiKey) {
        let connection = rusqlite::Connection::open(self.dir.path().join(LEDGER_FILE)).expect("opened");
        let mut triggers = connection
            .prepare("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'api_keys'")
            .expect("a schema");
        let names = triggers
            .query_map([], |row| row.get::<_, String>(0))
            .expect("read");
        let names: Vec<_> = names.map(|name| name.expect("text")).collect();
        for name in names {
            self.sql(&format!("DROP TRIGGER {name}"));
        }
        self.sql(&format!(
            "PRAGMA foreign_keys = OFF; DELETE FROM api_keys WHERE key_id = {}",
            key.key_id().0
        ));
    }

    fn entry(&self, key: &ApiKey) -> Option<KeyEntry> {
        self.sync.table().load().find(key.key_id()).cloned()
    }
}

fn block_on(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(work);
}

#[test]
fn keys_come_go_and_keep_what_they_used() {
    block_on(async {
        let mut site = Site::new().await;
        assert!(site.sync.poll(NOW).await.expect("readable"));
        assert!(!site.sync.poll(NOW).await.expect("readable"), "nothing changed");

        // Another process makes a key and bills two requests to it.
        let key = site.key().await;
        site.bill(&key, 1, 2).await;
        assert!(site.sync.poll(NOW).await.expect("readable"));
        let entry = site.entry(&key).expect("loaded");
        assert!(entry.is_usable(NOW));
        assert_eq!(entry.state.month_used(), 2);
        assert!(entry.state.acquire(&entry.limits, NOW, 0).is_ok());

        site.other.revoke_key(key.key_id(), NOW).await.expect("revoked");
        assert!(site.sync.poll(NOW).await.expect("readable"));
        let entry = site.entry(&key).expect("still there, refused");
        assert!(!entry.is_usable(NOW));
        assert_eq!(entry.state.month_used(), 3, "carried over");

        site.sync.poll(MONTH_LATER).await.expect("readable");
        assert_eq!(entry.state.month_used(), 0, "a new month");
    });
}

#[test]
fn a_key_whose_row_was_deleted_by_hand_is_refused_from_the_next_reading_of_all_keys_on() {
    block_on(async {
        let mut site = Site::new().await;
        let (gone, stays) = (site.key().await, site.key().await);
        site.sync.reload(NOW).await.expect("readable");
        assert!(site.entry(&gone).is_some());
        site.delete_by_force(&gone);
        site.sync.reload(NOW).await.expect("readable");
        assert!(site.entry(&gone).is_none());
        assert!(site.entry(&stays).is_some_and(|entry| entry.is_usable(NOW)));
    });
}

#[test]
fn a_row_that_means_nothing_refuses_its_key_and_is_told_of_until_it_is_put_right() {
    block_on(async {
        let mut site = Site::new().await;
        let (bad, good) = (site.key().await, site.key().await);
        site.sync.reload(NOW).await.expect("readable");
        let used = site.entry(&bad).expect("there").state;
        used.set_month_used(7);
        let row = UnusableKey {
            key_id: bad.key_id(),
            why: "its networks are not networks".into(),
        };
        site.ledger.unusable.lock().push(row);
        for _ in 0..2 {
            site.sync.reload(NOW).await.expect("readable");
            assert!(!site.entry(&bad).expect("refused").is_usable(NOW));
            assert!(site.entry(&good).expect("there").is_usable(NOW));
            assert_eq!(
                site.sync.unusable().keys().collect::<Vec<_>>(),
                [&bad.key_id()],
                "told"
            );
        }
        site.ledger.unusable.lock().clear();
        // Any change of that row is read with the changes.
        site.sql(&format!(
            "UPDATE api_keys SET name = 'right' WHERE key_id = {}",
            bad.key_id().0
        ));
        assert!(site.sync.poll(NOW).await.expect("readable"));
        let entry = site.entry(&bad).expect("there");
        assert!(entry.is_usable(NOW) && site.sync.unusable().is_empty());
        assert_eq!(entry.state.month_used(), 7, "what it used is kept");
    });
}

#[test]
fn requests_that_are_not_in_the_ledger_yet_count_against_the_month() {
    block_on(async {
        let mut site = Site::new().await;
        let key = site.key().await;
        site.bill(&key, 1, 5).await;
        site.sync.reload(NOW).await.expect("readable");
        let unknown = KeyId(77);
        site.sync
            .add_unflushed(&HashMap::from([(key.key_id(), 3), (unknown, 9)]));
        let state = site.entry(&key).expect("there").state;
        assert_eq!(state.month_used(), 8);
        site.bill(&key, 2, 3).await;
        site.sync.reload(NOW).await.expect("readable");
        assert_eq!(state.month_used(), 8, "flushed meanwhile, and counted once");
        site.bill(&key, 3, 40).await;
        site.sync.reload(NOW).await.expect("readable");
        assert_eq!(state.month_used(), 48, "another node answered more");
    });
}

#[test]
fn a_ledger_that_fails_leaves_the_keys_as_they_are() {
    block_on(async {
        let mut site = Site::new().await;
        let key = site.key().await;
        site.sync.reload(NOW).await.expect("readable");
        site.other.revoke_key(key.key_id(), NOW).await.expect("revoked");
        site.ledger.turn(Power::Fails);
        assert!(site.sync.poll(NOW).await.is_err());
        assert!(site.sync.reload(NOW).await.is_err());
        assert!(site.entry(&key).expect("there").is_usable(NOW));
        site.ledger.turn(Power::On);
        assert!(site.sync.poll(NOW).await.expect("readable"));
        assert!(!site.entry(&key).expect("there").is_usable(NOW));
    });
}

#[test]
fn a_table_that_was_replaced_is_dropped_once_no_shard_holds_it() {
    block_on(async {
        let mut site = Site::new().await;
        let key = site.key().await;
        site.sync.reload(NOW).await.expect("readable");
        let held = site.sync.table().load_full();
        let watched = Arc::downgrade(&held);
        site.other.revoke_key(key.key_id(), NOW).await.expect("revoked");
        site.sync.poll(NOW).await.expect("readable");
        site.sync.poll(NOW).await.expect("readable");
        assert!(held.find(key.key_id()).is_some_and(|entry| entry.is_usable(NOW)));
        drop(held);
        assert!(
            watched.upgrade().is_some(),
            "not by whoever looks things up in it"
        );
        site.sync.poll(NOW).await.expect("readable");
        // It is dropped on a thread of its own.
        while watched.upgrade().is_some() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn all_pages_are_read_and_an_unchanged_table_stays_the_same_one() {
    block_on(async {
        let mut site = Site::new().await;
        let rows = PAGE + 3;
        site.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
             INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) \
             SELECT i * 977, {}, 'k' || i, randomblob(32), 1 FROM n",
            site.account.0
        ));
        site.sync.reload(NOW).await.expect("readable");
        let table = site.sync.table().load_full();
        assert_eq!(table.len(), rows);
        assert!((1..=rows as u64).all(|i| table.find(KeyId(i * 977)).is_some()));
        assert_eq!(site.ledger.keys_read.load(Ordering::SeqCst), rows);
        site.sync.reload(NOW).await.expect("readable");
        assert!(Arc::ptr_eq(&table, &site.sync.table().load_full()));
    });
}
