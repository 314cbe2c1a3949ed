//! Settings of the running service that apply without a restart.
//!
//! The ledger keeps them as text; this is the list of those there are, what each of them does and
//! what it may be. [`Parameters`] holds their values for the cores, which read them without a
//! lock.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::limits::{
    CLOCK_WINDOW_MS, MISS_NOTHING_MAX_MS, MISS_NOTHING_MS, OVERLOADED_PER_SECOND, UNSIGNED_ERRORS_PER_SECOND,
};

/// Which parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// See [`Parameters::clock_window_ns`].
    ClockWindow,
    /// See [`Parameters::unsigned_per_second`].
    Unsigned,
    /// See [`Parameters::overloaded_per_second`].
    Overloaded,
    /// See [`Parameters::sheds`].
    Shedding,
    /// See [`Parameters::miss_nothing_ms`].
    MissNothing,
    /// See [`Parameters::usage_keep_days`].
    UsageKeepDays,
    /// See [`Parameters::reconcile_s`].
    Reconcile,
    /// See [`Parameters::log_filter`].
    LogFilter,
}

/// What a parameter is.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    /// Its name in the ledger.
    pub name: &'static str,
    /// What it does, one sentence.
    pub about: &'static str,
    /// What its number counts; empty for what is no number.
    pub unit: &'static str,
    /// What it may be.
    pub kind: Kind,
}

/// What a parameter may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Number {
        /// Where nothing is set.
        default: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// `on` or `off`.
    Switch {
        /// Where nothing is set.
        default: bool,
    },
    /// What is logged: directives as RUST_LOG has them; where nothing is set, those of RUST_LOG.
    LogFilter,
}

/// A value that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number, or 1 and 0 for on and off.
    Number(u64),
    /// Directives.
    Text(String),
}

/// Why a parameter cannot be what somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There is none of this name.
    #[error("there is no parameter {name:?}: `params list` shows those there are")]
    Unknown {
        /// The name.
        name: String,
    },
    /// The value is not one of its own.
    #[error("{name} cannot be {value:?}: it takes {takes}")]
    Bad {
        /// The parameter.
        name: &'static str,
        /// What was wanted, clipped.
        value: String,
        /// What it takes.
        takes: String,
    },
}

/// A parameter as the ledger has it that is not followed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its name.
    pub name: String,
    /// What is wrong and what holds instead.
    pub why: String,
}

/// The values in force.
#[derive(Debug)]
pub struct Parameters {
    numbers: [AtomicU64; Name::ALL.len()],
    log_filter: RwLock<Option<String>>,
}

const fn number(default: u64, min: u64, max: u64) -> Kind {
    Kind::Number { default, min, max }
}

impl Name {
    /// Every parameter, in the order of [`Name::definition`]'s names.
    pub const ALL: [Self; 8] = [
        Self::ClockWindow,
        Self::Unsigned,
        Self::Overloaded,
        Self::Shedding,
        Self::MissNothing,
        Self::UsageKeepDays,
        Self::Reconcile,
        Self::LogFilter,
    ];

    /// What it is.
    pub const fn definition(self) -> Definition {
        let (name, unit, kind, about) = match self {
            Self::ClockWindow => (
                "clock.window_ms",
                "milliseconds",
                number(CLOCK_WINDOW_MS, 1_000, CLOCK_WINDOW_MS),
                "How far the clock of a UDP request may be off before it is answered CLOCK",
            ),
            Self::Unsigned => (
                "replies.unsigned_per_second",
                "replies/s of each shard",
                number(UNSIGNED_ERRORS_PER_SECOND as u64, 0, 1_000_000),
                "Errors that are sent to senders who have proven no key; beyond it there is silence",
            ),
            Self::Overloaded => (
                "replies.overloaded_per_second",
                "replies/s of each shard",
                number(OVERLOADED_PER_SECOND as u64, 0, 1_000_000),
                "OVERLOADED replies to requests that are shed; beyond it there is silence",
            ),
            Self::Shedding => (
                "shedding.enabled",
                "",
                Kind::Switch { default: true },
                "Whether a shard that falls behind sheds by rule, instead of leaving it to the full socket",
            ),
            Self::MissNothing => (
                "misses.nothing_ms",
                "milliseconds",
                number(MISS_NOTHING_MS, 100, MISS_NOTHING_MAX_MS),
                "How long nobody waits again for a symbol that could not be fetched",
            ),
            Self::UsageKeepDays => (
                "usage.keep_days",
                "days",
                number(93, 1, 3_650),
                "How long usage is kept by the second; sums by minute, hour, day and month stay",
            ),
            Self::Reconcile => (
                "keys.reconcile_s",
                "seconds",
                number(60, 5, 86_400),
                "How often all keys are read again even if nothing seems to have changed",
            ),
            Self::LogFilter => (
                "log.filter",
                "",
                Kind::LogFilter,
                "What is logged, for example `info` or `info,trinity_beast::control=debug`",
            ),
        };
        Definition {
            name,
            about,
            unit,
            kind,
        }
    }

