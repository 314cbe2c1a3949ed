//! `tune` as its users meet it: the real binary, the real machine, real limits.

mod support;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::Value;
use support::http;
use support::server::{BINARY, Server, command, serve_command, signal, wait_until};
use trinity_beast::shard::driver::{cpus, probe};

fn tune(flags: &[&str]) -> Output {
    command()
        .arg("tune")
        .args(flags)
        .output()
        .expect("the binary runs")
}

/// The one JSON object that it wrote, and its exit code.
fn json(output: &Output) -> (Value, i32) {
    let value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "{error} in {:?}, errors {:?}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    });
    (value, output.status.code().expect("not killed"))
}

/// Runs it through a shell that lowers a limit first.
fn under(ulimit: &str, flags: &[&str]) -> Output {
    let script = format!("ulimit {ulimit} && exec \"$0\" tune \"$@\"");
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, BINARY]).args(flags);
    for name in ["SHARDS", "DRIVER"] {
        shell.env_remove(name);
    }
    shell.output().expect("a shell")
}

fn texts(list: &Value) -> Vec<&str> {
    let list = list.as_array().expect("an array");
    list.iter().map(|text| text.as_str().expect("a text")).collect()
}

/// Names of the checks at least this bad.
fn named<'a>(report: &'a Value, verdicts: &[&str]) -> BTreeSet<&'a str> {
    let checks = report["checks"].as_array().expect("an array");
    checks
        .iter()
        .filter(|check| verdicts.contains(&check["verdict"].as_str().expect("a text")))
        .map(|check| check["name"].as_str().expect("a text"))
        .collect()
}

#[test]
fn the_json_is_one_object_and_the_exit_code_is_its_verdict() {
    let (report, code) = json(&tune(&["--json"]));
    let fit = report["fit"].as_bool().expect("this machine can be looked at");
    assert_eq!(code, i32::from(!fit));
    assert_eq!(
        named(&report, &["unfit"]),
        texts(&report["unfit"]).into_iter().collect()
    );
    assert_eq!(fit, texts(&report["unfit"]).is_empty());
    for check in report["checks"].as_array().expect("an array") {
        for field in ["name", "found", "wanted", "verdict", "why"] {
            assert!(
                check[field].as_str().is_some_and(|text| !text.is_empty()),
                "{check}"
            );
        }
        for place in ["here", "ec2", "ecs"] {
            assert!(check["how"][place].is_string(), "{check}");
        }
    }
    // What a node would start with here, found out by other means.
    let cpus = cpus::allowed().expect("readable").len();
    let available = thread::available_parallelism().map_or(1, usize::from).min(cpus);
    assert_eq!(report["plan"]["shards"], available);
    assert_eq!(report["recommended"]["shards"], available);
    assert_eq!(
        report["machine"]["cpu"]["affinity"].as_array().map(Vec::len),
        Some(cpus)
    );
    let io_uring = probe::io_uring().is_ok();
    assert_eq!(report["machine"]["trials"]["io_uring"] == "works", io_uring);
    let driver = if io_uring { "glommio" } else { "epoll" };
    assert_eq!(report["recommended"]["driver"], driver);
    for trial in ["segmentation", "coalescing", "steering"] {
        assert_eq!(report["machine"]["trials"][trial], "works", "{trial}");
    }
}

