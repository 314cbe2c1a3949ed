//! The load generator: one thread, one CPU, many clients.
//!
//! Each flow is a connected socket. In a closed loop it has a bounded number of requests
//! outstanding, and sends only when half of its window is free, so that the batches of both
//! ends stay large instead of shrinking to the pace of single replies. In an open loop
//! requests leave by a schedule, whatever the server does (see [`schedule`]).
//!
//! The echo gets the same datagrams; what comes back from it still bears the requests' tags,
//! which are verified just the same, so that the generator works equally hard for both. It
//! never sleeps: to wake it would be work of the side that is measured.

mod checker;
mod outbox;
mod pending;
mod plan;
mod schedule;
#[cfg(test)]
mod tests;
mod writer;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use socket2::Socket;
use trinity_beast::clock;

use self::checker::Checker;
use self::outbox::{Inbox, Outbox};
use self::pending::{LOST_AFTER, Pending};
pub(crate) use self::plan::{Expected, Form, Pace, Plan};
use self::schedule::Schedule;
use self::writer::{Turns, Writer};
use crate::cpu_time::{self, Spent, ThreadTime};
use crate::population::{self, Population};
use crate::tally::Tally;

/// What a measurement gave.
pub(crate) struct Load {
    /// Over the whole run.
    pub(crate) tally: Tally,
    /// Verified replies within the measured time.
    pub(crate) measured: u64,
    /// How long it really was.
    pub(crate) wall: Duration,
    /// The serving threads' time meanwhile; `None` of a server in another process.
    pub(crate) server: Option<Spent>,
    /// The generator's time meanwhile, and how much of it was spent waiting.
    pub(crate) loader: Spent,
    pub(crate) idle: Duration,
    /// Latencies of the replies within the measured time, nanoseconds: round trips in a closed
    /// loop; in an open loop from the moment each request was due.
    pub(crate) latency: Histogram<u64>,
    /// Of an open loop, the share of the requests of the measured time that were sent more than
    /// [`BEHIND`] after they were due, or not at all.
    pub(crate) behind: Option<f64>,
}

/// An open loop's request that is sent this much later than due counts as behind.
pub(crate) const BEHIND: Duration = Duration::from_micros(100);
/// How often the generator looks for lost requests, and the part of all that it looks at then:
/// each is looked at every 100 ms, and no look takes long.
const EXPIRE_EVERY: Duration = Duration::from_millis(1);
const EXPIRE_PARTS: usize = 100;
/// How long it waits when nothing came.
const IDLE: Duration = Duration::from_micros(5);

struct Loader<'a> {
    window: usize,
    /// Whether it polls without a pause.
    eager: bool,
    schedule: Option<Schedule>,
    /// Of the schedule: requests that are sent, or were given up because there was no place.
    issued: u64,
    /// Of those, how many were behind.
    behind: u64,
    batch: usize,
    len: usize,
    flows: Vec<Flow>,
    /// Whose turn it is in an open loop.
    turn: usize,
    writer: Writer<'a>,
    out: Outbox,
    inbox: Inbox,
    checker: Checker<'a>,
    began: Instant,
    expire_due: Instant,
}

struct Flow {
    socket: Socket,
    turns: Turns,
}

/// Loads an address as planned from the calling thread. `server` are the serving threads.
pub(crate) fn run(
    address: SocketAddr,
    expected: Expected,
    plan: &Plan,
    population: &Population,
    server: &[ThreadTime],
) -> anyhow::Result<Load> {
    let own = ThreadTime::own()?;
    let mut loader = Loader::new(address, expected, plan, population)?;
    loader.spin(plan.warm_up)?;

    loader.checker.latency.reset();
    let look = |loader: &Loader<'_>| -> anyhow::Result<_> {
        Ok((
            cpu_time::total(server)?,
            own.read()?,
            loader.checker.tally.verified,
            (loader.issued, loader.behind),
            clock::monotonic(),
        ))
    };
    let before = look(&loader)?;
    let idle = loader.spin(plan.time)?;
    let after = look(&loader)?;

    let latency = loader.checker.latency.clone();
    loader.finish()?;
    let issued = after.3.0 - before.3.0;
    Ok(Load {
        tally: loader.checker.tally,
        measured: after.2 - before.2,
        wall: after.4 - before.4,
        server: (!server.is_empty()).then(|| after.0.since(before.0)),
        loader: after.1.since(before.1),
        idle,
        latency,
        behind: loader
            .schedule
            .map(|_| (after.3.1 - before.3.1) as f64 / issued.max(1) as f64),
    })
}

impl<'a> Loader<'a> {
    fn new(
        address: SocketAddr,
        expected: Expected,
        plan: &Plan,
        population: &'a Population,
    ) -> anyhow::Result<Self> {
        let flow = |flow| {
            Ok(Flow {
                socket: outbox::socket(plan, address)?,
                turns: Turns::of(flow, plan.flows, plan.keys),
            })
        };
        let (window, eager, schedule, each) = match plan.pace {
            Pace::Closed { window, eager } => {
                let each = (plan.flows * window).div_ceil(plan.keys);
                (window, eager, None, each)
            }
            Pace::Open { rate, burst } => {
                let longest = (rate * LOST_AFTER.as_secs_f64()) as usize;
                let each = longest.div_ceil(plan.keys).max(burst);
                (0, true, Some(Schedule::new(rate, burst)), each)
            }
        };
        // Some room more, because keys do not all advance alike.
        let pending = Pending::new(plan.keys, each * 2, plan.entries);
        let session = population::random() as u32;
        let began = clock::monotonic();
        Ok(Self {
            window,
            eager,
            schedule,
            issued: 0,
            behind: 0,
            batch: plan.batch(),
            len: plan.datagram_bytes(),
            flows: (0..plan.flows).map(flow).collect::<anyhow::Result<_>>()?,
            turn: 0,
            writer: Writer::new(plan, population, session),
            out: Outbox::new(plan, address),
            inbox: Inbox::new(plan.form),
            checker: Checker::new(plan, expected, population, session, pending)?,
            began,
            expire_due: began,
        })
    }

