//! One symbol as it is written down: its fields, before names are resolved and the whole is
//! checked.
//!
//! Rows come from text (`symbols.txt`, a recording's header) or from the ledger; both take the
//! same checks, here for a row by itself and in [`super::symbol_build`] for rows together.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use trinity_protocol::Symbol;

use super::aggregate::MAX_VOTES;
use super::decimal::Decimal;
use super::symbol::{MAX_ALIASES, MAX_ROUTES, MAX_SPELLINGS};
use super::venue::{VENUES, VenueId};

/// Exponents beyond these make no sense for a price and would run out of 64 bits.
const EXPONENTS: std::ops::RangeInclusive<i8> = -15..=0;
/// Lots that a venue may quote, as powers of ten.
const UNITS: std::ops::RangeInclusive<i8> = -18..=18;
/// Longest spelling of a market, bytes.
const MAX_SPELLING_BYTES: usize = 32;

/// A symbol's row: what customers ask for, what its price must satisfy, and who trades it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolRow {
    /// Canonical name, `BASE-QUOTE`.
    pub name: Symbol,
    /// Asset that is priced.
    pub base: Symbol,
    /// Asset it is priced in.
    pub quote: Symbol,
    /// Price = mantissa x 10^exponent; -15 to 0.
    pub exponent: i8,
    /// Smallest price step that means anything, as a price; a whole number of units of the exponent.
    pub tick: Decimal,
    /// Venues needed for a live price, from 1.
    pub min_sources: u8,
    /// Older quotes are not used and an older price is stale, milliseconds, from 1.
    pub max_age_ms: u32,
    /// An older price is not given at all, milliseconds, from `max_age_ms`.
    pub hard_age_ms: u32,
    /// A move beyond this is held until confirmed, basis points, from 1.
    pub jump_bps: u32,
    /// Two venues further apart are in dispute, basis points, from 1.
    pub dispute_bps: u32,
    /// Rates through which quotes in other currencies are converted, best first, by name.
    pub routes: Vec<Symbol>,
    /// Other names.
    pub aliases: Vec<Alias>,
    /// For an asset that is meant to be worth 1: how far off is off its peg, basis points.
    pub peg_bps: Option<u32>,
    /// Whether venues are asked to stream it; otherwise it is fetched when somebody asks.
    pub streamed: bool,
    /// Whether it is no longer offered: it keeps its place, and nothing leads to it.
    pub retired: bool,
    /// Its markets, one per venue.
    pub markets: Vec<MarketRow>,
}

/// Another name of a symbol, for ever or until a day's end. As text: `MATIC`, `MATIC@2027-12-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alias {
    /// The name.
    pub name: Symbol,
    /// From this instant on it is unknown, Unix ns; `None` for a name that stays.
    pub until_ns: Option<u64>,
}

/// A market of one venue. As text: `kraken=BTC/USD,XBT/USD`, with `*1e-3` behind it for a venue
/// that quotes lots of a thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarketRow {
    /// Who trades it.
    pub venue: VenueId,
    /// The venue's price times 10^this is the price of one unit of the base asset.
    pub unit_exponent: i8,
    /// How the venue writes it; the first is the one to subscribe with.
    pub spellings: Vec<Box<str>>,
}

