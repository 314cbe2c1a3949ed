//! Fields of a message, read by the rules that hold for every venue.
//!
//! A price that is null, empty or zero is absent (venues send all three for an empty side of
//! the book); a negative one, or one that is no number, spoils its element. Ids and sides are
//! informative only, so an odd one is absent and spoils nothing.

use super::json::Json;
use super::time::{self, TimeError};
use super::{Event, Invalid, Reason, Side, Sink, VenueQuote, VenueTrade};
use crate::market::decimal::Decimal;

impl<'f> VenueQuote<'f> {
    pub(super) const fn new(instrument: &'f str) -> Self {
        Self {
            instrument,
            bid: None,
            ask: None,
            last: None,
            bid_size: None,
            ask_size: None,
            last_size: None,
            venue_time_ns: None,
            sequence: None,
        }
    }

    /// The finished quote, if it has any price.
    pub(super) const fn priced(self) -> Result<Self, Invalid> {
        if self.bid.is_none() && self.ask.is_none() && self.last.is_none() {
            return Err(Invalid::frame(Reason::NoPrice));
        }
        Ok(self)
    }
}

/// A trade whose fields are still being read.
#[derive(Default)]
pub(super) struct TradeFields {
    pub(super) price: Option<Decimal>,
    has_price_field: bool,
    pub(super) size: Option<Decimal>,
    pub(super) side: Option<Side>,
    pub(super) venue_time_ns: Option<u64>,
    pub(super) sequence: Option<u64>,
    snapshot: bool,
}

impl TradeFields {
    pub(super) fn new(snapshot: bool) -> Self {
        Self {
            snapshot,
            ..Self::default()
        }
    }

    pub(super) fn read_price(&mut self, value: Json<'_>, field: &'static str) -> Result<(), Invalid> {
        self.has_price_field = true;
        self.price = price(value, field)?;
        Ok(())
    }

    /// The finished trade; `price_field` is what the venue calls its price.
    pub(super) fn finish<'f>(
        self,
        instrument: &'f str,
        price_field: &'static str,
    ) -> Result<VenueTrade<'f>, Invalid> {
        let lacking = if self.has_price_field {
            Reason::ZeroPrice
        } else {
            Reason::MissingField
        };
        Ok(VenueTrade {
            instrument,
            price: self.price.ok_or(Invalid::field(price_field, lacking))?,
            size: self.size,
            side: self.side,
            venue_time_ns: self.venue_time_ns,
            sequence: self.sequence,
            snapshot: self.snapshot,
        })
    }
}

/// The instrument of an element: a string that is not empty.
pub(super) fn instrument<'f>(message: Json<'f>, field: &'static str) -> Result<&'f str, Invalid> {
    let value = message
        .get(field)
        .ok_or(Invalid::field(field, Reason::MissingField))?;
    match value.string() {
        Some("") => Err(Invalid::field(field, Reason::MissingField)),
        Some(text) => Ok(text),
        None => Err(Invalid::field(field, Reason::WrongType)),
    }
}

/// The instrument of a REST answer that does not name it: the one that was asked for.
pub(super) fn named(instrument: Option<&str>) -> Result<&str, Invalid> {
    instrument
        .filter(|name| !name.is_empty())
        .ok_or(Invalid::field("instrument", Reason::MissingField))
}

/// A price: above zero, or absent.
pub(super) fn price(value: Json<'_>, field: &'static str) -> Result<Option<Decimal>, Invalid> {
    Ok(size(value, field)?.filter(|price| !price.is_zero()))
}

/// A size: zero or above, or absent.
pub(super) fn size(value: Json<'_>, field: &'static str) -> Result<Option<Decimal>, Invalid> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.scalar().ok_or(Invalid::field(field, Reason::WrongType))?;
    if text.is_empty() {
        return Ok(None);
    }
    let number = Decimal::parse_bytes(text).map_err(|_| Invalid::field(field, Reason::BadNumber))?;
    if number.is_negative() {
        return Err(Invalid::field(field, Reason::Negative));
    }
    Ok(Some(number))
}

