//! The Python client against the crate's own encoder: two implementations, one wire.
//!
//! Runs `python3`, or what `TRINITY_PYTHON` names; where that or its package `blake3` is
//! missing, the tests say so and pass.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use support::{ScriptedServer, head, key, prices, prices_with, request, signed_error, unsigned};
use trinity_protocol::{Code, Kind};

fn python() -> Option<Command> {
    let name = std::env::var("TRINITY_PYTHON").unwrap_or_else(|_| "python3".into());
    let ready = Command::new(&name).args(["-c", "import blake3"]).output();
    if ready.is_ok_and(|output| output.status.success()) {
        let mut command = Command::new(name);
        command.arg("-B");
        return Some(command);
    }
    eprintln!("skipped: {name} with the package blake3 not found; set TRINITY_PYTHON");
    None
}

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python"))
}

/// Asks the server as a user would, key in a file.
fn query(mut python: Command, server: &ScriptedServer, arguments: &[&str]) -> Output {
    let file = std::env::temp_dir().join(format!("trinity-python-client-{}.key", server.address().port()));
    std::fs::write(&file, format!("{}\n", key().expose())).expect("the temporary folder is writable");
    let output = python
        .arg(folder().join("trinity.py"))
        .args(["--server", &server.address().to_string(), "--key-file"])
        .arg(&file)
        .args(["--timeout", "0.5"])
        .args(arguments)
        .output()
        .expect("python was found a moment ago");
    std::fs::remove_file(file).expect("it was written above");
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

#[test]
fn the_python_client_passes_the_vectors() {
    let Some(mut python) = python() else { return };
    let output = python
        .arg("test_vectors.py")
        .current_dir(folder())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn the_python_client_reads_prices_and_retries_with_the_same_bytes() {
    let Some(python) = python() else { return };
    let server = ScriptedServer::start(|number, datagram| match number {
        0 => vec![],
        _ => vec![prices(datagram, 2_263_950)],
    });
    let output = query(python, &server, &["--json", "BTC-USD", "eth-usd"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let seen: Vec<serde_json::Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect();
    assert_eq!(seen.len(), 2);
    assert_eq!(
        (&seen[0]["symbol"], &seen[0]["price"]),
        (&"BTC-USD".into(), &"22639.50".into())
    );
    assert_eq!(
        (&seen[1]["symbol"], &seen[1]["mantissa"]),
        (&"ETH-USD".into(), &2_263_951.into())
    );
    assert_eq!(seen[0]["flag_names"], serde_json::json!(["derived", "replayed"]));
    assert_eq!(seen[0]["flags"], 0b1_0100);
    let datagrams = server.stop();
    assert_eq!(datagrams.len(), 2);
    assert_eq!(datagrams[0], datagrams[1]);
}

#[test]
fn the_python_client_follows_a_signed_clock_answer() {
    let Some(python) = python() else { return };
    let mut server_clock = None;
    let server = ScriptedServer::start(move |_, datagram| {
        let sender = request(datagram).clock_ns();
        let server = *server_clock.get_or_insert(sender - 3_600_000_000_000);
        let mut head = head(datagram, Code::Ok);
        head.clock_ns = server;
        if sender.abs_diff(server) <= 5_000_000_000 {
            return vec![prices_with(datagram, head, 5)];
        }
        head.code = Code::Clock;
        vec![signed_error(head)]
    });
    let output = query(python, &server, &["BTC-USD"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("LIVE"));
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn the_python_client_explains_a_refused_key() {
    let Some(python) = python() else { return };
    let server = ScriptedServer::start(|_, datagram| {
        vec![unsigned(Kind::Error, head(datagram, Code::Unauthenticated))]
    });
    let output = query(python, &server, &["BTC-USD"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("does not accept the API key"), "{said}");
    assert!(!said.contains("Traceback"), "{said}");
    assert_eq!(server.stop().len(), 2, "a hint ends after the second try");
}

#[test]
fn the_python_client_names_a_port_where_nothing_listens() {
    let Some(python) = python() else { return };
    // A server that has just stopped leaves a port that nothing listens at.
    let mut server = ScriptedServer::start(|_, _| vec![]);
    server.end();
    let output = query(python, &server, &["--timeout", "0.05", "BTC-USD"]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("nothing listens at 127.0.0.1"), "{said}");
}
