//! Changes applied one after another lead to what a fresh plan gives.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bolero::TypeGenerator;
use netplan::addr::{Cidr, Family, Protocol};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, HostPort, Name, Service, ServicePort};
use netplan::rules::{Data, Key, Ruleset, Set, Verdict};
use netplan::services::Planner;

use crate::world::{endpoint, ip, name, node, service, slice, terminating};

/// A step in the life of a cluster that is small enough for conflicts.
#[derive(Clone, Debug, TypeGenerator)]
enum Step {
    Service { which: u8, exists: bool, flags: u8, extra: u8 },
    Slice { service: u8, which: u8, exists: bool, endpoints: Vec<(u8, u8)> },
    HostPort { pod: u8, port: u8, bound: bool, exists: bool },
    Commit,
}

struct Cluster {
    services: BTreeMap<Name, Service>,
    slices: BTreeMap<(Name, String), EndpointSlice>,
    host_ports: BTreeMap<Name, Vec<HostPort>>,
}

impl Cluster {
    fn step(&mut self, planner: &mut Planner, step: &Step) {
        match step {
            Step::Service { which, exists, flags, extra } => {
                let name = service_name(*which);
                let service = exists.then(|| service_of(*which, *flags, *extra));
                planner.set_service(&name, service.clone());
                match service {
                    Some(service) => drop(self.services.insert(name, service)),
                    None => drop(self.services.remove(&name)),
                }
            }
            Step::Slice { service, which, exists, endpoints } => {
                let (name, slice_name) = (service_name(*service), format!("s{}", which % 2));
                let slice = exists.then(|| slice_of(name.clone(), endpoints));
                planner.set_slice(&name, &slice_name, slice.clone());
                match slice {
                    Some(slice) => drop(self.slices.insert((name, slice_name), slice)),
                    None => drop(self.slices.remove(&(name, slice_name))),
                }
            }
            Step::HostPort { pod, port, bound, exists } => {
                let name = Name::new("pods", &format!("p{}", pod % 3));
                let host_port = HostPort {
                    host_ip: bound.then(|| ip("192.0.2.1")),
                    host_port: 30_000 + u16::from(port % 3),
                    protocol: Protocol::Tcp,
                    pod_ip: IpAddr::from([10, 42, 0, 100 + pod % 3]),
                    container_port: 80,
                };
                let ports: Vec<HostPort> = exists.then_some(host_port).into_iter().collect();
                planner.set_host_ports(&name, ports.clone());
                self.host_ports.insert(name, ports);
            }
            Step::Commit => {}
        }
    }

    fn afresh(&self) -> Ruleset {
        let mut planner = Planner::new(Family::V4, node());
        for (name, service) in self.services.iter().rev() {
            planner.set_service(name, Some(service.clone()));
        }
        for ((name, slice_name), slice) in &self.slices {
            planner.set_slice(name, slice_name, Some(slice.clone()));
        }
        for (name, ports) in &self.host_ports {
            planner.set_host_ports(name, ports.clone());
        }
        planner.commit();
        planner.ruleset().clone()
    }
}

fn service_name(which: u8) -> Name {
    Name::new("shop", &format!("s{}", which % 3))
}

fn service_of(which: u8, flags: u8, extra: u8) -> Service {
    let port =
        |name: &str, protocol, port, node_port| ServicePort { name: name.into(), protocol, port, node_port };
    let node_port = if flags & 1 != 0 { 30_000 + u16::from(extra % 3) } else { 0 };
    let mut ports = vec![port("http", Protocol::Tcp, 80, node_port)];
    if flags & 2 != 0 {
        ports.push(port("dns", Protocol::Udp, 53, 0));
    }
    let flag = |bit: u8| flags & bit != 0;
    Service {
        cluster_ips: vec![IpAddr::from([10, 96, 0, 10 + which % 3])],
        ports,
        external_ips: if flag(4) { vec![ip("203.0.113.5")] } else { vec![] },
        load_balancer_ips: if flag(8) { vec![ip("203.0.113.6")] } else { vec![] },
        source_ranges: if flag(16) {
            vec![Cidr::new(ip("198.51.100.0"), 24 + extra % 8).unwrap()]
        } else {
            vec![]
        },
        external_local: flag(32),
        internal_local: flag(64),
        affinity: flag(128).then_some(Duration::from_secs(60)),
        ..Service::default()
    }
}

fn slice_of(service: Name, endpoints: &[(u8, u8)]) -> EndpointSlice {
    let port = |name: &str, protocol, port| EndpointPort { name: name.into(), protocol, port };
    let endpoints = endpoints.iter().take(6).map(|(address, state)| {
        let base =
            endpoint(&format!("10.42.0.{}", address % 8), if state & 1 != 0 { "here" } else { "there" });
        match state >> 1 & 3 {
            0 | 1 => base,
            2 => terminating(base),
            _ => Endpoint { ready: false, serving: false, ..base },
        }
    });
    EndpointSlice {
        service,
        family: Family::V4,
        ports: vec![port("http", Protocol::Tcp, 8080), port("dns", Protocol::Udp, 5353)],
        endpoints: endpoints.collect(),
    }
}

