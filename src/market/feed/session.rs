//! One connection to a venue: what to say when, and when to give it up.
//!
//! Fed with what happens on the connection and a clock, a session says what is due: a message,
//! a ping, a look at the venue's REST, a successor, the end. It holds no socket and reads no
//! clock.
//!
//! Four watches run on every connection:
//!
//! | watch | strikes | what follows |
//! |---|---|---|
//! | silence: no frame of any kind, though asked for one | [`SILENCE_NS`] | the connection is closed, its quotes are withdrawn |
//! | confirmation: the venue confirms no subscription and sends no quote | [`CONFIRM_NS`] | the connection is closed |
//! | news: frames come (heartbeats, old data), but no quote that says anything new | [`Session::mute_after_ns`] | a look at the venue's REST: if it has moved on or fails, the connection is closed and its quotes are withdrawn; if it vouches for what is known, a successor is opened the next time, and takes over if it has news |
//! | age: the venue cuts connections of a known age | the dialect's `max_life` | a successor is opened before the venue does |
//!
//! The watch on each instrument apart is kept by the engine's record of when a market was last
//! heard; see `control::live`.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::market::quote::Quote;
use crate::market::symbol::MarketId;
use crate::market::venue::dialect::{Dialect, SequenceScope};
use crate::market::venue::{Ack, Event};

/// A connection on which nothing at all was heard for this long, although it was pinged, is dead.
pub const SILENCE_NS: u64 = 10 * SECOND_NS;
/// A connection that was silent for this long is pinged.
pub const IDLE_NS: u64 = 4 * SECOND_NS;
/// How long a venue may take to confirm its first subscription.
pub const CONFIRM_NS: u64 = 10 * SECOND_NS;
/// Longest time without news before a connection is doubted. Two of these and a look at REST
/// must pass within the 15 s in which a mute connection is to be replaced.
pub const MUTE_NS: u64 = 6 * SECOND_NS;
/// How long the look at REST may take.
pub const PROBE_NS: u64 = 2 * SECOND_NS;
/// How long a connection may take to bring what REST knows already.
pub const CATCH_UP_NS: u64 = SECOND_NS;
/// How long a session that has told of its successor goes on without it.
pub const SUCCESSION_NS: u64 = 30 * SECOND_NS;
/// Least time between two subscriptions of one instrument on one connection.
pub const RESUBSCRIBE_NS: u64 = 300 * SECOND_NS;
/// Messages that wait to be sent beyond which a challenge is left unanswered: a venue that asks
/// faster than it lets itself be answered must not fill the memory.
const MAX_OUTBOX: usize = 4_096;
/// A quiet venue's connection, vouched for by REST again and again, is renewed no more often
/// than this many times slower.
const MAX_QUIET_FACTOR: u64 = 32;

const SECOND_NS: u64 = 1_000_000_000;

const _: () = {
    assert!(
        IDLE_NS * 2 < SILENCE_NS,
        "a ping is sent and can be answered before the silence ends"
    );
    assert!(2 * MUTE_NS + PROBE_NS <= 15 * SECOND_NS);
    assert!(CATCH_UP_NS <= PROBE_NS);
};

/// The venues' words for "connect again, this connection is about to end".
const RECONNECT_WORDS: [&str; 4] = [
    "bts:request_reconnect",
    "serverShutdown",
    "request_reconnect",
    "notice",
];

/// An instrument that a connection carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    /// The venue's spelling.
    pub name: Box<str>,
    /// The market it is.
    pub market: MarketId,
    /// Max age of the symbol it prices, nanoseconds.
    pub max_age_ns: u64,
}

/// What is due on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Send this text message.
    Send(String),
    /// Send a WebSocket ping.
    Ping,
    /// Ask the venue's REST for one of the connection's instruments, the one heard last, and tell
    /// [`Session::on_probe`].
    Probe(MarketId),
    /// Open a successor, and close this one when the successor has news.
    Renew(RenewReason),
    /// Close it.
    Close(CloseReason),
}

