//! The processor, and which of its CPUs this process may use.

use std::collections::BTreeMap;
use std::fs;

use super::Source;
use crate::facts::CpuFacts;

/// Most CPUs that are believed in a list.
const MAX_CPUS: usize = 1 << 16;

pub(super) fn read(source: &Source, clock_read_ns: u64) -> CpuFacts {
    CpuFacts {
        model: model(source).into(),
        vectors: vectors(source).into(),
        affinity: affinity(source).into(),
        online: online(source).into(),
        mitigations: mitigations(source).into(),
        clock_source: source.word("sys/devices/system/clocksource/clocksource0/current_clocksource"),
        clock_read_ns,
    }
}

fn model(source: &Source) -> Result<String, String> {
    let file = source.open("proc/cpuinfo")?;
    // x86 names the model; arm64 tells numbers only.
    let line = file.line("model name").or_else(|_| file.line("CPU part"))?;
    Ok(line.trim_start_matches(['\t', ' ', ':']).trim().to_owned())
}

fn vectors(source: &Source) -> Result<&'static str, String> {
    let file = source.open("proc/cpuinfo")?;
    let flags = file.line("flags").or_else(|_| file.line("Features"))?;
    let has = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
    Ok(match () {
        // BLAKE3 wants the foundation and the vector-length extension.
        () if has("avx512f") && has("avx512vl") => "avx512",
        () if has("avx2") => "avx2",
        () if has("asimd") => "neon",
        () => "none",
    })
}

/// proc(5), `status`: `Cpus_allowed_list:  0-1,4`.
fn affinity(source: &Source) -> Result<Vec<usize>, String> {
    let file = source.open("proc/self/status")?;
    let list = file.line("Cpus_allowed_list:")?;
    cpus(list).ok_or_else(|| file.garbled(&format!("lists CPUs as {:?}", list.trim())))
}

fn online(source: &Source) -> Result<usize, String> {
    let file = source.open("sys/devices/system/cpu/online")?;
    let list = cpus(&file.text).ok_or_else(|| file.garbled("is no list of CPUs"))?;
    Ok(list.len())
}

/// A list in the kernel's form, `0-3,8`; not empty.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last < first || last >= MAX_CPUS {
            return None;
        }
        found.extend(first..=last);
    }
    Some(found)
}

/// What the kernel says of each vulnerability, without those that the processor does not have.
fn mitigations(source: &Source) -> Result<BTreeMap<String, String>, String> {
    let path = source.path("sys/devices/system/cpu/vulnerabilities");
    let entries = fs::read_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let told = entries.flatten().filter_map(|entry| {
        let says = fs::read_to_string(entry.path()).ok()?;
        let name = entry.file_name().into_string().ok()?;
        (says.trim() != "Not affected").then(|| (name, says.trim().to_owned()))
    });
    Ok(told.collect())
}
