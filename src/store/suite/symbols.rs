//! What every home of the ledger promises of symbols.

use trinity_protocol::Symbol;

use super::NOW_NS;
use crate::store::symbols::*;
use crate::store::{ChangeStamp, Ledger, StoreError};

pub(crate) fn name(text: &str) -> Symbol {
    Symbol::new(text).expect("a symbol")
}

pub(crate) fn definition(base: &str) -> SymbolDefinition {
    SymbolDefinition {
        name: name(&format!("{base}-USD")),
        base: name(base),
        quote: name("USD"),
        exponent: -8,
        tick: "0.0001".into(),
        min_sources: 2,
        max_age_ms: 60_000,
        hard_age_ms: 600_000,
        jump_bps: 1_500,
        dispute_bps: 500,
        peg_bps: None,
        streamed: true,
        routes: vec![name("USDT-USD")],
        aliases: vec![alias(base, None)],
        markets: vec![
            market("coinbase", &[&format!("{base}-USD")]),
            market("kraken", &[&format!("{base}/USD"), &format!("X{base}/USD")]),
        ],
    }
}

fn alias(text: &str, until_ns: Option<u64>) -> SymbolAlias {
    SymbolAlias {
        name: name(text),
        until_ns,
    }
}

fn market(venue: &str, spellings: &[&str]) -> SymbolMarket {
    SymbolMarket {
        venue: venue.into(),
        spellings: spellings.iter().map(|text| (*text).to_owned()).collect(),
        unit_exponent: 0,
    }
}

async fn add(ledger: &dyn Ledger, definition: SymbolDefinition) -> SymbolRecord {
    let change = SymbolChange::Add(Box::new(definition));
    ledger.change_symbol(&change, None, NOW_NS).await.expect("adds")
}

fn set(symbol: &str, patch: SymbolPatch) -> SymbolChange {
    SymbolChange::Set {
        name: name(symbol),
        patch: Box::new(patch),
    }
}

fn min_sources(count: u8) -> SymbolPatch {
    SymbolPatch {
        min_sources: Some(count),
        ..SymbolPatch::default()
    }
}

async fn symbols(ledger: &dyn Ledger) -> Vec<SymbolRecord> {
    ledger.list_symbols().await.expect("lists")
}

pub(crate) async fn seeding_brings_what_is_missing_in_its_order_and_only_once(ledger: &dyn Ledger) {
    assert!(symbols(ledger).await.is_empty());
    let own = [definition("C"), definition("A"), definition("B")];
    assert_eq!(ledger.seed_symbols(&own, NOW_NS).await.expect("seeds"), 3);
    let stamp = ledger.change_stamp().await.expect("stamp");
    assert_eq!(ledger.seed_symbols(&own, NOW_NS + 1).await.expect("seeds"), 0);
    assert_eq!(ledger.change_stamp().await.expect("stamp"), stamp);
    let listed = symbols(ledger).await;
    let definitions: Vec<_> = listed.iter().map(|record| record.definition.clone()).collect();
    assert_eq!(definitions, own);
    assert!(listed.windows(2).all(|pair| pair[0].id < pair[1].id));
    for record in &listed {
        assert_eq!(
            (record.origin, record.retired_at_ns, record.updated_at_ns),
            (SymbolOrigin::Builtin, None, NOW_NS)
        );
    }
    let loaded = ledger.load_symbols().await.expect("loads");
    assert_eq!((loaded.stamp, loaded.symbols), (stamp, listed));
}

pub(crate) async fn a_builtin_symbol_follows_the_program_until_an_operator_touches_it(ledger: &dyn Ledger) {
    let changes: [SymbolChange; 5] = [
        set("A-USD", min_sources(1)),
        SymbolChange::AddAlias {
            name: name("B-USD"),
            alias: alias("BB", None),
        },
        SymbolChange::EndAlias {
            name: name("C-USD"),
            alias: name("C"),
            until_ns: NOW_NS,
        },
        SymbolChange::Retire { name: name("D-USD") },
        set(
            "E-USD",
            SymbolPatch {
                no_markets: vec!["kraken".into()],
                ..SymbolPatch::default()
            },
        ),
    ];
    let mut own: Vec<_> = ["A", "B", "C", "D", "E", "F"]
        .into_iter()
        .map(definition)
        .collect();
    ledger.seed_symbols(&own, NOW_NS).await.expect("seeds");
    let mut touched = Vec::new();
    for change in &changes {
        let record = ledger
            .change_symbol(change, None, NOW_NS + 1)
            .await
            .expect("changes");
        assert_eq!(
            (record.origin, record.updated_at_ns),
            (SymbolOrigin::Operator, NOW_NS + 1)
        );
        touched.push(record);
    }
    for definition in &mut own {
        definition.tick = "0.01".into();
        definition.markets.remove(0);
        definition.aliases[0].until_ns = Some(NOW_NS + 9);
    }
    own.push(definition("G"));
    // Only the untouched one and the new one are written.
    assert_eq!(ledger.seed_symbols(&own, NOW_NS + 2).await.expect("seeds"), 2);
    let listed = symbols(ledger).await;
    assert_eq!(listed[..5], touched);
    assert_eq!(
        (&listed[5].definition, listed[5].origin, listed[5].updated_at_ns),
        (&own[5], SymbolOrigin::Builtin, NOW_NS + 2)
    );
    assert_eq!(listed[6].definition, own[6]);
    assert_eq!(ledger.seed_symbols(&own, NOW_NS + 3).await.expect("seeds"), 0);
}