/// Why a connection gets a successor while it still works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenewReason {
    /// It is about to reach the age at which the venue cuts it off.
    Age,
    /// The venue announces its end.
    VenueAsked,
    /// It has no news, though REST says that there is none.
    Quiet,
}

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Nothing at all was heard.
    Silent,
    /// Frames but no news, and REST knows better or does not answer.
    Mute,
    /// No subscription was confirmed.
    Unconfirmed,
    /// Its successor has taken over.
    Replaced,
    /// A successor was asked for and did not come in time; the venue is about to cut it off.
    Expired,
    /// The venue closed it, or the network did.
    Closed,
    /// What was received is no WebSocket, or too large.
    Protocol,
    /// It carries nothing any more, or the process ends.
    NotNeeded,
}

/// What a connection's sequence number says, where the venue numbers its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The next one, or the venue does not number.
    Next,
    /// So many are missing before it.
    Gap(u64),
    /// It was here before.
    Old,
}

#[derive(Debug)]
struct Carried {
    instrument: Instrument,
    standing: Standing,
    asked_ns: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The subscription was sent, or is about to be.
    Asked,
    Confirmed,
    Refused,
}

/// The conversation on one connection.
#[derive(Debug)]
pub struct Session {
    dialect: &'static Dialect,
    ping_every_ns: Option<u64>,
    carried: Vec<Carried>,
    by_name: HashMap<Box<str>, usize>,
    by_market: HashMap<MarketId, usize>,
    outbox: VecDeque<String>,
    send_from_ns: u64,
    next_id: u64,
    ends_ns: u64,
    heard_ns: u64,
    pinged_ns: u64,
    /// When the last news came; the first subscription's time before any came.
    news_ns: u64,
    had_news: bool,
    /// Until there is news: sequence and venue time of what came and was known already.
    known: HashMap<MarketId, (Option<u64>, Option<u64>)>,
    /// When the first subscription was sent.
    subscribed_ns: Option<u64>,
    doubted_ns: Option<u64>,
    vouched: bool,
    quiet_factor: u64,
    /// Since when a successor is awaited, and why.
    renewing: Option<(u64, RenewReason)>,
    last_heard: Option<MarketId>,
    /// What was said of that market.
    said: Option<Quote>,
    sequence: Option<u64>,
    close: Option<CloseReason>,
}

impl Session {
    /// A session on a connection that has just opened, which subscribes to `instruments`.
    ///
    /// `ping_every` overrides the dialect's where a token's answer says so. `spread` (0 to
    /// `u32::MAX`) shortens the connection's life by up to a tenth, so that connections opened
    /// together do not end together. `quiet_factor` is that of the connection it succeeds, else 1.
    pub fn new(
        dialect: &'static Dialect,
        ping_every: Option<Duration>,
        instruments: Vec<Instrument>,
        now_ns: u64,
        spread: u32,
        quiet_factor: u64,
    ) -> Self {
        let life_ns = dialect.max_life.map_or(u64::MAX, |life| {
            nanos(life.mul_f64(1.0 - 0.1 * f64::from(spread) / f64::from(u32::MAX)))
        });
        let mut session = Self {
            dialect,
            ping_every_ns: ping_every.or(dialect.ping_every).map(nanos),
            carried: Vec::new(),
            by_name: HashMap::new(),
            by_market: HashMap::new(),
            outbox: VecDeque::new(),
            send_from_ns: now_ns.saturating_add(nanos(dialect.settle)),
            next_id: 1,
            ends_ns: now_ns.saturating_add(life_ns),
            heard_ns: now_ns,
            pinged_ns: now_ns,
            news_ns: now_ns,
            had_news: false,
            known: HashMap::new(),
            subscribed_ns: None,
            doubted_ns: None,
            vouched: false,
            quiet_factor: quiet_factor.clamp(1, MAX_QUIET_FACTOR),
            renewing: None,
            last_heard: None,
            said: None,
            sequence: None,
            close: None,
        };
        session.carry(instruments, now_ns);
        session
    }

