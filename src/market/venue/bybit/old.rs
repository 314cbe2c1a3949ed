//! Bybit's older generations: contracts v2 (to 2023), spot v1 and v3.

use super::super::field::{self, TradeFields};
use super::super::json::Json;
use super::super::{Ack, Event, Invalid, Side, Sink, VenueError, VenueQuote};
use super::taker_side;

/// `{"success":true,"ret_msg":"","request":{"op":"subscribe","args":[..]}}` of v2, and of options
/// `{"success":true,"data":{"failTopics":[..],"successTopics":[..]},"type":"COMMAND_RESP"}`.
pub(super) fn answer(frame: Json<'_>, sink: &mut Sink<'_>) {
    let topics = |name| {
        frame
            .get("data")
            .and_then(|data| data.get(name))
            .into_iter()
            .flat_map(Json::elements)
            .filter_map(Json::string)
    };
    let mut told = false;
    for topic in topics("failTopics") {
        told = true;
        sink(Event::Error(VenueError {
            code: None,
            message: topic,
            instrument: None,
        }));
    }
    for topic in topics("successTopics") {
        told = true;
        let (channel, instrument) = split(topic);
        sink(Event::Ack(Ack { channel, instrument }));
    }
    if !told {
        sink(super::answer(frame, None));
    }
}

/// Channel and instrument of a request for a single topic, repeated in its answer.
pub(super) fn requested(frame: Json<'_>) -> (Option<&str>, Option<&str>) {
    let args = frame
        .get("request")
        .and_then(|request| request.get("args"))
        .map(Json::elements);
    match args {
        Some(mut args) if args.left() == 1 => args.next().and_then(Json::string).map_or((None, None), split),
        _ => (None, None),
    }
}

/// `instrument_info.100ms.BTCUSD` to `instrument_info` and `BTCUSD`.
fn split(topic: &str) -> (Option<&str>, Option<&str>) {
    let (channel, rest) = topic.split_once('.').unwrap_or((topic, ""));
    let symbol = rest.rsplit('.').next().filter(|symbol| !symbol.is_empty());
    (Some(channel), symbol)
}

/// Spot v1: `{"topic":"depth","event":"sub","params":{"symbol":"BTCUSDT"},"code":"0","msg":"Success"}`.
pub(super) fn said<'f>(frame: Json<'f>, topic: &'f str, event: &'f str) -> Event<'f> {
    let instrument = frame.get("params").and_then(|params| params.get_string("symbol"));
    match frame.get("code").and_then(Json::text) {
        None => Event::Request { method: event },
        Some("0") => Event::Ack(Ack {
            channel: Some(topic),
            instrument,
        }),
        code => Event::Error(VenueError {
            code,
            message: frame.get_string("msg").unwrap_or_default(),
            instrument,
        }),
    }
}

/// Spot: `bidPrice` and so on in v1 and REST, `bp` and so on in v3.
pub(super) fn book_ticker<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(symbol);
    for (name, value) in element.members() {
        match name {
            "bidPrice" => quote.bid = field::price(value, "bidPrice")?,
            "bidQty" => quote.bid_size = field::size(value, "bidQty")?,
            "askPrice" => quote.ask = field::price(value, "askPrice")?,
            "askQty" => quote.ask_size = field::size(value, "askQty")?,
            "time" => quote.venue_time_ns = field::unix_millis(value, "time")?,
            "bp" => quote.bid = field::price(value, "bp")?,
            "bq" => quote.bid_size = field::size(value, "bq")?,
            "ap" => quote.ask = field::price(value, "ap")?,
            "aq" => quote.ask_size = field::size(value, "aq")?,
            "t" => quote.venue_time_ns = field::unix_millis(value, "t")?,
            _ => {}
        }
    }
    quote.priced().map(Event::Quote)
}

/// Contracts v2: `trade_time_ms` is exact, `timestamp` whole seconds.
pub(super) fn contract_trade<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    let mut second = None;
    for (name, value) in element.members() {
        match name {
            "price" => trade.read_price(value, "price")?,
            "size" => trade.size = field::size(value, "size")?,
            "trade_time_ms" => trade.venue_time_ns = field::unix_millis(value, "trade_time_ms")?,
            "timestamp" => second = field::rfc3339(value, "timestamp")?,
            "trade_id" => trade.sequence = field::id(value),
            "side" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.venue_time_ns = trade.venue_time_ns.or(second);
    trade.finish(symbol, "price").map(Event::Trade)
}

/// Spot v1 and v3: `v` is the id, `m` whether the taker bought.
pub(super) fn spot_trade<'f>(
    element: Json<'f>,
    symbol: &'f str,
    snapshot: bool,
) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(snapshot);
    for (name, value) in element.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "q" => trade.size = field::size(value, "q")?,
            "t" => trade.venue_time_ns = field::unix_millis(value, "t")?,
            "v" => trade.sequence = field::id(value),
            "m" => {
                trade.side = value
                    .boolean()
                    .map(|bought| if bought { Side::Buy } else { Side::Sell });
            }
            _ => {}
        }
    }
    trade.finish(symbol, "p").map(Event::Trade)
}

