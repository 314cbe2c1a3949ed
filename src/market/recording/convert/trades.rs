//! Trades stamped to the second, `date,last` with dates such as `2018-08-12 16:00:18`, in files
//! named as bitcoincharts names them: the venue, and the currency that bitcoin is priced in
//! (`bitflyerJPY_2018-08-12_small.csv`).
//!
//! The files do not say in which zone their clock stands; it is taken as UTC, for all of them
//! alike. Of several trades in one second the last stands.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::lines::Lines;
use super::rows::Row;
use super::{Context, ConvertError, Instrument, names};

pub(super) const COLUMNS: &[&str] = &["date", "last"];

pub(super) fn read(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let stem = names::stem(&context.input.path);
    let word = stem.split(['_', '-']).next().unwrap_or_default();
    let cut = word.find(|c: char| c.is_ascii_uppercase()).unwrap_or(word.len());
    let (name, currency) = word.split_at(cut);
    let shape = "the name does not say whose trades of what they are; call it like bitflyerJPY_2018-08-12.csv, or \
                 say --venue and --pair";
    let venue = context.venue(name).ok_or_else(|| context.form(shape))?;
    let instrument = match &context.input.instrument {
        Some(told) => told.clone(),
        None if currency.is_empty() => return Err(context.form(shape)),
        None => Instrument::spot("BTC", currency),
    };
    let market = context
        .markets
        .number(venue, &instrument, context.input.spelling.as_deref())
        .map_err(|problem| context.form(problem))?;
    context.each_row(lines, COLUMNS, |context, fields| {
        let text = fields.text(0);
        let time_ns = DateTime::strptime("%Y-%m-%d %H:%M:%S", text)
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|error| format!("date `{text}`: {error}"))
            .and_then(|time| names::unix_ns(time.timestamp()))?;
        let price = fields.decimal(1)?;
        context.markets.sample(market, Some(price));
        context.push(Row {
            time_ns,
            market,
            last: Some(price),
            ..Row::default()
        });
        Ok(())
    })
}
