//! OKX's older generations: tables (v3, to 2022), and the bare channels before them.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Book, Event, Invalid, Reason, Sink, VenueQuote};
use super::taker_side;

/// `{"table":"spot/ticker","data":[..]}`.
pub(super) fn table<'f>(frame: Json<'f>, table: &'f str, sink: &mut Sink<'_>) {
    let Some(data) = frame.get("data") else {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField)));
    };
    if !data.is_array() {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::WrongType)));
    }
    let (market, kind) = table.split_once('/').unwrap_or(("", table));
    // An index is no market: nobody trades at it.
    if market == "index" || data.elements().left() == 0 {
        return sink(Event::Ignored { kind: table });
    }
    match kind {
        "ticker" => each(data, sink, ticker),
        "trade" => each(data, sink, trade),
        _ if kind.starts_with("depth") || kind == "optimized_depth" => {
            // `partial` is the whole book; tables without changes name no action.
            let snapshot = frame
                .get_string("action")
                .is_none_or(|action| action == "partial");
            for element in data.elements() {
                sink(Event::Book(Book {
                    instrument: element.get_string("instrument_id"),
                    snapshot,
                }));
            }
        }
        _ => sink(Event::Ignored { kind: table }),
    }
}

/// `spot/ticker:BTC-USDT` to its channel and instrument.
pub(super) fn split(channel: Option<&str>) -> (Option<&str>, Option<&str>) {
    match channel.and_then(|channel| channel.split_once(':')) {
        Some((channel, instrument)) => (Some(channel), Some(instrument)),
        None => (channel, None),
    }
}

