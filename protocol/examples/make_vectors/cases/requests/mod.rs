//! Requests: what a server must make of each.
//!
//! The answers hold for a server that knows the vectors' one key, has no limit on it, has
//! seen no request before, and whose clock is `server_clock_ns`.

mod good;
mod ill_formed;
mod refused;

use trinity_protocol::{
    ApiKey, MAGIC, MAX_DATAGRAM, PriceQuery, RequestEntry, RequestHead, RequestHeader, RequestId, Symbol,
    VERSION, encode_price_request,
};
use zerocopy::IntoBytes;

use super::vector::{Hex, KeyHex, QueryFields, RequestExpect, RequestFields, RequestVector, hex};
use super::{NOW_NS, SESSION, key, mac_keys};

const PRICE: (u8, &str) = (0x01, "PRICE");
const PING: (u8, &str) = (0x02, "PING");
const SUBSCRIBE: (u8, &str) = (0x03, "SUBSCRIBE");
const USAGE: (u8, &str) = (0x05, "USAGE");

/// Everything a request says; `Request::price` is the plain case.
#[derive(Clone)]
struct Request {
    kind: (u8, &'static str),
    key_id: u64,
    session: u32,
    counter: u32,
    lane: u8,
    clock_ns: u64,
    entries: Vec<([u8; 16], u32)>,
}

impl Request {
    fn price(symbols: &[&str]) -> Self {
        Self {
            kind: PRICE,
            key_id: key().key_id().0,
            session: SESSION,
            counter: 1,
            lane: 1,
            clock_ns: NOW_NS - 20_000_000,
            entries: symbols.iter().map(|name| (padded(name.as_bytes()), 0)).collect(),
        }
    }

    fn ping() -> Self {
        Self {
            kind: PING,
            key_id: 0,
            ..Self::price(&[])
        }
    }

