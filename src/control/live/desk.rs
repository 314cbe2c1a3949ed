//! Where quotes from all feeds meet: parsed, judged by the engine, published.
//!
//! The desk lives on the market thread together with the feeds, so that a frame becomes a
//! visible price without changing threads: read, parse, admit, aggregate, publish.

use std::cell::Cell;
use std::sync::Arc;

use parking_lot::Mutex;

use super::facts::VenueFacts;
use super::rest::Purpose;
use crate::clock;
use crate::control::explain::ExplainDesk;
use crate::control::market::Publisher;
use crate::control::ops::Ops;
use crate::limits::FEED_LOGGED_ERRORS;
use crate::market::engine::MarketEngine;
use crate::market::feed::Session;
use crate::market::feed::session::Order;
use crate::market::quote::{AggregatedPrice, Quote, RejectReason};
use crate::market::symbol::{MarketId, SymbolId, SymbolTable};
use crate::market::tap::{FrameTap, TapFrame};
use crate::market::venue::dialect::Admission;
use crate::market::venue::{Event, EventKind, Invalid, Parser, VENUES, VenueError, VenueId};

/// A wall clock that was set back by more than this begins the market anew: the ages of what is
/// known are not known any more. A smaller step is waited out.
const MAX_STEP_BACK_NS: u64 = 2_000_000_000;

/// The desk.
pub(super) struct Desk {
    engine: MarketEngine,
    publisher: Arc<Mutex<Publisher>>,
    parser: Parser,
    ops: Arc<Ops>,
    tap: Option<Box<dyn FrameTap + Send>>,
    changed: Vec<(SymbolId, AggregatedPrice)>,
    last_ns: u64,
    was_set_back: bool,
    /// By venue: the minute in which errors were last logged, and how many.
    logged: [(u64, u32); VENUES.len()],
}

/// A frame as it came.
#[derive(Clone, Copy)]
pub(super) enum Frame<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// What a REST ticker came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ticker {
    /// A quote that says the same as what was known.
    Same,
    /// A quote that differs, or the first.
    Moved,
    /// No price, or no such instrument.
    Nothing,
    /// The venue says that it is asked too often, in an answer that passes for a success.
    Limited,
    /// Not understood.
    Garbled(Invalid),
}

impl Desk {
    pub(super) fn new(
        table: Arc<SymbolTable>,
        publisher: Arc<Mutex<Publisher>>,
        ops: Arc<Ops>,
        tap: Option<Box<dyn FrameTap + Send>>,
    ) -> Self {
        Self {
            engine: MarketEngine::new(table),
            publisher,
            parser: Parser::new(),
            ops,
            tap,
            changed: Vec::new(),
            last_ns: 0,
            was_set_back: false,
            logged: [(0, 0); VENUES.len()],
        }
    }

    /// The market's clock, Unix nanoseconds: the wall clock, but never behind itself.
    pub(super) fn now_ns(&mut self) -> u64 {
        let wall_ns = clock::unix_nanos();
        if wall_ns.saturating_add(MAX_STEP_BACK_NS) < self.last_ns {
            tracing::warn!(
                seconds = (self.last_ns - wall_ns) / 1_000_000_000,
                "the clock was set back: every quote is forgotten and the market begins anew"
            );
            self.engine.reset_for_new_pass();
            self.last_ns = wall_ns;
            self.was_set_back = true;
        }
        self.last_ns = self.last_ns.max(wall_ns);
        self.last_ns
    }

    /// Whether the clock was set back so far that the market must begin anew.
    pub(super) const fn was_set_back(&self) -> bool {
        self.was_set_back
    }

    /// Who else hears every frame, for the desk that comes after this one.
    pub(super) fn give_back_tap(&mut self) -> Option<Box<dyn FrameTap + Send>> {
        self.tap.take()
    }

    pub(super) fn engine(&self) -> &MarketEngine {
        &self.engine
    }

    pub(super) fn table(&self) -> &Arc<SymbolTable> {
        self.engine.table()
    }

    /// A venue's row on the board.
    pub(super) fn facts(&self, venue: VenueId) -> &VenueFacts {
        facts(&self.ops, venue)
    }

    /// A connection has opened that will carry these markets. Their numbers may start over, and
    /// what it tells first counts even if it is what was known.
    pub(super) fn connected(
        &mut self,
        venue: VenueId,
        connection: &str,
        markets: impl IntoIterator<Item = MarketId>,
        now_ns: u64,
    ) {
        self.forget_sequences(markets);
        if let Some(tap) = &mut self.tap {
            tap.connected(now_ns, venue, connection);
        }
    }

    /// The subscriptions of these markets begin anew.
    pub(super) fn forget_sequences(&mut self, markets: impl IntoIterator<Item = MarketId>) {
        for market in markets {
            self.engine.forget_sequences_of(market);
        }
    }

