//! Checks, settings and profiles for people: at most as wide as the terminal, coloured only there.

use std::io::{self, IsTerminal, Write};

use trinity_tuning::check::{Check, Driver, Report, Verdict, shards};
use trinity_tuning::facts::{Facts, Place, Reading};
use trinity_tuning::profiles::Profile;
use trinity_tuning::recommend::Settings;
use unicode_width::UnicodeWidthStr;

use crate::cli::output::Table;

/// Columns between which lines are fitted, and those taken where there is no terminal.
const COLUMNS: (usize, usize) = (60, 120);
const COLUMNS_ELSEWHERE: usize = 100;
/// Columns of the verdict and of the name with the space behind each.
const VERDICT: usize = 7;
const NAME: usize = 16;
/// Columns that the explanation of a check is moved in by, and of its labels.
const INDENT: usize = VERDICT;
const LABEL: usize = 6;

/// How lines are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) columns: usize,
    pub(super) colours: bool,
}

impl Style {
    /// The terminal's width, and colours unless NO_COLOR is set (<https://no-color.org>).
    pub(super) fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal();
        let columns = if terminal {
            crossterm::terminal::size().map_or(COLUMNS_ELSEWHERE, |(columns, _)| usize::from(columns))
        } else {
            COLUMNS_ELSEWHERE
        };
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            columns: columns.clamp(COLUMNS.0, COLUMNS.1),
            colours: terminal && !plain,
        }
    }

    /// A verdict in its colour, filled up to its column.
    fn verdict(&self, verdict: Verdict) -> String {
        let word = verdict.name();
        let fill = " ".repeat(VERDICT - word.len());
        if !self.colours {
            return word.to_owned() + &fill;
        }
        // SGR: green, cyan, yellow, bold red.
        let code = match verdict {
            Verdict::Ok => "32",
            Verdict::Note => "36",
            Verdict::Warn => "33",
            Verdict::Unfit => "1;31",
        };
        format!("\u{1b}[{code}m{word}\u{1b}[0m{fill}")
    }
}

/// The machine, then a row for each check, with an explanation below those that found something.
pub(super) fn report(
    out: &mut dyn Write,
    style: &Style,
    facts: &Facts,
    report: &Report,
    verbose: bool,
) -> io::Result<()> {
    labelled(out, style, 0, "machine", &machine(facts))?;
    writeln!(out)?;
    let rest = style.columns - VERDICT - NAME;
    let found_columns = rest * 3 / 5 - 2;
    let wanted_columns = rest - found_columns - 2;
    writeln!(
        out,
        "{:VERDICT$}{:NAME$}{:found_columns$}  WANTED",
        "", "CHECK", "FOUND"
    )?;
    for check in &report.checks {
        let found = wrap(&check.found, found_columns);
        let wanted = wrap(&check.wanted, wanted_columns);
        for line in 0..found.len().max(wanted.len()) {
            let cell = |lines: &[String]| lines.get(line).cloned().unwrap_or_default();
            let (found, wanted) = (cell(&found), cell(&wanted));
            let fill = " ".repeat(found_columns.saturating_sub(found.width()) + 2);
            let (verdict, name) = if line == 0 {
                (style.verdict(check.verdict), check.name)
            } else {
                (" ".repeat(VERDICT), "")
            };
            let row = format!("{verdict}{name:NAME$}{found}{fill}{wanted}");
            writeln!(out, "{}", row.trim_end())?;
        }
        if verbose || check.verdict > Verdict::Ok {
            explain(out, style, check)?;
        }
    }
    writeln!(out)
}

fn explain(out: &mut dyn Write, style: &Style, check: &Check) -> io::Result<()> {
    labelled(out, style, INDENT, "why", &check.why)?;
    let how = &check.how;
    if how.here == how.ec2 && how.here == how.ecs {
        return labelled(out, style, INDENT, "how", &how.here);
    }
    labelled(out, style, INDENT, "here", &how.here)?;
    labelled(out, style, INDENT, "EC2", &how.ec2)?;
    labelled(out, style, INDENT, "ECS", &how.ecs)
}

/// A label and its text, the text's further lines below its first.
fn labelled(out: &mut dyn Write, style: &Style, indent: usize, label: &str, text: &str) -> io::Result<()> {
    let width = LABEL.max(label.len() + 2);
    let lines = wrap(text, style.columns - indent - width);
    for (index, line) in lines.iter().enumerate() {
        let label = if index == 0 { label } else { "" };
        writeln!(out, "{:indent$}{label:width$}{line}", "")?;
    }
    Ok(())
}

fn machine(facts: &Facts) -> String {
    let told = |reading: &Reading<String>| reading.known().cloned().unwrap_or_else(|| "not told".to_owned());
    let place = match facts.place.kind {
        Place::Fargate => "an ECS task on Fargate",
        Place::EcsOnEc2 => "an ECS task on EC2",
        Place::Ec2 => "an EC2 instance",
        Place::Container => "a container",
        Place::Host => "no container",
    };
    let cpus = |reading: &Reading<usize>| reading.known().map_or_else(|| "?".to_owned(), usize::to_string);
    let allowed = facts.cpu.affinity.known().map(Vec::len);
    let mut text = format!(
        "{}, {} of {} CPUs, Linux {}, {place}",
        told(&facts.cpu.model),
        allowed.map_or_else(|| "?".to_owned(), |count| count.to_string()),
        cpus(&facts.cpu.online),
        told(&facts.place.kernel),
    );
    if !facts.place.signs.is_empty() {
        text.push_str(" (");
        text.push_str(&facts.place.signs.join("; "));
        text.push(')');
    }
    text.replace(char::is_control, "\u{fffd}")
}

const fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::Auto => "auto",
        Driver::Epoll => "epoll",
        Driver::Glommio => "glommio",
    }
}

/// What to run here, and why so.
pub(super) fn settings(out: &mut dyn Write, style: &Style, settings: &Settings) -> io::Result<()> {
    let driver = driver_name(settings.driver);
    let spin = match settings.spin_us {
        0 => String::new(),
        us => format!(" --spin-us {us}"),
    };
    let serve = format!(
        "trinity-beast serve --shards {} --driver {driver}{spin}",
        settings.shards
    );
    labelled(out, style, 0, "run", &serve)?;
    let buffers = settings.socket_buffer_max_bytes.map_or_else(
        || "as they are".to_owned(),
        |bytes| format!("net.core.rmem_max and wmem_max {bytes}"),
    );
    let memlock = settings
        .memlock_bytes
        .map_or_else(String::new, |bytes| format!(", memlock {} KiB", bytes >> 10));
    let with = format!(
        "{} open files, {} MiB of memory, somaxconn {}, socket buffers {buffers}{memlock}",
        settings.open_files,
        settings.memory_bytes >> 20,
        settings.somaxconn,
    );
    labelled(out, style, 0, "with", &with)?;
    labelled(out, style, 0, "why", &settings.why.join("; "))
}

/// The last line: fit, or not and why.
pub(super) fn verdict(out: &mut dyn Write, style: &Style, report: &Report) -> io::Result<()> {
    let driver = driver_name(report.plan.driver);
    let plan = format!("{} with --driver {driver}", shards(report.plan.shards));
    let text = match report.fit {
        Some(true) => format!("this machine is fit for {plan}"),
        None => format!("nobody can say whether this machine is fit for {plan}: its CPUs are not told"),
        Some(false) => {
            let reason = |check: &Check| format!("{}: {}, wanted {}", check.name, check.found, check.wanted);
            let reasons: Vec<_> = report.at_least(Verdict::Unfit).map(reason).collect();
            format!("this machine is not fit for {plan}: {}", reasons.join("; "))
        }
    };
    writeln!(out)?;
    for line in wrap(&text, style.columns) {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// A table of task sizes.
pub(super) fn profiles(out: &mut dyn Write, profiles: &[Profile]) -> io::Result<()> {
    let mut table = Table::new(["PROFILE", "vCPU", "MiB", "SHARDS", "DRIVER", "FILES", "FOR"]);
    for profile in profiles {
        table.row([
            profile.name,
            &(f64::from(profile.cpu_units) / 1_024.0).to_string(),
            &profile.memory_mib.to_string(),
            &profile.shards.to_string(),
            driver_name(profile.driver),
            &profile.open_files.to_string(),
            profile.remark,
        ]);
    }
    table.write(out)
}

/// Breaks a text between words so that no line is wider; a word that is goes over several lines.
fn wrap(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(8);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word = word.to_owned();
        loop {
            let line = lines.last_mut().expect("there is a line");
            let gap = usize::from(!line.is_empty());
            if line.width() + gap + word.width() <= columns {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(&word);
                break;
            }
            if gap == 1 {
                lines.push(String::new());
                continue;
            }
            let mut at = 0;
            for (index, c) in word.char_indices() {
                if word[..index + c.len_utf8()].width() > columns {
                    break;
                }
                at = index + c.len_utf8();
            }
            line.push_str(&word[..at]);
            word.drain(..at);
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words_and_never_wider() {
        assert_eq!(wrap("one two three four", 9), ["one two", "three", "four"]);
        assert_eq!(wrap("", 20), [""]);
        let long = wrap("a abcdefghijklmnopqrst b", 8);
        assert_eq!(long, ["a", "abcdefgh", "ijklmnop", "qrst b"]);
        for columns in 8..40 {
            let text = "net.core.rmem_max=8388608 北京北京北京北京北京 (as root, on the host)";
            let lines = wrap(text, columns);
            assert!(lines.iter().all(|line| line.width() <= columns), "{lines:?}");
            let joined: String = lines.concat().split_whitespace().collect();
            assert_eq!(joined, text.split_whitespace().collect::<String>());
        }
    }

    #[test]
    fn colours_do_not_move_the_columns() {
        let plain = Style {
            columns: 80,
            colours: false,
        };
        let coloured = Style {
            colours: true,
            ..plain
        };
        for verdict in [Verdict::Ok, Verdict::Note, Verdict::Warn, Verdict::Unfit] {
            assert_eq!(plain.verdict(verdict).width(), VERDICT);
            let bare: String = coloured
                .verdict(verdict)
                .split('\u{1b}')
                .map(|part| part.split_once('m').map_or(part, |(_, rest)| rest))
                .collect();
            assert_eq!(bare.len(), VERDICT, "{bare:?}");
        }
    }
}
