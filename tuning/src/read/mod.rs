//! The thin edge that reads facts: `/proc`, `/sys`, the environment and a few sockets.
//!
//! Everything but the sockets is found below one root, so that a test gives a directory instead.
//! What is missing or makes no sense becomes a `Reading::Unknown` that names the file.

pub mod cgroup;
mod cpu;
mod limits;
mod place;
mod sockets;

use std::fs;
use std::path::{Path, PathBuf};

use crate::clock;
use crate::facts::{Facts, MemoryFacts, NetFacts, Reading, Trials};

/// Where to look.
#[derive(Clone, Debug)]
pub struct Source {
    /// What `/` is: `/proc` and `/sys` lie below it.
    pub root: PathBuf,
    /// The environment variables that tell where this runs.
    pub environment: Vec<(String, String)>,
}

/// What to try with sockets.
#[derive(Clone, Debug)]
pub struct Tries {
    /// Buffer that a shard asks for, bytes each way.
    pub buffer_bytes: usize,
    /// Ports of a node: (`udp` or `tcp`, number).
    pub ports: Vec<(&'static str, u16)>,
    /// Whether to fill a receive buffer until it drops something; some milliseconds.
    pub fill: bool,
}

/// A file that was looked into.
struct File {
    path: PathBuf,
    text: String,
}

impl Source {
    /// This machine.
    pub fn this_machine() -> Self {
        let wanted = [place::ECS_METADATA, place::EXECUTION, place::CONTAINER];
        Self {
            root: PathBuf::from("/"),
            environment: std::env::vars()
                .filter(|(name, _)| wanted.contains(&name.as_str()))
                .collect(),
        }
    }

    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn open(&self, path: &str) -> Result<File, String> {
        File::open(&self.path(path))
    }

    /// A file that holds one word.
    fn word(&self, path: &str) -> Reading<String> {
        let word = |file: File| {
            let word = file.text.trim().to_owned();
            if word.is_empty() {
                return Err(file.garbled("is empty"));
            }
            Ok(word)
        };
        self.open(path).and_then(word).into()
    }

    /// A file that holds one number.
    fn number(&self, path: &str) -> Reading<u64> {
        self.open(path).and_then(|file| file.number(&file.text)).into()
    }
}

impl File {
    fn open(path: &Path) -> Result<Self, String> {
        match fs::read_to_string(path) {
            Ok(text) => Ok(Self {
                path: path.to_owned(),
                text,
            }),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    fn garbled(&self, what: &str) -> String {
        format!("{} {what}", self.path.display())
    }

    fn number(&self, text: &str) -> Result<u64, String> {
        let text = text.trim();
        text.parse()
            .map_err(|_| self.garbled(&format!("holds {text:?}, not a number")))
    }

    /// The rest of the line that begins so.
    fn line(&self, begins: &str) -> Result<&str, String> {
        let mut lines = self.text.lines();
        let found = lines.find_map(|line| line.strip_prefix(begins));
        found.ok_or_else(|| self.garbled(&format!("has no line {begins:?}")))
    }
}

/// Reads all facts. What the caller tried itself comes in.
pub fn facts(source: &Source, tries: &Tries, trials: Trials) -> Facts {
    Facts {
        cpu: cpu::read(source, clock::read_cost_ns()),
        cgroup: cgroup::read(&source.root),
        limits: limits::read(source),
        memory: MemoryFacts {
            total_bytes: memory(source).into(),
            transparent_huge_pages: huge_pages(source).into(),
        },
        net: net(source, tries),
        trials,
        place: place::read(source),
    }
}

fn net(source: &Source, tries: &Tries) -> NetFacts {
    let sysctl = |name: &str| source.number(&format!("proc/sys/net/core/{name}"));
    let (granted_receive_bytes, granted_send_bytes) = sockets::granted(tries.buffer_bytes);
    NetFacts {
        rmem_max: sysctl("rmem_max"),
        wmem_max: sysctl("wmem_max"),
        rmem_default: sysctl("rmem_default"),
        somaxconn: sysctl("somaxconn"),
        netdev_max_backlog: sysctl("netdev_max_backlog"),
        granted_receive_bytes,
        granted_send_bytes,
        datagrams_held: tries.fill.then(|| sockets::held(tries.buffer_bytes).into()),
        ports: tries
            .ports
            .iter()
            .map(|(protocol, number)| sockets::port(protocol, *number))
            .collect(),
    }
}

/// proc(5), `meminfo`.
fn memory(source: &Source) -> Result<u64, String> {
    let file = source.open("proc/meminfo")?;
    let line = file.line("MemTotal:")?;
    let kilobytes = line.trim().strip_suffix(" kB").unwrap_or(line);
    Ok(file.number(kilobytes)?.saturating_mul(1_024))
}

/// The word in brackets is the one that holds: `always [madvise] never`.
fn huge_pages(source: &Source) -> Result<String, String> {
    let file = source.open("sys/kernel/mm/transparent_hugepage/enabled")?;
    let word = file
        .text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'));
    word.map(|(word, _)| word.to_owned())
        .ok_or_else(|| file.garbled("marks no setting"))
}

#[cfg(test)]
mod tests;
