//! The account a price can give of itself.

use super::quote::{AggregatedPrice, Quote, RejectReason};
use super::symbol::{MarketId, SymbolId};
use super::venue::VenueId;

/// Why a symbol's price is what it is, as of its last evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The symbol.
    pub symbol: SymbolId,
    /// The price as published.
    pub price: AggregatedPrice,
    /// The rule that set the status.
    pub rule: StatusRule,
    /// When it was evaluated, Unix ns, on the engine's clock.
    pub evaluated_ns: u64,
    /// The moment that ages are told for, on the same clock.
    pub asked_ns: u64,
    /// Value the venues were measured against, in units of the symbol's exponent.
    pub median: i64,
    /// Median absolute deviation from it.
    pub deviation: i64,
    /// Distance beyond which a venue that knows its price to the tick was rejected.
    pub limit: i64,
    /// The price that waits for its confirmation while the status is HELD.
    pub held_candidate: Option<i64>,
    /// Every venue that has a market for the symbol, by venue id.
    pub venues: Vec<VenueExplanation>,
}

/// One venue's part in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueExplanation {
    /// The venue.
    pub venue: VenueId,
    /// The market its vote came from, or would have come from.
    pub market: MarketId,
    /// The rate it was converted with.
    pub rate: Option<SymbolId>,
    /// The market's last quote as the venue gave it, in its own unit.
    pub quote: Option<Quote>,
    /// The quote's bid in the symbol's currency and exponent, at the rate as of now.
    pub bid: Option<i64>,
    /// The quote's ask, likewise.
    pub ask: Option<i64>,
    /// Price in the symbol's currency and exponent; 0 when there was no vote.
    pub price: i64,
    /// Uncertainty, same unit.
    pub confidence: i64,
    /// Distance from the median beyond which this vote was rejected; 0 when there was no vote.
    pub limit: i64,
    /// When the quote arrived, Unix ns; 0 when there was none.
    pub receive_time_ns: u64,
    /// How long ago that was when the explanation was asked for; None without a quote.
    pub age_ns: Option<u64>,
    /// The venue's own time of it, Unix ns.
    pub venue_time_ns: Option<u64>,
    /// Used, or why not.
    pub disposition: Disposition,
    /// Share in the price, in millionths: every venue used weighs the same.
    pub weight_ppm: u32,
    /// Quotes within half the limit it still owes before it is used again.
    pub probation_left: u8,
    /// Why the market's latest refused quote was refused, if one ever was.
    pub last_reject: Option<RejectReason>,
}

/// What became of a venue's vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disposition {
    /// Counted in the price.
    Used,
    /// Too far from the median for how closely the others agree.
    Outlier,
    /// More than 5 % from the median.
    BeyondCap,
    /// Back within the limit, but not for long enough.
    Probation,
    /// The venue has not quoted.
    #[default]
    NoQuote,
    /// Its quote was taken out because its feed fell silent.
    Withdrawn,
    /// The last quote arrived too long ago.
    TooOld,
    /// The last quote is too old by the venue's own clock.
    VenueTimeTooOld,
    /// The rate to convert with is stale, disputed, held or missing.
    RateUnusable,
    /// The converted price does not fit.
    OutOfRange,
}

/// The rule that decided a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StatusRule {
    /// Nothing was ever quoted.
    #[default]
    NeverPriced,
    /// Enough venues agree: LIVE.
    EnoughVenues,
    /// Fewer venues than the symbol asks: THIN.
    MinSources,
    /// Enough venues, but too many of them converted through a thin rate: THIN.
    ThinRates,
    /// No venue can be used just now; the last good price, still within its max age, is carried: THIN.
    NothingUsable,
    /// The venues contradict each other: DISPUTED.
    Dispute,
    /// A jump waits for its confirmation: HELD.
    JumpGuard,
    /// No fresh quote: STALE.
    MaxAge,
    /// No quote within the hard age: NO_PRICE.
    HardAge,
}

impl Disposition {
    /// Whether the vote counts in the price.
    pub const fn is_used(self) -> bool {
        matches!(self, Self::Used)
    }

    /// Name in explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Outlier => "outlier",
            Self::BeyondCap => "beyond_cap",
            Self::Probation => "probation",
            Self::NoQuote => "no_quote",
            Self::Withdrawn => "withdrawn",
            Self::TooOld => "too_old",
            Self::VenueTimeTooOld => "venue_time_too_old",
            Self::RateUnusable => "rate_unusable",
            Self::OutOfRange => "out_of_range",
        }
    }
}

impl Disposition {
    /// The same in words, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Used => "counted in the price",
            Self::Outlier => "further from the median than the others' spread and the uncertainties explain",
            Self::BeyondCap => "more than 5 % from the median",
            Self::Probation => "was rejected lately and still owes quotes close to the median",
            Self::NoQuote => "has not quoted yet",
            Self::Withdrawn => "its feed fell silent, and its quote was taken out",
            Self::TooOld => "its last quote came too long ago",
            Self::VenueTimeTooOld => "its last quote is too old by the venue's own clock",
            Self::RateUnusable => "the rate to convert it with is stale, disputed, held or missing",
            Self::OutOfRange => "its converted price does not fit",
        }
    }
}

impl StatusRule {
    /// Name in explanations.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NeverPriced => "never_priced",
            Self::EnoughVenues => "enough_venues",
            Self::MinSources => "min_sources",
            Self::ThinRates => "thin_rates",
            Self::NothingUsable => "nothing_usable",
            Self::Dispute => "dispute",
            Self::JumpGuard => "jump_guard",
            Self::MaxAge => "max_age",
            Self::HardAge => "hard_age",
        }
    }

    /// The same in words, for people.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::NeverPriced => "no venue has quoted it yet",
            Self::EnoughVenues => "enough venues agree",
            Self::MinSources => "fewer venues are left than the symbol asks for",
            Self::ThinRates => "too many of its venues were converted through a rate that is itself thin",
            Self::NothingUsable => "no venue can be used just now; the last good price is carried",
            Self::Dispute => "the venues contradict each other, and nothing tells which is right",
            Self::JumpGuard => {
                "the venues jumped; until a second tick confirms it the last good price is given"
            }
            Self::MaxAge => "no venue has quoted within the max age; the last good price is given",
            Self::HardAge => "no venue has quoted within the hard age",
        }
    }
}
