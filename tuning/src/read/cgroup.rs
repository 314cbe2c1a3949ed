//! The control group of this process: CPU quota, throttling, memory limit.
//!
//! Versions 1 and 2, and both at once, as systemd's hybrid mode has it: each controller is looked
//! for where `/proc/self/cgroup` says it is (cgroups(7)). A limit may be set on any group above
//! this one, so all are looked at up to the mount, and the tightest counts. In a container the
//! groups above the mount cannot be seen.

use std::path::{Path, PathBuf};

use super::File;
use crate::facts::{CgroupFacts, Quota, Reading, Throttling};

/// One controller's groups on disk.
struct Groups {
    version: u8,
    /// From this process's own up to the mount.
    paths: Vec<PathBuf>,
}

/// Most groups between a process and the mount that are looked at.
const DEPTH: usize = 32;

/// Reads what the group allows. `root` is where `/proc` lies.
pub fn read(root: &Path) -> CgroupFacts {
    let cpu = groups(root, "cpu");
    let version = cpu.as_ref().map(|cpu| cpu.version).map_err(Clone::clone);
    CgroupFacts {
        version: version.into(),
        quota: cpu.as_ref().map_err(Clone::clone).and_then(Groups::quota).into(),
        throttling: cpu.and_then(|cpu| cpu.throttling()).into(),
        memory_limit_bytes: groups(root, "memory")
            .and_then(|memory| memory.memory_limit())
            .into(),
    }
}

/// How often the group was throttled since it was made; the group that was throttled most, if several
/// above each other were.
pub fn throttling(root: &Path) -> Reading<Throttling> {
    groups(root, "cpu").and_then(|cpu| cpu.throttling()).into()
}

/// Finds the groups of a controller.
fn groups(root: &Path, controller: &str) -> Result<Groups, String> {
    let own = File::open(&root.join("proc/self/cgroup"))?;
    let (version, path) = membership(&own.text, controller)
        .ok_or_else(|| own.garbled(&format!("names no group of the {controller} controller")))?;
    let mounts = File::open(&root.join("proc/self/mountinfo"))?;
    let (mount_root, mount) = mounted(&mounts.text, version, controller)
        .ok_or_else(|| mounts.garbled(&format!("mounts no {controller} controller")))?;
    let mount = root.join(mount.trim_start_matches('/'));
    // In a container the mount shows a part of the tree only, and the path may tell of the whole one.
    let below = Path::new(path)
        .strip_prefix(mount_root)
        .ok()
        .filter(|below| !below.components().any(|part| part.as_os_str() == ".."));
    let leaf = below.map_or_else(|| mount.clone(), |below| mount.join(below));
    let leaf = if leaf.is_dir() { leaf } else { mount.clone() };
    if !leaf.is_dir() {
        return Err(format!("{} is not there", mount.display()));
    }
    let paths = leaf
        .ancestors()
        .take_while(|path| path.starts_with(&mount))
        .take(DEPTH)
        .map(Path::to_owned)
        .collect();
    Ok(Groups { version, paths })
}

/// Lines are `hierarchy:controllers:path`; version 2's is `0::path`. A controller that version 1
/// has is not in version 2.
fn membership<'a>(text: &'a str, controller: &str) -> Option<(u8, &'a str)> {
    let lines = || {
        text.lines().filter_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            Some((number, controllers, path))
        })
    };
    let old = lines().find(|(_, controllers, _)| controllers.split(',').any(|name| name == controller));
    let new = || lines().find(|(number, controllers, _)| *number == "0" && controllers.is_empty());
    old.map(|(_, _, path)| (1, path))
        .or_else(|| new().map(|(_, _, path)| (2, path)))
}

/// The mount of a hierarchy: what part of it is mounted, and where. Fields as in proc(5):
/// `36 35 98:0 /root /mount rw,noatime shared:1 - cgroup cgroup rw,cpu`.
fn mounted<'a>(text: &'a str, version: u8, controller: &str) -> Option<(&'a str, &'a str)> {
    text.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (mount_root, mount) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let fits = match version {
            1 => kind == "cgroup" && options.split(',').any(|option| option == controller),
            _ => kind == "cgroup2",
        };
        fits.then_some((mount_root, mount))
    })
}

impl Groups {
    /// The group that has this file; `None` where it is missing, as in the root of the tree.
    fn files(&self, name: &str) -> impl Iterator<Item = File> {
        self.paths
            .iter()
            .filter_map(move |path| File::open(&path.join(name)).ok())
    }

    fn quota(&self) -> Result<Option<Quota>, String> {
        let mut tightest: Option<Quota> = None;
        let mut note = |quota: Quota| {
            if tightest.is_none_or(|found| quota.cpus() < found.cpus()) {
                tightest = Some(quota);
            }
        };
        if self.version == 1 {
            for path in &self.paths {
                let Ok(file) = File::open(&path.join("cpu.cfs_quota_us")) else {
                    continue;
                };
                // -1 is no quota.
                if file.text.trim() == "-1" {
                    continue;
                }
                let quota_us = file.number(&file.text)?;
                let period = File::open(&path.join("cpu.cfs_period_us"))?;
                note(quota(&period, quota_us, &period.text)?);
            }
        } else {
            for file in self.files("cpu.max") {
                let mut words = file.text.split_whitespace();
                let (allowed, period) = (words.next().unwrap_or(""), words.next().unwrap_or("100000"));
                if allowed != "max" {
                    note(quota(&file, file.number(allowed)?, period)?);
                }
            }
        }
        Ok(tightest)
    }

    fn throttling(&self) -> Result<Throttling, String> {
        let mut most: Option<Throttling> = None;
        for file in self.files("cpu.stat") {
            // The root group of version 2 has a `cpu.stat` that tells nothing of quotas.
            let Ok(throttled) = file.line("nr_throttled ") else {
                continue;
            };
            let throttled_us = match file.line("throttled_usec ") {
                Ok(microseconds) => file.number(microseconds)?,
                Err(_) => file.number(file.line("throttled_time ")?)? / 1_000,
            };
            let found = Throttling {
                periods: file.number(file.line("nr_periods ")?)?,
                throttled_periods: file.number(throttled)?,
                throttled_us,
            };
            if most.is_none_or(|most| found.throttled_periods > most.throttled_periods) {
                most = Some(found);
            }
        }
        most.ok_or_else(|| format!("no cpu.stat in {} tells of throttling", self.own()))
    }

    fn memory_limit(&self) -> Result<Option<u64>, String> {
        let (name, none) = match self.version {
            1 => ("memory.limit_in_bytes", None),
            _ => ("memory.max", Some("max")),
        };
        let mut tightest: Option<u64> = None;
        for file in self.files(name) {
            if none == Some(file.text.trim()) {
                continue;
            }
            let bytes = file.number(&file.text)?;
            // Version 1 says "none" with the largest multiple of a page.
            if bytes < 1 << 62 {
                tightest = Some(tightest.map_or(bytes, |found| found.min(bytes)));
            }
        }
        Ok(tightest)
    }

    fn own(&self) -> String {
        self.paths
            .first()
            .map_or_else(String::new, |path| path.display().to_string())
    }
}

fn quota(file: &File, quota_us: u64, period: &str) -> Result<Quota, String> {
    let period_us = file.number(period)?;
    if quota_us == 0 || period_us == 0 {
        return Err(file.garbled("holds a quota or period of nothing"));
    }
    Ok(Quota { quota_us, period_us })
}
