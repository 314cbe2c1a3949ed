//! The load generator for servers that answer over a stream in a way that is known beforehand:
//! valkey-server and memcached over TCP.
//!
//! What is asked and what must come back are two endless streams that repeat the same
//! [`Exchanges`]. Every byte that comes is compared with the one that is due, wherever the
//! kernel cuts the stream, which verifies everything at the cost of `memcmp`: the generator is
//! far cheaper than what it loads.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;
use trinity_beast::clock;

use super::Load;
use super::process::ServingTime;
use super::ready::Ready;
use crate::cpu_time::ThreadTime;

/// Requests and what must come back, to be repeated for ever.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    requests: Vec<u8>,
    request_ends: Vec<usize>,
    replies: Vec<u8>,
    reply_ends: Vec<usize>,
}

/// How to load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Connections.
    pub(crate) connections: usize,
    /// Requests outstanding on each.
    pub(crate) depth: usize,
    /// Time before the measurement.
    pub(crate) warm_up: Duration,
    /// Time of the measurement.
    pub(crate) time: Duration,
}

/// How long it waits when nothing came.
const IDLE: Duration = Duration::from_micros(5);
/// Nothing for so long is no answer.
const SILENCE: Duration = Duration::from_secs(5);
/// Room for what comes at once, bytes.
const ROOM: usize = 256 << 10;
/// Of two streams that differ, so much is told.
const TOLD: usize = 60;

struct Connection {
    stream: TcpStream,
    /// Bytes written and due to be written since the beginning of time.
    written: u64,
    due: u64,
    /// Bytes that came.
    came: u64,
    /// Exchanges begun and done.
    begun: u64,
    done: u64,
    /// End of the exchange after those done, in bytes that came.
    next_end: u64,
}

impl Exchanges {
    /// Adds one.
    pub(crate) fn push(&mut self, request: &[u8], reply: &[u8]) {
        self.requests.extend_from_slice(request);
        self.request_ends.push(self.requests.len());
        self.replies.extend_from_slice(reply);
        self.reply_ends.push(self.replies.len());
    }

    const fn len(&self) -> usize {
        self.reply_ends.len()
    }

    /// Bytes of the first `count` requests of the endless stream.
    fn requests_end(&self, count: u64) -> u64 {
        endless(&self.request_ends, count)
    }

    /// Bytes of the first `count` replies of the endless stream.
    fn replies_end(&self, count: u64) -> u64 {
        endless(&self.reply_ends, count)
    }

    /// Does them all once, one after the other on one connection: to fill a cache.
    pub(crate) fn do_once(&self, address: SocketAddr) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let (mut from, mut due) = (0, 0);
        for (request_end, reply_end) in self.request_ends.iter().zip(&self.reply_ends) {
            stream.write_all(&self.requests[from..*request_end])?;
            let mut reply = vec![0; reply_end - due];
            stream.read_exact(&mut reply).context("waiting for an answer")?;
            compare(&reply, &self.replies[due..*reply_end])?;
            (from, due) = (*request_end, *reply_end);
        }
        Ok(())
    }
}

/// Repeats the exchanges over several connections, as many requests outstanding as planned.
pub(crate) fn run(
    address: SocketAddr,
    exchanges: &Exchanges,
    window: &Window,
    server: &ServingTime,
) -> anyhow::Result<Load> {
    let own = ThreadTime::own()?;
    let ready = Ready::new()?;
    let mut connections = (0..window.connections)
        .map(|number| {
            let connection =
                Connection::open(address, exchanges, number * exchanges.len() / window.connections)?;
            ready.add(&connection.stream, number)?;
            Ok(connection)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut loader = Loader {
        exchanges,
        depth: window.depth as u64,
        connections: &mut connections,
        ready,
        buffer: vec![0; ROOM],
        done: 0,
    };
    loader.spin(window.warm_up)?;
    let before = (server.read()?, own.read()?, loader.done, clock::monotonic());
    let idle = loader.spin(window.time)?;
    let after = (server.read()?, own.read()?, loader.done, clock::monotonic());
    Ok(Load {
        verified: after.2 - before.2,
        lost: 0,
        wall: after.3 - before.3,
        server: after.0.since(before.0),
        loader: Some(after.1.since(before.1).on_cpu.saturating_sub(idle)),
    })
}

struct Loader<'a> {
    exchanges: &'a Exchanges,
    depth: u64,
    connections: &'a mut [Connection],
    ready: Ready,
    buffer: Vec<u8>,
    done: u64,
}

impl Loader<'_> {
    /// Loads for a time; tells how much of it was spent waiting.
    fn spin(&mut self, time: Duration) -> anyhow::Result<Duration> {
        let began = clock::monotonic();
        let (end, mut heard) = (began + time, began);
        let mut idle = Duration::ZERO;
        for connection in &mut *self.connections {
            connection.refill(self.exchanges, self.depth)?;
        }
        let mut numbers = Vec::new();
        loop {
            let now = clock::monotonic();
            if now >= end {
                return Ok(idle);
            }
            numbers.clear();
            numbers.extend(self.ready.look()?);
            for number in &numbers {
                let connection = &mut self.connections[*number];
                self.done += connection.take(self.exchanges, &mut self.buffer)?;
                connection.refill(self.exchanges, self.depth)?;
            }
            if numbers.is_empty() {
                if now - heard > SILENCE {
                    anyhow::bail!("nothing came for {} seconds", SILENCE.as_secs());
                }
                let until = now + IDLE;
                while clock::monotonic() < until {
                    std::hint::spin_loop();
                }
                idle += IDLE;
            } else {
                heard = now;
            }
        }
    }
}

