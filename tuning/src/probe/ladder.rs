//! The near end: climbs rates and measures what comes back.

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use serde::Serialize;

use super::echo::{grow, passes};
use super::pace::Pace;
use super::rung::{Rung, Times};
use super::wire::{HEAD_BYTES, Head, Kind, MAX_BYTES, Token};
use crate::facts::Throttling;
use crate::{clock, read};

/// Longest time a probe may take, seconds.
pub const MAX_SECONDS: u64 = 3_600;
/// Highest rate, datagrams a second.
pub const MAX_RATE: u32 = 2_000_000;
/// Most datagrams of one rung.
const MAX_COUNT: u64 = 100_000_000;
/// The first datagram is due after this, when both threads are there.
const WARM_UP: Duration = Duration::from_millis(2);
/// Longest time that the kernel may take over one datagram.
const SEND_WAIT: Duration = Duration::from_millis(100);
/// The lowest rung.
const FIRST_RATE: u32 = 1_000;
/// A sender below this part of its rate is what limits the rung.
const KEPT_UP: f64 = 0.95;
/// How often the receiving thread looks at the clock while nothing comes.
const LOOK: Duration = Duration::from_millis(10);
/// Shortest and longest wait for what is still under way at the end of a rung.
const LAST_WAIT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often, and how long apart, a token is asked for.
const HELLOS: u32 = 10;
const HELLO_WAIT: Duration = Duration::from_millis(200);

/// How to climb.
#[derive(Clone, Copy, Debug)]
pub struct Climb {
    /// The echo.
    pub peer: SocketAddr,
    /// Time for all rungs together.
    pub time: Duration,
    /// The highest rung, datagrams a second.
    pub max_rate: u32,
    /// Length of a datagram, bytes.
    pub bytes: usize,
    /// Part lost above which there is no use in climbing further.
    pub max_loss: f64,
    /// Whether the sender may keep a CPU busy to be on time. On the only CPU, or on the last of a
    /// quota, it would take it from the receiver and measure itself.
    pub spins: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Ladder {
    /// The echo.
    pub peer: SocketAddr,
    /// Length of a datagram, bytes.
    pub bytes: usize,
    /// Whether the sender kept a CPU busy to be on time.
    pub spins: bool,
    /// In ascending order of their rates.
    pub rungs: Vec<Rung>,
    /// Why it ended.
    pub ended: Ended,
    /// The highest rate that lost no more than it may and that this end could send; null if none.
    pub best_rate: Option<u32>,
}

/// Why a climb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The highest rung was measured.
    Top,
    /// More was lost than may be.
    Loss,
    /// This end could not send as fast as the next rung asks.
    Sender,
}

/// Why nothing was measured. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Lengths that are no datagrams.
    #[error("a datagram of a probe has {HEAD_BYTES} to {MAX_BYTES} bytes, not {0}")]
    Bytes(usize),
    /// A rate that is none.
    #[error("a rate is between {FIRST_RATE} and {MAX_RATE} datagrams a second, not {0}")]
    Rate(u32),
    /// A time that is none.
    #[error("a probe takes between 1 and {MAX_SECONDS} seconds")]
    Time,
    /// Nobody answers.
    #[error(
        "{0} does not answer: start `trinity-beast tune --echo 0.0.0.0:PORT` there, and let UDP through to that \
         port (security groups in both directions)"
    )]
    Silent(SocketAddr),
    /// The socket fails.
    #[error("the socket fails: {0}")]
    Socket(#[from] io::Error),
}

/// The rates: 1, 2, 5, 10, ... thousand a second, and the highest.
pub fn rates(max_rate: u32) -> Vec<u32> {
    let decades = std::iter::successors(Some(FIRST_RATE), |rate| rate.checked_mul(10));
    let mut rates: Vec<_> = decades
        .flat_map(|rate| [1, 2, 5].map(|times: u32| rate.saturating_mul(times)))
        .take_while(|rate| *rate < max_rate)
        .collect();
    rates.push(max_rate);
    rates
}

