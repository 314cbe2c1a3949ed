//! Promises of the key sync.

use super::*;
use crate::store::{FlushId, NewAccount, Protocol, SqliteLedger, UsageRow, issue_key};

const NOW: u64 = 1_700_000_000_000_000_000;

#[test]
fn keys_come_go_and_keep_what_they_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ledger = Arc::new(SqliteLedger::open_or_create(dir.path()).await.expect("opened"));
        let mut sync = KeySync::new(Arc::clone(&ledger) as _);
        assert!(sync.poll(NOW).await.expect("readable"));
        assert!(!sync.poll(NOW).await.expect("readable"), "nothing changed");

        // Another process makes a key and bills two requests to it.
        let other = SqliteLedger::open_existing(dir.path()).await.expect("opened");
        let new = NewAccount {
            name: "a".into(),
            tier: "free".into(),
            created_at_ns: NOW,
        };
        let account = other.create_account(new).await.expect("made");
        let (key, _) = issue_key(&other, account.id, "k", NOW, None).await.expect("made");
        let row = UsageRow {
            key_id: key.key_id(),
            second: NOW / 1_000_000_000,
            protocol: Protocol::Udp,
            outcome: 0,
            count: 2,
            latency_sum_ns: 0,
            latency_max_ns: 0,
        };
        let id = FlushId {
            node: "n".into(),
            boot: 1,
            shard: 0,
            sequence: 0,
        };
        other.flush_usage(&id, &[row], &[]).await.expect("flushed");

        assert!(sync.poll(NOW).await.expect("readable"));
        let table = sync.table().load_full();
        let entry = table.find(key.key_id()).expect("loaded");
        assert!(entry.is_usable(NOW));
        assert_eq!(entry.state.month_used(), 2);
        assert!(entry.state.acquire(&entry.limits, NOW, 0).is_ok());

        other.revoke_key(key.key_id(), NOW).await.expect("revoked");
        assert!(sync.poll(NOW).await.expect("readable"));
        let table = sync.table().load_full();
        let entry = table.find(key.key_id()).expect("still there, refused");
        assert!(!entry.is_usable(NOW));
        assert_eq!(entry.state.month_used(), 3, "carried over");

        sync.poll(NOW + 40 * 86_400 * 1_000_000_000)
            .await
            .expect("readable");
        assert_eq!(entry.state.month_used(), 0, "a new month");
    });
}
