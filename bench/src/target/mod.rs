//! What is measured: echoes, and this server's shards with everything on.

pub(crate) mod control;
mod echo;
mod server;

use std::fmt;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::Socket;
use trinity_beast::shard::driver::DriverKind;
use trinity_beast::shard::socket::Granted;

use self::echo::Echo;
use self::server::Server;
pub(crate) use self::server::{Account, Tables};
use crate::cpu_time::ThreadTime;

/// Which side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Every datagram goes back as it came, in batches.
    Echo,
    /// The same one by one, by whoever waits for it as the driver does.
    BlockingEcho(DriverKind),
    /// This server.
    Server(Setting),
}

/// How this server is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) driver: DriverKind,
    /// How long a shard looks for more before it parks.
    pub(crate) spin: Duration,
    /// Receive buffer to ask for instead of its own wish, bytes.
    pub(crate) receive_buffer: Option<usize>,
    pub(crate) shards: usize,
}

impl Setting {
    /// One shard as `serve` runs it.
    pub(crate) const fn of(driver: DriverKind) -> Self {
        Self {
            driver,
            spin: Duration::ZERO,
            receive_buffer: None,
            shards: 1,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Echo => f.write_str("echo"),
            Self::BlockingEcho(driver) => write!(f, "blocking-echo-{driver}"),
            Self::Server(setting) => {
                write!(f, "server-{}", setting.driver)?;
                if setting.shards != 1 {
                    write!(f, "-{}-shards", setting.shards)?;
                }
                if !setting.spin.is_zero() {
                    write!(f, "-spin")?;
                }
                if setting.receive_buffer.is_some() {
                    write!(f, "-capped")?;
                }
                Ok(())
            }
        }
    }
}

/// What the kernel granted a serving socket, bytes as it counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    pub(crate) receive_bytes: usize,
    pub(crate) send_bytes: usize,
    /// Whether trains come to it whole (UDP_GRO).
    pub(crate) joins: bool,
}

impl Buffers {
    /// Of an echo's socket.
    fn of(socket: &Socket) -> std::io::Result<Self> {
        Ok(Self {
            receive_bytes: socket.recv_buffer_size()?,
            send_bytes: socket.send_buffer_size()?,
            joins: false,
        })
    }

    /// Of the socket that was granted less.
    fn least(self, other: &Granted) -> Self {
        Self {
            receive_bytes: self.receive_bytes.min(other.receive_bytes),
            send_bytes: self.send_bytes.min(other.send_bytes),
            joins: self.joins && other.joins,
        }
    }
}

/// A side that serves.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Of each serving thread.
    pub(crate) times: Vec<ThreadTime>,
    /// Of the socket that was granted least.
    pub(crate) granted: Buffers,
    rest: Rest,
}

enum Rest {
    Echo(Echo),
    Server(Box<Server>),
}

impl Target {
    /// Starts a side; its threads take the CPUs in turn.
    pub(crate) fn start(side: Side, serving: &[usize], tables: &Tables) -> anyhow::Result<Self> {
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        match side {
            Side::Echo => echo::batched(any_port, serving[0]),
            Side::BlockingEcho(driver) => echo::blocking(any_port, serving[0], driver),
            Side::Server(setting) => server::start(any_port, serving, setting, tables),
        }
    }

    /// Stops it and settles its accounts; an echo has none.
    pub(crate) fn stop(self) -> anyhow::Result<Option<Account>> {
        match self.rest {
            Rest::Echo(echo) => {
                echo.stop()?;
                Ok(None)
            }
            Rest::Server(server) => server.stop().map(Some),
        }
    }
}

/// What a thread ended with.
pub(crate) fn join<T>(thread: JoinHandle<T>) -> anyhow::Result<T> {
    let name = thread.thread().name().unwrap_or("a").to_owned();
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the {name} thread panicked"))
}
