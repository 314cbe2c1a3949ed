//! `parse`: how many ticker frames a second one core reads, venue by venue.
//!
//! Recorded frames where they are at hand (`TRINITY_SHARED_DATA`, else `../shared/data` beside
//! the repository), and frames in the venues' documented form everywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde::Serialize;
use trinity_beast::clock;
use trinity_beast::market::venue::{Event, Parser, VenueId};

/// How fast venues' ticker frames are parsed, on one core.
#[derive(Debug, Args)]
pub(crate) struct ParseArgs {
    /// Only this venue
    #[arg(long)]
    venue: Option<String>,
    /// Rounds per venue; the median counts
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Length of a round, milliseconds
    #[arg(long, default_value_t = 300)]
    round_ms: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Frames as each venue documents the message that this program subscribes to.
const SAMPLES: [(&str, &str); 10] = [
    (
        "coinbase",
        r#"{"channel":"ticker","client_id":"","timestamp":"2026-08-09T21:05:48.228568804Z","sequence_num":41,"events":[{"type":"update","tickers":[{"type":"ticker","product_id":"BTC-USD","price":"63481.55","volume_24_h":"2604.48250405","low_24_h":"62800","high_24_h":"64099.99","low_52_w":"49000","high_52_w":"126198.07","price_percent_chg_24_h":"0.42","best_bid":"63481.54","best_bid_quantity":"0.07283991","best_ask":"63481.55","best_ask_quantity":"0.41512200"}]}]}"#,
    ),
    (
        "kraken",
        r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":63481.5,"bid_qty":2.51200000,"ask":63481.6,"ask_qty":0.30000000,"last":63481.6,"volume":1632.88250405,"vwap":63500.1,"low":62800.0,"high":64099.9,"change":221.5,"change_pct":0.35,"timestamp":"2026-08-09T21:05:48.123456Z"}]}"#,
    ),
    (
        "gemini",
        r#"{"u":1751508438600117223,"E":1751508438600117161,"s":"BTCUSD","b":"63481.54","B":"0.07283991","a":"63481.55","A":"0.415122"}"#,
    ),
    (
        "okx",
        r#"{"arg":{"channel":"tickers","instId":"BTC-USDT"},"data":[{"instType":"SPOT","instId":"BTC-USDT","last":"63481.5","lastSz":"0.00001","askPx":"63481.6","askSz":"1.00204","bidPx":"63481.5","bidSz":"0.51204","open24h":"63000","high24h":"64099.9","low24h":"62800","sodUtc0":"63100.1","sodUtc8":"63200.2","volCcy24h":"412345678.9","vol24h":"6512.3456","ts":"1786309548228"}]}"#,
    ),
    (
        "cryptocom",
        r#"{"id":-1,"method":"subscribe","code":0,"result":{"instrument_name":"BTC_USD","subscription":"ticker.BTC_USD","channel":"ticker","data":[{"h":"64099.99","l":"62800.00","a":"63481.55","c":"0.0042","b":"63481.54","bs":"0.0728","k":"63481.60","ks":"0.4151","i":"BTC_USD","v":"2604.4825","vv":"165000000.12","oi":"0","t":1786309548228}]}}"#,
    ),
    (
        "gate",
        r#"{"time":1786309548,"time_ms":1786309548229,"channel":"spot.book_ticker","event":"update","result":{"t":1786309548228,"u":48733182,"s":"BTC_USDT","b":"63481.54","B":"0.0728","a":"63481.55","A":"0.4151"}}"#,
    ),
    (
        "binance",
        r#"{"stream":"btcusdt@bookTicker","data":{"u":400900217,"s":"BTCUSDT","b":"63481.54000000","B":"31.21000000","a":"63481.55000000","A":"40.66000000"}}"#,
    ),
    (
        "bitstamp",
        r#"{"data":{"timestamp":"1786309548","microtimestamp":"1786309548228568","bids":[["63481","0.41512200"],["63480","0.80000000"],["63479","1.2"]],"asks":[["63482","0.07283991"],["63483","0.50000000"],["63484","2"]]},"channel":"order_book_btcusd","event":"data"}"#,
    ),
    (
        "bybit",
        r#"{"topic":"orderbook.1.BTCUSDT","ts":1786309548228,"type":"snapshot","data":{"s":"BTCUSDT","b":[["63481.5","0.512041"]],"a":[["63481.6","1.002043"]],"u":1854821,"seq":7961638724},"cts":1786309548226}"#,
    ),
    (
        "kucoin",
        r#"{"topic":"/market/ticker:BTC-USDT","type":"message","subject":"trade.ticker","data":{"bestAsk":"63481.6","bestAskSize":"0.41","bestBid":"63481.5","bestBidSize":"0.07","price":"63481.5","sequence":"14610502970","size":"0.001","time":1786309548228}}"#,
    ),
];

/// Recorded frames are taken up to this many a venue.
const MOST_FRAMES: usize = 20_000;

#[derive(Serialize)]
struct Row {
    venue: &'static str,
    source: &'static str,
    frames: usize,
    mean_bytes: usize,
    frames_per_second: u64,
    megabytes_per_second: u64,
    nanoseconds: f64,
}

pub(crate) fn run(args: &ParseArgs) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for (name, sample) in SAMPLES {
        if args.venue.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let venue = VenueId::from_name(name).context("a venue of the table")?;
        let recorded = recorded(name, venue)?;
        let documented = vec![sample.as_bytes().to_vec()];
        for (source, frames) in [("documented", documented), ("recorded", recorded)] {
            if !frames.is_empty() {
                rows.push(measure(args, venue, source, &frames));
            }
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    println!(
        "{:<10} {:<11} {:>7} {:>6} {:>12} {:>7} {:>7}",
        "venue", "frames", "number", "bytes", "frames/s", "MB/s", "ns"
    );
    for row in rows {
        println!(
            "{:<10} {:<11} {:>7} {:>6} {:>12} {:>7} {:>7.0}",
            row.venue,
            row.source,
            row.frames,
            row.mean_bytes,
            row.frames_per_second,
            row.megabytes_per_second,
            row.nanoseconds
        );
    }
    Ok(())
}

fn measure(args: &ParseArgs, venue: VenueId, source: &'static str, frames: &[Vec<u8>]) -> Row {
    let mut parser = Parser::new();
    let bytes: usize = frames.iter().map(Vec::len).sum();
    let mut rates: Vec<f64> = (0..args.rounds.max(1))
        .map(|_| {
            let began = clock::monotonic();
            let limit = Duration::from_millis(args.round_ms);
            let mut parsed = 0_usize;
            while began.elapsed() < limit {
                for frame in frames.iter().cycle().take(frames.len().max(512)) {
                    let mut quotes = 0;
                    let result = parser.parse(venue, black_box(frame), &mut |event| {
                        quotes += u32::from(matches!(black_box(event), Event::Quote(_)));
                    });
                    assert!(
                        result.is_ok() && quotes > 0,
                        "a frame without a quote was measured"
                    );
                    parsed += 1;
                }
            }
            parsed as f64 / began.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    let rate = rates[rates.len() / 2];
    Row {
        venue: venue.name(),
        source,
        frames: frames.len(),
        mean_bytes: bytes / frames.len(),
        frames_per_second: rate as u64,
        megabytes_per_second: (rate * bytes as f64 / frames.len() as f64 / 1e6) as u64,
        nanoseconds: 1e9 / rate,
    }
}

/// The quotes' frames of a venue's captures.
fn recorded(name: &str, venue: VenueId) -> anyhow::Result<Vec<Vec<u8>>> {
    let root = std::env::var_os("TRINITY_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let mut frames = Vec::new();
    let Ok(folder) = std::fs::read_dir(root.join(name).join("captures")) else {
        return Ok(frames);
    };
    let mut files: Vec<_> = folder.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let mut parser = Parser::new();
    for file in files {
        for line in reader(&file)?.lines() {
            let Ok(line) = serde_json::from_str::<BTreeMap<String, serde_json::Value>>(&line?) else {
                continue;
            };
            let (Some("recv"), Some(frame)) = (
                line.get("t").and_then(|t| t.as_str()),
                line.get("data").and_then(|data| data.as_str()),
            ) else {
                continue;
            };
            let mut quotes = false;
            let parsed = parser.parse(venue, frame.as_bytes(), &mut |event| {
                quotes |= matches!(event, Event::Quote(_));
            });
            if parsed.is_ok() && quotes && frames.len() < MOST_FRAMES {
                frames.push(frame.as_bytes().to_vec());
            }
        }
    }
    Ok(frames)
}

fn reader(file: &Path) -> anyhow::Result<Box<dyn BufRead>> {
    let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
    let reader: Box<dyn Read> = if file.extension().is_some_and(|extension| extension == "gz") {
        Box::new(flate2::read::MultiGzDecoder::new(open))
    } else {
        Box::new(open)
    };
    Ok(Box::new(BufReader::new(reader)))
}
