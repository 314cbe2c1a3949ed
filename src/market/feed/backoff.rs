//! How long to wait before trying again: full jitter ("Exponential Backoff And Jitter", AWS
//! Architecture Blog, 2015). The wait is drawn evenly from zero to a limit that doubles, so
//! that many who failed together do not come back together.

use std::time::Duration;

/// A series of waits.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    limit: Duration,
}

impl Backoff {
    /// Waits of at most `first`, then of at most twice that, and so on up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self {
            first,
            most,
            limit: first,
        }
    }

    /// The next wait; `random` is drawn evenly from all 32-bit numbers.
    pub fn next(&mut self, random: u32) -> Duration {
        let wait = self.limit.mul_f64(f64::from(random) / f64::from(u32::MAX));
        self.limit = (self.limit * 2).min(self.most);
        wait
    }

    /// Begins the series anew, after a success that lasted.
    pub const fn reset(&mut self) {
        self.limit = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_drawn_below_a_limit_that_doubles_up_to_the_most() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(100), ms(1_000));
        let longest: Vec<_> = (0..6).map(|_| backoff.next(u32::MAX)).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1_000, 1_000].map(ms));
        assert_eq!(backoff.next(0), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.next(u32::MAX / 2 + 1).as_millis(), 50);
    }
}
