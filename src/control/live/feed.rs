//! One venue's feed: its instruments spread over connections, each kept open, succeeded before
//! it ends, and backed by the venue's REST.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::conversation::{self, Outcome};
use super::desk::{Desk, Ticker};
use super::facts::RestResult;
use super::rest::{Purpose, Rest};
use super::settings::VenueAddress;
use super::socket::{self, Refused, Socket};
use super::supervised;
use crate::control::supervise::random;
use crate::limits::{FEED_BACKOFF_MS, FEED_LONELY_BACKOFF_MS, FEED_SETTLED_MS, FEED_UNKNOWN_MS};
use crate::market::feed::session::{Instrument, RESUBSCRIBE_NS, RenewReason};
use crate::market::feed::{Backoff, Breaker, BreakerState, Session};
use crate::market::symbol::{MarketId, SymbolTable};
use crate::market::venue::VenueId;
use crate::market::venue::dialect::Dialect;

/// One venue.
pub(super) struct Feed {
    pub(super) venue: VenueId,
    pub(super) dialect: &'static Dialect,
    pub(super) desk: Rc<RefCell<Desk>>,
    pub(super) rest: Rc<Rest>,
    stream_url: String,
    tls: Arc<ClientConfig>,
    breaker: RefCell<Breaker>,
    /// When the venue's pace allows the next connection, Unix nanoseconds.
    connect_ns: Cell<u64>,
    slots: RefCell<Vec<Rc<Slot>>>,
    names: Cell<u64>,
    polled: RefCell<HashMap<MarketId, Polled>>,
}

/// When REST was last asked for a market.
#[derive(Clone, Copy, Default)]
struct Polled {
    asked_ns: u64,
    /// Whether it had nothing to say of it.
    in_vain: bool,
}

impl Polled {
    /// Whether a market is to be asked for: the part of its symbol's max age, in thousandths, that
    /// has passed since it was last heard or asked for, if its silence has used up half of the max
    /// age and so has the time since it was asked for.
    fn overdue(self, heard_ns: Option<u64>, max_age_ns: u64, now_ns: u64) -> Option<u64> {
        let part = |since_ns: u64| now_ns.saturating_sub(since_ns).saturating_mul(1_000) / max_age_ns.max(1);
        let heard_ns = heard_ns.unwrap_or(0);
        let may_ask = if self.in_vain {
            now_ns.saturating_sub(self.asked_ns) >= UNKNOWN_NS
        } else {
            part(self.asked_ns) >= 500
        };
        (part(heard_ns) >= 500 && may_ask).then(|| part(heard_ns.max(self.asked_ns)))
    }
}

/// Instruments that share a connection.
pub(super) struct Slot {
    /// What it should carry now.
    wanted: RefCell<Vec<Instrument>>,
    /// The conversations that carry it: one, or two while one succeeds the other.
    sessions: RefCell<Vec<Weak<RefCell<Session>>>>,
    /// Number of the newest conversation that was found well.
    leader: Cell<u64>,
    /// Whether a successor is under way that does not lead yet. One at a time: in a market that
    /// is silent altogether none of them has news, and each would ask for the next.
    succeeding: Cell<bool>,
    /// Something changed that a conversation should look at.
    pub(super) changed: Notify,
}

/// A connection that has opened, and how to speak on it.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) ping_every: Option<Duration>,
    pub(super) name: String,
    pub(super) number: u64,
}

/// Pause between two looks for instruments that are silent.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// A connection that lived for this long without news, while others of its venue have some, is
/// likely to carry what is not traded there any more.
const LONELY_MS: u64 = 1_000;
const UNKNOWN_NS: u64 = FEED_UNKNOWN_MS * 1_000_000;
/// A stream's instrument that REST found moved this often while it was silent is subscribed anew.
const MOVED_POLLS: u32 = 2;

impl Slot {
    fn new() -> Self {
        Self {
            wanted: RefCell::default(),
            sessions: RefCell::default(),
            leader: Cell::new(0),
            succeeding: Cell::new(false),
            changed: Notify::new(),
        }
    }

    /// Whether a later conversation than this brings news.
    pub(super) fn is_led_by_another(&self, number: u64) -> bool {
        self.leader.get() > number
    }

    /// Whether this conversation is the newest that was found well.
    pub(super) fn is_led_by(&self, number: u64) -> bool {
        self.leader.get() == number
    }

    /// A conversation is well: it brings news, or there is none.
    pub(super) fn lead(&self, number: u64) {
        if number > self.leader.get() {
            self.leader.set(number);
            self.succeeding.set(false);
            self.changed.notify_waiters();
        }
    }

