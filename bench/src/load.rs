//! The load generator: a closed loop of plain clients, one thread, one CPU.
//!
//! Each flow is a connected socket with a bounded number of requests outstanding. A request
//! has a fresh id, a fresh clock and a valid tag of its own, so the server does for each what
//! it does for a paying customer. The echo gets the same datagrams; what comes back from it
//! still bears the request's tag, which is verified just the same, so that the generator
//! works equally hard for both.
//!
//! The generator never sleeps: to wake it would be work of the side that is measured. It
//! sends only when half of a flow's window is free, so that the batches of both ends stay
//! large instead of shrinking to the pace of single replies.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use socket2::{Domain, Protocol, Socket, Type};
use trinity_beast::clock;
use trinity_protocol::{PriceQuery, ReplyView, RequestHead, RequestId, RequestView, encode_price_request};

use crate::burst::{BATCH, Burst};
use crate::cpu_time::{Spent, ThreadTime};
use crate::population::{self, Draw, Population};
use crate::tally::Tally;

/// How to load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plan {
    /// Client sockets.
    pub(crate) flows: usize,
    /// Requests outstanding on each.
    pub(crate) window: usize,
    /// Time before the measurement.
    pub(crate) warm_up: Duration,
    /// Time of the measurement.
    pub(crate) time: Duration,
}

/// What the replies of a side look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The request itself.
    Echo,
    /// A signed price.
    Price,
}

/// What a measurement gave.
pub(crate) struct Load {
    /// Over the whole run.
    pub(crate) tally: Tally,
    /// Verified replies within the measured time.
    pub(crate) measured: u64,
    /// How long it really was.
    pub(crate) wall: Duration,
    /// The serving thread's time meanwhile.
    pub(crate) server: Spent,
    /// The generator's time meanwhile, and how much of it was spent waiting.
    pub(crate) loader: Spent,
    pub(crate) idle: Duration,
    /// Round trips within the measured time, nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// A reply that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// A lost request's id is remembered for this long, so that its late reply is known as such.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10);
/// How often the generator looks for lost ones.
const EXPIRE_EVERY: Duration = Duration::from_millis(100);
/// How long it waits when nothing came.
const IDLE: Duration = Duration::from_micros(5);
/// Client socket buffer asked for, bytes.
const BUFFER_BYTES: usize = 2 << 20;

struct Loader<'a> {
    population: &'a Population,
    expected: Expected,
    window: usize,
    flows: Vec<Flow>,
    /// Per key and counter modulo `ring`.
    pending: Vec<Pending>,
    ring: usize,
    /// Per key: the next counter.
    counters: Vec<u32>,
    /// Key `i` speaks in session `session + i`.
    session: u32,
    /// Per flow and symbol: the highest sequence seen. Only within one flow do replies come in
    /// the order in which they were given.
    sequences: Vec<Vec<u32>>,
    draw: Draw,
    outgoing: Burst,
    /// Where the state of each outgoing request is kept.
    written: [usize; BATCH],
    incoming: Burst,
    tally: Tally,
    latency: Histogram<u64>,
    began: Instant,
}

struct Flow {
    socket: Socket,
    outstanding: usize,
    /// Its keys, by position.
    keys: Vec<u32>,
    turn: usize,
}

#[derive(Clone, Copy, Default)]
struct Pending {
    /// Nanoseconds since the start; 0 is free.
    sent_ns: u64,
    counter: u32,
    symbol: u32,
    flow: u32,
    given_up: bool,
}

/// Loads an address as planned from the calling thread. `server` is the serving thread's
/// time.
pub(crate) fn run(
    address: SocketAddr,
    expected: Expected,
    plan: &Plan,
    population: &Population,
    server: &ThreadTime,
) -> anyhow::Result<Load> {
    let own = ThreadTime::own()?;
    let mut loader = Loader::new(address, expected, plan, population)?;
    loader.spin(plan.warm_up)?;

    loader.latency.reset();
    let before = (
        server.read()?,
        own.read()?,
        loader.tally.verified,
        clock::monotonic(),
    );
    let idle = loader.spin(plan.time)?;
    let after = (
        server.read()?,
        own.read()?,
        loader.tally.verified,
        clock::monotonic(),
    );

    let latency = loader.latency.clone();
    loader.finish()?;
    Ok(Load {
        tally: loader.tally,
        measured: after.2 - before.2,
        wall: after.3 - before.3,
        server: after.0.since(before.0),
        loader: after.1.since(before.1),
        idle,
        latency,
    })
}

/// What came back, as far as it can be read.
enum Reply<'a> {
    Echo(RequestView<'a>),
    Price(ReplyView<'a>),
}

impl Reply<'_> {
    fn request_id(&self) -> RequestId {
        match self {
            Self::Echo(view) => view.request_id(),
            Self::Price(view) => view.head().request_id,
        }
    }
}

