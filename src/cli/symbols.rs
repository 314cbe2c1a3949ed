//! `symbols list`, `show`, `add`, `set`, `alias`, `retire` and `check`.

mod view;

use std::io::Write;

use anyhow::{Context, ensure};
use clap::{ArgGroup, Args, Subcommand};
use trinity_protocol::Symbol;

use super::LedgerArgs;
use super::ledger::block_on;
use super::output::write_json;
use crate::clock;
use crate::control::symbols::{alias_of, market_of, seed, table_of};
use crate::market::symbol_row::{end_of_day, venue_named};
use crate::market::{Alias, MarketRow, SymbolTable};
use crate::store::{
    Ledger, StoreError, SymbolAlias, SymbolChange, SymbolDefinition, SymbolPatch, SymbolRecord,
    SymbolSnapshot,
};

/// How often a change is tried anew when somebody else changes the ledger in the same moment.
const MAX_TRIES: u32 = 5;

/// Manage symbols: what may be asked for, and who prices it. Running servers follow within
/// seconds.
#[derive(Clone, Debug, Args)]
pub struct SymbolsArgs {
    #[command(flatten)]
    ledger: LedgerArgs,
    #[command(subcommand)]
    command: SymbolsCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum SymbolsCommand {
    /// List symbols in the order they were added
    List {
        /// Retired ones as well
        #[arg(long)]
        all: bool,
    },
    /// Show one symbol, found by its name or an alias
    Show {
        /// Its name, in any case
        #[arg(value_parser = any_case)]
        name: Symbol,
    },
    /// Add a symbol
    Add(Box<AddArgs>),
    /// Change a symbol; what is not given stays
    Set(Box<SetArgs>),
    /// Give a symbol another name, or end one
    #[command(group = ArgGroup::new("end-or-until").args(["until", "end"]))]
    Alias {
        /// The symbol's canonical name
        #[arg(value_parser = any_case)]
        name: Symbol,
        /// The other name
        #[arg(value_parser = any_case)]
        alias: Symbol,
        /// The last day (UTC) on which it is known, such as 2027-12-31; for ever if not given
        #[arg(long, value_name = "DATE", value_parser = end_of_day)]
        until: Option<u64>,
        /// End it now
        #[arg(long)]
        end: bool,
    },
    /// Offer a symbol no more; it keeps its number and its usage
    Retire {
        /// The symbol's canonical name
        #[arg(value_parser = any_case)]
        name: Symbol,
        /// Offer it again
        #[arg(long)]
        undo: bool,
    },
    /// Check that the ledger's symbols make a table, as servers do
    Check,
}

#[derive(Clone, Debug, Args)]
struct AddArgs {
    /// Canonical name, BASE-QUOTE, at most 16 characters
    #[arg(value_parser = any_case)]
    name: Symbol,
    /// What is priced; the part of the name before its dash if not given
    #[arg(long, value_parser = any_case)]
    base: Option<Symbol>,
    /// What it is priced in; the part of the name behind its dash if not given
    #[arg(long, value_parser = any_case)]
    quote: Option<Symbol>,
    /// Price = mantissa x 10^exponent, -15 to 0; must leave six digits and more
    #[arg(long, allow_negative_numbers = true)]
    exponent: i8,
    /// Smallest price step that means anything, as a price: 0.01
    #[arg(long)]
    tick: String,
    /// Venues needed for a live price
    #[arg(long, default_value_t = 2)]
    min_sources: u8,
    /// Older quotes are not used, an older price is stale
    #[arg(long, default_value_t = 60_000, value_name = "MS")]
    max_age_ms: u32,
    /// An older price is not given; ten times max-age-ms if not given
    #[arg(long, value_name = "MS")]
    hard_age_ms: Option<u32>,
    /// A move beyond this is held until it is confirmed
    #[arg(long, default_value_t = 1_500, value_name = "BPS")]
    jump_bps: u32,
    /// Two venues further apart are in dispute
    #[arg(long, default_value_t = 500, value_name = "BPS")]
    dispute_bps: u32,
    /// For an asset meant to be worth 1: further off than this it is off its peg
    #[arg(long, value_name = "BPS")]
    peg_bps: Option<u32>,
    /// Do not stream it: fetch it when somebody asks
    #[arg(long)]
    demand: bool,
    /// A rate for quotes in another currency, such as USDT-USD; best first
    #[arg(long = "route", value_name = "NAME", value_parser = any_case)]
    routes: Vec<Symbol>,
    /// Another name, with its last day if it has one: MATIC@2027-12-31
    #[arg(long = "alias", value_name = "NAME[@DATE]", value_parser = alias_text)]
    aliases: Vec<Alias>,
    /// Who trades it and how they spell it, the spelling to subscribe with first
    #[arg(long = "market", value_name = "VENUE=SPELLING[,SPELLING][*1eN]", value_parser = market_text)]
    markets: Vec<MarketRow>,
}

#[derive(Clone, Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "flags of a command line are what they are"
)]
struct SetArgs {
    /// The symbol's canonical name
    #[arg(value_parser = any_case)]
    name: Symbol,
    /// Price = mantissa x 10^exponent, -15 to 0
    #[arg(long, allow_negative_numbers = true)]
    exponent: Option<i8>,
    /// Smallest price step that means anything, as a price
    #[arg(long)]
    tick: Option<String>,
    /// Venues needed for a live price
    #[arg(long)]
    min_sources: Option<u8>,
    /// Older quotes are not used, an older price is stale
    #[arg(long, value_name = "MS")]
    max_age_ms: Option<u32>,
    /// An older price is not given
    #[arg(long, value_name = "MS")]
    hard_age_ms: Option<u32>,
    /// A move beyond this is held until it is confirmed
    #[arg(long, value_name = "BPS")]
    jump_bps: Option<u32>,
    /// Two venues further apart are in dispute
    #[arg(long, value_name = "BPS")]
    dispute_bps: Option<u32>,
    /// Further from 1 than this it is off its peg
    #[arg(long, value_name = "BPS", conflicts_with = "no_peg")]
    peg_bps: Option<u32>,
    /// It is not meant to be worth 1
    #[arg(long)]
    no_peg: bool,
    /// Have venues stream it
    #[arg(long, conflicts_with = "demand")]
    stream: bool,
    /// Do not stream it: fetch it when somebody asks
    #[arg(long)]
    demand: bool,
    /// Rates for quotes in other currencies, best first; they take the place of all there are
    #[arg(long = "route", value_name = "NAME", value_parser = any_case, conflicts_with = "no_routes")]
    routes: Vec<Symbol>,
    /// No conversion
    #[arg(long)]
    no_routes: bool,
    /// A market to add, or to take the place of the venue's
    #[arg(long = "market", value_name = "VENUE=SPELLING[,SPELLING][*1eN]", value_parser = market_text)]
    markets: Vec<MarketRow>,
    /// A venue whose market is to go
    #[arg(long = "no-market", value_name = "VENUE", value_parser = venue_text)]
    no_markets: Vec<String>,
}

