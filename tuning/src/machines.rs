//! Machines of typical kinds, written out as facts for tests.

use std::collections::BTreeMap;

use crate::check::{Driver, Needs, Plan};
use crate::facts::{
    CgroupFacts, CpuFacts, Facts, Limit, LimitFacts, MemoryFacts, NetFacts, Place, PlaceFacts, Quota,
    Reading, Throttling, Trials,
};
use Reading::{Known, Unknown};

pub(crate) const NEEDS: Needs = Needs {
    max_shards: 256,
    buffer_bytes: 8 << 20,
    listen_backlog: 4_096,
    connections_per_worker: 4_096,
    memlock_bytes: 512 << 10,
};

pub(crate) const fn plan(shards: usize, driver: Driver) -> Plan {
    Plan {
        shards,
        driver,
        needs: NEEDS,
    }
}

pub(crate) fn absent<T>() -> Reading<T> {
    Unknown("No such file or directory (os error 2)".to_owned())
}

fn limit(value: u64) -> Reading<Limit> {
    Known(Limit {
        soft: Some(value),
        hard: Some(value),
    })
}

fn mitigations(told: &[(&str, &str)]) -> Reading<BTreeMap<String, String>> {
    let owned = |(name, says): &(&str, &str)| ((*name).to_owned(), (*says).to_owned());
    Known(told.iter().map(owned).collect())
}

fn refused<T>(why: &str) -> Reading<T> {
    Unknown(why.to_owned())
}

/// An 8-core laptop with a desktop's settings.
pub(crate) fn laptop() -> Facts {
    Facts {
        cpu: CpuFacts {
            model: Known("AMD Ryzen 7 PRO 6850U with Radeon Graphics".into()),
            vectors: Known("avx2"),
            affinity: Known((0..16).collect()),
            online: Known(16),
            mitigations: mitigations(&[
                (
                    "spectre_v1",
                    "Mitigation: usercopy/swapgs barriers and __user pointer sanitization",
                ),
                (
                    "spectre_v2",
                    "Mitigation: Retpolines; IBPB: conditional; IBRS_FW; STIBP: always-on; RSB filling",
                ),
            ]),
            clock_source: Known("tsc".into()),
            clock_read_ns: 21,
        },
        cgroup: CgroupFacts {
            version: Known(2),
            quota: Known(None),
            throttling: absent(),
            memory_limit_bytes: Known(None),
        },
        limits: LimitFacts {
            open_files: Known(Limit {
                soft: Some(1_024),
                hard: Some(524_288),
            }),
            memlock_bytes: limit(8 << 20),
        },
        memory: MemoryFacts {
            total_bytes: Known(30 << 30),
            transparent_huge_pages: Known("madvise".into()),
        },
        net: NetFacts {
            rmem_max: Known(212_992),
            wmem_max: Known(212_992),
            rmem_default: Known(212_992),
            somaxconn: Known(4_096),
            netdev_max_backlog: Known(1_000),
            granted_receive_bytes: Known(425_984),
            granted_send_bytes: Known(425_984),
            datagrams_held: Some(Known(512)),
            ports: Vec::new(),
        },
        trials: Trials {
            io_uring: Known(()),
            segmentation: Known(()),
            coalescing: Known(()),
            steering: Known(()),
        },
        place: PlaceFacts {
            kernel: Known("6.12.48+deb13-amd64".into()),
            kind: Place::Host,
            signs: Vec::new(),
        },
    }
}

/// An EC2 c7i.large with its limits raised as `tune` says.
pub(crate) fn c7i_large() -> Facts {
    Facts {
        cpu: CpuFacts {
            model: Known("Intel(R) Xeon(R) Platinum 8488C".into()),
            vectors: Known("avx512"),
            affinity: Known(vec![0, 1]),
            online: Known(2),
            mitigations: mitigations(&[(
                "spectre_v2",
                "Mitigation: Enhanced / Automatic IBRS; IBPB: conditional; PBRSB-eIBRS: SW sequence; BHI: SW loop",
            )]),
            clock_source: Known("tsc".into()),
            clock_read_ns: 24,
        },
        limits: LimitFacts {
            open_files: limit(65_535),
            memlock_bytes: limit(8 << 20),
        },
        memory: MemoryFacts {
            total_bytes: Known(3_900 << 20),
            transparent_huge_pages: Known("madvise".into()),
        },
        net: NetFacts {
            rmem_max: Known(8 << 20),
            wmem_max: Known(8 << 20),
            netdev_max_backlog: Known(10_000),
            granted_receive_bytes: Known(16 << 20),
            granted_send_bytes: Known(16 << 20),
            datagrams_held: Some(Known(20_164)),
            ..laptop().net
        },
        place: PlaceFacts {
            kernel: Known("6.1.155-176.282.amzn2023.x86_64".into()),
            kind: Place::Ec2,
            signs: vec!["the machine is Amazon EC2 c7i.large".into()],
        },
        ..laptop()
    }
}

