//! Venues that refuse connections or ask to be left alone, and REST when it fails.

use std::thread::sleep;
use std::time::Duration;

use trinity_beast::clock;

use crate::sim::{Fault, Garbage};
use crate::site::{FEW, Plan, Site, cost, eventually, ok, quote_all};
use crate::watch::Watch;

/// What a venue that is too busy asks for, seconds.
const REST_S: u64 = 12;

#[test]
fn a_venue_that_refuses_connections_is_left_alone_and_votes_by_its_rest() {
    let site = Site::of_ten();
    let watch = Watch::of(&site, "BTC-USD");
    let kraken = site.sim("kraken");
    let (trips, quotes) = (
        site.of_venue("circuit_trips_total", "kraken"),
        site.rest("kraken", "quote"),
    );
    kraken.fault(Fault::RefuseConnect);
    kraken.fault(Fault::Drop { close_frame: true });
    let began = clock::monotonic();
    let ((), took) = eventually("the circuit opens", || {
        ok(site.circuit_open("kraken", "stream"))
            .ok_or_else(|| site.of_venue("connect_failures_total", "kraken"))
    });
    assert!(site.of_venue("circuit_trips_total", "kraken") > trips);
    let connects = kraken.stats().connects;
    eprintln!("the circuit opened after {took:?} and {connects} connects");
    let (status, said) = site.ready();
    assert!(status == 200 && said.contains_key("venue-kraken"), "{said:?}");
    // Longer than bitcoin's max age: what it votes with is newer than its last connection.
    while began.elapsed() < Duration::from_secs(18) {
        let part = site.part("BTC-USD", "kraken");
        assert_eq!(part["used"], true, "{part}");
        sleep(Duration::from_millis(100));
    }
    assert!(site.rest("kraken", "quote") > quotes);
    let tries = kraken.stats().connects - connects;
    assert!(tries <= 20, "{tries} connects while the circuit was open");
    kraken.heal();
    let ((), took) = eventually("it is up again", || {
        ok(site.up("kraken") == 1).ok_or(site.ready())
    });
    eprintln!("up again {took:?} after it took connections again");
    assert!(!site.circuit_open("kraken", "stream"));
    let price = cost("BTC", "USD").expect("priced");
    let seen = watch.was_live_within(price, price, 0.001);
    assert_eq!(usize::from(seen.fewest), site.sims.len(), "{seen:?}");
    site.assert_no_violations();
}

#[test]
fn what_was_withdrawn_with_its_connection_is_asked_for_by_rest_at_once() {
    let site = Site::of_ten();
    let kraken = site.sim("kraken");
    let withdrawn = site.of_venue("quotes_withdrawn_total", "kraken");
    // Nothing that makes sense comes any more, and no connection will follow this one.
    kraken.fault(Fault::Garbage(Garbage::NotJson));
    for sim in &site.sims {
        quote_all(sim, &FEW, 1.001);
    }
    let ((), took) = eventually("its quotes are not believed any more", || {
        ok(site.of_venue("quotes_withdrawn_total", "kraken") > withdrawn)
            .ok_or(site.part("BTC-USD", "kraken"))
    });
    kraken.fault(Fault::RefuseConnect);
    kraken.fault(Fault::Drop { close_frame: false });
    eprintln!("withdrawn after {took:?}");
    let old = cost("BTC", "USD").expect("priced");
    let ((), took) = eventually("REST speaks for it", || {
        let part = site.part("BTC-USD", "kraken");
        let price = part["price"].as_str().and_then(|price| price.parse::<f64>().ok());
        ok(part["used"] == true && price.is_some_and(|price| price > old * 1.000_9)).ok_or(part)
    });
    eprintln!("REST spoke for it after another {took:?}");
    assert_eq!(site.up("kraken"), 0, "by no connection");
    assert_eq!(site.ready().0, 200);
}

