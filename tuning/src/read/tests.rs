use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::facts::{Limit, Place, Quota, Throttling};

/// A directory that stands for `/`.
fn root(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    root
}

fn source(root: &TempDir, environment: &[(&str, &str)]) -> Source {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Source {
        root: root.path().to_owned(),
        environment: environment.iter().map(owned).collect(),
    }
}

fn why<T: std::fmt::Debug>(reading: &Reading<T>) -> &str {
    reading.as_ref().expect_err("nothing to be read")
}

const V2_MOUNT: &str =
    "35 24 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

#[test]
fn version_2_takes_the_tightest_limit_of_all_groups_above() {
    let root = root(&[
        ("proc/self/cgroup", "0::/system.slice/trinity.service\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/cpu.stat", "usage_usec 9\n"),
        ("sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/system.slice/memory.max", "1073741824\n"),
        (
            "sys/fs/cgroup/system.slice/cpu.stat",
            "usage_usec 1\nnr_periods 40\nnr_throttled 7\nthrottled_usec 90000\n",
        ),
        (
            "sys/fs/cgroup/system.slice/trinity.service/cpu.max",
            "max 100000\n",
        ),
        ("sys/fs/cgroup/system.slice/trinity.service/memory.max", "max\n"),
        (
            "sys/fs/cgroup/system.slice/trinity.service/cpu.stat",
            "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        ),
    ]);
    let found = cgroup::read(root.path());
    assert_eq!(found.version, Reading::Known(2));
    let quota = Quota {
        quota_us: 150_000,
        period_us: 100_000,
    };
    assert_eq!(found.quota, Reading::Known(Some(quota)));
    assert_eq!(found.memory_limit_bytes, Reading::Known(Some(1 << 30)));
    let throttled = Throttling {
        periods: 40,
        throttled_periods: 7,
        throttled_us: 90_000,
    };
    assert_eq!(found.throttling, Reading::Known(throttled));
    assert_eq!(cgroup::throttling(root.path()), Reading::Known(throttled));
}

#[test]
fn of_two_quotas_the_tighter_counts_whichever_is_above() {
    for (above, below) in [
        ("150000 100000", "300000 100000"),
        ("50000 25000", "150000 100000"),
    ] {
        let root = root(&[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/cpu.max", above),
            ("sys/fs/cgroup/a/b/cpu.max", below),
        ]);
        let quota = cgroup::read(root.path()).quota;
        let quota = quota.known().copied().flatten().expect("a quota");
        assert_eq!((quota.quota_us, quota.period_us), (150_000, 100_000));
    }
}

#[test]
fn version_2_says_max_for_no_limit() {
    let root = root(&[
        ("proc/self/cgroup", "0::/\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/memory.max", "max\n"),
        ("sys/fs/cgroup/cpu.stat", "usage_usec 12\nuser_usec 3\n"),
    ]);
    let found = cgroup::read(root.path());
    assert_eq!(found.quota, Reading::Known(None));
    assert_eq!(found.memory_limit_bytes, Reading::Known(None));
    assert!(why(&found.throttling).contains("cpu.stat"));
}

/// As in a container of ECS or of Docker without a namespace of its own: the path is the host's, the
/// mount shows the container's own group.
#[test]
fn version_1_is_read_in_a_container_whose_mount_is_its_own_group() {
    let root = root(&[
        (
            "proc/self/cgroup",
            "11:memory:/ecs/4d7f/a1\n6:cpu,cpuacct:/ecs/4d7f/a1\n1:name=systemd:/ecs/4d7f/a1\n",
        ),
        (
            "proc/self/mountinfo",
            "650 640 0:25 /ecs/4d7f/a1 /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct\n\
             651 640 0:26 /ecs/4d7f/a1 /sys/fs/cgroup/memory ro,nosuid master:3 - cgroup cgroup rw,memory\n",
        ),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
        (
            "sys/fs/cgroup/cpu,cpuacct/cpu.stat",
            "nr_periods 88\nnr_throttled 3\nthrottled_time 5000000\n",
        ),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "9223372036854771712\n",
        ),
    ]);
    let found = cgroup::read(root.path());
    assert_eq!(found.version, Reading::Known(1));
    let quota = found.quota.known().copied().flatten().expect("a quota");
    assert!((quota.cpus() - 2.0).abs() < f64::EPSILON);
    assert_eq!(found.memory_limit_bytes, Reading::Known(None));
    // Nanoseconds there, microseconds in version 2.
    assert_eq!(found.throttling.known().expect("told").throttled_us, 5_000);
}

