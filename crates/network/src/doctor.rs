//! What on this machine stands in the way of the network, each finding with a name and a remedy.
//!
//! Kernel features are not looked up but tried: in a network namespace made for that, which vanishes
//! with its thread.

use std::fs;
use std::net::IpAddr;

use netplan::addr::{Cidr, Family};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name, Node, Service, ServicePort};
use netplan::services::Planner;
use nix::sched::{CloneFlags, unshare};

use crate::links::nodes::{Peer, Tunnel, Underlay, connect};
use crate::links::pods::{PodLink, attach_pod, host_device};
use crate::netlink::{Message, Protocol, Socket};
use crate::nft::Table;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The network works, but not all of it or not for all.
    Advice,
    /// The network cannot work.
    Problem,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub name: &'static str,
    pub severity: Severity,
    pub message: String,
    pub remedy: &'static str,
}

/// Runs all checks of the network namespace that the calling thread is in.
pub fn examine() -> Vec<Finding> {
    let checks: [fn() -> Vec<Finding>; 7] =
        [service_table, pod_links, tunnels, connection_tracking, foreign_forward_drops, settings, resolvers];
    checks.into_iter().flat_map(|check| check()).collect()
}

/// Loads a table with everything in it that a plan may need.
pub fn service_table() -> Vec<Finding> {
    let attempt = |family: Family| {
        in_namespace(move || {
            let mut planner = sample(family);
            planner.commit();
            let mut table = Table::open(family, planner.any_address()).map_err(chain)?;
            table.load(planner.ruleset()).map_err(chain)
        })
    };
    let families =
        [(Family::V4, "nftables", Severity::Problem), (Family::V6, "nftables-ipv6", Severity::Advice)];
    let failed = families.into_iter().filter_map(|(family, name, severity)| {
        let message = attempt(family).err()?;
        let remedy = "use a kernel with nf_tables, nft_numgen, nft_fib, nft_masq, nft_nat and nft_reject, \
                      or load these modules";
        Some(Finding { name, severity, message, remedy })
    });
    failed.collect()
}

/// Hangs a pod on a node.
pub fn pod_links() -> Vec<Finding> {
    let attempt = in_namespace(|| {
        let link = PodLink {
            netns: "/proc/thread-self/ns/net".into(),
            host_device: host_device("doctor"),
            addresses: Vec::new(),
            mtu: 1400,
            alias: "doctor".to_owned(),
        };
        attach_pod(&link).map_err(chain)
    });
    problem(attempt, "veth", "use a kernel with veth, or load that module")
}

/// Makes a tunnel. Nodes on one link can do without.
pub fn tunnels() -> Vec<Finding> {
    let attempt = in_namespace(|| {
        let pod_cidrs: Vec<Cidr> = Cidr::new(IpAddr::from([10, 0, 0, 0]), 24).into_iter().collect();
        let local = IpAddr::from([127, 0, 0, 1]);
        let tunnel = Tunnel { id: 1, port: 4789, local, pod_cidrs: pod_cidrs.clone(), mtu: 1400 };
        connect(&Underlay::Tunnel(tunnel), &[] as &[Peer]).map_err(chain)
    });
    let mut findings = problem(attempt, "vxlan", "load the vxlan module, or put all nodes on one link");
    findings.iter_mut().for_each(|finding| finding.severity = Severity::Advice);
    findings
}

/// Lists tracked connections, as is done before stale ones are cut.
pub fn connection_tracking() -> Vec<Finding> {
    let attempt = in_namespace(|| {
        let nothing = netplan::conntrack::UdpServices::default();
        crate::conntrack::flush_stale_udp(Family::V4, &nothing).map(drop).map_err(chain)
    });
    problem(attempt, "conntrack", "use a kernel with nf_conntrack_netlink, or load that module")
}

/// Chains of others that drop what is forwarded: pods would reach nobody, and nothing of ours can
/// overrule a drop.
pub fn foreign_forward_drops() -> Vec<Finding> {
    const GET_CHAIN: u16 = 10 << 8 | 4;
    let parse = |message: &Message<'_>, found: &mut Vec<String>| {
        const FORWARD: u32 = 2;
        const DROP: u32 = 0;
        let family = message.body.first().copied().unwrap_or_default();
        let attributes = message.attributes(4);
        let number = |kind: u16| attributes.get(kind).and_then(|a| a.be32());
        let text = |kind: u16| attributes.get(kind).and_then(|a| a.text()).unwrap_or_default();
        let hook = attributes.inside(4).get(1).and_then(|a| a.be32());
        if hook == Some(FORWARD) && number(5) == Some(DROP) && text(1) != netplan::rules::TABLE {
            found.push(format!("{} {} {}", family_name(family), text(1), text(3)));
        }
    };
    let listed = Socket::open(Protocol::Netfilter)
        .and_then(|mut socket| socket.dump(GET_CHAIN, &[0; 4], &|_| {}, &parse))
        .unwrap_or_default();
    let found = listed.into_iter().map(|chain| Finding {
        name: "forward-drop",
        severity: Severity::Problem,
        message: format!("chain {chain} drops what it does not know, and with it the traffic of pods"),
        remedy: "let it accept the pod and service ranges (for Docker: in the chain DOCKER-USER), or set its policy to accept",
    });
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    let legacy = legacy.lines().any(|table| table == "filter").then(|| Finding {
        name: "iptables-legacy",
        severity: Severity::Advice,
        message: "the old iptables filter table is in use, whose rules cannot be seen from here".to_owned(),
        remedy: "make sure that its FORWARD chain accepts the pod and service ranges",
    });
    found.chain(legacy).collect()
}

