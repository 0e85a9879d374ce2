//! From API objects to what the scheduler keeps of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerStatus, Node, NodeSelectorRequirement, NodeSelectorTerm, Pod,
    PodAffinityTerm, PodSpec, PodStatus, TopologySpreadConstraint, Volume,
};
use api::k8s_openapi::api::policy::v1::PodDisruptionBudget;
use api::k8s_openapi::apimachinery::pkg::api::resource::Quantity as RawQuantity;
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, Time};
use base::clock::Wall;
use grammar::field::Path;
use grammar::quantity::Quantity;
use grammar::selector::label::{Operator, Requirement, Selector};

use crate::affinity::{NameRule, NodeRequirement, NodeTerm, PodAffinity, PodMatcher, Spread, Term};
use crate::node::{Effect, NodeInfo, Taint};
use crate::pod::{HostPort, Owner, OwnerKind, PodInfo, Protocol, Shape, Toleration};
use crate::resources::{Compute, DEFAULT_CPU, DEFAULT_MEMORY, Resources, is_scalar};
use crate::snapshot::Budget;

type Amounts = BTreeMap<String, Quantity>;

pub fn node(node: &Node) -> NodeInfo {
    let spec = node.spec.clone().unwrap_or_default();
    let status = node.status.as_ref();
    let allocatable = status.and_then(|status| status.allocatable.as_ref()).map(amounts).unwrap_or_default();
    let mut images = BTreeMap::new();
    for image in status.and_then(|status| status.images.as_ref()).into_iter().flatten() {
        for name in image.names.iter().flatten() {
            images.insert(name.clone(), image.size_bytes.unwrap_or(0));
        }
    }
    NodeInfo {
        name: node.metadata.name.as_deref().unwrap_or_default().into(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
        taints: spec.taints.into_iter().flatten().filter_map(taint).collect(),
        unschedulable: spec.unschedulable.unwrap_or(false),
        allocatable_pods: allocatable.get("pods").map_or(0, Quantity::value),
        allocatable: resources(&allocatable),
        images,
    }
}

pub fn pod(pod: &Pod) -> PodInfo {
    let no_spec = PodSpec::default();
    let no_status = PodStatus::default();
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref().unwrap_or(&no_spec);
    let status = pod.status.as_ref().unwrap_or(&no_status);
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let labels = meta.labels.clone().unwrap_or_default();
    let (requests, weight, estimate) = pod_requests(spec, status);
    let controller = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    let affinity = spec.affinity.as_ref();
    let preempted = meta.deletion_timestamp.is_some()
        && status.conditions.iter().flatten().any(|condition| {
            (&*condition.type_, &*condition.status, condition.reason.as_deref())
                == ("DisruptionTarget", "True", Some("PreemptionByScheduler"))
        });
    PodInfo {
        uid: meta.uid.as_deref().unwrap_or_default().into(),
        namespace: namespace.into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
        priority: spec.priority.unwrap_or(0),
        never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
        node: name(spec.node_name.as_ref()),
        nominated: name(status.nominated_node_name.as_ref()),
        requests,
        weight,
        estimate,
        tolerations: tolerations(spec),
        node_requirement: node_requirement(spec),
        preferred_nodes: preferred_nodes(affinity),
        affinity: pod_affinity(affinity, namespace),
        spread: spec.topology_spread_constraints.iter().flatten().map(|rule| spread(rule, &labels)).collect(),
        owner: controller.and_then(|owner| {
            let kind = match (&*owner.api_version, &*owner.kind) {
                ("v1", "ReplicationController") => OwnerKind::ReplicationController,
                ("apps/v1", "ReplicaSet") => OwnerKind::ReplicaSet,
                ("apps/v1", "StatefulSet") => OwnerKind::StatefulSet,
                _ => return None,
            };
            Some(Owner { kind, name: owner.name.clone() })
        }),
        host_ports: host_ports(spec),
        images: images(spec),
        gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect(),
        start: status.start_time.as_ref().map(wall),
        terminating: meta.deletion_timestamp.is_some(),
        preempted,
        unsupported: unsupported(spec),
        shape: Shape::default(),
        labels,
    }
}

pub fn budget(budget: &PodDisruptionBudget) -> Budget {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let status = budget.status.as_ref();
    Budget {
        selector: selector_of(selector),
        disruptions_allowed: status.and_then(|status| status.disruptions_allowed).unwrap_or(0),
        disrupted: status
            .and_then(|status| status.disrupted_pods.as_ref())
            .map(|pods| pods.keys().cloned().collect())
            .unwrap_or_default(),
    }
}

/// An absent selector selects nothing, and so does one that is not valid.
pub fn selector_of(object: Option<&LabelSelector>) -> Selector {
    object.and_then(requirements).map_or(Selector::Nothing, Selector::new)
}

fn requirements(object: &LabelSelector) -> Option<Vec<Requirement>> {
    let mut all = Vec::new();
    for (key, value) in object.match_labels.iter().flatten() {
        all.push(Requirement::new(key, Operator::Equals, vec![value.clone()], &Path::nil()).ok()?);
    }
    for expression in object.match_expressions.iter().flatten() {
        let values = expression.values.clone().unwrap_or_default();
        all.push(
            Requirement::new(&expression.key, operator(&expression.operator)?, values, &Path::nil()).ok()?,
        );
    }
    Some(all)
}

fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    })
}

