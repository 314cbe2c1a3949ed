//! The commands that manage the ledger, run as a person or a script would run them.

use std::io::{self, Write};
use std::path::Path;

use clap::{Parser, Subcommand};
use serde_json::Value;
use tempfile::TempDir;
use trinity_protocol::{ApiKey, KeyId, api_key};

use super::ledger::block_on;
use super::{accounts, keys, migrate, symbols};
use crate::store::{KeyStatus, LEDGER_FILE, Ledger, SqliteLedger};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Accounts(accounts::AccountsArgs),
    Keys(keys::KeysArgs),
    Symbols(symbols::SymbolsArgs),
    Migrate(migrate::MigrateArgs),
}

/// Takes everything but the last flush.
struct BrokenPipe;

impl Write for BrokenPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

fn run_into(data_dir: &Path, words: &[&str], out: &mut dyn Write) -> anyhow::Result<()> {
    let mut line = vec!["trinity-beast"];
    line.extend(words);
    let data_dir = data_dir.to_str().expect("a plain path");
    line.extend(["--data-dir", data_dir]);
    match Cli::try_parse_from(line)?.command {
        Command::Accounts(args) => accounts::run(&args, out),
        Command::Keys(args) => keys::run(&args, out),
        Command::Symbols(args) => symbols::run(&args, out),
        Command::Migrate(args) => migrate::run(&args, out),
    }
}

fn run(data_dir: &Path, words: &[&str]) -> anyhow::Result<String> {
    let mut out = Vec::new();
    run_into(data_dir, words, &mut out)?;
    Ok(String::from_utf8(out)?)
}

fn run_json(data_dir: &Path, words: &[&str]) -> Value {
    let mut words = words.to_vec();
    words.push("--json");
    serde_json::from_str(&run(data_dir, &words).expect("succeeds")).expect("one JSON value")
}

/// A data directory with the accounts `acme` (pro) and `zoë` (free).
fn with_accounts() -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    run(dir.path(), &["accounts", "create", "acme", "--tier", "pro"]).expect("creates");
    run(dir.path(), &["accounts", "create", "zoë"]).expect("creates");
    dir
}

/// Makes a key for `acme` and returns it as its owner got it.
fn with_key(dir: &TempDir) -> ApiKey {
    let made = run_json(dir.path(), &["keys", "create", "--account", "acme"]);
    made["key"].as_str().expect("text").parse().expect("a key")
}

fn exit_code(error: &anyhow::Error) -> i32 {
    error
        .downcast_ref::<clap::Error>()
        .map_or(1, clap::Error::exit_code)
}

#[test]
fn accounts_are_made_and_listed_for_people_and_for_scripts() {
    let dir = with_accounts();
    let table = run(dir.path(), &["accounts", "list"]).expect("lists");
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("ID  NAME  TIER  CREATED"), "{table}");
    assert!(lines[1].starts_with("1   acme  pro   20"), "{table}");
    assert!(
        lines[2].starts_with("2   zoë   free  20") && lines[2].ends_with("active"),
        "{table}"
    );

    let list = run_json(dir.path(), &["accounts", "list"]);
    assert_eq!(list.as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&list[1]["id"], &list[1]["name"]),
        (&Value::from(2), &Value::from("zoë"))
    );
    assert_eq!(
        (&list[0]["tier"], &list[0]["disabled"]),
        (&Value::from("pro"), &Value::from(false))
    );
    let made = run_json(dir.path(), &["accounts", "create", "third"]);
    assert_eq!(
        (&made["id"], &made["tier"]),
        (&Value::from(3), &Value::from("free"))
    );
}