    /// The parameter of this name.
    pub fn find(name: &str) -> Result<Self, ParameterError> {
        let found = Self::ALL
            .into_iter()
            .find(|known| known.definition().name == name);
        found.ok_or_else(|| ParameterError::Unknown { name: clip(name) })
    }

    /// Reads a value, if it is one that the parameter takes.
    pub fn parse(self, text: &str) -> Result<Value, ParameterError> {
        let definition = self.definition();
        let value = match definition.kind {
            Kind::Number { min, max, .. } => text
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
                .filter(|number| (min..=max).contains(number))
                .map(Value::Number),
            Kind::Switch { .. } => match text {
                "on" => Some(Value::Number(1)),
                "off" => Some(Value::Number(0)),
                _ => None,
            },
            Kind::LogFilter => crate::log_filter::is_valid(text).then(|| Value::Text(text.to_owned())),
        };
        value.ok_or_else(|| ParameterError::Bad {
            name: definition.name,
            value: clip(text),
            takes: definition.kind.to_string(),
        })
    }

    const fn default(self) -> u64 {
        match self.definition().kind {
            Kind::Number { default, .. } => default,
            Kind::Switch { default } => default as u64,
            Kind::LogFilter => 0,
        }
    }
}

impl Kind {
    /// What holds where nothing is set, as a person writes it.
    pub fn default_text(self) -> String {
        match self {
            Self::Number { default, .. } => default.to_string(),
            Self::Switch { default } => if default { "on" } else { "off" }.to_owned(),
            Self::LogFilter => "as RUST_LOG says".to_owned(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max, .. } => write!(f, "a whole number from {min} to {max}"),
            Self::Switch { .. } => f.write_str("on or off"),
            Self::LogFilter => f.write_str("directives as RUST_LOG has them"),
        }
    }
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            numbers: Name::ALL.map(|name| AtomicU64::new(name.default())),
            log_filter: RwLock::new(None),
        }
    }
}

impl Parameters {
    /// Takes over what is set, names with their values; whatever is not among it is as by default.
    /// A value that is not understood leaves the parameter as it is and is told of, like a name that
    /// there is not.
    pub fn apply<'s>(&self, set: impl IntoIterator<Item = (&'s str, &'s str)>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut left = Name::ALL.to_vec();
        for (text, value) in set {
            let parsed = Name::find(text).and_then(|name| {
                left.retain(|other| *other != name);
                name.parse(value).map(|value| (name, value))
            });
            match parsed {
                Ok((name, value)) => self.set(name, Some(value)),
                Err(error @ ParameterError::Unknown { .. }) => problems.push(Problem {
                    name: clip(text),
                    why: error.to_string(),
                }),
                Err(error) => problems.push(Problem {
                    name: clip(text),
                    why: format!("{error}; what held before goes on holding"),
                }),
            }
        }
        for name in left {
            self.set(name, None);
        }
        problems
    }

    fn set(&self, name: Name, value: Option<Value>) {
        match value {
            Some(Value::Number(number)) => self.numbers[name as usize].store(number, Ordering::Relaxed),
            Some(Value::Text(text)) => *self.log_filter.write() = Some(text),
            None if name == Name::LogFilter => *self.log_filter.write() = None,
            None => self.numbers[name as usize].store(name.default(), Ordering::Relaxed),
        }
    }

    #[inline]
    fn number(&self, name: Name) -> u64 {
        self.numbers[name as usize].load(Ordering::Relaxed)
    }

    /// How far a UDP request's clock may be off, nanoseconds.
    #[inline]
    pub fn clock_window_ns(&self) -> u64 {
        self.number(Name::ClockWindow) * 1_000_000
    }

    /// Errors a second that one shard sends to those who have proven no key.
    #[inline]
    pub fn unsigned_per_second(&self) -> u32 {
        self.number(Name::Unsigned) as u32
    }

    /// OVERLOADED replies a second of one shard.
    #[inline]
    pub fn overloaded_per_second(&self) -> u32 {
        self.number(Name::Overloaded) as u32
    }

    /// Whether shards that fall behind shed by rule.
    #[inline]
    pub fn sheds(&self) -> bool {
        self.number(Name::Shedding) != 0
    }

    /// How long nobody waits again for a symbol that could not be fetched, milliseconds.
    pub fn miss_nothing_ms(&self) -> u64 {
        self.number(Name::MissNothing)
    }

    /// Days that usage is kept by the second.
    pub fn usage_keep_days(&self) -> u32 {
        self.number(Name::UsageKeepDays) as u32
    }

    /// Seconds between two readings of all keys.
    pub fn reconcile_s(&self) -> u64 {
        self.number(Name::Reconcile)
    }

    /// What is to be logged, if anything but RUST_LOG says.
    pub fn log_filter(&self) -> Option<String> {
        self.log_filter.read().clone()
    }
}

/// Enough of a text to be recognised, and nothing that a terminal would obey.
fn clip(text: &str) -> String {
    const LONGEST: usize = 64;
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut clipped: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        clipped.push_str("...");
    }
    clipped
}

#[cfg(test)]
mod tests;
