//! Deployments: one replica set for each pod template, and the way from one to the next.
//!
//! A reconcile works on copies of the deployment and its replica sets as if every write took effect at once, and the
//! plan is what the copies differ from what was seen.

mod hash;
pub mod history;
mod rollout;
mod size;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use api::k8s_openapi::api::core::v1::{Pod, PodTemplate, PodTemplateSpec};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use api::typed::Typed;
use base::clock::Wall;
use grammar::names::DNS1123_SUBDOMAIN_MAX_LENGTH;

pub use hash::template_hash;
pub use size::{max_surge, max_unavailable};

use crate::owner::{Claim, Owner, is_controlled_by, matches, selector};
use crate::plan::{Action, EventNote, Kind, Operation, Plan, Target};
use crate::replica_set::wanted;
use crate::view::Failure;

/// The label that tells apart the pods of one template from those of the others.
pub const TEMPLATE_HASH: &str = "pod-template-hash";

pub struct View<'a> {
    pub deployment: &'a Deployment,
    /// The replica sets of its namespace that it controls or that nobody controls.
    pub replica_sets: &'a [&'a ReplicaSet],
    /// Whatever replica set bears the name of [`new_name`], whoever owns it.
    pub namesake: Option<&'a ReplicaSet>,
    /// The pods that its replica sets control. Only the strategy `Recreate` looks at them.
    pub pods: &'a [&'a Pod],
    pub last_failure: Option<&'a Failure>,
}

/// The name that the replica set of the present template has or will have.
pub fn new_name(deployment: &Deployment) -> String {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    named(deployment, &template_hash(&deployment.spec.template, collisions))
}

pub fn reconcile(view: &View<'_>, now: Wall) -> Plan {
    let seen = view.deployment;
    let mut plan = Plan::default();
    let Some(selector) = selector(&seen.spec.selector) else { return plan };
    if selector.is_everything() {
        let message = "This deployment is selecting all pods. A non-empty selector is required.";
        plan.events.push(EventNote::warning(Kind::DEPLOYMENT, &seen.metadata, "SelectingAll", message));
        let mut deployment = seen.clone();
        status::observe(&mut deployment);
        write_status(seen, &deployment, &mut plan);
        return plan;
    }

    let owner = Owner { kind: Kind::DEPLOYMENT, meta: &seen.metadata };
    let mut sets = Vec::new();
    for &set in view.replica_sets {
        match owner.claim(&set.metadata, matches(&selector, &set.metadata)) {
            Claim::Owned => sets.push(set),
            Claim::Adopt => {
                plan.push(0, owner.adopt(Kind::REPLICA_SET, &set.metadata));
                sets.push(set);
            }
            Claim::Release => plan.push(0, owner.release(Kind::REPLICA_SET, &set.metadata)),
            Claim::Ignore => {}
        }
    }
    // A replica set that has just been adopted has a new revision by the time that this plan would write to it.
    if !plan.operations.is_empty() {
        return plan;
    }

    let mut work = Work::new(view, &sets, now, plan);
    work.decide();
    work.finish()
}

/// A reconcile under way.
struct Work<'a> {
    view: &'a View<'a>,
    now: Wall,
    plan: Plan,
    deployment: Deployment,
    new: Option<Set<'a>>,
    /// From the oldest to the youngest.
    old: Vec<Set<'a>>,
    /// The pods of the newest replica set could not be made, and what that means is in the status already.
    stuck: bool,
}

/// A replica set as it was seen, unless it is being created, and as it shall be.
struct Set<'a> {
    seen: Option<&'a ReplicaSet>,
    set: ReplicaSet,
}

