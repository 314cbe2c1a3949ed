//! Venues: wire frames in, [`Event`]s out.
//!
//! Every parser here is pure: bytes in, events out, no clock, no socket. A frame may carry
//! several events; a bad element is reported as [`Event::Invalid`] and never takes its good
//! neighbours with it. Adding a venue means one parser file and one row in [`VENUES`].
//!
//! Prices and sizes keep the digits the venue sent ([`Decimal`](super::decimal::Decimal));
//! instruments keep the venue's own spelling; times are taken in the unit the venue documents
//! for the field.

mod binance;
mod bitstamp;
mod bybit;
mod coinbase;
mod cryptocom;
pub mod dialect;
mod event;
mod field;
mod gate;
mod gemini;
mod inflate;
mod json;
mod kraken;
mod kucoin;
mod okx;
mod recorded;
pub mod time;
mod wording;

pub use event::{Ack, Book, Event, Invalid, Reason, Side, VenueError, VenueQuote, VenueTrade};

use dialect::{Admission, Dialect};
use inflate::Inflater;
use json::{Json, Reader};
use recorded::recorded;

/// Longest frame that is parsed; the largest seen is a Coinbase book snapshot of 5 MB.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// The venues, in the order of their ids.
pub const VENUES: &[VenueSpec] = &[
    VenueSpec {
        name: "coinbase",
        title: "Coinbase",
        plain_heartbeats: &[],
        parse: coinbase::parse,
        rest: Some(coinbase::parse_rest),
        dialect: Some(&coinbase::DIALECT),
    },
    VenueSpec {
        name: "kraken",
        title: "Kraken",
        plain_heartbeats: &[],
        parse: kraken::parse,
        rest: Some(kraken::parse_rest),
        dialect: Some(&kraken::DIALECT),
    },
    VenueSpec {
        name: "bitstamp",
        title: "Bitstamp",
        plain_heartbeats: &[],
        parse: bitstamp::parse,
        rest: Some(bitstamp::parse_rest),
        dialect: Some(&bitstamp::DIALECT),
    },
    VenueSpec {
        name: "binance",
        title: "Binance",
        plain_heartbeats: &[],
        parse: binance::parse,
        rest: Some(binance::parse_rest),
        dialect: Some(&binance::DIALECT),
    },
    VenueSpec {
        name: "binance-us",
        title: "Binance.US",
        plain_heartbeats: &[],
        parse: binance::parse,
        rest: Some(binance::parse_rest),
        dialect: Some(&binance::DIALECT_US),
    },
    VenueSpec {
        name: "gemini",
        title: "Gemini",
        plain_heartbeats: &[],
        parse: gemini::parse,
        rest: Some(gemini::parse_rest),
        dialect: Some(&gemini::DIALECT),
    },
    VenueSpec {
        name: "okx",
        title: "OKX",
        plain_heartbeats: &["pong", "ping"],
        parse: okx::parse,
        rest: Some(okx::parse_rest),
        dialect: Some(&okx::DIALECT),
    },
    VenueSpec {
        name: "cryptocom",
        title: "Crypto.com",
        plain_heartbeats: &[],
        parse: cryptocom::parse,
        rest: Some(cryptocom::parse_rest),
        dialect: Some(&cryptocom::DIALECT),
    },
    VenueSpec {
        name: "gate",
        title: "Gate.io",
        plain_heartbeats: &[],
        parse: gate::parse,
        rest: Some(gate::parse_rest),
        dialect: Some(&gate::DIALECT),
    },
    VenueSpec {
        name: "bybit",
        title: "Bybit",
        plain_heartbeats: &[],
        parse: bybit::parse,
        rest: Some(bybit::parse_rest),
        dialect: Some(&bybit::DIALECT),
    },
    VenueSpec {
        name: "kucoin",
        title: "KuCoin",
        plain_heartbeats: &[],
        parse: kucoin::parse,
        rest: Some(kucoin::parse_rest),
        dialect: Some(&kucoin::DIALECT),
    },
    recorded("bitfinex", "Bitfinex"),
    recorded("huobi", "Huobi"),
    recorded("poloniex", "Poloniex"),
    recorded("upbit", "Upbit"),
    recorded("bitflyer", "bitFlyer"),
    recorded("btcbox", "BTCBOX"),
    recorded("uniswap", "Uniswap"),
    recorded("sushiswap", "SushiSwap"),
    recorded("curve", "Curve"),
    recorded("balancer", "Balancer"),
    recorded("rocketpool", "Rocket Pool"),
    recorded("wsteth", "wstETH contract"),
    recorded("ishares", "iShares"),
    recorded("openexchangerates", "Open Exchange Rates"),
    recorded("chronicle", "Chronicle"),
];

