//! Settings for this machine, from its facts.

use serde::Serialize;

use crate::check::{Driver, Plan, files, memory_wanted};
use crate::facts::{Facts, Place};

/// How long a shard may spin before it parks, microseconds, where a CPU is to spare.
const SPIN_US: u64 = 50;

/// What to run on this machine, and what to allow it.
#[derive(Clone, Debug, Serialize)]
pub struct Settings {
    /// `--shards`: one for every CPU that it may have to itself.
    pub shards: usize,
    /// `--driver`: what `auto` comes to here.
    pub driver: Driver,
    /// Microseconds to spin before parking; 0 is to park at once.
    pub spin_us: u64,
    /// net.core.rmem_max and net.core.wmem_max, bytes; null where they cannot be set.
    pub socket_buffer_max_bytes: Option<u64>,
    /// net.core.somaxconn.
    pub somaxconn: u64,
    /// RLIMIT_NOFILE.
    pub open_files: u64,
    /// RLIMIT_MEMLOCK, bytes; null where the driver locks none.
    pub memlock_bytes: Option<u64>,
    /// Memory to give the node, bytes.
    pub memory_bytes: u64,
    /// Why so.
    pub why: Vec<String>,
}

/// Recommends settings for at most as many shards as the plan has.
pub fn settings(facts: &Facts, plan: &Plan) -> Settings {
    let mut why = Vec::new();
    let shards = match facts.shards_with_a_cpu() {
        Ok(available) => {
            let shards = plan.shards.min(available).min(plan.needs.max_shards);
            why.push(format!(
                "{shards} of {available} possible shards: each has a CPU to itself"
            ));
            shards
        }
        Err(reason) => {
            why.push(format!(
                "{} shards as asked: CPUs are not told ({reason})",
                plan.shards
            ));
            plan.shards
        }
    };
    let plan = &Plan { shards, ..*plan };
    let io_uring = facts.trials.io_uring.known().is_some();
    let driver = if io_uring {
        Driver::Glommio
    } else {
        why.push("epoll: io_uring does not work here".to_owned());
        Driver::Epoll
    };
    let quota = facts.cgroup.quota.known().copied().flatten();
    let spare = facts.cpu.affinity.known().is_some_and(|cpus| cpus.len() > shards);
    let spin_us = match (quota, spare) {
        (Some(_), _) => {
            why.push("no spinning: a CPU quota counts it, and then throttles every thread".to_owned());
            0
        }
        (None, false) => {
            why.push(
                "no spinning: every CPU has a shard, and HTTP and the control plane need theirs too"
                    .to_owned(),
            );
            0
        }
        (None, true) => {
            why.push(format!(
                "{SPIN_US} us of spinning: a CPU is to spare for everything else"
            ));
            SPIN_US
        }
    };
    let socket_buffer_max_bytes = if facts.place.kind == Place::Fargate {
        why.push("socket buffers as they are: Fargate does not let them be raised".to_owned());
        None
    } else {
        Some(plan.needs.buffer_bytes)
    };
    Settings {
        shards,
        driver,
        spin_us,
        socket_buffer_max_bytes,
        somaxconn: plan.needs.listen_backlog,
        open_files: files(plan).1,
        memlock_bytes: io_uring.then_some(plan.needs.memlock_bytes),
        memory_bytes: memory_wanted(shards),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::run;
    use crate::machines::{c7i_large, fargate, half_a_cpu, laptop, plan};

    #[test]
    fn what_is_recommended_is_fit() {
        for facts in [laptop(), c7i_large(), fargate(2_048, 4_096), half_a_cpu()] {
            let settings = settings(&facts, &plan(64, Driver::Auto));
            let report = run(&facts, &plan(settings.shards, settings.driver));
            assert_eq!(report.fit, Some(true), "{settings:?}");
            assert_eq!(Ok(settings.shards), facts.shards_with_a_cpu());
        }
    }

    #[test]
    fn nobody_spins_on_a_quota_or_on_the_last_cpu() {
        let spin = |facts: &Facts, shards| settings(facts, &plan(shards, Driver::Auto)).spin_us;
        assert_eq!(spin(&fargate(4_096, 8_192), 1), 0);
        assert_eq!(spin(&c7i_large(), 2), 0);
        assert_eq!(spin(&c7i_large(), 1), SPIN_US);
    }

    #[test]
    fn fargate_is_not_told_to_raise_what_it_cannot() {
        let settings = settings(&fargate(2_048, 4_096), &plan(2, Driver::Auto));
        assert_eq!(settings.driver, Driver::Epoll);
        assert_eq!(
            (settings.socket_buffer_max_bytes, settings.memlock_bytes),
            (None, None)
        );
    }
}
