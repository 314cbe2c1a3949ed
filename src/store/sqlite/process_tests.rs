//! The same file in several real processes, and a process that dies.
//!
//! Each test starts its own binary again with [`ROLE`] set; the child then plays the other
//! part of the same test.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::*;
use crate::store::suite::{flush_id, symbol_row, usage_row};

/// Names the child's data directory.
const ROLE: &str = "TRINITY_LEDGER_TEST_CHILD";

fn child_directory() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Starts this binary with the one test `name`, as a child on `data_dir`.
fn start(name: &str, data_dir: &Path) -> Child {
    Command::new(env::current_exe().expect("a test has an executable"))
        .args([
            "--exact",
            "--nocapture",
            &format!("store::sqlite::process_tests::{name}"),
        ])
        .env(ROLE, data_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts")
}

fn said(child: &mut Child) -> BufReader<ChildStdout> {
    BufReader::new(child.stdout.take().expect("is piped"))
}

#[tokio::test]
async fn processes_that_open_a_new_ledger_at_once_all_succeed() {
    if let Some(data_dir) = child_directory() {
        for line in std::io::stdin().lines() {
            let ledger = SqliteLedger::open_or_create(&data_dir.join(line.expect("a round"))).await;
            let status = ledger.expect("opens").migration_status().await.expect("status");
            println!("\nopened {}", status.current);
        }
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let name = "processes_that_open_a_new_ledger_at_once_all_succeed";
    let mut children: Vec<_> = (0..6).map(|_| start(name, dir.path())).collect();
    let mut heard: Vec<_> = children.iter_mut().map(|child| said(child).lines()).collect();
    for round in 0..30 {
        for child in &mut children {
            let stdin = child.stdin.as_mut().expect("is piped");
            writeln!(stdin, "{round}").expect("the child listens");
        }
        for lines in &mut heard {
            let opened = lines
                .map_while(std::result::Result::ok)
                .find(|line| line.starts_with("opened"));
            assert_eq!(opened.as_deref(), Some("opened 3"), "round {round}");
        }
    }
    for mut child in children {
        drop(child.stdin.take());
        assert!(child.wait().expect("ends").success());
    }
}

#[tokio::test]
async fn a_killed_process_loses_no_acknowledged_flush_and_retries_count_once() {
    let rows: Vec<_> = (0..200)
        .map(|i| UsageRow {
            second: i,
            ..usage_row(1, 3)
        })
        .collect();
    let symbols = [symbol_row(1, 5)];
    if let Some(data_dir) = child_directory() {
        let ledger = SqliteLedger::open_existing(&data_dir).await.expect("opens");
        for sequence in 0.. {
            ledger
                .flush_usage(&flush_id(sequence), &rows, &symbols)
                .await
                .expect("flushes");
            println!("\nacknowledged {sequence}");
            std::io::stdout().flush().expect("the parent reads");
        }
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let ledger = SqliteLedger::open_or_create(dir.path()).await.expect("opens");
    let mut next = 0;
    for kill in 1..=3 {
        let mut child = start(
            "a_killed_process_loses_no_acknowledged_flush_and_retries_count_once",
            dir.path(),
        );
        let mut acknowledged = None;
        for line in said(&mut child).lines() {
            let line = line.expect("text");
            if let Some(sequence) = line.strip_prefix("acknowledged ") {
                acknowledged = Some(sequence.parse::<u64>().expect("a number"));
                if acknowledged == Some(next + kill * 7) {
                    // SIGKILL, in the middle of whichever flush comes next; what was said before is read on.
                    child.kill().expect("is alive");
                }
            }
        }
        child.wait().expect("ends");
        let acknowledged = acknowledged.expect("the child flushed");
        assert!(
            acknowledged >= next + kill * 7,
            "it was killed, and did not fail by itself"
        );
        for sequence in 0..=acknowledged + 3 {
            let outcome = ledger
                .flush_usage(&flush_id(sequence), &rows, &symbols)
                .await
                .expect("flushes");
            if sequence <= acknowledged {
                assert_eq!(
                    outcome,
                    FlushOutcome::AlreadyApplied,
                    "flush {sequence} was acknowledged"
                );
            } else if sequence > acknowledged + 1 {
                assert_eq!(outcome, FlushOutcome::Applied, "flush {sequence} was never begun");
            }
        }
        next = acknowledged + 3;
        let total = ledger.usage_total(KeyId(1)).await.expect("reads");
        assert_eq!(
            (total.requests, total.entries),
            ((next + 1) * 600, (next + 1) * 5)
        );
    }
}
