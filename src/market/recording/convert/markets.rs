//! What is priced, where, and the symbol rows that a recording must bring for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use trinity_protocol::Symbol;

use crate::market::decimal::Decimal;
use crate::market::symbol::{SymbolId, SymbolTable};
use crate::market::venue::VenueId;

/// Currencies and coins that others are priced in, for names that are written without a
/// separator, longer ones before those they end with.
const QUOTES: [&str; 22] = [
    "FDUSD", "TUSD", "BUSD", "USDT", "USDC", "USDP", "USD", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "KRW",
    "BRL", "TRY", "SGD", "DAI", "BTC", "ETH", "BNB", "XBT",
];

/// Assets whose dollar price is how others are converted; they are not converted themselves.
const RATES: [&str; 2] = ["USDT-USD", "USDC-USD"];

/// What is priced, in what, and under which contract if it is not the coin itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instrument {
    /// Asset that is priced, upper case: `BTC`.
    pub base: String,
    /// Asset it is priced in: `USDT`.
    pub quote: String,
    /// `PERP`, or a future's day; None for the coin itself.
    pub contract: Option<String>,
}

/// All markets of a conversion.
#[derive(Debug)]
pub(super) struct Markets {
    builtin: SymbolTable,
    numbers: HashMap<(VenueId, Instrument), u32>,
    list: Vec<Market>,
}

#[derive(Debug)]
struct Market {
    venue: VenueId,
    symbol: Symbol,
    instrument: Instrument,
    spelling: String,
    /// The row of the built-in table, where the symbol has one.
    known: Option<SymbolId>,
    /// Whether the built-in table has this very market.
    is_builtin: bool,
    /// The first price, by which the symbol's unit is chosen.
    sample: Option<Decimal>,
}

impl Instrument {
    /// A coin by its names, in any case.
    pub fn spot(base: &str, quote: &str) -> Self {
        Self {
            base: base.to_ascii_uppercase(),
            quote: quote.to_ascii_uppercase(),
            contract: None,
        }
    }

    /// The same under a contract.
    #[must_use]
    pub fn under(mut self, contract: &str) -> Self {
        self.contract = Some(contract.to_ascii_uppercase());
        self
    }

    /// `BTC-USD`, `BTC/USD`, `BTC_USD`, `BTCUSD` or `BTC-USD-PERP`; None when nothing tells base
    /// from quote.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        let mut parts = text.split(['-', '/', '_']);
        let (first, second, third) = (parts.next()?, parts.next(), parts.next());
        if parts.next().is_some() || first.is_empty() {
            return None;
        }
        match (second, third) {
            (None, _) => Self::cut(first),
            // `BTCUSD_PERP` and `BTCUSD_240927`: the pair is in one word.
            (Some(contract), None) if is_contract(contract) => Some(Self::cut(first)?.under(contract)),
            (Some(quote), None) if !quote.is_empty() => Some(Self::spot(first, quote)),
            (Some(quote), Some(contract)) if !quote.is_empty() && is_contract(contract) => {
                Some(Self::spot(first, quote).under(contract))
            }
            _ => None,
        }
    }

    fn cut(text: &str) -> Option<Self> {
        cuts(text).next()
    }

    /// The asset that a symbol's row names as its base: a contract is not the coin.
    fn asset(&self) -> String {
        match &self.contract {
            None => self.base.clone(),
            Some(contract) => format!("{}-{contract}", self.base),
        }
    }

    fn name(&self) -> String {
        match &self.contract {
            None => format!("{}-{}", self.base, self.quote),
            Some(contract) => format!("{}-{}-{contract}", self.base, self.quote),
        }
    }
}

impl std::fmt::Display for Instrument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name())
    }
}

/// The ways to cut a pair in one word, the longest quote first.
fn cuts(word: &str) -> impl Iterator<Item = Instrument> {
    QUOTES.iter().filter_map(move |quote| {
        let base = word.strip_suffix(quote)?;
        (!base.is_empty() && !base.contains(['-', '/', '_'])).then(|| Instrument::spot(base, quote))
    })
}