/// What is wrong with a row: the field, and what would be right.
pub(super) type Problem = (&'static str, String);

impl SymbolRow {
    /// Checks what can be told from the row alone, and gives the tick in units of the exponent.
    pub(super) fn check(&self) -> Result<i64, Problem> {
        for (field, name) in [("symbol", self.name), ("base", self.base), ("quote", self.quote)]
            .into_iter()
            .chain(self.routes.iter().map(|name| ("routes", *name)))
            .chain(self.aliases.iter().map(|alias| ("aliases", alias.name)))
        {
            if name.as_str().contains([',', '@', '=']) {
                return Err((
                    field,
                    format!("`{name}` has one of , @ = in it, which separate fields"),
                ));
            }
        }
        if self.base == self.quote {
            return Err(("quote", "is the same as the base".into()));
        }
        if !EXPONENTS.contains(&self.exponent) {
            let (first, last) = (EXPONENTS.start(), EXPONENTS.end());
            return Err((
                "exponent",
                format!("{} is not within {first} and {last}", self.exponent),
            ));
        }
        let tick = self.tick.rescale(self.exponent).filter(|tick| *tick > 0);
        // What rounds away was written wrongly.
        let tick = tick.filter(|tick| Decimal::new(*tick, self.exponent) == self.tick);
        let Some(tick) = tick else {
            return Err(("tick", no_tick(&self.tick.to_string(), self.exponent)));
        };
        for (field, zero) in [
            ("min_sources", self.min_sources == 0),
            ("max_age_ms", self.max_age_ms == 0),
            ("hard_age_ms", self.hard_age_ms == 0),
            ("jump_bps", self.jump_bps == 0),
            ("dispute_bps", self.dispute_bps == 0),
            ("peg_bps", self.peg_bps == Some(0)),
        ] {
            if zero {
                return Err((field, "must be above 0".into()));
            }
        }
        if usize::from(self.min_sources) > MAX_VOTES {
            let problem = format!(
                "{} is more than the {MAX_VOTES} venues that can vote",
                self.min_sources
            );
            return Err(("min_sources", problem));
        }
        for (field, entries, most) in [
            ("routes", self.routes.len(), MAX_ROUTES),
            ("aliases", self.aliases.len(), MAX_ALIASES),
        ] {
            if entries > most {
                return Err((field, format!("{entries} entries, at most {most} are kept")));
            }
        }
        for (i, market) in self.markets.iter().enumerate() {
            market.check().map_err(|problem| ("markets", problem))?;
            if self.markets[..i].iter().any(|other| other.venue == market.venue) {
                let problem = format!("{} is named twice; list its spellings with commas", market.venue);
                return Err(("markets", problem));
            }
        }
        Ok(tick)
    }
}

/// The words for a tick that is none.
pub(super) fn no_tick(text: &str, exponent: i8) -> String {
    format!("`{text}` is not a price step of at least 10^{exponent}, such as 0.01")
}

impl Alias {
    /// Whether the name holds at this time; without a clock no name has ended.
    pub fn holds(&self, now_ns: Option<u64>) -> bool {
        match (self.until_ns, now_ns) {
            (Some(end), Some(now)) => now < end,
            _ => true,
        }
    }
}

impl From<Symbol> for Alias {
    fn from(name: Symbol) -> Self {
        Self { name, until_ns: None }
    }
}

impl FromStr for Alias {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, date) = match text.split_once('@') {
            None => (text, None),
            Some((name, date)) => (name, Some(date)),
        };
        Ok(Self {
            name: Symbol::new(name).map_err(|error| format!("`{name}`: {error}"))?,
            until_ns: date.map(end_of_day).transpose()?,
        })
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        match self.until_ns {
            None => Ok(()),
            Some(end) => write!(f, "@{}", last_day(end)),
        }
    }
}

/// A UTC day such as `2027-12-31` as the instant of its end, Unix ns: the midnight that follows.
pub fn end_of_day(date: &str) -> Result<u64, String> {
    let wrong = || format!("`{date}` is no day such as 2027-12-31");
    let midnight = date
        .parse::<Date>()
        .and_then(Date::tomorrow)
        .map_err(|_| wrong())?;
    let midnight = midnight.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
    // The ledger's numbers are signed, so it ends with the year 2261 here already.
    u64::try_from(midnight.timestamp().as_nanosecond())
        .ok()
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| format!("`{date}` is not between 1970 and 2261"))
}

/// The last UTC day that begins before this instant, `2027-12-31`.
pub fn last_day(until_ns: u64) -> Date {
    let last = i128::from(until_ns.saturating_sub(1));
    // Every u64 of nanoseconds lies before the year 2555, within jiff's range.
    let last = jiff::Timestamp::from_nanosecond(last).unwrap_or(jiff::Timestamp::MAX);
    TimeZone::UTC.to_datetime(last).date()
}

