//! memcached: one thread, over TCP and UDP.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use trinity_beast::clock;

use super::Load;
use super::instance::Instance;
use super::process::ServingTime;
use super::stock::Stock;
use super::stream::{Exchanges, Window};
use crate::burst::{BATCH, Burst};
use crate::cpu_time::ThreadTime;

/// Starts one that holds the stock and listens on the same port of TCP and UDP.
pub(crate) fn start(program: &Path, stock: &Stock, cpu: usize) -> anyhow::Result<Instance> {
    let instance = Instance::start("memcached", cpu, |port, _| {
        let mut command = Command::new(program);
        let port = port.to_string();
        command.args(["-l", "127.0.0.1", "-p", &port, "-U", &port]);
        // What root must say, and what others say in vain.
        command.args(["-u", "root", "-t", "1", "-m", "64"]);
        Ok(command)
    })?;
    let mut fill = Exchanges::default();
    for (key, value) in stock.entries() {
        let request = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
        fill.push(request.as_bytes(), b"STORED\r\n");
    }
    fill.do_once(instance.address)?;
    Ok(instance)
}

/// `get` of several keys each.
pub(crate) fn get(stock: &Stock, keys: usize) -> Exchanges {
    let mut exchanges = Exchanges::default();
    // memcached gives a key that is asked for twice twice, as it does here.
    for group in stock.groups(keys) {
        let names: Vec<_> = group.iter().map(|(key, _)| key.as_str()).collect();
        let values: String = group.iter().map(|(key, value)| found(key, value)).collect();
        exchanges.push(
            format!("get {}\r\n", names.join(" ")).as_bytes(),
            format!("{values}END\r\n").as_bytes(),
        );
    }
    exchanges
}

fn found(key: &str, value: &str) -> String {
    format!("VALUE {key} 0 {}\r\n{value}\r\n", value.len())
}

/// A datagram's frame: request id, its number, their count, nothing (memcached's protocol.txt).
const FRAME: usize = 8;
/// A reply that takes longer counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(500);
/// How often the generator looks for lost ones.
const EXPIRE_EVERY: Duration = Duration::from_millis(50);
/// How long it waits when nothing came.
const IDLE: Duration = Duration::from_micros(5);

/// One socket's requests.
struct Flow {
    socket: Socket,
    /// By request id: what was asked and when, if it is outstanding.
    pending: Vec<Option<(u32, Instant)>>,
    next: u16,
    outstanding: usize,
}

/// Single keys over UDP, one in each datagram; asks as planned, `connections` being sockets.
pub(crate) fn run_udp(
    instance: &Instance,
    stock: &Stock,
    window: &Window,
    server: &ServingTime,
) -> anyhow::Result<Load> {
    let own = ThreadTime::own()?;
    let mut flows = (0..window.connections)
        .map(|_| {
            let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
            socket.bind(&SockAddr::from(std::net::SocketAddr::from((
                Ipv4Addr::LOCALHOST,
                0,
            ))))?;
            socket.connect(&instance.address.into())?;
            Ok(Flow {
                socket,
                pending: vec![None; 1 << 16],
                next: 0,
                outstanding: 0,
            })
        })
        .collect::<std::io::Result<Vec<_>>>()?;
    let requests: Vec<_> = stock
        .entries()
        .iter()
        .map(|(key, value)| {
            let reply = format!("{}END\r\n", found(key, value));
            (format!("get {key}\r\n"), reply)
        })
        .collect();
    let mut loader = Loader {
        requests: &requests,
        turn: 0,
        depth: window.depth,
        outgoing: Burst::connected(),
        incoming: Burst::connected(),
        done: 0,
        lost: 0,
    };
    loader.spin(&mut flows, window.warm_up)?;
    let before = (
        server.read()?,
        own.read()?,
        (loader.done, loader.lost),
        clock::monotonic(),
    );
    let idle = loader.spin(&mut flows, window.time)?;
    let after = (
        server.read()?,
        own.read()?,
        (loader.done, loader.lost),
        clock::monotonic(),
    );
    Ok(Load {
        verified: after.2.0 - before.2.0,
        lost: after.2.1 - before.2.1,
        wall: after.3 - before.3,
        server: after.0.since(before.0),
        loader: Some(after.1.since(before.1).on_cpu.saturating_sub(idle)),
    })
}

