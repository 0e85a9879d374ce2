//! API objects as they come from the server.

use k8s_openapi::api::{core::v1 as core, discovery::v1 as discovery};
use netplan::addr::Protocol;
use netplan::convert;
use netplan::model::Service;

use crate::world::ip;

#[test]
fn services() {
    let mut object = core::Service::default();
    let spec = object.spec.get_or_insert_default();
    spec.type_ = Some("LoadBalancer".into());
    spec.cluster_ip = Some("10.96.0.50".into());
    spec.cluster_ips = Some(vec!["10.96.0.50".into(), "fd00:96::50".into()]);
    spec.session_affinity = Some("ClientIP".into());
    spec.external_traffic_policy = Some("Local".into());
    spec.health_check_node_port = Some(31000);
    spec.load_balancer_source_ranges = Some(vec![" 10.0.0.0/8 ".into()]);
    spec.ports = Some(vec![core::ServicePort { port: 80, node_port: Some(30080), ..Default::default() }]);
    let ingress = |ip: &str, mode: Option<&str>| core::LoadBalancerIngress {
        ip: Some(ip.into()),
        ip_mode: mode.map(Into::into),
        ..Default::default()
    };
    let balancer = core::LoadBalancerStatus {
        ingress: Some(vec![ingress("203.0.113.1", None), ingress("203.0.113.2", Some("Proxy"))]),
    };
    object.status = Some(core::ServiceStatus { load_balancer: Some(balancer), ..Default::default() });
    let service = convert::service(&object);
    assert_eq!(service.cluster_ips, [ip("10.96.0.50"), ip("fd00:96::50")]);
    assert_eq!(service.load_balancer_ips, [ip("203.0.113.1")]);
    assert_eq!(service.source_ranges, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(service.affinity.map(|a| a.as_secs()), Some(10_800));
    assert_eq!((service.health_check_node_port, service.external_local), (31000, true));
    assert_eq!((service.ports[0].protocol, service.ports[0].node_port), (Protocol::Tcp, 30080));

    let spec = object.spec.get_or_insert_default();
    spec.type_ = Some("ExternalName".into());
    spec.external_name = Some("example.org".into());
    let alias = Service { external_name: Some("example.org".into()), ..Service::default() };
    assert_eq!(convert::service(&object), alias);
    object.spec = Some(core::ServiceSpec { cluster_ip: Some("None".into()), ..Default::default() });
    assert!(convert::service(&object).headless && convert::service(&object).cluster_ips.is_empty());
    assert!(convert::is_proxied(&object));
    let label = ("service.kubernetes.io/service-proxy-name".to_owned(), "other".to_owned());
    object.metadata.labels = Some([label].into());
    assert!(!convert::is_proxied(&object));
}

#[test]
fn slices() {
    let mut object = discovery::EndpointSlice { address_type: "IPv4".into(), ..Default::default() };
    object.metadata.namespace = Some("shop".into());
    object.endpoints = Some(vec![
        discovery::Endpoint { addresses: vec!["10.42.0.7".into()], ..Default::default() },
        discovery::Endpoint { addresses: vec!["fd00::7".into()], ..Default::default() },
    ]);
    object.ports = Some(vec![discovery::EndpointPort { port: Some(8080), ..Default::default() }]);
    assert_eq!(convert::endpoint_slice(&object), None, "no service");
    object.metadata.labels = Some([("kubernetes.io/service-name".to_owned(), "web".to_owned())].into());
    let slice = convert::endpoint_slice(&object).unwrap();
    assert_eq!((slice.service.to_string(), slice.endpoints.len()), ("shop/web".into(), 1));
    assert!(slice.endpoints[0].ready && slice.endpoints[0].serving && !slice.endpoints[0].terminating);
    object.address_type = "FQDN".into();
    assert_eq!(convert::endpoint_slice(&object), None);
}

#[test]
fn host_ports() {
    let port = |host_ip: Option<&str>| core::ContainerPort {
        container_port: 80,
        host_port: Some(8000),
        host_ip: host_ip.map(Into::into),
        protocol: Some("UDP".into()),
        ..Default::default()
    };
    let mut pod = core::Pod::default();
    let container = core::Container {
        ports: Some(vec![port(None), port(Some("192.0.2.1")), core::ContainerPort::default()]),
        ..Default::default()
    };
    pod.spec = Some(core::PodSpec { containers: vec![container], ..Default::default() });
    assert!(convert::host_ports(&pod).is_empty(), "no address yet");
    let pod_ips = ["10.42.0.7", "fd00::7"].map(|ip| core::PodIP { ip: ip.into() }).to_vec();
    pod.status = Some(core::PodStatus { pod_ips: Some(pod_ips), ..Default::default() });
    let got: Vec<_> = convert::host_ports(&pod).iter().map(|p| (p.host_ip, p.pod_ip)).collect();
    let bound = Some(ip("192.0.2.1"));
    assert_eq!(got, [(None, ip("10.42.0.7")), (None, ip("fd00::7")), (bound, ip("10.42.0.7"))]);
    pod.spec.get_or_insert_default().host_network = Some(true);
    assert!(convert::host_ports(&pod).is_empty());
}
