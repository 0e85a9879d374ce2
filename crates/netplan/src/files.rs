//! The resolver and hosts files of pods, composed as upstream's kubelet composes them.

use std::fmt::Write;
use std::net::IpAddr;

/// Resolvers that libc reads; further ones are dropped.
pub const MAX_NAMESERVERS: usize = 3;
/// Search domains of a pod.
pub const MAX_SEARCHES: usize = 32;
/// Characters of all search domains together, spaces included.
pub const MAX_SEARCH_CHARS: usize = 2048;
/// Characters of one domain: glibc aborts on longer ones.
const MAX_DOMAIN_CHARS: usize = 253;

/// The contents of a resolver file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolver {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsPolicy {
    ClusterFirst,
    ClusterFirstWithHostNet,
    Default,
    None,
}

impl DnsPolicy {
    pub fn from_api(name: &str) -> Option<DnsPolicy> {
        match name {
            "ClusterFirst" | "" => Some(DnsPolicy::ClusterFirst),
            "ClusterFirstWithHostNet" => Some(DnsPolicy::ClusterFirstWithHostNet),
            "Default" => Some(DnsPolicy::Default),
            "None" => Some(DnsPolicy::None),
            _ => None,
        }
    }
}

/// A pod's own additions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDnsConfig {
    pub nameservers: Vec<String>,
    pub searches: Vec<String>,
    /// Names and values; an option may have no value.
    pub options: Vec<(String, Option<String>)>,
}

/// What the node knows about names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeDns {
    /// The node's own resolver file; `None` means that the node has been told to use none.
    pub host: Option<Resolver>,
    pub cluster_dns: Vec<IpAddr>,
    /// Empty when the cluster has no domain.
    pub cluster_domain: String,
    pub node_addresses: Vec<IpAddr>,
}

/// What a pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodDns {
    pub namespace: String,
    pub policy: DnsPolicy,
    pub host_network: bool,
    pub config: Option<PodDnsConfig>,
}

/// Something that the pod's owner should hear of, as an event with this reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub reason: &'static str,
    pub message: String,
}

/// The resolver settings of a pod, and what had to be left out.
pub fn pod_resolver(pod: &PodDns, node: &NodeDns) -> (Resolver, Vec<Notice>) {
    let mut notices = Vec::new();
    let cluster_wanted = match pod.policy {
        DnsPolicy::ClusterFirst => !pod.host_network,
        DnsPolicy::ClusterFirstWithHostNet => true,
        DnsPolicy::Default | DnsPolicy::None => false,
    };
    let mut resolver = if pod.policy == DnsPolicy::None {
        Resolver::default()
    } else if cluster_wanted && !node.cluster_dns.is_empty() {
        cluster_resolver(pod, node)
    } else {
        if cluster_wanted {
            notices.push(Notice {
                reason: "MissingClusterDNS",
                message: "kubelet does not have ClusterDNS IP configured and cannot create Pod using \
                          \"ClusterFirst\" policy. Falling back to \"Default\" policy."
                    .to_owned(),
            });
        }
        node.host.clone().unwrap_or_else(|| no_resolver(&node.node_addresses))
    };
    if let Some(config) = &pod.config {
        resolver.nameservers.extend(config.nameservers.iter().cloned());
        resolver.searches.extend(config.searches.iter().cloned());
        omit_duplicates(&mut resolver.nameservers);
        omit_duplicates(&mut resolver.searches);
        for (name, value) in &config.options {
            set_option(&mut resolver.options, name, value.as_deref().unwrap_or(""));
        }
    }
    notices.extend(fit_nameservers(&mut resolver.nameservers));
    notices.extend(fit_searches(&mut resolver.searches));
    (resolver, notices)
}

fn cluster_resolver(pod: &PodDns, node: &NodeDns) -> Resolver {
    let host_searches = node.host.as_ref().map_or(&[][..], |host| &host.searches);
    let domain = &node.cluster_domain;
    let mut searches = Vec::new();
    if !domain.is_empty() {
        searches = vec![format!("{}.svc.{domain}", pod.namespace), format!("svc.{domain}"), domain.clone()];
    }
    searches.extend(host_searches.iter().cloned());
    if !domain.is_empty() {
        omit_duplicates(&mut searches);
    }
    Resolver {
        nameservers: node.cluster_dns.iter().map(IpAddr::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    }
}

/// Without a resolver file a libc would ask the local machine, so that is what is written.
fn no_resolver(node_addresses: &[IpAddr]) -> Resolver {
    let local = |ip: &IpAddr| if ip.is_ipv6() { "::1" } else { "127.0.0.1" }.to_owned();
    let mut nameservers: Vec<String> = node_addresses.iter().map(local).collect();
    if nameservers.is_empty() {
        nameservers.push("127.0.0.1".to_owned());
    }
    Resolver { nameservers, searches: vec![".".to_owned()], options: Vec::new() }
}

fn fit_nameservers(nameservers: &mut Vec<String>) -> Option<Notice> {
    if nameservers.len() <= MAX_NAMESERVERS {
        return None;
    }
    nameservers.truncate(MAX_NAMESERVERS);
    let message = format!(
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: {}",
        nameservers.join(" ")
    );
    Some(Notice { reason: "DNSConfigForming", message })
}

fn fit_searches(searches: &mut Vec<String>) -> Option<Notice> {
    let asked = searches.len();
    searches.truncate(MAX_SEARCHES);
    searches.retain(|domain| domain.len() <= MAX_DOMAIN_CHARS);
    while searches.join(" ").len() > MAX_SEARCH_CHARS {
        searches.pop();
    }
    (searches.len() < asked).then(|| Notice {
        reason: "DNSConfigForming",
        message: format!(
            "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: {}",
            searches.join(" ")
        ),
    })
}

fn omit_duplicates(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|entry| seen.insert(entry.clone()));
}

