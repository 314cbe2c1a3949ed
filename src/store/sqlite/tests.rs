//! What is SQLite's own: files, processes side by side, crashes, and its constraints.

mod tampered;
mod versions;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use trinity_protocol::ApiKey;

use super::*;
use crate::store::suite::{account, definition, flush_id, ledger_suite, new_key, symbol_row, usage_row};
use crate::store::{KeySettings, KeyStatus, Scope, SymbolOrigin, rotate_key};

async fn fresh() -> (TempDir, SqliteLedger) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ledger = SqliteLedger::open_or_create(dir.path()).await.expect("opens");
    (dir, ledger)
}

/// A connection as the `sqlite3` shell would have it, with foreign keys on.
fn by_hand(dir: &TempDir) -> Connection {
    let connection = Connection::open(dir.path().join(LEDGER_FILE)).expect("opens");
    connection
        .pragma_update(None, "foreign_keys", true)
        .expect("sets");
    connection
}

mod promises {
    super::ledger_suite!(super::fresh);
}

#[tokio::test]
async fn an_empty_file_becomes_a_ledger_once() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join(LEDGER_FILE);
    create_private(dir.path(), &path).expect("creates");
    let ledger = SqliteLedger::open_file(&path).expect("opens");
    let before = ledger.migration_status().await.expect("status");
    assert_eq!((before.current, before.is_current()), (0, false));
    assert!(before.migrations.iter().all(|m| m.applied_at.is_none()));
    let error = ledger.list_accounts().await.expect_err("no schema");
    assert!(matches!(error, StoreError::NotMigrated), "{error}");
    let after = ledger.migrate().await.expect("migrates");
    assert!(after.is_current());
    assert_eq!(
        SqliteLedger::open_existing(dir.path())
            .await
            .expect("opens")
            .migration_status()
            .await
            .expect("status"),
        after
    );
}

#[tokio::test]
async fn a_missing_ledger_is_not_made_by_looking() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let nowhere = dir.path().join("typo");
    let error = SqliteLedger::open_existing(&nowhere)
        .await
        .err()
        .expect("nothing there");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn a_ledger_newer_than_the_binary_is_refused() {
    let (dir, ledger) = fresh().await;
    by_hand(&dir)
        .execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (999, 'x', zeroblob(32))",
            [],
        )
        .expect("inserts");
    for error in [
        ledger.migrate().await.expect_err("newer"),
        SqliteLedger::open_or_create(dir.path())
            .await
            .err()
            .expect("newer"),
    ] {
        assert!(
            matches!(
                error,
                StoreError::NewerSchema {
                    found: 999,
                    newest: 3
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("version 999"), "{error}");
    }
}

#[tokio::test]
async fn a_ledger_of_another_build_is_refused() {
    let (dir, _ledger) = fresh().await;
    by_hand(&dir)
        .execute("UPDATE schema_migrations SET checksum = zeroblob(32)", [])
        .expect("updates");
    let error = SqliteLedger::open_existing(dir.path())
        .await
        .err()
        .expect("another build");
    assert!(
        matches!(error, StoreError::ForeignMigration { version: 1 }),
        "{error}"
    );
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    by_hand(&dir)
        .execute_batch("CREATE TABLE recipes (name TEXT)")
        .expect("another program's database");
    let error = SqliteLedger::open_or_create(dir.path())
        .await
        .err()
        .expect("refused");
    assert!(matches!(error, StoreError::NotALedger), "{error}");
    let tables: u32 = by_hand(&dir)
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .expect("counts");
    assert_eq!(tables, 1);

    let dir = tempfile::tempdir().expect("a temporary directory");
    let text = "this is no database at all ".repeat(100);
    fs::write(dir.path().join(LEDGER_FILE), &text).expect("writes");
    let error = SqliteLedger::open_or_create(dir.path())
        .await
        .err()
        .expect("refused");
    assert!(matches!(error, StoreError::NotALedger), "{error}");
    assert_eq!(
        fs::read_to_string(dir.path().join(LEDGER_FILE)).expect("reads"),
        text
    );
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_a_panic() {
    let (dir, ledger) = fresh().await;
    account(&ledger, "acme").await;
    drop(ledger);
    let path = dir.path().join(LEDGER_FILE);
    let mut bytes = fs::read(&path).expect("reads");
    for (i, byte) in bytes.iter_mut().enumerate().skip(4_096) {
        *byte = byte.wrapping_add(i as u8 | 1);
    }
    fs::write(&path, bytes).expect("writes");
    let error = match SqliteLedger::open_existing(dir.path()).await {
        Err(error) => error,
        Ok(ledger) => ledger.list_accounts().await.expect_err("damaged"),
    };
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn the_files_are_for_their_owner_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("deep/data");
    let ledger = SqliteLedger::open_or_create(&data).await.expect("opens");
    account(&ledger, "acme").await;
    let mode = |path: &Path| fs::metadata(path).expect("exists").permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in [LEDGER_FILE, "ledger.db-wal", "ledger.db-shm"] {
        assert_eq!(mode(&data.join(file)), 0o600, "{file}");
    }
}

#[tokio::test]
async fn commits_are_made_to_last() {
    let (_dir, ledger) = fresh().await;
    let writer = ledger.connections.writer.lock();
    let pragma = |name| -> i64 {
        writer
            .pragma_query_value(None, name, |row| row.get(0))
            .expect("reads")
    };
    assert_eq!((pragma("synchronous"), pragma("foreign_keys")), (2, 1));
    let mode: String = writer
        .pragma_query_value(None, "journal_mode", |row| row.get(0))
        .expect("reads");
    assert_eq!(mode, "wal");
}

#[tokio::test]
async fn many_first_openers_make_one_ledger() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let open = || {
            let path = dir.path().to_owned();
            tokio::spawn(async move {
                let ledger = SqliteLedger::open_or_create(&path).await?;
                ledger.migration_status().await
            })
        };
        let openers: Vec<_> = (0..8).map(|_| open()).collect();
        for opener in openers {
            assert!(opener.await.expect("ends").expect("opens").is_current());
        }
        let applied: u32 = by_hand(&dir)
            .query_row("SELECT count(*) FROM schema_migrations", [], |row| row.get(0))
            .expect("counts");
        let newest = SqliteLedger::open_existing(dir.path()).await.expect("opens");
        let newest = newest.migration_status().await.expect("status").newest;
        assert_eq!(applied, newest, "each migration once");
    }
}

