//! Pod networks: each node gets a block of its own out of the cluster's address range.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::Node;
use grammar::names::{Cidr, parse_cidr_sloppy};
use serde_json::json;

use crate::plan::{Action, EventNote, Kind, Operation, PatchFormat, Plan};

/// A pool has at most two to this power of blocks; more nodes than that no cluster has.
const MAX_BITS: u8 = 16;

/// A range of addresses that is handed out in blocks, one a node.
#[derive(Clone, Debug)]
pub struct Pool {
    range: Cidr,
    block: u8,
    taken: BTreeSet<u32>,
    next: u32,
}

/// Why a range cannot be divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolError(String);

impl std::fmt::Display for PoolError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PoolError {}

impl Pool {
    /// Divides `range` into blocks whose prefix has the length `block`.
    pub fn new(range: Cidr, block: u8) -> Result<Pool, PoolError> {
        let longest = if range.address.is_ipv4() { 32 } else { 128 };
        let range = range.network();
        if block < range.prefix || block > longest {
            return Err(PoolError(format!("blocks of length {block} do not fit the range {range}")));
        }
        if block - range.prefix > MAX_BITS {
            return Err(PoolError(format!(
                "the range {range} has more than 2^{MAX_BITS} blocks of length {block}"
            )));
        }
        Ok(Pool { range, block, taken: BTreeSet::new(), next: 0 })
    }

    /// Marks every block that overlaps `cidr`: another node's, or the range of services.
    pub fn occupy(&mut self, cidr: Cidr) {
        self.taken.extend(self.overlapped(cidr));
    }

    /// Frees the block of a node that is gone.
    pub fn release(&mut self, cidr: Cidr) {
        for place in self.overlapped(cidr) {
            self.taken.remove(&place);
        }
    }

    /// Takes a free block. The search goes on from the last one, so that a block rests before it is used again, while
    /// routes to its former node may still be about.
    pub fn take(&mut self) -> Option<Cidr> {
        let free = |place: &u32| !self.taken.contains(place);
        let place = (self.next..self.count()).chain(0..self.next).find(free)?;
        self.taken.insert(place);
        self.next = (place + 1) % self.count();
        Some(self.block_at(place))
    }

    fn count(&self) -> u32 {
        1 << (self.block - self.range.prefix)
    }

    fn block_at(&self, place: u32) -> Cidr {
        let address = match self.range.address {
            IpAddr::V4(base) => {
                let step = u64::from(place) << (32 - self.block);
                IpAddr::V4(Ipv4Addr::from_bits(base.to_bits() | step as u32))
            }
            IpAddr::V6(base) => {
                let step = u128::from(place).checked_shl(128 - u32::from(self.block)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(base.to_bits() | step))
            }
        };
        Cidr { address, prefix: self.block }
    }

    fn overlapped(&self, cidr: Cidr) -> std::ops::Range<u32> {
        let cidr = cidr.network();
        if !self.range.contains(cidr.address) {
            return if cidr.contains(self.range.address) { 0..self.count() } else { 0..0 };
        }
        if cidr.prefix <= self.range.prefix {
            return 0..self.count();
        }
        let place = match (self.range.address, cidr.address) {
            (IpAddr::V4(base), IpAddr::V4(own)) => {
                let offset = u64::from(own.to_bits() - base.to_bits());
                (offset >> (32 - self.block)) as u32
            }
            (IpAddr::V6(base), IpAddr::V6(own)) => {
                let offset = own.to_bits() - base.to_bits();
                offset.checked_shr(128 - u32::from(self.block)).unwrap_or(0) as u32
            }
            _ => return 0..0,
        };
        place..place + (1 << self.block.saturating_sub(cidr.prefix))
    }
}

/// The blocks that a node has.
pub fn blocks(node: &Node) -> Vec<Cidr> {
    let spec = node.spec.as_ref();
    let all = spec.and_then(|spec| spec.pod_cidrs.clone()).filter(|all| !all.is_empty());
    let all = all
        .or_else(|| spec.and_then(|spec| spec.pod_cidr.clone()).map(|only| vec![only]))
        .unwrap_or_default();
    all.iter().filter_map(|text| parse_cidr_sloppy(text)).collect()
}

