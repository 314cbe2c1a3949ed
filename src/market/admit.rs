//! Rule 1 as far as it compares with what is known: the last quote of each market.

use super::decimal::Decimal;
use super::quote::{Quote, Reading, RejectReason};

/// A venue's clock may be this far ahead of ours before its quotes are refused, in nanoseconds.
pub const MAX_VENUE_TIME_AHEAD_NS: u64 = 5_000_000_000;

/// What is known of one market.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MarketState {
    pub reading: Option<Reading>,
    /// The quote behind the reading, as the venue gave it.
    pub quote: Option<Quote>,
    /// Taken out of the vote by [`MarketState::withdraw`] until the next quote.
    pub withdrawn: bool,
    pub receive_ns: u64,
    pub venue_ns: Option<u64>,
    /// Book and trade updates count apart: venues number them apart.
    book: Heard,
    trade: Heard,
    /// Number of the first tick that sees the last quote; quotes of one tick are equally new.
    pub tick: u64,
    pub last_reject: Option<RejectReason>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Heard {
    sequence: Option<u64>,
    venue_ns: Option<u64>,
    said: Option<Said>,
}

/// What a quote says: bid, ask, last and confidence.
type Said = [Option<Decimal>; 4];

impl MarketState {
    /// The part of rule 1 that compares with what is already known, then takes the quote.
    pub(super) fn admit(
        &mut self,
        quote: &Quote,
        reading: Reading,
        max_age_ns: u64,
    ) -> Result<(), RejectReason> {
        let now_ns = quote.receive_time_ns;
        if let Some(venue_ns) = quote.venue_time_ns {
            if venue_ns > now_ns.saturating_add(MAX_VENUE_TIME_AHEAD_NS) {
                return Err(RejectReason::VenueTimeAhead);
            }
            if older(venue_ns, now_ns, max_age_ns) {
                return Err(RejectReason::VenueTimeTooOld);
            }
        }
        if now_ns < self.receive_ns {
            return Err(RejectReason::ReceiveTimeBackwards);
        }
        let heard = if reading.from_book {
            &mut self.book
        } else {
            &mut self.trade
        };
        let said = [quote.bid, quote.ask, quote.last, quote.confidence];
        if heard.said == Some(said) && heard.is_same_moment(quote) {
            return Err(RejectReason::Repeated);
        }
        if let (Some(before), Some(now)) = (heard.sequence, quote.sequence)
            && now <= before
        {
            return Err(RejectReason::OldSequence);
        }
        if let (Some(before), Some(now)) = (heard.venue_ns, quote.venue_time_ns)
            && now < before
        {
            return Err(RejectReason::VenueTimeBackwards);
        }
        let fresh_book =
            self.reading.is_some_and(|known| known.from_book) && !older(self.receive_ns, now_ns, max_age_ns);
        if fresh_book && !reading.from_book {
            return Err(RejectReason::BookPreferred);
        }
        *heard = Heard {
            sequence: quote.sequence.or(heard.sequence),
            venue_ns: quote.venue_time_ns.or(heard.venue_ns),
            said: Some(said),
        };
        self.reading = Some(reading);
        self.quote = Some(*quote);
        self.withdrawn = false;
        self.receive_ns = now_ns;
        self.venue_ns = quote.venue_time_ns;
        Ok(())
    }

    /// A new connection: numbers may start over, and what it tells first is told anew even if it
    /// is what was known.
    pub(super) fn forget_sequences(&mut self) {
        for heard in [&mut self.book, &mut self.trade] {
            heard.sequence = None;
            heard.said = None;
        }
    }

    /// Takes the quote out of the vote until a new one comes; false if there was none in it.
    pub(super) fn withdraw(&mut self) -> bool {
        let voted = self.reading.is_some() && !self.withdrawn;
        self.withdrawn |= voted;
        voted
    }
}

impl Heard {
    /// Whether a quote bears the mark of the last one: its sequence number where both have one,
    /// its venue time otherwise. Without either nothing tells a repetition from news.
    fn is_same_moment(&self, quote: &Quote) -> bool {
        match (self.sequence, quote.sequence) {
            (Some(before), Some(now)) => before == now,
            _ => self.venue_ns.is_some() && self.venue_ns == quote.venue_time_ns,
        }
    }
}

/// Older than the limit, exclusive: at exactly the limit it still counts.
pub(super) fn older(time_ns: u64, now_ns: u64, limit_ns: u64) -> bool {
    now_ns.saturating_sub(time_ns) > limit_ns
}

/// The first moment at which [`older`] holds.
pub(super) fn expiry(time_ns: u64, limit_ns: u64) -> u64 {
    time_ns.saturating_add(limit_ns).saturating_add(1)
}

/// Milliseconds to nanoseconds; u32 milliseconds always fit.
pub(super) fn millis(ms: u32) -> u64 {
    u64::from(ms) * 1_000_000
}
