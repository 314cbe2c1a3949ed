//! Makes the recording that the project ships, from one-minute candles.
//!
//! ```text
//! cargo run --example make_depeg_recording -- CANDLES_DIR src/market/recordings/usdc-depeg-2023-03.csv.gz
//! ```
//!
//! `CANDLES_DIR` holds files such as `coinbase_btcusd_1m.csv` with the columns
//! `start_unix,open,high,low,close,volume,...`. Each bar with volume becomes one quote at the
//! bar's end: price = close, confidence = half of high - low. A bar without volume is the
//! venue's repetition of an older price and no quote. The same input gives the same bytes.

use std::fs::{self, File};
use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use flate2::{Compression, GzBuilder};
use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::recording::{FORMAT, VERSION};

/// File, venue, the venue's spelling of the market. The candles called `binance` are those of
/// Binance.US.
const FILES: [(&str, &str, &str); 11] = [
    ("coinbase_btcusd_1m.csv", "coinbase", "BTC-USD"),
    ("coinbase_btcusdt_1m.csv", "coinbase", "BTC-USDT"),
    ("coinbase_usdtusd_1m.csv", "coinbase", "USDT-USD"),
    ("kraken_btcusd_1m.csv", "kraken", "XBT/USD"),
    ("kraken_btcusdt_1m.csv", "kraken", "XBT/USDT"),
    ("kraken_btcusdc_1m.csv", "kraken", "XBT/USDC"),
    ("kraken_usdtusd_1m.csv", "kraken", "USDT/USD"),
    ("kraken_usdcusd_1m.csv", "kraken", "USDC/USD"),
    ("binance_btcusdt_1m.csv", "binance-us", "BTCUSDT"),
    ("binance_btcusdc_1m.csv", "binance-us", "BTCUSDC"),
    ("binance_usdcusdt_1m.csv", "binance-us", "USDCUSDT"),
];

/// 2023-03-10T00:00Z, the day the bank failed.
const FROM_UNIX: u64 = 1_678_406_400;
/// 2023-03-11T12:00Z, after the peg's low.
const TO_UNIX: u64 = 1_678_536_000;
const BAR_SECONDS: u64 = 60;

/// Two and a half bars: one missing bar is the market's pace, two are an absence.
const MAX_AGE_MS: u32 = 150_000;
/// Ten bars.
const HARD_AGE_MS: u32 = 600_000;

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [candles, out] = arguments.as_slice() else {
        bail!("usage: make_depeg_recording CANDLES_DIR OUT.csv.gz");
    };
    let (quotes, bytes) = convert(Path::new(candles), Path::new(out))?;
    println!("{out}: {quotes} quotes, {bytes} bytes");
    Ok(())
}

/// Writes the recording of a folder of candles; tells how many quotes and bytes it has.
pub(crate) fn convert(candles: &Path, out: &Path) -> Result<(usize, u64)> {
    convert_window(candles, out, FROM_UNIX..TO_UNIX)
}

/// The same of the bars that begin within a window of Unix seconds.
pub(crate) fn convert_window(candles: &Path, out: &Path, window: Range<u64>) -> Result<(usize, u64)> {
    let mut rows = Vec::new();
    for (order, (file, venue, market)) in FILES.into_iter().enumerate() {
        let path = candles.join(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for (number, line) in text.lines().enumerate().skip(1) {
            let row = bar(line, venue, market, &window)
                .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            rows.extend(row.map(|(end, row)| (end, order, row)));
        }
    }
    rows.sort();

    let header = serde_json::json!({
        "format": FORMAT,
        "version": VERSION,
        "title": "USDC loses its peg, 10 and 11 March 2023: BTC, USDT and USDC at Coinbase, Kraken and Binance.US",
        "origin": "public one-minute candles of Coinbase, Kraken and Binance.US; price = close at the bar's end, \
                   confidence = half of high - low, bars without volume left out",
        "licence_note": "figures only: prices at times are facts",
        "max_age_ms": MAX_AGE_MS,
        "hard_age_ms": HARD_AGE_MS,
        "columns": ["time_ms", "venue", "market", "price", "confidence"],
    });
    let file = File::create(out).with_context(|| format!("cannot write {}", out.display()))?;
    let mut gzip = GzBuilder::new().mtime(0).write(file, Compression::best());
    writeln!(gzip, "{header}")?;
    for (_, _, row) in &rows {
        writeln!(gzip, "{row}")?;
    }
    let bytes = gzip.finish()?.metadata()?.len();
    Ok((rows.len(), bytes))
}

/// One candle as a row, with the bar's end; None when it is outside the window or had no trade.
fn bar(line: &str, venue: &str, market: &str, window: &Range<u64>) -> Result<Option<(u64, String)>> {
    let fields: Vec<_> = line.split(',').collect();
    ensure!(fields.len() >= 6, "expected start,open,high,low,close,volume");
    let start: u64 = fields[0].parse().context("start is not Unix seconds")?;
    let [high, low, close, volume] = [2, 3, 4, 5].map(|i| Decimal::parse(fields[i]));
    let (high, low, close, volume) = (high?, low?, close?, volume?);
    if !window.contains(&start) || volume.is_zero() {
        return Ok(None);
    }
    // One digit finer than both, so that the half is exact.
    let exponent = high.exponent().min(low.exponent()) - 1;
    let (high, low) = high
        .rescale(exponent)
        .zip(low.rescale(exponent))
        .context("prices do not fit")?;
    ensure!(high >= low, "high is below low");
    let confidence = Decimal::new((high - low) / 2, exponent);
    let end = start + BAR_SECONDS;
    Ok(Some((
        end,
        format!("{},{venue},{market},{close},{confidence}", end * 1_000),
    )))
}
