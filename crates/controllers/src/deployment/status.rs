//! What a deployment reports: counts, availability, and whether its rollout gets on.

use std::time::Duration;

use api::k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use base::clock::Wall;
use grammar::go;

use super::Work;
use super::size::{desired, max_unavailable};
use crate::replica_set::{REPLICA_FAILURE, wanted};
use crate::time::{seconds, stamp, wall};

pub const CREATE_FAILED: &str = "ReplicaSetCreateError";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const COMPLETE: &str = "NewReplicaSetAvailable";
const PAUSED: &str = "DeploymentPaused";
const PROGRESSING: &str = "Progressing";

impl Work<'_> {
    /// Pausing and resuming reset the progress, so that a paused deployment is not blamed for standing still.
    pub(super) fn note_pause(&mut self) {
        if deadline(&self.deployment).is_none() {
            return;
        }
        let reason = condition(&self.deployment, PROGRESSING).and_then(|progress| progress.reason.as_deref());
        if reason == Some(TIMED_OUT) {
            return;
        }
        match (self.deployment.spec.paused == Some(true), reason == Some(PAUSED)) {
            (true, false) => set(&mut self.deployment, self.now, "Unknown", PAUSED, "Deployment is paused"),
            (false, true) => {
                set(&mut self.deployment, self.now, "Unknown", "DeploymentResumed", "Deployment is resumed");
            }
            _ => {}
        }
    }

    /// Counts and availability, without an opinion on progress.
    pub(super) fn refresh_status(&mut self) {
        let sets: Vec<&ReplicaSet> = self.old.iter().chain(&self.new).map(|own| &own.set).collect();
        let new: Vec<&ReplicaSet> = self.new.iter().map(|new| &new.set).collect();
        let status = counted(&self.deployment, &sets, &new, self.now);
        self.deployment.status = Some(status);
    }

    pub(super) fn refresh_rollout_status(&mut self) {
        let before = self.deployment.status.clone().unwrap_or_default();
        self.refresh_status();
        let deadline = deadline(&self.deployment);
        let current = condition(&self.deployment, PROGRESSING).cloned();
        if deadline.is_none() {
            remove(&mut self.deployment, PROGRESSING);
        }
        let status = self.deployment.status.clone().unwrap_or_default();
        let was_complete = status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0)
            && current.as_ref().is_some_and(|current| current.reason.as_deref() == Some(COMPLETE));
        if let (Some(deadline), false, false) = (deadline, was_complete, self.stuck) {
            self.judge_progress(&before, current, deadline);
        }
        self.copy_failures();

        let progress = condition(&self.deployment, PROGRESSING);
        if let (Some(deadline), Some(progress)) = (deadline, progress)
            && !is_complete(&self.deployment)
            && progress.reason.as_deref() != Some(TIMED_OUT)
        {
            let due = progress.last_update_time.as_ref().map_or(self.now, |at| wall(at).plus(deadline));
            // Times in objects are whole seconds; one more keeps the look from coming a moment early.
            self.plan.requeue(due.since(self.now) + Duration::from_secs(1));
        }
    }

    fn judge_progress(
        &mut self,
        before: &DeploymentStatus,
        current: Option<DeploymentCondition>,
        deadline: Duration,
    ) {
        let name = |meta: &super::ObjectMeta| go::quote(meta.name.as_deref().unwrap_or_default());
        let subject = match &self.new {
            Some(new) => format!("ReplicaSet {}", name(&new.set.metadata)),
            None => format!("Deployment {}", name(&self.deployment.metadata)),
        };
        let status = self.deployment.status.clone().unwrap_or_default();
        if is_complete(&self.deployment) {
            let message = format!("{subject} has successfully progressed.");
            set(&mut self.deployment, self.now, "True", COMPLETE, &message);
        } else if has_progressed(before, &status) {
            let message = format!("{subject} is progressing.");
            let mut progress = progressing(self.now, "True", "ReplicaSetUpdated", &message);
            // The time of the last update moves with every step, even when nothing else changes.
            if let Some(current) = current.filter(|current| current.status.as_deref() == Some("True")) {
                progress.last_transition_time = current.last_transition_time;
            }
            remove(&mut self.deployment, PROGRESSING);
            put(&mut self.deployment, progress);
        } else if is_overdue(condition(&self.deployment, PROGRESSING), deadline, self.now) {
            let message = format!("{subject} has timed out progressing.");
            set(&mut self.deployment, self.now, "False", TIMED_OUT, &message);
        }
    }

    /// A replica set that cannot make its pods says so, and the deployment repeats it: the newest set's word first.
    fn copy_failures(&mut self) {
        let failure = |set: &ReplicaSet| {
            let conditions = set.status.iter().flat_map(|status| status.conditions.iter().flatten());
            conditions
                .into_iter()
                .find(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE))
                .cloned()
        };
        match self.new.iter().chain(&self.old).find_map(|own| failure(&own.set)) {
            None => remove(&mut self.deployment, REPLICA_FAILURE),
            Some(failure) => put(
                &mut self.deployment,
                DeploymentCondition {
                    type_: failure.type_,
                    status: failure.status,
                    last_update_time: failure.last_transition_time.clone(),
                    last_transition_time: failure.last_transition_time,
                    reason: failure.reason,
                    message: failure.message,
                },
            ),
        }
    }
}

