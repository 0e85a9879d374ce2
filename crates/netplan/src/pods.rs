//! Address arithmetic: node ranges out of the cluster's, pod addresses out of a node's.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::addr::{Cidr, Family, from_bits, to_bits};

/// The ranges of one cluster range that nodes are given, all of the same size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRanges {
    cluster: Cidr,
    node_prefix: u8,
}

/// More nodes than this are not counted: a /48 of /64s is enough for any cluster.
const MOST_NODES: u32 = 1 << 16;

impl NodeRanges {
    /// `None` when a node's range would be larger than the cluster's, or longer than an address.
    pub fn new(cluster: Cidr, node_prefix: u8) -> Option<NodeRanges> {
        let fits = cluster.prefix() <= node_prefix && node_prefix <= cluster.family().bits();
        fits.then_some(NodeRanges { cluster, node_prefix })
    }

    pub fn count(&self) -> u32 {
        1u32.checked_shl(u32::from(self.node_prefix - self.cluster.prefix()))
            .map_or(MOST_NODES, |n| n.min(MOST_NODES))
    }

    pub fn get(&self, index: u32) -> Option<Cidr> {
        let family = self.cluster.family();
        let size = u32::from(family.bits() - self.node_prefix);
        let offset = u128::from(index).checked_shl(size).unwrap_or(0);
        let base = from_bits(family, to_bits(self.cluster.first()) + offset);
        if index < self.count() { Cidr::new(base, self.node_prefix) } else { None }
    }

    /// Which node's range this is; `None` when it is none of ours.
    pub fn index_of(&self, range: Cidr) -> Option<u32> {
        if range.prefix() != self.node_prefix || !self.cluster.contains(range.first()) {
            return None;
        }
        let size = u32::from(self.cluster.family().bits() - self.node_prefix);
        let distance = to_bits(range.first()) - to_bits(self.cluster.first());
        let index = u32::try_from(distance.checked_shr(size).unwrap_or(0)).ok()?;
        (index < self.count()).then_some(index)
    }

    /// The first free range at or after `start`, around the end.
    pub fn allocate(&self, taken: &BTreeSet<u32>, start: u32) -> Option<(u32, Cidr)> {
        let count = self.count();
        let free = (0..count).map(|n| (start % count + n) % count).find(|index| !taken.contains(index))?;
        Some((free, self.get(free)?))
    }
}

/// Hands out the addresses of one node's range. The network address and, in IPv4, the broadcast
/// address are never given, nor is the first host: it is the node's end of the tunnel.
///
/// An address that was returned is given again only when all others have been, so that whoever
/// still remembers it does not reach a stranger.
#[derive(Clone, Debug)]
pub struct PodAddresses {
    range: Cidr,
    taken: BTreeSet<u128>,
    next: u128,
}

/// The host number of the first pod.
const FIRST_POD: u128 = 2;

impl PodAddresses {
    pub fn new(range: Cidr) -> PodAddresses {
        PodAddresses { range, taken: BTreeSet::new(), next: FIRST_POD }
    }

    /// How many pods can have an address.
    pub fn capacity(&self) -> u128 {
        (self.last_host() + 1).saturating_sub(FIRST_POD)
    }

    /// `None` when every address is taken.
    pub fn allocate(&mut self) -> Option<IpAddr> {
        let (last, capacity) = (self.last_host(), self.capacity());
        if self.taken.len() as u128 >= capacity {
            return None;
        }
        let mut host = self.next.clamp(FIRST_POD, last);
        while self.taken.contains(&host) {
            host = if host == last { FIRST_POD } else { host + 1 };
        }
        self.taken.insert(host);
        self.next = if host == last { FIRST_POD } else { host + 1 };
        Some(from_bits(self.range.family(), to_bits(self.range.first()) + host))
    }

