//! What can go wrong over HTTP: one table of problems (RFC 9457).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use trinity_protocol::Code;

use super::json::Json;

/// A kind of error, with its own type URI `/problems/<slug>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// An API key stands in the query string.
    KeyInQuery,
    /// The query string is not what the route takes.
    BadQuery,
    /// The body is not the JSON that the route takes.
    BadBody,
    /// The body names no asset.
    NoAssets,
    /// The body names too many assets.
    TooManyAssets,
    /// No API key was presented.
    MissingKey,
    /// What was presented is no API key: most likely a typing error.
    MistypedKey,
    /// Unknown, revoked, expired or wrong key: one answer for all of them.
    RefusedKey,
    /// The key may not be used over HTTP, or not from this address.
    Forbidden,
    /// No such asset here.
    UnknownAsset,
    /// No such route.
    NotFound,
    /// The route does not take this method.
    MethodNotAllowed,
    /// The request came too slowly.
    SlowRequest,
    /// The body is too long.
    BodyTooLarge,
    /// The head is too long or has too many fields.
    HeadTooLarge,
    /// The key's rate or burst is used up.
    RateLimited,
    /// The key's monthly allowance is used up.
    QuotaExceeded,
    /// The worker sheds load.
    Overloaded,
    /// The market did not explain the price in time.
    Unexplained,
    /// The worker holds as many connections as it may.
    TooManyConnections,
}

/// Content type of a problem document.
pub const PROBLEM_JSON: &str = "application/problem+json";

struct Row {
    slug: &'static str,
    status: StatusCode,
    title: &'static str,
    code: Code,
}

const fn row(slug: &'static str, status: StatusCode, title: &'static str, code: Code) -> Row {
    Row {
        slug,
        status,
        title,
        code,
    }
}

impl Problem {
    /// Every problem.
    pub const ALL: [Self; 20] = [
        Self::KeyInQuery,
        Self::BadQuery,
        Self::BadBody,
        Self::NoAssets,
        Self::TooManyAssets,
        Self::MissingKey,
        Self::MistypedKey,
        Self::RefusedKey,
        Self::Forbidden,
        Self::UnknownAsset,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::SlowRequest,
        Self::BodyTooLarge,
        Self::HeadTooLarge,
        Self::RateLimited,
        Self::QuotaExceeded,
        Self::Overloaded,
        Self::Unexplained,
        Self::TooManyConnections,
    ];

    #[rustfmt::skip]
    const fn row(self) -> Row {
        match self {
            Self::KeyInQuery => row("key-in-query", StatusCode::BAD_REQUEST, "API key in the query string", Code::Malformed),
            Self::BadQuery => row("bad-query", StatusCode::BAD_REQUEST, "Query string not understood", Code::Malformed),
            Self::BadBody => row("bad-body", StatusCode::BAD_REQUEST, "Request body not understood", Code::Malformed),
            Self::NoAssets => row("no-assets", StatusCode::BAD_REQUEST, "No asset named", Code::Malformed),
            Self::TooManyAssets => row("too-many-assets", StatusCode::BAD_REQUEST, "Too many assets named", Code::Malformed),
            Self::MissingKey => row("missing-key", StatusCode::UNAUTHORIZED, "API key missing", Code::Unauthenticated),
            Self::MistypedKey => row("mistyped-key", StatusCode::UNAUTHORIZED, "Not an API key", Code::Unauthenticated),
            Self::RefusedKey => row("refused-key", StatusCode::UNAUTHORIZED, "API key refused", Code::Unauthenticated),
            Self::Forbidden => row("forbidden", StatusCode::FORBIDDEN, "API key not allowed here", Code::Forbidden),
            // The question was answered: over UDP the same is an OK reply with UNKNOWN_SYMBOL.
            Self::UnknownAsset => row("unknown-asset", StatusCode::NOT_FOUND, "Unknown asset", Code::Ok),
            Self::NotFound => row("not-found", StatusCode::NOT_FOUND, "Nothing here", Code::Malformed),
            Self::MethodNotAllowed => row("method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", Code::Malformed),
            Self::SlowRequest => row("slow-request", StatusCode::REQUEST_TIMEOUT, "Request came too slowly", Code::Malformed),
            Self::BodyTooLarge => row("body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "Request body too large", Code::Malformed),
            Self::HeadTooLarge => row("head-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request head too large", Code::Malformed),
            Self::RateLimited => row("rate-limited", StatusCode::TOO_MANY_REQUESTS, "Rate limit reached", Code::RateLimited),
            Self::QuotaExceeded => row("quota-exceeded", StatusCode::TOO_MANY_REQUESTS, "Monthly quota used up", Code::Quota),
            Self::Overloaded => row("overloaded", StatusCode::SERVICE_UNAVAILABLE, "Overloaded", Code::Overloaded),
            Self::Unexplained => row("unexplained", StatusCode::SERVICE_UNAVAILABLE, "No explanation just now", Code::Overloaded),
            Self::TooManyConnections => row("too-many-connections", StatusCode::SERVICE_UNAVAILABLE, "Too many connections", Code::Overloaded),
        }
    }

    /// Last part of the type URI.
    pub const fn slug(self) -> &'static str {
        self.row().slug
    }

