//! Eviction by taints: a pod leaves its node when the time is up for which it tolerates the node's `NoExecute` taints.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use base::clock::Wall;
use serde_json::json;

use crate::plan::{Action, EventNote, Kind, Operation, PatchFormat, Plan};
use crate::pods;
use crate::time::{seconds, stamp, wall};

const DISRUPTION_TARGET: &str = "DisruptionTarget";
const REASON: &str = "DeletionByTaintManager";

pub struct View<'a> {
    pub pod: &'a Pod,
    /// The node that the pod is on.
    pub node: &'a Node,
    /// When the pod was first seen on the node with its present taints. Taints that say when they were added do not
    /// need it, so a restart does not set their clocks back.
    pub noticed: Wall,
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let mut plan = Plan::default();
    if pods::is_deleting(view.pod) {
        return plan;
    }
    match deadline(view) {
        Deadline::Never => {}
        Deadline::At(due) if due > now => plan.requeue(due.since(now)),
        Deadline::At(_) => evict(view.pod, now, &mut plan),
    }
    plan
}

enum Deadline {
    Never,
    At(Wall),
}

/// The first moment at which some taint is no longer tolerated.
fn deadline(view: &View<'_>) -> Deadline {
    let taints = view.node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let mut first: Option<Wall> = None;
    for taint in taints.filter(|taint| taint.effect == "NoExecute") {
        let tolerations = view.pod.spec.iter().flat_map(|spec| spec.tolerations.iter().flatten());
        let due = match tolerations.into_iter().find(|toleration| tolerates(toleration, taint)) {
            // A taint that is not tolerated at all was due before anything else.
            None => Wall(i64::MIN),
            Some(Toleration { toleration_seconds: None, .. }) => continue,
            Some(Toleration { toleration_seconds: Some(limit), .. }) => {
                since(view, taint).plus(seconds(*limit))
            }
        };
        first = Some(first.map_or(due, |first| first.min(due)));
    }
    first.map_or(Deadline::Never, Deadline::At)
}

/// Since when the pod has been under the taint: it may have come to the node after it.
fn since(view: &View<'_>, taint: &Taint) -> Wall {
    let Some(added) = &taint.time_added else { return view.noticed };
    let started = view.pod.status.as_ref().and_then(|status| status.start_time.as_ref());
    let started = started.or(view.pod.metadata.creation_timestamp.as_ref()).map_or(view.noticed, wall);
    wall(added).max(started)
}

/// Whether a toleration means a taint. An empty key with `Exists` means every taint, and an empty effect every effect.
pub fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    fn given(text: &Option<String>) -> Option<&str> {
        text.as_deref().filter(|text| !text.is_empty())
    }
    let value_matches = match given(&toleration.operator) {
        None | Some("Equal") => given(&toleration.value) == given(&taint.value),
        Some("Exists") => true,
        Some(_) => false,
    };
    value_matches
        && given(&toleration.effect).is_none_or(|effect| effect == taint.effect)
        && given(&toleration.key).is_none_or(|key| key == taint.key)
}

