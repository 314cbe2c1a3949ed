//! The load generator: one thread, many kept connections, closed loop or constant rate.
//!
//! Closed loop: every connection has up to `pipeline` requests outstanding and sends the next
//! when an answer has come. Constant rate: requests are due at even intervals whatever the
//! server does; each goes out on a connection that has room, and its latency runs from the
//! moment it was due, so a server that stalls is charged for everybody who would have asked
//! meanwhile (no coordinated omission).
//!
//! The generator never sleeps: to wake it would be work of the side that is measured.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;
use trinity_beast::clock;

use super::response::Reader;
use super::tally::{Asset, Tally};
use crate::cpu_time::{Spent, ThreadTime};
use crate::peers::process::ServingTime;
use crate::peers::ready::Ready;
use crate::population::Draw;

/// How to load.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Plan {
    /// Connections, all kept.
    pub(crate) connections: usize,
    /// Most requests outstanding on each.
    pub(crate) pipeline: usize,
    /// Requests per second; none is a closed loop.
    pub(crate) rate: Option<f64>,
    /// Time before the measurement.
    pub(crate) warm_up: Duration,
    /// Time of the measurement.
    pub(crate) time: Duration,
}

/// Whom to ask for what.
pub(crate) struct Questions {
    pub(crate) address: SocketAddr,
    /// As the Host field says it.
    pub(crate) host: String,
    /// Path before `/price`, without a slash at its end.
    pub(crate) prefix: String,
    /// All equally likely.
    pub(crate) assets: Vec<Asset>,
    /// They take turns, by connection.
    pub(crate) keys: Vec<String>,
}

/// What a measurement gave.
pub(crate) struct Load {
    /// Over the whole run.
    pub(crate) tally: Tally,
    /// Verified answers within the measured time.
    pub(crate) measured: u64,
    /// How long it really was.
    pub(crate) wall: Duration,
    /// The serving side's time meanwhile, where it can be read.
    pub(crate) server: Option<Spent>,
    /// The generator's time meanwhile, and how much of it was spent waiting.
    pub(crate) loader: Spent,
    pub(crate) idle: Duration,
    /// Within the measured time, nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

/// After the end, an answer that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// How long it waits when nothing came.
const IDLE: Duration = Duration::from_micros(5);
/// Longest latency that is told apart, nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;
/// Connections that may break before there is no point in going on.
const MOST_BROKEN: u64 = 1_000;
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);

struct Loader<'a> {
    questions: &'a Questions,
    pipeline: usize,
    /// Per asset: a request up to its key.
    starts: Vec<Vec<u8>>,
    connections: Vec<Connection>,
    ready: Ready,
    reader: Reader,
    draw: Draw,
    tally: Tally,
    latency: Histogram<u64>,
    schedule: Option<Schedule>,
}

