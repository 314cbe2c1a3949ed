//! Bybit: WebSocket v5 (`orderbook.1.BTCUSDT`), and v1 to v3 as old recordings have them.
//!
//! | field | unit, form |
//! |---|---|
//! | prices, sizes | decimal strings; v2 has JSON numbers too; sizes of inverse contracts are US dollars |
//! | time of a quote | `cts`: when the matching engine made it, else `ts`: when the message was made; Unix milliseconds |
//! | time of a trade | `T`: Unix milliseconds; v2 `trade_time_ms`, v3 spot `t` |
//! | quote sequence | `seq` of `orderbook`, `cs` of `tickers`: one and the same count of a symbol's matching engine |
//! | trade sequence | `i` where it is a number (spot); contracts have UUIDs |
//! | `S` of a trade | the taker's: `Buy`, `Sell` |
//! | levels of a book | `[price, size]`, best first |
//! | history | v5 sends none: `"type":"snapshot"` stands in every `publicTrade` message and marks nothing; v1 marks it by `f` |
//!
//! `seq` rises with every message of a symbol. `u` does not: level 1 repeats it when it sends the
//! unchanged book again after 3 seconds, and it begins anew at 1 when the service restarts.
//!
//! Level 1 (`orderbook.1.*`) sends whole books only, so each is a quote as well. `tickers` of spot
//! have the last price alone; those of contracts are a snapshot and then changes, of which most
//! bear no price. A last price alone bears no sequence, for trades are numbered otherwise.

mod live;
mod old;

pub(super) use live::{DIALECT, parse_rest};

use super::json::Json;
use super::{Ack, Book, Event, Invalid, Reason, Side, Sink, VenueError, VenueQuote, field};
use field::TradeFields;

pub(super) fn parse(frame: Json<'_>, sink: &mut Sink<'_>) -> Result<(), Invalid> {
    if let Some(topic) = frame.get_string("topic") {
        push(frame, topic, sink);
    } else if let Some(op) = frame.get_string("op") {
        sink(answer(frame, Some(op)));
    } else if frame.get("success").and_then(Json::boolean).is_some() {
        old::answer(frame, sink);
    } else if frame.get("pong").is_some() {
        sink(Event::Heartbeat);
    } else if frame.get("ping").is_some() {
        sink(Event::Request { method: "ping" });
    } else {
        return live::body(frame, None, sink);
    }
    Ok(())
}

/// The answer to a request, in the three shapes there are, or the request itself.
fn answer<'f>(frame: Json<'f>, op: Option<&'f str>) -> Event<'f> {
    let message = frame.get_string("ret_msg").or_else(|| frame.get_string("retMsg"));
    if op == Some("pong") || message == Some("pong") {
        return Event::Heartbeat;
    }
    let code = frame.get("retCode").and_then(Json::text);
    let success = frame.get("success").and_then(Json::boolean);
    match (success.or(code.map(|code| code == "0")), op) {
        (Some(true), _) => {
            let (channel, instrument) = old::requested(frame);
            Event::Ack(Ack { channel, instrument })
        }
        (None, Some(method)) => Event::Request { method },
        _ => Event::Error(VenueError {
            code,
            message: message.unwrap_or_default(),
            instrument: None,
        }),
    }
}

fn push<'f>(frame: Json<'f>, topic: &'f str, sink: &mut Sink<'_>) {
    if let Some(event) = frame.get_string("event") {
        return sink(old::said(frame, topic, event));
    }
    let Some(data) = frame.get("data") else {
        return field::emit(sink, None, Err(Invalid::field("data", Reason::MissingField)));
    };
    let (kind, rest) = topic.split_once('.').unwrap_or((topic, ""));
    let message = Message {
        frame,
        data,
        // Levels, intervals and markets stand between the kind and the symbol.
        symbol: rest.rsplit('.').next().filter(|symbol| !symbol.is_empty()),
        delta: frame.get_string("type") == Some("delta"),
    };
    match kind {
        "orderbook" => message.orderbook(rest.split('.').next() == Some("1"), sink),
        "tickers" | "realtimes" => message.each(kind, sink, Message::ticker),
        "publicTrade" | "trade" => message.each(kind, sink, Message::any_trade),
        "bookTicker" | "bookticker" => {
            message.each(kind, sink, |_, element, symbol| old::book_ticker(element, symbol));
        }
        "orderBookL2_25" | "orderBook_200" | "depth" | "diffDepth" | "mergedDepth" => {
            sink(Event::Book(Book {
                instrument: message.owner(data).ok(),
                snapshot: !message.delta && kind != "diffDepth",
            }));
        }
        _ => sink(Event::Ignored { kind }),
    }
}

/// A message with a topic and data.
#[derive(Clone, Copy)]
struct Message<'f> {
    frame: Json<'f>,
    data: Json<'f>,
    /// The symbol in the topic; v1 has it in `params`.
    symbol: Option<&'f str>,
    delta: bool,
}