    /// Takes a frame that arrived at `now_ns`, and makes what it changes visible.
    pub(super) fn frame(
        &mut self,
        venue: VenueId,
        session: &mut Session,
        connection: &str,
        frame: Frame<'_>,
        now_ns: u64,
    ) {
        let Self {
            engine,
            parser,
            ops,
            tap,
            logged,
            ..
        } = self;
        let facts = facts(ops, venue);
        facts.last_frame_ns.set(now_ns);
        session.on_heard(now_ns);
        if let Some(tap) = tap {
            let raw = match frame {
                Frame::Text(text) => TapFrame::Text(text),
                Frame::Binary(bytes) => TapFrame::Binary(bytes),
            };
            tap.frame(now_ns, venue, connection, raw);
        }
        let mut took = false;
        let number = Cell::new(None);
        let mut order = None;
        let mut sink = |event: Event<'_>| {
            // A message is judged by its number once, before the first thing that it says.
            let order = *order.get_or_insert_with(|| session.on_sequence(number.get()));
            facts.events[event.what() as usize].add(1);
            match &event {
                Event::Quote(_) | Event::Trade(_) if order == Order::Old => {
                    facts.rejected[RejectReason::Duplicate as usize].add(1);
                }
                Event::Quote(_) | Event::Trade(_) => {
                    took |= quoted(engine, facts, session, venue, &event, now_ns);
                }
                Event::Invalid { invalid, .. } => facts.invalid[invalid.reason as usize].add(1),
                Event::Error(error) => {
                    log_error(venue, error, &mut logged[venue.index()], now_ns);
                    session.on_event(&event);
                }
                _ => session.on_event(&event),
            }
        };
        let parsed = match frame {
            Frame::Text(text) => parser.parse_numbered(venue, text, &number, &mut sink),
            Frame::Binary(bytes) => parser.parse_binary(venue, bytes, &mut sink),
        };
        if let Err(invalid) = parsed {
            facts.events[EventKind::Invalid as usize].add(1);
            facts.invalid[invalid.reason as usize].add(1);
        }
        if let Some(Order::Gap(missing)) = order {
            facts.missing.add(missing);
        }
        if took {
            facts.last_news_ns.set(now_ns);
            self.tick(now_ns);
            let visible_ns = clock::unix_nanos().saturating_sub(now_ns);
            self.facts(venue).visible.record(visible_ns, 1);
        }
    }

    /// Takes the body of the REST ticker of an instrument that was asked for at `asked_ns`.
    pub(super) fn ticker(
        &mut self,
        venue: VenueId,
        instrument: &str,
        body: &[u8],
        purpose: Purpose,
        asked_ns: u64,
    ) -> Ticker {
        let now_ns = self.now_ns();
        // It may have been retired, or its market numbered anew, since it was asked for.
        let table = self.engine.table();
        let Some(market) = table.market_by_spelling(venue, instrument) else {
            return Ticker::Nothing;
        };
        let before = self.engine.quote_of(market).copied();
        let mut told: Option<Quote> = None;
        let (mut garbled, mut limited) = (None, false);
        let parsed = self
            .parser
            .parse_rest(venue, body, Some(instrument), &mut |event| match event {
                // An answer about another instrument must not pass for it.
                Event::Quote(quote)
                    if told.is_none()
                        && table.market_by_spelling(venue, quote.instrument) == Some(market) =>
                {
                    told = Some(Quote::from_ticker(&quote, market, now_ns));
                }
                Event::Invalid { invalid, .. } => garbled = garbled.or(Some(invalid)),
                Event::Error(error) => limited |= asks_for_rest(&error),
                _ => {}
            });
        if limited {
            return Ticker::Limited;
        }
        if let Err(invalid) = parsed {
            return Ticker::Garbled(invalid);
        }
        let Some(quote) = told else {
            return garbled.map_or(Ticker::Nothing, Ticker::Garbled);
        };
        let trades_time = venue
            .spec()
            .dialect
            .is_some_and(|dialect| dialect.tickers_tell_trades_time);
        let quote = Quote {
            venue_time_ns: quote.venue_time_ns.filter(|_| !trades_time),
            // Its numbers, where it has any, are not those of the stream.
            sequence: None,
            fetched: purpose == Purpose::Miss,
            ..quote
        };
        // What was heard meanwhile is at least as new as this, which nothing dates.
        if before.is_none_or(|before| before.receive_time_ns <= asked_ns) {
            let taken = self.engine.on_quote(&quote);
            let facts = self.facts(venue);
            match taken {
                Ok(()) => facts.taken.add(1),
                Err(reason) => facts.rejected[reason as usize].add(1),
            }
            self.tick(now_ns);
        }
        let known = match purpose {
            Purpose::Probe { said } => said.or(before),
            Purpose::Poll | Purpose::Miss => before,
        };
        let same = known.is_some_and(|known| known.prices_like(&quote));
        if same { Ticker::Same } else { Ticker::Moved }
    }

    /// Reads the answer to a request for a token.
    pub(super) fn admission(&mut self, venue: VenueId, body: &[u8], id: u64) -> Result<Admission, Invalid> {
        self.parser.parse_token(venue, body, id)
    }

    /// Tidies up what readers have let go of.
    pub(super) fn tidy(&self) {
        self.publisher.lock().tidy();
    }

    /// Takes quotes of these markets out of the price: their connection is not to be believed.
    pub(super) fn withdraw(&mut self, venue: VenueId, markets: impl IntoIterator<Item = MarketId>) {
        let mut count = 0;
        for market in markets {
            count += u64::from(self.engine.withdraw(market));
        }
        self.facts(venue).withdrawn.add(count);
        let now_ns = self.now_ns();
        self.tick(now_ns);
    }

    /// Lets age limits strike.
    pub(super) fn age(&mut self) {
        let now_ns = self.now_ns();
        self.ops.market.last_tick_ns.set(now_ns);
        if now_ns >= self.engine.next_check_ns() {
            self.tick(now_ns);
        }
    }

    /// Explains what is asked for.
    pub(super) fn explain(&mut self, asked: &ExplainDesk) {
        let now_ns = self.now_ns();
        asked.serve(&self.engine, &self.publisher.lock(), now_ns);
    }

    /// Goes over to another table.
    pub(super) fn replace_table(&mut self, table: Arc<SymbolTable>) -> anyhow::Result<()> {
        self.publisher.lock().rebuild(&table)?;
        self.engine.replace_table(table);
        let now_ns = self.now_ns();
        self.tick(now_ns);
        Ok(())
    }

    /// Evaluates what has news and publishes what changed.
    pub(super) fn tick(&mut self, now_ns: u64) {
        let Self { engine, changed, .. } = self;
        engine.tick(now_ns, &mut |symbol, price| changed.push((symbol, *price)));
        if self.changed.is_empty() {
            return;
        }
        let mut publisher = self.publisher.lock();
        for (symbol, price) in self.changed.drain(..) {
            publisher.publish(symbol, &price, now_ns, now_ns);
        }
    }
}

