//! What a venue's frame says, whatever venue it came from.

use std::fmt;

use thiserror::Error;

use crate::market::decimal::Decimal;

/// One thing a frame says. Text borrows from the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'f> {
    /// Best bid and ask, or last price, of an instrument.
    Quote(VenueQuote<'f>),
    /// A trade.
    Trade(VenueTrade<'f>),
    /// Depth of an order book: recognised, its levels not used.
    Book(Book<'f>),
    /// The venue confirms a request, such as a subscription.
    Ack(Ack<'f>),
    /// The connection is alive; nothing else.
    Heartbeat,
    /// The venue asks for a sign of life: its words go into
    /// [`Dialect::answer`](super::dialect::Dialect::answer).
    Challenge {
        /// What the answer must bear, as the venue wrote it.
        text: &'f str,
    },
    /// The venue tells its own state (`online`, `request_reconnect`, `serverShutdown`).
    Status {
        /// The venue's word for it.
        text: &'f str,
    },
    /// The venue refuses a request or reports a fault.
    Error(VenueError<'f>),
    /// A message that a client sends, seen in a recording.
    Request {
        /// The venue's word for what is asked.
        method: &'f str,
    },
    /// A message of a kind that carries nothing used here.
    Ignored {
        /// The venue's word for the kind.
        kind: &'f str,
    },
    /// A message or element of a known kind in which something is wrong.
    Invalid {
        /// Whose it is, where it says so.
        instrument: Option<&'f str>,
        /// What is wrong.
        invalid: Invalid,
    },
}

impl Event<'_> {
    /// The kind as one lower-case word, for counters and listings.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Quote(_) => "quote",
            Self::Trade(_) => "trade",
            Self::Book(_) => "book",
            Self::Ack(_) => "ack",
            Self::Heartbeat | Self::Challenge { .. } => "heartbeat",
            Self::Status { .. } => "status",
            Self::Error(_) => "error",
            Self::Request { .. } => "request",
            Self::Ignored { .. } => "ignored",
            Self::Invalid { .. } => "invalid",
        }
    }
}

/// An instrument's best bid and ask, its last price, or all three.
///
/// Every price is above zero: what a venue sends as zero, empty or null is absent, and a quote
/// without any price is [`Reason::NoPrice`]. Bid and ask may be crossed if the venue says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueQuote<'f> {
    /// The venue's own spelling.
    pub instrument: &'f str,
    /// Highest price anybody offers to pay.
    pub bid: Option<Decimal>,
    /// Lowest price anybody offers to sell at.
    pub ask: Option<Decimal>,
    /// Price of the last trade; it may lie outside bid and ask.
    pub last: Option<Decimal>,
    /// Amount at the bid, in the instrument's base unit; zero or above.
    pub bid_size: Option<Decimal>,
    /// Amount at the ask, in the instrument's base unit; zero or above.
    pub ask_size: Option<Decimal>,
    /// Amount of the last trade, in the instrument's base unit; zero or above.
    pub last_size: Option<Decimal>,
    /// When the venue says it was so, Unix nanoseconds; many venues do not say.
    pub venue_time_ns: Option<u64>,
    /// Rises with every newer message in the scope the venue numbers (see each parser): an
    /// instrument, or a connection. Starts anew with a connection.
    pub sequence: Option<u64>,
}

/// A trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueTrade<'f> {
    /// The venue's own spelling.
    pub instrument: &'f str,
    /// Above zero.
    pub price: Decimal,
    /// In the instrument's base unit; zero or above.
    pub size: Option<Decimal>,
    /// What the taker did, where the venue says so.
    pub side: Option<Side>,
    /// When it happened, Unix nanoseconds.
    pub venue_time_ns: Option<u64>,
    /// The venue's id of the trade, where it is a number below 2^64.
    pub sequence: Option<u64>,
    /// Sent as history after a subscription: it may be old and must not pass for news.
    pub snapshot: bool,
}

