//! Revisions: which template came when, kept in annotations of the replica sets.

use std::collections::BTreeMap;

use api::k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use api::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub const REVISION: &str = "deployment.kubernetes.io/revision";
pub const REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
pub const ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What belongs to one object alone and is never copied between a deployment and its replica sets.
const OWN: [&str; 6] =
    [LAST_APPLIED, REVISION, REVISION_HISTORY, DESIRED_REPLICAS, MAX_REPLICAS, ROLLBACK_TO];

/// The history of revisions that a template had is cut from its beginning to this many characters.
const HISTORY_LIMIT: usize = 2000;

pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

pub fn annotations(meta: &mut ObjectMeta) -> &mut BTreeMap<String, String> {
    meta.annotations.get_or_insert_default()
}

/// Sets an annotation and says whether that changed anything.
pub fn annotate(meta: &mut ObjectMeta, key: &str, value: &str) {
    annotations(meta).insert(key.into(), value.into());
}

/// The revision of a replica set; 0 without one, nothing where the annotation is no number.
pub fn revision(set: &ReplicaSet) -> Option<i64> {
    annotation(&set.metadata, REVISION).map_or(Some(0), |text| text.parse().ok())
}

pub fn max_revision<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    sets.into_iter().filter_map(revision).max().unwrap_or(0).max(0)
}

/// The second highest revision; 0 if there are not two.
pub fn last_revision<'a>(sets: impl IntoIterator<Item = &'a ReplicaSet>) -> i64 {
    let mut revisions: Vec<i64> = sets.into_iter().filter_map(revision).collect();
    revisions.sort_unstable_by(|a, b| b.cmp(a));
    revisions.get(1).copied().unwrap_or(0)
}

/// Copies the deployment's annotations to its newest replica set and gives that its revision. A revision that it had
/// before joins its history.
pub fn annotate_new(deployment: &Deployment, set: &mut ReplicaSet, new_revision: i64) {
    for (key, value) in deployment.metadata.annotations.iter().flatten() {
        if !OWN.contains(&key.as_str()) {
            annotate(&mut set.metadata, key, value);
        }
    }
    let old = annotation(&set.metadata, REVISION).map(str::to_owned);
    let old_revision = match old.as_deref() {
        None | Some("") => 0,
        Some(text) => match text.parse() {
            Ok(number) => number,
            Err(_) => return,
        },
    };
    if old_revision >= new_revision {
        return;
    }
    annotate(&mut set.metadata, REVISION, &new_revision.to_string());
    let Some(old) = old else { return };
    let history = annotation(&set.metadata, REVISION_HISTORY).unwrap_or_default();
    let mut entries: Vec<&str> = history.split(',').filter(|entry| !entry.is_empty()).collect();
    entries.push(&old);
    let length =
        |entries: &[&str]| entries.iter().map(|entry| entry.len() + 1).sum::<usize>().saturating_sub(1);
    while entries.len() > 1 && length(&entries) > HISTORY_LIMIT {
        entries.remove(0);
    }
    let history = entries.join(",");
    annotate(&mut set.metadata, REVISION_HISTORY, &history);
}

/// What a rollback leaves in a deployment's annotations: its own, and those that its template had then.
pub fn annotate_rolled_back(deployment: &mut Deployment, set: &ReplicaSet) {
    let kept = annotations(&mut deployment.metadata);
    kept.retain(|key, _| OWN.contains(&key.as_str()));
    let copied = set.metadata.annotations.iter().flatten().filter(|(key, _)| !OWN.contains(&key.as_str()));
    kept.extend(copied.map(|(key, value)| (key.clone(), value.clone())));
}

/// The revision to which the deployment is to go back, 0 meaning the one before.
pub fn rollback_to(deployment: &Deployment) -> Option<i64> {
    annotation(&deployment.metadata, ROLLBACK_TO)?.parse().ok()
}

pub fn number(set: &ReplicaSet, key: &str) -> Option<i32> {
    annotation(&set.metadata, key)?.parse::<u32>().ok().and_then(|number| i32::try_from(number).ok())
}