/// A quote or trade of a stream; whether it was taken.
fn quoted(
    engine: &mut MarketEngine,
    facts: &VenueFacts,
    session: &mut Session,
    venue: VenueId,
    event: &Event<'_>,
    now_ns: u64,
) -> bool {
    let (instrument, quote) = match event {
        Event::Quote(told) => (told.instrument, Quote::from_ticker(told, MarketId(0), now_ns)),
        // What is sent as history is no news.
        Event::Trade(trade) if !trade.snapshot => {
            (trade.instrument, Quote::from_trade(trade, MarketId(0), now_ns))
        }
        _ => return false,
    };
    let market = engine.table().market_by_spelling(venue, instrument);
    // What was not asked for on this connection is not taken from it.
    let Some(market) = market.filter(|market| session.carries(*market)) else {
        facts.rejected[RejectReason::UnknownMarket as usize].add(1);
        return false;
    };
    let sequence = quote.sequence.filter(|_| session.numbers_instruments());
    let venue_time_ns = quote.venue_time_ns;
    let quote = Quote {
        market,
        sequence,
        ..quote
    };
    match engine.on_quote(&quote) {
        Ok(()) => {
            facts.taken.add(1);
            session.on_news(market, now_ns);
            session.remember(&quote);
            true
        }
        Err(reason) => {
            facts.rejected[reason as usize].add(1);
            if reason.is_known_already() {
                session.on_known(market, sequence, venue_time_ns, now_ns);
            }
            false
        }
    }
}

/// Whether an error means "too many requests": Kraken's `EAPI:Rate limit exceeded`, Bybit's
/// 10006, KuCoin's 429000, OKX's 50011 and their like, all of which may come with HTTP status 200.
fn asks_for_rest(error: &VenueError<'_>) -> bool {
    matches!(
        error.code,
        Some("10006" | "10018" | "429000" | "50011" | "42901" | "-1003")
    ) || error.message.contains("ate limit")
        || error.message.contains("oo many")
}

/// Logs what a venue reports, but no flood of it: a venue that refuses a hundred instruments says
/// so a hundred times.
fn log_error(venue: VenueId, error: &VenueError<'_>, logged: &mut (u64, u32), now_ns: u64) {
    let minute = now_ns / 60_000_000_000;
    if logged.0 != minute {
        *logged = (minute, 0);
    }
    logged.1 = logged.1.saturating_add(1);
    if logged.1 <= FEED_LOGGED_ERRORS {
        tracing::warn!(
            %venue,
            code = error.code,
            error = error.message,
            instrument = error.instrument,
            "the venue reports an error"
        );
        if logged.1 == FEED_LOGGED_ERRORS {
            tracing::warn!(%venue, "further errors of this minute are counted, not logged");
        }
    }
}

fn facts(ops: &Ops, venue: VenueId) -> &VenueFacts {
    ops.market
        .venues
        .iter()
        .find(|facts| facts.venue == venue)
        .expect("the board has a row for every venue that is fed from")
}
