//! What every home of the ledger promises of tiers, accounts and subscriptions.

use super::*;

pub(crate) async fn the_tiers_are_those_of_the_design(ledger: &dyn Ledger) {
    let tiers = ledger.tiers().await.expect("tiers");
    let limits = |month, second, burst, reports| Limits {
        requests_per_month: month,
        requests_per_second: second,
        burst,
        reports_per_month: reports,
    };
    let tier = |name: &str, limits| Tier {
        name: name.to_owned(),
        limits,
    };
    assert_eq!(
        tiers,
        [
            tier("enterprise", limits(Some(500_000), Some(50), Some(100), Some(10))),
            tier("free", limits(Some(1_000), Some(1), Some(5), Some(10))),
            tier("lifetime", limits(None, Some(100), Some(200), None)),
            tier("partner", limits(None, None, None, None)),
            tier("pro", limits(Some(50_000), Some(10), Some(20), Some(10))),
            tier("unlimited", limits(None, Some(100), Some(200), None)),
        ]
    );
}

pub(crate) async fn an_account_is_found_by_id_and_by_name(ledger: &dyn Ledger) {
    let first = account(ledger, "Acme").await;
    let second = account(ledger, "acme").await;
    assert_ne!(first.id, second.id);
    assert_eq!(
        (first.tier.as_str(), first.created_at_ns, first.disabled),
        ("pro", NOW_NS, false)
    );
    assert_eq!(
        ledger.account(&AccountRef::Id(first.id)).await.expect("by id"),
        first
    );
    assert_eq!(
        ledger
            .account(&AccountRef::Name("acme".to_owned()))
            .await
            .expect("by name"),
        second
    );
    assert_eq!(ledger.list_accounts().await.expect("lists"), [first, second]);
    for missing in [
        AccountRef::Name("Acm".to_owned()),
        AccountRef::Id(AccountId(9_999)),
    ] {
        let error = ledger.account(&missing).await.expect_err("there is none");
        assert!(matches!(error, StoreError::NoSuchAccount { .. }), "{error}");
        assert!(error.to_string().contains("accounts create"), "{error}");
    }
}

pub(crate) async fn a_taken_account_name_is_refused(ledger: &dyn Ledger) {
    account(ledger, "acme").await;
    let error = ledger
        .create_account(new_account("acme", "free"))
        .await
        .expect_err("taken");
    assert!(matches!(error, StoreError::AccountExists { .. }), "{error}");
    assert_eq!(ledger.list_accounts().await.expect("lists")[0].tier, "pro");
}

