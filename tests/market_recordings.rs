//! What the aggregation does with real markets: the shipped recording, and captured ones where
//! they are at hand.

#[path = "../examples/make_depeg_recording.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod make_depeg_recording;
#[path = "../examples/market_figures.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod market_figures;
mod support;

use std::path::Path;

use market_figures::{Displaced, play, total};
use trinity_beast::market::recording::Recording;
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{AggregatedPrice, Explanation, StatusRule, SymbolId};
use trinity_protocol::PriceStatus;

/// The calmer days that the captured candles have, 6 and 7 March 2023.
const CALM_DAYS: std::ops::Range<u64> = 1_678_060_800..1_678_233_600;

/// Candles of several venues: the shipped ones, and those of calmer days.
fn candles(folder: &Path) -> Vec<Recording> {
    let mut all = vec![Recording::shipped()];
    if let Some(shared) = support::shared_data("market/svb-usdc-depeg-2023-03") {
        let calm = folder.join("calm.csv.gz");
        make_depeg_recording::convert_window(&shared, &calm, CALM_DAYS).expect("the candles are well-formed");
        all.push(Recording::open(&calm).expect("a recording"));
    }
    all
}

/// The candles, and raw frames with real books.
fn recordings(folder: &Path) -> Vec<Recording> {
    let mut all = candles(folder);
    let raw = "market/binance-hftbacktest-2024-08/spot_btcusdt_20240808.bbo-trades.jsonl.gz";
    all.extend(support::shared_data(raw).map(|path| Recording::open(&path).expect("a recording")));
    all
}

/// Plays it and hands over every published price with its explanation, and the moment.
fn each_price(
    recording: Recording,
    mut look: impl FnMut(u64, &AggregatedPrice, &Explanation, &Player),
) -> u64 {
    let mut player = Player::new(recording, Speed::Fast, false).expect("it plays");
    let mut prices = 0;
    loop {
        let mut published: Vec<(SymbolId, AggregatedPrice)> = Vec::new();
        let step = player.step(&mut |symbol, price| published.push((symbol, *price)));
        let Step::Played(at) = step.expect("it plays on") else {
            return prices;
        };
        for (symbol, price) in published {
            prices += 1;
            look(at, &price, &player.engine().explain(symbol), &player);
        }
    }
}

#[test]
fn fewer_than_one_in_a_thousand_votes_of_good_venues_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in candles(folder.path()) {
        let name = recording.name();
        let figures = play(&recording, None).expect("it plays");
        let all = total(figures.values());
        println!("{name}: {all:?}");
        assert!(all.cast > 10_000, "{name}: {all:?}");
        assert!(all.refused() * 1_000 < all.cast, "{name}: {all:?}");
        let table = recording.symbol_table().expect("a table");
        let btc = table.resolve("BTC-USD").expect("a symbol");
        let bitcoin = total(
            figures
                .iter()
                .filter(|((symbol, _), _)| *symbol == btc)
                .map(|(_, votes)| votes),
        );
        assert!(
            bitcoin.cast > 4_000 && bitcoin.refused() * 1_000 < bitcoin.cast,
            "{name}: {bitcoin:?}"
        );
    }
}

#[test]
fn a_venue_that_is_ten_percent_off_or_more_is_never_used_where_three_vote() {
    let recording = Recording::shipped();
    let table = recording.symbol_table().expect("a table");
    let symbol = table.resolve("BTC-USD").expect("a symbol");
    for venue in ["coinbase", "kraken", "binance-us"] {
        let venue = VenueId::from_name(venue).expect("a venue");
        for (mantissa, exponent) in [(1, -8), (9, -1), (11, -1), (1, 6)] {
            let displaced = Displaced {
                symbol,
                venue,
                mantissa,
                exponent,
            };
            let figures = play(&recording, Some(displaced)).expect("it plays");
            let votes = figures[&(symbol, venue)];
            assert!(
                votes.cast > 2_000 && votes.refused() == votes.cast,
                "{displaced:?}: {votes:?}"
            );
        }
    }
}

#[test]
fn every_price_lies_within_what_its_venues_bid_and_ask() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in recordings(folder.path()) {
        let name = recording.name();
        let mut looked_at = 0;
        each_price(recording, |_, price, explanation, _| {
            // A carried price is that of venues heard before.
            let fresh = [
                StatusRule::EnoughVenues,
                StatusRule::MinSources,
                StatusRule::ThinRates,
                StatusRule::Dispute,
            ];
            if !fresh.contains(&explanation.rule) {
                return;
            }
            looked_at += 1;
            let used = || {
                explanation
                    .venues
                    .iter()
                    .filter(|part| part.disposition.is_used())
            };
            // Bars have no book: their close and its uncertainty.
            let low = used()
                .map(|part| part.bid.unwrap_or(part.price - part.confidence))
                .min();
            let high = used()
                .map(|part| part.ask.unwrap_or(part.price + part.confidence))
                .max();
            assert!(
                low <= Some(price.mantissa) && Some(price.mantissa) <= high,
                "{name}: {low:?} {price:?} {high:?}"
            );
            assert_eq!(used().count(), usize::from(price.venues_used));
        });
        assert!(looked_at > 5_000, "{name}: {looked_at}");
    }
}

#[test]
fn no_live_price_stands_on_fewer_fresh_venues_than_its_symbol_asks() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in recordings(folder.path()) {
        let name = recording.name();
        each_price(recording, |at, price, explanation, player| {
            let spec = player.table().symbol(explanation.symbol);
            let fresh = explanation.venues.iter().filter(|part| {
                let max_age_ns = u64::from(spec.max_age_ms) * 1_000_000;
                part.disposition.is_used()
                    && at - part.receive_time_ns <= max_age_ns
                    && part
                        .venue_time_ns
                        .is_none_or(|venue_ns| at.saturating_sub(venue_ns) <= max_age_ns)
            });
            let fresh = fresh.count();
            assert!(
                price.status != PriceStatus::Live || fresh >= usize::from(spec.min_sources),
                "{name}: {price:?} of {fresh}"
            );
        });
    }
}

#[test]
fn a_recording_gives_the_same_bytes_every_time() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for recording in recordings(folder.path()) {
        let bytes = |recording: Recording| {
            let mut hash = blake3::Hasher::new();
            let prices = each_price(recording, |at, price, explanation, _| {
                hash.update(format!("{at} {price:?} {explanation:?}").as_bytes());
            });
            (prices, hash.finalize())
        };
        let (prices, first) = bytes(recording.clone());
        assert!(prices > 5_000);
        assert_eq!((prices, first), bytes(recording));
    }
}
