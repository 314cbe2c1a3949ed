mod batches;
mod shedding;

use std::sync::Arc;

use proptest::prelude::*;
use trinity_protocol::{
    KeyId, MAX_DATAGRAM, MIN_DATAGRAM, MacKeys, PriceFlags, PriceQuery, Refusal, ReplyView, RequestHead,
    Symbol, Verifier, encode_control_reply, encode_control_request, encode_price_request,
};

use super::*;
use trinity_protocol::CLOCK_WINDOW_NS;

use crate::limits::UNSIGNED_ERRORS_BURST;
use crate::tables::keys::Allowed;
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::Limits;
use crate::tables::meter::MeterPages;
use crate::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};

const NOW: u64 = 1_700_000_000_000_000_000;
const ID: RequestId = RequestId::new(9, 1);

struct Server {
    prices: Arc<PriceTable>,
    keys: KeyTable,
    windows: Windows,
    meter: Meter,
    pages: MeterPages,
    counters: ShardCounters,
    budgets: Budgets,
    scratch: Scratch,
    pressure: Pressure,
    mac: MacKeys,
}

impl Server {
    fn new(limits: Limits) -> Self {
        let symbol = |name| Symbol::new(name).expect("a symbol");
        let names = SymbolNames::new(vec![symbol("BTC-USD"), symbol("ETH-USD")], &[]).expect("distinct");
        let (mut writer, tables) = PriceWriter::new(&Arc::new(names), 1);
        let record = PriceRecord {
            mantissa: 2_000_000_000_000,
            confidence: 500,
            publish_time_ns: NOW,
            exponent: -8,
            status: PriceStatus::Live,
            quality: PriceStatus::Live,
            venues: 3,
            flags: PriceFlags::REPLAYED,
            sequence: 77,
            age_origin_ns: NOW,
            max_age_ms: 10_000,
            hard_age_ms: 60_000,
        };
        writer.publish(SymbolIndex(0), record);
        let verifier = Verifier::from_bytes([3; 32]);
        let keys = [
            (1, u64::MAX),
            (2, 0),
            (3, NOW),
            (NETWORK, u64::MAX),
            (HTTP_ONLY, u64::MAX),
        ]
        .map(|(id, until)| KeyEntry {
            allowed: match id {
                NETWORK => Allowed::new(true, true, &["10.0.0.0/8".parse().expect("a network")]),
                HTTP_ONLY => Allowed::new(false, true, &[]),
                _ => Allowed::default(),
            },
            ..KeyEntry::new(KeyId(id), &verifier, limits, until, Arc::default())
        });
        let (meter, pages) = Meter::new();
        Self {
            prices: tables[0].load_full(),
            keys: KeyTable::new(keys.into()),
            windows: Windows::new(1),
            meter,
            pages,
            counters: ShardCounters::default(),
            budgets: Budgets::default(),
            scratch: Scratch::default(),
            pressure: Pressure::None,
            mac: MacKeys::from_verifier(&verifier),
        }
    }

