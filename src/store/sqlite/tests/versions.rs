//! What older programs left is carried over.

use super::*;

/// The data directory of a program that knew migrations up to `version`, and a connection on its ledger.
fn left_by(version: u32) -> (TempDir, Connection) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(LEDGER_FILE);
    create_private(dir.path(), &path).expect("creates");
    migrate::up_to(&mut connect(&path).expect("opens"), version).expect("migrates");
    let sql = by_hand(&dir);
    (dir, sql)
}

#[tokio::test]
async fn a_ledger_from_before_symbols_gets_them_and_keeps_the_rest() {
    let (dir, sql) = left_by(1);
    sql.execute(
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('old', 'pro', 1)",
        [],
    )
    .expect("inserts");
    let ledger = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    assert_eq!(ledger.migration_status().await.expect("status").current, 3);
    assert_eq!(ledger.list_accounts().await.expect("lists")[0].name, "old");
    assert!(ledger.list_symbols().await.expect("lists").is_empty());
}

#[tokio::test]
async fn keys_from_before_settings_keep_working() {
    let (dir, sql) = left_by(2);
    sql.execute_batch(
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('old', 'pro', 1);
         INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, expires_at_ns, revoked_at_ns) VALUES
             (9, 1, 'a', zeroblob(32), 5, NULL, NULL),
             (7, 1, 'b', randomblob(32), 6, 1000, 3);",
    )
    .expect("inserts");
    let ledger = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    let keys = ledger.list_keys(None).await.expect("lists");
    let seen: Vec<_> = keys
        .iter()
        .map(|key| {
            (
                key.key_id.0,
                key.name.as_str(),
                key.expires_at_ns,
                key.revoked_at_ns,
            )
        })
        .collect();
    assert_eq!(seen, [(9, "a", None, None), (7, "b", Some(1_000), Some(3))]);
    assert!(
        keys.iter()
            .all(|key| key.settings == KeySettings::default() && key.replaces.is_none())
    );
    assert_eq!(keys[0].limits.burst, Some(20));
    assert_eq!(*keys[0].verifier.as_bytes(), [0; 32]);
    // What guarded the old table guards the new one.
    for refused in [
        "DELETE FROM api_keys",
        "UPDATE api_keys SET revoked_at_ns = NULL WHERE key_id = 7",
        "UPDATE api_keys SET verifier = randomblob(32)",
        "UPDATE api_keys SET replaces = 7 WHERE key_id = 9",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (8, 2, 'x', randomblob(32), 1)",
    ] {
        sql.execute_batch(refused).expect_err(refused);
    }
    sql.execute_batch("PRAGMA foreign_key_check; PRAGMA integrity_check;")
        .expect("is sound");
    let broken: Vec<String> = sql
        .prepare("SELECT \"table\" FROM pragma_foreign_key_check")
        .expect("prepares")
        .query_map([], |row| row.get(0))
        .expect("queries")
        .collect::<rusqlite::Result<_>>()
        .expect("reads");
    assert!(broken.is_empty(), "{broken:?}");
}

#[tokio::test]
async fn usage_from_before_sums_gets_them_and_its_flushes_are_still_known() {
    let (dir, sql) = left_by(2);
    // A minute's, an hour's, a day's and a month's turn; saturated latency; two counters, one of them
    // out of order, as was allowed.
    sql.execute_batch(
        "INSERT INTO usage (key_id, second, protocol, outcome, count, latency_sum_ns, latency_max_ns) VALUES
             (1, 1677628799, 1, 0, 1, 10, 3),
             (1, 1677628800, 1, 0, 2, 20, 5),
             (1, 1677628801, 1, 0, 4, 9223372036854775807, 4),
             (1, 1677628802, 1, 0, 8, 9223372036854775807, 4),
             (1, 1677628860, 2, 0, 16, 1, 1),
             (2, 1677632400, 1, 6, 32, 1, 1);
         INSERT INTO usage_symbols (key_id, symbol, second, status, entries) VALUES
             (1, 'BTC-USD', 1677628799, 0, 1), (1, 'BTC-USD', 1677628800, 0, 2), (1, 'BTC-USD', 1677628800, 1, 4);
         INSERT INTO flushes (node, boot, shard, sequence, applied_at, usage_rows, requests, symbol_rows, entries)
         VALUES ('node-a', 1, 0, 5, 50, 2, 40, 1, 3), ('node-a', 1, 0, 4, 60, 3, 20, 1, 1),
                ('node-a', 1, 1, 0, 70, 1, 3, 1, 3);",
    )
    .expect("inserts");
    let ledger = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    let audit = ledger.audit().await.expect("audits");
    assert_eq!(audit.discrepancies, []);
    assert_eq!((audit.requests_in_days, audit.requests_flushed), (63, 63));
    assert_eq!((audit.entries_in_days, audit.entries_flushed), (7, 7));
    assert_eq!(audit.seconds_kept_from, Some(1_677_542_400));
    let counts = async |grain, key| -> Vec<(u64, u64, u64, u64)> {
        let sums = ledger
            .usage_sums(grain, 0, u64::MAX, Some(KeyId(key)))
            .await
            .expect("reads");
        let figures = |sum: &UsageSum| (sum.start, sum.count, sum.latency_sum_ns, sum.latency_max_ns);
        sums.iter().map(figures).collect()
    };
    let full = i64::MAX as u64;
    assert_eq!(
        counts(Grain::Minute, 1).await,
        [
            (1_677_628_740, 1, 10, 3),
            (1_677_628_800, 14, full, 5),
            (1_677_628_860, 16, 1, 1)
        ]
    );
    assert_eq!(
        counts(Grain::Hour, 1).await,
        [
            (1_677_625_200, 1, 10, 3),
            (1_677_628_800, 14, full, 5),
            (1_677_628_800, 16, 1, 1)
        ]
    );
    assert_eq!(counts(Grain::Day, 1).await[0], (1_677_542_400, 1, 10, 3));
    assert_eq!(counts(Grain::Day, 2).await, [(1_677_628_800, 32, 1, 1)]);
    assert_eq!(ledger.usage_total(KeyId(1)).await.expect("reads").requests, 31);
    let months: Vec<[i64; 4]> = sql
        .prepare("SELECT key_id, start, requests, charged FROM usage_months ORDER BY start, key_id")
        .expect("prepares")
        .query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))
        .expect("queries")
        .collect::<rusqlite::Result<_>>()
        .expect("reads");
    assert_eq!(
        months,
        [
            [1, 1_675_209_600, 1, 1],
            [1, 1_677_628_800, 30, 30],
            [2, 1_677_628_800, 32, 0]
        ]
    );

    // The last flush of each counter is still a retry, and the next one is not.
    let forty = [usage_row(1, 8), usage_row(1, 32)];
    let outcome = ledger
        .flush_usage(&flush_id(5), &forty, &[symbol_row(1, 3)])
        .await;
    assert_eq!(outcome.expect("flushes"), FlushOutcome::AlreadyApplied);
    let error = ledger.flush_usage(&flush_id(5), &forty[1..], &[]).await;
    let error = error.expect_err("other contents");
    assert!(matches!(error, StoreError::FlushIdReused { .. }), "{error}");
    let outcome = ledger.flush_usage(&flush_id(6), &forty, &[]).await;
    assert_eq!(outcome.expect("flushes"), FlushOutcome::Applied);
    assert_eq!(ledger.audit().await.expect("audits").discrepancies, []);
}
