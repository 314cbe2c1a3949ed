//! Which CPUs this process may use, and pinning to one.

use std::io;

/// The CPUs of the calling thread's affinity mask, ascending. A container's cpuset is
/// already taken into account; its CPU quota is not (see
/// [`std::thread::available_parallelism`], which is).
pub fn allowed() -> io::Result<Vec<usize>> {
    // SAFETY: `cpu_set_t` is an array of integers; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: sched_getaffinity(2) writes at most `cpusetsize` bytes at the pointer; 0 is the
    // calling thread.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    let size = libc::CPU_SETSIZE as usize;
    // SAFETY: CPU_ISSET(3) reads a bit of the set; every index is below CPU_SETSIZE.
    Ok((0..size)
        .filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &set) })
        .collect())
}

/// Pins the calling thread to one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("there is no CPU {cpu}"),
        ));
    }
    // SAFETY: `cpu_set_t` is an array of integers; all zeros is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET(3) sets a bit of the set; the index is below CPU_SETSIZE.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: sched_setaffinity(2) reads `cpusetsize` bytes at the pointer; 0 is the calling
    // thread.
    let failed = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_may_use_its_cpu_only() {
        let first = allowed().expect("readable")[0];
        let after = std::thread::spawn(move || {
            pin(first).expect("its own CPU");
            allowed().expect("readable")
        });
        assert_eq!(after.join().expect("no panic"), [first]);
        assert!(pin(1 << 20).is_err());
    }
}
