//! FlowSchema: which requests belong to which priority level.

use std::sync::Arc;

use base::clock::Wall;
use grammar::field::{self, ErrorList};
use serde_json::Value;

use crate::column::{self, AGE, NAME, described, documented};
use crate::flowcontrol::conditions::Status;
use crate::flowcontrol::{GROUP, mandatory};
use crate::kind::{Kind, Subresource};
use crate::meta;
use crate::node::Node;
use crate::strategy::{Context, Strategy};
use crate::tree::{Tree, TreeMut, same};

pub(crate) fn kind() -> Kind {
    const SPEC: &str = "io.k8s.api.flowcontrol.v1.FlowSchemaSpec";
    const LEVEL: &str = "io.k8s.api.flowcontrol.v1.PriorityLevelConfigurationReference";
    Kind {
        resets: vec![&["status"]],
        generation: vec![&["spec"]],
        subresources: vec![Subresource::status(&[&["metadata"], &["spec"]], Status)],
        columns: vec![
            NAME,
            documented("PriorityLevel", LEVEL, "name"),
            documented("MatchingPrecedence", SPEC, "matchingPrecedence"),
            documented("DistinguisherMethod", SPEC, "distinguisherMethod"),
            AGE,
            described("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
        ],
        strategy: Arc::new(FlowSchema),
        ..Kind::cluster(GROUP, "v1", "FlowSchema", "flowschemas")
    }
}

const DEFAULT_PRECEDENCE: i64 = 1000;
const MAX_PRECEDENCE: i64 = 10_000;
const VERBS: [&str; 9] =
    ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

struct FlowSchema;

impl Strategy for FlowSchema {
    fn default(&self, _version: &str, obj: &mut Value) {
        let spec = obj.at_mut("spec");
        if spec.int("matchingPrecedence").unwrap_or_default() == 0 {
            spec.set("matchingPrecedence", DEFAULT_PRECEDENCE);
        }
    }

    fn validate(&self, obj: &Node<'_>, _cx: &Context<'_>, errs: &mut ErrorList) {
        let name = obj.at("metadata").text("name");
        let spec = obj.child("spec");
        let precedence = spec.child("matchingPrecedence");
        if precedence.number() <= 0 {
            errs.push(precedence.invalid_number("must be a positive value"));
        }
        if precedence.number() > MAX_PRECEDENCE {
            errs.push(precedence.invalid(format!("must not be greater than {MAX_PRECEDENCE}")));
        }
        if precedence.number() == 1 && name != "exempt" {
            errs.push(precedence.invalid("only the schema named 'exempt' may have matchingPrecedence 1"));
        }
        let method = spec.child("distinguisherMethod");
        if method.is_set() && !matches!(method.text("type"), "ByNamespace" | "ByUser") {
            let path = method.path.child("type");
            errs.push(field::not_supported(&path, method.value(), &["ByNamespace", "ByUser"]));
        }
        let level = spec.child("priorityLevelConfiguration");
        let level = level.child("name");
        match level.str() {
            "" => errs.push(level.required("must reference a priority level")),
            text => level.complaints(meta::SUBDOMAIN(text, false), errs),
        }
        spec.child("rules").items().for_each(|rule| self::rule(&rule, errs));
        if mandatory::flow_schema(name).is_some_and(|fixed| !same(spec.value(), &fixed)) {
            errs.push(spec.invalid(format!("spec of '{name}' must equal the fixed value")));
        }
    }

    fn cells(&self, obj: &Value, now: Wall) -> Vec<Value> {
        let spec = obj.at("spec");
        let method = spec.at("distinguisherMethod");
        let method = if method.is_null() { "<none>" } else { method.text("type") };
        let conditions = obj.at("status").list("conditions");
        let dangling = conditions.iter().find(|condition| condition.text("type") == "Dangling");
        vec![
            column::name(obj),
            spec.at("priorityLevelConfiguration").text("name").into(),
            spec.int("matchingPrecedence").unwrap_or_default().into(),
            method.into(),
            column::age(obj, now),
            dangling.map_or("?", |condition| condition.text("status")).into(),
        ]
    }
}

fn rule(rule: &Node<'_>, errs: &mut ErrorList) {
    let (subjects, resources, others) =
        (rule.child("subjects"), rule.child("resourceRules"), rule.child("nonResourceRules"));
    if subjects.is_empty() {
        errs.push(subjects.required("subjects must contain at least one value"));
    }
    subjects.items().for_each(|subject| self::subject(&subject, errs));
    if resources.is_empty() && others.is_empty() {
        errs.push(rule.required("at least one of resourceRules and nonResourceRules has to be non-empty"));
    }
    resources.items().for_each(|rule| resource_rule(&rule, errs));
    others.items().for_each(|rule| other_rule(&rule, errs));
}

fn subject(subject: &Node<'_>, errs: &mut ErrorList) {
    const KINDS: [(&str, &str); 3] =
        [("User", "user"), ("ServiceAccount", "serviceAccount"), ("Group", "group")];
    let kind = subject.child("kind");
    let Some((_, key)) = KINDS.iter().find(|(name, _)| *name == kind.str()) else {
        errs.push(kind.not_supported(&["Group", "ServiceAccount", "User"]));
        return;
    };
    let own = subject.child(key);
    match own.is_set() {
        true => identity(&own, kind.str() == "ServiceAccount", errs),
        false => errs.push(own.required(format!("{key} is required when subject kind is '{}'", kind.str()))),
    }
    for (name, key) in KINDS.iter().filter(|(name, key)| *name != kind.str() && subject.has(key)) {
        let other = subject.child(key);
        errs.push(other.forbidden(format!("{key} is forbidden when subject kind is not '{name}'")));
    }
}

fn identity(identity: &Node<'_>, is_account: bool, errs: &mut ErrorList) {
    let (name, namespace) = (identity.child("name"), identity.child("namespace"));
    match name.str() {
        "" => errs.push(name.required("")),
        text if is_account && text != "*" => name.complaints(meta::SUBDOMAIN(text, false), errs),
        _ => {}
    }
    if is_account {
        match namespace.str() {
            "" => errs.push(namespace.required("must specify namespace for service account")),
            text => namespace.complaints(meta::LABEL(text, false), errs),
        }
    }
}

/// Whether `list` has members; a star is to stand alone.
fn alone_if_star(list: &Node<'_>, missing: &str, others: &str, errs: &mut ErrorList) -> bool {
    if list.is_empty() {
        errs.push(list.required(missing));
        return false;
    }
    let star = list.items().any(|item| item.str() == "*");
    if star && list.len() > 1 {
        errs.push(list.invalid(format!("if '*' is present, must not specify other {others}")));
    }
    !star
}

fn verbs(rule: &Node<'_>, errs: &mut ErrorList) {
    let verbs = rule.child("verbs");
    let named = alone_if_star(&verbs, "verbs must contain at least one value", "verbs", errs);
    if named && verbs.items().any(|verb| !VERBS.contains(&verb.str())) {
        errs.push(field::not_supported(&verbs.path, verbs.value(), &VERBS));
    }
}

fn resource_rule(rule: &Node<'_>, errs: &mut ErrorList) {
    verbs(rule, errs);
    for (key, noun) in [("apiGroups", "api group"), ("resources", "resource")] {
        let missing = format!("resource rules must supply at least one {noun}");
        alone_if_star(&rule.child(key), &missing, &format!("{noun}s"), errs);
    }
    let namespaces = rule.child("namespaces");
    if namespaces.is_empty() && rule.flag("clusterScope") {
        return;
    }
    let missing = "resource rules that are not cluster scoped must supply at least one namespace";
    if alone_if_star(&namespaces, missing, "namespaces", errs) {
        for namespace in namespaces.items() {
            for complaint in meta::LABEL(namespace.str(), false) {
                errs.push(namespace.invalid_text(format!(
                    "each member of this list must be '*' or a DNS-1123 label; {complaint}"
                )));
            }
        }
    }
}

fn other_rule(rule: &Node<'_>, errs: &mut ErrorList) {
    verbs(rule, errs);
    let urls = rule.child("nonResourceURLs");
    let missing = "nonResourceURLs must contain at least one value";
    if alone_if_star(&urls, missing, "non-resource URLs", errs) {
        for url in urls.items() {
            errs.extend(bad_url(url.str()).map(|complaint| url.invalid_text(complaint)));
        }
    }
}

fn bad_url(url: &str) -> Option<&'static str> {
    let stars = url.matches('*').count();
    match url {
        "" => Some("must not be empty"),
        "/" => None,
        _ if !url.starts_with('/') => Some("must start with slash"),
        _ if url.contains(' ') => Some("must not contain white-space"),
        _ if url.contains("//") => Some("must not contain double slash"),
        _ if stars > 1 || (stars == 1 && !url.ends_with("/*")) => {
            Some("wildcard can only do suffix matching")
        }
        _ => None,
    }
}