/// Says why in the pod's status, so that its owner does not count this as the pod's own failure, and deletes it.
fn evict(pod: &Pod, now: Wall, plan: &mut Plan) {
    let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
    let message =
        format!("Marking for deletion Pod {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
    plan.events.push(EventNote::normal(Kind::POD, &pod.metadata, "TaintManagerEviction", message));
    let old = pods::condition(pod, DISRUPTION_TARGET).filter(|condition| condition.status == "True");
    if old.is_none_or(|condition| condition.reason.as_deref() != Some(REASON)) {
        let since = old.and_then(|old| old.last_transition_time.clone()).unwrap_or_else(|| stamp(now));
        let mut condition = json!({
            "type": DISRUPTION_TARGET,
            "status": "True",
            "reason": REASON,
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": since.0.to_string(),
        });
        let observed =
            pod.status.as_ref().and_then(|status| status.observed_generation).is_some_and(|seen| seen != 0);
        if let Some(generation) = pod.metadata.generation.filter(|_| observed) {
            condition["observedGeneration"] = json!(generation);
        }
        let body = Arc::new(json!({"status": {"conditions": [condition]}}));
        let patch = Action::Patch { format: PatchFormat::Strategic, subresource: Some("status"), body };
        plan.push(0, Operation::on(Kind::POD, &pod.metadata, patch));
    }
    let delete = Action::Delete { propagation: None, grace_seconds: None };
    plan.push(plan.next_stage(), Operation::on(Kind::POD, &pod.metadata, delete));
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::typed::Typed;
    use serde_json::Value;
    use std::time::Duration;

    /// What becomes of a pod that started at 08:00:00 and was noticed at 08:00:10, at 08:01:00.
    fn check(taints: Value, tolerations: Value, expected: Result<Option<u64>, ()>) {
        let pod = json!({
            "metadata": {"name": "p", "namespace": "default", "uid": "p"},
            "spec": {"containers": [], "nodeName": "n", "tolerations": tolerations},
            "status": {"startTime": "2027-01-15T08:00:00Z"},
        });
        let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
        let (pod, node) = (Pod::from_tree(&pod).unwrap(), Node::from_tree(&node).unwrap());
        let start = Wall::from_secs(1_800_000_000);
        let noticed = start.plus(Duration::from_secs(10));
        let plan = reconcile(&View { pod: &pod, node: &node, noticed }, start.plus(Duration::from_secs(60)));
        let found = match plan.operations.len() {
            0 => Ok(plan.requeue_after.map(|after| after.as_secs())),
            count => {
                assert_eq!((count, plan.operations[1].stage), (2, 1));
                assert_eq!(plan.events[0].message, "Marking for deletion Pod default/p");
                Err(())
            }
        };
        assert_eq!(found, expected, "{taints} {tolerations}");
    }

    #[test]
    fn pods_stay_as_long_as_they_tolerate_every_taint() {
        let taint = |more: Value| {
            let mut taint = json!({"key": "k", "value": "v", "effect": "NoExecute"});
            taint.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            taint
        };
        let plain = || taint(json!({}));
        check(json!([]), json!([]), Ok(None));
        check(json!([{"key": "k", "effect": "NoSchedule"}]), json!([]), Ok(None));
        check(json!([plain()]), json!([]), Err(()));
        check(json!([plain()]), json!([{"key": "k", "value": "other"}]), Err(()));
        check(json!([plain()]), json!([{"key": "k", "value": "v"}]), Ok(None));
        check(json!([plain()]), json!([{"operator": "Exists"}]), Ok(None));
        check(json!([plain()]), json!([{"operator": "Exists", "effect": "NoSchedule"}]), Err(()));
        check(json!([plain()]), json!([{"key": "k", "operator": "Gt", "value": "1"}]), Err(()));

        let limited = |limit: i64| json!([{"key": "k", "operator": "Exists", "tolerationSeconds": limit}]);
        check(json!([plain()]), limited(100), Ok(Some(50)));
        check(json!([plain()]), limited(40), Err(()));
        check(json!([plain()]), limited(-5), Err(()));
        let added = |time: &str| json!([taint(json!({"timeAdded": time}))]);
        check(added("2027-01-15T08:00:30Z"), limited(100), Ok(Some(70)));
        check(added("2027-01-15T07:00:00Z"), limited(100), Ok(Some(40)));

        let second = json!({"key": "l", "effect": "NoExecute"});
        let both = json!([
            {"key": "k", "operator": "Exists", "tolerationSeconds": 100},
            {"key": "l", "operator": "Exists", "tolerationSeconds": 80},
        ]);
        check(json!([plain(), second]), both, Ok(Some(30)));
        check(json!([plain(), {"key": "m", "effect": "NoExecute"}]), limited(100), Err(()));
    }
}
