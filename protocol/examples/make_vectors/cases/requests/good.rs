//! Requests that are answered, or would be but for their clock.

use trinity_protocol::CLOCK_WINDOW_NS;

use super::{Request, answered, padded, pong, refused, worked_request};
use crate::cases::vector::RequestVector;
use crate::cases::{NOW_NS, key};

pub(super) fn good() -> Vec<RequestVector> {
    let plain = Request::price(&["BTC-USD"]);
    assert_eq!(plain.signed(), worked_request(), "two ways to the same bytes");
    let names: Vec<_> = (0..31).map(|i| format!("ASSET{i:02}-USD")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut two = Request::price(&["BTC-USD", "ETH-USD"]);
    two.entries[1].1 = 2_500;
    let mut oldest = Request::price(&["BTC-USD"]);
    oldest.entries[0].1 = u32::MAX;
    let lane = Request {
        lane: 0xFF,
        ..plain.clone()
    };
    let last_id = Request {
        session: u32::MAX,
        counter: u32::MAX,
        ..plain.clone()
    };
    let first_id = Request {
        session: 0,
        counter: 0,
        ..plain.clone()
    };
    vec![
        answered(
            "price_one_symbol",
            "The plain request: one symbol, 80 bytes. SPEC.md works it out.",
            &plain,
        ),
        answered(
            "price_two_symbols",
            "Two symbols; the second must be at most 2,500 ms old to be LIVE.",
            &two,
        ),
        answered(
            "price_31_symbols",
            "The largest request: 31 symbols, 1,040 bytes.",
            &Request::price(&names),
        ),
        answered(
            "price_oldest_max_age",
            "The largest max age there is: it never lengthens the hard age.",
            &oldest,
        ),
        answered(
            "price_same_symbol_twice",
            "One symbol asked twice is answered twice, as one request.",
            &Request::price(&["BTC-USD", "BTC-USD"]),
        ),
        answered(
            "price_alias",
            "An alias is a good symbol; the server knows which one is meant.",
            &Request::price(&["XBT-USD", "BTC"]),
        ),
        answered(
            "price_16_characters",
            "The longest symbol fills its 16 bytes, with no NUL after it.",
            &Request::price(&["ABCDEFGHIJKL-USD"]),
        ),
        answered(
            "price_any_lane",
            "The lane is free: it need not be the id's low byte.",
            &lane,
        ),
        answered("price_last_id", "Session and counter at their largest.", &last_id),
        answered(
            "price_first_id",
            "Session and counter at their smallest.",
            &first_id,
        ),
    ]
}

pub(super) fn odd_symbols() -> Vec<RequestVector> {
    let with = |raw: &[u8]| {
        let mut request = Request::price(&["BTC-USD"]);
        request.entries[0].0 = padded(raw);
        request
    };
    let mut batch = Request::price(&["BTC-USD", "?", "ETH-USD"]);
    batch.entries[1].0 = padded(b"\xFF\xFE\xFD");
    vec![
        answered(
            "symbol_lower_case",
            "Lower case is no symbol: its entry says UNKNOWN_SYMBOL, the request is good.",
            &with(b"btc-usd"),
        ),
        answered(
            "symbol_not_ascii",
            "Bytes beyond ASCII are no symbol: UNKNOWN_SYMBOL.",
            &with("\u{20BF}-USD".as_bytes()),
        ),
        answered(
            "symbol_empty",
            "Sixteen zeros are no symbol: UNKNOWN_SYMBOL.",
            &with(b""),
        ),
        answered(
            "symbol_nul_inside",
            "Bytes after the first NUL make it no symbol: UNKNOWN_SYMBOL.",
            &with(b"BTC\0USD"),
        ),
        answered(
            "symbol_space_inside",
            "A space makes it no symbol: UNKNOWN_SYMBOL.",
            &with(b"BTC USD"),
        ),
        answered(
            "symbol_control_character",
            "A control character makes it no symbol: UNKNOWN_SYMBOL.",
            &with(b"BTC\x07USD"),
        ),
        answered(
            "symbol_bad_among_good",
            "One bad symbol spoils only its own entry.",
            &batch,
        ),
    ]
}

pub(super) fn pings() -> Vec<RequestVector> {
    let ping = Request::ping();
    let keyed = Request {
        key_id: key().key_id().0,
        ..ping.clone()
    };
    let ancient = Request {
        clock_ns: 0,
        ..ping.clone()
    };
    let mut noise = ping.unsigned();
    noise[32..].copy_from_slice(&[0xA5; 16]);
    vec![
        pong(
            "ping",
            "The plain ping: no key, no tag, 48 bytes.",
            &ping,
            ping.unsigned(),
            false,
        ),
        pong(
            "ping_signed",
            "A ping may bear a key and a tag; both are ignored.",
            &keyed,
            keyed.signed(),
            true,
        ),
        pong(
            "ping_wrong_tag",
            "A ping's tag is ignored, wrong or not.",
            &ping,
            noise,
            false,
        ),
        pong(
            "ping_old_clock",
            "A ping's clock is not judged: asking for the time is what it is for.",
            &ancient,
            ancient.unsigned(),
            false,
        ),
    ]
}

pub(super) fn clocks() -> Vec<RequestVector> {
    let behind = NOW_NS - CLOCK_WINDOW_NS;
    let ahead = NOW_NS + CLOCK_WINDOW_NS;
    vec![
        answered(
            "clock_just_inside_behind",
            "Exactly 5 s behind is still inside the window.",
            &Request::at(behind),
        ),
        answered(
            "clock_just_inside_ahead",
            "Exactly 5 s ahead is still inside the window.",
            &Request::at(ahead),
        ),
        refused(
            "clock_behind",
            "One nanosecond more than 5 s behind.",
            &Request::at(behind - 1),
            "CLOCK",
        ),
        refused(
            "clock_ahead",
            "One nanosecond more than 5 s ahead.",
            &Request::at(ahead + 1),
            "CLOCK",
        ),
        refused(
            "clock_zero",
            "A machine that never set its clock.",
            &Request::at(0),
            "CLOCK",
        ),
        refused(
            "clock_largest",
            "The largest clock there is; no arithmetic may overflow on it.",
            &Request::at(u64::MAX),
            "CLOCK",
        ),
    ]
}
