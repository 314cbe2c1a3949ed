//! The shipped recording: what the oracle says about the days USDC lost its peg.

#[path = "../examples/make_depeg_recording.rs"]
#[allow(dead_code, reason = "its main is the example's")]
mod make_depeg_recording;
mod support;

use std::collections::BTreeMap;

use trinity_beast::market::recording::Recording;
use trinity_beast::market::replay::{Player, Speed, Step};
use trinity_beast::market::venue::VenueId;
use trinity_beast::market::{AggregatedPrice, Disposition, RejectReason, SymbolId};
use trinity_protocol::{PriceFlags, PriceStatus};

const NS: u64 = 1_000_000_000;
/// 2023-03-10T00:01:00Z, the first bar's end.
const FIRST: u64 = 1_678_406_460;
/// 2023-03-11T00:00:00Z.
const MARCH_11: u64 = 1_678_492_800;
/// 2023-03-11T12:00:00Z, the last bar's end.
const LAST: u64 = 1_678_536_000;

type Published = Vec<(SymbolId, AggregatedPrice)>;

fn shipped(looping: bool) -> Player {
    Player::new(Recording::shipped(), Speed::Fast, looping).expect("the shipped recording plays")
}

fn step(player: &mut Player) -> (Step, Published) {
    let mut published = Vec::new();
    let step = player
        .step(&mut |symbol, price| published.push((symbol, *price)))
        .expect("it plays on");
    (step, published)
}

/// Plays up to and with a moment of recorded time, in Unix seconds.
fn play_to(seconds: u64) -> Player {
    let mut player = shipped(false);
    loop {
        match step(&mut player).0 {
            Step::Played(at) if at == seconds * NS => return player,
            Step::Played(at) => assert!(at < seconds * NS, "the moment is in the recording"),
            other => panic!("{other:?} before the moment"),
        }
    }
}

#[test]
fn it_is_small_whole_and_every_quote_of_it_is_taken() {
    let mut player = shipped(false);
    while step(&mut player).0 != Step::Over {}
    let stats = player.stats();
    assert_eq!(
        (
            stats.quotes,
            stats.damaged,
            stats.unknown_markets,
            &stats.broken_off
        ),
        (20_039, 0, 0, &None)
    );
    let taken: u64 = VenueId::all().map(|venue| player.engine().taken(venue)).sum();
    assert_eq!(taken, 20_039);
    for reason in RejectReason::ALL {
        assert!(
            VenueId::all().all(|venue| player.engine().rejected(venue, reason) == 0),
            "{}",
            reason.name()
        );
    }
    assert!(
        player.recording().header().origin.contains("candles"),
        "the origin is noted"
    );
}

#[test]
fn every_price_bears_the_replay_flag() {
    let mut player = shipped(false);
    loop {
        let (step, published) = step(&mut player);
        assert!(
            published
                .iter()
                .all(|(_, price)| price.flags.contains(PriceFlags::REPLAYED))
        );
        if step == Step::Over {
            break;
        }
    }
}

#[test]
fn a_minute_computed_by_hand_is_right_to_the_unit() {
    // The bar from 02:30 to 02:31 on 11 March; high, low, close:
    //   Coinbase BTC-USD 20651.58 20613.45 20619.17    Kraken XBT/USD 20620.1 20568.3 20602.7
    //   Binance.US BTCUSDT 20429.69 20403.96 20415.93
    //   Coinbase USDT-USD 1.01362 1.013 1.0133         Kraken USDT/USD 1.0098 1.009 1.0092
    let player = play_to(1_678_501_860);
    let engine = player.engine();
    let table = player.table();
    let usdt = table.resolve("USDT-USD").expect("a symbol");
    // Pool 1.0088 1.0092 1.0096 1.01299 1.0133 1.01361: the middle of the third and fourth;
    // the quartiles are the second and fifth.
    let price = engine.price(usdt);
    assert_eq!(
        (price.mantissa, price.confidence, price.status),
        (101_129_500, 209_500, PriceStatus::Live)
    );

    let btc = table.resolve("BTC-USD").expect("a symbol");
    let explanation = engine.explain(btc);
    let binance_us = VenueId::from_name("binance-us").expect("a venue");
    let derived = explanation
        .venues
        .iter()
        .find(|part| part.venue == binance_us)
        .expect("it has markets");
    assert_eq!(derived.rate, Some(usdt));
    assert_eq!(derived.disposition, Disposition::Used);
    // 20415.93 * 1.011295 = 20646.52792935, exact in eight places.
    assert_eq!(derived.price, 2_064_652_792_935);
    // 12.865 * 1.011295 + 20415.93 * 0.002095 = 55.781683525, rounded up.
    assert_eq!(derived.confidence, 5_578_168_353);

    // Three votes, nine values: 20576.8 20590.75 20600.105 20602.7 20619.17 20628.6 20638.235
    // 20646.53 20702.31. Fifth, third and seventh.
    let price = explanation.price;
    assert_eq!(
        (price.mantissa, price.confidence),
        (2_061_917_000_000, 1_906_500_000)
    );
    assert_eq!((price.status, price.venues_used), (PriceStatus::Live, 3));
    // Tether stands more than 1 % above its peg in this minute, and Binance.US came through it.
    let through_tether = PriceFlags::DERIVED.with(PriceFlags::DEPEGGED);
    assert_eq!(price.flags, PriceFlags::REPLAYED.with(through_tether));
    assert_eq!(price.publish_time_ns, 1_678_501_860 * NS);
}

