//! All services of one family, and what has changed since last asked.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::{Cidr, Family, Protocol, disjoint};
use crate::conntrack::UdpServices;
use crate::model::{EndpointSlice, HostPort, Name, Node, Service, Slices};
use crate::rules::{Chain, Change, Key, Ruleset, Set, Value};

use super::elements::{Elements, Orders, host_port_elements, service_elements};
use super::endpoints::Backend;
use super::health::HealthCheck;

/// What a commit asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    pub change: Change,
    /// A UDP service lost or changed endpoints, so that flows may lead to dead ones.
    pub stale_udp: bool,
}

/// Plans one family's table. Inputs mark what depends on them; [`Planner::commit`] recomputes only
/// that and returns the difference in elements.
///
/// Two owners may claim one element: two services with the same external address, or a host port that
/// equals a node port. The first owner in order wins, and the next one takes over when it goes;
/// services come before host ports, and then names decide, so the outcome does not depend on history.
#[derive(Clone, Debug)]
pub struct Planner {
    family: Family,
    node: Node,
    services: HashMap<Name, Service>,
    slices: HashMap<Name, Slices>,
    host_ports: HashMap<Name, Vec<HostPort>>,
    dirty: BTreeSet<Owner>,
    written: HashMap<Owner, (Elements, Orders)>,
    claims: HashMap<(Set, Key), Vec<(Owner, Value)>>,
    published: Ruleset,
    users: BTreeMap<Chain, usize>,
    /// Chains out of use. They outlive their last user by one commit, because kernels before 6.2
    /// refuse to remove a chain in the transaction that removes the element that leads to it.
    idle: BTreeSet<Chain>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Owner {
    Node,
    Service(Name),
    Pod(Name),
}

impl Planner {
    pub fn new(family: Family, node: Node) -> Planner {
        Planner {
            family,
            node,
            services: HashMap::new(),
            slices: HashMap::new(),
            host_ports: HashMap::new(),
            dirty: BTreeSet::from([Owner::Node]),
            written: HashMap::new(),
            claims: HashMap::new(),
            published: Ruleset::default(),
            users: BTreeMap::new(),
            idle: BTreeSet::new(),
        }
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether every address of the node accepts node ports. The table's fixed chains depend on it,
    /// so a change of it calls for loading afresh.
    pub fn any_address(&self) -> bool {
        self.node.node_port_addresses.is_empty()
    }

    pub fn set_node(&mut self, node: Node) {
        if self.node == node {
            return;
        }
        self.node = node;
        self.dirty.insert(Owner::Node);
        self.dirty.extend(self.services.keys().cloned().map(Owner::Service));
    }

    pub fn set_service(&mut self, name: &Name, service: Option<Service>) {
        let before = match service {
            Some(service) => self.services.insert(name.clone(), service),
            None => self.services.remove(name),
        };
        if before.as_ref() != self.services.get(name) {
            self.dirty.insert(Owner::Service(name.clone()));
        }
    }

    /// Replaces one slice, known by the namespace of its service and its own name.
    pub fn set_slice(&mut self, service: &Name, slice_name: &str, slice: Option<EndpointSlice>) {
        match slice {
            Some(slice) => {
                let slices = self.slices.entry(service.clone()).or_default();
                if slices.get(slice_name) == Some(&slice) {
                    return;
                }
                slices.insert(Arc::from(slice_name), slice);
            }
            None => {
                let Some(slices) = self.slices.get_mut(service) else { return };
                if slices.remove(slice_name).is_none() {
                    return;
                }
                if slices.is_empty() {
                    self.slices.remove(service);
                }
            }
        }
        self.dirty.insert(Owner::Service(service.clone()));
    }

    /// Replaces the host ports of a pod; none removes them.
    pub fn set_host_ports(&mut self, pod: &Name, ports: Vec<HostPort>) {
        if ports.is_empty() {
            self.host_ports.remove(pod);
        } else {
            self.host_ports.insert(pod.clone(), ports);
        }
        self.dirty.insert(Owner::Pod(pod.clone()));
    }

    /// What must change in the table to bring it up to date. The planner takes it as done.
    pub fn commit(&mut self) -> Update {
        let mut update = Update::default();
        let idle_before = std::mem::take(&mut self.idle);
        let mut touched: Vec<(Set, Key)> = Vec::new();
        for owner in std::mem::take(&mut self.dirty) {
            update.stale_udp |= self.rewrite(owner, &mut touched);
        }
        touched.sort_unstable();
        touched.dedup();
        let mut needed: Vec<Chain> = Vec::new();
        for at in touched {
            let wanted =
                self.claims.get(&at).and_then(|claims| claims.first()).map(|(_, value)| value.clone());
            let before = self.published.elements.get(&at).cloned();
            if wanted == before {
                continue;
            }
            if let Some(value) = before {
                self.published.elements.remove(&at);
                self.leave(value.chain());
                update.change.removed.push((at.0, at.1, value));
            }
            if let Some(value) = wanted {
                needed.extend(self.enter(value.chain()));
                update.change.added.push((at.0, at.1, value.clone()));
                self.published.elements.insert(at, value);
            }
        }
        self.settle_chains(needed, idle_before, &mut update.change);
        update
    }

    /// Everything that the table should contain, as of the last commit.
    pub fn ruleset(&self) -> &Ruleset {
        &self.published
    }

    /// The services' UDP addresses and who may answer for them.
    pub fn udp_services(&self) -> UdpServices {
        let mut udp = UdpServices::default();
        for (name, service) in &self.services {
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
                let serving: BTreeSet<(IpAddr, u16)> = self
                    .slices_of(name)
                    .flat_map(|slice| {
                        let ports =
                            slice.ports.iter().filter(|p| p.name == port.name && p.protocol == Protocol::Udp);
                        ports.flat_map(|p| {
                            slice.endpoints.iter().filter(|e| e.serving).map(|e| (e.address, p.port))
                        })
                    })
                    .collect();
                let addresses = service.cluster_ips.iter().chain(&service.external_ips);
                for address in addresses.chain(&service.load_balancer_ips) {
                    udp.addresses.insert((*address, port.port), serving.clone());
                }
                // A node port is known by its number alone, so without endpoints to compare with,
                // flows of others to the same number would be cut.
                if port.node_port != 0 && !serving.is_empty() {
                    udp.node_ports.insert(port.node_port, serving);
                }
            }
        }
        for port in self.host_ports.values().flatten().filter(|port| port.protocol == Protocol::Udp) {
            let target = BTreeSet::from([(port.pod_ip, port.container_port)]);
            match port.host_ip.filter(|ip| !ip.is_unspecified()) {
                Some(address) => drop(udp.addresses.entry((address, port.host_port)).or_insert(target)),
                None => drop(udp.node_ports.entry(port.host_port).or_insert(target)),
            }
        }
        udp
    }