/// `{"channel":"ok_sub_spot_btc_usd_depth","data":{..}}`; without data it is what a request names.
pub(super) fn channel(frame: Json<'_>) -> Event<'_> {
    let Some(channel) = frame.get_string("channel") else {
        return Event::Invalid {
            instrument: None,
            invalid: Invalid::frame(Reason::UnknownShape),
        };
    };
    let Some(data) = frame.get("data") else {
        return Event::Request { method: channel };
    };
    if data.get("bids").is_some() && data.get("asks").is_some() {
        let name = channel.strip_prefix("ok_sub_spot_");
        // `.._depth` sends changes, `.._depth_20` and the like whole books.
        let (instrument, snapshot) = match name.and_then(|name| name.split_once("_depth")) {
            Some((instrument, levels)) => (Some(instrument), levels.len() > 1),
            None => (None, false),
        };
        return Event::Book(Book { instrument, snapshot });
    }
    Event::Ignored { kind: channel }
}

fn each<'f>(
    data: Json<'f>,
    sink: &mut Sink<'_>,
    read: impl Fn(Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
) {
    for element in data.elements() {
        field::emit_of(sink, element, "instrument_id", |name| read(element, name));
    }
}

pub(super) fn ticker<'f>(element: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(name);
    for (name, value) in element.members() {
        match name {
            "best_bid" => quote.bid = field::price(value, "best_bid")?,
            "best_bid_size" => quote.bid_size = field::size(value, "best_bid_size")?,
            "best_ask" => quote.ask = field::price(value, "best_ask")?,
            "best_ask_size" => quote.ask_size = field::size(value, "best_ask_size")?,
            "last" => quote.last = field::price(value, "last")?,
            "last_qty" => quote.last_size = field::size(value, "last_qty")?,
            "timestamp" => quote.venue_time_ns = field::rfc3339(value, "timestamp")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

fn trade<'f>(element: Json<'f>, name: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            // Futures and options count contracts in `qty`, all else has `size`.
            "size" => trade.size = field::size(value, "size")?,
            "qty" => trade.size = field::size(value, "qty")?,
            "timestamp" => trade.venue_time_ns = field::rfc3339(value, "timestamp")?,
            "trade_id" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(name, "price").map(Event::Trade)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Ack, Side, VenueError, VenueTrade};
    use super::*;

    const VENUE: &str = "okx";

    #[test]
    fn tables_are_quotes_and_trades_with_calendar_times() {
        is(
            VENUE,
            r#"{"table":"spot/ticker","data":[{"last":"3.9382","open_24h":"3.744","best_bid":"3.9383","best_ask":"3.9385",
                "instrument_id":"EOS-USDT","timestamp":"2021-09-30T23:59:59.874Z","best_bid_size":"0.350812",
                "best_ask_size":"235","last_qty":"1.19892"}]}"#,
            Event::Quote(VenueQuote {
                bid: dec("3.9383"),
                ask: dec("3.9385"),
                last: dec("3.9382"),
                bid_size: dec("0.350812"),
                ask_size: dec("235"),
                last_size: dec("1.19892"),
                venue_time_ns: Some(1_633_046_399_874_000_000),
                ..VenueQuote::new("EOS-USDT")
            }),
        );
        for (table, size) in [("spot/trade", "size"), ("futures/trade", "qty")] {
            is(
                VENUE,
                &format!(
                    r#"{{"table":"{table}","data":[{{"side":"sell","trade_id":"161659503","price":"56593.6","{size}":"7",
                        "instrument_id":"BTC-USDT","timestamp":"2021-03-22T01:16:28.687Z"}}]}}"#
                ),
                Event::Trade(VenueTrade {
                    instrument: "BTC-USDT",
                    price: dec("56593.6").expect("a price"),
                    size: dec("7"),
                    side: Some(Side::Sell),
                    venue_time_ns: Some(1_616_375_788_687_000_000),
                    sequence: Some(161_659_503),
                    snapshot: false,
                }),
            );
        }
    }

    #[test]
    fn a_table_gives_no_price_from_bad_fields() {
        let ticker = |fields: &str| format!(r#"{{"table":"spot/ticker","data":[{{{fields}}}]}}"#);
        for (fields, reason, field) in [
            (r#""instrument_id":"A-B""#, Reason::NoPrice, None),
            (r#""best_bid":"1""#, Reason::MissingField, Some("instrument_id")),
            (
                r#""instrument_id":"A-B","best_bid":"-1""#,
                Reason::Negative,
                Some("best_bid"),
            ),
            (
                r#""instrument_id":"A-B","last":"1","timestamp":"1616375788687""#,
                Reason::BadTime,
                Some("timestamp"),
            ),
        ] {
            refused(VENUE, &ticker(fields), reason, field);
        }
        refused(
            VENUE,
            r#"{"table":"spot/trade","data":[{"instrument_id":"A-B","price":""}]}"#,
            Reason::ZeroPrice,
            Some("price"),
        );
        refused(
            VENUE,
            r#"{"table":"spot/trade","data":{}}"#,
            Reason::WrongType,
            Some("data"),
        );
        refused(
            VENUE,
            r#"{"table":"spot/trade"}"#,
            Reason::MissingField,
            Some("data"),
        );
    }

    #[test]
    fn the_rest_of_the_old_generations_is_known_for_what_it_is() {
        let book = |instrument, snapshot| Event::Book(Book { instrument, snapshot });
        for (action, snapshot) in [
            (r#""action":"partial","#, true),
            (r#""action":"update","#, false),
            ("", true),
        ] {
            is(
                VENUE,
                &format!(
                    r#"{{"table":"spot/depth_l2_tbt",{action}"data":[{{"instrument_id":"BTC-USDT","asks":[[4084.57,38,0,3]],
                        "bids":[],"timestamp":"2019-08-01T00:00:08.930Z"}}]}}"#
                ),
                book(Some("BTC-USDT"), snapshot),
            );
        }
        is(
            VENUE,
            r#"{"table":"index/ticker","data":[{"instrument_id":"BTC-USD","last":"9000.1"}]}"#,
            Event::Ignored { kind: "index/ticker" },
        );
        is(
            VENUE,
            r#"{"table":"spot/candle60s","data":[{"candle":["2021-03-22T01:16:00.000Z","1","1","1","1","1"]}]}"#,
            Event::Ignored {
                kind: "spot/candle60s",
            },
        );
        is(
            VENUE,
            r#"{"event":"subscribe","channel":"option/ticker:BTC-USD-210423-64000-C"}"#,
            Event::Ack(Ack {
                channel: Some("option/ticker"),
                instrument: Some("BTC-USD-210423-64000-C"),
            }),
        );
        is(
            VENUE,
            r#"{"event":"error","message":"Channel spot/foo:BTC-USDT doesn't exist","errorCode":30040}"#,
            Event::Error(VenueError {
                code: Some("30040"),
                message: "Channel spot/foo:BTC-USDT doesn't exist",
                instrument: None,
            }),
        );
        let depth = r#"{"channel":"ok_sub_spot_btc_usd_depth","data":{"bids":[[819.9,0.9]],"asks":[],"timestamp":"1484602135246"}}"#;
        is(VENUE, depth, book(Some("btc_usd"), false));
        let array =
            format!(r#"[{depth},7,{{"channel":"ok_sub_spot_btc_usd_ticker","data":{{"last":"819.9"}}}}]"#);
        let count = events(VENUE, &array, |i, event| match i {
            0 => assert_eq!(event, book(Some("btc_usd"), false)),
            1 => assert_eq!(event.kind(), "invalid"),
            _ => assert_eq!(event.kind(), "ignored"),
        });
        assert_eq!(count, Ok(3));
        is(
            VENUE,
            r#"{"event":"addChannel","channel":"ok_sub_spot_btc_usd_depth"}"#,
            Event::Request { method: "addChannel" },
        );
    }
}