    fn is_empty(&self) -> bool {
        self.wanted.borrow().is_empty()
    }

    /// Whether a conversation other than this one brings news that nothing speaks against.
    pub(super) fn has_another(&self, session: &Rc<RefCell<Session>>) -> bool {
        let sessions = self.sessions.borrow();
        let mut others = sessions.iter().filter_map(Weak::upgrade);
        others.any(|other| !Rc::ptr_eq(&other, session) && other.borrow().is_trusted())
    }

    fn join(&self, session: &Rc<RefCell<Session>>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.retain(|session| session.strong_count() > 0);
        sessions.push(Rc::downgrade(session));
    }

    fn each_session(&self, mut visit: impl FnMut(&mut Session)) {
        for session in self.sessions.borrow().iter().filter_map(Weak::upgrade) {
            visit(&mut session.borrow_mut());
        }
    }
}

impl Feed {
    pub(super) fn new(
        address: &VenueAddress,
        dialect: &'static Dialect,
        desk: Rc<RefCell<Desk>>,
        rest: Rc<Rest>,
        tls: Arc<ClientConfig>,
    ) -> Self {
        Self {
            venue: address.venue,
            dialect,
            desk,
            rest,
            stream_url: address.stream_url.clone(),
            tls,
            breaker: RefCell::default(),
            connect_ns: Cell::new(0),
            slots: RefCell::default(),
            names: Cell::new(0),
            polled: RefCell::default(),
        }
    }

    /// Carries what the table says this venue trades, and nothing else. Market ids of an older
    /// table are gone for good after this call.
    pub(super) fn follow(self: &Rc<Self>, table: &SymbolTable) {
        let mut wanted: HashMap<Box<str>, Instrument> = table
            .markets()
            .filter(|(_, market)| market.venue == self.venue)
            .filter(|(_, market)| {
                let symbol = table.symbol(market.symbol);
                symbol.streamed && !symbol.retired
            })
            .filter_map(|(id, market)| {
                let name = market.spellings.first()?.clone();
                let max_age_ns = u64::from(table.symbol(market.symbol).max_age_ms) * 1_000_000;
                let instrument = Instrument {
                    name: name.clone(),
                    market: id,
                    max_age_ns,
                };
                Some((name, instrument))
            })
            .collect();
        let total = wanted.len();
        self.polled.borrow_mut().clear();
        let most = self.dialect.instruments_per_connection;
        let mut slots = self.slots.borrow_mut();
        for slot in &*slots {
            // What stays keeps its connection; its market may have another id now.
            slot.wanted.borrow_mut().retain_mut(|carried| {
                let found = wanted.remove(&carried.name);
                if let Some(found) = &found {
                    *carried = found.clone();
                }
                found.is_some()
            });
        }
        let mut left: Vec<Instrument> = wanted.into_values().collect();
        // The order decides who shares a connection; it must not be a hash's.
        left.sort_by_key(|instrument| instrument.market);
        let mut left = left.into_iter().peekable();
        let mut begun = Vec::new();
        for slot in &*slots {
            let mut carried = slot.wanted.borrow_mut();
            while carried.len() < most
                && !carried.is_empty()
                && let Some(instrument) = left.next()
            {
                carried.push(instrument);
            }
        }
        while left.peek().is_some() {
            let slot = Rc::new(Slot::new());
            slot.wanted.borrow_mut().extend(left.by_ref().take(most));
            begun.push(slot);
        }
        for slot in &*slots {
            let carried = slot.wanted.borrow();
            let now_ns = self.now_ns();
            slot.each_session(|session| session.follow(&carried, now_ns));
            slot.changed.notify_waiters();
        }
        slots.retain(|slot| !slot.is_empty());
        slots.extend(begun.iter().cloned());
        let desk = self.desk.borrow();
        let facts = desk.facts(self.venue);
        facts.instruments.set(total as u64);
        facts.connections_wanted.set(slots.len() as u64);
        drop(desk);
        for slot in begun {
            let feed = Rc::clone(self);
            supervised(format!("{} connection", self.venue), move || {
                Rc::clone(&feed).keep(Rc::clone(&slot))
            });
        }
    }

