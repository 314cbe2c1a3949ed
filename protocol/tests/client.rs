//! What the blocking client promises, against a scripted server on loopback.
#![cfg(feature = "client")]

mod support;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use support::{ScriptedServer, head, key, keys, prices, prices_with, request, signed_error, unsigned};
use trinity_protocol::client::{Client, ClientConfig, ClientError, Unanswered, ping};
use trinity_protocol::{
    Code, Kind, MAX_DATAGRAM, PriceFlags, PriceQuery, PriceStatus, ReplyHead, RequestId, Symbol,
    encode_control_reply,
};

/// Long enough for any machine where an answer is due.
fn patient() -> ClientConfig {
    ClientConfig {
        timeout: Duration::from_secs(4),
        tries: 1,
    }
}

/// Where silence is the case under test: three tries in 350 ms.
fn brisk() -> ClientConfig {
    ClientConfig {
        timeout: Duration::from_millis(50),
        tries: 3,
    }
}

fn connect(server: &ScriptedServer, config: ClientConfig) -> Client {
    Client::connect(server.address(), &key(), config).expect("loopback")
}

fn btc() -> [PriceQuery; 1] {
    [query("BTC-USD")]
}

fn query(name: &str) -> PriceQuery {
    PriceQuery::new(Symbol::new(name).expect("a good name"))
}

fn mantissa(reply: &trinity_protocol::client::PriceReply) -> i64 {
    reply.prices[0].mantissa
}

fn unanswered(result: Result<trinity_protocol::client::PriceReply, ClientError>) -> Unanswered {
    match result {
        Err(ClientError::Unanswered(unanswered)) => unanswered,
        other => panic!("{other:?}"),
    }
}

#[test]
fn prices_come_back_in_the_order_asked_with_every_field() {
    let server = ScriptedServer::start(|_, datagram| vec![prices(datagram, 2_263_950)]);
    let mut client = connect(&server, patient());
    let reply = client
        .prices(&[query("BTC-USD"), query("ETH-USD")])
        .expect("answered");
    assert_eq!(reply.prices.len(), 2);
    let (btc, eth) = (reply.prices[0], reply.prices[1]);
    assert_eq!((btc.symbol.as_str(), eth.symbol.as_str()), ("BTC-USD", "ETH-USD"));
    assert_eq!((btc.mantissa, eth.mantissa), (2_263_950, 2_263_951));
    assert_eq!(btc.price().expect("LIVE has a price").to_string(), "22639.50");
    assert_eq!(
        btc.confidence_text().expect("LIVE has a price").to_string(),
        "0.03"
    );
    assert_eq!(btc.status, PriceStatus::Live);
    assert_eq!(btc.flags, PriceFlags::DERIVED.with(PriceFlags::REPLAYED));
    assert_eq!((btc.venues, btc.sequence, btc.publish_time_ns), (4, 9, 5));
    assert_eq!((reply.remaining, reply.refill_ms), (Some(41), 1_500));
    assert_eq!(reply.tries_used, 1);
    assert!(reply.round_trip > Duration::ZERO);
    let datagram = &server.stop()[0];
    assert_eq!(reply.server_clock_ns, request(datagram).clock_ns());
}

