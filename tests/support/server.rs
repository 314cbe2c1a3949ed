//! A real server: the built binary, on ports and a directory of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use trinity_beast::clock;
use trinity_protocol::ApiKey;

/// The binary under test.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_trinity-beast");
/// Longest time anything a test waits for may take; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Where it answers UDP.
    pub udp: SocketAddr,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    /// Where it answers health, readiness and metrics.
    pub ops: SocketAddr,
    log: Receiver<String>,
    seen: Vec<String>,
    dir: Dir,
}

enum Dir {
    Own(tempfile::TempDir),
    Given(PathBuf),
}

/// A command that sees none of this process's settings.
pub(crate) fn command() -> Command {
    let mut command = Command::new(BINARY);
    for name in [
        "MARKET",
        "REPLAY_SPEED",
        "REPLAY_ONCE",
        "DATA_DIR",
        "BIND",
        "UDP_PORT_LPO",
        "TCP_PORT_LPO",
        "TCP_PORT_OPS",
        "TCP_PORT_LRS",
        "UDP_PORT_LRS",
        "SHARDS",
        "DRIVER",
        "SERVER_TYPE",
        "CLUSTER_NODE",
        "NODE_ENV",
        "MEMORYDB_URL",
        "AURORA_URL",
        "AURORA_SECRET",
        "AURORA_SECRET_FILE",
        "PGUSER",
        "PGDATABASE",
        "PGPASSWORD",
        "PGPASSWORD_FILE",
        "PGSSLMODE",
        "PGSSLROOTCERT",
        "RUST_LOG",
        "TRINITY_SERVER",
        "TRINITY_KEY_FILE",
    ] {
        command.env_remove(name);
    }
    command
}

impl Server {
    /// Starts a server with more flags, in a directory of its own.
    pub(crate) fn start<S: AsRef<OsStr>>(flags: impl IntoIterator<Item = S>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut command = serve_command(dir.path());
        command.args(flags);
        Self::run(command, Dir::Own(dir))
    }

    /// Starts a server in a directory that outlives it.
    pub(crate) fn start_in<S: AsRef<OsStr>>(
        dir: &std::path::Path,
        flags: impl IntoIterator<Item = S>,
    ) -> Self {
        let mut command = serve_command(dir);
        command.args(flags);
        Self::run(command, Dir::Given(dir.to_owned()))
    }

    /// Starts a server by a prepared command (see [`serve_command`]).
    pub(crate) fn start_by(command: Command, dir: &std::path::Path) -> Self {
        Self::run(command, Dir::Given(dir.to_owned()))
    }

    fn run(mut command: Command, dir: Dir) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let (send, log) = channel();
        for stream in [
            Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().expect("piped")),
        ] {
            let send = send.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut server = Self {
            child,
            udp: nowhere,
            http: nowhere,
            ops: nowhere,
            log,
            seen: Vec::new(),
            dir,
        };
        let line = server.wait_for_line("listening");
        server.udp = address(&line, "udp");
        server.http = address(&line, "http");
        server.ops = address(&line, "ops");
        server
    }

    /// Its data directory.
    pub(crate) fn data_dir(&self) -> &std::path::Path {
        match &self.dir {
            Dir::Own(dir) => dir.path(),
            Dir::Given(path) => path,
        }
    }

    /// The demo key it made.
    pub(crate) fn demo_key(&self) -> ApiKey {
        let text = fs::read_to_string(self.data_dir().join("demo.key")).expect("the demo key");
        text.parse().expect("a key")
    }

    /// The demo key's text.
    pub(crate) fn demo_key_text(&self) -> String {
        fs::read_to_string(self.data_dir().join("demo.key"))
            .expect("the demo key")
            .trim()
            .to_owned()
    }

    /// The first line of its output or log, from now on or before, that has all of `wanted`
    /// (words separated by `|`).
    pub(crate) fn wait_for_line(&mut self, wanted: &str) -> String {
        let fits = |line: &str| wanted.split('|').all(|word| line.contains(word));
        if let Some(line) = self.seen.iter().find(|line| fits(line)) {
            return line.clone();
        }
        let until = clock::monotonic() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(clock::monotonic());
            match self.log.recv_timeout(left) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if fits(&line) {
                        return line;
                    }
                }
                Err(end) => panic!("no line with {wanted:?} ({end}) in:\n{}", self.seen.join("\n")),
            }
        }
    }

    /// Everything it said until now.
    pub(crate) fn said(&mut self) -> String {
        self.seen.extend(self.log.try_iter());
        self.seen.join("\n")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM and waits for its end.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        signal("TERM", self.child.id());
        wait_until("the server ends", || self.child.try_wait().expect("waitable"))
    }

    /// Sends SIGKILL and waits.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killable");
        self.child.wait().expect("waitable");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `serve` on free loopback ports.
pub(crate) fn serve_command(dir: &std::path::Path) -> Command {
    let mut command = command();
    command
        .args([
            "serve",
            "--udp-port-lpo",
            "0",
            "--tcp-port-lpo",
            "0",
            "--tcp-port-ops",
            "0",
            "--data-dir",
        ])
        .arg(dir);
    command
}

/// Sends a signal to one process.
pub(crate) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill")
        .args([format!("-{name}"), pid.to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
}

/// Asks until there is an answer.
pub(crate) fn wait_until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_for(PATIENCE, what, ask)
}

/// The same for what may take longer.
pub(crate) fn wait_for<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = clock::monotonic() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::monotonic() < until, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn address(line: &str, field: &str) -> SocketAddr {
    let marker = format!("{field}=");
    let rest = &line[line
        .find(&marker)
        .unwrap_or_else(|| panic!("no {field} in {line:?}"))
        + marker.len()..];
    let text = rest.split_whitespace().next().unwrap_or_default();
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} in {line:?} is no address"))
}