const _: () = assert!(VENUES.len() <= u8::MAX as usize, "a venue id is one byte");

/// Where a parser hands its events.
pub type Sink<'s> = dyn FnMut(Event<'_>) + 's;

type Parse = for<'f> fn(Json<'f>, &mut Sink<'_>) -> Result<(), Invalid>;

/// Reads a REST answer; the instrument is the one that was asked for, as the stream spells it,
/// or `None` where only the answer itself can say.
type ParseRest = for<'f> fn(Json<'f>, Option<&'f str>, &mut Sink<'_>) -> Result<(), Invalid>;

/// A venue: its row in [`VENUES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VenueId(u8);

impl VenueId {
    /// The venue with this index in [`VENUES`].
    pub fn from_index(index: usize) -> Option<Self> {
        (index < VENUES.len()).then_some(Self(index as u8))
    }

    /// The venue of this name (exact, lower case): `kraken`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::from_index(VENUES.iter().position(|venue| venue.name == name)?)
    }

    /// All venues.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..VENUES.len()).filter_map(Self::from_index)
    }

    /// The index in [`VENUES`].
    pub fn index(self) -> usize {
        self.0.into()
    }

    /// The row in [`VENUES`].
    pub fn spec(self) -> &'static VenueSpec {
        &VENUES[self.index()]
    }

    /// The name used in tables, metrics and on the command line.
    pub fn name(self) -> &'static str {
        self.spec().name
    }
}

impl std::fmt::Display for VenueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What the table knows about a venue.
#[derive(Debug)]
pub struct VenueSpec {
    /// Name in tables, metrics and on the command line.
    pub name: &'static str,
    /// Name for people.
    pub title: &'static str,
    /// Whole messages that are no JSON and only say that the connection is alive.
    plain_heartbeats: &'static [&'static str],
    /// How to converse with it; `None` for a venue that is known from recordings only.
    pub dialect: Option<&'static Dialect>,
    parse: Parse,
    rest: Option<ParseRest>,
}

impl VenueSpec {
    fn is_plain_heartbeat(&self, frame: &[u8]) -> bool {
        self.plain_heartbeats.iter().any(|word| word.as_bytes() == frame)
    }
}

/// Parses frames of any venue with one set of buffers.
///
/// After the first frames it allocates nothing: frames below 256 KiB reuse what is there.
/// One parser per connection or per thread; it keeps nothing from one frame to the next.
pub struct Parser {
    reader: Reader,
    inflater: Inflater,
}

impl Parser {
    /// A parser with empty buffers.
    pub fn new() -> Self {
        Self {
            reader: Reader::new(),
            inflater: Inflater::new(),
        }
    }

    /// Parses one WebSocket message of `venue` and hands its events to `sink` in the order they
    /// stand in the frame.
    ///
    /// Fails when the frame as a whole is not understood (not JSON, too large, no shape the
    /// venue documents); then `sink` was not called. Otherwise it was called at least once: a
    /// message of a known kind in which something is wrong comes as [`Event::Invalid`], with its
    /// instrument where it has one.
    pub fn parse(&mut self, venue: VenueId, frame: &[u8], sink: &mut Sink<'_>) -> Result<(), Invalid> {
        parse_text(&mut self.reader, venue, frame, sink)
    }

