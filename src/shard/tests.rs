use std::net::UdpSocket;

use trinity_protocol::{
    Code, KeyId, MAX_DATAGRAM, MacKeys, PriceQuery, RequestHead, RequestId, Symbol, Verifier,
    encode_price_request,
};

use super::socket::tests::send_train;
use super::*;
use crate::limits::{BATCH_MESSAGES, METER_REQUEST_ROWS};
use crate::tables::keys::KeyEntry;
use crate::tables::limiter::Limits;
use crate::tables::meter::{MeterPages, Protocol};
use crate::tables::prices::{PriceWriter, SymbolNames};

const NOW: u64 = 1_700_000_000_000_000_000;

/// A shard without symbols, its usage pages, and a client that is connected to it.
fn shard(keys: KeyTable) -> (Shard, MeterPages, UdpSocket) {
    let (mut sockets, address, _) =
        socket::bind_group("127.0.0.1:0".parse().expect("an address"), 1).expect("bound");
    let names = Arc::new(SymbolNames::new(vec![], &[]).expect("none"));
    let (meter, pages) = Meter::new();
    let shard = Shard::new(ShardParts {
        index: 0,
        cpu: None,
        socket: sockets.remove(0),
        prices: PriceWriter::new(&names, 1).1.remove(0),
        keys: Arc::new(ArcSwap::from_pointee(keys)),
        misses: None,
        meter,
        counters: Arc::default(),
        shared: Arc::default(),
        seed: 1,
        spin: Duration::ZERO,
    });
    let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
    client.connect(address).expect("connected");
    (shard, pages, client)
}

fn fill(shard: &mut Shard, rows: usize) {
    for key in 0..rows as u64 {
        let row = shard
            .desk
            .meter
            .request(KeyId(1_000_000 + key), 0, Protocol::Udp, Code::Ok);
        assert!(row.is_some());
    }
}

#[test]
fn a_crowded_page_is_handed_over_before_its_time() {
    let (mut shard, pages, _) = shard(KeyTable::default());
    shard.settle(1);
    fill(&mut shard, METER_REQUEST_ROWS / 2 - 1);
    shard.settle(2);
    assert!(pages.take().is_none(), "its time has not come");
    fill(&mut shard, METER_REQUEST_ROWS / 2);
    shard.settle(3);
    let page = pages.take().expect("handed over");
    assert_eq!(page.requests().len(), METER_REQUEST_ROWS / 2);
    assert!(shard.desk.meter.has_room(BATCH_MESSAGES));
}

#[test]
fn a_page_that_fills_up_within_a_turn_is_handed_over_within_it() {
    const TRAINS: usize = 5;
    let verifier = Verifier::from_bytes([3; 32]);
    let mac = MacKeys::from_verifier(&verifier);
    let key = |id| KeyEntry::new(KeyId(id), &verifier, Limits::NONE, u64::MAX, Arc::default());
    let keys = KeyTable::new((1..=(TRAINS * BATCH_MESSAGES) as u64).map(key).collect());
    let (mut shard, _pages, client) = shard(keys);
    // Room for three batches in which every request has a key, and so a row, of its own.
    fill(&mut shard, METER_REQUEST_ROWS - 3 * BATCH_MESSAGES);
    let symbol = Symbol::new("BTC-USD").expect("a symbol");
    for train in 0..TRAINS {
        let mut bytes = Vec::new();
        for i in 0..BATCH_MESSAGES {
            let head = RequestHead {
                key_id: KeyId(1 + (train * BATCH_MESSAGES + i) as u64),
                request_id: RequestId::new(1, 1),
                lane: 0,
                clock_ns: NOW,
            };
            let mut buffer = [0; MAX_DATAGRAM];
            bytes.extend(encode_price_request(
                &mut buffer,
                head,
                &[PriceQuery::new(symbol)],
                &mac.request,
            ));
        }
        send_train(&client, &bytes, bytes.len() / BATCH_MESSAGES);
    }
    // All of them are there before the first turn.
    let mut received = 0;
    while received < TRAINS * BATCH_MESSAGES {
        let (came, _) = shard.turn(NOW, || NOW);
        received += came;
    }
    let codes = &shard.desk.counters.codes;
    assert_eq!(codes[Code::Overloaded as usize].get(), 0);
    assert_eq!(codes[Code::Ok as usize].get(), (TRAINS * BATCH_MESSAGES) as u64);
}
