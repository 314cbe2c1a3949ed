//! What the market promises about a price, rule by rule, through the engine's public face.

mod support {
    pub(crate) mod test_market;
}

use support::test_market::{TestMarket, decimal, ns, venue_id};
use trinity_beast::market::{Disposition, Quote, RejectReason, StatusRule, SymbolTable};
use trinity_protocol::{PriceFlags, PriceStatus};

const MAX_AGE_MS: u64 = 15_000;
const HARD_AGE_MS: u64 = 300_000;

fn two_venues(ms: u64, price: &str) -> TestMarket {
    let mut market = TestMarket::new();
    market
        .last(ms, "coinbase", "BTC-USD", price)
        .expect("a good quote");
    market.last(ms, "kraken", "BTC/USD", price).expect("a good quote");
    market.tick(ms);
    market
}

#[test]
fn a_quote_that_cannot_be_true_is_refused_by_name_and_counted() {
    let mut market = TestMarket::new();
    let blank = market.blank(10_000, "coinbase", "BTC-USD");
    let price = Some(decimal("20000"));
    let refused = [
        (blank, RejectReason::NoPrice),
        (Quote { bid: price, ..blank }, RejectReason::NoPrice),
        (
            Quote {
                last: Some(decimal("0")),
                ..blank
            },
            RejectReason::NotPositive,
        ),
        (
            Quote {
                last: Some(decimal("-1")),
                ..blank
            },
            RejectReason::NotPositive,
        ),
        (
            Quote {
                bid: Some(decimal("-1")),
                ask: price,
                last: price,
                ..blank
            },
            RejectReason::NotPositive,
        ),
        (
            Quote {
                last: Some(decimal("1e-30")),
                ..blank
            },
            RejectReason::NotPositive,
        ),
        (
            Quote {
                last: Some(decimal("1e30")),
                ..blank
            },
            RejectReason::OutOfRange,
        ),
        (
            Quote {
                bid: Some(decimal("20000.01")),
                ask: price,
                ..blank
            },
            RejectReason::CrossedBook,
        ),
        (
            Quote {
                last: price,
                confidence: Some(decimal("-0.1")),
                ..blank
            },
            RejectReason::NegativeConfidence,
        ),
        (
            Quote {
                last: price,
                confidence: Some(decimal("20001")),
                ..blank
            },
            RejectReason::ConfidenceTooWide,
        ),
        (
            Quote {
                last: price,
                confidence: Some(decimal("1e40")),
                ..blank
            },
            RejectReason::ConfidenceTooWide,
        ),
        (
            Quote {
                last: price,
                venue_time_ns: Some(ns(15_001)),
                ..blank
            },
            RejectReason::VenueTimeAhead,
        ),
        (
            Quote {
                last: price,
                receive_time_ns: ns(30_000),
                venue_time_ns: Some(ns(14_999)),
                ..blank
            },
            RejectReason::VenueTimeTooOld,
        ),
    ];
    for (quote, reason) in &refused {
        let before = market.engine.rejected(venue_id("coinbase"), *reason);
        assert_eq!(market.engine.on_quote(quote), Err(*reason), "{quote:?}");
        assert_eq!(market.engine.rejected(venue_id("coinbase"), *reason), before + 1);
    }
    assert_eq!(market.engine.taken(venue_id("coinbase")), 0);
    assert!(
        market.tick(20_000).is_empty(),
        "nothing refused is ever published"
    );
    assert_eq!(
        market.explain_venue("BTC-USD", "coinbase").last_reject,
        Some(RejectReason::VenueTimeTooOld)
    );
}