#[test]
fn more_shards_than_any_machine_has_cpus_are_unfit_and_it_says_why() {
    let output = tune(&["--shards", "4096"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).expect("text");
    let last = text
        .trim_end()
        .rsplit("\n\n")
        .next()
        .expect("a verdict")
        .replace('\n', " ");
    assert!(last.contains("not fit for 4096 shards"), "{last}");
    assert!(last.contains("a CPU for each of 4096 shards"), "{last}");
    let (report, code) = json(&tune(&["--shards", "4096", "--json"]));
    assert_eq!(code, 1);
    assert!(texts(&report["unfit"]).contains(&"shards"));
}

#[test]
fn a_thread_that_may_use_one_cpu_is_told_to_run_one_shard() {
    let first = cpus::allowed().expect("readable")[0];
    // A child has the affinity of the thread that starts it.
    let pinned = thread::spawn(move || {
        cpus::pin(first).expect("its own CPU");
        (tune(&["--json"]), tune(&["--json", "--shards", "2"]))
    });
    let (alone, two) = pinned.join().expect("no panic");
    let (report, _) = json(&alone);
    assert_eq!(report["plan"]["shards"], 1);
    assert_eq!(report["machine"]["cpu"]["affinity"], serde_json::json!([first]));
    assert!(!texts(&report["unfit"]).contains(&"shards"));
    let (report, code) = json(&two);
    assert_eq!((code, texts(&report["unfit"])), (1, vec!["shards"]));
}

#[test]
fn too_little_locked_memory_is_unfit_only_for_who_insists_on_io_uring() {
    let (report, code) = json(&under(
        "-l 64",
        &["--driver", "glommio", "--json", "--shards", "1"],
    ));
    assert_eq!((code, texts(&report["unfit"])), (1, vec!["driver", "memlock"]));
    let (report, code) = json(&under("-l 64", &["--json", "--shards", "1"]));
    assert_eq!((code, report["fit"].as_bool()), (0, Some(true)));
    assert_eq!(report["recommended"]["driver"], "epoll");
}

#[test]
fn too_few_descriptors_are_unfit_and_few_are_warned_of() {
    let (report, code) = json(&under("-n 40", &["--json", "--shards", "1"]));
    assert_eq!((code, texts(&report["unfit"])), (1, vec!["open-files"]));
    let (report, code) = json(&under("-n 512", &["--json", "--shards", "1"]));
    assert_eq!(code, 0);
    assert!(named(&report, &["warn"]).contains("open-files"));
}

#[test]
fn for_people_it_fits_a_hundred_columns_and_has_no_colour_in_a_pipe() {
    for flags in [&[][..], &["--verbose"]] {
        let output = tune(flags);
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(!text.contains('\u{1b}'));
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        // In full each check is explained; else those that found nothing are not.
        let explained = text
            .lines()
            .filter(|line| line.starts_with("       why "))
            .count();
        let (report, _) = json(&tune(&["--json"]));
        let checks = report["checks"].as_array().expect("an array").len();
        assert!(!flags.is_empty() || explained < checks, "{text}");
        assert!(flags.is_empty() || explained == checks, "{text}");
    }
}

#[test]
fn wrong_usage_and_what_cannot_be_looked_at_have_an_exit_code_of_their_own() {
    for flags in [
        &["--shards", "0"][..],
        &["--driver", "magic"],
        &["--peer", "127.0.0.1:9"],
        &["--probe", "--echo", "127.0.0.1:0"],
        &["--probe", "--seconds", "0"],
        &["--probe", "--peer", "nowhere"],
    ] {
        let output = tune(flags);
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{flags:?}");
    }
}

#[test]
fn a_taken_port_is_told_and_is_no_unfitness() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    let (report, _) = json(&tune(&["--json", "--udp-port-lpo", &port.to_string()]));
    let ports = report["checks"].as_array().expect("an array");
    let ports = ports
        .iter()
        .find(|check| check["name"] == "ports")
        .expect("a check");
    assert!(
        ports["found"]
            .as_str()
            .expect("a text")
            .contains(&format!("udp {port}"))
    );
    assert_eq!(ports["verdict"], "note");
}

