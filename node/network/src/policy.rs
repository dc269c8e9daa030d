//! Where guests may send requests outside of the cluster.
//!
//! The default allows the world and the networks that the host is in, and denies what is meant for
//! the host alone: its loopback and every address of its own, link-local ranges, and the addresses
//! at which clouds hand out a machine's credentials. Those are how a request that a guest was
//! tricked into sending turns into a theft. Services may point to any address: whoever writes a
//! Service's endpoints has decided it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses outside of the link-local ranges where clouds answer their own machines: Alibaba's
/// metadata, Azure's wire server, Oracle's agent.
const CLOUD_V4: [Ipv4Addr; 3] = [
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(168, 63, 129, 16),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// The same for AWS over IPv6.
const CLOUD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Whether guests may connect to this address.
///
/// # Errors
/// The rule that forbids it.
pub fn outside(ip: IpAddr) -> Result<(), &'static str> {
    match unmapped(ip) {
        IpAddr::V4(ip) if ip.is_loopback() => Err(LOOPBACK),
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Err(LOOPBACK),
        IpAddr::V4(ip) if ip.is_link_local() => Err(LINK_LOCAL),
        IpAddr::V4(ip) if CLOUD_V4.contains(&ip) => Err(CLOUD),
        IpAddr::V4(ip) if ip.is_multicast() || ip.is_broadcast() => Err(GROUP),
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Err(LOOPBACK),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Err(LINK_LOCAL),
        IpAddr::V6(ip) if ip == CLOUD_V6 => Err(CLOUD),
        IpAddr::V6(ip) if ip.is_multicast() => Err(GROUP),
        _ => Ok(()),
    }
}

pub(crate) const LOOPBACK: &str = "it is the node's own loopback";
pub(crate) const OWN_ADDRESS: &str =
    "it is an address of the node itself; reach programs there through a Service";
const LINK_LOCAL: &str = "link-local addresses (cloud metadata among them) are off limits";
const CLOUD: &str = "it is a cloud's metadata address";
const GROUP: &str = "multicast and broadcast are off limits";

/// The IPv4 address that an IPv6 one stands for: mapped (`::ffff:a.b.c.d`), or behind the
/// well-known NAT64 prefix (`64:ff9b::a.b.c.d`).
fn unmapped(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
            }
            _ => IpAddr::V6(v6),
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_addresses_are_denied_and_the_world_is_not() {
        for (ip, expect) in [
            ("93.184.216.34", Ok(())),
            ("10.1.2.3", Ok(())),
            ("192.168.1.1", Ok(())),
            ("2606:2800:220:1::1", Ok(())),
            ("127.0.0.1", Err(LOOPBACK)),
            ("127.9.9.9", Err(LOOPBACK)),
            ("0.0.0.0", Err(LOOPBACK)),
            ("::1", Err(LOOPBACK)),
            ("::", Err(LOOPBACK)),
            ("::ffff:127.0.0.1", Err(LOOPBACK)),
            ("64:ff9b::7f00:1", Err(LOOPBACK)),
            ("169.254.169.254", Err(LINK_LOCAL)),
            ("::ffff:169.254.169.254", Err(LINK_LOCAL)),
            ("fe80::1", Err(LINK_LOCAL)),
            ("100.100.100.200", Err(CLOUD)),
            ("fd00:ec2::254", Err(CLOUD)),
            ("224.0.0.1", Err(GROUP)),
            ("255.255.255.255", Err(GROUP)),
            ("ff02::1", Err(GROUP)),
        ] {
            assert_eq!(outside(ip.parse().unwrap()), expect, "{ip}");
        }
    }
}
