//! The sockets of a simulated venue: TCP, TLS, HTTP, and the upgrade to WebSocket.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role as Side;
use trinity_beast::clock;

use super::fault::Fault;
use super::protocol::Opening;
use super::state::State;
use super::stats::{Violation, ViolationKind};
use super::{link, rest};

/// Longest time a client may take over the TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What an address is for; either answers both, but faults tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Stream,
    Rest,
}

/// A request that is not answered: its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the simulated venue refuses to answer")]
pub(super) struct Refused;

pub(super) async fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a free port")
}

/// Takes connections for ever.
pub(super) async fn accept(listener: TcpListener, role: Role, tls: Option<TlsAcceptor>, state: Arc<State>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors, or a client that is gone already.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let refused = match role {
            Role::Stream => {
                state.count(|stats| stats.connects += 1);
                state.stream_fault().0 == Some(Fault::RefuseConnect)
            }
            Role::Rest => {
                state.count(|stats| stats.rest_connects += 1);
                state.rest_fault() == Some(Fault::RestRefuse)
            }
        };
        if refused {
            // Without lingering, closing sends a reset.
            let _ = socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            continue;
        }
        tokio::spawn(converse(socket, role, tls.clone(), Arc::clone(&state)));
    }
}

async fn converse(socket: TcpStream, role: Role, tls: Option<TlsAcceptor>, state: Arc<State>) {
    let _ = socket.set_nodelay(true);
    if role == Role::Stream
        && let (Some(Fault::SlowHandshake(delay)), _) = state.stream_fault()
    {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = state.switched() => {}
        }
    }
    match tls {
        None => serve(socket, role, state).await,
        Some(tls) => {
            if let Ok(Ok(socket)) = tokio::time::timeout(HANDSHAKE, tls.accept(socket)).await {
                serve(socket, role, state).await;
            }
        }
    }
}

async fn serve<S>(socket: S, role: Role, state: Arc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| answer(request, role, Arc::clone(&state)));
    // An error is a client that went away, or a request that was refused.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades()
        .await;
}

async fn answer(
    request: Request<Incoming>,
    role: Role,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Refused> {
    let wants_socket = request
        .headers()
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    if wants_socket {
        return Ok(upgrade(request, &state));
    }
    rest::answer(&request, role, &state).await
}

fn upgrade(request: Request<Incoming>, state: &Arc<State>) -> Response<Full<Bytes>> {
    let (fault, _) = state.stream_fault();
    if let Some(Fault::RefuseUpgrade { status, retry_after }) = fault {
        state.count(|stats| stats.upgrades_refused += 1);
        return rest::plain(status, retry_after, "refused");
    }
    let opening = Opening {
        path: request.uri().path().to_owned(),
        query: rest::query(request.uri().query().unwrap_or_default()),
        at: clock::monotonic(),
    };
    let wanted = state.kind.stream_path.trim_end_matches('/');
    if opening.path.trim_end_matches('/') != wanted {
        state.count(|stats| stats.upgrades_refused += 1);
        state.violation(Violation::new(ViolationKind::UnknownPath, opening.path));
        return rest::plain(404, None, "Not Found");
    }
    let Some(key) = request.headers().get(header::SEC_WEBSOCKET_KEY) else {
        state.count(|stats| stats.upgrades_refused += 1);
        return rest::plain(400, None, "Sec-WebSocket-Key is missing");
    };
    let accept = derive_accept_key(key.as_bytes());
    let state = Arc::clone(state);
    tokio::spawn(async move {
        if let Ok(socket) = hyper::upgrade::on(request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(socket), Side::Server, None).await;
            link::run(socket, opening, state).await;
        }
    });
    Response::builder()
        .status(101)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default())
        .expect("a well-formed response")
}
