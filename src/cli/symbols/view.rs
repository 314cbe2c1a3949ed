//! How symbols are shown, to people and to scripts.

use std::io::{self, Write};

use serde::Serialize;
use trinity_protocol::Symbol;

use crate::cli::output::{Table, exact_time, short_time, write_json};
use crate::market::symbol_row::last_day;
use crate::store::{SymbolAlias, SymbolMarket, SymbolRecord};

#[derive(Serialize)]
struct SymbolView<'a> {
    id: i64,
    symbol: &'a str,
    base: &'a str,
    quote: &'a str,
    state: &'static str,
    origin: &'static str,
    exponent: i8,
    tick: &'a str,
    min_sources: u8,
    max_age_ms: u32,
    hard_age_ms: u32,
    jump_bps: u32,
    dispute_bps: u32,
    peg_bps: Option<u32>,
    routes: Vec<&'a str>,
    aliases: Vec<AliasView<'a>>,
    markets: Vec<MarketView<'a>>,
    retired_at: Option<String>,
    updated_at: String,
}

#[derive(Serialize)]
struct AliasView<'a> {
    alias: &'a str,
    until: Option<String>,
}

#[derive(Serialize)]
struct MarketView<'a> {
    venue: &'a str,
    spellings: &'a [String],
    unit_exponent: i8,
}

/// What `symbols check` found.
#[derive(Serialize)]
pub(super) struct CheckView {
    pub symbols: usize,
    pub retired: usize,
    pub markets: usize,
    pub names: usize,
    /// Symbols that can never be live: fewer venues can vote than they need.
    pub thin: Vec<String>,
    pub next_alias_end: Option<String>,
}

pub(super) fn list(symbols: &[SymbolRecord], all: bool, json: bool, out: &mut dyn Write) -> io::Result<()> {
    let shown = symbols
        .iter()
        .filter(|record| all || record.retired_at_ns.is_none());
    if json {
        return write_json(out, &shown.map(SymbolView::of).collect::<Vec<_>>());
    }
    let mut table = Table::new([
        "SYMBOL", "STATE", "MARKETS", "NEEDED", "MAX AGE", "EXPONENT", "TICK", "ROUTES", "ORIGIN",
    ]);
    for record in shown {
        let definition = &record.definition;
        table.row([
            definition.name.as_str(),
            state(record),
            &definition.markets.len().to_string(),
            &definition.min_sources.to_string(),
            &milliseconds(definition.max_age_ms),
            &definition.exponent.to_string(),
            &definition.tick,
            &names(&definition.routes),
            record.origin.as_str(),
        ]);
    }
    table.write(out)
}

pub(super) fn show(record: &SymbolRecord, now_ns: u64, json: bool, out: &mut dyn Write) -> io::Result<()> {
    if json {
        return write_json(out, &SymbolView::of(record));
    }
    let definition = &record.definition;
    let mut table = Table::of_fields();
    table.row(["Symbol", definition.name.as_str()]);
    table.row(["Prices", &format!("{} in {}", definition.base, definition.quote)]);
    table.row(["State", state(record)]);
    if let Some(at) = record.retired_at_ns {
        table.row(["Retired", &short_time(at)]);
    }
    let price = format!(
        "mantissa x 10^{}, in steps of {}",
        definition.exponent, definition.tick
    );
    table.row(["Price", &price]);
    table.row(["Venues needed", &definition.min_sources.to_string()]);
    table.row(["Stale after", &milliseconds(definition.max_age_ms)]);
    table.row(["Gone after", &milliseconds(definition.hard_age_ms)]);
    table.row(["Held beyond", &format!("{} bps", definition.jump_bps)]);
    table.row(["Disputed beyond", &format!("{} bps", definition.dispute_bps)]);
    if let Some(peg_bps) = definition.peg_bps {
        table.row(["Off its peg beyond", &format!("{peg_bps} bps from 1")]);
    }
    table.row(["Routes", &names(&definition.routes)]);
    for alias in &definition.aliases {
        table.row(["Alias", &alias_line(alias, now_ns)]);
    }
    for market in &definition.markets {
        table.row(["Market", &market_line(market)]);
    }
    table.row(["Kept by", record.origin.as_str()]);
    table.row(["Changed", &short_time(record.updated_at_ns)]);
    table.write(out)
}

impl CheckView {
    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{} symbols ({} retired besides), {} markets and {} names make a table.",
            self.symbols, self.retired, self.markets, self.names
        )?;
        if !self.thin.is_empty() {
            let thin = self.thin.join(", ");
            writeln!(
                out,
                "Never live, because fewer venues can vote than they need: {thin}."
            )?;
        }
        match &self.next_alias_end {
            None => Ok(()),
            Some(end) => writeln!(out, "The next alias ends at {end}."),
        }
    }
}

fn state(record: &SymbolRecord) -> &'static str {
    match (record.retired_at_ns, record.definition.streamed) {
        (Some(_), _) => "retired",
        (None, true) => "streamed",
        (None, false) => "on demand",
    }
}

fn milliseconds(ms: u32) -> String {
    if ms.is_multiple_of(1_000) {
        format!("{} s", ms / 1_000)
    } else {
        format!("{ms} ms")
    }
}

fn names(names: &[Symbol]) -> String {
    if names.is_empty() {
        return "-".to_owned();
    }
    names
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn alias_line(alias: &SymbolAlias, now_ns: u64) -> String {
    match alias.until_ns {
        None => alias.name.to_string(),
        Some(end) if end <= now_ns => format!("{} (ended {})", alias.name, short_time(end)),
        Some(end) => format!("{} (until {})", alias.name, last_day(end)),
    }
}

fn market_line(market: &SymbolMarket) -> String {
    let spellings = market.spellings.join(", ");
    match market.unit_exponent {
        0 => format!("{}: {spellings}", market.venue),
        unit => format!("{}: {spellings} (lots, price x 10^{unit})", market.venue),
    }
}

impl<'a> SymbolView<'a> {
    fn of(record: &'a SymbolRecord) -> Self {
        let definition = &record.definition;
        Self {
            id: record.id,
            symbol: definition.name.as_str(),
            base: definition.base.as_str(),
            quote: definition.quote.as_str(),
            state: state(record),
            origin: record.origin.as_str(),
            exponent: definition.exponent,
            tick: &definition.tick,
            min_sources: definition.min_sources,
            max_age_ms: definition.max_age_ms,
            hard_age_ms: definition.hard_age_ms,
            jump_bps: definition.jump_bps,
            dispute_bps: definition.dispute_bps,
            peg_bps: definition.peg_bps,
            routes: definition.routes.iter().map(Symbol::as_str).collect(),
            aliases: definition
                .aliases
                .iter()
                .map(|alias| AliasView {
                    alias: alias.name.as_str(),
                    until: alias.until_ns.map(exact_time),
                })
                .collect(),
            markets: definition
                .markets
                .iter()
                .map(|market| MarketView {
                    venue: &market.venue,
                    spellings: &market.spellings,
                    unit_exponent: market.unit_exponent,
                })
                .collect(),
            retired_at: record.retired_at_ns.map(exact_time),
            updated_at: exact_time(record.updated_at_ns),
        }
    }
}
