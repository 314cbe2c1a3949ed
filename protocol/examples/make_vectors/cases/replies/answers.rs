//! Replies that end the wait, and hints that do not.

use trinity_protocol::Code;

use super::{Price, Reply, UNLIMITED, answer, expect, vector, waiting, waiting_ping, worked_reply};
use crate::cases::NOW_NS;
use crate::cases::vector::ReplyVector;

pub(super) fn prices() -> Vec<ReplyVector> {
    let one = Reply::prices(vec![Price::live()]);
    assert_eq!(one.signed(), worked_reply(), "two ways to the same bytes");
    let two = Reply::prices(vec![Price::live(), Price::valued(157_025, -2, "1570.25")]);
    let all = Reply::prices(vec![Price::live(); 31]);
    let unlimited = Reply {
        remaining: UNLIMITED,
        refill_ms: 0,
        ..one.clone()
    };
    let last = Reply {
        remaining: 0,
        refill_ms: 1_000,
        ..one.clone()
    };
    let with = |price: Price| Reply::prices(vec![price]);
    let sequence = Price {
        sequence: u32::MAX,
        ..Price::live()
    };
    let pong = Reply::pong();
    vec![
        answer(
            "price_reply_one",
            "The answer to the plain request, 80 bytes as the request. SPEC.md works it out.",
            &one,
        ),
        answer("price_reply_two", "Two prices in the order of the request.", &two),
        answer(
            "price_reply_31",
            "The largest reply: 31 prices, 1,040 bytes.",
            &all,
        ),
        answer(
            "price_reply_unlimited_key",
            "4294967295 requests left means that nothing limits the key.",
            &unlimited,
        ),
        answer(
            "price_reply_last_of_window",
            "This was the last request that the window allows.",
            &last,
        ),
        answer(
            "price_tiny",
            "A price far below one: every digit counts.",
            &with(Price::valued(7, -12, "0.000000000007")),
        ),
        answer(
            "price_positive_exponent",
            "An exponent above zero.",
            &with(Price::valued(12, 3, "12000")),
        ),
        answer(
            "price_exponent_zero",
            "Whole units.",
            &with(Price::valued(20_634, 0, "20634")),
        ),
        answer(
            "price_trailing_zeros",
            "Trailing zeros are digits that the exponent promises.",
            &with(Price::valued(2_063_400, -2, "20634.00")),
        ),
        answer(
            "price_largest_mantissa",
            "The largest mantissa: a float would round it.",
            &with(Price::valued(i64::MAX, -8, "92233720368.54775807")),
        ),
        answer(
            "price_negative",
            "The mantissa is signed: decoders must not take it for a huge price.",
            &with(Price::valued(-125, -2, "-1.25")),
        ),
        answer(
            "price_last_sequence",
            "The sequence wraps after this one.",
            &with(sequence),
        ),
        answer(
            "flag_shared_cache",
            "From the shared cache.",
            &with(Price::flagged(0x01, &["shared_cache"])),
        ),
        answer(
            "flag_fetched",
            "Fetched because this request missed.",
            &with(Price::flagged(0x02, &["fetched"])),
        ),
        answer(
            "flag_derived",
            "A quote was converted through another quote currency.",
            &with(Price::flagged(0x04, &["derived"])),
        ),
        answer(
            "flag_one_venue",
            "One venue only.",
            &with(Price::flagged(0x08, &["one_venue"])),
        ),
        answer(
            "flag_depegged",
            "A coin off its peg is what is priced.",
            &with(Price::flagged(0x20, &["depegged"])),
        ),
        answer(
            "flags_all_and_undefined",
            "All flags; bits 6 and 7 are not defined and ignored.",
            &with(Price::flagged(
                0xFF,
                &[
                    "shared_cache",
                    "fetched",
                    "derived",
                    "one_venue",
                    "replayed",
                    "depegged",
                ],
            )),
        ),
        vector(
            "ping_reply",
            "PING's answer: unsigned, with the server's clock.",
            waiting_ping(),
            &pong.unsigned(),
            expect(&pong, "unsigned", "answer"),
        ),
    ]
}