    /// The health check node ports to listen on.
    pub fn health_checks(&self) -> BTreeMap<Name, HealthCheck> {
        let checked = self.services.iter().filter(|(_, service)| service.health_check_node_port != 0);
        checked
            .map(|(name, service)| {
                let here: BTreeSet<IpAddr> = self
                    .slices_of(name)
                    .filter(|slice| slice.family == self.family)
                    .flat_map(|slice| &slice.endpoints)
                    .filter(|e| e.ready && e.node.as_deref() == Some(&self.node.name))
                    .map(|e| e.address)
                    .collect();
                let check = HealthCheck { port: service.health_check_node_port, local_endpoints: here.len() };
                (name.clone(), check)
            })
            .collect()
    }

    fn slices_of(&self, name: &Name) -> impl Iterator<Item = &EndpointSlice> + Clone {
        self.slices.get(name).into_iter().flat_map(|slices| slices.values())
    }

    /// Computes an owner's elements anew and settles its claims. Says whether UDP endpoints went.
    fn rewrite(&mut self, owner: Owner, touched: &mut Vec<(Set, Key)>) -> bool {
        let (before, orders) = self.written.remove(&owner).unwrap_or_default();
        let (after, orders) = match &owner {
            Owner::Node => (node_elements(&self.node, self.family), orders),
            Owner::Service(name) => match self.services.get(name) {
                Some(service) => {
                    service_elements(service, self.slices_of(name), &self.node, self.family, &orders)
                }
                None => Default::default(),
            },
            Owner::Pod(name) => {
                let ports = self.host_ports.get(name).map_or(&[][..], Vec::as_slice);
                (host_port_elements(ports, self.family), orders)
            }
        };
        let mut stale_udp = false;
        for (at, value) in &before {
            if after.get(at) != Some(value) {
                stale_udp |= leads_udp(at);
                self.withdraw(&owner, at);
                touched.push(*at);
            }
        }
        for (at, value) in &after {
            if before.get(at) != Some(value) {
                // A first endpoint matters too: flows begun without one were never translated.
                stale_udp |= leads_udp(at);
                self.claim(&owner, at, value.clone());
                touched.push(*at);
            }
        }
        if !after.is_empty() || !orders.is_empty() {
            self.written.insert(owner, (after, orders));
        }
        stale_udp
    }

