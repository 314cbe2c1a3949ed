//! Request in, response out: `GET /price`, `GET /price/{symbol}/explain`, `POST /prices`,
//! `GET /symbols`, `GET /problems`.
//!
//! Pure: the socket's owner brings the request's parts, the tables and a clock. A request
//! with a body is answered in two steps, so that nobody's body is waited for before the
//! key is proven; so is one for an explanation, which only the market can give.
//!
//! A key is charged as over UDP: an answered question is one request however many assets it
//! names and whatever their status, an unknown asset included; a refusal is counted under
//! its code and charged to nobody.

mod explain;
pub mod json;
mod limit_headers;
pub mod plain;
mod price;
pub mod problem;
pub mod query;
mod rendered;
mod symbols;
mod waiting;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use trinity_protocol::{ApiKey, Code, KeyId, MacKeys};

pub use self::explain::ExplainQuery;
use self::json::Json;
use self::price::{PRICE_BYTES, Quoted, write_latency};
use self::problem::Problem;
use self::query::{BatchQuery, Misunderstood, PriceQuery, Question, carries_key, clip, explained_symbol};
pub use self::symbols::Directory;
pub use self::waiting::{Misses, Waiting};
use crate::tables::keys::{KeyEntry, KeyTable};
use crate::tables::limiter::{Allowance, Exceeded};
use crate::tables::meter::{Meter, Protocol};
use crate::tables::misses::Awaited;
use crate::tables::prices::PriceTable;

/// What one HTTP worker answers from.
pub struct Answerer<'a> {
    /// The worker's copy of the prices.
    pub prices: &'a PriceTable,
    /// The keys as of now.
    pub keys: &'a KeyTable,
    /// The worker's usage.
    pub meter: &'a mut Meter,
    /// The list of symbols.
    pub directory: &'a mut Directory,
    /// Where the prices come from, as answers say it.
    pub source: &'a str,
    /// Wall clock, Unix nanoseconds.
    pub clock: &'a dyn Fn() -> u64,
    /// Milliseconds to the end of the UTC month.
    pub month_left_ms: u32,
    /// Where questions may wait for prices that are missed; `None` where nobody fetches any.
    pub misses: Option<Misses<'a>>,
}

/// A request without its body.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Method.
    pub method: &'a Method,
    /// Path, percent-encoded as it came.
    pub path: &'a str,
    /// What stands behind the question mark.
    pub query: Option<&'a str>,
    /// Fields.
    pub headers: &'a HeaderMap,
    /// When the request arrived, Unix nanoseconds.
    pub arrived_ns: u64,
}

/// What is to be done with a request after its head.
#[derive(Debug)]
pub enum Step {
    /// It is answered; its body, if any, does not matter.
    Answered(Answer),
    /// The key is proven: read the body, then [`Answerer::finish`] or [`Answerer::give_up`].
    Body(Proven),
    /// A price is being fetched: [`Answerer::wait_is_over`] tells when to call
    /// [`Answerer::answer_waited`].
    Wait(Box<Waiting>),
    /// The key is proven and has paid: ask the market, then [`Answerer::finish_explain`].
    Explain(ExplainQuery),
}

/// A response and what the worker counts of it.
#[derive(Debug)]
pub struct Answer {
    /// To be sent.
    pub response: Response<Bytes>,
    /// Outcome, as UDP would name it.
    pub code: Code,
    /// Prices given.
    pub entries: u32,
    /// From the request's arrival to this answer, nanoseconds.
    pub latency_ns: u64,
}

