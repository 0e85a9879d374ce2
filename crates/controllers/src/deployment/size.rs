//! How large the replica sets of a deployment may be: surge and unavailability, and shares of a change.

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use api::k8s_openapi::apimachinery::pkg::util::intstr::IntOrString as Typed;
use grammar::int_or_string::IntOrString;

use super::history::{DESIRED_REPLICAS, MAX_REPLICAS, annotate, number};
use crate::replica_set::wanted;

pub fn desired(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or(1).max(0)
}

/// Rolling is the default; anything but `Recreate` is refused by the server.
pub fn is_rolling(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
    strategy != Some("Recreate")
}

/// How many pods above the desired number a rollout may make.
pub fn max_surge(deployment: &Deployment) -> i32 {
    fenceposts(deployment).0
}

/// How many pods of the desired number a rollout may lack.
pub fn max_unavailable(deployment: &Deployment) -> i32 {
    fenceposts(deployment).1.min(desired(deployment))
}

/// Surge rounds up and unavailability down; were both none, no rollout could ever move.
fn fenceposts(deployment: &Deployment) -> (i32, i32) {
    if !is_rolling(deployment) {
        return (0, 0);
    }
    let rolling = deployment.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
    let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
    let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
    match (scaled(surge, desired(deployment), true), scaled(unavailable, desired(deployment), false)) {
        (0, 0) => (0, 1),
        posts => posts,
    }
}

/// A count or a percentage of `total`; what is neither counts as none, and so does what is negative.
pub(crate) fn scaled(value: Option<&Typed>, total: i32, round_up: bool) -> i32 {
    let value = match value {
        None => return 0,
        Some(Typed::Int(number)) => IntOrString::Int(*number),
        Some(Typed::String(text)) => IntOrString::String(text.clone()),
    };
    let scaled = value.scaled(total.into(), round_up).unwrap_or(0);
    scaled.clamp(0, i32::MAX.into()) as i32
}

/// How large the newest replica set may be, given all that exist.
pub fn new_size<'a>(
    deployment: &Deployment,
    all: impl IntoIterator<Item = &'a ReplicaSet>,
    new: &ReplicaSet,
) -> i32 {
    let desired = desired(deployment);
    if !is_rolling(deployment) {
        return desired;
    }
    let total: i32 = all.into_iter().map(wanted).fold(0, i32::saturating_add);
    // The fence that keeps unavailability from being none does not widen the surge.
    let room = desired.saturating_add(max_surge(deployment)).saturating_sub(total);
    if room <= 0 { wanted(new) } else { wanted(new) + room.min(desired - wanted(new)) }
}

/// Records in a replica set what size its deployment had when it was last scaled.
pub fn annotate_size(deployment: &Deployment, set: &mut ReplicaSet) {
    let desired = desired(deployment);
    annotate(&mut set.metadata, DESIRED_REPLICAS, &desired.to_string());
    let most = desired.saturating_add(max_surge(deployment));
    annotate(&mut set.metadata, MAX_REPLICAS, &most.to_string());
}

/// The share of `to_add` (which may be negative) that a replica set gets, when `added` is given out already.
pub fn proportion(deployment: &Deployment, set: &ReplicaSet, to_add: i32, added: i32) -> i32 {
    if wanted(set) == 0 || to_add == added {
        return 0;
    }
    let share = fraction(deployment, set);
    let left = to_add - added;
    if to_add > 0 { share.min(left) } else { share.max(left) }
}

/// By how much the set changes to keep its part of the whole.
fn fraction(deployment: &Deployment, set: &ReplicaSet) -> i32 {
    let desired = desired(deployment);
    if desired == 0 {
        return -wanted(set);
    }
    let before = number(set, MAX_REPLICAS).filter(|most| *most != 0);
    let reported = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    let before = before.unwrap_or(reported);
    if before == 0 {
        return 0;
    }
    let most = desired.saturating_add(max_surge(deployment));
    let size = f64::from(wanted(set)) * f64::from(most) / f64::from(before);
    size.round() as i32 - wanted(set)
}
