//! What the names of files and venues tell.

use std::path::Path;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::market::venue::VenueId;

/// Other names of venues, as data sets write them.
const VENUE_NAMES: [(&str, &str); 16] = [
    ("coinbasepro", "coinbase"),
    ("gdax", "coinbase"),
    ("binance-spot", "binance"),
    ("binance_us", "binance-us"),
    ("binanceus", "binance-us"),
    ("okex", "okx"),
    ("crypto.com", "cryptocom"),
    ("gateio", "gate"),
    ("gate.io", "gate"),
    ("uniswapV2", "uniswap"),
    ("uniswapV3", "uniswap"),
    ("balancerV2", "balancer"),
    ("bitfinex2", "bitfinex"),
    ("huobipro", "huobi"),
    ("htx", "huobi"),
    ("kraken-spot", "kraken"),
];

/// Words in a file's name that say it holds a venue's derivatives.
const DERIVATIVES: [&str; 11] = [
    "perp",
    "perpetual",
    "swap",
    "future",
    "futures",
    "usdm",
    "coinm",
    "cm",
    "um",
    "linear",
    "inverse",
];

/// The venue that a data set calls so.
pub(super) fn venue(name: &str) -> Option<VenueId> {
    let name = name.trim();
    VENUE_NAMES
        .iter()
        .find(|(other, _)| *other == name)
        .and_then(|(_, venue)| VenueId::from_name(venue))
        .or_else(|| VenueId::from_name(&name.to_ascii_lowercase()))
}

/// The venue that a path names: the file first, then its folders from within.
pub(super) fn venue_of_path(path: &Path) -> Option<VenueId> {
    path.components().rev().find_map(|component| {
        let component = component.as_os_str().to_string_lossy();
        let named = |venue: &VenueId| {
            component
                .strip_prefix(venue.name())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.']))
        };
        VenueId::all()
            .filter(named)
            .max_by_key(|venue| venue.name().len())
    })
}

/// Whether the file's name says that it holds derivatives.
pub(super) fn holds_derivatives(path: &Path) -> bool {
    let name = stem(path).to_ascii_lowercase();
    name.split(['_', '-', '.'])
        .any(|word| DERIVATIVES.contains(&word))
}

/// A file's name without its folder and without what follows the first point.
pub(super) fn stem(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}

/// A span such as `1m`, `15m`, `4h` or `1d`, in nanoseconds.
pub(super) fn span(text: &str) -> Option<u64> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
    count
        .checked_mul(seconds)?
        .checked_mul(1_000_000_000)
        .filter(|ns| *ns > 0)
}

/// Age limits for bars of this length, ms: two and a half bars, for one missing bar is the
/// market's pace and two are an absence; and ten bars. Never below a minute and ten minutes,
/// for a bar is only there when somebody traded.
pub(super) fn ages_of_bars(bar_ns: u64) -> (u32, u32) {
    let bar_ms = bar_ns / 1_000_000;
    let ms = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
    (ms((bar_ms * 5 / 2).max(60_000)), ms((bar_ms * 10).max(600_000)))
}

/// What the name of one of LEAN's files tells: `crypto-<venue>-<pair>-<resolution>-<day>_<type>`,
/// or LEAN's own folders `crypto/<venue>/<resolution>/<pair>/<day>_<type>`, and for hours and days
/// `crypto/<venue>/<resolution>/<pair>_<type>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lean {
    pub venue: String,
    pub pair: String,
    pub derivative: bool,
    pub resolution: Resolution,
    pub is_trade: bool,
    /// Midnight of the day, Unix ns; None where each row tells its day.
    pub day_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Tick,
    Bars { length_ns: u64 },
}

impl Lean {
    pub(super) fn of(path: &Path) -> Result<Self, String> {
        let shape = "LEAN's files are called crypto-coinbase-btcusd-minute-20180404_quote.csv";
        let mut words: Vec<String> = stem(path).split('-').map(str::to_owned).collect();
        if !words[0].starts_with("crypto") {
            // LEAN's folders; the name of the file is the last word as it is.
            let mut folders: Vec<_> = path
                .parent()
                .into_iter()
                .flat_map(Path::components)
                .map(|folder| folder.as_os_str().to_string_lossy().into_owned())
                .collect();
            let from = folders
                .iter()
                .rposition(|folder| folder.starts_with("crypto"))
                .ok_or(shape)?;
            let mut named = folders.split_off(from);
            named.append(&mut words);
            words = named;
        }
        let (last, kind) = words
            .pop()
            .and_then(|last| {
                let (last, kind) = last.rsplit_once('_')?;
                Some((last.to_owned(), kind.to_owned()))
            })
            .ok_or(shape)?;
        let is_trade = match kind.as_str() {
            "trade" => true,
            "quote" => false,
            _ => return Err(shape.to_owned()),
        };
        let [kind, venue, rest @ ..] = words.as_slice() else {
            return Err(shape.to_owned());
        };
        let resolution = rest.iter().find_map(|word| resolution(word)).ok_or(shape)?;
        let mut pair = rest.iter().find(|word| self::resolution(word).is_none()).cloned();
        let day = Date::strptime("%Y%m%d", &last);
        if day.is_err() {
            pair = Some(last);
        }
        let day_ns = match day {
            Err(_) => None,
            Ok(day) => Some(midnight(day)?),
        };
        Ok(Self {
            venue: venue.clone(),
            pair: pair.ok_or(shape)?,
            derivative: kind != "crypto",
            resolution,
            is_trade,
            day_ns,
        })
    }
}

fn resolution(word: &str) -> Option<Resolution> {
    let length_ns = match word {
        "tick" => return Some(Resolution::Tick),
        "second" => 1_000_000_000,
        "minute" => 60_000_000_000,
        "hour" => 3_600_000_000_000,
        "daily" => 86_400_000_000_000,
        _ => return None,
    };
    Some(Resolution::Bars { length_ns })
}

fn midnight(day: Date) -> Result<u64, String> {
    day.to_zoned(TimeZone::UTC)
        .map_err(|error| error.to_string())
        .and_then(|day| unix_ns(day.timestamp()))
}

/// Unix nanoseconds of a moment between 1970 and 2554.
pub(super) fn unix_ns(time: jiff::Timestamp) -> Result<u64, String> {
    u64::try_from(time.as_nanosecond()).map_err(|_| format!("{time} is no time of a market"))
}
