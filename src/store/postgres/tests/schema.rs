//! The schema: who may migrate what, and what hand-written SQL gets.

use super::*;

#[tokio::test]
async fn many_nodes_that_start_at_once_migrate_once() {
    let server = Postgres::start();
    let nodes = (0..6).map(|_| {
        let settings = settings(&server.url());
        tokio::spawn(PostgresLedger::open_or_create(settings))
    });
    for node in futures_util::future::join_all(nodes).await {
        let ledger = node.expect("no panic").expect("opens");
        assert!(ledger.migration_status().await.expect("status").is_current());
    }
    let applied = server
        .sql("SELECT count(*) = max(version) FROM schema_migrations")
        .expect("asked");
    assert_eq!(applied, "t");
}

#[tokio::test]
async fn an_empty_database_is_no_ledger_to_look_into_and_looking_makes_nothing() {
    let server = Postgres::start();
    let error = PostgresLedger::open_existing(settings(&server.url()))
        .await
        .err()
        .expect("is empty");
    assert!(matches!(error, StoreError::NotMigrated), "{error}");
    assert!(error.to_string().contains("migrate up"), "{error}");
    let as_it_is = PostgresLedger::new(settings(&server.url()));
    assert_eq!(as_it_is.migration_status().await.expect("status").current, 0);
    let error = as_it_is.tiers().await.expect_err("no tables");
    assert!(matches!(error, StoreError::NotMigrated), "{error}");
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            .expect("asked"),
        "0"
    );
    as_it_is.migrate().await.expect("is made");
    as_it_is.tiers().await.expect("the same handle goes on");
}

#[tokio::test]
async fn a_newer_or_foreign_schema_is_left_alone() {
    let (server, ledger) = fresh().await;
    let newer = "INSERT INTO schema_migrations (version, name, checksum) VALUES (99, 'later', decode(repeat('00', 32), 'hex'))";
    server.sql(newer).expect("fits");
    let error = ledger.migrate().await.expect_err("is newer");
    assert!(
        matches!(error, StoreError::NewerSchema { found: 99, .. }),
        "{error}"
    );
    server
        .sql("DELETE FROM schema_migrations WHERE version = 99")
        .expect("fits");
    server
        .sql("UPDATE schema_migrations SET checksum = decode(repeat('00', 32), 'hex') WHERE version = 1")
        .expect("fits");
    let error = ledger.migrate().await.expect_err("is another build's");
    assert!(
        matches!(error, StoreError::ForeignMigration { version: 1 }),
        "{error}"
    );

    for table in [
        "CREATE TABLE things (id int)",
        "CREATE TABLE schema_migrations (version text)",
    ] {
        let server = Postgres::start();
        server.sql(table).expect("fits");
        let error = PostgresLedger::open_or_create(settings(&server.url()))
            .await
            .err()
            .expect("is another's");
        assert!(matches!(error, StoreError::ForeignDatabase { .. }), "{error}");
        assert!(error.to_string().contains(NAME), "{error}");
    }
}

#[tokio::test]
async fn every_table_and_column_of_its_own_is_explained() {
    let (server, _ledger) = fresh().await;
    let tables = "SELECT string_agg(relname, ' ') FROM pg_class
                  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND obj_description(oid) IS NULL
                    AND NOT relispartition";
    assert_eq!(server.sql(tables).expect("asked"), "");
}

