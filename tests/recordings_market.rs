//! Every kind of recorded market data that is at hand becomes a recording and plays to prices.

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use trinity_beast::cli::convert::write_file;
use trinity_beast::market::AggregatedPrice;
use trinity_beast::market::recording::Recording;
use trinity_beast::market::recording::convert::{Conversion, Input, Kind, Options, convert};
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_protocol::PriceStatus;

/// Prices by symbol, and how often each status was said.
#[derive(Default)]
struct Played {
    prices: BTreeMap<String, Vec<AggregatedPrice>>,
}

fn input(path: &Path) -> Input {
    Input {
        path: path.to_owned(),
        ..Input::default()
    }
}

fn converted(paths: &[PathBuf], options: &Options) -> Conversion {
    let inputs: Vec<_> = paths.iter().map(|path| input(path)).collect();
    let conversion = convert(&inputs, options).unwrap_or_else(|error| panic!("{error}"));
    for report in &conversion.reports {
        assert!(report.damaged == 0 && report.broken_off.is_none(), "{report}");
        assert!(report.rows > 0, "{report}");
    }
    conversion
}

/// Writes it, opens it as `serve` would, and plays it.
fn play(conversion: &Conversion) -> Played {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("recording.csv.gz");
    write_file(conversion, &path).expect("written");
    let recording = Recording::open(&path).unwrap_or_else(|error| panic!("{error}"));
    let mut player = Player::new(recording, Speed::Fast, false).unwrap_or_else(|error| panic!("{error}"));
    let table = player.table().clone();
    let mut played = Played::default();
    while player
        .step(&mut |id, price| {
            let name = table.symbol(id).name.to_string();
            played.prices.entry(name).or_default().push(*price);
        })
        .expect("it plays on")
        != Step::Over
    {}
    let stats = player.stats();
    assert_eq!(
        (stats.damaged, stats.unknown_markets),
        (0, 0),
        "{:?}",
        stats.named
    );
    assert_eq!(stats.quotes, conversion.len() as u64);
    played
}

impl Played {
    fn of(&self, symbol: &str) -> impl Iterator<Item = &AggregatedPrice> {
        self.prices.get(symbol).into_iter().flatten()
    }

    fn priced(&self, symbol: &str) -> usize {
        self.of(symbol).filter(|price| price.status.has_value()).count()
    }

    fn live(&self, symbol: &str) -> usize {
        self.of(symbol)
            .filter(|price| price.status == PriceStatus::Live)
            .count()
    }

    /// Lowest and highest price that was given.
    fn span(&self, symbol: &str) -> (f64, f64) {
        self.of(symbol)
            .filter(|price| price.status.has_value())
            .map(|price| price.mantissa as f64 * 10f64.powi(price.exponent.into()))
            .fold((f64::MAX, f64::MIN), |(low, high), price| {
                (low.min(price), high.max(price))
            })
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|ending| ending != "md"))
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_is_recognised_converts_and_plays_to_prices_of_every_symbol_in_it() {
    let Some(market) = support::shared_data("market") else {
        return;
    };
    let mut kinds = Vec::new();
    let folders = std::fs::read_dir(market).expect("a folder");
    for folder in folders
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
    {
        for file in files(&folder) {
            // What an oracle rejected is no price, unless somebody asks for it.
            let rejected = file.to_string_lossy().contains("rejected");
            if rejected {
                let refusal = convert(&[input(&file)], &Options::default()).expect_err("all are rejected");
                assert!(refusal.to_string().contains("--with-rejected"), "{refusal}");
            }
            let options = Options {
                with_rejected: rejected,
                ..Options::default()
            };
            let conversion = converted(std::slice::from_ref(&file), &options);
            let kind = conversion.reports[0].kind;
            let played = play(&conversion);
            for symbol in conversion.names() {
                assert!(played.priced(symbol) > 0, "{}: {symbol}", file.display());
            }
            eprintln!(
                "{} ({}): {} rows, {}",
                file.file_name().unwrap_or_default().to_string_lossy(),
                kind.name(),
                conversion.len(),
                conversion.names().join(" ")
            );
            kinds.push(kind);
        }
    }
    kinds.sort();
    kinds.dedup();
    assert_eq!(kinds, Kind::ALL, "every kind is at hand");
}

