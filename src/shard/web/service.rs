//! Between hyper and the price oracle: one request at a time.

use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

use super::OpsPage;
use super::connection::{LONG_HEAD, Phase, Watch};
use super::counters::CutReason;
use super::worker::Worker;
use crate::clock;
use crate::limits::{EXPLAIN_MS, HTTP_BODY_BYTES, HTTP_HEAD_BYTES, HTTP_HEADERS};
use crate::lpo::http::problem::Problem;
use crate::lpo::http::{Answer, ExplainQuery, Head, Proven, Step, Waiting};

/// Answers the requests of one connection.
pub(super) struct Service {
    worker: Rc<Worker>,
    watch: Rc<Watch>,
}

type Reply = Response<Full<Bytes>>;

/// What is to be done after a head.
enum Next {
    Reply(Response<Bytes>),
    Body(Proven),
    Prices(Box<Waiting>),
    Explain(ExplainQuery),
}

/// A reply that is there, or that waits for the request's body, for prices or the market.
pub(super) enum Answering {
    Ready(Option<Reply>),
    Waiting(Pin<Box<dyn Future<Output = Reply>>>),
}

impl Service {
    pub(super) const fn new(worker: Rc<Worker>, watch: Rc<Watch>) -> Self {
        Self { worker, watch }
    }

    /// Answers a head, or says what it takes to answer it.
    fn begin(&self, request: &Request<Incoming>, arrived_ns: u64) -> Next {
        let worker = &self.worker;
        if self.head_is_too_long(request) {
            worker.counters.was_cut(CutReason::LongHead);
            return Next::Reply(Problem::HeadTooLarge.response(LONG_HEAD));
        }
        let (method, path) = (request.method(), request.uri().path());
        if let Some(page) = worker.ops.page(path, arrived_ns) {
            return Next::Reply(ops_response(method, page));
        }
        let head = Head {
            method,
            path,
            query: request.uri().query(),
            headers: request.headers(),
            peer: self.watch.peer(),
            arrived_ns,
        };
        let Some(oracle) = &worker.oracle else {
            let detail = "This port has /health, /live, /ready and /metrics only.";
            return Next::Reply(Problem::NotFound.response(detail));
        };
        match oracle.borrow_mut().ask(|answerer| answerer.begin(head)) {
            Step::Answered(answer) => Next::Reply(worker.counted(answer)),
            Step::Body(proven) => Next::Body(proven),
            Step::Wait(waiting) => Next::Prices(waiting),
            Step::Explain(query) => Next::Explain(query),
        }
    }

    /// hyper is given room for twice the longest head and for 100 fields, so that most heads
    /// beyond the limits are answered here, with a problem document.
    fn head_is_too_long(&self, request: &Request<Incoming>) -> bool {
        let headers = request.headers();
        if headers.len() > HTTP_HEADERS {
            return true;
        }
        // What came since the last answer is at least the head; mostly that settles it.
        self.watch.head_bytes() > HTTP_HEAD_BYTES && {
            let fields: usize = headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len())
                .sum();
            let target = request
                .uri()
                .path_and_query()
                .map_or(0, |target| target.as_str().len());
            fields + target > HTTP_HEAD_BYTES
        }
    }
}

/// Finishes a response for its connection, which is over if the client may still be sending.
fn reply(worker: &Worker, watch: &Watch, mut response: Response<Bytes>, unread: bool) -> Reply {
    if unread {
        watch.will_linger();
    }
    if unread || worker.is_draining() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    worker.counters.responded(response.status());
    watch.enter(Phase::Idle, worker.now_ms());
    response.map(Full::new)
}

