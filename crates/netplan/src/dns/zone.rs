//! The zone: indexes over services and endpoints, and the answers from them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rpds::{HashTrieMapSync, HashTrieSetSync};

use crate::addr::{Cidr, Family, Protocol};
use crate::model::{EndpointSlice, Name, Service, Slices};

/// Seconds that answers may be kept.
pub const TTL: u32 = 5;

/// The version of the specification that is served.
const SPEC_VERSION: &str = "1.1.0";

/// Record types that the zone tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    A,
    Aaaa,
    Srv,
    Ptr,
    Cname,
    Txt,
    Soa,
    Ns,
    Any,
    /// A type that no name of the zone has.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Without the final dot.
    pub name: String,
    pub data: Data,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Data {
    Address(IpAddr),
    Srv { priority: u16, weight: u16, port: u16, target: String },
    Ptr(String),
    Cname(String),
    Txt(String),
    Ns(String),
    Soa { primary: String, contact: String, serial: u32 },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The answers, and addresses of names in them.
    Found {
        answers: Vec<Record>,
        additional: Vec<Record>,
    },
    /// The name is there, but has nothing of this type.
    NoData,
    NoName,
    /// The name is outside the zone; somebody else may know it.
    NotOurs,
}

/// All names of a cluster.
#[derive(Clone, Debug)]
pub struct Zone {
    domain: Arc<str>,
    /// Where the cluster's resolvers answer, for the zone's NS record.
    servers: Vec<IpAddr>,
    /// Ranges whose reverse names are ours: unknown ones do not exist.
    ranges: Vec<Cidr>,
    serial: u32,
    services: HashTrieMapSync<Name, Arc<Entry>>,
    /// Namespaces that exist, with the number of services in each.
    namespaces: HashTrieMapSync<Arc<str>, usize>,
    /// Namespaces known to exist even without services.
    declared: HashTrieSetSync<Arc<str>>,
    by_address: HashTrieMapSync<IpAddr, BTreeSet<String>>,
}

/// One service, with its endpoints when it is headless.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    service: Service,
    targets: Vec<Target>,
}

/// An endpoint of a headless service. Endpoints may share a hostname, as one pod's two families do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    hostname: String,
    address: IpAddr,
    ports: Vec<(String, Protocol, u16)>,
}

impl Zone {
    /// An empty zone for a cluster domain such as `cluster.local`.
    pub fn new(domain: &str, servers: Vec<IpAddr>, ranges: Vec<Cidr>) -> Zone {
        Zone {
            domain: domain.trim_end_matches('.').to_ascii_lowercase().into(),
            servers,
            ranges,
            serial: 1,
            services: HashTrieMapSync::new_sync(),
            namespaces: HashTrieMapSync::new_sync(),
            declared: HashTrieSetSync::new_sync(),
            by_address: HashTrieMapSync::new_sync(),
        }
    }

    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Replaces a service and its slices.
    pub fn set_service(&mut self, name: &Name, service: Option<&Service>, slices: &Slices) {
        let entry = service.map(|service| Arc::new(Entry::new(service, slices)));
        if self.services.get(name) == entry.as_ref() {
            return;
        }
        self.serial = self.serial.wrapping_add(1);
        if let Some(old) = self.services.get(name).cloned() {
            self.services.remove_mut(name);
            self.count(&name.namespace, false);
            for (address, owner) in self.reverse_names(name, &old) {
                let mut names = self.by_address.get(&address).cloned().unwrap_or_default();
                names.remove(&owner);
                if names.is_empty() {
                    self.by_address.remove_mut(&address);
                } else {
                    self.by_address.insert_mut(address, names);
                }
            }
        }
        if let Some(entry) = entry {
            self.count(&name.namespace, true);
            for (address, owner) in self.reverse_names(name, &entry) {
                let mut names = self.by_address.get(&address).cloned().unwrap_or_default();
                names.insert(owner);
                self.by_address.insert_mut(address, names);
            }
            self.services.insert_mut(name.clone(), entry);
        }
    }

    /// Says whether a namespace exists, for names of pods in it.
    pub fn set_namespace(&mut self, namespace: &str, exists: bool) {
        if exists {
            self.declared.insert_mut(namespace.into());
        } else {
            self.declared.remove_mut(namespace);
        }
    }

