//! Usage that somebody has tampered with, and old seconds that are too many to drop at once.

use super::*;
use crate::store::{Discrepancy, MAX_DISCREPANCIES};

/// Two days of two keys, over UDP and HTTP, flushed.
async fn flushed() -> (TempDir, SqliteLedger) {
    let (dir, ledger) = fresh().await;
    let rows: Vec<_> = (0..8)
        .map(|i| UsageRow {
            key_id: KeyId(1 + i % 2),
            second: 86_400 * (1 + i / 4) + 7,
            outcome: if i % 4 == 3 { 6 } else { 0 },
            ..usage_row(1, 1 + i)
        })
        .collect();
    ledger
        .flush_usage(&flush_id(1), &rows, &[symbol_row(1, 5)])
        .await
        .expect("flushes");
    assert_eq!(ledger.audit().await.expect("audits").discrepancies, []);
    (dir, ledger)
}

fn differs(
    table: &'static str,
    against: &'static str,
    key: Option<u64>,
    start: Option<u64>,
    expected: u64,
    found: u64,
) -> Discrepancy {
    Discrepancy {
        table,
        against,
        key_id: key.map(KeyId),
        start,
        expected,
        found,
    }
}

#[tokio::test]
async fn an_audit_says_where_a_table_was_tampered_with() {
    let day = 86_400;
    let at =
        |table, key, start, expected, found| differs(table, "usage", Some(key), Some(start), expected, found);
    let month = |expected, found| differs("usage_months", "usage_days", Some(1), Some(0), expected, found);
    let all = |expected, found| differs("flushes", "usage_days", None, None, expected, found);
    for (tampering, expected) in [
        (
            "UPDATE usage_minutes SET count = count + 1 WHERE key_id = 1 AND start = 86400",
            vec![at("usage_minutes", 1, day, 4, 5)],
        ),
        (
            "DELETE FROM usage_hours WHERE key_id = 2 AND start = 86400 AND outcome = 6",
            vec![at("usage_hours", 2, day, 4, 0)],
        ),
        (
            // Charged requests made free: the total is as it was.
            "UPDATE usage_hours SET outcome = 1 WHERE key_id = 1 AND start = 172800",
            vec![
                at("usage_hours", 1, 2 * day, 12, 0),
                at("usage_hours", 1, 2 * day, 0, 12),
            ],
        ),
        (
            "INSERT INTO usage_minutes VALUES (9, 86400, 1, 0, 3, 0, 0)",
            vec![at("usage_minutes", 9, day, 0, 3)],
        ),
        (
            "UPDATE usage_days SET count = count - 1 WHERE key_id = 1 AND start = 86400",
            vec![
                all(35, 36),
                at("usage_days", 1, day, 4, 3),
                month(15, 16),
                month(15, 16),
            ],
        ),
        (
            "UPDATE usage_months SET charged = 1 WHERE key_id = 1",
            vec![month(16, 1)],
        ),
        (
            "UPDATE usage_months SET requests = 17 WHERE key_id = 1",
            vec![month(16, 17)],
        ),
        ("UPDATE flushes SET total_requests = 37", vec![all(36, 37)]),
        (
            "UPDATE usage_symbols_days SET entries = 4",
            vec![differs("flushes", "usage_symbols_days", None, None, 4, 5)],
        ),
    ] {
        let (dir, ledger) = flushed().await;
        by_hand(&dir).execute_batch(tampering).expect(tampering);
        let audit = ledger.audit().await.expect("audits");
        assert_eq!(audit.discrepancies, expected, "{tampering}");
    }

    // Lost seconds show in every sum of them.
    let (dir, ledger) = flushed().await;
    by_hand(&dir)
        .execute_batch("DELETE FROM usage WHERE key_id = 2 AND second > 172800")
        .expect("deletes");
    let audit = ledger.audit().await.expect("audits");
    let tables: Vec<_> = audit
        .discrepancies
        .iter()
        .map(|d| (d.table, d.expected, d.found))
        .collect();
    let lost = |table| [(table, 0, 6), (table, 0, 8)];
    assert_eq!(
        tables,
        [lost("usage_minutes"), lost("usage_hours"), lost("usage_days")].concat()
    );
}

#[tokio::test]
async fn an_audit_lists_no_more_than_it_promises() {
    let (dir, ledger) = fresh().await;
    by_hand(&dir)
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
             INSERT INTO usage SELECT i, 60 * i, 1, 0, 1, 0, 0 FROM n",
        )
        .expect("seconds without sums");
    let audit = ledger.audit().await.expect("audits");
    assert_eq!(audit.discrepancies.len(), MAX_DISCREPANCIES);
    assert_eq!((audit.requests_in_seconds, audit.requests_in_days), (2_001, 0));
}

#[tokio::test]
async fn too_many_old_seconds_go_in_steps_and_never_look_like_a_difference() {
    let (_dir, ledger) = fresh().await;
    let rows: Vec<_> = (0..120_000)
        .map(|i| UsageRow {
            key_id: KeyId(i % 3),
            second: i / 3,
            ..usage_row(1, 1)
        })
        .collect();
    ledger
        .flush_usage(&flush_id(1), &rows, &[])
        .await
        .expect("flushes");
    let mut left = rows.len();
    let mut steps = 0;
    while ledger.tend_usage(100 * 86_400, 93).await.expect("tends").dropped > 0 {
        let now = ledger
            .usage_sums(Grain::Second, 0, u64::MAX, None)
            .await
            .expect("reads")
            .len();
        assert!(now < left && left - now <= 50_000, "{left} to {now}");
        left = now;
        steps += 1;
        let audit = ledger.audit().await.expect("audits");
        assert_eq!((audit.discrepancies, audit.seconds_kept_from), (vec![], None));
    }
    assert_eq!((left, steps), (0, 3));
    let total = ledger.usage_total(KeyId(0)).await.expect("reads");
    assert_eq!(total.requests, 40_000);
}
