//! `/status` of a pod: what its node reports.

use std::collections::BTreeSet;

use grammar::field::{self, ErrorList};
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::meta;
use crate::node::Node;
use crate::pod::{self, Rules, network, security};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];
const NOT_NEGATIVE: &str = "must be a non-negative integer";
const MAX_HEALTH_MESSAGE: usize = 32 * 1024;

pub(super) struct Status;

impl Strategy for Status {
    fn prepare_update(&self, new: &mut Value, old: &Value, _cx: &Context<'_>) {
        let before = old.at("status");
        let status = new.at_mut("status");
        if status.text("qosClass").is_empty() {
            status.copy_from(before, &["qosClass"]);
        }
        for key in
            ["resourceClaimStatuses", "extendedResourceClaimStatus", "nodeAllocatableResourceClaimStatuses"]
        {
            if !status.has(key) {
                status.copy_from(before, &[key]);
            }
        }
        keep_observed_generations(status, before);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let (metadata, spec, status) = (new.child("metadata"), new.child("spec"), new.child("status"));
        let before = old.at("status");
        let annotations = metadata.child("annotations");
        security::fixed_annotations(&annotations, old.path(&["metadata", "annotations"]), errs);
        pod::validate_annotations(&annotations, &spec, &Rules::for_update_of(old), errs);
        conditions(&status.child("conditions"), errs);
        nominated_node(&status, old, errs);
        let observed = status.child("observedGeneration");
        if observed.number() < 0 {
            errs.push(observed.invalid(NOT_NEGATIVE));
        }
        let class = status.child("qosClass");
        if class.str() != before.text("qosClass") {
            errs.push(class.invalid_text(crate::node::IMMUTABLE));
        }
        for (key, containers) in STATUSES {
            transitions(&status.child(key), before.list(key), old.at("spec"), containers, errs);
        }
        claim_statuses(&status.child("resourceClaimStatuses"), &spec, errs);
        addresses(&status, before, errs);
        for (key, containers) in STATUSES {
            let statuses = status.child(key);
            users(&statuses, spec.at("os").text("name"), errs);
            allocated(&statuses, spec.list(containers), containers, errs);
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let root = Node::root(new);
        let status = root.child("status");
        let mut warnings = Vec::new();
        for key in ["podIPs", "hostIPs"] {
            for address in status.child(key).items() {
                let ip = address.child("ip");
                warnings.extend(names::ip_warnings(&ip.path, ip.str()));
            }
        }
        warnings
    }
}

/// A reporter that does not know of generations leaves those there are.
fn keep_observed_generations(status: &mut Value, before: &Value) {
    const KEY: &str = "observedGeneration";
    if status.int(KEY).unwrap_or_default() == 0 {
        status.copy_from(before, &[KEY]);
    }
    let mut old: Vec<&Value> = before.list("conditions").iter().collect();
    for condition in status.items_mut("conditions") {
        let known = old.iter().position(|old| old.text("type") == condition.text("type"));
        let known = known.map(|index| old.remove(index));
        if condition.int(KEY).unwrap_or_default() == 0
            && let Some(known) = known
        {
            condition.copy_from(known, &[KEY]);
        }
    }
}

fn conditions(conditions: &Node<'_>, errs: &mut ErrorList) {
    for condition in conditions.items() {
        let observed = condition.child("observedGeneration");
        if observed.number() < 0 {
            errs.push(observed.invalid(NOT_NEGATIVE));
        }
        let ty = condition.text("type");
        if !matches!(ty, "PodScheduled" | "Ready" | "Initialized") {
            let shown = condition.child("Type");
            errs.extend(
                names::qualified_name(ty).into_iter().map(|complaint| shown.invalid_as(ty, complaint)),
            );
        }
    }
}

fn nominated_node(status: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let name = status.child("nominatedNodeName");
    if name.str() == old.at("status").text("nominatedNodeName") || name.str().is_empty() {
        return;
    }
    name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
    if !old.at("spec").text("nodeName").is_empty() {
        errs.push(name.forbidden("may not be set on pods that are already bound to a node"));
    }
}

/// What ended stays ended, unless the pod's restart policies bring it back.
fn transitions(new: &Node<'_>, old: &[Value], spec: &Value, containers: &str, errs: &mut ErrorList) {
    const ENDED: &str = "may not be transitioned to non-terminated state";
    if containers != "ephemeralContainers" && all_could_restart(spec) {
        return;
    }
    for (index, before) in old.iter().enumerate() {
        let terminated = before.at("state").at("terminated");
        let name = before.text("name");
        let runs =
            new.items().any(|status| status.text("name") == name && !status.at("state").has("terminated"));
        if terminated.is_null() || !runs {
            continue;
        }
        let code = terminated.int("exitCode").unwrap_or_default();
        let container = spec.list(containers).iter().find(|container| container.text("name") == name);
        let restarts = containers != "ephemeralContainers"
            && container.is_some_and(|container| restarts(container, spec, code));
        if !restarts {
            let item = new.item(index);
            errs.push(item.child("state").forbidden(ENDED));
        }
    }
}

/// Some container's rule starts every container anew.
fn all_could_restart(spec: &Value) -> bool {
    ["containers", "initContainers"].iter().flat_map(|key| spec.list(key)).any(|container| {
        container.list("restartPolicyRules").iter().any(|rule| rule.text("action") == "RestartAllContainers")
    })
}

fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    let rule = container.list("restartPolicyRules").iter().find(|rule| {
        let codes = rule.at("exitCodes");
        let listed = codes.list("values").iter().any(|value| value.as_i64() == Some(code));
        match codes.text("operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    });
    if let Some(rule) = rule {
        return rule.text("action") == "Restart";
    }
    match (container.text("restartPolicy"), spec.text("restartPolicy")) {
        ("Always", _) | ("", "Always") => true,
        ("OnFailure", _) | ("", "OnFailure") => code != 0,
        _ => false,
    }
}

fn claim_statuses(statuses: &Node<'_>, spec: &Value, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for status in statuses.items() {
        let name = status.child("name");
        if !spec.list("resourceClaims").iter().any(|claim| claim.text("name") == name.str()) {
            errs.push(name.invalid_text("must match the name of an entry in `spec.resourceClaims`"));
        }
        if !seen.insert(name.str().to_owned()) {
            errs.push(name.duplicate());
        }
        let claim = status.child("resourceClaimName");
        if claim.is_set() {
            claim.complaints(meta::SUBDOMAIN(claim.str(), false), errs);
        }
    }
}

fn addresses(status: &Node<'_>, before: &Value, errs: &mut ErrorList) {
    let known =
        |key: &str| -> Vec<&str> { before.list(key).iter().map(|address| address.text("ip")).collect() };
    let (pods, hosts) = (status.child("podIPs"), status.child("hostIPs"));
    network::status_addresses(&pods, &known("podIPs"), errs);
    let single = status.text("podIP");
    if single.is_empty() != pods.is_empty() {
        errs.push(pods.invalid("podIP and podIPs must either both be set or both be unset"));
    } else if !pods.is_empty() {
        first_equals(&pods, single, "podIP", errs);
    }
    if !hosts.is_empty() {
        first_equals(&hosts, status.text("hostIP"), "hostIP", errs);
        network::status_addresses(&hosts, &known("hostIPs"), errs);
    }
}

fn first_equals(list: &Node<'_>, single: &str, key: &str, errs: &mut ErrorList) {
    let first = list.item(0);
    let ip = first.child("ip");
    if ip.str() != single {
        errs.push(ip.invalid_text(format!("must be equal to `{key}`")));
    }
}

fn users(statuses: &Node<'_>, os: &str, errs: &mut ErrorList) {
    for status in statuses.items() {
        let user = status.child("user");
        let linux = user.child("linux");
        if !linux.is_set() {
            continue;
        }
        match os {
            "windows" => errs.push(linux.forbidden("cannot be set for a windows pod")),
            "linux" | "" => {
                let uid = linux.child("uid");
                if !(0..=i64::from(u32::MAX)).contains(&uid.number()) {
                    errs.push(uid.invalid(names::inclusive_range_error(0, u32::MAX.into())));
                }
                check::group(&linux.child("gid"), errs);
                for gid in linux.child("supplementalGroups").items() {
                    check::group(&gid, errs);
                }
            }
            _ => {}
        }
    }
}

/// The health of resources that were given to a container.
fn allocated(statuses: &Node<'_>, containers: &[Value], list: &str, errs: &mut ErrorList) {
    for status in statuses.items() {
        let allocated = status.child("allocatedResourcesStatus");
        if list == "ephemeralContainers" {
            if !allocated.is_empty() {
                errs.push(allocated.forbidden("must not be specified in container status"));
            }
            continue;
        }
        let container = containers.iter().find(|container| container.text("name") == status.text("name"));
        for resource in allocated.items() {
            let name = resource.child("name");
            if let Some(container) = container
                && let Some(complaint) = unknown_resource(name.str(), container)
            {
                errs.push(name.invalid_text(complaint));
            }
            health(&resource.child("resources"), errs);
        }
    }
}

fn unknown_resource(name: &str, container: &Value) -> Option<&'static str> {
    let resources = container.at("resources");
    if !name.starts_with("claim:") {
        let known = resources.at("requests").has(name);
        return (!known).then_some("must match one of the container's resource requests");
    }
    let known = resources.list("claims").iter().any(|claim| {
        let full = match claim.text("request") {
            "" => format!("claim:{}", claim.text("name")),
            request => format!("claim:{}/{request}", claim.text("name")),
        };
        full == name
    });
    (!known).then_some(
        "must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when \
         container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty",
    )
}

fn health(resources: &Node<'_>, errs: &mut ErrorList) {
    let mut seen = BTreeSet::new();
    for resource in resources.items() {
        resource.child("health").one_of(&["Healthy", "Unhealthy", "Unknown"], errs);
        let message = resource.child("message");
        if message.is_set() && message.str().is_empty() {
            errs.push(message.required("must be non-empty if specified"));
        } else if message.str().len() > MAX_HEALTH_MESSAGE {
            errs.push(message.too_long(MAX_HEALTH_MESSAGE));
        }
        let id = resource.child("resourceID");
        if !seen.insert(id.str().to_owned()) {
            errs.push(field::duplicate(&id.path, id.str()));
        }
    }
}
