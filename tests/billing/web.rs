//! A client over kept HTTP connections that counts what it was told.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use trinity_beast::store::Protocol;
use trinity_protocol::{ApiKey, Code, KeyId};

use super::books::Books;
use super::crowd::Signals;
use crate::support::server::PATIENCE;

/// One connection at a time, one request at a time.
pub(crate) struct Caller {
    server: SocketAddr,
    key_id: KeyId,
    request: Vec<u8>,
    /// Prices that an answer must have.
    entries: u64,
    books: Books,
}

impl Caller {
    /// `GET /price` of one asset, or `POST /prices` of several.
    pub(crate) fn new(server: SocketAddr, key: &ApiKey, assets: &[&str]) -> Self {
        let text = key.expose();
        let head = format!("HTTP/1.1\r\nHost: test\r\nX-API-Key: {}\r\n", text.as_str());
        let request = match assets {
            [asset] => format!("GET /price?asset={asset} {head}\r\n"),
            assets => {
                let body = serde_json::json!({ "assets": assets }).to_string();
                format!("POST /prices {head}Content-Length: {}\r\n\r\n{body}", body.len())
            }
        };
        Self {
            server,
            key_id: key.key_id(),
            request: request.into_bytes(),
            entries: assets.len() as u64,
            books: Books::default(),
        }
    }

    /// Asks as fast as it is answered, until it is told to stop.
    pub(crate) fn run(mut self, signals: &Signals) -> Books {
        let mut connection = None;
        while !signals.stop.load(Relaxed) {
            let Some(stream) = connection.take().or_else(|| self.connect()) else {
                // The server is between two lives.
                thread::sleep(Duration::from_millis(1));
                continue;
            };
            let mut stream: BufReader<TcpStream> = stream;
            if stream.get_mut().write_all(&self.request).is_err() {
                // Part of it may have come through, but no server answers, or counts, half of one.
                continue;
            }
            match Answer::read(&mut stream) {
                Some(answer) => {
                    signals.answered.fetch_add(1, Relaxed);
                    if let Err(fault) = self.take(&answer) {
                        self.books.faults.push(fault);
                    }
                    connection = answer.keeps.then_some(stream);
                }
                None => self.books.lost(self.key_id, Protocol::Http, 1, self.entries),
            }
        }
        self.books
    }

    fn connect(&self) -> Option<BufReader<TcpStream>> {
        let stream = TcpStream::connect(self.server).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(BufReader::new(stream))
    }

    fn take(&mut self, answer: &Answer) -> Result<(), String> {
        let Answer { status, body, .. } = answer;
        let json: Value =
            serde_json::from_slice(body).map_err(|error| format!("HTTP {status}: {error}: {body:?}"))?;
        let (code, entries) = if *status == 200 {
            let prices = match json["prices"].as_array() {
                Some(prices) => prices.len() as u64,
                None => u64::from(json["asset"].is_string() || json["symbol"].is_string()),
            };
            if prices != self.entries {
                return Err(format!("{} prices were asked for: {json}", self.entries));
            }
            (Code::Ok, prices)
        } else {
            let name = json["code"].as_str().unwrap_or_default();
            let code = (0..u16::from(u8::MAX))
                .filter_map(Code::from_wire)
                .find(|code| code.name() == name);
            (
                code.ok_or_else(|| format!("HTTP {status} without a code: {json}"))?,
                0,
            )
        };
        self.books
            .answered(self.key_id, Protocol::Http, code as u16, None, entries);
        Ok(())
    }
}

/// A whole response.
struct Answer {
    status: u16,
    keeps: bool,
    body: Vec<u8>,
}

impl Answer {
    /// `None` if it did not come whole.
    fn read(stream: &mut BufReader<TcpStream>) -> Option<Self> {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let (mut length, mut keeps) = (None, true);
        loop {
            line.clear();
            if stream.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let field = line.trim_end();
            if field.is_empty() {
                break;
            }
            let (name, value) = field.split_once(':')?;
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse::<usize>().ok();
            }
            if name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close") {
                keeps = false;
            }
        }
        let mut body = vec![0; length?];
        stream.read_exact(&mut body).ok()?;
        Some(Self { status, keeps, body })
    }
}