#[test]
fn version_1_without_a_quota_says_minus_one_and_hybrids_have_both() {
    let root = root(&[
        ("proc/self/cgroup", "3:cpuset:/\n1:cpu:/\n0::/\n"),
        (
            "proc/self/mountinfo",
            "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        ),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/unified/memory.max", "77\n"),
    ]);
    let found = cgroup::read(root.path());
    assert_eq!(
        (found.version, found.quota),
        (Reading::Known(1), Reading::Known(None))
    );
    assert_eq!(found.memory_limit_bytes, Reading::Known(Some(77)));
}

#[test]
fn a_path_that_leads_out_of_the_mount_is_not_followed() {
    let root = root(&[
        ("proc/self/cgroup", "0::/../../other\n"),
        ("proc/self/mountinfo", V2_MOUNT),
        ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
        ("other/cpu.max", "1 100000\n"),
    ]);
    let quota = cgroup::read(root.path()).quota;
    let quota = quota.known().copied().flatten().expect("the mount's own");
    assert_eq!(quota.quota_us, 50_000);
}

#[test]
fn what_is_missing_or_makes_no_sense_names_its_file() {
    let nothing = cgroup::read(Path::new("/nonexistent"));
    assert!(why(&nothing.quota).contains("proc/self/cgroup"));
    for garbage in [
        "fast 100000\n",
        "",
        "-5 100000\n",
        "50000 0\n",
        "0 100000\n",
        "\u{0}\u{1}",
    ] {
        let root = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.max", garbage),
            ("sys/fs/cgroup/memory.max", "much"),
            ("sys/fs/cgroup/cpu.stat", "nr_throttled 4\nthrottled_usec x\n"),
        ]);
        let found = cgroup::read(root.path());
        assert!(why(&found.quota).contains("cpu.max"), "{garbage:?}: {found:?}");
        assert!(why(&found.memory_limit_bytes).contains("memory.max"));
        assert!(why(&found.throttling).contains("cpu.stat"));
    }
    for garbage in ["", "a:b", "::::\n", "0:\n", "\n\n", "1:cpu"] {
        let root = root(&[("proc/self/cgroup", garbage), ("proc/self/mountinfo", garbage)]);
        assert!(
            why(&cgroup::read(root.path()).quota).contains("cgroup"),
            "{garbage:?}"
        );
    }
}

#[test]
fn limits_are_read_with_unlimited_as_none() {
    let root = root(&[(
        "proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1024                 524288               files     \n\
         Max locked memory         unlimited            unlimited            bytes     \n",
    )]);
    let found = limits::read(&source(&root, &[]));
    let files = Limit {
        soft: Some(1_024),
        hard: Some(524_288),
    };
    assert_eq!(found.open_files, Reading::Known(files));
    assert!(found.memlock_bytes.known().expect("read").reaches(u64::MAX));
    for garbage in ["Max open files", "Max open files   many   more   files"] {
        let root = self::root(&[("proc/self/limits", garbage)]);
        let found = limits::read(&source(&root, &[]));
        assert!(why(&found.open_files).contains("limits"), "{garbage}");
    }
}

