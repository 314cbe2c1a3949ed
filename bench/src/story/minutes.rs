//! `minutes`: what was said of a symbol, moment by moment.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, ValueEnum};
use trinity_beast::cli::convert::time;
use trinity_beast::cli::output::short_time;
use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{Disposition, Explanation, SymbolTable};
use trinity_protocol::PriceFlags;

use super::{Scene, to_tick, up_to_tick};

const NANOS: u64 = 1_000_000_000;

/// Moments that one table may have.
const MAX_ROWS: u64 = 1_000_000;

#[derive(Args, Debug)]
pub(crate) struct MinutesArgs {
    #[command(flatten)]
    scene: Scene,
    /// These moments only, such as 2023-03-11T02:31Z,2023-03-11T07:00Z
    #[arg(long, value_name = "TIMES", value_delimiter = ',', value_parser = time, conflicts_with_all = ["from", "to", "every"])]
    at: Vec<u64>,
    /// Every so many seconds, from the beginning to the end
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    #[arg(long, value_enum, default_value_t = Format::Markdown)]
    format: Format,
    /// Where it goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people and pages: rounded to the symbol's tick
    Markdown,
    /// For programs: exact
    Csv,
}

/// One moment.
struct Row {
    at_ns: u64,
    explanation: Explanation,
}

/// Runs the command.
pub(crate) fn run(args: &MinutesArgs) -> anyhow::Result<()> {
    let table = args.table()?;
    let Some(path) = &args.out else {
        print!("{table}");
        return Ok(());
    };
    std::fs::write(path, table).with_context(|| format!("cannot write {}", path.display()))
}

impl MinutesArgs {
    /// The table as text.
    pub(crate) fn table(&self) -> anyhow::Result<String> {
        let mut rows: Vec<Row> = Vec::new();
        let mut names = None;
        let mut due = Due::new(self);
        let mut before: Option<Explanation> = None;
        self.scene.walk(&mut |moment| {
            names.get_or_insert_with(|| Names::of(moment.table, moment.explanation));
            due.begin(moment.at_ns);
            // What stood before this step, for every moment that it passed over.
            while let Some(at_ns) = due.next().filter(|at_ns| *at_ns < moment.at_ns) {
                rows.extend(before.clone().map(|explanation| Row { at_ns, explanation }));
                due.pass();
            }
            before = Some(moment.explanation.clone());
            due.next().is_some() && (rows.len() as u64) < MAX_ROWS
        })?;
        // The last state stands at the moment it was reached.
        while let Some(at_ns) = due.next() {
            match &before {
                Some(explanation) if explanation.evaluated_ns >= at_ns || !self.at.is_empty() => {
                    let explanation = explanation.clone();
                    rows.push(Row { at_ns, explanation });
                }
                _ => break,
            }
            due.pass();
        }
        ensure!(
            (rows.len() as u64) < MAX_ROWS,
            "more than {MAX_ROWS} moments; take a shorter time"
        );
        let names = names.context("the recording has nothing to play")?;
        Ok(match self.format {
            Format::Markdown => names.markdown(&rows),
            Format::Csv => names.csv(&rows),
        })
    }
}

/// The moments that are still to come.
struct Due {
    times: Vec<u64>,
    at: usize,
    every_ns: u64,
    next_ns: Option<u64>,
    to_ns: u64,
    listed: bool,
}

impl Due {
    fn new(args: &MinutesArgs) -> Self {
        let mut times = args.at.clone();
        times.sort_unstable();
        Self {
            listed: !times.is_empty(),
            times,
            at: 0,
            every_ns: args.every.saturating_mul(NANOS),
            next_ns: args.scene.from,
            to_ns: args.scene.to.unwrap_or(u64::MAX),
        }
    }

    /// The first step tells where a recording begins.
    fn begin(&mut self, at_ns: u64) {
        self.next_ns.get_or_insert(at_ns);
    }

    fn next(&self) -> Option<u64> {
        if self.listed {
            return self.times.get(self.at).copied();
        }
        self.next_ns.filter(|at_ns| *at_ns <= self.to_ns)
    }

    fn pass(&mut self) {
        self.at += 1;
        self.next_ns = self.next_ns.map(|at_ns| at_ns.saturating_add(self.every_ns));
    }
}

/// What rows are written with.
struct Names {
    spec: trinity_beast::market::SymbolSpec,
    /// By symbol id, for rates.
    symbols: Vec<String>,
}

impl Names {
    fn of(table: &SymbolTable, explanation: &Explanation) -> Self {
        Self {
            spec: table.symbol(explanation.symbol).clone(),
            symbols: table.symbols().map(|(_, spec)| spec.name.to_string()).collect(),
        }
    }

    fn markdown(&self, rows: &[Row]) -> String {
        let mut text = String::from(
            "| UTC | price | +- | status | because | venues used | flags | what the venues said |\n\
             |---|---:|---:|---|---|---:|---|---|\n",
        );
        for Row { at_ns, explanation } in rows {
            let price = &explanation.price;
            let (value, confidence) = if price.status.has_value() {
                (
                    to_tick(&self.spec, price.mantissa),
                    up_to_tick(&self.spec, price.confidence),
                )
            } else {
                ("-".to_owned(), "-".to_owned())
            };
            writeln!(
                text,
                "| {} | {value} | {confidence} | {} | {} | {} | {} | {} |",
                day_and_minute(*at_ns),
                price.status,
                explanation.rule.name(),
                price.venues_used,
                flags(price.flags, ", "),
                self.votes(explanation),
            )
            .expect("a string takes everything");
        }
        text
    }