#[tokio::test]
async fn hand_written_sql_that_breaks_a_rule_is_refused() {
    let (server, ledger) = fresh().await;
    let account_id = account(&ledger, "acme").await.id;
    ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    ledger.create_key(new_key(account_id, 2)).await.expect("makes");
    ledger.revoke_key(KeyId(2), 5).await.expect("revokes");
    let before = ledger.change_stamp().await.expect("reads");
    let key = |columns: &str, values: &str| {
        format!(
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns, {columns})
             VALUES (9, 1, 'k', decode(repeat('07', 32), 'hex'), 1, {values})"
        )
    };
    let mut refused = vec![
        "UPDATE accounts SET tier = 'gold'".to_owned(),
        "UPDATE accounts SET name = '123'".to_owned(),
        "UPDATE accounts SET name = E'a\\nb'".to_owned(),
        "UPDATE accounts SET name = ' a'".to_owned(),
        "UPDATE accounts SET name = ''".to_owned(),
        "UPDATE tiers SET requests_per_month = -5".to_owned(),
        "UPDATE tiers SET requests_per_month = 0".to_owned(),
        "UPDATE tiers SET burst = NULL WHERE name = 'pro'".to_owned(),
        "UPDATE tiers SET requests_per_second = 2000000000".to_owned(),
        "DELETE FROM tiers WHERE name = 'pro'".to_owned(),
        "DELETE FROM api_keys".to_owned(),
        "TRUNCATE api_keys CASCADE".to_owned(),
        "DELETE FROM accounts".to_owned(),
        "UPDATE api_keys SET verifier = '\\x01'".to_owned(),
        "UPDATE api_keys SET verifier = decode(repeat('09', 32), 'hex') WHERE key_id = 1".to_owned(),
        "UPDATE api_keys SET key_id = 77 WHERE key_id = 1".to_owned(),
        "UPDATE api_keys SET replaces = 2 WHERE key_id = 1".to_owned(),
        "UPDATE api_keys SET revoked_at_ns = NULL".to_owned(),
        "UPDATE api_keys SET revoked_at_ns = 6 WHERE key_id = 2".to_owned(),
        "UPDATE api_keys SET allow_udp = false, allow_http = false".to_owned(),
        "UPDATE api_keys SET scope = 'root'".to_owned(),
        "INSERT INTO parameters VALUES ('UPPER', '1', 1)".to_owned(),
        "INSERT INTO revision VALUES (2, 1)".to_owned(),
        "INSERT INTO usage VALUES (1, 1, 1, 0, 1, 1, 1)".to_owned(),
    ];
    for (columns, values) in [
        ("requests_per_month", "0"),
        ("requests_per_month", "-2"),
        ("requests_per_second", "5"),
        ("requests_per_second, burst", "-1, 5"),
        ("requests_per_second, burst", "5, NULL"),
        ("reports_per_month", "0"),
        ("replaces", "9"),
        ("replaces", "12345"),
        ("expires_at_ns", "-1"),
    ] {
        refused.push(key(columns, values));
    }
    for networks in [
        "10.0.0.0",
        "10.0.0.1/8",
        "10.0.0.0/33",
        "any",
        ",",
        "10.0.0.0/8,",
        "10/8",
        "::1/64",
    ] {
        refused.push(key("allowed_networks", &format!("'{networks}'")));
    }
    let many = vec!["10.0.0.0/8"; 17].join(",");
    refused.push(key("allowed_networks", &format!("'{many}'")));
    for sql in &refused {
        assert!(server.sql(sql).is_err(), "was taken: {sql}");
    }
    assert_eq!(
        ledger.change_stamp().await.expect("reads"),
        before,
        "nothing changed"
    );
    assert_eq!(ledger.list_keys(None).await.expect("lists").len(), 2);

    server
        .sql(&key(
            "allowed_networks, requests_per_second, burst",
            "'10.0.0.0/8,2001:db8::/32', -1, -1",
        ))
        .expect("fits");
    let key = ledger.key(KeyId(9)).await.expect("found");
    assert_eq!(key.settings.networks.len(), 2);
    assert_eq!(key.settings.overrides.rate, Some(None));
    assert_eq!(key.unusable, None);
}

#[tokio::test]
async fn many_keys_in_one_statement_are_one_change_and_each_bears_its_revision() {
    let (server, ledger) = fresh().await;
    account(&ledger, "acme").await;
    let before = ledger.change_stamp().await.expect("reads");
    let insert = "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns)
                  SELECT n, 1, 'k' || n, decode(lpad(to_hex(n), 64, '0'), 'hex'), 1 FROM generate_series(1, 12000) n";
    server.sql(insert).expect("fits");
    let after = ledger.change_stamp().await.expect("reads");
    assert_eq!(after.0, before.0 + 1);
    let stamped = format!("SELECT count(*) FROM api_keys WHERE revision = {}", after.0);
    assert_eq!(server.sql(&stamped).expect("asked"), "12000");

    let mut one_by_one = String::from("BEGIN;");
    for id in 16_001..16_101 {
        let _ = write!(
            one_by_one,
            "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns)
             VALUES ({id}, 1, 'k', decode(lpad('{id}', 64, '0'), 'hex'), 1);"
        );
    }
    one_by_one.push_str("COMMIT;");
    server.sql(&one_by_one).expect("fits");
    assert_eq!(
        ledger.change_stamp().await.expect("reads").0,
        after.0 + 1,
        "a transaction is one change"
    );

    let (mut pages, mut seen, mut next) = (0, 0, None);
    loop {
        let page = ledger
            .load_changed_keys(before, next, 1_000)
            .await
            .expect("loads");
        (pages, seen, next) = (pages + 1, seen + page.keys.len(), page.next);
        if next.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (12_100, 13));
    let newer = ledger.load_changed_keys(after, None, 1_000).await.expect("loads");
    assert_eq!(newer.keys.len(), 100);
}

#[tokio::test]
async fn a_session_with_another_search_path_obeys_the_same_rules() {
    let (server, ledger) = fresh().await;
    account(&ledger, "acme").await;
    let before = ledger.change_stamp().await.expect("reads");
    server
        .sql("SET search_path = pg_catalog; UPDATE public.accounts SET tier = 'free'")
        .expect("fits");
    assert_ne!(ledger.change_stamp().await.expect("reads"), before);
    let history = ledger.subscriptions(AccountId(1)).await.expect("lists");
    assert_eq!(history.len(), 2);
}
