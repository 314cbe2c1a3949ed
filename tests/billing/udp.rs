//! A client over UDP that counts what it can prove: every reply is held against its tag, its
//! request and its number of prices.

use std::collections::HashSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use socket2::{Domain, Socket, Type};
use trinity_beast::clock;
use trinity_beast::shard::socket::join_trains;
use trinity_beast::store::Protocol;
use trinity_protocol::{
    ApiKey, Code, HEADER_LEN, KeyId, Kind, MAX_DATAGRAM, MacKeys, PriceQuery, ReplyView, RequestHead,
    RequestId, datagram_len, encode_price_request,
};

use super::books::Books;
use super::crowd::Signals;

/// How it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// Symbols a request.
    pub(crate) entries: usize,
    /// Requests that the kernel gets at a time, as one train (UDP_SEGMENT); 1 for none.
    pub(crate) train: usize,
    /// Most requests without an answer.
    pub(crate) window: usize,
}

impl Form {
    /// Those of the issue: plain, trains, full batches, and full batches in trains. The windows
    /// are what fits into a socket's receive buffer that nobody has tuned, so that no answer is
    /// lost there.
    pub(crate) const ALL: [Self; 4] = [
        Self {
            entries: 1,
            train: 1,
            window: 64,
        },
        Self {
            entries: 1,
            train: 64,
            window: 128,
        },
        Self {
            entries: 31,
            train: 1,
            window: 32,
        },
        Self {
            entries: 31,
            train: 15,
            window: 30,
        },
    ];
}

/// How long it waits for a reply before it looks around.
const GLANCE: Duration = Duration::from_millis(20);
/// Glances in vain after which it takes what is outstanding for lost. If an answer comes after
/// that, it counts as one.
const PATIENT_GLANCES: u32 = 100;
/// Its own clock and the server's may differ by less than this.
const NEARLY_NS: i64 = 1_000_000_000;

/// A client's socket under one key, with a session of its own.
pub(crate) struct Flow {
    socket: Socket,
    form: Form,
    lane: u8,
    key_id: KeyId,
    mac: MacKeys,
    queries: Vec<PriceQuery>,
    session: u32,
    counter: u32,
    pending: HashSet<u32>,
    lost: HashSet<u32>,
    books: Books,
    life: u64,
    signed: Vec<u8>,
}

