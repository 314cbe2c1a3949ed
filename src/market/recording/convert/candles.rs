//! Bars of one market: `start_unix,open,high,low,close,volume,..`, in a file called
//! `<venue>_<pair>_<length>.csv` such as `coinbase_btcusd_1m.csv`.
//!
//! A bar becomes a quote at its end: price = close, confidence = half of high - low. A bar
//! without volume is the venue's repetition of an older price and is left out.

use super::super::lines::Lines;
use super::rows::{Row, close_of};
use super::{Context, ConvertError, names};

pub(super) const COLUMNS: &[&str] = &["start_unix", "high", "low", "close", "volume"];

pub(super) fn read(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let stem = names::stem(&context.input.path);
    let words: Vec<_> = stem.split('_').collect();
    let shape = "the name does not say whose bars of what they are; call it coinbase_btcusd_1m.csv, or say \
                 --venue and --pair";
    let length_ns = words
        .iter()
        .rev()
        .find_map(|word| names::span(word))
        .ok_or_else(|| {
            context.form("the name does not say how long a bar is; call it like coinbase_btcusd_1m.csv")
        })?;
    let venue = context.venue(words[0]).ok_or_else(|| context.form(shape))?;
    let pair = words.get(1).copied().unwrap_or_default();
    let instrument = context
        .input
        .instrument
        .clone()
        .or_else(|| context.markets.spelled(venue, pair))
        .ok_or_else(|| context.form(shape))?;
    let market = context
        .markets
        .number(venue, &instrument, context.input.spelling.as_deref())
        .map_err(|problem| context.form(problem))?;
    context.ages_ms = Some(names::ages_of_bars(length_ns));
    context.each_row(lines, COLUMNS, |context, fields| {
        let start_ns = fields.whole(0, 1_000_000_000)?;
        let (price, confidence) = close_of(fields.decimal(1)?, fields.decimal(2)?, fields.decimal(3)?)?;
        if fields.decimal(4)?.is_zero() {
            context.leave_out("bars without volume");
            return Ok(());
        }
        context.markets.sample(market, Some(price));
        context.push(Row {
            time_ns: start_ns.checked_add(length_ns).ok_or("its time is too large")?,
            market,
            last: Some(price),
            confidence: Some(confidence),
            ..Row::default()
        });
        Ok(())
    })
}
