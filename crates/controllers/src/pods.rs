//! What controllers ask about pods: are they ready, available, alive, and which one should go first.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Pod, PodCondition, PodTemplateSpec};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use base::clock::Wall;
use grammar::names::name_is_dns_subdomain;

use crate::owner::Owner;
use crate::time::{seconds, wall};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// Its containers have stopped and will never run again.
pub fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

pub fn is_deleting(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && !is_deleting(pod)
}

pub fn is_terminating(pod: &Pod) -> bool {
    !is_terminal(pod) && is_deleting(pod)
}

pub fn node_name(pod: &Pod) -> &str {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()
}

pub fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let status = pod.status.as_ref()?;
    status.conditions.iter().flatten().find(|condition| condition.type_ == type_)
}

pub fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status == "True")
}

/// Since when a ready pod is ready.
pub fn ready_since(pod: &Pod) -> Option<&Time> {
    condition(pod, "Ready").filter(|ready| ready.status == "True")?.last_transition_time.as_ref()
}

/// Ready, and has been for long enough.
pub fn is_available(pod: &Pod, min_ready_seconds: i32, now: Wall) -> bool {
    is_ready(pod)
        && (min_ready_seconds == 0
            || ready_since(pod).is_some_and(|since| wall(since).plus(seconds(min_ready_seconds)) <= now))
}

/// How long until the first of the ready pods becomes available that is not yet.
pub fn next_availability<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    min_ready_seconds: i32,
    now: Wall,
) -> Option<Duration> {
    let due = |pod| Some(wall(ready_since(pod)?).plus(seconds(min_ready_seconds)));
    pods.into_iter().filter_map(due).filter(|due| *due > now).map(|due| due.since(now)).min()
}

/// A pod as `owner` makes it from its template, to be named by the server.
pub fn from_template(template: &PodTemplateSpec, owner: &Owner<'_>) -> Pod {
    let of_template = template.metadata.as_ref();
    let metadata = ObjectMeta {
        labels: of_template.and_then(|meta| meta.labels.clone()),
        annotations: of_template.and_then(|meta| meta.annotations.clone()),
        finalizers: of_template.and_then(|meta| meta.finalizers.clone()),
        generate_name: Some(name_prefix(owner.meta.name.as_deref().unwrap_or_default())),
        namespace: owner.meta.namespace.clone(),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: template.spec.clone(), status: None }
}

/// A dash sets the suffix apart, unless the owner's name leaves no room for it.
fn name_prefix(owner: &str) -> String {
    let prefix = format!("{owner}-");
    if name_is_dns_subdomain(&prefix, true).is_empty() { prefix } else { owner.into() }
}

/// The `count` pods whose loss hurts least. `related` are the active pods that count as neighbours: among equals, the
/// pod on the most crowded node goes.
pub fn least_wanted<'a>(pods: &[&'a Pod], related: &[&Pod], count: usize, now: Wall) -> Vec<&'a Pod> {
    if count >= pods.len() {
        return pods.to_vec();
    }
    let mut crowd = BTreeMap::<&str, usize>::new();
    for pod in related.iter().filter(|pod| is_active(pod)) {
        *crowd.entry(node_name(pod)).or_default() += 1;
    }
    let neighbours = |pod| crowd.get(node_name(pod)).copied().unwrap_or_default();
    // Ages are compared in steps that double, and by uid within one step, which is no total order; so the pods are
    // inserted one by one, which takes any comparison, where a library's sort may not.
    let mut sorted: Vec<&Pod> = Vec::with_capacity(pods.len());
    for pod in pods {
        let place = sorted.partition_point(|other| {
            deletion_order(other, pod, neighbours(other), neighbours(pod), now) != Ordering::Greater
        });
        sorted.insert(place, pod);
    }
    sorted.truncate(count);
    sorted
}

/// Whether `a` should go before `b`.
fn deletion_order(a: &Pod, b: &Pod, neighbours_a: usize, neighbours_b: usize, now: Wall) -> Ordering {
    let assigned = |pod| !node_name(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| phase_order(a).cmp(&phase_order(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| neighbours_b.cmp(&neighbours_a))
        .then_with(|| match is_ready(a) && is_ready(b) {
            true => younger_first(ready_since(a), ready_since(b), a, b, now),
            false => Ordering::Equal,
        })
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| {
            let (born_a, born_b) = (&a.metadata.creation_timestamp, &b.metadata.creation_timestamp);
            younger_first(born_a.as_ref(), born_b.as_ref(), a, b, now)
        })
}

/// Unknown comes before Running, and whatever has not begun before both.
fn phase_order(pod: &Pod) -> u8 {
    match phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// What its annotation says; a number that is malformed counts as none.
fn deletion_cost(pod: &Pod) -> i32 {
    let text = pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    let valid =
        |text: &&String| *text == "0" || text.starts_with(['-', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
    text.filter(valid).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The younger goes first, an unknown age before all. Ages within the same power of two count as equal and fall back on
/// the uid, so that pods which started together are not deleted in the order of their nodes.
fn younger_first(since_a: Option<&Time>, since_b: Option<&Time>, a: &Pod, b: &Pod, now: Wall) -> Ordering {
    match (since_a, since_b) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(since_a), Some(since_b)) if since_a == since_b => Ordering::Equal,
        (Some(since_a), Some(since_b)) => magnitude(now.since(wall(since_a)))
            .cmp(&magnitude(now.since(wall(since_b))))
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid)),
    }
}

fn magnitude(age: Duration) -> Option<u32> {
    age.as_nanos().checked_ilog2()
}

/// The most restarts of any container, and then of any sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let Some(status) = &pod.status else { return (0, 0) };
    let regular = status.container_statuses.iter().flatten().map(|container| container.restart_count);
    let is_sidecar = |name: &str| {
        let init = pod.spec.iter().flat_map(|spec| spec.init_containers.iter().flatten());
        init.filter(|container| container.name == name)
            .any(|container| container.restart_policy.as_deref() == Some("Always"))
    };
    let sidecars =
        status.init_container_statuses.iter().flatten().filter(|container| is_sidecar(&container.name));
    (regular.max().unwrap_or(0), sidecars.map(|container| container.restart_count).max().unwrap_or(0))
}
