//! Where requests are written, and how they leave.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};

use super::plan::{Form, Plan};
use crate::burst::{BATCH, Burst};
use crate::train::{self, TrainInbox};

/// Client socket buffer asked for, bytes.
const BUFFER_BYTES: usize = 2 << 20;

/// Room for a batch of requests of one length.
pub(super) enum Outbox {
    /// Each by itself.
    Plain {
        burst: Burst,
        /// Addresses to send from in turn; 0 leaves it to the kernel.
        sources: u32,
        turn: u32,
    },
    /// Side by side, as a train.
    Gso { bytes: Vec<u8> },
}

/// Room for what comes back.
pub(super) enum Inbox {
    Plain { burst: Burst },
    Gso { trains: TrainInbox },
}

impl Outbox {
    pub(super) fn new(plan: &Plan, target: SocketAddr) -> Self {
        match plan.form {
            Form::Plain if plan.sources > 1 => Self::Plain {
                burst: Burst::with_sources(target),
                sources: plan.sources as u32,
                turn: 0,
            },
            Form::Plain => Self::Plain {
                burst: Burst::connected(),
                sources: 0,
                turn: 0,
            },
            Form::Gso => Self::Gso {
                bytes: vec![0; BATCH * plan.datagram_bytes()],
            },
        }
    }

    /// The place of a request of `len` bytes.
    #[inline]
    pub(super) fn slot(&mut self, index: usize, len: usize) -> &mut [u8] {
        match self {
            Self::Plain { burst, .. } => &mut burst.slot(index)[..len],
            Self::Gso { bytes } => &mut bytes[index * len..][..len],
        }
    }

    /// What was written there.
    #[inline]
    pub(super) fn written(&self, index: usize, len: usize) -> &[u8] {
        match self {
            Self::Plain { burst, .. } => burst.written(index, len),
            Self::Gso { bytes } => &bytes[index * len..][..len],
        }
    }

    /// Sends the first `count` requests of `len` bytes; tells how many the kernel took.
    pub(super) fn send(&mut self, socket: &Socket, count: usize, len: usize) -> anyhow::Result<usize> {
        match self {
            Self::Plain { burst, sources, turn } => {
                for index in 0..count {
                    burst.set_len(index, len);
                    if *sources > 0 {
                        burst.set_source(index, source(*turn));
                        *turn = (*turn + 1) % *sources;
                    }
                }
                Ok(burst.send(socket, count)?)
            }
            Self::Gso { bytes } => {
                let taken = train::send(socket, &bytes[..count * len], len)
                    .context("this machine does not send trains (UDP_SEGMENT): measure with --form plain")?;
                Ok(if taken { count } else { 0 })
            }
        }
    }
}

impl Inbox {
    pub(super) fn new(form: Form) -> Self {
        match form {
            Form::Plain => Self::Plain {
                burst: Burst::connected(),
            },
            Form::Gso => Self::Gso {
                trains: TrainInbox::new(),
            },
        }
    }

    /// Receives what is there without waiting; tells how many messages came, and whether there
    /// may be more.
    pub(super) fn receive(&mut self, socket: &Socket) -> std::io::Result<(usize, bool)> {
        Ok(match self {
            Self::Plain { burst } => {
                let count = burst.receive(socket)?;
                (count, count == BATCH)
            }
            Self::Gso { trains } => {
                let count = trains.receive(socket)?;
                (count, TrainInbox::is_full(count))
            }
        })
    }
}

/// A client's socket.
pub(super) fn socket(plan: &Plan, target: SocketAddr) -> anyhow::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(target),
        Type::DGRAM.cloexec(),
        Some(Protocol::UDP),
    )?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    if plan.sources > 1 {
        anyhow::ensure!(
            plan.form == Form::Plain && target.is_ipv4() && target.ip().is_loopback(),
            "several source addresses need plain datagrams to a server on 127.0.0.1"
        );
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
    } else {
        socket
            .connect(&target.into())
            .with_context(|| format!("connecting to {target}"))?;
    }
    if plan.form == Form::Gso {
        trinity_beast::shard::socket::join_trains(&socket).context("asking for whole trains (UDP_GRO)")?;
    }
    Ok(socket)
}

/// The n-th loopback address that is no network's first or last.
fn source(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + n)
}