fn is_contract(text: &str) -> bool {
    text == "PERP" || text == "SWAP" || (text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Markets {
    pub(super) fn new() -> Self {
        Self {
            builtin: SymbolTable::builtin(),
            numbers: HashMap::new(),
            list: Vec::new(),
        }
    }

    /// What a venue's own spelling of a coin stands for: the table knows, or the spelling tells.
    pub(super) fn spelled(&self, venue: VenueId, spelling: &str) -> Option<Instrument> {
        self.builtin
            .market_by_spelling(venue, spelling)
            .map(|market| self.builtin.symbol(self.builtin.market(market).symbol))
            .map(|spec| Instrument::spot(spec.base.as_str(), spec.quote.as_str()))
            .or_else(|| self.pair(spelling))
    }

    /// What the name of a pair stands for. In one word, `USDTUSD` could be cut in two places:
    /// a symbol that the table has goes before one that it does not have, and a known asset
    /// before an unknown one.
    pub(super) fn pair(&self, text: &str) -> Option<Instrument> {
        let upper = text.to_ascii_uppercase();
        let (word, contract) = match upper.split_once('_') {
            Some((word, contract)) if is_contract(contract) => (word, Some(contract)),
            _ => (upper.as_str(), None),
        };
        let known = cuts(word)
            .find(|cut| self.builtin.resolve(&cut.name()).is_some())
            .or_else(|| {
                cuts(word).find(|cut| {
                    let mut symbols = self.builtin.symbols();
                    symbols.any(|(_, spec)| spec.base.as_str() == cut.base)
                })
            });
        match (known, contract) {
            (Some(known), Some(contract)) => Some(known.under(contract)),
            (Some(known), None) => Some(known),
            (None, _) => Instrument::parse(text),
        }
    }

    /// The number of a market; `spelling` is the venue's, where the data has it. Fails for what
    /// cannot be a symbol.
    pub(super) fn number(
        &mut self,
        venue: VenueId,
        instrument: &Instrument,
        spelling: Option<&str>,
    ) -> Result<u32, String> {
        if let Some(number) = self.numbers.get(&(venue, instrument.clone())) {
            return Ok(*number);
        }
        let name = instrument.name();
        for part in [&name, &instrument.asset(), &instrument.quote] {
            Symbol::new(part).map_err(|error| format!("{name} cannot be a symbol: {error}"))?;
        }
        let known = self.builtin.resolve(&name);
        // An alias such as XBT-USD or MATIC-USD means the symbol it is an alias of.
        let symbol = match known {
            Some(id) => self.builtin.symbol(id).name,
            None => Symbol::new(&name).map_err(|error| error.to_string())?,
        };
        let builtin = known.and_then(|id| {
            self.builtin
                .markets()
                .find(|(_, market)| market.venue == venue && market.symbol == id)
                .map(|(_, market)| market)
        });
        let own = match (spelling, &instrument.contract) {
            (Some(spelling), Some(_)) if spelling.contains(['-', '_']) => spelling.to_owned(),
            (_, None) => spelling.map_or_else(
                || format!("{}/{}", instrument.base, instrument.quote),
                str::to_owned,
            ),
            // Venues spell a perpetual like the coin; here the two must differ.
            (_, Some(contract)) => format!("{}{}-{contract}", instrument.base, instrument.quote),
        };
        let (spelling, is_builtin) = match builtin {
            Some(market) => {
                let listed = market.spellings.iter().any(|known| **known == *own);
                let spelling = if listed {
                    own
                } else {
                    market.spellings[0].to_string()
                };
                (spelling, true)
            }
            None => (own, false),
        };
        let number = self.list.len() as u32;
        self.list.push(Market {
            venue,
            symbol,
            instrument: instrument.clone(),
            spelling,
            known,
            is_builtin,
            sample: None,
        });
        self.numbers.insert((venue, instrument.clone()), number);
        Ok(number)
    }

    /// Notes a price, for the choice of the symbol's unit.
    pub(super) fn sample(&mut self, number: u32, price: Option<Decimal>) {
        let sample = &mut self.list[number as usize].sample;
        *sample = sample.or(price.filter(|price| !price.is_zero()));
    }

    /// Venue and spelling as the recording writes them.
    pub(super) fn written(&self, number: u32) -> (&'static str, &str) {
        let market = &self.list[number as usize];
        (market.venue.name(), &market.spelling)
    }

    /// The symbols, by name.
    pub(super) fn symbols(&self) -> Vec<String> {
        let mut names: Vec<_> = self.list.iter().map(|market| market.symbol.to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The venues, in the order of the table.
    pub(super) fn venues(&self) -> Vec<VenueId> {
        let mut venues: Vec<_> = self.list.iter().map(|market| market.venue).collect();
        venues.sort();
        venues.dedup();
        venues
    }

    /// Rows for every symbol that the built-in table does not have as these files need it.
    pub(super) fn rows(&self) -> Vec<String> {
        let mut by_symbol: BTreeMap<String, Vec<&Market>> = BTreeMap::new();
        for market in &self.list {
            by_symbol
                .entry(market.symbol.to_string())
                .or_default()
                .push(market);
        }
        by_symbol
            .into_values()
            .filter(|markets| markets.iter().any(|market| !market.is_builtin))
            .map(|markets| self.row(&markets))
            .collect()
    }

    fn row(&self, markets: &[&Market]) -> String {
        let first = markets[0];
        let mut row = match first.known {
            Some(id) => self.known_row(id),
            None => new_row(first, markets.iter().find_map(|market| market.sample)),
        };
        let mut spelled: BTreeMap<VenueId, Vec<&str>> = BTreeMap::new();
        for market in markets {
            let spellings = spelled.entry(market.venue).or_default();
            if !spellings.contains(&market.spelling.as_str()) {
                spellings.push(&market.spelling);
            }
        }
        for (venue, spellings) in spelled {
            write!(row, " {venue}={}", spellings.join(",")).expect("a string takes everything");
        }
        row
    }

    /// A built-in row, but for its markets: only those of the recording take part.
    fn known_row(&self, id: SymbolId) -> String {
        let spec = self.builtin.symbol(id);
        let list = |names: Vec<String>| {
            if names.is_empty() {
                "-".to_owned()
            } else {
                names.join(",")
            }
        };
        let routes = spec
            .routes
            .iter()
            .map(|id| self.builtin.symbol(*id).name.to_string());
        let mut row = format!(
            "{} {} {} {} {} {} {} {} {} {} {} {}",
            spec.name,
            spec.base,
            spec.quote,
            spec.exponent,
            Decimal::new(spec.tick, spec.exponent),
            spec.min_sources,
            spec.max_age_ms,
            spec.hard_age_ms,
            spec.jump_bps,
            spec.dispute_bps,
            list(routes.collect()),
            list(spec.aliases.iter().map(ToString::to_string).collect()),
        );
        if let Some(bps) = spec.peg_bps {
            write!(row, " @peg={bps}").expect("a string takes everything");
        }
        row
    }
}

/// A row for a symbol that is in no table: two venues for a live price, a minute's age, and a
/// unit that leaves six digits and more to its price.
fn new_row(market: &Market, sample: Option<Decimal>) -> String {
    let magnitude = sample.map_or(0, magnitude);
    let exponent = match magnitude {
        9.. => -2,
        -3..=8 => -8,
        -7..=-4 => -12,
        _ => -15,
    };
    let tick = Decimal::new(1, (magnitude - 6).max(exponent + 2).clamp(-128, 127) as i8);
    let name = market.symbol.as_str();
    let in_dollars = market.instrument.quote == "USD" && market.instrument.contract.is_none();
    let routes = if in_dollars && !RATES.contains(&name) {
        RATES.join(",")
    } else {
        "-".to_owned()
    };
    format!(
        "{name} {} {} {exponent} {tick} 2 60000 600000 1000 500 {routes} -",
        market.instrument.asset(),
        market.instrument.quote,
    )
}

/// The power of ten of a number's first digit.
fn magnitude(price: Decimal) -> i32 {
    let digits = price.mantissa().unsigned_abs().checked_ilog10().unwrap_or(0);
    digits as i32 + i32::from(price.exponent())
}