/// Who sent a request whose body is still to come.
#[derive(Clone, Copy, Debug)]
pub struct Proven {
    key_id: KeyId,
    arrived_ns: u64,
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const JSON: &str = "application/json";

impl<'a> Answerer<'a> {
    /// Answers a request, or asks for its body.
    pub fn begin(&mut self, head: Head<'_>) -> Step {
        if carries_key(head.query) {
            let detail = "Keys do not belong into URLs, which are logged on their way: send it as \
                          'Authorization: Bearer <key>' or 'X-API-Key: <key>', and replace this key.";
            return self.stranger(head, Problem::KeyInQuery, detail);
        }
        let reads = matches!(*head.method, Method::GET | Method::HEAD);
        match head.path {
            "/price" if reads => self.price(head),
            "/prices" if head.method == Method::POST => match self.authenticate(head.headers) {
                Ok(key) => Step::Body(Proven {
                    key_id: key.key_id,
                    arrived_ns: head.arrived_ns,
                }),
                Err((problem, detail)) => self.stranger(head, problem, &detail),
            },
            "/symbols" if reads => {
                let page = self.directory.page(self.prices, (self.clock)());
                self.public(head, page, "max-age=1")
            }
            "/price" | "/symbols" => self.wrong_method(head, "GET, HEAD"),
            "/prices" => self.wrong_method(head, "POST"),
            path => match problems_page(path) {
                Some(page) if reads => self.public(head, page, "max-age=3600"),
                Some(_) => self.wrong_method(head, "GET, HEAD"),
                None => match explained_symbol(path) {
                    Some(symbol) if reads => self.explain(head, symbol),
                    Some(_) => self.wrong_method(head, "GET, HEAD"),
                    None => {
                        let detail = "Ask GET /price?asset=btc, GET /price/BTC-USD/explain, POST /prices or GET /symbols.";
                        self.stranger(head, Problem::NotFound, detail)
                    }
                },
            },
        }
    }

    /// Answers a request whose body has come; `Err` is one that waits, as in [`Step::Wait`].
    pub fn finish(&mut self, proven: Proven, body: &[u8]) -> Result<Answer, Box<Waiting>> {
        let now_ns = (self.clock)();
        let arrived_ns = proven.arrived_ns;
        // The key may have been revoked while its body trickled in.
        let Some(key) = self.keys.find(proven.key_id).filter(|key| key.is_usable(now_ns)) else {
            return Ok(self.strange(arrived_ns, Problem::RefusedKey, REFUSED));
        };
        match BatchQuery::parse(body) {
            Ok(batch) => self.take(key, arrived_ns, batch.into()),
            Err(Misunderstood { problem, detail }) => {
                Ok(self.refuse(key, arrived_ns, problem, &detail, None))
            }
        }
    }

    /// Answers a request whose body will not be waited for: too long, or too slow.
    pub fn give_up(&mut self, proven: Proven, problem: Problem, detail: &str) -> Answer {
        match self.keys.find(proven.key_id) {
            Some(key) => self.refuse(key, proven.arrived_ns, problem, detail, None),
            None => self.strange(proven.arrived_ns, problem, detail),
        }
    }

    fn price(&mut self, head: Head<'_>) -> Step {
        let key = match self.authenticate(head.headers) {
            Ok(key) => key,
            Err((problem, detail)) => return self.stranger(head, problem, &detail),
        };
        let arrived_ns = head.arrived_ns;
        let query = match PriceQuery::parse(head.query) {
            Ok(query) => query,
            Err(Misunderstood { problem, detail }) => {
                return Step::Answered(self.refuse(key, arrived_ns, problem, &detail, None));
            }
        };
        match self.take(key, arrived_ns, query.into()) {
            Ok(answer) => Step::Answered(answer),
            Err(waiting) => Step::Wait(waiting),
        }
    }

    /// Answers a granted question, which waited for `awaited`, with the prices of now, and charges
    /// for it.
    fn give(
        &mut self,
        key: &KeyEntry,
        arrived_ns: u64,
        allowance: Allowance,
        question: &Question<'_>,
        awaited: &[Awaited],
    ) -> Answer {
        let now_ns = (self.clock)();
        let mut quotes: Vec<Quoted<'_>> = Vec::with_capacity(question.assets.len());
        for asset in &question.assets {
            let mut quoted = Quoted::look_up(asset, self.prices, question.max_age_ms, now_ns);
            quoted.awaited = quoted
                .symbol
                .is_some_and(|(symbol, _)| awaited.iter().any(|awaited| awaited.ticket.symbol() == symbol));
            if !quotes.iter().any(|other| other.is_same_asset(&quoted)) {
                quotes.push(quoted);
            }
        }
        let response = match quotes.as_slice() {
            _ if question.is_batch => self.list(&quotes, arrived_ns),
            [quoted] if quoted.symbol.is_some() => self.single(quoted, arrived_ns),
            quotes => Problem::UnknownAsset.response(&format!(
                "There is no asset {:?} here; GET /symbols lists those there are.",
                clip(quotes.first().map_or("", |quoted| quoted.asset))
            )),
        };
        self.charge(key, arrived_ns, allowance, &quotes, response)
    }

