use super::*;
use crate::facts::{Limit, Port, Quota, Reading, Throttling};
use crate::machines::{absent, c7i_large, fargate, half_a_cpu, laptop, memlock_64_kib, plan, two_of_many};

fn verdict(report: &Report, name: &str) -> Verdict {
    check(report, name).verdict
}

fn check<'a>(report: &'a Report, name: &str) -> &'a Check {
    let mut checks = report.checks.iter();
    checks.find(|check| check.name == name).expect(name)
}

fn names(report: &Report, at_least: Verdict) -> Vec<&'static str> {
    report.at_least(at_least).map(|check| check.name).collect()
}

#[test]
fn a_machine_with_its_limits_raised_has_nothing_to_say() {
    let report = run(&c7i_large(), &plan(2, Driver::Auto));
    assert_eq!(report.fit, Some(true));
    assert_eq!(names(&report, Verdict::Note), [""; 0]);
}

#[test]
fn a_laptop_is_fit_and_is_told_to_raise_its_buffers_and_files() {
    let report = run(&laptop(), &plan(16, Driver::Auto));
    assert_eq!(report.fit, Some(true));
    let warned = names(&report, Verdict::Warn);
    assert_eq!(warned, ["open-files", "receive-buffer", "send-buffer"]);
    let how = &check(&report, "receive-buffer").how;
    assert!(how.here.contains("net.core.rmem_max=8388608"), "{}", how.here);
    assert!(check(&report, "receive-buffer").found.contains("512 datagrams"));
}

#[test]
fn fargate_is_fit_and_nobody_is_asked_to_change_what_cannot_be_changed_there() {
    let report = run(&fargate(2_048, 4_096), &plan(2, Driver::Auto));
    assert_eq!(report.fit, Some(true));
    assert_eq!(names(&report, Verdict::Warn), [""; 0]);
    for name in ["driver", "memlock", "receive-buffer"] {
        assert_eq!(verdict(&report, name), Verdict::Note, "{name}");
    }
    // The one thing that is to be set there has a way to set it.
    assert!(
        check(&report, "listen-backlog")
            .how
            .ecs
            .contains("systemControls")
    );
}

#[test]
fn more_shards_than_the_quota_or_the_affinity_has_cpus_are_unfit() {
    for (facts, fits) in [
        (fargate(2_048, 4_096), 2),
        (two_of_many(), 2),
        (half_a_cpu(), 1),
        (laptop(), 16),
    ] {
        assert_eq!(facts.shards_with_a_cpu(), Ok(fits));
        assert_eq!(run(&facts, &plan(fits, Driver::Auto)).fit, Some(true));
        let report = run(&facts, &plan(fits + 1, Driver::Auto));
        assert_eq!(report.fit, Some(false));
        assert_eq!(verdict(&report, "shards"), Verdict::Unfit);
    }
}

#[test]
fn the_smaller_of_quota_and_affinity_counts() {
    let quota = |cpus: u64| {
        let mut facts = two_of_many();
        facts.cgroup.quota = Reading::Known(Some(Quota {
            quota_us: cpus * 50_000,
            period_us: 100_000,
        }));
        facts
    };
    for (half_cpus, shards) in [(16, 2), (4, 2), (3, 1), (2, 1), (1, 1)] {
        assert_eq!(
            quota(half_cpus).shards_with_a_cpu(),
            Ok(shards),
            "{half_cpus} halves"
        );
    }
    // One and a half: a shard, and something for everything else.
    assert_eq!(
        verdict(&run(&quota(3), &plan(1, Driver::Auto)), "cpu-quota"),
        Verdict::Ok
    );
    assert_eq!(
        verdict(&run(&quota(3), &plan(2, Driver::Auto)), "cpu-quota"),
        Verdict::Warn
    );
}

#[test]
fn a_quota_of_half_a_cpu_is_warned_of_and_so_is_its_throttling() {
    let report = run(&half_a_cpu(), &plan(1, Driver::Auto));
    assert_eq!(report.fit, Some(true));
    assert_eq!(verdict(&report, "cpu-quota"), Verdict::Warn);
    assert_eq!(verdict(&report, "throttling"), Verdict::Warn);
    assert_eq!(
        check(&report, "cpu-quota").found,
        "0.50 CPUs (50000 of 100000 us)"
    );
    assert_eq!(check(&report, "throttling").found, "870 of 1000 periods, 41.3 s");
}

#[test]
fn a_little_throttling_is_a_note() {
    let mut facts = half_a_cpu();
    facts.cgroup.throttling = Reading::Known(Throttling {
        periods: 1_000,
        throttled_periods: 3,
        throttled_us: 1_000,
    });
    assert_eq!(
        verdict(&run(&facts, &plan(1, Driver::Auto)), "throttling"),
        Verdict::Note
    );
}

