//! What a price entry says about itself.

use core::fmt;

/// How far a price may be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PriceStatus {
    /// Fresh, enough venues, in agreement.
    Live = 0,
    /// Older than the max age; the value is still given.
    Stale = 1,
    /// Fewer venues than the symbol asks.
    Thin = 2,
    /// The venues disagree.
    Disputed = 3,
    /// No such symbol; no value.
    UnknownSymbol = 4,
    /// Nothing within the hard age; no value.
    NoPrice = 5,
    /// A jump awaits its confirmation; the last good value is given.
    Held = 6,
}

impl PriceStatus {
    /// Every status, in wire order.
    pub const ALL: [Self; 7] = [
        Self::Live,
        Self::Stale,
        Self::Thin,
        Self::Disputed,
        Self::UnknownSymbol,
        Self::NoPrice,
        Self::Held,
    ];

    /// The status a byte names, if it names one.
    pub const fn from_wire(byte: u8) -> Option<Self> {
        if (byte as usize) < Self::ALL.len() {
            Some(Self::ALL[byte as usize])
        } else {
            None
        }
    }

    /// Whether an entry of this status carries a price.
    pub const fn has_value(self) -> bool {
        !matches!(self, Self::UnknownSymbol | Self::NoPrice)
    }

    /// The name as SPEC.md writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "LIVE",
            Self::Stale => "STALE",
            Self::Thin => "THIN",
            Self::Disputed => "DISPUTED",
            Self::UnknownSymbol => "UNKNOWN_SYMBOL",
            Self::NoPrice => "NO_PRICE",
            Self::Held => "HELD",
        }
    }
}

impl fmt::Display for PriceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Facts about how a price came to be, a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PriceFlags(pub u8);

impl PriceFlags {
    /// No fact to tell.
    pub const NONE: Self = Self(0);
    /// From the shared cache.
    pub const SHARED_CACHE: Self = Self(1);
    /// Fetched because a request missed it, not streamed.
    pub const FETCHED: Self = Self(1 << 1);
    /// At least one venue's quote was converted through another quote currency.
    pub const DERIVED: Self = Self(1 << 2);
    /// One venue only.
    pub const ONE_VENUE: Self = Self(1 << 3);
    /// From a replayed market, not from today's.
    pub const REPLAYED: Self = Self(1 << 4);
    /// A pegged asset off its peg is what is priced, or what a used quote was converted through.
    pub const DEPEGGED: Self = Self(1 << 5);

    /// The flags with their names as SPEC.md and the JSON forms write them.
    pub const NAMED: [(Self, &'static str); 6] = [
        (Self::SHARED_CACHE, "shared_cache"),
        (Self::FETCHED, "fetched"),
        (Self::DERIVED, "derived"),
        (Self::ONE_VENUE, "one_venue"),
        (Self::REPLAYED, "replayed"),
        (Self::DEPEGGED, "depegged"),
    ];

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The names of the bits that are set, in wire order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMED
            .into_iter()
            .filter(move |(flag, _)| self.contains(*flag))
            .map(|(_, name)| name)
    }
}