impl<'a> Work<'a> {
    fn new(view: &'a View<'a>, sets: &[&'a ReplicaSet], now: Wall, plan: Plan) -> Work<'a> {
        let age = |set: &ReplicaSet| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone());
        let mut sets = sets.to_vec();
        sets.sort_by_cached_key(|set| age(set));
        let template = &view.deployment.spec.template;
        let place =
            sets.iter().position(|set| set.spec.template.as_ref().is_some_and(|own| same(own, template)));
        let new = place.map(|place| Set::of(sets.remove(place)));
        let old = sets.into_iter().map(Set::of).collect();
        Work { view, now, plan, deployment: view.deployment.clone(), new, old, stuck: false }
    }

    fn decide(&mut self) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            self.sync_revision();
            return self.refresh_status();
        }
        self.note_pause();
        if self.deployment.spec.paused == Some(true) {
            self.sync_revision();
            self.scale();
            if history::rollback_to(&self.deployment).is_none() {
                self.clean_up();
            }
            return self.refresh_status();
        }
        if let Some(revision) = history::rollback_to(&self.deployment) {
            return self.roll_back(revision);
        }
        self.sync_revision();
        if self.was_scaled() {
            self.scale();
            return self.refresh_status();
        }
        if size::is_rolling(&self.deployment) { self.roll() } else { self.recreate() }
    }

    /// Turns what the copies differ from what was seen into operations.
    fn finish(mut self) -> Plan {
        let seen = self.view.deployment;
        for Set { seen: before, set } in self.new.iter().chain(&self.old) {
            match before {
                None => {
                    let operation = self.creation(set);
                    self.plan.push(0, operation);
                }
                Some(before) if *before != set => {
                    let update = Action::Update { body: Arc::new(set.to_tree()) };
                    let mut operation =
                        Operation::on(Kind::REPLICA_SET, &set.metadata, update).at_revision(&before.metadata);
                    operation.on_success = self.scaled_note(set, wanted(before));
                    self.plan.push(0, operation);
                }
                Some(_) => {}
            }
        }
        // The status tells what has been done, so it waits until it is done; but news of a failure cannot wait for the
        // very thing that fails.
        write_status(seen, &self.deployment, &mut self.plan);
        if self.stuck {
            for operation in &mut self.plan.operations {
                let is_status = matches!(operation.action, Action::UpdateStatus { .. });
                operation.stage = u16::from(!is_status);
            }
        }
        self.plan
    }

    fn creation(&self, set: &ReplicaSet) -> Operation {
        let target = Target::of(Kind::REPLICA_SET, &set.metadata);
        let create = Action::Create { body: Arc::new(set.to_tree()) };
        let name = grammar::go::quote(&target.name);
        let failed = EventNote::warning(
            Kind::DEPLOYMENT,
            &self.deployment.metadata,
            status::CREATE_FAILED,
            format!("Failed to create new replica set {name}: "),
        );
        Operation {
            on_success: self.scaled_note(set, 0),
            on_failure: Some(failed.with_error()),
            ..Operation::new(target, create)
        }
    }

    fn scaled_note(&self, set: &ReplicaSet, from: i32) -> Option<EventNote> {
        let to = wanted(set);
        let direction = if from < to { "up" } else { "down" };
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let message = format!("Scaled {direction} replica set {name} from {from} to {to}");
        let meta = &self.deployment.metadata;
        (from != to).then(|| EventNote::normal(Kind::DEPLOYMENT, meta, "ScalingReplicaSet", message))
    }

    /// Gives the newest replica set the revision after all others, and the deployment that of its newest replica set.
    fn sync_revision(&mut self) {
        let Some(new) = &mut self.new else { return };
        let revision = history::max_revision(self.old.iter().map(|old| &old.set)).saturating_add(1);
        history::annotate_new(&self.deployment, &mut new.set, revision);
        if new.set.spec.min_ready_seconds.unwrap_or(0) != self.deployment.spec.min_ready_seconds.unwrap_or(0)
        {
            new.set.spec.min_ready_seconds = self.deployment.spec.min_ready_seconds;
        }
        let revision =
            history::annotation(&new.set.metadata, history::REVISION).unwrap_or_default().to_owned();
        let name = new.set.metadata.name.clone().unwrap_or_default();
        history::annotate(&mut self.deployment.metadata, history::REVISION, &revision);
        status::note_found(&mut self.deployment, &name, self.now);
    }

    /// Makes the replica set of the present template. Where its name is taken by something else, the hash has collided
    /// and the next reconcile tries another; `false` is the answer.
    fn create_new(&mut self) -> bool {
        if let Some(namesake) = self.view.namesake {
            let is_ours = is_controlled_by(&namesake.metadata, &self.deployment.metadata);
            let template = namesake.spec.template.as_ref();
            // The cache of replica sets may lag behind this single look-up; then the next reconcile finds it there.
            if !is_ours || !template.is_some_and(|own| same(own, &self.deployment.spec.template)) {
                let status = self.deployment.status.get_or_insert_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0).wrapping_add(1));
            }
            return false;
        }
        let revision = history::max_revision(self.old.iter().map(|old| &old.set)).saturating_add(1);
        let mut set = fresh(&self.deployment);
        let all = self.old.iter().map(|old| &old.set);
        set.spec.replicas = Some(size::new_size(&self.deployment, all, &set));
        history::annotate_new(&self.deployment, &mut set, revision);
        size::annotate_size(&self.deployment, &mut set);
        let name = set.metadata.name.clone().unwrap_or_default();
        self.new = Some(Set { seen: None, set });
        match self.view.last_failure.filter(|failure| !failure.namespace_terminating) {
            Some(failure) => {
                status::note_create_failed(&mut self.deployment, &name, &failure.message, self.now);
                self.stuck = true;
            }
            None => {
                history::annotate(&mut self.deployment.metadata, history::REVISION, &revision.to_string());
                status::note_created(&mut self.deployment, &name, self.now);
            }
        }
        true
    }

    /// Deletes the oldest of the replica sets that have no pods, beyond those that are kept to go back to.
    fn clean_up(&mut self) {
        let Some(limit) = self.deployment.spec.revision_history_limit.filter(|limit| *limit != i32::MAX)
        else {
            return;
        };
        let alive =
            self.old.iter().map(|old| &old.set).filter(|set| set.metadata.deletion_timestamp.is_none());
        let mut sets: Vec<&ReplicaSet> = alive.collect();
        let surplus = sets.len().saturating_sub(limit.max(0) as usize);
        // Stable, so that replica sets of equal revision stay in the order of their age.
        sets.sort_by_key(|set| history::revision(set).unwrap_or(0));
        for set in sets.into_iter().take(surplus) {
            let status = set.status.as_ref();
            let observed = status.and_then(|status| status.observed_generation).unwrap_or(0);
            let has_pods = status.is_some_and(|status| status.replicas != 0) || wanted(set) != 0;
            if has_pods || set.metadata.generation.unwrap_or(0) > observed {
                continue;
            }
            let delete = Action::Delete { propagation: None, grace_seconds: None };
            self.plan.push(0, Operation::on(Kind::REPLICA_SET, &set.metadata, delete));
        }
    }

    /// Goes back to the template of an earlier revision, as the removed API `extensions/v1beta1` asked for.
    fn roll_back(&mut self, revision: i64) {
        let all = || self.old.iter().chain(&self.new).map(|own| &own.set);
        let wanted = if revision == 0 { history::last_revision(all()) } else { revision };
        let found = all().find(|set| wanted != 0 && history::revision(set) == Some(wanted)).cloned();
        let meta = self.view.deployment.metadata.clone();
        let name = grammar::go::quote(meta.name.as_deref().unwrap_or_default());
        let warning = |reason, message: String| EventNote::warning(Kind::DEPLOYMENT, &meta, reason, message);
        const NOT_FOUND: &str = "DeploymentRollbackRevisionNotFound";
        let note = match found {
            None if wanted == 0 => warning(NOT_FOUND, "Unable to find last revision.".into()),
            None => warning(NOT_FOUND, "Unable to find the revision to rollback to.".into()),
            Some(set) => {
                let template = set.spec.template.clone().unwrap_or_default();
                if same(&template, &self.deployment.spec.template) {
                    let message = format!(
                        "The rollback revision contains the same template as current deployment {name}"
                    );
                    warning("DeploymentRollbackTemplateUnchanged", message)
                } else {
                    self.deployment.spec.template = without_hash(template);
                    history::annotate_rolled_back(&mut self.deployment, &set);
                    let message = format!("Rolled back deployment {name} to revision {wanted}");
                    EventNote::normal(Kind::DEPLOYMENT, &meta, "DeploymentRollback", message)
                }
            }
        };
        history::annotations(&mut self.deployment.metadata).remove(history::ROLLBACK_TO);
        let update = Action::Update { body: Arc::new(self.deployment.to_tree()) };
        self.plan.push(0, Operation::on(Kind::DEPLOYMENT, &meta, update).at_revision(&meta).note(note));
        // The template changes with this write alone; everything else is left to the reconcile that it triggers.
        self.deployment = self.view.deployment.clone();
    }
}