pub(super) fn statuses() -> Vec<ReplyVector> {
    let given = [
        (
            "status_live",
            "Fresh, enough venues, in agreement.",
            Price::live(),
        ),
        (
            "status_stale",
            "Older than the max age; the value is given.",
            Price::of_status(1, "STALE"),
        ),
        (
            "status_thin",
            "Fewer venues than the symbol asks.",
            Price::of_status(2, "THIN"),
        ),
        (
            "status_disputed",
            "The venues disagree.",
            Price::of_status(3, "DISPUTED"),
        ),
        (
            "status_unknown_symbol",
            "No such symbol: no value.",
            Price::without_value(4, "UNKNOWN_SYMBOL"),
        ),
        (
            "status_no_price",
            "Nothing within the hard age: no value.",
            Price::without_value(5, "NO_PRICE"),
        ),
        (
            "status_held",
            "A jump awaits its confirmation; the last good value is given.",
            Price::of_status(6, "HELD"),
        ),
    ];
    let mixed = Reply::prices(given.iter().map(|(_, _, price)| price.clone()).collect());
    let mut all: Vec<_> = given
        .into_iter()
        .map(|(name, meaning, price)| answer(name, meaning, &Reply::prices(vec![price])))
        .collect();
    all.push(answer(
        "status_all_in_one",
        "Each entry has its own status.",
        &mixed,
    ));
    all
}

pub(super) fn errors() -> Vec<ReplyVector> {
    let refusal = |name, meaning, code| {
        let reply = Reply {
            remaining: 0,
            refill_ms: 950,
            ..Reply::error(code)
        };
        vector(
            name,
            meaning,
            waiting(1),
            &reply.signed(),
            expect(&reply, "valid", "refusal"),
        )
    };
    let hint = |name, meaning, code| {
        let reply = Reply {
            remaining: 0,
            refill_ms: 0,
            ..Reply::error(code)
        };
        vector(
            name,
            meaning,
            waiting(1),
            &reply.unsigned(),
            expect(&reply, "unsigned", "hint"),
        )
    };
    let clock = Reply {
        clock_ns: NOW_NS + 3_600_000_000_000,
        remaining: 0,
        refill_ms: 0,
        ..Reply::error(Code::Clock)
    };
    vec![
        hint(
            "error_malformed",
            "Unsigned: no key was looked up. A hint, no proof.",
            Code::Malformed,
        ),
        hint("error_version", "Unsigned, as above.", Code::Version),
        hint(
            "error_unauthenticated",
            "Unsigned: unknown key, wrong tag, revoked and expired look the same. A hint, no proof.",
            Code::Unauthenticated,
        ),
        vector(
            "error_clock",
            "Signed; its clock is an hour ahead of the client's, and right.",
            waiting(1),
            &clock.signed(),
            expect(&clock, "valid", "refusal"),
        ),
        refusal(
            "error_rate_limited",
            "Signed; full again in 950 ms.",
            Code::RateLimited,
        ),
        refusal(
            "error_quota",
            "Signed; the monthly allowance is used up.",
            Code::Quota,
        ),
        refusal(
            "error_forbidden",
            "Signed; the key may not ask this.",
            Code::Forbidden,
        ),
        refusal(
            "error_overloaded",
            "Signed; the server sheds load.",
            Code::Overloaded,
        ),
        refusal("error_internal", "Signed; the server failed.", Code::Internal),
        refusal("error_cookie", "Signed; subscriptions will use it.", Code::Cookie),
        refusal(
            "error_replay",
            "Signed; the counter is behind the window, or was repeated too often.",
            Code::Replay,
        ),
        vector(
            "error_clock_unsigned",
            "Nobody's clock may be moved by an unsigned datagram.",
            waiting(1),
            &clock.unsigned(),
            expect(&clock, "unsigned", "hint"),
        ),
    ]
}
