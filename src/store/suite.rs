//! What every home of the ledger promises. Each promise gets a fresh, migrated ledger behind
//! `&dyn Ledger`; [`ledger_suite!`] makes one test of each for a home.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use trinity_protocol::{KeyId, Symbol, Verifier};

use super::*;

mod accounts;
mod flushes;
mod keys;
mod reports;
mod servers;
mod sums;
mod symbols;

pub(crate) use accounts::*;
pub(crate) use flushes::*;
pub(crate) use keys::*;
pub(crate) use reports::*;
pub(crate) use servers::*;
pub(crate) use sums::*;
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
            a_tier_is_made_and_set_and_its_keys_follow
            a_tier_that_means_nothing_is_refused
            an_account_patch_changes_what_it_names_and_nothing_else
            a_change_of_tier_is_on_record_with_its_time
            a_doubtful_name_is_refused
            hostile_text_is_kept_as_it_is
            a_key_comes_back_with_the_limits_of_its_account
            a_key_for_an_unknown_account_is_refused
            a_key_id_and_a_verifier_are_taken_once
            a_key_expires_at_its_time_and_not_before
            a_revoked_key_stays_revoked_since_the_first_time
            the_settings_of_a_key_come_back_as_they_were_given
            a_keys_own_limits_go_before_its_tiers
            a_key_patch_changes_what_it_names_and_nothing_else
            settings_that_mean_nothing_are_refused
            a_rotated_key_is_good_until_its_overlap_ends
            a_rotation_happens_wholly_or_not_at_all
            drawn_keys_take_the_settings_they_are_given
            keys_come_page_by_page_each_once
            what_changed_is_loaded_and_nothing_else
            a_snapshot_has_every_key_and_marks_the_refused
            the_stamp_follows_what_servers_reload_and_not_usage
            rows_add_up_within_and_across_flushes
            a_retried_flush_changes_nothing
            one_flush_offered_many_times_at_once_counts_once
            the_last_flush_of_each_counter_is_known
            a_flush_id_with_other_contents_is_refused
            a_bad_row_refuses_its_whole_flush
            an_older_flush_is_a_retry_and_a_gap_is_none
            any_flushes_with_any_retries_add_up_in_every_grain
            the_month_counts_what_was_charged_in_it
            the_month_turns_at_its_first_second
            an_empty_ledger_audits_clean
            old_seconds_go_and_every_sum_stays
            reports_are_charged_up_to_the_limit_of_each_month
            reports_asked_for_at_once_never_pass_the_limit
            a_report_that_means_nothing_is_refused
            usage_of_an_unknown_key_is_kept
            extreme_values_are_kept_or_refused_but_never_bent
            a_parameter_keeps_its_last_value
            a_parameter_is_unset_once
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
