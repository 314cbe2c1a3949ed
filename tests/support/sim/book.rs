//! What a simulated venue quotes: instruments, their quotes, and how these move by themselves.

use std::collections::BTreeMap;
use std::fmt;

/// A quote as a venue would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tick {
    /// The venue's own spelling.
    pub instrument: String,
    pub bid: String,
    pub ask: String,
    /// Price of the last trade.
    pub last: String,
    pub bid_size: String,
    pub ask_size: String,
    /// When it became so, Unix nanoseconds.
    pub time_ns: u64,
    /// Rises over all quotes of a venue, and over its restarts.
    pub sequence: u64,
}

/// All instruments of a venue.
#[derive(Debug, Default)]
pub(crate) struct Book {
    entries: BTreeMap<String, Entry>,
    sequence: u64,
}

#[derive(Debug, Default)]
struct Entry {
    /// The quote of the day, and the one that was set, about which it moves.
    quoted: Option<(Tick, [Digits; 2])>,
    moves: u64,
    offset: i128,
}

/// Furthest that a quote moves by itself, units of its last digit.
const REACH: i128 = 20;

impl Book {
    pub(super) fn list(&mut self, instrument: &str) {
        self.entries.entry(instrument.to_owned()).or_default();
    }

    pub(super) fn knows(&self, instrument: &str) -> bool {
        self.entries.contains_key(instrument)
    }

    pub(super) fn tick(&self, instrument: &str) -> Option<&Tick> {
        let (tick, _) = self.entries.get(instrument)?.quoted.as_ref()?;
        Some(tick)
    }

    pub(super) fn instruments(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn set(&mut self, instrument: &str, bid: &str, ask: &str, now_ns: u64) -> Tick {
        let base = [bid, ask].map(Digits::parse);
        let tick = self.next(instrument, [bid.to_owned(), ask.to_owned()], now_ns);
        let entry = self.entries.entry(instrument.to_owned()).or_default();
        entry.offset = 0;
        entry.quoted = Some((tick.clone(), base));
        tick
    }

    /// Moves every quote a little.
    pub(super) fn step(&mut self, now_ns: u64) -> Vec<Tick> {
        let names: Vec<_> = self.entries.keys().cloned().collect();
        let mut ticks = Vec::with_capacity(names.len());
        for name in names {
            let entry = self.entries.get_mut(&name).expect("its name was just read");
            let Some((_, base)) = entry.quoted.clone() else {
                continue;
            };
            entry.moves += 1;
            let step = i128::from(noise(&name, entry.moves) % 5) - 2;
            let offset = entry.offset + step;
            // A price stays above zero, however few digits it has.
            if offset.abs() <= REACH && base[0].units + offset > 0 {
                entry.offset = offset;
            }
            let prices = base.map(|digits| digits.plus(entry.offset).to_string());
            let tick = self.next(&name, prices, now_ns);
            let entry = self.entries.get_mut(&name).expect("its name was just read");
            entry.quoted = Some((tick.clone(), base));
            ticks.push(tick);
        }
        ticks
    }

    fn next(&mut self, instrument: &str, [bid, ask]: [String; 2], now_ns: u64) -> Tick {
        // By the clock, so that a venue that was started again goes on where it was.
        self.sequence = (self.sequence + 1).max(now_ns / 1_000);
        let size = noise(instrument, self.sequence);
        Tick {
            instrument: instrument.to_owned(),
            last: bid.clone(),
            bid,
            ask,
            bid_size: format!("{}.{:04}", size % 9 + 1, size / 9 % 10_000),
            ask_size: format!("{}.{:04}", size / 90_000 % 9 + 1, size / 810_000 % 10_000),
            time_ns: now_ns,
            sequence: self.sequence,
        }
    }
}

/// The same for the same arguments, and otherwise as good as random (FNV-1a, then the last step
/// of splitmix64).
fn noise(text: &str, number: u64) -> u64 {
    let bytes = text.bytes().chain(number.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash ^ (hash >> 31)
}

/// A decimal number that keeps the digits it was written with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digits {
    units: i128,
    decimals: usize,
}

impl Digits {
    /// Panics on what is no plain decimal number: the test wrote it.
    pub(crate) fn parse(text: &str) -> Self {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let units = format!("{whole}{fraction}").parse();
        Self {
            units: units.unwrap_or_else(|_| panic!("not a decimal number: {text:?}")),
            decimals: fraction.len(),
        }
    }

    /// So many units of the last digit more.
    pub(crate) fn plus(self, units: i128) -> Self {
        Self {
            units: self.units + units,
            ..self
        }
    }

    /// Times a power of ten, down to -18 and up to 18.
    pub(crate) fn times_ten(self, power: i32) -> Self {
        let decimals = self.decimals as i32 - power.clamp(-18, 18);
        Self {
            units: self.units * 10_i128.pow((-decimals).max(0) as u32),
            decimals: decimals.max(0) as usize,
        }
    }
}

impl fmt::Display for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.units < 0 { "-" } else { "" };
        let digits = format!("{:0width$}", self.units.unsigned_abs(), width = self.decimals + 1);
        let (whole, fraction) = digits.split_at(digits.len() - self.decimals);
        let point = if fraction.is_empty() { "" } else { "." };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}
