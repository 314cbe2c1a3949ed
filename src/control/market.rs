//! Plays the market into the shards' price tables.
//!
//! This is the tables' one writer. A price is visible to every shard and HTTP worker the
//! moment it is written; nobody is woken for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use trinity_protocol::PriceStatus;

use super::ops::MarketFacts;
use crate::clock;
use crate::market::quote::{AggregatedPrice, RejectReason};
use crate::market::recording::Recording;
use crate::market::replay::{Player, Speed, Step};
use crate::market::symbol::{SymbolId, SymbolTable};
use crate::market::venue::VenueId;
use crate::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};

/// Longest time the task sleeps, so that it notices the end of the process.
const NAP: Duration = Duration::from_millis(50);

/// Turns the market's prices into the tables' records.
#[derive(Debug)]
pub struct Publisher {
    writer: PriceWriter,
    /// Per symbol: sequence, and what was last said of the price leaving its age aside.
    last: Vec<(u32, PriceStatus)>,
    /// Per symbol: its age limits on this machine's clock.
    ages_ms: Vec<(u32, u32)>,
    speed: Speed,
}

/// The names that the price tables know, from the market's symbols. A symbol that the market's
/// table does not find by its own name is retired.
pub fn names(table: &SymbolTable) -> anyhow::Result<SymbolNames> {
    let canonical = table.symbols().map(|(_, spec)| spec.name).collect();
    let retired: Vec<_> = table
        .symbols()
        .filter(|(id, spec)| table.resolve_symbol(spec.name) != Some(*id))
        .map(|(id, _)| SymbolIndex(id.0))
        .collect();
    let aliases: Vec<_> = table
        .names()
        .map(|(name, id)| (name, SymbolIndex(id.0)))
        .collect();
    Ok(SymbolNames::with_retired(canonical, &aliases, &retired)?)
}

impl Publisher {
    /// A publisher for a market whose clock runs at `speed` times this machine's.
    pub fn new(writer: PriceWriter, table: &SymbolTable, speed: Speed) -> Self {
        let ages_ms = ages_ms(table, speed);
        Self {
            writer,
            last: vec![(0, PriceStatus::NoPrice); ages_ms.len()],
            ages_ms,
            speed,
        }
    }

    /// Follows the market to a table with more symbols, or with some retired: every symbol keeps
    /// its id, its price and its sequence; age limits are those of the new table.
    ///
    /// An error means that the table is no continuation of the one before, and that nothing
    /// changed.
    pub fn rebuild(&mut self, table: &SymbolTable) -> anyhow::Result<()> {
        self.writer.extend(&Arc::new(names(table)?))?;
        self.ages_ms = ages_ms(table, self.speed);
        self.last.resize(self.ages_ms.len(), (0, PriceStatus::NoPrice));
        Ok(())
    }

    /// Frees what readers have let go of since the last [`Publisher::rebuild`]; to be called at
    /// leisure.
    pub fn tidy(&mut self) {
        self.writer.free_retired();
    }

    /// Publishes a price that the market formed when its own clock showed `market_ns`.
    pub fn publish(&mut self, symbol: SymbolId, price: &AggregatedPrice, market_ns: u64, wall_ns: u64) {
        let index = symbol.0 as usize;
        let (Some((sequence, quality)), Some((max_age_ms, hard_age_ms))) =
            (self.last.get_mut(index), self.ages_ms.get(index).copied())
        else {
            return;
        };
        // Sequences rise over restarts of the market task too, so they are counted here.
        *sequence = sequence.wrapping_add(1);
        // A price that aged is still as good as it was; STALE is about its age alone.
        if price.status != PriceStatus::Stale {
            *quality = price.status;
        }
        let age_ns = wall_ns_of(market_ns.saturating_sub(price.publish_time_ns), self.speed);
        let record = PriceRecord {
            mantissa: price.mantissa,
            confidence: price.confidence,
            publish_time_ns: price.publish_time_ns,
            exponent: price.exponent,
            status: price.status,
            quality: *quality,
            venues: price.venues_used,
            flags: price.flags,
            sequence: *sequence,
            age_origin_ns: wall_ns.saturating_sub(age_ns),
            max_age_ms,
            hard_age_ms,
        };
        self.writer.publish(SymbolIndex(symbol.0), record);
    }
}

/// What a replay tells of itself after each round.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// When it last took a step, Unix nanoseconds on this machine's clock.
    pub wall_ns: u64,
    /// What the recording's clock showed.
    pub market_ns: u64,
    /// Whether nothing is left to play.
    pub over: bool,
}

/// Writes a replay's progress on the operators' board.
#[derive(Debug)]
pub struct Report<'a> {
    facts: &'a MarketFacts,
    /// When the counts were last written: they are for people, once a second is enough.
    counted_ns: u64,
}

impl<'a> Report<'a> {
    /// A report on the board's market.
    pub const fn new(facts: &'a MarketFacts) -> Self {
        Self { facts, counted_ns: 0 }
    }

    /// Notes a round. A recording that is over ticks no more, and the market is then not live.
    pub fn note(&mut self, player: &Player, progress: Progress) {
        if !progress.over {
            self.facts.last_tick_ns.set(progress.wall_ns);
        }
        if progress.wall_ns.saturating_sub(self.counted_ns) < COUNT_NS {
            return;
        }
        self.counted_ns = progress.wall_ns;
        let engine = player.engine();
        self.facts
            .accepted
            .set(VenueId::all().map(|venue| engine.taken(venue)).sum());
        let count = |reason| VenueId::all().map(|venue| engine.rejected(venue, reason)).sum();
        *self.facts.rejected.write() = RejectReason::ALL
            .map(|reason| (reason.name().to_owned(), count(reason)))
            .to_vec();
        self.facts.damaged_lines.set(player.stats().damaged);
        self.facts.passes.set(player.passes());
    }
}

