//! One service, or the host ports of one pod, as elements of the table.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::{Family, Protocol, disjoint};
use crate::model::{EndpointSlice, HostPort, Node, Service, ServicePort};
use crate::rules::{At, Chain, Key, Scope, Set, Value};

use super::endpoints::{Backend, Usable, arrange, usable};

pub(super) type Elements = BTreeMap<(Set, Key), Value>;

/// The order in which the endpoints of each port and policy were last written.
pub(super) type Orders = BTreeMap<(u16, Protocol, Scope), Vec<Backend>>;

/// The elements of a service. `previous` says which endpoint had which index, so that as few as
/// possible move.
pub(super) fn service_elements<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a EndpointSlice> + Clone,
    node: &Node,
    family: Family,
    previous: &Orders,
) -> (Elements, Orders) {
    let mut writer = Writer { elements: Elements::new(), service, node, family };
    let mut orders = Orders::new();
    let Some(cluster_ip) = service.cluster_ips.iter().copied().find(|ip| Family::of(*ip) == family) else {
        return (writer.elements, orders);
    };
    for port in &service.ports {
        let mut of_family = slices.clone().filter(|slice| slice.family == family);
        let mut usable = usable(service, port, &mut of_family, node);
        for (scope, list) in [(Scope::Cluster, &mut usable.cluster), (Scope::Local, &mut usable.local)] {
            let key = (port.port, port.protocol, scope);
            *list = arrange(previous.get(&key).map_or(&[], Vec::as_slice), list);
            orders.insert(key, list.clone());
        }
        writer.port(cluster_ip, port, &usable);
    }
    (writer.elements, orders)
}

/// A pod's host ports: translated, not masqueraded, so that the pod sees who calls.
pub(super) fn host_port_elements(ports: &[HostPort], family: Family) -> Elements {
    let mut elements = Elements::new();
    for port in ports.iter().filter(|port| Family::of(port.pod_ip) == family) {
        let host_ip = port.host_ip.filter(|ip| !ip.is_unspecified());
        if host_ip.or(port.host_ip).is_some_and(|ip| Family::of(ip) != family) {
            continue;
        }
        let at = if host_ip.is_some() { At::Vip } else { At::NodePort };
        let key = frontend_key(host_ip, port.protocol, port.host_port);
        let chain = Chain::Balance { at, scope: Scope::Cluster, count: 1, sticky: 0 };
        let set = if host_ip.is_some() { Set::Services } else { Set::NodePorts };
        elements.insert((set, key), Value::goto(chain));
        let target = Value::endpoint(port.pod_ip, port.container_port);
        elements.insert((at.endpoints(), key.index(0)), target);
        elements.insert((Set::Hairpins, hairpin(port.pod_ip, port.protocol, port.container_port)), NOTHING);
    }
    elements
}

const NOTHING: Value = Value::NOTHING;

fn frontend_key(address: Option<IpAddr>, protocol: Protocol, port: u16) -> Key {
    let key = address.map_or_else(Key::new, |address| Key::new().address(address));
    key.protocol(protocol).port(port)
}

fn hairpin(address: IpAddr, protocol: Protocol, port: u16) -> Key {
    Key::new().address(address).address(address).protocol(protocol).port(port)
}

struct Writer<'a> {
    elements: Elements,
    service: &'a Service,
    node: &'a Node,
    family: Family,
}

/// An address and port that clients use, or only a port of the node.
#[derive(Clone, Copy)]
struct Frontend {
    address: Option<IpAddr>,
    protocol: Protocol,
    port: u16,
}

impl Frontend {
    fn at(&self) -> At {
        if self.address.is_some() { At::Vip } else { At::NodePort }
    }

    fn key(&self) -> Key {
        frontend_key(self.address, self.protocol, self.port)
    }
}