impl Flow {
    pub(crate) fn new(
        server: SocketAddr,
        form: Form,
        lane: u8,
        key: &ApiKey,
        queries: &[PriceQuery],
    ) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        socket
            .bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())
            .expect("bound");
        socket.connect(&server.into()).expect("connected");
        socket.set_read_timeout(Some(GLANCE)).expect("set");
        if form.train > 1 {
            setsockopt(&socket, UdpGsoSegment, &(datagram_len(form.entries) as i32)).expect("UDP_SEGMENT");
            join_trains(&socket).expect("UDP_GRO");
        }
        let mut queries = queries.iter().cycle();
        Self {
            socket,
            form,
            lane,
            key_id: key.key_id(),
            mac: MacKeys::from_verifier(&key.verifier()),
            queries: (0..form.entries)
                .map(|_| *queries.next().expect("there are some"))
                .collect(),
            session: getrandom::u32().expect("randomness"),
            counter: 0,
            pending: HashSet::new(),
            lost: HashSet::new(),
            books: Books::default(),
            life: 0,
            signed: Vec::new(),
        }
    }

    /// Asks as fast as it is answered, until it is told to stop and nothing is outstanding.
    pub(crate) fn run(mut self, signals: &Signals) -> Books {
        let mut room = vec![0; 1 << 16];
        let mut vain = 0;
        loop {
            let life = signals.life.load(Relaxed);
            if life != self.life {
                self.abandon();
                self.life = life;
            }
            let stopping = signals.stop.load(Relaxed);
            if stopping && self.pending.is_empty() {
                break;
            }
            while !stopping && self.pending.len() + self.form.train <= self.form.window {
                if !self.ask(signals.skew_ns.load(Relaxed)) {
                    break;
                }
            }
            match (&self.socket).recv_into(&mut room) {
                Ok(len) => {
                    vain = 0;
                    let before = self.pending.len() + self.lost.len();
                    self.take(&room[..len], signals);
                    let answered = before - (self.pending.len() + self.lost.len());
                    signals.answered.fetch_add(answered as u64, Relaxed);
                }
                Err(error) if is_refusal(&error) => thread::sleep(Duration::from_millis(1)),
                Err(error) if is_vain(&error) => {
                    vain += 1;
                    if vain >= PATIENT_GLANCES {
                        self.abandon();
                        vain = 0;
                    }
                }
                Err(error) => panic!("receiving: {error}"),
            }
        }
        let lost = self.lost.len() as u64;
        self.books
            .lost(self.key_id, Protocol::Udp, lost, self.form.entries as u64);
        self.books
    }

    /// What is outstanding will hardly be answered any more.
    fn abandon(&mut self) {
        self.lost.extend(self.pending.drain());
    }

    /// Sends one more request, or train; tells whether the kernel took it.
    fn ask(&mut self, skew_ns: i64) -> bool {
        let clock_ns = clock::unix_nanos().saturating_add_signed(skew_ns);
        let first = self.counter + 1;
        self.signed.clear();
        for _ in 0..self.form.train {
            self.counter += 1;
            let head = RequestHead {
                key_id: self.key_id,
                request_id: RequestId::new(self.session, self.counter),
                lane: self.lane,
                clock_ns,
            };
            let mut buffer = [0; MAX_DATAGRAM];
            let request = encode_price_request(&mut buffer, head, &self.queries, &self.mac.request);
            self.signed.extend_from_slice(request);
        }
        match self.socket.send(&self.signed) {
            Ok(_) => {
                self.pending.extend(first..=self.counter);
                true
            }
            // What an earlier datagram met is told to this one, which was not sent.
            Err(error) if is_refusal(&error) || is_vain(&error) => false,
            Err(error) => panic!("sending: {error}"),
        }
    }

    /// Takes apart what came: one datagram, or several that the kernel joined.
    fn take(&mut self, mut bytes: &[u8], signals: &Signals) {
        while !bytes.is_empty() {
            // Every datagram says how long it is, so their number need not be asked of the kernel.
            let len = if bytes.len() < HEADER_LEN {
                bytes.len()
            } else {
                datagram_len(usize::from(bytes[4])).min(bytes.len())
            };
            let (reply, rest) = bytes.split_at(len);
            if let Err(fault) = self.take_reply(reply, signals) {
                self.books.faults.push(format!("{:?}: {fault}", self.form));
            }
            bytes = rest;
        }
    }

    fn take_reply(&mut self, bytes: &[u8], signals: &Signals) -> Result<(), String> {
        let reply = ReplyView::parse(bytes).map_err(|error| error.to_string())?;
        let head = reply.head();
        if !reply.verify(&self.mac.reply) {
            return Err(format!("a wrong tag: {head:?}"));
        }
        let id = head.request_id;
        let waited_for = self.pending.remove(&id.counter) || self.lost.remove(&id.counter);
        if id.session != self.session || !waited_for {
            return Err(format!("nobody waits for this reply: {head:?}"));
        }
        let entries = match reply.kind() {
            Kind::PriceReply if reply.entries().len() == self.form.entries => self.form.entries as u64,
            Kind::Error => 0,
            kind => return Err(format!("{kind:?} with {} prices", reply.entries().len())),
        };
        let second = head.clock_ns / 1_000_000_000;
        self.books.answered(
            self.key_id,
            Protocol::Udp,
            head.code as u16,
            Some(second),
            entries,
        );
        if head.code == Code::Clock {
            let own = clock::unix_nanos();
            let skew = head.clock_ns.cast_signed().wrapping_sub(own.cast_signed());
            if (skew - signals.skew_ns.load(Relaxed)).abs() > NEARLY_NS {
                signals.skew_ns.store(skew, Relaxed);
            }
        }
        Ok(())
    }
}

/// Nobody listens there at the moment.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ConnectionRefused
}

/// Nothing came, or there was no room.
fn is_vain(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// `Socket::recv` wants uninitialised memory; reading through [`io::Read`] does not.
trait RecvInto {
    fn recv_into(self, room: &mut [u8]) -> io::Result<usize>;
}

impl RecvInto for &Socket {
    fn recv_into(mut self, room: &mut [u8]) -> io::Result<usize> {
        io::Read::read(&mut self, room)
    }
}
