//! What a shard that cannot keep up stops answering first.
//!
//! The order is a rule, not an accident of which datagram the kernel had no room for: what
//! proves no key goes first, then what its key's rate would refuse anyway, then the keys that
//! have a limit, last those that have none (partners), and of these never all. Most of what is
//! shed costs a look at the key and nothing else; some of it, a bounded number a second, is told
//! OVERLOADED, which has to be verified and signed.

use std::cell::Cell;

use crate::limits::{
    OVERLOADED_BURST, OVERLOADED_PER_SECOND, UNSIGNED_ERRORS_BURST, UNSIGNED_ERRORS_PER_SECOND,
};
use crate::tables::counters::Shed;
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::{KeyState, Limits};

/// How far a shard is behind, and with that whom it sheds; each step includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// It keeps up.
    #[default]
    None,
    /// PINGs, and errors to senders who have proven nothing.
    Unproven,
    /// Keys that are over their rate.
    OverRate,
    /// Keys that have a limit.
    Limited,
    /// Every second train of requests of keys that have none.
    Partners,
}

impl Pressure {
    /// Every step, in order.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Unproven,
        Self::OverRate,
        Self::Limited,
        Self::Partners,
    ];
}

/// What one shard may say to senders that it does not serve.
#[derive(Debug)]
pub struct Budgets {
    /// Errors to senders who have proven nothing.
    unsigned: Budget,
    /// OVERLOADED to those who are shed.
    overloaded: Budget,
    /// Trains of partners seen while they are shed.
    partners: Cell<u32>,
}

#[derive(Debug)]
struct Budget {
    state: KeyState,
    limits: Cell<Limits>,
    per_second: Cell<u32>,
    /// What of a second's replies may go at once: one of so many.
    burst_part: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self {
            unsigned: Budget::new(UNSIGNED_ERRORS_PER_SECOND, UNSIGNED_ERRORS_BURST),
            overloaded: Budget::new(OVERLOADED_PER_SECOND, OVERLOADED_BURST),
            partners: Cell::new(0),
        }
    }
}

impl Budgets {
    /// Says how many replies a second there may be, to those who have proven nothing and to those
    /// who are shed; 0 is none.
    pub fn set(&self, unsigned: u32, overloaded: u32) {
        self.unsigned.set(unsigned);
        self.overloaded.set(overloaded);
    }

    /// Whether one more unsigned error may be sent.
    pub(super) fn unsigned(&self, now_ns: u64) -> bool {
        self.unsigned.take(now_ns)
    }

    /// Whether one more OVERLOADED may be sent to somebody who is shed.
    pub(super) fn overloaded(&self, now_ns: u64) -> bool {
        self.overloaded.take(now_ns)
    }

    /// Whether a train of requests under this key is shed, and as what.
    pub(super) fn shed(&self, pressure: Pressure, key: &KeyEntry, now_ns: u64) -> Option<Shed> {
        if pressure < Pressure::OverRate {
            None
        } else if key.limits.is_none() {
            let turn = self.partners.get();
            self.partners
                .set(turn.wrapping_add(u32::from(pressure == Pressure::Partners)));
            (turn % 2 == 1)
                .then_some(Shed::Partner)
                .filter(|_| pressure == Pressure::Partners)
        } else if key.state.peek(&key.limits, now_ns, 0).remaining == 0 {
            Some(Shed::OverRate)
        } else {
            (pressure >= Pressure::Limited).then_some(Shed::Limited)
        }
    }
}

impl Budget {
    fn new(per_second: u32, burst: u32) -> Self {
        Self {
            state: KeyState::default(),
            limits: Cell::new(Limits::new(Some(per_second), Some(burst), None)),
            per_second: Cell::new(per_second),
            burst_part: per_second / burst,
        }
    }

    fn set(&self, per_second: u32) {
        if self.per_second.replace(per_second) != per_second {
            let burst = per_second.div_ceil(self.burst_part);
            self.limits.set(Limits::new(Some(per_second), Some(burst), None));
        }
    }

    fn take(&self, now_ns: u64) -> bool {
        self.per_second.get() > 0 && self.state.acquire(&self.limits.get(), now_ns, 0).is_ok()
    }
}
