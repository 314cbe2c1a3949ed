//! Remembers whether a dependency works, and says so once when that changes.

use crate::clock;

/// One dependency's state as the control plane last saw it.
#[derive(Debug)]
pub struct Health {
    name: &'static str,
    failing_since_ns: Option<u64>,
}

impl Health {
    /// A dependency that works until it is seen failing.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            failing_since_ns: None,
        }
    }

    /// Notes a result; logs only when the state changes. `consequence` says what that means
    /// for the service.
    pub fn note<T, E: std::fmt::Display>(&mut self, result: Result<T, E>, consequence: &str) -> Option<T> {
        match (result, self.failing_since_ns) {
            (Ok(value), None) => Some(value),
            (Ok(value), Some(since)) => {
                let seconds = clock::unix_nanos().saturating_sub(since) / 1_000_000_000;
                tracing::info!(
                    dependency = self.name,
                    failed_for_seconds = seconds,
                    "works again"
                );
                self.failing_since_ns = None;
                Some(value)
            }
            (Err(error), None) => {
                tracing::error!(dependency = self.name, %error, consequence, "fails");
                self.failing_since_ns = Some(clock::unix_nanos());
                None
            }
            (Err(_), Some(_)) => None,
        }
    }

    /// Since when it fails, Unix nanoseconds.
    pub const fn failing_since_ns(&self) -> Option<u64> {
        self.failing_since_ns
    }
}
