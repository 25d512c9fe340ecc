//! Which addresses are public, by one table of those that are not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The ranges of the [IANA IPv4 Special-Purpose Address Registry], and other ranges that no public server has.
///
/// A row that is inside another one is left out.
///
/// [IANA IPv4 Special-Purpose Address Registry]: https://www.iana.org/assignments/iana-ipv4-special-registry/
const SPECIAL_V4: [([u8; 4], u32, &str); 19] = [
    ([0, 0, 0, 0], 8, "this network"),
    ([10, 0, 0, 0], 8, "private use"),
    ([100, 64, 0, 0], 10, "shared address space"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link local, and the metadata services of most clouds"),
    ([172, 16, 0, 0], 12, "private use"),
    ([192, 0, 0, 0], 24, "IETF protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "AS112"),
    ([192, 52, 193, 0], 24, "AMT"),
    ([192, 88, 99, 0], 24, "6to4 relay anycast, deprecated"),
    ([192, 168, 0, 0], 16, "private use"),
    ([192, 175, 48, 0], 24, "AS112, direct delegation"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved, and the limited broadcast"),
    // Not in the registry: one cloud uses it for the agent of its machines.
    ([168, 63, 129, 16], 32, "the metadata service of Azure"),
];

/// The ranges of the [IANA IPv6 Special-Purpose Address Registry] inside the global unicast range `2000::/3`. An address
/// outside of it is not public, unless it is an IPv4 address in another form.
///
/// [IANA IPv6 Special-Purpose Address Registry]: https://www.iana.org/assignments/iana-ipv6-special-registry/
const SPECIAL_V6: [(Ipv6Addr, u32, &str); 5] = [
    (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 16, "never assigned"),
    (
        Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0),
        23,
        "IETF protocol assignments: Teredo, ORCHID, benchmarking and others",
    ),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32, "documentation"),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48, "AS112, direct delegation"),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20, "documentation"),
];

/// Whether every host can reach an address: it is outside of all special-purpose ranges.
///
/// Of an IPv6 address with an IPv4 address inside (mapped, compatible, NAT64's `64:ff9b::/96`, 6to4) the inner one decides.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match embedded(address) {
            Some(inner) => is_public_v4(inner),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let address = u32::from(address);
    !SPECIAL_V4.iter().any(|(start, length, _)| {
        // No row has a length of 0, so the shift is below 32 bits.
        (address ^ u32::from_be_bytes(*start)) >> (32 - length) == 0
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let bits = u128::from(address);
    let is_global = bits >> 125 == 0b001;
    is_global && !SPECIAL_V6.iter().any(|(start, length, _)| (bits ^ u128::from(*start)) >> (128 - length) == 0)
}

/// The IPv4 address to which packets to this address are forwarded.
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let segments = address.segments();
    let of = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => of(high, low),
        // `::` and `::1` are not IPv4 addresses, but these would be in `0.0.0.0/8`, which is not public either.
        [0, 0, 0, 0, 0, 0, high, low] => of(high, low),
        [0x2002, high, low, ..] => of(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(text: &str) -> bool {
        is_public(text.parse().unwrap())
    }

    #[test]
    fn f13_both_ends_of_every_range_are_refused_and_what_lies_beside_it_is_not() {
        for (start, length, what) in SPECIAL_V4 {
            let first = u32::from_be_bytes(start);
            let last = first | u32::MAX.checked_shr(length).unwrap_or(0);
            for address in [first, last] {
                let address = Ipv4Addr::from(address);
                assert!(!is_public(address.into()), "{address}: {what}");
                let segments = address.to_ipv6_mapped().segments();
                let [.., high, low] = segments;
                for inside in [
                    address.to_ipv6_mapped(),
                    Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                    Ipv6Addr::new(0x2002, high, low, 1, 2, 3, 4, 5),
                    Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                ] {
                    assert!(!is_public(inside.into()), "{address} inside {inside}: {what}");
                }
            }
        }
        for (start, length, what) in SPECIAL_V6 {
            let first = u128::from(start);
            for bits in [first, first | u128::MAX >> length] {
                assert!(!is_public(Ipv6Addr::from(bits).into()), "{}: {what}", Ipv6Addr::from(bits));
            }
        }
        for beside in [
            "1.0.0.0",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "191.255.255.255",
            "192.0.1.0",
            "192.0.3.0",
            "192.31.195.255",
            "192.52.194.0",
            "192.88.98.255",
            "192.88.100.0",
            "192.167.255.255",
            "192.169.0.0",
            "192.175.47.255",
            "198.17.255.255",
            "198.20.0.0",
            "198.51.99.255",
            "198.51.101.0",
            "203.0.112.255",
            "203.0.114.0",
            "223.255.255.255",
            "168.63.129.15",
            "168.63.129.17",
            "2001:200::",
            "2001:db7:ffff::",
            "2001:db9::",
            "2003::",
            "2620:4f:7fff::",
            "2620:4f:8001::",
            "2606:4700::1111",
            "3ffe:ffff::",
            "3fff:1000::",
            "2002:808:808::",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
        ] {
            assert!(public(beside), "{beside}");
        }
    }

    /// The rows of IANA's registries, with those that are inside others.
    #[test]
    fn f13_every_row_of_the_registries_is_refused() {
        for row in [
            "0.0.0.0",
            "10.0.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.8",
            "192.0.0.9",
            "192.0.0.10",
            "192.0.0.170",
            "192.0.0.171",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.2",
            "192.168.0.1",
            "192.175.48.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:0.0.0.0",
            "64:ff9b:1::1",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:1::1",
            "2001:1::2",
            "2001:1::3",
            "2001:2::1",
            "2001:3::1",
            "2001:4:112::1",
            "2001:10::1",
            "2001:20::1",
            "2001:30::1",
            "2001:db8::1",
            "2002:a00:1::",
            "2002:c0a8:101::1",
            "2620:4f:8000::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(row), "{row}");
        }
    }
}
