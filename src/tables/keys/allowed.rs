//! Over which protocols and from which networks a key may be used.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net};

use crate::tables::meter::Protocol;

/// Over which protocols and from where a key may be used. Nearly every key may be used over any
/// and from anywhere, which costs one branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(Option<Arc<Restriction>>);

#[derive(Debug, PartialEq, Eq)]
struct Restriction {
    udp: bool,
    http: bool,
    /// Any if empty.
    networks: Box<[IpNet]>,
}

impl Allowed {
    /// Over these protocols, and from these networks only; from anywhere if there is none.
    pub fn new(udp: bool, http: bool, networks: &[IpNet]) -> Self {
        if udp && http && networks.is_empty() {
            return Self::default();
        }
        Self(Some(Arc::new(Restriction {
            udp,
            http,
            networks: networks.iter().copied().map(canonical).collect(),
        })))
    }

    /// Whether there is any restriction.
    #[inline]
    pub const fn is_restricted(&self) -> bool {
        self.0.is_some()
    }

    /// Whether it may be used over this protocol from the address that `peer` tells. An address
    /// that is not known is in no network.
    #[inline]
    pub fn permits(&self, protocol: Protocol, peer: impl FnOnce() -> Option<IpAddr>) -> bool {
        match &self.0 {
            None => true,
            Some(restriction) => restriction.permits(protocol, peer()),
        }
    }

    /// Over UDP, over HTTP, and from which networks.
    pub fn parts(&self) -> (bool, bool, &[IpNet]) {
        match &self.0 {
            None => (true, true, &[]),
            Some(restriction) => (restriction.udp, restriction.http, &restriction.networks),
        }
    }
}

impl Restriction {
    #[cold]
    fn permits(&self, protocol: Protocol, peer: Option<IpAddr>) -> bool {
        let over = match protocol {
            Protocol::Udp => self.udp,
            Protocol::Http => self.http,
        };
        // A dual-stack socket sees IPv4 peers as IPv6 ones (RFC 4291, section 2.5.5.2).
        let within = |peer: IpAddr| {
            let peer = peer.to_canonical();
            self.networks.iter().any(|network| network.contains(&peer))
        };
        over && (self.networks.is_empty() || peer.is_some_and(within))
    }
}

/// A network of IPv4 addresses that are written as IPv6 ones is what it means.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(mapped) = network
        && let Some(address) = mapped.network().to_ipv4_mapped()
        && let Some(length) = mapped.prefix_len().checked_sub(96)
        && let Ok(network) = Ipv4Net::new(address, length)
    {
        return IpNet::V4(network);
    }
    network
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(networks: &[&str]) -> Allowed {
        let networks: Vec<_> = networks
            .iter()
            .map(|text| text.parse().expect("a network"))
            .collect();
        Allowed::new(true, true, &networks)
    }

    fn permits(allowed: &Allowed, peer: &str) -> bool {
        allowed.permits(Protocol::Udp, || Some(peer.parse().expect("an address")))
    }

    #[test]
    fn a_key_without_restriction_is_good_from_anywhere_and_nobody_looks_where_that_is() {
        let any = allowed(&[]);
        assert!(!any.is_restricted());
        assert!(any.permits(Protocol::Http, || panic!("not asked")));
    }

    #[test]
    fn a_network_lets_its_own_in_and_nobody_else() {
        let some = allowed(&["10.1.0.0/16", "2001:db8::/32"]);
        assert!(permits(&some, "10.1.255.3") && permits(&some, "2001:db8::7"));
        assert!(!permits(&some, "10.2.0.1") && !permits(&some, "2001:db9::7"));
        assert!(
            !some.permits(Protocol::Udp, || None),
            "an unknown address is in no network"
        );
    }

    #[test]
    fn ipv4_is_ipv4_however_it_is_written() {
        assert!(permits(&allowed(&["10.1.0.0/16"]), "::ffff:10.1.2.3"));
        assert!(!permits(&allowed(&["10.1.0.0/16"]), "::ffff:10.2.2.3"));
        assert!(permits(&allowed(&["::ffff:10.1.0.0/112"]), "10.1.2.3"));
        assert!(
            !permits(&allowed(&["::/0"]), "10.1.2.3"),
            "all of IPv6 is not IPv4"
        );
    }

    #[test]
    fn a_protocol_that_is_not_allowed_is_refused_from_everywhere() {
        let udp = Allowed::new(true, false, &[]);
        assert!(udp.is_restricted());
        assert!(udp.permits(Protocol::Udp, || None));
        assert!(!udp.permits(Protocol::Http, || None));
    }
}