fn name(text: Option<&String>) -> Option<Arc<str>> {
    text.filter(|text| !text.is_empty()).map(|text| text.as_str().into())
}

fn wall(time: &Time) -> Wall {
    Wall(time.0.as_nanosecond().clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

fn effect(name: &str) -> Option<Effect> {
    Some(match name {
        "NoSchedule" => Effect::NoSchedule,
        "PreferNoSchedule" => Effect::PreferNoSchedule,
        "NoExecute" => Effect::NoExecute,
        _ => return None,
    })
}

fn taint(taint: api::k8s_openapi::api::core::v1::Taint) -> Option<Taint> {
    Some(Taint { effect: effect(&taint.effect)?, key: taint.key, value: taint.value.unwrap_or_default() })
}

/// A toleration of an unknown operator or effect tolerates nothing and is left out.
fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let parse = |raw: &api::k8s_openapi::api::core::v1::Toleration| {
        let value = match raw.operator.as_deref() {
            None | Some("" | "Equal") => Some(raw.value.clone().unwrap_or_default()),
            Some("Exists") => None,
            Some(_) => return None,
        };
        let effect = match raw.effect.as_deref() {
            None | Some("") => None,
            Some(name) => Some(effect(name)?),
        };
        Some(Toleration { key: raw.key.clone().filter(|key| !key.is_empty()), value, effect })
    };
    spec.tolerations.iter().flatten().filter_map(parse).collect()
}

fn node_requirement(spec: &PodSpec) -> NodeRequirement {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required =
        affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    let labels = spec.node_selector.as_ref().filter(|labels| !labels.is_empty());
    let pairs = |labels: &BTreeMap<String, String>| {
        Selector::from_labels(labels.iter().map(|(key, value)| (key.as_str(), value.as_str())))
    };
    NodeRequirement {
        labels: labels.map(pairs),
        terms: required.map(|selector| selector.node_selector_terms.iter().filter_map(node_term).collect()),
    }
}

fn preferred_nodes(affinity: Option<&Affinity>) -> Vec<(i64, NodeTerm)> {
    let affinity = affinity.and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred =
        affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let parse = |rule: &api::k8s_openapi::api::core::v1::PreferredSchedulingTerm| {
        Some((i64::from(rule.weight), node_term(&rule.preference)?))
    };
    preferred.into_iter().flatten().filter(|rule| rule.weight != 0).filter_map(parse).collect()
}

/// An empty term selects no node and is left out.
fn node_term(term: &NodeSelectorTerm) -> Option<NodeTerm> {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return None;
    }
    let labels: Option<Vec<Requirement>> = expressions.iter().map(node_rule).collect();
    let names: Option<Vec<NameRule>> = fields.iter().map(name_rule).collect();
    Some(NodeTerm {
        malformed: labels.is_none() || names.is_none(),
        labels: Selector::new(labels.unwrap_or_default()),
        fields: names.unwrap_or_default(),
    })
}

fn node_rule(rule: &NodeSelectorRequirement) -> Option<Requirement> {
    let values = rule.values.clone().unwrap_or_default();
    Requirement::new(&rule.key, operator(&rule.operator)?, values, &Path::nil()).ok()
}

fn name_rule(rule: &NodeSelectorRequirement) -> Option<NameRule> {
    let [name] = rule.values.as_deref()? else { return None };
    let equal = match (rule.key.as_str(), rule.operator.as_str()) {
        ("metadata.name", "In") => true,
        ("metadata.name", "NotIn") => false,
        _ => return None,
    };
    Some(NameRule { name: name.clone(), equal })
}