#[test]
fn bitcoin_stays_within_what_its_venues_said_and_is_live_from_three_of_them_most_of_the_time() {
    let mut player = shipped(false);
    let btc = player.table().resolve("BTC").expect("a symbol");
    let (mut ticks, mut live, mut three) = (0, 0, 0);
    loop {
        let (step, published) = step(&mut player);
        let Step::Played(at) = step else { break };
        let Some((_, price)) = published.iter().find(|(symbol, _)| *symbol == btc) else {
            continue;
        };
        if at > LAST * NS {
            continue;
        }
        ticks += 1;
        if price.status == PriceStatus::Live {
            live += 1;
            three += u32::from(price.venues_used >= 3);
            let explanation = player.engine().explain(btc);
            let used = || {
                explanation
                    .venues
                    .iter()
                    .filter(|part| part.disposition == Disposition::Used)
            };
            let low = used()
                .map(|part| part.price)
                .min()
                .expect("a live price has venues");
            let high = used()
                .map(|part| part.price)
                .max()
                .expect("a live price has venues");
            assert!((low..=high).contains(&price.mantissa), "{low} {price:?} {high}");
            assert!(
                (1_950_000_000_000..2_110_000_000_000).contains(&price.mantissa),
                "{price:?}"
            );
            // The fiat price never follows USDC down: 13 % would be far outside of its confidence.
            assert!(price.confidence < price.mantissa as u64 / 50, "{price:?}");
        }
    }
    assert!(ticks >= 2_160, "a price a minute, {ticks} were published");
    assert!(live * 100 >= ticks * 99, "{live} of {ticks} are live");
    assert!(
        three * 100 >= ticks * 85,
        "{three} of {ticks} stand on three venues"
    );
}

#[test]
fn usdc_falls_below_ninety_cents_on_11_march_and_stands_at_par_the_day_before() {
    let mut player = shipped(false);
    let usdc = player.table().resolve("USDC-USD").expect("a symbol");
    let mut lowest: BTreeMap<u8, (i64, u64)> = BTreeMap::new();
    let mut at_par = 0;
    loop {
        let (step, published) = step(&mut player);
        let Step::Played(at) = step else { break };
        for (_, price) in published
            .iter()
            .filter(|(symbol, price)| *symbol == usdc && price.status.has_value())
        {
            if at < FIRST * NS + 12 * 3_600 * NS {
                assert!((99_000_000..=101_000_000).contains(&price.mantissa), "{price:?}");
                at_par += 1;
            }
            let low = lowest.entry(price.status as u8).or_insert((i64::MAX, 0));
            if price.mantissa < low.0 {
                *low = (price.mantissa, at / NS);
            }
        }
    }
    let (low, at) = lowest[&(PriceStatus::Live as u8)];
    assert!(low < 90_000_000, "lowest live price {low}");
    assert!((MARCH_11..LAST).contains(&at), "on 11 March, not at {at}");
    assert!(at_par > 500, "{at_par}");
}

#[test]
fn the_market_ends_in_stale_prices_and_then_in_none() {
    let mut player = shipped(false);
    let mut after = Vec::new();
    let btc = player.table().resolve("BTC").expect("a symbol");
    loop {
        let (step, published) = step(&mut player);
        let Step::Played(at) = step else { break };
        if at > LAST * NS {
            after.extend(
                published
                    .into_iter()
                    .filter(|(symbol, _)| *symbol == btc)
                    .map(|(_, price)| (at / NS - LAST, price)),
            );
        }
    }
    let seen: Vec<_> = after
        .iter()
        .map(|(second, price)| (*second, price.status))
        .collect();
    // The first whole second after 150 and 600 seconds of age.
    assert_eq!(seen, [(151, PriceStatus::Stale), (601, PriceStatus::NoPrice)]);
}

#[test]
fn a_second_pass_says_the_same_with_rising_sequences() {
    let mut player = shipped(true);
    let mut passes: [Published; 2] = [Vec::new(), Vec::new()];
    while player.passes() <= 2 {
        let pass = player.passes() as usize - 1;
        let (step, published) = step(&mut player);
        if let Step::Played(_) = step {
            passes[pass].extend(published);
        }
    }
    let mut sequences: BTreeMap<SymbolId, u32> = BTreeMap::new();
    for (symbol, price) in passes.iter().flatten() {
        let last = sequences.insert(*symbol, price.sequence).unwrap_or(0);
        assert_eq!(price.sequence, last + 1, "no step is left out, none is repeated");
    }
    let values = |pass: &Published| -> Published {
        pass.iter()
            .filter(|(_, price)| price.status != PriceStatus::NoPrice)
            .map(|(symbol, price)| {
                (
                    *symbol,
                    AggregatedPrice {
                        sequence: 0,
                        ..*price
                    },
                )
            })
            .collect()
    };
    assert!(!passes[0].is_empty());
    assert_eq!(values(&passes[0]), values(&passes[1]));
}

#[test]
fn it_is_what_the_converter_makes_of_the_candles() {
    let Some(candles) = support::shared_data("market/svb-usdc-depeg-2023-03") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let out = folder.path().join("again.csv.gz");
    make_depeg_recording::convert(&candles, &out).expect("the candles are well-formed");
    let read = |bytes: &[u8]| {
        let mut text = String::new();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(bytes), &mut text).expect("gzip");
        text
    };
    let shipped = include_bytes!("../src/market/recordings/usdc-depeg-2023-03.csv.gz");
    let made = std::fs::read(out).expect("it was written");
    assert_eq!(read(&made), read(shipped));
    assert!(shipped.len() < 400_000);
}
