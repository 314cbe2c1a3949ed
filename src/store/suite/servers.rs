//! What every home of the ledger promises to servers: keys page by page, what changed, and parameters.

use super::*;

pub(crate) async fn a_snapshot_has_every_key_and_marks_the_refused(ledger: &dyn Ledger) {
    let pro = account(ledger, "acme").await.id;
    let partner = ledger
        .create_account(new_account("partner", "partner"))
        .await
        .expect("makes")
        .id;
    for (id, account) in [(i64::MAX as u64, pro), (3, partner), (2, pro)] {
        ledger.create_key(new_key(account, id)).await.expect("makes");
    }
    ledger.revoke_key(KeyId(2), NOW_NS).await.expect("revokes");
    let snapshot = ledger.load_keys(None, 10).await.expect("loads");
    let seen: Vec<_> = snapshot
        .keys
        .iter()
        .map(|k| (k.key_id.0, k.account_id, k.refused))
        .collect();
    assert_eq!(
        seen,
        [(2, pro, true), (3, partner, false), (i64::MAX as u64, pro, false)]
    );
    for key in &snapshot.keys {
        assert_eq!(key.verifier, verifier(key.key_id.0));
        assert_eq!(key.is_usable(NOW_NS), !key.refused);
    }
    assert_eq!(snapshot.keys[1].limits.requests_per_second, None);
    assert_eq!(snapshot.keys[2].limits.requests_per_second, Some(10));
    assert_eq!(snapshot.keys[2].limits.burst, Some(20));
}

pub(crate) async fn the_stamp_follows_what_servers_reload_and_not_usage(ledger: &dyn Ledger) {
    let mut last = ledger.change_stamp().await.expect("stamp");
    let changed = async |last: &mut ChangeStamp| {
        let now = ledger.change_stamp().await.expect("stamp");
        std::mem::replace(last, now) != now
    };
    let account_id = account(ledger, "acme").await.id;
    assert!(changed(&mut last).await, "an account");
    let key_id = ledger
        .create_key(new_key(account_id, 1))
        .await
        .expect("makes")
        .key_id;
    assert!(changed(&mut last).await, "a key");
    ledger.set_parameter("a", "1", NOW_NS).await.expect("sets");
    assert!(changed(&mut last).await, "a parameter");
    ledger.set_parameter("a", "2", NOW_NS).await.expect("sets");
    assert!(changed(&mut last).await, "its value");
    ledger.revoke_key(key_id, NOW_NS).await.expect("revokes");
    assert!(changed(&mut last).await, "a revocation");

    ledger.revoke_key(key_id, NOW_NS).await.expect("no error");
    ledger
        .create_account(new_account("acme", "pro"))
        .await
        .expect_err("taken");
    ledger
        .create_key(new_key(account_id, 1))
        .await
        .expect_err("taken");
    ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 3)], &[symbol_row(1, 3)])
        .await
        .expect("flushes");
    ledger.load_keys(None, 10).await.expect("loads");
    ledger.month_usage(0).await.expect("reads");
    assert!(!changed(&mut last).await, "nothing to reload");
}

pub(crate) async fn a_parameter_keeps_its_last_value(ledger: &dyn Ledger) {
    assert!(ledger.list_parameters().await.expect("lists").is_empty());
    assert!(
        ledger
            .parameter("clock.window_ms")
            .await
            .expect("reads")
            .is_none()
    );
    ledger
        .set_parameter("clock.window_ms", "5000", NOW_NS)
        .await
        .expect("sets");
    ledger
        .set_parameter("a", "", NOW_NS)
        .await
        .expect("an empty value is a value");
    ledger
        .set_parameter("clock.window_ms", "7000", NOW_NS + 1)
        .await
        .expect("sets");
    let parameter = |name: &str, value: &str, updated_at_ns| Parameter {
        name: name.to_owned(),
        value: value.to_owned(),
        updated_at_ns,
    };
    assert_eq!(
        ledger.list_parameters().await.expect("lists"),
        [
            parameter("a", "", NOW_NS),
            parameter("clock.window_ms", "7000", NOW_NS + 1)
        ]
    );
}

pub(crate) async fn a_parameter_is_unset_once(ledger: &dyn Ledger) {
    ledger.set_parameter("a", "1", NOW_NS).await.expect("sets");
    ledger.set_parameter("b", "2", NOW_NS).await.expect("sets");
    let stamp = ledger.change_stamp().await.expect("stamp");
    assert!(ledger.unset_parameter("a").await.expect("unsets"));
    let after = ledger.change_stamp().await.expect("stamp");
    assert_ne!(after, stamp);
    for name in ["a", "never.set", HOSTILE[0]] {
        assert!(
            !ledger.unset_parameter(name).await.expect("is no error"),
            "{name}"
        );
    }
    assert_eq!(ledger.change_stamp().await.expect("stamp"), after);
    let left = ledger.list_parameters().await.expect("lists");
    assert_eq!((left.len(), left[0].name.as_str()), (1, "b"));
}

/// Every page of `limit` keys, in order, and how many pages there were.
async fn pages(ledger: &dyn Ledger, since: Option<ChangeStamp>, limit: usize) -> (Vec<u64>, usize) {
    let (mut ids, mut after, mut count) = (Vec::new(), None, 0);
    loop {
        let page = match since {
            None => ledger.load_keys(after, limit).await,
            Some(since) => ledger.load_changed_keys(since, after, limit).await,
        };
        let page = page.expect("loads");
        assert!(page.keys.len() <= limit && page.unusable.is_empty());
        ids.extend(page.keys.iter().map(|key| key.key_id.0));
        count += 1;
        assert!(count < 100, "pages come to an end");
        after = page.next;
        if after.is_none() {
            return (ids, count);
        }
    }
}

