//! Processor time of whoever serves: a thread of this program, or a process beside it.
#![expect(
    unsafe_code,
    reason = "CPU clocks of other processes, which no safe crate wraps"
)]

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

use crate::cpu_time::{Spent, ThreadTime};

/// Where the time of a serving side can be read.
#[derive(Clone, Debug)]
pub(crate) enum ServingTime {
    /// A thread of this program.
    Thread(ThreadTime),
    /// Processes, all of their threads together.
    Processes(Vec<ProcessTime>),
}

/// One process.
#[derive(Clone, Debug)]
pub(crate) struct ProcessTime {
    clock: libc::clockid_t,
    tasks: PathBuf,
}

impl ServingTime {
    /// Reads it.
    pub(crate) fn read(&self) -> io::Result<Spent> {
        match self {
            Self::Thread(thread) => thread.read(),
            Self::Processes(processes) => processes.iter().try_fold(Spent::default(), |sum, process| {
                let spent = process.read()?;
                Ok(Spent {
                    on_cpu: sum.on_cpu + spent.on_cpu,
                    delayed: sum.delayed + spent.delayed,
                })
            }),
        }
    }
}

impl ProcessTime {
    /// Of a process that this user may look at.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: clock_getcpuclockid(3) writes one clockid_t to the pointer, which is live.
        let failed = unsafe { libc::clock_getcpuclockid(pid as libc::pid_t, &raw mut clock) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        Ok(Self {
            clock,
            tasks: PathBuf::from(format!("/proc/{pid}/task")),
        })
    }

    /// Every process of a group, as of now.
    pub(crate) fn of_group(group: u32) -> io::Result<Vec<Self>> {
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // It may have ended meanwhile.
            if fs::read_to_string(format!("/proc/{pid}/stat"))
                .is_ok_and(|stat| group_of(&stat) == Some(group))
            {
                found.push(Self::of(pid)?);
            }
        }
        Ok(found)
    }

    fn read(&self) -> io::Result<Spent> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: clock_gettime(2) writes one timespec to the pointer, which is live.
        if unsafe { libc::clock_gettime(self.clock, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // The threads of a served process share one CPU: what one of them waits while another has
        // it is no waiting of the side. Only the busiest thread's is told.
        let delayed = fs::read_dir(&self.tasks)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|task| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                let mut numbers = text.split_ascii_whitespace().map(str::parse::<u64>);
                Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
            })
            .max()
            .map_or(0, |(_, delayed)| delayed);
        Ok(Spent {
            on_cpu: Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            delayed: Duration::from_nanos(delayed),
        })
    }
}

/// The process group in a /proc/PID/stat; the name before it may hold anything.
fn group_of(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Limit;

    #[test]
    fn a_process_group_is_found_whatever_the_name() {
        assert_eq!(group_of("12 (a) b ) S 1 77 9 0"), Some(77));
        assert_eq!(group_of("12"), None);
    }

    #[test]
    fn the_time_of_a_process_grows_with_its_work() {
        let own = ServingTime::Processes(vec![ProcessTime::of(std::process::id()).expect("own")]);
        let before = own.read().expect("readable");
        let thread = ThreadTime::own().expect("readable");
        let start = thread.read().expect("readable");
        while thread.read().expect("readable").since(start).on_cpu < Duration::from_millis(20) {}
        assert!(own.read().expect("readable").since(before).on_cpu >= Duration::from_millis(20));
    }

    #[test]
    fn who_was_busy_or_kept_from_its_cpu_was_the_limit() {
        let spent = |on_cpu, delayed| Spent {
            on_cpu: Duration::from_millis(on_cpu),
            delayed: Duration::from_millis(delayed),
        };
        assert_eq!(Limit::of(spent(95, 0), Duration::from_millis(100)), Limit::Server);
        assert_eq!(
            Limit::of(spent(50, 46), Duration::from_millis(100)),
            Limit::Server
        );
        assert_eq!(Limit::of(spent(94, 0), Duration::from_millis(100)), Limit::Loader);
    }
}
