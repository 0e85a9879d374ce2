//! From API objects to the plain structs of [`crate::model`].
//!
//! Objects come from the API server, so fields that validation guarantees are not checked again; what
//! does not parse all the same is left out rather than guessed.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;

use crate::addr::{Cidr, Family, Protocol};
use crate::files::{DnsPolicy, HostAlias, PodDns, PodDnsConfig};
use crate::model::{Endpoint, EndpointPort, EndpointSlice, HostPort, Name, Service, ServicePort};

/// The label that names a slice's service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Services with this label are left to another proxy.
const FOREIGN_PROXY: &str = "service.kubernetes.io/service-proxy-name";
/// Objects with this label have no addresses of their own.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Seconds of affinity when the object does not say.
const DEFAULT_AFFINITY: i32 = 10_800;

/// Whether our proxy should serve this service. Names are served either way.
pub fn is_proxied(service: &core::Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    !labels.is_some_and(|l| l.contains_key(FOREIGN_PROXY) || l.contains_key(HEADLESS))
}

pub fn name_of(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Name {
    Name::new(metadata.namespace.as_deref().unwrap_or(""), metadata.name.as_deref().unwrap_or(""))
}

pub fn service(object: &core::Service) -> Service {
    let Some(spec) = &object.spec else { return Service::default() };
    let text = |field: &Option<String>| field.as_deref().unwrap_or("").to_owned();
    let kind = text(&spec.type_);
    if kind == "ExternalName" {
        return Service { external_name: spec.external_name.clone(), ..Service::default() };
    }
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let mut cluster_ips: Vec<IpAddr> = addresses(spec.cluster_ips.as_deref().unwrap_or_default());
    if cluster_ips.is_empty() {
        cluster_ips.extend(spec.cluster_ip.iter().filter_map(|ip| ip.parse::<IpAddr>().ok()));
    }
    let ports = spec.ports.as_deref().unwrap_or_default().iter().filter_map(|port| {
        Some(ServicePort {
            name: text(&port.name),
            protocol: Protocol::from_api(port.protocol.as_deref().unwrap_or(""))?,
            port: u16::try_from(port.port).ok()?,
            node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        })
    });
    let external_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
        let seconds = config.and_then(|client_ip| client_ip.timeout_seconds).unwrap_or(DEFAULT_AFFINITY);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    });
    let is_load_balancer = kind == "LoadBalancer";
    let health_check = spec.health_check_node_port.filter(|_| is_load_balancer && external_local);
    Service {
        cluster_ips,
        headless,
        external_name: None,
        ports: ports.collect(),
        external_ips: addresses(spec.external_ips.as_deref().unwrap_or_default()),
        load_balancer_ips: load_balancer_ips(object),
        // Validation lets spaces around a range pass.
        source_ranges: spec
            .load_balancer_source_ranges
            .iter()
            .flatten()
            .filter_map(|range| range.trim().parse::<Cidr>().ok())
            .collect(),
        external_local,
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
        affinity,
        health_check_node_port: health_check.and_then(|port| u16::try_from(port).ok()).unwrap_or(0),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
    }
}

/// Balancers in proxy mode send packets to node ports; only the others leave their address in place.
fn load_balancer_ips(object: &core::Service) -> Vec<IpAddr> {
    let balancer = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = balancer.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let in_place = ingress.iter().filter(|entry| entry.ip_mode.as_deref().unwrap_or("VIP") == "VIP");
    in_place.filter_map(|entry| entry.ip.as_ref()?.parse().ok()).collect()
}

/// `None` for slices of no service, and of addresses that are names.
pub fn endpoint_slice(object: &discovery::EndpointSlice) -> Option<EndpointSlice> {
    let family = match object.address_type.as_str() {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME).filter(|name| !name.is_empty())?;
    let namespace = object.metadata.namespace.as_deref()?;
    let ports = object.ports.as_deref().unwrap_or_default().iter().filter_map(|port| {
        Some(EndpointPort {
            name: port.name.clone().unwrap_or_default(),
            protocol: Protocol::from_api(port.protocol.as_deref().unwrap_or(""))?,
            port: u16::try_from(port.port?).ok()?,
        })
    });
    Some(EndpointSlice {
        service: Name::new(namespace, service),
        family,
        ports: ports.collect(),
        endpoints: object.endpoints.iter().flatten().filter_map(|e| endpoint(e, family)).collect(),
    })
}