impl<'a> Set<'a> {
    fn of(set: &'a ReplicaSet) -> Set<'a> {
        Set { seen: Some(set), set: set.clone() }
    }
}

/// Writes the status, and the revision in the annotations with it, if they differ from what was seen.
fn write_status(seen: &Deployment, deployment: &Deployment, plan: &mut Plan) {
    let is_same = status::normal(&seen.status) == status::normal(&deployment.status)
        && history::annotation(&seen.metadata, history::REVISION)
            == history::annotation(&deployment.metadata, history::REVISION);
    if !is_same {
        let update = Action::UpdateStatus { body: Arc::new(deployment.to_tree()) };
        let operation = Operation::on(Kind::DEPLOYMENT, &seen.metadata, update).at_revision(&seen.metadata);
        plan.push(plan.next_stage(), operation);
    }
}

/// The replica set of the deployment's present template, without pods yet.
fn fresh(deployment: &Deployment) -> ReplicaSet {
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = template_hash(&deployment.spec.template, collisions);
    let mut template = deployment.spec.template.clone();
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(TEMPLATE_HASH.into(), hash.clone());
    let owner = Owner { kind: Kind::DEPLOYMENT, meta: &deployment.metadata };
    let metadata = ObjectMeta {
        name: Some(named(deployment, &hash)),
        namespace: deployment.metadata.namespace.clone(),
        labels: Some(labels.clone()),
        owner_references: Some(vec![owner.reference()]),
        ..ObjectMeta::default()
    };
    let mut match_labels = deployment.spec.selector.match_labels.clone().unwrap_or_default();
    match_labels.insert(TEMPLATE_HASH.into(), hash);
    let selector = LabelSelector { match_labels: Some(match_labels), ..deployment.spec.selector.clone() };
    let spec = ReplicaSetSpec {
        replicas: Some(0),
        min_ready_seconds: deployment.spec.min_ready_seconds,
        selector,
        template: Some(template),
    };
    ReplicaSet { metadata, spec, status: None }
}

/// A deployment's name, cut where it leaves no room, and the hash.
fn named(deployment: &Deployment, hash: &str) -> String {
    let name = deployment.metadata.name.as_deref().unwrap_or_default();
    let room = DNS1123_SUBDOMAIN_MAX_LENGTH - hash.len() - 1;
    format!("{}-{hash}", &name[..name.floor_char_boundary(room)])
}

/// Whether two templates mean the same pods, the hash aside.
fn same(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    let (a, b) = (without_hash(a.clone()), without_hash(b.clone()));
    // Absent and empty fields mean the same, which the normal form of trees knows and structs do not.
    let tree = |template| PodTemplate { template: Some(template), ..PodTemplate::default() }.to_tree();
    a == b || tree(a) == tree(b)
}

fn without_hash(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(labels) = template.metadata.as_mut().and_then(|meta| meta.labels.as_mut()) {
        labels.remove(TEMPLATE_HASH);
    }
    template
}
