//! A server of somebody else's, run for one measurement: in a directory of its own, on a free
//! port of loopback, on the serving CPU, and ended with the value that stands for it.
#![expect(
    unsafe_code,
    reason = "a child must be pinned and tied to this program before it runs; process groups are ended by number"
)]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fs, io, thread};

use anyhow::Context;
use tempfile::TempDir;
use trinity_beast::clock;
use trinity_beast::shard::driver::cpus;

use super::process::{ProcessTime, ServingTime};

/// Longest time until it takes connections.
const START: Duration = Duration::from_secs(15);
/// Between two looks whether it does.
const LOOK: Duration = Duration::from_millis(5);
/// Another program may take the free port first.
const TRIES: usize = 5;
/// What it wrote is told when it does not start, from its end.
const LOG_BYTES: usize = 2_000;

/// A running server.
#[derive(Debug)]
pub(crate) struct Instance {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    // Ended first, then its directory is removed.
    process: Group,
    #[cfg_attr(not(test), expect(dead_code, reason = "held for its end"))]
    directory: TempDir,
}

/// A child that leads a process group, all of which ends with this.
#[derive(Debug)]
struct Group(Child);

impl Instance {
    /// Starts what `command` makes of a free port (of TCP and UDP) and an empty directory, and
    /// waits until it accepts connections on that port of 127.0.0.1.
    pub(crate) fn start(
        name: &str,
        cpu: usize,
        command: impl Fn(u16, &Path) -> anyhow::Result<Command>,
    ) -> anyhow::Result<Self> {
        let mut last = None;
        for _ in 0..TRIES {
            let directory = tempfile::Builder::new()
                .prefix(&format!("trinity-bench-{name}-"))
                .tempdir()?;
            let port = free_port()?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let mut command = command(port, directory.path())?;
            let log = directory.path().join("output.log");
            let mut process =
                Group(spawn(&mut command, cpu, &log).with_context(|| format!("starting {name}"))?);
            match wait_for(&mut process.0, address) {
                Ok(()) => {
                    return Ok(Self {
                        address,
                        process,
                        directory,
                    });
                }
                Err(error) => {
                    let said = fs::read(&log).unwrap_or_default();
                    let said =
                        String::from_utf8_lossy(&said[said.len().saturating_sub(LOG_BYTES)..]).into_owned();
                    last = Some(error.context(format!("{name} did not start; it said: {}", said.trim())));
                }
            }
        }
        Err(last.expect("it was tried at least once"))
    }

    /// The time of all processes that it consists of by now.
    pub(crate) fn time(&self) -> io::Result<ServingTime> {
        ProcessTime::of_group(self.process.0.id()).map(ServingTime::Processes)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: kill(2) takes no pointers. The child leads its group and is not waited for yet, so
        // the number cannot mean any other.
        unsafe { libc::kill(-(self.0.id() as libc::pid_t), libc::SIGKILL) };
        // It was killed: this does not take long, and no error is worth telling.
        let _ = self.0.wait();
    }
}

/// Runs a program to its end on one CPU; gives what it wrote to standard output.
pub(crate) fn run_pinned(command: &mut Command, cpu: usize) -> anyhow::Result<String> {
    tie(command, cpu);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        anyhow::bail!(
            "{}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn spawn(command: &mut Command, cpu: usize, log: &Path) -> io::Result<Child> {
    let log = fs::File::create(log)?;
    tie(command, cpu);
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Pins the child, and ends it with the thread that starts it, however that ends.
fn tie(command: &mut Command, cpu: usize) {
    let tie = move || {
        cpus::pin(cpu)?;
        // SAFETY: prctl(2) with PR_SET_PDEATHSIG takes a number.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only async-signal-safe things may happen (signal-safety(7)):
    // the closure makes two system calls and allocates nothing unless the CPU does not exist, which
    // was looked up before.
    unsafe { command.pre_exec(tie) };
}

fn wait_for(child: &mut Child, address: SocketAddr) -> anyhow::Result<()> {
    let until = clock::monotonic() + START;
    loop {
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("it ended with {status}");
        }
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        if clock::monotonic() >= until {
            anyhow::bail!("it takes no connections at {address}");
        }
        thread::sleep(LOOK);
    }
}

fn free_port() -> anyhow::Result<u16> {
    for _ in 0..100 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        if UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    anyhow::bail!("no port is free for both TCP and UDP")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// A server in bash's own words would need more than bash has, so Python plays it; its child
    /// stands for the workers that some servers start.
    const SERVER: &str = "import os, socket, sys, time\n\
        port, folder = int(sys.argv[1]), sys.argv[2]\n\
        pid = os.fork()\n\
        if pid == 0: time.sleep(600)\n\
        open(folder + '/child', 'w').write(str(pid))\n\
        s = socket.create_server(('127.0.0.1', port))\n\
        while True: s.accept()\n";

    fn python(script: &str, port: u16, folder: &Path) -> Command {
        let mut command = Command::new("python3");
        command.args(["-c", script]).arg(port.to_string()).arg(folder);
        command
    }

    #[test]
    fn an_instance_and_its_children_end_when_it_is_dropped() {
        let cpu = cpus::allowed().expect("readable")[0];
        let instance =
            Instance::start("test", cpu, |port, folder| Ok(python(SERVER, port, folder))).expect("started");
        let leader = instance.process.0.id();
        let folder = instance.directory.path().to_owned();
        let child: u32 = fs::read_to_string(folder.join("child"))
            .expect("written before it listens")
            .parse()
            .expect("a number");
        assert!(is_alive(leader) && is_alive(child));
        let time = instance.time().expect("readable");
        assert!(time.read().is_ok());
        let ServingTime::Processes(processes) = time else {
            panic!("it is no thread");
        };
        assert_eq!(processes.len(), 2, "the time of both counts");
        let allowed = fs::read_to_string(format!("/proc/{child}/status")).expect("alive");
        assert!(
            allowed.contains(&format!("Cpus_allowed_list:\t{cpu}\n")),
            "pinned"
        );
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _instance = instance;
            panic!("something goes wrong");
        }));
        assert!(panicked.is_err());
        assert!(!is_alive(leader));
        // Its killer does not wait for the grandchild; the kernel ends it all the same.
        let until = clock::monotonic() + Duration::from_secs(20);
        while is_alive(child) {
            assert!(clock::monotonic() < until, "the grandchild goes on");
            thread::sleep(LOOK);
        }
        assert!(!folder.exists());
    }

    #[test]
    fn one_that_does_not_start_is_told_of_with_its_own_words() {
        let cpu = cpus::allowed().expect("readable")[0];
        let error = Instance::start("test", cpu, |port, folder| {
            Ok(python("import sys; sys.exit('no such luck')", port, folder))
        })
        .expect_err("it ends at once");
        assert!(format!("{error:#}").contains("no such luck"), "{error:#}");
    }
}
