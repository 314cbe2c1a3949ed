//! Who waits when nothing came: the only part of a shard that differs from machine to
//! machine. The turn is the same code on every driver.

#![expect(
    unsafe_code,
    reason = "system calls that no safe crate wraps; each block says why it is sound"
)]

pub mod cpus;
pub mod epoll;
pub mod glommio;
pub mod probe;
pub mod trial;

use std::fmt;
use std::time::Duration;

/// Waits for the shard's socket.
pub trait Driver {
    /// Returns when a datagram is there, or after about `timeout`, or for no reason.
    fn park(&mut self, timeout: Duration) -> impl Future<Output = ()>;

    /// Whether a shard may instead wait in the call that receives, which blocks its thread.
    fn waits_in_receive(&self) -> bool {
        false
    }
}

/// The drivers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DriverKind {
    /// poll(2): works everywhere.
    Epoll,
    /// io_uring through glommio's executor.
    Glommio,
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum DriverChoice {
    /// glommio where io_uring works, epoll where it does not.
    #[default]
    Auto,
    /// epoll.
    Epoll,
    /// glommio, or an error that says which limit to lift.
    Glommio,
}

/// A driver and why it is the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Which.
    pub kind: DriverKind,
    /// Why, for the log and for metrics.
    pub why: String,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Epoll => "epoll",
            Self::Glommio => "glommio",
        })
    }
}

/// Picks the driver; an explicit choice that cannot run is an error, never a silent fallback.
pub fn choose(
    choice: DriverChoice,
    probe: impl FnOnce() -> Result<(), probe::Refusal>,
) -> Result<Chosen, probe::Refusal> {
    let chosen = |kind, why: &str| {
        Ok(Chosen {
            kind,
            why: why.to_owned(),
        })
    };
    match choice {
        DriverChoice::Epoll => chosen(DriverKind::Epoll, "asked for"),
        DriverChoice::Glommio => probe().and_then(|()| chosen(DriverKind::Glommio, "asked for")),
        DriverChoice::Auto => match probe() {
            Ok(()) => chosen(DriverKind::Glommio, "io_uring works here"),
            Err(refusal) => chosen(DriverKind::Epoll, &refusal.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_choice_never_falls_back() {
        let refused = || Err(probe::Refusal::NotBuiltIn);
        assert_eq!(
            choose(DriverChoice::Glommio, refused),
            Err(probe::Refusal::NotBuiltIn)
        );
        let auto = choose(DriverChoice::Auto, refused).expect("falls back");
        assert_eq!(auto.kind, DriverKind::Epoll);
        assert!(auto.why.contains("io_uring"), "{}", auto.why);
        assert_eq!(
            choose(DriverChoice::Auto, || Ok(())).map(|c| c.kind),
            Ok(DriverKind::Glommio)
        );
        assert_eq!(
            choose(DriverChoice::Epoll, || panic!("not probed")).map(|c| c.kind),
            Ok(DriverKind::Epoll)
        );
    }
}
