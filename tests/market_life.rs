//! What the engine does with quotes beyond their price: those that repeat, fall silent, were
//! fetched or came through a coin off its peg, and with a new table under them.

mod support {
    pub(crate) mod test_market;
}

use std::sync::Arc;

use support::test_market::{TestMarket, decimal, ns, venue_id};
use trinity_beast::market::{
    Disposition, Quote, RejectReason, StatusRule, SymbolTable, SymbolTableBuilder, VenueExplanation,
};
use trinity_protocol::{PriceFlags, PriceStatus};

const MAX_AGE_MS: u64 = 15_000;
const HARD_AGE_MS: u64 = 300_000;

/// Each venue's market of the pair, all quoting the price.
fn quote_all(market: &mut TestMarket, ms: u64, venues: &[(&str, &str)], price: &str) {
    for (venue, spelling) in venues {
        market.last(ms, venue, spelling, price).expect("a good quote");
    }
}

const TWO: [(&str, &str); 2] = [("coinbase", "BTC-USD"), ("kraken", "XBT/USD")];
const THREE: [(&str, &str); 3] = [
    ("coinbase", "BTC-USD"),
    ("kraken", "XBT/USD"),
    ("bitstamp", "btcusd"),
];
const TETHER: [(&str, &str); 2] = [("coinbase", "USDT-USD"), ("kraken", "USDT/USD")];

#[test]
fn a_quote_that_repeats_the_last_one_of_its_kind_makes_nothing_younger() {
    for (venue_time, sequence) in [(true, None), (false, Some(7)), (true, Some(7))] {
        let mut market = TestMarket::new();
        let quote = Quote {
            bid: Some(decimal("20000")),
            ask: Some(decimal("20001")),
            last: Some(decimal("20000.5")),
            venue_time_ns: venue_time.then(|| ns(0)),
            sequence,
            ..market.blank(0, "coinbase", "BTC-USD")
        };
        market.engine.on_quote(&quote).expect("news");
        for ms in [1_000, 7_000, 14_999] {
            let again = Quote {
                receive_time_ns: ns(ms),
                ..quote
            };
            assert_eq!(market.engine.on_quote(&again), Err(RejectReason::Repeated));
        }
        assert_eq!(market.engine.last_heard_ns(quote.market), Some(ns(0)));
        assert_eq!(
            market.price_at(MAX_AGE_MS, "BTC-USD").publish_time_ns,
            ns(0),
            "no younger for being repeated"
        );
        let price = market.price_at(MAX_AGE_MS + 1, "BTC-USD");
        assert_eq!(price.status, PriceStatus::Stale, "{venue_time} {sequence:?}");
        assert_eq!(
            market
                .engine
                .rejected(venue_id("coinbase"), RejectReason::Repeated),
            3
        );
    }
}

#[test]
fn what_bears_no_mark_of_its_moment_or_says_something_new_is_no_repetition() {
    let mut market = TestMarket::new();
    let quote = Quote {
        last: Some(decimal("20000")),
        ..market.blank(0, "coinbase", "BTC-USD")
    };
    let at = |ms, quote: Quote| Quote {
        receive_time_ns: ns(ms),
        ..quote
    };
    market.engine.on_quote(&quote).expect("the first");
    assert_eq!(
        market.engine.on_quote(&at(1, quote)),
        Ok(()),
        "neither time nor sequence"
    );
    let timed = Quote {
        venue_time_ns: Some(ns(1)),
        ..quote
    };
    market.engine.on_quote(&at(2, timed)).expect("a first mark");
    for (ms, news) in [
        (
            3,
            Quote {
                last: Some(decimal("20000.01")),
                ..timed
            },
        ),
        (
            4,
            Quote {
                confidence: Some(decimal("1")),
                ..timed
            },
        ),
        (
            5,
            Quote {
                bid: Some(decimal("19999")),
                ask: Some(decimal("20001")),
                ..timed
            },
        ),
        // Books and trades count apart: the trade said this before the book came.
        (
            6,
            Quote {
                venue_time_ns: Some(ns(2)),
                bid: Some(decimal("19999")),
                ask: Some(decimal("20001")),
                ..timed
            },
        ),
        (
            7,
            Quote {
                sequence: Some(1),
                venue_time_ns: Some(ns(2)),
                bid: Some(decimal("19999")),
                ask: Some(decimal("20001")),
                ..timed
            },
        ),
    ] {
        let repeats = Err(RejectReason::Repeated);
        let found = market.engine.on_quote(&at(ms, news));
        // The last bears its first number, but the moment and the words of the one before.
        assert_eq!(found, if ms == 7 { repeats } else { Ok(()) }, "{ms}");
    }
}

