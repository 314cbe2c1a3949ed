//! When everything is gone: all venues at once, and the process itself.

use trinity_beast::clock;
use trinity_protocol::PriceStatus;

use crate::sim::Fault;
use crate::site::{FEW, Plan, Site, eventually, ok, query};
use crate::watch::Watch;

const THREE: [&str; 3] = ["kraken", "coinbase", "bitstamp"];

/// Three venues; bitcoin is stale after three seconds and gone after seven.
fn short_lived() -> Site {
    let site = Plan::of(&THREE)
        .only(&FEW)
        .sql("UPDATE symbols SET max_age_ms = 3000, hard_age_ms = 7000 WHERE name = 'BTC-USD'")
        .quoting(&FEW)
        .start();
    site.until_well();
    site
}

fn until(site: &Site, status: PriceStatus) {
    let (_, took) = eventually(status.name(), || {
        let price = site.price("BTC-USD");
        ok(price.status == status).ok_or(price)
    });
    eprintln!("{} after {took:?}", status.name());
}

#[test]
fn when_every_venue_is_gone_prices_grow_stale_and_end_and_come_back_by_themselves() {
    let site = short_lived();
    let watch = Watch::of(&site, "BTC-USD");
    for (sim, fault) in site
        .sims
        .iter()
        .zip([Fault::Mute, Fault::HeartbeatsOnly, Fault::RefuseConnect])
    {
        sim.fault(Fault::RestHang);
        sim.fault(fault);
    }
    site.sim("bitstamp").fault(Fault::Drop { close_frame: false });
    until(&site, PriceStatus::Stale);
    until(&site, PriceStatus::NoPrice);
    let (status, body) = site.http_price("BTC-USD");
    assert_eq!(
        (status, &body["status"], &body["price"]),
        (200, &"NO_PRICE".into(), &().into()),
        "{body}"
    );
    eventually("readiness tells", || {
        let (status, said) = site.ready();
        ok(status == 503 && said.contains_key("market")).ok_or((status, said))
    });
    for sim in &site.sims {
        sim.heal();
    }
    until(&site, PriceStatus::Live);
    site.until_well();
    assert_eq!(site.ready().0, 200);
    let seen = watch.end();
    let order: Vec<_> = seen.story.iter().map(|(_, status)| *status).collect();
    assert_eq!(order.first(), Some(&"LIVE"), "{seen:?}");
    assert!(
        order
            .iter()
            .all(|status| ["LIVE", "THIN", "STALE", "NO_PRICE"].contains(status)),
        "{seen:?}"
    );
    // Never an old price in the clothes of a new one, whatever the machine was doing.
    assert!(seen.oldest_ms <= 3_000, "{seen:?}");
    eprintln!("{seen:?}");
}

#[test]
fn a_killed_server_begins_anew_from_its_directory() {
    let mut site = short_lived();
    let markets = THREE.map(|venue| format!("--market={venue}={venue}-X"));
    for venue in THREE {
        site.sim(venue).set_quote(&format!("{venue}-X"), "1.50", "1.52");
    }
    let mut words = vec![
        "X-USD",
        "--exponent=-8",
        "--tick=0.01",
        "--max-age-ms=600000",
        "--alias=EX",
    ];
    words.extend(markets.iter().map(String::as_str));
    site.symbols("add", &words);
    eventually("it is live", || {
        let price = site.price("X-USD");
        ok(price.status == PriceStatus::Live).ok_or(price)
    });
    for round in 0..2 {
        site.server.kill();
        eventually("the venues see it go", || {
            let open: usize = site.sims.iter().map(|sim| sim.stats().open).sum();
            ok(open == 0).ok_or(open)
        });
        let began = clock::monotonic();
        site.restart();
        site.until_well();
        eprintln!(
            "round {round}: well {:?} after it was started again",
            began.elapsed()
        );
        // Known at once, by every name, and priced as soon as the venues have told.
        assert_ne!(site.price("EX").status, PriceStatus::UnknownSymbol);
        for venue in THREE {
            site.sim(venue).set_quote(&format!("{venue}-X"), "1.50", "1.52");
        }
        eventually("what was added is there", || {
            let price = site.price("X-USD");
            ok(price.status == PriceStatus::Live).ok_or(price)
        });
    }
    site.assert_no_violations();
}

#[test]
fn a_server_ends_within_seconds_however_its_venues_hang() {
    let mut site = short_lived();
    let faults = [Fault::Mute, Fault::HalfOpen, Fault::HeartbeatsOnly];
    for (sim, fault) in site.sims.iter().zip(faults) {
        sim.fault(Fault::RestHang);
        sim.fault(fault);
    }
    // Until requests are under way that will not be answered.
    eventually("REST is asked in vain", || {
        let asked: u64 = site.sims.iter().map(|sim| sim.stats().rest_calls).sum();
        ok(asked >= 3).ok_or(asked)
    });
    assert_eq!(
        site.client()
            .prices(&[query("NOPE-USD")])
            .expect("answered")
            .prices
            .len(),
        1
    );
    let began = clock::monotonic();
    let status = site.server.terminate();
    eprintln!("ended {:?} after SIGTERM", began.elapsed());
    assert!(status.success(), "{}", site.server.said());
}