/// Runs the command; its result goes to `out`.
pub fn run(args: &SymbolsArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let now_ns = clock::unix_nanos();
    let json = args.ledger.json;
    block_on(async {
        let ledger = args.ledger.open_existing().await?;
        let snapshot = load(&*ledger, now_ns).await?;
        match &args.command {
            SymbolsCommand::List { all } => view::list(&snapshot.symbols, *all, json, out)?,
            SymbolsCommand::Show { name } => {
                view::show(find(&snapshot.symbols, *name, now_ns)?, now_ns, json, out)?;
            }
            SymbolsCommand::Check => check(&snapshot.symbols, now_ns, json, out)?,
            change => {
                let change = change.to_change(now_ns)?;
                let record = apply(&*ledger, &change, snapshot, now_ns).await?;
                view::show(&record, now_ns, json, out)?;
            }
        }
        out.flush()?;
        Ok(())
    })
}

/// The ledger's symbols; a ledger that no server has opened gets the program's own first.
async fn load(ledger: &dyn Ledger, now_ns: u64) -> anyhow::Result<SymbolSnapshot> {
    let snapshot = ledger.load_symbols().await?;
    if !snapshot.symbols.is_empty() {
        return Ok(snapshot);
    }
    seed(ledger, now_ns).await?;
    Ok(ledger.load_symbols().await?)
}

