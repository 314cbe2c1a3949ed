//! What to run on which ECS task size.
//!
//! The table is checked against the checks: a profile is fit on a machine as large as its task, and
//! asks for what [`crate::recommend`] would. `tuning/profiles/` holds each as a piece of a task
//! definition, made by [`task_definition`].

use serde::Serialize;
use serde_json::{Value, json};

use crate::check::Driver;

/// A task size and the settings for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Profile {
    /// Name, as of the file in `tuning/profiles/`.
    pub name: &'static str,
    /// What it runs on.
    pub capacity: Capacity,
    /// CPU units of the task: 1,024 a vCPU.
    pub cpu_units: u32,
    /// Memory of the task, MiB.
    pub memory_mib: u32,
    /// `SHARDS`.
    pub shards: usize,
    /// `DRIVER`.
    pub driver: Driver,
    /// Microseconds to spin before parking.
    pub spin_us: u64,
    /// RLIMIT_NOFILE.
    pub open_files: u64,
    /// When to take it.
    pub remark: &'static str,
}

/// What a task runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Capacity {
    /// Fargate, platform 1.4.0.
    Fargate,
    /// ECS Managed Instances, or instances of one's own: io_uring may work.
    Instances,
}

const fn fargate(name: &'static str, vcpu: u32, memory_mib: u32, remark: &'static str) -> Profile {
    Profile {
        name,
        capacity: Capacity::Fargate,
        cpu_units: vcpu * 1_024,
        memory_mib,
        shards: vcpu as usize,
        driver: Driver::Epoll,
        spin_us: 0,
        open_files: OPEN_FILES,
        remark,
    }
}

const fn instances(name: &'static str, vcpu: u32, memory_mib: u32, remark: &'static str) -> Profile {
    Profile {
        capacity: Capacity::Instances,
        driver: Driver::Auto,
        ..fargate(name, vcpu, memory_mib, remark)
    }
}

/// What Fargate gives by itself; enough for 15 shards full of connections.
const OPEN_FILES: u64 = 65_535;

/// The sizes that make sense, small ones first.
pub const PROFILES: [Profile; 9] = [
    Profile {
        cpu_units: 256,
        shards: 1,
        ..fargate(
            "fargate-quarter",
            1,
            512,
            "to try it: a quarter of a vCPU is throttled under any load",
        )
    },
    fargate("fargate-1", 1, 2_048, "one core"),
    fargate(
        "fargate-2",
        2,
        4_096,
        "the smallest for production: a feed and clients do not meet on one core",
    ),
    fargate("fargate-4", 4, 8_192, "more clients"),
    fargate(
        "fargate-8",
        8,
        16_384,
        "more clients; beyond it, more tasks behind the balancer are the better buy",
    ),
    Profile {
        open_files: 131_072,
        ..fargate("fargate-16", 16, 32_768, "the largest task there is")
    },
    instances(
        "instances-2",
        2,
        3_072,
        "c7i.large, c7a.large, c7g.large: io_uring, larger socket buffers",
    ),
    instances("instances-4", 4, 6_144, "c7i.xlarge, c7a.xlarge, c7g.xlarge"),
    instances("instances-8", 8, 12_288, "c7i.2xlarge, c7a.2xlarge, c7g.2xlarge"),
];

