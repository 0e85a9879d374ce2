//! The life of nodes: silence becomes conditions, conditions become taints, and pods of silent nodes stop being ready.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use api::typed::Typed;
use base::clock::Wall;
use serde_json::json;

use crate::plan::{Action, EventNote, Kind, Operation, PatchFormat, Plan};
use crate::pods;
use crate::time::stamp;

/// A node that has reported before may be silent for so long.
pub const GRACE: Duration = Duration::from_secs(50);
/// A node that has never reported may take so long to start.
pub const STARTUP_GRACE: Duration = Duration::from_secs(60);

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Which condition in which status means which taint.
const TAINTS: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    ("MemoryPressure", "True", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "True", "node.kubernetes.io/network-unavailable"),
];

/// The conditions that a silent node can no longer vouch for.
const VOUCHED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub struct View<'a> {
    pub node: &'a Node,
    /// When its lease was last seen to be renewed, or its Ready condition to be reported, by the clock of the one who
    /// looks: clocks of nodes are not trusted. Unknown for a node that was never heard of.
    pub heard: Option<Wall>,
    /// The pods on it.
    pub pods: &'a [&'a Pod],
    pub eviction: Eviction,
}

/// What [`pace`] allows for the node's zone at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eviction {
    Allowed,
    /// It is not this node's turn yet. Taints that drive pods away are not added, but swapped and removed.
    Later,
    /// No node is ready, so the fault is likely here: the taints that drive pods away are taken back.
    Suspended,
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let mut plan = Plan::default();
    let mut node = view.node.clone();
    let (due, is_silent) = silence(view, now);
    if is_silent {
        silence_conditions(&mut node, now);
    } else {
        plan.requeue(due.since(now) + Duration::from_secs(1));
    }
    if node.status != view.node.status {
        let update = Action::UpdateStatus { body: Arc::new(node.to_tree()) };
        plan.push(0, Operation::on(Kind::NODE, &node.metadata, update).at_revision(&node.metadata));
    }

    let taints = taints(&node, view.eviction, now);
    let old = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    if taints != old {
        let body = Arc::new(json!({"spec": {"taints": taints.iter().map(taint_tree).collect::<Vec<_>>()}}));
        // A merge patch replaces the list as a whole, so it holds for the list that was seen alone. After a write of
        // the status the revision is another, and the next reconcile does it.
        if plan.operations.is_empty() {
            let patch = Action::Patch { format: PatchFormat::Merge, subresource: None, body };
            plan.push(0, Operation::on(Kind::NODE, &node.metadata, patch).at_revision(&node.metadata));
        }
    }

    if let Some(ready) = ready(&node).filter(|ready| ready.status != "True") {
        // A pod that became ready after its node was last ready has a kubelet that lives; that one knows better.
        let is_older = |pod: &&&Pod| match (pods::ready_since(pod), &ready.last_transition_time) {
            (Some(pod), Some(node)) => pod <= node,
            _ => true,
        };
        for pod in view.pods.iter().filter(|pod| pods::is_ready(pod)).filter(is_older) {
            unready(pod, now, &mut plan);
        }
    }
    plan
}

/// How fast nodes of a zone may be tainted to drive their pods away, in nodes per second.
pub fn pace(zones: &BTreeMap<String, Vec<&Node>>) -> BTreeMap<String, f64> {
    const NORMAL: f64 = 0.1;
    const CAREFUL: f64 = 0.01;
    const LARGE: usize = 50;
    const UNHEALTHY_SHARE: f64 = 0.55;
    let is_ready = |node: &&&Node| ready(node).is_some_and(|ready| ready.status == "True");
    let none_ready = |nodes: &Vec<&Node>| !nodes.iter().any(|node| is_ready(&node));
    let all_down = zones.values().all(none_ready);
    let rate = |nodes: &Vec<&Node>| {
        let unready = nodes.len() - nodes.iter().filter(is_ready).count();
        let is_partly_down = unready > 2 && unready as f64 / nodes.len() as f64 >= UNHEALTHY_SHARE;
        match () {
            () if all_down => 0.0,
            () if unready == nodes.len() || !is_partly_down => NORMAL,
            // A part of a small zone that fails at once is more likely a broken network than broken machines.
            () if nodes.len() > LARGE => CAREFUL,
            () => 0.0,
        }
    };
    zones.iter().map(|(zone, nodes)| (zone.clone(), rate(nodes))).collect()
}

fn ready(node: &Node) -> Option<&NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == "Ready")
}