#[test]
fn profiles_are_a_table_for_people_and_for_scripts() {
    let output = tune(&["--profiles"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).expect("text");
    let (list, code) = json(&tune(&["--profiles", "--json"]));
    let profiles = list["profiles"].as_array().expect("an array");
    assert_eq!((code, text.lines().count()), (0, profiles.len() + 1));
    for profile in profiles {
        assert!(text.contains(profile["name"].as_str().expect("a text")));
    }
}

/// Rungs add up, ascend, and have times if anything came back. Gives what came back in all.
fn check_rungs(measured: &Value) -> u64 {
    let rungs = measured["rungs"].as_array().expect("an array");
    let number = |rung: &Value, name: &str| rung[name].as_u64().expect("a number");
    assert!(!rungs.is_empty());
    for rung in rungs {
        let (sent, received) = (number(rung, "sent"), number(rung, "received"));
        assert!(sent > 0);
        assert_eq!(sent, received + number(rung, "lost"));
        assert_eq!(rung["round_trip_us"].is_object(), received > 0);
    }
    let rates: Vec<_> = rungs.iter().map(|rung| number(rung, "rate")).collect();
    assert!(rates.is_sorted_by(|a, b| a < b), "{rates:?}");
    rungs.iter().map(|rung| number(rung, "received")).sum()
}

#[test]
fn a_probe_on_loopback_gives_rungs_that_add_up() {
    let (measured, code) = json(&tune(&[
        "--probe",
        "--seconds",
        "2",
        "--max-rate",
        "5000",
        "--json",
    ]));
    assert_eq!((code, &measured["loopback"]), (0, &Value::Bool(true)));
    let received = check_rungs(&measured);
    assert!(measured["echo"]["echoed"].as_u64().expect("a number") >= received);
    assert!(received > 0);
    assert!(measured["machine"]["place"]["kernel"].is_string());
}

#[test]
fn a_probe_of_a_peer_is_echoed_by_it_and_the_peer_ends_in_order() {
    let mut child = command()
        .args(["tune", "--echo", "127.0.0.1:0", "--seconds", "120", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("piped"))
        .read_line(&mut line)
        .expect("it says where it listens");
    let peer = line.split(' ').nth(2).expect("an address").to_owned();
    let probe = tune(&[
        "--probe",
        "--peer",
        &peer,
        "--seconds",
        "1",
        "--max-rate",
        "2000",
        "--json",
    ]);
    signal("TERM", child.id());
    wait_until("the echo ends", || child.try_wait().expect("waitable"));
    let (served, code) = json(&child.wait_with_output().expect("it has ended"));
    assert_eq!((code, &served["address"]), (0, &Value::from(peer)));
    let (measured, code) = json(&probe);
    assert_eq!((code, &measured["loopback"]), (0, &Value::Bool(false)));
    assert!(served["echoed"].as_u64().expect("a number") >= check_rungs(&measured));
}

#[test]
fn a_peer_that_is_not_there_is_told_with_what_to_start_there() {
    let mute = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let peer = mute.local_addr().expect("bound").to_string();
    let output = tune(&["--probe", "--peer", &peer, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains(&peer) && error.contains("tune --echo"), "{error}");
}

#[test]
fn a_node_logs_at_its_start_what_tune_warns_of_and_serves_all_the_same() {
    let too_many = thread::available_parallelism().map_or(1, usize::from) + 1;
    let shards = too_many.to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = serve_command(dir.path());
    command.args(["--shards", &shards, "--market", "replay", "--driver", "epoll"]);
    let mut server = Server::start_by(command, dir.path());
    assert_eq!(http::get(server.ops, "/live", None).status, 200);
    let said = server.said();
    let logged: Vec<&str> = said.lines().filter(|line| line.contains("check=\"")).collect();
    let field = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\"")).expect(name);
        rest.split('"').next().expect("a text").to_owned()
    };
    let (report, _) = json(&tune(&["--json", "--shards", &shards, "--driver", "epoll"]));
    let mut wanted = named(&report, &["warn", "unfit"]);
    let names: Vec<_> = logged.iter().map(|line| field(line, "check")).collect();
    let mut found: BTreeSet<_> = names.iter().map(String::as_str).collect();
    assert_eq!(found.len(), logged.len(), "one line each");
    // What is measured anew may differ.
    for measured in ["throttling", "clock"] {
        found.remove(measured);
        wanted.remove(measured);
    }
    assert!(found.contains("shards"));
    assert_eq!(found, wanted);
    for line in &logged {
        assert!(
            line.contains(" WARN ") && !field(line, "change").is_empty(),
            "{line}"
        );
        assert!(
            ["warn", "unfit"].contains(&field(line, "verdict").as_str()),
            "{line}"
        );
    }
}

#[test]
fn metrics_count_throttled_periods_wherever_the_kernel_does() {
    let (report, _) = json(&tune(&["--json"]));
    let told = !report["machine"]["cgroup"]["throttling"].is_null();
    let server = Server::start(["--market", "replay"]);
    let page = http::get(server.ops, "/metrics", None).body;
    for name in [
        "trinity_cpu_throttled_periods_total",
        "trinity_cpu_throttled_seconds_total",
    ] {
        let sample = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        assert_eq!(sample.is_some(), told, "{name}");
        assert!(sample.is_none_or(|value| value.parse::<f64>().is_ok_and(|value| value >= 0.0)));
    }
}