impl Writer<'_> {
    fn port(&mut self, cluster_ip: IpAddr, port: &ServicePort, usable: &Usable) {
        let protocol = port.protocol;
        let cluster = Frontend { address: Some(cluster_ip), protocol, port: port.port };
        self.elements.insert((Set::ClusterIps, Key::new().address(cluster_ip)), NOTHING);
        self.internal(cluster, usable);

        let family = self.family;
        let of_family = |list: &[IpAddr]| -> Vec<IpAddr> {
            list.iter().copied().filter(|ip| Family::of(*ip) == family && *ip != cluster_ip).collect()
        };
        for address in of_family(&self.service.external_ips) {
            self.external(Frontend { address: Some(address), ..cluster }, usable);
        }
        for address in of_family(&self.service.load_balancer_ips) {
            let frontend = Frontend { address: Some(address), ..cluster };
            self.external(frontend, usable);
            self.restrict(frontend, address);
        }
        if port.node_port != 0 {
            self.external(Frontend { address: None, protocol, port: port.node_port }, usable);
        }
        for backend in &usable.here {
            self.elements.insert((Set::Hairpins, hairpin(backend.address, protocol, backend.port)), NOTHING);
        }
    }

    fn internal(&mut self, frontend: Frontend, usable: &Usable) {
        let scope = if self.service.internal_local { Scope::Local } else { Scope::Cluster };
        let endpoints = of_scope(usable, scope);
        if endpoints.is_empty() {
            return self.unserved(frontend, usable.anywhere);
        }
        let chain = self.balance(frontend, scope, endpoints);
        self.serve(frontend, chain);
    }

    fn external(&mut self, frontend: Frontend, usable: &Usable) {
        if !usable.anywhere {
            return self.unserved(frontend, false);
        }
        let (at, sticky) = (frontend.at(), self.sticky());
        let count = |list: &[Backend]| list.len() as u32;
        self.balance(frontend, Scope::Cluster, &usable.cluster);
        if !self.service.external_local {
            return self.serve(frontend, Chain::External { at, count: count(&usable.cluster), sticky });
        }
        self.balance(frontend, Scope::Local, &usable.local);
        let (cluster, local) = (count(&usable.cluster), count(&usable.local));
        self.serve(frontend, Chain::ExternalLocal { at, cluster, local, sticky });
        if local == 0 {
            self.unserved(frontend, true);
        }
    }

    /// Writes the endpoints of a frontend under one policy and names the chain that chooses.
    fn balance(&mut self, frontend: Frontend, scope: Scope, endpoints: &[Backend]) -> Chain {
        let (at, sticky) = (frontend.at(), self.sticky());
        for (index, backend) in (scope.first_index()..).zip(endpoints) {
            let value = Value::endpoint(backend.address, backend.port);
            self.elements.insert((at.endpoints(), frontend.key().index(index)), value);
            if sticky > 0 {
                let live = frontend.key().address(backend.address).port(backend.port);
                self.elements.insert((at.live(scope), live), NOTHING);
            }
        }
        Chain::Balance { at, scope, count: endpoints.len() as u32, sticky }
    }

    fn serve(&mut self, frontend: Frontend, chain: Chain) {
        let set = if frontend.address.is_some() { Set::Services } else { Set::NodePorts };
        self.elements.insert((set, frontend.key()), Value::goto(chain));
    }

    /// Nobody at all is a refusal; nobody here, under a Local policy, is silence, because the load
    /// balancer should ask another node.
    fn unserved(&mut self, frontend: Frontend, anywhere: bool) {
        let set = if frontend.address.is_some() { Set::Unserved } else { Set::UnservedNodePorts };
        let value = if anywhere { Value::drop() } else { Value::goto(Chain::Reject) };
        self.elements.insert((set, frontend.key()), value);
    }

    /// A node that may use the load balancer may reach it through its own copy of the address, with
    /// that address as its source.
    fn restrict(&mut self, frontend: Frontend, address: IpAddr) {
        let ranges: Vec<_> =
            self.service.source_ranges.iter().copied().filter(|r| r.family() == self.family).collect();
        if ranges.is_empty() || ranges.iter().any(|range| range.prefix() == 0) {
            return;
        }
        let node_allowed = self.node.addresses.iter().any(|ip| ranges.iter().any(|r| r.contains(*ip)));
        let own = node_allowed.then(|| crate::addr::Cidr::host(address));
        self.elements.insert((Set::Restricted, frontend.key()), NOTHING);
        for (first, last) in disjoint(ranges.into_iter().chain(own), self.family) {
            let key = frontend.key().address(first);
            self.elements.insert((Set::AllowedSources, key), Value::up_to(frontend.key().address(last)));
        }
    }

    fn sticky(&self) -> u32 {
        self.service.affinity.map_or(0, |timeout| u32::try_from(timeout.as_secs()).unwrap_or(u32::MAX))
    }
}

fn of_scope(usable: &Usable, scope: Scope) -> &[Backend] {
    match scope {
        Scope::Cluster => &usable.cluster,
        Scope::Local => &usable.local,
    }
}
