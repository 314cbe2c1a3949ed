//! What holds for any quotes whatever.

mod support {
    pub(crate) mod test_market;
}

use std::sync::Arc;

use proptest::prelude::*;
use support::test_market::{TestMarket, decimal, ns, venue_id};
use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::{AggregatedPrice, MarketEngine, MarketId, Quote, SymbolId, SymbolTable};
use trinity_protocol::PriceStatus;

const MARKETS: [(&str, &str); 9] = [
    ("coinbase", "BTC-USD"),
    ("coinbase", "BTC-USDT"),
    ("kraken", "XBT/USD"),
    ("bitstamp", "btcusd"),
    ("binance-us", "BTCUSDT"),
    ("binance", "BTCUSDT"),
    ("coinbase", "USDT-USD"),
    ("kraken", "USDT/USD"),
    ("kraken", "USDC/USD"),
];

fn play(table: &Arc<SymbolTable>, ticks: &[Vec<Quote>]) -> Vec<(SymbolId, AggregatedPrice)> {
    let mut engine = MarketEngine::new(Arc::clone(table));
    let mut published = Vec::new();
    for quotes in ticks {
        for quote in quotes {
            let _ = engine.on_quote(quote);
        }
        if let Some(quote) = quotes.first() {
            engine.tick(quote.receive_time_ns, &mut |symbol, price| {
                published.push((symbol, *price));
            });
        }
    }
    published
}

/// Ticks seconds apart, each with at most one quote of a market (of two, the later must win), and
/// the same shuffled. Some venues' clocks lag, so that votes also end one by one.
fn ticks_and_shuffled() -> impl Strategy<Value = (Vec<Vec<Quote>>, Vec<Vec<Quote>>)> {
    let lag_ms = proptest::option::of(0_u64..15_000);
    let quote = (19_000_i64..21_000, lag_ms);
    let tick = proptest::collection::vec(proptest::option::of(quote), MARKETS.len());
    let pause_ms = prop_oneof![9 => Just(1_000_u64), 1 => 5_000_u64..20_000];
    proptest::collection::vec((pause_ms, tick), 1..30).prop_perturb(|ticks, mut rng| {
        let market = TestMarket::new();
        let mut now_ms = 0;
        let ticks: Vec<Vec<Quote>> = ticks
            .iter()
            .map(|(pause_ms, quotes)| {
                now_ms += pause_ms;
                MARKETS
                    .iter()
                    .zip(quotes)
                    .filter_map(|((venue, spelling), quote)| {
                        let (price, lag_ms) = (*quote)?;
                        let exponent = if spelling.starts_with("USD") { -4 } else { 0 };
                        let blank = market.blank(now_ms, venue, spelling);
                        Some(Quote {
                            last: Some(Decimal::new(price, exponent)),
                            venue_time_ns: lag_ms.map(|lag_ms| blank.receive_time_ns - lag_ms * 1_000_000),
                            ..blank
                        })
                    })
                    .collect()
            })
            .collect();
        let mut shuffled = ticks.clone();
        for quotes in &mut shuffled {
            for i in (1..quotes.len()).rev() {
                quotes.swap(i, rng.random_range(0..=i));
            }
        }
        (ticks, shuffled)
    })
}

fn any_decimal() -> impl Strategy<Value = Decimal> {
    prop_oneof![
        (any::<i64>(), any::<i8>()).prop_map(|(mantissa, exponent)| Decimal::new(mantissa, exponent)),
        (1_i64..=i64::MAX, -12_i8..=2).prop_map(|(mantissa, exponent)| Decimal::new(mantissa, exponent)),
        (1_i64..100_000).prop_map(|mantissa| Decimal::new(mantissa, -2)),
    ]
}

fn any_quote(markets: u32) -> impl Strategy<Value = Quote> {
    let side = || proptest::option::of(any_decimal());
    let time = || prop_oneof![any::<u64>(), (0_u64..400_000).prop_map(ns)];
    (
        0..markets,
        side(),
        side(),
        side(),
        side(),
        proptest::option::of(time()),
        time(),
        proptest::option::of(any::<u64>()),
        any::<bool>(),
    )
        .prop_map(
            |(market, bid, ask, last, confidence, venue_time_ns, receive_time_ns, sequence, fetched)| Quote {
                market: MarketId(market),
                bid,
                ask,
                last,
                confidence,
                venue_time_ns,
                receive_time_ns,
                sequence,
                fetched,
            },
        )
}

