//! Judges facts: what was found, what is wanted, why, and how to change it.
//!
//! Pure: the same facts and the same plan give the same checks. What could not be read is a note,
//! never a guess.

mod cores;
mod kernel;
mod network;
mod process;

use serde::Serialize;

use crate::facts::{Facts, Place, Reading};

pub(crate) use process::{files, memory_wanted};

/// What somebody wants to run.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Shards.
    pub shards: usize,
    /// How they wait.
    pub driver: Driver,
    /// What a node of this version needs.
    #[serde(skip)]
    pub needs: Needs,
}

/// How shards wait for datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// glommio where io_uring works, else epoll.
    Auto,
    /// poll(2).
    Epoll,
    /// io_uring through glommio.
    Glommio,
}

/// What a node needs. It knows itself; this crate does not.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Most shards that a node runs.
    pub max_shards: usize,
    /// Buffer that each shard's socket asks for, bytes each way.
    pub buffer_bytes: u64,
    /// Backlog that each HTTP listener asks for.
    pub listen_backlog: u64,
    /// Connections that each HTTP worker holds.
    pub connections_per_worker: u64,
    /// Memory that glommio wants to be allowed to lock, bytes.
    pub memlock_bytes: u64,
}

/// What was found out about one thing.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What it is about; stable, for scripts.
    pub name: &'static str,
    /// What is there.
    pub found: String,
    /// What a node wants.
    pub wanted: String,
    /// What follows.
    pub verdict: Verdict,
    /// Why it matters.
    pub why: String,
    /// How to change it.
    pub how: How,
}

/// What follows from a check; ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As wanted.
    Ok,
    /// Good to know; nothing to do, or nothing that can be done here.
    Note,
    /// Costs speed or room, and can be changed.
    Warn,
    /// The plan cannot be run well here, or not at all.
    Unfit,
}

/// How to change it, in three places.
#[derive(Clone, Debug, Default, Serialize)]
pub struct How {
    /// On this machine, from a shell.
    pub here: String,
    /// On an EC2 instance, for good.
    pub ec2: String,
    /// In an ECS task definition.
    pub ecs: String,
}

/// All checks of a plan on a machine.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Whether the machine is fit for the plan; null if what decides could not be read.
    pub fit: Option<bool>,
    /// What was judged.
    pub plan: Plan,
    /// Every check, the decisive ones first.
    pub checks: Vec<Check>,
}

/// Judges a plan on a machine.
pub fn run(facts: &Facts, plan: &Plan) -> Report {
    let checks: Vec<_> = [
        cores::checks(facts, plan),
        process::checks(facts, plan),
        network::checks(facts, plan),
        kernel::checks(facts),
    ]
    .into_iter()
    .flatten()
    .collect();
    let unfit = checks.iter().any(|check| check.verdict == Verdict::Unfit);
    let decided = unfit || facts.shards_with_a_cpu().is_ok();
    Report {
        fit: decided.then_some(!unfit),
        plan: *plan,
        checks,
    }
}

impl Report {
    /// The checks at least this bad.
    pub fn at_least(&self, verdict: Verdict) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(move |check| check.verdict >= verdict)
    }
}

impl Verdict {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warn => "warn",
            Self::Unfit => "unfit",
        }
    }

    /// As bad as this, but no worse than a note where nothing can be done about it.
    fn where_it_can_be_changed(self, changeable: bool) -> Self {
        if changeable { self } else { self.min(Self::Note) }
    }
}

impl How {
    fn new(here: &str, ec2: &str, ecs: &str) -> Self {
        Self {
            here: here.to_owned(),
            ec2: ec2.to_owned(),
            ecs: ecs.to_owned(),
        }
    }

    /// The same everywhere.
    fn everywhere(how: &str) -> Self {
        Self::new(how, how, how)
    }

    /// The one for this place.
    pub fn for_place(&self, place: Place) -> &str {
        match place {
            Place::Fargate | Place::EcsOnEc2 => &self.ecs,
            Place::Ec2 => &self.ec2,
            Place::Container | Place::Host => &self.here,
        }
    }
}

/// A sysctl that the host owns: not to be set from within a container, nor on Fargate.
fn host_sysctl(name: &str, value: u64) -> How {
    How::new(
        &format!("sysctl -w {name}={value} (as root, on the host if this is a container)"),
        &format!("{name} = {value} in a file in /etc/sysctl.d/, in the user data or the image"),
        "on Fargate it cannot be raised; on EC2 capacity set it on the instance, as for EC2",
    )
}

/// A sysctl that belongs to the network namespace: a container may have its own.
fn namespaced_sysctl(name: &str, value: u64) -> How {
    How::new(
        &format!("sysctl -w {name}={value} (as root), or docker run --sysctl {name}={value}"),
        &format!("{name} = {value} in a file in /etc/sysctl.d/, in the user data or the image"),
        &format!(
            r#""systemControls": [{{"namespace": "{name}", "value": "{value}"}}] (awsvpc; Fargate too)"#
        ),
    )
}

/// Bytes for people.
fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        10_485_760..10_737_418_240 => format!("{} MiB", count >> 20),
        _ => format!("{} GiB", count >> 30),
    }
}

/// `1 shard`, `2 shards`.
pub fn shards(count: usize) -> String {
    format!("{count} shard{}", if count == 1 { "" } else { "s" })
}

fn not_told(why: &str) -> String {
    format!("not told ({why})")
}

/// A reading as a check shows it.
fn shown<T>(reading: &Reading<T>, show: impl FnOnce(&T) -> String) -> String {
    reading.as_ref().map_or_else(not_told, show)
}

#[cfg(test)]
mod tests;
