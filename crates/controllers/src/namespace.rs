//! Namespaces on their way out: pods first, then everything else, then the namespace itself.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use api::k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use api::typed::Typed;
use base::clock::Wall;

use crate::plan::{Action, Kind, Operation, Plan, Target};
use crate::time::stamp;
use crate::view::Failure;

/// Keeps a namespace until its content is gone; it stands in the spec, not in the metadata.
pub const FINALIZER: &str = "kubernetes";

/// How long the removal of other finalizers is expected to take.
const FINALIZER_ESTIMATE: u64 = 15;

pub struct View<'a> {
    pub namespace: &'a Namespace,
    /// What is in it of each kind that can be deleted, read fresh. Kinds without objects may be left out.
    pub contents: &'a [Content],
    /// Why some kinds could not be listed. They may hide objects, so the namespace stays.
    pub discovery_failure: Option<&'a str>,
    pub last_failure: Option<&'a Failure>,
}

/// The objects of one kind in a namespace.
#[derive(Clone, Debug)]
pub struct Content {
    pub kind: Kind,
    /// Those that nobody has deleted yet.
    pub alive: usize,
    /// Those that are being deleted and are still there.
    pub leaving: usize,
    /// How many have each finalizer.
    pub finalizers: BTreeMap<String, usize>,
    /// The longest that one of them may take to stop, for pods.
    pub grace_seconds: u64,
}

impl Content {
    fn count(&self) -> usize {
        self.alive + self.leaving
    }
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let mut plan = Plan::default();
    let namespace = view.namespace;
    let status = namespace.status.clone().unwrap_or_default();
    if namespace.metadata.deletion_timestamp.is_none() {
        return plan;
    }
    // Nothing can be created in a namespace that is marked so. What was listed before may not have been all.
    if status.phase.as_deref() != Some("Terminating") {
        write_status(view, NamespaceStatus { phase: Some("Terminating".into()), ..status }, &mut plan);
        return plan;
    }
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
    if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return plan;
    }

    let (pods, others): (Vec<&Content>, Vec<&Content>) = view
        .contents
        .iter()
        .filter(|content| content.count() > 0)
        .partition(|content| content.kind == Kind::POD);
    // Pods may need the rest, such as their secrets and policies, until they have stopped.
    let remaining = if pods.is_empty() { others } else { pods };
    for content in remaining.iter().filter(|content| content.alive > 0) {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let target = Target { kind: content.kind.clone(), namespace: name, name: String::new() };
        let delete = Action::DeleteAll { propagation: Some(crate::plan::Propagation::Background) };
        plan.push(0, Operation::new(target, delete));
    }

    let conditions = conditions(view, &remaining, status.conditions.clone().unwrap_or_default(), now);
    if conditions != status.conditions.clone().unwrap_or_default() {
        write_status(view, NamespaceStatus { conditions: Some(conditions), ..status }, &mut plan);
    }
    if !remaining.is_empty() {
        let estimate = remaining.iter().map(|content| estimate(content)).max().unwrap_or(0);
        plan.requeue(Duration::from_secs(estimate / 2 + 1));
    } else if view.discovery_failure.is_none() && plan.operations.is_empty() {
        let mut body = namespace.clone();
        let left = finalizers.into_iter().filter(|finalizer| finalizer != FINALIZER).collect();
        body.spec.get_or_insert_default().finalizers = Some(left);
        let finalize = Action::UpdateSubresource { subresource: "finalize", body: Arc::new(body.to_tree()) };
        let operation = Operation::on(Kind::NAMESPACE, &namespace.metadata, finalize);
        plan.push(0, operation.at_revision(&namespace.metadata));
    }
    plan
}

fn estimate(content: &Content) -> u64 {
    let finalizers = if content.finalizers.is_empty() { 0 } else { FINALIZER_ESTIMATE };
    content.grace_seconds.max(finalizers)
}

fn write_status(view: &View<'_>, status: NamespaceStatus, plan: &mut Plan) {
    let meta = &view.namespace.metadata;
    let body = Namespace { status: Some(status), ..view.namespace.clone() };
    let update = Action::UpdateStatus { body: Arc::new(body.to_tree()) };
    plan.push(0, Operation::on(Kind::NAMESPACE, meta, update).at_revision(meta));
}

