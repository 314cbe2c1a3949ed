//! Opens a WebSocket to a venue: TCP, TLS, upgrade, all within one bound.

use std::sync::Arc;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{HeaderValue, Uri};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error as WsError;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::http::{AGENT, retry_after};
use crate::limits::{FEED_CONNECT_MS, FEED_MESSAGE_BYTES, FEED_WRITE_BYTES};

/// A TCP connection, plain or encrypted.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// An open WebSocket.
pub(super) type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why there is none.
#[derive(Debug)]
pub(super) struct Refused {
    /// What happened, without the address: it may hold a token.
    pub why: String,
    /// How long the venue asks to be left alone, if it does.
    pub rest: Option<Duration>,
}

impl Refused {
    pub(super) fn new(why: impl std::fmt::Display) -> Self {
        Self {
            why: why.to_string(),
            rest: None,
        }
    }
}

/// Opens a WebSocket at `url`.
pub(super) async fn open(url: &str, tls: &Arc<ClientConfig>, now_ns: u64) -> Result<Socket, Refused> {
    let limit = Duration::from_millis(FEED_CONNECT_MS);
    match tokio::time::timeout(limit, connect(url, tls, now_ns)).await {
        Ok(result) => result,
        Err(_) => Err(Refused::new("it did not open in time")),
    }
}

/// A connection to the first address of a host that takes one. Each has a part of the time only:
/// an address of a network that swallows everything must not keep the others from being tried.
async fn connect_any(host: &str, port: u16) -> Result<TcpStream, Refused> {
    let refused =
        |error: &dyn std::fmt::Display| Refused::new(format_args!("no connection to {host}:{port}: {error}"));
    let part = Duration::from_millis(FEED_CONNECT_MS / 4);
    let mut last = refused(&"it has no address");
    for address in lookup_host((host, port)).await.map_err(|error| refused(&error))? {
        match tokio::time::timeout(part, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => last = refused(&error),
            Err(_) => last = refused(&"no answer"),
        }
    }
    Err(last)
}

async fn connect(url: &str, tls: &Arc<ClientConfig>, now_ns: u64) -> Result<Socket, Refused> {
    let uri: Uri = url.parse().map_err(|_| Refused::new("its address is none"))?;
    let encrypted = uri.scheme_str() == Some("wss");
    let host = uri
        .host()
        .ok_or_else(|| Refused::new("its address names no host"))?;
    let host = host.trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let tcp = connect_any(host, port).await?;
    // Small messages must not wait for each other; a failure here is a socket that is gone.
    let _ = tcp.set_nodelay(true);
    let stream: Box<dyn Stream> = if encrypted {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Refused::new(format_args!("{host} is no name for TLS")))?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, tcp)
            .await
            .map_err(|error| Refused::new(format_args!("TLS with {host}: {error}")))?;
        Box::new(stream)
    } else {
        Box::new(tcp)
    };
    let mut request = url
        .into_client_request()
        .map_err(|_| Refused::new("its address is none"))?;
    request
        .headers_mut()
        .insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let config = WebSocketConfig::default()
        .max_message_size(Some(FEED_MESSAGE_BYTES))
        .max_frame_size(Some(FEED_MESSAGE_BYTES))
        .max_write_buffer_size(FEED_WRITE_BYTES);
    match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _)) => Ok(socket),
        Err(WsError::Http(response)) => Err(Refused {
            why: format!("{host} answered {} instead of upgrading", response.status()),
            rest: retry_after(response.headers(), now_ns),
        }),
        Err(error) => Err(Refused::new(format_args!("upgrade with {host}: {error}"))),
    }
}
