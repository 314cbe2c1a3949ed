//! A thread that does nothing but look at the clock, and sees when it could not.

use std::io;
use std::sync::Barrier;
use std::time::Duration;

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use trinity_beast::clock;
use trinity_beast::shard::driver::cpus;

use super::floor::Floors;
use super::steal;
use crate::cpu_time::ThreadTime;

/// Two readings of the clock that are further apart are a gap. A reading takes tens of
/// nanoseconds, an interrupt a few microseconds.
const ABOVE_US: [u64; 6] = [50, 200, 500, 1_000, 2_000, 5_000];

/// A longer gap counts as one of an hour; that is as long as anybody may look.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// What one thread saw on one CPU.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CpuStalls {
    pub(crate) cpu: usize,
    /// How long it looked.
    pub(crate) seconds: f64,
    pub(crate) longest_us: f64,
    /// Time of this CPU that the hypervisor gave to others, as the kernel counts it: in ticks,
    /// usually of 10 ms.
    pub(crate) steal_ms: Option<f64>,
    /// Time that this system gave to other threads. What the gaps have above this and interrupts
    /// is the hypervisor's, whether `steal_ms` says so or not.
    pub(crate) delayed_ms: f64,
    pub(crate) floor_us: Floors,
    pub(crate) gaps: Vec<Longer>,
}

/// Gaps longer than so much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Longer {
    pub(crate) than_us: u64,
    pub(crate) count: u64,
    /// Of the whole gaps together.
    pub(crate) total_ms: f64,
}

/// Gaps as they come.
struct Gaps {
    longer: [Longer; ABOVE_US.len()],
    longest: Duration,
    nanos: Histogram<u64>,
}

impl Gaps {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            longer: ABOVE_US.map(|than_us| Longer {
                than_us,
                ..Longer::default()
            }),
            longest: Duration::ZERO,
            nanos: Histogram::new_with_bounds(1, LONGEST_NS, 3)?,
        })
    }

    fn note(&mut self, gap: Duration) {
        for longer in &mut self.longer {
            if gap > Duration::from_micros(longer.than_us) {
                longer.count += 1;
                longer.total_ms += gap.as_secs_f64() * 1e3;
            }
        }
        self.longest = self.longest.max(gap);
        self.nanos.saturating_record(gap.as_nanos() as u64);
    }

    fn floors(&self, run: Duration) -> Floors {
        let mut gaps: Vec<_> = self
            .nanos
            .iter_recorded()
            .map(|gap| (gap.value_iterated_to(), gap.count_at_value()))
            .collect();
        gaps.reverse();
        Floors::of(&gaps, run.as_nanos() as u64)
    }
}

/// Looks on the calling thread, which it pins, from when all have come to `start`.
pub(super) fn watch(cpu: usize, time: Duration, start: &Barrier) -> anyhow::Result<CpuStalls> {
    let prepared = prepare(cpu);
    // The others wait for this thread also if it has nothing to look with.
    start.wait();
    let (mut gaps, thread) = prepared?;
    let (stolen, spent) = (steal::since_boot(Some(cpu)), thread.read()?);
    let begun = clock::monotonic();
    let mut last = begun;
    let run = loop {
        let now = clock::monotonic();
        let gap = now - last;
        last = now;
        if gap > Duration::from_micros(ABOVE_US[0]) {
            gaps.note(gap);
        }
        let run = now - begun;
        if run >= time {
            break run;
        }
    };
    let spent = thread.read()?.since(spent);
    let stolen = steal::since_boot(Some(cpu))
        .zip(stolen)
        .map(|(after, before)| after.saturating_sub(before));
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    Ok(CpuStalls {
        cpu,
        seconds: run.as_secs_f64(),
        longest_us: gaps.longest.as_secs_f64() * 1e6,
        steal_ms: stolen.map(ms),
        delayed_ms: ms(spent.delayed),
        floor_us: gaps.floors(run),
        gaps: gaps.longer.to_vec(),
    })
}

fn prepare(cpu: usize) -> anyhow::Result<(Gaps, ThreadTime)> {
    cpus::pin(cpu).with_context(|| format!("pinning a thread to CPU {cpu}"))?;
    let thread = ThreadTime::own().context("reading this thread's CPU time")?;
    let gaps = Gaps::new().map_err(|error| io::Error::other(error.to_string()))?;
    Ok((gaps, thread))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_counts_with_its_whole_length_wherever_it_is_above() {
        let mut gaps = Gaps::new().expect("made");
        for us in [60, 200, 1_500, 7_000] {
            gaps.note(Duration::from_micros(us));
        }
        let counts = gaps.longer.map(|longer| (longer.than_us, longer.count));
        assert_eq!(
            counts,
            [(50, 4), (200, 2), (500, 2), (1_000, 2), (2_000, 1), (5_000, 1)]
        );
        assert!((gaps.longer[0].total_ms - 8.76).abs() < 1e-9, "{:?}", gaps.longer);
        assert!((gaps.longer[5].total_ms - 7.0).abs() < 1e-9, "{:?}", gaps.longer);
        assert_eq!(gaps.longest, Duration::from_millis(7));
        // 1 ms of a second may be exceeded: 7 - 1.
        let floors = gaps.floors(Duration::from_secs(1));
        assert!((floors.p99_9 - 6_000.0).abs() < 7.0, "{floors:?}");
    }

    #[test]
    fn a_thread_that_another_one_keeps_from_its_cpu_sees_gaps_of_that_length() {
        // Two of them on one CPU: each is away while the other one runs.
        let cpu = cpus::allowed().expect("readable")[0];
        let start = Barrier::new(2);
        let seen = std::thread::scope(|scope| {
            let look = || watch(cpu, Duration::from_millis(300), &start).expect("seen");
            let threads = [scope.spawn(look), scope.spawn(look)];
            threads.map(|thread| thread.join().expect("no panic"))
        });
        let gaps: f64 = seen.iter().map(|cpu| cpu.gaps[0].total_ms).sum();
        let run: f64 = seen.iter().map(|cpu| cpu.seconds * 1e3).sum();
        assert!(gaps > run * 0.3, "{seen:?}");
        assert!(seen.iter().any(|cpu| cpu.floor_us.p99 > 0.0), "{seen:?}");
    }
}
