//! What symbol tables promise, the built-in one above all.

use super::*;
use crate::market::decimal::Decimal;
use crate::market::symbol_row::end_of_day;

fn build(rows: &str) -> Result<SymbolTable, SymbolTableError> {
    SymbolTableBuilder::default().rows("test", rows)?.build()
}

fn refusal(rows: &str) -> String {
    build(rows)
        .expect_err("the rows do not hold together")
        .to_string()
}

#[test]
fn the_built_in_table_knows_the_usual_assets_by_all_their_names() {
    let table = SymbolTable::builtin();
    for (name, canonical) in [
        ("BTC-USD", "BTC-USD"),
        ("btc", "BTC-USD"),
        ("Btc/Usd", "BTC-USD"),
        ("BTCUSD", "BTC-USD"),
        ("btc_usd", "BTC-USD"),
        ("XBT-USD", "BTC-USD"),
        ("XBT/USDT", "BTC-USDT"),
        ("btcusdt", "BTC-USDT"),
        ("ETH", "ETH-USD"),
        ("matic", "POL-USD"),
        ("USDT", "USDT-USD"),
        ("USDC/USDT", "USDC-USDT"),
    ] {
        let id = table.resolve(name).unwrap_or_else(|| panic!("{name} is known"));
        assert_eq!(table.symbol(id).name.as_str(), canonical, "{name}");
    }
    for name in ["", "BTC-", "BTC USD", "NOPE-USD", "BTC-USD-AND-MORE-THAN-THAT"] {
        assert_eq!(table.resolve(name), None, "{name}");
    }
    let in_dollars = table
        .symbols()
        .filter(|(_, spec)| spec.quote.as_str() == "USD")
        .count();
    assert!(in_dollars >= 150, "{in_dollars} symbols in dollars");
    let streamed = table
        .symbols()
        .filter(|(_, spec)| spec.quote.as_str() == "USD" && spec.streamed);
    assert_eq!(streamed.count(), 150);
    assert!(
        table.symbols().any(|(_, spec)| !spec.streamed),
        "and some on demand"
    );
}

#[test]
fn every_built_in_row_can_be_live_and_keeps_six_digits() {
    let table = SymbolTable::builtin();
    for (id, spec) in table.symbols() {
        let seats = table.seats(id);
        assert!(
            seats.len() >= usize::from(spec.min_sources),
            "{}: {} venues",
            spec.name,
            seats.len()
        );
        assert!(spec.max_age_ms <= spec.hard_age_ms);
        // A tick is at most a hundredth of a percent of what the asset is worth, so at least
        // four digits stand above it and the exponent leaves more below.
        assert!(
            spec.tick >= 100,
            "{}: the exponent leaves two digits below the tick",
            spec.name
        );
        let name = format!("{}-{}", spec.base, spec.quote);
        assert_eq!(spec.name.as_str(), name);
    }
}

#[test]
fn a_venue_spelling_means_one_market_and_old_and_new_spellings_the_same() {
    let table = SymbolTable::builtin();
    let at = |venue: &str, spelling: &str| {
        table.market_by_spelling(VenueId::from_name(venue).expect("a venue"), spelling)
    };
    assert_eq!(at("kraken", "XBT/USD"), at("kraken", "BTC/USD"));
    assert_eq!(at("kraken", "XDG/USD"), at("kraken", "DOGE/USD"));
    assert_ne!(at("binance", "BTCUSDT"), at("binance-us", "BTCUSDT"));
    assert_eq!(
        at("binance", "btcusdt"),
        None,
        "spelled exactly as the venue does"
    );
    assert_eq!(
        at("bitstamp", "btcusd").map(|id| table.symbol(table.market(id).symbol).name.to_string()),
        Some("BTC-USD".into())
    );
    for venue in VenueId::all().filter(|venue| venue.spec().dialect.is_some()) {
        let mut markets = table.markets();
        assert!(
            markets.any(|(_, market)| market.venue == venue),
            "{venue} has markets"
        );
    }
    // The first spelling is what the venue's stream is asked for.
    for (venue, spelling) in [
        ("coinbase", "BTC-USD"),
        ("kraken", "BTC/USD"),
        ("gemini", "btcusd"),
        ("okx", "BTC-USDT"),
        ("cryptocom", "BTC_USD"),
        ("gate", "BTC_USDT"),
        ("binance", "BTCUSDT"),
        ("bitstamp", "btcusd"),
        ("bybit", "BTCUSDT"),
        ("kucoin", "BCHSV-USDT"),
    ] {
        let market = table.market(at(venue, spelling).expect(spelling));
        assert_eq!(&*market.spellings[0], spelling, "{venue}");
    }
    assert_eq!(at("gemini", "BTCUSD"), at("gemini", "btcusd"));
    let lots = at("binance", "1000SATSUSDT").map(|id| table.market(id).unit_exponent);
    assert_eq!(lots, Some(-3));
}