#[tokio::test]
async fn a_server_sees_what_a_command_changes() {
    let (dir, server) = fresh().await;
    let command = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    let acme = account(&command, "acme").await;
    let key_id = command
        .create_key(new_key(acme.id, 1))
        .await
        .expect("makes")
        .key_id;
    let stamp = server.change_stamp().await.expect("stamp");
    let loaded = server.load_keys(None, 10).await.expect("loads");
    assert!(loaded.keys[0].is_usable(0));

    command.revoke_key(key_id, 1).await.expect("revokes");
    assert_ne!(
        server.change_stamp().await.expect("stamp"),
        stamp,
        "the next poll sees it"
    );
    assert!(!server.load_keys(None, 1_000_000).await.expect("loads").keys[0].is_usable(0));
}

#[tokio::test]
async fn two_handles_flush_side_by_side_without_losing_a_row() {
    let (dir, first) = fresh().await;
    let second = SqliteLedger::open_existing(dir.path()).await.expect("opens");
    let flushers: Vec<_> = [first.clone(), second]
        .into_iter()
        .enumerate()
        .map(|(shard, ledger)| {
            tokio::spawn(async move {
                for sequence in 0..50 {
                    let id = FlushId {
                        shard: shard as u32,
                        ..flush_id(sequence)
                    };
                    ledger
                        .flush_usage(&id, &[usage_row(1, 3)], &[symbol_row(1, 2)])
                        .await
                        .expect("flushes");
                }
            })
        })
        .collect();
    for flusher in flushers {
        flusher.await.expect("ends");
    }
    let total = first.usage_total(KeyId(1)).await.expect("reads");
    assert_eq!((total.requests, total.entries), (300, 200));
}

#[tokio::test]
async fn a_held_write_lock_stops_no_reader_and_is_named_to_writers() {
    let (dir, ledger) = fresh().await;
    ledger
        .connections
        .writer
        .lock()
        .busy_timeout(Duration::from_millis(20))
        .expect("sets");
    let holder = by_hand(&dir);
    holder.execute_batch("BEGIN IMMEDIATE").expect("locks");
    ledger.load_keys(None, 1_000_000).await.expect("readers go on");
    let error = ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 1)], &[])
        .await
        .expect_err("locked");
    assert!(matches!(error, StoreError::Locked), "{error}");
    holder.execute_batch("ROLLBACK").expect("unlocks");
    let outcome = ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 1)], &[])
        .await
        .expect("flushes");
    assert_eq!(outcome, FlushOutcome::Applied);
}

