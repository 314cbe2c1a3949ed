//! The desk where HTTP workers ask the market why a price is what it is.
//!
//! What explains a price lives in the engine, and the engine belongs to the market's thread. A
//! worker leaves a request and waits without blocking; the market serves the desk between two of
//! its rounds. The queue is bounded, and whoever waits for too long gives up by himself.

mod json;

use std::sync::Arc;
use std::thread::{self, Thread};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use tokio::sync::oneshot;

use super::market::Publisher;
use crate::limits::EXPLAIN_QUEUE;
use crate::market::MarketEngine;
use crate::market::symbol::SymbolId;
use crate::shard::web::Explains;
use crate::tables::prices::SymbolIndex;

/// Requests on one side, the market on the other.
#[derive(Debug)]
pub struct ExplainDesk {
    waiting: ArrayQueue<ExplainRequest>,
    /// The market's thread, to be woken; it is another one after a restart.
    market: ArcSwapOption<Thread>,
}

/// Somebody waits for an explanation.
#[derive(Debug)]
pub struct ExplainRequest {
    symbol: SymbolId,
    answer: oneshot::Sender<Bytes>,
}

impl Default for ExplainDesk {
    fn default() -> Self {
        Self {
            waiting: ArrayQueue::new(EXPLAIN_QUEUE),
            market: ArcSwapOption::empty(),
        }
    }
}

impl ExplainDesk {
    /// A desk at which nobody serves yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The calling thread serves from now on: it is unparked for every request.
    pub fn attach(&self) {
        self.market.store(Some(Arc::new(thread::current())));
    }

    /// Explains what is asked for, from an engine whose clock shows `market_ns`; sequences are
    /// those that the publisher gave. Returns at once when nobody asks, and after a queue's worth
    /// of answers otherwise, so that explaining cannot keep the market from its quotes.
    pub fn serve(&self, engine: &MarketEngine, publisher: &Publisher, market_ns: u64) {
        for _ in 0..EXPLAIN_QUEUE {
            let Some(request) = self.waiting.pop() else { return };
            // Nobody listens to what comes too late.
            if request.answer.is_closed() || request.symbol.0 as usize >= engine.table().len() {
                continue;
            }
            let explanation = engine.explain_at(request.symbol, market_ns);
            let text = json::write(engine, &explanation, publisher.sequence(request.symbol));
            let _ = request.answer.send(text.into());
        }
    }

    /// Sends everybody away: the market ends.
    pub fn dismiss(&self) {
        self.market.store(None);
        while self.waiting.pop().is_some() {}
    }
}

impl Explains for ExplainDesk {
    fn ask(&self, symbol: SymbolIndex) -> Option<oneshot::Receiver<Bytes>> {
        let (answer, explanation) = oneshot::channel();
        let request = ExplainRequest {
            symbol: SymbolId(symbol.0),
            answer,
        };
        self.waiting.push(request).ok()?;
        if let Some(market) = &*self.market.load() {
            market.unpark();
        }
        Some(explanation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::market::SymbolTable;
    use crate::market::replay::Speed;
    use crate::tables::prices::PriceWriter;

    fn market() -> (MarketEngine, Publisher) {
        let table = Arc::new(SymbolTable::builtin());
        let names = Arc::new(crate::control::market::names(&table).expect("distinct"));
        let publisher = Publisher::new(PriceWriter::new(&names, 1).0, &table, Speed::Fast);
        (MarketEngine::new(table), publisher)
    }

    #[test]
    fn whoever_asks_is_answered_and_whoever_asks_beyond_the_queue_is_refused_at_once() {
        let (engine, publisher) = market();
        let desk = ExplainDesk::new();
        let mut waiting: Vec<_> = (0..EXPLAIN_QUEUE as u32)
            .map(|i| desk.ask(SymbolIndex(i % 3)).expect("there is room"))
            .collect();
        assert!(desk.ask(SymbolIndex(0)).is_none());
        // One of them has given up, one asks for what the market does not know.
        drop(waiting.pop());
        desk.serve(&engine, &publisher, 7);
        for (i, answer) in waiting.iter_mut().enumerate() {
            let text = answer.try_recv().expect("answered");
            let json: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let name = engine.table().symbol(SymbolId(i as u32 % 3)).name;
            assert_eq!(json["symbol"], name.as_str());
        }
        let mut unknown = desk.ask(SymbolIndex(u32::MAX)).expect("there is room");
        desk.serve(&engine, &publisher, 7);
        assert!(unknown.try_recv().is_err());
    }

    #[test]
    fn a_request_wakes_the_market_and_its_end_sends_everybody_away() {
        let (engine, publisher) = market();
        let desk = Arc::new(ExplainDesk::new());
        let (ready, attached) = std::sync::mpsc::channel();
        let served = Arc::clone(&desk);
        let thread = thread::spawn(move || {
            served.attach();
            ready.send(()).expect("somebody waits");
            // An unpark that came first makes this return at once; it may also return without.
            while served.waiting.is_empty() {
                thread::park();
            }
            served.serve(&engine, &publisher, 1);
            served.dismiss();
        });
        attached.recv().expect("it attached");
        let answer = desk.ask(SymbolIndex(0)).expect("there is room");
        assert!(answer.blocking_recv().is_ok());
        thread.join().expect("it ends");
        let mut late = desk.ask(SymbolIndex(0)).expect("there is room");
        assert!(late.try_recv().is_err());
        desk.dismiss();
        assert_eq!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