impl<'f> Message<'f> {
    /// Whose element it is: `s` in most, `symbol` in `tickers` and v2, else as the topic says.
    fn owner(&self, element: Json<'f>) -> Result<&'f str, Invalid> {
        let name = if element.get("s").is_some() { "s" } else { "symbol" };
        match field::instrument(element, name) {
            Err(invalid) if invalid.reason == Reason::MissingField => self
                .symbol
                .or_else(|| self.frame.get("params")?.get_string("symbol"))
                .filter(|symbol| !symbol.is_empty())
                .ok_or(invalid),
            known => known,
        }
    }

    fn one(
        &self,
        element: Json<'f>,
        sink: &mut Sink<'_>,
        read: impl FnOnce(&Self, Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
    ) {
        match self.owner(element) {
            Ok(symbol) => field::emit(sink, Some(symbol), read(self, element, symbol)),
            Err(invalid) => field::emit(sink, None, Err(invalid)),
        }
    }

    /// Reads the one object or every element of the array that the data are.
    fn each(
        &self,
        kind: &'f str,
        sink: &mut Sink<'_>,
        read: impl Fn(&Self, Json<'f>, &'f str) -> Result<Event<'f>, Invalid>,
    ) {
        if self.data.is_object() {
            return self.one(self.data, sink, read);
        }
        if !self.data.is_array() {
            let invalid = Invalid::field("data", Reason::WrongType);
            return field::emit(sink, self.symbol, Err(invalid));
        }
        for element in self.data.elements() {
            self.one(element, sink, &read);
        }
        if self.data.elements().left() == 0 {
            sink(Event::Ignored { kind });
        }
    }

    fn orderbook(&self, best: bool, sink: &mut Sink<'_>) {
        sink(Event::Book(Book {
            instrument: self.owner(self.data).ok(),
            snapshot: !self.delta,
        }));
        if best && !self.delta {
            self.one(self.data, sink, |message, _, symbol| message.best(symbol));
        }
    }

    fn best(&self, symbol: &'f str) -> Result<Event<'f>, Invalid> {
        let mut quote = VenueQuote::new(symbol);
        for (name, value) in self.data.members() {
            match name {
                "b" => (quote.bid, quote.bid_size) = field::best(value, "b")?,
                "a" => (quote.ask, quote.ask_size) = field::best(value, "a")?,
                "seq" => quote.sequence = field::id(value),
                _ => {}
            }
        }
        quote.venue_time_ns = self.time()?;
        quote.priced().map(Event::Quote)
    }

    fn time(&self) -> Result<Option<u64>, Invalid> {
        let stamp = |name| {
            self.frame
                .get(name)
                .map_or(Ok(None), |value| field::unix_millis(value, name))
        };
        Ok(stamp("cts")?.or(stamp("ts")?))
    }

    fn ticker(&self, element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
        let mut quote = VenueQuote::new(symbol);
        let priced = read_ticker(element, &mut quote)?;
        if self.delta && !priced {
            return Ok(Event::Ignored { kind: "tickers" });
        }
        if quote.bid.is_some() || quote.ask.is_some() {
            quote.sequence = self.frame.get("cs").and_then(field::id);
        }
        // Spot of v1 has its time in the element.
        quote.venue_time_ns = match (self.time()?, element.get("t")) {
            (None, Some(time)) => field::unix_millis(time, "t")?,
            (time, _) => time,
        };
        quote.priced().map(Event::Quote)
    }

    /// The three generations name a trade's fields differently; `v` is a size in one, an id in
    /// another.
    fn any_trade(&self, element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
        if element.get("price").is_some() {
            old::contract_trade(element, symbol)
        } else if element.get("q").is_some() {
            // Spot of v1 marks the first message after a subscription: it is history.
            let first = self.frame.get("f").and_then(Json::boolean) == Some(true);
            old::spot_trade(element, symbol, first)
        } else {
            trade(element, symbol)
        }
    }
}

/// Reads a ticker of the stream or of REST, and tells whether it has a field of a price at all.
fn read_ticker(element: Json<'_>, quote: &mut VenueQuote<'_>) -> Result<bool, Invalid> {
    let mut priced = false;
    for (name, value) in element.members() {
        match name {
            "bid1Price" => quote.bid = field::price(value, "bid1Price")?,
            "ask1Price" => quote.ask = field::price(value, "ask1Price")?,
            // Options and the spot tickers of v3.
            "bidPrice" => quote.bid = field::price(value, "bidPrice")?,
            "askPrice" => quote.ask = field::price(value, "askPrice")?,
            "lastPrice" => quote.last = field::price(value, "lastPrice")?,
            "c" => quote.last = field::price(value, "c")?,
            "bid1Size" => quote.bid_size = field::size(value, "bid1Size")?,
            "bidSize" => quote.bid_size = field::size(value, "bidSize")?,
            "ask1Size" => quote.ask_size = field::size(value, "ask1Size")?,
            "askSize" => quote.ask_size = field::size(value, "askSize")?,
            _ => {}
        }
        priced |= matches!(
            name,
            "bid1Price" | "ask1Price" | "bidPrice" | "askPrice" | "lastPrice" | "c"
        );
    }
    Ok(priced)
}

fn trade<'f>(element: Json<'f>, symbol: &'f str) -> Result<Event<'f>, Invalid> {
    let mut trade = TradeFields::new(false);
    for (name, value) in element.members() {
        match name {
            "p" => trade.read_price(value, "p")?,
            "v" => trade.size = field::size(value, "v")?,
            "T" => trade.venue_time_ns = field::unix_millis(value, "T")?,
            "i" => trade.sequence = field::id(value),
            "S" => trade.side = value.string().and_then(taker_side),
            _ => {}
        }
    }
    trade.finish(symbol, "p").map(Event::Trade)
}

fn taker_side(text: &str) -> Option<Side> {
    match text {
        "Buy" => Some(Side::Buy),
        "Sell" => Some(Side::Sell),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
