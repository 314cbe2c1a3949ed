//! The built binary with its ledger in Postgres: settings from the environment, commands and a
//! server on one ledger.

mod support;

use std::process::Command;

use support::postgres::{NAME, PASSWORD, Postgres};
use support::server::{Server, command, serve_command, wait_until};

/// A command whose ledger is in this server, as an operator would set it up: the host in
/// `AURORA_URL`, the password in a file.
fn on(server: &Postgres, dir: &std::path::Path, mut command: Command) -> Command {
    let file = dir.join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).expect("written");
    command
        .env("AURORA_URL", format!("127.0.0.1:{}", server.port))
        .env("PGPASSWORD_FILE", file)
        .env("PGUSER", NAME)
        .env("PGDATABASE", NAME);
    command
}

fn output(command: &mut Command) -> (Option<i32>, String, String) {
    let output = command.output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_server_and_commands_share_a_ledger_in_postgres() {
    let postgres = Postgres::start();
    let dir = tempfile::tempdir().expect("a directory");
    let run = |words: &[&str]| {
        let (code, out, error) = output(on(&postgres, dir.path(), command()).args(words));
        assert_eq!(code, Some(0), "{words:?}: {error}");
        out
    };
    let (code, _, error) = output(on(&postgres, dir.path(), command()).args(["accounts", "list"]));
    assert_eq!(code, Some(1));
    assert!(
        error.contains("migrate up") && error.contains("127.0.0.1"),
        "{error}"
    );
    let status: serde_json::Value = serde_json::from_str(&run(&["migrate", "up", "--json"])).expect("JSON");
    assert_eq!(
        (&status["engine"], &status["up_to_date"]),
        (&"postgres".into(), &true.into())
    );

    let mut serve = on(&postgres, dir.path(), serve_command(dir.path()));
    serve.args(["--speed", "max"]);
    let mut server = Server::start_by(serve, dir.path());
    assert!(!dir.path().join("ledger.db").exists(), "no second ledger");
    let key = server.demo_key_text();
    let asked = format!("http://{}/price?asset=btc", server.http);
    let price = || {
        let request = ureq_like(&asked, &key);
        request.contains("BTC").then_some(())
    };
    wait_until("a price", price);
    assert!(run(&["accounts", "list"]).contains("demo"));
    assert!(server.terminate().success(), "{}", server.said());
    let charged = postgres
        .sql("SELECT sum(charged) FROM usage_months")
        .expect("asked");
    assert_ne!(charged, "", "what was answered is billed in Postgres");
}

/// The body of a GET.
fn ureq_like(url: &str, key: &str) -> String {
    support::http::get(url, key)
}

#[test]
fn what_is_wrong_with_the_way_to_postgres_is_said_without_the_password() {
    let (code, out, error) = output(
        command()
            .args(["accounts", "list"])
            .env("AURORA_URL", "postgres://me:hunter2@db.example/d?sslmode=prefer"),
    );
    assert_eq!(code, Some(1));
    assert!(
        error.contains("verify-full") && !(out + &error).contains("hunter2"),
        "{error}"
    );
    // A port of this machine that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("bound").port();
    drop(free);
    let (code, out, error) = output(
        command()
            .args(["accounts", "list"])
            .env("AURORA_URL", format!("postgres://me:hunter2@127.0.0.1:{port}/d")),
    );
    assert_eq!(code, Some(1));
    assert!(
        error.contains("cannot reach Postgres") && !(out + &error).contains("hunter2"),
        "{error}"
    );
}
