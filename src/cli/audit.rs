//! `audit`: is everything that was answered billed, and billed once?

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::{Table, short_time, write_json};
use crate::config::JOURNAL_DIR;
use crate::control::journal::{LeftJournal, journal_files, set_aside_files};
use crate::store::{Ledger, LedgerAudit};

/// Hold journals, usage, sums and monthly counters against each other: exit code 0 if they agree, 1
/// if they do not, 2 if they could not be looked at.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    /// Directory of the usage journals [default: journal in the data directory]
    #[arg(long, env = "JOURNAL_DIR", value_name = "DIR")]
    journal_dir: Option<PathBuf>,
}

/// Nothing differs.
const CLEAN: u8 = 0;
const DIFFERS: u8 = 1;
const NOT_LOOKED_AT: u8 = 2;

#[derive(Serialize)]
struct AuditView {
    clean: bool,
    ledger: LedgerView,
    journals: JournalsView,
    differences: Vec<DifferenceView>,
}

#[derive(Serialize)]
struct LedgerView {
    engine: &'static str,
    seconds_kept_from: Option<String>,
    requests_in_seconds: u64,
    requests_in_days: u64,
    requests_in_months: u64,
    requests_flushed: u64,
    entries_in_days: u64,
    entries_flushed: u64,
}

/// What is counted and not in the ledger yet.
#[derive(Default, Serialize)]
struct JournalsView {
    directory: String,
    files: u64,
    pages_waiting: u64,
    requests_waiting: u64,
    entries_waiting: u64,
    damaged_rows: u64,
    unreadable: Vec<String>,
    set_aside: Vec<String>,
}

#[derive(Serialize)]
struct DifferenceView {
    table: &'static str,
    against: &'static str,
    key_id: Option<String>,
    start: Option<String>,
    expected: u64,
    found: u64,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &AuditArgs, out: &mut dyn Write) -> u8 {
    let view = block_on(async {
        let ledger = args.ledger.open_existing().await?;
        // Journals first: what is flushed in between shows twice here and nowhere as missing.
        let dir = args.journal_dir.clone();
        let dir = dir.unwrap_or_else(|| args.ledger.data_dir.join(JOURNAL_DIR));
        let journals = journals(&*ledger, &dir).await?;
        let audit = ledger.audit().await?;
        Ok(AuditView::of(&audit, ledger.engine(), journals))
    });
    let view = match view {
        Ok(view) => view,
        Err(error) => {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            return NOT_LOOKED_AT;
        }
    };
    let written = if args.ledger.json {
        write_json(out, &view)
    } else {
        view.write(out)
    };
    if written.and_then(|()| out.flush()).is_err() {
        return NOT_LOOKED_AT;
    }
    if view.clean { CLEAN } else { DIFFERS }
}

/// Adds up what the journals hold that the ledger does not have.
async fn journals(ledger: &dyn Ledger, dir: &Path) -> anyhow::Result<JournalsView> {
    let mut view = JournalsView {
        directory: dir.display().to_string(),
        ..JournalsView::default()
    };
    if !dir.exists() {
        return Ok(view);
    }
    view.set_aside = set_aside_files(dir)?
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    for path in journal_files(dir)? {
        view.files += 1;
        let left = match LeftJournal::open(&path)? {
            Ok(left) => left,
            Err(why) => {
                view.unreadable.push(format!("{}: {why}", path.display()));
                continue;
            }
        };
        let journal = left.journal();
        let last = ledger
            .last_flush(journal.node(), journal.boot(), journal.meter())
            .await?;
        for page in left.pages_left() {
            if last.is_some_and(|last| page.sequence <= last) {
                continue;
            }
            let rows = left.rows(page)?;
            view.pages_waiting += 1;
            view.requests_waiting += rows.requests.iter().map(|row| row.count).sum::<u64>();
            view.entries_waiting += rows.symbols.iter().map(|row| row.entries).sum::<u64>();
            view.entries_waiting += rows.lost_detail;
            view.damaged_rows += rows.damaged;
        }
    }
    Ok(view)
}

impl AuditView {
    fn of(audit: &LedgerAudit, engine: &'static str, journals: JournalsView) -> Self {
        let differences: Vec<_> = audit
            .discrepancies
            .iter()
            .map(|found| DifferenceView {
                table: found.table,
                against: found.against,
                key_id: found.key_id.map(|key_id| key_id.to_string()),
                start: found
                    .start
                    .map(|start| short_time(start.saturating_mul(1_000_000_000))),
                expected: found.expected,
                found: found.found,
            })
            .collect();
        Self {
            clean: differences.is_empty() && journals.damaged_rows == 0 && journals.unreadable.is_empty(),
            ledger: LedgerView {
                engine,
                seconds_kept_from: audit
                    .seconds_kept_from
                    .map(|start| short_time(start.saturating_mul(1_000_000_000))),
                requests_in_seconds: audit.requests_in_seconds,
                requests_in_days: audit.requests_in_days,
                requests_in_months: audit.requests_in_months,
                requests_flushed: audit.requests_flushed,
                entries_in_days: audit.entries_in_days,
                entries_flushed: audit.entries_flushed,
            },
            journals,
            differences,
        }
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let (ledger, journals) = (&self.ledger, &self.journals);
        let mut table = Table::of_fields();
        table.row(["ledger", ledger.engine]);
        let kept = ledger.seconds_kept_from.as_deref().unwrap_or("nothing recorded");
        table.row(["seconds kept from", kept]);
        for (name, number) in [
            ("requests in seconds kept", ledger.requests_in_seconds),
            ("requests in days, all time", ledger.requests_in_days),
            ("requests in months, all time", ledger.requests_in_months),
            ("requests flushed, all time", ledger.requests_flushed),
            ("entries in days, all time", ledger.entries_in_days),
            ("entries flushed, all time", ledger.entries_flushed),
            ("journals", journals.files),
            ("requests waiting in journals", journals.requests_waiting),
            ("entries waiting in journals", journals.entries_waiting),
        ] {
            table.row([name, &number.to_string()]);
        }
        table.write(out)?;
        if journals.damaged_rows > 0 {
            writeln!(
                out,
                "\n{} rows in the journals are damaged.",
                journals.damaged_rows
            )?;
        }
        for file in &journals.unreadable {
            writeln!(out, "\nUnreadable: {file}")?;
        }
        if !journals.set_aside.is_empty() {
            writeln!(
                out,
                "\nSet aside by earlier starts, for you to look at and remove:"
            )?;
            for file in &journals.set_aside {
                writeln!(out, "  {file}")?;
            }
        }
        if self.differences.is_empty() {
            return writeln!(
                out,
                "\n{}",
                if self.clean {
                    "Everything agrees."
                } else {
                    "The tables agree."
                }
            );
        }
        writeln!(out, "\n{} differences:", self.differences.len())?;
        let mut table = Table::new(["TABLE", "AGAINST", "KEY", "FROM", "EXPECTED", "FOUND"]);
        for found in &self.differences {
            table.row([
                found.table,
                found.against,
                found.key_id.as_deref().unwrap_or("all"),
                found.start.as_deref().unwrap_or("all time"),
                &found.expected.to_string(),
                &found.found.to_string(),
            ]);
        }
        table.write(out)
    }
}