    /// Answers a question. Names are compared without regard to case and final dot; answers repeat
    /// the name as it was asked.
    pub fn lookup(&self, asked: &str, kind: Kind) -> Lookup {
        let asked = asked.strip_suffix('.').unwrap_or(asked);
        let name = asked.to_ascii_lowercase();
        if let Some(address) = reverse_address(&name) {
            return self.reverse(asked, address, kind);
        }
        let Some(rest) = self.below(&name) else { return Lookup::NotOurs };
        let labels: Vec<&str> = if rest.is_empty() { Vec::new() } else { rest.split('.').collect() };
        match labels.as_slice() {
            [] => self.apex(asked, kind),
            ["dns-version"] => found(asked, kind, Kind::Txt, || vec![Data::Txt(SPEC_VERSION.into())]),
            ["dns"] | ["svc"] | ["pod"] => Lookup::NoData,
            ["ns", "dns"] => addresses(asked, kind, self.servers.iter().copied()),
            [namespace, "svc" | "pod"] if self.has_namespace(namespace) => Lookup::NoData,
            [address, namespace, "pod"] if self.has_namespace(namespace) => match spelled(address) {
                Some(address) => addresses(asked, kind, [address].into_iter()),
                None => Lookup::NoName,
            },
            [host @ .., service, namespace, "svc"] => match self.services.get(&Name::new(namespace, service))
            {
                Some(entry) => self.service(asked, kind, host, &Name::new(namespace, service), entry),
                None => Lookup::NoName,
            },
            _ => Lookup::NoName,
        }
    }

    /// The record that comes with negative answers, so that they too are kept only for a while.
    pub fn soa(&self) -> Record {
        let data = Data::Soa {
            primary: format!("ns.dns.{}", self.domain),
            contact: format!("hostmaster.{}", self.domain),
            serial: self.serial,
        };
        Record { name: self.domain.to_string(), data }
    }

    fn below<'n>(&self, name: &'n str) -> Option<&'n str> {
        let rest = name.strip_suffix(&*self.domain)?;
        if rest.is_empty() { Some(rest) } else { rest.strip_suffix('.') }
    }

    fn apex(&self, asked: &str, kind: Kind) -> Lookup {
        let record = |data| Record { name: asked.to_owned(), data };
        let server = format!("ns.dns.{}", self.domain);
        match kind {
            Kind::Soa => Lookup::Found { answers: vec![record(self.soa().data)], additional: Vec::new() },
            Kind::Ns | Kind::Any => {
                let address = |ip: &IpAddr| Record { name: server.clone(), data: Data::Address(*ip) };
                let additional = self.servers.iter().map(address).collect();
                Lookup::Found { answers: vec![record(Data::Ns(server.clone()))], additional }
            }
            _ => Lookup::NoData,
        }
    }

    fn service(&self, asked: &str, kind: Kind, host: &[&str], name: &Name, entry: &Entry) -> Lookup {
        let full = format!("{}.{}.svc.{}", name.name, name.namespace, self.domain);
        if let Some(target) = &entry.service.external_name {
            let target = target.trim_end_matches('.').to_owned();
            return match host {
                // An alias answers for every type.
                [] => Lookup::Found {
                    answers: vec![Record { name: asked.to_owned(), data: Data::Cname(target) }],
                    additional: Vec::new(),
                },
                _ => Lookup::NoName,
            };
        }
        match host {
            [] if matches!(kind, Kind::Srv) => entry.srv(asked, &full, &|_, _| true),
            [] => addresses(asked, kind, entry.addresses()),
            [port, protocol] => {
                let (Some(port), Some(protocol)) = (port.strip_prefix('_'), protocol.strip_prefix('_'))
                else {
                    return Lookup::NoName;
                };
                let known = |name: &str, of: Protocol| name == port && of.lower_case() == protocol;
                match entry.srv(asked, &full, &known) {
                    Lookup::NoData => Lookup::NoName,
                    _ if !matches!(kind, Kind::Srv | Kind::Any) => Lookup::NoData,
                    found => found,
                }
            }
            // A protocol alone is a name on the way to its ports.
            ["_tcp" | "_udp" | "_sctp"] => Lookup::NoData,
            [hostname] => {
                let mut targets = entry.targets.iter().filter(|t| t.hostname == *hostname).peekable();
                match targets.peek() {
                    None => Lookup::NoName,
                    Some(_) if kind == Kind::Srv => {
                        let one = Entry { targets: targets.cloned().collect(), ..entry.clone() };
                        one.srv(asked, &full, &|_, _| true)
                    }
                    Some(_) => addresses(asked, kind, targets.map(|t| t.address)),
                }
            }
            _ => Lookup::NoName,
        }
    }

    fn reverse(&self, asked: &str, address: IpAddr, kind: Kind) -> Lookup {
        match self.by_address.get(&address) {
            Some(names) => found(asked, kind, Kind::Ptr, || names.iter().cloned().map(Data::Ptr).collect()),
            None if self.ranges.iter().any(|range| range.contains(address)) => Lookup::NoName,
            None => Lookup::NotOurs,
        }
    }

    fn reverse_names(&self, name: &Name, entry: &Entry) -> Vec<(IpAddr, String)> {
        let full = format!("{}.{}.svc.{}", name.name, name.namespace, self.domain);
        let own = entry.service.cluster_ips.iter().map(|ip| (*ip, full.clone()));
        let targets = entry.targets.iter().map(|t| (t.address, format!("{}.{full}", t.hostname)));
        own.chain(targets).collect()
    }

    fn has_namespace(&self, namespace: &str) -> bool {
        self.declared.contains(namespace) || self.namespaces.contains_key(namespace)
    }

    fn count(&mut self, namespace: &Arc<str>, added: bool) {
        let services = self.namespaces.get(namespace).copied().unwrap_or(0);
        match (services, added) {
            (0 | 1, false) => drop(self.namespaces.remove_mut(namespace)),
            (n, true) => self.namespaces.insert_mut(namespace.clone(), n + 1),
            (n, false) => self.namespaces.insert_mut(namespace.clone(), n - 1),
        }
    }
}

