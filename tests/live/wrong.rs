//! Quotes that are well-formed and wrong: they are turned away by name, counted, never published.

use crate::sim::Fault;
use crate::site::{Site, cost, eventually, ok};
use crate::watch::Watch;

#[test]
fn wild_prices_are_named_and_never_published() {
    let site = Site::of_ten();
    let watch = Watch::of(&site, "BTC-USD");
    // By how much, and what becomes of the quote: too large for 64 bits, or far from the others.
    let cases = [
        ("kraken", 8, "out_of_range"),
        ("okx", -8, "beyond_cap"),
        ("gate", 1, "beyond_cap"),
        ("bybit", -1, "beyond_cap"),
    ];
    for (venue, power, _) in cases {
        site.sim(venue).fault(Fault::Wild(power));
    }
    for (venue, power, reason) in cases {
        eventually(venue, || {
            let part = site.part("BTC-USD", venue);
            let named = part["reason"] == reason || part["last_reject"] == reason;
            ok(named && part["weight"].as_str() == Some("0.000000")).ok_or(part)
        });
        eprintln!("{venue} at 1e{power}: {reason}");
    }
    assert!(site.rejected("kraken", "out_of_range") > 0);
    for (venue, ..) in cases {
        site.sim(venue).heal();
    }
    site.until_well();
    let price = cost("BTC", "USD").expect("priced");
    watch.was_live_within(price, price, 0.001);
}

#[test]
fn crossed_books_and_wrong_clocks_are_turned_away_by_name_and_a_clock_a_second_ahead_is_not() {
    let site = Site::of_ten();
    let watch = Watch::of(&site, "BTC-USD");
    let cases = [
        ("coinbase", Fault::Crossed, "crossed_book"),
        ("okx", Fault::ClockSkew(6_000), "venue_time_ahead"),
        ("kraken", Fault::ClockSkew(-20_000), "venue_time_too_old"),
    ];
    for (venue, fault, _) in cases {
        site.sim(venue).fault(fault);
    }
    // Its REST tells no time, and would vote in its place.
    site.sim("kraken").fault(Fault::RestHang);
    // Seen in the wild: everything 1.2 s ahead of the local clock.
    site.sim("bybit").fault(Fault::ClockSkew(1_200));
    for (venue, fault, reason) in cases {
        eventually(venue, || {
            let part = site.part("BTC-USD", venue);
            let count = site.rejected(venue, reason);
            ok(part["last_reject"] == reason && count > 0 && part["used"] == false).ok_or((part, count))
        });
        eprintln!("{venue} with {fault:?}: {reason}");
    }
    let ahead = site.part("BTC-USD", "bybit");
    assert_eq!((&ahead["used"], site.up("bybit")), (&true.into(), 1), "{ahead}");
    assert_eq!(site.rejected("bybit", "venue_time_ahead"), 0);
    for (venue, ..) in cases {
        site.sim(venue).heal();
    }
    site.until_well();
    let price = cost("BTC", "USD").expect("priced");
    watch.was_live_within(price, price, 0.001);
}
