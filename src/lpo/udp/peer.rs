//! Who sent a datagram, looked at only where somebody asks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A sender's address as the kernel wrote it: a `sockaddr_in` or `sockaddr_in6` (ip(7), ipv6(7)),
/// zeros behind the shorter one's end.
pub type PeerBytes = [u8; 28];

/// A sender of whom nothing is known.
pub const NOBODY: &PeerBytes = &[0; 28];

/// The IP address in there, if there is one.
pub fn address_of(peer: &PeerBytes) -> Option<IpAddr> {
    match i32::from(u16::from_ne_bytes([peer[0], peer[1]])) {
        libc::AF_INET => {
            let [octets, ..] = peer[4..].as_chunks::<4>().0 else {
                return None;
            };
            Some(Ipv4Addr::from(*octets).into())
        }
        libc::AF_INET6 => {
            let [octets, ..] = peer[8..].as_chunks::<16>().0 else {
                return None;
            };
            Some(Ipv6Addr::from(*octets).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};

    use super::*;

    fn written(address: &str) -> PeerBytes {
        let address: SocketAddr = address.parse().expect("an address");
        let mut bytes = [0; 28];
        let of_kernel = socket2::SockAddr::from(address);
        match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
                bytes[2..4].copy_from_slice(&v4.port().to_be_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                assert_eq!(of_kernel.len(), 16);
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
                bytes[2..4].copy_from_slice(&v6.port().to_be_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                assert_eq!(of_kernel.len(), 28);
            }
        }
        bytes
    }

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        for (address, ip) in [("192.0.2.7:99", "192.0.2.7"), ("[2001:db8::7]:99", "2001:db8::7")] {
            assert_eq!(
                address_of(&written(address)),
                Some(ip.parse().expect("an address"))
            );
        }
        assert_eq!(address_of(NOBODY), None);
        // The families' numbers are those of this system's sockets.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let own = socket2::SockAddr::from(socket.local_addr().expect("bound"));
        assert_eq!(i32::from(own.family()), libc::AF_INET);
    }
}
