//! A node as its users meet it: the real binary, real sockets, real signals.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::time::Duration;

use serde_json::Value;
use support::http;
use support::server::{PATIENCE, Server, command, serve_command, wait_until};
use trinity_beast::clock;
use trinity_beast::store::{Ledger, SqliteLedger};
use trinity_protocol::client::{Client, ClientConfig, ClientError};
use trinity_protocol::{
    MAX_DATAGRAM, MacKeys, PriceFlags, PriceQuery, PriceStatus, ReplyView, RequestHead, RequestId, Symbol,
    encode_price_request,
};

const DRIVERS: [&str; 2] = ["epoll", "glommio"];

fn query(name: &str) -> PriceQuery {
    PriceQuery::new(Symbol::new(name).expect("a symbol"))
}

fn client(server: &Server) -> Client {
    let config = ClientConfig {
        timeout: Duration::from_millis(500),
        tries: 3,
    };
    Client::connect(server.udp, &server.demo_key(), config).expect("connected")
}

/// Whether a driver can run here, so that both are tested where both can.
fn runs_here(driver: &str) -> bool {
    let fits = driver == "epoll" || trinity_beast::shard::driver::probe::io_uring().is_ok();
    if !fits {
        eprintln!("skipped: io_uring does not work here");
    }
    fits
}

fn charged(server: &Server) -> u64 {
    let key_id = server.demo_key().key_id();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let ledger = SqliteLedger::open_existing(server.data_dir())
            .await
            .expect("the ledger");
        ledger.usage_total(key_id).await.expect("readable").charged
    })
}

#[test]
fn a_recorded_market_is_answered_over_udp_within_two_seconds_of_the_start() {
    for driver in DRIVERS.into_iter().filter(|driver| runs_here(driver)) {
        let began = clock::monotonic();
        let server = Server::start(["--driver", driver, "--market", "replay"]);
        let reply = client(&server).prices(&[query("BTC-USD")]).expect("answered");
        let took = began.elapsed();
        let price = reply.prices[0];
        assert_eq!(price.status, PriceStatus::Live, "{driver}");
        assert!(
            price.venues >= 3
                && price
                    .flags
                    .contains(PriceFlags::REPLAYED.with(PriceFlags::DERIVED))
        );
        // The shipped recording: bitcoin cost between 19,000 and 21,500 dollars then.
        let dollars = price.mantissa / 10_i64.pow(u32::from(price.exponent.unsigned_abs()));
        assert!((19_000..21_500).contains(&dollars), "{dollars}");
        eprintln!("{driver}: first answer {took:?} after the start (the promise is 2 s on an idle machine)");
    }
}

#[test]
fn udp_http_and_the_command_line_give_the_same_price() {
    let server = Server::start(["--market", "replay", "--speed", "1"]);
    let (key, key_file) = (server.demo_key_text(), server.data_dir().join("demo.key"));
    for name in ["BTC-USD", "BTC-USDT", "USDT-USD", "ETH-USD"] {
        let udp = client(&server).prices(&[query(name)]).expect("answered").prices[0];
        let response = http::get(server.http, &format!("/price?asset={name}"), Some(&key));
        assert_eq!(response.status, 200, "{}", response.body);
        let web = response.json();
        let output = command()
            .args([
                "query",
                name,
                "--json",
                "--server",
                &server.udp.to_string(),
                "--key-file",
            ])
            .arg(&key_file)
            .output()
            .expect("the binary runs");
        let line: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        let has_value = udp.status.has_value();
        assert_eq!(output.status.code(), Some(if has_value { 0 } else { 3 }));
        for (from, form) in [("HTTP", &web), ("the command line", &line)] {
            assert_eq!(form["symbol"], name, "{from}");
            assert_eq!(form["status"], udp.status.name(), "{from}");
            assert_eq!(form["exponent"], udp.exponent, "{from}");
            assert_eq!(form["sequence"], udp.sequence, "{from}");
            assert_eq!(form["venues"], udp.venues, "{from}");
            assert_eq!(form["flags"], udp.flags.0, "{from}");
            if has_value {
                assert_eq!(form["mantissa"], udp.mantissa, "{from}");
                assert_eq!(form["confidence"], udp.confidence, "{from}");
                assert_eq!(form["publish_time_ns"], udp.publish_time_ns, "{from}");
            } else {
                assert_eq!(form["mantissa"], Value::Null, "{from}");
            }
        }
        let text = udp.price().map(|text| text.to_string());
        assert_eq!(web["price_text"].as_str(), text.as_deref());
        assert_eq!(line["price"].as_str(), text.as_deref());
        // The number in the JSON text is the exact decimal, digit for digit.
        if let Some(text) = text {
            assert!(
                response.body.contains(&format!("\"price\":{text},")),
                "{}",
                response.body
            );
        }
    }
}