#[test]
fn what_a_new_connection_tells_first_is_told_anew() {
    let mut market = TestMarket::new();
    let quote = Quote {
        last: Some(decimal("20000")),
        venue_time_ns: Some(ns(0)),
        sequence: Some(7),
        ..market.blank(0, "coinbase", "BTC-USD")
    };
    market.engine.on_quote(&quote).expect("news");
    market.engine.forget_sequences(venue_id("coinbase"));
    let snapshot = Quote {
        receive_time_ns: ns(5_000),
        ..quote
    };
    assert_eq!(market.engine.on_quote(&snapshot), Ok(()));
    assert_eq!(market.engine.last_heard_ns(quote.market), Some(ns(5_000)));
}

#[test]
fn one_market_whose_connection_begins_anew_may_count_anew_and_come_back() {
    let mut market = TestMarket::new();
    let quote = |market: &TestMarket, venue, ms, sequence| Quote {
        last: Some(decimal("20000")),
        sequence: Some(sequence),
        ..market.blank(ms, venue, "BTC-USD")
    };
    let other = Quote {
        market: market.market("kraken", "XBT/USD"),
        ..quote(&market, "coinbase", 0, 900)
    };
    let first = quote(&market, "coinbase", 0, 900);
    market.engine.on_quote(&first).expect("news");
    market.engine.on_quote(&other).expect("news");
    assert!(market.engine.withdraw(first.market));
    let again = quote(&market, "coinbase", 1_000, 1);
    assert_eq!(market.engine.on_quote(&again), Err(RejectReason::OldSequence));
    market.engine.forget_sequences_of(first.market);
    assert_eq!(market.engine.on_quote(&again), Ok(()));
    assert!(market.engine.withdraw(first.market), "it was back");
    let again = Quote {
        market: other.market,
        ..again
    };
    assert_eq!(
        market.engine.on_quote(&again),
        Err(RejectReason::OldSequence),
        "the other goes on counting"
    );
    market
        .engine
        .forget_sequences_of(trinity_beast::market::MarketId(u32::MAX));
}

#[test]
fn a_withdrawn_quote_is_out_at_once_and_the_next_one_is_back_at_once() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &THREE, "20000");
    assert_eq!(market.price_at(0, "BTC-USD").venues_used, 3);
    let id = market.market("kraken", "XBT/USD");
    assert!(market.engine.withdraw(id));
    assert!(!market.engine.withdraw(id), "it is out already");
    assert!(market.engine.is_withdrawn(id));
    let price = market.price_at(1, "BTC-USD");
    assert_eq!((price.status, price.venues_used), (PriceStatus::Live, 2));
    let part = market.explain_venue("BTC-USD", "kraken");
    assert_eq!(part.disposition, Disposition::Withdrawn);
    assert_eq!(part.quote.and_then(|quote| quote.last), Some(decimal("20000")));
    assert_eq!(market.engine.last_heard_ns(id), Some(ns(0)));
    assert!(market.engine.withdraw(market.market("coinbase", "BTC-USD")));
    assert_eq!(market.price_at(2, "BTC-USD").status, PriceStatus::Thin);

    market
        .last(3, "kraken", "XBT/USD", "20001")
        .expect("it speaks again");
    assert!(!market.engine.is_withdrawn(id));
    let price = market.price_at(3, "BTC-USD");
    assert_eq!((price.status, price.venues_used), (PriceStatus::Live, 2));
    assert_eq!(market.explain_venue("BTC-USD", "kraken").probation_left, 0);
    assert!(
        !market.engine.withdraw(market.market("binance-us", "BTCUSD")),
        "it never spoke"
    );
}

#[test]
fn a_venues_other_market_stands_in_for_a_withdrawn_one_and_withdrawing_confirms_no_jump() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &TETHER, "1");
    quote_all(&mut market, 0, &TWO, "20000");
    market
        .last(0, "kraken", "XBT/USDT", "20002")
        .expect("a good quote");
    market.tick(0);
    market.engine.withdraw(market.market("kraken", "XBT/USD"));
    market.tick(1);
    let part = market.explain_venue("BTC-USD", "kraken");
    assert_eq!(
        (part.disposition, part.rate),
        (Disposition::Used, Some(market.symbol("USDT-USD")))
    );

    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &THREE, "20000");
    market.tick(0);
    quote_all(&mut market, 1_000, &TWO, "22000");
    assert_eq!(market.price_at(1_000, "BTC-USD").status, PriceStatus::Held);
    market.engine.withdraw(market.market("bitstamp", "btcusd"));
    assert_eq!(market.price_at(1_001, "BTC-USD").status, PriceStatus::Held);
}

