//! ReplicaSets: so many equal pods, no more and no fewer.

use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use api::k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use api::typed::Typed;
use base::clock::Wall;

use crate::owner::{Owner, selector};
use crate::plan::{Action, Kind, Operation, Plan};
use crate::replicas::{Counts, Replicas};
use crate::time::stamp;
use crate::view::Failure;

/// The condition that says why pods could not be created or deleted.
pub const REPLICA_FAILURE: &str = "ReplicaFailure";

pub struct View<'a> {
    pub replica_set: &'a ReplicaSet,
    /// The pods of its namespace that it controls or that nobody controls.
    pub pods: &'a [&'a Pod],
    /// The pods of all replica sets under the same controller, its own among them.
    pub related: &'a [&'a Pod],
    pub last_failure: Option<&'a Failure>,
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let mut plan = Plan::default();
    let set = view.replica_set;
    let Some(selector) = selector(&set.spec.selector) else { return plan };
    let no_template = PodTemplateSpec::default();
    let replicas = Replicas {
        owner: Owner { kind: Kind::REPLICA_SET, meta: &set.metadata },
        selector,
        template: set.spec.template.as_ref().unwrap_or(&no_template),
        count: wanted(set) as usize,
        min_ready_seconds: set.spec.min_ready_seconds.unwrap_or(0),
    };

    let claimed = replicas.claim(view.pods, &mut plan);
    if set.metadata.deletion_timestamp.is_none() {
        replicas.scale(&claimed.active, view.related, now, &mut plan);
    }

    let counts = replicas.counts(&claimed, now);
    let status = status(set, counts, view.last_failure, now);
    if status != normal(set.status.clone().unwrap_or_default()) {
        let body = ReplicaSet { status: Some(status), ..set.clone() };
        let update = Action::UpdateStatus { body: Arc::new(body.to_tree()) };
        plan.push(0, Operation::on(Kind::REPLICA_SET, &set.metadata, update).at_revision(&set.metadata));
    }
    replicas.watch_availability(&claimed, counts, now, &mut plan);
    plan
}

/// How many pods it wants. The server sets the default and refuses what is negative.
pub fn wanted(set: &ReplicaSet) -> i32 {
    set.spec.replicas.unwrap_or(1).max(0)
}

fn status(set: &ReplicaSet, counts: Counts, failure: Option<&Failure>, now: Wall) -> ReplicaSetStatus {
    let old = set.status.clone().unwrap_or_default();
    normal(ReplicaSetStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: Some(counts.fully_labeled),
        ready_replicas: Some(counts.ready),
        available_replicas: Some(counts.available),
        terminating_replicas: Some(counts.terminating),
        observed_generation: set.metadata.generation,
        conditions: Some(conditions(set, old.conditions.unwrap_or_default(), counts, failure, now)),
    })
}

/// A failure is reported once, when it begins, and taken back when the last plan went through.
fn conditions(
    set: &ReplicaSet,
    mut conditions: Vec<ReplicaSetCondition>,
    counts: Counts,
    failure: Option<&Failure>,
    now: Wall,
) -> Vec<ReplicaSetCondition> {
    let is_failure = |condition: &ReplicaSetCondition| condition.type_.as_deref() == Some(REPLICA_FAILURE);
    match failure.filter(|failure| !failure.namespace_terminating) {
        None => conditions.retain(|condition| !is_failure(condition)),
        Some(_) if conditions.iter().any(is_failure) => {}
        Some(failure) => conditions.push(ReplicaSetCondition {
            type_: Some(REPLICA_FAILURE.into()),
            status: Some("True".into()),
            reason: match counts.replicas.cmp(&wanted(set)) {
                std::cmp::Ordering::Less => Some("FailedCreate".into()),
                std::cmp::Ordering::Greater => Some("FailedDelete".into()),
                std::cmp::Ordering::Equal => None,
            },
            message: Some(failure.message.clone()),
            last_transition_time: Some(stamp(now)),
        }),
    }
    conditions
}