    fn single(&self, quoted: &Quoted<'_>, arrived_ns: u64) -> Response<Bytes> {
        let mut json = Json::with_capacity(PRICE_BYTES);
        json.open_object();
        quoted.write(&mut json, self.source);
        write_latency(&mut json, self.since(arrived_ns));
        json.close_object();
        json_response(json.finish().into(), "no-store")
    }

    fn list(&self, quotes: &[Quoted<'_>], arrived_ns: u64) -> Response<Bytes> {
        let mut json = Json::with_capacity(128 + quotes.len() * PRICE_BYTES);
        json.open_object().key("count").integer(quotes.len() as u64);
        json.key("prices").open_array();
        for quoted in quotes {
            json.open_object();
            quoted.write(&mut json, self.source);
            write_latency(&mut json, self.since(arrived_ns));
            json.close_object();
        }
        json.close_array();
        write_latency(&mut json, self.since(arrived_ns));
        json.close_object();
        json_response(json.finish().into(), "no-store")
    }

    /// Finds the key that a request proves, in this order: the cheap checks, then the hashes.
    fn authenticate(&self, headers: &HeaderMap) -> Result<&'a KeyEntry, (Problem, String)> {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| bearer_token(value.as_bytes()));
        let presented = bearer.or_else(|| headers.get(X_API_KEY).map(HeaderValue::as_bytes));
        let Some(presented) = presented else {
            let detail =
                "Send your API key as 'Authorization: Bearer tb_live_...' or 'X-API-Key: tb_live_...'.";
            return Err((Problem::MissingKey, detail.into()));
        };
        let key: ApiKey = std::str::from_utf8(presented)
            .map_err(|_| (Problem::MistypedKey, "the API key is not ASCII".into()))
            .and_then(|text| {
                text.parse()
                    .map_err(|error| (Problem::MistypedKey, format!("{error}")))
            })?;
        self.prove(&key, (self.clock)())
            .ok_or_else(|| (Problem::RefusedKey, REFUSED.into()))
    }

    /// The key in force that this is, if it is one.
    fn prove(&self, key: &ApiKey, now_ns: u64) -> Option<&'a KeyEntry> {
        let entry = self.keys.find(key.key_id())?;
        let holds = |entry: &KeyEntry| {
            MacKeys::from_verifier(&key.verifier())
                .request
                .matches(&entry.request)
        };
        (entry.is_usable(now_ns) && holds(entry)).then_some(entry)
    }

    /// Takes one request from the key's allowance, or tells why not.
    fn admit(&mut self, key: &KeyEntry, arrived_ns: u64, now_ns: u64) -> Result<Allowance, Box<Answer>> {
        // An answer that cannot be counted must not be given.
        if !self.meter.has_room(1 + self.kept_rows()) {
            let detail = "The service sheds load; try again in a second.";
            return Err(Box::new(self.shed(key, arrived_ns, now_ns, detail)));
        }
        let (problem, told, detail) = match key.state.acquire(&key.limits, now_ns, self.month_left_ms) {
            Ok(allowance) => return Ok(allowance),
            Err(Exceeded::Rate(told)) => (
                Problem::RateLimited,
                told,
                "Wait as Retry-After says, and name several assets in one POST /prices: it counts as one request.",
            ),
            Err(Exceeded::Month(told)) => (
                Problem::QuotaExceeded,
                told,
                "Wait for the next UTC month, or move the account to a larger tier.",
            ),
        };
        Err(Box::new(self.refuse(
            key,
            arrived_ns,
            problem,
            detail,
            Some(told),
        )))
    }

    /// Refuses a proven key what cannot be done now.
    fn shed(&mut self, key: &KeyEntry, arrived_ns: u64, now_ns: u64, detail: &str) -> Answer {
        let told = Allowance {
            remaining: key.state.peek(&key.limits, now_ns, self.month_left_ms).remaining,
            refill_ms: 1_000,
        };
        self.refuse(key, arrived_ns, Problem::Overloaded, detail, Some(told))
    }