/// A Fargate task, platform 1.4.0: io_uring refused by seccomp, host sysctls neither seen nor set, CPU
/// a quota.
pub(crate) fn fargate(cpu_units: u64, memory_mib: u64) -> Facts {
    let cpus = cpu_units.div_ceil(1_024).max(2) as usize;
    Facts {
        cpu: CpuFacts {
            model: Known("Intel(R) Xeon(R) Platinum 8259CL CPU @ 2.50GHz".into()),
            vectors: Known("avx512"),
            affinity: Known((0..cpus).collect()),
            online: Known(cpus),
            mitigations: mitigations(&[
                ("meltdown", "Mitigation: PTI"),
                ("mds", "Mitigation: Clear CPU buffers; SMT Host state unknown"),
                (
                    "spectre_v2",
                    "Mitigation: Retpolines, STIBP: disabled, RSB filling",
                ),
            ]),
            clock_source: Known("kvm-clock".into()),
            clock_read_ns: 34,
        },
        cgroup: CgroupFacts {
            version: Known(1),
            quota: Known(Some(Quota {
                quota_us: cpu_units * 100_000 / 1_024,
                period_us: 100_000,
            })),
            throttling: Known(Throttling::default()),
            memory_limit_bytes: Known(Some(memory_mib << 20)),
        },
        limits: LimitFacts {
            open_files: limit(65_535),
            memlock_bytes: limit(64 << 10),
        },
        memory: MemoryFacts {
            total_bytes: Known((memory_mib << 20) + (256 << 20)),
            transparent_huge_pages: Known("always".into()),
        },
        net: NetFacts {
            rmem_max: absent(),
            wmem_max: absent(),
            rmem_default: absent(),
            somaxconn: Known(4_096),
            netdev_max_backlog: absent(),
            granted_receive_bytes: Known(425_984),
            granted_send_bytes: Known(425_984),
            datagrams_held: Some(Known(512)),
            ports: Vec::new(),
        },
        trials: Trials {
            io_uring: refused("io_uring is refused here: a seccomp profile denies io_uring_setup"),
            ..laptop().trials
        },
        place: PlaceFacts {
            kernel: Known("5.10.242-239.961.amzn2.x86_64".into()),
            kind: Place::Fargate,
            signs: vec!["AWS_EXECUTION_ENV=AWS_ECS_FARGATE".into()],
        },
    }
}

/// A container on a large host with the limits that containers had before Linux 5.16.
pub(crate) fn memlock_64_kib() -> Facts {
    let mut facts = c7i_large();
    facts.limits.memlock_bytes = limit(64 << 10);
    facts.trials.io_uring =
        refused("glommio wants a memlock limit of 512 KiB, this process has 64 KiB: raise it (ulimit -l)");
    facts.place.kind = Place::Container;
    facts
}

/// A container with half a CPU that is throttled most of the time.
pub(crate) fn half_a_cpu() -> Facts {
    let mut facts = laptop();
    facts.place.kind = Place::Container;
    facts.cgroup.quota = Known(Some(Quota {
        quota_us: 50_000,
        period_us: 100_000,
    }));
    facts.cgroup.throttling = Known(Throttling {
        periods: 1_000,
        throttled_periods: 870,
        throttled_us: 41_300_000,
    });
    facts
}

/// A container that may use 2 CPUs of a machine with 192.
pub(crate) fn two_of_many() -> Facts {
    let mut facts = c7i_large();
    facts.cpu.online = Known(192);
    facts.cpu.affinity = Known(vec![17, 113]);
    facts.memory.total_bytes = Known(377 << 30);
    facts.place.kind = Place::Container;
    facts
}
