//! Cores that miss one symbol at once, and the control plane that fetches it: one flight, one place
//! in the queue, and whoever sees the flight's end sees what it brought.
//!
//! The queue itself is crossbeam's, on the processor's atomics: between loom's switches its calls
//! are single steps.

use std::sync::Arc;

use loom::thread;
use trinity_loom::tables::misses::{Arrival, Awaited, MissBoard, Ticket, Want};
use trinity_loom::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};
use trinity_protocol::{PriceStatus, Symbol};

const NOW_NS: u64 = 1_700_000_000_000_000_000;
const SYMBOL: SymbolIndex = SymbolIndex(0);

fn board() -> Arc<MissBoard> {
    Arc::new(MissBoard::with_room(1, 2, || {}))
}

fn joined(want: Want) -> Ticket {
    match want {
        Want::Joined(ticket) => ticket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cores_that_miss_one_symbol_at_once_share_one_flight() {
    loom::model(|| {
        let board = board();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let board = Arc::clone(&board);
                thread::spawn(move || joined(board.want(SYMBOL, NOW_NS)))
            })
            .collect();
        let mine = joined(board.want(SYMBOL, NOW_NS));
        for other in others {
            assert_eq!(other.join().expect("the other core ends"), mine);
        }
        assert_eq!((board.next(), board.next()), (Some(SYMBOL), None));
        assert_eq!(board.flights(), 1);
    });
}

#[test]
fn whoever_sees_the_end_of_a_flight_sees_what_it_brought() {
    loom::model(|| {
        let names = SymbolNames::new(vec![Symbol::new("BTC-USD").expect("a symbol")], &[]);
        let (mut writer, mut copies) = PriceWriter::new(&Arc::new(names.expect("one name")), 1);
        let prices = copies.remove(0).load_full();
        let board = board();
        let awaited = Awaited {
            ticket: joined(board.want(SYMBOL, NOW_NS)),
            max_age_ms: 0,
        };
        let control = thread::spawn({
            let board = Arc::clone(&board);
            move || {
                let live = PriceRecord {
                    status: PriceStatus::Live,
                    quality: PriceStatus::Live,
                    age_origin_ns: NOW_NS,
                    max_age_ms: 1_000,
                    hard_age_ms: 1_000,
                    ..PriceRecord::NONE
                };
                let symbol = board.next().expect("it is wanted");
                writer.publish(symbol, live);
                board.finish(symbol, true, NOW_NS);
            }
        });
        assert_ne!(board.arrival(awaited, &prices, NOW_NS), Arrival::Nothing);
        control.join().expect("the control plane ends");
        assert_eq!(board.arrival(awaited, &prices, NOW_NS), Arrival::Fresh);
    });
}

/// A flight that ends while another core wants the symbol: that core joins it or is told that it
/// was just fetched, and nothing is left in the queue that is not on its way.
#[test]
fn the_end_of_a_flight_and_a_new_want_do_not_lose_each_other() {
    loom::model(|| {
        let board = board();
        let first = joined(board.want(SYMBOL, NOW_NS));
        let other = thread::spawn({
            let board = Arc::clone(&board);
            move || board.want(SYMBOL, NOW_NS)
        });
        let symbol = board.next().expect("it is wanted");
        board.finish(symbol, false, NOW_NS);
        let want = other.join().expect("the other core ends");
        assert!(want == Want::Joined(first) || want == Want::Nothing, "{want:?}");
        assert!(board.is_over(first));
        assert_eq!(board.next(), None);
    });
}
