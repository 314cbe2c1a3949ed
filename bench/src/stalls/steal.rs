//! Processor time that the hypervisor gave to somebody else.
#![expect(
    unsafe_code,
    reason = "the kernel's clock tick, which no safe crate at hand tells"
)]

use std::time::Duration;

/// Of one processor, or of all, since boot; `None` where the system does not tell.
pub(crate) fn since_boot(cpu: Option<usize>) -> Option<Duration> {
    // SAFETY: sysconf(3) takes any name and touches no memory of the caller's.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    let per_second = u32::try_from(per_second).ok().filter(|ticks| *ticks > 0)?;
    let ticks = stolen_ticks(&std::fs::read_to_string("/proc/stat").ok()?, cpu)?;
    Some(Duration::from_secs_f64(ticks as f64 / f64::from(per_second)))
}

/// The eighth value of the line `cpu` or `cpuN` of /proc/stat (proc(5): user, nice, system, idle, iowait,
/// irq, softirq, steal), in clock ticks. Kernels before 2.6.11 have fewer values.
fn stolen_ticks(stat: &str, cpu: Option<usize>) -> Option<u64> {
    let name = cpu.map_or_else(|| "cpu ".to_owned(), |cpu| format!("cpu{cpu} "));
    let mut all = stat
        .lines()
        .find_map(|line| line.strip_prefix(&name))?
        .split_ascii_whitespace();
    all.nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_value_of_the_line_of_one_or_all_processors() {
        let stat = "cpu  10132153 290696 3084719 46828483 16683 0 25195 175628 4 5\n\
                    cpu0 1393280 32966 572056 13343292 6130 0 17875 9 0 0\nintr 1 2 3\n";
        assert_eq!(stolen_ticks(stat, None), Some(175_628));
        assert_eq!(stolen_ticks(stat, Some(0)), Some(9));
        assert_eq!(stolen_ticks(stat, Some(1)), None);
        let first_is_one_processor = "cpu0 1 2 3 4 5 6 7 8 9 10\ncpu 1 2 3 4 5 6 7 99 9 10\n";
        assert_eq!(stolen_ticks(first_is_one_processor, None), Some(99));
    }

    #[test]
    fn a_system_that_does_not_tell_has_no_stolen_time() {
        for stat in [
            "",
            "cpu 1 2 3 4 5 6 7\n",
            "cpu0 1 2 3 4 5 6 7 8\n",
            "cpu a b c d e f g h\n",
        ] {
            assert_eq!(stolen_ticks(stat, None), None, "{stat:?}");
        }
    }

    #[test]
    fn stolen_time_never_goes_back() {
        let before = since_boot(None);
        assert!(since_boot(None) >= before);
    }
}