#[test]
fn perpetuals_of_the_same_minutes_are_told_from_the_coin() {
    let Some(folder) = support::shared_data("market/binance-hftbacktest-2024-08") else {
        return;
    };
    let frames: Vec<_> = files(&folder)
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(".jsonl.gz"))
        .collect();
    let from_frames = converted(&frames, &Options::default());
    let merged = converted(&[folder.join("replay-merged.csv.gz")], &Options::default());
    assert_eq!(from_frames.names(), merged.names());
    assert_eq!(
        from_frames.len(),
        merged.len(),
        "the table was made of these frames"
    );
    let (a, b) = (play(&from_frames), play(&merged));
    for symbol in [
        "BTC-USDT",
        "BTC-USDT-PERP",
        "BTC-USD-PERP",
        "ETH-USDT",
        "ETH-USDT-PERP",
        "ETH-USD-PERP",
    ] {
        let ((low, high), other) = (a.span(symbol), b.span(symbol));
        assert_eq!((low, high), other, "{symbol}");
        assert!(a.priced(symbol) > 1_000, "{symbol}");
        assert!(a.of(symbol).all(|price| price.venues_used <= 1), "{symbol}");
        eprintln!("{symbol}: {low} to {high}");
    }
    // The coin's prices are the same without the perpetuals beside it.
    let spot: Vec<_> = frames
        .iter()
        .filter(|path| path.to_string_lossy().contains("/spot_"))
        .cloned()
        .collect();
    let alone = play(&converted(&spot, &Options::default()));
    for symbol in ["BTC-USDT", "ETH-USDT"] {
        assert_eq!(alone.prices[symbol], a.prices[symbol], "{symbol}");
    }
}

#[test]
fn two_venues_in_yen_agree_and_are_live_most_of_the_day() {
    let Some(folder) = support::shared_data("market/btcjpy-two-venues-2018-08-12") else {
        return;
    };
    let played = play(&converted(&files(&folder), &Options::default()));
    let (priced, live) = (played.priced("BTC-JPY"), played.live("BTC-JPY"));
    assert!(live * 10 > priced * 8, "{live} of {priced} are live");
    let (low, high) = played.span("BTC-JPY");
    assert!(low > 650_000.0 && high < 750_000.0, "{low} {high}");
}

#[test]
fn the_oracles_own_sources_make_about_its_own_value() {
    let Some(folder) = support::shared_data("market/oracle-chronicle-2023-06") else {
        return;
    };
    let table = std::fs::read_to_string(folder.join("sources.csv")).expect("a table");
    let conversion = converted(&[folder.join("sources.csv")], &Options::default());
    let played = play(&conversion);
    // The price that stood when each message was made, within half a percent of what it said:
    // the oracle's feeds look at different moments.
    let mut compared = 0;
    for line in table.lines().skip(1) {
        let fields: Vec<_> = line.split(',').collect();
        if fields[2] != "BTCUSD" {
            continue;
        }
        let (age, value): (u64, f64) = (
            fields[3].parse().expect("seconds"),
            fields[4].parse().expect("a price"),
        );
        let ours = played
            .of("BTC-USD")
            .filter(|price| price.publish_time_ns <= age * 1_000_000_000 && price.status.has_value())
            .last();
        let Some(ours) = ours else { continue };
        let ours = ours.mantissa as f64 * 1e-8;
        assert!((ours / value - 1.0).abs() < 0.005, "at {age}: {ours} and {value}");
        compared += 1;
    }
    assert!(compared > 100, "{compared}");
}

#[test]
fn a_folder_of_candles_is_one_market_in_which_tether_converts() {
    let Some(folder) = support::shared_data("market/svb-usdc-depeg-2023-03") else {
        return;
    };
    let options = Options {
        renamed: vec![(
            "binance".to_owned(),
            trinity_beast::market::venue::VenueId::from_name("binance-us").expect("a venue"),
        )],
        ..Options::default()
    };
    let conversion = converted(&files(&folder), &options);
    let played = play(&conversion);
    let (priced, live) = (played.priced("BTC-USD"), played.live("BTC-USD"));
    assert!(live * 100 > priced * 90, "{live} of {priced} are live");
    let most = played.of("BTC-USD").map(|price| price.venues_used).max();
    assert!(most >= Some(3), "{most:?}");
}
