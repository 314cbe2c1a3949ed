//! `keys`: what is set of one, rotation, and what is left of its limits.

use serde_json::json;

use super::*;
use crate::clock;
use crate::store::{FlushId, NewReport, Protocol, UsageRow, month_start};

/// The fields that settings are shown in.
fn settings(key: &Value) -> Value {
    let fields = ["protocols", "networks", "scope", "limits", "overrides"];
    fields
        .iter()
        .map(|field| ((*field).to_owned(), key[field].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn a_key_is_made_with_its_settings_and_set_again() {
    let dir = with_accounts();
    let plain = run_json(dir.path(), &typed("keys create --account acme --no-expiry"));
    let tier = json!({
        "protocols": ["udp", "http"], "networks": [], "scope": "customer",
        "limits": {"requests_per_month": 50_000, "requests_per_second": 10, "burst": 20, "reports_per_month": 10},
        "overrides": {"requests_per_month": "tier", "rate": "tier", "reports_per_month": "tier"},
    });
    assert_eq!(settings(&plain), tier);
    assert_eq!(
        (&plain["expires_at"], &plain["replaces"], &plain["unusable"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );

    let line = "keys create --account acme --protocols http --networks 10.0.0.0/8,192.0.2.7,2001:db8::/32 \
                --requests-per-month 7 --rate 3:4 --reports-per-month none --scope operator";
    let made = run_json(dir.path(), &typed(line));
    let own = json!({
        "protocols": ["http"], "networks": ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"], "scope": "operator",
        "limits": {"requests_per_month": 7, "requests_per_second": 3, "burst": 4, "reports_per_month": null},
        "overrides": {
            "requests_per_month": 7, "rate": {"per_second": 3, "burst": 4}, "reports_per_month": "none"
        },
    });
    assert_eq!(settings(&made), own);
    let id = made["key_id"].as_str().expect("text").to_owned();
    let text = run(dir.path(), &["keys", "show", &id]).expect("shows");
    for part in [
        "requests per month   7 (its own)",
        "burst                4 (its own)",
        "reports per month    no limit (its own)",
        "networks             10.0.0.0/8, 192.0.2.7/32, 2001:db8::/32",
        "protocols            http",
        "scope                operator",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let set = |words: &str| run_json(dir.path(), &typed(&format!("keys set {id} {words}")));
    let named = set("--name other --expires 2099-01-01T00:00:00Z");
    assert_eq!(
        (&named["name"], &named["expires_at"]),
        (&"other".into(), &"2099-01-01T00:00:00Z".into())
    );
    assert_eq!(settings(&named), own, "what is not given stays");
    assert!(named.get("key").is_none(), "a key is shown once");
    assert_eq!(set("--no-expiry")["expires_at"], Value::Null);
    assert_eq!(
        set("--expires 2020-01-01T00:00:00Z")["state"],
        "expired",
        "a past end is an end"
    );
    let back = set(
        "--no-expiry --protocols udp,http --networks any --requests-per-month tier --rate tier \
         --reports-per-month tier --scope customer",
    );
    assert_eq!(settings(&back), tier);
}

#[test]
fn a_rotated_key_is_shown_once_and_the_old_one_ends_after_the_overlap() {
    let dir = with_accounts();
    let line = "keys create --account acme --name app --protocols udp --rate none";
    let old = run_json(dir.path(), &typed(line));
    let id = old["key_id"].as_str().expect("text");
    let new = run_json(dir.path(), &["keys", "rotate", id]);
    let key: ApiKey = new["key"].as_str().expect("text").parse().expect("whole");
    assert_eq!(new["key_id"], key.key_id().to_string());
    assert_eq!(
        (&new["replaces"], &new["name"], &new["expires_at"]),
        (&id.into(), &"app".into(), &Value::Null)
    );
    assert_eq!(settings(&new), settings(&old));
    let shown = run_json(dir.path(), &["keys", "show", id]);
    assert_eq!(
        (&shown["state"], &shown["expires_at"]),
        (&"active".into(), &new["replaced_ends_at"])
    );
    let time = |value: &Value| -> jiff::Timestamp { value.as_str().expect("text").parse().expect("a time") };
    let overlap = time(&new["replaced_ends_at"]).duration_since(time(&new["created_at"]));
    assert_eq!(overlap, jiff::SignedDuration::from_hours(24));

    // At once, for people, and once more from the key itself.
    let text = run(
        dir.path(),
        &[
            "keys",
            "rotate",
            key.expose().as_str(),
            "--overlap",
            "0s",
            "--expires",
            "30d",
        ],
    );
    let text = text.expect("rotates");
    assert_eq!(text.matches(api_key::PREFIX).count(), 1);
    let replaced = format!("Key {}, which it replaces, ends at ", key.key_id());
    assert!(
        text.contains(&replaced) && text.contains("cannot be shown again"),
        "{text}"
    );
    let states: Vec<_> = run_json(dir.path(), &["keys", "list"])
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| key["state"].as_str().expect("text").to_owned())
        .collect();
    assert_eq!(states, ["active", "expired", "active"]);
}

#[test]
fn a_rotated_key_that_could_not_be_shown_leaves_the_old_one_as_it_was() {
    let dir = with_accounts();
    let old = run_json(dir.path(), &typed("keys create --account acme --expires 30d"));
    let id = old["key_id"].as_str().expect("text");
    for words in [
        vec!["keys", "rotate", id, "--no-expiry"],
        vec!["keys", "rotate", id, "--no-expiry", "--json"],
    ] {
        let error = run_into(dir.path(), &words, &mut BrokenPipe).expect_err("nobody saw it");
        assert!(format!("{error:#}").contains("revoked again"), "{error:#}");
    }
    let list = run_json(dir.path(), &["keys", "list"]);
    let states: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|key| &key["state"])
        .collect();
    assert_eq!(states, ["active", "revoked", "revoked"]);
    assert_eq!(list[0]["expires_at"], old["expires_at"]);
}

#[test]
fn what_is_left_of_a_month_is_shown() {
    let dir = with_accounts();
    let made = run_json(dir.path(), &typed("keys create --account zoë"));
    let id = made["key_id"].as_str().expect("text");
    let key_id: KeyId = id.parse().expect("an id");
    let now_ns = clock::unix_nanos();
    let month = month_start(now_ns / 1_000_000_000);
    let flushed = block_on(async {
        let ledger = SqliteLedger::open_existing(dir.path()).await?;
        let row = |second, outcome, count| UsageRow {
            key_id,
            second,
            protocol: Protocol::Udp,
            outcome,
            count,
            latency_sum_ns: 1,
            latency_max_ns: 1,
        };
        let id = FlushId {
            node: "a".to_owned(),
            boot: 1,
            shard: 0,
            sequence: 1,
        };
        // Charged in this month and in the last, and refused.
        let rows = [row(month, 0, 300), row(month - 1, 0, 50), row(month, 6, 7)];
        ledger.flush_usage(&id, &rows, &[]).await?;
        let report = NewReport {
            key_id,
            kind: "usage".to_owned(),
            format: "csv".to_owned(),
            at_ns: now_ns,
            limit: Some(10),
        };
        ledger.charge_report(&report).await?;
        Ok(())
    });
    flushed.expect("flushes");
    let shown = run_json(dir.path(), &["keys", "show", id]);
    let start = jiff::Timestamp::from_second(month as i64)
        .expect("a time")
        .to_string();
    assert_eq!(
        shown["usage"],
        json!({
            "requests": 357, "charged": 350, "entries": 0,
            "month": {"start": start, "charged": 300, "charged_left": 700, "reports": 1, "reports_left": 9},
        })
    );
    let text = run(dir.path(), &["keys", "show", id]).expect("shows");
    assert!(text.contains("300 requests charged, 700 left"), "{text}");
    assert!(text.contains("357 requests, 350 of them charged"), "{text}");
    // More than a limit that was lowered later leaves nothing, and no limit leaves everything.
    for (limit, left) in [("200", json!(0)), ("none", Value::Null)] {
        run(dir.path(), &["keys", "set", id, "--requests-per-month", limit]).expect("sets");
        let shown = run_json(dir.path(), &["keys", "show", id]);
        assert_eq!(shown["usage"]["month"]["charged_left"], left);
    }
}

#[test]
fn a_key_spoilt_by_hand_is_named_and_can_be_put_right() {
    let dir = with_accounts();
    let id = with_key(&dir).key_id().to_string();
    let sql = rusqlite::Connection::open(dir.path().join(LEDGER_FILE)).expect("opens");
    sql.execute("UPDATE api_keys SET allowed_networks = '10.0.0.0/99'", [])
        .expect("past what the schema can check");
    let shown = run_json(dir.path(), &["keys", "show", &id]);
    assert_eq!(shown["state"], "unusable");
    let text = run(dir.path(), &["keys", "show", &id]).expect("shows");
    assert!(text.contains("10.0.0.0/99") && !text.contains("any"), "{text}");
    let error = run(dir.path(), &["keys", "rotate", &id]).expect_err("unusable");
    assert!(error.to_string().contains("keys set"), "{error}");
    let set = run_json(dir.path(), &["keys", "set", &id, "--networks", "10.0.0.0/9"]);
    assert_eq!(
        (&set["state"], &set["networks"]),
        (&"active".into(), &json!(["10.0.0.0/9"]))
    );
}

#[test]
fn what_cannot_be_of_a_key_is_a_failure_and_what_was_mistyped_is_wrong_usage() {
    let dir = with_accounts();
    let id = with_key(&dir).key_id().to_string();
    let ending = run_json(dir.path(), &typed("keys create --account acme --expires 30d"));
    let ending = ending["key_id"].as_str().expect("text");
    let revoked = with_key(&dir).key_id().to_string();
    run(dir.path(), &["keys", "revoke", &revoked]).expect("revokes");
    let unknown = KeyId(77).to_string();
    let many = vec!["10.0.0.0/8"; 17].join(",");
    let before = run_json(dir.path(), &["keys", "list"]);
    for (line, hint) in [
        (format!("keys set {id}"), "nothing to set"),
        (format!("keys set {unknown} --name a"), "keys list"),
        (format!("keys set {id} --networks 10.0.0.1/8"), "host bits"),
        (format!("keys set {id} --networks {many}"), "more than 16"),
        (format!("keys set {id} --rate 0:1"), "within 1 and 10^9"),
        (format!("keys set {id} --requests-per-month 0"), "10^15"),
        (
            format!("keys set {id} --reports-per-month 0"),
            "within 1 and 10^9",
        ),
        (format!("keys set {id} --expires 2300-01-01T00:00:00Z"), "2^63"),
        (format!("keys rotate {unknown}"), "keys list"),
        (format!("keys rotate {revoked}"), "keys create"),
        (format!("keys rotate {ending}"), "--no-expiry"),
        (
            format!("keys rotate {id} --expires 2020-01-01T00:00:00Z"),
            "in the past",
        ),
        (format!("keys rotate {id} --overlap 90000d"), "2^63"),
    ] {
        let error = run(dir.path(), &typed(&line)).expect_err(hint);
        assert!(format!("{error:#}").contains(hint), "{line}: {error:#}");
        assert_eq!(exit_code(&error), 1, "{line}");
    }
    for (line, hint) in [
        (format!("keys set {id} --protocols tcp"), "udp,http"),
        (format!("keys set {id} --protocols udp,"), "udp,http"),
        (format!("keys set {id} --networks everywhere"), "or `any`"),
        (format!("keys set {id} --networks 10.0.0.0/33"), "or `any`"),
        (format!("keys set {id} --networks 10.0.0.0/8,any"), "or `any`"),
        (format!("keys set {id} --rate 10"), "10:20"),
        (format!("keys set {id} --requests-per-month=-5"), "a whole number"),
        (format!("keys set {id} --scope admin"), "customer, operator"),
        (
            format!("keys set {id} --expires 1d --no-expiry"),
            "cannot be used with",
        ),
        (format!("keys set {id} --expires soon"), "30d or 12h"),
        (format!("keys rotate {id} --overlap soon"), "24h"),
        (format!("keys rotate {id} --overlap=-1h"), "24h"),
        ("keys rotate".to_owned(), "<KEY_ID>"),
    ] {
        let error = run(dir.path(), &typed(&line)).expect_err(hint);
        assert_eq!(exit_code(&error), 2, "{line}: {error:#}");
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
    assert_eq!(
        run_json(dir.path(), &["keys", "list"]),
        before,
        "nothing was changed"
    );
}
