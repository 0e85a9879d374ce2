//! Endpoints: the pods behind a service in the form that came before slices, one object for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service, ServiceSpec,
};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::typed::Typed;
use grammar::names::parse_ip_sloppy;

use crate::endpoint_slice::{concerns, find_port};
use crate::plan::{Action, EventNote, Kind, Operation, Plan, Target};
use crate::pods;

/// Addresses beyond this number are left out, since every change rewrites the whole object.
pub const MAX_ADDRESSES: usize = 1000;

const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";

pub struct View<'a> {
    pub service: &'a Service,
    /// The pods of its namespace that its selector matches.
    pub pods: &'a [&'a Pod],
    /// The object of the service's name.
    pub endpoints: Option<&'a Endpoints>,
}

pub fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = view.service.spec.as_ref().filter(|_| concerns(view.service)) else { return plan };
    let mut subsets = subsets(view, spec);
    let is_truncated = truncate(&mut subsets);
    let old = view.endpoints.map(|endpoints| endpoints.metadata.clone()).unwrap_or_default();
    let mut annotations = old.annotations.clone().unwrap_or_default();
    if is_truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    let metadata = ObjectMeta {
        name: view.service.metadata.name.clone(),
        namespace: view.service.metadata.namespace.clone(),
        labels: Some(labels(view.service, spec)),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..old
    };
    let wanted =
        Endpoints { metadata, subsets: Some(subsets).filter(|subsets| !subsets.is_empty()) }.to_tree();
    let service = &view.service.metadata;
    match view.endpoints {
        None => {
            let target = Target::of(Kind::ENDPOINTS, service);
            let name = format!("{}/{}", target.namespace, target.name);
            let failed = format!("Failed to create endpoint for service {name}: ");
            let failed =
                EventNote::warning(Kind::ENDPOINTS, service, "FailedToCreateEndpoint", failed).with_error();
            let create = Operation::new(target, Action::Create { body: Arc::new(wanted) });
            plan.push(0, Operation { on_failure: Some(failed), ..create });
        }
        Some(endpoints) if endpoints.to_tree() != wanted => {
            let target = Target::of(Kind::ENDPOINTS, &endpoints.metadata);
            let failed = format!("Failed to update endpoint {}/{}: ", target.namespace, target.name);
            let failed =
                EventNote::warning(Kind::ENDPOINTS, &endpoints.metadata, "FailedToUpdateEndpoint", failed);
            let update = Action::Update { body: Arc::new(wanted) };
            let operation = Operation::on(Kind::ENDPOINTS, &endpoints.metadata, update);
            let operation = Operation { on_failure: Some(failed.with_error()), ..operation };
            plan.push(0, operation.at_revision(&endpoints.metadata));
        }
        Some(_) => {}
    }
    plan
}

