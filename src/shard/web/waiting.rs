//! Requests that wait in their worker for prices that are being fetched.
//!
//! Each of them looks every [`HTTP_LOOK_MS`] whether its prices are there: nobody is woken for a
//! price. Nor is the client listened to meanwhile: one that is gone cannot be told from one that only
//! has no more to say, so its request is answered and charged as over UDP.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::WebCounters;
use super::worker::Worker;
use crate::limits::HTTP_LOOK_MS;
use crate::lpo::http::{Answer, Waiting};
use crate::tables::counters::Waited;

/// A waiting request's place among the others, given up however it ends.
struct Place {
    waiting: Rc<Cell<usize>>,
    counters: Arc<WebCounters>,
    why: Waited,
}

const LOOK: Duration = Duration::from_millis(HTTP_LOOK_MS);

impl Worker {
    /// Waits for the prices of a request, as long as it may, and answers it.
    pub(super) async fn wait(&self, waiting: &Waiting) -> Answer {
        let oracle = self.oracle.as_ref().expect("only the oracle lets requests wait");
        let mut place = Place::take(&oracle.borrow().waiting, &self.counters);
        place.why = loop {
            tokio::time::sleep(LOOK).await;
            if let Some(why) = oracle.borrow_mut().ask(|answerer| answerer.wait_is_over(waiting)) {
                break why;
            }
            if self.is_draining() {
                break Waited::Stopped;
            }
        };
        // The place is kept until the answer is counted: with it goes a row of the meter.
        oracle
            .borrow_mut()
            .ask(|answerer| answerer.answer_waited(waiting))
    }
}

impl Place {
    fn take(waiting: &Rc<Cell<usize>>, counters: &Arc<WebCounters>) -> Self {
        waiting.set(waiting.get() + 1);
        counters.misses.began(waiting.get());
        Self {
            waiting: Rc::clone(waiting),
            counters: Arc::clone(counters),
            why: Waited::Abandoned,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.set(self.waiting.get() - 1);
        self.counters.misses.ended(self.why, self.waiting.get());
    }
}
