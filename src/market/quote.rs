//! The quote, the reasons for which one is turned away, and the price quotes become.

use trinity_protocol::{PriceFlags, PriceStatus};

use super::decimal::Decimal;
use super::symbol::{Market, MarketId};

/// What one venue said about one market at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quote {
    /// Market it is about.
    pub market: MarketId,
    /// Best bid in the venue's unit; None or 0 when that side is empty or not told.
    pub bid: Option<Decimal>,
    /// Best ask in the venue's unit; None or 0 when that side is empty or not told.
    pub ask: Option<Decimal>,
    /// Price of the last trade in the venue's unit.
    pub last: Option<Decimal>,
    /// The source's own uncertainty, where it has one; half the spread serves otherwise.
    pub confidence: Option<Decimal>,
    /// The venue's clock, Unix ns, where it tells.
    pub venue_time_ns: Option<u64>,
    /// Our clock when the frame arrived, Unix ns.
    pub receive_time_ns: u64,
    /// The venue's sequence number, where it has one; must rise within a market and a kind
    /// (book or trade).
    pub sequence: Option<u64>,
    /// Asked for over REST because somebody missed a price, rather than streamed.
    pub fetched: bool,
}

/// Why a quote was not taken. Counted per venue; the names are used in metrics and explanations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum RejectReason {
    /// The venue's spelling is in no row of the market table.
    UnknownMarket,
    /// Neither two sides of a book nor a last trade.
    NoPrice,
    /// A price of 0 or below, or one that is 0 in the symbol's unit.
    NotPositive,
    /// The bid is above the ask.
    CrossedBook,
    /// The price does not fit 64 bits in the symbol's unit.
    OutOfRange,
    /// A confidence below 0.
    NegativeConfidence,
    /// A confidence above the price itself.
    ConfidenceTooWide,
    /// The venue's clock is more than 5 s ahead of ours.
    VenueTimeAhead,
    /// The venue's clock says it was already too old when it arrived.
    VenueTimeTooOld,
    /// The venue's clock says it is older than what is known.
    VenueTimeBackwards,
    /// It arrived before what is known.
    ReceiveTimeBackwards,
    /// Its sequence number was already passed.
    OldSequence,
    /// A trade, while the market has a fresh book, which is the better price.
    BookPreferred,
    /// It repeats the last quote of its kind: the same sequence number or, without one, the same
    /// venue time, and the same prices. It says nothing new and makes nothing younger.
    Repeated,
    /// A message that was seen already, as when two connections overlap; counted by the feed,
    /// which drops it before it becomes a quote.
    Duplicate,
}

/// A published price: mantissa x 10^exponent, with its uncertainty, age and standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AggregatedPrice {
    /// Price mantissa; 0 when the status carries no value.
    pub mantissa: i64,
    /// Half-width of the uncertainty, same exponent.
    pub confidence: u64,
    /// Receive time of the newest quote in it, Unix ns (a replay's own clock). It can step back
    /// when the venue with the newest quote drops out; the sequence orders, not this.
    pub publish_time_ns: u64,
    /// The symbol's exponent.
    pub exponent: i8,
    /// What the value is worth.
    pub status: PriceStatus,
    /// Venues counted in it.
    pub venues_used: u8,
    /// How it came to be.
    pub flags: PriceFlags,
    /// Rises by one per published change of this symbol; 0 before the first. Wraps.
    pub sequence: u32,
}

/// A quote's price in units of its symbol's exponent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    pub price: i64,
    pub confidence: i64,
    /// From both sides of a book, rather than from a trade.
    pub from_book: bool,
}

impl Quote {
    /// Whether both sides of the book are told.
    pub(super) fn has_book(&self) -> bool {
        let told = |side: Option<Decimal>| side.is_some_and(|price| !price.is_zero());
        told(self.bid) && told(self.ask)
    }

