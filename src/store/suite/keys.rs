//! What every home of the ledger promises of keys and their settings.

use super::*;

pub(crate) async fn a_key_comes_back_with_the_limits_of_its_account(ledger: &dyn Ledger) {
    let acme = account(ledger, "acme").await;
    let other = account(ledger, "other").await;
    let new = NewKey {
        expires_at_ns: Some(NOW_NS + 1),
        ..new_key(acme.id, 5)
    };
    let made = ledger.create_key(new.clone()).await.expect("makes");
    ledger.create_key(new_key(other.id, 6)).await.expect("makes");
    let pro = ledger
        .tiers()
        .await
        .expect("tiers")
        .into_iter()
        .find(|t| t.name == "pro")
        .expect("seeded");
    assert_eq!(
        made,
        ApiKeyRecord {
            key_id: new.key_id,
            account_id: acme.id,
            account: "acme".to_owned(),
            tier: "pro".to_owned(),
            name: new.name,
            verifier: new.verifier,
            limits: pro.limits,
            settings: KeySettings::default(),
            replaces: None,
            created_at_ns: NOW_NS,
            expires_at_ns: Some(NOW_NS + 1),
            revoked_at_ns: None,
            account_disabled: false,
            unusable: None,
        }
    );
    assert_eq!(ledger.key(made.key_id).await.expect("found"), made);
    assert_eq!(ledger.list_keys(Some(acme.id)).await.expect("lists"), [made]);
    assert_eq!(ledger.list_keys(None).await.expect("lists").len(), 2);
    assert!(
        ledger
            .list_keys(Some(AccountId(9_999)))
            .await
            .expect("lists")
            .is_empty()
    );
    for missing in [KeyId(77), KeyId(0), KeyId(u64::MAX)] {
        let error = ledger.key(missing).await.expect_err("there is none");
        assert!(matches!(error, StoreError::NoSuchKey { .. }), "{error}");
    }
}

pub(crate) async fn a_key_for_an_unknown_account_is_refused(ledger: &dyn Ledger) {
    let error = ledger
        .create_key(new_key(AccountId(5), 1))
        .await
        .expect_err("no account");
    assert!(matches!(error, StoreError::NoSuchAccount { .. }), "{error}");
    assert!(ledger.list_keys(None).await.expect("lists").is_empty());
}