fn labels(service: &Service, spec: &ServiceSpec) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if matches!(spec.cluster_ip.as_deref(), None | Some("" | "None")) {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

/// A port as it can be compared: name, number, protocol, application protocol.
type Port = (Option<String>, i32, String, Option<String>);

/// Two pods may share an address, as those on the network of their node do.
type AddressKey = (String, Option<String>);

/// Ports that are served by the same addresses share a subset. Subsets are in the order of their ports and addresses.
fn subsets(view: &View<'_>, spec: &ServiceSpec) -> Vec<EndpointSubset> {
    let publish_unready = spec.publish_not_ready_addresses == Some(true);
    let mut addresses = BTreeMap::<AddressKey, (EndpointAddress, bool)>::new();
    let mut by_port = BTreeMap::<Option<Port>, BTreeSet<AddressKey>>::new();
    for &pod in view.pods.iter().filter(|pod| !pods::is_terminal(pod)) {
        if pods::is_deleting(pod) && !publish_unready {
            continue;
        }
        let Some(address) = address(view.service, spec, pod) else { continue };
        let key = (address.ip.clone(), pod.metadata.uid.clone());
        let service_ports = spec.ports.as_deref().unwrap_or_default();
        let mut ports: Vec<Option<Port>> = service_ports
            .iter()
            .filter_map(|port| {
                let number = find_port(pod, port)?;
                let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
                let name = port.name.clone().filter(|name| !name.is_empty());
                Some(Some((name, number, protocol, port.app_protocol.clone())))
            })
            .collect();
        // A headless service may do without ports; its pods are found by address alone.
        if service_ports.is_empty() && spec.cluster_ip.as_deref() == Some("None") {
            ports.push(None);
        }
        for port in ports {
            by_port.entry(port).or_default().insert(key.clone());
            addresses.insert(key.clone(), (address.clone(), publish_unready || pods::is_ready(pod)));
        }
    }

    let mut by_addresses = BTreeMap::<BTreeSet<AddressKey>, Vec<Port>>::new();
    for (port, keys) in by_port {
        by_addresses.entry(keys).or_default().extend(port);
    }
    let mut grouped: Vec<(Vec<Port>, BTreeSet<AddressKey>)> =
        by_addresses.into_iter().map(|(keys, ports)| (ports, keys)).collect();
    grouped.sort_unstable();
    let subset = |(ports, keys): (Vec<Port>, BTreeSet<AddressKey>)| {
        let (ready, unready): (Vec<_>, Vec<_>) =
            keys.iter().filter_map(|key| addresses.get(key)).cloned().partition(|(_, is_ready)| *is_ready);
        let list = |side: Vec<(EndpointAddress, bool)>| {
            Some(side.into_iter().map(|(address, _)| address).collect())
                .filter(|list: &Vec<_>| !list.is_empty())
        };
        let port = |(name, port, protocol, app_protocol)| EndpointPort {
            name,
            port,
            protocol: Some(protocol),
            app_protocol,
        };
        let ports: Vec<EndpointPort> = ports.into_iter().map(port).collect();
        EndpointSubset {
            addresses: list(ready),
            not_ready_addresses: list(unready),
            ports: Some(ports).filter(|ports| !ports.is_empty()),
        }
    };
    grouped.into_iter().map(subset).collect()
}

/// The pod's address in the first of the service's families.
fn address(service: &Service, spec: &ServiceSpec, pod: &Pod) -> Option<EndpointAddress> {
    let status = pod.status.as_ref()?;
    let is_v6 = |text: Option<&str>| text.is_some_and(|text| text.contains(':'));
    let wants_v6 = match (spec.ip_families.iter().flatten().next(), spec.cluster_ip.as_deref()) {
        (Some(family), _) => family == "IPv6",
        (None, None | Some("" | "None")) => is_v6(status.pod_ip.as_deref()),
        (None, address) => is_v6(address),
    };
    let mut addresses = status.pod_ips.iter().flatten().filter_map(|own| parse_ip_sloppy(&own.ip));
    let ip = addresses.find(|ip| ip.is_ipv6() == wants_v6)?;
    let pod_spec = pod.spec.as_ref();
    let hostname = pod_spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    let is_governed = pod_spec.and_then(|spec| spec.subdomain.as_ref()) == service.metadata.name.as_ref();
    Some(EndpointAddress {
        ip: ip.to_string(),
        hostname: hostname.filter(|_| is_governed),
        node_name: Some(pods::node_name(pod).to_owned()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Cuts the addresses to what the object may hold, the unready ones first and each subset by its share.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let length = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|subset| length(&subset.addresses)).sum();
    let unready: usize = subsets.iter().map(|subset| length(&subset.not_ready_addresses)).sum();
    if ready + unready <= MAX_ADDRESSES {
        return false;
    }
    let cuts_ready = ready > MAX_ADDRESSES;
    let (room, total) = if cuts_ready { (MAX_ADDRESSES, ready) } else { (MAX_ADDRESSES - ready, unready) };
    let mut left = room;
    for subset in subsets {
        if cuts_ready {
            subset.not_ready_addresses = None;
        }
        let list = if cuts_ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        let share = (length(list) * room).div_ceil(total).min(left);
        left -= share;
        if let Some(addresses) = list {
            addresses.truncate(share);
        }
        if share == 0 {
            *list = None;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(name: &str, ip: &str, ready: bool, port: i32) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": port}]}]},
            "status": {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}, {"ip": "fd00::1"}],
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            },
        })
    }

    fn service(ports: Value) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "default", "labels": {"team": "a"}},
            "spec": {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "selector": {"app": "web"}, "ports": ports},
        })
    }

    fn plan(service: &Value, pods: &[Value], endpoints: Option<&Value>) -> Plan {
        let service = Service::from_tree(service).unwrap();
        let pods: Vec<Pod> = pods.iter().map(|pod| Pod::from_tree(pod).unwrap()).collect();
        let endpoints = endpoints.map(|tree| Endpoints::from_tree(tree).unwrap());
        let pods: Vec<&Pod> = pods.iter().collect();
        reconcile(&View { service: &service, pods: &pods, endpoints: endpoints.as_ref() })
    }

    /// Subsets as text: ready addresses, unready addresses, ports. What was created needs no change.
    fn check(service: &Value, pods: &[Value], expected: &[&str]) -> Value {
        let first = plan(service, pods, None);
        let [Operation { action: Action::Create { body }, .. }] = &first.operations[..] else {
            panic!("{first:?}")
        };
        let texts = |list: &Value, field: &str| {
            let items = list.as_array().into_iter().flatten();
            items.map(|item| item[field].to_string().replace('"', "")).collect::<Vec<_>>().join(",")
        };
        let subsets = body["subsets"].as_array().into_iter().flatten();
        let lines: Vec<String> = subsets
            .map(|subset| {
                let (ready, unready) =
                    (texts(&subset["addresses"], "ip"), texts(&subset["notReadyAddresses"], "ip"));
                format!("{ready} | {unready} | {}", texts(&subset["ports"], "port"))
            })
            .collect();
        assert_eq!(lines, expected);
        assert_eq!(plan(service, pods, Some(body)), Plan::default());
        (**body).clone()
    }

    #[test]
    fn ports_with_the_same_addresses_share_a_subset() {
        let ports = json!([
            {"name": "a", "port": 80, "targetPort": "web", "protocol": "TCP"},
            {"name": "b", "port": 81, "targetPort": 99, "protocol": "TCP"},
        ]);
        let equal = [pod("a", "10.0.0.2", true, 8080), pod("b", "10.0.0.3", false, 8080)];
        let body = check(&service(ports.clone()), &equal, &["10.0.0.2 | 10.0.0.3 | 8080,99"]);
        assert_eq!(body["metadata"]["labels"], json!({"team": "a", MANAGED_BY: MANAGER}));
        let mut other = equal.clone();
        other[1]["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
        let expected = ["10.0.0.2 |  | 8080", " | 10.0.0.3 | 9090", "10.0.0.2 | 10.0.0.3 | 99"];
        check(&service(ports.clone()), &other, &expected);
        check(&service(ports.clone()), &[], &[]);

        let changed = plan(&service(ports), &equal[..1], Some(&body));
        assert!(matches!(changed.operations[..], [Operation { action: Action::Update { .. }, .. }]));
    }

    #[test]
    fn headless_services_need_no_ports() {
        let mut headless = service(json!([]));
        headless["spec"]["clusterIP"] = json!("None");
        let mut leaving = pod("b", "10.0.0.3", true, 1);
        leaving["metadata"]["deletionTimestamp"] = json!("2027-01-15T07:00:00Z");
        let body = check(&headless, &[pod("a", "10.0.0.2", true, 1), leaving.clone()], &["10.0.0.2 |  | "]);
        assert_eq!(body["metadata"]["labels"][HEADLESS], "");
        headless["spec"]["publishNotReadyAddresses"] = json!(true);
        check(&headless, &[leaving], &["10.0.0.3 |  | "]);
    }

    #[test]
    fn unready_addresses_are_the_first_to_be_left_out() {
        let ports = json!([{"port": 80, "targetPort": "web", "protocol": "TCP"}]);
        let pods: Vec<Value> = (0..1200)
            .map(|i| pod(&format!("p{i}"), &format!("10.1.{}.{}", i / 200, i % 200 + 1), i % 3 > 0, 80))
            .collect();
        let first = plan(&service(ports), &pods, None);
        let Action::Create { body } = &first.operations[0].action else { panic!("{first:?}") };
        let count = |field: &str| body["subsets"][0][field].as_array().unwrap().len();
        assert_eq!((count("addresses"), count("notReadyAddresses")), (800, 200));
        assert_eq!(body["metadata"]["annotations"][OVER_CAPACITY], "truncated");
    }
}
