//! Which endpoints a service port may use on this node.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::Protocol;
use crate::model::{Endpoint, EndpointSlice, Node, Service, ServicePort};

/// An endpoint's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backend {
    pub address: IpAddr,
    pub port: u16,
}

/// The endpoints that each policy leaves, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usable {
    /// Empty also when the service never uses the Cluster policy.
    pub cluster: Vec<Backend>,
    /// Empty also when the service never uses the Local policy.
    pub local: Vec<Backend>,
    /// Somebody in the cluster answers, though perhaps nobody whom this node may ask.
    pub anywhere: bool,
    /// Endpoints on this node out of either list.
    pub here: Vec<Backend>,
}

/// Ready endpoints are preferred; where there are none, those that serve while they terminate.
/// Topology hints narrow the Cluster policy when every ready endpoint carries them.
pub fn usable(
    service: &Service,
    port: &ServicePort,
    slices: &mut dyn Iterator<Item = &EndpointSlice>,
    node: &Node,
) -> Usable {
    let all = by_backend(&port.name, port.protocol, slices);
    let externally_reachable =
        port.node_port != 0 || !service.external_ips.is_empty() || !service.load_balancer_ips.is_empty();
    // Even under the external Local policy, pods and this node are served by all endpoints.
    let uses_cluster = !service.internal_local || externally_reachable;
    let uses_local = service.internal_local || (service.external_local && externally_reachable);
    let is_here = |endpoint: &Endpoint| endpoint.node.as_deref() == Some(&node.name);
    let pick = |accept: &dyn Fn(&Endpoint) -> bool| -> Vec<Backend> {
        all.iter().filter(|(_, endpoint)| accept(endpoint)).map(|(backend, _)| *backend).collect()
    };
    let first_of = |ready: Vec<Backend>, otherwise: &dyn Fn() -> Vec<Backend>| {
        if ready.is_empty() { otherwise() } else { ready }
    };

    let mut usable = Usable::default();
    if uses_cluster {
        let topology = Topology::of(all.values().copied(), node);
        usable.cluster =
            first_of(pick(&|e| e.ready && topology.admits(e)), &|| pick(&Endpoint::serves_while_terminating));
        usable.anywhere = !usable.cluster.is_empty();
    }
    if uses_local {
        usable.local = first_of(pick(&|e| e.ready && is_here(e)), &|| {
            pick(&|e| e.serves_while_terminating() && is_here(e))
        });
        usable.anywhere |= all.values().any(|e| e.ready || e.serves_while_terminating());
    }
    let reachable = |backend: &Backend| usable.cluster.contains(backend) || usable.local.contains(backend);
    usable.here = pick(&is_here).into_iter().filter(reachable).collect();
    usable
}

/// All endpoints of a port. During a move an endpoint may be in two slices, and an address may pass
/// from a terminating pod to a new one: the one that is not terminating wins.
fn by_backend<'a>(
    port_name: &str,
    protocol: Protocol,
    slices: &mut dyn Iterator<Item = &'a EndpointSlice>,
) -> BTreeMap<Backend, &'a Endpoint> {
    let mut all = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter().filter(|port| port.name == port_name && port.protocol == protocol);
        for port in ports.filter(|port| port.port != 0) {
            for endpoint in &slice.endpoints {
                let backend = Backend { address: endpoint.address, port: port.port };
                if !endpoint.terminating {
                    all.insert(backend, endpoint);
                } else {
                    all.entry(backend).or_insert(endpoint);
                }
            }
        }
    }
    all
}

enum Topology<'a> {
    Anywhere,
    SameNode(&'a str),
    SameZone(&'a str),
}

impl<'a> Topology<'a> {
    /// Hints count only when all ready endpoints have them and one of them names us; a partial set
    /// would send everything to the few that have some.
    fn of<'e>(endpoints: impl Iterator<Item = &'e Endpoint> + Clone, node: &'a Node) -> Topology<'a> {
        let ready = endpoints.filter(|endpoint| endpoint.ready);
        if ready.clone().next().is_none() {
            return Topology::Anywhere;
        }
        let node_hinted = ready.clone().all(|e| !e.node_hints.is_empty());
        if node_hinted && ready.clone().any(|e| e.node_hints.contains(&node.name)) {
            return Topology::SameNode(&node.name);
        }
        let Some(zone) = node.zone.as_deref() else { return Topology::Anywhere };
        let zone_hinted = ready.clone().all(|e| !e.zone_hints.is_empty());
        if zone_hinted && ready.clone().any(|e| e.zone_hints.contains(zone)) {
            return Topology::SameZone(zone);
        }
        Topology::Anywhere
    }

    fn admits(&self, endpoint: &Endpoint) -> bool {
        match self {
            Topology::Anywhere => true,
            Topology::SameNode(node) => endpoint.node_hints.contains(*node),
            Topology::SameZone(zone) => endpoint.zone_hints.contains(*zone),
        }
    }
}

/// The wanted endpoints in the order that changes the fewest indexes: survivors keep theirs, newcomers
/// fill the gaps, and what is still empty is filled from the end.
pub(super) fn arrange(previous: &[Backend], wanted: &[Backend]) -> Vec<Backend> {
    if previous == wanted || previous.is_empty() {
        return wanted.to_vec();
    }
    // Both lists are without duplicates, and `wanted` is sorted.
    let mut slots: Vec<Option<Backend>> =
        previous.iter().map(|b| wanted.binary_search(b).is_ok().then_some(*b)).collect();
    let mut known: Vec<Backend> = previous.to_vec();
    known.sort_unstable();
    let mut newcomers = wanted.iter().filter(|b| known.binary_search(b).is_err());
    for slot in slots.iter_mut().filter(|slot| slot.is_none()) {
        *slot = newcomers.next().copied();
    }
    let mut arranged: Vec<Option<Backend>> = slots;
    arranged.extend(newcomers.map(|b| Some(*b)));
    let mut at = 0;
    while at < arranged.len() {
        if arranged[at].is_none() {
            arranged.swap_remove(at);
        } else {
            at += 1;
        }
    }
    arranged.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn backends(last: &[u8]) -> Vec<Backend> {
        last.iter().map(|n| Backend { address: Ipv4Addr::new(10, 0, 0, *n).into(), port: 80 }).collect()
    }

    #[test]
    fn arrangement_moves_little() {
        let check = |previous: &[u8], wanted: &[u8], want: &[u8]| {
            assert_eq!(arrange(&backends(previous), &backends(wanted)), backends(want));
        };
        check(&[], &[1, 2, 3], &[1, 2, 3]);
        check(&[1, 2, 3], &[1, 2, 3], &[1, 2, 3]);
        check(&[1, 2, 3], &[2, 3], &[3, 2]);
        check(&[1, 2, 3], &[1, 3, 9], &[1, 9, 3]);
        check(&[3, 1], &[0, 1, 3], &[3, 1, 0]);
        check(&[1, 2], &[], &[]);
        check(&[1, 2, 3, 4], &[4], &[4]);
    }

    #[test]
    fn arrangement_is_a_permutation_of_what_is_wanted() {
        bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(previous, wanted)| {
            let set = |list: &[u8]| list.iter().copied().collect::<std::collections::BTreeSet<u8>>();
            let (previous, wanted) = (set(previous), set(wanted));
            let previous: Vec<u8> = previous.into_iter().rev().collect();
            let wanted: Vec<u8> = wanted.into_iter().collect();
            let mut got = arrange(&backends(&previous), &backends(&wanted));
            got.sort_unstable();
            assert_eq!(got, backends(&wanted));
        });
    }
}
