//! NautilusTrader's ticks as CSV: quotes `ts_ms,symbol,ask_size,ask,bid_size,bid`, and trades
//! `ts_ms,trade_id,price,quantity,buyer_maker` in a file that begins with the pair
//! (`btcusdt-trades.csv`). The folder names the venue, or `--venue` does.

use super::super::lines::Lines;
use super::rows::Row;
use super::{Context, ConvertError, names};
use crate::market::venue::VenueId;

pub(super) const QUOTES: &[&str] = &["ts_ms", "symbol", "ask", "bid"];
pub(super) const TRADES: &[&str] = &["ts_ms", "trade_id", "price"];

pub(super) fn read_quotes(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let venue = venue(context)?;
    context.each_row(lines, QUOTES, |context, fields| {
        let time_ns = fields.whole(0, 1_000_000)?;
        let name = fields.text(1);
        let instrument = context
            .input
            .instrument
            .clone()
            .or_else(|| context.markets.spelled(venue, name))
            .ok_or_else(|| format!("symbol `{name}` is no pair"))?;
        let market = context.markets.number(venue, &instrument, None)?;
        let row = Row {
            time_ns,
            market,
            ask: fields.optional(2)?,
            bid: fields.optional(3)?,
            ..Row::default()
        };
        context.markets.sample(market, row.ask);
        context.push(row);
        Ok(())
    })
}

pub(super) fn read_trades(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let venue = venue(context)?;
    let stem = names::stem(&context.input.path);
    let pair = stem.split(['-', '_']).next().unwrap_or_default();
    let instrument = context
        .input
        .instrument
        .clone()
        .or_else(|| context.markets.pair(pair))
        .ok_or_else(|| {
            context
                .form("neither rows nor name say what is traded; call it btcusdt-trades.csv, or say --pair")
        })?;
    let market = context
        .markets
        .number(venue, &instrument, context.input.spelling.as_deref())
        .map_err(|problem| context.form(problem))?;
    context.each_row(lines, TRADES, |context, fields| {
        let price = fields.decimal(2)?;
        context.markets.sample(market, Some(price));
        context.push(Row {
            time_ns: fields.whole(0, 1_000_000)?,
            market,
            last: Some(price),
            sequence: Some(fields.whole(1, 1)?),
            ..Row::default()
        });
        Ok(())
    })
}

fn venue(context: &Context<'_>) -> Result<VenueId, ConvertError> {
    context
        .input
        .venue
        .or_else(|| names::venue_of_path(&context.input.path))
        .ok_or_else(|| context.form("its path names no venue; say whose ticks they are with --venue"))
}
