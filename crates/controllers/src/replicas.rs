//! Keeping a number of equal pods: what ReplicaSets and ReplicationControllers have in common.

use std::sync::Arc;

use api::k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use api::typed::Typed;
use base::clock::Wall;
use grammar::selector::label::Selector;

use crate::owner::{Claim, Owner, matches};
use crate::plan::{Action, EventNote, Kind, Operation, Plan};
use crate::pods;

/// At most so many pods are created or deleted in one plan, so that one owner does not starve the others.
pub const BURST: usize = 500;

/// The first creations are a probe: if they fail, for lack of quota for instance, the others would fail too.
const FIRST_BATCH: usize = 1;

/// A number of pods that someone wants.
pub struct Replicas<'a> {
    pub owner: Owner<'a>,
    pub selector: Selector,
    pub template: &'a PodTemplateSpec,
    pub count: usize,
    pub min_ready_seconds: i32,
}

/// The pods that count as the owner's.
#[derive(Default)]
pub struct Claimed<'a> {
    pub active: Vec<&'a Pod>,
    pub terminating: Vec<&'a Pod>,
}

/// How far they have come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: i32,
}

impl<'a> Replicas<'a> {
    /// Sorts out which pods are the owner's, adopting orphans and releasing strays. A pod that has ended or is being
    /// deleted is nobody's to adopt or release any more.
    pub fn claim(&self, pods: &[&'a Pod], plan: &mut Plan) -> Claimed<'a> {
        let mut claimed = Claimed::default();
        for &pod in pods {
            let claim = self.owner.claim(&pod.metadata, matches(&self.selector, &pod.metadata));
            match claim {
                Claim::Owned if pods::is_terminating(pod) => claimed.terminating.push(pod),
                _ if !pods::is_active(pod) => {}
                Claim::Owned => claimed.active.push(pod),
                Claim::Adopt => {
                    plan.push(0, self.owner.adopt(Kind::POD, &pod.metadata));
                    claimed.active.push(pod);
                }
                Claim::Release => plan.push(0, self.owner.release(Kind::POD, &pod.metadata)),
                Claim::Ignore => {}
            }
        }
        claimed
    }

    /// Creates what is missing, in batches that double, or deletes what is too much.
    pub fn scale(&self, active: &[&Pod], related: &[&Pod], now: Wall, plan: &mut Plan) {
        let missing = self.count.saturating_sub(active.len()).min(BURST);
        let surplus = active.len().saturating_sub(self.count).min(BURST);
        if missing > 0 {
            let create = self.creation();
            let mut batch = FIRST_BATCH;
            let mut left = missing;
            for stage in 0.. {
                let size = batch.min(left);
                (0..size).for_each(|_| plan.push(stage, create.clone()));
                left -= size;
                batch *= 2;
                if left == 0 {
                    break;
                }
            }
        }
        for pod in pods::least_wanted(active, related, surplus, now) {
            plan.push(0, self.deletion(pod));
        }
    }

    pub fn counts(&self, claimed: &Claimed<'_>, now: Wall) -> Counts {
        let labels = self.template.metadata.iter().flat_map(|meta| meta.labels.iter().flatten());
        let labels = Selector::from_labels(labels.map(|(key, value)| (key.as_str(), value.as_str())));
        let count =
            |wanted: &dyn Fn(&Pod) -> bool| claimed.active.iter().filter(|pod| wanted(pod)).count() as i32;
        Counts {
            replicas: claimed.active.len() as i32,
            fully_labeled: count(&|pod| matches(&labels, &pod.metadata)),
            ready: count(&pods::is_ready),
            available: count(&|pod| pods::is_available(pod, self.min_ready_seconds, now)),
            terminating: claimed.terminating.len() as i32,
        }
    }

    /// While pods are ready but not yet available, the passing of time alone changes the status.
    pub fn watch_availability(&self, claimed: &Claimed<'_>, counts: Counts, now: Wall, plan: &mut Plan) {
        if self.min_ready_seconds > 0 && counts.ready != counts.available {
            let next = pods::next_availability(claimed.active.iter().copied(), self.min_ready_seconds, now);
            plan.requeue(next.unwrap_or(crate::time::seconds(self.min_ready_seconds)));
        }
    }

    fn creation(&self) -> Operation {
        let pod = pods::from_template(self.template, &self.owner);
        create_pod(&self.owner, &pod)
    }

    fn deletion(&self, pod: &Pod) -> Operation {
        delete_pod(&self.owner, pod)
    }
}

/// Creates a pod for its owner, with the events that say so.
pub fn create_pod(owner: &Owner<'_>, pod: &Pod) -> Operation {
    let target = crate::plan::Target::of(Kind::POD, &pod.metadata);
    let operation = Operation::new(target, Action::Create { body: Arc::new(pod.to_tree()) });
    let kind = || owner.kind.clone();
    operation.notes(
        EventNote::normal(kind(), owner.meta, "SuccessfulCreate", "Created pod: ").with_name(),
        EventNote::warning(kind(), owner.meta, "FailedCreate", "Error creating: ").with_error(),
    )
}

/// Deletes a pod for its owner, with the events that say so.
pub fn delete_pod(owner: &Owner<'_>, pod: &Pod) -> Operation {
    let action = Action::Delete { propagation: None, grace_seconds: None };
    let kind = || owner.kind.clone();
    Operation::on(Kind::POD, &pod.metadata, action).notes(
        EventNote::normal(kind(), owner.meta, "SuccessfulDelete", "Deleted pod: ").with_name(),
        EventNote::warning(kind(), owner.meta, "FailedDelete", "Error deleting: ").with_error(),
    )
}
