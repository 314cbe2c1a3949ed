//! Each fault does what it says, and ends when it is healed.

use std::time::Duration;

use serde_json::Value;
use tokio_tungstenite::tungstenite::{Error, Message};
use trinity_beast::market::venue::{Event, Parser, VenueId};

use crate::client::{Client, End, PATIENCE, get};
use crate::sim::{Fault, Garbage, VenueSim};
use crate::venues::{QUOTE, UNKNOWN, VENUES, Venue, venue};
use crate::{decimal, quotes};

const OLD: (&str, &str) = ("1.5", "2.5");
const FAST: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(600);

/// A venue with a subscribed client, and no quote sent yet.
fn begun(name: &str) -> (&'static Venue, VenueSim, Client) {
    let venue = venue(name);
    let sim = venue.start();
    let client = venue.subscribed(&sim);
    (venue, sim, client)
}

/// The bid of the next quote, whatever stands between.
fn next_bid(venue: &Venue, client: &mut Client) -> String {
    let mut bid = String::new();
    client.until(|text| {
        let found = quotes(venue.name, text.as_bytes());
        found.first().is_some_and(|(_, found, _)| {
            bid = found.expect("a bid").to_string();
            true
        })
    });
    bid
}

#[test]
fn a_mute_venue_takes_messages_and_says_nothing() {
    for venue in &VENUES {
        let sim = venue.start();
        let mut client = venue.subscribed(&sim);
        sim.heartbeat(FAST, LONG);
        sim.fault(Fault::Mute);
        let before = sim.stats();
        client.send(&(venue.subscribe)(venue.instrument));
        assert!(
            sim.wait(PATIENCE, |stats| stats.messages == before.messages + 1),
            "{}",
            venue.name
        );
        sim.set_quote(venue.instrument, OLD.0, OLD.1);
        // The pong comes after all that was ever going to come.
        client.message(Message::Ping("here".into()));
        loop {
            match client.next().expect("open") {
                Message::Pong(_) => break,
                // What was under way when the venue fell silent.
                message => assert!(
                    quotes(venue.name, &message.into_data()).is_empty(),
                    "{}",
                    venue.name
                ),
            }
        }
        assert_eq!(sim.stats().quotes, before.quotes, "{}", venue.name);
        sim.heal();
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        assert_eq!(next_bid(venue, &mut client), QUOTE.0, "{}", venue.name);
        assert_eq!(sim.stats().open, 1, "{}", venue.name);
    }
}

#[test]
fn acks_without_anything_after_them() {
    let venue = venue("kraken");
    let sim = venue.start();
    sim.heartbeat(FAST, LONG);
    sim.set_quote(venue.instrument, OLD.0, OLD.1);
    sim.fault(Fault::AckThenSilent);
    let mut client = venue.subscribed(&sim);
    sim.set_quote(venue.instrument, OLD.0, OLD.1);
    client.message(Message::Ping("here".into()));
    assert!(matches!(client.next(), Ok(Message::Pong(_))));
    assert_eq!(sim.stats().quotes, 0);
    sim.heal();
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    assert_eq!(next_bid(venue, &mut client), QUOTE.0);
}

#[test]
fn heartbeats_without_quotes() {
    for (name, beat) in [("kraken", "heartbeat"), ("cryptocom", "public/heartbeat")] {
        let (venue, sim, mut client) = begun(name);
        sim.heartbeat(FAST, LONG);
        sim.fault(Fault::HeartbeatsOnly);
        sim.set_quote(venue.instrument, OLD.0, OLD.1);
        client.until(|text| {
            assert!(quotes(name, text.as_bytes()).is_empty(), "{text}");
            text.contains(beat)
        });
        sim.heal();
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        assert_eq!(next_bid(venue, &mut client), QUOTE.0);
    }
}

#[test]
fn old_frames_come_again_byte_for_byte() {
    for venue in &VENUES {
        let sim = venue.start();
        let mut client = venue.subscribed(&sim);
        sim.set_quote(venue.instrument, OLD.0, OLD.1);
        let is_quote = |text: &str| !quotes(venue.name, text.as_bytes()).is_empty();
        let old = client.until(is_quote);
        sim.fault(Fault::RepeatOld);
        for _ in 0..3 {
            sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
            assert_eq!(client.until(is_quote), old, "{}", venue.name);
        }
        sim.heal();
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        assert_ne!(client.until(is_quote), old, "{}", venue.name);
    }
}