#[test]
fn a_seat_prefers_the_direct_market_and_then_the_routes_in_their_order() {
    let table = SymbolTable::builtin();
    let btc = table.resolve("BTC").expect("a symbol");
    let kraken = VenueId::from_name("kraken").expect("a venue");
    let seat = table
        .seats(btc)
        .iter()
        .find(|seat| seat.venue == kraken)
        .expect("it votes");
    let ways: Vec<_> = seat
        .candidates
        .iter()
        .map(|way| {
            way.rate
                .map_or("direct".to_owned(), |rate| table.symbol(rate).name.to_string())
        })
        .collect();
    assert_eq!(ways, ["direct", "USDT-USD", "USDC-USD"]);
    let position = |name: &str| {
        table
            .order()
            .iter()
            .position(|id| Some(*id) == table.resolve(name))
    };
    assert!(position("USDT-USD") < position("USDC-USD") && position("USDC-USD") < position("BTC-USD"));
}

#[test]
fn a_row_that_is_wrong_is_refused_by_line_and_field() {
    let good = "A-USD A USD -8 0.01 1 1000 2000 500 500 - - coinbase=A-USD";
    assert!(build(good).is_ok());
    for (rows, expected) in [
        ("# note\n\nA-USD A USD", "test, line 3, exponent: is missing"),
        ("a-usd A USD -8 0.01 1 1 2 5 5 - -", "symbol: `a-usd`"),
        (
            "A-USD A A -8 0.01 1 1 2 5 5 - -",
            "quote: is the same as the base",
        ),
        ("A-USD A USD 3 0.01 1 1 2 5 5 - -", "exponent: 3 is not within"),
        ("A-USD A USD -8 0 1 1 2 5 5 - -", "tick: `0` is not a price step"),
        (
            "A-USD A USD -2 0.001 1 1 2 5 5 - -",
            "tick: `0.001` is not a price step",
        ),
        (
            "A-USD A USD -8 0.01 0 1 2 5 5 - -",
            "min_sources: must be above 0",
        ),
        (
            "A-USD A USD -8 0.01 1 1s 2 5 5 - -",
            "max_age_ms: `1s` is not a whole number",
        ),
        (
            "A-USD A USD -8 0.01 1 3 2 5 5 - -",
            "hard_age_ms: 2 is below max_age_ms 3",
        ),
        ("A-USD A USD -8 0.01 1 1 2 0 5 - -", "jump_bps: must be above 0"),
        (
            "A-USD A USD -8 0.01 1 1 2 5 -1 - -",
            "dispute_bps: `-1` is not a whole number",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 B-USD -",
            "routes: B-USD is no symbol of this table",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 A-USD -",
            "routes: A-USD does not lead to A-USD",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - A-USD",
            "markets: `A-USD` is not venue=spelling",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - mtgox=A",
            "markets: `mtgox` is no venue; known: coinbase,",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - @peg=0",
            "markets: `@peg=0` is neither",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A,",
            "markets: `kraken=A,` has an empty spelling",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A*1e99",
            "markets: unit `*1e99`",
        ),
        (
            "A-USD A USD -8 0.01 1 1 2 5 5 - - kraken=A kraken=B",
            "markets: kraken is named twice",
        ),
    ] {
        let refusal = refusal(rows);
        assert!(refusal.contains(expected), "{rows}\n{refusal}");
    }
    let twice = format!("{good}\n{good}");
    assert!(refusal(&twice).contains("test, line 2, symbol: A-USD is already on line 1"));
    let alias = format!("{good}\nB-USD B USD -8 0.01 1 1 2 5 5 - A-USD");
    assert!(refusal(&alias).contains("line 2, aliases: A-USD already means A-USD"));
    let spelling = format!("{good}\nB-USD B USD -8 0.01 1 1 2 5 5 - - coinbase=A-USD");
    assert!(refusal(&spelling).contains("A-USD of coinbase is already a market of A-USD"));
}