/// Conditions that nobody stated count as ready, serving and not terminating.
fn endpoint(object: &discovery::Endpoint, family: Family) -> Option<Endpoint> {
    let address: IpAddr = object.addresses.first()?.parse().ok()?;
    let conditions = object.conditions.as_ref();
    let hints = object.hints.as_ref();
    let zones = hints.and_then(|hints| hints.for_zones.as_deref()).unwrap_or_default();
    let nodes = hints.and_then(|hints| hints.for_nodes.as_deref()).unwrap_or_default();
    (Family::of(address) == family).then(|| Endpoint {
        address,
        hostname: object.hostname.clone().filter(|name| !name.is_empty()),
        node: object.node_name.clone(),
        ready: conditions.and_then(|c| c.ready).unwrap_or(true),
        serving: conditions.and_then(|c| c.serving).unwrap_or(true),
        terminating: conditions.and_then(|c| c.terminating).unwrap_or(false),
        zone_hints: zones.iter().map(|zone| zone.name.clone()).collect::<BTreeSet<_>>(),
        node_hints: nodes.iter().map(|node| node.name.clone()).collect::<BTreeSet<_>>(),
    })
}

/// The host ports of a pod that has its own network and an address.
pub fn host_ports(pod: &core::Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| !spec.host_network.unwrap_or(false)) else {
        return Vec::new();
    };
    let status = pod.status.as_ref();
    let pod_ips: Vec<IpAddr> = status
        .and_then(|s| s.pod_ips.as_deref())
        .unwrap_or_default()
        .iter()
        .filter_map(|p| p.ip.parse().ok())
        .collect();
    // Init containers that never restart are gone before the pod serves.
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports.flat_map(|port| pod_ips.iter().filter_map(|pod_ip| host_port(port, *pod_ip))).collect()
}

fn host_port(port: &core::ContainerPort, pod_ip: IpAddr) -> Option<HostPort> {
    let host_ip: Option<IpAddr> = match port.host_ip.as_deref() {
        None | Some("") => None,
        Some(ip) => Some(ip.parse().ok()?),
    };
    let same_family = host_ip.is_none_or(|ip| Family::of(ip) == Family::of(pod_ip));
    let host_port = port.host_port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port != 0)?;
    let container_port = u16::try_from(port.container_port).ok()?;
    let protocol = Protocol::from_api(port.protocol.as_deref().unwrap_or(""))?;
    same_family.then_some(HostPort { host_ip, host_port, protocol, pod_ip, container_port })
}

/// A pod's wishes for its resolver file. An unknown policy counts as ClusterFirst, as upstream has it.
pub fn pod_dns(pod: &core::Pod) -> PodDns {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("");
    let config = spec.and_then(|spec| spec.dns_config.as_ref()).map(|config| PodDnsConfig {
        nameservers: config.nameservers.clone().unwrap_or_default(),
        searches: config.searches.clone().unwrap_or_default(),
        options: config
            .options
            .iter()
            .flatten()
            .map(|option| (option.name.clone().unwrap_or_default(), option.value.clone()))
            .collect(),
    });
    PodDns {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        policy: DnsPolicy::from_api(policy).unwrap_or(DnsPolicy::ClusterFirstWithHostNet),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        config,
    }
}

pub fn host_aliases(pod: &core::Pod) -> Vec<HostAlias> {
    let aliases = pod.spec.as_ref().and_then(|spec| spec.host_aliases.as_deref()).unwrap_or_default();
    aliases
        .iter()
        .map(|alias| HostAlias {
            ip: alias.ip.clone(),
            hostnames: alias.hostnames.clone().unwrap_or_default(),
        })
        .collect()
}

fn addresses(list: &[String]) -> Vec<IpAddr> {
    list.iter().filter_map(|text| text.parse().ok()).collect()
}