pub(crate) async fn seeding_takes_no_name_and_no_spelling_from_an_operator(ledger: &dyn Ledger) {
    let mut mine = definition("MINE");
    mine.aliases = vec![alias("A", None)];
    mine.markets = vec![market("coinbase", &["A-USD"]), market("kraken", &["A/USD"])];
    let mine = add(ledger, mine).await;
    ledger
        .seed_symbols(&[definition("A")], NOW_NS)
        .await
        .expect("seeds");
    let listed = symbols(ledger).await;
    assert_eq!(listed[0], mine);
    let seeded = &listed[1].definition;
    assert!(seeded.aliases.is_empty());
    assert_eq!(seeded.markets, [market("kraken", &["XA/USD"])]);
    assert_eq!(
        ledger
            .seed_symbols(&[definition("A")], NOW_NS)
            .await
            .expect("seeds"),
        0
    );
}

pub(crate) async fn a_symbol_comes_back_as_it_was_added(ledger: &dyn Ledger) {
    let new = SymbolDefinition {
        exponent: -15,
        tick: "0.00000000001".into(),
        min_sources: 16,
        max_age_ms: u32::MAX,
        hard_age_ms: u32::MAX,
        jump_bps: u32::MAX,
        dispute_bps: 1,
        peg_bps: Some(100),
        streamed: false,
        routes: vec![name("USDT-USD"), name("USDC-USD")],
        aliases: vec![alias("~!\"'%_*?[X]", None), alias("OLD", Some(i64::MAX as u64))],
        markets: vec![SymbolMarket {
            unit_exponent: -18,
            ..market("binance", &["1000'A%_[]?;--", "b"])
        }],
        ..definition("A")
    };
    let mut sorted = new.clone();
    sorted.sort();
    let made = add(ledger, new).await;
    assert_eq!(made.definition, sorted);
    assert_eq!((made.origin, made.retired_at_ns), (SymbolOrigin::Operator, None));
    let second = add(ledger, definition("B")).await;
    assert!(second.id > made.id);
    assert_eq!(symbols(ledger).await, [made, second]);
}

pub(crate) async fn a_taken_symbol_name_or_alias_is_refused(ledger: &dyn Ledger) {
    add(ledger, definition("A")).await;
    add(ledger, definition("B")).await;
    let stamp = ledger.change_stamp().await.expect("stamp");
    let refused = async |change: SymbolChange| {
        ledger
            .change_symbol(&change, None, NOW_NS)
            .await
            .expect_err("taken")
    };
    let error = refused(SymbolChange::Add(Box::new(definition("A")))).await;
    assert!(matches!(error, StoreError::SymbolExists { .. }), "{error}");
    let mut third = definition("C");
    third.aliases.push(alias("B", None));
    let error = refused(SymbolChange::Add(Box::new(third))).await;
    assert!(error.to_string().contains("B is an alias of B-USD"), "{error}");
    let error = refused(SymbolChange::AddAlias {
        name: name("A-USD"),
        alias: alias("B", None),
    })
    .await;
    assert!(matches!(error, StoreError::AliasTaken { .. }), "{error}");
    for change in [
        set("NOPE", min_sources(1)),
        SymbolChange::Retire { name: name("A") },
        SymbolChange::Restore { name: name("NOPE") },
    ] {
        let error = refused(change).await;
        assert!(matches!(error, StoreError::NoSuchSymbol { .. }), "{error}");
    }
    let error = refused(SymbolChange::EndAlias {
        name: name("A-USD"),
        alias: name("B"),
        until_ns: NOW_NS,
    })
    .await;
    assert!(matches!(error, StoreError::NoSuchAlias { .. }), "{error}");
    let patch = SymbolPatch {
        no_markets: vec!["gate".into()],
        ..SymbolPatch::default()
    };
    let error = refused(set("A-USD", patch)).await;
    assert!(matches!(error, StoreError::NoSuchMarket { .. }), "{error}");
    assert_eq!(
        ledger.change_stamp().await.expect("stamp"),
        stamp,
        "nothing was written"
    );
}

