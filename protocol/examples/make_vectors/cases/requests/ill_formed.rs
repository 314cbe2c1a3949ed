//! Datagrams that are no request of this version.

use super::{PING, PRICE, Request, SUBSCRIBE, USAGE, ill, mute, sign};
use crate::cases::key;
use crate::cases::vector::RequestVector;

pub(super) fn malformed() -> Vec<RequestVector> {
    let resigned = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut body = Request::price(&["BTC-USD", "ETH-USD"]).body();
        change(&mut body);
        sign(body, &key())
    };
    let byte = |at: usize, value: u8| resigned(&move |body| body[at] = value);
    let one = Request::price(&["BTC-USD"]).signed();
    let ping_with_entry = Request::of_kind(PING, 1).signed();
    let unsigned_version = {
        let mut bytes = Request::price(&["BTC-USD"]).unsigned();
        bytes[2] = 9;
        bytes.push(0);
        bytes
    };
    let version = "VERSION";
    let malformed = "MALFORMED";
    let mut all = vec![
        ill("version_0", "Version 0.", byte(2, 0), "version", version),
        ill(
            "version_2",
            "A later version: the answer says version 1.",
            byte(2, 2),
            "version",
            version,
        ),
        ill(
            "version_255",
            "The largest version.",
            byte(2, 255),
            "version",
            version,
        ),
        ill(
            "version_before_the_rest",
            "Another version may have other lengths and kinds: the version is judged first.",
            unsigned_version,
            "version",
            version,
        ),
        ill("kind_0", "Kind 0 is not defined.", byte(3, 0), "kind", malformed),
        ill("kind_4", "Kind 4 is not defined.", byte(3, 4), "kind", malformed),
        ill("kind_6", "Kind 6 is not defined.", byte(3, 6), "kind", malformed),
        ill(
            "kind_127",
            "The largest request kind is not defined.",
            byte(3, 0x7F),
            "kind",
            malformed,
        ),
        ill(
            "count_0",
            "PRICE without an entry.",
            Request::price(&[]).signed(),
            "count",
            malformed,
        ),
        ill(
            "count_32",
            "32 entries, and as many bytes.",
            Request::of_kind(PRICE, 32).signed(),
            "count",
            malformed,
        ),
        ill(
            "count_255",
            "A count far beyond the datagram.",
            byte(4, 255),
            "count",
            malformed,
        ),
        ill(
            "ping_with_entry",
            "PING takes no entry.",
            ping_with_entry,
            "count",
            malformed,
        ),
        ill(
            "count_below_length",
            "Two entries sent, one counted.",
            byte(4, 1),
            "length",
            malformed,
        ),
        ill(
            "count_above_length",
            "Two entries sent, three counted.",
            byte(4, 3),
            "length",
            malformed,
        ),
        ill(
            "length_one_short",
            "The last byte is missing.",
            one[..79].to_vec(),
            "length",
            malformed,
        ),
        ill(
            "length_one_long",
            "One byte too many.",
            [&one[..], &[0]].concat(),
            "length",
            malformed,
        ),
        ill(
            "length_header_and_tag_only",
            "One entry counted, none sent.",
            one[..48].to_vec(),
            "length",
            malformed,
        ),
        ill(
            "length_beyond_largest",
            "31 entries and one byte more.",
            [&Request::of_kind(PRICE, 31).signed()[..], &[0]].concat(),
            "length",
            malformed,
        ),
        ill(
            "flag_lowest",
            "No request flag is defined.",
            byte(5, 1),
            "reserved",
            malformed,
        ),
        ill(
            "flag_highest",
            "No request flag is defined.",
            byte(5, 0x80),
            "reserved",
            malformed,
        ),
        ill(
            "reserved_header_byte",
            "The header's reserved byte must be 0.",
            byte(7, 1),
            "reserved",
            malformed,
        ),
        ill(
            "reserved_entry_first_byte",
            "An entry's reserved bytes must be 0.",
            byte(32 + 20, 1),
            "reserved",
            malformed,
        ),
        ill(
            "reserved_entry_last_byte",
            "The second entry's last reserved byte must be 0 as well.",
            byte(64 + 31, 0x80),
            "reserved",
            malformed,
        ),
    ];
    for (name, count) in [("usage_32_entries", USAGE), ("subscribe_32_entries", SUBSCRIBE)] {
        let bytes = Request::of_kind(count, 32).signed();
        all.push(ill(
            name,
            "Reserved kinds hold 31 entries at most, too.",
            bytes,
            "count",
            malformed,
        ));
    }
    all
}

pub(super) fn silent() -> Vec<RequestVector> {
    let one = Request::price(&["BTC-USD"]).signed();
    let byte = |at: usize, value: u8| {
        let mut bytes = one.clone();
        bytes[at] = value;
        bytes
    };
    let reply_of_version_2 = {
        let mut bytes = byte(3, 0x81);
        bytes[2] = 2;
        bytes
    };
    vec![
        mute("empty", "A datagram without a byte.", Vec::new(), "short"),
        mute("one_byte", "One byte.", b"T".to_vec(), "short"),
        mute(
            "magic_only",
            "The magic and nothing more.",
            b"TB".to_vec(),
            "short",
        ),
        mute(
            "header_only",
            "A header without a tag.",
            one[..32].to_vec(),
            "short",
        ),
        mute(
            "one_byte_short_of_a_header_and_tag",
            "47 bytes: the longest that is too short.",
            one[..47].to_vec(),
            "short",
        ),
        mute(
            "magic_lower_case",
            "`tb` is not the magic.",
            [b"tb", &one[2..]].concat(),
            "magic",
        ),
        mute(
            "magic_swapped",
            "`BT` is not the magic.",
            [b"BT", &one[2..]].concat(),
            "magic",
        ),
        mute("magic_second_byte", "Both bytes count.", byte(1, b'C'), "magic"),
        mute(
            "text",
            "Somebody speaks HTTP to the UDP port.",
            b"GET /price?asset=btc HTTP/1.1\r\nHost: localhost:2679\r\n\r\n".to_vec(),
            "magic",
        ),
        mute(
            "price_reply_as_request",
            "A reply is never answered: two servers must not talk to each other.",
            byte(3, 0x81),
            "reply",
        ),
        mute(
            "ping_reply_as_request",
            "A reply is never answered.",
            byte(3, 0x82),
            "reply",
        ),
        mute(
            "error_as_request",
            "An error is never answered.",
            byte(3, 0xFF),
            "reply",
        ),
        mute(
            "kind_128_as_request",
            "Bit 7 alone makes it a reply.",
            byte(3, 0x80),
            "reply",
        ),
        mute(
            "reply_of_another_version",
            "Bit 7 is judged before the version.",
            reply_of_version_2,
            "reply",
        ),
    ]
}