/// One spelling for each status: a zero and an absent count, or an empty and an absent list, are the same.
fn normal(status: ReplicaSetStatus) -> ReplicaSetStatus {
    let nonzero = |count: Option<i32>| count.filter(|count| *count != 0);
    ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: nonzero(status.fully_labeled_replicas),
        ready_replicas: nonzero(status.ready_replicas),
        available_replicas: nonzero(status.available_replicas),
        terminating_replicas: status.terminating_replicas,
        observed_generation: status.observed_generation.filter(|generation| *generation != 0),
        conditions: status.conditions.filter(|conditions| !conditions.is_empty()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::{Cluster, NAMESPACE};
    use crate::owner::controller_of;
    use crate::plan::Target;
    use base::random::Random;
    use serde_json::{Value, json};

    fn set(replicas: i32) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": NAMESPACE, "uid": "set", "generation": 2},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web", "full": "yes"}},
                    "spec": {"containers": [{"name": "c", "image": "i"}]},
                },
            },
        })
    }

    /// A pod of the set: `owner` is its controller's uid; what `more` says is laid over it.
    fn pod(name: &str, owner: Option<&str>, more: Value) -> Value {
        let mut tree = json!({
            "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running"},
        });
        if let Some(owner) = owner {
            tree["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": owner, "controller": true}]);
        }
        overlay(&mut tree, &more);
        tree
    }

    fn overlay(tree: &mut Value, more: &Value) {
        match more {
            Value::Object(fields) => fields.iter().for_each(|(key, value)| overlay(&mut tree[key], value)),
            value => *tree = value.clone(),
        }
    }

    fn ready(second: u8) -> Value {
        let since = format!("2027-01-15T07:59:{second:02}Z");
        json!({"status": {"conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}]}})
    }

    /// Reconciles at 2027-01-15T08:00:00Z and writes the plan as lines: the stage, what is done, and to what.
    fn check(set: Value, pods: &[Value], failure: Option<&str>, expected: &[&str]) {
        let set = ReplicaSet::from_tree(&set).unwrap();
        let pods: Vec<Pod> = pods.iter().map(|pod| Pod::from_tree(pod).unwrap()).collect();
        let pods: Vec<&Pod> = pods.iter().collect();
        let failure =
            failure.map(|message| Failure { message: message.into(), namespace_terminating: false });
        let view = View { replica_set: &set, pods: &pods, related: &pods, last_failure: failure.as_ref() };
        let plan = reconcile(&view, Wall::from_secs(1_800_000_000));
        let mut lines: Vec<String> = plan.operations.iter().map(line).collect();
        lines.extend(plan.requeue_after.map(|after| format!("again in {after:?}")));
        assert_eq!(lines, expected);
    }

    fn line(operation: &Operation) -> String {
        let name = &operation.target.name;
        let verb = match &operation.action {
            Action::Create { body } => {
                format!("create {}", body["metadata"]["generateName"].as_str().unwrap())
            }
            Action::Delete { .. } => "delete ".into(),
            Action::UpdateStatus { body } => format!("status {} of ", body["status"]),
            Action::Patch { body, .. } => {
                format!("owner {} of ", body["metadata"]["ownerReferences"][0]["$patch"])
            }
            other => format!("{other:?}"),
        };
        format!("{}: {verb}{name}", operation.stage)
    }

    const SETTLED: &str = r#"0: status {"observedGeneration":2,"replicas":0,"terminatingReplicas":0} of web"#;

    fn settled(status: &str) -> String {
        format!("0: status {status} of web")
    }

    #[test]
    fn missing_pods_are_created_in_batches_that_double() {
        let mut expected = vec!["0: create web-", "1: create web-", "1: create web-"];
        expected.extend(["2: create web-"; 4]);
        expected.extend(["3: create web-", SETTLED]);
        check(set(8), &[], None, &expected);
    }

    #[test]
    fn one_plan_creates_or_deletes_a_burst_at_most() {
        let view = |set: &ReplicaSet, pods: &[&Pod]| {
            let view = View { replica_set: set, pods, related: pods, last_failure: None };
            reconcile(&view, Wall::default()).operations.len() - 1
        };
        let many = ReplicaSet::from_tree(&set(2000)).unwrap();
        assert_eq!(view(&many, &[]), crate::replicas::BURST);
        let one = Pod::from_tree(&pod("p", Some("set"), json!({}))).unwrap();
        let none = ReplicaSet::from_tree(&set(0)).unwrap();
        assert_eq!(view(&none, &vec![&one; 700]), crate::replicas::BURST);
    }

    #[test]
    fn pods_are_adopted_released_and_ignored() {
        let stray = json!({"metadata": {"labels": {"app": "other"}}});
        let pods = [
            pod("orphan", None, json!({})),
            pod("foreign", Some("other"), json!({})),
            pod("stray", Some("set"), stray.clone()),
            pod("ended", None, json!({"status": {"phase": "Failed"}})),
            pod("dying", Some("set"), json!({"metadata": {"deletionTimestamp": "2027-01-15T07:00:00Z"}})),
        ];
        let status = settled(r#"{"observedGeneration":2,"replicas":1,"terminatingReplicas":1}"#);
        check(set(1), &pods, None, &["0: owner null of orphan", "0: owner \"delete\" of stray", &status]);

        let mut deleted = set(3);
        deleted["metadata"]["deletionTimestamp"] = json!("2027-01-15T07:00:00Z");
        check(deleted, &[pod("orphan", None, json!({})), pod("stray", Some("set"), stray)], None, &[SETTLED]);
    }

    #[test]
    fn the_least_wanted_pod_is_deleted() {
        let cost = |cost: &str| json!({"metadata": {"annotations": {"controller.kubernetes.io/pod-deletion-cost": cost}}});
        let born =
            |second: u8| json!({"metadata": {"creationTimestamp": format!("2027-01-15T07:59:{second:02}Z")}});
        let restarted = |count: u8| {
            let status =
                json!({"name": "c", "restartCount": count, "ready": true, "image": "i", "imageID": "i"});
            json!({"status": {"containerStatuses": [status]}})
        };
        let table = [
            ("unassigned before assigned", json!({"spec": {"nodeName": null}}), json!({})),
            (
                "pending before unknown",
                json!({"status": {"phase": "Pending"}}),
                json!({"status": {"phase": "Unknown"}}),
            ),
            ("unknown before running", json!({"status": {"phase": "Unknown"}}), json!({})),
            ("not ready before ready", json!({}), ready(0)),
            ("cheaper before dearer", cost("-1"), cost("0")),
            ("a malformed cost is none", cost("+9"), cost("1")),
            ("ready for less before ready for longer", ready(59), ready(0)),
            ("more restarts before fewer", restarted(3), restarted(2)),
            ("younger before older", born(59), born(0)),
            ("unknown age before any", json!({}), born(0)),
        ];
        for (case, goes, stays) in table {
            let (goes, stays) = (pod("goes", Some("set"), goes), pod("stays", Some("set"), stays));
            for pods in [[goes.clone(), stays.clone()], [stays, goes]] {
                let set = ReplicaSet::from_tree(&set(1)).unwrap();
                let pods: Vec<Pod> = pods.iter().map(|pod| Pod::from_tree(pod).unwrap()).collect();
                let pods: Vec<&Pod> = pods.iter().collect();
                let view = View { replica_set: &set, pods: &pods, related: &[], last_failure: None };
                let plan = reconcile(&view, Wall::from_secs(1_800_000_000));
                assert_eq!(line(&plan.operations[0]), "0: delete goes", "{case}");
            }
        }
    }

    #[test]
    fn a_failure_is_reported_once_and_taken_back() {
        let failed = concat!(
            r#"{"conditions":[{"lastTransitionTime":"2027-01-15T08:00:00Z","message":"exceeded quota","#,
            r#""reason":"FailedCreate","status":"True","type":"ReplicaFailure"}],"#,
            r#""observedGeneration":2,"replicas":0,"terminatingReplicas":0}"#
        );
        check(set(1), &[], Some("exceeded quota"), &["0: create web-", &settled(failed)]);
        let mut reported = set(1);
        reported["status"] = serde_json::from_str(failed).unwrap();
        check(reported.clone(), &[], Some("something else"), &["0: create web-"]);
        check(reported, &[], None, &["0: create web-", SETTLED]);
    }

    #[test]
    fn readiness_must_last_before_it_counts_as_availability() {
        let mut patient = set(3);
        patient["spec"]["minReadySeconds"] = json!(10);
        let pods =
            [("a", 50), ("b", 51), ("c", 55)].map(|(name, second)| pod(name, Some("set"), ready(second)));
        let status = settled(
            r#"{"availableReplicas":1,"observedGeneration":2,"readyReplicas":3,"replicas":3,"terminatingReplicas":0}"#,
        );
        check(patient, &pods, None, &[&status, "again in 1s"]);
    }

    /// One reconcile of a set in the model.
    pub(crate) fn step(cluster: &mut Cluster, set: &Target) -> Result<bool, Failure> {
        let Some(set) = cluster.get::<ReplicaSet>(set) else { return Ok(false) };
        let pods: Vec<Pod> = cluster.list(&Kind::POD);
        let concerns = |pod: &&Pod| {
            controller_of(&pod.metadata).is_none_or(|owner| Some(&owner.uid) == set.metadata.uid.as_ref())
        };
        let pods: Vec<&Pod> = pods.iter().filter(concerns).collect();
        let view = View { replica_set: &set, pods: &pods, related: &pods, last_failure: None };
        let plan = reconcile(&view, cluster.now);
        cluster.apply(&plan).map(|()| !plan.operations.is_empty())
    }

    #[test]
    fn any_history_ends_with_the_wanted_pods() {
        for seed in crate::model::seeds(30) {
            let mut cluster = Cluster::new(seed);
            let target = cluster.create(Kind::REPLICA_SET, set(3));
            for round in 0..40 {
                if round < 20 && cluster.random.below(3) == 0 {
                    let replicas = cluster.random.below(8);
                    cluster.edit(&target, |tree| tree["spec"]["replicas"] = json!(replicas));
                }
                step(&mut cluster, &target).unwrap();
                let wanted = wanted(&cluster.get(&target).unwrap()) as usize;
                let active =
                    cluster.list::<Pod>(&Kind::POD).iter().filter(|pod| crate::pods::is_active(pod)).count();
                assert_eq!(active, wanted, "a plan leaves just the wanted pods active, seed {seed}");
                cluster.tick(|_| true);
            }
            for _ in 0..40 {
                cluster.tick(|_| true);
                step(&mut cluster, &target).unwrap();
            }
            assert!(!step(&mut cluster, &target).unwrap(), "seed {seed} comes to rest");
            let set: ReplicaSet = cluster.get(&target).unwrap();
            assert_eq!(set.status.unwrap().available_replicas.unwrap_or(0), set.spec.replicas.unwrap());
        }
    }
}
