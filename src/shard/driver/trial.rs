//! Tries on loopback what a shard's socket would use of the kernel: steering, segments out, trains
//! in. A version or a successful setsockopt proves little, so datagrams are sent and looked at.

use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, MsgHdr, Protocol, Socket, Type};

use crate::shard::socket::{Steering, bind_group, join_trains};

/// Where a request has its lane (protocol/SPEC.md).
const LANE_OFFSET: usize = 6;
/// Datagrams of a train.
const TRAIN: usize = 3;
/// Bytes of each: a price request's.
const SEGMENT: usize = 80;
/// Longest wait for what was sent on loopback; it is there when `send` returns.
const WAIT: Duration = Duration::from_millis(200);

const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

/// Whether requests find their shard by their lane: two sockets share a port, and each must get
/// the datagrams of its lane.
pub fn steering() -> io::Result<()> {
    let (group, address, steering) = bind_group(ANY.into(), 2)?;
    if let Steering::Flow(why) = steering {
        return Err(io::Error::other(why));
    }
    let from = bound()?;
    for (lane, shard) in (0..).zip(&group) {
        shard.set_read_timeout(Some(WAIT))?;
        let mut datagram = [0; SEGMENT];
        datagram[LANE_OFFSET] = lane;
        from.send_to(&datagram, &address.into())?;
        let mut buffer = [0; SEGMENT];
        let came = io::Read::read(&mut &*shard, &mut buffer)?;
        if came != SEGMENT || buffer[LANE_OFFSET] != lane {
            return Err(io::Error::other("a datagram came to the wrong shard"));
        }
    }
    Ok(())
}

/// Whether the kernel cuts one message into datagrams (UDP_SEGMENT).
pub fn segmentation() -> io::Result<()> {
    let to = bound()?;
    send_train(&bound()?, &to)?;
    for _ in 0..TRAIN {
        expect(&to, SEGMENT)?;
    }
    Ok(())
}

/// Whether datagrams of one flow arrive as one message (UDP_GRO).
pub fn coalescing() -> io::Result<()> {
    let to = bound()?;
    join_trains(&to)?;
    send_train(&bound()?, &to)?;
    expect(&to, TRAIN * SEGMENT)
}

fn bound() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::from(ANY).into())?;
    socket.set_read_timeout(Some(WAIT))?;
    Ok(socket)
}

fn expect(socket: &Socket, len: usize) -> io::Result<()> {
    let mut buffer = [0; TRAIN * SEGMENT + 1];
    match io::Read::read(&mut &*socket, &mut buffer) {
        Ok(came) if came == len => Ok(()),
        Ok(came) => Err(io::Error::other(format!("{came} bytes came at once, not {len}"))),
        Err(error) => Err(error),
    }
}

/// One message of [`TRAIN`] segments.
fn send_train(from: &Socket, to: &Socket) -> io::Result<()> {
    // cmsg(3): length, level and type, then the segment's length, padded to a word.
    const CONTROL: usize = 24;
    let len = size_of::<libc::cmsghdr>() + size_of::<u16>();
    let mut control = [0; CONTROL];
    control[..8].copy_from_slice(&len.to_ne_bytes());
    control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
    control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
    control[16..18].copy_from_slice(&(SEGMENT as u16).to_ne_bytes());
    let bytes = [0; TRAIN * SEGMENT];
    let parts = [IoSlice::new(&bytes)];
    let address = to.local_addr()?;
    let message = MsgHdr::new()
        .with_addr(&address)
        .with_buffers(&parts)
        .with_control(&control);
    from.sendmsg(&message, 0).map(drop)
}

const _: () = assert!(
    size_of::<libc::cmsghdr>() == 16 && size_of::<usize>() == 8,
    "the control message is laid out for 64-bit Linux"
);

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 5.10 and later have all three, and this is not built for anything older.
    #[test]
    fn what_the_kernel_offers_is_seen_to_work() {
        for (name, trial) in [
            ("steering", steering()),
            ("segmentation", segmentation()),
            ("coalescing", coalescing()),
        ] {
            assert!(trial.is_ok(), "{name}: {trial:?}");
        }
    }

    #[test]
    fn a_train_is_not_taken_for_coalesced_where_nobody_asked_for_it() {
        let to = bound().expect("a socket");
        send_train(&bound().expect("a socket"), &to).expect("sent");
        assert!(expect(&to, TRAIN * SEGMENT).is_err());
    }
}