struct Loader<'a> {
    /// What is asked, and what must come back.
    requests: &'a [(String, String)],
    turn: usize,
    depth: usize,
    outgoing: Burst,
    incoming: Burst,
    done: u64,
    lost: u64,
}

impl Loader<'_> {
    fn spin(&mut self, flows: &mut [Flow], time: Duration) -> anyhow::Result<Duration> {
        let began = clock::monotonic();
        let (end, mut expire) = (began + time, began + EXPIRE_EVERY);
        let mut idle = Duration::ZERO;
        loop {
            let now = clock::monotonic();
            if now >= end {
                return Ok(idle);
            }
            let mut came = 0;
            for flow in &mut *flows {
                came += self.receive(flow)?;
                self.send(flow, now)?;
            }
            if now >= expire {
                expire = now + EXPIRE_EVERY;
                for flow in &mut *flows {
                    self.lost += flow.expire(now);
                }
            }
            if came == 0 {
                let until = now + IDLE;
                while clock::monotonic() < until {
                    std::hint::spin_loop();
                }
                idle += IDLE;
            }
        }
    }

    fn receive(&mut self, flow: &mut Flow) -> anyhow::Result<usize> {
        let count = self.incoming.receive(&flow.socket)?;
        for i in 0..count {
            let datagram = self.incoming.bytes(i);
            let (frame, reply) = datagram
                .split_at_checked(FRAME)
                .context("a datagram without a frame")?;
            if frame[2..] != [0, 0, 0, 1, 0, 0] {
                anyhow::bail!("a reply in more than one datagram");
            }
            let id = usize::from(u16::from_be_bytes([frame[0], frame[1]]));
            // One that was given up may still come.
            let Some((asked, _)) = flow.pending[id].take() else {
                continue;
            };
            flow.outstanding -= 1;
            let due = &self.requests[asked as usize].1;
            if reply != due.as_bytes() {
                let came = String::from_utf8_lossy(reply);
                anyhow::bail!("the answer is {came:?} where it should be {due:?}");
            }
            self.done += 1;
        }
        Ok(count)
    }

    /// Fills the window once half of it is free.
    fn send(&mut self, flow: &mut Flow, now: Instant) -> anyhow::Result<()> {
        let room = self.depth - flow.outstanding;
        if room * 2 < self.depth {
            return Ok(());
        }
        let mut left = room;
        while left > 0 {
            let batch = left.min(BATCH);
            for i in 0..batch {
                let id = flow.next.wrapping_add(i as u16);
                let (request, _) = &self.requests[(self.turn + i) % self.requests.len()];
                let slot = self.outgoing.slot(i);
                slot[..FRAME].copy_from_slice(&[0, 0, 0, 0, 0, 1, 0, 0]);
                slot[..2].copy_from_slice(&id.to_be_bytes());
                slot[FRAME..FRAME + request.len()].copy_from_slice(request.as_bytes());
                self.outgoing.set_len(i, FRAME + request.len());
            }
            let sent = self.outgoing.send(&flow.socket, batch)?;
            for i in 0..sent {
                let asked = (self.turn + i) % self.requests.len();
                let id = usize::from(flow.next.wrapping_add(i as u16));
                // An id so old was lost.
                if flow.pending[id].replace((asked as u32, now)).is_some() {
                    self.lost += 1;
                    flow.outstanding -= 1;
                }
                flow.outstanding += 1;
            }
            flow.next = flow.next.wrapping_add(sent as u16);
            self.turn = (self.turn + sent) % self.requests.len();
            if sent < batch {
                break;
            }
            left -= sent;
        }
        Ok(())
    }
}

impl Flow {
    /// Gives up what was sent too long ago; tells how many that are.
    fn expire(&mut self, now: Instant) -> u64 {
        let mut lost = 0;
        if self.outstanding > 0 {
            for pending in &mut self.pending {
                if pending.is_some_and(|(_, sent)| now.saturating_duration_since(sent) > LOST_AFTER) {
                    *pending = None;
                    lost += 1;
                }
            }
        }
        self.outstanding -= lost;
        lost as u64
    }
}