fn pod_affinity(affinity: Option<&Affinity>, namespace: &str) -> PodAffinity {
    let Some(affinity) = affinity else { return PodAffinity::default() };
    let mut all = PodAffinity::default();
    if let Some(near) = &affinity.pod_affinity {
        let required = near.required_during_scheduling_ignored_during_execution.iter().flatten();
        all.required = required.map(|term| pod_term(term, namespace)).collect();
        let preferred = near.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        all.preferred = preferred
            .map(|rule| (i64::from(rule.weight), pod_term(&rule.pod_affinity_term, namespace)))
            .collect();
    }
    if let Some(far) = &affinity.pod_anti_affinity {
        let required = far.required_during_scheduling_ignored_during_execution.iter().flatten();
        all.required_anti = required.map(|term| pod_term(term, namespace)).collect();
        let preferred = far.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        all.preferred_anti = preferred
            .map(|rule| (i64::from(rule.weight), pod_term(&rule.pod_affinity_term, namespace)))
            .collect();
    }
    all
}

/// `matchLabelKeys` and `mismatchLabelKeys` have become requirements of the selector when the pod was created.
fn pod_term(term: &PodAffinityTerm, namespace: &str) -> Term {
    let mut namespaces: BTreeSet<String> = term.namespaces.iter().flatten().cloned().collect();
    if namespaces.is_empty() && term.namespace_selector.is_none() {
        namespaces.insert(namespace.to_owned());
    }
    let of_namespaces = selector_of(term.namespace_selector.as_ref());
    let matcher = PodMatcher::new(namespaces, of_namespaces, selector_of(term.label_selector.as_ref()));
    Term { topology: term.topology_key.as_str().into(), matcher }
}

fn spread(rule: &TopologySpreadConstraint, labels: &BTreeMap<String, String>) -> Spread {
    let mut selector = selector_of(rule.label_selector.as_ref());
    let keys = rule.match_label_keys.iter().flatten();
    let own: Vec<(&str, &str)> =
        keys.filter_map(|key| Some((key.as_str(), labels.get(key)?.as_str()))).collect();
    if let (Selector::All(requirements), false) = (&mut selector, own.is_empty()) {
        requirements.extend(Selector::from_labels(own).requirements().unwrap_or_default().iter().cloned());
    }
    Spread {
        max_skew: i64::from(rule.max_skew),
        topology: rule.topology_key.as_str().into(),
        hard: rule.when_unsatisfiable == "DoNotSchedule",
        selector,
        min_domains: i64::from(rule.min_domains.unwrap_or(1)),
        honor_affinity: rule.node_affinity_policy.as_deref() != Some("Ignore"),
        honor_taints: rule.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Ports of containers that run as long as the pod does.
fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|container| is_sidecar(container));
    let ports = sidecars.chain(&spec.containers).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty() && ip != "0.0.0.0");
            let protocol = match port.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            Some(HostPort { ip, protocol, port: number })
        })
        .collect()
}

fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let of_containers = containers.map(|container| container.image.as_deref().unwrap_or_default());
    let volumes = spec.volumes.iter().flatten().filter_map(|volume| volume.image.as_ref());
    let of_volumes = volumes.map(|image| image.reference.as_deref().unwrap_or_default());
    of_containers.chain(of_volumes).map(tagged).collect()
}

/// The name with the tag that it means when it has none.
fn tagged(name: &str) -> String {
    if name.rfind(':') > name.rfind('/') { name.to_owned() } else { format!("{name}:latest") }
}

/// What only plugins that are not built could decide.
fn unsupported(spec: &PodSpec) -> Vec<String> {
    let mut all = Vec::new();
    let what = |volume: &Volume| {
        Some(match volume {
            Volume { persistent_volume_claim: Some(_), .. } => "a persistentVolumeClaim volume",
            Volume { ephemeral: Some(_), .. } => "an ephemeral volume",
            Volume { gce_persistent_disk: Some(_), .. } => "a gcePersistentDisk volume",
            Volume { aws_elastic_block_store: Some(_), .. } => "an awsElasticBlockStore volume",
            Volume { iscsi: Some(_), .. } => "an iscsi volume",
            Volume { rbd: Some(_), .. } => "an rbd volume",
            _ => return None,
        })
    };
    for volume in spec.volumes.iter().flatten() {
        all.extend(what(volume).map(|kind| format!("{kind} ({})", volume.name)));
    }
    if spec.resource_claims.as_ref().is_some_and(|claims| !claims.is_empty()) {
        all.push("resourceClaims".into());
    }
    if spec.scheduling_group.is_some() {
        all.push("a schedulingGroup".into());
    }
    all
}

fn amounts(raw: &BTreeMap<String, RawQuantity>) -> Amounts {
    raw.iter().filter_map(|(name, quantity)| Some((name.clone(), quantity.0.parse().ok()?))).collect()
}

