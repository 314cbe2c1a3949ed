//! Two cores spend one key's allowance at once: what is granted is exactly what there was.

use std::sync::Arc;

use loom::thread;
use trinity_loom::tables::limiter::{KeyState, Limits};

const NOW_NS: u64 = 1_700_000_000_000_000_000;

/// Both cores ask twice at one instant; returns what was granted and what the month counts.
fn spend(limits: Limits) -> (usize, u64) {
    let key = Arc::new(KeyState::default());
    let ask = move |key: &KeyState| (0..2).filter(|_| key.acquire(&limits, NOW_NS, 0).is_ok()).count();
    let other = thread::spawn({
        let key = Arc::clone(&key);
        move || ask(&key)
    });
    let granted = ask(&key) + other.join().expect("the other core ends");
    (granted, key.month_used())
}

#[test]
fn cores_share_a_burst_exactly() {
    loom::model(|| assert_eq!(spend(Limits::new(Some(1), Some(3), None)).0, 3));
}

#[test]
fn cores_share_a_month_exactly() {
    loom::model(|| assert_eq!(spend(Limits::new(None, None, Some(3))), (3, 3)));
}

/// What the rate refuses, the month gets back.
#[test]
fn a_refused_request_is_not_counted_against_the_month() {
    loom::model(|| assert_eq!(spend(Limits::new(Some(1), Some(2), Some(4))), (2, 2)));
}
