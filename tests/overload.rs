//! A shard that has fallen behind sheds by rule until it has caught up, and says so.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use trinity_beast::clock;
use trinity_beast::lpo::udp::Pressure;
use trinity_beast::shard::socket::bind_group;
use trinity_beast::shard::{Shard, ShardParts, ShardShared};
use trinity_beast::tables::counters::{ShardCounters, Shed};
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::{Meter, MeterPages};
use trinity_beast::tables::prices::{PriceWriter, SymbolNames};
use trinity_protocol::{
    Code, KeyId, Kind, MAX_DATAGRAM, MacKeys, PriceQuery, RequestHead, RequestId, Symbol, Verifier,
    encode_control_request, encode_price_request,
};

const LIMITED: KeyId = KeyId(1);
const PARTNER: KeyId = KeyId(2);

struct Setup {
    shard: Shard,
    counters: Arc<ShardCounters>,
    pages: MeterPages,
    client: UdpSocket,
    mac: MacKeys,
}

impl Setup {
    fn new() -> Self {
        let names = SymbolNames::new(vec![symbol()], &[]).expect("one");
        let (_, mut tables) = PriceWriter::new(&Arc::new(names), 1);
        let verifier = Verifier::from_bytes([9; 32]);
        let limits = Limits::new(Some(1_000_000), Some(1_000_000), None);
        let keys = vec![
            KeyEntry::new(LIMITED, &verifier, limits, u64::MAX, Arc::default()),
            KeyEntry::new(PARTNER, &verifier, Limits::NONE, u64::MAX, Arc::default()),
        ];
        let (mut sockets, address, _) =
            bind_group("127.0.0.1:0".parse().expect("an address"), 1).expect("bound");
        let (meter, pages) = Meter::new();
        let counters = Arc::new(ShardCounters::default());
        let shared = Arc::new(ShardShared::default());
        shared.month_end_ns.store(u64::MAX, Ordering::Relaxed);
        let socket = sockets.remove(0);
        // Small, so that it is soon full.
        socket.set_recv_buffer_size(1 << 20).expect("set");
        let shard = Shard::new(ShardParts {
            index: 0,
            cpu: None,
            socket,
            prices: tables.remove(0),
            keys: Arc::new(ArcSwap::from_pointee(KeyTable::new(keys))),
            misses: None,
            meter,
            counters: Arc::clone(&counters),
            shared,
            seed: 5,
            spin: Duration::ZERO,
        });
        let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
        client.connect(address).expect("connected");
        Self {
            shard,
            counters,
            pages,
            client,
            mac: MacKeys::from_verifier(&verifier),
        }
    }

    /// A PING, and a new request under each key.
    fn send(&self, counter: u32) {
        let clock_ns = clock::unix_nanos();
        let head = |key_id| RequestHead {
            key_id,
            request_id: RequestId::new(7, counter),
            lane: 0,
            clock_ns,
        };
        let mut buffer = [0; MAX_DATAGRAM];
        let ping = encode_control_request(&mut buffer, Kind::Ping, head(KeyId(0)), None);
        self.client.send(ping).expect("sent");
        for key_id in [LIMITED, PARTNER] {
            let query = [PriceQuery::new(symbol())];
            let request = encode_price_request(&mut buffer, head(key_id), &query, &self.mac.request);
            self.client.send(request).expect("sent");
        }
    }

    /// Takes turns until nothing is left; gives every pressure that was told, in order.
    fn catch_up(&mut self) -> Vec<u64> {
        let mut pressures = Vec::new();
        loop {
            let (received, after_ns) = self.shard.turn(clock::unix_nanos(), clock::unix_nanos);
            self.shard.settle(after_ns);
            while let Some(page) = self.pages.take() {
                self.pages.give_back(page);
            }
            let pressure = self.counters.pressure.get();
            if pressures.last() != Some(&pressure) {
                pressures.push(pressure);
            }
            if received == 0 {
                return pressures;
            }
        }
    }

    fn shed(&self, what: Shed) -> u64 {
        self.counters.shed[what as usize].get()
    }

    fn replies(&self, code: Code) -> u64 {
        self.counters.codes[code as usize].get()
    }
}

fn symbol() -> Symbol {
    Symbol::new("BTC-USD").expect("a symbol")
}

#[test]
fn a_shard_with_a_full_socket_sheds_in_order_and_recovers_by_itself() {
    let mut setup = Setup::new();
    // More than the buffer holds, before the first turn.
    let mut counter = 0;
    for _ in 0..20_000 {
        counter += 1;
        setup.send(counter);
    }
    let pressures = setup.catch_up();
    let highest = *pressures.iter().max().expect("some");
    assert_eq!(highest, Pressure::Partners as u64, "{pressures:?}");
    let fell = &pressures[pressures.iter().position(|p| *p == highest).expect("there")..];
    assert!(
        fell.is_sorted_by(|a, b| a > b),
        "it only falls while it catches up: {pressures:?}"
    );
    assert_eq!(
        pressures.last(),
        Some(&(Pressure::None as u64)),
        "and is over when it has"
    );

    // In the order of the rule: a third of what came is of each kind.
    let (pings, limited, partners) = (
        setup.shed(Shed::Ping),
        setup.shed(Shed::Limited),
        setup.shed(Shed::Partner),
    );
    assert!(
        pings > limited && limited > partners && partners > 0,
        "{pings}, {limited}, {partners}"
    );
    let received = setup.counters.received.get();
    let told = setup.replies(Code::Overloaded);
    assert!(told <= limited + partners);
    assert_eq!(
        received,
        setup.replies(Code::Ok) + pings + limited + partners,
        "each was answered or shed, and told OVERLOADED only if shed"
    );

    // Caught up, it serves everybody again.
    let (ok, shed) = (setup.replies(Code::Ok), pings + limited + partners);
    for _ in 0..10 {
        counter += 1;
        setup.send(counter);
    }
    assert_eq!(setup.catch_up(), [Pressure::None as u64]);
    assert_eq!(setup.replies(Code::Ok), ok + 30);
    assert_eq!(
        setup.shed(Shed::Ping) + setup.shed(Shed::Limited) + setup.shed(Shed::Partner),
        shed
    );
}
