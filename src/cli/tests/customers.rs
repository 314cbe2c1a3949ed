//! `accounts` and `tiers`.

use serde_json::json;

use super::*;

#[test]
fn an_account_is_renamed_given_a_tier_disabled_and_enabled() {
    let dir = with_accounts();
    with_key(&dir);
    let set = run_json(dir.path(), &typed("accounts set acme --tier free --name acme-2"));
    assert_eq!(
        set,
        json!({"id": 1, "name": "acme-2", "tier": "free", "disabled": false, "created_at": set["created_at"]})
    );
    let text = run(dir.path(), &typed("accounts disable acme-2")).expect("disables");
    assert!(
        text.lines().nth(1).expect("a row").ends_with("disabled"),
        "{text}"
    );
    let keys = run_json(dir.path(), &["keys", "list"]);
    assert_eq!(
        (&keys[0]["state"], &keys[0]["tier"]),
        (&"account disabled".into(), &"free".into())
    );

    let shown = run_json(dir.path(), &typed("accounts show 1"));
    assert_eq!(
        (&shown["disabled"], &shown["keys"], &shown["active_keys"]),
        (&true.into(), &1.into(), &0.into())
    );
    let tiers: Vec<_> = shown["subscriptions"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    assert_eq!(
        (&tiers[0]["tier"], &tiers[1]["tier"], tiers.len()),
        (&"pro".into(), &"free".into(), 2)
    );
    assert_eq!(
        (&tiers[0]["starts_at"], &tiers[1]["ends_at"]),
        (&shown["created_at"], &Value::Null)
    );
    assert_eq!(tiers[0]["ends_at"], tiers[1]["starts_at"]);

    for _ in 0..2 {
        let enabled = run_json(dir.path(), &typed("accounts enable acme-2"));
        assert_eq!(enabled["disabled"], false);
    }
    let text = run(dir.path(), &typed("accounts show acme-2")).expect("shows");
    assert!(
        text.contains("1, 1 of them active") && text.contains("TIER  FROM"),
        "{text}"
    );
    let last = text.lines().last().expect("a row");
    assert!(last.starts_with("free") && last.ends_with("now"), "{text}");
}

#[test]
fn a_tier_is_made_set_and_shown() {
    let dir = with_accounts();
    let table = run(dir.path(), &["tiers", "list"]).expect("lists");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 7);
    assert!(lines[0].starts_with("TIER        REQUESTS/MONTH"), "{table}");
    assert!(
        lines[4].starts_with("partner     no limit        no limit"),
        "{table}"
    );

    let line = "tiers create gold-2 --requests-per-month 7000 --rate 5:10 --reports-per-month none";
    let made = run_json(dir.path(), &typed(line));
    let limits = json!({
        "requests_per_month": 7000, "requests_per_second": 5, "burst": 10, "reports_per_month": null
    });
    assert_eq!(made, json!({"name": "gold-2", "limits": limits, "accounts": 0}));
    run(dir.path(), &typed("accounts set acme --tier gold-2")).expect("sets");
    let set = run_json(
        dir.path(),
        &typed("tiers set gold-2 --rate none --reports-per-month 3"),
    );
    let limits = json!({
        "requests_per_month": 7000, "requests_per_second": null, "burst": null, "reports_per_month": 3
    });
    assert_eq!(
        set,
        json!({"name": "gold-2", "limits": limits, "accounts": 1}),
        "what is not given stays"
    );
    assert_eq!(run_json(dir.path(), &typed("tiers show gold-2")), set);
    let list = run_json(dir.path(), &["tiers", "list"]);
    assert_eq!(
        (list.as_array().map(Vec::len), &list[2]["limits"]),
        (Some(7), &limits)
    );
    let text = run(dir.path(), &typed("tiers show gold-2")).expect("shows");
    assert!(text.contains("requests per second  no limit\n"), "{text}");
    assert!(!text.contains("its own"), "{text}");
}

