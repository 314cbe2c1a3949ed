//! A plain client of a simulated venue: blocking, of tokio-tungstenite and hand-written HTTP, with
//! nothing in it of the product or of the simulators' servers.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::sim::CertAuthority;

/// Longest time anything may take; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection.
pub(crate) struct Client {
    runtime: Runtime,
    socket: WebSocketStream<Box<dyn Stream>>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// By a close frame with this code.
    Frame(u16),
    /// Without one.
    Cut,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Connects, over TLS if the address says so, trusting the shared authority only.
async fn dial(url: &str) -> std::io::Result<Box<dyn Stream>> {
    let (scheme, rest) = url.split_once("://").expect("a scheme");
    let authority = rest.split(['/', '?']).next().expect("an authority");
    let tcp = TcpStream::connect(authority).await?;
    if matches!(scheme, "ws" | "http") {
        return Ok(Box::new(tcp));
    }
    let host = authority.split(':').next().expect("a host").to_owned();
    let name = ServerName::try_from(host).expect("a name");
    let tls = TlsConnector::from(CertAuthority::shared().client());
    Ok(Box::new(tls.connect(name, tcp).await?))
}

impl Client {
    /// Connects and upgrades.
    pub(crate) fn connect(url: &str) -> Result<Self, Error> {
        let runtime = runtime();
        let socket = runtime.block_on(async {
            let stream = dial(url).await?;
            let config = WebSocketConfig::default();
            let connect = tokio_tungstenite::client_async_with_config(url, stream, Some(config));
            tokio::time::timeout(PATIENCE, connect)
                .await
                .expect("the upgrade is answered")
        })?;
        Ok(Self {
            runtime,
            socket: socket.0,
        })
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.message(Message::text(text));
    }

    pub(crate) fn message(&mut self, message: Message) {
        self.runtime
            .block_on(self.socket.send(message))
            .expect("the connection takes a message");
    }

    /// The next message of any kind; `Err` when the connection has ended.
    pub(crate) fn next(&mut self) -> Result<Message, End> {
        self.within(PATIENCE)
            .unwrap_or_else(|| panic!("nothing came within {PATIENCE:?}"))
    }

    /// The next message if one comes in time.
    pub(crate) fn within(&mut self, time: Duration) -> Option<Result<Message, End>> {
        let next = async { tokio::time::timeout(time, self.socket.next()).await.ok() };
        Some(match self.runtime.block_on(next)? {
            Some(Ok(Message::Close(frame))) => Err(frame.map_or(End::Cut, |f| End::Frame(f.code.into()))),
            Some(Ok(message)) => Ok(message),
            Some(Err(_)) | None => Err(End::Cut),
        })
    }

    /// The next text.
    pub(crate) fn text(&mut self) -> String {
        loop {
            match self.next() {
                Ok(Message::Text(text)) => return text.to_string(),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                other => panic!("a text was awaited: {other:?}"),
            }
        }
    }

    /// The next text as JSON.
    pub(crate) fn json(&mut self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
    }

    /// The next text that satisfies this; others before it are passed over.
    pub(crate) fn until(&mut self, mut wanted: impl FnMut(&str) -> bool) -> String {
        let mut passed = Vec::new();
        while passed.len() < 10_000 {
            let text = self.text();
            if wanted(&text) {
                return text;
            }
            passed.push(text);
        }
        panic!("not among 10,000 messages: {:?}", &passed[..20]);
    }

    /// How the connection ends, whatever comes before.
    pub(crate) fn end(&mut self) -> End {
        loop {
            if let Err(end) = self.next() {
                return end;
            }
        }
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// A request on a connection of its own; fails as the connection does.
pub(crate) fn request(base: &str, method: &str, path: &str) -> std::io::Result<Answer> {
    runtime().block_on(async {
        let exchange = async {
            let mut stream = dial(base).await?;
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await?;
            Ok(bytes)
        };
        let bytes: std::io::Result<_> = tokio::time::timeout(PATIENCE, exchange)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?;
        let text = String::from_utf8(bytes?).expect("UTF-8");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Answer {
            status: status.expect("a status line"),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        })
    })
}

pub(crate) fn get(base: &str, path: &str) -> std::io::Result<Answer> {
    request(base, "GET", path)
}
