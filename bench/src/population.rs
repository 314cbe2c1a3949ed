//! Who asks and what for: keys, symbols, and prices that can be told right from wrong.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::prices::{PriceRecord, SymbolNames};
use trinity_protocol::{ApiKey, KeyId, MacKeys, PriceEntry, PriceFlags, PriceStatus, Symbol, Verifier};

/// Keys and symbols of one run.
#[derive(Debug)]
pub(crate) struct Population {
    pub(crate) keys: Vec<Caller>,
    pub(crate) symbols: Vec<Symbol>,
}

/// A key as its owner holds it.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) key_id: KeyId,
    pub(crate) mac: MacKeys,
}

/// Random numbers. xorshift64 (Marsaglia 2003): which symbol is asked need not be
/// unpredictable.
#[derive(Debug)]
pub(crate) struct Draw(u64);

/// Requests per second and burst of each key: a limit that is worked out for every request
/// and that no load of one core reaches.
const RATE: u32 = 50_000_000;
/// Requests per month of each key, likewise.
const PER_MONTH: u64 = 1 << 50;
const EXPONENT: i8 = -8;
/// A price is fresh for this long; the market publishes far more often.
const MAX_AGE_MS: u32 = 10_000;

impl Draw {
    pub(crate) fn new() -> Self {
        Self(random() | 1)
    }

    /// The same numbers for the same seed.
    pub(crate) const fn seeded(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// 64 random bits.
    #[inline]
    pub(crate) const fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `end`, which must be below 2^32.
    #[inline]
    pub(crate) const fn below(&mut self, end: usize) -> usize {
        (((self.bits() >> 32) * end as u64) >> 32) as usize
    }
}

impl Caller {
    /// Begins at the verifier, where a server begins as well: a million keys take a second.
    fn draw(draw: &mut Draw) -> Self {
        let words: [_; 4] = std::array::from_fn(|_| draw.bits().to_le_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(words.as_flattened());
        Self {
            key_id: KeyId((draw.bits() >> 1).max(1)),
            mac: MacKeys::from_verifier(&Verifier::from_bytes(bytes)),
        }
    }
}

impl Population {
    /// Draws keys; names symbols `S0-USD`, `S1-USD` and so on.
    pub(crate) fn new(keys: usize, symbols: usize) -> anyhow::Result<Self> {
        Self::seeded(random(), keys, symbols)
    }

    /// The same for the same seed, in another process too.
    pub(crate) fn seeded(seed: u64, keys: usize, symbols: usize) -> anyhow::Result<Self> {
        let mut draw = Draw::seeded(seed);
        let symbol = |i| Symbol::new(&format!("S{i}-USD"));
        Ok(Self {
            keys: (0..keys).map(|_| Caller::draw(&mut draw)).collect(),
            symbols: (0..symbols).map(symbol).collect::<Result<_, _>>()?,
        })
    }

    /// One customer's key and the symbols that it may ask a running server for.
    pub(crate) fn of(key: &ApiKey, symbols: Vec<Symbol>) -> Self {
        let caller = Caller {
            key_id: key.key_id(),
            mac: MacKeys::from_verifier(&key.verifier()),
        };
        Self {
            keys: vec![caller],
            symbols,
        }
    }

    /// The names as the server's tables want them.
    pub(crate) fn names(&self) -> anyhow::Result<SymbolNames> {
        Ok(SymbolNames::new(self.symbols.clone(), &[])?)
    }

    /// The keys as the server's table wants them.
    pub(crate) fn key_table(&self) -> KeyTable {
        let limits = Limits::new(Some(RATE), Some(RATE), Some(PER_MONTH));
        let entry = |caller: &Caller| {
            let macs = MacKeys {
                request: caller.mac.request.clone(),
                reply: caller.mac.reply.clone(),
            };
            KeyEntry::with_macs(caller.key_id, macs, limits, u64::MAX, Arc::default())
        };
        KeyTable::new(self.keys.iter().map(entry).collect())
    }
}

/// The price of a symbol at a sequence number: a function of both, so that whoever reads it
/// can tell a mixture of two prices, or another symbol's, from the right one.
pub(crate) fn record(symbol: usize, sequence: u32, now_ns: u64) -> PriceRecord {
    let (mantissa, confidence) = value(symbol, sequence);
    PriceRecord {
        mantissa,
        confidence,
        publish_time_ns: now_ns,
        exponent: EXPONENT,
        status: PriceStatus::Live,
        quality: PriceStatus::Live,
        venues: 3,
        flags: PriceFlags::NONE,
        sequence,
        age_origin_ns: now_ns,
        max_age_ms: MAX_AGE_MS,
        hard_age_ms: 6 * MAX_AGE_MS,
    }
}

/// Whether an entry is one that a server may give, whatever its price.
pub(crate) fn is_sound(entry: &PriceEntry) -> bool {
    PriceStatus::from_wire(entry.status)
        .is_some_and(|status| !status.has_value() || entry.publish_time_ns.get() > 0)
}

/// Whether an entry is a live price of the symbol.
pub(crate) fn is_right(symbol: usize, entry: &PriceEntry) -> bool {
    entry.status == PriceStatus::Live as u8
        && entry.exponent == EXPONENT
        && entry.publish_time_ns.get() > 0
        && (entry.mantissa.get(), entry.confidence.get()) == value(symbol, entry.sequence.get())
}

/// Not for secrets that protect anything: these keys live for one run on loopback.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

fn value(symbol: usize, sequence: u32) -> (i64, u64) {
    let bits = (symbol as u64 + 1) << 32 | u64::from(sequence);
    (bits as i64, bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_entry_is_told_from_every_wrong_one() {
        let good = record(7, 42, 5).entry_at(6, 0);
        assert!(is_right(7, &good));
        assert!(!is_right(8, &good), "another symbol's");
        assert!(!is_right(7, &record(7, 42, 5).entry_at(u64::MAX, 0)), "too old");
        let next = record(7, 43, 5).entry_at(6, 0);
        let torn = PriceEntry {
            mantissa: next.mantissa,
            ..good
        };
        assert!(!is_right(7, &torn), "half of the next price");
        assert!(is_sound(&good) && is_sound(&PriceRecord::NONE.entry_at(6, 0)));
        let unheard = PriceEntry { status: 99, ..good };
        assert!(!is_sound(&unheard), "of no status that there is");
    }

    #[test]
    fn every_symbol_is_drawn() {
        let mut draw = Draw::new();
        let mut seen = [0; 10];
        for _ in 0..1_000 {
            seen[draw.below(10)] += 1;
        }
        assert!(seen.iter().all(|n| *n > 0), "{seen:?}");
    }

    #[test]
    fn every_key_is_its_own() {
        let population = Population::new(300, 3).expect("drawn");
        let table = population.key_table();
        assert!(population.keys.iter().all(|k| table.find(k.key_id).is_some()));
        assert!(
            !population.keys[0]
                .mac
                .request
                .matches(&population.keys[1].mac.request)
        );
        assert!(population.names().is_ok());
    }
}
