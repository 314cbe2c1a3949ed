//! A scripted server on loopback, shared by several test binaries: it answers with whatever
//! datagrams the test's script gives.

#![allow(dead_code, reason = "no test binary uses all of it")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use trinity_protocol::{
    ApiKey, Code, Kind, MAX_DATAGRAM, MacKeys, PriceEntry, ReplyHead, RequestView, encode_control_reply,
    encode_price_reply,
};

/// Bytes that end the server's thread.
const STOP: &[u8] = b"stop";

pub(crate) struct ScriptedServer {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedServer {
    /// Starts a server; the script gets the number of the datagram, from 0, and its bytes.
    pub(crate) fn start(script: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into(), script).expect("IPv4 loopback")
    }

    pub(crate) fn start_at(
        ip: IpAddr,
        mut script: impl FnMut(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let socket = UdpSocket::bind((ip, 0))?;
        let address = socket.local_addr()?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            for number in 0.. {
                let (length, peer) = socket.recv_from(&mut buffer).expect("loopback receives");
                let datagram = &buffer[..length];
                if datagram == STOP {
                    return;
                }
                log.lock()
                    .expect("no test panics holding it")
                    .push(datagram.to_vec());
                for reply in script(number, datagram) {
                    socket.send_to(&reply, peer).expect("loopback sends");
                }
            }
        });
        Ok(Self {
            address,
            seen,
            thread: Some(thread),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops the server and gives every datagram it received.
    pub(crate) fn stop(mut self) -> Vec<Vec<u8>> {
        self.end();
        std::mem::take(&mut *self.seen.lock().expect("the server's thread has ended"))
    }

    /// Ends the thread and frees the port.
    pub(crate) fn end(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        let socket = UdpSocket::bind((self.address.ip(), 0)).expect("loopback");
        socket.send_to(STOP, self.address).expect("loopback sends");
        assert!(
            thread.join().is_ok() || std::thread::panicking(),
            "the server's script failed"
        );
    }
}

impl Drop for ScriptedServer {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn key() -> ApiKey {
    ApiKey::from_parts(77, [9; 32]).expect("77 is in range")
}

pub(crate) fn keys() -> MacKeys {
    MacKeys::from_verifier(&key().verifier())
}

pub(crate) fn request(datagram: &[u8]) -> RequestView<'_> {
    let view = RequestView::parse(datagram).expect("a client sends well-formed requests");
    if view.kind() == Kind::Price {
        assert!(view.verify(&keys().request), "a client signs its requests");
    }
    view
}

/// A reply's header by the request's clock.
pub(crate) fn head(datagram: &[u8], code: Code) -> ReplyHead {
    let request = request(datagram);
    ReplyHead {
        code,
        remaining: 41,
        refill_ms: 1_500,
        request_id: request.request_id(),
        clock_ns: request.clock_ns(),
    }
}

/// A genuine PRICE reply; the mantissas count up from `first_mantissa`.
pub(crate) fn prices(datagram: &[u8], first_mantissa: i64) -> Vec<u8> {
    prices_with(datagram, head(datagram, Code::Ok), first_mantissa)
}

pub(crate) fn prices_with(datagram: &[u8], head: ReplyHead, first_mantissa: i64) -> Vec<u8> {
    let entries: Vec<_> = (first_mantissa..)
        .zip(request(datagram).entries())
        .map(|(mantissa, _)| PriceEntry {
            mantissa: mantissa.into(),
            confidence: 3.into(),
            publish_time_ns: 5.into(),
            exponent: -2,
            status: 0,
            venues: 4,
            flags: 0b1_0100,
            sequence: 9.into(),
        })
        .collect();
    encode_price_reply(&mut [0; MAX_DATAGRAM], head, &entries, &keys().reply).to_vec()
}

pub(crate) fn signed_error(head: ReplyHead) -> Vec<u8> {
    encode_control_reply(&mut [0; MAX_DATAGRAM], Kind::Error, head, Some(&keys().reply)).to_vec()
}

pub(crate) fn unsigned(kind: Kind, head: ReplyHead) -> Vec<u8> {
    encode_control_reply(&mut [0; MAX_DATAGRAM], kind, head, None).to_vec()
}
