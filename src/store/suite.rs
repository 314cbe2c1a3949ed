//! What every home of the ledger promises. Each promise gets a fresh, migrated ledger behind
//! `&dyn Ledger`; [`ledger_suite!`] makes one test of each for a home.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use trinity_protocol::{KeyId, Symbol, Verifier};

use super::*;

mod symbols;

pub(crate) use symbols::*;

/// 2023-03-11T00:00:00Z.
const NOW_NS: u64 = 1_678_492_800_000_000_000;
const NOW: u64 = NOW_NS / 1_000_000_000;

/// Text that breaks out of carelessly built SQL, JSON, patterns and formats.
const HOSTILE: [&str; 10] = [
    "'; DROP TABLE accounts; --",
    "\" OR \"\"=\"",
    "a'b\"c`d",
    "%_*?[x]",
    "$1 ?1 :name @x",
    "\\'\\\\",
    "E'\\x27'",
    "{\"a\":[1]}",
    "Zoë 北京 ‏ 🙂",
    "/* ; */ UNION SELECT verifier FROM api_keys",
];

macro_rules! ledger_suite {
    ($fresh:path) => {
        $crate::store::suite::ledger_suite! { @each $fresh:
            migrating_again_changes_nothing
            the_tiers_are_those_of_the_design
            an_account_is_found_by_id_and_by_name
            a_taken_account_name_is_refused
            an_unknown_tier_is_refused_and_the_known_ones_named
            a_doubtful_name_is_refused
            hostile_text_is_kept_as_it_is
            a_key_comes_back_with_the_limits_of_its_account
            a_key_for_an_unknown_account_is_refused
            a_key_id_and_a_verifier_are_taken_once
            a_key_expires_at_its_time_and_not_before
            a_revoked_key_stays_revoked_since_the_first_time
            a_snapshot_has_every_key_and_marks_the_refused
            the_stamp_follows_what_servers_reload_and_not_usage
            rows_add_up_within_and_across_flushes
            a_retried_flush_changes_nothing
            one_flush_offered_many_times_at_once_counts_once
            a_flush_id_with_other_contents_is_refused
            a_bad_row_refuses_its_whole_flush
            any_flushes_with_any_retries_add_up_to_the_model
            the_month_counts_what_was_charged_in_it
            usage_of_an_unknown_key_is_kept
            extreme_values_are_kept_or_refused_but_never_bent
            a_parameter_keeps_its_last_value
            seeding_brings_what_is_missing_in_its_order_and_only_once
            a_builtin_symbol_follows_the_program_until_an_operator_touches_it
            seeding_takes_no_name_and_no_spelling_from_an_operator
            a_symbol_comes_back_as_it_was_added
            a_taken_symbol_name_or_alias_is_refused
            a_patch_changes_what_it_names_and_nothing_else
            an_alias_ends_at_its_time_and_may_pass_to_another_symbol
            a_retired_symbol_keeps_its_place_and_may_come_back
            a_change_of_what_was_not_seen_is_refused
            symbols_move_the_stamp_and_nothing_changed_does_not
            a_symbol_that_cannot_be_is_refused_with_the_field
        }
    };
    (@each $fresh:path: $($promise:ident)+) => {
        $(#[tokio::test]
        async fn $promise() {
            let (_guard, ledger) = $fresh().await;
            $crate::store::suite::$promise(&ledger).await;
        })+
    };
}
pub(crate) use ledger_suite;

pub(crate) async fn migrating_again_changes_nothing(ledger: &dyn Ledger) {
    let before = ledger.migration_status().await.expect("status");
    assert!(before.is_current() && before.current >= 1);
    assert_eq!(before.migrations.len(), before.newest as usize);
    assert!(before.migrations.iter().all(|m| m.applied_at.is_some()));
    account(ledger, "kept").await;
    assert_eq!(ledger.migrate().await.expect("migrates"), before);
    assert_eq!(ledger.list_accounts().await.expect("lists").len(), 1);
}

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