/// Every pod that is wanted is up to date and available, and no other pod exists.
pub fn is_complete(deployment: &Deployment) -> bool {
    let Some(status) = &deployment.status else { return false };
    let all = |count: Option<i32>| count.unwrap_or(0) == desired(deployment);
    all(status.updated_replicas)
        && all(status.replicas)
        && all(status.available_replicas)
        && status.observed_generation.unwrap_or(0) >= deployment.metadata.generation.unwrap_or(0)
}

pub fn observe(deployment: &mut Deployment) {
    let generation = deployment.metadata.generation;
    let status = deployment.status.get_or_insert_default();
    if status.observed_generation.unwrap_or(0) < generation.unwrap_or(0) {
        status.observed_generation = generation;
    }
}

/// Progress may be measured from now on; the clock starts when the replica set was first noticed.
pub fn note_found(deployment: &mut Deployment, name: &str, now: Wall) {
    if deadline(deployment).is_some() && condition(deployment, PROGRESSING).is_none() {
        let message = format!("Found new replica set {}", go::quote(name));
        set(deployment, now, "True", "FoundNewReplicaSet", &message);
    }
}

pub fn note_created(deployment: &mut Deployment, name: &str, now: Wall) {
    if deadline(deployment).is_some() {
        let message = format!("Created new replica set {}", go::quote(name));
        set(deployment, now, "True", "NewReplicaSetCreated", &message);
    }
}

pub fn note_create_failed(deployment: &mut Deployment, name: &str, error: &str, now: Wall) {
    if deadline(deployment).is_some() {
        let message = format!("Failed to create new replica set {}: {error}", go::quote(name));
        set(deployment, now, "False", CREATE_FAILED, &message);
    }
}

/// One spelling for each status: a zero and an absent count, or an empty and an absent list, are the same.
pub fn normal(status: &Option<DeploymentStatus>) -> DeploymentStatus {
    let status = status.clone().unwrap_or_default();
    let nonzero = |count: Option<i32>| count.filter(|count| *count != 0);
    DeploymentStatus {
        observed_generation: status.observed_generation.filter(|generation| *generation != 0),
        replicas: nonzero(status.replicas),
        updated_replicas: nonzero(status.updated_replicas),
        ready_replicas: nonzero(status.ready_replicas),
        available_replicas: nonzero(status.available_replicas),
        unavailable_replicas: nonzero(status.unavailable_replicas),
        terminating_replicas: status.terminating_replicas,
        collision_count: status.collision_count,
        conditions: status.conditions.filter(|conditions| !conditions.is_empty()),
    }
}

