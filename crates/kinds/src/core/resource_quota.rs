//! ResourceQuota: what all objects of a namespace may use together.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::clock::Wall;
use grammar::field::ErrorList;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, NAME, described};
use crate::kind::{Kind, Subresource, names as texts};
use crate::node::{IMMUTABLE, Node};
use crate::pod::{defaults, resources};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

pub(crate) fn kind() -> Kind {
    const REQUEST: &str = "Request represents a minimum amount of cpu/memory that a container may consume.";
    const LIMIT: &str = "Limits control the maximum amount of cpu/memory that a container may use independent of contention on \
         the node.";
    Kind {
        short_names: texts(&["quota"]),
        resets: vec![&["status"]],
        subresources: vec![Subresource::status(&[&["spec"]], Status)],
        columns: vec![NAME, described("Request", REQUEST), described("Limit", LIMIT), AGE],
        strategy: Arc::new(ResourceQuota),
        ..Kind::namespaced("", "v1", "ResourceQuota", "resourcequotas")
    }
}

/// Resources without a domain that can be counted, beside huge pages.
const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.storage",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "persistentvolumeclaims",
    "configmaps",
    "services.nodeports",
    "services.loadbalancers",
];

/// What a pod takes from a quota.
const OF_PODS: &[&str] =
    &["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

/// What a claim takes from a quota.
const OF_CLAIMS: &[&str] = &["persistentvolumeclaims", "requests.storage"];

const SCOPES: &[&str] = &[
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "VolumeAttributesClass",
    "CrossNamespacePodAffinity",
];

/// Scopes that an object is in or is not, without a value.
const PLAIN_SCOPES: &[&str] =
    &["Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "CrossNamespacePodAffinity"];

const OPPOSITES: &[[&str; 2]] = &[["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]];

struct ResourceQuota;

impl Strategy for ResourceQuota {
    fn default(&self, _version: &str, obj: &mut Value) {
        for (part, list) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
            if obj.at(part).has(list) {
                defaults::resource_list(obj.at_mut(part).at_mut(list));
            }
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        validate_spec(&obj.child("spec"), errs);
        amounts(&obj.child("status"), &["hard", "used"], errs);
    }

    fn validate_update(&self, new: &Node<'_>, old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = new.child("spec");
        validate_spec(&spec, errs);
        let set = |spec: &Value| -> BTreeSet<String> {
            spec.texts("scopes").into_iter().map(str::to_owned).collect()
        };
        if set(&spec) != set(old.at("spec")) {
            errs.push(spec.child("scopes").invalid(IMMUTABLE));
        }
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>, _cx: &Context<'_>) -> Vec<String> {
        let hard = new.path(&["spec", "hard"]);
        ["cpu", "memory", "storage", "ephemeral-storage"]
            .into_iter()
            .filter_map(|resource| request_above_limit(hard, resource))
            .collect()
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let status = obj.at("status");
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for (resource, hard) in status.entries("hard") {
            let used = check::quantity(status.at("used").at(resource)).canonical();
            let cell = format!("{resource}: {used}/{}", check::quantity(hard).canonical());
            match resource.starts_with("limits.") {
                true => limits.push(cell),
                false => requests.push(cell),
            }
        }
        vec![column::name(obj), requests.join(", ").into(), limits.join(", ").into(), column::age(obj, now)]
    }
}

struct Status;

impl Strategy for Status {
    fn validate_update(&self, new: &Node<'_>, _old: &Value, _cx: &Context<'_>, errs: &mut ErrorList) {
        amounts(&new.child("status"), &["hard", "used"], errs);
    }
}

fn is_standard(resource: &str) -> bool {
    let huge = ["hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    STANDARD.contains(&resource) || huge
}

fn validate_spec(spec: &Node<'_>, errs: &mut ErrorList) {
    amounts(spec, &["hard"], errs);
    scopes(spec, errs);
    if spec.at("scopeSelector").is_object() {
        scope_selector(spec, errs);
    }
}

fn amounts(node: &Node<'_>, lists: &[&str], errs: &mut ErrorList) {
    for list in lists {
        for (resource, amount) in node.child(list).pairs() {
            resources::name(&amount, resource, errs);
            if !resource.contains('/') && !is_standard(resource) {
                errs.push(amount.invalid_as(resource, "must be a standard resource for quota"));
            }
            resources::quantity(&amount, resource, errs);
        }
    }
}

fn applies(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => OF_CLAIMS.contains(&resource),
        _ if SCOPES.contains(&scope) => OF_PODS.contains(&resource),
        _ => true,
    }
}

/// The standard resources of the quota to which `scope` does not apply.
fn misapplied(spec: &Value, scope: &str) -> usize {
    spec.entries("hard").filter(|(resource, _)| is_standard(resource) && !applies(scope, resource)).count()
}

fn conflicts<'a>(scopes: impl Iterator<Item = &'a str>) -> usize {
    let scopes: BTreeSet<&str> = scopes.collect();
    OPPOSITES.iter().filter(|pair| pair.iter().all(|scope| scopes.contains(scope))).count()
}

fn scopes(spec: &Node<'_>, errs: &mut ErrorList) {
    let scopes = spec.child("scopes");
    for scope in spec.texts("scopes") {
        if !SCOPES.contains(&scope) {
            errs.push(scopes.invalid("unsupported scope"));
        }
        for _ in 0..misapplied(spec, scope) {
            errs.push(scopes.invalid("unsupported scope applied to resource"));
        }
    }
    for _ in 0..conflicts(spec.texts("scopes").into_iter()) {
        errs.push(scopes.invalid("conflicting scopes"));
    }
}

fn scope_selector(spec: &Node<'_>, errs: &mut ErrorList) {
    let selector = spec.child("scopeSelector");
    let expressions = selector.child("matchExpressions");
    for requirement in selector.list("matchExpressions") {
        // The index of the requirement is no part of the path.
        let requirement = Node::new(requirement, expressions.path);
        let (name, operator, values) =
            (requirement.child("scopeName"), requirement.child("operator"), requirement.child("values"));
        if !SCOPES.contains(&name.str()) {
            errs.push(name.invalid_text("unsupported scope"));
        }
        for _ in 0..misapplied(spec, name.str()) {
            errs.push(
                Node::new(selector.value(), expressions.path)
                    .invalid("unsupported scope applied to resource"),
            );
        }
        if PLAIN_SCOPES.contains(&name.str()) && operator.str() != "Exists" {
            errs.push(operator.invalid_text(
                "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                 ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or \
                 ResourceQuotaScopeCrossNamespacePodAffinity",
            ));
        }
        match operator.str() {
            "In" | "NotIn" if values.is_empty() => errs.push(values.required(
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                errs.push(values.invalid(
                    "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
                ))
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            _ => errs.push(operator.invalid_text("not a valid selector operator")),
        }
    }
    let names = selector.list("matchExpressions").iter().map(|requirement| requirement.text("scopeName"));
    for _ in 0..conflicts(names) {
        errs.push(Node::new(spec.at("scopes"), expressions.path).invalid("conflicting scopes"));
    }
}

fn request_above_limit(hard: &Value, resource: &str) -> Option<String> {
    let (mut requests, limits) = (format!("requests.{resource}"), format!("limits.{resource}"));
    if !hard.has(&requests) && matches!(resource, "cpu" | "memory") {
        requests = resource.to_owned();
    }
    if !hard.has(&requests) || !hard.has(&limits) {
        return None;
    }
    let (request, limit) = (check::quantity(hard.at(&requests)), check::quantity(hard.at(&limits)));
    (request > limit).then(|| {
        let (request, limit) = (request.canonical(), limit.canonical());
        format!("ResourceQuota {requests} ({request}) should be less than {limits} ({limit})")
    })
}
