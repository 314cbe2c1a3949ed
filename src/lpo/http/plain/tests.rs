use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;
use trinity_protocol::PriceStatus;

use super::super::tests::{NOW, PEER, Server, UNLIMITED, bearer, key, live};
use super::*;
use crate::tables::limiter::Limits;
use crate::tables::prices::{PriceRecord, SymbolIndex};

/// A connection on the short way.
#[derive(Default)]
struct Connection {
    remembered: Remembered,
    desk: PlainDesk,
    keys: u64,
}

fn request(target: &str, id: u64) -> String {
    let key = key(id);
    format!(
        "GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        key.expose()
    )
}

impl Connection {
    /// What is answered to these bytes, and the answer.
    fn ask(&mut self, server: &mut Server, bytes: &str, now_ns: u64) -> (Plain, Vec<u8>) {
        let mut out = Vec::new();
        let moment = Moment {
            peer: PEER,
            arrived_ns: now_ns,
            now_ns,
            keys: self.keys,
        };
        let plain = server.at(now_ns, |answerer| {
            answerer.plain(
                bytes.as_bytes(),
                moment,
                &mut self.remembered,
                &mut self.desk,
                &mut out,
            )
        });
        assert_eq!(out.is_empty(), !matches!(plain, Plain::Answered { .. }));
        (plain, out)
    }
}

/// A response's fields and body.
fn parsed(response: &[u8]) -> (HeaderMap, &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut fields);
    let status = head.parse(response).expect("a response");
    assert_eq!((head.code, head.version), (Some(200), Some(1)));
    let headers = head.headers.iter().map(|field| {
        (
            HeaderName::from_bytes(field.name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(field.value).expect("a value"),
        )
    });
    (headers.collect(), &response[status.unwrap()..])
}

#[test]
fn a_key_that_may_not_be_used_from_here_is_left_to_the_long_way_which_says_so() {
    let mut server = Server::new(UNLIMITED);
    let mut connection = Connection::default();
    let asked = |id| request("/price?asset=btc", id);
    let (plain, _) = connection.ask(&mut server, &asked(5), NOW);
    assert!(matches!(plain, Plain::Answered { .. }));
    for id in [4, 6] {
        // The second time its head is remembered.
        for _ in 0..2 {
            assert_eq!(connection.ask(&mut server, &asked(id), NOW).0, Plain::Other);
        }
    }
}

#[test]
fn a_remembered_head_is_one_request_and_its_key_is_asked_for_again_with_every_table() {
    let mut server = Server::new(UNLIMITED);
    let mut connection = Connection::default();
    let train = request("/price?asset=btc", 1) + &request("/price?asset=BTC-USD", 1) + "GET /pri";
    let length = request("/price?asset=btc", 1).len();
    let (plain, _) = connection.ask(&mut server, &train, NOW);
    assert_eq!(plain, Plain::Answered { length, now_ns: NOW });
    let (plain, answer) = connection.ask(&mut server, &train[length..], NOW);
    assert_eq!(
        plain,
        Plain::Answered {
            length: length + 4,
            now_ns: NOW
        }
    );
    assert!(parsed(&answer).1.starts_with(b"{\"asset\":\"BTC-USD\","));
    assert_eq!(
        connection.ask(&mut server, &train[2 * length + 4..], NOW).0,
        Plain::Partial
    );

    // Another table, which does not have the key.
    server.keys = crate::tables::keys::KeyTable::default();
    connection.keys += 1;
    assert_eq!(connection.ask(&mut server, &train, NOW).0, Plain::Other);
}

#[test]
fn a_remembered_key_expires_and_another_key_is_not_taken_for_it() {
    let mut server = Server::new(UNLIMITED);
    let mut connection = Connection::default();
    let expires = request("/price?asset=btc", 3);
    for (now_ns, is_answered) in [(NOW - 1, true), (NOW - 1, true), (NOW, false)] {
        let (plain, _) = connection.ask(&mut server, &expires, now_ns);
        assert_eq!(matches!(plain, Plain::Answered { .. }), is_answered);
    }
    let good = request("/price?asset=btc", 1);
    assert!(matches!(
        connection.ask(&mut server, &good, NOW).0,
        Plain::Answered { .. }
    ));
    for other in [2, 3, 77] {
        assert_eq!(
            connection
                .ask(&mut server, &request("/price?asset=btc", other), NOW)
                .0,
            Plain::Other
        );
    }
    for at in good.find("tb_live_").expect("a key")..good.len() - 4 {
        let mut wrong = good.clone().into_bytes();
        wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
        let wrong = String::from_utf8(wrong).expect("ASCII");
        let (plain, _) = connection.ask(&mut server, &wrong, NOW);
        // Another character may stand for the same key, as O does for 0.
        assert!(plain == Plain::Other || wrong == good, "{at}");
    }
}