#[test]
fn a_quote_that_is_no_newer_than_what_is_known_is_refused() {
    let mut market = TestMarket::new();
    let quote = Quote {
        last: Some(decimal("20000")),
        sequence: Some(7),
        venue_time_ns: Some(ns(9_990)),
        ..market.blank(10_000, "coinbase", "BTC-USD")
    };
    assert_eq!(market.engine.on_quote(&quote), Ok(()));
    assert_eq!(
        market.engine.on_quote(&quote),
        Err(RejectReason::Repeated),
        "the same again"
    );
    let corrected = Quote {
        last: Some(decimal("20001")),
        ..quote
    };
    assert_eq!(
        market.engine.on_quote(&corrected),
        Err(RejectReason::OldSequence),
        "something else under the same number"
    );
    let older = Quote {
        sequence: Some(6),
        ..quote
    };
    assert_eq!(market.engine.on_quote(&older), Err(RejectReason::OldSequence));
    let next = Quote {
        sequence: Some(8),
        ..quote
    };
    let backwards = Quote {
        venue_time_ns: Some(ns(9_989)),
        ..next
    };
    assert_eq!(
        market.engine.on_quote(&backwards),
        Err(RejectReason::VenueTimeBackwards)
    );
    let backwards = Quote {
        receive_time_ns: ns(9_999),
        ..next
    };
    assert_eq!(
        market.engine.on_quote(&backwards),
        Err(RejectReason::ReceiveTimeBackwards)
    );
    assert_eq!(
        market.engine.on_quote(&next),
        Ok(()),
        "none of them moved the marks"
    );

    market.engine.forget_sequences(venue_id("coinbase"));
    let restarted = Quote {
        sequence: Some(1),
        ..next
    };
    assert_eq!(
        market.engine.on_quote(&restarted),
        Ok(()),
        "a new connection may count anew"
    );
}

#[test]
fn a_book_gives_its_mid_and_half_its_spread_and_a_trade_the_floor_of_one_unit() {
    let mut market = TestMarket::new();
    market
        .book(0, "coinbase", "BTC-USD", "20000.01", "20000.04")
        .expect("a good book");
    let price = market.price_at(0, "BTC");
    assert_eq!((price.mantissa, price.confidence), (2_000_002_500_000, 1_500_000));
    market
        .last(0, "kraken", "XBT/USD", "20000.5")
        .expect("a good trade");
    market.tick(0);
    let kraken = market.explain_venue("BTC-USD", "kraken");
    assert_eq!((kraken.price, kraken.confidence), (2_000_050_000_000, 1));
}

#[test]
fn a_trade_does_not_displace_a_fresh_book() {
    let mut market = TestMarket::new();
    market
        .book(0, "coinbase", "BTC-USD", "20000", "20001")
        .expect("a good book");
    assert_eq!(
        market.last(10, "coinbase", "BTC-USD", "20500"),
        Err(RejectReason::BookPreferred)
    );
    assert_eq!(
        market.last(MAX_AGE_MS + 1, "coinbase", "BTC-USD", "20500"),
        Ok(()),
        "the book is too old by then"
    );
}

#[test]
fn one_venue_is_thin_and_two_that_agree_are_live() {
    let mut market = TestMarket::new();
    market
        .last(0, "coinbase", "BTC-USD", "20000")
        .expect("a good quote");
    let price = market.price_at(0, "BTC-USD");
    assert_eq!(
        (price.status, price.venues_used, price.flags),
        (PriceStatus::Thin, 1, PriceFlags::ONE_VENUE)
    );
    assert_eq!(market.explain("BTC-USD").rule, StatusRule::MinSources);
    market
        .last(5, "kraken", "BTC/USD", "20001")
        .expect("a good quote");
    let price = market.price_at(5, "BTC-USD");
    assert_eq!(
        (price.status, price.venues_used, price.flags),
        (PriceStatus::Live, 2, PriceFlags::NONE)
    );
    assert_eq!((price.sequence, price.publish_time_ns), (2, ns(5)));
}

#[test]
fn nothing_is_published_while_nothing_changes() {
    let mut market = two_venues(0, "20000");
    assert!(market.tick(1).is_empty());
    assert!(
        market.tick(MAX_AGE_MS).is_empty(),
        "at exactly the max age it is still fresh"
    );
    let sequence = market.price_at(MAX_AGE_MS, "BTC-USD").sequence;
    market
        .last(MAX_AGE_MS, "coinbase", "BTC-USD", "20000")
        .expect("a good quote");
    let published = market.tick(MAX_AGE_MS);
    assert_eq!(published.len(), 1, "the same price, but younger");
    assert_eq!(published[0].1.sequence, sequence + 1);
}