    /// Counts an answered question and finishes its answer.
    fn charge(
        &mut self,
        key: &KeyEntry,
        arrived_ns: u64,
        allowance: Allowance,
        quotes: &[Quoted<'_>],
        mut response: Response<Bytes>,
    ) -> Answer {
        let second = seconds((self.clock)());
        for quoted in quotes {
            let symbol = quoted.symbol.map(|(index, _)| index);
            self.meter.symbol(key.key_id, symbol, second, quoted.status());
        }
        limit_headers::insert(response.headers_mut(), key, allowance, self.month_left_ms);
        let answer = self.metered(key, arrived_ns, Code::Ok, response);
        Answer {
            entries: quotes.len() as u32,
            ..answer
        }
    }

    /// Refuses a proven key: counted under the problem's code, charged to nobody.
    fn refuse(
        &mut self,
        key: &KeyEntry,
        arrived_ns: u64,
        problem: Problem,
        detail: &str,
        told: Option<Allowance>,
    ) -> Answer {
        let mut response = problem.response(detail);
        let allowance =
            told.unwrap_or_else(|| key.state.peek(&key.limits, (self.clock)(), self.month_left_ms));
        limit_headers::insert(response.headers_mut(), key, allowance, self.month_left_ms);
        if let Some(told) = told {
            limit_headers::insert_retry_after(response.headers_mut(), told.refill_ms);
        }
        self.metered(key, arrived_ns, problem.code(), response)
    }

    fn metered(&mut self, key: &KeyEntry, arrived_ns: u64, code: Code, response: Response<Bytes>) -> Answer {
        let now_ns = (self.clock)();
        let latency_ns = now_ns.saturating_sub(arrived_ns);
        // An answer has its row: there was room when it was granted, or one was kept for it. A
        // refusal must not take one that is kept.
        let counts = code == Code::Ok || self.meter.has_room(1 + self.kept_rows());
        let row = counts
            .then(|| {
                self.meter
                    .request(key.key_id, seconds(now_ns), Protocol::Http, code)
            })
            .flatten();
        if let Some(row) = row {
            self.meter.latency(row, latency_ns);
        }
        // What a client hears of is in the journal.
        self.meter.write_down();
        Answer {
            response,
            code,
            entries: 0,
            latency_ns,
        }
    }

    /// A page that needs no key.
    fn public(&self, head: Head<'_>, page: Bytes, cache: &'static str) -> Step {
        Step::Answered(Answer {
            response: json_response(page, cache),
            code: Code::Ok,
            entries: 0,
            latency_ns: self.since(head.arrived_ns),
        })
    }

    /// Refuses somebody who has proven no key.
    fn strange(&self, arrived_ns: u64, problem: Problem, detail: &str) -> Answer {
        Answer {
            response: problem.response(detail),
            code: problem.code(),
            entries: 0,
            latency_ns: self.since(arrived_ns),
        }
    }

    fn stranger(&self, head: Head<'_>, problem: Problem, detail: &str) -> Step {
        Step::Answered(self.strange(head.arrived_ns, problem, detail))
    }

    fn wrong_method(&self, head: Head<'_>, allow: &'static str) -> Step {
        let detail = format!("{} takes {allow}.", head.path);
        let mut answer = self.strange(head.arrived_ns, Problem::MethodNotAllowed, &detail);
        answer
            .response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static(allow));
        Step::Answered(answer)
    }

    fn since(&self, arrived_ns: u64) -> u64 {
        (self.clock)().saturating_sub(arrived_ns)
    }
}

/// One text for every reason, so that nothing is learnt from it.
const REFUSED: &str = "This API key is unknown, revoked or expired here; 'keys list' shows those in force.";

/// The token of `Authorization: Bearer <token>` (RFC 6750, section 2.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_first_chunk::<7>()?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

/// `/problems` lists the problems, `/problems/<slug>` tells of one (RFC 9457, section 3.1.1).
fn problems_page(path: &str) -> Option<Bytes> {
    let rest = path.strip_prefix("/problems")?;
    let mut json = Json::with_capacity(128);
    let write = |json: &mut Json, problem: Problem| {
        json.open_object();
        json.key("type").string(&["/problems/", problem.slug()].concat());
        json.key("title").string(problem.title());
        json.key("status").integer(problem.status().as_u16());
        json.key("code").string(problem.code().name());
        json.close_object();
    };
    if rest.is_empty() {
        json.open_array();
        for problem in Problem::ALL {
            write(&mut json, problem);
        }
        json.close_array();
    } else {
        write(&mut json, Problem::from_slug(rest.strip_prefix('/')?)?);
    }
    Some(json.finish().into())
}

fn unknown(asset: &str) -> Response<Bytes> {
    Problem::UnknownAsset.response(&format!(
        "There is no asset {:?} here; GET /symbols lists those there are.",
        clip(asset)
    ))
}

fn json_response(body: Bytes, cache: &'static str) -> Response<Bytes> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}

const fn seconds(now_ns: u64) -> u32 {
    (now_ns / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests;
