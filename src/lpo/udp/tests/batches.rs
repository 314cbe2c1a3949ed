//! A batch is answered as its datagrams would be one by one.

use super::*;
use crate::limits::METER_REQUEST_ROWS;
use crate::tables::counters::Counter;

/// What a batch is made of.
#[derive(Clone, Debug)]
enum Piece {
    /// Requests under a key, of one session, with rising counters from the first on.
    Train {
        key_id: u64,
        session: u32,
        first: u32,
        count: u32,
        entries: usize,
    },
    /// One of the requests so far, once more.
    Repeat(prop::sample::Index),
    /// One of them with a bit flipped.
    Flipped(prop::sample::Index, u16),
    /// With a clock that is out of its window.
    Late {
        key_id: u64,
        session: u32,
        counter: u32,
    },
    /// SUBSCRIBE, which is not served.
    Reserved {
        session: u32,
        counter: u32,
    },
    Ping,
    Garbage(Vec<u8>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let key = prop_oneof![
        6 => Just(1_u64),
        3 => Just(3),
        1 => Just(2),
        1 => Just(4),
        3 => Just(NETWORK),
        1 => Just(HTTP_ONLY),
    ];
    let counter = prop_oneof![0_u32..40, 3_000_u32..3_010];
    prop_oneof![
        8 => (key.clone(), 0_u32..3, counter.clone(), 1_u32..30, prop_oneof![Just(1_usize), Just(2), Just(31)])
            .prop_map(|(key_id, session, first, count, entries)| {
                Piece::Train { key_id, session, first, count, entries }
            }),
        2 => any::<prop::sample::Index>().prop_map(Piece::Repeat),
        2 => (any::<prop::sample::Index>(), any::<u16>()).prop_map(|(i, bit)| Piece::Flipped(i, bit)),
        1 => (key, 0_u32..3, counter.clone())
            .prop_map(|(key_id, session, counter)| Piece::Late { key_id, session, counter }),
        1 => (0_u32..3, counter).prop_map(|(session, counter)| Piece::Reserved { session, counter }),
        1 => Just(Piece::Ping),
        1 => proptest::collection::vec(any::<u8>(), 0..100).prop_map(Piece::Garbage),
    ]
}

/// A time at which key 3 is usable, too.
const THEN: u64 = NOW - 1;
const SYMBOLS: [&str; 3] = ["BTC-USD", "ETH-USD", "NOPE"];

fn datagrams(server: &Server, pieces: Vec<Piece>) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Train {
                key_id,
                session,
                first,
                count,
                entries,
            } => {
                for counter in first..first + count {
                    let symbols: Vec<_> = (0..entries)
                        .map(|i| SYMBOLS[(i + counter as usize) % 3])
                        .collect();
                    let id = RequestId::new(session, counter);
                    datagrams.push(server.request(key_id, id, THEN, &symbols));
                }
            }
            Piece::Repeat(which) if !datagrams.is_empty() => datagrams.push(which.get(&datagrams).clone()),
            Piece::Flipped(which, bit) if !datagrams.is_empty() => {
                let mut flipped = which.get(&datagrams).clone();
                let bits = (flipped.len() * 8).max(1);
                if let Some(byte) = flipped.get_mut(usize::from(bit) % bits / 8) {
                    *byte ^= 1 << (bit % 8);
                }
                datagrams.push(flipped);
            }
            Piece::Repeat(_) | Piece::Flipped(..) => {}
            Piece::Late {
                key_id,
                session,
                counter,
            } => {
                let id = RequestId::new(session, counter);
                datagrams.push(server.request(key_id, id, THEN - CLOCK_WINDOW_NS - 1, &["BTC-USD"]));
            }
            Piece::Reserved { session, counter } => {
                let head = RequestHead {
                    key_id: KeyId(1),
                    request_id: RequestId::new(session, counter),
                    lane: 0,
                    clock_ns: THEN,
                };
                let key = Some(&server.mac.request);
                datagrams.push(
                    encode_control_request(&mut [0; MAX_DATAGRAM], Kind::Subscribe, head, key).to_vec(),
                );
            }
            Piece::Ping => {
                let head = RequestHead {
                    key_id: KeyId(0),
                    request_id: ID,
                    lane: 0,
                    clock_ns: 0,
                };
                datagrams
                    .push(encode_control_request(&mut [0; MAX_DATAGRAM], Kind::Ping, head, None).to_vec());
            }
            Piece::Garbage(bytes) => datagrams.push(bytes),
        }
    }
    datagrams.truncate(BATCH_MESSAGES);
    datagrams
}