    /// Parses one binary WebSocket message of `venue`, with the promises of [`Parser::parse`].
    ///
    /// It is gzip if it begins like gzip, plain if it begins like JSON, else raw deflate; one
    /// message is one whole stream. A message of more than [`MAX_FRAME_BYTES`], as it came or
    /// once inflated, is [`Reason::TooLarge`]; a broken, cut or continued stream is
    /// [`Reason::NotCompressed`].
    pub fn parse_binary(&mut self, venue: VenueId, frame: &[u8], sink: &mut Sink<'_>) -> Result<(), Invalid> {
        if venue.spec().is_plain_heartbeat(frame) {
            sink(Event::Heartbeat);
            return Ok(());
        }
        let result = match self.inflater.inflate(frame) {
            Ok(text) => parse_text(&mut self.reader, venue, text, sink),
            Err(invalid) => Err(invalid),
        };
        self.inflater.give_back();
        result
    }

    /// Parses the body of a REST answer of `venue`, with the promises of [`Parser::parse`].
    ///
    /// `instrument` is the one that was asked for, as the stream spells it: it names the quote.
    /// Without it the answer's own name of the instrument is taken, where it has one.
    pub fn parse_rest(
        &mut self,
        venue: VenueId,
        body: &[u8],
        instrument: Option<&str>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Invalid> {
        let spec = venue.spec();
        self.reader.read(body, |json| match spec.rest {
            // The name lives at least as long as the call, and so does the body.
            Some(rest) => rest(json, instrument, sink),
            None => (spec.parse)(json, sink),
        })
    }

    /// Reads the answer to a venue's token request.
    pub fn parse_token(&mut self, venue: VenueId, body: &[u8], id: u64) -> Result<Admission, Invalid> {
        let token = venue.spec().dialect.and_then(|dialect| dialect.token.as_ref());
        let token = token.ok_or(Invalid::frame(Reason::UnknownShape))?;
        self.reader.read(body, |json| (token.read)(json, id))
    }
}

fn parse_text(reader: &mut Reader, venue: VenueId, frame: &[u8], sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let spec = venue.spec();
    if spec.is_plain_heartbeat(frame) {
        sink(Event::Heartbeat);
        return Ok(());
    }
    reader.read(frame, |json| (spec.parse)(json, sink))
}

impl Default for Parser {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Parser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parser").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod live_testing;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod trees;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn venues_are_found_by_name_and_names_are_unique() {
        for venue in VenueId::all() {
            assert_eq!(VenueId::from_name(venue.name()), Some(venue));
            assert_eq!(VenueId::from_index(venue.index()), Some(venue));
            assert_eq!(venue.to_string(), venue.name());
            assert!(venue.name().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
        assert_eq!(VenueId::all().count(), VENUES.len());
        assert_eq!(VenueId::from_name("Kraken"), None);
        assert_eq!(VenueId::from_name("mtgox"), None);
        assert_eq!(VenueId::from_index(VENUES.len()), None);
    }

    #[test]
    fn what_no_venue_sends_is_refused_by_every_venue() {
        let mut parser = Parser::new();
        for venue in VenueId::all() {
            for (frame, reason) in [
                (&b"pang"[..], Reason::NotJson),
                (b"", Reason::NotJson),
                (b"{\"event\":\"\xff\"}", Reason::NotUtf8),
                (b"1", Reason::UnknownShape),
                (b"\"text\"", Reason::UnknownShape),
                (b"null", Reason::UnknownShape),
                (b"{}", Reason::UnknownShape),
                (b"[]", Reason::UnknownShape),
                (b"[[[]]]", Reason::UnknownShape),
            ] {
                let result = parser.parse(venue, frame, &mut |event| panic!("{venue}: {event:?}"));
                assert_eq!(result, Err(Invalid::frame(reason)), "{venue} {frame:?}");
            }
        }
    }

    /// Names and values that steer the parsers, so that random trees reach their inner branches.
    fn any_message() -> impl Strategy<Value = serde_json::Value> {
        let names = proptest::sample::select(vec![
            "type",
            "channel",
            "event",
            "events",
            "tickers",
            "trades",
            "data",
            "stream",
            "e",
            "s",
            "b",
            "B",
            "a",
            "A",
            "u",
            "p",
            "q",
            "c",
            "T",
            "E",
            "m",
            "product_id",
            "price",
            "size",
            "side",
            "time",
            "best_bid",
            "symbol",
            "bid",
            "ask",
            "last",
            "qty",
            "timestamp",
            "method",
            "success",
            "error",
            "result",
            "id",
            "code",
            "msg",
            "message",
            "status",
            "pair",
            "bids",
            "asks",
            "microtimestamp",
            "price_str",
            "feed",
            "amount_str",
            "channelName",
            "subscriptions",
            "products",
            "product_ids",
            "lastUpdateId",
            "sequence",
        ]);
        let words = proptest::sample::select(vec![
            "ticker",
            "trade",
            "trades",
            "match",
            "last_match",
            "snapshot",
            "update",
            "l2update",
            "subscriptions",
            "heartbeat",
            "heartbeats",
            "error",
            "status",
            "spread",
            "book",
            "book-10",
            "bookTicker",
            "aggTrade",
            "24hrTicker",
            "24hrMiniTicker",
            "depthUpdate",
            "order_book_btcusd",
            "live_trades_btcusd",
            "BTC-USD",
            "market_trades",
            "l2_data",
            "bts:error",
            "bts:subscription_succeeded",
            "subscriptionStatus",
            "",
            "1.5",
            "0",
            "-1",
            "1e999",
            "0.-10000",
            "NaN",
            "2021-03-21T03:47:27.112041Z",
            "1616297318187000",
        ]);
        let leaf = prop_oneof![
            4 => words.prop_map(serde_json::Value::from),
            1 => Just(serde_json::Value::Null),
            1 => any::<bool>().prop_map(Into::into),
            1 => any::<i64>().prop_map(Into::into),
            1 => any::<f64>().prop_map(Into::into),
            1 => ".{0,8}".prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(5, 64, 8, move |inner| {
            prop_oneof![
                1 => proptest::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
                2 => proptest::collection::vec((names.clone(), inner), 0..8)
                    .prop_map(|members| members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(frame in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut parser = Parser::new();
            for venue in VenueId::all() {
                let _ = parser.parse(venue, &frame, &mut |event| assert!(!event.kind().is_empty()));
                let _ = parser.parse_binary(venue, &frame, &mut |event| assert!(!event.kind().is_empty()));
            }
        }

        #[test]
        fn arbitrary_messages_give_no_price_below_or_at_zero(message in any_message()) {
            let frame = message.to_string();
            let mut parser = Parser::new();
            for venue in VenueId::all() {
                let mut count = 0;
                let result = parser.parse(venue, frame.as_bytes(), &mut |event| {
                    count += 1;
                    match event {
                        Event::Quote(quote) => {
                            let prices = [quote.bid, quote.ask, quote.last];
                            assert!(prices.iter().any(Option::is_some), "{frame}");
                            assert!(prices.iter().flatten().all(|price| price.mantissa() > 0), "{frame}");
                            assert!(!quote.instrument.is_empty(), "{frame}");
                        }
                        Event::Trade(trade) => {
                            assert!(trade.price.mantissa() > 0, "{frame}");
                            assert!(!trade.instrument.is_empty(), "{frame}");
                        }
                        _ => {}
                    }
                });
                prop_assert_eq!(result.is_ok(), count > 0, "{} {}", venue, frame);
            }
        }
    }
}
