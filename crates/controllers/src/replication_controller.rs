//! ReplicationControllers: what replica sets were before they had expressive selectors.

use std::cmp::Ordering;
use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{
    Pod, PodTemplateSpec, ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus,
};
use api::typed::Typed;
use base::clock::Wall;
use grammar::selector::label::Selector;

use crate::owner::Owner;
use crate::plan::{Action, Kind, Operation, Plan};
use crate::replica_set::REPLICA_FAILURE;
use crate::replicas::{Counts, Replicas};
use crate::time::stamp;
use crate::view::Failure;

pub struct View<'a> {
    pub controller: &'a ReplicationController,
    /// The pods of its namespace that it controls or that nobody controls.
    pub pods: &'a [&'a Pod],
    pub last_failure: Option<&'a Failure>,
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let mut plan = Plan::default();
    let controller = view.controller;
    let Some(spec) = &controller.spec else { return plan };
    let labels = spec.selector.iter().flatten();
    let no_template = PodTemplateSpec::default();
    let wanted = spec.replicas.unwrap_or(1).max(0);
    let replicas = Replicas {
        owner: Owner { kind: Kind::REPLICATION_CONTROLLER, meta: &controller.metadata },
        selector: Selector::from_labels(labels.map(|(key, value)| (key.as_str(), value.as_str()))),
        template: spec.template.as_ref().unwrap_or(&no_template),
        count: wanted as usize,
        min_ready_seconds: spec.min_ready_seconds.unwrap_or(0),
    };
    // The server fills in a selector from the template; without one, every pod would match.
    if replicas.selector.is_everything() {
        return plan;
    }

    let claimed = replicas.claim(view.pods, &mut plan);
    if controller.metadata.deletion_timestamp.is_none() {
        replicas.scale(&claimed.active, &claimed.active, now, &mut plan);
    }
    let counts = replicas.counts(&claimed, now);
    let status = status(controller, wanted, counts, view.last_failure, now);
    if status != normal(controller.status.clone().unwrap_or_default()) {
        let meta = &controller.metadata;
        let body = ReplicationController { status: Some(status), ..controller.clone() };
        let update = Action::UpdateStatus { body: Arc::new(body.to_tree()) };
        plan.push(0, Operation::on(Kind::REPLICATION_CONTROLLER, meta, update).at_revision(meta));
    }
    replicas.watch_availability(&claimed, counts, now, &mut plan);
    plan
}

fn status(
    controller: &ReplicationController,
    wanted: i32,
    counts: Counts,
    failure: Option<&Failure>,
    now: Wall,
) -> ReplicationControllerStatus {
    let old = controller.status.clone().unwrap_or_default();
    let mut conditions = old.conditions.unwrap_or_default();
    match failure.filter(|failure| !failure.namespace_terminating) {
        None => conditions.retain(|condition| condition.type_ != REPLICA_FAILURE),
        Some(_) if conditions.iter().any(|condition| condition.type_ == REPLICA_FAILURE) => {}
        Some(failure) => conditions.push(ReplicationControllerCondition {
            type_: REPLICA_FAILURE.into(),
            status: "True".into(),
            reason: match counts.replicas.cmp(&wanted) {
                Ordering::Less => Some("FailedCreate".into()),
                Ordering::Greater => Some("FailedDelete".into()),
                Ordering::Equal => None,
            },
            message: Some(failure.message.clone()),
            last_transition_time: Some(stamp(now)),
        }),
    }
    normal(ReplicationControllerStatus {
        replicas: counts.replicas,
        fully_labeled_replicas: Some(counts.fully_labeled),
        ready_replicas: Some(counts.ready),
        available_replicas: Some(counts.available),
        observed_generation: controller.metadata.generation,
        conditions: Some(conditions),
    })
}

/// One spelling for each status: a zero and an absent count, or an empty and an absent list, are the same.
fn normal(status: ReplicationControllerStatus) -> ReplicationControllerStatus {
    let nonzero = |count: Option<i32>| count.filter(|count| *count != 0);
    ReplicationControllerStatus {
        replicas: status.replicas,
        fully_labeled_replicas: nonzero(status.fully_labeled_replicas),
        ready_replicas: nonzero(status.ready_replicas),
        available_replicas: nonzero(status.available_replicas),
        observed_generation: status.observed_generation.filter(|generation| *generation != 0),
        conditions: status.conditions.filter(|conditions| !conditions.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(selector: Value, pods: &[Value], failure: Option<&str>, expected: &[&str]) {
        let tree = json!({
            "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 1},
            "spec": {
                "replicas": 2,
                "selector": selector,
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            },
        });
        let controller = ReplicationController::from_tree(&tree).unwrap();
        let pods: Vec<Pod> = pods.iter().map(|pod| Pod::from_tree(pod).unwrap()).collect();
        let failure =
            failure.map(|message| Failure { message: message.into(), namespace_terminating: false });
        let pods: Vec<&Pod> = pods.iter().collect();
        let view = View { controller: &controller, pods: &pods, last_failure: failure.as_ref() };
        let plan = reconcile(&view, Wall::from_secs(1_800_000_000));
        let line = |operation: &Operation| match &operation.action {
            Action::Create { body } => {
                format!("create for {}", body["metadata"]["ownerReferences"][0]["kind"])
            }
            Action::Delete { .. } => format!("delete {}", operation.target.name),
            Action::Patch { .. } => format!("adopt {}", operation.target.name),
            Action::UpdateStatus { body } => {
                format!("{} of 2, {}", body["status"]["replicas"], body["status"]["conditions"][0]["reason"])
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(plan.operations.iter().map(line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_rules_are_those_of_replica_sets() {
        let pod = |name: &str, labels: Value| json!({"metadata": {"name": name, "namespace": "default", "uid": name, "labels": labels}, "spec": {"containers": []}});
        let web = || json!({"app": "web"});
        let create = "create for \"ReplicationController\"";
        check(web(), &[], None, &[create, create, "0 of 2, null"]);
        check(web(), &[], Some("no"), &[create, create, "0 of 2, \"FailedCreate\""]);
        check(web(), &[pod("a", web()), pod("b", json!({}))], None, &["adopt a", create, "1 of 2, null"]);
        check(json!({}), &[pod("a", web())], None, &[]);
    }
}