/// The order in which a batch is answered: what names no key first, then train after train, in the
/// order of their first requests.
fn order(datagrams: &[Vec<u8>]) -> Vec<usize> {
    let mut trains: Vec<((u64, usize), Vec<usize>)> = Vec::new();
    let mut order = Vec::new();
    for (i, datagram) in datagrams.iter().enumerate() {
        match RequestView::parse(datagram) {
            Ok(view) if view.kind() != Kind::Ping => {
                let like = (view.key_id().0, view.entries().len());
                match trains.iter_mut().find(|(train, _)| *train == like) {
                    Some((_, members)) => members.push(i),
                    None => trains.push((like, vec![i])),
                }
            }
            _ => order.push(i),
        }
    }
    order.extend(trains.into_iter().flat_map(|(_, members)| members));
    order
}

/// Everything that was counted.
fn counted(server: &mut Server) -> impl PartialEq + std::fmt::Debug + use<> {
    server.meter.close();
    let mut requests = Vec::new();
    let mut symbols = Vec::new();
    while let Some(page) = server.pages.take() {
        requests.extend(
            page.requests()
                .iter()
                .map(|row| (row.key_id.0, row.second, row.outcome as u8, row.count)),
        );
        symbols.extend(
            page.symbols()
                .map(|row| (row.key_id.0, row.symbol, row.status as u8, row.entries)),
        );
        server.pages.give_back(page);
    }
    requests.sort_unstable();
    symbols.sort_unstable();
    let counters = &server.counters;
    let codes = counters.codes.each_ref().map(Counter::get);
    let refused = counters.refused.each_ref().map(Counter::get);
    let others = [
        &counters.pings,
        &counters.repeats,
        &counters.suppressed,
        &counters.entries,
    ]
    .map(Counter::get);
    let keys: Vec<_> = server
        .keys
        .iter()
        .map(|key| (key.state.month_used(), key.state.peek(&key.limits, THEN, 9)))
        .collect();
    (requests, symbols, codes, refused, others, keys)
}

proptest! {
    #[test]
    fn a_batch_is_answered_as_its_datagrams_one_by_one(
        batches in proptest::collection::vec(proptest::collection::vec(piece(), 1..8), 1..4),
        limits in prop_oneof![
            Just(Limits::NONE),
            Just(Limits::new(Some(10), Some(40), None)),
            Just(Limits::new(Some(1_000), Some(1_000), Some(50))),
        ],
    ) {
        let (mut together, mut alone) = (Server::new(limits), Server::new(limits));
        for pieces in batches {
            let datagrams = datagrams(&together, pieces);
            let replies = together.ask_batch(&datagrams, THEN);
            for i in order(&datagrams) {
                let reply = alone.ask(&datagrams[i], THEN);
                prop_assert_eq!(&replies[i], &reply, "datagram {} of {}", i, datagrams.len());
            }
        }
        prop_assert_eq!(counted(&mut together), counted(&mut alone));
    }
}

#[test]
fn a_full_train_of_the_longest_requests_is_answered_and_billed() {
    let mut server = Server::new(Limits::new(Some(1_000), Some(1_000), None));
    let symbols = ["BTC-USD"; MAX_ENTRIES];
    let datagrams: Vec<_> = (0..BATCH_MESSAGES as u32)
        .map(|counter| server.request(1, RequestId::new(5, counter), NOW, &symbols))
        .collect();
    let replies = server.ask_batch(&datagrams, NOW);
    for (i, reply) in replies.iter().enumerate() {
        let reply = reply.as_ref().expect("answered");
        let view = ReplyView::parse(reply).expect("well-formed");
        assert!(view.verify(&server.mac.reply));
        assert_eq!(
            view.head().remaining,
            999 - i as u32,
            "each is told what it has left"
        );
        assert!(view.entries().iter().all(|entry| entry.sequence.get() == 77));
    }
    assert_eq!(server.billed(), BATCH_MESSAGES as u64);
}

#[test]
fn a_page_with_room_for_one_more_row_answers_a_key_and_a_full_one_answers_nobody() {
    for (rows_left, expected) in [(1, Code::Ok), (0, Code::Overloaded)] {
        let mut server = Server::new(Limits::NONE);
        for key in rows_left..METER_REQUEST_ROWS as u64 {
            let row = server.meter.request(KeyId(100 + key), 0, Protocol::Udp, Code::Ok);
            assert!(row.is_some());
        }
        let request = |server: &Server, i| server.request(1, RequestId::new(5, i), NOW, &["BTC-USD"]);
        let datagrams: Vec<_> = (0..40).map(|i| request(&server, i)).collect();
        let replies = server.ask_batch(&datagrams, NOW);
        // The first takes the last row, after which there is none to be sure of.
        let first = replies[0].as_ref().expect("answered");
        assert_eq!(
            ReplyView::parse(first).expect("a reply").head().code,
            expected,
            "{rows_left} rows left"
        );
        let ok = server.counters.codes[Code::Ok as usize].get();
        assert_eq!(ok, rows_left, "what cannot be counted is not given");
        assert_eq!(
            server.counters.codes[Code::Overloaded as usize].get(),
            40 - rows_left
        );
    }
}
