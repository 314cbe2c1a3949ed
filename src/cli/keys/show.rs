//! `keys list` and `keys show`.

use serde::Serialize;
use trinity_protocol::KeyId;

use super::Printed;
use super::view::{self, KeyView};
use crate::cli::output::{Table, exact_time, write_json};
use crate::store::{AccountRef, Ledger, month_start};

#[derive(Serialize)]
struct ShownView<'a> {
    #[serde(flatten)]
    record: KeyView<'a>,
    usage: UsageView,
}

#[derive(Serialize)]
struct UsageView {
    requests: u64,
    charged: u64,
    entries: u64,
    month: MonthView,
}

/// Of the UTC calendar month; what is left is null where there is no limit.
#[derive(Serialize)]
struct MonthView {
    start: String,
    charged: u64,
    charged_left: Option<u64>,
    reports: u32,
    reports_left: Option<u32>,
}

pub(super) async fn list(
    ledger: &dyn Ledger,
    account: Option<&AccountRef>,
    to: &mut Printed<'_>,
) -> anyhow::Result<()> {
    let account = match account {
        Some(which) => Some(ledger.account(which).await?.id),
        None => None,
    };
    let keys = ledger.list_keys(account).await?;
    if to.json {
        let views: Vec<_> = keys.iter().map(|key| KeyView::of(key, to.now_ns)).collect();
        write_json(to.out, &views)?;
    } else if keys.is_empty() {
        writeln!(to.out, "No keys yet: make one with `keys create --account NAME`.")?;
    } else {
        view::list(&keys, to.now_ns).write(to.out)?;
    }
    Ok(to.out.flush()?)
}

pub(super) async fn show(ledger: &dyn Ledger, key_id: KeyId, to: &mut Printed<'_>) -> anyhow::Result<()> {
    let key = ledger.key(key_id).await?;
    let used = ledger.usage_total(key_id).await?;
    let start = month_start(to.now_ns / 1_000_000_000);
    let counters = ledger.month_usage(start).await?;
    let charged = counters
        .binary_search_by_key(&key_id, |(key_id, _)| *key_id)
        .map_or(0, |place| counters[place].1);
    let reports = ledger.reports_used(key_id, start).await?;
    let month = MonthView {
        start: exact_time(start * 1_000_000_000),
        charged,
        charged_left: key
            .limits
            .requests_per_month
            .map(|limit| limit.saturating_sub(charged)),
        reports,
        reports_left: key
            .limits
            .reports_per_month
            .map(|limit| limit.saturating_sub(reports)),
    };
    if to.json {
        let usage = UsageView {
            requests: used.requests,
            charged: used.charged,
            entries: used.entries,
            month,
        };
        let record = KeyView::of(&key, to.now_ns);
        write_json(to.out, &ShownView { record, usage })?;
    } else {
        let mut table = Table::of_fields();
        view::describe(&mut table, &key, to.now_ns);
        let left =
            |left: Option<u64>| left.map_or_else(|| "no limit".to_owned(), |left| format!("{left} left"));
        table.row([
            "used this month",
            &format!("{} requests charged, {}", month.charged, left(month.charged_left)),
        ]);
        table.row([
            "reports this month",
            &format!("{}, {}", month.reports, left(month.reports_left.map(u64::from))),
        ]);
        table.row([
            "used in all",
            &format!("{} requests, {} of them charged", used.requests, used.charged),
        ]);
        table.write(to.out)?;
    }
    Ok(to.out.flush()?)
}