#[test]
fn retry_after_is_honoured_by_streams_and_by_rest() {
    let site = Site::of_ten();
    let watch = Watch::of(&site, "BTC-USD");
    let (okx, bybit) = (site.sim("okx"), site.sim("bybit"));
    let busy = Some(REST_S);
    let asked = bybit.stats().rest_calls;
    // The venue's rest begins later than this.
    let began = clock::monotonic();
    okx.fault(Fault::RefuseUpgrade {
        status: 429,
        retry_after: busy,
    });
    okx.fault(Fault::Drop { close_frame: true });
    bybit.fault(Fault::RestStatus {
        status: 429,
        retry_after: busy,
    });
    bybit.fault(Fault::Mute);
    eventually("both are told", || {
        let told = (okx.stats().upgrades_refused, bybit.stats().rest_calls - asked);
        ok(told.0 > 0 && told.1 > 0).ok_or(told)
    });
    eventually("both circuits are open", || {
        ok(site.circuit_open("okx", "stream") && site.circuit_open("bybit", "rest")).ok_or(site.ready())
    });
    loop {
        let told = (okx.stats().upgrades_refused, bybit.stats().rest_calls - asked);
        // Before the rest is over; the look comes first.
        if began.elapsed() >= Duration::from_secs(REST_S) {
            break;
        }
        // What was under way when the venue said so cannot be called back.
        assert!(
            told.0 == 1 && told.1 <= 2,
            "asked {told:?} times before the rest was over"
        );
        sleep(Duration::from_millis(20));
    }
    assert!(site.rest("bybit", "limited") > 0);
    let part = site.part("BTC-USD", "okx");
    assert_eq!(part["used"], true, "REST keeps its vote: {part}");
    okx.heal();
    bybit.heal();
    site.until_well();
    let price = cost("BTC", "USD").expect("priced");
    watch.was_live_within(price, price, 0.001);
    site.assert_no_violations();
}

#[test]
fn rest_that_hangs_refuses_or_talks_nonsense_costs_nothing_while_streams_are_well() {
    let symbols: Vec<_> = FEW.into_iter().chain(["SOL-USD"]).collect();
    // Nobody streams it, so that REST is asked for it.
    let site = Plan::ten()
        .only(&symbols)
        .sql("UPDATE symbols SET streamed = 0 WHERE name = 'SOL-USD'")
        .quoting(&symbols)
        .start();
    site.until_well();
    let cases = [
        ("coinbase", Fault::RestHang, "timed_out"),
        ("kraken", Fault::RestRefuse, "failed"),
        ("bitstamp", Fault::RestGarbage, "refused"),
        ("gemini", Fault::RestHuge(2 << 20), "failed"),
        (
            "cryptocom",
            Fault::RestStatus {
                status: 503,
                retry_after: None,
            },
            "refused",
        ),
    ];
    for (venue, fault, _) in cases {
        site.sim(venue).fault(fault);
    }
    let watch = Watch::of(&site, "BTC-USD");
    for (venue, fault, result) in cases {
        eventually(venue, || {
            let price = site.price("SOL-USD");
            assert_eq!(price.status.name(), "NO_PRICE");
            ok(site.rest(venue, result) > 0).ok_or(price)
        });
        eprintln!("{venue} with {fault:?}: {result}");
    }
    assert_eq!(site.sims.iter().map(|sim| site.up(sim.venue())).sum::<u64>(), 10);
    for (venue, ..) in cases {
        site.sim(venue).heal();
    }
    let ((), took) = eventually("it is fetched", || {
        let price = site.price("SOL-USD");
        ok(price.status.name() == "LIVE").ok_or(price)
    });
    eprintln!("fetched {took:?} after REST was well again");
    let price = cost("BTC", "USD").expect("priced");
    let seen = watch.was_live_within(price, price, 0.001);
    assert_eq!(usize::from(seen.fewest), site.sims.len(), "{seen:?}");
}
