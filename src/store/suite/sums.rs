//! What every home of the ledger promises of sums: they are those of the seconds, whatever came in which flush.

use std::collections::BTreeMap;

use proptest::collection;

use super::*;

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
    let some = [9, 5, 404, 9, u64::MAX].map(KeyId);
    let month = ledger.month_usage_of(start, &some).await.expect("reads");
    assert_eq!(month, [(KeyId(9), 32)], "of those asked for");
    assert!(ledger.month_usage(NOW + 1).await.expect("reads").is_empty());
}

pub(crate) async fn the_month_turns_at_its_first_second(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let march = month_start(NOW);
    let february = month_start(march - 1);
    // In one flush and in two, in the first and the last second.
    for (sequence, second, count) in [
        (0, march - 1, 1),
        (1, march, 2),
        (2, february, 4),
        (3, february - 1, 8),
    ] {
        let row = |second, count| UsageRow {
            second,
            ..usage_row(1, count)
        };
        let rows = [row(second, count), row(march, 16)];
        ledger
            .flush_usage(&flush_id(sequence), &rows, &[])
            .await
            .expect("flushes");
    }
    let since = async |start| ledger.month_usage(start).await.expect("reads");
    assert_eq!(since(march).await, [(KeyId(1), 4 * 16 + 2)]);
    assert_eq!(since(february).await, [(KeyId(1), 4 * 16 + 2 + 1 + 4)]);
    assert_eq!(since(0).await, [(KeyId(1), 4 * 16 + 15)]);
}

type SumKey = (u64, KeyId, Protocol, u16);

/// What the rows add up to in a grain, as the contract has it.
fn model(rows: &[UsageRow], grain: Grain) -> Vec<UsageSum> {
    let mut sums: BTreeMap<SumKey, (u64, u64, u64)> = BTreeMap::new();
    for row in rows {
        let start = row.second / grain.seconds() * grain.seconds();
        let sum = sums
            .entry((start, row.key_id, row.protocol, row.outcome))
            .or_default();
        sum.0 += row.count;
        sum.1 += row.latency_sum_ns;
        sum.2 = sum.2.max(row.latency_max_ns);
    }
    sums.into_iter()
        .map(|((start, key_id, protocol, outcome), sum)| UsageSum {
            key_id,
            start,
            protocol,
            outcome,
            count: sum.0,
            latency_sum_ns: sum.1,
            latency_max_ns: sum.2,
        })
        .collect()
}

/// Flushes of several counters of two nodes, each with how often it is offered.
fn any_flushes() -> Vec<(FlushId, Vec<UsageRow>, Vec<SymbolUsageRow>, usize)> {
    // Around midnight of a month's turn, so that every grain has an edge among the seconds.
    let second = month_start(NOW) - 4_000..month_start(NOW) + 4_000;
    let row = (
        0_u64..4,
        second.clone(),
        any::<bool>(),
        0_u16..3,
        1_u64..1_000,
        0_u64..1 << 40,
    );
    let row = row.prop_map(|(key, second, udp, outcome, count, latency)| UsageRow {
        key_id: KeyId(key),
        second,
        protocol: if udp { Protocol::Udp } else { Protocol::Http },
        outcome,
        count,
        latency_sum_ns: latency * count,
        latency_max_ns: latency,
    });
    let symbol = (0_u64..4, second, 0_u8..3, 1_u64..100);
    let symbol = symbol.prop_map(|(key, second, status, entries)| SymbolUsageRow {
        second,
        status,
        ..symbol_row(key, entries)
    });
    let flush = (
        (any::<bool>(), 0_u32..3, 1_u64..3),
        collection::vec(row, 0..12),
        collection::vec(symbol, 0..12),
        1..4_usize,
    );
    let flushes = collection::vec(flush, 60)
        .new_tree(&mut TestRunner::deterministic())
        .expect("a strategy")
        .current();
    let mut sequences: HashMap<(bool, u32), u64> = HashMap::new();
    flushes
        .into_iter()
        .map(|((node, shard, step), usage, symbols, offers)| {
            let sequence = sequences.entry((node, shard)).or_default();
            *sequence += step;
            let id = FlushId {
                node: if node { "node-a" } else { "node-b" }.to_owned(),
                shard,
                ..flush_id(*sequence)
            };
            (id, usage, symbols, offers)
        })
        .collect()
}