fn counted(
    deployment: &Deployment,
    sets: &[&ReplicaSet],
    new: &[&ReplicaSet],
    now: Wall,
) -> DeploymentStatus {
    let old = deployment.status.clone().unwrap_or_default();
    let actual =
        |sets: &[&ReplicaSet]| sets.iter().filter_map(|set| set.status.as_ref()).map(|s| s.replicas).sum();
    let sum = |count: fn(&super::status::SetStatus) -> Option<i32>| -> i32 {
        sets.iter().filter_map(|set| count(set.status.as_ref()?)).sum()
    };
    let available = sum(|status| status.available_replicas);
    let unavailable = sets.iter().map(|set| wanted(set)).sum::<i32>() - available;
    let status = DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: Some(actual(sets)),
        updated_replicas: Some(actual(new)),
        ready_replicas: Some(sum(|status| status.ready_replicas)),
        available_replicas: Some(available),
        unavailable_replicas: Some(unavailable.max(0)),
        terminating_replicas: terminating(sets),
        collision_count: old.collision_count,
        conditions: old.conditions,
    };
    let mut reported = Deployment { status: Some(status), ..deployment.clone() };
    let is_enough = available >= desired(deployment) - max_unavailable(deployment);
    let (status, reason, message) = match is_enough {
        true => ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
        false => ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."),
    };
    put(
        &mut reported,
        DeploymentCondition { type_: Some("Available".into()), ..progressing(now, status, reason, message) },
    );
    normal(&reported.status)
}

type SetStatus = api::k8s_openapi::api::apps::v1::ReplicaSetStatus;

/// The sum is unknown as soon as one set has reported without this count; a set that never reported has none.
fn terminating(sets: &[&ReplicaSet]) -> Option<i32> {
    let mut sum = 0;
    for set in sets {
        let status = set.status.clone().unwrap_or_default();
        match status.terminating_replicas {
            Some(count) => sum += count,
            None if status.observed_generation.unwrap_or(0) == 0 => {}
            None => return None,
        }
    }
    Some(sum)
}

fn has_progressed(before: &DeploymentStatus, after: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or(0);
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(after.updated_replicas) > count(before.updated_replicas)
        || old(after) < old(before)
        || count(after.ready_replicas) > count(before.ready_replicas)
        || count(after.available_replicas) > count(before.available_replicas)
}

fn is_overdue(progress: Option<&DeploymentCondition>, deadline: Duration, now: Wall) -> bool {
    let Some(progress) = progress else { return false };
    match progress.reason.as_deref() {
        Some(COMPLETE) => false,
        Some(TIMED_OUT) => true,
        _ => progress.last_update_time.as_ref().is_some_and(|at| wall(at).plus(deadline) < now),
    }
}

/// How long a rollout may stand still. The largest number means for ever.
fn deadline(deployment: &Deployment) -> Option<Duration> {
    let limit = deployment.spec.progress_deadline_seconds.filter(|limit| *limit != i32::MAX);
    limit.map(seconds)
}

fn condition<'a>(deployment: &'a Deployment, type_: &str) -> Option<&'a DeploymentCondition> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|condition| condition.type_.as_deref() == Some(type_))
}

fn progressing(now: Wall, status: &str, reason: &str, message: &str) -> DeploymentCondition {
    DeploymentCondition {
        type_: Some(PROGRESSING.into()),
        status: Some(status.into()),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(stamp(now)),
        last_transition_time: Some(stamp(now)),
    }
}

fn set(deployment: &mut Deployment, now: Wall, status: &str, reason: &str, message: &str) {
    put(deployment, progressing(now, status, reason, message));
}

/// Sets a condition, unless it holds already for the same reason; a status that stays keeps its time.
fn put(deployment: &mut Deployment, mut new: DeploymentCondition) {
    let conditions = deployment.status.get_or_insert_default().conditions.get_or_insert_default();
    if let Some(old) = conditions.iter().find(|condition| condition.type_ == new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time = old.last_transition_time.clone();
        }
    }
    conditions.retain(|condition| condition.type_ != new.type_);
    conditions.push(new);
}

fn remove(deployment: &mut Deployment, type_: &str) {
    if let Some(conditions) = deployment.status.as_mut().and_then(|status| status.conditions.as_mut()) {
        conditions.retain(|condition| condition.type_.as_deref() != Some(type_));
    }
}
