//! Every published request vector, put to the service itself: what the SPEC promises is what
//! the answer path does.

use std::sync::Arc;

use serde_json::Value;
use trinity_beast::lpo::udp::{Answerer, Budgets, NOBODY, Pressure, Scratch};
use trinity_beast::tables::counters::ShardCounters;
use trinity_beast::tables::keys::{KeyEntry, KeyTable};
use trinity_beast::tables::limiter::Limits;
use trinity_beast::tables::meter::Meter;
use trinity_beast::tables::prices::{PriceWriter, SymbolNames};
use trinity_beast::tables::window::Windows;
use trinity_protocol::{ApiKey, Kind, MAX_DATAGRAM, MacKeys, ReplyView, Symbol};

const VECTORS: &str = include_str!("../protocol/vectors/requests.jsonl");

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex_bytes(hex).try_into().expect("the vector's length")
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16));
    digits.collect::<Result<_, _>>().expect("hex")
}

fn number(value: &Value) -> u64 {
    value
        .as_str()
        .expect("a number in a string")
        .parse()
        .expect("a number")
}

#[test]
fn the_service_answers_every_vector_as_published() {
    let mut run = 0;
    for line in VECTORS.lines() {
        let vector: Value = serde_json::from_str(line).expect("one JSON object a line");
        let (name, expect) = (&vector["name"], &vector["expect"]);
        let secret = bytes(vector["key"]["secret"].as_str().expect("hex"));
        let key = ApiKey::from_parts(number(&vector["key"]["key_id"]), secret).expect("a key");
        let mac = MacKeys::from_verifier(&key.verifier());
        let entry = KeyEntry::new(
            key.key_id(),
            &key.verifier(),
            Limits::NONE,
            u64::MAX,
            Arc::default(),
        );
        let names = SymbolNames::new(vec![Symbol::new("BTC-USD").expect("a symbol")], &[]).expect("one");
        let (_, tables) = PriceWriter::new(&Arc::new(names), 1);
        let (mut meter, _pages) = Meter::new();
        let mut answerer = Answerer {
            prices: &tables[0].load(),
            keys: &KeyTable::new(vec![entry]),
            windows: &mut Windows::new(1),
            meter: &mut meter,
            counters: &ShardCounters::default(),
            budgets: &Budgets::default(),
            pressure: Pressure::None,
            scratch: &mut Scratch::default(),
            now_ns: number(&vector["server_clock_ns"]),
            clock_window_ns: trinity_protocol::CLOCK_WINDOW_NS,
            month_left_ms: 0,
            misses: None,
        };
        let datagram = hex_bytes(vector["hex"].as_str().expect("hex"));
        let mut reply = [0; MAX_DATAGRAM];
        let answer = answerer.answer(&datagram, NOBODY, &mut reply).reply();
        run += 1;
        let Some(answer) = answer else {
            assert_eq!(expect["answer"], "SILENCE", "{name}");
            continue;
        };
        assert!(answer.len <= datagram.len(), "{name}");
        let view = ReplyView::parse(&reply[..answer.len]).expect("well-formed");
        let kind = match view.kind() {
            Kind::PriceReply => "PRICE_REPLY",
            Kind::PingReply => "PING_REPLY",
            _ => "ERROR",
        };
        assert_eq!(expect["answer"], kind, "{name}");
        assert_eq!(expect["code"], view.head().code.name(), "{name}");
        assert_eq!(expect["signed"], view.verify(&mac.reply), "{name}");
        assert_ne!(expect["signed"], view.is_unsigned(), "{name}");
    }
    assert!(run >= 40, "{run} vectors");
}
