//! Asks the kernel whether io_uring works here, before glommio is touched.
//!
//! glommio 0.9 panics or ends the process when io_uring is missing or lacks an operation, so
//! nothing of it may be constructed until this probe has passed. The probe tries instead of
//! comparing versions: a ring, the operations, and the memory that may be locked.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// Why glommio cannot run. The text says what to lift.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// ENOSYS.
    #[error("io_uring is not built into this kernel; use --driver epoll")]
    NotBuiltIn,
    /// EPERM or EACCES.
    #[error(
        "io_uring is refused here: a seccomp profile denies io_uring_setup (containers; Fargate always does), \
         or sysctl kernel.io_uring_disabled is set (it must be 0, or 1 with CAP_SYS_ADMIN); \
         lift that or use --driver epoll"
    )]
    Denied,
    /// ENOMEM.
    #[error("io_uring cannot lock memory: raise the memlock limit (ulimit -l) or use --driver epoll")]
    NoMemory,
    /// RLIMIT_MEMLOCK below what glommio insists on.
    #[error(
        "glommio wants a memlock limit of {wanted_kib} KiB, this process has {found_kib} KiB: \
         raise it (ulimit -l, LimitMEMLOCK=, or the container's memlock ulimit) or use --driver epoll"
    )]
    Memlock {
        /// What is there.
        found_kib: u64,
        /// What is wanted.
        wanted_kib: u64,
    },
    /// An operation is missing.
    #[error(
        "io_uring lacks operation {0}, which glommio needs (kernel 5.8 or later has it); use --driver epoll"
    )]
    Operation(u8),
    /// Anything else.
    #[error("io_uring does not work here ({0}); use --driver epoll")]
    Other(String),
}

/// What glommio 0.9 checks for itself, too late (`GLOMMIO_URING_OPS`): numbers of `enum
/// io_uring_op` in linux/io_uring.h.
const OPERATIONS: [u8; 23] = [
    0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21, 22, 23, 26, 27,
];

/// What glommio 0.9 insists on (`MIN_MEMLOCK_LIMIT`).
pub const MEMLOCK_BYTES: u64 = 512 << 10;

/// Tries io_uring.
pub fn io_uring() -> Result<(), Refusal> {
    memlock()?;
    let ring = setup()?;
    let supported = operations(&ring)?;
    match OPERATIONS.iter().find(|op| !supported[usize::from(**op)]) {
        Some(missing) => Err(Refusal::Operation(*missing)),
        None => Ok(()),
    }
}

fn memlock() -> Result<(), Refusal> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit(2) writes one `rlimit` to the pointer, which is valid for it.
    if unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) } != 0 {
        return Err(Refusal::Other(io::Error::last_os_error().to_string()));
    }
    if limit.rlim_cur < MEMLOCK_BYTES {
        return Err(Refusal::Memlock {
            found_kib: limit.rlim_cur >> 10,
            wanted_kib: MEMLOCK_BYTES >> 10,
        });
    }
    Ok(())
}

fn setup() -> Result<OwnedFd, Refusal> {
    /// Bytes of `struct io_uring_params`.
    const PARAMS: usize = 120;
    let mut params = [0_u64; PARAMS / 8];
    // SAFETY: io_uring_setup(2) reads and writes one `io_uring_params`, 120 bytes, at the
    // pointer; all zeros asks for no feature. It returns a new descriptor or an error.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4_u32, params.as_mut_ptr()) };
    if fd < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::ENOSYS) => Refusal::NotBuiltIn,
            Some(libc::EPERM | libc::EACCES) => Refusal::Denied,
            Some(libc::ENOMEM) => Refusal::NoMemory,
            _ => Refusal::Other(error.to_string()),
        });
    }
    // SAFETY: the kernel just gave this descriptor to us; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn operations(ring: &OwnedFd) -> Result<[bool; 256], Refusal> {
    const IORING_REGISTER_PROBE: u32 = 8;
    const IO_URING_OP_SUPPORTED: u8 = 1;
    /// `struct io_uring_probe`: 16 bytes of header and 8 for each of 256 operations.
    const HEADER: usize = 16;
    const ENTRY: usize = 8;
    let mut probe = [0_u8; HEADER + 256 * ENTRY];
    // SAFETY: io_uring_register(2) with IORING_REGISTER_PROBE writes a header and at most
    // `nr_args` entries of 8 bytes at the pointer, which has room for 256 of them; the buffer
    // must be zeroed, and is.
    let failed = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            ring.as_raw_fd(),
            IORING_REGISTER_PROBE,
            probe.as_mut_ptr(),
            256_u32,
        )
    };
    if failed < 0 {
        return Err(Refusal::Other(format!(
            "no operation probe: {}",
            io::Error::last_os_error()
        )));
    }
    let mut supported = [false; 256];
    for entry in probe[HEADER..].chunks_exact(ENTRY).take(usize::from(probe[1])) {
        supported[usize::from(entry[0])] = entry[2] & IO_URING_OP_SUPPORTED != 0;
    }
    Ok(supported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_says_what_to_do() {
        let refusals = [
            Refusal::NotBuiltIn,
            Refusal::Denied,
            Refusal::NoMemory,
            Refusal::Memlock {
                found_kib: 64,
                wanted_kib: 512,
            },
            Refusal::Operation(27),
            Refusal::Other("x".into()),
        ];
        for refusal in refusals {
            assert!(refusal.to_string().contains("--driver epoll"), "{refusal}");
        }
    }

    #[test]
    fn where_the_probe_passes_glommio_runs() {
        match io_uring() {
            Ok(()) => {
                let executor = ::glommio::LocalExecutorBuilder::default()
                    .make()
                    .expect("the probe passed");
                assert_eq!(executor.run(async { 7 }), 7);
            }
            Err(refusal) => eprintln!("io_uring is not usable here: {refusal}"),
        }
    }
}
