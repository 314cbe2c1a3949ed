//! A server's first sight of a datagram: it is read or refused, never both directions, and no
//! answer that the codec makes to it is longer than it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use trinity_protocol::reply::seal_reply;
use trinity_protocol::request::peek_request_id;
use trinity_protocol::{
    ApiKey, Code, Kind, MAX_DATAGRAM, MIN_DATAGRAM, MacKeys, ReplyHead, ReplyView, RequestView, Symbol,
    datagram_len,
};

fuzz_target!(|bytes: &[u8]| {
    let key = ApiKey::from_parts(1, [7; 32]).expect("1 is in range");
    let keys = MacKeys::from_verifier(&key.verifier());
    let (kind, code, count) = match RequestView::parse(bytes) {
        Ok(view) => {
            assert_eq!(bytes.len(), datagram_len(view.entries().len()));
            assert_eq!(view.request_id(), peek_request_id(bytes));
            assert!(ReplyView::parse(bytes).is_err(), "a datagram has one direction");
            for entry in view.entries() {
                if let Ok(symbol) = Symbol::from_wire(entry.symbol) {
                    assert_eq!(symbol.to_wire(), entry.symbol);
                }
            }
            let _ = view.verify(&keys.request);
            match view.kind() {
                Kind::Price => (Kind::PriceReply, Code::Ok, view.entries().len()),
                Kind::Ping => (Kind::PingReply, Code::Ok, 0),
                _ => (Kind::Error, Code::Forbidden, 0),
            }
        }
        Err(refusal) => match refusal.code() {
            Some(code) => (Kind::Error, code, 0),
            None => {
                let ours = bytes.len() >= MIN_DATAGRAM && bytes.starts_with(b"TB");
                assert!(
                    !ours || bytes[3] & 0x80 != 0,
                    "only noise and replies meet silence"
                );
                return;
            }
        },
    };
    let head = ReplyHead {
        code,
        remaining: 0,
        refill_ms: 0,
        request_id: peek_request_id(bytes),
        clock_ns: 0,
    };
    let mut buffer = [0; MAX_DATAGRAM];
    let answer = seal_reply(&mut buffer, kind, count, head, Some(&keys.reply));
    assert!(answer.len() <= bytes.len(), "no amplification");
    let read = ReplyView::parse(answer).expect("answers are well-formed");
    assert_eq!(read.head(), head);
    assert!(read.verify(&keys.reply));
});