#[test]
fn a_half_open_connection_is_dead_and_not_closed_and_new_ones_live() {
    let (venue, sim, mut dead) = begun("kraken");
    sim.heartbeat(FAST, LONG);
    sim.fault(Fault::HalfOpen);
    let stats = sim.stats();
    assert_eq!((stats.open, stats.half_open), (0, 1));
    let mut alive = venue.subscribed(&sim);
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    assert_eq!(next_bid(venue, &mut alive), QUOTE.0);
    // What was under way may still come; after that not even a pong does.
    dead.message(Message::Ping("here".into()));
    while let Some(message) = dead.within(Duration::from_millis(300)) {
        let message = message.expect("the connection is not closed");
        assert!(!matches!(message, Message::Pong(_)), "somebody is alive");
        assert!(quotes(venue.name, &message.into_data()).is_empty());
    }
    sim.heal();
    assert_eq!(dead.end(), End::Cut);
}

#[test]
fn connections_are_refused_in_every_way() {
    let (venue, sim, mut client) = begun("kraken");
    sim.fault(Fault::RefuseConnect);
    assert!(Client::connect(&sim.stream_url()).is_err());
    let connects = sim.stats().connects;
    assert_eq!(connects, 2);

    for (status, retry_after) in [(403, None), (429, Some(7)), (503, Some(0))] {
        sim.fault(Fault::RefuseUpgrade { status, retry_after });
        let Err(Error::Http(response)) = Client::connect(&sim.stream_url()) else {
            panic!("the upgrade was not refused by HTTP");
        };
        assert_eq!(response.status().as_u16(), status);
        let header = response.headers().get("retry-after");
        let header = header.map(|value| value.to_str().expect("text").parse::<u64>().expect("seconds"));
        assert_eq!(header, retry_after);
    }
    assert_eq!(sim.stats().upgrades_refused, 3);

    sim.fault(Fault::SlowHandshake(LONG));
    let url = sim.stream_url();
    let slow = std::thread::spawn(move || Client::connect(&url).map(drop));
    assert!(sim.wait(PATIENCE, |stats| stats.connects == connects + 4));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(sim.stats().opened, 1, "the handshake is not slow");
    assert!(!slow.is_finished());
    sim.heal();
    slow.join().expect("no panic").expect("connected");

    // Whoever was there before has noticed nothing.
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    assert_eq!(next_bid(venue, &mut client), QUOTE.0);
}

#[test]
fn connections_end_with_and_without_a_close_frame() {
    for (close_frame, end) in [(true, End::Frame(1001)), (false, End::Cut)] {
        let (venue, sim, mut client) = begun("kraken");
        sim.fault(Fault::Drop { close_frame });
        assert_eq!(client.end(), end);
        assert!(sim.wait(PATIENCE, |stats| stats.open == 0));
        // It is over at once.
        venue.subscribed(&sim);
    }
}

#[test]
fn a_connection_is_closed_after_so_many_frames() {
    let (venue, sim, mut client) = begun("binance");
    sim.fault(Fault::CloseAfter(3));
    for _ in 0..5 {
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    }
    for _ in 0..3 {
        assert_eq!(quotes(venue.name, client.text().as_bytes()).len(), 1);
    }
    assert_eq!(client.end(), End::Frame(1001));
}

#[test]
fn clients_are_asked_to_connect_anew() {
    for (name, words) in [
        ("bitstamp", "bts:request_reconnect"),
        ("binance", "serverShutdown"),
        ("okx", "64008"),
    ] {
        let (_, sim, mut client) = begun(name);
        sim.fault(Fault::Reconnect);
        let text = client.until(|text| text.contains(words));
        let id = VenueId::from_name(name).expect("a venue");
        Parser::new()
            .parse(id, text.as_bytes(), &mut |event| {
                assert!(matches!(event, Event::Status { .. }), "{name}: {event:?}");
            })
            .expect("a known shape");
    }
    let (_, sim, mut client) = begun("kraken");
    sim.fault(Fault::Reconnect);
    assert_eq!(client.end(), End::Frame(1012));
}