pub(crate) async fn a_doubtful_name_is_refused(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    let too_long = "ä".repeat(129);
    for name in ["", " a", "a ", "a\nb", "a\0b", "\u{1b}[2J", "a\u{85}b", &too_long] {
        let error = ledger
            .create_account(new_account(name, "pro"))
            .await
            .expect_err(name);
        assert!(matches!(error, StoreError::Invalid { .. }), "{name:?}: {error}");
        let key = NewKey {
            name: name.to_owned(),
            ..new_key(account_id, 1)
        };
        let error = ledger.create_key(key).await.expect_err(name);
        assert!(matches!(error, StoreError::Invalid { .. }), "{name:?}: {error}");
    }
    let error = ledger
        .create_account(new_account("0042", "pro"))
        .await
        .expect_err("would be an id");
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    for name in ["", "A", "a b", "a'b", "ä", &"a".repeat(65)] {
        let error = ledger.set_parameter(name, "1", NOW_NS).await.expect_err(name);
        assert!(matches!(error, StoreError::Invalid { .. }), "{name:?}: {error}");
    }
    for value in ["a\0b", &"x".repeat(4_097)] {
        let error = ledger.set_parameter("a", value, NOW_NS).await.expect_err("value");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
    account(ledger, &"ä".repeat(128)).await;
    ledger
        .set_parameter("a", &"ä".repeat(4_096), NOW_NS)
        .await
        .expect("just short enough");
}

pub(crate) async fn hostile_text_is_kept_as_it_is(ledger: &dyn Ledger) {
    for (i, text) in HOSTILE.iter().enumerate() {
        let made = account(ledger, text).await;
        assert_eq!(made.name, *text);
        let found = ledger
            .account(&AccountRef::Name((*text).to_owned()))
            .await
            .expect("found");
        assert_eq!(found, made);
        let key = NewKey {
            name: (*text).to_owned(),
            ..new_key(made.id, i as u64 + 1)
        };
        assert_eq!(ledger.create_key(key).await.expect("made").name, *text);
        ledger.set_parameter("text", text, NOW_NS).await.expect("sets");
        let parameter = ledger.parameter("text").await.expect("reads").expect("is set");
        assert_eq!(parameter.value, *text);
        assert!(ledger.parameter(text).await.expect("reads").is_none());
        let error = ledger
            .create_account(new_account("x", text))
            .await
            .expect_err("no such tier");
        assert!(matches!(error, StoreError::NoSuchTier { .. }), "{error}");
        let id = FlushId {
            node: (*text).to_owned(),
            ..flush_id(0)
        };
        let symbol = SymbolUsageRow {
            symbol: Symbol::new(["';--", "%_", "\"\"", "A\\'B", "$1"][i % 5]).expect("a symbol"),
            ..symbol_row(i as u64 + 1, 1)
        };
        for expected in [FlushOutcome::Applied, FlushOutcome::AlreadyApplied] {
            let outcome = ledger
                .flush_usage(&id, &[usage_row(i as u64 + 1, 1)], &[symbol])
                .await;
            assert_eq!(outcome.expect("flushes"), expected);
        }
        assert_eq!(total(ledger, i as u64 + 1).await.entries, 1);
    }
    assert_eq!(ledger.list_accounts().await.expect("lists").len(), HOSTILE.len());
    assert_eq!(ledger.list_keys(None).await.expect("lists").len(), HOSTILE.len());
}

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

pub(crate) async fn rows_add_up_within_and_across_flushes(ledger: &dyn Ledger) {
    let slow = UsageRow {
        latency_sum_ns: 900,
        latency_max_ns: 500,
        ..usage_row(1, 2)
    };
    let http = UsageRow {
        protocol: Protocol::Http,
        ..usage_row(1, 4)
    };
    let refused = UsageRow {
        outcome: 5,
        ..usage_row(1, 8)
    };
    let later = UsageRow {
        second: NOW + 1,
        ..usage_row(1, 16)
    };
    let other = usage_row(2, 1_000);
    let rows = [usage_row(1, 1), slow, http, refused, later, other];
    let symbols = [
        symbol_row(1, 3),
        symbol_row(1, 4),
        SymbolUsageRow {
            status: 1,
            ..symbol_row(1, 5)
        },
    ];
    for sequence in 0..2 {
        let outcome = ledger
            .flush_usage(&flush_id(sequence), &rows, &symbols)
            .await
            .expect("flushes");
        assert_eq!(outcome, FlushOutcome::Applied);
    }
    let total = total(ledger, 1).await;
    assert_eq!((total.requests, total.charged), (2 * 31, 2 * 23));
    assert_eq!(total.entries, 2 * 12);
    assert_eq!(total.latency_sum_ns, 2 * (900 + 10 * (1 + 4 + 8 + 16)));
    assert_eq!(total.latency_max_ns, 500);
    let empty = ledger.flush_usage(&flush_id(2), &[], &[]).await.expect("flushes");
    assert_eq!(empty, FlushOutcome::Applied);
}

pub(crate) async fn a_retried_flush_changes_nothing(ledger: &dyn Ledger) {
    let id = FlushId {
        boot: u64::MAX,
        ..flush_id(7)
    };
    let (usage, symbols) = ([usage_row(1, 10), usage_row(1, 1)], [symbol_row(1, 4)]);
    for attempt in 0..4 {
        let outcome = ledger.flush_usage(&id, &usage, &symbols).await.expect("flushes");
        let expected = if attempt == 0 {
            FlushOutcome::Applied
        } else {
            FlushOutcome::AlreadyApplied
        };
        assert_eq!(outcome, expected);
    }
    let once = total(ledger, 1).await;
    assert_eq!((once.requests, once.entries), (11, 4));
    let others = [
        FlushId {
            node: "b".to_owned(),
            ..id.clone()
        },
        FlushId {
            boot: 0,
            ..id.clone()
        },
        FlushId {
            shard: u32::MAX,
            ..id.clone()
        },
        FlushId {
            sequence: 8,
            ..id.clone()
        },
    ];
    for other in &others {
        let outcome = ledger
            .flush_usage(other, &usage, &symbols)
            .await
            .expect("flushes");
        assert_eq!(outcome, FlushOutcome::Applied, "{other} is another flush");
    }
    assert_eq!(total(ledger, 1).await.requests, 5 * 11);
}

pub(crate) async fn one_flush_offered_many_times_at_once_counts_once(ledger: &dyn Ledger) {
    let (id, usage) = (flush_id(1), [usage_row(1, 5)]);
    let offer = || ledger.flush_usage(&id, &usage, &[]);
    let (a, b, c, d) = tokio::join!(offer(), offer(), offer(), offer());
    let applied = [a, b, c, d]
        .into_iter()
        .filter(|o| matches!(o, Ok(FlushOutcome::Applied)));
    assert_eq!(applied.count(), 1);
    assert_eq!(total(ledger, 1).await.requests, 5);
}

pub(crate) async fn a_flush_id_with_other_contents_is_refused(ledger: &dyn Ledger) {
    let (usage, symbols) = ([usage_row(1, 5)], [symbol_row(1, 5)]);
    ledger
        .flush_usage(&flush_id(1), &usage, &symbols)
        .await
        .expect("flushes");
    let more = [usage_row(1, 5), usage_row(1, 1)];
    for (usage, symbols) in [(&more[..], &symbols[..]), (&more[1..], &symbols), (&usage, &[])] {
        let error = ledger
            .flush_usage(&flush_id(1), usage, symbols)
            .await
            .expect_err("is another flush");
        assert!(matches!(error, StoreError::FlushIdReused { .. }), "{error}");
        assert!(
            error.to_string().contains("node-a/0000000000000001/0/1"),
            "{error}"
        );
    }
    assert_eq!(total(ledger, 1).await.requests, 5);
}

pub(crate) async fn a_bad_row_refuses_its_whole_flush(ledger: &dyn Ledger) {
    let good = usage_row(1, 1);
    let bad = [
        UsageRow { count: 0, ..good },
        UsageRow {
            count: u64::MAX,
            ..good
        },
        UsageRow {
            key_id: KeyId(1 << 63),
            ..good
        },
        UsageRow {
            second: 253_402_300_800,
            ..good
        },
    ];
    for row in bad {
        let error = ledger
            .flush_usage(&flush_id(1), &[good, row], &[])
            .await
            .expect_err("bad row");
        assert!(
            matches!(error, StoreError::InvalidRow { index: 1, .. }),
            "{error}"
        );
    }
    let bad = SymbolUsageRow {
        entries: 0,
        ..symbol_row(1, 1)
    };
    let error = ledger
        .flush_usage(&flush_id(1), &[good], &[symbol_row(1, 1), bad])
        .await
        .expect_err("bad row");
    assert!(
        matches!(error, StoreError::InvalidRow { index: 2, .. }),
        "{error}"
    );
    for id in [
        FlushId {
            node: String::new(),
            ..flush_id(1)
        },
        FlushId {
            node: "a\0b".to_owned(),
            ..flush_id(1)
        },
        flush_id(1 << 63),
    ] {
        let error = ledger.flush_usage(&id, &[good], &[]).await.expect_err("bad id");
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
    }
    assert_eq!(total(ledger, 1).await, UsageTotal::default());
    let outcome = ledger
        .flush_usage(&flush_id(1), &[good], &[])
        .await
        .expect("the id is still free");
    assert_eq!(outcome, FlushOutcome::Applied);
}

pub(crate) async fn any_flushes_with_any_retries_add_up_to_the_model(ledger: &dyn Ledger) {
    let row = (
        0_u64..4,
        0_u64..3,
        any::<bool>(),
        0_u16..3,
        1_u64..1_000,
        0_u64..1 << 40,
    )
        .prop_map(|(key, second, udp, outcome, count, latency)| UsageRow {
            key_id: KeyId(key),
            second: NOW + second,
            protocol: if udp { Protocol::Udp } else { Protocol::Http },
            outcome,
            count,
            latency_sum_ns: latency.saturating_mul(count),
            latency_max_ns: latency,
        });
    let symbol = (0_u64..4, 0_u8..3, 1_u64..100).prop_map(|(key, status, entries)| SymbolUsageRow {
        status,
        ..symbol_row(key, entries)
    });
    let rows = (
        proptest::collection::vec(row, 0..12),
        proptest::collection::vec(symbol, 0..12),
    );
    let flushes = proptest::collection::vec((rows, 1..4_usize), 40);
    let flushes = flushes
        .new_tree(&mut TestRunner::deterministic())
        .expect("a strategy")
        .current();

    let mut model: HashMap<u64, UsageTotal> = HashMap::new();
    for (sequence, ((usage, symbols), attempts)) in flushes.iter().enumerate() {
        for row in usage {
            let total = model.entry(row.key_id.0).or_default();
            total.requests += row.count;
            total.charged += if row.outcome == 0 { row.count } else { 0 };
            total.latency_sum_ns += row.latency_sum_ns;
            total.latency_max_ns = total.latency_max_ns.max(row.latency_max_ns);
        }
        for row in symbols {
            model.entry(row.key_id.0).or_default().entries += row.entries;
        }
        for _ in 0..*attempts {
            ledger
                .flush_usage(&flush_id(sequence as u64), usage, symbols)
                .await
                .expect("flushes");
        }
    }
    for key in 0..5 {
        assert_eq!(
            total(ledger, key).await,
            model.get(&key).copied().unwrap_or_default(),
            "key {key}"
        );
    }
    assert!(model.len() == 4 && model.values().all(|total| total.charged > 0));
}

pub(crate) async fn the_month_counts_what_was_charged_in_it(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    for id in [9, 1, 5] {
        ledger.create_key(new_key(account_id, id)).await.expect("makes");
    }
    let start = month_start(NOW);
    let at = |second, row| UsageRow { second, ..row };
    let rows = [
        at(start - 1, usage_row(1, 1)),
        at(start, usage_row(1, 2)),
        at(NOW, usage_row(1, 4)),
        at(
            NOW,
            UsageRow {
                protocol: Protocol::Http,
                ..usage_row(1, 8)
            },
        ),
        at(
            NOW,
            UsageRow {
                outcome: 6,
                ..usage_row(1, 16)
            },
        ),
        at(start, usage_row(9, 32)),
        at(start - 1, usage_row(5, 64)),
    ];
    ledger
        .flush_usage(&flush_id(1), &rows, &[])
        .await
        .expect("flushes");
    let month = ledger.month_usage(start).await.expect("reads");
    assert_eq!(month, [(KeyId(1), 14), (KeyId(9), 32)]);
    assert!(ledger.month_usage(NOW + 1).await.expect("reads").is_empty());
}

pub(crate) async fn usage_of_an_unknown_key_is_kept(ledger: &dyn Ledger) {
    ledger
        .flush_usage(
            &flush_id(1),
            &[usage_row(0, 2), usage_row(404, 3)],
            &[symbol_row(404, 4)],
        )
        .await
        .expect("what was counted must find its place");
    assert_eq!(total(ledger, 0).await.requests, 2);
    assert_eq!(
        (
            total(ledger, 404).await.requests,
            total(ledger, 404).await.entries
        ),
        (3, 4)
    );
}

pub(crate) async fn extreme_values_are_kept_or_refused_but_never_bent(ledger: &dyn Ledger) {
    let huge = UsageRow {
        second: 253_402_300_799,
        outcome: u16::MAX,
        count: i64::MAX as u64,
        latency_sum_ns: u64::MAX,
        latency_max_ns: u64::MAX,
        ..usage_row(i64::MAX as u64, 1)
    };
    let symbol = SymbolUsageRow {
        status: u8::MAX,
        ..symbol_row(i64::MAX as u64, i64::MAX as u64)
    };
    ledger
        .flush_usage(&flush_id(i64::MAX as u64), &[huge], &[symbol])
        .await
        .expect("flushes");
    let small = UsageRow { count: 1, ..huge };
    // One more would pass 2^63: refused whole, never wrapped or rounded.
    ledger
        .flush_usage(&flush_id(1), &[small], &[])
        .await
        .expect_err("would overflow");
    let total_huge = total(ledger, i64::MAX as u64).await;
    assert_eq!(
        (total_huge.requests, total_huge.entries),
        (huge.count, huge.count)
    );
    assert_eq!(
        total_huge.latency_sum_ns,
        i64::MAX as u64,
        "a latency sum saturates"
    );

    // Two saturated latency sums in one row, and two such rows in one total.
    let slow = UsageRow {
        latency_sum_ns: u64::MAX,
        latency_max_ns: 7,
        ..usage_row(3, 1)
    };
    let rows = [
        slow,
        slow,
        UsageRow {
            second: NOW + 1,
            ..slow
        },
    ];
    ledger
        .flush_usage(&flush_id(2), &rows, &[])
        .await
        .expect("flushes");
    let slow = total(ledger, 3).await;
    assert_eq!((slow.requests, slow.latency_sum_ns), (3, 2 * (i64::MAX as u64)));

    let too_late = NewAccount {
        created_at_ns: u64::MAX,
        ..new_account("late", "pro")
    };
    let error = ledger
        .create_account(too_late)
        .await
        .expect_err("beyond the ledger's time");
    assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
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

pub(crate) fn new_account(name: &str, tier: &str) -> NewAccount {
    NewAccount {
        name: name.to_owned(),
        tier: tier.to_owned(),
        created_at_ns: NOW_NS,
    }
}

pub(crate) fn new_key(account_id: AccountId, key_id: u64) -> NewKey {
    NewKey {
        key_id: KeyId(key_id),
        account_id,
        name: format!("key {key_id}"),
        verifier: verifier(key_id),
        created_at_ns: NOW_NS,
        expires_at_ns: None,
        settings: KeySettings::default(),
    }
}

pub(crate) fn usage_row(key_id: u64, count: u64) -> UsageRow {
    UsageRow {
        key_id: KeyId(key_id),
        second: NOW,
        protocol: Protocol::Udp,
        outcome: 0,
        count,
        latency_sum_ns: 10 * count,
        latency_max_ns: 10,
    }
}

pub(crate) fn symbol_row(key_id: u64, entries: u64) -> SymbolUsageRow {
    SymbolUsageRow {
        key_id: KeyId(key_id),
        symbol: Symbol::new("BTC-USD").expect("a symbol"),
        second: NOW,
        status: 0,
        entries,
    }
}

pub(crate) fn flush_id(sequence: u64) -> FlushId {
    FlushId {
        node: "node-a".to_owned(),
        boot: 1,
        shard: 0,
        sequence,
    }
}

pub(crate) async fn account(ledger: &dyn Ledger, name: &str) -> Account {
    ledger
        .create_account(new_account(name, "pro"))
        .await
        .expect("makes an account")
}

async fn total(ledger: &dyn Ledger, key_id: u64) -> UsageTotal {
    ledger.usage_total(KeyId(key_id)).await.expect("reads")
}

fn verifier(of: u64) -> Verifier {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&of.to_le_bytes());
    Verifier::from_secret(&secret)
}