/// A ruleset without the order of endpoints within a service, which depends on history.
fn unordered(rules: &Ruleset) -> (BTreeSet<String>, BTreeMap<(Set, Key, u32), BTreeSet<Data>>, Vec<u32>) {
    let mut fixed = BTreeSet::new();
    let mut endpoints: BTreeMap<_, BTreeSet<Data>> = BTreeMap::new();
    let mut indexes = Vec::new();
    for ((set, key), value) in &rules.elements {
        if matches!(set, Set::Endpoints | Set::NodePortEndpoints) {
            let (frontend, index) = key.bytes().split_at(key.bytes().len() - 4);
            let index = u32::from_ne_bytes(index.try_into().unwrap());
            let group = (*set, Key::from_bytes(frontend).unwrap(), index >> 16);
            endpoints.entry(group).or_default().insert(value.data.clone());
            indexes.push(index);
        } else {
            fixed.insert(format!("{set:?} {key:?} {value:?}"));
        }
    }
    indexes.sort_unstable();
    (fixed, endpoints, indexes)
}

/// Chains of a plan that some element needs.
fn in_use(rules: &Ruleset) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for value in rules.elements.values() {
        if let Data::Verdict(Verdict::Goto(chain)) = value.data
            && !chain.is_fixed()
        {
            used.insert(chain.to_string());
            used.extend(chain.leads_to().map(|next| next.to_string()));
        }
    }
    used
}

#[test]
fn changes_lead_where_a_fresh_plan_leads() {
    bolero::check!().with_type::<Vec<Step>>().for_each(|steps| {
        let mut planner = Planner::new(Family::V4, node());
        let mut cluster =
            Cluster { services: BTreeMap::new(), slices: BTreeMap::new(), host_ports: BTreeMap::new() };
        let mut kernel = Ruleset::default();
        let mut commit = |planner: &mut Planner| {
            kernel.apply(&planner.commit().change).expect("the kernel accepts every change");
            assert_eq!(&kernel, planner.ruleset());
            kernel.clone()
        };
        for step in steps {
            cluster.step(&mut planner, step);
            if matches!(step, Step::Commit) {
                commit(&mut planner);
            }
        }
        commit(&mut planner);
        let settled = commit(&mut planner);
        let fresh = cluster.afresh();
        // Two claimants of one address may have listed the same endpoint at different indexes, so
        // only addresses claimed once compare in full.
        if claimed_once(&cluster) {
            assert_eq!(unordered(&settled), unordered(&fresh));
        } else {
            assert_eq!(unordered(&settled).0, unordered(&fresh).0);
        }
        let chains: BTreeSet<String> = settled.chains.iter().map(ToString::to_string).collect();
        assert_eq!(chains, in_use(&settled));
        assert!(planner.commit().change.is_empty() && !planner.has_idle_chains());

        // The generic difference does the same job for a table read back.
        let mut read_back = settled.clone();
        read_back.apply(&settled.diff(&fresh)).unwrap();
        assert_eq!(read_back, fresh);
    });
}

fn claimed_once(cluster: &Cluster) -> bool {
    let shared = |has: fn(&Service) -> bool| cluster.services.values().filter(|s| has(s)).count() <= 1;
    let ports: Vec<u16> =
        cluster.services.values().map(|s| s.ports[0].node_port).filter(|p| *p != 0).collect();
    let hosts = cluster.host_ports.values().flatten().map(|port| port.host_port);
    let mut all: Vec<u16> = ports.into_iter().chain(hosts).collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    all.len() == count
        && shared(|s| !s.external_ips.is_empty())
        && shared(|s| !s.load_balancer_ips.is_empty())
}

#[test]
fn a_changed_endpoint_changes_little() {
    let many = |count: u8| (0..count).map(|n| endpoint(&format!("10.42.1.{n}"), "there")).collect::<Vec<_>>();
    let mut planner = Planner::new(Family::V4, node());
    planner.set_service(&name(), Some(service()));
    planner.set_slice(&name(), "web-1", Some(slice(many(200))));
    planner.commit();
    let check = |planner: &mut Planner, endpoints: Vec<Endpoint>, most: usize| {
        planner.set_slice(&name(), "web-1", Some(slice(endpoints)));
        let change = planner.commit().change;
        assert!(change.len() <= most, "{} operations: {change:?}", change.len());
        planner.commit();
    };
    // Replaced: one endpoint element out and in.
    let mut replaced = many(200);
    replaced[3] = endpoint("10.42.2.3", "there");
    check(&mut planner, replaced.clone(), 2);
    // Removed: its element and the last one's move, and the service leads to another chain.
    replaced.remove(0);
    check(&mut planner, replaced.clone(), 7);
    replaced.push(endpoint("10.42.2.4", "there"));
    check(&mut planner, replaced, 4);
}

#[test]
fn udp_flows_are_checked_when_udp_endpoints_change() {
    let mut planner = Planner::new(Family::V4, node());
    let set = |planner: &mut Planner, endpoints: &[(u8, u8)]| {
        planner.set_slice(&service_name(0), "s", Some(slice_of(service_name(0), endpoints)));
        planner.commit().stale_udp
    };
    planner.set_service(&service_name(0), Some(service_of(0, 0, 0)));
    assert!(!set(&mut planner, &[(1, 0)]), "no UDP port");
    planner.set_service(&service_name(0), Some(service_of(0, 2, 0)));
    assert!(planner.commit().stale_udp);
    assert!(set(&mut planner, &[(2, 0)]));
    assert!(!set(&mut planner, &[(2, 1)]), "only the node changed");
    let udp = planner.udp_services();
    let flow = |to: &str, port, by: &str| netplan::conntrack::Flow {
        destination: (ip(to), port),
        answered_by: (ip(by), 5353),
    };
    assert!(udp.is_stale(&flow("10.96.0.10", 53, "10.42.0.1")));
    assert!(!udp.is_stale(&flow("10.96.0.10", 53, "10.42.0.2")));
    assert!(!udp.is_stale(&flow("10.96.0.99", 53, "10.42.0.1")));
}
