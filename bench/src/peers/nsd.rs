//! NSD with a small zone, which dnsperf loads.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use trinity_beast::clock;

use super::instance::{Instance, run_pinned};
use super::stream::Window;
use super::{Cpus, Load};

/// Longest time until the zone is served.
const START: Duration = Duration::from_secs(10);
/// Between two questions whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// Starts one with a zone of that many names.
pub(crate) fn start(program: &Path, names: usize, cpu: usize) -> anyhow::Result<Instance> {
    let instance = Instance::start("nsd", cpu, |port, folder| {
        let path = folder.display();
        let mut zone =
            String::from("$ORIGIN bench.test.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\n");
        zone.push_str("ns A 127.0.0.1\n");
        for name in 0..names {
            writeln!(zone, "s{name} A 10.0.{}.{}", name >> 8 & 255, name & 255)?;
        }
        fs::write(folder.join("bench.test"), zone)?;
        let text = format!(
            "server:\n server-count: 1\n ip-address: 127.0.0.1@{port}\n username: \"\"\n chroot: \"\"\n \
             zonesdir: \"{path}\"\n database: \"\"\n pidfile: \"{path}/pid\"\n xfrdfile: \"{path}/xfrd\"\n \
             xfrdir: \"{path}\"\n zonelistfile: \"{path}/zones\"\n\
             remote-control:\n control-enable: no\n\
             zone:\n name: bench.test\n zonefile: bench.test\n"
        );
        let file = folder.join("nsd.conf");
        fs::write(&file, text)?;
        let mut command = Command::new(program);
        command.arg("-d").arg("-c").arg(file);
        Ok(command)
    })?;
    // It takes connections before it has read its zone and started those who serve.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(instance.address)?;
    socket.set_read_timeout(Some(LOOK))?;
    let until = clock::monotonic() + START;
    let mut answer = [0; 512];
    loop {
        // An error is one of an earlier datagram, sent before anybody listened.
        let _ = socket.send(QUESTION);
        if let Ok(12..) = socket.recv(&mut answer)
            && answer[3] % 16 == 0
            && answer[7] > 0
        {
            return Ok(instance);
        }
        if clock::monotonic() >= until {
            anyhow::bail!("nsd does not serve its zone at {}", instance.address);
        }
    }
}

/// `s0.bench.test A`, as RFC 1035 writes a question.
const QUESTION: &[u8] =
    b"\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02s0\x05bench\x04test\x00\x00\x01\x00\x01";

/// Loads it with dnsperf for a whole number of seconds, warm-up and all.
pub(crate) fn run(
    dnsperf: &Path,
    instance: &Instance,
    names: usize,
    window: &Window,
    cpus: Cpus,
) -> anyhow::Result<Load> {
    let mut questions = String::new();
    for name in 0..names {
        writeln!(questions, "s{name}.bench.test A")?;
    }
    let file = tempfile::Builder::new()
        .prefix("trinity-bench-dnsperf-")
        .tempfile()?;
    fs::write(file.path(), questions)?;
    let seconds = (window.warm_up + window.time).as_secs_f64().ceil().to_string();
    let mut command = Command::new(dnsperf);
    command.args([
        "-s",
        "127.0.0.1",
        "-p",
        &instance.address.port().to_string(),
        "-l",
        &seconds,
    ]);
    command.args(["-T", "1", "-c", &window.connections.to_string()]);
    command.args(["-q", &(window.depth * window.connections).to_string(), "-d"]);
    command.arg(file.path());
    let time = instance.time()?;
    let before = time.read()?;
    let text = run_pinned(&mut command, cpus.loading).context("dnsperf")?;
    let spent = time.read()?.since(before);
    let told = Told::read(&text)?;
    Ok(Load {
        verified: told.right,
        lost: told.lost,
        wall: Duration::from_secs_f64(told.seconds),
        server: spent,
        loader: None,
    })
}

/// What dnsperf says.
#[derive(Debug, PartialEq)]
struct Told {
    right: u64,
    lost: u64,
    seconds: f64,
}

impl Told {
    /// Reads it; any answer but NOERROR is an error.
    fn read(text: &str) -> anyhow::Result<Self> {
        let value = |name: &str| {
            text.lines()
                .find_map(|line| line.trim().strip_prefix(name)?.split_ascii_whitespace().next())
                .with_context(|| format!("dnsperf does not say {name:?}"))
        };
        let completed: u64 = value("Queries completed:")?.parse()?;
        let codes = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("Response codes:"))
            .context("dnsperf does not say the response codes")?;
        if !codes.trim().starts_with(&format!("NOERROR {completed} ")) {
            anyhow::bail!("{completed} queries were answered, by code: {}", codes.trim());
        }
        Ok(Self {
            right: completed,
            lost: value("Queries lost:")?.parse()?,
            seconds: value("Run time (s):")?.parse()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
Statistics:

  Queries sent:         101234
  Queries completed:    101200 (99.97%)
  Queries lost:         34 (0.03%)

  Response codes:       NOERROR 101200 (100.00%)
  Average packet size:  request 31, response 80
  Run time (s):         1.000100
  Queries per second:   101189.881012
";

    #[test]
    fn what_dnsperf_says_is_read() {
        let told = Told::read(OUTPUT).expect("understood");
        let expected = Told {
            right: 101_200,
            lost: 34,
            seconds: 1.0001,
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn another_code_or_a_missing_line_is_an_error() {
        let codes = OUTPUT.replace(
            "NOERROR 101200 (100.00%)",
            "NOERROR 101199 (99.99%), SERVFAIL 1 (0.01%)",
        );
        assert!(Told::read(&codes).is_err());
        assert!(Told::read(&OUTPUT.replace("Queries lost", "Lost")).is_err());
        assert!(Told::read("").is_err());
    }
}