    fn answerer(&mut self, now_ns: u64) -> Answerer<'_> {
        Answerer {
            prices: &self.prices,
            keys: &self.keys,
            windows: &mut self.windows,
            meter: &mut self.meter,
            counters: &self.counters,
            budgets: &self.budgets,
            pressure: self.pressure,
            scratch: &mut self.scratch,
            now_ns,
            clock_window_ns: CLOCK_WINDOW_NS,
            month_left_ms: 1_000,
            misses: None,
        }
    }

    /// Answers datagrams as one batch; `None` is silence.
    fn ask_batch(&mut self, datagrams: &[Vec<u8>], now_ns: u64) -> Vec<Option<Vec<u8>>> {
        let mut starts = [0_u32; BATCH_MESSAGES + 1];
        for (i, datagram) in datagrams.iter().enumerate() {
            starts[i + 1] = starts[i] + reply_place(datagram.len()) as u32;
        }
        let mut places = vec![0; BATCH_MESSAGES * MAX_DATAGRAM];
        let mut batch = Batch::new(&mut places, &starts);
        let peers: Vec<_> = datagrams.iter().map(|datagram| peer_of(datagram)).collect();
        for (datagram, peer) in datagrams.iter().zip(&peers) {
            batch.push(datagram, peer);
        }
        let mut outcomes = Outcomes::default();
        self.answerer(now_ns).answer_batch(&mut batch, 0, &mut outcomes);
        let reply = |i: usize| {
            let len = outcomes.reply(i)?;
            assert!(
                len <= datagrams[i].len(),
                "a reply is never longer than its request"
            );
            Some(places[starts[i] as usize..starts[i] as usize + len].to_vec())
        };
        (0..datagrams.len()).map(reply).collect()
    }

    fn ask(&mut self, datagram: &[u8], now_ns: u64) -> Option<Vec<u8>> {
        let mut reply = [0; MAX_DATAGRAM];
        let answer = self
            .answerer(now_ns)
            .answer(datagram, &peer_of(datagram), &mut reply)
            .reply()?;
        assert!(
            answer.len <= datagram.len(),
            "a reply is never longer than its request"
        );
        Some(reply[..answer.len].to_vec())
    }

    fn request(&self, key_id: u64, id: RequestId, clock_ns: u64, symbols: &[&str]) -> Vec<u8> {
        let head = RequestHead {
            key_id: KeyId(key_id),
            request_id: id,
            lane: 0,
            clock_ns,
        };
        let queries: Vec<_> = symbols
            .iter()
            .map(|s| PriceQuery::new(Symbol::new(s).expect("a symbol")))
            .collect();
        encode_price_request(&mut [0; MAX_DATAGRAM], head, &queries, &self.mac.request).to_vec()
    }

    /// Asks for BTC-USD and gives the code of a reply that must be signed.
    fn code(&mut self, key_id: u64, id: RequestId, clock_ns: u64, now_ns: u64) -> Code {
        let request = self.request(key_id, id, clock_ns, &["BTC-USD"]);
        let reply = self.ask(&request, now_ns).expect("answered");
        let view = ReplyView::parse(&reply).expect("well-formed");
        assert_eq!(view.head().request_id, id);
        assert_eq!(view.is_unsigned(), view.head().code == Code::Unauthenticated);
        assert!(view.is_unsigned() || view.verify(&self.mac.reply));
        view.head().code
    }

    fn billed(&mut self) -> u64 {
        self.meter.close();
        let page = self.pages.take().expect("something was counted");
        page.requests()
            .iter()
            .filter(|r| r.outcome == Code::Ok)
            .map(|r| r.count)
            .sum()
    }
}

/// A key that may be used from 10.0.0.0/8, and one that may not be used over UDP.
const NETWORK: u64 = 5;
const HTTP_ONLY: u64 = 6;

