//! Measures rule 3 on recordings: how many votes of good venues it rejects, and how surely it
//! finds a venue whose prices are off.
//!
//! ```text
//! cargo run --release --example market_figures                     # the shipped recording
//! cargo run --release --example market_figures -- RECORDING ...    # others
//! ```
//!
//! The first table counts, for each symbol and venue, the votes of every evaluation and how many
//! of them were rejected, or not used because of an earlier rejection. The second plays the
//! recording again with all of one venue's prices of one asset multiplied, and tells which share of
//! its votes was used nevertheless (in a price that is not disputed).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::recording::{Recording, RecordingError};
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{Disposition, MarketEngine, MarketId, Quote, SymbolId, SymbolTable};
use trinity_protocol::PriceStatus;

/// What became of one venue's votes on one symbol.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Votes {
    /// Votes in all, those in a dispute not counted: there nobody is rejected.
    pub cast: u64,
    /// Too far for the others' spread and the uncertainties.
    pub outlier: u64,
    /// Beyond 5 %.
    pub beyond_cap: u64,
    /// Not used because of an earlier rejection.
    pub probation: u64,
    /// Counted in a disputed price.
    pub disputed: u64,
}

/// Prices of one venue's vote on one symbol, multiplied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Displaced {
    pub symbol: SymbolId,
    pub venue: VenueId,
    /// The factor is this times 10^exponent.
    pub mantissa: i64,
    pub exponent: i8,
}

/// The votes of a recording, by symbol and venue.
pub(crate) type Figures = BTreeMap<(SymbolId, VenueId), Votes>;

/// How far off the displaced venue is, as people say it: factor and power of ten.
const FACTORS: [(&str, i64, i8); 12] = [
    ("x 1e-8", 1, -8),
    ("x 0.13", 13, -2),
    ("-10 %", 9, -1),
    ("-2 %", 98, -2),
    ("-1 %", 99, -2),
    ("-0.5 %", 995, -3),
    ("+0.5 %", 1_005, -3),
    ("+1 %", 101, -2),
    ("+2 %", 102, -2),
    ("+20 %", 12, -1),
    ("x 10", 1, 1),
    ("x 1e8", 1, 8),
];

fn main() -> Result<(), RecordingError> {
    let files: Vec<_> = std::env::args_os().skip(1).collect();
    if files.is_empty() {
        return report(&Recording::shipped());
    }
    for file in files {
        report(&Recording::open(Path::new(&file))?)?;
    }
    Ok(())
}

fn report(recording: &Recording) -> Result<(), RecordingError> {
    let table = recording.symbol_table()?;
    let figures = play(recording, None)?;
    println!("{}", recording.name());
    println!("symbol       venue          votes  outlier  beyond 5 %  probation  not used  disputed");
    for ((symbol, venue), votes) in &figures {
        line(table.symbol(*symbol).name.as_str(), venue.name(), votes);
    }
    line("all", "", &total(figures.values()));

    println!("\nshare of a displaced venue's votes that was used, where three venues or more vote");
    print!("symbol       venue      ");
    for (name, ..) in FACTORS {
        print!("{name:>9}");
    }
    println!();
    let crowded = |symbol: SymbolId| figures.keys().filter(|(other, _)| *other == symbol).count() > 2;
    for (symbol, venue) in figures.keys().filter(|(symbol, _)| crowded(*symbol)) {
        print!("{:<12} {:<11}", table.symbol(*symbol).name.as_str(), venue.name());
        for (_, mantissa, exponent) in FACTORS {
            let displaced = Displaced {
                symbol: *symbol,
                venue: *venue,
                mantissa,
                exponent,
            };
            let votes = play(recording, Some(displaced))?.get(&(*symbol, *venue)).copied();
            print!("{:>8.2}%", votes.unwrap_or_default().share_used() * 100.0);
        }
        println!();
    }
    println!();
    Ok(())
}

fn line(symbol: &str, venue: &str, votes: &Votes) {
    println!(
        "{symbol:<12} {venue:<11} {:>8} {:>8} {:>11} {:>10} {:>8.3}% {:>9}",
        votes.cast,
        votes.outlier,
        votes.beyond_cap,
        votes.probation,
        votes.share_refused() * 100.0,
        votes.disputed,
    );
}

