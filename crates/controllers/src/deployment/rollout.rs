//! Moving pods from the old templates to the new one, and sharing out a change of size.

use api::k8s_openapi::api::apps::v1::ReplicaSet;

use super::history::{DESIRED_REPLICAS, number};
use super::size::{annotate_size, desired, is_rolling, max_surge, max_unavailable, new_size, proportion};
use super::{Set, Work, status};
use crate::owner::controller_of;
use crate::pods;
use crate::replica_set::wanted;

impl Work<'_> {
    /// Replaces pods step by step: the new replica set grows as far as the surge allows, then the old ones shrink as far
    /// as the pods that are available allow. A status lies between the two, so each reconcile does one of them.
    pub(super) fn roll(&mut self) {
        if self.new.is_none() && !self.create_new() {
            return;
        }
        if !self.grow_new() && !self.shrink_old() && status::is_complete(self.view.deployment) {
            self.clean_up();
        }
        self.refresh_rollout_status();
    }

    /// Stops all old pods before the first new one starts.
    pub(super) fn recreate(&mut self) {
        let deployment = &self.deployment;
        let mut scaled_down = false;
        for old in &mut self.old {
            scaled_down |= scale_to(deployment, &mut old.set, 0);
        }
        if scaled_down || self.old_pods_run() {
            return self.refresh_rollout_status();
        }
        if self.new.is_none() && !self.create_new() {
            return;
        }
        if let Some(new) = &mut self.new {
            scale_to(&self.deployment, &mut new.set, desired(&self.deployment));
        }
        if status::is_complete(self.view.deployment) {
            self.clean_up();
        }
        self.refresh_rollout_status();
    }

    fn old_pods_run(&self) -> bool {
        let reported =
            self.old.iter().any(|old| old.set.status.as_ref().is_some_and(|status| status.replicas > 0));
        let is_old = |uid: &String| self.old.iter().any(|old| old.set.metadata.uid.as_ref() == Some(uid));
        let pods = self.view.pods.iter().filter(|pod| !pods::is_terminal(pod));
        reported || pods.filter_map(|pod| controller_of(&pod.metadata)).any(|owner| is_old(&owner.uid))
    }

    fn grow_new(&mut self) -> bool {
        let Some(new) = &self.new else { return false };
        let size = match wanted(&new.set).cmp(&desired(&self.deployment)) {
            std::cmp::Ordering::Equal => return false,
            std::cmp::Ordering::Greater => desired(&self.deployment),
            std::cmp::Ordering::Less => {
                let all = self.old.iter().map(|old| &old.set).chain([&new.set]);
                new_size(&self.deployment, all, &new.set)
            }
        };
        self.new.as_mut().is_some_and(|new| scale_to(&self.deployment, &mut new.set, size))
    }

    /// Takes unavailable pods from the old replica sets first, which costs nothing, then available ones as long as
    /// enough remain.
    fn shrink_old(&mut self) -> bool {
        let Some(new) = &self.new else { return false };
        let new_unavailable = wanted(&new.set) - available(&new.set);
        let total: i32 = self.old.iter().map(|old| wanted(&old.set)).sum();
        if total == 0 {
            return false;
        }
        let floor = desired(&self.deployment) - max_unavailable(&self.deployment);
        // Pods of the new replica set that are not available yet must not count as a reason to stop old ones.
        let budget = total + wanted(&new.set) - floor - new_unavailable;
        if budget <= 0 {
            return false;
        }

        let mut dead_left = budget;
        let mut is_any_scaled = false;
        for old in &mut self.old {
            let unavailable = (wanted(&old.set) - available(&old.set)).clamp(0, dead_left.max(0));
            dead_left -= unavailable;
            let size = wanted(&old.set) - unavailable;
            is_any_scaled |= scale_to(&self.deployment, &mut old.set, size);
        }

        let all = self.old.iter().map(|old| &old.set).chain(self.new.iter().map(|new| &new.set));
        let mut spare = all.map(available).sum::<i32>() - floor;
        for old in &mut self.old {
            let taken = wanted(&old.set).min(spare.max(0));
            spare -= taken;
            let size = wanted(&old.set) - taken;
            is_any_scaled |= scale_to(&self.deployment, &mut old.set, size);
        }
        is_any_scaled
    }

    /// Whether the deployment's size has changed since its replica sets were last scaled.
    pub(super) fn was_scaled(&self) -> bool {
        let active = self.old.iter().chain(&self.new).filter(|own| wanted(&own.set) > 0);
        let recorded = active.filter_map(|own| number(&own.set, DESIRED_REPLICAS));
        recorded.into_iter().any(|size| size != desired(&self.deployment))
    }

    /// Brings the replica sets to the deployment's size without moving the rollout on: in the middle of one, each set
    /// gets its share, so that a bad template gains no ground.
    pub(super) fn scale(&mut self) {
        let is_saturated = self.new.as_ref().is_some_and(|new| self.is_saturated(&new.set));
        let deployment = &self.deployment;
        let desired = desired(deployment);
        let mut active: Vec<&mut Set<'_>> =
            self.old.iter_mut().chain(&mut self.new).filter(|own| wanted(&own.set) > 0).collect();
        if let [only] = &mut active[..] {
            scale_to(deployment, &mut only.set, desired);
            return;
        }
        if active.is_empty() {
            let latest = self.new.as_mut().or_else(|| self.old.last_mut());
            if let Some(latest) = latest {
                scale_to(deployment, &mut latest.set, desired);
            }
            return;
        }
        if is_saturated {
            for old in &mut self.old {
                scale_to(&self.deployment, &mut old.set, 0);
            }
            return;
        }
        if !is_rolling(deployment) {
            return;
        }
        let most = if desired > 0 { desired.saturating_add(max_surge(deployment)) } else { 0 };
        let to_add = most - active.iter().map(|own| wanted(&own.set)).sum::<i32>();
        // The largest come first; among equals, the younger when growing and the older when shrinking. The sort is
        // stable and the sets come in the order of their age, but for the newest template's, which may be an old one.
        active
            .sort_by_key(|own| (own.set.metadata.creation_timestamp.clone(), own.set.metadata.name.clone()));
        if to_add > 0 {
            active.reverse();
        }
        active.sort_by_key(|own| std::cmp::Reverse(wanted(&own.set)));
        let mut added = 0;
        let mut sizes = Vec::new();
        for own in &active {
            let share = proportion(deployment, &own.set, to_add, added);
            sizes.push(wanted(&own.set) + share);
            added += share;
        }
        // What rounding left over falls to the largest.
        if let Some(first) = sizes.first_mut() {
            *first = (*first + to_add - added).max(0);
        }
        for (own, size) in active.into_iter().zip(sizes) {
            scale_to(deployment, &mut own.set, size);
            annotate_size(deployment, &mut own.set);
        }
    }

    fn is_saturated(&self, set: &ReplicaSet) -> bool {
        let desired = desired(&self.deployment);
        wanted(set) == desired && number(set, DESIRED_REPLICAS) == Some(desired) && available(set) == desired
    }
}

/// A set that was told to shrink reports its former pods until they are gone; they are not to be counted on.
fn available(set: &ReplicaSet) -> i32 {
    let reported = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0);
    reported.min(wanted(set))
}

fn scale_to(deployment: &super::Deployment, set: &mut ReplicaSet, size: i32) -> bool {
    let changes = wanted(set) != size;
    if changes {
        set.spec.replicas = Some(size);
        annotate_size(deployment, set);
    }
    changes
}