/// Who sends a datagram: 10.1.2.3 if its request's counter is even, otherwise 192.0.2.1.
fn peer_of(datagram: &[u8]) -> PeerBytes {
    let even = datagram.get(16).is_some_and(|counter| counter % 2 == 0);
    let mut peer = [0; 28];
    peer[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    peer[4..8].copy_from_slice(if even { &[10, 1, 2, 3] } else { &[192, 0, 2, 1] });
    peer
}

#[test]
fn a_key_is_good_only_from_its_networks_and_over_its_protocols() {
    let mut server = Server::new(Limits::new(Some(10), Some(10), Some(100)));
    let (here, elsewhere) = (RequestId::new(9, 2), RequestId::new(9, 3));
    assert_eq!(server.code(NETWORK, here, NOW, NOW), Code::Ok);
    assert_eq!(server.code(NETWORK, elsewhere, NOW, NOW), Code::Forbidden);
    assert_eq!(server.code(HTTP_ONLY, here, NOW, NOW), Code::Forbidden);
    // Whoever has not proven the key learns nothing of its networks.
    let mut forged = server.request(NETWORK, elsewhere, NOW, &["BTC-USD"]);
    forged[79] ^= 1;
    let reply = server.ask(&forged, NOW).expect("answered");
    let code = |reply: &[u8]| ReplyView::parse(reply).expect("well-formed").head().code;
    assert_eq!(code(&reply), Code::Unauthenticated);
    // It is told what is left, and charged nothing.
    let refused = server.request(NETWORK, elsewhere, NOW, &["BTC-USD"]);
    let reply = server.ask(&refused, NOW).expect("answered");
    let head = ReplyView::parse(&reply).expect("well-formed").head();
    assert_eq!((head.code, head.remaining), (Code::Forbidden, 9));
    let state = &server.keys.find(KeyId(NETWORK)).expect("there").state;
    assert_eq!(state.month_used(), 1);
    server.meter.close();
    let page = server.pages.take().expect("something was counted");
    let forbidden: u64 = page
        .requests()
        .iter()
        .filter(|row| row.outcome == Code::Forbidden && row.key_id == KeyId(NETWORK))
        .map(|row| row.count)
        .sum();
    assert_eq!(forbidden, 2, "counted as an outcome of the key");
}

#[test]
fn every_refusal_of_a_limit_says_what_is_left_and_when_there_will_be_more() {
    let mut server = Server::new(Limits::new(Some(10), Some(1), None));
    let head = |server: &mut Server, counter| {
        let request = server.request(1, RequestId::new(9, counter), NOW, &["BTC-USD"]);
        let reply = server.ask(&request, NOW).expect("answered");
        ReplyView::parse(&reply).expect("well-formed").head()
    };
    assert_eq!(head(&mut server, 1).code, Code::Ok);
    let refused = head(&mut server, 2);
    assert_eq!(
        (refused.code, refused.remaining, refused.refill_ms),
        (Code::RateLimited, 0, 100)
    );
    let mut server = Server::new(Limits::new(None, None, Some(1)));
    assert_eq!(head(&mut server, 1).code, Code::Ok);
    let refused = head(&mut server, 2);
    assert_eq!(
        (refused.code, refused.remaining, refused.refill_ms),
        (Code::Quota, 0, 1_000),
        "until the month ends"
    );
}

#[test]
fn a_price_request_is_answered_in_order_and_signed() {
    let mut server = Server::new(Limits::NONE);
    let request = server.request(1, ID, NOW, &["NOPE", "BTC-USD", "ETH-USD"]);
    let reply = server.ask(&request, NOW + 5).expect("answered");
    let view = ReplyView::parse(&reply).expect("well-formed");
    assert!(view.verify(&server.mac.reply));
    assert_eq!(view.head().clock_ns, NOW + 5);
    let status = |i: usize| PriceStatus::from_wire(view.entries()[i].status);
    assert_eq!(status(0), Some(PriceStatus::UnknownSymbol));
    assert_eq!(status(1), Some(PriceStatus::Live));
    assert_eq!(status(2), Some(PriceStatus::NoPrice));
    assert_eq!(view.entries()[1].mantissa.get(), 2_000_000_000_000);
    assert_eq!(view.entries()[1].sequence.get(), 77);
    assert_eq!(server.billed(), 1, "a batch is one request");
}

#[test]
fn ping_needs_no_key_and_tells_the_clock() {
    let mut server = Server::new(Limits::NONE);
    let head = RequestHead {
        key_id: KeyId(0),
        request_id: ID,
        lane: 0,
        clock_ns: 0,
    };
    let ping = encode_control_request(&mut [0; MAX_DATAGRAM], Kind::Ping, head, None).to_vec();
    let reply = server.ask(&ping, NOW).expect("answered");
    let view = ReplyView::parse(&reply).expect("well-formed");
    assert_eq!(
        (view.kind(), view.head().clock_ns, reply.len()),
        (Kind::PingReply, NOW, MIN_DATAGRAM)
    );
}

#[test]
fn every_unproven_key_gets_the_same_answer() {
    let mut server = Server::new(Limits::NONE);
    for key_id in [2, 3, 4, 0, u64::MAX] {
        assert_eq!(
            server.code(key_id, ID, NOW, NOW),
            Code::Unauthenticated,
            "{key_id}"
        );
    }
    let mut forged = server.request(1, ID, NOW, &["BTC-USD"]);
    forged[79] ^= 1;
    let reply = server.ask(&forged, NOW).expect("answered");
    assert_eq!(
        ReplyView::parse(&reply).expect("well-formed").head().code,
        Code::Unauthenticated
    );
}

#[test]
fn unsigned_errors_fall_silent_beyond_their_limit() {
    let mut server = Server::new(Limits::NONE);
    let request = server.request(4, ID, NOW, &["BTC-USD"]);
    let answered = (0..3 * UNSIGNED_ERRORS_BURST)
        .filter(|_| server.ask(&request, NOW).is_some())
        .count();
    assert_eq!(answered, UNSIGNED_ERRORS_BURST as usize);
    assert_eq!(
        server.counters.suppressed.get(),
        2 * u64::from(UNSIGNED_ERRORS_BURST)
    );
    assert_eq!(
        server.code(1, ID, NOW, NOW),
        Code::Ok,
        "proven keys do not notice"
    );
}

#[test]
fn a_clock_beyond_the_window_is_told() {
    let mut server = Server::new(Limits::NONE);
    for clock in [NOW - CLOCK_WINDOW_NS - 1, NOW + CLOCK_WINDOW_NS + 1, 0, u64::MAX] {
        assert_eq!(server.code(1, ID, clock, NOW), Code::Clock);
    }
    assert_eq!(server.code(1, ID, NOW - CLOCK_WINDOW_NS, NOW), Code::Ok);
}

#[test]
fn a_retry_is_answered_again_and_billed_once() {
    let mut server = Server::new(Limits::new(Some(1), Some(1), None));
    for _ in 0..5 {
        assert_eq!(server.code(1, ID, NOW, NOW), Code::Ok);
    }
    assert_eq!(server.code(1, RequestId::new(9, 2), NOW, NOW), Code::RateLimited);
    assert_eq!(
        server.code(1, RequestId::new(9, 2), NOW, NOW + 1_000_000_000),
        Code::Ok,
        "a refusal is no count"
    );
    assert_eq!(server.billed(), 2);
    assert_eq!(server.counters.repeats.get(), 4);
}

#[test]
fn counters_behind_the_window_are_refused() {
    let mut server = Server::new(Limits::NONE);
    assert_eq!(server.code(1, RequestId::new(9, 5_000), NOW, NOW), Code::Ok);
    assert_eq!(server.code(1, RequestId::new(9, 5), NOW, NOW), Code::Replay);
}

#[test]
fn the_month_has_its_own_code() {
    let mut server = Server::new(Limits::new(None, None, Some(1)));
    assert_eq!(server.code(1, ID, NOW, NOW), Code::Ok);
    assert_eq!(server.code(1, RequestId::new(9, 2), NOW, NOW), Code::Quota);
}

#[test]
fn reserved_kinds_are_forbidden_for_now() {
    let mut server = Server::new(Limits::NONE);
    let head = RequestHead {
        key_id: KeyId(1),
        request_id: ID,
        lane: 0,
        clock_ns: NOW,
    };
    for kind in [Kind::Subscribe, Kind::Usage] {
        let request =
            encode_control_request(&mut [0; MAX_DATAGRAM], kind, head, Some(&server.mac.request)).to_vec();
        let reply = server.ask(&request, NOW).expect("answered");
        let view = ReplyView::parse(&reply).expect("well-formed");
        assert!(view.verify(&server.mac.reply));
        assert_eq!(view.head().code, Code::Forbidden);
    }
}

#[test]
fn replies_and_foreign_datagrams_are_met_with_silence() {
    let mut server = Server::new(Limits::NONE);
    let head = ReplyHead {
        code: Code::Ok,
        remaining: 0,
        refill_ms: 0,
        request_id: ID,
        clock_ns: NOW,
    };
    for kind in [Kind::PingReply, Kind::Error, Kind::PriceReply] {
        let reply =
            encode_control_reply(&mut [0; MAX_DATAGRAM], kind, head, Some(&server.mac.reply)).to_vec();
        assert_eq!(server.ask(&reply, NOW), None);
    }
    assert_eq!(server.ask(&[], NOW), None);
    assert_eq!(server.ask(&[0; 80], NOW), None);
    assert_eq!(server.counters.refused[Refusal::Reply as usize].get(), 3);
}

#[test]
fn every_truncation_and_every_flipped_bit_costs_nothing() {
    let mut server = Server::new(Limits::NONE);
    let good = server.request(1, ID, NOW, &["BTC-USD", "ETH-USD"]);
    for len in 0..good.len() {
        assert!(
            server
                .ask(&good[..len], NOW)
                .is_none_or(|reply| reply.len() == MIN_DATAGRAM),
            "{len}"
        );
    }
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let reply = server.ask(&flipped, NOW);
        assert!(
            reply.is_none_or(|reply| reply.len() == MIN_DATAGRAM),
            "bit {bit} is under the tag"
        );
    }
    assert!(!server.meter.close(), "nothing was counted for anybody");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_nor_amplify(
        bytes in proptest::collection::vec(any::<u8>(), 0..1_100),
        ours in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if ours && bytes.len() > 5 {
            bytes[..3].copy_from_slice(b"TB\x01");
            bytes[3] &= 7;
        }
        Server::new(Limits::NONE).ask(&bytes, NOW);
    }
}