#[test]
fn a_new_price_is_seen_by_udp_and_http_without_anybody_being_woken() {
    let server = Server::start(["--market", "replay", "--speed", "60"]);
    let key = server.demo_key_text();
    let mut client = client(&server);
    let first = client.prices(&[query("BTC-USD")]).expect("answered").prices[0].sequence;
    let newer = wait_until("a newer price", || {
        let sequence = client.prices(&[query("BTC-USD")]).expect("answered").prices[0].sequence;
        (sequence > first).then_some(sequence)
    });
    let web = http::get(server.http, "/price?asset=btc", Some(&key)).json();
    assert!(web["sequence"].as_u64().expect("a number") >= u64::from(newer));
}

#[test]
fn every_answered_request_is_billed_once_and_none_is_lost_at_the_end() {
    for driver in DRIVERS.into_iter().filter(|driver| runs_here(driver)) {
        let mut server = Server::start(["--driver", driver]);
        let key = server.demo_key_text();
        let mut client = client(&server);
        let mut answered = 0;
        for _ in 0..300 {
            client
                .prices(&[query("BTC-USD"), query("NOPE")])
                .expect("answered");
            answered += 1;
        }
        for _ in 0..20 {
            assert_eq!(http::get(server.http, "/price?asset=btc", Some(&key)).status, 200);
            answered += 1;
        }
        assert!(server.terminate().success(), "{}", server.said());
        assert_eq!(charged(&server), answered, "{driver}");
    }
}

#[test]
fn a_repeated_datagram_is_answered_again_and_billed_once_from_whichever_address() {
    let mut server = Server::start(["--shards", "2"]);
    let key = server.demo_key();
    let mac = MacKeys::from_verifier(&key.verifier());
    let now = clock::unix_nanos();
    let head = RequestHead {
        key_id: key.key_id(),
        request_id: RequestId::new(7, 1),
        lane: 9,
        clock_ns: now,
    };
    let mut buffer = [0; MAX_DATAGRAM];
    let datagram = encode_price_request(&mut buffer, head, &[query("BTC-USD")], &mac.request);
    for _ in 0..20 {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
        socket.send_to(datagram, server.udp).expect("sent");
        let mut reply = [0; MAX_DATAGRAM];
        let len = socket.recv(&mut reply).expect("answered");
        let view = ReplyView::parse(&reply[..len]).expect("well-formed");
        assert!(view.verify(&mac.reply) && view.entries().len() == 1);
    }
    let by_flow = server.said().contains("flow hash");
    assert!(server.terminate().success());
    if by_flow {
        eprintln!("skipped: this kernel does not steer by lane");
    } else {
        assert_eq!(charged(&server), 1);
    }
}

#[test]
fn a_revoked_key_is_refused_on_every_core_within_two_seconds() {
    let server = Server::start(["--shards", "2"]);
    let mut clients: Vec<_> = (0..8).map(|_| client(&server)).collect();
    for client in &mut clients {
        client.prices(&[query("BTC-USD")]).expect("answered");
    }
    let key_id = server.demo_key().key_id().to_string();
    let status = command()
        .args(["keys", "revoke", &key_id, "--data-dir"])
        .arg(server.data_dir())
        .status();
    assert!(status.expect("the binary runs").success());
    let revoked = clock::monotonic();
    // One short try each: what is looked for is the refusal, not a lost reply.
    let config = ClientConfig {
        timeout: Duration::from_millis(40),
        tries: 1,
    };
    let mut clients: Vec<_> = (0..8)
        .map(|_| Client::connect(server.udp, &server.demo_key(), config.clone()).expect("connected"))
        .collect();
    for client in &mut clients {
        wait_until("the key is refused", || {
            match client.prices(&[query("BTC-USD")]) {
                Err(ClientError::Unanswered(_)) => Some(()),
                _ => None,
            }
        });
    }
    let response = http::get(server.http, "/price?asset=btc", Some(&server.demo_key_text()));
    assert_eq!(response.status, 401);
    eprintln!(
        "refused everywhere {:?} after the revocation (the promise is 2 s)",
        revoked.elapsed()
    );
}