    /// Price and confidence in units of 10^`exponent`: rule 1 as far as it needs no memory.
    ///
    /// The mid of bid and ask (rounded down to the unit) with half the spread (rounded up), or
    /// the last trade with the floor of 1. Decimals finer than the exponent are rounded half to
    /// even on the way in.
    pub(super) fn reading(&self, market: &Market, exponent: i8) -> Result<Reading, RejectReason> {
        let scale = |value| in_units(value, market, exponent).ok_or(RejectReason::OutOfRange);
        if [self.bid, self.ask]
            .into_iter()
            .flatten()
            .any(Decimal::is_negative)
        {
            return Err(RejectReason::NotPositive);
        }
        let (price, half_spread, from_book) = match (self.bid, self.ask) {
            (Some(bid), Some(ask)) if self.has_book() => {
                let (bid, ask) = (scale(bid)?, scale(ask)?);
                if bid > ask {
                    return Err(RejectReason::CrossedBook);
                }
                // Both are at least 0, so neither sum nor difference leaves the i128, nor the halves the i64.
                let sum = i128::from(bid) + i128::from(ask);
                ((sum >> 1) as i64, (ask - bid) / 2 + (ask - bid) % 2, true)
            }
            _ => (scale(self.last.ok_or(RejectReason::NoPrice)?)?, 0, false),
        };
        if price <= 0 {
            return Err(RejectReason::NotPositive);
        }
        let confidence = match self.confidence {
            None => half_spread,
            Some(own) if own.is_negative() => return Err(RejectReason::NegativeConfidence),
            Some(own) => scale(own).map_err(|_| RejectReason::ConfidenceTooWide)?,
        };
        if confidence > price {
            return Err(RejectReason::ConfidenceTooWide);
        }
        Ok(Reading {
            price,
            confidence: confidence.max(1),
            from_book,
        })
    }
}

/// A price as the venue wrote it, in units of 10^`exponent` and for one unit of the base asset;
/// None when it does not fit.
pub(super) fn in_units(value: Decimal, market: &Market, exponent: i8) -> Option<i64> {
    let shifted = value.exponent().checked_add(market.unit_exponent)?;
    Decimal::new(value.mantissa(), shifted).rescale(exponent)
}

impl RejectReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::UnknownMarket,
        Self::NoPrice,
        Self::NotPositive,
        Self::CrossedBook,
        Self::OutOfRange,
        Self::NegativeConfidence,
        Self::ConfidenceTooWide,
        Self::VenueTimeAhead,
        Self::VenueTimeTooOld,
        Self::VenueTimeBackwards,
        Self::ReceiveTimeBackwards,
        Self::OldSequence,
        Self::BookPreferred,
        Self::Repeated,
        Self::Duplicate,
    ];

    /// Whether nothing is wrong with the quote but that it, or a newer one, is known.
    pub const fn is_known_already(self) -> bool {
        matches!(
            self,
            Self::Repeated | Self::OldSequence | Self::VenueTimeBackwards
        )
    }

    /// Name in metrics and explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownMarket => "unknown_market",
            Self::NoPrice => "no_price",
            Self::NotPositive => "not_positive",
            Self::CrossedBook => "crossed_book",
            Self::OutOfRange => "out_of_range",
            Self::NegativeConfidence => "negative_confidence",
            Self::ConfidenceTooWide => "confidence_too_wide",
            Self::VenueTimeAhead => "venue_time_ahead",
            Self::VenueTimeTooOld => "venue_time_too_old",
            Self::VenueTimeBackwards => "venue_time_backwards",
            Self::ReceiveTimeBackwards => "receive_time_backwards",
            Self::OldSequence => "old_sequence",
            Self::BookPreferred => "book_preferred",
            Self::Repeated => "repeated",
            Self::Duplicate => "duplicate",
        }
    }
}

impl AggregatedPrice {
    /// The price of a symbol that never had one.
    pub const fn none(exponent: i8, flags: PriceFlags) -> Self {
        Self {
            mantissa: 0,
            confidence: 0,
            publish_time_ns: 0,
            exponent,
            status: PriceStatus::NoPrice,
            venues_used: 0,
            flags,
            sequence: 0,
        }
    }
}
