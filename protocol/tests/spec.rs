//! SPEC.md says what the crate does: its tables and its worked example are checked here.

use core::fmt::Write as _;
use core::mem::offset_of;

use trinity_protocol::{
    ApiKey, CLOCK_WINDOW_NS, Code, DecimalText, Kind, MAX_DATAGRAM, MAX_ENTRIES, MIN_DATAGRAM, PriceEntry,
    PriceFlags, PriceStatus, REPLAY_WINDOW, ReplyHeader, ReplyView, RequestEntry, RequestHeader, RequestView,
    Symbol, datagram_len,
};

const SPEC: &str = include_str!("../SPEC.md");
const KEY_ID: u64 = 0x0123_4567_89AB_CDEF;

fn secret() -> [u8; 32] {
    core::array::from_fn(|i| i as u8)
}

/// The section under a heading, up to the next heading.
fn section(heading: &str) -> &'static str {
    let (_, after) = SPEC.split_once(&format!("\n{heading}\n")).expect(heading);
    after.split("\n#").next().expect("split gives one part at least")
}

fn has_row(heading: &str, row: &str) {
    assert!(
        section(heading).contains(&format!("\n| {row} |")),
        "{heading}: no row `{row}`"
    );
}

#[test]
fn the_byte_tables_are_the_structs() {
    let request = "### Request header";
    for (offset, field) in [
        (offset_of!(RequestHeader, magic), "[u8; 2] | magic"),
        (offset_of!(RequestHeader, version), "u8 | version"),
        (offset_of!(RequestHeader, kind), "u8 | kind"),
        (offset_of!(RequestHeader, count), "u8 | count"),
        (offset_of!(RequestHeader, flags), "u8 | flags"),
        (offset_of!(RequestHeader, lane), "u8 | lane"),
        (offset_of!(RequestHeader, reserved), "u8 | reserved"),
        (offset_of!(RequestHeader, key_id), "u64 | key id"),
        (offset_of!(RequestHeader, request_id), "u64 | request id"),
        (offset_of!(RequestHeader, clock_ns), "u64 | clock"),
    ] {
        has_row(request, &format!("{offset} | {field}"));
    }
    let entry = "### Request entry";
    for (offset, field) in [
        (offset_of!(RequestEntry, symbol), "[u8; 16] | symbol"),
        (offset_of!(RequestEntry, max_age_ms), "u32 | max age"),
        (offset_of!(RequestEntry, reserved), "[u8; 12] | reserved"),
    ] {
        has_row(entry, &format!("{offset} | {field}"));
    }
    let reply = "### Reply header";
    for (offset, field) in [
        (offset_of!(ReplyHeader, magic), "[u8; 2] | magic"),
        (offset_of!(ReplyHeader, version), "u8 | version"),
        (offset_of!(ReplyHeader, kind), "u8 | kind"),
        (offset_of!(ReplyHeader, count), "u8 | count"),
        (offset_of!(ReplyHeader, flags), "u8 | flags"),
        (offset_of!(ReplyHeader, code), "u16 | code"),
        (offset_of!(ReplyHeader, remaining), "u32 | remaining"),
        (offset_of!(ReplyHeader, refill_ms), "u32 | refill"),
        (offset_of!(ReplyHeader, request_id), "u64 | request id"),
        (offset_of!(ReplyHeader, clock_ns), "u64 | clock"),
    ] {
        has_row(reply, &format!("{offset} | {field}"));
    }
    let price = "### Price entry";
    for (offset, field) in [
        (offset_of!(PriceEntry, mantissa), "i64 | mantissa"),
        (offset_of!(PriceEntry, confidence), "u64 | confidence"),
        (offset_of!(PriceEntry, publish_time_ns), "u64 | publish time"),
        (offset_of!(PriceEntry, exponent), "i8 | exponent"),
        (offset_of!(PriceEntry, status), "u8 | status"),
        (offset_of!(PriceEntry, venues), "u8 | venues"),
        (offset_of!(PriceEntry, flags), "u8 | flags"),
        (offset_of!(PriceEntry, sequence), "u32 | sequence"),
    ] {
        has_row(price, &format!("{offset} | {field}"));
    }
}