    /// Subscribes to more instruments; those it carries already are left as they are.
    pub fn carry(&mut self, instruments: Vec<Instrument>, now_ns: u64) {
        let first = self.carried.len();
        for instrument in instruments {
            if self.by_market.contains_key(&instrument.market) {
                continue;
            }
            self.by_name.insert(instrument.name.clone(), self.carried.len());
            self.by_market.insert(instrument.market, self.carried.len());
            self.carried.push(Carried {
                instrument,
                standing: Standing::Asked,
                asked_ns: now_ns,
            });
        }
        let names: Vec<&str> = self.carried[first..]
            .iter()
            .map(|c| &*c.instrument.name)
            .collect();
        if !names.is_empty() {
            let mut messages = Vec::new();
            (self.dialect.subscribe)(&names, self.next_id, &mut messages);
            self.queue(messages);
        }
    }

    /// Ends the subscriptions of these instruments.
    pub fn drop_instruments(&mut self, gone: impl Fn(&Instrument) -> bool) {
        self.unsubscribe(gone);
        if self.carried.is_empty() {
            self.end(CloseReason::NotNeeded);
        }
    }

    fn unsubscribe(&mut self, gone: impl Fn(&Instrument) -> bool) {
        let names: Vec<Box<str>> = self
            .carried
            .iter()
            .filter(|c| gone(&c.instrument))
            .map(|c| c.instrument.name.clone())
            .collect();
        if names.is_empty() {
            return;
        }
        let mut messages = Vec::new();
        let texts: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        (self.dialect.unsubscribe)(&texts, self.next_id, &mut messages);
        self.queue(messages);
        self.carried.retain(|c| !gone(&c.instrument));
        self.index();
    }

    /// Carries just these instruments from now on. What it carries already stays as it is, but
    /// for its market's id and age limit, which may be others in a new table.
    pub fn follow(&mut self, wanted: &[Instrument], now_ns: u64) {
        let find = |name: &str| wanted.iter().find(|instrument| *instrument.name == *name);
        if wanted.is_empty() {
            self.end(CloseReason::NotNeeded);
            return;
        }
        self.unsubscribe(|carried| find(&carried.name).is_none());
        for carried in &mut self.carried {
            if let Some(found) = find(&carried.instrument.name) {
                carried.instrument.clone_from(found);
            }
        }
        self.index();
        self.last_heard = None;
        self.said = None;
        self.carry(wanted.to_vec(), now_ns);
    }

    /// Subscribes anew to one instrument that is silent while the connection is not; tells
    /// whether it did, for that is done seldom.
    pub fn resubscribe(&mut self, market: MarketId, now_ns: u64) -> bool {
        let Some(carried) = self.carried.iter_mut().find(|c| c.instrument.market == market) else {
            return false;
        };
        if now_ns.saturating_sub(carried.asked_ns) < RESUBSCRIBE_NS {
            return false;
        }
        carried.asked_ns = now_ns;
        carried.standing = Standing::Asked;
        let name = carried.instrument.name.clone();
        let mut messages = Vec::new();
        (self.dialect.unsubscribe)(&[&name], self.next_id, &mut messages);
        let used = messages.len() as u64;
        (self.dialect.subscribe)(&[&name], self.next_id + used, &mut messages);
        self.queue(messages);
        true
    }

    /// Instruments it carries.
    pub fn instruments(&self) -> impl ExactSizeIterator<Item = &Instrument> {
        self.carried.iter().map(|c| &c.instrument)
    }

    /// Instruments whose subscription the venue has confirmed, by its word or by a quote.
    pub fn confirmed(&self) -> usize {
        self.standing(Standing::Confirmed)
    }

    /// Instruments that the venue refused.
    pub fn refused(&self) -> usize {
        self.standing(Standing::Refused)
    }

    /// Whether REST is being asked because no news comes.
    pub const fn is_doubted(&self) -> bool {
        self.doubted_ns.is_some()
    }