pub(crate) async fn a_patch_changes_what_it_names_and_nothing_else(ledger: &dyn Ledger) {
    let mut expected = add(ledger, definition("A")).await;
    let other = add(ledger, definition("B")).await;
    let mut step = async |patch: SymbolPatch, change: fn(&mut SymbolDefinition)| {
        change(&mut expected.definition);
        expected.updated_at_ns += 1;
        let at_ns = expected.updated_at_ns;
        let changed = ledger.change_symbol(&set("A-USD", patch), None, at_ns).await;
        assert_eq!(changed.expect("changes"), expected);
        assert_eq!(symbols(ledger).await, [expected.clone(), other.clone()]);
    };
    let none = SymbolPatch::default;
    step(min_sources(3), |a| a.min_sources = 3).await;
    let ages = SymbolPatch {
        max_age_ms: Some(10_000),
        hard_age_ms: Some(20_000),
        jump_bps: Some(7),
        dispute_bps: Some(8),
        ..none()
    };
    step(ages, |a| {
        (a.max_age_ms, a.hard_age_ms, a.jump_bps, a.dispute_bps) = (10_000, 20_000, 7, 8);
    })
    .await;
    let price = SymbolPatch {
        exponent: Some(-10),
        tick: Some("0.5".into()),
        ..none()
    };
    step(price, |a| (a.exponent, a.tick) = (-10, "0.5".into())).await;
    let peg = |peg_bps| SymbolPatch {
        peg_bps: Some(peg_bps),
        ..none()
    };
    step(peg(Some(50)), |a| a.peg_bps = Some(50)).await;
    step(peg(None), |a| a.peg_bps = None).await;
    let rest = SymbolPatch {
        streamed: Some(false),
        routes: Some(Vec::new()),
        ..none()
    };
    step(rest, |a| (a.streamed, a.routes) = (false, Vec::new())).await;
    let markets = SymbolPatch {
        markets: vec![
            market("kraken", &["NEW/USD"]),
            market("gemini", &["ausd", "AUSD"]),
        ],
        no_markets: vec!["coinbase".into()],
        ..none()
    };
    step(markets, |a| {
        a.markets = vec![
            market("gemini", &["ausd", "AUSD"]),
            market("kraken", &["NEW/USD"]),
        ];
    })
    .await;
}

pub(crate) async fn an_alias_ends_at_its_time_and_may_pass_to_another_symbol(ledger: &dyn Ledger) {
    add(ledger, definition("A")).await;
    add(ledger, definition("B")).await;
    let give = |to: &str, until_ns| SymbolChange::AddAlias {
        name: name(to),
        alias: alias("OLD", until_ns),
    };
    let end = NOW_NS + 10;
    let apply = async |change: SymbolChange, at_ns| ledger.change_symbol(&change, None, at_ns).await;
    let made = apply(give("A-USD", None), NOW_NS).await.expect("gives");
    assert_eq!(made.definition.aliases, [alias("A", None), alias("OLD", None)]);
    // The same name again has another end, earlier or later.
    let made = apply(give("A-USD", Some(end)), NOW_NS).await.expect("gives");
    assert_eq!(
        made.definition.aliases,
        [alias("A", None), alias("OLD", Some(end))]
    );
    apply(give("B-USD", None), end - 1)
        .await
        .expect_err("not over yet");
    let made = apply(give("B-USD", None), end).await.expect("gives");
    assert_eq!(made.definition.aliases, [alias("B", None), alias("OLD", None)]);
    let listed = symbols(ledger).await;
    assert_eq!(listed[0].definition.aliases, [alias("A", None)]);
    assert_eq!(listed[1], made);

    let over = |until_ns| SymbolChange::EndAlias {
        name: name("B-USD"),
        alias: name("OLD"),
        until_ns,
    };
    let made = apply(over(end + 5), end).await.expect("ends");
    assert_eq!(made.definition.aliases[1], alias("OLD", Some(end + 5)));
    let made = apply(over(end + 9), end).await.expect("ends");
    assert_eq!(
        made.definition.aliases[1],
        alias("OLD", Some(end + 5)),
        "not put off by ending"
    );
}