#[test]
fn conversion_in_a_circle_is_refused_by_name() {
    let rows = "A-USD A USD -8 0.01 1 1 2 5 5 B-USD -\nB-USD B USD -8 0.01 1 1 2 5 5 A-USD -\nC-USD C USD -8 0.01 1 1 2 5 5 - -";
    let refusal = refusal(rows);
    assert!(
        refusal.contains("conversion in a circle among A-USD, B-USD;"),
        "{refusal}"
    );
}

#[test]
fn a_spelling_that_could_mean_two_symbols_is_generated_for_neither() {
    let table =
        build("A-BUSD A BUSD -8 0.01 1 1 2 5 5 - -\nAB-USD AB USD -8 0.01 1 1 2 5 5 - -").expect("good rows");
    assert_eq!(table.resolve("ABUSD"), None);
    assert_eq!(table.resolve("AB/USD"), Some(SymbolId(1)));
}

#[test]
fn later_rows_replace_earlier_ones_whole_and_keep_their_place() {
    let first = "A-USD A USD -8 0.01 1 1 2 5 5 - X kraken=A\nB-USD B USD -8 0.01 1 1 2 5 5 - -";
    let table = SymbolTableBuilder::default()
        .rows("one", first)
        .and_then(|builder| builder.rows("two", "A-USD A USD -6 0.5 1 1 2 5 5 - - kraken=A/USD"))
        .and_then(SymbolTableBuilder::build)
        .expect("good rows");
    let a = table.symbol(SymbolId(0));
    assert_eq!(
        (a.exponent, a.tick, table.len()),
        (-6, Decimal::new(5, -1).rescale(-6).expect("fits"), 2)
    );
    assert_eq!(table.resolve("X"), None);
    assert_eq!(
        table.market_by_spelling(VenueId::from_name("kraken").expect("a venue"), "A"),
        None
    );
}

#[test]
fn a_renamed_asset_answers_to_its_old_name_until_the_day_that_ends_it() {
    let rows = "POL-USD POL USD -8 0.00001 1 1000 2000 500 500 - POL,MATIC@2027-12-31 kraken=POL/USD,MATIC/USD\n\
                X-USD X USD -8 0.00001 1 1000 2000 500 500 - Y@2028-06-30";
    let end = end_of_day("2027-12-31").expect("a day");
    let at = |now_ns: Option<u64>| {
        let builder = SymbolTableBuilder::default()
            .rows("test", rows)
            .expect("good rows");
        let builder = match now_ns {
            Some(now_ns) => builder.now(now_ns),
            None => builder,
        };
        builder.build().expect("good rows")
    };
    let before = at(Some(end - 1));
    assert_eq!(before.resolve("matic"), before.resolve("POL-USD"));
    assert_eq!(before.next_alias_end_ns(), Some(end));
    let after = at(Some(end));
    assert_eq!(after.resolve("MATIC"), None);
    assert_eq!(after.resolve("POL"), Some(SymbolId(0)));
    assert_eq!(
        after.symbol(SymbolId(0)).aliases,
        [Symbol::new("POL").expect("a name")]
    );
    assert_eq!(after.next_alias_end_ns(), end_of_day("2028-06-30").ok());
    assert_eq!(at(after.next_alias_end_ns()).next_alias_end_ns(), None);
    let kraken = VenueId::from_name("kraken").expect("a venue");
    assert!(
        after.market_by_spelling(kraken, "MATIC/USD").is_some(),
        "the venue's old spelling stays"
    );
    // A recording has a time of its own: nothing ends in it.
    let timeless = at(None);
    assert!(timeless.resolve("MATIC").is_some() && timeless.next_alias_end_ns().is_none());
}