#[test]
fn the_processor_is_read_and_garbage_is_not() {
    let root = root(&[
        (
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 avx512f avx512vl\n",
        ),
        (
            "proc/self/status",
            "Name:\tx\nCpus_allowed:\t93\nCpus_allowed_list:\t0-1,4,7\n",
        ),
        ("sys/devices/system/cpu/online", "0-191\n"),
        (
            "sys/devices/system/cpu/vulnerabilities/meltdown",
            "Not affected\n",
        ),
        (
            "sys/devices/system/cpu/vulnerabilities/spectre_v2",
            "Mitigation: Retpolines\n",
        ),
    ]);
    let found = cpu::read(&source(&root, &[]), 20);
    assert_eq!(found.model, Reading::Known("AMD EPYC".into()));
    assert_eq!(found.vectors, Reading::Known("avx512"));
    assert_eq!(found.affinity, Reading::Known(vec![0, 1, 4, 7]));
    assert_eq!(found.online, Reading::Known(192));
    let told = found.mitigations.known().expect("told");
    assert_eq!(told.keys().collect::<Vec<_>>(), ["spectre_v2"]);
    assert!(why(&found.clock_source).contains("current_clocksource"));
    for garbage in ["", "3-1", "0-999999999", "a", "0,,1"] {
        let status = format!("Cpus_allowed_list:\t{garbage}\n");
        let root = self::root(&[("proc/self/status", &status)]);
        let found = cpu::read(&source(&root, &[]), 20);
        assert!(why(&found.affinity).contains("status"), "{garbage:?}");
    }
}

/// Files, environment, and the place that they tell of.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], Place);

#[test]
fn places_are_told_apart_by_their_signs() {
    let ecs = (place::ECS_METADATA, "http://169.254.170.2/v4/x");
    let kernel = ("proc/sys/kernel/osrelease", "5.10.242-239.961.amzn2.x86_64\n");
    let amazon = ("sys/class/dmi/id/sys_vendor", "Amazon EC2\n");
    let docker = (".dockerenv", "");
    let cases: [Case; 8] = [
        (
            &[kernel],
            &[ecs, (place::EXECUTION, "AWS_ECS_FARGATE")],
            Place::Fargate,
        ),
        (
            &[kernel, amazon],
            &[ecs, (place::EXECUTION, "AWS_ECS_EC2")],
            Place::EcsOnEc2,
        ),
        (&[kernel], &[ecs], Place::Fargate),
        (&[kernel, amazon], &[ecs], Place::EcsOnEc2),
        (&[amazon, docker], &[], Place::Container),
        (&[amazon], &[], Place::Ec2),
        (&[], &[(place::CONTAINER, "podman")], Place::Container),
        (&[kernel], &[], Place::Host),
    ];
    for (files, environment, wanted) in cases {
        let root = root(files);
        let found = place::read(&source(&root, environment));
        assert_eq!(found.kind, wanted, "{:?}", found.signs);
    }
}

#[test]
fn memory_and_huge_pages_are_read() {
    let root = root(&[
        ("proc/meminfo", "MemTotal:        4025140 kB\nMemFree:   1 kB\n"),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always [madvise] never\n",
        ),
    ]);
    assert_eq!(memory(&source(&root, &[])), Ok(4_025_140 << 10));
    assert_eq!(huge_pages(&source(&root, &[])), Ok("madvise".to_owned()));
    let root = self::root(&[
        ("proc/meminfo", "MemTotal: lots\n"),
        (
            "sys/kernel/mm/transparent_hugepage/enabled",
            "always madvise never\n",
        ),
    ]);
    assert!(memory(&source(&root, &[])).is_err());
    assert!(huge_pages(&source(&root, &[])).is_err());
}

#[test]
fn a_socket_is_granted_a_buffer_and_holds_some_datagrams_but_not_all() {
    let (receive, send) = sockets::granted(64 << 10);
    assert_eq!(
        (receive, send),
        (Reading::Known(128 << 10), Reading::Known(128 << 10))
    );
    let held = sockets::held(64 << 10).expect("loopback works");
    assert!((16..4_096).contains(&held), "{held}");
}

#[test]
fn a_port_that_somebody_has_is_taken_and_another_is_free() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let ports = [
        ("udp", udp.local_addr().expect("bound").port()),
        ("tcp", tcp.local_addr().expect("bound").port()),
    ];
    for (protocol, number) in ports {
        assert!(sockets::port(protocol, number).taken.is_some(), "{protocol}");
    }
    assert_eq!(sockets::port("udp", 0).taken, None);
}