pub(crate) async fn any_flushes_with_any_retries_add_up_in_every_grain(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    for id in 1..4 {
        ledger.create_key(new_key(account_id, id)).await.expect("makes");
    }
    let (mut rows, mut entries) = (Vec::new(), Vec::new());
    for (id, usage, symbols, offers) in any_flushes() {
        for offer in 0..offers {
            let outcome = ledger.flush_usage(&id, &usage, &symbols).await.expect("flushes");
            assert_eq!(outcome == FlushOutcome::Applied, offer == 0, "{id}");
        }
        rows.extend(usage);
        entries.extend(symbols);
    }
    for grain in [Grain::Second, Grain::Minute, Grain::Hour, Grain::Day] {
        let expected = model(&rows, grain);
        let spans: std::collections::HashSet<_> = expected.iter().map(|sum| sum.start).collect();
        assert!(spans.len() >= 2, "{grain:?} has an edge among the rows");
        let sums = async |from, to, key_id| ledger.usage_sums(grain, from, to, key_id).await.expect("reads");
        assert_eq!(sums(0, u64::MAX, None).await, expected, "{grain:?}");
        let middle = month_start(NOW);
        let within = |from, to, key: Option<u64>| -> Vec<UsageSum> {
            let mut sums = expected.clone();
            sums.retain(|sum| (from..to).contains(&sum.start) && key.is_none_or(|key| sum.key_id.0 == key));
            sums
        };
        for (from, to) in [
            (0, u64::MAX),
            (middle, u64::MAX),
            (0, middle),
            (middle - 60, middle + 61),
            (middle, middle),
        ] {
            assert_eq!(
                sums(from, to, None).await,
                within(from, to, None),
                "{grain:?} {from}..{to}"
            );
            for key in [0, 2, 77] {
                let key_id = Some(KeyId(key));
                assert_eq!(
                    sums(from, to, key_id).await,
                    within(from, to, Some(key)),
                    "{grain:?} {from}..{to}"
                );
            }
        }
    }
    for key in 0..5 {
        let mut expected = UsageTotal::default();
        for row in rows.iter().filter(|row| row.key_id.0 == key) {
            expected.requests += row.count;
            expected.charged += if row.outcome == 0 { row.count } else { 0 };
            expected.latency_sum_ns += row.latency_sum_ns;
            expected.latency_max_ns = expected.latency_max_ns.max(row.latency_max_ns);
        }
        let entries = entries.iter().filter(|row| row.key_id.0 == key);
        expected.entries = entries.map(|row| row.entries).sum();
        assert_eq!(total(ledger, key).await, expected, "key {key}");
    }
    let month: Vec<_> = (1..4)
        .map(|key| {
            let charged =
                |row: &&UsageRow| row.key_id.0 == key && row.outcome == 0 && row.second >= month_start(NOW);
            (
                KeyId(key),
                rows.iter().filter(charged).map(|row| row.count).sum::<u64>(),
            )
        })
        .collect();
    assert_eq!(ledger.month_usage(month_start(NOW)).await.expect("reads"), month);

    let audit = ledger.audit().await.expect("audits");
    let requests: u64 = rows.iter().map(|row| row.count).sum();
    let entries: u64 = entries.iter().map(|row| row.entries).sum();
    assert_eq!(audit.discrepancies, []);
    assert_eq!(
        [
            audit.requests_in_seconds,
            audit.requests_in_days,
            audit.requests_in_months,
            audit.requests_flushed
        ],
        [requests; 4]
    );
    assert_eq!([audit.entries_in_days, audit.entries_flushed], [entries; 2]);
}