impl MarketRow {
    fn check(&self) -> Result<(), String> {
        let venue = self.venue;
        if self.spellings.is_empty() || self.spellings.iter().any(|spelling| spelling.is_empty()) {
            return Err(format!("`{self}` has an empty spelling"));
        }
        if self.spellings.len() > MAX_SPELLINGS {
            let count = self.spellings.len();
            return Err(format!(
                "{count} spellings at {venue}, at most {MAX_SPELLINGS} are kept"
            ));
        }
        for spelling in &self.spellings {
            // What an instrument's name may hold: enough for any venue, and harmless in a message.
            let plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b',' | b'*' | b'=' | b'"' | b'\\');
            if spelling.len() > MAX_SPELLING_BYTES || !spelling.bytes().all(plain) {
                return Err(format!("`{spelling}` of {venue} is no instrument's name"));
            }
        }
        if !UNITS.contains(&self.unit_exponent) {
            return Err(format!(
                "unit `*1e{}` of {venue} is no power of ten from -18 to 18",
                self.unit_exponent
            ));
        }
        Ok(())
    }
}

impl FromStr for MarketRow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((venue_name, spellings)) = text.split_once('=') else {
            return Err(format!("`{text}` is not venue=spelling"));
        };
        let venue = venue_named(venue_name)?;
        let (spellings, unit_exponent) = match spellings.split_once("*1e") {
            None => (spellings, 0),
            Some((spellings, power)) => match power.parse() {
                Ok(power) => (spellings, power),
                Err(_) => return Err(format!("unit `*1e{power}` of {venue} is no power of ten")),
            },
        };
        let market = Self {
            venue,
            unit_exponent,
            spellings: spellings.split(',').map(Box::from).collect(),
        };
        market.check()?;
        Ok(market)
    }
}

impl fmt::Display for MarketRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.venue, self.spellings.join(","))?;
        match self.unit_exponent {
            0 => Ok(()),
            unit => write!(f, "*1e{unit}"),
        }
    }
}

/// The venue of this name, or an error that lists those there are.
pub fn venue_named(name: &str) -> Result<VenueId, String> {
    VenueId::from_name(name).ok_or_else(|| {
        let known: Vec<_> = VENUES.iter().map(|venue| venue.name).collect();
        format!("`{name}` is no venue; known: {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_day_holds_through_that_day_and_not_longer() {
        let alias: Alias = "MATIC@2027-12-31".parse().expect("a name with its day");
        // 2028-01-01T00:00:00Z.
        let midnight = 1_830_297_600_000_000_000;
        assert_eq!(alias.until_ns, Some(midnight));
        assert!(alias.holds(Some(midnight - 1)) && !alias.holds(Some(midnight)));
        assert!(alias.holds(None), "without a clock nothing has ended");
        assert_eq!(alias.to_string(), "MATIC@2027-12-31");
        let ever: Alias = "BTC".parse().expect("a name");
        assert_eq!((ever.until_ns, ever.to_string().as_str()), (None, "BTC"));
        assert!(ever.holds(Some(u64::MAX)));
    }

    #[test]
    fn a_day_that_is_none_is_refused_with_an_example() {
        for day in [
            "",
            "2027",
            "2027-02-30",
            "31.12.2027",
            "2027-12-31T00:00:00Z",
            "tomorrow",
        ] {
            let error = format!("A@{day}").parse::<Alias>().expect_err(day);
            assert!(error.contains("no day such as 2027-12-31"), "{error}");
        }
        for day in ["1969-12-01", "2262-04-12", "9999-12-31"] {
            assert!(end_of_day(day).is_err(), "{day}");
        }
        assert!("a@2027-12-31".parse::<Alias>().is_err(), "lower case is no name");
    }

    #[test]
    fn a_market_reads_as_it_is_written() {
        for text in [
            "kraken=BTC/USD,XBT/USD",
            "binance=1000SATSUSDT*1e-3",
            "gemini=btcusd,BTCUSD",
        ] {
            let market: MarketRow = text.parse().expect(text);
            assert_eq!(market.to_string(), text);
        }
        for text in [
            "kraken",
            "kraken=",
            "kraken=A,,B",
            "kraken=A*1e",
            "kraken=A*1e19",
            "mtgox=A",
            "kraken=A\"B",
        ] {
            assert!(text.parse::<MarketRow>().is_err(), "{text}");
        }
    }
}