#[test]
fn a_tether_quote_is_converted_in_the_same_tick_with_its_uncertainty() {
    let mut market = TestMarket::new();
    // All in one tick, and the dependant quoted before its rate.
    market
        .book(0, "binance-us", "BTCUSDT", "20000", "20002")
        .expect("a good book");
    market
        .book(0, "coinbase", "USDT-USD", "1.0010", "1.0012")
        .expect("a good book");
    market
        .book(0, "kraken", "USDT/USD", "1.0010", "1.0012")
        .expect("a good book");
    let price = market.price_at(0, "BTC-USD");
    // 20001 * 1.0011; the three-vote of two equal books keeps half their spread.
    assert_eq!(price.mantissa, 2_002_300_110_000);
    // 1 * 1.0011 + 20001 * 0.0001
    assert_eq!(price.confidence, 300_120_000);
    assert_eq!(price.flags, PriceFlags::DERIVED.with(PriceFlags::ONE_VENUE));
    let part = market.explain_venue("BTC-USD", "binance-us");
    assert_eq!(part.rate, Some(market.symbol("USDT-USD")));
    assert_eq!(part.weight_ppm, 1_000_000);
}

#[test]
fn a_moving_rate_moves_what_is_converted_with_it() {
    let mut market = TestMarket::new();
    market
        .last(0, "binance-us", "BTCUSDT", "20000")
        .expect("a good quote");
    for venue in [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")] {
        market.last(0, venue.0, venue.1, "1").expect("a good quote");
    }
    assert_eq!(market.price_at(0, "BTC-USD").mantissa, 2_000_000_000_000);
    for venue in [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")] {
        market
            .last(1_000, venue.0, venue.1, "0.99")
            .expect("a good quote");
    }
    let price = market.price_at(1_000, "BTC-USD");
    assert_eq!(price.mantissa, 1_980_000_000_000);
    assert_eq!(
        price.publish_time_ns,
        ns(0),
        "the bitcoin quote in it is no younger"
    );
}

#[test]
fn a_venue_has_one_vote_and_its_direct_market_is_preferred() {
    let mut market = TestMarket::new();
    for (venue, spelling) in [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")] {
        market.last(0, venue, spelling, "1").expect("a good quote");
    }
    market
        .last(0, "kraken", "XBT/USDT", "19990")
        .expect("a good quote");
    market
        .last(0, "kraken", "XBT/USD", "20000")
        .expect("a good quote");
    let price = market.price_at(0, "BTC-USD");
    assert_eq!((price.mantissa, price.venues_used), (2_000_000_000_000, 1));
    assert!(!price.flags.contains(PriceFlags::DERIVED));
    market
        .last(MAX_AGE_MS, "kraken", "XBT/USDT", "19990")
        .expect("a good quote");
    let price = market.price_at(MAX_AGE_MS + 1, "BTC-USD");
    assert_eq!(
        price.mantissa, 1_999_000_000_000,
        "the direct quote is too old, the other stands in"
    );
    assert!(price.flags.contains(PriceFlags::DERIVED));
}

#[test]
fn nothing_is_converted_with_a_disputed_or_stale_rate() {
    let mut market = TestMarket::new();
    market.last(0, "coinbase", "USDT-USD", "1").expect("a good quote");
    market.last(0, "kraken", "USDT/USD", "0.8").expect("a good quote");
    market
        .last(0, "binance-us", "BTCUSDT", "20000")
        .expect("a good quote");
    market.tick(0);
    assert_eq!(market.explain("USDT-USD").price.status, PriceStatus::Disputed);
    let part = market.explain_venue("BTC-USD", "binance-us");
    assert_eq!(part.disposition, Disposition::RateUnusable);
    assert_eq!(market.price_at(0, "BTC-USD").status, PriceStatus::NoPrice);

    let mut market = TestMarket::new();
    market.last(0, "coinbase", "USDT-USD", "1").expect("a good quote");
    market
        .last(60_000, "binance-us", "BTCUSDT", "20000")
        .expect("a good quote");
    assert_eq!(market.price_at(60_000, "BTC-USD").status, PriceStatus::Thin);
    market
        .last(60_001, "binance-us", "BTCUSDT", "20001")
        .expect("a good quote");
    let price = market.price_at(60_001, "BTC-USD");
    assert_eq!(market.explain("USDT-USD").price.status, PriceStatus::Stale);
    assert_eq!(
        price.mantissa, 2_000_000_000_000,
        "the last good price is carried"
    );
    assert_eq!(price.status, PriceStatus::Thin);
}

