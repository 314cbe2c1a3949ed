//! Rows on their way from one form to the other, and the columns of CSV files.

use crate::market::decimal::Decimal;

/// A quote of one market; `market` is a number that [`Markets`](super::markets::Markets) gave.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    pub time_ns: u64,
    pub market: u32,
    pub bid: Option<Decimal>,
    pub ask: Option<Decimal>,
    pub last: Option<Decimal>,
    pub confidence: Option<Decimal>,
    pub venue_time_ns: Option<u64>,
    pub sequence: Option<u64>,
}

/// Where the wanted columns stand in a CSV file.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<&'static str>,
    at: Vec<usize>,
    count: usize,
}

/// One row's wanted fields, in the order in which they were asked for.
pub(super) struct Fields<'a> {
    names: &'a [&'static str],
    texts: Vec<&'a str>,
}

impl Columns {
    /// Finds every wanted column in a header; more may stand there.
    pub(super) fn find(header: &str, wanted: &[&'static str]) -> Result<Self, String> {
        let names: Vec<_> = header.trim().split(',').map(str::trim).collect();
        let at = wanted
            .iter()
            .map(|wanted| {
                names
                    .iter()
                    .position(|name| name == wanted)
                    .ok_or_else(|| format!("no column `{wanted}` in its first line"))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            names: wanted.to_vec(),
            at,
            count: names.len(),
        })
    }

    /// Cuts a line.
    pub(super) fn fields<'a>(&'a self, text: &'a str) -> Result<Fields<'a>, String> {
        let all: Vec<_> = text.split(',').map(str::trim).collect();
        if all.len() != self.count {
            return Err(format!("{} fields, the first line has {}", all.len(), self.count));
        }
        Ok(Fields {
            names: &self.names,
            texts: self.at.iter().map(|at| all[*at]).collect(),
        })
    }
}

impl<'a> Fields<'a> {
    /// The text of a field; may be empty.
    pub(super) fn text(&self, at: usize) -> &'a str {
        self.texts[at]
    }

    /// A number that must be there.
    pub(super) fn decimal(&self, at: usize) -> Result<Decimal, String> {
        decimal(self.names[at], self.texts[at])
    }

    /// A number, or None where the field is empty.
    pub(super) fn optional(&self, at: usize) -> Result<Option<Decimal>, String> {
        match self.texts[at] {
            "" => Ok(None),
            _ => self.decimal(at).map(Some),
        }
    }

    /// A whole number that must be there, times `scale`.
    pub(super) fn whole(&self, at: usize, scale: u64) -> Result<u64, String> {
        whole(self.names[at], self.texts[at], scale)
    }
}

/// Reads a number; the error names the field.
pub(super) fn decimal(name: &str, text: &str) -> Result<Decimal, String> {
    Decimal::parse(text).map_err(|error| format!("{name} `{text}`: {error}"))
}

/// Reads a whole number in some unit as one in a unit `scale` times as fine.
pub(super) fn whole(name: &str, text: &str, scale: u64) -> Result<u64, String> {
    text.parse::<u64>()
        .ok()
        .and_then(|value| value.checked_mul(scale))
        .ok_or_else(|| format!("{name} `{text}` is no whole number, or too large"))
}

/// A price of a bar that ended: close, with half of high - low as confidence.
pub(super) fn close_of(high: Decimal, low: Decimal, close: Decimal) -> Result<(Decimal, Decimal), String> {
    if close.is_zero() || close.is_negative() || low.is_negative() {
        return Err("a price is not above 0".to_owned());
    }
    // One digit finer than both, so that the half is exact.
    let exponent = high.exponent().min(low.exponent()).saturating_sub(1);
    let (high, low) = high
        .rescale(exponent)
        .zip(low.rescale(exponent))
        .ok_or("high and low do not fit")?;
    if high < low {
        return Err("high is below low".to_owned());
    }
    Ok((close, Decimal::new((high - low) / 2, exponent)))
}