impl Pending {
    /// Whether the place may not be used for a new request yet.
    const fn is_taken(&self, now_ns: u64) -> bool {
        let forgotten = self.given_up && now_ns - self.sent_ns > FORGOTTEN_AFTER.as_nanos() as u64;
        self.sent_ns != 0 && !forgotten
    }
}

impl<'a> Loader<'a> {
    fn new(
        address: SocketAddr,
        expected: Expected,
        plan: &Plan,
        population: &'a Population,
    ) -> anyhow::Result<Self> {
        let keys = population.keys.len();
        let flows = (0..plan.flows)
            .map(|flow| {
                let socket = connect(address).with_context(|| format!("connecting to {address}"))?;
                // Every key lives on one flow, as a client would; with fewer keys than flows
                // several flows share one.
                let own: Vec<_> = (0..keys as u32)
                    .filter(|key| *key as usize % plan.flows == flow % keys)
                    .collect();
                Ok(Flow {
                    socket,
                    outstanding: 0,
                    keys: own,
                    turn: 0,
                })
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let each = (plan.flows * plan.window).div_ceil(keys);
        let ring = (each * 4).next_power_of_two().max(16);
        Ok(Self {
            population,
            expected,
            window: plan.window,
            flows,
            pending: vec![Pending::default(); keys * ring],
            ring,
            counters: vec![1; keys],
            session: population::random() as u32,
            sequences: vec![vec![0; population.symbols.len()]; plan.flows],
            draw: Draw::new(),
            outgoing: Burst::connected(),
            written: [0; BATCH],
            incoming: Burst::connected(),
            tally: Tally::default(),
            latency: Histogram::new_with_bounds(1, 60_000_000_000, 3)?,
            began: clock::monotonic(),
        })
    }

    /// Keeps every window filled for a time; tells how long nothing came back.
    fn spin(&mut self, time: Duration) -> anyhow::Result<Duration> {
        let end = clock::monotonic() + time;
        let mut expire_due = clock::monotonic() + EXPIRE_EVERY;
        let mut idle = Duration::ZERO;
        loop {
            let mut came = 0;
            for flow in 0..self.flows.len() {
                self.fill(flow)?;
                came += self.drain(flow)?;
            }
            let now = clock::monotonic();
            if now >= end {
                return Ok(idle);
            }
            if now >= expire_due {
                expire_due = now + EXPIRE_EVERY;
                self.expire();
            }
            if came == 0 {
                idle += pause(now);
            }
        }
    }

    /// Takes in what is still on its way.
    fn finish(&mut self) -> anyhow::Result<()> {
        while self.flows.iter().any(|flow| flow.outstanding > 0) {
            for flow in 0..self.flows.len() {
                self.drain(flow)?;
            }
            self.expire();
        }
        Ok(())
    }

    /// Sends requests on a flow if half of its window is free.
    fn fill(&mut self, flow: usize) -> anyhow::Result<()> {
        let mut free = self.window - self.flows[flow].outstanding;
        if free < (self.window / 2).max(1) {
            return Ok(());
        }
        while free > 0 {
            let count = self.write(flow, free.min(BATCH));
            let sent = self
                .outgoing
                .send(&self.flows[flow].socket, count)
                .context("sending requests")?;
            self.tally.sent += sent as u64;
            self.flows[flow].outstanding += sent;
            // What was not sent is forgotten. Its counter is not used again, which a client may
            // do as well.
            for place in &self.written[sent..count] {
                self.pending[*place] = Pending::default();
            }
            if sent < BATCH {
                break;
            }
            free -= sent;
        }
        Ok(())
    }

    /// Writes a batch of requests; fewer than asked for only if keys have too many pending.
    fn write(&mut self, flow: usize, count: usize) -> usize {
        let clock_ns = clock::unix_nanos();
        let sent_ns = self.elapsed_ns();
        let mut written = 0;
        for _ in 0..count {
            let own = &mut self.flows[flow];
            let key = own.keys[own.turn] as usize;
            own.turn = (own.turn + 1) % own.keys.len();
            let counter = self.counters[key];
            self.counters[key] = counter.wrapping_add(1);
            let place = key * self.ring + counter as usize % self.ring;
            if self.pending[place].is_taken(sent_ns) {
                continue;
            }
            let symbol = self.draw.below(self.population.symbols.len());
            self.pending[place] = Pending {
                sent_ns,
                counter,
                symbol: symbol as u32,
                flow: flow as u32,
                given_up: false,
            };
            let caller = &self.population.keys[key];
            let head = RequestHead {
                key_id: caller.key_id,
                request_id: RequestId::new(self.session.wrapping_add(key as u32), counter),
                lane: counter as u8,
                clock_ns,
            };
            let query = PriceQuery::new(self.population.symbols[symbol]);
            let len =
                encode_price_request(self.outgoing.slot(written), head, &[query], &caller.mac.request).len();
            self.outgoing.set_len(written, len);
            self.written[written] = place;
            written += 1;
        }
        written
    }

    /// Receives and checks what came back on a flow.
    fn drain(&mut self, flow: usize) -> anyhow::Result<usize> {
        let mut total = 0;
        loop {
            let count = self
                .incoming
                .receive(&self.flows[flow].socket)
                .context("receiving replies")?;
            let now_ns = self.elapsed_ns();
            // Requests of one batch were sent at one time and mostly come back together.
            let mut run = (0, 0);
            for index in 0..count {
                if let Some(sent_ns) = self.check(flow, index) {
                    if run.0 != sent_ns {
                        self.record(run, now_ns);
                        run = (sent_ns, 0);
                    }
                    run.1 += 1;
                }
            }
            self.record(run, now_ns);
            total += count;
            if count < BATCH {
                return Ok(total);
            }
        }
    }

    /// Checks one reply; tells when its request was sent if all is right.
    fn check(&mut self, flow: usize, index: usize) -> Option<u64> {
        self.tally.answered += 1;
        let bytes = self.incoming.bytes(index);
        let reply = match self.expected {
            Expected::Echo => RequestView::parse(bytes).ok().map(Reply::Echo),
            Expected::Price => ReplyView::parse(bytes).ok().map(Reply::Price),
        };
        let Some(reply) = reply else {
            self.tally.malformed += 1;
            return None;
        };
        let id = reply.request_id();
        let key = id.session.wrapping_sub(self.session) as usize;
        let place = key * self.ring + id.counter as usize % self.ring;
        let asked = self
            .pending
            .get_mut(place)
            .filter(|asked| asked.sent_ns != 0 && asked.counter == id.counter && asked.flow as usize == flow);
        let Some(asked) = asked.map(std::mem::take) else {
            self.tally.unexpected += 1;
            return None;
        };
        let symbol = asked.symbol as usize;
        let mac = &self.population.keys[key].mac;
        let right = match reply {
            Reply::Echo(view) => {
                let right = view.verify(&mac.request)
                    && self.population.symbols[symbol].to_wire() == view.entries()[0].symbol;
                self.tally.bad_tags += u64::from(!right);
                right
            }
            Reply::Price(view) => {
                self.tally
                    .judge(&view, &mac.reply, symbol, &mut self.sequences[flow][symbol])
            }
        };
        if asked.given_up {
            self.tally.late += 1;
            return None;
        }
        self.flows[flow].outstanding -= 1;
        self.tally.verified += u64::from(right);
        right.then_some(asked.sent_ns)
    }

    /// Gives up what took too long.
    fn expire(&mut self) {
        let now_ns = self.elapsed_ns();
        for pending in &mut self.pending {
            let waiting = pending.sent_ns != 0 && !pending.given_up;
            if waiting && now_ns - pending.sent_ns > LOST_AFTER.as_nanos() as u64 {
                pending.given_up = true;
                self.flows[pending.flow as usize].outstanding -= 1;
                self.tally.lost += 1;
            }
        }
    }

    fn record(&mut self, (sent_ns, count): (u64, u64), now_ns: u64) {
        if count > 0 {
            self.latency
                .saturating_record_n(now_ns.saturating_sub(sent_ns), count);
        }
    }

    fn elapsed_ns(&self) -> u64 {
        (clock::monotonic() - self.began).as_nanos() as u64 + 1
    }
}

fn connect(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.cloexec(),
        Some(Protocol::UDP),
    )?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.connect(&address.into())?;
    Ok(socket)
}

/// Waits without giving the CPU away; tells for how long. Time in which something else had
/// the CPU is no waiting.
fn pause(since: Instant) -> Duration {
    while clock::monotonic() - since < IDLE {
        std::hint::spin_loop();
    }
    IDLE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Side, Target};

    const QUICK: Plan = Plan {
        flows: 2,
        window: 8,
        warm_up: Duration::from_millis(10),
        time: Duration::from_millis(50),
    };

    #[test]
    fn an_echo_does_not_pass_for_a_server() {
        let population = Population::new(3, 5).expect("drawn");
        let cpu = trinity_beast::shard::driver::cpus::allowed().expect("readable")[0];
        let echo = Target::start(Side::Echo, cpu, &population).expect("started");
        let load = run(echo.address, Expected::Price, &QUICK, &population, &echo.time).expect("loaded");
        assert!(load.tally.malformed > 0);
        assert_eq!((load.tally.verified, load.measured), (0, 0));
        echo.stop().expect("stopped");
    }

    #[test]
    fn silence_is_counted_as_loss() {
        let population = Population::new(3, 5).expect("drawn");
        let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let address = silent.local_addr().expect("bound");
        let time = ThreadTime::own().expect("readable");
        let load = run(address, Expected::Price, &QUICK, &population, &time).expect("loaded");
        let all = (QUICK.flows * QUICK.window) as u64;
        assert_eq!(
            (load.tally.sent, load.tally.lost, load.tally.answered),
            (all, all, 0)
        );
    }
}
