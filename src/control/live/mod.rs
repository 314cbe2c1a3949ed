//! The live market: a feed for every venue, one desk, one thread.
//!
//! ```text
//!  venue sockets ---> conversation ---> desk: parse, judge, aggregate ---> Publisher ---> price tables
//!                       |  ^                ^
//!                 what is due (session)     | tickers
//!                       v                   |
//!                     feed: slots, pace, circuit ---> REST: silent instruments, probes, misses
//! ```
//!
//! Everything here runs on the market thread, on a single-threaded runtime: no frame waits for
//! another thread, and nothing is shared that would need a lock.

mod alone;
mod conversation;
mod desk;
mod facts;
mod feed;
mod http;
mod miss;
mod rest;
pub mod settings;
mod socket;
mod tls;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use self::facts::{RestResult, VenueFacts};
pub use self::settings::{LiveSettings, VenueAddress};

use self::desk::Desk;
use self::feed::Feed;
use self::http::Http;
use self::rest::Rest;
use super::explain::ExplainDesk;
use super::market::Publisher;
use super::ops::Ops;
use super::supervise::random;
use crate::limits::FEED_AGE_MS;
use crate::market::feed::Backoff;
use crate::market::symbol::SymbolTable;
use crate::market::tap::FrameTap;
use crate::tables::misses::MissBoard;

/// What the live market is given.
pub struct LiveParts {
    /// Which venues, and where.
    pub settings: LiveSettings,
    /// The symbols; a new table takes the place of the one before.
    pub tables: watch::Receiver<Arc<SymbolTable>>,
    /// Where prices go.
    pub publisher: Arc<Mutex<Publisher>>,
    /// The board, with a row for each venue of the settings.
    pub ops: Arc<Ops>,
    /// What readers miss, and what wakes when there is something.
    pub misses: (Arc<MissBoard>, Arc<Notify>),
    /// Where explanations are asked for.
    pub explains: Arc<ExplainDesk>,
    /// Who else hears every frame.
    pub tap: Option<Box<dyn FrameTap + Send>>,
    /// Set once, when it is to end.
    pub stop: Arc<AtomicBool>,
}

/// How often the board is written.
const NOTE: Duration = Duration::from_millis(500);

/// Feeds the market until it is told to stop.
pub fn run(parts: &mut LiveParts) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the market's runtime")?;
    let tasks = LocalSet::new();
    let result = tasks.block_on(&runtime, feed_until_stopped(parts));
    drop(tasks);
    // Looking up a name blocks for as long as the system likes, and the end does not wait for it.
    runtime.shutdown_background();
    result
}

async fn feed_until_stopped(parts: &mut LiveParts) -> anyhow::Result<()> {
    let tls = tls::client(parts.settings.extra_roots.as_deref())?;
    let http = Http::new(&tls);
    let table = Arc::clone(&parts.tables.borrow_and_update());
    // The table may be another than the one that the publisher knows: it may have changed while
    // the market lay between two lives.
    parts.publisher.lock().rebuild(&table)?;
    let desk = Rc::new(RefCell::new(Desk::new(
        Arc::clone(&table),
        Arc::clone(&parts.publisher),
        Arc::clone(&parts.ops),
        parts.tap.take(),
    )));
    let feeds: Rc<[_]> = parts
        .settings
        .venues
        .iter()
        .filter_map(|address| {
            let dialect = address.venue.spec().dialect?;
            let rest = Rest::new(
                address.venue,
                dialect,
                address.rest_url.clone(),
                http.clone(),
                Rc::clone(&desk),
            );
            let (desk, tls) = (Rc::clone(&desk), Arc::clone(&tls));
            Some(Rc::new(Feed::new(address, dialect, desk, Rc::new(rest), tls)))
        })
        .collect();
    for feed in &*feeds {
        feed.follow(&table);
        let feed = Rc::clone(feed);
        supervised(format!("{} REST", feed.venue), move || {
            Rc::clone(&feed).poll_silent()
        });
    }
    {
        let (desk, feeds) = (Rc::clone(&desk), Rc::clone(&feeds));
        let (board, wake) = parts.misses.clone();
        supervised("misses".to_owned(), move || {
            miss::serve(
                Rc::clone(&desk),
                Rc::clone(&feeds),
                Arc::clone(&board),
                Arc::clone(&wake),
            )
        });
    }
    let mut ages = interval(Duration::from_millis(FEED_AGE_MS));
    ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut notes = interval(NOTE);
    notes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !parts.stop.load(Ordering::Relaxed) {
        tokio::select! {
            _ = ages.tick() => {
                let mut desk = desk.borrow_mut();
                desk.age();
                desk.explain(&parts.explains);
                if desk.was_set_back() {
                    // Everything that waits for a moment would wait for as long as the clock was
                    // set back: connections, circuits, paces. All of it begins anew.
                    parts.tap = desk.give_back_tap();
                    bail!("the clock was set back");
                }
            }
            _ = notes.tick() => {
                feeds.iter().for_each(|feed| feed.note());
                desk.borrow().tidy();
            }
            Ok(()) = parts.tables.changed(), if parts.tables.has_changed().is_ok() => {
                let table = Arc::clone(&parts.tables.borrow_and_update());
                let replaced = desk.borrow_mut().replace_table(Arc::clone(&table));
                match replaced {
                    Ok(()) => {
                        feeds.iter().for_each(|feed| feed.follow(&table));
                        tracing::info!(symbols = table.len(), "the symbols changed");
                    }
                    Err(error) => tracing::error!(
                        error = format!("{error:#}"),
                        "the new symbols cannot be served; the last ones go on"
                    ),
                }
            }
        }
    }
    parts.explains.dismiss();
    Ok(())
}

/// Runs a task of the market thread for ever: one that panics is begun again, the others do not
/// notice. A task that ends by itself is over.
fn supervised<F: Future<Output = ()> + 'static>(name: String, begin: impl Fn() -> F + 'static) {
    tokio::task::spawn_local(async move {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        while let Err(error) = tokio::task::spawn_local(begin()).await {
            if error.is_cancelled() {
                return;
            }
            tracing::error!(task = name, "task panicked; please report it");
            sleep(backoff.next(random())).await;
        }
    });
}