/// Gives a node without a pod network one block of each pool, or tells that a pool is exhausted. What it takes stays
/// taken: if the plan fails, the blocks are to be released.
pub fn reconcile(node: &Node, pools: &mut [Pool]) -> Plan {
    let mut plan = Plan::default();
    let own = blocks(node);
    if !own.is_empty() || node.metadata.deletion_timestamp.is_some() || pools.is_empty() {
        for pool in pools {
            own.iter().for_each(|block| pool.occupy(*block));
        }
        return plan;
    }
    let taken: Vec<Option<Cidr>> = pools.iter_mut().map(Pool::take).collect();
    let Some(blocks) = taken.iter().copied().collect::<Option<Vec<Cidr>>>() else {
        // Half a dual-stack network is none, so what the other pools gave goes back.
        for (pool, block) in pools.iter_mut().zip(taken) {
            block.into_iter().for_each(|block| pool.release(block));
        }
        const REASON: &str = "CIDRNotAvailable";
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Node {name} status is now: {REASON}");
        plan.events.push(EventNote::normal(Kind::NODE, &node.metadata, REASON, message));
        return plan;
    };
    let blocks: Vec<String> = blocks.iter().map(Cidr::to_string).collect();
    let body = Arc::new(json!({"spec": {"podCIDR": blocks[0], "podCIDRs": blocks}}));
    let patch = Action::Patch { format: PatchFormat::Strategic, subresource: None, body };
    plan.push(0, Operation::on(Kind::NODE, &node.metadata, patch));
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::typed::Typed;
    use serde_json::Value;

    fn cidr(text: &str) -> Cidr {
        parse_cidr_sloppy(text).unwrap()
    }

    fn node(blocks: &[&str]) -> Node {
        let tree =
            json!({"metadata": {"name": "n"}, "spec": {"podCIDR": blocks.first(), "podCIDRs": blocks}});
        Node::from_tree(&tree).unwrap()
    }

    /// Takes all that a pool has.
    fn check(range: &str, block: u8, occupied: &[&str], expected: &[&str]) {
        let mut pool = Pool::new(cidr(range), block).unwrap();
        occupied.iter().for_each(|text| pool.occupy(cidr(text)));
        let taken: Vec<String> = std::iter::from_fn(|| pool.take()).map(|block| block.to_string()).collect();
        assert_eq!(taken, expected, "{range} {occupied:?}");
    }

    #[test]
    fn ranges_are_divided_around_what_is_occupied() {
        let all = ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24", "10.244.3.0/24"];
        check("10.244.0.0/22", 24, &[], &all);
        check("10.244.0.0/22", 24, &["10.244.1.0/24", "10.244.3.128/25"], &[all[0], all[2]]);
        check("10.244.0.0/22", 24, &["10.244.2.0/23"], &all[..2]);
        check("10.244.0.0/22", 24, &["10.0.0.0/8"], &[]);
        check("10.244.0.0/22", 24, &["10.245.0.0/16", "fd00::/8"], &all);
        check("0.0.0.0/0", 1, &[], &["0.0.0.0/1", "128.0.0.0/1"]);
        check("fd00::/63", 64, &[], &["fd00::/64", "fd00:0:0:1::/64"]);
        check("fd00::/64", 64, &[], &["fd00::/64"]);
        check("fd00::/63", 64, &["fd00:0:0:1:2::/80"], &["fd00::/64"]);
        for (range, block) in [("10.0.0.0/24", 16), ("10.0.0.0/8", 33), ("10.0.0.0/8", 25), ("fd00::/8", 64)]
        {
            assert!(Pool::new(cidr(range), block).is_err(), "{range} {block}");
        }
    }

    #[test]
    fn a_released_block_rests_before_it_is_used_again() {
        let mut pool = Pool::new(cidr("10.0.0.0/22"), 24).unwrap();
        let first = pool.take().unwrap();
        pool.release(first);
        let more: Vec<Cidr> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((more.len(), more.last()), (4, Some(&first)));
    }

    #[test]
    fn nodes_get_a_block_of_each_pool_or_none() {
        let pool = |range, block| Pool::new(cidr(range), block).unwrap();
        let mut pools = [pool("10.0.0.0/23", 24), pool("fd00::/62", 64)];
        assert_eq!(reconcile(&node(&["10.0.0.0/24"]), &mut pools), Plan::default());
        let plan = reconcile(&node(&[]), &mut pools);
        let Action::Patch { body, .. } = &plan.operations[0].action else { panic!("{plan:?}") };
        let expected: Value = json!({"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24", "fd00::/64"]});
        assert_eq!(body["spec"], expected);
        let plan = reconcile(&node(&[]), &mut pools);
        assert_eq!(plan.events[0].message, "Node n status is now: CIDRNotAvailable");
        assert_eq!((plan.operations.len(), pools[1].taken.len()), (0, 1));
    }
}