#[test]
fn venues_converted_through_one_venues_rate_do_not_make_a_live_price() {
    let mut market = TestMarket::new();
    market.last(0, "coinbase", "USDT-USD", "1").expect("a good quote");
    market
        .last(0, "binance-us", "BTCUSDT", "20000")
        .expect("a good quote");
    market
        .last(0, "binance", "BTCUSDT", "20000")
        .expect("a good quote");
    let price = market.price_at(0, "BTC-USD");
    assert_eq!((price.status, price.venues_used), (PriceStatus::Thin, 2));
    assert_eq!(market.explain("BTC-USD").rule, StatusRule::ThinRates);
    market.last(1, "kraken", "USDT/USD", "1").expect("a good quote");
    assert_eq!(
        market.price_at(1, "BTC-USD").status,
        PriceStatus::Live,
        "the rate has a second venue now"
    );
}

#[test]
fn an_old_price_is_stale_then_gone_and_never_younger_than_it_is() {
    let mut market = two_venues(0, "20000");
    let live = market.price_at(0, "BTC-USD");
    assert_eq!(live.status, PriceStatus::Live);
    assert_eq!(market.price_at(MAX_AGE_MS, "BTC-USD").status, PriceStatus::Live);
    let stale = market.price_at(MAX_AGE_MS + 1, "BTC-USD");
    assert_eq!(stale.status, PriceStatus::Stale);
    assert_eq!((stale.mantissa, stale.publish_time_ns), (live.mantissa, ns(0)));
    assert_eq!(
        market.explain_venue("BTC-USD", "kraken").disposition,
        Disposition::TooOld
    );
    assert_eq!(market.price_at(HARD_AGE_MS, "BTC-USD").status, PriceStatus::Stale);
    let gone = market.price_at(HARD_AGE_MS + 1, "BTC-USD");
    assert_eq!(
        (gone.status, gone.mantissa, gone.confidence, gone.venues_used),
        (PriceStatus::NoPrice, 0, 0, 0)
    );
    assert_eq!(gone.sequence, live.sequence + 2);
    assert_eq!(market.explain("BTC-USD").rule, StatusRule::HardAge);
}

#[test]
fn a_price_is_thin_as_soon_as_too_few_of_its_venues_are_fresh() {
    let mut market = two_venues(0, "20000");
    market
        .last(10_000, "kraken", "BTC/USD", "20000")
        .expect("a good quote");
    assert_eq!(market.price_at(MAX_AGE_MS, "BTC-USD").status, PriceStatus::Live);
    let price = market.price_at(MAX_AGE_MS + 1, "BTC-USD");
    assert_eq!((price.status, price.venues_used), (PriceStatus::Thin, 1));
}

#[test]
fn a_venue_whose_clock_stands_still_ages_by_it_whatever_it_says() {
    let mut market = TestMarket::new();
    let quote = Quote {
        venue_time_ns: Some(ns(0)),
        ..market.blank(0, "coinbase", "BTC-USD")
    };
    for ms in (0..=MAX_AGE_MS).step_by(1_000) {
        market
            .engine
            .on_quote(&Quote {
                last: Some(decimal(&(20_000 + ms % 7).to_string())),
                receive_time_ns: ns(ms),
                ..quote
            })
            .expect("not yet too old");
    }
    assert_eq!(market.price_at(MAX_AGE_MS, "BTC-USD").status, PriceStatus::Thin);
    market.tick(MAX_AGE_MS + 1);
    assert_eq!(
        market.explain_venue("BTC-USD", "coinbase").disposition,
        Disposition::VenueTimeTooOld
    );
}

