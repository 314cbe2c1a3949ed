//! `trinity-bench budget`: instructions of the answer path, counted under callgrind and held
//! against what is recorded.
//!
//! A shared machine is too noisy to show that a change made a request a few nanoseconds dearer.
//! Instructions do not depend on what else runs: the same program and the same requests give the
//! same number. The counts are of one kind of processor as valgrind plays it (AVX2, no AVX-512),
//! so they are for comparing versions, not for telling time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

/// Options of `budget`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write what was counted into the record instead of checking it.
    #[arg(long)]
    record: bool,
    /// The record.
    #[arg(long, default_value = "bench/budget.json", value_name = "FILE")]
    file: PathBuf,
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
}

/// A kind of load whose instructions are counted.
struct Case {
    name: &'static str,
    /// The command that does it, and the function that is measured.
    command: &'static str,
    measured: &'static str,
    /// What it is divided by: requests, or symbols beyond the first.
    per: &'static str,
    entries: u32,
    train: u32,
    keys: u32,
}

const CASES: [Case; 6] = [
    Case {
        name: "single",
        command: "answer",
        measured: "answer_measured",
        per: "request",
        entries: 1,
        train: 1,
        keys: 100,
    },
    Case {
        name: "train",
        command: "answer",
        measured: "answer_measured",
        per: "request",
        entries: 1,
        train: 64,
        keys: 8,
    },
    Case {
        name: "batch",
        command: "answer",
        measured: "answer_measured",
        per: "request",
        entries: 31,
        train: 1,
        keys: 100,
    },
    Case {
        name: "batch_train",
        command: "answer",
        measured: "answer_measured",
        per: "request",
        entries: 31,
        train: 64,
        keys: 8,
    },
    Case {
        name: "metering",
        command: "meter",
        measured: "meter_measured",
        per: "request",
        entries: 1,
        train: 1,
        keys: 100,
    },
    Case {
        name: "metering_train",
        command: "meter",
        measured: "meter_measured",
        per: "request",
        entries: 1,
        train: 64,
        keys: 8,
    },
];

/// Batches that are counted: so many that rows which begin are not most of them.
const BATCHES: u32 = 512;
/// A count may exceed its record by so much before it is a regression: hash functions seeded by the
/// system spread keys differently from run to run.
const TOLERANCE: f64 = 1.03;

/// Instructions per request, by case.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// What counted them.
    counted_by: String,
    instructions_per_request: BTreeMap<String, f64>,
}

#[derive(Debug, Serialize)]
struct Counted {
    instructions_per_request: BTreeMap<&'static str, f64>,
    recorded: BTreeMap<String, f64>,
    exceeded: Vec<String>,
}

/// Counts and checks; tells whether everything is within its budget.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let counted_by = version()?;
    let folder = tempfile::tempdir()?;
    let mut counted = BTreeMap::new();
    for case in &CASES {
        counted.insert(case.name, count(case, folder.path())?);
    }
    if args.record {
        let record = Record {
            counted_by,
            instructions_per_request: counted
                .iter()
                .map(|(name, n)| ((*name).to_owned(), n.round()))
                .collect(),
        };
        let text = serde_json::to_string_pretty(&record)? + "\n";
        std::fs::write(&args.file, text).with_context(|| format!("writing {}", args.file.display()))?;
    }
    let text = std::fs::read_to_string(&args.file)
        .with_context(|| format!("reading {} (make it with --record)", args.file.display()))?;
    let record: Record = serde_json::from_str(&text)?;
    let recorded = record.instructions_per_request;
    let exceeded = exceeded(&counted, &recorded);
    if args.json {
        let report = Counted {
            instructions_per_request: counted,
            recorded,
            exceeded: exceeded.clone(),
        };
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{:<14} {:>14} {:>10}   instructions", "", "counted", "recorded");
        for case in &CASES {
            let was = recorded
                .get(case.name)
                .map_or_else(|| "-".to_owned(), |n| format!("{n:.0}"));
            println!(
                "{:<14} {:>14.0} {was:>10}   a {} of {} symbols",
                case.name, counted[case.name], case.per, case.entries
            );
        }
    }
    for line in &exceeded {
        eprintln!("{line}");
    }
    Ok(exceeded.is_empty())
}

/// What costs more than is recorded, in words.
fn exceeded(counted: &BTreeMap<&'static str, f64>, recorded: &BTreeMap<String, f64>) -> Vec<String> {
    counted
        .iter()
        .filter_map(|(name, counted)| match recorded.get(*name) {
            None => Some(format!("{name}: nothing is recorded; use --record")),
            Some(budget) if *counted > budget * TOLERANCE => Some(format!(
                "{name}: {counted:.0} instructions, {budget:.0} recorded; make it cheaper, or say in the commit why \
                 it must cost more and use --record"
            )),
            Some(_) => None,
        })
        .collect()
}

fn count(case: &Case, folder: &Path) -> anyhow::Result<f64> {
    let out = folder.join(case.name);
    let program = std::env::current_exe().context("finding this program")?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{}*", case.measured))
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args([case.command, "--json"])
        .args([
            "--batches",
            &BATCHES.to_string(),
            "--entries",
            &case.entries.to_string(),
        ])
        .args([
            "--train",
            &case.train.to_string(),
            "--keys",
            &case.keys.to_string(),
        ])
        .output()
        .context("running valgrind")?;
    ensure!(
        run.status.success(),
        "valgrind could not count {}: {}",
        case.name,
        String::from_utf8_lossy(&run.stderr)
    );
    let text = std::fs::read_to_string(&out).context("reading what callgrind wrote")?;
    let total = total(&text).context("callgrind wrote no total")?;
    ensure!(
        total > 0,
        "nothing was counted: is this a build without symbols? Use --release of this workspace"
    );
    Ok(total as f64 / f64::from(BATCHES) / crate::burst::BATCH as f64)
}

/// The `summary:` of a callgrind file (Callgrind Format Specification): all events of the run.
fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| {
        line.strip_prefix("summary:")
            .or_else(|| line.strip_prefix("totals:"))
    })?;
    line.trim().split(' ').next()?.parse().ok()
}

fn version() -> anyhow::Result<String> {
    match Command::new("valgrind").arg("--version").output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        _ => bail!("valgrind is missing: install it (Debian: apt-get install valgrind)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_a_callgrind_file() {
        assert_eq!(
            total("version: 1\nevents: Ir\n\nfn=(1) x\n3 4\n\ntotals: 77\n"),
            Some(77)
        );
        assert_eq!(total("events: Ir\nsummary: 123456\n"), Some(123_456));
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn what_costs_more_than_its_record_is_named_and_what_has_none_as_well() {
        let counted = BTreeMap::from([("single", 104.0), ("train", 102.0), ("batch", 50.0)]);
        let recorded = BTreeMap::from([("single".to_owned(), 100.0), ("train".to_owned(), 100.0)]);
        let told = exceeded(&counted, &recorded);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(
            told[0].starts_with("batch") && told[1].starts_with("single"),
            "{told:?}"
        );
    }
}