impl Connection {
    /// Each connection begins at a place of its own in the endless streams.
    fn open(address: SocketAddr, exchanges: &Exchanges, begin: usize) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let begin = begin as u64;
        Ok(Self {
            stream,
            written: exchanges.requests_end(begin),
            due: exchanges.requests_end(begin),
            came: exchanges.replies_end(begin),
            begun: begin,
            done: begin,
            next_end: exchanges.replies_end(begin + 1),
        })
    }

    /// Reads and compares all that is there; tells how many exchanges that completes.
    fn take(&mut self, exchanges: &Exchanges, buffer: &mut [u8]) -> anyhow::Result<u64> {
        let before = self.done;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => anyhow::bail!("the server ended the connection"),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading"),
            };
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                let at = (self.came % exchanges.replies.len() as u64) as usize;
                let due = &exchanges.replies[at..];
                let len = due.len().min(rest.len());
                compare(&rest[..len], &due[..len])?;
                self.came += len as u64;
                rest = &rest[len..];
            }
            while self.next_end <= self.came {
                self.done += 1;
                self.next_end = exchanges.replies_end(self.done + 1);
            }
            if self.done > self.begun {
                anyhow::bail!("an answer came that nobody asked for");
            }
            // epoll(7): a short read of a stream leaves nothing there.
            if count < buffer.len() {
                break;
            }
        }
        Ok(self.done - before)
    }

    /// Fills the window once half of it is free, so that the batches of both ends stay large.
    fn refill(&mut self, exchanges: &Exchanges, depth: u64) -> anyhow::Result<()> {
        let room = depth - (self.begun - self.done);
        if room * 2 >= depth {
            self.begun += room;
            self.due = exchanges.requests_end(self.begun);
        }
        while self.written < self.due {
            let at = (self.written % exchanges.requests.len() as u64) as usize;
            let slice = &exchanges.requests[at..];
            let len = (slice.len() as u64).min(self.due - self.written) as usize;
            match self.stream.write(&slice[..len]) {
                Ok(count) => self.written += count as u64,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("writing"),
            }
        }
        Ok(())
    }
}

/// Where the first `count` pieces of an endless repetition end.
fn endless(ends: &[usize], count: u64) -> u64 {
    let len = ends.len() as u64;
    let (rounds, rest) = (count / len, (count % len) as usize);
    let whole = ends.last().copied().unwrap_or(0) as u64;
    let part = rest.checked_sub(1).map_or(0, |last| ends[last] as u64);
    rounds * whole + part
}

fn compare(came: &[u8], due: &[u8]) -> anyhow::Result<()> {
    if came == due {
        return Ok(());
    }
    let at = came.iter().zip(due).position(|(a, b)| a != b).unwrap_or(0);
    let tell = |bytes: &[u8]| String::from_utf8_lossy(&bytes[at..bytes.len().min(at + TOLD)]).into_owned();
    anyhow::bail!(
        "the answer is {:?} where it should be {:?}",
        tell(came),
        tell(due)
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;
    use crate::peers::process::ProcessTime;

    fn exchanges() -> Exchanges {
        let mut exchanges = Exchanges::default();
        for n in 0..7 {
            let line = format!("{}\n", "x".repeat(n));
            exchanges.push(line.as_bytes(), line.to_uppercase().as_bytes());
        }
        exchanges
    }

    /// Answers every connection byte by byte in capitals, or with something else.
    fn shouts(spoils: bool) -> (SocketAddr, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("bound");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("accepted");
            stream.set_nodelay(true).expect("an option");
            let mut buffer = [0; 100];
            let mut total = 0;
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                buffer[..count].make_ascii_uppercase();
                total += count;
                if spoils && total > 60 {
                    buffer[0] = b'?';
                }
                // In pieces, so that answers are cut anywhere.
                for piece in buffer[..count].chunks(3) {
                    if stream.write_all(piece).is_err() {
                        return;
                    }
                }
            }
        });
        (address, server)
    }

    fn load(address: SocketAddr, time: Duration) -> anyhow::Result<Load> {
        let window = Window {
            connections: 1,
            depth: 9,
            warm_up: Duration::from_millis(20),
            time,
        };
        let server = ServingTime::Processes(vec![ProcessTime::of(std::process::id())?]);
        run(address, &exchanges(), &window, &server)
    }

    #[test]
    fn every_byte_that_comes_is_the_one_that_is_due() {
        let (address, server) = shouts(false);
        assert!(
            load(address, Duration::from_millis(200))
                .expect("all right")
                .verified
                > 0
        );
        server.join().expect("no panic");
    }

    #[test]
    fn a_wrong_byte_ends_the_measurement() {
        let (address, server) = shouts(true);
        let ends_before = Duration::from_mins(1);
        let error = load(address, ends_before).map(|_| ()).expect_err("spoiled");
        assert!(error.to_string().contains("the answer is"), "{error:#}");
        server.join().expect("no panic");
    }

    #[test]
    fn the_endless_stream_repeats_itself() {
        let ends = [2, 5, 9];
        let told: Vec<_> = (0..8).map(|count| endless(&ends, count)).collect();
        assert_eq!(told, [0, 2, 5, 9, 11, 14, 18, 20]);
    }
}
