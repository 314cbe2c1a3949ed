//! Bare echoes: what the kernel allows.
#![expect(
    unsafe_code,
    reason = "glommio takes a bound socket as a bare descriptor only"
)]

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::Context;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use trinity_beast::limits::SOCKET_BUFFER_BYTES;
use trinity_beast::shard::driver::glommio::GlommioDriver;
use trinity_beast::shard::driver::{DriverKind, cpus};
use trinity_protocol::MAX_DATAGRAM;

use super::{Buffers, Rest, Target, join};
use crate::burst::{Burst, wait_readable};
use crate::cpu_time::ThreadTime;

/// A running echo.
pub(super) struct Echo {
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    thread: JoinHandle<anyhow::Result<()>>,
}

/// Longest time the batched echo waits before it looks whether it should end.
const PARK_MS: i32 = 50;

impl Echo {
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        // One that blocks looks up when something comes.
        UdpSocket::bind(("127.0.0.1", 0))?.send_to(&[0], self.address)?;
        join(self.thread)?
    }
}

/// `recvmmsg`, `sendmmsg`, and `poll` when nothing came.
pub(super) fn batched(address: SocketAddr, cpu: usize) -> anyhow::Result<Target> {
    // A plain socket with the same buffers as the server's; what else the server asks of its own
    // is part of the server.
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket
        .bind(&address.into())
        .context("binding the echo's socket")?;
    let address = local(&socket)?;
    let granted = Buffers::of(&socket)?;
    start(address, granted, cpu, move |stop| batches(&socket, stop))
}

/// One datagram at a time: `recvfrom` and `sendto` that block the thread, or glommio's calls
/// of these names.
pub(super) fn blocking(address: SocketAddr, cpu: usize, driver: DriverKind) -> anyhow::Result<Target> {
    let socket = UdpSocket::bind(address).context("binding the echo's socket")?;
    let granted = Buffers::of(&SockRef::from(&socket))?;
    let address = socket.local_addr()?;
    match driver {
        DriverKind::Epoll => start(address, granted, cpu, move |stop| one_by_one(&socket, stop)),
        DriverKind::Glommio => start(address, granted, cpu, move |stop| {
            GlommioDriver::run(one_by_one_in_glommio(socket, stop))?
        }),
    }
}

fn start(
    address: SocketAddr,
    granted: Buffers,
    cpu: usize,
    serve: impl FnOnce(&AtomicBool) -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<Target> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let (tell, told) = mpsc::channel();
    let thread = thread::Builder::new().name("echo".into()).spawn(move || {
        cpus::pin(cpu)?;
        tell.send(ThreadTime::own()?)?;
        serve(&stopped)
    })?;
    let Ok(time) = told.recv() else {
        join(thread)??;
        anyhow::bail!("the echo ended before it began");
    };
    Ok(Target {
        address,
        times: vec![time],
        granted,
        rest: Rest::Echo(Echo {
            stop,
            address,
            thread,
        }),
    })
}

/// In the shape of the server's turn: take what is there, give it back, wait if there was
/// nothing.
fn batches(socket: &Socket, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut burst = Burst::with_peers();
    while !stop.load(Ordering::Relaxed) {
        let received = burst.receive(socket)?;
        if received == 0 {
            wait_readable(socket.as_raw_fd(), PARK_MS);
            continue;
        }
        burst.return_all(received);
        burst.send(socket, received)?;
    }
    Ok(())
}

fn one_by_one(socket: &UdpSocket, stop: &AtomicBool) -> anyhow::Result<()> {
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let (len, peer) = socket.recv_from(&mut datagram)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        socket.send_to(&datagram[..len], peer)?;
    }
}

async fn one_by_one_in_glommio(socket: UdpSocket, stop: &AtomicBool) -> anyhow::Result<()> {
    let error = |error: glommio::GlommioError<()>| io::Error::other(error.to_string());
    // SAFETY: `into_raw_fd` gives up the ownership of an open UDP socket, and `from_raw_fd` takes
    // it: there is one owner at any time.
    let socket = unsafe { glommio::net::UdpSocket::from_raw_fd(socket.into_raw_fd()) };
    let mut datagram = [0; MAX_DATAGRAM];
    loop {
        let (len, peer) = socket.recv_from(&mut datagram).await.map_err(error)?;
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        socket.send_to(&datagram[..len], peer).await.map_err(error)?;
    }
}

fn local(socket: &Socket) -> anyhow::Result<SocketAddr> {
    socket.local_addr()?.as_socket().context("it is an IPv4 socket")
}