#[test]
fn a_key_is_shown_once_and_only_its_verifier_is_kept() {
    let dir = with_accounts();
    let words = [
        "keys",
        "create",
        "--account",
        "acme",
        "--name",
        "laptop",
        "--expires",
        "30d",
    ];
    let output = run(dir.path(), &words).expect("creates");
    assert_eq!(output.matches(api_key::PREFIX).count(), 1);
    assert!(output.contains("cannot be shown again"), "{output}");
    let text = output
        .split_whitespace()
        .find(|word| word.starts_with(api_key::PREFIX))
        .expect("the key");
    let key: ApiKey = text.parse().expect("whole");
    let secret = text.rsplit('_').next().expect("a part");

    let id = key.key_id().to_string();
    for words in [
        vec!["keys", "list"],
        vec!["keys", "list", "--json"],
        vec!["keys", "list", "--account", "1"],
        vec!["keys", "show", &id],
        vec!["keys", "show", &id, "--json"],
    ] {
        let output = run(dir.path(), &words).expect("succeeds");
        assert!(output.contains(&id) && output.contains("laptop"), "{output}");
        assert!(
            !output.contains(secret) && !output.contains(api_key::PREFIX),
            "{words:?}"
        );
    }
    for entry in std::fs::read_dir(dir.path()).expect("lists") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("reads");
        assert!(
            !bytes
                .windows(secret.len())
                .any(|window| window == secret.as_bytes())
        );
    }
    let stored = block_on(async {
        Ok(SqliteLedger::open_existing(dir.path())
            .await?
            .key(key.key_id())
            .await?)
    });
    let stored = stored.expect("is there");
    assert_eq!(stored.verifier, key.verifier());
    let days = (stored.expires_at_ns.expect("expires") - stored.created_at_ns) / 86_400_000_000_000;
    assert_eq!((days, stored.account.as_str()), (30, "acme"));
}

#[test]
fn scripts_get_every_field_of_a_key() {
    let dir = with_accounts();
    let words = [
        "keys",
        "create",
        "--account",
        "zoë",
        "--expires",
        "2099-01-01T00:00:00+01:00",
    ];
    let made = run_json(dir.path(), &words);
    let key: ApiKey = made["key"].as_str().expect("text").parse().expect("whole");
    assert_eq!(made["key_id"], key.key_id().to_string());
    assert_eq!(
        (&made["name"], &made["state"]),
        (&Value::from("default"), &Value::from("active"))
    );
    assert_eq!(made["expires_at"], "2098-12-31T23:00:00Z");
    let shown = run_json(dir.path(), &["keys", "show", &key.key_id().to_string()]);
    assert!(shown.get("key").is_none());
    assert_eq!(shown["limits"]["requests_per_month"], 1_000);
    assert_eq!(
        (&shown["usage"]["requests"], &shown["revoked_at"]),
        (&Value::from(0), &Value::Null)
    );
}

#[test]
fn a_key_is_revoked_by_its_id_or_whole_and_twice_is_no_failure() {
    let dir = with_accounts();
    let (first, second) = (with_key(&dir), with_key(&dir));
    let id = first.key_id().to_string().to_lowercase();
    assert!(
        run(dir.path(), &["keys", "revoke", &id])
            .expect("revokes")
            .contains("Revoked key")
    );
    let again = run(dir.path(), &["keys", "revoke", &id]).expect("is no failure");
    assert!(again.contains("was revoked before, at 20"), "{again}");
    let json = run_json(dir.path(), &["keys", "revoke", &id]);
    assert_eq!(
        (&json["already_revoked"], &json["state"]),
        (&Value::from(true), &Value::from("revoked"))
    );

    // Whoever finds a leaked key has the whole of it at hand.
    let json = run_json(dir.path(), &["keys", "revoke", second.expose().as_str()]);
    assert_eq!(json["already_revoked"], false);
    let list = run_json(dir.path(), &["keys", "list"]);
    assert!(
        list.as_array()
            .expect("a list")
            .iter()
            .all(|key| key["state"] == "revoked")
    );
}

