//! What the oracle says about a recording: as a table, as a picture, and as a page of both.

pub(crate) mod minutes;
pub(crate) mod page;
pub(crate) mod paint;
pub(crate) mod picture;
pub(crate) mod scale;
pub(crate) mod soak;

use std::path::Path;

use anyhow::Context as _;
use clap::Args;
use trinity_beast::cli::convert::time;
use trinity_beast::market::Explanation;
use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::recording::Recording;
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_beast::market::symbol::{SymbolId, SymbolSpec, SymbolTable};

/// Whose story, and of when.
#[derive(Args, Clone, Debug)]
pub(crate) struct Scene {
    /// A recording, a folder of them, or `shipped`
    #[arg(long, default_value = "shipped", value_name = "FILE")]
    pub(crate) recording: String,
    /// What is priced
    #[arg(long, value_name = "SYMBOL")]
    pub(crate) symbol: String,
    /// Where it begins, such as 2023-03-10T00:00Z [default: with the recording]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) from: Option<u64>,
    /// Where it ends [default: with the recording]
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) to: Option<u64>,
}

/// A symbol at a moment of the recording's clock.
pub(crate) struct Moment<'a> {
    pub(crate) at_ns: u64,
    pub(crate) table: &'a SymbolTable,
    pub(crate) explanation: &'a Explanation,
}

impl Scene {
    pub(crate) fn open(&self) -> anyhow::Result<Recording> {
        if self.recording == "shipped" {
            return Ok(Recording::shipped());
        }
        Ok(Recording::open(Path::new(&self.recording))?)
    }

    /// Plays the recording and shows the symbol after every step, until `visit` says that it has
    /// seen enough. Steps before the scene are shown too: a state lasts until the next.
    pub(crate) fn walk(&self, visit: &mut dyn FnMut(&Moment<'_>) -> bool) -> anyhow::Result<()> {
        let mut player = Player::new(self.open()?, Speed::Fast, false)?;
        let table = player.table().clone();
        let id = self.find(&table)?;
        while let Step::Played(at_ns) = player.step(&mut |_, _| {})? {
            let explanation = player.engine().explain(id);
            let moment = Moment {
                at_ns,
                table: &table,
                explanation: &explanation,
            };
            if !visit(&moment) {
                break;
            }
        }
        Ok(())
    }

    fn find(&self, table: &SymbolTable) -> anyhow::Result<SymbolId> {
        table
            .resolve(&self.symbol)
            .with_context(|| format!("the recording has no symbol {}", self.symbol))
    }
}

/// A price in words, rounded to the symbol's tick.
pub(crate) fn to_tick(spec: &SymbolSpec, mantissa: i64) -> String {
    let places = Decimal::new(spec.tick, spec.exponent).exponent();
    let rounded = Decimal::new(mantissa, spec.exponent).rescale(places);
    with_places(rounded.unwrap_or(0), places)
}

/// An uncertainty in words, rounded up to the symbol's tick: it is never told narrower than it is.
pub(crate) fn up_to_tick(spec: &SymbolSpec, mantissa: u64) -> String {
    let tick = spec.tick.unsigned_abs().max(1);
    let up = mantissa.div_ceil(tick).saturating_mul(tick);
    to_tick(spec, i64::try_from(up).unwrap_or(i64::MAX))
}

fn with_places(mantissa: i64, exponent: i8) -> String {
    let places = usize::from(exponent.min(0).unsigned_abs());
    let text = Decimal::new(mantissa, exponent).to_string();
    // Every price of a column with the same places.
    match text.split_once('.') {
        _ if places == 0 => text,
        None => format!("{text}.{}", "0".repeat(places)),
        Some((_, decimals)) => format!("{text}{}", "0".repeat(places - decimals.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_rounded_to_the_tick_and_uncertainties_up_to_it() {
        let table = SymbolTable::builtin();
        let spec = table.symbol(table.resolve("BTC").expect("a symbol"));
        assert_eq!(to_tick(spec, 2_061_917_000_000), "20619.17");
        assert_eq!(to_tick(spec, 2_000_000_000_000), "20000.00");
        assert_eq!(to_tick(spec, 2_064_652_792_935), "20646.53");
        assert_eq!(up_to_tick(spec, 1), "0.01");
        assert_eq!(up_to_tick(spec, 1_906_500_000), "19.07");
        assert_eq!(up_to_tick(spec, 1_906_000_000), "19.06");
    }
}
