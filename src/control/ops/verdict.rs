//! `/health` and `/ready`: whether the service does its work, and if not, what stands still.

use jiff::Timestamp;
use trinity_protocol::PriceStatus;

use super::Ops;
use super::metrics::symbols_by_status;
use crate::limits::{HEARTBEAT_STALE_MS, KEYS_STALE_MS, MARKET_STALE_MS};
use crate::lpo::http::json::Json;

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Which part.
    pub(super) component: String,
    /// What is wrong and what to do.
    pub(super) reason: String,
    /// Since when, Unix nanoseconds.
    pub(super) since_ns: u64,
}

/// Whether a stamp is missing, or older than `limit_ms`.
const fn is_stale(stamp_ns: u64, limit_ms: u64, now_ns: u64) -> bool {
    stamp_ns == 0 || now_ns.saturating_sub(stamp_ns) > limit_ms * 1_000_000
}

/// What makes the service unhealthy: a shard or an HTTP worker that takes no turns, or a
/// market that does not tick.
pub(super) fn health(ops: &Ops, now_ns: u64) -> Vec<Finding> {
    let shards = ops
        .shards
        .iter()
        .enumerate()
        .map(|(i, shard)| (format!("shard-{i}"), shard.counters.heartbeat_ns.get()));
    let workers = ops
        .web
        .iter()
        .enumerate()
        .map(|(i, worker)| (format!("web-{i}"), worker.heartbeat_ns.get()));
    let mut findings: Vec<_> = shards
        .chain(workers)
        .filter(|(_, heartbeat_ns)| is_stale(*heartbeat_ns, HEARTBEAT_STALE_MS, now_ns))
        .map(|(component, heartbeat_ns)| Finding {
            component,
            reason: if heartbeat_ns == 0 {
                "it has not started".to_owned()
            } else {
                "it takes no turns: restart the process if this lasts".to_owned()
            },
            since_ns: ops.or_start(heartbeat_ns),
        })
        .collect();
    let tick_ns = ops.market.last_tick_ns.get();
    if is_stale(tick_ns, MARKET_STALE_MS, now_ns) {
        findings.push(Finding {
            component: "market".to_owned(),
            reason: if tick_ns == 0 {
                "it has not ticked yet".to_owned()
            } else {
                "it does not tick: prices only grow older; see the log".to_owned()
            },
            since_ns: ops.or_start(tick_ns),
        });
    }
    findings
}

/// What keeps clients away from the service, and what they need not care about.
pub(super) fn readiness(ops: &Ops, now_ns: u64) -> (Vec<Finding>, Vec<Finding>) {
    let finding = |component: &str, reason: &str, since_ns| Finding {
        component: component.to_owned(),
        reason: reason.to_owned(),
        since_ns,
    };
    let mut reasons = health(ops, now_ns);
    let mut warnings = Vec::new();
    let stopping_ns = ops.stopping_since_ns.get();
    if stopping_ns != 0 {
        reasons.push(finding(
            "process",
            "it is stopping: requests in flight are finished, new ones go elsewhere",
            stopping_ns,
        ));
    }
    let symbols = symbols_by_status(ops, now_ns);
    let without = symbols[PriceStatus::NoPrice as usize];
    if symbols.iter().sum::<u64>() == without {
        reasons.push(finding("market", "no symbol has a price", ops.process.started_ns));
    }
    venues(ops, now_ns, &mut reasons, &mut warnings);
    if let Some(problem) = &*ops.market.symbols_problem.read() {
        let reason = format!("the ledger's symbols are not usable, the last good ones serve: {problem}");
        warnings.push(finding("symbols", &reason, ops.process.started_ns));
    }
    let synced_ns = ops.keys.last_sync_ns.get();
    if synced_ns == 0 {
        reasons.push(finding(
            "keys",
            "they were not read from the ledger yet, so every request would be refused",
            ops.process.started_ns,
        ));
    } else if is_stale(synced_ns, KEYS_STALE_MS, now_ns) {
        warnings.push(finding(
            "keys",
            "they were not read from the ledger for long: the last known ones go on serving",
            synced_ns,
        ));
    } else if ops.keys.count.get() == 0 {
        warnings.push(finding(
            "keys",
            "there is none: make one with 'keys create'",
            synced_ns,
        ));
    }
    let ledger = ops.ledger.state();
    if let Some(error) = &ledger.error {
        let reason =
            format!("it fails, so usage waits in the journal and the last known keys go on serving: {error}");
        warnings.push(finding("ledger", &reason, ledger.since_ns));
    }
    for text in &*ops.journal.set_aside.read() {
        warnings.push(finding("journal", text, ops.process.started_ns));
    }
    (reasons, warnings)
}

/// A venue that is down is a warning, for the others go on; all of them down is a reason.
fn venues(ops: &Ops, now_ns: u64, reasons: &mut Vec<Finding>, warnings: &mut Vec<Finding>) {
    let feeds = &ops.market.venues;
    for facts in feeds.iter().filter(|facts| !facts.is_up()) {
        let rest = |until_ns: u64| until_ns.saturating_sub(now_ns).div_ceil(1_000_000_000);
        let (up, wanted) = (facts.connections_up.get(), facts.connections_wanted.get());
        let reason = if facts.instruments.get() == 0 {
            "no symbol has a market there: add one with 'symbols set', or turn the venue off".to_owned()
        } else if facts.stream_open_until_ns.get() > now_ns {
            format!(
                "it failed several times in a row and is tried again in {} s; its REST serves meanwhile",
                rest(facts.stream_open_until_ns.get())
            )
        } else if up == 0 {
            format!("none of its {wanted} connections is open; its REST serves meanwhile, see the log")
        } else {
            format!("{up} of its {wanted} connections are open, and none brings news")
        };
        warnings.push(Finding {
            component: format!("venue-{}", facts.venue),
            reason,
            since_ns: facts.down_since_ns.get(),
        });
    }
    if !feeds.is_empty() && feeds.iter().all(|facts| !facts.is_up()) {
        let since_ns = feeds.iter().map(|facts| facts.down_since_ns.get()).max();
        reasons.push(Finding {
            component: "market".to_owned(),
            reason: "no venue brings news: is the network there?".to_owned(),
            since_ns: since_ns.unwrap_or(ops.process.started_ns),
        });
    }
}

/// Writes findings as an array of objects.
pub(super) fn write(json: &mut Json, findings: &[Finding]) {
    json.open_array();
    for finding in findings {
        json.open_object();
        json.key("component").string(&finding.component);
        json.key("reason").string(&finding.reason);
        json.key("since");
        match Timestamp::from_nanosecond(finding.since_ns.into()) {
            Ok(time) => json.string(&format!("{time:.3}")),
            Err(_) => json.null(),
        };
        json.close_object();
    }
    json.close_array();
}
