//! A real Postgres of a test's own: its own directory, socket and port, gone with the test.
//!
//! A cluster is initialised once for each target directory and copied for each test. Durability is
//! off: no test cuts the power.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

/// Where Debian puts it; elsewhere it is looked for on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest that the ledger takes.
const OLDEST: u32 = 15;
/// Changes when what is in the template does.
const TEMPLATE: &str = "postgres-template-3";
/// The role that owns the database, and the database.
pub(crate) const NAME: &str = "trinity_beast";
/// The role's password, for connections that are not over the socket.
pub(crate) const PASSWORD: &str = "correct horse";
/// Twenty milliseconds, this many times.
const PATIENCE: u32 = 3_000;
const STEP: Duration = Duration::from_millis(20);

/// A running server; stopped when dropped.
pub(crate) struct Postgres {
    dir: tempfile::TempDir,
    binaries: PathBuf,
    child: Option<Child>,
    /// Where it listens on 127.0.0.1.
    pub port: u16,
}

impl Postgres {
    /// Starts a server with an empty database.
    pub(crate) fn start() -> Self {
        Self::start_with("", &[])
    }

    /// The same with more lines for its configuration, and files in its data directory.
    pub(crate) fn start_with(configuration: &str, files: &[(&str, &str)]) -> Self {
        let binaries = binaries();
        let template = template(&binaries);
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        copy(&template, &data);
        own(dir.path());
        for (name, text) in files {
            let path = data.join(name);
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("ours");
            own(&path);
        }
        let mut file = File::options()
            .append(true)
            .open(data.join("postgresql.conf"))
            .expect("the configuration");
        write!(
            file,
            "\nunix_socket_directories = '{}'\n{configuration}\n",
            dir.path().display()
        )
        .expect("written");
        let mut server = Self {
            dir,
            binaries,
            child: None,
            port: 0,
        };
        // Another process may take the port that was free a moment ago.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a port");
            server.port = free.local_addr().expect("bound").port();
            drop(free);
            if server.try_start() {
                return server;
            }
        }
        panic!("Postgres does not start:\n{}", server.log());
    }

    /// A URL of its database over the socket, where no password is asked for.
    pub(crate) fn url(&self) -> String {
        let (dir, port) = (self.dir.path().display(), self.port);
        format!("postgres://{NAME}@/{NAME}?host={dir}&port={port}")
    }

    /// Runs SQL as the owner of the ledger and returns what it gave, columns apart by `|`.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, String> {
        self.sql_as(NAME, NAME, sql)
    }

    /// Runs SQL as somebody in some database.
    pub(crate) fn sql_as(&self, user: &str, database: &str, sql: &str) -> Result<String, String> {
        let output = Command::new(self.binaries.join("psql"))
            .args([
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-U",
                user,
                "-d",
                database,
                "-c",
                sql,
            ])
            .arg("-h")
            .arg(self.dir.path())
            .args(["-p", &self.port.to_string()])
            .env_remove("PGOPTIONS")
            .output()
            .expect("psql runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// Stops the server in order; whoever is connected is cut off.
    pub(crate) fn stop(&mut self) {
        self.end("INT");
    }

    /// Kills it as a crash would, but for its memory, which is given back.
    pub(crate) fn crash(&mut self) {
        self.end("QUIT");
    }

    /// Starts it again, where it was.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        assert!(self.try_start(), "Postgres does not start again:\n{}", self.log());
    }

    /// Everything it logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    fn try_start(&mut self) -> bool {
        let data = self.dir.path().join("data");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("log"))
            .expect("a log");
        let mut command = unprivileged(&self.binaries.join("postgres"));
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        let mut child = command.spawn().expect("postgres runs");
        for _ in 0..PATIENCE {
            // The last line of this file says when connections are taken.
            let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            let ours = status.lines().next() == Some(child.id().to_string().as_str());
            if ours && status.lines().last().is_some_and(|line| line.trim() == "ready") {
                self.child = Some(child);
                return true;
            }
            if child.try_wait().expect("waitable").is_some() {
                return false;
            }
            thread::sleep(STEP);
        }
        self.child = Some(child);
        panic!("Postgres did not come up in a minute:\n{}", self.log());
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut child) = self.child.take() {
            let pid = child.id().to_string();
            let status = Command::new("kill").args([format!("-{signal}"), pid]).status();
            assert!(status.expect("kill runs").success());
            child.wait().expect("waitable");
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.crash();
        } else if let Some(mut child) = self.child.take() {
            // No second panic; it ends by itself when it cannot be asked.
            let _ = Command::new("kill")
                .args(["-QUIT", &child.id().to_string()])
                .status();
            let _ = child.wait();
            eprintln!("Postgres said:\n{}", self.log());
        }
    }
}