    /// Writes what its connections are up to on the board.
    pub(super) fn note(&self) {
        let (mut up, mut confirmed, mut refused) = (0, 0, 0);
        let mut seen = false;
        for slot in &*self.slots.borrow() {
            slot.each_session(|session| {
                up += 1;
                confirmed += session.confirmed();
                refused += session.refused();
                seen |= session.is_well();
            });
        }
        let mut desk = self.desk.borrow_mut();
        let now_ns = desk.now_ns();
        let facts = desk.facts(self.venue);
        facts.connections_up.set(up);
        facts.confirmed.set(confirmed as u64);
        facts.refused.set(refused as u64);
        if seen {
            facts.down_since_ns.set(0);
        } else if facts.is_up() {
            facts.down_since_ns.set(now_ns);
        }
    }

    /// Keeps a slot connected until it carries nothing, or another conversation has taken over.
    async fn keep(self: Rc<Self>, slot: Rc<Slot>) {
        let (first, most) = FEED_BACKOFF_MS;
        let mut backoff = Backoff::new(Duration::from_millis(first), Duration::from_millis(most));
        let (first, most) = FEED_LONELY_BACKOFF_MS;
        let mut lonely = Backoff::new(Duration::from_millis(first), Duration::from_millis(most));
        while let Some(opened) = self.open(&slot).await {
            let began_ns = self.now_ns();
            let mut lonely_now = false;
            match opened {
                Ok(opened) => match self.converse(opened, &slot, 1).await {
                    Outcome::Over => return,
                    Outcome::Failed { had_news } => {
                        let lived_ms = self.now_ns().saturating_sub(began_ns) / 1_000_000;
                        if had_news && lived_ms >= FEED_SETTLED_MS {
                            backoff.reset();
                        }
                        if had_news {
                            lonely.reset();
                        } else {
                            // It may be the slot's instruments that the venue no longer has: that
                            // must not keep the others from connecting.
                            let works = self.brings_news();
                            if !works {
                                self.failed();
                            }
                            // One that was cut off at once says nothing of its instruments.
                            lonely_now = works && lived_ms >= LONELY_MS;
                        }
                    }
                },
                Err(refused) => self.refused(&refused),
            }
            let waits = if lonely_now { &mut lonely } else { &mut backoff };
            sleep(waits.next(random())).await;
        }
    }

    /// Whether any of its connections brings news.
    fn brings_news(&self) -> bool {
        let mut any = false;
        for slot in &*self.slots.borrow() {
            slot.each_session(|session| any |= session.is_trusted());
        }
        any
    }

    /// A conversation on a fresh connection; whether the slot is in other hands at its end.
    async fn converse(self: &Rc<Self>, opened: Opened, slot: &Rc<Slot>, quiet_factor: u64) -> Outcome {
        let instruments = slot.wanted.borrow().clone();
        if instruments.is_empty() {
            // It lost them while it connected, and nobody would ever end the conversation.
            return Outcome::Over;
        }
        let markets: Vec<_> = instruments.iter().map(|instrument| instrument.market).collect();
        let session = Rc::new(RefCell::new(Session::new(
            self.dialect,
            opened.ping_every,
            instruments,
            self.now_ns(),
            random(),
            quiet_factor,
        )));
        slot.join(&session);
        let now_ns = self.now_ns();
        self.desk
            .borrow_mut()
            .connected(self.venue, &opened.name, markets, now_ns);
        conversation::run(self, slot, &session, opened).await
    }

    /// Opens a successor for a slot and lets it take over when it has news. It is tried once, and
    /// one at a time: if it fails, the connection it was to succeed goes on to its end.
    pub(super) fn succeed(self: &Rc<Self>, slot: &Rc<Slot>, reason: RenewReason, quiet_factor: u64) {
        if slot.succeeding.replace(true) {
            return;
        }
        tracing::debug!(venue = %self.venue, ?reason, "a connection gets a successor");
        let (feed, slot) = (Rc::clone(self), Rc::clone(slot));
        let begun = Cell::new(false);
        supervised(format!("{} successor", self.venue), move || {
            let (feed, slot) = (Rc::clone(&feed), Rc::clone(&slot));
            // Whatever it panicked on, the slot must not be left without a keeper. Should it have
            // another, the two make out between them who leads.
            let again = begun.replace(true);
            async move {
                if again {
                    slot.succeeding.set(false);
                    feed.keep(slot).await;
                } else {
                    feed.try_to_succeed(slot, quiet_factor).await;
                }
            }
        });
    }

    async fn try_to_succeed(self: Rc<Self>, slot: Rc<Slot>, quiet_factor: u64) {
        match self.open(&slot).await {
            Some(Ok(opened)) => {
                let number = opened.number;
                let outcome = self.converse(opened, &slot, quiet_factor).await;
                if slot.leader.get() < number {
                    slot.succeeding.set(false);
                }
                // Whoever leads keeps the slot.
                if matches!(outcome, Outcome::Failed { .. }) && slot.leader.get() == number {
                    self.keep(slot).await;
                }
            }
            Some(Err(refused)) => {
                slot.succeeding.set(false);
                self.refused(&refused);
            }
            None => slot.succeeding.set(false),
        }
    }

