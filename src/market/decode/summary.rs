//! What was met in all frames together.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::Frame;
use crate::limits::DECODE_INSTRUMENTS;

/// Counts over the frames of all files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Files that were begun.
    pub files: u64,
    /// Frames, damaged lines among them.
    pub frames: u64,
    /// Frames by the kind of their first event that is not invalid.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Frames and elements of frames that are not as the venue documents them, by reason.
    pub invalid: BTreeMap<String, u64>,
    /// Lines that were damaged: too long, cut, or lacking their frame.
    pub damaged: u64,
    /// Instruments and how many frames told of each first, by venue.
    pub instruments: BTreeMap<&'static str, BTreeMap<String, u64>>,
    /// Frames of instruments beyond those that are counted by name.
    pub more_instruments: u64,
    /// Files that could not be read to their end.
    pub unread: u64,
    #[serde(skip)]
    named: usize,
}

impl Summary {
    /// Counts one frame.
    pub fn count(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        *self.kinds.entry(frame.first.kind).or_default() += 1;
        for view in frame.invalid() {
            let reason = view.reason.clone().unwrap_or_default();
            *self.invalid.entry(reason).or_default() += 1;
        }
        self.damaged += u64::from(frame.damaged);
        if let (Some(instrument), Some(venue)) = (&frame.first.instrument, frame.venue) {
            let known = self.instruments.entry(venue).or_default();
            if let Some(count) = known.get_mut(instrument) {
                *count += 1;
            } else if self.named < DECODE_INSTRUMENTS {
                self.named += 1;
                known.insert(instrument.clone(), 1);
            } else {
                self.more_instruments += 1;
            }
        }
    }

    /// Whether every frame was understood, every element of it, and every line.
    pub fn all_understood(&self) -> bool {
        self.invalid.is_empty() && self.damaged == 0
    }
}

/// A few lines for people.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &mut dyn Iterator<Item = (String, u64)>| {
            let parts: Vec<_> = counts.map(|(name, count)| format!("{name} {count}")).collect();
            if parts.is_empty() {
                "none".to_owned()
            } else {
                parts.join(", ")
            }
        };
        let kinds = list(&mut self.kinds.iter().map(|(kind, n)| ((*kind).to_owned(), *n)));
        writeln!(f, "files: {}", self.files)?;
        writeln!(f, "frames: {} ({kinds})", self.frames)?;
        let invalid = list(&mut self.invalid.iter().map(|(reason, n)| (reason.clone(), *n)));
        writeln!(f, "invalid: {invalid}")?;
        let by_venue = |(venue, known): (&&'static str, &BTreeMap<String, u64>)| {
            ((*venue).to_owned(), known.len() as u64)
        };
        write!(
            f,
            "instruments: {}",
            list(&mut self.instruments.iter().map(by_venue))
        )?;
        if self.more_instruments > 0 {
            write!(f, ", and {} frames of more", self.more_instruments)?;
        }
        write!(f, "\ndamaged lines: {}", self.damaged)?;
        if self.unread > 0 {
            write!(f, "\nfiles not read to their end: {}", self.unread)?;
        }
        Ok(())
    }
}