#[test]
fn a_coin_off_its_peg_is_flagged_and_so_is_all_that_was_converted_through_it() {
    let mut market = TestMarket::new();
    let depegged = |market: &TestMarket, symbol: &str| {
        let price = market.engine.price(market.symbol(symbol));
        price.flags.contains(PriceFlags::DEPEGGED)
    };
    let far = |market: &mut TestMarket, ms, rate: &str| {
        quote_all(market, ms, &TETHER, rate);
        market
            .last(ms, "binance-us", "BTCUSDT", "20000")
            .expect("a good quote");
        market
            .last(ms, "binance-us", "USDCUSDT", "1")
            .expect("a good quote");
        market
            .last(ms, "binance-us", "BTCUSDC", "20000")
            .expect("a good quote");
        market.tick(ms);
    };
    // 1 % is what the table allows a coin; each step is small enough for the jump guard.
    for (ms, rate, off) in [
        (0, "1", false),
        (1_000, "0.99", false),
        (2_000, "0.98999", true),
        (3_000, "0.98", true),
        (4_000, "0.995", false),
        (5_000, "1.01", false),
        (6_000, "1.01001", true),
    ] {
        far(&mut market, ms, rate);
        for symbol in ["USDT-USD", "BTC-USD"] {
            assert_eq!(depegged(&market, symbol), off, "{symbol} at {ms}");
        }
        // Kraken quotes nothing: USDC in dollars was itself converted through Tether.
        assert!(market.explain_venue("USDC-USD", "binance-us").rate.is_some());
        assert_eq!(
            depegged(&market, "USDC-USD"),
            off,
            "through the other coin, at {ms}"
        );
        assert!(!depegged(&market, "USDC-USDT"), "one for one");
        assert!(!depegged(&market, "BTC-USDT"), "nothing was converted");
    }
    quote_all(&mut market, 7_000, &TWO, "20000");
    market.engine.withdraw(market.market("binance-us", "BTCUSDT"));
    market.engine.withdraw(market.market("binance-us", "BTCUSDC"));
    let price = market.price_at(7_000, "BTC-USD");
    assert_eq!(
        (price.venues_used, price.flags),
        (2, PriceFlags::NONE),
        "none used came through it"
    );
    assert!(depegged(&market, "USDT-USD"));
}

#[test]
fn a_price_of_fetched_quotes_says_so_until_they_are_streamed() {
    let mut market = TestMarket::new();
    for (venue, spelling) in TWO {
        let fetched = Quote {
            last: Some(decimal("20000")),
            fetched: true,
            ..market.blank(0, venue, spelling)
        };
        market.engine.on_quote(&fetched).expect("a good quote");
    }
    let price = market.price_at(0, "BTC-USD");
    assert_eq!(
        (price.status, price.flags),
        (PriceStatus::Live, PriceFlags::FETCHED)
    );
    market.last(1, "coinbase", "BTC-USD", "20000").expect("streamed");
    assert_eq!(
        market.price_at(1, "BTC-USD").flags,
        PriceFlags::FETCHED,
        "one is left"
    );
    market.last(2, "kraken", "XBT/USD", "20000").expect("streamed");
    assert_eq!(market.price_at(2, "BTC-USD").flags, PriceFlags::NONE);
}

#[test]
fn a_held_price_ages_to_stale_and_is_guarded_no_longer_than_its_hard_age() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &TWO, "20000");
    market.tick(0);
    let mut statuses = Vec::new();
    for second in 1..=HARD_AGE_MS / 1_000 + 1 {
        // Every tick another jump: none confirms the one before.
        let price = if second % 2 == 0 { "30000" } else { "40000" };
        quote_all(&mut market, second * 1_000, &TWO, price);
        let given = market.price_at(second * 1_000, "BTC-USD");
        assert!(
            second > HARD_AGE_MS / 1_000 || given.mantissa == 2_000_000_000_000,
            "{given:?}"
        );
        if statuses.last().is_none_or(|(_, last)| *last != given.status) {
            statuses.push((second, given.status));
        }
    }
    assert_eq!(
        statuses,
        [
            (1, PriceStatus::Held),
            (16, PriceStatus::Stale),
            // Beyond the hard age there is nothing left to guard: the venues' own word counts.
            (301, PriceStatus::Live),
        ]
    );
}

