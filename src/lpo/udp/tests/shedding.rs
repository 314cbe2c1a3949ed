//! Whom a shard stops serving first when it cannot keep up.

use super::*;
use crate::limits::OVERLOADED_BURST;
use crate::tables::counters::Counter;

const PARTNER: Limits = Limits::NONE;

impl Server {
    /// How many of 100 requests of key 1, all new, are answered with OK.
    fn served(&mut self, session: u32) -> usize {
        let ask = |i| {
            let request = self.request(1, RequestId::new(session, i), NOW, &["BTC-USD"]);
            let reply = self.ask(&request, NOW)?;
            Some(ReplyView::parse(&reply).expect("well-formed").head().code)
        };
        (0..100).map(ask).filter(|code| *code == Some(Code::Ok)).count()
    }

    fn shed_so_far(&self) -> [u64; Shed::ALL.len()] {
        self.counters.shed.each_ref().map(Counter::get)
    }
}

fn ping() -> Vec<u8> {
    let head = RequestHead {
        key_id: KeyId(0),
        request_id: ID,
        lane: 0,
        clock_ns: 0,
    };
    encode_control_request(&mut [0; MAX_DATAGRAM], Kind::Ping, head, None).to_vec()
}

#[test]
fn pings_and_the_unproven_go_first_and_nobody_else_with_them() {
    let mut server = Server::new(Limits::new(Some(1_000), Some(1_000), None));
    server.pressure = Pressure::Unproven;
    assert_eq!(server.ask(&ping(), NOW), None);
    let unknown = server.request(4, ID, NOW, &["BTC-USD"]);
    assert_eq!(server.ask(&unknown, NOW), None);
    assert_eq!(server.served(1), 100);
    assert_eq!(server.shed_so_far(), [1, 1, 0, 0, 0]);
}

#[test]
fn then_keys_over_their_rate_and_those_within_it_do_not_notice() {
    let mut server = Server::new(Limits::new(Some(1), Some(60), None));
    server.pressure = Pressure::OverRate;
    assert_eq!(server.served(1), 60, "the burst");
    assert_eq!(server.shed_so_far(), [0, 0, 40, 0, 0]);
}

#[test]
fn then_keys_with_a_limit_and_partners_do_not_notice() {
    let mut limited = Server::new(Limits::new(Some(1_000), Some(1_000), None));
    let mut capped = Server::new(Limits::new(None, None, Some(1_000)));
    let mut partner = Server::new(PARTNER);
    for (server, served) in [(&mut limited, 0), (&mut capped, 0), (&mut partner, 100)] {
        server.pressure = Pressure::Limited;
        assert_eq!(server.served(1), served);
        assert_eq!(server.shed_so_far(), [0, 0, 0, 100 - served as u64, 0]);
    }
}

#[test]
fn partners_are_last_and_never_all_of_them() {
    let mut server = Server::new(PARTNER);
    server.pressure = Pressure::Partners;
    assert_eq!(server.served(1), 50);
    assert_eq!(server.shed_so_far(), [0, 0, 0, 0, 50]);
    // Trains take turns like single requests.
    let train = |server: &Server, session| -> Vec<_> {
        (0..30)
            .map(|i| server.request(1, RequestId::new(session, i), NOW, &["BTC-USD"]))
            .collect()
    };
    let mut served = Vec::new();
    for session in 2..6 {
        let datagrams = train(&server, session);
        let replies = server.ask_batch(&datagrams, NOW);
        let is_ok = |reply: &Vec<u8>| ReplyView::parse(reply).expect("a reply").head().code == Code::Ok;
        served.push(replies.iter().flatten().filter(|reply| is_ok(reply)).count());
    }
    served.sort_unstable();
    assert_eq!(served, [0, 0, 30, 30]);
}

#[test]
fn overloaded_is_signed_limited_and_nobody_is_billed_for_it() {
    let mut server = Server::new(Limits::new(Some(10_000), Some(10_000), None));
    server.pressure = Pressure::Limited;
    let mut told = 0;
    for i in 0..3 * OVERLOADED_BURST {
        let request = server.request(1, RequestId::new(7, i), NOW, &["BTC-USD"]);
        if let Some(reply) = server.ask(&request, NOW) {
            let view = ReplyView::parse(&reply).expect("well-formed");
            assert_eq!(view.head().code, Code::Overloaded);
            assert!(view.verify(&server.mac.reply));
            told += 1;
        }
    }
    assert_eq!(told, OVERLOADED_BURST, "beyond it there is silence");
    let forged = {
        let mut request = server.request(1, ID, NOW + 1, &["BTC-USD"]);
        request[79] ^= 1;
        request
    };
    assert_eq!(
        server.ask(&forged, NOW + 1_000_000_000),
        None,
        "nothing is signed for a forger"
    );
    assert_eq!(server.billed(), 0);
}

#[test]
fn what_was_shed_may_be_asked_again_and_is_new() {
    let mut server = Server::new(Limits::new(Some(1_000), Some(1_000), None));
    server.pressure = Pressure::Limited;
    assert_eq!(server.served(1), 0);
    server.pressure = Pressure::None;
    assert_eq!(server.served(1), 100);
    assert_eq!(server.counters.repeats.get(), 0);
}

#[test]
fn each_step_sheds_whatever_the_one_before_it_sheds() {
    for (step, before) in Pressure::ALL[1..].iter().zip(Pressure::ALL) {
        assert!(*step > before);
        let mut server = Server::new(Limits::new(Some(1), Some(60), None));
        server.pressure = *step;
        assert_eq!(server.ask(&ping(), NOW), None);
        assert!(server.served(1) <= 60);
    }
}
