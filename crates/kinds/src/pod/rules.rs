//! What an update may keep although a new object may not have it.

use serde_json::Value;

use crate::check;
use crate::pod::{is_deletion_cost, resources, security};
use crate::tree::Tree;

/// Permissions that a stored pod spec gives its next state. A new object has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules {
    /// The spec is a pod's own and not a template's.
    pub is_pod: bool,
    pub indivisible_huge_pages: bool,
    pub affinity_values: bool,
    pub node_affinity_values: bool,
    pub spread_selectors: bool,
    pub non_local_token_paths: bool,
    pub host_sysctls: bool,
    pub restarting_init_resizes: bool,
    pub devices_with_users: bool,
    pub host_network_with_users: bool,
    pub empty_image_references: bool,
    pub sys_admin_without_escalation: bool,
    pub deletion_cost: bool,
}

impl Rules {
    /// For a new pod.
    pub fn for_pod() -> Rules {
        Rules { is_pod: true, ..Rules::default() }
    }

    /// For a new state of the pod `old`.
    pub fn for_update_of(old: &Value) -> Rules {
        Rules { is_pod: true, ..Rules::for_template_update(old) }
    }

    /// For a new state of an object with the template `old`.
    pub fn for_template_update(old: &Value) -> Rules {
        let spec = old.at("spec");
        let containers = || security::containers(spec).map(|(_, container)| container);
        let own_users = spec.choice("hostUsers") == Some(false);
        let cost = old.path(&["metadata", "annotations", "controller.kubernetes.io/pod-deletion-cost"]);
        Rules {
            is_pod: false,
            indivisible_huge_pages: containers().any(has_indivisible_huge_pages),
            affinity_values: affinity_selectors(spec).any(check::has_invalid_label_value),
            node_affinity_values: spec
                .path(&["affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution"])
                .list("nodeSelectorTerms")
                .iter()
                .any(check::has_invalid_label_value),
            spread_selectors: spec
                .list("topologySpreadConstraints")
                .iter()
                .any(|constraint| is_invalid_selector(constraint.at("labelSelector"))),
            non_local_token_paths: tokens(spec).any(|token| {
                let path = token.text("path");
                path.starts_with('/') || path.split('/').any(|step| step == "..") || path.starts_with("..")
            }),
            host_sysctls: spec
                .at("securityContext")
                .list("sysctls")
                .iter()
                .any(|sysctl| security::host_sysctl(sysctl.text("name"), spec).is_some()),
            restarting_init_resizes: spec.list("initContainers").iter().any(|container| {
                container.text("restartPolicy") != "Always"
                    && container
                        .list("resizePolicy")
                        .iter()
                        .any(|policy| policy.text("restartPolicy") == "RestartContainer")
            }),
            devices_with_users: own_users && containers().any(|c| !c.list("volumeDevices").is_empty()),
            host_network_with_users: own_users && spec.flag("hostNetwork"),
            empty_image_references: spec
                .list("volumes")
                .iter()
                .any(|volume| volume.has("image") && volume.at("image").text("reference").is_empty()),
            sys_admin_without_escalation: containers().any(|container| {
                let context = container.at("securityContext");
                context.choice("allowPrivilegeEscalation") == Some(false)
                    && context.at("capabilities").texts("add").contains(&"CAP_SYS_ADMIN")
            }),
            deletion_cost: cost.as_str().is_some_and(|cost| !is_deletion_cost(cost)),
        }
    }
}

fn has_indivisible_huge_pages(container: &Value) -> bool {
    ["limits", "requests"].iter().any(|key| {
        container
            .at("resources")
            .entries(key)
            .any(|(name, value)| resources::is_huge_page(name) && !resources::is_divisible(name, value))
    })
}

fn affinity_selectors(spec: &Value) -> impl Iterator<Item = &Value> {
    ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|key| {
        let pods = spec.at("affinity").at(key);
        let required = pods.list("requiredDuringSchedulingIgnoredDuringExecution").iter();
        let preferred = pods
            .list("preferredDuringSchedulingIgnoredDuringExecution")
            .iter()
            .map(|weighted| weighted.at("podAffinityTerm"));
        required.chain(preferred).map(|term| term.at("labelSelector"))
    })
}

fn is_invalid_selector(selector: &Value) -> bool {
    let mut errs = grammar::field::ErrorList::new();
    check::label_selector(&crate::node::Node::root(selector), false, &mut errs);
    !errs.is_empty()
}

fn tokens(spec: &Value) -> impl Iterator<Item = &Value> {
    spec.list("volumes")
        .iter()
        .flat_map(|volume| volume.at("projected").list("sources"))
        .map(|source| source.at("serviceAccountToken"))
        .filter(|token| !token.is_null())
}
