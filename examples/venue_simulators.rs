//! Runs simulators of all ten venues by hand, for a node to be fed by and for faults to be tried on.
//!
//! ```text
//! cargo run --example venue_simulators -- [--plain] [--config FILE] [--interval MS] [--only VENUE,..]
//!     [--replay VENUE=CAPTURE] [--fault VENUE=FAULT] ...
//! ```
//!
//! It writes FILE (`target/venues.toml`), tells how to start a node with it, and then takes commands from its
//! standard input: `kraken mute`, `all wild:2`, `kraken ok`, `all ok`, `stats`, `quit`.

#[path = "../tests/support/sim/mod.rs"]
mod sim;

use std::io::BufRead as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Parser;
use trinity_beast::market::symbol::SymbolTable;

use sim::{Fault, VENUES, VenueSim, write_config};

/// What is quoted, with a plausible price in US dollars.
const ASSETS: [(&str, f64); 12] = [
    ("BTC", 97_412.5),
    ("ETH", 3_412.25),
    ("SOL", 187.63),
    ("XRP", 2.1875),
    ("DOGE", 0.32145),
    ("ADA", 0.8724),
    ("LTC", 104.37),
    ("LINK", 22.415),
    ("AVAX", 38.724),
    ("DOT", 7.1264),
    ("USDT", 0.999_85),
    ("USDC", 1.000_02),
];

/// Runs simulators of the ten venues.
#[derive(Parser)]
struct Options {
    /// Speak without TLS.
    #[arg(long)]
    plain: bool,
    /// Where the addresses are written, for `--venues-config`.
    #[arg(long, default_value = "target/venues.toml")]
    config: PathBuf,
    /// Milliseconds between two quotes of an instrument.
    #[arg(long, default_value_t = 250)]
    interval: u64,
    /// Only these venues.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Replays a capture file in place of a venue's generated quotes.
    #[arg(long, value_name = "VENUE=CAPTURE")]
    replay: Vec<String>,
    /// A fault to begin with.
    #[arg(long, value_name = "VENUE=FAULT")]
    fault: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let table = SymbolTable::builtin();
    if let Some(unknown) = options.only.iter().find(|name| !VENUES.contains(&name.as_str())) {
        bail!(
            "there is no simulator of {unknown:?}; there are {}",
            VENUES.join(", ")
        );
    }
    let wanted = |name: &str| options.only.is_empty() || options.only.iter().any(|only| only == name);
    let sims: Vec<_> = VENUES
        .into_iter()
        .filter(|name| wanted(name))
        .map(|name| VenueSim::start(name, !options.plain))
        .collect();
    for sim in &sims {
        let count = quote_all(sim, &table);
        sim.auto(Duration::from_millis(options.interval.max(1)));
        println!(
            "{:10} {count:3} instruments  {}  {}",
            sim.venue(),
            sim.stream_url(),
            sim.rest_url()
        );
    }
    for replay in &options.replay {
        let (venue, capture) = pair(replay)?;
        for sim in named(&sims, venue)? {
            let count = sim
                .replay(capture.as_ref(), 1.0)
                .with_context(|| format!("cannot replay {capture}"))?;
            println!("{venue} replays {count} messages of {capture}");
        }
    }
    for fault in &options.fault {
        let (venue, fault) = pair(fault)?;
        switch(&sims, venue, fault)?;
    }
    write_config(&sims.iter().collect::<Vec<_>>(), &options.config);
    println!(
        "\nNow start a node on them:\n\n    trinity-beast serve --market live --venues-config {}\n\n\
         Commands: VENUE|all FAULT, VENUE|all ok, stats, quit",
        options.config.display()
    );
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let done = match words.as_slice() {
            [] => Ok(()),
            ["quit"] => return Ok(()),
            ["stats"] => {
                print_stats(&sims);
                Ok(())
            }
            [venue, fault] => switch(&sims, venue, fault),
            _ => Err(anyhow!("say VENUE FAULT, VENUE ok, stats or quit")),
        };
        if let Err(error) = done {
            println!("{error:#}");
        }
    }
    // Without a terminal it runs until it is killed.
    loop {
        std::thread::park();
    }
}

fn pair(text: &str) -> Result<(&str, &str)> {
    text.split_once('=')
        .with_context(|| format!("{text:?} is not VENUE=SOMETHING"))
}

fn named<'s>(sims: &'s [VenueSim], venue: &str) -> Result<Vec<&'s VenueSim>> {
    let found: Vec<_> = sims
        .iter()
        .filter(|sim| venue == "all" || sim.venue() == venue)
        .collect();
    if found.is_empty() {
        bail!("{venue:?} is none of the venues that run here, nor `all`");
    }
    Ok(found)
}

fn switch(sims: &[VenueSim], venue: &str, fault: &str) -> Result<()> {
    let sims = named(sims, venue)?;
    if fault == "ok" {
        for sim in sims {
            sim.heal();
        }
        println!("{venue}: well again");
        return Ok(());
    }
    let fault: Fault = fault.parse().map_err(|problem: String| anyhow!(problem))?;
    for sim in sims {
        sim.fault(fault);
    }
    println!("{venue}: {fault:?}");
    Ok(())
}

/// Quotes every streamed market of the venue whose base and quote are known here; tells how many.
fn quote_all(sim: &VenueSim, table: &SymbolTable) -> usize {
    let price = |asset: &str| match asset {
        "USD" => Some(1.0),
        _ => ASSETS
            .iter()
            .find(|(name, _)| *name == asset)
            .map(|(_, price)| *price),
    };
    let mut count = 0;
    for (_, market) in table.markets() {
        let symbol = table.symbol(market.symbol);
        if market.venue.name() != sim.venue() || !symbol.streamed {
            continue;
        }
        let (Some(base), Some(quote)) = (price(symbol.base.as_str()), price(symbol.quote.as_str())) else {
            continue;
        };
        let middle = base / quote;
        // Six digits, of which the last is the step of the venue, and a spread of two steps.
        let decimals = (5 - middle.log10().floor() as i32).max(0) as usize;
        let step = 10_f64.powi(-(decimals as i32));
        let [bid, ask] = [middle - step, middle + step].map(|price| format!("{price:.decimals$}"));
        // Kraken's stream has dropped the old names of two assets.
        let old = |name: &str| name.starts_with("XBT/") || name.starts_with("XDG/");
        let names = &market.spellings;
        let name = names.iter().find(|name| !old(name)).unwrap_or(&names[0]);
        sim.set_quote(name, &bid, &ask);
        count += 1;
    }
    count
}

fn print_stats(sims: &[VenueSim]) {
    for sim in sims {
        let stats = sim.stats();
        println!(
            "{:10} {} open of {}, {} instruments, {} messages in, {} out, {} quotes, {} REST calls, {} violations",
            sim.venue(),
            stats.open,
            stats.opened,
            stats.subscriptions.len(),
            stats.messages,
            stats.sent,
            stats.quotes,
            stats.rest_calls,
            stats.violations.len()
        );
        for violation in stats.violations.iter().rev().take(3) {
            println!("           {:?}: {}", violation.kind, violation.detail);
        }
    }
}
