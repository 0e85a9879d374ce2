//! LimitRange: what each container, pod or claim of a namespace may ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use grammar::field::ErrorList;
use grammar::names;
use grammar::quantity::Quantity;
use serde_json::{Map, Value};

use crate::check;
use crate::kind::{Kind, names as texts};
use crate::node::Node;
use crate::pod::{defaults, resources};
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut};

const TYPES: &[&str] = &["Container", "PersistentVolumeClaim", "Pod"];
const LISTS: &[&str] = &["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

pub(crate) fn kind() -> Kind {
    Kind {
        short_names: texts(&["limits"]),
        create_on_update: true,
        strategy: Arc::new(LimitRange),
        ..Kind::namespaced("", "v1", "LimitRange", "limitranges")
    }
}

struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, _version: &str, obj: &mut Value) {
        for limit in obj.at_mut("spec").items_mut("limits") {
            if limit.text("type") == "Container" {
                container_defaults(limit);
            }
            for list in LISTS.iter().filter(|list| limit.has(list)).collect::<Vec<_>>() {
                defaults::resource_list(limit.at_mut(list));
            }
        }
    }

    fn prepare_create(&self, obj: &mut Value, _cx: &Context<'_>) {
        if obj.at("metadata").text("name").is_empty() {
            let uid = obj.at("metadata").text("uid").to_owned();
            obj.at_mut("metadata").set("name", uid);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let spec = obj.child("spec");
        let mut seen = BTreeSet::new();
        for limit in spec.child("limits").items() {
            let ty = limit.child("type");
            validate_type(&ty, errs);
            if !seen.insert(limit.value().text("type")) {
                errs.push(ty.duplicate());
            }
            validate_limit(&limit, errs);
        }
    }
}

/// Containers get a default from the maximum, and a default request from the default or the minimum.
fn container_defaults(limit: &mut Value) {
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        let given: Map<String, Value> = limit.at(from).as_object().cloned().unwrap_or_default();
        for (resource, quantity) in given {
            limit.at_mut(to).set_default(&resource, quantity);
        }
    }
}

fn validate_type(ty: &Node<'_>, errs: &mut ErrorList) {
    let complaints = names::qualified_name(ty.str());
    if complaints.is_empty() && !ty.str().contains('/') && !TYPES.contains(&ty.str()) {
        errs.push(ty.invalid_text("must be a standard limit type or fully qualified"));
    }
    ty.complaints(complaints, errs);
}

fn validate_limit(limit: &Node<'_>, errs: &mut ErrorList) {
    let ty = limit.text("type");
    let name: resources::NameCheck = match ty {
        "Pod" | "Container" => resources::container_name,
        _ => resources::name,
    };
    let mut resources = BTreeSet::new();
    for list in LISTS {
        let node = limit.child(list);
        if ty == "Pod" && list.starts_with("default") {
            if !node.is_empty() {
                errs.push(node.forbidden("may not be specified when `type` is 'Pod'"));
            }
            continue;
        }
        for (resource, quantity) in node.pairs() {
            name(&quantity, resource, errs);
            resources.insert(resource);
        }
    }
    let bounded = limit.at("min").has("storage") || limit.at("max").has("storage");
    if ty == "PersistentVolumeClaim" && !bounded {
        errs.push(
            limit
                .child("limits")
                .required("either minimum or maximum storage value is required, but neither was provided"),
        );
    }
    resources.into_iter().for_each(|resource| compare(limit, resource, errs));
}

/// The minimum is at most the default request, which is at most the default, which is at most the maximum.
fn compare(limit: &Node<'_>, resource: &str, errs: &mut ErrorList) {
    let is_pod = limit.text("type") == "Pod";
    let value = |list: &str| match is_pod && list.starts_with("default") {
        true => None,
        false => limit.at(list).has(resource).then(|| check::quantity(limit.at(list).at(resource))),
    };
    let mut ordered = |low: (&str, &str), high: (&str, &str), at: &str, shown_is_low: bool| {
        let (Some(least), Some(most)) = (value(low.0), value(high.0)) else {
            return;
        };
        if least > most {
            let (least, most) = (least.canonical(), most.canonical());
            let complaint = match low.0 {
                "min" if high.0 != "max" => {
                    format!("min value {least} is greater than {} value {most}", high.1)
                }
                _ => format!("{} value {least} is greater than {} value {most}", low.1, high.1),
            };
            let list = limit.child(at);
            let entry = Node::new(list.value().at(resource), list.path.key(resource));
            errs.push(entry.invalid_as(if shown_is_low { least } else { most }, complaint));
        }
    };
    let (min, max) = (("min", "min"), ("max", "max"));
    let (default, request) = (("default", "default"), ("defaultRequest", "default request"));
    ordered(min, max, "min", true);
    ordered(min, request, "defaultRequest", false);
    ordered(request, max, "defaultRequest", true);
    ordered(request, ("default", "default limit"), "defaultRequest", true);
    ordered(min, default, "default", true);
    ordered(default, max, "default", false);

    let entry = |list: &'static str, errs: &mut ErrorList, shown: &Quantity, complaint: String| {
        let list = limit.child(list);
        let entry = Node::new(list.value().at(resource), list.path.key(resource));
        errs.push(entry.invalid_as(shown.canonical(), complaint));
    };
    if let Some(ratio) = value("maxLimitRequestRatio") {
        if ratio < Quantity::scaled(1, 0) {
            entry(
                "maxLimitRequestRatio",
                errs,
                &ratio,
                format!("ratio {} is less than 1", ratio.canonical()),
            );
        }
        if let (Some(min), Some(max)) = (value("min"), value("max")) {
            let most = max.approximate() / min.approximate();
            if ratio.approximate() > most {
                let complaint = format!("ratio {} is greater than max/min = {most:.6}", ratio.canonical());
                entry("maxLimitRequestRatio", errs, &ratio, complaint);
            }
        }
    }
    if let (Some(default), Some(request)) = (value("default"), value("defaultRequest"))
        && !resources::overcommits(resource)
        && default != request
    {
        let complaint = format!(
            "default value {} must equal to defaultRequest value {} in {resource}",
            default.canonical(),
            request.canonical()
        );
        entry("defaultRequest", errs, &request, complaint);
    }
}
