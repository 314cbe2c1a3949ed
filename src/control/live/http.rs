//! One HTTP client for all venues' REST: kept-alive connections, bounded bodies, no redirects.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::limits::{FEED_REST_BODY_BYTES, FEED_REST_MS};

/// Who asks; venues block the nameless.
pub(super) const AGENT: &str = concat!("trinity-beast/", env!("CARGO_PKG_VERSION"));

/// How long a kept-alive connection may rest.
const IDLE: Duration = Duration::from_secs(90);
/// Idle connections kept to one host.
const IDLE_CONNECTIONS: usize = 4;
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(3);

/// What a REST request came to.
#[derive(Debug)]
pub(super) enum RestFault {
    /// The venue answered with a status that is no success.
    Status {
        status: StatusCode,
        /// How long it asks to be left alone.
        rest: Option<Duration>,
        body: Bytes,
    },
    /// No answer, a broken one, or one that is too long.
    Failed(String),
    /// No answer in time.
    TimedOut,
}

/// The client.
#[derive(Clone, Debug)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
}

impl Http {
    pub(super) fn new(tls: &Arc<ClientConfig>) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(ClientConfig::clone(tls))
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .build(connector);
        Self { client }
    }

    /// The body of a successful answer. Gives up after [`FEED_REST_MS`].
    pub(super) async fn ask(&self, method: Method, url: &str, now_ns: u64) -> Result<Bytes, RestFault> {
        let limit = Duration::from_millis(FEED_REST_MS);
        match tokio::time::timeout(limit, self.exchange(method, url, now_ns)).await {
            Ok(result) => result,
            Err(_) => Err(RestFault::TimedOut),
        }
    }

    async fn exchange(&self, method: Method, url: &str, now_ns: u64) -> Result<Bytes, RestFault> {
        let failed = |error: &dyn std::fmt::Display| RestFault::Failed(error.to_string());
        let request = Request::builder()
            .method(method)
            .uri(url)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .body(Empty::new())
            .map_err(|error| failed(&error))?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|error| failed(&chain(&error)))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, FEED_REST_BODY_BYTES)
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(RestFault::Status {
            status: head.status,
            rest: retry_after(&head.headers, now_ns),
            body,
        })
    }
}

/// An error with what caused it: "client error (Connect): tcp connect error: refused".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date.
pub(super) fn retry_after(headers: &HeaderMap, now_ns: u64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text).ok()?.timestamp().as_nanosecond();
    u64::try_from(at.saturating_sub(i128::from(now_ns)))
        .ok()
        .map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_rest_is_asked_for_in_seconds_or_until_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT is RFC 9110's own example.
        let now_ns = 784_111_777_000_000_000 - 90_000_000_000;
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(90)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_str(text).expect("a header"));
            let rest = retry_after(&headers, now_ns);
            assert_eq!(rest, expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now_ns), None);
    }
}
