//! What sockets are granted, found out by trying on loopback.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use crate::facts::{Port, Reading};

/// A price request for one symbol, bytes.
const DATAGRAM: usize = 80;
/// Most datagrams that are sent to fill a buffer: what 16 MiB can hold of the smallest.
const MOST: u64 = 1 << 15;

/// The buffers that a UDP socket gets which asks for this much.
pub(super) fn granted(asked: usize) -> (Reading<u64>, Reading<u64>) {
    match socket(asked) {
        Ok(socket) => (
            socket.recv_buffer_size().map(|bytes| bytes as u64).into(),
            socket.send_buffer_size().map(|bytes| bytes as u64).into(),
        ),
        Err(error) => {
            let why = format!("cannot make a UDP socket: {error}");
            (Reading::Unknown(why.clone()), Reading::Unknown(why))
        }
    }
}

fn socket(asked: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(asked)?;
    socket.set_send_buffer_size(asked)?;
    Ok(socket)
}

/// How many datagrams of a request's size such a socket holds: it is sent datagrams until one is
/// missing. No more than [`MOST`] are tried.
pub(super) fn held(asked: usize) -> Result<u64, String> {
    let fill = || -> io::Result<u64> {
        let (from, to) = (socket(asked)?, socket(asked)?);
        to.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        from.connect(&to.local_addr()?)?;
        for _ in 0..MOST {
            from.send(&[0; DATAGRAM])?;
        }
        // On loopback a datagram is in the receiver's buffer, or dropped, when `send` is back.
        to.set_nonblocking(true)?;
        let to = std::net::UdpSocket::from(to);
        let mut count = 0;
        loop {
            match to.recv(&mut [0; DATAGRAM]) {
                Ok(_) => count += 1,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(count),
                Err(error) => return Err(error),
            }
        }
    };
    fill().map_err(|error| format!("cannot fill a receive buffer on loopback: {error}"))
}

/// Whether a port is free, by binding it for a moment. No datagram is taken by it that another
/// server would have had: binding fails where there is one.
pub(super) fn port(protocol: &'static str, number: u16) -> Port {
    let bind = || -> io::Result<()> {
        let (kind, protocol) = match protocol {
            "tcp" => (Type::STREAM, Protocol::TCP),
            _ => (Type::DGRAM, Protocol::UDP),
        };
        let socket = Socket::new(Domain::IPV4, kind.cloexec(), Some(protocol))?;
        if kind == Type::STREAM {
            // Connections that have just ended are no hindrance to a server.
            socket.set_reuse_address(true)?;
        }
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, number)).into())
    };
    Port {
        protocol,
        number,
        taken: bind().err().map(|error| error.to_string()),
    }
}
