//! The venues' rules: signs of life, tokens, numbering, and the limits whose breach is counted.

use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use crate::client::{Client, End, PATIENCE, request};
use crate::quotes;
use crate::sim::{Fault, ViolationKind};
use crate::venues::{QUOTE, VENUES, venue};

const FAST: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

#[test]
fn crypto_com_closes_unless_its_heartbeat_is_answered() {
    let venue = venue("cryptocom");
    let sim = venue.start();
    let mut client = venue.subscribed(&sim);
    sim.heartbeat(FAST, LONG);
    for _ in 0..3 {
        let beat = client.until(|text| text.contains("public/heartbeat"));
        let beat: Value = serde_json::from_str(&beat).expect("JSON");
        client.send(&format!(
            r#"{{"id":{},"method":"public/respond-heartbeat"}}"#,
            beat["id"]
        ));
    }
    assert!(sim.wait(PATIENCE, |stats| stats.signs_of_life == 3));
    assert_eq!((sim.stats().timeouts, sim.stats().open), (0, 1));
    // An answer to another question is none.
    client.until(|text| text.contains("public/heartbeat"));
    sim.heartbeat(FAST, FAST);
    client.send(r#"{"id":1,"method":"public/respond-heartbeat"}"#);
    assert_eq!(client.end(), End::Frame(1000));
    assert_eq!(sim.stats().timeouts, 1);
}

#[test]
fn binance_pings_and_takes_a_pong_for_life() {
    let venue = venue("binance");
    let sim = venue.start();
    let mut client = venue.subscribed(&sim);
    sim.heartbeat(FAST, LONG);
    for _ in 0..3 {
        // The client's library answers on its own as it reads on.
        while !matches!(client.next(), Ok(Message::Ping(_))) {}
    }
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    client.text();
    assert!(sim.wait(PATIENCE, |stats| stats.signs_of_life >= 3));
    assert_eq!(sim.stats().timeouts, 0);
    // A client that does not read does not answer.
    sim.heartbeat(FAST, 2 * FAST);
    assert!(sim.wait(PATIENCE, |stats| stats.timeouts == 1));
}

#[test]
fn okx_and_kucoin_close_a_connection_without_pings() {
    for (name, patience) in [("okx", FAST), ("kucoin", FAST)] {
        let venue = venue(name);
        let sim = venue.start();
        let mut client = venue.subscribed(&sim);
        sim.heartbeat(FAST, patience);
        client.end();
        assert!(sim.wait(PATIENCE, |stats| stats.timeouts == 1), "{name}");
    }
}

#[test]
fn kucoin_lets_in_whoever_has_the_token_of_now() {
    let venue = venue("kucoin");
    let sim = venue.start();
    let address = venue.address(&sim);
    assert_eq!(sim.stats().tokens, 1);
    let mut client = Client::connect(&address).expect("connected");
    assert_eq!(client.text(), r#"{"id":"test","type":"welcome"}"#);

    sim.expire_tokens();
    for (address, violations) in [(address, 1), (sim.stream_url(), 2)] {
        let mut client = Client::connect(&address).expect("connected");
        assert!(client.text().contains(r#""type":"error","code":401"#));
        assert_eq!(client.end(), End::Frame(1008));
        assert_eq!(sim.stats().violations_of(ViolationKind::Token), violations);
    }
    venue.subscribed(&sim);
    let by_get = request(&sim.rest_url(), "GET", "/api/v1/bullet-public").expect("an answer");
    assert_eq!(by_get.status, 405);
}

#[test]
fn coinbase_numbers_every_message_of_a_connection_without_a_gap() {
    let venue = venue("coinbase");
    let sim = venue.start();
    sim.heartbeat(FAST, LONG);
    let mut client = venue.connect(&sim);
    client.send(&(venue.subscribe)(venue.instrument));
    client.send(r#"{"type":"subscribe","channel":"heartbeats"}"#);
    let mut numbers = 0..;
    let mut next = |client: &mut Client| {
        let message = client.json();
        assert_eq!(message["sequence_num"].as_u64(), numbers.next(), "{message}");
        message["channel"].as_str().expect("a channel").to_owned()
    };
    for round in 0..3 {
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        while next(&mut client) != "ticker" {}
        while next(&mut client) != "heartbeats" {}
        // What is held back takes no number.
        sim.fault(if round == 0 {
            Fault::Mute
        } else {
            Fault::HeartbeatsOnly
        });
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        sim.heal();
    }
    sim.fault(Fault::Gap);
    let mut gaps = 0;
    let mut last = None;
    while gaps == 0 {
        let number = client.json()["sequence_num"].as_u64();
        gaps += u32::from(last.is_some_and(|last: u64| number == Some(last + 2)));
        assert!(gaps == 1 || last.is_none_or(|last| number == Some(last + 1)));
        last = number;
    }
}

#[test]
fn coinbase_cuts_off_who_subscribes_to_nothing() {
    let venue = venue("coinbase");
    let sim = venue.start();
    sim.heartbeat(FAST, FAST);
    let mut client = venue.connect(&sim);
    assert_eq!(client.end(), End::Frame(1008));
}

#[test]
fn kraken_tells_of_trades_only_unless_it_is_asked_for_bbo() {
    let venue = venue("kraken");
    let sim = venue.start();
    sim.set_quote(venue.instrument, "1.5", "2.5");
    let mut lazy = venue.connect(&sim);
    lazy.send(r#"{"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD"]}}"#);
    lazy.until(|text| text.contains(r#""type":"snapshot""#));
    let mut client = venue.subscribed(&sim);
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    client.until(|text| text.contains(QUOTE.0));
    // Everything before the answer to this was sent, and there was no quote.
    lazy.send(r#"{"method":"ping"}"#);
    lazy.until(|text| {
        assert!(!text.contains("ticker"), "{text}");
        text.contains("pong")
    });
}

#[test]
fn one_unknown_pair_fails_a_whole_payload_where_the_venue_says_so() {
    for (name, both, atomic) in [
        (
            "gate",
            r#"{"channel":"spot.book_ticker","event":"subscribe","payload":["BTC_USDT","NOPE"]}"#,
            true,
        ),
        (
            "gemini",
            r#"{"id":1,"method":"subscribe","params":["btcusd@bookTicker","NOPE@bookTicker"]}"#,
            true,
        ),
        (
            "bybit",
            r#"{"op":"subscribe","args":["orderbook.1.BTCUSDT","orderbook.1.NOPE"]}"#,
            true,
        ),
        (
            "coinbase",
            r#"{"type":"subscribe","channel":"ticker","product_ids":["NOPE","BTC-USD"]}"#,
            false,
        ),
        (
            "kraken",
            r#"{"method":"subscribe","params":{"channel":"ticker","event_trigger":"bbo","symbol":["NOPE","BTC/USD"]}}"#,
            false,
        ),
    ] {
        let venue = venue(name);
        let sim = venue.start();
        let mut client = venue.connect(&sim);
        client.send(both);
        assert!(sim.wait(PATIENCE, |stats| stats.refusals == 1), "{name}");
        let subscribed = usize::from(!atomic);
        assert!(
            sim.wait(PATIENCE, |stats| stats.subscribed(venue.instrument) == subscribed),
            "{name}"
        );
        assert_eq!(sim.stats().acks, subscribed as u64, "{name}");
    }
}

#[test]
fn every_breach_of_a_limit_is_counted() {
    // Five messages a second.
    let binance = venue("binance");
    let sim = binance.start();
    let mut client = binance.connect(&sim);
    for _ in 0..5 {
        client.send(&(binance.subscribe)(binance.instrument));
    }
    assert!(sim.wait(PATIENCE, |stats| stats.messages == 5));
    assert_eq!(sim.stats().violations, []);
    client.send(&(binance.subscribe)(binance.instrument));
    assert!(sim.wait(PATIENCE, |stats| stats.violations_of(ViolationKind::Pace) == 1));

    // Three connections a second.
    let okx = venue("okx");
    let sim = okx.start();
    let clients: Vec<_> = (0..10).map(|_| okx.connect(&sim)).collect();
    assert!(sim.wait(PATIENCE, |stats| stats.opened == 10));
    assert!(sim.stats().violations_of(ViolationKind::Connections) > 0);
    drop(clients);

    // Ten topics a request.
    let bybit = venue("bybit");
    let sim = bybit.start();
    let mut client = bybit.connect(&sim);
    let topics = ["\"orderbook.1.BTCUSDT\""; 11].join(",");
    client.send(&format!(r#"{{"op":"subscribe","args":[{topics}]}}"#));
    client.until(|text| text.contains("args size >10"));
    assert_eq!(sim.stats().violations_of(ViolationKind::Arguments), 1);

    // A second of settling, four hundred instruments.
    let cryptocom = venue("cryptocom");
    let sim = cryptocom.start();
    let names: Vec<_> = (0..401).map(|number| format!("A{number}_USD")).collect();
    for name in &names {
        sim.list(name);
    }
    let mut client = cryptocom.connect(&sim);
    let channels: Vec<_> = names.iter().map(|name| format!("\"ticker.{name}\"")).collect();
    let channels = channels.join(",");
    client.send(&format!(
        r#"{{"id":1,"method":"subscribe","params":{{"channels":[{channels}]}}}}"#
    ));
    client.until(|text| text.contains("40107"));
    assert_eq!(sim.stats().violations_of(ViolationKind::TooEarly), 1);
    assert!(sim.wait(PATIENCE, |stats| stats.subscriptions.len() == 400));
}

#[test]
fn what_a_venue_does_not_know_is_a_violation() {
    for venue in &VENUES {
        let sim = venue.start();
        let mut client = venue.connect(&sim);
        client.send(r#"{"what":"is this"}"#);
        client.message(Message::binary(vec![0, 1, 2]));
        assert!(
            sim.wait(PATIENCE, |stats| stats
                .violations_of(ViolationKind::UnknownMessage)
                == 2),
            "{}: {:?}",
            venue.name,
            sim.stats().violations
        );
        // Not a path of its own either.
        let address = venue.address(&sim);
        let (base, query) = address.split_once('?').unwrap_or((&address, ""));
        assert!(Client::connect(&format!("{base}/nowhere?{query}")).is_err());
        assert_eq!(
            sim.stats().violations_of(ViolationKind::UnknownPath),
            1,
            "{}",
            venue.name
        );
    }
}

#[test]
fn bitstamp_has_trades_beside_the_book() {
    let venue = venue("bitstamp");
    let sim = venue.start();
    let mut client = venue.connect(&sim);
    client.send(r#"{"event":"bts:subscribe","data":{"channel":"live_trades_btcusd"}}"#);
    client.until(|text| text.contains(venue.ack));
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    let text = client.until(|text| text.contains(r#""event":"trade""#));
    assert!(text.contains(&format!(r#""price_str":"{}""#, QUOTE.0)), "{text}");
    assert!(quotes(venue.name, text.as_bytes()).is_empty());
}

#[test]
fn bybit_repeats_a_book_that_does_not_change() {
    let venue = venue("bybit");
    let sim = venue.start();
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    let mut client = venue.subscribed(&sim);
    let mut update = || {
        let text = client.until(|text| text.contains("orderbook.1"));
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json["data"]["u"].clone()
    };
    assert_eq!(update(), update());
}