#[test]
fn every_kind_code_status_and_flag_has_its_row() {
    for (kind, name) in [
        (Kind::Price, "PRICE"),
        (Kind::Ping, "PING"),
        (Kind::Subscribe, "SUBSCRIBE"),
        (Kind::Usage, "USAGE"),
        (Kind::PriceReply, "PRICE reply"),
        (Kind::PingReply, "PING reply"),
        (Kind::Error, "ERROR"),
    ] {
        has_row("### Kinds", &format!("0x{:02X} | {name}", kind as u8));
    }
    for code in Code::ALL {
        has_row("### Codes", &format!("{} | {}", code as u16, code.name()));
    }
    for status in PriceStatus::ALL {
        let given = if status.has_value() { "yes" } else { "no" };
        has_row(
            "### Statuses",
            &format!("{} | {} | {given}", status as u8, status.name()),
        );
    }
    for (flag, name) in PriceFlags::NAMED {
        has_row(
            "### Price flags",
            &format!("{} | {name}", flag.0.trailing_zeros()),
        );
    }
}

#[test]
fn the_limits_are_the_crates() {
    has_row("## 9 Limits", &format!("entries per datagram | {MAX_ENTRIES}"));
    has_row("## 9 Limits", &format!("largest datagram | {MAX_DATAGRAM} bytes"));
    has_row(
        "## 9 Limits",
        &format!("clock window, either way | {} s", CLOCK_WINDOW_NS / 1_000_000_000),
    );
    assert_eq!(REPLAY_WINDOW, 2_048);
    has_row("## 9 Limits", "counters remembered per key and session | 2,048");
    for count in [1, 2, 31] {
        has_row("## 1 Datagrams", &format!("{count} | {}", datagram_len(count)));
    }
    has_row("## 1 Datagrams", &format!("none (PING, ERROR) | {MIN_DATAGRAM}"));
}

#[test]
fn the_example_key_in_section_5_is_the_worked_one() {
    let key = ApiKey::from_parts(KEY_ID, secret()).expect("in range");
    assert!(section("## 5 API keys").contains(key.expose().as_str()));
}

#[test]
fn the_worked_example_is_what_the_crate_computes() {
    let (_, after) = SPEC
        .split_once("checked by tests/spec.rs -->\n")
        .expect("the marker");
    let (written, _) = after
        .split_once("<!-- end of worked example -->")
        .expect("the end marker");
    let computed = worked_example();
    assert!(
        written == computed,
        "SPEC.md's worked example must be:\n{computed}"
    );
}