#[tokio::test]
async fn a_full_disk_is_named_and_nothing_is_half_written() {
    let (_dir, ledger) = fresh().await;
    let rows: Vec<_> = (0..5_000)
        .map(|i| UsageRow {
            second: i,
            ..usage_row(1, 1)
        })
        .collect();
    let limit = |pages: i64| {
        let writer = ledger.connections.writer.lock();
        let pages = if pages > 0 {
            pages
        } else {
            writer
                .pragma_query_value(None, "page_count", |r| r.get(0))
                .expect("reads")
        };
        writer
            .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
            .expect("sets");
    };
    limit(0);
    let error = ledger
        .flush_usage(&flush_id(1), &rows, &[])
        .await
        .expect_err("full");
    assert!(matches!(error, StoreError::DiskFull), "{error}");
    assert_eq!(ledger.usage_total(KeyId(1)).await.expect("reads").requests, 0);
    limit(1_000_000);
    let outcome = ledger
        .flush_usage(&flush_id(1), &rows, &[])
        .await
        .expect("flushes");
    assert_eq!(outcome, FlushOutcome::Applied);
    assert_eq!(ledger.usage_total(KeyId(1)).await.expect("reads").requests, 5_000);
}

/// What a machine would find after losing its power now: the files as they lie, without the
/// shared memory of living processes.
async fn after_power_loss(dir: &TempDir) -> (TempDir, SqliteLedger) {
    let copy = tempfile::tempdir().expect("a temporary directory");
    for file in [LEDGER_FILE, "ledger.db-wal"] {
        fs::copy(dir.path().join(file), copy.path().join(file)).expect("copies");
    }
    let ledger = SqliteLedger::open_existing(copy.path()).await.expect("recovers");
    (copy, ledger)
}

#[tokio::test]
async fn a_crash_within_a_flush_leaves_nothing_and_its_retry_counts_once() {
    let (dir, ledger) = fresh().await;
    ledger
        .flush_usage(&flush_id(0), &[usage_row(1, 7)], &[])
        .await
        .expect("flushes");
    let rows: Vec<_> = (0..5_000)
        .map(|i| UsageRow {
            second: i,
            ..usage_row(1, 1)
        })
        .collect();
    let symbols = [symbol_row(1, 3)];
    let crashed = {
        let mut writer = ledger.connections.writer.lock();
        // A tiny cache, so that much of the open transaction is in the log already.
        writer.pragma_update(None, "cache_size", 10).expect("sets");
        let log = dir.path().join("ledger.db-wal");
        let before = fs::metadata(&log).expect("exists").len();
        let transaction = writer
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .expect("begins");
        usage::flush(&transaction, &flush_id(1), &rows, &symbols).expect("applies");
        assert!(
            fs::metadata(&log).expect("exists").len() > before,
            "pages were spilled"
        );
        let copy = tempfile::tempdir().expect("a temporary directory");
        for file in [LEDGER_FILE, "ledger.db-wal"] {
            fs::copy(dir.path().join(file), copy.path().join(file)).expect("copies");
        }
        // The transaction is dropped here without a commit: the process survives, the flush fails.
        copy
    };
    let recovered = SqliteLedger::open_existing(crashed.path())
        .await
        .expect("recovers");
    for survivor in [&ledger, &recovered] {
        assert_eq!(survivor.usage_total(KeyId(1)).await.expect("reads").requests, 7);
        let retry = survivor
            .flush_usage(&flush_id(1), &rows, &symbols)
            .await
            .expect("flushes");
        assert_eq!(retry, FlushOutcome::Applied);
        let total = survivor.usage_total(KeyId(1)).await.expect("reads");
        assert_eq!((total.requests, total.entries), (5_007, 3));
    }
}

#[tokio::test]
async fn a_crash_after_a_flush_loses_nothing_and_its_retry_changes_nothing() {
    let (dir, ledger) = fresh().await;
    let (usage, symbols) = ([usage_row(1, 9)], [symbol_row(1, 3)]);
    ledger
        .flush_usage(&flush_id(1), &usage, &symbols)
        .await
        .expect("flushes");
    let (_copy, recovered) = after_power_loss(&dir).await;
    let retry = recovered
        .flush_usage(&flush_id(1), &usage, &symbols)
        .await
        .expect("flushes");
    assert_eq!(retry, FlushOutcome::AlreadyApplied);
    assert_eq!(recovered.usage_total(KeyId(1)).await.expect("reads").requests, 9);
}