impl Votes {
    /// Votes that a rejection kept out of the price, now or lately.
    pub(crate) const fn refused(&self) -> u64 {
        self.outlier + self.beyond_cap + self.probation
    }

    pub(crate) fn share_refused(&self) -> f64 {
        self.refused() as f64 / self.cast.max(1) as f64
    }

    fn share_used(&self) -> f64 {
        (self.cast - self.refused()) as f64 / self.cast.max(1) as f64
    }
}

/// All of them together.
pub(crate) fn total<'a>(votes: impl Iterator<Item = &'a Votes>) -> Votes {
    votes.fold(Votes::default(), |sum, votes| Votes {
        cast: sum.cast + votes.cast,
        outlier: sum.outlier + votes.outlier,
        beyond_cap: sum.beyond_cap + votes.beyond_cap,
        probation: sum.probation + votes.probation,
        disputed: sum.disputed + votes.disputed,
    })
}

/// Plays a recording, one tick per receive time, and counts the votes of every evaluation.
pub(crate) fn play(recording: &Recording, displaced: Option<Displaced>) -> Result<Figures, RecordingError> {
    let table = Arc::new(recording.symbol_table()?);
    let mut engine = MarketEngine::new(Arc::clone(&table));
    let mut reader = recording.read()?;
    let mut figures = Figures::new();
    let (mut quotes, mut now_ns) = (Vec::new(), None);
    loop {
        let record = reader.next(&table, &mut quotes);
        if let Some(tick_ns) = now_ns
            && record.is_none_or(|record| record.time_ns > tick_ns)
        {
            engine.tick(tick_ns, &mut |_, _| {});
            count(&engine, &table, tick_ns, &mut figures);
        }
        let Some(record) = record else {
            return Ok(figures);
        };
        now_ns = Some(record.time_ns);
        if let Some(venue) = record.restarted {
            engine.forget_sequences(venue);
        }
        for quote in quotes.drain(..) {
            let quote = match &displaced {
                Some(displaced) if displaced.concerns(&table, quote.market) => displaced.apply(&quote),
                _ => quote,
            };
            // What cannot be true is refused before it can vote; its price does not count then.
            let _ = engine.on_quote(&quote);
        }
    }
}

fn count(engine: &MarketEngine, table: &SymbolTable, tick_ns: u64, figures: &mut Figures) {
    for (symbol, _) in table.symbols() {
        // Most symbols of the table are in no recording.
        if engine.price(symbol).sequence == 0 {
            continue;
        }
        let explanation = engine.explain(symbol);
        if explanation.evaluated_ns != tick_ns {
            continue;
        }
        for part in explanation.venues.iter().filter(|part| part.price > 0) {
            let votes = figures.entry((symbol, part.venue)).or_default();
            if explanation.price.status == PriceStatus::Disputed {
                votes.disputed += 1;
                continue;
            }
            votes.cast += 1;
            match part.disposition {
                Disposition::Outlier => votes.outlier += 1,
                Disposition::BeyondCap => votes.beyond_cap += 1,
                Disposition::Probation => votes.probation += 1,
                _ => {}
            }
        }
    }
}

impl Displaced {
    /// Whether the market can fill the venue's seat: directly, or through a rate that stays as it is.
    fn concerns(&self, table: &SymbolTable, market: MarketId) -> bool {
        table
            .seats(self.symbol)
            .iter()
            .filter(|seat| seat.venue == self.venue)
            .flat_map(|seat| &seat.candidates)
            .any(|candidate| candidate.market == market)
    }

    fn apply(&self, quote: &Quote) -> Quote {
        let times = |price: Option<Decimal>| {
            price.and_then(|price| {
                let mantissa = price.mantissa().checked_mul(self.mantissa)?;
                Some(Decimal::new(
                    mantissa,
                    price.exponent().checked_add(self.exponent)?,
                ))
            })
        };
        Quote {
            bid: times(quote.bid),
            ask: times(quote.ask),
            last: times(quote.last),
            confidence: times(quote.confidence),
            ..*quote
        }
    }
}
