//! Which addresses are somebody's inside: this machine, a private network, a cloud's metadata.
//!
//! **Invariant:** pure. An address inside another one (IPv4 in IPv6, in its several forms) is judged
//! by what it leads to.
//!
//! Source: the IANA special-purpose address registries (RFC 6890, RFC 8190).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressKind {
    /// To the internet.
    Public,
    /// To this machine.
    Loopback,
    /// To a network of one organisation.
    Private,
    /// To the same wire, where clouds keep credentials (169.254.169.254 and others). Never allowed.
    LinkLocal,
    /// Nowhere a server can be. Never allowed.
    Reserved,
}

/// Judges an address.
pub(super) fn kind_of(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => kind_of_v4(v4),
            None => kind_of_v6(v6),
        },
    }
}

fn kind_of_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [127, ..] => AddressKind::Loopback,
        // Oracle's and Alibaba's metadata lie outside of 169.254/16.
        [169, 254, ..] | [192, 0, 0, 192] | [100, 100, 100, 200] => AddressKind::LinkLocal,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => {
            AddressKind::Private
        }
        [0, ..] | [192, 0, 0, _] | [192, 0, 2, _] | [192, 88, 99, _] => AddressKind::Reserved,
        [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => AddressKind::Reserved,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> AddressKind {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        [0xfe80..=0xfebf, ..] | [0xfd00, 0x0ec2, ..] => AddressKind::LinkLocal,
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => AddressKind::Private,
        // Global unicast without protocol assignments (Teredo, ORCHID), documentation.
        [0x2001, 0..=0x01ff, ..] | [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => {
            AddressKind::Reserved
        }
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

/// The IPv4 address that a mapped (::ffff:a.b.c.d), compatible (::a.b.c.d), translated (64:ff9b::/96)
/// or 6to4 (2002::/16) one leads to.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            Some(v4(high, low))
        }
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(address: &str, expected: AddressKind) {
        assert_eq!(kind_of(address.parse().unwrap()), expected, "{address}");
    }

    #[test]
    fn servers_on_the_internet_are_public() {
        for address in ["104.18.7.192", "8.8.8.8", "2606:4700::6812:7c0", "64:ff9b::808:808"] {
            check(address, AddressKind::Public);
        }
    }

    #[test]
    fn this_machine_is_loopback_in_every_spelling() {
        for address in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1", "::127.0.0.1"] {
            check(address, AddressKind::Loopback);
        }
        check("64:ff9b::7f00:1", AddressKind::Loopback);
        check("2002:7f00:1::", AddressKind::Loopback);
    }

    #[test]
    fn networks_of_one_organisation_are_private() {
        for address in ["10.0.0.1", "172.16.0.1", "172.31.255.1", "192.168.1.1", "100.64.0.1"] {
            check(address, AddressKind::Private);
        }
        for address in ["fd12:3456::1", "fc00::1", "fec0::1", "::ffff:10.0.0.1"] {
            check(address, AddressKind::Private);
        }
        check("172.32.0.1", AddressKind::Public);
    }

    #[test]
    fn metadata_of_clouds_and_the_local_wire_are_link_local() {
        for address in ["169.254.169.254", "169.254.0.1", "192.0.0.192", "100.100.100.200"] {
            check(address, AddressKind::LinkLocal);
        }
        for address in ["fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "2002:a9fe:a9fe::1"] {
            check(address, AddressKind::LinkLocal);
        }
    }

    #[test]
    fn what_no_server_has_is_reserved() {
        for address in ["0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255", "192.0.2.1"] {
            check(address, AddressKind::Reserved);
        }
        for address in ["198.18.0.1", "240.0.0.1", "::", "ff02::1", "2001:db8::1", "100::1"] {
            check(address, AddressKind::Reserved);
        }
        check("2001:0:4136:e378:8000:63bf:3fff:fdd2", AddressKind::Reserved);
    }
}