struct Connection {
    stream: TcpStream,
    /// The beginning of a response whose rest is still to come.
    aside: Vec<u8>,
    /// The key, and the end of the head.
    end: Vec<u8>,
    outstanding: VecDeque<Asked>,
    /// Bytes that the kernel has not taken yet.
    unsent: Vec<u8>,
    /// Per asset: the highest sequence seen.
    sequences: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Asked {
    asset: u32,
    at: Instant,
}

/// When requests are due, and who may send them.
struct Schedule {
    began: Instant,
    interval_ns: f64,
    /// Requests given out so far.
    count: u64,
    /// Connections, once for each request that they have room for.
    free: VecDeque<usize>,
}

impl Schedule {
    fn due(&self) -> Instant {
        self.began + Duration::from_nanos((self.count as f64 * self.interval_ns) as u64)
    }
}

/// Asks as planned from the calling thread. `server` is the serving side's time.
pub(crate) fn run(questions: &Questions, plan: &Plan, server: Option<&ServingTime>) -> anyhow::Result<Load> {
    let own = ThreadTime::own()?;
    let mut loader = Loader::new(questions, plan)?;
    loader.begin(plan.rate)?;
    loader.spin(plan.warm_up)?;

    let spent = || server.map(ServingTime::read).transpose();
    loader.latency.reset();
    let before = (spent()?, own.read()?, loader.tally.verified, clock::monotonic());
    let idle = loader.spin(plan.time)?;
    let after = (spent()?, own.read()?, loader.tally.verified, clock::monotonic());

    let latency = loader.latency.clone();
    loader.finish()?;
    Ok(Load {
        tally: loader.tally,
        measured: after.2 - before.2,
        wall: after.3 - before.3,
        server: before.0.zip(after.0).map(|(before, after)| after.since(before)),
        loader: after.1.since(before.1),
        idle,
        latency,
    })
}

impl<'a> Loader<'a> {
    fn new(questions: &'a Questions, plan: &Plan) -> anyhow::Result<Self> {
        let Questions {
            address,
            host,
            prefix,
            assets,
            keys,
        } = questions;
        let start = |asset: &Asset| {
            format!(
                "GET {prefix}/price?asset={} HTTP/1.1\r\nHost: {host}\r\nX-API-Key: ",
                asset.name
            )
            .into_bytes()
        };
        let ready = Ready::new()?;
        let connections = (0..plan.connections)
            .map(|number| {
                let stream = connect(*address)?;
                ready.add(&stream, number)?;
                Ok(Connection {
                    stream,
                    aside: Vec::new(),
                    end: format!("{}\r\n\r\n", keys[number % keys.len()]).into_bytes(),
                    outstanding: VecDeque::with_capacity(plan.pipeline),
                    unsent: Vec::new(),
                    sequences: vec![0; assets.len()],
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            questions,
            pipeline: plan.pipeline,
            starts: assets.iter().map(start).collect(),
            connections,
            ready,
            reader: Reader::new(),
            draw: Draw::new(),
            tally: Tally::default(),
            latency: Histogram::new_with_bounds(100, LONGEST_NS, 3)?,
            schedule: None,
        })
    }

    fn begin(&mut self, rate: Option<f64>) -> anyhow::Result<()> {
        match rate {
            Some(rate) => {
                let turns = (0..self.pipeline).flat_map(|_| 0..self.connections.len());
                self.schedule = Some(Schedule {
                    began: clock::monotonic(),
                    interval_ns: 1e9 / rate,
                    count: 0,
                    free: turns.collect(),
                });
            }
            None => {
                for number in 0..self.connections.len() {
                    self.refill(number)?;
                }
            }
        }
        Ok(())
    }

    /// Loads for a time; tells how much of it was spent waiting.
    fn spin(&mut self, time: Duration) -> anyhow::Result<Duration> {
        let end = clock::monotonic() + time;
        let mut idle = Duration::ZERO;
        loop {
            let now = clock::monotonic();
            if now >= end {
                return Ok(idle);
            }
            let sent = self.send_due(now)?;
            if !self.turn()? && !sent {
                let due = self.schedule.as_ref().map_or(end, Schedule::due);
                let until = if due > now {
                    due.min(now + IDLE)
                } else {
                    now + IDLE
                };
                while clock::monotonic() < until {
                    std::hint::spin_loop();
                }
                // Not how long it really was: something else may have had the CPU meanwhile.
                idle += until - now;
            }
        }
    }

    /// Takes what came on every connection; tells whether anything did.
    fn turn(&mut self) -> anyhow::Result<bool> {
        let mut numbers = [0; 128];
        let mut count = 0;
        for number in self.ready.look()? {
            numbers[count] = number;
            count += 1;
        }
        for number in &numbers[..count] {
            self.attend(*number)?;
        }
        Ok(count > 0)
    }

    fn attend(&mut self, number: usize) -> anyhow::Result<()> {
        let connection = &mut self.connections[number];
        if !connection.unsent.is_empty() && !connection.push()? {
            return self.reopen(number);
        }
        let connection = &mut self.connections[number];
        self.reader.resume(&mut connection.aside);
        loop {
            let room = self.reader.room();
            let offered = room.len();
            let count = match connection.stream.read(room) {
                Ok(0) => return self.reopen(number),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return self.reopen(number),
            };
            self.reader.filled(count);
            let now = clock::monotonic();
            loop {
                let response = match self.reader.next() {
                    Ok(Some(response)) => response,
                    Ok(None) => break,
                    Err(why) => {
                        self.tally.malformed(why);
                        return self.reopen(number);
                    }
                };
                let Some(asked) = connection.outstanding.pop_front() else {
                    self.tally.duplicates += 1;
                    return self.reopen(number);
                };
                let asset = &self.questions.assets[asked.asset as usize];
                let newest = &mut connection.sequences[asked.asset as usize];
                if self.tally.judge(&response, asset, newest) {
                    let latency = now.saturating_duration_since(asked.at).as_nanos() as u64;
                    self.latency.saturating_record(latency);
                }
                if response.closes {
                    return self.reopen(number);
                }
                if let Some(schedule) = &mut self.schedule {
                    schedule.free.push_back(number);
                }
            }
            // epoll(7): a short read of a stream leaves nothing there.
            if count < offered {
                break;
            }
        }
        self.reader.put_aside(&mut connection.aside);
        if self.schedule.is_none() {
            self.refill(number)?;
        }
        Ok(())
    }

    /// Closed loop: fills a connection's window once half of it is free, so that the batches of
    /// both ends stay large.
    fn refill(&mut self, number: usize) -> anyhow::Result<()> {
        let room = self.pipeline - self.connections[number].outstanding.len();
        if room * 2 < self.pipeline {
            return Ok(());
        }
        let now = clock::monotonic();
        for _ in 0..room {
            self.write(number, now);
        }
        if self.connections[number].push()? {
            Ok(())
        } else {
            self.reopen(number)
        }
    }

    /// Constant rate: sends what is due; tells whether anything was.
    fn send_due(&mut self, now: Instant) -> anyhow::Result<bool> {
        let mut sent = false;
        loop {
            let Some(schedule) = &mut self.schedule else {
                return Ok(sent);
            };
            let due = schedule.due();
            if due > now {
                return Ok(sent);
            }
            let Some(number) = schedule.free.pop_front() else {
                return Ok(sent);
            };
            schedule.count += 1;
            sent = true;
            self.write(number, due);
            if !self.connections[number].push()? {
                self.reopen(number)?;
            }
        }
    }

    /// Writes a request behind what a connection has to send.
    fn write(&mut self, number: usize, at: Instant) {
        let asset = self.draw.below(self.starts.len());
        let connection = &mut self.connections[number];
        connection.unsent.extend_from_slice(&self.starts[asset]);
        connection.unsent.extend_from_slice(&connection.end);
        connection.outstanding.push_back(Asked {
            asset: asset as u32,
            at,
        });
        self.tally.sent += 1;
    }

    /// A connection that broke: what it owed is lost, another takes its place.
    fn reopen(&mut self, number: usize) -> anyhow::Result<()> {
        self.tally.broken += 1;
        if self.tally.broken > MOST_BROKEN {
            anyhow::bail!(
                "{MOST_BROKEN} connections broke; see what {} says of it",
                self.questions.address
            );
        }
        let stream = connect(self.questions.address)?;
        self.ready.add(&stream, number)?;
        let connection = &mut self.connections[number];
        connection.stream = stream;
        connection.aside.clear();
        connection.unsent.clear();
        // The new connection may reach a worker whose copy is a moment behind.
        connection.sequences.fill(0);
        let lost = connection.outstanding.len();
        connection.outstanding.clear();
        self.tally.lost += lost as u64;
        match &mut self.schedule {
            Some(schedule) => {
                schedule.free.retain(|free| *free != number);
                schedule.free.extend(std::iter::repeat_n(number, self.pipeline));
                Ok(())
            }
            None => self.refill(number),
        }
    }

    /// Waits for what is outstanding; the rest is lost.
    fn finish(&mut self) -> anyhow::Result<()> {
        let until = clock::monotonic() + LOST_AFTER;
        // Nothing more is due.
        match &mut self.schedule {
            Some(schedule) => {
                let late = clock::monotonic().saturating_duration_since(schedule.due());
                self.tally.unsent = (late.as_nanos() as f64 / schedule.interval_ns) as u64;
            }
            None => {
                self.schedule = Some(Schedule {
                    began: until,
                    interval_ns: 0.0,
                    count: 0,
                    free: VecDeque::new(),
                });
            }
        }
        while self.connections.iter().any(|c| !c.outstanding.is_empty()) && clock::monotonic() < until {
            self.turn()?;
        }
        for connection in &self.connections {
            self.tally.lost += connection.outstanding.len() as u64;
        }
        Ok(())
    }
}

impl Connection {
    /// Sends what the kernel takes; whether the connection is whole.
    fn push(&mut self) -> anyhow::Result<bool> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) if count == self.unsent.len() => self.unsent.clear(),
                Ok(count) => _ = self.unsent.drain(..count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error.into()),
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}

fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream =
        TcpStream::connect_timeout(&address, CONNECT).with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