proptest! {
    #[test]
    fn the_order_of_quotes_within_a_tick_does_not_matter((ticks, shuffled) in ticks_and_shuffled()) {
        let table = Arc::new(SymbolTable::builtin());
        prop_assert_eq!(play(&table, &ticks), play(&table, &shuffled));
    }

    #[test]
    fn no_quotes_whatever_panic_the_engine_or_make_a_live_price_of_too_few_venues(
        steps in proptest::collection::vec(
            (any_quote(SymbolTable::builtin().markets().len() as u32), 0_u8..8),
            1..120,
        ),
    ) {
        let table = Arc::new(SymbolTable::builtin());
        let mut engine = MarketEngine::new(Arc::clone(&table));
        for (quote, what) in steps {
            let _ = engine.on_quote(&quote);
            match what {
                0..3 => continue,
                3 => { engine.withdraw(quote.market); }
                4 => engine.replace_table(Arc::clone(&table)),
                _ => {}
            }
            let mut published = Vec::new();
            engine.tick(quote.receive_time_ns, &mut |symbol, price| published.push((symbol, *price)));
            for (symbol, price) in published {
                let spec = table.symbol(symbol);
                prop_assert_eq!(price.exponent, spec.exponent);
                prop_assert_eq!(&price, engine.price(symbol));
                if price.status == PriceStatus::NoPrice {
                    prop_assert_eq!((price.mantissa, price.confidence), (0, 0));
                } else {
                    prop_assert!(price.mantissa > 0 && price.confidence >= 1);
                }
                if price.status == PriceStatus::Live {
                    prop_assert!(price.venues_used >= spec.min_sources);
                }
                let _ = engine.explain(symbol);
            }
        }
    }

    #[test]
    fn a_wild_venue_never_reaches_the_price(
        power in prop_oneof![-8_i8..=-1, 1_i8..=8],
        cents in 1_000_000_i64..9_000_000,
        offsets in proptest::collection::vec(-90_i64..=90, 4),
        wild in 0_usize..4,
    ) {
        let mut market = TestMarket::new();
        let venues = [("coinbase", "BTC-USD"), ("kraken", "XBT/USD"), ("bitstamp", "btcusd"), ("binance-us", "BTCUSD")];
        let good: Vec<_> = offsets.iter().map(|offset| cents + offset).collect();
        for (i, (venue, spelling)) in venues.iter().enumerate() {
            let exponent = if i == wild { -2 + power } else { -2 };
            let quote = Quote { last: Some(Decimal::new(good[i], exponent)), ..market.blank(0, venue, spelling) };
            let _ = market.engine.on_quote(&quote);
        }
        let price = market.price_at(0, "BTC-USD");
        prop_assert_eq!((price.status, price.venues_used), (PriceStatus::Live, 3));
        let kept = || good.iter().enumerate().filter(|(i, _)| *i != wild).map(|(_, cents)| cents * 1_000_000);
        prop_assert!(kept().min() <= Some(price.mantissa) && Some(price.mantissa) <= kept().max());
    }
}

/// Plays the quotes of one instant in the order given and in reverse.
fn in_either_order(quotes: &[Quote], begin: impl Fn() -> TestMarket, check: impl Fn(TestMarket)) {
    let reversed: Vec<_> = quotes.iter().rev().copied().collect();
    for quotes in [quotes, &reversed] {
        let mut market = begin();
        for quote in quotes {
            market.engine.on_quote(quote).expect("a good quote");
        }
        check(market);
    }
}

