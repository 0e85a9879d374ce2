//! Requests, limits and claims of containers and pods.

use std::collections::BTreeSet;

use grammar::field::ErrorList;
use grammar::names;
use grammar::quantity::Quantity;
use serde_json::Value;

use crate::check;
use crate::node::Node;
use crate::pod::Rules;
use crate::tree::Tree;

const HUGE_PAGES: &str = "hugepages-";
const NATIVE_DOMAIN: &str = "kubernetes.io/";

/// Resources that may be given to a container by a name without a domain.
const CONTAINER_RESOURCES: &[&str] = &["cpu", "memory", "ephemeral-storage"];

/// Every name without a domain that means something somewhere.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Names that count things rather than measure them.
const INTEGERS: &[&str] = &[
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// What [`requirements`] demands of a resource's name.
pub type NameCheck = fn(&Node<'_>, &str, &mut ErrorList);

/// `hugepages-2Mi` and its like.
pub fn is_huge_page(name: &str) -> bool {
    name.starts_with(HUGE_PAGES)
}

/// A name without a domain, or with one of Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains(NATIVE_DOMAIN)
}

/// A name of somebody else's domain that can also be counted in a quota.
pub fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Resources of which more may be promised than there is.
pub fn overcommits(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A resource name: a standard one, or one with a domain. `entry` is where it is a key.
pub fn name(entry: &Node<'_>, name: &str, errs: &mut ErrorList) {
    let complaints = names::qualified_name(name);
    if complaints.is_empty() && !name.contains('/') && !is_standard(name) {
        errs.push(entry.invalid_as(name, "must be a standard resource type or fully qualified"));
    }
    errs.extend(complaints.into_iter().map(|complaint| entry.invalid_as(name, complaint)));
}

fn is_standard(name: &str) -> bool {
    STANDARD.contains(&name) || is_huge_page(name) || name.starts_with("requests.hugepages-")
}

/// The name of a resource that a container uses.
pub fn container_name(entry: &Node<'_>, text: &str, errs: &mut ErrorList) {
    name(entry, text, errs);
    if !text.contains('/') {
        if !CONTAINER_RESOURCES.contains(&text) && !is_huge_page(text) {
            errs.push(entry.invalid_as(text, "must be a standard resource for containers"));
        }
    } else if !is_native(text) && !is_extended(text) {
        errs.push(entry.invalid_as(text, "doesn't follow extended resource name standard"));
    }
}

/// The name of a resource that a pod as a whole uses.
fn pod_name(entry: &Node<'_>, text: &str, errs: &mut ErrorList) {
    let before = errs.len();
    name(entry, text, errs);
    if errs.len() == before && !matches!(text, "cpu" | "memory") && !is_huge_page(text) {
        errs.push(grammar::field::not_supported(&entry.path, text, &["cpu", "hugepages-", "memory"]));
    }
}

/// A quantity of `resource`: not negative, and whole where things are counted.
pub fn quantity(entry: &Node<'_>, resource: &str, errs: &mut ErrorList) {
    check::not_negative_quantity(entry, errs);
    let whole = INTEGERS.contains(&resource) || is_extended(resource);
    if whole && check::quantity(entry.value()).milli_value() % 1000 != 0 {
        errs.push(entry.invalid_as(check::quantity(entry.value()).canonical(), "must be an integer"));
    }
}

/// A container's `resources`. `claims` are the names of the pod's resource claims.
pub fn container(node: &Node<'_>, claims: &BTreeSet<String>, rules: &Rules, errs: &mut ErrorList) {
    requirements(node, container_name, claims, rules, errs);
}

fn requirements(
    node: &Node<'_>,
    name: NameCheck,
    claims: &BTreeSet<String>,
    rules: &Rules,
    errs: &mut ErrorList,
) {
    let (limits, requests) = (node.child("limits"), node.child("requests"));
    for (resource, entry) in limits.pairs() {
        name(&entry, resource, errs);
        quantity(&entry, resource, errs);
        huge_pages(&entry, resource, rules, errs);
    }
    for (resource, entry) in requests.pairs() {
        name(&entry, resource, errs);
        quantity(&entry, resource, errs);
        let request = check::quantity(entry.value());
        if limits.has(resource) {
            let limit = check::quantity(limits.at(resource));
            let complaint = if !overcommits(resource) && request != limit {
                "must be equal to"
            } else if request > limit {
                "must be less than or equal to"
            } else {
                ""
            };
            if !complaint.is_empty() {
                errs.push(
                    requests
                        .invalid_as(request.to_string(), format!("{complaint} {resource} limit of {limit}")),
                );
            }
        } else if !overcommits(resource) {
            errs.push(limits.required("Limit must be set for non overcommitable resources"));
        }
        huge_pages(&entry, resource, rules, errs);
    }
    let any =
        |wanted: fn(&str) -> bool| [&limits, &requests].iter().any(|m| m.pairs().any(|(k, _)| wanted(k)));
    if any(is_huge_page) && !any(|name| matches!(name, "cpu" | "memory")) {
        errs.push(node.forbidden("HugePages require cpu or memory"));
    }
    claim_names(&node.child("claims"), claims, errs);
}

fn huge_pages(entry: &Node<'_>, resource: &str, rules: &Rules, errs: &mut ErrorList) {
    if is_huge_page(resource) && !rules.indivisible_huge_pages && !is_divisible(resource, entry.value()) {
        let quantity = check::quantity(entry.value());
        errs.push(entry.invalid_as(
            quantity.to_string(),
            format!("{quantity} is not positive integer multiple of {resource}"),
        ));
    }
}

/// Whether a quantity of huge pages is a whole number of pages.
pub fn is_divisible(resource: &str, value: &Value) -> bool {
    let page: Option<Quantity> = resource.strip_prefix(HUGE_PAGES).and_then(|size| size.parse().ok());
    page.is_some_and(|page| {
        let (size, total) = (page.value(), check::quantity(value).value());
        size > 0 && total % size == 0
    })
}

fn claim_names(claims: &Node<'_>, known: &BTreeSet<String>, errs: &mut ErrorList) {
    let mut seen: BTreeSet<String> = BTreeSet::new();
    for claim in claims.items() {
        let (name, request) = (claim.text("name"), claim.child("request"));
        if name.is_empty() {
            errs.push(claim.required(""));
            continue;
        }
        let duplicate = |of: &str| grammar::field::duplicate(&claim.path, of);
        if seen.contains(name) {
            errs.push(duplicate(name));
        } else {
            let key = match request.str() {
                "" => name.to_owned(),
                text => {
                    check::dns_label(&request, errs);
                    format!("{name}/{text}")
                }
            };
            if seen.contains(&key) {
                errs.push(duplicate(&key));
            } else if request.str().is_empty() {
                let parts =
                    seen.iter().filter(|key| key.split_once('/').is_some_and(|(owner, _)| owner == name));
                errs.extend(parts.map(|_| duplicate(name)));
            }
            seen.insert(key);
        }
        if !known.contains(name) {
            let mut missing = grammar::field::not_found(&claim.path, name);
            missing.detail = "must be one of the names in pod.spec.resourceClaims".to_owned();
            match known.is_empty() {
                true => missing.detail += " which is empty",
                false => missing.detail += &format!(": {}", Vec::from_iter(known.iter().cloned()).join(", ")),
            }
            errs.push(missing);
        }
    }
}

/// `spec.resources`: what the pod's containers share.
pub fn pod(spec: &Node<'_>, claims: &BTreeSet<String>, rules: &Rules, errs: &mut ErrorList) {
    let resources = spec.child("resources");
    if !resources.is_set() {
        return;
    }
    if spec.at("os").text("name") == "windows" {
        errs.push(resources.forbidden("may not be set for a windows pod"));
        return;
    }
    let own_claims = resources.child("claims");
    if own_claims.is_set() {
        errs.push(own_claims.forbidden("claims may not be set for Resources at pod-level"));
    }
    requirements(&resources, pod_name, claims, rules, errs);
    consistency(spec, &resources, errs);
}

/// The pod as a whole has room for each container and for all of them together.
fn consistency(spec: &Node<'_>, resources: &Node<'_>, errs: &mut ErrorList) {
    for (kind, complaint, only_huge_pages) in [
        ("requests", "must be greater than or equal to aggregate container requests of", false),
        ("limits", "must be greater than or equal to aggregate container limits of", true),
    ] {
        let of_pod = resources.child(kind);
        for (resource, entry) in of_pod.pairs() {
            if only_huge_pages && !is_huge_page(resource) {
                continue;
            }
            let total = aggregate(spec, kind, resource);
            if total.as_ref().is_some_and(|total| *total > check::quantity(entry.value())) {
                let total = total.expect("it was there just above");
                errs.push(
                    entry.invalid_as(
                        check::quantity(entry.value()).to_string(),
                        format!("{complaint} {total}"),
                    ),
                );
            }
        }
    }
    let containers = resources.path.child("containers");
    for (index, container) in spec.list("containers").iter().enumerate() {
        for (resource, limit) in container.at("resources").entries("limits") {
            let of_pod = resources.at("limits").at(resource);
            if of_pod.is_string() && check::quantity(limit) > check::quantity(of_pod) {
                let (item, pod_limit) = (containers.index(index), check::quantity(of_pod));
                let key = item.key(resource);
                errs.push(grammar::field::invalid(
                    &key.child("limits"),
                    check::quantity(limit).to_string(),
                    format!("must be less than or equal to pod limits of {pod_limit}"),
                ));
            }
        }
    }
}

/// What the containers of a pod need of `resource` at once: the sum of those that run together, or the most that
/// an init container needs beside the sidecars started before it.
pub fn aggregate(spec: &Value, kind: &str, resource: &str) -> Option<Quantity> {
    let of = |container: &Value| {
        let value = container.at("resources").at(kind).at(resource);
        value.is_string().then(|| check::quantity(value))
    };
    let mut together: Option<Quantity> = None;
    let add = |sum: &mut Option<Quantity>, more: Option<Quantity>| {
        if let Some(more) = more {
            match sum {
                Some(sum) => sum.add(&more),
                None => *sum = Some(more),
            }
        }
    };
    for container in spec.list("containers") {
        add(&mut together, of(container));
    }
    let mut sidecars: Option<Quantity> = None;
    let mut most: Option<Quantity> = None;
    for container in spec.list("initContainers") {
        let mut needed = of(container);
        if container.text("restartPolicy") == "Always" {
            add(&mut together, needed.clone());
            add(&mut sidecars, needed);
            needed = sidecars.clone();
        } else {
            add(&mut needed, sidecars.clone());
        }
        most = most.max(needed);
    }
    together.max(most)
}
