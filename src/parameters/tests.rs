//! Promises of the parameters.

use std::collections::HashSet;

use super::*;

#[test]
fn every_parameter_has_a_name_of_its_own_that_the_ledger_takes_and_is_found_by_it() {
    let mut names = HashSet::new();
    for name in Name::ALL {
        let text = name.definition().name;
        assert!(names.insert(text), "{text} twice");
        assert!(
            text.len() <= 64
                && text
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'))
        );
        assert_eq!(Name::find(text), Ok(name));
        assert!(!name.definition().about.is_empty());
    }
}

#[test]
fn places_in_the_list_of_all_are_those_that_values_are_kept_at() {
    for (place, name) in Name::ALL.into_iter().enumerate() {
        assert_eq!(name as usize, place, "{}", name.definition().name);
    }
}

#[test]
fn defaults_lie_within_their_ranges_and_hold_where_nothing_is_set() {
    let parameters = Parameters::default();
    for name in Name::ALL {
        let Kind::Number { default, min, max } = name.definition().kind else {
            continue;
        };
        assert!((min..=max).contains(&default), "{}", name.definition().name);
        assert_eq!(parameters.number(name), default);
    }
    assert!(parameters.sheds());
    assert_eq!(parameters.clock_window_ns(), trinity_protocol::CLOCK_WINDOW_NS);
    assert_eq!(parameters.log_filter(), None);
}

#[test]
fn what_is_set_holds_and_what_is_no_longer_set_is_as_by_default_again() {
    let parameters = Parameters::default();
    let set = [
        ("clock.window_ms", "1500"),
        ("shedding.enabled", "off"),
        ("log.filter", "warn"),
    ];
    assert_eq!(parameters.apply(set), []);
    assert_eq!(
        (parameters.clock_window_ns(), parameters.sheds()),
        (1_500_000_000, false)
    );
    assert_eq!(parameters.log_filter().as_deref(), Some("warn"));
    assert_eq!(parameters.apply([]), []);
    assert_eq!(
        (parameters.clock_window_ns(), parameters.sheds()),
        (5_000_000_000, true)
    );
    assert_eq!(parameters.log_filter(), None);
}

#[test]
fn a_bad_value_keeps_the_old_one_and_is_told_of_and_so_is_an_unknown_name() {
    let parameters = Parameters::default();
    assert_eq!(parameters.apply([("clock.window_ms", "1500")]), []);
    for bad in [
        "",
        "0",
        "999",
        "5001",
        "-1",
        "+1500",
        "1e3",
        " 1500",
        "99999999999999999999999",
        "1500'; DROP TABLE parameters; --",
        "\u{1b}[2J",
    ] {
        let problems = parameters.apply([("clock.window_ms", bad), ("no.such", "1")]);
        assert_eq!(parameters.clock_window_ns(), 1_500_000_000, "{bad:?}");
        let names: Vec<_> = problems.iter().map(|problem| problem.name.as_str()).collect();
        assert_eq!(names, ["clock.window_ms", "no.such"], "{bad:?}");
        assert!(problems[0].why.contains("from 1000 to 5000"), "{problems:?}");
        assert!(!problems[0].why.contains('\u{1b}'));
    }
    for bad in ["yes", "1", "ON"] {
        assert_eq!(parameters.apply([("shedding.enabled", bad)]).len(), 1, "{bad:?}");
    }
    assert_eq!(
        parameters.apply([("log.filter", "a=b=c")]).len(),
        1,
        "no directives"
    );
}

#[test]
fn a_long_value_is_told_of_in_short() {
    let long = "9".repeat(4_000);
    let error = Name::ClockWindow.parse(&long).expect_err("too much").to_string();
    assert!(error.len() < 200, "{error}");
}
