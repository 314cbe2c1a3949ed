//! What one HTTP worker tells the outside about itself.

use http::StatusCode;
use trinity_protocol::Code;

use crate::tables::counters::{Counter, LatencyHistogram, MissCounters};

/// Why a worker ended a connection that its client would have kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CutReason {
    /// No request for too long.
    Idle,
    /// The head came too slowly.
    SlowHead,
    /// The body came too slowly.
    SlowBody,
    /// The answer was not taken.
    SlowReader,
    /// The head was too long.
    LongHead,
    /// The body was too long.
    LongBody,
    /// What came was no HTTP.
    Malformed,
}

/// What one worker counts. The worker's thread is the only writer.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WebCounters {
    /// When the worker last swept, Unix nanoseconds.
    pub heartbeat_ns: Counter,
    /// Connections open now.
    pub open: Counter,
    /// Connections accepted.
    pub accepted: Counter,
    /// Connections turned away because the worker holds as many as it may.
    pub turned_away: Counter,
    /// Calls of `accept` that failed.
    pub accept_errors: Counter,
    /// Connections cut, by reason in the order of [`CutReason::ALL`].
    pub cut: [Counter; CutReason::ALL.len()],
    /// Responses by the first digit of their status, from 1xx on.
    pub classes: [Counter; 5],
    /// Answers of the price oracle by code, in wire order.
    pub codes: [Counter; Code::ALL.len()],
    /// Those of them that were given on the short way, without hyper.
    pub short: Counter,
    /// Prices given.
    pub entries: Counter,
    /// Requests that missed a price.
    pub misses: MissCounters,
    /// Time from a request's head to its answer.
    pub latency: LatencyHistogram,
}

impl CutReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Idle,
        Self::SlowHead,
        Self::SlowBody,
        Self::SlowReader,
        Self::LongHead,
        Self::LongBody,
        Self::Malformed,
    ];

    /// The name as metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::SlowHead => "slow_head",
            Self::SlowBody => "slow_body",
            Self::SlowReader => "slow_reader",
            Self::LongHead => "long_head",
            Self::LongBody => "long_body",
            Self::Malformed => "malformed",
        }
    }
}

impl WebCounters {
    pub(super) fn responded(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, self.classes.len());
        self.classes[class - 1].add(1);
    }

    /// Counts prices that were given on the short way, but for their latencies.
    pub(super) fn answered_short(&self, count: u64) {
        self.short.add(count);
        self.codes[Code::Ok as usize].add(count);
        self.entries.add(count);
        self.classes[1].add(count);
    }

    pub(super) fn was_cut(&self, reason: CutReason) {
        self.cut[reason as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_and_every_reason_has_its_counter() {
        let counters = WebCounters::default();
        for status in [100, 200, 304, 404, 599, 999] {
            counters.responded(StatusCode::from_u16(status).expect("a status"));
        }
        assert_eq!(counters.classes.each_ref().map(Counter::get), [1, 1, 1, 1, 2]);
        for reason in CutReason::ALL {
            counters.was_cut(reason);
        }
        assert!(counters.cut.iter().all(|c| c.get() == 1));
    }
}