/// Makes a change after looking at the whole table that comes of it.
async fn apply(
    ledger: &dyn Ledger,
    change: &SymbolChange,
    mut snapshot: SymbolSnapshot,
    now_ns: u64,
) -> anyhow::Result<SymbolRecord> {
    for _ in 0..MAX_TRIES {
        let mut symbols = snapshot.symbols;
        change.apply(&mut symbols, now_ns)?;
        let table = table_of(&symbols, now_ns).context("nothing was written")?;
        enough_venues(change, &table)?;
        match ledger.change_symbol(change, Some(snapshot.stamp), now_ns).await {
            Err(StoreError::ChangedMeanwhile) => snapshot = ledger.load_symbols().await?,
            result => return Ok(result?),
        }
    }
    Err(StoreError::ChangedMeanwhile.into())
}

/// A symbol that can never be live is a mistake, if a table too.
fn enough_venues(change: &SymbolChange, table: &SymbolTable) -> anyhow::Result<()> {
    let name = match change {
        SymbolChange::Add(definition) => definition.name,
        SymbolChange::Set { name, .. } | SymbolChange::Restore { name } => *name,
        _ => return Ok(()),
    };
    // A retired symbol may be set as one likes.
    let Some(id) = table.resolve_symbol(name) else {
        return Ok(());
    };
    let (venues, needed) = (table.seats(id).len(), table.symbol(id).min_sources);
    ensure!(
        venues >= usize::from(needed),
        "nothing was written: symbol {name}, min_sources: {needed} venues are needed and {venues} can vote; add \
         --market or --route, or lower --min-sources"
    );
    Ok(())
}

fn find(symbols: &[SymbolRecord], name: Symbol, now_ns: u64) -> anyhow::Result<&SymbolRecord> {
    if let Some(record) = symbols.iter().find(|record| record.definition.name == name) {
        return Ok(record);
    }
    // A table knows the generated names too; if there is none, stated aliases will do.
    let meant = match table_of(symbols, now_ns) {
        Ok(table) => table.resolve_symbol(name).map(|id| table.symbol(id).name),
        Err(_) => symbols
            .iter()
            .find(|record| record.definition.aliases.iter().any(|alias| alias.name == name))
            .map(|record| record.definition.name),
    };
    let found = symbols
        .iter()
        .find(|record| Some(record.definition.name) == meant);
    Ok(found.ok_or(StoreError::NoSuchSymbol { name })?)
}

fn check(symbols: &[SymbolRecord], now_ns: u64, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let table = table_of(symbols, now_ns)
        .context("the ledger's symbols make no table, and servers keep the one of before")?;
    let offered = table.symbols().filter(|(_, spec)| !spec.retired).count();
    let view = view::CheckView {
        symbols: offered,
        retired: table.len() - offered,
        markets: table.markets().len(),
        names: table.names().count(),
        thin: table
            .symbols()
            .filter(|(id, spec)| !spec.retired && table.seats(*id).len() < usize::from(spec.min_sources))
            .map(|(_, spec)| spec.name.to_string())
            .collect(),
        next_alias_end: table.next_alias_end_ns().map(super::output::exact_time),
    };
    if json {
        write_json(out, &view)?;
    } else {
        view.write(out)?;
    }
    Ok(())
}

