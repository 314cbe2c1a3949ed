//! The committed vectors are what the crate makes today, and the crate reads each as the
//! vector says: a datagram's form, fields, tag, and what a server or a client owes it.

#[path = "../examples/make_vectors/cases/mod.rs"]
mod cases;

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use trinity_protocol::{
    ApiKey, ApiKeyError, CLOCK_WINDOW_NS, Code, DecimalText, Kind, MacKeys, PriceFlags, PriceStatus,
    ReplyError, ReplyView, RequestView, Symbol,
};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn lines(file: &str) -> Vec<Value> {
    let path = root().join("protocol/vectors").join(file);
    let text = std::fs::read_to_string(&path).expect("vectors are committed");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
        .collect()
}

fn unhex(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("hex is text");
    assert!(text.len().is_multiple_of(2));
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex digits"))
        .collect()
}

fn keys(vector: &Value) -> MacKeys {
    let key_id = vector["key"]["key_id"]
        .as_str()
        .expect("text")
        .parse()
        .expect("a number");
    let secret = unhex(&vector["key"]["secret"]).try_into().expect("32 bytes");
    let key = ApiKey::from_parts(key_id, secret).expect("in range");
    MacKeys::from_verifier(&key.verifier())
}

fn number(text: &Value) -> u64 {
    text.as_str()
        .expect("large numbers are text")
        .parse()
        .expect("a number")
}

#[test]
fn the_committed_files_are_what_make_vectors_writes_today() {
    let files = cases::files();
    let mut expected = BTreeSet::new();
    for (path, bytes) in &files {
        let committed = std::fs::read(root().join(path)).unwrap_or_default();
        assert!(
            committed == *bytes,
            "{} differs: run `cargo run -p trinity-protocol --example make_vectors`",
            path.display()
        );
        assert!(expected.insert(path.clone()), "{} is made twice", path.display());
    }
    for folder in ["request", "reply", "api_key", "symbol"] {
        let folder = Path::new("fuzz/corpus").join(folder);
        for file in std::fs::read_dir(root().join(&folder)).expect("corpora are committed") {
            let path = folder.join(file.expect("readable").file_name());
            assert!(expected.contains(&path), "{} is made by nothing", path.display());
        }
    }
}

#[test]
fn there_are_vectors_for_every_code_status_flag_and_refusal() {
    let (requests, replies) = (lines("requests.jsonl"), lines("replies.jsonl"));
    assert!(requests.len() + replies.len() >= 60);
    let said = |vectors: &[Value], pointer: &str| -> BTreeSet<String> {
        let values = vectors.iter().filter_map(|v| v.pointer(pointer)?.as_str());
        values.map(str::to_owned).collect()
    };
    let forms = said(&requests, "/expect/form");
    for refusal in trinity_protocol::Refusal::ALL {
        assert!(forms.contains(refusal.name()), "{refusal}");
    }
    let codes = said(&replies, "/expect/fields/code");
    for code in Code::ALL {
        assert!(codes.contains(code.name()), "{code}");
    }
    let statuses = said(&replies, "/expect/fields/entries/0/status");
    for status in PriceStatus::ALL {
        assert!(statuses.contains(status.name()), "{status}");
    }
    let flags = said(&replies, "/expect/fields/entries/0/flags/0");
    for (_, name) in PriceFlags::NAMED {
        assert!(flags.contains(name), "{name}");
    }
    for vector in requests.iter().chain(&replies) {
        assert!(
            vector["meaning"].as_str().is_some_and(|text| text.len() > 5),
            "{vector}"
        );
    }
}

#[test]
fn every_request_vector_is_read_as_it_says() {
    for vector in lines("requests.jsonl") {
        let (name, expect) = (&vector["name"], &vector["expect"]);
        let datagram = unhex(&vector["hex"]);
        let keys = keys(&vector);
        let view = match RequestView::parse(&datagram) {
            Ok(view) => view,
            Err(refusal) => {
                assert_eq!(expect["form"], refusal.name(), "{name}");
                let answer = if refusal.code().is_some() {
                    "ERROR"
                } else {
                    "SILENCE"
                };
                assert_eq!(expect["answer"], answer, "{name}");
                assert_eq!(
                    expect.get("code"),
                    refusal.code().map(|code| json!(code.name())).as_ref(),
                    "{name}"
                );
                assert_ne!(expect["signed"], true, "{name}");
                continue;
            }
        };
        assert_eq!(expect["form"], "ok", "{name}");
        let id = view.request_id();
        let entries: Vec<_> = view
            .entries()
            .iter()
            .map(|entry| {
                let symbol = Symbol::from_wire(entry.symbol).ok();
                let hex = format!("{:032x}", u128::from_be_bytes(entry.symbol));
                json!({
                    "symbol": symbol.map(|symbol| symbol.to_string()),
                    "symbol_hex": hex,
                    "max_age_ms": entry.max_age_ms.get(),
                })
            })
            .collect();
        let fields = json!({
            "kind": request_kind(view.kind()),
            "lane": view.lane(),
            "key_id": view.key_id().0.to_string(),
            "session": id.session,
            "counter": id.counter,
            "clock_ns": view.clock_ns().to_string(),
            "entries": entries,
        });
        assert_eq!(expect["fields"], fields, "{name}");
        assert_eq!(expect["tag_ok"], view.verify(&keys.request), "{name}");
        assert_eq!(
            (&expect["answer"], &expect["code"], &expect["signed"]),
            stateless_answer(&vector, &view, &keys).as_tuple(),
            "{name}"
        );
    }
}