    /// Sends and receives for a time; tells how long there was nothing to do.
    fn spin(&mut self, time: Duration) -> anyhow::Result<Duration> {
        if self.issued == 0 {
            // The schedule begins now, not when its sockets were made.
            self.began = clock::monotonic();
        }
        let end = clock::monotonic() + time;
        let mut idle = Duration::ZERO;
        loop {
            let turn_began = clock::monotonic();
            if turn_began >= end {
                return Ok(idle);
            }
            let mut done = 0;
            if let Some(schedule) = self.schedule {
                done += self.issue(schedule)?;
            }
            for flow in 0..self.flows.len() {
                if self.schedule.is_none() {
                    self.fill(flow)?;
                }
                if self.checker.outstanding[flow] > 0 {
                    done += self.drain(flow)?;
                }
            }
            if turn_began >= self.expire_due {
                self.expire_due = turn_began + EXPIRE_EVERY;
                let now_ns = self.elapsed_ns();
                self.checker.expire(now_ns, EXPIRE_PARTS);
            }
            if done == 0 {
                idle += if self.eager {
                    turn_began.elapsed()
                } else {
                    pause(turn_began)
                };
            }
        }
    }

    /// Takes in what is still on its way.
    fn finish(&mut self) -> anyhow::Result<()> {
        loop {
            let mut came = 0;
            for flow in 0..self.flows.len() {
                came += self.drain(flow)?;
            }
            if came == 0 && self.checker.outstanding.iter().all(|n| *n == 0) {
                return Ok(());
            }
            let now_ns = self.elapsed_ns();
            self.checker.expire(now_ns, 1);
        }
    }

    /// Sends requests on a flow if half of its window is free.
    fn fill(&mut self, flow: usize) -> anyhow::Result<()> {
        let mut free = self.window - self.checker.outstanding[flow];
        if free < (self.window / 2).max(1) {
            return Ok(());
        }
        while free > 0 {
            let now_ns = self.elapsed_ns();
            let count = free.min(self.batch);
            let sent = self.send(flow, count, now_ns, |_| now_ns)?;
            if sent < count {
                break;
            }
            free -= sent;
        }
        Ok(())
    }

    /// Sends what the schedule says is due; tells how many.
    fn issue(&mut self, schedule: Schedule) -> anyhow::Result<usize> {
        let began = self.issued;
        loop {
            let now_ns = self.elapsed_ns();
            let due = schedule.due_by(now_ns).saturating_sub(self.issued);
            if due == 0 || self.issued - began > self.batch as u64 * self.flows.len() as u64 {
                return Ok((self.issued - began) as usize);
            }
            let (flow, count) = (self.turn, self.batch.min(due as usize));
            self.turn = (self.turn + 1) % self.flows.len();
            let first = self.issued;
            let since_ns = |n: usize| schedule.due_ns(first + n as u64) + 1;
            let sent = self.send(flow, count, now_ns, since_ns)?;
            // What could not be sent is not sent later either: the schedule goes on.
            let on_time = (0..sent)
                .filter(|n| now_ns.saturating_sub(since_ns(*n)) <= BEHIND.as_nanos() as u64)
                .count();
            self.checker.tally.unsent += (count - sent) as u64;
            self.behind += (count - on_time) as u64;
            self.issued += count as u64;
        }
    }

    /// Writes and sends up to a batch; tells how many requests left.
    fn send(
        &mut self,
        flow: usize,
        count: usize,
        now_ns: u64,
        since_ns: impl Fn(usize) -> u64,
    ) -> anyhow::Result<usize> {
        let Flow { socket, turns } = &mut self.flows[flow];
        let pending = &mut self.checker.pending;
        let written = self
            .writer
            .write(&mut self.out, pending, (flow, turns), count, now_ns, since_ns);
        if written == 0 {
            return Ok(0);
        }
        let sent = self
            .out
            .send(socket, written, self.len)
            .context("sending requests")?;
        self.writer.take_back(pending, sent, written);
        self.checker.tally.sent += sent as u64;
        self.checker.outstanding[flow] += sent;
        Ok(sent)
    }

    /// Receives and checks what came back on a flow; tells how many messages came.
    fn drain(&mut self, flow: usize) -> anyhow::Result<usize> {
        let mut total = 0;
        loop {
            let (count, may_have_more) = self
                .inbox
                .receive(&self.flows[flow].socket)
                .context("receiving replies")?;
            let now_ns = self.elapsed_ns();
            match &self.inbox {
                Inbox::Plain { burst } => {
                    self.checker
                        .check(flow, (0..count).map(|index| burst.bytes(index)), now_ns);
                }
                Inbox::Gso { trains } => {
                    let datagrams = (0..count).flat_map(|index| trains.message(index));
                    self.checker.check(flow, datagrams, now_ns);
                }
            }
            total += count;
            if !may_have_more {
                return Ok(total);
            }
        }
    }

    /// Never 0.
    fn elapsed_ns(&self) -> u64 {
        (clock::monotonic() - self.began).as_nanos() as u64 + 1
    }
}

/// Waits without giving the CPU away; tells for how long. Time in which something else had
/// the CPU is no waiting.
fn pause(since: Instant) -> Duration {
    while clock::monotonic() - since < IDLE {
        std::hint::spin_loop();
    }
    IDLE
}
