//! What roles and bindings of both scopes share.

use base::clock::Wall;
use grammar::field::{BadValue, ErrorList};
use grammar::go::json_string;
use grammar::names;
use serde_json::Value;

use crate::check;
use crate::column::{self, AGE, Column, NAME, described, documented};
use crate::kind::Scope;
use crate::meta::{self, NameRule};
use crate::node::{IMMUTABLE, Node};
use crate::rbac::GROUP;
use crate::tree::{Tree, TreeMut, same};

/// A role or binding may be called whatever fits into a path: `system:node-proxier`.
pub(super) const NAME_RULE: NameRule = |name, _prefix| names::path_segment_name(name);

/// Every rule of a role says what to whom.
pub(super) fn policy_rules(role: &Node<'_>, scope: Scope, errs: &mut ErrorList) {
    for rule in role.child("rules").items() {
        let (verbs, urls) = (rule.child("verbs"), rule.child("nonResourceURLs"));
        if verbs.is_empty() {
            errs.push(verbs.required(""));
        }
        if !urls.is_empty() {
            if scope == Scope::Namespaced {
                errs.push(urls.invalid("namespaced rules cannot apply to non-resource URLs"));
            }
            if ["apiGroups", "resources", "resourceNames"].iter().any(|key| !rule.list(key).is_empty()) {
                errs.push(urls.invalid("rules cannot apply to both regular resources and non-resource URLs"));
            }
            continue;
        }
        for (key, what) in [("apiGroups", "api group"), ("resources", "resource")] {
            let part = rule.child(key);
            if part.is_empty() {
                errs.push(part.required(format!("resource rules must supply at least one {what}")));
            }
        }
    }
}

/// References name their group unless it is the usual one.
pub(super) fn default_binding(binding: &mut Value) {
    binding.at_mut("roleRef").set_default("apiGroup", GROUP);
    for subject in binding.items_mut("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.set_default("apiGroup", GROUP);
        }
    }
}

/// A binding in itself. `roles` are the kinds that it may refer to.
pub(super) fn binding(binding: &Node<'_>, scope: Scope, roles: &[&str], errs: &mut ErrorList) {
    let role = binding.child("roleRef");
    role.child("apiGroup").one_of(&[GROUP], errs);
    role.child("kind").one_of(roles, errs);
    let name = role.child("name");
    match name.str() {
        "" => errs.push(name.required("")),
        text => name.complaints(names::path_segment_name(text), errs),
    }
    for each in binding.child("subjects").items() {
        subject(&each, scope, errs);
    }
}

/// What a binding refers to never changes: those who were bound to one role would come to hold another.
pub(super) fn same_role(new: &Node<'_>, old: &Value, errs: &mut ErrorList) {
    let role = new.child("roleRef");
    if !same(role.value(), old.at("roleRef")) {
        let [group, kind, name] = ["apiGroup", "kind", "name"].map(|key| json_string(role.text(key)));
        let shown = format!("{{\"APIGroup\":{group},\"Kind\":{kind},\"Name\":{name}}}");
        errs.push(role.invalid_as(BadValue::Verbatim(shown), IMMUTABLE));
    }
}

fn subject(subject: &Node<'_>, scope: Scope, errs: &mut ErrorList) {
    let (name, group) = (subject.child("name"), subject.child("apiGroup"));
    if name.str().is_empty() {
        errs.push(name.required(""));
    }
    match subject.text("kind") {
        "ServiceAccount" => {
            if !name.str().is_empty() {
                name.complaints(meta::SUBDOMAIN(name.str(), false), errs);
            }
            group.one_of(&[""], errs);
            if scope == Scope::Cluster {
                check::require(subject, &["namespace"], errs);
            }
        }
        "User" | "Group" => group.one_of(&[GROUP], errs),
        _ => subject.child("kind").one_of(&["ServiceAccount", "User", "Group"], errs),
    }
}

/// The table of bindings. `message` is the binding's type, `subjects` describe the last three columns.
pub(super) fn columns(message: &'static str, subjects: [&'static str; 3]) -> Vec<Column> {
    let [users, groups, accounts] = subjects;
    vec![
        NAME,
        documented("Role", message, "roleRef"),
        AGE,
        described("Users", users).wide(),
        described("Groups", groups).wide(),
        described("ServiceAccounts", accounts).wide(),
    ]
}

/// A binding's row.
pub(super) fn cells(binding: &Value, now: Wall) -> Vec<Value> {
    let role = binding.at("roleRef");
    let named = |kind: &str| -> Value {
        let of_kind = binding.list("subjects").iter().filter(|subject| subject.text("kind") == kind);
        let names = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", subject.text("namespace"), subject.text("name")),
            _ => subject.text("name").to_owned(),
        });
        names.collect::<Vec<_>>().join(", ").into()
    };
    vec![
        column::name(binding),
        format!("{}/{}", role.text("kind"), role.text("name")).into(),
        column::age(binding, now),
        named("User"),
        named("Group"),
        named("ServiceAccount"),
    ]
}