#[test]
fn a_price_that_is_carried_because_no_venue_can_be_used_ages_to_stale_and_gone() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &TWO, "20000");
    market.tick(0);
    let mut seen = Vec::new();
    for (venue, spelling) in TWO {
        let id = market.market(venue, spelling);
        assert!(market.engine.withdraw(id));
    }
    for ms in [1, MAX_AGE_MS, MAX_AGE_MS + 1, HARD_AGE_MS, HARD_AGE_MS + 1] {
        let price = market.price_at(ms, "BTC-USD");
        seen.push((price.status, market.explain("BTC-USD").rule));
        assert!(
            price.publish_time_ns == ns(0) && price.venues_used <= 2,
            "{price:?}"
        );
    }
    assert_eq!(
        seen,
        [
            (PriceStatus::Thin, StatusRule::NothingUsable),
            (PriceStatus::Thin, StatusRule::NothingUsable),
            (PriceStatus::Stale, StatusRule::MaxAge),
            (PriceStatus::Stale, StatusRule::MaxAge),
            (PriceStatus::NoPrice, StatusRule::HardAge),
        ]
    );
}

#[test]
fn a_jump_that_all_venues_confirm_is_published_on_the_second_tick() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &THREE, "20000");
    market.tick(0);
    quote_all(&mut market, 1_000, &THREE, "25000");
    assert_eq!(market.price_at(1_000, "BTC-USD").status, PriceStatus::Held);
    quote_all(&mut market, 2_000, &THREE, "25001");
    let price = market.price_at(2_000, "BTC-USD");
    assert_eq!(
        (
            price.status,
            price.mantissa,
            price.venues_used,
            price.publish_time_ns
        ),
        (PriceStatus::Live, 2_500_100_000_000, 3, ns(2_000))
    );
    assert_eq!(market.explain("BTC-USD").rule, StatusRule::EnoughVenues);
}

#[test]
fn an_explanation_shows_every_venues_quote_as_given_and_as_converted() {
    let mut market = TestMarket::new();
    for (venue, spelling) in TETHER {
        market
            .book(0, venue, spelling, "1.0010", "1.0012")
            .expect("a good book");
    }
    market
        .book(1_000, "binance-us", "BTCUSDT", "20000", "20002")
        .expect("a good book");
    market
        .last(3_000, "coinbase", "BTC-USD", "20030")
        .expect("a good quote");
    market.tick(3_000);
    let explanation = market.engine.explain_at(market.symbol("BTC-USD"), ns(5_000));
    assert_eq!(
        (explanation.evaluated_ns, explanation.asked_ns),
        (ns(3_000), ns(5_000))
    );
    let of = |venue: &str| -> &VenueExplanation {
        let venue = venue_id(venue);
        let found = explanation.venues.iter().find(|part| part.venue == venue);
        found.expect("it has a market")
    };
    let book = of("binance-us");
    let quote = book.quote.expect("it quoted");
    assert_eq!(
        (quote.bid, quote.ask, quote.last),
        (Some(decimal("20000")), Some(decimal("20002")), None)
    );
    // At 1.0011 dollars a coin.
    assert_eq!(
        (book.bid, book.ask),
        (Some(2_002_200_000_000), Some(2_002_400_220_000))
    );
    assert_eq!(book.age_ns, Some(4_000_000_000));
    assert!(book.bid < Some(book.price) && Some(book.price) < book.ask);
    assert!(book.limit > 0 && book.disposition == Disposition::Used);
    let trade = of("coinbase");
    assert_eq!(
        (trade.bid, trade.ask, trade.age_ns),
        (None, None, Some(2_000_000_000))
    );
    let silent = of("bitstamp");
    assert_eq!((silent.quote, silent.age_ns, silent.weight_ppm), (None, None, 0));
}

fn table_with(rows: &str) -> Arc<SymbolTable> {
    let table = SymbolTable::builder()
        .and_then(|builder| builder.rows("test", rows))
        .and_then(SymbolTableBuilder::build);
    Arc::new(table.expect("the rows are good"))
}