#[test]
fn a_second_server_on_one_data_directory_is_refused() {
    let mut first = Server::start(["--shards", "1"]);
    let output = serve_command(first.data_dir()).output().expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("another server is using the data directory"),
        "{said}"
    );
    assert!(
        client(&first).prices(&[query("BTC-USD")]).is_ok(),
        "the first one goes on"
    );
    first.kill();
    let again = Server::start_in(first.data_dir(), ["--shards", "1"]);
    assert!(
        client(&again).prices(&[query("BTC-USD")]).is_ok(),
        "a killed server leaves no lock behind"
    );
}

#[test]
fn a_second_server_on_one_port_is_refused() {
    let first = Server::start(["--shards", "1"]);
    let dir = tempfile::tempdir().expect("a directory");
    for (taken, address) in [
        ("UDP_PORT_LPO", first.udp),
        ("TCP_PORT_LPO", first.http),
        ("TCP_PORT_OPS", first.ops),
    ] {
        let mut command = command();
        command.arg("serve").env("DATA_DIR", dir.path());
        for name in ["UDP_PORT_LPO", "TCP_PORT_LPO", "TCP_PORT_OPS"] {
            let port = if name == taken { address.port() } else { 0 };
            command.env(name, port.to_string());
        }
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{taken}");
        assert!(said.contains("is another server there?"), "{said}");
    }
    assert!(
        client(&first).prices(&[query("BTC-USD")]).is_ok(),
        "the first one goes on"
    );
}

#[test]
fn the_demo_key_is_written_once_and_shown_to_its_owner_only() {
    let mut server = Server::start(["--shards", "1"]);
    let path = server.data_dir().join("demo.key");
    assert_eq!(
        fs::metadata(&path).expect("there").permissions().mode() & 0o777,
        0o600
    );
    let key = server.demo_key_text();
    assert!(server.terminate().success());
    assert!(!server.said().contains(&key), "never in the output or the log");
    let mut again = Server::start_in(server.data_dir(), ["--shards", "1"]);
    assert_eq!(again.demo_key_text(), key);
    assert!(again.terminate().success());
}

#[test]
fn production_logs_json_and_makes_no_demo_account() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = serve_command(dir.path());
    command
        .env("NODE_ENV", "production")
        .args(["--market", "replay", "--bind", "127.0.0.1"]);
    let output = serve_command(dir.path())
        .env("NODE_ENV", "production")
        .output()
        .expect("the binary runs");
    assert!(String::from_utf8_lossy(&output.stderr).contains("market must be named"));
    let mut child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let stderr = child.stderr.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let listening = lines
        .by_ref()
        .map_while(Result::ok)
        .map(|line| serde_json::from_str::<Value>(&line).unwrap_or_else(|_| panic!("not JSON: {line}")))
        .find(|event| event["message"] == "listening");
    assert!(listening.is_some_and(|event| event["udp"].is_string()));
    support::server::signal("TERM", child.id());
    assert!(child.wait().expect("waitable").success());
    assert!(!dir.path().join("demo.key").exists());
}

#[test]
fn settings_come_from_the_environment_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = command();
    command.arg("serve").envs([
        ("UDP_PORT_LPO", "0"),
        ("TCP_PORT_LPO", "0"),
        ("TCP_PORT_OPS", "0"),
        ("TCP_PORT_LRS", "0"),
        ("UDP_PORT_LRS", "0"),
        ("SERVER_TYPE", "APP_SERVER"),
        ("CLUSTER_NODE", "mirror-1"),
        ("NODE_ENV", "development"),
    ]);
    command.env("DATA_DIR", dir.path());
    let mut server = Server::start_by(command, dir.path());
    assert!(client(&server).prices(&[query("BTC-USD")]).is_ok());
    assert!(server.terminate().success());
    for (name, value) in [
        ("AURORA_URL", "postgres://u:secret@db/x"),
        ("MEMORYDB_URL", "rediss://:secret@cache"),
    ] {
        let output = serve_command(dir.path())
            .env(name, value)
            .output()
            .expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1));
        assert!(said.contains(name) && !said.contains("secret"), "{said}");
    }
}

