//! REST of a simulated venue: the venue's own answers, under the fault of the moment.

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response, header};

use super::fault::Fault;
use super::link::padded;
use super::protocol::RestCall;
use super::server::{Refused, Role};
use super::state::State;
use super::stats::{KEPT, Violation, ViolationKind};

/// Answers a request that asks for no WebSocket.
pub(super) async fn answer(
    request: &Request<Incoming>,
    role: Role,
    state: &State,
) -> Result<Response<Full<Bytes>>, Refused> {
    let uri = request.uri();
    let call = RestCall {
        method: request.method().to_string(),
        path: decoded(uri.path()),
        query: query(uri.query().unwrap_or_default()),
    };
    state.count(|stats| {
        stats.rest_calls += 1;
        if stats.rest_paths.len() == KEPT {
            stats.rest_paths.remove(0);
        }
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        stats.rest_paths.push(path.to_owned());
    });
    let fault = state.rest_fault().filter(|_| role == Role::Rest);
    match fault {
        Some(Fault::RestRefuse) => return Err(Refused),
        Some(fault @ Fault::RestHang) => state.while_rest_fault(fault).await,
        Some(Fault::RestDelay(delay)) => tokio::time::sleep(delay).await,
        Some(Fault::RestStatus { status, retry_after }) => {
            return Ok(plain(
                status,
                retry_after,
                "Too many requests or too little of something",
            ));
        }
        Some(Fault::RestGarbage) => {
            return Ok(plain(
                200,
                None,
                "<!DOCTYPE html><html><body>We will be back soon.</body></html>",
            ));
        }
        Some(Fault::RestHuge(size)) => return Ok(body(200, "application/json", padded(size))),
        _ => {}
    }
    let answer = state.with_desk(|desk| (state.kind.rest)(&call, desk));
    if answer.unknown_path {
        let detail = format!("{} {uri}", call.method);
        state.violation(Violation::new(ViolationKind::UnknownPath, detail));
    }
    if answer.token {
        state.count(|stats| stats.tokens += 1);
    }
    Ok(body(answer.status, "application/json", answer.body))
}

/// A text, as gateways answer.
pub(super) fn plain(status: u16, retry_after: Option<u64>, text: &str) -> Response<Full<Bytes>> {
    let mut response = body(status, "text/html", text.to_owned());
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn body(status: u16, content_type: &str, text: String) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(Full::from(text))
        .expect("a well-formed response")
}

/// The pairs of a query, decoded.
pub(super) fn query(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// `%2F` as `/`; what is no such code stands as it is.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|code| std::str::from_utf8(code).ok())
            .and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
