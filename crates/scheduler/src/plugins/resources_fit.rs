//! NodeResourcesFit: what a pod requests must be free on the node; the emptier the node, the better.

use std::borrow::Cow;

use super::{MAX_SCORE, Plugin, Refusal, Verdict};
use crate::node::NodeInfo;
use crate::pod::PodInfo;
use crate::resources::Resources;
use crate::snapshot::NodeState;

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    let offered = &node.info.allocatable;
    let crowded = node.pods.len() as i64 + 1 > node.info.allocatable_pods;
    if !crowded
        && fits_compute(&pod.requests, &node.requested, offered)
        && pod.requests.scalars().next().is_none()
    {
        return Ok(());
    }
    let mut shortages = Shortages::default();
    if crowded {
        shortages.reasons.push("Too many pods".into());
    }
    let (wanted, taken) = (&pod.requests, &node.requested);
    shortages.check(wanted.cpu, taken.cpu, offered.cpu, || "Insufficient cpu".into());
    shortages.check(wanted.memory, taken.memory, offered.memory, || "Insufficient memory".into());
    let storage = (wanted.ephemeral_storage, taken.ephemeral_storage, offered.ephemeral_storage);
    shortages.check(storage.0, storage.1, storage.2, || "Insufficient ephemeral-storage".into());
    for (name, amount) in wanted.scalars() {
        shortages.check(amount, taken.scalar(name), offered.scalar(name), || {
            format!("Insufficient {name}").into()
        });
    }
    if shortages.reasons.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        plugin: Plugin::NodeResourcesFit,
        resolvable: !shortages.lasting,
        reasons: shortages.reasons,
    })
}

#[derive(Default)]
struct Shortages {
    reasons: Vec<Cow<'static, str>>,
    /// Some request exceeds the whole node.
    lasting: bool,
}

impl Shortages {
    fn check(&mut self, wanted: i64, taken: i64, offered: i64, reason: impl FnOnce() -> Cow<'static, str>) {
        if wanted > 0 && wanted > offered.saturating_sub(taken) {
            self.reasons.push(reason());
            self.lasting |= wanted > offered;
        }
    }
}

fn fits_compute(wanted: &Resources, taken: &Resources, offered: &Resources) -> bool {
    let fits = |wanted: i64, taken: i64, offered: i64| wanted <= 0 || wanted <= offered.saturating_sub(taken);
    fits(wanted.cpu, taken.cpu, offered.cpu)
        && fits(wanted.memory, taken.memory, offered.memory)
        && fits(wanted.ephemeral_storage, taken.ephemeral_storage, offered.ephemeral_storage)
}

/// The mean of the shares of processor and memory that would stay free.
pub fn score(pod: &PodInfo, node: &NodeState) -> i64 {
    let offered = &node.info.allocatable;
    let shares = [
        (node.weight.cpu.saturating_add(pod.estimate.cpu), offered.cpu),
        (node.weight.memory.saturating_add(pod.estimate.memory), offered.memory),
    ];
    let mut sum = 0;
    let mut counted = 0;
    for (requested, offered) in shares.into_iter().filter(|(_, offered)| *offered != 0) {
        counted += 1;
        if requested <= offered {
            sum += (i128::from(offered - requested) * i128::from(MAX_SCORE) / i128::from(offered)) as i64;
        }
    }
    if counted == 0 { 0 } else { sum / counted }
}

/// Whether a node that came or changed may take a pod that was refused here.
pub fn may_help(pod: &PodInfo, before: Option<&NodeInfo>, after: &NodeInfo) -> bool {
    let wanted = &pod.requests;
    let offered = &after.allocatable;
    let fits_empty = after.allocatable_pods >= 1
        && fits_compute(wanted, &Resources::default(), offered)
        && wanted.scalars().all(|(name, amount)| amount <= offered.scalar(name));
    let grew = |before: &NodeInfo| {
        let old = &before.allocatable;
        after.allocatable_pods > before.allocatable_pods
            || wanted.cpu > 0 && offered.cpu > old.cpu
            || wanted.memory > 0 && offered.memory > old.memory
            || wanted.ephemeral_storage > 0 && offered.ephemeral_storage > old.ephemeral_storage
            || wanted.scalars().any(|(name, _)| offered.scalar(name) > old.scalar(name))
    };
    fits_empty && before.is_none_or(grew)
}

/// Whether a pod that shrank in place gave back something that `pod` asks for.
pub fn gave_back(pod: &PodInfo, before: &Resources, after: &Resources) -> bool {
    let wanted = &pod.requests;
    wanted.cpu > 0 && before.cpu > after.cpu
        || wanted.memory > 0 && before.memory > after.memory
        || wanted.ephemeral_storage > 0 && before.ephemeral_storage > after.ephemeral_storage
        || wanted.scalars().any(|(name, _)| before.scalar(name) > after.scalar(name))
}