    fn of_kind(kind: (u8, &'static str), entries: usize) -> Self {
        Self {
            kind,
            entries: vec![(padded(b"BTC-USD"), 0); entries],
            ..Self::price(&[])
        }
    }

    fn at(clock_ns: u64) -> Self {
        Self {
            clock_ns,
            ..Self::price(&["BTC-USD"])
        }
    }

    /// The bytes before the tag, in the crate's own layout.
    fn body(&self) -> Vec<u8> {
        let header = RequestHeader {
            magic: MAGIC,
            version: VERSION,
            kind: self.kind.0,
            count: self.entries.len() as u8,
            flags: 0,
            lane: self.lane,
            reserved: 0,
            key_id: self.key_id.into(),
            request_id: RequestId::new(self.session, self.counter).to_wire().into(),
            clock_ns: self.clock_ns.into(),
        };
        let mut bytes = header.as_bytes().to_vec();
        for (symbol, max_age_ms) in &self.entries {
            let entry = RequestEntry {
                symbol: *symbol,
                max_age_ms: (*max_age_ms).into(),
                reserved: [0; 12],
            };
            bytes.extend(entry.as_bytes());
        }
        bytes
    }

    fn signed(&self) -> Vec<u8> {
        sign(self.body(), &key())
    }

    fn unsigned(&self) -> Vec<u8> {
        [&self.body()[..], &[0; 16]].concat()
    }

    fn fields(&self) -> RequestFields {
        RequestFields {
            kind: self.kind.1,
            lane: self.lane,
            key_id: self.key_id.to_string(),
            session: self.session,
            counter: self.counter,
            clock_ns: self.clock_ns.to_string(),
            entries: self.entries.iter().map(|(raw, age)| query(raw, *age)).collect(),
        }
    }
}

/// The worked example of SPEC.md.
pub(super) fn worked_request() -> Vec<u8> {
    let head = RequestHead {
        key_id: key().key_id(),
        request_id: RequestId::new(SESSION, 1),
        lane: 1,
        clock_ns: NOW_NS - 20_000_000,
    };
    let query = PriceQuery::new(Symbol::new("BTC-USD").expect("a good name"));
    let mut buffer = [0; MAX_DATAGRAM];
    encode_price_request(&mut buffer, head, &[query], &mac_keys(&key()).request).to_vec()
}

pub(crate) fn all() -> Vec<RequestVector> {
    let mut all = good::good();
    all.extend(good::odd_symbols());
    all.extend(good::pings());
    all.extend(good::clocks());
    all.extend(refused::unauthenticated());
    all.extend(refused::forbidden());
    all.extend(ill_formed::malformed());
    all.extend(ill_formed::silent());
    all
}

fn answered(name: &'static str, meaning: &'static str, request: &Request) -> RequestVector {
    well_formed(
        name,
        meaning,
        request,
        request.signed(),
        true,
        ("PRICE_REPLY", "OK", true),
    )
}

fn refused(
    name: &'static str,
    meaning: &'static str,
    request: &Request,
    code: &'static str,
) -> RequestVector {
    well_formed(
        name,
        meaning,
        request,
        request.signed(),
        true,
        ("ERROR", code, true),
    )
}

fn unproven(name: &'static str, meaning: &'static str, request: &Request, bytes: Vec<u8>) -> RequestVector {
    well_formed(
        name,
        meaning,
        request,
        bytes,
        false,
        ("ERROR", "UNAUTHENTICATED", false),
    )
}

fn pong(
    name: &'static str,
    meaning: &'static str,
    request: &Request,
    bytes: Vec<u8>,
    tag_ok: bool,
) -> RequestVector {
    well_formed(name, meaning, request, bytes, tag_ok, ("PING_REPLY", "OK", false))
}

fn well_formed(
    name: &'static str,
    meaning: &'static str,
    request: &Request,
    bytes: Vec<u8>,
    tag_ok: bool,
    (answer, code, signed): (&'static str, &'static str, bool),
) -> RequestVector {
    let expect = RequestExpect {
        form: "ok",
        fields: Some(request.fields()),
        tag_ok: Some(tag_ok),
        answer,
        code: Some(code),
        signed: Some(signed),
    };
    vector(name, meaning, bytes, expect)
}

fn ill(
    name: &'static str,
    meaning: &'static str,
    bytes: Vec<u8>,
    form: &'static str,
    code: &'static str,
) -> RequestVector {
    let expect = RequestExpect {
        form,
        fields: None,
        tag_ok: None,
        answer: "ERROR",
        code: Some(code),
        signed: Some(false),
    };
    vector(name, meaning, bytes, expect)
}

fn mute(name: &'static str, meaning: &'static str, bytes: Vec<u8>, form: &'static str) -> RequestVector {
    let expect = RequestExpect {
        form,
        fields: None,
        tag_ok: None,
        answer: "SILENCE",
        code: None,
        signed: None,
    };
    vector(name, meaning, bytes, expect)
}

fn vector(name: &'static str, meaning: &'static str, bytes: Vec<u8>, expect: RequestExpect) -> RequestVector {
    RequestVector {
        name,
        direction: "request",
        meaning,
        key: KeyHex::known(),
        server_clock_ns: NOW_NS.to_string(),
        hex: Hex(bytes),
        expect,
    }
}

fn sign(mut body: Vec<u8>, key: &ApiKey) -> Vec<u8> {
    let tag = mac_keys(key).request.tag(&body);
    body.extend(tag);
    body
}

fn padded(name: &[u8]) -> [u8; 16] {
    let mut raw = [0; 16];
    raw[..name.len()].copy_from_slice(name);
    raw
}

fn query(raw: &[u8; 16], max_age_ms: u32) -> QueryFields {
    // By hand, not by the crate: what SPEC.md calls a symbol.
    let name: Vec<u8> = raw.iter().copied().take_while(|byte| *byte != 0).collect();
    let good = !name.is_empty()
        && name
            .iter()
            .all(|byte| (0x21..=0x7E).contains(byte) && !byte.is_ascii_lowercase())
        && raw[name.len()..].iter().all(|byte| *byte == 0);
    QueryFields {
        symbol: good.then(|| String::from_utf8(name).expect("ASCII")),
        symbol_hex: hex(raw),
        max_age_ms,
    }
}
