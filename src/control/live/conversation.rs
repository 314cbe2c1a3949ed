//! Speaks on one connection: does what its session says is due, and gives the desk what comes.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::desk::{Frame, Ticker};
use super::facts::RestResult;
use super::feed::{Feed, Opened, Slot};
use super::rest::Purpose;
use super::socket::Socket;
use crate::limits::FEED_SEND_MS;
use crate::market::feed::Session;
use crate::market::feed::session::{CloseReason, Due};
use crate::market::symbol::MarketId;

/// How a conversation ended.
pub(super) enum Outcome {
    /// The slot carries nothing any more, or another conversation carries it.
    Over,
    /// The connection is gone and the slot needs another.
    Failed {
        /// Whether it ever brought news.
        had_news: bool,
    },
}

/// Frames taken in a row before timers are looked at.
const FRAMES_IN_A_ROW: usize = 64;

/// Speaks until the session ends.
pub(super) async fn run(
    feed: &Rc<Feed>,
    slot: &Rc<Slot>,
    session: &Rc<RefCell<Session>>,
    opened: Opened,
) -> Outcome {
    let Opened {
        mut socket,
        name,
        number,
        ..
    } = opened;
    let reason = talk(feed, slot, session, &mut socket, &name, number).await;
    let had_news = session.borrow().had_news() || slot.is_led_by(number);
    feed.desk.borrow().facts(feed.venue).closed[reason as usize].add(1);
    // What another connection brings stands, be it this one's successor or the one that this was
    // to succeed.
    if reason.discredits_quotes() && !slot.has_another(session) {
        let markets: Vec<_> = session.borrow().instruments().map(|i| i.market).collect();
        feed.desk.borrow_mut().withdraw(feed.venue, markets);
    }
    if reason.is_failure() {
        tracing::warn!(connection = name, reason = reason.name(), "a connection ended");
    } else {
        tracing::debug!(connection = name, reason = reason.name(), "a connection ended");
    }
    // A closing word is courtesy: the other side may be long gone.
    let _ = timeout(Duration::from_millis(FEED_SEND_MS), socket.close(None)).await;
    if matches!(reason, CloseReason::Replaced | CloseReason::NotNeeded) {
        Outcome::Over
    } else {
        Outcome::Failed { had_news }
    }
}

async fn talk(
    feed: &Rc<Feed>,
    slot: &Rc<Slot>,
    session: &Rc<RefCell<Session>>,
    socket: &mut Socket,
    name: &str,
    number: u64,
) -> CloseReason {
    // One look at a time is under way.
    let (vouch, mut vouched) = mpsc::unbounded_channel();
    let mut leads = false;
    loop {
        loop {
            // Looked at after every wait, for nobody who does not wait just then is notified.
            if slot.is_led_by_another(number) {
                session.borrow_mut().on_succession();
            }
            let now_ns = feed.now_ns();
            let Some(due) = session.borrow_mut().poll(now_ns) else {
                break;
            };
            let message = match due {
                Due::Close(reason) => return reason,
                Due::Send(text) => Message::text(text),
                Due::Ping => Message::Ping(Bytes::new()),
                Due::Probe(market) => {
                    probe(feed, session, market, vouch.clone());
                    continue;
                }
                Due::Renew(reason) => {
                    let factor = session.borrow().next_quiet_factor();
                    feed.succeed(slot, reason, factor);
                    continue;
                }
            };
            // A connection whose other side takes nothing fills up and then blocks for ever.
            match timeout(Duration::from_millis(FEED_SEND_MS), socket.send(message)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return fault(&error),
                Err(_) => return CloseReason::Silent,
            }
        }
        let due_ns = session.borrow().next_due_ns();
        let wait = Duration::from_nanos(due_ns.saturating_sub(feed.now_ns()));
        tokio::select! {
            biased;
            // First, for a venue that floods must not keep REST's word from being heard.
            Some(vouches) = vouched.recv() => session.borrow_mut().on_probe(vouches, feed.now_ns()),
            message = socket.next() => {
                let mut message = message;
                let mut left = FRAMES_IN_A_ROW;
                while left > 0 {
                    left -= 1;
                    match message {
                        Some(Ok(message)) => hear(feed, session, name, &message),
                        Some(Err(error)) => return fault(&error),
                        None => return CloseReason::Closed,
                    }
                    match futures_util::FutureExt::now_or_never(socket.next()) {
                        Some(next) => message = next,
                        None => break,
                    }
                }
                if left == 0 {
                    // There is more; the other venues come first.
                    tokio::task::yield_now().await;
                }
            }
            () = slot.changed.notified() => {}
            () = sleep(wait) => {}
        }
        if !leads && session.borrow().is_well() {
            leads = true;
            slot.lead(number);
            feed.worked();
        }
    }
}

fn hear(feed: &Rc<Feed>, session: &Rc<RefCell<Session>>, name: &str, message: &Message) {
    let mut desk = feed.desk.borrow_mut();
    let now_ns = desk.now_ns();
    let session = &mut *session.borrow_mut();
    match message {
        Message::Text(text) => desk.frame(feed.venue, session, name, Frame::Text(text.as_bytes()), now_ns),
        Message::Binary(bytes) => desk.frame(feed.venue, session, name, Frame::Binary(bytes), now_ns),
        // Pings are answered by the library with the next write or read.
        Message::Ping(_) | Message::Pong(_) => session.on_heard(now_ns),
        Message::Close(_) | Message::Frame(_) => {}
    }
}

/// Asks REST about the instrument heard last; only a quote that has not moved vouches, or none at
/// all where none was known: of a market without trades a stream has nothing to tell.
fn probe(
    feed: &Rc<Feed>,
    session: &Rc<RefCell<Session>>,
    market: MarketId,
    vouch: mpsc::UnboundedSender<bool>,
) {
    let said = session.borrow().said().copied();
    let name = session
        .borrow()
        .instruments()
        .find(|instrument| instrument.market == market)
        .map(|instrument| instrument.name.clone());
    let feed = Rc::clone(feed);
    tokio::task::spawn_local(async move {
        let vouches = match name {
            Some(name) => {
                let known = feed.desk.borrow().engine().quote_of(market).is_some();
                match feed.rest.ticker(&name, Purpose::Probe { said }).await {
                    Ok(Ticker::Same) => true,
                    Ok(Ticker::Moved | Ticker::Nothing) | Err(RestResult::Nothing) => !known,
                    _ => false,
                }
            }
            None => false,
        };
        // The conversation may be over by now.
        let _ = vouch.send(vouches);
    });
}

/// What an error of the library means for the connection.
fn fault(error: &Error) -> CloseReason {
    match error {
        Error::Capacity(_) | Error::Protocol(_) | Error::Utf8(_) => CloseReason::Protocol,
        _ => CloseReason::Closed,
    }
}
