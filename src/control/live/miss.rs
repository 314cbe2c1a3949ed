//! Fetches what somebody missed: a symbol without a price, asked of several venues' REST at
//! once, within what is left of the 50 ms in which the asker gets an answer.
//!
//! The board sees to it that a symbol is fetched once however many wait for it. The flight is
//! over when the price is live, when every venue has answered, or when the time is up; answers
//! that come later still warm the market for the next who ask.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use trinity_protocol::PriceStatus;

use super::desk::Desk;
use super::feed::Feed;
use super::rest::Purpose;
use crate::limits::{MISS_FETCH_MS, MISS_VENUES};
use crate::market::symbol::{MarketId, SymbolId, SymbolTable};
use crate::market::venue::VenueId;
use crate::tables::misses::{MissBoard, is_missed};
use crate::tables::prices::SymbolIndex;

/// Rates are looked up through rates no deeper than this.
const MAX_DEPTH: usize = 2;

/// A ticker to be asked for.
struct Ask {
    venue: VenueId,
    market: MarketId,
    instrument: Box<str>,
}

/// Fetches what the board says is wanted, for ever.
pub(super) async fn serve(
    desk: Rc<RefCell<Desk>>,
    feeds: Rc<[Rc<Feed>]>,
    board: Arc<MissBoard>,
    wake: Arc<Notify>,
) {
    loop {
        // Before looking: what is wanted after the look wakes the next round.
        let woken = wake.notified();
        while let Some(symbol) = board.next() {
            let (desk, feeds, board) = (Rc::clone(&desk), Rc::clone(&feeds), Arc::clone(&board));
            tokio::task::spawn_local(fetch(desk, feeds, board, symbol));
        }
        woken.await;
    }
}

async fn fetch(desk: Rc<RefCell<Desk>>, feeds: Rc<[Rc<Feed>]>, board: Arc<MissBoard>, symbol: SymbolIndex) {
    let until = Instant::now() + Duration::from_millis(MISS_FETCH_MS);
    let id = SymbolId(symbol.0);
    let mut pending: FuturesUnordered<_> = {
        let desk = desk.borrow();
        let mut asks = Vec::new();
        collect(&desk, id, &feeds, MAX_DEPTH, &mut asks);
        asks.into_iter()
            .filter_map(|ask| {
                let feed = feeds.iter().find(|feed| feed.venue == ask.venue)?;
                let rest = Rc::clone(&feed.rest);
                Some(async move { rest.ticker(&ask.instrument, Purpose::Miss).await })
            })
            .collect()
    };
    loop {
        match timeout_at(until, pending.next()).await {
            Ok(Some(_)) if status(&desk, id) != PriceStatus::Live => {}
            Ok(_) | Err(_) => break,
        }
    }
    let found = !is_missed(status(&desk, id));
    let now_ns = desk.borrow_mut().now_ns();
    board.finish(symbol, found, now_ns);
    // What comes late is of use to whoever asks next.
    while pending.next().await.is_some() {}
}

fn status(desk: &RefCell<Desk>, id: SymbolId) -> PriceStatus {
    let desk = desk.borrow();
    if (id.0 as usize) < desk.table().len() {
        desk.engine().price(id).status
    } else {
        PriceStatus::NoPrice
    }
}

/// What to ask so that a symbol may have a price: one market of each of its venues, and where
/// that must be converted by a rate that has no price either, what the rate needs.
fn collect(desk: &Desk, id: SymbolId, feeds: &[Rc<Feed>], depth: usize, asks: &mut Vec<Ask>) {
    let table: &SymbolTable = desk.table();
    if id.0 as usize >= table.len() {
        return;
    }
    let mut rates = Vec::new();
    let mut venues = 0;
    for seat in table.seats(id) {
        let asked = feeds.iter().any(|feed| feed.venue == seat.venue);
        let Some(way) = seat.candidates.first().filter(|_| asked && venues < MISS_VENUES) else {
            continue;
        };
        let Some(instrument) = table.market(way.market).spellings.first() else {
            continue;
        };
        venues += 1;
        if asks.iter().all(|ask| ask.market != way.market) {
            asks.push(Ask {
                venue: seat.venue,
                market: way.market,
                instrument: instrument.clone(),
            });
        }
        rates.extend(way.rate);
    }
    rates.sort_unstable();
    rates.dedup();
    for rate in rates {
        if depth > 0 && is_missed(desk.engine().price(rate).status) {
            collect(desk, rate, feeds, depth - 1, asks);
        }
    }
}