/// Sets an option in place, so that the file does not depend on chance: upstream's order does.
fn set_option(options: &mut Vec<String>, name: &str, value: &str) {
    let text = if value.is_empty() { name.to_owned() } else { format!("{name}:{value}") };
    let same = options.iter_mut().find(|option| option.split(':').next() == Some(name));
    match same {
        Some(option) => *option = text,
        None => options.push(text),
    }
}

impl Resolver {
    /// Reads a resolver file: nameservers add up, of search lines the last one counts, of equal
    /// options too. Lines that libc would not know are passed over.
    ///
    /// # Errors
    /// When a nameserver line names none.
    pub fn parse(text: &str) -> Result<Resolver, String> {
        let mut resolver = Resolver::default();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => match words.next() {
                    Some(address) => resolver.nameservers.push(address.to_owned()),
                    None => return Err("a nameserver line names no address".to_owned()),
                },
                Some("search") => {
                    let domain = |word: &str| word.strip_suffix('.').unwrap_or(word).to_owned();
                    resolver.searches = words.filter(|word| *word != ".").map(domain).collect();
                }
                Some("options") => {
                    for word in words {
                        let (name, value) = word.split_once(':').unwrap_or((word, ""));
                        set_option(&mut resolver.options, name, value);
                    }
                }
                _ => {}
            }
        }
        Ok(resolver)
    }

    /// The nameservers that can be asked from any network namespace: loopback means somebody else in
    /// each.
    pub fn upstreams(&self) -> Vec<IpAddr> {
        let parsed = self.nameservers.iter().filter_map(|server| server.parse::<IpAddr>().ok());
        parsed.filter(|address| !address.is_loopback() && !address.is_unspecified()).collect()
    }

    /// The file, as the container runtimes write it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text += &format!("search {}\n", self.searches.join(" "));
        }
        for nameserver in &self.nameservers {
            text += &format!("nameserver {nameserver}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }
}

/// An address and the names that a pod's owner wants for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    pub ip: String,
    pub hostnames: Vec<String>,
}

/// The hosts file of a pod with a network of its own.
pub fn pod_hosts(pod_ips: &[IpAddr], hostname: &str, domain: &str, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in pod_ips {
        if domain.is_empty() {
            text += &format!("{ip}\t{hostname}\n");
        } else {
            text += &format!("{ip}\t{hostname}.{domain}\t{hostname}\n");
        }
    }
    add_aliases(&mut text, aliases);
    text
}

/// The hosts file of a pod in the node's network, from the node's own.
pub fn host_network_hosts(node_hosts: &str, aliases: &[HostAlias]) -> String {
    let mut text = format!("# Kubernetes-managed hosts file (host network).\n{node_hosts}");
    add_aliases(&mut text, aliases);
    text
}

