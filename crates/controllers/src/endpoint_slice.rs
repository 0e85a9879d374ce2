//! EndpointSlices: the pods behind each service, a hundred to a slice, changed as little as possible.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use api::k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use api::typed::Typed;
use grammar::names::{name_is_dns_subdomain, parse_ip_sloppy};

use crate::owner::Owner;
use crate::plan::{Action, Kind, Operation, Plan, Target};
use crate::pods;

/// A slice holds at most so many endpoints, so that one pod's change is a small write.
pub const MAX_ENDPOINTS: usize = 100;

pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`] on the slices that are this controller's.
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";

pub struct View<'a> {
    pub service: &'a Service,
    /// The pods of its namespace that its selector matches.
    pub pods: &'a [&'a Pod],
    /// The nodes that those pods are on, by name. A pod whose node is missing is not routed to.
    pub nodes: &'a BTreeMap<&'a str, &'a Node>,
    /// The slices that bear its name and are managed by this controller.
    pub slices: &'a [&'a EndpointSlice],
}

/// What is needed of a service: it selects pods and is no mere alias. Others have their endpoints from elsewhere.
pub fn concerns(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.is_some_and(|spec| spec.selector.is_some() && spec.type_.as_deref() != Some("ExternalName"))
}

pub fn reconcile(view: &View<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(spec) = view.service.spec.as_ref().filter(|_| concerns(view.service)) else { return plan };
    let families = families(spec);
    let mut changes = Changes::default();
    for &slice in view.slices.iter().filter(|slice| slice.metadata.deletion_timestamp.is_none()) {
        if !families.contains(slice.address_type.as_str()) {
            changes.delete.push(slice);
        }
    }
    for family in families {
        changes.add(family_changes(view, spec, family));
    }

    for slice in changes.create {
        // A service that is being deleted takes its slices with it; a new one would come too late for that.
        if view.service.metadata.deletion_timestamp.is_none() {
            let target = Target::of(Kind::ENDPOINT_SLICE, &slice.metadata);
            plan.push(0, Operation::new(target, Action::Create { body: Arc::new(slice.to_tree()) }));
        }
    }
    for slice in changes.update {
        let update = Action::Update { body: Arc::new(slice.to_tree()) };
        plan.push(
            0,
            Operation::on(Kind::ENDPOINT_SLICE, &slice.metadata, update).at_revision(&slice.metadata),
        );
    }
    // What is deleted goes last, so that at no moment an endpoint that moves is in no slice.
    let last = plan.next_stage();
    for slice in changes.delete {
        let delete = Action::Delete { propagation: None, grace_seconds: None };
        plan.push(last, Operation::on(Kind::ENDPOINT_SLICE, &slice.metadata, delete));
    }
    plan
}

#[derive(Default)]
struct Changes<'a> {
    create: Vec<EndpointSlice>,
    update: Vec<EndpointSlice>,
    delete: Vec<&'a EndpointSlice>,
}

impl<'a> Changes<'a> {
    fn add(&mut self, more: Changes<'a>) {
        self.create.extend(more.create);
        self.update.extend(more.update);
        self.delete.extend(more.delete);
    }
}

/// Ports by name decide which endpoints may share a slice: pods may resolve the same name to different numbers.
type PortKey = Vec<(String, Option<i32>, String, Option<String>)>;

/// One endpoint is another's successor if it has the same addresses, host name and pod name.
type EndpointKey = (Vec<String>, Option<String>, Option<String>);

#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    wanted: BTreeMap<EndpointKey, Endpoint>,
}

fn family_changes<'a>(view: &View<'a>, spec: &ServiceSpec, family: &str) -> Changes<'a> {
    let publish_unready = spec.publish_not_ready_addresses == Some(true);
    let mut groups = BTreeMap::<PortKey, Group>::new();
    for &pod in view.pods.iter().filter(|pod| has_address(pod) && !pods::is_terminal(pod)) {
        let ports = ports(spec, pod);
        let group = groups.entry(port_key(&ports)).or_default();
        group.ports = ports;
        let node = view.nodes.get(pods::node_name(pod)).copied();
        if node.is_none() && !publish_unready {
            continue;
        }
        let endpoint = endpoint(pod, node, &view.service.metadata, publish_unready, family);
        if !endpoint.addresses.is_empty() {
            group.wanted.insert(endpoint_key(&endpoint), endpoint);
        }
    }

    let mut changes = Changes::default();
    let mut present = BTreeMap::<PortKey, Vec<&EndpointSlice>>::new();
    let of_family =
        |slice: &&&EndpointSlice| slice.address_type == family && slice.metadata.deletion_timestamp.is_none();
    let mut count = 0;
    for &slice in view.slices.iter().filter(of_family) {
        count += 1;
        if is_owned(slice, view.service) {
            present.entry(port_key(slice.ports.as_deref().unwrap_or_default())).or_default().push(slice);
        } else {
            changes.delete.push(slice);
        }
    }
    for (key, group) in groups {
        let slices = present.remove(&key).unwrap_or_default();
        changes.add(group_changes(view.service, family, group, slices));
    }
    changes.delete.extend(present.into_values().flatten());

    // A service without endpoints has one empty slice, which tells "none" from "not known yet".
    if changes.delete.len() == count && changes.create.is_empty() {
        let placeholder = fresh(view.service, family, Vec::new());
        match changes.delete[..] {
            [only] if is_same(only, &placeholder) => changes.delete.clear(),
            _ => changes.create.push(placeholder),
        }
    }
    reuse(view.service, &mut changes);
    changes
}

/// Fits the wanted endpoints into the slices that there are: first what is in one already, then into slices that change
/// anyway, then into one that has room for all the rest, and only then into new ones.
fn group_changes<'a>(
    service: &Service,
    family: &str,
    group: Group,
    slices: Vec<&'a EndpointSlice>,
) -> Changes<'a> {
    let mut wanted = group.wanted;
    let mut changes = Changes::default();
    let mut unchanged = Vec::new();
    for slice in slices {
        let old = slice.endpoints.as_deref().unwrap_or_default();
        let kept: Vec<Endpoint> =
            old.iter().filter_map(|endpoint| wanted.remove(&endpoint_key(endpoint))).collect();
        let labels = labels(service);
        let is_same =
            kept.len() == old.len() && kept.iter().zip(old).all(|(new, old)| says_the_same(new, old));
        if is_same && slice.metadata.labels.as_ref() == Some(&labels) {
            unchanged.push(slice);
        } else if kept.is_empty() && !is_same {
            changes.delete.push(slice);
        } else {
            let mut slice = slice.clone();
            slice.metadata.labels = Some(labels);
            slice.endpoints = Some(kept);
            changes.update.push(slice);
        }
    }

    let mut wanted = wanted.into_values().peekable();
    changes.update.sort_by_key(|slice| std::cmp::Reverse(size(slice)));
    for slice in &mut changes.update {
        fill(slice, &mut wanted);
    }
    while wanted.peek().is_some() {
        let left = wanted.len();
        let fits = |slice: &&EndpointSlice| {
            left < MAX_ENDPOINTS && size(slice) + left <= MAX_ENDPOINTS && size(slice) > 0
        };
        let fullest = unchanged.iter().copied().filter(fits).max_by_key(|slice| size(slice));
        match fullest {
            Some(slice) => {
                let mut slice = slice.clone();
                fill(&mut slice, &mut wanted);
                changes.update.push(slice);
            }
            None => {
                let mut slice = fresh(service, family, group.ports.clone());
                fill(&mut slice, &mut wanted);
                changes.create.push(slice);
            }
        }
    }
    changes
}

/// Turns pairs of a deletion and a creation into updates.
fn reuse(service: &Service, changes: &mut Changes<'_>) {
    let mut kept = Vec::new();
    for old in std::mem::take(&mut changes.delete) {
        let fits = |new: &EndpointSlice| new.address_type == old.address_type && is_owned(old, service);
        match changes.create.pop_if(|new| fits(new)) {
            Some(new) => {
                let labels = new.metadata.labels;
                let metadata = ObjectMeta { labels, ..old.metadata.clone() };
                changes.update.push(EndpointSlice { metadata, ..new });
            }
            None => kept.push(old),
        }
    }
    changes.delete = kept;
}

fn size(slice: &EndpointSlice) -> usize {
    slice.endpoints.as_ref().map_or(0, Vec::len)
}

fn fill(slice: &mut EndpointSlice, wanted: &mut impl Iterator<Item = Endpoint>) {
    let endpoints = slice.endpoints.get_or_insert_default();
    let room = MAX_ENDPOINTS.saturating_sub(endpoints.len());
    endpoints.extend(wanted.take(room));
}

fn fresh(service: &Service, family: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let prefix = format!("{name}-");
    let fits = name_is_dns_subdomain(&prefix, true).is_empty();
    let owner = Owner { kind: Kind::SERVICE, meta: &service.metadata };
    let metadata = ObjectMeta {
        generate_name: Some(if fits { prefix } else { name.into() }),
        namespace: service.metadata.namespace.clone(),
        labels: Some(labels(service)),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    };
    EndpointSlice { metadata, address_type: family.into(), ports: Some(ports), endpoints: Some(Vec::new()) }
}

/// The service's labels, and those by which slices are found and told from foreign ones.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    let address = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    if matches!(address, "" | "None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(SERVICE_NAME.into(), service.metadata.name.clone().unwrap_or_default());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    labels
}

fn is_same(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    size(slice) == 0
        && slice.ports.as_ref().is_none_or(Vec::is_empty)
        && slice.metadata.labels == placeholder.metadata.labels
        && slice.metadata.owner_references == placeholder.metadata.owner_references
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    let owners = slice.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|owner| Some(&owner.uid) == service.metadata.uid.as_ref() && owner.kind == "Service")
}

/// The address families of a service; without any, those of its address, or both.
fn families(spec: &ServiceSpec) -> BTreeSet<&'static str> {
    let named = |family: &String| match family.as_str() {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    };
    let families: BTreeSet<&str> = spec.ip_families.iter().flatten().filter_map(named).collect();
    if !families.is_empty() {
        return families;
    }
    match spec.cluster_ip.as_deref() {
        None | Some("" | "None") => BTreeSet::from(["IPv4", "IPv6"]),
        Some(address) if address.contains(':') => BTreeSet::from(["IPv6"]),
        Some(_) => BTreeSet::from(["IPv4"]),
    }
}

fn has_address(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    status.pod_ip.as_deref().is_some_and(|ip| !ip.is_empty())
        || status.pod_ips.iter().flatten().next().is_some()
}

fn endpoint(
    pod: &Pod,
    node: Option<&Node>,
    service: &ObjectMeta,
    publish_unready: bool,
    family: &str,
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_deleting(pod);
    let addresses = pod.status.iter().flat_map(|status| status.pod_ips.iter().flatten());
    let addresses = addresses.filter_map(|own| parse_ip_sloppy(&own.ip));
    let addresses = addresses.filter(|ip| matches!(ip, IpAddr::V6(_)) == (family == "IPv6"));
    let spec = pod.spec.as_ref();
    let hostname = spec.and_then(|spec| spec.hostname.clone()).filter(|name| !name.is_empty());
    // Only the service that governs the pod's subdomain publishes its host name.
    let is_governed = spec.and_then(|spec| spec.subdomain.as_ref()) == service.name.as_ref();
    let zone = node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned());
    Endpoint {
        addresses: addresses.map(|ip| ip.to_string()).collect(),
        conditions: Some(EndpointConditions {
            ready: Some(publish_unready || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: hostname.filter(|_| is_governed),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|name| !name.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.filter(|zone| !zone.is_empty()),
        ..Endpoint::default()
    }
}

fn endpoint_key(endpoint: &Endpoint) -> EndpointKey {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort_unstable();
    (
        addresses,
        endpoint.hostname.clone(),
        endpoint.target_ref.as_ref().and_then(|target| target.name.clone()),
    )
}

/// Whether two endpoints of equal key say the same. The revision of the pod does not count.
fn says_the_same(a: &Endpoint, b: &Endpoint) -> bool {
    let uid = |endpoint: &Endpoint| endpoint.target_ref.as_ref().and_then(|target| target.uid.clone());
    a.node_name == b.node_name && a.zone == b.zone && a.conditions == b.conditions && uid(a) == uid(b)
}

/// The service's ports as this pod serves them. A name that the pod does not know is left out.
fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let resolve = |port: &ServicePort| {
        Some(EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(find_port(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
    };
    spec.ports.iter().flatten().filter_map(resolve).collect()
}

/// The number of a service's port in a pod: as written, or that of the container port of the name.
pub fn find_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    let name = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let named = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let protocol = |protocol: &Option<String>| protocol.clone().unwrap_or_else(|| "TCP".into());
    let mut matching = named
        .filter(|own| own.name.as_ref() == Some(name) && protocol(&own.protocol) == protocol(&port.protocol));
    matching.next().map(|own| own.container_port)
}

fn port_key(ports: &[EndpointPort]) -> PortKey {
    let key = |port: &EndpointPort| {
        let name = port.name.clone().unwrap_or_default();
        (name, port.port, port.protocol.clone().unwrap_or_default(), port.app_protocol.clone())
    };
    let mut key: PortKey = ports.iter().map(key).collect();
    key.sort_unstable();
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cluster, NAMESPACE};
    use base::random::Random;
    use serde_json::{Value, json};

    fn service() -> Value {
        json!({
            "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "service", "labels": {"team": "a"}},
            "spec": {
                "clusterIP": "10.0.0.1",
                "ipFamilies": ["IPv4"],
                "selector": {"app": "web"},
                "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}],
            },
        })
    }

    fn pod(number: u64) -> Value {
        let name = format!("p{number}");
        json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": name},
            "spec": {
                "nodeName": "n",
                "containers": [{"name": "c", "ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}],
            },
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": format!("10.1.{}.{}", number / 200, number % 200 + 1)}, {"ip": format!("fd00::{number}")}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        })
    }

    fn plan(service: &Value, pods: &[Value], slices: &[EndpointSlice]) -> Plan {
        let service = Service::from_tree(service).unwrap();
        let pods: Vec<Pod> = pods.iter().map(|pod| Pod::from_tree(pod).unwrap()).collect();
        let node = json!({"metadata": {"name": "n", "labels": {ZONE: "z"}}});
        let node = Node::from_tree(&node).unwrap();
        reconcile(&View {
            service: &service,
            pods: &pods.iter().collect::<Vec<_>>(),
            nodes: &BTreeMap::from([("n", &node)]),
            slices: &slices.iter().collect::<Vec<_>>(),
        })
    }

    /// The slices that a service gets at first, as trees without their metadata.
    fn check(service: &Value, pods: &[Value], expected: &[Value]) {
        let plan = plan(service, pods, &[]);
        let created: Vec<Value> = plan
            .operations
            .iter()
            .map(|operation| match &operation.action {
                Action::Create { body } => {
                    let mut tree = (**body).clone();
                    for field in ["metadata", "apiVersion", "kind"] {
                        tree.as_object_mut().unwrap().remove(field);
                    }
                    tree
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(created, expected);
    }

    fn shown(number: u64, ready: bool, serving: bool, terminating: bool) -> Value {
        let name = format!("p{number}");
        json!({
            "addresses": [format!("10.1.0.{}", number + 1)],
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "nodeName": "n",
            "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": name},
            "zone": "z",
        })
    }

    fn port(number: i32) -> Value {
        json!({"name": "http", "port": number, "protocol": "TCP"})
    }

    fn slice(port: Value, endpoints: &[Value]) -> Value {
        json!({"addressType": "IPv4", "ports": [port], "endpoints": endpoints})
    }

    #[test]
    fn endpoints_say_what_their_pods_are() {
        let mut unready = pod(1);
        unready["status"]["conditions"][0]["status"] = json!("False");
        let mut leaving = pod(2);
        leaving["metadata"]["deletionTimestamp"] = json!("2027-01-15T07:00:00Z");
        let mut ended = pod(3);
        ended["status"]["phase"] = json!("Succeeded");
        let mut lost = pod(4);
        lost["spec"]["nodeName"] = json!("gone");
        let mut pending = pod(5);
        pending["status"] = json!({"phase": "Pending"});
        let pods = [pod(0), unready, leaving, ended, lost, pending];
        let all = [shown(0, true, true, false), shown(1, false, false, false), shown(2, false, true, true)];
        check(&service(), &pods, &[slice(port(8080), &all)]);

        let mut eager = service();
        eager["spec"]["publishNotReadyAddresses"] = json!(true);
        let all = [shown(1, true, false, false), shown(2, true, true, true)];
        check(&eager, &pods[1..3], &[slice(port(8080), &all)]);
    }

    #[test]
    fn ports_are_resolved_for_each_pod() {
        let mut other = pod(1);
        other["spec"]["containers"][0]["ports"][0]["containerPort"] = json!(9090);
        let expected = [
            slice(port(8080), &[shown(0, true, true, false)]),
            slice(port(9090), &[shown(1, true, true, false)]),
        ];
        check(&service(), &[pod(0), other], &expected);
    }

    #[test]
    fn a_service_without_endpoints_has_one_empty_slice() {
        let first = plan(&service(), &[], &[]);
        let [Operation { action: Action::Create { body }, .. }] = &first.operations[..] else {
            panic!("{first:?}")
        };
        let meta = &body["metadata"];
        assert_eq!(meta["generateName"], "web-");
        assert_eq!(meta["labels"], json!({"team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER}));
        assert_eq!(plan(&service(), &[], &[EndpointSlice::from_tree(body).unwrap()]), Plan::default());

        let mut alias = service();
        alias["spec"]["type"] = json!("ExternalName");
        assert_eq!(plan(&alias, &[pod(0)], &[]), Plan::default());
    }

    #[test]
    fn headless_services_are_marked_and_publish_host_names() {
        let mut headless = service();
        headless["spec"]["clusterIP"] = json!("None");
        let mut named = pod(0);
        named["spec"]["hostname"] = json!("zero");
        named["spec"]["subdomain"] = json!("web");
        let plan = plan(&headless, &[named], &[]);
        let Action::Create { body } = &plan.operations[0].action else { panic!("{plan:?}") };
        assert_eq!(body["metadata"]["labels"][HEADLESS], "");
        assert_eq!(body["endpoints"][0]["hostname"], "zero");
    }

    /// Carries out plans while pods come, go and change: every wanted endpoint is in exactly one slice, no slice
    /// overflows, a plan that was carried out needs no other, and one pod's change costs one write.
    #[test]
    fn slices_follow_the_pods() {
        for seed in crate::model::seeds(6) {
            let mut cluster = Cluster::new(seed);
            let mut pods: BTreeMap<u64, Value> = BTreeMap::new();
            for round in 0..12 {
                let is_large = round % 3 == 0;
                let steps = if is_large { 150 } else { 1 };
                let had = pods.len();
                for _ in 0..steps {
                    let number = cluster.random.below(300);
                    match cluster.random.below(4) {
                        0 => drop(pods.remove(&number)),
                        _ => drop(pods.insert(number, pod(number))),
                    }
                }
                let all: Vec<Value> = pods.values().cloned().collect();
                let before: Vec<EndpointSlice> = cluster.list(&Kind::ENDPOINT_SLICE);
                let changes = plan(&service(), &all, &before);
                if !is_large {
                    assert!(
                        changes.operations.len() <= 1,
                        "{had} to {}: {}",
                        pods.len(),
                        changes.operations.len()
                    );
                }
                cluster.apply(&changes).unwrap();
                let after: Vec<EndpointSlice> = cluster.list(&Kind::ENDPOINT_SLICE);
                assert!(after.iter().all(|slice| size(slice) <= MAX_ENDPOINTS));
                let mut found: Vec<String> = after
                    .iter()
                    .flat_map(|slice| slice.endpoints.iter().flatten())
                    .map(|endpoint| endpoint.target_ref.as_ref().unwrap().name.clone().unwrap())
                    .collect();
                found.sort_unstable();
                let mut wanted: Vec<String> = pods.keys().map(|number| format!("p{number}")).collect();
                wanted.sort_unstable();
                assert_eq!(found, wanted, "seed {seed}");
                assert_eq!(plan(&service(), &all, &after), Plan::default(), "seed {seed}");
            }
        }
    }
}
