//! Symbols of a running server: added, changed, renamed, retired, broken and repaired, without a
//! restart.

use trinity_beast::clock;
use trinity_protocol::PriceStatus;

use crate::site::{FEW, Plan, RHYTHM, Site, cost, eventually, ok};
use crate::watch::Watch;

/// Three venues, and a market of each that no symbol is priced by yet.
const VENUES: [(&str, &str); 3] = [
    ("kraken", "NEW/USD"),
    ("coinbase", "NEW-USD"),
    ("bitstamp", "newusd"),
];

fn site() -> Site {
    let plan = Plan::of(&VENUES.map(|(venue, _)| venue)).only(&FEW).quoting(&FEW);
    for (venue, instrument) in VENUES {
        plan.sim(venue).set_quote(instrument, "12.3450", "12.3460");
        plan.sim(venue).auto(RHYTHM);
    }
    let site = plan.start();
    site.until_well();
    site
}

fn add(site: &Site) {
    let markets = VENUES.map(|(venue, instrument)| format!("--market={venue}={instrument}"));
    let mut words = vec!["NEW-USD", "--exponent=-8", "--tick=0.0001"];
    words.extend(markets.iter().map(String::as_str));
    site.symbols("add", &words);
    until(site, "NEW-USD", PriceStatus::Live);
}

fn until(site: &Site, name: &str, status: PriceStatus) {
    let (_, took) = eventually(name, || {
        let price = site.price(name);
        ok(price.status == status).ok_or(price)
    });
    eprintln!("{name} is {} after {took:?}", status.name());
}

fn until_subscribed(site: &Site, times: usize) {
    for (venue, instrument) in VENUES {
        eventually(venue, || {
            let stats = site.sim(venue).stats();
            ok(stats.subscribed(instrument) == times).ok_or(stats.subscriptions)
        });
    }
}

#[test]
fn a_symbol_that_is_added_is_streamed_and_live_without_a_restart() {
    let site = site();
    let watch = Watch::of(&site, "BTC-USD");
    assert_eq!(site.price("NEW-USD").status, PriceStatus::UnknownSymbol);
    assert_eq!(
        (site.http_price("NEW-USD").0, site.listed("NEW-USD")),
        (404, None)
    );
    until_subscribed(&site, 0);
    let opened: Vec<_> = site.sims.iter().map(|sim| sim.stats().opened).collect();

    add(&site);
    until_subscribed(&site, 1);
    let (_, _) = eventually("the web knows it", || {
        let (status, body) = site.http_price("NEW-USD");
        ok(status == 200 && body["status"] == "LIVE").ok_or(body)
    });
    eventually("it is listed", || {
        let listed = site.listed("NEW-USD");
        ok(listed.as_ref().is_some_and(|listed| listed["status"] == "LIVE")).ok_or(listed)
    });
    // All three, once the slowest has confirmed.
    eventually("every venue votes", || {
        let price = site.price("NEW-USD");
        ok(price.venues == 3).ok_or(price)
    });
    // On the connections that were there.
    let after: Vec<_> = site.sims.iter().map(|sim| sim.stats().opened).collect();
    assert_eq!(opened, after);

    site.symbols("retire", &["NEW-USD"]);
    until(&site, "NEW-USD", PriceStatus::UnknownSymbol);
    until_subscribed(&site, 0);
    eventually("the web does not know it", || {
        ok(site.http_price("NEW-USD").0 == 404 && site.listed("NEW-USD").is_none())
            .ok_or(site.listed("NEW-USD"))
    });
    site.symbols("retire", &["NEW-USD", "--undo"]);
    until(&site, "NEW-USD", PriceStatus::Live);
    until_subscribed(&site, 1);

    let price = cost("BTC", "USD").expect("priced");
    let seen = watch.was_live_within(price, price, 0.001);
    assert_eq!(seen.fewest, 3, "the others never noticed: {seen:?}");
    site.assert_no_violations();
}

