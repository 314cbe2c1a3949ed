//! How far a shard is behind, by what waits in its socket.

use super::socket::Backlog;
use crate::limits::PRESSURE_BATCHES;
use crate::lpo::udp::Pressure;

/// Watches batches. One that is not full took all there was: the shard keeps up.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// Full batches in a row.
    full: u32,
    pressure: Pressure,
}

impl Gauge {
    /// Takes note of a batch; `backlog` is asked now and then while batches are full.
    pub(super) fn observe(&mut self, is_full: bool, backlog: impl FnOnce() -> Option<Backlog>) -> Pressure {
        if is_full {
            self.full = self.full.wrapping_add(1);
            if self.full.is_multiple_of(PRESSURE_BATCHES) {
                self.pressure = backlog().map_or(Pressure::None, |backlog| of(&backlog));
            }
        } else {
            *self = Self::default();
        }
        self.pressure
    }
}

/// From half of the receive buffer on, each further eighth is a step. The kernel gives memory back
/// in steps of a quarter of the buffer, so below a half it may look fuller than it is.
fn of(backlog: &Backlog) -> Pressure {
    let eighths = u64::from(backlog.held_bytes) * 8 / u64::from(backlog.limit_bytes.max(1));
    match eighths {
        0..=3 => Pressure::None,
        4 => Pressure::Unproven,
        5 => Pressure::OverRate,
        6 => Pressure::Limited,
        _ => Pressure::Partners,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(percent: u32) -> Backlog {
        Backlog {
            held_bytes: percent * 10,
            limit_bytes: 1_000,
            drops: 0,
        }
    }

    #[test]
    fn a_fuller_buffer_is_more_pressure() {
        let steps = [0, 49, 50, 62, 63, 74, 75, 87, 88, 100, 130];
        let told: Vec<_> = steps.iter().map(|percent| of(&held(*percent))).collect();
        assert!(told.is_sorted(), "{told:?}");
        assert_eq!((told[1], told[2]), (Pressure::None, Pressure::Unproven));
        assert_eq!((told[7], told[8]), (Pressure::Limited, Pressure::Partners));
    }

    #[test]
    fn the_buffer_is_looked_at_only_while_batches_stay_full_and_an_end_of_them_is_relief() {
        let mut gauge = Gauge::default();
        let never = || panic!("it keeps up");
        assert_eq!(gauge.observe(false, never), Pressure::None);
        for _ in 1..PRESSURE_BATCHES {
            assert_eq!(gauge.observe(true, never), Pressure::None);
        }
        assert_eq!(gauge.observe(true, || Some(held(80))), Pressure::Limited);
        for _ in 1..PRESSURE_BATCHES {
            assert_eq!(
                gauge.observe(true, never),
                Pressure::Limited,
                "until the next look"
            );
        }
        assert_eq!(gauge.observe(true, || Some(held(55))), Pressure::Unproven);
        assert_eq!(gauge.observe(false, never), Pressure::None);
    }
}