    /// HTTP status.
    pub const fn status(self) -> StatusCode {
        self.row().status
    }

    /// Short name, the same each time.
    pub const fn title(self) -> &'static str {
        self.row().title
    }

    /// What it is metered as: the code that UDP gives in the same case.
    pub const fn code(self) -> Code {
        self.row().code
    }

    /// The problem that `/problems/<slug>` names.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|problem| problem.slug() == slug)
    }

    /// The document; `detail` tells this reader what to do.
    pub fn document(self, detail: &str) -> Bytes {
        let Row {
            slug, status, title, ..
        } = self.row();
        let mut json = Json::with_capacity(160 + detail.len());
        json.open_object();
        json.key("type").string(&["/problems/", slug].concat());
        json.key("title").string(title);
        json.key("status").integer(status.as_u16());
        json.key("detail").string(detail);
        json.close_object();
        json.finish().into()
    }

    /// The response; `detail` tells this reader what to do.
    pub fn response(self, detail: &str) -> Response<Bytes> {
        let mut response = Response::new(self.document(detail));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"trinity-beast\""),
            );
        }
        response
    }

    /// The whole response as bytes, for a connection that is closed after it and never
    /// reached the HTTP machine.
    pub fn closing_bytes(self, detail: &str) -> Vec<u8> {
        let (status, body) = (self.status(), self.document(detail));
        let head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {PROBLEM_JSON}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            body.len(),
        );
        [head.as_bytes(), &body].concat()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_problem_has_its_own_type_and_is_found_by_it() {
        let slugs: BTreeSet<_> = Problem::ALL.iter().map(|p| p.slug()).collect();
        assert_eq!(slugs.len(), Problem::ALL.len());
        for problem in Problem::ALL {
            assert_eq!(Problem::from_slug(problem.slug()), Some(problem));
            assert!(problem.status().is_client_error() || problem.status().is_server_error());
        }
        assert_eq!(Problem::from_slug("none"), None);
    }

    #[test]
    fn a_document_is_json_with_the_status_of_its_response() {
        for problem in Problem::ALL {
            let response = problem.response("say \"please\"\r\nx: y");
            let document: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
            assert_eq!(document["status"], response.status().as_u16());
            assert_eq!(document["type"], format!("/problems/{}", problem.slug()));
            assert_eq!(document["detail"], "say \"please\"\r\nx: y");
            assert_eq!(
                response.headers().contains_key(WWW_AUTHENTICATE),
                response.status() == StatusCode::UNAUTHORIZED
            );
        }
    }

    #[test]
    fn only_an_unknown_asset_counts_as_answered() {
        for problem in Problem::ALL {
            assert_eq!(problem.code() == Code::Ok, problem == Problem::UnknownAsset);
        }
    }
}