/// Climbs. `on_rung` is told of each rung as it is measured; `root` is where `/proc` lies.
pub fn climb(climb: &Climb, root: &Path, mut on_rung: impl FnMut(&Rung)) -> Result<Ladder, ProbeError> {
    if !(HEAD_BYTES..=MAX_BYTES).contains(&climb.bytes) {
        return Err(ProbeError::Bytes(climb.bytes));
    }
    if !(FIRST_RATE..=MAX_RATE).contains(&climb.max_rate) {
        return Err(ProbeError::Rate(climb.max_rate));
    }
    if climb.time < Duration::from_secs(1) || climb.time > Duration::from_secs(MAX_SECONDS) {
        return Err(ProbeError::Time);
    }
    let any: SocketAddr = if climb.peer.is_ipv4() {
        ([0, 0, 0, 0], 0).into()
    } else {
        ([0_u16; 8], 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(climb.peer)?;
    socket.set_write_timeout(Some(SEND_WAIT))?;
    grow(&socket);
    let token = introduce(&socket, climb)?;
    let rates = rates(climb.max_rate);
    let share = climb.time / u32::try_from(rates.len()).unwrap_or(u32::MAX);
    let last_wait = (share / 5).clamp(LAST_WAIT.0, LAST_WAIT.1);
    let sends_for = share.saturating_sub(last_wait).max(LAST_WAIT.0);
    let mut ladder = Ladder {
        peer: climb.peer,
        bytes: climb.bytes,
        spins: climb.spins,
        rungs: Vec::with_capacity(rates.len()),
        ended: Ended::Top,
        best_rate: None,
    };
    for (number, rate) in (1..).zip(rates) {
        let part = Part {
            token,
            number,
            rate,
            count: ((f64::from(rate) * sends_for.as_secs_f64()) as u64).clamp(1, MAX_COUNT),
            bytes: climb.bytes,
            spins: climb.spins,
            longest: sends_for * 3 / 2 + WARM_UP,
            last_wait,
        };
        let before = throttling(root);
        let mut rung = part.measure(&socket)?;
        rung.throttled_periods = before.zip(throttling(root)).map(|(before, after)| {
            let during = after.since(&before);
            during.throttled_periods
        });
        on_rung(&rung);
        let kept_up = rung.sent_rate >= f64::from(rate) * KEPT_UP;
        let lost = rung.loss() > climb.max_loss;
        ladder.rungs.push(rung);
        if lost {
            ladder.ended = Ended::Loss;
            break;
        }
        if !kept_up {
            ladder.ended = Ended::Sender;
            break;
        }
        ladder.best_rate = Some(rate);
    }
    Ok(ladder)
}

fn throttling(root: &Path) -> Option<Throttling> {
    read::cgroup::throttling(root).known().copied()
}

/// Asks for a token until there is one.
fn introduce(socket: &UdpSocket, climb: &Climb) -> Result<Token, ProbeError> {
    socket.set_read_timeout(Some(HELLO_WAIT))?;
    let mut buffer = [0; MAX_BYTES];
    let nonce = getrandom::u64().map_err(io::Error::other)?;
    for _ in 0..HELLOS {
        let hello = Head {
            kind: Kind::Hello,
            token: Token::default(),
            rung: 0,
            sequence: nonce,
        };
        let mut datagram = [0; MAX_BYTES];
        hello.write(&mut datagram);
        let asked = clock::monotonic();
        if let Err(error) = socket.send(&datagram[..climb.bytes])
            && !passes(&error)
        {
            return Err(error.into());
        }
        match socket.recv(&mut buffer) {
            Ok(len) => match Head::read(&buffer[..len]) {
                Some(head) if head.kind == Kind::Welcome && head.sequence == nonce => return Ok(head.token),
                _ => {}
            },
            // A refusal comes at once; the echo may be about to start.
            Err(error) if passes(&error) => thread::sleep(HELLO_WAIT.saturating_sub(asked.elapsed())),
            Err(error) => return Err(error.into()),
        }
    }
    Err(ProbeError::Silent(climb.peer))
}

/// One rung about to be measured.
struct Part {
    token: Token,
    number: u32,
    rate: u32,
    count: u64,
    bytes: usize,
    spins: bool,
    /// When sending ends, however little was sent.
    longest: Duration,
    last_wait: Duration,
}

/// What the sender tells the receiver: how many were sent, once it is done.
struct Done(AtomicU64);

const SENDING: u64 = u64::MAX;

/// What left.
struct Departed {
    sent: u64,
    unsent: u64,
    rate: f64,
    lag: Times,
}

impl Part {
    fn measure(&self, socket: &UdpSocket) -> io::Result<Rung> {
        let pace = Pace::new(clock::monotonic() + WARM_UP, self.rate, self.spins);
        let done = Done(AtomicU64::new(SENDING));
        socket.set_read_timeout(Some(LOOK))?;
        let (sent, came) = thread::scope(|scope| {
            let receiver = scope.spawn(|| self.receive(socket, &pace, &done));
            let sent = self.send(socket, &pace);
            done.0.store(sent.sent, Ordering::Release);
            (sent, receiver.join())
        });
        let came = came.map_err(|_| io::Error::other("the receiving thread panicked"))??;
        Ok(Rung {
            rate: self.rate,
            sent_rate: sent.rate,
            sent: sent.sent,
            received: came.received,
            lost: sent.sent.saturating_sub(came.received),
            reordered: came.reordered,
            duplicated: came.duplicated,
            unsent: sent.unsent,
            round_trip_us: came.times.percentiles(),
            lag_us: sent.lag.percentiles(),
            throttled_periods: None,
        })
    }

    fn send(&self, socket: &UdpSocket, pace: &Pace) -> Departed {
        let mut datagram = [0; MAX_BYTES];
        let (mut sent, mut unsent, mut lag) = (0, 0, Times::new());
        let began = clock::monotonic();
        for sequence in 0..self.count {
            // A sender that cannot keep up does not make the probe longer without end.
            if began.elapsed() > self.longest {
                break;
            }
            lag.record(pace.wait(sequence));
            let head = Head {
                kind: Kind::Probe,
                token: self.token,
                rung: self.number,
                sequence,
            };
            head.write(&mut datagram);
            match socket.send(&datagram[..self.bytes]) {
                Ok(_) => sent += 1,
                // ENOBUFS and the like are this end's; the rung goes on.
                Err(_) => unsent += 1,
            }
        }
        let took = began.elapsed().as_secs_f64();
        Departed {
            sent,
            unsent,
            rate: sent as f64 / took.max(f64::MIN_POSITIVE),
            lag,
        }
    }

    fn receive(&self, socket: &UdpSocket, pace: &Pace, done: &Done) -> io::Result<Came> {
        let mut came = Came::new(self.count);
        let mut buffer = [0; MAX_BYTES + 1];
        let mut end: Option<Instant> = None;
        loop {
            match socket.recv(&mut buffer) {
                Ok(len) => {
                    let now = clock::monotonic();
                    let ours = Head::read(&buffer[..len]).filter(|head| {
                        head.kind == Kind::Echo
                            && head.token == self.token
                            && head.rung == self.number
                            && len == self.bytes
                    });
                    if let Some(head) = ours {
                        came.note(
                            head.sequence,
                            now.saturating_duration_since(pace.due(head.sequence)),
                        );
                    }
                }
                Err(error) if passes(&error) => {}
                Err(error) => return Err(error),
            }
            let sent = done.0.load(Ordering::Acquire);
            if sent == SENDING {
                continue;
            }
            let now = clock::monotonic();
            let end = *end.get_or_insert(now + self.last_wait);
            if came.received >= sent || now >= end {
                return Ok(came);
            }
        }
    }
}

/// What came back in one rung.
#[derive(Debug)]
pub(super) struct Came {
    /// A bit for each sequence.
    seen: Vec<u64>,
    highest: Option<u64>,
    pub(super) received: u64,
    pub(super) reordered: u64,
    pub(super) duplicated: u64,
    pub(super) times: Times,
}

impl Came {
    pub(super) fn new(count: u64) -> Self {
        Self {
            seen: vec![0; usize::try_from(count.div_ceil(64)).unwrap_or(0)],
            highest: None,
            received: 0,
            reordered: 0,
            duplicated: 0,
            times: Times::new(),
        }
    }

    /// Notes one; what was never sent is not counted.
    pub(super) fn note(&mut self, sequence: u64, round_trip: Duration) {
        let Some(word) = usize::try_from(sequence / 64)
            .ok()
            .and_then(|index| self.seen.get_mut(index))
        else {
            return;
        };
        let bit = 1 << (sequence % 64);
        if *word & bit != 0 {
            self.duplicated += 1;
            return;
        }
        *word |= bit;
        self.received += 1;
        self.times.record(round_trip);
        if self.highest.is_some_and(|highest| sequence < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(sequence));
    }
}
