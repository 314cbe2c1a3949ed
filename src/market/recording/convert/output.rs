//! A finished conversion: the header and the rows, ready to be written.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::markets::Markets;
use super::rows::Row;
use super::{ConvertError, FileReport};
use crate::market::recording::{FORMAT, Header, VERSION};

/// A recording in memory.
#[derive(Debug)]
pub struct Conversion {
    /// What it shows; made of symbols, venues and times unless it is set.
    pub title: String,
    /// Where the figures come from.
    pub origin: String,
    /// Under which terms.
    pub licence_note: String,
    /// What became of each file.
    pub reports: Vec<FileReport>,
    symbols: Vec<String>,
    names: Vec<String>,
    ages_ms: Option<(u32, u32)>,
    written: Vec<(&'static str, String)>,
    rows: Vec<Row>,
}

/// A column: its name, and its text in a row.
type Column = (&'static str, fn(&Row) -> Option<String>);

const PRICES: [Column; 5] = [
    ("bid", |row| row.bid.map(|bid| bid.to_string())),
    ("ask", |row| row.ask.map(|ask| ask.to_string())),
    ("price", |row| row.last.map(|last| last.to_string())),
    ("confidence", |row| row.confidence.map(|own| own.to_string())),
    ("sequence", |row| row.sequence.map(|number| number.to_string())),
];

impl Conversion {
    /// Of rows in the order of time, at least one.
    pub(super) fn new(
        markets: &Markets,
        rows: Vec<Row>,
        reports: Vec<FileReport>,
        ages_ms: Option<(u32, u32)>,
    ) -> Result<Self, ConvertError> {
        let numbers = 0..rows.iter().map(|row| row.market + 1).max().unwrap_or(0);
        let written = numbers.map(|number| markets.written(number));
        let venues: Vec<_> = markets.venues().iter().map(|venue| venue.spec().title).collect();
        let (symbols, names) = (markets.rows(), markets.symbols());
        let shown = |row: Option<&Row>| time(row.map_or(0, |row| row.time_ns));
        let title = format!(
            "{} at {}, {} to {}",
            shortened(&names),
            venues.join(", "),
            shown(rows.first()),
            shown(rows.last())
        );
        let files: Vec<_> = reports
            .iter()
            .map(|report| {
                let name = report.path.file_name().unwrap_or_default().to_string_lossy();
                format!("{name} ({})", report.kind.name())
            })
            .collect();
        let conversion = Self {
            title,
            origin: format!("converted from {}", shortened(&files)),
            licence_note: String::new(),
            symbols,
            names,
            ages_ms,
            written: written
                .map(|(venue, spelling)| (venue, spelling.to_owned()))
                .collect(),
            rows,
            reports,
        };
        // A recording whose own table does not stand is none.
        let header: Header = Header {
            max_age_ms: ages_ms.map(|(max, _)| max),
            hard_age_ms: ages_ms.map(|(_, hard)| hard),
            symbols: conversion.symbols.clone(),
            ..Header::default()
        };
        header.symbol_table()?;
        Ok(conversion)
    }

    /// Rows it has.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has none; it always has one.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The symbols that are quoted, by name.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The symbol rows that it brings.
    pub fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// Writes header and rows, as they are read by [`Recording`](crate::market::recording::Recording).
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let whole_ms = |ns: u64| ns.is_multiple_of(1_000_000);
        let in_ms = self.rows.iter().all(|row| whole_ms(row.time_ns));
        let venue_ms = self.rows.iter().all(|row| row.venue_time_ns.is_none_or(whole_ms));
        let venue_time: Column = if venue_ms {
            ("venue_time_ms", |row| {
                row.venue_time_ns.map(|ns| (ns / 1_000_000).to_string())
            })
        } else {
            ("venue_time_ns", |row| row.venue_time_ns.map(|ns| ns.to_string()))
        };
        let used: Vec<Column> = PRICES
            .into_iter()
            .chain([venue_time])
            .filter(|(_, text)| self.rows.iter().any(|row| text(row).is_some()))
            .collect();
        let mut columns = vec![if in_ms { "time_ms" } else { "time_ns" }, "venue", "market"];
        columns.extend(used.iter().map(|(name, _)| *name));
        let mut header = json!({
            "format": FORMAT,
            "version": VERSION,
            "title": self.title,
            "origin": self.origin,
            "licence_note": self.licence_note,
            "columns": columns,
        });
        if let Some((max, hard)) = self.ages_ms {
            header["max_age_ms"] = Value::from(max);
            header["hard_age_ms"] = Value::from(hard);
        }
        if !self.symbols.is_empty() {
            header["symbols"] = Value::from(self.symbols.clone());
        }
        writeln!(out, "{header}")?;
        for row in &self.rows {
            let at = if in_ms {
                row.time_ns / 1_000_000
            } else {
                row.time_ns
            };
            let (venue, spelling) = &self.written[row.market as usize];
            write!(out, "{at},{venue},{spelling}")?;
            for (_, text) in &used {
                write!(out, ",{}", text(row).unwrap_or_default())?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

fn time(unix_ns: u64) -> Timestamp {
    let seconds = i64::try_from(unix_ns / 1_000_000_000).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

/// The first few of a list.
fn shortened(texts: &[String]) -> String {
    const SHOWN: usize = 6;
    let mut shown = texts.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if texts.len() > SHOWN {
        write!(shown, " and {} more", texts.len() - SHOWN).expect("a string takes everything");
    }
    shown
}
