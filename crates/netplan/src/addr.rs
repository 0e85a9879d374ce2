//! Address families, protocols and address ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    pub const fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }

    pub const fn address_len(self) -> usize {
        self.bits() as usize / 8
    }

    pub const fn unspecified(self) -> IpAddr {
        match self {
            Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }
}

/// The protocols that services may carry, by their IP protocol numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
    Sctp = 132,
}

impl Protocol {
    /// The API's spelling; the empty string is its default, TCP.
    pub fn from_api(name: &str) -> Option<Protocol> {
        match name {
            "TCP" | "" => Some(Protocol::Tcp),
            "UDP" => Some(Protocol::Udp),
            "SCTP" => Some(Protocol::Sctp),
            _ => None,
        }
    }

    pub fn lower_case(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
        }
    }
}

/// An address range in prefix notation. Host bits are always zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    base: IpAddr,
    prefix: u8,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not an address range such as 10.0.0.0/16")]
pub struct BadCidr(pub String);

impl Cidr {
    /// The range of `prefix` bits around `address`; `None` when the prefix is longer than the address.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Cidr> {
        let family = Family::of(address);
        if prefix > family.bits() {
            return None;
        }
        let base = from_bits(family, to_bits(address) & mask(family, prefix));
        Some(Cidr { base, prefix })
    }

    pub fn host(address: IpAddr) -> Cidr {
        Cidr { base: address, prefix: Family::of(address).bits() }
    }

    pub fn family(&self) -> Family {
        Family::of(self.base)
    }

    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    pub fn first(&self) -> IpAddr {
        self.base
    }

    pub fn last(&self) -> IpAddr {
        let family = self.family();
        from_bits(family, to_bits(self.base) | !mask(family, self.prefix) & all(family))
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.family()
            && to_bits(address) & mask(self.family(), self.prefix) == to_bits(self.base)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Cidr, BadCidr> {
        let parse = || {
            let (address, prefix) = text.split_once('/')?;
            Cidr::new(address.parse().ok()?, prefix.parse().ok()?)
        };
        parse().ok_or_else(|| BadCidr(text.to_owned()))
    }
}

/// Disjoint inclusive ranges that cover exactly what `cidrs` of the family cover, in order. Touching
/// ranges are joined: the kernel refuses elements that overlap.
pub fn disjoint(cidrs: impl IntoIterator<Item = Cidr>, family: Family) -> Vec<(IpAddr, IpAddr)> {
    let mut ranges: Vec<(u128, u128)> = cidrs
        .into_iter()
        .filter(|cidr| cidr.family() == family)
        .map(|cidr| (to_bits(cidr.first()), to_bits(cidr.last())))
        .collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(open) if first <= open.1.saturating_add(1) => open.1 = open.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    joined.into_iter().map(|(first, last)| (from_bits(family, first), from_bits(family, last))).collect()
}

/// The address as a number: the low 32 bits for IPv4, all 128 for IPv6.
pub fn to_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The inverse of [`to_bits`]; bits above the family's width are dropped.
pub fn from_bits(family: Family, bits: u128) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}

const fn all(family: Family) -> u128 {
    match family {
        Family::V4 => u32::MAX as u128,
        Family::V6 => u128::MAX,
    }
}

fn mask(family: Family, prefix: u8) -> u128 {
    let host_bits = u32::from(family.bits() - prefix);
    all(family) & u128::MAX.checked_shl(host_bits).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        let check = |text: &str, first: &str, last: &str| {
            let cidr: Cidr = text.parse().unwrap();
            assert_eq!((cidr.first().to_string(), cidr.last().to_string()), (first.into(), last.into()));
            assert!(cidr.contains(cidr.first()) && cidr.contains(cidr.last()), "{text}");
        };
        check("10.1.2.3/16", "10.1.0.0", "10.1.255.255");
        check("0.0.0.0/0", "0.0.0.0", "255.255.255.255");
        check("10.0.0.1/32", "10.0.0.1", "10.0.0.1");
        check("fd00::1/64", "fd00::", "fd00::ffff:ffff:ffff:ffff");
        check("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "a/8", "10.0.0.0/-1"] {
            assert_eq!(bad.parse::<Cidr>(), Err(BadCidr(bad.into())));
        }
    }

    #[test]
    fn overlapping_and_touching_ranges_join() {
        let check = |cidrs: &[&str], want: &[(&str, &str)]| {
            let cidrs = cidrs.iter().map(|c| c.parse().unwrap());
            let got: Vec<_> =
                disjoint(cidrs, Family::V4).iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
            let want: Vec<_> = want.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect();
            assert_eq!(got, want);
        };
        check(&["10.0.1.0/24", "10.0.0.0/24"], &[("10.0.0.0", "10.0.1.255")]);
        check(&["10.0.0.0/8", "10.5.0.0/16", "fd00::/8"], &[("10.0.0.0", "10.255.255.255")]);
        check(&["10.0.0.0/24", "10.0.2.0/24"], &[("10.0.0.0", "10.0.0.255"), ("10.0.2.0", "10.0.2.255")]);
        check(&["0.0.0.0/0", "1.0.0.0/8"], &[("0.0.0.0", "255.255.255.255")]);
    }
}