/// The profile as a piece of an ECS task definition; what is missing (image, roles, logs) is the
/// operator's own.
pub fn task_definition(profile: &Profile, listen_backlog: u64, memlock_bytes: u64) -> Value {
    let limit = |name: &str, value: u64| json!({"name": name, "softLimit": value, "hardLimit": value});
    let mut ulimits = vec![limit("nofile", profile.open_files)];
    let capacity = match profile.capacity {
        Capacity::Fargate => "FARGATE",
        Capacity::Instances => {
            ulimits.push(limit("memlock", memlock_bytes.next_power_of_two()));
            "EC2"
        }
    };
    let driver = match profile.driver {
        Driver::Auto => "auto",
        Driver::Epoll => "epoll",
        Driver::Glommio => "glommio",
    };
    let variable = |name: &str, value: &str| json!({"name": name, "value": value});
    let port = |number: u16, protocol: &str| json!({"containerPort": number, "protocol": protocol});
    json!({
        "requiresCompatibilities": [capacity],
        "networkMode": "awsvpc",
        "cpu": profile.cpu_units.to_string(),
        "memory": profile.memory_mib.to_string(),
        "containerDefinitions": [{
            "name": "trinity-beast",
            "essential": true,
            "stopTimeout": 30,
            "environment": [
                variable("NODE_ENV", "production"),
                variable("SERVER_TYPE", "APP_SERVER"),
                variable("MARKET", "live"),
                variable("SHARDS", &profile.shards.to_string()),
                variable("DRIVER", driver),
            ],
            "portMappings": [port(2_679, "udp"), port(8_080, "tcp"), port(9_100, "tcp")],
            "ulimits": ulimits,
            "systemControls": [{"namespace": "net.core.somaxconn", "value": listen_backlog.to_string()}],
        }],
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::check::{Verdict, run};
    use crate::machines::{NEEDS, c7i_large, fargate, plan};
    use crate::recommend::settings;

    fn facts(profile: &Profile) -> crate::facts::Facts {
        match profile.capacity {
            Capacity::Fargate => fargate(profile.cpu_units.into(), profile.memory_mib.into()),
            Capacity::Instances => {
                let mut facts = c7i_large();
                facts.cpu.affinity =
                    crate::facts::Reading::Known((0..profile.cpu_units as usize / 1_024).collect());
                facts.cgroup.memory_limit_bytes =
                    crate::facts::Reading::Known(Some(u64::from(profile.memory_mib) << 20));
                facts
            }
        }
    }

    #[test]
    fn every_profile_is_fit_for_its_task_and_is_what_tune_would_recommend_there() {
        for profile in PROFILES {
            let facts = facts(&profile);
            let report = run(&facts, &plan(profile.shards, profile.driver));
            assert_eq!(report.fit, Some(true), "{}", profile.name);
            let recommended = settings(&facts, &plan(usize::MAX, Driver::Auto));
            assert_eq!(recommended.shards, profile.shards, "{}", profile.name);
            assert_eq!(recommended.spin_us, profile.spin_us, "{}", profile.name);
            assert!(recommended.open_files <= profile.open_files, "{}", profile.name);
            assert!(
                recommended.memory_bytes <= u64::from(profile.memory_mib) << 20,
                "{}",
                profile.name
            );
            if profile.capacity == Capacity::Fargate {
                assert_eq!(recommended.driver, profile.driver, "{}", profile.name);
            }
        }
    }

    #[test]
    fn only_the_profile_that_says_so_is_throttled() {
        for profile in PROFILES {
            let report = run(&facts(&profile), &plan(profile.shards, profile.driver));
            let warned = report
                .at_least(Verdict::Warn)
                .any(|check| check.name == "cpu-quota");
            assert_eq!(warned, profile.remark.contains("throttled"), "{}", profile.name);
        }
    }

    /// CPU and memory that Fargate has go together (its documentation, "Task CPU and memory").
    #[test]
    fn fargate_has_tasks_of_these_sizes() {
        for profile in PROFILES
            .iter()
            .filter(|profile| profile.capacity == Capacity::Fargate)
        {
            let (least, most, step) = match profile.cpu_units {
                256 => (512, 2_048, 512),
                1_024 => (2_048, 8_192, 1_024),
                2_048 => (4_096, 16_384, 1_024),
                4_096 => (8_192, 30_720, 1_024),
                8_192 => (16_384, 61_440, 4_096),
                16_384 => (32_768, 122_880, 8_192),
                other => panic!("{other} CPU units are no Fargate task"),
            };
            let memory = profile.memory_mib;
            assert!(
                (least..=most).contains(&memory) && memory.is_multiple_of(step),
                "{}",
                profile.name
            );
        }
    }

    /// `TRINITY_WRITE_PROFILES=1 cargo test -p trinity-tuning profiles` writes them anew.
    #[test]
    fn the_files_hold_what_the_table_says() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
        let writes = std::env::var_os("TRINITY_WRITE_PROFILES").is_some();
        for profile in PROFILES {
            let path = dir.join(format!("{}.json", profile.name));
            let definition = task_definition(&profile, NEEDS.listen_backlog, NEEDS.memlock_bytes);
            if writes {
                let text = serde_json::to_string_pretty(&definition).expect("JSON") + "\n";
                std::fs::write(&path, text).expect("writable");
            }
            let text = std::fs::read_to_string(&path).expect("a file for each profile");
            let found: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(found, definition, "{}", path.display());
        }
        let files = std::fs::read_dir(dir).expect("the directory").count();
        assert_eq!(files, PROFILES.len(), "a file without a profile");
    }
}