    /// Opens a connection for a slot, when the venue's pace and the circuit allow; that may take
    /// minutes. `None` once the slot carries nothing.
    async fn open(&self, slot: &Slot) -> Option<Result<Opened, Refused>> {
        loop {
            if slot.is_empty() {
                return None;
            }
            let now_ns = self.now_ns();
            let gap_ns = u64::try_from(self.dialect.connect_gap.as_nanos()).unwrap_or(u64::MAX);
            let from_ns = self.connect_ns.get();
            if now_ns < from_ns {
                sleep(Duration::from_nanos(from_ns - now_ns)).await;
                continue;
            }
            let admitted = self.breaker.borrow_mut().admit(now_ns);
            if !admitted {
                let until_ns = self.breaker.borrow().opens_at_ns();
                // Another connection's try may be under way: look again soon.
                let wait_ns = until_ns.saturating_sub(now_ns).max(100_000_000);
                sleep(Duration::from_nanos(wait_ns)).await;
                continue;
            }
            self.connect_ns.set(now_ns + gap_ns);
            return Some(self.connect().await);
        }
    }

    async fn connect(&self) -> Result<Opened, Refused> {
        let number = self.names.get() + 1;
        self.names.set(number);
        let name = format!("{}-{number}", self.venue);
        let (url, ping_every) = if self.dialect.token.is_some() {
            let admission = self.rest.admission(number).await.map_err(Refused::new)?;
            (admission.url, Some(admission.ping_every))
        } else {
            (self.stream_url.clone(), None)
        };
        let socket = socket::open(&url, &self.tls, self.now_ns()).await?;
        tracing::debug!(connection = name, "connected");
        Ok(Opened {
            socket,
            ping_every,
            name,
            number,
        })
    }

    /// A conversation brought news: the venue works.
    pub(super) fn worked(&self) {
        let now_ns = self.now_ns();
        let mut breaker = self.breaker.borrow_mut();
        if breaker.state(now_ns) != BreakerState::Closed {
            tracing::info!(venue = %self.venue, "the venue works again");
        }
        breaker.succeeded();
        self.desk.borrow().facts(self.venue).stream_open_until_ns.set(0);
    }

    fn refused(&self, refused: &Refused) {
        self.desk.borrow().facts(self.venue).connect_failures.add(1);
        tracing::warn!(venue = %self.venue, why = refused.why, "cannot connect");
        let now_ns = self.now_ns();
        match refused.rest {
            Some(rest) => {
                let mut breaker = self.breaker.borrow_mut();
                breaker.told_to_rest(now_ns, rest);
                self.note_breaker(&breaker, 1);
            }
            None => self.failed(),
        }
    }

    fn failed(&self) {
        let now_ns = self.now_ns();
        let mut breaker = self.breaker.borrow_mut();
        let trips = breaker.trips();
        breaker.failed(now_ns, random());
        let tripped = breaker.trips() - trips;
        self.note_breaker(&breaker, tripped);
        if tripped > 0 {
            let seconds = breaker.opens_at_ns().saturating_sub(now_ns) / 1_000_000_000;
            tracing::warn!(venue = %self.venue, seconds, "the venue is not connected to for now");
        }
    }

    fn note_breaker(&self, breaker: &Breaker, tripped: u64) {
        let desk = self.desk.borrow();
        let facts = desk.facts(self.venue);
        facts.stream_open_until_ns.set(breaker.opens_at_ns());
        facts.trips.add(tripped);
    }