/// The newest that is installed.
fn binaries() -> PathBuf {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|version| *version >= OLDEST)
        .max();
    if let Some(version) = newest {
        return Path::new(DEBIAN).join(version.to_string()).join("bin");
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|dir| dir.join("initdb").exists() && dir.join("postgres").exists())
        .expect("Postgres 15 or later is missing: install it (Debian's package is `postgresql`), or put its bin on the PATH")
}

/// Postgres does not run as root. Who that is there depends on how it was installed.
fn account() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self")
        .map(|own| std::os::unix::fs::MetadataExt::uid(&own))
        .ok()
        != Some(0)
    {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    ["postgres", "nobody"].iter().find_map(|wanted| {
        let line = accounts
            .lines()
            .find(|line| line.split(':').next() == Some(wanted))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    })
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir("/")
        .env("LC_ALL", "C")
        .env_remove("PGOPTIONS");
    if let Some((uid, gid)) = account() {
        command.uid(uid).gid(gid);
    }
    command
}

/// A cluster that was never used, made by the first test that needs it.
fn template(binaries: &Path) -> PathBuf {
    // target/PROFILE/deps/TEST
    let test = std::env::current_exe().expect("this test");
    let profile = test.ancestors().nth(2).expect("a target directory");
    let template = profile.join(TEMPLATE);
    let lock = File::create(profile.join(format!("{TEMPLATE}.lock"))).expect("a lock");
    lock.lock().expect("locked");
    if template.exists() {
        return template;
    }
    let dir = tempfile::tempdir().expect("a directory");
    own(dir.path());
    let data = dir.path().join("data");
    let output = unprivileged(&binaries.join("initdb"))
        .args(["-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust"])
        .args(["--no-sync", "--no-instructions", "--wal-segsize=1", "-D"])
        .arg(&data)
        .output()
        .expect("initdb runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(
        data.join("pg_hba.conf"),
        "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n",
    )
    .expect("written");
    let mut file = File::options()
        .append(true)
        .open(data.join("postgresql.conf"))
        .expect("the configuration");
    file.write_all(
        b"\nlisten_addresses = '127.0.0.1'\nfsync = off\nfull_page_writes = off\nmax_connections = 60\n\
          shared_buffers = 64MB\nmax_wal_size = 512MB\njit = off\nlog_min_error_statement = panic\n",
    )
    .expect("written");
    let mut single = unprivileged(&binaries.join("postgres"))
        .args(["--single", "-D"])
        .arg(&data)
        .arg("template1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres runs");
    let mut input = single.stdin.take().expect("piped");
    write!(
        input,
        "CREATE ROLE {NAME} LOGIN PASSWORD '{PASSWORD}';\nCREATE DATABASE {NAME} OWNER {NAME};\nDROP DATABASE postgres;\n"
    )
    .expect("written");
    drop(input);
    assert!(
        single.wait().expect("waitable").success(),
        "Postgres made no database"
    );
    let half = profile.join(format!("{TEMPLATE}.half"));
    let _ = fs::remove_dir_all(&half);
    copy(&data, &half);
    fs::rename(&half, &template).expect("renamed");
    template
}

/// Copies a directory; the copy belongs to whoever runs Postgres.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("made");
    fs::set_permissions(to, Permissions::from_mode(0o700)).expect("ours");
    for entry in fs::read_dir(from).expect("readable") {
        let entry = entry.expect("readable");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("known").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copied");
            own(&target);
        }
    }
    own(to);
}

fn own(path: &Path) {
    if let Some((uid, gid)) = account() {
        chown(path, Some(uid), Some(gid)).expect("root may");
    }
}
