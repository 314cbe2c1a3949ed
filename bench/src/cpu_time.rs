//! Processor time of single threads.
#![expect(unsafe_code, reason = "per-thread CPU clocks, which no safe crate wraps")]

use std::path::PathBuf;
use std::time::Duration;
use std::{fs, io};

/// Where one thread's time can be read, by any thread of the process while it lives.
#[derive(Clone, Debug)]
pub(crate) struct ThreadTime {
    clock: libc::clockid_t,
    schedstat: PathBuf,
}

/// What a thread had so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    /// On a CPU, in user space and in the kernel. A kernel built with IRQ_TIME_ACCOUNTING
    /// leaves out the softirqs that ran meanwhile, and with them much of loopback's work.
    pub(crate) on_cpu: Duration,
    /// Ready to run while something else had the CPU; zero where the kernel does not say.
    pub(crate) delayed: Duration,
}

impl ThreadTime {
    /// The calling thread's.
    pub(crate) fn own() -> io::Result<Self> {
        let mut clock = 0;
        // SAFETY: pthread_getcpuclockid(3) writes one clockid_t to the pointer, which is live;
        // pthread_self() is the running thread.
        let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) };
        if failed != 0 {
            return Err(io::Error::from_raw_os_error(failed));
        }
        // proc(5): the link leads to PID/task/TID.
        let task = fs::read_link("/proc/thread-self")?;
        Ok(Self {
            clock,
            schedstat: PathBuf::from("/proc").join(task).join("schedstat"),
        })
    }

    /// Reads it.
    pub(crate) fn read(&self) -> io::Result<Spent> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: clock_gettime(2) writes one timespec to the pointer, which is live.
        if unsafe { libc::clock_gettime(self.clock, &raw mut time) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let delayed = fs::read_to_string(&self.schedstat).ok().and_then(|text| {
            let nanos = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
            Some(Duration::from_nanos(nanos))
        });
        Ok(Spent {
            on_cpu: Duration::new(time.tv_sec as u64, time.tv_nsec as u32),
            delayed: delayed.unwrap_or_default(),
        })
    }
}

/// What several threads had together.
pub(crate) fn total(threads: &[ThreadTime]) -> io::Result<Spent> {
    threads.iter().try_fold(Spent::default(), |sum, thread| {
        let spent = thread.read()?;
        Ok(Spent {
            on_cpu: sum.on_cpu + spent.on_cpu,
            delayed: sum.delayed + spent.delayed,
        })
    })
}

impl Spent {
    /// What was added since.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            on_cpu: self.on_cpu.saturating_sub(earlier.on_cpu),
            delayed: self.delayed.saturating_sub(earlier.delayed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn another_threads_time_grows_with_its_work_and_not_with_its_rest() {
        let (tell, told) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let worker = std::thread::spawn(move || {
            let time = ThreadTime::own().expect("readable");
            let start = time.read().expect("readable");
            while time.read().expect("readable").since(start).on_cpu < Duration::from_millis(20) {}
            tell.send(time).expect("someone listens");
            finished.recv().expect("told to end");
        });
        let time = told.recv().expect("told");
        let worked = time.read().expect("readable");
        assert!(worked.on_cpu >= Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(50));
        let rested = time.read().expect("readable").since(worked);
        assert!(rested.on_cpu < Duration::from_millis(20), "{rested:?}");
        finish.send(()).expect("it waits");
        worker.join().expect("no panic");
    }
}