#[test]
fn a_quote_that_waited_for_its_rate_confirms_no_jump_of_its_own_instant_in_any_order() {
    let begin = || {
        let mut market = TestMarket::new();
        for (venue, spelling) in [("coinbase", "BTC-USD"), ("kraken", "BTC/USD")] {
            market.last(0, venue, spelling, "20000").expect("a good quote");
        }
        market.tick(0);
        market
    };
    let last = |venue, spelling| Quote {
        last: Some(decimal("22000")),
        ..TestMarket::new().blank(1_000, venue, spelling)
    };
    // The third quote has no rate yet, so it has no part in the jump that is held.
    let jump = [
        last("coinbase", "BTC-USD"),
        last("kraken", "BTC/USD"),
        last("binance", "BTCUSDT"),
    ];
    in_either_order(&jump, begin, |mut market| {
        assert_eq!(market.price_at(1_000, "BTC-USD").status, PriceStatus::Held);
        for (venue, spelling) in [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")] {
            market.last(2_000, venue, spelling, "1").expect("a good quote");
        }
        let held = market.price_at(2_000, "BTC-USD");
        assert!(market.explain_venue("BTC-USD", "binance").disposition.is_used());
        assert_eq!(
            (held.status, held.mantissa),
            (PriceStatus::Held, 2_000_000_000_000)
        );
        market
            .last(3_000, "binance", "BTCUSDT", "22000")
            .expect("a good quote");
        assert_eq!(market.price_at(3_000, "BTC-USD").status, PriceStatus::Live);
    });
}

#[test]
fn two_markets_of_a_venue_pay_one_instant_of_its_probation_once_in_any_order() {
    let begin = || {
        let mut market = TestMarket::new();
        for (venue, spelling, price) in [
            ("coinbase", "USDT-USD", "1"),
            ("kraken", "USDT/USD", "1"),
            ("kraken", "BTC/USD", "20000"),
            ("bitstamp", "btcusd", "20001"),
            ("coinbase", "BTC-USD", "30000"),
        ] {
            market.last(0, venue, spelling, price).expect("a good quote");
        }
        market.tick(0);
        assert_eq!(market.explain_venue("BTC-USD", "coinbase").probation_left, 3);
        market
    };
    let good = |spelling| Quote {
        last: Some(decimal("20000")),
        ..TestMarket::new().blank(1_000, "coinbase", spelling)
    };
    // By the venue's clock the direct quote is nearly too old; the other one then takes its place.
    let direct = Quote {
        venue_time_ns: Some(ns(1_000) - 14_000 * 1_000_000),
        ..good("BTC-USD")
    };
    in_either_order(&[direct, good("BTC-USDT")], begin, |mut market| {
        market.tick(1_000);
        let part = market.explain_venue("BTC-USD", "coinbase");
        assert_eq!((part.rate, part.probation_left), (None, 2));
        market.tick(3_000);
        let part = market.explain_venue("BTC-USD", "coinbase");
        assert!(part.rate.is_some(), "the direct quote is too old");
        assert_eq!(part.probation_left, 2);
    });
}

#[test]
fn extremes_that_fit_are_priced_and_those_that_do_not_are_refused() {
    let mut market = TestMarket::new();
    market
        .last(0, "coinbase", "BTC-USD", "92233720368.54775807")
        .expect("the largest that fits");
    market
        .last(0, "kraken", "XBT/USD", "92233720368.54775807")
        .expect("the largest that fits");
    assert!(market.last(0, "bitstamp", "btcusd", "92233720369").is_err());
    let price = market.price_at(0, "BTC-USD");
    // 18 digits are kept of a venue's number.
    assert_eq!(
        (price.mantissa, price.status),
        (9_223_372_036_854_775_800, PriceStatus::Live)
    );
    // Converted through a rate of as much again it cannot fit, and the vote is refused as that.
    market
        .last(0, "binance-us", "BTCUSDT", "92233720368")
        .expect("fits by itself");
    for (venue, spelling) in [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")] {
        let quote = Quote {
            last: Some(decimal("92233720368")),
            ..market.blank(0, venue, spelling)
        };
        market.engine.on_quote(&quote).expect("fits by itself");
    }
    market.tick(0);
    assert_eq!(
        market.explain_venue("BTC-USD", "binance-us").disposition,
        trinity_beast::market::Disposition::OutOfRange
    );
    assert_eq!(market.engine.taken(venue_id("binance-us")), 1);
}