/// Five conditions that are always there once a namespace terminates. Only what has been deleted and is still there
/// counts as remaining.
fn conditions(
    view: &View<'_>,
    remaining: &[&Content],
    mut conditions: Vec<NamespaceCondition>,
    now: Wall,
) -> Vec<NamespaceCondition> {
    let kinds = remaining.iter().filter(|content| content.leaving > 0);
    let mut counts: Vec<String> = kinds
        .map(|content| {
            let Kind { resource, group, .. } = &content.kind;
            format!("{resource}.{group} has {} resource instances", content.leaving)
        })
        .collect();
    counts.sort_unstable();
    let mut finalizers = BTreeMap::<&str, usize>::new();
    for (finalizer, count) in remaining.iter().flat_map(|content| &content.finalizers) {
        *finalizers.entry(finalizer).or_default() += count;
    }
    let finalizers: Vec<String> = finalizers
        .iter()
        .map(|(finalizer, count)| format!("{finalizer} in {count} resource instances"))
        .collect();

    let failure = view.last_failure.map(|failure| &failure.message);
    let table = [
        (
            "NamespaceDeletionDiscoveryFailure",
            ("ResourcesDiscovered", "All resources successfully discovered"),
            view.discovery_failure.map(|message| ("DiscoveryFailed", message.to_owned())),
        ),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            None,
        ),
        (
            "NamespaceDeletionContentFailure",
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            failure.map(|message| {
                let message = format!("Failed to delete all resource types, 1 remaining: {message}");
                ("ContentDeletionFailed", message)
            }),
        ),
        (
            "NamespaceContentRemaining",
            ("ContentRemoved", "All content successfully removed"),
            (!counts.is_empty()).then(|| {
                ("SomeResourcesRemain", format!("Some resources are remaining: {}", counts.join(", ")))
            }),
        ),
        (
            "NamespaceFinalizersRemaining",
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            (!finalizers.is_empty()).then(|| {
                let list = finalizers.join(", ");
                let message = format!("Some content in the namespace has finalizers remaining: {list}");
                ("SomeFinalizersRemain", message)
            }),
        ),
    ];
    for (type_, (ok_reason, ok_message), trouble) in table {
        let status = if trouble.is_some() { "True" } else { "False" };
        let (reason, message) = trouble.unwrap_or_else(|| (ok_reason, ok_message.to_owned()));
        let old = conditions.iter().position(|condition| condition.type_ == type_);
        let since = old.map(|at| &conditions[at]).filter(|old| old.status == status);
        let new = NamespaceCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message),
            last_transition_time: since.map_or(Some(stamp(now)), |old| old.last_transition_time.clone()),
        };
        match old {
            Some(at) => conditions[at] = new,
            None => conditions.push(new),
        }
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn namespace(phase: &str) -> Value {
        json!({
            "metadata": {"name": "team", "uid": "u", "deletionTimestamp": "2027-01-15T07:00:00Z"},
            "spec": {"finalizers": ["kubernetes", "example.com/mine"]},
            "status": {"phase": phase},
        })
    }

    fn content(kind: Kind, alive: usize, leaving: usize) -> Content {
        Content { kind, alive, leaving, finalizers: BTreeMap::new(), grace_seconds: 0 }
    }

    /// The plan as lines; statuses are shown by the messages of the conditions that hold.
    fn check(
        namespace: Value,
        contents: &[Content],
        discovery_failure: Option<&str>,
        expected: &[&str],
    ) -> Value {
        let namespace = Namespace::from_tree(&namespace).unwrap();
        let view = View { namespace: &namespace, contents, discovery_failure, last_failure: None };
        let plan = reconcile(&view, Wall::from_secs(1_800_000_000));
        let mut status = Value::Null;
        let mut lines = Vec::new();
        for operation in &plan.operations {
            lines.push(match &operation.action {
                Action::DeleteAll { .. } => format!("delete all {}", operation.target.kind.resource),
                Action::UpdateStatus { body } => {
                    status = body["status"].clone();
                    let conditions = body["status"]["conditions"].as_array().into_iter().flatten();
                    let held = conditions.filter(|one| one["status"] == "True");
                    let held: Vec<&str> = held.filter_map(|one| one["message"].as_str()).collect();
                    format!("status {} {}", body["status"]["phase"].as_str().unwrap(), held.join("; "))
                }
                Action::UpdateSubresource { subresource, body } => {
                    format!("{subresource} {}", body["spec"]["finalizers"])
                }
                other => panic!("{other:?}"),
            });
        }
        lines.extend(plan.requeue_after.map(|after| format!("again in {after:?}")));
        assert_eq!(lines, expected);
        status
    }

    #[test]
    fn a_namespace_is_emptied_pods_first() {
        let mut alive = namespace("Active");
        check(alive.clone(), &[content(Kind::POD, 1, 0)], None, &["status Terminating "]);
        alive["metadata"]["deletionTimestamp"] = Value::Null;
        check(alive, &[content(Kind::POD, 1, 0)], None, &[]);

        let mut ending = namespace("Terminating");
        let slow = Content { grace_seconds: 30, ..content(Kind::POD, 2, 1) };
        let held = Content {
            finalizers: BTreeMap::from([("example.com/f".to_owned(), 1)]),
            ..content(Kind::DEPLOYMENT, 0, 1)
        };
        let all = [slow, held.clone(), content(Kind::CONFIG_MAP, 4, 0)];
        let status = "status Terminating Some resources are remaining: pods. has 1 resource instances";
        ending["status"] = check(ending.clone(), &all, None, &["delete all pods", status, "again in 16s"]);
        assert_eq!(ending["status"]["conditions"].as_array().unwrap().len(), 5);
        let status = "status Terminating Some resources are remaining: deployments.apps has 1 resource instances; \
                      Some content in the namespace has finalizers remaining: example.com/f in 1 resource instances";
        let expected = ["delete all configmaps", status, "again in 8s"];
        ending["status"] = check(ending.clone(), &all[1..], None, &expected);
        check(ending.clone(), &[held], None, &["again in 8s"]);
        ending["status"] = check(ending.clone(), &[], None, &["status Terminating "]);
        check(ending.clone(), &[], None, &["finalize [\"example.com/mine\"]"]);
        check(ending.clone(), &[], Some("down"), &["status Terminating down"]);
        ending["spec"]["finalizers"] = json!(["example.com/mine"]);
        check(ending, &[], None, &[]);
    }
}
