//! The ranges out of which addresses and ports are given.
//!
//! The lower part of each range is left to those who ask by number: whoever takes any value gets one from the upper
//! part while there is one.

use std::fmt;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

/// What the cluster's services may have.
#[derive(Clone, Debug)]
pub struct Ranges {
    pub addresses: Cidr,
    pub ports: RangeInclusive<u16>,
}

impl Default for Ranges {
    fn default() -> Ranges {
        Ranges { addresses: Cidr { base: Ipv4Addr::new(10, 96, 0, 0), length: 12 }, ports: 30_000..=32_767 }
    }
}

impl Ranges {
    /// The first port that whoever takes any may get.
    pub(super) fn first_free_port(&self) -> u16 {
        let size = self.ports.end() - self.ports.start() + 1;
        let band = if size <= 16 { 0 } else { (size / 32).clamp(16, 128) };
        self.ports.start() + band
    }
}

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    base: Ipv4Addr,
    length: u32,
}

impl Cidr {
    /// A range of at least four addresses, e.g. `10.96.0.0/12`.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (base, length) = text.split_once('/')?;
        let (base, length) =
            (base.parse::<Ipv4Addr>().ok()?, length.parse().ok().filter(|l| (1..=30).contains(l))?);
        let cidr = Cidr { base, length };
        (u32::from(base) % cidr.size() == 0).then_some(cidr)
    }

    fn size(self) -> u32 {
        1 << (32 - self.length)
    }

    /// The addresses that services may have: neither the network's own nor the broadcast address.
    pub(super) fn usable(self) -> RangeInclusive<u32> {
        let base = u32::from(self.base);
        base + 1..=base + self.size() - 2
    }

    /// The first address that whoever takes any may get.
    pub(super) fn first_free(self) -> u32 {
        let band = if self.size() <= 16 { 0 } else { (self.size() / 16).clamp(16, 256) };
        u32::from(self.base) + 1 + band
    }

    pub fn contains(self, ip: Ipv4Addr) -> bool {
        self.usable().contains(&u32::from(ip))
    }

    /// The first usable address, which is the API server's own.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(*self.usable().start())
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Option<(&str, &str, &str)>) {
        let got = Cidr::parse(text).map(|cidr| {
            let last = Ipv4Addr::from(*cidr.usable().end());
            [cidr.first(), last, Ipv4Addr::from(cidr.first_free())].map(|ip| ip.to_string())
        });
        assert_eq!(got, want.map(|(a, b, c)| [a.to_string(), b.to_string(), c.to_string()]), "{text}");
    }

    #[test]
    fn ranges_know_their_bands() {
        check("10.96.0.0/12", Some(("10.96.0.1", "10.111.255.254", "10.96.1.1")));
        check("10.0.0.0/24", Some(("10.0.0.1", "10.0.0.254", "10.0.0.17")));
        check("10.0.0.0/28", Some(("10.0.0.1", "10.0.0.14", "10.0.0.1")));
        check("10.0.0.1/24", None);
        check("10.0.0.0/31", None);
        check("10.0.0.0", None);
        assert_eq!(Ranges::default().first_free_port(), 30_086);
    }
}