/// Until when a sign of life is due, and whether that has passed.
fn silence(view: &View<'_>, now: Wall) -> (Wall, bool) {
    let born = view.node.metadata.creation_timestamp.as_ref().map_or(now, crate::time::wall);
    let grace = if ready(view.node).is_some() { GRACE } else { STARTUP_GRACE };
    let due = view.heard.unwrap_or(born).plus(grace);
    (due, now > due)
}

fn silence_conditions(node: &mut Node, now: Wall) {
    let born = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for type_ in VOUCHED {
        match conditions.iter_mut().find(|condition| condition.type_ == type_) {
            Some(condition) if condition.status == "Unknown" => {}
            Some(condition) => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(stamp(now));
            }
            None => conditions.push(NodeCondition {
                type_: type_.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: born.clone(),
                last_transition_time: Some(stamp(now)),
            }),
        }
    }
}

/// The taints that the node should have: foreign ones as they are, ours as its conditions demand.
fn taints(node: &Node, eviction: Eviction, now: Wall) -> Vec<Taint> {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let holds = |key: &str| {
        let rows = TAINTS.iter().filter(|(_, _, own)| *own == key);
        rows.into_iter().any(|(type_, status, _)| {
            conditions.clone().any(|condition| condition.type_ == *type_ && condition.status == *status)
        })
    };
    let keys = || TAINTS.iter().map(|(_, _, key)| *key);
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let scheduling = keys().filter(|key| holds(key)).chain(unschedulable.then_some(UNSCHEDULABLE));
    let mut wanted: Vec<(&str, &str)> = scheduling.map(|key| (key, "NoSchedule")).collect();

    let old = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let drives_away =
        |taint: &Taint| taint.effect == "NoExecute" && matches!(taint.key.as_str(), NOT_READY | UNREACHABLE);
    let is_driving = old.clone().any(drives_away);
    let may_drive = match eviction {
        Eviction::Allowed => true,
        Eviction::Later => is_driving,
        Eviction::Suspended => false,
    };
    if may_drive {
        wanted.extend(
            [NOT_READY, UNREACHABLE].into_iter().filter(|key| holds(key)).map(|key| (key, "NoExecute")),
        );
    }

    let is_ours = |taint: &Taint| match taint.effect.as_str() {
        "NoSchedule" => taint.key == UNSCHEDULABLE || keys().any(|key| key == taint.key),
        _ => drives_away(taint),
    };
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut taints: Vec<Taint> = old.filter(|taint| !is_ours(taint) || is_wanted(taint)).cloned().collect();
    for (key, effect) in wanted {
        if !taints.iter().any(|taint| taint.key == key && taint.effect == effect) {
            let (key, effect) = (key.into(), effect.into());
            taints.push(Taint { key, effect, value: None, time_added: Some(stamp(now)) });
        }
    }
    taints
}

fn taint_tree(taint: &Taint) -> serde_json::Value {
    let mut tree = json!({"key": taint.key, "effect": taint.effect});
    if let Some(value) = &taint.value {
        tree["value"] = json!(value);
    }
    if let Some(added) = &taint.time_added {
        tree["timeAdded"] = json!(added.0.to_string());
    }
    tree
}