    /// Whether any news came on it.
    pub const fn had_news(&self) -> bool {
        self.had_news
    }

    /// Whether it brings news and nothing speaks against it.
    pub const fn is_trusted(&self) -> bool {
        self.had_news && self.doubted_ns.is_none() && self.close.is_none()
    }

    /// Whether it works, as far as is known: it brings news, or the venue's REST says that there is none.
    pub const fn is_well(&self) -> bool {
        (self.had_news || self.vouched) && !self.is_doubted()
    }

    /// How much slower than at first a quiet connection is renewed, for its successor.
    pub const fn next_quiet_factor(&self) -> u64 {
        if self.vouched { self.quiet_factor * 2 } else { 1 }
    }

    /// Time without news after which the connection is doubted.
    pub fn mute_after_ns(&self) -> u64 {
        let shortest = self.carried.iter().map(|c| c.instrument.max_age_ns).min();
        (shortest.unwrap_or(u64::MAX) / 3).clamp(SECOND_NS, MUTE_NS)
    }

    /// Anything came: a frame, a ping, a pong.
    pub const fn on_heard(&mut self, now_ns: u64) {
        self.heard_ns = now_ns;
    }

    /// Whether it carries this market.
    pub fn carries(&self, market: MarketId) -> bool {
        self.by_market.contains_key(&market)
    }

    /// A quote of this market was taken: it said something new.
    pub fn on_news(&mut self, market: MarketId, now_ns: u64) {
        self.news_ns = now_ns;
        self.had_news = true;
        self.known.clear();
        self.doubted_ns = None;
        self.vouched = false;
        if let Some(carried) = self.by_market.get(&market).and_then(|i| self.carried.get_mut(*i)) {
            carried.standing = Standing::Confirmed;
            self.last_heard = Some(market);
        }
    }

    /// What the quote was that [`Session::on_news`] told of.
    pub fn remember(&mut self, quote: &Quote) {
        if self.last_heard == Some(quote.market) {
            self.said = Some(*quote);
        }
    }

    /// The last quote of the instrument that a [`Due::Probe`] asks about, if any came on this
    /// connection.
    pub const fn said(&self) -> Option<&Quote> {
        self.said.as_ref()
    }

    /// A quote of this market was turned away because it, or a newer one, is known already.
    ///
    /// While one connection succeeds another both bring the same, and the one that is behind would
    /// never have news. That its quotes move on is enough: what is only repeated does not.
    pub fn on_known(
        &mut self,
        market: MarketId,
        sequence: Option<u64>,
        venue_time_ns: Option<u64>,
        now_ns: u64,
    ) {
        if self.had_news || !self.carries(market) {
            return;
        }
        let told = (sequence, venue_time_ns);
        match self.known.insert(market, told) {
            Some(before) if before.0 < told.0 || before.1 < told.1 => self.on_news(market, now_ns),
            _ => {}
        }
    }

    /// An event of a frame, but for quotes and trades.
    pub fn on_event(&mut self, event: &Event<'_>) {
        match event {
            Event::Ack(Ack { instrument, .. }) => match instrument {
                Some(name) => self.set_standing(name, Standing::Confirmed),
                // The venue names none: it answers messages in their order.
                None => self.confirm_all(),
            },
            Event::Challenge { text } if self.outbox.len() < MAX_OUTBOX => {
                self.outbox.push_front((self.dialect.answer)(text));
            }
            Event::Error(error) => {
                if let Some(name) = error.instrument {
                    self.set_standing(name, Standing::Refused);
                }
            }
            Event::Status { text } if RECONNECT_WORDS.contains(text) => {
                self.ends_ns = 0;
            }
            _ => {}
        }
    }