/// How often a replay's counts are written, nanoseconds.
const COUNT_NS: u64 = 1_000_000_000;

/// Plays a recording until `stop` is set; past its end the prices age as they would in a
/// market that fell silent.
pub fn replay(
    player: &mut Player,
    publisher: &mut Publisher,
    stop: &AtomicBool,
    mut report: impl FnMut(&Player, Progress),
) -> anyhow::Result<()> {
    // The recording runs by the monotonic clock: somebody setting the wall clock must neither
    // stop nor hurry it. Ages are counted from the wall clock, which is what readers have.
    let began = clock::monotonic();
    let played_ns = || u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
    player.start(0);
    let mut changed = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let (wall_ns, now_ns) = (clock::unix_nanos(), played_ns());
        let mut next_due = player.next_due();
        let mut market_ns = player.recorded_time(now_ns);
        while next_due.is_some_and(|due| due <= now_ns) {
            let step = player.step(&mut |symbol, price| changed.push((symbol, *price)))?;
            if let Step::Played(at) | Step::NewPass(at) = step {
                market_ns = at;
            }
            for (symbol, price) in changed.drain(..) {
                publisher.publish(symbol, &price, market_ns, wall_ns);
            }
            next_due = player.next_due();
            // At full speed the next step is always due: come up for air after each.
            if publisher.speed == Speed::Fast {
                break;
            }
        }
        report(
            player,
            Progress {
                wall_ns,
                market_ns,
                over: next_due.is_none(),
            },
        );
        let wait = next_due.map_or(NAP, |due| Duration::from_nanos(due.saturating_sub(played_ns())));
        if !wait.is_zero() {
            thread::park_timeout(wait.min(NAP));
        }
    }
    Ok(())
}

/// Every symbol's age limits on this machine's clock.
fn ages_ms(table: &SymbolTable, speed: Speed) -> Vec<(u32, u32)> {
    table
        .symbols()
        .map(|(_, spec)| (wall_ms(spec.max_age_ms, speed), wall_ms(spec.hard_age_ms, speed)))
        .collect()
}

/// An age limit of the market's clock on this machine's clock, at least a millisecond.
fn wall_ms(market_ms: u32, speed: Speed) -> u32 {
    match speed {
        Speed::Fast => market_ms,
        Speed::Times(times) => market_ms.div_ceil(times.get()).max(1),
    }
}

/// A span of the market's clock on this machine's clock.
const fn wall_ns_of(market_ns: u64, speed: Speed) -> u64 {
    match speed {
        // Recorded time has no length here: everything happens now.
        Speed::Fast => 0,
        Speed::Times(times) => market_ns / times.get() as u64,
    }
}

/// Opens what is to be played.
pub fn open(choice: &crate::config::MarketChoice) -> anyhow::Result<Recording> {
    use crate::config::MarketChoice;
    Ok(match choice {
        MarketChoice::Shipped | MarketChoice::Live => Recording::shipped(),
        MarketChoice::File(path) => Recording::open(path)?,
    })
}

#[cfg(test)]
mod tests {
    use trinity_protocol::{PriceFlags, Symbol};

    use super::*;
    use crate::tables::prices::PriceCopy;

    const EXTRA: &str = "AAA-USD AAA USD -8 0.01 2 7000 70000 500 500 - - coinbase=AAA-USD";

    fn grown() -> SymbolTable {
        let builder = SymbolTable::builder().expect("built in");
        let builder = builder.rows("a later list", EXTRA).expect("a row");
        builder.build().expect("a table")
    }

    fn publish(publisher: &mut Publisher, symbol: SymbolId) {
        let price = AggregatedPrice {
            mantissa: 5,
            confidence: 1,
            publish_time_ns: 1_000,
            exponent: -8,
            status: PriceStatus::Live,
            venues_used: 3,
            flags: PriceFlags::NONE,
            sequence: 0,
        };
        publisher.publish(symbol, &price, 1_000, 1_000);
    }

    fn read(copy: &PriceCopy, symbol: SymbolId) -> PriceRecord {
        copy.load().read(SymbolIndex(symbol.0)).expect("in the table")
    }

    #[test]
    fn a_publisher_follows_a_longer_table_and_keeps_ids_prices_and_sequences() {
        let table = SymbolTable::builtin();
        let (writer, copies) = PriceWriter::new(&Arc::new(names(&table).expect("distinct")), 2);
        let mut publisher = Publisher::new(writer, &table, Speed::Times(1.try_into().expect("not 0")));
        let btc = table.resolve("BTC-USD").expect("built in");
        publish(&mut publisher, btc);
        publish(&mut publisher, btc);

        let longer = grown();
        let new = longer.resolve("AAA-USD").expect("added");
        publish(&mut publisher, new);
        publisher.rebuild(&longer).expect("a continuation");
        publish(&mut publisher, btc);
        publish(&mut publisher, new);
        for copy in &copies {
            assert_eq!(read(copy, btc).sequence, 3, "counted on");
            let seen = read(copy, new);
            assert_eq!(
                (seen.sequence, seen.max_age_ms, seen.hard_age_ms),
                (1, 7_000, 70_000)
            );
            let wire = Symbol::new("AAA").expect("a symbol").to_wire();
            assert_eq!(copy.load().names().find(&wire), None, "no alias was given");
        }
        assert!(
            publisher.rebuild(&table).is_err(),
            "a shorter table is no continuation"
        );
        publish(&mut publisher, new);
        assert_eq!(read(&copies[0], new).sequence, 2, "and changes nothing");
        publisher.tidy();
    }
}
