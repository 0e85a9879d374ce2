//! Nobody grants what they do not hold.
//!
//! A role may be written by who holds all of its rules or the verb `escalate` on it; a binding by who holds all the
//! rules of its role or the verb `bind` on that role. Members of `system:masters` are free.

use std::collections::BTreeSet;

use api::User;
use grammar::go::quote;
use serde_json::Value;

use super::index::{Index, MissingRole};
use super::rule::{Rule, compact, covers, quoted_list};
use crate::attributes::MASTERS;
use crate::tree::{items, name, same, text};
use crate::{Attributes, Decision};

/// Why a role or binding may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 403, with this text behind `… is forbidden: `.
    Forbidden(String),
    /// The role that is to be bound is not there: 404 with upstream's singular resource name.
    Missing(MissingRole),
}

/// The whole chain of authorizers, since `escalate` and `bind` may be granted outside of roles.
pub type Authorize<'a> = &'a dyn Fn(&User, &Attributes<'_>) -> Decision;

/// Checks the write of one of the four kinds. `namespace` is the request's; `old` is the object to be replaced.
pub fn check(
    index: &Index,
    authorize: Authorize<'_>,
    user: &User,
    namespace: &str,
    new: &Value,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    if user.in_group(MASTERS) {
        return Ok(());
    }
    let kind = text(new, "kind");
    match kind {
        "Role" | "ClusterRole" => {
            let resource = if kind == "Role" { "roles" } else { "clusterroles" };
            // A create carries its name in the object alone, and upstream asks about the name in the URL.
            let name = if old.is_some() { name(new) } else { "" };
            if may(authorize, user, "escalate", super::GROUP, resource, namespace, name)
                || old.is_some_and(|old| only_for_collection(new, old))
            {
                return Ok(());
            }
            let rules: Vec<_> = items(new, "rules").iter().map(Rule::from_tree).collect();
            confirm(index, user, namespace, &rules).map_err(Refusal::Forbidden)?;
            let gathers = |role: &Value| !items(&role["aggregationRule"], "clusterRoleSelectors").is_empty();
            let aggregates = kind == "ClusterRole" && (gathers(new) || old.is_some_and(gathers));
            if aggregates && confirm(index, user, namespace, &full_authority()).is_err() {
                let text = "must have cluster-admin privileges to use the aggregationRule";
                return Err(Refusal::Forbidden(text.into()));
            }
            Ok(())
        }
        "RoleBinding" | "ClusterRoleBinding" => {
            if old.is_some_and(|old| only_for_collection(new, old)) {
                return Ok(());
            }
            let reference = &new["roleRef"];
            let (role_kind, role_name) = (text(reference, "kind"), text(reference, "name"));
            let resource = match role_kind {
                "ClusterRole" => "clusterroles",
                "Role" => "roles",
                _ => "",
            };
            let group = text(reference, "apiGroup");
            if !resource.is_empty() && may(authorize, user, "bind", group, resource, namespace, role_name) {
                return Ok(());
            }
            let rules = index.role(role_kind, role_name, namespace).map_err(Refusal::Missing)?;
            confirm(index, user, namespace, rules).map_err(Refusal::Forbidden)
        }
        _ => Ok(()),
    }
}

/// Whether `user` holds all of `rules` in `namespace`; else upstream's text, which lists what is missing.
pub fn confirm(index: &Index, user: &User, namespace: &str, rules: &[Rule]) -> Result<(), String> {
    let own = index.rules_for(user, namespace);
    let Err(missing) = covers(&own.rules, rules) else { return Ok(()) };
    let missing: BTreeSet<String> = compact(&missing).iter().map(Rule::to_string).collect();
    let missing: Vec<_> = missing.into_iter().collect();
    let mut text = format!(
        "user {} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        quote(&user.name),
        quoted_list(&user.groups),
        missing.join("\n")
    );
    if !own.errors.is_empty() {
        text.push_str(&format!("; resolution errors: [{}]", own.error()));
    }
    Err(text)
}

/// Whether a write changes only what garbage collection must be able to change without holding the role.
fn only_for_collection(new: &Value, old: &Value) -> bool {
    let without = |object: &Value| {
        let mut object = object.clone();
        if let Some(meta) = object["metadata"].as_object_mut() {
            for key in ["ownerReferences", "finalizers", "selfLink", "managedFields"] {
                meta.remove(key);
            }
        }
        object
    };
    same(&without(new), &without(old))
}

fn full_authority() -> [Rule; 2] {
    let star = || vec!["*".to_owned()];
    [
        Rule { verbs: star(), groups: star(), resources: star(), ..Rule::default() },
        Rule { verbs: star(), urls: star(), ..Rule::default() },
    ]
}

fn may(
    authorize: Authorize<'_>,
    user: &User,
    verb: &str,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> bool {
    let request = Attributes {
        verb,
        group,
        version: "*",
        resource,
        namespace,
        name,
        is_resource: true,
        ..Attributes::default()
    };
    authorize(user, &request).is_allowed()
}
