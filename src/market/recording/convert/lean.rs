//! LEAN's crypto data: CSV without a header; the name carries venue, pair, resolution and day
//! (see [`Lean`]). Times are milliseconds of the day in UTC, or for hours and days
//! `20180404 13:00`.
//!
//! - Trade bars `time,open,high,low,close,volume`: a quote at the bar's end, price = close,
//!   confidence = half of high - low; left out without volume.
//! - Quote bars `time,bid open,high,low,close,size,ask open,high,low,close,size`: the book at
//!   the bar's end, bid and ask as they closed; half the spread is its confidence. Left out
//!   when one side is missing or both are without size.
//! - Trade ticks `time,price,size` and quote ticks `time,bid,size,ask,size`: as they are.
//!
//! Files of `cryptofuture` are perpetuals.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::super::lines::Lines;
use super::names::{Lean, Resolution};
use super::rows::{Row, close_of, decimal};
use super::{Context, ConvertError, names};
use crate::market::decimal::Decimal;

pub(super) fn read(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let lean = Lean::of(&context.input.path).map_err(|problem| context.form(problem))?;
    let venue = context.venue(&lean.venue).ok_or_else(|| {
        context.form(format!(
            "`{}` is no venue that is known; say which one it is with --venue",
            lean.venue
        ))
    })?;
    let instrument = context
        .input
        .instrument
        .clone()
        .or_else(|| context.markets.pair(&lean.pair))
        .ok_or_else(|| {
            context.form(format!(
                "nothing tells base from quote in `{}`; say --pair BASE-QUOTE",
                lean.pair
            ))
        })?;
    let instrument = match instrument.contract {
        None if lean.derivative => instrument.under("PERP"),
        _ => instrument,
    };
    let market = context
        .markets
        .number(venue, &instrument, context.input.spelling.as_deref())
        .map_err(|problem| context.form(problem))?;
    let length_ns = match lean.resolution {
        Resolution::Tick => 0,
        Resolution::Bars { length_ns } => {
            context.ages_ms = Some(names::ages_of_bars(length_ns));
            length_ns
        }
    };
    context.each_line(lines, |context, text| {
        let fields: Vec<_> = text.split(',').map(str::trim).collect();
        let time_ns = time(&lean, fields[0])?
            .checked_add(length_ns)
            .ok_or("its time is too large")?;
        let row = match (lean.is_trade, lean.resolution) {
            (true, Resolution::Bars { .. }) => trade_bar(&fields)?,
            (false, Resolution::Bars { .. }) => quote_bar(&fields)?,
            (true, Resolution::Tick) => trade_tick(&fields)?,
            (false, Resolution::Tick) => quote_tick(&fields)?,
        };
        match row {
            Err(why) => context.leave_out(why),
            Ok(row) => {
                context.markets.sample(market, row.last.or(row.ask));
                context.push(Row {
                    time_ns,
                    market,
                    ..row
                });
            }
        }
        Ok(())
    });
    Ok(())
}

/// A row, or why it is left out.
type Taken = Result<Row, &'static str>;

fn time(lean: &Lean, text: &str) -> Result<u64, String> {
    match lean.day_ns {
        Some(day_ns) => {
            // Ticks have fractions of a millisecond in some files.
            let ms = decimal("time", text)?
                .rescale(-6)
                .ok_or_else(|| format!("time `{text}` does not fit"))?;
            let ms = u64::try_from(ms).map_err(|_| format!("time `{text}` is below 0"))?;
            if ms >= 86_400_000 * 1_000_000 {
                return Err(format!("time `{text}` is beyond the day"));
            }
            Ok(day_ns + ms)
        }
        None => DateTime::strptime("%Y%m%d %H:%M", text)
            .and_then(|time| time.to_zoned(TimeZone::UTC))
            .map_err(|error| format!("time `{text}`: {error}"))
            .and_then(|time| names::unix_ns(time.timestamp())),
    }
}

fn trade_bar(fields: &[&str]) -> Result<Taken, String> {
    expect(fields, 6)?;
    let [high, low, close, volume] = [2, 3, 4, 5].map(|at| decimal("trade bar", fields[at]));
    let (price, confidence) = close_of(high?, low?, close?)?;
    Ok(if volume?.is_zero() {
        Err("bars without volume")
    } else {
        Ok(Row {
            last: Some(price),
            confidence: Some(confidence),
            ..Row::default()
        })
    })
}

fn quote_bar(fields: &[&str]) -> Result<Taken, String> {
    expect(fields, 11)?;
    book(fields[4], fields[9])
}

fn trade_tick(fields: &[&str]) -> Result<Taken, String> {
    if fields.len() < 2 {
        return Err(format!("{} fields, expected time,price,size", fields.len()));
    }
    let last = Some(decimal("price", fields[1])?);
    Ok(Ok(Row {
        last,
        ..Row::default()
    }))
}

fn quote_tick(fields: &[&str]) -> Result<Taken, String> {
    expect(fields, 5)?;
    book(fields[1], fields[3])
}

fn book(bid: &str, ask: &str) -> Result<Taken, String> {
    let side = |name, text: &str| -> Result<Option<Decimal>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        decimal(name, text).map(|price| Some(price).filter(|price| !price.is_zero()))
    };
    Ok(match (side("bid", bid)?, side("ask", ask)?) {
        (Some(bid), Some(ask)) => Ok(Row {
            bid: Some(bid),
            ask: Some(ask),
            ..Row::default()
        }),
        _ => Err("quotes with one side only"),
    })
}

fn expect(fields: &[&str], count: usize) -> Result<(), String> {
    if fields.len() == count {
        Ok(())
    } else {
        Err(format!("{} fields, expected {count}", fields.len()))
    }
}
