//! Short ways to write pods and nodes in tests and benchmarks.

use std::collections::BTreeSet;
use std::sync::Arc;

use grammar::selector::label::Selector;

use crate::affinity::{PodMatcher, Term};
use crate::node::{Effect, NodeInfo, Taint};
use crate::pod::{PodInfo, Toleration};
use crate::resources::{DEFAULT_CPU, DEFAULT_MEMORY, Resources};

/// A node with 4 processors, 32 GiB and room for 110 pods.
pub fn node(name: &str, change: impl FnOnce(&mut NodeInfo)) -> Arc<NodeInfo> {
    let mut node = NodeInfo {
        name: name.into(),
        labels: [("kubernetes.io/hostname".into(), name.into())].into(),
        allocatable: Resources::new(4000, 32 << 30),
        allocatable_pods: 110,
        ..NodeInfo::default()
    };
    change(&mut node);
    Arc::new(node)
}

/// A pod in the namespace `default`, without requests. What it weighs is worked out after `change`.
pub fn pod(name: &str, change: impl FnOnce(&mut PodInfo)) -> Arc<PodInfo> {
    let mut pod =
        PodInfo { uid: name.into(), namespace: "default".into(), name: name.into(), ..PodInfo::default() };
    change(&mut pod);
    pod.estimate = pod.requests.compute();
    if pod.estimate.cpu == 0 {
        pod.estimate.cpu = DEFAULT_CPU;
    }
    if pod.estimate.memory == 0 {
        pod.estimate.memory = DEFAULT_MEMORY;
    }
    pod.weight = pod.estimate;
    Arc::new(pod)
}

/// `key=value:Effect`
pub fn taint(text: &str) -> Taint {
    let (pair, effect_name) = text.split_once(':').expect("a taint has an effect");
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    Taint {
        key: key.into(),
        value: value.into(),
        effect: effect(effect_name).expect("a taint has an effect"),
    }
}

/// `key=value:Effect`, where each part may be left out; nothing for an empty text.
pub fn toleration(text: &str) -> Option<Toleration> {
    let (pair, effect_name) = text.split_once(':')?;
    let (key, value) =
        pair.split_once('=').map_or((pair, None), |(key, value)| (key, Some(value.to_owned())));
    let key = (!key.is_empty()).then(|| key.to_owned());
    Some(Toleration { key, value, effect: effect(effect_name) })
}

/// A rule about pods of the namespace `default`.
pub fn term(topology: &str, selector: &str) -> Term {
    let selector: Selector = selector.parse().expect("a test's selector is one");
    let namespaces = BTreeSet::from(["default".to_owned()]);
    Term { topology: topology.into(), matcher: PodMatcher::new(namespaces, Selector::Nothing, selector) }
}

fn effect(name: &str) -> Option<Effect> {
    match name {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}