/// Whether the taker bought or sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The taker bought.
    Buy,
    /// The taker sold.
    Sell,
}

impl Side {
    /// The other side: what the taker did when the venue names the maker.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// Depth of an order book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Book<'f> {
    /// The venue's own spelling; some frames do not say whose book it is.
    pub instrument: Option<&'f str>,
    /// The whole book (or all of its top), as against a change to it.
    pub snapshot: bool,
}

/// A confirmed request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'f> {
    /// The channel it is about, in the venue's spelling.
    pub channel: Option<&'f str>,
    /// The instrument it is about, in the venue's spelling.
    pub instrument: Option<&'f str>,
}

/// A refusal or fault, in the venue's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VenueError<'f> {
    /// The venue's code, as it wrote it.
    pub code: Option<&'f str>,
    /// The venue's explanation; empty if it gave none.
    pub message: &'f str,
    /// The instrument it is about, where the venue says so in a field of its own.
    pub instrument: Option<&'f str>,
}

/// Why a frame or an element of it is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub struct Invalid {
    /// What is wrong.
    pub reason: Reason,
    /// The venue's name of the field; `None` for the frame as a whole.
    pub field: Option<&'static str>,
}

impl Invalid {
    /// The frame, or the element as a whole.
    pub const fn frame(reason: Reason) -> Self {
        Self { reason, field: None }
    }

    /// One field.
    pub const fn field(field: &'static str, reason: Reason) -> Self {
        Self {
            reason,
            field: Some(field),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field {
            Some(field) => write!(f, "{}: {field}", self.reason),
            None => write!(f, "{}", self.reason),
        }
    }
}

/// The named reasons, as counted per venue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Reason {
    /// Above [`MAX_FRAME_BYTES`](super::MAX_FRAME_BYTES).
    #[error("frame too large")]
    TooLarge,
    /// Cut, or no JSON at all.
    #[error("not JSON")]
    NotJson,
    /// A binary frame that is neither plain nor a whole gzip or deflate stream.
    #[error("broken compression")]
    NotCompressed,
    /// Bytes that are no UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// Nested deeper than any venue's message.
    #[error("nested too deeply")]
    TooDeep,
    /// JSON, but nothing the venue documents.
    #[error("unknown shape")]
    UnknownShape,
    /// A field that this kind of message must have is absent.
    #[error("missing field")]
    MissingField,
    /// A field holds another JSON type than the venue documents.
    #[error("wrong type")]
    WrongType,
    /// A price or size that is no decimal number.
    #[error("bad number")]
    BadNumber,
    /// A price or size below zero.
    #[error("negative number")]
    Negative,
    /// A trade whose price is zero, empty or null.
    #[error("zero price")]
    ZeroPrice,
    /// A quote in which every price is zero, empty or absent.
    #[error("no price")]
    NoPrice,
    /// A time that is not in the form the venue documents, or after the year 2554.
    #[error("bad time")]
    BadTime,
}

impl Reason {
    /// Every reason, for registering counters.
    pub const ALL: [Self; 13] = [
        Self::TooLarge,
        Self::NotJson,
        Self::NotCompressed,
        Self::NotUtf8,
        Self::TooDeep,
        Self::UnknownShape,
        Self::MissingField,
        Self::WrongType,
        Self::BadNumber,
        Self::Negative,
        Self::ZeroPrice,
        Self::NoPrice,
        Self::BadTime,
    ];

    /// The reason as one lower-case word, for counters and listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::NotJson => "not_json",
            Self::NotCompressed => "bad_compression",
            Self::NotUtf8 => "not_utf8",
            Self::TooDeep => "too_deep",
            Self::UnknownShape => "unknown_shape",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::BadNumber => "bad_number",
            Self::Negative => "negative",
            Self::ZeroPrice => "zero_price",
            Self::NoPrice => "no_price",
            Self::BadTime => "bad_time",
        }
    }
}
