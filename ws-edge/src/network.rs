//! Who counts as one address. Of IPv6 a customer gets a whole network and can call from any address in it.

use std::net::IpAddr;

/// One customer: an IPv4 address, or the /64 of an IPv6 one.
pub(crate) type Network = IpAddr;

/// What many customers' networks may belong to, but one person's may as well: the /48 of an IPv6 address. Limits for it
/// are [`SITE_SHARE`] times those of a [`Network`]. An IPv4 address is a site of its own.
pub(crate) type Site = IpAddr;

/// How much more a site may have than a network.
pub(crate) const SITE_SHARE: u32 = 4;

/// The network of an address.
pub(crate) fn network(address: IpAddr) -> Network {
    first_bits(address, 64)
}

/// The site of an address.
pub(crate) fn site(address: IpAddr) -> Site {
    first_bits(address, 48)
}

fn first_bits(address: IpAddr, bits: u32) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & (u128::MAX << (128 - bits))).into()),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_ipv6_the_network_counts_and_ipv4_is_ipv4_however_written() {
        let same = |one: &str, other: &str| {
            network(one.parse().unwrap()) == network(other.parse().unwrap())
        };
        assert!(same("2001:db8::1", "2001:db8::ffff:0:0:1"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(!same("127.0.0.1", "127.0.0.2"));
    }

    #[test]
    fn networks_side_by_side_are_one_site() {
        let same =
            |one: &str, other: &str| site(one.parse().unwrap()) == site(other.parse().unwrap());
        assert!(same("2001:db8:0:1::1", "2001:db8:0:ffff::1"));
        assert!(!same("2001:db8:0:1::1", "2001:db8:1:1::1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
    }
}