#[test]
fn a_symbol_that_is_changed_follows_without_a_restart() {
    let site = site();
    add(&site);
    site.symbols("set", &["NEW-USD", "--no-market=kraken", "--min-sources=2"]);
    eventually("a market less", || {
        let price = site.price("NEW-USD");
        ok(price.venues == 2 && price.status == PriceStatus::Live).ok_or(price)
    });
    assert!(
        site.sim("kraken")
            .wait(crate::site::PATIENCE, |stats| stats.subscribed("NEW/USD") == 0)
    );
    site.symbols("set", &["NEW-USD", "--market=kraken=NEW/USD", "--min-sources=3"]);
    eventually("a market more", || {
        let price = site.price("NEW-USD");
        ok(price.venues == 3 && price.status == PriceStatus::Live).ok_or(price)
    });
    // One venue fewer than it asks for is thin, and two are enough again.
    site.sim("kraken").fault(crate::sim::Fault::RestHang);
    site.sim("kraken").fault(crate::sim::Fault::Mute);
    until(&site, "NEW-USD", PriceStatus::Thin);
    site.symbols("set", &["NEW-USD", "--min-sources=2"]);
    until(&site, "NEW-USD", PriceStatus::Live);

    site.symbols("set", &["NEW-USD", "--exponent=-6", "--tick=0.01"]);
    eventually("the exponent is another", || {
        let price = site.price("NEW-USD");
        ok(price.exponent == -6 && price.status == PriceStatus::Live && price.mantissa / 100_000 == 123)
            .ok_or(price)
    });
    let (_, body) = site.http_price("NEW-USD");
    assert_eq!(
        (&body["exponent"], &body["status"]),
        (&(-6).into(), &"LIVE".into()),
        "{body}"
    );
}

#[test]
fn an_alias_is_known_until_its_end_and_not_after_it() {
    let site = site();
    add(&site);
    site.symbols("alias", &["NEW-USD", "NOVA", "--until=2099-12-31"]);
    until(&site, "NOVA", PriceStatus::Live);
    assert_eq!(site.http_price("nova").1["symbol"], "NEW-USD");
    assert!(
        site.listed("NEW-USD")
            .is_some_and(|listed| listed["aliases"].to_string().contains("NOVA"))
    );
    // An end that comes while the server runs, and that nobody has to tell it of.
    let end_ns = clock::unix_nanos() + 3_000_000_000;
    let ledger = rusqlite::Connection::open(site.ledger()).expect("opened");
    let sql = "UPDATE symbol_aliases SET until_ns = ? WHERE alias = 'NOVA'";
    assert_eq!(ledger.execute(sql, [end_ns as i64]).expect("changed"), 1);
    until(&site, "NOVA", PriceStatus::UnknownSymbol);
    assert!(clock::unix_nanos() >= end_ns, "not before its end");
    site.symbols("alias", &["NEW-USD", "NEUE"]);
    until(&site, "NEUE", PriceStatus::Live);
    site.symbols("alias", &["NEW-USD", "NEUE", "--end"]);
    until(&site, "NEUE", PriceStatus::UnknownSymbol);
    assert_eq!(site.price("NEW-USD").status, PriceStatus::Live);
}

#[test]
fn symbols_that_make_no_table_are_told_and_the_last_good_ones_serve() {
    let site = site();
    add(&site);
    let watch = Watch::of(&site, "BTC-USD");
    let ledger = rusqlite::Connection::open(site.ledger()).expect("opened");
    let routes = |routes: &str| {
        let sql = "UPDATE symbols SET routes = ? WHERE name = 'NEW-USD'";
        assert_eq!(ledger.execute(sql, [routes]).expect("changed"), 1);
    };
    routes("NOWHERE-USD");
    let (said, took) = eventually("it is told", || {
        let (status, said) = site.ready();
        assert_eq!(status, 200, "{said:?}");
        said.get("symbols").cloned().ok_or(said)
    });
    eprintln!("told after {took:?}: {said}");
    assert!(said.contains("NEW-USD") && said.contains("NOWHERE-USD"), "{said}");
    assert_eq!(site.price("NEW-USD").status, PriceStatus::Live);
    routes("");
    eventually("it is repaired", || {
        let (_, said) = site.ready();
        ok(!said.contains_key("symbols")).ok_or(said)
    });
    // And it is followed again.
    site.symbols("set", &["NEW-USD", "--exponent=-7"]);
    eventually("a change is followed", || {
        let price = site.price("NEW-USD");
        ok(price.exponent == -7 && price.status == PriceStatus::Live).ok_or(price)
    });
    let price = cost("BTC", "USD").expect("priced");
    watch.was_live_within(price, price, 0.001);
}
