//! Which peers are installed, and where.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// A server of somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// valkey-server.
    Valkey,
    /// memcached.
    Memcached,
    /// nginx.
    Nginx,
    /// NSD, which dnsperf loads.
    Nsd,
}

/// Where Debian puts servers; not on the path of users who are not root.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

impl Peer {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Valkey, Self::Memcached, Self::Nginx, Self::Nsd];

    /// Its program, if it is installed.
    pub(crate) fn find(self) -> Option<PathBuf> {
        self.find_in(&folders())
    }

    /// What to tell where it is not.
    pub(crate) fn absent(self) -> String {
        let what = match self {
            Self::Nsd => "nsd or dnsperf",
            other => other.program(),
        };
        format!("{what} is not installed; bench/peers installs it")
    }

    const fn program(self) -> &'static str {
        match self {
            Self::Valkey => "valkey-server",
            Self::Memcached => "memcached",
            Self::Nginx => "nginx",
            Self::Nsd => "nsd",
        }
    }

    fn find_in(self, folders: &[PathBuf]) -> Option<PathBuf> {
        let found = program_in(self.program(), folders)?;
        // Nothing else here speaks DNS.
        let is_loaded = self != Self::Nsd || program_in("dnsperf", folders).is_some();
        is_loaded.then_some(found)
    }
}

/// A program by name.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    program_in(name, &folders())
}

/// The path, where Debian puts servers, and where `bench/peers` does: `peers/bin` in the target
/// directory.
fn folders() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"),
        PathBuf::from,
    );
    // The program itself lies in the target directory too, wherever that is.
    let beside = env::current_exe()
        .ok()
        .and_then(|own| Some(own.parent()?.parent()?.to_owned()));
    let own = [Some(target), beside];
    let own = own.into_iter().flatten().map(|target| target.join("peers/bin"));
    own.chain(env::split_paths(&path))
        .chain(SYSTEM.map(PathBuf::from))
        .collect()
}

fn program_in(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        path.metadata()
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    folders.iter().map(|folder| folder.join(name)).find(is_program)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_peer_that_is_not_there_is_told_of_as_absent() {
        let folder = tempfile::tempdir().expect("made");
        for peer in Peer::ALL {
            assert_eq!(peer.find_in(&[folder.path().to_owned()]), None);
            assert!(peer.absent().contains("bench/peers installs it"));
        }
    }

    #[test]
    fn a_peer_is_a_program_not_just_a_file_of_its_name() {
        let folder = tempfile::tempdir().expect("made");
        let folders = [folder.path().to_owned()];
        let make = |name: &str, mode| {
            let path = folder.path().join(name);
            fs::write(&path, "").expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
            path
        };
        make("nginx", 0o644);
        assert_eq!(Peer::Nginx.find_in(&folders), None);
        assert_eq!(
            Peer::Nginx.find_in(&[folders[0].clone(), folders[0].clone()]),
            None
        );
        let nginx = make("nginx", 0o755);
        assert_eq!(Peer::Nginx.find_in(&folders), Some(nginx));
        let nsd = make("nsd", 0o755);
        assert_eq!(Peer::Nsd.find_in(&folders), None, "nobody could load it");
        make("dnsperf", 0o755);
        assert_eq!(Peer::Nsd.find_in(&folders), Some(nsd));
    }
}
