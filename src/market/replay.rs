//! Plays a recording through the engine on the recording's own clock.
//!
//! The player is pure: it never looks at a clock and never sleeps. It says when the next step
//! is due on the wall clock; whoever drives it waits until then and calls [`Player::step`]. What
//! comes out depends on the recording alone: evaluation happens after all quotes of one receive
//! time, and at the whole seconds of recorded time at which an age limit has struck. So every
//! speed and every run gives the same bytes.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;

use trinity_protocol::PriceFlags;

use super::engine::MarketEngine;
use super::quote::{AggregatedPrice, Quote, RejectReason};
use super::recording::{Reader, ReaderStats, Record, Recording, RecordingError};
use super::symbol::{SymbolId, SymbolTable};

/// Pause between two passes of a looping recording, in recorded time.
const PASS_GAP_NS: u64 = NANOS_PER_SECOND;

/// Steps [`Player::play_until`] takes before it returns to its caller, due or not: at full
/// speed everything is always due, and the caller has other things to do as well.
const MAX_STEPS: usize = 4_096;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// How fast recorded time goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speed {
    /// As fast as the machine can: every step is due at once.
    Fast,
    /// So many recorded seconds in a second.
    Times(NonZeroU32),
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Recorded time is now this, Unix ns.
    Played(u64),
    /// The recording begins anew; sequences go on rising.
    NewPass(u64),
    /// Nothing is left and every price has aged away.
    Over,
}

/// Plays one recording.
#[derive(Debug)]
pub struct Player {
    recording: Recording,
    engine: MarketEngine,
    reader: Reader,
    /// The record that comes next, and its quotes.
    ahead: Option<Record>,
    ahead_quotes: Vec<Quote>,
    speed: Speed,
    looping: bool,
    passes: u64,
    /// Wall and recorded time at which the current pass began.
    wall_start_ns: u64,
    recorded_start_ns: u64,
    recorded_ns: u64,
}

impl Player {
    /// Builds the recording's own table and engine and reads up to its first record.
    pub fn new(recording: Recording, speed: Speed, looping: bool) -> Result<Self, RecordingError> {
        let table = Arc::new(recording.symbol_table()?);
        let reader = recording.read()?;
        let mut player = Self {
            engine: MarketEngine::with_flags(table, PriceFlags::REPLAYED),
            reader,
            recording,
            ahead: None,
            ahead_quotes: Vec::new(),
            speed,
            looping,
            passes: 1,
            wall_start_ns: 0,
            recorded_start_ns: 0,
            recorded_ns: 0,
        };
        player.read_ahead();
        let Some(first) = player.ahead else {
            return Err(RecordingError::Form {
                name: player.recording.name(),
                line: player.reader.stats().lines + 1,
                problem: format!(
                    "nothing to play: {} lines were damaged, none was good",
                    player.stats().damaged
                ),
            });
        };
        player.recorded_start_ns = first.time_ns;
        player.recorded_ns = first.time_ns;
        Ok(player)
    }

    /// Sets the wall time at which the first record is due. Call it once, before the first step.
    pub fn start(&mut self, wall_now_ns: u64) {
        self.wall_start_ns = wall_now_ns;
    }

    /// Wall time at which the next step is due, Unix ns; None when nothing is left. At
    /// [`Speed::Fast`] always the start, that is, at once.
    pub fn next_due(&self) -> Option<u64> {
        let recorded_ns = match self.next_event() {
            Some(at) => at,
            None if self.looping => self.recorded_ns.saturating_add(PASS_GAP_NS),
            None => return None,
        };
        Some(self.wall_of(recorded_ns))
    }

    /// Takes the next step, due or not, and hands every changed price to `emit`.
    pub fn step(&mut self, emit: &mut dyn FnMut(SymbolId, &AggregatedPrice)) -> Result<Step, RecordingError> {
        let Some(at_ns) = self.next_event() else {
            if self.looping {
                return self.begin_anew();
            }
            return Ok(Step::Over);
        };
        self.recorded_ns = at_ns;
        while self.ahead.is_some_and(|record| record.time_ns <= at_ns) {
            if let Some(venue) = self.ahead.and_then(|record| record.restarted) {
                self.engine.forget_sequences(venue);
            }
            for quote in self.ahead_quotes.drain(..) {
                // The engine counts what it refuses, by venue and reason.
                let _: Result<(), RejectReason> = self.engine.on_quote(&quote);
            }
            self.read_ahead();
        }
        self.engine.tick(at_ns, emit);
        Ok(Step::Played(at_ns))
    }