fn resources(amounts: &Amounts) -> Resources {
    let mut all = Resources::default();
    for (name, quantity) in amounts {
        match name.as_str() {
            "cpu" => all.cpu = quantity.milli_value(),
            "memory" => all.memory = quantity.value(),
            "ephemeral-storage" => all.ephemeral_storage = quantity.value(),
            "pods" => {}
            name if is_scalar(name) => all.add_scalar(name, quantity.value()),
            _ => {}
        }
    }
    all
}

/// What the pod requests, what it weighs on its node, and what it would weigh on another.
fn pod_requests(spec: &PodSpec, status: &PodStatus) -> (Resources, Compute, Compute) {
    let of_pod = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref()).map(amounts);
    let of_pod: Amounts = of_pod
        .into_iter()
        .flatten()
        .filter(|(name, _)| matches!(name.as_str(), "cpu" | "memory") || name.starts_with("hugepages-"))
        .collect();
    let overhead = spec.overhead.as_ref().map(amounts).unwrap_or_default();
    let total = |defaults: &Amounts| {
        let mut sum = all_containers(spec, status, defaults);
        sum.extend(of_pod.clone());
        add(&mut sum, &overhead);
        sum
    };
    let every: Amounts = [
        ("cpu".to_owned(), Quantity::scaled(DEFAULT_CPU, grammar::quantity::MILLI)),
        ("memory".to_owned(), Quantity::scaled(DEFAULT_MEMORY, 0)),
    ]
    .into();
    let requested = total(&Amounts::new());
    // With requests for the pod as a whole, only what is missing altogether counts as the default.
    let missing: Amounts = if of_pod.is_empty() {
        every.clone()
    } else {
        every.clone().into_iter().filter(|(name, _)| !requested.contains_key(name)).collect()
    };
    let weight = resources(&total(&missing)).compute();
    let estimate = resources(&total(&every)).compute();
    (resources(&requested), weight, estimate)
}

/// The most that the pod uses at any time, by its spec, by what its node has granted, and by what is in force.
fn all_containers(spec: &PodSpec, status: &PodStatus, defaults: &Amounts) -> Amounts {
    let infeasible = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodResizePending")
        .is_some_and(|condition| condition.reason.as_deref() == Some("Infeasible"));
    let asked = |container: &Container| {
        let requests = container.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        requests.map(amounts).unwrap_or_default()
    };
    let spec_or_nothing = |container: &Container| if infeasible { Amounts::new() } else { asked(container) };
    let granted = |container: &Container| {
        let status = status_of(status, &container.name);
        let granted = status.and_then(|status| status.allocated_resources.as_ref());
        granted.map_or_else(|| spec_or_nothing(container), amounts)
    };
    let in_force = |container: &Container| {
        let resources = status_of(status, &container.name).and_then(|status| status.resources.as_ref());
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        requests.map_or_else(|| granted(container), amounts)
    };
    let mut most = aggregate(spec, defaults, granted);
    raise(&mut most, aggregate(spec, defaults, in_force));
    if !infeasible {
        raise(&mut most, aggregate(spec, defaults, asked));
    }
    most
}

fn status_of<'a>(status: &'a PodStatus, name: &str) -> Option<&'a ContainerStatus> {
    let all =
        status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    all.into_iter().find(|status| status.name == name)
}

/// Containers and sidecars run together; each other init container runs beside the sidecars that were started before.
fn aggregate(spec: &PodSpec, defaults: &Amounts, requests: impl Fn(&Container) -> Amounts) -> Amounts {
    let requests = |container: &Container| {
        let mut all = defaults.clone();
        all.extend(requests(container));
        all
    };
    let mut running = Amounts::new();
    for container in &spec.containers {
        add(&mut running, &requests(container));
    }
    let mut sidecars = Amounts::new();
    let mut starting = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let own = requests(container);
        if is_sidecar(container) {
            add(&mut running, &own);
            add(&mut sidecars, &own);
            raise(&mut starting, sidecars.clone());
        } else {
            let mut together = own;
            add(&mut together, &sidecars);
            raise(&mut starting, together);
        }
    }
    raise(&mut running, starting);
    running
}

fn add(sum: &mut Amounts, more: &Amounts) {
    for (name, quantity) in more {
        sum.entry(name.clone()).or_default().add(quantity);
    }
}

fn raise(most: &mut Amounts, other: Amounts) {
    for (name, quantity) in other {
        match most.get(&name) {
            Some(own) if *own >= quantity => {}
            _ => drop(most.insert(name, quantity)),
        }
    }
}