#[test]
fn what_is_not_answered_is_neither_charged_nor_counted() {
    let mut server = Server::new(Limits::new(None, None, Some(1)));
    let mut connection = Connection::default();
    for target in [
        "/price?asset=nope",
        "/price?",
        "/price?asset=btc&key=x",
        "/price?asset=tb_live_x",
    ] {
        assert_eq!(
            connection.ask(&mut server, &request(target, 1), NOW).0,
            Plain::Other,
            "{target}"
        );
    }
    assert!(!server.meter.close(), "nothing was counted");
    let btc = request("/price?asset=btc", 1);
    assert!(matches!(
        connection.ask(&mut server, &btc, NOW).0,
        Plain::Answered { .. }
    ));
    assert_eq!(connection.ask(&mut server, &btc, NOW).0, Plain::Other, "used up");
    assert_eq!(server.outcomes(), [(Code::Ok, 1)]);
}

/// Targets of all kinds, most of them plain.
fn target() -> impl Strategy<Value = String> {
    let asset = prop_oneof![
        4 => "btc|BTC-USD|XBT%2FUSD|XBT/USD|ETH-USD|s[2-9]-usd|s1[0-4][0-9]-USD",
        1 => "[a-zA-Z0-9/_.~:,+%-]{0,20}",
    ];
    let tail = prop_oneof![
        4 => Just(String::new()),
        2 => "&max_age_ms=[0-9]{1,6}",
        1 => "&[a-z_]{0,8}=[a-z0-9%]{0,5}",
    ];
    let name = prop_oneof![6 => Just("asset"), 1 => Just("symbol"), 1 => Just("token")];
    (name, asset, tail).prop_map(|(name, asset, tail)| format!("/price?{name}={asset}{tail}"))
}

/// What the market and the key table do between two requests.
#[derive(Clone, Debug)]
enum Turn {
    Ask(String, u64),
    Publish(u32, i64, i8, usize),
    Wait(u64),
    Keys,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        6 => (target(), prop_oneof![6 => Just(1_u64), 1 => 1..5_u64]).prop_map(|(t, k)| Turn::Ask(t, k)),
        2 => (0..3_u32, any::<i64>(), -12..3_i8, 0..PriceStatus::ALL.len())
            .prop_map(|(i, m, e, s)| Turn::Publish(i, m, e, s)),
        1 => (0..20_000_000_000_u64).prop_map(Turn::Wait),
        1 => Just(Turn::Keys),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_short_way_says_what_the_long_way_says(
        turns in proptest::collection::vec(turn(), 1..60),
        per_second in proptest::option::of(1..50_u32),
        per_month in proptest::option::of(1..60_u64),
    ) {
        let limits = Limits::new(per_second, None, per_month);
        let (mut short, mut long) = (Server::new(limits), Server::new(limits));
        let mut connection = Connection::default();
        let mut now_ns = NOW;
        for turn in turns {
            match turn {
                Turn::Wait(ns) => now_ns += ns,
                // The same keys, in a table that is another one as far as anybody knows.
                Turn::Keys => connection.keys += 1,
                Turn::Publish(index, mantissa, exponent, status) => {
                    let status = PriceStatus::ALL[status];
                    let record = PriceRecord {
                        mantissa, exponent, status, quality: status, age_origin_ns: now_ns, ..live(0, 0)
                    };
                    short.writer.publish(SymbolIndex(index), record);
                    long.writer.publish(SymbolIndex(index), record);
                }
                Turn::Ask(target, id) => {
                    let headers = bearer(&key(id).expose().to_string());
                    let expected = long.ask_on(now_ns, &target, &headers);
                    match connection.ask(&mut short, &request(&target, id), now_ns) {
                        (Plain::Answered { length, now_ns: done_ns }, answer) => {
                            prop_assert_eq!(length, request(&target, id).len());
                            prop_assert_eq!((expected.code, expected.entries), (Code::Ok, 1));
                            prop_assert_eq!(expected.latency_ns, done_ns - now_ns);
                            let (mut headers, body) = parsed(&answer);
                            prop_assert_eq!(body, &expected.response.body()[..]);
                            let length = headers.remove("content-length").expect("told");
                            prop_assert_eq!(length, body.len().to_string());
                            prop_assert!(headers.remove("date").is_some());
                            let order = |headers: &HeaderMap| {
                                headers.keys().map(ToString::to_string).collect::<Vec<_>>()
                            };
                            prop_assert_eq!(order(&headers), order(expected.response.headers()));
                            prop_assert_eq!(&headers, expected.response.headers());
                        }
                        (plain, _) => {
                            prop_assert_eq!(plain, Plain::Other);
                            let given = short.ask_on(now_ns, &target, &headers);
                            prop_assert_eq!(given.response.body(), expected.response.body());
                            prop_assert!(
                                expected.response.status() != 200 || target.contains('%') || target.contains('+'),
                                "it could have been answered: {}", target
                            );
                        }
                    }
                }
            }
        }
        if long.meter.pending() + short.meter.pending() > 0 {
            let (short, long) = (short.usage(), long.usage());
            prop_assert_eq!(short.requests(), long.requests());
            prop_assert!(short.symbols().eq(long.symbols()));
        }
    }
}