/// An id or sequence number; absent if it is none or above 2^64.
pub(super) fn id(value: Json<'_>) -> Option<u64> {
    value.text()?.parse().ok()
}

/// An RFC 3339 time.
pub(super) fn rfc3339(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, |text| {
        let text = std::str::from_utf8(text).map_err(|_| TimeError::Malformed)?;
        time::rfc3339(text)
    })
}

/// Decimal Unix seconds.
pub(super) fn unix_seconds(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, time::unix_seconds)
}

/// Unix milliseconds.
pub(super) fn unix_millis(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, time::unix_millis)
}

/// Unix microseconds.
pub(super) fn unix_micros(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, time::unix_micros)
}

/// Unix milliseconds with decimals.
pub(super) fn unix_decimal_millis(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, time::unix_decimal_millis)
}

/// Unix nanoseconds.
pub(super) fn unix_nanos(value: Json<'_>, field: &'static str) -> Result<Option<u64>, Invalid> {
    stamp(value, field, time::unix_nanos)
}

/// The instrument of a REST answer's element: as it was asked for, unless the element says that
/// it is another's.
///
/// Upper and lower case are one: some venues spell an instrument differently in a stream and in
/// a REST answer, and the stream's spelling is the one that is asked for.
pub(super) fn asked<'f>(
    element: Json<'f>,
    field: &'static str,
    asked: Option<&'f str>,
) -> Result<&'f str, Invalid> {
    match asked {
        Some(asked) if element.get(field).is_none_or(Json::is_null) => Ok(asked),
        Some(asked) => instrument(element, field).map(|own| {
            if own.eq_ignore_ascii_case(asked) {
                asked
            } else {
                own
            }
        }),
        None => instrument(element, field),
    }
}

/// Price and size of the first level of `[[price, size, ..], ..]`; both absent if the side is
/// empty.
pub(super) fn best(
    levels: Json<'_>,
    field: &'static str,
) -> Result<(Option<Decimal>, Option<Decimal>), Invalid> {
    if !levels.is_array() {
        return Err(Invalid::field(field, Reason::WrongType));
    }
    levels
        .elements()
        .next()
        .map_or(Ok((None, None)), |best| level(best, field))
}

/// Price and size of one level `[price, size, ..]`.
pub(super) fn level(
    level: Json<'_>,
    field: &'static str,
) -> Result<(Option<Decimal>, Option<Decimal>), Invalid> {
    let mut level = level.elements();
    let (Some(at), Some(amount)) = (level.next(), level.next()) else {
        return Err(Invalid::field(field, Reason::WrongType));
    };
    Ok((price(at, field)?, size(amount, field)?))
}

/// Hands one element's event to the sink, or what is wrong with it.
pub(super) fn emit<'f>(sink: &mut Sink<'_>, instrument: Option<&'f str>, event: Result<Event<'f>, Invalid>) {
    sink(event.unwrap_or_else(|invalid| Event::Invalid { instrument, invalid }));
}

/// An element that begins with its instrument: reads that, then the rest.
pub(super) fn emit_of<'f>(
    sink: &mut Sink<'_>,
    message: Json<'f>,
    field: &'static str,
    read: impl FnOnce(&'f str) -> Result<Event<'f>, Invalid>,
) {
    match instrument(message, field) {
        Ok(instrument) => emit(sink, Some(instrument), read(instrument)),
        Err(invalid) => emit(sink, None, Err(invalid)),
    }
}

fn stamp(
    value: Json<'_>,
    field: &'static str,
    read: impl FnOnce(&[u8]) -> Result<u64, TimeError>,
) -> Result<Option<u64>, Invalid> {
    if value.is_null() {
        return Ok(None);
    }
    let text = value.scalar().ok_or(Invalid::field(field, Reason::WrongType))?;
    match read(text) {
        // The epoch itself, and year 1, are how venues write "never".
        Ok(0) | Err(TimeError::BeforeEpoch) => Ok(None),
        Ok(nanos) => Ok(Some(nanos)),
        Err(TimeError::Malformed | TimeError::TooLate) => Err(Invalid::field(field, Reason::BadTime)),
    }
}
