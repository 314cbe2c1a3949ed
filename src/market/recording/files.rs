//! Which files are played when a folder or a recorder's name is given.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::RecordingError;
use super::writer::{folder_of, is_of_set};
use crate::limits::RECORDING_FILES;

/// What the files of a recording end with, before `.gz`.
const ENDINGS: [&str; 3] = [".jsonl", ".csv", ".json"];

/// The files behind `path` by name; None where it is a file itself (or nothing at all, which
/// opening it will tell).
pub(super) fn of(path: &Path) -> Result<Option<Vec<PathBuf>>, RecordingError> {
    let files = if path.is_dir() {
        listed(path, is_recording).map(Some)
    } else if path.exists() {
        Ok(None)
    } else {
        match listed(&folder_of(path), |name| is_of_set(path, name)) {
            Ok(files) if !files.is_empty() => Ok(Some(files)),
            _ => Ok(None),
        }
    };
    let fault = |error| RecordingError::Io {
        name: path.display().to_string(),
        error,
    };
    let files = files.map_err(fault)?;
    if files.as_ref().is_some_and(|files| files.len() > RECORDING_FILES) {
        let problem = format!("more than {RECORDING_FILES} files; play a part of them");
        return Err(fault(io::Error::other(problem)));
    }
    Ok(files)
}

fn listed(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&wanted) && entry.path().is_file() {
            files.push(entry.path());
        }
    }
    // By name, so that files that begin at one moment are played in one order everywhere.
    files.sort();
    Ok(files)
}

fn is_recording(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    !name.starts_with('.') && ENDINGS.iter().any(|ending| plain.ends_with(ending))
}
