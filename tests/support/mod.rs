//! What several tests need.

#![allow(dead_code, reason = "each test takes what it needs")]

pub(crate) mod http;
pub(crate) mod keys;
pub(crate) mod postgres;
pub(crate) mod recording;
pub(crate) mod server;

use std::path::{Path, PathBuf};

/// A path in the shared data, or None with a note where it is not at hand.
pub(crate) fn shared_data(path: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRINITY_SHARED_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"),
        PathBuf::from,
    );
    let found = root.join(path);
    if found.exists() {
        return Some(found);
    }
    eprintln!("skipped: shared data not found at {}", found.display());
    None
}
