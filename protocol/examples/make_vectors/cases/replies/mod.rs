//! Replies: what a client must make of each while it waits for one request's answer.

mod answers;
mod ignored;

use trinity_protocol::{
    Code, MAGIC, MAX_DATAGRAM, PriceEntry, ReplyHead, ReplyHeader, RequestId, VERSION, encode_price_reply,
};
use zerocopy::IntoBytes;

use super::vector::{Hex, KeyHex, PriceFields, ReplyExpect, ReplyFields, ReplyVector, Waiting};
use super::{NOW_NS, SESSION, key, mac_keys};

const PRICE: (u8, &str) = (0x81, "PRICE_REPLY");
const PING: (u8, &str) = (0x82, "PING_REPLY");
const ERROR: (u8, &str) = (0xFF, "ERROR");
const UNLIMITED: u32 = u32::MAX;

/// One price with its names, so that a case is one line.
#[derive(Clone)]
struct Price {
    status: (u8, &'static str),
    text: Option<&'static str>,
    mantissa: i64,
    exponent: i8,
    confidence: u64,
    publish_time_ns: u64,
    venues: u8,
    flags: (u8, &'static [&'static str]),
    sequence: u32,
}

/// Everything a reply says.
#[derive(Clone)]
struct Reply {
    kind: (u8, &'static str),
    code: Code,
    remaining: u32,
    refill_ms: u32,
    session: u32,
    counter: u32,
    clock_ns: u64,
    entries: Vec<Price>,
}

impl Reply {
    fn prices(entries: Vec<Price>) -> Self {
        Self {
            kind: PRICE,
            code: Code::Ok,
            remaining: 19,
            refill_ms: 100,
            session: SESSION,
            counter: 1,
            clock_ns: NOW_NS,
            entries,
        }
    }

    fn pong() -> Self {
        Self {
            kind: PING,
            remaining: UNLIMITED,
            refill_ms: 0,
            ..Self::prices(vec![])
        }
    }

    fn error(code: Code) -> Self {
        Self {
            kind: ERROR,
            code,
            ..Self::prices(vec![])
        }
    }

    /// The bytes before the tag, in the crate's own layout.
    fn body(&self) -> Vec<u8> {
        let header = ReplyHeader {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind.0,
            count: self.entries.len() as u8,
            flags: 0,
            code: (self.code as u16).into(),
            remaining: self.remaining.into(),
            refill_ms: self.refill_ms.into(),
            request_id: RequestId::new(self.session, self.counter).to_wire().into(),
            clock_ns: self.clock_ns.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        for price in &self.entries {
            bytes.extend(price.entry().as_bytes());
        }
        bytes
    }

    fn signed(&self) -> Vec<u8> {
        sign(self.body())
    }

    fn unsigned(&self) -> Vec<u8> {
        [&self.body()[..], &[0; 16]].concat()
    }

    fn fields(&self) -> ReplyFields {
        ReplyFields {
            kind: self.kind.1,
            code: self.code.name(),
            remaining: self.remaining,
            refill_ms: self.refill_ms,
            session: self.session,
            counter: self.counter,
            clock_ns: self.clock_ns.to_string(),
            entries: self.entries.iter().map(Price::fields).collect(),
        }
    }
}

impl Price {
    fn live() -> Self {
        Self {
            status: (0, "LIVE"),
            text: Some("20634.12345678"),
            mantissa: 2_063_412_345_678,
            exponent: -8,
            confidence: 150_000_000,
            publish_time_ns: NOW_NS - 350_000_000,
            venues: 3,
            flags: (0x10, &["replayed"]),
            sequence: 42,
        }
    }

    fn of_status(status: u8, name: &'static str) -> Self {
        Self {
            status: (status, name),
            ..Self::live()
        }
    }

    fn without_value(status: u8, name: &'static str) -> Self {
        Self {
            status: (status, name),
            text: None,
            mantissa: 0,
            exponent: 0,
            confidence: 0,
            publish_time_ns: 0,
            venues: 0,
            flags: (0, &[]),
            sequence: 0,
        }
    }

    fn valued(mantissa: i64, exponent: i8, text: &'static str) -> Self {
        Self {
            mantissa,
            exponent,
            text: Some(text),
            ..Self::live()
        }
    }

    fn flagged(flags: u8, names: &'static [&'static str]) -> Self {
        Self {
            flags: (flags, names),
            ..Self::live()
        }
    }

    fn entry(&self) -> PriceEntry {
        PriceEntry {
            mantissa: self.mantissa.into(),
            confidence: self.confidence.into(),
            publish_time_ns: self.publish_time_ns.into(),
            exponent: self.exponent,
            status: self.status.0,
            venues: self.venues,
            flags: self.flags.0,
            sequence: self.sequence.into(),
        }
    }

    fn fields(&self) -> PriceFields {
        PriceFields {
            status: self.status.1,
            price: self.text,
            mantissa: self.mantissa.to_string(),
            exponent: self.exponent,
            confidence: self.confidence.to_string(),
            publish_time_ns: self.publish_time_ns.to_string(),
            venues: self.venues,
            flags: self.flags.1.to_vec(),
            sequence: self.sequence,
        }
    }
}

/// The worked example of SPEC.md.
fn worked_reply() -> Vec<u8> {
    let head = ReplyHead {
        code: Code::Ok,
        remaining: 19,
        refill_ms: 100,
        request_id: RequestId::new(SESSION, 1),
        clock_ns: NOW_NS,
    };
    let mut buffer = [0; MAX_DATAGRAM];
    encode_price_reply(
        &mut buffer,
        head,
        &[Price::live().entry()],
        &mac_keys(&key()).reply,
    )
    .to_vec()
}

pub(crate) fn all() -> Vec<ReplyVector> {
    let mut all = answers::prices();
    all.extend(answers::statuses());
    all.extend(answers::errors());
    all.extend(ignored::not_for_us());
    all.extend(ignored::ill_formed());
    all
}

fn answer(name: &'static str, meaning: &'static str, reply: &Reply) -> ReplyVector {
    let waiting = waiting(reply.entries.len());
    vector(
        name,
        meaning,
        waiting,
        &reply.signed(),
        expect(reply, "valid", "answer"),
    )
}

fn bad(name: &'static str, meaning: &'static str, bytes: &[u8], form: &'static str) -> ReplyVector {
    let expect = ReplyExpect {
        form,
        fields: None,
        tag: None,
        client: "ignore",
    };
    vector(name, meaning, waiting(1), bytes, expect)
}

fn expect(reply: &Reply, tag: &'static str, client: &'static str) -> ReplyExpect {
    ReplyExpect {
        form: "ok",
        fields: Some(reply.fields()),
        tag: Some(tag),
        client,
    }
}

fn waiting(count: usize) -> Waiting {
    Waiting {
        kind: "PRICE",
        session: SESSION,
        counter: 1,
        clock_ns: (NOW_NS - 20_000_000).to_string(),
        count,
    }
}

fn waiting_ping() -> Waiting {
    Waiting {
        kind: "PING",
        count: 0,
        ..waiting(0)
    }
}

fn vector(
    name: &'static str,
    meaning: &'static str,
    waiting_for: Waiting,
    bytes: &[u8],
    expect: ReplyExpect,
) -> ReplyVector {
    ReplyVector {
        name,
        direction: "reply",
        meaning,
        key: KeyHex::known(),
        waiting_for,
        hex: Hex(bytes.to_vec()),
        expect,
    }
}

fn sign(mut body: Vec<u8>) -> Vec<u8> {
    let tag = mac_keys(&key()).reply.tag(&body);
    body.extend(tag);
    body
}
