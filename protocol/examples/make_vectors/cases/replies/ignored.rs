//! Datagrams that a waiting client must ignore.

use trinity_protocol::Code;

use super::{ERROR, Price, Reply, bad, expect, sign, vector, waiting};
use crate::cases::vector::ReplyVector;
use crate::cases::{NOW_NS, SESSION, key, mac_keys, requests, stranger};

pub(super) fn not_for_us() -> Vec<ReplyVector> {
    let one = Reply::prices(vec![Price::live()]);
    let ignored = |name, meaning, reply: &Reply, bytes: &[u8], tag| {
        vector(name, meaning, waiting(1), bytes, expect(reply, tag, "ignore"))
    };
    let other_counter = Reply {
        counter: 2,
        ..one.clone()
    };
    let other_session = Reply {
        session: SESSION + 1,
        ..one.clone()
    };
    let other_error = Reply {
        counter: 2,
        ..Reply::error(Code::Unauthenticated)
    };
    let other_day = Reply {
        clock_ns: NOW_NS - 86_400_000_000_000,
        ..one.clone()
    };
    let other_day_error = Reply {
        clock_ns: NOW_NS - 86_400_000_000_000,
        ..Reply::error(Code::RateLimited)
    };
    let changed = Reply::prices(vec![Price::valued(2_063_412_345_679, -8, "20634.12345679")]);
    let mut changed_bytes = one.signed();
    changed_bytes[32] ^= 1;
    let strangers_tag = {
        let body = one.body();
        [&body[..], &mac_keys(&stranger()).reply.tag(&body)].concat()
    };
    let request_keys_tag = {
        let body = one.body();
        [&body[..], &mac_keys(&key()).request.tag(&body)].concat()
    };
    let error = Reply::error(Code::RateLimited);
    let mut error_bytes = error.signed();
    error_bytes[47] ^= 0x80;
    let two = Reply::prices(vec![Price::live(); 2]);
    let pong = Reply::pong();
    vec![
        ignored(
            "other_counter",
            "A late reply to another request of this session.",
            &other_counter,
            &other_counter.signed(),
            "valid",
        ),
        ignored(
            "other_session",
            "A reply to another session.",
            &other_session,
            &other_session.signed(),
            "valid",
        ),
        ignored(
            "other_counter_unsigned",
            "Even a hint must bear the request's id.",
            &other_error,
            &other_error.unsigned(),
            "unsigned",
        ),
        ignored(
            "other_day",
            "A recorded reply whose id happens to fit: its clock is a day old.",
            &other_day,
            &other_day.signed(),
            "valid",
        ),
        ignored(
            "other_day_error",
            "A recorded refusal, a day old.",
            &other_day_error,
            &other_day_error.signed(),
            "valid",
        ),
        ignored(
            "price_bit_flipped",
            "One bit of the price was changed on the way.",
            &changed,
            &changed_bytes,
            "wrong",
        ),
        ignored(
            "reply_of_another_key",
            "Signed by somebody else.",
            &one,
            &strangers_tag,
            "wrong",
        ),
        ignored(
            "reply_with_the_request_key",
            "Signed with the request key: the directions have keys of their own.",
            &one,
            &request_keys_tag,
            "wrong",
        ),
        ignored(
            "price_reply_unsigned",
            "A price that nobody signed is no price.",
            &one,
            &one.unsigned(),
            "unsigned",
        ),
        ignored(
            "error_wrong_tag",
            "An error with a tag that is neither right nor zero is noise, not even a hint.",
            &error,
            &error_bytes,
            "wrong",
        ),
        ignored(
            "more_prices_than_asked",
            "Two prices for one question.",
            &two,
            &two.signed(),
            "valid",
        ),
        ignored(
            "ping_reply_to_a_price_request",
            "A ping's answer is no price.",
            &pong,
            &pong.unsigned(),
            "unsigned",
        ),
    ]
}

pub(super) fn ill_formed() -> Vec<ReplyVector> {
    let one = Reply::prices(vec![Price::live()]);
    let resigned = |at: usize, value: u8| {
        let mut body = one.body();
        body[at] = value;
        sign(body)
    };
    let bare = |kind: u8| {
        let mut body = Reply::pong().body();
        body[3] = kind;
        sign(body)
    };
    let bytes = one.signed();
    let error_ok = Reply {
        kind: ERROR,
        ..Reply::pong()
    };
    let error_with_entry = Reply {
        entries: vec![Price::live()],
        ..Reply::error(Code::Quota)
    };
    let pong_with_entry = Reply {
        entries: vec![Price::live()],
        ..Reply::pong()
    };
    let too_many = Reply::prices(vec![Price::live(); 32]);
    vec![
        bad("reply_empty", "A datagram without a byte.", &[], "foreign"),
        bad("reply_short", "47 bytes are too few.", &bytes[..47], "foreign"),
        bad(
            "reply_wrong_magic",
            "Not this protocol.",
            &[b"XB", &bytes[2..]].concat(),
            "foreign",
        ),
        bad("reply_version_2", "Another version.", &resigned(2, 2), "foreign"),
        bad(
            "request_as_reply",
            "A request that came back.",
            &requests::worked_request(),
            "malformed",
        ),
        bad(
            "kind_0x83",
            "Reserved: subscriptions' answer.",
            &bare(0x83),
            "malformed",
        ),
        bad(
            "kind_0x84",
            "Reserved: subscriptions' update.",
            &bare(0x84),
            "malformed",
        ),
        bad("kind_0x85", "Reserved: usage's answer.", &bare(0x85), "malformed"),
        bad("kind_0xfe", "Not a defined kind.", &bare(0xFE), "malformed"),
        bad(
            "price_reply_without_prices",
            "A PRICE reply has 1 to 31 entries.",
            &bare(0x81),
            "malformed",
        ),
        bad(
            "price_reply_32",
            "A PRICE reply has 1 to 31 entries.",
            &too_many.signed(),
            "malformed",
        ),
        bad(
            "reply_count_below_length",
            "One price sent, none counted.",
            &resigned(4, 0),
            "malformed",
        ),
        bad(
            "reply_count_above_length",
            "One price sent, two counted.",
            &resigned(4, 2),
            "malformed",
        ),
        bad(
            "reply_one_byte_short",
            "The last byte is missing.",
            &bytes[..79],
            "malformed",
        ),
        bad(
            "reply_one_byte_long",
            "One byte too many.",
            &[&bytes[..], &[0]].concat(),
            "malformed",
        ),
        bad(
            "reply_flag",
            "No reply flag is defined.",
            &resigned(5, 1),
            "malformed",
        ),
        bad(
            "price_reply_with_code",
            "A PRICE reply's code is OK.",
            &resigned(6, 5),
            "malformed",
        ),
        bad(
            "code_12",
            "Code 12 is not defined.",
            &resigned(6, 12),
            "malformed",
        ),
        bad(
            "code_high_byte",
            "The code has two bytes: 0x0500 is not 5.",
            &resigned(7, 5),
            "malformed",
        ),
        bad(
            "error_ok",
            "An error without an error.",
            &error_ok.signed(),
            "malformed",
        ),
        bad(
            "error_with_entry",
            "An error has no entries.",
            &error_with_entry.signed(),
            "malformed",
        ),
        bad(
            "ping_reply_with_entry",
            "PING's answer has no entries.",
            &pong_with_entry.unsigned(),
            "malformed",
        ),
    ]
}
