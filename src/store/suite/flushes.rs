//! What every home of the ledger promises of flushes: each is applied once, whole, or refused.

use super::*;

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
    let other = |sequence| FlushId {
        shard: 1,
        ..flush_id(sequence)
    };
    // One more would pass 2^63: refused whole, never wrapped or rounded.
    ledger
        .flush_usage(&other(1), &[small], &[])
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

    // Two saturated latency sums in one row, and two such days in one total.
    let slow = UsageRow {
        latency_sum_ns: u64::MAX,
        latency_max_ns: 7,
        ..usage_row(3, 1)
    };
    let rows = [
        slow,
        slow,
        UsageRow {
            second: NOW + 86_400,
            ..slow
        },
    ];
    ledger.flush_usage(&other(1), &rows, &[]).await.expect("flushes");
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

pub(crate) async fn an_older_flush_is_a_retry_and_a_gap_is_none(ledger: &dyn Ledger) {
    let flush = async |sequence, count| {
        let rows = [usage_row(1, count)];
        ledger.flush_usage(&flush_id(sequence), &rows, &[]).await
    };
    for (sequence, count, expected) in [
        (5, 1, FlushOutcome::Applied),
        (5, 1, FlushOutcome::AlreadyApplied),
        (6, 2, FlushOutcome::Applied),
        (5, 1, FlushOutcome::AlreadyApplied),
        // What an older one held is not remembered.
        (4, 100, FlushOutcome::AlreadyApplied),
        (0, 100, FlushOutcome::AlreadyApplied),
        (1_000, 4, FlushOutcome::Applied),
        (999, 100, FlushOutcome::AlreadyApplied),
        (6, 2, FlushOutcome::AlreadyApplied),
        (i64::MAX as u64, 8, FlushOutcome::Applied),
        (i64::MAX as u64, 8, FlushOutcome::AlreadyApplied),
    ] {
        assert_eq!(
            flush(sequence, count).await.expect("flushes"),
            expected,
            "{sequence}"
        );
    }
    let error = flush(i64::MAX as u64, 9).await.expect_err("other contents");
    assert!(matches!(error, StoreError::FlushIdReused { .. }), "{error}");
    assert_eq!(total(ledger, 1).await.requests, 15);
}

pub(crate) async fn the_last_flush_of_each_counter_is_known(ledger: &dyn Ledger) {
    let last = async |node, boot, shard| ledger.last_flush(node, boot, shard).await.expect("reads");
    assert_eq!(last("node-a", 1, 0).await, None);
    for sequence in [1, 2, 7] {
        let (id, rows) = (flush_id(sequence), [usage_row(1, 1)]);
        ledger.flush_usage(&id, &rows, &[]).await.expect("flushes");
        assert_eq!(last("node-a", 1, 0).await, Some(sequence));
    }
    let (id, rows) = (flush_id(2), [usage_row(1, 1)]);
    ledger
        .flush_usage(&id, &rows, &[])
        .await
        .expect("was applied before");
    assert_eq!(last("node-a", 1, 0).await, Some(7));
    for (node, boot, shard) in [("node-b", 1, 0), ("node-a", 2, 0), ("node-a", 1, 1)] {
        assert_eq!(last(node, boot, shard).await, None);
    }
}