    /// Asks REST for whatever the streams are silent about: an instrument that alone is silent,
    /// or all of them while there is no connection. The most overdue comes first.
    pub(super) async fn poll_silent(self: Rc<Self>) {
        let mut moved: HashMap<Box<str>, u32> = HashMap::new();
        loop {
            let now_ns = self.now_ns();
            let wait_ns = self.rest.free_ns().saturating_sub(now_ns);
            sleep(POLL_PAUSE.max(Duration::from_nanos(wait_ns))).await;
            let now_ns = self.now_ns();
            if !self.rest.is_open(now_ns) {
                continue;
            }
            let Some((slot, instrument)) = self.most_overdue(now_ns) else {
                continue;
            };
            let mut polled = Polled {
                asked_ns: now_ns,
                in_vain: false,
            };
            self.polled.borrow_mut().insert(instrument.market, polled);
            match self.rest.ticker(&instrument.name, Purpose::Poll).await {
                Ok(Ticker::Moved) => {
                    let times = moved.entry(instrument.name.clone()).or_default();
                    *times += 1;
                    if *times >= MOVED_POLLS {
                        moved.remove(&instrument.name);
                        self.resubscribe(&slot, &instrument.name);
                    }
                }
                Ok(Ticker::Same) => {
                    moved.remove(&instrument.name);
                }
                Ok(Ticker::Nothing) | Err(RestResult::Nothing) => {
                    polled.in_vain = true;
                    self.polled.borrow_mut().insert(instrument.market, polled);
                }
                // A miss was faster; it is still this one's turn.
                Err(RestResult::NotAsked) => {
                    self.polled.borrow_mut().remove(&instrument.market);
                }
                _ => {}
            }
        }
    }

    /// The instrument that most needs to be asked for.
    fn most_overdue(&self, now_ns: u64) -> Option<(Rc<Slot>, Instrument)> {
        let desk = self.desk.borrow();
        let engine = desk.engine();
        let polled = self.polled.borrow();
        let mut worst: Option<(u64, Rc<Slot>, Instrument)> = None;
        for slot in &*self.slots.borrow() {
            for instrument in &*slot.wanted.borrow() {
                // What is not believed any more counts as never heard.
                let heard_ns = engine
                    .last_heard_ns(instrument.market)
                    .filter(|_| !engine.is_withdrawn(instrument.market));
                let polled = polled.get(&instrument.market).copied().unwrap_or_default();
                if let Some(part) = polled.overdue(heard_ns, instrument.max_age_ns, now_ns)
                    && worst.as_ref().is_none_or(|(most, ..)| part > *most)
                {
                    worst = Some((part, Rc::clone(slot), instrument.clone()));
                }
            }
        }
        worst.map(|(_, slot, instrument)| (slot, instrument))
    }

    fn resubscribe(&self, slot: &Rc<Slot>, instrument: &str) {
        const _: () = assert!(RESUBSCRIBE_NS >= 60_000_000_000, "a venue must not be pestered");
        let now_ns = self.now_ns();
        // Its market may be numbered anew since it was asked for.
        let market = self
            .desk
            .borrow()
            .table()
            .market_by_spelling(self.venue, instrument);
        let Some(market) = market else { return };
        let mut any = false;
        slot.each_session(|session| any |= session.resubscribe(market, now_ns));
        if any {
            self.desk.borrow_mut().forget_sequences([market]);
            self.desk.borrow().facts(self.venue).resubscribed.add(1);
            slot.changed.notify_waiters();
        }
    }

    pub(super) fn now_ns(&self) -> u64 {
        self.desk.borrow_mut().now_ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_795_000_000 * SECOND;
    const MAX_AGE: u64 = 60 * SECOND;

    /// Asked for so many seconds ago.
    fn polled(ago_s: u64, in_vain: bool) -> Polled {
        Polled {
            asked_ns: NOW - ago_s * SECOND,
            in_vain,
        }
    }

    #[test]
    fn a_silent_market_is_asked_for_at_half_its_max_age_and_again_after_another_half() {
        let heard = |ago_s: u64| Some(NOW - ago_s * SECOND);
        let never = Polled::default();
        assert_eq!(never.overdue(heard(29), MAX_AGE, NOW), None);
        assert_eq!(never.overdue(heard(30), MAX_AGE, NOW), Some(500));
        assert_eq!(polled(29, false).overdue(heard(90), MAX_AGE, NOW), None);
        assert_eq!(polled(30, false).overdue(heard(90), MAX_AGE, NOW), Some(500));
    }

    #[test]
    fn what_was_never_heard_or_is_not_believed_is_asked_for_at_once_and_then_no_faster() {
        let part = Polled::default().overdue(None, MAX_AGE, NOW);
        assert!(
            part.is_some_and(|part| part > 1_000_000),
            "before all others: {part:?}"
        );
        assert_eq!(polled(29, false).overdue(None, MAX_AGE, NOW), None);
        assert_eq!(polled(45, false).overdue(None, MAX_AGE, NOW), Some(750));
    }

    #[test]
    fn what_rest_does_not_know_is_left_alone_for_longer() {
        let rest_s = UNKNOWN_NS / SECOND;
        assert_eq!(polled(rest_s - 1, true).overdue(None, MAX_AGE, NOW), None);
        assert!(polled(rest_s, true).overdue(None, MAX_AGE, NOW).is_some());
    }
}