#[test]
fn a_new_table_keeps_quotes_probations_guards_and_sequences() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &THREE, "20000");
    market.tick(0);
    market
        .last(1_000, "bitstamp", "btcusd", "20500")
        .expect("taken, and an outlier");
    let before = market.price_at(1_000, "BTC-USD");
    assert_eq!(market.explain_venue("BTC-USD", "bitstamp").probation_left, 3);

    // A symbol more, and another limit for one that was there.
    let rows = "\
        NEW-USD NEW USD -8 0.01 1 15000 300000 500 500 - - coinbase=NEW-USD
        BTC-USD BTC USD -8 0.01 3 15000 300000 500 500 USDT-USD,USDC-USD BTC,XBT \
            coinbase=BTC-USD kraken=XBT/USD bitstamp=btcusd";
    market.engine.replace_table(table_with(rows));
    let after = market.price_at(1_500, "BTC-USD");
    assert_eq!(
        (after.mantissa, after.publish_time_ns),
        (before.mantissa, before.publish_time_ns)
    );
    assert_eq!(after.status, PriceStatus::Thin, "three are asked for now");
    assert_eq!(after.sequence, before.sequence + 1);
    assert_eq!(market.explain_venue("BTC-USD", "bitstamp").probation_left, 3);
    let heard = market.market("coinbase", "BTC-USD");
    assert_eq!(market.engine.last_heard_ns(heard), Some(ns(0)));
    assert_eq!(
        market.engine.quote_of(heard).map(|quote| quote.market),
        Some(heard)
    );

    market
        .last(2_000, "coinbase", "NEW-USD", "5")
        .expect("a market of the new table");
    assert_eq!(market.price_at(2_000, "NEW-USD").status, PriceStatus::Live);
    // The guard still knows the last good price.
    quote_all(&mut market, 3_000, &TWO, "30000");
    assert_eq!(market.price_at(3_000, "BTC-USD").status, PriceStatus::Held);
}

#[test]
fn a_table_in_another_order_and_unit_moves_what_is_known_with_the_names() {
    let rows = |first: &str, exponent: i8| {
        let row = |name: &str, exponent| {
            format!(
                "{name}-USD {name} USD {exponent} 0.01 1 15000 300000 500 500 - - coinbase={name}-USD kraken={name}/USD"
            )
        };
        let other = if first == "AAA" { "BBB" } else { "AAA" };
        table_with(&[row(first, exponent), row(other, -8)].join("\n"))
    };
    let mut market = TestMarket::new();
    market.engine.replace_table(rows("AAA", -8));
    let a = market.market("coinbase", "AAA-USD");
    market
        .last(0, "coinbase", "AAA-USD", "12.5")
        .expect("a good quote");
    market.last(0, "kraken", "BBB/USD", "7").expect("a good quote");
    assert_eq!(market.price_at(0, "AAA-USD").mantissa, 1_250_000_000);
    let sequence = market.engine.price(market.symbol("BBB-USD")).sequence;

    market.engine.replace_table(rows("BBB", -6));
    assert_ne!(
        market.market("coinbase", "AAA-USD"),
        a,
        "it has another number now"
    );
    let published = market.tick(0);
    let price = *market.engine.price(market.symbol("AAA-USD"));
    assert_eq!((price.mantissa, price.exponent), (1_250_000_000, -8));
    let price = *market.engine.price(market.symbol("BBB-USD"));
    assert_eq!(
        (price.mantissa, price.exponent, price.sequence),
        (7_000_000, -6, sequence + 1)
    );
    assert_eq!(
        published,
        [(market.symbol("BBB-USD"), price)],
        "only what changed is said"
    );

    // A market that is gone takes its quote with it, and its old number is nobody's.
    let quote = Quote {
        last: Some(decimal("1")),
        ..market.blank(1, "kraken", "BBB/USD")
    };
    market.engine.replace_table(Arc::new(SymbolTable::builtin()));
    assert!(market.engine.table().resolve("BBB-USD").is_none());
    market.tick(1);
    assert_eq!(market.engine.on_quote(&quote), Err(RejectReason::UnknownMarket));
    assert!(!market.engine.withdraw(quote.market));
    assert_eq!(market.engine.last_heard_ns(quote.market), None);
}

#[test]
fn after_a_new_table_a_tick_still_allocates_nothing() {
    let mut market = TestMarket::new();
    quote_all(&mut market, 0, &THREE, "20000");
    market.tick(0);
    market.engine.replace_table(table_with(
        "NEW-USD NEW USD -8 0.01 1 15000 300000 500 500 - - coinbase=NEW-USD",
    ));
    let quotes = THREE.map(|(venue, spelling)| Quote {
        last: Some(decimal("20001")),
        ..market.blank(1, venue, spelling)
    });
    let mut published = 0;
    let measured = allocation_counter::measure(|| {
        market.engine.tick(ns(0), &mut |_, _| published += 1);
        for quote in &quotes {
            market.engine.on_quote(quote).expect("a good quote");
        }
        market.engine.tick(ns(1), &mut |_, _| published += 1);
        market.engine.withdraw(quotes[0].market);
        market.engine.tick(ns(2), &mut |_, _| published += 1);
    });
    assert_eq!(measured.count_total, 0);
    assert_eq!(published, 2);
}