/// The example's text, every value computed. The derivations use BLAKE3 directly, as SPEC.md
/// describes them, and not the crate's own keys.
fn worked_example() -> String {
    let key = ApiKey::from_parts(KEY_ID, secret()).expect("in range");
    let verifier = blake3::derive_key("trinity-beast verifier v1", &secret());
    let request_key = blake3::derive_key("trinity-beast request v1", &verifier);
    let reply_key = blake3::derive_key("trinity-beast reply v1", &verifier);
    let request = vector(include_str!("../vectors/requests.jsonl"), "price_one_symbol");
    let reply = vector(include_str!("../vectors/replies.jsonl"), "price_reply_one");
    let asked = RequestView::parse(&request).expect("well-formed");
    let answered = ReplyView::parse(&reply).expect("well-formed");
    let symbol = Symbol::from_wire(asked.entries()[0].symbol).expect("a symbol");
    let (id, head, price) = (asked.request_id(), answered.head(), answered.entries()[0]);
    let text = DecimalText {
        mantissa: price.mantissa.get(),
        exponent: price.exponent,
    };

    let mut out = String::new();
    let mut line = |text: String| writeln!(out, "{text}").expect("writing to a String");
    line("The API key, and what comes of it:\n\n```".into());
    line(format!("key          {}", key.expose()));
    line(format!("key id       {KEY_ID} = 0x{KEY_ID:016x}"));
    line(format!("secret       {}", hex(&secret())));
    line(format!("verifier     {}", hex(&verifier)));
    line(format!("request key  {}", hex(&request_key)));
    line(format!("reply key    {}", hex(&reply_key)));
    line("```\n".into());
    line(format!(
        "The request: PRICE, one symbol ({symbol}, max age 0), lane {}, session 0x{:08x}, counter {},\nclock {}:\n\n```",
        asked.lane(),
        id.session,
        id.counter,
        asked.clock_ns()
    ));
    for (offset, length, meaning) in [
        (
            0,
            8,
            "magic, version 1, kind 0x01, count 1, flags, lane 1, reserved",
        ),
        (8, 8, "key id"),
        (16, 8, "request id: counter 1, then the session"),
        (24, 8, "the sender's clock"),
        (32, 16, "BTC-USD and nine NULs"),
        (48, 4, "max age: the symbol's default"),
        (52, 12, "reserved"),
        (
            64,
            16,
            "tag: first 16 bytes of keyed_hash(request key, bytes 0 to 63)",
        ),
    ] {
        line(row(&request, offset, length, meaning));
    }
    line(format!(
        "\nkeyed_hash   {}\n```\n",
        blake3::keyed_hash(&request_key, &request[..64])
    ));
    line(format!(
        "The reply: PRICE reply, code {}, {} requests left, full again in {} ms, the server's clock {}.\nThe price is {text}, confidence {}, of {} venues, LIVE, replayed:\n\n```",
        head.code,
        head.remaining,
        head.refill_ms,
        head.clock_ns,
        DecimalText {
            mantissa: price.confidence.get().try_into().expect("small"),
            exponent: price.exponent
        },
        price.venues,
    ));
    for (offset, length, meaning) in [
        (0, 8, "magic, version 1, kind 0x81, count 1, flags, code 0"),
        (8, 4, "remaining"),
        (12, 4, "refill"),
        (16, 8, "request id, as it came"),
        (24, 8, "the server's clock"),
        (32, 8, "mantissa"),
        (40, 8, "confidence"),
        (48, 8, "publish time"),
        (56, 4, "exponent -8, status 0 LIVE, 3 venues, flags: bit 4"),
        (60, 4, "sequence 42"),
        (
            64,
            16,
            "tag: first 16 bytes of keyed_hash(reply key, bytes 0 to 63)",
        ),
    ] {
        line(row(&reply, offset, length, meaning));
    }
    line(format!(
        "\nkeyed_hash   {}",
        blake3::keyed_hash(&reply_key, &reply[..64])
    ));
    line(format!("mantissa     {}", price.mantissa.get()));
    line(format!("publish time {}\n```", price.publish_time_ns.get()));

    assert_eq!(
        blake3::keyed_hash(&request_key, &request[..64]).as_bytes()[..16],
        request[64..]
    );
    assert_eq!(
        blake3::keyed_hash(&reply_key, &reply[..64]).as_bytes()[..16],
        reply[64..]
    );
    assert_eq!(
        (asked.lane(), id.counter, price.sequence.get(), price.exponent),
        (1, 1, 42, -8)
    );
    assert_eq!(
        (price.status, price.venues, price.flags),
        (0, 3, PriceFlags::REPLAYED.0)
    );
    out
}

fn row(datagram: &[u8], offset: usize, length: usize, meaning: &str) -> String {
    let bytes = datagram[offset..offset + length]
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x} "));
    format!("{offset:>3}  {bytes:<49} {meaning}")
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn vector(lines: &str, name: &str) -> Vec<u8> {
    let line = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("one JSON object a line"))
        .find(|vector| vector["name"] == name)
        .expect("a vector of this name");
    let text = line["hex"].as_str().expect("hex is text").to_owned();
    (0..text.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&text[i..i + 2], 16).expect("hex digits"))
        .collect()
}
