//! The faults of connections: dead, refused, cut, closed, and asked to be made anew.

use std::time::Duration;

use tokio_tungstenite::tungstenite::{Error, Message};
use trinity_beast::market::venue::{Event, Parser, VenueId};

use crate::client::{Client, End, PATIENCE};
use crate::faults::{FAST, LONG, begun, next_bid};
use crate::quotes;
use crate::sim::Fault;
use crate::venues::QUOTE;

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
