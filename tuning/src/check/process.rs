//! What this process may do: io_uring, locked memory, open files, memory.

use super::{Check, Driver, How, Plan, Verdict, bytes, not_told, shards, shown};
use crate::facts::{Facts, Limit, Place, Reading};

/// Descriptors that a node has beside shards and connections: ledger, logs, runtimes. Counted in
/// running nodes: 22, and 6 for each shard with epoll, 11 with glommio; the rest is room.
const FILES_BASE: u64 = 48;
/// Descriptors of one shard and its HTTP worker, whatever the driver.
const FILES_PER_SHARD: u64 = 16;
/// Descriptors that the feeds of all venues may use.
const FILES_OF_FEEDS: u64 = 256;
/// Memory of a node, bytes: without shards, and for each shard with its HTTP worker.
const MEMORY_BASE: u64 = 128 << 20;
const MEMORY_PER_SHARD: u64 = 64 << 20;

pub(super) fn checks(facts: &Facts, plan: &Plan) -> Vec<Check> {
    vec![
        driver(facts, plan),
        memlock(facts, plan),
        open_files(facts, plan),
        memory(facts, plan),
    ]
}

/// Descriptors that a node needs to start at all, and those it uses when it is full.
pub(crate) fn files(plan: &Plan) -> (u64, u64) {
    let shards = plan.shards as u64;
    let least = FILES_BASE.saturating_add(shards.saturating_mul(FILES_PER_SHARD));
    let connections = shards.saturating_mul(plan.needs.connections_per_worker);
    let full = least.saturating_add(FILES_OF_FEEDS).saturating_add(connections);
    (least, full)
}

/// Memory that a node should have, bytes.
pub(crate) fn memory_wanted(shards: usize) -> u64 {
    MEMORY_BASE.saturating_add((shards as u64).saturating_mul(MEMORY_PER_SHARD))
}

fn driver(facts: &Facts, plan: &Plan) -> Check {
    let works = facts.trials.io_uring.known().is_some();
    let (wanted, verdict) = match (plan.driver, works) {
        (Driver::Epoll, _) => ("epoll, which works everywhere", Verdict::Ok),
        (_, true) => ("io_uring", Verdict::Ok),
        (Driver::Auto, false) => ("io_uring, else epoll", Verdict::Note),
        (Driver::Glommio, false) => ("io_uring, as --driver glommio says", Verdict::Unfit),
    };
    Check {
        name: "driver",
        found: match facts.trials.io_uring.as_ref() {
            Ok(()) => "io_uring works".to_owned(),
            Err(why) => format!("no io_uring: {why}"),
        },
        wanted: wanted.to_owned(),
        verdict,
        why: "shards wait in io_uring (glommio) where it works and in poll(2) (epoll) where it does not; both read and \
              write by recvmmsg and sendmmsg, so epoll serves as many"
            .to_owned(),
        how: How::new(
            "allow io_uring_setup in the container's seccomp profile, set sysctl kernel.io_uring_disabled=0, \
             or use --driver epoll",
            "sysctl kernel.io_uring_disabled=0, or use --driver epoll",
            "Fargate refuses io_uring; on EC2 capacity \"dockerSecurityOptions\" may name a seccomp profile; \
             or DRIVER=epoll in \"environment\"",
        ),
    }
}

fn limit_shown(limit: &Limit, show: impl Fn(u64) -> String) -> String {
    limit.soft.map_or_else(|| "unlimited".to_owned(), show)
}

fn memlock(facts: &Facts, plan: &Plan) -> Check {
    let needs = plan.needs.memlock_bytes;
    let verdict = match (&facts.limits.memlock_bytes, plan.driver) {
        (_, Driver::Epoll) => Verdict::Ok,
        (Reading::Known(limit), _) if limit.reaches(needs) => Verdict::Ok,
        (Reading::Known(_), Driver::Glommio) => Verdict::Unfit,
        _ => Verdict::Note,
    };
    Check {
        name: "memlock",
        found: shown(&facts.limits.memlock_bytes, |limit| limit_shown(limit, bytes)),
        wanted: match plan.driver {
            Driver::Epoll => "any, with epoll".to_owned(),
            _ => format!("{} for io_uring", bytes(needs)),
        },
        verdict,
        why: "glommio locks its rings' memory; below this limit epoll is used".to_owned(),
        how: How::new(
            "ulimit -l 8192, LimitMEMLOCK=8M in the systemd unit, or docker run --ulimit memlock=8388608",
            "LimitMEMLOCK=8M in the systemd unit",
            r#""ulimits": [{"name": "memlock", "softLimit": 8388608, "hardLimit": 8388608}]; not on Fargate"#,
        ),
    }
}

fn open_files(facts: &Facts, plan: &Plan) -> Check {
    let (least, full) = files(plan);
    let verdict = match &facts.limits.open_files {
        Reading::Unknown(_) => Verdict::Note,
        Reading::Known(limit) if !limit.reaches(least) => Verdict::Unfit,
        Reading::Known(limit) if !limit.reaches(full) => Verdict::Warn,
        Reading::Known(_) => Verdict::Ok,
    };
    let value = full.next_power_of_two().max(65_535);
    Check {
        name: "open-files",
        found: shown(&facts.limits.open_files, |limit| {
            limit_shown(limit, |count| count.to_string())
        }),
        wanted: format!("{full} ({least} at least)"),
        verdict,
        why: format!(
            "each HTTP worker holds up to {} connections, a descriptor each; without descriptors it cannot accept, and \
             with too few the node does not start",
            plan.needs.connections_per_worker
        ),
        how: How::new(
            &format!("ulimit -n {value}, LimitNOFILE={value}, or docker run --ulimit nofile={value}"),
            &format!("LimitNOFILE={value} in the systemd unit"),
            &format!(
                r#""ulimits": [{{"name": "nofile", "softLimit": {value}, "hardLimit": {value}}}] (Fargate too)"#
            ),
        ),
    }
}

fn memory(facts: &Facts, plan: &Plan) -> Check {
    let wanted = memory_wanted(plan.shards);
    let limit = facts.cgroup.memory_limit_bytes.known().copied().flatten();
    let total = facts.memory.total_bytes.known().copied();
    let holds = match (limit, total) {
        (Some(limit), Some(total)) => Some(limit.min(total)),
        (limit, total) => limit.or(total),
    };
    Check {
        name: "memory",
        found: match (holds, limit) {
            (Some(count), Some(limit)) if limit == count => format!("{} (the group's limit)", bytes(count)),
            (Some(count), _) => bytes(count),
            (None, _) => not_told(facts.memory.total_bytes.as_ref().err().unwrap_or_default()),
        },
        wanted: format!("{} for {}", bytes(wanted), shards(plan.shards)),
        verdict: match holds {
            Some(count) if count >= wanted => Verdict::Ok,
            Some(_) => Verdict::Warn,
            None => Verdict::Note,
        },
        why: "every shard has its own copy of the prices and its own usage pages; a process beyond its group's limit \
              is killed"
            .to_owned(),
        how: match facts.place.kind {
            Place::Host => How::everywhere("more memory, or fewer shards (--shards)"),
            _ => How::new(
                "docker run --memory, or fewer shards (--shards)",
                "a larger instance",
                r#"a larger "memory" for the task"#,
            ),
        },
    }
}