#[test]
fn a_key_that_could_not_be_shown_is_revoked() {
    let dir = with_accounts();
    for words in [
        vec!["keys", "create", "--account", "1"],
        vec!["keys", "create", "--account", "1", "--json"],
    ] {
        let error = run_into(dir.path(), &words, &mut BrokenPipe).expect_err("nobody saw it");
        assert!(format!("{error:#}").contains("revoked again"), "{error:#}");
    }
    let keys = block_on(async {
        Ok(SqliteLedger::open_existing(dir.path())
            .await?
            .list_keys(None)
            .await?)
    });
    let states: Vec<_> = keys.expect("lists").iter().map(|key| key.state(0)).collect();
    assert_eq!(states, [KeyStatus::Revoked; 2]);
}

#[test]
fn looking_into_a_mistyped_directory_makes_nothing() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let typo = dir.path().join("typo");
    for words in [
        vec!["accounts", "list"],
        vec!["keys", "list"],
        vec!["keys", "create", "--account", "a"],
    ] {
        let error = run(&typo, &words).expect_err("nothing there");
        let text = format!("{error:#}");
        assert!(
            text.contains("typo") && text.contains("accounts create"),
            "{text}"
        );
        assert_eq!(exit_code(&error), 1);
    }
    assert!(!typo.exists());
    run(&typo, &["accounts", "create", "a"]).expect("creates");
    assert!(typo.join(LEDGER_FILE).exists());
    assert!(
        run(&typo, &["keys", "list"])
            .expect("lists")
            .contains("keys create")
    );
    assert_eq!(run_json(&typo, &["keys", "list"]), Value::Array(Vec::new()));
}

#[test]
fn what_is_not_there_is_a_failure_that_says_what_to_do() {
    let dir = with_accounts();
    let unknown = KeyId(77).to_string();
    for (words, hint) in [
        (vec!["keys", "create", "--account", "nobody"], "accounts create"),
        (vec!["keys", "list", "--account", "99"], "accounts list"),
        (vec!["keys", "show", &unknown], "keys list"),
        (vec!["keys", "revoke", &unknown], "keys list"),
        (vec!["accounts", "create", "acme"], "exists already"),
        (
            vec!["accounts", "create", "new", "--tier", "gold"],
            "enterprise, free",
        ),
        (vec!["accounts", "create", "2024"], "add a letter"),
        (
            vec![
                "keys",
                "create",
                "--account",
                "acme",
                "--expires",
                "2020-01-01T00:00:00Z",
            ],
            "in the past",
        ),
        (
            vec![
                "keys",
                "create",
                "--account",
                "acme",
                "--expires",
                "2300-01-01T00:00:00Z",
            ],
            "2^63",
        ),
    ] {
        let error = run(dir.path(), &words).expect_err(hint);
        assert!(format!("{error:#}").contains(hint), "{words:?}: {error:#}");
        assert_eq!(exit_code(&error), 1, "{words:?}");
    }
    assert!(
        run(dir.path(), &["keys", "list"])
            .expect("lists")
            .contains("No keys yet")
    );
}

#[test]
fn wrong_usage_is_told_from_failure_and_never_repeats_a_secret() {
    let dir = with_accounts();
    let key = with_key(&dir).expose();
    let mistyped = &key.as_str()[..key.as_str().len() - 1];
    let secret = mistyped.rsplit('_').next().expect("a part");
    for words in [
        vec!["keys", "revoke", mistyped],
        vec!["keys", "show", secret],
        vec!["keys", "show", "UUUU"],
        vec!["keys", "show", "0"],
        vec!["keys", "show", ""],
        vec!["keys", "show"],
        vec!["keys", "create"],
        vec!["keys", "create", "--account", ""],
        vec!["keys", "create", "--account", "acme", "--expires", "soon"],
        vec!["keys", "create", "--account", "acme", "--expires", "-3d"],
        vec!["keys", "create", "--account", "acme", "--expires", "0d"],
        vec!["keys", "create", "--account", "acme", "--expires", "1y"],
        vec!["keys", "create", "--account", "acme", "--expires", "2027-01-31"],
        vec!["accounts"],
    ] {
        let error = run(dir.path(), &words).expect_err("wrong usage");
        assert_eq!(exit_code(&error), 2, "{words:?}: {error:#}");
        assert!(!format!("{error:#} {error:?}").contains(secret), "{words:?}");
    }
}