pub(crate) async fn a_key_id_and_a_verifier_are_taken_once(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let first = new_key(account_id, 1);
    ledger.create_key(first.clone()).await.expect("makes");
    let same_id = NewKey {
        verifier: verifier(2),
        ..first.clone()
    };
    let same_verifier = NewKey {
        key_id: KeyId(2),
        ..first.clone()
    };
    for taken in [same_id, same_verifier] {
        let error = ledger.create_key(taken).await.expect_err("taken");
        assert!(matches!(error, StoreError::KeyTaken { .. }), "{error}");
    }
    for bad in [KeyId(0), KeyId(1 << 63), KeyId(u64::MAX)] {
        let error = ledger
            .create_key(NewKey {
                key_id: bad,
                ..first.clone()
            })
            .await
            .expect_err("range");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
    assert_eq!(ledger.list_keys(None).await.expect("lists").len(), 1);
}

pub(crate) async fn a_key_expires_at_its_time_and_not_before(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    for end in [NOW_NS, NOW_NS - 1, 0] {
        let key = NewKey {
            expires_at_ns: Some(end),
            ..new_key(account_id, 1)
        };
        let error = ledger.create_key(key).await.expect_err("in the past");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
    let key = NewKey {
        expires_at_ns: Some(NOW_NS + 10),
        ..new_key(account_id, 1)
    };
    let key = ledger.create_key(key).await.expect("makes");
    assert_eq!(key.state(NOW_NS + 9), KeyStatus::Active);
    assert_eq!(key.state(NOW_NS + 10), KeyStatus::Expired);
    let entry = &ledger.load_keys(None, 10).await.expect("loads").keys[0];
    assert!(entry.is_usable(NOW_NS + 9) && !entry.is_usable(NOW_NS + 10));
}

pub(crate) async fn a_revoked_key_stays_revoked_since_the_first_time(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let key_id = ledger
        .create_key(new_key(account_id, 1))
        .await
        .expect("makes")
        .key_id;
    // Before its creation by this clock, which must not matter.
    let at = NOW_NS - 5;
    assert_eq!(
        ledger.revoke_key(key_id, at).await.expect("revokes"),
        Revocation::Revoked
    );
    let again = ledger.revoke_key(key_id, NOW_NS + 7).await.expect("is no error");
    assert_eq!(again, Revocation::AlreadyRevoked { at_ns: at });
    let found = ledger.key(key_id).await.expect("found");
    assert_eq!(
        (found.revoked_at_ns, found.state(NOW_NS)),
        (Some(at), KeyStatus::Revoked)
    );
    let error = ledger
        .revoke_key(KeyId(99), NOW_NS)
        .await
        .expect_err("no such key");
    assert!(matches!(error, StoreError::NoSuchKey { .. }), "{error}");
}

/// Settings that differ from the default in every field.
fn all_settings() -> KeySettings {
    KeySettings {
        protocols: Protocols {
            udp: true,
            http: false,
        },
        networks: networks(&["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "::/0"]),
        overrides: Overrides {
            requests_per_month: Some(Some(1_000_000_000_000_000)),
            rate: Some(Some(Rate {
                per_second: 1_000_000_000,
                burst: 1,
            })),
            reports_per_month: Some(None),
        },
        scope: Scope::Operator,
    }
}

fn networks(texts: &[&str]) -> Vec<ipnet::IpNet> {
    texts
        .iter()
        .map(|text| text.parse().expect("a network"))
        .collect()
}

pub(crate) async fn the_settings_of_a_key_come_back_as_they_were_given(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let mut many = KeySettings::default();
    for i in 0..MAX_KEY_NETWORKS {
        many.networks.extend(networks(&[&format!(
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:{i:x}/128"
        )]));
    }
    let http = KeySettings {
        protocols: Protocols {
            udp: false,
            http: true,
        },
        ..KeySettings::default()
    };
    for (i, settings) in [KeySettings::default(), all_settings(), many, http]
        .iter()
        .enumerate()
    {
        let new = NewKey {
            settings: settings.clone(),
            ..new_key(account_id, i as u64 + 1)
        };
        let made = ledger.create_key(new).await.expect("makes");
        assert_eq!(made.settings, *settings);
        assert_eq!(ledger.key(made.key_id).await.expect("found"), made);
        let page = ledger.load_keys(Some(KeyId(i as u64)), 10).await.expect("loads");
        let loaded = &page.keys[0];
        assert_eq!(
            (loaded.protocols, &loaded.networks, loaded.scope),
            (settings.protocols, &settings.networks, settings.scope)
        );
        assert_eq!(loaded.limits, made.limits);
        assert!(page.unusable.is_empty());
    }
}

pub(crate) async fn a_keys_own_limits_go_before_its_tiers(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let pro = Limits {
        requests_per_month: Some(50_000),
        requests_per_second: Some(10),
        burst: Some(20),
        reports_per_month: Some(10),
    };
    let none = Overrides::default();
    let rate = Rate {
        per_second: 3,
        burst: 4,
    };
    for (i, (overrides, limits)) in [
        (none, pro),
        (
            Overrides {
                requests_per_month: Some(Some(7)),
                ..none
            },
            Limits {
                requests_per_month: Some(7),
                ..pro
            },
        ),
        (
            Overrides {
                requests_per_month: Some(None),
                ..none
            },
            Limits {
                requests_per_month: None,
                ..pro
            },
        ),
        (
            Overrides {
                rate: Some(Some(rate)),
                ..none
            },
            Limits {
                requests_per_second: Some(3),
                burst: Some(4),
                ..pro
            },
        ),
        (
            Overrides {
                rate: Some(None),
                ..none
            },
            Limits {
                requests_per_second: None,
                burst: None,
                ..pro
            },
        ),
        (
            Overrides {
                reports_per_month: Some(Some(1)),
                ..none
            },
            Limits {
                reports_per_month: Some(1),
                ..pro
            },
        ),
        (
            Overrides {
                reports_per_month: Some(None),
                ..none
            },
            Limits {
                reports_per_month: None,
                ..pro
            },
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let mut new = new_key(account_id, i as u64 + 1);
        new.settings.overrides = overrides;
        assert_eq!(ledger.create_key(new).await.expect("makes").limits, limits);
        let loaded = ledger.load_keys(None, 10).await.expect("loads").keys;
        assert_eq!(loaded[i].limits, limits);
    }
}

pub(crate) async fn a_key_patch_changes_what_it_names_and_nothing_else(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let mut expected = ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let other = ledger.create_key(new_key(account_id, 2)).await.expect("makes");
    let all = all_settings();
    let none = KeyPatch::default();
    let patches = [
        KeyPatch {
            name: Some(HOSTILE[2].to_owned()),
            ..none.clone()
        },
        KeyPatch {
            expires_at_ns: Some(Some(NOW_NS + 1)),
            ..none.clone()
        },
        KeyPatch {
            expires_at_ns: Some(Some(1)),
            ..none.clone()
        },
        KeyPatch {
            expires_at_ns: Some(None),
            ..none.clone()
        },
        KeyPatch {
            protocols: Some(all.protocols),
            ..none.clone()
        },
        KeyPatch {
            networks: Some(all.networks.clone()),
            ..none.clone()
        },
        KeyPatch {
            networks: Some(Vec::new()),
            ..none.clone()
        },
        KeyPatch {
            requests_per_month: Some(Some(Some(5))),
            ..none.clone()
        },
        KeyPatch {
            requests_per_month: Some(Some(None)),
            ..none.clone()
        },
        KeyPatch {
            rate: Some(Some(Some(Rate {
                per_second: 1,
                burst: 2,
            }))),
            ..none.clone()
        },
        KeyPatch {
            rate: Some(Some(None)),
            ..none.clone()
        },
        KeyPatch {
            rate: Some(None),
            ..none.clone()
        },
        KeyPatch {
            reports_per_month: Some(Some(Some(5))),
            ..none.clone()
        },
        KeyPatch {
            reports_per_month: Some(None),
            ..none.clone()
        },
        KeyPatch {
            scope: Some(Scope::Operator),
            ..none.clone()
        },
        none.clone(),
    ];
    for patch in &patches {
        let changed = ledger.change_key(KeyId(1), patch).await.expect("changes");
        if let Some(name) = &patch.name {
            expected.name.clone_from(name);
        }
        expected.expires_at_ns = patch.expires_at_ns.unwrap_or(expected.expires_at_ns);
        let settings = &mut expected.settings;
        settings.protocols = patch.protocols.unwrap_or(settings.protocols);
        settings.scope = patch.scope.unwrap_or(settings.scope);
        if let Some(networks) = &patch.networks {
            settings.networks.clone_from(networks);
        }
        let overrides = &mut settings.overrides;
        overrides.requests_per_month = patch.requests_per_month.unwrap_or(overrides.requests_per_month);
        overrides.rate = patch.rate.unwrap_or(overrides.rate);
        overrides.reports_per_month = patch.reports_per_month.unwrap_or(overrides.reports_per_month);
        expected.limits = settings.overrides.on(other.limits);
        assert_eq!(changed, expected, "{patch:?}");
        assert_eq!(ledger.key(KeyId(1)).await.expect("found"), expected);
    }
    assert_eq!(ledger.key(KeyId(2)).await.expect("found"), other);

    ledger.revoke_key(KeyId(1), NOW_NS + 5).await.expect("revokes");
    let revoked = ledger
        .change_key(KeyId(1), &patches[0])
        .await
        .expect("may be changed");
    assert_eq!(revoked.revoked_at_ns, Some(NOW_NS + 5));
    let error = ledger.change_key(KeyId(9), &none).await.expect_err("no such key");
    assert!(matches!(error, StoreError::NoSuchKey { .. }), "{error}");
}

pub(crate) async fn settings_that_mean_nothing_are_refused(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let before = ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let none = KeyPatch::default();
    let rate = |per_second, burst| KeyPatch {
        rate: Some(Some(Some(Rate { per_second, burst }))),
        ..none.clone()
    };
    for patch in [
        KeyPatch {
            name: Some(String::new()),
            ..none.clone()
        },
        KeyPatch {
            name: Some("a\0b".to_owned()),
            ..none.clone()
        },
        KeyPatch {
            expires_at_ns: Some(Some(u64::MAX)),
            ..none.clone()
        },
        KeyPatch {
            protocols: Some(Protocols {
                udp: false,
                http: false,
            }),
            ..none.clone()
        },
        KeyPatch {
            networks: Some(networks(&["10.0.0.1/8"])),
            ..none.clone()
        },
        KeyPatch {
            networks: Some(networks(&["10.0.0.0/8", "2001:db8::1/32"])),
            ..none.clone()
        },
        KeyPatch {
            networks: Some(networks(&["10.0.0.0/8"; MAX_KEY_NETWORKS + 1])),
            ..none.clone()
        },
        KeyPatch {
            requests_per_month: Some(Some(Some(0))),
            ..none.clone()
        },
        KeyPatch {
            requests_per_month: Some(Some(Some(u64::MAX))),
            ..none.clone()
        },
        KeyPatch {
            reports_per_month: Some(Some(Some(0))),
            ..none.clone()
        },
        KeyPatch {
            reports_per_month: Some(Some(Some(u32::MAX))),
            ..none.clone()
        },
        rate(0, 1),
        rate(1, 0),
        rate(1_000_000_001, 1),
        rate(1, u32::MAX),
    ] {
        let error = ledger
            .change_key(KeyId(1), &patch)
            .await
            .expect_err("means nothing");
        assert!(matches!(error, StoreError::Invalid { .. }), "{patch:?}: {error}");
        let mut new = new_key(account_id, 2);
        new.name = patch.name.clone().unwrap_or(new.name);
        new.expires_at_ns = patch.expires_at_ns.flatten();
        new.settings.protocols = patch.protocols.unwrap_or_default();
        new.settings.networks = patch.networks.clone().unwrap_or_default();
        new.settings.overrides = Overrides {
            requests_per_month: patch.requests_per_month.flatten(),
            rate: patch.rate.flatten(),
            reports_per_month: patch.reports_per_month.flatten(),
        };
        let error = ledger.create_key(new.clone()).await.expect_err("means nothing");
        assert!(matches!(error, StoreError::Invalid { .. }), "{patch:?}: {error}");
        let error = ledger
            .rotate_key(KeyId(1), new, NOW_NS)
            .await
            .expect_err("means nothing");
        assert!(matches!(error, StoreError::Invalid { .. }), "{patch:?}: {error}");
    }
    assert_eq!(ledger.list_keys(None).await.expect("lists"), [before]);
}

pub(crate) async fn a_rotated_key_is_good_until_its_overlap_ends(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let old = ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let new = NewKey {
        settings: all_settings(),
        ..new_key(account_id, 2)
    };
    let made = ledger
        .rotate_key(KeyId(1), new, NOW_NS + 10)
        .await
        .expect("rotates");
    assert_eq!((made.replaces, made.expires_at_ns), (Some(KeyId(1)), None));
    assert_eq!((&made.settings, made.created_at_ns), (&all_settings(), NOW_NS));
    assert_eq!(ledger.key(KeyId(2)).await.expect("found"), made);
    let ending = ledger.key(KeyId(1)).await.expect("found");
    assert_eq!(
        ending,
        ApiKeyRecord {
            expires_at_ns: Some(NOW_NS + 10),
            ..old
        }
    );
    let loaded = ledger.load_keys(None, 10).await.expect("loads").keys;
    let usable = |at| [loaded[0].is_usable(at), loaded[1].is_usable(at)];
    assert_eq!(
        (usable(NOW_NS + 9), usable(NOW_NS + 10)),
        ([true, true], [false, true])
    );

    // A key that ends sooner anyway does not live longer for being rotated, and its successor
    // may be rotated in turn; without an overlap, even before it was made by a clock that stepped back.
    ledger
        .rotate_key(KeyId(1), new_key(account_id, 3), NOW_NS + 99)
        .await
        .expect("rotates");
    assert_eq!(
        ledger.key(KeyId(1)).await.expect("found").expires_at_ns,
        Some(NOW_NS + 10)
    );
    ledger
        .rotate_key(KeyId(3), new_key(account_id, 4), NOW_NS - 1)
        .await
        .expect("rotates");
    let third = ledger.key(KeyId(3)).await.expect("found");
    assert_eq!(
        (third.state(NOW_NS), third.replaces),
        (KeyStatus::Expired, Some(KeyId(1)))
    );
}

pub(crate) async fn a_rotation_happens_wholly_or_not_at_all(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let other = account(ledger, "other").await.id;
    for id in [1, 2, 3] {
        ledger.create_key(new_key(account_id, id)).await.expect("makes");
    }
    ledger.revoke_key(KeyId(2), NOW_NS).await.expect("revokes");
    let before = ledger.list_keys(None).await.expect("lists");
    let rotate = async |old, new| {
        let rotated = ledger.rotate_key(KeyId(old), new, NOW_NS + 5).await;
        rotated.expect_err("is refused")
    };
    let same_verifier = NewKey {
        key_id: KeyId(9),
        ..new_key(account_id, 3)
    };
    for taken in [new_key(account_id, 3), same_verifier] {
        let error = rotate(1, taken).await;
        assert!(matches!(error, StoreError::KeyTaken { .. }), "{error}");
    }
    let error = rotate(1, new_key(other, 9)).await;
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    let error = rotate(2, new_key(account_id, 9)).await;
    assert!(matches!(error, StoreError::KeyRevoked { .. }), "{error}");
    let error = rotate(8, new_key(account_id, 9)).await;
    assert!(matches!(error, StoreError::NoSuchKey { .. }), "{error}");
    assert_eq!(ledger.list_keys(None).await.expect("lists"), before);
}

pub(crate) async fn drawn_keys_take_the_settings_they_are_given(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let (old, record) = issue_key(ledger, account_id, "a", NOW_NS, None, &all_settings())
        .await
        .expect("issues");
    assert_eq!((record.key_id, &record.settings), (old.key_id(), &all_settings()));
    let (new, record) = rotate_key(ledger, old.key_id(), NOW_NS, None, NOW_NS + 1)
        .await
        .expect("rotates");
    assert_eq!((record.key_id, &record.settings), (new.key_id(), &all_settings()));
    assert_eq!((record.replaces, record.name.as_str()), (Some(old.key_id()), "a"));
    assert_eq!(record.verifier, new.verifier());
    assert_ne!(old.verifier(), new.verifier());
}
