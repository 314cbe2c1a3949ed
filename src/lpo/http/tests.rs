use std::sync::Arc;

use http::StatusCode;
use http::header::{CONTENT_LENGTH, RETRY_AFTER, WWW_AUTHENTICATE};
use proptest::prelude::*;
use serde_json::Value;
use trinity_protocol::{PriceFlags, PriceStatus, Symbol};

use super::*;
use crate::limits::{METER_REQUEST_ROWS, MISS_WAIT_MS};
use crate::tables::counters::{MissCounters, Waited};
use crate::tables::keys::Allowed;
use crate::tables::limiter::Limits;
use crate::tables::meter::{MeterPages, UsagePage};
use crate::tables::misses::MissBoard;
use crate::tables::prices::{PriceRecord, PriceWriter, SymbolIndex, SymbolNames};

pub(super) const NOW: u64 = 1_700_000_000_000_000_000;
/// Who asks.
pub(super) const PEER: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 2, 3)));
pub(super) const UNLIMITED: Limits = Limits::NONE;

pub(super) struct Server {
    prices: Arc<PriceTable>,
    pub(super) writer: PriceWriter,
    pub(super) keys: KeyTable,
    pub(super) meter: Meter,
    pages: MeterPages,
    directory: Directory,
    /// What the market says when it is asked why.
    explanation: Option<Bytes>,
}

pub(super) fn key(id: u64) -> ApiKey {
    ApiKey::from_parts(id, [id as u8; 32]).expect("in range")
}

pub(super) fn live(mantissa: i64, exponent: i8) -> PriceRecord {
    PriceRecord {
        mantissa,
        confidence: 1_250,
        publish_time_ns: 1_678_492_800_123_000_000,
        exponent,
        status: PriceStatus::Live,
        quality: PriceStatus::Live,
        venues: 3,
        flags: PriceFlags::DERIVED.with(PriceFlags::REPLAYED),
        sequence: 77,
        age_origin_ns: NOW - 1_500_000_000,
        max_age_ms: 10_000,
        hard_age_ms: 60_000,
    }
}

impl Server {
    /// Key 1 is good, 2 is revoked, 3 expires at `NOW`; 4 may be used from elsewhere, 5 from here, 6
    /// not over HTTP.
    pub(super) fn new(limits: Limits) -> Self {
        let symbol = |name: &str| Symbol::new(name).expect("a symbol");
        let names: Vec<_> = (0..150)
            .map(|i| match i {
                0 => symbol("BTC-USD"),
                1 => symbol("ETH-USD"),
                i => symbol(&format!("S{i}-USD")),
            })
            .collect();
        let aliases = [
            (symbol("BTC"), SymbolIndex(0)),
            (symbol("XBT/USD"), SymbolIndex(0)),
        ];
        let names = Arc::new(SymbolNames::new(names, &aliases).expect("distinct"));
        let (mut writer, tables) = PriceWriter::new(&names, 1);
        writer.publish(SymbolIndex(0), live(2_263_950_000, -5));
        let never = u64::MAX;
        let network = |text: &str| Allowed::new(true, true, &[text.parse().expect("a network")]);
        let keys = [
            (1, never, Allowed::default()),
            (2, 0, Allowed::default()),
            (3, NOW, Allowed::default()),
            (4, never, network("192.0.2.0/24")),
            (5, never, network("10.0.0.0/8")),
            (6, never, Allowed::new(true, false, &[])),
        ]
        .map(|(id, until, allowed)| KeyEntry {
            allowed,
            ..KeyEntry::new(KeyId(id), &key(id).verifier(), limits, until, Arc::default())
        });
        let (meter, pages) = Meter::new();
        Self {
            prices: tables[0].load_full(),
            writer,
            keys: KeyTable::new(keys.into()),
            meter,
            pages,
            directory: Directory::new(&names),
            explanation: Some("{\"why\":1}".into()),
        }
    }