/// REST v2: `{"symbol":"BTCUSD","bid_price":"7230","ask_price":"7230.5","last_price":"7230.00",..}`.
pub(super) fn rest_ticker<'f>(
    element: Json<'f>,
    symbol: &'f str,
    time_ns: Option<u64>,
) -> Result<Event<'f>, Invalid> {
    let mut quote = VenueQuote::new(symbol);
    for (name, value) in element.members() {
        match name {
            "bid_price" => quote.bid = field::price(value, "bid_price")?,
            "ask_price" => quote.ask = field::price(value, "ask_price")?,
            "last_price" => quote.last = field::price(value, "last_price")?,
            _ => {}
        }
    }
    quote.venue_time_ns = time_ns;
    quote.priced().map(Event::Quote)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{dec, events, is, refused};
    use super::super::super::{Book, Reason, VenueTrade};
    use super::*;

    const VENUE: &str = "bybit";

    #[test]
    fn trades_of_every_generation_are_read_by_their_own_names() {
        let trade = VenueTrade {
            instrument: "BTCUSD",
            price: dec("57073.5").expect("a price"),
            size: dec("237"),
            side: Some(Side::Buy),
            venue_time_ns: Some(1_616_304_710_061_000_000),
            sequence: None,
            snapshot: false,
        };
        is(
            VENUE,
            r#"{"topic":"trade.BTCUSD","data":[{"trade_time_ms":1616304710061,"timestamp":"2021-03-21T05:31:50.000Z",
                "symbol":"BTCUSD","side":"Buy","size":237,"price":57073.5,"tick_direction":"ZeroPlusTick",
                "trade_id":"f6198d62-4d4d-5908-9902-32c3aa5d9cfd","cross_seq":5404769827}]}"#,
            Event::Trade(trade),
        );
        is(
            VENUE,
            r#"{"topic":"trade.BTCUSD","data":[{"timestamp":"2019-11-06T12:50:52.000Z","symbol":"BTCUSD","side":"Buy",
                "size":237,"price":57073.5,"trade_id":"8c53dd53-2df5-563d-8e3b-e0dbba7c55a0"}]}"#,
            Event::Trade(VenueTrade {
                venue_time_ns: Some(1_573_044_652_000_000_000),
                ..trade
            }),
        );
        let spot = VenueTrade {
            instrument: "BTCUSDT",
            price: dec("17440").expect("a price"),
            size: dec("0.0002"),
            side: Some(Side::Sell),
            venue_time_ns: Some(1_673_437_259_395_000_000),
            sequence: Some(2_290_000_000_036_455_162),
            snapshot: false,
        };
        let data =
            r#"{"v":"2290000000036455162","t":1673437259395,"p":"17440","q":"0.0002","m":false,"type":"0"}"#;
        is(
            VENUE,
            &format!(r#"{{"topic":"trade.BTCUSDT","ts":1673437259397,"type":"snapshot","data":{data}}}"#),
            Event::Trade(spot),
        );
        is(
            VENUE,
            &format!(r#"{{"topic":"trade","params":{{"symbol":"BTCUSDT","binary":"false"}},"data":{data}}}"#),
            Event::Trade(spot),
        );
        // The first message after a subscription is marked: it is history.
        for (first, snapshot) in [("true", true), ("false", false)] {
            is(
                VENUE,
                &format!(
                    r#"{{"topic":"trade","params":{{"symbol":"BTCUSDT"}},"data":[{data}],"f":{first},"sendTime":1}}"#
                ),
                Event::Trade(VenueTrade { snapshot, ..spot }),
            );
        }
    }

    #[test]
    fn the_day_of_spot_is_its_last_price() {
        let data = r#"{"t":1582001735462,"s":"BTCUSDT","c":"9736.5","o":"9830","h":"9850","l":"9700","v":"1","m":"-0.0025"}"#;
        let quote = |venue_time_ns| {
            Event::Quote(VenueQuote {
                last: dec("9736.5"),
                venue_time_ns,
                ..VenueQuote::new("BTCUSDT")
            })
        };
        is(
            VENUE,
            &format!(r#"{{"topic":"realtimes","params":{{"symbol":"BTCUSDT"}},"data":[{data}],"f":true}}"#),
            quote(Some(1_582_001_735_462_000_000)),
        );
        is(
            VENUE,
            &format!(r#"{{"topic":"tickers.BTCUSDT","ts":1582001735463,"type":"snapshot","data":{data}}}"#),
            quote(Some(1_582_001_735_463_000_000)),
        );
    }

    #[test]
    fn the_best_bid_and_ask_of_spot_is_a_quote() {
        let quote = VenueQuote {
            bid: dec("23293.19"),
            ask: dec("23293.37"),
            bid_size: dec("0.052479"),
            ask_size: dec("0.001651"),
            venue_time_ns: Some(1_659_312_000_113_000_000),
            ..VenueQuote::new("BTCUSDT")
        };
        is(
            VENUE,
            r#"{"topic":"bookTicker","params":{"symbol":"BTCUSDT","binary":"false","symbolName":"BTCUSDT"},
                "data":{"symbol":"BTCUSDT","bidPrice":"23293.19","bidQty":"0.052479","askPrice":"23293.37",
                "askQty":"0.001651","time":1659312000113}}"#,
            Event::Quote(quote),
        );
        is(
            VENUE,
            r#"{"topic":"bookticker.BTCUSDT","ts":1659312000114,"type":"snapshot","data":{"s":"BTCUSDT","bp":"23293.19",
                "bq":"0.052479","ap":"23293.37","aq":"0.001651","t":1659312000113}}"#,
            Event::Quote(quote),
        );
        refused(
            VENUE,
            r#"{"topic":"bookTicker","params":{},"data":{"bidPrice":"1"}}"#,
            Reason::MissingField,
            Some("symbol"),
        );
    }

    #[test]
    fn books_and_answers_are_known_for_what_they_are() {
        let book = |instrument, snapshot| {
            Event::Book(Book {
                instrument: Some(instrument),
                snapshot,
            })
        };
        is(
            VENUE,
            r#"{"topic":"orderBookL2_25.BTCUSDT","type":"snapshot","data":{"order_book":[{"price":"36385.50","symbol":"BTCUSDT",
                "id":"363855000","side":"Buy","size":6.457}]},"cross_seq":"5737626212","timestamp_e6":"1622543529282954"}"#,
            book("BTCUSDT", true),
        );
        is(
            VENUE,
            r#"{"topic":"orderBook_200.100ms.BTCUSD","type":"delta","data":{"delete":[],"update":[],"insert":[]},"cross_seq":1}"#,
            book("BTCUSD", false),
        );
        is(
            VENUE,
            r#"{"topic":"diffDepth","params":{"symbol":"BTCUSDT"},"data":{"t":1,"b":[],"a":[]}}"#,
            book("BTCUSDT", false),
        );
        is(
            VENUE,
            r#"{"topic":"instrument_info.100ms.BTCUSD","type":"delta","data":{"update":[{"last_price_e4":92915000}]}}"#,
            Event::Ignored {
                kind: "instrument_info",
            },
        );
        let ack = |channel, instrument| Event::Ack(Ack { channel, instrument });
        is(
            VENUE,
            r#"{"success":true,"ret_msg":"","conn_id":"7c4f1e5e","request":{"op":"subscribe","args":["trade.BTCUSD"]}}"#,
            ack(Some("trade"), Some("BTCUSD")),
        );
        is(
            VENUE,
            r#"{"success":true,"ret_msg":"","request":{"op":"subscribe","args":["trade.BTCUSD","trade.EOSUSD"]}}"#,
            ack(None, None),
        );
        is(
            VENUE,
            r#"{"success":true,"ret_msg":"pong","conn_id":"7c4f1e5e","request":{"op":"ping","args":null}}"#,
            Event::Heartbeat,
        );
        is(
            VENUE,
            r#"{"success":false,"ret_msg":"error:topic:trad","conn_id":"7c4f1e5e","request":{"op":"subscribe","args":["trad"]}}"#,
            Event::Error(VenueError {
                code: None,
                message: "error:topic:trad",
                instrument: None,
            }),
        );
        let count = events(
            VENUE,
            r#"{"success":true,"conn_id":"a","data":{"failTopics":["tickers.X"],"successTopics":["tickers.BTC-1JAN30-1-C"]},"type":"COMMAND_RESP"}"#,
            |i, event| match i {
                0 => assert_eq!(event.kind(), "error"),
                _ => assert_eq!(event, ack(Some("tickers"), Some("BTC-1JAN30-1-C"))),
            },
        );
        assert_eq!(count, Ok(2));
        is(
            VENUE,
            r#"{"topic":"depth","event":"sub","params":{"symbol":"BTCUSDT"},"code":"0","msg":"Success"}"#,
            ack(Some("depth"), Some("BTCUSDT")),
        );
        is(
            VENUE,
            r#"{"topic":"depth","event":"sub","params":{"symbol":"NOPE"},"code":"-100010","msg":"Invalid Symbols!"}"#,
            Event::Error(VenueError {
                code: Some("-100010"),
                message: "Invalid Symbols!",
                instrument: Some("NOPE"),
            }),
        );
        is(
            VENUE,
            r#"{"topic":"depth","event":"sub","params":{"symbol":"BTCUSDT","binary":false}}"#,
            Event::Request { method: "sub" },
        );
        is(VENUE, r#"{"pong":1535975085052}"#, Event::Heartbeat);
        is(
            VENUE,
            r#"{"ping":1535975085052}"#,
            Event::Request { method: "ping" },
        );
    }
}