fn add_aliases(text: &mut String, aliases: &[HostAlias]) {
    if !aliases.is_empty() {
        text.push_str("\n# Entries added by HostAliases.\n");
    }
    for alias in aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> NodeDns {
        NodeDns {
            host: Some(
                Resolver::parse("nameserver 9.9.9.9\nsearch corp.example.\noptions rotate\n").unwrap(),
            ),
            cluster_dns: vec!["10.96.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            node_addresses: vec!["192.0.2.1".parse().unwrap()],
        }
    }

    fn pod(policy: DnsPolicy) -> PodDns {
        PodDns { namespace: "shop".into(), policy, host_network: false, config: None }
    }

    #[test]
    fn policies() {
        let check = |pod: PodDns, node: NodeDns, want: &str, reasons: &[&str]| {
            let (resolver, notices) = pod_resolver(&pod, &node);
            assert_eq!(resolver.text(), want, "{pod:?}");
            assert_eq!(notices.iter().map(|n| n.reason).collect::<Vec<_>>(), reasons);
        };
        let cluster = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example\n\
                       nameserver 10.96.0.10\noptions ndots:5\n";
        let host = "search corp.example\nnameserver 9.9.9.9\noptions rotate\n";
        check(pod(DnsPolicy::ClusterFirst), node(), cluster, &[]);
        check(pod(DnsPolicy::ClusterFirstWithHostNet), node(), cluster, &[]);
        check(PodDns { host_network: true, ..pod(DnsPolicy::ClusterFirst) }, node(), host, &[]);
        check(PodDns { host_network: true, ..pod(DnsPolicy::ClusterFirstWithHostNet) }, node(), cluster, &[]);
        check(pod(DnsPolicy::Default), node(), host, &[]);
        check(pod(DnsPolicy::None), node(), "", &[]);
        let no_cluster = NodeDns { cluster_dns: vec![], ..node() };
        check(pod(DnsPolicy::ClusterFirst), no_cluster, host, &["MissingClusterDNS"]);
        let no_host = NodeDns { host: None, ..node() };
        check(pod(DnsPolicy::Default), no_host, "search .\nnameserver 127.0.0.1\n", &[]);
        let no_domain = NodeDns { cluster_domain: String::new(), ..node() };
        let want = "search corp.example\nnameserver 10.96.0.10\noptions ndots:5\n";
        check(pod(DnsPolicy::ClusterFirst), no_domain, want, &[]);
        let config = PodDnsConfig {
            nameservers: vec!["1.2.3.4".into(), "10.96.0.10".into()],
            searches: vec!["my.dns.search.suffix".into(), "cluster.local".into()],
            options: vec![("ndots".into(), Some("2".into())), ("edns0".into(), None)],
        };
        let want = "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example my.dns.search.suffix\n\
                    nameserver 10.96.0.10\nnameserver 1.2.3.4\noptions ndots:2 edns0\n";
        check(PodDns { config: Some(config.clone()), ..pod(DnsPolicy::ClusterFirst) }, node(), want, &[]);
        let want = "search my.dns.search.suffix cluster.local\nnameserver 1.2.3.4\nnameserver 10.96.0.10\n\
                    options ndots:2 edns0\n";
        check(PodDns { config: Some(config), ..pod(DnsPolicy::None) }, node(), want, &[]);
    }

    #[test]
    fn limits() {
        let with = |nameservers: usize, searches: Vec<String>| {
            let config = PodDnsConfig {
                nameservers: (0..nameservers).map(|n| format!("10.0.0.{n}")).collect(),
                searches,
                options: vec![],
            };
            pod_resolver(&PodDns { config: Some(config), ..pod(DnsPolicy::None) }, &node())
        };
        let (resolver, notices) = with(4, vec![]);
        assert_eq!(resolver.nameservers.len(), 3);
        let want = "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                    nameserver line is: 10.0.0.0 10.0.0.1 10.0.0.2";
        assert_eq!(notices, [Notice { reason: "DNSConfigForming", message: want.into() }]);
        let (resolver, notices) = with(1, (0..33).map(|n| format!("d{n}")).collect());
        assert_eq!((resolver.searches.len(), notices.len()), (32, 1));
        let (resolver, notices) = with(1, vec!["x".repeat(254), "y".repeat(253)]);
        assert_eq!((resolver.searches, notices.len()), (vec!["y".repeat(253)], 1));
        let (resolver, _) = with(1, (0..10).map(|n| format!("{n}{}", "z".repeat(249))).collect());
        assert_eq!(resolver.searches.len(), 8);
        assert_eq!(with(3, (0..8).map(|n| format!("{n}{}", "z".repeat(240))).collect()).1, []);
    }

    #[test]
    fn resolver_files() {
        let check = |text: &str, nameservers: &[&str], searches: &[&str], options: &[&str]| {
            let got = Resolver::parse(text).unwrap();
            assert_eq!(
                (got.nameservers, got.searches, got.options),
                (owned(nameservers), owned(searches), owned(options))
            );
        };
        fn owned(list: &[&str]) -> Vec<String> {
            list.iter().map(|s| (*s).to_owned()).collect()
        }
        check("", &[], &[], &[]);
        check("# nameserver 1.1.1.1\nnameserver \t 1.2.3.4 extra\n", &["1.2.3.4"], &[], &[]);
        check("search a.example. .\nsearch b.example c.example", &[], &["b.example", "c.example"], &[]);
        check("options ndots:1 debug\noptions ndots:3", &[], &[], &["ndots:3", "debug"]);
        assert!(Resolver::parse("nameserver\n").is_err());
        let stub = Resolver::parse("nameserver 127.0.0.53\nnameserver ::1\nnameserver 9.9.9.9\nnameserver x")
            .unwrap();
        assert_eq!(stub.upstreams(), ["9.9.9.9".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn hosts_files() {
        let aliases = [HostAlias { ip: "123.45.67.89".into(), hostnames: vec!["foo".into(), "bar".into()] }];
        let ip: IpAddr = "10.42.0.2".parse().unwrap();
        let text = pod_hosts(&[ip], "web-0", "web.shop.svc.cluster.local", &aliases);
        let want = "fe00::2\tip6-allrouters\n10.42.0.2\tweb-0.web.shop.svc.cluster.local\tweb-0\n\n\
                    # Entries added by HostAliases.\n123.45.67.89\tfoo\tbar\n";
        assert!(text.ends_with(want), "{text}");
        assert!(pod_hosts(&[ip], "web", "", &[]).ends_with("ip6-allrouters\n10.42.0.2\tweb\n"));
        let want = "# Kubernetes-managed hosts file (host network).\n127.0.0.1 x\n";
        assert_eq!(host_network_hosts("127.0.0.1 x\n", &[]), want);
    }
}