fn family_name(family: u8) -> &'static str {
    match i32::from(family) {
        libc::NFPROTO_INET => "inet",
        libc::NFPROTO_IPV4 => "ip",
        libc::NFPROTO_IPV6 => "ip6",
        libc::NFPROTO_BRIDGE => "bridge",
        _ => "?",
    }
}

/// Kernel settings that drop what takes different ways there and back.
pub fn settings() -> Vec<Finding> {
    let strict = ["all", "default"].into_iter().filter(|which| {
        let path = format!("/proc/sys/net/ipv4/conf/{which}/rp_filter");
        fs::read_to_string(path).is_ok_and(|value| value.trim() == "1")
    });
    let findings = strict.map(|which| Finding {
        name: "rp-filter",
        severity: Severity::Advice,
        message: format!(
            "net.ipv4.conf.{which}.rp_filter is 1 (strict): packets between nodes may take different ways and be dropped"
        ),
        remedy: "set it to 0 or 2 (loose)",
    });
    let unprepared =
        fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|value| value.trim() == "0");
    let forward = unprepared.then(|| Finding {
        name: "ip-forward",
        severity: Severity::Advice,
        message: "net.ipv4.ip_forward is 0: it is set to 1 when a node starts".to_owned(),
        remedy: "nothing, unless something else sets it back",
    });
    findings.chain(forward).collect()
}

/// Resolvers that pods could not reach: an address that means somebody else in each namespace.
pub fn resolvers() -> Vec<Finding> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let parsed = netplan::files::Resolver::parse(&text).unwrap_or_default();
    if !parsed.upstreams().is_empty() {
        return Vec::new();
    }
    let said = if parsed.nameservers.is_empty() {
        "no resolver".to_owned()
    } else {
        parsed.nameservers.join(" and ")
    };
    vec![Finding {
        name: "resolvers",
        severity: Severity::Advice,
        message: format!(
            "/etc/resolv.conf names {said}: nodes with namespaces of their own cannot ask there"
        ),
        remedy: "name a resolver of the network; behind systemd-resolved, /run/systemd/resolve/resolv.conf is taken instead",
    }]
}

fn problem(attempt: Result<(), String>, name: &'static str, remedy: &'static str) -> Vec<Finding> {
    let finding = |message| Finding { name, severity: Severity::Problem, message, remedy };
    attempt.err().map(finding).into_iter().collect()
}

/// Runs on a thread of its own in a new network namespace; both are gone afterwards.
fn in_namespace(work: impl FnOnce() -> Result<(), String> + Send) -> Result<(), String> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET)
                .map_err(|error| format!("making a network namespace: {error}"))?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err("the check panicked".to_owned()))
    })
}

/// An error with its sources, in one line.
fn chain(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let more = error.to_string();
        if !text.contains(&more) {
            text += &format!(": {more}");
        }
        source = error.source();
    }
    text
}

/// A plan that uses every kind of chain and set.
fn sample(family: Family) -> Planner {
    let (pods, services): (IpAddr, IpAddr) = match family {
        Family::V4 => ([10, 42, 0, 0].into(), [10, 96, 0, 0].into()),
        Family::V6 => ([0xfd00, 0x42, 0, 0, 0, 0, 0, 0].into(), [0xfd00, 0x96, 0, 0, 0, 0, 0, 0].into()),
    };
    let range = |base| Cidr::new(base, family.bits() - 16).into_iter().collect::<Vec<_>>();
    let node = Node {
        name: "here".into(),
        pod_cidrs: range(pods),
        service_cidrs: range(services),
        ..Node::default()
    };
    let protocol = netplan::addr::Protocol::Tcp;
    let service = Service {
        cluster_ips: vec![services],
        ports: vec![ServicePort { name: String::new(), protocol, port: 80, node_port: 30_000 }],
        load_balancer_ips: vec![pods],
        source_ranges: range(pods),
        external_local: true,
        affinity: Some(std::time::Duration::from_secs(1)),
        ..Service::default()
    };
    let name = Name::new("doctor", "sample");
    let endpoint = Endpoint { node: Some("here".into()), ..Endpoint::ready(pods) };
    let ports = vec![EndpointPort { name: String::new(), protocol, port: 80 }];
    let mut planner = Planner::new(family, node);
    planner.set_service(&name, Some(service));
    let slice = EndpointSlice { service: name.clone(), family, ports, endpoints: vec![endpoint] };
    planner.set_slice(&name, "sample", Some(slice));
    planner
}