#[tokio::test]
async fn sql_that_breaks_the_rules_is_refused() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    ledger.create_key(new_key(acme.id, 1)).await.expect("makes");
    ledger.revoke_key(KeyId(1), 5).await.expect("revokes");
    let sql = by_hand(&dir);
    let refused = [
        "INSERT INTO tiers (name) VALUES ('Gold')",
        "INSERT INTO tiers (name) VALUES ('')",
        "INSERT INTO tiers (name, requests_per_month) VALUES ('x', 0)",
        "INSERT INTO tiers (name, requests_per_month) VALUES ('x', -1)",
        "INSERT INTO tiers (name, requests_per_month) VALUES ('x', 1000000000000001)",
        "INSERT INTO tiers (name, requests_per_second) VALUES ('x', 1)",
        "INSERT INTO tiers (name, burst) VALUES ('x', 1)",
        "INSERT INTO tiers (name, requests_per_second, burst) VALUES ('x', 0, 1)",
        "INSERT INTO tiers (name, requests_per_second, burst) VALUES ('x', 1, 1000000001)",
        "INSERT INTO tiers (name, requests_per_second, burst) VALUES ('x', 1.5, 1)",
        "INSERT INTO tiers (name, reports_per_month) VALUES ('x', 'many')",
        "DELETE FROM tiers WHERE name = 'pro'",
        "UPDATE tiers SET requests_per_second = -5 WHERE name = 'pro'",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('x', 'gold', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('acme', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES (' x', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('17', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('x' || char(10) || 'y', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('x' || char(127), 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('x' || char(0) || 'y', 'pro', 1)",
        "INSERT INTO accounts (name, tier, created_at_ns) VALUES ('x', 'pro', -1)",
        "INSERT INTO accounts (name, tier, created_at_ns, disabled) VALUES ('x', 'pro', 1, 2)",
        "INSERT INTO accounts (id, name, tier, created_at_ns) VALUES (-1, 'x', 'pro', 1)",
        "DELETE FROM accounts",
        "UPDATE accounts SET tier = 'gold'",
        "INSERT INTO subscriptions (account_id, tier, starts_at_ns) VALUES (1, 'pro', 1)",
        "INSERT INTO subscriptions (account_id, tier, starts_at_ns, ends_at_ns) VALUES (1, 'pro', 2, 1)",
        "INSERT INTO subscriptions (account_id, tier, starts_at_ns, ends_at_ns) VALUES (9, 'pro', 1, 2)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (0, 1, 'x', randomblob(32), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (-2, 1, 'x', randomblob(32), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (2, 9, 'x', randomblob(32), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (2, 1, '', randomblob(32), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (2, 1, 'x', randomblob(31), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) VALUES (2, 1, 'x', hex(randomblob(16)), 1)",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns) SELECT 2, 1, 'x', verifier, 1 FROM api_keys",
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, expires_at_ns) VALUES (2, 1, 'x', randomblob(32), 5, -5)",
        "DELETE FROM api_keys",
        "UPDATE api_keys SET revoked_at_ns = NULL",
        "UPDATE api_keys SET revoked_at_ns = 6",
        "UPDATE api_keys SET verifier = randomblob(32)",
        "UPDATE api_keys SET key_id = 77",
        "INSERT INTO parameters (name, value, updated_at_ns) VALUES ('A', '1', 1)",
        "INSERT INTO parameters (name, value, updated_at_ns) VALUES ('a', NULL, 1)",
        "INSERT INTO usage VALUES (-1, 1, 1, 0, 1, 0, 0)",
        "INSERT INTO usage VALUES (1, -1, 1, 0, 1, 0, 0)",
        "INSERT INTO usage VALUES (1, 253402300800, 1, 0, 1, 0, 0)",
        "INSERT INTO usage VALUES (1, 1, 3, 0, 1, 0, 0)",
        "INSERT INTO usage VALUES (1, 1, 1, 65536, 1, 0, 0)",
        "INSERT INTO usage VALUES (1, 1, 1, 0, 0, 0, 0)",
        "INSERT INTO usage VALUES (1, 1, 1, 0, 9e18 + 9e18, 0, 0)",
        "INSERT INTO usage VALUES (1, 1, 1, 0, 1, -1, 0)",
        "INSERT INTO usage_symbols VALUES (1, '', 1, 0, 1)",
        "INSERT INTO usage_symbols VALUES (1, 'SEVENTEEN-LETTERS', 1, 0, 1)",
        "INSERT INTO usage_symbols VALUES (1, 'BTC USD', 1, 0, 1)",
        "INSERT INTO usage_symbols VALUES (1, 'BTC', 1, 256, 1)",
        "INSERT INTO usage_symbols VALUES (1, 'BTC', 1, 0, 0)",
        "INSERT INTO flushes VALUES ('', 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
        "INSERT INTO flushes VALUES ('a', 1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
        "INSERT INTO flushes VALUES ('a', 1, 1, -1, 1, 1, 1, 1, 1, 1, 1, 1, 1)",
        "INSERT INTO flushes VALUES ('a', 1, 1, 1, 1, 1, 2, 1, 1, 1, 1, 1, 1)",
        "INSERT INTO usage_minutes VALUES (1, 61, 1, 0, 1, 0, 0)",
        "INSERT INTO usage_hours VALUES (1, 60, 1, 0, 'a', 1, 0, 0)",
        "INSERT INTO usage_days VALUES (1, 3600, 1, 0, 'a', 1, 0, 0)",
        "INSERT INTO usage_days VALUES (1, 86400, 1, 0, NULL, 1, 0, 0)",
        "INSERT INTO usage_days VALUES (1, 86400, 1, 0, 'a', 0, 0, 0)",
        "INSERT INTO usage_months VALUES (1, 86400, 1, 1)",
        "INSERT INTO usage_months VALUES (1, 0, 1, 2)",
        "INSERT INTO usage_symbols_hours VALUES (1, 'BTC', 60, 0, 1)",
        "INSERT INTO usage_symbols_days VALUES (1, 'BTC', 3600, 0, 1)",
        "UPDATE usage_kept SET from_second = 5",
        "INSERT INTO usage_kept (id, from_second) VALUES (2, 0)",
        "UPDATE api_keys SET requests_per_month = 0",
        "UPDATE api_keys SET requests_per_month = -2",
        "UPDATE api_keys SET requests_per_second = 1",
        "UPDATE api_keys SET requests_per_second = 1, burst = -1",
        "UPDATE api_keys SET requests_per_second = -1, burst = 1",
        "UPDATE api_keys SET requests_per_second = 0, burst = 1",
        "UPDATE api_keys SET reports_per_month = 0",
        "UPDATE api_keys SET allow_udp = 0, allow_http = 0",
        "UPDATE api_keys SET allow_udp = 2",
        "UPDATE api_keys SET allowed_networks = 'any'",
        "UPDATE api_keys SET allowed_networks = '10.0.0.0/8,'",
        "UPDATE api_keys SET allowed_networks = '10.0.0.0/8, ::/0'",
        "UPDATE api_keys SET allowed_networks = '1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17'",
        "UPDATE api_keys SET allowed_networks = NULL",
        "UPDATE api_keys SET scope = 'admin'",
        "UPDATE api_keys SET replaces = key_id",
        "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES (9, 0, 'usage', 'csv', 1)",
        "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES (1, 5, 'usage', 'csv', 1)",
        "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES (1, 0, 'Usage', 'csv', 1)",
        "INSERT INTO report_log (key_id, month, kind, format, at_ns) VALUES (1, 0, 'usage', '', 1)",
        "INSERT INTO revision (id, value) VALUES (2, 1)",
    ];
    for statement in refused {
        let error = sql.execute(statement, []).expect_err(statement);
        assert_eq!(
            error.sqlite_error_code(),
            Some(ErrorCode::ConstraintViolation),
            "{statement}: {error}"
        );
    }
}

#[tokio::test]
async fn a_change_by_hand_reaches_servers_and_a_tier_change_is_on_record() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    ledger.create_key(new_key(acme.id, 1)).await.expect("makes");
    ledger.set_parameter("a", "1", 1).await.expect("sets");
    let sql = by_hand(&dir);
    let mut stamp = ledger.change_stamp().await.expect("stamp");
    for statement in [
        "UPDATE tiers SET requests_per_second = 11 WHERE name = 'pro'",
        "INSERT INTO tiers (name) VALUES ('new')",
        "DELETE FROM tiers WHERE name = 'new'",
        "UPDATE accounts SET tier = 'free'",
        "UPDATE accounts SET disabled = 1",
        "UPDATE api_keys SET expires_at_ns = 9000000000000000000",
        "UPDATE parameters SET value = '2'",
        "DELETE FROM parameters",
        "UPDATE subscriptions SET starts_at_ns = starts_at_ns - 1",
    ] {
        assert!(sql.execute(statement, []).expect(statement) > 0, "{statement}");
        let now = ledger.change_stamp().await.expect("stamp");
        assert_ne!(std::mem::replace(&mut stamp, now), now, "{statement}");
    }
    let key = &ledger.load_keys(None, 1_000_000).await.expect("loads").keys[0];
    assert_eq!(
        (key.refused, key.limits.requests_per_second),
        (true, Some(1)),
        "disabled, and free now"
    );
    let history: Vec<(String, bool)> = sql
        .prepare("SELECT tier, ends_at_ns IS NULL FROM subscriptions ORDER BY starts_at_ns")
        .expect("prepares")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("queries")
        .collect::<rusqlite::Result<_>>()
        .expect("reads");
    assert_eq!(history, [("pro".to_owned(), false), ("free".to_owned(), true)]);
}

#[tokio::test]
async fn a_secret_is_in_no_file_and_in_no_debug_form() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    let secret: [u8; 32] = std::array::from_fn(|i| 0xA5 ^ (i as u8).wrapping_mul(29));
    let key = ApiKey::from_parts(77, secret).expect("in range");
    let new = NewKey {
        key_id: key.key_id(),
        verifier: key.verifier(),
        ..new_key(acme.id, 77)
    };
    let shown = format!("{new:?}");
    let record = ledger.create_key(new).await.expect("makes");
    let shown = format!(
        "{shown} {record:?} {:?}",
        ledger.load_keys(None, 1_000_000).await.expect("loads")
    );

    let text = key.expose();
    let secret_text = text.as_str().rsplit('_').next().expect("a part").as_bytes();
    let mut files: Vec<(String, Vec<u8>)> = vec![("Debug".to_owned(), shown.clone().into_bytes())];
    for entry in fs::read_dir(dir.path()).expect("lists") {
        let path = entry.expect("an entry").path();
        files.push((path.display().to_string(), fs::read(&path).expect("reads")));
    }
    assert!(files.len() >= 3, "the ledger and its log");
    let contains = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    for (name, bytes) in &files {
        assert!(!contains(bytes, &secret[..8]), "{name} holds the secret");
        assert!(
            !contains(bytes, &secret_text[..12]),
            "{name} holds the secret's text"
        );
    }
    let verifier = key.verifier();
    assert!(
        files[1..]
            .iter()
            .any(|(_, bytes)| contains(bytes, verifier.as_bytes())),
        "the search finds what is there"
    );
    let numbers = format!("{}, {}", verifier.as_bytes()[0], verifier.as_bytes()[1]);
    assert!(!shown.contains(&numbers), "nor does Debug show the verifier");
}

#[tokio::test]
async fn symbols_written_by_hand_are_held_to_the_same_line() {
    let (dir, ledger) = fresh().await;
    ledger
        .seed_symbols(&[definition("A"), definition("B")], 1)
        .await
        .expect("seeds");
    let sql = by_hand(&dir);
    let row = |fields: &str, values: &str| {
        format!(
            "INSERT INTO symbols (name, base, quote, exponent, tick{fields}) \
             VALUES ('C-USD', 'C', 'USD', -8, '0.01'{values})"
        )
    };
    for refused in [
        row(", id", ", 1"),
        row(", min_sources", ", 0"),
        row(", max_age_ms, hard_age_ms", ", 2, 1"),
        row(", jump_bps", ", 0"),
        row(", peg_bps", ", 0"),
        row(", streamed", ", 2"),
        row(", origin", ", 'me'"),
        row(", routes", ", 'usdt-usd'"),
        row(", routes", ", 'USDT-USD,'"),
        row(", routes", ", 'USDT-USD, USDC-USD'"),
        "VALUES ('c', 'C', 'USD', -8, '1')".into(),
        "VALUES ('C', 'C', 'C', -8, '1')".into(),
        "VALUES ('C', 'C', 'USD', 1, '1')".into(),
        "VALUES ('C', 'C', 'USD', -8, '0.00')".into(),
        "VALUES ('C', 'C', 'USD', -8, '1e-4')".into(),
        "VALUES ('A-USD', 'A', 'USD', -8, '1')".into(),
        "DELETE FROM symbols WHERE name = 'A-USD'".into(),
        "UPDATE symbols SET name = 'AA-USD' WHERE name = 'A-USD'".into(),
        "UPDATE symbols SET base = 'AA' WHERE name = 'A-USD'".into(),
        "UPDATE symbols SET id = 99 WHERE name = 'A-USD'".into(),
        "UPDATE symbols SET retired_at_ns = -1 WHERE name = 'A-USD'".into(),
        "INSERT INTO symbol_aliases (alias, symbol_id) VALUES ('A', 2)".into(),
        "INSERT INTO symbol_aliases (alias, symbol_id) VALUES ('aa', 1)".into(),
        "INSERT INTO symbol_aliases (alias, symbol_id) VALUES ('AA@', 1)".into(),
        "INSERT INTO symbol_aliases (alias, symbol_id) VALUES ('AA', 77)".into(),
        "INSERT INTO symbol_aliases (alias, symbol_id, until_ns) VALUES ('AA', 1, 0)".into(),
        "MARKET VALUES (1, 'kraken', 'X')".into(),
        "MARKET VALUES (1, 'Gate', 'X')".into(),
        "MARKET VALUES (1, 'gate', '')".into(),
        "MARKET VALUES (1, 'gate', 'X,,Y')".into(),
        "MARKET VALUES (1, 'gate', 'X Y')".into(),
        "MARKET VALUES (1, 'gate', 'X*1e-3')".into(),
        "INSERT INTO symbol_markets VALUES (1, 'gate', 'X', 19)".into(),
    ] {
        let refused = if refused.starts_with("VALUES") {
            format!("INSERT INTO symbols (name, base, quote, exponent, tick) {refused}")
        } else {
            refused.replace(
                "MARKET",
                "INSERT INTO symbol_markets (symbol_id, venue, spellings)",
            )
        };
        sql.execute_batch(&refused).expect_err(&refused);
    }
    let untouched = ledger.list_symbols().await.expect("lists");
    assert!(
        untouched
            .iter()
            .all(|record| record.origin == SymbolOrigin::Builtin)
    );
    assert_eq!(untouched.len(), 2);
    sql.execute_batch(&row(", routes", ", 'USDT-USD,USDC-USD'"))
        .expect("a good row");
    let made = ledger.list_symbols().await.expect("lists").remove(2);
    assert_eq!((made.id, made.origin), (3, SymbolOrigin::Operator));
    assert_eq!(made.definition.routes.len(), 2);
    assert!(made.updated_at_ns > 0);
}

#[tokio::test]
async fn what_is_changed_by_hand_is_the_operators_from_then_on() {
    for change in [
        "UPDATE symbols SET min_sources = 1 WHERE id = 1",
        "INSERT INTO symbol_aliases (alias, symbol_id) VALUES ('AA', 1)",
        "UPDATE symbol_aliases SET until_ns = 5 WHERE symbol_id = 1",
        "DELETE FROM symbol_aliases WHERE symbol_id = 1",
        "INSERT INTO symbol_markets (symbol_id, venue, spellings) VALUES (1, 'gate', 'X')",
        "UPDATE symbol_markets SET spellings = 'X' WHERE symbol_id = 1 AND venue = 'kraken'",
        "DELETE FROM symbol_markets WHERE symbol_id = 1",
    ] {
        let (dir, ledger) = fresh().await;
        let mut own = [definition("A"), definition("B")];
        ledger.seed_symbols(&own, 1).await.expect("seeds");
        let before = ledger.change_stamp().await.expect("stamp");
        by_hand(&dir).execute_batch(change).expect(change);
        assert_ne!(ledger.change_stamp().await.expect("stamp"), before, "{change}");
        let touched = ledger.list_symbols().await.expect("lists");
        let origins: Vec<_> = touched.iter().map(|record| record.origin).collect();
        assert_eq!(
            origins,
            [SymbolOrigin::Operator, SymbolOrigin::Builtin],
            "{change}"
        );
        for definition in &mut own {
            definition.tick = "0.5".into();
        }
        assert_eq!(ledger.seed_symbols(&own, 2).await.expect("seeds"), 1, "{change}");
        assert_eq!(
            ledger.list_symbols().await.expect("lists")[0],
            touched[0],
            "{change}"
        );
    }
}

#[tokio::test]
async fn a_key_whose_networks_mean_nothing_is_refused_and_reported_and_can_be_put_right() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    for id in [1, 2, 3, 4] {
        ledger.create_key(new_key(acme.id, id)).await.expect("makes");
    }
    by_hand(&dir)
        .execute_batch(
            "UPDATE api_keys SET allowed_networks = '10.0.0.0/33' WHERE key_id = 2;
             UPDATE api_keys SET allowed_networks = '10.0.0.1/8', scope = 'operator' WHERE key_id = 4;",
        )
        .expect("past what the schema can check");
    let since = ChangeStamp(0);
    for limit in [1, 2, 3, 10] {
        let (mut usable, mut unusable, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = ledger.load_keys(after, limit).await.expect("loads");
            let changed = ledger
                .load_changed_keys(since, after, limit)
                .await
                .expect("loads");
            assert_eq!((&page.keys, &page.unusable), (&changed.keys, &changed.unusable));
            usable.extend(page.keys.iter().map(|key| key.key_id.0));
            unusable.extend(page.unusable.iter().map(|key| key.key_id.0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!((usable, unusable), (vec![1, 3], vec![2, 4]), "{limit} at a time");
    }
    let page = ledger.load_keys(None, 10).await.expect("loads");
    assert!(
        page.unusable[0].why.contains("10.0.0.0/33"),
        "{:?}",
        page.unusable
    );
    assert!(
        page.unusable[1].why.contains("10.0.0.0/8 has none"),
        "{:?}",
        page.unusable
    );

    // People see it among the others; a change of something else leaves it as it is.
    let listed = ledger.list_keys(None).await.expect("lists");
    let states: Vec<_> = listed.iter().map(|key| key.state(0)).collect();
    let (active, unusable) = (KeyStatus::Active, KeyStatus::Unusable);
    assert_eq!(states, [active, unusable, active, unusable]);
    let rename = KeyPatch {
        name: Some("x".to_owned()),
        ..KeyPatch::default()
    };
    let renamed = ledger.change_key(KeyId(4), &rename).await.expect("changes");
    assert_eq!((renamed.name.as_str(), renamed.state(0)), ("x", unusable));
    assert_eq!(renamed.settings.scope, Scope::Operator);
    let error = rotate_key(&ledger, KeyId(4), 1, None, 2)
        .await
        .expect_err("unusable");
    assert!(error.to_string().contains("keys set"), "{error}");
    for networks in [Vec::new(), vec!["10.0.0.0/8".parse().expect("a network")]] {
        let right = KeyPatch {
            networks: Some(networks.clone()),
            ..KeyPatch::default()
        };
        let key_id = KeyId(if networks.is_empty() { 2 } else { 4 });
        let key = ledger.change_key(key_id, &right).await.expect("changes");
        assert_eq!((key.state(0), key.settings.networks), (active, networks));
    }
    assert!(
        ledger
            .load_keys(None, 10)
            .await
            .expect("loads")
            .unusable
            .is_empty()
    );
}

#[tokio::test]
async fn a_change_by_hand_is_stamped_once_with_recursive_triggers_as_well() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    for id in [1, 2] {
        ledger.create_key(new_key(acme.id, id)).await.expect("makes");
    }
    let sql = by_hand(&dir);
    for recursive in [false, true] {
        sql.pragma_update(None, "recursive_triggers", recursive)
            .expect("sets");
        for (statement, ids) in [
            ("UPDATE api_keys SET name = 'x' WHERE key_id = 2", vec![2]),
            ("UPDATE accounts SET disabled = 1 - disabled", vec![1, 2]),
            (
                "UPDATE tiers SET burst = burst + 1 WHERE name = 'pro'",
                vec![1, 2],
            ),
            ("UPDATE tiers SET burst = burst + 1 WHERE name = 'free'", vec![]),
        ] {
            let before = ledger.change_stamp().await.expect("stamp");
            sql.execute_batch(statement).expect(statement);
            let after = ledger.change_stamp().await.expect("stamp");
            assert_eq!(after.0, before.0 + 1, "{statement}");
            let page = ledger.load_changed_keys(before, None, 10).await.expect("loads");
            let changed: Vec<_> = page.keys.iter().map(|key| key.key_id.0).collect();
            assert_eq!(changed, ids, "{statement}");
        }
    }
}
