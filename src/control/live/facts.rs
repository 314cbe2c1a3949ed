//! What is known of each venue's feed, for `/ready`, `/metrics` and the log.

use crate::control::ops::Fact;
use crate::market::feed::CloseReason;
use crate::market::quote::RejectReason;
use crate::market::venue::{EventKind, Reason, VenueId};
use crate::tables::counters::LatencyHistogram;

/// One venue. The market thread writes, anybody reads.
#[derive(Debug)]
pub struct VenueFacts {
    /// Which.
    pub venue: VenueId,
    /// Connections that should be open.
    pub connections_wanted: Fact,
    /// Connections that are open.
    pub connections_up: Fact,
    /// Instruments it is asked for.
    pub instruments: Fact,
    /// Those whose subscription it confirmed, by its word or by a quote.
    pub confirmed: Fact,
    /// Those it refused.
    pub refused: Fact,
    /// When a frame last came, Unix nanoseconds; 0 for never.
    pub last_frame_ns: Fact,
    /// When a quote that said something new last came from its stream, Unix nanoseconds.
    pub last_news_ns: Fact,
    /// Since when no stream of it brings news, Unix nanoseconds; 0 while one does.
    pub down_since_ns: Fact,
    /// Until when it is not connected to, Unix nanoseconds; 0 while the circuit is closed.
    pub stream_open_until_ns: Fact,
    /// Until when its REST is not asked, Unix nanoseconds; 0 while the circuit is closed.
    pub rest_open_until_ns: Fact,
    /// Times either circuit opened.
    pub trips: Fact,
    /// Events of its frames, by kind.
    pub events: [Fact; EventKind::ALL.len()],
    /// Frames and elements that were not understood, by reason.
    pub invalid: [Fact; Reason::ALL.len()],
    /// Quotes taken.
    pub taken: Fact,
    /// Quotes turned away, by reason.
    pub rejected: [Fact; RejectReason::ALL.len()],
    /// Messages that its own numbers say are missing.
    pub missing: Fact,
    /// Connections that could not be opened.
    pub connect_failures: Fact,
    /// Connections that ended, by reason.
    pub closed: [Fact; CloseReason::ALL.len()],
    /// Quotes taken out of the price because their connection was mute or dead.
    pub withdrawn: Fact,
    /// Instruments subscribed to anew because they alone were silent.
    pub resubscribed: Fact,
    /// REST requests, by result.
    pub rest: [Fact; RestResult::ALL.len()],
    /// From a frame's arrival in this process to its prices being visible.
    pub visible: LatencyHistogram,
}

/// What a REST request came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestResult {
    /// A ticker.
    Quote,
    /// The venue does not know the instrument, or has no price for it.
    Nothing,
    /// 429 or 418: too many requests.
    Limited,
    /// Another status that is no success, or a body that is no ticker.
    Refused,
    /// No connection, or one that broke.
    Failed,
    /// No answer in time.
    TimedOut,
    /// Not asked: the circuit is open, or the venue's pace leaves no room.
    NotAsked,
}

impl RestResult {
    /// Every result, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Quote,
        Self::Nothing,
        Self::Limited,
        Self::Refused,
        Self::Failed,
        Self::TimedOut,
        Self::NotAsked,
    ];

    /// Name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quote => "quote",
            Self::Nothing => "nothing",
            Self::Limited => "limited",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::NotAsked => "not_asked",
        }
    }
}

impl VenueFacts {
    /// A venue of which nothing was heard yet.
    pub fn new(venue: VenueId) -> Self {
        Self {
            venue,
            connections_wanted: Fact::default(),
            connections_up: Fact::default(),
            instruments: Fact::default(),
            confirmed: Fact::default(),
            refused: Fact::default(),
            last_frame_ns: Fact::default(),
            last_news_ns: Fact::default(),
            down_since_ns: Fact::default(),
            stream_open_until_ns: Fact::default(),
            rest_open_until_ns: Fact::default(),
            trips: Fact::default(),
            events: Default::default(),
            invalid: Default::default(),
            taken: Fact::default(),
            rejected: Default::default(),
            missing: Fact::default(),
            connect_failures: Fact::default(),
            closed: Default::default(),
            withdrawn: Fact::default(),
            resubscribed: Fact::default(),
            rest: Default::default(),
            visible: LatencyHistogram::default(),
        }
    }

    /// Whether its stream brings news.
    pub fn is_up(&self) -> bool {
        self.down_since_ns.get() == 0
    }
}
