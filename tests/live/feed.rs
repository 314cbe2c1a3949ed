//! Venues that are well: ten of them, one price.

use crate::sim::Fault;
use crate::site::{FEW, Plan, Site, cost, eventually, ok, query};
use crate::watch::Watch;

/// Everything that is streamed and whose base and quote have a price here.
const MANY: [&str; 22] = [
    "USDT-USD",
    "USDC-USDT",
    "USDC-USD",
    "BTC-USD",
    "ETH-USD",
    "SOL-USD",
    "XRP-USD",
    "DOGE-USD",
    "ADA-USD",
    "AVAX-USD",
    "LINK-USD",
    "LTC-USD",
    "DOT-USD",
    "BTC-USDT",
    "ETH-USDT",
    "SOL-USDT",
    "XRP-USDT",
    "DOGE-USDT",
    "BTC-USDC",
    "ETH-USDC",
    "SOL-USDC",
    "ETH-BTC",
];

#[test]
fn ten_venues_feed_live_prices_over_tls_with_the_programs_own_symbols() {
    // The whole table: most of it is not traded here, and that must not hurt the rest.
    let site = Plan::ten().quoting(&MANY).start();
    site.until_well();
    for name in [
        "BTC-USD", "ETH-USD", "SOL-USD", "DOGE-USD", "BTC-USDT", "ETH-BTC", "USDC-USD",
    ] {
        let (price, _) = eventually(name, || {
            let price = site.price(name);
            ok(price.status.name() == "LIVE").map(|()| price).ok_or(price)
        });
        let (base, quote) = name.split_once('-').expect("BASE-QUOTE");
        let wanted = cost(base, quote).expect("priced here");
        let got = price.mantissa as f64 * 10_f64.powi(price.exponent.into());
        // The simulators move each price by up to 20 units of its sixth digit.
        assert!(
            (got / wanted - 1.0).abs() < 0.001,
            "{name}: {got}, wanted {wanted}"
        );
        let (status, web) = site.http_price(name);
        assert_eq!((status, &web["status"]), (200, &"LIVE".into()), "{web}");
    }
    let (status, said) = site.ready();
    assert_eq!(status, 200, "{said:?}");
    assert!(
        said.keys().all(|component| !component.starts_with("venue-")),
        "{said:?}"
    );
    for sim in &site.sims {
        let venue = sim.venue();
        assert_eq!(site.up(venue), 1, "{venue}");
        assert!(
            sim.tls() && site.of_venue("instruments_confirmed", venue) > 0,
            "{venue}"
        );
        assert!(site.part("BTC-USD", venue)["used"] == true, "{venue}");
    }
    site.assert_no_violations();
}

#[test]
fn a_venues_request_to_reconnect_leaves_no_gap() {
    let site = Site::of_ten();
    let watch = Watch::of(&site, "BTC-USD");
    let before: Vec<_> = site.sims.iter().map(|sim| sim.stats().opened).collect();
    // The three that have words for it: the old connection goes on until its successor has news.
    for venue in ["bitstamp", "okx", "binance"] {
        site.sim(venue).fault(Fault::Reconnect);
        let (_, took) = eventually("the successor has taken over", || {
            let part = site.part("BTC-USD", venue);
            assert_eq!(part["reason"], "used", "{part}");
            ok(site.ended(venue, "replaced") == 1).ok_or(part)
        });
        eprintln!("{venue}: succeeded after {took:?}");
    }
    // Those that close the connection instead lose no vote either: a quote outlives the pause.
    for venue in ["kraken", "coinbase", "bybit"] {
        let opened = site.sim(venue).stats().opened;
        site.sim(venue).fault(Fault::Reconnect);
        let (_, took) = eventually("it is connected anew", || {
            let part = site.part("BTC-USD", venue);
            assert_eq!(part["reason"], "used", "{part}");
            ok(site.ended(venue, "closed") == 1 && site.sim(venue).stats().opened > opened).ok_or(part)
        });
        eprintln!("{venue}: connected anew after {took:?}");
    }
    site.until_well();
    let price = cost("BTC", "USD").expect("priced");
    let seen = watch.was_live_within(price, price, 0.001);
    assert_eq!(
        usize::from(seen.fewest),
        site.sims.len(),
        "a vote was missing: {seen:?}"
    );
    for (sim, before) in site.sims.iter().zip(before) {
        let renewed = ["bitstamp", "okx", "binance", "kraken", "coinbase", "bybit"].contains(&sim.venue());
        assert_eq!(sim.stats().opened - before, u64::from(renewed), "{}", sim.venue());
    }
    site.assert_no_violations();
}

#[test]
fn a_message_that_is_lost_is_counted() {
    let site = Plan::of(&["coinbase", "kraken"]).only(&FEW).quoting(&FEW).start();
    site.until_well();
    assert_eq!(site.of_venue("missing_messages_total", "coinbase"), 0);
    site.sim("coinbase").fault(Fault::Gap);
    eventually("the gap is counted", || {
        let missing = site.of_venue("missing_messages_total", "coinbase");
        ok(missing == 1).ok_or(missing)
    });
    // The next message heals it: every one holds the whole quote.
    assert_eq!(
        site.client()
            .prices(&[query("BTC-USD")])
            .expect("answered")
            .prices[0]
            .venues,
        2
    );
}