pub(crate) async fn a_retired_symbol_keeps_its_place_and_may_come_back(ledger: &dyn Ledger) {
    let first = add(ledger, definition("A")).await;
    let second = add(ledger, definition("B")).await;
    let retire = SymbolChange::Retire { name: name("A-USD") };
    for at_ns in [NOW_NS + 1, NOW_NS + 2] {
        let retired = ledger.change_symbol(&retire, None, at_ns).await.expect("retires");
        assert_eq!((retired.id, retired.retired_at_ns), (first.id, Some(NOW_NS + 1)));
    }
    let ids: Vec<_> = symbols(ledger).await.iter().map(|record| record.id).collect();
    assert_eq!(ids, [first.id, second.id]);
    let error = ledger
        .change_symbol(&SymbolChange::Add(Box::new(definition("A"))), None, NOW_NS)
        .await
        .expect_err("its name stays its own");
    assert!(
        error.to_string().contains("symbols retire A-USD --undo"),
        "{error}"
    );
    let restore = SymbolChange::Restore { name: name("A-USD") };
    let back = ledger
        .change_symbol(&restore, None, NOW_NS)
        .await
        .expect("restores");
    assert_eq!((back.retired_at_ns, back.definition), (None, first.definition));
}

pub(crate) async fn a_change_of_what_was_not_seen_is_refused(ledger: &dyn Ledger) {
    add(ledger, definition("A")).await;
    let seen = ledger.load_symbols().await.expect("loads").stamp;
    let change = set("A-USD", min_sources(1));
    ledger
        .change_symbol(&change, Some(seen), NOW_NS)
        .await
        .expect("as seen");
    let error = ledger.change_symbol(&change, Some(seen), NOW_NS).await;
    let error = error.expect_err("changed by the first");
    assert!(matches!(error, StoreError::ChangedMeanwhile), "{error}");
}

pub(crate) async fn symbols_move_the_stamp_and_nothing_changed_does_not(ledger: &dyn Ledger) {
    let mut last = ledger.change_stamp().await.expect("stamp");
    let changed = async |last: &mut ChangeStamp| {
        let now = ledger.change_stamp().await.expect("stamp");
        std::mem::replace(last, now) != now
    };
    ledger
        .seed_symbols(&[definition("A")], NOW_NS)
        .await
        .expect("seeds");
    assert!(changed(&mut last).await, "seeding");
    let give = SymbolChange::AddAlias {
        name: name("A-USD"),
        alias: alias("AA", None),
    };
    for change in [
        SymbolChange::Add(Box::new(definition("B"))),
        set("A-USD", min_sources(1)),
        give,
        SymbolChange::Retire { name: name("A-USD") },
    ] {
        ledger
            .change_symbol(&change, None, NOW_NS)
            .await
            .expect("changes");
        assert!(changed(&mut last).await, "{change:?}");
    }
    ledger
        .seed_symbols(&[definition("A")], NOW_NS)
        .await
        .expect("seeds");
    ledger.list_symbols().await.expect("lists");
    ledger.load_symbols().await.expect("loads");
    assert!(!changed(&mut last).await);
}

pub(crate) async fn a_symbol_that_cannot_be_is_refused_with_the_field(ledger: &dyn Ledger) {
    type Spoil = fn(&mut SymbolDefinition);
    let cases: [(Spoil, &str); 14] = [
        (|d| d.quote = d.base, "the quote"),
        (|d| d.exponent = 1, "the exponent"),
        (|d| d.exponent = -16, "the exponent"),
        (|d| d.tick = "0.0".into(), "the tick"),
        (|d| d.tick = "1e-8".into(), "the tick"),
        (|d| d.min_sources = 17, "min_sources"),
        (|d| d.max_age_ms = 0, "max_age_ms"),
        (|d| d.hard_age_ms = d.max_age_ms - 1, "hard_age_ms"),
        (|d| d.jump_bps = 0, "basis points"),
        (|d| d.peg_bps = Some(0), "basis points"),
        (|d| d.aliases[0].until_ns = Some(u64::MAX), "an alias's end"),
        (
            |d| d.aliases[0].name = Symbol::new("A@B").expect("printable"),
            "a name",
        ),
        (
            |d| d.markets[0].spellings = vec!["A B".into()],
            "a market's spelling",
        ),
        (|d| d.markets[0].venue = "Kraken".into(), "a venue's name"),
    ];
    for (spoil, field) in cases {
        let mut bad = definition("A");
        spoil(&mut bad);
        let change = SymbolChange::Add(Box::new(bad));
        let error = ledger
            .change_symbol(&change, None, NOW_NS)
            .await
            .expect_err(field);
        assert!(matches!(error, StoreError::Invalid { .. }), "{field}: {error}");
        assert!(error.to_string().contains(field), "{field}: {error}");
    }
    assert!(symbols(ledger).await.is_empty());
}