    fn claim(&mut self, owner: &Owner, at: &(Set, Key), value: Value) {
        let claims = self.claims.entry(*at).or_insert_with(|| Vec::with_capacity(1));
        let place = claims.partition_point(|(other, _)| other < owner);
        claims.insert(place, (owner.clone(), value));
    }

    fn withdraw(&mut self, owner: &Owner, at: &(Set, Key)) {
        if let Some(claims) = self.claims.get_mut(at) {
            claims.retain(|(other, _)| other != owner);
            if claims.is_empty() {
                self.claims.remove(at);
            }
        }
    }

    /// Counts an element that leads to a chain; returns the chain when it is its first.
    fn enter(&mut self, chain: Option<Chain>) -> Option<Chain> {
        let chain = chain.filter(|chain| !chain.is_fixed())?;
        let users = self.users.entry(chain).or_insert(0);
        *users += 1;
        (*users == 1).then_some(chain)
    }

    fn leave(&mut self, chain: Option<Chain>) {
        let Some(chain) = chain.filter(|chain| !chain.is_fixed()) else { return };
        let users = self.users.get_mut(&chain).expect("a published element was counted when it was added");
        *users -= 1;
        if *users == 0 {
            self.users.remove(&chain);
        }
    }

    /// Adds chains that came into use with those they lead to, and removes those that were out of
    /// use before this commit and still are.
    fn settle_chains(&mut self, needed: Vec<Chain>, idle_before: BTreeSet<Chain>, change: &mut Change) {
        for chain in needed {
            let below: Vec<Chain> = chain.leads_to().collect();
            for new in below.into_iter().chain([chain]) {
                if self.published.chains.insert(new) {
                    change.new_chains.push(new);
                }
            }
        }
        let in_use: BTreeSet<Chain> =
            self.users.keys().flat_map(|chain| chain.leads_to().chain([*chain])).collect();
        let idle: BTreeSet<Chain> = self.published.chains.difference(&in_use).copied().collect();
        // Chains that lead to others sort after them, so the reverse order takes users first.
        for chain in idle.iter().rev().filter(|chain| idle_before.contains(chain)) {
            self.published.chains.remove(chain);
            change.old_chains.push(*chain);
        }
        self.idle = idle.difference(&idle_before).copied().collect();
    }

    /// Whether another commit would remove chains that are out of use.
    pub fn has_idle_chains(&self) -> bool {
        !self.idle.is_empty()
    }

    /// The endpoints of a service port in index order, for tests and diagnosis.
    pub fn order(
        &self,
        name: &Name,
        port: u16,
        protocol: Protocol,
        scope: crate::rules::Scope,
    ) -> &[Backend] {
        let written = self.written.get(&Owner::Service(name.clone()));
        written.and_then(|(_, orders)| orders.get(&(port, protocol, scope))).map_or(&[], Vec::as_slice)
    }
}

/// Whether a change of this element may strand UDP flows.
fn leads_udp((set, key): &(Set, Key)) -> bool {
    let at = match set {
        Set::Endpoints | Set::Services => {
            key.bytes().len().checked_sub(if *set == Set::Endpoints { 12 } else { 8 })
        }
        Set::NodePortEndpoints | Set::NodePorts => Some(0),
        _ => None,
    };
    at.and_then(|at| key.bytes().get(at)) == Some(&(Protocol::Udp as u8))
}

fn node_elements(node: &Node, family: Family) -> Elements {
    let mut elements = Elements::new();
    let mut add = |set: Set, cidrs: &mut dyn Iterator<Item = Cidr>| {
        for (first, last) in disjoint(cidrs, family) {
            let value = Value::up_to(Key::new().address(last));
            elements.insert((set, Key::new().address(first)), value);
        }
    };
    let pods = || node.pod_cidrs.iter().copied();
    add(Set::PodCidrs, &mut pods());
    add(Set::NoMasquerade, &mut pods().chain(node.no_masquerade.iter().copied()).chain(multicast()));
    add(Set::ServiceCidrs, &mut node.service_cidrs.iter().copied());
    add(Set::NodePortAddresses, &mut node.node_port_addresses.iter().copied());
    elements
}

fn multicast() -> impl Iterator<Item = Cidr> {
    let v4 = Cidr::new(IpAddr::from([224, 0, 0, 0]), 4);
    let v6 = Cidr::new(IpAddr::from([0xff00, 0, 0, 0, 0, 0, 0, 0]), 8);
    v4.into_iter().chain(v6)
}