#[test]
fn a_driver_asked_for_by_name_that_cannot_run_is_unfit() {
    for facts in [memlock_64_kib(), fargate(2_048, 4_096)] {
        let glommio = run(&facts, &plan(2, Driver::Glommio));
        assert_eq!(glommio.fit, Some(false));
        assert_eq!(verdict(&glommio, "driver"), Verdict::Unfit);
        assert_eq!(verdict(&glommio, "memlock"), Verdict::Unfit);
        assert_eq!(run(&facts, &plan(2, Driver::Auto)).fit, Some(true));
        let epoll = run(&facts, &plan(2, Driver::Epoll));
        assert_eq!(verdict(&epoll, "driver"), Verdict::Ok);
        assert_eq!(verdict(&epoll, "memlock"), Verdict::Ok);
    }
}

#[test]
fn too_few_descriptors_to_start_are_unfit() {
    let mut facts = c7i_large();
    for (soft, wanted) in [
        (Some(79), Verdict::Unfit),
        (Some(80), Verdict::Warn),
        (Some(8_527), Verdict::Warn),
        (Some(8_528), Verdict::Ok),
        (None, Verdict::Ok),
    ] {
        facts.limits.open_files = Reading::Known(Limit { soft, hard: None });
        let report = run(&facts, &plan(2, Driver::Auto));
        assert_eq!(verdict(&report, "open-files"), wanted, "{soft:?}");
    }
}

#[test]
fn a_refused_offload_is_warned_of_with_the_kernels_words() {
    let mut facts = c7i_large();
    facts.trials.steering = Reading::Unknown("Operation not permitted (os error 1)".into());
    let report = run(&facts, &plan(2, Driver::Auto));
    assert_eq!(names(&report, Verdict::Warn), ["steering"]);
    assert!(check(&report, "steering").found.contains("not permitted"));
    let single = run(&facts, &plan(1, Driver::Auto));
    assert_eq!(verdict(&single, "steering"), Verdict::Ok, "one shard needs none");
}

#[test]
fn a_slow_clock_little_memory_and_a_taken_port_are_told() {
    let mut facts = c7i_large();
    facts.cpu.clock_source = Reading::Known("hpet".into());
    facts.cpu.clock_read_ns = 1_400;
    facts.cgroup.memory_limit_bytes = Reading::Known(Some(100 << 20));
    facts.net.ports = vec![Port {
        protocol: "udp",
        number: 2_679,
        taken: Some("Address already in use (os error 98)".into()),
    }];
    let report = run(&facts, &plan(2, Driver::Auto));
    assert_eq!(names(&report, Verdict::Warn), ["clock", "memory"]);
    assert_eq!(check(&report, "ports").found, "taken: udp 2679");
    assert_eq!(verdict(&report, "ports"), Verdict::Note);
}

#[test]
fn what_cannot_be_read_is_a_note_and_never_a_guess() {
    let mut facts = c7i_large();
    facts.cpu.affinity = absent();
    facts.cgroup.quota = absent();
    facts.cgroup.throttling = absent();
    facts.limits.open_files = absent();
    facts.limits.memlock_bytes = absent();
    facts.memory.total_bytes = absent();
    facts.net.granted_receive_bytes = absent();
    facts.net.datagrams_held = None;
    facts.place.kernel = absent();
    let report = run(&facts, &plan(2, Driver::Auto));
    assert_eq!(report.fit, None, "nobody can say");
    assert_eq!(names(&report, Verdict::Warn), [""; 0]);
    for name in [
        "shards",
        "cpu-quota",
        "throttling",
        "open-files",
        "memory",
        "receive-buffer",
        "kernel",
    ] {
        let check = check(&report, name);
        assert_eq!(check.verdict, Verdict::Note, "{name}");
        assert!(
            check.found.starts_with("not told (No such file"),
            "{name}: {}",
            check.found
        );
    }
}

#[test]
fn every_check_says_why_and_how_in_all_three_places() {
    for facts in [laptop(), c7i_large(), fargate(256, 512), two_of_many()] {
        for check in run(&facts, &plan(2, Driver::Glommio)).checks {
            for text in [
                &check.found,
                &check.wanted,
                &check.why,
                &check.how.here,
                &check.how.ec2,
                &check.how.ecs,
            ] {
                assert!(
                    !text.is_empty() && !text.contains("  "),
                    "{}: {text:?}",
                    check.name
                );
            }
        }
    }
}

#[test]
fn a_report_is_json_that_scripts_can_read() {
    let report = run(&half_a_cpu(), &plan(3, Driver::Auto));
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["fit"], false);
    assert_eq!(json["plan"]["driver"], "auto");
    assert_eq!(json["checks"][0]["name"], "shards");
    assert_eq!(json["checks"][0]["verdict"], "unfit");
    let facts = serde_json::to_value(fargate(2_048, 4_096)).expect("JSON");
    assert_eq!(facts["cgroup"]["quota"]["quota_us"], 200_000);
    assert_eq!(facts["trials"]["segmentation"], "works");
    assert!(
        facts["trials"]["io_uring"]
            .as_str()
            .expect("a text")
            .contains("seccomp")
    );
    assert!(facts["net"]["rmem_max"].is_null());
    assert_eq!(facts["place"]["kind"], "fargate");
}
