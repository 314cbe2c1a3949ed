//! What every home of the ledger promises of reports: a key gets as many as it may have, and no more.

use super::*;

fn report(key_id: u64, at_ns: u64, limit: Option<u32>) -> NewReport {
    NewReport {
        key_id: KeyId(key_id),
        kind: "usage".to_owned(),
        format: "csv".to_owned(),
        at_ns,
        limit,
    }
}

pub(crate) async fn reports_are_charged_up_to_the_limit_of_each_month(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    for id in [1, 2] {
        ledger.create_key(new_key(account_id, id)).await.expect("makes");
    }
    let charge = async |report| ledger.charge_report(&report).await.expect("answers");
    let month = month_start(NOW);
    let first = month * 1_000_000_000;
    for (at_ns, limit, expected) in [
        (first - 1, Some(1), ReportCharge::Charged { used: 1 }),
        (first - 1, Some(1), ReportCharge::Refused { used: 1 }),
        (first, Some(2), ReportCharge::Charged { used: 1 }),
        (NOW_NS, Some(2), ReportCharge::Charged { used: 2 }),
        (NOW_NS, Some(2), ReportCharge::Refused { used: 2 }),
        (NOW_NS, Some(0), ReportCharge::Refused { used: 2 }),
        (NOW_NS, None, ReportCharge::Charged { used: 3 }),
        (NOW_NS, Some(3), ReportCharge::Refused { used: 3 }),
        (NOW_NS, Some(4), ReportCharge::Charged { used: 4 }),
    ] {
        assert_eq!(
            charge(report(1, at_ns, limit)).await,
            expected,
            "{limit:?} at {at_ns}"
        );
    }
    assert_eq!(
        charge(report(2, NOW_NS, Some(1))).await,
        ReportCharge::Charged { used: 1 }
    );
    let used = async |key, month| ledger.reports_used(KeyId(key), month).await.expect("reads");
    assert_eq!(
        (used(1, month).await, used(1, month_start(month - 1)).await),
        (4, 1)
    );
    assert_eq!((used(2, month).await, used(77, month).await), (1, 0));
}

pub(crate) async fn reports_asked_for_at_once_never_pass_the_limit(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let wanted = report(1, NOW_NS, Some(5));
    let charges = (0..20).map(|_| ledger.charge_report(&wanted));
    let charges = futures_util::future::join_all(charges).await;
    let mut used: Vec<_> = charges
        .into_iter()
        .filter_map(|charge| match charge.expect("answers") {
            ReportCharge::Charged { used } => Some(used),
            ReportCharge::Refused { used } => {
                assert_eq!(used, 5);
                None
            }
        })
        .collect();
    used.sort_unstable();
    assert_eq!(used, [1, 2, 3, 4, 5]);
    assert_eq!(
        ledger
            .reports_used(KeyId(1), month_start(NOW))
            .await
            .expect("reads"),
        5
    );
}

pub(crate) async fn a_report_that_means_nothing_is_refused(ledger: &dyn Ledger) {
    let account_id = account(ledger, "acme").await.id;
    ledger.create_key(new_key(account_id, 1)).await.expect("makes");
    let good = report(1, NOW_NS, None);
    let kind = |kind: &str| NewReport {
        kind: kind.to_owned(),
        ..good.clone()
    };
    let format = |format: &str| NewReport {
        format: format.to_owned(),
        ..good.clone()
    };
    let (long_kind, long_format) = ("a".repeat(33), "a".repeat(17));
    for bad in [
        kind(""),
        kind("Usage"),
        kind("'; --"),
        kind("a b"),
        kind(&long_kind),
        format(""),
        format("c_v"),
        format("ä"),
        format(&long_format),
        report(1, u64::MAX, None),
    ] {
        let error = ledger.charge_report(&bad).await.expect_err("means nothing");
        assert!(matches!(error, StoreError::Invalid { .. }), "{bad:?}: {error}");
    }
    for nobody in [77, u64::MAX] {
        let error = ledger.charge_report(&report(nobody, NOW_NS, None)).await;
        let error = error.expect_err("no such key");
        assert!(matches!(error, StoreError::NoSuchKey { .. }), "{error}");
    }
    assert_eq!(
        ledger
            .reports_used(KeyId(1), month_start(NOW))
            .await
            .expect("reads"),
        0
    );
    let longest = NewReport {
        format: "a-0".to_owned(),
        ..kind(&long_kind[..32])
    };
    ledger.charge_report(&longest).await.expect("just short enough");
}
