//! CPUs: how many there are for shards, what a quota does, what the processor can.

use super::{Check, How, Plan, Verdict, not_told, shown};
use crate::facts::{Facts, Place};

/// Above this part of periods throttled, clients see it.
const THROTTLED_OFTEN: f64 = 0.01;
/// A clock read beyond this is a system call or worse, nanoseconds.
const SLOW_CLOCK_NS: u64 = 500;

pub(super) fn checks(facts: &Facts, plan: &Plan) -> Vec<Check> {
    vec![
        shards(facts, plan),
        quota(facts, plan),
        throttling(facts),
        clock(facts),
        vectors(facts),
        mitigations(facts),
    ]
}

fn task_size() -> How {
    How::new(
        "give the container more CPU (docker run --cpus, --cpuset-cpus), or run fewer shards (--shards)",
        "a larger instance, or fewer shards (--shards)",
        r#"a larger task ("cpu": "2048" is 2 vCPU), or fewer shards (SHARDS in "environment")"#,
    )
}

fn each(plan: &Plan) -> String {
    match plan.shards {
        1 => "a CPU for the shard".to_owned(),
        shards => format!("a CPU for each of {shards} shards"),
    }
}

fn shards(facts: &Facts, plan: &Plan) -> Check {
    let wanted = each(plan);
    let affinity = shown(&facts.cpu.affinity, |cpus| format!("{} CPUs", cpus.len()));
    let quota = facts.cgroup.quota.known().copied().flatten();
    let found = match quota {
        Some(quota) => format!("{affinity}, quota {:.2}", quota.cpus()),
        None => affinity,
    };
    let most = plan.needs.max_shards;
    let (found, verdict) = match facts.shards_with_a_cpu() {
        _ if plan.shards > most => (
            format!("{found}; a node runs {most} shards at most"),
            Verdict::Unfit,
        ),
        Ok(available) if plan.shards > available => (found, Verdict::Unfit),
        Ok(_) => (found, Verdict::Ok),
        Err(why) => (not_told(why), Verdict::Note),
    };
    Check {
        name: "shards",
        found,
        wanted,
        verdict,
        why: "a shard is a thread pinned to a CPU; shards that share one take turns, and each waits while \
              the other answers"
            .to_owned(),
        how: task_size(),
    }
}

fn quota(facts: &Facts, plan: &Plan) -> Check {
    let quota = &facts.cgroup.quota;
    let verdict = match quota.known() {
        None => Verdict::Note,
        Some(Some(quota)) if quota.cpus() < plan.shards as f64 => Verdict::Warn,
        Some(_) => Verdict::Ok,
    };
    Check {
        name: "cpu-quota",
        found: shown(quota, |quota| match quota {
            None => "none".to_owned(),
            Some(quota) => format!(
                "{:.2} CPUs ({} of {} us)",
                quota.cpus(),
                quota.quota_us,
                quota.period_us
            ),
        }),
        wanted: format!("none, or {}", each(plan)),
        verdict,
        why: "a quota counts the time of all threads together: once it is spent every shard stands still until the \
              period (100 ms) ends, and what arrives meanwhile is late or lost. With less than a CPU per shard \
              that happens under load; spinning makes it certain"
            .to_owned(),
        how: task_size(),
    }
}

fn throttling(facts: &Facts) -> Check {
    let throttling = &facts.cgroup.throttling;
    let part = |periods: u64, throttled: u64| throttled as f64 / periods.max(1) as f64;
    let verdict = match throttling.known() {
        Some(seen) if seen.throttled_periods == 0 => Verdict::Ok,
        Some(seen) if part(seen.periods, seen.throttled_periods) > THROTTLED_OFTEN => Verdict::Warn,
        // Without a quota there is nothing to be throttled by, and nothing to tell.
        None if facts.cgroup.quota.known() == Some(&None) => Verdict::Ok,
        _ => Verdict::Note,
    };
    Check {
        name: "throttling",
        found: shown(throttling, |seen| {
            format!(
                "{} of {} periods, {:.1} s",
                seen.throttled_periods,
                seen.periods,
                seen.throttled_us as f64 / 1e6
            )
        }),
        wanted: "no period throttled".to_owned(),
        verdict,
        why: "each throttled period is a pause of up to 100 ms that every client sees; /metrics has it as \
              trinity_cpu_throttled_periods_total"
            .to_owned(),
        how: task_size(),
    }
}