pub(crate) async fn an_unknown_tier_is_refused_and_the_known_ones_named(ledger: &dyn Ledger) {
    let error = ledger
        .create_account(new_account("acme", "gold"))
        .await
        .expect_err("no such tier");
    assert!(matches!(error, StoreError::NoSuchTier { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("enterprise, free, lifetime, partner, pro, unlimited"),
        "{error}"
    );
    assert!(ledger.list_accounts().await.expect("lists").is_empty());
}

pub(crate) async fn a_tier_is_made_and_set_and_its_keys_follow(ledger: &dyn Ledger) {
    let own = |requests_per_month| Tier {
        name: "a-1_z".to_owned(),
        limits: Limits {
            requests_per_month,
            requests_per_second: Some(1_000_000_000),
            burst: Some(1),
            reports_per_month: None,
        },
    };
    let error = ledger.set_tier(&own(None)).await.expect_err("not yet");
    assert!(matches!(error, StoreError::NoSuchTier { .. }), "{error}");
    ledger.create_tier(&own(Some(7))).await.expect("makes");
    assert_eq!(ledger.tiers().await.expect("tiers")[0], own(Some(7)));
    let error = ledger.create_tier(&own(None)).await.expect_err("taken");
    assert!(matches!(error, StoreError::TierExists { .. }), "{error}");

    let account = ledger.create_account(new_account("acme", "a-1_z")).await;
    let account_id = account.expect("makes").id;
    ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    ledger
        .set_tier(&own(Some(1_000_000_000_000_000)))
        .await
        .expect("sets");
    let after = own(Some(1_000_000_000_000_000));
    assert_eq!(ledger.tiers().await.expect("tiers")[0], after);
    assert_eq!(ledger.key(KeyId(1)).await.expect("found").limits, after.limits);
    let loaded = ledger.load_keys(None, 10).await.expect("loads").keys;
    assert_eq!(loaded[0].limits, after.limits);
}

pub(crate) async fn a_tier_that_means_nothing_is_refused(ledger: &dyn Ledger) {
    let before = ledger.tiers().await.expect("tiers");
    let tier = |name: &str, month, second, burst, reports| Tier {
        name: name.to_owned(),
        limits: Limits {
            requests_per_month: month,
            requests_per_second: second,
            burst,
            reports_per_month: reports,
        },
    };
    let too_long = "a".repeat(33);
    for bad in [
        tier("", None, None, None, None),
        tier("Gold", None, None, None, None),
        tier("a'b", None, None, None, None),
        tier("a b", None, None, None, None),
        tier(&too_long, None, None, None, None),
        tier("x", Some(0), None, None, None),
        tier("x", Some(1_000_000_000_000_001), None, None, None),
        tier("x", None, Some(1), None, None),
        tier("x", None, None, Some(1), None),
        tier("x", None, Some(0), Some(1), None),
        tier("x", None, Some(1), Some(1_000_000_001), None),
        tier("x", None, None, None, Some(0)),
        tier("x", None, None, None, Some(1_000_000_001)),
    ] {
        for refused in [ledger.create_tier(&bad).await, ledger.set_tier(&bad).await] {
            let error = refused.expect_err(&bad.name);
            assert!(matches!(error, StoreError::Invalid { .. }), "{bad:?}: {error}");
        }
    }
    assert_eq!(ledger.tiers().await.expect("tiers"), before);
}

pub(crate) async fn an_account_patch_changes_what_it_names_and_nothing_else(ledger: &dyn Ledger) {
    let acme = account(ledger, "acme").await;
    let other = account(ledger, "other").await;
    ledger.create_key(new_key(acme.id, 1)).await.expect("makes");
    let by_id = AccountRef::Id(acme.id);
    let name = |text: &str| AccountPatch {
        name: Some(text.to_owned()),
        ..AccountPatch::default()
    };
    let tier = |text: &str| AccountPatch {
        tier: Some(text.to_owned()),
        ..AccountPatch::default()
    };
    let disabled = |disabled| AccountPatch {
        disabled: Some(disabled),
        ..AccountPatch::default()
    };
    let mut expected = acme.clone();
    for (patch, change) in [
        (AccountPatch::default(), expected.clone()),
        (
            name(HOSTILE[0]),
            Account {
                name: HOSTILE[0].to_owned(),
                ..expected.clone()
            },
        ),
    ] {
        expected = ledger
            .change_account(&by_id, &patch, NOW_NS)
            .await
            .expect("changes");
        assert_eq!(expected, change);
    }
    let by_name = AccountRef::Name(HOSTILE[0].to_owned());
    let changed = ledger.change_account(&by_name, &disabled(true), NOW_NS).await;
    expected.disabled = true;
    assert_eq!(changed.expect("changes"), expected);
    let key = ledger.key(KeyId(1)).await.expect("found");
    assert_eq!(
        (key.state(NOW_NS), key.account.as_str()),
        (KeyStatus::AccountDisabled, HOSTILE[0])
    );
    assert!(ledger.load_keys(None, 10).await.expect("loads").keys[0].refused);
    let changed = ledger.change_account(&by_id, &tier("partner"), NOW_NS).await;
    expected.tier = "partner".to_owned();
    assert_eq!(changed.expect("changes"), expected);
    let changed = ledger.change_account(&by_id, &disabled(false), NOW_NS).await;
    expected.disabled = false;
    assert_eq!(changed.expect("changes"), expected);
    let loaded = ledger.load_keys(None, 10).await.expect("loads").keys;
    assert_eq!((loaded[0].refused, loaded[0].limits.burst), (false, None));

    let refused = |patch| ledger_error(ledger, &by_id, patch);
    assert!(matches!(
        refused(name("other")).await,
        StoreError::AccountExists { .. }
    ));
    assert!(matches!(
        refused(tier("gold")).await,
        StoreError::NoSuchTier { .. }
    ));
    assert!(matches!(
        refused(tier("'; --")).await,
        StoreError::NoSuchTier { .. }
    ));
    for bad in ["", " x", "12", "a\nb", "a\0b"] {
        assert!(
            matches!(refused(name(bad)).await, StoreError::Invalid { .. }),
            "{bad:?}"
        );
    }
    let nobody = AccountRef::Id(AccountId(99));
    let error = ledger_error(ledger, &nobody, disabled(true)).await;
    assert!(matches!(error, StoreError::NoSuchAccount { .. }), "{error}");
    assert_eq!(ledger.list_accounts().await.expect("lists"), [expected, other]);
}

async fn ledger_error(ledger: &dyn Ledger, which: &AccountRef, patch: AccountPatch) -> StoreError {
    let changed = ledger.change_account(which, &patch, NOW_NS).await;
    changed.expect_err("is refused")
}

pub(crate) async fn a_change_of_tier_is_on_record_with_its_time(ledger: &dyn Ledger) {
    let acme = account(ledger, "acme").await;
    let other = account(ledger, "other").await;
    let by_id = AccountRef::Id(acme.id);
    let mut expected = vec![Subscription {
        tier: "pro".to_owned(),
        starts_at_ns: NOW_NS,
        ends_at_ns: None,
    }];
    assert_eq!(ledger.subscriptions(acme.id).await.expect("reads"), expected);
    // The last clock has stepped back, which must neither fail nor make a time that runs backwards.
    for (tier, at_ns, since_ns) in [
        ("free", NOW_NS + 5, NOW_NS + 5),
        ("free", NOW_NS + 6, 0),
        ("enterprise", NOW_NS + 70, NOW_NS + 70),
        ("pro", NOW_NS - 9, NOW_NS + 70),
    ] {
        let patch = AccountPatch {
            tier: Some(tier.to_owned()),
            ..AccountPatch::default()
        };
        let changed = ledger
            .change_account(&by_id, &patch, at_ns)
            .await
            .expect("changes");
        assert_eq!(changed.tier, tier);
        if since_ns > 0 {
            expected.last_mut().expect("the first").ends_at_ns = Some(since_ns);
            expected.push(Subscription {
                tier: tier.to_owned(),
                starts_at_ns: since_ns,
                ends_at_ns: None,
            });
        }
        assert_eq!(ledger.subscriptions(acme.id).await.expect("reads"), expected);
    }
    assert_eq!(ledger.subscriptions(other.id).await.expect("reads").len(), 1);
    assert!(
        ledger
            .subscriptions(AccountId(99))
            .await
            .expect("reads")
            .is_empty()
    );
}
