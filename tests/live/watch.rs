//! A reader that never stops asking, and what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use trinity_beast::clock;
use trinity_protocol::PriceStatus;

use crate::site::{Site, query};

/// A reader of one price.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What it saw.
#[derive(Debug)]
pub(crate) struct Seen {
    /// How often which status was told.
    pub(crate) statuses: BTreeMap<&'static str, u64>,
    /// The statuses in their order, without repetitions, each with its time since the beginning.
    pub(crate) story: Vec<(u128, &'static str)>,
    /// Lowest and highest price that was told with a status that has a value.
    pub(crate) low: f64,
    pub(crate) high: f64,
    /// Fewest venues in a price.
    pub(crate) fewest: u8,
    /// Oldest price, by the server's own clock, that was told as one to rely on (LIVE or THIN), ms.
    pub(crate) oldest_ms: u64,
}

/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(5);

impl Watch {
    /// Begins to ask for a price.
    pub(crate) fn of(site: &Site, name: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, mut client, query) = (Arc::clone(&stop), site.client(), query(name));
        let thread = std::thread::spawn(move || {
            let began = clock::monotonic();
            let mut seen = Seen {
                statuses: BTreeMap::new(),
                story: Vec::new(),
                low: f64::INFINITY,
                high: f64::NEG_INFINITY,
                fewest: u8::MAX,
                oldest_ms: 0,
            };
            while !flag.load(Ordering::Relaxed) {
                let reply = client.prices(&[query]).expect("answered");
                let price = reply.prices[0];
                let status = price.status.name();
                *seen.statuses.entry(status).or_default() += 1;
                if seen.story.last().is_none_or(|(_, last)| *last != status) {
                    seen.story.push((began.elapsed().as_millis(), status));
                }
                if price.status.has_value() {
                    let value = price.mantissa as f64 * 10_f64.powi(price.exponent.into());
                    seen.low = seen.low.min(value);
                    seen.high = seen.high.max(value);
                }
                if matches!(price.status, PriceStatus::Live | PriceStatus::Thin) {
                    seen.fewest = seen.fewest.min(price.venues);
                    let age_ns = reply.server_clock_ns.saturating_sub(price.publish_time_ns);
                    seen.oldest_ms = seen.oldest_ms.max(age_ns / 1_000_000);
                }
                sleep(PAUSE);
            }
            seen
        });
        Self { stop, thread }
    }

    /// Ends it.
    pub(crate) fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every question was answered")
    }

    /// Ends it: the price was live all the time and within these bounds, a share of `slack` beyond.
    pub(crate) fn was_live_within(self, low: f64, high: f64, slack: f64) -> Seen {
        let seen = self.end();
        assert_eq!(
            seen.statuses.keys().copied().collect::<Vec<_>>(),
            ["LIVE"],
            "{seen:?}"
        );
        assert!(
            seen.low >= low * (1.0 - slack) && seen.high <= high * (1.0 + slack),
            "not within {low} to {high}: {seen:?}"
        );
        seen
    }
}
