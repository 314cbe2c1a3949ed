//! Keys past what the schema can check, and more changed ones than are gathered at once.

use super::*;

#[tokio::test]
async fn a_key_whose_networks_mean_nothing_is_refused_and_reported_and_can_be_put_right() {
    let (dir, ledger) = fresh().await;
    let acme = account(&ledger, "acme").await;
    for id in [1, 2, 3, 4] {
        ledger.create_key(new_key(acme.id, id)).await.expect("makes");
    }
    sql_on(&dir)
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
async fn many_changed_keys_are_loaded_as_few_are() {
    let (dir, ledger) = fresh().await;
    account(&ledger, "few").await;
    account(&ledger, "many").await;
    sql_on(&dir)
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20010)
             INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns)
             SELECT i, iif(i % 2000 = 0, 1, 2), 'x', randomblob(32), 1 FROM n",
        )
        .expect("inserts");
    for (name, expected) in [("few", 10), ("many", 20_000)] {
        let since = ledger.change_stamp().await.expect("stamp");
        let disabled = AccountPatch {
            disabled: Some(true),
            ..AccountPatch::default()
        };
        let which = AccountRef::Name(name.to_owned());
        ledger
            .change_account(&which, &disabled, 1)
            .await
            .expect("changes");
        if name == "many" {
            // One more than is gathered at once: the first page looks through all, the last ones gather.
            let sql = "UPDATE api_keys SET name = 'y' WHERE key_id = 2000";
            sql_on(&dir).execute_batch(sql).expect("updates");
        }
        let (mut ids, mut after) = (Vec::new(), None);
        loop {
            let page = ledger
                .load_changed_keys(since, after, 7_000)
                .await
                .expect("loads");
            ids.extend(page.keys.iter().map(|key| key.key_id.0));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let mut others: Vec<_> = (1..=20_010)
            .filter(|id| (id % 2_000 == 0) == (name == "few") || name == "many" && *id == 2_000)
            .collect();
        others.sort_unstable();
        assert_eq!(ids, others, "{name}");
        assert!(ids.len() >= expected);
    }
}
