//! Tasks of the control plane die alone and come back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::market::feed::Backoff;

/// Set once, when the process is to end.
pub type Stop = Arc<AtomicBool>;

const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A task that ran this long before it failed begins its backoff anew.
const BACKOFF_FORGOTTEN: Duration = Duration::from_mins(1);

/// Runs `task` on a thread of its own until it ends by itself or `stop` is set. After an error
/// or a panic it is run again, with full-jitter backoff.
pub fn spawn(
    name: &'static str,
    stop: Stop,
    mut task: impl FnMut() -> anyhow::Result<()> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut backoff = Backoff::new(BACKOFF_FIRST, BACKOFF_MAX);
        while !stop.load(Ordering::Relaxed) {
            let began = crate::clock::monotonic();
            match catch_unwind(AssertUnwindSafe(&mut task)) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(task = name, error = format!("{error:#}"), "task failed"),
                Err(_) => tracing::error!(task = name, "task panicked; please report it"),
            }
            if began.elapsed() > BACKOFF_FORGOTTEN {
                backoff.reset();
            }
            let wait = backoff.next(random());
            tracing::info!(task = name, wait_ms = wait.as_millis() as u64, "task restarts");
            wait_for(&stop, wait);
        }
    })
}

/// Waits, but no longer than until `stop` is set and the thread is unparked.
pub fn wait_for(stop: &AtomicBool, wait: Duration) {
    let until = crate::clock::monotonic() + wait;
    while !stop.load(Ordering::Relaxed) {
        let left = until.saturating_duration_since(crate::clock::monotonic());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left.min(Duration::from_millis(100)));
    }
}

/// A number for a backoff; without randomness the longest wait is taken.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn a_task_that_fails_or_panics_is_run_again_until_it_ends() {
        let runs = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&runs);
        let task = move || match counted.fetch_add(1, Ordering::Relaxed) {
            0 => anyhow::bail!("first run fails"),
            1 => panic!("second run panics"),
            _ => Ok(()),
        };
        spawn("test", Stop::default(), task)
            .expect("spawned")
            .join()
            .expect("the supervisor never panics");
        assert_eq!(runs.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_stopped_task_is_not_run_again() {
        let stop = Stop::default();
        let flag = Arc::clone(&stop);
        let task = move || {
            flag.store(true, Ordering::Relaxed);
            anyhow::bail!("fails while stopping")
        };
        spawn("test", stop, task).expect("spawned").join().expect("ends");
    }
}
