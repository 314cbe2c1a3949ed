//! Tables for people, JSON for scripts.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::Serialize;
use unicode_width::UnicodeWidthStr;

/// Spaces between two columns.
const GAP: usize = 2;

/// Rows under a heading, aligned by what a terminal shows.
#[derive(Clone, Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with its heading.
    pub fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned).to_vec()],
        }
    }

    /// Names on the left, their values on the right, without a heading.
    pub fn of_fields() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a row. Control characters are replaced, so that stored text cannot steer a terminal.
    pub fn row<const N: usize>(&mut self, cells: [&str; N]) {
        let clean = |cell: &str| cell.replace(char::is_control, "\u{fffd}");
        self.rows.push(cells.map(clean).to_vec());
    }

    /// Writes the table.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|i| {
                self.rows
                    .iter()
                    .filter_map(|row| row.get(i))
                    .map(|cell| cell.width())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', width - cell.width() + GAP));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Writes one JSON value, indented, with a line's end.
pub fn write_json<T: Serialize + ?Sized>(out: &mut dyn Write, value: &T) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)
}

/// A time for people: RFC 3339, UTC, whole seconds.
pub fn short_time(unix_ns: u64) -> String {
    // Every u64 of nanoseconds lies before the year 2555, within jiff's range.
    Timestamp::from_second((unix_ns / 1_000_000_000) as i64)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

/// A time for scripts: RFC 3339, UTC, to the nanosecond.
pub fn exact_time(unix_ns: u64) -> String {
    Timestamp::from_nanosecond(i128::from(unix_ns))
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table) -> String {
        let mut out = Vec::new();
        table.write(&mut out).expect("memory takes it");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_line_up_as_a_terminal_shows_them() {
        let mut table = Table::new(["NAME", "TIER"]);
        table.row(["北京", "pro"]);
        table.row(["Zoë Ltd", ""]);
        assert_eq!(shown(&table), "NAME     TIER\n北京     pro\nZoë Ltd\n");
        assert_eq!(shown(&Table::of_fields()), "");
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        let mut table = Table::of_fields();
        table.row(["a\u{1b}[2Jb\nc\u{9b}", "x"]);
        assert_eq!(shown(&table), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}  x\n");
    }

    #[test]
    fn times_read_as_rfc_3339() {
        assert_eq!(short_time(1_678_492_800_123_456_789), "2023-03-11T00:00:00Z");
        assert_eq!(
            exact_time(1_678_492_800_123_456_789),
            "2023-03-11T00:00:00.123456789Z"
        );
        assert_eq!(short_time(u64::MAX), "2554-07-21T23:34:33Z");
    }
}
