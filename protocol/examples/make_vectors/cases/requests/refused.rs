//! Well-formed requests that are refused.

use super::{Request, SUBSCRIBE, USAGE, refused, sign, unproven};
use crate::cases::vector::RequestVector;
use crate::cases::{key, mac_keys, stranger};

pub(super) fn unauthenticated() -> Vec<RequestVector> {
    let plain = Request::price(&["BTC-USD"]);
    let unknown = Request {
        key_id: stranger().key_id().0,
        ..plain.clone()
    };
    let no_key = Request {
        key_id: 0,
        ..plain.clone()
    };
    let flipped = |at: usize, request: Request| {
        let mut bytes = plain.signed();
        bytes[at] ^= 1;
        (request, bytes)
    };
    let (symbol, symbol_bytes) = flipped(32, Request::price(&["CTC-USD"]));
    let (lane, lane_bytes) = flipped(
        6,
        Request {
            lane: 0,
            ..plain.clone()
        },
    );
    let (clock, clock_bytes) = flipped(
        24,
        Request {
            clock_ns: plain.clock_ns ^ 1,
            ..plain.clone()
        },
    );
    let (tag, tag_bytes) = flipped(79, plain.clone());
    let reply_key = {
        let body = plain.body();
        let tag = mac_keys(&key()).reply.tag(&body);
        [&body[..], &tag].concat()
    };
    let old = Request::at(0);
    vec![
        unproven(
            "unknown_key",
            "A key that the server does not know, correctly signed with it.",
            &unknown,
            sign(unknown.body(), &stranger()),
        ),
        unproven("key_id_zero", "No key at all.", &no_key, no_key.unsigned()),
        unproven(
            "tag_of_another_key",
            "A known key id, signed by somebody else.",
            &plain,
            sign(plain.body(), &stranger()),
        ),
        unproven(
            "tag_zero",
            "A request that nobody signed.",
            &plain,
            plain.unsigned(),
        ),
        unproven(
            "tag_of_the_reply_key",
            "Signed with the reply key: the directions have keys of their own.",
            &plain,
            reply_key,
        ),
        unproven(
            "tag_last_bit_flipped",
            "The tag's last byte is off by one bit.",
            &tag,
            tag_bytes,
        ),
        unproven(
            "symbol_bit_flipped",
            "One bit of the symbol was changed on the way.",
            &symbol,
            symbol_bytes,
        ),
        unproven(
            "lane_bit_flipped",
            "The tag covers the lane as well.",
            &lane,
            lane_bytes,
        ),
        unproven(
            "clock_bit_flipped",
            "The tag covers the clock: nobody can freshen an old request.",
            &clock,
            clock_bytes,
        ),
        unproven(
            "unsigned_old_clock",
            "The tag is judged before the clock: strangers learn nothing of the server's clock rule.",
            &old,
            old.unsigned(),
        ),
    ]
}

pub(super) fn forbidden() -> Vec<RequestVector> {
    let subscribe = Request::of_kind(SUBSCRIBE, 0);
    let unsigned = subscribe.unsigned();
    let old = Request {
        clock_ns: 0,
        ..subscribe.clone()
    };
    vec![
        refused("subscribe", "SUBSCRIBE is reserved.", &subscribe, "FORBIDDEN"),
        refused(
            "subscribe_with_entries",
            "SUBSCRIBE is reserved, whatever it carries.",
            &Request::of_kind(SUBSCRIBE, 2),
            "FORBIDDEN",
        ),
        refused(
            "usage",
            "USAGE is reserved.",
            &Request::of_kind(USAGE, 0),
            "FORBIDDEN",
        ),
        refused(
            "usage_31_entries",
            "USAGE is reserved, at any length.",
            &Request::of_kind(USAGE, 31),
            "FORBIDDEN",
        ),
        refused(
            "subscribe_old_clock",
            "The clock is judged before the kind.",
            &old,
            "CLOCK",
        ),
        unproven(
            "subscribe_unsigned",
            "A reserved kind needs a good tag as well.",
            &subscribe,
            unsigned,
        ),
    ]
}