pub(crate) async fn keys_come_page_by_page_each_once(ledger: &dyn Ledger) {
    assert_eq!(pages(ledger, None, 10).await, (Vec::new(), 1));
    let account_id = account(ledger, "acme").await.id;
    let all = [1, 2, 3, 5, 8, 1 << 40, i64::MAX as u64];
    for id in all.iter().rev() {
        ledger.create_key(new_key(account_id, *id)).await.expect("makes");
    }
    for limit in [1, 2, 3, 6, 7, 8, 1_000_000] {
        let (ids, count) = pages(ledger, None, limit).await;
        assert_eq!(ids, all, "{limit} at a time");
        assert!(count <= all.len() / limit + 1, "{count} pages of {limit}");
    }
    let beyond = ledger.load_keys(Some(KeyId(u64::MAX)), 10).await.expect("loads");
    assert!(beyond.keys.is_empty() && beyond.next.is_none());
}

pub(crate) async fn what_changed_is_loaded_and_nothing_else(ledger: &dyn Ledger) {
    let acme = account(ledger, "acme").await.id;
    let other = account(ledger, "other").await.id;
    let free = ledger.create_account(new_account("free", "free")).await;
    let free = free.expect("makes").id;
    for (id, account) in [(1, acme), (2, acme), (3, other), (4, free), (5, acme)] {
        ledger.create_key(new_key(account, id)).await.expect("makes");
    }
    let mut last = ledger.change_stamp().await.expect("stamp");
    let changed = async |last: &mut ChangeStamp| {
        let since = std::mem::replace(last, ledger.change_stamp().await.expect("stamp"));
        let (ids, _) = pages(ledger, Some(since), 10).await;
        assert_eq!(pages(ledger, Some(since), 1).await.0, ids, "page by page");
        assert!(pages(ledger, Some(*last), 10).await.0.is_empty(), "nothing since");
        ids
    };
    assert!(changed(&mut last).await.is_empty());
    let expires = KeyPatch {
        expires_at_ns: Some(Some(NOW_NS + 1)),
        ..KeyPatch::default()
    };
    ledger.change_key(KeyId(2), &expires).await.expect("changes");
    assert_eq!(changed(&mut last).await, [2], "its own row");
    let page = ledger
        .load_changed_keys(ChangeStamp(0), None, 10)
        .await
        .expect("loads");
    assert_eq!(
        page.keys,
        ledger.load_keys(None, 10).await.expect("loads").keys,
        "since ever"
    );
    ledger.revoke_key(KeyId(3), NOW_NS).await.expect("revokes");
    ledger.create_key(new_key(free, 6)).await.expect("makes");
    assert_eq!(changed(&mut last).await, [3, 6], "a revoked and a new one");
    ledger
        .rotate_key(KeyId(1), new_key(acme, 7), NOW_NS + 1)
        .await
        .expect("rotates");
    assert_eq!(changed(&mut last).await, [1, 7], "both sides of a rotation");
    let disabled = AccountPatch {
        disabled: Some(true),
        ..AccountPatch::default()
    };
    let by_id = AccountRef::Id(acme);
    ledger
        .change_account(&by_id, &disabled, NOW_NS)
        .await
        .expect("changes");
    assert_eq!(changed(&mut last).await, [1, 2, 5, 7], "all of an account");
    let to_free = AccountPatch {
        tier: Some("free".to_owned()),
        ..AccountPatch::default()
    };
    ledger
        .change_account(&by_id, &to_free, NOW_NS)
        .await
        .expect("changes");
    assert_eq!(changed(&mut last).await, [1, 2, 5, 7], "its tier");
    let mut tiers = ledger.tiers().await.expect("tiers");
    tiers[1].limits.reports_per_month = Some(99);
    assert_eq!(tiers[1].name, "free");
    ledger.set_tier(&tiers[1]).await.expect("sets");
    assert_eq!(changed(&mut last).await, [1, 2, 4, 5, 6, 7], "all of a tier");
    ledger.change_key(KeyId(3), &expires).await.expect("changes");
    ledger
        .change_account(&AccountRef::Id(free), &disabled, NOW_NS)
        .await
        .expect("changes");
    assert_eq!(
        changed(&mut last).await,
        [3, 4, 6],
        "of different kinds, each once"
    );

    // What is no change of a key, or no change at all.
    ledger
        .change_key(KeyId(3), &expires)
        .await
        .expect("is so already");
    ledger
        .change_account(&by_id, &to_free, NOW_NS)
        .await
        .expect("is so already");
    ledger.set_tier(&tiers[1]).await.expect("is so already");
    ledger
        .revoke_key(KeyId(3), NOW_NS + 9)
        .await
        .expect("is so already");
    assert_eq!(
        ledger.change_stamp().await.expect("stamp"),
        last,
        "nothing changed"
    );
    ledger.set_parameter("a", "1", NOW_NS).await.expect("sets");
    ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 1)], &[])
        .await
        .expect("flushes");
    account(ledger, "without keys").await;
    ledger
        .create_key(new_key(AccountId(99), 77))
        .await
        .expect_err("no such account");
    assert!(changed(&mut last).await.is_empty(), "no key has changed");
}