#[test]
fn every_reply_vector_is_read_as_it_says() {
    for vector in lines("replies.jsonl") {
        let (name, expect) = (&vector["name"], &vector["expect"]);
        let datagram = unhex(&vector["hex"]);
        let keys = keys(&vector);
        let view = match ReplyView::parse(&datagram) {
            Ok(view) => view,
            Err(error) => {
                let form = match error {
                    ReplyError::Foreign => "foreign",
                    ReplyError::Malformed => "malformed",
                };
                assert_eq!(expect["form"], form, "{name}");
                assert_eq!(expect["client"], "ignore", "{name}");
                continue;
            }
        };
        assert_eq!(expect["form"], "ok", "{name}");
        let head = view.head();
        let entries: Vec<_> = view
            .entries()
            .iter()
            .map(|entry| {
                let status = PriceStatus::from_wire(entry.status).expect("vectors have defined statuses");
                let (mantissa, exponent) = (entry.mantissa.get(), entry.exponent);
                let text = DecimalText { mantissa, exponent }.to_string();
                json!({
                    "status": status.name(),
                    "price": status.has_value().then_some(text),
                    "mantissa": mantissa.to_string(),
                    "exponent": exponent,
                    "confidence": entry.confidence.get().to_string(),
                    "publish_time_ns": entry.publish_time_ns.get().to_string(),
                    "venues": entry.venues,
                    "flags": PriceFlags(entry.flags).names().collect::<Vec<_>>(),
                    "sequence": entry.sequence.get(),
                })
            })
            .collect();
        let fields = json!({
            "kind": match view.kind() {
                Kind::PriceReply => "PRICE_REPLY",
                Kind::PingReply => "PING_REPLY",
                _ => "ERROR",
            },
            "code": head.code.name(),
            "remaining": head.remaining,
            "refill_ms": head.refill_ms,
            "session": head.request_id.session,
            "counter": head.request_id.counter,
            "clock_ns": head.clock_ns.to_string(),
            "entries": entries,
        });
        assert_eq!(expect["fields"], fields, "{name}");
        let tag = match (view.verify(&keys.reply), view.is_unsigned()) {
            (true, false) => "valid",
            (false, true) => "unsigned",
            (false, false) => "wrong",
            (true, true) => panic!("{name}: a tag of zeros cannot be valid"),
        };
        assert_eq!(expect["tag"], tag, "{name}");
    }
}

#[test]
fn every_api_key_vector_is_read_as_it_says() {
    for vector in lines("api_keys.jsonl") {
        let (name, expect) = (&vector["name"], &vector["expect"]);
        let text = vector["text"].as_str().expect("text");
        match text.parse::<ApiKey>() {
            Ok(key) => {
                assert_eq!(expect["form"], "ok", "{name}");
                assert_eq!(number(&expect["key_id"]), key.key_id().0, "{name}");
                assert_eq!(unhex(&expect["verifier"]), key.verifier().as_bytes(), "{name}");
                let secret = unhex(&expect["secret"]).try_into().expect("32 bytes");
                assert!(ApiKey::from_parts(key.key_id().0, secret) == Ok(key), "{name}");
            }
            Err(error) => {
                let form = match error {
                    ApiKeyError::Prefix => "prefix",
                    ApiKeyError::Length => "length",
                    ApiKeyError::Character => "character",
                    ApiKeyError::Check => "check",
                    ApiKeyError::KeyId => "key_id",
                };
                assert_eq!(expect["form"], form, "{name}");
            }
        }
    }
}

/// What a server owes a well-formed request, by SPEC.md's order, as far as it takes no state.
fn stateless_answer(vector: &Value, view: &RequestView<'_>, keys: &MacKeys) -> Answer {
    if view.kind() == Kind::Ping {
        return Answer::new("PING_REPLY", Code::Ok, false);
    }
    let known = number(&vector["key"]["key_id"]) == view.key_id().0;
    if !known || !view.verify(&keys.request) {
        return Answer::new("ERROR", Code::Unauthenticated, false);
    }
    if view.clock_ns().abs_diff(number(&vector["server_clock_ns"])) > CLOCK_WINDOW_NS {
        return Answer::new("ERROR", Code::Clock, true);
    }
    match view.kind() {
        Kind::Price => Answer::new("PRICE_REPLY", Code::Ok, true),
        _ => Answer::new("ERROR", Code::Forbidden, true),
    }
}

struct Answer(Value, Value, Value);

impl Answer {
    fn new(kind: &str, code: Code, signed: bool) -> Self {
        Self(json!(kind), json!(code.name()), json!(signed))
    }

    fn as_tuple(&self) -> (&Value, &Value, &Value) {
        (&self.0, &self.1, &self.2)
    }
}

fn request_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Price => "PRICE",
        Kind::Ping => "PING",
        Kind::Subscribe => "SUBSCRIBE",
        Kind::Usage => "USAGE",
        _ => "a reply",
    }
}