impl SymbolsCommand {
    fn to_change(&self, now_ns: u64) -> anyhow::Result<SymbolChange> {
        Ok(match self {
            Self::Add(args) => SymbolChange::Add(Box::new(args.definition()?)),
            Self::Set(args) => SymbolChange::Set {
                name: args.name,
                patch: Box::new(args.patch()?),
            },
            Self::Alias {
                alias,
                end: true,
                name,
                ..
            } => SymbolChange::EndAlias {
                name: *name,
                alias: *alias,
                until_ns: now_ns,
            },
            Self::Alias {
                name, alias, until, ..
            } => SymbolChange::AddAlias {
                name: *name,
                alias: SymbolAlias {
                    name: *alias,
                    until_ns: *until,
                },
            },
            Self::Retire { name, undo: false } => SymbolChange::Retire { name: *name },
            Self::Retire { name, undo: true } => SymbolChange::Restore { name: *name },
            Self::List { .. } | Self::Show { .. } | Self::Check => {
                anyhow::bail!("this command changes nothing")
            }
        })
    }
}

impl AddArgs {
    fn definition(&self) -> anyhow::Result<SymbolDefinition> {
        // A canonical name is BASE-QUOTE by definition; only a venue's spelling is never cut.
        let halves = self.name.as_str().split_once('-');
        let half = |given: Option<Symbol>, text: Option<&str>, field: &str| match (given, text) {
            (Some(given), _) => Ok(given),
            (None, Some(text)) => Symbol::new(text)
                .ok()
                .with_context(|| format!("--{field} is needed for {}", self.name)),
            (None, None) => anyhow::bail!("{} is not BASE-QUOTE: give --{field}", self.name),
        };
        let mut definition = SymbolDefinition {
            name: self.name,
            base: half(self.base, halves.map(|(base, _)| base), "base")?,
            quote: half(self.quote, halves.map(|(_, quote)| quote), "quote")?,
            exponent: self.exponent,
            tick: self.tick.clone(),
            min_sources: self.min_sources,
            max_age_ms: self.max_age_ms,
            hard_age_ms: self.hard_age_ms.unwrap_or(self.max_age_ms.saturating_mul(10)),
            jump_bps: self.jump_bps,
            dispute_bps: self.dispute_bps,
            peg_bps: self.peg_bps,
            streamed: !self.demand,
            routes: self.routes.clone(),
            aliases: self.aliases.iter().map(alias_of).collect(),
            markets: self.markets.iter().map(market_of).collect(),
        };
        definition.sort();
        Ok(definition)
    }
}

impl SetArgs {
    fn patch(&self) -> anyhow::Result<SymbolPatch> {
        let patch = SymbolPatch {
            exponent: self.exponent,
            tick: self.tick.clone(),
            min_sources: self.min_sources,
            max_age_ms: self.max_age_ms,
            hard_age_ms: self.hard_age_ms,
            jump_bps: self.jump_bps,
            dispute_bps: self.dispute_bps,
            peg_bps: match (self.peg_bps, self.no_peg) {
                (None, false) => None,
                (peg, _) => Some(peg),
            },
            streamed: match (self.stream, self.demand) {
                (false, false) => None,
                (stream, _) => Some(stream),
            },
            routes: (self.no_routes || !self.routes.is_empty()).then(|| self.routes.clone()),
            markets: self.markets.iter().map(market_of).collect(),
            no_markets: self.no_markets.clone(),
        };
        ensure!(
            patch != SymbolPatch::default(),
            "nothing to set: give a field, see `symbols set --help`"
        );
        Ok(patch)
    }
}

fn any_case(text: &str) -> Result<Symbol, String> {
    Symbol::from_any_case(text)
        .map_err(|error| format!("{error}: a name is 1 to 16 characters such as BTC-USD"))
}

fn alias_text(text: &str) -> Result<Alias, String> {
    text.to_ascii_uppercase().parse()
}

fn market_text(text: &str) -> Result<MarketRow, String> {
    text.parse()
}

fn venue_text(text: &str) -> Result<String, String> {
    venue_named(text).map(|venue| venue.name().to_owned())
}
