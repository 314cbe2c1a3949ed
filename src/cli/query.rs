//! `query`: asks a running server over UDP.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use serde::Serialize;
use trinity_protocol::client::{Client, ClientConfig, SymbolPrice};
use trinity_protocol::{ApiKey, PriceFlags, PriceQuery, PriceStatus, Symbol};

use super::output::{Table, exact_time};

/// Ask a running server for prices over UDP.
#[derive(Clone, Debug, Args)]
pub struct QueryArgs {
    #[command(flatten)]
    pub(super) link: LinkArgs,
    /// Symbols, for example BTC-USD ETH-USD; aliases and lower case are understood
    #[arg(required = true, num_args = 1..=31, value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// Oldest price that still counts as LIVE, milliseconds [default: the symbol's own]
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "MS")]
    max_age_ms: u32,
    /// Print one JSON object a line and symbol
    #[arg(long)]
    json: bool,
}

/// How a command reaches the server.
#[derive(Clone, Debug, Args)]
pub(super) struct LinkArgs {
    /// The server's host and UDP port
    #[arg(
        long,
        env = "TRINITY_SERVER",
        default_value = "127.0.0.1:2679",
        value_name = "HOST:PORT"
    )]
    server: String,
    /// File that holds the API key [default: demo.key in the data directory]
    #[arg(long, env = "TRINITY_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Directory in which a local server keeps demo.key
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// How long the first try waits for its reply, milliseconds; later tries wait longer
    #[arg(long, default_value_t = 300, value_name = "MS")]
    timeout_ms: u64,
}

/// Exit code when every symbol was answered but at least one has no price.
pub const NO_PRICE: u8 = 3;

/// One symbol as scripts read it.
#[derive(Serialize)]
struct PriceLine<'a> {
    symbol: &'a str,
    status: &'static str,
    /// Units of 10^exponent; null without a price, as everything else about it.
    mantissa: Option<i64>,
    exponent: i8,
    price: Option<String>,
    /// Units of 10^exponent, like the mantissa.
    confidence: Option<u64>,
    venues: u8,
    /// The wire's bits.
    flags: u8,
    flag_names: Vec<&'static str>,
    sequence: u32,
    publish_time_ns: Option<u64>,
    round_trip_us: f64,
}

impl LinkArgs {
    pub(super) fn connect(&self) -> anyhow::Result<Client> {
        let fallback = self.data_dir.join("demo.key");
        let key = read_key(self.key_file.as_deref().unwrap_or(&fallback))?;
        let config = ClientConfig {
            timeout: Duration::from_millis(self.timeout_ms),
            ..ClientConfig::default()
        };
        Ok(Client::connect(&self.server, &key, config)?)
    }
}

pub(super) fn read_key(path: &Path) -> anyhow::Result<ApiKey> {
    let text = fs::read_to_string(path).with_context(|| {
        format!(
            "cannot read the API key from {}: name it with --key-file (a development server writes DATA_DIR/demo.key)",
            path.display()
        )
    })?;
    text.parse()
        .with_context(|| format!("{} holds no usable API key", path.display()))
}

pub(super) fn read_symbols(names: &[String]) -> anyhow::Result<Vec<Symbol>> {
    names
        .iter()
        .map(|name| Symbol::from_any_case(name).with_context(|| format!("symbol {name:?}")))
        .collect()
}

/// Runs the command; prices go to `out`. The number is the exit code.
pub fn run(args: &QueryArgs, out: &mut dyn Write) -> anyhow::Result<u8> {
    let queries: Vec<_> = read_symbols(&args.symbols)?
        .into_iter()
        .map(|symbol| PriceQuery {
            symbol,
            max_age_ms: args.max_age_ms,
        })
        .collect();
    let mut client = args.link.connect()?;
    let reply = client.prices(&queries)?;
    let round_trip_us = reply.round_trip.as_nanos() as f64 / 1e3;
    if args.json {
        for price in &reply.prices {
            serde_json::to_writer(&mut *out, &PriceLine::new(price, round_trip_us))?;
            writeln!(out)?;
        }
    } else {
        let mut table = Table::new(["SYMBOL", "PRICE", "+/-", "STATUS", "VENUES", "PUBLISHED", "NOTES"]);
        for price in &reply.prices {
            row(&mut table, price);
        }
        table.write(out)?;
        writeln!(out, "round trip {round_trip_us:.1} us from {}", client.server())?;
    }
    out.flush()?;
    if reply.prices.len() != queries.len() {
        bail!(
            "the server answered {} of {} symbols",
            reply.prices.len(),
            queries.len()
        );
    }
    Ok(if reply.prices.iter().all(|price| price.status.has_value()) {
        0
    } else {
        NO_PRICE
    })
}

fn row(table: &mut Table, price: &SymbolPrice) {
    let text = |value: Option<trinity_protocol::DecimalText>| value.map_or("-".to_owned(), |v| v.to_string());
    let published = if price.status.has_value() {
        exact_time(price.publish_time_ns)
    } else {
        "-".to_owned()
    };
    let notes: Vec<_> = price.flags.names().map(|name| name.replace('_', " ")).collect();
    table.row([
        price.symbol.as_str(),
        &text(price.price()),
        &text(price.confidence_text()),
        price.status.name(),
        &price.venues.to_string(),
        &published,
        &notes.join(", "),
    ]);
}

impl<'a> PriceLine<'a> {
    fn new(price: &'a SymbolPrice, round_trip_us: f64) -> Self {
        let given = price.status.has_value();
        Self {
            symbol: price.symbol.as_str(),
            status: price.status.name(),
            mantissa: given.then_some(price.mantissa),
            exponent: price.exponent,
            price: price.price().map(|text| text.to_string()),
            confidence: given.then_some(price.confidence),
            venues: price.venues,
            flags: price.flags.0,
            flag_names: price.flags.names().collect(),
            sequence: price.sequence,
            publish_time_ns: given.then_some(price.publish_time_ns),
            round_trip_us,
        }
    }
}

/// What a status means, for people.
pub(super) const fn explain(status: PriceStatus) -> &'static str {
    match status {
        PriceStatus::Live => "fresh and agreed",
        PriceStatus::Stale => "old: the venues have been silent",
        PriceStatus::Thin => "fewer venues than wanted",
        PriceStatus::Disputed => "the venues disagree",
        PriceStatus::UnknownSymbol => "no such symbol",
        PriceStatus::NoPrice => "no price within the hard age",
        PriceStatus::Held => "a jump awaits confirmation",
    }
}

/// Whether a price comes from a recording.
pub(super) const fn is_replayed(price: &SymbolPrice) -> bool {
    price.flags.contains(PriceFlags::REPLAYED)
}
