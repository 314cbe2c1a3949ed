//! What somebody writes with SQL of their own.

use super::*;

#[tokio::test]
async fn sql_that_breaks_the_rules_is_refused() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    ledger.create_key(new_key(acme.id, 1)).await.expect("makes");
    ledger.revoke_key(KeyId(1), 5).await.expect("revokes");
    let sql = sql_on(&dir);
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
    let sql = sql_on(&dir);
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
async fn a_change_by_hand_is_stamped_once_with_recursive_triggers_as_well() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    for id in [1, 2] {
        ledger.create_key(new_key(acme.id, id)).await.expect("makes");
    }
    let sql = sql_on(&dir);
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

#[tokio::test]
async fn symbols_written_by_hand_are_held_to_the_same_line() {
    let (dir, ledger) = fresh().await;
    ledger
        .seed_symbols(&[definition("A"), definition("B")], 1)
        .await
        .expect("seeds");
    let sql = sql_on(&dir);
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
        sql_on(&dir).execute_batch(change).expect(change);
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