#[test]
fn a_lost_reply_is_asked_for_again_with_the_same_bytes() {
    let server = ScriptedServer::start(|number, datagram| match number {
        0 => vec![],
        _ => vec![prices(datagram, 5)],
    });
    let reply = connect(&server, brisk())
        .prices(&btc())
        .expect("the retry is answered");
    assert_eq!((mantissa(&reply), reply.tries_used), (5, 2));
    let seen = server.stop();
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn every_new_request_has_a_new_id_in_the_same_session_and_its_low_byte_as_lane() {
    let server = ScriptedServer::start(|_, datagram| vec![prices(datagram, 5)]);
    let mut client = connect(&server, patient());
    for _ in 0..3 {
        client.prices(&btc()).expect("answered");
    }
    let seen = server.stop();
    let ids: Vec<_> = seen
        .iter()
        .map(|datagram| request(datagram).request_id())
        .collect();
    assert!(ids.iter().all(|id| id.session == ids[0].session));
    assert_eq!(ids.iter().map(|id| id.counter).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(
        seen.iter()
            .map(|datagram| request(datagram).lane())
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
}

#[test]
fn a_signed_clock_answer_corrects_the_clock_once_and_for_later_requests() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let mut server_ahead_of = None;
    let server = ScriptedServer::start(move |_, datagram| {
        let sender = request(datagram).clock_ns();
        // The server's clock is an hour ahead of what the first request said.
        let server = *server_ahead_of.get_or_insert(sender + HOUR_NS);
        let mut head = head(datagram, Code::Ok);
        head.clock_ns = server;
        if sender.abs_diff(server) <= 5_000_000_000 {
            vec![prices_with(datagram, head, 8)]
        } else {
            head.code = Code::Clock;
            vec![signed_error(head)]
        }
    });
    let mut client = connect(&server, patient());
    let reply = client.prices(&btc()).expect("answered after the correction");
    assert_eq!((mantissa(&reply), reply.tries_used), (8, 2));
    assert!(client.clock_offset_ns().unsigned_abs().abs_diff(HOUR_NS) < 1_000_000_000);
    assert_eq!(client.prices(&btc()).expect("the offset is kept").tries_used, 1);
    let seen = server.stop();
    assert_eq!(seen.len(), 3);
    assert_ne!(
        request(&seen[0]).request_id(),
        request(&seen[1]).request_id(),
        "other bytes are another request"
    );
}

#[test]
fn a_server_that_always_says_clock_is_reported_after_one_correction() {
    let server = ScriptedServer::start(|_, datagram| vec![signed_error(head(datagram, Code::Clock))]);
    let error = connect(&server, patient()).prices(&btc()).expect_err("refused");
    assert!(matches!(error, ClientError::Refused(_)));
    assert_eq!(error.code(), Some(Code::Clock));
    assert_eq!(server.stop().len(), 2);
}

#[test]
fn an_unsigned_clock_answer_moves_no_clock() {
    let server = ScriptedServer::start(|_, datagram| {
        let mut forged = head(datagram, Code::Clock);
        forged.clock_ns = 1;
        vec![unsigned(Kind::Error, forged), prices(datagram, 5)]
    });
    let mut client = connect(&server, patient());
    assert_eq!(mantissa(&client.prices(&btc()).expect("answered")), 5);
    assert_eq!(client.clock_offset_ns(), 0);
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn forgeries_and_noise_are_ignored_until_the_genuine_reply_comes() {
    let server = ScriptedServer::start(|_, datagram| {
        let genuine = prices(datagram, 5);
        let mut wrong_tag = prices(datagram, 666);
        *wrong_tag.last_mut().expect("not empty") ^= 1;
        let mut wrong_price = prices(datagram, 666);
        wrong_price[32] ^= 1;
        let no_tag = [&genuine[..64], &[0; 16]].concat();
        let mut other_id = head(datagram, Code::Ok);
        other_id.request_id = RequestId::new(other_id.request_id.session, other_id.request_id.counter + 1);
        let short = genuine[..79].to_vec();
        let long = [&genuine[..], &[0]].concat();
        let huge = [0x54; 1_500].to_vec();
        // Signed as it should be, yet with no entry for the symbol that was asked.
        let none = encode_control_reply(
            &mut [0; MAX_DATAGRAM],
            Kind::PriceReply,
            head(datagram, Code::Ok),
            Some(&keys().reply),
        )
        .to_vec();
        let pong = unsigned(Kind::PingReply, head(datagram, Code::Ok));
        let own = datagram.to_vec();
        vec![
            wrong_tag,
            wrong_price,
            no_tag,
            prices_with(datagram, other_id, 666),
            short,
            long,
            huge,
            none,
            pong,
            own,
            Vec::new(),
            genuine,
        ]
    });
    let reply = connect(&server, patient()).prices(&btc()).expect("answered");
    assert_eq!((mantissa(&reply), reply.tries_used), (5, 1));
}

#[test]
fn a_late_reply_to_an_older_request_is_not_taken_for_the_newer_ones() {
    let mut kept = Vec::new();
    let server = ScriptedServer::start(move |number, datagram| match number {
        0 => {
            kept = prices(datagram, 1);
            vec![]
        }
        _ => vec![kept.clone(), prices(datagram, 2)],
    });
    let mut client = connect(
        &server,
        ClientConfig {
            timeout: Duration::from_millis(400),
            tries: 1,
        },
    );
    unanswered(client.prices(&btc()));
    assert_eq!(mantissa(&client.prices(&btc()).expect("answered")), 2);
}

#[test]
fn a_recorded_reply_from_another_day_is_ignored_though_its_tag_is_right() {
    let server = ScriptedServer::start(|_, datagram| {
        let now = head(datagram, Code::Ok);
        let old = ReplyHead {
            clock_ns: now.clock_ns - 86_400_000_000_000,
            ..now
        };
        vec![prices_with(datagram, old, 666), prices(datagram, 5)]
    });
    assert_eq!(
        mantissa(&connect(&server, patient()).prices(&btc()).expect("answered")),
        5
    );
}

#[test]
fn an_unsigned_unauthenticated_is_reported_as_a_hint_after_two_tries() {
    let server = ScriptedServer::start(|_, datagram| {
        vec![unsigned(Kind::Error, head(datagram, Code::Unauthenticated))]
    });
    let config = ClientConfig {
        timeout: Duration::from_millis(200),
        tries: 4,
    };
    let error = connect(&server, config)
        .prices(&btc())
        .expect_err("no genuine answer");
    assert_eq!(error.code(), Some(Code::Unauthenticated));
    assert!(
        error.to_string().contains("check that the key is complete"),
        "{error}"
    );
    assert_eq!(server.stop().len(), 2, "nobody waits for four tries");
}

#[test]
fn a_genuine_reply_beats_an_unsigned_refusal_even_one_try_later() {
    let server = ScriptedServer::start(|number, datagram| match number {
        0 => vec![unsigned(Kind::Error, head(datagram, Code::Unauthenticated))],
        _ => vec![
            unsigned(Kind::Error, head(datagram, Code::Malformed)),
            prices(datagram, 5),
        ],
    });
    let reply = connect(&server, brisk()).prices(&btc()).expect("answered");
    assert_eq!((mantissa(&reply), reply.tries_used), (5, 2));
}

#[test]
fn a_signed_refusal_ends_the_request_at_once_and_tells_when_to_come_back() {
    let server = ScriptedServer::start(|_, datagram| {
        let mut head = head(datagram, Code::RateLimited);
        head.remaining = 0;
        vec![signed_error(head)]
    });
    match connect(&server, patient()).prices(&btc()) {
        Err(ClientError::Refused(refusal)) => {
            assert_eq!(refusal.code, Code::RateLimited);
            assert_eq!((refusal.remaining, refusal.refill_ms), (Some(0), 1_500));
            assert!(refusal.to_string().contains("1.5 s"), "{refusal}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(server.stop().len(), 1, "asking again would only cost more");
}

#[test]
fn unlimited_keys_have_no_remaining_count() {
    let server = ScriptedServer::start(|_, datagram| {
        let mut head = head(datagram, Code::Ok);
        head.remaining = u32::MAX;
        vec![prices_with(datagram, head, 5)]
    });
    let reply = connect(&server, patient()).prices(&btc()).expect("answered");
    assert_eq!(reply.remaining, None);
}

#[test]
fn after_a_replay_refusal_the_next_request_starts_a_new_session() {
    let server = ScriptedServer::start(|number, datagram| match number {
        0 => vec![signed_error(head(datagram, Code::Replay))],
        _ => vec![prices(datagram, 5)],
    });
    let mut client = connect(&server, patient());
    let refused = client.prices(&btc()).expect_err("REPLAY");
    assert_eq!(refused.code(), Some(Code::Replay));
    client.prices(&btc()).expect("answered");
    let seen = server.stop();
    assert_ne!(
        request(&seen[0]).request_id().session,
        request(&seen[1]).request_id().session
    );
}

#[test]
fn an_entry_of_an_undefined_status_is_an_error_and_no_price() {
    let server = ScriptedServer::start(|_, datagram| {
        let mut reply = prices(datagram, 5);
        reply[32 + 25] = 7;
        let tag = keys().reply.tag(&reply[..64]);
        reply[64..].copy_from_slice(&tag);
        vec![reply]
    });
    let error = connect(&server, patient()).prices(&btc()).expect_err("status 7");
    assert!(matches!(error, ClientError::Unreadable(_)), "{error:?}");
}

#[test]
fn a_silent_server_gets_every_try_and_the_error_says_what_to_check() {
    let server = ScriptedServer::start(|_, _| vec![]);
    let error = unanswered(connect(&server, brisk()).prices(&btc()));
    assert_eq!((error.tries, error.hint, error.refused), (3, None, false));
    assert!(
        error.waited >= Duration::from_millis(350),
        "50, 100 and 200 ms: {:?}",
        error.waited
    );
    assert!(error.to_string().contains("firewalls"), "{error}");
    let seen = server.stop();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|datagram| *datagram == seen[0]));
}

#[test]
fn a_port_where_nothing_listens_is_named_after_all_tries() {
    let error = unanswered(
        Client::connect(dead_address(), &key(), brisk())
            .expect("UDP connects anywhere")
            .prices(&btc()),
    );
    assert_eq!((error.tries, error.refused), (3, true));
    assert!(
        error.to_string().contains("nothing listens at 127.0.0.1"),
        "{error}"
    );
}

#[test]
fn a_name_whose_first_address_is_dead_is_answered_by_its_second() {
    let server = ScriptedServer::start(|_, datagram| vec![prices(datagram, 5)]);
    let addresses = [dead_address(), server.address()];
    let mut client = Client::connect(&addresses[..], &key(), patient()).expect("loopback");
    let reply = client.prices(&btc()).expect("answered by the second");
    assert_eq!((mantissa(&reply), reply.tries_used), (5, 1));
    assert_eq!(client.server(), server.address());
}

#[test]
fn ipv6_works_as_ipv4_does() {
    let server = match ScriptedServer::start_at(Ipv6Addr::LOCALHOST.into(), |_, datagram| {
        vec![prices(datagram, 5)]
    }) {
        Ok(server) => server,
        Err(error) => {
            eprintln!("skipped: no IPv6 loopback here: {error}");
            return;
        }
    };
    assert_eq!(
        mantissa(&connect(&server, patient()).prices(&btc()).expect("answered")),
        5
    );
}

#[test]
fn a_ping_needs_no_key_and_gives_the_servers_clock() {
    let server = ScriptedServer::start(|_, datagram| {
        assert_eq!(datagram.len(), 48);
        let mut head = head(datagram, Code::Ok);
        head.clock_ns = 1_234;
        let mut late = head;
        late.request_id = RequestId::new(1, 1);
        vec![unsigned(Kind::PingReply, late), unsigned(Kind::PingReply, head)]
    });
    let pong = ping(server.address(), patient()).expect("answered");
    assert_eq!((pong.server_clock_ns, pong.tries_used), (1_234, 1));
    let pong = connect(&server, patient()).ping().expect("answered");
    assert_eq!(pong.server_clock_ns, 1_234);
}

#[test]
fn no_query_and_more_than_31_are_refused_without_a_datagram() {
    let server = ScriptedServer::start(|_, _| vec![]);
    let mut client = connect(&server, patient());
    for asked in [0, 32] {
        match client.prices(&vec![query("BTC-USD"); asked]) {
            Err(ClientError::QueryCount { asked: told }) => assert_eq!(told, asked),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(server.stop().len(), 0);
}

#[test]
fn the_largest_batch_goes_through() {
    let server = ScriptedServer::start(|_, datagram| {
        assert_eq!(datagram.len(), MAX_DATAGRAM);
        vec![prices(datagram, 1)]
    });
    let names: Vec<_> = (0..31).map(|i| query(&format!("S{i}-USD"))).collect();
    let reply = connect(&server, patient()).prices(&names).expect("answered");
    assert_eq!(reply.prices.len(), 31);
    assert_eq!(reply.prices[30].mantissa, 31);
}

#[test]
fn settings_that_cannot_work_are_refused_at_once() {
    for (timeout_ms, tries) in [(0, 1), (100, 0), (100, 9), (2_000, 3)] {
        let config = ClientConfig {
            timeout: Duration::from_millis(timeout_ms),
            tries,
        };
        assert!(
            matches!(
                Client::connect("127.0.0.1:9", &key(), config),
                Err(ClientError::Config(_))
            ),
            "{timeout_ms} ms, {tries} tries"
        );
    }
    assert!(matches!(
        Client::connect("127.0.0.1", &key(), patient()),
        Err(ClientError::Resolve(_))
    ));
}

#[test]
fn a_clients_debug_form_shows_no_secret() {
    let client = Client::connect("127.0.0.1:9", &key(), patient()).expect("UDP connects anywhere");
    let shown = format!("{client:?}");
    assert!(shown.contains("MacKey(..)"), "{shown}");
    assert!(!shown.contains("9, 9, 9"), "{shown}");
}

/// An address that was free a moment ago.
fn dead_address() -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback");
    socket.local_addr().expect("bound")
}
