//! Which sandboxes and containers a list is to show.

use std::collections::BTreeMap;

use crate::cri::{
    Container, ContainerFilter, ContainerStatsFilter, PodSandbox, PodSandboxFilter, PodSandboxStatsFilter,
};

fn labelled(labels: &BTreeMap<String, String>, selector: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

pub(super) fn sandbox(entry: &PodSandbox, filter: Option<&PodSandboxFilter>) -> bool {
    filter.is_none_or(|filter| {
        entry.id.starts_with(&filter.id)
            && filter.state.as_ref().is_none_or(|wanted| wanted.state == entry.state)
            && labelled(&entry.labels, &filter.label_selector)
    })
}

pub(super) fn container(entry: &Container, filter: Option<&ContainerFilter>) -> bool {
    filter.is_none_or(|filter| {
        entry.id.starts_with(&filter.id)
            && entry.pod_sandbox_id.starts_with(&filter.pod_sandbox_id)
            && filter.state.as_ref().is_none_or(|wanted| wanted.state == entry.state)
            && labelled(&entry.labels, &filter.label_selector)
    })
}

pub(super) fn of_container_stats(filter: Option<ContainerStatsFilter>) -> ContainerFilter {
    let filter = filter.unwrap_or_default();
    ContainerFilter {
        id: filter.id,
        state: None,
        pod_sandbox_id: filter.pod_sandbox_id,
        label_selector: filter.label_selector,
    }
}

pub(super) fn of_sandbox_stats(filter: Option<PodSandboxStatsFilter>) -> PodSandboxFilter {
    let filter = filter.unwrap_or_default();
    PodSandboxFilter { id: filter.id, state: None, label_selector: filter.label_selector }
}