#[test]
fn a_jump_is_held_until_a_second_tick_confirms_it() {
    let mut market = two_venues(0, "20000");
    for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
        market
            .last(1_000, venue, spelling, "22000")
            .expect("a good quote");
    }
    let held = market.price_at(1_000, "BTC-USD");
    assert_eq!(
        (held.status, held.mantissa, held.publish_time_ns),
        (PriceStatus::Held, 2_000_000_000_000, ns(0))
    );
    assert_eq!(market.explain("BTC-USD").held_candidate, Some(2_200_000_000_000));
    assert_eq!(
        market.price_at(1_500, "BTC-USD").status,
        PriceStatus::Held,
        "time alone confirms nothing"
    );
    market
        .last(2_000, "kraken", "BTC/USD", "22010")
        .expect("a good quote");
    let confirmed = market.price_at(2_000, "BTC-USD");
    assert_eq!(
        (confirmed.status, confirmed.mantissa),
        (PriceStatus::Live, 2_200_499_999_999 + 1)
    );
    assert_eq!(market.explain("BTC-USD").held_candidate, None);
}

#[test]
fn a_venue_that_falls_silent_confirms_no_jump() {
    let mut market = two_venues(0, "20000");
    market
        .last(0, "bitstamp", "btcusd", "20000")
        .expect("a good quote");
    market.tick(0);
    market
        .last(500, "coinbase", "BTC-USD", "20000")
        .expect("a good quote");
    market.tick(500);
    for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
        market
            .last(1_000, venue, spelling, "22000")
            .expect("a good quote");
    }
    assert_eq!(market.price_at(1_000, "BTC-USD").status, PriceStatus::Held);
    // Bitstamp's quote grows too old: the symbol is evaluated again, without any newer quote.
    let price = market.price_at(MAX_AGE_MS + 1, "BTC-USD");
    assert_eq!(
        market.explain_venue("BTC-USD", "bitstamp").disposition,
        Disposition::TooOld
    );
    assert_eq!(
        (price.status, price.mantissa),
        (PriceStatus::Held, 2_000_000_000_000)
    );
}

#[test]
fn a_jump_that_goes_back_was_never_published() {
    let mut market = two_venues(0, "20000");
    for (at, price) in [(1_000, "30000"), (2_000, "40000"), (3_000, "20100")] {
        for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
            market.last(at, venue, spelling, price).expect("a good quote");
        }
        for (_, published) in market.tick(at) {
            assert!(published.mantissa < 2_050_000_000_000, "{published:?}");
        }
    }
    assert_eq!(market.price_at(3_000, "BTC-USD").status, PriceStatus::Live);
}

#[test]
fn a_held_price_goes_on_ageing_and_after_the_hard_age_the_guard_is_forgotten() {
    let mut market = two_venues(0, "20000");
    for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
        market
            .last(MAX_AGE_MS, venue, spelling, "30000")
            .expect("a good quote");
    }
    assert_eq!(market.price_at(MAX_AGE_MS, "BTC-USD").status, PriceStatus::Held);
    assert_eq!(
        market.price_at(MAX_AGE_MS + 1, "BTC-USD").status,
        PriceStatus::Stale
    );
    let at = HARD_AGE_MS + 1_000;
    market.tick(at);
    for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
        market.last(at, venue, spelling, "35000").expect("a good quote");
    }
    let price = market.price_at(at, "BTC-USD");
    assert_eq!(
        (price.status, price.mantissa),
        (PriceStatus::Live, 3_500_000_000_000)
    );
}

#[test]
fn a_rejected_venue_returns_after_three_quotes_of_its_own_within_half_the_limit() {
    let mut market = TestMarket::new();
    let quote = |market: &mut TestMarket, ms: u64, bitstamp: &str| {
        market
            .last(ms, "coinbase", "BTC-USD", "20000")
            .expect("a good quote");
        market
            .last(ms, "kraken", "BTC/USD", "20001")
            .expect("a good quote");
        market
            .last(ms, "bitstamp", "btcusd", bitstamp)
            .expect("a good quote");
        market.tick(ms);
        market.explain_venue("BTC-USD", "bitstamp")
    };
    assert_eq!(quote(&mut market, 0, "20100").disposition, Disposition::Outlier);
    for (ms, left) in [(1_000, 2), (2_000, 1)] {
        let part = quote(&mut market, ms, "20002");
        assert_eq!(
            (part.disposition, part.probation_left),
            (Disposition::Probation, left)
        );
    }
    // Others tick, the venue is silent: that is no proof of anything.
    market
        .last(2_500, "coinbase", "BTC-USD", "20000")
        .expect("a good quote");
    market.tick(2_500);
    assert_eq!(market.explain_venue("BTC-USD", "bitstamp").probation_left, 1);
    // Within the limit (20), but not within half of it: it begins anew.
    let part = quote(&mut market, 3_000, "20015");
    assert_eq!(
        (part.disposition, part.probation_left),
        (Disposition::Probation, 3)
    );
    for ms in [4_000, 5_000, 6_000] {
        assert_eq!(
            quote(&mut market, ms, "20002").disposition,
            Disposition::Probation
        );
    }
    assert_eq!(quote(&mut market, 7_000, "20002").disposition, Disposition::Used);
}