    /// Marks an address that a pod has had since before a restart. False when it is not ours to give
    /// or is taken already.
    pub fn reserve(&mut self, address: IpAddr) -> bool {
        let Some(host) = self.host_of(address) else { return false };
        self.next = self.next.max(host + 1);
        self.taken.insert(host)
    }

    pub fn release(&mut self, address: IpAddr) -> bool {
        self.host_of(address).is_some_and(|host| self.taken.remove(&host))
    }

    fn host_of(&self, address: IpAddr) -> Option<u128> {
        let host = self.range.contains(address).then(|| to_bits(address) - to_bits(self.range.first()))?;
        (FIRST_POD..=self.last_host()).contains(&host).then_some(host)
    }

    fn last_host(&self) -> u128 {
        let size = to_bits(self.range.last()) - to_bits(self.range.first());
        match self.range.family() {
            Family::V4 => size.saturating_sub(1),
            Family::V6 => size,
        }
    }
}

/// The node's own address in its pod range, which its tunnel device carries.
pub fn tunnel_address(range: Cidr) -> IpAddr {
    range.first()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn node_ranges() {
        let check = |cluster: &str, prefix: u8, index: u32, want: Option<&str>| {
            let ranges = NodeRanges::new(cidr(cluster), prefix).unwrap();
            assert_eq!(ranges.get(index), want.map(cidr), "{cluster} {prefix} {index}");
            if let Some(range) = ranges.get(index) {
                assert_eq!(ranges.index_of(range), Some(index));
            }
        };
        check("10.42.0.0/16", 24, 0, Some("10.42.0.0/24"));
        check("10.42.0.0/16", 24, 255, Some("10.42.255.0/24"));
        check("10.42.0.0/16", 24, 256, None);
        check("10.42.0.0/24", 24, 0, Some("10.42.0.0/24"));
        check("fd00:42::/56", 64, 255, Some("fd00:42:0:ff::/64"));
        check("fd00:42::/32", 64, 65_535, Some("fd00:42:0:ffff::/64"));
        check("fd00:42::/32", 64, 65_536, None);
        assert_eq!(NodeRanges::new(cidr("10.42.0.0/24"), 16), None);
        assert_eq!(NodeRanges::new(cidr("10.42.0.0/24"), 33), None);
        let ranges = NodeRanges::new(cidr("10.42.0.0/22"), 24).unwrap();
        assert_eq!(ranges.allocate(&BTreeSet::from([2, 3]), 2), Some((0, cidr("10.42.0.0/24"))));
        assert_eq!(ranges.allocate(&BTreeSet::from([0, 1, 2, 3]), 0), None);
    }

    #[test]
    fn pods_never_share_an_address() {
        bolero::check!().with_type::<Vec<(bool, u8)>>().for_each(|steps| {
            let mut pods = PodAddresses::new(cidr("10.42.3.0/28"));
            let mut held: Vec<IpAddr> = Vec::new();
            for (give, pick) in steps {
                if *give {
                    match pods.allocate() {
                        Some(address) => {
                            assert!(!held.contains(&address), "{address} twice");
                            held.push(address);
                        }
                        None => assert_eq!(held.len(), 13),
                    }
                } else if !held.is_empty() {
                    assert!(pods.release(held.swap_remove(*pick as usize % held.len())));
                }
            }
            for address in held {
                let last = to_bits(address) & 0xf;
                assert!((2..15).contains(&last), "{address} is not a host of the range");
            }
        });
    }

    #[test]
    fn a_range_without_room_gives_nothing() {
        for (range, capacity) in
            [("10.0.0.0/32", 0), ("10.0.0.0/31", 0), ("10.0.0.0/30", 1), ("fd00::/126", 2), ("fd00::/128", 0)]
        {
            let mut pods = PodAddresses::new(cidr(range));
            assert_eq!(pods.capacity(), capacity, "{range}");
            assert_eq!(std::iter::from_fn(|| pods.allocate()).count() as u128, capacity);
        }
    }
}
