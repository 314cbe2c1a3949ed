//! What is known of the usage journals, and its part of `/metrics`.

use std::time::Duration;

use parking_lot::RwLock;

use super::Fact;
use super::exposition::{Exposition, seconds};
use crate::tables::meter::{Fill, MeterPages};

/// The usage journals.
#[derive(Debug, Default)]
pub struct JournalFacts {
    /// The control plane's ends of them.
    pub meters: RwLock<Vec<MeterPages>>,
    /// Pages of processes before this one that are not in the ledger yet.
    pub left_pages: Fact,
    /// Requests of processes before this one that this one carried to the ledger.
    pub recovered: Fact,
    /// Requests that were counted in a coarser row than their second's.
    pub folded: Fact,
    /// Rounds of the flush that failed and are tried again.
    pub retries: Fact,
    /// Requests of pages that the ledger has with other contents.
    pub disputed: Fact,
    /// Flushes that the ledger answered, and how long it took for all of them, nanoseconds.
    pub flushes: Fact,
    /// See `flushes`.
    pub flush_ns: Fact,
    /// The last of them, nanoseconds.
    pub last_flush_ns: Fact,
    /// Files that were set aside, and why.
    pub set_aside: RwLock<Vec<String>>,
}

impl JournalFacts {
    /// Notes a file that was set aside, and tells the log.
    pub fn set_aside(&self, text: String) {
        tracing::error!("usage journal {text}");
        self.set_aside.write().push(text);
    }

    /// Notes how long the ledger took for a flush.
    pub fn flush_took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.flushes.add(1);
        self.flush_ns.add(ns);
        self.last_flush_ns.set(ns);
    }

    /// How full the journals are together, and the oldest second in them that is not in the ledger.
    pub fn fill(&self) -> Fill {
        let mut all = Fill::default();
        for meter in &*self.meters.read() {
            let fill = meter.fill();
            all.request_rows += fill.request_rows;
            all.request_capacity += fill.request_capacity;
            all.oldest_second = match (all.oldest_second, fill.oldest_second) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        all
    }
}

pub(super) fn render(out: &mut Exposition, facts: &JournalFacts, now_ns: u64) {
    let fill = facts.fill();
    let now = now_ns / 1_000_000_000;
    let age = fill
        .oldest_second
        .map_or(0, |second| now.saturating_sub(u64::from(second)));
    for (name, help, value) in [
        (
            "trinity_journal_rows",
            "Request rows in the usage journals that are not in the ledger yet.",
            fill.request_rows,
        ),
        (
            "trinity_journal_capacity_rows",
            "Request rows that the usage journals have.",
            fill.request_capacity,
        ),
        (
            "trinity_ledger_unflushed_age_seconds",
            "Age of the oldest usage that waits for the ledger.",
            age,
        ),
        (
            "trinity_journal_left_pages",
            "Usage pages of processes before this one that wait for the ledger.",
            facts.left_pages.get(),
        ),
        (
            "trinity_journal_set_aside",
            "Usage journals that were set aside because they are unreadable or damaged.",
            facts.set_aside.read().len() as u64,
        ),
    ] {
        out.gauge(name, help).sample(&[], value);
    }
    for (name, help, count) in [
        (
            "trinity_journal_recovered_requests_total",
            "Requests of processes before this one that were carried to the ledger.",
            &facts.recovered,
        ),
        (
            "trinity_journal_folded_requests_total",
            "Requests counted by the minute or hour because the journal was half full.",
            &facts.folded,
        ),
        (
            "trinity_journal_disputed_requests_total",
            "Requests of usage pages that the ledger has with other contents.",
            &facts.disputed,
        ),
        (
            "trinity_ledger_flush_retries_total",
            "Rounds of the usage flush that failed and are tried again.",
            &facts.retries,
        ),
    ] {
        out.counter(name, help).sample(&[], count.get());
    }
    out.gauge(
        "trinity_ledger_flush_last_seconds",
        "Time that the ledger took for the last flush.",
    )
    .sample(&[], seconds(facts.last_flush_ns.get()));
    out.counter(
        "trinity_ledger_flush_seconds_total",
        "Time that the ledger took for all flushes.",
    )
    .sample(&[], seconds(facts.flush_ns.get()));
}