#[test]
fn two_venues_in_contradiction_are_disputed_and_shake_neither_the_guard_nor_the_good_price() {
    let mut market = two_venues(0, "20000");
    market
        .last(1_000, "kraken", "BTC/USD", "25000")
        .expect("a good quote");
    let disputed = market.price_at(1_000, "BTC-USD");
    assert_eq!(
        (disputed.status, disputed.venues_used),
        (PriceStatus::Disputed, 2)
    );
    assert!(
        disputed.confidence >= 250_000_000_000,
        "the confidence shows the gap"
    );
    market
        .last(2_000, "kraken", "BTC/USD", "20010")
        .expect("a good quote");
    let price = market.price_at(2_000, "BTC-USD");
    assert_eq!(
        price.status,
        PriceStatus::Live,
        "back at once: nobody was put on probation"
    );
}

#[test]
fn a_new_pass_forgets_the_market_but_sequences_go_on_rising() {
    let mut market = two_venues(100_000, "20000");
    let before = market.price_at(100_000, "BTC-USD");
    market.engine.reset_for_new_pass();
    market
        .last(0, "coinbase", "BTC-USD", "90000")
        .expect("the clock begins anew");
    let published = market.tick(0);
    assert_eq!(published.len(), 1);
    let (_, price) = published[0];
    assert_eq!(
        (price.mantissa, price.status),
        (9_000_000_000_000, PriceStatus::Thin),
        "no guard from before"
    );
    assert_eq!(price.sequence, before.sequence + 1);
    market.engine.reset_for_new_pass();
    let (_, gone) = market.tick(0)[0];
    assert_eq!(
        (gone.status, gone.mantissa, gone.sequence),
        (PriceStatus::NoPrice, 0, before.sequence + 2)
    );
}

#[test]
fn a_venue_that_quotes_lots_of_a_thousand_is_read_by_its_unit() {
    let rows = "SHIB-USD SHIB USD -12 0.00000001 1 15000 300000 500 500 - SHIB coinbase=1000SHIB-USD*1e-3";
    let table = SymbolTable::builder()
        .and_then(|builder| builder.rows("test", rows))
        .and_then(trinity_beast::market::SymbolTableBuilder::build);
    let mut market = TestMarket::on(table.expect("the rows are good"));
    market
        .book(0, "coinbase", "1000SHIB-USD", "0.01", "0.0102")
        .expect("a good book");
    let price = market.price_at(0, "SHIB");
    assert_eq!(
        (price.mantissa, price.confidence, price.exponent),
        (10_100_000, 100_000, -12)
    );
}

#[test]
fn a_tick_allocates_nothing() {
    let mut market = two_venues(0, "20000");
    let quotes: Vec<_> = [
        ("coinbase", "BTC-USD"),
        ("kraken", "BTC/USD"),
        ("coinbase", "USDT-USD"),
        ("kraken", "USDT/USD"),
    ]
    .into_iter()
    .map(|(venue, spelling)| market.blank(0, venue, spelling))
    .collect();
    let mut published = 0_u32;
    let measured = allocation_counter::measure(|| {
        for round in 1..=1_000_u64 {
            for (i, quote) in quotes.iter().enumerate() {
                let price =
                    trinity_beast::market::decimal::Decimal::new(20_000_000 + round as i64 + i as i64, -3);
                let quote = Quote {
                    last: Some(price),
                    receive_time_ns: ns(round * 20),
                    ..*quote
                };
                market.engine.on_quote(&quote).expect("a good quote");
            }
            market.engine.tick(ns(round * 20), &mut |_, _| published += 1);
        }
    });
    assert_eq!(measured.count_total, 0);
    assert!(published > 1_000, "{published} prices changed");
}
