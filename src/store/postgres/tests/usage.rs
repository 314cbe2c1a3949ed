//! Usage: partitions by day, collisions between nodes, and how fast it goes in.

use trinity_protocol::Symbol;

use super::*;
use crate::store::Protocol;

const DAY: u64 = 86_400;

fn partitions(server: &Postgres) -> Vec<String> {
    let names = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                 WHERE i.inhparent = 'public.usage'::regclass ORDER BY 1";
    let names = server.sql(names).expect("asked");
    names.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_day_has_its_partition_ahead_of_time_and_loses_it_with_its_sums_exact() {
    let (server, ledger) = fresh().await;
    let now = usage_row(1, 1).second;
    let tended = ledger.tend_usage(now, 1_000).await.expect("tends");
    assert_eq!(tended, Tended { made: 8, dropped: 0 });
    assert_eq!(
        ledger.tend_usage(now, 1_000).await.expect("tends"),
        Tended::default()
    );
    assert_eq!(partitions(&server)[0], "usage_20230311");
    assert_eq!(partitions(&server).len(), 8);

    let at = |second| UsageRow {
        second,
        ..usage_row(1, 5)
    };
    let entries = |second| SymbolUsageRow {
        second,
        ..symbol_row(1, 7)
    };
    // An odd day, far from the rest, and one in which only symbols were asked for.
    let odd = now - 400 * DAY;
    ledger
        .flush_usage(
            &flush_id(1),
            &[at(now), at(odd), at(now - DAY)],
            &[entries(now - 3 * DAY)],
        )
        .await
        .expect("flushes");
    assert_eq!(partitions(&server).len(), 11);
    let tended = ledger.tend_usage(now, 2).await.expect("tends");
    assert_eq!(tended, Tended { made: 0, dropped: 1 });
    assert_eq!(partitions(&server).len(), 10, "the odd day is over");
    let tended = ledger.tend_usage(now + DAY, 2).await.expect("tends");
    assert_eq!(tended, Tended { made: 1, dropped: 1 });

    // What comes late for a day that is gone is in the sums and makes no day again.
    ledger
        .flush_usage(&flush_id(2), &[at(odd + 1)], &[entries(odd)])
        .await
        .expect("flushes");
    assert_eq!(partitions(&server)[0], "usage_20230310");
    let total = ledger.usage_total(KeyId(1)).await.expect("reads");
    assert_eq!((total.requests, total.entries), (20, 14));
    let days = ledger
        .usage_sums(Grain::Day, odd, odd + 1, None)
        .await
        .expect("sums");
    assert_eq!(days[0].count, 10);
    let seconds = ledger
        .usage_sums(Grain::Second, odd, odd + 2, None)
        .await
        .expect("sums");
    assert!(seconds.is_empty());
    let audit = ledger.audit().await.expect("audits");
    assert!(audit.discrepancies.is_empty(), "{:?}", audit.discrepancies);
    assert_eq!(audit.requests_flushed, 20);
    assert_eq!(audit.requests_in_seconds, 10);
}

#[tokio::test]
async fn a_day_that_was_dropped_by_hand_is_made_again() {
    let (server, ledger) = fresh().await;
    ledger
        .flush_usage(&flush_id(1), &[usage_row(1, 1)], &[])
        .await
        .expect("flushes");
    server
        .sql("DROP TABLE usage_20230311, usage_symbols_20230311")
        .expect("fits");
    let again = ledger.flush_usage(&flush_id(2), &[usage_row(1, 1)], &[]).await;
    assert_eq!(again.expect("flushes"), FlushOutcome::Applied);
    let audit = ledger.audit().await.expect("audits");
    assert!(!audit.discrepancies.is_empty(), "what the hand took is found");
}

#[tokio::test]
async fn nodes_that_flush_the_same_rows_at_once_wait_for_each_other_and_lose_nothing() {
    let (server, first) = fresh().await;
    let nodes = [first, open(&server).await, open(&server).await];
    let rows: Vec<_> = (0..300)
        .map(|i| UsageRow {
            second: usage_row(1, 1).second + i % 90,
            ..usage_row(i % 50 + 1, 2)
        })
        .collect();
    let flushes = nodes.iter().enumerate().map(|(node, ledger)| {
        let (rows, ledger) = (rows.clone(), ledger.clone());
        async move {
            let mut rows = rows;
            for sequence in 0..10 {
                // Another order in each flush: the ledger puts them in one.
                rows.rotate_left(37);
                let id = FlushId {
                    node: format!("node-{node}"),
                    ..flush_id(sequence)
                };
                ledger
                    .flush_usage(&id, &rows, &[symbol_row(1, 1)])
                    .await
                    .expect("flushes");
            }
        }
    });
    futures_util::future::join_all(flushes).await;
    let audit = nodes[0].audit().await.expect("audits");
    assert_eq!(audit.requests_flushed, 3 * 10 * 300 * 2);
    assert!(audit.discrepancies.is_empty(), "{:?}", audit.discrepancies);
    let month = nodes[0]
        .usage_sums(Grain::Day, 0, u64::MAX, Some(KeyId(1)))
        .await
        .expect("sums");
    assert_eq!(month.iter().map(|sum| sum.count).sum::<u64>(), 3 * 10 * 6 * 2);
}

/// Whether to measure with as much as a real ledger has, instead of only doing the same with less.
fn measures() -> bool {
    std::env::var_os("TRINITY_MEASURE").is_some()
}

/// Prints what it measures: `TRINITY_MEASURE=1 cargo nextest run --no-capture batches_of_rows` on a
/// quiet machine.
#[tokio::test]
async fn large_batches_of_rows_go_in_and_add_up() {
    let size = if measures() { 50_000 } else { 5_000_u64 };
    let (_server, ledger) = fresh().await;
    let start = usage_row(1, 1).second;
    ledger.tend_usage(start, 93).await.expect("makes room");
    // 500 keys, 100 seconds: as a hundred seconds of closed pages come.
    for (name, with_symbols) in [("requests alone", false), ("with a symbol row each", true)] {
        let mut rates = Vec::new();
        for sequence in 0..7_u64 {
            let base = start + sequence * 100 + if with_symbols { 10_000 } else { 0 };
            let rows: Vec<_> = (0..size)
                .map(|i| UsageRow {
                    second: base + i / 500,
                    protocol: if i % 2 == 0 { Protocol::Udp } else { Protocol::Http },
                    ..usage_row(i % 500 + 1, 3)
                })
                .collect();
            let symbols: Vec<_> = rows
                .iter()
                .filter(|_| with_symbols)
                .map(|row| SymbolUsageRow {
                    second: row.second,
                    symbol: Symbol::new(&format!("S{}-USD", row.key_id.0 % 20)).expect("a symbol"),
                    ..symbol_row(row.key_id.0, 3)
                })
                .collect();
            let id = FlushId {
                shard: u32::from(with_symbols),
                ..flush_id(sequence)
            };
            let began = crate::clock::monotonic();
            let flush = ledger.flush_usage(&id, &rows, &symbols).await;
            assert_eq!(flush.expect("flushes"), FlushOutcome::Applied);
            let rate = rows.len() as f64 / began.elapsed().as_secs_f64();
            rates.push(rate as u64);
        }
        rates.sort_unstable();
        println!(
            "{name}: {} request rows a second (median of {rates:?})",
            rates[rates.len() / 2]
        );
    }
    assert!(ledger.audit().await.expect("audits").discrepancies.is_empty());
}

/// The same for a million keys.
#[tokio::test]
async fn many_keys_come_out_by_pages_and_the_changed_one_alone() {
    let many = if measures() { 1_000_000 } else { 25_000_usize };
    let (server, ledger) = fresh().await;
    ledger
        .create_account(new_account("acme", "pro"))
        .await
        .expect("makes");
    let began = crate::clock::monotonic();
    let insert = format!(
        "INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns)
         SELECT n, 1, 'k' || n, decode(lpad(to_hex(n), 64, '0'), 'hex'), 1 FROM generate_series(1, {many}) n"
    );
    server.sql(&insert).expect("fits");
    println!("{many} keys inserted in one statement: {:?}", began.elapsed());
    let since = ledger.change_stamp().await.expect("reads");
    let began = crate::clock::monotonic();
    let (mut count, mut next) = (0, None);
    loop {
        let page = ledger.load_keys(next, 10_000).await.expect("loads");
        (count, next) = (count + page.keys.len(), page.next);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(count, many);
    println!("loaded by pages of 10,000: {:?}", began.elapsed());
    ledger.revoke_key(KeyId(20_000), 5).await.expect("revokes");
    let began = crate::clock::monotonic();
    let changed = ledger
        .load_changed_keys(since, None, 10_000)
        .await
        .expect("loads");
    assert_eq!(changed.keys.len(), 1);
    println!("the one that changed: {:?}", began.elapsed());
}