    /// `coinbase 20619.17, kraken 20602.70 (outlier)`; who said nothing is not named.
    fn votes(&self, explanation: &Explanation) -> String {
        let votes = explanation.venues.iter().filter_map(|part| {
            let word = match part.disposition {
                Disposition::NoQuote => return None,
                Disposition::Used => String::new(),
                other => format!(" ({})", other.name()),
            };
            let rate = part.rate.map_or_else(String::new, |rate| {
                format!(" by {}", self.symbols[rate.0 as usize])
            });
            let price = if part.price == 0 {
                String::new()
            } else {
                format!(" {}", to_tick(&self.spec, part.price))
            };
            Some(format!("{}{price}{rate}{word}", part.venue))
        });
        votes.collect::<Vec<_>>().join("; ")
    }

    fn csv(&self, rows: &[Row]) -> String {
        // Only venues that ever had something to say.
        let venues: Vec<VenueId> = rows
            .first()
            .map(|row| {
                row.explanation
                    .venues
                    .iter()
                    .map(|part| part.venue)
                    .collect::<Vec<_>>()
            })
            .unwrap_or_default()
            .into_iter()
            .filter(|venue| {
                rows.iter().any(|row| {
                    let mut parts = row.explanation.venues.iter();
                    parts.any(|part| part.venue == *venue && part.disposition != Disposition::NoQuote)
                })
            })
            .collect();
        let mut text = String::from("time,symbol,price,confidence,status,rule,venues_used,flags");
        for venue in &venues {
            write!(text, ",{venue}_price,{venue}_confidence,{venue}_is").expect("a string takes everything");
        }
        text.push('\n');
        for Row { at_ns, explanation } in rows {
            let price = &explanation.price;
            let exact = |mantissa: i64| Decimal::new(mantissa, self.spec.exponent).to_string();
            let (value, confidence) = if price.status.has_value() {
                let confidence = i64::try_from(price.confidence).unwrap_or(i64::MAX);
                (exact(price.mantissa), exact(confidence))
            } else {
                (String::new(), String::new())
            };
            write!(
                text,
                "{},{},{value},{confidence},{},{},{},{}",
                short_time(*at_ns),
                self.spec.name,
                price.status,
                explanation.rule.name(),
                price.venues_used,
                flags(price.flags, " "),
            )
            .expect("a string takes everything");
            for venue in &venues {
                let part = explanation.venues.iter().find(|part| part.venue == *venue);
                let told = part.filter(|part| part.price != 0);
                write!(
                    text,
                    ",{},{},{}",
                    told.map_or_else(String::new, |part| exact(part.price)),
                    told.map_or_else(String::new, |part| exact(part.confidence)),
                    part.map_or("", |part| part.disposition.name()),
                )
                .expect("a string takes everything");
            }
            text.push('\n');
        }
        text
    }
}

/// The flags' names; that a recording is replayed is known.
pub(super) fn flags(flags: PriceFlags, between: &str) -> String {
    let names = flags.names().filter(|name| *name != "replayed");
    names.collect::<Vec<_>>().join(between)
}

/// `11 Mar 02:31`, with seconds where there are any.
fn day_and_minute(at_ns: u64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = short_time(at_ns);
    let month = text[5..7].parse::<usize>().unwrap_or(1).clamp(1, 12);
    let clock = if text[17..19] == *"00" {
        &text[11..16]
    } else {
        &text[11..19]
    };
    format!(
        "{} {} {clock}",
        text[8..10].trim_start_matches('0'),
        MONTHS[month - 1]
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MinutesArgs,
    }

    fn table(words: &str) -> String {
        let words = ["minutes"].into_iter().chain(words.split(' '));
        Line::try_parse_from(words)
            .expect("good arguments")
            .args
            .table()
            .expect("a table")
    }

    #[test]
    fn every_minute_of_the_scene_has_its_row_and_says_what_stood_then() {
        let text = table("--symbol USDC-USD --from 2023-03-11T02:00Z --to 2023-03-11T02:09Z --format csv");
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 11, "{text}");
        assert!(rows[0].starts_with("time,symbol,price,confidence,status,rule,venues_used,flags,"));
        assert!(rows[1].starts_with("2023-03-11T02:00:00Z,USDC-USD,0.9"), "{text}");
        assert!(
            rows[10].starts_with("2023-03-11T02:09:00Z,USDC-USD,0.9"),
            "{text}"
        );
    }

    #[test]
    fn named_moments_are_told_in_their_order_and_past_the_end_as_nothing() {
        let text = table("--symbol BTC --at 2023-03-13T00:00Z,2023-03-11T02:31Z");
        let rows: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(rows.len(), 2);
        assert!(rows[0].starts_with("| 11 Mar 02:31 | 20"), "{text}");
        assert!(rows[1].starts_with("| 13 Mar 00:00 | - | - | "), "{text}");
    }
}