/// A command line as it is typed.
fn typed(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

const ADD_FOO: &str = "symbols add foo-usd --tick 0.0001 --exponent -8 --market kraken=FOO/USD \
                       --market coinbase=FOO-USD --route USDT-USD --alias FOO --alias OLDFOO@2099-12-31";

#[test]
fn symbols_are_listed_shown_and_checked() {
    let dir = with_accounts();
    let list = run_json(dir.path(), &["symbols", "list"]);
    let list = list.as_array().expect("a list");
    assert!(
        list.len() > 300,
        "the program's own are there from the first command on"
    );
    assert!(list.iter().all(|symbol| symbol["origin"] == "builtin"));
    let table = run(dir.path(), &["symbols", "list"]).expect("lists");
    assert!(table.starts_with("SYMBOL "), "{table}");
    assert_eq!(table.lines().count(), list.len() + 1);

    // By any of its names, stated or generated, in any case.
    for name in ["BTC-USD", "btc/usd", "xbt", "bitcoin"] {
        let shown = run_json(dir.path(), &["symbols", "show", name]);
        assert_eq!(shown["symbol"], "BTC-USD", "{name}");
        assert_eq!(shown["markets"][5]["venue"], "kraken");
        assert_eq!(shown["markets"][5]["spellings"][0], "BTC/USD");
    }
    let text = run(dir.path(), &["symbols", "show", "matic"]).expect("shows");
    assert!(text.contains("MATIC (until 2027-12-31)"), "{text}");
    let text = run(dir.path(), &["symbols", "check"]).expect("checks");
    assert!(text.contains("make a table."), "{text}");
    let check = run_json(dir.path(), &["symbols", "check"]);
    assert_eq!(check["symbols"], list.len());
    assert_eq!(
        (&check["retired"], &check["thin"]),
        (&Value::from(0), &Value::Array(Vec::new()))
    );
}

#[test]
fn a_symbol_is_added_set_named_and_retired() {
    let dir = with_accounts();
    let made = run_json(dir.path(), &typed(ADD_FOO));
    assert_eq!(
        (&made["symbol"], &made["base"], &made["quote"]),
        (&"FOO-USD".into(), &"FOO".into(), &"USD".into())
    );
    assert_eq!(
        (&made["min_sources"], &made["hard_age_ms"]),
        (&2.into(), &600_000.into())
    );
    assert_eq!(
        (&made["state"], &made["origin"]),
        (&"streamed".into(), &"operator".into())
    );
    assert_eq!(made["aliases"][1]["until"], "2100-01-01T00:00:00Z");

    let line = "symbols set FOO-USD --min-sources 1 --max-age-ms 10000 --no-market coinbase \
                --market kraken=FOO/USD,XFOO/USD --demand --no-routes";
    let set = run_json(dir.path(), &typed(line));
    assert_eq!(
        (&set["min_sources"], &set["max_age_ms"]),
        (&1.into(), &10_000.into())
    );
    assert_eq!(set["markets"].as_array().map(Vec::len), Some(1));
    assert_eq!(set["markets"][0]["spellings"][1], "XFOO/USD");
    assert_eq!(
        (&set["state"], &set["routes"]),
        (&"on demand".into(), &Value::Array(Vec::new()))
    );
    assert_eq!(set["tick"], made["tick"], "what is not given stays");

    let named = run(
        dir.path(),
        &typed("symbols alias foo-usd foocoin --until 2099-06-30"),
    )
    .expect("names");
    assert!(named.contains("FOOCOIN (until 2099-06-30)"), "{named}");
    assert_eq!(
        run_json(dir.path(), &["symbols", "show", "foocoin"])["symbol"],
        "FOO-USD"
    );
    run(dir.path(), &typed("symbols alias FOO-USD FOOCOIN --end")).expect("ends");
    let error = run(dir.path(), &["symbols", "show", "foocoin"]).expect_err("ended");
    assert!(format!("{error:#}").contains("symbols list"), "{error:#}");

    let retired = run_json(dir.path(), &typed("symbols retire FOO-USD"));
    assert_eq!(
        (&retired["state"], &retired["id"]),
        (&"retired".into(), &made["id"])
    );
    let listed = |words: &[&str]| run(dir.path(), words).expect("lists").contains("FOO-USD");
    assert!(!listed(&["symbols", "list"]) && listed(&["symbols", "list", "--all"]));
    assert_eq!(run_json(dir.path(), &["symbols", "check"])["retired"], 1);
    run(dir.path(), &typed("symbols retire FOO-USD --undo")).expect("is offered again");
    assert!(listed(&["symbols", "list"]));
}

#[test]
fn a_change_that_makes_no_table_is_refused_by_field_and_nothing_is_written() {
    let dir = with_accounts();
    run(dir.path(), &typed(ADD_FOO)).expect("adds");
    let before = run_json(dir.path(), &["symbols", "list", "--all"]);
    let market = "--market kraken=B/USD --market coinbase=B-USD";
    for (line, hint) in [
        (ADD_FOO.to_owned(), "symbols set FOO-USD"),
        (
            format!("symbols add BAR-USD --tick 0.0001 --exponent -2 {market}"),
            "symbol BAR-USD, tick: `0.0001` is not a price step of at least 10^-2",
        ),
        (
            format!("symbols add BAR-USD --tick 1 --exponent -8 --route NOPE-USD {market}"),
            "symbol BAR-USD, routes: NOPE-USD is no symbol",
        ),
        (
            format!("symbols add BAR-USD --tick 1 --exponent -8 --route BTC-USDT {market}"),
            "BTC-USDT does not lead to BAR-USD",
        ),
        (
            "symbols add BAR-USD --tick 1 --exponent -8 --market kraken=BTC/USD --market coinbase=B-USD"
                .to_owned(),
            "markets: BTC/USD of kraken is already a market of BTC-USD",
        ),
        (
            format!("symbols add BAR-USD --tick 1 --exponent -8 --alias BTC {market}"),
            "BTC is an alias of BTC-USD",
        ),
        (
            format!("symbols add BAR-USD --tick 1 --exponent -8 --alias ETH-USD {market}"),
            "aliases: ETH-USD already means ETH-USD",
        ),
        (
            "symbols add BAR-USD --tick 1 --exponent -8 --market kraken=B/USD".to_owned(),
            "2 venues are needed and 1 can vote; add --market",
        ),
        (
            format!("symbols add BAR --tick 1 --exponent -8 {market}"),
            "give --base",
        ),
        ("symbols set FOO-USD --hard-age-ms 10".to_owned(), "hard_age_ms"),
        (
            "symbols set FOO-USD --min-sources 9".to_owned(),
            "9 venues are needed and 2 can vote",
        ),
        (
            "symbols set FOO-USD --no-market gate".to_owned(),
            "no market at gate",
        ),
        ("symbols set FOO-USD".to_owned(), "nothing to set"),
        ("symbols set NOPE-USD --tick 1".to_owned(), "symbols list"),
        (
            "symbols alias FOO-USD BTC".to_owned(),
            "symbols alias BTC-USD BTC --end",
        ),
        ("symbols alias FOO-USD NOPE --end".to_owned(), "no alias NOPE"),
        (
            "symbols retire USDT-USD".to_owned(),
            "routes: USDT-USD is retired",
        ),
        ("symbols show NOPE-USD".to_owned(), "symbols list"),
    ] {
        let error = run(dir.path(), &typed(&line)).expect_err(hint);
        assert!(format!("{error:#}").contains(hint), "{line}: {error:#}");
        assert_eq!(exit_code(&error), 1, "{line}");
    }
    assert_eq!(run_json(dir.path(), &["symbols", "list", "--all"]), before);
}

#[test]
fn a_mistyped_symbol_is_wrong_usage_and_says_what_would_be_right() {
    let dir = with_accounts();
    for (line, hint) in [
        ("symbols show A-NAME-THAT-IS-TOO-LONG", "BTC-USD"),
        ("symbols add FOO-USD --tick 1", "--exponent"),
        (
            "symbols add FOO-USD --tick 1 --exponent -8 --market mtgox=A",
            "known: coinbase",
        ),
        (
            "symbols add FOO-USD --tick 1 --exponent -8 --market kraken",
            "venue=spelling",
        ),
        (
            "symbols add FOO-USD --tick 1 --exponent -8 --alias F@2027",
            "2027-12-31",
        ),
        ("symbols set FOO-USD --no-market mtgox", "known: coinbase"),
        ("symbols set FOO-USD --stream --demand", "cannot be used with"),
        ("symbols alias FOO-USD F --until yesterday", "2027-12-31"),
        (
            "symbols alias FOO-USD F --until 2027-12-31 --end",
            "cannot be used with",
        ),
        ("symbols", "add"),
    ] {
        let error = run(dir.path(), &typed(line)).expect_err(hint);
        assert_eq!(exit_code(&error), 2, "{line}: {error:#}");
        assert!(error.to_string().contains(hint), "{line}: {error}");
    }
}

#[test]
fn rows_spoilt_by_hand_are_found_by_the_check_and_can_be_put_right() {
    let dir = with_accounts();
    run(dir.path(), &typed(ADD_FOO)).expect("adds");
    let sql = rusqlite::Connection::open(dir.path().join(LEDGER_FILE)).expect("opens");
    sql.execute(
        "UPDATE symbols SET routes = 'NOPE-USD' WHERE name = 'FOO-USD'",
        [],
    )
    .expect("good by itself");
    let error = run(dir.path(), &["symbols", "check"]).expect_err("no table");
    assert!(
        format!("{error:#}").contains("symbol FOO-USD, routes: NOPE-USD is no symbol"),
        "{error:#}"
    );
    assert_eq!(
        run_json(dir.path(), &["symbols", "show", "foo"])["symbol"],
        "FOO-USD"
    );
    run(dir.path(), &typed("symbols set FOO-USD --route USDT-USD")).expect("puts it right");
    run(dir.path(), &["symbols", "check"]).expect("a table again");
}

#[test]
fn migrate_says_where_the_schema_stands_and_brings_it_up() {
    let dir = tempfile::tempdir().expect("a directory");
    let error = run(dir.path(), &["migrate", "status"]).expect_err("there is no ledger");
    assert!(format!("{error:#}").contains("no ledger"), "{error:#}");
    assert!(!dir.path().join(LEDGER_FILE).exists(), "looking makes nothing");

    std::fs::write(dir.path().join(LEDGER_FILE), "").expect("an empty file is an empty ledger");
    let status = run_json(dir.path(), &["migrate", "status"]);
    assert_eq!(
        (&status["current"], &status["up_to_date"]),
        (&Value::from(0), &Value::from(false))
    );
    let told = run(dir.path(), &["migrate", "status"]).expect("tells");
    assert!(told.contains("not yet") && told.contains("migrate up"), "{told}");

    let up = run_json(dir.path(), &["migrate", "up"]);
    assert_eq!(
        (&up["current"], &up["engine"]),
        (&up["newest"], &Value::from("sqlite"))
    );
    let told = run(dir.path(), &["migrate", "status"]).expect("tells");
    assert!(
        told.contains("is up to date") && !told.contains("not yet"),
        "{told}"
    );
    let again = run_json(dir.path(), &["migrate", "up"]);
    assert_eq!(again, up, "a second time changes nothing");
}
