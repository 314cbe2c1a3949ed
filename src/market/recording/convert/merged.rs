//! Quotes and trades of several venues in one CSV by receive time:
//! `recv_ns,venue,base,quote,kind,bid,ask,price,size,event_ms`.
//!
//! A venue is called `binance-spot`, `binance-usdm` or `binance-coinm`; the latter two are
//! perpetuals.

use super::super::lines::Lines;
use super::rows::Row;
use super::{Context, ConvertError, Instrument};

pub(super) const COLUMNS: &[&str] = &[
    "recv_ns", "venue", "base", "quote", "kind", "bid", "ask", "price", "event_ms",
];

/// What the name of a venue's derivatives ends with.
const DERIVATIVES: [&str; 5] = ["-usdm", "-coinm", "-perp", "-swap", "-futures"];

pub(super) fn read(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    context.each_row(lines, COLUMNS, |context, fields| {
        let time_ns = fields.whole(0, 1)?;
        let name = fields.text(1);
        let derivative = DERIVATIVES.iter().find_map(|ending| name.strip_suffix(ending));
        let Some(venue) = context.venue(derivative.unwrap_or(name)) else {
            context.leave_out(&format!("venue {name} is not known"));
            return Ok(());
        };
        let mut instrument = Instrument::spot(fields.text(2), fields.text(3));
        if derivative.is_some() {
            instrument = instrument.under("PERP");
        }
        let market = context.markets.number(venue, &instrument, None)?;
        let row = match fields.text(4) {
            "quote" => Row {
                bid: Some(fields.decimal(5)?),
                ask: Some(fields.decimal(6)?),
                ..Row::default()
            },
            "trade" => Row {
                last: Some(fields.decimal(7)?),
                ..Row::default()
            },
            other => return Err(format!("kind `{other}` is neither quote nor trade")),
        };
        let venue_time_ns = match fields.text(8) {
            "" => None,
            _ => Some(fields.whole(8, 1_000_000)?),
        };
        context.markets.sample(market, row.last.or(row.ask));
        context.push(Row {
            time_ns,
            market,
            venue_time_ns,
            ..row
        });
        Ok(())
    })
}