#[test]
fn a_name_that_has_ended_is_free_for_another_symbol() {
    let rows = "A-USD A USD -8 0.01 1 1 2 5 5 - OLD@2027-12-31\nB-USD B USD -8 0.01 1 1 2 5 5 - OLD";
    let end = end_of_day("2027-12-31").expect("a day");
    let build = |now_ns| {
        let builder = SymbolTableBuilder::default().rows("test", rows)?.now(now_ns);
        builder.build()
    };
    let early = build(end - 1).expect_err("two symbols claim it");
    assert!(
        early
            .to_string()
            .contains("line 2, aliases: OLD already means A-USD"),
        "{early}"
    );
    assert_eq!(build(end).expect("free by now").resolve("OLD"), Some(SymbolId(1)));
}

#[test]
fn a_retired_symbol_keeps_its_id_and_nothing_leads_to_it() {
    let rows =
        "A-USD A USD -8 0.01 1 1 2 5 5 - AA kraken=A/USD\nB-USD B USD -8 0.01 1 1 2 5 5 - - kraken=B/USD";
    let mut rows: Vec<_> = symbol_rows::parse("test", rows)
        .expect("good rows")
        .into_iter()
        .map(|placed| placed.row)
        .collect();
    rows[0].retired = true;
    let build = |rows: &[SymbolRow]| {
        let mut builder = SymbolTableBuilder::default();
        for row in rows {
            builder = builder.row(row.clone())?;
        }
        builder.build()
    };
    let table = build(&rows).expect("good rows");
    assert_eq!((table.len(), table.resolve("B-USD")), (2, Some(SymbolId(1))));
    for name in ["A-USD", "AA", "A/USD", "AUSD"] {
        assert_eq!(table.resolve(name), None, "{name}");
    }
    let retired = table.symbol(SymbolId(0));
    assert!(retired.retired && !retired.streamed);
    assert!(table.seats(SymbolId(0)).is_empty());
    let kraken = VenueId::from_name("kraken").expect("a venue");
    assert_eq!(table.market_by_spelling(kraken, "A/USD"), None);

    // Another symbol may have its name and its spelling, and one that still needs it may not stay.
    rows[1].aliases.push("A-USD".parse().expect("a name"));
    rows[1].markets[0].spellings.push("A/USD".into());
    assert_eq!(build(&rows).expect("free").resolve("A-USD"), Some(SymbolId(1)));
    rows[1].aliases.clear();
    let retired = rows[0].name;
    rows[1].routes.push(retired);
    let error = build(&rows).expect_err("the route leads nowhere").to_string();
    assert_eq!(error, "symbol B-USD, routes: A-USD is retired");
}

#[test]
fn the_built_in_rows_by_themselves_make_the_built_in_table() {
    let mut builder = SymbolTableBuilder::default();
    for row in SymbolTable::builtin_rows() {
        builder = builder.row(row).expect("good rows");
    }
    let (rows, table) = (builder.build().expect("good rows"), SymbolTable::builtin());
    assert!(rows.symbols().eq(table.symbols()) && rows.markets().eq(table.markets()));
}

#[test]
fn an_error_of_a_row_names_its_symbol_field_and_remedy() {
    let mut row = SymbolTable::builtin_rows().remove(0);
    row.tick = Decimal::new(1, -12);
    let error = SymbolTableBuilder::default()
        .row(row)
        .expect_err("below the exponent")
        .to_string();
    assert_eq!(
        error,
        "symbol USDT-USD, tick: `0.000000000001` is not a price step of at least 10^-8, such as 0.01"
    );
}
