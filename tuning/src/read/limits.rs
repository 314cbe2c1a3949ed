//! Resource limits of this process: proc(5), `/proc/self/limits`.

use super::{File, Source};
use crate::facts::{Limit, LimitFacts};

pub(super) fn read(source: &Source) -> LimitFacts {
    let file = source.open("proc/self/limits");
    let limit = |name: &str| {
        let file = file.as_ref().map_err(Clone::clone)?;
        limit(file, name)
    };
    LimitFacts {
        open_files: limit("Max open files").into(),
        memlock_bytes: limit("Max locked memory").into(),
    }
}

/// A row: the name, then the soft and the hard limit, then the unit.
fn limit(file: &File, name: &str) -> Result<Limit, String> {
    let mut words = file.line(name)?.split_whitespace();
    let mut next = || match words.next() {
        Some("unlimited") => Ok(None),
        Some(number) => file.number(number).map(Some),
        None => Err(file.garbled(&format!("has no limits beside {name:?}"))),
    };
    Ok(Limit {
        soft: next()?,
        hard: next()?,
    })
}
