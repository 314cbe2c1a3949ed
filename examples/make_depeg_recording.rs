//! Makes the recording that the project ships, from one-minute candles.
//!
//! ```text
//! cargo run --example make_depeg_recording -- CANDLES_DIR src/market/recordings/usdc-depeg-2023-03.csv.gz
//! ```
//!
//! `CANDLES_DIR` holds files such as `coinbase_btcusd_1m.csv`. It is a use of
//! [`convert`](trinity_beast::market::recording::convert()), which tells what becomes of a bar: price =
//! close at the bar's end, confidence = half of high - low, none without volume. The same input
//! gives the same bytes.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use trinity_beast::cli::convert::write_file;
use trinity_beast::market::recording::convert::{Input, Options, convert as converted};
use trinity_beast::market::venue::VenueId;

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
const NANOS: u64 = 1_000_000_000;

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
    let inputs: Vec<_> = FILES
        .iter()
        .map(|(file, venue, spelling)| {
            Ok(Input {
                path: candles.join(file),
                venue: Some(VenueId::from_name(venue).with_context(|| format!("{venue} is no venue"))?),
                spelling: Some((*spelling).to_owned()),
                ..Input::default()
            })
        })
        .collect::<Result<_>>()?;
    let options = Options {
        // A bar's row stands at its end.
        after_ns: Some(window.start * NANOS),
        until_ns: Some(window.end * NANOS),
        ..Options::default()
    };
    let mut conversion = converted(&inputs, &options)?;
    for report in &conversion.reports {
        ensure!(report.damaged == 0 && report.broken_off.is_none(), "{report}");
    }
    conversion.title = String::from(
        "USDC loses its peg, 10 and 11 March 2023: BTC, USDT and USDC at Coinbase, Kraken and Binance.US",
    );
    conversion.origin = String::from(
        "public one-minute candles of Coinbase, Kraken and Binance.US; price = close at the bar's end, \
                         confidence = half of high - low, bars without volume left out",
    );
    conversion.licence_note = String::from("figures only: prices at times are facts");
    let bytes = write_file(&conversion, out)?;
    Ok((conversion.len(), bytes))
}
