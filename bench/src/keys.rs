//! `trinity-bench keys`: a ledger with very many keys, from the file to the cores.
//!
//! Tells how long a start takes until every key is known, the memory that this process then holds,
//! how long it takes until a change of one key is seen, and the longest turn of a thread that looks
//! keys up meanwhile as a shard does. A turn is told in the thread's own CPU time: what else runs on a
//! shared machine is not its cost.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use arc_swap::Cache;
use serde::Serialize;
use trinity_beast::clock;
use trinity_beast::control::keys::KeySync;
use trinity_beast::store::{LEDGER_FILE, Ledger, NewAccount, SqliteLedger};
use trinity_protocol::KeyId;

use crate::cpu_time::ThreadTime;

/// Options of `keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keys in the ledger.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    keys: u32,
    /// Changes that are timed, each of one key.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    changes: u32,
    /// Keep the ledger in this directory, which must not have one yet; a directory of its own that is
    /// removed at the end if left out.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One JSON object on standard output, nothing else there.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Found {
    keys: usize,
    /// From an open ledger to a table with all keys.
    start_ms: f64,
    resident_mb: f64,
    /// The most that it was at any time.
    peak_mb: f64,
    /// From the commit of a change to the table that has it.
    change_ms: Spread,
    /// Reading all keys again, nothing changed.
    reconcile_ms: f64,
    /// The longest turn of 64 look-ups, in CPU time: without changes, and with them.
    turn_us: (f64, f64),
}

#[derive(Debug, Serialize)]
struct Spread {
    median: f64,
    p99: f64,
    max: f64,
}

/// Look-ups of one turn.
const LOOKUPS: usize = 64;
/// How long turns are watched without changes.
const QUIET: Duration = Duration::from_secs(1);

/// Measures and reports.
pub(crate) fn run(args: &Args) -> anyhow::Result<bool> {
    let own = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| own.path().to_owned());
    ensure!(
        !dir.join(LEDGER_FILE).exists(),
        "there is a ledger in {} already: name another directory",
        dir.display()
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let found = runtime.block_on(measure(args, dir))?;
    if args.json {
        println!("{}", serde_json::to_string(&found)?);
    } else {
        println!(
            "{} keys: start {:.0} ms, {:.0} MB resident ({:.0} MB at most), all read again in {:.0} ms",
            found.keys, found.start_ms, found.resident_mb, found.peak_mb, found.reconcile_ms
        );
        println!(
            "a change of one key: median {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
            found.change_ms.median, found.change_ms.p99, found.change_ms.max
        );
        println!(
            "the longest turn of {LOOKUPS} look-ups: {:.1} us of CPU time without changes, {:.1} us with them",
            found.turn_us.0, found.turn_us.1
        );
    }
    Ok(true)
}

async fn measure(args: &Args, dir: PathBuf) -> anyhow::Result<Found> {
    let ledger = SqliteLedger::open_or_create(&dir).await?;
    let account = NewAccount {
        name: "many".into(),
        tier: "partner".into(),
        created_at_ns: 1,
    };
    let account = ledger.create_account(account).await?.id;
    fill(&dir, account.0, args.keys)?;
    let mut sync = KeySync::new(Arc::new(ledger.clone()));
    let began = clock::monotonic();
    sync.reload(clock::unix_nanos()).await?;
    let start = began.elapsed();
    let table = sync.table();
    let (resident_mb, peak_mb) = (status_mb("VmRSS:")?, status_mb("VmHWM:")?);
    let ids: Vec<KeyId> = table.load().iter().map(|key| key.key_id).collect();

    let (stop, loud) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let looker = std::thread::spawn({
        let (stop, loud, ids) = (Arc::clone(&stop), Arc::clone(&loud), ids.clone());
        let mut table = Cache::new(table);
        move || -> std::io::Result<(Duration, Duration)> {
            let time = ThreadTime::own()?;
            let (mut longest, mut at) = ([Duration::ZERO; 2], 0);
            while !stop.load(Ordering::Relaxed) {
                let before = time.read()?.on_cpu;
                let keys = table.load();
                for _ in 0..LOOKUPS {
                    at = (at + 7_919) % ids.len();
                    std::hint::black_box(keys.find(ids[at]));
                }
                let spent = time.read()?.on_cpu.saturating_sub(before);
                let phase = &mut longest[usize::from(loud.load(Ordering::Relaxed))];
                *phase = spent.max(*phase);
            }
            Ok((longest[0], longest[1]))
        }
    });
    tokio::time::sleep(QUIET).await;
    loud.store(true, Ordering::Relaxed);
    let mut changes = Vec::with_capacity(args.changes as usize);
    for i in 0..args.changes as usize {
        let key_id = ids[i * (ids.len() / args.changes as usize)];
        ledger.revoke_key(key_id, 1).await?;
        let began = clock::monotonic();
        ensure!(sync.poll(clock::unix_nanos()).await?, "a change was not noticed");
        changes.push(began.elapsed());
        let table = sync.table().load_full();
        let is_refused = table.find(key_id).is_some_and(|key| !key.is_usable(2));
        ensure!(is_refused, "a revoked key is still good");
    }
    let began = clock::monotonic();
    sync.reload(clock::unix_nanos()).await?;
    let reconcile = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    let (quiet, busy) = looker
        .join()
        .map_err(|_| anyhow::anyhow!("the looking thread panicked"))?
        .context("reading its CPU time")?;
    changes.sort_unstable();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let at = |percent: usize| ms(changes[(changes.len() * percent / 100).min(changes.len() - 1)]);
    Ok(Found {
        keys: ids.len(),
        start_ms: ms(start),
        resident_mb,
        peak_mb,
        change_ms: Spread {
            median: at(50),
            p99: at(99),
            max: at(100),
        },
        reconcile_ms: ms(reconcile),
        turn_us: (ms(quiet) * 1e3, ms(busy) * 1e3),
    })
}

/// Adds keys in one transaction: a commit for each would measure the disk.
fn fill(dir: &std::path::Path, account: i64, keys: u32) -> anyhow::Result<()> {
    let ledger = rusqlite::Connection::open(dir.join(LEDGER_FILE))?;
    ledger.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)
         INSERT INTO api_keys (key_id, account_id, name, verifier, created_at_ns)
         SELECT (abs(random() / 2) >> 24 << 24) + i, ?2, 'key ' || i, randomblob(32), 1 FROM n",
        rusqlite::params![keys, account],
    )?;
    Ok(())
}

/// A line of `/proc/self/status` (proc(5)), which counts in kibibytes.
fn status_mb(line: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    let number = found.and_then(|text| text.trim().strip_suffix(" kB"));
    let kibibytes: f64 = number
        .context("the kernel does not tell memory")?
        .trim()
        .parse()?;
    Ok(kibibytes * 1_024.0 / 1e6)
}
