//! Gemini's WebSocket API: `<symbol>@bookTicker`, `@trade`, `@depth`.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Side, Sink, VenueQuote};
use super::unknown;

/// A message of a stream. Only some name their kind; the others are told by their fields.
pub(super) fn stream(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    let has = |name| frame.get(name).is_some();
    match frame.get_string("e") {
        Some("bookTicker") => quote(frame, sink),
        Some("trade") => field::emit_of(sink, frame, "s", |symbol| trade(frame, symbol)),
        Some("depthUpdate") => sink(book(frame, false)),
        Some("depthSnapshot") => sink(book(frame, true)),
        Some(kind) => sink(Event::Ignored { kind }),
        // The top levels of a book do not say whose they are.
        None if has("lastUpdateId") => sink(book(frame, true)),
        None if has("p") && has("t") => field::emit_of(sink, frame, "s", |symbol| trade(frame, symbol)),
        None if has("s") && (has("b") || has("a")) => quote(frame, sink),
        None => return unknown(),
    }
    Ok(())
}

fn book(frame: Json<'_>, snapshot: bool) -> Event<'_> {
    Event::Book(Book {
        instrument: frame.get_string("s"),
        snapshot,
    })
}

fn quote(frame: Json<'_>, sink: &mut Sink<'_>) {
    field::emit_of(sink, frame, "s", |symbol| {
        let mut quote = VenueQuote::new(symbol);
        for (name, value) in frame.members() {
            match name {
                "b" => quote.bid = field::price(value, "b")?,
                "B" => quote.bid_size = field::size(value, "B")?,
                "a" => quote.ask = field::price(value, "a")?,
                "A" => quote.ask_size = field::size(value, "A")?,
                "c" => quote.last = field::price(value, "c")?,
                "C" => quote.last_size = field::size(value, "C")?,
                "E" => quote.venue_time_ns = field::unix_nanos(value, "E")?,
                "u" => quote.sequence = field::id(value),
                _ => {}
            }
        }
        quote.priced().map(Event::Quote)
    });
}

fn trade<'f>(frame: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in frame.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "q" => trade.size = field::size(value, "q")?,
            "E" => trade.venue_time_ns = field::unix_nanos(value, "E")?,
            "t" => trade.sequence = field::id(value),
            "m" => {
                trade.side = value
                    .boolean()
                    .map(|maker| if maker { Side::Sell } else { Side::Buy });
            }
            _ => {}
        }
    }
    trade.finish(symbol, "p").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, is, refused};
    use super::super::super::{Reason, VenueTrade};
    use super::*;

    const VENUE: &str = "gemini";

    #[test]
    fn a_book_ticker_is_a_quote_with_a_time_to_the_nanosecond() {
        let quote = VenueQuote {
            bid: dec("45000.5"),
            ask: dec("45001"),
            bid_size: dec("1.25"),
            ask_size: dec("0.75"),
            venue_time_ns: Some(1_751_508_438_600_117_161),
            sequence: Some(1_751_505_576_085),
            ..VenueQuote::new("btcusd")
        };
        let fields = r#""u":1751505576085,"E":1751508438600117161,"s":"btcusd","b":"45000.50","B":"1.25000000",
            "a":"45001.00","A":"0.75000000""#;
        is(VENUE, &format!("{{{fields}}}"), Event::Quote(quote));
        is(
            VENUE,
            &format!(r#"{{"e":"bookTicker",{fields}}}"#),
            Event::Quote(quote),
        );
        is(
            VENUE,
            &format!(r#"{{{fields},"c":"45000.75","C":"0.1"}}"#),
            Event::Quote(VenueQuote {
                last: dec("45000.75"),
                last_size: dec("0.1"),
                ..quote
            }),
        );
    }

    #[test]
    fn an_empty_or_bad_side_never_becomes_a_price() {
        let frame = |bid: &str, ask: &str| format!(r#"{{"u":1,"s":"x","b":{bid},"a":{ask}}}"#);
        for empty in ["\"\"", "null", "\"0\"", "0", "\"0.00\"", "0e5"] {
            is(
                VENUE,
                &frame(empty, "2"),
                Event::Quote(VenueQuote {
                    ask: dec("2"),
                    sequence: Some(1),
                    ..VenueQuote::new("x")
                }),
            );
            refused(VENUE, &frame(empty, empty), Reason::NoPrice, None);
        }
        for (bad, reason) in [
            ("\"-1\"", Reason::Negative),
            ("-0.5", Reason::Negative),
            ("\"NaN\"", Reason::BadNumber),
            ("\"Infinity\"", Reason::BadNumber),
            ("\"1e999\"", Reason::BadNumber),
            ("\"1,5\"", Reason::BadNumber),
            ("true", Reason::WrongType),
            ("{}", Reason::WrongType),
        ] {
            refused(VENUE, &frame("\"1\"", bad), reason, Some("a"));
        }
        is(
            VENUE,
            &frame("\"1.23456789012345678901234567890\"", "\"15e-1\""),
            Event::Quote(VenueQuote {
                bid: dec("1.23456789012345678"),
                ask: dec("1.5"),
                sequence: Some(1),
                ..VenueQuote::new("x")
            }),
        );
        // A crossed book is the venue's word; whether it is used is not the parser's to say.
        is(
            VENUE,
            &frame("\"3\"", "\"2\""),
            Event::Quote(VenueQuote {
                bid: dec("3"),
                ask: dec("2"),
                sequence: Some(1),
                ..VenueQuote::new("x")
            }),
        );
    }

    #[test]
    fn a_time_is_nanoseconds_or_refused() {
        let frame = |time: &str| format!(r#"{{"E":{time},"u":1,"s":"x","b":"1"}}"#);
        let at = |time| {
            Event::Quote(VenueQuote {
                bid: dec("1"),
                venue_time_ns: time,
                sequence: Some(1),
                ..VenueQuote::new("x")
            })
        };
        for unset in ["0", "null"] {
            is(VENUE, &frame(unset), at(None));
        }
        // Far in the future is still a time; the clock that judges it is elsewhere.
        is(
            VENUE,
            &frame("4102444800000000000"),
            at(Some(4_102_444_800_000_000_000)),
        );
        for bad in [
            "-1",
            "1.5",
            "1.7e18",
            "\"\"",
            "\"soon\"",
            "\"2026-01-01T00:00:00Z\"",
            "99999999999999999999",
        ] {
            refused(VENUE, &frame(bad), Reason::BadTime, Some("E"));
        }
        for bad in ["[]", "true"] {
            refused(VENUE, &frame(bad), Reason::WrongType, Some("E"));
        }
    }

    #[test]
    fn a_trade_is_one_with_or_without_its_kind_and_bears_the_takers_side() {
        let trade = VenueTrade {
            instrument: "btcusd",
            price: dec("45000.5").expect("a price"),
            size: dec("0.25"),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_751_508_260_659_505_382),
            sequence: Some(2_840_141_014_190_422),
            snapshot: false,
        };
        let fields =
            r#""E":1751508260659505382,"s":"btcusd","t":2840141014190422,"p":"45000.50","q":"0.25000000""#;
        is(VENUE, &format!(r#"{{{fields},"m":true}}"#), Event::Trade(trade));
        is(
            VENUE,
            &format!(r#"{{"e":"trade",{fields},"m":false}}"#),
            Event::Trade(VenueTrade {
                side: Some(Side::Buy),
                ..trade
            }),
        );
        refused(VENUE, r#"{"s":"x","t":1,"p":"0"}"#, Reason::ZeroPrice, Some("p"));
        refused(VENUE, r#"{"t":1,"p":"1"}"#, Reason::MissingField, Some("s"));
        refused(
            VENUE,
            r#"{"e":"trade","s":"x","t":1}"#,
            Reason::MissingField,
            Some("p"),
        );
    }

    #[test]
    fn books_and_all_else_are_known_for_what_they_are() {
        let book = |instrument, snapshot| Event::Book(Book { instrument, snapshot });
        is(
            VENUE,
            r#"{"e":"depthUpdate","E":1751508260659505382,"s":"btcusd","U":12345677,"u":12345678,"b":[["45000.50","1.25"]],"a":[]}"#,
            book(Some("btcusd"), false),
        );
        is(
            VENUE,
            r#"{"lastUpdateId":12345678,"bids":[["45000.50","1.25000000"]],"asks":[]}"#,
            book(None, true),
        );
        for kind in [
            "markPrice",
            "fundingAmount",
            "orderUpdate",
            "contractStatus",
            "news",
        ] {
            is(
                VENUE,
                &format!(r#"{{"e":"{kind}","E":1,"s":"btcgusdperp","p":"1"}}"#),
                Event::Ignored { kind },
            );
        }
    }
}