/// Reads the body, then answers.
async fn with_body(worker: Rc<Worker>, watch: Rc<Watch>, body: Incoming, proven: Proven) -> Reply {
    let too_long = body.size_hint().lower() > HTTP_BODY_BYTES as u64;
    let collected = if too_long {
        Err(Problem::BodyTooLarge)
    } else {
        let whole = Limited::new(body, HTTP_BODY_BYTES).collect();
        match tokio::time::timeout(worker.config.body, whole).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::BodyTooLarge),
            // The client went away or broke the chunked coding; nobody reads this answer,
            // but what a proven key did is counted.
            Ok(Err(_)) => Err(Problem::BadBody),
            Err(_) => Err(Problem::SlowRequest),
        }
    };
    let oracle = worker.oracle.as_ref().expect("only the oracle asks for bodies");
    let answer = match &collected {
        Ok(body) => {
            let answer = oracle.borrow_mut().ask(|answerer| answerer.finish(proven, body));
            match answer {
                Ok(answer) => answer,
                Err(waiting) => worker.wait(&waiting).await,
            }
        }
        Err(problem) => {
            let detail = match problem {
                Problem::SlowRequest => {
                    worker.counters.was_cut(CutReason::SlowBody);
                    "The request's body did not come in time: send it at once."
                }
                Problem::BodyTooLarge => {
                    worker.counters.was_cut(CutReason::LongBody);
                    "The request's body is too long: 16 KiB hold 100 assets easily."
                }
                _ => "The request's body broke off.",
            };
            oracle
                .borrow_mut()
                .ask(|answerer| answerer.give_up(proven, *problem, detail))
        }
    };
    let response = worker.counted(answer);
    reply(&worker, &watch, response, collected.is_err())
}

/// Waits for prices, then answers.
async fn with_prices(worker: Rc<Worker>, watch: Rc<Watch>, waiting: Box<Waiting>, unread: bool) -> Reply {
    let answer = worker.wait(&waiting).await;
    let response = worker.counted(answer);
    reply(&worker, &watch, response, unread)
}

/// Asks the market, then answers. The market has a bounded time; the worker goes on meanwhile.
async fn explained(worker: Rc<Worker>, watch: Rc<Watch>, query: ExplainQuery, unread: bool) -> Reply {
    let oracle = worker.oracle.as_ref().expect("only the oracle explains");
    let asked = oracle.borrow().explains.ask(query.symbol);
    let explanation = match asked {
        Some(answer) => {
            let told = tokio::time::timeout(Duration::from_millis(EXPLAIN_MS), answer).await;
            told.ok().and_then(Result::ok)
        }
        None => None,
    };
    let answer = oracle
        .borrow_mut()
        .ask(|answerer| answerer.finish_explain(query, explanation));
    let response = worker.counted(answer);
    reply(&worker, &watch, response, unread)
}

impl Worker {
    /// Counts an answer of the price oracle.
    fn counted(&self, answer: Answer) -> Response<Bytes> {
        self.counters.codes[answer.code as usize].add(1);
        self.counters.entries.add(answer.entries.into());
        self.counters.latency.record(answer.latency_ns, 1);
        answer.response
    }
}

fn ops_response(method: &Method, page: OpsPage) -> Response<Bytes> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut response = Problem::MethodNotAllowed.response("Pages about the service take GET, HEAD.");
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(page.body);
    *response.status_mut() = page.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Reply;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let arrived_ns = clock::unix_nanos();
        let worker = &self.worker;
        self.watch.enter(Phase::Busy, worker.now_ms());
        let unread = !request.body().is_end_stream();
        let next = self.begin(&request, arrived_ns);
        let could_be_short = worker.config.short_way
            && (request.method(), request.version()) == (&Method::GET, Version::HTTP_11)
            && request.uri().path() == "/price"
            && !unread
            && matches!(&next, Next::Reply(response) if response.status() == StatusCode::OK);
        self.watch.was_plain(could_be_short);
        let (worker, watch) = (Rc::clone(worker), Rc::clone(&self.watch));
        match next {
            Next::Reply(response) => Answering::Ready(Some(reply(&worker, &watch, response, unread))),
            Next::Body(proven) => {
                Answering::Waiting(Box::pin(with_body(worker, watch, request.into_body(), proven)))
            }
            Next::Prices(waiting) => {
                Answering::Waiting(Box::pin(with_prices(worker, watch, waiting, unread)))
            }
            Next::Explain(query) => Answering::Waiting(Box::pin(explained(worker, watch, query, unread))),
        }
    }
}

impl Future for Answering {
    type Output = Result<Reply, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Ready(reply) => Poll::Ready(Ok(reply.take().expect("a future is done after it was ready"))),
            Self::Waiting(future) => future.as_mut().poll(context).map(Ok),
        }
    }
}
