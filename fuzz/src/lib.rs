//! What holds for every venue's parser, whatever the bytes.

use trinity_beast::market::decimal::Decimal;
use trinity_beast::market::venue::{Event, Invalid, Parser, VenueId};

/// A target for one venue.
#[macro_export]
macro_rules! venue_target {
    ($venue:literal) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::venue($venue, bytes));
    };
}

/// The instrument that REST answers are asked for.
const ASKED: &str = "BTC-USD";

/// Gives the bytes to every way in of a venue: message, binary message, REST answer, token.
pub fn venue(name: &str, bytes: &[u8]) {
    let venue = VenueId::from_name(name).expect("the target names a venue");
    let mut parser = Parser::new();
    // A message leaves nothing behind for the next, not even a broken one.
    let mut again = Vec::new();
    for _ in 0..2 {
        again.push((
            told(venue, |sink| parser.parse(venue, bytes, sink)),
            told(venue, |sink| parser.parse_binary(venue, bytes, sink)),
            told(venue, |sink| parser.parse_rest(venue, bytes, None, sink)),
            told(venue, |sink| parser.parse_rest(venue, bytes, Some(ASKED), sink)),
        ));
    }
    assert_eq!(again[0], again[1]);
    if let Ok(admission) = parser.parse_token(venue, bytes, 7) {
        assert!(admission.url.starts_with("wss://"), "{}", admission.url);
        assert!(!admission.ping_every.is_zero());
    }
}

/// Runs a parser and checks what it hands out: prices are above zero, sizes are not below it,
/// everything with a price has an instrument, and there are events if and only if it understood.
/// Returns how many, and its verdict.
fn told(
    venue: VenueId,
    parse: impl FnOnce(&mut dyn FnMut(Event<'_>)) -> Result<(), Invalid>,
) -> (usize, Result<(), Invalid>) {
    let mut count = 0;
    let result = parse(&mut |event| {
        count += 1;
        check(venue, &event);
    });
    assert_eq!(result.is_ok(), count > 0, "{result:?}");
    (count, result)
}

fn check(venue: VenueId, event: &Event<'_>) {
    let not_below_zero = |sizes: &[Option<Decimal>]| {
        assert!(sizes.iter().flatten().all(|size| !size.is_negative()));
    };
    match event {
        Event::Quote(quote) => {
            let prices = [quote.bid, quote.ask, quote.last];
            assert!(prices.iter().any(Option::is_some));
            assert!(prices.iter().flatten().all(|price| *price > Decimal::ZERO));
            not_below_zero(&[quote.bid_size, quote.ask_size, quote.last_size]);
            assert!(!quote.instrument.is_empty());
        }
        Event::Trade(trade) => {
            assert!(trade.price > Decimal::ZERO);
            not_below_zero(&[trade.size]);
            assert!(!trade.instrument.is_empty());
        }
        Event::Challenge { text } => {
            let dialect = venue.spec().dialect.expect("only a live venue challenges");
            assert!(!(dialect.answer)(text).is_empty());
        }
        Event::Invalid { invalid, .. } => assert!(!invalid.to_string().is_empty()),
        _ => {}
    }
}