    /// Takes the steps that are due by `wall_now_ns`, though at most a few thousand; returns
    /// when the next one is due, which may be already.
    pub fn play_until(
        &mut self,
        wall_now_ns: u64,
        emit: &mut dyn FnMut(SymbolId, &AggregatedPrice),
    ) -> Result<Option<u64>, RecordingError> {
        for _ in 0..MAX_STEPS {
            match self.next_due() {
                Some(due_ns) if due_ns <= wall_now_ns => self.step(emit)?,
                other => return Ok(other),
            };
        }
        Ok(self.next_due())
    }

    /// What the recording's clock shows at this wall time: it goes on between two records, but
    /// never past the next. Ages of prices are meant against this clock.
    pub fn recorded_time(&self, wall_now_ns: u64) -> u64 {
        let Speed::Times(times) = self.speed else {
            return self.recorded_ns;
        };
        let passed_ns = u128::from(wall_now_ns.saturating_sub(self.wall_start_ns)) * u128::from(times.get());
        let shown_ns = u64::try_from(u128::from(self.recorded_start_ns) + passed_ns).unwrap_or(u64::MAX);
        let next_ns = self.next_event().unwrap_or(u64::MAX);
        shown_ns.min(next_ns).max(self.recorded_ns)
    }

    /// The table the recording is played with.
    pub fn table(&self) -> &Arc<SymbolTable> {
        self.engine.table()
    }

    /// The engine behind it, for explanations and counters.
    pub fn engine(&self) -> &MarketEngine {
        &self.engine
    }

    /// The recording.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What was met while reading the current pass.
    pub fn stats(&self) -> ReaderStats {
        self.reader.stats()
    }

    /// Passes begun, from 1.
    pub fn passes(&self) -> u64 {
        self.passes
    }

    /// Recorded time of the next record, or of the whole second before it at which an age limit
    /// will have struck.
    fn next_event(&self) -> Option<u64> {
        let record_ns = self.ahead.map(|record| record.time_ns);
        if record_ns.is_none() && self.looping {
            return None;
        }
        let check_ns = self.engine.next_check_ns();
        let aged_ns = check_ns
            .checked_next_multiple_of(NANOS_PER_SECOND)
            .map(|at| at.max(self.recorded_ns));
        match (record_ns, aged_ns) {
            (Some(record_ns), Some(aged_ns)) => Some(record_ns.min(aged_ns)),
            (some, other) => some.or(other),
        }
    }

    fn wall_of(&self, recorded_ns: u64) -> u64 {
        match self.speed {
            Speed::Fast => self.wall_start_ns,
            Speed::Times(times) => {
                let recorded_ns = recorded_ns.saturating_sub(self.recorded_start_ns);
                self.wall_start_ns
                    .saturating_add(recorded_ns / u64::from(times.get()))
            }
        }
    }

    fn begin_anew(&mut self) -> Result<Step, RecordingError> {
        self.wall_start_ns = self.wall_of(self.recorded_ns.saturating_add(PASS_GAP_NS));
        self.reader = self.recording.read()?.quiet();
        self.read_ahead();
        let Some(first) = self.ahead else {
            return Err(RecordingError::Form {
                name: self.recording.name(),
                line: 1,
                problem: "it has changed since it was opened: nothing is left to play".to_owned(),
            });
        };
        self.engine.reset_for_new_pass();
        self.passes += 1;
        self.recorded_start_ns = first.time_ns;
        self.recorded_ns = first.time_ns;
        Ok(Step::NewPass(first.time_ns))
    }

    fn read_ahead(&mut self) {
        self.ahead_quotes.clear();
        self.ahead = self.reader.next(self.engine.table(), &mut self.ahead_quotes);
    }
}

impl FromStr for Speed {
    type Err = String;

    /// `60x`, `60` or `max`.
    fn from_str(text: &str) -> Result<Self, String> {
        if text == "max" {
            return Ok(Self::Fast);
        }
        let digits = text.strip_suffix('x').unwrap_or(text);
        digits
            .parse()
            .map(Self::Times)
            .map_err(|_| format!("`{text}` is no speed; write 1x, 60x or another whole factor, or max"))
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fast => f.pad("max"),
            Self::Times(times) => write!(f, "{times}x"),
        }
    }
}