    /// Puts a question at a time that stands still, at which a fetch never comes.
    pub(super) fn at<T>(&mut self, now_ns: u64, question: impl FnOnce(&mut Answerer<'_>) -> T) -> T {
        question(&mut Answerer {
            prices: &self.prices,
            keys: &self.keys,
            meter: &mut self.meter,
            directory: &mut self.directory,
            source: "replay:test",
            clock: &|| now_ns,
            month_left_ms: 3_600_000,
            misses: None,
        })
    }

    /// The answer to a `GET` at a time that stands still.
    pub(super) fn ask_on(&mut self, now_ns: u64, target: &str, headers: &HeaderMap) -> Answer {
        let (path, query) = target.split_once('?').expect("a query");
        let head = Head {
            peer: PEER,
            method: &Method::GET,
            path,
            query: Some(query),
            headers,
            arrived_ns: now_ns,
        };
        match self.at(now_ns, |answerer| answerer.begin(head)) {
            Step::Answered(answer) => answer,
            step => panic!("nobody fetches: {step:?}"),
        }
    }

    fn ask_at(
        &mut self,
        now_ns: u64,
        method: &str,
        target: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Answer {
        let clock = move || now_ns + 41_000;
        let mut answerer = Answerer {
            prices: &self.prices,
            keys: &self.keys,
            meter: &mut self.meter,
            directory: &mut self.directory,
            source: "replay:test",
            clock: &clock,
            month_left_ms: 3_600_000,
            misses: None,
        };
        let (path, query) = target
            .split_once('?')
            .map_or((target, None), |(p, q)| (p, Some(q)));
        let head = Head {
            peer: PEER,
            method: &Method::from_bytes(method.as_bytes()).expect("a token"),
            path,
            query,
            headers,
            arrived_ns: now_ns,
        };
        match answerer.begin(head) {
            Step::Answered(answer) => answer,
            Step::Body(proven) => answerer.finish(proven, body).expect("nobody fetches"),
            Step::Wait(waiting) => panic!("nobody fetches: {waiting:?}"),
            Step::Explain(query) => answerer.finish_explain(query, self.explanation.clone()),
        }
    }

    fn ask(&mut self, method: &str, target: &str, body: &str) -> (Answer, Value) {
        let headers = bearer(&key(1).expose().to_string());
        let answer = self.ask_at(NOW, method, target, &headers, body.as_bytes());
        let json = serde_json::from_slice(answer.response.body()).expect("every body is JSON");
        (answer, json)
    }

    /// The problem's slug, its status having been compared with the response's.
    fn problem(&mut self, method: &str, target: &str, headers: &HeaderMap, body: &str) -> String {
        let answer = self.ask_at(NOW, method, target, headers, body.as_bytes());
        slug(&answer)
    }

    pub(super) fn usage(&mut self) -> UsagePage {
        self.meter.close();
        *self.pages.take().expect("something was counted")
    }

    pub(super) fn outcomes(&mut self) -> Vec<(Code, u64)> {
        let page = self.usage();
        page.requests()
            .iter()
            .map(|row| (row.outcome, row.count))
            .collect()
    }
}

fn slug(answer: &Answer) -> String {
    assert_eq!(answer.response.headers()[CONTENT_TYPE], problem::PROBLEM_JSON);
    let json: Value = serde_json::from_slice(answer.response.body()).expect("JSON");
    assert_eq!(json["status"], answer.response.status().as_u16());
    assert!(!json["detail"].as_str().expect("a text").is_empty());
    json["type"]
        .as_str()
        .expect("a text")
        .strip_prefix("/problems/")
        .expect("a type of ours")
        .to_owned()
}

pub(super) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {token}");
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&value).expect("a field value"),
    );
    headers
}

#[test]
fn a_key_that_may_not_be_used_from_here_gets_403_counted_as_its_own_and_charged_to_nobody() {
    let mut server = Server::new(Limits::new(Some(10), Some(10), Some(100)));
    let routes = [
        ("GET", "/price?asset=btc"),
        ("POST", "/prices"),
        ("GET", "/price/BTC-USD/explain"),
    ];
    let body = br#"{"assets":["btc"]}"#;
    for (id, refused) in [(4, true), (5, false), (6, true)] {
        let headers = bearer(&key(id).expose().to_string());
        for (method, target) in routes {
            let answer = server.ask_at(NOW, method, target, &headers, body);
            assert_eq!(
                answer.response.status() == StatusCode::FORBIDDEN,
                refused,
                "{id} {method} {target}"
            );
            assert_eq!(answer.code == Code::Forbidden, refused);
            assert!(
                answer.response.headers().contains_key("ratelimit"),
                "it is told what it has left"
            );
        }
        let state = &server.keys.find(KeyId(id)).expect("there").state;
        assert_eq!(state.month_used(), if refused { 0 } else { 3 });
    }
    server.meter.close();
    let page = server.pages.take().expect("something was counted");
    let forbidden = |id| -> u64 {
        let rows = page.requests().into_iter();
        rows.filter(|row| row.outcome == Code::Forbidden && row.key_id == KeyId(id))
            .map(|row| row.count)
            .sum()
    };
    assert_eq!((forbidden(4), forbidden(5), forbidden(6)), (3, 0, 3));
    let stranger = bearer(
        &ApiKey::from_parts(4, [9; 32])
            .expect("in range")
            .expose()
            .to_string(),
    );
    let answer = server.ask_at(NOW, "GET", "/price?asset=btc", &stranger, b"");
    assert_eq!(
        answer.response.status(),
        StatusCode::UNAUTHORIZED,
        "nothing is said of a key that is not proven"
    );
}