pub(crate) async fn an_empty_ledger_audits_clean(ledger: &dyn Ledger) {
    assert_eq!(ledger.audit().await.expect("audits"), LedgerAudit::default());
    ledger.flush_usage(&flush_id(1), &[], &[]).await.expect("flushes");
    assert_eq!(ledger.audit().await.expect("audits"), LedgerAudit::default());
}

pub(crate) async fn old_seconds_go_and_every_sum_stays(ledger: &dyn Ledger) {
    const DAY: u64 = 86_400;
    let today = NOW / DAY * DAY;
    assert_eq!(today, NOW, "the tests' now is a midnight");
    // Day by day from six days ago to today; the seconds of the first and the last second of each.
    let mut rows = Vec::new();
    for day in 0..7 {
        for second in [today - day * DAY, today - day * DAY + DAY - 1] {
            for key in 1..3 {
                rows.push(UsageRow {
                    second,
                    ..usage_row(key, 1 + day)
                });
            }
        }
    }
    let symbols: Vec<_> = rows
        .iter()
        .map(|row| SymbolUsageRow {
            second: row.second,
            ..symbol_row(row.key_id.0, row.count)
        })
        .collect();
    ledger
        .flush_usage(&flush_id(1), &rows, &symbols)
        .await
        .expect("flushes");
    let of = async |grain| ledger.usage_sums(grain, 0, u64::MAX, None).await.expect("reads");
    let before = (
        of(Grain::Minute).await,
        of(Grain::Hour).await,
        of(Grain::Day).await,
    );
    let totals = (total(ledger, 1).await, total(ledger, 2).await);
    let whole = ledger.audit().await.expect("audits");
    assert_eq!(whole.seconds_kept_from, Some(today - 6 * DAY));

    let tend = async |now, keep_days| {
        let mut calls = 0;
        while ledger.tend_usage(now, keep_days).await.expect("tends").dropped > 0 {
            calls += 1;
            assert!(calls < 20, "it comes to an end");
        }
        calls
    };
    // What ended three days before today, or less, is kept: today and the three days before it,
    // and the day that ended exactly then.
    for (now, keep_days, oldest) in [
        (today, 93, 6),
        (today + DAY - 1, 5, 6),
        (today, 3, 4),
        (today, 3, 4),
        (today + DAY, 3, 3),
    ] {
        let had = of(Grain::Second).await;
        let calls = tend(now, keep_days).await;
        let left = of(Grain::Second).await;
        let from = today - oldest * DAY;
        let mut expected = had.clone();
        expected.retain(|sum| sum.start >= from);
        assert_eq!(left, expected, "{keep_days} days before {now}");
        assert_eq!(
            calls > 0,
            left.len() < had.len(),
            "it says whether it dropped anything"
        );
        assert_eq!(
            (
                of(Grain::Minute).await,
                of(Grain::Hour).await,
                of(Grain::Day).await
            ),
            before
        );
        assert_eq!((total(ledger, 1).await, total(ledger, 2).await), totals);
        let audit = ledger.audit().await.expect("audits");
        assert_eq!(audit.discrepancies, []);
        assert_eq!(audit.seconds_kept_from, Some(from));
        assert_eq!(
            audit.requests_in_seconds,
            left.iter().map(|sum| sum.count).sum::<u64>()
        );
        assert_eq!(audit.requests_in_days, whole.requests_in_days);
    }

    // A page that comes late, for a day that is gone, is counted all the same.
    let late = UsageRow {
        second: today - 6 * DAY,
        ..usage_row(1, 1_000)
    };
    ledger
        .flush_usage(&flush_id(2), &[late], &[])
        .await
        .expect("flushes");
    assert_eq!(total(ledger, 1).await.requests, totals.0.requests + 1_000);
    for _ in 0..2 {
        let audit = ledger.audit().await.expect("audits");
        assert_eq!(audit.discrepancies, []);
        assert_eq!(audit.requests_flushed, whole.requests_flushed + 1_000);
        tend(today + DAY, 3).await;
    }
}
