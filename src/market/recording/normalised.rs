//! Rows of a normalised recording.

use std::str::FromStr;

use serde_json::Value;

use crate::market::decimal::Decimal;
use crate::market::quote::Quote;
use crate::market::symbol::{MarketId, SymbolTable};
use crate::market::venue::VenueId;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    TimeMs,
    TimeNs,
    Venue,
    Market,
    Bid,
    Ask,
    Last,
    Confidence,
    VenueTimeMs,
    VenueTimeNs,
    Sequence,
}

/// What a row came to.
pub(super) enum Row {
    Quote(Quote),
    /// A market that is in no row of the table; its time still moves the clock.
    UnknownMarket {
        time_ns: u64,
    },
}

#[derive(Default)]
struct Fields<'a> {
    time_ns: Option<u64>,
    venue: Option<VenueId>,
    market: Option<&'a str>,
    bid: Option<Decimal>,
    ask: Option<Decimal>,
    last: Option<Decimal>,
    confidence: Option<Decimal>,
    venue_time_ns: Option<u64>,
    sequence: Option<u64>,
}

impl Column {
    pub(super) const DEFAULT: [Self; 5] = [
        Self::TimeMs,
        Self::Venue,
        Self::Market,
        Self::Last,
        Self::Confidence,
    ];
}

impl FromStr for Column {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "time_ms" => Self::TimeMs,
            "time_ns" => Self::TimeNs,
            "venue" => Self::Venue,
            "market" => Self::Market,
            "bid" => Self::Bid,
            "ask" => Self::Ask,
            "price" | "last" => Self::Last,
            "confidence" => Self::Confidence,
            "venue_time_ms" => Self::VenueTimeMs,
            "venue_time_ns" => Self::VenueTimeNs,
            "sequence" => Self::Sequence,
            _ => return Err(format!("`{name}` is no column of a recording")),
        })
    }
}

/// Reads one row; None for an empty line. The error says what is wrong with it.
pub(super) fn row(
    table: &SymbolTable,
    columns: &[Column],
    text: &[u8],
    terminated: bool,
) -> Result<Option<Row>, String> {
    let text = std::str::from_utf8(text)
        .map_err(|_| "not UTF-8".to_owned())?
        .trim();
    if text.is_empty() {
        return Ok(None);
    }
    if text.starts_with('{') {
        let object: serde_json::Map<String, Value> =
            serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        // Numbers are taken by their shortest decimal text, as they were most likely written.
        let texts: Vec<_> = object
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let column = Column::from_str(name)?;
                match value {
                    Value::String(text) => Ok((column, text.clone())),
                    Value::Number(number) => Ok((column, number.to_string())),
                    _ => Err(format!("{name} is neither a number nor a string")),
                }
            })
            .collect::<Result<_, String>>()?;
        return fields(texts.iter().map(|(column, text)| (*column, text.as_str())))?
            .row(table)
            .map(Some);
    }
    if !terminated {
        // A CSV row that was cut inside its last number would pass for a whole one.
        return Err("the line has no end; was the file cut off?".to_owned());
    }
    let count = text.split(',').count();
    if count != columns.len() {
        return Err(format!("{count} fields, the header names {}", columns.len()));
    }
    fields(columns.iter().copied().zip(text.split(',')))?
        .row(table)
        .map(Some)
}

fn fields<'a>(pairs: impl Iterator<Item = (Column, &'a str)>) -> Result<Fields<'a>, String> {
    let mut fields = Fields::default();
    for (column, text) in pairs {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let number = || {
            text.parse::<u64>()
                .map_err(|_| format!("`{text}` is not a whole number"))
        };
        let millis = || {
            number()?
                .checked_mul(NANOS_PER_MILLI)
                .ok_or_else(|| format!("time {text} is beyond the year 2554"))
        };
        let decimal = || Decimal::parse(text).map_err(|error| format!("`{text}`: {error}"));
        match column {
            Column::TimeMs => fields.time_ns = Some(millis()?),
            Column::TimeNs => fields.time_ns = Some(number()?),
            Column::Venue => {
                fields.venue =
                    Some(VenueId::from_name(text).ok_or_else(|| format!("`{text}` is no known venue"))?);
            }
            Column::Market => fields.market = Some(text),
            Column::Bid => fields.bid = Some(decimal()?),
            Column::Ask => fields.ask = Some(decimal()?),
            Column::Last => fields.last = Some(decimal()?),
            Column::Confidence => fields.confidence = Some(decimal()?),
            Column::VenueTimeMs => fields.venue_time_ns = Some(millis()?),
            Column::VenueTimeNs => fields.venue_time_ns = Some(number()?),
            Column::Sequence => fields.sequence = Some(number()?),
        }
    }
    Ok(fields)
}

impl Fields<'_> {
    fn row(self, table: &SymbolTable) -> Result<Row, String> {
        let time_ns = self.time_ns.ok_or("no time")?;
        let venue = self.venue.ok_or("no venue")?;
        let spelling = self.market.ok_or("no market")?;
        let market: Option<MarketId> = table.market_by_spelling(venue, spelling);
        Ok(match market {
            None => Row::UnknownMarket { time_ns },
            Some(market) => Row::Quote(Quote {
                market,
                bid: self.bid,
                ask: self.ask,
                last: self.last,
                confidence: self.confidence,
                venue_time_ns: self.venue_time_ns,
                receive_time_ns: time_ns,
                sequence: self.sequence,
                fetched: false,
            }),
        })
    }
}
