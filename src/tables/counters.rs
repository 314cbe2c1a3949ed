//! What one shard tells the outside about itself: counters, a heartbeat, a latency histogram.
//!
//! The shard is the only writer, so a count is a relaxed load and store, not a locked
//! instruction; anybody may read.

use trinity_protocol::{Code, Refusal};

use super::sync::{AtomicU64, Ordering};

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only the owning thread may.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0
            .store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Replaces the value; for gauges.
    #[inline]
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads; anybody may.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Buckets of a [`LatencyHistogram`]: bucket `i` counts latencies below 2^i nanoseconds.
pub const LATENCY_BUCKETS: usize = 40;

/// Latencies in buckets that double, from 1 ns to 9 minutes.
#[derive(Debug)]
pub struct LatencyHistogram {
    buckets: [Counter; LATENCY_BUCKETS],
    sum_ns: Counter,
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self {
            buckets: std::array::from_fn(|_| Counter::default()),
            sum_ns: Counter::default(),
        }
    }
}

impl LatencyHistogram {
    /// Counts `count` requests of one latency.
    #[inline]
    pub fn record(&self, latency_ns: u64, count: u64) {
        let bucket = (64 - latency_ns.leading_zeros()) as usize;
        self.buckets[bucket.min(LATENCY_BUCKETS - 1)].add(count);
        self.sum_ns.add(latency_ns.saturating_mul(count));
    }

    /// Counts by bucket, not cumulated.
    pub fn buckets(&self) -> [u64; LATENCY_BUCKETS] {
        std::array::from_fn(|i| self.buckets[i].get())
    }

    /// Sum of all latencies, nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns.get()
    }
}

/// What became of requests that missed a price, in one shard or one HTTP worker.
#[derive(Debug, Default)]
pub struct MissCounters {
    /// Requests that wait now.
    pub waiting: Counter,
    /// Requests that were let wait.
    pub waited: Counter,
    /// Of those, answered with every price fresh.
    pub fresh: Counter,
    /// Of those, answered because there was nothing to wait for any more.
    pub nothing: Counter,
    /// Of those, answered because their time was over.
    pub deadline: Counter,
    /// Of those, answered because the service stops.
    pub stopped: Counter,
    /// Of those, given up by their clients, which went away.
    pub abandoned: Counter,
    /// Requests that could not wait because too many did.
    pub overflow: Counter,
    /// Symbols that nobody waited for because they were just fetched, mostly in vain.
    pub remembered: Counter,
}

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Every price is fresh.
    Fresh,
    /// There is nothing to wait for any more.
    Nothing,
    /// Its time is over.
    Deadline,
    /// The service stops.
    Stopped,
    /// Its client went away.
    Abandoned,
}

impl MissCounters {
    /// Counts a request that is let wait, the `waiting`-th now.
    pub fn began(&self, waiting: usize) {
        self.waited.add(1);
        self.waiting.set(waiting as u64);
    }

    /// Counts the end of a wait that leaves `waiting` others.
    pub fn ended(&self, why: Waited, waiting: usize) {
        let counter = match why {
            Waited::Fresh => &self.fresh,
            Waited::Nothing => &self.nothing,
            Waited::Deadline => &self.deadline,
            Waited::Stopped => &self.stopped,
            Waited::Abandoned => &self.abandoned,
        };
        counter.add(1);
        self.waiting.set(waiting as u64);
    }
}

/// What a shard sheds when it cannot keep up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// PINGs.
    Ping,
    /// Errors to senders who have proven nothing.
    Unproven,
    /// Requests of keys that are over their rate.
    OverRate,
    /// Requests of keys that have a limit.
    Limited,
    /// Requests of keys that have none.
    Partner,
}

impl Shed {
    /// All, for counters.
    pub const ALL: [Self; 5] = [
        Self::Ping,
        Self::Unproven,
        Self::OverRate,
        Self::Limited,
        Self::Partner,
    ];

    /// A name for counters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Unproven => "unproven",
            Self::OverRate => "over_rate",
            Self::Limited => "limited",
            Self::Partner => "partner",
        }
    }
}

/// What one shard counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ShardCounters {
    /// When the shard last took a turn, Unix nanoseconds.
    pub heartbeat_ns: Counter,
    /// Turns that received something.
    pub batches: Counter,
    /// Datagrams received.
    pub received: Counter,
    /// Datagrams the kernel dropped because the receive buffer was full.
    pub receive_drops: Counter,
    /// Replies handed to the kernel.
    pub sent: Counter,
    /// Replies the kernel did not take.
    pub send_errors: Counter,
    /// Calls of `recvmmsg` that failed with something other than "nothing there".
    pub receive_errors: Counter,
    /// Refused by form, by reason in the order of [`Refusal::ALL`].
    pub refused: [Counter; Refusal::ALL.len()],
    /// Replies by code, in wire order; PRICE and PING replies are code 0.
    pub codes: [Counter; Code::ALL.len()],
    /// PING replies among them.
    pub pings: Counter,
    /// Repeats that were answered without charge.
    pub repeats: Counter,
    /// Unsigned errors that were not sent because of their limit.
    pub suppressed: Counter,
    /// Price entries given.
    pub entries: Counter,
    /// Requests shed because the shard could not keep up, by rule in the order of [`Shed::ALL`].
    pub shed: [Counter; Shed::ALL.len()],
    /// How far the shard is behind, 0 (it keeps up) to 4; see `lpo::udp::shed`.
    pub pressure: Counter,
    /// Datagrams that came joined with others of their sender (UDP_GRO).
    pub joined: Counter,
    /// Sessions remembered now.
    pub sessions: Counter,
    /// Requests that missed a price.
    pub misses: MissCounters,
    /// Time from a batch's arrival to its replies being sent; of a request that waited, from its
    /// own arrival.
    pub latency: LatencyHistogram,
}

impl ShardCounters {
    /// Counts a reply.
    #[inline]
    pub fn replied(&self, code: Code, count: usize) {
        self.codes[code as usize].add(count as u64);
    }

    /// Counts requests that are shed.
    #[inline]
    pub fn shed(&self, what: Shed, count: usize) {
        self.shed[what as usize].add(count as u64);
    }

    /// Counts a datagram that is no request.
    #[inline]
    pub fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_counter() {
        let counters = ShardCounters::default();
        for refusal in Refusal::ALL {
            counters.refused(refusal);
        }
        for code in Code::ALL {
            counters.replied(code, 1);
        }
        assert!(
            counters
                .refused
                .iter()
                .chain(&counters.codes)
                .all(|c| c.get() == 1)
        );
    }

    #[test]
    fn a_latency_falls_into_the_bucket_that_bounds_it() {
        let histogram = LatencyHistogram::default();
        for (latency, bucket) in [
            (0, 0),
            (1, 1),
            (1_023, 10),
            (1_024, 11),
            (u64::MAX, LATENCY_BUCKETS - 1),
        ] {
            let before = histogram.buckets()[bucket];
            histogram.record(latency, 2);
            assert_eq!(histogram.buckets()[bucket], before + 2, "{latency}");
        }
    }
}
