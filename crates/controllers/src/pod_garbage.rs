//! Pods that nobody else will ever remove: on nodes that are gone or out of service, never scheduled, or ended in
//! great numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, Pod};
use base::clock::Wall;
use serde_json::{Value, json};

use crate::plan::{Action, Kind, Operation, PatchFormat, Plan};
use crate::pods;
use crate::time::stamp;

/// So many pods that have ended are kept, unless told otherwise.
pub const ENDED_LIMIT: usize = 12_500;

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

pub struct View<'a> {
    pub pods: &'a [&'a Pod],
    pub nodes: &'a BTreeMap<&'a str, &'a Node>,
    /// Nodes that were missing for a while and of which a fresh read has shown that they are gone.
    pub gone: &'a BTreeSet<&'a str>,
    /// How many ended pods are kept; 0 means all.
    pub ended_limit: usize,
}

pub fn reconcile<'a>(view: &View<'a>, now: Wall) -> Plan {
    let mut doomed = BTreeMap::new();
    let mut doom = |pod: &'a Pod, condition| {
        doomed.insert((&pod.metadata.namespace, &pod.metadata.name), (pod, condition));
    };
    for pod in surplus(view) {
        doom(pod, None);
    }
    for &pod in view.pods {
        let node_name = pods::node_name(pod);
        let is_unreachable = view.nodes.get(node_name).is_some_and(|node| is_out_of_service(node));
        if pods::is_deleting(pod) && (node_name.is_empty() || is_unreachable) {
            doom(pod, None);
        }
        if view.gone.contains(node_name) && !view.nodes.contains_key(node_name) {
            doom(pod, Some(disruption(pod, now)));
        }
    }

    let mut plan = Plan::default();
    for (pod, condition) in doomed.into_values() {
        let mut stage = 0;
        // A pod that is removed without having ended would look as if it had run until the end.
        if !pods::is_terminal(pod) {
            let mut status = json!({"phase": "Failed"});
            if let Some(generation) = pod.metadata.generation.filter(|_| observes(pod)) {
                status["observedGeneration"] = json!(generation);
            }
            if let Some(condition) = condition {
                status["conditions"] = json!([condition]);
            }
            let body = Arc::new(json!({"status": status}));
            let patch = Action::Patch { format: PatchFormat::Strategic, subresource: Some("status"), body };
            plan.push(0, Operation::on(Kind::POD, &pod.metadata, patch));
            stage = 1;
        }
        let delete = Action::Delete { propagation: None, grace_seconds: Some(0) };
        plan.push(stage, Operation::on(Kind::POD, &pod.metadata, delete));
    }
    plan
}

/// The ended pods beyond the limit: the evicted first, then the oldest.
fn surplus<'a>(view: &View<'a>) -> Vec<&'a Pod> {
    let mut ended: Vec<&Pod> = view.pods.iter().copied().filter(|pod| pods::is_terminal(pod)).collect();
    let count = match view.ended_limit {
        0 => 0,
        limit => ended.len().saturating_sub(limit),
    };
    let is_evicted = |pod: &Pod| {
        let reason = pod.status.as_ref().and_then(|status| status.reason.as_deref());
        pods::phase(pod) == "Failed" && reason == Some("Evicted")
    };
    if count > 0 {
        ended.sort_by_key(|pod| {
            (!is_evicted(pod), pod.metadata.creation_timestamp.clone(), pod.metadata.name.clone())
        });
    }
    ended.truncate(count);
    ended
}