#[test]
fn what_cannot_be_is_a_failure_that_says_what_to_do() {
    let dir = with_accounts();
    let create = "--requests-per-month none --rate none --reports-per-month none";
    for (line, hint) in [
        ("accounts set acme".to_owned(), "nothing to set"),
        ("accounts set acme --tier gold".to_owned(), "enterprise, free"),
        ("accounts set acme --name zoë".to_owned(), "exists already"),
        ("accounts set acme --name 7".to_owned(), "add a letter"),
        ("accounts set nobody --tier pro".to_owned(), "accounts list"),
        ("accounts disable 99".to_owned(), "accounts list"),
        ("accounts enable 99".to_owned(), "accounts list"),
        ("accounts show 99".to_owned(), "accounts list"),
        (format!("tiers create pro {create}"), "tiers set pro"),
        (format!("tiers create Gold {create}"), "a-z, 0-9"),
        (
            "tiers set pro --requests-per-month 0".to_owned(),
            "disabled account",
        ),
        ("tiers set pro --rate 0:5".to_owned(), "within 1 and 10^9"),
        ("tiers set pro".to_owned(), "nothing to set"),
        ("tiers set gold --rate none".to_owned(), "tiers create"),
        ("tiers show gold".to_owned(), "enterprise, free"),
    ] {
        let error = run(dir.path(), &typed(&line)).expect_err(hint);
        assert!(format!("{error:#}").contains(hint), "{line}: {error:#}");
        assert_eq!(exit_code(&error), 1, "{line}");
    }
    for (line, hint) in [
        ("tiers create gold --rate none", "--requests-per-month"),
        ("tiers set pro --rate 10", "10:20"),
        ("tiers set pro --rate tier", "`none`"),
        (
            "tiers set pro --requests-per-month many",
            "a whole number or `none`",
        ),
        (
            "tiers set pro --reports-per-month 1.5",
            "a whole number or `none`",
        ),
        ("tiers", "create"),
        ("accounts set", "<ACCOUNT>"),
        ("accounts rename acme b", "unrecognized subcommand"),
    ] {
        let error = run(dir.path(), &typed(line)).expect_err(hint);
        assert_eq!(exit_code(&error), 2, "{line}: {error:#}");
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
    let tiers = run_json(dir.path(), &["tiers", "list"]);
    assert_eq!(tiers.as_array().map(Vec::len), Some(6), "nothing was made");
}

#[test]
fn hostile_text_is_kept_or_refused_but_never_carried_out() {
    let dir = with_accounts();
    for text in HOSTILE {
        let made = run_json(dir.path(), &["accounts", "create", text]);
        assert_eq!(made["name"], text);
        for words in [
            ["accounts", "show", text],
            ["accounts", "disable", text],
            ["accounts", "enable", text],
        ] {
            assert_eq!(run_json(dir.path(), &words)["name"], text);
        }
        let key = run_json(dir.path(), &["keys", "create", "--account", text, "--name", text]);
        assert_eq!((&key["name"], &key["account"]), (&text.into(), &text.into()));
        let id = key["key_id"].as_str().expect("text");
        let renamed = run_json(dir.path(), &["keys", "set", id, "--name", "plain"]);
        assert_eq!(renamed["name"], "plain");
        assert_eq!(
            run_json(dir.path(), &["keys", "set", id, "--name", text])["name"],
            text
        );
        let list = run_json(dir.path(), &["keys", "list", "--account", text]);
        assert_eq!(list.as_array().map(Vec::len), Some(1));
        let other = format!("{text} 2");
        let renamed = run_json(dir.path(), &["accounts", "set", text, "--name", &other]);
        assert_eq!(renamed["name"], *other);

        for words in [
            vec!["accounts", "create", "x", "--tier", text],
            vec!["accounts", "set", "acme", "--tier", text],
            vec!["tiers", "show", text],
            vec!["tiers", "set", text, "--rate", "none"],
            vec!["keys", "show", text],
            vec!["keys", "set", id, "--networks", text],
            vec!["keys", "set", id, "--protocols", text],
            vec!["keys", "set", id, "--scope", text],
            vec!["keys", "set", id, "--rate", text],
            vec!["keys", "rotate", id, "--overlap", text],
        ] {
            run(dir.path(), &words).expect_err(text);
        }
    }
    let accounts = run_json(dir.path(), &["accounts", "list"]);
    assert_eq!(accounts.as_array().map(Vec::len), Some(2 + HOSTILE.len()));
    let tiers = run_json(dir.path(), &["tiers", "list"]);
    assert_eq!(tiers.as_array().map(Vec::len), Some(6));
}