impl Entry {
    fn new(service: &Service, slices: &Slices) -> Entry {
        let mut targets: BTreeSet<Target> = BTreeSet::new();
        if service.headless {
            for slice in slices.values() {
                targets.extend(targets_of(slice, service.publish_not_ready));
            }
        }
        Entry { service: service.clone(), targets: targets.into_iter().collect() }
    }

    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let distinct: BTreeSet<IpAddr> = self.targets.iter().map(|target| target.address).collect();
        self.service.cluster_ips.iter().copied().chain(distinct)
    }

    /// SRV records of the ports that are `wanted`, with the addresses of their targets beside them.
    fn srv(&self, asked: &str, full: &str, wanted: &dyn Fn(&str, Protocol) -> bool) -> Lookup {
        let mut found: BTreeSet<(String, u16)> = BTreeSet::new();
        let mut additional: BTreeMap<IpAddr, String> = BTreeMap::new();
        if self.service.headless {
            for target in &self.targets {
                let name = format!("{}.{full}", target.hostname);
                for (_, _, port) in target.ports.iter().filter(|(port, protocol, _)| wanted(port, *protocol))
                {
                    found.insert((name.clone(), *port));
                    additional.insert(target.address, name.clone());
                }
            }
        } else {
            for port in self.service.ports.iter().filter(|port| wanted(&port.name, port.protocol)) {
                found.insert((full.to_owned(), port.port));
                additional.extend(self.service.cluster_ips.iter().map(|ip| (*ip, full.to_owned())));
            }
        }
        if found.is_empty() {
            return Lookup::NoData;
        }
        let weight = (100 / found.len()).max(1) as u16;
        let answer = |(target, port)| Record {
            name: asked.to_owned(),
            data: Data::Srv { priority: 0, weight, port, target },
        };
        let address = |(ip, name)| Record { name, data: Data::Address(ip) };
        Lookup::Found {
            answers: found.into_iter().map(answer).collect(),
            additional: additional.into_iter().map(address).collect(),
        }
    }
}

/// The endpoints of a slice that may be named. A pod without a hostname is named by its address.
fn targets_of(slice: &EndpointSlice, publish_not_ready: bool) -> impl Iterator<Item = Target> {
    let ports: Vec<_> = slice.ports.iter().map(|p| (p.name.clone(), p.protocol, p.port)).collect();
    let named = slice.endpoints.iter().filter(move |endpoint| publish_not_ready || endpoint.ready);
    named.map(move |endpoint| Target {
        hostname: endpoint.hostname.clone().unwrap_or_else(|| dashed(endpoint.address)).to_ascii_lowercase(),
        address: endpoint.address,
        ports: ports.clone(),
    })
}

fn addresses(asked: &str, kind: Kind, all: impl Iterator<Item = IpAddr>) -> Lookup {
    let wanted = all.filter(|ip| match kind {
        Kind::A => Family::of(*ip) == Family::V4,
        Kind::Aaaa => Family::of(*ip) == Family::V6,
        Kind::Any => true,
        _ => false,
    });
    let answers: Vec<Record> =
        wanted.map(|ip| Record { name: asked.to_owned(), data: Data::Address(ip) }).collect();
    if answers.is_empty() { Lookup::NoData } else { Lookup::Found { answers, additional: Vec::new() } }
}

fn found(asked: &str, kind: Kind, is: Kind, data: impl FnOnce() -> Vec<Data>) -> Lookup {
    if kind != is && kind != Kind::Any {
        return Lookup::NoData;
    }
    let record = |data| Record { name: asked.to_owned(), data };
    Lookup::Found { answers: data().into_iter().map(record).collect(), additional: Vec::new() }
}

fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

/// The address that a pod's name spells: `10-42-0-7`, `fd00-42--7`.
fn spelled(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| label.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The address that a complete reverse name stands for.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let mut bytes = [0u8; 4];
        let mut labels = octets.split('.');
        for byte in bytes.iter_mut().rev() {
            *byte = labels.next()?.parse().ok()?;
        }
        return labels.next().is_none().then(|| IpAddr::from(bytes));
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let mut bits = 0u128;
    let mut count = 0;
    for label in nibbles.split('.') {
        let digit = (label.len() == 1).then(|| u128::from_str_radix(label, 16).ok())??;
        bits = bits >> 4 | digit << 124;
        count += 1;
    }
    (count == 32).then(|| IpAddr::V6(Ipv6Addr::from_bits(bits)))
}