fn clock(facts: &Facts) -> Check {
    let cost = facts.cpu.clock_read_ns;
    Check {
        name: "clock",
        found: format!(
            "{}, {cost} ns a read",
            shown(&facts.cpu.clock_source, String::clone)
        ),
        wanted: format!("below {SLOW_CLOCK_NS} ns a read"),
        verdict: if cost > SLOW_CLOCK_NS {
            Verdict::Warn
        } else {
            Verdict::Ok
        },
        why: "every turn reads the clock; tsc and kvm-clock are read without a system call, hpet, acpi_pm and xen \
              are not"
            .to_owned(),
        how: How::new(
            "echo tsc > /sys/devices/system/clocksource/clocksource0/current_clocksource (as root), or boot \
             with clocksource=tsc tsc=reliable",
            "use a Nitro instance, or write tsc to current_clocksource in the user data",
            "the host's; Fargate has kvm-clock or tsc",
        ),
    }
}

fn vectors(facts: &Facts) -> Check {
    let best = |vectors: &&'static str| matches!(*vectors, "avx512" | "neon");
    Check {
        name: "vectors",
        found: format!(
            "{} ({})",
            shown(&facts.cpu.vectors, |vectors| (*vectors).to_owned()),
            shown(&facts.cpu.model, String::clone)
        ),
        wanted: "avx512, or neon on arm64".to_owned(),
        verdict: if facts.cpu.vectors.known().is_some_and(best) {
            Verdict::Ok
        } else {
            Verdict::Note
        },
        why:
            "tags are verified and signed in SIMD lanes: 16 at a time with AVX-512, 8 with AVX2, 4 with NEON"
                .to_owned(),
        how: How::new(
            "another processor",
            "c6i, c7i, m7i or r7i (Intel), c7a (AMD Zen 4), or Graviton",
            "on Fargate the processor is not to be chosen, but for \"cpuArchitecture\": \"ARM64\"",
        ),
    }
}

/// What the kernel does about the processor's vulnerabilities that costs time in each system call or
/// interrupt, by a word in what it says.
const COSTLY: [(&str, &str); 4] = [
    ("PTI", "page tables switched on each system call"),
    ("Retpolines", "retpolines"),
    ("IBRS", "IBRS"),
    ("Clear CPU buffers", "buffers cleared on each return"),
];

fn mitigations(facts: &Facts) -> Check {
    let costs = facts.cpu.mitigations.known().map(|told| {
        let in_force = |word: &str| told.values().any(|says| has_word(says, word));
        COSTLY
            .iter()
            .filter(|(word, _)| in_force(word))
            .map(|(_, what)| *what)
            .collect::<Vec<_>>()
    });
    let pti = costs.as_ref().is_some_and(|costs| costs.contains(&COSTLY[0].1));
    let found = match (&costs, facts.cpu.mitigations.as_ref()) {
        (Some(costs), _) if !costs.is_empty() => costs.join(", "),
        (Some(_), _) => "nothing costly".to_owned(),
        (None, told) => not_told(told.err().unwrap_or_default()),
    };
    Check {
        name: "mitigations",
        found,
        wanted: "no page table isolation".to_owned(),
        verdict: if pti || costs.is_none() {
            Verdict::Note
        } else {
            Verdict::Ok
        },
        why: "what the kernel does against Spectre and Meltdown makes each system call dearer. It is not to be switched \
              off for speed where others share the machine; figures of two machines compare only with it in sight"
            .to_owned(),
        how: match facts.place.kind {
            Place::Fargate => How::everywhere("the host's; nothing to do"),
            _ => How::everywhere("a newer processor needs less of it"),
        },
    }
}

/// Whether a word stands in it by itself: `BHI` is not in `PBRSB-eIBRS`.
fn has_word(text: &str, wanted: &str) -> bool {
    text.match_indices(wanted).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + wanted.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}
