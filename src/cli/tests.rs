//! The commands that manage the ledger, run as a person or a script would run them.

use std::io::{self, Write};
use std::path::Path;

use clap::{Parser, Subcommand};
use serde_json::Value;
use tempfile::TempDir;
use trinity_protocol::{ApiKey, KeyId, api_key};

use super::ledger::block_on;
use super::{accounts, keys};
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