    /// What a message's number says, where the venue numbers the messages of a connection.
    pub fn on_sequence(&mut self, number: Option<u64>) -> Order {
        if self.numbers_instruments() {
            return Order::Next;
        }
        let Some(number) = number else { return Order::Next };
        let before = self.sequence;
        match before {
            Some(before) if number <= before => Order::Old,
            Some(before) => {
                self.sequence = Some(number);
                match number - before - 1 {
                    0 => Order::Next,
                    missing => Order::Gap(missing),
                }
            }
            None => {
                self.sequence = Some(number);
                Order::Next
            }
        }
    }

    /// Whether a quote's own sequence number means anything beyond this connection.
    pub fn numbers_instruments(&self) -> bool {
        self.dialect.sequence == SequenceScope::Instrument
    }

    /// What REST said when it was asked: `vouches` if it has nothing newer than what the
    /// connection brought.
    pub const fn on_probe(&mut self, vouches: bool, now_ns: u64) {
        if self.doubted_ns.take().is_none() {
            // News came meanwhile.
            return;
        }
        self.vouched = vouches;
        if vouches {
            self.news_ns = now_ns;
        } else {
            // REST may be a moment ahead of a stream that is well: what it knows must come soon.
            self.doubted_ns = Some(now_ns.saturating_add(CATCH_UP_NS).saturating_sub(PROBE_NS));
        }
    }

    /// The successor has news, or there is none to come.
    pub const fn on_succession(&mut self) {
        self.close = Some(CloseReason::Replaced);
    }

    /// Ends the session.
    pub fn end(&mut self, reason: CloseReason) {
        self.close.get_or_insert(reason);
    }

    /// What is due at `now_ns`, one thing at a time; `None` until [`Session::next_due_ns`].
    pub fn poll(&mut self, now_ns: u64) -> Option<Due> {
        if let Some(reason) = self.close {
            return Some(Due::Close(reason));
        }
        if now_ns >= self.send_from_ns
            && let Some(message) = self.outbox.pop_front()
        {
            self.send_from_ns = now_ns.saturating_add(nanos(self.dialect.message_gap));
            self.subscribed_ns.get_or_insert(now_ns);
            // A venue that is asked for one instrument after the other has until the last was asked for.
            if !self.had_news {
                self.news_ns = now_ns;
            }
            return Some(Due::Send(message));
        }
        if now_ns >= self.heard_ns.saturating_add(SILENCE_NS) {
            return Some(self.closing(CloseReason::Silent));
        }
        if let Some(due) = self.watch_news(now_ns) {
            return Some(due);
        }
        match self.renewing {
            Some((since_ns, reason)) if now_ns >= since_ns.saturating_add(SUCCESSION_NS) => {
                if reason != RenewReason::Quiet {
                    return Some(self.closing(CloseReason::Expired));
                }
                // A fresh connection has no news either: the market is quiet, and this one is as
                // good as any.
                self.renewing = None;
                self.quiet_factor = (self.quiet_factor * 2).min(MAX_QUIET_FACTOR);
            }
            _ => {}
        }
        if now_ns >= self.ends_ns && !self.is_about_to_end() {
            let reason = if self.ends_ns == 0 {
                RenewReason::VenueAsked
            } else {
                RenewReason::Age
            };
            self.renewing = Some((now_ns, reason));
            return Some(Due::Renew(reason));
        }
        if now_ns >= self.ping_due_ns() {
            self.pinged_ns = now_ns;
            let id = self.next_id;
            self.next_id += 1;
            return Some(self.dialect.ping.map_or(Due::Ping, |ping| Due::Send(ping(id))));
        }
        None
    }

    /// When to poll again, at the latest.
    pub fn next_due_ns(&self) -> u64 {
        if self.close.is_some() {
            return 0;
        }
        let mut due = self.heard_ns.saturating_add(SILENCE_NS).min(self.ping_due_ns());
        if !self.outbox.is_empty() {
            due = due.min(self.send_from_ns);
        }
        if let Some((since_ns, _)) = self.renewing {
            due = due.min(since_ns.saturating_add(SUCCESSION_NS));
        }
        if !self.is_about_to_end() {
            due = due.min(self.ends_ns);
        }
        due.min(self.news_due_ns())
    }

