//! A venue's raw frames with their receive time: `{"ts_ns":..,"data":"<frame>"}`, or
//! cryptofeed's envelope. They go through the venue's own parser.
//!
//! The venue is told by the path (`binance-.../spot_btcusdt.jsonl.gz`) or by `--venue`. Where
//! the file's name says that it holds derivatives (`usdm`, `cm`, `perp`, `swap`..), every instrument
//! in it is a contract: `BTCUSDT` becomes BTC-USDT-PERP, and `BTCUSD_240927` a future by its day.

use std::borrow::Cow;

use serde::Deserialize;

use super::super::lines::Lines;
use super::rows::Row;
use super::{Context, ConvertError, names};
use crate::market::venue::{Event, Parser, VenueId};

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    t: Option<Cow<'a, str>>,
    ts_ns: Option<u64>,
    ts: Option<f64>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

pub(super) fn is_frame(first: &str) -> bool {
    serde_json::from_str::<Envelope<'_>>(first)
        .is_ok_and(|line| line.ts_ns.is_some() || (line.t.is_some() && line.ts.is_some()))
}

pub(super) fn read(context: &mut Context<'_>, lines: Lines) -> Result<(), ConvertError> {
    let venue = context
        .input
        .venue
        .or_else(|| names::venue_of_path(&context.input.path))
        .ok_or_else(|| context.form("its path names no venue; say whose frames they are with --venue"))?;
    let derivatives = names::holds_derivatives(&context.input.path);
    let mut parser = Parser::new();
    let mut found = Vec::new();
    context.each_line(lines, |context, text| {
        let line: Envelope<'_> = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        if line.t.as_deref().is_some_and(|t| t != "recv") {
            context.leave_out("lines that are no received frame");
            return Ok(());
        }
        let time_ns = match (line.ts_ns, line.ts) {
            (Some(ns), _) => ns,
            (None, Some(s)) if (0.0..1.8e10).contains(&s) => (s * 1e6).round() as u64 * 1_000,
            _ => return Err("no receive time".to_owned()),
        };
        let data = line.data.ok_or("no frame in it")?;
        found.clear();
        parser
            .parse(venue, data.as_bytes(), &mut |event| {
                found.extend(quote(&event).map(|(name, row)| (name.to_owned(), row)));
            })
            .map_err(|invalid| format!("{venue} frame: {invalid}"))?;
        if found.is_empty() {
            context.leave_out("frames without a quote or trade");
        }
        for (name, row) in found.drain(..) {
            let market = market(context, venue, &name, derivatives)?;
            context.markets.sample(market, row.last.or(row.ask));
            context.push(Row {
                time_ns,
                market,
                ..row
            });
        }
        Ok(())
    });
    Ok(())
}

fn market(context: &mut Context<'_>, venue: VenueId, name: &str, derivatives: bool) -> Result<u32, String> {
    let mut instrument = context
        .input
        .instrument
        .clone()
        .or_else(|| context.markets.spelled(venue, name))
        .ok_or_else(|| format!("nothing tells base from quote in `{name}`; say --pair BASE-QUOTE"))?;
    if derivatives && instrument.contract.is_none() {
        instrument = instrument.under("PERP");
    }
    context.markets.number(venue, &instrument, Some(name))
}

/// What an event says of a price; trades sent as history are not news.
fn quote<'f>(event: &Event<'f>) -> Option<(&'f str, Row)> {
    match event {
        Event::Quote(told) => Some((
            told.instrument,
            Row {
                bid: told.bid,
                ask: told.ask,
                last: told.last,
                venue_time_ns: told.venue_time_ns,
                sequence: told.sequence,
                ..Row::default()
            },
        )),
        Event::Trade(trade) if !trade.snapshot => Some((
            trade.instrument,
            Row {
                last: Some(trade.price),
                venue_time_ns: trade.venue_time_ns,
                sequence: trade.sequence,
                ..Row::default()
            },
        )),
        _ => None,
    }
}