#[test]
fn a_live_market_on_venues_that_cannot_be_meant_does_not_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let venues = dir.path().join("venues.toml");
    std::fs::write(&venues, "[venues.mtgox]\n").expect("written");
    let output = serve_command(dir.path())
        .args(["--market", "live", "--venues-config"])
        .arg(&venues)
        .output()
        .expect("the binary runs");
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("`mtgox` is no venue that can be fed from"),
        "{told}"
    );
}

#[test]
fn without_memory_to_lock_auto_serves_on_epoll_and_glommio_says_what_to_lift() {
    let dir = tempfile::tempdir().expect("a directory");
    let limited = |choice: &str| {
        let mut command = std::process::Command::new("bash");
        command.args([
            "-c",
            "ulimit -l 64 && exec \"$0\" \"$@\"",
            support::server::BINARY,
        ]);
        command.args([
            "serve",
            "--udp-port-lpo",
            "0",
            "--tcp-port-lpo",
            "0",
            "--tcp-port-ops",
            "0",
            "--driver",
            choice,
        ]);
        command.arg("--data-dir").arg(dir.path());
        command
    };
    let output = limited("glommio").output().expect("bash runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("memlock"), "{said}");
    let mut server = Server::start_by(limited("auto"), dir.path());
    server.wait_for_line("driver chosen|epoll|memlock");
    assert!(client(&server).prices(&[query("BTC-USD")]).is_ok());
    assert!(server.terminate().success());
}

#[test]
fn where_seccomp_refuses_io_uring_auto_serves_on_epoll() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = |choice: &str| {
        let mut command = serve_command(dir.path());
        command.args(["--driver", choice]);
        deny_io_uring(&mut command);
        command
    };
    let output = refused("glommio").output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("seccomp"), "{said}");
    let mut server = Server::start_by(refused("auto"), dir.path());
    server.wait_for_line("driver chosen|epoll|seccomp");
    assert!(client(&server).prices(&[query("BTC-USD")]).is_ok());
    assert!(server.terminate().success());
}

/// Makes io_uring_setup fail with EPERM in the child, as containers' seccomp profiles do.
fn deny_io_uring(command: &mut std::process::Command) {
    let instruction = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // Offset 0 of seccomp_data is the system call's number (seccomp(2)).
    let filter = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            libc::SYS_io_uring_setup as u32,
        ),
        instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let install = move || {
        let mut filter = filter;
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_mut_ptr(),
        };
        #[expect(
            unsafe_code,
            reason = "a seccomp filter is set by prctl(2), between fork and exec"
        )]
        // SAFETY: prctl(2): PR_SET_NO_NEW_PRIVS takes numbers; PR_SET_SECCOMP reads the program,
        // which is live. Both calls are async-signal-safe.
        let failed = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                || libc::prctl(
                    libc::PR_SET_SECCOMP,
                    libc::SECCOMP_MODE_FILTER,
                    &raw const program,
                ) != 0
        };
        if failed {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(())
        }
    };
    #[expect(unsafe_code, reason = "pre_exec runs between fork and exec")]
    // SAFETY: the closure makes two async-signal-safe system calls and allocates nothing.
    unsafe {
        command.pre_exec(install);
    }
}

#[test]
fn a_thousand_symbols_and_ten_thousand_keys_fit_in_64_megabytes() {
    let dir = tempfile::tempdir().expect("a directory");
    let recording = dir.path().join("thousand.csv");
    support::recording::thousand_symbols(&recording);
    let keys = support::keys::ten_thousand(dir.path());
    let market = format!("replay:{}", recording.display());
    let server = Server::start_in(dir.path(), ["--market", &market, "--speed", "1"]);
    // Every key asks once, every symbol is asked: what stays mapped but untouched is no memory.
    let symbols: Vec<_> = (0..1_000).map(|i| query(&format!("S{i}-USD"))).collect();
    let config = ClientConfig {
        timeout: Duration::from_millis(500),
        tries: 3,
    };
    for (i, key) in keys.iter().enumerate() {
        let mut client = Client::connect(server.udp, key, config.clone()).expect("connected");
        let from = i * 31 % 969;
        let reply = client.prices(&symbols[from..from + 31]).expect("answered");
        assert!(
            reply
                .prices
                .iter()
                .all(|price| price.status != PriceStatus::UnknownSymbol)
        );
    }
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("readable");
    let rss = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .expect("there");
    let kib: u64 = rss.trim().trim_end_matches(" kB").parse().expect("a number");
    eprintln!("RSS {kib} KiB");
    assert!(kib < 64 * 1024, "RSS is {kib} KiB");
}
