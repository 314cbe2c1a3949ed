//! `soak`: plays a recording over and over at full speed and watches the memory.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use trinity_beast::market::replay::{Player, Speed, Step};

/// Passes, at least, and share of the time before memory is called settled: by then every
/// buffer has met what the recording holds.
const SETTLING_PASSES: u64 = 1;

/// A longer silence, as between the files of a folder, counts as this much recorded time.
const LONGEST_STEP_NS: u64 = 600_000_000_000;

/// Steps between two looks at the clock.
const STEPS: usize = 1_024;

const NANOS_PER_HOUR: f64 = 3.6e12;

#[derive(Args, Debug)]
pub(crate) struct SoakArgs {
    /// A recording, a folder of them, or `shipped`
    #[arg(long, default_value = "shipped", value_name = "FILE")]
    recording: String,
    /// How long, in seconds of this machine's clock
    #[arg(long, default_value_t = 60, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// End after so many passes, if that is sooner
    #[arg(long, value_name = "N")]
    passes: Option<u64>,
    /// How often memory is looked at, in seconds
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Most that resident memory may grow after the first pass, KiB
    #[arg(long, default_value_t = 1_024, value_name = "N")]
    most_growth: u64,
}

/// A look at the process.
#[derive(Clone, Copy, Debug)]
struct Look {
    passes: u64,
    played_ns: u64,
    prices: u64,
    resident_kib: u64,
}

/// Runs the command; false when memory grew beyond the limit.
pub(crate) fn run(args: &SoakArgs) -> anyhow::Result<bool> {
    let scene = super::Scene {
        recording: args.recording.clone(),
        symbol: String::new(),
        from: None,
        to: None,
    };
    let mut player = Player::new(scene.open()?, Speed::Fast, true)?;
    println!(
        "{}: {}",
        player.recording().name(),
        player.recording().header().title
    );
    println!(
        "{:>8} {:>8} {:>14} {:>14} {:>12}",
        "seconds", "passes", "hours played", "prices", "RSS KiB"
    );
    let began = now();
    let (mut prices, mut played_ns, mut last_ns) = (0_u64, 0_u64, None);
    let mut looks: Vec<Look> = Vec::new();
    let mut next = Duration::ZERO;
    loop {
        for _ in 0..STEPS {
            match player.step(&mut |_, _| prices += 1)? {
                Step::Played(at_ns) => {
                    let step_ns = last_ns.map_or(0, |last: u64| at_ns.saturating_sub(last));
                    played_ns = played_ns.saturating_add(step_ns.min(LONGEST_STEP_NS));
                    last_ns = Some(at_ns);
                }
                Step::NewPass(at_ns) => last_ns = Some(at_ns),
                Step::Over => break,
            }
        }
        let passed = began.elapsed();
        let over =
            passed.as_secs() >= args.seconds || args.passes.is_some_and(|passes| player.passes() > passes);
        if passed >= next || over {
            next = passed + Duration::from_secs(args.every);
            let look = Look {
                passes: player.passes(),
                played_ns,
                prices,
                resident_kib: resident_kib()?,
            };
            println!(
                "{:>8.1} {:>8} {:>14.2} {:>14} {:>12}",
                passed.as_secs_f64(),
                look.passes,
                look.played_ns as f64 / NANOS_PER_HOUR,
                look.prices,
                look.resident_kib
            );
            std::io::stdout().flush()?;
            // One look a second for a day is the most that is kept.
            if looks.len() < 86_400 {
                looks.push(look);
            }
        }
        if over {
            break;
        }
    }
    verdict(&looks, args.most_growth)
}

fn verdict(looks: &[Look], most_kib: u64) -> anyhow::Result<bool> {
    let settled = looks.iter().find(|look| look.passes > SETTLING_PASSES);
    let (Some(settled), Some(last)) = (settled, looks.last()) else {
        println!("not one whole pass was played: give it more --seconds");
        return Ok(false);
    };
    ensure!(last.prices > 0, "nothing was priced");
    let highest = looks
        .iter()
        .filter(|look| look.passes > SETTLING_PASSES)
        .map(|look| look.resident_kib)
        .max()
        .unwrap_or(0);
    let grown = highest.saturating_sub(settled.resident_kib);
    println!(
        "after the first pass memory rose by {grown} KiB at most, over {} passes and {:.1} hours of recorded time",
        last.passes,
        last.played_ns as f64 / NANOS_PER_HOUR
    );
    if grown > most_kib {
        println!("that is more than {most_kib} KiB: it is not flat");
    }
    Ok(grown <= most_kib)
}

/// Memory of this process that is in RAM, KiB.
fn resident_kib() -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .context("no VmRSS in /proc/self/status")
}

#[expect(clippy::disallowed_methods, reason = "a measurement has a clock of its own")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(passes: u64, resident_kib: u64) -> Look {
        Look {
            passes,
            played_ns: passes * 3_600_000_000_000,
            prices: 1,
            resident_kib,
        }
    }

    #[test]
    fn growth_after_the_first_pass_is_what_counts() {
        let flat = [look(1, 10), look(2, 5_000), look(9, 5_100), look(10, 5_050)];
        assert!(verdict(&flat, 100).expect("a verdict"));
        assert!(!verdict(&flat, 99).expect("a verdict"));
        assert!(
            !verdict(&[look(1, 10)], 100).expect("a verdict"),
            "one pass proves nothing"
        );
    }

    #[test]
    fn the_shipped_recording_plays_in_flat_memory() {
        let args = SoakArgs {
            recording: "shipped".to_owned(),
            seconds: 600,
            passes: Some(12),
            every: 1,
            // Other tests may share the process; a kilobyte kept of every quote would be 200 MB.
            most_growth: 32 << 10,
        };
        assert!(run(&args).expect("it plays"));
    }
}
