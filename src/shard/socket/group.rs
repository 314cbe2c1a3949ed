//! The reuseport group: one socket per shard on one port, and how requests find their shard.
#![expect(unsafe_code, reason = "socket options that no safe crate wraps")]

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::ptr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::SOCKET_BUFFER_BYTES;

/// How requests find their shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steering {
    /// One shard: nothing to choose.
    Single,
    /// By the request's lane byte (a classic BPF program in the kernel).
    Lane,
    /// By the kernel's hash over addresses and ports, with the reason why not by lane. A
    /// datagram repeated from another address may then reach a shard that does not know it.
    Flow(String),
}

/// Binds one socket per shard, in shard order, into one SO_REUSEPORT group.
///
/// Port 0 picks a free port for the whole group.
pub fn bind_group(address: SocketAddr, shards: usize) -> io::Result<(Vec<Socket>, SocketAddr, Steering)> {
    if address.port() != 0 {
        // SO_REUSEPORT would let another server of this user join the port in silence, and each
        // would get part of the other's requests: a socket without it finds out.
        bind_one(address, false)?;
    }
    let mut address = address;
    let mut group = Vec::with_capacity(shards);
    for _ in 0..shards {
        let socket = bind_one(address, true)?;
        if let Some(bound) = socket.local_addr()?.as_socket() {
            address = bound;
        }
        group.push(socket);
    }
    let steering = match &group[..] {
        [_] => Steering::Single,
        [first, ..] => match steer_by_lane(first, shards) {
            Ok(()) => Steering::Lane,
            Err(error) => Steering::Flow(error.to_string()),
        },
        [] => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "at least one shard is needed",
            ));
        }
    };
    Ok((group, address, steering))
}

fn bind_one(address: SocketAddr, shares_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM.cloexec(),
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_port(shares_port)?;
    if address.is_ipv6() {
        // A wildcard IPv6 address then serves IPv4 as well, as people expect.
        socket.set_only_v6(false)?;
    }
    // The longest reply is below every path's MTU but the most exotic, so it is never to be
    // fragmented; a kernel that knows this need not draw an identification for each (RFC 6864).
    // It is a matter of speed: a socket without it serves as well.
    let _ = never_fragment(&socket);
    // A client that sends trains (UDP_SEGMENT) then costs the kernel one message for all of its
    // datagrams. A kernel that cannot (before 5.0) delivers them one by one.
    let _ = join_trains(&socket);
    // The kernel grants what its limits allow; see `Granted`.
    socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.set_send_buffer_size(SOCKET_BUFFER_BYTES)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Sets DF on every IPv4 datagram, whatever the path's MTU is said to be (ip(7),
/// IP_PMTUDISC_PROBE). An IPv6 socket has it for the IPv4 peers that it serves as well.
fn never_fragment(socket: &Socket) -> io::Result<()> {
    set_option(
        socket,
        libc::IPPROTO_IP,
        libc::IP_MTU_DISCOVER,
        libc::IP_PMTUDISC_PROBE,
    )
}

/// Asks the kernel to deliver datagrams that came in a train joined (udp(7), UDP_GRO).
pub fn join_trains(socket: &Socket) -> io::Result<()> {
    set_option(socket, libc::SOL_UDP, libc::UDP_GRO, 1)
}

/// Whether datagrams that came in a train are delivered joined (udp(7), UDP_GRO).
pub(super) fn joins(socket: &Socket) -> bool {
    let mut value: libc::c_int = 0;
    let mut len = size_of_val(&value) as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `optlen` bytes, those of one c_int, to the pointer,
    // which is live.
    let failed = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            libc::UDP_GRO,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    failed == 0 && value != 0
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: setsockopt(2) reads one c_int from the pointer, which is live.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Attaches `shard = lane byte mod shards` to the reuseport group.
///
/// The program sees the datagram from its payload on; a payload too short for the load
/// returns 0, which is a shard as well.
fn steer_by_lane(socket: &Socket, shards: usize) -> io::Result<()> {
    const LANE_OFFSET: u32 = 6;
    let instruction = |code: u32, k: u32| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    };
    let mut program = [
        instruction(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, LANE_OFFSET),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, shards as u32),
        instruction(libc::BPF_RET | BPF_A, 0),
    ];
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: socket(7), SO_ATTACH_REUSEPORT_CBPF: the argument is a `sock_fprog`, which the
    // kernel copies before the call returns; pointer and length describe the live array above.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            ptr::from_ref(&program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// `RET A` of classic BPF (linux/filter.h), which the libc crate does not name.
const BPF_A: u32 = 0x10;