#[test]
fn garbage_is_of_its_kind_and_never_a_quote() {
    for venue in &VENUES {
        let sim = venue.start();
        let mut client = venue.subscribed(&sim);
        for kind in [
            Garbage::NotJson,
            Garbage::Cut,
            Garbage::NotUtf8,
            Garbage::WrongTypes,
        ] {
            sim.fault(Fault::Garbage(kind));
            let before = sim.stats().quotes;
            sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
            let message = loop {
                let message = client.next().expect("open");
                let ours = match &message {
                    Message::Text(text) => match kind {
                        Garbage::WrongTypes => text.contains(r#"{"no":[1]}"#),
                        _ => serde_json::from_str::<Value>(text).is_err(),
                    },
                    Message::Binary(_) => true,
                    _ => false,
                };
                if ours {
                    break message;
                }
            };
            assert_eq!(matches!(message, Message::Binary(_)), kind == Garbage::NotUtf8);
            let bytes = message.into_data();
            assert_eq!(std::str::from_utf8(&bytes).is_err(), kind == Garbage::NotUtf8);
            assert!(
                quotes(venue.name, &bytes).is_empty(),
                "{}: {kind:?}: {bytes:?}",
                venue.name
            );
            if kind == Garbage::WrongTypes {
                serde_json::from_slice::<Value>(&bytes).expect("well-formed JSON");
            }
            assert_eq!(sim.stats().quotes, before + 1);
        }
        sim.heal();
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        assert_eq!(next_bid(venue, &mut client), QUOTE.0);
    }
}

#[test]
fn one_frame_of_each_connection_is_huge() {
    let size = 20 << 20;
    let (venue, sim, mut client) = begun("binance");
    sim.fault(Fault::HugeFrame(size));
    // A reader that takes such a frame waits for the whole of it.
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
    match client.within(PATIENCE).expect("something comes") {
        Ok(message) => {
            assert_eq!(message.len(), size);
            serde_json::from_slice::<Value>(&message.into_data()).expect("well-formed JSON");
            assert_eq!(next_bid(venue, &mut client), QUOTE.0);
        }
        // This client's own bound is 16 MiB a frame.
        Err(end) => assert_eq!(end, End::Cut),
    }
}

#[test]
fn quotes_without_an_ack() {
    for venue in &VENUES {
        let sim = venue.start();
        sim.fault(Fault::NoAck);
        let mut client = venue.connect(&sim);
        client.send(&(venue.subscribe)(venue.instrument));
        assert!(
            sim.wait(PATIENCE, |stats| stats.subscribed(venue.instrument) == 1),
            "{}",
            venue.name
        );
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        client.until(|text| {
            assert!(!text.contains(venue.ack), "{}: {text}", venue.name);
            !quotes(venue.name, text.as_bytes()).is_empty()
        });
        assert_eq!(sim.stats().acks, 0, "{}", venue.name);
    }
}

#[test]
fn every_subscription_is_refused_in_the_venue_s_words() {
    for venue in &VENUES {
        let sim = venue.start();
        sim.fault(Fault::ErrorOnSubscribe);
        let mut client = venue.connect(&sim);
        client.send(&(venue.subscribe)(venue.instrument));
        let id = VenueId::from_name(venue.name).expect("a venue");
        client.until(|text| {
            let mut refused = false;
            let _ = Parser::new().parse(id, text.as_bytes(), &mut |event| {
                refused |= matches!(event, Event::Error(_));
            });
            refused
        });
        let stats = sim.stats();
        assert_eq!(
            (stats.acks, stats.refusals, stats.quotes),
            (0, 1, 0),
            "{}",
            venue.name
        );
        assert_eq!(stats.subscribed(venue.instrument), 0, "{}", venue.name);
        assert_eq!(stats.subscribed(UNKNOWN), 0, "{}", venue.name);
    }
}

#[test]
fn prices_are_wild_or_crossed_and_clocks_are_wrong_on_the_stream_and_at_rest() {
    for (fault, bid, ask) in [
        (Fault::Wild(3), "60000120", "60000340"),
        (Fault::Wild(-2), "600.0012", "600.0034"),
        (Fault::Crossed, QUOTE.1, QUOTE.0),
    ] {
        for venue in &VENUES {
            let sim = venue.start();
            let mut client = venue.subscribed(&sim);
            sim.fault(fault);
            sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
            let wanted = [(venue.instrument.to_owned(), decimal(bid), decimal(ask))];
            client.until(|text| {
                let found = quotes(venue.name, text.as_bytes());
                assert!(found.is_empty() || found == wanted, "{}: {found:?}", venue.name);
                !found.is_empty()
            });
            let body = venue.rest(&sim, venue.instrument).body;
            assert!(body.contains(bid) && body.contains(ask), "{}: {body}", venue.name);
        }
    }

    let (venue, sim, mut client) = begun("okx");
    let mut time = |skew: Option<i64>| {
        match skew {
            Some(ms) => sim.fault(Fault::ClockSkew(ms)),
            None => sim.heal(),
        }
        sim.set_quote(venue.instrument, QUOTE.0, QUOTE.1);
        let text = client.until(|text| text.contains("bidPx"));
        let json: Value = serde_json::from_str(&text).expect("JSON");
        json["data"][0]["ts"]
            .as_str()
            .expect("a time")
            .parse::<i64>()
            .expect("ms")
    };
    let (now, ahead, behind) = (time(None), time(Some(3_600_000)), time(Some(-3_600_000)));
    assert!(
        ahead - now >= 3_600_000 && ahead - now < 3_700_000,
        "{now} {ahead}"
    );
    assert!(
        now - behind <= 3_600_000 && now - behind > 3_500_000,
        "{now} {behind}"
    );
}

#[test]
fn rest_fails_in_every_way() {
    let kraken = venue("kraken");
    let sim = kraken.start();
    sim.set_quote(kraken.instrument, QUOTE.0, QUOTE.1);
    let path = (kraken.ticker)(kraken.instrument);
    let ask = || get(&sim.rest_url(), &path);

    sim.fault(Fault::RestStatus {
        status: 429,
        retry_after: Some(3),
    });
    let answer = ask().expect("an answer");
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after: 3"), "{}", answer.head);

    sim.fault(Fault::RestGarbage);
    let answer = ask().expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(serde_json::from_str::<Value>(&answer.body).is_err());

    sim.fault(Fault::RestHuge(1 << 20));
    assert_eq!(ask().expect("an answer").body.len(), 1 << 20);

    sim.fault(Fault::RestRefuse);
    assert!(ask().is_err());

    sim.fault(Fault::RestDelay(Duration::from_millis(150)));
    let begin = trinity_beast::clock::monotonic();
    assert!(ask().expect("an answer").body.contains(QUOTE.0));
    assert!(begin.elapsed() >= Duration::from_millis(150));

    sim.fault(Fault::RestHang);
    let calls = sim.stats().rest_calls;
    std::thread::scope(|scope| {
        let hanging = scope.spawn(ask);
        assert!(sim.wait(PATIENCE, |stats| stats.rest_calls == calls + 1));
        std::thread::sleep(Duration::from_millis(200));
        assert!(!hanging.is_finished());
        sim.heal();
        let answer = hanging.join().expect("no panic").expect("an answer");
        assert!(answer.body.contains(QUOTE.0));
    });

    // The stream was never touched, nor is REST by the faults of the stream.
    kraken.subscribed(&sim);
    sim.fault(Fault::RefuseConnect);
    assert_eq!(ask().expect("an answer").status, 200);
    assert_eq!(sim.stats().rest_paths.last(), Some(&path));
}

#[test]
fn faults_are_told_apart_by_name() {
    for (text, fault) in [
        ("mute", Fault::Mute),
        (
            "refuse-upgrade:429:5",
            Fault::RefuseUpgrade {
                status: 429,
                retry_after: Some(5),
            },
        ),
        (
            "refuse-upgrade",
            Fault::RefuseUpgrade {
                status: 403,
                retry_after: None,
            },
        ),
        ("clock-skew:-2000", Fault::ClockSkew(-2_000)),
        ("rest-delay:200", Fault::RestDelay(Duration::from_millis(200))),
        ("wrong-types", Fault::Garbage(Garbage::WrongTypes)),
    ] {
        assert_eq!(text.parse(), Ok(fault));
    }
    for text in ["", "Mute", "wild:x"] {
        let error = text.parse::<Fault>().expect_err(text);
        assert!(
            error.contains("mute") || error.contains("whole number"),
            "{error}"
        );
    }
}
