//! `convert`: makes a recording of other forms of market data.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use flate2::{Compression, GzBuilder};
use jiff::Timestamp;

use crate::market::recording::convert::{Conversion, Input, Instrument, Kind, Options, convert};
use crate::market::venue::VenueId;

/// Make a recording of other forms of market data
///
/// The kinds (found out from the first line and the name of each file; several files become one
/// recording):
///
///   candles          start_unix,open,high,low,close,volume in coinbase_btcusd_1m.csv
///   lean             LEAN's bars and ticks in crypto-coinbase-btcusd-minute-20180404_quote.csv
///   frames           a venue's raw frames, {"ts_ns":..,"data":".."}
///   merged           recv_ns,venue,base,quote,kind,bid,ask,price,size,event_ms
///   nautilus-quotes  ts_ms,symbol,ask_size,ask,bid_size,bid
///   nautilus-trades  ts_ms,trade_id,price,quantity,buyer_maker in btcusdt-trades.csv
///   trades           date,last in bitflyerJPY_2018-08-12.csv
///   oracle-messages  Chronicle's messages in JSON lines
///   oracle-sources   file,line,asset,age_unix,value,pair,venue,price
///
/// Perpetuals become symbols of their own (BTC-USDT-PERP). Plain or gzip is read; what ends with
/// .gz is written as gzip.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct ConvertArgs {
    /// What to convert
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Where the recording goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Take all files for this kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// Take all prices for this venue's
    #[arg(long, value_name = "VENUE", value_parser = venue)]
    venue: Option<VenueId>,
    /// Take all prices for prices of this, such as BTC-USD or BTC-USDT-PERP
    #[arg(long, value_name = "BASE-QUOTE", value_parser = instrument)]
    pair: Option<Instrument>,
    /// What the files call NAME is VENUE here, such as binance=binance-us
    #[arg(long, value_name = "NAME=VENUE", value_parser = renamed)]
    call: Vec<(String, VenueId)>,
    /// Leave out what is not after this time, such as 2023-03-10T00:00Z
    #[arg(long, value_name = "TIME", value_parser = time)]
    after: Option<u64>,
    /// Leave out what is after this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
    /// What it shows [default: made of symbols, venues and times]
    #[arg(long)]
    title: Option<String>,
    /// Where the figures come from [default: the names of the files]
    #[arg(long)]
    origin: Option<String>,
    /// Under which terms they may be used
    #[arg(long, value_name = "NOTE")]
    licence: Option<String>,
    /// Take messages that the oracle rejected as well
    #[arg(long)]
    with_rejected: bool,
}

/// Runs the command.
pub fn run(args: &ConvertArgs, out: &mut dyn Write) -> anyhow::Result<()> {
    let inputs: Vec<_> = args
        .files
        .iter()
        .map(|path| Input {
            path: path.clone(),
            kind: args.kind,
            venue: args.venue,
            instrument: args.pair.clone(),
            spelling: None,
        })
        .collect();
    let options = Options {
        after_ns: args.after,
        until_ns: args.until,
        renamed: args.call.clone(),
        with_rejected: args.with_rejected,
    };
    let mut conversion = convert(&inputs, &options)?;
    for (mine, told) in [
        (&mut conversion.title, &args.title),
        (&mut conversion.origin, &args.origin),
        (&mut conversion.licence_note, &args.licence),
    ] {
        if let Some(told) = told {
            mine.clone_from(told);
        }
    }
    let bytes = write_file(&conversion, &args.out)?;
    for report in &conversion.reports {
        writeln!(out, "{report}")?;
    }
    writeln!(
        out,
        "{}: {} rows, {} symbols ({}), {bytes} bytes",
        args.out.display(),
        conversion.len(),
        conversion.names().len(),
        conversion.names().join(", "),
    )?;
    writeln!(
        out,
        "Play it: trinity-beast serve --market replay:{}",
        args.out.display()
    )?;
    Ok(())
}

/// Writes a recording, as gzip if the name says so; the file is there whole or not at all.
pub fn write_file(conversion: &Conversion, path: &Path) -> anyhow::Result<u64> {
    let name = path.file_name().context("the name of the recording is missing")?;
    let mut part = name.to_owned();
    part.push(".part");
    let part = path.with_file_name(part);
    let written = write_part(conversion, path, &part).and_then(|()| fs::rename(&part, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _ = fs::remove_file(&part);
        return Err(error).with_context(|| format!("cannot write {}", path.display()));
    }
    Ok(fs::metadata(path)?.len())
}

fn write_part(conversion: &Conversion, path: &Path, part: &Path) -> io::Result<()> {
    let file = File::create(part)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        // Without a time in its head, so that the same rows give the same file.
        let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::best());
        conversion.write(&mut BufWriter::new(&mut gzip))?;
        gzip.finish()?.flush()
    } else {
        let mut file = BufWriter::new(file);
        conversion.write(&mut file)?;
        file.flush()
    }
}

fn venue(text: &str) -> Result<VenueId, String> {
    VenueId::from_name(text).ok_or_else(|| {
        let known: Vec<_> = VenueId::all().map(VenueId::name).collect();
        format!("`{text}` is no venue; known: {}", known.join(", "))
    })
}

fn instrument(text: &str) -> Result<Instrument, String> {
    Instrument::parse(text).ok_or_else(|| format!("`{text}` is not like BTC-USD or BTC-USDT-PERP"))
}

fn renamed(text: &str) -> Result<(String, VenueId), String> {
    let (name, known) = text
        .split_once('=')
        .ok_or_else(|| format!("`{text}` is not NAME=VENUE"))?;
    Ok((name.to_owned(), venue(known)?))
}

/// A time as people write it, as Unix nanoseconds.
pub fn time(text: &str) -> Result<u64, String> {
    let parse = || -> anyhow::Result<u64> {
        let time: Timestamp = text.parse()?;
        let ns = time.as_nanosecond();
        ensure!(ns >= 0, "it is before 1970");
        Ok(u64::try_from(ns)?)
    };
    parse().map_err(|error| format!("`{text}` is no time such as 2023-03-10T00:00Z: {error}"))
}