    /// Whether a successor is awaited because the connection will not last.
    const fn is_about_to_end(&self) -> bool {
        matches!(
            self.renewing,
            Some((_, RenewReason::Age | RenewReason::VenueAsked))
        )
    }

    fn index(&mut self) {
        let places = || self.carried.iter().enumerate();
        self.by_name = places().map(|(i, c)| (c.instrument.name.clone(), i)).collect();
        self.by_market = places().map(|(i, c)| (c.instrument.market, i)).collect();
    }

    fn watch_news(&mut self, now_ns: u64) -> Option<Due> {
        let subscribed_ns = self.subscribed_ns?;
        if self.unconfirmed() && now_ns >= subscribed_ns.saturating_add(CONFIRM_NS) {
            return Some(self.closing(CloseReason::Unconfirmed));
        }
        if now_ns < self.news_due_ns() {
            return None;
        }
        if self.doubted_ns.is_some() {
            // REST did not answer in time, or knew what did not come.
            return Some(self.closing(CloseReason::Mute));
        }
        if self.vouched && self.renewing.is_none() {
            self.renewing = Some((now_ns, RenewReason::Quiet));
            return Some(Due::Renew(RenewReason::Quiet));
        }
        let market = self
            .last_heard
            .or_else(|| Some(self.carried.first()?.instrument.market))?;
        self.doubted_ns = Some(now_ns);
        Some(Due::Probe(market))
    }

    fn news_due_ns(&self) -> u64 {
        if self.subscribed_ns.is_none() {
            return u64::MAX;
        }
        if let Some(doubted_ns) = self.doubted_ns {
            return doubted_ns.saturating_add(PROBE_NS);
        }
        let patience = if self.vouched { self.quiet_factor } else { 1 };
        let news_due = self
            .news_ns
            .saturating_add(self.mute_after_ns().saturating_mul(patience));
        match self.subscribed_ns {
            Some(at) if self.unconfirmed() => news_due.min(at.saturating_add(CONFIRM_NS)),
            _ => news_due,
        }
    }

    fn ping_due_ns(&self) -> u64 {
        let idle = self.heard_ns.max(self.pinged_ns).saturating_add(IDLE_NS);
        match self.ping_every_ns {
            Some(every) => idle.min(self.pinged_ns.saturating_add(every)),
            None => idle,
        }
    }

    fn unconfirmed(&self) -> bool {
        let standing = |c: &Carried| c.standing == Standing::Asked;
        self.dialect.confirms && !self.had_news && self.carried.iter().all(standing)
    }

    fn closing(&mut self, reason: CloseReason) -> Due {
        self.close = Some(reason);
        Due::Close(reason)
    }

    fn queue(&mut self, messages: Vec<String>) {
        self.next_id += messages.len() as u64;
        self.outbox.extend(messages);
    }

    fn standing(&self, standing: Standing) -> usize {
        self.carried.iter().filter(|c| c.standing == standing).count()
    }

    fn set_standing(&mut self, name: &str, standing: Standing) {
        if let Some(carried) = self.by_name.get(name).and_then(|i| self.carried.get_mut(*i)) {
            carried.standing = standing;
        }
    }

    fn confirm_all(&mut self) {
        for carried in &mut self.carried {
            if carried.standing == Standing::Asked {
                carried.standing = Standing::Confirmed;
            }
        }
    }
}

impl CloseReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Silent,
        Self::Mute,
        Self::Unconfirmed,
        Self::Replaced,
        Self::Expired,
        Self::Closed,
        Self::Protocol,
        Self::NotNeeded,
    ];

    /// Name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Mute => "mute",
            Self::Unconfirmed => "unconfirmed",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::NotNeeded => "not_needed",
        }
    }

    /// Whether what the connection brought is no longer to be believed.
    pub const fn discredits_quotes(self) -> bool {
        matches!(self, Self::Silent | Self::Mute)
    }

    /// Whether the venue or the network failed, rather than this side having chosen the end.
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Replaced | Self::NotNeeded)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