#[test]
fn a_price_is_the_exact_decimal_with_all_its_circumstances() {
    let mut server = Server::new(UNLIMITED);
    let (answer, json) = server.ask("GET", "/price?asset=btc", "");
    let body = std::str::from_utf8(answer.response.body()).expect("UTF-8");
    assert!(body.contains("\"price\":22639.50000,"), "{body}");
    assert!(body.contains("\"confidence_text\":\"0.01250\","), "{body}");
    let expected = serde_json::json!({
        "asset": "btc", "symbol": "BTC-USD", "price": 22_639.5, "price_text": "22639.50000",
        "mantissa": 2_263_950_000_u64, "exponent": -5, "confidence": 1_250, "confidence_text": "0.01250",
        "status": "LIVE", "venues": 3, "flags": 20, "flag_names": ["derived", "replayed"], "sequence": 77,
        "publish_time_ns": 1_678_492_800_123_000_000_u64, "timestamp": "2023-03-11T00:00:00.123Z",
        "source": "replay:test", "cached": true, "cache_age_seconds": 1.5,
        "latency_ms": 0.041, "duration_ms": 0.041,
    });
    assert_eq!(json, expected);
    assert_eq!(answer.response.headers()[CONTENT_TYPE], "application/json");
    assert_eq!(answer.response.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(answer.latency_ns, 41_000);
}

#[test]
fn a_mantissa_beyond_the_floats_is_not_rounded() {
    let mut server = Server::new(UNLIMITED);
    server
        .writer
        .publish(SymbolIndex(0), live(9_007_199_254_740_993, -8));
    let (answer, json) = server.ask("GET", "/price?symbol=BTC-USD", "");
    let body = std::str::from_utf8(answer.response.body()).expect("UTF-8");
    assert!(body.contains("\"price\":90071992.54740993,"), "{body}");
    assert_eq!(json["mantissa"], 9_007_199_254_740_993_u64);
    assert_eq!(json["price_text"], "90071992.54740993");
}

#[test]
fn http_gives_the_very_entry_that_udp_gives() {
    let mut server = Server::new(UNLIMITED);
    for max_age_ms in [0, 1_000, 1_499, 1_500, 30_000] {
        let (_, json) = server.ask(
            "GET",
            &format!("/price?asset=BTC-USD&max_age_ms={max_age_ms}"),
            "",
        );
        let wire = Symbol::new("BTC-USD").expect("a symbol").to_wire();
        let (_, entry) = server.prices.entry(&wire, max_age_ms, NOW + 41_000);
        let status = PriceStatus::from_wire(entry.status).expect("a status");
        assert_eq!(json["status"], status.name(), "{max_age_ms}");
        assert_eq!(json["mantissa"], entry.mantissa.get());
        assert_eq!(json["confidence"], entry.confidence.get());
        assert_eq!(json["exponent"], entry.exponent);
        assert_eq!(json["sequence"], entry.sequence.get());
    }
}

#[test]
fn a_symbol_without_a_price_says_so_and_gives_no_number() {
    let mut server = Server::new(UNLIMITED);
    let (answer, json) = server.ask("GET", "/price?asset=eth-usd", "");
    assert_eq!(answer.response.status(), StatusCode::OK);
    assert_eq!(json["status"], "NO_PRICE");
    for member in [
        "price",
        "price_text",
        "mantissa",
        "confidence",
        "confidence_text",
        "publish_time_ns",
        "timestamp",
        "cache_age_seconds",
    ] {
        assert!(json[member].is_null(), "{member}");
        assert!(json.get(member).is_some(), "{member} is named all the same");
    }
    assert_eq!(json["cached"], false);
}

#[test]
fn an_unknown_asset_is_answered_and_charged_as_over_udp() {
    let mut server = Server::new(UNLIMITED);
    let (answer, _) = server.ask("GET", "/price?asset=nope", "");
    assert_eq!(
        (slug(&answer).as_str(), answer.response.status()),
        ("unknown-asset", StatusCode::NOT_FOUND)
    );
    let page = server.usage();
    assert_eq!(page.requests()[0].outcome, Code::Ok);
    assert_eq!(page.requests()[0].protocol, Protocol::Http);
    assert_eq!(page.symbols().next().expect("a row").symbol, None);
    assert_eq!(
        page.symbols().next().expect("a row").status,
        PriceStatus::UnknownSymbol
    );
}

#[test]
fn a_batch_answers_each_asset_for_itself_and_folds_duplicates() {
    let mut server = Server::new(UNLIMITED);
    let body =
        r#"{"assets":["btc","nope","BTC-USD","eth-usd","NOPE","xbt/usd","far too long for a symbol"]}"#;
    let (answer, json) = server.ask("POST", "/prices", body);
    assert_eq!(answer.response.status(), StatusCode::OK);
    let told: Vec<_> = json["prices"]
        .as_array()
        .expect("an array")
        .iter()
        .map(|price| {
            (
                price["asset"].as_str().expect("a text"),
                price["status"].as_str().expect("a text"),
            )
        })
        .collect();
    let expected = [
        ("btc", "LIVE"),
        ("nope", "UNKNOWN_SYMBOL"),
        ("eth-usd", "NO_PRICE"),
        ("far too long for a symbol", "UNKNOWN_SYMBOL"),
    ];
    assert_eq!(told, expected);
    assert_eq!(json["count"], 4);
    assert_eq!(answer.entries, 4);
    let page = server.usage();
    assert_eq!((page.requests().len(), page.requests()[0].count), (1, 1));
    assert_eq!(page.symbols().map(|row| row.entries).sum::<u64>(), 4);
}

#[test]
fn an_explanation_is_what_the_market_says_and_one_request() {
    let mut server = Server::new(Limits::new(Some(1), Some(3), None));
    for target in [
        "/price/btc/explain",
        "/price/XBT%2FUSD/explain",
        "/price/xbt/usd/explain",
    ] {
        let (answer, json) = server.ask("GET", target, "");
        assert_eq!(answer.response.status(), StatusCode::OK, "{target}");
        assert_eq!(answer.response.headers()[CONTENT_TYPE], JSON);
        assert_eq!(answer.response.headers()[CACHE_CONTROL], "no-store");
        assert!(answer.response.headers().contains_key("ratelimit"));
        assert_eq!((json["why"].as_u64(), answer.entries), (Some(1), 1));
    }
    let (answer, _) = server.ask("GET", "/price/btc/explain", "");
    assert_eq!(slug(&answer), "rate-limited", "before the market is asked");
    let page = server.usage();
    let counted: Vec<_> = page
        .requests()
        .iter()
        .map(|row| (row.outcome, row.count))
        .collect();
    assert_eq!(counted, [(Code::Ok, 3), (Code::RateLimited, 1)]);
    assert_eq!(page.symbols().next().expect("a row").symbol, Some(SymbolIndex(0)));
    assert_eq!(
        (
            page.symbols().next().expect("a row").entries,
            page.symbols().next().expect("a row").status
        ),
        (3, PriceStatus::Live)
    );
}

#[test]
fn a_market_that_does_not_explain_itself_is_a_problem_and_costs_nothing() {
    let mut server = Server::new(UNLIMITED);
    server.explanation = None;
    let (answer, _) = server.ask("GET", "/price/btc/explain", "");
    assert_eq!(slug(&answer), "unexplained");
    assert_eq!(answer.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(answer.response.headers().contains_key(RETRY_AFTER));
    assert_eq!(server.outcomes(), [(Code::Overloaded, 1)]);
}

#[test]
fn nobody_without_a_good_key_is_explained_anything() {
    let mut server = Server::new(UNLIMITED);
    for (headers, expected) in [
        (HeaderMap::new(), "missing-key"),
        (bearer("tb_live_x"), "mistyped-key"),
        (bearer(&key(2).expose().to_string()), "refused-key"),
    ] {
        assert_eq!(
            server.problem("GET", "/price/btc/explain", &headers, ""),
            expected
        );
    }
}

#[test]
fn a_hundred_assets_are_one_request_and_one_more_is_refused() {
    let mut server = Server::new(Limits::new(Some(1), Some(2), None));
    let body = |n: usize| {
        let assets: Vec<_> = (2..n + 2).map(|i| format!("\"s{i}-usd\"")).collect();
        format!("{{\"assets\":[{}]}}", assets.join(","))
    };
    let (_, json) = server.ask("POST", "/prices", &body(100));
    assert_eq!(json["count"], 100);
    let (answer, _) = server.ask("POST", "/prices", &body(101));
    assert_eq!(slug(&answer), "too-many-assets");
    let (answer, _) = server.ask("POST", "/prices", &body(1));
    assert_eq!(
        answer.code,
        Code::Ok,
        "the refusal took nothing of the burst of two"
    );
    assert_eq!(server.outcomes(), [(Code::Ok, 2), (Code::Malformed, 1)]);
}

#[test]
fn every_way_to_be_wrong_with_a_good_key_has_its_problem() {
    let mut server = Server::new(UNLIMITED);
    let good = bearer(&key(1).expose().to_string());
    for (method, target, body, expected) in [
        ("GET", "/price", "", "bad-query"),
        ("GET", "/price?asset=btc&asset=eth", "", "bad-query"),
        ("GET", "/price?asset=btc&max_age_ms=soon", "", "bad-query"),
        ("POST", "/prices", "", "bad-body"),
        ("POST", "/prices", "{\"assets\":[\"btc\"", "bad-body"),
        ("POST", "/prices", "{\"assets\":[]}", "no-assets"),
        ("GET", "/price?asset=nope", "", "unknown-asset"),
        ("GET", "/price/", "", "not-found"),
        ("GET", "/price/NOPE/explain", "", "unknown-asset"),
        ("GET", "/price//explain", "", "unknown-asset"),
        ("GET", "/price/BTC%2/explain", "", "not-found"),
        ("GET", "/price/BTC/explain?max_age_ms=1", "", "bad-query"),
        ("POST", "/price/BTC/explain", "", "method-not-allowed"),
        ("GET", "/price/BTC/explain?api_key=1", "", "key-in-query"),
        ("GET", "/problemsx", "", "not-found"),
        ("GET", "/problems/none", "", "not-found"),
        ("GET", "*", "", "not-found"),
        ("POST", "/price?asset=btc", "", "method-not-allowed"),
        ("GET", "/prices", "", "method-not-allowed"),
        ("DELETE", "/symbols", "", "method-not-allowed"),
        ("OPTIONS", "/prices", "", "method-not-allowed"),
        ("PUT", "/problems", "", "method-not-allowed"),
        ("GET", "/price?asset=btc&key=x", "", "key-in-query"),
        ("GET", "/symbols?token=x", "", "key-in-query"),
    ] {
        assert_eq!(
            server.problem(method, target, &good, body),
            expected,
            "{method} {target}"
        );
    }
    assert_eq!(
        server.outcomes(),
        [(Code::Malformed, 8), (Code::Ok, 3)],
        "what a proven key did is counted, what a stranger might have done is not"
    );
}

#[test]
fn a_refused_method_names_those_allowed() {
    let mut server = Server::new(UNLIMITED);
    for (method, target, allow) in [
        ("POST", "/price", "GET, HEAD"),
        ("GET", "/prices", "POST"),
        ("PUT", "/symbols", "GET, HEAD"),
    ] {
        let answer = server.ask_at(NOW, method, target, &HeaderMap::new(), b"");
        assert_eq!(answer.response.headers()[ALLOW], allow);
    }
}

#[test]
fn a_missing_key_and_a_mistyped_one_are_told_apart() {
    let mut server = Server::new(UNLIMITED);
    let text = key(1).expose().to_string();
    let mut basic = HeaderMap::new();
    basic.insert(AUTHORIZATION, HeaderValue::from_static("Basic abc"));
    for (method, target) in [("GET", "/price?asset=btc"), ("POST", "/prices")] {
        assert_eq!(
            server.problem(method, target, &HeaderMap::new(), ""),
            "missing-key"
        );
        assert_eq!(server.problem(method, target, &basic, ""), "missing-key");
        for wrong in [
            "",
            "x",
            "tb_live_",
            &text[..text.len() - 1],
            &text.replace('1', "2"),
        ] {
            assert_eq!(server.problem(method, target, &bearer(wrong), ""), "mistyped-key");
        }
    }
    let answer = server.ask_at(NOW, "GET", "/price?asset=btc", &HeaderMap::new(), b"");
    assert_eq!(answer.response.status(), StatusCode::UNAUTHORIZED);
    assert!(
        answer.response.headers()[WWW_AUTHENTICATE]
            .as_bytes()
            .starts_with(b"Bearer")
    );
    assert!(!server.meter.close(), "strangers are not metered");
}

#[test]
fn unknown_wrong_revoked_and_expired_keys_get_one_and_the_same_answer() {
    let mut server = Server::new(UNLIMITED);
    let wrong = ApiKey::from_parts(1, [9; 32]).expect("in range");
    let answers: Vec<_> = [key(99), wrong, key(2), key(3)]
        .map(|key| {
            let headers = bearer(&key.expose().to_string());
            let answer = server.ask_at(NOW, "GET", "/price?asset=btc", &headers, b"");
            assert_eq!(slug(&answer), "refused-key");
            format!("{:?}", answer.response)
        })
        .into();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    let before = server.ask_at(
        NOW - 100_000,
        "GET",
        "/price?asset=btc",
        &bearer(&key(3).expose().to_string()),
        b"",
    );
    assert_eq!(before.code, Code::Ok, "it was good until it expired");
}

#[test]
fn a_key_is_taken_from_either_header_in_any_case() {
    let mut server = Server::new(UNLIMITED);
    let text = key(1).expose().to_string();
    let with = |name: HeaderName, value: String| {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(&value).expect("a field value"));
        headers
    };
    for headers in [
        with(AUTHORIZATION, format!("Bearer {text}")),
        with(AUTHORIZATION, format!("bearer  {text} ")),
        with(X_API_KEY, text.clone()),
    ] {
        let answer = server.ask_at(NOW, "GET", "/price?asset=btc", &headers, b"");
        assert_eq!(answer.code, Code::Ok);
    }
    let mut both = with(X_API_KEY, text);
    both.insert(AUTHORIZATION, HeaderValue::from_static("Basic of-some-proxy"));
    assert_eq!(
        server.ask_at(NOW, "GET", "/price?asset=btc", &both, b"").code,
        Code::Ok
    );
}

#[test]
fn a_key_in_the_query_is_refused_and_never_repeated() {
    let mut server = Server::new(UNLIMITED);
    let text = key(1).expose().to_string();
    for target in [
        format!("/price?asset=btc&api_key={text}"),
        format!("/price?asset={text}"),
        format!("/symbols?{text}"),
        format!("/nowhere?x={text}"),
    ] {
        let headers = bearer(&text);
        let answer = server.ask_at(NOW, "GET", &target, &headers, b"");
        assert_eq!(slug(&answer), "key-in-query");
        assert_eq!(answer.response.status(), StatusCode::BAD_REQUEST);
        let whole = format!("{:?}", answer.response);
        assert!(!whole.contains(&text[30..50]));
    }
}

#[test]
fn a_burst_is_granted_then_refused_with_the_time_to_wait() {
    let mut server = Server::new(Limits::new(Some(1), Some(2), Some(1_000)));
    for left in ["1", "0"] {
        let (answer, _) = server.ask("GET", "/price?asset=btc", "");
        assert_eq!(answer.response.headers()["x-ratelimit-remaining"], left);
        assert_eq!(answer.response.headers()["x-ratelimit-limit"], "2");
    }
    let (answer, _) = server.ask("GET", "/price?asset=btc", "");
    assert_eq!(slug(&answer), "rate-limited");
    assert_eq!(answer.response.status(), StatusCode::TOO_MANY_REQUESTS);
    let headers = answer.response.headers();
    assert_eq!(headers[RETRY_AFTER], "1");
    assert_eq!(headers["ratelimit"], "\"rate\";r=0;t=1, \"month\";r=998;t=3600");
    assert_eq!(headers["ratelimit-policy"], "\"rate\";q=2;w=2, \"month\";q=1000");
    let later = server.ask_at(
        NOW + 1_000_000_000,
        "GET",
        "/price?asset=btc",
        &bearer(&key(1).expose().to_string()),
        b"",
    );
    assert_eq!(later.code, Code::Ok, "waiting as told is enough");
    let mut outcomes = server.outcomes();
    outcomes.sort();
    assert_eq!(outcomes, [(Code::Ok, 1), (Code::Ok, 2), (Code::RateLimited, 1)]);
}

#[test]
fn a_used_up_month_says_when_the_next_one_begins() {
    let mut server = Server::new(Limits::new(None, None, Some(1)));
    assert_eq!(server.ask("GET", "/price?asset=btc", "").0.code, Code::Ok);
    let (answer, _) = server.ask("POST", "/prices", "{\"assets\":[\"btc\"]}");
    assert_eq!(slug(&answer), "quota-exceeded");
    assert_eq!(answer.response.headers()[RETRY_AFTER], "3600");
}

#[test]
fn a_key_without_limits_hears_of_none() {
    let mut server = Server::new(UNLIMITED);
    let (answer, _) = server.ask("GET", "/price?asset=btc", "");
    assert!(
        answer
            .response
            .headers()
            .keys()
            .all(|name| !name.as_str().contains("ratelimit"))
    );
}

#[test]
fn what_cannot_be_counted_is_not_given() {
    let mut server = Server::new(UNLIMITED);
    for id in 10..10 + METER_REQUEST_ROWS as u64 {
        server.meter.request(KeyId(id), 1, Protocol::Http, Code::Ok);
    }
    let (answer, _) = server.ask("GET", "/price?asset=btc", "");
    assert_eq!(slug(&answer), "overloaded");
    assert_eq!(answer.response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.response.headers()[RETRY_AFTER], "1");
}

#[test]
fn a_key_revoked_while_its_body_comes_is_refused() {
    let mut server = Server::new(UNLIMITED);
    let proven = Proven {
        key_id: KeyId(2),
        arrived_ns: NOW,
    };
    let clock = || NOW;
    let mut answerer = Answerer {
        prices: &server.prices,
        keys: &server.keys,
        meter: &mut server.meter,
        directory: &mut server.directory,
        source: "",
        clock: &clock,
        month_left_ms: 0,
        misses: None,
    };
    let answer = answerer.finish(proven, b"{\"assets\":[\"btc\"]}");
    assert_eq!(slug(&answer.expect("nobody fetches")), "refused-key");
    let slow = answerer.give_up(proven, Problem::SlowRequest, "Send it faster.");
    assert_eq!(slow.response.status(), StatusCode::REQUEST_TIMEOUT);
}

#[test]
fn lists_need_no_key() {
    let mut server = Server::new(UNLIMITED);
    let none = HeaderMap::new();
    let symbols = server.ask_at(NOW, "GET", "/symbols", &none, b"");
    let json: Value = serde_json::from_slice(symbols.response.body()).expect("JSON");
    assert_eq!(json["count"], 150);
    assert_eq!(json["symbols"][0]["status"], "LIVE");
    for problem in Problem::ALL {
        let one = server.ask_at(NOW, "GET", &format!("/problems/{}", problem.slug()), &none, b"");
        let json: Value = serde_json::from_slice(one.response.body()).expect("JSON");
        assert_eq!(json["title"], problem.title());
    }
    let all = server.ask_at(NOW, "GET", "/problems", &none, b"");
    let json: Value = serde_json::from_slice(all.response.body()).expect("JSON");
    assert_eq!(json.as_array().map(Vec::len), Some(Problem::ALL.len()));
}

#[test]
fn nothing_a_client_sends_reaches_a_header_or_breaks_the_json() {
    let mut server = Server::new(UNLIMITED);
    let evil = "x%22%0d%0aset-cookie:%20a=b%0d%0a%0d%0a%3cscript%3e";
    let (answer, json) = server.ask("GET", &format!("/price?asset={evil}"), "");
    assert!(answer.response.headers().get("set-cookie").is_none());
    assert!(answer.response.headers().get(CONTENT_LENGTH).is_none());
    assert!(!answer.response.body().contains(&b'\r'));
    assert!(json["detail"].as_str().expect("a text").contains("set-cookie"));
    let (_, json) = server.ask("POST", "/prices", r#"{"assets":["\"\r\n\u0000\u2028"]}"#);
    assert_eq!(json["prices"][0]["asset"], "\"\r\n\0\u{2028}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_requests_never_panic(
        method in "GET|POST|HEAD|PUT",
        path in "/|/price|/prices|/symbols|/problems/[a-z-]{0,9}|.{0,30}",
        query in ".{0,60}",
        token in "[ -~]{0,90}",
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut server = Server::new(UNLIMITED);
        let target = format!("{path}?{query}");
        for headers in [bearer(&token), bearer(&key(1).expose().to_string())] {
            let answer = server.ask_at(NOW, &method, &target, &headers, &body);
            prop_assert!(serde_json::from_slice::<Value>(answer.response.body()).is_ok());
        }
    }
}

/// A server on which prices are fetched, with so many waiting already.
fn ask_fetching(server: &mut Server, board: &MissBoard, waiting: usize, target: &str, now_ns: u64) -> Step {
    let clock = move || now_ns;
    let counters = MissCounters::default();
    let headers = bearer(&key(1).expose().to_string());
    let (path, query) = target.split_once('?').expect("a query");
    let mut answerer = Answerer {
        prices: &server.prices,
        keys: &server.keys,
        meter: &mut server.meter,
        directory: &mut server.directory,
        source: "live",
        clock: &clock,
        month_left_ms: 0,
        misses: Some(Misses {
            board,
            counters: &counters,
            waiting,
            room: 2,
        }),
    };
    let step = answerer.begin(Head {
        peer: PEER,
        method: &Method::GET,
        path,
        query: Some(query),
        headers: &headers,
        arrived_ns: now_ns,
    });
    match step {
        Step::Wait(waiting) => {
            assert_eq!(answerer.wait_is_over(&waiting), None, "it was just asked for");
            let late = move || now_ns + MISS_WAIT_MS * 1_000_000;
            answerer.clock = &late;
            assert_eq!(answerer.wait_is_over(&waiting), Some(Waited::Deadline));
            let back = move || now_ns - 3_600_000_000_000;
            answerer.clock = &back;
            assert_eq!(answerer.wait_is_over(&waiting), Some(Waited::Deadline));
            Step::Wait(waiting)
        }
        step => step,
    }
}

#[test]
fn a_question_waits_only_for_what_is_listed_and_missed() {
    let mut server = Server::new(UNLIMITED);
    let board = MissBoard::with_room(150, 150, || {});
    for (target, waits) in [
        ("/price?asset=btc", false),
        ("/price?asset=nope", false),
        ("/price?asset=eth-usd", true),
        ("/price?asset=btc&max_age_ms=1499", true),
        ("/price?asset=btc&max_age_ms=1500", false),
    ] {
        let step = ask_fetching(&mut server, &board, 0, target, NOW);
        assert_eq!(matches!(step, Step::Wait(_)), waits, "{target}");
    }
    assert_eq!(board.flights(), 2);
}

#[test]
fn too_many_waiting_shed_what_cannot_be_said_and_charge_nothing_for_it() {
    let mut server = Server::new(Limits::new(None, None, Some(100)));
    let board = MissBoard::with_room(150, 150, || {});
    let answered = |step| match step {
        Step::Answered(answer) => answer,
        other => panic!("{other:?}"),
    };
    let shed = answered(ask_fetching(&mut server, &board, 2, "/price?asset=eth-usd", NOW));
    assert_eq!(slug(&shed), "overloaded");
    assert_eq!(board.flights(), 0);
    assert_eq!(server.keys.find(KeyId(1)).expect("there").state.month_used(), 0);
    let stale = answered(ask_fetching(
        &mut server,
        &board,
        2,
        "/price?asset=btc&max_age_ms=1",
        NOW,
    ));
    let json: Value = serde_json::from_slice(stale.response.body()).expect("JSON");
    assert_eq!(json["status"], "STALE", "what there is is given");
    assert_eq!(board.flights(), 1, "and a fresher one fetched");
    assert_eq!(server.outcomes(), [(Code::Overloaded, 1), (Code::Ok, 1)]);
}

#[test]
fn rows_of_the_meter_are_kept_for_those_who_wait() {
    let mut server = Server::new(UNLIMITED);
    let board = MissBoard::with_room(150, 150, || {});
    for i in 1..METER_REQUEST_ROWS as u64 - 1 {
        let row = server
            .meter
            .request(KeyId(1_000 + i), 7, Protocol::Http, Code::Ok);
        assert!(row.is_some());
    }
    // Two rows are left, and one of them is another's.
    let step = ask_fetching(&mut server, &board, 1, "/price?asset=eth-usd", NOW);
    assert!(matches!(step, Step::Wait(_)));
    server
        .meter
        .request(KeyId(1), 7, Protocol::Http, Code::Ok)
        .expect("a row");
    let step = ask_fetching(&mut server, &board, 1, "/price?asset=btc", NOW);
    let Step::Answered(answer) = step else {
        panic!("{step:?}");
    };
    assert_eq!(slug(&answer), "overloaded");
    assert!(server.meter.has_room(1), "nobody took the kept one");
}