/// Someone has declared the node dead for good, and it is not alive.
fn is_out_of_service(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready =
        conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    !is_ready && taints.into_iter().any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Whether the pod's kubelet reports which generation it saw; only then does anybody else.
fn observes(pod: &Pod) -> bool {
    pod.status
        .as_ref()
        .is_some_and(|status| status.observed_generation.is_some_and(|generation| generation != 0))
}

fn disruption(pod: &Pod, now: Wall) -> Value {
    let mut condition = json!({
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByPodGC",
        "message": "PodGC: node no longer exists",
        "lastTransitionTime": stamp(now).0.to_string(),
    });
    let observed = pods::condition(pod, "DisruptionTarget").and_then(|own| own.observed_generation);
    if let Some(generation) = pod.metadata.generation.filter(|_| observes(pod) || observed.is_some()) {
        condition["observedGeneration"] = json!(generation);
    }
    condition
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::typed::Typed;

    fn pod(name: &str, node: &str, phase: &str, more: Value) -> Pod {
        let mut tree = json!({
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase},
        });
        for (key, value) in more.as_object().unwrap() {
            let place = if key == "reason" { &mut tree["status"] } else { &mut tree["metadata"] };
            place[key] = value.clone();
        }
        Pod::from_tree(&tree).unwrap()
    }

    fn check(pods: &[Pod], ended_limit: usize, expected: &[&str]) {
        let alive = Node::from_tree(&json!({"metadata": {"name": "alive"}})).unwrap();
        let dead = json!({
            "metadata": {"name": "dead"},
            "spec": {"taints": [{"key": OUT_OF_SERVICE, "effect": "NoExecute"}]},
            "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]},
        });
        let dead = Node::from_tree(&dead).unwrap();
        let nodes = BTreeMap::from([("alive", &alive), ("dead", &dead)]);
        let view = View {
            pods: &pods.iter().collect::<Vec<_>>(),
            nodes: &nodes,
            gone: &BTreeSet::from(["gone", "alive"]),
            ended_limit,
        };
        let plan = reconcile(&view, Wall::default());
        let line = |operation: &Operation| {
            let what = match &operation.action {
                Action::Delete { grace_seconds: Some(0), .. } => "delete".to_owned(),
                Action::Patch { body, .. } => {
                    format!(
                        "fail {}",
                        body["status"]["conditions"][0]["reason"].as_str().unwrap_or("plainly")
                    )
                }
                other => panic!("{other:?}"),
            };
            format!("{}: {what} {}", operation.stage, operation.target.name)
        };
        assert_eq!(plan.operations.iter().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn pods_that_nobody_else_removes_are_removed() {
        let deleting = json!({"deletionTimestamp": "2027-01-15T07:00:00Z"});
        let none = json!({});
        check(&[pod("a", "gone", "Running", none.clone())], 0, &["0: fail DeletionByPodGC a", "1: delete a"]);
        check(&[pod("a", "gone", "Failed", none.clone())], 0, &["0: delete a"]);
        check(&[pod("a", "", "Pending", deleting.clone())], 0, &["0: fail plainly a", "1: delete a"]);
        check(&[pod("a", "dead", "Running", deleting.clone())], 0, &["0: fail plainly a", "1: delete a"]);
        let stay = [
            pod("a", "", "Pending", none.clone()),
            pod("b", "alive", "Running", deleting),
            pod("c", "dead", "Running", none.clone()),
            pod("d", "late", "Running", none),
        ];
        check(&stay, 0, &[]);
    }

    #[test]
    fn ended_pods_are_kept_up_to_a_limit() {
        let born = |day: u8| json!({"creationTimestamp": format!("2027-01-{day:02}T00:00:00Z")});
        let mut evicted = pod("e", "alive", "Failed", json!({"reason": "Evicted"}));
        evicted.metadata.creation_timestamp = Some(stamp(Wall::from_secs(1_900_000_000)));
        let pods = [
            pod("a", "alive", "Succeeded", born(3)),
            pod("b", "alive", "Failed", born(1)),
            pod("c", "alive", "Running", born(1)),
            evicted,
        ];
        check(&pods, 0, &[]);
        check(&pods, 3, &[]);
        check(&pods, 2, &["0: delete e"]);
        check(&pods, 1, &["0: delete b", "0: delete e"]);
    }
}
