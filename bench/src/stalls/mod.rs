//! `trinity-bench stalls`: what the machine itself takes away from whoever runs on it.

mod floor;
mod meter;
pub(crate) mod steal;

use std::fmt::{self, Write as _};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use trinity_beast::shard::driver::cpus;

pub(crate) use self::floor::Floors;
pub(crate) use self::meter::CpuStalls;
use crate::machine::Machine;
use crate::options::{command, seconds};
use crate::progress::Timed;

/// Options of `stalls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long to look.
    #[arg(long, default_value_t = 20.0, value_parser = seconds)]
    seconds: f64,
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
    /// The result as Markdown tables.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// What all CPUs that were looked at have.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Stalls {
    /// Of the worse CPU for each percentile. A request that passes through several CPUs may be
    /// held up on each of them, so this is the least that can be said of it.
    pub(crate) floor_us: Floors,
    pub(crate) cpus: Vec<CpuStalls>,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    stalls: Stalls,
    machine: Machine,
    command: String,
}

/// Measures and reports.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let machine = Machine::look(None, None)?;
    let time = Duration::from_secs_f64(args.seconds);
    let progress = Timed::start(time);
    let stalls = Stalls::measure(&cpus::allowed()?, time)?;
    progress.finish();
    let report = Report {
        stalls,
        machine,
        command: command(),
    };
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if args.markdown {
        print!("{}", report.markdown());
    } else {
        print!("{report}");
    }
    Ok(true)
}

impl Stalls {
    /// Looks at these CPUs, all at the same time: what is measured on one of them alone would
    /// leave the others for everything else that wants to run.
    pub(crate) fn measure(cpus: &[usize], time: Duration) -> anyhow::Result<Self> {
        let start = &Barrier::new(cpus.len());
        let cpus = thread::scope(|scope| {
            let watch = |cpu: &usize| {
                let cpu = *cpu;
                scope.spawn(move || meter::watch(cpu, time, start))
            };
            let threads: Vec<_> = cpus.iter().map(watch).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?)
                .collect::<anyhow::Result<Vec<_>>>()
        })
        .context("looking for the machine's own stalls")?;
        let floor_us = cpus
            .iter()
            .fold(Floors::default(), |all, cpu| all.or_higher(cpu.floor_us));
        Ok(Self { floor_us, cpus })
    }

    /// One line for people, for beside a latency.
    pub(crate) fn line(&self) -> String {
        let Floors { p99, p99_9, p99_99 } = self.floor_us;
        let cpus: Vec<_> = self.cpus.iter().map(|cpu| cpu.cpu.to_string()).collect();
        format!(
            "stalls of CPU {} alone keep p99 above {p99:.0} us, p99.9 above {p99_9:.0} us, \
             p99.99 above {p99_99:.0} us",
            cpus.join(" and ")
        )
    }

    /// The columns, and a row for each CPU.
    fn table(&self) -> (Vec<String>, Vec<Vec<String>>) {
        let Some(first) = self.cpus.first() else {
            return Default::default();
        };
        let above = first.gaps.iter().map(|above| format!(">{} us", above.than_us));
        let heads = ["CPU", "seconds"].map(str::to_owned).into_iter().chain(above);
        let last = [
            "longest us",
            "steal ms",
            "delayed ms",
            "p99 floor",
            "p99.9 floor",
            "p99.99 floor",
        ];
        let row = |cpu: &CpuStalls| {
            let mut row = vec![cpu.cpu.to_string(), format!("{:.1}", cpu.seconds)];
            let above = cpu.gaps.iter();
            row.extend(above.map(|above| format!("{}: {:.1} ms", above.count, above.total_ms)));
            row.push(format!("{:.0}", cpu.longest_us));
            row.push(
                cpu.steal_ms
                    .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0}")),
            );
            row.push(format!("{:.0}", cpu.delayed_ms));
            let Floors { p99, p99_9, p99_99 } = cpu.floor_us;
            row.extend([p99, p99_9, p99_99].map(|us| format!("{us:.0} us")));
            row
        };
        (
            heads.chain(last.map(str::to_owned)).collect(),
            self.cpus.iter().map(row).collect(),
        )
    }
}

impl Report {
    fn markdown(&self) -> String {
        let (heads, rows) = self.stalls.table();
        let mut text = format!("`{}`\n\n{}\n\n", self.command, self.machine.line());
        let rule = vec!["---:".to_owned(); heads.len()];
        for row in [heads, rule].into_iter().chain(rows) {
            writeln!(text, "| {} |", row.join(" | ")).expect("a String takes everything");
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.machine.line())?;
        let (heads, rows) = self.stalls.table();
        // One CPU a column: there are more figures than CPUs.
        for (at, head) in heads.iter().enumerate() {
            write!(f, "{head:<14}")?;
            for row in &rows {
                write!(f, "{:>18}", row[at])?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\n{}", self.stalls.line())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_is_looked_at_and_the_worse_one_is_the_floor() {
        let allowed = cpus::allowed().expect("readable");
        let stalls = Stalls::measure(&allowed, Duration::from_millis(50)).expect("measured");
        let looked: Vec<_> = stalls.cpus.iter().map(|cpu| cpu.cpu).collect();
        assert_eq!(looked, allowed);
        for cpu in &stalls.cpus {
            assert!(
                cpu.seconds >= 0.05 && cpu.floor_us.p99_9 <= stalls.floor_us.p99_9,
                "{cpu:?}"
            );
            assert!(
                cpu.gaps
                    .is_sorted_by(|a, b| a.than_us < b.than_us && a.count >= b.count),
                "{cpu:?}"
            );
        }
        let json = serde_json::to_string(&stalls).expect("written");
        let read: Stalls = serde_json::from_str(&json).expect("read");
        assert_eq!(read.line(), stalls.line());
    }

    #[test]
    fn a_cpu_that_does_not_exist_is_an_error_and_nobody_waits_for_it() {
        let allowed = cpus::allowed().expect("readable");
        let error =
            Stalls::measure(&[allowed[0], 1 << 20], Duration::from_millis(50)).expect_err("no such CPU");
        assert!(format!("{error:#}").contains("CPU 1048576"), "{error:#}");
    }

    #[test]
    fn tables_have_a_cell_for_every_column() {
        let stalls = Stalls::measure(
            &cpus::allowed().expect("readable")[..1],
            Duration::from_millis(50),
        );
        let (heads, rows) = stalls.expect("measured").table();
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].len(), heads.len());
    }
}
