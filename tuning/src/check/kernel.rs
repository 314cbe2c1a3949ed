//! The kernel: its age, and its settings that are nobody else's.

use super::{Check, How, Verdict, shown};
use crate::facts::Facts;

/// The oldest kernel that this is used on: Fargate's.
const OLDEST: (u32, u32) = (5, 10);

pub(super) fn checks(facts: &Facts) -> Vec<Check> {
    vec![release(facts), huge_pages(facts)]
}

/// Major and minor of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn release(facts: &Facts) -> Check {
    let kernel = &facts.place.kernel;
    let new_enough = kernel
        .known()
        .and_then(|release| version(release))
        .is_some_and(|version| version >= OLDEST);
    Check {
        name: "kernel",
        found: shown(kernel, String::clone),
        wanted: format!("{}.{} or later", OLDEST.0, OLDEST.1),
        verdict: if new_enough { Verdict::Ok } else { Verdict::Note },
        why: "older kernels are not tried; what a node uses of the kernel is found out by trying, so it may serve".to_owned(),
        how: How::new("a newer kernel", "Amazon Linux 2023", "Fargate platform version 1.4.0 or later"),
    }
}

fn huge_pages(facts: &Facts) -> Check {
    let setting = &facts.memory.transparent_huge_pages;
    let always = setting.known().is_some_and(|setting| setting == "always");
    Check {
        name: "huge-pages",
        found: shown(setting, String::clone),
        wanted: "madvise or never".to_owned(),
        verdict: if always || setting.known().is_none() {
            Verdict::Note
        } else {
            Verdict::Ok
        },
        why: "tables reserve more than they touch, and with huge pages everywhere all of it becomes resident; the \
              allocator asks for none, thread stacks and mappings may get them"
            .to_owned(),
        how: How::new(
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled (as root, on the host)",
            "transparent_hugepage=madvise on the kernel's command line",
            "the host's; nothing to do on Fargate",
        ),
    }
}