fn unready(pod: &Pod, now: Wall, plan: &mut Plan) {
    let condition =
        json!({"type": "Ready", "status": "False", "lastTransitionTime": stamp(now).0.to_string()});
    let body = Arc::new(json!({"status": {"conditions": [condition]}}));
    let patch = Action::Patch { format: PatchFormat::Strategic, subresource: Some("status"), body };
    let note = EventNote::warning(Kind::POD, &pod.metadata, "NodeNotReady", "Node is not ready");
    plan.push(0, Operation::on(Kind::POD, &pod.metadata, patch).note(note));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn start() -> Wall {
        Wall::from_secs(1_800_000_000)
    }

    fn node(ready: Option<&str>, taints: Value) -> Value {
        let conditions = ready.map(|status| json!([{"type": "Ready", "status": status, "reason": "r"}]));
        json!({
            "metadata": {"name": "n", "uid": "n", "creationTimestamp": "2027-01-15T08:00:00Z"},
            "spec": {"taints": taints},
            "status": {"conditions": conditions},
        })
    }

    /// Reconciles `after` seconds since the node was created and last heard of. Statuses are shown by the reason of
    /// each condition, taints by key and first letters of the effect.
    fn check(node: &Value, after: u64, eviction: Eviction, expected: &[&str]) {
        let node = Node::from_tree(node).unwrap();
        let pod = json!({
            "metadata": {"name": "p", "namespace": "default"},
            "spec": {"containers": []},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        let pod = Pod::from_tree(&pod).unwrap();
        let view = View { node: &node, heard: Some(start()), pods: &[&pod], eviction };
        let plan = reconcile(&view, start().plus(Duration::from_secs(after)));
        let line = |operation: &Operation| match &operation.action {
            Action::UpdateStatus { body } => {
                let conditions = body["status"]["conditions"].as_array().unwrap();
                let reasons: Vec<&str> =
                    conditions.iter().map(|one| one["reason"].as_str().unwrap()).collect();
                format!("status {}", reasons.join(" "))
            }
            Action::Patch { subresource: Some("status"), .. } => format!("unready {}", operation.target.name),
            Action::Patch { body, .. } => {
                let taints = body["spec"]["taints"].as_array().unwrap().iter().map(|taint| {
                    let key = taint["key"].as_str().unwrap();
                    format!(" {}:{}", key.rsplit('/').next().unwrap(), taint["effect"].as_str().unwrap())
                });
                format!("taints{}", taints.collect::<String>())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(plan.operations.iter().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn silence_becomes_unknown() {
        use Eviction::Allowed;
        check(&node(Some("True"), json!([])), 50, Allowed, &[]);
        let lost =
            "status NodeStatusUnknown NodeStatusNeverUpdated NodeStatusNeverUpdated NodeStatusNeverUpdated";
        check(&node(Some("True"), json!([])), 51, Allowed, &[lost, "unready p"]);
        check(&node(None, json!([])), 60, Allowed, &[]);
        let never = "status NodeStatusNeverUpdated NodeStatusNeverUpdated NodeStatusNeverUpdated NodeStatusNeverUpdated";
        check(&node(None, json!([])), 61, Allowed, &[never, "unready p"]);
    }

    #[test]
    fn conditions_become_taints() {
        use Eviction::{Allowed, Later, Suspended};
        let both = "taints not-ready:NoSchedule not-ready:NoExecute";
        check(&node(Some("False"), json!([])), 0, Allowed, &[both, "unready p"]);
        check(&node(Some("False"), json!([])), 0, Later, &["taints not-ready:NoSchedule", "unready p"]);
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let unreachable = json!([taint(UNREACHABLE, "NoSchedule"), taint(UNREACHABLE, "NoExecute")]);
        check(&node(Some("False"), unreachable.clone()), 0, Later, &[both, "unready p"]);
        check(&node(Some("Unknown"), unreachable.clone()), 0, Allowed, &["unready p"]);
        let suspended = ["taints unreachable:NoSchedule", "unready p"];
        check(&node(Some("Unknown"), unreachable.clone()), 0, Suspended, &suspended);
        check(&node(Some("True"), unreachable), 0, Allowed, &["taints"]);

        let foreign = json!([taint("mine", "NoSchedule"), taint(NOT_READY, "PreferNoSchedule")]);
        check(&node(Some("True"), foreign.clone()), 0, Allowed, &[]);
        let mut cordoned = node(Some("True"), foreign);
        cordoned["spec"]["unschedulable"] = json!(true);
        cordoned["status"]["conditions"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "DiskPressure", "status": "True"}));
        let all = "taints mine:NoSchedule not-ready:PreferNoSchedule disk-pressure:NoSchedule unschedulable:NoSchedule";
        check(&cordoned, 0, Allowed, &[all]);
    }

    #[test]
    fn zones_that_fail_in_part_are_treated_with_care() {
        let up = Node::from_tree(&node(Some("True"), json!([]))).unwrap();
        let down = Node::from_tree(&node(Some("Unknown"), json!([]))).unwrap();
        let zone = |ready: usize, unready: usize| {
            let mut nodes = vec![&up; ready];
            nodes.extend(vec![&down; unready]);
            nodes
        };
        let table = [
            (zone(3, 0), zone(1, 0), 0.1),
            (zone(3, 2), zone(1, 0), 0.1),
            (zone(2, 3), zone(1, 0), 0.0),
            (zone(20, 40), zone(1, 0), 0.01),
            (zone(0, 5), zone(1, 0), 0.1),
            (zone(0, 5), zone(0, 1), 0.0),
        ];
        for (first, second, rate) in table {
            let zones = BTreeMap::from([("a".to_owned(), first), ("b".to_owned(), second)]);
            assert_eq!(pace(&zones)["a"], rate);
        }
    }
}
